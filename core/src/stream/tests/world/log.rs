//! The log of one voter and one learner: the voter commits what it has synced, the learner appends through the gate.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{INSTANCE, LogEntry, LogOp, Parcel, Row, SOURCE, TARGET, World, node};
use crate::id::{LogIndex, Term};
use crate::stream::{Applied, Input, Message, Output, Streams};

impl World {
    /// The leader sends what the learner lacks, its own unsynced entries included.
    pub(super) fn replicate(&mut self) {
        let machine = &self.machines[SOURCE];
        // Not before the learner said where it stands; not what is cut from the log.
        let from = self.learner_at;
        if !machine.leading || from == u64::MAX || from < machine.log.base {
            return;
        }
        let entries: Vec<LogEntry> = (from + 1..=machine.log.last().min(from + 64))
            .filter_map(|index| machine.log.get(index).cloned())
            .collect();
        let (term, commit) = (machine.term, machine.commit);
        self.send(TARGET, Parcel::Append { term, from, entries, commit });
    }

    /// The learner takes an append through the gate. Entries up to `from` are known to match.
    pub(super) fn append(&mut self, streams: &mut Streams, append: Parcel, row: &mut Row) {
        let Parcel::Append { term, from, entries, commit } = append.clone() else { return };
        let now = self.at();
        let machine = &mut self.machines[TARGET];
        if term < machine.term || from > machine.log.last() {
            return;
        }
        machine.term = term;
        let mut upto = from;
        for (index, entry) in (from + 1..).zip(entries) {
            if index <= machine.log.base || machine.log.get(index) == Some(&entry) {
                upto = index;
                continue;
            }
            if entry.command && !streams.admit(now, INSTANCE, &entry.data).passes() {
                machine.held_append = Some(append);
                break;
            }
            let op = LogOp::Put(index, entry);
            machine.log.act(&op);
            row.log.push(op);
            machine.durable = machine.durable.min(index - 1);
            upto = index;
        }
        machine.commit = machine.commit.max(commit.min(upto));
        while let Some(output) = streams.poll() {
            match output {
                Output::Persist(record) => row.records.push(record),
                Output::Send { message, .. } => {
                    let (header, payload) = message.encode();
                    self.send(SOURCE, Parcel::Stream(header, payload.to_bytes()));
                }
                other => panic!("admitting leads to {other:?}"),
            }
        }
    }

    /// Hands the next entries that are committed and durable to the streams.
    pub(super) fn apply(&mut self, which: usize) {
        let machine = &mut self.machines[which];
        let upto = machine.commit.min(machine.durable);
        let entry = |index| {
            machine.log.get(index).map(|entry| Applied {
                index: LogIndex(index),
                term: Term(entry.term),
                command: entry.command,
                data: entry.data.clone(),
            })
        };
        let entries: Vec<Applied> = (machine.applied + 1..=upto).filter_map(entry).collect();
        if !entries.is_empty() {
            machine.applied = upto;
            self.give(which, Input::Apply { instance: INSTANCE, entries });
        }
    }

    /// The source leads, from its own log.
    pub(in crate::stream::tests) fn lead(&mut self) {
        if self.machines[SOURCE].amnesic && !(self.machines[TARGET].streams.is_some() && self.copy_back()) {
            return;
        }
        let heard = self.machines[TARGET].term;
        let machine = &mut self.machines[SOURCE];
        if machine.leading || machine.streams.is_none() {
            return;
        }
        machine.term = machine.term.max(heard) + 1;
        machine.leading = true;
        machine.amnesic = false;
        let term = machine.term;
        let op = LogOp::Put(machine.log.last() + 1, LogEntry { term, command: false, data: Bytes::new() });
        machine.log.act(&op);
        let row = Row { log: alloc::vec![op], ..Row::default() };
        self.seal(SOURCE, row, Vec::new());
        self.learner_at = u64::MAX;
        let leader = Some(node(SOURCE));
        self.give(SOURCE, Input::Role { instance: INSTANCE, leading: true, term: Term(term), leader });
    }

