//! Faults that do less than others.

use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::plan::Plan;
use crate::trouble::Trouble;

/// How involved a fault is: of two that bring the same to light, the lower one is told first.
pub(super) fn weight(fault: &Fault) -> u64 {
    let size = |number: u64| u64::from(number.checked_ilog2().unwrap_or(0));
    let kind = match fault.kind {
        FaultKind::Crash { power, after_outputs, .. } => {
            10 + 10 * u64::from(power) + after_outputs.map_or(0, |after| 20 + u64::from(after))
        }
        FaultKind::Pause { .. } | FaultKind::FailedWrite { .. } => 10,
        FaultKind::Cut { both, .. } => {
            if both {
                12
            } else {
                20
            }
        }
        FaultKind::Reset { late, .. } => 10 + u64::from(late),
        FaultKind::Isolate { inbound, outbound, .. } => {
            if inbound && outbound {
                30
            } else {
                35
            }
        }
        FaultKind::Partition { ref side, .. } => 40 + side.len() as u64,
        FaultKind::WallStep { millis, .. } => 10 + size(millis.unsigned_abs()),
        FaultKind::SlowDisk { factor, .. } => 20 + size(factor),
        FaultKind::FullDisk { .. } | FaultKind::Slow { .. } => 20,
        FaultKind::Silence { .. } | FaultKind::HalfOpen { .. } | FaultKind::Rebind { .. } => 15,
        FaultKind::Overtake { .. } => 25,
        FaultKind::Flap { .. } => 30,
        FaultKind::Disturb { both, .. } => 30 + u64::from(!both),
        FaultKind::Trouble { ref what, .. } => weight_of_trouble(what),
        FaultKind::RolledBack { .. } => 60,
        FaultKind::Depose { times, crash, .. } => 100 + 10 * u64::from(times) + u64::from(!crash),
    };
    let when = match fault.when {
        Trigger::At(_) => 0,
        Trigger::On(Condition { node, nth, .. }) => u64::from(node.is_none()) + u64::from(nth),
    };
    1000 * kind + when
}

/// Faults to try in the place of one, the least involved first. Those that are no lighter are left out by whoever tries them.
pub(super) fn simpler(fault: &Fault, plan: &Plan) -> Vec<Fault> {
    let mut tried: Vec<Fault> =
        simpler_kinds(&fault.kind, plan).into_iter().map(|kind| Fault { kind, ..fault.clone() }).collect();
    if let FaultKind::Depose { .. } = fault.kind {
        tried.splice(0..0, one_leader(fault, plan.nodes.len()));
    }
    if let Trigger::On(condition) = fault.when {
        let lower = super::numbers::smaller(u64::from(condition.nth), 1).into_iter();
        tried.extend(lower.filter_map(|nth| {
            let condition = Condition { nth: u32::try_from(nth).ok()?, ..condition };
            Some(Fault { when: Trigger::On(condition), ..fault.clone() })
        }));
    }
    tried
}

