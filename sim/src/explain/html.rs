//! The page: a template, its style and its script, and the run as columns of JSON. It loads nothing and sends nothing.

use std::io::{self, Write};

use super::{Story, quoted};
use crate::outcome::Verdict;
use crate::record::{Kind, NOBODY, Ordinal, Record};

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
/// In the order in which they build on each other; all are one function.
const SCRIPTS: [&str; 6] = [
    include_str!("page/model.js"),
    include_str!("page/marks.js"),
    include_str!("page/draw.js"),
    include_str!("page/panel.js"),
    include_str!("page/view.js"),
    include_str!("page/main.js"),
];

/// Writes the page of a run.
///
/// # Errors
/// If `out` cannot be written.
pub fn page(story: &Story<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (slot, behind) = after.split_once("}}").expect("the template closes what it opens");
        out.write_all(before.as_bytes())?;
        match slot {
            "title" => write!(out, "Wattle simulation, seed {}", story.plan.seed)?,
            "style" => out.write_all(STYLE.as_bytes())?,
            "script" => SCRIPTS.iter().try_for_each(|script| out.write_all(script.as_bytes()))?,
            "data" => data(story, out)?,
            other => unreachable!("the template has no slot {other}"),
        }
        rest = behind;
    }
    out.write_all(rest.as_bytes())
}

fn data(story: &Story<'_>, out: &mut dyn Write) -> io::Result<()> {
    let history = story.history;
    let records = &history.records;
    write!(out, "{{")?;
    about(story, out)?;
    column(out, "nodes", history.nodes.iter(), |name| quoted(name))?;
    column(out, "kinds", Kind::ALL.iter(), |kind| quoted(kind.name()))?;
    let mut before = 0;
    column(out, "at", records.iter(), |record| {
        let passed = record.at - before;
        before = record.at;
        passed.to_string()
    })?;
    column(out, "node", records.iter(), |record| place(record.node).to_string())?;
    column(out, "kind", records.iter(), |record| (record.kind as u8).to_string())?;
    for (slot, name) in ["cause", "answers"].into_iter().enumerate() {
        column(out, name, history.numbered(), |(own, record)| back(own, record.causes[slot]).to_string())?;
    }
    column(out, "text", records.iter(), |record| quoted(&record.text))?;
    column(out, "fields", records.iter(), |record| quoted(&fields(record)))?;
    column(out, "bands", history.bands.iter(), |band| {
        let nodes: Vec<String> = band.nodes.iter().map(ToString::to_string).collect();
        format!(
            "[{},{},{},[{}],{},{},{}]",
            quoted(band.kind.name()),
            quoted(&band.name),
            quoted(&band.label),
            nodes.join(","),
            band.begin,
            band.end.unwrap_or(history.end),
            band.record.map_or(-1, |record| i64::from(record.get()) - 1)
        )
    })?;
    write!(out, "\"end\":{}}}", history.end)
}

fn about(story: &Story<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (plan, outcome) = (story.plan, story.outcome);
    let verdict = match &outcome.verdict {
        Verdict::Safety { checker, message, .. } => (checker.clone(), message.clone()),
        Verdict::NoProgress { what } => ("no progress".into(), what.clone()),
        passed => ("pass".into(), passed.to_string()),
    };
    let verdict = (verdict.0, story.history.in_words(verdict.1));
    let facts = [
        ("seed", plan.seed.to_string()),
        ("nodes", plan.nodes.len().to_string()),
        ("streams", plan.streams.len().to_string()),
        ("faults", format!("{} of {} planned", outcome.faults, plan.faults.len())),
        ("messages", format!("{} to publish, {} delivered", plan.messages(), outcome.deliveries)),
        ("simulated", outcome.simulated.to_string()),
        ("recorded", format!("{} events", story.history.records.len())),
        ("planted bug", plan.planted.map_or(String::new(), |bug| format!("{bug:?}"))),
        ("trace", format!("{:032x}", outcome.trace)),
    ];
    let facts: Vec<String> = facts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("[{},{}]", quoted(key), quoted(value)))
        .collect();
    write!(
        out,
        "\"about\":{{\"pass\":{},\"promise\":{},\"verdict\":{},\"reproduce\":{},\"dropped\":{},\"facts\":[{}],\"plan\":{}}},",
        outcome.verdict.is_pass(),
        quoted(&verdict.0),
        quoted(&verdict.1),
        quoted(story.reproduce.trim_start_matches("reproduce: ")),
        story.history.dropped,
        facts.join(","),
        quoted(&plan.to_toml())
    )
}

fn column<T>(
    out: &mut dyn Write,
    name: &str,
    values: impl Iterator<Item = T>,
    mut show: impl FnMut(T) -> String,
) -> io::Result<()> {
    write!(out, "\"{name}\":[")?;
    for (index, value) in values.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(out, "{comma}{}", show(value))?;
    }
    writeln!(out, "],")
}

fn place(node: u16) -> i32 {
    if node == NOBODY { -1 } else { i32::from(node) }
}

/// How far back a cause lies; 0 for none.
fn back(own: Ordinal, cause: Option<Ordinal>) -> u32 {
    cause.map_or(0, |cause| own.get() - cause.get())
}

/// A line per field, the key before a tab.
fn fields(record: &Record) -> String {
    let clean = |value: &str| value.replace(['\n', '\t'], " ");
    let lines: Vec<String> =
        record.fields.iter().map(|(key, value)| format!("{key}\t{}", clean(value))).collect();
    lines.join("\n")
}
