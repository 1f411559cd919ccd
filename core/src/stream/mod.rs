//! Exactly-once, ordered delivery from a source to its targets.
//!
//! Accepting is not an act of agreement: the source writes a payload record, and that write is `accepted`. A *descriptor* then
//! names the record in the stream's log (a Raft group of source and targets; of two members, the source alone votes), and the gate lets a member
//! append a descriptor only together with the verified payload or after it. So who has the entry has the bytes, and the rules of
//! agreement stay plain. The handler at a target is called only for what is committed and durable there; its success travels
//! back as a *mark*, and the entry `Complete` tells all members what is processed by whom it must be, and up to where the bytes may go.
//!
//! Only the source numbers, whoever leads. While another member does, the source offers it what it would propose itself, in order, from the
//! first message that it has not seen taken; and again to each new leader, for whom what the log has already is a no-op by its number
//! (decision 20). Targets tell their marks to the source and to whoever leads.
//!
//! A restart begins from the state *at the floor*: the place in the log below which every batch is released. Entries above it are
//! applied again, and payload records above it are alive; so the state that is written never grows with the backlog, and
//! "bytes go only with the cut of the log above the last entry that names them" (rule B1) holds by construction: what is named above the
//! floor is either unreleased or certainly a no-op.
//!
//! Numbers given before the session entry is applied are provisional. At that entry the source makes void what the log holds
//! already, by writer spans (a partly void batch keeps its bytes and its identity; void messages bear no number), and numbers the rest
//! anew, contiguous after the log's end. The identity of a payload never changes, so no renumbering is ever stored: the log has the last word.
//!
//! Closing a writer is a matter of accepting: from the moment it is asked for, nothing more of that writer is accepted, also after a
//! restart, for a record says so until the state does. The log takes what was accepted all the same (a source whose disk was rolled
//! back may have accepted what it would have refused).
//!
//! A message too large for a record has parts, each a batch of its own in the log, next to each other (decision 22). Its parts take a sequence each, and
//! it bears that of the last one. They are staged at the source, durably and out of order with everything else, until all are there; a handler is handed the
//! message, in pieces, once all are taken.
//!
//! A publisher that repeats is answered with what is known. Messages whose batch is released, and so forgotten, are reported as completed with
//! the sequences 0 to 0.
//!
//! Invariants:
//! - **S1** A batch is taken only under the current session and at the sequence after the last taken, and a part only behind the part before it; all else
//!   is a no-op.
//! - **S2** The batches between the floor and the last taken message are contiguous.
//! - **S3** Every batch taken above the floor has its payload record here.
//! - **S4** Once the own session is current, the outbox is numbered contiguously after the last taken message.
//! - **S5** Nothing of a batch leaves the source, and nobody is told `accepted`, before its record is durable.
//! - **S6** A handler is handed only what is taken at apply.
//! - **S7** A handler has at most its window of messages without a durable mark, and a bounded number of bytes. What a handler before it had counts too, and what others
//!   know to be processed is in its hands until it says that it is done.
//! - **S8** A mark is told only when durable.
//! - **S9** `floor <= completed <= taken`, and the floor never passes what the target has marked, unless that was passed over (S22).
//! - **S10** What a target holds unverified or unnamed is bounded.
//! - **S11** A handler is handed what follows its position without a gap: nobody is attached before it is known where handling goes on,
//!   and a handler that stands below the mark (unless it replays) or below what is kept must attach again.
//! - **S12** Who waits at a source is counted, by how long it may wait, and forgotten when it is gone.
//! - **S13** A member that others go on without accepts nothing and hands nothing over.
//! - **S14** What goes on without the source takes nothing above the sealed end.
//! - **S15** A leader that is not the source proposes a batch only behind the end of its log, which it knows once it has applied an entry of its own
//!   term (rule A6).
//! - **S17** A member at which the stream stopped leads only where nobody else votes, and nobody hands over to a source that did not say since it
//!   leads itself that it serves.
//! - **S18** What is replicated is counted among those who are left under the present authority.
//! - **S19** Bytes are asked for while an append, or an offer, of whoever leads waits for them, and no longer; and never by a member that does nothing any more.
//! - **S20** Nobody but the source and whoever leads has a word on what a target processed; bytes are taken of whom they were asked, and given so many in
//!   a while.
//! - **S21** What is let go was processed by every target that is not out by an entry of the log in front of it, and not lost.
//! - **S22** What a target does that is out counts no more, and it hands nothing over, unless a seal goes on from its log. Nor does one that took a state from
//!   behind messages for which it was not waited, and which it did not process: that one goes on with its log alone.
//! - **S23** A target is taken out only where most of those who stay hold whatever was told replicated or completed, by this leader or before it; and what is told while
//!   one is on its way out, most of the old members and most of those who stay hold. Whoever leads on its way out is none of these.
//! - **S24** Room is set aside for all of a message that is being staged, and the bytes of parts count by themselves.
//! - **S25** Marks, floors and positions stand where messages end, never inside one; and a handler is handed a message of several parts whole or not at all.
//! - **S26** What may go goes in a while: a member that keeps what nobody needs is about to write the state without it.
//! - **S27** A parked message and the mark past it are one write; nothing is parked that its handler is done with, or twice, and nobody is handed it but by a retry,
//!   which moves no position.
//! - **S29** Only the message behind the last one processed fails; its attempts are written down and never counted anew while it stands there, it is parked not
//!   before as many as the policy says, and nobody is told to go on behind it before that is durable.
//! - **S28** A target that joins holds what counted when it began to catch up, most hold with it what counts by then, and it owes what is behind a message that ends where nothing behind it is let go. For what is in front of its
//!   joining nobody waits for it; nothing behind it is completed by all, and nothing that it owes is let go, before it has processed that.
//! - **S30** While a rule pauses a stream, nothing that comes to its source is accepted or staged.
//! - **S31** What a rule lets in of all streams that it is about, at one source and in any while, is no more than its rate makes of that while and of a second, and what came
//!   in together with the last of it.
//! - **S35** What is let go under a retention is wanted by none of its limits, unless an entry in front says that it goes for want of room, of whose and of what.
//! - **S36** What is kept for its own sake is counted, holds up no publisher, and gives way to what is owed.
//! - **S37** A replay is handed what is processed and kept here, in order and without a gap, within its window, and moves nothing but itself; there is a bounded
//!   number of them.
//! - **S38** What is recorded of the members, and a log lacks from which a seal goes on, that log is to say before anything is completed or let go.
//! - **S41** What failed its stream is tried no more, and its target hands nothing over, until the stream is resumed; each resume is worth as many attempts as the policy says, and
//!   nobody is told that a stream failed before the last of them is durable at its target.
//! - **S43** Whoever leads a stream that detaches who stands still says so only of a target whose mark did not move for that long while it led, though there was something to process, without whom
//!   the policy can be met; and it looks again as long as somebody owes something.
//! - **S16** `floor <= released <= completed`: bytes go only when every target that is left is past them.

