//! A plan is plain data: who is there, what they want, and what goes wrong when. A seed makes one; a person may edit one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wattle_core::planted::Bug;

use crate::content::LARGE_MOST;
use crate::event::{SECOND, Time};
use crate::fault::Fault;
use crate::seed::Seed;
use crate::{generate, text};

mod check;
mod document;
mod flow;
mod members;
mod reading;
mod streams;
mod updates;

pub use flow::{FlowPlan, PausePlan, RankPlan, ScopePlan, ThrottlePlan};
pub use members::{Change, ChangePlan};
pub use reading::{KeepPlan, ReaderPlan};
pub(crate) use streams::VOTERS_MOST;
pub use streams::{CompletePlan, PoisonPlan, StreamPlan, TargetPlan};
pub use updates::{SendPlan, Sequence, UpdatesPlan};

/// The most nodes a plan may have.
pub const MAX_NODES: usize = 2_000;
/// The number of this layout of a plan's text.
pub const FORMAT: u32 = 1;

/// The name of the node at a place of a plan: a tree, and a number once there are no more trees.
#[must_use]
pub fn node_name(index: usize) -> String {
    const TREES: [&str; 6] = ["ash", "birch", "cedar", "dogwood", "elm", "fir"];
    match (TREES[index % TREES.len()], index / TREES.len()) {
        (tree, 0) => tree.into(),
        (tree, round) => format!("{tree}-{}", round + 1),
    }
}

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The layout of its text: [`FORMAT`].
    pub format: u32,
    /// What a person has to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The root of all random streams of the run.
    #[serde(with = "text::number")]
    pub seed: u64,
    /// The deliberate bug that every node carries.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::bug")]
    pub planted: Option<Bug>,
    /// The number of the promise that the bug breaks, or that a bug broke before it was mended: for those who keep the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<String>,
    /// The nodes, in the order in which they join; the first seeds the mesh.
    pub nodes: Vec<NodePlan>,
    /// Which pairs can be linked at all. Between all others no dial succeeds, ever.
    pub edges: Vec<Edge>,
    /// The streams opened.
    pub streams: Vec<StreamPlan>,
    /// Who else opens and closes streams: names that nobody publishes to, contested by several.
    #[serde(default)]
    pub registry: Vec<RegistryPlan>,
    /// What is sent to all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<UpdatesPlan>,
    /// Who reads and writes agreed configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<ConfigPlan>,
    /// Which members go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departures: Vec<DeparturePlan>,
    /// Which members take no part for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<StopPlan>,
    /// Which members have new keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<RotationPlan>,
    /// Whether a quorum is lost, and survivors go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryPlan>,
    /// Whether nodes are lost, and streams are sealed without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealPlan>,
    /// Which targets are taken out of streams, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangePlan>,
    /// Whose streams are, and which are paused and throttled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowPlan>,
    /// What goes wrong, in the order of its beginning.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Whether damage to disks may be beyond repair: then a node that must refuse to start does so for good, and nobody sees to it.
    #[serde(default)]
    pub beyond_repair: bool,
    /// Who stays broken when the others heal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forsaken: Option<ForsakenPlan>,
    /// How bytes travel.
    pub network: NetworkPlan,
    /// How disks behave.
    pub disk: DiskPlan,
    /// How much goes into a message between replicas.
    pub replication: ReplicationPlan,
    /// How long faults may happen; then everything heals.
    #[serde(with = "text::time")]
    pub fault_phase: Time,
    /// Within which time after healing everything owed must have happened. Far above what any configured timeout explains.
    #[serde(with = "text::time")]
    pub progress_bound: Time,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// Its name, unique.
    pub name: String,
    /// Whether others can dial it.
    pub listens: bool,
    /// When it starts for the first time.
    #[serde(with = "text::time")]
    pub boots_at: Time,
    /// Through which earlier, listening neighbour it joins; `None` for the one that seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins_through: Option<usize>,
    /// The earliest moment at which it joins (or seeds).
    #[serde(with = "text::time")]
    pub joins_at: Time,
    /// How fast its monotonic clock runs, in parts per million above the true rate.
    pub clock_ppm: i32,
    /// How far its wall clock is off, in milliseconds.
    pub wall_offset: i64,
    /// How many times as long as usual its disk takes.
    pub disk_factor: u64,
    /// Whether it speaks the next version of the protocol, which only tests have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub next_version: bool,
    /// Where in the world it says that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// A pair of nodes that can be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// One end.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// Whether `a` keeps dialling `b`.
    pub a_dials: bool,
    /// Whether `b` keeps dialling `a`.
    pub b_dials: bool,
}

