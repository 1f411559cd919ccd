use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;

fn message(kind: Kind, path: &[u16], header: &'static [u8], payload: &'static [u8]) -> Message {
    Message {
        relay: RelayHeader::along(kind, Class::Bulk, Path::new(path).unwrap()).of_tenant(0x0403_0201),
        header: Bytes::from_static(header),
        payload: Bytes::from_static(payload),
    }
}

fn frame(kind: FrameKind, messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(&mut out, kind, MAX_FRAME);
    for message in messages {
        writer.append_message(message).unwrap();
    }
    let size = writer.finish();
    assert_eq!(size, out.len());
    out
}

fn batch(messages: &[Message]) -> Vec<u8> {
    frame(FrameKind::Batch, messages)
}

/// Everything a decoder says about bytes that come in the given pieces.
fn decode(pieces: &[&[u8]]) -> Result<Vec<Message>, FrameError> {
    let mut decoder = Decoder::new();
    let mut all = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next()? {
            all.extend(frame);
        }
    }
    Ok(all)
}

fn refusal(bytes: &[u8]) -> FrameError {
    decode(&[bytes]).expect_err("must be refused")
}

fn sample() -> Vec<Message> {
    vec![
        message(Kind::Stream, &[0x0102, 0xfffe, 3], b"header", b"payload"),
        message(Kind::Link, &[], b"", b""),
        message(Kind::Raft, &[7; MAX_PATH], b"", b"only a payload"),
        message(Kind::Notice, &[9], b"only a header", b""),
    ]
}

#[test]
fn every_cut_of_the_bytes_gives_the_same_messages() {
    let sample = sample();
    let mut bytes = batch(&sample);
    bytes.extend(batch(&sample[1..2]));
    let mut expected = sample.clone();
    expected.push(sample[1].clone());
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(decode(&pieces).unwrap(), expected, "cut at {first} and {second}");
        }
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(&single).unwrap(), expected);
}

#[test]
fn a_walk_sees_the_messages_that_a_decoder_gives_and_ends_where_bytes_make_none() {
    let glances = |bytes: &[u8]| -> Vec<Message> {
        let owned = |glance: Glance<'_>| Message {
            relay: glance.relay,
            header: Bytes::copy_from_slice(glance.header),
            payload: Bytes::copy_from_slice(glance.payload),
        };
        Walk::new(bytes).map(owned).collect()
    };
    let sample = sample();
    let mut bytes = batch(&sample);
    let first = bytes.len();
    let mut skipped = batch(&sample);
    skipped[7] = 0x80;
    bytes.extend(skipped);
    bytes.extend(batch(&sample[1..2]));
    assert_eq!(glances(&bytes), decode(&[&bytes]).unwrap());
    for cut in 0..bytes.len() {
        assert_eq!(glances(&bytes[..cut]).len(), if cut < first { 0 } else { 4 }, "cut at {cut}");
    }
    bytes[first + 4] = 9;
    assert_eq!(glances(&bytes), sample, "a version nobody speaks ends it");
    let mut spoilt = batch(&sample);
    spoilt[FRAME_HEADER + sample[0].encoded_len()] = 0x7f;
    assert_eq!(glances(&spoilt), sample[..1], "a kind nobody knows ends it");
}

#[test]
fn a_frame_within_one_piece_is_not_copied() {
    let received = Bytes::from(batch(&sample()));
    let range = received.as_ptr() as usize..received.as_ptr() as usize + received.len();
    let mut decoder = Decoder::new();
    decoder.push(received.clone());
    let messages: Vec<Message> = decoder.next().unwrap().unwrap().into_iter().collect();
    assert!(range.contains(&(messages[0].header.as_ptr() as usize)));
    assert!(range.contains(&(messages[0].payload.as_ptr() as usize)));
    assert!(range.contains(&(messages[2].payload.as_ptr() as usize)));
    assert_eq!(decoder.held(), 0);
}

