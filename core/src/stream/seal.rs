//! A stream that goes on without members that were lost with the quorum of its group (rules D2 to D4).
//!
//! The control group says who is lost, under which authority the others go on, and in the end which message was the last in front of the seal. Survivors
//! hear the lost no more, and tell them so. Whoever is lost and comes back stops: it accepts nothing and hands nothing over, and keeps what it
//! accepted, as orphaned, until the stream is closed.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::common::Common;
use super::entry::Entry;
use super::member::{Part, Stream};
use super::message::Body;
use super::peer::Peer;
use super::state::Effect;
use super::store::Kept;
use super::streams::Streams;
use super::target::Held;
use super::wire::decode_entry;
use super::{Applied, Output};
use crate::id::{AuthorityEpoch, LogIndex, NodeId, Sequence, StreamInstance};
use crate::node::command::{Position, Refusal};
use crate::planted::Bug;
use crate::rare;
use crate::sealing::Sealed;
use crate::time::Now;

impl Streams {
    /// The last message of a stream of which this node heard, whether it holds it or not.
    #[must_use]
    pub fn heard_of(&self, instance: StreamInstance) -> Sequence {
        self.streams.get(&instance).map_or(Sequence(0), |stream| stream.heard_of())
    }
}

impl Streams {
    /// The last of these entries, which follow what is applied here, that this member's own mark tells to be committed: it was only ever set on what was.
    /// What else is known of that is written with the next entries, and may not have been before a restart (rule D2).
    #[must_use]
    pub fn proven(
        &self,
        instance: StreamInstance,
        entries: impl IntoIterator<Item = Applied>,
    ) -> Option<LogIndex> {
        let stream = self.streams.get(&instance)?;
        let mut state = stream.head.clone();
        for Applied { index, command, data, .. } in entries {
            if state.taken >= stream.target.mark_taken || self.common.planted.has(Bug::MarkProvesNothing) {
                return None;
            }
            let entry = if command { decode_entry(&data).ok() } else { None };
            let effect = entry.as_ref().map_or(Effect::Nothing, |entry| state.effect(entry, false));
            let batch = match &entry {
                Some(Entry::Descriptor { batch, .. }) => Some(batch),
                _ => None,
            };
            state.advance(index, effect, batch);
            if state.taken >= stream.target.mark_taken {
                rare!(MarkProvesCommitted);
                return Some(index);
            }
        }
        None
    }
}

impl Stream {
    /// The authority under which this member serves the stream.
    pub(super) fn authority(&self) -> AuthorityEpoch {
        self.seal.as_ref().map_or(AuthorityEpoch(0), |seal| seal.authority)
    }

    /// Whether the source is lost, and this target goes on without it.
    pub(super) fn sourceless(&self) -> bool {
        !self.shut_out && self.part == Part::Target && self.is_lost(self.ends.source)
    }

    /// Whether all others are lost, and this one goes on without them.
    pub(super) fn alone(&self) -> bool {
        !self.shut_out && self.seal.is_some() && self.peers.iter().all(|peer| self.is_gone(peer.node))
    }

