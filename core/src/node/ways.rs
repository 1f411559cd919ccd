//! How to answer a node to which no path is known: the way that its last message came.
//!
//! A newcomer is told of some members only, and takes the link states of no others until the log has told it of them. In a large mesh the way
//! between it and the leader leads over nodes that it does not know. Could it not answer, it would never hear of anybody.
//!
//! Nothing proves that a message came from whom it names. So a way back counts only while there is nothing better, and not for long: it is
//! forgotten when the table leads there, when the link that it begins with goes down, and [`LIFETIME`] after the last message came by it.

use alloc::collections::VecDeque;

use wattle_proto::frame::Path;

use crate::id::NodeId;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Span};

/// For so many nodes: more than the voters of a group, who speak first.
const MOST: usize = 16;
/// So long after the last message. Longer than the longest pause between two heartbeats, so that the next one can be answered, too.
const LIFETIME: Span = Span::secs(15);

#[derive(Clone, Copy, Debug)]
struct Way {
    to: NodeId,
    first: NodeId,
    path: Path,
    /// When it is forgotten.
    until: Instant,
}

/// The ways back, the one of the newest message last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    known: VecDeque<Way>,
}

impl Ways {
    /// A message of `to` came from the neighbour `first`; `path` leads back from there.
    pub(crate) fn note(&mut self, now: Instant, to: NodeId, first: NodeId, path: Path) {
        self.known.retain(|way| way.to != to);
        if self.known.len() == MOST {
            self.known.pop_front();
        }
        self.known.push_back(Way { to, first, path, until: now + LIFETIME });
    }

    /// The way back to `to`: the neighbour to go by, and the path from there.
    pub(crate) fn back(&mut self, now: Instant, to: NodeId) -> Option<(NodeId, Path)> {
        rare!(WayBackExpired, self.known.iter().any(|way| way.until <= now));
        self.known.retain(|way| now < way.until);
        self.known.iter().find(|way| way.to == to).map(|way| (way.first, way.path))
    }

    /// A path leads to `to`.
    pub(crate) fn reached(&mut self, to: NodeId) {
        sometimes!(WayBackNotNeeded, self.known.iter().any(|way| way.to == to));
        self.known.retain(|way| way.to != to);
    }

    /// The link to a neighbour is down: its end has forgotten what the labels meant, or somebody else is there.
    pub(crate) fn link_down(&mut self, neighbour: NodeId) {
        sometimes!(WayBackLost, self.known.iter().any(|way| way.first == neighbour));
        self.known.retain(|way| way.first != neighbour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Instant = Instant(1_000_000_000);

    fn path(label: u16) -> Path {
        Path::new(&[label]).expect("short")
    }

    #[test]
    fn the_last_way_counts_and_the_oldest_gives_way() {
        let mut ways = Ways::default();
        assert_eq!(ways.back(T, NodeId(1)), None);
        ways.note(T, NodeId(1), NodeId(7), path(1));
        ways.note(T, NodeId(2), NodeId(7), path(2));
        ways.note(T, NodeId(1), NodeId(8), path(3));
        assert_eq!(ways.back(T, NodeId(1)), Some((NodeId(8), path(3))));
        for node in 3..=MOST as u128 + 1 {
            ways.note(T, NodeId(node), NodeId(7), path(4));
        }
        assert_eq!(ways.back(T, NodeId(2)), None, "it was heard of longest ago");
        assert_eq!(ways.back(T, NodeId(1)), Some((NodeId(8), path(3))));
        assert_eq!(ways.known.len(), MOST);
    }

    #[test]
    fn a_way_is_forgotten_some_seconds_after_the_last_message_by_it() {
        let mut ways = Ways::default();
        ways.note(T, NodeId(1), NodeId(7), path(1));
        ways.note(T, NodeId(2), NodeId(7), path(2));
        ways.note(T + Span::secs(10), NodeId(1), NodeId(7), path(1));
        assert!(ways.back(T + Span::millis(14_999), NodeId(2)).is_some());
        assert_eq!(ways.back(T + Span::secs(15), NodeId(2)), None);
        assert!(ways.back(T + Span::secs(15), NodeId(1)).is_some(), "it spoke once more");
        assert_eq!(ways.back(T + Span::secs(25), NodeId(1)), None);
        assert!(ways.known.is_empty());
    }

    #[test]
    fn a_way_is_forgotten_when_a_path_leads_there_or_its_first_link_is_down() {
        let mut ways = Ways::default();
        for (node, first) in [(1, 7), (2, 7), (3, 8)] {
            ways.note(T, NodeId(node), NodeId(first), path(1));
        }
        ways.reached(NodeId(1));
        assert_eq!(ways.back(T, NodeId(1)), None);
        assert!(ways.back(T, NodeId(2)).is_some());
        ways.link_down(NodeId(7));
        assert_eq!(ways.back(T, NodeId(2)), None);
        assert_eq!(ways.back(T, NodeId(3)), Some((NodeId(8), path(1))));
    }
}
