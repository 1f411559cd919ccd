//! What a handler did, in its own file: one record for each message, in the order in which they came.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use bytes::Bytes;
use wattle_proto::api::{Message, Position};

use super::message;

/// Instance, authority, sequence, and the number that the message bears.
const RECORD: usize = 40;

/// The file; where it ends is where the handler goes on.
pub(crate) struct Effects {
    file: File,
    last: Option<[u8; RECORD]>,
    count: u64,
}

fn number(record: &[u8; RECORD], at: usize) -> u64 {
    u64::from_le_bytes(record[at..at + 8].try_into().expect("8 bytes"))
}

impl Effects {
    pub(crate) fn open(path: &Path) -> Self {
        let mut file =
            OpenOptions::new().create(true).read(true).append(true).open(path).expect("the handler's file");
        let count = file.metadata().expect("its length").len() / RECORD as u64;
        let last = (count > 0).then(|| {
            let mut record = [0; RECORD];
            file.seek(SeekFrom::Start((count - 1) * RECORD as u64)).expect("it is there");
            file.read_exact(&mut record).expect("readable");
            record
        });
        Self { file, last, count }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Behind the last message, as it is presented when the handler attaches.
    pub(crate) fn position(&self) -> Option<Position> {
        let record = self.last.as_ref()?;
        let instance = Bytes::copy_from_slice(&record[..16]);
        Some(Position { instance, authority: number(record, 16), sequence: number(record, 24) })
    }

    /// All that was handed over together is one write.
    pub(crate) fn apply(&mut self, instance: &Bytes, authority: u64, messages: &[Message]) {
        let mut records = Vec::with_capacity(messages.len() * RECORD);
        for Message { sequence, data, .. } in messages {
            let said = u64::from_le_bytes(data[..8].try_into().expect("8 bytes"));
            assert_eq!(*data, message(said), "message {sequence} is not what was published");
            records.extend_from_slice(instance);
            records.extend_from_slice(&authority.to_le_bytes());
            records.extend_from_slice(&sequence.to_le_bytes());
            records.extend_from_slice(&said.to_le_bytes());
        }
        self.file.write_all(&records).expect("written");
        self.count += messages.len() as u64;
        if let Some(last) = records.last_chunk() {
            self.last = Some(*last);
        }
    }

    /// # Panics
    ///
    /// Panics unless each message is there once, in the order in which they were published, and nothing else.
    pub(crate) fn are_all_in_order(mut self, target: &str, messages: u64) {
        self.file.seek(SeekFrom::Start(0)).expect("the beginning");
        let mut records = BufReader::with_capacity(1 << 20, self.file);
        let mut record = [0; RECORD];
        for expected in 1..=self.count {
            records.read_exact(&mut record).expect("as many as were written");
            let found = (number(&record, 24), number(&record, 32));
            assert_eq!(found, (expected, expected), "sequence and message at place {expected} of {target}");
        }
        assert_eq!(self.count, messages, "{target} handled all, and nothing else");
    }
}
