//! The contract of a node, as the world drives it. [`Node`] is the one that matters; tests of the world put smaller ones in its place.

use wattle_core::configuration::Configuration;
use wattle_core::digest::Digest;
use wattle_core::id::{BootId, Generation, GroupId, LaneId, LogIndex, NodeId, StreamInstance};
use wattle_core::level::Level;
use wattle_core::node::{Config, Deadline, Input, Node, Output, Rejected, Status, Transmit};
use wattle_core::raft::{GroupPlace, Place};
use wattle_core::time::{Instant, Now};

/// What the world asks of a node.
pub trait Machine: Sized {
    /// Whether its rows are laid out as the journal's, so that what they hold of streams can be read (X29).
    const ROWS_CAN_BE_READ: bool = true;

    /// A node about to read its journal.
    fn recover(config: Config, seed: [u8; 32], boot: BootId) -> Self;

    /// Tells the node something.
    ///
    /// # Errors
    /// Says why the input was not taken.
    fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected>;

    /// The next thing the node wants done.
    fn poll_output(&mut self) -> Option<Output>;

    /// Appends the lanes that have something to send.
    fn ready_lanes(&self, lanes: &mut Vec<LaneId>);

    /// Appends whole frames for a lane to a buffer.
    fn poll_transmit(&mut self, now: Now, lane: LaneId, max: usize, buffer: &mut Vec<u8>)
    -> Option<Transmit>;

    /// When to come back, and for what.
    fn poll_timeout(&self) -> Option<Deadline>;

    /// Panics if an invariant does not hold.
    fn check_invariants(&self, level: Level);

    /// Appends where each replica of the node stands in its group.
    fn group_places(&self, places: &mut Vec<GroupPlace>);

    /// Moves whenever anything that [`Machine::group_places`] tells may have moved; `None` if that is not known.
    fn groups_version(&self) -> Option<u64> {
        None
    }

    /// What the log of a group holds at an index, if it still holds it.
    fn group_place_at(&self, group: GroupId, index: LogIndex) -> Option<Place>;

    /// The configuration of a group that is in force at the node.
    fn group_configuration(&self, group: GroupId) -> Option<&Configuration>;

    /// What the node knows of itself and the mesh.
    fn status(&self, now: Now) -> Option<Status>;

    /// How many members the node knows.
    fn member_count(&self) -> usize {
        0
    }

    /// The start of another node that counts at the node, and its count of starts.
    fn peer_start(&self, _: NodeId) -> Option<(BootId, Generation)> {
        None
    }

    /// Since when the liveness of another node has mattered to the node without a pause.
    fn peer_met(&self, _: NodeId) -> Option<Instant> {
        None
    }

    /// The streams that the node knows, each with the entry of the control group that opened it.
    fn openings(&self) -> Vec<(StreamInstance, LogIndex)> {
        Vec::new()
    }

    /// How far the control group's state goes at the node, and the digest of that state.
    fn control_state(&self) -> Option<(LogIndex, Digest)> {
        None
    }
}

impl Machine for Node {
    fn recover(config: Config, seed: [u8; 32], boot: BootId) -> Self {
        Self::recover(config, seed, boot)
    }

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected> {
        self.handle(now, input)
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }

    fn ready_lanes(&self, lanes: &mut Vec<LaneId>) {
        lanes.extend(self.ready_lanes());
    }

    fn poll_transmit(
        &mut self,
        now: Now,
        lane: LaneId,
        max: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        self.poll_transmit(now, lane, max, buffer)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.poll_timeout()
    }

    fn check_invariants(&self, level: Level) {
        self.check_invariants(level);
    }

    fn group_places(&self, places: &mut Vec<GroupPlace>) {
        places.extend(self.group_places());
    }

    fn groups_version(&self) -> Option<u64> {
        Some(self.groups_version())
    }

    fn group_place_at(&self, group: GroupId, index: LogIndex) -> Option<Place> {
        self.group_place_at(group, index)
    }

    fn group_configuration(&self, group: GroupId) -> Option<&Configuration> {
        self.group_configuration(group)
    }

    fn status(&self, now: Now) -> Option<Status> {
        self.status(now)
    }

    fn member_count(&self) -> usize {
        self.member_count()
    }

    fn peer_start(&self, node: NodeId) -> Option<(BootId, Generation)> {
        self.peer_start(node)
    }

    fn peer_met(&self, node: NodeId) -> Option<Instant> {
        self.peer_met(node)
    }

    fn openings(&self) -> Vec<(StreamInstance, LogIndex)> {
        self.openings().collect()
    }

    fn control_state(&self) -> Option<(LogIndex, Digest)> {
        Some(self.control_state())
    }
}
