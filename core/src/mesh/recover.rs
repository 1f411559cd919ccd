//! The recovery of a lost quorum, seen by the survivor that an operator asked (see `recovery`).
//!
//! It orders all survivors to take part, and waits until each has said where its log ends. Then it chooses: of those whose log holds everything that
//! any survivor knows to be committed, the one whose log ends last, by term and then by index. The furthest log of all need not be it: it may end in
//! entries of a leader that was replaced, in the place of what was committed since. So whoever is asked to go on sees for itself whether it holds
//! that, and else the next is asked. Nothing of this is kept on disk: should this node fall, the survivors stay as they are, and it is done again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::Mesh;
use super::entry::Request;
use super::recovery::{Order, RecoveryMessage, Report};
use super::voters::wanted;
use super::wire::TEXT_MAX;
use crate::configuration::Member as Replica;
use crate::id::{LogIndex, NodeId, RequestId, Term};
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::recovery::{
    LogEnd, LogPlace, Named, RecoverCommand, RecoverRefusal, RecoverReply, Recovered, RecoveryPlan,
};
use crate::time::{Instant, Now};

/// What the rest of the node knows when an operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The members that no path leads to.
    pub unreached: BTreeSet<NodeId>,
    /// Where the log of the control group ends here.
    pub last: LogIndex,
    /// The term there.
    pub term: Term,
    /// Why the replica of the control group is of no use, if it is not.
    pub trouble: Option<String>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Not all have said where their logs end.
    Asking,
    /// Somebody is asked to go on: the last of those that are left.
    Founding { left: Vec<NodeId>, above: Term, holds: LogPlace },
    /// Somebody goes on: the entry that ends this will come.
    Waiting { founder: NodeId },
    /// All are told to go on as before; these have not said that they do.
    Releasing { left: BTreeSet<NodeId> },
}

/// A recovery that an operator asked of this node.
#[derive(Clone, Debug)]
pub(super) struct Run {
    request: RequestId,
    order: Order,
    ends: BTreeMap<NodeId, LogEnd>,
    /// What the others said last.
    waits: BTreeMap<NodeId, String>,
    stage: Stage,
    again: Instant,
    until: Instant,
}

impl Run {
    pub(super) fn next_deadline(&self) -> Instant {
        self.again.min(self.until)
    }

    pub(super) fn request(&self) -> RequestId {
        self.request
    }
}

/// In the order in which people look for them.
fn by_name(mut members: Vec<Named>) -> Vec<Named> {
    members.sort_by(|a, b| (&a.name, a.node).cmp(&(&b.name, b.node)));
    members
}

impl Mesh {
    pub(super) fn on_recover(&mut self, now: Now, request: RequestId, command: RecoverCommand, view: &View) {
        if self.membership.is_none() {
            return self.reply(request, Err(Refusal::NotMember));
        }
        let done = match command {
            RecoverCommand::Plan { lost } => self
                .may_recover(now, &lost, view)
                .map(|order| Some(Reply::Recovery(RecoverReply::Plan(self.recovery_plan(&order, view))))),
            RecoverCommand::Recover { lost } => {
                let order = self.may_recover(now, &lost, view);
                order.and_then(|order| self.begin_recovery(now, request, order))
            }
            RecoverCommand::Withdraw => {
                let order = self.may_withdraw(now);
                order.and_then(|order| self.begin_recovery(now, request, order))
            }
        };
        match done {
            Ok(Some(reply)) => self.reply(request, Ok(reply)),
            Ok(None) => {}
            Err(refusal) => self.reply(request, Err(refusal)),
        }
    }

    /// The order that would be given, if it may be.
    fn may_recover(&mut self, now: Now, lost: &[String], view: &View) -> Result<Order, Refusal> {
        let lost = self.resolve_lost(lost)?;
        if let Some(trouble) = &view.trouble {
            return Err(RecoverRefusal::NotReady(trouble.clone()).into());
        }
        self.recovery.may_answer(false).map_err(RecoverRefusal::NotReady)?;
        if !self.caught_up() || self.control.configuration.is_empty() {
            let why = "it has just joined, and does not know the mesh yet".to_string();
            return Err(RecoverRefusal::NotReady(why).into());
        }
        let own = self.own;
        let members = &self.state.members;
        let reached =
            |node: NodeId| node == own || (members.contains_key(&node) && !view.unreached.contains(&node));
        let here = |voter: &&Replica| reached(voter.node) && !lost.contains(&voter.node);
        let configuration = &self.control.configuration;
        let carried = |half: &[Replica]| half.is_empty() || 2 * half.iter().filter(here).count() > half.len();
        if carried(&configuration.voters) && carried(&configuration.outgoing) {
            let voters: Vec<NodeId> =
                configuration.voters.iter().filter(here).map(|voter| voter.node).collect();
            let voters = self.names_of(&voters).join(", ");
            return Err(RecoverRefusal::Quorum { voters }.into());
        }
        if let Some(&alive) = lost.iter().find(|&&node| reached(node)) {
            return Err(RecoverRefusal::LostReachable(self.name_of(alive)).into());
        }
        let survivors: Vec<NodeId> =
            self.state.members.keys().copied().filter(|node| !lost.contains(node)).collect();
        let missing: Vec<NodeId> = survivors.iter().copied().filter(|&node| !reached(node)).collect();
        if !missing.is_empty() {
            let (names, several) = (self.names_of(&missing).join(", "), missing.len() > 1);
            return Err(RecoverRefusal::Missing { names, several }.into());
        }
        Ok(self.order(now, lost, survivors, false))
    }

