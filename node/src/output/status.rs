//! `wattle status`.

use serde_json::{Value, json};
use wattle_proto::api::{MeshActivity, MeshMode, MeshStanding, MeshStatus};

use super::{Names, fingerprint, handlers, recovery, stream, table, updates};
use crate::api::convert::id_text;

/// The same in an order that people can find things in: by name.
#[must_use]
pub fn sorted(mut status: MeshStatus) -> MeshStatus {
    let names = Names::of(&status);
    status.members.sort_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
    for link in &mut status.links {
        if names.name(&link.a) > names.name(&link.b) {
            std::mem::swap(&mut link.a, &mut link.b);
        }
    }
    status.links.sort_by_key(|link| (names.name(&link.a), names.name(&link.b)));
    if let Some(control) = &mut status.control {
        control.voters.sort_by_key(|voter| names.name(voter));
        control.learners.sort_by_key(|learner| names.name(learner));
    }
    for stream in &mut status.streams {
        stream.holders.sort_by_key(|holder| names.name(holder));
    }
    status.streams.sort_by(|a, b| a.name.cmp(&b.name));
    status
}

/// For people.
#[must_use]
pub fn text(status: &MeshStatus) -> String {
    let names = Names::of(status);
    let mut out = String::new();
    match &status.mesh {
        None if status.parted.is_some() => {
            let why = status.parted.as_deref().unwrap_or_default();
            out.push_str(&format!("Node {} ({}): {why}\n", status.name, id_text(&status.node)));
        }
        None => {
            out.push_str(&format!(
                "Node {} ({}) belongs to no mesh yet: run `wattle mesh seed` to make one, or `wattle mesh join TOKEN` to join one.\n",
                status.name,
                id_text(&status.node)
            ));
        }
        Some(mesh) => out.push_str(&format!(
            "Mesh {} ({}), as node {} sees it\n",
            status.mesh_name,
            id_text(mesh),
            status.name
        )),
    }
    if let Some(config) = status.config.as_ref().filter(|config| !config.description.is_empty()) {
        out.push_str(&format!("{}\n", config.description));
    }
    if let Some(why) = &status.duplicate {
        out.push_str(&format!("DUPLICATE IDENTITY: {why}.\n"));
    }
    match status.activity() {
        MeshActivity::Stopping => out.push_str("This node is about to stop its mesh.\n"),
        MeshActivity::Stopped => out.push_str(
            "The mesh is stopped at this node, which knows nothing of the others now: `wattle mesh start` lets it take part again.\n",
        ),
        MeshActivity::Running | MeshActivity::Unspecified => {}
    }
    if status.mesh.is_some() {
        if let Some(standing) = &status.standing {
            out.push_str(&standing_text(standing));
            out.push_str(".\n");
        }
        out.push('\n');
        out.push_str(&members(status));
        if !status.former.is_empty() {
            out.push_str(&former(status));
        }
        if let Some(told) = &status.recovery {
            out.push_str(&recovery::status_text(told, &names));
        }
        out.push('\n');
        out.push_str(&links(status, &names));
        out.push('\n');
        out.push_str(&control(status, &names));
        out.push('\n');
        out.push_str(&stream::list_text(status));
        out.push_str(&updates::text(status));
        out.push_str(&handlers::text(&status.handlers));
    }
    for warning in warnings(status) {
        out.push_str(&format!("\nwarning: {warning}\n"));
    }
    out
}

fn members(status: &MeshStatus) -> String {
    let rows = status.members.iter().map(|member| {
        let reachable = match (member.reachable, member.hops) {
            _ if member.duplicated => "exists twice".to_owned(),
            _ if member.stopped => "stopped".to_owned(),
            (true, Some(0)) => "this node".to_owned(),
            (true, Some(1)) => "1 link away".to_owned(),
            (true, Some(hops)) => format!("{hops} links away"),
            (true, None) => "yes".to_owned(),
            (false, _) => "no path".to_owned(),
        };
        let addresses = if member.addresses.is_empty() {
            "only dials out".to_owned()
        } else {
            member.addresses.join(" ")
        };
        vec![
            member.name.clone(),
            id_text(&member.node),
            role(status, &member.node, member.voter).to_owned(),
            reachable,
            addresses,
            member.api.clone().unwrap_or_default(),
            member.region.clone().unwrap_or_default(),
            member.voting.clone(),
        ]
    });
    table(&["node", "id", "role", "reachable", "mesh address", "API", "region", "why so"], rows)
}

