//! Two nodes and the lanes between them, driven by hand.

use bytes::Bytes;
use wattle_core::id::LaneId;
use wattle_core::node::command::{Command, Reply};
use wattle_core::node::{Config, Input, Output};
use wattle_core::time::Span;
use wattle_core::work::public_key;

use crate::Solo;

const ADDRESS: &str = "left:7000";

/// Two nodes; the right one dials the left one.
#[derive(Clone)]
pub struct Duo {
    /// Listens, and seeded the mesh.
    pub left: Solo,
    /// Dials.
    pub right: Solo,
    /// The open lanes: how the left and how the right call each.
    pub lanes: Vec<(LaneId, LaneId)>,
    /// Everything the right node sent since the last look, cut as it was sent.
    pub heard: Vec<Bytes>,
    dialled: u64,
}

impl Duo {
    /// Two members of one mesh, linked.
    #[must_use]
    pub fn new(settings: impl Fn(&mut Config)) -> Self {
        let left = Solo::with("left", |config| {
            config.identity.addresses = vec![ADDRESS.to_owned()];
            config.mesh.addresses = vec![ADDRESS.to_owned()];
            settings(config);
        });
        let right = Solo::with("right", |config| {
            config.dial = vec![ADDRESS.to_owned()];
            settings(config);
        });
        let mut duo = Self { left, right, lanes: Vec::new(), heard: Vec::new(), dialled: 0 };
        duo.left.seed();
        let invited = duo.ask(false, Command::Invite);
        let Reply::Token { token } = invited else { panic!("{invited:?}") };
        let joined = duo.ask(true, Command::Join { token });
        assert!(matches!(joined, Reply::Joined { .. }), "{joined:?}");
        duo.pass(Span::secs(2));
        duo
    }

    /// Gives a command to the right or the left node and waits for its answer.
    pub fn ask(&mut self, right: bool, command: Command) -> Reply {
        self.dialled += 1;
        let request = 1_000_000 + self.dialled;
        let node = if right { &mut self.right } else { &mut self.left };
        node.command(request, command.clone());
        for _ in 0..1000 {
            self.pass(Span::millis(10));
            let node = if right { &mut self.right } else { &mut self.left };
            if let Some((_, reply)) = node.replies().into_iter().find(|(number, _)| *number == request) {
                return reply.unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
            }
        }
        panic!("no answer to {command:?} within ten seconds");
    }

    /// Lets time pass on both sides, with disks and lanes keeping up.
    pub fn pass(&mut self, span: Span) {
        let step = Span::millis(5);
        for _ in 0..span.0.div_ceil(step.0) {
            self.left.pass(step);
            self.right.pass(step);
            self.settle();
        }
    }

    /// Serves disks, dials and lanes until nothing moves.
    pub fn settle(&mut self) {
        loop {
            self.left.sync();
            self.right.sync();
            let moved = [self.serve_dials(), self.carry()];
            if moved == [false, false] {
                return;
            }
        }
    }

    fn serve_dials(&mut self) -> bool {
        let mut dials = Vec::new();
        let mut closed = Vec::new();
        self.right.outputs.retain(|output| match output {
            Output::Dial { dial, .. } => {
                dials.push(*dial);
                false
            }
            Output::Close { lane, .. } => {
                closed.push(*lane);
                false
            }
            _ => true,
        });
        let lanes = self.lanes.clone();
        self.left.outputs.retain(|output| match output {
            Output::Close { lane, .. } => {
                closed.extend(lanes.iter().find(|(left, _)| left == lane).map(|(_, right)| *right));
                false
            }
            _ => true,
        });
        for &dial in &dials {
            self.dialled += 1;
            let (left, right) = (LaneId(self.dialled), LaneId(self.dialled + 500_000));
            self.lanes.push((left, right));
            let key = |node: &Solo| public_key(&node.secret);
            let (left_key, right_key) = (key(&self.left), key(&self.right));
            self.left.tell(Input::LaneUp { lane: left, dial: None, peer_key: right_key }).expect("running");
            let up = Input::LaneUp { lane: right, dial: Some(dial), peer_key: left_key };
            self.right.tell(up).expect("running");
        }
        for &lane in &closed {
            self.cut(lane);
        }
        !dials.is_empty() || !closed.is_empty()
    }

    /// Ends the lane that the right node calls so.
    pub fn cut(&mut self, lane: LaneId) {
        let Some(place) = self.lanes.iter().position(|&(_, right)| right == lane) else { return };
        let (left, right) = self.lanes.remove(place);
        self.left.tell(Input::LaneDown { lane: left }).expect("running");
        self.right.tell(Input::LaneDown { lane: right }).expect("running");
    }

    fn carry(&mut self) -> bool {
        let mut moved = false;
        for (left, right) in self.lanes.clone() {
            let there = self.left.transmit(left);
            let back = Bytes::from(self.right.transmit(right));
            moved |= !there.is_empty() || !back.is_empty();
            if !there.is_empty() {
                let bytes = Bytes::from(there);
                self.right.tell(Input::Received { lane: right, bytes }).expect("running");
            }
            if !back.is_empty() {
                self.heard.push(back.clone());
                self.left.tell(Input::Received { lane: left, bytes: back }).expect("running");
            }
        }
        moved
    }
}
