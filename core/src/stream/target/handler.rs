//! Handing over, and what was processed (rules C4, F1, F2).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use super::super::common::Common;
use super::super::member::{Part, Stream};
use super::super::message::{Body, Standing};
use super::super::state::Effect;
use super::super::store::{key, space};
use super::super::wire::encode_mark;
use super::super::{Output, Receipt};
use super::hands::Filled;
use super::{Attaching, Handler, Hands};
use crate::id::{AttachToken, NodeId, RequestId, Sequence};
use crate::node::command::{Position, Refusal, Reply};
use crate::node::output::Delivery;
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::sometimes;
use crate::time::Now;

impl Stream {
    /// The stream begins here as target.
    pub(in crate::stream) fn begin_target(&mut self, common: &mut Common, now: Now) {
        self.target.mark_durable = self.target.mark;
        self.target.patience_until = Some(now.monotonic + common.config.handshake_patience);
        self.tell_own_mark(common);
        self.ask_all(common);
        self.arm(common, now);
    }

    /// A handler comes. The one before goes on until this one is attached: what is refused or waits takes nothing from it.
    pub(in crate::stream) fn attach(
        &mut self,
        common: &mut Common,
        now: Now,
        request: RequestId,
        presented: Option<Position>,
        window: u32,
    ) {
        if let Some(refusal) = self.stop_refusal() {
            return common.reply(request, Err(refusal));
        }
        let refusal = match presented {
            _ if window == 0 => Some(Refusal::Invalid(String::from("a handler's window is at least 1"))),
            Some(position) => self.refused_position(common, position),
            None => None,
        };
        if let Some(refusal) = refusal {
            return common.reply(request, Err(refusal));
        }
        if let Some(older) = self.target.attaching.take() {
            sometimes!(AttachSuperseded);
            common.reply(older.request, Err(Refusal::Superseded));
        }
        let token = AttachToken(common.rng.u64() >> 1 | 1);
        let question = common.serial();
        let window = u64::from(window.min(common.config.window_messages.max(1)));
        self.target.attaching = Some(Attaching { token, request, presented, window, question });
        self.settle_attaching(common, now, None);
        self.ask_attaching(common, now);
    }

    /// Why a handler at `position` cannot be brought up to date.
    pub(in crate::stream) fn below_what_is_kept(&self, position: Sequence) -> Option<Refusal> {
        let kept = self.floor.taken;
        (self.past(position) < kept).then(|| Refusal::NotKept { position, kept, authority: self.authority() })
    }

    /// The newest handler takes over.
    fn attached(
        &mut self,
        common: &mut Common,
        now: Now,
        token: AttachToken,
        request: RequestId,
        from: Sequence,
        window: u64,
    ) {
        let mut stands = self.past(from);
        if common.planted.strikes(Bug::ParkedHandedAgain, || stands > self.past_dead_tail(from)) {
            stands = self.past_dead_tail(from);
        }
        let mut handed = stands;
        if let Some(old) = self.target.handler.take() {
            sometimes!(HandlerTakenOver);
            if common.planted.strikes(Bug::TakeoverSkipsUnfinished, || old.handed > from) {
                handed = old.handed;
            }
            self.replay_ends(common, now, &old);
            common.reply(old.request, Ok(Reply::Fenced { token: old.token }));
        }
        let replaying = stands < self.target.mark;
        rare!(HandlerReplays, replaying);
        let mut handler =
            Handler { token, request, window, handed, done: stands, hands: Hands::default(), replaying };
        let undurable = stands > self.target.mark_durable;
        if undurable && !common.planted.strikes(Bug::FormerCallsForgotten, || true) {
            rare!(AttachedBehindUndurable);
            // Rule F1: a crash now has the calls of whoever was here before handed over again. None is added to them before they are marked durably.
            handler.hands.wait_behind(stands, window);
        }
        self.target.handler = Some(Box::new(handler));
        if from > self.target.mark {
            self.move_mark(common, from);
        }
        let position = Position { instance: self.instance, authority: self.authority(), sequence: from };
        common.reply(request, Ok(Reply::Attached { token, instance: self.instance, position }));
        self.pump_target(common, now);
    }

