//! Whose streams are, and `wattle stream pause`, `resume` and `throttle`.

use clap::{Args, ValueEnum};
use wattle_proto::api::flow_scope::Which;
use wattle_proto::api::{
    ErrorDetail, FlowScope, PauseClientDataStreamRequest, Reason, ResumeClientDataStreamRequest, StreamFlow,
    StreamQos, StreamStatus, ThrottleClientDataStreamRequest,
};

use super::commands::Desk;
use crate::client::{Client, Failure, connect, follow};
use crate::output::{Names, flow};

/// Whose a stream that is named must be.
#[derive(Args, Debug)]
pub(super) struct TenantArgs {
    /// Whose the stream must be: if it is another tenant's, nothing is done
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl TenantArgs {
    /// As messages have it: empty for anybody's.
    pub(super) fn tenant(&self) -> String {
        self.tenant.clone().unwrap_or_default()
    }
}

/// Refuses a stream that is another tenant's.
pub(super) fn is_of(stream: &StreamStatus, tenant: &str) -> Result<(), Failure> {
    if tenant.is_empty() || stream.tenant == tenant {
        return Ok(());
    }
    let detail = ErrorDetail { reason: Reason::WrongTenant.into(), ..ErrorDetail::default() };
    let message = format!(
        "stream {:?} is tenant {}'s, not {tenant}'s: name the stream that you mean, or its own tenant (--tenant {}), or none",
        stream.name, stream.tenant, stream.tenant
    );
    Err(Failure::Refused { message, detail: Box::new(detail) })
}

/// The classes of service that a stream may be opened with.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Qos {
    /// Much, and not urgent
    #[default]
    #[value(name = "BULK", alias = "bulk")]
    Bulk,
    /// Urgent
    #[value(name = "PRIORITY", alias = "priority")]
    Priority,
}

impl From<Qos> for i32 {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::Bulk => StreamQos::Bulk.into(),
            Qos::Priority => StreamQos::Priority.into(),
        }
    }
}

fn qos(text: &str) -> Result<Qos, String> {
    if text.eq_ignore_ascii_case("system") {
        return Err(
            "SYSTEM is the class of what the mesh itself says, and no stream's: take PRIORITY or BULK"
                .to_owned(),
        );
    }
    Qos::from_str(text, true).map_err(|_| "take BULK or PRIORITY".to_owned())
}

/// What a stream is opened with beside its ends.
#[derive(Args, Debug)]
pub(super) struct RankArgs {
    /// Whose the stream is: 1 to 64 characters out of A-Z a-z 0-9 . _ -; without it, it is the tenant's called "default"
    #[arg(long, value_name = "TENANT")]
    pub(super) tenant: Option<String>,
    /// Its class of service: BULK or PRIORITY
    #[arg(long, value_name = "CLASS", default_value = "BULK", value_parser = qos)]
    pub(super) qos: Qos,
    /// Its priority: higher is more important
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(super) priority: i32,
}

/// Which streams.
#[derive(Args, Debug)]
pub(super) struct FlowArgs {
    /// The stream of that name
    #[arg(required_unless_present_any = ["tenant", "priority_below"])]
    name: Option<String>,
    /// All streams of that tenant; beside a name: whose that stream must be
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// All streams whose priority is below that
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with_all = ["name", "tenant"])]
    priority_below: Option<i32>,
}

impl FlowArgs {
    /// Which streams, and whose a named one must be.
    fn scope(self) -> (Option<FlowScope>, String) {
        let (which, tenant) = match self {
            Self { priority_below: Some(priority), .. } => (Some(Which::PriorityBelow(priority)), None),
            Self { name: Some(name), tenant, .. } => (Some(Which::Name(name)), tenant),
            Self { tenant, .. } => (tenant.map(Which::Tenant), None),
        };
        (which.map(|which| FlowScope { which: Some(which) }), tenant.unwrap_or_default())
    }
}

/// `wattle stream throttle`.
#[derive(Args, Debug)]
pub(super) struct ThrottleArgs {
    #[command(flatten)]
    which: FlowArgs,
    /// Messages a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), required_unless_present_any = ["bytes", "off"])]
    messages: Option<u64>,
    /// Bytes of messages a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    bytes: Option<u64>,
    /// Take the bound away
    #[arg(long, conflicts_with_all = ["messages", "bytes"])]
    off: bool,
}

impl Desk {
    pub(super) async fn pause(&self, arguments: FlowArgs) -> Result<(), Failure> {
        let (scope, tenant) = arguments.scope();
        let request = PauseClientDataStreamRequest { scope, tenant };
        self.change_flow(async |client| {
            let (peer, request) = (client.peer.clone(), request.clone());
            connect::answer(&peer, client.data.pause_client_data_stream(request)).await
        })
        .await
    }

    pub(super) async fn resume(&self, arguments: FlowArgs) -> Result<(), Failure> {
        let (scope, tenant) = arguments.scope();
        let request = ResumeClientDataStreamRequest { scope, tenant };
        self.change_flow(async |client| {
            let (peer, request) = (client.peer.clone(), request.clone());
            connect::answer(&peer, client.data.resume_client_data_stream(request)).await
        })
        .await
    }

    pub(super) async fn throttle(&self, arguments: ThrottleArgs) -> Result<(), Failure> {
        let ThrottleArgs { which, messages, bytes, off } = arguments;
        let (scope, tenant) = which.scope();
        let (messages, bytes) = (messages.unwrap_or_default(), bytes.unwrap_or_default());
        let request = ThrottleClientDataStreamRequest { scope, tenant, messages, bytes, off };
        self.change_flow(async |client| {
            let (peer, request) = (client.peer.clone(), request.clone());
            connect::answer(&peer, client.data.throttle_client_data_stream(request)).await
        })
        .await
    }

    /// Asks for a change, and tells what came of it.
    async fn change_flow(
        &self,
        ask: impl AsyncFn(&mut Client) -> Result<StreamFlow, Failure>,
    ) -> Result<(), Failure> {
        let peers = self.finder.peers(None).await?;
        let (told, mut client) = follow(&self.finder, peers, async |client| ask(client).await).await?;
        let names = client.status().await.map(|seen| Names::of(&seen)).unwrap_or_default();
        self.output.print(|| flow::told_text(&told, &names), || flow::told_json(&told, &names));
        Ok(())
    }
}
