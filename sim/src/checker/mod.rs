//! The checkers. They know what is promised, not how it is done: what publishers were told, what handlers were given, what
//! nodes say of themselves.
//!
//! | number | promise |
//! | --- | --- |
//! | X1 | a handler is called in order, without gap, within its window, under its newest token only, and is told that another took over if one did |
//! | X2 | each message of a writer is in its stream once, bytes equal, in the writer's order; a transactional handler stores exactly that |
//! | X3 | what was reported accepted is delivered, at the sequence that was reported as final |
//! | X4 | receipts rise from level to level; completed only after the handler's success |
//! | X5 | at most a window of calls is repeated after a crash |
//! | X6 | watermarks stand in their order and never go back |
//! | X7 | nodes agree: one leader per group and term, whom a majority voted for, one meaning per name, and in the end one configuration and one state |
//! | X8 | traffic is bounded: nothing circles |
//! | X9 | publishing again adds nothing and is answered alike |
//! | X10 | what was refused never shows up |
//! | X11 | a node that only crashed starts again; it stops for a failed write, a rolled-back disk or a damaged one alone |
//! | X12 | what a group committed stays: one entry per place of its log, for everybody and for ever |
//! | X13 | a replica that was told of its rolled-back disk does not lead under its old name, and whom another could tell is told |
//! | X14 | what the registry told everybody is explained by one order of all that was asked of it (linearizability) |
//! | X15 | what is completed at the source is marked on the disk of the target |
//! | X16 | a node does not start on a disk that shows that a row of it is not what it was |
//! | X17 | promptness: a neighbour whose link held for long is dialled again within the shortest pause |
//! | X18 | whoever was told that its disk is nearly full refuses, and whoever was told of room does not refuse for want of it |
//! | X19 | of several connections between two nodes one stays: a link goes down only because something broke |
//! | X20 | the first beat of a later start counts at once; a start that was replaced does not come back while its successor is heard |
//! | X21 | what a node said outlasts its end: no two starts are heard under one count, and a stream that it closed stays closed |
//! | X22 | what was told of agreed configuration is explained by one order of all that was asked (linearizability); a version is one write |
//! | X23 | a watcher of agreed configuration is told everything that is written, in order, or all there is |
//! | X24 | an update that was acknowledged reaches every member, all in one order, each once but for calls in flight at an end |
//! | X25 | who was evicted or left is no member, has no link and no vote wherever that is known; all members come to know it, and it itself |
//! | X26 | survivors of a lost quorum that go on keep what they had applied, and never apply what the lost decided since; the lost are no members there, and at another epoch; none of the lost gives up what it acknowledged |
//! | X27 | a member that was stopped takes no part, at its next starts too if that was ordered, until it is started: nothing passes it, and it leads nothing that another could |
//! | X28 | a stream that lost its quorum is sealed once, at one message: without its source what was told replicated and survivors hold lies in front of it, nothing behind it is handed over; whoever comes back acknowledges nothing more, and keeps what it accepted |
//! | X29 | what is told replicated was on the disks of most members, learners included |
//! | X30 | members of a stream change as they were asked to, each change once and in one order; whoever is out is waited for no more, counts no more and keeps nothing, and those who stay hold what was told replicated |
//! | X31 | what a publisher of a large message is told to be durable of it is held; parts that are not what the whole is called are refused |
//! | X32 | only who was asked for is added to a stream, from one start for all who say it; it holds what was told replicated before, and is handed everything from its start on, and nothing in front of that |
//! | X33 | a message at which a handler fails is tried so often as the policy says, and then processed or parked, never both and never neither; what is parked stays until a retry succeeds or somebody discards it, and is handed over by a retry only |
//! | X34 | once a source said that streams are paused, nothing that is sent to it for the first time is accepted or staged before somebody asks for them to be resumed |
//! | X35 | once a source said that a rule bounds the rate of streams, what it accepts of them within any while, first sent within it, is no more than the rate makes of that while and a second, and what came together with the last of it; a fall of the source is worth another second |
//! | X37 | who reads a stream again is handed what its target has processed and keeps, in order, without gap, bytes equal, within its window and its range; and what a stream is to keep by number or by bytes is kept, unless a status says that there was no room |
//! | X42 | a stream fails by a message that its target's handler failed at as often as the policy says, anew after each resume, and no oftener; from then on it takes nothing more in, and nothing is handed over there, before somebody asks for a resume |
//! | X43 | of a stream that says so, a target is detached that processes nothing for as long as that bears, and nobody else; not if those who are left cannot meet the policy; and one that stands still for far longer is out in the end |
//! | X40 | no node takes itself for one that exists twice: starts that follow one another prove nothing, whatever the network repeats and wherever disks were rolled back |
//! | X41 | a node proves only keys that are on its disk; who knows that a key is retired keeps no connection under it; a sound node is never locked out by a new key; in the end all accept the same |
//!
//! Besides, the first word of a panicking assertion inside a node (R3, S4 ...) is a checker of its own.

mod agreement;
mod configuration;
mod departures;
mod failing;
mod flow;
mod handling;
mod idle;
mod keys;
mod linear;
mod links;
mod log;
mod members;
mod peers;
mod rates;
mod reading;
mod recoveries;
mod registry;
mod relay;
mod seals;
mod starts;
mod status;
mod stops;
mod stream;
mod stretches;
mod traffic;
mod updates;
mod votes;
mod watching;
mod whole;

