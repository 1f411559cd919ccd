//! How faults begin and end in a world.

use wattle_core::id::{GroupId, StreamInstance};

use crate::coverage::{fired, rare, sometimes};
use crate::describe;
use crate::event::{Event, MILLI, SECOND, Time};
use crate::fault::{FaultKind, Moment};
use crate::machine::Machine;
use crate::panics::watch;
use crate::process::State;
use crate::random::{Draws, Purpose};
use crate::world::{World, desk};

impl<M: Machine> World<M> {
    /// A fault begins.
    pub(crate) fn inject(&mut self, index: usize) {
        let fault = self.plan.faults[index].clone();
        if self.healed {
            return;
        }
        if !self.complete && !fault.kind.is_light() {
            let mut draws = Draws::new(self.plan.seed, Purpose::Fault, fault.id, self.now);
            self.queue.push(self.now + draws.between(50 * MILLI, SECOND), Event::Fault { index });
            return;
        }
        self.fired(index);
        if let Some(length) = fault.kind.length() {
            self.queue.push(self.now + length, Event::FaultEnd { index });
        }
        for (from, to) in fault.kind.stalls(&self.plan.edges) {
            self.network.cut(&mut self.queue, self.now, from, to, true);
        }
        match fault.kind {
            FaultKind::Crash { node, after_outputs: Some(after), .. } => {
                if self.processes[node].is_up() {
                    self.processes[node].crash_after = Some((after, index));
                }
            }
            FaultKind::Crash { node, power, down, .. } => self.crash(node, power, fault.id, down),
            FaultKind::Pause { node, length } => self.pause(node, length),
            FaultKind::Reset { a, b, late } => {
                self.explain_reset(a, b);
                self.network.reset(&mut self.queue, self.now, a, b, late);
            }
            FaultKind::Slow { from, to, extra, .. } => self.network.slow(from, to, extra),
            FaultKind::Disturb { .. }
            | FaultKind::Flap { .. }
            | FaultKind::Silence { .. }
            | FaultKind::HalfOpen { .. }
            | FaultKind::Overtake { .. }
            | FaultKind::Rebind { .. } => self.unsettle(index),
            FaultKind::SlowDisk { node, factor, .. } => self.processes[node].disk.slow(factor),
            FaultKind::FullDisk { node, left, .. } => {
                self.processes[node].disk.fill(Some(left));
                self.tell_space_unless_paused(node);
            }
            FaultKind::FailedWrite { node, .. } => self.processes[node].disk.fail_next_sync(),
            FaultKind::RolledBack { node, down, .. } => self.roll_back(node, fault.id, down),
            FaultKind::Depose { .. } => {
                self.deposing.push((index, 0));
                if let Some(leader) = self.leader {
                    self.leads(leader);
                }
            }
            FaultKind::WallStep { node, millis } => self.processes[node].clock.step(millis),
            FaultKind::Trouble { node, ref what } => self.trouble(node, what, index, fault.id),
            FaultKind::Cut { .. } | FaultKind::Isolate { .. } | FaultKind::Partition { .. } => {}
        }
    }

    /// A fault begins in fact: it is counted and noted.
    fn fired(&mut self, index: usize) {
        self.faults += 1;
        fired::fault(&self.plan.faults[index].kind);
        let id = self.plan.faults[index].id;
        let kind = self.plan.faults[index].kind.clone();
        self.note(0, describe::FAULT, id, || format!("== fault {kind:?}"));
        self.explain_fault(index, true);
    }

    /// Something happens at a node, and its step is over: faults that wait for it begin.
    pub(crate) fn moment(&mut self, moment: Moment, node: usize) {
        if self.triggers.want(moment) {
            for (index, after) in self.triggers.happened(moment, node, self.complete) {
                self.queue.push_in_order(self.now + after, Event::Fault { index });
            }
        }
    }

    /// Something happens at a node in the middle of a step, which a crash of that node can end at once.
    pub(crate) fn moment_within(&mut self, moment: Moment, node: usize) {
        if !self.triggers.want(moment) {
            return;
        }
        for (index, after) in self.triggers.happened(moment, node, self.complete) {
            let at_once = matches!(
                self.plan.faults[index].kind,
                FaultKind::Crash { node: whose, after_outputs: None, .. } if whose == node
            );
            if at_once && after == 0 && self.triggers.struck.is_none() {
                self.fired(index);
                sometimes!(CrashedAtAMoment);
                self.triggers.struck = Some(index);
            } else {
                self.queue.push_in_order(self.now + after, Event::Fault { index });
            }
        }
    }

