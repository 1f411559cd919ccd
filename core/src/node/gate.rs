//! The gate: an append for a stream's log goes to the consensus group only as far as the bytes of its entries are here (rule B1).
//!
//! The prefix, the term and the commit index (clamped to the prefix) pass at once, and the acknowledgement says that the rest waits. The
//! rest is held, one append per group, joined by those that follow it, and offered again when bytes arrive. What cannot be held is
//! dropped: the leader sends on behind what is acknowledged, and where nothing is held, the group asks for it when bytes arrive (rule B2).
//!
//! Bytes mostly come just in front of the append that names them, and are here, but for their digest, when it comes. Such an append is held as a whole and in
//! silence: until the digest is known it might as well be on its way. It waits for its own digests alone, never for those of what joined it: more may join for ever.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::raft::{self, Append, Body, Entry, EntryKind};
use crate::rare;
use crate::sometimes;
use crate::stream::Admission;

/// Settings of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most groups with a held append. What is not held is sent once more when its bytes are here.
    pub groups: usize,
    /// An append that joins others is held up to so many bytes for one group.
    pub group_bytes: usize,
    /// Most bytes held for all groups together. More saves sending again, less saves memory.
    pub all_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { groups: 4096, group_bytes: 2 << 20, all_bytes: 32 << 20 }
    }
}

/// No append of that group is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NothingHeld;

/// An append of which an entry waits for its bytes.
#[derive(Clone, Debug)]
struct Held {
    from: NodeId,
    message: raft::Message,
    /// So many entries in front of that one wait with it.
    before: usize,
    /// The appends that joined it.
    joined: Vec<Append>,
    /// Its leader was told that it waits.
    told: bool,
    /// What it weighs.
    bytes: usize,
}

impl Held {
    /// Where it ends.
    fn end(&self) -> Option<LogIndex> {
        let append = self.message.append()?;
        let last = self.joined.last().unwrap_or(append).entries.last();
        Some(last.map_or(append.previous.index, |entry| entry.index))
    }

    /// All the entries.
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let first = self.message.append().into_iter();
        first.chain(&self.joined).flat_map(|append| append.entries.iter())
    }

    /// Takes out the append at the front, with those that joined it of which all entries are among the first `passing`; `None` if not even the first one is.
    fn take_whole(&mut self, passing: usize) -> Option<raft::Message> {
        let first = self.message.append()?.entries.len();
        let mut left = passing.checked_sub(first)?;
        let whole = self.joined.iter().take_while(|append| {
            let fits = append.entries.len() <= left;
            left -= append.entries.len().min(left);
            fits
        });
        let whole = whole.count();
        // Something waits, so one is left.
        let next = self.joined.drain(..=whole).collect::<Vec<_>>();
        let (next, whole) = next.split_last()?;
        let rest = raft::Message { body: Body::Append(next.clone()), ..self.message };
        let mut taken = core::mem::replace(&mut self.message, rest);
        absorb(&mut taken, whole);
        Some(taken)
    }

    /// The append with all that joined it.
    fn whole(mut self) -> raft::Message {
        absorb(&mut self.message, &self.joined);
        self.message
    }
}

/// Makes one append of those that follow each other.
fn absorb(message: &mut raft::Message, joined: &[Append]) {
    if let (Body::Append(append), Some(last)) = (&mut message.body, joined.last()) {
        let all = append.entries.iter().chain(joined.iter().flat_map(|append| &append.entries));
        append.entries = all.cloned().collect();
        append.commit = joined.iter().map(|append| append.commit).fold(append.commit, LogIndex::max);
        (append.durable, append.number) = (last.durable, last.number);
    }
}

/// How many commands are in front of the first one that does not pass, and whether it soon may.
fn passing<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    mut admit: impl FnMut(&[u8]) -> Admission,
) -> (usize, bool) {
    let mut soon = false;
    let passing = entries.into_iter().take_while(|entry| {
        let admission = match entry.kind {
            EntryKind::Command => admit(&entry.data),
            EntryKind::Blank | EntryKind::Configuration => Admission::Passes,
        };
        soon = admission == Admission::Soon;
        admission == Admission::Passes
    });
    (passing.count(), soon)
}

