//! What a replay is handed (X37).

use wattle_core::digest::Digest;
use wattle_core::id::{AttachToken, StreamInstance};
use wattle_core::node::command::{Position, Range};
use wattle_core::node::output::Delivery;

use super::{Checked, Failure, StreamLedger, ensure};
use crate::content;
use crate::random::Draws;

/// A replay that is under way.
#[derive(Debug)]
struct Replay {
    token: AttachToken,
    instance: StreamInstance,
    /// Everything up to here was handed over, or lies in front.
    handed: u64,
    /// Nothing was handed over yet.
    begins: bool,
    /// The messages that were handed over and not done with.
    open: Vec<u64>,
    pieces: Vec<u8>,
    took: u64,
}

/// The replays of one reader, one after the other.
#[derive(Debug)]
pub struct Reading {
    stream: usize,
    place: usize,
    range: Range,
    window: u64,
    replay: Option<Replay>,
    /// The highest sequence that it was ever handed.
    upto: u64,
}

impl Reading {
    /// Nothing was read yet, of the plan's stream at the target in that place.
    #[must_use]
    pub fn new(stream: usize, place: usize) -> Self {
        Self { stream, place, range: Range::default(), window: 0, replay: None, upto: 0 }
    }

    /// The token under which messages come.
    #[must_use]
    pub fn token(&self) -> Option<AttachToken> {
        self.replay.as_ref().map(|replay| replay.token)
    }

    /// The highest sequence that it was ever handed.
    #[must_use]
    pub const fn upto(&self) -> u64 {
        self.upto
    }

    /// It asks for these messages, so many at a time.
    pub fn asked(&mut self, range: Range, window: u32) {
        (self.range, self.window) = (range, window.into());
    }

    /// A replay begins.
    ///
    /// # Errors
    /// X37.
    pub fn begun(&mut self, token: AttachToken, position: Position) -> Checked {
        let handed = position.sequence.0;
        let late = self.range.from.is_some_and(|from| handed >= from.0);
        ensure!(
            !late,
            "X37",
            "stream {}: a replay from {:?} begins behind {handed}",
            self.stream,
            self.range.from
        );
        let instance = position.instance;
        let (open, pieces) = (Vec::new(), Vec::new());
        self.replay = Some(Replay { token, instance, handed, begins: true, open, pieces, took: 0 });
        Ok(())
    }

    /// Messages are handed over. How many bytes of pieces were taken by now, if there were any, and whether a message ended.
    ///
    /// # Errors
    /// X37.
    pub fn handed(
        &mut self,
        delivery: &Delivery,
        ledger: &StreamLedger,
    ) -> Result<(Option<u64>, bool), Failure> {
        let (stream, place, to) = (self.stream, self.place, self.range.to);
        let Some(replay) = self.replay.as_mut().filter(|replay| replay.token == delivery.token) else {
            return Ok((None, false));
        };
        ensure!(
            replay.instance == delivery.instance,
            "X37",
            "stream {stream}: a replay of {} is handed {}",
            replay.instance,
            delivery.instance
        );
        let (mut took, mut ended) = (None, false);
        for message in &delivery.messages {
            let sequence = message.sequence.0;
            let (parts, bytes) = match message.piece {
                None => (1, message.bytes.clone()),
                Some(piece) => {
                    if piece.offset == 0 {
                        replay.pieces.clear();
                    }
                    let at = replay.pieces.len() as u64;
                    ensure!(
                        piece.offset == at,
                        "X37",
                        "stream {stream}: a piece of {sequence} is missing in a replay"
                    );
                    replay.pieces.extend_from_slice(&message.bytes);
                    replay.took += message.bytes.len() as u64;
                    took = Some(replay.took);
                    if (replay.pieces.len() as u64) < piece.total {
                        continue;
                    }
                    let bytes = std::mem::take(&mut replay.pieces);
                    let whole = Digest::of_bytes(&bytes) == piece.whole;
                    ensure!(
                        whole,
                        "X37",
                        "stream {stream}: {sequence} is read again, and is not what it is called"
                    );
                    (content::parts(piece.total), bytes.into())
                }
            };
            let next = replay.handed + parts;
            // One that begins ahead of the log may begin inside a message, and has all of that.
            let inside = replay.begins && (replay.handed + 1..next).contains(&sequence);
            ensure!(
                sequence == next || inside || ledger.may_have_gaps() && sequence > next,
                "X37",
                "stream {stream}: {sequence} is read again after {}",
                replay.handed
            );
            ensure!(
                to.is_none_or(|to| sequence <= to.0),
                "X37",
                "stream {stream}: {sequence} is read again, and the replay was to end with {to:?}"
            );
            ledger.reread(place, sequence, message, &bytes)?;
            (replay.handed, replay.begins) = (sequence, false);
            replay.open.push(sequence);
            self.upto = self.upto.max(sequence);
            ended = true;
        }
        ensure!(
            replay.open.len() as u64 <= self.window,
            "X37",
            "stream {stream}: {} messages of a replay are open, in a window of {}",
            replay.open.len(),
            self.window
        );
        Ok((took, ended))
    }

