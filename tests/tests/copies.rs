//! A node's disk is copied, and both copies run (rule C6).

use wattle_core::ends::Terms;
use wattle_core::id::{BootId, NodeId};
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::node::output::Event;
use wattle_core::time::Span;
use wattle_tests::{Crowd, Disk};

/// The node that is copied, and its copy, which remembers whom the node joined through.
const COPIED: usize = 3;
const COPY: usize = 4;

/// Three nodes that dial one another, and a fourth that dials the first.
fn four() -> Crowd {
    Crowd::new(&[&[], &[0], &[0, 1], &[0]])
}

fn stopped(crowd: &Crowd, node: usize) -> bool {
    crowd.events[node].iter().any(|event| matches!(event, Event::DuplicateIdentity { .. }))
}

/// Both copies stop within a moment, and all others know why.
fn assert_found(crowd: &mut Crowd, copies: [usize; 2], others: &[usize]) {
    for copy in copies {
        assert!(stopped(crowd, copy), "{copy} goes on");
        let status = crowd.status(copy);
        let words = status.duplicate.expect("status says so");
        assert!(words.contains("--only-copy"), "{words}");
        let refusal = crowd.ask(copy, open("refused")).expect_err("it takes no part");
        assert_eq!(refusal, Refusal::DuplicateIdentity(words));
    }
    let id = crowd.nodes[copies[0]].id();
    for &other in others {
        assert!(!stopped(crowd, other), "{other} is sound");
        let status = crowd.status(other);
        let duplicated = |member: &wattle_core::node::status::MemberStatus| member.duplicated;
        let named: Vec<NodeId> = status.members.iter().filter(|m| duplicated(m)).map(|m| m.node).collect();
        assert_eq!(named, [id], "what {other} shows");
    }
    assert!(copies.iter().all(|copy| others.iter().all(|other| !crowd.linked(*copy, *other))));
}

fn open(name: &str) -> Command {
    Command::OpenStream {
        name: name.to_owned(),
        source: "a".to_owned(),
        targets: vec!["b".to_owned()],
        terms: Terms::default(),
    }
}

fn assert_goes_on(crowd: &mut Crowd, name: &str) {
    let opened = crowd.ask(1, open(name));
    assert!(matches!(opened, Ok(Reply::StreamOpened { .. })), "{opened:?}");
}

#[test]
fn copies_stop_and_the_mesh_goes_on_whether_or_not_they_have_a_neighbour_in_common() {
    for neighbour in [0, 2] {
        let mut crowd = four();
        crowd.cut(0, COPY, neighbour != 0);
        let copy = crowd.copy(COPIED, &[neighbour]);
        crowd.pass(Span::secs(3));
        assert_found(&mut crowd, [COPIED, copy], &[0, 1, 2]);
        assert_goes_on(&mut crowd, "words");
    }
}

#[test]
fn a_copy_that_comes_while_the_node_runs_and_counts_lower_is_found() {
    let mut crowd = four();
    let copy = crowd.copy(COPIED, &[2]);
    crowd.cut(copy, 2, true);
    for _ in 0..3 {
        crowd.restart(COPIED, |_| {});
        crowd.pass(Span::secs(1));
    }
    crowd.restart(copy, |_| {});
    crowd.cut(copy, 2, false);
    crowd.pass(Span::secs(3));
    assert_found(&mut crowd, [COPIED, copy], &[0, 1, 2]);
}

#[test]
fn copies_on_two_sides_of_a_cut_stop_when_it_heals() {
    let mut crowd = four();
    crowd.cut(0, 2, true);
    crowd.cut(1, 2, true);
    crowd.cut(2, COPIED, true);
    crowd.cut(0, COPY, true);
    crowd.pass(Span::secs(2));
    let copy = crowd.copy(COPIED, &[2]);
    crowd.pass(Span::secs(10));
    assert!(!stopped(&crowd, COPIED) && !stopped(&crowd, copy), "nobody can know");
    crowd.cut(0, 2, false);
    crowd.cut(1, 2, false);
    crowd.pass(Span::secs(12));
    assert_found(&mut crowd, [COPIED, copy], &[0, 1, 2]);
    assert_goes_on(&mut crowd, "words");
}

#[test]
fn two_copies_that_meet_only_each_other_stop_both() {
    let mut crowd = four();
    crowd.cut(0, COPIED, true);
    let copy = crowd.copy(COPIED, &[COPIED]);
    crowd.pass(Span::secs(3));
    assert!(stopped(&crowd, COPIED) && stopped(&crowd, copy));
    crowd.restart(COPIED, |_| {});
    crowd.pass(Span::millis(10));
    assert!(stopped(&crowd, COPIED), "its next start knows");
}