#[test]
fn an_incomplete_frame_is_never_given_out_and_holds_only_what_came() {
    let bytes = batch(&sample());
    for cut in 0..bytes.len() {
        let mut decoder = Decoder::new();
        decoder.push(Bytes::copy_from_slice(&bytes[..cut]));
        assert_eq!(decoder.next(), Ok(None), "cut at {cut}");
        assert_eq!(decoder.held(), cut);
    }
}

#[test]
fn garbage_is_refused_at_its_first_wrong_byte() {
    for wrong in 0..4 {
        let mut start = MAGIC;
        start[wrong] ^= 0x20;
        let error = refusal(&start[..=wrong]);
        assert_eq!(error, FrameError { offset: 0, fault: Fault::Magic });
    }
    assert_eq!(refusal(b"GET / HTTP/1.1\r\n").fault, Fault::Magic);
    assert_eq!(decode(&[b"W", b"T", b"L"]), Ok(vec![]));
}

#[test]
fn an_error_names_the_place_and_stays() {
    let first = batch(&sample()[..1]);
    let mut bytes = first.clone();
    bytes.extend(b"nonsense");
    let mut decoder = Decoder::new();
    decoder.push(Bytes::from(bytes));
    assert!(decoder.next().unwrap().is_some());
    let error = FrameError { offset: first.len() as u64, fault: Fault::Magic };
    assert_eq!(decoder.next(), Err(error));
    decoder.push(Bytes::from(first));
    assert_eq!(decoder.next(), Err(error), "good bytes do not mend a broken connection");
    assert_eq!(decoder.held(), 0, "a broken connection holds nothing");
}

#[test]
fn frame_header_fields_are_checked_at_their_boundaries() {
    let good = batch(&sample());
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        refusal(&frame)
    };
    for version in [0u16, VERSIONS.1 + 1, u16::MAX] {
        let expected = FrameError { offset: 4, fault: Fault::Version(version) };
        assert_eq!(with(4, &version.to_le_bytes()), expected);
    }
    for kind in [0u16, 3, 0x7fff] {
        let expected = FrameError { offset: 6, fault: Fault::FrameType(kind) };
        assert_eq!(with(6, &kind.to_le_bytes()), expected);
    }
    assert_eq!(with(8, &0u32.to_le_bytes()), FrameError { offset: 12, fault: Fault::Empty });
}

#[test]
fn a_size_over_the_limit_is_refused_from_the_header_alone() {
    let header = |size: u32| {
        let mut bytes = batch(&sample());
        bytes.truncate(FRAME_HEADER);
        bytes[8..].copy_from_slice(&size.to_le_bytes());
        Bytes::from(bytes)
    };
    let check = |limit: Option<usize>, highest: usize| {
        let mut decoder = Decoder::new();
        if let Some(limit) = limit {
            decoder.set_limit(limit);
        }
        let mut twin = decoder.clone();
        decoder.push(header(highest as u32));
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.held() <= FRAME_HEADER, "nothing is set aside for what was only announced");
        for over in [highest as u32 + 1, u32::MAX] {
            let mut decoder = twin.clone();
            decoder.push(header(over));
            let fault = Fault::TooLarge { size: over, limit: highest as u32 };
            assert_eq!(decoder.next(), Err(FrameError { offset: 8, fault }));
        }
        twin.push(Bytes::new());
        assert_eq!(twin.next(), Ok(None));
    };
    check(None, HANDSHAKE_FRAME);
    check(Some(1000), 1000);
    check(Some(MAX_FRAME), MAX_FRAME);
    check(Some(usize::MAX), MAX_FRAME);
}

