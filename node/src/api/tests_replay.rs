//! Reading again, through the API and the client of the command line.

use super::super::errors;
use super::*;
use wattle_proto::api::Replay;

async fn reread(
    desk: &Desk,
    replay: Replay,
    count: Option<u64>,
) -> (Result<subscribe::Summary, Failure>, String) {
    let (_keep, stop) = Stop::pair();
    let memory = Memory::default();
    let plan = subscribe::Plan { replay: Some(replay), until: replay.to, window: 7, ..plan(count) };
    let read = subscribe::subscribe(&desk.finder(None), &plan, memory.clone(), stop, |_| {}).await;
    let text = memory.0.lock().unwrap().clone();
    (read, text)
}

/// Fifty messages, of which the handler has processed forty.
async fn forty(desk: &Desk, world: &FakeWorld) -> Node {
    world.open("words");
    let node = desk.serve(world).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=50)).unwrap();
    desk.publish(&file, Level::Accepted).await.unwrap();
    desk.subscribe(Memory::default(), 40).await.unwrap();
    node
}

#[tokio::test]
async fn what_is_kept_is_read_again_and_nothing_moves() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    let _node = forty(&desk, &world).await;
    let (read, text) = reread(&desk, Replay { from: Some(5), to: Some(33) }, None).await;
    assert_eq!((read.unwrap().messages, text), (29, numbers(5..=33)));
    let (read, text) = reread(&desk, Replay::default(), Some(40)).await;
    assert_eq!((read.unwrap().sequence, text), (40, numbers(1..=40)));
    assert_eq!(world.processed("words"), 40);
}

#[tokio::test]
async fn what_is_gone_is_refused_with_where_a_replay_may_begin() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    let _node = forty(&desk, &world).await;
    world.lets_go("words", 9);
    let (read, text) = reread(&desk, Replay { from: Some(9), to: None }, None).await;
    let failure = read.unwrap_err();
    assert_eq!((failure.reason(), text.as_str()), (Some(Reason::Released), ""));
    assert!(failure.to_string().contains("from message 10 on"), "{failure}");
    let (read, text) = reread(&desk, Replay { from: None, to: Some(12) }, None).await;
    assert_eq!((read.unwrap().messages, text), (3, numbers(10..=12)));
    let refused = errors::detail(&Refusal::Released {
        wanted: wattle_core::id::Sequence(9),
        first: wattle_core::id::Sequence(10),
    });
    assert_eq!(refused.first_kept, Some(10));
}
