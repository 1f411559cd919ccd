//! `wattle mesh events`.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use wattle_proto::api::{MeshEvent, MeshEventFilter, MeshEventKind as Kind, MeshStatus};

use super::commands::Desk;
use crate::api::convert::id_text;
use crate::client::{Client, Failure};
use crate::output::status::{mode_name, standing_text};
use crate::output::{Names, fingerprint, updates};
use crate::stop::Stop;

/// How to watch.
#[derive(Args, Debug)]
pub(super) struct EventsArgs {
    /// Only events of this kind; may be given several times
    #[arg(long = "only", value_enum, value_name = "KIND")]
    only: Vec<Named>,
    /// End after that many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A kind of events on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Named {
    NodeJoined,
    NodeLeft,
    NodeUpdated,
    NodeFailed,
    NodeRecovered,
    NodeDuplicated,
    NodeKeyChanged,
    NodeStopped,
    NodeStarted,
    LeaderChanged,
    RoleChanged,
    ConfigChanged,
    StreamOpened,
    StreamClosed,
    UpdateCommitted,
    LinkUp,
    LinkDown,
    ModeChanged,
    Recovery,
}

impl From<Named> for Kind {
    fn from(named: Named) -> Self {
        match named {
            Named::NodeJoined => Self::NodeJoined,
            Named::NodeLeft => Self::NodeLeft,
            Named::NodeUpdated => Self::NodeUpdated,
            Named::NodeFailed => Self::NodeFailed,
            Named::NodeRecovered => Self::NodeRecovered,
            Named::NodeDuplicated => Self::NodeDuplicated,
            Named::NodeKeyChanged => Self::NodeKeyChanged,
            Named::NodeStopped => Self::NodeStopped,
            Named::NodeStarted => Self::NodeStarted,
            Named::LeaderChanged => Self::LeaderChanged,
            Named::RoleChanged => Self::RoleChanged,
            Named::ConfigChanged => Self::ConfigChanged,
            Named::StreamOpened => Self::StreamOpened,
            Named::StreamClosed => Self::StreamClosed,
            Named::UpdateCommitted => Self::UpdateCommitted,
            Named::LinkUp => Self::LinkUp,
            Named::LinkDown => Self::LinkDown,
            Named::ModeChanged => Self::ModeChanged,
            Named::Recovery => Self::Recovery,
        }
    }
}

/// What a kind is called, here and in JSON.
fn kind_name(kind: Kind) -> String {
    let name = kind.as_str_name().trim_start_matches("MESH_EVENT_KIND_");
    name.to_ascii_lowercase().replace('_', "-")
}

impl Desk {
    pub(super) async fn events(&self, arguments: EventsArgs) -> Result<(), Failure> {
        let mut stop = Stop::on_signals()
            .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
        let mut client = Client::connect(self.finder.only().await?).await?;
        let kinds = arguments.only.into_iter().map(|named| Kind::from(named).into()).collect();
        let mut events = client.mesh.watch_mesh_events(MeshEventFilter { kinds }).await?.into_inner();
        // Members that come later bring their names along.
        let mut names = Names::of(&client.status().await.unwrap_or_default());
        let mut left = arguments.count.unwrap_or(u64::MAX);
        while left > 0 {
            let event = tokio::select! {
                event = events.message() => event.map_err(Failure::from)?,
                () = stop.asked() => break,
            };
            let Some(event) = event else {
                return Err(Failure::Unreachable("the node ended the call".to_owned()));
            };
            if event.kind() == Kind::NodeJoined {
                names = Names::of(&client.status().await.unwrap_or_else(|_| MeshStatus::default()));
            }
            self.output.print(|| text(&event, &names), || json(&event, &names));
            left -= u64::from(event.kind() != Kind::Missed);
        }
        Ok(())
    }
}

fn node_name(event: &MeshEvent, names: &Names) -> String {
    match &event.node {
        _ if !event.name.is_empty() => event.name.clone(),
        Some(node) => names.name(node),
        None => "nobody".to_owned(),
    }
}

