//! Bytes on their way over a disturbed link.

use bytes::Bytes;

use super::Network;
use super::disturb::{Active, Disturbance};
use super::loss::Passage;
use crate::coverage::sometimes;
use crate::event::{Event, Queue, SECOND, Side, Time};
use crate::random::{Draws, Purpose};

/// More crumbs than this are not made of one transmit: the rest comes in one piece.
const CRUMBS_MOST: usize = 48;

/// How one transmit is cut: the longest crumb, and the time between two.
type Crumbs = Option<(usize, Time)>;

impl Network {
    /// Bytes leave an end for a link with which something is wrong.
    pub(super) fn send_disturbed(
        &mut self,
        queue: &mut Queue,
        now: Time,
        connection: usize,
        side: Side,
        bytes: Bytes,
        ordinal: u64,
    ) {
        let (from, to) = self.pair(connection, side);
        let Some(active) = self.disturbed.on_mut(from, to) else { return };
        let mut active = std::mem::take(active);
        let (bytes, caught) = self.tamper(&mut active, (from, to), bytes);
        let bytes = self.duplicate(connection, side, bytes, ordinal);
        let mut breaks_at = None;
        if !caught {
            let crumbs = active.iter().find_map(|active| match active.what {
                Disturbance::Dribbling { piece, gap, .. } => Some((piece, gap)),
                _ => None,
            });
            let mut at = now;
            for chunk in self.crumble((from, to), bytes, ordinal, crumbs) {
                match self.pass(&mut active, (from, to), at, chunk.len()) {
                    Passage::Delayed(extra) => {
                        let counted = !swallowed(&mut active, chunk.len());
                        let key = ordinal << 6 ^ (at - now) ^ 1 << 63;
                        self.enqueue(connection, side, at + extra, chunk, key, counted);
                    }
                    Passage::GivenUp(after) => {
                        breaks_at = Some(at + after);
                        break;
                    }
                }
                at += crumbs.map_or(0, |(_, gap)| gap);
            }
        }
        let travel = self.latency(from, to, ordinal << 6 ^ 3 << 62);
        let pipe = &mut self.connections[connection].pipes[side];
        if caught {
            breaks_at = Some(pipe.last_due.max(now + travel));
        }
        if let Some(at) = breaks_at {
            pipe.lost = true;
            if self.carried != 0 {
                self.lost.push((self.carried, to));
            }
            queue.push(at, Event::Break { connection });
        }
        if let Some(place) = self.disturbed.on_mut(from, to) {
            *place = active;
        }
        self.arm(queue, now, connection, side);
    }

    /// What becomes of the bytes of a transmit before they are cut; and whether encryption will find them spoiled.
    fn tamper(
        &mut self,
        active: &mut [Active],
        (from, to): (usize, usize),
        mut bytes: Bytes,
    ) -> (Bytes, bool) {
        let mut spoiled = false;
        for active in active {
            let mut draws = active.draws(self.seed, Draws::link(from, to));
            let tampered = active.tamper(&mut draws, bytes);
            bytes = tampered.bytes;
            spoiled |= tampered.caught;
            self.doubled.extend(tampered.repeated);
        }
        (bytes, spoiled)
    }

    fn crumble(
        &self,
        (from, to): (usize, usize),
        mut bytes: Bytes,
        ordinal: u64,
        crumbs: Crumbs,
    ) -> Vec<Bytes> {
        let mut draws = Draws::new(self.seed, Purpose::Split, Draws::link(from, to), ordinal);
        let mut chunks = Vec::new();
        let Some((piece, _)) = crumbs else {
            let pieces = if draws.one_in(self.plan.split_one_in) { draws.between(2, 4) } else { 1 };
            for _ in 1..pieces {
                chunks.push(bytes.split_to(draws.index(bytes.len() + 1)));
            }
            chunks.push(bytes);
            chunks.retain(|chunk| !chunk.is_empty());
            return chunks;
        };
        sometimes!(CameInCrumbs);
        while !bytes.is_empty() && chunks.len() < CRUMBS_MOST {
            let len = draws.between(1, piece.max(1) as u64) as usize;
            chunks.push(bytes.split_to(len.min(bytes.len())));
        }
        if !bytes.is_empty() {
            chunks.push(bytes);
        }
        chunks
    }

    /// How much later a run of bytes arrives for all that is wrong.
    fn pass(&mut self, active: &mut [Active], (from, to): (usize, usize), now: Time, len: usize) -> Passage {
        let mut sum = 0;
        for active in active {
            if !matches!(active.what, Disturbance::Lossy { .. } | Disturbance::Congested { .. }) {
                continue;
            }
            let mut draws = active.draws(self.seed, Draws::link(from, to));
            match active.passes(&mut draws, now, len) {
                Passage::Delayed(extra) => sum += extra,
                given_up => return given_up,
            }
        }
        Passage::Delayed(sum.min(60 * SECOND))
    }
}

/// Whether a clog takes these bytes, so that the sender believes them gone.
fn swallowed(active: &mut [Active], len: usize) -> bool {
    active.iter_mut().any(|active| match active.what {
        Disturbance::Clogged { holds } if active.held + len <= holds => {
            sometimes!(ClogSwallowed);
            active.held += len;
            true
        }
        _ => false,
    })
}
