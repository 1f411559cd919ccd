use super::*;
use crate::route::message::LinkState;

const T: Instant = Instant(1_000_000_000);

fn alone() -> Routes {
    let mut routes = Routes::new(Config::default(), id(1), rng(1), Planted::none());
    routes.restored(at(T), Generation(5));
    routes
}

fn feed(routes: &mut Routes, now: Instant, step: impl Into<Step>) -> Vec<Output> {
    take_step(routes, now, step)
}

fn up(node: usize) -> Input {
    Input::LinkUp { node: id(node), label: label(1, node) }
}

/// A link state of `origin` whose links all cost 100.
fn state(origin: usize, generation: u64, sequence: u64, neighbours: &[usize]) -> Announcement {
    let adjacencies = neighbours
        .iter()
        .map(|&to| Adjacency { neighbour: id(to), cost: 100, label: label(origin, to) })
        .collect();
    LinkState::new((Generation(generation), sequence), id(origin), adjacencies).announcement(Span::ZERO)
}

fn flood(from: usize, states: Vec<Announcement>) -> Step {
    Step::Hear { from: id(from), message: Message::Flood(states) }
}

/// The versions of the states sent to a neighbour.
fn flooded(outputs: &[Output], to: usize) -> Vec<(u128, u64, u64)> {
    let states = outputs.iter().filter_map(|output| match output {
        Output::Send { to: node, message: Message::Flood(states) } if *node == id(to) => Some(states),
        _ => None,
    });
    let version = |state: &Announcement| (state.origin.0, state.generation.0, state.sequence);
    states.flatten().map(version).collect()
}

#[test]
fn a_neighbour_is_reached_at_once_and_gets_the_whole_table() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=4)));
    feed(&mut routes, T, up(2));
    feed(&mut routes, T, flood(2, vec![state(2, 1, 1, &[1, 3]), state(3, 1, 1, &[2])]));
    let outputs = feed(&mut routes, T, up(4));
    let path = routes.path(id(4)).unwrap();
    assert_eq!((path.first, path.labels.len(), path.hops()), (id(4), 0, 1));
    assert_eq!(flooded(&outputs, 4), [(1, 5, 3), (2, 1, 1), (3, 1, 1)]);
    assert_eq!(flooded(&outputs, 2), [(1, 5, 3)], "others get what is news");
}

#[test]
fn a_path_bears_one_label_per_relay() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=4)));
    feed(&mut routes, T, up(2));
    feed(&mut routes, T, Input::Cost { node: id(2), micros: 70 });
    let states = vec![state(2, 1, 1, &[1, 3]), state(3, 1, 1, &[2, 4]), state(4, 1, 1, &[3])];
    feed(&mut routes, T, flood(2, states));
    let later = routes.next_deadline().unwrap();
    feed(&mut routes, later, Input::Deadline);
    let path = routes.path(id(4)).unwrap();
    assert_eq!((path.first, path.labels.as_slice()), (id(2), &[label(2, 3), label(3, 4)][..]));
    assert_eq!(path.cost, 270);
    assert_eq!(routes.path(id(1)), None, "no path to itself");
}

#[test]
fn a_link_counts_only_when_both_ends_list_it() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=4)));
    feed(&mut routes, T, up(2));
    feed(&mut routes, T, flood(2, vec![state(2, 1, 1, &[1, 3]), state(3, 1, 1, &[])]));
    let settled = T + Span::secs(1);
    feed(&mut routes, settled, Input::Deadline);
    assert_eq!(routes.path(id(3)), None);
    assert_eq!(routes.topology(), [KnownLink { a: id(1), b: id(2), cost: 50_000 }]);
    feed(&mut routes, settled, flood(2, vec![state(3, 1, 2, &[2])]));
    feed(&mut routes, settled + Span::secs(1), Input::Deadline);
    assert!(routes.path(id(3)).is_some());
    assert_eq!(routes.topology().len(), 2);
    assert_eq!(routes.label_of(id(2), id(3)), Some(label(2, 3)));
    assert_eq!((routes.label_of(id(2), id(4)), routes.label_of(id(4), id(2))), (None, None));
}

