//! The times and counts of a plan, to be made smaller.

use crate::event::Time;
use crate::fault::Trigger;
use crate::plan::Plan;

/// All times that may be made shorter, in an order that depends on the shape of the plan alone. The bound for progress is none of
/// them: with less time, what is right would fail too.
pub(super) fn times(plan: &mut Plan) -> Vec<&mut Time> {
    let mut times = vec![&mut plan.fault_phase];
    for fault in &mut plan.faults {
        match &mut fault.when {
            Trigger::At(at) => times.push(at),
            Trigger::On(condition) => times.push(&mut condition.after),
        }
        times.extend(fault.kind.times_mut());
    }
    for node in &mut plan.nodes {
        times.extend([&mut node.boots_at, &mut node.joins_at]);
    }
    for stream in &mut plan.streams {
        times.push(&mut stream.opens_at);
        for publisher in &mut stream.publishers {
            times.extend([&mut publisher.starts_at, &mut publisher.pause.1]);
        }
        let further = stream.more.iter_mut().chain(&mut stream.later).map(|target| &mut target.handler);
        for handler in std::iter::once(&mut stream.handler).chain(further) {
            times.extend([&mut handler.attaches_at, &mut handler.service.1]);
            for interruption in &mut handler.interruptions {
                times.extend([&mut interruption.at, &mut interruption.away]);
            }
        }
    }
    times.extend(plan.registry.iter_mut().map(|call| &mut call.at));
    if let Some(updates) = &mut plan.updates {
        times.push(&mut updates.service.1);
        times.extend(updates.sends.iter_mut().map(|send| &mut send.at));
    }
    times.extend(plan.config.iter_mut().map(|wish| &mut wish.at));
    times.extend(plan.departures.iter_mut().map(|departure| &mut departure.at));
    times.extend(plan.seal.iter_mut().map(|seal| &mut seal.at));
    times.extend(plan.changes.iter_mut().map(|change| &mut change.at));
    let pauses = plan.flow.iter_mut().flat_map(|flow| &mut flow.pauses);
    times.extend(pauses.flat_map(|pause| [&mut pause.at, &mut pause.length]));
    times.extend(plan.rotations.iter_mut().map(|rotation| &mut rotation.at));
    times.extend(plan.stops.iter_mut().flat_map(|stop| [&mut stop.at, &mut stop.away]));
    times
}

/// All counts that may be made smaller, each with the least it may be.
pub(super) fn counts(plan: &mut Plan) -> Vec<(&mut u64, u64)> {
    let publishers = plan.streams.iter_mut().flat_map(|stream| &mut stream.publishers);
    publishers
        .flat_map(|own| [(&mut own.messages, 1), (&mut own.batch.1, 1), (&mut own.bytes.1, 17)])
        .collect()
}

/// Where something goes from the lower to the higher, the lower follows the higher down.
pub(super) fn in_order(plan: &mut Plan) {
    for stream in &mut plan.streams {
        for own in &mut stream.publishers {
            own.pause.0 = own.pause.0.min(own.pause.1);
            own.batch.0 = own.batch.0.min(own.batch.1);
            own.bytes.0 = own.bytes.0.min(own.bytes.1);
        }
        for handler in stream.handlers_mut() {
            handler.service.0 = handler.service.0.min(handler.service.1);
        }
    }
    if let Some(updates) = &mut plan.updates {
        updates.service.0 = updates.service.0.min(updates.service.1);
    }
}

/// Smaller numbers to try in the place of one, the boldest first: the least, about half, a rounder one, one less.
pub(super) fn smaller(number: u64, least: u64) -> Vec<u64> {
    if number <= least {
        return Vec::new();
    }
    let unit = 10u64.pow(number.ilog10());
    let half = least + (number - least) / 2;
    let mut tried = vec![
        least,
        round(half),
        half,
        number / unit * unit,
        number / (unit / 10).max(1) * (unit / 10).max(1),
    ];
    if number < 64 {
        tried.push(number - 1);
    }
    tried.retain(|&tried| tried >= least && tried < number);
    let mut seen = Vec::new();
    tried.retain(|tried| {
        !seen.contains(tried) && {
            seen.push(*tried);
            true
        }
    });
    tried
}

/// A number with all digits but the first cut off.
fn round(number: u64) -> u64 {
    let unit = 10u64.pow(number.checked_ilog10().unwrap_or(0));
    number / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_numbers_are_smaller_and_lead_down_to_the_least() {
        assert!(smaller(1, 1).is_empty());
        assert_eq!(smaller(2, 1), [1]);
        assert_eq!(smaller(300, 1), [1, 100, 150]);
        assert_eq!(smaller(2_345_678, 0), [0, 1_000_000, 1_172_839, 2_000_000, 2_300_000]);
        for number in 0..200 {
            assert!(smaller(number, 17).iter().all(|&tried| (17..number).contains(&tried)));
        }
    }

    #[test]
    fn every_time_of_a_plan_is_reached_but_the_bound_for_progress() {
        for seed in 0..50 {
            let mut plan = Plan::generate(seed);
            let bound = plan.progress_bound;
            times(&mut plan).into_iter().for_each(|time| *time = 0);
            counts(&mut plan).into_iter().for_each(|(count, least)| *count = least);
            in_order(&mut plan);
            assert_eq!((plan.check(), plan.progress_bound), (Ok(()), bound));
            assert_eq!(plan.fault_phase, 0);
            assert!(plan.faults.iter_mut().all(|fault| fault.kind.length().is_none_or(|length| length == 0)));
        }
    }
}
