//! The state as bytes: for snapshots, for the record beside which the log is compacted, and for comparing members.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::eviction::{EVICTED_MAX, evicted_in, evicted_out, eviction_in, eviction_out};
use super::flow::{flow_in, rank_out, rules_out};
use super::join_key::JoinKey;
use super::members::{members_in, members_out};
use super::opening::{ends_in, keep_out, policy_out};
use super::recovery::{nodes_out, recovered_in, recovered_out};
use super::room::{TABLES_BYTES_MAX, description_bytes};
use super::rotation::{rotations_in, rotations_out};
use super::sealing::{seal_in, seal_out};
use super::state::{DECIDED_MAX, Decided, FORMER_MAX, MEMBERS_MAX, Member, STREAMS_MAX, State, Stream};
use super::table::Table;
use super::updates;
use super::wire::{self, Malformed, id_bytes};
use crate::digest::Digest;
use crate::id::{LogIndex, StreamInstance};
use crate::planted::Planted;
use crate::time::Wall;

impl State {
    /// The bytes. Equal states give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let state = proto::State {
            applied: self.applied.0,
            mesh: self.mesh.map(|m| id_bytes(m.to_bytes())).unwrap_or_default(),
            mesh_name: self.mesh_name.clone(),
            time: self.time.0,
            members: self.members.values().map(member_out).collect(),
            streams: self.streams.values().map(stream_out).collect(),
            decided: self.decided.iter().map(decided_out).collect(),
            floor: self.floor.0,
            described: self.descriptions.iter().map(|(node, d)| wire::describe_out(*node, d)).collect(),
            updates: updates::table_out(&self.updates),
            config: self.config.encode(),
            settled: self.config.settings_version().0,
            join_key: self.join_key.as_ref().map(join_key_out),
            raised: self.raised.as_ref().map(eviction_out),
            evicted: self.evicted.values().map(evicted_out).collect(),
            recovered: self.recovered.as_ref().map(recovered_out),
            rules_changed: self.flow.changed.0,
            rules: rules_out(&self.flow.rules),
        };
        state.encode_to_vec().into()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let stored = proto::State::decode(bytes).map_err(|_| Malformed("state"))?;
        if stored.members.len() > MEMBERS_MAX
            || stored.described.len() > MEMBERS_MAX
            || stored.streams.len() > STREAMS_MAX
            || stored.decided.len() > DECIDED_MAX
            || stored.evicted.len() > EVICTED_MAX
        {
            return Err(Malformed("a table is over its limit"));
        }
        let raised = stored.raised.map(eviction_in).transpose()?;
        let mesh = if stored.mesh.is_empty() { None } else { Some(wire::mesh(&stored.mesh)?) };
        let mut state = Self {
            epoch: mesh.zip(raised.as_ref()).map(|(mesh, raised)| raised.epoch(mesh)).unwrap_or_default(),
            raised,
            recovered: stored.recovered.map(recovered_in).transpose()?,
            flow: flow_in(stored.rules_changed, stored.rules)?,
            evicted: BTreeMap::new(),
            applied: LogIndex(stored.applied),
            mesh,
            mesh_name: wire::text(stored.mesh_name, wire::TEXT_MAX)?,
            time: Wall(stored.time),
            floor: LogIndex(stored.floor),
            descriptions: BTreeMap::new(),
            updates: updates::table_in(stored.updates)?,
            join_key: stored.join_key.map(join_key_in).transpose()?,
            config: Table::decode(stored.config, stored.settled)?,
            bytes: 0,
            planted: Planted::none(),
            members: BTreeMap::new(),
            names: BTreeMap::new(),
            streams: BTreeMap::new(),
            decided: VecDeque::with_capacity(stored.decided.len()),
            decisions: BTreeMap::new(),
        };
        for member in stored.members {
            let member = member_in(member)?;
            state.bytes += member.bytes();
            let taken = state.names.insert(member.name.clone(), member.node).is_some();
            // States of before there were updates have no cursors.
            state.updates.admit(member.node);
            if taken || state.members.insert(member.node, member).is_some() {
                return Err(Malformed("a member or a name stands twice"));
            }
        }
        if !state.updates.are_of(&state.members) {
            return Err(Malformed("cursors of no member"));
        }
        for describe in stored.described {
            let (node, described) = wire::describe_in(describe)?;
            state.bytes += description_bytes(&described);
            if !state.members.contains_key(&node) {
                return Err(Malformed("a description of no member"));
            }
            if state.descriptions.insert(node, described).is_some() {
                return Err(Malformed("a description stands twice"));
            }
        }
        for evicted in stored.evicted {
            let evicted = evicted_in(evicted)?;
            let node = evicted.eviction.node;
            if state.members.contains_key(&node) || state.evicted.insert(node, evicted).is_some() {
                return Err(Malformed("a former member is one, or stands twice"));
            }
        }
        for stream in stored.streams {
            let stream = stream_in(stream)?;
            state.bytes += stream.bytes();
            if state.streams.insert(stream.name.clone(), stream).is_some() {
                return Err(Malformed("a stream stands twice"));
            }
        }
        if !state.flow_fits() {
            return Err(Malformed("a rule of no stream, or of later"));
        }
        for decided in stored.decided {
            let request = wire::request(&decided.request)?;
            let decided = Decided { request, index: LogIndex(decided.index), done: decided.done };
            if state.decisions.insert(request, decided.done).is_some() {
                return Err(Malformed("a request stands twice"));
            }
            state.decided.push_back(decided);
        }
        if state.bytes + state.config.bytes() > TABLES_BYTES_MAX {
            return Err(Malformed("the state is over its limit"));
        }
        if state.mesh.is_none() && !state.members.is_empty() {
            return Err(Malformed("members without a mesh"));
        }
        Ok(state)
    }

    /// Tells two states apart (M1): members that applied the same entries give the same digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_bytes(&self.encode())
    }
}

