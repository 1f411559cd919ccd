//! The loop driven by a stand-in for the node, which wants one of each kind of thing and notes what it is told.

use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::time::Duration;

use bytes::Bytes;
use wattle_core::digest::Digest;
use wattle_core::ends::Terms;
use wattle_core::id::{
    AttachToken, AuthorityEpoch, MessageId, RequestId, Sequence, SessionEpoch, StreamInstance, WriterId,
    WriterSequence,
};
use wattle_core::node::command::{Command, Position, Receipt, Refusal, Reply, Waited};
use wattle_core::node::output::{CloseReason, Delivered, Delivery, DialId, LoadId, Timer};
use wattle_core::record::Owner;
use wattle_core::time::Span;
use wattle_core::work::{Done, Job, WorkId};

use super::*;
use crate::error::StartError;
use crate::handle::{COMMANDS_WAITING_MAX, Ended, Handed, Running};
use crate::settings::Settings;
use crate::start::start_with;

const TOKEN: AttachToken = AttachToken(5);

#[derive(Default)]
struct StandIn {
    outputs: std::collections::VecDeque<Output>,
    next_row: u64,
    unanswered: Vec<(Ticket, RequestId, Receipt)>,
    deadline: Option<(wattle_core::time::Instant, RequestId)>,
    working: Option<RequestId>,
    handler: Option<RequestId>,
    to_say: Vec<(LaneId, &'static [u8])>,
    heard: String,
    notes: Notes,
    damaged: bool,
    gate: Option<std_mpsc::Receiver<()>>,
}

type Notes = Arc<Mutex<Vec<String>>>;

impl StandIn {
    fn note(&self, text: String) {
        self.notes.lock().unwrap().push(text);
    }

    fn command(&mut self, now: Now, request: RequestId, command: Command) {
        match command {
            // A row, and an answer once it is on disk.
            Command::Publish { first, messages, writer: _, wait: _, stream: _ } => {
                self.next_row += 1;
                let ticket = Ticket(self.next_row);
                let last_writer = WriterSequence(first.0 + messages.len() as u64 - 1);
                let mut row = Payload::new();
                messages.into_iter().for_each(|message| row.push(message));
                self.outputs.push_back(Output::Write { ticket, row });
                self.unanswered.push((ticket, request, receipt(first, last_writer)));
            }
            Command::Invite => self.deadline = Some((now.monotonic + Span::millis(30), request)),
            Command::FindWriter { stream, .. } => {
                self.working = Some(request);
                let work = WorkId { owner: Owner::Stream, token: 1 };
                self.outputs.push_back(Output::Work { work, job: Job::Digest(Bytes::from(stream).into()) });
            }
            Command::Seed { name } => self.outputs.push_back(Output::Dial { dial: DialId(1), address: name }),
            // Waits for ever.
            Command::Attach { stream, .. } if stream == "far" => {
                self.note(format!("attaching {}", request.0))
            }
            // Hands over the first row.
            Command::Attach { .. } => {
                if let Some(before) = self.handler.replace(request) {
                    self.reply(before, Reply::Fenced { token: TOKEN });
                }
                let position = Position {
                    instance: StreamInstance(1),
                    authority: AuthorityEpoch(0),
                    sequence: Sequence(0),
                };
                self.reply(request, Reply::Attached { token: TOKEN, instance: StreamInstance(1), position });
                self.outputs.push_back(Output::Load { load: LoadId(1), row: Ticket(1), offset: 0, len: 3 });
            }
            // As if the stream stopped, which its handler is told.
            Command::CloseWriter { stream, .. } => {
                let handler = self.handler.take().expect("attached");
                self.outputs.push_back(Output::Reply {
                    request: handler,
                    reply: Err(Refusal::StreamStopped(stream)),
                });
                self.reply(request, Reply::WriterClosed);
            }
            Command::Join { .. } => self.note(format!("never answered {}", request.0)),
            Command::Describe(_) | Command::Update(_) => panic!("the stand-in has no updates"),
            Command::OpenStream { .. } => panic!("S1: the stand-in stumbles"),
            Command::Config(_) => self.note("about configuration".to_owned()),
            Command::CloseStream { .. } => {
                self.note("at the gate".to_owned());
                let _ = self.gate.as_ref().map(std_mpsc::Receiver::recv);
            }
            other => panic!("no test asks the stand-in for {other:?}"),
        }
    }