/// The name that people know a mode by.
#[must_use]
pub const fn mode_name(mode: MeshMode) -> &'static str {
    match mode {
        MeshMode::Unspecified => "UNKNOWN",
        MeshMode::Healthy => "HEALTHY",
        MeshMode::Degraded => "DEGRADED",
        MeshMode::Critical => "CRITICAL",
    }
}

/// What an activity is called in JSON.
const fn activity_name(activity: MeshActivity) -> &'static str {
    match activity {
        MeshActivity::Unspecified => "unknown",
        MeshActivity::Running => "running",
        MeshActivity::Stopping => "stopping",
        MeshActivity::Stopped => "stopped",
    }
}

/// How the mesh is, and what that forbids, for people.
#[must_use]
pub fn standing_text(standing: &MeshStanding) -> String {
    let (name, members) = (mode_name(standing.mode()), standing.members);
    let away = match standing.unreachable {
        0 => format!("all {members} members can be reached"),
        away => format!("{away} of {members} members cannot be reached"),
    };
    let forbids = match (standing.mode(), standing.quorum) {
        (MeshMode::Critical, false) => {
            "; nobody leads the control group, so the configuration is read-only; open streams go on"
        }
        (MeshMode::Critical, true) => {
            "; nothing but `wattle mesh evict` changes the configuration; open streams go on"
        }
        _ => "",
    };
    format!("{name}: {away}{forbids}")
}

fn former(status: &MeshStatus) -> String {
    let told = status.former.iter().map(|former| {
        let how = if former.left { "left" } else { "evicted" };
        format!("{} ({how}, epoch {})", former.name, former.epoch)
    });
    format!("Mesh epoch {}; former members: {}.\n", status.epoch, told.collect::<Vec<_>>().join(", "))
}

fn role(status: &MeshStatus, node: &[u8], voter: bool) -> &'static str {
    let leads = status
        .control
        .as_ref()
        .and_then(|control| control.leader.as_ref())
        .is_some_and(|leader| *leader == *node);
    match (leads, voter) {
        (true, _) => "voter, leads",
        (false, true) => "voter",
        (false, false) => "learner",
    }
}

fn links(status: &MeshStatus, names: &Names) -> String {
    if status.links.is_empty() {
        return "No links.\n".to_owned();
    }
    let rows = status.links.iter().map(|link| {
        let rtt = link.rtt_nanos.map_or_else(String::new, |rtt| format!("{:.2} ms", rtt as f64 / 1e6));
        let cost = format!("{:.2} ms", f64::from(link.cost_micros) / 1e3);
        vec![format!("{} - {}", names.name(&link.a), names.name(&link.b)), cost, rtt]
    });
    table(&["link", "cost", "round trip"], rows)
}

fn control(status: &MeshStatus, names: &Names) -> String {
    let Some(control) = &status.control else { return "Control group: not known here yet.\n".to_owned() };
    let leader = control.leader.as_ref().map_or_else(
        || "nobody leads now".to_owned(),
        |leader| format!("{} leads term {}", names.name(leader), control.term),
    );
    let mut text = format!(
        "Control group: {leader}; voters {}; committed {} of {} entries here; this node is {}.\n",
        names.list(&control.voters),
        control.commit,
        control.last,
        control.role
    );
    if !control.learners.is_empty() {
        text.push_str(&format!("Learners: {}.\n", names.list(&control.learners)));
    }
    text
}

/// Whether that is what the mesh agreed on.
fn wants_one(status: &MeshStatus) -> bool {
    status.config.as_ref().and_then(|config| config.control_voters) == Some(1)
}

