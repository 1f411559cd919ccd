//! Bytes read as choices. Whoever makes the bytes, a fuzzer or a seed, makes the choices; when they end, every choice is the
//! first one.

/// The choices that are left.
#[derive(Clone, Debug)]
pub struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    /// The choices that the bytes stand for.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether none are left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes, as many as there are up to `len`.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// A number of any size: small and large ones are equally likely.
    pub fn number(&mut self) -> u64 {
        let octaves = u32::from(self.u8() % 64);
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes) >> (63 - octaves)
    }

    /// A number below `bound`, or 0 if that is 0. No more than 65,536 are told apart.
    pub fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 | 1 => 0,
            2..=256 => usize::from(self.u8()) % bound,
            _ => usize::from(self.u16()) % bound,
        }
    }

    /// Yes, once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of the choices, which must not be empty.
    pub fn pick<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len())]
    }
}

/// Changes bytes a little, as a fault or an enemy would: none to three changes.
pub fn mutate(source: &mut Source<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..source.below(4) {
        let at = source.below(bytes.len());
        match source.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, source.take(4).iter().copied())),
            2 => {
                let end = (at + 1 + source.below(16)).min(bytes.len());
                drop(bytes.drain(at.min(end)..end));
            }
            3 => {
                let end = (at + 1 + source.below(32)).min(bytes.len());
                bytes.extend_from_within(at.min(end)..end);
            }
            _ if bytes.is_empty() => {}
            4 => bytes[at] ^= 1 << source.below(8),
            5 => bytes[at] = 0xff,
            6 => bytes[at] = bytes[at].wrapping_add(1),
            _ => bytes[at] = source.u8(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_choices_and_no_bytes_are_the_first_choice() {
        let mut source = Source::new(&[5, 1, 2, 255]);
        assert_eq!((source.below(3), source.u16(), source.one_in(4)), (2, 0x0201, true));
        assert!(source.is_empty());
        assert_eq!((source.u8(), source.below(9), source.number(), source.one_in(4)), (0, 0, 0, false));
        assert_eq!(*source.pick(&["first", "second"]), "first");
    }

    #[test]
    fn mutations_reach_every_kind_and_bear_empty_bytes() {
        let mut lengths = std::collections::BTreeSet::new();
        for choice in 0..=255u8 {
            let mut bytes = vec![7; 20];
            mutate(&mut Source::new(&[1, 3, choice, 9, 9, 9, 9]), &mut bytes);
            lengths.insert(bytes.len());
            mutate(&mut Source::new(&[3, choice, choice, choice, choice, choice]), &mut Vec::new());
        }
        assert_eq!(lengths, [3, 10, 20, 24, 30].into());
    }
}
