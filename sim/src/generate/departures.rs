//! Members that go while everything else goes on: evicted by others, or leaving. The rest must hang together without them.

use super::is_special;
use crate::event::{MILLI, SECOND};
use crate::plan::{DeparturePlan, Parting, Plan};
use crate::random::{Draws, Purpose};

/// One plan in so many has departures, of those that are not about something else.
const ONE_IN: u64 = 6;

/// Lets a member or two of some plans go.
pub(super) fn departures(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Departure, u64::MAX, 0);
    let special = is_special(plan);
    if plan.nodes.len() >= 3 && !special && draws.one_in(ONE_IN) {
        stage(plan, draws);
    }
}

pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    let mut gone = Vec::new();
    for _ in 0..draws.between(1, plan.nodes.len() as u64 - 2).min(2) {
        let able: Vec<usize> = (0..plan.nodes.len())
            .filter(|node| !gone.contains(node) && may_go(plan, &[gone.as_slice(), &[*node]].concat()))
            .collect();
        if able.is_empty() {
            break;
        }
        let node = able[draws.index(able.len())];
        gone.push(node);
    }
    for &node in &gone {
        let others: Vec<usize> = (0..plan.nodes.len()).filter(|other| !gone.contains(other)).collect();
        let asked_at = others[draws.index(others.len())];
        let parting = if draws.percent(60) { Parting::Evict } else { Parting::Leave };
        let through =
            others.iter().copied().find(|&other| plan.nodes[other].listens && plan.linked(node, other));
        let after = draws.spread(MILLI, 6 * SECOND);
        let returns = through.filter(|_| draws.percent(40)).map(|through| (after, through));
        let at = SECOND + draws.below(plan.fault_phase);
        plan.departures.push(DeparturePlan { at, node, asked_at, parting, returns });
    }
    // Who goes may be gone before it could open a stream for others.
    if let Some(stays) = (0..plan.nodes.len()).find(|node| !gone.contains(node)) {
        for stream in plan.streams.iter_mut().filter(|stream| gone.contains(&stream.asked_at)) {
            stream.asked_at = stays;
        }
    }
    // Who lost its disk, or stays broken, has its own ways to be no member.
    plan.faults.retain(|fault| !fault.kind.damages());
    plan.beyond_repair = false;
    plan.forsaken = None;
}

/// Whether those that stay hang together, and can tell each of the others that it is gone, whoever goes first.
fn may_go(plan: &Plan, gone: &[usize]) -> bool {
    let stays = |other: &usize| !gone.contains(other);
    let told = |node: &usize| (0..plan.nodes.len()).any(|other| stays(&other) && plan.linked(*node, other));
    hangs_together(plan, gone) && gone.iter().all(told)
}

/// Whether the nodes that are left are connected without those that go.
pub(crate) fn hangs_together(plan: &Plan, gone: &[usize]) -> bool {
    let left: Vec<usize> = (0..plan.nodes.len()).filter(|node| !gone.contains(node)).collect();
    let Some(&first) = left.first() else { return false };
    let mut reached = vec![first];
    while let Some(&next) = left
        .iter()
        .find(|&&node| !reached.contains(&node) && reached.iter().any(|&from| plan.linked(from, node)))
    {
        reached.push(next);
    }
    reached.len() == left.len()
}

#[cfg(test)]
mod tests {
    use crate::plan::{Parting, Plan};

    #[test]
    fn some_members_are_evicted_some_leave_and_some_come_back() {
        let plans: Vec<Plan> = (0..1000).map(Plan::generate).collect();
        let all: Vec<_> = plans.iter().flat_map(|plan| &plan.departures).collect();
        assert!(all.len() > 50, "{}", all.len());
        assert!(all.iter().any(|departure| departure.parting == Parting::Evict));
        assert!(all.iter().any(|departure| departure.parting == Parting::Leave));
        assert!(all.iter().any(|departure| departure.returns.is_some()));
        let with = plans.iter().filter(|plan| !plan.departures.is_empty()).count();
        assert!(with < 300, "{with} of 1000 runs");
    }
}
