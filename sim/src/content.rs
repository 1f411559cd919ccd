//! What messages say: each names itself, so that whoever sees one knows which it is and whether a byte of it is wrong.

use bytes::Bytes;

use crate::random::{Draws, Purpose};

/// The shortest message: its name.
pub(crate) const NAME_LEN: usize = 17;
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

/// The bytes of a message.
#[must_use]
pub(crate) fn write(name: Name, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len.max(NAME_LEN));
    bytes.extend_from_slice(&(name.stream as u32).to_le_bytes());
    bytes.extend_from_slice(&(name.writer as u32).to_le_bytes());
    bytes.extend_from_slice(&name.number.to_le_bytes());
    bytes.push(name.version);
    let who = (name.stream as u64) << 32 | name.writer as u64;
    let mut filler = Draws::new(u64::from(name.version), Purpose::Publisher, who, name.number);
    bytes.resize(len.max(NAME_LEN), 0);
    for word in bytes[NAME_LEN..].chunks_mut(8) {
        let drawn = filler.u64().to_le_bytes();
        match <&mut [u8; 8]>::try_from(&mut *word) {
            Ok(whole) => *whole = drawn,
            Err(_) => word.copy_from_slice(&drawn[..word.len()]),
        }
    }
    bytes.into()
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
        let other = write(Name { version: 4, ..name }, 100);
        assert!(bytes.iter().zip(&other).filter(|(a, b)| a != b).count() > 50, "the filler differs too");
    }
}
