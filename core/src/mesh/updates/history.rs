//! One kind's sequence: what is kept of it, and the ids it remembers.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;

use bytes::Bytes;

use crate::id::{NodeId, UpdateId, UpdateNumber};
use crate::node::command::Refusal;
use crate::time::Wall;
use crate::update::Update;

/// Largest payload of an update. Like all limits here it decides what an entry does, so it is equal everywhere.
pub const UPDATE_BYTES_MAX: usize = 32 << 10;
/// Longest key of an update.
pub const UPDATE_KEY_MAX: usize = 128;
/// Most bytes kept of one kind. They are part of every snapshot.
pub const HISTORY_BYTES_MAX: usize = 192 << 10;
/// Most updates kept of one kind.
pub const KEPT_MAX: usize = 1_024;
/// How many ids of one kind are remembered, so that a repeat is known.
pub const IDS_MAX: usize = 2_048;
/// Ids, numbers, tags and lengths of an update, at most.
const FIXED_BYTES: usize = 72;

/// One kind's sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub(super) last: UpdateNumber,
    /// The ids of the last updates, the newest last.
    pub(super) ids: VecDeque<UpdateId>,
    pub(super) known: BTreeMap<UpdateId, UpdateNumber>,
    /// The last updates, the newest last.
    pub(super) kept: VecDeque<Update>,
    pub(super) bytes: usize,
    /// Whether members that hold up a full history may be passed over.
    pub(super) pass_over: bool,
    /// Up to here they may have been.
    pub(super) passed: UpdateNumber,
}

/// What a sender says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The same for every repeat.
    pub id: UpdateId,
    /// The last number that the sender knew of when it first used the id.
    pub after: UpdateNumber,
    /// What it is about.
    pub key: String,
    /// What it says.
    pub payload: Bytes,
}

impl Sent {
    /// The most it takes of the encoded state.
    fn bytes(&self) -> usize {
        FIXED_BYTES + self.key.len() + self.payload.len()
    }

    /// Whether it is small enough, or the refusal.
    pub(super) fn fits(&self) -> Result<(), Refusal> {
        for (what, got, limit) in [
            ("an update", self.payload.len(), UPDATE_BYTES_MAX),
            ("the key of an update", self.key.len(), UPDATE_KEY_MAX),
        ] {
            if got > limit {
                return Err(Refusal::TooLarge { what, got: got as u64, limit: limit as u64 });
            }
        }
        Ok(())
    }
}

fn bytes_of(update: &Update) -> usize {
    FIXED_BYTES + update.key.len() + update.payload.len()
}

impl History {
    /// The number of the last update.
    #[must_use]
    pub const fn last(&self) -> UpdateNumber {
        self.last
    }

    /// What comes after this one is kept.
    #[must_use]
    pub fn floor(&self) -> UpdateNumber {
        UpdateNumber(self.last.0 - self.kept.len() as u64)
    }

    /// Ids up to this one are forgotten.
    #[must_use]
    pub fn forgotten(&self) -> UpdateNumber {
        UpdateNumber(self.last.0 - self.ids.len() as u64)
    }

    /// Bytes kept.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether members that hold up a full history may be passed over.
    #[must_use]
    pub const fn passes_over(&self) -> bool {
        self.pass_over
    }

    /// The number of the update with that id, if it is remembered.
    #[must_use]
    pub fn number(&self, id: UpdateId) -> Option<UpdateNumber> {
        self.known.get(&id).copied()
    }

    /// An update that is kept.
    #[must_use]
    pub fn get(&self, number: UpdateNumber) -> Option<&Update> {
        let place = number.0.checked_sub(self.floor().0 + 1)?;
        self.kept.get(usize::try_from(place).ok()?)
    }

    /// What is known of a repeat; `None` if this is new.
    pub(super) fn repeat(&self, sent: &Sent) -> Option<Result<UpdateNumber, Refusal>> {
        if let Some(number) = self.number(sent.id) {
            let other = |update: &Update| (&update.key, &update.payload) != (&sent.key, &sent.payload);
            let taken = self.get(number).is_some_and(other);
            return Some(if taken { Err(Refusal::UpdateIdTaken { number }) } else { Ok(number) });
        }
        let forgotten = self.forgotten();
        (sent.after < forgotten).then_some(Err(Refusal::UpdateTooOld { after: sent.after, forgotten }))
    }

    /// Whether there is room for another update.
    pub(super) fn has_room(&self, sent: &Sent) -> bool {
        self.kept.len() < KEPT_MAX && self.bytes + sent.bytes() <= HISTORY_BYTES_MAX
    }

    /// The next update.
    pub(super) fn push(&mut self, origin: NodeId, time: Wall, sent: &Sent) -> UpdateNumber {
        assert!(self.has_room(sent), "M21: what is kept is bounded");
        self.last = self.last.next();
        let before = self.known.insert(sent.id, self.last);
        assert!(before.is_none(), "M20: an id keeps its number");
        self.ids.push_back(sent.id);
        if self.ids.len() > IDS_MAX
            && let Some(oldest) = self.ids.pop_front()
        {
            self.known.remove(&oldest);
        }
        let Sent { id, key, payload, .. } = sent.clone();
        let update = Update { number: self.last, id, origin, key, payload, time };
        self.bytes += bytes_of(&update);
        self.kept.push_back(update);
        self.last
    }

    /// Lets go everything up to `upto`.
    pub(super) fn cut(&mut self, upto: UpdateNumber) {
        while self.kept.front().is_some_and(|oldest| oldest.number <= upto) {
            self.drop_oldest();
        }
    }

    /// Makes room at the cost of whoever has not processed the oldest.
    pub(super) fn pass_over_for(&mut self, sent: &Sent) {
        while !self.has_room(sent) {
            self.drop_oldest();
            self.passed = self.floor();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.kept.pop_front() else { return };
        self.bytes -= bytes_of(&oldest);
    }

    /// Takes back what is kept and remembered; `false` if it does not fit together.
    pub(super) fn restored(mut self) -> Option<Self> {
        self.bytes = self.kept.iter().map(bytes_of).sum();
        let (ids, last) = (self.ids.len(), self.last.0);
        let sound = self.kept.len() <= ids.min(KEPT_MAX)
            && ids <= IDS_MAX
            && ids as u64 <= last
            && self.bytes <= HISTORY_BYTES_MAX
            && self.passed <= self.last;
        if !sound {
            return None;
        }
        let numbers = last - ids as u64 + 1..=last;
        self.known = self.ids.iter().copied().zip(numbers.map(UpdateNumber)).collect();
        let floor = self.floor().0;
        for (update, number) in self.kept.iter_mut().zip(floor + 1..) {
            update.number = UpdateNumber(number);
        }
        (self.known.len() == ids).then_some(self)
    }

    /// Panics if an invariant does not hold.
    pub(super) fn check(&self) {
        assert_eq!(self.known.len(), self.ids.len(), "M20: an id has one number");
        assert!(self.ids.len() <= IDS_MAX && self.kept.len() <= KEPT_MAX, "M21: what is kept is bounded");
        assert!(self.bytes <= HISTORY_BYTES_MAX, "M21: bytes kept are bounded");
        assert_eq!(self.bytes, self.kept.iter().map(bytes_of).sum(), "M21: bytes kept add up");
        for (update, number) in self.kept.iter().zip(self.floor().0 + 1..) {
            assert_eq!(update.number.0, number, "M20: updates are numbered without gaps");
            assert_eq!(self.number(update.id), Some(update.number), "M20: an id keeps its number");
        }
    }
}
