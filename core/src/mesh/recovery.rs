//! The recovery of a mesh that lost its quorum for good (requirement X-07): what survivors say to each other, and the entry that ends it.
//!
//! It is a story in three files. Here: the words, and what the entry does to the state. `fencing`: what every survivor does. `recover`: what the
//! survivor does that an operator asked. In short: all survivors say, once that is on disk, where their logs end, and take part in nothing from then
//! on; the one whose log goes furthest goes on alone, under a number of its own; its first command takes out whoever is no survivor and raises the
//! mesh epoch, once for each. So the lost are turned away as any former member is, with proofs that lead to keys they know.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::entry::Request;
use super::eviction::{Eviction, eviction_in, eviction_out};
use super::state::{Effect, MEMBERS_MAX, State};
use super::trail::{trail_in, trail_out};
use super::wire::{self, Malformed, id_bytes};
use crate::digest::{Chain, Digest};
use crate::epoch::Epoch;
use crate::id::{LogIndex, NodeId, Term};
use crate::node::command::Refusal;
use crate::recovery::{LogEnd, LogPlace, LogTrail, Recovered};
use crate::time::Wall;

/// How many of the lost are remembered by name.
pub(super) const LOST_NAMED: usize = 32;
/// Numbers of places are below this.
const NUMBER_MAX: u64 = 1 << 61;

/// Which recovery an eviction belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryOf {
    /// Its attempt.
    pub attempt: u64,
    /// The log that is gone on from: what was decided beyond or beside it is void.
    pub trail: LogTrail,
}

/// What a survivor orders all survivors to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Grows with each that anybody heard of.
    pub attempt: u64,
    /// Drawn for it: the control group goes on under this number.
    pub era: u64,
    /// Who orders it.
    pub coordinator: NodeId,
    /// The entry that ends it bears this name, so that it is done once.
    pub request: Request,
    /// The mesh epoch it goes on from, as far as the coordinator knows.
    pub epoch: Epoch,
    /// Who is lost.
    pub lost: Vec<NodeId>,
    /// All others.
    pub survivors: Vec<NodeId>,
    /// When.
    pub time: Wall,
    /// Whether it only takes back an earlier one.
    pub withdraw: bool,
}

impl Order {
    /// Of two orders the higher one holds (M34).
    pub(super) fn rank(&self) -> (u64, NodeId, u64) {
        (self.attempt, self.coordinator, self.era)
    }
}

/// What survivors say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryMessage {
    /// Take part.
    Order(Order),
    /// Answers it.
    Report {
        /// Which.
        era: u64,
        /// The highest attempt that the sender heard of.
        attempt: u64,
        /// Where its log ends, or why not.
        what: Report,
    },
    /// Go on alone.
    Found {
        /// Under which number.
        era: u64,
        /// No survivor entered a higher term.
        above: Term,
        /// What a survivor knows to be committed.
        holds: LogPlace,
    },
    /// Answers it.
    Founded {
        /// Which.
        era: u64,
        /// Why not; empty if it is done.
        refused: String,
    },
    /// All are fenced to take back what was ordered: go on as before. And its answer.
    Release {
        /// Which.
        era: u64,
        /// Whether it is done.
        done: bool,
    },
}

/// What a survivor says when it is ordered to take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Its log ends there.
    End {
        /// Where.
        end: LogEnd,
        /// Members whom the order names neither lost nor survivors, as many as are named.
        strangers: Vec<(NodeId, String)>,
    },
    /// Ask again.
    Waits(String),
    /// It does not.
    Declined(String),
}

/// The entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recover {
    /// What was ordered.
    pub order: Order,
    /// Whose log is gone on from.
    pub founder: NodeId,
    /// Who goes, each in an epoch of its own.
    pub evictions: Vec<Eviction>,
    /// The founder's log before it went on alone.
    pub trail: LogTrail,
}

