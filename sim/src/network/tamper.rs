//! What a disturbed link does to whole frames: it drops them, repeats old ones, and flips their bits.

use bytes::Bytes;
use wattle_proto::frame::Kind;

use super::disturb::{Active, Disturbance};
use crate::coverage::sometimes;
use crate::frames::{self, Frames, HEADER, Parts};
use crate::random::Draws;

/// How many frames a link remembers to send them again.
const MEMORY: usize = 48;
/// Where the reserved byte of a message lies: the last place of its relay header that a bit is flipped in.
const RESERVED: usize = 7;

/// What became of the bytes of one transmit.
pub(super) struct Tampered {
    pub(super) bytes: Bytes,
    /// Old frames that come again with it.
    pub(super) repeated: Vec<Bytes>,
    /// Whether encryption will find it spoiled.
    pub(super) caught: bool,
}

impl Active {
    /// Sends the bytes of one transmit, which begin with a frame, through the disturbance.
    pub(super) fn tamper(&mut self, draws: &mut Draws, bytes: Bytes) -> Tampered {
        let mut tampered = Tampered { bytes, repeated: Vec::new(), caught: false };
        match self.what {
            Disturbance::Thinned { one_in } => tampered.bytes = thin(draws, &tampered.bytes, one_in),
            Disturbance::Replayed { one_in } => self.replay(draws, &mut tampered, one_in),
            Disturbance::Corrupt { one_in, caught } if draws.one_in(one_in) => match caught {
                true => {
                    sometimes!(SpoiltCaught);
                    tampered.caught = true;
                }
                false => tampered.bytes = flip(draws, &tampered.bytes),
            },
            _ => {}
        }
        tampered
    }

    /// Puts frames that travelled before behind those that travel now. Only what travels from end to end, and only behind such:
    /// then the handshake is over, and what comes late is what a slow relay could have brought.
    fn replay(&mut self, draws: &mut Draws, tampered: &mut Tampered, one_in: u64) {
        let bytes = std::mem::take(&mut tampered.bytes);
        let mut out = Vec::with_capacity(bytes.len());
        for frame in Frames::new(&bytes) {
            out.extend_from_slice(&bytes[frame.range.clone()]);
            if !frame.repeatable || !frames::travels(&bytes[frame.range.clone()]) {
                continue;
            }
            if !self.memory.is_empty() && draws.one_in(one_in) {
                let old = self.memory[draws.index(self.memory.len())].clone();
                out.extend_from_slice(&old);
                sometimes!(FrameReplayed);
                tampered.repeated.push(old);
            }
            if self.memory.len() < MEMORY {
                self.memory.push_back(Bytes::copy_from_slice(&bytes[frame.range]));
            } else if draws.one_in(8) {
                // So that some are very old.
                let place = draws.index(MEMORY);
                self.memory[place] = Bytes::copy_from_slice(&bytes[frame.range]);
            }
        }
        tampered.bytes = out.into();
    }
}

fn thin(draws: &mut Draws, bytes: &Bytes, one_in: u64) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len());
    for frame in Frames::new(bytes) {
        let may_go = frame.repeatable && frames::travels(&bytes[frame.range.clone()]);
        if may_go && draws.one_in(one_in) {
            sometimes!(FrameVanished);
        } else {
            out.extend_from_slice(&bytes[frame.range]);
        }
    }
    out.into()
}

