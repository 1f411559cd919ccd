//! Two clocks. [`Instant`] is monotonic and decides; [`Wall`] may step and serves people and retention only.

use alloc::string::String;
use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, AddAssign, Sub};

/// A span of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `n` microseconds.
    #[must_use]
    pub const fn micros(n: u64) -> Self {
        Self(n * 1_000)
    }

    /// A span of `n` milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(n * 1_000_000)
    }

    /// A span of `n` seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(n * 1_000_000_000)
    }

    /// Whole nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// `self * n`, saturating.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }

    /// `self / n`. `n` must not be zero.
    #[must_use]
    pub const fn over(self, n: u64) -> Self {
        Self(self.0 / n)
    }

    /// The smaller of two spans.
    #[must_use]
    pub fn at_most(self, limit: Self) -> Self {
        self.min(limit)
    }
}

/// A moment of the monotonic clock: nanoseconds since an arbitrary start, never going back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// The time since `earlier`, or zero if `earlier` lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Instant {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Instant {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

/// A moment for which something may wait: `Option<At>` is as large as a moment. The end of the clock, which is never reached, is taken for
/// the moment before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct At(NonZeroU64);

impl At {
    pub(crate) const fn instant(self) -> Instant {
        Instant(!self.0.get())
    }
}

impl From<Instant> for At {
    fn from(moment: Instant) -> Self {
        Self(NonZeroU64::new(!moment.0).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.instant().fmt(f)
    }
}

impl Sub<Span> for Instant {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Span {
    /// A length that somebody asked for, in words: "90 s", or "1500 ms".
    #[must_use]
    pub fn words(self) -> String {
        match self.as_millis() {
            millis if millis.is_multiple_of(1000) => alloc::format!("{} s", millis / 1000),
            millis => alloc::format!("{millis} ms"),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1_000_000_000 => write!(f, "{}.{:03}s", n / 1_000_000_000, n / 1_000_000 % 1000),
            n if n >= 1_000_000 => write!(f, "{}.{:03}ms", n / 1_000_000, n / 1_000 % 1000),
            n => write!(f, "{}.{:03}us", n / 1_000, n % 1000),
        }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// Wall-clock time in milliseconds since the Unix epoch. It may step either way: for people, retention and the
/// expiry of tokens, never for order, leases or dedupe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Decides. Never goes back.
    pub monotonic: Instant,
    /// Informs. May step.
    pub wall: Wall,
}
