//! Streams that keep something of what all have processed, and readers of that.

use crate::event::{MILLI, SECOND};
use crate::plan::{KeepPlan, Plan, ReaderPlan};
use crate::random::{Draws, Purpose};

/// In four of ten runs streams keep something; readers come to these, and now and then to one that keeps nothing.
pub(super) fn reading(plan: &mut Plan) {
    let (seed, until) = (plan.seed, plan.fault_phase);
    let mut draws = Draws::new(seed, Purpose::Reading, 1 << 32, 0);
    if !draws.percent(40) {
        return;
    }
    for stream in &mut plan.streams {
        if draws.percent(80) {
            stream.keep = keep(&mut draws);
        }
        let targets = stream.targets().count() as u64;
        for _ in 0..draws.weighted(&[20, 50, 30]) {
            stream.readers.push(ReaderPlan {
                place: draws.below(targets) as usize,
                starts_at: draws.between(SECOND, until.max(2 * SECOND)),
                window: draws.spread(1, 64) as u32,
                service: draws.spread(MILLI, 200 * MILLI),
                ends_one_in: draws.below(5),
            });
        }
    }
}

/// Few messages, all of them, some bytes, or what is young; or several of these.
fn keep(draws: &mut Draws) -> KeepPlan {
    let mut keep = KeepPlan::default();
    match draws.weighted(&[35, 25, 40]) {
        0 => keep.messages = draws.spread(1, 64),
        1 => keep.messages = 1 << 32,
        _ => {}
    }
    if draws.percent(40) {
        keep.bytes = draws.spread(1, 16 << 10);
    }
    if draws.percent(40) {
        keep.span = MILLI * draws.spread(100, 10_000);
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_by_each_limit_and_by_several_and_are_read_again_where_targets_are() {
        let mut found = [0; 5];
        for seed in 0..400 {
            let mut plan = super::super::streams::plan(seed);
            plan.streams.iter_mut().for_each(|stream| {
                stream.keep = KeepPlan::default();
                stream.readers.clear();
            });
            reading(&mut plan);
            plan.check().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            for stream in &plan.streams {
                let KeepPlan { messages, bytes, span } = stream.keep;
                let kinds = [messages > 0, bytes > 0, span > 0];
                let several = kinds.iter().filter(|kind| **kind).count() > 1;
                let all = kinds.into_iter().chain([several, !stream.readers.is_empty()]);
                all.zip(&mut found).for_each(|(is, count)| *count += u32::from(is));
            }
        }
        assert!(found.iter().all(|count| *count > 30), "{found:?}");
    }
}
