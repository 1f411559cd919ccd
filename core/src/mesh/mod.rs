//! The replicated state the control group agrees on, and how nodes enter it.
//!
//! The mesh control group is one Raft group whose log says who the members are and which streams are open. Every member is
//! in the group (a few vote, see `voters`) and applies the same entries to the same [`State`]. Whatever changes the
//! mesh is a request: it is made at some node, forwarded to the leader, checked and stamped there, and done once the node it was made at has
//! applied it.
//!
//! Files, in reading order: `entry` (the commands), `state` (what they do), `requests` (how they get there), `leader`,
//! `voters`, `spread` and `stability` (who votes), `seed`, `token`, `join`, `admit` (how a mesh begins and grows), `join_key` (the key of the mesh itself), `introduce` (members that
//! were admitted while this node was away), `eviction` and `evict` (how members go), `recovery`, `trail`, `fencing`, `recover` and `rival` (without a quorum), `parted` (a node that went), `mode` (how the mesh is, and what that
//! forbids), `describe` (what members say of themselves), `stop` (a member
//! that takes no part for a while), `flow` (whether, and how fast, streams take messages in), `identity` and `doubles` (a node that exists twice), `rotation` and `rotate` (a node's key gives way to another), `updates` (what reaches every member; invariants M20 to M23), `events` (what is told of all
//! this), `wire`, `snapshot`, `store`. Agreed configuration: `table` and `handlers` (what it holds), `writes`, `reads`, `watches`.
//!
//! # Invariants
//! - **M1** Members that have applied the same index have equal states ([`Mesh::digest`]); entries are applied in order, each once.
//! - **M2** Node names are unique, and none reads as an id.
//! - **M3** A node id is bound to the key it derives from; a replica id that was given up never returns.
//! - **M4** A request is decided at most once, however often it is repeated, and only by the log, also where a look at the state
//!   would do: a copy of what a leader refused by itself might come again and be done. A stream's instance is the id of the request that
//!   opened it, so no instance is used twice.
//! - **M5** All tables are bounded.
//! - **M6** The only time that apply knows is stamped by the leader and grows with each command.
//! - **M7** One change of the group's membership at a time, asked for by its leader; a group keeps a voter.
//! - **M8** A joiner speaks only to the key its token names, and not before its replica id is on disk.
//! - **M9** A token admits no more nodes than it allows; a use is on disk before its admission leaves the node.
//! - **M10** A command is answered once its own node has applied it.
//! - **M11** The log is cut only where the state beside the cut is in the same row.
//! - **M12** A node belongs to one mesh, once.
//! - **M13** Who is not known as a member is taken for one only on signed admissions that lead to a member that is known.
//! - **M14** Whom the state holds as a member, the next start knows: from the stored state, or from a mark beside it.
//! - **M15** Who talks to the members is told of all of them, and from then on of what changes: together that is the roster.
//! - **M16** The version of a key is the index of the entry that wrote it; a write is done whole or not at all, and only where it finds the version it
//!   expects. What the handler of a reserved key refuses never stands there.
//! - **M17** A linearizable read is answered from a state that holds all that was committed before it was asked.
//! - **M18** A watcher is told everything that is written behind the entry it comes from, in order, or that it is not.
//! - **M19** The mesh's join key is known to its members by a salted hash only, and admits no more nodes than it allows, all doors counted together. Nobody
//!   is admitted against the policy that stands when the admission is applied.
//! - **M24** What a member says of itself holds until it says something later, by (start, count of that start); nobody says it for it.
//! - **M25** The mesh epoch grows by one with each eviction, which names the epoch before it (rule E2).
//! - **M26** Who was evicted or left is no member, and is one again only by a new admission, under a replica id it never had, on a token made since.
//! - **M27** Nobody is let in on the word of others whose admission is older than its eviction, nor on the word of who was evicted.
//! - **M28** Who is evicted does not vote: the control group decides without it before the entry is written.
//! - **M29** A node that was evicted or left belongs to no mesh, at its next starts too, until it joins one; it keeps the data of its streams.
//! - **M30** While half of the members or more cannot be reached, the leader has the log refuse every change of the configuration but evictions.
//! - **M32** Who said where its log ends, for a recovery, takes part in nothing else until that comes to its end, in its next lives too, or an earlier one
//!   does whose founder it hears: it is said only when it is on disk.
//! - **M33** A recovery takes out everybody who is no survivor, raises the epoch once for each, and is decided once.
//! - **M34** Of two recoveries the one with the higher attempt holds; what came to its end does not begin again.
//! - **M35** Whoever founds the control group anew does nothing before the lost are taken out.
//! - **M36** The lost do not decide for survivors, nor take them out: their word counts for nothing. Who was named lost and holds what may have been decided, and
//!   is not in the log that others went on from, does not give it up by itself.
//! - **M37** What a recovery keeps is bounded. Who is not named is not passed over, and who refused to found does not do it later.
//! - **M31** The mode that is shown and acted upon changes only once what it rests on has been so for a while.
//! - **M38** A member that an operator stopped is offline, at its next starts too, until somebody starts it; it says so once that is on disk.
//! - **M50** That a node exists twice is believed only on two claims under its own key that name each other; what is kept of that is bounded, and of
//!   two records of a node the later one holds.
//! - **M51** A node that is shown that it exists twice, or that another copy of it is the only one, says nothing that counts, at its next starts too,
//!   until an operator says that it is the only copy; then it goes on under fresh replica ids.
//! - **M60** A member has another key only by a rotation that follows its last one and is signed by both keys; a key that it gave up is none of its keys again,
//!   as far as the state remembers: its last rotations of this membership, and of who was taken out the keys it had last, for as long as its eviction is kept.
//! - **M61** What a node proves and signs with is a key that is on its disk; its next key not before the mesh agreed on it.
//! - **M62** A key that is not known is taken for a member's only if rotations lead to it from one that is.
//! - **M63** A node whose disk holds nothing but keys it gave up says nothing that counts.
//! - **M70** A stream's authority grows by one with each seal of it, and with nothing else.
//! - **M71** Where a sealed stream ends is fixed once: when every survivor has said where its log ends. Who is named lost has no say in it.
//! - **M72** That end holds whatever a survivor knew to be committed.
//! - **M73** A survivor says where its log ends only when what it was told of the seal is on its disk.
//! - **M74** One change of a stream's members is under way at a time, and done only when the stream's own log and the configuration of its group say so, under the present
//!   authority, and while no seal asks the members.
//! - **M75** Who was taken out of a stream was one of its targets, is out of it for good, and was not the last.
//! - **M77** Who is added to a stream was no end of that life of it before, and is one of as many as can be told apart.
//! - **M79** A node that was taken in again, with another disk or as one that had gone, says so of each stream that was opened before: it does not know what it vouched for then.
//! - **M80** A stream is its tenant's from its opening to its end, and nothing that names another tenant does anything about it.
//! - **M81** There is one rule about the same streams, and it says something; rules are bounded, and none is about a stream that is closed.
//! - **M82** What a node was told of rules, its next start goes by: from the stored state, or from a mark beside it. Whoever asked for a rule is told so once that is on
//!   the disk of the node that was asked.
//! - **M86** A stream fails by the word of one of its targets, if its policy says so, and once for each time that it was resumed: what a target says that does not know
//!   of the last resume does nothing.
//! - **M87** A target is detached for standing still only from a stream that says so, by the word of one of its members under its present authority, and only if those who are left can meet the policy.
//! - **M40** One voter at a time is exchanged for one learner: where that can be committed, the number of voters stays, and the exchanges come to rest.
//! - **M41** What is remembered of how steadily members were heard is bounded by the members.

