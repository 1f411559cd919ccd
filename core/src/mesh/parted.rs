//! A node that is no member any more, because it left or was evicted (M29).
//!
//! It hears of that from its own log, or from whoever turns it away: with the eviction, signed by the leader that put it into the log, and with the
//! admissions that lead from that leader to a member it knows. Then it belongs to no mesh: it serves nothing, says why, and may join anew. The data
//! of the streams of which it was an end it keeps: if it joins the same mesh before these are closed, they go on.

use alloc::string::String;
use alloc::vec::Vec;

use prost::Message as _;
use wattle_proto::mesh as proto;

use super::entry::Body;
use super::eviction::{Eviction, eviction_in, eviction_out};
use super::introduce;
use super::snapshot;
use super::store::{Space, state_record};
use super::wire::{self, Malformed, id_bytes};
use super::{Mesh, Output, State, Stream};
use crate::id::MeshId;
use crate::node::command::{Refusal, Reply};
use crate::node::output::{CloseReason, Event};
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::sometimes;
use crate::time::{Now, Wall};
use crate::work::Job;

/// How many evictions may be in the middle of being checked.
const SHOWN_MAX: usize = 32;

/// The last membership that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted {
    /// The mesh.
    pub mesh: MeshId,
    /// Its name.
    pub mesh_name: String,
    /// What ended it.
    pub eviction: Eviction,
    /// The name of whoever asked for that, as far as known.
    pub by: String,
    /// When this node learned of it.
    pub time: Wall,
    /// The streams of which it keeps the data.
    pub streams: Vec<Stream>,
}

/// Something shown, whose signatures are being checked.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    eviction: Eviction,
    left: Vec<Job>,
}

impl Parted {
    /// What happened, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let (mesh, number) = (&self.mesh_name, self.eviction.number);
        if self.eviction.left {
            return alloc::format!(
                "this node left mesh {mesh:?} (epoch {number}): join again with `wattle mesh join` and a new token"
            );
        }
        if let Some(of) = &self.eviction.recovery {
            return alloc::format!(
                "this node was named lost when mesh {mesh:?} lost its quorum, and was evicted by recovery {} (epoch {number}, ordered at {}; what was \
                 decided beyond entry {} is void): it serves nothing and keeps its data; join again with `wattle mesh join` and a new token",
                of.attempt,
                self.by,
                of.trail.end.index
            );
        }
        alloc::format!(
            "this node was evicted from mesh {mesh:?} (epoch {number}, asked for at {}): it serves nothing and keeps its data; join again with \
             `wattle mesh join` and a new token",
            self.by
        )
    }

    pub(super) fn record(&self) -> Record {
        let stored = proto::Parted {
            mesh: id_bytes(self.mesh.to_bytes()),
            mesh_name: self.mesh_name.clone(),
            eviction: Some(eviction_out(&self.eviction)),
            by: self.by.clone(),
            time: self.time.0,
            streams: self.streams.iter().map(snapshot::stream_out).collect(),
        };
        Record::state(Space::Parted.key(0), stored.encode_to_vec().into())
    }

    pub(super) fn read(head: &[u8]) -> Result<Self, Malformed> {
        let stored = proto::Parted::decode(head).map_err(|_| Malformed("parted"))?;
        Ok(Self {
            mesh: wire::mesh(&stored.mesh)?,
            mesh_name: wire::text(stored.mesh_name, wire::TEXT_MAX)?,
            eviction: eviction_in(stored.eviction.ok_or(Malformed("parted without an eviction"))?)?,
            by: wire::text(stored.by, wire::TEXT_MAX)?,
            time: Wall(stored.time),
            streams: stored.streams.into_iter().map(snapshot::stream_in).collect::<Result<_, _>>()?,
        })
    }
}

impl Mesh {
    /// What became of the last membership, while this node belongs to no mesh.
    #[must_use]
    pub fn parted(&self) -> Option<&Parted> {
        self.parted.as_ref().filter(|_| self.membership.is_none())
    }

    /// Why nothing is served here, if this node was a member and is none any more.
    #[must_use]
    pub fn served_no_more(&self) -> Option<Refusal> {
        let lost = self.key_lost().map(|why| Refusal::KeyRetired(why.into()));
        if let Some(refusal) =
            lost.or_else(|| self.refused_as_double()).or_else(|| self.stopped_by_operator())
        {
            return Some(refusal);
        }
        self.parted().map(|parted| match parted.eviction.left {
            true => Refusal::NotMember,
            false => Refusal::Evicted(parted.words()),
        })
    }