    fn persisted(&mut self, upto: Ticket) {
        for (ticket, request, receipt) in std::mem::take(&mut self.unanswered) {
            if ticket <= upto {
                self.reply(request, Reply::Published(receipt));
            } else {
                self.unanswered.push((ticket, request, receipt));
            }
        }
    }

    fn hand_over(&mut self, bytes: Bytes) {
        let message = Delivered {
            sequence: Sequence(1),
            id: MessageId(1),
            writer: WriterId(1),
            writer_sequence: WriterSequence(1),
            bytes,
            piece: None,
            parked: false,
        };
        let (token, instance, messages) = (TOKEN, StreamInstance(1), vec![message]);
        self.outputs.push_back(Output::Deliver(Delivery { token, instance, messages }));
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.outputs.push_back(Output::Reply { request, reply: Ok(reply) });
    }
}

fn receipt(first_writer: WriterSequence, last_writer: WriterSequence) -> Receipt {
    Receipt {
        level: Waited::Accepted,
        instance: StreamInstance(1),
        authority: AuthorityEpoch(0),
        session: SessionEpoch(0),
        first_writer,
        last_writer,
        first: Sequence(1),
        last: Sequence(1),
        provisional: true,
        duplicate: false,
    }
}

impl Machine for StandIn {
    fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected> {
        match input {
            Input::Row { ticket, bytes } => {
                if self.damaged {
                    return Err(Rejected::Damaged("row 1 does not add up".to_owned()));
                }
                self.next_row = ticket.0;
                self.note(format!("row {ticket} {}", String::from_utf8_lossy(&bytes)));
            }
            // It does not look back.
            Input::Synced { .. } => {}
            Input::Command { request, command } => self.command(now, request, command),
            Input::Persisted { upto } => self.persisted(upto),
            Input::Deadline => {
                if let Some((_, request)) = self.deadline.take_if(|(at, _)| *at <= now.monotonic) {
                    self.reply(request, Reply::Token { token: "in time".to_owned() });
                }
            }
            Input::WorkDone { done: Done::Digest(digest), .. } => {
                let request = self.working.take().expect("asked once");
                let next = WriterSequence(u64::from(digest.0[0]));
                self.reply(request, Reply::Writer { next, staged: None, part_bytes: 0 });
            }
            Input::Loaded { bytes, .. } => self.hand_over(bytes.expect("the row is there")),
            // The dialling end says something and hangs up at once.
            Input::LaneUp { lane, dial, .. } => {
                self.note("lane up".to_owned());
                if dial.is_some() {
                    // Two turns of the lane, and no time in between.
                    self.to_say.extend([(lane, &b"said before"[..]), (lane, b" closing")]);
                    self.outputs.push_back(Output::Close { lane, reason: CloseReason::Surplus });
                }
            }
            Input::Received { bytes, .. } => {
                self.heard.push_str(&String::from_utf8_lossy(&bytes));
                self.note(format!("received {}", self.heard));
            }
            Input::LaneDown { .. } => self.note("lane down".to_owned()),
            Input::DialFailed { .. } => self.note("dial failed".to_owned()),
            Input::Verdict { token, upto } => self.note(format!("verdict {token} {upto}")),
            Input::Detach { token } => self.note(format!("detach {token}")),
            Input::Forget { request } => self.note(format!("forget {}", request.0)),
            Input::Space { .. } | Input::Recovered => {}
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn ready_lanes(&self, lanes: &mut Vec<LaneId>) {
        lanes.extend(self.to_say.iter().map(|(lane, _)| *lane));
    }

    fn poll_transmit(&mut self, _: Now, lane: LaneId, _: usize, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let place = self.to_say.iter().position(|(name, _)| *name == lane)?;
        let (_, text) = self.to_say.remove(place);
        buffer.extend_from_slice(text);
        Some(Transmit { lane, len: text.len() })
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.deadline.map(|(at, _)| Deadline { at, timer: Timer::Mesh })
    }

    fn status(&self, _: Now) -> Option<Status> {
        None
    }

    fn served(&self, _: &str) -> Result<Option<Served>, Refusal> {
        Ok(None)
    }
}

fn settings(dir: &tempfile::TempDir) -> Settings {
    Settings {
        reserve_bytes: 1 << 16,
        listen: vec!["127.0.0.1:0".to_owned()],
        ..Settings::new(dir.path().join("node"))
    }
}

async fn running(settings: Settings) -> (Running, Notes) {
    let notes = Notes::default();
    let stand_in = StandIn { notes: Arc::clone(&notes), ..StandIn::default() };
    (start_with(settings, move |_, _, _| stand_in).await.unwrap(), notes)
}

fn publish(first: u64, messages: &[&'static str]) -> Command {
    Command::Publish {
        stream: "words".to_owned(),
        writer: WriterId(1),
        first: WriterSequence(first),
        messages: messages.iter().map(|text| Bytes::from_static(text.as_bytes())).collect(),
        wait: Waited::Accepted,
    }
}

async fn noted(notes: &Notes, wanted: &str) {
    let found = timeout(Duration::from_secs(10), async {
        while !notes.lock().unwrap().iter().any(|note| note == wanted) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(found.await.is_ok(), "{wanted:?} is not among {:?}", notes.lock().unwrap());
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_stop_and_the_directory_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = running(settings(&dir)).await;
    let id = node.node_id();
    let mut replies = node.command(publish(1, &["one ", "two"]));
    let Some(Ok(Reply::Published(receipt))) = replies.next().await else { panic!("not answered") };
    assert_eq!(receipt.last_writer, WriterSequence(2));
    assert_eq!(replies.next().await, None, "the request is done");
    // Given just before stopping: written and answered all the same.
    let mut late = node.submit(publish(3, &["three"])).await;
    assert_eq!(node.stop().await, StopReason::Asked);
    assert!(matches!(late.next().await, Some(Ok(Reply::Published(_)))));
    assert_eq!(node.stop().await, StopReason::Asked, "stopping twice is stopping once");
    assert_eq!(node.status().await, None);

    let (again, notes) = running(settings(&dir)).await;
    assert_eq!(again.node_id(), id);
    assert!(notes.lock().unwrap().contains(&"row 1 one two".to_owned()));
    again.stop().await;
}

#[tokio::test]
async fn deadlines_are_kept_and_work_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = running(settings(&dir)).await;
    let asked = std::time::Instant::now();
    let reply = node.command(Command::Invite).next().await;
    assert_eq!(reply, Some(Ok(Reply::Token { token: "in time".to_owned() })));
    let took = asked.elapsed();
    assert!((Duration::from_millis(29)..Duration::from_secs(5)).contains(&took), "{took:?}");
    // Digested by the loop, and by a thread.
    for words in ["words".to_owned(), "word".repeat(DIGEST_HERE_MAX)] {
        let next = WriterSequence(u64::from(Digest::of_bytes(words.as_bytes()).0[0]));
        let find = Command::FindWriter { stream: words, writer: WriterId(1) };
        assert_eq!(
            node.command(find).next().await,
            Some(Ok(Reply::Writer { next, staged: None, part_bytes: 0 }))
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn what_a_node_says_to_a_lane_before_closing_it_arrives() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (caller, caller_notes) = running(settings(&near)).await;
    let (callee, callee_notes) = running(settings(&far)).await;
    let name = callee.listening()[0].to_string();
    let _replies = caller.command(Command::Seed { name });
    noted(&callee_notes, "received said before closing").await;
    noted(&callee_notes, "lane down").await;
    noted(&caller_notes, "lane down").await;
    assert_eq!(caller.connections().lanes, 0);
    callee.stop().await;
    let _replies = caller.command(Command::Seed { name: "127.0.0.1:1".to_owned() });
    noted(&caller_notes, "dial failed").await;
    caller.stop().await;
}

#[tokio::test]
async fn a_handler_is_handed_messages_judges_them_and_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let (node, notes) = running(settings(&dir)).await;
    node.command(publish(1, &["one"])).next().await.unwrap().unwrap();
    let mut first = node.attach("words".to_owned(), None, 1).await.unwrap();
    let Some(Handed::Delivery(delivery)) = first.next().await else { panic!("nothing is handed over") };
    assert_eq!(delivery.messages[0].bytes, "one");
    first.verdict(Sequence(1));
    noted(&notes, "verdict 5 1").await;
    let second = node.attach("words".to_owned(), None, 1).await.unwrap();
    assert!(matches!(first.next().await, Some(Handed::Ended(Ended::TakenOver))));
    assert!(first.next().await.is_none());
    drop(second);
    noted(&notes, "detach 5").await;
    node.stop().await;
}

#[tokio::test]
async fn an_attached_handler_is_told_when_its_stream_stops() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = running(settings(&dir)).await;
    node.command(publish(1, &["one"])).next().await.unwrap().unwrap();
    let mut handler = node.attach("words".to_owned(), None, 1).await.unwrap();
    assert!(matches!(handler.next().await, Some(Handed::Delivery(_))));
    let stop = Command::CloseWriter { stream: "why".to_owned(), writer: WriterId(1) };
    node.command(stop).next().await.unwrap().unwrap();
    let ended = timeout(Duration::from_secs(10), handler.next()).await.expect("told");
    let Some(Handed::Ended(Ended::Refused(refusal))) = ended else { panic!("{ended:?}") };
    assert_eq!(refusal, Refusal::StreamStopped("why".to_owned()));
    assert!(handler.next().await.is_none(), "and nothing more comes");
    node.stop().await;
}

#[tokio::test]
async fn an_attachment_that_nobody_waits_for_is_detached() {
    let dir = tempfile::tempdir().unwrap();
    let (node, notes) = running(settings(&dir)).await;
    node.command(publish(1, &["one"])).next().await.unwrap().unwrap();
    let mut waiting = Box::pin(node.attach("words".to_owned(), None, 1));
    // Polled once: it is asked, and perhaps already answered.
    std::future::poll_fn(|context| {
        let _ = waiting.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
    drop(waiting);
    noted(&notes, "detach 5").await;
    node.stop().await;
}

#[tokio::test]
async fn the_node_hears_of_it_when_nobody_waits_for_an_answer_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (node, notes) = running(settings(&dir)).await;
    let join = || Command::Join { token: "wattle1.AA".to_owned() };
    let replies = node.command(join());
    noted(&notes, "never answered 1").await;
    drop(replies);
    noted(&notes, "forget 1").await;
    // Perhaps before the node has taken it.
    drop(node.command(join()));
    noted(&notes, "never answered 2").await;
    noted(&notes, "forget 2").await;
    let attaching = node.attach("far".to_owned(), None, 1);
    assert!(timeout(Duration::from_millis(50), attaching).await.is_err());
    noted(&notes, "attaching 3").await;
    noted(&notes, "forget 3").await;
    node.stop().await;
}

#[tokio::test]
async fn answers_to_many_commands_come_in_one_queue_which_ends_with_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (node, notes) = running(settings(&dir)).await;
    let mut queue = node.queue();
    let asked = [queue.submit(publish(1, &["one", "two"])).await, queue.submit(publish(3, &["three"])).await];
    let mut heard = Vec::new();
    while heard.len() < 2 {
        assert_eq!(queue.take(&mut heard, 1).await, 1);
    }
    for ((request, answer), (wanted, last)) in heard.drain(..).zip(asked.into_iter().zip([2, 3])) {
        let Ok(Reply::Published(receipt)) = answer else { panic!("{answer:?}") };
        assert_eq!((request, receipt.last_writer), (wanted, WriterSequence(last)));
        queue.close(request);
    }
    let join = || Command::Join { token: "wattle1.AA".to_owned() };
    let waits = queue.submit(join()).await;
    noted(&notes, &format!("never answered {}", waits.0)).await;
    drop(queue);
    noted(&notes, &format!("forget {}", waits.0)).await;
    assert!(!notes.lock().unwrap().contains(&format!("forget {}", asked[0].0)), "closed");

    let mut queue = node.queue();
    queue.submit(publish(4, &["four"])).await;
    assert_eq!(node.stop().await, StopReason::Asked);
    assert_eq!((queue.take(&mut heard, 9).await, queue.take(&mut heard, 9).await), (1, 0));
}

#[tokio::test]
async fn a_node_that_is_too_busy_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (open, gate) = std_mpsc::channel();
    let notes = Notes::default();
    let stand_in = StandIn { gate: Some(gate), notes: Arc::clone(&notes), ..StandIn::default() };
    let node = start_with(settings(&dir), move |_, _, _| stand_in).await.unwrap();
    let close = Command::CloseStream { name: "words".to_owned() };
    let mut first = node.command(close.clone());
    noted(&notes, "at the gate").await;
    let mut waiting: Vec<_> = (0..COMMANDS_WAITING_MAX + 1).map(|_| node.command(close.clone())).collect();
    let mut last = waiting.pop().unwrap();
    assert_eq!(last.next().await, Some(Err(Refusal::Busy)));
    drop(open);
    node.stop().await;
    assert_eq!(first.next().await, None, "taken, and never answered by the stand-in");
}

#[tokio::test]
async fn a_failed_assertion_ends_the_node_with_its_text_and_frees_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = running(settings(&dir)).await;
    let open = Command::OpenStream {
        name: "w".to_owned(),
        source: "a".to_owned(),
        targets: vec!["b".to_owned()],
        terms: Terms::default(),
    };
    assert_eq!(node.command(open).next().await, None);
    assert_eq!(node.stopped().await, StopReason::Panicked("S1: the stand-in stumbles".to_owned()));
    assert_eq!(node.command(Command::Invite).next().await, None);
    let (again, _) = running(settings(&dir)).await;
    again.stop().await;
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = running(settings(&dir)).await;
    let address = node.listening()[0];
    drop(node);
    timeout(Duration::from_secs(10), async {
        while start_with(settings(&dir), |_, _, _| StandIn::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the directory becomes free");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_node_that_cannot_start_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = running(settings(&dir)).await;
    node.command(publish(1, &["one"])).next().await.unwrap().unwrap();
    let refused = |result: Result<Running, StartError>| result.expect_err("started").to_string();

    let text = refused(start_with(settings(&dir), |_, _, _| StandIn::default()).await);
    assert!(text.contains("another process") && text.contains("data directory of its own"), "{text}");

    let other = tempfile::tempdir().unwrap();
    let taken = Settings { listen: vec![node.listening()[0].to_string()], ..settings(&other) };
    let text = refused(start_with(taken, |_, _, _| StandIn::default()).await);
    assert!(text.contains("choose another port"), "{text}");

    node.stop().await;
    let damaged = |_, _, _| StandIn { damaged: true, ..StandIn::default() };
    let text = refused(start_with(settings(&dir), damaged).await);
    assert!(text.contains("row 1 does not add up") && text.contains("backup"), "{text}");

    let journal = dir.path().join("node/journal");
    std::fs::write(journal.join("00000000000000000001.rows"), b"not a journal").unwrap();
    let text = refused(start_with(settings(&dir), |_, _, _| StandIn::default()).await);
    assert!(text.contains("00000000000000000001.rows is damaged") && text.contains("node/journal"), "{text}");

    std::fs::remove_dir_all(&journal).unwrap();
    std::fs::write(dir.path().join("node/journal.redb"), b"a journal of an earlier version").unwrap();
    let text = refused(start_with(settings(&dir), |_, _, _| StandIn::default()).await);
    assert!(text.contains("earlier version") && text.contains("journal.redb"), "{text}");
    assert!(!journal.exists(), "an empty journal beside it would be a node that forgot everything");

    std::fs::write(dir.path().join("file"), b"").unwrap();
    let no_directory = Settings::new(dir.path().join("file"));
    let text = refused(start_with(no_directory, |_, _, _| StandIn::default()).await);
    assert!(text.contains("choose one this user can write"), "{text}");
}