pub mod config;
pub mod entry;
pub mod handlers;
pub mod input;
pub mod join_key;
pub mod output;
pub mod state;
pub mod table;
pub mod token;
pub mod wire;

mod admit;
mod apply;
mod changer;
mod describe;
mod doubles;
mod events;
mod evict;
mod eviction;
mod failing;
mod fencing;
mod flow;
mod identity;
mod idle;
mod introduce;
mod join;
mod leader;
mod lost_key;
mod marks;
mod members;
mod mode;
mod opening;
mod parted;
mod reads;
mod recover;
mod recovery;
mod requests;
mod rival;
mod room;
mod roster;
mod rotate;
pub mod rotation;
mod sealer;
mod sealing;
mod seed;
mod snapshot;
mod spread;
mod stability;
mod stop;
mod store;
mod trail;
mod transcript;
pub mod updates;
mod voters;
mod watches;
mod writes;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

pub use config::Config;
pub use doubles::Told;
pub use eviction::{Evict, Evicted, Eviction, Former};
pub use failing::StreamFailed;
pub use identity::{Claim, Record as IdentityRecord};
pub use idle::TargetIdle;
pub use input::{Applied, Input, Receipt};
pub use join::JOIN_VERSION;
pub use members::MembersChanged;
pub use output::Output;
pub use parted::Parted;
pub use recover::View as RecoverView;
pub use sealing::{ReportEnd, Seal, SettleEnd};
pub use state::{Member, State, Stream};
pub use stop::Activity;
pub use wire::{JoinMessage, Malformed, Message, RosterEntry, valid_region};