impl State {
    /// The evictions of everybody who is no survivor, not signed yet: each follows the one before it.
    pub(super) fn losses(&self, order: &Order, leader: NodeId, trail: &LogTrail) -> Vec<Eviction> {
        let Some(mesh) = self.mesh else { return Vec::new() };
        let gone = self.members.values().filter(|member| !order.survivors.contains(&member.node));
        let mut epoch = self.epoch;
        let mut evictions = Vec::new();
        for member in gone {
            let eviction = Eviction {
                number: epoch.number + 1,
                previous: epoch.digest,
                request: order.request,
                origin: order.coordinator,
                node: member.node,
                replica: member.replica,
                left: false,
                leader,
                signature: Bytes::new(),
                recovery: Some(RecoveryOf { attempt: order.attempt, trail: trail.clone() }),
            };
            epoch = eviction.epoch(mesh);
            evictions.push(eviction);
        }
        evictions
    }

    /// Goes on without the lost (M33).
    pub(super) fn recover(&mut self, recover: &Recover) -> Result<Effect, Refusal> {
        let Recover { order, founder, evictions, trail } = recover;
        let founder = *founder;
        let meant = self.losses(order, founder, trail);
        let unsigned = |eviction: &Eviction| Eviction { signature: Bytes::new(), ..eviction.clone() };
        if order.withdraw
            || !self.members.contains_key(&founder)
            || !meant.iter().cloned().eq(evictions.iter().map(unsigned))
        {
            return Err(Refusal::Busy);
        }
        let before = self.epoch;
        let mut lost = Vec::new();
        for eviction in evictions {
            let name = self.members.get(&eviction.node).map(|member| member.name.clone()).unwrap_or_default();
            self.take_out(eviction);
            lost.push((eviction.node, name));
        }
        let number = self.epoch.number;
        assert_eq!(number, before.number + lost.len() as u64, "M33: each of the lost raises the epoch");
        lost.truncate(LOST_NAMED);
        let (attempt, era) = (order.attempt, order.era);
        let (asked_at, end, time) = (order.coordinator, trail.end.index, self.time);
        self.recovered = Some(Recovered { attempt, era, asked_at, founder, end, before, number, time, lost });
        Ok(Effect::Recovered { attempt, number })
    }

    /// What to say of a recovery that was decided before.
    pub(super) fn recall_recovery(&self, recover: &Recover, done: bool) -> Result<Effect, Refusal> {
        let known = self.recovered.as_ref().filter(|known| done && known.era == recover.order.era);
        known.map_or(Err(Refusal::Busy), |known| {
            Ok(Effect::Recovered { attempt: known.attempt, number: known.number })
        })
    }
}

pub(super) fn nodes_out(nodes: &[NodeId]) -> Vec<Bytes> {
    nodes.iter().map(|node| id_bytes(node.to_bytes())).collect()
}

pub(super) fn nodes_in(nodes: &[Bytes]) -> Result<Vec<NodeId>, Malformed> {
    if nodes.len() > MEMBERS_MAX {
        return Err(Malformed("too many members"));
    }
    nodes.iter().map(|node| wire::node(node)).collect()
}

fn digest(bytes: &[u8]) -> Result<Digest, Malformed> {
    Digest::from_slice(bytes).ok_or(Malformed("the digest of an epoch"))
}

pub(super) fn order_out(order: &Order) -> proto::RecoveryOrder {
    proto::RecoveryOrder {
        attempt: order.attempt,
        era: order.era,
        coordinator: id_bytes(order.coordinator.to_bytes()),
        request: id_bytes(order.request.0.to_be_bytes()),
        epoch: order.epoch.number,
        epoch_digest: Bytes::copy_from_slice(&order.epoch.digest.0),
        lost: nodes_out(&order.lost),
        survivors: nodes_out(&order.survivors),
        time: order.time.0,
        withdraw: order.withdraw,
    }
}

