//! A hand-driven world for one node, or two: every output is kept, and nothing happens unless the test says so. And a browser.

pub mod browser;
mod crowd;
mod duo;

pub use crowd::{Crowd, Disk};
pub use duo::Duo;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wattle_core::id::{BootId, LaneId, NodeId, RequestId, Ticket};
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::node::{Config, Identity, Input, Node, Output, Rejected};
use wattle_core::time::{Instant, Now, Span, Wall};
use wattle_core::work::{perform, public_key};

/// A node and what the world around it holds.
#[derive(Clone)]
pub struct Solo {
    /// The node.
    pub node: Node,
    /// Its clocks.
    pub now: Now,
    /// Rows written, durable or not.
    pub rows: BTreeMap<Ticket, Bytes>,
    /// The last row told to be durable.
    pub synced: Ticket,
    /// Outputs not yet looked at, but for writes, trims, loads and work, which the world serves.
    pub outputs: VecDeque<Output>,
    /// Every output as text, in order.
    pub transcript: Vec<String>,
    secret: [u8; 32],
    config: Config,
}

impl Solo {
    /// A node called `name` on an empty disk, recovered and running.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// The same with other settings.
    #[must_use]
    pub fn with(name: &str, settings: impl FnOnce(&mut Config)) -> Self {
        let mut secret = [0; 32];
        secret[..name.len().min(32)].copy_from_slice(&name.as_bytes()[..name.len().min(32)]);
        let key = public_key(&secret);
        let identity = Identity::new(name.to_owned(), key, Vec::new());
        let mut config = Config::new(identity);
        settings(&mut config);
        let node = Node::recover(config.clone(), secret, BootId(1));
        let now = Now { monotonic: Instant(0), wall: Wall(1_700_000_000_000) };
        let mut solo = Self {
            node,
            now,
            rows: BTreeMap::new(),
            synced: Ticket(0),
            outputs: VecDeque::new(),
            transcript: Vec::new(),
            secret,
            config,
        };
        solo.tell(Input::Recovered).expect("an empty disk");
        solo
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.identity.node
    }

    /// Tells the node something and takes what it wants.
    ///
    /// # Errors
    /// What the node says to an input it does not take.
    pub fn tell(&mut self, input: Input) -> Result<(), Rejected> {
        self.node.handle(self.now, input)?;
        self.take();
        Ok(())
    }

    fn take(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.transcript.push(format!("{output:?}"));
            match output {
                Output::Write { ticket, row } => {
                    self.rows.insert(ticket, row.to_bytes());
                }
                Output::Trim { below } => self.rows.retain(|&ticket, _| ticket >= below),
                Output::Work { work, job } => {
                    let done = perform(&job, &[self.secret]);
                    self.node.handle(self.now, Input::WorkDone { work, done }).expect("running");
                }
                Output::Load { load, row, offset, len } => {
                    let row = &self.rows[&row];
                    let bytes = Some(row.slice(offset as usize..(offset + len) as usize));
                    self.node.handle(self.now, Input::Loaded { load, bytes }).expect("running");
                }
                other => self.outputs.push_back(other),
            }
        }
    }

    /// Gives the command under that number.
    pub fn command(&mut self, request: u64, command: Command) {
        self.tell(Input::Command { request: RequestId(request), command }).expect("running");
    }

    /// Everything written so far is on disk.
    pub fn sync(&mut self) {
        if let Some((&last, _)) = self.rows.last_key_value()
            && last > self.synced
        {
            self.synced = last;
            self.tell(Input::Persisted { upto: last }).expect("running");
        }
    }

    /// Lets time pass, meeting every deadline, with the disk keeping up.
    pub fn pass(&mut self, span: Span) {
        let end = self.now.monotonic + span;
        while let Some(deadline) = self.node.poll_timeout().filter(|deadline| deadline.at <= end) {
            self.now.monotonic = self.now.monotonic.max(deadline.at);
            self.tell(Input::Deadline).expect("running");
            self.sync();
        }
        self.now.monotonic = end;
    }

    /// Replies polled so far, taken out.
    pub fn replies(&mut self) -> Vec<(u64, Result<Reply, Refusal>)> {
        let mut replies = Vec::new();
        self.outputs.retain(|output| match output {
            Output::Reply { request, reply } => {
                replies.push((request.0, reply.clone()));
                false
            }
            _ => true,
        });
        replies
    }

    /// Bytes the node wants to send over a lane.
    pub fn transmit(&mut self, lane: LaneId) -> Vec<u8> {
        let mut buffer = Vec::new();
        while self.node.poll_transmit(self.now, lane, 64 << 10, &mut buffer).is_some() {}
        buffer
    }

    /// Crashes the node, keeps the rows up to `keep`, and starts it again.
    ///
    /// # Errors
    /// What the node says of the rows.
    pub fn restart(&mut self, keep: Ticket) -> Result<(), Rejected> {
        self.rows.retain(|&ticket, _| ticket <= keep);
        self.synced = keep;
        self.start(BootId(self.now.monotonic.0.into()))
    }

    /// The same with all that was written on disk, and a name for the start that no other bears; the clock goes on.
    ///
    /// # Errors
    /// What the node says of the rows.
    pub fn restart_as(&mut self, boot: u128) -> Result<(), Rejected> {
        self.synced = self.rows.last_key_value().map_or(Ticket(0), |(&last, _)| last);
        self.start(BootId(boot))
    }

    /// Changes the settings of its next start.
    pub fn configure(&mut self, settings: impl FnOnce(&mut Config)) {
        settings(&mut self.config);
    }

    fn start(&mut self, boot: BootId) -> Result<(), Rejected> {
        self.outputs.clear();
        self.node = Node::recover(self.config.clone(), self.secret, boot);
        for (&ticket, bytes) in &self.rows {
            self.node.handle(self.now, Input::Row { ticket, bytes: bytes.clone() })?;
        }
        self.tell(Input::Recovered)
    }

    /// Seeds a mesh and waits until it stands.
    pub fn seed(&mut self) {
        self.command(1, Command::Seed { name: "test".to_owned() });
        for _ in 0..100 {
            self.sync();
            self.pass(Span::millis(10));
            if self.replies().iter().any(|(request, reply)| *request == 1 && reply.is_ok()) {
                return;
            }
        }
        panic!("no mesh after a second: {:#?}", self.transcript);
    }
}
