//! What the shell promises while its network and its hosts misbehave.

use std::time::Duration;

use wattle_turmoil::{A, B, C, Mesh, PORT, PROXY, Plan};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn links_that_break_and_are_repaired_lose_and_double_nothing() {
    for seed in 1..=2 {
        let mut mesh = Mesh::new(Plan { seed, messages: 800, ..Plan::default() });
        mesh.until_handled(5);
        for (one, other) in [(B, C), (A, B), (B, C)] {
            let before = mesh.connections(other);
            mesh.sim.partition(one, other);
            // Three of silence, and two of grace for what was handed out.
            mesh.pass(secs(6));
            let left = u64::from(other == B);
            assert_eq!(mesh.connections(other).lanes, left, "{other} keeps a dead lane");
            mesh.sim.repair(one, other);
            mesh.until_handled(10);
            assert!(mesh.connections(other).dialled > before.dialled, "{other} did not dial again");
        }
        mesh.finish();
    }
}

#[test]
fn hosts_that_crash_go_on_from_their_journals() {
    for seed in 1..=2 {
        let mut mesh = Mesh::new(Plan { seed, messages: 300, ..Plan::default() });
        for host in [C, A, B, C, A] {
            mesh.until_handled(10);
            mesh.sim.crash(host);
            mesh.pass(secs(1));
            mesh.sim.bounce(host);
        }
        mesh.finish();
        let starts = |seen: &str| mesh.seen.borrow().events.iter().filter(|(_, what)| what == seen).count();
        assert_eq!([starts("a starts"), starts("b starts"), starts("c starts")], [3, 2, 3]);
    }
}

#[test]
fn a_slow_reader_holds_back_bulk_and_not_the_link() {
    let plan = Plan { messages: 300, bytes: 4000, c_dials: PROXY, segments: 4, ..Plan::default() };
    let mut mesh = Mesh::new(Plan { pause: Duration::from_millis(1), ..plan });
    mesh.until_handled(1);
    let (begun, dialled) = (mesh.sim.elapsed(), mesh.connections(C).dialled);
    mesh.finish();
    let took = mesh.sim.elapsed() - begun;
    assert!(took > secs(5), "1.2 MB at 200 kB a second took {took:?}");
    assert_eq!(mesh.connections(C).dialled, dialled, "the link broke under bulk");
    let accepted_last = |(_, what): &&(Duration, String)| what == "accepted up to 295";
    let seen = mesh.seen.borrow();
    let (accepted, _) = seen.events.iter().find(accepted_last).expect("accepted");
    assert!(*accepted < begun + took / 2, "accepting does not wait for the reader: {accepted:?}");
}

#[test]
fn a_peer_that_falls_silent_is_given_up_and_taken_back() {
    for seed in 1..=2 {
        let mut mesh = Mesh::new(Plan { seed, messages: 150, ..Plan::default() });
        mesh.until_handled(20);
        assert_eq!(mesh.connections(B).lanes, 2);
        // Nothing arrives any more, not even that c is gone.
        mesh.sim.hold(B, C);
        mesh.pass(secs(1));
        mesh.sim.crash(C);
        mesh.pass(secs(10));
        assert_eq!(mesh.connections(B).lanes, 1, "b still holds the lane to c");
        // What was held arrives when nobody waits for it.
        mesh.sim.bounce(C);
        mesh.pass(secs(2));
        mesh.sim.release(B, C);
        mesh.finish();
    }
}

#[test]
fn connections_that_say_nothing_are_given_up() {
    let mut mesh = Mesh::new(Plan::default());
    mesh.sim.host("mute", || async {
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(turmoil::net::TcpStream::connect((B, PORT)).await?);
        }
        std::future::pending::<()>().await;
        drop(held);
        Ok(())
    });
    mesh.pass(secs(2));
    assert!(mesh.connections(B).handshakes >= 10, "{:?}", mesh.connections(B));
    mesh.pass(secs(6));
    assert_eq!(mesh.connections(B).handshakes, 0, "{:?}", mesh.connections(B));
    mesh.finish();
}

/// Breaks, holds, crashes, and everything that was seen of it.
fn eventful(seed: u64) -> Vec<(Duration, String)> {
    let mut mesh = Mesh::new(Plan { seed, messages: 120, ..Plan::default() });
    mesh.until_handled(20);
    mesh.sim.partition(A, B);
    mesh.pass(secs(5));
    mesh.sim.repair(A, B);
    mesh.until_handled(10);
    mesh.sim.crash(C);
    mesh.pass(secs(1));
    mesh.sim.bounce(C);
    mesh.sim.hold(B, C);
    mesh.pass(Duration::from_millis(500));
    mesh.sim.release(B, C);
    mesh.finish();
    mesh.seen.take().events
}

#[test]
fn one_seed_gives_one_sequence_of_events_at_the_same_times() {
    let events = eventful(1);
    assert!(events.len() > 140, "{}", events.len());
    assert_eq!(events, eventful(1));
    assert_ne!(events, eventful(2));
}