/// How long chunks travel on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// Always the same.
    Fixed(#[serde(with = "text::time")] Time),
    /// Anything between.
    Uniform(#[serde(with = "text::time")] Time, #[serde(with = "text::time")] Time),
    /// Mostly `base`, sometimes (once in `one_in`) up to `slow`: a lost packet that was sent again.
    Tail {
        /// The usual time.
        #[serde(with = "text::time")]
        base: Time,
        /// How rare the other is.
        one_in: u64,
        /// Its worst.
        #[serde(with = "text::time")]
        slow: Time,
    },
    /// Exponential: many short times, a few long ones.
    Exponential {
        /// The mean.
        #[serde(with = "text::time")]
        mean: Time,
        /// Nothing takes longer.
        #[serde(with = "text::time")]
        most: Time,
    },
    /// Log-normal: as many at a half as at the double.
    LogNormal {
        /// Half of all times are shorter.
        #[serde(with = "text::time")]
        median: Time,
        /// Two thirds lie within the factor `2^(spread / 100)` of it.
        spread: u64,
        /// Nothing takes longer.
        #[serde(with = "text::time")]
        most: Time,
    },
    /// Two ways, of which one is slow.
    Bimodal {
        /// From, to, over the usual way.
        #[serde(with = "text::times")]
        quick: (Time, Time),
        /// From, to, over the other.
        #[serde(with = "text::times")]
        slow: (Time, Time),
        /// How rarely it is taken.
        one_in: u64,
    },
}

/// How bytes travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPlan {
    /// How long chunks travel on every link that `links` does not name.
    pub latency: Latency,
    /// How long they travel on others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkPlan>,
    /// Bytes per second in each direction of a connection; 0 for no limit.
    pub bandwidth: u64,
    /// How many bytes may be under way in one direction of a connection before its socket is full.
    pub window: usize,
    /// One transmit in so many is cut into several chunks; 0 for none.
    pub split_one_in: u64,
    /// One frame in so many arrives twice; 0 for none.
    pub duplicate_one_in: u64,
}

/// One direction between two linked nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkPlan {
    /// From whom.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// How long chunks travel.
    pub latency: Latency,
}

/// How disks behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskPlan {
    /// How long a sync takes: from, to.
    #[serde(with = "text::times")]
    pub sync: (Time, Time),
    /// Whether a crash keeps any subset of the unsynced rows, some of them torn, rather than a prefix.
    pub rows_may_tear: bool,
    /// How many dead bytes a journal may hold before what is alive among them is moved.
    pub slack: u64,
    /// How many bytes of rows fit, the reserve not counted.
    pub capacity: u64,
    /// How much more fits for what must still be written when `capacity` is used up.
    pub reserve: u64,
}

/// How much goes into a message between replicas: small messages show logs in states that large ones skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicationPlan {
    /// Entries in one message.
    pub entries: usize,
    /// Bytes of entries in one message; one entry goes in any case.
    pub bytes: usize,
    /// Messages under way to one replica.
    pub window: usize,
    /// Bytes of appends that a node holds while they wait for payloads. What it cannot hold is sent again.
    #[serde(default = "held_bytes")]
    pub held: usize,
    /// Bytes that the logs of a node may take in memory: what is older is read back for who needs it.
    #[serde(default = "log_bytes", skip_serializing_if = "is_usual_log")]
    pub log: u64,
    /// The most voters of the control group.
    #[serde(default = "voters", skip_serializing_if = "is_usual")]
    pub voters: usize,
    /// Learners of the control group that each member feeds.
    #[serde(default = "fan_out", skip_serializing_if = "is_usual_fan_out")]
    pub fan_out: usize,
}

