//! A state that comes in chunks, for a log that does not reach back far enough.
//!
//! It may come from several senders, one after the other, and after the way was cut: a state is known by its place, its length and its digest.
//! Only a whole state is offered to the owner, and nothing of it counts before the owner has taken it. From then on owner and log go on from
//! it together: a state that the owner holds is not replaced by another, and one that is of no use any more is taken back before the owner
//! has seen it, or counts. A restart begins anew: what had come was in memory.
//!
//! While a log is copied back several members may give states of different places. The one that goes furthest is kept, and the others wait:
//! were each to take the place of the other, none would ever be whole.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use xxhash_rust::xxh3::xxh3_128;

use super::Output;
use super::context::Context;
use super::entries::Entries;
use super::flow::Flows;
use super::group::Group;
use super::message::{Body, Place, Snapshot};
use super::replication::Reply;
use super::roles::Standing;
use crate::configuration::{Configuration, Member};
use crate::id::Term;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Span};
use crate::when::When;

/// A state that comes in chunks, or is before the owner.
#[derive(Clone, Debug)]
pub(super) struct Receiving {
    from: Member,
    /// The term in which that one spoke of it.
    term: Term,
    place: Place,
    configuration: Configuration,
    total: u64,
    digest: u128,
    number: u64,
    copy: bool,
    data: Vec<u8>,
    /// Something came since it was asked for last.
    fed: bool,
    /// It is let go then, unless more of it comes.
    until: Instant,
    /// It was offered to the owner.
    offered: bool,
}

impl Receiving {
    fn is(&self, chunk: &Snapshot) -> bool {
        (self.place, self.total, self.digest, self.copy)
            == (chunk.place, chunk.total, chunk.digest, chunk.copy)
    }

    /// Whether it is kept although another state begins.
    fn stays(&self, from: Member, other: &Snapshot) -> bool {
        let further = other.place.rank() > self.place.rank();
        self.offered || (self.copy && other.copy && self.from.node != from.node && !further)
    }

    /// How many bytes of it may come to be held.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Where it reaches, unless that is for the owner to say by now.
    pub(super) fn awaited(&self) -> Option<Place> {
        (!self.offered).then_some(self.place)
    }

    /// When it is let go.
    pub(super) fn until(&self) -> Option<Instant> {
        (!self.offered).then_some(self.until)
    }

    /// Nobody is accused for that time.
    pub(super) fn put_off(&mut self, by: Span) {
        self.until += by;
    }
}

impl Flows {
    /// Makes room for a state. Whether there is any; one is taken in any case.
    fn reserve(&mut self, total: u64, budget: u64) -> bool {
        let room = self.states == 0 || self.states.saturating_add(total) <= budget;
        if room {
            self.states += total;
        }
        room
    }

    /// A state is held no longer.
    fn release(&mut self, total: u64) {
        if !self.planted.strikes(Bug::StateStaysCounted, || total > 0) {
            self.states -= total;
        }
    }
}

impl Group {
    pub(super) fn handle_snapshot(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        snapshot: Snapshot,
    ) {
        if snapshot.copy {
            if !self.copies_from(from.node) {
                return;
            }
            self.be_patient_anew(context);
        } else if self.finds_others(
            context,
            from.node,
            term,
            (snapshot.place, &Entries::new()),
            snapshot.place.index,
        ) || !self.accepts_leader(context, from, term)
        {
            return;
        }
        let outdated = snapshot.place.index <= self.commit;
        if outdated && !context.planted.strikes(Bug::OutdatedSnapshotTaken, || !snapshot.copy) {
            sometimes!(SnapshotOutdated);
            // Out of date (etcd#1763): what is committed here goes further.
            if snapshot.copy {
                return self.copied_state(context, from.node, self.commit);
            }
            return self.snapshot_matched(context, from, snapshot.number);
        }
        self.take_chunk(context, from, term, snapshot);
    }

    /// Puts a chunk where it belongs, and says how much is here.
    fn take_chunk(&mut self, context: &mut Context<'_>, from: Member, term: Term, chunk: Snapshot) {
        if chunk.total > context.config.snapshot_bytes {
            rare!(SnapshotTooLarge);
            return;
        }
        let number = chunk.number;
        let known = self.receiving.as_ref().is_some_and(|receiving| receiving.is(&chunk));
        if !known && chunk.offset > 0 {
            // Its beginning was lost, or was for another life of this node.
            return self.say_here(context, from, number, 0);
        }
        if !known && !self.begin_receiving(context, from, &chunk) {
            return;
        }
        let Snapshot { place, total, digest, offset, data, .. } = chunk;
        let until = context.now + context.config.snapshot_patience;
        let Some(receiving) = &mut self.receiving else { return };
        rare!(SnapshotResumed, receiving.number != number);
        (receiving.from, receiving.number, receiving.term) = (from, number, term);
        if receiving.offered {
            return;
        }
        let misplaced = context.planted.strikes(Bug::ChunkMisplaced, || offset > receiving.data.len() as u64);
        if offset == receiving.data.len() as u64 || misplaced {
            receiving.data.extend_from_slice(&data);
            (receiving.fed, receiving.until) = (true, until);
        }
        let here = receiving.data.len() as u64;
        if here < total {
            return self.say_here(context, from, number, here);
        }
        let state = core::mem::take(&mut receiving.data);
        if state.len() as u64 != total || (xxh3_128(&state) != digest && !misplaced) {
            rare!(SnapshotDamaged);
            self.let_go_of_state(context);
            return self.say_here(context, from, number, 0);
        }
        receiving.offered = true;
        let (group, from, index, term) = (self.id, from.node, place.index, place.term);
        context.out.push_back(Output::Install { group, from, index, term, data: state.into() });
    }

