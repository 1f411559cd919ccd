use alloc::collections::BTreeSet;

use super::*;
use crate::id::{GroupId, Term};
use crate::link::pairs::{Config, Input, LEADS_PAGE_MAX, LeadsDigest, Output};

const T: Instant = Instant(9_000_000_000);

fn pairs(node: u8, generation: u64) -> Pairs {
    let boot = BootId(u128::from(node) * 1000 + u128::from(generation));
    let rng = Rng::stream([node; 32], Stream::Link);
    let mut pairs = Pairs::new(Config::default(), id(node), boot, rng, Planted::none());
    pairs.restored(at(T), Generation(generation));
    pairs
}

fn give(pairs: &mut Pairs, now: Instant, input: Input) -> Vec<Output> {
    pairs.handle(at(now), input);
    pairs.check_invariants(Level::Full);
    core::iter::from_fn(|| pairs.poll()).collect()
}

fn peers(nodes: &[u8]) -> Input {
    near_and_far(nodes, &[])
}

fn near_and_far(near: &[u8], far: &[u8]) -> Input {
    let ids = |nodes: &[u8]| nodes.iter().map(|&node| id(node)).collect::<BTreeSet<_>>();
    Input::Peers { near: ids(near), far: ids(far) }
}

fn beat(generation: u64, number: u64) -> Beat {
    Beat {
        boot: BootId(2000 + u128::from(generation)),
        generation: Generation(generation),
        number,
        lag: Span::ZERO,
        pause: Span::millis(100),
        oldest_write: None,
        leads_digest: LeadsDigest::of(&[]),
        seen_digest: None,
        leads: None,
    }
}

fn from_two(beat: Beat) -> Input {
    Input::Beat { from: id(2), beat }
}

fn news(outputs: Vec<Output>) -> Vec<Output> {
    outputs.into_iter().filter(|output| !matches!(output, Output::Send { .. })).collect()
}

/// Lets time pass without beats; what is told, and when.
fn pass(pairs: &mut Pairs, from: Instant, until: Instant) -> Vec<(Span, Output)> {
    let mut told = Vec::new();
    while let Some(due) = pairs.next_deadline().filter(|due| *due <= until) {
        for output in news(give(pairs, due, Input::Deadline)) {
            told.push((due.since(from), output));
        }
    }
    told
}

#[test]
fn beats_go_out_ten_times_a_second_to_every_peer() {
    let mut pairs = pairs(1, 1);
    let mut sent: Vec<(Instant, NodeId)> = Vec::new();
    let mut take = |now: Instant, outputs: Vec<Output>| {
        let to = outputs.iter().filter_map(|o| match o {
            Output::Send { to, beat } => Some((*to, beat.boot)),
            _ => None,
        });
        sent.extend(to.map(|(to, boot)| {
            assert_eq!(boot, BootId(1001));
            (now, to)
        }));
    };
    take(T, give(&mut pairs, T, peers(&[1, 2, 3])));
    let end = T + Span::millis(1000);
    while let Some(due) = pairs.next_deadline().filter(|due| *due <= end) {
        take(due, give(&mut pairs, due, Input::Deadline));
    }
    assert!(!sent.iter().any(|(_, to)| *to == id(1)), "not to itself");
    for node in [2, 3] {
        let times: Vec<Instant> =
            sent.iter().filter(|(_, to)| *to == id(node)).map(|(when, _)| *when).collect();
        assert_eq!(times[0], T, "the first at once");
        assert!((10..=12).contains(&times.len()), "{times:?}");
    }
}

#[test]
fn a_peer_is_suspect_after_four_hundred_silent_milliseconds_and_alive_on_return() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    let told = give(&mut pairs, T + Span::millis(50), from_two(beat(1, 1)));
    assert_eq!(news(told), [Output::NewBoot { node: id(2), boot: BootId(2001) }]);
    let heard = T + Span::millis(50);
    let told = pass(&mut pairs, heard, heard + Span::secs(5));
    assert_eq!(told, [(Span::millis(400), Output::Suspect { node: id(2) })], "once, and not before");
    assert!(!pairs.is_alive(id(2)));
    let told = give(&mut pairs, heard + Span::secs(5), from_two(beat(1, 2)));
    assert_eq!(news(told), [Output::Alive { node: id(2) }]);
}

