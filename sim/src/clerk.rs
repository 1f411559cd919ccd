//! Those who read and write agreed configuration: each asks once, and one order must explain what all of them were told.

use wattle_core::agreed::{ConfigCommand, ConfigRefusal, ConfigReply, Consistency, Expected};
use wattle_core::id::{GroupId, LogIndex, RequestId};
use wattle_core::mesh::handlers::VOTERS;
use wattle_core::node::command::{Command, Refusal, Reply};

use crate::checker::{ConfigAsked as Asked, ConfigTold as Told, Watched};
use crate::desk::{Call, Desk, request_of};
use crate::event::Actor;
use crate::plan::{ConfigPlan, ConfigWish};

/// What contested keys begin with.
const PREFIX: &str = "contested/";

/// One wish, asked once.
#[derive(Debug)]
pub(crate) struct Clerk {
    index: usize,
    plan: ConfigPlan,
    /// From where a watcher was to be told.
    after: u64,
}

impl Clerk {
    /// The wish in that place of a plan.
    #[must_use]
    pub(crate) fn new(index: usize, plan: ConfigPlan) -> Self {
        Self { index, plan, after: 0 }
    }

    /// Sets its only wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        desk.wake(Actor::Clerk(self.index), 0, self.plan.at);
    }

    /// Asks. What it expects to find is what anybody was told last.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>) {
        let latest = desk.books.configuration.latest(self.plan.key);
        let key = format!("{PREFIX}{}", self.plan.key);
        let value = (self.index as u64).to_be_bytes().to_vec().into();
        let (command, asked) = match self.plan.wish {
            ConfigWish::Set => (ConfigCommand::Set { key, value, expected: Expected::Any }, Asked::Set(None)),
            ConfigWish::Swap => {
                let expected = Expected::from_number(Some(latest));
                (ConfigCommand::Set { key, value, expected }, Asked::Set(Some(latest)))
            }
            ConfigWish::Delete => (ConfigCommand::Delete { key, expected: Expected::Any }, Asked::Delete),
            ConfigWish::Get => {
                (ConfigCommand::Get { key, consistency: Consistency::Linearizable }, Asked::Get)
            }
            ConfigWish::Watch | ConfigWish::WatchAll => {
                let all = self.plan.wish == ConfigWish::WatchAll;
                let after = if all { Some(0) } else { desk.books.configuration.watched() };
                self.after = after.unwrap_or(0);
                let (prefix, after) = (PREFIX.to_owned(), after.map(LogIndex));
                return self.ask(desk, ConfigCommand::Watch { prefix, after });
            }
            // How many do is judged by others.
            ConfigWish::Voters(voters) => {
                let (key, value) = (VOTERS.to_owned(), voters.to_string().into());
                let command = ConfigCommand::Set { key, value, expected: Expected::Any };
                return self.ask(desk, command);
            }
            ConfigWish::Peek => (ConfigCommand::Get { key, consistency: Consistency::Local }, Asked::Peek),
        };
        desk.books.configuration.asks(self.index, self.plan.key, desk.now, asked);
        self.ask(desk, command);
    }

    fn ask(&self, desk: &mut Desk<'_>, command: ConfigCommand) {
        let request = request_of(Actor::Clerk(self.index), 0);
        let node = desk.leader.filter(|_| self.plan.leader).unwrap_or(self.plan.node);
        desk.call(node, Call::Command(request, Command::Config(command)));
    }

    /// A node answers. Where the control group may have lost what it decided, nothing need fit.
    ///
    /// # Errors
    /// X22, X23.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> crate::checker::Checked {
        debug_assert_eq!(request, request_of(Actor::Clerk(self.index), 0));
        let checked = self.note(desk, reply);
        if desk.books.logs.excused(GroupId::CONTROL) { Ok(()) } else { checked }
    }

    /// What is refused for other reasons than what the key holds may have happened all the same.
    fn note(&self, desk: &mut Desk<'_>, reply: &Result<Reply, Refusal>) -> crate::checker::Checked {
        if let Ok(Reply::Config(ConfigReply::Changes { fresh, changes, upto })) = reply {
            let number =
                |key: &str| key.strip_prefix(PREFIX).and_then(|key| key.parse().ok()).unwrap_or(u64::MAX);
            let changes = changes.iter().map(|change| (number(&change.key), change.version.0)).collect();
            let told = Watched { after: self.after, upto: upto.0, fresh: *fresh, changes };
            return desk.books.configuration.tells_watcher(told);
        }
        let told = match reply {
            Ok(Reply::Config(ConfigReply::Written { version })) => Told::Written(version.0),
            Ok(Reply::Config(ConfigReply::Deleted { version })) => Told::Deleted(version.0),
            Ok(Reply::Config(ConfigReply::Record { record: None, .. })) => Told::Absent,
            Ok(Reply::Config(ConfigReply::Record { record: Some(record), .. })) => {
                let value = <[u8; 8]>::try_from(&record.value[..]);
                let who = value.map_or(usize::MAX, |value| u64::from_be_bytes(value) as usize);
                Told::Found { who, version: record.version.0 }
            }
            Err(Refusal::Config(ConfigRefusal::Conflict { present, .. })) => {
                Told::Conflict(present.map_or(0, |version| version.0))
            }
            Err(Refusal::Config(ConfigRefusal::UnknownKey(_))) => Told::Absent,
            _ => return Ok(()),
        };
        desk.books.configuration.told(self.index, desk.now, told)
    }
}
