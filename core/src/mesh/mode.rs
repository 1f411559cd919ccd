//! How the mesh is: what every node shows, and what a leader lets be done.
//!
//! | mode | when | what is forbidden |
//! | --- | --- | --- |
//! | HEALTHY | every member can be reached | nothing |
//! | DEGRADED | some cannot, fewer than half | nothing |
//! | CRITICAL | half of them or more cannot, or nobody leads the control group | every change of the configuration but evictions; without a leader these, too |
//!
//! A member that comes back with an empty disk is let in again in every mode. Open streams go on in every mode, where they can. Each node judges by its own paths; what counts is the leader's judgement. It changes only once
//! what it rests on has been so for a while, so that a link that flaps and a leader that is replaced change nothing (M31). Who leads forbids only what the absence of members forbids: that nobody led is
//! over for it. What a leader forbids it has the log forbid, so that
//! a copy of a refused request is not done later (M4, M30).

use alloc::collections::{BTreeMap, BTreeSet};

use super::entry::{Body, Request};
use super::updates::Change;
use super::{Activity, Mesh, Output};
use crate::id::NodeId;
use crate::node::command::Refusal;
use crate::node::output::{Event, MeshMode, Standing};
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now, Span};

/// What this node makes of the mesh.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    /// What is shown; `None` until enough was seen.
    shown: Option<Standing>,
    /// What it would be by what was seen last, and since when.
    seen: Option<(Standing, Instant)>,
    /// When to look again.
    look_at: Option<Instant>,
    /// Which members no path leads to, and since when.
    unreached: BTreeMap<NodeId, Instant>,
}

impl Judgement {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Whether no path leads to a member, as far as was seen.
    pub(super) fn misses(&self, node: NodeId) -> bool {
        self.unreached.contains_key(&node)
    }

    /// Whether no path has led to a member for that long, so that neither a link that flaps nor one that is still being made is why.
    pub(super) fn misses_for(&self, node: NodeId, hold: Span, now: Now) -> bool {
        self.unreached.get(&node).is_some_and(|&since| now.monotonic.since(since) >= hold)
    }

    /// Whether a path leads to a member, as far as was seen.
    pub(super) fn reaches(&self, node: NodeId) -> bool {
        self.seen.is_some() && !self.misses(node)
    }
}

