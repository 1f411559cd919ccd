use super::*;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tonic::async_trait;
use wattle_proto::api::publish_response::Answer;
use wattle_proto::api::{ErrorDetail, Reason, Receipt, Refused};

/// What befalls the next arrays.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nothing.
    None,
    /// Taken, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks before it is taken.
    LoseRequest,
    /// Not taken now.
    Full,
    /// Not taken while somebody has the stream paused.
    Paused,
    /// Not taken for so many seconds, by the rate of the stream.
    Throttled(u64),
    /// Never taken.
    Refuse,
}

/// A node with one writer.
#[derive(Debug, Default)]
struct FakeNode {
    taken: Vec<Bytes>,
    faults: Vec<Fault>,
    calls: usize,
    finds_that_fail: usize,
}

#[derive(Clone, Debug, Default)]
struct FakeRoute(Arc<Mutex<FakeNode>>);

impl FakeNode {
    fn take(&mut self, request: &PublishRequest) -> Result<PublishResponse, Failure> {
        let last = request.first + request.messages.len() as u64 - 1;
        let next = self.taken.len() as u64 + 1;
        let fault = if self.faults.is_empty() { Fault::None } else { self.faults.remove(0) };
        let lost = || Err(Failure::Unreachable("lost".to_owned()));
        let refused = |detail: ErrorDetail| {
            let refused = Refused {
                first_writer: request.first,
                last_writer: last,
                message: format!("{:?}", detail.reason()),
                detail: Some(detail),
                ..Refused::default()
            };
            Ok(PublishResponse { answer: Some(Answer::Refused(refused)) })
        };
        match fault {
            Fault::LoseRequest => return lost(),
            Fault::Full => {
                let reason = Reason::Backpressure.into();
                return refused(ErrorDetail { reason, retriable: true, ..ErrorDetail::default() });
            }
            Fault::Paused => {
                let reason = Reason::Paused.into();
                return refused(ErrorDetail { reason, retriable: true, ..ErrorDetail::default() });
            }
            Fault::Throttled(seconds) => {
                return refused(ErrorDetail {
                    reason: Reason::Throttled.into(),
                    retriable: true,
                    retry_after_millis: Some(1000 * seconds),
                    ..ErrorDetail::default()
                });
            }
            Fault::Refuse => {
                return refused(ErrorDetail {
                    reason: Reason::StreamStopped.into(),
                    ..ErrorDetail::default()
                });
            }
            Fault::None | Fault::LoseAnswer => {}
        }
        if request.first > next {
            let reason = Reason::WriterGap.into();
            return refused(ErrorDetail {
                reason,
                expected_writer_sequence: Some(next),
                ..ErrorDetail::default()
            });
        }
        let duplicate = last < next;
        let known = (next - request.first) as usize;
        self.taken.extend(request.messages.iter().skip(known).cloned());
        if fault == Fault::LoseAnswer {
            return lost();
        }
        let receipt = Receipt {
            level: Level::Accepted.into(),
            first_writer: request.first,
            last_writer: last,
            first: request.first,
            last,
            duplicate,
            ..Receipt::default()
        };
        Ok(PublishResponse { answer: Some(Answer::Receipt(receipt)) })
    }
}

#[async_trait(?Send)]
impl Route for FakeRoute {
    async fn find(&mut self, _: &str, _: WriterId) -> Result<u64, Failure> {
        let mut node = self.0.lock().unwrap();
        if node.finds_that_fail > 0 {
            node.finds_that_fail -= 1;
            return Err(Failure::Unreachable("not yet".to_owned()));
        }
        Ok(node.taken.len() as u64 + 1)
    }

    async fn open(&mut self) -> Result<Call, Failure> {
        let node = Arc::clone(&self.0);
        node.lock().unwrap().calls += 1;
        let (requests, mut incoming) = mpsc::channel::<PublishRequest>(64);
        let (answers, received) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(request) = incoming.recv().await {
                let answer = node.lock().unwrap().take(&request);
                let over = answer.is_err();
                if answers.send(answer).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Call { requests, answers: received })
    }
}