/// What an operator should know before it hurts.
#[must_use]
pub fn warnings(status: &MeshStatus) -> Vec<String> {
    let names = Names::of(status);
    let mut warnings = Vec::new();
    let takes_part = status.activity() != MeshActivity::Stopped;
    if let Some(control) = &status.control {
        if let [voter] = control.voters.as_slice() {
            let voter = names.name(voter);
            let remedy = match status.members.len() {
                _ if wants_one(status) => {
                    "The mesh agreed on one voter: `wattle mesh config set --voters 3` makes it three."
                }
                0..=2 => "With three members, three will vote and any one of them may be lost.",
                _ => "More members are being made voters; until that is done, do not stop it.",
            };
            warnings.push(format!(
                "{voter} is the only voter of the control group. While it is away nobody can join and no stream can be opened or closed; \
                 open streams go on. If its disk is lost, the mesh's configuration cannot change any more. {remedy}"
            ));
        }
        let missing: Vec<_> = control
            .voters
            .iter()
            .filter(|voter| status.members.iter().any(|member| member.node == **voter && !member.reachable))
            .collect();
        if !missing.is_empty() && control.voters.len() > 1 && takes_part {
            let left = control.voters.len() - missing.len();
            let state = if left * 2 > control.voters.len() {
                "the others are still a majority"
            } else {
                "the others are no majority: configuration cannot change until enough are back; open streams go on where they can"
            };
            warnings.push(format!("no path to the voters {}: {state}.", names.list(missing)));
        }
        if let Some(why) = &control.stopped {
            warnings.push(format!("the control group stopped on this node: {why}"));
        }
    }
    if let Some(why) = status.refusing.as_ref().filter(|_| status.parted.is_none() && takes_part) {
        warnings.push(format!("publishing is refused here: {why}"));
    }
    warnings.extend(status.updates.iter().filter_map(updates::warning));
    warnings.extend(status.handlers.iter().filter_map(handlers::warning));
    for member in status.members.iter().filter(|member| member.duplicated && member.node != status.node) {
        warnings.push(format!(
            "{} exists twice: its data directory was copied and both copies ran, so nobody hears either; take all copies but one away for good, and \
             start that one with `wattle run --only-copy`",
            member.name
        ));
    }
    for member in status.members.iter().filter(|member| member.keys.len() > 1) {
        warnings.push(format!(
            "the key of {} is giving way (rotation {}): {} and {} are both good; if that does not end by itself, `wattle node key rotate --finish --node {}`",
            member.name,
            member.rotation,
            fingerprint(&member.keys[0]),
            fingerprint(&member.keys[1]),
            member.name
        ));
    }
    for stream in &status.streams {
        if let Some(why) = &stream.stopped {
            warnings.push(format!("stream {} stopped on this node: {why}", stream.name));
        }
        if !stream.gone.is_empty() && stream.seal.is_none() {
            let needs = match stream.gone.contains(&stream.source) {
                true if stream.gone.len() == 1 => "a seal (`wattle stream seal`), or to be closed",
                true => "to be closed",
                false => "its target to join again, or to be closed",
            };
            let verb = if stream.gone.len() == 1 { "is" } else { "are" };
            let gone = names.list(&stream.gone);
            warnings.push(format!("stream {} needs {needs}: {gone} {verb} no member any more", stream.name));
        }
    }
    warnings.extend(super::flow::warnings(&status.streams));
    warnings
}

