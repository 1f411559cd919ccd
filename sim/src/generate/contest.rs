//! Runs about who leads the control group. A leader is cut off at the moment at which much is asked of it, so that its log grows by what
//! nobody else knows; others lead meanwhile and fall in their turn; then the first is back (figures 7 and 8 of the Raft paper). Logs
//! come to differ in length against their terms, and are cut while writes of them are under way.

use super::faults::{Maker, Swarm, crash, slow, slow_disk};
use super::topology::{LARGEST, edge};
use crate::event::{MILLI, SECOND, Time};
use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::plan::{Latency, Plan, RegistryPlan, Wish};
use crate::random::{Draws, Purpose};

/// One run in so many is about that.
const ONE_IN: u64 = 8;
/// When the first leader falls: by then the mesh has formed.
pub(super) const FIRST: Time = 2 * SECOND;
/// The names of these faults begin here.
const KIND: u64 = 48;
/// Calls for one name: below what can be judged, for one that is answered late may count twice.
const CALLS_PER_NAME: usize = 48;

/// Turns some plans into such runs: few messages, short, everybody linked with everybody, and leaders that fall one after the other.
pub(super) fn contest(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Contest, 0, 0);
    let count = plan.nodes.len();
    if draws.one_in(ONE_IN) && (3..=LARGEST).contains(&count) {
        stage(plan, draws);
    }
}

pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    link_all(plan, &mut draws);
    calm_down(plan, &mut draws);
    let rounds = draws.between(2, 8);
    let mood = Mood::new(&mut draws);
    let mut at = FIRST;
    plan.registry.clear();
    plan.updates = None;
    for round in 0..rounds {
        let mut draws = Draws::new(plan.seed, Purpose::Contest, 1, round);
        ask(plan, &mut draws, at);
        strike(plan, &mut draws, at, round, &mood);
        slow_votes(plan, &mut draws, at, round, &mood);
        at += draws.spread(200 * MILLI, 2 * SECOND);
    }
    crash_behind_snapshots(plan, &mut draws);
    if draws.percent(50) {
        crash_behind_returns(plan, &mut draws);
    }
    plan.fault_phase = at;
    plan.faults.retain(|fault| fault.when.time().is_none_or(|begins| begins <= at));
}

/// What goes wrong beside the leaders in all rounds of a run.
struct Mood {
    slow_disks: bool,
    /// How long every disk takes while an election is held: votes come when another election is under way. 0 in most runs.
    slow_votes: Time,
    slow_links: bool,
    crashes: bool,
    /// How long a leader leads before it falls, at most.
    delay: Time,
}

impl Mood {
    fn new(draws: &mut Draws) -> Self {
        Self {
            slow_disks: draws.percent(50),
            slow_votes: if draws.percent(40) { draws.spread(50 * MILLI, SECOND) } else { 0 },
            slow_links: draws.percent(40),
            crashes: draws.percent(50),
            delay: draws.spread(MILLI, 400 * MILLI),
        }
    }
}

pub(super) fn link_all(plan: &mut Plan, draws: &mut Draws) {
    let listens: Vec<bool> = plan.nodes.iter().map(|node| node.listens).collect();
    for a in 0..listens.len() {
        for b in a + 1..listens.len() {
            if !plan.linked(a, b) && (listens[a] || listens[b]) {
                plan.edges.push(edge(draws, &listens, a, b));
            }
        }
    }
}

/// What such a run is not about is there in small amounts: it would cost time and hide nothing.
pub(super) fn calm_down(plan: &mut Plan, draws: &mut Draws) {
    for node in &mut plan.nodes {
        node.joins_at = draws.below(50 * MILLI);
    }
    plan.streams.truncate(1);
    for publisher in plan.streams.iter_mut().flat_map(|stream| &mut stream.publishers) {
        publisher.messages = publisher.messages.min(20);
        publisher.starts_at = publisher.starts_at.min(FIRST);
    }
    for stream in &mut plan.streams {
        stream.opens_at = stream.opens_at.min(SECOND);
        stream.handler.attaches_at = stream.handler.attaches_at.min(FIRST);
    }
    // Several entries in one append make runs that are cut in their middle; a log that is short is cut from its front, too.
    plan.replication.entries = draws.pick(&[3, 256]);
    plan.replication.window = draws.pick(&[1, 2, 32]);
    plan.disk.slack = draws.pick(&[2_000, 2_000, 50_000]);
    if draws.percent(40) {
        // Votes travel about as long as an election waits, so that two are won before either winner hears of the other.
        let usual = draws.spread(10 * MILLI, 150 * MILLI);
        plan.network.latency = Latency::Uniform(usual / 2, usual * 3);
        plan.network.links.clear();
    }
    plan.faults.retain(|fault| draws.percent(30) && fault.kind.name() != "depose");
}

