//! What a node is started with.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of one running node. [`Settings::new`] gives the defaults; every field may then be changed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where identity, journal, lock and reserve live. Made if it is not there.
    pub data_dir: PathBuf,
    /// Name of the node, for people. `None`: the stored one, or at the first start one made from the host's name.
    pub name: Option<String>,
    /// `host:port` to accept connections on; port 0 takes any free one. Empty: the node only dials out.
    pub listen: Vec<String>,
    /// `host:port` under which others can dial this node. Empty: the addresses it listens on, as far as they name a host.
    pub advertise: Vec<String>,
    /// Neighbours to dial and to keep dialling, `host:port`.
    pub dial: Vec<String>,
    /// Where the node's API listens, told to clients that ask the wrong node.
    pub api: Option<String>,
    /// Where in the world the node is; see [`wattle_core::mesh::Config::region`].
    pub region: Option<String>,
    /// Bytes the journal may take, to pretend a smaller disk. `None`: what the disk gives.
    pub space_limit: Option<u64>,
    /// Bytes kept aside so that a full disk can still drain. More means that longer queues drain; 0 keeps none.
    pub reserve_bytes: u64,
    /// Bytes that the logs of consensus groups may take in memory; see [`wattle_core::raft::Config::log_bytes`].
    pub log_memory: u64,
    /// Bytes of one stream's messages that a source keeps on disk until all targets have processed them; see [`wattle_core::stream::Config::outbox_bytes`].
    pub outbox_bytes: u64,
    /// Memory that the index of them may take; see [`wattle_core::stream::Config::outbox_memory`].
    pub outbox_memory: u64,
    /// Whether an operator says that no other copy of the data directory runs or will. Counts only for a node that was found to exist twice.
    pub only_copy: bool,
    /// Bounds on connections.
    pub limits: Limits,
}

impl Settings {
    /// The defaults for a node in that directory: it listens nowhere and dials nobody.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let stream = wattle_core::stream::Config::default();
        Self {
            data_dir: data_dir.into(),
            name: None,
            listen: Vec::new(),
            advertise: Vec::new(),
            dial: Vec::new(),
            api: None,
            region: None,
            space_limit: None,
            reserve_bytes: 64 << 20,
            log_memory: 64 << 20,
            outbox_bytes: stream.outbox_bytes,
            outbox_memory: stream.outbox_memory,
            only_copy: false,
            limits: Limits::default(),
        }
    }
}

/// Bounds on connections. They protect a node from strangers; a friend never meets them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Accepted connections whose TLS handshake is under way. At the limit the oldest gives way, so that a crowd of silent
    /// connections cannot keep a living one out.
    pub handshakes_max: usize,
    /// Connections beyond the handshake, accepted and dialled. At the limit accepted ones are closed at once.
    pub lanes_max: usize,
    /// How long a dial may take to connect, name resolution included.
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection that is being closed may take to send what was handed out.
    pub close_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes_max: 256,
            lanes_max: 4096,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            close_grace: Duration::from_secs(2),
        }
    }
}