    /// Whether a member was named lost.
    pub(super) fn is_lost(&self, node: NodeId) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.lost.contains(&node))
    }

    fn heard_of(&self) -> Sequence {
        let said = self.peers.iter().filter_map(|peer| peer.standing).map(|standing| standing.taken);
        let said = said.max().unwrap_or_default();
        let kept = self.store.iter().map(|(_, kept)| kept.last()).max().unwrap_or_default();
        said.max(kept).max(self.held.last()).max(self.head.taken).max(self.target.mark)
    }

    /// How far the stream is sealed.
    pub(super) fn sealed(&mut self, common: &mut Common, now: Now, sealed: Sealed) {
        let out = sealed.lost.contains(&common.own);
        let raised = sealed.authority > self.authority();
        if raised {
            self.count_anew(common);
        }
        let was_out = self.is_out_itself();
        self.seal = Some(Box::new(sealed));
        if out {
            return self.shut_out(common);
        }
        if was_out && !self.is_out_itself() {
            rare!(SealedFromWhoIsOut);
            self.stopped = None;
            // What it was passed over of is gone: it counts from where its log begins.
            self.raise_mark(common, self.floor.taken);
        }
        if raised {
            self.fence_former(common, now);
            self.fence_replays(common);
        }
        let seal = self.seal.as_deref();
        let lost = |peer: &&mut Peer| seal.is_some_and(|seal| seal.lost.contains(&peer.node));
        for peer in self.peers.iter_mut().filter(lost) {
            peer.standing = None;
        }
        if self.seal.as_ref().is_some_and(|seal| seal.end.is_some()) {
            // What appends wait for is named by a log that is gone on from no more; whoever goes on sends its own.
            self.wanted.clear();
            self.starved = false;
            if self.peers.len() > 1 {
                // That may have come already.
                common.emit(Output::OfferAgain { instance: self.instance });
            }
            if self.sourceless() {
                self.held = Held::default();
            }
        }
        if self.sourceless() && !self.target.greeted {
            self.greet();
        }
        self.tell_known(common);
        self.settle_seal(common);
        self.go_on_changing(common);
        self.pump(common, now);
    }

    /// Another authority: what most members held was counted with those who are lost (S18).
    fn count_anew(&mut self, common: &Common) {
        if common.planted.strikes(Bug::ReplicatedByTheLost, || self.source.told_replicated > self.head.taken)
        {
            return;
        }
        self.source.told_replicated = Sequence(0);
        if !common.planted.strikes(Bug::SourceKeepsItsCount, || self.part == Part::Source) {
            self.source.replicated = self.head.released;
        }
    }

    /// Others go on without this member.
    fn shut_out(&mut self, common: &mut Common) {
        if common.planted.has(Bug::SealedOutGoesOn) {
            return;
        }
        rare!(SealedOut, !self.shut_out);
        self.shut_out = true;
        let end = self.seal.as_ref().and_then(|seal| Some((seal.authority, seal.sequence?)));
        let reason = match end {
            Some((authority, end)) => format!(
                "others go on with it under authority {authority}, and it was sealed at message {end}; what this node accepted above that is void, and kept \
                 as orphaned until the stream is closed"
            ),
            None => String::from(
                "others go on with it under a later authority, and say in time at which message it was sealed",
            ),
        };
        let open = |kept: &Kept| kept.last() > self.head.completed;
        if common.planted.strikes(Bug::OrphansDropped, || self.store.iter().any(|(_, kept)| open(kept))) {
            let slots: Vec<u64> = self.store.iter().map(|(slot, _)| slot).collect();
            slots.into_iter().for_each(|slot| drop(self.discard(common, slot)));
        }
        self.stop(common, reason.clone());
        self.stopped = Some(reason);
        // It may have been out before.
        self.want_no_more();
    }

    /// What is answered to whatever is asked of a member that stopped.
    pub(super) fn stop_refusal(&self) -> Option<Refusal> {
        let reason = self.stopped.clone()?;
        if self.is_out_itself() {
            return Some(Refusal::TakenOut(reason));
        }
        Some(if self.shut_out { Refusal::SealedOut(reason) } else { Refusal::StreamStopped(reason) })
    }

    /// How many messages this member accepted that those who go on without it do not hold, once it is known where they ended.
    pub(super) fn orphaned(&self) -> Option<u64> {
        let end = self.seal.as_ref().filter(|_| self.shut_out)?.sequence?;
        let above =
            |first: Sequence, last: Sequence| last.0.saturating_sub(end.0.max(first.0.saturating_sub(1)));
        // By the numbers it gave them: what its log says more is not applied any more.
        let kept = self.store.iter().filter(|_| self.part == Part::Source);
        Some(kept.map(|(_, kept)| above(kept.first, kept.last())).sum())
    }

    /// Says which message was the last, once the log that is gone on from is applied up to its end.
    pub(super) fn settle_seal(&self, common: &mut Common) {
        let Some(seal) = self.seal.as_ref().filter(|seal| seal.sequence.is_none()) else { return };
        let own = common.own;
        if seal.end.is_some_and(|(founder, end)| founder == own && self.head.applied >= end.index) {
            rare!(StreamSettled);
            let (instance, authority, sequence) = (self.instance, seal.authority, self.head.taken);
            common.emit(Output::Settled { instance, authority, sequence });
        }
    }

    /// Something came from a member of the stream's group.
    pub(super) fn heard_from(&mut self, common: &mut Common, now: Now, from: NodeId, body: Body) {
        if let Body::SealedOut(authority) = body {
            if authority > self.authority() && self.peer(from).is_some() {
                self.shut_out(common);
            }
        } else if self.is_lost(from) {
            rare!(SealedOutToldSo);
            let (instance, authority) = (self.instance, self.authority());
            common.say(from, instance, Body::SealedOut(authority));
        } else if self.is_out(from) && !common.planted.strikes(Bug::TakenOutCounts, || true) {
            rare!(TakenOutHeard);
            if let Body::Want(identity) = body
                && self.stopped.is_none()
            {
                self.answer_want(common, now, from, &identity);
            }
        } else if self.peer(from).is_some() {
            self.heard(common, now, from, body);
        }
    }

    /// Why a handler cannot go on from a position of its own, as far as that is known at once.
    pub(super) fn refused_position(&self, common: &Common, position: Position) -> Option<Refusal> {
        if position.instance != self.instance {
            let what = format!("it is of stream {}, this one is {}", position.instance, self.instance);
            return Some(Refusal::ForeignPosition(what));
        }
        if !self.owes(common) {
            // Where it begins is decided yet.
            return None;
        }
        if self.ahead_of_authority(position) {
            // What is kept here may be of another end.
            return None;
        }
        let above = self.above_seal(common, position);
        above.or_else(|| self.below_what_is_kept(self.begins_at(common, position.sequence)))
    }

    /// Whether a position was given under an authority of which this member does not know: its disk was taken back, or it is yet to hear of a seal.
    pub(super) fn ahead_of_authority(&self, position: Position) -> bool {
        position.authority > self.authority() && position.sequence > Sequence(0)
    }

    /// Where the authority of a position ended, if it did, and if that is known: none of those that followed goes on with more than it began with. What
    /// they took themselves is of no account to whoever stopped before.
    pub(super) fn sealed_end(&self, position: Position) -> Option<Option<Sequence>> {
        let seal = self.seal.as_ref().filter(|seal| position.authority < seal.authority)?;
        let former = seal.former.iter().filter(|(authority, _)| position.authority < *authority);
        let former = former.map(|&(_, end)| end).min();
        match (seal.sequence, former) {
            (Some(end), former) => Some(Some(former.map_or(end, |former| former.min(end)))),
            (None, former) => Some(former.filter(|former| position.sequence > *former)),
        }
    }

    /// The refusal of a position above the end at which its authority was sealed (rule D4).
    pub(super) fn above_seal(&self, common: &Common, position: Position) -> Option<Refusal> {
        let (position, end) = (position.sequence, self.sealed_end(position)??);
        rare!(PositionOfOldAuthority, position <= end);
        rare!(PositionAboveSealMet, position > end);
        let taken = common.planted.strikes(Bug::PositionAboveSeal, || position > end);
        (position > end && !taken).then_some(Refusal::AboveSeal { position, end })
    }

    pub(super) fn check_seal(&self) {
        let instance = self.instance;
        let Some(seal) = &self.seal else { return };
        if self.shut_out {
            let serves = self.target.handler.is_some() || self.target.attaching.is_some();
            assert!(
                self.stopped.is_some() && !serves,
                "S13: {instance} is served by a member that is shut out"
            );
        } else if let Some(end) = seal.sequence.filter(|_| self.sourceless()) {
            let taken = self.head.taken;
            assert!(taken <= end, "S14: {instance} was sealed at {end}, and {taken} are taken");
        }
    }
}
