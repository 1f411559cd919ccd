//! The composition: ingress, wiring, egress, durability, journal.

pub mod command;
pub mod input;
pub mod output;
pub mod status;

use alloc::string::String;
use alloc::vec::Vec;

pub use input::Input;
pub use output::{Deadline, Output, Transmit};
pub use status::Status;

use crate::id::{BootId, LaneId, NodeId};
use crate::level::Level;
use crate::planted::Planted;
use crate::time::Now;
use crate::work::PublicKey;

/// Who a node is. Stored beside the journal by the world, because it comes before everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Derived from the first key, then kept.
    pub node: NodeId,
    /// Unique in the mesh, for people.
    pub name: String,
    /// The key it proves on every connection.
    pub key: PublicKey,
    /// Where others can dial it, `host:port`; empty if it only dials out.
    pub addresses: Vec<String>,
    /// Where its API listens, told to clients that ask the wrong node.
    pub api: Option<String>,
}

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is.
    pub identity: Identity,
    /// Neighbours to dial and keep dialling, `host:port`.
    pub dial: Vec<String>,
    /// Whether a crash may leave any subset of the unsynced rows, or torn ones (a raw disk), rather than a prefix (a
    /// transactional store). Decides what a bad row at the end of the journal means.
    pub rows_may_tear: bool,
    /// A deliberate bug, to measure the simulator.
    pub planted: Planted,
}

impl Config {
    /// The defaults for a node of that identity.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { identity, dial: Vec::new(), rows_may_tear: false, planted: Planted::none() }
    }
}

/// Why an input was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A write failed earlier; reopen the store and recover a new node (after a failed sync: in a new process).
    #[error("the node stopped because a write failed: {0}; reopen the store and start it again")]
    Stopped(String),
    /// Only rows are taken before `Recovered`, and none after.
    #[error("this input does not belong to this phase of the node's life")]
    OutOfPhase,
    /// The stored rows do not add up. Nothing was invented and nothing was changed.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    config: Config,
}

impl Node {
    /// A node about to read its journal. `seed` is the root of all its random numbers, `boot` its name for this start.
    #[must_use]
    pub fn recover(config: Config, _seed: [u8; 32], _boot: BootId) -> Self {
        Self { config }
    }

    /// Tells the node something.
    ///
    /// # Errors
    /// [`Rejected`] says why the input was not taken; nothing changed then.
    pub fn handle(&mut self, _now: Now, _input: Input) -> Result<(), Rejected> {
        Err(Rejected::OutOfPhase)
    }

    /// The next thing the node wants done.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// Lanes that have something to send.
    pub fn ready_lanes(&self) -> impl Iterator<Item = LaneId> + '_ {
        core::iter::empty()
    }

    /// Appends whole frames for `lane` to `buffer`, about `max` bytes at most (one message may exceed it). Not called
    /// while the lane's socket is full: that is the backpressure.
    pub fn poll_transmit(&mut self, _now: Now, _lane: LaneId, _max: usize, _buffer: &mut Vec<u8>) -> Option<Transmit> {
        None
    }

    /// When to come back, and for what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        None
    }

    /// Panics if an invariant does not hold; the message begins with its number.
    pub fn check_invariants(&self, _level: Level) {}

    /// What the node knows of itself and the mesh.
    #[must_use]
    pub fn status(&self, _now: Now) -> Option<Status> {
        let _ = &self.config;
        None
    }
}
