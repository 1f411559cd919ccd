//! Bytes of a connection, cut anywhere: a frame or an error, never a panic, and no more memory than came in.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wattle_proto::frame::{Decoder, FrameWriter, FrameKind, MAX_FRAME};

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cut, bytes) = input;
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    for piece in bytes.chunks(usize::from(cut).max(1)) {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    for message in frame {
                        // What was understood can be said again.
                        let mut out = Vec::new();
                        let mut writer = FrameWriter::begin(&mut out, FrameKind::Batch, MAX_FRAME);
                        writer.append_message(&message).expect("it came in a frame of that limit");
                        writer.finish();
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(decoder.held() <= bytes.len());
    }
});