fn simpler_kinds(kind: &FaultKind, plan: &Plan) -> Vec<FaultKind> {
    match *kind {
        FaultKind::Crash { node, power, after_outputs, down } => {
            let crash = |power, after_outputs| FaultKind::Crash { node, power, after_outputs, down };
            let earlier = (0..after_outputs.unwrap_or(0)).map(Some);
            let mut tried = vec![crash(false, None), crash(true, None), crash(false, after_outputs)];
            tried.extend(earlier.map(|after| crash(power, after)));
            tried
        }
        FaultKind::Cut { from, to, both, length } => {
            if both {
                Vec::new()
            } else {
                vec![FaultKind::Cut { from, to, both: true, length }]
            }
        }
        FaultKind::Isolate { node, inbound, outbound, length } => {
            let mut tried = cuts(plan, |a, b| a == node || b == node, length);
            if !(inbound && outbound) {
                tried.push(FaultKind::Isolate { node, inbound: true, outbound: true, length });
            }
            tried
        }
        FaultKind::Partition { ref side, length } => {
            let within = |node: usize| side.contains(&node);
            let mut tried = cuts(plan, |a, b| within(a) != within(b), length);
            let isolate = |node| FaultKind::Isolate { node, inbound: true, outbound: true, length };
            if plan.nodes.len() <= FEW {
                tried.extend((0..plan.nodes.len()).map(isolate));
            }
            tried.extend((0..side.len().min(FEW)).filter(|_| side.len() > 1).map(|left_out| {
                let mut side = side.clone();
                side.remove(left_out);
                FaultKind::Partition { side, length }
            }));
            tried
        }
        FaultKind::Reset { a, b, late } => {
            if late {
                vec![FaultKind::Reset { a, b, late: false }]
            } else {
                Vec::new()
            }
        }
        FaultKind::SlowDisk { node, factor, length } => {
            let slower = super::numbers::smaller(factor, 2).into_iter();
            slower.map(|factor| FaultKind::SlowDisk { node, factor, length }).collect()
        }
        FaultKind::WallStep { node, millis } => {
            let shorter = super::numbers::smaller(millis.unsigned_abs(), 1).into_iter();
            shorter
                .filter_map(|size| i64::try_from(size).ok())
                .map(|size| FaultKind::WallStep { node, millis: size * millis.signum() })
                .collect()
        }
        FaultKind::RolledBack { node, down, .. } => {
            let crash = |power| FaultKind::Crash { node, power, after_outputs: None, down };
            vec![crash(false), crash(true)]
        }
        FaultKind::Depose { times, delay, length, crash } => {
            let depose = |times, crash| FaultKind::Depose { times, delay, length, crash };
            let mut tried: Vec<_> = (1..times).map(|times| depose(times, crash)).collect();
            tried.push(depose(times, true));
            tried
        }
        FaultKind::Flap { a, b, length, .. } => {
            vec![
                FaultKind::Reset { a, b, late: false },
                FaultKind::Cut { from: a, to: b, both: true, length },
            ]
        }
        FaultKind::Disturb { from, to, both, what, length } => {
            let mut tried = vec![
                FaultKind::Reset { a: from, b: to, late: false },
                FaultKind::Cut { from, to, both: true, length },
            ];
            if !both {
                tried.push(FaultKind::Disturb { from, to, both: true, what, length });
            }
            tried
        }
        FaultKind::Overtake { from: a, to: b, .. } | FaultKind::HalfOpen { forgets: a, believes: b } => {
            vec![FaultKind::Reset { a, b, late: false }, FaultKind::Reset { a, b, late: true }]
        }
        FaultKind::Trouble { node, ref what } => simpler_trouble(node, what),
        FaultKind::Silence { .. }
        | FaultKind::Rebind { .. }
        | FaultKind::Pause { .. }
        | FaultKind::Slow { .. }
        | FaultKind::FullDisk { .. }
        | FaultKind::FailedWrite { .. } => Vec::new(),
    }
}

fn weight_of_trouble(trouble: &Trouble) -> u64 {
    match *trouble {
        Trouble::BlockedSender { .. } | Trouble::StalledDisk { .. } => 20,
        Trouble::SlowNode { .. } | Trouble::Drift { .. } | Trouble::TimerSlack { .. } => 25,
        Trouble::Suspend { counted, .. } => 25 + u64::from(!counted),
        Trouble::OutOfSpace { .. } | Trouble::LostPages => 30,
        Trouble::CrashLoop { times, .. } => 30 + u64::from(times),
        Trouble::EmptyDisk { .. } => 50,
        Trouble::BitRot { rows, .. } | Trouble::ReadErrors { rows, .. } => 60 + rows as u64,
        Trouble::PhantomWrite | Trouble::MisdirectedWrite => 60,
    }
}