mod admit;
mod changing;
mod codec;
mod common;
mod config;
mod entry;
mod floor;
mod flow;
mod heads;
mod idle;
mod joining;
mod keeping;
mod lead;
mod marks;
mod member;
mod message;
mod parts;
mod peer;
mod recorded;
mod restoring;
mod seal;
mod source;
mod state;
mod status;
mod store;

mod streams;
mod target;
mod wire;
mod writers;

#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

pub use admit::Admission;
pub use config::Config;
pub use entry::{Batch, Entry, Identity, MessageAt, Part, Span};
pub use marks::Marks;
pub use message::{Body, Data, Malformed, Message, Standing};
pub use streams::Streams;

use crate::ends::Ends;
use crate::flow::{FailedAt, Rules};
use crate::id::{
    AttachToken, AuthorityEpoch, BootId, LogIndex, NodeId, RequestId, Sequence, StreamInstance, Term,
    WriterId, WriterSequence,
};
use crate::members::StreamMembers;
use crate::node::command::{PartOf, Position, Range, Refusal, Reply, Waited};
use crate::node::output::{Delivery, Event};
use crate::parked::{ParkedCommand, ParkedReply};
use crate::record::{Forget, Key, Record};
use crate::sealing::Sealed;
use crate::when::When;
use crate::work::{Done, Job};

/// An applied log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its place.
    pub index: LogIndex,
    /// Of this term.
    pub term: Term,
    /// Whether it is a command (rather than blank, or a configuration).
    pub command: bool,
    /// The command.
    pub data: Bytes,
}

