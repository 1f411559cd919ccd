//! Settings of consensus groups.

use crate::time::Span;

/// Settings of consensus groups; the same for all groups of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// An armed election waits this long at least. Longer than the slowest round trip between voters; shorter fails over faster.
    pub election_min: Span,
    /// And this long at most. The further from the minimum, the rarer two candidates meet.
    pub election_max: Span,
    /// What is not acknowledged is sent again after this long, doubling up to [`Self::retry_max`].
    pub retry_min: Span,
    /// Slowest resending; also the pace towards a peer that is suspected.
    pub retry_max: Span,
    /// Entries in one message. More saves messages, less lets other groups in between.
    pub message_entries: usize,
    /// Bytes of entries in one message (at least one entry goes).
    pub message_bytes: usize,
    /// Messages under way to one peer. More fills longer paths, less holds less memory.
    pub window: usize,
    /// Entries that may be appended and not committed; beyond it proposals are refused as full.
    pub uncommitted_entries: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_min: Span::millis(150),
            election_max: Span::millis(300),
            retry_min: Span::millis(200),
            retry_max: Span::secs(1),
            message_entries: 256,
            message_bytes: 256 << 10,
            window: 32,
            uncommitted_entries: 16_384,
        }
    }
}