pub(super) fn member_out(member: &Member) -> proto::Member {
    proto::Member {
        node: id_bytes(member.node.to_bytes()),
        name: member.name.clone(),
        keys: member.keys.iter().map(wire::key_bytes).collect(),
        addresses: member.addresses.clone(),
        api: member.api.clone(),
        region: member.region.clone(),
        replica: id_bytes(member.replica.to_bytes()),
        former: member.former.iter().map(|r| id_bytes(r.to_bytes())).collect(),
        admitter: id_bytes(member.admitter.to_bytes()),
        signature: member.signature.clone(),
        joined: member.joined.0,
        index: member.index.0,
        taken_in: member.taken_in.0,
        rotations: rotations_out(&member.rotations),
        admitted: wire::key_bytes(&member.admitted),
    }
}

pub(super) fn member_in(member: proto::Member) -> Result<Member, Malformed> {
    if member.former.len() > FORMER_MAX {
        return Err(Malformed("former replicas"));
    }
    Ok(Member {
        node: wire::node(&member.node)?,
        name: wire::text(member.name, wire::TEXT_MAX)?,
        keys: wire::keys(&member.keys)?,
        admitted: wire::key(&member.admitted)?,
        rotations: rotations_in(member.rotations)?,
        addresses: wire::addresses(member.addresses)?,
        api: wire::optional(member.api)?,
        region: wire::region(member.region)?,
        replica: wire::replica(&member.replica)?,
        former: member.former.iter().map(|r| wire::replica(r)).collect::<Result<_, _>>()?,
        admitter: wire::node(&member.admitter)?,
        signature: wire::signature(member.signature)?,
        joined: Wall(member.joined),
        index: LogIndex(member.index),
        taken_in: LogIndex(member.taken_in),
    })
}

pub(super) fn stream_out(stream: &Stream) -> proto::Stream {
    let (park_after, fail_after) = stream.ends.poison.parts();
    proto::Stream {
        name: stream.name.clone(),
        instance: id_bytes(stream.instance.to_bytes()),
        source: id_bytes(stream.ends.source.to_bytes()),
        targets: nodes_out(&stream.ends.targets),
        policy: policy_out(&stream.ends.policy),
        park_after,
        fail_after,
        resumed: stream.resumed,
        keep: keep_out(stream.ends.keep),
        rank: rank_out(&stream.ends.rank),
        detach_after_nanos: stream.ends.detach_after.as_nanos(),
        opened: stream.opened.0,
        index: stream.index.0,
        seal: stream.seal.as_deref().map(seal_out),
        members: stream.members.as_deref().map(members_out),
    }
}

pub(super) fn stream_in(stream: proto::Stream) -> Result<Stream, Malformed> {
    let ends = ends_in(&stream)?;
    Ok(Stream {
        name: wire::text(stream.name, wire::TEXT_MAX)?,
        instance: StreamInstance::from_slice(&stream.instance).ok_or(Malformed("stream instance"))?,
        ends,
        opened: Wall(stream.opened),
        index: LogIndex(stream.index),
        seal: stream.seal.map(|seal| seal_in(seal).map(Box::new)).transpose()?,
        members: stream.members.map(|members| members_in(members).map(Box::new)).transpose()?,
        resumed: stream.resumed,
    })
}

fn join_key_out(key: &JoinKey) -> proto::JoinKey {
    proto::JoinKey {
        version: key.version.0,
        salt: id_bytes(key.salt),
        hash: key.hash.to_vec().into(),
        expiry: key.expiry.map(|expiry| expiry.0),
        uses: key.uses,
        used: key.used,
        epoch: key.epoch,
    }
}

fn join_key_in(key: proto::JoinKey) -> Result<JoinKey, Malformed> {
    Ok(JoinKey {
        version: LogIndex(key.version),
        salt: wire::fixed(&key.salt, "salt")?,
        hash: wire::fixed(&key.hash, "hash")?,
        expiry: key.expiry.map(Wall),
        uses: key.uses,
        used: key.used,
        epoch: key.epoch,
    })
}

fn decided_out(decided: &Decided) -> proto::Decided {
    proto::Decided {
        request: id_bytes(decided.request.0.to_be_bytes()),
        index: decided.index.0,
        done: decided.done,
    }
}
