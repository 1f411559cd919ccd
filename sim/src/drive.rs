//! How the world drives a node: one input, all outputs, then what it sends, then its next deadline, then its invariants.

use wattle_core::configuration::Member;
use wattle_core::id::{GroupId, Ticket};
use wattle_core::level::Level;
use wattle_core::node::output::{CloseReason, Deadline};
use wattle_core::node::{Input, Output, Rejected};
use wattle_core::raft::{GroupPlace, RoleName};
use wattle_core::time::{Now, Span};

use crate::checker::{Ballot, Failure, Keys, ensure, log_is_bounded};
use crate::coverage::{rare, sometimes};
use crate::describe;
use crate::disk::ledger::Expected;
use crate::disk::{Synced, Written};
use crate::event::{Event, MICRO, MILLI, SECOND, Time};
use crate::fault::Moment;
use crate::machine::Machine;
use crate::network::Dial;
use crate::panics::{Panic, watch};
use crate::process::Loading;
use crate::random::{Draws, Purpose};
use crate::triggers;
use crate::world::{World, desk};

/// Every so many events a node's invariants are checked in full.
const FULL_CHECK_EVERY: u64 = 1024;
/// How often a node may ask to be woken at once before that counts as spinning.
const SPINS_MOST: u32 = 10_000;
/// A node that can be reached for so long was asked whatever a member asks all of: it asks again each second, by a clock that may be slow.
const ASKED_WITHIN: Span = Span::millis(1_250);

/// How a step ended.
enum Flow {
    On,
    /// In the middle: the crash of this place in the plan.
    Crash(usize),
    /// It does not: the node says that its disk is damaged, as it must.
    Refused(String),
}

impl<M: Machine> World<M> {
    /// Tells a node something and carries out what it wants.
    pub(crate) fn step(&mut self, node: usize, input: Input) {
        let (kind, content) = describe::input(&input);
        self.note(node, kind, content, || describe::input_line(&input));
        self.explain_input(node, &input);
        self.with_machine(node, |world, machine, now| {
            if let Err(rejected) = machine.handle(now, input) {
                return world.rejected(node, &rejected);
            }
            world.serve(node, machine, now)
        });
    }

    /// Takes what a node has to send, because there is room again.
    pub(crate) fn pump(&mut self, node: usize) {
        self.with_machine(node, |world, machine, now| world.serve(node, machine, now));
    }

    fn with_machine(
        &mut self,
        node: usize,
        work: impl FnOnce(&mut Self, &mut M, Now) -> Result<Flow, Failure>,
    ) {
        let Some(mut machine) = self.processes[node].machine.take() else { return };
        let now = self.processes[node].clock.read(self.now);
        let worked = match watch(|| work(self, &mut machine, now)) {
            Ok(Err(failure)) if self.overlooks(&failure) => Ok(Ok(Flow::On)),
            worked => worked,
        };
        match worked {
            Ok(Ok(Flow::On)) => {
                self.arm(node, machine.poll_timeout());
                self.processes[node].machine = Some(machine);
            }
            Ok(Ok(Flow::Crash(index))) => {
                sometimes!(CrashedBetweenOutputs);
                drop(machine);
                self.crash_by_fault(index);
            }
            Ok(Ok(Flow::Refused(why))) => {
                drop(machine);
                self.refused(node, why);
            }
            Ok(Err(failure)) => {
                // What was said may rest on what is committed only now.
                let looked = if failure.decided_by.is_some() {
                    self.look_at_logs(node, &machine, false)
                } else {
                    Ok(())
                };
                self.fail(looked.err().unwrap_or(failure));
            }
            Err(Panic { message, place }) => {
                let failure = Failure::from_panic(&format!("{message} ({place})"));
                if self.overlooks(&failure) {
                    drop(machine);
                    return self.crash(node, false, self.events, SECOND);
                }
                self.fail(failure);
            }
        }
    }

    /// A node refuses an input. It may after a failed write, and where the ledger of its disk says that it must see damage.
    fn rejected(&self, node: usize, rejected: &Rejected) -> Result<Flow, Failure> {
        let process = &self.processes[node];
        let expected = match rejected {
            Rejected::Stopped(_) if process.write_failed => return Ok(Flow::On),
            Rejected::Damaged(_) => process.misread || process.expected.is_some_and(Expected::may_refuse),
            _ => false,
        };
        ensure!(expected, "X11", "node {node} refuses an input: {rejected}");
        Ok(Flow::Refused(rejected.to_string()))
    }

