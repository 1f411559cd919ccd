//! A handler called by a stand-in for the node, which hands over what a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use wattle_core::id::{
    AttachToken, AuthorityEpoch, MessageId, NodeId, Sequence, StreamInstance, WriterId, WriterSequence,
};
use wattle_core::node::command::{Position, Refusal};
use wattle_core::node::output::{Delivered, Delivery};

use super::run::{NoLife, Node, Runner};
use super::*;
use crate::event::Urgent;
use crate::handle::{Attachment, Ended, Handed};

const INSTANCE: StreamInstance = StreamInstance(7);
const AUTHORITY: AuthorityEpoch = AuthorityEpoch(3);
const SOON: Duration = Duration::from_secs(10);

fn at(sequence: u64) -> Position {
    Position { instance: INSTANCE, authority: AUTHORITY, sequence: Sequence(sequence) }
}

fn delivery(sequences: std::ops::RangeInclusive<u64>) -> Handed {
    let messages = sequences.map(|sequence| Delivered {
        sequence: Sequence(sequence),
        id: MessageId(sequence.into()),
        writer: WriterId(9),
        writer_sequence: WriterSequence(sequence + 100),
        bytes: Bytes::from(format!("message {sequence}")),
    });
    Handed::Delivery(Delivery { token: AttachToken(1), instance: INSTANCE, messages: messages.collect() })
}

/// What a handler did, and what it is to answer to its next calls; success, when nothing is left.
#[derive(Default)]
struct Notes {
    begun: u32,
    calls: Vec<Vec<u64>>,
    answers: VecDeque<Result<(), Failure>>,
    stored: Option<Position>,
    transactional: bool,
    hold: Option<Arc<tokio::sync::Semaphore>>,
}

struct Scripted(Arc<Mutex<Notes>>);

impl Handler for Scripted {
    async fn begin(&mut self, life: &Life) -> Result<Option<Position>, Failure> {
        let mut notes = self.0.lock().unwrap();
        notes.begun += 1;
        let stored = notes.stored.unwrap_or(life.beginning());
        Ok(notes.transactional.then_some(stored))
    }

    async fn handle(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let hold = {
            let mut notes = self.0.lock().unwrap();
            notes.calls.push(messages.iter().map(|message| message.position.sequence.0).collect());
            notes.hold.clone()
        };
        if let Some(hold) = hold {
            hold.acquire().await.unwrap().forget();
        }
        let mut notes = self.0.lock().unwrap();
        let answer = notes.answers.pop_front().unwrap_or(Ok(()));
        let done = answer.as_ref().map_or_else(|failure| failure.done, |()| messages.len());
        if done > 0 {
            notes.stored = Some(messages[done - 1].position);
        }
        answer
    }
}

/// What attaching is answered with, one after the other; then it hangs.
type Doors = Mutex<VecDeque<Result<Attachment, Refusal>>>;

struct StandIn {
    doors: Doors,
    presented: Arc<Mutex<Vec<Option<Position>>>>,
}

impl Node for StandIn {
    async fn life(&self, stream: &str) -> Result<Life, NoLife> {
        if self.doors.lock().unwrap().is_empty() {
            return Err(NoLife::Stopped);
        }
        Ok(Life { stream: stream.to_owned(), instance: INSTANCE, authority: AUTHORITY, node: NodeId(1) })
    }

    async fn attach(&self, _: &str, presented: Option<Position>, _: u32) -> Result<Attachment, Refusal> {
        self.presented.lock().unwrap().push(presented);
        self.doors.lock().unwrap().pop_front().expect("looked for")
    }
}

/// The node's side of an attachment.
struct Side {
    hand: mpsc::UnboundedSender<Handed>,
    heard: mpsc::UnboundedReceiver<Urgent>,
}

impl Side {
    /// Waits for the verdict up to that message: several may have become one.
    async fn processed(&mut self, upto: u64) {
        while self.verdict().await < upto {}
    }

    async fn verdict(&mut self) -> u64 {
        match tokio::time::timeout(SOON, self.heard.recv()).await.expect("in time") {
            Some(Urgent::Verdict(verdict)) => verdict.take().0,
            other => panic!("{other:?}"),
        }
    }

    async fn detached(&mut self) -> bool {
        while let Some(urgent) = self.heard.recv().await {
            if matches!(urgent, Urgent::Detach { .. }) {
                return true;
            }
        }
        false
    }
}

fn door(from: u64) -> (Attachment, Side) {
    let (hand, handed) = mpsc::unbounded_channel();
    let (urgent, heard) = mpsc::unbounded_channel();
    (Attachment::new(AttachToken(1), at(from), handed, urgent), Side { hand, heard })
}

