//! `wattle update`: sending updates to all members, and processing them.

use std::io::Read;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wattle_core::digest::Digest;
use wattle_core::id::UpdateId;
use wattle_proto::api::subscribe_updates_request::Request;
use wattle_proto::api::subscribe_updates_response::Response;
use wattle_proto::api::update_item::Item;
use wattle_proto::api::{
    AcknowledgeUpdates, AttachUpdates, BroadcastResult, FindUpdateRequest, NodeDescription, NodeUpdate,
    SendUpdateRequest, SetUpdatePolicyRequest, SubscribeNodeUpdatesRequest, SubscribeUpdatesRequest,
    SubscribeUpdatesResponse, UpdateItem, UpdateKind, UpdateState,
};

use super::commands::Desk;
use crate::api::convert::id_text;
use crate::client::{Client, Failure, connect, follow};
use crate::stop::Stop;

/// What can be done with updates.
#[derive(Debug, Subcommand)]
pub(super) enum UpdateCommand {
    /// Send an update: every member is handed it, also those that are away, all in one order
    ///
    /// An update has up to 32 KiB. Sending it again under the id it had never doubles it: the answer tells the same number.
    Send(SendArgs),
    /// Print the updates that the asked node's handler has not processed, and acknowledge what was printed
    ///
    /// Of kind node it prints what every member says of itself, and then what changes; there is nothing to acknowledge.
    ///
    /// The node keeps the place. Updates are kept until the handlers of all members have processed them: a node on which nobody
    /// subscribes holds up the history. Of several subscribers of one kind at a node the newest is served.
    Subscribe(SubscribeArgs),
    /// Say what the asked node is: it replaces what the node said before, and every member is told
    ///
    /// For people, filters and placement: all texts together have up to 1,024 bytes. `wattle update subscribe node` shows what members say.
    Describe(DescribeArgs),
    /// Tell what became of an update that was sent at the asked node
    Find {
        /// Its kind
        #[arg(value_enum)]
        kind: Kind,
        /// What `update send` printed, or the name that was given as --id
        id: String,
    },
    /// Set what happens when as many updates are kept as may be
    Policy {
        /// Which kind
        #[arg(value_enum)]
        kind: Kind,
        /// What happens
        #[arg(value_enum)]
        policy: Policy,
    },
}

/// A class of updates.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Kind {
    /// What concerns the mesh: also called system updates
    #[value(alias = "system")]
    Mesh,
    /// Changes of an application's database
    Db,
}

impl From<Kind> for UpdateKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Mesh => Self::Mesh,
            Kind::Db => Self::Database,
        }
    }
}

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Subscribed {
    /// What members say of themselves
    Node,
    /// What concerns the mesh: also called system updates
    #[value(alias = "system")]
    Mesh,
    /// Changes of an application's database
    Db,
}

#[derive(Args, Debug)]
pub(super) struct DescribeArgs {
    /// How it is, in a few words
    #[arg(long, value_name = "TEXT", default_value = "")]
    status: String,
    /// Keeps things that belong together on nodes of one tag
    #[arg(long, value_name = "TAG", default_value = "")]
    tag: String,
    /// What it is there for; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// What it can do; may be given several times
    #[arg(long = "capability", value_name = "CAPABILITY")]
    capabilities: Vec<String>,
    /// Anything else; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What happens when as many updates are kept as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Policy {
    /// Senders are refused until the members behind have processed
    Wait,
    /// The oldest go, and members that had not processed them are told of the gap
    PassOver,
}

#[derive(Args, Debug)]
pub(super) struct SendArgs {
    /// Its kind
    #[arg(value_enum)]
    kind: Kind,
    /// What it is about, up to 128 bytes
    key: String,
    /// What it says; standard input if absent or `-`
    payload: Option<String>,
    /// The same for every repeat: 26 characters or any name
    #[arg(long, value_name = "ID|NAME")]
    id: Option<String>,
    /// The last number known when the id was first used: a repeat that comes too late to be recognised is refused then
    #[arg(long, value_name = "NUMBER", requires = "id")]
    after: Option<u64>,
    /// Do not wait until it is agreed on; `update find` tells what became of it
    #[arg(long)]
    no_wait: bool,
}