    /// A source that is left goes on under a later authority: what it sends now is of that, and the position of the handler that is here names the
    /// one before (rule D4). It attaches again.
    pub(in crate::stream) fn fence_former(&mut self, common: &mut Common, now: Now) {
        let goes_on = !self.sourceless() && self.target.handler.is_some();
        if goes_on
            && !common.planted.has(Bug::HandlerOutlivesAuthority)
            && let Some(old) = self.target.handler.take()
        {
            rare!(HandlerOfFormerAuthority);
            self.replay_ends(common, now, &old);
            let token = old.token;
            let fenced = common.planted.strikes(Bug::SealTellsFenced, || true);
            let reply = if fenced { Reply::Fenced { token } } else { Reply::Outrun { token } };
            common.reply(old.request, Ok(reply));
        }
    }

    pub(super) fn ask_attaching(&mut self, common: &mut Common, now: Now) {
        if let Some(attaching) = &mut self.target.attaching {
            // Any answer to a question asked from now on says where the log ended after this handler came.
            attaching.question = common.serial();
            self.ask_all(common);
        }
        self.arm(common, now);
    }

    /// The tokens under which something may still be said.
    pub(in crate::stream) fn tokens(&self) -> impl Iterator<Item = AttachToken> + use<> {
        let handler = self.target.handler.as_ref().map(|handler| handler.token);
        let attaching = self.target.attaching.as_ref().map(|attaching| attaching.token);
        handler.into_iter().chain(attaching)
    }

    pub(in crate::stream) fn detach(&mut self, common: &Common, now: Now, token: AttachToken) {
        if let Some(old) = self.target.handler.take_if(|handler| handler.token == token) {
            self.replay_ends(common, now, &old);
        }
        if self.target.attaching.as_ref().is_some_and(|attaching| attaching.token == token) {
            self.target.attaching = None;
        }
    }

    /// A handler goes. What was kept for its replay alone may go, too (S26).
    fn replay_ends(&mut self, common: &Common, now: Now, old: &Handler) {
        if old.replaying && !common.planted.strikes(Bug::ReplayHoldsOn, || true) {
            rare!(ReplayLeft);
            self.checkpoint_soon(common, now);
        }
    }

    /// Nobody waits for this attachment any more: it must not take over from the handler that works.
    pub(in crate::stream) fn forget_attaching(&mut self, request: RequestId) {
        self.target.attaching.take_if(|attaching| attaching.request == request);
    }

    pub(in crate::stream) fn verdict(
        &mut self,
        common: &mut Common,
        now: Now,
        token: AttachToken,
        upto: Sequence,
    ) {
        let attached = |handler: &&mut Box<Handler>| {
            handler.token == token || common.planted.has(Bug::StaleVerdictCounts)
        };
        let Some(handler) = self.target.handler.as_mut().filter(attached) else { return };
        let batch = || self.store.holding(upto).and_then(|slot| self.store.get(slot));
        let last = || batch().map_or(upto, |kept| kept.last().min(handler.handed));
        let upto = if common.planted.strikes(Bug::MarkRoundsUp, || last() > upto) { last() } else { upto };
        // S25: nobody was handed a message that ends inside another.
        let inside = batch().is_some_and(|kept| !kept.batch.ends());
        let ends = !inside || common.planted.strikes(Bug::VerdictInsideMessage, || true);
        if upto <= handler.done || upto > handler.handed || !ends || self.stopped.is_some() {
            rare!(VerdictOutOfPlace);
            return;
        }
        handler.done = upto;
        handler.replaying &= upto < self.target.mark;
        self.pass_parked(common, now);
        if upto > self.target.mark {
            self.move_mark(common, upto);
        } else {
            // A replay no longer holds these bytes.
            self.checkpoint_soon(common, now);
        }
        self.pump_target(common, now);
    }

    pub(super) fn move_mark(&mut self, common: &mut Common, upto: Sequence) {
        self.write_mark(common, upto, 0);
    }

