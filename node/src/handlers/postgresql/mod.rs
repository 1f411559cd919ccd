//! The handler `postgresql`: messages become rows of a database, and in the same transaction the position of the last moves.
//!
//! A call is one transaction: the position's row is moved from where it must stand to the last message (which locks it), then a statement is executed for
//! each message, all of them under way together. Whoever else moves that row meanwhile (a second handler, somebody who restored the database) is noticed,
//! because the move asks for the former position. A connection that is lost at a commit leaves open whether that took place: the handler begins
//! anew, and reads its position under a lock for which a transaction of its own that is still in the server must first end.
//!
//! `layout` has the tables, `row` what a statement is given, `connection` how a server is reached and what its errors mean.

mod connection;
mod layout;
mod row;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use wattle_core::id::Sequence;
use wattle_core::node::command::{Position, Refusal};
use wattle_io::handler::{Failure, Handler, Life, Message};

use crate::settings::{Begin, PostgreSqlSettings};
use connection::{BEGIN, Trouble, connect};
use layout::Layout;
use row::{Param, Row, together};

/// What can be found wrong with such a handler before it runs.
///
/// # Errors
/// A sentence that says what to do.
pub fn check(settings: &PostgreSqlSettings) -> Result<(), String> {
    connection::check(settings)?;
    settings.statement.as_deref().map_or(Ok(()), row::check)
}

/// The handler.
#[derive(Debug)]
pub struct PostgreSql {
    settings: PostgreSqlSettings,
    begin: Begin,
    session: Option<Session>,
}

/// A connection that is ready, and where it stands.
#[derive(Debug)]
struct Session {
    client: Client,
    /// Moves the position.
    move_on: Statement,
    /// Processes a message.
    effect: Effect,
    /// Finds the position.
    find: Statement,
    /// Who the position is of.
    owner: [Param; 2],
    /// What the database has.
    stored: Position,
    /// The last message that was processed, or passed over because the handler began behind it.
    position: Position,
}

/// What is done for each message.
#[derive(Debug)]
struct Effect {
    statement: Statement,
    text: String,
    /// What it is given of a message.
    wanted: Vec<usize>,
    /// The server refused a message, and somebody may have given a column another type since.
    stale: bool,
}

impl Clone for PostgreSql {
    fn clone(&self) -> Self {
        Self::new(self.settings.clone(), self.begin)
    }
}

impl PostgreSql {
    /// A handler that works on that database, once it is called.
    #[must_use]
    pub const fn new(settings: PostgreSqlSettings, begin: Begin) -> Self {
        Self { settings, begin, session: None }
    }

    async fn open(&mut self, life: &Life) -> Result<Position, Trouble> {
        let client = match self.session.take() {
            Some(session) if !session.client.is_closed() => session.client,
            _ => connect(&self.settings).await?,
        };
        let layout = Layout::of(&self.settings);
        layout.make(&client).await?;
        let move_on = client.prepare(&layout.move_on()).await?;
        let (text, wanted) = row::numbered(&layout.effect());
        let effect = client.prepare(&text).await?;
        if effect.params().len() != wanted.len() {
            // Names within quotes are no names to the server.
            return Err(Trouble::away(format!(
                "the statement names {} things in braces, and the server wants {}: write {{body}} without quotes around it",
                wanted.len(),
                effect.params().len()
            )));
        }
        let effect = Effect { statement: effect, text, wanted, stale: false };
        let owner = [Param::text(life.instance.to_string()), Param::text(life.node.to_string())];
        let find = client.prepare(&layout.find()).await?;
        let stored = stored(&client, &layout, &find, &owner, life).await?;
        let position = if stored.sequence > Sequence(0) { stored } else { self.begin.position(life) };
        self.session = Some(Session { client, move_on, effect, find, owner, stored, position });
        Ok(position)
    }
}

/// Where the database stands; a life of which it knows nothing is begun.
async fn stored(
    client: &Client,
    layout: &Layout,
    find: &Statement,
    owner: &[Param; 2],
    life: &Life,
) -> Result<Position, Trouble> {
    let [instance, target] = owner;
    let (stream, authority) = (Param::text(life.stream.clone()), Param::number(life.authority.0));
    let begin = client.prepare(&layout.begin()).await?;
    client.execute(&begin, &[instance, target, &stream, &authority]).await?;
    let found = client.query_one(find, &[instance, target]).await?;
    layout::position(&found, life.instance)
}

