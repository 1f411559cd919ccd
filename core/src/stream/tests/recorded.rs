//! A seal goes on from a log that lacks what was recorded of the members.

use alloc::vec::Vec;

use super::changing::{intended, outcome, seal_without_source};
use super::joining::added;
use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, NAME, node};
use crate::digest::Chain;
use crate::ends::Policy;
use crate::id::{AuthorityEpoch, LogIndex, RequestId, Sequence, Term};
use crate::members::{Added, Start, StreamMembers};
use crate::node::command::{Range, Waited};
use crate::planted::Planted;
use crate::recovery::LogPlace;
use crate::sealing::Sealed;
use crate::stream::Input;
use crate::time::Span;

/// The source and the second of two targets take the second out, which has processed nothing; that is recorded, and the source is lost. The first target never held the entry.
fn taken_out_by_the_lost(planted: Planted) -> World {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world.deaf.insert(1);
    world.tell_members(0..3, &intended(2));
    world.settle();
    assert!(world.conformed.take().is_some() && !world.changed.is_empty());
    world.tell_members(0..3, &outcome(2));
    assert!(world.members[2].streams.is_out(INSTANCE));
    assert_eq!(world.status(1).completed, Sequence(0), "all were two");
    seal_without_source(&mut world, 1, None);
    world.deaf.clear();
    world.deaf.insert(2);
    world.found(1);
    world.run(SECOND);
    assert_eq!(world.settled.last(), Some(&Sequence(5)));
    assert_eq!(world.status(1).completed, Sequence(0), "nothing before it is settled");
    seal_without_source(&mut world, 1, Some(5));
    world.run(Span::secs(5));
    world
}

#[test]
fn who_was_taken_out_is_out_though_the_log_that_a_seal_goes_on_from_does_not_say_so() {
    let mut world = taken_out_by_the_lost(Planted::none());
    let status = world.status(1);
    assert_eq!((status.completed, status.released), (Sequence(5), Sequence(5)));
    let length = world.log.len();
    world.run(Span::secs(5));
    assert_eq!(world.log.len(), length, "it is said once");
    // A start reads it in the log.
    world.start_again(1);
    world.tell_members([1], &outcome(2));
    seal_without_source(&mut world, 1, Some(5));
    world.found(1);
    world.run(Span::secs(5));
    assert_eq!(world.log.len(), length + 1, "nothing but the new leader's own entry");
}

#[cfg(feature = "planted")]
#[test]
fn a_log_that_does_not_say_who_is_out_is_seen() {
    let world = taken_out_by_the_lost(Planted::only(crate::planted::Bug::RecordedNotSaid));
    assert_eq!(world.status(1).completed, Sequence(0));
}

/// A node joins a stream of twelve messages, from the eighth on, and nobody has processed any; the log comes to it as far as the entry by which it does. The request is
/// one to read all of it again, from before.
pub(super) fn joins_unheard(planted: Planted) -> (World, usize, RequestId) {
    let mut world = World::with_bug(1, Policy::All, planted);
    world.members[1].stuck = true;
    world.lead(SOURCE);
    world.publish(1, 12, Waited::Accepted);
    world.run(SECOND);
    let which = world.comes();
    world.members[which].begins = 8;
    world.deaf.insert(which);
    world.tell_members(0..=which, &added(which, Start::At(Sequence(8))));
    world.meets(which);
    world.run(SECOND);
    let held = world.log.len();
    // As if it held the log, so that it joins.
    let index = LogIndex(held as u64);
    world.give(SOURCE, Input::Match { instance: INSTANCE, node: node(which), index });
    let (request, stream) = (world.request(), NAME.into());
    world.replays.insert(request);
    world.give(which, Input::Replay { request, stream, range: Range::default(), window: 100 });
    world.run(SECOND);
    assert_eq!((world.changed.first(), world.first), (Some(&LogIndex(80)), Some(Sequence(8))));
    // And then it does.
    let behind = world.log.split_off(held);
    world.deaf.clear();
    world.settle();
    world.log.extend(behind);
    world.deaf.insert(which);
    assert_eq!(world.members[which].held, held);
    world.run(Span::secs(5));
    assert_eq!(world.members[which].seen, []);
    (world, which, request)
}

#[test]
fn who_was_added_owes_what_was_recorded_though_only_the_lost_held_the_entry() {
    let (mut world, which, _) = joins_unheard(Planted::none());
    world.handler_at(which);
    let index = LogIndex(world.members[which].held as u64);
    let joined = Added { node: node(which), first: world.first };
    let recorded = StreamMembers { added: [joined].into(), ..StreamMembers::default() };
    world.tell_members(0..3, &recorded);
    assert_eq!(world.members[which].seen, []);
    // The source and the first target are lost, and all that it has is a log in which it is nobody.
    world.silence(SOURCE);
    world.silence(1);
    let place = LogPlace { index, term: Term(1), chain: Chain::default() };
    let sealed = |sequence| Sealed {
        authority: AuthorityEpoch(1),
        lost: [node(SOURCE), node(1)].into(),
        waits_for: [].into(),
        end: Some((node(which), place)),
        sequence,
        heard: Sequence(12),
        former: [].into(),
    };
    world.give(which, Input::Sealed { instance: INSTANCE, sealed: sealed(None) });
    world.deaf.clear();
    world.found(which);
    world.run(SECOND);
    assert_eq!(world.members[which].seen, []);
    world.give(which, Input::Sealed { instance: INSTANCE, sealed: sealed(Some(Sequence(12))) });
    world.run(Span::secs(5));
    assert_eq!(world.members[which].seen, (8..=12).collect::<Vec<_>>());
    let status = world.status(which);
    assert_eq!((status.completed, status.released), (Sequence(12), Sequence(12)));
}
