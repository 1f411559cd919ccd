//! Deliberate bugs, to measure whether the simulator finds them. Without the feature `planted` every question is
//! answered `false` at compile time and costs nothing.
//!
//! A bug is counted as *reached* whenever the place it sits in is passed, and as *triggered* whenever what the machine does
//! there differs from what it should do: a bug that is reached and never triggered wants another workload, one that is
//! triggered and never detected another checker.

/// What a bug is a bug of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Elections, replication, amnesia, configuration changes of a group.
    Raft,
    /// Seeding, joining, members, the registry.
    Mesh,
    /// Accepting, the gate, handlers, watermarks.
    Stream,
    /// What waits for the disk, and what a restart makes of it.
    Durability,
    /// Rows, recovery scan, trims.
    Journal,
    /// Link states, paths, relaying.
    Route,
    /// Handshakes, lanes, keepalive, pair heartbeats.
    Link,
    /// How a node connects its parts.
    Node,
}

impl Family {
    /// All of them, with the names used on the command line.
    pub const ALL: [(&'static str, Self); 8] = [
        ("raft", Self::Raft),
        ("mesh", Self::Mesh),
        ("stream", Self::Stream),
        ("durability", Self::Durability),
        ("journal", Self::Journal),
        ("route", Self::Route),
        ("link", Self::Link),
        ("node", Self::Node),
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// What is known of a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which one.
    pub bug: Bug,
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is a bug of.
    pub family: Family,
    /// Its mechanism, in a line.
    pub mechanism: &'static str,
}

macro_rules! bugs {
    ($($family:ident { $($bug:ident = $name:literal: $mechanism:literal;)* })*) => {
        /// A bug that can be switched on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $mechanism] $bug,)*)*
        }

        impl Bug {
            /// All of them, by family.
            pub const ALL: &'static [Description] = &[
                $($(Description {
                    bug: Self::$bug,
                    name: $name,
                    family: Family::$family,
                    mechanism: $mechanism,
                },)*)*
            ];
        }
    };
}

bugs! {
    Raft {
        VoteNotPersisted = "vote-not-persisted":
            "a vote is granted without its record: after a crash the replica votes again in the same term";
        OldTermCommit = "old-term-commit":
            "a leader commits an entry of an older term by counting replicas (Raft, figure 8)";
        AmnesicVotes = "amnesic-votes":
            "a replica that was told it is amnesic votes and acknowledges all the same";
    }
    Mesh {
    }
    Stream {
        DescriptorWithoutPayload = "descriptor-without-payload":
            "a member appends a descriptor without holding its payload";
        HandlerBeforeCommit = "handler-before-commit":
            "a handler is called for messages above the commit index";
        DedupeForgotten = "dedupe-forgotten":
            "the writers' table is forgotten at a restart";
    }
    Durability {
        SendBeforeSync = "send-before-sync":
            "what must wait for the disk leaves at once";
    }
    Journal {
    }
    Route {
        RouteLoop = "route-loop":
            "a relay whose next link is down sends the message back the way it came, without counting the hop";
    }
    Link {
    }
    Node {
    }
}

impl Bug {
    /// The bug of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|entry| entry.name == name).map(|entry| entry.bug)
    }

    /// What is known of it.
    #[must_use]
    pub const fn describe(self) -> &'static Description {
        &Self::ALL[self as usize]
    }
}

/// Which bug, if any, this machine carries. A value, not a global: two simulations in one process do not disturb each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Planted {
    /// No bug.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            #[cfg(feature = "planted")]
            bug: None,
        }
    }

    /// Plants `bug`.
    #[cfg(feature = "planted")]
    #[must_use]
    pub const fn only(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether `bug` is planted, at a place where that always makes a difference.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn has(self, bug: Bug) -> bool {
        self.strikes(bug, || true)
    }

    /// Whether `bug` is planted, at a place where it makes a difference only if `differs`.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn strikes(self, bug: Bug, differs: impl FnOnce() -> bool) -> bool {
        if self.bug != Some(bug) {
            return false;
        }
        counts::reached(bug);
        let strikes = differs();
        if strikes {
            counts::triggered(bug);
        }
        strikes
    }

    /// Whether `bug` is planted: never, in this build.
    #[cfg(not(feature = "planted"))]
    #[must_use]
    #[inline(always)]
    pub const fn has(self, _bug: Bug) -> bool {
        false
    }

    /// Whether `bug` is planted and makes a difference: never, in this build, and nothing is asked.
    #[cfg(not(feature = "planted"))]
    #[must_use]
    #[inline(always)]
    pub fn strikes(self, _bug: Bug, _differs: impl FnOnce() -> bool) -> bool {
        false
    }
}

/// How often bugs were reached and triggered in this process: totals for a table, which no machine reads.
#[cfg(feature = "planted")]
pub mod counts {
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::Bug;

    static REACHED: [AtomicU64; Bug::ALL.len()] = [const { AtomicU64::new(0) }; Bug::ALL.len()];
    static TRIGGERED: [AtomicU64; Bug::ALL.len()] = [const { AtomicU64::new(0) }; Bug::ALL.len()];

    pub(super) fn reached(bug: Bug) {
        REACHED[bug as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn triggered(bug: Bug) {
        TRIGGERED[bug as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was reached and how often triggered so far.
    #[must_use]
    pub fn of(bug: Bug) -> (u64, u64) {
        let read = |counts: &[AtomicU64]| counts[bug as usize].load(Ordering::Relaxed);
        (read(&REACHED), read(&TRIGGERED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_described_under_its_own_number_and_a_name_of_its_own() {
        for (place, entry) in Bug::ALL.iter().enumerate() {
            assert_eq!((entry.bug as usize, entry.bug.describe()), (place, entry));
            assert_eq!(Bug::named(entry.name), Some(entry.bug));
            let words = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(entry.name.chars().all(words), "{}", entry.name);
        }
        for (place, (name, family)) in Family::ALL.into_iter().enumerate() {
            assert_eq!((family as usize, family.name()), (place, name));
        }
    }
}
