//! One node with everything around it: its API, its token, its address file, its events in the log.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tracing::Instrument as _;
use wattle_core::event::MeshEvent;
use wattle_core::id::GroupId;
use wattle_core::node::command::Command;
use wattle_core::node::output::{Event, MeshMode, Standing};
use wattle_io::{Running, StopReason};

use crate::address::{Address, Directory, Published};
use crate::api::{Api, Token};
use crate::client::Failure;
use crate::handlers::{Handlers, Prepared};
use crate::settings::HandlerSettings;

/// How long a node may take to hand over what it leads and to tell the others that it goes.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// A node that runs in this process.
#[derive(Debug)]
pub struct Serving {
    /// The node.
    pub running: Running,
    /// What its address file says.
    pub address: Address,
    api: Api,
    handlers: Handlers,
    published: Published,
}

impl Serving {
    /// Starts a node and serves its API.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub async fn start(
        mut settings: wattle_io::Settings,
        handlers: Vec<HandlerSettings>,
        api_listen: SocketAddr,
        directory: &Directory,
    ) -> Result<Self, String> {
        // The node tells others where its API is, so the port must be known before it starts.
        let listener = TcpListener::bind(api_listen).await.map_err(|error| {
            format!(
                "the API cannot listen on {api_listen}: {error}; choose another address with [api] listen (port 0 takes any free one)"
            )
        })?;
        let api_address =
            listener.local_addr().map_err(|error| format!("the API has no address: {error}"))?;
        settings.api = Some(api_address.to_string());
        let data_dir = settings.data_dir.clone();
        let running = Running::start(settings).await.map_err(|error| error.to_string())?;
        match Self::around(running.clone(), handlers, listener, &data_dir, directory) {
            Ok(serving) => Ok(serving),
            Err(error) => {
                running.stop().await;
                Err(error)
            }
        }
    }

    fn around(
        running: Running,
        handlers: Vec<HandlerSettings>,
        listener: TcpListener,
        data_dir: &std::path::Path,
        directory: &Directory,
    ) -> Result<Self, String> {
        // The directory is this node's by now.
        let handlers = Prepared::open(handlers, data_dir)?;
        let (token, token_path) =
            Token::of_directory(data_dir).map_err(|error| format!("cannot keep an API token: {error}"))?;
        let token_path = token_path.canonicalize().unwrap_or(token_path);
        let api_address =
            listener.local_addr().map_err(|error| format!("the API has no address: {error}"))?;
        let address = Address {
            name: running.name().to_owned(),
            id: running.node_id().to_string(),
            api: api_address.to_string(),
            token: token_path,
            pid: std::process::id(),
        };
        // Before anybody is answered: whoever was answered finds the node by its name, too.
        let published = directory.publish(&address).map_err(|error| {
            format!("cannot leave an address file in {}: {error}", directory.path().display())
        })?;
        let api = running
            .span()
            .in_scope(|| Api::serve(listener, running.clone(), handlers.configured(), &token))
            .map_err(|error| format!("the API: {error}"))?;
        log_events(&running);
        let handlers = handlers.run(&running);
        Ok(Self { running, address, api, handlers, published })
    }

    /// Waits until the node stops by itself, and says why.
    pub async fn stopped(&self) -> StopReason {
        self.running.stopped().await
    }

    /// Waits until the node finds that it exists twice, or that its key is retired, and says what happened and what to do.
    pub async fn barred(&self) -> Failure {
        let mut events = self.running.events();
        loop {
            // What it knew when it started was said before anybody listened.
            let status = self.running.status().await;
            let (twice, retired) =
                status.map(|status| (status.duplicate, status.key_retired)).unwrap_or_default();
            if let Some(failure) = twice.map(Failure::Duplicate).or(retired.map(Failure::Failed)) {
                return failure;
            }
            loop {
                match events.recv().await {
                    Ok(Event::DuplicateIdentity { why, .. }) => return Failure::Duplicate(why),
                    Ok(Event::KeyRetired { why }) => return Failure::Failed(why),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return std::future::pending().await,
                }
            }
        }
    }

    /// Stops the node, which tells the mesh that it goes and ends open calls with a reason, then the API, and removes the address file.
    pub async fn stop(self) {
        self.handlers.stop().await;
        let mut gone = self.running.command(Command::StopMesh { lasting: false });
        if tokio::time::timeout(LEAVE_WITHIN, gone.next()).await.is_err() {
            tracing::warn!("the node stops without having told the mesh");
        }
        self.running.stop().await;
        self.api.stop().await;
        drop(self.published);
    }
}

