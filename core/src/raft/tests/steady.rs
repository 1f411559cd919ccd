//! The next append of a leader goes a shorter way than all others. What comes of it is what comes of it on the long one, which a message takes
//! that does not say for which replica it is meant.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::harness::{Cluster, GROUP};
use crate::raft::{Input, Message};
use crate::time::{Now, Wall};

#[test]
fn the_short_way_comes_to_the_same_as_the_long_one() {
    let mut matched = 0;
    for seed in 0..24 {
        // Two vote and one learns, or all vote.
        let learners = (seed % 2) as usize;
        let mut cluster = Cluster::new(seed, GROUP, 3, 3 - learners, learners);
        for _ in 0..500 {
            cluster.stir();
            let now = Now { monotonic: cluster.now, wall: Wall(0) };
            for (from, to, message) in cluster.network.iter().filter(|(.., m)| m.append().is_some()) {
                let replica = &cluster.replicas[(to.0 - 1) as usize];
                let [short, long] = [message.addressee, None].map(|addressee| {
                    let mut groups = replica.groups.clone();
                    let message = Message { addressee, ..message.clone() };
                    groups.handle(now, Input::Message { from: *from, group: GROUP, message: message.into() });
                    let said: Vec<String> =
                        core::iter::from_fn(|| groups.poll()).map(|output| format!("{output:?}")).collect();
                    (said, groups.places().collect::<Vec<_>>(), groups.next_deadline())
                });
                assert_eq!(short, long, "seed {seed}: {message:?}");
                matched += usize::from(short.0.iter().any(|said| said.contains("matched: true")));
            }
        }
    }
    assert!(matched > 500, "only {matched} appends were taken");
}
