//! This node's own key gives way to another, in steps of which each leaves it with a key that the members accept, whenever it ends (M61).
//!
//! 1. The world makes the next key and keeps it on disk beside the present one: only then anybody hears of it.
//! 2. Both keys sign, and the log is asked. Once that is applied here, either key is good.
//! 3. A moment later, when the neighbours have applied it too, this node proves the new key on new connections, and its neighbours and it dial each other
//!    anew: links move over without a gap. Who has not heard of the new key is shown what leads to it.
//! 4. When that is done it asks that the old key be good no more. The leader puts that into the log once every member that it reaches holds the first entry,
//!    or the window is over: who was away longer is shown what leads to the new key when it comes back.
//! 5. Once that is applied here, the old key goes from the disk.
//!
//! A start finds on disk and in the state how far that came, and goes on. What was asked before may have been done or not: asking again does no harm.
//! A node whose disk holds nothing but a key that was retired takes part in nothing and says what to do (M63).

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::Body;
use super::requests::Purpose;
use super::rotation::{Rotation, Step};
use super::state::{Effect, Member};
use super::{Mesh, Output};
use crate::id::RequestId;
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now, Span, Wall};
use crate::work::{Job, PublicKey};

/// How many commands may wait for one rotation.
const WAITING_MAX: usize = 8;
/// How often the time after which a refused step is tried again doubles.
const DOUBLINGS_MAX: u32 = 10;

#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// Something stood in the way: again at that time.
    Resting { until: Instant },
    /// The world is at it.
    Making { token: u64 },
    /// Either key signs.
    Signing { rotation: Rotation, by_old: u64, by_new: u64 },
    /// The log is asked for the next key.
    Asked,
    /// Both keys are good.
    Open { show_at: Option<Instant>, end_at: Instant },
    /// The new key signs that the old one is good no more.
    Ending { token: u64, number: u64 },
    /// The log is asked for that.
    EndAsked,
    /// The old key goes from the disk.
    Keeping { token: u64, key: PublicKey, number: u64 },
}

/// This node's own keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// Those whose secrets are on its disk: the present one, and while there is one the next.
    pub(super) held: Vec<PublicKey>,
    /// The rotation that brought the first of them.
    pub(super) number: u64,
    /// What it proves on new connections and signs with.
    shown: PublicKey,
    stage: Stage,
    /// Who waits, and whether until the old key is retired.
    waiting: Vec<(RequestId, bool)>,
    /// An operator wants the old key to be good no more as soon as that can be.
    hurry: bool,
    /// How many steps in a row were refused for what they are.
    refused: u32,
    /// Somebody showed that a key of this node is retired: what is left to check of that.
    pub(super) shown_retired: Option<(u64, Vec<Job>, Rotation)>,
    /// Why this node takes part in nothing.
    pub(super) lost: Option<String>,
}

impl Keys {
    pub(super) fn new(key: PublicKey, next: Option<PublicKey>, number: u64) -> Self {
        let held = core::iter::once(key).chain(next).collect();
        Self { held, number, shown: key, ..Self::default() }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Resting { until } => Some(until),
            Stage::Open { show_at, end_at } => Some(show_at.map_or(end_at, |at| at.min(end_at))),
            _ => None,
        }
    }

    /// Those whose secrets it has.
    pub(super) fn held(&self) -> &[PublicKey] {
        &self.held
    }

    /// What it proves on new connections.
    pub(super) fn shown(&self) -> PublicKey {
        self.shown
    }

    /// Who waits for a rotation waits no more.
    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = RequestId> + use<> {
        core::mem::take(&mut self.waiting).into_iter().map(|(request, _)| request)
    }

    /// What the last membership had under way is over.
    pub(super) fn forget(&mut self) {
        (self.stage, self.hurry, self.refused) = (Stage::Idle, false, 0);
        self.waiting.clear();
        self.shown_retired = None;
    }
}

impl Mesh {
    /// Has the key that this node proves sign something. Gives the number of the job.
    pub(super) fn sign(&mut self, message: Bytes) -> u64 {
        self.sign_with(self.keys.shown, message)
    }

    fn sign_with(&mut self, key: PublicKey, message: Bytes) -> u64 {
        let token = self.next_number();
        self.outputs.push_back(Output::Work { token, job: Job::Sign { key, message } });
        token
    }

    /// The key this node proves on new connections.
    #[must_use]
    pub fn shown_key(&self) -> PublicKey {
        self.keys.shown
    }

    /// Why this node takes part in nothing, if its key is retired and it has no other.
    #[must_use]
    pub fn key_lost(&self) -> Option<&str> {
        self.keys.lost.as_deref()
    }

