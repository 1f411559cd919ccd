//! How a world is looked at as a whole: every node's status now and then, and, once all faults are over, whether all that was owed
//! has been done.

use wattle_core::id::{GroupId, NodeId, StreamInstance};
use wattle_core::level::Level;
use wattle_core::members::StreamMembers;
use wattle_core::node::Status;
use wattle_core::node::command::Reply;
use wattle_core::node::output::Output;
use wattle_core::node::status::StreamStatus;
use wattle_core::raft::RoleName;

use crate::checker::{
    Checked, Failure, Left, StreamLedger, completed_is_marked, disagree_on_keys, nobody_parted,
    refuses_for_want_of_room,
};
use crate::event::{Event, MILLI, SECOND, Time};
use crate::machine::Machine;
use crate::outcome::Verdict;
use crate::panics::watch;
use crate::process::State;
use crate::workload::Owed;
use crate::world::World;

/// How often the checkers look at every node's status.
pub(crate) const SAMPLE_EVERY: Time = 250 * MILLI;
/// To look at all costs as much as the square of their number: the more nodes, the rarer. So many are looked at as often as any.
const SAMPLED_OFTEN: u64 = 10;
/// How often a node's state of the control group is digested although nothing was applied since.
const DIGEST_AGAIN_EVERY: Time = 2 * SECOND;
/// For how long a healed world must stay content before it is judged finished: what circles or comes twice shows up meanwhile.
const CONTENT_FOR: Time = SECOND;

/// For how long a healed world with something beyond repair in it is watched: nothing is owed, and nothing wrong may happen.
const WRECKED_FOR: Time = 5 * SECOND;

/// Whether a group owes progress; the later the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owes {
    /// It must go on.
    All,
    /// It may stand still: see [`crate::checker::Logs::excused`]. It may go on all the same, so it is given its time.
    Perhaps,
    /// It may, and has said that it goes no further.
    Nothing,
}

/// What is missing, the first of each kind.
#[derive(Debug, Default)]
struct Missing {
    owed: Option<String>,
    doubtful: Option<String>,
    given_up: Option<String>,
}

impl Missing {
    fn note(&mut self, owes: Owes, what: impl FnOnce() -> String) {
        let slot = match owes {
            Owes::All => &mut self.owed,
            Owes::Perhaps => &mut self.doubtful,
            Owes::Nothing => &mut self.given_up,
        };
        slot.get_or_insert_with(what);
    }
}

