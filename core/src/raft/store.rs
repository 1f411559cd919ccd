//! Records of a group, and how a replica is put together from them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::raft as wire;

use super::group::{Context, Group, Standing};
use super::message::{Entry, Mark, Place};
use super::wire::{
    Malformed, configuration, entries, mark, place, wire_configuration, wire_entry, wire_mark, wire_member,
    wire_place,
};
use super::{Output, Written};
use crate::configuration::{Configuration, Member};
use crate::id::{GroupId, LogIndex, NodeId, ReplicaId, Term};
use crate::planted::{Bug, Planted};
use crate::record::{Damaged, Forget, Key, Owner, Record};

const STATE: u8 = 1;
const LOG: u8 = 2;
const BASE: u8 = 3;
const MARKS: u8 = 4;
const SPACES: [u8; 4] = [STATE, LOG, BASE, MARKS];

fn key(group: GroupId, space: u8, slot: u64) -> Key {
    Key { owner: Owner::Raft, space, id: group.0, slot }
}

impl Group {
    /// Term, vote, replica id and standing: with whatever else this step writes.
    pub(super) fn persist_state(&mut self, context: &mut Context<'_>) {
        let (renamed_from, stopped, stopped_alone) = match &self.standing {
            Standing::Renamed { old } => (old.to_bytes().to_vec(), String::new(), false),
            Standing::Stopped { reason, alone } => (Vec::new(), reason.clone(), *alone),
            _ => (Vec::new(), String::new(), false),
        };
        let copying = match &self.standing {
            Standing::Copying { mark, .. } => Some(wire_mark(mark)),
            _ => None,
        };
        let state = wire::HardState {
            term: self.term.0,
            vote: self.vote.as_ref().map(wire_member),
            replica: self.replica.to_bytes().to_vec(),
            renamed_from,
            stopped,
            stopped_alone,
            copying,
            former: self.former.iter().map(|replica| replica.to_bytes().to_vec()).collect(),
        };
        let record = Record::state(key(self.id, STATE, 0), state.encode_to_vec().into());
        context.out.push_back(Output::Persist(record));
        self.persist_marks(context);
    }

    /// New entries at the end of the log.
    pub(super) fn persist_entries(&mut self, context: &mut Context<'_>, new: Vec<Entry>) {
        let (Some(first), Some(last)) = (new.first(), new.last()) else { return };
        let (slot, last_slot) = (first.index.0, last.index.0);
        let run = wire::LogRun { entries: new.iter().map(wire_entry).collect() };
        let record =
            Record { last_slot, ..Record::state(key(self.id, LOG, slot), run.encode_to_vec().into()) };
        context.out.push_back(Output::Persist(record));
        let serial = self.log.writing();
        self.notify(context, Written::Log(serial));
        self.persist_marks(context);
    }

    /// The base moved forward: what lies at or below it is dead.
    ///
    /// A run makes an end of all older ones that stood at its place or behind. If the last run dies with the base, entries that it replaced
    /// would rise again at the next start, so an empty run takes over from it.
    pub(super) fn persist_base(&mut self, context: &mut Context<'_>) {
        let base = self.log.base();
        let configuration = self.log.configuration_at(base.index);
        let record = wire::Base {
            place: Some(wire_place(&base)),
            configuration: Some(wire_configuration(&configuration)),
        };
        let record = Record::state(key(self.id, BASE, 0), record.encode_to_vec().into());
        context.out.push_back(Output::Persist(record));
        let below = base.index.0 + 1;
        context.out.push_back(Output::Forget(Forget {
            owner: Owner::Raft,
            space: LOG,
            id: self.id.0,
            below,
        }));
        if self.log.last() == self.log.base() && !context.planted.has(Bug::CutEntriesRiseAgain) {
            let forget = Forget { owner: Owner::Raft, space: LOG, id: self.id.0, below: u64::MAX };
            context.out.push_back(Output::Forget(forget));
            let slot = self.log.first().0;
            let run = wire::LogRun { entries: Vec::new() };
            let record = Record::state(key(self.id, LOG, slot), run.encode_to_vec().into());
            context.out.push_back(Output::Persist(record));
        }
    }

    /// The log begins anew behind a snapshot.
    pub(super) fn persist_reset(&mut self, context: &mut Context<'_>) {
        self.persist_base(context);
        self.persist_state(context);
    }

    /// Marks ride along with the next write (rule C2).
    fn persist_marks(&mut self, context: &mut Context<'_>) {
        for node in core::mem::take(&mut self.unwritten_marks) {
            let Some(mark) = self.marks.get(&node) else { continue };
            if context.planted.has(Bug::MarksNotWritten) {
                continue;
            }
            let record = wire::MarkRecord { node: node.to_bytes().to_vec(), mark: Some(wire_mark(mark)) };
            // Two nodes whose ids share these bits would share a slot; the content names the node, and a lost mark only weakens a check.
            let slot = node.0 as u64;
            let record = Record::state(key(self.id, MARKS, slot), record.encode_to_vec().into());
            context.out.push_back(Output::Persist(record));
        }
    }
}

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
                let run = entries(run.entries, LogIndex(slot).before())?;
                self.entries.extend(run.into_iter().map(|entry| (entry.index, entry)));
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
            if group.log.misfit(core::slice::from_ref(&entry)).is_some() {
                let what = format!("entry {index} changes a configuration that is not in force before it");
                return Err(Damaged { key: key(id, LOG, index.0), what });
            }
            group.log.push(entry);
        }
        group.log.all_durable();
        group.term = Term(state.term);
        group.vote = state.vote.and_then(|vote| {
            Some(Member {
                node: NodeId::from_slice(&vote.node)?,
                replica: ReplicaId::from_slice(&vote.replica)?,
            })
        });
        group.former = state.former.iter().filter_map(|id| ReplicaId::from_slice(id)).collect();
        group.marks = self.marks;
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
