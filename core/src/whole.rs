//! BLAKE3 over a whole of which every part is hashed alone: each part leaves its chaining value, and those merge into the digest of the whole
//! without anybody reading it again. All parts but the last have one size, a power of two of at least [`PART_BYTES_MIN`]: they are subtrees
//! of the whole's tree then.

use alloc::vec::Vec;

use blake3::hazmat::{HasherExt as _, Mode, max_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::digest::Digest;
use crate::payload::Payload;

/// The smallest part: one chunk of BLAKE3, in bytes.
pub const PART_BYTES_MIN: u64 = 1024;
/// The largest whole that anybody may speak of, in bytes.
pub const WHOLE_BYTES_MAX: u64 = 1 << 48;

/// Whether so many bytes can be a part at that place.
#[must_use]
pub fn fits(offset: u64, len: u64) -> bool {
    len > 0
        && offset.is_multiple_of(PART_BYTES_MIN)
        && offset.checked_add(len).is_some_and(|end| end <= WHOLE_BYTES_MAX)
        && max_subtree_len(offset).is_none_or(|most| len <= most)
}

/// The chaining value of a part.
///
/// # Panics
/// Unless the part [`fits`] there.
#[must_use]
pub fn part_digest(offset: u64, part: &Payload) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    for piece in part.pieces() {
        hasher.update(piece);
    }
    Digest(hasher.finalize_non_root())
}

/// The parts that came so far, merged as far as they can be: as many values as the number of parts has bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    parts: u64,
    /// Of subtrees, each larger than the next, but for the last one, which may be as large as the one before.
    subtrees: Vec<Digest>,
}

impl Tree {
    /// Of that many parts.
    #[must_use]
    pub fn new(parts: u64, subtrees: Vec<Digest>) -> Option<Self> {
        let tree = Self { parts, subtrees };
        (tree.subtrees.len() as u64 == tree.subtrees_expected()).then_some(tree)
    }

    fn subtrees_expected(&self) -> u64 {
        self.parts.checked_sub(1).map_or(0, |before| u64::from(before.count_ones()) + 1)
    }

    /// How many parts came.
    #[must_use]
    pub const fn parts(&self) -> u64 {
        self.parts
    }

    /// What is kept of them.
    #[must_use]
    pub fn subtrees(&self) -> &[Digest] {
        &self.subtrees
    }

    /// The next part.
    pub fn push(&mut self, part: Digest) {
        // What is complete is merged only when more comes: the last merge is another one, and any may be the last.
        while self.subtrees.len() as u64 > u64::from(self.parts.count_ones()) {
            let (right, left) = (self.subtrees.pop(), self.subtrees.pop());
            let merged =
                left.zip(right).map(|(left, right)| merge_subtrees_non_root(&left.0, &right.0, Mode::Hash));
            self.subtrees.extend(merged.map(Digest));
        }
        self.subtrees.push(part);
        self.parts += 1;
    }

    /// The digest of the whole, if these are all its parts: of two at least.
    #[must_use]
    pub fn root(&self) -> Option<Digest> {
        let (last, left) = self.subtrees.split_last()?;
        let (first, between) = left.split_first()?;
        let right = between
            .iter()
            .rev()
            .fold(last.0, |right, left| merge_subtrees_non_root(&left.0, &right, Mode::Hash));
        Some(Digest(*merge_subtrees_root(&first.0, &right, Mode::Hash).as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bytes::Bytes;

    #[test]
    fn parts_merge_into_the_digest_of_the_whole() {
        for size in [1024u64, 4096] {
            for len in (1..=20 * size).step_by(700).chain([2 * size, 8 * size, 16 * size, 2 * size + 1]) {
                let whole: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
                let mut tree = Tree::default();
                for (number, part) in whole.chunks(size as usize).enumerate() {
                    let offset = number as u64 * size;
                    assert!(fits(offset, part.len() as u64));
                    tree.push(part_digest(offset, &Bytes::copy_from_slice(part).into()));
                    let again = Tree::new(tree.parts(), tree.subtrees().to_vec());
                    assert_eq!(again.as_ref(), Some(&tree));
                }
                let expected = (len > size).then(|| Digest::of_bytes(&whole));
                assert_eq!(tree.root(), expected, "{len} bytes in parts of {size}");
            }
        }
    }

    #[test]
    fn what_is_no_part_of_anything_is_told_from_what_is() {
        assert!(fits(0, 1) && fits(1024, 1024) && fits(4096, 4096) && fits(4096, 7));
        assert!(!fits(0, 0) && !fits(1, 8) && !fits(1024, 1025) && !fits(4096, 4097));
        assert!(!fits(u64::MAX - 1023, 1024) && !fits(WHOLE_BYTES_MAX, 1));
        assert_eq!(Tree::new(3, vec![Digest::default(); 4]), None);
        assert_eq!(Tree::new(0, vec![Digest::default()]), None);
    }
}