impl<M: Machine> World<M> {
    pub(crate) fn sample(&mut self) {
        let pause = SAMPLE_EVERY * (self.processes.len() as u64).div_ceil(SAMPLED_OFTEN);
        self.queue.push(self.now + pause, Event::Sample);
        // To digest a state that is as it was is dear, and shows only what changes without any entry.
        let again = self.now.is_multiple_of(DIGEST_AGAIN_EVERY);
        let mut statuses = Vec::with_capacity(self.processes.len());
        for node in 0..self.processes.len() {
            let process = &self.processes[node];
            if process.state != State::Up {
                continue;
            }
            let Some(machine) = &process.machine else { continue };
            let (now, id, life) = (process.clock.read(self.now), process.id(), process.life);
            let status = match watch(|| machine.status(now)) {
                Ok(Some(status)) => status,
                Ok(None) => continue,
                Err(panic) => {
                    return self.fail(Failure::from_panic(&format!("{} ({})", panic.message, panic.place)));
                }
            };
            let mut checked = self.books.agreement.seen(node, &status);
            let applied = status.control.as_ref().map(|control| control.applied);
            let news = self.digested[node] != Some((life, applied));
            if !self.books.may_stop
                && !self.books.recoveries.has_ordered()
                && (news || again)
                && let Some((index, digest)) = machine.control_state()
            {
                self.digested[node] = Some((life, applied));
                checked = checked.and_then(|()| self.books.agreement.state(node, index, digest));
            }
            let synced = process.disk.is_synced();
            if synced && status.mesh.is_some() {
                self.custody.has_joined(node);
            }
            if status.mesh.is_none() && status.parted.is_some() {
                self.starts.parts(node);
            } else {
                checked = checked.and_then(|()| self.starts.shows(node, &status, synced));
            }
            let whose = |id: NodeId| self.processes.iter().position(|process| process.id() == id);
            checked = checked.and_then(|()| self.books.departures.seen(node, &status, synced, whose));
            let held = |index| machine.group_place_at(GroupId::CONTROL, index);
            if self.custody.has_lost(node) {
                self.books.stops.may_forget(node);
            }
            checked = checked.and_then(|()| self.books.stops.seen(node, &status));
            checked = checked.and_then(|()| self.books.keys.rests(self.now, node));
            checked = checked.and_then(|()| self.books.recoveries.seen(node, &status, synced, whose, held));
            for stream in &status.streams {
                checked = checked.and_then(|()| self.watermarks.seen(node, life, id, stream));
                let known = Some(stream.instance);
                let index = self.books.streams.iter().position(|ledger| ledger.instance() == known);
                if let Some(index) = index {
                    self.note_who_votes(index, stream.instance);
                }
                if let Some(index) = index {
                    let short = stream.kept.short.map_or(0, |short| short.upto.0);
                    let released = if stream.local { stream.released.0 } else { 0 };
                    self.books.streams[index].lets_go(released, short);
                    checked = checked.and_then(|()| self.books.changed(index, &stream.members));
                    let failed = stream.rules.iter().find_map(|(_, rule)| rule.failed.as_deref());
                    let at_source = self.plan.streams[index].source == node;
                    checked = checked.and_then(|()| match failed {
                        Some(failed) => self.books.stream_failed(index, failed, at_source),
                        None => Ok(()),
                    });
                }
                if let Some((index, sealed)) = index.zip(stream.seal.as_ref()) {
                    checked = checked.and_then(|()| self.books.sealed(index, sealed));
                }
            }
            let told = self.processes[node].disk.told_free();
            checked = checked.and_then(|()| refuses_for_want_of_room(node, told, status.refusing.as_deref()));
            self.judge(checked);
            self.explain_status(node, &status);
            statuses.push(status);
        }
        for node in self.books.recoveries.gone() {
            self.books.departures.acknowledged(node);
        }
        self.checks += 1;
        self.note_who_leaves(&statuses);
        let checked = self.look_at_all(&statuses);
        self.judge(checked);
        self.complete = self.complete || self.is_complete(&statuses);
        self.watch_voters(&statuses);
        if self.healed {
            let forsaken: Vec<NodeId> = self.forsaken.iter().map(|&node| self.processes[node].id()).collect();
            statuses.retain(|status| !forsaken.contains(&status.node));
            let untold = self.untold(&statuses);
            statuses.retain(|status| {
                let place = self.processes.iter().position(|process| process.id() == status.node);
                place.is_none_or(|node| !self.books.departures.is_gone(node))
            });
            self.settle(&statuses, untold);
        }
    }

    /// A node has something committed that was decided otherwise before: whether anybody could have told it.
    pub(crate) fn decided_again(&mut self, node: usize, machine: &M, group: GroupId) {
        let status = machine.status(self.processes[node].clock.read(self.now));
        let members = status.map(|status| status.members).unwrap_or_default();
        let heard: Vec<NodeId> =
            members.iter().filter(|member| member.reachable).map(|member| member.node).collect();
        let processes = &self.processes;
        self.books.logs.second(node, group, |other| heard.contains(&processes[other].id()));
    }

    /// A publisher is answered under an authority that only a seal gives. It may have been settled since anybody was asked for a status, and what is completed
    /// depends on who is lost.
    pub(crate) fn answers_under_seal(&mut self, node: usize, machine: &M, output: &Output) -> Checked {
        let Output::Reply { reply: Ok(Reply::Published(receipt)), .. } = output else { return Ok(()) };
        let known = Some(receipt.instance);
        let Some(index) = self.books.streams.iter().position(|ledger| ledger.instance() == known) else {
            return Ok(());
        };
        if receipt.authority.0 == 0 || self.books.seals.end(index).is_some() {
            return Ok(());
        }
        let status = machine.status(self.processes[node].clock.read(self.now));
        let streams = status.into_iter().flat_map(|status| status.streams);
        let sealed = streams.filter(|stream| Some(stream.instance) == known).find_map(|stream| stream.seal);
        sealed.map_or(Ok(()), |sealed| self.books.sealed(index, &sealed))
    }

