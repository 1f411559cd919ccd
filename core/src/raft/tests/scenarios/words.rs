//! What happened, in words.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::super::harness::{Cluster, GROUP, member};
use crate::configuration::{Configuration, Member};
use crate::id::NodeId;
use crate::raft::{Body, Entry, EntryKind, Message, Output, Place, RefusedReason};

fn number(node: NodeId) -> u128 {
    node.0 - 1
}

fn at(place: Place) -> String {
    format!("{}/{}", place.term.0, place.index.0)
}

/// A replica: its node, and how often that node's replica changed its name, if it did.
fn replica(one: Member) -> String {
    let founding = member(number(one.node) as usize).replica;
    if one.replica == founding { format!("{}", number(one.node)) } else { format!("{}'", number(one.node)) }
}

fn members(all: &[Member]) -> String {
    let words: Vec<String> = all.iter().map(|&one| replica(one)).collect();
    words.join(" ")
}

fn configuration(configuration: &Configuration) -> String {
    if configuration.is_empty() {
        return "nobody known to take part".into();
    }
    let mut text = format!("voters {}", members(&configuration.voters));
    for (word, all) in [("outgoing", &configuration.outgoing), ("learners", &configuration.learners)] {
        if !all.is_empty() {
            text.push_str(&format!(", {word} {}", members(all)));
        }
    }
    text
}

fn entry(entry: &Entry) -> String {
    let place = format!("{}/{}", entry.term.0, entry.index.0);
    match entry.kind {
        EntryKind::Command => format!("{place} {}", words(&entry.data)),
        EntryKind::Blank => format!("{place} (blank)"),
        EntryKind::Configuration => format!("{place} (members)"),
    }
}

fn words(data: &Bytes) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn entries<'a>(all: impl IntoIterator<Item = &'a Entry>) -> String {
    let words: Vec<String> = all.into_iter().map(entry).collect();
    words.join(", ")
}

/// A message on its way.
pub(super) fn message(from: NodeId, to: NodeId, message: &Message) -> String {
    let term = message.term.0;
    let body = match &message.body {
        Body::Append(append) | Body::Fed(append) => {
            let fed = if matches!(message.body, Body::Fed(_)) { "fed: " } else { "" };
            let round = if append.round > 0 { format!(", round {}", append.round) } else { String::new() };
            let copy = if append.copy { " (a copy)" } else { "" };
            let rest = if append.entries.is_empty() {
                String::new()
            } else {
                format!(": {}", entries(&append.entries))
            };
            format!(
                "{fed}append{copy} behind {}, commit {}{round}{rest}",
                at(append.previous),
                append.commit.0
            )
        }
        Body::AppendReply { matched, place, more, waiting, round, fed, .. } => {
            let word = if *matched { "matched" } else { "go back to" };
            let mut text = format!("{word} {}", at(*place));
            for (is, word) in [(*more, ", more"), (*waiting, ", waits"), (*fed, ", fed")] {
                if is {
                    text.push_str(word);
                }
            }
            if *round > 0 {
                text.push_str(&format!(", round {round}"));
            }
            text
        }
        Body::Feed { last, .. } => format!("feed me behind {}", at(*last)),
        Body::Unfed => "you are not fed by me, nor I by you".into(),
        Body::Read { number } => format!("read {number}"),
        Body::ReadReply { number, index } => format!("read {number} at {}", index.0),
        Body::Stand => "stand".into(),
        Body::Vote { pre: true, last } => format!("would you vote for me, who holds {}?", at(*last)),
        Body::Vote { pre: false, last } => format!("vote for me, who holds {}", at(*last)),
        Body::VoteReply { pre, granted, .. } => match (pre, granted) {
            (true, true) => "I would".into(),
            (true, false) => "I would not".into(),
            (false, true) => "granted".into(),
            (false, false) => "refused".into(),
        },
        Body::Recall { mark, question, .. } => {
            let known =
                mark.map_or("nothing".into(), |mark| format!("term {}, {}", mark.term.0, at(mark.last)));
            let ask = if *question { "; and you of me?" } else { "" };
            format!("I remember of you: {known}{ask}")
        }
        Body::Copy { last } => format!("copy your log behind {}", at(*last)),
        Body::Renamed { .. } => "I go on under a fresh name".into(),
        Body::Snapshot(snapshot) => format!("snapshot up to {}", at(snapshot.place)),
        Body::SnapshotReply { here, .. } => format!("{here} bytes of the snapshot are here"),
        Body::Stop { reason } => format!("stop: {reason}"),
    };
    format!("{}>{} term {term}: {body}", number(from), number(to))
}

