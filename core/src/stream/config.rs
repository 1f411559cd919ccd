//! Settings of streams.

use crate::time::Span;

/// Settings of streams. The defaults suit a small machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Messages in a batch, at most. More: fewer descriptors per message; less: shorter records.
    pub batch_messages: usize,
    /// Bytes in a batch, at most (one larger message is a batch of its own).
    pub batch_bytes: usize,
    /// Bytes of one message, at most.
    pub message_bytes: usize,
    /// Bytes of messages a source keeps per stream until they are released, on disk; beyond 64 MiB no more than are free there. A longer absence of a target fits into more.
    pub outbox_bytes: u64,
    /// Memory that goes with them, per stream: what is not on disk yet, and the index, over a kilobyte per batch and 32 bytes per message, so that small messages
    /// written one at a time fill it sooner than `outbox_bytes`. The other members have as much of the index.
    pub outbox_memory: u64,
    /// Bytes of messages of several parts, per stream: one such message at most, and all that are staged or not yet released together. They lie on
    /// disk, not in memory.
    pub whole_bytes: u64,
    /// Bytes of each part but the last, a power of two of at least 1024. What a publisher has staged already bears the size it began with. More: fewer
    /// descriptors; less: less memory for what is under way.
    pub part_bytes: u64,
    /// Messages that are being staged at one time, per stream. What is begun and not ended takes room until its writer goes on, or gives it up.
    pub uploads: usize,
    /// Parts of one message that came and are not durable yet; more are refused as busy. They are in memory.
    pub parts_coming: usize,
    /// Publish requests that wait to be accepted and for nothing more, per stream; more are refused as busy.
    pub waiting_requests: usize,
    /// Requests that wait for a later level, or for the end of a writer, per stream; more are refused as busy. They wait as long as the
    /// target is away. More: more publishers can wait out an absence; less: less memory.
    pub waiting_later: usize,
    /// Bytes a source has under way to the target, per stream. Bandwidth times round-trip time needs that much.
    pub flight_bytes: u64,
    /// Bytes a target holds verified in memory, per stream, until the log names them.
    pub receive_bytes: u64,
    /// Messages that a target may have parked, per stream. What is known of each but its bytes lies in memory, up to a kilobyte.
    pub parked_messages: u64,
    /// Bytes of messages that a target may have parked, per stream. They lie on disk.
    pub parked_bytes: u64,
    /// Bytes of payloads kept in memory for sending and delivering, per node. What is not there is loaded.
    pub cache_bytes: u64,
    /// Free bytes of the store below which nothing more is taken in from sources: draining what is held needs them.
    pub space_floor: u64,
    /// Free bytes above `space_floor` that publishers never get: what sources send here may fill them. Handlers make that room free again,
    /// but what was accepted goes only when others take it in; so nodes full of what they accepted for each other would wait for each
    /// other for ever. At least the largest batch (`message_bytes`), what may be accepted before news of free space comes,
    /// and the sixteenth of the store that may be dead and not moved yet. More: accepting stops earlier; less: batches may come to wait for
    /// each other.
    pub intake_room: u64,
    /// Free bytes above `intake_room` that publishers may fill, and what is kept for a retention may not: where fewer are free, at any member, the oldest of it goes. More:
    /// it goes earlier; less: publishers are refused while the disk frees room. A file of the journal is good.
    pub history_room: u64,
    /// Memory that the index of what is kept for a retention may take, per stream: over a kilobyte per batch. Where it takes more, the oldest goes. More: longer
    /// retentions of small messages that are published one at a time.
    pub history_memory: u64,
    /// Replays that may be under way at one time, per node. Each has up to `replay_bytes` in memory.
    pub replays: usize,
    /// Bytes that a replay may have handed over without a verdict (one larger message is handed over alone).
    pub replay_bytes: u64,
    /// How long it takes until is restated what got no answer; doubled each time while nothing is heard of the other end, up to
    /// `restate_most`. Shorter: quicker after loss; longer: less talk.
    pub restate: Span,
    /// The longest such pause: copies of what is under way may pile up before a link that stalls.
    pub restate_most: Span,
    /// Writer ids a stream may have, closed ones included: each is remembered as long as the stream is open, in memory and in the state
    /// that is written and sent as one piece. More: `snapshot_bytes` must hold them, at up to 33 bytes each.
    pub writers: usize,
    /// Bytes of a stream's state that can be sent to a member that is behind the log; a frame holds it whole.
    pub snapshot_bytes: usize,
    /// Applied entries after which the state is written.
    pub checkpoint_entries: usize,
    /// Released bytes after which the state is written.
    pub checkpoint_bytes: u64,
    /// How long a released byte may wait for the state to be written.
    pub checkpoint_after: Span,
    /// How long a target that just started waits for the source's word on what was processed before it hands anything
    /// over. Longer: a rolled-back target that cannot reach its source repeats less; shorter: less delay without a source.
    pub handshake_patience: Span,
    /// Messages a handler may have that are not marked durably, whatever window it asks for.
    pub window_messages: u32,
    /// Bytes a handler may have that are not marked durably (one larger message is handed over alone). They lie in memory until then.
    pub window_bytes: u64,
    /// Proposals under way, per stream.
    pub proposals: usize,
    /// Batches a member asks for by name at one time, per stream; together they fit into `receive_bytes`, or it is one.
    pub wanted: usize,
}

impl Config {
    /// How long an answer is waited for before the same is said again, after it was said again so many times already.
    pub(super) fn pause_after(&self, times: u32) -> Span {
        self.restate.times(1 << times.min(16)).min(self.restate_most)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_messages: 1024,
            batch_bytes: 256 << 10,
            message_bytes: 1 << 20,
            outbox_bytes: 1 << 30,
            outbox_memory: 64 << 20,
            whole_bytes: 4 << 30,
            part_bytes: 256 << 10,
            uploads: 64,
            parts_coming: 16,
            waiting_requests: 16_384,
            waiting_later: 16_384,
            flight_bytes: 4 << 20,
            receive_bytes: 8 << 20,
            parked_messages: 1_000,
            parked_bytes: 64 << 20,
            cache_bytes: 32 << 20,
            space_floor: 1 << 20,
            intake_room: 2 << 20,
            history_room: 16 << 20,
            history_memory: 128 << 20,
            replays: 64,
            replay_bytes: 1 << 20,
            restate: Span::millis(200),
            restate_most: Span::millis(3_200),
            writers: 65_536,
            snapshot_bytes: 3 << 20,
            checkpoint_entries: 64,
            checkpoint_bytes: 256 << 10,
            checkpoint_after: Span::millis(100),
            handshake_patience: Span::secs(1),
            window_messages: 65_536,
            window_bytes: 8 << 20,
            proposals: 256,
            wanted: 64,
        }
    }
}