use crate::agreed::MeshSettings;
use crate::digest::Digest;
use crate::ends::{BadEnds, TARGETS_MAX};
use crate::epoch::Epoch;
use crate::id::{LaneId, LogIndex, MeshId, NodeId, ReplicaId, RequestId, StreamInstance};
use crate::level::Level;
use crate::node::command::{Refusal, Reply};
use crate::node::output::CloseReason;
use crate::planted::{Bug, Planted};
use crate::record::{Damaged, Key};
use crate::rng::Rng;
use crate::time::{Instant, Now};
use crate::work::{Done, PublicKey};
use entry::{Body, Request};
pub use state::valid_stream_name;
use store::{IssuedToken, Membership, Space, StoredJoin};

/// What waits for the disk.
#[derive(Clone, Debug)]
enum Awaited {
    Reply(RequestId, Result<Reply, Refusal>),
    JoinStored(ReplicaId),
    Cursors(updates::Cursors),
    Round,
    ReportEnd(sealing::ReportEnd),
}

/// The part.
#[derive(Clone, Debug)]
pub struct Mesh {
    config: Config,
    own: NodeId,
    rng: Rng,
    state: State,
    /// Up to here the state is stored.
    stored: LogIndex,
    /// Up to here the log was cut in this life.
    cut: LogIndex,
    membership: Option<Membership>,
    tokens: BTreeMap<u128, IssuedToken>,
    seeding: Option<seed::Seeding>,
    joining: Option<join::Joining>,
    admissions: admit::Admissions,
    introductions: introduce::Introductions,
    control: leader::Control,
    requests: requests::Requests,
    reads: reads::Reads,
    watches: watches::Watches,
    /// Secrets of keys that are being agreed on.
    secrets: BTreeMap<RequestId, token::Secret>,
    /// Requests refused for good in this step.
    failed: Vec<(Request, Refusal)>,
    /// Members admitted or changed after the stored state.
    marks: marks::Marks,
    /// Streams opened after the stored state.
    opened: BTreeMap<StreamInstance, Stream>,
    /// Streams closed after the stored state.
    closed: BTreeMap<StreamInstance, LogIndex>,
    /// The join found at recovery.
    stored_join: StoredJoin,
    /// The replica id of a join that came to nothing: the next join uses it, so that a late admission does no harm.
    spare_replica: Option<ReplicaId>,
    /// A join that succeeded and is not answered yet.
    welcome: Option<join::Welcome>,
    /// Who was told to be a member.
    told: events::Told,
    /// What this node wants to say of itself.
    describing: describe::Describing,
    /// Handlers of updates at this node.
    handlers: updates::Handlers,
    /// Updates on their way.
    sending: updates::Sending,
    /// What handlers have processed, on its way to the leader and into the log.
    reports: updates::Reports,
    /// Bytes of entries applied since the log was cut.
    grown_bytes: usize,
    /// What this node makes of the mesh.
    judgement: mode::Judgement,
    /// What this node knows of recoveries of a lost quorum.
    recovery: fencing::Fencing,
    /// The eviction that this node, leading, is at.
    evicting: Option<evict::Evicting>,
    /// What became of the last membership that is over.
    parted: Option<Parted>,
    /// What neighbours showed, while it is being checked.
    shown: BTreeMap<u64, parted::Shown>,
    /// Where the links were told that the mesh stands.
    told_bounds: Option<(Epoch, Vec<NodeId>)>,
    /// Whether this node takes part.
    stopping: stop::Stopping,
    /// Nodes that exist twice.
    doubles: doubles::Doubles,
    /// What this node owes to seals of streams.
    sealer: sealer::Sealer,
    /// What this node told, and wrote, of whether streams take messages in.
    flowing: flow::Flowing,
    /// This node's own keys.
    keys: rotate::Keys,
    awaited: BTreeMap<Receipt, Awaited>,
    last_number: u64,
    outputs: VecDeque<Output>,
    planted: Planted,
}