/// For programs.
#[must_use]
pub fn json(status: &MeshStatus) -> Value {
    let names = Names::of(status);
    json!({
        "node": { "id": id_text(&status.node), "name": status.name, "boot": id_text(&status.boot), "generation": status.generation },
        "mesh": status.mesh.as_ref().map(|mesh| json!({ "id": id_text(mesh), "name": status.mesh_name })),
        "config": status.config.as_ref().map(super::mesh_config::json),
        "members": status.members.iter().map(|member| json!({
            "id": id_text(&member.node), "name": member.name, "addresses": member.addresses, "api": member.api,
            "reachable": member.reachable, "hops": member.hops, "voter": member.voter, "stopped": member.stopped,
            "keys": member.keys.iter().map(|key| fingerprint(key)).collect::<Vec<_>>(), "rotation": member.rotation,
            "duplicated": member.duplicated, "region": member.region, "voting": member.voting,
            "role": role(status, &member.node, member.voter),
        })).collect::<Vec<_>>(),
        "links": status.links.iter().map(|link| json!({
            "a": names.name(&link.a), "b": names.name(&link.b), "cost_micros": link.cost_micros, "rtt_nanos": link.rtt_nanos,
        })).collect::<Vec<_>>(),
        "control": status.control.as_ref().map(|control| json!({
            "role": control.role, "term": control.term, "leader": control.leader.as_ref().map(|leader| names.name(leader)),
            "voters": control.voters.iter().map(|voter| names.name(voter)).collect::<Vec<_>>(),
            "learners": control.learners.iter().map(|learner| names.name(learner)).collect::<Vec<_>>(),
            "commit": control.commit, "last": control.last, "stopped": control.stopped,
        })),
        "streams": status.streams.iter().map(|one| stream::json(one, &names)).collect::<Vec<_>>(),
        "updates": status.updates.iter().map(updates::json).collect::<Vec<_>>(),
        "handlers": status.handlers.iter().map(handlers::json).collect::<Vec<_>>(),
        "refusing": status.refusing,
        "mode": status.standing.as_ref().map(|standing| mode_name(standing.mode())),
        "standing": status.standing.as_ref().map(|standing| json!({
            "unreachable": standing.unreachable, "members": standing.members, "quorum": standing.quorum,
        })),
        "duplicate": status.duplicate,
        "activity": activity_name(status.activity()),
        "epoch": status.epoch,
        "parted": status.parted,
        "recovery": recovery::status_json(status.recovery.as_ref()),
        "former": status.former.iter().map(|former| json!({
            "id": id_text(&former.node), "name": former.name, "epoch": former.epoch, "left": former.left,
        })).collect::<Vec<_>>(),
        "journal_bytes": status.journal_bytes,
        "journal_live_bytes": status.journal_live_bytes,
        "journal_written_bytes": status.journal_written_bytes,
        "journal_syncs": status.journal_syncs,
        "logs": json!({
            "bytes": status.log_bytes, "read_bytes": status.log_read_bytes,
            "stored_runs": status.log_stored_runs, "loads": status.log_loads,
        }),
        "warnings": warnings(status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wattle_proto::api::{FormerMember, GroupStatus, LinkStatus, MemberStatus, StreamStatus};

    fn id(byte: u8) -> Bytes {
        Bytes::copy_from_slice(&[byte; 16])
    }

    fn member(byte: u8, name: &str, hops: Option<u32>, voter: bool) -> MemberStatus {
        MemberStatus {
            node: id(byte),
            name: name.to_owned(),
            reachable: hops.is_some(),
            hops,
            voter,
            ..MemberStatus::default()
        }
    }

    fn mesh() -> MeshStatus {
        MeshStatus {
            node: id(1),
            name: "a".to_owned(),
            mesh: Some(id(9)),
            mesh_name: "dev".to_owned(),
            config: None,
            members: vec![member(1, "a", Some(0), true), member(2, "b", Some(1), false)],
            links: vec![LinkStatus { a: id(1), b: id(2), cost_micros: 120, rtt_nanos: Some(80_000) }],
            control: Some(GroupStatus {
                role: "leader".to_owned(),
                leader: Some(id(1)),
                voters: vec![id(1)],
                learners: vec![id(2)],
                term: 3,
                ..GroupStatus::default()
            }),
            ..MeshStatus::default()
        }
    }

    #[test]
    fn one_voter_is_warned_about_in_words_that_say_what_its_loss_means() {
        let text = text(&mesh());
        assert!(text.contains("warning: a is the only voter"), "{text}");
        assert!(text.contains("nobody can join and no stream can be opened"), "{text}");
        assert!(
            text.contains("a - b") && text.contains("1 link away") && text.contains("a leads term 3"),
            "{text}"
        );
        let mut three = mesh();
        three.members.push(member(3, "c", None, true));
        three.control.as_mut().unwrap().voters = vec![id(1), id(2), id(3)];
        assert_eq!(warnings(&three), ["no path to the voters c: the others are still a majority."]);
    }

    #[test]
    fn the_mode_is_told_with_what_it_forbids() {
        let mut mesh = mesh();
        let standing = |mode: MeshMode, unreachable, quorum| {
            Some(MeshStanding { mode: mode.into(), unreachable, members: 4, quorum })
        };
        for (standing, told) in [
            (standing(MeshMode::Healthy, 0, true), "HEALTHY: all 4 members can be reached."),
            (standing(MeshMode::Degraded, 1, true), "DEGRADED: 1 of 4 members cannot be reached."),
            (standing(MeshMode::Critical, 2, true), "nothing but `wattle mesh evict`"),
            (standing(MeshMode::Critical, 2, false), "read-only"),
        ] {
            mesh.standing = standing;
            assert!(text(&mesh).contains(told), "{}", text(&mesh));
        }
        assert_eq!(json(&mesh)["mode"], "CRITICAL");
    }

    #[test]
    fn who_votes_is_told_with_the_region_and_the_reason() {
        let mut mesh = mesh();
        mesh.members[0].region = Some("eu".to_owned());
        mesh.members[0].voting = "the one of region eu".to_owned();
        mesh.members[1].voting = "1 of 2 members vote".to_owned();
        let told = text(&mesh);
        assert!(told.contains("REGION") && told.contains("the one of region eu"), "{told}");
        assert_eq!(json(&mesh)["members"][0]["region"], "eu");
        assert_eq!(json(&mesh)["members"][1]["voting"], "1 of 2 members vote");
    }

    #[test]
    fn who_is_stopped_is_told_as_stopped() {
        let mut mesh = mesh();
        mesh.members[1].stopped = true;
        mesh.members[1].hops = None;
        let told = text(&mesh);
        assert!(told.contains("stopped") && !told.contains("no path"), "{told}");
        assert_eq!(json(&mesh)["members"][1]["stopped"], true);
        mesh.activity = MeshActivity::Stopped.into();
        mesh.refusing = Some("stopped here".to_owned());
        let told = text(&mesh);
        assert!(told.contains("`wattle mesh start` lets it take part again"), "{told}");
        assert!(!told.contains("publishing is refused"), "it is said once: {told}");
        assert_eq!(json(&mesh)["activity"], "stopped");
    }

    #[test]
    fn former_members_and_what_waits_for_them_are_told() {
        let mut mesh = mesh();
        mesh.epoch = 2;
        mesh.former = vec![FormerMember { node: id(3), name: "c".to_owned(), epoch: 2, left: false }];
        let gone = vec![id(3)];
        mesh.streams = vec![StreamStatus { name: "words".to_owned(), gone, ..StreamStatus::default() }];
        let told = text(&mesh);
        assert!(told.contains("Mesh epoch 2; former members: c (evicted, epoch 2)."), "{told}");
        let what = "stream words needs its target to join again, or to be closed: c is no member any more";
        assert!(told.contains(what), "{told}");
        mesh.streams[0].source = id(3);
        let told = text(&mesh);
        let what =
            "stream words needs a seal (`wattle stream seal`), or to be closed: c is no member any more";
        assert!(told.contains(what), "{told}");
        let parted = MeshStatus {
            name: "x".to_owned(),
            node: id(1),
            parted: Some("it was evicted".to_owned()),
            ..MeshStatus::default()
        };
        assert!(super::text(&parted).contains(": it was evicted"), "{}", super::text(&parted));
        assert_eq!(json(&mesh)["former"][0]["left"], false);
    }

    #[test]
    fn what_is_shown_is_in_the_order_of_names() {
        let mut mixed = mesh();
        mixed.members.reverse();
        mixed.links[0] = LinkStatus { a: id(2), b: id(1), ..mixed.links[0].clone() };
        assert_eq!(sorted(mixed), mesh());
    }

    #[test]
    fn a_node_without_a_mesh_is_told_what_to_do() {
        let alone = MeshStatus { name: "x".to_owned(), node: id(1), ..MeshStatus::default() };
        assert!(text(&alone).contains("wattle mesh seed"));
        assert_eq!(json(&alone)["mesh"], Value::Null);
    }

    #[test]
    fn programs_get_ids_as_text_and_numbers_as_numbers() {
        let json = json(&mesh());
        assert_eq!(json["members"][1]["id"], id_text(&id(2)));
        assert_eq!(json["links"][0]["cost_micros"], 120);
        assert_eq!(json["control"]["leader"], "a");
    }
}
