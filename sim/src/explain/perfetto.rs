//! A trace in the JSON form that Perfetto and chrome://tracing read: a track per node with its steps, flows for messages, slices
//! for downtime and pauses, asynchronous slices for faults and leadership, counters for streams.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Story, quoted};
use crate::event::Time;
use crate::record::{Band, BandKind, Kind, NOBODY, Ordinal, Record};

/// The process of all nodes, and that of what is done to them.
const NODES: u32 = 1;
const WORLD: u32 = 2;
/// The track of what a node is, as opposed to what it does: its number plus this.
const STATES: u32 = 1_000;

/// Writes entries, separated.
struct Entries<'a> {
    out: &'a mut dyn Write,
    first: bool,
}

impl Entries<'_> {
    fn add(&mut self, entry: &str) -> io::Result<()> {
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        writeln!(self.out, "{comma}{{{entry}}}")
    }

    fn name(&mut self, what: &str, process: u32, track: u32, name: &str) -> io::Result<()> {
        self.add(&format!(
            "\"ph\":\"M\",\"name\":\"{what}\",\"pid\":{process},\"tid\":{track},\"args\":{{\"name\":{}}}",
            quoted(name)
        ))
    }
}

/// Writes the trace of a run.
///
/// # Errors
/// If `out` cannot be written.
pub fn perfetto(story: &Story<'_>, out: &mut dyn Write) -> io::Result<()> {
    let history = story.history;
    writeln!(out, "{{\"displayTimeUnit\":\"ns\",\"otherData\":{{")?;
    writeln!(out, "\"seed\":{},", quoted(&story.plan.seed.to_string()))?;
    writeln!(out, "\"verdict\":{},", quoted(&story.outcome.verdict.to_string()))?;
    writeln!(out, "\"reproduce\":{}}},\"traceEvents\":[", quoted(story.reproduce))?;
    let mut entries = Entries { out, first: true };
    entries.name("process_name", NODES, 0, "nodes")?;
    entries.name("process_name", WORLD, 0, "faults")?;
    for (node, name) in (0..).zip(&history.nodes) {
        entries.name("thread_name", NODES, node + 1, name)?;
        entries.name("thread_name", NODES, STATES + node + 1, &format!("{name} state"))?;
    }
    // A transmit that was cut into pieces has several arrivals; a flow has one end.
    let mut ends: BTreeMap<Ordinal, Ordinal> = BTreeMap::new();
    for (ordinal, record) in history.numbered().filter(|(_, record)| record.kind == Kind::Arrival) {
        if let Some(sent) = record.causes[0] {
            ends.insert(sent, ordinal);
        }
    }
    for (ordinal, record) in history.numbered() {
        step(&mut entries, record)?;
        let sent = record.causes[0].filter(|sent| record.kind == Kind::Arrival && ends[sent] == ordinal);
        if ends.contains_key(&ordinal) {
            flow(&mut entries, "s", record, ordinal)?;
        } else if let Some(sent) = sent {
            flow(&mut entries, "f", record, sent)?;
        }
    }
    for (number, band) in history.bands.iter().enumerate() {
        state(&mut entries, number, band, band.end.unwrap_or(history.end))?;
    }
    for sample in &history.samples {
        let [accepted, replicated, processed, completed] = sample.levels;
        let name = quoted(&format!("{} at {}", sample.stream, history.nodes[usize::from(sample.node)]));
        entries.add(&format!(
            "\"ph\":\"C\",\"name\":{name},\"pid\":{NODES},\"ts\":{},\"args\":{{\"accepted\":{accepted},\"replicated\":{replicated},\"processed\":{processed},\"completed\":{completed}}}",
            micros(sample.at),
        ))?;
    }
    writeln!(entries.out, "]}}")
}

/// What happens takes no time in the simulated world: a slice of one nanosecond can be seen and clicked, and a flow can end at it.
fn step(entries: &mut Entries<'_>, record: &Record) -> io::Result<()> {
    let fields: Vec<String> = std::iter::once(("text", &record.text))
        .chain(record.fields.iter().map(|(key, value)| (*key, value)))
        .map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)))
        .collect();
    let (process, track) = if record.node == NOBODY { (WORLD, 0) } else { (NODES, track(record.node)) };
    entries.add(&format!(
        "\"ph\":\"X\",\"name\":{},\"cat\":\"event\",\"pid\":{process},\"tid\":{track},\"ts\":{},\"dur\":0.001,\"args\":{{{}}}",
        quoted(record.kind.name()),
        micros(record.at),
        fields.join(",")
    ))
}

fn flow(entries: &mut Entries<'_>, phase: &str, record: &Record, sent: Ordinal) -> io::Result<()> {
    let bind = if phase == "f" { ",\"bp\":\"e\"" } else { "" };
    entries.add(&format!(
        "\"ph\":\"{phase}\",\"name\":\"message\",\"cat\":\"message\",\"id\":{sent},\"pid\":{NODES},\"tid\":{},\"ts\":{}{bind}",
        track(record.node),
        micros(record.at)
    ))
}

fn state(entries: &mut Entries<'_>, number: usize, band: &Band, end: Time) -> io::Result<()> {
    let (name, label) = (quoted(&band.name), quoted(&band.label));
    let (begin, length) = (micros(band.begin), micros(end - band.begin));
    let node = band.nodes.first().copied().unwrap_or(NOBODY);
    if matches!(band.kind, BandKind::Down | BandKind::Paused) {
        return entries.add(&format!(
            "\"ph\":\"X\",\"name\":{name},\"cat\":\"state\",\"pid\":{NODES},\"tid\":{},\"ts\":{begin},\"dur\":{length},\"args\":{{\"what\":{label}}}",
            STATES + track(node)
        ));
    }
    // These overlap, so they cannot share a track of nested slices.
    let (process, track, category) = match band.kind {
        BandKind::Leads => (NODES, track(node), "leads"),
        _ => (WORLD, 0, "fault"),
    };
    let common =
        format!("\"name\":{name},\"cat\":\"{category}\",\"id\":{number},\"pid\":{process},\"tid\":{track}");
    entries.add(&format!("\"ph\":\"b\",{common},\"ts\":{begin},\"args\":{{\"what\":{label}}}"))?;
    entries.add(&format!("\"ph\":\"e\",{common},\"ts\":{}", micros(end)))
}

fn track(node: u16) -> u32 {
    u32::from(node) + 1
}

/// Nanoseconds as microseconds, exactly.
fn micros(time: Time) -> String {
    format!("{}.{:03}", time / 1_000, time % 1_000)
}
