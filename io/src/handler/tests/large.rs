//! Messages that are handed over in pieces.

use wattle_core::digest::Digest;
use wattle_core::node::output;

use super::*;

const PART: usize = 100;

fn text(sequence: u64, bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at as u64 * 7 + sequence) as u8).collect()
}

/// All pieces of a large message.
fn pieces(sequence: u64, bytes: usize) -> Vec<Handed> {
    let (whole, total) = (text(sequence, bytes), bytes as u64);
    let piece = |from: usize| {
        let digest = Digest::of_bytes(&whole);
        let message = Delivered {
            sequence: Sequence(sequence),
            id: MessageId(sequence.into()),
            writer: WriterId(9),
            writer_sequence: WriterSequence(sequence + 100),
            bytes: whole.slice(from..bytes.min(from + PART)),
            piece: Some(output::Piece { offset: from as u64, total, whole: digest }),
            parked: false,
        };
        Handed::Delivery(Delivery {
            token: AttachToken(1),
            instance: INSTANCE,
            messages: [message].into_iter().collect(),
        })
    };
    (0..bytes).step_by(PART).map(piece).collect()
}

/// What a handler was given: whole messages, and pieces with where they begin.
#[derive(Default)]
struct Given {
    whole: Vec<(u64, Bytes)>,
    pieces: Vec<(u64, u64)>,
    /// To fail at that piece, once.
    fails_at: Option<u64>,
}

/// Takes whole messages only, each when it is let.
struct Whole(Arc<Mutex<Given>>, Arc<tokio::sync::Semaphore>);

/// Takes both.
struct Both(Whole);

impl Handler for Whole {
    async fn handle(&mut self, messages: &[Message]) -> Result<(), Failure> {
        for message in messages {
            self.1.acquire().await.unwrap().forget();
            let body = message.body().whole().await?;
            assert_eq!(body.len() as u64, message.length());
            self.0.lock().unwrap().whole.push((message.position.sequence.0, body));
        }
        Ok(())
    }
}

impl Handler for Both {
    async fn handle(&mut self, messages: &[Message]) -> Result<(), Failure> {
        self.0.handle(messages).await
    }

    async fn handle_piece(&mut self, piece: &Piece) -> Result<(), Failure> {
        let mut given = self.0.0.lock().unwrap();
        if given.fails_at == Some(piece.offset) {
            given.fails_at = None;
            return Err(Failure::message("the disk is full"));
        }
        given.pieces.push((piece.position.sequence.0, piece.offset));
        Ok(())
    }
}

struct Run {
    given: Arc<Mutex<Given>>,
    room: Arc<tokio::sync::Semaphore>,
    progress: watch::Receiver<Progress>,
    /// Dropped, it stops the handler.
    _stop: watch::Sender<bool>,
}

fn run<H: Handler>(doors: Vec<Attachment>, handler: impl FnOnce(Whole) -> H) -> Run {
    let options = Options {
        pause: Duration::from_millis(2),
        pause_most: Duration::from_millis(5),
        message_bytes: 350,
        ..Options::default()
    };
    let doors = Mutex::new(doors.into_iter().map(|door| Some(Ok(door))).collect());
    let node = StandIn { doors, asked: Arc::default(), instance: Arc::new(Mutex::new(Some(INSTANCE))) };
    let (shown, progress) = watch::channel(Progress::default());
    let (stop, stopped) = watch::channel(false);
    let (given, room): (Arc<Mutex<Given>>, _) = (Arc::default(), Arc::new(tokio::sync::Semaphore::new(100)));
    let handler = handler(Whole(Arc::clone(&given), Arc::clone(&room)));
    tokio::spawn(Runner::new(node, "words".into(), handler, options, shown, stopped).run());
    Run { given, room, progress, _stop: stop }
}

impl Run {
    async fn until(&mut self, holds: impl Fn(&Progress) -> bool) -> Progress {
        let shown = tokio::time::timeout(SOON, self.progress.wait_for(|progress| holds(progress)));
        shown.await.expect("in time").expect("told").clone()
    }
}

