use super::*;

/// The id of the fault in these tests.
const ID: u64 = 5;

fn disturbed(what: Disturbance) -> Bench {
    let mut bench = Bench::connected(plan());
    bench.network.disturb(ID, 0, 1, what);
    bench
}

impl Bench {
    fn calm(&mut self) {
        self.network.calm(&mut self.queue, self.now, ID);
    }

    /// Sends bytes and tells how long they took.
    fn travel(&mut self, bytes: &[u8]) -> Time {
        let (begun, before) = (self.now, self.received[1].len());
        self.send(0, bytes);
        while self.received[1].len() < before + bytes.len() {
            self.run(MILLI);
            assert!(self.now < begun + 100 * SECOND, "they never arrive");
        }
        self.now - begun
    }
}

fn sorted(mut sides: Vec<Side>) -> Vec<Side> {
    sides.sort_unstable();
    sides
}

#[test]
fn a_burst_of_losses_holds_back_what_comes_after_it_and_keeps_the_order() {
    let what = Disturbance::Lossy {
        enter_one_in: 10,
        leave_one_in: 3,
        lost_percent: 50,
        retransmit: 200 * MILLI,
        tries: 10,
    };
    let mut bench = disturbed(what);
    let sent: Vec<u8> = (0..100).collect();
    for byte in &sent {
        bench.send(0, &[*byte]);
        bench.run(2 * MILLI);
    }
    assert!(bench.received[1].len() < 100, "nothing was held back");
    bench.run(200 * SECOND);
    assert_eq!(bench.received[1], sent);
    assert!(bench.downs().is_empty());
    bench.send(1, b"the other way");
    bench.run(10 * MILLI);
    assert_eq!(bench.received[0], b"the other way");
}

#[test]
fn what_is_lost_too_often_breaks_the_connection_for_both_ends_and_nothing_of_it_arrives() {
    let what = Disturbance::Lossy {
        enter_one_in: 1,
        leave_one_in: 0,
        lost_percent: 100,
        retransmit: 100 * MILLI,
        tries: 1,
    };
    let mut bench = disturbed(what);
    bench.send(0, b"lost");
    bench.send(0, b"behind it");
    bench.run(250 * MILLI);
    assert!(bench.downs().is_empty(), "100 and 200 ms are waited first");
    bench.run(SECOND);
    assert_eq!(sorted(bench.downs()), [0, 1]);
    assert!(bench.received[1].is_empty());
}

#[test]
fn what_encryption_finds_spoiled_breaks_the_connection_behind_what_came_before() {
    let mut bench = Bench::connected(plan());
    bench.send(0, b"whole");
    bench.network.disturb(ID, 0, 1, Disturbance::Corrupt { one_in: 1, caught: true });
    bench.send(0, b"spoiled");
    bench.run(SECOND);
    assert_eq!(bench.received[1], b"whole");
    assert_eq!(sorted(bench.downs()), [0, 1]);
}

#[test]
fn what_encryption_does_not_find_arrives_spoiled() {
    let mut bench = disturbed(Disturbance::Corrupt { one_in: 1, caught: false });
    let whole = frame(2, &[0; 40]);
    bench.send(0, &whole);
    bench.run(SECOND);
    assert_eq!(bench.received[1].len(), whole.len());
    assert_ne!(bench.received[1], whole);
    assert!(bench.downs().is_empty(), "it is for the node to refuse");
}

