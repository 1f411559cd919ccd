//! A target that goes on without its source, and a source that comes back.

use alloc::string::ToString as _;

use super::promises::{attached_at, receipts, refusal, world};
use super::world::{INSTANCE, NAME, SOURCE, TARGET, World, node};
use crate::digest::Chain;
use crate::id::{AuthorityEpoch, LogIndex, RequestId, Sequence, Term, WriterId};
use crate::node::command::{Position, Refusal, Reply, Waited};
use crate::recovery::LogPlace;
use crate::sealing::Sealed;
use crate::stream::Input;
use crate::time::Span;

/// The seal, at that entry and, if that is known yet, that message.
fn sealed(end: Option<u64>, sequence: Option<u64>) -> Sealed {
    let place = |index| LogPlace { index: LogIndex(index), term: Term(1), chain: Chain::default() };
    Sealed {
        authority: AuthorityEpoch(1),
        lost: [node(SOURCE)].into(),
        waits_for: [].into(),
        end: end.map(|index| (node(TARGET), place(index))),
        sequence: sequence.map(Sequence),
        heard: Sequence(0),
        former: [].into(),
    }
}

fn tell(world: &mut World, which: usize, sealed: Sealed) {
    world.give(which, Input::Sealed { instance: INSTANCE, sealed });
}

/// Eight messages are replicated and four handled; the source accepts three more that nobody hears of, and is gone. The target goes on.
fn bereaved() -> World {
    let mut world = world();
    world.attach(None, 8);
    world.publish(1, 1, 4, Waited::Accepted);
    world.run(Span::secs(1));
    world.verdicts = false;
    world.publish(1, 5, 4, Waited::Accepted);
    world.run(Span::secs(1));
    world.cut = true;
    let lost = world.publish(1, 9, 3, Waited::Replicated);
    world.run(Span::secs(1));
    assert_eq!(receipts(&world, lost).len(), 1, "accepted, and no more");
    tell(&mut world, TARGET, sealed(None, None));
    let end = world.machines[TARGET].log.last();
    tell(&mut world, TARGET, sealed(Some(end), None));
    world.go_on_alone();
    world.run(Span::secs(1));
    world
}

fn present(world: &mut World, authority: u64, sequence: u64) -> RequestId {
    let request = world.request();
    let authority = AuthorityEpoch(authority);
    let presented = Some(Position { instance: INSTANCE, authority, sequence: Sequence(sequence) });
    let stream = NAME.to_string();
    world.give(TARGET, Input::Attach { request, stream, presented, window: 8 });
    request
}

#[test]
fn a_target_processes_everything_up_to_the_end_and_completes_it_by_itself() {
    let mut world = bereaved();
    assert_eq!(world.settled.last(), Some(&8));
    tell(&mut world, TARGET, sealed(Some(1), Some(8)));
    world.verdicts = true;
    world.position = 4;
    world.effects.truncate(4);
    let again = present(&mut world, 0, 4);
    world.run(Span::secs(2));
    let Some(Ok(Reply::Attached { position, .. })) = world.answers(again).first() else { panic!("attached") };
    assert_eq!((position.authority, position.sequence), (AuthorityEpoch(1), Sequence(4)));
    assert_eq!((world.position, world.effects.len()), (8, 8));
    assert_eq!(world.status(TARGET).completed, Sequence(8));
    assert_eq!(world.status(TARGET).holders, [node(TARGET)]);
    world.crash(SOURCE, 0);
    let said = world.said;
    world.run(Span::secs(20));
    assert_eq!(world.said, said, "there is nobody to talk to");
}

#[test]
fn a_position_above_the_sealed_end_is_refused_once_that_is_known() {
    let mut world = bereaved();
    let waits = present(&mut world, 0, 10);
    world.run(Span::secs(1));
    assert!(world.answers(waits).is_empty(), "nobody knows yet");
    tell(&mut world, TARGET, sealed(Some(1), Some(8)));
    let (position, end) = (Sequence(10), Sequence(8));
    assert_eq!(refusal(&world, waits), Refusal::AboveSeal { position, end });
    let again = present(&mut world, 0, 9);
    assert_eq!(refusal(&world, again), Refusal::AboveSeal { position: Sequence(9), end });
    let later = present(&mut world, 1, 9);
    assert!(matches!(refusal(&world, later), Refusal::ForeignPosition(_)));
    let unknown = present(&mut world, 2, 3);
    assert!(matches!(refusal(&world, unknown), Refusal::ForeignPosition(_)));
    world.position = 8;
    let good = present(&mut world, 0, 8);
    assert_eq!(attached_at(&world, good), Some(Sequence(8)));
}