    /// The first chunk of another state than the one that is here. Whether it is taken.
    fn begin_receiving(&mut self, context: &mut Context<'_>, from: Member, chunk: &Snapshot) -> bool {
        let kept = self.receiving.as_ref().is_some_and(|begun| begun.stays(from, chunk));
        if kept {
            rare!(BegunStateKept);
            return false;
        }
        rare!(OtherSnapshotBegan, self.receiving.is_some());
        self.let_go_of_state(context);
        if !context.flows.reserve(chunk.total, context.config.node_snapshot_bytes) {
            rare!(NoRoomForState);
            return false;
        }
        let until = context.now + context.config.snapshot_patience;
        self.wake_at(until);
        self.receiving = Some(Box::new(Receiving {
            from,
            term: self.term,
            place: chunk.place,
            configuration: chunk.configuration.clone(),
            total: chunk.total,
            digest: chunk.digest,
            number: chunk.number,
            copy: chunk.copy,
            data: Vec::new(),
            fed: false,
            until,
            offered: false,
        }));
        true
    }

    /// What came of a state is of no use any more. Once the owner has it, that is for the owner to answer.
    pub(super) fn let_go_of_state(&mut self, context: &mut Context<'_>) {
        let Some(receiving) = &self.receiving else { return };
        if receiving.offered {
            let offer =
                |output: &Output| matches!(output, Output::Install { group, .. } if *group == self.id);
            let Some(at) = context.out.iter().rposition(offer) else { return };
            rare!(OfferTakenBack);
            context.out.remove(at);
        }
        self.end_receiving(context.flows);
    }

    /// What is here of a state goes, if the log goes as far by now.
    pub(super) fn let_go_of_outdated_state(&mut self, context: &mut Context<'_>) {
        if self.receiving.as_ref().is_some_and(|receiving| receiving.place.index <= self.commit) {
            rare!(StateOvertaken);
            self.let_go_of_state(context);
        }
    }

    /// The owner found that what is committed here is not in the state that it was given.
    pub(super) fn state_contradicted(&mut self, context: &mut Context<'_>, reason: String) {
        let offered = self.receiving.take_if(|receiving| receiving.offered);
        let Some(receiving) = offered else { return };
        context.flows.release(receiving.total);
        if receiving.copy {
            return self.copy_contradicted(context, receiving.from.node, reason);
        }
        self.contradicted(context, self.commit, reason);
    }

    /// Nothing is held of a state any more.
    pub(super) fn end_receiving(&mut self, flows: &mut Flows) {
        if let Some(receiving) = self.receiving.take() {
            flows.release(receiving.total);
        }
    }

    /// Whether a state that is copied back has come further since this was asked last.
    pub(super) fn takes_in_a_state(&mut self) -> bool {
        let receiving = self.receiving.as_mut().filter(|receiving| receiving.copy);
        receiving.is_some_and(|receiving| core::mem::take(&mut receiving.fed))
    }

    fn say_here(&self, context: &mut Context<'_>, to: Member, number: u64, here: u64) {
        self.answer(context, to, self.term, Body::SnapshotReply { number, here }, When::Now);
    }

    /// The owner took the state, in this step, or did not.
    ///
    /// Much may have been heard since it was offered: a later term, in which nobody said anything of this state, or that this replica's own disk
    /// was rolled back. What the owner took is taken here, too, and is remembered and answered as what it is: said in that term (R15).
    pub(super) fn installed(&mut self, context: &mut Context<'_>, taken: bool) {
        let Some(receiving) = self.receiving.take_if(|receiving| receiving.offered) else { return };
        context.flows.release(receiving.total);
        let Receiving { from, term, place, configuration, number, copy, .. } = *receiving;
        let outdated = place.index <= self.commit;
        let stopped = matches!(self.standing, Standing::Stopped { .. });
        if !taken || stopped || outdated && !context.planted.strikes(Bug::OutdatedSnapshotTaken, || !copy) {
            rare!(StateNotTaken);
            return;
        }
        let known = self.log.configuration();
        let outdated = context.planted.strikes(Bug::SnapshotKeepsConfiguration, || *known != configuration);
        let configuration = if outdated { known.clone() } else { configuration };
        self.log.reset(place, configuration);
        let lower = context.planted.strikes(Bug::SnapshotSetsTerm, || place.term < self.term);
        if place.term > self.term || lower {
            self.term = place.term;
            self.set_vote(None);
        }
        self.commit = self.commit.max(place.index);
        self.applied = self.applied.max(place.index);
        if self.relay.is_some() {
            self.news_for_all();
        }
        if !copy {
            // Who sends a state vouches for it (rule C2). An append may never follow.
            self.vouched(context, from, term, place, None);
        }
        self.begin_history(context, place.index);
        self.write_reset(context);
        self.tell_configuration(context);
        sometimes!(StateTaken);
        if copy {
            self.copied_state(context, from.node, self.log.base().index);
        } else if term == self.term && self.may_vote(context) {
            self.snapshot_matched(context, from, number);
        } else {
            rare!(StateOfAnEarlierTerm);
        }
    }

    fn snapshot_matched(&mut self, context: &mut Context<'_>, to: Member, number: u64) {
        let place = self.log.place_upto(self.commit.min(self.log.durable()));
        self.acknowledge(context, to, Reply::matched(number, place, 0));
    }
}
