//! `wattle stream list` and `wattle stream show`.

use std::cmp::Ordering;

use bytes::Bytes;
use serde_json::{Value, json};
use wattle_proto::api::{MeshStatus, StreamPolicy, StreamSeal, StreamStatus, StreamTarget};

use super::{Names, flow, idle, keeping, members, parked, table};
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
            stream.tenant.clone(),
            flow::class(stream),
            names.name(&stream.source),
            to_text(stream, &names),
            figure(stream.accepted),
            figure(stream.replicated),
            figure(stream.processed),
            figure(stream.completed),
            figure(stream.released),
            state(stream),
        ]
    });
    table(
        &[
            "stream",
            "tenant",
            "class",
            "from",
            "to",
            "accepted",
            "replicated",
            "processed",
            "completed",
            "released",
            "state",
        ],
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
        None if !stream.local && flow::has_failed(stream) => "failed".to_owned(),
        None if !stream.local && flow::is_paused(stream) => "paused".to_owned(),
        None if !stream.local => "figures are at its ends".to_owned(),
        None if stream.waiting_for.is_empty() => "up to date".to_owned(),
        None => format!("waiting: {}", stream.waiting_for.join("; ")),
    }
}

/// Its source, and its targets.
pub fn ends(stream: &StreamStatus) -> impl Iterator<Item = &Bytes> {
    std::iter::once(&stream.source).chain(stream.targets.iter().map(|target| &target.node))
}

/// The targets of a stream and by whom of them its messages are completed, in words.
#[must_use]
pub fn ends_text(targets: &[String], complete: &StreamPolicy) -> String {
    let to = targets.join(", ");
    match complete {
        StreamPolicy { count: 0, named } if named.is_empty() => to,
        StreamPolicy { count: 0, named } => format!("{to} (completed by {})", named.join(", ")),
        StreamPolicy { count, .. } => format!("{to} (completed by {count} of {})", targets.len()),
    }
}

/// The same for an open stream.
#[must_use]
pub fn to_text(stream: &StreamStatus, names: &Names) -> String {
    let targets: Vec<String> = stream.targets.iter().map(|target| names.name(&target.node)).collect();
    ends_text(&targets, &in_names(stream, names))
}

/// The same with all else that whoever opens it again must say, too.
#[must_use]
pub fn opened_text(stream: &StreamStatus, names: &Names) -> String {
    let mut text = to_text(stream, names);
    if stream.park_after > 0 {
        text.push_str(&format!(", parks after {} attempts", stream.park_after));
    }
    if stream.fail_after > 0 {
        text.push_str(&format!(", fails after {} attempts", stream.fail_after));
    }
    if stream.detach_after_millis > 0 {
        text.push_str(&format!(", detaches {}", idle::limit(stream.detach_after_millis)));
    }
    if let Some(keep) = &stream.keep {
        text.push_str(&format!(", keeps {}", keeping::limits(keep)));
    }
    text
}

/// By whom its messages are completed, by name.
fn in_names(stream: &StreamStatus, names: &Names) -> StreamPolicy {
    let complete = stream.complete.clone().unwrap_or_default();
    let known = |id: &String| stream.targets.iter().find(|target| id_text(&target.node) == *id);
    let name = |id: String| known(&id).map_or(id, |target| names.name(&target.node));
    StreamPolicy { named: complete.named.into_iter().map(name).collect(), ..complete }
}

/// One picture from what its ends say, each with who said it; the source's word comes first.
#[must_use]
pub fn merge(answers: Vec<(Bytes, StreamStatus)>) -> Option<StreamStatus> {
    let life = answers.first().map(|(_, answer)| answer.instance.clone())?;
    let (local, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.local);
    let mut local = local.into_iter().filter(|(_, answer)| answer.instance == life);
    let Some((_, mut merged)) = local.next() else { return others.into_iter().next().map(|(_, one)| one) };
    for (node, other) in local {
        add(&mut merged, &node, other);
    }
    Some(merged)
}

