//! How to answer a node to which no path is known: the way that its last message came.
//!
//! A newcomer is told of some members only, and takes the link states of no others until the log has told it of them. In a large mesh the way
//! between it and the leader leads over nodes that it does not know. Could it not answer, it would never hear of anybody.

use alloc::collections::VecDeque;

use wattle_proto::frame::Path;

use crate::id::NodeId;

/// For so many nodes: more than the voters of a group, who speak first.
const MOST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Way {
    to: NodeId,
    first: NodeId,
    path: Path,
}

/// The ways back, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    known: VecDeque<Way>,
}

impl Ways {
    /// A message of `to` came from the neighbour `first`; `path` leads back from there.
    pub(crate) fn note(&mut self, to: NodeId, first: NodeId, path: Path) {
        self.known.retain(|way| way.to != to);
        if self.known.len() == MOST {
            self.known.pop_front();
        }
        self.known.push_back(Way { to, first, path });
    }

    /// The way back to `to`: the neighbour to go by, and the path from there.
    pub(crate) fn back(&self, to: NodeId) -> Option<(NodeId, Path)> {
        self.known.iter().find(|way| way.to == to).map(|way| (way.first, way.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_way_counts_and_the_oldest_gives_way() {
        let path = |label| Path::new(&[label]).expect("short");
        let mut ways = Ways::default();
        assert_eq!(ways.back(NodeId(1)), None);
        ways.note(NodeId(1), NodeId(7), path(1));
        ways.note(NodeId(2), NodeId(7), path(2));
        ways.note(NodeId(1), NodeId(8), path(3));
        assert_eq!(ways.back(NodeId(1)), Some((NodeId(8), path(3))));
        for node in 3..=MOST as u128 + 1 {
            ways.note(NodeId(node), NodeId(7), path(4));
        }
        assert_eq!(ways.back(NodeId(2)), None, "it was heard of longest ago");
        assert_eq!(ways.back(NodeId(1)), Some((NodeId(8), path(3))));
        assert_eq!(ways.known.len(), MOST);
    }
}
