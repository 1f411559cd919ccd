//! A node becomes a target of a live stream (rules B1, B3, C5, D1; decision 26).
//!
//! As with every change of members, the control group says what is intended, and whoever leads the stream's group goes on from wherever the leader before it came to. First
//! the node learns: it is sent the log, or a state and the log behind that, with all bytes that are not let go yet; meanwhile nothing is let go from its start on. When
//! it holds what counted when that began, an entry says that it is a target, and behind which message it owes what there is. From that entry on it is asked for what follows, and bytes wait
//! for it; for what is in front of the entry the others alone are asked, so nothing that was completed is opened again. Then it may vote, and the control group is told.
//!
//! A start is decided where the entry is proposed, by a leader of whom nothing else is under way that lets go of anything. So at every member the bytes behind it are kept.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Output;
use super::changing::CHANGE;
use super::common::Common;
use super::entry::Entry;
use super::member::{Part, Stream};
use super::peer::Peer;
use super::state::{Effect, LogState};
use super::streams::Streams;
use super::wire::encode_entry;
use crate::ends::Ends;
use crate::id::{LogIndex, NodeId, Sequence, StreamInstance};
use crate::members::{ChangeKind, MembersRefusal, Start, StreamMembers};
use crate::planted::Bug;
use crate::rare;

/// What a round of catching up may leave to the next, in entries: who is so near has caught up, for under load nobody holds everything.
const NEAR: u64 = 64;
/// Rounds after which a target joins all the same, however fast the log grows (thesis 4.2.1).
const ROUNDS: u32 = 10;

/// How far a target that is to join has caught up, as its leader counts it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CatchingUp {
    /// Where the log stood when the round began; 0 before the first.
    goal: LogIndex,
    rounds: u32,
    /// What must not be let go meanwhile is behind this message, since this member leads.
    pub(super) keeps: Option<Sequence>,
}

impl Streams {
    /// The ends that a stream was opened with, if this node is one that came later, or is about to.
    #[must_use]
    pub fn came_late(&self, instance: StreamInstance) -> Option<&Ends> {
        let open = self.directory.get(&instance)?;
        let own = self.common.own;
        (open.ends.has(own) && !open.opened.has(own) && !self.is_out(instance)).then_some(&*open.opened)
    }

    /// Why nobody can begin with that message of a stream, as far as it is known here.
    ///
    /// # Errors
    /// It is let go, or the stream does not go so far.
    pub fn may_begin(&self, name: &str, start: Start) -> Result<(), MembersRefusal> {
        let stream = self.names.get(name).and_then(|instance| self.streams.get(instance));
        let (Some(stream), Start::At(start)) = (stream, start) else { return Ok(()) };
        let first = stream.head.released.next();
        if start < first {
            return Err(MembersRefusal::NotKept { start, first });
        }
        // Others may be behind.
        let end = stream.source.accepted.max(stream.head.taken);
        let knows = stream.part == Part::Source && stream.stopped.is_none();
        if knows && start > end.next() {
            return Err(MembersRefusal::AboveEnd { start, end });
        }
        Ok(())
    }

    /// Who is, or is about to be, an end of a stream beside those it was opened with.
    pub(super) fn more_ends(&mut self, instance: StreamInstance, members: &StreamMembers) {
        if let Some(open) = self.directory.get_mut(&instance) {
            let added = members.added.iter().filter(|added| added.first.is_some()).map(|added| added.node);
            let own = members.late().filter(|node| *node == self.common.own);
            let mut ends = Ends::clone(&open.opened);
            for node in added.chain(own) {
                if !ends.has(node) {
                    ends = ends.with(node, crate::ends::Late::default());
                }
            }
            open.ends = Arc::new(ends);
        }
    }
}

impl Stream {
    /// The ends of the stream, as a state of its log has them.
    pub(super) fn ends_by(&self, state: &LogState) -> Ends {
        state
            .joined()
            .iter()
            .fold(Ends::clone(&self.opened), |ends, joined| ends.with(joined.node, joined.late))
    }

    /// The log says something else of who is a target: notes it, and who the other members are.
    pub(super) fn follow_ends(&mut self, own: NodeId) {
        if self.ends.targets.len() != self.opened.targets.len() + self.head.joined().len() {
            self.ends = match self.head.joined() {
                [] => Arc::clone(&self.opened),
                _ => Arc::new(self.ends_by(&self.head)),
            };
            for joined in self.head.joined() {
                let place = joined.place;
                assert_eq!(self.ends.targets.get(place), Some(&joined.node), "S28: who joined is elsewhere");
                self.heard.raise(place, joined.late.behind);
            }
        }
        self.meet(own);
    }

