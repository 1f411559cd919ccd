//! Runs about streams, for who wants to know whether what is promised of them holds: two to seven members, streams most of which have several
//! targets, little else that is asked for, and in each run one thing that goes wrong with the ends of a stream.

use super::contest::{FIRST, link_all};
use super::{additions, departures, flow, former, idle, members, reading, seals, stops, trouble, workload};
use crate::event::{MILLI, SECOND};
use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::plan::{Plan, PoisonPlan};
use crate::random::{Draws, Purpose};

/// The names of the faults that only such runs have begin here.
const KIND: u64 = 120;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// All kinds of faults.
    Anything,
    /// One end after the other falls, or is cut off, at the moment at which it is needed.
    Falls,
    /// Disks of one end are lost, or taken back.
    Loss,
    /// Whoever decided alone comes back with an older disk.
    Former,
    /// Nodes are lost for good, and streams are sealed.
    Seal,
    /// Members go.
    Departures,
    /// Members stop for a while.
    Stops,
    /// Targets are taken out of a stream.
    Members,
}

/// The plan of that number.
pub(super) fn plan(seed: u64) -> Plan {
    let mut draws = Draws::new(seed, Purpose::Streams, 0, 0);
    let count = 2 + draws.weighted(&[12, 30, 20, 14, 12, 12]);
    let fault_phase = draws.spread(4 * SECOND, 14 * SECOND);
    let mut plan = super::basic(seed, count, fault_phase);
    if draws.percent(60) {
        link_all(&mut plan, &mut draws);
    }
    be_about_streams(&mut plan, &mut draws);
    let own = Draws::new(seed, Purpose::Streams, 1, 0);
    match subject(&mut draws, &plan) {
        Subject::Anything => {}
        Subject::Falls => falls(&mut plan, own),
        Subject::Loss => loss(&mut plan, own),
        Subject::Former => former::stage(&mut plan, own),
        Subject::Seal => {
            plan.faults.retain(|fault| !fault.kind.damages());
            seals::stage(&mut plan, own);
        }
        Subject::Departures => departures::stage(&mut plan, own),
        Subject::Stops => stops::stage(&mut plan, own),
        Subject::Members => {
            plan.faults.retain(|fault| !fault.kind.damages());
            let mut lost = Draws::new(seed, Purpose::Streams, 3, 0);
            members::stage(&mut plan, own);
            // What is taken back is seen by others, and some of them are out, or were never asked.
            if plan.forsaken.is_none() && plan.seal.is_none() && lost.percent(30) {
                loss(&mut plan, lost);
            }
        }
    }
    if plan.departures.is_empty() && plan.stops.is_empty() {
        additions::stage(&mut plan, Draws::new(seed, Purpose::Additions, 1, 0));
        additions::forgets(&mut plan, Draws::new(seed, Purpose::Additions, 2, 0));
    }
    flow::stage(&mut plan, Draws::new(seed, Purpose::Flow, 2, 0));
    reading::reading(&mut plan);
    super::sort(&mut plan);
    idle::idle(&mut plan);
    poison(&mut plan);
    plan
}

/// In some runs handlers fail at some messages, and these are parked. What goes wrong with the members of a stream, and with disks, is looked at without that.
fn poison(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Poison, 0, 0);
    let alone = plan.seal.is_none()
        && plan.changes.is_empty()
        && plan.forsaken.is_none()
        && plan.departures.is_empty()
        && plan.streams.iter().all(|stream| stream.detach_after == 0);
    let parks = draws.percent(45);
    if !alone {
        return;
    }
    let damaged = plan.faults.iter().any(|fault| fault.kind.damages());
    if !parks || damaged {
        return failing(plan, damaged);
    }
    for stream in &mut plan.streams {
        let attempts = draws.spread(1, 6) as u32;
        let bad_one_in = draws.spread(2, 40);
        let cured = draws.between(SECOND, plan.fault_phase);
        let cured_at = if draws.percent(60) { cured } else { 0 };
        stream.poison = Some(PoisonPlan { attempts, bad_one_in, cured_at, fails: false, most: 0 });
    }
    let most = draws.spread(1, 6);
    let poisons = || plan.streams.iter().flat_map(|stream| &stream.poison);
    if draws.percent(40) && poisons().all(|poison| poison.cured_at > 0) {
        plan.streams.iter_mut().flat_map(|stream| &mut stream.poison).for_each(|poison| poison.most = most);
    }
}

/// In some of the other runs these fail their streams, until the handlers are seen to; no disk goes back then.
fn failing(plan: &mut Plan, damaged: bool) {
    let mut draws = Draws::new(plan.seed, Purpose::Poison, 0, 1);
    if !draws.percent(if damaged { 35 } else { 80 }) || plan.flow.is_some() {
        return;
    }
    plan.faults.retain(|fault| !fault.kind.damages());
    for stream in &mut plan.streams {
        let attempts = draws.spread(1, 5) as u32;
        let bad_one_in = draws.spread(4, 60);
        let cured_at = draws.between(SECOND, plan.fault_phase);
        stream.poison = Some(PoisonPlan { attempts, bad_one_in, cured_at, fails: true, most: 0 });
    }
}

