//! How the faults of single links begin and end in a world.

use crate::coverage::sometimes;
use crate::describe;
use crate::event::Event;
use crate::fault::FaultKind;
use crate::machine::Machine;
use crate::random::{Draws, Purpose};
use crate::world::World;

impl<M: Machine> World<M> {
    /// A fault of a link begins.
    pub(crate) fn unsettle(&mut self, index: usize) {
        let fault = &self.plan.faults[index];
        let id = fault.id;
        match fault.kind {
            FaultKind::Disturb { from, to, both, what, .. } => {
                self.network.disturb(id, from, to, what);
                if both {
                    self.network.disturb(id, to, from, what);
                }
            }
            FaultKind::Flap { .. } => {
                self.flapping.insert(index, false);
                self.flap(index, 0);
            }
            FaultKind::Silence { from, to } => self.network.silence(from, to),
            FaultKind::HalfOpen { forgets, believes } => {
                self.network.half_open(&mut self.queue, self.now, forgets, believes);
            }
            FaultKind::Overtake { from, to, by } => {
                self.network.overtake(&mut self.queue, self.now, from, to, by);
            }
            FaultKind::Rebind { node } => self.network.rebind(node),
            _ => {}
        }
    }

    /// A fault of a link ends.
    pub(crate) fn settle_link(&mut self, index: usize) {
        if self.flapping.remove(&index) == Some(true) {
            self.stall_flapping(index, false);
        }
        let id = self.plan.faults[index].id;
        self.network.calm(&mut self.queue, self.now, id);
    }

    /// A link that flaps goes down, or comes back.
    pub(crate) fn flap(&mut self, index: usize, stroke: u32) {
        let Some(down) = self.flapping.get_mut(&index).filter(|_| !self.healed) else { return };
        *down = !*down;
        let stalled = *down;
        let fault = &self.plan.faults[index];
        let FaultKind::Flap { shortest, longest, .. } = fault.kind else { return };
        let mut draws = Draws::new(self.plan.seed, Purpose::Flap, fault.id, u64::from(stroke));
        let stays = draws.spread(shortest, longest);
        self.queue.push(self.now + stays, Event::Flap { index, stroke: stroke + 1 });
        sometimes!(Flapped, !stalled);
        let what = if stalled { "goes down" } else { "comes back" };
        let id = self.plan.faults[index].id;
        self.note(0, describe::FAULT, id ^ u64::from(stroke) << 8, || format!("== its link {what}"));
        self.stall_flapping(index, stalled);
    }

    fn stall_flapping(&mut self, index: usize, stalled: bool) {
        if let FaultKind::Flap { a, b, .. } = self.plan.faults[index].kind {
            self.network.cut(&mut self.queue, self.now, a, b, stalled);
            self.network.cut(&mut self.queue, self.now, b, a, stalled);
        }
    }
}
