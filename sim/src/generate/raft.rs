//! Runs about consensus alone, for who wants to know whether the engine is right: three to nine members, most of which vote, on links of
//! every kind; few messages of streams, so that a run is short; logs that are cut often; and in each run one thing that goes wrong again and again.

use super::contest::{FIRST, link_all};
use super::{contest, departures, fork, former, late, relays, storm, trouble};
use crate::event::{MILLI, SECOND};
use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::plan::Plan;
use crate::random::{Draws, Purpose};

/// The names of the faults that only such runs have begin here.
const KIND: u64 = 63;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// Leaders fall one after the other, while much is asked of them.
    Contest,
    /// Members join late, leave and are evicted while leaders fall.
    Changes,
    /// A voter loses its disk while leaders fall, and comes back under another name.
    Loss,
    /// Votes come again late.
    Late,
    /// A log forks within a term.
    Fork,
    /// Who decided alone comes back with an older disk.
    Former,
    /// Crashes follow each other before a start has done anything.
    Storm,
}

/// The plan of that number.
pub(super) fn plan(seed: u64) -> Plan {
    let mut draws = Draws::new(seed, Purpose::Raft, 0, 0);
    let count = relays::size(seed, 3 + draws.weighted(&[40, 12, 30, 8, 10]));
    let subject = subject(&mut draws, count);
    let fault_phase = draws.spread(3 * SECOND, 9 * SECOND);
    let mut plan = super::basic(seed, count, fault_phase);
    plan.replication.voters = draws.pick(&[3, 5, 7, 7]);
    plan.disk.slack = draws.pick(&[2_000, 2_000, 4_000, 50_000]);
    if draws.percent(60) {
        link_all(&mut plan, &mut draws);
    }
    be_brief(&mut plan);
    let own = Draws::new(seed, Purpose::Raft, 1, 0);
    match subject {
        Subject::Contest => contest::stage(&mut plan, own),
        Subject::Changes => changes(&mut plan, own),
        Subject::Loss => loss(&mut plan, own),
        Subject::Late => late::stage(&mut plan, own),
        Subject::Fork => fork::stage(&mut plan, own),
        Subject::Former => former::stage(&mut plan, own),
        Subject::Storm => storm::stage(&mut plan, own),
    }
    relays::relays(&mut plan);
    super::sort(&mut plan);
    plan
}

fn subject(draws: &mut Draws, count: usize) -> Subject {
    let small = u64::from(count == 3);
    let few = u64::from(count <= 4);
    match draws.weighted(&[30, 25, 15, 12 * small, 8 * small, 15 * few, 8]) {
        0 => Subject::Contest,
        1 => Subject::Changes,
        2 => Subject::Loss,
        3 => Subject::Late,
        4 => Subject::Fork,
        5 => Subject::Former,
        _ => Subject::Storm,
    }
}

/// Streams are there, and busy enough to have groups of their own.
fn be_brief(plan: &mut Plan) {
    plan.updates = None;
    plan.streams.truncate(1);
    for stream in &mut plan.streams {
        stream.opens_at = stream.opens_at.min(SECOND);
        stream.handler.attaches_at = stream.handler.attaches_at.min(FIRST);
        stream.publishers.truncate(1);
        for publisher in &mut stream.publishers {
            publisher.messages = publisher.messages.min(20);
            publisher.starts_at = publisher.starts_at.min(FIRST);
        }
    }
}

/// Members come one by one while leaders fall, so that one change of voters follows the other; some go again, leaders among them.
fn changes(plan: &mut Plan, mut draws: Draws) {
    contest::stage(plan, draws.clone());
    let mut joins_at = 0;
    let most = plan.fault_phase / plan.nodes.len() as u64;
    for node in &mut plan.nodes {
        node.joins_at = joins_at;
        joins_at += draws.spread(20 * MILLI, most);
    }
    crash_in_changes(plan, &mut draws);
    departures::stage(plan, draws);
    // Who goes serves nobody: who stays is asked for the stream.
    let goes = |node: usize| plan.departures.iter().any(|departure| departure.node == node);
    let stays = (0..plan.nodes.len()).find(|&node| !goes(node));
    for stream in plan.streams.iter_mut().filter(|stream| goes(stream.asked_at)) {
        stream.asked_at = stays.unwrap_or(stream.asked_at);
    }
}

/// Whoever just began to lead, or to vote, starts again: what it was told of the members is what its disk holds.
fn crash_in_changes(plan: &mut Plan, draws: &mut Draws) {
    for ordinal in 0..draws.between(0, 3) {
        let moment = draws.pick(&[Moment::Lead, Moment::SendVote, Moment::SendSnapshot, Moment::SendJoin]);
        let after = draws.spread(MILLI, 200 * MILLI);
        let condition = Condition { moment, node: None, nth: draws.spread(1, 8) as u32, after };
        let node = draws.index(plan.nodes.len());
        let down = draws.spread(MILLI, SECOND);
        let kind = FaultKind::Crash { node, power: draws.percent(50), after_outputs: None, down };
        plan.faults.push(Fault { id: KIND << 16 | ordinal, when: Trigger::On(condition), kind });
    }
}

/// One node loses all that its disk held, or goes back to an older state of it, once or twice.
fn loss(plan: &mut Plan, mut draws: Draws) {
    contest::stage(plan, draws.clone());
    let node = draws.index(plan.nodes.len());
    let times = draws.between(1, 2);
    trouble::lose_disk(plan, &mut draws, (KIND << 16 | 1 << 8, node), times, 50);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn such_plans_can_be_run_and_vary_in_what_they_are_about() {
        let (mut sizes, mut departures, mut back, mut deposed, mut short) = ([0u32; 10], 0, 0, 0, 0);
        for seed in 0..1000 {
            let plan = plan(seed);
            plan.check().unwrap_or_else(|what| panic!("seed {seed}: {what}\n{plan:#?}"));
            sizes[plan.nodes.len()] += 1;
            departures += u32::from(!plan.departures.is_empty());
            let has = |wanted: fn(&FaultKind) -> bool| plan.faults.iter().any(|fault| wanted(&fault.kind));
            back += u32::from(has(FaultKind::damages));
            deposed += u32::from(has(|kind| matches!(kind, FaultKind::Depose { .. })));
            short += u32::from(plan.disk.slack <= 4_000);
        }
        assert!(sizes[3..8].iter().all(|&runs| runs > 40), "{sizes:?}");
        assert!(sizes[8..].iter().all(|&runs| runs > 10), "{sizes:?}");
        let often = [departures, back, deposed, short];
        assert!(often.iter().all(|runs| (150..950).contains(runs)), "{often:?}");
    }
}
