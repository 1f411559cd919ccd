//! What this node knows of the control group, and what its leader does about members (M7).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use super::evict::Evicting;
use super::mode::Judgement;
use super::stability::Stability;
use super::voters::{Demoted, View};
use super::{Mesh, Output};
use crate::configuration::Configuration;
use crate::id::{LogIndex, NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now};

/// The control group as seen from here.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    pub(super) leading: bool,
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    pub(super) configuration: Configuration,
    /// Where it stands.
    configured: LogIndex,
    matches: BTreeMap<NodeId, LogIndex>,
    /// Where each member was named, for all that is known: at the latest where the configuration stood when this node's term began.
    named: BTreeMap<NodeId, LogIndex>,
    suspects: BTreeSet<NodeId>,
    /// How steadily members were heard.
    stability: Stability,
    /// When a change may be due that is not now.
    look_at: Option<Instant>,
    /// Not before this moment are voters exchanged only to spread them.
    calm_until: Instant,
    /// Voters of an earlier configuration that are not in the group now.
    demoted: BTreeMap<NodeId, Demoted>,
    /// A change that was asked for: its context, and when it is asked for again.
    change: Option<(u64, Instant)>,
    /// Whether the configuration is known to hold every member.
    complete: bool,
    /// Not before this moment is another change asked for.
    rest: Option<Instant>,
}

impl Control {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let change = self.change.map(|(_, again)| again);
        [change, self.rest, self.look_at].into_iter().flatten().filter(|_| self.leading).min()
    }

    /// Of how many members is remembered that they were away.
    pub(super) fn remembered(&self) -> usize {
        self.stability.len()
    }

    /// Whether a member is known to hold an entry.
    pub(super) fn holds(&self, node: NodeId, index: LogIndex) -> bool {
        self.matches.get(&node).is_some_and(|known| *known >= index)
    }

    /// Where the configuration stands.
    pub(super) fn configured(&self) -> LogIndex {
        self.configured
    }

    /// Whether somebody leads, as far as is known here.
    pub(super) fn is_led(&self, own: NodeId, judgement: &Judgement) -> bool {
        self.leading || self.leader.is_some_and(|leader| leader != own && !judgement.misses(leader))
    }

    /// Whether there may be a leader to ask.
    pub(super) fn to_ask(&self, own: NodeId) -> Option<NodeId> {
        self.leader.filter(|&leader| leader != own)
    }
}

impl Mesh {
    pub(super) fn on_role(&mut self, now: Now, leading: bool, term: Term, leader: Option<NodeId>) {
        let control = &mut self.control;
        if leading != control.leading || term != control.term {
            // What was proposed under another term may or may not come; nothing more is expected of it.
            control.matches.clear();
            let members = control.configuration.members().filter(|_| leading);
            control.named = members.map(|replica| (replica.node, control.configured)).collect();
            control.change = None;
            control.rest = None;
            control.complete = false;
            if !self.planted.has(Bug::ServedNotForgotten) {
                self.requests.forget_served();
            }
            self.sending.forget();
            self.reports.forget_heard();
            self.evicting = None;
            self.forget_recovery_written();
        }
        let control = &mut self.control;
        let news = leading != control.leading || leader != control.leader || term != control.term;
        let another = leading != control.leading || leader != control.leader;
        control.leading = leading;
        control.term = term;
        control.leader = leader;
        if leading {
            self.ensure_founding(now);
        }
        if news {
            self.ask_again(now);
            self.ask_reads_again(now);
            self.heed_leader();
            self.look_soon(now);
        }
        if another {
            self.tell_leader_changed();
        }
        self.write_recovery(now);
        self.announce_own_change(now);
        self.consider_change(now);
    }