    /// The mark moves on, `passed` sequences in front of it having been passed over.
    pub(super) fn write_mark(&mut self, common: &mut Common, upto: Sequence, passed: u64) {
        assert!(upto > self.target.mark, "S8: the mark of {} goes back to {upto}", self.instance);
        self.target.mark = upto;
        // A mark may be known of here by the word of others, and be above what this log held then.
        self.target.mark_taken = self.target.mark_taken.max(upto.min(self.head.taken));
        if passed > 0 || self.target.troubles.is_some() {
            self.target.troubles.get_or_insert_default().passed = passed;
        }
        if !common.planted.has(Bug::MarkNotWritten) {
            self.write_down(common, upto, passed);
        }
        if common.planted.has(Bug::MarkToldBeforeDurable) {
            for peer in self.superiors() {
                common.say(peer.node, self.instance, Body::Mark(upto));
            }
        }
        common.notify(Receipt::Mark { instance: self.instance, upto });
    }

    /// The record that a start goes on from.
    pub(super) fn write_down(&self, common: &mut Common, upto: Sequence, passed: u64) {
        let head = encode_mark(upto, self.target.mark_taken, passed);
        common.emit(Output::Persist(Record::state(key(self.instance, space::MARK, 0), head)));
    }

    /// The mark is known to be higher than it is here: this member's disk was rolled back. Handling goes on from there.
    pub(in crate::stream) fn raise_mark(&mut self, common: &mut Common, upto: Sequence) {
        if upto <= self.target.mark {
            return;
        }
        sometimes!(MarkRecalled);
        self.move_mark(common, upto);
        // S7: a handler that has these in its hands is busy with them all the same, and has no room for more until it says that it is done.
        let busy = |handler: &Handler| !handler.replaying && handler.done < upto.min(handler.handed);
        if let Some(handler) = self.target.handler.as_mut().filter(|handler| busy(handler)) {
            rare!(RecalledInHand);
            if common.planted.strikes(Bug::RecalledMarkSettles, || true) {
                handler.done = upto.min(handler.handed);
            }
        }
        self.fence_outrun(common);
    }

    /// A handler that stands below what is processed, or below what is kept, would meet a gap: it must attach again, where it
    /// then is told to go on.
    pub(in crate::stream) fn fence_outrun(&mut self, common: &mut Common) {
        if !self.handler_can_go_on()
            && let Some(old) = self.target.handler.take()
        {
            rare!(HandlerOutrun);
            common.reply(old.request, Ok(Reply::Outrun { token: old.token }));
        }
    }

    pub(in crate::stream) fn mark_durable(&mut self, common: &mut Common, now: Now, upto: Sequence) {
        self.target.mark_durable = self.target.mark_durable.max(upto);
        self.tell_own_mark(common);
        self.tell_mark(common);
        self.checkpoint_soon(common, now);
        self.pump_target(common, now);
    }

    /// What an applied entry means to the target.
    pub(in crate::stream) fn target_applied(&mut self, effect: Effect) {
        if let Effect::Session { .. } = effect {
            self.held.begin_session(self.head.session);
        }
        if let Effect::Completed { .. } = effect {
            self.freed(1);
        }
    }

    /// The last message that may be handed over.
    fn deliverable(&self, common: &Common) -> Sequence {
        if common.planted.has(Bug::HandlerBeforeCommit) { self.have_written() } else { self.head.taken }
    }

    /// Hands over what may be handed over, and says what is owed to the source.
    pub(in crate::stream) fn pump_target(&mut self, common: &mut Common, now: Now) {
        if self.stopped.is_some() || self.part != Part::Target {
            return;
        }
        self.drop_held();
        self.settle_attaching(common, now, None);
        self.pass_dead_tail(common, now);
        self.settle_failing(common, now);
        while self.target.greeted && !self.is_held(common) && self.hand_over(common, now) {}
        self.pump_replays(common);
        self.pump_lead(common, now);
        self.say_progress(common);
        self.arm(common, now);
    }