    /// The target goes on from its own log as the only voter.
    pub(in crate::stream::tests) fn go_on_alone(&mut self) {
        let machine = &mut self.machines[TARGET];
        machine.term += 1;
        machine.leading = true;
        machine.held_append = None;
        let term = machine.term;
        let op = LogOp::Put(machine.log.last() + 1, LogEntry { term, command: false, data: Bytes::new() });
        machine.log.act(&op);
        machine.commit = machine.log.last();
        let row = Row { log: alloc::vec![op], ..Row::default() };
        self.seal(TARGET, row, Vec::new());
        let leader = Some(node(TARGET));
        self.give(TARGET, Input::Role { instance: INSTANCE, leading: true, term: Term(term), leader });
    }

    /// A source whose disk was rolled back takes the learner's log, through the gate. `false`: some bytes are still missing.
    pub(in crate::stream::tests) fn copy_back(&mut self) -> bool {
        let now = self.at();
        // The learner answers for a new term: what an older leader sent counts no more.
        let term = self.machines[SOURCE].term.max(self.machines[TARGET].term) + 1;
        self.machines[TARGET].term = term;
        if self.machines[TARGET].log.base > self.machines[SOURCE].log.last() {
            self.give(TARGET, Input::SnapshotWanted { instance: INSTANCE, to: node(SOURCE) });
            return false;
        }
        let Some(mut streams) = self.machines[SOURCE].streams.take() else { return false };
        let mut row = Row::default();
        let mut complete = true;
        for index in self.machines[SOURCE].log.last() + 1..=self.machines[TARGET].log.last() {
            let Some(entry) = self.machines[TARGET].log.get(index).cloned() else { continue };
            if entry.command && !streams.admit(now, INSTANCE, &entry.data).passes() {
                complete = false;
                break;
            }
            let op = LogOp::Put(index, entry);
            self.machines[SOURCE].log.act(&op);
            row.log.push(op);
        }
        while let Some(output) = streams.poll() {
            match output {
                Output::Persist(record) => row.records.push(record),
                Output::Send { message, .. } => {
                    let (header, payload) = message.encode();
                    self.send(TARGET, Parcel::Stream(header, payload.to_bytes()));
                }
                other => panic!("admitting leads to {other:?}"),
            }
        }
        self.machines[SOURCE].streams = Some(streams);
        self.seal(SOURCE, row, Vec::new());
        complete
    }

    pub(super) fn net(&mut self, to: usize, parcel: Parcel) {
        if self.machines[to].streams.is_none() {
            return;
        }
        match parcel {
            Parcel::Stream(header, payload) => {
                let message = Message::decode(header, payload).expect("what was said is understood");
                self.give(to, Input::Message { from: node(1 - to), message });
            }
            append @ Parcel::Append { .. } => {
                let mut row = Row::default();
                let Some(mut streams) = self.machines[to].streams.take() else { return };
                self.append(&mut streams, append, &mut row);
                self.machines[to].streams = Some(streams);
                self.seal(to, row, Vec::new());
                self.apply(to);
                self.acknowledge();
            }
            Parcel::Ack { matched, last } => self.acked(matched, last),
            Parcel::Snapshot { index, data } => {
                if index > self.machines[to].applied {
                    let (from, index) = (node(1 - to), LogIndex(index));
                    self.give(to, Input::Install { instance: INSTANCE, from, index, data });
                }
            }
        }
    }

    pub(super) fn acknowledge(&mut self) {
        let machine = &self.machines[TARGET];
        let (matched, last) = (machine.durable, machine.log.last());
        self.send(SOURCE, Parcel::Ack { matched, last });
    }

    /// Finds the learner's place: the end of the common prefix (a real log agrees by terms; here the world looks).
    pub(super) fn acked(&mut self, matched: u64, last: u64) {
        let [source, target] = &self.machines;
        if !source.leading {
            return;
        }
        let same = |index: u64| {
            index <= target.log.base
                || index <= source.log.base
                || source.log.get(index) == target.log.get(index)
        };
        let mut common = last.min(source.log.last()).min(target.log.last());
        while common > 0 && !same(common) {
            common -= 1;
        }
        let before = core::mem::replace(&mut self.learner_at, common);
        if common < source.log.base {
            return self.give(SOURCE, Input::SnapshotWanted { instance: INSTANCE, to: node(TARGET) });
        }
        let index = LogIndex(matched.min(common));
        self.give(SOURCE, Input::Match { instance: INSTANCE, node: node(TARGET), index });
        // Without progress the beat repeats: an answer to every answer would never end.
        if before != common && common < self.machines[SOURCE].log.last() {
            self.replicate();
        }
    }
}
