//! How a world is looked at as a whole: every node's status now and then, and, once all faults are over, whether all that was owed
//! has been done.

use wattle_core::id::{GroupId, StreamInstance};
use wattle_core::level::Level;
use wattle_core::node::Status;

use crate::checker::{Failure, StreamLedger};
use crate::event::{Event, MILLI, SECOND, Time};
use crate::machine::Machine;
use crate::outcome::Verdict;
use crate::panics::watch;
use crate::process::State;
use crate::world::World;

/// How often the checkers look at every node's status.
pub(crate) const SAMPLE_EVERY: Time = 250 * MILLI;
/// For how long a healed world must stay content before it is judged finished: what circles or comes twice shows up meanwhile.
const CONTENT_FOR: Time = SECOND;

impl<M: Machine> World<M> {
    pub(crate) fn sample(&mut self) {
        self.queue.push(self.now + SAMPLE_EVERY, Event::Sample);
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
            for stream in &status.streams {
                checked = checked.and_then(|()| self.watermarks.seen(node, life, id, stream));
            }
            self.judge(checked);
            statuses.push(status);
        }
        self.complete = self.complete || self.is_complete(&statuses);
        if self.healed {
            self.settle(&statuses);
        }
    }

    fn is_complete(&self, statuses: &[Status]) -> bool {
        let all = self.processes.len();
        statuses.len() == all
            && statuses.iter().all(|status| status.members.len() == all)
            && self.workload.all_joined()
    }

    /// Judges whether a healed world has done all it owes.
    fn settle(&mut self, statuses: &[Status]) {
        if let Some(owed) = self.owed(statuses) {
            self.content_since = None;
            if self.now >= self.plan.fault_phase + self.plan.progress_bound {
                self.stall(owed);
            }
            return;
        }
        if self.now - *self.content_since.get_or_insert(self.now) >= CONTENT_FOR {
            self.finish(statuses);
        }
    }

    fn excused(&self, statuses: &[Status], stream: usize) -> bool {
        let Some(instance) = self.books.streams[stream].instance() else { return false };
        let stopped = |status: &Status| {
            status.streams.iter().any(|entry| entry.instance == instance && entry.stopped.is_some())
        };
        self.books.may_stop
            && (self.books.agreement.has_stopped(instance.into()) || statuses.iter().any(stopped))
    }

    fn control_excused(&self, statuses: &[Status]) -> bool {
        let stopped =
            |status: &Status| status.control.as_ref().is_some_and(|control| control.stopped.is_some());
        self.books.may_stop
            && (self.books.agreement.has_stopped(GroupId::CONTROL) || statuses.iter().any(stopped))
    }

    fn owed(&self, statuses: &[Status]) -> Option<String> {
        if statuses.len() < self.processes.len() {
            return Some(format!("{} of {} nodes are up", statuses.len(), self.processes.len()));
        }
        if self.control_excused(statuses) {
            // Without a control group nothing can be opened or agreed; what is open goes on, but who can say what was.
            return None;
        }
        if let Some(owed) = self.workload.owed(|stream| self.excused(statuses, stream)) {
            return Some(owed);
        }
        for (index, ledger) in self.books.streams.iter().enumerate() {
            if self.excused(statuses, index) {
                continue;
            }
            if let Some(owed) = ledger.owed() {
                return Some(owed);
            }
            let source = self.processes[self.plan.streams[index].source].id();
            let shown =
                statuses.iter().filter(|status| status.node == source).flat_map(|status| &status.streams);
            for stream in shown.filter(|stream| Some(stream.instance) == ledger.instance()) {
                if stream.completed != stream.accepted || stream.replicated != stream.accepted {
                    return Some(format!(
                        "stream {index}: accepted {}, replicated {}, processed {}, completed {}: waits for {:?}",
                        stream.accepted,
                        stream.replicated,
                        stream.processed,
                        stream.completed,
                        stream.waiting_for
                    ));
                }
            }
        }
        let opened: Vec<StreamInstance> =
            self.books.streams.iter().filter_map(StreamLedger::instance).collect();
        self.books.agreement.open_questions(statuses, &opened)
    }

    fn finish(&mut self, statuses: &[Status]) {
        for process in &self.processes {
            let Some(machine) = &process.machine else { continue };
            if let Err(panic) = watch(|| machine.check_invariants(Level::Full)) {
                return self.fail(Failure::from_panic(&format!("{} ({})", panic.message, panic.place)));
            }
        }
        let control_excused = self.control_excused(statuses);
        for index in 0..self.books.streams.len() {
            if !control_excused && !self.excused(statuses, index) {
                let checked = self.books.streams[index].finish();
                self.judge(checked);
            }
        }
        self.verdict.get_or_insert(Verdict::Pass);
    }
}