    /// This node as the mesh knows it. Who came back after it had gone reads in the log first what it was before.
    pub(super) fn own_member(&self) -> Option<&Member> {
        self.state.members.get(&self.own).filter(|_| self.caught_up())
    }

    pub(super) fn on_rotate_node_key(&mut self, now: Now, request: RequestId, finish: bool) {
        let Some(member) = self.own_member() else {
            let refusal = if self.membership.is_some() { Refusal::Busy } else { Refusal::NotMember };
            return self.reply(request, Err(refusal));
        };
        let number = member.rotations.number;
        if self.lacks_quorum() {
            return self.reply(request, Err(Refusal::NoQuorum));
        }
        if self.keys.waiting.len() >= WAITING_MAX {
            return self.reply(request, Err(Refusal::Busy));
        }
        let idle = matches!(self.keys.stage, Stage::Idle) && self.keys.held.len() == 1;
        if !idle && !finish {
            rare!(RotationUnderWay);
            return self.reply(request, Err(Refusal::RotationUnderWay(number)));
        }
        self.keys.refused = 0;
        self.keys.waiting.push((request, finish));
        self.keys.hurry |= finish;
        if idle {
            let token = self.next_number();
            self.keys.stage = Stage::Making { token };
            self.outputs.push_back(Output::Work { token, job: Job::NextKey });
        } else if let Stage::Open { show_at, end_at } = &mut self.keys.stage {
            *show_at = show_at.map(|_| now.monotonic);
            *end_at = now.monotonic;
            self.on_key_deadline(now);
        } else if let (Stage::EndAsked, Some(&next)) = (&self.keys.stage, self.keys.held.get(1)) {
            self.requests.give_up(&Purpose::RetireKey);
            self.end_rotation(now, next);
        } else {
            if matches!(self.keys.stage, Stage::Resting { .. }) {
                self.keys.stage = Stage::Idle;
            }
            self.go_on_rotating(now);
            if matches!(self.keys.stage, Stage::Idle) {
                // What the log tells here is older than the disk: it goes on once that has come.
                rare!(RotationAwaitsLog);
                self.answer_rotation(&Err(Refusal::Busy), true);
            }
        }
    }

    /// The next key is on disk, or is not. `false` if it was asked for something else.
    pub(super) fn on_next_key(&mut self, now: Now, token: u64, made: Result<PublicKey, String>) {
        if !matches!(self.keys.stage, Stage::Making { token: asked } if asked == token) {
            return;
        }
        self.keys.stage = Stage::Idle;
        match made {
            Ok(key) => {
                sometimes!(NextKeyMade);
                self.keys.held.truncate(1);
                self.keys.held.push(key);
                if self.planted.has(Bug::NewKeyShownEarly) {
                    self.show_key(key);
                }
                self.go_on_rotating(now);
            }
            Err(why) => {
                rare!(NextKeyNotMade);
                let why =
                    alloc::format!("the next key did not go beside the present one, which stays: {why}");
                self.answer_rotation(&Err(Refusal::KeyNotStored(why)), true);
            }
        }
    }

    /// Looks what is to be done next, by what is on disk and in the state.
    pub(super) fn go_on_rotating(&mut self, now: Now) {
        self.look_for_lost_key(now);
        self.look_for_displaced_key();
        let Some(member) = self.own_member().filter(|_| matches!(self.keys.stage, Stage::Idle)) else {
            return;
        };
        let (number, keys) = (member.rotations.number, member.keys.clone());
        let &[old, next] = &self.keys.held[..] else { return };
        let brought = member.rotations.records.iter().find(|rotation| rotation.new == next);
        let brought = brought.map_or(number, |rotation| rotation.number);
        if self.keys.lost.is_some() || self.is_double() {
            return;
        }
        if keys.first() == Some(&next) {
            return self.keep_key(next, brought);
        }
        if keys == [old, next] {
            let (settle, overlap) = match self.keys.hurry {
                true => (Span::ZERO, Span::ZERO),
                false => (self.config.key_settle, self.config.key_overlap),
            };
            let show_at = (self.keys.shown != next).then_some(now.monotonic + settle);
            let end_at = now.monotonic + settle + overlap;
            self.keys.stage = Stage::Open { show_at, end_at };
            return self.on_key_deadline(now);
        }
        if keys.first() != Some(&old) {
            // What this state knows is older than this disk's keys, or the other way round.
            return;
        }
        let empty = Bytes::new();
        let rotation = Rotation {
            number: number + 1,
            old,
            new: next,
            by_old: empty.clone(),
            by_new: empty,
            retired: None,
        };
        let statement = rotation.statement(self.own);
        let by_old = self.sign_with(old, statement.clone());
        let by_new = self.sign_with(next, statement);
        self.keys.stage = Stage::Signing { rotation, by_old, by_new };
    }