fn add(merged: &mut StreamStatus, node: &Bytes, other: StreamStatus) {
    if other.replicated > merged.replicated {
        merged.holders.clone_from(&other.holders);
    }
    merged.accepted = merged.accepted.max(other.accepted);
    merged.replicated = merged.replicated.max(other.replicated);
    merged.completed = merged.completed.max(other.completed);
    merged.released = merged.released.max(other.released);
    merged.session = merged.session.max(other.session);
    for (target, there) in merged.targets.iter_mut().zip(&other.targets) {
        match there.processed.cmp(&target.processed) {
            Ordering::Greater => {
                (target.processed, target.idle_millis) = (there.processed, there.idle_millis)
            }
            Ordering::Equal => target.idle_millis = target.idle_millis.max(there.idle_millis),
            Ordering::Less => {}
        }
        if target.node == *node {
            (target.handler, target.parked) = (there.handler, there.parked);
        }
    }
    merged.processed = processed(merged);
    merged.handler = merged.handler.or(other.handler);
    // Both may wait for the same; the target knows more of its handler.
    let said_there =
        |reason: &String| other.waiting_for.iter().any(|there| there.starts_with(reason.as_str()));
    merged.waiting_for.retain(|reason| !said_there(reason));
    merged.waiting_for.extend(other.waiting_for);
    // Of several that fail, the first one that is told.
    merged.failing = merged.failing.take().or(other.failing);
    merged.stopped = merged.stopped.take().or(other.stopped);
    merged.orphaned = merged.orphaned.or(other.orphaned);
    merged.seal = merged.seal.take().or(other.seal);
    merged.leader = merged.leader.take().or(other.leader);
    merged.members = merged.members.take().or(other.members);
    merged.replays += other.replays;
    if let (Some(kept), Some(there)) = (&mut merged.kept, other.kept) {
        keeping::add(kept, there);
    }
}

/// What is processed by whom it must be, by what is known of each target.
fn processed(stream: &StreamStatus) -> u64 {
    let complete = stream.complete.clone().unwrap_or_default();
    let named =
        |target: &&StreamTarget| complete.named.is_empty() || complete.named.contains(&id_text(&target.node));
    let out = stream.members.iter().flat_map(|members| &members.out);
    let out: Vec<&Bytes> = out.map(|out| &out.node).collect();
    if !out.is_empty() {
        // Who of those that are left it asks for is said by whoever leads.
        return stream.processed;
    }
    let mut marks: Vec<u64> = stream.targets.iter().filter(named).map(|target| target.processed).collect();
    marks.sort_unstable_by(|a, b| b.cmp(a));
    let needed = match complete.count as usize {
        0 => marks.len(),
        count => count,
    };
    marks.get(needed.wrapping_sub(1)).copied().unwrap_or(stream.processed)
}