struct Desk {
    place: tempfile::TempDir,
    route: FakeRoute,
    told: Vec<Told>,
}

impl Desk {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap(), route: FakeRoute::default(), told: Vec::new() }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.place.path().join("source"), text).unwrap();
    }

    fn plan(&self) -> Plan {
        Plan {
            stream: "words".to_owned(),
            tenant: String::new(),
            writer: None,
            wait: Level::Accepted,
            batch_lines: 2,
            patience: Duration::from_secs(5),
            records: self.place.path().join("records"),
            machine: "here".to_owned(),
        }
    }

    async fn publish_with(&mut self, plan: &Plan) -> Result<Summary, Failure> {
        let source = Source::open(Some(&self.place.path().join("source"))).unwrap();
        let told = &mut self.told;
        publish(&mut self.route, source, plan, |what| told.push(what)).await
    }

    async fn publish(&mut self) -> Result<Summary, Failure> {
        let plan = self.plan();
        self.publish_with(&plan).await
    }

    fn taken(&self) -> String {
        let node = self.route.0.lock().unwrap();
        node.taken.iter().map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
    }

    fn faults(&self, faults: &[Fault]) {
        self.route.0.lock().unwrap().faults = faults.to_vec();
    }
}

fn numbers(upto: u32) -> String {
    (1..=upto).map(|number| format!("line {number}\n")).collect()
}

#[tokio::test]
async fn publishing_again_adds_nothing_and_says_so() {
    let mut desk = Desk::new();
    desk.write(&numbers(9));
    let first = desk.publish().await.unwrap();
    assert_eq!((first.accepted, first.already_there), (9, 0));
    let second = desk.publish().await.unwrap();
    assert_eq!((second.accepted, second.already_there), (0, 9));
    assert_eq!(first.writer, second.writer);
    assert_eq!(desk.told, [Told::Resumes { line: 10, checked: true }]);
    desk.write(&numbers(11));
    let grown = desk.publish().await.unwrap();
    assert_eq!((grown.accepted, grown.already_there), (2, 9));
    assert_eq!(desk.taken(), numbers(11));
}

#[tokio::test(start_paused = true)]
async fn every_line_arrives_once_and_in_order_whatever_is_lost() {
    use Fault::{Full, LoseAnswer, LoseRequest, None};
    for faults in [
        vec![LoseRequest],
        vec![None, LoseAnswer],
        vec![None, Full],
        vec![Full, None, Full, Full, None, Full],
        vec![None, None, LoseAnswer, LoseAnswer, LoseRequest, Full, None, LoseAnswer],
        vec![LoseRequest; 5],
    ] {
        let mut desk = Desk::new();
        desk.write(&numbers(40));
        desk.faults(&faults);
        let summary = desk.publish().await.unwrap();
        assert_eq!(desk.taken(), numbers(40), "{faults:?}");
        assert_eq!((summary.accepted, summary.already_there), (40, 0), "{faults:?}");
    }
}

#[tokio::test]
async fn a_run_that_was_stopped_is_resumed_by_the_next() {
    let mut desk = Desk::new();
    desk.write(&numbers(40));
    desk.faults(&[Fault::None, Fault::None, Fault::None, Fault::Refuse]);
    let stopped = desk.publish().await.unwrap_err();
    assert_eq!(stopped.reason(), Some(Reason::StreamStopped));
    desk.faults(&[]);
    let taken = desk.taken().lines().count() as u64;
    assert!(taken >= 6, "{taken}");
    let resumed = desk.publish().await.unwrap();
    assert_eq!((resumed.accepted, resumed.already_there), (40 - taken, taken));
    assert_eq!(desk.told, [Told::Resumes { line: taken + 1, checked: true }]);
    assert_eq!(desk.taken(), numbers(40));
}

