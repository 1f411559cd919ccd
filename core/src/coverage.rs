//! Coverage marks: places and states that a good set of simulated runs must come to. A run that never gets there proves
//! nothing about what is there.
//!
//! A mark is declared in a registry, so that one which is never hit is known by name; [`sometimes!`](crate::sometimes) and
//! [`rare!`](crate::rare) mark the place. Without the feature `coverage` a mark is nothing at all. No machine ever reads them.

/// How often a mark must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rarity {
    /// Some of a few thousand runs must come there.
    Sometimes,
    /// So rare that a nightly set of runs may miss it.
    Rare,
}

impl Rarity {
    /// Whether a few thousand runs are enough.
    #[must_use]
    pub const fn is_sometimes(self) -> bool {
        matches!(self, Self::Sometimes)
    }
}

/// A mark of a registry and whether it was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its name.
    pub name: &'static str,
    /// What is seen there.
    pub what: &'static str,
    /// How often it must be seen.
    pub rarity: Rarity,
    /// Whether it was.
    pub hit: bool,
}

/// Declares a registry of marks: an enum `Mark`, and `sightings()`, which tells what was hit in this process.
#[macro_export]
macro_rules! marks {
    ($($rarity:ident { $($mark:ident: $what:literal;)* })*) => {
        /// A mark.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark {
            $($(#[doc = $what] $mark,)*)*
        }

        const MARKS: &[$crate::coverage::Sighting] = &[
            $($($crate::coverage::Sighting {
                name: stringify!($mark),
                what: $what,
                rarity: $crate::coverage::Rarity::$rarity,
                hit: false,
            },)*)*
        ];

        static HIT: [core::sync::atomic::AtomicBool; MARKS.len()] =
            [const { core::sync::atomic::AtomicBool::new(false) }; MARKS.len()];

        impl Mark {
            /// How often it must be seen.
            #[must_use]
            pub const fn rarity(self) -> $crate::coverage::Rarity {
                MARKS[self as usize].rarity
            }

            /// Somebody came there.
            #[inline]
            pub fn hit(self) {
                let hit = &HIT[self as usize];
                // Read first: a line of memory that nobody writes is not fought for.
                if !hit.load(core::sync::atomic::Ordering::Relaxed) {
                    hit.store(true, core::sync::atomic::Ordering::Relaxed);
                }
            }
        }

        /// All marks of the registry, and whether they were hit in this process.
        pub fn sightings() -> impl Iterator<Item = $crate::coverage::Sighting> {
            let hit = |place: usize| HIT[place].load(core::sync::atomic::Ordering::Relaxed);
            MARKS.iter().enumerate().map(move |(place, mark)| $crate::coverage::Sighting { hit: hit(place), ..*mark })
        }
    };
}

/// Marks a place of the core, if a condition holds there: some of a few thousand runs must come to it.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! sometimes {
    ($mark:ident $(, $condition:expr)?) => {
        if true $(&& $condition)? {
            const { assert!($crate::coverage::Mark::$mark.rarity().is_sometimes()) };
            $crate::coverage::Mark::$mark.hit();
        }
    };
}

/// Marks a place of the core, if a condition holds there: a nightly set of runs should come to it.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! rare {
    ($mark:ident $(, $condition:expr)?) => {
        if true $(&& $condition)? {
            const { assert!(!$crate::coverage::Mark::$mark.rarity().is_sometimes()) };
            $crate::coverage::Mark::$mark.hit();
        }
    };
}

/// Marks a place of the core: nothing, in this build.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! sometimes {
    ($mark:ident $(, $condition:expr)?) => {{}};
}

/// Marks a rare place of the core: nothing, in this build.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! rare {
    ($mark:ident $(, $condition:expr)?) => {{}};
}

marks! {
    Sometimes {
        ElectionTimedOut: "a replica gave up on its leader and asked for pre-votes";
        VoteRefused: "a vote was refused because the candidate's log is behind";
        EntriesTruncated: "a follower removed entries that a newer leader does not have";
        AmnesiaProven: "a replica learned from a peer that its disk is older than it thinks";
        AppendCut: "an append was cut at a batch whose bytes were missing";
        LinkSuperseded: "two connections of a pair were up, and one was closed for the other";
    }
    Rare {
    }
}
