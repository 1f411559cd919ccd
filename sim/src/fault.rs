//! What can go wrong, and when, as data.

mod visit;

use serde::{Deserialize, Serialize};

use crate::event::Time;
use crate::network::Disturbance;
use crate::plan::Edge;
use crate::text;
use crate::trouble::Trouble;

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its name: the key of its random stream, kept when other faults are removed.
    #[serde(with = "text::number")]
    pub id: u64,
    /// When it begins.
    pub when: Trigger,
    /// What it is.
    pub kind: FaultKind,
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// At a time.
    At(#[serde(with = "text::time")] Time),
    /// When something happens.
    On(Condition),
}

impl Trigger {
    /// The time, if it is one that is known beforehand.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        match *self {
            Self::At(at) => Some(at),
            Self::On(_) => None,
        }
    }
}

/// Something that happens in a run, and its number among its like. What does not happen before all faults end never begins a fault.
///
/// Faults that may not hit a mesh whose members do not all know each other yet (see [`FaultKind::is_light`]) count from the moment at
/// which these do; all others from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// What happens.
    pub moment: Moment,
    /// At which node; `None` for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<usize>,
    /// The first time is 1.
    #[serde(default = "first")]
    pub nth: u32,
    /// How long after it the fault begins. After nothing, a crash of that very node hits in the middle of its step: what the step
    /// still had to write and to send is lost.
    #[serde(default, with = "text::time")]
    pub after: Time,
}

fn first() -> u32 {
    1
}

