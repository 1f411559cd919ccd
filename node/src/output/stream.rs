//! `wattle stream list` and `wattle stream show`.

use serde_json::{Value, json};
use wattle_proto::api::{MeshStatus, StreamSeal, StreamStatus};

use super::{Names, table};
use crate::api::convert::id_text;

/// All streams, a line each.
#[must_use]
pub fn list_text(status: &MeshStatus) -> String {
    if status.streams.is_empty() {
        return "No streams.\n".to_owned();
    }
    let names = Names::of(status);
    let rows = status.streams.iter().map(|stream| {
        let figure = |number: u64| if stream.local { number.to_string() } else { "?".to_owned() };
        vec![
            stream.name.clone(),
            names.name(&stream.source),
            names.name(&stream.target),
            figure(stream.accepted),
            figure(stream.replicated),
            figure(stream.processed),
            figure(stream.completed),
            figure(stream.released),
            state(stream),
        ]
    });
    table(
        &["stream", "from", "to", "accepted", "replicated", "processed", "completed", "released", "state"],
        rows,
    )
}

fn state(stream: &StreamStatus) -> String {
    match &stream.stopped {
        Some(why) => format!("stopped: {why}"),
        None if stream.seal.as_ref().is_some_and(|seal| seal.sequence.is_none()) => {
            "is being sealed".to_owned()
        }
        None if stream.seal.is_some() => {
            format!("sealed at {}", stream.seal.as_ref().and_then(|seal| seal.sequence).unwrap_or_default())
        }
        None if stream.gone.contains(&stream.source) => {
            "needs a seal: the source is no member any more".to_owned()
        }
        None if !stream.gone.is_empty() => "the target is no member any more".to_owned(),
        None if !stream.local => "figures are at its ends".to_owned(),
        None if stream.waiting_for.is_empty() => "up to date".to_owned(),
        None => format!("waiting: {}", stream.waiting_for.join("; ")),
    }
}

/// One picture from what the two ends say.
#[must_use]
pub fn merge(source: Option<StreamStatus>, target: Option<StreamStatus>) -> Option<StreamStatus> {
    let (mut merged, other) = match (source, target) {
        (Some(source), Some(target)) if source.instance == target.instance && target.local => {
            (source, target)
        }
        (Some(one), _) | (None, Some(one)) => return Some(one),
        (None, None) => return None,
    };
    if !merged.local {
        return Some(other);
    }
    if other.replicated > merged.replicated {
        merged.holders.clone_from(&other.holders);
    }
    merged.accepted = merged.accepted.max(other.accepted);
    merged.replicated = merged.replicated.max(other.replicated);
    merged.processed = merged.processed.max(other.processed);
    merged.completed = merged.completed.max(other.completed);
    merged.released = merged.released.max(other.released);
    merged.session = merged.session.max(other.session);
    merged.handler = other.handler;
    // Both may wait for the same; the target knows more of its handler.
    let said_there =
        |reason: &String| other.waiting_for.iter().any(|there| there.starts_with(reason.as_str()));
    merged.waiting_for.retain(|reason| !said_there(reason));
    merged.waiting_for.extend(other.waiting_for);
    merged.stopped = merged.stopped.or(other.stopped);
    merged.orphaned = merged.orphaned.or(other.orphaned);
    merged.seal = merged.seal.or(other.seal);
    Some(merged)
}

/// The five watermarks in words. `target_known` says whether the target itself was asked.
#[must_use]
pub fn show_text(stream: &StreamStatus, names: &Names, target_known: bool) -> String {
    let (source, target) = (names.name(&stream.source), names.name(&stream.target));
    let mut text =
        format!("Stream {} from {source} to {target} ({})\n\n", stream.name, id_text(&stream.instance));
    if !stream.local {
        text.push_str(&format!(
            "Its figures are known at {source} and {target}, and neither could be asked.\n"
        ));
        return text;
    }
    let lines = [
        ("accepted", stream.accepted, format!("durable at {source}")),
        (
            "replicated",
            stream.replicated,
            format!("committed, and durable at {}", names.list(&stream.holders)),
        ),
        (
            "processed",
            stream.processed,
            format!("by target {target}: its handler is done with it, and that is durable"),
        ),
        (
            "completed",
            stream.completed,
            "processed by whom it must be, and a committed entry says so".to_owned(),
        ),
        ("released", stream.released, "its bytes may go".to_owned()),
    ];
    let width = lines.iter().map(|line| line.1.to_string().len()).max().unwrap_or(1);
    for (name, number, words) in lines {
        text.push_str(&format!("  {name:<10}  {number:>width$}  {words}\n"));
    }
    let handler = match (stream.handler, target_known) {
        (Some(token), _) => format!("attached at {target} (token {token})"),
        (None, true) => format!("none is attached at {target}: `processed` stands still"),
        (None, false) => format!("not known: {target} could not be asked"),
    };
    text.push_str(&format!("\n  handler     {handler}\n"));
    text.push_str(&format!("  outbox      {} bytes at {source}\n", stream.outbox_bytes));
    let session = if stream.session == 0 { "none yet".to_owned() } else { stream.session.to_string() };
    text.push_str(&format!("  epochs      session {session}, authority {}\n", stream.authority));
    let waits =
        if stream.waiting_for.is_empty() { "for nothing".to_owned() } else { stream.waiting_for.join("; ") };
    text.push_str(&format!("  waiting     {waits}\n"));
    if let Some(why) = &stream.stopped {
        text.push_str(&format!("  stopped     {why}\n"));
    }
    if let Some(orphaned) = stream.orphaned {
        text.push_str(&format!(
            "  orphaned    {orphaned} messages, kept on that node's disk until the stream is closed\n"
        ));
    }
    if let Some(seal) = &stream.seal {
        text.push_str(&format!("\n{}\n", seal_text(&stream.name, seal, names)));
    }
    text
}