    pub(super) fn on_configured(
        &mut self,
        now: Now,
        configuration: Configuration,
        index: LogIndex,
        committed: bool,
    ) {
        let control = &mut self.control;
        if committed && !configuration.is_joint() {
            control.change = None;
            control.rest = None;
            control.calm_until = now.monotonic + self.config.voter_pause;
        }
        // What another replica on that node held says nothing of this one.
        let fresh = |node| configuration.on(node).any(|r| !control.configuration.on(node).any(|k| k == r));
        control.matches.retain(|&node, _| {
            let other = fresh(node);
            sometimes!(OtherReplicaOnNode, other);
            !other
        });
        if control.leading {
            control.named.retain(|&node, _| !fresh(node) && configuration.on(node).next().is_some());
            for member in configuration.members() {
                control.named.entry(member.node).or_insert(index);
            }
        }
        for replica in configuration.outgoing.iter().filter(|r| !configuration.voters.contains(r)) {
            if let Some(member) = self.state.members.get(&replica.node) {
                let demoted = Demoted { replica: replica.replica, agreed: member.replica };
                control.demoted.insert(replica.node, demoted);
            }
        }
        if !configuration.is_joint() {
            control.demoted.retain(|&node, _| configuration.on(node).next().is_none());
        }
        (control.configuration, control.configured) = (configuration, index);
        control.complete = false;
        self.write_recovery(now);
        self.consider_change(now);
        self.go_on_evicting(now);
    }

    pub(super) fn on_match(&mut self, now: Now, node: NodeId, index: LogIndex) {
        if !self.control.leading {
            return;
        }
        let known = self.control.matches.entry(node).or_default();
        *known = index.max(*known);
        self.consider_change(now);
    }

    pub(super) fn on_pair(&mut self, now: Now, node: NodeId, suspect: bool) {
        if self.state.members.contains_key(&node) {
            self.control.stability.note(now.monotonic, node, suspect, &self.config);
        }
        let suspects = &mut self.control.suspects;
        let news = if suspect { suspects.insert(node) } else { suspects.remove(&node) };
        if news {
            self.tell_liveness(node, suspect);
        }
        self.consider_change(now);
    }

    /// The group would not change now.
    pub(super) fn on_change_refused(&mut self, now: Now, context: u64) -> bool {
        if self.control.change.is_none_or(|(asked, _)| asked != context) {
            return false;
        }
        sometimes!(MembersChangeRefused);
        self.control.change = None;
        self.control.rest = Some(now.monotonic + self.config.change_retry);
        true
    }

    pub(super) fn on_control_deadline(&mut self, now: Now) {
        if self.control.change.is_some_and(|(_, again)| again <= now.monotonic) {
            self.control.change = None;
        }
        if self.control.rest.is_some_and(|until| until <= now.monotonic) {
            self.control.rest = None;
        }
        self.control.look_at.take_if(|at| *at <= now.monotonic);
        self.consider_change(now);
    }

    /// Members were admitted, came back, or have other keys. `true` if somebody who was introduced is none after all.
    pub(super) fn on_members_changed(&mut self) -> bool {
        self.control.complete = false;
        let members = &self.state.members;
        self.control.stability.keep(|node| members.contains_key(&node));
        self.drop_introduced()
    }

