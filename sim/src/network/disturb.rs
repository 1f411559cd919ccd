//! What is wrong with the way from one node to another for a while, as data, and what the network remembers of it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Network;
use crate::event::{Queue, Time};
use crate::random::{Draws, Purpose};
use crate::text;

/// What is wrong with the way from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Disturbance {
    /// Packets are lost in bursts (a chain of two states, after Gilbert and Elliott). What is lost is sent again, and all behind it
    /// waits; what is lost too often breaks the connection.
    Lossy {
        /// A burst begins at one packet in so many.
        enter_one_in: u64,
        /// It ends at one packet in so many.
        leave_one_in: u64,
        /// How many packets of a hundred are lost within it.
        lost_percent: u64,
        /// How long the first repetition waits; each further one waits twice as long as the one before.
        #[serde(with = "text::time")]
        retransmit: Time,
        /// How often a packet is repeated before the connection breaks.
        tries: u32,
    },
    /// Whole frames vanish that travel end to end: what a relay with a full queue does, whose notice is lost too. What neighbours say
    /// to each other is kept: a connection owes that much.
    Thinned {
        /// One such frame in so many.
        one_in: u64,
    },
    /// Bits flip.
    Corrupt {
        /// In one transmit of so many.
        one_in: u64,
        /// Whether encryption notices, and the connection breaks. Otherwise the bytes reach the decoder, with the flip in a place
        /// where nothing but a refusal can be right.
        caught: bool,
    },
    /// Frames that travelled before, on this connection or an earlier one, arrive again.
    Replayed {
        /// Behind one frame in so many.
        one_in: u64,
    },
    /// All connections share a narrow way with a queue before it.
    Congested {
        /// Bytes per second.
        bandwidth: u64,
        /// How many bytes the queue takes; what finds no room is sent again later. 0: it takes everything, and the delay grows with it.
        queue: u64,
    },
    /// Small packets pass, large ones never: a connection stands still at the first large one.
    Grey {
        /// The longest run of bytes that passes.
        most: usize,
    },
    /// Nothing comes through, nobody is told, and in the end everything comes at once.
    Clogged {
        /// How many bytes are swallowed before the senders' windows fill.
        holds: usize,
    },
    /// Bytes come in crumbs.
    Dribbling {
        /// The longest crumb.
        piece: usize,
        /// How long each waits for the next.
        #[serde(with = "text::time")]
        gap: Time,
        /// Whether the socket takes nothing more until the last crumb is through (short writes), rather than a whole window.
        writes: bool,
    },
    /// Dials come to nothing; connections that are up stay.
    Undialable {
        /// Whether the dialler is told at once, rather than left waiting.
        refuses: bool,
    },
    /// The dialling end sits behind address translation that forgets connections which idle.
    Translated {
        /// After how long.
        #[serde(with = "text::time")]
        idle: Time,
        /// Whether the dialling end is told when it speaks again, because the other end refuses the strange port; otherwise both
        /// ends speak into the void.
        answers: bool,
    },
}

impl Disturbance {
    /// What makes it impossible, if anything does.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        match *self {
            Self::Lossy { tries, .. } if tries > 10 => Some("tries above 10 wait for ever"),
            Self::Lossy { lost_percent, .. } if lost_percent > 100 => Some("lost_percent is at most 100"),
            Self::Congested { bandwidth: 0, .. } => Some("bandwidth begins at 1 byte per second"),
            Self::Dribbling { piece: 0, .. } => Some("a piece has 1 byte at least"),
            _ => None,
        }
    }

    /// Whether whoever dials again gets through at once, or nearly.
    pub(crate) fn is_light(&self) -> bool {
        !matches!(self, Self::Grey { .. } | Self::Clogged { .. } | Self::Undialable { .. })
    }
}

/// A disturbance that is on, and where it stands.
#[derive(Debug)]
pub(super) struct Active {
    id: u64,
    pub(super) what: Disturbance,
    /// Counts draws.
    ordinal: u64,
    /// Whether a burst of losses is on.
    pub(super) burst: bool,
    /// When the narrow way will have passed on what it holds.
    pub(super) free_at: Time,
    /// How many bytes it swallowed.
    pub(super) held: usize,
    /// Frames that may come again.
    pub(super) memory: VecDeque<Bytes>,
}

impl Active {
    pub(super) fn new(id: u64, what: Disturbance) -> Self {
        Self { id, what, ordinal: 0, burst: false, free_at: 0, held: 0, memory: VecDeque::new() }
    }

    /// The next draws of this disturbance, on this directed link.
    pub(super) fn draws(&mut self, seed: u64, link: u64) -> Draws {
        self.ordinal += 1;
        Draws::new(seed, Purpose::Disturbance, self.id, link << 40 ^ self.ordinal)
    }
}

/// All disturbances that are on, by directed link.
#[derive(Debug, Default)]
pub(super) struct Disturbances {
    links: BTreeMap<(usize, usize), Vec<Active>>,
}

impl Disturbances {
    /// Whether there are none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// What is wrong from one node to another.
    pub(super) fn on(&self, from: usize, to: usize) -> impl Iterator<Item = Disturbance> {
        self.links.get(&(from, to)).into_iter().flatten().map(|active| active.what)
    }

    /// The same, to be changed.
    pub(super) fn on_mut(&mut self, from: usize, to: usize) -> Option<&mut Vec<Active>> {
        self.links.get_mut(&(from, to))
    }

    /// Whether bytes stand still whose first run has this length; `None` asks for the end of a connection.
    pub(super) fn stall(&self, from: usize, to: usize, first: Option<usize>) -> bool {
        !self.is_empty()
            && self.on(from, to).any(|what| match what {
                Disturbance::Clogged { .. } => true,
                Disturbance::Grey { most } => first.is_some_and(|len| len > most),
                _ => false,
            })
    }

    /// Whether a socket takes nothing more while anything is under way.
    pub(super) fn write_short(&self, from: usize, to: usize) -> bool {
        !self.is_empty()
            && self.on(from, to).any(|what| matches!(what, Disturbance::Dribbling { writes: true, .. }))
    }

    /// What a dial meets: `Some(true)` if it is refused at once, `Some(false)` if it hangs.
    pub(super) fn undialable(&self, from: usize, to: usize) -> Option<bool> {
        if self.is_empty() {
            return None;
        }
        self.on(from, to).chain(self.on(to, from)).find_map(|what| match what {
            Disturbance::Undialable { refuses } => Some(refuses),
            Disturbance::Clogged { .. } => Some(false),
            _ => None,
        })
    }
}

impl Network {
    /// Something is wrong from one node to another from now on, until [`Network::calm`] is called with the same `id`.
    pub fn disturb(&mut self, id: u64, from: usize, to: usize, what: Disturbance) {
        self.disturbed.links.entry((from, to)).or_default().push(Active::new(id, what));
    }

    /// What was wrong under that `id` is over.
    pub fn calm(&mut self, queue: &mut Queue, now: Time, id: u64) {
        let mut over = Vec::new();
        self.disturbed.links.retain(|&link, active| {
            let before = active.len();
            active.retain(|active| active.id != id);
            if active.len() < before {
                over.push(link);
            }
            !active.is_empty()
        });
        for (from, to) in over {
            self.flow(queue, now, from, to);
        }
    }
}
