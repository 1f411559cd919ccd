//! Without faults nothing waits for a timer: what a publisher waits for comes after a few syncs and journeys. Time is simulated, so this
//! holds on any machine.

use std::collections::BTreeMap;

use wattle_sim::plan::{Latency, Plan};
use wattle_sim::trace::Recording;
use wattle_sim::world::run;

const MILLI: u64 = 1_000_000;

/// Two nodes a millisecond apart whose disks sync within another, and a publisher with `pipeline` calls open.
fn calm(pipeline: usize, message_entries: usize) -> Plan {
    let mut plan = (0..).map(Plan::generate).find(|plan| plan.nodes.len() == 2).expect("many");
    plan.faults.clear();
    plan.registry.clear();
    plan.flow = None;
    plan.network.latency = Latency::Fixed(MILLI);
    plan.network.links.clear();
    plan.network.bandwidth = 0;
    plan.network.window = 256 << 10;
    plan.network.split_one_in = 0;
    plan.network.duplicate_one_in = 0;
    plan.disk.sync = (MILLI, MILLI);
    plan.disk.slack = 16 << 20;
    plan.disk.capacity = 64 << 20;
    plan.replication.entries = message_entries;
    plan.replication.bytes = 256 << 10;
    plan.replication.window = 32;
    for node in &mut plan.nodes {
        (node.disk_factor, node.clock_ppm, node.next_version) = (1, 0, false);
    }
    plan.streams.truncate(1);
    let stream = &mut plan.streams[0];
    stream.opens_at = 0;
    stream.poison = None;
    stream.handler.attaches_at = 0;
    stream.handler.interruptions.clear();
    stream.handler.service = (1, 2);
    stream.handler.window = (256, 256);
    stream.publishers.truncate(1);
    let publisher = &mut stream.publishers[0];
    publisher.starts_at = 4_000 * MILLI;
    publisher.messages = 400;
    publisher.batch = (1, 1);
    publisher.bytes = (20, 200);
    publisher.long_one_in = 0;
    publisher.waits = [0, 0, 1];
    publisher.pipeline = pipeline;
    publisher.pause = (0, MILLI / 2);
    publisher.repeats = 0;
    publisher.patience = 60_000 * MILLI;
    publisher.answers_lost_one_in = 0;
    publisher.gaps_one_in = 0;
    publisher.closes = false;
    plan.fault_phase = 8_000 * MILLI;
    plan
}

/// How long the slowest call waited for each level, in milliseconds.
fn slowest(plan: &Plan) -> BTreeMap<&'static str, f64> {
    let outcome = run(plan, Recording::All);
    assert!(outcome.verdict.is_pass(), "{}", outcome.verdict);
    let mut asked: BTreeMap<String, f64> = BTreeMap::new();
    let mut slowest: BTreeMap<&'static str, f64> = BTreeMap::new();
    for line in &outcome.lines {
        let mut words = line.split_whitespace();
        let (Some(at), Some(_), Some(_), Some(what), Some(request)) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(at) = at.parse::<f64>() else { continue };
        if what == "request" && line.contains(": Publish {") {
            asked.insert(request.to_owned(), at);
        } else if what == "answer"
            && let Some(asked) = asked.get(request)
        {
            for level in ["Accepted", "Replicated", "Completed"] {
                if line.contains(&format!("level: {level}")) {
                    let worst = slowest.entry(level).or_default();
                    *worst = worst.max((at - asked) * 1000.0);
                }
            }
        }
    }
    assert_eq!(slowest.len(), 3, "{slowest:?}");
    slowest
}

#[test]
fn no_publisher_waits_for_a_timer() {
    for (pipeline, entries) in [(1, 256), (4, 256), (4, 1), (64, 256), (64, 1)] {
        let slowest = slowest(&calm(pipeline, entries));
        let within = |level: &str, most: f64| {
            assert!(slowest[level] <= most, "pipeline {pipeline}, {entries} entries a message: {slowest:?}");
        };
        // A sync; a sync, a journey, a sync and the way back; the mark's sync, its journey and a sync more. And as much again, for a call
        // may just have missed the sync or the append that would have taken it. Before all that a batch is hashed, behind another that is
        // being hashed: each takes up to two milliseconds here.
        within("Accepted", 6.0);
        within("Replicated", 16.0);
        within("Completed", 32.0);
    }
}
