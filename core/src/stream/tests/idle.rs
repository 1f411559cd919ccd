//! Targets that stand still.

use alloc::vec;
use alloc::vec::Vec;

use super::changing::{intended, outcome};
use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, node};
use crate::ends::{Ends, Poison, Policy};
use crate::flow::{Failed, FailedAt, Rule, Rules, Scope};
use crate::id::Sequence;
use crate::node::command::Waited;
use crate::planted::Planted;
use crate::stream::Input;
use crate::time::{Span, Wall};

const BEARS: Span = Span::secs(10);

fn world(policy: Policy, planted: Planted) -> World {
    world_of(policy, BEARS, planted)
}

/// The same, and that is what it bears.
fn world_of(policy: Policy, bears: Span, planted: Planted) -> World {
    let ends = Ends::new(node(SOURCE), (1..=3).map(node).collect(), policy);
    let mut world = World::of(ends.and_then(|ends| ends.detaching(bears)).expect("fits"), planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world
}

impl World {
    /// Who was said to stand still, each once.
    fn said_idle(&self) -> Vec<usize> {
        let mut said: Vec<usize> = self.idle.iter().map(|(_, target, _)| (target.0 - 1) as usize).collect();
        said.dedup();
        said
    }

    /// Its handler is done with everything up to `upto`.
    fn done(&mut self, which: usize, upto: u64) {
        let token = self.members[which].token.expect("attached");
        self.give(which, Input::Verdict { token, upto: Sequence(upto) });
    }
}

#[test]
fn who_stands_still_for_long_enough_is_said_so_until_it_is_on_its_way_out() {
    let mut world = world(Policy::All, Planted::none());
    world.run(Span::secs(60));
    assert_eq!(world.idle, [], "nobody owes anything");
    world.members[3].stuck = true;
    let request = world.publish(1, 4, Waited::Completed);
    world.run(Span::secs(9));
    assert_eq!((world.idle.len(), world.told(request)), (0, Some(Waited::Replicated)));
    let idle: Vec<Option<Span>> = world.status(SOURCE).targets.iter().map(|target| target.idle).collect();
    assert!(idle[..2] == [None, None] && idle[2].is_some_and(|idle| idle > Span::secs(8)), "{idle:?}");
    world.run(Span::secs(2));
    assert_eq!(world.said_idle(), [3]);
    assert!(world.idle.iter().all(|(who, _, idle)| *who == SOURCE && *idle >= BEARS));
    world.run(Span::secs(20));
    assert!(world.idle.len() > 3, "nobody did anything about it: {:?}", world.idle);
    world.tell_members(0..4, &intended(3));
    world.run(SECOND);
    world.tell_members(0..4, &outcome(3));
    assert_eq!(world.told(request), Some(Waited::Completed), "of those who are left all did");
    let said = world.idle.len();
    world.run(Span::secs(60));
    assert_eq!(world.idle.len(), said);
}

/// Who was said to stand still where a target takes its time.
fn said_of_slow(planted: Planted) -> Vec<usize> {
    let mut world = world(Policy::All, planted);
    world.members[2].stuck = true;
    world.publish(1, 9, Waited::Completed);
    for upto in 1..9 {
        world.run(Span::secs(8));
        world.done(2, upto);
    }
    world.said_idle()
}

#[test]
fn who_goes_on_does_not_stand_still_however_far_behind_it_is() {
    assert_eq!(said_of_slow(Planted::none()), []);
}

#[cfg(feature = "planted")]
#[test]
fn a_clock_that_runs_on_is_seen() {
    assert_eq!(said_of_slow(Planted::only(crate::planted::Bug::IdleClockRunsOn)), [2]);
}

#[test]
fn a_leader_counts_from_when_it_began_to_lead() {
    let mut world = world(Policy::All, Planted::none());
    world.members[3].stuck = true;
    world.publish(1, 4, Waited::Completed);
    for leader in [1, 2, SOURCE, 1] {
        world.run(Span::secs(8));
        world.lead(leader);
    }
    assert_eq!(world.idle, []);
    world.run(Span::secs(11));
    assert!(world.idle.iter().all(|(who, ..)| *who == 1) && world.said_idle() == [3], "{:?}", world.idle);
}

#[test]
fn who_was_up_to_date_has_all_of_the_time_when_something_comes() {
    // The only one that is named stands still and stays, and the others are looked at all the while.
    let mut world = world_of(Policy::Named([node(1)].into()), Span::secs(1), Planted::none());
    world.members[1].stuck = true;
    world.members[2].stuck = true;
    for sequence in 1..12 {
        world.publish(sequence, 1, Waited::Accepted);
        world.run(Span::millis(800));
        assert_eq!(world.idle, [], "message {sequence}");
        world.done(2, sequence);
        world.run(Span::millis(2_900));
    }
    world.publish(12, 1, Waited::Accepted);
    world.run(Span::secs(3));
    assert_eq!(world.said_idle(), [2]);
}

#[test]
fn a_leader_that_was_held_up_itself_gives_everybody_all_of_the_time_again() {
    let mut world = world(Policy::All, Planted::none());
    world.members[3].stuck = true;
    world.publish(1, 4, Waited::Completed);
    world.run(SECOND);
    world.now += Span::secs(90).as_nanos();
    world.run(Span::secs(9));
    assert_eq!(world.idle, []);
    world.run(Span::secs(2));
    assert_eq!(world.said_idle(), [3]);
}

#[test]
fn without_whom_the_policy_cannot_be_met_nobody_says_so() {
    for (policy, stuck, said) in [
        (Policy::Count(2), vec![1, 2], vec![]),
        (Policy::Count(2), vec![3], vec![3]),
        (Policy::Named([node(1)].into()), vec![1], vec![]),
        (Policy::Named([node(1)].into()), vec![2], vec![2]),
    ] {
        let mut world = world(policy.clone(), Planted::none());
        stuck.iter().for_each(|&which| world.members[which].stuck = true);
        if stuck.len() == 2 {
            // Two of three are to be left, and one is on its way out.
            world.tell_members(0..4, &intended(3));
            world.run(SECOND);
            world.tell_members(0..4, &outcome(3));
        }
        world.publish(1, 4, Waited::Accepted);
        world.run(Span::secs(40));
        assert_eq!(world.said_idle(), said, "{policy:?} without {stuck:?}");
    }
}

#[test]
fn nobody_is_said_to_stand_still_while_another_goes_or_the_stream_fails() {
    let ends = Ends::new(node(SOURCE), (1..=3).map(node).collect(), Policy::All);
    let ends = ends.and_then(|ends| ends.with_poison(Poison::Fail { attempts: 2 }));
    let mut world = World::of(ends.and_then(|ends| ends.detaching(BEARS)).expect("fits"), Planted::none());
    world.lead(SOURCE);
    world.run(SECOND);
    world.members[2].stuck = true;
    world.publish(1, 4, Waited::Accepted);
    world.run(Span::secs(8));
    let at = FailedAt { sequence: Sequence(1), attempts: 2, reason: "no".into(), resumed: 0 };
    let failed = Failed { target: node(2), at, time: Wall(1) };
    let rule = Rule { failed: Some(failed.into()), ..Rule::default() };
    let mut rules = Rules::default();
    rules.put(Scope::Stream(INSTANCE), rule);
    world.give(SOURCE, Input::Rules(rules));
    world.run(Span::secs(30));
    assert_eq!(world.idle, [], "it waits for an operator");
    world.give(SOURCE, Input::Rules(Rules::default()));
    world.run(Span::secs(9));
    assert_eq!(world.idle, [], "its time begins anew");
    world.conforms = false;
    world.tell_members(0..4, &intended(3));
    world.run(Span::secs(30));
    assert_eq!(world.idle, [], "another one is on its way out");
}
