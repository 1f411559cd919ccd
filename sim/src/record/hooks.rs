//! Where the world tells the recorder what it did. Without a recorder each of these is one comparison.

use std::collections::BTreeMap;

use bytes::Bytes;
use wattle_core::id::GroupId;
use wattle_core::node::command::{Receipt, Refusal, Reply, Waited};
use wattle_core::node::output::{Delivery, Event};
use wattle_core::node::{Input, Output, Status};
use wattle_core::raft::GroupPlace;

use super::recorder::Open;
use super::words::{
    field, input_fields, input_words, nodes_of, output_fields, output_words, said_in, words_of,
};
use super::{BandKind, History, Kind, NOBODY, Ordinal, Record, Recorder, Sample};
use crate::event::Side;
use crate::machine::Machine;
use crate::outcome::{Outcome, Verdict};
use crate::world::World;

impl<M: Machine> World<M> {
    /// The node was told something; it was just noted.
    pub(crate) fn explain_input(&mut self, node: usize, input: &Input) {
        if self.recorder.is_none() {
            return;
        }
        let far = match input {
            Input::LaneUp { lane, .. } | Input::Received { lane, .. } => self.far_end(node, *lane),
            _ => None,
        };
        let peer = far.map(|(peer, ..)| field("from", &self.plan.nodes[peer].name));
        let dialled = match (input, far) {
            (Input::LaneUp { dial: Some(dial), .. }, _) => Some((node, dial.0)),
            (Input::LaneUp { dial: None, .. }, Some((peer, connection, _))) => {
                Some((peer, self.network.connection(connection).dial.0))
            }
            (Input::DialFailed { dial }, _) => Some((node, dial.0)),
            _ => None,
        };
        let Some(recorder) = &mut self.recorder else { return };
        let noted = recorder.noted;
        let cause = match input {
            Input::Received { .. } => Ordinal::new(self.network.arrived()),
            Input::Deadline => recorder.pending[node].armed,
            Input::Persisted { upto } => recorder.persisted(node, upto.0),
            Input::Loaded { load, .. } => recorder.pending[node].loads.remove(&load.0),
            Input::WorkDone { work, .. } => {
                recorder.pending[node].works.remove(&(work.owner as u8, work.token))
            }
            Input::Verdict { token, .. } => recorder.pending[node].deliveries.get(&token.0).copied(),
            Input::LaneUp { .. } | Input::DialFailed { .. } => {
                dialled.and_then(|(who, dial)| recorder.pending[who].dials.get(&dial).copied())
            }
            _ => None,
        };
        if let (Input::Command { request, .. }, Some(noted)) = (input, noted) {
            recorder.commands.insert(*request, noted);
        }
        recorder.caused(noted, cause);
        let mut fields = input_fields(input);
        fields.extend(peer);
        recorder.refine(noted, None, fields);
        recorder.say(noted, input_words(input));
        if let (Input::Received { bytes, .. }, Some((peer, ..))) = (input, far) {
            let peer = &self.plan.nodes[peer].name;
            recorder.call(noted, format!("from {peer}: {}", said_in(bytes)));
        }
    }

    /// The node wants something; it was just noted.
    pub(crate) fn explain_output(&mut self, node: usize, output: &Output) {
        let now = self.now;
        let Some(recorder) = &mut self.recorder else { return };
        let noted = recorder.noted;
        recorder.refine(noted, None, output_fields(output));
        recorder.say(noted, output_words(output));
        if let (Output::Event(Event::RoleChanged { group, role, term }), true) = (output, noted.is_some()) {
            return recorder.role(now, node, *group, role, term.0);
        }
        let Some(noted) = noted else { return };
        let pending = &mut recorder.pending[node];
        match output {
            Output::Write { ticket, .. } => {
                pending.writes.insert(ticket.0, noted);
            }
            Output::Load { load, .. } => {
                pending.loads.insert(load.0, noted);
            }
            Output::Work { work, .. } => {
                pending.works.insert((work.owner as u8, work.token), noted);
            }
            Output::Dial { dial, .. } => {
                pending.dials.insert(dial.0, noted);
            }
            Output::Deliver(delivery) => {
                pending.deliveries.insert(delivery.token.0, noted);
                recorder.delivered(noted, delivery);
            }
            Output::Reply { request, reply } => {
                let command = recorder.commands.get(request).copied();
                recorder.answers(Some(noted), command);
                recorder.replied(noted, reply);
            }
            Output::Close { lane, .. } => {
                if let Some(&(connection, _)) = self.processes[node].lanes.get(lane) {
                    recorder.ended.entry(connection).or_insert(noted);
                }
            }
            Output::Trim { .. } | Output::Event(_) | Output::ShowKey(_) | Output::DeliverUpdates(_) => {}
        }
    }