impl Mesh {
    /// How the mesh is, as far as this node can tell; `None` while it belongs to none, and for a moment after its start.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let takes_part = self.membership.is_some() && self.activity() != Activity::Stopped;
        self.judgement.shown.filter(|_| takes_part)
    }

    /// Something that a judgement rests on may have changed: paths, members, who leads.
    pub(super) fn look_soon(&mut self, now: Now) {
        if self.membership.is_some() {
            let soon = now.monotonic + self.config.mode_look;
            self.judgement.look_at = Some(self.judgement.look_at.map_or(soon, |at| at.min(soon)));
        }
    }

    pub(super) fn on_mode_deadline(&mut self, now: Now) {
        if self.judgement.look_at.is_some_and(|at| at <= now.monotonic) {
            self.judgement.look_at = None;
            if self.membership.is_some() {
                self.outputs.push_back(Output::Look);
            }
        }
    }

    /// Another leads, or nobody does: what the last look saw of that has not been so until the next.
    pub(super) fn heed_leader(&mut self) {
        let led = self.control.leading || self.control.leader.is_some();
        if matches!(&self.judgement.seen, Some((seen, _)) if seen.quorum != led) {
            self.judgement.seen = None;
        }
    }

    /// Which members no path leads to.
    pub(super) fn on_unreached(&mut self, now: Now, unreached: BTreeSet<NodeId>) {
        if self.activity() == Activity::Stopped {
            // Of the others it knows nothing; what it knew is judged anew when it is back.
            self.judgement = Judgement::default();
            return;
        }
        let before = core::mem::take(&mut self.judgement.unreached);
        let since = |node| before.get(&node).copied().unwrap_or(now.monotonic);
        self.judgement.unreached = unreached.into_iter().map(|node| (node, since(node))).collect();
        self.judge_mode(now);
    }

    fn judge_mode(&mut self, now: Now) {
        let own = self.own;
        let members = self.member_count();
        let judgement = &mut self.judgement;
        let away = judgement.unreached.len();
        let led = self.control.is_led(own, judgement);
        let mode = match away {
            _ if !led || half_away(away as u64, members as u64) => MeshMode::Critical,
            0 => MeshMode::Healthy,
            _ => MeshMode::Degraded,
        };
        let standing = Standing { mode, unreachable: away as u64, members: members as u64, quorum: led };
        let same = |other: &Standing| (other.mode, other.quorum) == (mode, led);
        let since = match &judgement.seen {
            Some((seen, since)) if same(seen) => *since,
            _ => now.monotonic,
        };
        judgement.seen = Some((standing, since));
        let shown = judgement.shown;
        if shown.as_ref().is_some_and(same) {
            judgement.shown = Some(standing);
            return;
        }
        let ripe = since + self.config.mode_hold;
        if ripe > now.monotonic {
            judgement.look_at = Some(judgement.look_at.map_or(ripe, |at| at.min(ripe)));
            return;
        }
        assert!(now.monotonic.since(since) >= self.config.mode_hold, "M31: a mode is shown too soon");
        sometimes!(MeshCritical, mode == MeshMode::Critical);
        sometimes!(MeshHealthyAgain, mode == MeshMode::Healthy && shown.is_some());
        judgement.shown = Some(standing);
        self.outputs.push_back(Output::Event(Event::ModeChanged(standing)));
        if self.lacks_quorum() {
            self.fail_clients(now, &Refusal::NoQuorum, None);
        }
    }

    /// Whether it is known, and has been for a while, that nobody leads: then what is asked for is refused before anybody is asked for it.
    pub(super) fn lacks_quorum(&self) -> bool {
        let shown = self.standing().is_some_and(|standing| !standing.quorum);
        shown && !self.control.is_led(self.own, &self.judgement)
    }

    /// What the log is to say of a request, for the mode forbids some, and whoever is reached here was missed elsewhere, or some time ago.
    pub(super) fn unless_forbidden(&self, request: Request, mut body: Body) -> Body {
        if let Body::SealStream { missed, .. } = body.inner_mut() {
            missed.retain(|&node| !self.judgement.reaches(node));
        }
        let changes = match body.inner() {
            Body::Open { .. }
            | Body::Close { .. }
            | Body::AdmitByKey { .. }
            | Body::RotateKey { .. }
            | Body::SetConfig { .. }
            | Body::DeleteConfig { .. }
            | Body::Configure { .. }
            // Who stands still while half of the mesh is away may do so because of that.
            | Body::TargetIdle(_)
            | Body::Updates(Change::PassOver { .. }) => true,
            // A repeat is only told its number.
            Body::Updates(Change::Send { kind, sent }) => {
                self.state.updates.history(*kind).number(sent.id).is_none()
            }
            // A member whose disk was lost is away until it is let in again.
            Body::Admit(admission) => !self.state.members.contains_key(&admission.node),
            Body::Found { .. }
            | Body::Update { .. }
            | Body::Evict(_)
            // What is lost with half of the mesh is what it is for.
            | Body::SealStream { .. }
            | Body::ReportEnd(_)
            | Body::SettleEnd(_)
            // So is what is lost with one target.
            | Body::ChangeMembers(_)
            | Body::MembersChanged(_)
            // Trouble is a reason to pause streams, and its end to resume them.
            | Body::Flow(_)
            | Body::StreamFailed(_)
            | Body::Within { .. }
            | Body::Recover(_)
            // A key that was stolen must not stay good because half of the mesh is away.
            | Body::RotateNodeKey { .. }
            // What a member says of itself, and what it has processed, changes nothing for others.
            | Body::Describe { .. }
            | Body::Updates(Change::Processed { .. })
            | Body::Forbidden { .. } => false,
        };
        let Some(standing) = self.standing().filter(|_| changes) else { return body };
        // What was decided before is only told again.
        let decided = self.state.decisions.contains_key(&request);
        if !half_away(standing.unreachable, standing.members) || decided {
            return body;
        }
        rare!(ChangeForbidden);
        Body::Forbidden { unreachable: standing.unreachable, members: standing.members }
    }
}

/// Whether that is too many, whoever leads.
const fn half_away(away: u64, members: u64) -> bool {
    away > 0 && 2 * away >= members
}