/// Comes back when what was written is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// A batch was accepted.
    Accepted {
        /// In this stream.
        instance: StreamInstance,
        /// Under this slot.
        slot: u64,
    },
    /// A part was staged.
    Staged {
        /// In this stream.
        instance: StreamInstance,
        /// Whose message.
        writer: WriterId,
        /// Under which name.
        upload: u128,
        /// The bytes up to here.
        upto: u64,
    },
    /// A handler's failure was written down, and the message is not parked.
    Failed {
        /// In this stream.
        instance: StreamInstance,
        /// Under which attachment.
        token: AttachToken,
        /// Which message.
        sequence: Sequence,
    },
    /// A handler failed so often that its stream does, and that was written down.
    Exhausted {
        /// In this stream.
        instance: StreamInstance,
        /// At this message.
        sequence: Sequence,
    },
    /// A message was parked.
    Parked {
        /// In this stream.
        instance: StreamInstance,
        /// Under which attachment.
        token: AttachToken,
        /// Which.
        sequence: Sequence,
    },
    /// A message is parked no more.
    Unparked {
        /// In this stream.
        instance: StreamInstance,
        /// The id of its record.
        key: u128,
        /// Who is to be told.
        request: Option<RequestId>,
        /// Which.
        sequence: Sequence,
        /// Why it was discarded; `None` if its handler processed it.
        discarded: Option<String>,
    },
    /// What is told about parked messages was written.
    Told {
        /// Who asked.
        request: RequestId,
        /// What is told.
        reply: ParkedReply,
    },
    /// A mark was written.
    Mark {
        /// In this stream.
        instance: StreamInstance,
        /// Processed up to here.
        upto: Sequence,
    },
}