    /// Bytes leave a node; it was just noted. The network carries the record's place with them.
    pub(crate) fn explain_transmit(&mut self, connection: usize, side: Side, bytes: &Bytes) {
        let Some(recorder) = &mut self.recorder else { return };
        let peer = self.network.connection(connection).ends[1 - side].node;
        let peer = &self.plan.nodes[peer].name;
        let fields = vec![field("to", peer), field("bytes", bytes.len()), field("connection", connection)];
        recorder.refine(recorder.noted, None, fields);
        recorder.call(recorder.noted, format!("to {peer}: {}", said_in(bytes)));
        self.network.carry(recorder.noted.map_or(0, Ordinal::get));
    }

    /// An end of a connection is about to learn that it is over.
    pub(crate) fn explain_end(&mut self, connection: usize, side: Side) {
        let ends = &self.network.connection(connection).ends;
        let far = ends[1 - side];
        let gone = self.processes[far.node].life != far.life;
        let Some(recorder) = &mut self.recorder else { return };
        let crash = recorder.pending[far.node].crash.filter(|_| gone);
        let cause = recorder.ended.get(&connection).copied().or(crash);
        recorder.current = cause.or(recorder.current);
    }

    /// All connections between two nodes break, by what was noted last.
    pub(crate) fn explain_reset(&mut self, a: usize, b: usize) {
        let Some(recorder) = &mut self.recorder else { return };
        let Some(noted) = recorder.noted else { return };
        for lane in self.processes[a].lanes.values() {
            let ends = &self.network.connection(lane.0).ends;
            if ends[1 - lane.1].node == b {
                recorder.ended.entry(lane.0).or_insert(noted);
            }
        }
    }

