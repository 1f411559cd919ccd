//! Real `wattle run` processes on loopback, and clients of their API.
#![allow(unreachable_pub, dead_code, reason = "a module of each test that uses what it needs")]

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use wattle_proto::api::mesh_data_service_client::MeshDataServiceClient;
use wattle_proto::api::mesh_service_client::MeshServiceClient;
use wattle_proto::api::{
    Acknowledge, Attach, GetMeshStatusRequest, InviteToMeshRequest, JoinMeshRequest, Message,
    OpenClientDataStreamRequest, Position, SeedMeshRequest, StreamPolicy, SubscribeRequest,
    SubscribeResponse, subscribe_request, subscribe_response,
};

/// Adds the node's token to every call.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

impl Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub type Mesh = MeshServiceClient<InterceptedService<Channel, Token>>;
pub type Data = MeshDataServiceClient<InterceptedService<Channel, Token>>;

/// Where a node answers: the same before and after it was killed.
#[derive(Clone)]
pub struct Door {
    pub name: &'static str,
    token: PathBuf,
    api: SocketAddr,
}

impl Door {
    async fn channel(&self) -> Option<InterceptedService<Channel, Token>> {
        let token = std::fs::read_to_string(&self.token).ok()?;
        let token = Token(format!("Bearer {}", token.trim()).parse().ok()?);
        let endpoint = Endpoint::from_shared(format!("http://{}", self.api)).ok()?;
        let channel = endpoint.connect_timeout(Duration::from_secs(1)).connect().await.ok()?;
        Some(InterceptedService::new(channel, token))
    }

    /// A client of the data service, if the node answers now.
    pub async fn data(&self) -> Option<Data> {
        self.channel().await.map(MeshDataServiceClient::new)
    }

    /// A client of the mesh service, if the node answers now.
    pub async fn mesh(&self) -> Option<Mesh> {
        self.channel().await.map(MeshServiceClient::new)
    }
}

/// One node as a process that can be killed and started again.
pub struct Process {
    pub name: &'static str,
    node: wattle_node::process::Process,
}

impl Deref for Process {
    type Target = wattle_node::process::Process;

    fn deref(&self) -> &Self::Target {
        &self.node
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.node
    }
}

impl Process {
    /// Writes the configuration and starts the node.
    pub fn start(root: &Path, name: &'static str, listens: bool, dial: &[SocketAddr], extra: &str) -> Self {
        let mut process = Self::reserve(root, name);
        process.configure(listens, dial, extra);
        process.spawn();
        process
    }

    /// A directory and addresses for a node that is yet to be configured and started.
    pub fn reserve(root: &Path, name: &'static str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_wattle"));
        let node = wattle_node::process::Process::reserve(program, root, name).expect("free addresses");
        Self { name, node }
    }

    /// The same, in that network namespace, with these addresses for other nodes and for the API.
    pub fn within(namespace: &str, root: &Path, name: &'static str, addresses: [SocketAddr; 2]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_wattle"));
        let node = wattle_node::process::Process::within(namespace, program, root, name, addresses);
        Self { name, node: node.expect("a directory") }
    }

    /// Writes the configuration; the next start reads it.
    pub fn configure(&self, listens: bool, dial: &[SocketAddr], extra: &str) {
        self.node.configure(listens, dial, extra).expect("written");
    }

    /// Starts the process.
    pub fn spawn(&mut self) {
        self.spawn_with(&[]);
    }