    /// Carries out everything a node wants, then lets it check itself.
    fn serve(&mut self, node: usize, machine: &mut M, now: Now) -> Result<Flow, Failure> {
        if let Some(index) = self.carry_out(node, machine, now)? {
            // What left before the crash may rest on what is known of its log only now.
            self.look_at_logs(node, machine, false)?;
            return Ok(Flow::Crash(index));
        }
        let process = &mut self.processes[node];
        let mut draws = process.disk_draws(self.plan.seed, node);
        if let Some(time) = process.disk.begin_sync(&mut draws) {
            self.queue.push(self.now + time, Event::Synced { node, life: process.life });
        }
        if self.triggers.want(Moment::WriteUnsynced) {
            for _ in 0..std::mem::take(&mut self.processes[node].wrote) {
                self.moment(Moment::WriteUnsynced, node);
            }
        }
        self.links.step_over()?;
        self.checks += 1;
        let full = self.events.is_multiple_of(FULL_CHECK_EVERY);
        machine.check_invariants(if full { Level::Full } else { Level::Cheap });
        let synced = self.processes[node].disk.is_synced();
        self.look_at_logs(node, machine, synced)?;
        Ok(Flow::On)
    }

    /// Carries out outputs and sends, up to the crash that was set for the midst of it.
    fn carry_out(&mut self, node: usize, machine: &mut M, now: Now) -> Result<Option<usize>, Failure> {
        let mut outputs = 0;
        if let Some(index) = self.drain(node, machine, &mut outputs)? {
            return Ok(Some(index));
        }
        self.transmit(node, machine, now)?;
        if let Some(index) = self.triggers.struck.take() {
            return Ok(Some(index));
        }
        self.drain(node, machine, &mut outputs)
    }

    /// Looks at where the node's replicas stand now, and at what they committed since.
    fn look_at_logs(&mut self, node: usize, machine: &M, synced: bool) -> Result<(), Failure> {
        let (life, version) = (self.processes[node].life, machine.groups_version());
        if self.books.logs.has_shown_version(node, life, synced, version) {
            return Ok(());
        }
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        machine.group_places(&mut places);
        if self.books.logs.has_shown(node, life, synced, &places) {
            self.books.logs.shows_still(node, version);
            self.places = places;
            return Ok(());
        }
        for place in &places {
            // Not now and then: a log that grows for ever has hundreds of thousands of entries before the next look.
            log_is_bounded(node, place, self.plan.messages() + self.plan.update_calls())?;
            let id = self.processes[node].id();
            if self.books.votes.shows(id, place)
                && let Some(configuration) = machine.group_configuration(place.group)
            {
                self.books.votes.leads(id, place, configuration)?;
            }
            let before = self.books.logs.news(node, life, place);
            if synced {
                self.books.logs.stands(node, life, *place)?;
            } else {
                self.books.logs.stands_unsynced(node, life, *place)?;
            }
            if self.books.stops.any() {
                let own = Member { node: self.processes[node].id(), replica: place.replica };
                let configuration = machine.group_configuration(place.group);
                let alone = configuration.is_none_or(|group| group.voters.iter().all(|voter| *voter == own));
                self.books.stops.stands(node, self.now, place, alone)?;
            }
            let Some(before) = before else { continue };
            self.explain_commit(node, place, before.0);
            let mut index = place.commit;
            while let Some(entry) = machine.group_place_at(place.group, index).filter(|_| index > before) {
                self.books.logs.committed(node, place.group, entry)?;
                index = index.before();
            }
            if self.books.logs.is_second(node, place.group) {
                self.decided_again(node, machine, place.group);
            }
            if place.group == GroupId::CONTROL && place.role == RoleName::Leader {
                self.cannot_be_lost(node, machine, place)?;
            }
        }
        self.books.logs.shows(node, life, synced, version, &places);
        self.places = places;
        Ok(())
    }

