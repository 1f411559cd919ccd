//! A stream that stops at one of several members goes on at the others (S17).

use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, node};
use crate::ends::Policy;
use crate::id::{LogIndex, Sequence};
use crate::node::command::Waited;
use crate::planted::Planted;
use crate::stream::Input;
use crate::time::Span;

fn stop(world: &mut World, which: usize) {
    world.give(which, Input::Stopped { instance: INSTANCE, reason: "it cannot go on".into() });
}

/// The first target leads, and stops; if it leaves the group to others, the second one leads it.
fn leader_stops(planted: Planted) -> World {
    let mut world = World::with_bug(3, Policy::Count(2), planted);
    world.lead(1);
    world.run(SECOND);
    stop(&mut world, 1);
    if world.resigned.contains(&1) {
        world.lead(2);
    }
    world.publish(1, 5, Waited::Completed);
    world.run(Span::secs(30));
    world
}

#[test]
fn a_stream_that_stops_where_its_group_is_led_goes_on_at_the_others() {
    let world = leader_stops(Planted::none());
    for which in [SOURCE, 2, 3] {
        assert_eq!(world.status(which).completed, Sequence(5), "at {which}");
    }
    let waits = world.status(SOURCE).waiting_for;
    assert!(
        waits.iter().any(|what| what.contains("stopped") && what.contains(&alloc::format!("{}", node(1))))
    );
}

/// The source stops and another leads. Nobody hears it say so; whoever leads hears that it is there, and that it holds the log.
fn source_stops(planted: Planted) -> World {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world.silence(SOURCE);
    stop(&mut world, SOURCE);
    world.lead(1);
    world.run(SECOND);
    world.give(1, Input::PairAlive { node: node(SOURCE) });
    let index = LogIndex(world.log.len() as u64);
    world.give(1, Input::Match { instance: INSTANCE, node: node(SOURCE), index });
    world.run(Span::secs(30));
    world
}

#[test]
fn a_source_that_stopped_is_not_asked_to_lead() {
    let mut world = source_stops(Planted::none());
    assert!(world.steered.is_empty(), "it has not said since that it serves");
    world.back(SOURCE);
    world.run(Span::secs(30));
    assert!(world.steered.is_empty(), "it says that it does not");
}

#[test]
fn a_source_that_serves_is_asked_to_lead_once_it_said_so() {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    world.silence(SOURCE);
    world.lead(1);
    world.run(SECOND);
    world.back(SOURCE);
    world.run(Span::secs(10));
    assert!(world.steered.contains(&node(SOURCE)));
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_members_that_stop_show() {
    use crate::planted::Bug;
    let world = leader_stops(Planted::only(Bug::StoppedStillLeads));
    assert_eq!(world.status(SOURCE).completed, Sequence(0));
    let world = source_stops(Planted::only(Bug::StoppedAskedToLead));
    assert!(world.steered.len() > 1);
}
