//! What lost packets and full queues do to a stream of bytes: they delay it, and in the end they break it.

use super::disturb::{Active, Disturbance};
use crate::coverage::sometimes;
use crate::event::{MILLI, SECOND, Time};
use crate::random::Draws;

/// The bytes of a packet.
const PACKET: usize = 1400;
/// How long a sender waits before it repeats what a full queue dropped.
const REPEAT: Time = 200 * MILLI;
/// How often it repeats before it gets through: each time it sends less.
const REPEATS_MOST: u32 = 6;

/// What becomes of a run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It arrives so much later.
    Delayed(Time),
    /// It never arrives, and after so long the sender gives up.
    GivenUp(Time),
}

impl Active {
    /// What becomes of a run of bytes on its way into this disturbance.
    pub(super) fn passes(&mut self, draws: &mut Draws, now: Time, len: usize) -> Passage {
        match self.what {
            Disturbance::Lossy { enter_one_in, leave_one_in, lost_percent, retransmit, tries } => {
                let mut delay = 0;
                for _ in 0..len.div_ceil(PACKET) {
                    let mut waited = 0;
                    let mut times = 0;
                    while self.lost(draws, enter_one_in, leave_one_in, lost_percent) {
                        waited += retransmit << times.min(10);
                        times += 1;
                        if times > tries {
                            sometimes!(LostTooOften);
                            return Passage::GivenUp(waited);
                        }
                    }
                    sometimes!(PacketsLost, waited > 0);
                    delay = delay.max(waited);
                }
                Passage::Delayed(delay)
            }
            Disturbance::Congested { bandwidth, queue } => {
                Passage::Delayed(self.queues(now, len, bandwidth, queue))
            }
            _ => Passage::Delayed(0),
        }
    }

    /// Whether the next packet is lost.
    fn lost(&mut self, draws: &mut Draws, enter: u64, leave: u64, percent: u64) -> bool {
        self.burst = if self.burst { !draws.one_in(leave) } else { draws.one_in(enter) };
        self.burst && draws.percent(percent)
    }

    /// How long a run of bytes takes through a narrow way with a queue.
    fn queues(&mut self, now: Time, len: usize, bandwidth: u64, queue: u64) -> Time {
        let passing =
            |bytes: u64| (u128::from(bytes) * u128::from(SECOND) / u128::from(bandwidth.max(1))) as Time;
        let mut arrives = now;
        let full = |backlog: Time| queue > 0 && backlog > 0 && backlog + passing(len as u64) > passing(queue);
        let mut times = 0;
        while times < REPEATS_MOST && full(self.free_at.saturating_sub(arrives)) {
            sometimes!(QueueTailDropped);
            arrives += REPEAT << times;
            times += 1;
        }
        // What is repeated comes behind what found room meanwhile.
        self.free_at = self.free_at.max(arrives) + passing(len as u64);
        self.free_at - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passages(what: Disturbance, count: u64, gap: Time, len: usize) -> Vec<Passage> {
        let mut active = Active::new(1, what);
        (0..count)
            .map(|n| {
                let mut draws = active.draws(9, 0);
                active.passes(&mut draws, n * gap, len)
            })
            .collect()
    }

    fn lossy(lost_percent: u64, tries: u32) -> Disturbance {
        Disturbance::Lossy { enter_one_in: 50, leave_one_in: 8, lost_percent, retransmit: 200 * MILLI, tries }
    }

    #[test]
    fn losses_come_in_bursts_and_delay_by_repetitions_that_double() {
        let passages = passages(lossy(60, 30), 4_000, 0, 100);
        let delays: Vec<Time> = passages
            .iter()
            .map(|passage| match passage {
                Passage::Delayed(delay) => *delay,
                Passage::GivenUp(_) => panic!("thirty tries are enough"),
            })
            .collect();
        let hit = delays.iter().filter(|delay| **delay > 0).count();
        assert!((60..1_200).contains(&hit), "{hit} of 4000 delayed");
        let after_hit = delays.windows(2).filter(|pair| pair[0] > 0 && pair[1] > 0).count();
        assert!(
            after_hit * 4_000 > 3 * hit * hit,
            "{after_hit} of {hit} follow another: not more than chance"
        );
        // 200 ms, then 200 + 400, then 200 + 400 + 800 ...
        let sums: Vec<Time> = (1..=10).map(|n| ((1 << n) - 1) * 200 * MILLI).collect();
        assert!(delays.iter().all(|delay| *delay == 0 || sums.contains(delay) || *delay > sums[9]));
        assert!(delays.contains(&sums[0]) && delays.contains(&sums[2]));
    }

    #[test]
    fn what_is_lost_too_often_is_given_up_after_all_its_repetitions() {
        let passages = passages(lossy(100, 2), 400, 0, 100);
        let given_up = passages.iter().filter(|passage| **passage == Passage::GivenUp(1_400 * MILLI)).count();
        assert!(given_up > 5, "{given_up}");
        assert!(
            !passages
                .iter()
                .any(|passage| matches!(passage, Passage::GivenUp(after) if *after != 1_400 * MILLI))
        );
    }

    #[test]
    fn a_queue_without_an_end_delays_more_and_more_and_empties() {
        let bloated = Disturbance::Congested { bandwidth: 10_000, queue: 0 };
        assert_eq!(
            passages(bloated, 4, 0, 1_000),
            [100, 200, 300, 400].map(|delay| Passage::Delayed(delay * MILLI))
        );
        assert_eq!(passages(bloated, 3, SECOND, 1_000), [Passage::Delayed(100 * MILLI); 3]);
    }

    #[test]
    fn a_queue_that_is_full_drops_its_tail_which_comes_again() {
        let short = Disturbance::Congested { bandwidth: 10_000, queue: 2_500 };
        let delays = passages(short, 4, 0, 1_000);
        assert_eq!(delays[..2], [Passage::Delayed(100 * MILLI), Passage::Delayed(200 * MILLI)]);
        // The third finds 2,000 of 2,500 bytes taken; 200 ms later the queue is empty.
        assert_eq!(delays[2], Passage::Delayed(300 * MILLI));
        assert!(matches!(delays[3], Passage::Delayed(delay) if delay >= 400 * MILLI), "{delays:?}");
        let long = Disturbance::Congested { bandwidth: 10_000, queue: 500 };
        assert_eq!(
            passages(long, 1, 0, 1_000),
            [Passage::Delayed(100 * MILLI)],
            "what is longer than the queue passes alone"
        );
    }
}
