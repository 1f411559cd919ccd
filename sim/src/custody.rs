//! Who looks after damaged disks. The ledger of each disk says what a start on it must come to; here the world holds nodes to that, and
//! an operator sees to those that rightly refuse.
//!
//! In a usual run what is damaged can be put right: the operator brings the rows back (from a mirror), or an older image, or an empty
//! disk. The latter two lose something, so at most one node in a run may come to that: of every group a majority of the members, and
//! one end of every stream, keep what they vouched for. *Beyond repair* there is no operator, and any number of disks may be damaged:
//! who must refuse does, for good; nothing is owed any more that might depend on it; all else is judged as ever.

use crate::checker::Failure;
use crate::coverage::sometimes;
use crate::describe;
use crate::disk::ledger::Expected;
use crate::event::{Event, MILLI, SECOND, Time};
use crate::machine::Machine;
use crate::panics::watch;
use crate::plan::{ConfigWish, Edge};
use crate::process::State;
use crate::random::{Draws, Purpose};
use crate::world::{World, desk, show};
use wattle_core::configuration::Configuration;
use wattle_core::id::GroupId;
use wattle_core::node::Input;

/// A mesh of more nodes has as many voters.
const VOTERS_MOST: usize = 5;

/// What is damaged for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Custody {
    /// Nodes that lost something that they had been told is safe.
    lost: Vec<bool>,
    /// Nodes whose disks say that they belong to a mesh.
    joined: Vec<bool>,
    /// Why nodes can never be started again.
    gone: Vec<Option<String>>,
    /// A node was given something else than it had written, and nobody sees to it.
    neglected: Option<String>,
}

impl Custody {
    /// Nothing is.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            lost: vec![false; nodes],
            joined: vec![false; nodes],
            gone: vec![None; nodes],
            neglected: None,
        }
    }

    /// Whether a node lost something that it had been told is safe.
    pub(crate) fn has_lost(&self, node: usize) -> bool {
        self.lost[node]
    }

    /// A node says that it belongs to a mesh, and everything it wrote is on disk.
    pub(crate) fn has_joined(&mut self, node: usize) {
        self.joined[node] = true;
    }

    /// Whether a node whose disk is taken back to what it is now would still belong to its mesh. To the next start of any other it is a
    /// stranger, and nobody lets it in again.
    pub(crate) fn joined(&self, node: usize) -> bool {
        self.joined[node]
    }

    /// Whether a node can never be started again.
    pub(crate) fn is_gone(&self, node: usize) -> bool {
        self.gone[node].is_some()
    }

    /// What can never be put right, in words.
    pub(crate) fn beyond_repair(&self) -> Option<String> {
        self.gone.iter().flatten().next().or(self.neglected.as_ref()).cloned()
    }

    /// Whether a node may lose something without another having lost something before.
    fn may_lose(&self, node: usize) -> bool {
        self.lost.iter().enumerate().all(|(other, &lost)| other == node || !lost)
    }
}

/// How an operator puts a node right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cure {
    /// Every row as it was written.
    Rows,
    /// An older image.
    Image(Time),
    /// An empty disk; the node joins again through this one.
    Empty(usize),
}

impl<M: Machine> World<M> {
    /// What the start of a node on its disk must come to; `None` if it does not come to a start at all.
    pub(crate) fn opens(&mut self, node: usize) -> Option<Expected> {
        if !self.processes[node].disk.is_wounded() {
            return Some(Expected::Start);
        }
        let expected = self.processes[node].disk.expects();
        self.note(node, describe::FAULT, 0, || format!("== its disk is damaged: {expected:?}"));
        match expected {
            Expected::Unreadable(row) => {
                sometimes!(StartCannotRead);
                let life = self.processes[node].life;
                self.awaits_cure(node, life, format!("row {row} cannot be read"));
                return None;
            }
            Expected::Loss(_, since) | Expected::LossOrRefusal(_, since) => {
                sometimes!(LossUnnoticed);
                self.loses(node, since);
            }
            Expected::Start | Expected::Either | Expected::Refusal(_) => {}
        }
        Some(expected)
    }