fn simpler_trouble(node: usize, trouble: &Trouble) -> Vec<FaultKind> {
    let crash = |power, down| FaultKind::Crash { node, power, after_outputs: None, down };
    let other = |what| FaultKind::Trouble { node, what };
    match *trouble {
        Trouble::SlowNode { length, .. }
        | Trouble::BlockedSender { length, .. }
        | Trouble::StalledDisk { length }
        | Trouble::TimerSlack { length, .. }
        | Trouble::Drift { length, .. } => vec![FaultKind::Pause { node, length }],
        Trouble::Suspend { length, counted } => {
            let mut tried = vec![FaultKind::Pause { node, length }];
            if !counted {
                tried.push(other(Trouble::Suspend { counted: true, length }));
            }
            tried
        }
        Trouble::CrashLoop { times, runs, down } => {
            let fewer = (1..times).map(|times| other(Trouble::CrashLoop { times, runs, down }));
            [crash(false, down), crash(true, down)].into_iter().chain(fewer).collect()
        }
        Trouble::EmptyDisk { down } => vec![crash(false, down), crash(true, down)],
        Trouble::LostPages | Trouble::OutOfSpace { .. } => vec![FaultKind::FailedWrite { node }],
        Trouble::BitRot { rot, reach, rows } => {
            let fewer = super::numbers::smaller(rows as u64, 1).into_iter();
            fewer.map(|rows| Trouble::BitRot { rot, reach, rows: rows as usize }).map(other).collect()
        }
        Trouble::ReadErrors { reach, rows } => {
            let fewer = super::numbers::smaller(rows as u64, 1).into_iter();
            fewer.map(|rows| Trouble::ReadErrors { reach, rows: rows as usize }).map(other).collect()
        }
        Trouble::PhantomWrite | Trouble::MisdirectedWrite => Vec::new(),
    }
}

/// Above so many nodes, not each of them is tried.
const FEW: usize = 12;

/// A single link cut, for each link of some nodes.
fn cuts(plan: &Plan, mut of_interest: impl FnMut(usize, usize) -> bool, length: u64) -> Vec<FaultKind> {
    let edges = plan.edges.iter().filter(|edge| of_interest(edge.a, edge.b)).take(FEW);
    edges.map(|edge| FaultKind::Cut { from: edge.a, to: edge.b, both: true, length }).collect()
}

/// In the place of leaders who fall whoever they are: a certain node that falls when it leads.
fn one_leader(fault: &Fault, count: usize) -> Vec<Fault> {
    let FaultKind::Depose { delay, length, .. } = fault.kind else { return Vec::new() };
    let kinds = |node| {
        [
            FaultKind::Crash { node, power: false, after_outputs: None, down: length },
            FaultKind::Isolate { node, inbound: true, outbound: true, length },
        ]
    };
    let places = (0..count.min(FEW)).flat_map(|node| [(node, 1), (node, 2)]);
    let faults = places.flat_map(|(node, nth)| {
        let condition = Condition { moment: Moment::Lead, node: Some(node), nth, after: delay };
        kinds(node).map(|kind| Fault { id: fault.id, when: Trigger::On(condition), kind })
    });
    faults.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_in_the_place_of_a_fault_can_be_run_and_some_of_it_is_lighter() {
        let (mut involved, mut lighter) = (0, 0);
        for seed in 0..200 {
            let plan = Plan::generate(seed);
            for (place, fault) in plan.faults.iter().enumerate() {
                let tried = simpler(fault, &plan);
                for simple in &tried {
                    let mut changed = plan.clone();
                    changed.faults[place] = simple.clone();
                    assert_eq!(changed.check(), Ok(()), "{fault:?} {simple:?}");
                    assert_eq!(simple.id, fault.id, "its random stream stays");
                }
                if matches!(fault.kind, FaultKind::Depose { .. } | FaultKind::Partition { .. }) {
                    involved += 1;
                    lighter += u32::from(tried.iter().any(|simple| weight(simple) < weight(fault)));
                }
            }
        }
        assert!(involved > 50 && lighter == involved, "{lighter} of {involved}");
    }
}
