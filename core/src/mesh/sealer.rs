//! The seal of a stream, seen by the members of its group (see `sealing`).
//!
//! From the entry on that begins it, a survivor owes a word: where its log ends. Its replica is fenced first, and what was told is on its disk before
//! that word leaves (M73); a start finds the seal in the stored state, and fences the replica before it hears anything. Whoever is asked to found the
//! group anew owes another: which message was the last. What is owed is asked for again and again, for a replica may have to come to itself first.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::entry::Body;
use super::requests::Purpose;
use super::sealing::{ReportEnd, SEAL_MEMBERS_MAX, Seal, SettleEnd};
use super::wire::TEXT_MAX;
use super::{Awaited, Mesh, Output, Stream};
use crate::flow::Tenant;
use crate::id::{AuthorityEpoch, NodeId, RequestId, Sequence, StreamInstance};
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::rare;
use crate::sealing::{SealRefusal, Sealed, StreamEnd};
use crate::time::{Instant, Now};

/// For how many streams words are on their way at one time.
pub(super) const SEALS_AT_ONCE: usize = 16;

/// What a node owes to seals.
#[derive(Clone, Debug, Default)]
pub(super) struct Sealer {
    /// The streams, by instance, for whose seals this node owes a word.
    owed: BTreeMap<StreamInstance, String>,
    /// When what is owed is asked for again.
    again: Option<Instant>,
}

impl Sealer {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.again
    }
}

impl Mesh {
    pub(super) fn on_seal_stream(
        &mut self,
        now: Now,
        request: RequestId,
        tenant: Option<Tenant>,
        name: String,
        lost: Vec<String>,
    ) {
        if lost.len() > SEAL_MEMBERS_MAX || lost.iter().chain([&name]).any(|text| text.len() > TEXT_MAX) {
            return self.reply(
                request,
                Err(Refusal::Invalid("too many are named, or a name or id is too long".into())),
            );
        }
        if let Some(Err(refusal)) = tenant.as_ref().map(|tenant| self.state.is_within(tenant, &name)) {
            return self.reply(request, Err(refusal));
        }
        // What this node does not know yet is for the log to say.
        let named = self.state.named_lost(&name, &lost).unwrap_or_default();
        let sealed = self.sealed(&name).map(|sealed| sealed.lost).unwrap_or_default();
        // Who was to be a target, and waits to be admitted by those who are lost, cannot say where its log ends.
        let awaits = |node: NodeId| self.stream(&name).is_some_and(|stream| stream.awaits(node));
        let reached = |node: NodeId| {
            !sealed.contains(&node)
                && !awaits(node)
                && (node == self.own || self.is_member(node) && self.judgement.reaches(node))
        };
        if let Some((_, name)) = named.iter().zip(&lost).find(|&(&node, _)| reached(node)) {
            let refusal = SealRefusal::LostReachable(name.clone());
            return self.reply(request, Err(refusal.into()));
        }
        let hold = self.config.mode_hold;
        let instance = self.stream(&name).map(|stream| stream.instance);
        let missed = named.into_iter().filter(|&node| self.judgement.misses_for(node, hold, now)).collect();
        let body = Body::SealStream { name, lost, instance, missed };
        self.on_client_request(now, request, body.within(tenant));
    }

    /// What a client that asked for a seal is told.
    pub(super) fn sealed_reply(&self, instance: StreamInstance) -> Result<Reply, Refusal> {
        let stream = self.state.stream_of(instance);
        let sealed = stream.and_then(Stream::sealed).ok_or(Refusal::StreamClosed)?;
        Ok(Reply::StreamSealed { instance, sealed })
    }

    /// A seal began, or came further.
    pub(super) fn seal_changed(&mut self, now: Now, name: &str) {
        rare!(StreamSealMoved);
        let Some(stream) = self.state.streams.get(name).cloned() else { return };
        // A start must know it before its replica hears anything.
        if self.has_part(&stream) && !self.planted.has(Bug::SealNotWritten) {
            self.store_state();
        }
        self.announce_seal(&stream);
        self.arm_seals(now);
    }

    /// Tells the rest of the node how far a stream is sealed, and has its replica do what follows from it.
    pub(super) fn announce_seal(&mut self, stream: &Stream) {
        let (Some(seal), Some(sealed)) = (&stream.seal, stream.sealed()) else { return };
        let instance = stream.instance;
        self.outputs.push_back(Output::StreamSealed { instance, sealed: sealed.clone() });
        if !self.has_part(stream) {
            return;
        }
        let (authority, lost) = (seal.authority, seal.lost.clone());
        let out = lost.contains(&self.own);
        self.outputs.push_back(Output::FenceStream { instance, authority, lost });
        let founds = seal.founder == Some(self.own);
        if founds && let Some(end) = seal.ends.get(&self.own) {
            let terms = seal.ends.values().map(|end| end.term);
            let above = terms.max().unwrap_or_default();
            let survivors = stream.group().voters.into_iter().chain(stream.group().learners).collect();
            self.outputs.push_back(Output::FoundStream {
                instance,
                authority,
                above,
                holds: end.last,
                survivors,
            });
        }
        let reports = seal.founder.is_none() && !out && !seal.ends.contains_key(&self.own);
        if self.membership.is_some() && (reports || founds && seal.sequence.is_none()) {
            self.sealer.owed.insert(instance, stream.name.clone());
        } else {
            self.sealer.owed.remove(&instance);
        }
    }

