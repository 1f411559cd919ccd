//! What can go wrong with one node alone: its process, its disk, its clock. Each kind is switched on or off per run as a whole.

use serde::{Deserialize, Serialize};

use crate::describe;
use crate::disk::damage::{Lie, Reach, Rot};
use crate::event::Time;
use crate::machine::Machine;
use crate::random::{Draws, Purpose};
use crate::text;
use crate::world::World;

/// A clock that drifts more than this is broken: half as fast again.
const DRIFT_MOST: u32 = 500_000;

/// The kinds of trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Trouble {
    /// Its machine is slow: inputs queue up and are handled late.
    SlowNode {
        /// How long it takes for an input.
        #[serde(with = "text::time")]
        service: Time,
        /// How long this lasts.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// Its sockets are full: nothing is taken from it.
    BlockedSender {
        /// To whom; `None` for all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<usize>,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// It crashes, and crashes again soon after each start.
    CrashLoop {
        /// How often.
        times: u32,
        /// How long it runs between, at most.
        #[serde(with = "text::time")]
        runs: Time,
        /// How long it stays down each time, at most.
        #[serde(with = "text::time")]
        down: Time,
    },
    /// It crashes and comes back with its key and an empty journal. It joins again.
    EmptyDisk {
        /// How long it stays down.
        #[serde(with = "text::time")]
        down: Time,
    },
    /// The next sync fails, and what it covered is never on disk, whatever the operating system makes of its clean pages.
    LostPages,
    /// Space ends in the middle of a batch, the reserve included, until the process ends.
    OutOfSpace {
        /// How many more rows fit.
        rows: u64,
    },
    /// No access of its disk ends.
    StalledDisk {
        /// For how long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// Rows that were synced go bad at rest. Whoever reads them next sees it.
    BitRot {
        /// How much of a row.
        rot: Rot,
        /// Which rows. Beyond repair, all are within reach.
        reach: Reach,
        /// How many.
        rows: usize,
    },
    /// Rows that were synced cannot be read any more.
    ReadErrors {
        /// Which rows. Beyond repair, all are within reach.
        reach: Reach,
        /// How many.
        rows: usize,
    },
    /// A row is reported synced and never written.
    PhantomWrite,
    /// A row is written in the place of another.
    MisdirectedWrite,
    /// Its monotonic clock runs at another rate.
    Drift {
        /// In parts per million above the true rate.
        ppm: i32,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// The whole machine sleeps.
    Suspend {
        /// Whether its monotonic clock jumps by the time asleep, or stands still.
        counted: bool,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
    /// Its timers fire late, many at once.
    TimerSlack {
        /// At multiples of this.
        #[serde(with = "text::time")]
        slack: Time,
        /// How long.
        #[serde(with = "text::time")]
        length: Time,
    },
}

impl Trouble {
    /// How long it lasts, if it has an end of its own.
    #[must_use]
    pub fn length(&self) -> Option<Time> {
        match *self {
            Self::SlowNode { length, .. }
            | Self::BlockedSender { length, .. }
            | Self::StalledDisk { length }
            | Self::Drift { length, .. }
            | Self::Suspend { length, .. }
            | Self::TimerSlack { length, .. } => Some(length),
            Self::CrashLoop { .. }
            | Self::EmptyDisk { .. }
            | Self::LostPages
            | Self::OutOfSpace { .. }
            | Self::BitRot { .. }
            | Self::ReadErrors { .. }
            | Self::PhantomWrite
            | Self::MisdirectedWrite => None,
        }
    }

    /// Whether it may hit a mesh whose members do not all know each other yet: it delays, and takes nothing from anybody.
    #[must_use]
    pub fn is_light(&self) -> bool {
        matches!(
            self,
            Self::SlowNode { .. } | Self::StalledDisk { .. } | Self::Drift { .. } | Self::TimerSlack { .. }
        )
    }

    /// The other node it names, if it names one.
    #[must_use]
    pub fn peer(&self) -> Option<usize> {
        match *self {
            Self::BlockedSender { peer, .. } => peer,
            _ => None,
        }
    }

    /// What makes it impossible, if anything does.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        match *self {
            Self::Drift { ppm, .. } if ppm.unsigned_abs() > DRIFT_MOST => {
                Err(format!("no clock drifts by {ppm} ppm: {DRIFT_MOST} is the most"))
            }
            Self::TimerSlack { slack: 0, .. } => Err("a slack of 0 is none: leave the fault out".into()),
            Self::SlowNode { service: 0, .. } => {
                Err("a service of 0 is not slow: leave the fault out".into())
            }
            Self::CrashLoop { times: 0, .. } => {
                Err("a loop of 0 crashes is none: leave the fault out".into())
            }
            _ => Ok(()),
        }
    }

    /// Whether it damages what a disk reported safe.
    #[must_use]
    pub fn damages(&self) -> bool {
        matches!(
            self,
            Self::EmptyDisk { .. }
                | Self::BitRot { .. }
                | Self::ReadErrors { .. }
                | Self::PhantomWrite
                | Self::MisdirectedWrite
        )
    }
}

impl<M: Machine> World<M> {
    /// Trouble begins at a node. `index` is the fault's place in the plan, `id` its name.
    pub(crate) fn trouble(&mut self, node: usize, trouble: &Trouble, index: usize, id: u64) {
        let draws = Draws::new(self.plan.seed, Purpose::Damage, node as u64, id);
        match *trouble {
            Trouble::SlowNode { service, .. } => self.slow_down(node, service),
            Trouble::BlockedSender { peer, .. } => self.block(node, peer, true),
            Trouble::CrashLoop { times, .. } => {
                self.processes[node].crash_loop = Some((index, times));
                self.crashes_again(index, node);
            }
            Trouble::EmptyDisk { down } => self.lose_everything(node, id, down),
            Trouble::LostPages => self.processes[node].disk.lose_next_sync(),
            Trouble::OutOfSpace { rows } => self.processes[node].disk.end_of_space(rows),
            Trouble::StalledDisk { length } => self.processes[node].disk.stall(self.now + length),
            Trouble::BitRot { reach, rot, rows } => {
                let reach = self.reach(reach);
                self.damage(node, draws, |disk, draws| disk.rot(rot, reach, rows, draws));
            }
            Trouble::ReadErrors { reach, rows } => {
                let reach = self.reach(reach);
                self.damage(node, draws, |disk, draws| disk.unreadable(reach, rows, draws));
            }
            Trouble::PhantomWrite => self.lie(node, Lie::Phantom, draws),
            Trouble::MisdirectedWrite => self.lie(node, Lie::Misdirected, draws),
            Trouble::Drift { ppm, .. } => self.drift(node, ppm),
            Trouble::Suspend { counted, .. } => self.fall_asleep(node, counted),
            Trouble::TimerSlack { slack, .. } => self.loosen(node, slack),
        }
    }

    /// Trouble ends.
    pub(crate) fn trouble_over(&mut self, node: usize, trouble: &Trouble) {
        match *trouble {
            Trouble::SlowNode { .. } => self.slow_down(node, 0),
            Trouble::BlockedSender { peer, .. } => self.block(node, peer, false),
            Trouble::Drift { .. } => self.drift(node, self.plan.nodes[node].clock_ppm),
            Trouble::Suspend { .. } => self.wake_up(node),
            Trouble::TimerSlack { .. } => self.loosen(node, 0),
            Trouble::CrashLoop { .. }
            | Trouble::EmptyDisk { .. }
            | Trouble::LostPages
            | Trouble::OutOfSpace { .. }
            | Trouble::StalledDisk { .. }
            | Trouble::BitRot { .. }
            | Trouble::ReadErrors { .. }
            | Trouble::PhantomWrite
            | Trouble::MisdirectedWrite => {}
        }
    }

    fn reach(&self, reach: Reach) -> Reach {
        if self.plan.beyond_repair { Reach::Any } else { reach }
    }

    fn damage(
        &mut self,
        node: usize,
        mut draws: Draws,
        work: impl FnOnce(&mut crate::disk::Disk, &mut Draws) -> Vec<u64>,
    ) {
        self.back_up(node);
        let rows = work(&mut self.processes[node].disk, &mut draws);
        self.note(node, describe::FAULT, rows.len() as u64, || format!("== rows go bad: {rows:?}"));
    }

    /// A lie may cost a node what nothing on its disk shows: only where that may be, only one node at a time, and none that is about to join
    /// again: it would be a stranger for good.
    fn lie(&mut self, node: usize, lie: Lie, draws: Draws) {
        let wounded = |other: usize| other != node && self.processes[other].disk.is_wounded();
        let others = (0..self.processes.len()).any(wounded);
        if self.plan.beyond_repair || self.may_lose(node) && !others && self.custody.joined(node) {
            self.back_up(node);
            self.processes[node].disk.lie(lie, draws);
        }
    }
}