/// Whoever leads is asked much at once. Most of it changes nothing, and is an entry of its log all the same.
pub(super) fn ask(plan: &mut Plan, draws: &mut Draws, at: Time) {
    let count = plan.nodes.len();
    let within = draws.spread(MILLI, 300 * MILLI);
    let name = (0..).find(|&name| {
        let asked = plan.registry.iter().filter(|wish| wish.name == name).count();
        asked + 24 <= CALLS_PER_NAME
    });
    let name = name.expect("names without end");
    for _ in 0..draws.spread(2, 24) {
        let source = draws.index(count);
        let target = (source + 1 + draws.index(count - 1)) % count;
        let wish = if draws.percent(20) { Wish::Open { source, target } } else { Wish::Close };
        plan.registry.push(RegistryPlan {
            at: at + draws.below(within),
            node: draws.index(count),
            leader: draws.percent(80),
            name,
            wish,
        });
    }
}

/// The leader of the moment falls, and perhaps those who follow it.
fn strike(plan: &mut Plan, draws: &mut Draws, at: Time, round: u64, mood: &Mood) {
    let swarm = Swarm {
        draws: draws.clone(),
        seed: plan.seed,
        count: plan.nodes.len(),
        edges: plan.edges.iter().map(|edge| (edge.a, edge.b)).collect(),
        favourite: draws.index(plan.nodes.len()),
        from: at,
        until: at + SECOND,
    };
    let depose: Maker = |_, draws, _| FaultKind::Depose {
        times: draws.between(1, 3) as u32,
        delay: 0,
        length: draws.spread(500 * MILLI, 3 * SECOND),
        crash: draws.percent(10),
    };
    let kinds: [(bool, Time, Maker); 5] = [
        (true, at + draws.below(20 * MILLI), depose),
        (mood.slow_disks, at.saturating_sub(draws.below(200 * MILLI)), slow_disk),
        (mood.slow_disks, at + draws.below(SECOND), slow_disk),
        (mood.slow_links, at + draws.below(SECOND), slow),
        (mood.crashes, at + draws.spread(MILLI, 2 * SECOND), crash),
    ];
    for (kind, (wanted, at, make)) in kinds.into_iter().enumerate() {
        let id = KIND << 16 | (kind as u64) << 8 | round;
        let mut draws = Draws::new(plan.seed, Purpose::Contest, 2, id);
        let mut kind = make(&swarm, &mut draws, at);
        if let FaultKind::Depose { delay, .. } = &mut kind {
            *delay = mood.delay;
        }
        if wanted {
            plan.faults.push(Fault { id, when: Trigger::At(at), kind });
        }
    }
}

/// While an election is held, every disk takes about as long as an election waits.
fn slow_votes(plan: &mut Plan, draws: &mut Draws, at: Time, round: u64, mood: &Mood) {
    if mood.slow_votes == 0 || draws.percent(40) {
        return;
    }
    for node in 0..plan.nodes.len() {
        let usual = (plan.disk.sync.0 * plan.nodes[node].disk_factor).max(1);
        let factor = draws.between(mood.slow_votes / 4, mood.slow_votes) / usual;
        let kind =
            FaultKind::SlowDisk { node, factor: factor.max(1), length: draws.spread(SECOND, 4 * SECOND) };
        let id = KIND << 16 | (8 + node as u64) << 8 | round;
        plan.faults.push(Fault { id, when: Trigger::At(at + draws.below(400 * MILLI)), kind });
    }
}

/// Whoever took over a state and has heard nothing since starts again with what its disk holds beside it.
fn crash_behind_snapshots(plan: &mut Plan, draws: &mut Draws) {
    for ordinal in 0..draws.between(0, 3) {
        let condition = Condition {
            moment: Moment::SendSnapshot,
            node: None,
            nth: draws.spread(1, 6) as u32,
            after: draws.spread(MILLI, 400 * MILLI),
        };
        let kind = FaultKind::Crash {
            node: draws.index(plan.nodes.len()),
            power: draws.percent(50),
            after_outputs: None,
            down: draws.spread(MILLI, 300 * MILLI),
        };
        plan.faults.push(Fault { id: KIND << 16 | 32 << 8 | ordinal, when: Trigger::On(condition), kind });
    }
}

/// Whoever led and is back starts again, before it has heard much of those who led meanwhile.
fn crash_behind_returns(plan: &mut Plan, draws: &mut Draws) {
    for node in 0..plan.nodes.len() {
        let condition = Condition {
            moment: Moment::Return,
            node: Some(node),
            nth: draws.spread(1, 2) as u32,
            after: draws.spread(MILLI, 600 * MILLI),
        };
        let kind = FaultKind::Crash {
            node,
            power: draws.percent(50),
            after_outputs: None,
            down: draws.spread(MILLI, 300 * MILLI),
        };
        plan.faults.push(Fault {
            id: KIND << 16 | 33 << 8 | node as u64,
            when: Trigger::On(condition),
            kind,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::plans_about;
    use crate::fault::FaultKind;

    #[test]
    fn some_plans_contest_who_leads_and_ask_much_of_whoever_does() {
        let plans = plans_about(super::KIND, 1000);
        assert!((60..=140).contains(&plans.len()), "{}", plans.len());
        for plan in &plans {
            let deposed = plan.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::Depose { .. }));
            assert!(deposed.count() >= 2, "seed {}", plan.seed);
        }
        let asked: usize = plans.iter().map(|plan| plan.registry.len()).sum();
        assert!(asked > 20 * plans.len(), "{asked} in {} plans", plans.len());
    }
}
