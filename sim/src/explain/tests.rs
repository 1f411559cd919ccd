//! A recorded run against what it must show, and each form of it parsed back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wattle_core::node::Node;

use super::{Story, page, perfetto, shiviz};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::record::{BandKind, History, Kind, NOBODY, Record};
use crate::trace::Recording;
use crate::world::{self, World};

/// A plan with two nodes, crashes, cuts and streams.
const SEED: u64 = 7;

fn recorded() -> (Plan, Outcome, History) {
    let plan = Plan::generate(SEED);
    let (outcome, history) = world::record(&plan);
    (plan, outcome, history)
}

fn written(form: super::Form) -> (String, History) {
    let (plan, outcome, history) = recorded();
    let mut out = Vec::new();
    let story = Story { plan: &plan, outcome: &outcome, history: &history, reproduce: "wattle-sim run 7" };
    form(&story, &mut out).expect("memory can be written");
    (String::from_utf8(out).expect("text"), history)
}

fn field<'a>(record: &'a Record, key: &str) -> Option<&'a str> {
    record.fields.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
}

#[test]
fn a_recorded_run_is_the_same_run() {
    for seed in [SEED, 8, 9] {
        let plan = Plan::generate(seed);
        let (outcome, history) = world::record(&plan);
        assert_eq!(outcome, world::run(&plan, Recording::Off), "seed {seed}");
        assert!(history.records.len() as u64 > outcome.events / 2, "seed {seed}");
    }
}

#[test]
fn causes_come_first_and_are_what_they_must_be() {
    let (_, _, history) = recorded();
    let mut seen: BTreeMap<(Kind, Kind), u32> = BTreeMap::new();
    let mut whole = 0;
    for (ordinal, record) in history.numbered() {
        for cause in record.causes.into_iter().flatten() {
            assert!(cause < ordinal, "{record:?}");
            assert!(history.record(cause).at <= record.at, "{record:?}");
            *seen.entry((record.kind, history.record(cause).kind)).or_default() += 1;
        }
        if record.kind == Kind::Arrival {
            let sent = history.record(record.causes[0].expect("bytes come from somewhere"));
            assert_eq!(sent.kind, Kind::Transmit);
            assert_eq!(field(sent, "to"), Some(history.nodes[usize::from(record.node)].as_str()));
            assert_eq!(field(record, "from"), Some(history.nodes[usize::from(sent.node)].as_str()));
            // What came in one piece says what was sent.
            if field(record, "bytes") == field(sent, "bytes") {
                let said = |record: &Record| record.text.split_once(": ").map(|(_, said)| said.to_owned());
                assert_eq!(said(record), said(sent));
                whole += 1;
            }
        }
    }
    assert!(whole > 100, "{whole} arrivals came in one piece");
    let pairs = [
        (Kind::Accepted, Kind::Command),
        (Kind::Delivery, Kind::Accepted),
        (Kind::Reply, Kind::Command),
        (Kind::Lost, Kind::Transmit),
        (Kind::Boot, Kind::Crash),
        (Kind::Crash, Kind::FaultBegin),
        (Kind::Transmit, Kind::Arrival),
        (Kind::Disk, Kind::Disk),
        (Kind::Work, Kind::Work),
        (Kind::Lane, Kind::Lane),
        (Kind::Timer, Kind::Timer),
        (Kind::Commit, Kind::Arrival),
    ];
    for pair in pairs {
        assert!(seen.contains_key(&pair), "no {:?} is caused by a {:?}", pair.0, pair.1);
    }
}

#[test]
fn what_was_sent_arrives_or_is_lost_or_is_still_under_way() {
    let (_, _, history) = recorded();
    let ends: BTreeMap<_, _> = history
        .records
        .iter()
        .filter(|record| matches!(record.kind, Kind::Arrival | Kind::Lost))
        .filter_map(|record| Some((record.causes[0]?, record.kind)))
        .collect();
    let open = history
        .numbered()
        .filter(|(ordinal, record)| record.kind == Kind::Transmit && !ends.contains_key(ordinal))
        .filter(|(_, record)| record.at + crate::event::SECOND < history.end)
        .count();
    assert_eq!(open, 0, "after a second in a healed network nothing is under way");
    assert!(ends.values().any(|kind| *kind == Kind::Lost));
}

#[test]
fn bands_show_downtime_faults_and_leaders() {
    let (plan, outcome, history) = recorded();
    let of = |kind: BandKind| history.bands.iter().filter(move |band| band.kind == kind);
    // A fault that hits leaders has a band of its own for each that it cut off.
    assert!(of(BandKind::Fault).count() as u64 >= outcome.faults);
    let crashes = history.records.iter().filter(|record| record.kind == Kind::Crash).count();
    assert_eq!(of(BandKind::Down).count(), plan.nodes.len() + crashes);
    assert!(of(BandKind::Down).all(|band| band.end.is_some()), "in the end everybody is up");
    assert!(of(BandKind::Fault).any(|band| band.end > Some(band.begin)));
    assert_eq!(of(BandKind::Leads).filter(|band| band.name == "control" && band.end.is_none()).count(), 1);
    // Messages of several parts take a sequence for each.
    assert!(
        history
            .samples
            .iter()
            .any(|sample| sample.levels[0] >= 300 && sample.levels == [sample.levels[0]; 4])
    );
}