/// Writes the node's events to the log. The task ends with the node.
fn log_events(running: &Running) {
    let mut events = running.events();
    let log = async move {
        loop {
            match events.recv().await {
                Ok(event) => log_event(&event),
                Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "events were lost"),
                Err(RecvError::Closed) => return,
            }
        }
    };
    tokio::spawn(log.instrument(running.span().clone()));
}

fn log_event(event: &Event) {
    match event {
        Event::LinkUp { node } => tracing::info!(neighbour = %node, "link up"),
        Event::LinkDown { node } => tracing::info!(neighbour = %node, "link down"),
        Event::PeerStarted { node, boot } => {
            tracing::info!(peer = %node, start = %boot, "a start of a peer is heard")
        }
        Event::PeerRefused { node, reason } => {
            let peer = node.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            tracing::warn!(peer, ?reason, "peer refused");
        }
        Event::RoleChanged { group, role, term } => {
            tracing::info!(group = named(*group), role, %term, "role changed");
        }
        Event::Amnesia { group, node, what } => {
            tracing::error!(group = named(*group), replica_on = %node, what, "a disk was rolled back");
        }
        Event::GroupStopped { group, reason } => {
            tracing::error!(group = named(*group), reason, "a group stopped and needs an operator");
        }
        Event::StateTooLarge { stream, node, bytes, limit } => {
            tracing::error!(
                stream,
                behind = %node,
                bytes,
                limit,
                "the state of a stream is too large to be sent to a node that is behind its log: open another stream"
            );
        }
        Event::Parked { stream, sequence, attempts, reason } => {
            tracing::warn!(stream, %sequence, attempts, reason, "a message is parked, for its handler failed at it: `wattle stream parked list`");
        }
        Event::Unparked { stream, sequence, discarded: None } => {
            tracing::info!(stream, %sequence, "a message that was parked is processed");
        }
        Event::Unparked { stream, sequence, discarded: Some(reason) } => {
            tracing::warn!(target: "wattle::audit", stream, %sequence, reason, "a parked message was discarded");
        }
        Event::ParkedDropped { stream, count } => {
            tracing::warn!(stream, count, "messages that were parked went with the stream");
        }
        Event::Mesh(MeshEvent::NodeKeyChanged { node, name, key, number, retired }) => {
            let (key, rotation) = (key.first_node_id(), number);
            tracing::info!(target: "wattle::audit", %node, name, %key, rotation, retired, "the key of a member changed");
        }
        Event::Mesh(event) => tracing::debug!(?event, "the mesh"),
        Event::KeyRetired { why } | Event::DuplicateIdentity { why, .. } => tracing::error!("{why}"),
        Event::Parted { mesh, left: true, .. } => tracing::info!(%mesh, "this node left its mesh"),
        Event::Parted { mesh, left: false, why } => tracing::error!(%mesh, "{why}"),
        Event::ModeChanged(Standing { mode: MeshMode::Critical, unreachable, members, quorum }) => {
            tracing::error!(
                unreachable,
                members,
                quorum,
                "the mesh is CRITICAL: its configuration cannot change"
            );
        }
        Event::ModeChanged(Standing { mode: MeshMode::Degraded, unreachable, members, .. }) => {
            tracing::warn!(unreachable, members, "the mesh is DEGRADED");
        }
        Event::ModeChanged(Standing { mode: MeshMode::Healthy, .. }) => tracing::info!("the mesh is HEALTHY"),
        Event::Space { accepting: true } => tracing::info!("there is space again: publishing is accepted"),
        Event::Space { accepting: false } => {
            tracing::error!("the disk is nearly full: nothing new is accepted; what was accepted is safe");
        }
    }
}

fn named(group: GroupId) -> String {
    if group == GroupId::CONTROL { "control".to_owned() } else { group.to_string() }
}
