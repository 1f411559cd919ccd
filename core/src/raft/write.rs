//! What a replica writes. Everything of one step shares one row, so term, vote, truncation and the entries that replace what was cut are
//! durable together. A replica notes what is to be written and gives it out at the end of the step, each thing once.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use prost::Message as _;
use wattle_proto::raft as wire;

use super::codec::{Head, encode_head, encode_run};
use super::context::Context;
use super::entries::Entries;
use super::group::Group;
use super::message::{Mark, Place};
use super::roles::Standing;
use super::segments::RunLimits;
use super::wire::{wire_configuration, wire_mark, wire_member, wire_place};
use super::{Output, Written};
use crate::id::{GroupId, LogIndex, NodeId};
use crate::planted::{Bug, Planted};
use crate::record::{Forget, Key, Owner, Record};

pub(super) const STATE: u8 = 1;
pub(super) const LOG: u8 = 2;
pub(super) const BASE: u8 = 3;
pub(super) const MARKS: u8 = 4;
pub(super) const SPACES: [u8; 4] = [STATE, LOG, BASE, MARKS];

/// Entries of one stored run, at most: what is read back is read in pieces of that size.
const RUN: RunLimits = RunLimits { entries: 1024, bytes: 1 << 20 };

pub(super) fn key(group: GroupId, space: u8, slot: u64) -> Key {
    Key { owner: Owner::Raft, space, id: group.0, slot }
}

/// Something of a group that is to be written. Encoded where rows are made, so that nothing is copied before.
#[derive(Clone, Debug)]
pub struct Write {
    group: GroupId,
    what: What,
    /// What members vouched for, which is written with it.
    marks: Option<Box<[(NodeId, Mark)]>>,
}

#[derive(Clone, Debug)]
enum What {
    /// Term, vote, replica id and standing.
    State(Box<wire::HardState>),
    /// Entries of one term. Whatever stood there and behind goes.
    Run(Entries, Head),
    /// Nothing stands from there on.
    End(LogIndex, Head),
    /// Where the log begins, and the configuration in force there.
    Base(Box<wire::Base>),
}

impl Write {
    /// The group it is of.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// The entries it stores, if it stores any.
    #[must_use]
    pub fn entries(&self) -> Option<&Entries> {
        match &self.what {
            What::Run(entries, _) => Some(entries),
            What::State(_) | What::Base(_) | What::End(..) => None,
        }
    }

    /// The records it is stored as.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let log = |first: LogIndex, head| Record::state(key(self.group, LOG, first.0), head);
        let first = match &self.what {
            What::State(state) => Record::state(key(self.group, STATE, 0), state.encode_to_vec().into()),
            What::Base(base) => Record::state(key(self.group, BASE, 0), base.encode_to_vec().into()),
            What::End(first, head) => log(*first, encode_head(&Entries::new(), *head)),
            What::Run(entries, head) => {
                let head = encode_head(entries, *head);
                let (first, last) = (entries[0].index, entries[entries.len() - 1].index);
                Record { last_slot: last.0, payload: encode_run(entries).into(), ..log(first, head) }
            }
        };
        core::iter::once(first).chain(self.marks.iter().flatten().map(|(node, mark)| {
            // Two nodes whose ids share these bits would share a slot; the content names the node, and a lost mark only weakens a check.
            let slot = key(self.group, MARKS, node.0 as u64);
            let record = wire::MarkRecord { node: node.to_bytes().to_vec(), mark: Some(wire_mark(mark)) };
            Record::state(slot, record.encode_to_vec().into())
        }))
    }
}

impl Group {
    /// Term, vote, replica id and standing are to be written with whatever else this step writes.
    pub(super) fn persist_state(&mut self) {
        self.unwritten_state = true;
    }