    /// A node that is still there after its start has accepted its disk.
    pub(crate) fn has_started(&mut self, node: usize) {
        let process = &mut self.processes[node];
        let Some(expected) = process.expected.take().filter(|_| process.machine.is_some()) else { return };
        if let Expected::Refusal(row) = expected {
            return self.fail(Failure::new(
                "X16",
                format!("node {node} starts, though row {row}, which others vouch for, is damaged"),
            ));
        }
        if matches!(expected, Expected::Loss(..) | Expected::LossOrRefusal(..)) {
            self.processes[node].disk.accept_loss();
        }
        let process = &self.processes[node];
        let now = process.clock.read(self.now);
        let status =
            process.machine.as_ref().and_then(|machine| watch(|| machine.status(now)).ok().flatten());
        if let Some(status) = status {
            let checked = self.starts.started(node, &status);
            self.judge(checked);
        }
        self.tell_space(node);
        self.loop_on(node);
    }

    /// A node says, rightly, that its disk is damaged, and goes no further.
    pub(crate) fn refused(&mut self, node: usize, why: String) {
        let starting = self.processes[node].expected.is_some();
        sometimes!(StartRefused, starting);
        self.note(node, describe::FAULT, u64::from(starting), || format!("== refuses: {why}"));
        let id = u64::from(self.processes[node].life) << 32 | 1 << 59;
        if starting {
            self.halt(node, false, id);
            let life = self.processes[node].life;
            self.awaits_cure(node, life, why);
        } else {
            sometimes!(FoundDamageRunning);
            // It found out while it ran: whoever minds it starts it again, and it finds out what is left.
            self.crash(node, false, id, 100 * MILLI);
        }
    }

    /// A node cannot go on without an operator.
    fn awaits_cure(&mut self, node: usize, life: u32, why: String) {
        if self.plan.beyond_repair {
            sometimes!(GoneForGood);
            self.custody.gone[node] = Some(format!("node {node}: {why}"));
            return;
        }
        let mut draws = self.operator(node, life);
        self.queue.push(self.now + draws.spread(10 * MILLI, 2 * SECOND), Event::Repair { node, life });
    }

    fn operator(&self, node: usize, life: u32) -> Draws {
        Draws::new(self.plan.seed, Purpose::Damage, node as u64, 1 << 41 | u64::from(life))
    }

    /// A load ends.
    pub(crate) fn loaded(&mut self, node: usize, slot: usize) {
        let process = &mut self.processes[node];
        let (load, bytes) = process.loaded(slot);
        if process.disk.is_wounded() && process.misreads(slot) && !process.misread {
            sometimes!(Misread);
            process.misread = true;
            let life = process.life;
            self.note(node, describe::FAULT, load.0, || "== is given what was never written".into());
            if self.plan.beyond_repair {
                let what = format!("node {node} was given something else than it had written");
                self.custody.neglected.get_or_insert(what);
            } else {
                self.awaits_cure(node, life, String::new());
            }
        }
        let life = self.processes[node].life;
        self.step(node, Input::Loaded { load, bytes });
        let process = &mut self.processes[node];
        if process.life == life && !process.misread {
            process.open_loads -= 1;
        }
    }

    /// An operator sees to a node's disk.
    pub(crate) fn repair(&mut self, node: usize, life: u32) {
        if self.processes[node].life != life {
            return;
        }
        let process = &self.processes[node];
        if process.is_up() {
            if !process.misread {
                return;
            }
            self.halt(node, false, u64::from(life) << 32 | 1 << 58);
        }
        let cure = self.cure(node, life);
        self.note(node, describe::FAULT, 0, || format!("== its disk is put right: {cure:?}"));
        match cure {
            Cure::Rows => {
                sometimes!(CuredByRows);
                self.processes[node].disk.mend();
            }
            Cure::Image(taken) => {
                sometimes!(CuredByImage);
                self.processes[node].disk.roll_back();
                self.loses(node, taken);
            }
            Cure::Empty(through) => {
                sometimes!(CuredByEmptyDisk);
                self.empty(node, through);
            }
        }
        let life = self.processes[node].life;
        self.queue.push(self.now + MILLI, Event::Boot { node, life });
    }