/// How far a stream is sealed, and what that means.
#[must_use]
pub fn seal_text(name: &str, seal: &StreamSeal, names: &Names) -> String {
    let (lost, authority, heard) = (names.list(&seal.lost), seal.authority, seal.heard);
    let Some(end) = seal.sequence else {
        let waits = match (seal.waits_for.is_empty(), seal.founder.is_empty()) {
            (false, _) => format!("{} to say where the log ends", names.list(&seal.waits_for)),
            (true, true) => {
                "survivors whose logs contradict each other: name one of them lost, too".to_owned()
            }
            (true, false) => format!("{} to go on from its log", names.name(&seal.founder)),
        };
        return format!(
            "Stream {name} is being sealed without {lost} (authority {authority}): it waits for {waits}. Repeat the command to see how far that is."
        );
    };
    let beyond = match heard > end {
        true => format!("Messages up to {heard} were heard of, so at least {} are void", heard - end),
        false => format!("No message above {end} was heard of"),
    };
    format!(
        "Stream {name} is sealed at message {end}, without {lost}, and goes on under authority {authority} from the log of {} (entry {}, term {}).\n\
         What {lost} accepted above message {end} is void, whatever publishers were told. {beyond}; there may be more.",
        names.name(&seal.founder),
        seal.end_index,
        seal.end_term
    )
}

/// For programs.
#[must_use]
pub fn seal_json(name: &str, seal: &StreamSeal, names: &Names) -> Value {
    let list = |nodes: &[bytes::Bytes]| nodes.iter().map(|node| names.name(node)).collect::<Vec<_>>();
    json!({
        "name": name,
        "instance": id_text(&seal.instance),
        "authority": seal.authority,
        "lost": list(&seal.lost),
        "waits_for": list(&seal.waits_for),
        "founder": (!seal.founder.is_empty()).then(|| names.name(&seal.founder)),
        "end": { "index": seal.end_index, "term": seal.end_term },
        "sequence": seal.sequence,
        "heard": seal.heard,
    })
}

/// For programs.
#[must_use]
pub fn json(stream: &StreamStatus, names: &Names) -> Value {
    let mut value = json!({
        "name": stream.name,
        "instance": id_text(&stream.instance),
        "source": names.name(&stream.source),
        "target": names.name(&stream.target),
        "local": stream.local,
    });
    if stream.local {
        // One today; a program that reads the list needs no change when there are more.
        let targets = json!([
            { "node": names.name(&stream.target), "processed": stream.processed, "handler": stream.handler }
        ]);
        let figures = json!({
            "targets": targets,
            "session": stream.session, "authority": stream.authority,
            "accepted": stream.accepted, "replicated": stream.replicated, "processed": stream.processed,
            "completed": stream.completed, "released": stream.released,
            "holders": stream.holders.iter().map(|holder| names.name(holder)).collect::<Vec<_>>(),
            "handler": stream.handler, "outbox_bytes": stream.outbox_bytes,
            "waiting_for": stream.waiting_for, "stopped": stream.stopped, "orphaned": stream.orphaned,
            "seal": stream.seal.as_ref().map(|seal| seal_json(&stream.name, seal, names)),
            "gone": stream.gone.iter().map(|node| names.name(node)).collect::<Vec<_>>(),
        });
        if let (Value::Object(value), Value::Object(figures)) = (&mut value, figures) {
            value.extend(figures);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn stream(accepted: u64, processed: u64) -> StreamStatus {
        StreamStatus {
            name: "words".to_owned(),
            instance: Bytes::from_static(&[5; 16]),
            local: true,
            accepted,
            replicated: accepted,
            processed,
            ..StreamStatus::default()
        }
    }

    #[test]
    fn two_ends_make_one_picture() {
        let waiting_for = vec!["its handler".into(), "a session".into()];
        let source = StreamStatus { outbox_bytes: 7, waiting_for, ..stream(100, 40) };
        let waiting_for = vec!["its handler: none is attached".into()];
        let target = StreamStatus { handler: Some(3), waiting_for, ..stream(90, 60) };
        let merged = merge(Some(source.clone()), Some(target.clone())).unwrap();
        assert_eq!(
            (merged.accepted, merged.processed, merged.outbox_bytes, merged.handler),
            (100, 60, 7, Some(3))
        );
        assert_eq!(merged.waiting_for, ["a session", "its handler: none is attached"]);
        assert_eq!(json(&merged, &Names::default())["targets"][0]["processed"], 60);
        assert_eq!(merge(Some(source.clone()), None), Some(source.clone()));
        let reopened = StreamStatus { instance: Bytes::from_static(&[6; 16]), ..target };
        assert_eq!(merge(Some(source.clone()), Some(reopened)), Some(source), "another life of the name");
        assert_eq!(merge(None, None), None);
    }

    #[test]
    fn the_five_watermarks_are_told_in_words() {
        let text = show_text(&stream(100, 40), &Names::default(), true);
        for word in ["accepted", "replicated", "processed", "completed", "released", "none is attached"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(show_text(&stream(1, 1), &Names::default(), false).contains("could not be asked"));
    }
}