    /// Whether something is to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        self.unwritten_state || self.log.has_unwritten()
    }

    /// Gives out what is to be written.
    pub(super) fn write(&mut self, context: &mut Context<'_>) {
        if !self.has_unwritten() {
            return;
        }
        let mut marks = self.take_unwritten_marks(context);
        if self.unwritten_state {
            let state = self.state(context.planted);
            context.write(Write { group: self.id, what: state, marks: marks.take() });
        }
        if self.log.has_unwritten() {
            self.log.close(context.config.message());
            let message = context.config.message();
            // As messages carry them: a member that lags is sent what was read.
            let limits =
                RunLimits { entries: message.entries.min(RUN.entries), bytes: message.bytes.min(RUN.bytes) };
            while let Some((before, run)) = self.log.take_unwritten(limits) {
                let what = What::Run(run, self.head(before));
                context.write(Write { group: self.id, what, marks: marks.take() });
            }
            let serial = self.log.writing();
            context.notify(self, Written::Log(serial));
        }
    }

    /// What is said with the entries behind that place. What an earlier life knew is not forgotten by this one.
    fn head(&self, before: Place) -> Head {
        let commit = self.commit.max(self.once_committed);
        Head { before: before.chain, commit, history: self.history }
    }

    /// The log is in a history of its own from now on, in which everything up to `upto` is committed (R30). Its base is to be written, which says
    /// so.
    pub(super) fn begin_history(&mut self, context: &mut Context<'_>, upto: LogIndex) {
        self.history = context.histories.u64();
        self.once_committed = upto;
    }

    fn give(&self, context: &mut Context<'_>, what: What) {
        context.write(Write { group: self.id, what, marks: None });
    }

    /// Gives out term, vote, replica id and standing.
    pub(super) fn write_state(&mut self, context: &mut Context<'_>) {
        let state = self.state(context.planted);
        self.give(context, state);
    }

    /// Term, vote, replica id and standing, which are not to be written any more.
    fn state(&mut self, planted: Planted) -> What {
        self.unwritten_state = false;
        let (renamed_from, stopped, stopped_alone) = match &self.standing {
            Standing::Renamed(old) => (old.to_bytes().to_vec(), String::new(), false),
            Standing::Stopped(stopped) => (Vec::new(), stopped.reason.clone(), stopped.alone),
            _ => (Vec::new(), String::new(), false),
        };
        let copying = match &self.standing {
            Standing::Copying(copying) => Some(wire_mark(&copying.mark)),
            _ => None,
        };
        let state = wire::HardState {
            term: self.term.0,
            vote: self.vote().as_ref().map(wire_member),
            replica: self.replica.to_bytes().to_vec(),
            renamed_from,
            stopped,
            stopped_alone,
            copying,
            deluded_upto: if planted.has(Bug::DelusionForgotten) { 0 } else { self.past().deluded_upto.0 },
            era: self.era,
            led: self.led().map(|led| wire::Led {
                term: led.term.0,
                behind_term: led.behind.0.0,
                behind: led.behind.1.0,
                set_back: led.set_back.0,
            }),
            set_back: self.past().set_back.0,
            former: self.past().former.iter().map(|replica| replica.to_bytes().to_vec()).collect(),
        };
        What::State(Box::new(state))
    }

    /// The base moved forward: what lies at or below it is dead.
    ///
    /// A run makes an end of all older ones that stood at its place or behind. If the last run dies with the base, entries that it replaced
    /// would rise again at the next start, so an empty run takes over from it.
    pub(super) fn write_base(&mut self, context: &mut Context<'_>) {
        let base = self.log.base();
        let configuration = self.log.configuration_at(base.index);
        let record = wire::Base {
            place: Some(wire_place(&base)),
            configuration: Some(wire_configuration(&configuration)),
            history: self.history,
        };
        self.give(context, What::Base(Box::new(record)));
        let forget = |below| Output::Forget(Forget { owner: Owner::Raft, space: LOG, id: self.id.0, below });
        context.out.push_back(forget(base.index.0 + 1));
        if self.log.last() == self.log.base() && !context.planted.has(Bug::CutEntriesRiseAgain) {
            context.out.push_back(forget(u64::MAX));
            self.give(context, What::End(base.index.next(), self.head(base)));
        }
    }

    /// The log begins anew behind a snapshot.
    pub(super) fn write_reset(&mut self, context: &mut Context<'_>) {
        self.write_base(context);
        self.persist_state();
    }

    /// Marks ride along with the next write (rule C2).
    fn take_unwritten_marks(&mut self, context: &Context<'_>) -> Option<Box<[(NodeId, Mark)]>> {
        if !core::mem::take(&mut self.unwritten_marks) || context.planted.has(Bug::MarksNotWritten) {
            return None;
        }
        let this = self.member(context.own);
        let count = self.marks.values().filter(|remembered| remembered.unwritten).count();
        let mut marks = Vec::with_capacity(count);
        for (&node, remembered) in self.marks.iter_mut().filter(|(_, remembered)| remembered.unwritten) {
            remembered.unwritten = false;
            marks.push((node, remembered.mark(this, node)));
        }
        Some(marks.into())
    }
}
