//! Bounds worth a name, and the deliberate bugs that must be found within some.

use std::time::Duration;

use wattle_core::planted::Bug;

use crate::model::Bounds;
use crate::state::{Order, Spent};

/// A space of states with a name.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What it is called.
    pub name: &'static str,
    /// How far it reaches.
    pub bounds: Bounds,
}

const fn most(elections: u8, proposals: u8, crashes: u8) -> Spent {
    Spent { elections, repeats: 0, doubts: 0, proposals, crashes, duplicates: 0 }
}

const fn bounds(terms: u64, most: Spent) -> Bounds {
    Bounds { terms, most, slow_disks: false, order: Order::AsSent, batches: false }
}

const fn slow(bounds: Bounds) -> Bounds {
    Bounds { slow_disks: true, ..bounds }
}

const fn any_order(bounds: Bounds) -> Bounds {
    Bounds { order: Order::Any, ..bounds }
}

const fn batches(bounds: Bounds) -> Bounds {
    Bounds { batches: true, ..bounds }
}

/// Exhausted together in less than a minute.
pub const SMALL: &[Run] = &[
    Run { name: "two terms, a proposal", bounds: bounds(2, most(2, 1, 0)) },
    Run { name: "two terms, a leader in doubt", bounds: bounds(2, Spent { doubts: 1, ..most(2, 0, 0) }) },
    Run { name: "two terms, slow disks", bounds: slow(bounds(2, most(2, 0, 0))) },
    Run { name: "two candidates in a term, a crash", bounds: bounds(1, most(2, 0, 1)) },
    Run { name: "a leader, slow disks, a crash", bounds: slow(bounds(1, most(1, 0, 1))) },
    Run { name: "a proposal, slow disks", bounds: slow(bounds(1, most(1, 1, 0))) },
    Run { name: "a proposal, several things in a step", bounds: batches(bounds(1, most(1, 1, 0))) },
    Run { name: "a proposal, any order", bounds: any_order(bounds(1, most(1, 1, 0))) },
    Run {
        name: "a message twice, any order",
        bounds: any_order(bounds(1, Spent { duplicates: 1, ..most(1, 0, 0) })),
    },
];

/// Larger ones. The first four take minutes; how large the others are is not known, and they say so when their time is up.
pub const NIGHTLY: &[Run] = &[
    Run { name: "a proposal, slow disks, a crash", bounds: slow(bounds(1, most(1, 1, 1))) },
    Run { name: "a proposal, slow disks, any order", bounds: any_order(slow(bounds(1, most(1, 1, 0)))) },
    Run { name: "two terms, any order", bounds: any_order(bounds(2, most(2, 0, 0))) },
    Run { name: "two candidates in a term, slow disks, a crash", bounds: slow(bounds(1, most(2, 0, 1))) },
    Run { name: "two terms, several things in a step", bounds: batches(bounds(2, most(2, 0, 0))) },
    Run { name: "two proposals, several things in a step", bounds: batches(bounds(1, most(1, 2, 0))) },
    Run { name: "two terms, slow disks, a crash", bounds: slow(bounds(2, most(2, 0, 1))) },
    Run { name: "two terms, three entries, a crash", bounds: bounds(2, most(2, 1, 1)) },
];

/// How long a space is searched.
pub const LIMIT: Duration = Duration::from_secs(3_600);

/// A deliberate bug, and where it must be found.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    /// Which.
    pub bug: Bug,
    /// Within what.
    pub bounds: Bounds,
}

/// Two candidates of a term and a crash, while rows wait to be written.
const CRASH: Bounds = slow(bounds(1, most(2, 0, 1)));
/// A leader and what it commits, while rows wait to be written.
const COMMIT: Bounds = slow(bounds(1, most(1, 1, 0)));
/// Two leaders one after the other.
const SUCCESSION: Bounds = bounds(2, most(2, 1, 0));

/// Each must be found; the first three in any case.
pub const SOUGHT: &[Sought] = &[
    Sought { bug: Bug::VoteNotPersisted, bounds: CRASH },
    Sought { bug: Bug::AcknowledgedUnsynced, bounds: COMMIT },
    // The paper's figure 8 needs a third term.
    Sought { bug: Bug::OldTermCommit, bounds: bounds(3, most(3, 0, 0)) },
    Sought { bug: Bug::VoteMissesTermsRow, bounds: CRASH },
    Sought { bug: Bug::OwnVoteNotWritten, bounds: CRASH },
    Sought { bug: Bug::HeardTermNotWritten, bounds: CRASH },
    Sought { bug: Bug::OwnVoteBeforeDurable, bounds: CRASH },
    Sought { bug: Bug::WholeLogCommittedAtStart, bounds: CRASH },
    Sought { bug: Bug::LeaderCountsUnsynced, bounds: COMMIT },
    Sought { bug: Bug::QuorumOffByOne, bounds: COMMIT },
    Sought { bug: Bug::AppliedBeforeDurable, bounds: COMMIT },
    Sought { bug: Bug::OwnVoteTwice, bounds: SUCCESSION },
    Sought { bug: Bug::PreVoteCounted, bounds: SUCCESSION },
    Sought { bug: Bug::VoteForOlderLog, bounds: SUCCESSION },
    Sought { bug: Bug::DeposedLeaderObeyed, bounds: SUCCESSION },
];