#[test]
fn the_largest_message_passes_and_one_byte_more_does_not() {
    let relay = RelayHeader::direct(Kind::Stream, Class::Bulk);
    let header = vec![1u8; usize::from(u16::MAX)];
    let payload = vec![2u8; MAX_FRAME - RELAY_HEADER - header.len()];
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(&mut out, FrameKind::Batch, usize::MAX);
    let too_much = [&payload[..], b"x"];
    let full = writer.append(&relay, &header, &too_much).unwrap_err();
    assert_eq!(full, Full { needed: MAX_FRAME + 1, header: 65535, room: MAX_FRAME });
    assert!(full.for_ever(MAX_FRAME));
    assert!(writer.is_empty(), "nothing is written of what does not fit");
    let long_header = vec![1u8; usize::from(u16::MAX) + 1];
    assert!(writer.append(&relay, &long_header, &[b""]).unwrap_err().for_ever(MAX_FRAME));
    writer.append(&relay, &header, &[&payload[..1000], &payload[1000..]]).unwrap();
    assert!(
        !writer.append(&relay, &[], &[b""]).unwrap_err().for_ever(MAX_FRAME),
        "it fits into the next frame"
    );
    writer.finish();
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    for piece in out.chunks(64 << 10) {
        decoder.push(Bytes::copy_from_slice(piece));
    }
    let messages: Vec<Message> = decoder.next().unwrap().unwrap().into_iter().collect();
    assert_eq!((messages.len(), messages[0].header.len()), (1, header.len()));
    assert_eq!(messages[0].payload, payload);
}

#[test]
fn relay_header_fields_are_checked_at_their_boundaries() {
    let good = batch(&[message(Kind::Raft, &[1, 2], b"hh", b"ppp")]);
    let with = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[FRAME_HEADER + at] = byte;
        decode(&[&frame])
    };
    let refused = |at: usize, byte: u8, offset: usize, fault: Fault| {
        let offset = (FRAME_HEADER + offset) as u64;
        assert_eq!(with(at, byte), Err(FrameError { offset, fault }), "byte {at} = {byte}");
    };
    for kind in (0..=u8::MAX).filter(|kind| !(1..=8).contains(kind)) {
        if kind < OPTIONAL_KINDS {
            refused(0, kind, 0, Fault::Kind(kind));
        } else {
            assert_eq!(with(0, kind), Ok(vec![]), "kind {kind} is skipped");
        }
    }
    for class in 3..=u8::MAX {
        refused(1, class, 1, Fault::Class(class));
    }
    for flags in 2..=u8::MAX {
        refused(2, flags, 2, Fault::Flags(flags));
    }
    for byte in 0..=u8::MAX {
        assert_eq!(with(3, byte).unwrap()[0].relay.ttl(), byte);
        assert_eq!(with(4, byte).unwrap()[0].relay.repairs_left(), byte);
    }
    for length in 16..=u8::MAX {
        refused(5, length, 5, Fault::PathLength(length));
    }
    for hop in 3..=u8::MAX {
        refused(6, hop, 6, Fault::HopIndex { hop, length: 2 });
    }
    for reserved in 1..=u8::MAX {
        refused(7, reserved, 7, Fault::Reserved(reserved));
    }
    // Lengths: one less leaves bytes that are no message, one more reaches past the frame.
    for at in [12, 14] {
        let length = good[FRAME_HEADER + at];
        refused(at, length + 1, 0, Fault::Cut);
        assert_eq!(with(at, length - 1).unwrap_err().fault, Fault::Cut);
    }
    for at in [13, 15, 16, 17] {
        refused(at, 0xff, 0, Fault::Cut);
    }
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_local()) {
        refused(0, kind as u8, 5, Fault::PathForbidden(kind));
    }
}

#[test]
fn a_message_cut_by_the_end_of_its_frame_is_refused_at_every_length() {
    let whole = batch(&sample()[..1]);
    for size in 1..whole.len() - FRAME_HEADER {
        let mut frame = whole[..FRAME_HEADER + size].to_vec();
        frame[8..12].copy_from_slice(&(size as u32).to_le_bytes());
        assert_eq!(refusal(&frame), FrameError { offset: 12, fault: Fault::Cut }, "{size} bytes");
    }
}