#[derive(Args, Debug)]
pub(super) struct SubscribeArgs {
    /// Which kind
    #[arg(value_enum)]
    kind: Subscribed,
    /// End after that many updates
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How many updates may be under way to here
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
}

/// The id that a text stands for: written out, or made from a name.
fn read_id(text: &str) -> UpdateId {
    UpdateId::parse(text).unwrap_or_else(|| {
        let digest = Digest::of_bytes(format!("wattle update: {text}").as_bytes());
        let start = digest.0.first_chunk().copied().unwrap_or_default();
        UpdateId(u128::from_be_bytes(start))
    })
}

impl Desk {
    pub(super) async fn update(&self, command: UpdateCommand) -> Result<(), Failure> {
        match command {
            UpdateCommand::Send(arguments) => self.send_update(arguments).await,
            UpdateCommand::Subscribe(SubscribeArgs { kind, count, window }) => match kind {
                Subscribed::Node => self.subscribe_nodes(count).await,
                Subscribed::Mesh => self.subscribe_updates(Kind::Mesh, count, window).await,
                Subscribed::Db => self.subscribe_updates(Kind::Db, count, window).await,
            },
            UpdateCommand::Describe(arguments) => self.describe(arguments).await,
            UpdateCommand::Find { kind, id } => self.find_update(kind, &id).await,
            UpdateCommand::Policy { kind, policy } => self.set_update_policy(kind, policy).await,
        }
    }

    async fn send_update(&self, arguments: SendArgs) -> Result<(), Failure> {
        let SendArgs { kind, key, payload, id, after, no_wait } = arguments;
        let payload = match payload.filter(|text| text != "-") {
            Some(text) => text.into_bytes(),
            None => {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut bytes)
                    .map_err(|error| Failure::Failed(format!("cannot read the update: {error}")))?;
                bytes
            }
        };
        let id = id.map(|text| read_id(&text).to_bytes().to_vec()).unwrap_or_default();
        let request = SendUpdateRequest { key, payload: payload.into(), id: id.into(), after, no_wait };
        let peers = self.finder.peers(None).await?;
        let (result, _) = follow(&self.finder, peers, async |client| {
            let (peer, request) = (client.peer.clone(), request.clone());
            match kind {
                Kind::Mesh => connect::answer(&peer, client.mesh.send_mesh_update(request)).await,
                Kind::Db => connect::answer(&peer, client.mesh.send_internal_db_update(request)).await,
            }
        })
        .await?;
        self.output.print(|| result_text(&result), || result_json(&result));
        Ok(())
    }

    async fn find_update(&self, kind: Kind, id: &str) -> Result<(), Failure> {
        let request = FindUpdateRequest {
            kind: UpdateKind::from(kind).into(),
            id: read_id(id).to_bytes().to_vec().into(),
        };
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer.clone()).await?;
        let result = connect::answer(&peer, client.mesh.find_update(request)).await?;
        self.output.print(|| result_text(&result), || result_json(&result));
        Ok(())
    }

    async fn set_update_policy(&self, kind: Kind, policy: Policy) -> Result<(), Failure> {
        let pass_over = policy == Policy::PassOver;
        let request = SetUpdatePolicyRequest { kind: UpdateKind::from(kind).into(), pass_over };
        let peers = self.finder.peers(None).await?;
        follow(&self.finder, peers, async |client| {
            let peer = client.peer.clone();
            connect::answer(&peer, client.mesh.set_update_policy(request)).await
        })
        .await?;
        self.output.print(
            || {
                let done = if pass_over { "may be passed over" } else { "hold up a full history" };
                format!("Members behind with {} updates {done} now.", kind_name(kind))
            },
            || json!({ "kind": kind_name(kind), "pass_over": pass_over }),
        );
        Ok(())
    }

    async fn describe(&self, arguments: DescribeArgs) -> Result<(), Failure> {
        let DescribeArgs { status, tag, roles, capabilities, attributes } = arguments;
        let attributes = attributes.into_iter().collect();
        let description = NodeDescription { status, tag, roles, capabilities, attributes };
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer.clone()).await?;
        let result = connect::answer(&peer, client.mesh.send_node_update(description)).await?;
        self.output.print(
            || format!("{peer} says so now."),
            || json!({ "state": state_name(result.state()), "counter": result.number }),
        );
        Ok(())
    }

    async fn subscribe_nodes(&self, count: Option<u64>) -> Result<(), Failure> {
        let mut stop = Stop::on_signals()
            .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
        let mut client = Client::connect(self.finder.only().await?).await?;
        let mut updates =
            client.data.subscribe_node_updates(SubscribeNodeUpdatesRequest {}).await?.into_inner();
        for _ in 0..count.unwrap_or(u64::MAX) {
            let update = tokio::select! {
                update = updates.message() => update.map_err(Failure::from)?,
                () = stop.asked() => break,
            };
            let Some(update) = update else {
                return Err(Failure::Unreachable("the node ended the call".to_owned()));
            };
            self.output.print(|| node_text(&update), || node_json(&update));
        }
        Ok(())
    }

    async fn subscribe_updates(&self, kind: Kind, count: Option<u64>, window: u32) -> Result<(), Failure> {
        let mut stop = Stop::on_signals()
            .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer).await?;
        let mut call = Call::open(&mut client, kind, window).await?;
        let mut left = count.unwrap_or(u64::MAX);
        while left > 0 {
            let response = tokio::select! {
                response = call.responses.message() => response.map_err(Failure::from)?,
                () = stop.asked() => break,
            };
            let Some(SubscribeUpdatesResponse { response: Some(Response::Updates(batch)) }) = response else {
                return Err(Failure::Unreachable("the node ended the call".to_owned()));
            };
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let mut upto = 0;
            for item in batch.items.into_iter().take(wanted) {
                upto = item_last(&item).max(upto);
                left -= 1;
                self.output.print(|| item_text(&item), || item_json(&item));
            }
            // What was printed is processed. If the connection broke, the next response says so.
            let acknowledge = Request::Acknowledge(AcknowledgeUpdates { upto });
            let _ = call.requests.send(SubscribeUpdatesRequest { request: Some(acknowledge) }).await;
        }
        call.leave().await;
        Ok(())
    }
}