#[test]
fn a_far_peer_gets_few_beats_that_say_so_and_is_awaited_as_long_as_its_own_say() {
    let mut pairs = pairs(1, 1);
    let sent = |outputs: Vec<Output>| -> Vec<Span> {
        let pauses = outputs.into_iter().filter_map(|output| match output {
            Output::Send { beat, .. } => Some(beat.pause),
            _ => None,
        });
        pauses.collect()
    };
    let far = Span::secs(2);
    assert_eq!(sent(give(&mut pairs, T, near_and_far(&[], &[2]))), [far]);
    give(&mut pairs, T, from_two(Beat { pause: far, ..beat(1, 1) }));
    let (mut count, end) = (0, T + Span::millis(7_900));
    while let Some(due) = pairs.next_deadline().filter(|due| *due <= end) {
        let outputs = give(&mut pairs, due, Input::Deadline);
        assert_eq!(news(outputs.clone()), [], "it said that it speaks rarely");
        count += sent(outputs).len();
    }
    assert!((3..=5).contains(&count), "{count} beats");
    let told = pass(&mut pairs, T, T + Span::secs(20));
    assert_eq!(told, [(Span::secs(8), Output::Suspect { node: id(2) })]);
    // It is near now: it hears so at once. What is expected of it is what it says itself, and no longer than a far one may take.
    let now = T + Span::secs(30);
    assert_eq!(sent(give(&mut pairs, now, peers(&[2]))), [Span::millis(100)]);
    give(&mut pairs, now, from_two(Beat { pause: Span::secs(1_000), ..beat(1, 2) }));
    let told = pass(&mut pairs, now, now + Span::secs(20));
    assert_eq!(told, [(Span::secs(8), Output::Suspect { node: id(2) })]);
}

#[test]
fn the_more_far_peers_the_rarer_each_gets_a_beat_and_it_answers_no_more_often() {
    let said = |outputs: Vec<Output>| {
        let pauses = outputs.into_iter().filter_map(|output| match output {
            Output::Send { beat, .. } => Some(beat.pause),
            _ => None,
        });
        pauses.collect::<Vec<_>>()
    };
    let many: Vec<u8> = (2..=251).collect();
    assert_eq!(said(give(&mut pairs(1, 1), T, near_and_far(&[], &many))), [Span::millis(2_500); 250]);
    let mut few = pairs(1, 1);
    give(&mut few, T, near_and_far(&[], &[2]));
    let mut next = |number, pause| {
        give(&mut few, T, from_two(Beat { pause, ..beat(1, number) }));
        loop {
            let due = few.next_deadline().expect("beats go on");
            let pauses = said(give(&mut few, due, Input::Deadline));
            if !pauses.is_empty() {
                break pauses;
            }
        }
    };
    assert_eq!(next(1, Span::secs(8)), [Span::secs(7)], "a little more often than it hears");
    assert_eq!(next(2, Span::secs(1_000)), [Span::millis(8_750)], "nobody silences it");
    assert_eq!(next(3, Span::secs(2)), [Span::secs(2)]);
}

/// Whom the beats of the next 50 ms go to once these are the peers, and what they say.
fn beats_soon(pairs: &mut Pairs, now: Instant, near: &[u8], far: &[u8]) -> Vec<(NodeId, Span)> {
    pass(pairs, now, now);
    let mut outputs = give(pairs, now, near_and_far(near, far));
    while let Some(due) = pairs.next_deadline().filter(|due| *due <= now + Span::millis(50)) {
        outputs.extend(give(pairs, due, Input::Deadline));
    }
    let to = outputs.into_iter().filter_map(|output| match output {
        Output::Send { to, beat } => Some((to, beat.pause)),
        _ => None,
    });
    to.collect()
}