#[test]
fn the_loss_of_an_own_link_counts_at_once() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=3)));
    feed(&mut routes, T, up(2));
    feed(&mut routes, T, up(3));
    feed(&mut routes, T, flood(2, vec![state(2, 1, 1, &[1, 3]), state(3, 1, 1, &[1, 2])]));
    feed(&mut routes, T + Span::millis(1), Input::Cost { node: id(2), micros: 10 });
    let outputs = feed(&mut routes, T + Span::millis(2), Input::LinkDown { node: id(3) });
    assert_eq!(routes.path(id(3)).map(|path| path.first), Some(id(2)), "over the other one");
    assert_eq!(flooded(&outputs, 2).len(), 1, "and the neighbours hear of it in the same turn");
    feed(&mut routes, T + Span::millis(2), Input::LinkDown { node: id(2) });
    assert_eq!(routes.paths().len(), 0);
}

#[test]
fn news_goes_to_all_but_the_sender_and_old_news_is_corrected() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=4)));
    for node in [2, 3, 4] {
        feed(&mut routes, T, up(node));
    }
    let outputs = feed(&mut routes, T, flood(2, vec![state(2, 1, 7, &[1])]));
    assert_eq!((flooded(&outputs, 2), flooded(&outputs, 3)), (vec![], vec![(2, 1, 7)]));
    assert_eq!(flooded(&outputs, 4), [(2, 1, 7)]);
    let outputs = feed(&mut routes, T, flood(3, vec![state(2, 1, 7, &[1])]));
    assert_eq!(outputs, [], "known");
    let outputs = feed(&mut routes, T, flood(3, vec![state(2, 1, 6, &[1, 4])]));
    assert_eq!((flooded(&outputs, 3), flooded(&outputs, 4)), (vec![(2, 1, 7)], vec![]));
    let outputs = feed(&mut routes, T, flood(3, vec![state(2, 2, 1, &[1])]));
    assert_eq!(flooded(&outputs, 4), [(2, 2, 1)], "a later start beats any sequence");
}

#[test]
fn states_of_strangers_wait_until_they_are_members_and_nobody_is_asked() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members([1, 2, 3])));
    feed(&mut routes, T, up(2));
    feed(&mut routes, T, up(3));
    let strangers: Vec<Announcement> = (10..30).map(|node| state(node, 1, 4, &[2])).collect();
    assert_eq!(feed(&mut routes, T, flood(2, strangers)), []);
    assert_eq!(feed(&mut routes, T, flood(3, vec![state(10, 1, 3, &[3])])), [], "older than what is held");
    assert_eq!(routes.table.len(), 1);
    let outputs = feed(&mut routes, T, Input::Joined(members([10, 11])));
    assert_eq!((flooded(&outputs, 2), flooded(&outputs, 3)), (vec![], vec![(10, 1, 4), (11, 1, 4)]));
    assert_eq!(outputs.len(), 1, "nobody is asked: {outputs:?}");
    feed(&mut routes, T, flood(2, vec![state(2, 1, 1, &[1, 10])]));
    feed(&mut routes, T + Span::secs(1), Input::Deadline);
    assert!(routes.path(id(10)).is_some());
    let outputs = feed(&mut routes, T + Span::secs(1), Input::Members(members([1, 2, 3, 11, 12])));
    assert_eq!(flooded(&outputs, 3), [(12, 1, 4)], "all members at once, and one is gone");
    feed(&mut routes, T + Span::secs(2), Input::Deadline);
    assert_eq!(routes.path(id(10)), None, "who is no member any more is forgotten");
    let outputs = feed(&mut routes, T + Span::secs(2), Input::Joined(members([10])));
    let ask = |to| Output::Send { to: id(to), message: Message::Ask };
    assert_eq!(outputs, [ask(2), ask(3)], "and asked for, should it come again");
}

#[test]
fn a_state_that_waited_too_long_counts_no_more() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members([1, 2])));
    feed(&mut routes, T, up(2));
    let mut old = state(10, 1, 1, &[2]);
    old.age = Span::secs(599);
    feed(&mut routes, T, flood(2, vec![old, state(11, 1, 1, &[2])]));
    let outputs = feed(&mut routes, T + Span::millis(1_000), Input::Joined(members([10, 11])));
    assert_eq!(outputs, []);
    assert_eq!((routes.table.get(id(10)).is_some(), routes.table.get(id(11)).is_some()), (false, true));
    // And what nobody takes is forgotten when tables are compared.
    feed(&mut routes, T, flood(2, vec![state(12, 1, 1, &[2])]));
    feed(&mut routes, T + Span::secs(620), Input::Deadline);
    assert_eq!((routes.held.origins().count(), routes.held.bytes()), (0, 0));
}