    fn cure(&self, node: usize, life: u32) -> Cure {
        let mut draws = self.operator(node, life);
        let whim = draws.index(10);
        let image = self.images[node].filter(|_| whim < 2 && self.may_lose(node));
        if let Some(taken) = image {
            return Cure::Image(taken);
        }
        let through = self.may_be_emptied(node).filter(|_| whim < 4);
        through.map_or(Cure::Rows, Cure::Empty)
    }

    pub(crate) fn may_lose(&self, node: usize) -> bool {
        !self.healed && self.custody.may_lose(node)
    }

    /// Through whom a node can join again if its disk is emptied, if those who must agree to that can do so without it.
    pub(crate) fn may_be_emptied(&self, node: usize) -> Option<usize> {
        if !self.may_lose(node) || !self.complete {
            sometimes!(NotEmptied);
            return None;
        }
        let voters = self.voters_agreed_without(node)?;
        let listens = |other: &usize| self.plan.nodes[*other].listens;
        self.neighbours_of(node).filter(listens).find(|&sponsor| {
            let together = self.reached(sponsor, |_, other| other != node);
            let decides = 2 * voters.iter().filter(|&&voter| together[voter]).count() > voters.len();
            decides && self.decide_whoever_votes(together.iter().filter(|&&reached| reached).count())
        })
    }

    /// Whether so many nodes hold a majority of the votes, whoever is made a voter before the others notice that a node is missing: if it
    /// alone connected them, those who must then agree would find each other only through it.
    fn decide_whoever_votes(&self, together: usize) -> bool {
        let all = self.processes.len();
        let most = VOTERS_MOST.min(all - (1 - all % 2));
        let wished = self.plan.config.iter().filter_map(|wish| match wish.wish {
            ConfigWish::Voters(voters) => usize::try_from(voters).ok(),
            _ => None,
        });
        let mut possible = wished.map(|voters| voters.min(most)).chain([most]);
        possible.all(|voters| voters == 1 || 2 * (together + voters).saturating_sub(all) > voters)
    }

    /// The voters of the control group, if all nodes but one, which need not be up, can be asked and agree: who cannot be asked may know of
    /// voters that the others have not heard of yet.
    fn voters_agreed_without(&self, node: usize) -> Option<Vec<usize>> {
        let mut agreed: Option<&Configuration> = None;
        for (other, process) in self.processes.iter().enumerate() {
            let machine = process.machine.as_deref();
            let known = machine.and_then(|machine| machine.group_configuration(GroupId::CONTROL));
            // What a crash may take again is agreed upon by nobody.
            let lasts = other == node || self.books.logs.is_synced(other, GroupId::CONTROL);
            match known.filter(|_| lasts) {
                None if other == node => {}
                Some(known) if agreed.is_none_or(|agreed| agreed == known) => agreed = Some(known),
                _ => return None,
            }
        }
        let place = |id| self.processes.iter().position(|process| process.id() == id);
        let agreed = agreed.filter(|agreed| !agreed.is_joint())?;
        Some(agreed.voters.iter().filter_map(|voter| place(voter.node)).collect())
    }

    /// The nodes that can be linked with a node.
    pub(crate) fn neighbours_of(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.neighbours[node].iter().map(move |&edge| {
            let Edge { a, b, .. } = self.plan.edges[edge];
            if a == node { b } else { a }
        })
    }

