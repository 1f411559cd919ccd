//! What a stream keeps of messages that nobody is owed any more.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::{NodeId, Sequence};
use crate::time::Span;

/// How much of a stream is kept though all have processed it. A message is kept while any one of the limits wants it; 0 is no wish. Without any, nothing is kept
/// for its own sake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The last so many messages.
    pub messages: u64,
    /// The last so many bytes of messages.
    pub bytes: u64,
    /// What was taken into the stream's log within that time, by the wall clocks of those who led it.
    pub span: Span,
}

/// The longest time for which a stream may be asked to keep messages: a hundred years. More would overflow what is counted in nanoseconds.
pub const KEEP_FOR_MAX: Span = Span::secs(100 * 365 * 86_400);
/// Most messages, and most bytes, that a limit may name.
pub const KEEP_MAX: u64 = 1 << 60;

impl Retention {
    /// Whether anything is kept for its own sake.
    #[must_use]
    pub fn keeps(&self) -> bool {
        *self != Self::default()
    }

    /// Whether it asks for what can be counted.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        // A time in whole milliseconds: stamps in the log have no finer ones.
        let whole = self.span == Span::millis(self.span.as_millis());
        self.messages <= KEEP_MAX && self.bytes <= KEEP_MAX && self.span <= KEEP_FOR_MAX && whole
    }

    /// In words: "keeps 100 messages, 4096 bytes, 60 s". `None` if it keeps nothing.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let mut kept = Vec::new();
        if self.messages > 0 {
            kept.push(alloc::format!("{} messages", self.messages));
        }
        if self.bytes > 0 {
            kept.push(alloc::format!("{} bytes", self.bytes));
        }
        if self.span > Span::ZERO {
            kept.push(self.span.words());
        }
        (!kept.is_empty()).then(|| alloc::format!("keeps {}", kept.join(", ")))
    }
}

/// For want of what messages go that a retention would keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Room on a member's disk.
    Disk,
    /// Memory for the index of what is kept, at whoever leads.
    Memory,
}

impl Scarce {
    /// Its number on the wire and on disk, from 1.
    #[must_use]
    pub const fn to_number(self) -> u32 {
        match self {
            Self::Disk => 1,
            Self::Memory => 2,
        }
    }

    /// Reads the number; `None` for 0, and for what another version may mean by it.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Disk),
            2 => Some(Self::Memory),
            _ => None,
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Disk => "room on the disk",
            Self::Memory => "memory",
        }
    }
}

/// Messages went before their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// Up to this one.
    pub upto: Sequence,
    /// Where something was scarce.
    pub node: NodeId,
    /// What.
    pub scarce: Scarce,
}

/// What an end of a stream still keeps of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The first message that it keeps, or will: a replay may begin there.
    pub first: Sequence,
    /// Messages that are kept for their own sake, pieces of large ones counted one by one, and bytes of these.
    pub messages: u64,
    /// See above.
    pub bytes: u64,
    /// What went before its time, last.
    pub short: Option<Short>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_in_words_and_what_cannot_be_counted_is_none() {
        let all = Retention { messages: 3, bytes: 4096, span: Span::secs(90) };
        assert_eq!(all.words().as_deref(), Some("keeps 3 messages, 4096 bytes, 90 s"));
        let short = Retention { span: Span::millis(1500), ..Retention::default() };
        assert_eq!(short.words().as_deref(), Some("keeps 1500 ms"));
        assert_eq!((Retention::default().words(), Retention::default().keeps()), (None, false));
        assert!(all.is_valid() && short.is_valid() && Retention::default().is_valid());
        let over = [
            Retention { messages: KEEP_MAX + 1, ..all },
            Retention { bytes: KEEP_MAX + 1, ..all },
            Retention { span: Span(KEEP_FOR_MAX.0 + 1_000_000), ..all },
            Retention { span: Span(1_500), ..all },
        ];
        assert!(over.iter().all(|retention| !retention.is_valid()));
        for scarce in [Scarce::Disk, Scarce::Memory] {
            assert_eq!(Scarce::from_number(scarce.to_number()), Some(scarce));
        }
        assert_eq!((Scarce::from_number(0), Scarce::from_number(3)), (None, None));
    }
}
