//! Retention: what all have processed is kept for a while longer, for whoever wants to read it again (decision 28).
//!
//! Whoever leads says up to where bytes may go, and says no more than the retention lets go. How many messages, and how many bytes, stand behind a message
//! follows from the log. How old it is does, too: the leader writes the time into the log now and then, and what was taken before such a stamp is as old as the
//! stamp at least. So nothing goes early by the clock of who leads, and it goes late by a few percent. Stamps only grow. Within one lead they follow the
//! monotonic clock: steps of the wall clock there make nothing older.
//!
//! What is kept for its own sake takes neither the room of publishers nor that of those who have yet to process: where a disk that a member has, or memory for the index,
//! becomes scarce, the oldest goes first, by an entry that says why (S35).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use super::Output;
use super::common::Common;
use super::entry::{Batch, ENTRY_OVERHEAD, Entry};
use super::member::Stream;
use super::state::{Effect, KeepState};
use super::store::Kept;
use super::wire::encode_entry;
use crate::id::{BootId, LogIndex, NodeId, Sequence};
use crate::planted::Bug;
use crate::rare;
use crate::retention::{self, Retention, Scarce, Short};
use crate::time::{Instant, Now, Span, Wall};

/// The number of the proposal of a stamp.
pub(super) const KEEP: u64 = u64::MAX - 8;
/// A stamp is written this many times within the time for which messages are kept.
const STAMPS: u64 = 32;
/// Time between two stamps, at least.
const STAMP_LEAST: Span = Span::millis(250);
/// Stamps that are remembered, at most: as many as there are within the time, and one for each change of the leader.
const STAMPS_MOST: usize = 256;

/// Up to where one limit lets messages go.
#[derive(Clone, Copy, Debug, Default)]
struct Edge {
    /// The last message that it does not want.
    upto: Sequence,
    /// The last batch that was looked at; inside a message of several parts, perhaps.
    at: Sequence,
    /// How much stands behind that.
    behind: u64,
}

impl Edge {
    fn pass(&mut self, kept: &Kept, measure: u64) {
        self.behind -= measure;
        self.at = kept.last();
        if kept.batch.ends() {
            self.upto = self.at;
        }
    }

    /// A batch is gone.
    fn forget(&mut self, kept: &Kept, measure: u64) {
        if kept.first > self.at {
            self.pass(kept, measure);
        }
    }
}

/// Messages that end in a batch.
fn messages(batch: &Batch) -> u64 {
    if batch.ends() { batch.live() } else { 0 }
}

/// What is kept for its own sake alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct History {
    /// Up to here everybody has processed everything, and the log says so; but for a target that came since, which may owe some of it.
    upto: Sequence,
    /// The entry that took the last of these batches.
    index: LogIndex,
    batches: u64,
    messages: u64,
    /// Bytes of messages, and of memory that goes with them, as the limits of a stream count them.
    weight: u64,
    payload: u64,
    part_bytes: u64,
}

impl History {
    fn add(&mut self, batch: &Batch) {
        self.batches += 1;
        self.messages += batch.live();
        self.weight += batch.weight();
        self.payload += batch.bytes();
        self.part_bytes += batch.part_bytes();
    }

    fn take(&mut self, batch: &Batch) {
        self.batches -= 1;
        self.messages -= batch.live();
        self.weight -= batch.weight();
        self.payload -= batch.bytes();
        self.part_bytes -= batch.part_bytes();
    }
}

/// What a stream with a retention remembers beside its log.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeping {
    messages: Edge,
    bytes: Edge,
    /// When everything up to a message was in the log, by stamps that are younger than the retention asks for.
    stamps: VecDeque<(Wall, Sequence)>,
    /// There were too many of them.
    thinned: bool,
    aged: Sequence,
    history: History,
    /// What the wall clock said when this member began to lead, and when that was.
    anchor: Option<(Instant, Wall)>,
    /// A stamp is under way.
    proposed: bool,
    pub(super) due: Option<Instant>,
    /// When something was let go last for want of room.
    gave: Option<Instant>,
    /// That was for what this member said.
    heeded: Option<(NodeId, BootId, u64)>,
}

