//! What messages say: each names itself, so that whoever sees one knows which it is and whether a byte of it is wrong.

use bytes::Bytes;

use crate::random::{Draws, Purpose};

/// The shortest message: its name.
pub(crate) const NAME_LEN: usize = 17;
/// Bytes of each part but the last of a message that has several.
pub(crate) const PART_BYTES: usize = 1 << 10;
/// The most that such a message has.
pub(crate) const LARGE_MOST: usize = 12 << 10;

/// How many parts a message of that many bytes has, if it has several: as many sequences it takes.
#[must_use]
pub(crate) const fn parts(total: u64) -> u64 {
    total.div_ceil(PART_BYTES as u64)
}

/// The version of a message that must never be accepted, because it was sent behind a gap.
pub(crate) const FORBIDDEN: u8 = u8::MAX;

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// The stream's place in the plan.
    pub(crate) stream: usize,
    /// The writer's place among the stream's publishers.
    pub(crate) writer: usize,
    /// The writer's number for it.
    pub(crate) number: u64,
    /// Grows when a publisher was refused and says something else under the same number.
    pub(crate) version: u8,
}

impl Name {
    fn to_bytes(self) -> [u8; NAME_LEN] {
        let mut bytes = [0; NAME_LEN];
        bytes[..4].copy_from_slice(&(self.stream as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&(self.writer as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16] = self.version;
        bytes
    }

    /// What follows the name, eight bytes each.
    fn filler(self) -> impl Iterator<Item = [u8; 8]> {
        let who = (self.stream as u64) << 32 | self.writer as u64;
        let mut draws = Draws::new(u64::from(self.version), Purpose::Publisher, who, self.number);
        std::iter::repeat_with(move || draws.u64().to_le_bytes())
    }
}

/// The bytes of a message.
#[must_use]
pub(crate) fn write(name: Name, len: usize) -> Bytes {
    let mut bytes = vec![0; len.max(NAME_LEN)];
    let (head, rest) = bytes.split_at_mut(NAME_LEN);
    head.copy_from_slice(&name.to_bytes());
    let mut filler = name.filler();
    let mut words = rest.chunks_exact_mut(8);
    for (word, drawn) in words.by_ref().zip(filler.by_ref()) {
        word.copy_from_slice(&drawn);
    }
    let rest = words.into_remainder();
    for drawn in filler.take(usize::from(!rest.is_empty())) {
        rest.copy_from_slice(&drawn[..rest.len()]);
    }
    bytes.into()
}

/// Whether these are the bytes of a message, without writing them anew.
#[must_use]
pub(crate) fn says(bytes: &[u8], name: Name, len: usize) -> bool {
    let Some((head, rest)) = bytes.split_first_chunk::<NAME_LEN>() else { return false };
    let mut filler = name.filler();
    let mut words = rest.chunks_exact(8);
    bytes.len() == len.max(NAME_LEN)
        && *head == name.to_bytes()
        && words.by_ref().zip(filler.by_ref()).all(|(said, word)| said == word)
        && filler.next().is_some_and(|word| word.starts_with(words.remainder()))
}

/// The name that bytes bear, if they are long enough to bear one.
#[must_use]
pub(crate) fn read(bytes: &[u8]) -> Option<Name> {
    let (name, _) = bytes.split_first_chunk::<NAME_LEN>()?;
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    Some(Name {
        stream: word(0) as usize,
        writer: word(4) as usize,
        number: u64::from(word(8)) | u64::from(word(12)) << 32,
        version: name[16],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_themselves_and_differ_in_every_part_of_the_name() {
        let name = Name { stream: 2, writer: 1, number: 1 << 40, version: 3 };
        let bytes = write(name, 100);
        assert_eq!(bytes.len(), 100);
        assert_eq!(read(&bytes), Some(name));
        assert_eq!(read(&bytes[..16]), None);
        assert_eq!(write(name, 3).len(), NAME_LEN);
        assert!(says(&write(name, 3), name, 3) && !says(&bytes[..16], name, 16));
        let other = write(Name { version: 4, ..name }, 100);
        assert!(bytes.iter().zip(&other).filter(|(a, b)| a != b).count() > 50, "the filler differs too");
    }

    #[test]
    fn what_is_said_is_told_from_what_is_not_by_every_byte_and_the_length() {
        let name = Name { stream: 2, writer: 1, number: 9, version: 3 };
        for len in [NAME_LEN, NAME_LEN + 1, NAME_LEN + 8, 60] {
            let bytes = write(name, len);
            assert!(says(&bytes, name, len), "length {len}");
            assert!(!says(&bytes, name, len + 1) && !says(&write(name, len + 1), name, len), "length {len}");
            for at in 0..len {
                let mut other = bytes.to_vec();
                other[at] ^= 1;
                assert!(!says(&other, name, len), "byte {at} of {len}");
            }
        }
    }
}
