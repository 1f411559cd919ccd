use super::*;
use crate::frames::frame;

mod disturbed;

/// A network of three nodes of which 0-1 and 1-2 are linked, and its events.
struct Bench {
    network: Network,
    queue: Queue,
    now: Time,
    received: [Vec<u8>; 2],
    /// What each end was told, in order: up, down or a failed dial.
    told: Vec<(Time, Side, &'static str)>,
}

fn plan() -> NetworkPlan {
    NetworkPlan {
        latency: Latency::Fixed(MILLI),
        links: Vec::new(),
        bandwidth: 0,
        window: 10_000,
        split_one_in: 0,
        duplicate_one_in: 0,
    }
}

impl Bench {
    fn new(plan: NetworkPlan) -> Self {
        let edges = [(0, 1), (1, 2)].map(|(a, b)| Edge { a, b, a_dials: true, b_dials: true });
        Self {
            network: Network::new(1, plan, &edges),
            queue: Queue::new(1),
            now: 0,
            received: Default::default(),
            told: Vec::new(),
        }
    }

    fn connected(plan: NetworkPlan) -> Self {
        let mut bench = Self::new(plan);
        bench.dial(0, Some(1));
        bench.run(SECOND);
        assert_eq!(bench.told.len(), 2, "{:?}", bench.told);
        bench.told.clear();
        bench
    }

    fn latency(&mut self, time: Time) {
        self.network.links.each().for_each(|link| link.latency = Latency::Fixed(time));
    }

    fn dial(&mut self, from: usize, to: Option<usize>) {
        self.network.dial(&mut self.queue, self.now, Dial { from, life: 0, dial: DialId(1), to });
    }

    fn send(&mut self, side: Side, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.network.send(&mut self.queue, self.now, 0, side, bytes);
    }

    fn cut(&mut self, from: usize, to: usize, stalled: bool) {
        self.network.cut(&mut self.queue, self.now, from, to, stalled);
    }

    /// Lets time pass.
    fn run(&mut self, span: Time) {
        let until = self.now + span;
        while let Some((at, event)) = self.queue.pop() {
            if at > until {
                self.queue.push(at, event);
                break;
            }
            self.now = at;
            match event {
                Event::Dialled { slot } => {
                    self.network.dialled(&mut self.queue, at, slot, Met::Somebody { life: 0 });
                }
                Event::DialFailed { .. } => self.told.push((at, 0, "failed")),
                Event::LaneUp { connection, side } => {
                    assert!(self.network.lane_up(&mut self.queue, at, connection, side, LaneId(1)));
                    self.told.push((at, side, "up"));
                }
                Event::LaneDown { connection, side } => {
                    if self.network.lane_down(connection, side) != EndState::Down {
                        self.told.push((at, side, "down"));
                    }
                }
                Event::Arrive { connection, side } => {
                    if let Arrival::Bytes(bytes) = self.network.arrive(&mut self.queue, at, connection, side)
                    {
                        self.received[side].extend_from_slice(&bytes);
                    }
                }
                Event::Impatient { connection } => self.network.impatient(&mut self.queue, at, connection),
                Event::Break { connection } => self.network.breaks(&mut self.queue, at, connection),
                other => panic!("the network sets no {other:?}"),
            }
        }
        self.now = until;
    }

