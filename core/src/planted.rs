//! Deliberate bugs, to measure whether the simulator finds them. Without the feature `planted` every question is
//! answered `false` at compile time and costs nothing.

/// A bug that can be switched on. Each line says the mechanism it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A vote is granted without its record: after a crash the replica votes again in the same term.
    VoteNotPersisted = 1,
    /// A leader commits an entry of an older term by counting replicas (Raft, figure 8).
    OldTermCommit = 2,
    /// What must wait for the disk leaves at once.
    SendBeforeSync = 3,
    /// A member appends a descriptor without holding its payload.
    DescriptorWithoutPayload = 4,
    /// A handler is called for messages above the commit index.
    HandlerBeforeCommit = 5,
    /// The writers' table is forgotten at a restart.
    DedupeForgotten = 6,
    /// A replica that was told it is amnesic votes and acknowledges all the same.
    AmnesicVotes = 7,
    /// A relay whose next link is down sends the message back the way it came, without counting the hop.
    RouteLoop = 8,
}

impl Bug {
    /// All of them, with the names used on the command line.
    pub const ALL: [(&'static str, Self); 8] = [
        ("vote-not-persisted", Self::VoteNotPersisted),
        ("old-term-commit", Self::OldTermCommit),
        ("send-before-sync", Self::SendBeforeSync),
        ("descriptor-without-payload", Self::DescriptorWithoutPayload),
        ("handler-before-commit", Self::HandlerBeforeCommit),
        ("dedupe-forgotten", Self::DedupeForgotten),
        ("amnesic-votes", Self::AmnesicVotes),
        ("route-loop", Self::RouteLoop),
    ];

    /// The bug of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|&(_, bug)| bug)
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

    /// Whether `bug` is planted.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether `bug` is planted: never, in this build.
    #[cfg(not(feature = "planted"))]
    #[must_use]
    #[inline(always)]
    pub const fn has(self, _bug: Bug) -> bool {
        false
    }
}
