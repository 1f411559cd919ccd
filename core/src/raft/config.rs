//! Settings of consensus groups.

use super::segments::RunLimits;
use super::shelf::SHELF_PART;
use crate::id::GroupId;
use crate::time::Span;

/// Settings of consensus groups; the same for all groups of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// All groups but the control group are of streams: their founders ask first what they vouched for before their disks were rolled back (rule C2),
    /// what their leaders send is on disk (rule A3), and what their owner let go is sent to nobody (rule B1).
    pub of_streams: bool,
    /// An armed election waits this long at least. Longer than the slowest round trip between voters; shorter fails over faster.
    pub election_min: Span,
    /// And this long at most. The further from the minimum, the rarer two candidates meet.
    pub election_max: Span,
    /// The only voter of the control group waits this long at a start for the word of a learner on what it once vouched for.
    /// Longer recognises a rolled-back disk over slower paths; shorter serves sooner while all others are away.
    pub alone_patience: Span,
    /// How long whoever comes to a stream whose source alone votes is told nothing, because no other target has said that it knows of it. Should the source's disk
    /// be taken back meanwhile, that one could say whom else to ask. Longer covers a target that takes longer to come back; shorter has one that replaces a target that is
    /// gone for good come sooner.
    pub witness_patience: Span,
    /// What is not acknowledged is sent again after this long, doubling up to [`Self::retry_max`].
    pub retry_min: Span,
    /// Slowest resending; also the pace towards a peer that is suspected.
    pub retry_max: Span,
    /// What learners of a stream's group need not hear of at once, they hear of after this, or with the next that they need. Longer saves messages and
    /// writes where much happens in a group, one thing after the other; shorter has targets see sooner what is completed.
    pub unhurried: Span,
    /// Entries in one message. More saves messages, less lets other groups in between.
    pub message_entries: usize,
    /// Bytes of entries in one message (at least one entry goes).
    pub message_bytes: usize,
    /// Messages under way to one peer. More fills longer paths, less holds less memory.
    pub window: usize,
    /// Bytes of entries under way to one member of one group (one message goes in any case).
    pub window_bytes: u64,
    /// Bytes of entries under way to one node, for all groups together. Less lets a group that is busy delay the others less.
    pub node_bytes: u64,
    /// Bytes of a snapshot in one message. More saves messages, less lets others in between.
    pub chunk_bytes: usize,
    /// Chunks of a snapshot under way to one member.
    pub chunks: usize,
    /// The longest snapshot that is taken from others: so much of it may be in memory.
    pub snapshot_bytes: u64,
    /// The same for all groups together (one state is taken in any case). Beyond it a state that begins waits until another is whole or given up.
    pub node_snapshot_bytes: u64,
    /// A state of which nothing comes for so long is let go, and one that is given back and not asked for. Longer than the slowest resending
    /// several times; shorter frees memory sooner after a sender fell.
    pub snapshot_patience: Span,
    /// Learners of the control group that a member sends the log to, if there are more of them; who looks for another feeder may find it at twice
    /// as many. More make the way to the last shorter, and the leader busier.
    pub fan_out: usize,
    /// A member that was asked to feed this one answers within this time. Longer than the slowest round trip; shorter finds another sooner.
    pub feed_patience: Span,
    /// For so long at most, and for [`Self::feed_patience`] at first, nobody is asked to feed this one after several would not or did not: its
    /// leader does. Shorter spares the leader, longer the others.
    pub feed_rest: Span,
    /// A leader asks a learner that others feed whether it has what is committed no sooner than after this, and no later than after twice this.
    /// Shorter mends sooner what a feeder left undone; longer than an entry takes to reach everybody.
    pub review: Span,
    /// The same for each learner, if that is more: a leader asks one such learner per time at most.
    pub review_each: Span,
    /// Reads that may wait in one group.
    pub reads: usize,
    /// Entries that may be appended and not committed; beyond it proposals are refused as full.
    pub uncommitted_entries: u64,
    /// The same in bytes, those that entries refer to included (one entry goes in any case).
    pub uncommitted_bytes: u64,
    /// The same for all groups together.
    pub node_uncommitted_bytes: u64,
    /// What the logs of all groups may take in memory, what is read back of them included. Beyond it the oldest entries that are durable and
    /// applied are on the disk only, but for the last run of each group. More serves members that lag from memory.
    pub log_bytes: u64,
}

impl Config {
    /// What of the stored logs a start takes into memory at most, in bytes. It has to read the rest beside that for the owners, and cannot let go of
    /// what these were not given yet.
    #[must_use]
    pub const fn recalled_bytes(&self) -> u64 {
        self.log_bytes - self.log_bytes / SHELF_PART
    }

    /// Whether that group is a stream's.
    pub(super) fn is_of_stream(&self, group: GroupId) -> bool {
        self.of_streams && group != GroupId::CONTROL
    }

    /// How large a message of entries may become.
    pub(super) fn message(&self) -> RunLimits {
        RunLimits { entries: self.message_entries, bytes: self.message_bytes }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_min: Span::millis(150),
            election_max: Span::millis(300),
            alone_patience: Span::secs(2),
            witness_patience: Span::secs(30),
            retry_min: Span::millis(200),
            retry_max: Span::secs(1),
            unhurried: Span::millis(100),
            of_streams: false,
            message_entries: 256,
            message_bytes: 256 << 10,
            window: 32,
            window_bytes: 4 << 20,
            node_bytes: 16 << 20,
            chunk_bytes: 64 << 10,
            chunks: 8,
            snapshot_bytes: 256 << 20,
            node_snapshot_bytes: 512 << 20,
            snapshot_patience: Span::secs(10),
            fan_out: 16,
            feed_patience: Span::secs(1),
            feed_rest: Span::secs(10),
            review: Span::secs(2),
            review_each: Span::millis(10),
            reads: 4096,
            uncommitted_entries: 16_384,
            uncommitted_bytes: 1 << 30,
            node_uncommitted_bytes: 4 << 30,
            log_bytes: 64 << 20,
        }
    }
}
