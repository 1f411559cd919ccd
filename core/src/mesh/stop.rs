//! A member that takes no part for a while, and comes back (M38).
//!
//! It stops in steps, within five seconds: it hands over the groups that it leads and another can lead, says to all nodes that it stops, gives that
//! a moment to leave, and goes offline. It is a member all the same, and what it keeps it keeps. Asked for by an operator that holds until
//! somebody starts it, whatever starts of the process lie between; a process that ends goes the same way and leaves no mark.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use prost::Message as _;
use wattle_proto::mesh as proto;

use super::store::Space;
use super::wire::Malformed;
use super::{Awaited, Mesh, Output};
use crate::event::MeshEvent;
use crate::id::{NodeId, RequestId};
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::sometimes;
use crate::time::{Instant, Now};

/// How many may wait for a stop or a start.
const WAITING_MAX: usize = 64;

/// Whether a member takes part in its mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// It does.
    #[default]
    Running,
    /// It is about to stop.
    Stopping,
    /// It does not.
    Stopped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Running,
    /// Others are to lead what this node leads; it looks again, and waits no longer than that.
    HandingOver {
        look: Instant,
        until: Instant,
    },
    /// It has said that it stops, and leaves that time to arrive.
    Parting {
        until: Instant,
    },
    Stopped,
}

/// How far this node is with stopping.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopping {
    stage: Stage,
    /// Whether it holds at the next starts, too.
    lasting: bool,
    /// Who asked for the stop, and who for a start while it was under way.
    stops: Vec<RequestId>,
    starts: Vec<RequestId>,
    /// The members that say they are stopped.
    others: BTreeSet<NodeId>,
    /// Who was told to have failed.
    failed: BTreeSet<NodeId>,
}

impl Stopping {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::HandingOver { look, until } => Some(look.min(until)),
            Stage::Parting { until } => Some(until),
            Stage::Running | Stage::Stopped => None,
        }
    }

    /// A record of an earlier life.
    pub(super) fn read(&mut self, head: &[u8]) -> Result<(), Malformed> {
        let stored = proto::StopMark::decode(head).map_err(|_| Malformed("stop mark"))?;
        self.lasting = stored.stopped;
        Ok(())
    }

    fn record(&self) -> Record {
        let stored = proto::StopMark { stopped: self.lasting };
        Record::state(Space::Stopped.key(0), stored.encode_to_vec().into())
    }
}