/// Appends that wait for bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    config: Config,
    held: BTreeMap<GroupId, Held>,
    /// Groups whose leader was told that the rest waits, and of which nothing is held: it must be told when there is no more to wait for.
    owed: BTreeSet<GroupId>,
    /// What all of them weigh.
    bytes: usize,
}

impl Gate {
    /// A gate that holds nothing.
    pub(crate) fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Splits an append at its first entry whose bytes are missing and keeps the rest. Returns what may pass now: nothing, if the append
    /// only continues the one that is held.
    pub(crate) fn offer(
        &mut self,
        group: GroupId,
        from: NodeId,
        message: raft::Message,
        admit: impl FnMut(&[u8]) -> Admission,
    ) -> Option<raft::Message> {
        let Some(append) = message.append() else { return Some(message) };
        if self.continues_held(group, from, &message, append) {
            self.join(group, append);
            return None;
        }
        let (passing, soon) = passing(&append.entries, admit);
        let bytes = weight(append);
        sometimes!(HeldAppendReplaced, self.held.contains_key(&group));
        // Whatever is held is older, and would only repeat or contradict this.
        self.forget(group);
        if soon && self.has_room(bytes) {
            sometimes!(AppendHeldForDigest);
            self.hold(group, Held { from, message, before: passing, joined: Vec::new(), told: false, bytes });
            return None;
        }
        Some(self.cut(group, from, message, passing))
    }

    /// What passes of an append; the rest is held, and the reply says so.
    fn cut(
        &mut self,
        group: GroupId,
        from: NodeId,
        mut rest: raft::Message,
        passing: usize,
    ) -> raft::Message {
        let Some(passed) = rest.split(passing) else { return rest };
        sometimes!(AppendCut);
        let bytes = rest.append().map_or(0, weight);
        if self.has_room(bytes) {
            self.hold(group, Held { from, message: rest, before: 0, joined: Vec::new(), told: true, bytes });
        } else {
            self.owed.insert(group);
        }
        passed
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.held.len() < self.config.groups && self.bytes + bytes <= self.config.all_bytes
    }

    fn hold(&mut self, group: GroupId, held: Held) {
        self.bytes += held.bytes;
        self.held.insert(group, held);
    }

    /// Offers what is held for a group again, now that more bytes are here. `None` if nothing more passes.
    ///
    /// # Errors
    /// [`NothingHeld`]: the group must ask for the rest.
    pub(crate) fn offer_again(
        &mut self,
        group: GroupId,
        admit: impl FnMut(&[u8]) -> Admission,
    ) -> Result<Option<(NodeId, raft::Message)>, NothingHeld> {
        let mut held = self.release(group).ok_or(NothingHeld)?;
        let (from, told) = (held.from, held.told);
        let (passing, soon) = passing(held.entries(), admit);
        let news = if soon {
            let passed = held.take_whole(passing);
            sometimes!(PassedAheadOfWhatJoined, passed.is_some());
            let gone = passed.as_ref().and_then(raft::Message::append);
            held.before = passing - gone.map_or(0, |append| append.entries.len());
            held.bytes -= gone.map_or(0, weight);
            // Who is answered without a word of the rest has to be told if it waits for more than its digest.
            held.told &= passed.is_none();
            self.hold(group, held);
            passed
        } else {
            let passed = self.cut(group, from, held.whole(), passing);
            let empty = passed.append().is_none_or(|append| append.entries.is_empty());
            Some(passed).filter(|_| !told || !empty)
        };
        sometimes!(HeldAppendPassed, news.is_some());
        Ok(news.map(|passed| (from, passed)))
    }

