//! What this node alone remembers, as records.
//!
//! | space | id | what |
//! | --- | --- | --- |
//! | 1 | 0 | membership: which mesh, under which replica id, whom to dial |
//! | 2 | 0 | the replicated state after some entry |
//! | 3 | token id | a token this node made |
//! | 4 | 0 | a join under way, or none |
//! | 5 | instance | a stream closed after the stored state: it is not announced as open at the next start |
//! | 6 | instance | a stream opened after the stored state: it is announced as open at the next start |
//! | 7 | node | a member admitted or changed after the stored state: the next start knows it |
//! | 8 | 0 | what became of the last membership that is over: everything written before it is void, but for the following |
//! | 9 | mesh | what this node's handlers have processed of the mesh's updates |
//! | 60 | 0 | the recovery of a lost quorum that this node takes part in, or that it takes part in none |
//! | 61 | node | that a node exists twice, or which of its copies is the only one; of this node itself, the round of its disk, too: it outlasts memberships |
//! | 21 | 0 | what is said of whether, and how fast, streams take messages in, since the stored state |
//! | 20 | 0 | whether an operator stopped the mesh here |

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::snapshot;
use super::state::{Member, Stream};
use super::token::Verifier;
use super::wire::{self, Malformed, RosterEntry, id_bytes};
use crate::id::{LogIndex, MeshId, NodeId, ReplicaId, StreamInstance};
use crate::record::{Damaged, Forget, Key, Owner, Record};
use crate::time::Wall;

/// Divisions of the part's records. The numbers are stored: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Space {
    Membership = 1,
    State = 2,
    Token = 3,
    Joining = 4,
    Closed = 5,
    Opened = 6,
    Member = 7,
    Parted = 8,
    Cursors = 9,
    Fence = 60,
    Identity = 61,
    Stopped = 20,
    Flow = 21,
}

impl Space {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Membership,
            2 => Self::State,
            3 => Self::Token,
            4 => Self::Joining,
            5 => Self::Closed,
            6 => Self::Opened,
            7 => Self::Member,
            8 => Self::Parted,
            9 => Self::Cursors,
            60 => Self::Fence,
            61 => Self::Identity,
            20 => Self::Stopped,
            21 => Self::Flow,
            _ => return None,
        })
    }

    pub(super) fn key(self, id: u128) -> Key {
        Key { owner: Owner::Mesh, space: self as u8, id, slot: 0 }
    }

    pub(super) fn forget(self, id: u128) -> Forget {
        Forget { owner: Owner::Mesh, space: self as u8, id, below: u64::MAX }
    }
}

pub(super) fn damaged(key: &Key, what: &impl ToString) -> Damaged {
    Damaged { key: *key, what: what.to_string() }
}

/// The mesh this node belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) mesh: MeshId,
    pub(super) mesh_name: String,
    pub(super) replica: ReplicaId,
    /// The founder's signature under its own admission; `None` at nodes that joined.
    pub(super) founding: Option<Bytes>,
    pub(super) remember: Vec<String>,
    /// Who was a member at the time, until the log says more.
    pub(super) roster: Vec<RosterEntry>,
}

impl Membership {
    pub(super) fn record(&self) -> Record {
        let stored = proto::Membership {
            mesh: id_bytes(self.mesh.to_bytes()),
            mesh_name: self.mesh_name.clone(),
            replica: id_bytes(self.replica.to_bytes()),
            founding: self.founding.clone().unwrap_or_default(),
            remember: self.remember.clone(),
            roster: self.roster.iter().map(wire::roster_out).collect(),
        };
        Record::state(Space::Membership.key(0), stored.encode_to_vec().into())
    }

    pub(super) fn read(head: &[u8]) -> Result<Self, Malformed> {
        let stored = proto::Membership::decode(head).map_err(|_| Malformed("membership"))?;
        let founding =
            if stored.founding.is_empty() { None } else { Some(wire::signature(stored.founding)?) };
        Ok(Self {
            mesh: wire::mesh(&stored.mesh)?,
            mesh_name: wire::text(stored.mesh_name, wire::TEXT_MAX)?,
            replica: wire::replica(&stored.replica)?,
            founding,
            remember: wire::addresses(stored.remember)?,
            roster: wire::roster(stored.roster)?,
        })
    }
}

/// A token this node made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssuedToken {
    pub(super) verifier: Verifier,
    pub(super) expiry: Wall,
    pub(super) uses: u32,
    /// The nodes that used it: a repeat of theirs costs no further use.
    pub(super) redeemed: Vec<NodeId>,
    /// The mesh epoch in which it was made: it lets nobody in again who was taken out since.
    pub(super) epoch: u64,
}