/// How many learners a member feeds, unless it is told otherwise.
pub const FAN_OUT: usize = 16;

fn fan_out() -> usize {
    FAN_OUT
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_fan_out(fan_out: &usize) -> bool {
    *fan_out == FAN_OUT
}

/// The most voters of a control group, unless it is told otherwise.
pub const VOTERS: usize = 5;

fn voters() -> usize {
    VOTERS
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual(voters: &usize) -> bool {
    *voters == VOTERS
}

fn held_bytes() -> usize {
    32 << 20
}

/// What logs may take in memory, unless it is told otherwise.
pub const LOG_BYTES: u64 = 64 << 20;

fn log_bytes() -> u64 {
    LOG_BYTES
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_log(bytes: &u64) -> bool {
    *bytes == LOG_BYTES
}

impl Default for ReplicationPlan {
    /// What a node has unless it is told otherwise.
    fn default() -> Self {
        Self {
            entries: 256,
            bytes: 256 << 10,
            window: 32,
            held: held_bytes(),
            log: LOG_BYTES,
            voters: VOTERS,
            fan_out: FAN_OUT,
        }
    }
}

/// Nodes that stay broken for ever when the others heal: the others owe what they can do among themselves. Where they could do nothing
/// alone (they hold no majority of the control group, are not connected without these, or something was lost before), all heal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForsakenPlan {
    /// Who.
    pub nodes: Vec<usize>,
    /// What is wrong with them.
    pub how: Forsaken,
}

/// What is wrong with nodes that do not heal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forsaken {
    /// They are down.
    Down,
    /// Nothing comes or goes.
    CutOff,
    /// What they say is heard, and they hear nothing.
    Shouting,
}

/// One wish for a contested name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryPlan {
    /// When it is asked.
    #[serde(with = "text::time")]
    pub at: Time,
    /// The node that is asked.
    pub node: usize,
    /// Whether whoever leads the control group is asked instead, as far as anybody said who does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leader: bool,
    /// Which of the contested names.
    pub name: u64,
    /// What is asked.
    pub wish: Wish,
}

/// A member that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeparturePlan {
    /// When, at the earliest: not before all nodes were members.
    #[serde(with = "text::time")]
    pub at: Time,
    /// Who.
    pub node: usize,
    /// The node that is asked to have it evicted.
    pub asked_at: usize,
    /// How.
    pub parting: Parting,
    /// How long after that it joins again, and through whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns: Option<(Time, usize)>,
}

/// A member that takes no part for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopPlan {
    /// When, at the earliest: not before all nodes were members.
    #[serde(with = "text::time")]
    pub at: Time,
    /// Who.
    pub node: usize,
    /// Whether it is to stay stopped until it is started, whatever starts of its process lie between; otherwise its process ends, and starts again.
    pub lasting: bool,
    /// How long it is to be away.
    #[serde(with = "text::time")]
    pub away: Time,
}

/// A member's identity key gives way to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationPlan {
    /// When, at the earliest: not before all nodes were members.
    #[serde(with = "text::time")]
    pub at: Time,
    /// Whose.
    pub node: usize,
    /// Whether the old one is to be good no more as soon as that can be.
    #[serde(default)]
    pub finish: bool,
}

/// A quorum that is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryPlan {
    /// When an operator has survivors go on, at the earliest: not before all nodes were members.
    #[serde(with = "text::time")]
    pub at: Time,
    /// The survivor that is asked.
    pub asked_at: usize,
    /// Whether another survivor is asked each time that one did not do it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wanders: bool,
    /// Who is named lost, in rising order.
    pub lost: Vec<usize>,
}

/// Nodes that are lost, for good as far as an operator knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealPlan {
    /// When an operator has streams sealed whose quorum they were, at the earliest: not before all nodes were members.
    #[serde(with = "text::time")]
    pub at: Time,
    /// The node that is asked.
    pub asked_at: usize,
    /// Who is named lost.
    pub node: usize,
    /// Who else is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<usize>,
}