    /// Hands over part of one batch. `false` if nothing can be handed over now.
    fn hand_over(&mut self, common: &mut Common, now: Now) -> bool {
        let deliverable = self.deliverable(common);
        let Some(handler) = &mut self.target.handler else { return false };
        let next = handler.handed.next();
        let mut settled = handler.done.min(self.target.mark_durable);
        if common.planted.strikes(Bug::WindowCountsUndurable, || settled < handler.done) {
            settled = handler.done;
        }
        handler.hands.settle(settled);
        let room = handler.window.saturating_sub(handler.hands.count);
        sometimes!(WindowFull, room == 0);
        if room == 0 || next > deliverable {
            return false;
        }
        if self.skip_parked(common, now, next) {
            return true;
        }
        let Some(slot) = self.holding_or_admitted(common, next) else { return false };
        if self.store.get(slot).is_some_and(|kept| kept.batch.part.is_some()) {
            return self.hand_over_parts(common, next, deliverable);
        }
        let Some(payload) = self.payload_to_deliver(common, slot) else { return false };
        let Some(kept) = self.store.get(slot) else { return false };
        let Some(handler) = &self.target.handler else { return false };
        let most = (room, common.config.window_bytes);
        let filled = handler
            .hands
            .fill(kept, &payload, (next, deliverable), most, |sequence| self.is_parked(sequence));
        let Some(Filled { messages, weight, behind: sequence }) = filled else { return false };
        if messages.is_empty() {
            return false;
        }
        let ended = sequence > kept.last();
        let follows = ended.then(|| self.store.holding(sequence)).flatten();
        let Some(handler) = &mut self.target.handler else { return false };
        handler.handed = sequence.before();
        handler.hands.hand(handler.handed, messages.len() as u64, weight);
        let token = handler.token;
        common.emit(Output::Deliver(Delivery { token, instance: self.instance, messages }));
        if let Some(slot) = follows {
            // Read ahead by one batch.
            let _ = self.payload(common, slot);
        }
        true
    }

    /// Ends an attachment that waits, once it is known where this handler goes on: the source said what it heard of the mark, and
    /// the log reached the position or whoever leads said that it never did.
    pub(in crate::stream) fn settle_attaching(
        &mut self,
        common: &mut Common,
        now: Now,
        leader: Option<&Standing>,
    ) {
        // S28: who is yet to join learns then where it begins.
        let ready = self.target.greeted && self.owes(common);
        let Some(attaching) = self.target.attaching.as_ref().filter(|_| ready) else { return };
        // S25: after a start the log may not be there yet up to its mark, and parts that came to nothing may be all that stands there.
        let unread = attaching.presented.is_none() && self.sourceless() && self.target.mark > self.head.taken;
        if unread && !common.planted.has(Bug::AttachedBehindDeadTail) {
            return rare!(DeadTailAwaited);
        }
        // A handler stands where messages end: it has not heard of what nobody will have whole.
        let stands = || self.before_dead_tail(self.target.mark);
        let from =
            attaching.presented.map_or_else(stands, |position| self.begins_at(common, position.sequence));
        let sealed = self.seal.as_ref().filter(|_| self.sourceless()).and_then(|seal| seal.sequence);
        let answered = leader.filter(|leader| leader.confirmed && leader.answer >= attaching.question);
        // Whoever leads knows, past a seal too: what was given under an earlier authority is held against its end besides (rule D4).
        let own = self.lead.is_some() && self.knows_end();
        let own = own && !common.planted.strikes(Bug::FounderAsksTheSource, || self.seal.is_some());
        let own = own.then_some(self.head.taken);
        let end = answered.map(|leader| leader.taken).or(sealed).or(own).unwrap_or(Sequence(u64::MAX));
        let unknown = attaching.presented.is_some_and(|position| self.ahead_of_authority(position));
        if unknown && answered.is_none() && own.is_none() && !self.sourceless() {
            return rare!(AuthorityAwaited);
        }
        // Nobody can tell yet what of its authority there is: a leader that goes on may be past that already.
        let unsettled = |position: Position| {
            position.sequence > Sequence(0) && self.sealed_end(position).is_some_and(|end| end.is_none())
        };
        if attaching.presented.is_some_and(unsettled) && !common.planted.has(Bug::UnsettledPositionTaken) {
            return rare!(SealAwaited);
        }
        let above = attaching.presented.is_some()
            && from > self.head.taken
            && !common.planted.has(Bug::PositionUnchecked)
            && !common.planted.strikes(Bug::PositionAboveSeal, || sealed.is_some());
        if above && from <= end {
            sometimes!(PositionAwaited);
            return;
        }
        rare!(PositionForeign, above);
        let foreign = match above {
            true => {
                let what = format!("it is {from}, and the stream ends at {end}");
                Some(Refusal::ForeignPosition(what))
            }
            false if unknown => Some(Refusal::ForeignPosition(format!(
                "it was given under a later authority than {}, which is the latest",
                self.authority()
            ))),
            false => self.below_what_is_kept(from).or_else(|| self.inside_a_message(from)),
        };
        let Some(Attaching { token, request, window, presented, .. }) = self.target.attaching.take() else {
            return;
        };
        if let Some(refusal) = presented.and_then(|position| self.above_seal(common, position)) {
            return common.reply(request, Err(refusal));
        }
        match foreign {
            Some(refusal) => common.reply(request, Err(refusal)),
            None => self.attached(common, now, token, request, from, window),
        }
    }

