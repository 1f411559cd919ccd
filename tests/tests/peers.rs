//! What a member can do to another one.

use bytes::Bytes;
use prost::Message as _;
use wattle_core::ends::Terms;
use wattle_core::id::{GroupId, NodeId, ReplicaId, Term, WriterId, WriterSequence};
use wattle_core::level::Level;
use wattle_core::node::command::{Command, Reply, Waited};
use wattle_core::node::{Input, Output};
use wattle_core::raft::{self, Body};
use wattle_core::rng::{Purpose, Rng};
use wattle_core::time::Span;
use wattle_proto::frame::{Class, FrameKind, FrameWriter, Kind, MAX_FRAME, Path, RelayHeader};
use wattle_proto::node::Envelope;
use wattle_tests::Duo;

fn open(duo: &mut Duo, name: &str) {
    let command = Command::OpenStream {
        name: name.into(),
        source: "left".into(),
        targets: vec!["right".into()],
        terms: Terms::default(),
    };
    let opened = duo.ask(false, command);
    assert!(matches!(opened, Reply::StreamOpened { .. }), "{opened:?}");
}

fn publish(duo: &mut Duo, stream: &str, messages: u64) {
    let messages = (0..messages).map(|number| Bytes::from(format!("message {number}"))).collect();
    let (writer, first) = (WriterId(7), WriterSequence(1));
    let command =
        Command::Publish { stream: stream.into(), writer, first, messages, wait: Waited::Replicated };
    duo.ask(false, command);
}

#[test]
fn a_closed_stream_stays_closed_when_its_rows_come_back() {
    let mut duo = Duo::new(|config| config.mesh.compact_after = 1);
    open(&mut duo, "words");
    publish(&mut duo, "words", 50);
    let closed = duo.ask(false, Command::CloseStream { name: "words".into() });
    assert!(matches!(closed, Reply::StreamClosed), "{closed:?}");
    duo.pass(Span::secs(1));
    for node in [&mut duo.left, &mut duo.right] {
        let keep = node.synced;
        node.restart(keep).expect("whole");
        let groups: Vec<GroupId> = node.node.group_places().map(|place| place.group).collect();
        assert_eq!(groups, [GroupId::CONTROL], "nothing of the stream goes on");
        assert!(node.node.status(node.now).expect("running").streams.is_empty());
    }
}

/// A message as the right node would send it to the left one.
fn to_left(duo: &Duo, kind: Kind, group: Option<GroupId>, body: &[u8], payload: &[u8]) -> Bytes {
    let id = |node: NodeId| Bytes::copy_from_slice(&node.to_bytes());
    let envelope = Envelope {
        source: id(duo.right.id()),
        target: id(duo.left.id()),
        group: group.map(|group| Bytes::copy_from_slice(&group.to_bytes())).unwrap_or_default(),
        body: Bytes::copy_from_slice(body),
    };
    let mut out = Vec::new();
    let mut frame = FrameWriter::begin(&mut out, FrameKind::Batch, MAX_FRAME);
    let relay = RelayHeader::along(kind, Class::Control, Path::DIRECT);
    frame.append(&relay, &envelope.encode_to_vec(), &[payload]).expect("fits");
    frame.finish();
    out.into()
}

#[test]
fn what_only_its_source_has_read_is_not_the_neighbours_fault() {
    let mut duo = Duo::new(|_| {});
    let lane = duo.lanes[0].0;
    for kind in [Kind::Raft, Kind::Stream, Kind::Mesh, Kind::Pair] {
        for content in [&b"\xff\xff\xff"[..], b""] {
            let bytes = to_left(&duo, kind, Some(GroupId(77)), content, content);
            duo.left.tell(Input::Received { lane, bytes }).expect("running");
        }
    }
    duo.pass(Span::secs(1));
    assert!(duo.lanes.iter().any(|&(left, _)| left == lane), "the lane was closed");
}

#[test]
fn the_last_of_all_terms_is_refused() {
    let mut duo = Duo::new(|_| {});
    let lane = duo.lanes[0].0;
    let term = |duo: &Duo| duo.left.node.status(duo.left.now).expect("running").control.expect("member").term;
    let before = term(&duo);
    for high in [u64::MAX, u64::MAX - 1, 1 << 61] {
        let body = Body::Vote { pre: false, last: raft::Place::default() };
        let vote =
            raft::Message { sender: ReplicaId(1), addressee: None, term: Term(high), life: 0, era: 0, body };
        let payload = vote.encode().to_bytes();
        let bytes = to_left(&duo, Kind::Raft, Some(GroupId::CONTROL), &[], &payload);
        duo.left.tell(Input::Received { lane, bytes }).expect("running");
    }
    duo.pass(Span::secs(3));
    assert_eq!(term(&duo), before);
}

/// Law 5, behind the handshake: whatever a member's bytes are turned into, the node stays up.
#[test]
fn no_bytes_of_a_member_bring_a_node_down() {
    let mut duo = Duo::new(|_| {});
    open(&mut duo, "words");
    duo.heard.clear();
    publish(&mut duo, "words", 20);
    duo.pass(Span::secs(1));
    let heard = std::mem::take(&mut duo.heard);
    assert!(heard.len() > 10, "{}", heard.len());
    let lane = duo.lanes[0].0;
    let mut rng = Rng::stream([9; 32], Purpose::Link);
    let mut kept = 0;
    for round in 0..5000 {
        let mut victim = duo.clone();
        for _ in 0..rng.between(1, 4) {
            let mut bytes = heard[rng.below(heard.len() as u64) as usize].to_vec();
            for _ in 0..rng.between(1, 3) {
                let at = rng.between(12, bytes.len() as u64) as usize - 1;
                bytes[at] = match rng.below(3) {
                    0 => rng.u64() as u8,
                    1 => bytes[at] ^ 1 << rng.below(8),
                    _ => 0xff,
                };
            }
            victim.left.tell(Input::Received { lane, bytes: bytes.into() }).expect("running");
            victim.left.sync();
        }
        let closed = |output: &Output| matches!(output, Output::Close { .. });
        kept += usize::from(!victim.left.outputs.iter().any(closed));
        victim.left.pass(Span::millis(800));
        victim.left.node.check_invariants(if round % 16 == 0 { Level::Full } else { Level::Cheap });
    }
    assert!(kept > 1000, "many bytes are to get past the frames: {kept}");
}