/// What a node tells its owner, as far as a scenario shows it.
pub(super) fn described(node: usize, output: &Output) -> Option<String> {
    let text = match output {
        Output::Apply { entries: applied, .. } => format!("applies {}", entries(applied)),
        Output::Role { role, term, leader, .. } => {
            let led = leader.filter(|leader| *leader != member(node).node);
            let led = led.map_or(String::new(), |leader| format!(", led by {}", number(leader)));
            format!("is {} in term {}{led}", role.text(), term.0)
        }
        Output::Configured { configuration: now, index, committed, .. } if !now.is_empty() => {
            let word = if *committed { "committed" } else { "appended" };
            format!("has {} ({word} at {})", configuration(now), index.0)
        }
        Output::ReadReady { context, index, .. } => format!("may read {context}, true up to {}", index.0),
        Output::Refused { reason, .. } => format!("refuses: {}", refusal(*reason)),
        Output::SnapshotWanted { to, .. } => format!("needs its state for {}", number(*to)),
        Output::Load { key, .. } => format!("reads its entries from {}", key.slot),
        Output::Install { from, index, .. } => {
            format!("takes the state up to {} from {}", index.0, number(*from))
        }
        Output::Amnesia { what, .. } => format!("finds a disk rolled back: {what}"),
        Output::Stopped { reason, .. } => format!("stops: {reason}"),
        Output::Era { era, .. } => format!("goes on under recovery {era}"),
        Output::Founded { done, .. } => match done {
            Ok(_) => "founds the group anew".into(),
            Err(why) => format!("does not found the group anew: {why}"),
        },
        Output::Fenced { end: Ok(end), .. } => {
            format!("is fenced: its log ends at {}, {} is certain", at(end.last), end.certain.index.0)
        }
        Output::Fenced { end: Err(why), .. } => format!("is fenced: {why}"),
        Output::Configured { .. }
        | Output::Persist(_)
        | Output::Forget(_)
        | Output::Notify(_)
        | Output::Conforms { .. }
        | Output::Send { .. }
        | Output::Proposed { .. }
        | Output::Follows { .. }
        | Output::Match { .. } => return None,
    };
    Some(format!("{node} {text}"))
}

fn refusal(reason: RefusedReason) -> String {
    match reason {
        RefusedReason::NotLeader { leader: None } => "nobody is known to lead".into(),
        RefusedReason::NotLeader { leader: Some(leader) } => format!("{} leads", number(leader)),
        RefusedReason::Stopped => "it stopped".into(),
        RefusedReason::ChangeUnderWay => "a change is under way".into(),
        RefusedReason::Full => "it is full".into(),
        RefusedReason::Transferring => "another is about to lead".into(),
        RefusedReason::NotVoter => "only a voter can lead".into(),
        RefusedReason::TooHeavy => "it refers to too many bytes".into(),
    }
}

/// Where each replica stands.
pub(super) fn places(cluster: &Cluster) -> Vec<String> {
    let place = |node: usize| {
        if !cluster.replicas[node].up {
            return format!("{node} is down");
        }
        let status = cluster.replicas[node].groups.status(GROUP).expect("it has a replica");
        let vote = cluster.place(node).vote.map_or("nobody".into(), replica);
        format!(
            "{node} is {} in term {}, voted for {vote}, holds {}, durable {}, commit {}, {}",
            status.role.text(),
            status.term.0,
            at(status.last),
            status.durable.0,
            status.commit.0,
            configuration(&status.configuration)
        )
    };
    (0..cluster.replicas.len()).map(place).collect()
}

/// What each owner was given.
pub(super) fn logs(cluster: &Cluster) -> Vec<String> {
    let log = |node: usize| format!("{node} applied {}", entries(&cluster.replicas[node].applied));
    (0..cluster.replicas.len()).map(log).collect()
}
