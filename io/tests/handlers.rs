//! Handlers of the process against real nodes: two of them over loopback, with their disks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use wattle_core::ends::Terms;
use wattle_core::id::{Sequence, WriterId, WriterSequence};
use wattle_core::node::command::{Command, Position, Reply, Waited};
use wattle_io::handler::{Failure, Handler, Handling, Key, Life, Message, Options, Over, Progress, State};
use wattle_io::{Running, Settings};

const SOON: Duration = Duration::from_secs(20);

struct Pair {
    here: Running,
    there: Running,
    dir: tempfile::TempDir,
}

fn settings(dir: &tempfile::TempDir, name: &str) -> Settings {
    Settings {
        name: Some(name.to_owned()),
        listen: vec!["127.0.0.1:0".to_owned()],
        reserve_bytes: 0,
        ..Settings::new(dir.path().join(name))
    }
}

async fn ask(node: &Running, command: Command) -> Reply {
    node.command(command).next().await.expect("an answer").expect("done")
}

impl Pair {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let here = Running::start(settings(&dir, "here")).await.expect("starts");
        ask(&here, Command::Seed { name: "willow".into() }).await;
        let Reply::Token { token } = ask(&here, Command::Invite).await else { panic!("no token") };
        let there = Running::start(settings(&dir, "there")).await.expect("starts");
        ask(&there, Command::Join { token }).await;
        Self { here, there, dir }
    }

    async fn join(&self, name: &str) -> Running {
        let Reply::Token { token } = ask(&self.here, Command::Invite).await else { panic!("no token") };
        let joined = Running::start(settings(&self.dir, name)).await.expect("starts");
        ask(&joined, Command::Join { token }).await;
        joined
    }

    async fn open(&self) {
        self.open_to(&["there"]).await;
    }

    async fn open_to(&self, targets: &[&str]) {
        let (source, targets) = ("here".into(), targets.iter().map(|target| (*target).to_owned()).collect());
        let (name, terms) = ("words".into(), Terms::default());
        ask(&self.here, Command::OpenStream { name, source, targets, terms }).await;
    }

    async fn close(&self) {
        ask(&self.here, Command::CloseStream { name: "words".into() }).await;
    }

    /// Publishes messages with these numbers, and waits until they have come so far.
    async fn publish(&self, numbers: std::ops::RangeInclusive<u64>, wait: Waited) {
        let (stream, writer, first) = ("words".to_owned(), WriterId(1), WriterSequence(*numbers.start()));
        let messages = numbers.map(|number| Bytes::from(number.to_string())).collect();
        let mut replies = self.here.command(Command::Publish { stream, writer, first, messages, wait });
        loop {
            let reply =
                tokio::time::timeout(SOON, replies.next()).await.expect("in time").expect("an answer");
            let Reply::Published(receipt) = reply.expect("published") else { panic!("no receipt") };
            if receipt.level == wait {
                return;
            }
        }
    }
}

/// What a handler was called with.
#[derive(Default)]
struct Notes {
    calls: Vec<Vec<(u64, Key)>>,
    stored: Option<Position>,
    refuse: Option<u64>,
    /// Where it has stored nothing.
    begins_at_what_is_kept: bool,
}

struct Noting {
    notes: Arc<Mutex<Notes>>,
    transactional: bool,
    /// Looks at each call how far the node itself has recorded.
    node: Option<Running>,
}

impl Handler for Noting {
    async fn begin(&mut self, life: &Life) -> Result<Option<Position>, Failure> {
        let notes = self.notes.lock().unwrap();
        let begin = if notes.begins_at_what_is_kept { life.after(life.gone) } else { life.beginning() };
        let stored = notes.stored.unwrap_or(begin);
        Ok(self.transactional.then_some(stored))
    }