    /// An event is about to happen: it has no cause yet.
    pub(crate) fn explain_event(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.current = None;
        }
    }

    /// An event happened: whatever it took off the network is lost.
    pub(crate) fn explain_losses(&mut self) {
        let Some(recorder) = &mut self.recorder else { return };
        let mut before = None;
        for (sent, to) in self.network.take_lost() {
            let sent = Ordinal::new(sent);
            // A transmit that was cut into pieces is lost once.
            if sent.is_none() || sent == before {
                continue;
            }
            before = sent;
            recorder.lost(self.now, sent, to);
        }
    }

    /// The node's next deadline was set.
    pub(crate) fn explain_armed(&mut self, node: usize) {
        if let Some(recorder) = &mut self.recorder {
            // A deadline that only moved is still there for the reason for which it was set.
            recorder.pending[node].armed = recorder.current.or(recorder.pending[node].armed);
        }
    }

    /// The node starts; it was just noted.
    pub(crate) fn explain_boot(&mut self, node: usize) {
        let now = self.now;
        let Some(recorder) = &mut self.recorder else { return };
        let crash = recorder.pending[node].crash;
        recorder.caused(recorder.noted, crash);
        recorder.end(&Open::Down(node), now);
    }

    /// The node is gone; it was just noted.
    pub(crate) fn explain_crash(&mut self, node: usize) {
        let now = self.now;
        let Some(recorder) = &mut self.recorder else { return };
        recorder.pending[node] = super::recorder::Pending { crash: recorder.noted, ..Default::default() };
        recorder.end_all(now, |open| match open {
            Open::Leads(who, _) | Open::Paused(who) => *who == node,
            _ => false,
        });
        let band = recorder.band(now, BandKind::Down, "down", vec![node as u16]);
        recorder.begin(Open::Down(node), band);
    }

    /// The node stands still, or goes on.
    pub(crate) fn explain_pause(&mut self, node: usize, still: bool) {
        let now = self.now;
        let Some(recorder) = &mut self.recorder else { return };
        if still {
            let band = recorder.band(now, BandKind::Paused, "paused", vec![node as u16]);
            recorder.begin(Open::Paused(node), band);
        } else {
            recorder.end(&Open::Paused(node), now);
        }
    }

    /// A fault of the plan begins or ends; it was just noted.
    pub(crate) fn explain_fault(&mut self, index: usize, begins: bool) {
        let now = self.now;
        let Some(recorder) = &mut self.recorder else { return };
        let kind = self.plan.faults[index].kind.clone();
        let said = format!("{kind:?}");
        let nodes = nodes_of(&kind, &said, &self.plan.edges);
        let of = |node: &u16| self.plan.nodes[usize::from(*node)].name.clone();
        let names: Vec<String> = nodes.iter().map(of).collect();
        let name = said.split([' ', '{']).next().unwrap_or_default().to_owned();
        let words = words_of(&kind, &name, &names, &|node| self.plan.nodes[node].name.clone());
        let alone = nodes.first().copied().filter(|_| nodes.len() == 1);
        if let Some(record) = recorder.noted.and_then(|noted| recorder.get_mut(noted)) {
            record.kind = if begins { Kind::FaultBegin } else { Kind::FaultEnd };
            record.text.clone_from(&words);
            record.node = alone.unwrap_or(NOBODY);
        }
        let fields = vec![field("fault", &name), field("nodes", names.join(", ")), field("all", &said)];
        recorder.refine(recorder.noted, None, fields);
        if !begins {
            return recorder.end(&Open::Fault(index), now);
        }
        let mut band = recorder.band(now, BandKind::Fault, &name, nodes);
        band.label = words;
        recorder.begin(Open::Fault(index), band);
        if kind.length().is_none() {
            recorder.end(&Open::Fault(index), now);
        }
    }

    /// A leader is cut off by a fault, or is back; it was just noted.
    pub(crate) fn explain_struck(&mut self, index: usize, node: usize, begins: bool) {
        let now = self.now;
        let Some(recorder) = &mut self.recorder else { return };
        if begins {
            let mut band = recorder.band(now, BandKind::Fault, "Depose", vec![node as u16]);
            band.label = format!("leader {} cut off", self.plan.nodes[node].name);
            recorder.begin(Open::Struck(index, node), band);
        } else {
            recorder.refine(recorder.noted, Some(Kind::FaultEnd), Vec::new());
            recorder.end(&Open::Struck(index, node), now);
        }
    }

    /// Everything heals; it was just noted.
    pub(crate) fn explain_heal(&mut self) {
        let now = self.now;
        let Some(recorder) = &mut self.recorder else { return };
        if let Some(record) = recorder.noted.and_then(|noted| recorder.get_mut(noted)) {
            (record.kind, record.node) = (Kind::FaultEnd, NOBODY);
        }
        recorder.end_all(now, |open| matches!(open, Open::Fault(_) | Open::Struck(..)));
    }

    /// A replica's commit index rose.
    pub(crate) fn explain_commit(&mut self, node: usize, place: &GroupPlace, before: u64) {
        let Some(recorder) = &mut self.recorder else { return };
        if place.commit.0 <= before {
            return;
        }
        let (group, commit) = (place.group, place.commit);
        let fields = vec![
            field("group", group),
            field("commit", commit),
            field("before", before),
            field("term", place.term),
            field("role", format!("{:?}", place.role).to_lowercase()),
        ];
        recorder.push(Record {
            at: self.now,
            node: node as u16,
            kind: Kind::Commit,
            causes: [recorder.current, None],
            text: format!("{group} committed up to {commit}"),
            fields,
        });
    }

    /// A node's status was looked at.
    pub(crate) fn explain_status(&mut self, node: usize, status: &Status) {
        let Some(recorder) = &mut self.recorder else { return };
        for stream in status.streams.iter().filter(|stream| stream.local) {
            let levels = [stream.accepted, stream.replicated, stream.processed, stream.completed];
            recorder.sample(Sample {
                at: self.now,
                node: node as u16,
                stream: stream.name.clone(),
                levels: levels.map(|level| level.0),
            });
        }
    }

    /// The run is over.
    pub(crate) fn explain_finish(&mut self, outcome: &Outcome) -> Option<History> {
        let mut recorder = self.recorder.take()?;
        match &outcome.verdict {
            Verdict::Safety { checker, message, .. } => {
                let fields = vec![field("promise", checker), field("what", message)];
                recorder.broken(self.now, format!("{checker}: {message}"), fields);
            }
            Verdict::NoProgress { what } => {
                recorder.current = None;
                recorder.broken(self.now, format!("no progress: {what}"), vec![field("what", what)]);
            }
            Verdict::Pass | Verdict::NotOwed { .. } => {}
        }
        let mut names = BTreeMap::new();
        for process in &self.processes {
            names.insert(process.id().to_string(), process.identity.name.clone());
        }
        for (stream, ledger) in self.plan.streams.iter().zip(&self.books.streams) {
            if let Some(instance) = ledger.instance() {
                names.insert(instance.to_string(), stream.name.clone());
            }
        }
        names.insert(GroupId::CONTROL.to_string(), "control".into());
        let nodes = self.plan.nodes.iter().map(|node| node.name.clone()).collect();
        Some(recorder.finish(nodes, self.now, names))
    }

    /// The node at the far end of a lane, the connection, and the near side of it.
    fn far_end(&self, node: usize, lane: wattle_core::id::LaneId) -> Option<(usize, usize, Side)> {
        let &(connection, side) = self.processes[node].lanes.get(&lane)?;
        Some((self.network.connection(connection).ends[1 - side].node, connection, side))
    }
}