    /// Another rotation took the place of the one under way: what this node showed is good no more, and it goes back to the key before.
    fn look_for_displaced_key(&mut self) {
        let begun = matches!(self.keys.stage, Stage::Open { .. } | Stage::Ending { .. } | Stage::EndAsked);
        let (Some(member), &[old, next]) = (self.own_member().filter(|_| begun), &self.keys.held[..]) else {
            return;
        };
        if !member.keys.contains(&next) && member.keys.contains(&old) {
            rare!(RotationDisplaced);
            self.requests.give_up(&Purpose::RetireKey);
            self.keys.stage = Stage::Idle;
            if self.keys.shown != old {
                self.show_key(old);
            }
        }
    }

    /// A signature is there; `false` if it was asked for something else.
    pub(super) fn on_key_signed(&mut self, now: Now, token: u64, signature: &[u8]) -> bool {
        let signature = Bytes::copy_from_slice(signature);
        match &mut self.keys.stage {
            Stage::Signing { rotation, by_old, .. } if *by_old == token => rotation.by_old = signature,
            Stage::Signing { rotation, by_new, .. } if *by_new == token => rotation.by_new = signature,
            Stage::Ending { token: asked, number } if *asked == token => {
                let step = Step::Retire { number: *number, signature, hurry: self.keys.hurry };
                self.keys.stage = Stage::EndAsked;
                let body = Body::RotateNodeKey { node: self.own, step };
                // It is asked for until it is done: the leader may wait for members that do not know of the new key yet.
                self.submit(now, Purpose::RetireKey, body, None);
                return true;
            }
            _ => return false,
        }
        if let Stage::Signing { rotation, .. } = &self.keys.stage
            && !rotation.by_old.is_empty()
            && !rotation.by_new.is_empty()
        {
            let body = Body::RotateNodeKey { node: self.own, step: Step::Next(rotation.clone()) };
            self.keys.stage = Stage::Asked;
            let deadline = Some(now.monotonic + self.config.request_timeout);
            self.submit(now, Purpose::NextKey, body, deadline);
        }
        true
    }

    /// The log, or the lack of one, has decided about a step.
    pub(super) fn on_rotation_decided(&mut self, now: Now, result: &Result<Effect, Refusal>) {
        if !matches!(self.keys.stage, Stage::Asked | Stage::EndAsked) {
            return;
        }
        match result {
            Ok(effect) => {
                let retired = matches!(effect, Effect::KeyChanged { retired: true, .. });
                (self.keys.stage, self.keys.refused) = (Stage::Idle, 0);
                self.go_on_rotating(now);
                let reply = self.keys.held.last().map(|&key| Reply::NodeKey { key, retired });
                reply.into_iter().for_each(|reply| self.answer_rotation(&Ok(reply), retired));
            }
            Err(refusal) => {
                rare!(RotationPutOff);
                // What was refused for what it is may be so for ever, and costs the members something each time.
                let lasting = matches!(refusal, Refusal::Invalid(_));
                self.keys.refused = if lasting { self.keys.refused.saturating_add(1) } else { 0 };
                let pause = self.config.key_retry.times(1 << self.keys.refused.min(DOUBLINGS_MAX));
                self.keys.stage = Stage::Resting { until: now.monotonic + pause };
                let why = Refusal::RotationPutOff { why: alloc::format!("{refusal}"), again: pause };
                self.answer_rotation(&Err(why), true);
            }
        }
    }