    fn resolve_lost(&self, names: &[String]) -> Result<Vec<NodeId>, Refusal> {
        let mut lost = BTreeSet::new();
        for name in names {
            if name.len() > TEXT_MAX {
                return Err(Refusal::Invalid("a node's name or id is too long".into()));
            }
            let node = self.state.resolve(name).or_else(|| self.recovery.stranger(name));
            let node = node.ok_or_else(|| Refusal::UnknownNode(name.clone()))?;
            if node == self.own {
                return Err(RecoverRefusal::SelfLost(name.clone()).into());
            }
            lost.insert(node);
        }
        if lost.is_empty() {
            return Err(RecoverRefusal::NobodyLost.into());
        }
        Ok(lost.into_iter().collect())
    }

    fn may_withdraw(&mut self, now: Now) -> Result<Order, Refusal> {
        let known = self.recovery.order().map(|known| (known.lost.clone(), known.survivors.clone()));
        let (lost, survivors) = known.ok_or(RecoverRefusal::NothingToWithdraw)?;
        Ok(self.order(now, lost, survivors, true))
    }

    fn order(&mut self, now: Now, lost: Vec<NodeId>, survivors: Vec<NodeId>, withdraw: bool) -> Order {
        Order {
            attempt: self.recovery.attempt() + 1,
            era: self.rng.u64().max(1),
            coordinator: self.own,
            request: Request(self.rng.u128()),
            epoch: self.state.epoch,
            lost,
            survivors,
            time: now.wall,
            withdraw,
        }
    }

    fn recovery_plan(&self, order: &Order, view: &View) -> RecoveryPlan {
        let voters = self.voters();
        let named = |&node: &NodeId| Named { node, name: self.name_of(node), voter: voters.contains(&node) };
        let most = self.settings().voters.unwrap_or(self.config.voters_max);
        RecoveryPlan {
            attempt: order.attempt,
            epoch: order.epoch,
            next: order.epoch.number + order.lost.len() as u64,
            last: view.last,
            term: view.term,
            applied: self.state.applied,
            lost: by_name(order.lost.iter().map(named).collect()),
            survivors: by_name(order.survivors.iter().map(named).collect()),
            voters: wanted(order.survivors.len(), most) as u64,
        }
    }

    fn begin_recovery(
        &mut self,
        now: Now,
        request: RequestId,
        order: Order,
    ) -> Result<Option<Reply>, Refusal> {
        if let Some(run) = &self.recovery.run {
            let (attempt, asked_at) = (run.order.attempt, self.config.name.clone());
            return Err(RecoverRefusal::UnderWay { attempt, asked_at }.into());
        }
        self.recovery.run = Some(Run {
            request,
            order,
            ends: BTreeMap::new(),
            waits: BTreeMap::new(),
            stage: Stage::Asking,
            again: now.monotonic,
            until: now.monotonic + self.config.recover_timeout,
        });
        self.go_on_recovering(now);
        Ok(None)
    }

    /// Says again what has to be said to go on.
    fn go_on_recovering(&mut self, now: Now) {
        let Some(run) = &mut self.recovery.run else { return };
        run.again = now.monotonic + self.config.request_retry;
        let era = run.order.era;
        let (to, message) = match &run.stage {
            Stage::Asking => {
                let silent = run.order.survivors.iter().copied().filter(|node| !run.ends.contains_key(node));
                (silent.collect(), RecoveryMessage::Order(run.order.clone()))
            }
            Stage::Founding { left, above, holds } => {
                let founder: Vec<NodeId> = left.last().copied().into_iter().collect();
                (founder, RecoveryMessage::Found { era, above: *above, holds: *holds })
            }
            Stage::Waiting { .. } => return,
            Stage::Releasing { left } => {
                (left.iter().copied().collect(), RecoveryMessage::Release { era, done: false })
            }
        };
        for node in to {
            self.tell_survivor(node, message.clone());
        }
    }