    /// A world whose voters are exchanged again and again is not content (M40).
    fn watch_voters(&mut self, statuses: &[Status]) {
        let leads =
            |status: &&Status| status.control.as_ref().is_some_and(|control| control.role == "leader");
        let led = statuses.iter().filter(leads).filter_map(|status| status.control.as_ref());
        if let Some(control) = led.max_by_key(|control| control.term)
            && control.voters != self.voters
        {
            self.voters.clone_from(&control.voters);
            self.content_since = None;
        }
    }

    /// Whether all ends of a stream know which target is on its way out. Who is down leads nothing; when one starts it is looked at anew.
    fn note_who_leaves(&mut self, statuses: &[Status]) {
        for index in 0..self.books.streams.len() {
            let Some(leaving) = self.books.members.leaving(index) else { continue };
            let shown = self.shown(statuses, index);
            let knows = |members: &StreamMembers| {
                let under_way = members.change.as_ref().is_some_and(|change| change.node == leaving);
                under_way || members.taken_out(leaving).is_some()
            };
            let out = self.books.members.out(index);
            let up = |node: &usize| self.processes[*node].is_up();
            let stay = self.plan.streams[index].ends().filter(up).map(|node| self.processes[node].id());
            let stay = stay.filter(|node| *node == leaving || !out.contains(node)).count();
            let stays = shown.iter().filter(|(node, _)| *node == leaving || !out.contains(node));
            let known = stays.filter(|(_, status)| knows(&status.members)).count() == stay;
            self.books.streams[index].all_know_who_leaves(known);
        }
    }

    /// What shows only between nodes.
    fn look_at_all(&self, statuses: &[Status]) -> Checked {
        let lost = |id: NodeId| {
            let place = self.processes.iter().position(|process| process.id() == id);
            place.is_some_and(|node| self.custody.has_lost(node))
        };
        let leaves = |instance: StreamInstance, node: NodeId| {
            let of = self.books.streams.iter().position(|ledger| ledger.instance() == Some(instance))?;
            let place = self.processes.iter().position(|process| process.id() == node)?;
            let leaves = self.books.members.leaves(of, node);
            let out = self.books.members.out(of).contains(&node);
            leaves.then(|| (self.books.streams[of].success_at(place), out))
        };
        let late = |instance: StreamInstance| {
            let mut ledgers = self.books.streams.iter().enumerate();
            let of = ledgers.find(|(_, ledger)| ledger.instance() == Some(instance));
            let later = of.into_iter().flat_map(|(of, ledger)| {
                let places = self.plan.streams[of].targets().enumerate();
                let later = places.filter(|&(place, _)| ledger.comes_later(place));
                later.map(|(place, node)| (self.processes[node].id(), ledger.late(place)))
            });
            later.collect()
        };
        completed_is_marked(statuses, lost, leaves, late)
    }

    fn is_complete(&self, statuses: &[Status]) -> bool {
        let all = self.processes.len();
        statuses.len() == all
            && statuses.iter().all(|status| status.members.len() == all)
            && self.workload.all_joined()
    }

    /// Judges whether a healed world has done all it owes.
    fn settle(&mut self, statuses: &[Status], untold: Option<String>) {
        if let Some(what) = self.custody.beyond_repair() {
            if self.now >= self.plan.fault_phase + WRECKED_FOR {
                self.finish(statuses, Some(what));
            }
            return;
        }
        let mut missing = self.missing(statuses);
        if let Some(what) = untold {
            missing.note(self.owes(statuses, GroupId::CONTROL), || what);
        }
        let turns =
            |status: &&Status| self.processes.iter().any(|p| p.id() == status.node && p.keyring.turns());
        if let Some(status) = statuses.iter().find(turns) {
            let what = || format!("the key of {} does not come to give way", status.node);
            missing.note(self.owes(statuses, GroupId::CONTROL), what);
        }
        if missing.owed.is_some() || missing.doubtful.is_some() {
            self.content_since = None;
            if self.now >= self.plan.fault_phase + self.plan.progress_bound {
                let verdict = match (missing.owed, missing.doubtful) {
                    (Some(what), _) => Verdict::NoProgress { what },
                    (None, what) => Verdict::NotOwed { what: what.unwrap_or_default() },
                };
                self.verdict.get_or_insert(verdict);
            }
            return;
        }
        if self.now - *self.content_since.get_or_insert(self.now) >= CONTENT_FOR {
            self.finish(statuses, missing.given_up);
        } else if self.now >= self.plan.fault_phase + self.plan.progress_bound + 4 * CONTENT_FOR {
            let what =
                "leaders are elected, or voters exchanged, again and again, though nothing is wrong any more";
            self.stall(what.into());
        }
    }

