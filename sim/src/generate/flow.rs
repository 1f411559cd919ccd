//! Runs in which streams are paused and resumed, one, all of a tenant, or all below a priority, and in which some are throttled.

use super::{is_special, whole_early};
use crate::event::{MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::{FlowPlan, PausePlan, Plan, RankPlan, ScopePlan, ThrottlePlan};
use crate::random::{Draws, Purpose};

/// So many of a hundred plans that have streams, of those that are not about something that excludes it.
const PERCENT: u64 = 30;
/// The names of the faults that only such runs have begin here.
const KIND: u64 = 130;

/// Streams of some plans are paused.
pub(super) fn flow(plan: &mut Plan) {
    let draws = Draws::new(plan.seed, Purpose::Flow, 0, 0);
    let special = is_special(plan);
    if !special && plan.rotations.is_empty() {
        stage(plan, draws);
    }
}

/// Streams are paused, if there are any, and nobody is lost, and no disk forgets what its node was told.
pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    let other = !plan.departures.is_empty() || plan.seal.is_some() || plan.recovery.is_some();
    let damaged = plan.faults.iter().any(|fault| fault.kind.damages());
    if other || damaged || plan.streams.is_empty() || !draws.percent(PERCENT) {
        return;
    }
    plan.beyond_repair = false;
    whole_early(plan);
    plan.fault_phase = plan.fault_phase.max(draws.between(8 * SECOND, 14 * SECOND));
    let until = plan.fault_phase;
    for stream in &mut plan.streams {
        stream.opens_at = stream.opens_at.min(SECOND);
        for publisher in &mut stream.publishers {
            publisher.starts_at = publisher.starts_at.min(draws.between(SECOND, 4 * SECOND));
        }
    }
    let mut flow = FlowPlan { ranks: ranks(plan, &mut draws), ..FlowPlan::default() };
    let mut at = draws.between(2 * SECOND, 5 * SECOND);
    while at < until && flow.pauses.len() < 6 {
        let stream = draws.index(plan.streams.len());
        let length = draws.spread(200 * MILLI, 5 * SECOND);
        pause(plan, &mut draws, &mut flow, stream, (at, length));
        if draws.percent(70) {
            falls(plan, &mut draws, stream, (at, length), flow.pauses.len() as u64);
        }
        at += length + draws.spread(100 * MILLI, 3 * SECOND);
    }
    if draws.percent(30) {
        let stream = draws.index(plan.streams.len());
        let (messages, bytes) = (draws.spread(5, 500), draws.spread(2 << 10, 1 << 20));
        let (messages, bytes) = draws.pick(&[(messages, 0), (0, bytes), (messages, bytes)]);
        let (at, asked_at) = (draws.between(SECOND, until), asked_at(plan, &mut draws, stream));
        let scope = scope(plan, &flow, &mut draws, stream);
        flow.throttles.push(ThrottlePlan { scope, at, asked_at, messages, bytes });
    }
    plan.flow = Some(flow);
}

/// Some streams are a tenant's, and some have a priority.
fn ranks(plan: &Plan, draws: &mut Draws) -> Vec<RankPlan> {
    let rank = |stream: &crate::plan::StreamPlan| {
        let tenant = draws.pick(&["default", "acme", "acme", "other"]).to_owned();
        let priority = draws.pick(&[0, 0, -1, 2]);
        RankPlan { stream: stream.name.clone(), tenant, priority }
    };
    plan.streams.iter().map(rank).collect()
}

/// What a stream is paused by.
fn scope(plan: &Plan, flow: &FlowPlan, draws: &mut Draws, stream: usize) -> ScopePlan {
    let rank = &flow.ranks[stream];
    match draws.index(10) {
        0..5 => ScopePlan::Stream(plan.streams[stream].name.clone()),
        5..8 => ScopePlan::Tenant(rank.tenant.clone()),
        _ => ScopePlan::Below(rank.priority + 1),
    }
}

/// Mostly the source: of others it is not known since when it goes by what was asked for.
fn asked_at(plan: &Plan, draws: &mut Draws, stream: usize) -> usize {
    if draws.percent(75) { plan.streams[stream].source } else { draws.index(plan.nodes.len()) }
}

/// A stream is paused; now and then its tenant is, too, and for longer.
fn pause(plan: &Plan, draws: &mut Draws, flow: &mut FlowPlan, stream: usize, (at, length): (Time, Time)) {
    let source = plan.streams[stream].source;
    let scope = scope(plan, flow, draws, stream);
    let asked_at = asked_at(plan, draws, stream);
    let resumed_at = draws.index(plan.nodes.len());
    if draws.percent(35) && length > SECOND {
        let both = [
            (ScopePlan::Tenant(flow.ranks[stream].tenant.clone()), at, length),
            (ScopePlan::Stream(plan.streams[stream].name.clone()), at + length / 8, length / 4),
        ];
        for (scope, at, length) in both {
            flow.pauses.push(PausePlan { scope, at, length, asked_at: source, resumed_at });
        }
        return;
    }
    flow.pauses.push(PausePlan { scope, at, length, asked_at, resumed_at });
}

/// The source falls while it is paused, and may hear of nobody for a while when it comes back.
fn falls(plan: &mut Plan, draws: &mut Draws, stream: usize, (at, length): (Time, Time), ordinal: u64) {
    let node = plan.streams[stream].source;
    let some = plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Crash { .. }));
    let (after, down) = (draws.spread(MILLI, length), draws.spread(MILLI, 500 * MILLI));
    let alone = draws.percent(50);
    if !some {
        return;
    }
    let crash = FaultKind::Crash { node, power: draws.percent(50), after_outputs: None, down };
    let (id, when) = ((KIND << 16) | (2 * ordinal), Trigger::At((at + after).min(plan.fault_phase)));
    plan.faults.push(Fault { id, when, kind: crash });
    if alone {
        let length = down + draws.spread(100 * MILLI, 2 * SECOND);
        let kind = FaultKind::Isolate { node, inbound: true, outbound: true, length };
        plan.faults.push(Fault { id: id + 1, when, kind });
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Plan, ScopePlan};
    use crate::seed::{Profile, Seed};

    #[test]
    fn streams_are_paused_in_some_runs_each_in_its_way() {
        let seed = |number| Seed { profile: Profile::Streams, number };
        let plans: Vec<Plan> = (0..1000).map(|number| super::super::plan(seed(number))).collect();
        let with: Vec<&Plan> = plans.iter().filter(|plan| plan.flow.is_some()).collect();
        assert!((100..400).contains(&with.len()), "{} of 1000 runs", with.len());
        let pauses = || with.iter().flat_map(|plan| plan.flow.iter().flat_map(|flow| &flow.pauses));
        for one in [
            |scope: &ScopePlan| matches!(scope, ScopePlan::Stream(_)),
            |scope: &ScopePlan| matches!(scope, ScopePlan::Tenant(_)),
            |scope: &ScopePlan| matches!(scope, ScopePlan::Below(_)),
        ] {
            assert!(pauses().filter(|pause| one(&pause.scope)).count() >= 20);
        }
        let throttled = |plan: &&&Plan| plan.flow.as_ref().is_some_and(|flow| !flow.throttles.is_empty());
        assert!(with.iter().filter(throttled).count() >= 20);
        for plan in &plans {
            plan.check().unwrap_or_else(|what| panic!("{what}"));
        }
    }
}