#[test]
fn what_strangers_take_up_is_bounded_and_tables_are_asked_for_once_it_was_too_much() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members([1, 2])));
    feed(&mut routes, T, up(2));
    let many: Vec<usize> = (5_000..5_200).collect();
    for origin in 10..110 {
        assert_eq!(feed(&mut routes, T, flood(2, vec![state(origin, 1, 1, &many)])), []);
    }
    let held: Vec<NodeId> = routes.held.origins().collect();
    assert!((30..100).contains(&held.len()), "{} held", held.len());
    assert_eq!(held.last(), Some(&id(109)), "the oldest make room");
    assert!(!held.contains(&id(10)));
    let outputs = feed(&mut routes, T, Input::Joined(members([10, 109])));
    assert_eq!(outputs, [Output::Send { to: id(2), message: Message::Ask }]);
    assert!(routes.table.get(id(109)).is_some());
    assert_eq!(feed(&mut routes, T, Input::Joined(members([108]))), [], "once");
}

#[test]
fn a_storm_of_news_leaves_in_few_messages_and_whole() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=303)));
    feed(&mut routes, T, up(2));
    feed(&mut routes, T, up(3));
    let start = T + Span::secs(5);
    let (mut told, mut messages, mut late) = (BTreeSet::new(), 0, Span::ZERO);
    let mut see = |outputs: Vec<Output>, now: Instant| {
        let news = flooded(&outputs, 3);
        messages += usize::from(!news.is_empty());
        for (origin, ..) in news.into_iter().filter(|(origin, ..)| *origin > 3) {
            late = late.max(now.since(start + Span::millis(origin as u64)));
            told.insert(origin);
        }
    };
    for origin in 4..=303 {
        let now = start + Span::millis(origin as u64);
        while let Some(due) = routes.next_deadline().filter(|due| *due < now) {
            see(feed(&mut routes, due, Input::Deadline), due);
        }
        see(feed(&mut routes, now, flood(2, vec![state(origin, 1, 1, &[2])])), now);
    }
    let last = start + Span::millis(500);
    while let Some(due) = routes.next_deadline().filter(|due| *due <= last) {
        see(feed(&mut routes, due, Input::Deadline), due);
    }
    assert_eq!(told.len(), 300, "none is left out");
    assert!((8..=12).contains(&messages), "{messages} messages for 300 states in 300 ms");
    assert!(late <= Span::millis(100), "the latest after {late:?}");
}

#[test]
fn a_newer_state_of_its_own_is_outdone() {
    for (generation, sequence, expected) in
        [(5, 40, (1, 5, 41)), (9, 3, (1, 9, 4)), (6, (1 << 62) - 1, (1, 7, 0))]
    {
        let mut routes = alone();
        feed(&mut routes, T, Input::Members(members(1..=3)));
        feed(&mut routes, T, up(2));
        let now = T + Span::secs(10);
        let outputs = feed(&mut routes, now, flood(2, vec![state(1, generation, sequence, &[3])]));
        assert_eq!(flooded(&outputs, 2), [expected], "at once");
    }
}

#[test]
fn a_state_of_its_own_that_it_did_not_write_is_outdone_and_an_older_one_corrected() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=3)));
    feed(&mut routes, T, up(2));
    let now = T + Span::secs(10);
    // Of one version and other content: the one that every table prefers counts.
    let outputs = feed(&mut routes, now, flood(2, vec![state(1, 5, 2, &[2, 3])]));
    assert_eq!(flooded(&outputs, 2), [(1, 5, 2)], "this node's own, so it only needs to be repeated");
    let dearer = Adjacency { neighbour: id(2), cost: 50_001, label: label(1, 2) };
    let dearer = LinkState::new((Generation(5), 2), id(1), vec![dearer].into()).announcement(Span::ZERO);
    let outputs = feed(&mut routes, now, flood(2, vec![dearer]));
    assert_eq!(flooded(&outputs, 2), [(1, 5, 3)], "the other one, so it must be outdone");
    let outputs = feed(&mut routes, now, flood(2, vec![state(1, 4, 99, &[])]));
    assert_eq!(flooded(&outputs, 2), [(1, 5, 3)]);
}

#[test]
fn of_two_states_of_one_version_every_table_keeps_the_same() {
    let (one, other) = (state(2, 1, 1, &[1]), state(2, 1, 1, &[3]));
    for pair in [[one.clone(), other.clone()], [other, one]] {
        let mut routes = alone();
        feed(&mut routes, T, Input::Members(members(1..=3)));
        feed(&mut routes, T, up(2));
        pair.into_iter().for_each(|aged| {
            feed(&mut routes, T, flood(2, vec![aged]));
        });
        assert_eq!(routes.table.get(id(2)).unwrap().adjacencies()[0].neighbour, id(3));
    }
}

