//! A state of the whole: three replicas, the network, what has been spent, and what was ever true.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use wattle_core::raft::Place;

use crate::replica::{Parcel, REPLICAS, Replica};

/// What happened so far of what is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// Election deadlines met.
    pub elections: u8,
    /// Deadlines of other kinds met: something is said again.
    pub repeats: u8,
    /// Followers that were told that their leader leads no more.
    pub doubts: u8,
    /// Proposals made.
    pub proposals: u8,
    /// Crashes.
    pub crashes: u8,
    /// Messages delivered and left in the network.
    pub duplicates: u8,
}

/// An entry that was committed somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which, and everything before it.
    pub place: Place,
    /// The term of the replica that took it for committed first.
    pub in_term: u64,
}

/// Something that must never happen, seen when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two replicas, or two lives of one, led in a term.
    TwoLeaders(u64),
    /// A replica voted for two in a term.
    TwoVotes(usize, u64),
    /// Two entries were committed at an index, or applied out of order.
    CommittedDiffers(String),
    /// A term, a commit index or what was applied went back, or a replica forgot a term it had spoken in.
    WentBack(String),
    /// An invariant of the engine.
    Invariant(String),
    /// A group stopped though no disk was rolled back.
    Stopped(String),
}

/// What was ever true, so that it can be asked whether it still is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Who led, by term; with the number of its life.
    pub leaders: BTreeMap<u64, (usize, u64)>,
    /// For whom a replica said that it votes, by replica and term.
    pub votes: BTreeMap<(usize, u64), usize>,
    /// What was committed, from entry 1.
    pub committed: Vec<Committed>,
    /// The highest term each replica spoke in.
    pub spoken: [u64; REPLICAS],
    /// The first fault.
    pub fault: Option<Fault>,
}

/// Messages under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network {
    /// Sorted where any may come next, else in the order in which they were sent.
    parcels: Vec<Parcel>,
}

/// In which order messages arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From one replica to another in the order in which they were sent: what is overtaken is lost.
    AsSent,
    /// In any order. What never arrives is lost.
    Any,
}

impl Network {
    /// What may arrive, each once.
    pub fn parcels(&self) -> impl Iterator<Item = &Parcel> {
        let first = |&(at, parcel): &(usize, &Parcel)| !self.parcels[..at].contains(parcel);
        self.parcels.iter().enumerate().filter(first).map(|(_, parcel)| parcel)
    }

    /// A message leaves.
    pub fn send(&mut self, parcel: Parcel, order: Order) {
        let at = match order {
            // Between different pairs there is no order.
            Order::AsSent => {
                self.parcels.partition_point(|other| (other.from, other.to) <= (parcel.from, parcel.to))
            }
            Order::Any => self.parcels.partition_point(|other| *other <= parcel),
        };
        self.parcels.insert(at, parcel);
    }

    /// A message arrives, and comes again if it is kept.
    pub fn arrive(&mut self, parcel: &Parcel, order: Order, keep: bool) {
        let Some(at) = self.parcels.iter().position(|other| other == parcel) else { return };
        if !keep {
            self.parcels.remove(at);
        }
        if order == Order::AsSent {
            let same = |other: &Parcel| (other.from, other.to) == (parcel.from, parcel.to);
            let first = self.parcels.iter().position(same).unwrap_or(at);
            self.parcels.drain(first..at);
        }
    }
}

/// A state of the whole.
#[derive(Clone)]
pub struct State {
    /// The replicas.
    pub replicas: [Arc<Replica>; REPLICAS],
    /// Messages under way.
    pub network: Network,
    /// What has been spent.
    pub spent: Spent,
    /// What was ever true.
    pub history: Arc<History>,
}

impl Hash for History {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.leaders, &self.votes, &self.spoken).hash(state);
        for committed in &self.committed {
            let place = committed.place;
            (place.index, place.term, place.chain.0, committed.in_term).hash(state);
        }
        self.fault.is_some().hash(state);
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for replica in &self.replicas {
            replica.fingerprint().hash(state);
        }
        (&self.network, &self.spent, &self.history).hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.replicas.iter().zip(&other.replicas).all(|(a, b)| a.fingerprint() == b.fingerprint())
            && self.network == other.network
            && self.spent == other.spent
            && self.history == other.history
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, replica) in self.replicas.iter().enumerate() {
            let terms = |log: &[Place]| log.iter().map(|place| place.term.0).collect::<Vec<_>>();
            let (view, durable) = (&replica.view, &replica.durable);
            writeln!(
                f,
                "  {number}: {} in term {} (on disk {}), log {:?} (on disk {:?}), commit {}, applied {}",
                view.role.text(),
                view.term,
                durable.term,
                terms(&view.log),
                terms(&durable.log),
                view.commit,
                replica.applied.len()
            )?;
        }
        match &self.history.fault {
            Some(fault) => writeln!(f, "  {fault:?}"),
            None => Ok(()),
        }
    }
}
