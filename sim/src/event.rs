//! What can happen next, and when: a heap of events in virtual time. There are no ticks; time jumps to the next event.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::random::{Draws, Purpose};

/// A moment of the simulated world, in nanoseconds since its start.
pub type Time = u64;

/// One microsecond.
pub const MICRO: Time = 1_000;
/// One millisecond.
pub const MILLI: Time = 1_000_000;
/// One second.
pub const SECOND: Time = 1_000_000_000;

/// One end of a connection: 0 dialled, 1 accepted.
pub type Side = usize;

/// Something that happens. `life` counts the starts of a node: an event for an earlier life is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node that is down starts.
    Boot {
        /// Which.
        node: usize,
        /// The life that begins.
        life: u32,
    },
    /// A pause ends.
    Resume {
        /// Whose.
        node: usize,
        /// Which pause.
        pause: u32,
    },
    /// A slow machine is done with an input and takes the next.
    Serve {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
    },
    /// A node that crashes again and again does so.
    CrashAgain {
        /// The fault's place in the plan.
        index: usize,
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
    },
    /// An operator sees to a damaged disk.
    Repair {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
    },
    /// A deadline of a node is reached.
    Timer {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
        /// The number under which it was armed; a later arming makes this event void.
        armed: u64,
    },
    /// A sync of a disk ends.
    Synced {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
    },
    /// A load ends.
    Loaded {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
        /// Its place among the node's loads.
        slot: usize,
    },
    /// Heavy work is done.
    Worked {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
        /// Its place among the node's jobs.
        slot: usize,
    },
    /// A trim is carried out.
    Trim {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
        /// The first row that stays.
        below: u64,
    },
    /// A dial reaches the far end, or nothing.
    Dialled {
        /// Its place among the dials.
        slot: usize,
    },
    /// The dialler learns that its dial came to nothing.
    DialFailed {
        /// Its place among the dials.
        slot: usize,
    },
    /// An end of a connection is usable.
    LaneUp {
        /// Which connection.
        connection: usize,
        /// Which end.
        side: Side,
    },
    /// An end of a connection learns that it is over.
    LaneDown {
        /// Which connection.
        connection: usize,
        /// Which end.
        side: Side,
    },
    /// A chunk reaches an end.
    Arrive {
        /// Which connection.
        connection: usize,
        /// The receiving end.
        side: Side,
    },
    /// Somebody's patience with a connection across a cut ends.
    Impatient {
        /// Which connection.
        connection: usize,
    },
    /// A connection ends for both ends: bytes were spoiled, or lost too often.
    Break {
        /// Which connection.
        connection: usize,
    },
    /// A link that flaps goes down or comes back.
    Flap {
        /// The fault's place in the plan.
        index: usize,
        /// How often it did either before.
        stroke: u32,
    },
    /// A call of an application reaches its node.
    Call {
        /// Its place among the calls under way.
        slot: usize,
    },
    /// A task, publisher or handler has something to do.
    Wake {
        /// Who.
        actor: Actor,
        /// The number under which it was set; a later one makes this event void.
        epoch: u64,
    },
    /// A fault begins.
    Fault {
        /// Its place in the plan.
        index: usize,
    },
    /// A fault ends.
    FaultEnd {
        /// Its place in the plan.
        index: usize,
    },
    /// A leader is hit by a fault that hits leaders.
    Strike {
        /// The fault's place in the plan.
        index: usize,
        /// The leader.
        node: usize,
        /// How often the fault hit before.
        stroke: u32,
    },
    /// A leader that was cut off is back.
    StrikeEnd {
        /// The fault's place in the plan.
        index: usize,
        /// The leader.
        node: usize,
    },
    /// The image is taken to which a disk will later be rolled back.
    Image {
        /// The fault's place in the plan.
        index: usize,
    },
    /// A process ends that has stopped its mesh.
    End {
        /// Whose.
        node: usize,
        /// In which life.
        life: u32,
        /// After how long it starts again.
        down: Time,
    },
    /// The checkers look at every node's status.
    Sample,
    /// All faults end.
    Heal,
}