/// The five watermarks in words. `asked` are the ends that answered.
#[must_use]
pub fn show_text(stream: &StreamStatus, names: &Names, asked: &[Bytes]) -> String {
    let (source, to) = (names.name(&stream.source), to_text(stream, names));
    let mut text =
        format!("Stream {} from {source} to {to} ({})\n\n", stream.name, id_text(&stream.instance));
    text.push_str(&flow::rank_lines(stream, names));
    if !stream.local {
        let targets: Vec<String> = stream.targets.iter().map(|target| names.name(&target.node)).collect();
        text.push_str(&format!(
            "Its figures are known at {source} and {}, and none of them could be asked.\n",
            targets.join(", ")
        ));
        return text;
    }
    let by = match &stream.targets[..] {
        [target] => format!(
            "by target {}: its handler is done with it, and that is durable",
            names.name(&target.node)
        ),
        _ => "by whom it must be: their handlers are done with it, and that is durable".to_owned(),
    };
    let lines = [
        ("accepted", stream.accepted, format!("durable at {source}")),
        (
            "replicated",
            stream.replicated,
            format!("committed, and durable at {}", names.list(&stream.holders)),
        ),
        ("processed", stream.processed, by),
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
    text.push('\n');
    text.push_str(&targets_text(stream, names, asked));
    if let Some(changed) = &stream.members {
        text.push_str(&members::changes_text(changed, names));
    }
    if let Some(failing) = &stream.failing {
        text.push_str(&parked::failing_text(failing));
    }
    if stream.park_after > 0 {
        text.push_str(&format!("  poison      parked after {} attempts\n", stream.park_after));
    }
    if stream.fail_after > 0 {
        text.push_str(&format!("  poison      fails the stream after {} attempts\n", stream.fail_after));
    }
    if stream.detach_after_millis > 0 {
        text.push_str(&format!("  detaches    {}\n", idle::limit(stream.detach_after_millis)));
    }
    text.push_str(&keeping::text(stream, names));
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

/// What each target is about.
fn targets_text(stream: &StreamStatus, names: &Names, asked: &[Bytes]) -> String {
    let handler = |target: &StreamTarget| {
        let name = names.name(&target.node);
        match (target.handler, asked.contains(&target.node)) {
            (Some(token), _) => format!("attached at {name} (token {token})"),
            (None, true) => format!("none is attached at {name}: `processed` stands still"),
            (None, false) => format!("not known: {name} could not be asked"),
        }
    };
    let parked = |target: &StreamTarget| match target.parked {
        0 => String::new(),
        parked => format!("; {parked} parked (`wattle stream parked list {}`)", stream.name),
    };
    if let [target] = &stream.targets[..] {
        let idle = idle::since(target).map(|idle| format!("; {idle}")).unwrap_or_default();
        return format!("  handler     {}{}{idle}\n", handler(target), parked(target));
    }
    let line = |target: &StreamTarget| {
        if stream.members.iter().flat_map(|members| &members.out).any(|out| out.node == target.node) {
            return format!("  target {:<10} was taken out\n", names.name(&target.node));
        }
        let behind = match stream.replicated.saturating_sub(target.processed) {
            0 => "up to date".to_owned(),
            behind => format!("{behind} behind"),
        };
        let idle = idle::since(target).map(|idle| format!(", {idle}")).unwrap_or_default();
        let name = names.name(&target.node);
        format!(
            "  target {name:<10} processed {}, {behind}{idle}; handler: {}{}\n",
            target.processed,
            handler(target),
            parked(target)
        )
    };
    stream.targets.iter().map(line).collect()
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
        "local": stream.local,
        "tenant": stream.tenant,
        "qos": flow::qos_name(stream.qos()),
        "priority": stream.priority,
        "rules": stream.rules.iter().map(|rule| flow::rule_json(rule, names)).collect::<Vec<_>>(),
    });
    if stream.local {
        let target = |target: &StreamTarget| json!({ "node": names.name(&target.node), "processed": target.processed, "handler": target.handler, "parked": target.parked, "idle_millis": target.idle_millis });
        let targets: Vec<Value> = stream.targets.iter().map(target).collect();
        let policy = in_names(stream, names);
        let complete = match policy {
            StreamPolicy { count: 0, named } if named.is_empty() => json!("all"),
            StreamPolicy { count: 0, named } => json!(named),
            StreamPolicy { count, .. } => json!(count),
        };
        let figures = json!({
            "targets": targets, "complete": complete, "leader": stream.leader.as_ref().map(|leader| names.name(leader)),
            "session": stream.session, "authority": stream.authority,
            "accepted": stream.accepted, "replicated": stream.replicated, "processed": stream.processed,
            "completed": stream.completed, "released": stream.released,
            "holders": stream.holders.iter().map(|holder| names.name(holder)).collect::<Vec<_>>(),
            "park_after": stream.park_after, "fail_after": stream.fail_after, "detach_after_millis": stream.detach_after_millis, "failing": stream.failing.as_ref().map(parked::failing_json),
            "handler": stream.handler, "outbox_bytes": stream.outbox_bytes,
            "waiting_for": stream.waiting_for, "stopped": stream.stopped, "orphaned": stream.orphaned,
            "seal": stream.seal.as_ref().map(|seal| seal_json(&stream.name, seal, names)),
            "members": stream.members.as_ref().map(|changed| members::changes_json(changed, names)),
            "gone": stream.gone.iter().map(|node| names.name(node)).collect::<Vec<_>>(),
        });
        for figures in [figures, keeping::json(stream, names)] {
            if let (Value::Object(value), Value::Object(figures)) = (&mut value, figures) {
                value.extend(figures);
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Bytes = Bytes::from_static(&[1; 16]);
    const TARGET: Bytes = Bytes::from_static(&[2; 16]);
    const OTHER: Bytes = Bytes::from_static(&[3; 16]);

    fn stream(accepted: u64, processed: u64) -> StreamStatus {
        let target = StreamTarget { node: TARGET, processed, ..StreamTarget::default() };
        StreamStatus {
            name: "words".to_owned(),
            instance: Bytes::from_static(&[5; 16]),
            source: SOURCE,
            targets: vec![target],
            local: true,
            accepted,
            replicated: accepted,
            processed,
            ..StreamStatus::default()
        }
    }

    #[test]
    fn what_its_ends_say_makes_one_picture() {
        let waiting_for = vec!["its handler".into(), "a session".into()];
        let source = StreamStatus { outbox_bytes: 7, waiting_for, ..stream(100, 40) };
        let waiting_for = vec!["its handler: none is attached".into()];
        let mut target = StreamStatus { handler: Some(3), waiting_for, ..stream(90, 60) };
        target.targets[0].handler = Some(3);
        let both = vec![(SOURCE, source.clone()), (TARGET, target.clone())];
        let merged = merge(both).unwrap();
        assert_eq!(
            (merged.accepted, merged.processed, merged.outbox_bytes, merged.targets[0].handler),
            (100, 60, 7, Some(3))
        );
        assert_eq!(merged.waiting_for, ["a session", "its handler: none is attached"]);
        assert_eq!(json(&merged, &Names::default())["targets"][0]["processed"], 60);
        assert_eq!(merge(vec![(SOURCE, source.clone())]), Some(source.clone()));
        let reopened = StreamStatus { instance: Bytes::from_static(&[6; 16]), ..target };
        let both = vec![(SOURCE, source.clone()), (TARGET, reopened)];
        assert_eq!(merge(both), Some(source), "another life of the name");
        assert_eq!(merge(Vec::new()), None);
    }

    #[test]
    fn each_of_several_targets_is_told_with_how_far_it_is_behind() {
        let mut source = stream(100, 40);
        source.targets.push(StreamTarget { node: OTHER, processed: 100, ..StreamTarget::default() });
        source.complete = Some(StreamPolicy { count: 1, named: Vec::new() });
        (source.detach_after_millis, source.targets[0].idle_millis) = (600_000, Some(9_000));
        let mut there = source.clone();
        (there.targets[0].processed, there.targets[0].handler) = (70, Some(9));
        // Whoever knows more of its mark knows since when.
        there.targets[0].idle_millis = Some(125_000);
        let merged = merge(vec![(SOURCE, source), (TARGET, there)]).unwrap();
        assert_eq!(merged.processed, 100, "one of them is enough");
        let text = show_text(&merged, &Names::default(), &[SOURCE, TARGET]);
        for words in [
            "1 of 2",
            "processed 70, 30 behind",
            "token 9",
            "processed 100, up to date",
            "30 behind, nothing for 2m5s; handler",
            "detaches    who processes nothing for 10m",
            "could not be asked",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
        let shown = json(&merged, &Names::default());
        assert_eq!((&shown["complete"], &shown["targets"][1]["processed"]), (&json!(1), &json!(100)));
    }

    #[test]
    fn the_five_watermarks_are_told_in_words() {
        let text = show_text(&stream(100, 40), &Names::default(), &[TARGET]);
        for word in ["accepted", "replicated", "processed", "completed", "released", "none is attached"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(show_text(&stream(1, 1), &Names::default(), &[]).contains("could not be asked"));
    }
}
