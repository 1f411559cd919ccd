//! How a replica is put together from what was stored of it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString as _;

use bytes::Bytes;
use wattle_proto::raft as wire;

use super::Output;
use super::entries::Entries;
use super::group::{Group, Remembered, Standing};
use super::message::{Entry, Mark, Place};
use super::wire::{Malformed, configuration, entries, mark, place};
use super::write::{BASE, LOG, MARKS, SPACES, STATE, key};
use crate::configuration::{Configuration, Member};
use crate::id::{GroupId, LogIndex, NodeId, ReplicaId, Term};
use crate::planted::{Bug, Planted};
use crate::record::{Damaged, Forget, Owner};

/// Lets every record of a group die.
pub(super) fn forget_all(group: GroupId) -> impl Iterator<Item = Output> {
    SPACES
        .into_iter()
        .map(move |space| Output::Forget(Forget { owner: Owner::Raft, space, id: group.0, below: u64::MAX }))
}

/// The records of one group as they come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Loading {
    state: Option<wire::HardState>,
    base: Option<(Place, Configuration)>,
    entries: BTreeMap<LogIndex, Entry>,
    /// What was known to be committed when any of it was written.
    committed: LogIndex,
    marks: BTreeMap<NodeId, Mark>,
}

impl Loading {
    pub(super) fn take(
        &mut self,
        space: u8,
        slot: u64,
        head: &Bytes,
        planted: Planted,
    ) -> Result<(), Malformed> {
        fn read<M: prost::Message + Default>(head: &Bytes) -> Result<M, Malformed> {
            M::decode(head.clone()).map_err(|error| Malformed(error.to_string()))
        }
        match space {
            STATE => self.state = Some(read(head)?),
            LOG => {
                let run: wire::LogRun = read(head)?;
                // Whatever stood there and behind was replaced by this run.
                let behind = |entries: &BTreeMap<LogIndex, Entry>| {
                    let next = slot + run.entries.len() as u64;
                    entries.keys().next_back().is_some_and(|last| last.0 >= next)
                };
                if !planted.strikes(Bug::CutEntriesReadBack, || behind(&self.entries)) {
                    self.entries.split_off(&LogIndex(slot));
                }
                self.committed = self.committed.max(LogIndex(run.commit));
                let run = entries(run.entries, LogIndex(slot).before())?;
                self.entries.extend(run.iter().map(|entry| (entry.index, entry.clone())));
            }
            BASE => {
                let base: wire::Base = read(head)?;
                let members =
                    base.configuration.ok_or_else(|| Malformed("a base without configuration".into()))?;
                self.base = Some((place(base.place.as_ref())?, configuration(&members)?));
            }
            MARKS => {
                let record: wire::MarkRecord = read(head)?;
                if let (Some(node), Some(found)) = (NodeId::from_slice(&record.node), &record.mark) {
                    self.marks.insert(node, mark(found)?);
                }
            }
            _ => return Err(Malformed(format!("a record of space {space}, unknown to this build"))),
        }
        Ok(())
    }

    /// The replica these records make, or `None` if they are leftovers of a group that was removed. The state of its owner reaches
    /// up to `applied`.
    ///
    /// # Errors
    /// [`Damaged`] if the records do not make a log.
    pub(super) fn build(
        self,
        id: GroupId,
        applied: LogIndex,
        planted: Planted,
    ) -> Result<Option<Group>, Damaged> {
        let (Some(state), Some((base, configuration))) = (self.state, self.base) else { return Ok(None) };
        let Some(replica) = ReplicaId::from_slice(&state.replica) else { return Ok(None) };
        if applied < base.index {
            let what = format!(
                "the log begins behind entry {}, the state built from it ends at entry {applied}",
                base.index
            );
            return Err(Damaged { key: key(id, BASE, 0), what });
        }
        let mut group = Group::new(id, replica, base, configuration, planted);
        for (index, entry) in self.entries {
            if index <= base.index {
                continue;
            }
            let last = group.log.last();
            if index != last.index.next() || entry.term < last.term {
                let what = format!(
                    "entry {index} of term {} does not follow entry {} of term {}",
                    entry.term, last.index, last.term
                );
                return Err(Damaged { key: key(id, LOG, index.0), what });
            }
            if group.log.misfit(&Entries::from_iter([entry.clone()])).is_some() {
                let what = format!("entry {index} changes a configuration that is not in force before it");
                return Err(Damaged { key: key(id, LOG, index.0), what });
            }
            group.log.push(entry);
        }
        group.log.all_durable();
        group.once_committed = self.committed.min(group.log.last().index);
        group.term = Term(state.term);
        group.era = state.era;
        group.vote = state.vote.and_then(|vote| {
            Some(Member {
                node: NodeId::from_slice(&vote.node)?,
                replica: ReplicaId::from_slice(&vote.replica)?,
            })
        });
        group.former = state.former.iter().filter_map(|id| ReplicaId::from_slice(id)).collect();
        for (node, mark) in self.marks {
            group.marks.insert(node, Remembered { mark, unwritten: false });
        }
        if !state.stopped.is_empty() {
            group.standing = Standing::Stopped { reason: state.stopped, alone: state.stopped_alone };
        } else if let Some(old) = ReplicaId::from_slice(&state.renamed_from) {
            group.standing = Standing::Renamed { old };
        } else if let Some(goal) = &state.copying
            && let Ok(mark) = mark(goal)
        {
            // A copy that a crash cut short begins again: the term it reached says nothing of what is here.
            group.standing = Standing::copying(mark);
        }
        Ok(Some(group))
    }
}