    /// Another member told where it stands.
    pub(in crate::stream) fn member_stands(
        &mut self,
        common: &mut Common,
        now: Now,
        from: NodeId,
        standing: &Standing,
    ) {
        if let Some(place) = self.ends.place(from) {
            self.heard.raise(place, standing.mark);
        }
        // Marks are told to the source, and to whoever leads: nobody else has a word on what was processed here (rule C4), unless the source is lost, and
        // this member may lead itself. It may be more than anybody else's log holds by now, for that one's disk may have been taken back, too.
        let superior = from == self.ends.source || Some(from) == self.leader || self.sourceless();
        if superior || common.planted.strikes(Bug::AnybodyRecallsMarks, || standing.heard > self.target.mark)
        {
            self.raise_mark(common, standing.heard);
        }
        self.released_elsewhere(common, now, standing.floor);
        let knows_us = self.source_peer().is_some_and(|peer| peer.knows_us);
        if !self.target.greeted && from == self.ends.source && knows_us {
            self.greet();
        }
        self.settle_attaching(common, now, Some(standing));
        if standing.ask != 0 {
            self.tell_standing(common, from, false, standing.ask);
        }
        self.pump_target(common, now);
    }

    /// The source's word on the mark came, or patience ended.
    pub(in crate::stream) fn greet(&mut self) {
        self.target.greeted = true;
        self.target.patience_until = None;
    }

    pub(in crate::stream) fn refuse_handlers(&mut self, common: &mut Common, refusal: &Refusal) {
        let handler = self.target.handler.take().map(|handler| handler.request);
        let attaching = self.target.attaching.take().map(|attaching| attaching.request);
        for request in handler.into_iter().chain(attaching) {
            common.reply(request, Err(refusal.clone()));
        }
        self.end_replays(common, refusal);
    }
}

impl Stream {
    /// Whether the handler stands where it can go on without a gap.
    pub(in crate::stream) fn handler_can_go_on(&self) -> bool {
        let (mark, kept) = (self.target.mark, self.floor.taken);
        let fits =
            |handler: &Handler| handler.handed >= kept && (handler.replaying || handler.handed >= mark);
        self.target.handler.as_deref().is_none_or(fits)
    }

    /// The weight of what is handed over and unsettled, and how many deliveries that is.
    pub(in crate::stream) fn handed_bytes(&self) -> Option<(u64, usize)> {
        self.target.handler.as_ref().map(|handler| (handler.hands.bytes, handler.hands.out.len()))
    }

    /// The last message handed over, how many of them are unsettled, and the window.
    pub(in crate::stream) fn handed(&self) -> Option<(Sequence, u64, u64)> {
        let handler = self.target.handler.as_ref()?;
        let settled = handler.done.min(self.target.mark_durable);
        let out =
            handler.hands.out.iter().filter(|(last, ..)| *last > settled).map(|(_, count, _)| count).sum();
        Some((handler.handed, out, handler.window))
    }
}