    /// A group need not go on once a replica of it that lost something by a roll-back counted untold.
    fn owes(&self, statuses: &[Status], group: GroupId) -> Owes {
        let shown = |status: &Status| match &status.control {
            Some(control) if group == GroupId::CONTROL => control.stopped.is_some(),
            _ => status.streams.iter().any(|entry| group == entry.instance.into() && entry.stopped.is_some()),
        };
        if !self.books.logs.may_stand_still(group) {
            Owes::All
        } else if self.books.agreement.has_stopped(group) || statuses.iter().any(shown) {
            Owes::Nothing
        } else {
            Owes::Perhaps
        }
    }

    /// The group on which a stream of the plan waits: its own once both ends know it, and until then the one that tells them of it.
    fn group_of(&self, statuses: &[Status], stream: usize) -> GroupId {
        let plan = &self.plan.streams[stream];
        let instance = self.books.streams[stream].instance();
        let knows = |node: usize, instance: StreamInstance| {
            let node: NodeId = self.processes[node].id();
            let mut own = statuses.iter().filter(|status| status.node == node);
            own.any(|status| status.streams.iter().any(|entry| entry.instance == instance))
        };
        let mut here = plan.ends().filter(|&node| !self.is_away(node));
        let known = instance.filter(|&instance| here.all(|node| knows(node, instance)));
        known.map_or(GroupId::CONTROL, Into::into)
    }