impl Mesh {
    /// The part of node `own`, knowing nothing yet.
    #[must_use]
    pub fn new(config: Config, own: NodeId, rng: Rng, planted: Planted) -> Self {
        Self {
            keys: rotate::Keys::new(config.key, config.next_key, config.key_number),
            config,
            own,
            rng,
            state: State { planted, ..State::default() },
            stored: LogIndex(0),
            cut: LogIndex(0),
            membership: None,
            tokens: BTreeMap::new(),
            seeding: None,
            joining: None,
            admissions: admit::Admissions::default(),
            introductions: introduce::Introductions::default(),
            control: leader::Control::default(),
            requests: requests::Requests::default(),
            reads: reads::Reads::default(),
            watches: watches::Watches::default(),
            secrets: BTreeMap::new(),
            failed: Vec::new(),
            marks: marks::Marks::default(),
            opened: BTreeMap::new(),
            closed: BTreeMap::new(),
            stored_join: StoredJoin::default(),
            spare_replica: None,
            sealer: sealer::Sealer::default(),
            flowing: flow::Flowing::default(),
            welcome: None,
            told: events::Told::new(),
            describing: describe::Describing::default(),
            handlers: updates::Handlers::default(),
            sending: updates::Sending::default(),
            reports: updates::Reports::default(),
            grown_bytes: 0,
            judgement: mode::Judgement::default(),
            recovery: fencing::Fencing::default(),
            evicting: None,
            parted: None,
            shown: BTreeMap::new(),
            told_bounds: None,
            stopping: stop::Stopping::default(),
            doubles: doubles::Doubles::default(),
            awaited: BTreeMap::new(),
            last_number: 0,
            outputs: VecDeque::new(),
            planted,
        }
    }

    /// Takes back a record, in the order they were written.
    ///
    /// # Errors
    /// [`Damaged`] if it makes no sense.
    pub fn restore(
        &mut self,
        key: &Key,
        _last_slot: u64,
        head: &[u8],
        _payload_len: usize,
    ) -> Result<(), Damaged> {
        let sense = |error: Malformed| store::damaged(key, &error);
        match Space::from_number(key.space).ok_or_else(|| store::damaged(key, &"unknown space"))? {
            Space::Membership => self.membership = Some(Membership::read(head).map_err(sense)?),
            Space::State => {
                self.state = State { planted: self.planted, ..State::decode(head).map_err(sense)? };
                self.stored = self.state.applied;
            }
            Space::Token => {
                self.tokens.insert(key.id, IssuedToken::read(head).map_err(sense)?);
            }
            Space::Joining => self.stored_join = StoredJoin::read(head).map_err(sense)?,
            Space::Opened => {
                let stream = store::read_opened(key.id, head).map_err(sense)?;
                self.opened.insert(stream.instance, stream);
            }
            Space::Member => {
                let (index, member) = store::read_member(key.id, head).map_err(sense)?;
                self.marks.recall(index, member);
            }
            Space::Cursors => self.handlers.restore(MeshId(key.id), head).map_err(sense)?,
            Space::Closed => {
                self.closed.insert(StreamInstance(key.id), store::read_closed(head).map_err(sense)?);
            }
            Space::Flow => self.flowing.restore(head).map_err(sense)?,
            Space::Fence => self.recovery.restore(head).map_err(sense)?,
            Space::Stopped => self.stopping.read(head).map_err(sense)?,
            Space::Identity => self.doubles.restore(self.own, key, head).map_err(sense)?,
            Space::Parted => {
                // Records come in the order in which they were written: all before this one are of a membership that is over.
                self.forget_mesh();
                self.parted = Some(Parted::read(head).map_err(sense)?);
            }
        }
        Ok(())
    }