struct Stage {
    notes: Arc<Mutex<Notes>>,
    presented: Arc<Mutex<Vec<Option<Position>>>>,
    progress: watch::Receiver<Progress>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Stage {
    fn new(doors: Vec<Result<Attachment, Refusal>>, notes: Notes) -> Self {
        let options = Options {
            pause: Duration::from_millis(5),
            pause_most: Duration::from_millis(20),
            array: 3,
            ..Options::default()
        };
        Self::with(doors, notes, options)
    }

    fn with(doors: Vec<Result<Attachment, Refusal>>, notes: Notes, options: Options) -> Self {
        let (notes, presented) = (Arc::new(Mutex::new(notes)), Arc::default());
        let node = StandIn { doors: Mutex::new(doors.into()), presented: Arc::clone(&presented) };
        let (shown, progress) = watch::channel(Progress::default());
        let (stop, stopped) = watch::channel(false);
        let handler = Scripted(Arc::clone(&notes));
        let runner = Runner::new(node, "words".into(), handler, options, shown, stopped);
        Self { notes, presented, progress, stop, task: tokio::spawn(runner.run()) }
    }

    async fn until(&mut self, holds: impl Fn(&Progress) -> bool) -> Progress {
        let shown = tokio::time::timeout(SOON, self.progress.wait_for(|progress| holds(progress)));
        shown.await.expect("in time").expect("told").clone()
    }

    async fn over(&mut self) -> Over {
        let progress = self.until(|progress| matches!(progress.state, State::Over(_))).await;
        match progress.state {
            State::Over(over) => over,
            _ => unreachable!(),
        }
    }

    fn calls(&self) -> Vec<Vec<u64>> {
        self.notes.lock().unwrap().calls.clone()
    }
}

#[tokio::test]
async fn messages_are_handed_over_in_arrays_and_each_array_is_acknowledged() {
    let (attachment, mut side) = door(4);
    let mut stage = Stage::new(vec![Ok(attachment)], Notes::default());
    side.hand.send(delivery(5..=9)).unwrap();
    side.processed(9).await;
    assert_eq!(stage.calls(), [vec![5, 6, 7], vec![8, 9]]);
    assert_eq!(*stage.presented.lock().unwrap(), [None], "an idempotent handler keeps no place");
    let progress = stage.until(|progress| progress.done.0 == 9).await;
    assert_eq!((progress.of(Sequence(9)), progress.of(Sequence(10))), (Some(MessageState::Done), None));
    stage.stop.send_replace(true);
    assert_eq!(stage.over().await, Over::Stopped);
    assert!(side.detached().await);
}

#[tokio::test]
async fn a_message_that_fails_comes_again_alone_and_what_was_done_before_it_does_not() {
    let (attachment, mut side) = door(0);
    let bad = || Err(Failure::message("no room for it"));
    let first = Err(Failure::message("no room for it").after(1));
    let answers = VecDeque::from([first, bad(), bad()]);
    let mut stage = Stage::new(vec![Ok(attachment)], Notes { answers, ..Notes::default() });
    side.hand.send(delivery(1..=5)).unwrap();
    assert_eq!(side.verdict().await, 1, "that one was processed");
    let progress = stage.until(|progress| progress.trouble.as_ref().is_some_and(|t| t.attempts == 2)).await;
    let trouble = progress.trouble.as_ref().expect("there");
    assert_eq!((trouble.message, trouble.text.as_str()), (Some(Sequence(2)), "no room for it"));
    let states = [1, 2, 3].map(|message| progress.of(Sequence(message)).expect("handed over"));
    assert_eq!(states, [MessageState::Done, MessageState::Failed, MessageState::Received]);
    side.processed(5).await;
    assert_eq!(stage.calls(), [vec![1, 2, 3], vec![2], vec![2], vec![2], vec![3, 4, 5]]);
    assert_eq!(stage.until(|progress| progress.done.0 == 5).await.trouble, None);
}

#[tokio::test]
async fn who_was_outrun_attaches_again_and_goes_on_where_it_is_told() {
    let ((first, before), (second, mut after)) = (door(2), door(40));
    let mut stage = Stage::new(vec![Ok(first), Ok(second)], Notes::default());
    before.hand.send(Handed::Ended(Ended::Outrun)).unwrap();
    after.hand.send(delivery(41..=41)).unwrap();
    assert_eq!(after.verdict().await, 41);
    assert_eq!(stage.calls(), [[41]]);
    assert_eq!(stage.until(|progress| progress.done.0 == 41).await.received, Sequence(41));
}

#[tokio::test]
async fn whom_another_took_over_from_ends_and_says_so_though_it_paused() {
    let (attachment, mut side) = door(0);
    let answers = VecDeque::from([Err(Failure::message("not now"))]);
    let options =
        Options { pause: Duration::from_secs(3600), pause_most: Duration::MAX, ..Options::default() };
    let mut stage = Stage::with(vec![Ok(attachment)], Notes { answers, ..Notes::default() }, options);
    side.hand.send(delivery(1..=1)).unwrap();
    stage.until(|progress| progress.trouble.is_some()).await;
    side.hand.send(Handed::Ended(Ended::TakenOver)).unwrap();
    assert_eq!(stage.over().await, Over::TakenOver);
    assert!(side.detached().await);
    stage.task.await.expect("ended");
}

#[tokio::test]
async fn a_call_under_way_is_brought_to_its_end_when_the_handler_is_stopped() {
    let (attachment, mut side) = door(0);
    let hold = Arc::new(tokio::sync::Semaphore::new(0));
    let mut stage =
        Stage::new(vec![Ok(attachment)], Notes { hold: Some(Arc::clone(&hold)), ..Notes::default() });
    side.hand.send(delivery(1..=5)).unwrap();
    let progress = stage.until(|progress| progress.processing.is_some()).await;
    assert_eq!(progress.of(Sequence(3)), Some(MessageState::Processing));
    stage.stop.send_replace(true);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!stage.task.is_finished());
    hold.add_permits(1);
    assert_eq!(side.verdict().await, 3);
    assert_eq!(stage.over().await, Over::Stopped);
    assert_eq!(stage.calls(), [[1, 2, 3]]);
}

