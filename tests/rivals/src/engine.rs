//! What both engines are asked to do.

use bytes::Bytes;

/// What replicas said to each other so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Messages sent.
    pub messages: u64,
    /// Their bytes, where they are encoded.
    pub bytes: u64,
}

/// How an engine is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Groups of three replicas each.
    pub groups: usize,
    /// Every message is encoded by its sender and decoded by its receiver. Otherwise it is moved as the value it is.
    pub encoded: bool,
}

/// Groups of three replicas on one thread, with storage in memory that is durable at once. Every group has a leader.
pub trait Engine {
    /// Proposes all of these at the group's leader, then goes on until nobody has anything left to say: all three replicas have
    /// applied them, and the leader knows.
    fn round(&mut self, group: usize, proposals: Vec<Vec<u8>>);

    /// Lets go of the part of a group's log that is applied, at every replica.
    fn compact(&mut self, group: usize);

    /// Lets a tenth of a second of its time pass.
    fn pass(&mut self);

    /// What each replica's owner was given since the last call, in order, of all groups.
    fn take_applied(&mut self) -> [Vec<Bytes>; 3];

    /// What was said so far.
    fn traffic(&self) -> Traffic;
}