    /// Asks for the next change of the group, if one is due and none is under way. The group itself refuses while an
    /// earlier one is not committed.
    pub(super) fn consider_change(&mut self, now: Now) {
        let control = &self.control;
        let idle = control.change.is_none() && control.rest.is_none();
        if !control.leading || !idle || self.is_fenced() {
            return;
        }
        let steadiness = self.steadiness(now.monotonic);
        let control = &self.control;
        let view = View {
            members: &self.state.members,
            configuration: &control.configuration,
            matches: &control.matches,
            applied: self.state.applied,
            named: &control.named,
            suspects: &control.suspects,
            lost: &steadiness.lost,
            held: &steadiness.held,
            falls: &steadiness.falls,
            demoted: &control.demoted,
            voters_max: self.settings().voters.unwrap_or(self.config.voters_max),
            own: self.own,
            departing: self.evicting.as_ref().map(Evicting::node),
            keep_evicted: self.planted.has(Bug::EvictedStaysVoter),
            caught_up_within: self.config.caught_up_within,
        };
        let change = if control.complete && view.departing.is_none() { None } else { view.take_in() };
        let complete = change.is_none();
        let change = change.or_else(|| view.promote()).or_else(|| view.demote());
        let exchange = if change.is_none() { view.replace_lost() } else { None };
        rare!(VoterReplaced, exchange.is_some());
        let calm = control.calm_until <= now.monotonic;
        let quiet = change.is_none() && exchange.is_none() && calm;
        let spread = if quiet { view.spread() } else { None };
        rare!(VotersSpread, spread.is_some());
        let change = change.or(exchange).or(spread);
        sometimes!(
            VotersDemoted,
            change.as_ref().is_some_and(|c| c.voters.len() < view.configuration.voters.len())
        );
        self.control.complete = complete;
        self.control.look_at = steadiness.look_at.filter(|at| *at > now.monotonic);
        let Some(change) = change else { return };
        let context = self.next_number();
        self.control.change = Some((context, now.monotonic + self.config.change_retry.times(10)));
        self.outputs.push_back(Output::Change { voters: change.voters, learners: change.learners, context });
    }

    /// How steady the members are by now.
    fn steadiness(&self, now: Instant) -> Steadiness {
        let (control, config) = (&self.control, &self.config);
        let mut found = Steadiness { look_at: Some(control.calm_until), ..Steadiness::default() };
        let mut later = |at: Instant| {
            let due = at > now;
            let first = found.look_at.filter(|known| *known > now);
            found.look_at = if due { Some(first.map_or(at, |first| first.min(at))) } else { first };
            due
        };
        for &node in self.state.members.keys().filter(|node| **node != self.own) {
            if let Some(since) = control.stability.away_since(node) {
                if !later(since + config.voter_away) {
                    found.lost.insert(node);
                }
            } else if control.stability.held_until(node, config).is_some_and(&mut later) {
                found.held.insert(node);
            }
            let falls = control.stability.falls(now, node, config);
            if falls > 0 {
                found.falls.insert(node, falls);
            }
        }
        found
    }

    /// Why a member votes, or does not, as far as this node knows.
    #[must_use]
    pub fn voting(&self, now: Now, node: NodeId) -> String {
        let (control, config) = (&self.control, &self.config);
        let voters = &control.configuration.voters;
        let region = |node: NodeId| self.member(node).and_then(|member| member.region.as_deref());
        let votes = voters.iter().any(|voter| voter.node == node);
        let away = control.stability.away_since(node);
        let silent = away
            .map(|since| alloc::format!("not heard for {} s", now.monotonic.since(since).as_millis() / 1000));
        if votes {
            let here = |own| voters.iter().filter(|voter| region(voter.node) == Some(own)).count();
            return match (silent, region(node)) {
                (Some(silent), _) => silent,
                (None, Some(own)) if here(own) == 1 => alloc::format!("the one of region {own}"),
                (None, Some(own)) => alloc::format!("one of {} of region {own}", here(own)),
                (None, None) => String::new(),
            };
        }
        if let Some(silent) = silent {
            return silent;
        }
        if !control.leading {
            return String::new();
        }
        let held = control.stability.held_until(node, config).filter(|at| *at > now.monotonic);
        let most = self.settings().voters.unwrap_or(config.voters_max);
        let want = super::voters::wanted(self.member_count(), most);
        match held {
            Some(until) => {
                let (falls, left) =
                    (control.stability.falls(now.monotonic, node, config), until.since(now.monotonic));
                alloc::format!("away {falls} times lately, waits {} s", left.as_millis() / 1000 + 1)
            }
            None if voters.len() >= want => alloc::format!("{want} of {} members vote", self.member_count()),
            None => String::from("catches up"),
        }
    }
}

/// What the leader makes of the members' steadiness.
#[derive(Default)]
struct Steadiness {
    lost: BTreeSet<NodeId>,
    held: BTreeSet<NodeId>,
    falls: BTreeMap<NodeId, u32>,
    /// When any of it may be otherwise.
    look_at: Option<Instant>,
}