#[test]
fn only_peers_that_come_near_or_hear_twice_as_often_are_told_so_at_once() {
    let config = Config { interval_far_each: Span::millis(100), ..Config::default() };
    let rng = Rng::stream([1; 32], Stream::Link);
    let mut pairs = Pairs::new(config, id(1), BootId(1001), rng, Planted::none());
    pairs.restored(at(T), Generation(1));
    let all: Vec<u8> = (2..=101).collect();
    assert!(beats_soon(&mut pairs, T, &[], &all).len() >= all.len(), "the first at once");
    let mut now = T + Span::millis(60);
    for &node in &all {
        let beat = Beat { pause: Span::secs(2), ..beat(1, 1) };
        give(&mut pairs, now, Input::Beat { from: id(node), beat });
    }
    for left in (60..100).rev() {
        now += Span::secs(1);
        let beats = beats_soon(&mut pairs, now, &[], &all[..left]).len();
        assert!(beats < 10, "{beats} beats because one left and {left} stay");
    }
    now += Span::secs(1);
    let twice = beats_soon(&mut pairs, now, &[], &all[..30]);
    assert!(twice.len() >= 30 && twice.iter().all(|(_, pause)| *pause == Span::secs(3)), "{twice:?}");
    now += Span::secs(1);
    let near = beats_soon(&mut pairs, now, &all[..1], &all[1..30]);
    assert!(near.contains(&(id(2), Span::millis(100))), "{near:?}");
    assert!(near.len() < 10, "the others are not: {near:?}");
}

#[test]
fn a_peer_that_never_spoke_becomes_suspect_too() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    assert_eq!(
        pass(&mut pairs, T, T + Span::secs(2)),
        [(Span::millis(400), Output::Suspect { node: id(2) })]
    );
}

#[test]
fn beats_in_time_keep_a_peer_alive() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    give(&mut pairs, T, from_two(beat(1, 1)));
    let mut now = T;
    for number in 2..50 {
        let next = now + Span::millis(390);
        assert_eq!(pass(&mut pairs, T, next), []);
        assert_eq!(news(give(&mut pairs, next, from_two(beat(1, number)))), []);
        now = next;
    }
}

#[test]
fn a_peer_whose_disk_is_stuck_is_suspect_until_it_moves() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    give(&mut pairs, T, from_two(beat(1, 1)));
    let with = |number, age| from_two(Beat { oldest_write: Some(age), ..beat(1, number) });
    assert_eq!(news(give(&mut pairs, T, with(2, Span::secs(2)))), []);
    let told = news(give(&mut pairs, T, with(3, Span::millis(2001))));
    assert_eq!(told, [Output::Suspect { node: id(2) }]);
    assert_eq!(news(give(&mut pairs, T, with(4, Span::millis(2101)))), []);
    assert_eq!(news(give(&mut pairs, T, with(5, Span::millis(3)))), [Output::Alive { node: id(2) }]);
}

#[test]
fn the_age_of_the_oldest_write_is_told() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, Input::OldestWrite(Some(T)));
    give(&mut pairs, T, peers(&[2]));
    let due = pairs.next_deadline().unwrap();
    let outputs = give(&mut pairs, due, Input::Deadline);
    let [Output::Send { beat, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(beat.oldest_write, Some(due.since(T)));
}

#[test]
fn a_beat_of_a_replaced_start_is_ignored() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    give(&mut pairs, T, from_two(beat(1, 1)));
    let told = news(give(&mut pairs, T, from_two(beat(2, 1))));
    assert_eq!(told, [Output::NewBoot { node: id(2), boot: BootId(2002) }]);
    assert_eq!(news(give(&mut pairs, T, from_two(beat(1, 2)))), [], "the earlier start is over");
    // Nor does it count as life.
    let mut told = Vec::new();
    for number in 3..12 {
        let now = T + Span::millis(50 * (number - 2));
        told.extend(pass(&mut pairs, T, now));
        told.extend(
            news(give(&mut pairs, now, from_two(beat(1, number)))).into_iter().map(|o| (now.since(T), o)),
        );
    }
    assert_eq!(told, [(Span::millis(400), Output::Suspect { node: id(2) })]);
    // A straggler does not bring the earlier start back; and neither is it shut out for ever.
    pass(&mut pairs, T, T + Span::secs(2));
    assert_eq!(news(give(&mut pairs, T + Span::secs(2), from_two(beat(1, 19)))), []);
    pass(&mut pairs, T, T + Span::secs(5));
    let told = news(give(&mut pairs, T + Span::secs(5), from_two(beat(1, 20))));
    assert_eq!(told[0], Output::NewBoot { node: id(2), boot: BootId(2001) });
}