fn text(event: &MeshEvent, names: &Names) -> String {
    let kind = kind_name(event.kind());
    let what = match event.kind() {
        Kind::LeaderChanged => {
            let here = if event.here { ", which is this node" } else { "" };
            format!("{} leads the control group in term {}{here}", node_name(event, names), event.term)
        }
        Kind::RoleChanged => {
            let group = event.stream_instance.as_ref().map_or_else(
                || "the control group".to_owned(),
                |instance| format!("the group of stream {}", id_text(instance)),
            );
            format!("this node is {} of {group} in term {}", event.role, event.term)
        }
        Kind::ConfigChanged if event.deleted => format!("{} is gone (version {})", event.key, event.version),
        Kind::ConfigChanged if event.value.is_empty() => format!("{} (version {})", event.key, event.version),
        Kind::ConfigChanged => format!("{} = {} (version {})", event.key, event.value, event.version),
        Kind::NodeLeft if event.evicted => {
            let asked_at = event.asked_at.as_ref().map_or_else(String::new, |node| names.name(node));
            let epoch = event.epoch;
            format!("{} was evicted, asked for at {asked_at} (epoch {epoch})", node_name(event, names))
        }
        Kind::NodeLeft if event.epoch > 0 => {
            format!("{} left of its own accord (epoch {})", node_name(event, names), event.epoch)
        }
        Kind::ModeChanged => event.standing.as_ref().map_or_else(String::new, standing_text),
        Kind::Recovery => recovery_text(event, names),
        Kind::NodeKeyChanged => {
            let what = if event.retired { "in place of the one before" } else { "beside the one it has" };
            let (key, rotation) = (fingerprint(&event.node_key), event.rotation);
            format!("{} has key {key} {what} (rotation {rotation})", node_name(event, names))
        }
        Kind::StreamOpened | Kind::StreamClosed => event.name.clone(),
        Kind::UpdateCommitted => {
            format!("{} update {}", updates::kind_name(event.update_kind()), event.update_number)
        }
        Kind::Missed => format!("{} events were not read in time and are lost", event.missed),
        _ => node_name(event, names),
    };
    format!("{kind}: {what}")
}

fn recovery_text(event: &MeshEvent, names: &Names) -> String {
    let asked_at = event.asked_at.as_ref().map_or_else(String::new, |node| names.name(node));
    let (attempt, epoch, lost) = (event.attempt, event.epoch, event.lost.join(", "));
    match event.stage.as_str() {
        "fenced" => format!(
            "this node takes part in attempt {attempt}, ordered at {asked_at}: it decides nothing until that comes to its end (lost: {lost})"
        ),
        "withdrawn" => format!("attempt {attempt}, ordered at {asked_at}, took back what was under way"),
        "recovered" => format!(
            "attempt {attempt}, ordered at {asked_at}: the mesh goes on at epoch {epoch} without {lost}"
        ),
        _ => format!(
            "attempt {attempt}, ordered at {asked_at}, went on without this node at epoch {epoch}: `wattle status` says more"
        ),
    }
}

