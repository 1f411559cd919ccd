//! What a disk does to rows that it said were safe, and to those that a crash caught in the middle.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::random::Draws;

/// What is lost and torn in pieces of this size.
const SECTOR: usize = 512;

/// How much of a row goes bad at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rot {
    /// One bit.
    Bit,
    /// One byte.
    Byte,
    /// A whole sector.
    Sector,
}

/// Which rows may go bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Rows that the node has given up and that are not trimmed yet: it must not mind.
    Dead,
    /// Rows for which a later row on the disk speaks: the node must notice.
    Vouched,
    /// Any row.
    Any,
}

/// What a disk does behind the back of one sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// One row is reported synced and never written.
    Phantom,
    /// The bytes of one row land under the ticket of another.
    Misdirected,
}

/// A row with one bit, byte or sector of it changed.
#[must_use]
pub fn rotten(row: &Bytes, rot: Rot, draws: &mut Draws) -> Bytes {
    let mut bytes = row.to_vec();
    let place = draws.index(bytes.len());
    let Some(victim) = bytes.get_mut(place) else { return row.clone() };
    match rot {
        Rot::Bit => *victim ^= 1 << draws.index(8),
        Rot::Byte => *victim ^= draws.between(1, 255) as u8,
        Rot::Sector => {
            let start = place / SECTOR * SECTOR;
            let end = (start + SECTOR).min(bytes.len());
            let flip = draws.between(1, 255) as u8;
            bytes[start..end].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31) ^ flip);
            // Whatever the sector held before, it is not that now.
            bytes[place] = row[place] ^ flip;
        }
    }
    bytes.into()
}

/// A row as a crash in the middle of its write leaves it: cut short, or with sectors that were never written.
#[must_use]
pub fn torn(row: &Bytes, draws: &mut Draws) -> Bytes {
    if draws.percent(50) {
        return row.slice(..draws.index(row.len().max(1)));
    }
    let mut torn = row.to_vec();
    let victim = draws.index(torn.len().div_ceil(SECTOR).max(1));
    let zeros = draws.percent(50);
    for (place, sector) in torn.chunks_mut(SECTOR).enumerate() {
        if place == victim || draws.percent(30) {
            sector.iter_mut().for_each(|byte| *byte = if zeros { 0 } else { draws.u64() as u8 });
        }
    }
    torn.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn rot_changes_a_bit_a_byte_or_a_sector_and_nothing_else() {
        let row = Bytes::from((0..1500u32).map(|n| n as u8).collect::<Vec<_>>());
        for ordinal in 0..200 {
            let mut draws = Draws::new(9, Purpose::Damage, 0, ordinal);
            for rot in [Rot::Bit, Rot::Byte, Rot::Sector] {
                let bad = rotten(&row, rot, &mut draws);
                let places: Vec<usize> = (0..row.len()).filter(|&place| bad[place] != row[place]).collect();
                let bits: u32 = places.iter().map(|&place| (bad[place] ^ row[place]).count_ones()).sum();
                match rot {
                    Rot::Bit => assert_eq!(bits, 1),
                    Rot::Byte => assert_eq!(places.len(), 1),
                    Rot::Sector => {
                        let sector = places[0] / SECTOR;
                        assert!(places.len() > 100 && places.iter().all(|place| place / SECTOR == sector));
                    }
                }
            }
        }
        assert!(rotten(&Bytes::new(), Rot::Byte, &mut Draws::new(9, Purpose::Damage, 0, 0)).is_empty());
    }
}
