//! Watermarks as nodes show them (X6).

use std::collections::BTreeMap;

use wattle_core::id::{AuthorityEpoch, NodeId, SessionEpoch, StreamInstance};
use wattle_core::node::status::StreamStatus;

use super::{Checked, ensure};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    life: u32,
    session: SessionEpoch,
    authority: AuthorityEpoch,
    accepted: u64,
    replicated: u64,
    processed: u64,
    completed: u64,
    released: u64,
}

/// The watermarks last seen, by stream and observer.
#[derive(Debug, Default)]
pub struct Watermarks {
    seen: BTreeMap<(StreamInstance, usize), Marks>,
}

impl Watermarks {
    /// A node, in one of its lives, shows a stream.
    ///
    /// # Errors
    /// X6.
    pub fn seen(&mut self, node: usize, life: u32, own: NodeId, stream: &StreamStatus) -> Checked {
        if !stream.local {
            return Ok(());
        }
        let now = Marks {
            life,
            session: stream.session,
            authority: stream.authority,
            accepted: stream.accepted.0,
            replicated: stream.replicated.0,
            processed: stream.processed.0,
            completed: stream.completed.0,
            released: stream.released.0,
        };
        let name = &stream.name;
        ensure!(
            now.released <= now.completed,
            "X6",
            "stream {name:?} at node {node}: released {} above completed {}",
            now.released,
            now.completed
        );
        if stream.source == own {
            ensure!(
                now.completed <= now.processed
                    && now.processed <= now.accepted
                    && now.replicated <= now.accepted,
                "X6",
                "stream {name:?} at its source: accepted {}, replicated {}, processed {}, completed {} out of order",
                now.accepted,
                now.replicated,
                now.processed,
                now.completed
            );
        }
        let before = self.seen.insert((stream.instance, node), now);
        if let Some(before) = before.filter(|before| before.life == life && before.session == now.session) {
            // Those who held it may be the lost: under another authority that is counted anew.
            let replicated = if before.authority == now.authority { before.replicated } else { 0 };
            let pairs = [
                ("accepted", before.accepted, now.accepted),
                ("replicated", replicated, now.replicated),
                ("processed", before.processed, now.processed),
                ("completed", before.completed, now.completed),
                ("released", before.released, now.released),
            ];
            for (mark, before, now) in pairs {
                ensure!(
                    before <= now,
                    "X6",
                    "stream {name:?} at node {node}: {mark} went back from {before} to {now}"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use wattle_core::id::Sequence;

    fn stream(marks: [u64; 5]) -> StreamStatus {
        let [accepted, replicated, processed, completed, released] = marks.map(Sequence);
        StreamStatus {
            local: true,
            session: SessionEpoch(1),
            accepted,
            replicated,
            processed,
            completed,
            released,
            ..fixture::stream(1)
        }
    }

    fn after(marks: [u64; 5], life: u32) -> Checked {
        let mut watermarks = Watermarks::default();
        watermarks.seen(0, 0, NodeId(1), &stream([5, 4, 3, 2, 1])).unwrap();
        watermarks.seen(0, life, NodeId(1), &stream(marks))
    }

    #[test]
    fn marks_in_order_that_grow_pass_and_others_do_not() {
        after([5, 4, 3, 3, 2], 0).unwrap();
        for wrong in [[4, 4, 3, 2, 1], [5, 3, 3, 2, 1], [5, 4, 2, 2, 1], [5, 4, 3, 1, 1], [5, 4, 3, 2, 0]] {
            assert_eq!(after(wrong, 0).unwrap_err().checker, "X6", "{wrong:?} goes back");
        }
        for wrong in [[5, 6, 3, 2, 1], [5, 4, 6, 2, 1], [5, 4, 3, 4, 1], [5, 4, 3, 2, 3]] {
            assert_eq!(after(wrong, 0).unwrap_err().checker, "X6", "{wrong:?} is out of order");
        }
        after([5, 0, 0, 0, 0], 1).unwrap();
    }

    #[test]
    fn what_is_replicated_and_nothing_else_is_counted_anew_under_another_authority() {
        let under = |marks| StreamStatus { authority: AuthorityEpoch(1), ..stream(marks) };
        let after = |marks| {
            let mut watermarks = Watermarks::default();
            watermarks.seen(0, 0, NodeId(1), &stream([5, 4, 3, 2, 1])).unwrap();
            watermarks.seen(0, 0, NodeId(1), &under(marks))
        };
        after([5, 2, 3, 2, 1]).unwrap();
        after([4, 2, 3, 2, 1]).unwrap_err();
        after([5, 2, 2, 2, 1]).unwrap_err();
    }
}