    /// There are no more records: goes on where the last life ended.
    pub fn restored(&mut self, now: Now) {
        self.drop_expired_tokens(now);
        self.make_room_for_tokens(self.config.tokens_max);
        self.drop_marks();
        self.recall_told();
        self.watches.begin(self.state.applied);
        let join = core::mem::take(&mut self.stored_join);
        if self.membership.is_none() {
            self.resume_join(now, join);
        }
        self.restored_kept_streams();
        // Whatever is signed from here on is signed with a key that the members accept.
        self.restored_keys();
        self.restored_identity();
        self.go_on_rotating(now);
        let Some(membership) = self.membership.clone() else { return };
        self.begin_cursors(membership.mesh);
        self.restored_fence();
        self.restored_stop();
        let founding = self.founding_configuration(&membership);
        self.outputs.push_back(Output::CreateGroup { replica: membership.replica, founding });
        self.outputs.push_back(Output::Became { mesh: membership.mesh, remember: Vec::new() });
        if !membership.remember.is_empty() {
            self.outputs.push_back(Output::Remembered { addresses: membership.remember });
        }
        self.announce_roster();
        self.flow_changed();
        self.announce_streams();
        self.announce_opened();
        self.seals_announced(now);
        self.updates_changed(now);
    }

    /// The streams that are open, as far as this node knows: those of its state, and those opened and closed since. Without those that it was taken out of: it
    /// has let go of all that it kept of them, and what a start finds of that yet is whatever rows were not trimmed.
    #[must_use]
    pub fn open_streams(&self) -> BTreeSet<StreamInstance> {
        let stated = || self.state.streams.values().chain(self.kept_streams());
        let out = |stream: &&Stream| stream.is_out(self.own);
        let over: BTreeSet<StreamInstance> =
            stated().filter(out).map(|stream| stream.instance).chain(self.closed.keys().copied()).collect();
        let known = stated().map(|stream| stream.instance).chain(self.opened.keys().copied());
        known.filter(|instance| !over.contains(instance)).collect()
    }