/// What the stream part is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A stream is open. Telling it twice is harmless.
    Opened {
        /// Its name.
        name: String,
        /// Its life.
        instance: StreamInstance,
        /// Its ends.
        ends: Ends,
    },
    /// An open stream is sealed, or is further on the way to that. Telling it twice is harmless.
    Sealed {
        /// Its life.
        instance: StreamInstance,
        /// How far.
        sealed: Sealed,
    },
    /// The members of a stream are to change, or did. May come before the stream is opened, and more than once.
    Members {
        /// Its life.
        instance: StreamInstance,
        /// How they differ from its ends.
        members: StreamMembers,
    },
    /// What is said of whether, and how fast, streams take messages in: in the place of all that was told before.
    Rules(Rules),
    /// A stream was resumed after it had failed. Telling it twice is harmless.
    Resumed {
        /// Its life.
        instance: StreamInstance,
        /// How often by now.
        resumed: u64,
    },
    /// The configuration of the stream's group is another one, or is committed.
    Configured {
        /// Of this stream.
        instance: StreamInstance,
    },
    /// Answers [`Output::Conform`]: so it is, and that is committed.
    Conforms {
        /// Of this stream.
        instance: StreamInstance,
    },
    /// A stream is closed: everything of it goes.
    Closed {
        /// Its life.
        instance: StreamInstance,
    },
    /// Publish messages.
    Publish {
        /// Ties the replies to it.
        request: RequestId,
        /// The stream's name.
        stream: String,
        /// Who writes.
        writer: WriterId,
        /// The first message's number; the others follow without gaps.
        first: WriterSequence,
        /// The messages.
        messages: Vec<Bytes>,
        /// How far the publisher waits.
        wait: Waited,
    },
    /// Publish a part of a large message.
    Stage {
        /// Ties the replies to it.
        request: RequestId,
        /// The stream's name.
        stream: String,
        /// The part.
        part: PartOf,
    },
    /// Give up what a writer has staged.
    GiveUp {
        /// Ties the reply to it.
        request: RequestId,
        /// The stream's name.
        stream: String,
        /// Whose.
        writer: WriterId,
    },
    /// A handler took pieces of large messages that it was handed.
    Took {
        /// Which attachment.
        token: AttachToken,
        /// Bytes of all pieces that were handed over under it and taken.
        bytes: u64,
    },
    /// Where a writer stands.
    FindWriter {
        /// Ties the reply to it.
        request: RequestId,
        /// The stream's name.
        stream: String,
        /// Who writes.
        writer: WriterId,
    },
    /// End a writer id for good.
    CloseWriter {
        /// Ties the reply to it.
        request: RequestId,
        /// The stream's name.
        stream: String,
        /// Who will write no more.
        writer: WriterId,
    },
    /// Nobody waits for the answers to a request any more. What it asked for is done all the same, except that a handler that is not
    /// attached yet will not be.
    Forget {
        /// Which.
        request: RequestId,
    },
    /// Attach a handler.
    Attach {
        /// Ties the reply to it.
        request: RequestId,
        /// The stream's name.
        stream: String,
        /// The handler's own position, if it keeps one.
        presented: Option<Position>,
        /// How many messages may be handed over without a durable mark; a larger wish than the settings allow is cut down to that.
        window: u32,
    },
    /// Read again what was processed and is kept.
    Replay {
        /// Ties the reply to it.
        request: RequestId,
        /// The stream's name.
        stream: String,
        /// Which messages.
        range: Range,
        /// How many messages may be handed over without a verdict; a larger wish than the settings allow is cut down to that.
        window: u32,
    },
    /// A handler, or a replay, is gone.
    Detach {
        /// Which attachment.
        token: AttachToken,
    },
    /// A handler succeeded for everything up to `upto`.
    Verdict {
        /// Which attachment.
        token: AttachToken,
        /// The last message it is done with.
        upto: Sequence,
    },
    /// A handler failed: at the message behind the last one it is done with, or at a parked one that it was handed again.
    Failed {
        /// Which attachment.
        token: AttachToken,
        /// The message.
        sequence: Sequence,
        /// What it says.
        reason: String,
    },
    /// A handler succeeded with a parked message that it was handed again.
    Retried {
        /// Which attachment.
        token: AttachToken,
        /// The message.
        sequence: Sequence,
    },
    /// An operator asks about what is parked.
    Parked {
        /// Ties the reply to it.
        request: RequestId,
        /// The stream's name.
        stream: String,
        /// What.
        command: ParkedCommand,
    },
    /// The other end of a stream said something.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// Entries that are committed and durable here.
    Apply {
        /// Of this stream's log.
        instance: StreamInstance,
        /// In order.
        entries: Vec<Applied>,
    },
    /// The role in the stream's group.
    Role {
        /// Of this stream.
        instance: StreamInstance,
        /// Whether this node leads.
        leading: bool,
        /// In this term.
        term: Term,
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// A member's log is durable up to here, and no further as far as is known; told to the leader.
    Match {
        /// Of this stream.
        instance: StreamInstance,
        /// Which member.
        node: NodeId,
        /// Up to this index.
        index: LogIndex,
    },
    /// The stream's group stopped on this node.
    Stopped {
        /// Of this stream.
        instance: StreamInstance,
        /// Why.
        reason: String,
    },
    /// A proposal was appended.
    Proposed {
        /// Of this stream.
        instance: StreamInstance,
        /// The proposal's number.
        context: u64,
        /// Where.
        index: LogIndex,
    },
    /// A proposal was not appended.
    Refused {
        /// Of this stream.
        instance: StreamInstance,
        /// The proposal's number.
        context: u64,
    },
    /// A member is behind the log.
    SnapshotWanted {
        /// Of this stream.
        instance: StreamInstance,
        /// Which member.
        to: NodeId,
    },
    /// The state of a member that is ahead.
    Install {
        /// Of this stream.
        instance: StreamInstance,
        /// Whose.
        from: NodeId,
        /// At this index.
        index: LogIndex,
        /// The state.
        data: Bytes,
    },
    /// A job is done.
    WorkDone {
        /// Its number.
        token: u64,
        /// Its result.
        done: Done,
    },
    /// Answers [`Output::Load`].
    Loaded {
        /// The load's number.
        token: u64,
        /// The record's payload, checked; `None` if the store cannot give it.
        bytes: Option<Bytes>,
    },
    /// Everything written up to the step of the [`Output::Notify`] is on disk.
    Durable(Receipt),
    /// A start of a peer was heard of.
    PeerBoot {
        /// Who.
        node: NodeId,
        /// Its start.
        boot: BootId,
    },
    /// A peer is silent.
    PairSuspect {
        /// Who.
        node: NodeId,
    },
    /// A peer is heard again.
    PairAlive {
        /// Who.
        node: NodeId,
    },
    /// Bytes that the store can still take.
    Space {
        /// Bytes.
        free: u64,
    },
    /// A deadline was reached.
    Deadline,
}