    fn downs(&self) -> Vec<Side> {
        self.told.iter().filter(|(_, _, what)| *what == "down").map(|&(_, side, _)| side).collect()
    }
}

#[test]
fn a_dial_reaches_only_whom_it_can_and_who_is_there() {
    let mut bench = Bench::new(plan());
    bench.dial(0, Some(2));
    bench.dial(0, None);
    bench.run(SECOND);
    assert_eq!(bench.told.iter().filter(|(_, _, what)| *what == "failed").count(), 2);
    bench.told.clear();
    bench.cut(1, 0, true);
    bench.dial(0, Some(1));
    bench.run(500 * MILLI);
    assert!(bench.told.is_empty(), "across a cut a dial hangs");
    bench.run(5 * SECOND);
    assert_eq!(bench.told.len(), 1, "and then fails");
}

#[test]
fn bytes_arrive_in_order_however_they_are_cut() {
    let mut bench = Bench::connected(NetworkPlan { split_one_in: 1, ..plan() });
    let sent: Vec<u8> = (0..200u8).cycle().take(3_000).collect();
    for part in sent.chunks(300) {
        bench.send(0, part);
    }
    bench.run(SECOND);
    assert_eq!(bench.received[1], sent);
    assert!(bench.received[0].is_empty());
}

#[test]
fn a_full_window_is_full_until_bytes_arrive() {
    let mut bench = Bench::connected(NetworkPlan { window: 100, ..plan() });
    bench.send(0, &[7; 100]);
    assert_eq!(bench.network.room(0, 0), 0);
    assert_eq!(bench.network.room(0, 1), 100);
    bench.run(SECOND);
    assert_eq!(bench.network.room(0, 0), 100);
}

#[test]
fn bandwidth_delays_and_a_slow_link_delays_more() {
    let arrival = |bandwidth, extra| {
        let mut bench = Bench::connected(NetworkPlan { bandwidth, ..plan() });
        bench.network.slow(0, 1, extra);
        bench.send(0, &[1; 1_000]);
        let begun = bench.now;
        while bench.received[1].is_empty() {
            bench.run(MILLI);
        }
        bench.now - begun
    };
    assert!(arrival(0, 0) <= 2 * MILLI);
    assert!(arrival(10_000, 0) >= 100 * MILLI, "1000 bytes at 10 kB/s take 100 ms");
    assert!(arrival(0, 300 * MILLI) >= 300 * MILLI);
}

#[test]
fn a_one_way_cut_stalls_one_way_and_lets_go_in_order() {
    let mut bench = Bench::connected(plan());
    bench.cut(0, 1, true);
    bench.send(0, b"stalled ");
    bench.send(1, b"flows");
    bench.run(100 * MILLI);
    assert_eq!((&bench.received[0][..], &bench.received[1][..]), (&b"flows"[..], &b""[..]));
    bench.send(0, b"too");
    bench.cut(0, 1, false);
    bench.run(100 * MILLI);
    assert_eq!(bench.received[1], b"stalled too");
    assert!(bench.downs().is_empty());
}

#[test]
fn two_overlapping_cuts_hold_until_both_are_over() {
    let mut bench = Bench::connected(plan());
    bench.cut(0, 1, true);
    bench.cut(0, 1, true);
    bench.send(0, b"x");
    bench.cut(0, 1, false);
    bench.run(100 * MILLI);
    assert!(bench.received[1].is_empty());
    bench.cut(0, 1, false);
    bench.run(100 * MILLI);
    assert_eq!(bench.received[1], b"x");
}

#[test]
fn a_connection_across_a_long_cut_breaks_for_both_ends() {
    let mut bench = Bench::connected(plan());
    bench.cut(0, 1, true);
    bench.run(20 * SECOND);
    let mut downs = bench.downs();
    downs.sort_unstable();
    assert_eq!(downs, [0, 1]);
}

#[test]
fn a_reset_loses_what_is_under_way_unless_it_is_late() {
    let mut early = Bench::connected(plan());
    early.send(0, b"lost");
    early.network.reset(&mut early.queue, early.now, 1, 0, false);
    early.run(10 * SECOND);
    assert!(early.received[1].is_empty());
    assert_eq!(early.downs().len(), 2, "each end is told once");
    let (mut last_words, mut apart) = (0, 0);
    for other_seed in 0..40 {
        let mut late = Bench::connected(plan());
        late.network.seed = other_seed;
        late.send(0, b"late");
        late.network.reset(&mut late.queue, late.now, 0, 1, true);
        late.send(0, b"swallowed");
        late.run(10 * SECOND);
        assert_eq!(late.downs().len(), 2);
        last_words += u32::from(late.received[1] == b"late");
        assert!(!late.received[1].ends_with(b"swallowed"));
        apart += u32::from(late.told[0].0.abs_diff(late.told[1].0) > 50 * MILLI);
    }
    assert!(last_words > 5, "bytes of a broken connection come before its end: {last_words}");
    assert!(apart > 10, "one end knows long before the other: {apart}");
}

#[test]
fn a_new_connection_can_be_up_while_the_old_one_still_delivers() {
    let mut seen = false;
    for other_seed in 0..60 {
        let mut bench = Bench::connected(NetworkPlan { latency: Latency::Fixed(20 * MILLI), ..plan() });
        bench.network.seed = other_seed;
        bench.send(0, b"old");
        bench.network.reset(&mut bench.queue, bench.now, 0, 1, true);
        bench.latency(MILLI);
        bench.dial(0, Some(1));
        bench.run(15 * MILLI);
        let up = bench.told.iter().filter(|(_, _, what)| *what == "up").count() == 2;
        let early = !bench.received[1].is_empty();
        bench.run(10 * SECOND);
        seen |= up && !early && bench.received[1] == b"old";
    }
    assert!(seen);
}

#[test]
fn closing_sends_what_was_handed_over_and_then_tells_the_other_end() {
    let mut bench = Bench::connected(plan());
    bench.send(0, b"last words");
    bench.network.close(&mut bench.queue, bench.now, 0, 0);
    assert_eq!(bench.network.room(0, 0), 0, "nothing more is taken");
    bench.run(10 * SECOND);
    assert_eq!(bench.received[1], b"last words");
    let mut downs = bench.downs();
    downs.sort_unstable();
    assert_eq!(downs, [0, 1]);
}

#[test]
fn a_dead_node_is_noticed_late_when_its_power_failed() {
    let notice = |power, seed| {
        let mut bench = Bench::connected(plan());
        bench.network.seed = seed;
        let begun = bench.now;
        bench.network.node_down(&mut bench.queue, begun, 0, power);
        bench.run(10 * SECOND);
        assert_eq!(bench.downs(), [1], "the dead end is told nothing");
        bench.told[0].0 - begun
    };
    assert!((0..40).all(|seed| notice(false, seed) <= 5 * MILLI));
    assert!((0..40).any(|seed| notice(true, seed) > 500 * MILLI));
}

#[test]
fn whole_frames_come_twice_and_handshakes_never() {
    let mut bench = Bench::connected(NetworkPlan { duplicate_one_in: 2, ..plan() });
    let hello = frame(1, b"hello");
    let frames: Vec<Vec<u8>> = (0..60u8).map(|n| frame(2, &[n; 20])).collect();
    bench.send(0, &hello);
    for two in frames.chunks(2) {
        bench.send(0, &two.concat());
        bench.run(MILLI);
    }
    bench.run(SECOND);
    let received = &bench.received[1];
    let starts: Vec<Vec<u8>> = Frames::new(received).map(|frame| received[frame.range].to_vec()).collect();
    assert_eq!(starts.iter().filter(|frame| **frame == hello).count(), 1);
    let times = |wanted: &Vec<u8>| starts.iter().filter(|frame| *frame == wanted).count();
    assert!(frames.iter().all(|frame| (1..=2).contains(&times(frame))));
    let twice = frames.iter().filter(|frame| times(frame) == 2).count();
    assert!(twice > 10 && twice as u64 == bench.network.duplicated(), "{twice}");
    let mut firsts = starts.clone();
    let mut known = Vec::new();
    firsts.retain(|frame| {
        !known.contains(frame) && {
            known.push(frame.clone());
            true
        }
    });
    assert_eq!(firsts[1..], frames, "first copies keep their order");
}

#[test]
fn healing_ends_cuts_and_delays() {
    let mut bench = Bench::connected(plan());
    bench.latency(60 * SECOND);
    bench.cut(0, 1, true);
    bench.send(0, b"first ");
    bench.send(1, b"far away");
    bench.network.heal(&mut bench.queue, bench.now);
    bench.send(0, b"second");
    bench.run(100 * MILLI);
    assert_eq!(bench.received[1], b"first second");
    assert_eq!(bench.received[0], b"far away");
}