#[test]
fn a_hello_frame_holds_one_link_message_and_nothing_else() {
    let link = || message(Kind::Link, &[], b"hello", b"");
    assert_eq!(decode(&[&frame(FrameKind::Hello, &[link()])]), Ok(vec![link()]));
    let wrong: [&[Message]; 3] = [&[link(), link()], &[message(Kind::Join, &[], b"", b"")], &sample()];
    for messages in wrong {
        assert_eq!(refusal(&frame(FrameKind::Hello, messages)).fault, Fault::Hello);
    }
}

#[test]
fn frames_of_an_optional_type_are_skipped_within_the_limit() {
    let mut bytes = batch(&sample());
    bytes[6..8].copy_from_slice(&0x8001u16.to_le_bytes());
    let later = batch(&sample()[..1]);
    bytes.extend(&later);
    assert_eq!(decode(&[&bytes]), Ok(sample()[..1].to_vec()));
    bytes[8..12].copy_from_slice(&(HANDSHAKE_FRAME as u32 + 1).to_le_bytes());
    assert!(matches!(refusal(&bytes).fault, Fault::TooLarge { .. }));
}

#[test]
fn an_unfinished_or_empty_frame_leaves_no_trace() {
    let mut out = vec![42];
    let mut writer = FrameWriter::begin(&mut out, FrameKind::Batch, 1000);
    writer.append_message(&sample()[0]).unwrap();
    drop(writer);
    assert_eq!(out, [42]);
    assert_eq!(FrameWriter::begin(&mut out, FrameKind::Batch, 1000).finish(), 0);
    assert_eq!(out, [42]);
}

#[test]
fn an_encoded_header_equals_one_encoded_before() {
    let header = alloc::string::String::from("any message");
    let relay = RelayHeader::direct(Kind::Mesh, Class::Priority);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let mut writer = FrameWriter::begin(&mut one, FrameKind::Batch, 1000);
    writer.append_encoded(&relay, &header, &[b"p"]).unwrap();
    writer.finish();
    let mut writer = FrameWriter::begin(&mut two, FrameKind::Batch, 1000);
    writer.append(&relay, &prost::Message::encode_to_vec(&header), &[b"p"]).unwrap();
    writer.finish();
    assert_eq!(one, two);
}

#[test]
fn steps_use_up_the_path_and_write_the_way_back() {
    let mut relay = RelayHeader::along(Kind::Raft, Class::Control, Path::new(&[11, 22, 33]).unwrap());
    assert_eq!(relay.ttl(), 3);
    assert_eq!(relay.step(101), Step::Relay(11));
    assert_eq!(relay.step(102), Step::Relay(22));
    assert_eq!(relay.path().ahead(), [33]);
    assert_eq!(relay.path().back().labels(), [102, 101], "a relay can answer from the middle");
    assert_eq!(relay.step(103), Step::Relay(33));
    assert_eq!(relay.ttl(), 0);
    assert_eq!(relay.step(104), Step::Arrived, "a message for this node arrives whatever its ttl says");
    assert_eq!(relay.step(104), Step::Arrived, "arriving changes nothing");
    let back = relay.path().back();
    assert_eq!((back.labels(), back.hop()), (&[103, 102, 101][..], 0));
}

#[test]
fn a_message_whose_ttl_is_used_up_expires_at_a_relay_only() {
    let path = Path::new(&[11, 22]).unwrap();
    let mut relay = RelayHeader::along(Kind::Raft, Class::Control, path).with_ttl(1);
    assert_eq!(relay.step(101), Step::Relay(11));
    let before = relay;
    assert_eq!(relay.step(102), Step::Expired);
    assert_eq!(relay, before, "what expires is left as it is, for the notice");
    assert_eq!(relay.path().back().labels(), [101]);
}