impl Event {
    /// Tells most events of one moment apart.
    fn key(&self) -> u64 {
        let (kind, what, number) = match *self {
            Self::Boot { node, life } => (1, node, u64::from(life)),
            Self::Resume { node, pause } => (2, node, u64::from(pause)),
            Self::Timer { node, armed, .. } => (3, node, armed),
            Self::Synced { node, life } => (4, node, u64::from(life)),
            Self::Loaded { node, slot, .. } => (5, node, slot as u64),
            Self::Worked { node, slot, .. } => (6, node, slot as u64),
            Self::Trim { node, below, .. } => (7, node, below),
            Self::Dialled { slot } => (8, slot, 0),
            Self::DialFailed { slot } => (9, slot, 0),
            Self::LaneUp { connection, side } => (10, connection, side as u64),
            Self::LaneDown { connection, side } => (11, connection, side as u64),
            Self::Arrive { connection, side } => (12, connection, side as u64),
            Self::Impatient { connection } => (13, connection, 0),
            Self::Break { connection } => (40, connection, 0),
            Self::Flap { index, stroke } => (41, index, u64::from(stroke)),
            Self::Call { slot } => (14, slot, 0),
            Self::Wake { actor: Actor::Task(index), epoch } => (15, index, epoch),
            Self::Wake { actor: Actor::Publisher(index), epoch } => (16, index, epoch),
            Self::Wake { actor: Actor::Handler(index), epoch } => (17, index, epoch),
            Self::Wake { actor: Actor::Reader(index), epoch } => (170, index, epoch),
            Self::Wake { actor: Actor::Registrar(index), epoch } => (25, index, epoch),
            Self::Wake { actor: Actor::Sender(index), epoch } => (60, index, epoch),
            Self::Wake { actor: Actor::Processor(index), epoch } => (61, index, epoch),
            Self::Wake { actor: Actor::Clerk(index), epoch } => (26, index, epoch),
            Self::Wake { actor: Actor::Leaver(index), epoch } => (90, index, epoch),
            Self::Wake { actor: Actor::Stopper(index), epoch } => (91, index, epoch),
            Self::Wake { actor: Actor::Rotator(index), epoch } => (94, index, epoch),
            Self::Wake { actor: Actor::Operator(index), epoch } => (160, index, epoch),
            Self::End { node, life, .. } => (92, node, u64::from(life)),
            Self::Fault { index } => (18, index, 0),
            Self::FaultEnd { index } => (19, index, 0),
            Self::Image { index } => (20, index, 0),
            Self::Strike { index, node, .. } => (23, index, node as u64),
            Self::StrikeEnd { index, node } => (24, index, node as u64),
            Self::Serve { node, life } => (40, node, u64::from(life)),
            Self::CrashAgain { node, life, .. } => (41, node, u64::from(life)),
            Self::Repair { node, life } => (42, node, u64::from(life)),
            Self::Sample => (21, 0, 0),
            Self::Heal => (22, 0, 0),
        };
        (what as u64) << 48 ^ number << 8 ^ kind
    }
}

/// Somebody outside the nodes who asks things of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Seeds, joins or opens.
    Task(usize),
    /// Publishes.
    Publisher(usize),
    /// Handles.
    Handler(usize),
    /// Reads again what is kept.
    Reader(usize),
    /// Opens or closes a name that others open and close, too.
    Registrar(usize),
    /// Sends an update to all members.
    Sender(usize),
    /// Handles updates of one kind at one node.
    Processor(usize),
    /// Reads or writes agreed configuration.
    Clerk(usize),
    /// Sees to it that a member goes.
    Leaver(usize),
    /// Sees to it that a member stops for a while.
    Stopper(usize),
    /// Has a member's key give way to another.
    Rotator(usize),
    /// Has survivors of a lost quorum go on.
    Operator(usize),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Time,
    /// The tie in the high 16 bits, then the order of pushing.
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The events to come. Events of one moment come in an order drawn from the seed, so that other seeds explore other orders.
#[derive(Debug)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    seed: u64,
    pushed: u64,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { heap: BinaryHeap::new(), seed, pushed: 0 }
    }

    /// Something will happen at `at`.
    pub fn push(&mut self, at: Time, event: Event) {
        // Keyed by what happens, not by a cursor: an event more or less leaves the order of all others as it was.
        let tie = (Draws::new(self.seed, Purpose::Schedule, at, event.key()).u64() >> 48).max(1);
        self.insert(at, tie, event);
    }

    /// Something will happen at `at`, before everything else at that moment that was not pushed in this way, and after
    /// everything that was.
    pub fn push_in_order(&mut self, at: Time, event: Event) {
        self.insert(at, 0, event);
    }

    fn insert(&mut self, at: Time, tie: u64, event: Event) {
        self.pushed += 1;
        self.heap.push(Reverse(Entry { at, order: tie << 48 | self.pushed, event }));
    }

    /// The next thing that happens.
    pub fn pop(&mut self) -> Option<(Time, Event)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing will happen any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(seed: u64) -> Vec<usize> {
        let mut queue = Queue::new(seed);
        for node in 0..20 {
            queue.push(5, Event::Boot { node, life: 0 });
        }
        queue.push_in_order(5, Event::Boot { node: 100, life: 0 });
        queue.push_in_order(5, Event::Boot { node: 101, life: 0 });
        queue.push(4, Event::Boot { node: 200, life: 0 });
        let mut order = Vec::new();
        while let Some((_, event)) = queue.pop() {
            let Event::Boot { node, .. } = event else { panic!("only boots were pushed") };
            order.push(node);
        }
        order
    }

    #[test]
    fn time_comes_first_then_what_must_keep_its_order_then_an_order_drawn_from_the_seed() {
        let order = drain(1);
        assert_eq!(order[..3], [200, 100, 101]);
        assert_eq!(order, drain(1));
        assert_ne!(order, drain(2));
        let mut rest = order[3..].to_vec();
        rest.sort_unstable();
        assert_eq!(rest, (0..20).collect::<Vec<_>>());
    }
}
