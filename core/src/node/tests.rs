use bytes::Bytes;

use super::*;
use crate::record::{Key, Owner, Record};
use crate::time::{Span, Wall};
use crate::work::public_key;

fn node() -> Node {
    let key = public_key(&[7; 32]);
    let identity = Identity::new("a".into(), key, Vec::new());
    let mut config = Config::new(identity);
    config.journal.slack_bytes = 0;
    let mut node = Node::recover(config, [1; 32], BootId(1));
    node.handle(at(0), Input::Recovered).expect("an empty journal");
    node
}

fn at(millis: u64) -> Now {
    Now { monotonic: Instant(1) + Span::millis(millis), wall: Wall(0) }
}

/// Takes all outputs and says that what was written is on disk; the load that was asked for, if any.
fn drain(node: &mut Node) -> Option<LoadId> {
    let mut asked = None;
    loop {
        let outputs: Vec<Output> = core::iter::from_fn(|| node.poll_output()).collect();
        if outputs.is_empty() {
            return asked;
        }
        for output in outputs {
            match output {
                Output::Write { ticket, .. } => {
                    node.handle(at(0), Input::Persisted { upto: ticket }).expect("it runs");
                }
                Output::Load { load, .. } => asked = Some(load),
                _ => {}
            }
        }
    }
}

#[test]
fn a_node_that_cannot_read_a_row_says_nothing_more() {
    let mut node = node();
    assert_eq!(drain(&mut node), None, "what is there is alive");
    let key = Key { owner: Owner::Stream, space: 1, id: 1, slot: 1 };
    for _ in 0..20 {
        node.journal.append(Record::state(key, Bytes::from_static(&[0; 500])));
        node.handle(at(0), Input::Space { free: u64::MAX }).expect("it runs");
        if let Some(load) = drain(&mut node) {
            node.journal.append(Record::state(key, Bytes::from_static(&[0; 500])));
            node.handle(at(0), Input::Loaded { load, bytes: None }).expect("taken");
            assert!(node.poll_output().is_none(), "no write, no further load");
            let refusal = node.handle(at(0), Input::Deadline).expect_err("it stopped");
            assert!(matches!(refusal, Rejected::Damaged(_)), "{refusal}");
            return;
        }
    }
    panic!("the oldest row was never to be moved");
}
