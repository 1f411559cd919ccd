//! What hinders a process without ending it, or ends it again and again: a slow machine, full sockets, a machine that sleeps, timers
//! that fire late, a clock that changes its rate, a loop of crashes.

use crate::coverage::sometimes;
use crate::describe;
use crate::event::{Event, Time};
use crate::fault::FaultKind;
use crate::machine::Machine;
use crate::process::{Sleep, State};
use crate::random::{Draws, Purpose};
use crate::trouble::Trouble;
use crate::world::World;

impl<M: Machine> World<M> {
    /// A machine takes so long for each input; 0 for no time at all: then what waits comes at once, in its order.
    pub(crate) fn slow_down(&mut self, node: usize, service: Time) {
        let process = &mut self.processes[node];
        process.service = service;
        if service == 0 {
            for event in std::mem::take(&mut process.inbox) {
                self.queue.push_in_order(self.now, event);
            }
        }
    }

    /// An event of a slow machine waits for its turn.
    pub(crate) fn queue_up(&mut self, node: usize, event: Event) {
        let process = &mut self.processes[node];
        process.inbox.push_back(event);
        if process.inbox.len() == 1 {
            let life = process.life;
            self.queue.push(self.now + process.service, Event::Serve { node, life });
        }
    }

    /// A slow machine takes what waits longest.
    pub(crate) fn serve_next(&mut self, node: usize) {
        let Some(event) = self.processes[node].inbox.pop_front() else { return };
        self.perform(event);
        let process = &self.processes[node];
        if !process.inbox.is_empty() {
            sometimes!(SlowMachineBehind);
            self.queue.push(self.now + process.service, Event::Serve { node, life: process.life });
        }
    }

    /// The sockets of a node to a peer, or to all, are full and take nothing; or one fault less says so.
    pub(crate) fn block(&mut self, node: usize, peer: Option<usize>, blocked: bool) {
        for (other, count) in self.processes[node].blocked.iter_mut().enumerate() {
            if peer.is_none_or(|peer| peer == other) {
                *count = if blocked { *count + 1 } else { *count - 1 };
            }
        }
        if !blocked && self.processes[node].state == State::Up {
            self.pump(node);
        }
    }

    /// A whole machine falls asleep: nothing reaches it or leaves it, and its process stands still.
    pub(crate) fn fall_asleep(&mut self, node: usize, counted: bool) {
        self.cut_off(node, true);
        let process = &mut self.processes[node];
        if process.state == State::Up {
            process.pauses += 1;
            process.state = State::Paused(process.pauses);
            process.asleep = Some(Sleep { pause: process.pauses, since: self.now, counted });
        }
    }

    /// It wakes up, if it did not crash meanwhile.
    pub(crate) fn wake_up(&mut self, node: usize) {
        self.cut_off(node, false);
        if let Some(sleep) = self.processes[node].asleep {
            self.resume(node, sleep.pause);
        }
    }

    /// Timers of a node fire at multiples of `slack` only.
    pub(crate) fn loosen(&mut self, node: usize, slack: Time) {
        self.processes[node].slack = slack;
        self.rearm(node);
    }

    /// The monotonic clock of a node runs at another rate from now on.
    pub(crate) fn drift(&mut self, node: usize, ppm: i32) {
        self.processes[node].clock.run_at(self.now, ppm);
        self.rearm(node);
    }

    /// The moments of a node's deadlines are others now.
    pub(crate) fn rearm(&mut self, node: usize) {
        let process = &mut self.processes[node];
        process.armed = None;
        let deadline = process.machine.as_ref().and_then(|machine| machine.poll_timeout());
        self.arm(node, deadline);
    }

    /// A node that is in a loop of crashes has started: it will not run for long.
    pub(crate) fn loop_on(&mut self, node: usize) {
        let process = &self.processes[node];
        let Some((index, left)) = process.crash_loop else { return };
        let Some(Trouble::CrashLoop { runs: longest, .. }) = self.trouble_of(index) else { return };
        let who = (node as u64) << 32 | u64::from(left);
        let mut draws = Draws::new(self.plan.seed, Purpose::Damage, who, 1 << 40 | index as u64);
        let runs = draws.spread(1, longest);
        self.queue.push(self.now + runs, Event::CrashAgain { index, node, life: process.life });
    }

    fn trouble_of(&self, index: usize) -> Option<Trouble> {
        match &self.plan.faults[index].kind {
            FaultKind::Trouble { what, .. } => Some(what.clone()),
            _ => None,
        }
    }

    /// It crashes again.
    pub(crate) fn crashes_again(&mut self, index: usize, node: usize) {
        let Some((owner, left)) = self.processes[node].crash_loop else { return };
        let Some(Trouble::CrashLoop { down, .. }) = self.trouble_of(index) else { return };
        if owner != index || self.healed {
            return;
        }
        let id = self.plan.faults[index].id << 16 | 1 << 62 | u64::from(left);
        let mut draws = Draws::new(self.plan.seed, Purpose::Fault, id, 0);
        let down = draws.spread(1, down);
        self.note(node, describe::FAULT, id, || format!("== crashes again, {left} left"));
        self.processes[node].crash_loop = (left > 1).then_some((index, left - 1));
        self.crash(node, draws.percent(50), id, down);
    }
}