    /// The control group has a leader. A founder whose disk was rolled back waits for the silent only so long: if it could ask nobody who holds
    /// more than it, the group forks.
    fn leads_without_the_silent(&mut self, node: usize) {
        let holders = self.books.logs.holders_of_what_it_lost(node, GroupId::CONTROL);
        let lasts = |one: usize, other: usize| {
            let now = self.processes[one].clock.read(self.now).monotonic;
            self.links.is_up_for(one, other, now).is_some_and(|lasted| lasted > ASKED_WITHIN)
        };
        let reached = self.reached(node, lasts);
        let lost = !holders.is_empty() && !holders.iter().any(|&holder| reached[holder]);
        rare!(LedWithoutTheSilent, lost);
        if lost {
            self.books.logs.forks(GroupId::CONTROL);
        }
    }

    /// What the leader of the control group committed must outlast every election.
    fn cannot_be_lost(&self, node: usize, machine: &M, leader: &GroupPlace) -> Result<(), Failure> {
        let group = leader.group;
        let Some(entry) = machine.group_place_at(group, leader.commit) else { return Ok(()) };
        let ballot = |other: usize| {
            let process = &self.processes[other];
            let place = self.books.logs.last_seen(other, group)?;
            let own = if other == node { Some(machine) } else { process.machine.as_deref() };
            let lacks = |own: &&M| own.group_place_at(group, entry.index).is_none_or(|held| held != entry);
            let behind = |own: &&M| place.commit < entry.index && lacks(own);
            let member = Member { node: process.id(), replica: place.replica };
            let configuration = own.filter(behind).and_then(|own| own.group_configuration(group));
            let stands = configuration.filter(|configuration| configuration.votes(member));
            Some(Ballot {
                member,
                durable: place.durable,
                rival: stands.map(|configuration| (place.last, configuration)),
            })
        };
        let ballots: Vec<Ballot<'_>> = (0..self.processes.len()).filter_map(ballot).collect();
        self.books.logs.cannot_be_lost(group, entry, &ballots)
    }

    /// Something happened inside a node.
    fn happened(&mut self, node: usize, event: &wattle_core::node::output::Event) -> Result<(), Failure> {
        use wattle_core::node::output::Event;
        if let Event::RoleChanged { group: GroupId::CONTROL, role: "leader", .. } = event {
            self.moment_within(Moment::Lead, node);
            self.leads(node);
            self.leads_without_the_silent(node);
        }
        if let Event::Parted { left, .. } = event {
            sometimes!(NodeParted);
            self.note(node, describe::FAULT, u64::from(*left), || {
                format!("== belongs to no mesh any more: {event:?}")
            });
            self.books.logs.left(node, GroupId::CONTROL);
            self.books.agreement.parts(node);
            self.starts.parts(node);
            self.links.parts(node);
            self.digested[node] = None;
            // It may have been asked to join when it did not know yet that it must.
            if let Some(through) = self.books.departures.parted(node) {
                self.workload.rejoins(&mut desk!(self), node, through, true);
            }
        }
        self.stops_or_starts(node, event);
        self.tells_of_neighbours(node, event)?;
        let books = &mut self.books;
        match event {
            Event::RoleChanged { group, role: "leader" | "candidate" | "follower", .. } => {
                books.logs.counts(node, *group);
                if books.logs.excused(*group) {
                    return Ok(());
                }
                if self.healed && matches!(event, Event::RoleChanged { role: "leader", .. }) {
                    // A world whose leaders do not stay is not content.
                    self.content_since = None;
                }
            }
            Event::Amnesia { group, node: whose, .. } if *whose == self.processes[node].id() => {
                books.logs.told(node, *group);
            }
            Event::DuplicateIdentity { why, .. } => {
                ensure!(false, "X40", "node {node}, of which no plan makes a copy, stops as one: {why}");
            }
            Event::Mesh(wattle_core::event::MeshEvent::NodeLeft { .. }) => books.departures.said(),
            Event::GroupStopped { group, reason } => {
                ensure!(books.logs.excused(*group), "X11", "group {group} stopped on node {node}: {reason}");
            }
            _ => {}
        }
        books.keys.event(self.now, node, event)?;
        books.agreement.event(node, event)
    }

