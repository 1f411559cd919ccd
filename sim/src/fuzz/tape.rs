//! What real nodes were told, sent and wrote in a small run: the material that fuzz targets change.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use wattle_core::configuration::Configuration;
use wattle_core::id::{BootId, GroupId, LaneId, LogIndex, Ticket};
use wattle_core::level::Level;
use wattle_core::node::{Config, Deadline, Input, Node, Output, Rejected, Status, Transmit};
use wattle_core::raft::{GroupPlace, Place};
use wattle_core::time::Now;
use wattle_proto::frame::{Decoder, FrameKind, MAX_FRAME, Message};

use crate::desk::Call;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::trace::Recording;
use crate::world::World;

const PLAN: &str = include_str!("plan.toml");
/// The seed of that plan.
pub(super) const SEED: u64 = 1;

/// One life of one node.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its settings.
    pub config: Config,
    /// The root of its random streams.
    pub seed: [u8; 32],
    /// Its name for this start.
    pub boot: BootId,
    /// What it was told, and when.
    pub inputs: Vec<(Now, Input)>,
    /// What it wrote.
    pub rows: Vec<(Ticket, Bytes)>,
    /// What it sent, by lane.
    pub sent: Vec<(LaneId, Bytes)>,
}

/// A message that was sent.
#[derive(Clone, Debug)]
pub struct Said {
    /// In what frame.
    pub kind: FrameKind,
    /// The message.
    pub message: Message,
}

/// A run, written down.
#[derive(Debug)]
pub struct Tape {
    /// One life per node.
    pub lives: Vec<Life>,
    /// Every message that any node sent.
    pub said: Vec<Said>,
    /// Every call that anybody made.
    pub calls: Vec<Call>,
}

thread_local! {
    static LIVES: RefCell<Vec<Life>> = const { RefCell::new(Vec::new()) };
    static TAPE: RefCell<Option<Rc<Tape>>> = const { RefCell::new(None) };
}

impl Tape {
    /// The run, made once per thread.
    ///
    /// # Panics
    /// If the run fails: then something is wrong that needs no fuzzing to be found.
    #[must_use]
    pub fn get() -> Rc<Self> {
        TAPE.with_borrow_mut(|tape| Rc::clone(tape.get_or_insert_with(|| Rc::new(Self::record()))))
    }

    fn record() -> Self {
        let plan = Plan::from_toml(PLAN).unwrap_or_else(|what| panic!("the plan to be recorded: {what}"));
        LIVES.set(Vec::new());
        let outcome = World::<Taped>::new(plan, Recording::Off).run();
        assert!(outcome.verdict.is_pass(), "the run to be recorded: {}", outcome.verdict);
        let lives = LIVES.take();
        let said = lives.iter().flat_map(said).collect();
        let calls = lives.iter().flat_map(|life| &life.inputs).filter_map(|(_, input)| call(input)).collect();
        Self { lives, said, calls }
    }
}

/// The messages that a node sent, lane by lane.
fn said(life: &Life) -> Vec<Said> {
    let mut decoders: std::collections::BTreeMap<LaneId, Decoder> = std::collections::BTreeMap::new();
    let mut said = Vec::new();
    for (lane, bytes) in &life.sent {
        let decoder = decoders.entry(*lane).or_default();
        decoder.set_limit(MAX_FRAME);
        decoder.push(bytes.clone());
        while let Some(frame) = decoder.next().expect("a node sends what can be read") {
            let kind = frame.kind();
            said.extend(frame.into_iter().map(|message| Said { kind, message }));
        }
    }
    said
}

fn call(input: &Input) -> Option<Call> {
    match input.clone() {
        Input::Command { request, command } => Some(Call::Command(request, command)),
        Input::Took { token, bytes } => Some(Call::Took(token, bytes)),
        Input::Verdict { token, upto } => Some(Call::Verdict(token, upto.0)),
        Input::Detach { token } => Some(Call::Detach(token)),
        _ => None,
    }
}

/// A node that writes down what happens to it.
struct Taped {
    node: Node,
    life: usize,
}

impl Taped {
    fn note(&self, note: impl FnOnce(&mut Life)) {
        LIVES.with_borrow_mut(|lives| note(&mut lives[self.life]));
    }
}

impl Machine for Taped {
    fn recover(config: Config, seed: [u8; 32], boot: BootId) -> Self {
        let node = Node::recover(config.clone(), seed, boot);
        let (inputs, rows, sent) = (Vec::new(), Vec::new(), Vec::new());
        let life = LIVES.with_borrow_mut(|lives| {
            lives.push(Life { config, seed, boot, inputs, rows, sent });
            lives.len() - 1
        });
        Self { node, life }
    }

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected> {
        self.note(|life| life.inputs.push((now, input.clone())));
        self.node.handle(now, input)
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.node.poll_output()?;
        if let Output::Write { ticket, row } = &output {
            self.note(|life| life.rows.push((*ticket, row.to_bytes())));
        }
        Some(output)
    }

    fn ready_lanes(&self, lanes: &mut Vec<LaneId>) {
        lanes.extend(self.node.ready_lanes());
    }

    fn poll_transmit(
        &mut self,
        now: Now,
        lane: LaneId,
        max: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let start = buffer.len();
        let transmit = self.node.poll_transmit(now, lane, max, buffer)?;
        self.note(|life| life.sent.push((lane, Bytes::copy_from_slice(&buffer[start..]))));
        Some(transmit)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.node.poll_timeout()
    }

    fn check_invariants(&self, level: Level) {
        self.node.check_invariants(level);
    }

    fn group_places(&self, places: &mut Vec<GroupPlace>) {
        places.extend(self.node.group_places());
    }

    fn group_place_at(&self, group: GroupId, index: LogIndex) -> Option<Place> {
        self.node.group_place_at(group, index)
    }

    fn group_configuration(&self, group: GroupId) -> Option<&Configuration> {
        self.node.group_configuration(group)
    }

    fn status(&self, now: Now) -> Option<Status> {
        self.node.status(now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wattle_proto::frame::Kind;

    use super::*;

    #[test]
    fn the_run_holds_every_kind_of_message_but_notices() {
        let tape = Tape::get();
        let kinds: BTreeSet<Kind> = tape.said.iter().map(|said| said.message.relay.kind()).collect();
        let missing: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !kinds.contains(kind)).collect();
        assert_eq!(missing, [Kind::Notice]);
        assert_eq!(tape.lives.len(), 3);
        assert!(tape.lives.iter().all(|life| life.rows.len() > 50 && life.inputs.len() > 500));
        assert!(
            tape.said
                .iter()
                .any(|said| said.message.relay.path().hop() < said.message.relay.path().labels().len())
        );
        assert!(tape.calls.len() > 50);
    }
}