#[test]
fn a_start_on_a_rolled_back_disk_counts_once_the_other_is_silent() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    give(&mut pairs, T, from_two(beat(5, 1)));
    let rolled_back = |number| from_two(beat(3, number));
    pass(&mut pairs, T, T + Span::millis(300));
    assert_eq!(news(give(&mut pairs, T + Span::millis(300), rolled_back(1))), []);
    pass(&mut pairs, T, T + Span::millis(399));
    let told = news(give(&mut pairs, T + Span::millis(400), rolled_back(2)));
    assert!(told.contains(&Output::NewBoot { node: id(2), boot: BootId(2003) }), "{told:?}");
    assert_eq!(
        news(give(&mut pairs, T + Span::millis(410), from_two(beat(5, 2)))),
        [],
        "replaced, whatever its number"
    );
}

#[test]
fn an_overtaken_beat_is_ignored() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    let stale = Beat { leads: Some(LeadsPage { page: 0, pages: 1, groups: vec![] }), ..beat(1, 1) };
    give(&mut pairs, T, from_two(beat(1, 2)));
    assert_eq!(news(give(&mut pairs, T, from_two(stale))), []);
}

#[test]
fn a_node_that_stood_still_says_so_and_accuses_nobody() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    give(&mut pairs, T, from_two(beat(1, 1)));
    let due = pairs.next_deadline().unwrap();
    assert_eq!(
        news(give(&mut pairs.clone(), due + Span::millis(100), Input::Deadline)),
        [],
        "a little late is no stall"
    );
    let late = due + Span::secs(7);
    let told = news(give(&mut pairs, late, Input::Deadline));
    assert_eq!(told, [Output::Stalled { by: Span::secs(7) }]);
    let told = pass(&mut pairs, late, late + Span::secs(1));
    assert!(matches!(told[..], [(after, Output::Suspect { .. })] if after > Span::millis(250)), "{told:?}");
}