#[test]
fn a_path_has_at_most_fifteen_labels() {
    assert_eq!(Path::new(&[1; 15]).map(|path| path.labels().len()), Ok(15));
    assert_eq!(Path::new(&[1; 16]), Err(TooLong(16)));
}

#[test]
#[should_panic(expected = "neighbours only")]
fn a_local_kind_has_no_path() {
    let _ = RelayHeader::along(Kind::Link, Class::Control, Path::new(&[1]).unwrap());
}

#[test]
fn congestion_marks_travel_and_stay() {
    let mut marked = sample()[0].clone();
    assert!(!marked.relay.congested());
    marked.relay.mark_congested();
    assert!(decode(&[&batch(&[marked])]).unwrap()[0].relay.congested());
}

/// A small generator of its own: this crate has no other.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}

#[test]
fn random_bytes_never_panic_and_never_hold_more_than_came_in() {
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let good = {
        let mut bytes = batch(&sample());
        bytes.extend(frame(FrameKind::Hello, &[message(Kind::Link, &[], b"hello", b"")]));
        bytes.extend(batch(&sample()[2..]));
        bytes
    };
    let (mut refused, mut passed) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = good.clone();
        match round % 4 {
            0 => (0..1 + random.next(3)).for_each(|_| {
                let at = random.next(bytes.len());
                bytes[at] = random.next(256) as u8;
            }),
            1 => {
                let at = random.next(bytes.len());
                bytes.truncate(at);
            }
            2 => {
                let at = random.next(bytes.len());
                bytes.insert(at, random.next(256) as u8);
            }
            _ => {
                let length = random.next(100);
                bytes = MAGIC.into_iter().chain((0..length).map(|_| random.next(256) as u8)).collect();
                if let Some(start) = bytes.get_mut(4..8) {
                    start.copy_from_slice(&[1, 0, 2, 0]);
                }
            }
        }
        let mut decoder = Decoder::new();
        let mut rest = &bytes[..];
        let mut given = 0;
        let outcome = loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    given += FRAME_HEADER + frame.len();
                    let sum: usize = frame.clone().into_iter().map(|message| message.encoded_len()).sum();
                    assert!(sum <= frame.len());
                }
                Ok(None) if rest.is_empty() => break true,
                Ok(None) => {
                    let (piece, later) = rest.split_at(1 + random.next(rest.len()));
                    decoder.push(Bytes::copy_from_slice(piece));
                    rest = later;
                    assert!(decoder.held() <= bytes.len());
                }
                Err(error) => {
                    assert!(error.offset <= bytes.len() as u64, "{error}");
                    break false;
                }
            }
        };
        assert!(given <= bytes.len());
        if outcome {
            passed += 1;
        } else {
            refused += 1;
        }
    }
    assert!(refused > 5_000 && passed > 1_000, "both outcomes occur: {refused} refused, {passed} passed");
}

/// One message of each kind as it was when the format was fixed: version 1 must read and write these for ever.
#[test]
fn stored_vectors_are_read_and_written_alike() {
    let stored = include_str!("vectors.txt");
    let mut lines = stored.lines().filter(|line| !line.starts_with('#'));
    for kind in Kind::ALL {
        let path: &[u16] = if kind.is_local() { &[] } else { &[0x1234, 0xabcd] };
        let mut message = message(kind, path, b"head", b"payload");
        if !kind.is_local() {
            message.relay.step(0x4321);
            message.relay.mark_congested();
        }
        let bytes = batch(&[message.clone()]);
        let hex: String = bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        let line = alloc::format!("{kind:?} {hex}");
        assert_eq!(lines.next(), Some(line.as_str()), "{line}");
        assert_eq!(decode(&[&bytes]), Ok(vec![message]));
    }
    let hello = frame(FrameKind::Hello, &[message(Kind::Link, &[], b"head", b"")]);
    let hex: String = hello.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
    let line = alloc::format!("Hello {hex}");
    assert_eq!(lines.next(), Some(line.as_str()), "{line}");
    assert_eq!(lines.next(), None);
}
