//! Runs in which targets stand still, and their stream has them detached.

use super::whole_early;
use crate::event::{MICRO, MILLI, SECOND};
use crate::fault::FaultKind;
use crate::plan::{CompletePlan, Latency, Plan, StreamPlan};
use crate::random::{Draws, Purpose};

/// In so many of a hundred runs that have a stream with several targets and are about nothing else.
const PERCENT: u64 = 60;

/// Handlers of a stream come to stand still for longer than it bears, and others are slow. Nobody else loses so much time: the network and disks are quick, and at most somebody falls and is soon back.
pub(super) fn idle(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Idle, 0, 0);
    let several = |stream: &usize| !plan.streams[*stream].more.is_empty();
    let several: Vec<usize> = (0..plan.streams.len()).filter(several).collect();
    let other = plan.seal.is_some()
        || plan.forsaken.is_some()
        || plan.flow.is_some()
        || !plan.changes.is_empty()
        || !plan.departures.is_empty()
        || !plan.stops.is_empty()
        || !plan.rotations.is_empty()
        || plan.faults.iter().any(|fault| fault.kind.damages());
    let later = plan.streams.iter().any(|stream| !stream.later.is_empty());
    if other || later || several.is_empty() || !draws.percent(PERCENT) {
        return;
    }
    let quiet = draws.percent(60);
    plan.faults.retain_mut(|fault| match &mut fault.kind {
        FaultKind::Crash { down, .. } if !quiet => {
            *down = (*down).min(SECOND);
            true
        }
        _ => false,
    });
    plan.faults.truncate(3);
    let bears = MILLI * draws.between(4_000, 8_000);
    let begins = draws.between(3 * SECOND, 5 * SECOND);
    plan.fault_phase = begins + 3 * bears + draws.between(8 * SECOND, 12 * SECOND);
    let index = several[draws.index(several.len())];
    whole_early(plan);
    plan.network.latency = Latency::Fixed(draws.spread(100 * MICRO, 20 * MILLI));
    plan.network.links.clear();
    plan.network.bandwidth = 0;
    plan.nodes.iter_mut().for_each(|node| node.disk_factor = 1);
    let stream = &mut plan.streams[index];
    stream.detach_after = bears;
    stream.opens_at = stream.opens_at.min(SECOND);
    for handler in stream.handlers_mut() {
        handler.attaches_at = handler.attaches_at.min(SECOND);
        handler.interruptions.clear();
        handler.forges_one_in = 0;
        handler.service.1 = handler.service.1.min(100 * MILLI);
        handler.service.0 = handler.service.0.min(handler.service.1);
    }
    for publisher in &mut stream.publishers {
        // All targets are there by then.
        publisher.starts_at = publisher.starts_at.clamp(3 * SECOND, 4 * SECOND);
        publisher.messages = publisher.messages.max(20);
    }
    let mut places: Vec<usize> = (0..stream.targets().count()).collect();
    let mut still = vec![places.swap_remove(draws.index(places.len()))];
    if places.len() > 1 && draws.percent(75) {
        still.push(places.swap_remove(draws.index(places.len())));
    }
    stream.complete = bearable(&mut draws, stream, &still);
    let slow = places.first().copied().filter(|_| quiet && draws.percent(50));
    for (place, handler) in stream.handlers_mut().enumerate() {
        if still.contains(&place) {
            handler.stands_still_at = begins + draws.below(SECOND);
        } else if Some(place) == slow {
            handler.service = (bears / 4, bears / 2);
            handler.window = (1, 1);
        }
    }
}

/// By whom a stream is completed that bears to lose one of its targets; of two that stand still mostly no more than that.
fn bearable(draws: &mut Draws, stream: &StreamPlan, still: &[usize]) -> CompletePlan {
    let targets: Vec<usize> = stream.targets().collect();
    let one_goes = draws.percent(75);
    match draws.index(3) {
        0 => CompletePlan::All,
        1 if still.len() > 1 && one_goes => CompletePlan::Count(targets.len() as u32 - 1),
        1 => CompletePlan::Count(draws.between(1, targets.len() as u64 - 1) as u32),
        _ if still.len() > 1 && one_goes => {
            CompletePlan::Named(still.iter().map(|&place| targets[place]).collect())
        }
        _ => CompletePlan::Named(targets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_some_runs_one_target_stands_still_or_two_do_with_every_policy() {
        let plans: Vec<Plan> = (0..2000).map(super::super::streams::plan).collect();
        let streams = || plans.iter().flat_map(|plan| plan.streams.iter().map(move |stream| (plan, stream)));
        let with: Vec<_> = streams().filter(|(_, stream)| stream.detach_after > 0).collect();
        assert!((60..600).contains(&with.len()), "{} of 2000 runs", with.len());
        let places = |plan: &crate::plan::StreamPlan| plan.targets().count();
        let still = |stream: &crate::plan::StreamPlan| {
            (0..places(stream)).filter(|&place| stream.handler_at(place).stands_still_at > 0).count()
        };
        assert!(with.iter().all(|(_, stream)| (1..places(stream)).contains(&still(stream))));
        assert!(with.iter().filter(|(_, stream)| still(stream) > 1).count() > 10, "two");
        assert!(
            with.iter().filter(|(plan, _)| plan.faults.is_empty()).count() > 30,
            "nothing else goes wrong"
        );
        let counted = |stream: &&crate::plan::StreamPlan| matches!(stream.complete, CompletePlan::Count(_));
        assert!(with.iter().map(|(_, stream)| *stream).filter(counted).count() > 10, "n of m");
        assert!(with.iter().all(|(plan, _)| plan.check().is_ok()));
    }
}