    /// Starts the process with more arguments.
    pub fn spawn_with(&mut self, arguments: &[&str]) {
        self.node.spawn(arguments).expect("the program starts");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        signal("TERM", self.pid().expect("running"));
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let pid = self.pid().expect("running");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("running");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Waits until the process has ended by itself; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.node.ended() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} still runs: {}", self.name, self.log());
    }

    /// Whether the process is still there.
    pub fn alive(&mut self) -> bool {
        self.node.pid().is_some() && self.node.ended().is_none()
    }

    /// Where it answers.
    pub fn door(&self) -> Door {
        Door { name: self.name, token: self.token_file(), api: self.api }
    }

    /// A client of the data service, if the node answers now.
    pub async fn data(&self) -> Option<Data> {
        self.door().data().await
    }

    /// A client of the mesh service, if the node answers now.
    pub async fn mesh(&self) -> Option<Mesh> {
        self.door().mesh().await
    }

    /// A client of the mesh service, once the node answers.
    pub async fn ready(&self) -> Mesh {
        let start = Instant::now();
        loop {
            // It takes connections earlier than it answers, and is found by its name when it answers.
            if let Some(mut client) = self.mesh().await
                && let asked = client.get_mesh_status(GetMeshStatusRequest {})
                && let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), asked).await
            {
                return client;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{} does not answer: {}",
                self.name,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A handler of the stream `words`.
pub struct Handler {
    /// Messages start after it.
    pub position: Position,
    requests: mpsc::Sender<SubscribeRequest>,
    responses: Streaming<SubscribeResponse>,
}
impl Handler {
    /// Attaches to the target, which keeps the place.
    pub async fn attach(target: Data, window: u32) -> Self {
        Self::attach_at(target, None, window).await.expect("attached")
    }

    /// Attaches to the target; `None` if it refuses or does not answer.
    pub async fn attach_at(mut target: Data, presented: Option<Position>, window: u32) -> Option<Self> {
        let (requests, stream) = mpsc::channel(64);
        let attach = Attach { stream: "words".into(), presented, window, ..Attach::default() };
        let attach = SubscribeRequest { request: Some(subscribe_request::Request::Attach(attach)) };
        requests.send(attach).await.expect("room");
        let mut responses =
            target.subscribe_client_data(ReceiverStream::new(stream)).await.ok()?.into_inner();
        let subscribe_response::Response::Attached(attached) = responses.message().await.ok()??.response?
        else {
            panic!("the first response tells the place")
        };
        Some(Self { position: attached.position.expect("always said"), requests, responses })
    }

    /// The next messages; `None` when the call is over.
    pub async fn next(&mut self) -> Option<Vec<Message>> {
        match self.responses.message().await.ok()??.response? {
            subscribe_response::Response::Messages(batch) => Some(batch.messages),
            subscribe_response::Response::Attached(_) => panic!("a call attaches once"),
            subscribe_response::Response::Failed(_) => panic!("nothing failed"),
        }
    }

    /// Is done with everything up to `last`. `false` when the call is over.
    pub async fn acknowledge(&self, last: u64) -> bool {
        let request = subscribe_request::Request::Acknowledge(Acknowledge { first: 0, last });
        self.requests.send(SubscribeRequest { request: Some(request) }).await.is_ok()
    }
}

/// Three nodes in a line: a listens, b listens and dials a, c only dials b. Seeded, joined, with the stream `words` from a to c.
pub async fn line(root: &Path, extra: &str) -> [Process; 3] {
    line_to(root, extra, &["c"], None).await
}

/// The same, with the stream from a to these.
pub async fn line_to(
    root: &Path,
    extra: &str,
    targets: &[&str],
    complete: Option<StreamPolicy>,
) -> [Process; 3] {
    let a = Process::start(root, "a", true, &[], extra);
    let b = Process::start(root, "b", true, &[a.mesh_address], extra);
    let c = Process::start(root, "c", false, &[b.mesh_address], extra);
    open_words([a, b, c], targets, complete).await
}

/// Three nodes that were started become a mesh, b through a and c through b, with the stream `words` from a to these.
pub async fn open_words(
    [a, b, c]: [Process; 3],
    targets: &[&str],
    complete: Option<StreamPolicy>,
) -> [Process; 3] {
    let mut at_a = a.ready().await;
    let seeded = at_a.seed_mesh(SeedMeshRequest { name: "test".into() }).await.expect("seeded").into_inner();
    let mut at_b = b.ready().await;
    at_b.join_mesh(JoinMeshRequest { token: seeded.token }).await.expect("b joins");
    let invited = at_b.invite_to_mesh(InviteToMeshRequest {}).await.expect("a token").into_inner();
    let mut at_c = c.ready().await;
    at_c.join_mesh(JoinMeshRequest { token: invited.token }).await.expect("c joins through b");
    let open = OpenClientDataStreamRequest {
        name: "words".into(),
        source: "a".into(),
        targets: targets.iter().map(|&name| name.into()).collect(),
        complete,
        ..OpenClientDataStreamRequest::default()
    };
    let mut data = a.data().await.expect("a answers");
    data.open_client_data_stream(open).await.expect("opened");
    [a, b, c]
}

/// What no command of a test comes near to: one that waits for what does not come is to say so.
const COMMAND_ENDS: Duration = Duration::from_secs(300);

/// Exit code, answer, and what was said beside it.
pub fn wattle(root: &Path, arguments: &[&str]) -> (i32, String, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(arguments)
        .env("WATTLE_RUNTIME_DIR", root.join("runtime"))
        .env("XDG_STATE_HOME", root.join("state"))
        .env_remove("WATTLE_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = command.id();
    let (ended, waits) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = waits.recv_timeout(COMMAND_ENDS) == Err(RecvTimeoutError::Timeout);
        if late {
            signal("KILL", pid);
        }
        late
    });
    let output = command.wait_with_output().expect("it was started");
    drop(ended);
    let late = watch.join().expect("it waits");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (said, error) = (text(output.stdout), text(output.stderr));
    assert!(!late, "{arguments:?} does not end; it said:\n{said}{error}");
    (output.status.code().expect("an exit code"), said, error)
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "there is no process {pid}");
}

/// The answer for programs.
pub fn json(root: &Path, arguments: &[&str]) -> Value {
    let (code, text, error) = wattle(root, &[arguments, &["-o", "json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {error}");
    serde_json::from_str(&text).expect("JSON")
}

/// Repeats a command until its answer, and what is said beside it, is what is awaited.
pub async fn until(root: &Path, arguments: &[&str], awaited: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let (_, text, error) = wattle(root, arguments);
        let said = format!("{text}{error}");
        if awaited(&said) {
            return said;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{arguments:?}: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
