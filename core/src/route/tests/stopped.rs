//! Nodes that say that they stop.

use super::*;
use crate::route::table::Offered;

fn node(world: &mut World, node: usize) -> &mut Routes {
    world.nodes.get_mut(&node).expect("it runs")
}

#[test]
fn no_path_leads_over_a_node_that_stops_and_all_are_told() {
    let mut world = World::new(4, 5);
    for (a, b) in [(1, 2), (2, 3), (3, 4), (4, 1)] {
        world.connect(a, b, 10);
    }
    world.run(Span::secs(5));
    world.input(2, Input::Stopped(true));
    world.run(Span::secs(1));
    assert!(
        node(&mut world, 4).is_stopped(id(2)) && !node(&mut world, 4).is_reached(id(2)),
        "told by others"
    );
    let path = node(&mut world, 1).path(id(3)).expect("the other way round");
    assert_eq!(path.first, id(4));
    assert!(node(&mut world, 4).topology().iter().all(|link| link.a != id(2) && link.b != id(2)));

    world.disconnect(1, 2);
    world.disconnect(2, 3);
    world.run(Span::secs(2_000));
    assert!(world.nodes[&4].is_stopped(id(2)), "however long it says nothing else");
    world.start(5, 5, 1);
    (1..=4).for_each(|node| world.input(node, Input::Members(members(1..=5))));
    world.connect(5, 4, 10);
    world.run(Span::secs(2));
    assert!(world.nodes[&5].is_stopped(id(2)), "who comes later has it from the others");

    world.input(2, Input::Stopped(false));
    world.connect(1, 2, 10);
    world.run(Span::secs(5));
    assert!((3..=5).all(|from| !node(&mut world, from).is_stopped(id(2)) && node(&mut world, from).is_reached(id(2))));
}

#[test]
fn what_a_stopped_node_said_is_replaced_by_its_next_start() {
    let mut world = World::new(2, 6);
    world.connect(1, 2, 10);
    world.run(Span::secs(2));
    world.input(2, Input::Stopped(true));
    world.run(Span::secs(1));
    world.disconnect(1, 2);
    world.run(Span::secs(1));
    assert!(world.nodes[&1].is_stopped(id(2)));
    world.start(2, 2, 2);
    world.connect(1, 2, 10);
    world.run(Span::secs(2));
    assert!(!world.nodes[&1].is_stopped(id(2)));
}

#[test]
fn a_table_that_differs_only_in_who_is_stopped_is_another_and_is_repaired() {
    // Of a node that exists twice, one says under the same version that it stops.
    let mut world = World::new(3, 7);
    world.connect(1, 3, 10);
    world.run(Span::secs(5));
    let version = node(&mut world, 1).table.get(id(3)).expect("it is known").version();
    let digest = node(&mut world, 1).table.digest();
    let links = node(&mut world, 1).table.get(id(3)).expect("it is known").adjacencies().into();
    let stopped = LinkState::new(version, id(3), links).with_stopped(true);
    let now = world.now;
    let routes = node(&mut world, 1);
    assert!(matches!(routes.table.offer(now, stopped, Span::ZERO), Offered::Taken { links: true }));
    assert_ne!(routes.table.digest(), digest);
    assert!(routes.is_stopped(id(3)));
}