    async fn handle(&mut self, messages: &[Message]) -> Result<(), Failure> {
        if let Some(node) = &self.node {
            let processed = processed(node).await;
            let first = messages[0].position.sequence.0;
            assert_eq!(messages.len(), 1);
            assert_eq!(
                processed,
                first - 1,
                "called for {first} before the mark of the one before was durable"
            );
        }
        for (done, message) in messages.iter().enumerate() {
            let number: u64 =
                String::from_utf8_lossy(&message.body().whole().await?).parse().expect("a number");
            let mut notes = self.notes.lock().unwrap();
            if notes.refuse == Some(number) {
                return Err(Failure::message("this one is not to be").after(done));
            }
            notes.stored = Some(message.position);
            notes.calls.push(vec![(number, message.key)]);
        }
        Ok(())
    }
}

/// A handler whose store is away until it is let.
struct Away {
    noting: Noting,
    away: Arc<tokio::sync::Semaphore>,
}

impl Handler for Away {
    async fn begin(&mut self, life: &Life) -> Result<Option<Position>, Failure> {
        self.noting.begin(life).await
    }

    async fn handle(&mut self, messages: &[Message]) -> Result<(), Failure> {
        if self.away.available_permits() == 0 {
            return Err(Failure::away("no connection"));
        }
        self.noting.handle(messages).await
    }
}

/// What the target has recorded as processed.
async fn processed(node: &Running) -> u64 {
    let status = node.status().await.expect("runs");
    status.streams[0].processed.0
}

fn noting(notes: &Arc<Mutex<Notes>>) -> Noting {
    Noting { notes: Arc::clone(notes), transactional: false, node: None }
}

fn quick() -> Options {
    Options { pause: Duration::from_millis(10), pause_most: Duration::from_millis(50), ..Options::default() }
}

async fn until(handling: &mut Handling, holds: impl Fn(&Progress) -> bool) -> Progress {
    let reached = tokio::time::timeout(SOON, handling.until(holds)).await.expect("in time");
    reached.unwrap_or_else(|| panic!("it ended: {:?}", handling.progress()))
}

fn numbers(notes: &Arc<Mutex<Notes>>) -> Vec<u64> {
    notes.lock().unwrap().calls.iter().flatten().map(|(number, _)| *number).collect()
}

#[tokio::test]
async fn a_handler_waits_for_its_stream_is_shown_and_ends_with_it() {
    let pair = Pair::new().await;
    let notes = Arc::default();
    let mut handling = pair.there.handle("words", noting(&notes), quick());
    let waits = |progress: &Progress| matches!(&progress.state, State::Waiting(why) if why.contains("no stream is called \"words\""));
    until(&mut handling, waits).await;
    let mut misplaced = pair.here.handle("words", noting(&Arc::default()), quick());
    pair.open().await;
    pair.publish(1..=500, Waited::Completed).await;
    assert_eq!(numbers(&notes), (1..=500).collect::<Vec<_>>());

    let shown = pair.there.handlers();
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].stream.as_str(), shown[0].name.as_str()), ("words", "application"));
    assert_eq!((&shown[0].progress.state, shown[0].progress.done), (&State::Attached, Sequence(500)));
    let elsewhere = |progress: &Progress| matches!(&progress.state, State::Waiting(why) if why.contains("this node is no target of the stream"));
    until(&mut misplaced, elsewhere).await;

    // One that came later is served, the one before ends; and that one ends with the stream.
    let mut newer = pair.there.handle("words", noting(&notes), quick());
    assert_eq!(tokio::time::timeout(SOON, handling.over()).await.expect("in time"), Over::TakenOver);
    until(&mut newer, |progress| progress.state == State::Attached).await;
    drop(handling);
    assert_eq!(pair.there.handlers().len(), 1);
    pair.close().await;
    assert_eq!(tokio::time::timeout(SOON, newer.over()).await.expect("in time"), Over::Closed);
}

