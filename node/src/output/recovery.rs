//! `wattle mesh recover`, and what `wattle status` says of recoveries.

use serde_json::{Value, json};
use wattle_proto::api::recover_mesh_response::What;
use wattle_proto::api::{MeshRecovery, NamedMember, RecoveryPlan, RecoveryStatus};

use super::Names;
use crate::api::convert::id_text;

fn names(members: &[NamedMember]) -> String {
    let called = |member: &NamedMember| {
        let votes = if member.voter { " (voter)" } else { "" };
        format!("{}{votes}", member.name)
    };
    members.iter().map(called).collect::<Vec<_>>().join(", ")
}

/// For people. `lost`: who was named on the command line.
#[must_use]
pub fn text(what: &What, lost: &[String]) -> String {
    match what {
        What::Plan(plan) => plan_text(plan, lost),
        What::Recovered(recovered) => format!(
            "The mesh goes on without {} (recovery {}, epoch {}), from entry {} of the log of {}. They come back only by `wattle mesh join` with a new \
             token; what only they held is void.",
            names(&recovered.lost),
            recovered.attempt,
            recovered.epoch,
            recovered.end,
            id_text(&recovered.founder)
        ),
        What::Withdrawn(attempt) => {
            format!("Attempt {attempt} took back what was under way: all survivors go on as before.")
        }
    }
}

fn plan_text(plan: &RecoveryPlan, lost: &[String]) -> String {
    format!(
        "Nothing was done. Recovery {} would\n\
         - evict for good: {}\n\
         - go on with: {}; up to {} of them vote, at first the one whose log goes furthest\n\
         - keep what survivors hold: here the log ends at entry {} of term {}, of which {} are known to be decided\n\
         - void whatever else the lost have decided, acknowledged or not\n\
         - raise the mesh epoch from {} to {}\n\
         Make sure that the lost are gone for good, or cannot be reached by anybody. Then: wattle mesh recover --lost {} --yes",
        plan.attempt,
        names(&plan.lost),
        names(&plan.survivors),
        plan.voters,
        plan.last_index,
        plan.last_term,
        plan.applied,
        plan.epoch,
        plan.next_epoch,
        lost.join(",")
    )
}

fn members_json(members: &[NamedMember]) -> Vec<Value> {
    let member = |member: &NamedMember| json!({ "node": id_text(&member.node), "name": member.name, "voter": member.voter });
    members.iter().map(member).collect()
}

fn recovered_json(recovered: &MeshRecovery) -> Value {
    json!({
        "attempt": recovered.attempt,
        "before": recovered.before,
        "epoch": recovered.epoch,
        "founder": id_text(&recovered.founder),
        "end": recovered.end,
        "asked_at": id_text(&recovered.asked_at),
        "time": recovered.time,
        "lost": recovered.lost.iter().map(|lost| lost.name.clone()).collect::<Vec<_>>(),
    })
}

/// For programs.
#[must_use]
pub fn json(what: &What) -> Value {
    match what {
        What::Plan(plan) => json!({ "plan": {
            "attempt": plan.attempt,
            "epoch": plan.epoch,
            "next_epoch": plan.next_epoch,
            "last_index": plan.last_index,
            "last_term": plan.last_term,
            "applied": plan.applied,
            "lost": members_json(&plan.lost),
            "survivors": members_json(&plan.survivors),
            "voters": plan.voters,
        } }),
        What::Recovered(recovered) => json!({ "recovered": recovered_json(recovered) }),
        What::Withdrawn(attempt) => json!({ "withdrawn": attempt }),
    }
}

/// What a node knows of recoveries, in lines for people.
#[must_use]
pub fn status_text(status: &RecoveryStatus, names: &Names) -> String {
    let mut out = String::new();
    if let Some(fenced) = &status.fenced {
        let lost: Vec<String> = fenced.lost.iter().map(|node| names.name(node)).collect();
        let (attempt, at) = (fenced.attempt, names.name(&fenced.asked_at));
        out.push_str(&format!(
            "Recovery {attempt}, ordered at {at}, has not come to its end (lost: {}): this node decides nothing until it does. Repeat `wattle mesh \
             recover`, or take it back with --withdraw.\n",
            lost.join(", ")
        ));
    }
    if let Some(last) = &status.last {
        let lost: Vec<&str> = last.lost.iter().map(|lost| lost.name.as_str()).collect();
        out.push_str(&format!(
            "Recovery {}, ordered at {}, went on from entry {} at epoch {} without {}.\n",
            last.attempt,
            names.name(&last.asked_at),
            last.end,
            last.epoch,
            lost.join(", ")
        ));
    }
    if let Some(rival) = &status.rival {
        out.push_str(&format!("CONFLICT: {rival}.\n"));
    }
    out
}

/// The same for programs.
#[must_use]
pub fn status_json(status: Option<&RecoveryStatus>) -> Value {
    let Some(status) = status else { return Value::Null };
    let fenced = status.fenced.as_ref().map(|fenced| {
        json!({
            "attempt": fenced.attempt,
            "asked_at": id_text(&fenced.asked_at),
            "withdraws": fenced.withdraws,
            "lost": fenced.lost.iter().map(|node| id_text(node)).collect::<Vec<_>>(),
        })
    });
    json!({ "fenced": fenced, "last": status.last.as_ref().map(recovered_json), "rival": status.rival })
}

#[cfg(test)]
mod tests {
    use wattle_proto::api::FencedRecovery;

    use super::*;

    fn member(name: &str, voter: bool) -> NamedMember {
        NamedMember { node: vec![0; 16].into(), name: name.to_owned(), voter }
    }

    #[test]
    fn a_plan_says_who_goes_and_how_to_do_it() {
        let plan = RecoveryPlan {
            attempt: 2,
            lost: vec![member("b", true), member("c", false)],
            survivors: vec![member("a", true)],
            next_epoch: 5,
            voters: 1,
            ..RecoveryPlan::default()
        };
        let text = text(&What::Plan(plan.clone()), &["b".to_owned(), "c".to_owned()]);
        assert!(text.starts_with("Nothing was done."), "{text}");
        assert!(text.contains("evict for good: b (voter), c\n"), "{text}");
        assert!(text.ends_with("wattle mesh recover --lost b,c --yes"), "{text}");
        assert_eq!(json(&What::Plan(plan))["plan"]["lost"][0]["name"], "b");
        assert!(super::text(&What::Withdrawn(4), &[]).starts_with("Attempt 4 took back"));
    }

    #[test]
    fn a_status_tells_what_is_under_way_what_was_and_who_does_not_follow() {
        let status = RecoveryStatus {
            fenced: Some(FencedRecovery { attempt: 3, ..FencedRecovery::default() }),
            last: Some(MeshRecovery {
                attempt: 1,
                epoch: 4,
                lost: vec![member("b", false)],
                ..MeshRecovery::default()
            }),
            rival: Some("others went on".to_owned()),
        };
        let text = status_text(&status, &Names::default());
        assert!(text.contains("Recovery 3, ordered at "), "{text}");
        assert!(text.contains("at epoch 4 without b."), "{text}");
        assert!(text.contains("CONFLICT: others went on."), "{text}");
        assert_eq!(status_json(Some(&status))["last"]["lost"][0], "b");
        assert_eq!(status_json(None), Value::Null);
    }
}