    pub(super) fn on_report(&mut self, now: Now, from: NodeId, era: u64, attempt: u64, what: Report) {
        self.recovery.heard_attempt(attempt);
        let Some(run) = self.recovery.run.as_mut().filter(|run| run.order.era == era) else { return };
        if !matches!(run.stage, Stage::Asking) || !run.order.survivors.contains(&from) {
            return;
        }
        match what {
            Report::End { strangers, .. } if !strangers.is_empty() => {
                let known = |(node, name): &(NodeId, String)| alloc::format!("{name} ({node})");
                let members = strangers.iter().map(known).collect::<Vec<_>>().join(", ");
                let by = self.name_of(from);
                self.recovery.hear_of_strangers(strangers);
                self.refuse_run(RecoverRefusal::Strangers { by, members });
            }
            Report::End { end, .. } => {
                run.ends.insert(from, end);
                run.waits.remove(&from);
                self.choose_founder(now);
            }
            Report::Waits(why) => drop(run.waits.insert(from, why)),
            Report::Declined(why) => {
                let name = self.name_of(from);
                self.refuse_run(RecoverRefusal::Declined { name, why });
            }
        }
    }

    /// All have said where their logs end: somebody goes on, or everybody as before.
    fn choose_founder(&mut self, now: Now) {
        let planted = self.planted;
        let Some(run) = &mut self.recovery.run else { return };
        if run.ends.len() < run.order.survivors.len() {
            return;
        }
        run.stage = if run.order.withdraw {
            Stage::Releasing { left: run.order.survivors.iter().copied().collect() }
        } else {
            let above = run.ends.values().map(|end| end.term).max().unwrap_or_default();
            let holds = run.ends.values().map(|end| end.certain).max_by_key(|certain| certain.index);
            let mut left: Vec<NodeId> = run.ends.keys().copied().collect();
            left.sort_by_key(|node| run.ends.get(node).map(|end| (end.last.term, end.last.index)));
            let lowest = |left: &[NodeId]| {
                let place =
                    |node: Option<&NodeId>| node.and_then(|node| run.ends.get(node)).map(|end| end.last);
                place(left.first()) != place(left.last())
            };
            if planted.strikes(Bug::FounderNotHighest, || lowest(&left)) {
                left.reverse();
            }
            Stage::Founding { left, above, holds: holds.unwrap_or_default() }
        };
        self.go_on_recovering(now);
    }

    pub(super) fn on_founded_anew(&mut self, now: Now, from: NodeId, era: u64, refused: String) {
        let Some(run) = self.recovery.run.as_mut().filter(|run| run.order.era == era) else { return };
        let Stage::Founding { left, .. } = &mut run.stage else { return };
        if left.last() != Some(&from) {
            return;
        }
        if refused.is_empty() {
            run.stage = Stage::Waiting { founder: from };
            return;
        }
        left.pop();
        if left.is_empty() {
            let name = self.name_of(from);
            return self.refuse_run(RecoverRefusal::Declined { name, why: refused });
        }
        self.go_on_recovering(now);
    }

    pub(super) fn on_released(&mut self, from: NodeId, era: u64) {
        let Some(run) = self.recovery.run.as_mut().filter(|run| run.order.era == era) else { return };
        let Stage::Releasing { left } = &mut run.stage else { return };
        left.remove(&from);
        if left.is_empty() {
            let (request, attempt) = (run.request, run.order.attempt);
            self.recovery.run = None;
            self.reply(request, Ok(Reply::Recovery(RecoverReply::Withdrawn { attempt })));
        }
    }

    /// The state tells of that recovery; this node took part in `ended`, and does no longer.
    pub(super) fn end_run(&mut self, recovered: &Recovered, ended: Option<u64>) {
        let done = |run: &mut Run| run.order.era == recovered.era || ended == Some(run.order.era);
        if let Some(run) = self.recovery.run.take_if(done) {
            let reply = Reply::Recovery(RecoverReply::Recovered(recovered.clone()));
            self.reply(run.request, Ok(reply));
        }
    }

    fn refuse_run(&mut self, refusal: RecoverRefusal) {
        if let Some(run) = self.recovery.run.take() {
            self.reply(run.request, Err(refusal.into()));
        }
    }

    pub(super) fn on_recovery_deadline(&mut self, now: Now) {
        let Some(run) = &self.recovery.run else { return };
        if run.until > now.monotonic {
            if run.again <= now.monotonic {
                self.go_on_recovering(now);
            }
            return;
        }
        let waits = match &run.stage {
            Stage::Asking => {
                let silent = run.order.survivors.iter().filter(|node| !run.ends.contains_key(node));
                let said = |node: &NodeId| {
                    let why = run.waits.get(node).map_or("has not answered", String::as_str);
                    alloc::format!("{}: {why}", self.name_of(*node))
                };
                silent.take(8).map(said).collect::<Vec<_>>().join("; ")
            }
            Stage::Founding { left, .. } => {
                let name = left.last().map(|&node| self.name_of(node)).unwrap_or_default();
                alloc::format!("{name} is to go on, and has not answered")
            }
            Stage::Waiting { founder } => {
                alloc::format!(
                    "{} goes on, and what it decided has not come here yet",
                    self.name_of(*founder)
                )
            }
            Stage::Releasing { left } => {
                let left: Vec<NodeId> = left.iter().copied().collect();
                alloc::format!("not heard that they go on as before: {}", self.names_of(&left).join(", "))
            }
        };
        self.refuse_run(RecoverRefusal::Unfinished { waits });
    }
}