#[test]
fn a_version_that_cannot_be_outdone_harms_nobody() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=3)));
    feed(&mut routes, T, up(2));
    let last = (1 << 62) - 1;
    let now = T + Span::secs(10);
    let outputs = feed(&mut routes, now, flood(2, vec![state(1, last, last, &[3])]));
    assert_eq!(flooded(&outputs, 2), []);
    let mut copy = routes.clone();
    for round in 0..100 {
        let now = now + Span::millis(10 * round);
        feed(&mut copy, now, flood(2, vec![state(1, last - 1, last, &[3])]));
    }
    let announced = copy.table.get(id(1)).unwrap().version();
    assert_eq!(announced, (Generation(last), 0));
}

#[test]
fn a_copy_of_this_node_makes_no_storm() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=3)));
    feed(&mut routes, T, up(2));
    let mut announced = 0;
    for milli in 0..10_000 {
        let now = T + Span::millis(milli);
        let above = routes.table.get(id(1)).unwrap().version().1 + 1;
        announced += flooded(&feed(&mut routes, now, flood(2, vec![state(1, 5, above, &[3])])), 2).len();
    }
    assert!((5..25).contains(&announced), "{announced} announcements in ten seconds");
}

#[test]
fn costs_are_announced_with_patience() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=2)));
    feed(&mut routes, T, up(2));
    let cost = |micros| Input::Cost { node: id(2), micros };
    let told = |outputs: &[Output]| flooded(outputs, 2).len();
    feed(&mut routes, T, cost(10_000));
    // It is steady: what differs then is no noise.
    (0..32).for_each(|_| drop(feed(&mut routes, T, cost(10_000))));
    let now = T + Span::secs(3);
    assert_eq!(told(&feed(&mut routes, now, Input::Deadline)), 1, "the first measurement");
    assert_eq!(routes.table.get(id(1)).unwrap().adjacencies()[0].cost, 10_000);
    assert_eq!(told(&feed(&mut routes, now, cost(11_000))), 0);
    assert_eq!(told(&feed(&mut routes, now, cost(20_000))), 0);
    assert_eq!(routes.next_deadline(), Some(now + Span::secs(2)));
    assert_eq!(told(&feed(&mut routes, now + Span::millis(1999), Input::Deadline)), 0);
    assert_eq!(told(&feed(&mut routes, now + Span::secs(2), Input::Deadline)), 1);
    assert_eq!(routes.path(id(2)).unwrap().cost, 20_000);
}

#[test]
fn many_changes_of_costs_share_announcements() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=30)));
    for node in 2..=30 {
        feed(&mut routes, T, up(node));
    }
    let start = T + Span::secs(5);
    let mut told = Vec::new();
    for node in 2..=30 {
        let now = start + Span::millis(10 * node as u64);
        let outputs = feed(&mut routes, now, Input::Cost { node: id(node), micros: 500 });
        told.extend(flooded(&outputs, 2));
    }
    while let Some(due) = routes.next_deadline().filter(|due| *due <= start + Span::secs(2)) {
        told.extend(flooded(&feed(&mut routes, due, Input::Deadline), 2));
    }
    assert!((2..=5).contains(&told.len()), "29 changes in 290 ms: {told:?}");
    assert!(routes.table.get(id(1)).unwrap().adjacencies().iter().all(|adjacency| adjacency.cost == 500));
}

#[test]
fn other_costs_alone_are_announced_rarely_and_with_any_other_news() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=4)));
    (2..=3).for_each(|node| drop(feed(&mut routes, T, up(node))));
    let mut told = Vec::new();
    // Every ten seconds each link costs something else for good.
    for second in 0..600 {
        let now = T + Span::secs(second);
        for node in 2..=3 {
            let cost = Input::Cost { node: id(node), micros: 10_000 << (4 * (second / 10 % 2)) };
            told.extend(flooded(&feed(&mut routes, now, cost), 2));
        }
        while let Some(due) = routes.next_deadline().filter(|due| *due < now + Span::secs(1)) {
            told.extend(flooded(&feed(&mut routes, due, Input::Deadline), 2));
        }
    }
    assert!((8..=20).contains(&told.len()), "{told:?}");
    let now = T + Span::secs(600);
    let news = flooded(&feed(&mut routes, now, up(4)), 2);
    assert_eq!(news.len(), 1, "a link that comes up waits for no cost");
    assert!(!routes.pace_costs.is_wanted(), "it told the costs, too");
}