#[tokio::test]
async fn a_handler_that_comes_back_takes_nothing_from_who_came_meanwhile() {
    let pair = Pair::new().await;
    pair.open().await;
    let (notes, newer_notes) = (Arc::default(), Arc::default());
    let away = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = Away { noting: noting(&notes), away: Arc::clone(&away) };
    let mut handling = pair.there.handle("words", handler, quick());
    pair.publish(1..=3, Waited::Replicated).await;
    // Its database is away, and it is attached: before that it may wait for its stream.
    let away_from_it =
        |progress: &Progress| matches!(&progress.state, State::Waiting(why) if why.contains("no connection"));
    until(&mut handling, away_from_it).await;
    let mut newer = pair.there.handle("words", noting(&newer_notes), quick());
    until(&mut newer, |progress| progress.done.0 == 3).await;
    assert_eq!(tokio::time::timeout(SOON, handling.over()).await.expect("in time"), Over::TakenOver);
    away.add_permits(1);
    pair.publish(4..=6, Waited::Completed).await;
    assert_eq!(numbers(&newer_notes), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(&notes), []);
    // Where nobody came it goes on, and has all that was handed over when it fell.
    assert_eq!(newer.stop().await, Over::Stopped);
    let away = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = Away { noting: noting(&notes), away: Arc::clone(&away) };
    let mut handling = pair.there.handle("words", handler, quick());
    pair.publish(7..=9, Waited::Replicated).await;
    until(&mut handling, away_from_it).await;
    away.add_permits(1);
    until(&mut handling, |progress| progress.done.0 == 9).await;
    assert_eq!(numbers(&notes), [7, 8, 9]);
}

