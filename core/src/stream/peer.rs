//! What a member of a stream knows of another one.

use super::message::Standing;
use super::source::Sender;
use crate::id::{BootId, LogIndex, NodeId, Sequence};
use crate::time::{Instant, Span};

/// Another member.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Who.
    pub(super) node: NodeId,
    /// Its start.
    pub(super) boot: Option<BootId>,
    pub(super) silent: bool,
    /// Its log is known to hold, durably and in its present start, everything taken up to here.
    pub(super) holds: Sequence,
    /// What it said last, in its present start.
    pub(super) standing: Option<Standing>,
    /// Its last statement was made to this start of ours.
    pub(super) knows_us: bool,
    /// The last mark that it was told, in its present start and as what it is to the group now.
    pub(super) told_mark: Sequence,
    /// The mark about which it was last asked.
    pub(super) asked_mark: Sequence,
    /// Its log is durable up to here, as far as this member was told while it leads.
    pub(super) matched: LogIndex,
    /// What it was given lately because it asked.
    pub(super) served: Served,
    /// How far sending to it has come, at the source.
    pub(super) sender: Sender,
}

/// What a member was given because it asked for it by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    since: Option<Instant>,
    bytes: u64,
    last: u64,
}

impl Served {
    /// Whether it may be given what is in that slot, and is as large as that: once in a while, and so much in that while, or one.
    pub(super) fn serves(&mut self, now: Instant, (slot, bytes): (u64, u64), span: Span, most: u64) -> bool {
        let fresh = self.since.is_none_or(|since| now.since(since) >= span);
        let room = fresh || (slot != self.last && self.bytes + bytes <= most);
        if fresh {
            (self.since, self.bytes) = (Some(now), 0);
        }
        if room {
            (self.bytes, self.last) = (self.bytes + bytes, slot);
        }
        room
    }
}

/// What stands for a member in [`super::member::Wanted::of`]; 0 if it is none of these.
pub(super) fn bit_of(peers: &[Peer], node: NodeId) -> u64 {
    peers.iter().position(|peer| peer.node == node).map_or(0, |place| 1 << place)
}

impl Peer {
    /// Another member of which nothing is known.
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, ..Self::default() }
    }

    /// It is known by this start from now on: where another stood counts no more.
    pub(super) fn learn_boot(&mut self, boot: BootId) {
        let Self { node, silent, matched, .. } = *self;
        *self = Self { node, silent, matched, boot: Some(boot), ..Self::default() };
    }

    /// Whether the stream stopped there, as far as it said.
    pub(super) fn stopped(&self) -> bool {
        self.standing.is_some_and(|standing| standing.stopped)
    }

    /// Whether it is heard, and said where it stands in its present start.
    pub(super) fn stands(&self) -> bool {
        !self.silent && self.standing.is_some()
    }
}