    fn has_part(&self, stream: &Stream) -> bool {
        stream.group().members().any(|member| member == self.own)
    }

    fn arm_seals(&mut self, now: Now) {
        let again = now.monotonic + self.config.seal_retry;
        self.sealer.again = (!self.sealer.owed.is_empty()).then(|| self.sealer.again.unwrap_or(again));
    }

    /// A start, or a state that came: what the streams of it owe.
    pub(super) fn seals_announced(&mut self, now: Now) {
        let open: Vec<StreamInstance> = self.state.streams.values().map(|stream| stream.instance).collect();
        if !self.sealer.owed.is_empty() {
            self.sealer.owed.retain(|instance, _| open.contains(instance));
        }
        self.arm_seals(now);
    }

    /// A stream is closed: nothing of its seal is owed.
    pub(super) fn seal_over(&mut self, instance: StreamInstance) {
        self.sealer.owed.remove(&instance);
        self.requests.give_up(&Purpose::Seal(instance));
    }

    pub(super) fn on_seal_deadline(&mut self, now: Now) {
        if self.sealer.again.is_none_or(|at| at > now.monotonic) {
            return;
        }
        self.sealer.again = None;
        let names: Vec<String> = self.sealer.owed.values().cloned().collect();
        for name in names {
            if let Some(stream) = self.state.streams.get(&name).cloned() {
                self.announce_seal(&stream);
            }
        }
        self.arm_seals(now);
    }

    /// The seal of a stream for which this node owes a word.
    fn owed_seal(&self, instance: StreamInstance, authority: AuthorityEpoch) -> Option<(&String, &Seal)> {
        let name = self.sealer.owed.get(&instance)?;
        let stream = self.state.streams.get(name).filter(|stream| stream.instance == instance)?;
        let seal = stream.seal.as_deref().filter(|seal| seal.authority == authority)?;
        Some((name, seal))
    }

    /// The replica of a stream is fenced here, and its log ends there; or it cannot say so yet.
    pub(super) fn on_stream_end(
        &mut self,
        instance: StreamInstance,
        authority: AuthorityEpoch,
        end: Result<StreamEnd, String>,
    ) {
        let Some((name, seal)) = self.owed_seal(instance, authority) else { return };
        if seal.ends.contains_key(&self.own) {
            return;
        }
        let Ok(end) = end else { return rare!(StreamEndNotKnown) };
        let report = ReportEnd { name: name.clone(), instance, authority, end };
        self.when_durable(Awaited::ReportEnd(report));
    }

    pub(super) fn say_seal(&mut self, now: Now, instance: StreamInstance, body: Body) {
        let under_way = self.requests.count(|purpose| matches!(purpose, Purpose::Seal(_)));
        let purpose = Purpose::Seal(instance);
        if self.membership.is_none() || under_way >= SEALS_AT_ONCE || self.requests.has(&purpose) {
            return;
        }
        let deadline = Some(now.monotonic + self.config.request_timeout);
        self.submit(now, purpose, body, deadline);
    }

    /// The log that was gone on from is applied here up to its end.
    pub(super) fn on_stream_settled(
        &mut self,
        now: Now,
        instance: StreamInstance,
        authority: AuthorityEpoch,
        sequence: Sequence,
    ) {
        let Some((name, seal)) = self.owed_seal(instance, authority) else { return };
        if seal.founder != Some(self.own) || seal.sequence.is_some() {
            return;
        }
        let settled = SettleEnd { name: name.clone(), instance, authority, sequence };
        self.say_seal(now, instance, Body::SettleEnd(settled));
    }

    /// How far the stream of that name is sealed.
    #[must_use]
    pub fn sealed(&self, name: &str) -> Option<Sealed> {
        self.stream(name).and_then(Stream::sealed)
    }

    pub(super) fn check_seals(&self) {
        let ends_here = |name: &String| {
            let stream = self.state.streams.get(name);
            stream.is_none_or(|stream| self.has_part(stream))
        };
        assert!(self.sealer.owed.values().all(ends_here), "M71: a word is owed for a stream of others");
        let armed = self.sealer.owed.is_empty() || self.sealer.again.is_some();
        assert!(armed, "M73: what is owed to a seal is asked for again");
    }
}