    /// A fault ends.
    pub(crate) fn relieve(&mut self, index: usize) {
        if self.healed {
            return;
        }
        let kind = self.plan.faults[index].kind.clone();
        self.note(0, describe::FAULT, !self.plan.faults[index].id, || format!("== over: {kind:?}"));
        self.explain_fault(index, false);
        for (from, to) in kind.stalls(&self.plan.edges) {
            self.network.cut(&mut self.queue, self.now, from, to, false);
        }
        match kind {
            FaultKind::Slow { from, to, .. } => self.network.slow(from, to, 0),
            FaultKind::Disturb { .. } | FaultKind::Flap { .. } => self.settle_link(index),
            FaultKind::SlowDisk { node, .. } => self.processes[node].disk.slow(1),
            FaultKind::FullDisk { node, .. } => {
                self.processes[node].disk.fill(None);
                self.tell_space_unless_paused(node);
            }
            FaultKind::Trouble { node, ref what } => self.trouble_over(node, what),
            _ => {}
        }
    }

    fn tell_space_unless_paused(&mut self, node: usize) {
        if self.processes[node].state == State::Up {
            self.tell_space(node);
        }
    }

    /// The crash of a plan's fault, now.
    pub(crate) fn crash_by_fault(&mut self, index: usize) {
        let fault = &self.plan.faults[index];
        if let FaultKind::Crash { node, power, down, .. } = fault.kind {
            let id = fault.id;
            self.crash(node, power, id, down);
        }
    }

    /// A node leads the control group: the first fault that waits for one will hit it.
    pub(crate) fn leads(&mut self, node: usize) {
        self.leader = Some(node);
        let Some(&(index, stroke)) = self.deposing.first() else { return };
        let fault = &self.plan.faults[index];
        let FaultKind::Depose { times, delay, .. } = fault.kind else { return };
        let mut draws = Draws::new(self.plan.seed, Purpose::Fault, fault.id, 1 + u64::from(stroke));
        self.queue.push(self.now + draws.below(delay + 1), Event::Strike { index, node, stroke });
        self.deposing[0].1 += 1;
        if stroke + 1 >= times {
            self.deposing.remove(0);
        }
    }

    /// A leader is hit.
    pub(crate) fn strike(&mut self, index: usize, node: usize, stroke: u32) {
        let fault = &self.plan.faults[index];
        let FaultKind::Depose { length, crash, .. } = fault.kind else { return };
        let fault_id = fault.id;
        if self.healed || !self.processes[node].is_up() {
            return;
        }
        sometimes!(LeaderStruck);
        self.note(node, describe::FAULT, fault_id ^ u64::from(stroke) << 8, || "== is struck".into());
        let id = fault_id << 16 | 1 << 61 | u64::from(stroke);
        let mut draws = Draws::new(self.plan.seed, Purpose::Fault, id, 0);
        let length = draws.between(length / 8, length);
        if crash {
            return self.crash(node, draws.percent(50), id, length);
        }
        self.explain_struck(index, node, true);
        self.cut_off(node, true);
        self.queue.push(self.now + length, Event::StrikeEnd { index, node });
    }

    /// A leader that was cut off is back.
    pub(crate) fn strike_over(&mut self, index: usize, node: usize) {
        if !self.healed {
            self.note(node, describe::FAULT, !self.plan.faults[index].id, || "== is back".into());
            self.explain_struck(index, node, false);
            self.cut_off(node, false);
            self.moment(Moment::Return, node);
        }
    }

    pub(crate) fn cut_off(&mut self, node: usize, stalled: bool) {
        let others: Vec<usize> = self.neighbours_of(node).collect();
        for other in others {
            self.network.cut(&mut self.queue, self.now, node, other, stalled);
            self.network.cut(&mut self.queue, self.now, other, node, stalled);
        }
    }

    fn pause(&mut self, node: usize, length: Time) {
        let process = &mut self.processes[node];
        if process.state == State::Up {
            process.pauses += 1;
            process.state = State::Paused(process.pauses);
            self.queue.push(self.now + length, Event::Resume { node, pause: process.pauses });
            self.explain_pause(node, true);
        }
    }