#[test]
fn a_state_that_nobody_repeats_is_forgotten_and_the_own_one_repeated() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=3)));
    feed(&mut routes, T, up(2));
    let mut old = state(3, 1, 1, &[2]);
    old.age = Span::secs(590);
    feed(&mut routes, T, flood(2, vec![state(2, 1, 1, &[1, 3]), old.clone()]));
    old.age = Span::secs(600);
    feed(&mut routes, T, flood(2, vec![Announcement { sequence: 2, ..old }]));
    assert_eq!(routes.table.get(id(3)).unwrap().version().1, 1, "what is too old already is not news");
    let mut announced = Vec::new();
    let mut forgotten = BTreeMap::new();
    while let Some(now) = routes.next_deadline().filter(|now| *now <= T + Span::secs(620)) {
        if !flooded(&feed(&mut routes, now, Input::Deadline), 2).is_empty() {
            announced.push(now.since(T));
        }
        for origin in [2, 3] {
            if routes.table.get(id(origin)).is_none() {
                forgotten.entry(origin).or_insert(now.since(T));
            }
        }
    }
    assert!((2..=4).contains(&announced.len()), "{announced:?}");
    assert!(
        announced
            .windows(2)
            .all(|pair| (150..=250).contains(&(pair[1].as_millis() / 1000 - pair[0].as_millis() / 1000)))
    );
    let seconds = |origin: usize| forgotten[&origin].as_millis() / 1000;
    assert!((10..=23).contains(&seconds(3)), "what came old goes early: {forgotten:?}");
    assert!((600..=613).contains(&seconds(2)), "{forgotten:?}");
}

#[test]
fn links_that_come_up_one_after_the_other_share_announcements_and_one_that_goes_down_never_waits() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=303)));
    feed(&mut routes, T, up(2));
    let start = T + Span::secs(5);
    let mut told = Vec::new();
    for node in 4..=303 {
        let now = start + Span::millis(node as u64);
        while let Some(due) = routes.next_deadline().filter(|due| *due < now) {
            told.extend(flooded(&feed(&mut routes, due, Input::Deadline), 2));
        }
        told.extend(flooded(&feed(&mut routes, now, up(node)), 2));
    }
    assert!((8..=12).contains(&told.len()), "{} announcements of 300 links in 300 ms", told.len());
    assert!(routes.up_untold, "the last ones wait");
    let now = start + Span::millis(303);
    let before = routes.version;
    feed(&mut routes, now, Input::LinkDown { node: id(303) });
    assert!(routes.version > before, "a link that goes down does not");
    assert_eq!(routes.table.get(id(1)).unwrap().adjacencies().len(), 300, "and takes all others along");
    feed(&mut routes, now, up(303));
    assert!(routes.up_untold);
    let due = now + Span::millis(100);
    while let Some(at) = routes.next_deadline().filter(|at| *at <= due) {
        feed(&mut routes, at, Input::Deadline);
    }
    assert_eq!(routes.table.get(id(1)).unwrap().adjacencies().len(), 301, "within the pause");
}

#[test]
fn a_link_that_comes_up_under_another_label_is_told_at_once() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=30)));
    (2..=30).for_each(|node| drop(feed(&mut routes, T, up(node))));
    assert!(routes.up_untold, "too many came up for more to be told at once");
    feed(&mut routes, T, Input::LinkUp { node: id(2), label: 999 });
    assert_eq!(routes.table.get(id(1)).unwrap().link(id(2)).unwrap().label, 999);
}

#[test]
fn links_that_cannot_be_read_are_refused_where_they_are_news_and_nowhere_else() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=4)));
    feed(&mut routes, T, up(2));
    let broken = |origin, sequence| Announcement {
        links: bytes::Bytes::from_static(b"\x0a\x7f"),
        ..state(origin, 1, sequence, &[])
    };
    let hear = |routes: &mut Routes, states: Vec<Announcement>| {
        let heard = routes.hear(at(T), id(2), &Message::Flood(states));
        routes.check_invariants(Level::Full);
        heard.is_err()
    };
    assert!(hear(&mut routes, vec![state(3, 1, 5, &[2]), broken(2, 1), state(4, 1, 1, &[2])]));
    assert_eq!(routes.table.get(id(3)).map(LinkState::version), Some((Generation(1), 5)), "it came before");
    assert!(routes.table.get(id(2)).is_none() && routes.table.get(id(4)).is_none());
    assert!(!hear(&mut routes, vec![broken(3, 4)]), "old");
    assert!(hear(&mut routes, vec![broken(3, 6)]));
    assert!(hear(&mut routes, vec![broken(9, 1)]), "of who is no member yet");
    assert_eq!(routes.held.origins().count(), 0);
    assert!(!hear(&mut routes, vec![state(9, 1, 5, &[2])]));
    assert!(!hear(&mut routes, vec![broken(9, 4)]), "one as new is held");
    assert!(hear(&mut routes, vec![broken(9, 6)]));
    assert!(!hear(&mut routes, vec![Announcement { generation: Generation(4), ..broken(1, 1) }]));
    assert!(hear(&mut routes, vec![Announcement { generation: Generation(6), ..broken(1, 1) }]), "its own");
}