    /// Knows everybody with whom this member has to do.
    pub(super) fn meet(&mut self, own: NodeId) {
        let coming = self.coming().map(|(node, _)| node);
        let met: Vec<NodeId> = self.ends.members().chain(coming).filter(|&node| node != own).collect();
        for node in met {
            if self.peer(node).is_none() {
                self.peers.push(Peer::new(node));
            }
        }
    }

    /// Whether a node is a member of the stream by what is applied here.
    pub(super) fn is_member(&self, node: NodeId) -> bool {
        node == self.ends.source || self.ends.place(node).is_some()
    }

    /// Whether an entry that has a node join names one that is none, and the next place.
    pub(super) fn may_be_joined_by(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Join { place, node, .. } => *place == self.ends.targets.len() && !self.is_member(*node),
            _ => true,
        }
    }

    /// Whether the targets that joined by a state stand behind those with which the stream was opened, and are others.
    pub(super) fn fits(&self, state: &LogState) -> bool {
        let joined = state.joined();
        let follow = joined.iter().enumerate().all(|(at, joined)| {
            joined.place == self.opened.targets.len() + at && !self.opened.has(joined.node)
        });
        let others = |at: usize| joined[..at].iter().all(|before| before.node != joined[at].node);
        follow && (0..joined.len()).all(others)
    }

    /// Who is being added.
    pub(super) fn adding(&self) -> Option<NodeId> {
        let change = &self.changing.as_ref()?.change;
        matches!(change.kind, ChangeKind::Add(_)).then_some(change.node)
    }

    /// Who is to be a target, and is none by what is applied here, and with which message it is to begin.
    pub(super) fn coming(&self) -> Option<(NodeId, Start)> {
        let change = &self.changing.as_ref()?.change;
        let ChangeKind::Add(start) = change.kind else { return None };
        (!self.is_member(change.node)).then_some((change.node, start))
    }

    /// The last message that may be let go while a target is to join.
    pub(super) fn keeps_from(&self) -> Option<Sequence> {
        let keeps = self.changing.as_ref()?.catching_up.keeps;
        keeps.filter(|_| self.coming().is_some())
    }

    /// Nothing is let go any more from the start of whoever is to join.
    pub(super) fn hold_back(&mut self) {
        let Some((_, start)) = self.coming() else { return };
        let released = self.head.released;
        let keeps = match start {
            Start::FirstKept => Some(released),
            Start::Now => None,
            Start::At(start) => Some(self.whole_up_to(start.before().min(self.head.taken)).max(released)),
        };
        if let Some(changing) = &mut self.changing {
            // What was proposed before may let go of more.
            let before = changing.catching_up.keeps.map(|before| before.max(released));
            changing.catching_up.keeps = before.or(keeps);
        }
    }

    /// Takes the next step to have a node join.
    pub(super) fn go_on_joining(&mut self, common: &mut Common, node: NodeId) {
        self.hold_back();
        if self.is_lost(node) {
            return self.decline(common, node);
        }
        let hasty = |ready: bool| common.planted.strikes(Bug::JoinedBeforeCaughtUp, || !ready);
        let caught_up = node == common.own || self.has_caught_up(node);
        if !caught_up && !hasty(caught_up) {
            return self.conform(common);
        }
        // What lets go of anything is decided by now, and nothing is under way that would.
        if self.applied_term != self.term || self.completing {
            return;
        }
        let behind = self.changing.as_ref().and_then(|changing| changing.catching_up.keeps);
        assert!(
            behind.is_none_or(|behind| behind >= self.head.released),
            "S28: {node} joins where bytes are let go"
        );
        let place = self.ends.targets.len();
        self.propose_change(common, &Entry::Join { place, node, behind, declined: false });
    }

    /// A node that was to join does not, and will not.
    pub(super) fn decline(&mut self, common: &mut Common, node: NodeId) {
        if self.applied_term == self.term {
            let place = self.ends.targets.len();
            self.propose_change(common, &Entry::Join { place, node, behind: None, declined: true });
        }
    }

    /// Proposes the entry of the present step, once.
    pub(super) fn propose_change(&mut self, common: &mut Common, entry: &Entry) {
        if let Some(changing) = &mut self.changing
            && !core::mem::replace(&mut changing.proposed, true)
        {
            let (instance, data) = (self.instance, encode_entry(entry));
            common.emit(Output::Propose { instance, data, weight: 0, unhurried: false, context: CHANGE });
        }
    }

    /// Has the group go on as the log has it: without who is out, with who came.
    pub(super) fn conform(&self, common: &mut Common) {
        let instance = self.instance;
        let out = self.ends.targets.iter().copied().filter(|&node| self.is_out(node)).collect();
        let late = self.head.joined().iter().map(|joined| joined.node);
        let learners = late.chain(self.coming().map(|(node, _)| node));
        let learners = learners.filter(|&node| !self.is_gone(node)).collect();
        common.emit(Output::Conform { instance, voters: self.voters(), out, learners });
    }

    /// Whether a member holds what had been told replicated, or completed, when it began to catch up, and has come as near to the end of the log as is to be had; and most
    /// hold with it what was told meanwhile. While messages come that one itself is always a little behind.
    fn has_caught_up(&mut self, node: NodeId) -> bool {
        let (applied, owed) = (self.head.applied, self.owed_to_copies());
        let Some(matched) = self.peer(node).map(|peer| peer.matched) else { return false };
        let Some(changing) = &mut self.changing else { return false };
        let round = &mut changing.catching_up;
        if matched == LogIndex(0) || matched < round.goal {
            return false;
        }
        let begins = round.goal == LogIndex(0);
        let near = !begins && applied.0 - round.goal.0 <= NEAR;
        if !near && round.rounds < ROUNDS {
            (round.goal, round.rounds) = (applied, round.rounds + 1);
        }
        if begins && matched < applied {
            return false;
        }
        let near = near || applied.0.saturating_sub(matched.0) <= NEAR || round.rounds >= ROUNDS;
        near && self.held_by_most(true, |node| self.is_gone(node)) >= owed
    }

    /// What an entry by which a node joins means to this member.
    pub(super) fn joined(&mut self, common: &mut Common, effect: Effect) {
        let Effect::Joined { place, declined } = effect else { return };
        rare!(TargetJoined, !declined);
        rare!(TargetDeclined, declined);
        let Some(joined) = self.head.joined().last().copied().filter(|joined| joined.place == place) else {
            return;
        };
        let (node, behind) = (joined.node, joined.late.behind);
        let released = self.head.released;
        let kept = !self.leading || self.applied_term != self.term || released <= behind;
        assert!(
            declined || kept || self.sourceless(),
            "S28: {} has let go of what {node} owes",
            self.instance
        );
        self.follow_ends(common.own);
        self.recorded_again();
        if let Some(changing) = &mut self.changing {
            changing.proposed = false;
        }
        if declined {
            if let Some(peer) = self.peer_mut(node) {
                peer.standing = None;
            }
            return self.left_out(common);
        }
        if self.leading && self.seal.is_none() {
            // Whoever led when it was proposed need not lead any more.
            common.emit(Output::Voting { instance: self.instance, nodes: self.voters() });
        }
        if node == common.own {
            self.begin_owing(common, behind);
        }
    }

    /// This member is a target from here on, and owes what is behind that message. Whoever lets go of bytes knows that it is past them, in an earlier life of its disk.
    fn begin_owing(&mut self, common: &mut Common, behind: Sequence) {
        let known = self.ends.place(common.own).map(|place| self.heard.get(place)).unwrap_or_default();
        let mark = known.max(behind).max(self.floor.taken).min(self.head.taken.max(known));
        self.raise_mark(common, mark);
        self.outrun_replays(common);
    }

    /// What the addition of a target waits for, as far as it is known here.
    pub(super) fn joining_waits(&self) -> Option<String> {
        let change = &self.changing.as_ref()?.change;
        let node = change.node;
        if !matches!(change.kind, ChangeKind::Add(_)) {
            return None;
        }
        Some(match self.leader {
            None => {
                "the change of its members: nobody leads its group, which needs most of those who vote".into()
            }
            _ if !self.leading => return None,
            _ if self.is_member(node) => {
                "the change of its members: those who vote are to agree on it".into()
            }
            _ if self.peer(node).is_some_and(|peer| !peer.stands()) => {
                format!(
                    "the change of its members: {node}, which is to be added, is to be reachable; until then nothing is let go from its start on"
                )
            }
            _ => format!(
                "the change of its members: {node}, which is to be added, is to hold what the stream holds"
            ),
        })
    }

    /// The message behind which this target owes what there is; 0 for one with which the stream was opened.
    pub(super) fn owes_behind(&self, common: &Common) -> Sequence {
        let own = self.head.joined().iter().find(|joined| joined.node == common.own);
        own.map_or(Sequence(0), |own| own.late.behind)
    }

    /// Where a handler goes on that presents this position. Who has stored nothing begins where the target does.
    pub(super) fn begins_at(&self, common: &Common, position: Sequence) -> Sequence {
        if position == Sequence(0) { self.owes_behind(common) } else { position }
    }

    /// Whether this member is a target that hands messages over: one that is to join does not yet.
    pub(super) fn owes(&self, common: &Common) -> bool {
        self.ends.place(common.own).is_some()
    }
}