#[test]
fn lateness_is_told_as_lag() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    let due = pairs.next_deadline().unwrap();
    let outputs = give(&mut pairs, due + Span::millis(30), Input::Deadline);
    let [Output::Send { beat, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(beat.lag, Span::millis(30));
}

/// Two ends that talk over a path that loses every `lose`th beat.
fn exchange(one: &mut Pairs, two: &mut Pairs, from: Instant, span: Span, lose: u64) -> Vec<(NodeId, Output)> {
    let mut told = Vec::new();
    let mut count = 0;
    loop {
        let due = one.next_deadline().into_iter().chain(two.next_deadline()).min().expect("both beat");
        if due > from + span {
            return told;
        }
        let mut sent = Vec::new();
        for (from, pairs) in [(id(1), &mut *one), (id(2), &mut *two)] {
            for output in give(pairs, due, Input::Deadline) {
                match output {
                    Output::Send { to, beat } => sent.push((from, to, beat)),
                    other => told.push((from, other)),
                }
            }
        }
        for (from, to, beat) in sent {
            count += 1;
            if count % lose != 0 {
                let pairs = if to == id(1) { &mut *one } else { &mut *two };
                let beat = Beat::decode(beat.encode()).expect("what a node says can be read");
                for output in give(pairs, due, Input::Beat { from, beat }) {
                    match output {
                        Output::Send { .. } => {}
                        other => told.push((to, other)),
                    }
                }
            }
        }
    }
}

fn lists(told: &[(NodeId, Output)]) -> Vec<(NodeId, usize)> {
    let list = |(node, output): &(NodeId, Output)| match output {
        Output::TheyLead { groups, .. } => Some((*node, groups.len())),
        _ => None,
    };
    told.iter().filter_map(list).collect()
}

#[test]
fn what_a_peer_leads_is_told_whole_once_and_on_each_change() {
    for lose in [2, 3, u64::MAX] {
        let (mut one, mut two) = (pairs(1, 1), pairs(2, 1));
        give(&mut one, T, peers(&[2]));
        give(&mut two, T, peers(&[1]));
        let leads = |pairs: &mut Pairs, now, count: u128, term| {
            for group in (0..count).map(GroupId) {
                give(pairs, now, Input::Leads { node: id(2), group, term: Some(Term(term)) });
            }
        };
        let many = 2 * LEADS_PAGE_MAX + 1;
        leads(&mut one, T, 3, 1);
        let told = exchange(&mut one, &mut two, T, Span::secs(2), lose);
        let mut first = lists(&told);
        first.sort_unstable();
        assert_eq!(first, [(id(1), 0), (id(2), 3)], "losing each {lose}th");
        let later = T + Span::secs(2);
        leads(&mut one, later, 3, 1);
        assert_eq!(lists(&exchange(&mut one, &mut two, later, Span::secs(1), lose)), [], "nothing changed");
        let later = later + Span::secs(1);
        leads(&mut one, later, many as u128, 2);
        let told = exchange(&mut one, &mut two, later, Span::secs(3), lose);
        assert_eq!(lists(&told), [(id(2), many)], "three pages, losing each {lose}th");
        let quiet = give(&mut one, later + Span::secs(3) + Span::millis(100), Input::Deadline);
        let beats: Vec<&Beat> = quiet
            .iter()
            .filter_map(|o| match o {
                Output::Send { beat, .. } => Some(beat),
                _ => None,
            })
            .collect();
        assert!(
            lose != u64::MAX || beats.iter().all(|beat| beat.leads.is_none()),
            "a list that is known is not repeated"
        );
    }
}

#[test]
fn a_restarted_peer_is_told_again() {
    let (mut one, mut two) = (pairs(1, 1), pairs(2, 1));
    give(&mut one, T, peers(&[2]));
    give(&mut two, T, peers(&[1]));
    give(&mut one, T, Input::Leads { node: id(2), group: GroupId(4), term: Some(Term(2)) });
    exchange(&mut one, &mut two, T, Span::secs(1), u64::MAX);
    let later = T + Span::secs(1);
    let mut two = pairs(2, 2);
    give(&mut two, later, peers(&[1]));
    // It leads what it led before, which was nothing; that is news all the same.
    let told = exchange(&mut one, &mut two, later, Span::secs(1), u64::MAX);
    assert!(told.contains(&(id(1), Output::NewBoot { node: id(2), boot: BootId(2002) })));
    assert!(lists(&told).contains(&(id(2), 1)), "{told:?}");
    assert!(lists(&told).contains(&(id(1), 0)), "{told:?}");
}

#[test]
fn a_forged_list_is_not_told() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    let page = LeadsPage { page: 0, pages: 1, groups: vec![(GroupId(1), Term(1))] };
    let told = news(give(&mut pairs, T, from_two(Beat { leads: Some(page), ..beat(1, 1) })));
    assert_eq!(told, [Output::NewBoot { node: id(2), boot: BootId(2001) }], "P2: its digest says otherwise");
}