    /// Whom a node reaches over hops that are open, itself included.
    pub(crate) fn reached(&self, from: usize, open: impl Fn(usize, usize) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.processes.len()];
        let mut next = vec![from];
        while let Some(node) = next.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                next.extend(self.neighbours_of(node).filter(|&other| open(node, other) && !reached[other]));
            }
        }
        reached
    }

    /// A fault puts an empty disk in the place of a node's.
    pub(crate) fn lose_everything(&mut self, node: usize, id: u64, down: Time) {
        let Some(through) = self.may_be_emptied(node).filter(|_| self.processes[node].is_up()) else {
            return;
        };
        self.crash(node, true, id, down);
        self.empty(node, through);
    }

    /// A node's journal is gone, and its key is not: they are in files of their own. It is the same node still, but no member until
    /// it joins again, under fresh replica names. Nobody is told what it alone held.
    fn empty(&mut self, node: usize, through: usize) {
        sometimes!(DiskEmptied);
        self.note(node, describe::FAULT, through as u64, || "== its disk is empty".into());
        self.processes[node].disk.empty();
        self.images[node] = None;
        self.custody.joined[node] = false;
        self.books.logs.emptied(node);
        self.void(node, 0);
        self.workload.rejoins(&mut desk!(self), node, through, false);
    }

    /// A node lost what it wrote since a moment, and may not notice.
    pub(crate) fn loses(&mut self, node: usize, since: Time) {
        self.note(node, describe::FAULT, since, || format!("== its disk is what it was at {}", show(since)));
        if self.plan.beyond_repair {
            // It may have forgotten that it ever joined, and nobody lets it in again.
            let what = format!("node {node} lost what it had written since {}", show(since));
            self.custody.neglected.get_or_insert(what);
        }
        self.forget_streams(node);
        let logs = &self.books.logs;
        if logs.holds_alone(node, GroupId::CONTROL) && !logs.excused(GroupId::CONTROL) {
            self.books.updates.tears();
            let checked = self.books.registry.tears().and(self.books.configuration.tears());
            self.judge(checked);
        }
        self.books.logs.rolled_back(node);
        self.void(node, since);
    }

    /// What a node alone held since a moment is owed to nobody any more.
    fn void(&mut self, node: usize, since: Time) {
        self.custody.lost[node] = true;
        self.books.may_stop = true;
        sometimes!(SomethingLost);
        self.books.agreement.a_disk_lost();
        self.books.streams.iter_mut().for_each(|ledger| ledger.a_disk_lost(node));
        self.books.updates.rolled_back(node);
        self.starts.a_disk_lost(node);
        self.peers.a_disk_lost(node);
        self.look_at_disk(node);
        self.workload.taken_back(&mut desk!(self), node);
        for (index, stream) in self.plan.streams.iter().enumerate() {
            if stream.source == node {
                self.books.streams[index].source_rolled_back(since);
            }
        }
        for (number, &(stream, place)) in self.plan.handlers().iter().enumerate() {
            if self.plan.streams[stream].source == node {
                self.books.handlings[number].source_rolled_back();
            }
            if self.plan.streams[stream].targets().nth(place) == Some(node) {
                self.books.handlings[number].target_rolled_back();
            }
        }
    }

    /// After the faults no damage may be left that somebody can put right before a node stumbles over it.
    pub(crate) fn mend_in_silence(&mut self, node: usize) {
        if !self.plan.beyond_repair {
            self.processes[node].disk.mend();
        }
    }

    /// Remembers the disk of a node as it is now, if nobody did before: a backup for the day when it is damaged. That of a node whose disk
    /// was emptied, and that has not joined again yet, would make it a stranger for good.
    pub(crate) fn back_up(&mut self, node: usize) {
        let up = self.processes[node].state == State::Up;
        let sound = self.complete && !self.processes[node].disk.is_wounded();
        if up && sound && self.images[node].is_none() && self.custody.joined(node) {
            self.processes[node].disk.take_image();
            self.images[node] = Some(self.now);
        }
    }
}