    fn missing(&self, statuses: &[Status]) -> Missing {
        let mut missing = Missing::default();
        let all = self.processes.len() - self.forsaken.len() - self.books.departures.count();
        if statuses.len() < all {
            missing.note(Owes::All, || format!("{} of {all} nodes are up", statuses.len()));
            return missing;
        }
        let mesh = self.owes(statuses, GroupId::CONTROL);
        let streams: Vec<Owes> = (0..self.books.streams.len())
            .map(|stream| self.owes(statuses, self.group_of(statuses, stream)))
            .collect();
        let left: Vec<Option<Left>> = (0..streams.len()).map(|stream| self.left(stream)).collect();
        for (from, what) in self.workload.owed() {
            match from {
                Owed::Mesh { at } if self.is_forsaken(at) || self.books.departures.is_gone(at) => {}
                Owed::Opening { at, stream } if self.is_severed(stream) || self.is_forsaken(at) => {}
                Owed::Recovery => missing.note(Owes::All, || what),
                // An end is away for good, and it was never opened: there is nobody to take out of it.
                Owed::Change { stream } if left[stream].is_none() => {}
                // Two groups decide it, one after the other: that of the mesh what is intended and that it is done, that of the stream the rest.
                Owed::Change { stream } => missing.note(mesh.max(streams[stream]), || what),
                Owed::Mesh { .. } | Owed::Opening { .. } => missing.note(mesh, || what),
                // Publishers of a lost source are refused for good, and so are handlers where it was; they wait for ever for what nobody can do.
                Owed::Stream(stream) if !left[stream].as_ref().is_some_and(Left::serves) => {}
                Owed::Handler { at, stream } if !self.is_handled(stream, left[stream].as_ref(), at) => {}
                Owed::Stream(stream) | Owed::Handler { stream, .. } => missing.note(streams[stream], || what),
            }
        }
        for (index, ledger) in self.books.streams.iter().enumerate() {
            let Some(left) = &left[index] else { continue };
            let unsealed = || self.unsealed(statuses, index);
            let unchanged = || self.unchanged(statuses, index);
            let unfinished = || self.unfinished(statuses, index, left);
            if let Some(what) = ledger.owed(left).or_else(unsealed).or_else(unfinished) {
                missing.note(streams[index], || what);
            }
            if let Some(what) = unchanged() {
                missing.note(mesh.max(streams[index]), || what);
            }
        }
        if let Some(what) = self.books.agreement.out_of_reach(statuses) {
            // Who has lost its disk is out of reach until the mesh takes it in again.
            let strangers =
                (0..self.processes.len()).any(|node| !self.custody.joined(node) && !self.is_forsaken(node));
            // Whose admission a log lost with a disk that was taken back, unnoticed, is shown by it to who signed that. Under a key that gave way since nobody may
            // believe it: whoever stole the key could have made it.
            let rotated = |status: &Status| status.members.iter().any(|member| member.rotation > 0);
            let unproven = statuses.iter().any(rotated);
            missing.note(if strangers || unproven { mesh } else { Owes::All }, || what);
        }
        if let Some(what) = disagree_on_keys(statuses) {
            // A log that lost what one disk alone held may have forgotten rotations, of which the keys on that node's disk, and what it shows beside the log, are all
            // that is left.
            let torn = mesh == Owes::All && self.books.registry.is_torn();
            missing.note(if torn { Owes::Perhaps } else { mesh }, || what);
        }
        let departures = &self.books.departures;
        let members =
            (0..self.processes.len()).filter(|&node| !self.is_forsaken(node) && !departures.is_gone(node));
        for node in members {
            if let Some(what) = self.books.updates.owed(node) {
                missing.note(mesh, || what);
            }
        }
        let members = self.processes.len() - self.books.departures.count();
        let opened: Vec<StreamInstance> =
            self.books.streams.iter().filter_map(StreamLedger::instance).collect();
        if let Some(what) = self.books.agreement.open_questions(statuses, members, &opened) {
            missing.note(mesh, || what);
        }
        missing
    }

    /// What members do not know of those that went, or these of themselves.
    fn untold(&self, statuses: &[Status]) -> Option<String> {
        let place = |status: &Status| self.processes.iter().position(|process| process.id() == status.node);
        let known: Vec<(usize, &Status)> =
            statuses.iter().filter_map(|status| Some((place(status)?, status))).collect();
        // Who went must be told by one of those that are left; others that went as well may go on beside them for ever.
        let stays = |node: &usize| !self.is_forsaken(*node) && !self.books.departures.is_gone(*node);
        let hears = |node| self.neighbours_of(node).any(|other| stays(&other));
        self.books.departures.owed(&known, hears)
    }

    /// Whether the handler at a node is to be attached.
    fn is_handled(&self, stream: usize, left: Option<&Left>, at: usize) -> bool {
        let mut targets = self.plan.streams[stream].targets();
        left.zip(targets.position(|target| target == at)).is_some_and(|(left, place)| left.has(place))
    }

    /// How a stream's ends that are left show that they have not done all that they can.
    fn unfinished(&self, statuses: &[Status], index: usize, left: &Left) -> Option<String> {
        let plan = &self.plan.streams[index];
        let instance = self.books.streams[index].instance()?;
        let shown = |node: usize| {
            let id = self.processes[node].id();
            let mut own = statuses.iter().filter(|status| status.node == id);
            own.find_map(|status| status.streams.iter().find(|stream| stream.instance == instance))
        };
        if left.source {
            let stream = shown(plan.source)?;
            let open = left.policy && stream.completed != stream.accepted
                || left.most && stream.replicated != stream.accepted;
            if open {
                return Some(format!(
                    "stream {index}: accepted {}, replicated {}, processed {}, completed {}: waits for {:?}",
                    stream.accepted,
                    stream.replicated,
                    stream.processed,
                    stream.completed,
                    stream.waiting_for
                ));
            }
            return self.misled(index, instance);
        }
        if self.books.seals.begun(index) {
            return None;
        }
        // Without the source whoever leads completes what was processed.
        let owed = self.books.streams[index].completed_by(left);
        let mut here = plan.targets().enumerate().filter(|(place, _)| left.has(*place));
        here.find_map(|(_, node)| {
            let stream = shown(node).filter(|stream| stream.completed.0 < owed)?;
            let (completed, waits) = (stream.completed, &stream.waiting_for);
            Some(format!(
                "stream {index}: those who are left without its source have processed up to {owed}, and node {node} has completed {completed}: waits for {waits:?}"
            ))
        })
    }

