//! One group under load.

use crate::engine::{Engine, Setting, Traffic};
use crate::ours::Ours;
use crate::raft_rs::RaftRs;
use crate::statistics::{median, range, seconds};

/// Bytes of an entry.
const ENTRY_BYTES: usize = 128;
/// Applied entries are let go after so many.
const COMPACT_EVERY: usize = 8_192;

/// The three rivals, in the order of every table.
pub const NAMES: [&str; 3] = ["ours", "raft-rs", "raft-rs, batch_append"];

/// What was measured of one rival.
pub struct Row {
    /// Committed entries a second: the median of all rounds.
    pub rate: f64,
    /// Messages for each entry.
    pub messages: f64,
    /// Bytes of messages for each entry; 0 if none was encoded.
    pub bytes: f64,
    /// Ours against this one, round by round: median, least and most.
    pub ratio: (f64, f64, f64),
}

/// An entry that tells its number.
fn entry(number: u64) -> Vec<u8> {
    let mut data = vec![number as u8; ENTRY_BYTES];
    data[..8].copy_from_slice(&number.to_be_bytes());
    data
}

/// One rival, and what it has been given so far.
struct Contestant {
    engine: Box<dyn Engine>,
    next: u64,
    since_compaction: usize,
    rates: Vec<f64>,
    said: Traffic,
}

impl Contestant {
    fn new(engine: Box<dyn Engine>) -> Self {
        let said = engine.traffic();
        Self { engine, next: 0, since_compaction: 0, rates: Vec::new(), said }
    }

    /// Commits so many batches; the time it took in seconds, without the making and checking of entries.
    fn commit(&mut self, batches: usize, batch: usize) -> f64 {
        let first = self.next;
        let made: Vec<Vec<Vec<u8>>> = (0..batches)
            .map(|_| {
                let numbers = self.next..self.next + batch as u64;
                self.next = numbers.end;
                numbers.map(entry).collect()
            })
            .collect();
        let begun = seconds();
        for proposals in made {
            self.since_compaction += proposals.len();
            self.engine.round(0, proposals);
            if self.since_compaction >= COMPACT_EVERY {
                self.engine.compact(0);
                self.since_compaction = 0;
            }
        }
        let took = seconds() - begun;
        for applied in self.engine.take_applied() {
            assert_eq!(applied.len() as u64, self.next - first, "entries that a replica applied");
            for (number, data) in (first..).zip(applied) {
                assert_eq!(data, entry(number), "entry {number} of a replica");
            }
        }
        took
    }
}

/// Lets the rivals commit `entries` entries each in turn, `rounds` times.
pub fn measure(batch: usize, entries: usize, rounds: usize, encoded: bool) -> [Row; 3] {
    let setting = Setting { groups: 1, encoded };
    let mut rivals: [Contestant; 3] = [
        Contestant::new(Box::new(Ours::new(setting))),
        Contestant::new(Box::new(RaftRs::new(setting, false))),
        Contestant::new(Box::new(RaftRs::new(setting, true))),
    ];
    let batches = entries.div_ceil(batch);
    for rival in &mut rivals {
        rival.commit(batches.div_ceil(4), batch);
        rival.said = rival.engine.traffic();
    }
    let counted_from = rivals[0].next;
    for _ in 0..rounds {
        for rival in &mut rivals {
            let took = rival.commit(batches, batch);
            rival.rates.push((batches * batch) as f64 / took);
        }
    }
    let ours = rivals[0].rates.clone();
    rivals.map(|rival| {
        let (said, committed) = (rival.engine.traffic(), (rival.next - counted_from) as f64);
        let ratios: Vec<f64> = ours.iter().zip(&rival.rates).map(|(ours, theirs)| ours / theirs).collect();
        let (least, most) = range(&ratios);
        Row {
            rate: median(&rival.rates),
            messages: (said.messages - rival.said.messages) as f64 / committed,
            bytes: (said.bytes - rival.said.bytes) as f64 / committed,
            ratio: (median(&ratios), least, most),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_replicas_of_all_rivals_apply_what_was_proposed() {
        for encoded in [false, true] {
            for batch in [1, 64, 1_024] {
                let rows = measure(batch, 3_000, 2, encoded);
                assert!(rows.iter().all(|row| row.rate > 0.0 && row.messages > 0.0));
                assert!(rows.iter().all(|row| (row.bytes > 2.0 * ENTRY_BYTES as f64) == encoded));
            }
        }
    }
}