    /// A pause ends: everything that came meanwhile comes now, in its order.
    pub(crate) fn resume(&mut self, node: usize, pause: u32) {
        let process = &mut self.processes[node];
        if process.state != State::Paused(pause) {
            return;
        }
        process.state = State::Up;
        sometimes!(ResumedWithBacklog, process.backlog.len() > 10);
        if let Some(sleep) = process.asleep.take().filter(|sleep| !sleep.counted) {
            sometimes!(SleptUncounted);
            process.clock.stood_still(sleep.since, self.now);
        }
        for event in std::mem::take(&mut process.backlog) {
            self.queue.push_in_order(self.now, event);
        }
        self.explain_pause(node, false);
        self.tell_space(node);
    }

    /// Takes the image for a later roll-back, once the node is a member: a node that forgot that it ever joined is a stranger.
    pub(crate) fn take_image(&mut self, index: usize) {
        let Some(node) = self.plan.faults[index].kind.rolls_back() else { return };
        if self.custody.joined(node) {
            self.processes[node].disk.take_image();
            self.images[node] = Some(self.now);
        }
    }

    fn roll_back(&mut self, node: usize, id: u64, down: Time) {
        sometimes!(RollBackSpared, self.images[node].is_some() && !self.may_lose(node));
        let Some(taken) = self.images[node].filter(|_| self.may_lose(node)) else { return };
        self.crash(node, true, id, down);
        if self.processes[node].is_up() || !self.processes[node].disk.roll_back() {
            return;
        }
        sometimes!(RolledBack);
        self.loses(node, taken);
    }

    /// A stream whose opening a node agreed on alone, and that nobody else knows or has on disk, was never opened for all that anybody will
    /// remember.
    pub(crate) fn forget_streams(&mut self, node: usize) {
        if !self.books.logs.holds_alone(node, GroupId::CONTROL) {
            return;
        }
        // Whoever is down knows it again when it has read its disk.
        let reach = self.books.logs.reach_of_others(node, GroupId::CONTROL);
        let mut known: Vec<StreamInstance> = self.books.agreement.opened_upto(reach).collect();
        for other in (0..self.processes.len()).filter(|&other| other != node) {
            let process = &self.processes[other];
            let now = process.clock.read(self.now);
            let Some(machine) = process.machine.as_ref() else { continue };
            let status = watch(|| machine.status(now)).ok().flatten();
            known.extend(status.into_iter().flat_map(|status| status.streams).map(|stream| stream.instance));
        }
        for index in 0..self.books.streams.len() {
            let stream = &mut self.books.streams[index];
            if stream.instance().is_none_or(|instance| known.contains(&instance)) {
                continue;
            }
            stream.forgotten();
            if stream.instance().is_none() {
                self.workload.opens_again(&mut desk!(self), index);
            }
        }
        // Also what no client was told of: whoever asked the node for its status saw it.
        let forgotten = self.books.agreement.forgotten(&known);
        rare!(StreamForgotten, forgotten);
    }

    /// All faults end: everybody is up, everything is quick, and from now on progress is owed.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.triggers.disarm();
        self.note(0, describe::FAULT, 0, || "== everything heals".into());
        self.explain_heal();
        let forsaken = self.forsaken_now();
        sometimes!(Forsaken, !forsaken.is_empty());
        self.network.heal(&mut self.queue, self.now);
        for node in 0..self.processes.len() {
            self.processes[node].disk.heal();
            let blocked = self.processes[node].blocked.iter().any(|&faults| faults > 0);
            let ppm = self.plan.nodes[node].clock_ppm;
            if self.processes[node].heal(self.now, ppm) {
                self.rearm(node);
            }
            self.slow_down(node, 0);
            self.mend_in_silence(node);
            match self.processes[node].state {
                State::Paused(pause) => self.resume(node, pause),
                State::Up => {
                    if blocked {
                        self.pump(node);
                    }
                    self.tell_space(node);
                }
                State::Down if self.custody.is_gone(node) => {}
                State::Down => {
                    let life = self.processes[node].life;
                    self.queue.push(self.now + MILLI, Event::Boot { node, life });
                }
            }
        }
        self.forsake(forsaken);
        self.workload.heal(&mut desk!(self));
    }
}