/// A handler's call.
struct Call {
    requests: mpsc::Sender<SubscribeUpdatesRequest>,
    responses: Streaming<SubscribeUpdatesResponse>,
}

impl Call {
    async fn open(client: &mut Client, kind: Kind, window: u32) -> Result<Self, Failure> {
        let (requests, outgoing) = mpsc::channel(64);
        let attach = SubscribeUpdatesRequest { request: Some(Request::Attach(AttachUpdates { window })) };
        requests.send(attach).await.map_err(|_| Failure::Unreachable("the connection broke".to_owned()))?;
        let outgoing = ReceiverStream::new(outgoing);
        let responses = match kind {
            Kind::Mesh => client.data.subscribe_mesh_updates(outgoing).await?,
            Kind::Db => client.data.subscribe_internal_db_updates(outgoing).await?,
        };
        let mut responses = responses.into_inner();
        match responses.message().await? {
            Some(SubscribeUpdatesResponse { response: Some(Response::Attached(_)) }) => {
                Ok(Self { requests, responses })
            }
            _ => Err(Failure::Unreachable(format!("{} ended the call", client.peer))),
        }
    }

    /// Lets the node read all acknowledgements before the connection goes.
    async fn leave(self) {
        let Self { requests, mut responses } = self;
        drop(requests);
        let ended = async { while let Ok(Some(_)) = responses.message().await {} };
        // A node that does not answer hands the last updates over again; that is what was promised.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), ended).await;
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Mesh => "mesh",
        Kind::Db => "db",
    }
}

fn state_name(state: UpdateState) -> &'static str {
    match state {
        UpdateState::Unspecified | UpdateState::Unknown => "unknown",
        UpdateState::Pending => "pending",
        UpdateState::Committed => "committed",
        UpdateState::Failed => "failed",
    }
}

fn result_text(result: &BroadcastResult) -> String {
    let id = id_text(&result.id);
    match result.state() {
        UpdateState::Committed => {
            let before = if result.repeated { ", as it was before" } else { "" };
            format!("Update {id} is number {}{before}.", result.number)
        }
        UpdateState::Pending => format!("Update {id} is on its way."),
        UpdateState::Failed => format!("Update {id} failed: {}.", result.failure),
        UpdateState::Unknown | UpdateState::Unspecified => {
            format!("Update {id} is not known here: send it again under this id, which never doubles it.")
        }
    }
}