#[test]
fn a_position_is_held_against_the_end_of_its_own_authority_after_a_second_seal() {
    let mut world = bereaved();
    let second = |sequence: Option<u64>| Sealed {
        authority: AuthorityEpoch(2),
        former: [(AuthorityEpoch(1), Sequence(6))].into(),
        ..sealed(Some(1), sequence)
    };
    tell(&mut world, TARGET, second(None));
    let end = Sequence(6);
    let above = present(&mut world, 0, 7);
    let position = Sequence(7);
    assert_eq!(refusal(&world, above), Refusal::AboveSeal { position, end }, "of another life of the stream");
    let waits = present(&mut world, 1, 7);
    assert!(world.answers(waits).is_empty(), "where that authority ended is not known");
    world.position = 7;
    tell(&mut world, TARGET, second(Some(8)));
    assert_eq!(attached_at(&world, waits), Some(Sequence(7)));
    let above = present(&mut world, 0, 7);
    assert_eq!(refusal(&world, above), Refusal::AboveSeal { position, end });
}

#[test]
fn a_position_of_an_authority_that_is_not_known_yet_waits_for_the_word_of_the_source() {
    let mut world = world();
    world.publish(1, 1, 4, Waited::Accepted);
    world.run(Span::secs(1));
    world.cut = true;
    let early = present(&mut world, 1, 3);
    world.run(Span::secs(2));
    assert!(world.answers(early).is_empty(), "of the seal it may be yet to hear");
    world.cut = false;
    world.run(Span::secs(4));
    assert!(matches!(refusal(&world, early), Refusal::ForeignPosition(_)), "there was none");
}

#[test]
fn a_source_that_comes_back_is_told_and_keeps_what_it_accepted() {
    let mut world = bereaved();
    tell(&mut world, TARGET, sealed(Some(1), Some(8)));
    let waits = world.publish(1, 12, 1, Waited::Replicated);
    world.cut = false;
    world.run(Span::secs(4));
    assert!(matches!(refusal(&world, waits), Refusal::SealedOut(_)), "told by the target");
    let refused = world.publish(1, 13, 1, Waited::Accepted);
    assert!(matches!(refusal(&world, refused), Refusal::SealedOut(_)));
    let (stream, writer, request) = (NAME.to_string(), WriterId(1), world.request());
    world.give(SOURCE, Input::FindWriter { request, stream: stream.clone(), writer });
    assert!(matches!(refusal(&world, request), Refusal::SealedOut(_)), "what it has may be void");
    let request = world.request();
    world.give(SOURCE, Input::CloseWriter { request, stream, writer });
    assert!(matches!(refusal(&world, request), Refusal::SealedOut(_)));
    assert_eq!(world.status(SOURCE).orphaned, None, "where it was sealed is for the control group to say");
    assert_eq!(world.status(TARGET).accepted, Sequence(8), "nothing of it was taken");
    tell(&mut world, SOURCE, sealed(Some(1), Some(8)));
    assert_eq!(world.status(SOURCE).orphaned, Some(4));
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    tell(&mut world, SOURCE, sealed(Some(1), Some(8)));
    assert_eq!(world.status(SOURCE).orphaned, Some(4), "it is on its disk");
    let refused = world.publish(1, 13, 1, Waited::Accepted);
    assert!(matches!(refusal(&world, refused), Refusal::SealedOut(_)));
}

#[cfg(feature = "planted")]
mod planted {
    extern crate std;

    use super::*;
    use crate::planted::{Bug, Planted};

    /// Everything a source does that comes back, and a handler that stands too high.
    fn history(bug: Option<Bug>) -> (Option<u64>, bool, bool) {
        let mut world = bereaved();
        tell(&mut world, TARGET, sealed(Some(1), Some(8)));
        for which in [SOURCE, TARGET] {
            world.machines[which].streams.as_mut().expect("it runs").common.planted =
                bug.map_or(Planted::none(), Planted::only);
        }
        tell(&mut world, SOURCE, sealed(Some(1), Some(8)));
        let orphaned = world.status(SOURCE).orphaned;
        let goes_on = world.publish(1, 12, 1, Waited::Accepted);
        let above = present(&mut world, 0, 9);
        let attached = attached_at(&world, above).is_some();
        world.run(Span::secs(1));
        (orphaned, receipts(&world, goes_on).is_empty(), attached)
    }

    #[test]
    fn bugs_of_who_is_shut_out_make_a_difference() {
        let sound = (Some(3), true, false);
        assert_eq!(history(None), sound);
        for bug in [Bug::SealedOutGoesOn, Bug::OrphansDropped, Bug::PositionAboveSeal] {
            let found = std::panic::catch_unwind(|| history(Some(bug)));
            assert_ne!(found.ok(), Some(sound), "{bug:?}");
        }
    }
}