fn subject(draws: &mut Draws, plan: &Plan) -> Subject {
    let count = plan.nodes.len();
    let several = u64::from(count >= 3);
    let few = u64::from(count <= 4);
    match draws.weighted(&[30, 28, 12, 6 * few, 14 * several, 6 * several, 6, 14 * several]) {
        0 => Subject::Anything,
        1 => Subject::Falls,
        2 => Subject::Loss,
        3 => Subject::Former,
        4 => Subject::Seal,
        5 => Subject::Departures,
        6 => Subject::Stops,
        _ => Subject::Members,
    }
}

/// Streams are there early, and most have several targets; nothing else is asked for.
fn be_about_streams(plan: &mut Plan, draws: &mut Draws) {
    plan.registry.clear();
    plan.config.clear();
    plan.updates = None;
    plan.streams.truncate(2);
    let (seed, count, until) = (plan.seed, plan.nodes.len(), plan.fault_phase);
    for (index, stream) in plan.streams.iter_mut().enumerate() {
        if stream.more.is_empty() && count > 2 && draws.percent(60) {
            let (source, target) = (stream.source, stream.target);
            let mut own = Draws::new(seed, Purpose::Streams, 2, index as u64);
            (stream.more, stream.complete) =
                workload::more_targets(&mut own, (seed, index), count, (source, target), until);
        }
        stream.opens_at = stream.opens_at.min(SECOND);
        stream.handler.attaches_at = stream.handler.attaches_at.min(FIRST);
        for publisher in &mut stream.publishers {
            publisher.starts_at = publisher.starts_at.min(until / 3);
        }
    }
}

/// One end after the other falls where a stream needs it: when it leads, accepts, takes its entries in or says so.
fn falls(plan: &mut Plan, mut draws: Draws) {
    let moments = [
        Moment::Lead,
        Moment::Accept,
        Moment::Deliver,
        Moment::WriteUnsynced,
        Moment::Return,
        Moment::SendVote,
        Moment::SendAppend,
        Moment::SendAppendReply,
        Moment::SendSnapshot,
        Moment::SendStream,
    ];
    let ends: Vec<usize> = plan.streams.iter().flat_map(|stream| stream.ends()).collect();
    for ordinal in 0..draws.between(2, 10) {
        let node = draws.pick(&ends);
        let most = if draws.percent(50) { 8 } else { 64 };
        let (nth, after) = (draws.spread(1, most) as u32, draws.spread(MILLI, 200 * MILLI));
        let condition = Condition { moment: draws.pick(&moments), node: Some(node), nth, after };
        let length = draws.spread(MILLI, 3 * SECOND);
        let kind = if draws.percent(60) {
            let after_outputs = draws.percent(40).then(|| draws.below(8) as u32);
            FaultKind::Crash { node, power: draws.percent(50), after_outputs, down: length }
        } else {
            let inbound = draws.percent(60);
            FaultKind::Isolate { node, inbound, outbound: !inbound || draws.percent(60), length }
        };
        plan.faults.push(Fault { id: KIND << 16 | ordinal, when: Trigger::On(condition), kind });
    }
}

/// One end loses all that its disk held, or goes back to an older state of it, up to three times.
fn loss(plan: &mut Plan, mut draws: Draws) {
    let ends: Vec<usize> = plan.streams.iter().flat_map(|stream| stream.ends()).collect();
    let node = draws.pick(&ends);
    let times = draws.between(1, 3);
    trouble::lose_disk(plan, &mut draws, (KIND << 16 | 1 << 8, node), times, 30);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn such_plans_can_be_run_and_vary_in_what_they_are_about() {
        let (mut sizes, mut several, mut damaged, mut sealed) = ([0u32; 8], 0, 0, 0);
        let (mut departures, mut stops, mut on_moments) = (0, 0, 0);
        for seed in 0..1000 {
            let plan = plan(seed);
            plan.check().unwrap_or_else(|what| panic!("seed {seed}: {what}\n{plan:#?}"));
            sizes[plan.nodes.len()] += 1;
            several += u32::from(plan.streams.iter().any(|stream| !stream.more.is_empty()));
            damaged += u32::from(plan.faults.iter().any(|fault| fault.kind.damages()));
            sealed += u32::from(plan.seal.is_some());
            departures += u32::from(!plan.departures.is_empty());
            stops += u32::from(!plan.stops.is_empty());
            on_moments += u32::from(plan.faults.iter().any(|fault| fault.when.time().is_none()));
        }
        assert!(sizes[2..].iter().all(|&runs| runs > 70), "{sizes:?}");
        let often = [several, damaged, sealed, on_moments];
        assert!(often.iter().all(|runs| (90..900).contains(runs)), "{often:?}");
        let seldom = [departures, stops];
        assert!(seldom.iter().all(|runs| (20..200).contains(runs)), "{seldom:?}");
    }
}
