//! The tables.
//!
//! ```sql
//! create table wattle_positions (      -- one row for each stream and target that has its effects here
//!   instance   text not null,          -- the life of the stream, as `wattle stream show` prints it
//!   target     text not null,          -- the id of the node
//!   stream     text not null,          -- the name of the stream, for people
//!   authority  bigint not null,        -- the authority of the last message
//!   sequence   bigint not null,        -- the last message whose effect is here; 0 for none
//!   moved      timestamptz not null default now(),
//!   primary key (instance, target));
//!
//! create table wattle_messages (       -- unless a `statement` does something else
//!   instance         text not null,
//!   sequence         bigint not null,
//!   id               text not null,    -- a ULID
//!   writer           text not null,
//!   writer_sequence  bigint not null,  -- (instance, writer, writer_sequence) is the stable key
//!   body             bytea not null,
//!   primary key (instance, sequence));
//! ```
//!
//! They are made where they are not there. Somebody may have made them before with columns of other types (`body jsonb`), more columns that have defaults,
//! constraints and triggers: what these refuse is a failure of that message.

use tokio_postgres::{Client, Row};
use wattle_core::id::{AuthorityEpoch, NodeId, Sequence, StreamInstance};
use wattle_core::node::command::Position;

use super::connection::Trouble;
use crate::settings::PostgreSqlSettings;

/// The statements of one handler.
#[derive(Debug)]
pub(super) struct Layout {
    positions: String,
    table: String,
    statement: Option<String>,
}

impl Layout {
    pub(super) fn of(settings: &PostgreSqlSettings) -> Self {
        let quoted =
            |name: &str| name.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(".");
        Self {
            positions: quoted(&settings.positions),
            table: quoted(&settings.table),
            statement: settings.statement.clone(),
        }
    }

    /// Makes the tables that are not there.
    pub(super) async fn make(&self, client: &Client) -> Result<(), Trouble> {
        let positions = "instance text not null, target text not null, stream text not null, authority bigint not null, \
             sequence bigint not null, moved timestamptz not null default now(), primary key (instance, target)";
        let messages = "instance text not null, sequence bigint not null, id text not null, writer text not null, \
             writer_sequence bigint not null, body bytea not null, primary key (instance, sequence)";
        let wanted = [(&self.positions, positions), (&self.table, messages)];
        for (table, columns) in wanted.iter().take(if self.statement.is_some() { 1 } else { 2 }) {
            // `create table if not exists` asks for the right to make one even where it is there.
            let found = client.query_one("select to_regclass($1) is not null", &[table]).await?;
            if !found.try_get::<_, bool>(0)? {
                client.batch_execute(&format!("create table {table} ({columns})")).await?;
            }
        }
        Ok(())
    }

    /// Given the instance, the target, the stream's name, the authority. Sequence 0 says that nothing is here yet.
    pub(super) fn begin(&self) -> String {
        format!(
            "insert into {} (instance, target, stream, authority, sequence) values ($1, $2, $3, $4, 0) on conflict do nothing",
            self.positions
        )
    }

    /// What an operator has the server do, so that the handler goes on after another message.
    pub(super) fn correction(&self, position: Position, target: NodeId) -> String {
        let Position { instance, authority, sequence } = position;
        format!(
            "update {} set authority = {authority}, sequence = {sequence} where instance = '{instance}' and target = '{target}'",
            self.positions
        )
    }

    /// Given the instance and the target. It waits for a transaction that has moved the position and is not at its end; so does `begin`, where the row is there.
    pub(super) fn find(&self) -> String {
        format!(
            "select authority, sequence from {} where instance = $1 and target = $2 for update",
            self.positions
        )
    }

    /// Given the new authority and sequence, the instance, the target, the former authority and sequence.
    pub(super) fn move_on(&self) -> String {
        format!(
            "update {} set authority = $1, sequence = $2, moved = now() \
             where instance = $3 and target = $4 and authority = $5 and sequence = $6",
            self.positions
        )
    }

    /// Processes a message: see [`super::row`].
    pub(super) fn effect(&self) -> String {
        self.statement.clone().unwrap_or_else(|| {
            format!(
                "insert into {} (instance, sequence, id, writer, writer_sequence, body) \
                 values ({{instance}}, {{sequence}}, {{id}}, {{writer}}, {{writer_sequence}}, {{body}})",
                self.table
            )
        })
    }
}

/// Reads what `find` found.
pub(super) fn position(found: &Row, instance: StreamInstance) -> Result<Position, Trouble> {
    let number = |column: usize| {
        let number: i64 = found.try_get(column)?;
        u64::try_from(number).map_err(|_| Trouble::away(format!("the stored position has {number}")))
    };
    let (authority, sequence) = (AuthorityEpoch(number(0)?), Sequence(number(1)?));
    Ok(Position { instance, authority, sequence })
}