impl Keeping {
    /// Begins where nothing above is known.
    fn new(upto: Sequence, index: LogIndex) -> Self {
        let edge = Edge { upto, at: upto, behind: 0 };
        let history = History { upto, index, ..History::default() };
        Self { messages: edge, bytes: edge, aged: upto, history, ..Self::default() }
    }

    fn forget(&mut self, kept: &Kept) {
        self.messages.forget(kept, messages(&kept.batch));
        self.bytes.forget(kept, kept.batch.bytes());
        if kept.last() <= self.history.upto {
            self.history.take(&kept.batch);
        } else {
            self.history.upto = kept.last();
            self.history.index = kept.taken.unwrap_or(self.history.index);
        }
        self.aged = self.aged.max(kept.last());
    }
}

/// Time between two stamps of a stream that keeps messages for so long.
fn pause(span: Span) -> u64 {
    span.over(STAMPS).max(STAMP_LEAST).as_millis()
}

impl Stream {
    /// The stream is opened here.
    pub(super) fn begin_keeping(&mut self) {
        if self.ends.keep.keeps() {
            self.keeping = Some(Box::new(Keeping::new(self.floor.taken, self.floor.applied)));
        }
    }

    /// The log was replaced by a state.
    pub(super) fn keep_anew(&mut self) {
        if self.keeping.is_some() {
            self.begin_keeping();
        }
    }