#[tokio::test]
async fn a_file_that_changed_below_the_accepted_point_is_refused_unless_a_writer_is_named() {
    let mut desk = Desk::new();
    desk.write(&numbers(10));
    desk.publish().await.unwrap();
    for changed in [numbers(10).replace("line 3", "LINE 3"), numbers(4), String::new()] {
        desk.write(&changed);
        let refused = desk.publish().await.unwrap_err().to_string();
        assert!(refused.contains("has changed") && refused.contains("--writer"), "{refused}");
    }
    assert_eq!(desk.taken(), numbers(10), "nothing was added");
    desk.write(&numbers(4));
    let named = Plan { writer: Some(WriterId(7)), ..desk.plan() };
    // The fake node has one writer only, so that one has it all.
    let refused = desk.publish_with(&named).await.unwrap_err().to_string();
    assert!(refused.contains("4 lines"), "{refused}");
}

#[tokio::test]
async fn without_a_record_the_node_alone_is_believed() {
    let mut desk = Desk::new();
    desk.write(&numbers(5));
    desk.publish().await.unwrap();
    std::fs::remove_dir_all(desk.place.path().join("records")).unwrap();
    let again = desk.publish().await.unwrap();
    assert_eq!((again.accepted, again.already_there), (0, 5));
    assert_eq!(desk.told, [Told::Resumes { line: 6, checked: false }]);
}

#[tokio::test(start_paused = true)]
async fn patience_ends_with_the_reason() {
    let mut desk = Desk::new();
    desk.write(&numbers(3));
    desk.faults(&[Fault::Full; 1000]);
    let ended = desk.publish().await.unwrap_err().to_string();
    assert!(ended.contains("nothing moved for 5 s") && ended.contains("Backpressure"), "{ended}");
    assert_eq!(desk.told, [Told::Waits("Backpressure".to_owned())], "told once");

    let desk = Desk::new();
    desk.write(&numbers(3));
    desk.faults(&[Fault::LoseRequest]);
    let mut route = desk.route.clone();
    let source = Source::open(Some(&desk.place.path().join("source"))).unwrap();
    let node = Arc::clone(&desk.route.0);
    let plan = desk.plan();
    let ended = publish(&mut route, source, &plan, |_| node.lock().unwrap().finds_that_fail = 1000).await;
    assert_eq!(ended.unwrap_err(), Failure::Unreachable("not yet".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_paused_stream_is_waited_for_and_that_is_said_once() {
    let mut desk = Desk::new();
    desk.write(&numbers(3));
    desk.faults(&[Fault::Paused; 9]);
    assert_eq!(desk.publish().await.unwrap().accepted, 3);
    assert_eq!(desk.told, [Told::Waits("Paused".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_a_rate_is_published_to_when_it_says_and_nothing_is_late_before_that() {
    let mut desk = Desk::new();
    desk.write(&numbers(6));
    // Longer than it has patience, each.
    let waits = Fault::Throttled(30);
    desk.faults(&[Fault::None, waits, Fault::None, waits, Fault::None]);
    let begun = tokio::time::Instant::now();
    assert_eq!(desk.publish().await.unwrap().accepted, 6);
    let took = begun.elapsed().as_secs();
    assert!((60..70).contains(&took), "{took} s");
    assert_eq!(desk.told, [Told::Waits("Throttled".to_owned())], "once, however often it waits");
}

#[tokio::test]
async fn a_pipe_is_a_new_writer_each_time() {
    let mut route = FakeRoute::default();
    let desk = Desk::new();
    let mut writers = Vec::new();
    for _ in 0..2 {
        let source = Source::open(Some(Path::new("/dev/null"))).unwrap();
        let summary = publish(&mut route, source, &desk.plan(), |_| {}).await.unwrap();
        assert_eq!((summary.accepted, summary.already_there), (0, 0));
        writers.push(summary.writer);
    }
    assert_ne!(writers[0], writers[1]);
}