pub(super) fn order_in(order: proto::RecoveryOrder) -> Result<Order, Malformed> {
    if order.era == 0 || order.attempt == 0 || order.attempt >= NUMBER_MAX {
        return Err(Malformed("a recovery without a number"));
    }
    Ok(Order {
        attempt: order.attempt,
        era: order.era,
        coordinator: wire::node(&order.coordinator)?,
        request: wire::request(&order.request)?,
        epoch: Epoch { number: order.epoch, digest: digest(&order.epoch_digest)? },
        lost: nodes_in(&order.lost)?,
        survivors: nodes_in(&order.survivors)?,
        time: Wall(order.time),
        withdraw: order.withdraw,
    })
}

pub(super) fn place_out(place: &LogPlace) -> proto::LogPlace {
    let chain = Bytes::copy_from_slice(&place.chain.0);
    proto::LogPlace { index: place.index.0, term: place.term.0, chain }
}

pub(super) fn number(number: u64) -> Result<u64, Malformed> {
    if number < NUMBER_MAX { Ok(number) } else { Err(Malformed("a number out of range")) }
}

pub(super) fn place_in(place: Option<proto::LogPlace>) -> Result<LogPlace, Malformed> {
    let place = place.ok_or(Malformed("a place is missing"))?;
    let chain = Chain::from_slice(&place.chain).ok_or(Malformed("a chain"))?;
    Ok(LogPlace { index: LogIndex(number(place.index)?), term: Term(number(place.term)?), chain })
}

pub(super) fn message_out(message: &RecoveryMessage) -> proto::message::Kind {
    use proto::recovery_message::Kind;
    use proto::recovery_report::What;
    let kind = match message {
        RecoveryMessage::Order(order) => Kind::Order(order_out(order)),
        RecoveryMessage::Report { era, attempt, what } => {
            let strangers = match what {
                Report::End { strangers, .. } => strangers.iter().map(named_out).collect(),
                Report::Waits(_) | Report::Declined(_) => Vec::new(),
            };
            let what = Some(match what {
                Report::End { end, .. } => What::End(proto::LogEnd {
                    term: end.term.0,
                    last: Some(place_out(&end.last)),
                    certain: Some(place_out(&end.certain)),
                }),
                Report::Waits(why) => What::Waits(why.clone()),
                Report::Declined(why) => What::Declined(why.clone()),
            });
            Kind::Report(proto::RecoveryReport { era: *era, attempt: *attempt, what, strangers })
        }
        RecoveryMessage::Found { era, above, holds } => Kind::Founding(proto::RecoveryFounding {
            era: *era,
            above: above.0,
            holds: Some(place_out(holds)),
        }),
        RecoveryMessage::Founded { era, refused } => {
            Kind::Founded(proto::RecoveryFounded { era: *era, refused: refused.clone() })
        }
        &RecoveryMessage::Release { era, done } => Kind::Release(proto::RecoveryRelease { era, done }),
    };
    proto::message::Kind::Recovery(proto::RecoveryMessage { kind: Some(kind) })
}

pub(super) fn message_in(message: proto::RecoveryMessage) -> Result<RecoveryMessage, Malformed> {
    use proto::recovery_message::Kind;
    use proto::recovery_report::What;
    Ok(match message.kind.ok_or(Malformed("recovery message"))? {
        Kind::Order(order) => RecoveryMessage::Order(order_in(order)?),
        Kind::Report(report) => {
            let strangers = named_in(report.strangers)?;
            let what = match report.what.ok_or(Malformed("recovery report"))? {
                What::End(end) => {
                    let (last, certain) = (place_in(end.last)?, place_in(end.certain)?);
                    let end = LogEnd { term: Term(number(end.term)?), last, certain };
                    Report::End { end, strangers }
                }
                What::Waits(why) => Report::Waits(wire::text(why, wire::TEXT_MAX)?),
                What::Declined(why) => Report::Declined(wire::text(why, wire::TEXT_MAX)?),
            };
            RecoveryMessage::Report { era: report.era, attempt: number(report.attempt)?, what }
        }
        Kind::Founding(founding) => RecoveryMessage::Found {
            era: founding.era,
            above: Term(number(founding.above)?),
            holds: place_in(founding.holds)?,
        },
        Kind::Founded(founded) => RecoveryMessage::Founded {
            era: founded.era,
            refused: wire::text(founded.refused, wire::TEXT_MAX)?,
        },
        Kind::Release(release) => RecoveryMessage::Release { era: release.era, done: release.done },
    })
}