impl SealPlan {
    /// All who are named lost.
    #[must_use]
    pub fn lost(&self) -> Vec<usize> {
        std::iter::once(self.node).chain(self.more.iter().copied()).collect()
    }
}

/// How a member goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parting {
    /// Another member has it taken out.
    Evict,
    /// It asks for that itself.
    Leave,
}

/// What is asked of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wish {
    /// To open the name between these nodes, or find it so.
    Open {
        /// The node that would accept.
        source: usize,
        /// The node that would process.
        target: usize,
    },
    /// To close the name.
    Close,
}

/// One wish about a key of the agreed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigPlan {
    /// When it is asked.
    #[serde(with = "text::time")]
    pub at: Time,
    /// The node that is asked.
    pub node: usize,
    /// Whether whoever leads the control group is asked instead, as far as anybody said who does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leader: bool,
    /// Which of the keys.
    pub key: u64,
    /// What is asked.
    pub wish: ConfigWish,
}

/// What is asked about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConfigWish {
    /// To write it, whatever it holds.
    Set,
    /// To write it if it holds what anybody was told last.
    Swap,
    /// To take it away.
    Delete,
    /// What it holds, with all that was answered before.
    Get,
    /// What it holds as far as the asked node knows.
    Peek,
    /// What was written under any key since a watcher was told something last; the key does not matter.
    Watch,
    /// What was written under any key since the beginning; the key does not matter.
    WatchAll,
    /// That so many vote in the control group, if there are as many; the key does not matter.
    Voters(u64),
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A publisher: a writer with a list of messages it wants to see delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublisherPlan {
    /// When it begins.
    #[serde(with = "text::time")]
    pub starts_at: Time,
    /// How many messages it has.
    pub messages: u64,
    /// How many go into one call: from, to.
    pub batch: (u64, u64),
    /// How long a message is: from, to. The first 17 bytes name it.
    pub bytes: (u64, u64),
    /// One message in so many is long (up to 48 KiB); 0 for none.
    pub long_one_in: u64,
    /// One message in so many has several parts (up to 12 KiB, in parts of one), and is staged; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub large_one_in: u64,
    /// How often it waits for accepted, replicated, completed: weights.
    pub waits: [u64; 3],
    /// How many calls it keeps open at once.
    pub pipeline: usize,
    /// The pause between calls: from, to.
    #[serde(with = "text::times")]
    pub pause: (Time, Time),
    /// How often it publishes everything from the beginning again.
    pub repeats: u32,
    /// How long it waits for an answer before it repeats.
    #[serde(with = "text::time")]
    pub patience: Time,
    /// One answer in so many is lost on its way to the publisher; 0 for none.
    pub answers_lost_one_in: u64,
    /// After a lost answer: one time in so many it asks the node where it stands, instead of repeating; 0 for never.
    pub asks_one_in: u64,
    /// One call in so many leaves a gap on purpose and must be refused; 0 for none.
    pub gaps_one_in: u64,
    /// Whether it closes its writer in the end, and then tries to write on.
    pub closes: bool,
}

/// What a handler keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HandlerKind {
    /// The position is stored with the effect, in one atomic step, and presented on attaching.
    Transactional,
    /// Effects are keyed; nothing is presented.
    Idempotent,
}

/// How a handler is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InterruptionKind {
    /// It says goodbye and comes back later.
    Detach,
    /// Another attaches while it still works; a verdict of the old one comes late.
    Takeover,
}

/// An interruption of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interruption {
    /// When.
    #[serde(with = "text::time")]
    pub at: Time,
    /// How.
    pub kind: InterruptionKind,
    /// For how long nobody handles (detach only).
    #[serde(with = "text::time")]
    pub away: Time,
}