fn json(event: &MeshEvent, names: &Names) -> Value {
    let mut line = Map::new();
    line.insert("kind".to_owned(), kind_name(event.kind()).into());
    line.insert("time".to_owned(), event.time.into());
    let mut with = |key: &str, value: Value| drop(line.insert(key.to_owned(), value));
    match event.kind() {
        Kind::LeaderChanged => {
            with("leader", event.node.as_ref().map(|node| names.name(node)).into());
            with("term", event.term.into());
            with("here", event.here.into());
        }
        Kind::RoleChanged => {
            with("stream", event.stream_instance.as_ref().map(|instance| id_text(instance)).into());
            with("role", event.role.clone().into());
            with("term", event.term.into());
        }
        Kind::ConfigChanged => {
            with("key", event.key.clone().into());
            with("value", Some(event.value.clone()).filter(|value| !value.is_empty()).into());
            with("version", event.version.into());
            with("deleted", event.deleted.into());
        }
        Kind::ModeChanged => {
            let standing = event.standing.unwrap_or_default();
            with("mode", mode_name(standing.mode()).into());
            with("unreachable", standing.unreachable.into());
            with("members", standing.members.into());
            with("quorum", standing.quorum.into());
        }
        Kind::NodeLeft => {
            with("node", node_name(event, names).into());
            with("id", event.node.as_ref().map(|node| id_text(node)).into());
            with("evicted", event.evicted.into());
            with("epoch", event.epoch.into());
            with("asked_at", event.asked_at.as_ref().map(|node| names.name(node)).into());
        }
        Kind::NodeKeyChanged => {
            with("node", node_name(event, names).into());
            with("id", event.node.as_ref().map(|node| id_text(node)).into());
            with("key", fingerprint(&event.node_key).into());
            with("rotation", event.rotation.into());
            with("retired", event.retired.into());
        }
        Kind::Recovery => {
            with("stage", event.stage.clone().into());
            with("attempt", event.attempt.into());
            with("epoch", event.epoch.into());
            with("asked_at", event.asked_at.as_ref().map(|node| names.name(node)).into());
            with("lost", event.lost.clone().into());
        }
        Kind::StreamOpened | Kind::StreamClosed => {
            with("stream", event.name.clone().into());
            with("instance", event.stream_instance.as_ref().map(|instance| id_text(instance)).into());
        }
        Kind::UpdateCommitted => {
            with("updates", updates::kind_name(event.update_kind()).into());
            with("number", event.update_number.into());
        }
        Kind::Missed => with("missed", event.missed.into()),
        _ => {
            with("node", node_name(event, names).into());
            with("id", event.node.as_ref().map(|node| id_text(node)).into());
        }
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_called_alike_where_they_are_asked_for_and_where_they_are_printed() {
        for named in Named::value_variants() {
            let asked = named.to_possible_value().expect("none is hidden");
            assert_eq!(asked.get_name(), kind_name(Kind::from(*named)));
        }
    }

    #[test]
    fn an_event_is_a_line_for_people_and_an_object_for_programs() {
        let names = Names::default();
        let missed = MeshEvent { missed: 5, kind: Kind::Missed.into(), ..MeshEvent::default() };
        assert_eq!(text(&missed, &names), "missed: 5 events were not read in time and are lost");
        let joined =
            MeshEvent { kind: Kind::NodeJoined.into(), name: "b".to_owned(), ..MeshEvent::default() };
        assert_eq!(text(&joined, &names), "node-joined: b");
        assert_eq!(json(&joined, &names)["node"], "b");
        let left = MeshEvent { kind: Kind::NodeLeft.into(), name: "c".to_owned(), ..MeshEvent::default() };
        assert_eq!(text(&left, &names), "node-left: c");
        let left = MeshEvent { epoch: 2, ..left };
        assert_eq!(text(&left, &names), "node-left: c left of its own accord (epoch 2)");
        let evicted = MeshEvent { evicted: true, asked_at: Some(vec![0; 16].into()), ..left };
        assert!(text(&evicted, &names).starts_with("node-left: c was evicted, asked for at "));
        assert_eq!(json(&evicted, &names)["evicted"], true);
        let written = MeshEvent {
            kind: Kind::ConfigChanged.into(),
            key: "limits/upload".to_owned(),
            version: 9,
            ..MeshEvent::default()
        };
        assert_eq!(text(&written, &names), "config-changed: limits/upload (version 9)");
        assert_eq!(json(&written, &names)["value"], Value::Null);
        let gone = MeshEvent { deleted: true, ..written };
        assert_eq!(text(&gone, &names), "config-changed: limits/upload is gone (version 9)");
        let recovered = MeshEvent {
            kind: Kind::Recovery.into(),
            stage: "recovered".to_owned(),
            attempt: 2,
            epoch: 5,
            lost: vec!["b".to_owned(), "c".to_owned()],
            ..MeshEvent::default()
        };
        assert!(text(&recovered, &names).ends_with("the mesh goes on at epoch 5 without b, c"));
        assert_eq!(json(&recovered, &names)["lost"][1], "c");
        let nobody = MeshEvent { kind: Kind::LeaderChanged.into(), term: 3, ..MeshEvent::default() };
        assert_eq!(text(&nobody, &names), "leader-changed: nobody leads the control group in term 3");
        assert_eq!(json(&nobody, &names)["leader"], Value::Null);
    }
}