#[test]
fn what_is_kept_of_a_message_does_not_keep_its_buffer() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=3)));
    feed(&mut routes, T, up(2));
    let message = Message::Flood(vec![state(3, 1, 1, &[2]), state(9, 1, 1, &[2])]).encode();
    let buffer = message.as_ptr_range();
    let Ok(message) = Message::decode(message) else { panic!("it can be read") };
    let Message::Flood(came) = &message else { panic!("it is a flood") };
    assert!(came.iter().all(|state| buffer.contains(&state.links.as_ptr())), "read in place");
    routes.hear(at(T), id(2), &message).unwrap();
    let member = routes.table.announcement(T, id(3)).unwrap();
    routes.handle(at(T), Input::Joined(members([9])));
    let stranger = routes.table.announcement(T, id(9)).unwrap();
    for kept in [&member, &stranger] {
        assert!(!buffer.contains(&kept.links.as_ptr()));
    }
    // What is passed on shares what is kept, and so does what is said anew of the same links.
    feed(&mut routes, T, flood(2, vec![state(3, 1, 2, &[2])]));
    let newer = routes.table.announcement(T, id(3)).unwrap();
    assert_eq!((newer.sequence, newer.links.as_ptr()), (2, member.links.as_ptr()));
}

#[test]
fn whoever_is_no_neighbour_is_not_heard() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=3)));
    for message in [Message::Ask, Message::Flood(vec![state(3, 1, 1, &[2])])] {
        assert_eq!(feed(&mut routes, T, Step::Hear { from: id(3), message }), []);
    }
    assert_eq!(routes.table.len(), 1);
}

#[test]
fn whole_tables_are_given_once_per_pause() {
    let mut routes = alone();
    feed(&mut routes, T, Input::Members(members(1..=3)));
    feed(&mut routes, T, up(2));
    let ask = || Step::Hear { from: id(2), message: Message::Ask };
    let mut told = 0;
    for milli in 0..1000 {
        told += flooded(&feed(&mut routes, T + Span::millis(milli), ask()), 2).len();
    }
    assert_eq!(told, 4, "one each 200 ms, and asking too early is not forgotten");
}

#[test]
fn no_sequence_of_inputs_breaks_an_invariant() {
    let mut reached = 0;
    for seed in 0..60 {
        let mut random = rng(seed);
        let mut routes = alone();
        let mut now = T;
        for _ in 0..400 {
            now += Span::millis(random.below(400));
            let node = 1 + random.below(6) as usize;
            let step: Step = match random.below(12) {
                0 | 1 if node > 1 => up(node).into(),
                2 => Input::LinkDown { node: id(node) }.into(),
                3 => Input::Cost { node: id(node), micros: random.u64() as u32 }.into(),
                4 => Input::Members(members((1..=6).filter(|_| random.below(8) > 0))).into(),
                5 => Input::Deadline.into(),
                6 => Step::Hear { from: id(node), message: Message::Ask },
                7 => Step::Hear { from: id(node), message: Message::Summary(routes.table.digest()) },
                _ => {
                    let origin = 1 + random.below(6) as usize;
                    let neighbours: Vec<usize> =
                        (1..=6).filter(|to| *to != origin && random.below(3) > 0).collect();
                    let high = (1 << 62) - 1 - random.below(3);
                    let version = [random.below(4), high][usize::from(random.below(20) == 0)];
                    let sequence = [random.below(50), high][usize::from(random.below(10) == 0)];
                    let mut aged = state(origin, version, sequence, &neighbours);
                    aged.age = Span::secs(random.below(700));
                    flood(node, vec![aged])
                }
            };
            feed(&mut routes, now, step);
            reached += routes.paths().len();
        }
    }
    assert!(reached > 10_000, "paths do come up: {reached}");
}