/// A handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerPlan {
    /// When it attaches first.
    #[serde(with = "text::time")]
    pub attaches_at: Time,
    /// What it keeps.
    pub kind: HandlerKind,
    /// How many messages it takes before a verdict is owed: from, to, drawn at each attaching.
    pub window: (u32, u32),
    /// How long one round of work takes: from, to.
    #[serde(with = "text::times")]
    pub service: (Time, Time),
    /// What interrupts it.
    #[serde(default)]
    pub interruptions: Vec<Interruption>,
    /// From then on, and until all faults are over, it processes nothing that it is handed; 0: it never stands still.
    #[serde(default, with = "text::time", skip_serializing_if = "is_zero")]
    pub stands_still_at: Time,
    /// When it attaches again, it presents a position that nobody ever gave it one time in so many; 0 for never.
    #[serde(default, with = "text::number", skip_serializing_if = "never")]
    pub forges_one_in: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn never(one_in: &u64) -> bool {
    *one_in == 0
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn generate(seed: impl Into<Seed>) -> Self {
        generate::plan(seed.into())
    }

    /// Whether a node was given the address of another to dial.
    #[must_use]
    pub fn dials(&self, from: usize, to: usize) -> bool {
        self.edges.iter().any(|edge| {
            (edge.a, edge.b) == (from, to) && edge.a_dials || (edge.b, edge.a) == (from, to) && edge.b_dials
        })
    }

    /// The same plan with a deliberate bug in every node. Has an effect only in builds with the feature `planted`.
    #[must_use]
    pub fn with_bug(mut self, bug: Option<Bug>) -> Self {
        self.planted = bug;
        self
    }

    /// The kinds of its faults.
    #[must_use]
    pub fn fault_kinds(&self) -> BTreeSet<String> {
        self.faults.iter().map(|fault| fault.kind.name()).collect()
    }

    /// The same plan without the faults of a kind.
    #[must_use]
    pub fn without(mut self, kind: &str) -> Self {
        self.faults.retain(|fault| fault.kind.name() != kind);
        self
    }

    /// Whether bytes can ever flow between two nodes.
    #[must_use]
    pub fn linked(&self, one: usize, other: usize) -> bool {
        self.edges.iter().any(|edge| (edge.a, edge.b) == (one, other) || (edge.a, edge.b) == (other, one))
    }

    /// Where a node is dialled.
    #[must_use]
    pub fn address(&self, node: usize) -> String {
        format!("{}.sim:7000", self.nodes[node].name)
    }

    /// The same without messages of several parts: toys have none.
    #[cfg(test)]
    pub(crate) fn without_large(mut self) -> Self {
        let publishers = self.streams.iter_mut().flat_map(|stream| &mut stream.publishers);
        publishers.for_each(|publisher| publisher.large_one_in = 0);
        self
    }

    /// Whether any message has several parts.
    #[must_use]
    pub fn has_large(&self) -> bool {
        self.streams.iter().flat_map(|stream| &stream.publishers).any(|publisher| publisher.large_one_in > 0)
    }

    /// How many messages all publishers together have.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.streams.iter().flat_map(|stream| &stream.publishers).map(|publisher| publisher.messages).sum()
    }

    /// How many records they make at least, each part of a large one counted.
    #[must_use]
    pub fn records(&self) -> u64 {
        let parts = |publisher: &PublisherPlan| {
            let large = publisher.messages.checked_div(publisher.large_one_in).unwrap_or(0);
            publisher.messages + 2 * large * crate::content::parts(LARGE_MOST as u64)
        };
        self.streams.iter().flat_map(|stream| &stream.publishers).map(parts).sum()
    }

    /// About how many bytes all publishers together have.
    #[must_use]
    pub fn workload_bytes(&self) -> u64 {
        let publishers = self.streams.iter().flat_map(|stream| &stream.publishers);
        publishers
            .map(|publisher| {
                let long = (48u64 << 10).checked_div(publisher.long_one_in).unwrap_or(0);
                let large = (LARGE_MOST as u64).checked_div(publisher.large_one_in).unwrap_or(0);
                publisher.messages * (publisher.bytes.1 + long + large)
            })
            .sum()
    }
}

/// How long after healing progress is owed: redials back off to a few seconds, elections take under a second, a join or a
/// forwarded request is asked again after a few seconds; a chain of all of these over the longest line stays far below.
pub const PROGRESS_BOUND: Time = 60 * SECOND;
