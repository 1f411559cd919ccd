//! When an output may leave.

/// A part says *when*, never how: the waiting is done in one place, `node/durability.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// Not before everything this part has asked to write so far, this step included, is on disk.
    Durable,
}