    /// Who leads a stream of several targets though its source is there to do so. After a seal it is whoever founded it anew.
    fn misled(&self, index: usize, instance: StreamInstance) -> Option<String> {
        let plan = &self.plan.streams[index];
        if plan.more.is_empty() || self.books.seals.begun(index) {
            return None;
        }
        let mut places = Vec::new();
        self.processes[plan.source].machine.as_ref()?.group_places(&mut places);
        let own = places.iter().find(|place| place.group == instance.into())?;
        (own.role != RoleName::Leader)
            .then(|| format!("stream {index}: its source does not lead it, and is {:?} there", own.role))
    }

    /// How the ends of a sealed stream show that not all is done.
    fn unsealed(&self, statuses: &[Status], index: usize) -> Option<String> {
        let source = self.processes[self.plan.streams[index].source].id();
        let void = self.books.streams[index].void();
        let mut shown = self.shown(statuses, index);
        shown.retain(|(node, _)| !self.books.members.out(index).contains(node));
        self.books.seals.owed(index, void, source, &shown)
    }

    /// How the ends of a stream show that a change of its members is not done.
    fn unchanged(&self, statuses: &[Status], index: usize) -> Option<String> {
        let founded = |node| self.books.seals.goes_on_from(index, node);
        let owed = self.books.members.owed(index, &self.shown(statuses, index), founded);
        owed.or_else(|| self.books.idle.owed(index, self.books.members.out(index)))
    }

    /// What the ends of a stream show of it.
    fn shown<'a>(&self, statuses: &'a [Status], index: usize) -> Vec<(NodeId, &'a StreamStatus)> {
        let plan = &self.plan.streams[index];
        let ends: Vec<NodeId> = plan.ends().map(|node| self.processes[node].id()).collect();
        let known = self.books.streams[index].instance();
        let own = statuses.iter().filter(|status| ends.contains(&status.node));
        let shown = own.flat_map(|status| status.streams.iter().map(|stream| (status.node, stream)));
        shown.filter(|(_, stream)| Some(stream.instance) == known).collect()
    }

    fn finish(&mut self, statuses: &[Status], given_up: Option<String>) {
        for process in &self.processes {
            let Some(machine) = &process.machine else { continue };
            if let Err(panic) = watch(|| machine.check_invariants(Level::Full)) {
                return self.fail(Failure::from_panic(&format!("{} ({})", panic.message, panic.place)));
            }
        }
        if !self.books.logs.excused(GroupId::CONTROL) {
            let checked = self.books.registry.finish().and_then(|()| self.books.configuration.finish());
            self.judge(checked);
        }
        for index in 0..self.books.streams.len() {
            if let Some(left) = self.left(index)
                && self.custody.beyond_repair().is_none()
                && self.owes(statuses, self.group_of(statuses, index)) == Owes::All
            {
                let checked = self.books.streams[index].finish(&left);
                self.judge(checked);
            }
        }
        let checked = self.logs_in_the_end();
        self.judge(checked);
        self.verdict.get_or_insert(given_up.map_or(Verdict::Pass, |what| Verdict::NotOwed { what }));
    }

    fn logs_in_the_end(&self) -> Checked {
        let mut places = Vec::new();
        for (node, process) in self.processes.iter().enumerate() {
            let mut own = Vec::new();
            let gone = self.is_forsaken(node) || self.books.departures.is_gone(node);
            if let Some(machine) = process.machine.as_ref().filter(|_| !gone) {
                machine.group_places(&mut own);
            }
            places.extend(own.into_iter().map(|place| (node, place)));
        }
        nobody_parted(&places, |node, group, index| {
            self.processes[node].machine.as_ref().and_then(|machine| machine.group_place_at(group, index))
        })
    }
}