    /// Tells the part something; afterwards [`Self::poll`] until `None`.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Seed { request, name } => self.on_seed(now, request, name),
            Input::Invite { request } => self.on_invite(now, request),
            Input::Join { request, token } => self.on_join(now, request, &token),
            Input::OpenStream { request, name, source, targets, terms } => {
                let open = Body::Open { name, source, targets, terms };
                self.on_open_stream(now, request, open);
            }
            Input::CloseStream { request, name } => {
                self.on_client_request(now, request, Body::Close { name });
            }
            Input::SealStream { request, name, lost } => {
                self.on_seal_stream(now, request, None, name, lost);
            }
            Input::ChangeMembers { request, wish } => self.on_change_members(now, request, None, wish),
            Input::ChangeFlow { request, wish } => self.on_change_flow(now, request, None, wish),
            Input::Within { tenant, input } => self.on_within(now, tenant, *input),
            Input::StreamFailed { instance, failed } => self.on_stream_failed(now, instance, failed),
            Input::TargetIdle { instance, authority, target, idle } => {
                self.on_target_idle(now, instance, authority, (target, idle));
            }
            Input::MembersChanged { instance, authority, number, first } => {
                self.on_members_done(now, instance, authority, (number, first));
            }
            Input::StreamEnd { instance, authority, end } => self.on_stream_end(instance, authority, end),
            Input::StreamSettled { instance, authority, sequence } => {
                self.on_stream_settled(now, instance, authority, sequence);
            }
            Input::Describe { request, description } => self.on_describe(now, request, description),
            Input::Updates(input) => self.on_updates(now, input),
            Input::Config { request, command } => self.on_config(now, request, command),
            Input::Evict { request, member } => self.on_evict(now, request, member),
            Input::Leave { request, force } => self.on_leave(now, request, force),
            Input::Recover { request, command, view } => self.on_recover(now, request, command, &view),
            Input::LogEnd { era, end, held, whole } => self.on_log_end(era, end, &held, whole),
            Input::Compared { shared, held, whole } => self.on_compared(now, shared, &held, whole),
            Input::Founded { era, done } => self.on_group_founded(now, era, done),
            Input::Era(era) => self.on_era(now, era),
            Input::Stop { request, lasting } => self.on_stop(now, request, lasting),
            Input::Start { request } => self.on_start(now, request),
            Input::HandedOver { left, neighbours } => self.on_handed_over(now, left, neighbours),
            Input::OtherStopped { node, stopped } => self.on_other_stopped(node, stopped),
            Input::Rival { boot, claim } => self.on_rival(now, boot, &claim),
            Input::Identity(record) => self.on_identity(&record),
            Input::RoutesChanged => self.look_soon(now),
            Input::Unreached(nodes) => self.on_unreached(now, nodes),
            Input::Fenced { proof, endorsement } => self.on_fenced(&proof, &endorsement),
            Input::JoinLaneUp { lane, peer_key, rotations } => {
                self.on_join_lane_up(now, lane, peer_key, &rotations);
            }
            Input::RotateNodeKey { request, finish } => self.on_rotate_node_key(now, request, finish),
            Input::KeyRetired(rotations) => self.on_key_retired(&rotations),
            Input::JoinFailed { address, what } => self.on_join_failed(&address, &what),
            Input::JoinMessage { lane, peer_key, message } => {
                self.on_join_message(now, lane, peer_key, message);
            }
            Input::JoinLaneDown { lane } => {
                self.on_joining_lane_down(now, lane);
                self.on_admitting_lane_down(lane);
            }
            Input::Stranger { node, key, endorsement } => self.on_stranger(node, key, &endorsement),
            Input::Unknown { node, through } => self.on_unknown(now, node, through),
            Input::Message { from, message } => self.on_message(now, from, message),
            // What its replica of the control group said before it went.
            Input::Apply { .. }
            | Input::Role { .. }
            | Input::Configured { .. }
            | Input::Match { .. }
            | Input::SnapshotWanted { .. }
                if self.membership.is_none() => {}
            Input::Apply { entries } => self.on_apply(now, &entries),
            Input::Role { leading, term, leader } => self.on_role(now, leading, term, leader),
            // What matters is when it is applied.
            Input::Proposed { .. } => {}
            Input::ReadReady { context } => self.on_read_ready(now, context),
            Input::Refused { context, leader } => {
                if !self.on_change_refused(now, context) {
                    self.on_proposal_refused(context, leader);
                }
            }
            Input::Match { node, index } => self.on_match(now, node, index),
            Input::Configured { configuration, index, committed } => {
                self.on_configured(now, configuration, index, committed);
            }
            Input::SnapshotWanted { to } => {
                let (index, data) = (self.state.applied, self.snapshot());
                self.outputs.push_back(Output::Snapshot { to, index, data });
            }
            Input::Install { index, data, .. } => self.on_install(now, index, &data),
            Input::WorkDone { token, done } => self.on_work_done(now, token, done),
            Input::Durable(receipt) => self.on_durable(now, receipt),
            Input::PairSuspect { node } => self.on_pair(now, node, true),
            Input::PairAlive { node } => self.on_pair(now, node, false),
            Input::Deadline => self.on_deadline(now),
        }
        self.settle_failed(now);
    }

    /// The next thing the part wants.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Deadline`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let joining = self.joining.as_ref().map(join::Joining::next_deadline);
        let seeding = self.seeding.as_ref().map(|s| s.deadline);
        let (requests, control) = (self.requests.next_deadline(), self.control.next_deadline());
        let (welcome, admissions) = (self.welcome.as_ref().map(|w| w.until), self.admissions.next_deadline());
        let (reports, describing) = (self.reports.next_deadline(), self.describing.next_deadline());
        let (watches, reads) = (self.watches.next_deadline(), self.reads.next_deadline());
        let evicting = self.evicting.as_ref().map(evict::Evicting::next_deadline);
        let (mode, stopping) = (self.judgement.next_deadline(), self.stopping.next_deadline());
        let recovering = self.recovery.next_deadline();
        let own = [describing, joining, welcome, seeding, requests, control, recovering];
        let others = [admissions, reports, watches, reads, evicting, mode, stopping];
        let identity = [self.doubles.next_deadline(), self.keys.next_deadline(), self.sealer.next_deadline()];
        own.into_iter().chain(others).chain(identity).flatten().min()
    }

    /// Panics if an invariant does not hold.
    pub fn check_invariants(&self, level: Level) {
        assert!(self.stored <= self.state.applied, "M11: what is stored was applied");
        assert!(self.cut <= self.stored, "M11: what was cut is stored");
        assert!(self.admissions.len() <= self.config.joins_max, "M5: admissions are bounded");
        // Beside commands: one request per admission, the founding, the node's own change, its description, cursors, its key, a barrier, and words
        // for seals, changes and failures of streams, and for targets that stand still.
        let streams = sealer::SEALS_AT_ONCE + changer::CHANGES_AT_ONCE;
        let streams = streams + failing::FAILURES_AT_ONCE + idle::IDLE_AT_ONCE;
        let most =
            self.config.requests_max + self.config.updates_pending_max + self.config.joins_max + streams + 6;
        assert!(self.requests.pending() <= most, "M5: requests are bounded");
        assert!(self.requests.served() <= self.config.served_max, "M5: served requests are bounded");
        assert!(self.requests.served() == 0 || self.control.leading, "M7: only a leader serves");
        assert!(self.introductions.len() <= self.config.introductions_max, "M5: introductions are bounded");
        assert!(
            self.membership.is_some() || self.state.mesh.is_none(),
            "M29: the state of a mesh that is none of this node's"
        );
        assert!(self.joining.is_none() || self.membership.is_none(), "M12: a member joins nothing");
        assert!(self.tokens.len() <= self.config.tokens_max, "M5: tokens are bounded");
        if let (Some(membership), Some(mesh)) = (&self.membership, self.state.mesh) {
            assert_eq!(membership.mesh, mesh, "M12: the state is of the mesh this node belongs to");
        }
        assert!(self.reports.heard() <= self.state.members.len(), "M5: what members told is bounded");
        self.sending.check(self.config.updates_served_max);
        self.check_handlers();
        self.describing.check();
        self.check_fencing();
        self.check_stop();
        self.check_doubles();
        self.check_keys();
        self.check_seals();
        self.check_flowing();
        assert!(
            self.control.remembered() <= self.state.members.len() + 1,
            "M41: of whom is remembered that it was away"
        );
        assert!(
            self.secrets.len() <= self.requests.pending(),
            "M5: secrets are kept while their request is open"
        );
        self.check_reads();
        self.check_watches();
        if level == Level::Full {
            for token in self.tokens.values() {
                assert!(token.redeemed.len() <= token.uses as usize, "M9: no token is used too often");
            }
            self.state.check();
            self.check_marks();
        }
    }

    /// The mesh this node belongs to.
    #[must_use]
    pub fn mesh_id(&self) -> Option<MeshId> {
        self.membership.as_ref().map(|m| m.mesh)
    }

    /// Its name, or nothing.
    #[must_use]
    pub fn mesh_name(&self) -> &str {
        let agreed = self.settings().name.as_deref();
        agreed.or(self.membership.as_ref().map(|m| m.mesh_name.as_str())).unwrap_or_default()
    }

    /// The settings of the mesh, as far as this node has applied them.
    #[must_use]
    pub fn settings(&self) -> &MeshSettings {
        self.state.config.settings()
    }

    /// The member of that name or id.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<NodeId> {
        self.state.resolve(name)
    }

    /// Who votes in the control group.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.control.configuration.voters.iter().map(|m| m.node).collect()
    }

    /// The open streams, in order of their names.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> + '_ {
        self.state.streams.values()
    }

    /// The open stream of that name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        self.state.streams.get(name)
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied_index(&self) -> LogIndex {
        self.state.applied
    }

    /// Tells states apart (M1): equal at members that have applied the same index.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.state.digest()
    }

    fn on_open_stream(&mut self, now: Now, request: RequestId, open: Body) {
        let Body::Open { name, source, targets, terms } = &open else { return };
        if !valid_stream_name(name) {
            return self.reply(request, Err(state::bad_stream_name(name)));
        }
        let (_, named) = terms.policy.parts();
        if targets.len() > TARGETS_MAX || named.len() > TARGETS_MAX {
            return self.reply(request, Err(Refusal::BadEnds(BadEnds::TooMany)));
        }
        if targets.iter().chain(named).chain([source]).any(|name| name.len() > wire::TEXT_MAX) {
            return self.reply(request, Err(Refusal::Invalid("a node's name or id is too long".into())));
        }
        self.on_client_request(now, request, open);
    }

    /// The state for a member whose log ends too early.
    fn snapshot(&self) -> Bytes {
        let mut state = &self.state;
        let mut short = State::default();
        if self.planted.strikes(Bug::SnapshotForgetsUpdateIds, || state.updates.remembers_more()) {
            short.clone_from(state);
            short.updates.forget_ids();
            return short.encode();
        }
        let decided = self.planted.strikes(Bug::SnapshotForgetsDecisions, || !state.decided.is_empty());
        let streams = self.planted.strikes(Bug::SnapshotForgetsStreams, || !state.streams.is_empty());
        let config = self.planted.strikes(Bug::SnapshotForgetsConfiguration, || !state.config.is_empty());
        if decided || streams || config {
            short.clone_from(state);
            if decided {
                short.decided.clear();
            } else if streams {
                short.streams.clear();
            } else {
                short.config = table::Table::default();
            }
            state = &short;
        }
        state.encode()
    }

    fn on_join_message(&mut self, now: Now, lane: LaneId, peer_key: PublicKey, message: JoinMessage) {
        match message {
            JoinMessage::Request(request) => self.on_join_request(now, lane, peer_key, request),
            JoinMessage::Accepted { mesh, mesh_name, admitter, members } => {
                self.on_accepted(now, lane, peer_key, mesh, mesh_name, admitter, members);
            }
            JoinMessage::Rejected { reason, retry, bar } => self.on_rejected(now, lane, reason, retry, bar),
            JoinMessage::Unknown => {}
        }
    }

    fn on_work_done(&mut self, now: Now, token: u64, done: Done) {
        match done {
            Done::Signature(signature) => {
                if !self.on_key_signed(now, token, &signature)
                    && !self.on_identity_signed(now, token, &signature)
                    && !self.on_founding_signed(token, &signature)
                    && !self.on_recovery_signed(now, token, &signature)
                    && !self.on_eviction_signed(now, token, &signature)
                {
                    self.on_admission_signed(now, token, &signature);
                }
            }
            Done::Verified(valid) => {
                if !self.on_key_verified(now, token, valid)
                    && !self.on_door_verified(now, token, valid)
                    && !self.on_identity_verified(now, token, valid)
                    && !self.on_introduction_verified(token, valid)
                    && !self.on_shown_verified(now, token, valid)
                {
                    self.on_verified(now, token, valid);
                }
            }
            Done::NextKey(made) => self.on_next_key(now, token, made),
            Done::Kept(kept) => self.on_key_kept(now, token, kept),
            Done::Digest(_) => {}
        }
    }

    fn on_durable(&mut self, now: Now, receipt: Receipt) {
        match self.awaited.remove(&receipt) {
            Some(Awaited::Reply(request, reply)) => self.reply(request, reply),
            Some(Awaited::JoinStored(replica)) => self.on_join_stored(now, replica),
            Some(Awaited::Cursors(stored)) => self.on_cursors_stored(now, &stored),
            Some(Awaited::Round) => self.on_round_stored(),
            Some(Awaited::ReportEnd(report)) => {
                let instance = report.instance;
                self.say_seal(now, instance, Body::ReportEnd(Box::new(report)));
            }
            None => {}
        }
    }

    fn on_deadline(&mut self, now: Now) {
        self.on_seed_deadline(now);
        self.on_join_deadline(now);
        self.on_welcome_deadline(now);
        self.on_request_deadline(now);
        self.on_read_deadline(now);
        self.on_watch_deadline(now);
        self.on_linger_deadline(now);
        self.on_control_deadline(now);
        self.on_report_deadline(now);
        self.describe(now);
        self.on_evicting_deadline(now);
        self.on_mode_deadline(now);
        self.on_recovery_deadline(now);
        self.on_stop_deadline(now);
        self.on_double_deadline(now);
        self.on_key_deadline(now);
        self.on_seal_deadline(now);
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn when_durable(&mut self, awaited: Awaited) {
        let receipt = Receipt(self.next_number());
        self.awaited.insert(receipt, awaited);
        self.outputs.push_back(Output::Notify(receipt));
    }

    fn reply(&mut self, request: RequestId, reply: Result<Reply, Refusal>) {
        self.outputs.push_back(Output::Reply { request, reply });
    }

    fn close(&mut self, lane: LaneId, reason: CloseReason) {
        self.outputs.push_back(Output::CloseLane { lane, reason });
    }
}
