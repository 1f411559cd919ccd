//! Reading a stream again, with two real nodes over loopback and their disks.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use wattle_core::ends::Terms;
use wattle_core::id::{Sequence, WriterId, WriterSequence};
use wattle_core::node::command::{Command, Range, Refusal, Reply, Waited};
use wattle_core::retention::Retention;
use wattle_io::{Attachment, Ended, Handed, Running, Settings};

const SOON: Duration = Duration::from_secs(20);
const STREAM: &str = "words";

async fn start(dir: &tempfile::TempDir, name: &str) -> Running {
    let settings = Settings {
        name: Some(name.to_owned()),
        listen: vec!["127.0.0.1:0".to_owned()],
        reserve_bytes: 0,
        ..Settings::new(dir.path().join(name))
    };
    Running::start(settings).await.expect("starts")
}

async fn ask(node: &Running, command: Command) -> Reply {
    node.command(command).next().await.expect("an answer").expect("done")
}

/// One message a batch: what goes goes by batches.
async fn publish(node: &Running, numbers: RangeInclusive<u64>) {
    for number in numbers {
        let (stream, writer, first) = (STREAM.to_owned(), WriterId(1), WriterSequence(number));
        let messages = vec![Bytes::from(number.to_string())];
        let publish = Command::Publish { stream, writer, first, messages, wait: Waited::Accepted };
        ask(node, publish).await;
    }
}

async fn next(attachment: &mut Attachment) -> Handed {
    tokio::time::timeout(SOON, attachment.next()).await.expect("in time").expect("the node runs")
}

/// Takes messages up to one, says that they are done with, and tells which they were.
async fn take(attachment: &mut Attachment, upto: u64) -> Vec<u64> {
    let mut taken = Vec::new();
    while taken.last() != Some(&upto) {
        let Handed::Delivery(delivery) = next(attachment).await else { panic!("no messages") };
        for message in delivery.messages {
            assert_eq!(message.bytes, Bytes::from(message.sequence.to_string()));
            taken.push(message.sequence.0);
        }
        attachment.verdict(Sequence(*taken.last().expect("some came")));
    }
    taken
}

fn range(from: u64, to: Option<u64>) -> Range {
    Range { from: Some(Sequence(from)), to: to.map(Sequence) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_ends_behind_its_range_or_where_what_it_was_to_be_handed_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = start(&dir, "here").await;
    ask(&here, Command::Seed { name: "willow".into() }).await;
    let Reply::Token { token } = ask(&here, Command::Invite).await else { panic!("no token") };
    let there = start(&dir, "there").await;
    ask(&there, Command::Join { token }).await;
    let (name, source, targets) = (STREAM.to_owned(), "here".to_owned(), vec!["there".to_owned()]);
    let terms = Terms { keep: Retention { messages: 10, ..Retention::default() }, ..Terms::default() };
    ask(&here, Command::OpenStream { name, source, targets, terms }).await;

    publish(&here, 1..=10).await;
    let mut handler = there.attach(STREAM.to_owned(), None, 100).await.expect("attached");
    assert_eq!(take(&mut handler, 10).await, (1..=10).collect::<Vec<_>>());
    let mut replay = there.replay(STREAM.to_owned(), range(3, Some(6)), 2).await.expect("granted");
    assert_eq!(take(&mut replay, 6).await, [3, 4, 5, 6]);
    assert!(matches!(next(&mut replay).await, Handed::Ended(Ended::Replayed)));

    // Another one stands at the second message, and is not done with the first.
    let mut replay = there.replay(STREAM.to_owned(), range(1, None), 1).await.expect("granted");
    let Handed::Delivery(first) = next(&mut replay).await else { panic!("no messages") };
    assert_eq!(first.messages[0].sequence, Sequence(1));
    publish(&here, 11..=30).await;
    take(&mut handler, 30).await;
    let Handed::Ended(Ended::Refused(Refusal::Released { wanted, first })) = next(&mut replay).await else {
        panic!("it cannot go on")
    };
    assert!(wanted == Sequence(2) && first > wanted, "{wanted} {first}");
    let refused = there.replay(STREAM.to_owned(), range(1, None), 1).await.map(drop);
    assert!(matches!(refused, Err(Refusal::Released { wanted: Sequence(1), .. })), "{refused:?}");
    let kept = there.replay(STREAM.to_owned(), Range { to: Some(Sequence(30)), from: None }, 100).await;
    assert!(take(&mut kept.expect("granted"), 30).await.ends_with(&[21, 22, 23, 24, 25, 26, 27, 28, 29, 30]));
    let commanded = Command::Replay { stream: STREAM.to_owned(), range: Range::default(), window: 1 };
    let refused = there.command(commanded).next().await.expect("an answer");
    assert!(matches!(refused, Err(Refusal::Invalid(_))), "deliveries would have nowhere to go");
}
