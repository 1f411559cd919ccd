//! Runs about meshes that lose their quorum: a majority is down or cut off for long, an operator has the others go on, survivors fall in
//! the middle of it, and the lost live on, or come back.

use super::contest::link_all;
use super::relays;
use super::whole_early;
use crate::event::{MILLI, SECOND};
use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::plan::{ConfigPlan, ConfigWish, Plan, RecoveryPlan};
use crate::random::{Draws, Purpose};

/// The names of the faults that only such runs have begin here.
const KIND: u64 = 160;

/// In what a survivor may fall.
const STAGES: [Moment; 8] = [
    Moment::SendMesh,
    Moment::Lead,
    Moment::Write,
    Moment::SendOrder,
    Moment::SendLogEnd,
    Moment::SendFound,
    Moment::SendFounded,
    Moment::SendAppend,
];

/// The plan of that number.
pub(super) fn plan(seed: u64) -> Plan {
    let mut draws = Draws::new(seed, Purpose::Recovery, 0, 0);
    let count = relays::size(seed, 3 + draws.weighted(&[30, 20, 35, 15]));
    let fault_phase = draws.between(16 * SECOND, 26 * SECOND);
    let mut plan = super::basic(seed, count, fault_phase);
    be_about_it(&mut plan, &mut draws);
    let lost = lost(&mut draws, count);
    let survivors: Vec<usize> = (0..count).filter(|node| !lost.contains(node)).collect();
    let lost_at = draws.between(5 * SECOND, 7 * SECOND);
    let at = lost_at + draws.between(SECOND, 3 * SECOND);
    lose(&mut plan, &mut draws, &lost, (lost_at, at));
    for ordinal in 0..draws.between(0, 4) {
        let node = survivors[draws.index(survivors.len())];
        let after_outputs = draws.percent(40).then(|| draws.below(8) as u32);
        let down = draws.spread(MILLI, 2 * SECOND);
        let kind = FaultKind::Crash { node, power: draws.percent(50), after_outputs, down };
        let when = if draws.percent(50) {
            Trigger::At(draws.between(at, at + 4 * SECOND))
        } else {
            let moment = draws.pick(&STAGES);
            let nth = draws.spread(1, 12) as u32;
            let nth = match moment {
                Moment::Lead => 1 + nth % 3,
                Moment::SendMesh | Moment::Write => nth + 20,
                _ => nth.min(6),
            };
            Trigger::On(Condition { moment, node: Some(node), nth, after: draws.below(20 * MILLI) })
        };
        plan.faults.push(Fault { id: KIND << 16 | 1 << 8 | ordinal, when, kind });
    }
    write_on(&mut plan, &mut draws, lost_at);
    let asked_at = survivors[draws.index(survivors.len())];
    let wanders = draws.percent(50);
    let mut draws = Draws::new(seed, Purpose::Recovery, 2, 0);
    match draws.weighted(&[50, 25, 25]) {
        1 => lag(&mut plan, &mut draws, &survivors, lost_at),
        2 => fall_within(&mut plan, &mut draws, &survivors, (asked_at, at)),
        _ => {}
    }
    plan.recovery = Some(RecoveryPlan { at, asked_at, wanders, lost });
    relays::relays(&mut plan);
    super::sort(&mut plan);
    plan
}

/// Everybody is a member early, and nothing else goes on.
fn be_about_it(plan: &mut Plan, draws: &mut Draws) {
    link_all(plan, draws);
    whole_early(plan);
    plan.streams.clear();
    plan.registry.clear();
    plan.updates = None;
    plan.faults.clear();
    plan.beyond_repair = false;
    plan.forsaken = None;
    plan.disk.slack = draws.pick(&[2_000, 50_000, 16 << 20]);
    plan.replication.entries = draws.pick(&[1, 3, 256]);
}

/// More than half of the members, whoever votes.
fn lost(draws: &mut Draws, count: usize) -> Vec<usize> {
    let mut lost: Vec<usize> = (0..count).collect();
    for _ in 0..draws.between(1, (count - 1 - count / 2) as u64) {
        lost.remove(draws.index(lost.len()));
    }
    lost
}