/// What the stream part wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write a record.
    Persist(Record),
    /// Records are dead.
    Forget(Forget),
    /// Tell when all that was written so far is on disk.
    Notify(Receipt),
    /// Do a job; answered by [`Input::WorkDone`].
    Work {
        /// Its number.
        token: u64,
        /// What to do.
        job: Job,
    },
    /// Load a record's whole payload; answered by [`Input::Loaded`].
    Load {
        /// Its number.
        token: u64,
        /// Which record.
        key: Key,
    },
    /// Say something to the other end.
    Send {
        /// Whom.
        to: NodeId,
        /// What.
        message: Message,
        /// When.
        when: When,
    },
    /// Append a command to the stream's log.
    Propose {
        /// Of this stream.
        instance: StreamInstance,
        /// The command.
        data: Bytes,
        /// Bytes of payload that it names.
        weight: u64,
        /// Members that only learn need not hear of it at once.
        unhurried: bool,
        /// The proposal's number.
        context: u64,
    },
    /// Another member shall lead; nobody is told whether it comes to that.
    Lead {
        /// Of this stream.
        instance: StreamInstance,
        /// Who.
        to: NodeId,
    },
    /// Whoever leads was asked for something and did not answer in time (rule E3).
    Unanswered {
        /// Of this stream.
        instance: StreamInstance,
    },
    /// The stream stopped here: this node is not to lead its group where others could (S17).
    Resign {
        /// Of this stream.
        instance: StreamInstance,
        /// It is to leave the stream, and nothing else is wrong with it.
        leaves: bool,
    },
    /// This node leads, and these vote from the beginning: who of them only learns is to vote again.
    Voting {
        /// In the group of this stream.
        instance: StreamInstance,
        /// Who.
        nodes: Vec<NodeId>,
    },
    /// The control group recorded who is a member of a stream by now, and who is out for good.
    Known {
        /// In the group of this stream.
        instance: StreamInstance,
        /// Who is.
        members: Vec<NodeId>,
        /// Who was.
        out: Vec<NodeId>,
    },
    /// This node leads: its group is to be without these, and these are to vote in it. Said again until it is answered by [`Input::Conforms`].
    Conform {
        /// The group of this stream.
        instance: StreamInstance,
        /// Who votes; nobody, if that is to stay as it is.
        voters: Vec<NodeId>,
        /// Who is out.
        out: Vec<NodeId>,
        /// Who is a member at least, though it may only learn.
        learners: Vec<NodeId>,
    },
    /// A change of the members is done.
    MembersChanged {
        /// Of this stream.
        instance: StreamInstance,
        /// Under which it was done.
        authority: AuthorityEpoch,
        /// Which change.
        number: LogIndex,
        /// The first message that a target owes which joined by it.
        first: Option<Sequence>,
    },
    /// A target stands still for longer than the stream bears, as this member sees that leads its group. Said again while that lasts.
    Idle {
        /// This stream.
        instance: StreamInstance,
        /// Under which it leads.
        authority: AuthorityEpoch,
        /// Who.
        target: NodeId,
        /// For how long, while it led.
        idle: crate::time::Span,
    },
    /// The handler here failed at a message as often as the stream's policy bears, which is durable. Said again until [`Input::Rules`] say that the stream failed, or
    /// [`Input::Resumed`] that it was resumed since.
    Failed {
        /// This stream.
        instance: StreamInstance,
        /// At what.
        failed: FailedAt,
    },
    /// Bytes or room came, for which an append may wait: offer it again, or ask the leader for it.
    OfferAgain {
        /// Of this stream.
        instance: StreamInstance,
    },
    /// The state up to here is in this step's row: entries may go.
    Compact {
        /// Of this stream.
        instance: StreamInstance,
        /// Up to this index.
        upto: LogIndex,
    },
    /// Answers [`Input::SnapshotWanted`].
    Snapshot {
        /// Of this stream.
        instance: StreamInstance,
        /// For this member.
        to: NodeId,
        /// At this index.
        index: LogIndex,
        /// The state.
        data: Bytes,
    },
    /// Answers [`Input::Install`].
    Installed {
        /// Of this stream.
        instance: StreamInstance,
        /// Whether the state was taken over, and written in this very step.
        taken: bool,
    },
    /// Answers [`Input::Install`], too: what is committed here is not in that state, so the logs are not one (rule C2).
    Contradicted {
        /// Of this stream.
        instance: StreamInstance,
        /// What is missing.
        reason: String,
    },
    /// The log that a sealed stream is gone on from is applied here up to its end.
    Settled {
        /// Its life.
        instance: StreamInstance,
        /// For which seal.
        authority: AuthorityEpoch,
        /// The last message in it.
        sequence: Sequence,
    },
    /// Messages for a handler.
    Deliver(Delivery),
    /// Answers a request.
    Reply {
        /// Which.
        request: RequestId,
        /// The answer.
        reply: Result<Reply, Refusal>,
    },
    /// Something an operator may want to know.
    Event(Event),
}
