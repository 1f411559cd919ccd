//! Replays: what was processed here and is still kept, read again beside the handler (S37).
//!
//! A replay has a token and a window of its own, and nothing that it says moves anything but itself. It holds nothing back either: when what it is to be handed next is
//! let go, it ends and is told where it may go on.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::Output;
use super::super::common::Common;
use super::super::entry::MESSAGE_OVERHEAD;
use super::super::member::{Part, Stream};
use super::super::parts::Run;
use super::hands::{Filled, Hands};
use super::pieces::piece_of;
use crate::id::{AttachToken, RequestId, Sequence};
use crate::node::command::{Position, Range, Refusal, Reply};
use crate::node::output::Delivery;
use crate::planted::Bug;
use crate::rare;

/// A replay that is under way.
#[derive(Clone, Debug)]
pub(in crate::stream) struct Replay {
    pub(in crate::stream) token: AttachToken,
    request: RequestId,
    window: u64,
    /// The last message of its range.
    to: Sequence,
    /// The last message handed over.
    handed: Sequence,
    /// The last message it is done with.
    done: Sequence,
    hands: Hands,
    /// It begins ahead of the log: nobody knows yet whether that is inside a message.
    ahead: bool,
}

/// What came of handing over.
enum Handed {
    /// Something was; there may be more.
    Some,
    /// Nothing can be now.
    Nothing,
    /// The range ends here.
    End,
}

impl Stream {
    /// Somebody wants to read again.
    pub(in crate::stream) fn replay(
        &mut self,
        common: &mut Common,
        request: RequestId,
        range: Range,
        window: u32,
    ) -> Option<AttachToken> {
        let found = self.replay_from(common, range, window);
        let from = match found {
            Ok(from) => from,
            Err(refusal) => {
                common.reply(request, Err(refusal));
                return None;
            }
        };
        rare!(ReplayBegun);
        let token = AttachToken(common.rng.u64() >> 1 | 1);
        let replay = Replay {
            token,
            request,
            window: u64::from(window.min(common.config.window_messages.max(1))),
            to: range.to.unwrap_or(Sequence(u64::MAX)),
            handed: from,
            done: from,
            hands: Hands::default(),
            ahead: from > self.head.taken,
        };
        self.target.replays.push(Box::new(replay));
        common.replays += 1;
        let position = Position { instance: self.instance, authority: self.authority(), sequence: from };
        common.reply(request, Ok(Reply::Attached { token, instance: self.instance, position }));
        self.pump_replays(common);
        Some(token)
    }

    /// The last message in front of a replay.
    fn replay_from(&self, common: &Common, range: Range, window: u32) -> Result<Sequence, Refusal> {
        if let Some(refusal) = self.stop_refusal() {
            return Err(refusal);
        }
        let (gone, invalid) =
            (self.unreadable(common), |what: &str| Err(Refusal::Invalid(String::from(what))));
        let wanted = range.from.unwrap_or(gone.next());
        if window == 0 {
            return invalid("the window of a replay is at least 1");
        }
        if wanted == Sequence(0) {
            return invalid("the messages of a stream are numbered from 1");
        }
        if range.to.is_some_and(|to| to < wanted) {
            return invalid("a replay ends behind its first message");
        }
        if wanted <= gone {
            rare!(ReplayBelowFloor);
            return Err(Refusal::Released { wanted, first: gone.next() });
        }
        let limit = common.config.replays;
        if common.replays >= limit {
            return Err(Refusal::TooManyReplays { limit: limit as u64 });
        }
        // A message of several parts bears the number of the last one, and is handed over from its first.
        Ok(self.whole_up_to(wanted.before()))
    }

    /// Up to here nothing is read again: it is let go, or stands in front of where this target began.
    fn unreadable(&self, common: &Common) -> Sequence {
        self.floor.taken.max(self.owes_behind(common))
    }

    fn replay_of(&self, token: AttachToken) -> Option<&Replay> {
        self.target.replays.iter().find(|replay| replay.token == token).map(Box::as_ref)
    }

    fn replay_at(&mut self, token: AttachToken) -> Option<&mut Replay> {
        self.target.replays.iter_mut().find(|replay| replay.token == token).map(Box::as_mut)
    }

