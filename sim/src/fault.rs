//! What can go wrong, as data.

use crate::event::Time;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name: the key of its random stream, kept when other faults are removed.
    pub id: u64,
    /// When it begins.
    pub at: Time,
    /// What it is.
    pub kind: FaultKind,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A node loses its memory and what its disk had not synced, and starts again.
    Crash {
        /// Who.
        node: usize,
        /// Without power the far ends of its connections learn of it late; a killed process is noticed at once.
        power: bool,
        /// `Some(k)`: not at that moment, but in the first step after it that gives more than `k` outputs, after `k` of them.
        after_outputs: Option<u32>,
        /// How long it stays down.
        down: Time,
    },
    /// A node stands still, then finds everything that came meanwhile.
    Pause {
        /// Who.
        node: usize,
        /// How long.
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
        length: Time,
    },
    /// The nodes fall into two halves.
    Partition {
        /// One half, a bit per node.
        side: u8,
        /// How long.
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
        extra: Time,
        /// How long.
        length: Time,
    },
    /// A disk takes longer.
    SlowDisk {
        /// Whose.
        node: usize,
        /// How many times as long.
        factor: u64,
        /// How long.
        length: Time,
    },
    /// Somebody else fills the disk.
    FullDisk {
        /// Whose.
        node: usize,
        /// What is left, in bytes.
        left: u64,
        /// How long.
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
        image_at: Time,
        /// How long it stays down.
        down: Time,
    },
    /// Whoever leads the control group is cut off or crashes, then whoever is elected next, and so on.
    Depose {
        /// How many leaders.
        times: u32,
        /// How long after it leads each is hit, at most.
        delay: Time,
        /// How long each is away, at most.
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
}

impl FaultKind {
    /// The name of the kind, whatever its particulars: `crash`, `slow-disk` ...
    #[must_use]
    pub fn name(&self) -> String {
        let shown = format!("{self:?}");
        let word = shown.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let mut name = String::new();
        for c in word.chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('-');
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
            | Self::SlowDisk { length, .. }
            | Self::FullDisk { length, .. } => Some(length),
            Self::Crash { .. }
            | Self::Pause { .. }
            | Self::Reset { .. }
            | Self::FailedWrite { .. }
            | Self::RolledBack { .. }
            | Self::Depose { .. }
            | Self::WallStep { .. } => None,
        }
    }

    /// Whether it may hit a mesh whose members do not all know each other yet. A member that joins anew is reached over those it
    /// knows; while these are away, and what it needs is known only to nodes it does not know, nothing is owed.
    #[must_use]
    pub fn is_light(&self) -> bool {
        matches!(self, Self::Reset { .. } | Self::Slow { .. } | Self::SlowDisk { .. } | Self::WallStep { .. })
    }

    /// The node whose disk is taken back, if one is.
    #[must_use]
    pub fn rolls_back(&self) -> Option<usize> {
        match *self {
            Self::RolledBack { node, .. } => Some(node),
            _ => None,
        }
    }

    /// The directed pairs of `nodes` nodes whose bytes this fault stalls.
    #[must_use]
    pub fn stalls(&self, nodes: usize) -> Vec<(usize, usize)> {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from != to);
        match *self {
            Self::Cut { from, to, both, .. } => {
                pairs.filter(|&pair| pair == (from, to) || both && pair == (to, from)).collect()
            }
            Self::Isolate { node, inbound, outbound, .. } => {
                pairs.filter(|&(from, to)| outbound && from == node || inbound && to == node).collect()
            }
            Self::Partition { side, .. } => {
                pairs.filter(|&(from, to)| (side >> from & 1) != (side >> to & 1)).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_without_its_particulars() {
        assert_eq!(FaultKind::FailedWrite { node: 3 }.name(), "failed-write");
        assert_eq!(FaultKind::Cut { from: 0, to: 2, both: true, length: 1 }.name(), "cut");
    }

    #[test]
    fn cuts_isolations_and_partitions_stall_exactly_their_pairs() {
        let cut = |both| FaultKind::Cut { from: 0, to: 2, both, length: 1 };
        assert_eq!(cut(false).stalls(3), [(0, 2)]);
        assert_eq!(cut(true).stalls(3), [(0, 2), (2, 0)]);
        let isolate = |inbound, outbound| FaultKind::Isolate { node: 1, inbound, outbound, length: 1 };
        assert_eq!(isolate(true, false).stalls(3), [(0, 1), (2, 1)]);
        assert_eq!(isolate(false, true).stalls(3), [(1, 0), (1, 2)]);
        let partition = FaultKind::Partition { side: 0b001, length: 1 };
        assert_eq!(partition.stalls(3), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert!(FaultKind::Reset { a: 0, b: 1, late: true }.stalls(3).is_empty());
    }
}
