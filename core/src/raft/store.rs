//! How a replica is put together from what was stored of it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::raft as wire;

use super::Output;
use super::delta::Delta;
use super::entries::Entries;
use super::group::Group;
use super::log::Log;
use super::message::{Mark, Place};
use super::remembered::Remembered;
use super::roles::{Led, Standing, Stopped};
use super::sharing::Configurations;
use super::stored::Run;
use super::wire::{Malformed, configuration, decode_delta, entries, mark, place};
use super::write::{BASE, LOG, MARKS, SPACES, STATE, key};
use crate::configuration::{Configuration, Member};
use crate::digest::Chain;
use crate::id::{GroupId, LogIndex, NodeId, ReplicaId, Term};
use crate::planted::{Bug, Planted};
use crate::record::{Damaged, Forget, Key, Owner, Settled};
use crate::sometimes;

/// Lets every record of a group die.
pub(super) fn forget_all(group: GroupId) -> impl Iterator<Item = Output> {
    SPACES
        .into_iter()
        .map(move |space| Output::Forget(Forget { owner: Owner::Raft, space, id: group.0, below: u64::MAX }))
}

/// Of a record whose payload is read at a start: up to which slot the payloads of its kind need not be, if there is no room for them, in the history
/// of which it is. What was known to be committed is not cut any more, and is read when somebody needs it.
#[must_use]
pub fn recall(key: &Key, head: &Bytes) -> Option<Settled> {
    let is_run = (key.owner, key.space) == (Owner::Raft, LOG);
    // One that cannot be read is refused when it is taken.
    let settled = |head: wire::RunHead| Settled { history: head.history, upto: head.commit };
    is_run.then(|| wire::RunHead::decode(head.clone()).map_or_else(|_| Settled::default(), settled))
}

/// The entries of a stored run of which the first has that slot.
pub(super) fn decode_run(slot: LogIndex, payload: &Bytes) -> Result<Entries, Malformed> {
    let run = wire::LogRun::decode(payload.clone()).map_err(|error| Malformed(error.to_string()))?;
    entries(run.entries, slot.before())
}

/// A record of the log.
#[derive(Clone, Debug)]
struct Recorded {
    /// Up to where it counts: what was written later stands behind.
    last: LogIndex,
    before: Chain,
    term: Term,
    changes: Vec<(LogIndex, Delta)>,
    payload: Option<Bytes>,
    payload_len: usize,
}

impl Recorded {
    fn new(
        last: u64,
        head: wire::RunHead,
        payload: Option<Bytes>,
        payload_len: usize,
    ) -> Result<Self, Malformed> {
        let before =
            Chain::from_slice(&head.before).ok_or_else(|| Malformed("a chain has 16 bytes".to_string()))?;
        let change = |change: wire::Change| Ok((LogIndex(change.index), decode_delta(&change.data)?));
        let changes = head.changes.into_iter().map(change).collect::<Result<_, Malformed>>()?;
        Ok(Self { last: LogIndex(last), before, term: Term(head.term), changes, payload, payload_len })
    }

    /// It counts up to `last` only.
    fn cut(&mut self, last: LogIndex) {
        self.last = last;
        self.changes.retain(|(at, _)| *at <= last);
    }

    /// What its entries from `first` on take in memory, about.
    fn cost(&self, first: LogIndex) -> u64 {
        self.payload_len as u64 + (self.last.0 + 1 - first.0) * size_of::<super::Entry>() as u64
    }
}

/// The records of one group as they come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Loading {
    state: Option<wire::HardState>,
    base: Option<(Place, Configuration, u64)>,
    /// By slot. They do not overlap.
    runs: BTreeMap<LogIndex, Recorded>,
    /// What was known to be committed when any of it was written, by the history of the log.
    committed: BTreeMap<u64, LogIndex>,
    marks: BTreeMap<NodeId, Mark>,
}

