//! What a node sends: taken from it while its connections have room, judged, and handed to the network.

use bytes::{Bytes, BytesMut};
use wattle_core::time::Now;

use crate::checker::{Failure, Relays, ensure};
use crate::describe;
use crate::frames::Frames;
use crate::machine::Machine;
use crate::next_version;
use crate::triggers;
use crate::world::World;

/// How many bytes that are sent are allocated together. Who keeps a part of them keeps all.
const SENT_AT_ONCE: usize = 8 << 10;
/// The most that is asked of a node for one lane at once.
const TRANSMIT_MOST: usize = 32 << 10;

impl<M: Machine> World<M> {
    /// A copy of bytes that lasts as long as anybody holds it.
    fn kept(&mut self, bytes: &[u8]) -> Bytes {
        if self.sent.capacity() < bytes.len() {
            self.sent = BytesMut::with_capacity(bytes.len().max(SENT_AT_ONCE));
        }
        self.sent.extend_from_slice(bytes);
        self.sent.split().freeze()
    }

    pub(crate) fn transmit(&mut self, node: usize, machine: &mut M, now: Now) -> Result<(), Failure> {
        let mut lanes = std::mem::take(&mut self.lanes);
        let mut buffer = std::mem::take(&mut self.buffer);
        lanes.clear();
        machine.ready_lanes(&mut lanes);
        'lanes: for &lane in &lanes {
            let Some(&(connection, side)) = self.processes[node].lanes.get(&lane) else { continue };
            let peer = self.network.connection(connection).ends[1 - side].node;
            if self.processes[node].blocked[peer] > 0 {
                continue;
            }
            loop {
                let room = self.network.room(connection, side);
                buffer.clear();
                if room == 0 {
                    break;
                }
                let Some(sent) = machine.poll_transmit(now, lane, room.min(TRANSMIT_MOST), &mut buffer)
                else {
                    break;
                };
                ensure!(
                    sent.lane == lane && sent.len == buffer.len() && sent.len > 0,
                    "contract",
                    "asked for lane {lane}, node {node} gave {} bytes and says {sent:?}",
                    buffer.len()
                );
                self.is_heard(node, machine, now)?;
                let mut bytes = self.kept(&buffer);
                if self.next_version.speaks(node) {
                    bytes = self.next_version.extends(self.plan.seed, (connection, side), &bytes);
                }
                let frames = Frames::new(&bytes).count();
                self.traffic.sent(self.now, node, bytes.len(), frames)?;
                let (content, len) = (crate::trace::digest(&bytes), bytes.len());
                let said = if self.triggers.want_messages() { triggers::said(&bytes) } else { Vec::new() };
                self.note(node, describe::TRANSMIT, content, || {
                    format!("-> {len} bytes on lane {lane}: {}", describe::messages(&bytes))
                });
                self.explain_transmit(connection, side, &bytes);
                if self.books.stops.any() && Relays::travel(&bytes) {
                    self.books.stops.sends(node)?;
                }
                self.relays.sent(node, &bytes)?;
                if self.next_version.speaks(node) {
                    bytes = self.next_version.stamps((connection, side), bytes);
                }
                self.network.send(&mut self.queue, self.now, connection, side, bytes);
                for doubled in self.network.take_doubled() {
                    self.relays.doubled(&next_version::unstamped(&doubled));
                }
                for moment in said {
                    self.moment_within(moment, node);
                }
                if self.triggers.struck.is_some() {
                    break 'lanes;
                }
            }
        }
        self.lanes = lanes;
        self.buffer = buffer;
        Ok(())
    }

    /// A node sends something. Its first word in a start makes that start known.
    fn is_heard(&mut self, node: usize, machine: &M, now: Now) -> Result<(), Failure> {
        let life = self.processes[node].life;
        if self.starts.was_heard(node, life) {
            return Ok(());
        }
        match machine.status(now) {
            Some(status) => self.starts.heard(node, life, status.generation),
            None => Ok(()),
        }
    }
}
