//! `wattle stream members`.

use serde_json::{Value, json};
use wattle_proto::api::{AddedTarget, MemberChange, StreamMembers, StreamStatus};

use super::Names;
use crate::api::convert::id_text;

fn because(change: &MemberChange) -> String {
    if change.reason.is_empty() { String::new() } else { format!(": {}", change.reason) }
}

/// Who joined, and with which message it begins.
fn joined(added: &AddedTarget, names: &Names) -> Option<String> {
    let first = added.first?;
    Some(format!("{} was added, and is handed everything from message {first} on", names.name(&added.node)))
}

/// What is becoming of a target.
fn under_way(change: &MemberChange, names: &Names) -> String {
    let node = names.name(&change.node);
    match change.kind.as_str() {
        "add" => format!("{node} is being added{}", because(change)),
        "detach" => format!("{node} is being detached: {}", change.reason),
        "drain" => format!("{node} is being drained: {}", change.reason),
        other => format!("{node}: {other}: {}", change.reason),
    }
}

/// What became of one.
fn done(change: &MemberChange, names: &Names) -> String {
    let node = names.name(&change.node);
    match change.kind.as_str() {
        "add" => format!("{node} was to be added, and did not join{}", because(change)),
        "detach" => format!("{node} was detached: {}", change.reason),
        "drain" => format!("{node} was drained: {}", change.reason),
        other => format!("{node}: {other}: {}", change.reason),
    }
}

/// How the members of a stream changed, or are to, a line each.
#[must_use]
pub fn changes_text(members: &StreamMembers, names: &Names) -> String {
    let out = members.out.iter().map(|out| done(out, names));
    let change = members.change.iter().map(|change| under_way(change, names));
    let joined = members.added.iter().filter_map(|added| joined(added, names));
    joined.chain(out).chain(change).map(|line| format!("  members     {line}\n")).collect()
}

/// What somebody is told who asked for a change.
#[must_use]
pub fn told_text(name: &str, told: &StreamMembers, names: &Names) -> String {
    match &told.change {
        Some(change) => format!(
            "Stream {name}: {}. It is not done yet: `wattle stream show {name}` tells what it waits for; repeat the command to see how far that is.",
            under_way(change, names)
        ),
        None => {
            let joined: Vec<String> = told.added.iter().filter_map(|added| joined(added, names)).collect();
            let out: Vec<String> = told.out.iter().map(|out| done(out, names)).collect();
            let what = [joined, out].concat().join("; ");
            match told.out.is_empty() {
                true => format!("Stream {name} goes on with one more. {what}."),
                false => format!("Stream {name} goes on with its other members. {what}."),
            }
        }
    }
}

/// Who the members of a stream are.
#[must_use]
pub fn text(stream: &StreamStatus, names: &Names) -> String {
    let members = stream.members.clone().unwrap_or_default();
    let is_out = |node| members.out.iter().any(|out| out.node == node);
    let targets = stream.targets.iter().filter(|target| !is_out(&target.node));
    let targets: Vec<String> = targets.map(|target| names.name(&target.node)).collect();
    format!(
        "Stream {}\n\n  source      {}\n  targets     {}\n{}",
        stream.name,
        names.name(&stream.source),
        targets.join(", "),
        changes_text(&members, names)
    )
}

fn change_json(change: &MemberChange, names: &Names) -> Value {
    json!({ "node": names.name(&change.node), "kind": change.kind, "reason": change.reason })
}

/// For programs: how the members of a stream changed.
#[must_use]
pub fn changes_json(members: &StreamMembers, names: &Names) -> Value {
    let out: Vec<Value> = members.out.iter().map(|out| change_json(out, names)).collect();
    let first = |added: &AddedTarget| json!({ "node": names.name(&added.node), "first": added.first });
    let added: Vec<Value> = members.added.iter().map(first).collect();
    let change = members.change.as_ref().map(|change| change_json(change, names));
    json!({ "change": change, "added": added, "out": out })
}

/// For programs: what somebody is told who asked for a change.
#[must_use]
pub fn told_json(name: &str, told: &StreamMembers, names: &Names) -> Value {
    let mut value = changes_json(told, names);
    value["name"] = json!(name);
    value["instance"] = json!(id_text(&told.instance));
    value
}

/// For programs: who the members of a stream are.
#[must_use]
pub fn json(stream: &StreamStatus, names: &Names) -> Value {
    let members = stream.members.clone().unwrap_or_default();
    let mut value = changes_json(&members, names);
    let is_out = |node| members.out.iter().any(|out| out.node == node);
    let targets = stream.targets.iter().filter(|target| !is_out(&target.node));
    value["name"] = json!(stream.name);
    value["source"] = json!(names.name(&stream.source));
    value["targets"] = targets.map(|target| json!(names.name(&target.node))).collect();
    value
}