/// They are down, or live on by themselves; some come back before everything heals.
fn lose(plan: &mut Plan, draws: &mut Draws, lost: &[usize], (lost_at, ordered_at): (u64, u64)) {
    let until = match draws.index(10) {
        0..3 => draws.between(4 * SECOND, plan.fault_phase - lost_at),
        // In the midst of it.
        3..5 => ordered_at - lost_at + draws.spread(MILLI, 3 * SECOND),
        _ => plan.fault_phase,
    };
    if draws.percent(50) {
        let kind = FaultKind::Partition { side: lost.to_vec(), length: until };
        return plan.faults.push(Fault { id: KIND << 16, when: Trigger::At(lost_at), kind });
    }
    let power = draws.percent(50);
    for (ordinal, &node) in (0..).zip(lost) {
        let at = lost_at + draws.below(200 * MILLI);
        // One of them may come back by itself, before the others.
        let until = if draws.percent(20) { draws.between(SECOND, until) } else { until };
        let kind = FaultKind::Crash { node, power, after_outputs: None, down: until };
        plan.faults.push(Fault { id: KIND << 16 | ordinal, when: Trigger::At(at), kind });
    }
}

/// Somebody writes before and after, here and there.
fn write_on(plan: &mut Plan, draws: &mut Draws, lost_at: u64) {
    plan.config.clear();
    for key in 0..draws.between(4, 14) {
        let at = draws.between(3 * SECOND, (lost_at + 9 * SECOND).min(plan.fault_phase));
        let node = draws.index(plan.nodes.len());
        plan.config.push(ConfigPlan { at, node, leader: false, key, wish: ConfigWish::Set });
    }
}

/// One survivor hears nothing of what is decided last: its log ends before those of others.
fn lag(plan: &mut Plan, draws: &mut Draws, survivors: &[usize], lost_at: u64) {
    if survivors.len() < 2 {
        return;
    }
    let behind = survivors[draws.index(survivors.len())];
    let begins = lost_at - draws.between(SECOND, 2 * SECOND);
    let length = lost_at - begins + draws.between(500 * MILLI, SECOND);
    let kind = FaultKind::Isolate { node: behind, inbound: true, outbound: true, length };
    plan.faults.push(Fault { id: KIND << 16 | 2 << 8, when: Trigger::At(begins), kind });
    let others: Vec<usize> = (0..plan.nodes.len()).filter(|&node| node != behind).collect();
    for key in 0..draws.between(2, 5) {
        let at = draws.between(begins + 300 * MILLI, lost_at);
        let (node, wish) = (others[draws.index(others.len())], ConfigWish::Set);
        plan.config.push(ConfigPlan { at, node, leader: false, key: 100 + key, wish });
    }
}

/// Who is asked cannot reach the other survivors for a while, and starts anew meanwhile, or they do.
fn fall_within(plan: &mut Plan, draws: &mut Draws, survivors: &[usize], (asked_at, at): (usize, u64)) {
    let others: Vec<usize> = survivors.iter().copied().filter(|&node| node != asked_at).collect();
    let Some(&away) = others.get(draws.index(others.len().max(1))) else { return };
    let begins = at - draws.below(SECOND);
    let length = at - begins + draws.between(2 * SECOND, 4 * SECOND);
    let kind = FaultKind::Isolate { node: away, inbound: true, outbound: true, length };
    plan.faults.push(Fault { id: KIND << 16 | 3 << 8, when: Trigger::At(begins), kind });
    let falls = if draws.percent(80) { asked_at } else { others[draws.index(others.len())] };
    let down = draws.spread(MILLI, 500 * MILLI);
    let kind = FaultKind::Crash { node: falls, power: draws.percent(50), after_outputs: None, down };
    let when = Trigger::At(at + draws.between(300 * MILLI, 1_800 * MILLI));
    plan.faults.push(Fault { id: KIND << 16 | 3 << 8 | 1, when, kind });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn such_plans_can_be_run_and_lose_a_majority_in_several_ways() {
        let (mut cut, mut down, mut away, mut sizes) = (0, 0, 0, [0u32; 10]);
        for seed in 0..500 {
            let plan = plan(seed);
            plan.check().unwrap_or_else(|what| panic!("seed {seed}: {what}\n{plan:#?}"));
            let recovery = plan.recovery.as_ref().expect("it is about that");
            assert!(2 * recovery.lost.len() > plan.nodes.len() && recovery.lost.len() < plan.nodes.len());
            sizes[plan.nodes.len()] += 1;
            let has = |wanted: fn(&FaultKind) -> bool| plan.faults.iter().any(|fault| wanted(&fault.kind));
            cut += u32::from(has(|kind| matches!(kind, FaultKind::Partition { .. })));
            down += u32::from(has(|kind| matches!(kind, FaultKind::Crash { .. })));
            away += u32::from(has(|kind| matches!(kind, FaultKind::Isolate { .. })));
        }
        assert!(sizes[3..7].iter().all(|&runs| runs > 30), "{sizes:?}");
        assert!(sizes[7..].iter().all(|&runs| runs > 5), "{sizes:?}");
        assert!(cut > 150 && down > 150 && away > 50, "{cut} {down} {away}");
    }
}