impl Side {
    fn hand_all(&self, handed: impl IntoIterator<Item = Handed>) {
        handed.into_iter().for_each(|handed| drop(self.hand.send(handed)));
    }

    /// Waits for a verdict up to that message; how many bytes of pieces were told to be taken by then.
    async fn processed_and_taken(&mut self, upto: u64) -> u64 {
        let mut taken = 0;
        loop {
            match tokio::time::timeout(SOON, self.heard.recv()).await.expect("in time") {
                Some(Urgent::Took { bytes, .. }) => taken = bytes,
                Some(Urgent::Verdict(verdict)) if verdict.take().0 >= upto => return taken,
                Some(Urgent::Verdict(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_large_message_is_put_together_and_handed_over_whole_in_its_place() {
    let (attachment, mut side) = door(0);
    let mut run = run(vec![attachment], |whole| whole);
    side.hand_all([delivery(1..=1)].into_iter().chain(pieces(5, 350)).chain([delivery(6..=6)]));
    side.processed_and_taken(6).await;
    let given = std::mem::take(&mut run.given.lock().unwrap().whole);
    assert_eq!(given, [(1, Bytes::from("message 1")), (5, text(5, 350)), (6, Bytes::from("message 6"))]);
    assert_eq!(run.until(|progress| progress.done.0 == 6).await.received, Sequence(6));
}

#[tokio::test]
async fn pieces_are_told_to_be_taken_of_the_message_that_is_next_and_of_no_other() {
    let (attachment, mut side) = door(0);
    let mut run = run(vec![attachment], |whole| whole);
    run.room.forget_permits(100);
    side.hand_all(pieces(4, 300));
    run.until(|progress| progress.processing.is_some()).await;
    side.hand_all(pieces(8, 350));
    run.room.add_permits(1);
    assert_eq!(side.processed_and_taken(4).await, 300, "more would be in memory");
    run.room.add_permits(1);
    assert_eq!(side.processed_and_taken(8).await, 650);
}

#[tokio::test]
async fn a_message_above_the_bound_is_a_failure_that_says_what_to_do_and_blocks_what_is_behind() {
    let ((first, mut before), (second, after)) = (door(0), door(1));
    let mut run = run(vec![first, second], |whole| whole);
    let handed = || pieces(5, 351).into_iter().chain([delivery(6..=6)]);
    before.hand_all([delivery(1..=1)].into_iter().chain(handed()));
    after.hand_all(handed());
    before.processed_and_taken(1).await;
    let attempts = |progress: &Progress| progress.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
    let trouble = run.until(|progress| attempts(progress) >= 2).await.trouble.expect("there");
    assert_eq!(trouble.message, Some(Sequence(5)));
    assert!(trouble.text.starts_with("message 5 has 351 bytes, more than this handler takes"), "{trouble:?}");
    assert!(trouble.text.contains("`message_bytes`"), "{trouble:?}");
    assert_eq!(run.given.lock().unwrap().whole.len(), 1, "nothing behind it is touched");
}

#[tokio::test]
async fn who_takes_pieces_gets_them_in_order_and_from_the_first_again_after_a_failure() {
    let ((first, mut before), (second, mut after)) = (door(0), door(1));
    let run = run(vec![first, second], Both);
    run.given.lock().unwrap().fails_at = Some(200);
    let handed = || pieces(5, 400).into_iter().chain([delivery(6..=6)]);
    before.hand_all([delivery(1..=1)].into_iter().chain(handed()));
    after.hand_all(handed());
    before.processed_and_taken(1).await;
    assert_eq!(after.processed_and_taken(6).await, 400, "each when it is next");
    while let Some(urgent) = before.heard.recv().await {
        assert!(!matches!(urgent, Urgent::Verdict(_)), "half a message is not processed: {urgent:?}");
    }
    let given = run.given.lock().unwrap();
    let offsets = [0, 100, 0, 100, 200, 300].map(|offset| (5, offset));
    assert_eq!(given.pieces, offsets);
    assert_eq!(given.whole.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 6]);
}
