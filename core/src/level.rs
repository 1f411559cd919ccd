//! How deep an invariant check goes.

/// The two depths of `check_invariants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Bounded work: fit to run after every event.
    Cheap,
    /// Walks whole logs and tables.
    Full,
}