impl IssuedToken {
    pub(super) fn record(&self, id: u128) -> Record {
        let stored = proto::IssuedToken {
            verifier: self.verifier.0.to_vec().into(),
            expiry: self.expiry.0,
            uses: self.uses,
            redeemed: self.redeemed.iter().map(|n| id_bytes(n.to_bytes())).collect(),
            epoch: self.epoch,
        };
        Record::state(Space::Token.key(id), stored.encode_to_vec().into())
    }

    pub(super) fn read(head: &[u8]) -> Result<Self, Malformed> {
        let stored = proto::IssuedToken::decode(head).map_err(|_| Malformed("token"))?;
        Ok(Self {
            verifier: Verifier(stored.verifier.as_ref().try_into().map_err(|_| Malformed("verifier"))?),
            expiry: Wall(stored.expiry),
            uses: stored.uses,
            redeemed: stored.redeemed.iter().map(|n| wire::node(n)).collect::<Result<_, _>>()?,
            epoch: stored.epoch,
        })
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.redeemed.len() >= self.uses as usize
    }

    pub(super) fn has_use_for(&self, node: NodeId) -> bool {
        self.redeemed.contains(&node) || self.redeemed.len() < self.uses as usize
    }
}

pub(super) fn state_record(state: Bytes) -> Record {
    Record::state(Space::State.key(0), state)
}

/// A join under way, or that there is none; the replica id outlives a join that came to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StoredJoin {
    pub(super) token: Option<String>,
    pub(super) replica: Option<ReplicaId>,
}

impl StoredJoin {
    /// It is overwritten, not forgotten: what was forgotten may come back until it is trimmed, and a join that was given up
    /// must not.
    pub(super) fn record(self) -> Record {
        let stored = proto::Joining {
            token: self.token.unwrap_or_default(),
            replica: self.replica.map(|r| id_bytes(r.to_bytes())).unwrap_or_default(),
        };
        Record::state(Space::Joining.key(0), stored.encode_to_vec().into())
    }

    pub(super) fn read(head: &[u8]) -> Result<Self, Malformed> {
        let stored = proto::Joining::decode(head).map_err(|_| Malformed("joining"))?;
        let replica = if stored.replica.is_empty() { None } else { Some(wire::replica(&stored.replica)?) };
        Ok(Self { token: Some(stored.token).filter(|token| !token.is_empty()), replica })
    }
}

pub(super) fn opened_record(stream: &Stream) -> Record {
    Record::state(Space::Opened.key(stream.instance.0), snapshot::stream_out(stream).encode_to_vec().into())
}

pub(super) fn read_opened(id: u128, head: &[u8]) -> Result<Stream, Malformed> {
    let stored = proto::Stream::decode(head).map_err(|_| Malformed("opened mark"))?;
    let stream = snapshot::stream_in(stored)?;
    if stream.instance.0 != id {
        return Err(Malformed("an opened mark stands under another stream"));
    }
    Ok(stream)
}

pub(super) fn member_record(index: LogIndex, member: &Member) -> Record {
    let stored = proto::MemberMark { index: index.0, member: Some(snapshot::member_out(member)) };
    Record::state(Space::Member.key(member.node.0), stored.encode_to_vec().into())
}

pub(super) fn read_member(id: u128, head: &[u8]) -> Result<(LogIndex, Member), Malformed> {
    let stored = proto::MemberMark::decode(head).map_err(|_| Malformed("member mark"))?;
    let member = snapshot::member_in(stored.member.ok_or(Malformed("a member mark without a member"))?)?;
    if member.node.0 != id {
        return Err(Malformed("a member mark stands under another node"));
    }
    if stored.index == 0 || member.index.0 > stored.index {
        return Err(Malformed("a member mark is older than its member"));
    }
    Ok((LogIndex(stored.index), member))
}

pub(super) fn cursors_record(mesh: MeshId, cursors: Bytes) -> Record {
    Record::state(Space::Cursors.key(mesh.0), cursors)
}

pub(super) fn closed_record(instance: StreamInstance, index: LogIndex) -> Record {
    let stored = proto::ClosedMark { index: index.0 };
    Record::state(Space::Closed.key(instance.0), stored.encode_to_vec().into())
}

pub(super) fn read_closed(head: &[u8]) -> Result<LogIndex, Malformed> {
    let stored = proto::ClosedMark::decode(head).map_err(|_| Malformed("closed mark"))?;
    Ok(LogIndex(stored.index))
}