pub(super) fn recover_out(recover: &Recover) -> proto::Recover {
    proto::Recover {
        order: Some(order_out(&recover.order)),
        founder: id_bytes(recover.founder.to_bytes()),
        evictions: recover.evictions.iter().map(eviction_out).collect(),
        trail: Some(trail_out(&recover.trail)),
    }
}

pub(super) fn recover_in(recover: proto::Recover) -> Result<Recover, Malformed> {
    if recover.evictions.len() > MEMBERS_MAX {
        return Err(Malformed("too many evictions"));
    }
    Ok(Recover {
        order: order_in(recover.order.ok_or(Malformed("a recovery without an order"))?)?,
        founder: wire::node(&recover.founder)?,
        evictions: recover.evictions.into_iter().map(eviction_in).collect::<Result<_, _>>()?,
        trail: trail_in(recover.trail)?,
    })
}

fn named_out((node, name): &(NodeId, String)) -> proto::Lost {
    proto::Lost { node: id_bytes(node.to_bytes()), name: name.clone() }
}

fn named_in(named: Vec<proto::Lost>) -> Result<Vec<(NodeId, String)>, Malformed> {
    if named.len() > LOST_NAMED {
        return Err(Malformed("too many members are named"));
    }
    let one = |one: proto::Lost| Ok((wire::node(&one.node)?, wire::text(one.name, wire::TEXT_MAX)?));
    named.into_iter().map(one).collect()
}

pub(super) fn recovered_out(recovered: &Recovered) -> proto::Recovered {
    proto::Recovered {
        attempt: recovered.attempt,
        era: recovered.era,
        asked_at: id_bytes(recovered.asked_at.to_bytes()),
        founder: id_bytes(recovered.founder.to_bytes()),
        end: recovered.end.0,
        before: recovered.before.number,
        before_digest: Bytes::copy_from_slice(&recovered.before.digest.0),
        number: recovered.number,
        time: recovered.time.0,
        lost: recovered.lost.iter().map(named_out).collect(),
    }
}

pub(super) fn recovered_in(recovered: proto::Recovered) -> Result<Recovered, Malformed> {
    Ok(Recovered {
        attempt: recovered.attempt,
        era: recovered.era,
        asked_at: wire::node(&recovered.asked_at)?,
        founder: wire::node(&recovered.founder)?,
        end: LogIndex(recovered.end),
        before: Epoch { number: recovered.before, digest: digest(&recovered.before_digest)? },
        number: recovered.number,
        time: Wall(recovered.time),
        lost: named_in(recovered.lost)?,
    })
}

/// What a survivor keeps on disk of the recovery it takes part in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StoredFence {
    /// The highest attempt heard of.
    pub(super) attempt: u64,
    /// What was ordered last, until it comes to its end.
    pub(super) order: Option<Order>,
    /// Of every recovery for which this node said where its log ends since the last that came to its end.
    pub(super) eras: Vec<u64>,
    /// What this node went on from, if it founded the group anew as it was ordered last.
    pub(super) trail: Option<LogTrail>,
    /// It refused to: somebody else may have been asked since.
    pub(super) declined: bool,
}

impl StoredFence {
    pub(super) fn encode(&self) -> Bytes {
        let order = self.order.as_ref().map(order_out);
        let (trail, eras) = (self.trail.as_ref().map(trail_out), self.eras.clone());
        let stored =
            proto::RecoveryFence { attempt: self.attempt, order, eras, trail, declined: self.declined };
        stored.encode_to_vec().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let stored = proto::RecoveryFence::decode(bytes).map_err(|_| Malformed("fence"))?;
        Ok(Self {
            attempt: stored.attempt,
            order: stored.order.map(order_in).transpose()?,
            eras: stored.eras,
            trail: stored.trail.map(|trail| trail_in(Some(trail))).transpose()?,
            declined: stored.declined,
        })
    }
}
