//! A handler called by a stand-in for the node, which hands over what a test says.

mod large;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use wattle_core::id::{
    AttachToken, AuthorityEpoch, MessageId, NodeId, Sequence, StreamInstance, WriterId, WriterSequence,
};
use wattle_core::node::command::{Position, Refusal};
use wattle_core::node::output::{Delivered, Delivery};

use super::run::{NoLife, Node, Runner};
use super::*;
use crate::event::{Former, Urgent};
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
        piece: None,
        parked: false,
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
    /// It panics when it begins.
    panics: bool,
    hold: Option<Arc<tokio::sync::Semaphore>>,
    /// What was parked, and tried again.
    parked: Vec<u64>,
    refuses_parked: bool,
}

struct Scripted(Arc<Mutex<Notes>>);

impl Handler for Scripted {
    async fn begin(&mut self, life: &Life) -> Result<Option<Position>, Failure> {
        let mut notes = self.0.lock().unwrap();
        notes.begun += 1;
        assert!(!notes.panics, "as it was told");
        let stored = notes.stored.unwrap_or(life.beginning());
        Ok(notes.transactional.then_some(stored))
    }

    async fn handle_parked(&mut self, message: &Message) -> Result<(), Failure> {
        let mut notes = self.0.lock().unwrap();
        notes.parked.push(message.position.sequence.0);
        if notes.refuses_parked { Err(Failure::message("parked it stays")) } else { Ok(()) }
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

/// What attaching is answered with, one after the other; `None` is no answer.
type Doors = Mutex<VecDeque<Option<Result<Attachment, Refusal>>>>;

/// What was presented, and from whom it was to be taken over.
type Asked = Arc<Mutex<Vec<(Option<Position>, Former)>>>;

struct StandIn {
    doors: Doors,
    asked: Asked,
    /// Of the stream of that name, while there is one.
    instance: Arc<Mutex<Option<StreamInstance>>>,
}

impl Node for StandIn {
    async fn life(&self, stream: &str) -> Result<Life, NoLife> {
        if self.doors.lock().unwrap().is_empty() {
            return Err(NoLife::Stopped);
        }
        let instance = *self.instance.lock().unwrap();
        let instance = instance.ok_or_else(|| NoLife::NoStream("no stream is called that".to_owned()))?;
        let (authority, node) = (AUTHORITY, NodeId(1));
        let (gone, taken) = (Sequence(0), Sequence(100));
        Ok(Life { stream: stream.to_owned(), instance, authority, node, gone, taken })
    }

    async fn attach(
        &self,
        _: &str,
        presented: Option<Position>,
        _: u32,
        former: Former,
    ) -> Result<Attachment, Refusal> {
        self.asked.lock().unwrap().push((presented, former));
        let door = self.doors.lock().unwrap().pop_front().expect("looked for");
        match door {
            Some(door) => door,
            None => std::future::pending().await,
        }
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
    door_that_parks(from, u64::MAX)
}

/// A node that has a message tried again until it failed so often, and then parks it.
fn door_that_parks(from: u64, attempts: u64) -> (Attachment, Side) {
    let (hand, handed) = mpsc::unbounded_channel();
    let (urgent, mut said) = mpsc::unbounded_channel();
    let (told, heard) = mpsc::unbounded_channel();
    let answers = hand.downgrade();
    tokio::spawn(async move {
        let mut failed = 0;
        while let Some(urgent) = said.recv().await {
            match urgent {
                Urgent::Failed { sequence, reason, .. } if !reason.starts_with("parked") => {
                    failed += 1;
                    let Some(hand) = answers.upgrade() else { continue };
                    let _ = hand.send(Handed::Failed { sequence, passed: failed == attempts });
                }
                urgent => drop(told.send(urgent)),
            }
        }
    });
    (Attachment::new(AttachToken(1), at(from), handed, urgent), Side { hand, heard })
}

/// Of another life of the stream.
fn door_elsewhere() -> (Attachment, Side) {
    let (mut attachment, side) = door(0);
    attachment.position.instance = StreamInstance(8);
    (attachment, side)
}

struct Stage {
    notes: Arc<Mutex<Notes>>,
    asked: Asked,
    instance: Arc<Mutex<Option<StreamInstance>>>,
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
        Self::behind(doors.into_iter().map(Some).collect(), notes, options)
    }

    fn behind(doors: VecDeque<Option<Result<Attachment, Refusal>>>, notes: Notes, options: Options) -> Self {
        let (notes, asked) = (Arc::new(Mutex::new(notes)), Arc::default());
        let instance = Arc::new(Mutex::new(Some(INSTANCE)));
        let doors = Mutex::new(doors);
        let node = StandIn { doors, asked: Arc::clone(&asked), instance: Arc::clone(&instance) };
        let (shown, progress) = watch::channel(Progress::default());
        let (stop, stopped) = watch::channel(false);
        let handler = Scripted(Arc::clone(&notes));
        let runner = Runner::new(node, "words".into(), handler, options, shown, stopped);
        Self { notes, asked, instance, progress, stop, task: tokio::spawn(runner.run()) }
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

    fn presented(&self) -> Vec<Option<Position>> {
        self.asked.lock().unwrap().iter().map(|(presented, _)| *presented).collect()
    }

    fn formers(&self) -> Vec<Former> {
        self.asked.lock().unwrap().iter().map(|(_, former)| *former).collect()
    }

    fn calls(&self) -> Vec<Vec<u64>> {
        self.notes.lock().unwrap().calls.clone()
    }
}

/// The third message of a stream, parked and tried again.
fn parked() -> Handed {
    let Handed::Delivery(mut delivery) = delivery(3..=3) else { unreachable!() };
    delivery.messages[0].parked = true;
    Handed::Delivery(delivery)
}

#[tokio::test(start_paused = true)]
async fn a_handler_goes_on_behind_what_the_node_parks() {
    let (attachment, mut side) = door_that_parks(0, 3);
    let bad = || Err(Failure::message("no room for it"));
    let answers = VecDeque::from([bad(), bad(), bad()]);
    let mut stage = Stage::new(vec![Ok(attachment)], Notes { answers, ..Notes::default() });
    side.hand.send(delivery(1..=4)).unwrap();
    side.processed(4).await;
    assert_eq!(stage.calls(), [vec![1, 2, 3], vec![1], vec![1], vec![2, 3, 4]]);
    assert_eq!(stage.until(|progress| progress.done.0 == 4).await.trouble, None);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_tried_again_before_the_node_says_so() {
    let (hand, handed) = mpsc::unbounded_channel();
    let (urgent, mut heard) = mpsc::unbounded_channel();
    let attachment = Attachment::new(AttachToken(1), at(0), handed, urgent);
    let answers = VecDeque::from([Err(Failure::message("no"))]);
    let stage = Stage::new(vec![Ok(attachment)], Notes { answers, ..Notes::default() });
    hand.send(delivery(1..=2)).unwrap();
    let said = heard.recv().await;
    assert!(matches!(said, Some(Urgent::Failed { sequence: Sequence(1), .. })), "{said:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.calls().len(), 1);
    hand.send(Handed::Failed { sequence: Sequence(1), passed: false }).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.calls(), [vec![1, 2], vec![1], vec![2]]);
}

#[tokio::test(start_paused = true)]
async fn what_was_parked_is_tried_again_in_a_pause_too_and_moves_nothing() {
    let (attachment, mut side) = door(0);
    let answers = (0..200).map(|_| Err(Failure::message("no"))).collect();
    let mut stage = Stage::new(vec![Ok(attachment)], Notes { answers, ..Notes::default() });
    side.hand.send(delivery(4..=4)).unwrap();
    stage.until(|progress| progress.trouble.is_some()).await;
    side.hand.send(parked()).unwrap();
    let said = side.heard.recv().await;
    assert!(matches!(said, Some(Urgent::Retried { sequence: Sequence(3), .. })), "{said:?}");
    assert_eq!(stage.notes.lock().unwrap().parked, [3]);
    assert_eq!(stage.progress.borrow().done.0, 0);
    // Another one does not take it up at all, and it stays parked.
    let (attachment, mut side) = door(5);
    let _stage = Stage::new(vec![Ok(attachment)], Notes { refuses_parked: true, ..Notes::default() });
    side.hand.send(parked()).unwrap();
    let said = side.heard.recv().await;
    assert!(matches!(said, Some(Urgent::Failed { sequence: Sequence(3), .. })), "{said:?}");
}

#[tokio::test]
async fn messages_are_handed_over_in_arrays_and_each_array_is_acknowledged() {
    let (attachment, mut side) = door(4);
    let mut stage = Stage::new(vec![Ok(attachment)], Notes::default());
    side.hand.send(delivery(5..=9)).unwrap();
    side.processed(9).await;
    assert_eq!(stage.calls(), [vec![5, 6, 7], vec![8, 9]]);
    assert_eq!(stage.presented(), [None], "an idempotent handler keeps no place");
    let progress = stage.until(|progress| progress.done.0 == 9).await;
    assert_eq!((progress.received.0, progress.processing), (9, None));
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
    assert_eq!((progress.done.0, progress.received.0), (1, 5));
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
    assert_eq!(progress.processing, Some((Sequence(1), Sequence(3))));
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
    // How much of the array came through is known only once the store is asked: the answer to a commit was lost.
    for known in [0, 2] {
        let ((first, mut before), (second, mut after)) = (door(0), door(2));
        let answers = VecDeque::from([Err(Failure::away("the connection was lost").after(known))]);
        let hold = Arc::new(tokio::sync::Semaphore::new(0));
        let notes = Notes { answers, transactional: true, hold: Some(Arc::clone(&hold)), ..Notes::default() };
        let stage = Stage::new(vec![Ok(first), Ok(second)], notes);
        before.hand.send(delivery(1..=3)).unwrap();
        while stage.calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stage.notes.lock().unwrap().stored = Some(at(2));
        hold.add_permits(2);
        if known > 0 {
            assert_eq!(before.verdict().await, 2);
        }
        after.hand.send(delivery(3..=3)).unwrap();
        assert_eq!(after.verdict().await, 3);
        assert_eq!(stage.presented(), [Some(at(0)), Some(at(2))]);
        assert_eq!(stage.calls(), [vec![1, 2, 3], vec![3]]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_pauses_stays_attached_until_it_is_attached_again() {
    let ((first, mut before), (second, after)) = (door(0), door(0));
    let answers = VecDeque::from([Err(Failure::away("no connection"))]);
    let mut stage = Stage::new(vec![Ok(first), Ok(second)], Notes { answers, ..Notes::default() });
    before.hand.send(delivery(1..=2)).unwrap();
    let away = |progress: &Progress| progress.state == State::Waiting("no connection".to_owned());
    let progress = stage.until(away).await;
    let trouble = progress.trouble.expect("there");
    assert_eq!((trouble.message, trouble.attempts), (None, 1), "no message is at fault");
    assert!(before.heard.try_recv().is_err(), "what it may present again must be kept meanwhile");
    assert!(before.detached().await);
    after.hand.send(delivery(1..=2)).unwrap();
    assert_eq!(stage.until(|progress| progress.done.0 == 2).await.trouble, None);
    assert_eq!(stage.formers(), [Former::Anybody, Former::Itself(Some(AttachToken(1)))]);
}

#[tokio::test]
async fn who_pauses_learns_of_whoever_takes_over() {
    let (attachment, side) = door(0);
    let answers = VecDeque::from([Err(Failure::away("no connection"))]);
    let hour = Duration::from_secs(3600);
    let options = Options { pause: hour, pause_most: hour, ..Options::default() };
    let doors = vec![Ok(attachment), Err(Refusal::Superseded)];
    let mut stage = Stage::with(doors, Notes { answers, ..Notes::default() }, options);
    side.hand.send(delivery(1..=1)).unwrap();
    stage.until(|progress| matches!(progress.state, State::Waiting(_))).await;
    side.hand.send(Handed::Ended(Ended::TakenOver)).unwrap();
    assert_eq!(stage.over().await, Over::TakenOver);

    // Nothing is held after an outrun, and the node knows that somebody else came.
    let (attachment, side) = door(0);
    let mut stage = Stage::new(vec![Ok(attachment), Err(Refusal::Superseded)], Notes::default());
    side.hand.send(Handed::Ended(Ended::Outrun)).unwrap();
    assert_eq!(stage.over().await, Over::TakenOver);
    assert_eq!(stage.formers(), [Former::Anybody, Former::Itself(None)]);
}

#[tokio::test]
async fn a_refused_position_is_shown_and_presented_again() {
    let why = Refusal::ForeignPosition("it is 9, and the stream ends at 2".to_owned());
    let (attachment, mut side) = door(9);
    let doors = vec![Err(why.clone()), Err(why.clone()), Ok(attachment)];
    let notes = Notes { stored: Some(at(9)), transactional: true, ..Notes::default() };
    let mut stage = Stage::new(doors, notes);
    let progress = stage.until(|progress| progress.state == State::Waiting(why.to_string())).await;
    let trouble = progress.trouble.expect("a person must look");
    assert_eq!((trouble.message, trouble.text), (None, why.to_string()));
    side.hand.send(delivery(10..=10)).unwrap();
    assert_eq!(side.verdict().await, 10);
    assert_eq!(stage.presented(), [Some(at(9)); 3]);
    assert_eq!(stage.until(|progress| progress.done.0 == 10).await.trouble, None);
}

#[tokio::test(start_paused = true)]
async fn a_position_that_the_node_does_not_know_is_read_again_while_it_is_waited_for() {
    let (attachment, mut side) = door(40);
    let doors = VecDeque::from([None, Some(Ok(attachment))]);
    let notes = Notes { stored: Some(at(400)), transactional: true, ..Notes::default() };
    let options = Options { pause_most: Duration::from_secs(8), ..Options::default() };
    let mut stage = Stage::behind(doors, notes, options);
    let waits = |progress: &Progress| matches!(&progress.state, State::Waiting(why) if why.contains("up to message 100, and the handler's store stands at 400"));
    stage.until(waits).await;
    // Somebody puts an older copy of the store in its place.
    stage.notes.lock().unwrap().stored = Some(at(40));
    side.hand.send(delivery(41..=41)).unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(side.verdict().await, 41);
    assert!(begun.elapsed() <= Duration::from_millis(8100), "{:?}", begun.elapsed());
    assert_eq!(stage.presented(), [Some(at(400)), Some(at(40))]);
}

#[tokio::test]
async fn a_handler_ends_with_the_life_of_its_stream_whatever_it_is_at() {
    // Closed, and opened again, while it was away from it: both are of another life than it began with.
    for reopened in [None, Some(StreamInstance(8))] {
        let ((attachment, side), (other, _side)) = (door(0), door_elsewhere());
        let mut stage = Stage::new(vec![Ok(attachment), Ok(other)], Notes::default());
        stage.until(|progress| progress.state == State::Attached).await;
        *stage.instance.lock().unwrap() = reopened;
        side.hand.send(Handed::Ended(Ended::Outrun)).unwrap();
        assert_eq!(stage.over().await, Over::Closed);
    }
    // In a pause.
    let (attachment, side) = door(0);
    let hour = Duration::from_secs(3600);
    let options = Options { pause: hour, pause_most: hour, ..Options::default() };
    let answers = VecDeque::from([Err(Failure::away("no connection"))]);
    let mut stage = Stage::with(vec![Ok(attachment)], Notes { answers, ..Notes::default() }, options);
    side.hand.send(delivery(1..=1)).unwrap();
    stage.until(|progress| matches!(progress.state, State::Waiting(_))).await;
    side.hand.send(Handed::Ended(Ended::Refused(Refusal::StreamClosed))).unwrap();
    assert_eq!(stage.over().await, Over::Closed);
    // Between its beginning and its attaching: what it read is of the life before.
    let ((other, _side), (attachment, mut side)) = (door_elsewhere(), door(0));
    let mut stage = Stage::new(vec![Ok(other), Ok(attachment)], Notes::default());
    side.hand.send(delivery(1..=1)).unwrap();
    assert_eq!(side.verdict().await, 1);
    assert_eq!(stage.notes.lock().unwrap().begun, 2);
    assert_eq!(stage.until(|progress| progress.done.0 == 1).await.state, State::Attached);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_up_to_the_longest() {
    let (attachment, mut side) = door(0);
    let answers = (0..5).map(|_| Err(Failure::message("no"))).collect();
    let millis = Duration::from_millis;
    let options = Options { pause: millis(10), pause_most: millis(40), ..Options::default() };
    let begin = tokio::time::Instant::now();
    let stage = Stage::with(vec![Ok(attachment)], Notes { answers, ..Notes::default() }, options);
    side.hand.send(delivery(1..=1)).unwrap();
    assert_eq!(side.verdict().await, 1);
    let took = begin.elapsed();
    // A timer is late by a millisecond at most.
    let least = millis(10 + 20 + 40 + 40 + 40);
    assert!(took >= least && took <= least + millis(5), "{took:?}");
    assert_eq!(stage.calls().len(), 6);
}

#[tokio::test]
async fn a_store_that_is_away_takes_no_count_from_a_message_that_fails() {
    let ((first, side), (second, mut after)) = (door(0), door(0));
    let bad = || Err(Failure::message("no room for it"));
    let answers = VecDeque::from([bad(), bad(), Err(Failure::away("no connection")), bad()]);
    let mut stage = Stage::new(vec![Ok(first), Ok(second)], Notes { answers, ..Notes::default() });
    side.hand.send(delivery(1..=2)).unwrap();
    stage.until(|progress| matches!(progress.state, State::Waiting(_))).await;
    after.hand.send(delivery(1..=2)).unwrap();
    let third = |progress: &Progress| progress.trouble.as_ref().is_some_and(|trouble| trouble.attempts == 3);
    let trouble = stage.until(third).await.trouble.expect("there");
    assert_eq!((trouble.message, trouble.text.as_str()), (Some(Sequence(1)), "no room for it"));
    after.processed(2).await;
}

#[tokio::test]
async fn what_a_handler_says_is_cut() {
    for failure in [Failure::message, Failure::away, Failure::stop] {
        let long: fn(String) -> Failure = failure;
        let said = long("\u{e9}".repeat(1 << 20)).to_string();
        assert!(said.len() <= 1100 && said.contains("(2097152 bytes"), "{} bytes", said.len());
        assert_eq!(long("short".to_owned()).to_string(), "short");
    }
}

#[tokio::test]
async fn a_handler_that_waits_to_be_attached_can_be_stopped() {
    let mut stage = Stage::behind(VecDeque::from([None]), Notes::default(), Options::default());
    while stage.presented().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stage.stop.send_replace(true);
    assert_eq!(stage.over().await, Over::Stopped);
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

    let (attachment, _side) = door(0);
    let mut stage = Stage::new(vec![Ok(attachment)], Notes { panics: true, ..Notes::default() });
    assert_eq!(stage.over().await, Over::Broken);
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