impl Mesh {
    /// Whether this node takes part in its mesh.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match self.stopping.stage {
            _ if self.membership.is_none() => Activity::Running,
            Stage::Running => Activity::Running,
            Stage::HandingOver { .. } | Stage::Parting { .. } => Activity::Stopping,
            Stage::Stopped => Activity::Stopped,
        }
    }

    /// Why nothing is served here that needs the mesh, if an operator has stopped it.
    pub(super) fn stopped_by_operator(&self) -> Option<Refusal> {
        let stopped = self.stopping.lasting && self.activity() != Activity::Running;
        stopped.then_some(Refusal::MeshStopped)
    }

    /// A start: what an operator stopped stays stopped.
    pub(super) fn restored_stop(&mut self) {
        if self.stopping.lasting {
            sometimes!(StartedStopped);
            self.stopping.stage = Stage::Stopped;
            self.tell_offline();
            self.outputs.push_back(Output::Farewell(true));
        }
    }

    pub(super) fn on_stop(&mut self, now: Now, request: RequestId, lasting: bool) {
        if self.membership.is_none() {
            let reply = if lasting { Err(Refusal::NotMember) } else { Ok(Reply::MeshStopped) };
            return self.reply(request, reply);
        }
        if self.stopping.stops.len() >= WAITING_MAX {
            return self.reply(request, Err(Refusal::Busy));
        }
        if let Some(refusal) = self.refused_as_double() {
            // It takes no part as it is.
            return self.reply(request, if lasting { Err(refusal) } else { Ok(Reply::MeshStopped) });
        }
        if lasting && !self.stopping.lasting {
            self.stopping.lasting = true;
            self.outputs.push_back(Output::Persist(self.stopping.record()));
        }
        self.stopping.stops.push(request);
        match self.stopping.stage {
            Stage::Running => {
                let until = now.monotonic + self.config.stop_timeout;
                self.stopping.stage = Stage::HandingOver { look: now.monotonic, until };
                self.on_stop_deadline(now);
            }
            Stage::Stopped => self.answer_stops(),
            Stage::HandingOver { .. } | Stage::Parting { .. } => {}
        }
    }

    pub(super) fn on_start(&mut self, now: Now, request: RequestId) {
        let lost = self.key_lost().map(|why| Refusal::KeyRetired(why.into()));
        if let Some(refusal) = lost.or_else(|| self.refused_as_double()) {
            return self.reply(request, Err(refusal));
        }
        if self.stopping.starts.len() >= WAITING_MAX {
            return self.reply(request, Err(Refusal::Busy));
        }
        self.stopping.starts.push(request);
        match self.stopping.stage {
            // What is begun is ended first.
            Stage::HandingOver { .. } | Stage::Parting { .. } => rare!(StartedWhileStopping),
            Stage::Running | Stage::Stopped => self.go_on(now),
        }
    }

    pub(super) fn on_stop_deadline(&mut self, now: Now) {
        let now_at = now.monotonic;
        match self.stopping.stage {
            Stage::HandingOver { until, .. } if until <= now_at => {
                rare!(StoppedLeading);
                self.say_farewell(now);
            }
            Stage::HandingOver { look, until } if look <= now_at => {
                let look = now_at + self.config.stop_look;
                self.stopping.stage = Stage::HandingOver { look, until };
                self.outputs.push_back(Output::HandOver);
            }
            Stage::Parting { until } if until <= now_at => self.go_offline(now),
            _ => {}
        }
    }

    /// How many groups this node leads that another could, and whether it has neighbours.
    pub(super) fn on_handed_over(&mut self, now: Now, left: usize, neighbours: bool) {
        if !matches!(self.stopping.stage, Stage::HandingOver { .. }) || left > 0 {
            return;
        }
        self.say_farewell(now);
        if !neighbours {
            self.go_offline(now);
        }
    }

    fn say_farewell(&mut self, now: Now) {
        self.outputs.push_back(Output::Farewell(true));
        self.stopping.stage = Stage::Parting { until: now.monotonic + self.config.stop_linger };
    }

    fn go_offline(&mut self, now: Now) {
        sometimes!(MeshStopped);
        self.stopping.stage = Stage::Stopped;
        self.tell_offline();
        if self.stopping.lasting {
            self.end_waiting(now, &Refusal::MeshStopped);
        }
        let (node, name) = (self.own, self.config.name.clone());
        self.tell(MeshEvent::NodeStopped { node, name });
        self.answer_stops();
        if !self.stopping.starts.is_empty() {
            self.go_on(now);
        }
    }

    /// Whoever waits for the mesh is told that this node takes no part. What is on its way to the leader may be done all the same, and whoever waits for
    /// that is told so.
    pub(super) fn end_waiting(&mut self, now: Now, refusal: &Refusal) {
        let refused = self.planted.has(Bug::StoppedAnswersRefused);
        let unknown = if refused { refusal } else { &Refusal::StoppedMeanwhile };
        self.fail_clients(now, refusal, Some(unknown));
        let waiting = self.reads.take().into_iter().chain(self.watches.take());
        let waiting: Vec<RequestId> = waiting.chain(self.describing.take_waiting()).collect();
        for id in waiting {
            self.reply(id, Err(refusal.clone()));
        }
        // A rotation goes on when this node takes part again.
        let rotations: Vec<RequestId> = self.keys.take_waiting().collect();
        for id in rotations {
            self.reply(id, Err(unknown.clone()));
        }
    }

    /// Tells whether this node has links: not while it is stopped, nor as long as another copy of it may be the one that counts, nor under a key that nobody
    /// accepts (M63).
    pub(super) fn tell_offline(&mut self) {
        let stopped = self.stopping.stage == Stage::Stopped;
        let offline = stopped || self.is_offline_as_double() || self.key_lost().is_some();
        self.outputs.push_back(Output::Offline(offline));
    }

    fn answer_stops(&mut self) {
        for request in core::mem::take(&mut self.stopping.stops) {
            // It is said when the next start knows it.
            self.when_durable(Awaited::Reply(request, Ok(Reply::MeshStopped)));
        }
    }

    /// Takes part again, or goes on doing so.
    fn go_on(&mut self, now: Now) {
        if self.stopping.lasting {
            self.stopping.lasting = false;
            self.outputs.push_back(Output::Persist(self.stopping.record()));
        }
        if self.stopping.stage == Stage::Stopped {
            self.stopping.stage = Stage::Running;
            self.outputs.push_back(Output::Farewell(false));
            self.tell_offline();
            let (node, name) = (self.own, self.config.name.clone());
            self.tell(MeshEvent::NodeStarted { node, name });
            self.look_soon(now);
        }
        for request in core::mem::take(&mut self.stopping.starts) {
            self.when_durable(Awaited::Reply(request, Ok(Reply::MeshStarted)));
        }
    }

    /// This node is no member any more: there is nothing to stop. Gives whoever waits.
    pub(super) fn forget_stop(&mut self) -> Vec<RequestId> {
        let before = core::mem::take(&mut self.stopping);
        if before.stage != Stage::Running {
            self.outputs.push_back(Output::Farewell(false));
            self.tell_offline();
        }
        before.stops.into_iter().chain(before.starts).collect()
    }

    /// Another member says that it stops, or that it goes on.
    pub(super) fn on_other_stopped(&mut self, node: NodeId, stopped: bool) {
        let others = &mut self.stopping.others;
        let news = if stopped { others.insert(node) } else { others.remove(&node) };
        let Some(member) = self.state.members.get(&node).filter(|_| news) else { return };
        let name = member.name.clone();
        self.tell(match stopped {
            true => MeshEvent::NodeStopped { node, name },
            false => MeshEvent::NodeStarted { node, name },
        });
    }

    /// Members went: if one comes back, nothing is known of it.
    pub(super) fn forget_stopped(&mut self) {
        let members = &self.state.members;
        self.stopping.others.retain(|node| members.contains_key(node));
        self.stopping.failed.retain(|node| members.contains_key(node));
    }

    /// A member is not heard, or is heard again. Nobody is said to have failed who said that it stops.
    pub(super) fn tell_liveness(&mut self, node: NodeId, failed: bool) {
        let news = match failed {
            true => !self.stopping.others.contains(&node) && self.stopping.failed.insert(node),
            false => self.stopping.failed.remove(&node),
        };
        let Some(member) = self.state.members.get(&node).filter(|_| news) else { return };
        let name = member.name.clone();
        self.tell(match failed {
            true => MeshEvent::NodeFailed { node, name },
            false => MeshEvent::NodeRecovered { node, name },
        });
    }

    pub(super) fn check_stop(&self) {
        let waiting = self.stopping.stops.len().max(self.stopping.starts.len());
        assert!(waiting <= WAITING_MAX, "M5: who waits for a stop is bounded");
        let idle = self.membership.is_some() || self.stopping.stage == Stage::Running;
        assert!(idle, "M38: a node that belongs to no mesh has none to stop");
    }
}