#[tokio::test]
async fn a_transactional_handler_whose_store_was_away_says_anew_where_it_stands() {
    let ((first, before), (second, mut after)) = (door(0), door(2));
    // The commit of 1 and 2 came through, though its answer did not.
    let answers = VecDeque::from([Err(Failure::away("the connection was lost").after(2))]);
    let stage =
        Stage::new(vec![Ok(first), Ok(second)], Notes { answers, transactional: true, ..Notes::default() });
    before.hand.send(delivery(1..=3)).unwrap();
    after.hand.send(delivery(3..=3)).unwrap();
    assert_eq!(after.verdict().await, 3);
    assert_eq!(*stage.presented.lock().unwrap(), [Some(at(0)), Some(at(2))]);
    assert_eq!(stage.calls(), [vec![1, 2, 3], vec![3]]);
}

#[tokio::test]
async fn a_refused_position_is_shown_and_presented_again() {
    let why = Refusal::ForeignPosition("it is 9, and the stream ends at 2".to_owned());
    let (attachment, mut side) = door(9);
    let doors = vec![Err(why.clone()), Err(why.clone()), Ok(attachment)];
    let notes = Notes { stored: Some(at(9)), transactional: true, ..Notes::default() };
    let mut stage = Stage::new(doors, notes);
    stage.until(|progress| progress.state == State::Waiting(why.to_string())).await;
    side.hand.send(delivery(10..=10)).unwrap();
    assert_eq!(side.verdict().await, 10);
    assert_eq!(*stage.presented.lock().unwrap(), [Some(at(9)); 3]);
}

#[tokio::test]
async fn pauses_grow_up_to_the_longest() {
    let (attachment, mut side) = door(0);
    let answers = (0..5).map(|_| Err(Failure::message("no"))).collect();
    let options = Options {
        pause: Duration::from_millis(10),
        pause_most: Duration::from_millis(40),
        ..Options::default()
    };
    let begin = Instant::now();
    let stage = Stage::with(vec![Ok(attachment)], Notes { answers, ..Notes::default() }, options);
    side.hand.send(delivery(1..=1)).unwrap();
    assert_eq!(side.verdict().await, 1);
    assert!(begin.elapsed() >= Duration::from_millis(10 + 20 + 40 + 40 + 40), "{:?}", begin.elapsed());
    assert_eq!(stage.calls().len(), 6);
}

#[tokio::test]
async fn what_no_repetition_helps_ends_it_and_so_does_a_panic() {
    let (attachment, side) = door(0);
    let answers = VecDeque::from([Err(Failure::stop("somebody else moved the position"))]);
    let mut stage = Stage::new(vec![Ok(attachment)], Notes { answers, ..Notes::default() });
    side.hand.send(delivery(1..=1)).unwrap();
    assert_eq!(stage.over().await, Over::Failed("somebody else moved the position".to_owned()));

    let (attachment, mut side) = door(0);
    // Closed, so that waiting for it panics.
    let hold = Arc::new(tokio::sync::Semaphore::new(0));
    hold.close();
    let mut stage = Stage::new(vec![Ok(attachment)], Notes { hold: Some(hold), ..Notes::default() });
    side.hand.send(delivery(1..=1)).unwrap();
    assert_eq!(stage.over().await, Over::Broken);
    assert!(side.detached().await, "the next one may come");
}

#[tokio::test]
async fn a_body_is_read_from_its_beginning_each_time() {
    let key = Key { instance: INSTANCE, writer: WriterId(9), writer_sequence: WriterSequence(4) };
    let message = Message::new(at(1), key, MessageId(1), Bytes::from_static(b"body"));
    assert_eq!(message.length(), 4);
    for _ in 0..2 {
        let mut body = message.body();
        assert_eq!(body.next().await, Ok(Some(Bytes::from_static(b"body"))));
        assert_eq!(body.next().await, Ok(None));
    }
    let empty = Message::new(at(1), key, MessageId(1), Bytes::new());
    assert_eq!(empty.body().whole().await, Ok(Bytes::new()));
    assert_eq!(key.to_string(), format!("{INSTANCE}/{}/4", WriterId(9)));
}