    /// A neighbour shows what raised the epoch. Of interest is what took this very node out, and who else is gone: a node that was away may wait for the
    /// word of voters that are no members any more, before it takes what the log tells.
    pub(super) fn on_fenced(&mut self, proof: &[u8], endorsement: &[u8]) {
        let (Some(membership), Ok(eviction)) = (&self.membership, Eviction::decode(proof)) else {
            return;
        };
        let (mesh, leader) = (membership.mesh, eviction.leader);
        let own = eviction.node == self.own && eviction.replica == membership.replica;
        let member =
            self.state.members.get(&eviction.node).is_some_and(|member| member.replica == eviction.replica);
        let news = eviction.number > self.state.epoch.number && eviction.node != self.own && member;
        let twice = self.shown.values().any(|shown| shown.eviction == eviction);
        if !(own || news) || twice || self.shown.len() >= SHOWN_MAX {
            return;
        }
        // The word of who was taken out, or is taken for lost, counts for nothing here (M36).
        let is_known = !self.trusted_keys(leader).is_empty();
        let chain = introduce::read(endorsement).unwrap_or_default();
        let void = self.is_named_lost(leader) || !(is_known || self.may_introduce(&chain));
        let gone = || self.state.evicted.contains_key(&leader);
        if void || self.planted.strikes(Bug::ReturnedStaysVoid, gone) {
            return;
        }
        let first = chain.first().filter(|first| first.admission.node == leader);
        let Some((keys, mut left)) = self.keys_of_word(leader, first) else { return };
        if !is_known {
            let Some((jobs, _)) = self.signatures(mesh, &chain) else { return };
            left.extend(jobs);
        }
        let (message, signature) = (eviction.statement(mesh), eviction.signature.clone());
        left.push(Job::Verify { keys, message, signature });
        let Some(job) = left.pop() else { return };
        let token = self.next_number();
        self.shown.insert(token, Shown { eviction, left });
        self.outputs.push_back(Output::Work { token, job });
    }

    /// A signature was checked; `false` if it belongs to nothing shown.
    pub(super) fn on_shown_verified(&mut self, now: Now, token: u64, valid: bool) -> bool {
        let Some(mut shown) = self.shown.remove(&token) else { return false };
        if !valid {
            return true;
        }
        if let Some(job) = shown.left.pop() {
            let token = self.next_number();
            self.outputs.push_back(Output::Work { token, job });
            self.shown.insert(token, shown);
        } else if shown.eviction.node != self.own {
            sometimes!(ToldOfOthersEviction);
            self.outputs.push_back(Output::Gone(shown.eviction.node));
        } else if self.membership.as_ref().is_some_and(|own| own.replica == shown.eviction.replica) {
            if shown.eviction.recovery.is_some() {
                self.weigh_recovery(shown.eviction);
            } else {
                sometimes!(ToldOfEviction);
                self.depart(now, &shown.eviction);
            }
        }
        true
    }

    /// This node is no member any more.
    pub(super) fn depart(&mut self, now: Now, eviction: &Eviction) {
        let Some(membership) = self.membership.take() else { return };
        let (kept, gone): (Vec<Stream>, Vec<Stream>) =
            self.known_streams().into_iter().partition(|stream| stream.concerns(self.own));
        let by = self.state.members.get(&eviction.origin).map(|member| member.name.clone());
        let by = if eviction.origin == self.own { Some(self.config.name.clone()) } else { by };
        let parted = Parted {
            mesh: membership.mesh,
            mesh_name: membership.mesh_name,
            eviction: eviction.clone(),
            by: by.unwrap_or_else(|| alloc::format!("{}", eviction.origin)),
            time: now.wall,
            streams: kept,
        };
        self.outputs.push_back(Output::Persist(parted.record()));
        self.outputs.push_back(Output::Persist(state_record(State::default().encode())));
        for stream in gone {
            let Stream { instance, name, .. } = stream;
            self.outputs.push_back(Output::StreamClosed { instance, name });
        }
        self.tell_departed(eviction);
        self.outputs.push_back(Output::Event(Event::Parted {
            mesh: parted.mesh,
            left: eviction.left,
            why: parted.words(),
        }));
        self.end_open_requests(eviction, &parted);
        self.close_admissions();
        self.forget_marks();
        self.forget_mesh();
        self.parted = Some(parted);
        self.outputs.push_back(Output::Parted);
    }

    /// Every stream that is open as far as this node knows, and those whose data it keeps from before.
    fn known_streams(&self) -> Vec<Stream> {
        let mut all: Vec<Stream> = Vec::new();
        let kept = self.parted.iter().flat_map(|parted| &parted.streams);
        for stream in self.state.streams.values().chain(self.opened.values()).chain(kept) {
            let known = all.iter().any(|other| other.instance == stream.instance);
            if !known && !self.closed.contains_key(&stream.instance) {
                all.push(stream.clone());
            }
        }
        all
    }