impl Recorder {
    /// Puts something else in the place of a record's text.
    fn call(&mut self, ordinal: Option<Ordinal>, words: String) {
        if let Some(record) = ordinal.and_then(|ordinal| self.get_mut(ordinal)) {
            record.text = words;
        }
    }

    /// Puts something shorter in the place of a record's text, which stays as a field.
    fn say(&mut self, ordinal: Option<Ordinal>, words: Option<String>) {
        let record = ordinal.and_then(|ordinal| self.get_mut(ordinal));
        if let (Some(record), Some(words)) = (record, words) {
            let said = std::mem::replace(&mut record.text, words);
            record.fields.push(field("in full", said));
        }
    }

    fn persisted(&mut self, node: usize, upto: u64) -> Option<Ordinal> {
        let writes = &mut self.pending[node].writes;
        let later = writes.split_off(&(upto + 1));
        std::mem::replace(writes, later).pop_last().map(|(_, write)| write)
    }

    fn lost(&mut self, at: u64, sent: Option<Ordinal>, to: usize) {
        let text = "never arrives".into();
        let causes = [sent, self.current];
        self.push(Record { at, node: to as u16, kind: Kind::Lost, causes, text, fields: Vec::new() });
    }

    fn role(&mut self, at: u64, node: usize, group: GroupId, role: &str, term: u64) {
        let fields = vec![field("group", group), field("role", role), field("term", term)];
        if let Some(record) = self.noted.and_then(|noted| self.get_mut(noted)) {
            record.kind = Kind::Role;
            record.fields = fields;
            record.text = format!("{role} of {group} in term {term}");
        }
        let open = Open::Leads(node, group.to_string());
        self.end(&open, at);
        if role == "leader" {
            let mut band = self.band(at, BandKind::Leads, &group.to_string(), vec![node as u16]);
            band.label = format!("leads {group}, term {term}");
            self.begin(open, band);
        }
    }

    /// What is delivered was accepted before.
    fn delivered(&mut self, noted: Ordinal, delivery: &Delivery) {
        let Some(first) = delivery.messages.first() else { return };
        let from = (delivery.instance, first.sequence.0);
        let accepted = self.accepted.range(from..).next();
        let accepted = accepted.filter(|((instance, _), _)| *instance == delivery.instance);
        let accepted = accepted.map(|(_, &record)| record);
        self.answers(Some(noted), accepted);
    }

    fn replied(&mut self, noted: Ordinal, reply: &Result<Reply, Refusal>) {
        let kind = match reply {
            Ok(Reply::Published(Receipt { level: Waited::Accepted, instance, last, .. })) => {
                self.accepted.entry((*instance, last.0)).or_insert(noted);
                Kind::Accepted
            }
            Ok(Reply::StreamOpened { .. }) => Kind::Stream,
            _ => Kind::Reply,
        };
        self.refine(Some(noted), Some(kind), Vec::new());
    }
}