    /// It is done with some of what it has: up to which message, if it has any.
    pub fn done(&mut self, draws: &mut Draws) -> Option<u64> {
        let replay = self.replay.as_mut().filter(|replay| !replay.open.is_empty())?;
        let count = draws.between(1, replay.open.len() as u64) as usize;
        replay.open.drain(..count).next_back()
    }

    /// Whether it has more to do.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| !replay.open.is_empty())
    }

    /// It is told that it has everything of its range.
    ///
    /// # Errors
    /// X37.
    pub fn finished(&self, range: Range) -> Checked {
        ensure!(range.to.is_some(), "X37", "stream {}: a replay without an end has ended", self.stream);
        Ok(())
    }

    /// Nothing more comes.
    pub fn ended(&mut self) {
        self.replay = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Name;
    use crate::random::Purpose;
    use bytes::Bytes;
    use wattle_core::id::{AuthorityEpoch, MessageId, Sequence, WriterId, WriterSequence};
    use wattle_core::node::output::{Delivered, Piece};

    const INSTANCE: StreamInstance = StreamInstance(9);
    const TOKEN: AttachToken = AttachToken(1);
    const LEN: usize = 40;
    /// Bytes of the sixth message, which has three parts, and bears the number of the last of them.
    const LARGE: usize = 2 * content::PART_BYTES + 100;

    fn bytes(number: u64) -> Bytes {
        let len = if number == 6 { LARGE } else { LEN };
        content::write(Name { stream: 0, writer: 0, number, version: 0 }, len)
    }

    fn message(sequence: u64, number: u64, bytes: Bytes, piece: Option<Piece>) -> Delivered {
        let (sequence, id, writer) = (Sequence(sequence), MessageId(1), WriterId(70));
        Delivered {
            sequence,
            id,
            writer,
            writer_sequence: WriterSequence(number),
            bytes,
            piece,
            parked: false,
        }
    }

    fn small(number: u64) -> Delivered {
        message(number, number, bytes(number), None)
    }

    fn piece(offset: usize, len: usize) -> Delivered {
        let whole = bytes(6);
        let piece = Piece { offset: offset as u64, total: LARGE as u64, whole: Digest::of_bytes(&whole) };
        message(8, 6, whole.slice(offset..offset + len), Some(piece))
    }

    fn pieces() -> Vec<Delivered> {
        let starts = (0..LARGE).step_by(content::PART_BYTES);
        starts.map(|offset| piece(offset, content::PART_BYTES.min(LARGE - offset))).collect()
    }

    /// Five small messages and a large one, which the target's handler was given; it is done with those up to a sequence.
    fn ledger(done: u64) -> StreamLedger {
        let mut ledger = StreamLedger::new(0, &[WriterId(70)]);
        (1..=5).for_each(|number| ledger.sent(0, number, LEN, 0));
        ledger.staged(0, 6, LARGE, 0);
        for number in 1..=6 {
            let sequence = if number == 6 { 8 } else { number };
            ledger.seen(0, &message(sequence, number, bytes(number), None)).unwrap();
        }
        ledger.reported(0, done);
        ledger
    }

    fn reading(from: u64, to: u64, window: u32) -> Reading {
        let mut reading = Reading::new(0, 0);
        let given = |number| (number > 0).then_some(Sequence(number));
        reading.asked(Range { from: given(from), to: given(to) }, window);
        reading.begun(TOKEN, at(from.max(1) - 1)).unwrap();
        reading
    }

    fn at(sequence: u64) -> Position {
        Position { instance: INSTANCE, authority: AuthorityEpoch(0), sequence: Sequence(sequence) }
    }

    fn of(messages: Vec<Delivered>) -> Delivery {
        Delivery { token: TOKEN, instance: INSTANCE, messages }
    }

    fn run(numbers: std::ops::RangeInclusive<u64>) -> Delivery {
        of(numbers.map(small).collect())
    }

    fn broken<T: std::fmt::Debug>(result: Result<T, Failure>) {
        assert_eq!(result.expect_err("this breaks a promise").checker, "X37");
    }

    #[test]
    fn a_replay_in_order_passes_and_so_does_one_that_others_are_under_way_beside() {
        let ledger = ledger(8);
        let mut read = reading(2, 0, 9);
        assert_eq!(read.handed(&run(2..=5), &ledger).unwrap(), (None, true));
        for (at, piece) in pieces().into_iter().enumerate() {
            let took = LARGE.min((at + 1) * content::PART_BYTES) as u64;
            assert_eq!(read.handed(&of([piece].into()), &ledger).unwrap(), (Some(took), at == 2));
        }
        assert_eq!((read.upto(), read.has_more()), (8, true));
        let other = Delivery { token: AttachToken(2), ..run(1..=1) };
        assert_eq!(read.handed(&other, &ledger).unwrap(), (None, false), "nobody's");
        let mut draws = Draws::new(1, Purpose::Reading, 0, 0);
        let mut last = 0;
        while let Some(done) = read.done(&mut draws) {
            assert!(done > last);
            last = done;
        }
        assert_eq!((last, read.has_more()), (8, false));
        read.ended();
        assert_eq!(read.token(), None);
    }

    #[test]
    fn what_is_missing_comes_twice_or_is_outside_the_range_is_seen() {
        let ledger = ledger(8);
        broken(reading(2, 0, 9).handed(&run(3..=4), &ledger));
        let mut twice = reading(2, 0, 9);
        twice.handed(&run(2..=3), &ledger).unwrap();
        broken(twice.handed(&run(3..=3), &ledger));
        broken(reading(2, 3, 9).handed(&run(2..=4), &ledger));
        broken(reading(2, 0, 2).handed(&run(2..=4), &ledger));
        broken(reading(5, 0, 9).begun(TOKEN, at(5)));
        broken(reading(5, 0, 9).finished(Range { from: Some(Sequence(5)), to: None }));
        broken(reading(1, 0, 9).handed(&Delivery { instance: StreamInstance(8), ..run(1..=1) }, &ledger));
    }

    #[test]
    fn what_the_handler_has_not_processed_is_read_by_nobody() {
        let ledger = ledger(3);
        reading(1, 0, 9).handed(&run(1..=3), &ledger).unwrap();
        broken(reading(1, 0, 9).handed(&run(1..=4), &ledger));
    }

    #[test]
    fn other_bytes_another_message_and_another_writer_are_seen() {
        let ledger = ledger(8);
        for at in 0..LEN {
            let mut altered = bytes(1).to_vec();
            altered[at] ^= 1;
            broken(reading(1, 0, 9).handed(&of([message(1, 1, altered.into(), None)].into()), &ledger));
        }
        let longer = content::write(Name { stream: 0, writer: 0, number: 1, version: 0 }, LEN + 1);
        broken(reading(1, 0, 9).handed(&of([message(1, 1, longer, None)].into()), &ledger));
        let reworded = content::write(Name { stream: 0, writer: 0, number: 1, version: 1 }, LEN);
        broken(reading(1, 0, 9).handed(&of([message(1, 1, reworded, None)].into()), &ledger));
        let swapped = message(1, 2, bytes(2), None);
        broken(reading(1, 0, 9).handed(&of([swapped].into()), &ledger));
        let mut foreign = small(1);
        foreign.writer = WriterId(71);
        broken(reading(1, 0, 9).handed(&of([foreign].into()), &ledger));
    }

    #[test]
    fn a_missing_piece_and_pieces_that_are_not_the_whole_are_seen() {
        let ledger = ledger(8);
        let read = |order: &[usize]| {
            let mut read = reading(6, 0, 9);
            let all = pieces();
            order.iter().try_for_each(|&at| read.handed(&of([all[at].clone()].into()), &ledger).map(|_| ()))
        };
        read(&[0, 1, 2]).unwrap();
        read(&[0, 1, 0, 1, 2]).unwrap();
        let mut inside = reading(8, 0, 9);
        inside.handed(&of(pieces()), &ledger).unwrap();
        broken(reading(9, 0, 9).handed(&of(pieces()), &ledger));
        broken(inside.handed(&of(pieces()), &ledger));
        broken(read(&[0, 2]));
        broken(read(&[1]));
        let mut read = reading(6, 0, 9);
        let mut all = pieces();
        let mut altered = all[1].bytes.to_vec();
        altered[7] ^= 1;
        all[1].bytes = altered.into();
        broken(read.handed(&of(all), &ledger));
    }
}
