//! Updates to all members, as `wattle status` shows them.

use serde_json::{Value, json};
use wattle_proto::api::{MeshStatus, UpdateKind, UpdateStatus};

/// The share of the history that may be used before that is worth a word, in percent.
const NEARLY_FULL: u64 = 75;

/// What a kind of updates is called on the command line.
#[must_use]
pub const fn kind_name(kind: UpdateKind) -> &'static str {
    match kind {
        UpdateKind::Mesh => "mesh",
        UpdateKind::Database => "db",
        UpdateKind::Unspecified => "unknown",
    }
}

/// A line for each kind that was ever used.
#[must_use]
pub fn text(status: &MeshStatus) -> String {
    let used = status.updates.iter().filter(|updates| updates.last > 0);
    used.map(|updates| {
        let handler = if updates.handler.is_some() { "a handler" } else { "no handler" };
        let behind = match updates.behind {
            0 => "all members have processed them".to_owned(),
            behind => format!("{behind} members are behind: {}", lagging(updates)),
        };
        format!(
            "\nUpdates ({}): {} so far, those after {} are kept; this node has processed {} and has {handler}; {behind}.\n",
            kind_name(updates.kind()),
            updates.last,
            updates.floor,
            updates.processed
        )
    })
    .collect()
}

fn lagging(updates: &UpdateStatus) -> String {
    let named = updates.lagging.iter().map(|lag| format!("{} at {}", lag.name, lag.processed));
    let named: Vec<String> = named.collect();
    let more = if updates.behind > named.len() as u64 { ", ..." } else { "" };
    format!("{}{more}", named.join(", "))
}

/// What an operator should know before senders are refused.
#[must_use]
pub fn warning(updates: &UpdateStatus) -> Option<String> {
    let nearly = updates.bytes * 100 >= updates.bytes_max * NEARLY_FULL && updates.bytes_max > 0;
    (nearly && !updates.pass_over).then(|| {
        format!(
            "{} of {} bytes of {} updates are kept for members that have not processed them ({}): when that is full, senders are refused. \
             `wattle update subscribe` at these nodes processes them; `wattle update policy {} pass-over` lets the oldest go.",
            updates.bytes,
            updates.bytes_max,
            kind_name(updates.kind()),
            lagging(updates),
            kind_name(updates.kind())
        )
    })
}

/// For programs.
#[must_use]
pub fn json(updates: &UpdateStatus) -> Value {
    json!({
        "kind": kind_name(updates.kind()), "last": updates.last, "floor": updates.floor, "bytes": updates.bytes,
        "bytes_max": updates.bytes_max, "pass_over": updates.pass_over, "processed": updates.processed,
        "handler": updates.handler.is_some(), "behind": updates.behind,
        "lagging": updates.lagging.iter().map(|lag| json!({ "name": lag.name, "processed": lag.processed })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_proto::api::UpdateLag;

    fn behind() -> UpdateStatus {
        UpdateStatus {
            kind: UpdateKind::Database.into(),
            last: 9,
            floor: 2,
            bytes: 80,
            bytes_max: 100,
            behind: 3,
            lagging: vec![UpdateLag { name: "b".to_owned(), processed: 2, ..UpdateLag::default() }],
            ..UpdateStatus::default()
        }
    }

    #[test]
    fn who_is_behind_is_named_and_a_history_that_fills_up_is_warned_of() {
        let unused = UpdateStatus { kind: UpdateKind::Mesh.into(), ..UpdateStatus::default() };
        let status = MeshStatus { updates: vec![unused.clone(), behind()], ..MeshStatus::default() };
        let text = text(&status);
        assert!(text.contains("Updates (db): 9 so far") && text.contains("b at 2, ..."), "{text}");
        assert!(!text.contains("(mesh)"), "{text}");
        assert!(warning(&behind()).unwrap().contains("update policy db pass-over"));
        assert_eq!(warning(&UpdateStatus { pass_over: true, ..behind() }), None);
        assert_eq!(warning(&unused), None);
    }
}
