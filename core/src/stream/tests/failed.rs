//! Streams that fail by what their handlers fail at (S41).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::world::{INSTANCE, SOURCE, TARGET, World, node};
use crate::ends::Poison;
use crate::flow::{Failed, FailedAt, FlowRefusal, Rule, Rules, Scope};
use crate::id::{RequestId, Sequence};
use crate::node::command::{Refusal, Waited};
use crate::planted::Planted;
use crate::stream::Input;
use crate::time::{Span, Wall};

/// A handler that fails at message 3, where a stream fails after two attempts.
fn failing(seed: u64, planted: Planted) -> World {
    let mut world = World::new(seed);
    (world.poison, world.planted) = (Poison::Fail { attempts: 2 }, planted);
    world.bad = [3].into_iter().collect();
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
    world.attach(None, 4);
    world.publish(1, 1, 6, Waited::Accepted);
    world.run(Span::secs(2));
    world
}

fn rules(failed: &FailedAt) -> Rules {
    let failed = Failed { target: node(TARGET), at: failed.clone(), time: Wall(9) };
    let mut rules = Rules::default();
    rules.put(Scope::Stream(INSTANCE), Rule { failed: Some(Box::new(failed)), ..Rule::default() });
    rules
}

impl World {
    fn agree(&mut self, rules: &Rules) {
        for which in [SOURCE, TARGET] {
            self.give(which, Input::Rules(rules.clone()));
        }
    }

    fn resume(&mut self, resumed: u64) {
        for which in [SOURCE, TARGET] {
            self.give(which, Input::Resumed { instance: INSTANCE, resumed });
        }
        self.agree(&Rules::default());
    }

    fn refused(&self, request: RequestId) -> bool {
        matches!(self.answers(request).last(), Some(Err(Refusal::Flow(FlowRefusal::Failed { .. }))))
    }

    fn done(&self) -> Vec<u64> {
        self.effects.iter().map(|(_, number, _)| *number).collect()
    }
}

#[test]
fn what_fails_as_often_as_the_stream_bears_is_told_until_that_is_agreed_and_tried_no_more() {
    let mut world = failing(3, Planted::none());
    assert_eq!((world.done(), world.failures[&3]), (Vec::from([1, 2]), 2));
    let told = world.failed.last().cloned().expect("it is told");
    let at = FailedAt { sequence: Sequence(3), attempts: 2, reason: "message 3 is bad".into(), resumed: 0 };
    assert_eq!(told, at);
    let before = world.failed.len();
    world.run(Span::secs(8));
    assert!(world.failed.len() > before, "and again");
    // Another handler, and a start, change nothing of that.
    world.attach(None, 4);
    world.run(Span::secs(1));
    world.crash(TARGET, 0);
    world.start(TARGET);
    world.run(Span::millis(300));
    let before = world.failed.len();
    world.attach(None, 4);
    world.run(Span::secs(8));
    assert_eq!((world.failures[&3], world.failed.last()), (2, Some(&at)));
    assert!(world.failed.len() > before, "a start says it, too");
    // Nor does one that comes with a position in front of it: it is handed nothing, and fails at nothing else.
    world.attach(Some(1), 4);
    world.run(Span::secs(4));
    assert_eq!((world.done(), world.failures[&3]), (Vec::from([1, 2]), 2));
    world.agree(&rules(&at));
    let before = world.failed.len();
    world.run(Span::secs(8));
    assert_eq!(world.failed.len(), before, "it is known");
    let refused = world.publish(1, 7, 1, Waited::Accepted);
    world.run(Span::millis(100));
    assert!(world.refused(refused));
}

#[test]
fn a_resume_is_worth_as_many_attempts_and_what_was_said_before_it_counts_no_more() {
    let mut world = failing(5, Planted::none());
    let first = world.failed.last().cloned().expect("it is told");
    world.agree(&rules(&first));
    world.resume(1);
    world.run(Span::secs(2));
    assert_eq!(world.failures[&3], 4, "whoever waited is told to try again");
    let second = world.failed.last().cloned().expect("it is told");
    assert_eq!((second.attempts, second.resumed), (2, 1));
    world.agree(&rules(&second));
    world.bad.clear();
    world.resume(2);
    world.run(Span::secs(2));
    assert_eq!(world.done(), [1, 2, 3, 4, 5, 6]);
    let taken = world.publish(1, 7, 1, Waited::Completed);
    world.run(Span::secs(1));
    assert!(!world.refused(taken));
    assert_eq!(world.done().last(), Some(&7));
    assert_eq!(world.status(TARGET).failing, None);
}

#[test]
fn a_target_without_its_records_holds_still_by_the_rule_alone() {
    let mut world = World::new(9);
    world.poison = Poison::Fail { attempts: 2 };
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
    world.publish(1, 1, 6, Waited::Accepted);
    world.agree(&rules(&FailedAt { sequence: Sequence(4), attempts: 2, reason: "no".into(), resumed: 0 }));
    world.attach(None, 4);
    world.run(Span::secs(2));
    assert_eq!(world.done(), [0; 0], "the rule names a message that is not processed");
    assert!(world.failed.is_empty(), "it knows nothing to say of it");
    world.resume(1);
    world.run(Span::secs(2));
    assert_eq!(world.done(), [1, 2, 3, 4, 5, 6]);
}

#[cfg(feature = "planted")]
#[test]
fn a_target_that_tries_on_is_seen() {
    let mut world = failing(4, Planted::only(crate::planted::Bug::FailedTriesOn));
    let before = world.deliveries.len();
    world.attach(None, 4);
    world.run(Span::secs(1));
    assert!(world.deliveries.len() > before, "a handler that comes anew is handed it");
}