    /// The tokens of the replays that are under way.
    pub(in crate::stream) fn replays(&self) -> impl Iterator<Item = AttachToken> + '_ {
        self.target.replays.iter().map(|replay| replay.token)
    }

    pub(in crate::stream) fn leave_replay(&mut self, common: &mut Common, token: AttachToken) {
        let before = self.target.replays.len();
        self.target.replays.retain(|replay| replay.token != token);
        common.replays -= before - self.target.replays.len();
    }

    /// A replay ends, and is told so.
    fn end_replay(&mut self, common: &mut Common, token: AttachToken, why: Result<Reply, Refusal>) {
        if let Some(request) = self.replay_at(token).map(|replay| replay.request) {
            self.leave_replay(common, token);
            common.reply(request, why);
        }
    }

    /// All of them end.
    pub(in crate::stream) fn end_replays(&mut self, common: &mut Common, refusal: &Refusal) {
        for token in self.replays().collect::<Vec<_>>() {
            self.end_replay(common, token, Err(refusal.clone()));
        }
    }

    /// The stream goes on under another authority: what stood at a number may be another message.
    pub(in crate::stream) fn fence_replays(&mut self, common: &mut Common) {
        for token in self.replays().collect::<Vec<_>>() {
            self.end_replay(common, token, Ok(Reply::Outrun { token }));
        }
    }

    /// Those end whose next message is gone.
    pub(in crate::stream) fn outrun_replays(&mut self, common: &mut Common) {
        let gone = self.unreadable(common);
        let outrun = self.target.replays.iter().filter(|replay| replay.handed < gone);
        let outrun: Vec<_> = outrun.map(|replay| (replay.token, replay.handed.next())).collect();
        for (token, wanted) in outrun {
            rare!(ReplayOutrun);
            if common.planted.strikes(Bug::ReplaySkipsGap, || true) {
                if let Some(replay) = self.replay_at(token) {
                    (replay.handed, replay.hands.inside) = (gone, None);
                }
                continue;
            }
            self.end_replay(common, token, Err(Refusal::Released { wanted, first: gone.next() }));
        }
    }

    /// A replay is done with everything up to `upto`.
    pub(in crate::stream) fn replay_verdict(
        &mut self,
        common: &mut Common,
        token: AttachToken,
        upto: Sequence,
    ) {
        let Some(replay) = self.replay_at(token) else { return };
        if upto <= replay.done || upto > replay.handed {
            return;
        }
        replay.done = upto;
        replay.hands.settle(upto);
        if common.planted.strikes(Bug::ReplayMovesMark, || upto < self.target.mark) {
            self.write_down(common, upto, 0);
        }
        self.pump_replays(common);
    }

    /// It took pieces.
    pub(in crate::stream) fn replay_took(&mut self, common: &mut Common, token: AttachToken, bytes: u64) {
        if let Some(replay) = self.replay_at(token) {
            replay.hands.take(bytes);
            self.pump_replays(common);
        }
    }

    /// What may be read again: what is processed here for good, and in the log as this member has it.
    fn replayable(&self, common: &Common) -> Sequence {
        let upto = self.processed_here(common);
        let more = self.head.taken;
        if common
            .planted
            .strikes(Bug::ReplayAheadOfHandler, || more > upto && !self.target.replays.is_empty())
        {
            return more;
        }
        upto
    }

    /// What this target has processed of the log as it has it: nothing before that says that it is one, whatever the others, who know by then that it
    /// is past what stands in front of its start, tell it of its mark.
    fn processed_here(&self, common: &Common) -> Sequence {
        if !self.owes(common) && !common.planted.strikes(Bug::ReplayBeforeJoining, || true) {
            return Sequence(0);
        }
        self.target.mark_durable.min(self.head.taken)
    }

    /// Hands over what may be handed over.
    pub(in crate::stream) fn pump_replays(&mut self, common: &mut Common) {
        if self.stopped.is_some() || self.part != Part::Target || self.target.replays.is_empty() {
            return;
        }
        for token in self.replays().collect::<Vec<_>>() {
            loop {
                match self.hand_again(common, token) {
                    Handed::Some => {}
                    Handed::Nothing => break,
                    Handed::End => {
                        self.end_replay(common, token, Ok(Reply::Replayed { token }));
                        break;
                    }
                }
            }
        }
    }

    /// The log has come to where a replay begins, which may be inside a message: that is handed over from its first part.
    fn anchor_replay(&mut self, token: AttachToken, upto: Sequence) {
        let at = self.replay_at(token).filter(|replay| replay.ahead && replay.handed < upto);
        let Some(at) = at.map(|replay| replay.handed) else { return };
        let begins = self.whole_up_to(at);
        if let Some(replay) = self.replay_at(token) {
            (replay.handed, replay.done, replay.ahead) = (begins, begins, false);
        }
    }

    /// Hands a replay part of one batch.
    fn hand_again(&mut self, common: &mut Common, token: AttachToken) -> Handed {
        let upto = self.replayable(common);
        self.anchor_replay(token, upto);
        let Some(replay) = self.replay_at(token) else { return Handed::Nothing };
        let next = replay.handed.next();
        if next > replay.to {
            return Handed::End;
        }
        let room = replay.window.saturating_sub(replay.hands.count);
        let bounds = (next, upto.min(replay.to));
        if room == 0 || next > upto {
            return Handed::Nothing;
        }
        let Some(slot) = self.store.holding(next) else { return Handed::Nothing };
        if self.store.get(slot).is_some_and(|kept| kept.batch.part.is_some()) {
            return self.hand_parts_again(common, token, next, upto);
        }
        let Some(payload) = self.payload(common, slot) else { return Handed::Nothing };
        let Some(kept) = self.store.get(slot) else { return Handed::Nothing };
        let Some(replay) = self.replay_of(token) else { return Handed::Nothing };
        let filled = replay.hands.fill(kept, &payload, bounds, (room, common.config.replay_bytes), |_| false);
        let Some(Filled { messages, weight, behind: sequence }) = filled else { return Handed::Nothing };
        if messages.is_empty() {
            return Handed::Nothing;
        }
        // What lies behind may be read by nobody else: it does not stay in memory instead of what is under way.
        let old = kept.last() <= self.head.completed && sequence > kept.last();
        let instance = self.instance;
        if old {
            common.cache.remove(instance, slot);
        }
        let Some(replay) = self.replay_at(token) else { return Handed::Nothing };
        replay.handed = sequence.before();
        replay.hands.hand(replay.handed, messages.len() as u64, weight);
        common.emit(Output::Deliver(Delivery { token, instance, messages }));
        Handed::Some
    }

    /// Hands a replay the next piece of the message whose first part stands at `first`.
    fn hand_parts_again(
        &mut self,
        common: &mut Common,
        token: AttachToken,
        first: Sequence,
        upto: Sequence,
    ) -> Handed {
        let run = self.run_from(first, upto);
        let dead = self.dead_tail().is_some_and(|ended| ended < first);
        let Some(replay) = self.replay_at(token) else { return Handed::Nothing };
        let last = match run {
            Run::Whole(last) if last > replay.to => return Handed::End,
            Run::Whole(last) => last,
            Run::Broken(next) => {
                replay.handed = next.before();
                return Handed::Some;
            }
            // Of what stands at the end of a sealed log nobody will have the rest.
            Run::Coming if dead => {
                replay.handed = upto;
                return Handed::Some;
            }
            Run::Coming => return Handed::Nothing,
        };
        let hands = &replay.hands;
        let (at, untaken) = (hands.inside.map_or(first, Sequence::next), hands.untaken());
        let full = hands.bytes > 0 && hands.bytes + MESSAGE_OVERHEAD > common.config.replay_bytes;
        let Some(slot) = self.store.holding(at).filter(|_| !full) else { return Handed::Nothing };
        let len = self.store.get(slot).map_or(0, |kept| kept.batch.bytes());
        if untaken > 0 && untaken + len > common.config.replay_bytes {
            return Handed::Nothing;
        }
        let Some(payload) = self.payload(common, slot) else { return Handed::Nothing };
        let Some(kept) = self.store.get(slot) else { return Handed::Nothing };
        let Some(delivered) = piece_of(&kept.batch, payload.to_bytes(), last) else { return Handed::Nothing };
        let instance = self.instance;
        common.cache.remove(instance, slot);
        let Some(replay) = self.replay_at(token) else { return Handed::Nothing };
        replay.hands.hand_piece(at, last, len);
        rare!(ReplayedInPieces, at < last);
        if at == last {
            replay.handed = last;
        }
        common.emit(Output::Deliver(Delivery { token, instance, messages: [delivered].into() }));
        Handed::Some
    }

    /// Panics if a replay has what it should not (S37).
    pub(in crate::stream) fn check_replays(&self, common: &Common) {
        let (instance, gone) = (self.instance, self.unreadable(common));
        let limit = self.processed_here(common);
        for replay in &self.target.replays {
            let (handed, done, window) = (replay.handed, replay.done, replay.window);
            assert!(done <= handed, "S37: a replay of {instance} is done with {done}, and has {handed}");
            assert!(
                handed >= gone,
                "S37: a replay of {instance} stands at {handed}, before a gap up to {gone}"
            );
            let ahead = handed > limit && replay.hands.count > 0;
            assert!(!ahead, "S37: a replay of {instance} has {handed}, and {limit} are processed");
            assert!(replay.hands.count <= window, "S37: a replay of {instance} has more than its window");
            let bounded = replay.hands.bytes <= common.config.replay_bytes || replay.hands.out.len() == 1;
            assert!(bounded, "S37: a replay of {instance} has {} bytes", replay.hands.bytes);
            let untaken = replay.hands.untaken();
            let bounded = untaken <= common.config.replay_bytes.max(replay.hands.piece_most);
            assert!(
                bounded,
                "S37: a replay of {instance} has {untaken} bytes of pieces that it did not take"
            );
        }
        assert!(common.replays <= common.config.replays, "S37: too many replays");
        assert!(
            self.stopped.is_none() || self.target.replays.is_empty(),
            "S37: {instance} stopped and is replayed"
        );
    }
}
