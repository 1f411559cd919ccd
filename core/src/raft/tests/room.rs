//! How long, and how much of them, states are held that come in or are given away (R16).

use alloc::vec;
use alloc::vec::Vec;

use xxhash_rust::xxh3::xxh3_128;

use super::harness::{Cluster, GROUP, member};
use crate::configuration::Configuration;
use crate::digest::Chain;
use crate::id::{GroupId, LogIndex, Term};
use crate::level::Level;
use crate::planted::Planted;
use crate::raft::{Body, Config, Fence, Groups, Input, Message, Output, Place, RefusedReason, Snapshot};
use crate::rng::{Purpose, Rng};
use crate::time::{Instant, Now, Span, Wall};

const LEN: usize = 100;
const PATIENCE: Span = Span::secs(10);

/// A node with three groups that it has heard nothing of, and room for a state and a half.
struct Node {
    groups: Groups,
    now: Instant,
}

impl Node {
    fn new() -> Self {
        let config = Config { node_snapshot_bytes: 3 * LEN as u64 / 2, ..Config::default() };
        let rng = Rng::stream([1; 32], Purpose::Raft);
        let mut node =
            Self { groups: Groups::new(config, member(0).node, rng, Planted::none()), now: Instant(1) };
        for group in 1..4 {
            let founding = Configuration::simple((0..3).map(member).collect(), Vec::new());
            node.tell(Input::Create {
                group: GroupId(group),
                replica: member(0).replica,
                founding,
                anew: false,
            });
        }
        node
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        self.groups.handle(Now { monotonic: self.now, wall: Wall(0) }, input);
        let outputs = core::iter::from_fn(|| self.groups.poll()).collect();
        self.groups.check_invariants(Level::Full);
        outputs
    }

    /// A leader sends half of a state, the first or the second; what is answered.
    fn half(&mut self, group: u128, second: bool) -> Option<u64> {
        let state = vec![group as u8; LEN];
        let place = Place { index: LogIndex(9), term: Term(1), chain: Chain([1; 16]) };
        let part = if second { LEN / 2..LEN } else { 0..LEN / 2 };
        let snapshot = Snapshot {
            place,
            configuration: Configuration::simple((0..3).map(member).collect(), Vec::new()),
            total: LEN as u64,
            digest: xxh3_128(&state),
            offset: part.start as u64,
            data: state[part].to_vec().into(),
            number: 1,
            copy: false,
        };
        let (sender, addressee) = (member(1).replica, Some(member(0).replica));
        let body = Body::Snapshot(snapshot.into());
        let message = Message { sender, addressee, term: Term(1), life: 0, era: 0, body };
        let (from, group) = (member(1).node, GroupId(group));
        let outputs = self.tell(Input::Message { from, group, message: message.into() });
        outputs.into_iter().find_map(|output| match output {
            Output::Send { message, .. } => match message.body {
                Body::SnapshotReply { here, .. } => Some(here),
                _ => None,
            },
            Output::Install { .. } => Some(LEN as u64),
            _ => None,
        })
    }
}

#[test]
fn states_of_all_groups_share_the_room_of_a_node() {
    let mut node = Node::new();
    assert_eq!(node.half(1, false), Some(50));
    assert_eq!(node.half(2, false), None, "there is room for one");
    assert_eq!(node.half(2, true), Some(0), "nothing of it is here");
    assert_eq!(node.groups.states(), (100, 0));
    assert_eq!(node.half(1, true), Some(100));
    assert_eq!(node.half(2, false), None, "it is before its owner");
    node.tell(Input::Installed { group: GroupId(1), taken: false });
    assert_eq!(node.half(2, false), Some(50));
    node.tell(Input::Remove { group: GroupId(2) });
    assert_eq!(node.half(3, false), Some(50), "who goes leaves room");
}

