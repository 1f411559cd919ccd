//! Many groups in which nothing happens.

use crate::engine::{Engine, Setting};
use crate::memory::counted;
use crate::ours::Ours;
use crate::raft_rs::RaftRs;
use crate::statistics::{self, median, range};

/// The two rivals, in the order of the table.
pub const NAMES: [&str; 2] = ["ours", "raft-rs"];

/// What was measured of one rival.
pub struct Row {
    /// Nanoseconds of the processor for each replica and second: the median of all rounds.
    pub nanoseconds: f64,
    /// Of the least and the dearest round.
    pub range: (f64, f64),
    /// Bytes held for each replica, since it has a leader.
    pub bytes: f64,
    /// The same once it was given [`USED`] entries, applied them and let go of them.
    pub used: f64,
    /// Messages for each group and second.
    pub messages: f64,
}

/// So many entries each group is given in the end.
const USED: u64 = 64;

/// Simulated seconds in a round of ours, which costs next to nothing, and of theirs.
const SECONDS: [u32; 2] = [100, 2];

/// Keeps that many groups of three replicas idle, in turn.
pub fn measure(groups: usize, rounds: usize) -> [Row; 2] {
    let setting = Setting { groups, encoded: false };
    let (ours, ours_bytes) = counted(|| Box::new(Ours::new(setting)) as Box<dyn Engine>);
    let (theirs, their_bytes) = counted(|| Box::new(RaftRs::new(setting, true)) as Box<dyn Engine>);
    let mut rivals = [(ours, ours_bytes, 0, Vec::new()), (theirs, their_bytes, 0, Vec::new())];
    let replicas = 3.0 * groups as f64;
    for _ in 0..rounds {
        for ((engine, _, messages, costs), seconds) in rivals.iter_mut().zip(SECONDS) {
            let said = engine.traffic().messages;
            let begun = statistics::seconds();
            for _ in 0..10 * seconds {
                engine.pass();
            }
            let took = statistics::seconds() - begun;
            costs.push(took * 1e9 / replicas / f64::from(seconds));
            *messages += engine.traffic().messages - said;
        }
    }
    let mut seconds = SECONDS.into_iter().map(|seconds| f64::from(seconds) * rounds as f64);
    rivals.map(|(mut engine, bytes, messages, costs)| {
        wake(engine.as_mut(), groups);
        let ((), more) = counted(|| use_all(engine.as_mut(), groups));
        Row {
            nanoseconds: median(&costs),
            range: range(&costs),
            bytes: bytes as f64 / replicas,
            used: (bytes + more) as f64 / replicas,
            messages: messages as f64 / groups as f64 / seconds.next().expect("one for each"),
        }
    })
}

/// They were idle, not dead: some are given an entry, and all three replicas apply it.
fn wake(engine: &mut dyn Engine, groups: usize) {
    for group in (0..groups).step_by(groups.div_ceil(10)) {
        let data = group.to_be_bytes().to_vec();
        engine.round(group, vec![data.clone()]);
        for applied in engine.take_applied() {
            assert_eq!(applied, [&data[..]], "what a replica of group {group} applied");
        }
    }
}

/// Each group is given entries, which are applied and let go of.
fn use_all(engine: &mut dyn Engine, groups: usize) {
    for group in 0..groups {
        engine.round(group, (0..USED).map(|number| vec![number as u8; 128]).collect());
        engine.compact(group);
        engine.take_applied();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_groups_are_silent_and_wake() {
        let [ours, theirs] = measure(100, 2);
        assert_eq!(ours.messages, 0.0);
        assert!(theirs.messages > 0.0, "raft-rs beats");
        assert!(ours.bytes > 0.0 && theirs.bytes > 0.0 && ours.used > 0.0 && theirs.used > 0.0);
    }
}