impl Session {
    /// One transaction, which moves the position and processes these messages.
    async fn transact(&mut self, rows: &[Row]) -> Result<(), Trouble> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        if self.position.sequence >= first.position.sequence {
            // The node hands over what follows the position that was presented; with a gap, where a large message bears the last of the sequences that it takes.
            return Err(Trouble::stop(format!(
                "message {} was handed over, and the database stands at {}",
                first.position.sequence, self.position.sequence
            )));
        }
        if self.effect.stale {
            self.effect.statement = self.client.prepare(&self.effect.text).await?;
            self.effect.stale = false;
        }
        match self.try_to(rows, last.position).await {
            Ok(true) => {
                (self.stored, self.position) = (last.position, last.position);
                Ok(())
            }
            Ok(false) => Err(self.moved().await?),
            Err(trouble) => {
                // Fails with the connection only.
                let _ = self.client.batch_execute("rollback").await;
                self.effect.stale = true;
                Err(trouble)
            }
        }
    }

    /// A transaction for a message that was parked: the position is locked, and stays where it is.
    async fn transact_parked(&mut self, row: &Row) -> Result<(), Trouble> {
        if self.effect.stale {
            self.effect.statement = self.client.prepare(&self.effect.text).await?;
            self.effect.stale = false;
        }
        match self.try_parked(row).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.moved().await?),
            Err(trouble) => {
                // Fails with the connection only.
                let _ = self.client.batch_execute("rollback").await;
                self.effect.stale = true;
                Err(trouble)
            }
        }
    }

    /// `false` if the position is not where it was.
    async fn try_parked(&self, row: &Row) -> Result<bool, Trouble> {
        let [instance, target] = &self.owner;
        self.client.batch_execute(BEGIN).await?;
        let found = self.client.query_opt(&self.find, &[instance, target]).await?;
        let stored = found.map(|found| layout::position(&found, self.stored.instance)).transpose()?;
        if stored != Some(self.stored) {
            self.client.batch_execute("rollback").await?;
            return Ok(false);
        }
        self.client.execute(&self.effect.statement, &row.params(&self.effect.wanted)).await?;
        self.client.batch_execute("commit").await?;
        Ok(true)
    }

    /// `false` if the position is not where it was.
    async fn try_to(&self, rows: &[Row], last: Position) -> Result<bool, Trouble> {
        let params: Vec<_> = rows.iter().map(|row| row.params(&self.effect.wanted)).collect();
        let [instance, target] = &self.owner;
        let numbers = |position: Position| [position.authority.0, position.sequence.0].map(Param::number);
        let ([authority, after], [former, before]) = (numbers(last), numbers(self.stored));
        let moved = async {
            let params: [&(dyn ToSql + Sync); 6] = [&authority, &after, instance, target, &former, &before];
            self.client.execute(&self.move_on, &params).await
        };
        let begin = async { self.client.batch_execute(BEGIN).await.map(|()| 0) };
        let mut steps = vec![row::boxed(begin), row::boxed(moved)];
        for params in &params {
            steps.push(row::boxed(self.client.execute(&self.effect.statement, params)));
        }
        let answers = together(steps).await;
        // Before all else: where somebody else moved the position, the rows are there already, and refused for that.
        if matches!(answers.get(1), Some(Ok(0))) {
            self.client.batch_execute("rollback").await?;
            return Ok(false);
        }
        // Each error but the first says only that there was one.
        answers.into_iter().collect::<Result<Vec<u64>, _>>()?;
        self.client.batch_execute("commit").await?;
        Ok(true)
    }

    /// The position is not where this handler left it: what that means.
    async fn moved(&self) -> Result<Trouble, Trouble> {
        let [instance, target] = &self.owner;
        let before = self.stored;
        let found = match self.client.query_opt(&self.find, &[instance, target]).await? {
            Some(found) => layout::position(&found, before.instance)?,
            None => Position { sequence: Sequence(0), ..before },
        };
        Ok(if found.authority == before.authority && found.sequence > before.sequence {
            Trouble::stop(format!(
                "somebody else moved the position in the database from {} to {}: another handler works for this target on the same database. \
                 Find it and stop one of the two, then `wattle stream handle` has this one begin again",
                before.sequence, found.sequence
            ))
        } else {
            // It begins anew from there. Under another authority the same number is not the same message.
            Trouble::away(format!(
                "the position in the database went back from {} (authority {}) to {} (authority {}): it was restored",
                before.sequence, before.authority, found.sequence, found.authority
            ))
        })
    }
}

impl Handler for PostgreSql {
    async fn begin(&mut self, life: &Life) -> Result<Option<Position>, Failure> {
        self.open(life).await.map(Some).map_err(Trouble::at_the_beginning)
    }

    fn advice(&self, life: &Life, refusal: &Refusal) -> Option<String> {
        let stored = self.session.as_ref()?.stored;
        let correction =
            |after: Sequence| Layout::of(&self.settings).correction(life.after(after), life.node);
        match refusal {
            Refusal::NotKept { .. } if stored.sequence == Sequence(0) => {
                Some("nothing is stored: say begin = \"kept\" in its [[handler]]".to_owned())
            }
            Refusal::NotKept { kept, .. } => Some(format!("for that, {}", correction(*kept))),
            Refusal::AboveSeal { end, .. } => {
                Some(format!("take out the rows above it, and {}", correction(*end)))
            }
            _ => None,
        }
    }

    async fn handle(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let mut rows = Vec::with_capacity(messages.len());
        for message in messages {
            rows.push(Row::of(message).await?);
        }
        let session = self.session.as_mut().ok_or_else(|| Failure::away("there is no connection"))?;
        match session.transact(&rows).await {
            Err(trouble) if trouble.is_of_a_message() && rows.len() > 1 => {
                // Which message it is of may be known at the commit only (constraints that are deferred): one at a time.
                for (done, row) in rows.iter().enumerate() {
                    let alone = session.transact(std::slice::from_ref(row)).await;
                    alone.map_err(|trouble| trouble.failure().after(done))?;
                }
                Ok(())
            }
            done => done.map_err(Trouble::failure),
        }
    }

    async fn handle_parked(&mut self, message: &Message) -> Result<(), Failure> {
        let row = Row::of(message).await?;
        let session = self.session.as_mut().ok_or_else(|| Failure::away("there is no connection"))?;
        session.transact_parked(&row).await.map_err(Trouble::failure)
    }
}