    /// Whoever waits for something of the mesh is told that it will not come.
    fn end_open_requests(&mut self, eviction: &Eviction, parted: &Parted) {
        let refusal = || match eviction.left {
            true => Refusal::NotMember,
            false => Refusal::Evicted(parted.words()),
        };
        for (request, id, body) in self.requests.take_clients() {
            let asked = request == eviction.request && matches!(body, Body::Evict(_));
            let reply = match (asked, eviction.left) {
                (true, true) => Ok(Reply::Left),
                (true, false) => Ok(Reply::Evicted { node: eviction.node, epoch: eviction.number }),
                (false, _) => Err(refusal()),
            };
            self.when_durable(super::Awaited::Reply(id, reply));
        }
        let waiting = self.reads.take().into_iter().chain(self.watches.take());
        let waiting = waiting.chain(self.describing.take()).chain(self.handlers.end());
        let waiting = waiting.collect::<Vec<_>>().into_iter().chain(self.forget_stop());
        for id in waiting.collect::<Vec<_>>() {
            self.when_durable(super::Awaited::Reply(id, Err(refusal())));
        }
        for id in self.keys.take_waiting() {
            self.when_durable(super::Awaited::Reply(id, Err(refusal())));
        }
        if let Some(run) = self.recovery.run.take() {
            self.when_durable(super::Awaited::Reply(run.request(), Err(refusal())));
        }
        if let Some(welcome) = self.welcome.take() {
            let refusal = Refusal::Evicted(parted.words());
            self.when_durable(super::Awaited::Reply(welcome.request, Err(refusal)));
        }
    }

    /// Nothing of the mesh counts any more.
    pub(super) fn forget_mesh(&mut self) {
        self.tokens.clear();
        self.opened.clear();
        self.closed.clear();
        self.marks = super::marks::Marks::default();
        self.state = State::default();
        self.stored = self.state.applied;
        self.cut = self.state.applied;
        self.membership = None;
        self.requests.forget();
        self.secrets.clear();
        self.reads = super::reads::Reads::default();
        self.watches = super::watches::Watches::default();
        self.failed.clear();
        self.told.clear();
        self.sending = super::updates::Sending::default();
        self.reports = super::updates::Reports::default();
        self.grown_bytes = 0;
        self.introductions.forget();
        self.control = super::leader::Control::default();
        self.evicting = None;
        self.recovery = super::fencing::Fencing::default();
        self.judgement = super::mode::Judgement::default();
        self.stopping = super::stop::Stopping::default();
        self.keys.forget();
        self.shown.clear();
        self.doubles.forget_others(self.own);
        self.told_bounds = None;
        self.spare_replica = None;
        self.sealer = super::sealer::Sealer::default();
        self.forget_flow();
    }

    /// What stands beside the state is dead, too. If it comes back with a start, the record of the parting voids it.
    fn forget_marks(&mut self) {
        let tokens = self.tokens.keys().map(|&id| Space::Token.forget(id));
        let opened = self.opened.keys().map(|instance| Space::Opened.forget(instance.0));
        let closed = self.closed.keys().map(|instance| Space::Closed.forget(instance.0));
        let members = self.marks.written().map(|node| Space::Member.forget(node.0));
        let dead: Vec<_> = tokens.chain(opened).chain(closed).chain(members).collect();
        self.outputs.extend(dead.into_iter().map(Output::Forget));
        self.forget_flow_mark();
        let others: Vec<_> = self.doubles.others(self.own).collect();
        others.into_iter().for_each(|node| self.forget_record(node));
    }

    /// The streams whose data is kept, while the mesh has not told which of them are still open.
    pub(super) fn kept_streams(&self) -> impl Iterator<Item = &Stream> + '_ {
        self.parted.iter().flat_map(|parted| &parted.streams)
    }

    /// A start: what the state tells of is known from there.
    pub(super) fn restored_kept_streams(&mut self) {
        let settled = self.membership.is_some() && self.caught_up();
        if let Some(parted) = self.parted.as_mut().filter(|_| settled) {
            parted.streams.clear();
        }
        let kept: Vec<Stream> = self.kept_streams().cloned().collect();
        for stream in kept {
            self.announce_open(&stream);
        }
    }

    fn close_admissions(&mut self) {
        for lane in self.admissions.take_lanes() {
            self.close(lane, CloseReason::Surplus);
        }
    }

    /// Why this node cannot begin or join that mesh, if it keeps the data of streams of another one.
    pub(super) fn keeps_streams_of_another(&self, mesh: Option<MeshId>) -> Option<Refusal> {
        let parted =
            self.parted().filter(|parted| mesh != Some(parted.mesh) && !parted.streams.is_empty())?;
        Some(Refusal::KeepsStreams { mesh: parted.mesh, streams: parted.streams.len() as u64 })
    }

    /// This node knows its mesh again: of the streams whose data it kept, those go on that are still open.
    pub(super) fn settle_kept_streams(&mut self) {
        let Some(parted) = self.parted.as_mut().filter(|parted| !parted.streams.is_empty()) else { return };
        let kept = core::mem::take(&mut parted.streams);
        let streams = &self.state.streams;
        let open = |stream: &Stream| streams.values().any(|open| open.instance == stream.instance);
        for Stream { instance, name, .. } in kept.into_iter().filter(|stream| !open(stream)) {
            rare!(KeptStreamOver);
            self.outputs.push_back(Output::StreamClosed { instance, name });
        }
    }
}