/// A record as it was found.
pub(super) struct Stored<'a> {
    pub(super) key: &'a Key,
    pub(super) last_slot: u64,
    pub(super) head: &'a Bytes,
    /// What of it was read back, if it was.
    pub(super) payload: Option<Bytes>,
    pub(super) payload_len: usize,
}

impl Loading {
    pub(super) fn take(&mut self, stored: Stored<'_>, planted: Planted) -> Result<(), Malformed> {
        fn read<M: prost::Message + Default>(head: &Bytes) -> Result<M, Malformed> {
            M::decode(head.clone()).map_err(|error| Malformed(error.to_string()))
        }
        let Stored { key, last_slot, head, payload, payload_len } = stored;
        match key.space {
            STATE => self.state = Some(read(head)?),
            LOG => {
                let head: wire::RunHead = read(head)?;
                let committed = self.committed.entry(head.history).or_default();
                *committed = LogIndex(head.commit).max(*committed);
                let run = Recorded::new(last_slot, head, payload, payload_len)?;
                self.take_run(LogIndex(key.slot), run, planted);
            }
            BASE => {
                let base: wire::Base = read(head)?;
                let members =
                    base.configuration.ok_or_else(|| Malformed("a base without configuration".into()))?;
                self.base = Some((place(base.place.as_ref())?, configuration(&members)?, base.history));
            }
            MARKS => {
                let record: wire::MarkRecord = read(head)?;
                if let (Some(node), Some(found)) = (NodeId::from_slice(&record.node), &record.mark) {
                    self.marks.insert(node, mark(found)?);
                }
            }
            space => return Err(Malformed(format!("a record of space {space}, unknown to this build"))),
        }
        Ok(())
    }

    /// Whatever stood where a run begins, and behind, was replaced by it.
    fn take_run(&mut self, first: LogIndex, run: Recorded, planted: Planted) {
        let mut behind = self.runs.split_off(&first);
        if let Some((_, spanning)) =
            self.runs.iter_mut().next_back().filter(|(_, before)| before.last >= first)
        {
            spanning.cut(first.before());
        }
        if run.payload_len > 0 {
            let next = run.last.next();
            self.runs.insert(first, run);
            behind = behind.split_off(&next);
        }
        if planted.strikes(Bug::CutEntriesReadBack, || !behind.is_empty()) {
            self.runs.append(&mut behind);
        }
    }

    /// The replica these records make, or `None` if they are leftovers of a group that was removed. The state of its owner reaches
    /// up to `applied`.
    ///
    /// # Errors
    /// [`Damaged`] if the records do not make a log.
    pub(super) fn build(
        self,
        id: GroupId,
        (own, applied): (NodeId, LogIndex),
        configurations: &mut Configurations,
        planted: Planted,
    ) -> Result<Option<Group>, Damaged> {
        let (Some(state), Some((base, configuration, history))) = (self.state, self.base) else {
            return Ok(None);
        };
        let Some(replica) = ReplicaId::from_slice(&state.replica) else { return Ok(None) };
        if applied < base.index {
            let what = format!(
                "the log begins behind entry {}, the state built from it ends at entry {applied}",
                base.index
            );
            return Err(Damaged { key: key(id, BASE, 0), what });
        }
        let mut group = Group::new(id, replica, base, configurations.shared(configuration), planted);
        read_log(&mut group.log, id, self.runs)?;
        group.log.all_durable();
        let here = self.committed.get(&history).copied().unwrap_or_default();
        let all = || self.committed.values().copied().max().unwrap_or_default();
        let any = planted.strikes(Bug::HistoryIgnored, || all() > here);
        let committed = if any { all() } else { here }.max(base.index);
        if let Some(stored) = group.log.stored_upto().filter(|&stored| stored > committed) {
            let what = format!(
                "entries up to {stored} were not read, and only those up to {committed} are known to be decided"
            );
            return Err(Damaged { key: key(id, LOG, stored.0), what });
        }
        (group.once_committed, group.history) = (committed.min(group.log.last().index), history);
        group.term = Term(state.term);
        group.era = state.era;
        if state.deluded_upto > 0 {
            group.past_mut().deluded_upto = LogIndex(state.deluded_upto);
        }
        if let Some(led) = state.led {
            let behind = (Term(led.behind_term), LogIndex(led.behind));
            let (term, set_back) = (Term(led.term), Term(led.set_back));
            group.past_mut().led = Some(Led { term, behind, set_back });
        }
        if state.set_back > 0 {
            group.past_mut().set_back = Term(state.set_back);
        }
        group.set_vote(state.vote.and_then(|vote| {
            Some(Member {
                node: NodeId::from_slice(&vote.node)?,
                replica: ReplicaId::from_slice(&vote.replica)?,
            })
        }));
        if !state.former.is_empty() {
            group.past_mut().former =
                state.former.iter().filter_map(|id| ReplicaId::from_slice(id)).collect();
        }
        for (node, mark) in self.marks {
            let remembered = Remembered::new(group.member(own), node, mark, false);
            group.marks.insert(node, remembered);
        }
        if !state.stopped.is_empty() {
            let stopped = Stopped { reason: state.stopped, alone: state.stopped_alone };
            group.standing = Standing::Stopped(Box::new(stopped));
        } else if let Some(old) = ReplicaId::from_slice(&state.renamed_from) {
            group.standing = Standing::Renamed(Box::new(old));
        } else if let Some(goal) = &state.copying
            && let Ok(mark) = mark(goal)
        {
            // A copy that a crash cut short begins again: the term it reached says nothing of what is here.
            group.standing = Standing::copying(mark);
        }
        Ok(Some(group))
    }
}