macro_rules! moments {
    ($($(#[doc = $doc:literal])+ $moment:ident,)+) => {
        /// What the world sees of a node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Moment {
            $($(#[doc = $doc])+ $moment,)+
        }

        impl Moment {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$moment,)+];
        }
    };
}

moments! {
    /// It starts.
    Boot,
    /// It becomes the leader of the control group.
    Lead,
    /// It wants a row written. Nothing of the row is on disk.
    Write,
    /// A step that wrote is over, and what it wrote is not synced. The number counts rows.
    WriteUnsynced,
    /// A sync ended well.
    Synced,
    /// It hands messages to a handler.
    Deliver,
    /// It tells a publisher that messages are accepted.
    Accept,
    /// It tells who asked that a stream is open.
    StreamOpen,
    /// It led, was cut off for that, and is back.
    Return,
    /// It asks for a vote, or whether it would get one.
    SendVoteRequest,
    /// It answers that.
    SendVote,
    /// It sends entries, or its word that there are none.
    SendAppend,
    /// It says what came of them.
    SendAppendReply,
    /// It sends a snapshot.
    SendSnapshot,
    /// It tells or asks what is remembered of another's disk.
    SendRecall,
    /// It says that it goes on under a fresh replica id.
    SendRenamed,
    /// It asks another member than its leader for what is committed.
    SendFeed,
    /// It sends that to a learner without leading it.
    SendFed,
    /// It says that it feeds somebody no longer, or is to be fed no longer.
    SendUnfed,
    /// It sends a request or an answer to another member.
    SendMesh,
    /// It sends anything of a stream beside consensus: sessions, payloads, restated marks.
    SendStream,
    /// It sends anything of a join.
    SendJoin,
    /// It sends link states.
    SendRoute,
    /// It orders a survivor of a lost quorum to take part in a recovery.
    SendOrder,
    /// It says where its log ends, or why not.
    SendLogEnd,
    /// It asks a survivor to go on alone.
    SendFound,
    /// It says that it does, or why not.
    SendFounded,
}

impl Moment {
    /// Whether what is sent must be read to see it.
    #[must_use]
    pub fn is_message(self) -> bool {
        self as u8 >= Self::SendVoteRequest as u8
    }
}

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// A node loses its memory and what its disk had not synced, and starts again.
    Crash {
        /// Who.
        node: usize,
        /// Without power the far ends of its connections learn of it late; a killed process is noticed at once.
        power: bool,
        /// `Some(k)`: not at that moment, but in the first step after it that gives more than `k` outputs, after `k` of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_outputs: Option<u32>,
        /// How long it stays down.
        #[serde(with = "text::time")]
        down: Time,
    },
    /// A node stands still, then finds everything that came meanwhile.
    Pause {
        /// Who.
        node: usize,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// Bytes between two nodes stall, one way or both ways; new dials fail.
    Cut {
        /// From whom.
        from: usize,
        /// To whom.
        to: usize,
        /// Whether the other direction stalls too.
        both: bool,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// All that leaves a node stalls, or all that comes, or both.
    Isolate {
        /// Who.
        node: usize,
        /// Whether what comes stalls.
        inbound: bool,
        /// Whether what leaves stalls.
        outbound: bool,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// The nodes fall into two halves.
    Partition {
        /// One half, in rising order.
        side: Vec<usize>,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// Every connection between two nodes breaks.
    Reset {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
        /// Whether bytes under way still arrive, at an end that learns of the break only later.
        late: bool,
    },
    /// Bytes between two nodes take longer.
    Slow {
        /// From whom.
        from: usize,
        /// To whom.
        to: usize,
        /// By how much.
        #[serde(with = "text::time")]
        extra: Time,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// Something else is wrong with the way between two nodes.
    Disturb {
        /// From whom.
        from: usize,
        /// To whom.
        to: usize,
        /// Whether it is wrong the other way too.
        both: bool,
        /// What.
        what: Disturbance,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// The link between two nodes goes down and comes back, again and again. Its times are drawn by orders of magnitude, so that it
    /// looks alike whether one looks at milliseconds or at seconds.
    Flap {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
        /// The shortest time it stays as it is.
        #[serde(with = "text::time")]
        shortest: Time,
        /// The longest.
        #[serde(with = "text::time")]
        longest: Time,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// The connections between two nodes die in one direction, and nobody is told.
    Silence {
        /// Whose bytes vanish.
        from: usize,
        /// On their way to whom.
        to: usize,
    },
    /// A node forgets its connections to another, which believes in them.
    HalfOpen {
        /// Who forgets.
        forgets: usize,
        /// Who believes.
        believes: usize,
    },
    /// The connections between two nodes break for one end at once; the other still receives old bytes when a newer connection is up.
    Overtake {
        /// Who is told at once.
        from: usize,
        /// Who is told late.
        to: usize,
        /// How much later the old bytes arrive.
        #[serde(with = "text::time")]
        by: Time,
    },
    /// The address translation before a node starts anew: the connections it dialled are dead, and nobody is told.
    Rebind {
        /// Who.
        node: usize,
    },
    /// A disk takes longer.
    SlowDisk {
        /// Whose.
        node: usize,
        /// How many times as long.
        factor: u64,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// Somebody else fills the disk.
    FullDisk {
        /// Whose.
        node: usize,
        /// What is left, in bytes.
        left: u64,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// The next sync fails: the node is told, stops, and starts again a little later.
    FailedWrite {
        /// Whose.
        node: usize,
    },
    /// A node crashes and comes back on an older image of its disk.
    RolledBack {
        /// Who.
        node: usize,
        /// When the image is taken.
        #[serde(with = "text::time")]
        image_at: Time,
        /// How long it stays down.
        #[serde(with = "text::time")]
        down: Time,
    },
    /// Whoever leads the control group is cut off or crashes, then whoever is elected next, and so on.
    Depose {
        /// How many leaders.
        times: u32,
        /// How long after it leads each is hit, at most.
        #[serde(with = "text::time")]
        delay: Time,
        /// How long each is away, at most.
        #[serde(with = "text::time")]
        length: Time,
        /// Whether they crash; otherwise they are cut off.
        crash: bool,
    },
    /// A wall clock jumps.
    WallStep {
        /// Whose.
        node: usize,
        /// By how many milliseconds.
        millis: i64,
    },
    /// Something is wrong with the process, the disk or the clock of one node.
    Trouble {
        /// Whose.
        node: usize,
        /// What.
        what: Trouble,
    },
}

impl FaultKind {
    /// The name of the kind, whatever its particulars: `crash`, `slow_disk` ... as in the text of a plan
    #[must_use]
    pub fn name(&self) -> String {
        let shown = match self {
            Self::Disturb { what, .. } => format!("{what:?}"),
            Self::Trouble { what, .. } => format!("{what:?}"),
            _ => format!("{self:?}"),
        };
        let word = shown.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let mut name = String::new();
        for c in word.chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }

    /// How long the fault lasts, if it has an end of its own.
    #[must_use]
    pub fn length(&self) -> Option<Time> {
        match *self {
            Self::Cut { length, .. }
            | Self::Isolate { length, .. }
            | Self::Partition { length, .. }
            | Self::Slow { length, .. }
            | Self::Disturb { length, .. }
            | Self::Flap { length, .. }
            | Self::SlowDisk { length, .. }
            | Self::FullDisk { length, .. } => Some(length),
            Self::Crash { .. }
            | Self::Pause { .. }
            | Self::Reset { .. }
            | Self::Silence { .. }
            | Self::HalfOpen { .. }
            | Self::Overtake { .. }
            | Self::Rebind { .. }
            | Self::FailedWrite { .. }
            | Self::RolledBack { .. }
            | Self::Depose { .. }
            | Self::WallStep { .. } => None,
            Self::Trouble { ref what, .. } => what.length(),
        }
    }

    /// Whether it may hit a mesh whose members do not all know each other yet. A member that joins anew is reached over those it
    /// knows; while these are away, and what it needs is known only to nodes it does not know, nothing is owed.
    #[must_use]
    pub fn is_light(&self) -> bool {
        match self {
            Self::Disturb { what, .. } => what.is_light(),
            Self::Trouble { what, .. } => what.is_light(),
            Self::Reset { .. }
            | Self::Silence { .. }
            | Self::HalfOpen { .. }
            | Self::Overtake { .. }
            | Self::Rebind { .. }
            | Self::Slow { .. }
            | Self::SlowDisk { .. }
            | Self::WallStep { .. } => true,
            _ => false,
        }
    }

    /// The node whose disk is taken back, if one is.
    #[must_use]
    pub fn rolls_back(&self) -> Option<usize> {
        match *self {
            Self::RolledBack { node, .. } => Some(node),
            _ => None,
        }
    }

    /// Whether it damages what a disk reported safe.
    #[must_use]
    pub fn damages(&self) -> bool {
        match self {
            Self::Trouble { what, .. } => what.damages(),
            _ => self.rolls_back().is_some(),
        }
    }

    /// The directed pairs among linked nodes whose bytes this fault stalls.
    #[must_use]
    pub fn stalls(&self, edges: &[Edge]) -> Vec<(usize, usize)> {
        let pairs = edges.iter().flat_map(|edge| [(edge.a, edge.b), (edge.b, edge.a)]);
        let mut stalled: Vec<_> = match *self {
            Self::Cut { from, to, both, .. } => {
                pairs.filter(|&pair| pair == (from, to) || both && pair == (to, from)).collect()
            }
            Self::Isolate { node, inbound, outbound, .. } => {
                pairs.filter(|&(from, to)| outbound && from == node || inbound && to == node).collect()
            }
            Self::Partition { ref side, .. } => {
                let within = |node| side.binary_search(&node).is_ok();
                pairs.filter(|&(from, to)| within(from) != within(to)).collect()
            }
            _ => Vec::new(),
        };
        stalled.sort_unstable();
        stalled.dedup();
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_without_its_particulars() {
        assert_eq!(FaultKind::FailedWrite { node: 3 }.name(), "failed_write");
        assert_eq!(FaultKind::Trouble { node: 3, what: Trouble::PhantomWrite }.name(), "phantom_write");
        assert_eq!(FaultKind::Cut { from: 0, to: 2, both: true, length: 1 }.name(), "cut");
    }

    #[test]
    fn cuts_isolations_and_partitions_stall_exactly_their_pairs() {
        let edge = |a, b| Edge { a, b, a_dials: true, b_dials: true };
        let all = [edge(1, 2), edge(0, 1), edge(2, 0)];
        let cut = |both| FaultKind::Cut { from: 0, to: 2, both, length: 1 };
        assert_eq!(cut(false).stalls(&all), [(0, 2)]);
        assert_eq!(cut(true).stalls(&all), [(0, 2), (2, 0)]);
        let isolate = |inbound, outbound| FaultKind::Isolate { node: 1, inbound, outbound, length: 1 };
        assert_eq!(isolate(true, false).stalls(&all), [(0, 1), (2, 1)]);
        assert_eq!(isolate(false, true).stalls(&all), [(1, 0), (1, 2)]);
        let partition = FaultKind::Partition { side: vec![0], length: 1 };
        assert_eq!(partition.stalls(&all), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(partition.stalls(&all[..1]), [], "only what is linked can stall");
        assert!(FaultKind::Reset { a: 0, b: 1, late: true }.stalls(&all).is_empty());
    }
}