#[test]
fn who_is_no_peer_is_not_heard_and_gets_nothing() {
    let mut pairs = pairs(1, 1);
    assert_eq!(give(&mut pairs, T, from_two(beat(1, 1))), []);
    give(&mut pairs, T, peers(&[2]));
    give(&mut pairs, T, peers(&[]));
    assert_eq!(pairs.next_deadline(), None);
    assert_eq!(give(&mut pairs, T + Span::secs(9), Input::Deadline), []);
}

#[test]
fn a_suspect_that_is_no_peer_any_more_is_not_suspected_for_ever() {
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2, 3]));
    let later = T + Span::secs(1);
    let told = news(give(&mut pairs, later, from_two(beat(1, 1))));
    assert!(told.contains(&Output::NewBoot { node: id(2), boot: BootId(2001) }));
    pass(&mut pairs, later, later + Span::secs(1));
    assert!(!pairs.is_alive(id(2)) && !pairs.is_alive(id(3)));
    let later = later + Span::secs(1);
    let told = news(give(&mut pairs, later, peers(&[3])));
    assert_eq!(told, [Output::Alive { node: id(2) }]);
    assert_eq!(
        news(give(&mut pairs, later, peers(&[2, 3]))),
        [],
        "it counts as alive until it has been silent"
    );
    let told = pass(&mut pairs, later, later + Span::secs(1));
    assert!(told.iter().any(|(_, output)| *output == Output::Suspect { node: id(2) }), "{told:?}");
}

#[test]
fn a_list_that_is_wanted_anew_is_told_again_though_it_is_the_same() {
    let list = alloc::vec![(GroupId(5), Term(3))];
    let digest = LeadsDigest::of(&list);
    let page = crate::link::LeadsPage { page: 0, pages: 1, groups: list.clone() };
    let with_page = |number| Beat { leads_digest: digest, leads: Some(page.clone()), ..beat(1, number) };
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    let told = Output::TheyLead { node: id(2), groups: list };
    assert!(give(&mut pairs, T, from_two(with_page(1))).contains(&told));
    assert!(!give(&mut pairs, T, from_two(with_page(2))).contains(&told), "it is known");
    let now = T + Span::millis(50);
    let sent = give(&mut pairs, now, Input::Compare { node: id(2) });
    let asks = |output: &Output| matches!(output, Output::Send { beat, .. } if beat.seen_digest.is_none());
    assert!(sent.iter().any(asks), "the other end hears at once that it is wanted: {sent:?}");
    let bare = Beat { leads_digest: digest, ..beat(1, 3) };
    assert!(!give(&mut pairs, now, from_two(bare)).contains(&told), "this beat left before");
    assert!(give(&mut pairs, now, from_two(with_page(4))).contains(&told));
    give(&mut pairs, now, Input::Compare { node: id(9) });
}

#[test]
fn a_list_that_is_awaited_is_not_begun_again_when_it_is_wanted_anew() {
    let list: Vec<_> = (0..=LEADS_PAGE_MAX as u128).map(|n| (GroupId(n), Term(3))).collect();
    let digest = LeadsDigest::of(&list);
    let parts: Vec<_> = list.chunks(LEADS_PAGE_MAX).map(<[_]>::to_vec).collect();
    let with_page = |page: usize, number| {
        let leads = crate::link::LeadsPage { page: page as u32, pages: 2, groups: parts[page].clone() };
        Beat { leads_digest: digest, leads: Some(leads), ..beat(1, number) }
    };
    let mut pairs = pairs(1, 1);
    give(&mut pairs, T, peers(&[2]));
    let told = Output::TheyLead { node: id(2), groups: list.clone() };
    give(&mut pairs, T, from_two(with_page(0, 1)));
    // As many groups as there are may follow leaders there, each in a step of its own.
    for (number, page) in (2..6).zip([1, 0, 1, 0]) {
        give(&mut pairs, T, Input::Compare { node: id(2) });
        give(&mut pairs, T, Input::Compare { node: id(2) });
        let outputs = give(&mut pairs, T, from_two(with_page(page, number)));
        assert_eq!(outputs.contains(&told), page == 1, "beat {number}: the list is whole");
    }
}