#[test]
fn a_broken_promise_is_the_last_record_and_says_which() {
    let mut plan = Plan::generate(SEED);
    plan.progress_bound = 0;
    let (outcome, history) = World::<Node>::new(plan, Recording::Events).run_recorded();
    assert_eq!(outcome.verdict.exit_code(), 11);
    let last = history.records.last().expect("a record");
    assert_eq!((last.kind, last.node), (Kind::Broken, NOBODY));
    assert!(last.text.starts_with("no progress: "), "{}", last.text);
}

/// The JSON within the page.
fn data(page: &str) -> Value {
    let begin = page.split_once("<script id=\"data\" type=\"application/json\">").expect("data").1;
    serde_json::from_str(begin.split_once("</script>").expect("an end").0).expect("JSON")
}

#[test]
fn the_page_is_whole_and_its_columns_are_of_one_length() {
    let (page, history) = written(page);
    assert!(!page.contains("{{"), "an empty slot");
    let data = data(&page);
    for column in ["at", "node", "kind", "cause", "answers", "text", "fields"] {
        assert_eq!(data[column].as_array().expect(column).len(), history.records.len(), "{column}");
    }
    let ends: u64 = data["at"].as_array().expect("at").iter().filter_map(Value::as_u64).sum();
    assert_eq!(ends, history.records.last().expect("a record").at);
    assert_eq!(data["about"]["reproduce"], "wattle-sim run 7");
    assert_eq!(data["bands"].as_array().expect("bands").len(), history.bands.len());
}

#[test]
fn the_page_names_nothing_outside_itself() {
    let (page, _) = written(page);
    for outside in ["http:", "https:", "src=", "@import", "fetch(", "XMLHttpRequest", "//cdn"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn no_text_ends_the_script_element_early() {
    let (mut plan, outcome, mut history) = recorded();
    plan.streams[0].name = "</script><!--<script>".into();
    history.records[0].text = "</script><b>\u{2028}".into();
    let mut out = Vec::new();
    let story = Story { plan: &plan, outcome: &outcome, history: &history, reproduce: "</script>" };
    page(&story, &mut out).expect("memory can be written");
    let text = String::from_utf8(out).expect("text");
    assert_eq!(text.matches("</script>").count(), 2);
    assert_eq!(data(&text)["text"][0], "</script><b>\u{2028}");
}

#[test]
fn clocks_of_the_shiviz_log_grow_and_every_arrival_knows_its_transmit() {
    let (log, history) = written(shiviz);
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some(super::shiviz::EXPRESSION));
    assert_eq!(lines.next(), Some(""), "there is one execution: no delimiter");
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len() % 2, 0);
    let mut last: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    let mut clocks = Vec::new();
    for pair in lines.chunks(2) {
        let (host, clock) = pair[0].split_once(' ').expect("host and clock");
        let clock: BTreeMap<String, u64> = serde_json::from_str(clock).expect("a clock is JSON");
        let before = last.insert(host, clock.clone()).unwrap_or_default();
        assert_eq!(clock[host], before.get(host).copied().unwrap_or(0) + 1, "{}", pair[1]);
        assert!(before.iter().all(|(name, value)| clock[name] >= *value), "{}", pair[1]);
        clocks.push(clock);
    }
    let hidden = [Kind::Timer, Kind::Disk, Kind::Work, Kind::Input, Kind::Output];
    let shown: Vec<_> = history.numbered().filter(|(_, record)| !hidden.contains(&record.kind)).collect();
    assert_eq!(shown.len(), clocks.len());
    let place: BTreeMap<_, _> =
        shown.iter().enumerate().map(|(place, (ordinal, _))| (*ordinal, place)).collect();
    let mut arrivals = 0;
    for (at, (_, record)) in shown.iter().enumerate().filter(|(_, (_, record))| record.kind == Kind::Arrival)
    {
        let sent = &clocks[place[&record.causes[0].expect("a transmit")]];
        assert!(sent.iter().all(|(name, value)| clocks[at][name] >= *value), "{record:?}");
        arrivals += 1;
    }
    assert!(arrivals > 1_000);
}

#[test]
fn the_perfetto_trace_is_json_its_flows_are_paired_and_every_track_has_a_name() {
    let (text, history) = written(perfetto);
    let trace: Value = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let mut named = BTreeSet::new();
    let mut flows: BTreeMap<u64, (f64, u64)> = BTreeMap::new();
    let (mut paired, mut open) = (0, 0i64);
    for event in events {
        let time = event["ts"].as_f64();
        let track = (event["pid"].as_u64().expect("a process"), event["tid"].as_u64().unwrap_or(0));
        match event["ph"].as_str().expect("a phase") {
            "M" => assert!(named.insert((event["name"].to_string(), track))),
            "X" => {
                let world = track == (2, 0);
                assert!(world || named.contains(&("\"thread_name\"".to_owned(), track)), "{event}");
                assert!(event["dur"].as_f64() >= Some(0.0), "{event}");
            }
            "s" => {
                let id = event["id"].as_u64().expect("an id");
                assert!(flows.insert(id, (time.expect("a time"), track.1)).is_none(), "{event}");
            }
            "f" => {
                let begun = flows.remove(&event["id"].as_u64().expect("an id")).expect("a beginning");
                assert!(begun.0 <= time.expect("a time") && begun.1 != track.1, "{event}");
                paired += 1;
            }
            "b" => open += 1,
            "e" => open -= 1,
            "C" => assert!(event["args"]["accepted"].is_u64(), "{event}"),
            other => panic!("an unknown phase {other}"),
        }
    }
    assert_eq!((flows.len(), open), (0, 0));
    assert!(paired > 1_000);
    let steps = events.iter().filter(|event| event["cat"] == "event").count();
    assert_eq!(steps, history.records.len());
}