    /// The commands that are held for a group behind the one that waits.
    pub(crate) fn behind(&self, group: GroupId) -> impl Iterator<Item = &[u8]> + '_ {
        let held = self.held.get(&group).into_iter();
        let behind = held.flat_map(|held| held.entries().skip(held.before + 1));
        behind.filter(|entry| entry.kind == EntryKind::Command).map(|entry| entry.data.as_ref())
    }

    /// The leader of a group is asked for what was not held.
    pub(crate) fn asked(&mut self, group: GroupId) {
        self.owed.remove(&group);
    }

    /// What waits here: groups, and the entry of each that waits for its bytes; `None` where nothing is held and the leader is owed a word.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (GroupId, Option<&[u8]>)> + '_ {
        let held = self
            .held
            .iter()
            .filter_map(|(&group, held)| Some((group, Some(held.entries().nth(held.before)?.data.as_ref()))));
        held.chain(self.owed.iter().map(|&group| (group, None)))
    }

    /// Lets go of what is held for a group, and of what its leader is owed.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.owed.remove(&group);
        self.release(group);
    }

    /// Lets go of what a leader of an earlier term sent: whoever leads sends its own.
    pub(crate) fn forget_before(&mut self, group: GroupId, term: Term) {
        let older = |held: &Held| {
            held.message.term < term && held.message.append().is_some_and(|append| !append.copy)
        };
        if self.held.get(&group).is_some_and(older) {
            rare!(HeldOfAnEarlierTerm);
            self.release(group);
            self.owed.insert(group);
        }
    }

    /// Takes out what is held for a group.
    fn release(&mut self, group: GroupId) -> Option<Held> {
        let held = self.held.remove(&group)?;
        self.bytes -= held.bytes;
        Some(held)
    }

    fn continues_held(&self, group: GroupId, from: NodeId, next: &raft::Message, append: &Append) -> bool {
        let Some(whole) = self.held.get(&group) else { return false };
        let Held { from: holder, message, .. } = whole;
        let Some(held) = message.append() else { return false };
        (*holder, message.sender, message.addressee, message.term)
            == (from, next.sender, next.addressee, next.term)
            && !held.copy
            && !append.copy
            && Some(append.previous.index) == whole.end()
    }

    /// Adds an append to the held one, if there is room.
    fn join(&mut self, group: GroupId, next: &Append) {
        let Some(Held { message, joined, bytes, .. }) = self.held.get_mut(&group) else { return };
        let Body::Append(held) = &mut message.body else { return };
        let more = weight(next);
        if *bytes + more <= self.config.group_bytes && self.bytes + more <= self.config.all_bytes {
            sometimes!(AppendJoined);
            if next.entries.is_empty() {
                let last = joined.last_mut().unwrap_or(held);
                last.commit = last.commit.max(next.commit);
                (last.durable, last.number) = (next.durable, next.number);
            } else {
                joined.push(next.clone());
            }
            *bytes += more;
            self.bytes += more;
        }
    }
}