#[tokio::test]
async fn a_handler_that_begins_where_something_was_let_go_says_so_and_goes_on_where_it_is_told() {
    let pair = Pair::new().await;
    pair.open().await;
    let mut next = 1;
    // What both ends are done with goes in time.
    let notes: Arc<Mutex<Notes>> = Arc::default();
    let mut handling = loop {
        let before = pair.there.handle("words", noting(&Arc::default()), quick());
        pair.publish(next..=next + 9, Waited::Completed).await;
        assert_eq!(before.stop().await, Over::Stopped);
        next += 10;
        let stands = Noting { transactional: true, ..noting(&notes) };
        let mut handling = pair.there.handle("words", stands, quick());
        let settled =
            |progress: &Progress| progress.done.0 > 0 || matches!(progress.state, State::Waiting(_));
        if matches!(until(&mut handling, settled).await.state, State::Waiting(_)) {
            break handling;
        }
        assert!(next < 500, "nothing goes");
        handling.stop().await;
        notes.lock().unwrap().stored = None;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let trouble = until(&mut handling, |progress| progress.trouble.is_some()).await.trouble.expect("there");
    assert!(trouble.text.contains("it stands at 0, and the messages up to"), "{}", trouble.text);
    // It does without what is gone.
    notes.lock().unwrap().calls.clear();
    notes.lock().unwrap().begins_at_what_is_kept = true;
    pair.publish(next..=next, Waited::Completed).await;
    let found = numbers(&notes);
    let begun = *found.first().expect("some");
    assert!(begun > 1, "{found:?}");
    assert_eq!(found, (begun..=next).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_that_fails_blocks_shows_why_and_is_not_passed_over() {
    let pair = Pair::new().await;
    pair.open().await;
    let notes = Arc::new(Mutex::new(Notes { refuse: Some(3), ..Notes::default() }));
    let mut handling = pair.there.handle("words", noting(&notes), quick());
    pair.publish(1..=5, Waited::Replicated).await;
    let fails = |progress: &Progress| progress.trouble.as_ref().is_some_and(|trouble| trouble.attempts >= 3);
    let trouble = until(&mut handling, fails).await.trouble.expect("there");
    assert_eq!((trouble.message, trouble.text.as_str()), (Some(Sequence(3)), "this one is not to be"));
    assert_eq!(numbers(&notes), [1, 2]);
    notes.lock().unwrap().refuse = None;
    let progress = until(&mut handling, |progress| progress.done.0 == 5).await;
    assert_eq!(progress.trouble, None);
    assert_eq!(numbers(&notes), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn with_a_window_of_one_nothing_is_handed_over_before_the_mark_of_the_one_before() {
    let pair = Pair::new().await;
    pair.open().await;
    let notes = Arc::default();
    let handler = Noting { node: Some(pair.there.clone()), ..noting(&notes) };
    let handling = pair.there.handle("words", handler, Options { window: 1, ..quick() });
    pair.publish(1..=50, Waited::Completed).await;
    assert_eq!(numbers(&notes), (1..=50).collect::<Vec<_>>());
    assert_eq!(handling.stop().await, Over::Stopped);
}

#[tokio::test]
async fn a_store_that_was_taken_back_is_brought_up_again_under_the_same_keys() {
    let pair = Pair::new().await;
    let third = pair.join("third").await;
    pair.open_to(&["there", "third"]).await;
    let notes = Arc::default();
    let transactional = || Noting { transactional: true, ..noting(&notes) };
    let mut handling = pair.there.handle("words", transactional(), quick());
    pair.publish(1..=4, Waited::Replicated).await;
    until(&mut handling, |progress| progress.done.0 == 4).await;
    let backup = notes.lock().unwrap().stored;
    pair.publish(5..=8, Waited::Replicated).await;
    until(&mut handling, |progress| progress.done.0 == 8).await;
    assert_eq!(handling.stop().await, Over::Stopped);

    // A restore: position and effects are those of message 4. The others are kept, for the other target has not processed them.
    let lost = {
        let mut notes = notes.lock().unwrap();
        notes.stored = backup;
        notes.calls.split_off(4)
    };
    let mut handling = pair.there.handle("words", transactional(), quick());
    until(&mut handling, |progress| progress.done.0 == 8).await;
    assert_eq!(handling.stop().await, Over::Stopped);
    assert_eq!(notes.lock().unwrap().calls.split_off(4), lost, "the same messages under the same keys");

    // Once both have processed them they go, and whoever is older than that is told.
    let other = third.handle("words", noting(&Arc::default()), quick());
    notes.lock().unwrap().stored = backup;
    let mut next = 9;
    let refused = loop {
        let mut handling = pair.there.handle("words", transactional(), quick());
        let settled =
            |progress: &Progress| progress.done.0 >= next - 1 || matches!(progress.state, State::Waiting(_));
        match until(&mut handling, settled).await.state {
            State::Waiting(why) => break why,
            _ => assert!(next < 200, "nothing goes"),
        }
        assert_eq!(handling.stop().await, Over::Stopped);
        pair.publish(next..=next, Waited::Replicated).await;
        notes.lock().unwrap().stored = backup;
        next += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(refused.contains("the handler's store is older than what this stream keeps"), "{refused}");
    drop(other);
}

#[tokio::test]
async fn a_position_that_the_stream_never_had_is_refused_and_nothing_is_handed_over() {
    let pair = Pair::new().await;
    pair.open().await;
    let notes: Arc<Mutex<Notes>> = Arc::default();
    let transactional = || Noting { transactional: true, ..noting(&notes) };
    pair.publish(1..=2, Waited::Replicated).await;
    let status = pair.there.status().await.expect("runs");
    let (instance, authority) = (status.streams[0].instance, status.streams[0].authority);
    notes.lock().unwrap().stored = Some(Position { instance, authority, sequence: Sequence(9) });
    let mut handling = pair.there.handle("words", transactional(), quick());
    let refused = |progress: &Progress| matches!(&progress.state, State::Waiting(why) if why.contains("it is 9, and the stream ends at 2"));
    until(&mut handling, refused).await;
    assert_eq!((numbers(&notes), processed(&pair.there).await), (vec![], 0));
    // The operator empties the store, and it goes on by itself.
    notes.lock().unwrap().stored = None;
    until(&mut handling, |progress| progress.done.0 == 2).await;
    assert_eq!(numbers(&notes), [1, 2]);
}