    /// Carries out outputs until there are none, or until the crash that was set for their midst.
    fn drain(&mut self, node: usize, machine: &mut M, outputs: &mut u32) -> Result<Option<usize>, Failure> {
        while let Some(output) = machine.poll_output() {
            if let Some((after, index)) = self.processes[node].crash_after
                && *outputs >= after
            {
                return Ok(Some(index));
            }
            *outputs += 1;
            let moment = triggers::moment_of_output(&output);
            self.meets(node, machine, &output);
            self.acknowledges(node, machine, &output);
            self.answers_under_seal(node, machine, &output)?;
            self.answers_for_more(node, machine, &output)?;
            self.apply(node, output)?;
            if let Some(moment) = moment {
                self.moment_within(moment, node);
            }
            if let Some(index) = self.triggers.struck.take() {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn apply(&mut self, node: usize, output: Output) -> Result<(), Failure> {
        let (kind, content) = describe::output(&output);
        self.note(node, kind, content, || describe::output_line(&output));
        self.explain_output(node, &output);
        let life = self.processes[node].life;
        match output {
            Output::Write { ticket, row } => {
                self.processes[node].disk.passes(self.now);
                let taken = self.processes[node].disk.write(ticket.0, row.to_bytes());
                self.processes[node].wrote += 1;
                if taken == Written::NoRoom {
                    sometimes!(ReserveUsedUp);
                    self.note(node, describe::FAULT, ticket.0, || format!("== no room for row {ticket}"));
                }
            }
            Output::Trim { below } => {
                self.processes[node].disk.give_up(below.0);
                let mut draws = self.processes[node].disk_draws(self.plan.seed, node);
                let wait = if draws.percent(40) { 0 } else { draws.spread(MICRO, 2 * SECOND) };
                self.queue.push(self.now + wait, Event::Trim { node, life, below: below.0 });
            }
            Output::Load { load, row, offset, len } => {
                let process = &mut self.processes[node];
                let mut draws = process.disk_draws(self.plan.seed, node);
                let time = process.disk.takes(&mut draws);
                let slot = process.loads.len();
                process.open_loads += 1;
                process.loads.push(Loading { load, row: row.0, offset: offset as usize, len: len as usize });
                self.queue.push(self.now + time, Event::Loaded { node, life, slot });
            }
            Output::Work { work, job } => {
                let process = &mut self.processes[node];
                let slot = process.works.len();
                let done = process.keyring.perform(&job, self.plan.seed, node, self.plan.planted);
                process.works.push(Some((work, done)));
                let who = (node as u64) << 32 | u64::from(life);
                let mut draws = Draws::new(self.plan.seed, Purpose::Work, who, slot as u64);
                self.queue
                    .push(self.now + draws.spread(2 * MICRO, 2 * MILLI), Event::Worked { node, life, slot });
            }
            Output::Dial { dial, address } => {
                let to = self.addresses.get(&address).copied();
                if let Some(peer) = to {
                    self.links.dials(node, peer);
                }
                self.network.dial(&mut self.queue, self.now, Dial { from: node, life, dial, to });
            }
            Output::Close { lane, reason } => {
                self.books.keys.lane_over(node, lane);
                if let Some(&(connection, side)) = self.processes[node].lanes.get(&lane) {
                    let peer = self.network.connection(connection).ends[1 - side].node;
                    self.links.closes(node, peer, connection, reason == CloseReason::Surplus);
                    self.network.close(&mut self.queue, self.now, connection, side);
                }
            }
            Output::ShowKey(key) => {
                let process = &mut self.processes[node];
                process.shown = key;
                Keys::shown(node, process.keyring.holds(&key))?;
            }
            Output::Deliver(delivery) => {
                self.deliveries += delivery.messages.len() as u64;
                self.workload.delivered(&mut desk!(self), node, &delivery)?;
            }
            Output::DeliverUpdates(delivery) => {
                self.workload.updates_delivered(&mut desk!(self), node, &delivery)?;
            }
            Output::Reply { request, reply } => {
                self.workload.reply(&mut desk!(self), request, &reply)?;
                for (ends, down) in self.books.stops.take_ending() {
                    let life = self.processes[ends].life;
                    self.queue.push(self.now, Event::End { node: ends, life, down });
                }
            }
            Output::Event(event) => self.happened(node, &event)?,
        }
        Ok(())
    }

    /// Sees to it that a node is woken at its next deadline.
    pub(crate) fn arm(&mut self, node: usize, deadline: Option<Deadline>) {
        let now = self.now;
        let process = &mut self.processes[node];
        let Some(deadline) = deadline else {
            process.armed = None;
            return;
        };
        let mut at = process.clock.reaches(deadline.at);
        if at > now {
            process.spins = 0;
        } else {
            process.spins += 1;
            at = now + MICRO;
            if process.spins > SPINS_MOST {
                let failure = format!(
                    "node {node} wants to be woken at once, again and again, for {:?}",
                    deadline.timer
                );
                return self.fail(Failure::new("X8", failure));
            }
        }
        if process.slack > 0 {
            at = at.next_multiple_of(process.slack);
        }
        if process.armed.is_some_and(|(set, _)| set <= at) {
            return;
        }
        process.armings += 1;
        process.armed = Some((at, process.armings));
        self.queue.push(at, Event::Timer { node, life: process.life, armed: process.armings });
        self.explain_armed(node);
    }

    /// A deadline that was set is reached; it may have moved since.
    pub(crate) fn timer(&mut self, node: usize, armed: u64) {
        let process = &mut self.processes[node];
        if process.armed.is_none_or(|(_, number)| number != armed) {
            return;
        }
        process.armed = None;
        let deadline = process.machine.as_ref().and_then(|machine| machine.poll_timeout());
        match deadline {
            Some(deadline) if process.clock.reaches(deadline.at) <= self.now => {
                let now = process.clock.read(self.now).monotonic;
                self.step(node, Input::Deadline);
                let checked = self.links.woken(node, now);
                self.judge(checked);
            }
            other => self.arm(node, other),
        }
    }

    /// A sync ends.
    pub(crate) fn synced(&mut self, node: usize) {
        self.keeps(node);
        match self.processes[node].disk.end_sync(self.now) {
            Synced::Upto(upto) => {
                self.step(node, Input::Persisted { upto: Ticket(upto) });
                self.tell_space(node);
                self.moment(Moment::Synced, node);
            }
            Synced::Failed => {
                self.processes[node].write_failed = true;
                self.step(node, Input::WriteFailed { reason: "input/output error".into() });
                let stopped = |machine: &M| machine.poll_timeout().is_none();
                if self.processes[node].machine.as_deref().is_some_and(|machine| !stopped(machine)) {
                    let what = format!("node {node} goes on after a failed write");
                    self.fail(Failure::new("X11", what));
                }
                let process = &self.processes[node];
                let (life, id) = (process.life, u64::from(process.life) << 32 | 1 << 60);
                let mut draws = Draws::new(self.plan.seed, Purpose::Crash, node as u64, id);
                let down = draws.spread(MILLI, SECOND);
                if life == self.processes[node].life {
                    self.crash(node, false, id, down);
                }
            }
        }
    }

    /// A trim is carried out.
    pub(crate) fn trim(&mut self, node: usize, below: u64) {
        self.processes[node].disk.trim(below);
        self.tell_space(node);
    }

    /// Tells a node how much its disk still takes, if that changed notably.
    pub(crate) fn tell_space(&mut self, node: usize) {
        if self.processes[node].is_up()
            && self.processes[node].machine.is_some()
            && let Some(free) = self.processes[node].disk.news_of_space()
        {
            self.step(node, Input::Space { free });
        }
    }

    /// A node crashes: of what its disk had not synced, some is left; it starts again later.
    pub(crate) fn crash(&mut self, node: usize, power: bool, id: u64, down: Time) {
        if !self.processes[node].is_up() {
            return;
        }
        self.halt(node, power, id);
        let life = self.processes[node].life;
        self.queue.push(self.now + down, Event::Boot { node, life });
    }

    /// A process ends, and stays down until somebody starts it.
    pub(crate) fn halt(&mut self, node: usize, power: bool, id: u64) {
        let openings = self.processes[node].machine.as_ref().map(|machine| machine.openings());
        self.books.agreement.knows(openings.unwrap_or_default());
        self.processes[node].end();
        let mut draws = Draws::new(self.plan.seed, Purpose::Crash, node as u64, id);
        let left = self.processes[node].disk.crash(self.now, &mut draws);
        sometimes!(CrashTore, left.torn > 0);
        sometimes!(CrashLost, left.lost > 0);
        self.note(node, describe::CRASH, left.kept as u64, || {
            format!("== crashes; of the unsynced rows: {left:?}")
        });
        self.explain_crash(node);
        self.links.node_down(node);
        self.books.stops.node_down(node);
        self.network.node_down(&mut self.queue, self.now, node, power);
        self.workload.node_down(&mut desk!(self), node);
    }
}