/// A frame with one consensus message that says `n`.
fn travelling(n: u8) -> Vec<u8> {
    let mut message = vec![4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    message.push(n);
    frame(2, &message)
}

#[test]
fn frames_of_an_earlier_connection_come_again_on_a_later_one_and_are_told() {
    let mut bench = disturbed(Disturbance::Replayed { one_in: 1 });
    bench.send(0, &travelling(1));
    bench.run(SECOND);
    assert_eq!(bench.received[1], travelling(1), "there was nothing to repeat yet");
    bench.network.reset(&mut bench.queue, bench.now, 0, 1, false);
    bench.run(SECOND);
    bench.received[1].clear();
    bench.dial(0, Some(1));
    bench.run(SECOND);
    let hello = frame(1, b"hello");
    bench.network.send(&mut bench.queue, bench.now, 1, 0, Bytes::from(hello.clone()));
    bench.network.send(&mut bench.queue, bench.now, 1, 0, Bytes::from(travelling(2)));
    bench.run(SECOND);
    assert_eq!(bench.received[1], [hello, travelling(2), travelling(1)].concat());
    assert_eq!(bench.network.take_doubled(), [Bytes::from(travelling(1))]);
}

#[test]
fn thinning_loses_whole_frames_and_no_byte_of_others() {
    let mut bench = disturbed(Disturbance::Thinned { one_in: 1 });
    let kept = frame(1, b"hello");
    bench.send(0, &[kept.clone(), travelling(1), travelling(2)].concat());
    bench.run(SECOND);
    assert_eq!(bench.received[1], kept);
}

#[test]
fn a_narrow_way_is_shared_and_its_queue_is_a_delay_that_ends() {
    let mut bench = disturbed(Disturbance::Congested { bandwidth: 10_000, queue: 0 });
    for _ in 0..3 {
        bench.send(0, &[1; 1_000]);
    }
    bench.dial(0, Some(1));
    bench.run(50 * MILLI);
    bench.network.send(&mut bench.queue, bench.now, 1, 0, Bytes::from_static(&[2; 1_000]));
    bench.run(200 * MILLI);
    assert_eq!(bench.received[1], [1; 2_000], "100 ms for each thousand");
    bench.run(100 * MILLI);
    assert_eq!(bench.received[1].len(), 3_000, "the other connection waits its turn");
    bench.run(SECOND);
    assert_eq!(bench.received[1].len(), 4_000);
    assert!(bench.travel(&[3; 100]) < 15 * MILLI, "the queue is empty again");
}

#[test]
fn a_grey_link_passes_what_is_small_until_something_large_stands_before_it() {
    let mut bench = disturbed(Disturbance::Grey { most: 10 });
    bench.send(0, b"small");
    bench.run(SECOND);
    bench.send(0, b"far too large");
    bench.send(0, b"small");
    bench.send(1, b"and back as large as you like");
    bench.run(SECOND);
    assert_eq!(bench.received[1], b"small");
    assert_eq!(bench.received[0].len(), 29);
    bench.calm();
    bench.run(10 * MILLI);
    assert_eq!(bench.received[1], b"smallfar too largesmall");
}

#[test]
fn a_clog_swallows_more_than_the_window_tells_nobody_and_lets_all_go_at_once() {
    let mut bench = Bench::connected(NetworkPlan { window: 100, ..plan() });
    bench.network.disturb(ID, 0, 1, Disturbance::Clogged { holds: 250 });
    for _ in 0..3 {
        assert_eq!(bench.network.room(0, 0), 100);
        bench.send(0, &[7; 80]);
        bench.run(3 * SECOND);
    }
    assert_eq!(bench.network.room(0, 0), 100, "240 of 250 bytes are swallowed");
    bench.send(0, &[7; 80]);
    assert_eq!(bench.network.room(0, 0), 20, "these are not");
    bench.dial(0, Some(1));
    bench.run(20 * SECOND);
    assert!(bench.received[1].is_empty() && bench.downs().is_empty());
    assert_eq!(bench.told.iter().filter(|(_, _, what)| *what == "failed").count(), 1, "dials hang");
    bench.calm();
    bench.run(10 * MICRO);
    assert_eq!(bench.received[1], [7; 320], "all at once");
}

#[test]
fn crumbs_arrive_one_by_one_and_in_order() {
    let mut bench = disturbed(Disturbance::Dribbling { piece: 1, gap: MILLI, writes: false });
    let sent: Vec<u8> = (0..40).collect();
    bench.send(0, &sent);
    bench.run(21 * MILLI + MICRO);
    assert_eq!(bench.received[1], sent[..21]);
    assert!(bench.network.room(0, 0) > 0, "the window is open");
    bench.run(SECOND);
    assert_eq!(bench.received[1], sent);
}

#[test]
fn a_short_write_leaves_no_room_until_the_last_crumb_is_through() {
    let mut bench = disturbed(Disturbance::Dribbling { piece: 3, gap: MILLI, writes: true });
    assert_eq!(bench.network.room(0, 0), 10_000);
    bench.send(0, &[1; 60]);
    while bench.received[1].len() < 60 {
        assert_eq!(bench.network.room(0, 0), 0);
        assert!(bench.network.room(0, 1) > 0, "the other direction is as it was");
        bench.run(MILLI);
    }
    assert_eq!(bench.network.room(0, 0), 10_000);
    let large: Vec<u8> = (0..2_000).map(|n| n as u8).collect();
    bench.travel(&large);
    assert!(bench.received[1].ends_with(&large), "what does not fit into crumbs comes too");
}

#[test]
fn a_node_that_cannot_be_dialled_keeps_its_connections() {
    let failed_after = |refuses| {
        let mut bench = disturbed(Disturbance::Undialable { refuses });
        let begun = bench.now;
        bench.dial(0, Some(1));
        bench.send(0, b"flows");
        bench.run(10 * SECOND);
        assert_eq!(bench.received[1], b"flows");
        assert_eq!((bench.told.len(), bench.told[0].2), (1, "failed"));
        let after = bench.told[0].0 - begun;
        bench.calm();
        bench.told.clear();
        bench.dial(0, Some(1));
        bench.run(SECOND);
        assert_eq!(bench.told.len(), 2, "then it can: {:?}", bench.told);
        after
    };
    assert_eq!(failed_after(true), 2 * MILLI, "refused within a round trip");
    assert!(failed_after(false) >= SECOND, "left to hang");
}

#[test]
fn address_translation_forgets_who_idles_and_only_then() {
    for answers in [false, true] {
        let mut bench = disturbed(Disturbance::Translated { idle: 2 * SECOND, answers });
        for _ in 0..5 {
            bench.run(900 * MILLI);
            bench.send(1, b"x");
            bench.run(900 * MILLI);
            bench.send(0, b"y");
        }
        bench.run(SECOND / 2);
        assert_eq!((bench.received[0].len(), bench.received[1].len()), (5, 5));
        bench.run(2 * SECOND);
        bench.send(0, b"into the void");
        bench.send(1, b"and back");
        bench.run(10 * SECOND);
        assert_eq!((bench.received[0].len(), bench.received[1].len()), (5, 5));
        assert_eq!(bench.downs(), if answers { vec![0] } else { vec![] });
    }
}

#[test]
fn who_is_dialled_is_not_behind_the_translation() {
    let mut bench = Bench::connected(plan());
    bench.network.disturb(ID, 1, 0, Disturbance::Translated { idle: SECOND, answers: true });
    bench.run(5 * SECOND);
    bench.send(1, b"still there");
    bench.run(SECOND);
    assert_eq!(bench.received[0], b"still there");
}

#[test]
fn silence_kills_one_direction_for_good_and_tells_nobody() {
    let mut bench = Bench::connected(plan());
    bench.send(0, b"under way");
    bench.network.silence(0, 1);
    bench.send(0, b"later");
    bench.send(1, b"flows");
    bench.run(100 * SECOND);
    assert_eq!((&bench.received[0][..], &bench.received[1][..]), (&b"flows"[..], &b""[..]));
    assert!(bench.downs().is_empty());
    bench.network.close(&mut bench.queue, bench.now, 0, 0);
    bench.run(100 * SECOND);
    assert_eq!(bench.downs(), [0], "not even the end of it is heard");
    let mut other = Bench::connected(plan());
    other.network.silence(0, 1);
    other.network.close(&mut other.queue, other.now, 0, 1);
    other.run(SECOND);
    assert_eq!(sorted(other.downs()), [0, 1], "the other way it is");
}

#[test]
fn a_silent_connection_outlives_the_node_at_its_end() {
    let mut bench = Bench::connected(plan());
    bench.network.silence(0, 1);
    bench.network.node_down(&mut bench.queue, bench.now, 0, false);
    bench.run(100 * SECOND);
    assert!(bench.downs().is_empty());
}

#[test]
fn one_end_forgets_and_the_other_believes() {
    let mut bench = Bench::connected(plan());
    bench.network.half_open(&mut bench.queue, bench.now, 1, 0);
    bench.run(MILLI);
    bench.send(0, b"anybody?");
    bench.run(100 * SECOND);
    assert_eq!(bench.downs(), [1]);
    assert!(bench.received.iter().all(Vec::is_empty));
    bench.dial(0, Some(1));
    bench.run(SECOND);
    assert_eq!(bench.told.iter().filter(|(_, _, what)| *what == "up").count(), 2, "a new one is a new one");
}

#[test]
fn rebinding_kills_what_a_node_dialled_and_nothing_else() {
    let mut bench = Bench::connected(plan());
    bench.network.rebind(1);
    bench.send(0, b"it was dialled by 0");
    bench.run(SECOND);
    assert_eq!(bench.received[1].len(), 19);
    bench.network.rebind(0);
    bench.send(0, b"x");
    bench.send(1, b"y");
    bench.run(100 * SECOND);
    assert_eq!((bench.received[0].len(), bench.received[1].len()), (0, 19));
    assert!(bench.downs().is_empty());
}

#[test]
fn old_bytes_are_overtaken_by_a_newer_connection() {
    let mut bench = Bench::connected(plan());
    bench.send(0, b"old");
    bench.network.overtake(&mut bench.queue, bench.now, 0, 1, SECOND);
    bench.send(0, b"swallowed");
    bench.run(10 * MILLI);
    assert_eq!(bench.downs(), [0], "one end knows at once");
    bench.dial(0, Some(1));
    bench.run(100 * MILLI);
    bench.network.send(&mut bench.queue, bench.now, 1, 0, Bytes::from_static(b"new"));
    bench.run(100 * MILLI);
    assert_eq!(bench.received[1], b"new");
    bench.run(SECOND);
    assert_eq!(bench.received[1], b"newold");
    assert_eq!(bench.downs(), [0, 1]);
}

#[test]
fn healing_ends_every_disturbance() {
    for what in [
        Disturbance::Clogged { holds: 0 },
        Disturbance::Grey { most: 1 },
        Disturbance::Congested { bandwidth: 1, queue: 0 },
        Disturbance::Undialable { refuses: false },
    ] {
        let mut bench = disturbed(what);
        bench.send(0, b"held back");
        bench.run(SECOND);
        bench.network.heal(&mut bench.queue, bench.now);
        bench.dial(0, Some(1));
        bench.run(100 * MILLI);
        assert_eq!(bench.received[1], b"held back", "{what:?}");
        assert_eq!(bench.told.iter().filter(|(_, _, told)| *told == "up").count(), 2, "{what:?}");
    }
}

#[test]
fn latencies_have_the_bounds_that_they_say() {
    let delays = |latency: Latency| {
        let network = Bench::new(NetworkPlan { latency, ..plan() }).network;
        let mut delays: Vec<Time> = (0..2_000).map(|ordinal| network.latency(0, 1, ordinal)).collect();
        delays.sort_unstable();
        delays
    };
    let exponential = delays(Latency::Exponential { mean: 10 * MILLI, most: 40 * MILLI });
    assert!(exponential[200] < 2 * MILLI && exponential[1_900] > 25 * MILLI);
    assert_eq!(exponential.last(), Some(&(40 * MILLI)));
    let log_normal = delays(Latency::LogNormal { median: 10 * MILLI, spread: 100, most: SECOND });
    assert!((9 * MILLI..11 * MILLI).contains(&log_normal[1_000]));
    assert!(log_normal[20] < 3 * MILLI && log_normal[1_980] > 35 * MILLI);
    let (quick, slow) = ((MILLI, 2 * MILLI), (SECOND, 2 * SECOND));
    let bimodal = delays(Latency::Bimodal { quick, slow, one_in: 10 });
    let slow_ones = bimodal.iter().filter(|delay| **delay >= SECOND).count();
    assert!((120..300).contains(&slow_ones), "{slow_ones} of 2000");
    assert!(bimodal.iter().all(|delay| (MILLI..=2 * MILLI).contains(delay) || *delay >= SECOND));
}