    /// Another one leads, or in another term.
    pub(super) fn keeping_moved(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            (keeping.anchor, keeping.proposed, keeping.heeded) = (None, false, None);
        }
    }

    /// A stamp was not appended.
    pub(super) fn keep_refused(&mut self) {
        self.keeping.iter_mut().for_each(|keeping| keeping.proposed = false);
    }

    /// A batch is gone that the log had taken.
    pub(super) fn forget_kept(&mut self, kept: &Kept) {
        if kept.taken.is_some() {
            self.keeping.iter_mut().for_each(|keeping| keeping.forget(kept));
        }
    }

    /// An entry is applied, and its effect is in the head.
    pub(super) fn keep_applied(&mut self, effect: Effect, entry: Option<&Entry>) {
        let keep = self.ends.keep;
        let Some(keeping) = &mut self.keeping else { return };
        match effect {
            Effect::Taken { first } => {
                let Some(kept) = self.store.holding(first).and_then(|slot| self.store.get(slot)) else {
                    return;
                };
                keeping.messages.behind += messages(&kept.batch);
                keeping.bytes.behind += kept.batch.bytes();
                let next = |edge: &Edge| {
                    let slot = self.store.holding(edge.at.next());
                    slot.and_then(|slot| self.store.get(slot))
                };
                while let Some(kept) = next(&keeping.messages)
                    && keeping.messages.behind - messages(&kept.batch) >= keep.messages
                {
                    keeping.messages.pass(kept, messages(&kept.batch));
                }
                while let Some(kept) = next(&keeping.bytes)
                    && keeping.bytes.behind - kept.batch.bytes() >= keep.bytes
                {
                    keeping.bytes.pass(kept, kept.batch.bytes());
                }
            }
            Effect::Kept { clock: stamp, .. } => {
                let clock = self.head.clock();
                let ended = self.head.ended();
                if stamp > Wall(0) && keeping.stamps.back().map_or(keeping.aged, |(_, upto)| *upto) < ended {
                    if keeping.stamps.len() >= STAMPS_MOST {
                        rare!(StampsThinned);
                        keeping.thinned = true;
                        keeping.stamps.pop_front();
                    }
                    keeping.stamps.push_back((clock, ended));
                }
                let old = |at: Wall| clock.0.saturating_sub(at.0) >= keep.span.as_millis();
                while keeping.stamps.front().is_some_and(|&(at, _)| old(at)) {
                    keeping.aged =
                        keeping.stamps.pop_front().map_or(keeping.aged, |(_, upto)| keeping.aged.max(upto));
                }
            }
            _ => {}
        }
        if matches!(entry, Some(Entry::Keep { .. })) {
            keeping.proposed = false;
        }
    }

    /// Up to where the retention lets bytes go: each of its limits does, or there was no room.
    pub(super) fn kept_bound(&self, common: &Common) -> Sequence {
        let Some(keeping) = &self.keeping else { return Sequence(u64::MAX) };
        let Retention { messages, bytes, span } = self.ends.keep;
        let limits = [
            (messages > 0, keeping.messages.upto),
            (bytes > 0, keeping.bytes.upto),
            (span > Span::ZERO, keeping.aged),
        ];
        let given = || limits.iter().filter(|(given, _)| *given).map(|(_, upto)| *upto);
        let (all, any) = (given().min().unwrap_or_default(), given().max().unwrap_or_default());
        let early = common.planted.strikes(Bug::KeptByOneLimit, || any > all.max(self.head.released));
        if early { any } else { all.max(self.head.gone_short()) }
    }

    /// Why an entry that is about to be applied cannot be, if it lets go of what the retention keeps (S35): whoever wrote it knows of no retention.
    pub(super) fn lets_go_early(&self, common: &Common, entry: Option<&Entry>) -> Option<String> {
        let thinned = self.keeping.as_ref().is_none_or(|keeping| keeping.thinned);
        let Some(Entry::Complete { released, .. }) = entry.filter(|_| !thinned) else { return None };
        let bound = self.kept_bound(common).max(self.head.released);
        if *released <= bound || common.planted.has(Bug::KeptByOneLimit) {
            return None;
        }
        Some(alloc::format!(
            "its log lets go of the messages up to {released}, and its retention keeps those behind {bound} (S35): run a newer version on all of its nodes"
        ))
    }

    /// Up to here everybody has processed everything, and the log says that it is completed; what of that is kept is kept for its own sake.
    pub(super) fn past_all(&self) -> Sequence {
        self.keeping
            .as_ref()
            .map_or(self.head.released, |keeping| keeping.history.upto.max(self.head.released))
    }

    /// What of the weight of batches is kept for its own sake: nobody waits for room because of that. And the bytes of parts among it.
    pub(super) fn history_weight(&self) -> (u64, u64) {
        self.keeping.as_ref().map_or((0, 0), |keeping| (keeping.history.weight, keeping.history.part_bytes))
    }

    /// The entry behind which nothing is kept for its own sake alone, and how many batches are up to it.
    pub(super) fn history_ends(&self) -> (LogIndex, u64) {
        let none = (self.floor.applied, 0);
        self.keeping
            .as_ref()
            .map_or(none, |keeping| (keeping.history.index.max(self.floor.applied), keeping.history.batches))
    }

    /// Memory that goes with what is kept for its own sake.
    fn history_memory(&self) -> u64 {
        let Some(Keeping { history, .. }) = self.keeping.as_deref() else { return 0 };
        let (ends, batches) = self.history_ends();
        let besides = (ends.0 - self.floor.applied.0).saturating_sub(batches);
        history.weight - self.history_stored() + besides * ENTRY_OVERHEAD
    }

    /// Bytes of payloads, parts aside, that are kept for their own sake.
    pub(super) fn history_stored(&self) -> u64 {
        self.keeping.as_ref().map_or(0, |keeping| keeping.history.payload - keeping.history.part_bytes)
    }

    /// What everybody has processed by now is history.
    fn follow_history(&mut self, common: &Common) {
        if self.keeping.is_none() {
            return;
        }
        let upto = self.heard_upto(common).1.max(self.head.released).min(self.head.completed);
        let Some(keeping) = &mut self.keeping else { return };
        let next = |upto: Sequence| {
            let slot = self.store.holding(upto.next());
            slot.and_then(|slot| self.store.get(slot))
        };
        while let Some(kept) = next(keeping.history.upto).filter(|kept| kept.last() <= upto) {
            keeping.history.add(&kept.batch);
            keeping.history.upto = kept.last();
            keeping.history.index = kept.taken.unwrap_or(keeping.history.index);
        }
    }

    /// The time of the log, as this leader would stamp it now: what its wall clock said when it began to lead, forced above what the log says, and the time
    /// since then.
    fn log_time(&mut self, now: Now) -> Wall {
        let before = self.head.clock();
        let Some(keeping) = &mut self.keeping else { return before };
        let (since, wall) = *keeping.anchor.get_or_insert((now.monotonic, now.wall.max(before)));
        Wall(wall.0.saturating_add(now.monotonic.since(since).as_millis()))
    }

    /// Whether this member is to say what the time is, and what goes for want of room.
    fn tends(&self) -> bool {
        let sealing = self.seal.as_ref().is_some_and(|seal| seal.sequence.is_none());
        let proposed = self.keeping.as_ref().is_none_or(|keeping| keeping.proposed);
        !proposed && self.knows_end() && self.stopped.is_none() && !sealing
    }

    /// The time at which the next stamp is due, if one is: something is in the log that no stamp stands behind, or will be old enough.
    fn next_stamp(&self) -> Option<Wall> {
        let (keeping, span) = (self.keeping.as_deref()?, self.ends.keep.span);
        if span == Span::ZERO {
            return None;
        }
        let marked = keeping.stamps.back().map_or(keeping.aged, |(_, upto)| *upto);
        let soonest = Wall(self.head.clock().0.saturating_add(pause(span)));
        let old =
            || keeping.stamps.front().map(|(at, _)| Wall(at.0.saturating_add(span.as_millis())).max(soonest));
        if marked < self.head.ended() { Some(soonest) } else { old() }
    }

    /// Sees to it that this is looked at when something is to be said.
    pub(super) fn tend(&mut self, common: &Common, now: Now) {
        self.follow_history(common);
        let tends = self.tends();
        let scarce = tends && self.scarce(common).is_some();
        let stamp = self.next_stamp().filter(|_| tends);
        let time = if stamp.is_some() { self.log_time(now) } else { Wall(0) };
        let Some(keeping) = &mut self.keeping else { return };
        let stamp = stamp.map(|at| now.monotonic + Span::millis(1).times(at.0.saturating_sub(time.0)));
        let again = |at: Instant| at + common.config.restate_most;
        let gives = scarce.then(|| keeping.gave.map_or(now.monotonic, again).max(now.monotonic));
        keeping.due = stamp.into_iter().chain(gives).min();
    }

    /// Says what the time is, and what goes for want of room, if it is time for that.
    pub(super) fn keep_on(&mut self, common: &mut Common, now: Now) {
        let due = self.keeping.as_ref().and_then(|keeping| keeping.due).is_some_and(|at| at <= now.monotonic);
        if !due || !self.tends() {
            return;
        }
        let before = self.head.clock();
        let time = if self.next_stamp().is_some() { self.log_time(now) } else { before };
        let clock = if self.next_stamp().is_some_and(|at| at <= time) { time } else { before };
        let rests = |at: Instant| now.monotonic.since(at) < common.config.restate_most;
        let rested = !self.keeping.as_ref().and_then(|keeping| keeping.gave).is_some_and(rests);
        let scarce = if rested { self.scarce(common) } else { None };
        let short = scarce.map(|(node, what)| (node, what, self.least_wanted(common, what)));
        let gives = short.and_then(|(node, what, upto)| {
            let place = self.ends.members().position(|member| member == node)?;
            (upto > self.head.gone_short()).then_some((upto, (place as u8, what)))
        });
        rare!(HistoryGaveWay, gives.is_some());
        let (gone, by) = gives.map_or((Sequence(0), None), |(upto, by)| (upto, Some(by)));
        if let Some((node, ..)) = short {
            let heard = self.peer(node).and_then(|peer| peer.standing);
            if let Some(keeping) = &mut self.keeping {
                keeping.gave = Some(now.monotonic);
                keeping.heeded = heard.map(|said| (node, said.boot, said.serial));
            }
            if node != common.own {
                // Only what it says from now on counts.
                self.tell_standing(common, node, true, 0);
            }
        }
        if clock > before || by.is_some() {
            rare!(TimeStamped, clock > before);
            self.keeping.iter_mut().for_each(|keeping| keeping.proposed = true);
            let (instance, data) = (self.instance, encode_entry(&Entry::Keep { clock, gone, by }));
            common.emit(Output::Propose { instance, data, weight: 0, unhurried: true, context: KEEP });
        }
        self.arm(common, now);
    }

    /// Where something is scarce, as far as it is known here, that is taken by what is kept for its own sake.
    fn scarce(&self, common: &Common) -> Option<(NodeId, Scarce)> {
        let keeping = self.keeping.as_ref().filter(|keeping| keeping.history.batches > 0)?;
        if !common.has_history_room() {
            return Some((common.own, Scarce::Disk));
        }
        if self.history_memory() > common.config.history_memory {
            return Some((common.own, Scarce::Memory));
        }
        let least = common.config.intake_room.saturating_add(common.config.history_room);
        // Who is yet to join gets what there is, and is no reason to let go of it.
        let members = |node: NodeId| self.is_member(node) && !self.is_gone(node);
        let short = self.peers.iter().filter(|peer| peer.stands() && members(peer.node)).find(|peer| {
            let heeded = |said: &super::message::Standing| {
                keeping.heeded.is_some_and(|(node, boot, serial)| {
                    (node, boot) == (peer.node, said.boot) && said.serial <= serial
                })
            };
            peer.standing.is_some_and(|said| said.space < least && !heeded(&said))
        });
        short.map(|peer| (peer.node, Scarce::Disk))
    }

    /// Up to where history goes, if something is scarce: an eighth of it, the oldest, and as much as was to stay free.
    fn least_wanted(&self, common: &Common, what: Scarce) -> Sequence {
        let Some(keeping) = &self.keeping else { return Sequence(0) };
        let (history, memory) = (keeping.history, self.history_memory());
        // What whoever came, or comes, owes gives way to nothing.
        let goes = history.upto.min(self.heard_upto(common).1.max(self.head.released));
        let much = match what {
            Scarce::Disk => (history.payload / 8).max(common.config.history_room),
            Scarce::Memory => memory - common.config.history_memory.min(memory) / 8 * 7,
        };
        let (mut upto, mut freed) = (Sequence(0), 0);
        let batches = self.store.taken.values().filter_map(|&slot| self.store.get(slot));
        for kept in batches.take_while(|kept| kept.last() <= goes) {
            if freed >= much {
                break;
            }
            let bytes = kept.batch.bytes();
            freed += match what {
                Scarce::Disk => bytes,
                Scarce::Memory => kept.batch.weight() - (bytes - kept.batch.part_bytes()),
            };
            if kept.batch.ends() {
                upto = kept.last();
            }
        }
        upto
    }

    /// Whoever leads, or may come to, is told how much room there is here.
    pub(super) fn tell_room(&mut self, common: &mut Common) {
        if self.keeping.is_none() {
            return;
        }
        let (source, leader) = (self.ends.source, self.leader);
        let peers = self.peers.iter().map(|peer| peer.node);
        let told: Vec<NodeId> = peers.filter(|&node| node == source || Some(node) == leader).collect();
        told.into_iter().for_each(|node| self.tell_standing(common, node, false, 0));
    }

    /// What is kept here.
    pub(super) fn kept_status(&self) -> retention::Kept {
        let history = self.keeping.as_ref().map(|keeping| keeping.history).unwrap_or_default();
        let gone = self.head.keeping.as_ref();
        let short = gone.and_then(|gone| {
            let KeepState { gone: upto, by, .. } = **gone;
            let (place, scarce) = by?;
            Some(Short { upto, node: self.ends.members().nth(place.into())?, scarce })
        });
        retention::Kept {
            first: self.floor.taken.next(),
            messages: history.messages,
            bytes: history.payload,
            short,
        }
    }

    /// Panics if what is kept for its own sake is miscounted (S36).
    pub(super) fn check_history(&self) {
        let Some(keeping) = &self.keeping else { return };
        let mut found =
            History { upto: keeping.history.upto, index: keeping.history.index, ..History::default() };
        let kept = self.store.taken.values().filter_map(|&slot| self.store.get(slot));
        let (mut messages_behind, mut bytes_behind) = (0, 0);
        for kept in kept {
            if kept.last() <= found.upto {
                found.add(&kept.batch);
            }
            messages_behind += if kept.first > keeping.messages.at { messages(&kept.batch) } else { 0 };
            bytes_behind += if kept.first > keeping.bytes.at { kept.batch.bytes() } else { 0 };
        }
        let counted = (keeping.messages.behind, keeping.bytes.behind);
        assert_eq!(
            found, keeping.history,
            "S36: what {} keeps for its own sake is miscounted",
            self.instance
        );
        assert_eq!(
            (messages_behind, bytes_behind),
            counted,
            "S36: what stands behind the edges of {} is miscounted",
            self.instance
        );
        assert!(keeping.stamps.len() <= STAMPS_MOST, "S36: {} remembers too many stamps", self.instance);
    }
}