/// Puts runs behind the base of an empty log: those at its end with their contents, as far back as these were read.
fn read_log(log: &mut Log, id: GroupId, mut runs: BTreeMap<LogIndex, Recorded>) -> Result<(), Damaged> {
    let base = log.base().index;
    runs.retain(|_, run| run.last > base);
    let missing = runs.iter().rev().find(|(_, run)| run.payload.is_none()).map(|(&slot, _)| slot);
    sometimes!(StartLeftEntriesStored, missing.is_some());
    let mut runs = runs.into_iter().peekable();
    while let Some((slot, run)) = runs.next() {
        let damaged = |what: String| Damaged { key: key(id, LOG, slot.0), what };
        let last = log.last();
        let first = slot.max(base.next());
        if first != last.index.next() || run.term < last.term || (slot == first && run.before != last.chain) {
            let Term(term) = run.term;
            let what = format!(
                "entry {first} of term {term} does not follow entry {} of term {}",
                last.index, last.term
            );
            return Err(damaged(what));
        }
        let misfit = |index: LogIndex| {
            damaged(format!("entry {index} changes a configuration that is not in force before it"))
        };
        if missing.is_none_or(|missing| slot > missing) {
            let payload = run.payload.as_ref().ok_or_else(|| damaged("its entries were not read".into()))?;
            let entries = decode_run(slot, payload).map_err(|error| damaged(error.to_string()))?;
            let range = (first.0 - slot.0) as usize..(run.last.0 + 1 - slot.0) as usize;
            if range.end > entries.len() || entries.iter().any(|entry| entry.term != run.term) {
                return Err(damaged(format!("it does not hold entries up to {} of one term", run.last)));
            }
            let entries = entries.part(range);
            if let Some(index) = log.misfit(&entries) {
                return Err(misfit(index));
            }
            log.append_read(entries, slot);
            continue;
        }
        let Some((_, next)) = runs.peek() else {
            return Err(damaged("its entries were not read, and nothing stands behind them".into()));
        };
        let end = Place { index: run.last, term: run.term, chain: next.before };
        let run_here = Run { first, end, slot, cost: run.cost(first) };
        let changes: Vec<_> = run.changes.into_iter().filter(|(at, _)| *at >= first).collect();
        log.append_stored(run_here, changes).map_err(misfit)?;
    }
    Ok(())
}
