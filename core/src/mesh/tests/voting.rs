//! Who votes as members go away, come back, and say where they are.

use super::*;

fn voters(world: &World) -> Vec<usize> {
    let mut hosts: Vec<usize> =
        world.configuration.voters.iter().filter_map(|voter| world.host_of(voter.node)).collect();
    hosts.sort_unstable();
    hosts
}

fn hears(world: &mut World, host: usize, heard: bool) {
    let node = world.id(host);
    let input = if heard { Input::PairAlive { node } } else { Input::PairSuspect { node } };
    world.inbox.push_back((0, input));
    world.pump();
}

fn seven() -> World {
    let mut world = World::grown(&["a", "b", "c", "d", "e", "f", "g"]);
    world.pass(Span::secs(10));
    assert_eq!(voters(&world), [0, 1, 2, 3, 4]);
    world
}

#[test]
fn a_voter_that_is_away_for_long_is_replaced_and_not_taken_back() {
    let mut world = seven();
    hears(&mut world, 2, false);
    world.pass(Span::secs(29));
    assert_eq!(voters(&world), [0, 1, 2, 3, 4], "it may only be starting anew");
    assert!(world.mesh(0).voting(world.now, world.id(2)).contains("not heard for 2"));
    let changes = world.changes.len();
    world.pass(Span::secs(2));
    assert_eq!(voters(&world), [0, 1, 3, 4, 5]);
    assert_eq!(world.changes.len(), changes + 1, "M40: one change");
    hears(&mut world, 2, true);
    world.pass(Span::secs(300));
    assert_eq!(voters(&world), [0, 1, 3, 4, 5], "nobody goes for one that came back");
    assert!(world.mesh(0).voting(world.now, world.id(2)).contains("5 of 7 members vote"));
}

#[test]
fn one_that_comes_and_goes_waits_longer_each_time() {
    let mut world = seven();
    for _ in 0..3 {
        hears(&mut world, 5, false);
        hears(&mut world, 5, true);
    }
    assert!(world.mesh(0).voting(world.now, world.id(5)).starts_with("away 3 times lately, waits"));
    hears(&mut world, 6, false);
    hears(&mut world, 2, false);
    // Ten seconds after its third fall it would be taken; it falls again before.
    for _ in 0..4 {
        world.pass(Span::secs(9));
        hears(&mut world, 5, false);
        hears(&mut world, 5, true);
    }
    assert_eq!(voters(&world), [0, 1, 2, 3, 4], "nobody steady is there");
    world.pass(Span::secs(39));
    assert_eq!(voters(&world), [0, 1, 2, 3, 4]);
    world.pass(Span::secs(2));
    assert_eq!(voters(&world), [0, 1, 3, 4, 5]);
}

#[test]
fn members_say_where_they_are_and_voters_are_spread_over_regions() {
    let mut world = seven();
    for (host, region) in ["eu", "eu", "eu", "eu", "eu", "us", "asia"].into_iter().enumerate() {
        world.hosts[host].config.region = Some(region.into());
        world.restart(host);
    }
    world.lead(Some(0));
    world.command(0, open("words", "a", "b"));
    world.pass(Span::secs(30));
    assert_eq!(world.mesh(1).member(world.id(5)).and_then(|member| member.region.clone()), Some("us".into()));
    assert_eq!(voters(&world), [0, 1, 2, 5, 6]);
    assert_eq!(world.mesh(0).voting(world.now, world.id(5)), "the one of region us");
    assert_eq!(world.mesh(0).voting(world.now, world.id(1)), "one of 3 of region eu");
    let changes = world.changes.len();
    world.pass(Span::secs(600));
    assert_eq!(world.changes.len(), changes, "it rests");
    assert!(world.changes.iter().all(|(voters, _)| voters % 2 == 1));
    world.assert_equal();
    let state = State::decode(&world.mesh(2).state.encode()).expect("a state");
    assert_eq!(state.digest(), world.mesh(2).digest(), "regions travel with the state");
}