fn result_json(result: &BroadcastResult) -> Value {
    let committed = result.state() == UpdateState::Committed;
    json!({
        "id": id_text(&result.id), "state": state_name(result.state()),
        "number": committed.then_some(result.number), "repeated": result.repeated,
        "failure": (!result.failure.is_empty()).then_some(&result.failure),
    })
}

fn item_last(item: &UpdateItem) -> u64 {
    match &item.item {
        Some(Item::Update(update)) => update.number,
        Some(Item::Gap(gap)) => gap.last,
        None => 0,
    }
}

fn item_text(item: &UpdateItem) -> String {
    match &item.item {
        Some(Item::Update(update)) => {
            format!("{} {} {}", update.number, update.key, String::from_utf8_lossy(&update.payload))
        }
        Some(Item::Gap(gap)) => {
            format!("{}-{} were let go before this node processed them", gap.first, gap.last)
        }
        None => String::new(),
    }
}

fn item_json(item: &UpdateItem) -> Value {
    match &item.item {
        Some(Item::Update(update)) => {
            let mut line = json!({
                "number": update.number, "id": id_text(&update.id), "origin": id_text(&update.origin),
                "key": update.key, "time": update.time,
            });
            match std::str::from_utf8(&update.payload) {
                Ok(text) => line["text"] = text.into(),
                Err(_) => line["bytes"] = update.payload.to_vec().into(),
            }
            line
        }
        Some(Item::Gap(gap)) => json!({ "gap": { "first": gap.first, "last": gap.last } }),
        None => Value::Null,
    }
}

fn node_text(update: &NodeUpdate) -> String {
    let Some(said) = update.description.as_ref().filter(|_| !update.gone) else {
        let what = if update.gone { "is no member any more" } else { "has said nothing of itself" };
        return format!("{} {what}", update.name);
    };
    let mut words = vec![update.name.clone()];
    let mut with = |label: &str, text: String| {
        if !text.is_empty() {
            words.push(format!("{label}={text}"));
        }
    };
    with("status", said.status.clone());
    with("tag", said.tag.clone());
    with("roles", said.roles.join(","));
    with("capabilities", said.capabilities.join(","));
    let attributes: std::collections::BTreeMap<_, _> = said.attributes.iter().collect();
    attributes.into_iter().for_each(|(key, value)| with(key, value.clone()));
    words.join(" ")
}

fn node_json(update: &NodeUpdate) -> Value {
    let said = update.description.as_ref().map(|said| {
        json!({
            "status": said.status, "tag": said.tag, "roles": said.roles, "capabilities": said.capabilities,
            "attributes": said.attributes,
        })
    });
    json!({
        "node": update.name, "id": id_text(&update.node), "gone": update.gone, "generation": update.generation,
        "counter": update.counter, "description": said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_printed_and_a_name_is_always_the_same_id() {
        assert_eq!(read_id(&UpdateId(77).to_string()), UpdateId(77));
        assert_eq!(read_id("row 5"), read_id("row 5"));
        assert_ne!(read_id("row 5"), read_id("row 6"));
    }

    #[test]
    fn what_a_node_says_of_itself_is_a_line_of_what_it_said() {
        let said = NodeDescription {
            status: "draining".to_owned(),
            roles: vec!["function".to_owned(), "edge".to_owned()],
            attributes: [("rack".to_owned(), "7".to_owned())].into(),
            ..NodeDescription::default()
        };
        let update = NodeUpdate { name: "a".to_owned(), description: Some(said), ..NodeUpdate::default() };
        assert_eq!(node_text(&update), "a status=draining roles=function,edge rack=7");
        assert_eq!(node_json(&update)["description"]["attributes"]["rack"], "7");
        let gone = NodeUpdate { gone: true, ..update };
        assert_eq!(node_text(&gone), "a is no member any more");
        assert!(attribute("rack").is_err());
        assert_eq!(attribute("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    }

    #[test]
    fn results_say_what_to_do_next() {
        let unknown = BroadcastResult { state: UpdateState::Unknown.into(), ..BroadcastResult::default() };
        assert!(result_text(&unknown).contains("never doubles"));
        assert_eq!(result_json(&unknown)["number"], Value::Null);
    }
}
