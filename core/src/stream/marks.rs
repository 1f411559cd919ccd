//! What each target of a stream has processed.

use alloc::vec::Vec;

use crate::id::Sequence;

/// A mark for each target, in the order of the stream's ends. Most streams have one target, and then nothing lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    first: Sequence,
    more: Vec<Sequence>,
}

impl Marks {
    /// The mark of the target at `place`; 0 if nothing was heard of it.
    #[must_use]
    pub fn get(&self, place: usize) -> Sequence {
        match place.checked_sub(1) {
            None => self.first,
            Some(place) => self.more.get(place).copied().unwrap_or_default(),
        }
    }

    /// Raises a mark; never lowers it.
    pub fn raise(&mut self, place: usize, upto: Sequence) {
        let Some(place) = place.checked_sub(1) else {
            self.first = self.first.max(upto);
            return;
        };
        if upto > Sequence(0) && self.more.len() <= place {
            self.more.resize(place + 1, Sequence(0));
        }
        if let Some(mark) = self.more.get_mut(place) {
            *mark = (*mark).max(upto);
        }
    }

    /// Raises every mark to that of `other`.
    pub fn raise_all(&mut self, other: &Self) {
        for (place, upto) in other.iter().enumerate() {
            self.raise(place, upto);
        }
    }

    /// All of them, up to the last that is not 0.
    pub fn iter(&self) -> impl Iterator<Item = Sequence> + Clone + '_ {
        core::iter::once(self.first).chain(self.more.iter().copied())
    }
}

impl FromIterator<Sequence> for Marks {
    fn from_iter<I: IntoIterator<Item = Sequence>>(marks: I) -> Self {
        let mut all = Self::default();
        marks.into_iter().enumerate().for_each(|(place, upto)| all.raise(place, upto));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_only_grow_and_are_read_back_as_they_are() {
        let mut marks = Marks::default();
        assert_eq!((marks.get(0), marks.get(9), marks.iter().count()), (Sequence(0), Sequence(0), 1));
        for (place, upto) in [(2, 5), (0, 3), (2, 4), (0, 2)] {
            marks.raise(place, Sequence(upto));
        }
        assert_eq!(marks.iter().collect::<Vec<_>>(), [3, 0, 5].map(Sequence));
        assert_eq!(marks.iter().collect::<Marks>(), marks);
        let mut other = Marks::default();
        other.raise(1, Sequence(7));
        other.raise_all(&marks);
        assert_eq!(other.iter().collect::<Vec<_>>(), [3, 7, 5].map(Sequence));
    }
}
