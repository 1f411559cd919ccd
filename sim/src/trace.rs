//! The rolling 128-bit hash over everything that happened, and, when asked for, the same as readable lines.
//!
//! Two runs of one plan must end with equal hashes, on every platform, in debug and release: nothing that depends on an address,
//! a clock of the host or the order of a hash map may reach it.

use std::collections::VecDeque;

const KEY_A: u64 = 0xa076_1d64_78bd_642f;
const KEY_B: u64 = 0xe703_7ed1_a0b4_28db;

const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A 64-bit digest of bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    let mut state = KEY_A ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(16);
    for chunk in &mut chunks {
        let (low, high) = chunk.split_at(8);
        state = fold(word(low) ^ KEY_B, word(high) ^ state);
    }
    let rest = chunks.remainder();
    let (low, high) = rest.split_at(rest.len().min(8));
    fold(word(low) ^ KEY_B, word(high) ^ state) ^ rest.len() as u64
}

/// Up to eight bytes as a number, little endian. Bytes that are read twice land on their own place twice: a copy of a length that
/// only the run knows would cost more.
fn word(bytes: &[u8]) -> u64 {
    if let Ok(all) = <[u8; 8]>::try_from(bytes) {
        return u64::from_le_bytes(all);
    }
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let shift = 8 * (bytes.len() - 4) as u32;
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift
        }
        _ => bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)),
    }
}

/// Which readable lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// None: the hash alone.
    Off,
    /// The last so many.
    Last(usize),
    /// All of them.
    All,
    /// None; structured events with their causes instead: see [`crate::record`].
    Events,
}

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    low: u64,
    high: u64,
    recording: Recording,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self { low: KEY_A, high: KEY_B, recording, lines: VecDeque::new() }
    }

    /// Something happened at `at` to `node`: its kind and a digest of its content.
    pub fn add(&mut self, at: u64, node: usize, kind: u8, content: u64) {
        let place = (node as u64) << 8 | u64::from(kind);
        self.low = fold(self.low ^ at, KEY_B ^ content).wrapping_add(self.high);
        self.high = fold(self.high ^ place, KEY_A ^ self.low);
    }

    /// Keeps a readable line, if lines are kept at all.
    pub fn line(&mut self, text: impl FnOnce() -> String) {
        match self.recording {
            Recording::Off | Recording::Events => return,
            Recording::Last(most) => {
                if self.lines.len() >= most {
                    self.lines.pop_front();
                }
            }
            Recording::All => {}
        }
        self.lines.push_back(text());
    }

    /// The hash so far.
    #[must_use]
    pub fn hash(&self) -> u128 {
        u128::from(fold(self.high ^ KEY_A, self.low)) << 64 | u128::from(fold(self.low ^ KEY_B, self.high))
    }

    /// The lines kept.
    #[must_use]
    pub fn into_lines(mut self) -> Vec<String> {
        self.take_lines()
    }

    /// Takes the lines kept so far.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_what_happened_reaches_the_hash() {
        let hash = |at, node, kind, content| {
            let mut trace = Trace::new(Recording::Off);
            trace.add(at, node, kind, content);
            trace.add(9, 9, 9, 9);
            trace.hash()
        };
        let all = [hash(1, 2, 3, 4), hash(2, 2, 3, 4), hash(1, 3, 3, 4), hash(1, 2, 4, 4), hash(1, 2, 3, 5)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_eq!(hash(1, 2, 3, 4), all[0]);
    }

    #[test]
    fn digests_see_order_length_and_every_byte() {
        let bytes: Vec<u8> = (0..100).collect();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(digest(&bytes), digest(&other), "byte {at}");
            assert_ne!(digest(&bytes), digest(&bytes[..at]), "length {at}");
        }
        assert_ne!(digest(&[0; 3]), digest(&[0; 4]));
    }

    #[test]
    fn a_few_bytes_are_the_number_they_begin() {
        let bytes = [0x81, 0x92, 0xa3, 0xb4, 0xc5, 0xd6, 0xe7, 0xf8];
        for len in 0..=bytes.len() {
            let mut padded = [0; 8];
            padded[..len].copy_from_slice(&bytes[..len]);
            assert_eq!(word(&bytes[..len]), u64::from_le_bytes(padded), "{len} bytes");
        }
    }

    #[test]
    fn only_the_last_lines_are_kept_when_a_number_is_given() {
        let mut trace = Trace::new(Recording::Last(2));
        for n in 0..5 {
            trace.line(|| n.to_string());
        }
        assert_eq!(trace.into_lines(), ["3", "4"]);
        let mut off = Trace::new(Recording::Off);
        off.line(|| unreachable!("nothing is formatted when nothing is kept"));
        assert!(off.into_lines().is_empty());
    }
}
