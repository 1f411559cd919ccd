//! What was measured, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::StreamArgs;
use super::mesh::Mesh;
use super::opening::Opened;
use super::run::{Figures, Spent};
use crate::output::table;

/// All that was measured.
pub(super) struct Found {
    /// The kind of file system.
    pub(super) kind: Option<String>,
    pub(super) figures: Vec<Figures>,
    pub(super) opened: Option<Opened>,
}

fn ends(mesh: &Mesh) -> (String, String) {
    let targets: Vec<_> = mesh.targets().iter().map(|node| node.name.as_str()).collect();
    (mesh.source().name.clone(), targets.join(", "))
}

/// For people.
pub(super) fn text(found: &Found, mesh: &Mesh, arguments: &StreamArgs) -> String {
    let names: Vec<_> = mesh.nodes.iter().map(|node| node.name.as_str()).collect();
    let (source, targets) = ends(mesh);
    let kind = found.kind.as_deref().unwrap_or("an unknown file system");
    let mut text = format!(
        "Nodes {}; streams from {source} to {targets}; messages of {} bytes; {:?} each; data on {kind}; {} processors.\n\
         Completed: processed at {targets}, and a committed entry says so. Every acknowledgement waited for its sync.\n",
        names.join(", "),
        arguments.bytes,
        arguments.seconds,
        processors(),
    );
    if !found.figures.is_empty() {
        let each = names.join("/");
        let headings = [
            "scenario",
            "messages/s",
            "accepted p50/p99/max ms",
            "completed p50/p99/max ms",
            "in syncs",
            &format!("bytes {each}"),
            &format!("syncs {each}"),
            &format!("µs {each}/here"),
            "load",
            "sync ms",
        ];
        text.push('\n');
        text.push_str(&table(&headings, found.figures.iter().map(row)));
        text.push_str(
            "Bytes to the disk, syncs and time of the processors are per message; completed p50 in syncs of the disk in the same minute.\n",
        );
    }
    for figures in found.figures.iter().filter(|figures| !figures.gaps.is_empty()) {
        let gaps: Vec<_> = figures.gaps.iter().map(|gap| format!("{:.0}", millis(*gap))).collect();
        let gaps = gaps.join(", ");
        text.push_str(&format!("Longest time without a completed message after each kill: {gaps} ms.\n"));
    }
    if let Some(opened) = &found.opened {
        text.push_str(&format!(
            "\nOpening: {} streams one after another in {} ms each (p50/p99/max); {} at once in {:.2} s. Load {}, sync {:.2} ms.\n",
            opened.each.len(),
            percentiles(&opened.each),
            opened.at_once,
            opened.took.as_secs_f64(),
            number(opened.load, 1),
            millis(opened.sync),
        ));
    }
    text
}

fn row(figures: &Figures) -> Vec<String> {
    let messages = figures.messages.max(1) as f64;
    let each = |what: fn(&Spent) -> Option<f64>, digits| {
        let all = figures.nodes.iter().map(|node| number(what(node).map(|spent| spent / messages), digits));
        all.collect::<Vec<_>>().join("/")
    };
    let time = |spent: Duration| spent.as_secs_f64() * 1e6;
    vec![
        figures.scenario.name(),
        format!("{:.0}", rate(figures)),
        percentiles(&figures.accepted),
        percentiles(&figures.completed),
        format!("{:.1}", in_syncs(figures)),
        each(|node| node.written.map(|bytes| bytes as f64), 0),
        each(|node| node.syncs.map(|syncs| syncs as f64), 3),
        format!(
            "{}/{}",
            each(|node| node.time.map(|time| time.as_secs_f64() * 1e6), 1),
            number(figures.own_time.map(|spent| time(spent) / messages), 1)
        ),
        number(figures.load, 1),
        format!("{:.2}", millis(figures.sync)),
    ]
}

/// For programs. Times are in microseconds; what cannot be known is null.
pub(super) fn json(found: &Found, mesh: &Mesh, arguments: &StreamArgs) -> Value {
    let (source, targets) = ends(mesh);
    json!({
        "nodes": mesh.nodes.iter().map(|node| &node.name).collect::<Vec<_>>(),
        "source": source,
        "targets": targets.split(", ").collect::<Vec<_>>(),
        "bytes": arguments.bytes,
        "file_system": found.kind,
        "processors": processors(),
        "scenarios": found.figures.iter().map(scenario).collect::<Vec<_>>(),
        "opening": found.opened.as_ref().map(|opened| json!({
            "in_turn": latencies(&opened.each),
            "at_once": opened.at_once,
            "at_once_seconds": opened.took.as_secs_f64(),
            "load_average": opened.load,
            "sync_p50": micros(opened.sync),
        })),
    })
}

fn scenario(figures: &Figures) -> Value {
    json!({
        "scenario": figures.scenario.name(),
        "messages": figures.messages,
        "seconds": figures.took.as_secs_f64(),
        "messages_per_second": rate(figures),
        "accepted": latencies(&figures.accepted),
        "completed": latencies(&figures.completed),
        "completed_p50_in_syncs": in_syncs(figures),
        "nodes": figures.nodes.iter().map(|node| json!({
            "name": node.name,
            "disk_bytes": node.written,
            "journal_bytes": node.journal,
            "syncs": node.syncs,
            "processor_time": node.time.map(micros),
        })).collect::<Vec<_>>(),
        "processor_time_here": figures.own_time.map(micros),
        "load_average": figures.load,
        "sync_p50": micros(figures.sync),
        "gaps": figures.gaps.iter().copied().map(micros).collect::<Vec<_>>(),
        "resumed": figures.resumed,
        "lost": figures.lost,
        "repeated": figures.repeated,
    })
}

fn latencies(histogram: &Histogram<u64>) -> Value {
    json!({
        "count": histogram.len(),
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "max": histogram.max(),
    })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn rate(figures: &Figures) -> f64 {
    figures.messages as f64 / figures.took.as_secs_f64()
}

fn in_syncs(figures: &Figures) -> f64 {
    figures.completed.value_at_quantile(0.5) as f64 / figures.sync.as_secs_f64().max(1e-9) / 1e6
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn percentiles(micros: &Histogram<u64>) -> String {
    let at = |value: u64| format!("{:.2}", value as f64 / 1e3);
    let (p50, p99) = (micros.value_at_quantile(0.5), micros.value_at_quantile(0.99));
    format!("{}/{}/{}", at(p50), at(p99), at(micros.max()))
}

fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| "?".to_owned(), |number| format!("{number:.digits$}"))
}