#[test]
fn half_a_state_is_let_go_when_nothing_more_comes_of_it() {
    let mut node = Node::new();
    node.half(1, false);
    node.now += Span(PATIENCE.0 - 1);
    node.tell(Input::Deadline);
    assert_eq!(node.groups.states(), (100, 0));
    node.now += Span(1);
    assert!(node.groups.next_deadline().is_some_and(|at| at <= node.now));
    node.tell(Input::Deadline);
    assert_eq!(node.groups.states(), (0, 0));
    // Until then each chunk puts that off, and so does what this node itself slept through.
    node.half(1, false);
    node.tell(Input::Stalled { by: PATIENCE });
    node.now += PATIENCE;
    node.tell(Input::Deadline);
    assert_eq!(node.groups.states(), (100, 0));
    assert_eq!(node.half(1, true), Some(100));
}

#[test]
fn half_a_state_is_let_go_when_the_group_stops() {
    let mut node = Node::new();
    node.half(1, false);
    let (sender, addressee) = (member(1).replica, Some(member(0).replica));
    let body = Body::Stop { reason: "no".into() };
    let message = Message { sender, addressee, term: Term(1), life: 0, era: 0, body }.into();
    node.tell(Input::Message { from: member(1).node, group: GroupId(1), message });
    assert_eq!(node.groups.states(), (0, 0));
}

#[test]
fn half_a_state_is_let_go_when_a_fence_is_put_up_and_nothing_is_said_while_one_is_before_its_owner() {
    let mut node = Node::new();
    let group = GroupId(1);
    let fence = |era| Input::Fence {
        group,
        fence: Fence {
            eras: [era].into(),
            lost: [member(1), member(2)].map(|m| m.node).into(),
            everybody: false,
        },
    };
    node.half(1, false);
    node.tell(fence(7));
    assert_eq!(node.groups.states(), (0, 0));
    node.tell(Input::Unfence { group });
    node.half(1, false);
    assert_eq!(node.half(1, true), Some(100));
    let says = |outputs: Vec<Output>| {
        outputs
            .into_iter()
            .find_map(|output| if let Output::Fenced { end, .. } = output { Some(end) } else { None })
    };
    assert!(says(node.tell(fence(8))).expect("it answers").is_err());
    node.tell(Input::Installed { group, taken: false });
    assert_eq!(node.groups.states(), (0, 0));
    assert!(says(node.tell(fence(8))).expect("it answers").is_ok());
}

#[test]
fn a_state_that_is_given_away_is_let_go_when_it_is_not_asked_for_any_more() {
    let mut cluster = Cluster::new(90, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    cluster.propose(0, &"x".repeat(1_000_000));
    cluster.settle(Span::millis(100));
    cluster.compact(1, 0);
    cluster.take_back(0, image);
    while cluster.replicas[1].groups.states().1 == 0 {
        cluster.settle(Span::millis(10));
    }
    cluster.crash(0);
    cluster.settle(Span::secs(9));
    assert_eq!(cluster.replicas[1].groups.states().1, 1);
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.replicas[1].groups.states().1, 0);
    // And when whoever needed it leads again.
    cluster.restart(0);
    cluster.goes_on(1);
    assert_eq!(
        cluster.replicas.iter().map(|replica| replica.groups.states()).collect::<Vec<_>>(),
        [(0, 0); 2]
    );
}

#[test]
fn a_command_that_refers_to_more_than_an_entry_may_is_refused_by_name() {
    let mut cluster = Cluster::new(91, GROUP, 1, 1, 0);
    cluster.settle(Span::millis(50));
    cluster.outputs = Some(Vec::new());
    for (context, weight) in [(1, u64::MAX), (2, 1 << 36), (3, (1 << 36) - 1)] {
        let data = bytes::Bytes::from_static(b"heavy");
        cluster.tell(0, Input::Propose { group: GROUP, data, weight, unhurried: false, context });
    }
    let refused = cluster.outputs.take().into_iter().flatten().filter_map(|(_, output)| match output {
        Output::Refused { context, reason, .. } => Some((context, reason)),
        _ => None,
    });
    assert_eq!(refused.collect::<Vec<_>>(), [1, 2].map(|context| (context, RefusedReason::TooHeavy)));
    cluster.goes_on(1);
}