#[test]
fn whoever_comes_later_and_whoever_was_away_hear_of_it_and_the_only_copy_comes_back() {
    let mut crowd = four();
    crowd.cut(0, 2, true);
    crowd.cut(1, 2, true);
    let copy = crowd.copy(COPIED, &[1]);
    crowd.pass(Span::secs(3));
    assert_found(&mut crowd, [COPIED, copy], &[0, 1]);
    crowd.restart(0, |_| {});
    crowd.restart(1, |_| {});
    crowd.cut(0, 2, false);
    crowd.cut(1, 2, false);
    crowd.pass(Span::secs(5));
    assert_found(&mut crowd, [COPIED, copy], &[2]);

    // A third start is refused by itself, and one that does not know by all others.
    crowd.restart(copy, |_| {});
    crowd.pass(Span::millis(20));
    assert!(stopped(&crowd, copy));
    crowd.restart(copy, |config| config.mesh.only_copy = true);
    crowd.pass(Span::secs(15));
    assert!(!stopped(&crowd, copy));
    let status = crowd.status(0);
    let member = status.members.iter().find(|member| member.name == "d").expect("it is a member");
    assert!(!member.duplicated && member.reachable, "{member:?}");
    let opened = crowd.ask(copy, open("again"));
    assert!(matches!(opened, Ok(Reply::StreamOpened { .. })), "{opened:?}");

    // The other copy comes to life, and hears that it is not the one.
    crowd.restart(COPIED, |_| {});
    crowd.pass(Span::secs(3));
    assert!(stopped(&crowd, COPIED) && !stopped(&crowd, copy));
    crowd.restart(copy, |config| config.mesh.only_copy = false);
    crowd.pass(Span::secs(3));
    assert!(!stopped(&crowd, copy), "it was said once");
}

#[test]
fn starts_that_follow_one_another_fast_are_one_node() {
    let mut crowd = four();
    for pause in [0, 1, 5, 20, 40, 80, 160, 320, 640, 5, 5, 5, 1_000, 0, 0, 30] {
        crowd.restart(COPIED, |_| {});
        crowd.pass(Span::millis(pause));
    }
    crowd.pass(Span::secs(8));
    assert!((0..4).all(|node| !stopped(&crowd, node)));
    let status = crowd.status(0);
    assert!(status.members.iter().all(|member| member.reachable && !member.duplicated));
    assert_ne!(status.boot, BootId(0));
}

/// Restarts, cuts and a disk that is taken back, as they come.
fn play(crowd: &mut Crowd, draws: &mut Draws, node: usize) {
    let mut disks: Vec<Disk> = Vec::new();
    for _ in 0..12 {
        let other = draws.below(3);
        match draws.below(5) {
            0 => crowd.restart(node, |_| {}),
            1 => disks.push(crowd.disk(node)),
            2 if !disks.is_empty() => {
                let disk = disks[draws.below(disks.len())].clone();
                crowd.replace_disk(node, disk);
            }
            _ => crowd.cut(node, other, draws.below(2) == 0),
        }
        crowd.pass(Span::millis(draws.below(1_500) as u64));
    }
}

#[test]
fn in_random_histories_copies_are_found_and_nobody_else() {
    for seed in 1..=8 {
        let mut draws = Draws(seed);
        let mut crowd = four();
        for node in [2, COPIED] {
            play(&mut crowd, &mut draws, node);
            let sound = (0..4).all(|node| !stopped(&crowd, node));
            assert!(sound, "seed {seed}: starts that follow one another prove nothing");
        }
        let dials = draws.below(3);
        let copy = crowd.copy(COPIED, &[dials]);
        for pair in
            (0..3).flat_map(|other| [(COPIED, other), (copy, other), (2, other)]).filter(|(a, b)| a != b)
        {
            crowd.cut(pair.0, pair.1, draws.below(3) == 0);
        }
        crowd.pass(Span::millis(draws.below(4_000) as u64));
        for pair in
            (0..3).flat_map(|other| [(COPIED, other), (copy, other), (2, other)]).filter(|(a, b)| a != b)
        {
            crowd.cut(pair.0, pair.1, false);
        }
        crowd.pass(Span::secs(20));
        assert!(stopped(&crowd, COPIED) && stopped(&crowd, copy), "seed {seed}");
        assert!((0..3).all(|node| !stopped(&crowd, node)), "seed {seed}");
        let (id, other) = (crowd.nodes[COPIED].id(), crowd.status(0));
        assert!(other.members.iter().all(|member| member.duplicated == (member.node == id)), "seed {seed}");
    }
}

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}