/// Flips one bit where the receiver cannot but notice: where a decoder must refuse what it reads, or in the payload of a stream,
/// which nobody takes without its digest. Nothing in the clear guards the rest; that is what encryption is for. A frame too short for
/// the last of these places, which only a node that errs sends, passes as it is.
fn flip(draws: &mut Draws, bytes: &Bytes) -> Bytes {
    let whole: Vec<_> = Frames::new(bytes).filter(|frame| frame.range.len() > HEADER + RESERVED).collect();
    if whole.is_empty() {
        return bytes.clone();
    }
    let frame = whole[draws.index(whole.len())].range.clone();
    let payloads: Vec<_> = Parts::new(&bytes[frame.clone()])
        .filter(|part| part.kind == Kind::Stream as u8 && part.arrives && !part.payload.is_empty())
        .collect();
    let (place, bit) = if !payloads.is_empty() && draws.percent(50) {
        let payload = payloads[draws.index(payloads.len())].payload.clone();
        (payload.start + draws.index(payload.len()), draws.below(8))
    } else {
        draws.pick(&[
            // The magic, the version, the type.
            (0, 0),
            (1, 5),
            (3, 7),
            (4, 2),
            (5, 7),
            (6, 3),
            (7, 1),
            // A size over every limit.
            (11, 0),
            (11, 7),
            // The first message: class, flags, reserved byte.
            (HEADER + 1, 6),
            (HEADER + 2, 3),
            (HEADER + RESERVED, 0),
        ])
    };
    let mut out = bytes.to_vec();
    sometimes!(BitFlipped);
    out[frame.start + place] ^= 1 << bit;
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_proto::frame::{Class, Decoder, FrameKind, FrameWriter, MAX_FRAME, RelayHeader};

    fn batch(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut frame = FrameWriter::begin(&mut out, FrameKind::Batch, MAX_FRAME);
        frame.append(&RelayHeader::direct(kind, Class::Control), b"header", &[payload]).unwrap();
        frame.finish();
        out
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<Vec<u8>>, wattle_proto::frame::FrameError> {
        let mut decoder = Decoder::new();
        decoder.set_limit(MAX_FRAME);
        decoder.push(Bytes::copy_from_slice(bytes));
        let mut payloads = Vec::new();
        while let Some(frame) = decoder.next()? {
            payloads.extend(frame.into_iter().map(|message| message.payload.to_vec()));
        }
        Ok(payloads)
    }

    fn through(active: &mut Active, bytes: &[u8]) -> Tampered {
        let mut draws = active.draws(1, 0);
        active.tamper(&mut draws, Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn thinning_drops_whole_frames_that_travel_and_no_others() {
        let mut active = Active::new(1, Disturbance::Thinned { one_in: 2 });
        let (mut kept, mut pings) = (0, 0);
        for n in 0..100 {
            let bytes = [batch(Kind::Raft, &[n]), batch(Kind::Link, &[n]), batch(Kind::Route, &[n])].concat();
            let payloads = decoded(&through(&mut active, &bytes).bytes).unwrap();
            pings += payloads.len().min(2);
            kept += payloads.len() - 2;
        }
        assert_eq!(pings, 200);
        assert!((20..80).contains(&kept), "{kept} of 100 left");
    }

    #[test]
    fn old_frames_come_again_whole_and_only_those_that_travel() {
        let mut active = Active::new(1, Disturbance::Replayed { one_in: 2 });
        let mut again = 0;
        for n in 0..200u8 {
            let bytes = [batch(Kind::Link, &[n, 1]), batch(Kind::Stream, &[n])].concat();
            let tampered = through(&mut active, &bytes);
            let payloads = decoded(&tampered.bytes).unwrap();
            assert_eq!(payloads[..2], [vec![n, 1], vec![n]]);
            assert_eq!(payloads.len() - 2, tampered.repeated.len());
            assert!(payloads[2..].iter().all(|old| old.len() == 1 && old[0] < n), "{payloads:?} at {n}");
            again += tampered.repeated.len();
        }
        assert!((60..140).contains(&again), "{again} of 200");
        let alone = through(&mut active, &batch(Kind::Link, b"x"));
        assert!(alone.repeated.is_empty());
        let oldest = active.memory.iter().filter_map(|frame| frame.last()).min();
        assert!(oldest.is_some_and(|&n| n < 100), "some are very old: {oldest:?}");
    }

    #[test]
    fn no_bit_is_flipped_behind_the_end_of_a_short_frame() {
        let mut active = Active::new(1, Disturbance::Corrupt { one_in: 1, caught: false });
        for content in 0..12 {
            let short = crate::frames::frame(2, &vec![0; content]);
            let flipped = (0..100).filter(|_| through(&mut active, &short).bytes[..] != short[..]).count();
            assert_eq!(flipped, if content > RESERVED { 100 } else { 0 }, "{content} bytes in the frame");
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_by_the_decoder_or_lies_in_the_payload_of_a_stream() {
        let mut active = Active::new(1, Disturbance::Corrupt { one_in: 1, caught: false });
        let good =
            [batch(Kind::Raft, b"first"), batch(Kind::Stream, b"second"), batch(Kind::Link, b"x")].concat();
        let (mut refused, mut spoiled) = (0, 0);
        for _ in 0..200 {
            let tampered = through(&mut active, &good);
            assert!(!tampered.caught && tampered.bytes.len() == good.len());
            let flipped: u32 = good.iter().zip(&tampered.bytes).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(flipped, 1);
            match decoded(&tampered.bytes) {
                Err(_) => refused += 1,
                Ok(payloads) => {
                    assert_eq!((&payloads[0][..], &payloads[2][..]), (&b"first"[..], &b"x"[..]));
                    assert_ne!(payloads[1], b"second");
                    spoiled += 1;
                }
            }
        }
        assert!(refused > 100 && spoiled > 10, "{refused} refused, {spoiled} spoiled");
    }

    #[test]
    fn what_encryption_catches_is_one_transmit_in_so_many() {
        let mut active = Active::new(1, Disturbance::Corrupt { one_in: 4, caught: true });
        let good = batch(Kind::Raft, b"first");
        let caught = (0..200).filter(|_| through(&mut active, &good).caught).count();
        assert!((25..80).contains(&caught), "{caught} of 200");
    }
}