use wattle_core::id::GroupId;

pub use agreement::Agreement;
pub use configuration::{Asked as ConfigAsked, Configuration, Told as ConfigTold, WISHES_MOST};
pub use departures::Departures;
pub use failing::Failures;
pub use flow::Flows;
pub use handling::Handling;
pub use idle::Idle;
pub use keys::{Keys, disagree_on_keys};
pub use links::{Neighbours, Pauses};
pub use log::{Ballot, Logs};
pub use members::Members;
pub use peers::{News, Peers};
pub use rates::{Load, Sent};
pub use reading::Reading;
pub use recoveries::Recoveries;
pub use registry::{Asked as Wished, CALLS_MOST, Ends, Registry, Told};
pub use relay::Relays;
pub use seals::Seals;
pub use starts::Starts;
pub use status::Watermarks;
pub use stops::Stops;
pub use stream::{Asked, Left, StreamLedger};
pub use traffic::Traffic;
pub use updates::UpdateLedger;
pub use votes::Votes;
pub use watching::Watched;
pub use whole::{completed_is_marked, log_is_bounded, nobody_parted, refuses_for_want_of_room};

/// How many promises there are: X1 to this.
pub const CHECKERS: u32 = 35;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number of the promise.
    pub checker: String,
    /// What was seen.
    pub message: String,
    /// The group whose decisions it follows from, if nothing else does: where these may differ, so may this.
    pub decided_by: Option<GroupId>,
}

impl Failure {
    pub(crate) fn new(checker: &str, message: String) -> Self {
        Self { checker: checker.into(), message, decided_by: None }
    }

    fn decided_by(self, group: GroupId) -> Self {
        Self { decided_by: Some(group), ..self }
    }

    /// The failure that a panic inside a node stands for: its number is what the message begins with.
    pub(crate) fn from_panic(message: &str) -> Self {
        let message = match message.split_once(" failed: ") {
            Some((start, rest)) if start.starts_with("assertion `") => rest,
            _ => message,
        };
        match message.split_once(':') {
            Some((number, rest)) if number.len() <= 16 && !number.contains(char::is_whitespace) => {
                Self::new(number, rest.trim().into())
            }
            _ => Self::new("panic", message.into()),
        }
    }
}

/// The outcome of a check.
pub type Checked = Result<(), Failure>;

/// Fails with a number and a message unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $checker:literal, $($message:tt)+) => {
        if !$condition {
            return Err($crate::checker::Failure::new($checker, format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// What tests of several checkers make up.
#[cfg(test)]
mod fixture {
    use wattle_core::ends::Ends;
    use wattle_core::id::{BootId, Generation, NodeId, StreamInstance};
    use wattle_core::node::Status;
    use wattle_core::node::status::{MemberStatus, StreamStatus};
    use wattle_core::work::PublicKey;

    /// A stream from node 1 to node 2.
    pub(super) fn stream(instance: u128) -> StreamStatus {
        let ends = Ends::between(NodeId(1), NodeId(2));
        StreamStatus::between(&ends, "words".into(), StreamInstance(instance))
    }

    /// A member with those keys, of which nothing else is known.
    pub(super) fn member(node: u128, keys: &[PublicKey], rotation: u64) -> MemberStatus {
        MemberStatus {
            node: NodeId(node),
            name: String::new(),
            addresses: Vec::new(),
            api: None,
            reachable: true,
            hops: None,
            region: None,
            voting: String::new(),
            stopped: false,
            duplicated: false,
            keys: keys.to_vec(),
            rotation,
            voter: false,
            described: None,
        }
    }

    /// A node that shows streams and knows of nothing else.
    pub(super) fn status(node: u128, streams: Vec<StreamStatus>) -> Status {
        Status {
            node: NodeId(node),
            name: String::new(),
            boot: BootId(1),
            generation: Generation(1),
            mesh: None,
            mesh_name: String::new(),
            settings: wattle_core::agreed::MeshSettings::default(),
            epoch: wattle_core::epoch::Epoch::default(),
            recovery: wattle_core::recovery::RecoveryStatus::default(),
            parted: None,
            duplicate: None,
            key_retired: None,
            standing: None,
            activity: wattle_core::mesh::Activity::Running,
            former: Vec::new(),
            members: Vec::new(),
            links: Vec::new(),
            control: None,
            streams,
            updates: Vec::new(),
            refusing: None,
            journal_bytes: 0,
            journal_live_bytes: 0,
            logs: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_named_by_the_number_its_message_begins_with() {
        let failure = Failure::from_panic("R3: log shrank below commit: 4 < 5");
        assert_eq!(
            (failure.checker.as_str(), failure.message.as_str()),
            ("R3", "log shrank below commit: 4 < 5")
        );
        let failure = Failure::from_panic("assertion `left == right` failed: S2: sums\n left: 1\n right: 2");
        assert_eq!(failure.checker, "S2");
        let failure = Failure::from_panic("index out of bounds: the len is 3");
        assert_eq!(failure.checker, "panic");
    }
}