    pub(super) fn answer_rotation(&mut self, reply: &Result<Reply, Refusal>, all: bool) {
        let (over, waiting) = core::mem::take(&mut self.keys.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, until_retired)| all || !until_retired);
        self.keys.waiting = waiting;
        over.into_iter().for_each(|(request, _)| self.reply(request, reply.clone()));
    }

    pub(super) fn on_key_deadline(&mut self, now: Now) {
        match self.keys.stage {
            Stage::Resting { until } if until <= now.monotonic => {
                self.keys.stage = Stage::Idle;
                self.go_on_rotating(now);
            }
            Stage::Open { show_at, end_at } => {
                let Some(&next) = self.keys.held.get(1) else { return };
                if show_at.is_some_and(|at| at <= now.monotonic) {
                    self.keys.stage = Stage::Open { show_at: None, end_at };
                    self.show_key(next);
                }
                if end_at <= now.monotonic {
                    self.end_rotation(now, next);
                }
            }
            _ => {}
        }
    }

    fn end_rotation(&mut self, now: Now, next: PublicKey) {
        let last = self.own_member().and_then(|member| member.rotations.records.last());
        let Some(last) = last.filter(|last| last.new == next) else {
            // What this state knows does not reach that far again, yet.
            self.keys.stage = Stage::Resting { until: now.monotonic + self.config.key_retry };
            return;
        };
        let (number, message) = (last.number, last.retirement(self.own));
        let token = self.sign_with(next, message);
        self.keys.stage = Stage::Ending { token, number };
    }

    /// This node proves that key from now on.
    pub(super) fn show_key(&mut self, key: PublicKey) {
        let next = self.keys.held.first() != Some(&key);
        let last = self.own_member().map_or(0, |member| member.rotations.number);
        let number = if next { last } else { self.keys.number };
        sometimes!(NextKeyShown, next);
        self.keys.shown = key;
        self.outputs.push_back(Output::ShowKey { key, number });
    }

    /// The old key is good no more: it goes from the disk.
    pub(super) fn keep_key(&mut self, key: PublicKey, number: u64) {
        if self.keys.shown != key {
            self.show_key(key);
        }
        // What the log was asked for is done, or was overtaken.
        self.requests.give_up(&Purpose::NextKey);
        self.requests.give_up(&Purpose::RetireKey);
        let token = self.next_number();
        self.keys.stage = Stage::Keeping { token, key, number };
        self.outputs.push_back(Output::Work { token, job: Job::KeepKey { key, number } });
    }

    pub(super) fn on_key_kept(&mut self, now: Now, token: u64, kept: bool) {
        let Stage::Keeping { token: asked, key, number } = self.keys.stage else { return };
        if asked != token {
            return;
        }
        if kept {
            sometimes!(OldKeyGone);
            (self.keys.held, self.keys.number) = (Vec::from([key]), number);
            (self.keys.stage, self.keys.hurry) = (Stage::Idle, false);
            self.answer_rotation(&Ok(Reply::NodeKey { key, retired: true }), true);
            self.renew_own_claim();
        } else {
            rare!(OldKeyNotGone);
            self.keys.stage = Stage::Resting { until: now.monotonic + self.config.key_retry };
            let why = "the old key is good no more, and could not be taken from the disk: the node tries again by itself";
            self.answer_rotation(&Err(Refusal::KeyNotStored(why.into())), true);
        }
    }

    /// A start: shows what the members accept, as far as this disk knows.
    pub(super) fn restored_keys(&mut self) {
        // Who just joined may have nothing of the log yet.
        let told = || self.heard_of(self.own).map(<[PublicKey]>::to_vec).unwrap_or_default();
        let accepted = self.own_member().map_or_else(told, |member| member.keys.clone());
        let newest = self.keys.held.iter().rev().find(|key| accepted.contains(key)).copied();
        rare!(StartedWithinRotation, self.keys.held.len() > 1 && newest.is_some());
        self.show_key(newest.unwrap_or(self.keys.shown));
    }

    /// Whether a leader may put the end of a rotation into the log: every member that it reaches holds its begin, or the window is over.
    pub(super) fn may_retire(&self, now: Now, member: &Member, hurry: bool) -> bool {
        let over = Wall(member.rotations.time.0.saturating_add(self.config.key_window.as_millis()));
        if hurry || now.wall >= over {
            return true;
        }
        let holds = |node| self.control.holds(node, member.rotations.index);
        let mut others = self.state.members.keys().filter(|&&node| node != self.own);
        others.all(|&node| holds(node) || self.judgement.misses(node))
    }

    #[cfg(test)]
    pub(super) fn rotation_stage(&self) -> &'static str {
        match self.keys.stage {
            Stage::Idle => "Idle",
            Stage::Resting { .. } => "Resting",
            Stage::Making { .. } => "Making",
            Stage::Signing { .. } => "Signing",
            Stage::Asked => "Asked",
            Stage::Open { .. } => "Open",
            Stage::Ending { .. } => "Ending",
            Stage::EndAsked => "EndAsked",
            Stage::Keeping { .. } => "Keeping",
        }
    }

    pub(super) fn check_keys(&self) {
        let Keys { held, shown, waiting, .. } = &self.keys;
        assert!(held.contains(shown), "M61: this node proves a key that is not on its disk");
        assert!(waiting.len() <= WAITING_MAX && held.len() <= 2, "M5: what a rotation keeps is bounded");
        let keeping = matches!(self.keys.stage, Stage::Keeping { key, .. } if key == *shown);
        let agreed = self.own_member().is_none_or(|member| member.keys.contains(shown));
        let fresh = held.first() != Some(shown);
        assert!(!fresh || keeping || agreed, "M61: this node proves a key before the mesh agreed on it");
    }
}