/// What an append takes in memory.
fn weight(append: &Append) -> usize {
    append.entries.iter().map(|entry| size_of::<Entry>() + entry.data.len()).sum()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Admission::{Passes, Soon, Waits};
    use super::*;
    use crate::id::{ReplicaId, Term};
    use crate::raft::{Append, Body, Entry, EntryKind, Message, Place};

    const GROUP: GroupId = GroupId(3);
    const PEER: NodeId = NodeId(9);

    fn append(first: u64, count: u64, commit: u64) -> Message {
        let previous = Place { index: LogIndex(first - 1), ..Place::default() };
        let entry = |index| Entry {
            index: LogIndex(index),
            term: Term(1),
            kind: EntryKind::Command,
            data: Bytes::from(alloc::vec![index as u8]),
            weight: 0,
        };
        let entries = (first..first + count).map(entry).collect();
        let durable = Place::default();
        let body = Append {
            previous,
            commit: LogIndex(commit),
            durable,
            entries,
            number: first,
            copy: false,
            round: 0,
            cut: false,
        };
        let (sender, term) = (ReplicaId(1), Term(1));
        Message { sender, addressee: None, term, life: 0, era: 0, body: Body::Append(body) }
    }

    fn passed(message: Option<Message>) -> Option<(Vec<u64>, u64, bool)> {
        let message = message?;
        let append = message.append().expect("an append");
        Some((append.entries.iter().map(|entry| entry.index.0).collect(), append.commit.0, append.cut))
    }

    fn again(offered: Result<Option<(NodeId, Message)>, NothingHeld>) -> Option<(Vec<u64>, u64, bool)> {
        let (from, message) = offered.expect("held")?;
        assert_eq!(from, PEER);
        passed(Some(message))
    }

    #[test]
    fn an_append_passes_as_far_as_its_bytes_are_here_and_the_rest_when_they_come() {
        let mut gate = Gate::default();
        let here = |upto: u8| move |data: &[u8]| if data[0] <= upto { Passes } else { Waits };
        assert_eq!(
            passed(gate.offer(GROUP, PEER, append(1, 3, 3), here(1))),
            Some((alloc::vec![1], 1, true))
        );
        assert_eq!(passed(gate.offer(GROUP, PEER, append(4, 2, 5), here(1))), None, "it joins what is held");
        assert_eq!(gate.offer_again(GROUP, here(1)), Ok(None), "nothing new came");
        assert_eq!(
            gate.behind(GROUP).collect::<Vec<_>>(),
            [[3], [4], [5]],
            "the second is the first that waits"
        );
        assert_eq!(again(gate.offer_again(GROUP, here(3))), Some((alloc::vec![2, 3], 3, true)));
        assert_eq!(again(gate.offer_again(GROUP, here(5))), Some((alloc::vec![4, 5], 5, false)));
        assert_eq!(gate.offer_again(GROUP, here(5)), Err(NothingHeld));
        assert_eq!(gate.bytes, 0);
    }

    #[test]
    fn an_append_whose_bytes_are_being_looked_at_is_held_in_silence_until_that_is_known() {
        let mut gate = Gate::default();
        let looked_at = |from: u8| move |data: &[u8]| if data[0] < from { Passes } else { Soon };
        assert_eq!(gate.offer(GROUP, PEER, append(1, 2, 2), looked_at(2)), None);
        assert_eq!(gate.waiting().collect::<Vec<_>>(), [(GROUP, Some(&[2][..]))]);
        assert_eq!(gate.offer(GROUP, PEER, append(3, 1, 3), looked_at(2)), None, "it joins what is held");
        assert_eq!(gate.behind(GROUP).collect::<Vec<_>>(), [[3]]);
        assert_eq!(gate.offer_again(GROUP, looked_at(2)), Ok(None), "the second is not known yet");
        assert_eq!(again(gate.offer_again(GROUP, |_| Passes)), Some((alloc::vec![1, 2, 3], 3, false)));
        assert_eq!(gate.offer(GROUP, PEER, append(4, 1, 4), looked_at(4)), None);
        let false_bytes = |_: &[u8]| Waits;
        assert_eq!(again(gate.offer_again(GROUP, false_bytes)), Some((alloc::vec![], 3, true)));
        assert_eq!(gate.offer_again(GROUP, false_bytes), Ok(None), "that was said");
        assert_eq!(gate.offer_again(GROUP, looked_at(4)), Ok(None));
        assert_eq!(gate.offer_again(GROUP, false_bytes), Ok(None), "and is not said again");
        assert_eq!(again(gate.offer_again(GROUP, |_| Passes)), Some((alloc::vec![4], 4, false)));
        assert_eq!(gate.bytes, 0);
        let mut full = Gate::new(Config { all_bytes: 0, ..Config::default() });
        let passed = passed(full.offer(GROUP, PEER, append(1, 2, 2), looked_at(2)));
        assert_eq!(passed, Some((alloc::vec![1], 1, true)), "what cannot be held is owed a word");
    }

    #[test]
    fn an_append_waits_for_its_own_digests_however_many_join_it() {
        let mut gate = Gate::default();
        let looked_at = |from: u8| move |data: &[u8]| if data[0] < from { Passes } else { Soon };
        let number = |passed: &Result<Option<(NodeId, Message)>, NothingHeld>| {
            let (_, message) = passed.as_ref().expect("held").as_ref().expect("news");
            message.append().expect("an append").number
        };
        assert_eq!(gate.offer(GROUP, PEER, append(1, 2, 2), looked_at(2)), None);
        for first in 3..9 {
            assert_eq!(gate.offer(GROUP, PEER, append(first, 1, first), looked_at(2)), None);
        }
        assert_eq!(gate.offer(GROUP, PEER, append(9, 0, 9), looked_at(2)), None, "and one without entries");
        let first = gate.offer_again(GROUP, looked_at(3));
        assert_eq!(number(&first), 1, "what is answered is what passed");
        assert_eq!(again(first), Some((alloc::vec![1, 2], 2, false)));
        assert_eq!(gate.waiting().collect::<Vec<_>>(), [(GROUP, Some(&[3][..]))]);
        assert_eq!(gate.behind(GROUP).count(), 5);
        let more = gate.offer_again(GROUP, looked_at(6));
        assert_eq!(number(&more), 5);
        assert_eq!(again(more), Some((alloc::vec![3, 4, 5], 5, false)));
        let absent = |data: &[u8]| if data[0] < 7 { Passes } else { Waits };
        assert_eq!(again(gate.offer_again(GROUP, absent)), Some((alloc::vec![6], 6, true)));
        let last = gate.offer_again(GROUP, |_| Passes);
        assert_eq!(number(&last), 9);
        assert_eq!(again(last), Some((alloc::vec![7, 8], 9, false)));
        assert_eq!(gate.bytes, 0);
    }

    #[test]
    fn what_does_not_continue_the_held_append_takes_its_place() {
        let mut gate = Gate::default();
        let nothing = |_: &[u8]| Waits;
        assert_eq!(passed(gate.offer(GROUP, PEER, append(1, 2, 0), nothing)), Some((alloc::vec![], 0, true)));
        assert_eq!(passed(gate.offer(GROUP, PEER, append(7, 1, 0), nothing)), Some((alloc::vec![], 0, true)));
        assert_eq!(again(gate.offer_again(GROUP, |_| Passes)), Some((alloc::vec![7], 0, false)));
    }

    #[test]
    fn what_is_held_is_bounded_and_stays_contiguous() {
        let mut gate = Gate::default();
        let nothing = |_: &[u8]| Waits;
        gate.offer(GROUP, PEER, append(1, 1, 0), nothing);
        let many = (Config::default().group_bytes / size_of::<raft::Entry>()) as u64;
        assert_eq!(gate.offer(GROUP, PEER, append(2, many, 0), nothing), None, "too many: dropped");
        for count in [1, 0] {
            let next = append(2 + (1 - count), count, 2);
            assert_eq!(gate.offer(GROUP, PEER, next, nothing), None, "it still continues what is held");
        }
        assert_eq!(gate.offer(GROUP, PEER, append(3, 1, 2), nothing), None, "behind one without entries");
        assert_eq!(again(gate.offer_again(GROUP, |_| Passes)), Some((alloc::vec![1, 2, 3], 2, false)));
        assert_eq!(gate.bytes, 0);
        let each = weight(append(1, many, 0).append().expect("an append"));
        for group in 0..20 {
            gate.offer(GroupId(group), PEER, append(1, many, 0), nothing);
        }
        assert_eq!(gate.bytes, Config::default().all_bytes / each * each);
        assert_eq!(gate.offer_again(GroupId(19), nothing), Err(NothingHeld));
        gate.forget(GroupId(0));
        gate.offer(GroupId(19), PEER, append(1, many, 0), nothing);
        assert_eq!(gate.offer_again(GroupId(19), nothing), Ok(None));
    }

    #[test]
    fn a_gate_without_memory_owes_a_word_instead() {
        let mut gate = Gate::new(Config { all_bytes: 0, ..Config::default() });
        assert_eq!(
            passed(gate.offer(GROUP, PEER, append(1, 2, 2), |data| if data[0] == 1 {
                Passes
            } else {
                Waits
            })),
            Some((alloc::vec![1], 1, true))
        );
        assert_eq!(gate.waiting().collect::<Vec<_>>(), [(GROUP, None)]);
        assert_eq!(gate.offer_again(GROUP, |_| Passes), Err(NothingHeld));
        assert_eq!(gate.waiting().count(), 1, "whoever offers again has yet to ask");
        gate.asked(GROUP);
        assert_eq!(gate.waiting().count(), 0);
        let mut gate = Gate::default();
        gate.offer(GROUP, PEER, append(1, 2, 2), |_| Waits);
        assert_eq!(gate.waiting().collect::<Vec<_>>(), [(GROUP, Some(&[1][..]))]);
    }
}
