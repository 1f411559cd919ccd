//! What a member takes, holds and hands over is bounded, and what is refused for want of room comes when there is room.

use alloc::vec::Vec;

use bytes::Bytes;

use super::promises::world;
use super::world::{INSTANCE, NAME, SOURCE, TARGET, World, node};
use crate::id::{
    AttachToken, BootId, MessageId, RequestId, Sequence, SessionEpoch, WriterId, WriterSequence,
};
use crate::node::command::{Refusal, Waited};
use crate::stream::wire::encode_entry;
use crate::stream::{Batch, Body, Data, Entry, Identity, Input, Message, Span, Standing};
use crate::time::{self, Wall};
use crate::work::{Done, Job, perform};

#[test]
fn a_target_without_space_takes_nothing_more_and_takes_it_when_space_returns() {
    let mut world = world();
    world.attach(None, 100);
    world.publish(1, 1, 5, Waited::Accepted);
    world.run(time::Span::millis(500));
    assert_eq!(world.position, 5);
    let before = world.written(TARGET);
    world.give(TARGET, Input::Space { free: 10 });
    for first in (6..106).step_by(10) {
        world.publish(1, first, 10, Waited::Accepted);
        world.run(time::Span::millis(500));
    }
    assert_eq!(world.status(SOURCE).accepted, Sequence(105), "the source has room and accepts");
    assert_eq!(world.written(TARGET), before, "a full disk is written to no more");
    let waits = world.status(TARGET).waiting_for;
    assert!(waits.iter().any(|what| what.contains("space")), "{waits:?}");
    let little = world.config.space_floor + 3_000;
    world.give(TARGET, Input::Space { free: little });
    world.run(time::Span::secs(2));
    world.give(TARGET, Input::Space { free: 1 << 40 });
    world.run(time::Span::secs(3));
    assert_eq!(world.position, 105);
}

#[test]
fn a_node_too_full_to_accept_still_takes_in_what_sources_send() {
    let mut world = world();
    world.attach(None, 100);
    let (floor, room) = (world.config.space_floor, world.config.intake_room);
    assert!(room >= world.config.message_bytes as u64, "the largest batch fits");
    for which in [SOURCE, TARGET] {
        world.give(which, Input::Space { free: floor + room - 1 });
    }
    let refused = world.publish(1, 1, 1, Waited::Accepted);
    assert!(matches!(world.answers(refused).last(), Some(Err(Refusal::NoSpace { .. }))));
    world.give(SOURCE, Input::Space { free: 1 << 40 });
    world.publish(1, 1, 20, Waited::Accepted);
    world.run(time::Span::secs(1));
    assert_eq!(world.position, 20, "the target has as little room as the source that refused");
}

#[test]
fn what_is_queued_and_not_written_yet_counts_when_room_is_looked_for() {
    let mut world = world();
    let kept = world.config.space_floor + world.config.intake_room;
    world.give(SOURCE, Input::Space { free: kept + 20_000 });
    // None of it is written before the others come.
    let requests: Vec<_> = (1..=100).map(|writer| world.publish(writer, 1, 10, Waited::Accepted)).collect();
    let full =
        |request: &&RequestId| matches!(world.answers(**request).last(), Some(Err(Refusal::NoSpace { .. })));
    let refused = requests.iter().filter(full).count();
    assert!((1..100).contains(&refused), "{refused} of 100 are refused");
    world.run(time::Span::secs(1));
    let written = world.written(SOURCE);
    assert!(written <= 20_000, "{written} bytes were accepted where 20,000 were free");
}

#[test]
fn a_completion_that_stands_behind_bytes_without_room_still_frees_the_room_it_owes() {
    let mut world = world();
    world.verdicts = false;
    world.attach(None, 100);
    world.publish(1, 1, 20, Waited::Accepted);
    world.run(time::Span::millis(500));
    world.give(TARGET, Input::Space { free: 10 });
    world.publish(1, 21, 20, Waited::Accepted);
    world.run(time::Span::millis(500));
    let token = world.token.unwrap_or(AttachToken(0));
    world.give(TARGET, Input::Verdict { token, upto: Sequence(20) });
    world.run(time::Span::secs(2));
    let status = world.status(TARGET);
    assert_eq!(status.accepted, Sequence(20), "the entries behind are not in its log");
    assert_eq!(status.released, Sequence(20), "what both have processed makes room");
    let floor = world.machines[TARGET].log.base;
    assert!(floor > 1, "its log is cut behind the bytes that went, at {floor}");
}

#[test]
fn bytes_held_without_room_to_write_them_do_not_keep_back_the_room_that_is_owed() {
    let mut world = world();
    world.verdicts = false;
    world.attach(None, 100);
    world.publish(1, 1, 20, Waited::Accepted);
    world.run(time::Span::millis(500));
    world.publish(1, 21, 20, Waited::Accepted);
    let at_target = |world: &World| {
        let streams = world.machines[TARGET].streams.as_ref().expect("it runs");
        let stream = &streams.streams[&INSTANCE];
        (stream.have(), !stream.wanted.is_empty())
    };
    while at_target(&world) == (Sequence(20), false) {
        assert!(world.next(u64::MAX));
    }
    world.give(TARGET, Input::Space { free: 10 });
    world.run(time::Span::secs(2));
    assert_eq!(at_target(&world).0, Sequence(40), "it has the bytes, so the source has nothing to ask about");
    assert_eq!(world.status(TARGET).accepted, Sequence(20), "and no room for them in its log");
    let token = world.token.unwrap_or(AttachToken(0));
    world.give(TARGET, Input::Verdict { token, upto: Sequence(20) });
    world.run(time::Span::secs(2));
    assert_eq!(world.status(TARGET).released, Sequence(20), "what both have processed makes room");
    world.verdicts = true;
    world.give(TARGET, Input::Space { free: 1 << 40 });
    world.run(time::Span::secs(1));
    assert_eq!(world.position, 40);
}

/// Forty messages are on their way when `stall` begins. Returns how often they were sent, and how many messages that took, in twenty
/// seconds.
fn stalled(stall: impl Fn(&mut World, bool)) -> (usize, usize) {
    let mut world = world();
    world.attach(None, 100);
    world.run(time::Span::millis(300));
    stall(&mut world, true);
    let (payload, said) = (world.payload_sent, world.said);
    world.publish(1, 1, 40, Waited::Accepted);
    world.run(time::Span::millis(50));
    let once = world.payload_sent - payload;
    assert!(once > 0 && world.position == 0);
    world.run(time::Span::secs(20));
    let (payload, said) = (world.payload_sent - payload, world.said - said);
    stall(&mut world, false);
    world.run(time::Span::secs(4));
    assert_eq!(world.position, 40, "what is said seldom is said again when it gets through");
    world.publish(1, 41, 1, Waited::Accepted);
    world.run(time::Span::millis(300));
    assert_eq!(world.position, 41);
    (payload / once, said)
}

#[test]
fn while_nothing_is_heard_the_same_is_said_less_and_less() {
    let (copies, said) = stalled(|world, cut| world.cut = cut);
    assert!((5..=12).contains(&copies), "sent {copies} times");
    assert!(said <= 60, "said {said} messages");
}

#[test]
fn bytes_that_do_not_get_through_are_sent_less_and_less_though_all_else_does() {
    let (copies, _) = stalled(|world, clogged| world.clogged = clogged);
    assert!((5..=25).contains(&copies), "sent {copies} times");
}

/// How many messages of so many bytes, written one at a time, an outbox takes without its target.
fn fill(world: &mut World, bytes: usize) -> u64 {
    world.start(SOURCE);
    for number in 1..1_000 {
        let request = world.request();
        let (stream, first) = (NAME.into(), WriterSequence(number));
        let (messages, wait) = ([alloc::vec![b'x'; bytes].into()].into(), Waited::Accepted);
        world.give(SOURCE, Input::Publish { request, stream, writer: WriterId(1), first, messages, wait });
        world.run(time::Span::millis(20));
        if matches!(world.answers(request).last(), Some(Err(Refusal::Backpressure { .. }))) {
            return number - 1;
        }
    }
    panic!("never full");
}

#[test]
fn small_messages_written_one_at_a_time_fill_an_outbox_by_the_memory_they_take() {
    let mut world = World::new(17);
    world.config.outbox_memory = 200_000;
    let accepted = fill(&mut world, 1);
    assert!(
        (80..=200).contains(&accepted),
        "{accepted} batches of a byte, each of which takes over a thousand"
    );
    assert!(world.status(SOURCE).outbox_bytes <= 202_000);
}

#[test]
fn large_messages_fill_an_outbox_by_the_room_they_take_on_disk_and_not_by_memory() {
    let mut world = World::new(17);
    (world.config.outbox_memory, world.config.outbox_bytes) = (200_000, 1 << 20);
    let accepted = fill(&mut world, 16 << 10);
    assert!((62..=64).contains(&accepted), "{accepted} messages of 16 KiB in 1 MiB");
}

#[test]
fn a_handler_that_takes_and_never_judges_is_handed_a_bounded_number_of_bytes() {
    let mut world = World::new(13);
    world.config.window_bytes = 5_000;
    world.config.window_messages = 50;
    world.verdicts = false;
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.attach(None, u32::MAX);
    world.run(time::Span::millis(300));
    for first in (1..400).step_by(8) {
        world.publish(1, first, 8, Waited::Accepted);
    }
    world.run(time::Span::secs(1));
    let handed: usize = world.effects.iter().map(|(_, _, bytes)| bytes.len() + 32).sum();
    assert!((4_200..=5_000).contains(&handed), "{handed} bytes are out");
    let mut judged = 0;
    while judged < 400 {
        let upto = world.position;
        assert!(upto > judged, "it goes on as it is judged: {judged}");
        assert!(upto - judged <= 50, "the settings bound the window");
        judged = upto;
        let token = world.token.unwrap_or(AttachToken(0));
        world.give(TARGET, Input::Verdict { token, upto: Sequence(judged) });
        world.run(time::Span::millis(100));
    }
}

#[test]
fn a_message_larger_than_the_bytes_of_a_window_is_handed_over_alone() {
    let mut world = World::new(13);
    world.config.window_bytes = 100;
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.attach(None, 10);
    world.publish(1, 1, 40, Waited::Accepted);
    world.run(time::Span::secs(3));
    assert_eq!(world.position, 40);
    assert!(world.deliveries.iter().all(|delivery| delivery.messages.len() <= 3));
}

/// A batch of one message of a thousand bytes that nobody published.
fn batch(number: u64) -> (Batch, Bytes) {
    let bytes = Bytes::from(alloc::vec![number as u8; 1_000]);
    let Done::Digest(digest) = perform(&Job::Digest(bytes.clone().into()), &[]) else { unreachable!() };
    let identity = Identity { boot: BootId(9), first: Sequence(number), digest };
    let span = Span { writer: WriterId(5), first: WriterSequence(number), count: 1, void: false };
    let base = MessageId(u128::from(number));
    (
        Batch { identity, spans: [span].into(), lengths: [1_000].into(), base, wall: Wall(0), part: None },
        bytes,
    )
}

#[test]
fn an_append_waits_for_its_bytes_and_for_room_and_for_nothing_else() {
    let mut world = World::new(11);
    world.start(TARGET);
    let (epoch, first) = (SessionEpoch(1), Sequence(1));
    let (batch, bytes) = batch(1);
    let identity = batch.identity;
    let entry = encode_entry(&Entry::Descriptor { epoch, first, batch });
    let waits = |world: &mut World| {
        let streams = world.machines[TARGET].streams.as_ref().expect("it runs");
        (streams.awaits(INSTANCE, Some(&entry)), streams.awaits(INSTANCE, None))
    };
    let now = world.at();
    assert!(!world.machines[TARGET].streams.as_mut().expect("it runs").admit(now, INSTANCE, &entry).passes());
    assert_eq!(waits(&mut world), (true, true));
    let data = Data { boot: BootId(9), epoch, first, count: 1, identity, offset: None, bytes: bytes.into() };
    world.give(
        TARGET,
        Input::Message {
            from: node(SOURCE),
            message: Message { instance: INSTANCE, body: Body::Data(data) },
        },
    );
    world.run(time::Span::millis(5));
    assert_eq!(waits(&mut world), (false, false));
    world.give(TARGET, Input::Space { free: 10 });
    assert_eq!(waits(&mut world), (true, false));
    let now = world.at();
    assert!(!world.machines[TARGET].streams.as_mut().expect("it runs").admit(now, INSTANCE, &entry).passes());
    assert_eq!(waits(&mut world), (true, true));
}

#[test]
fn what_appends_wait_for_is_held_within_the_bound_of_what_is_received() {
    let mut world = World::new(11);
    (world.config.batch_bytes, world.config.message_bytes) = (1_000, 1_000);
    world.config.receive_bytes = 4_000;
    world.start(TARGET);
    let epoch = SessionEpoch(1);
    for number in 1..60 {
        let (batch, bytes) = batch(number);
        let (identity, first) = (batch.identity, Sequence(number));
        let entry = encode_entry(&Entry::Descriptor { epoch, first, batch });
        let now = world.at();
        let streams = world.machines[TARGET].streams.as_mut().expect("it runs");
        assert!(!streams.admit(now, INSTANCE, &entry).passes(), "its bytes are not here");
        let data =
            Data { boot: BootId(9), epoch, first, count: 1, identity, offset: None, bytes: bytes.into() };
        let message = Message { instance: INSTANCE, body: Body::Data(data) };
        // Ever another leader's append, and none of them is followed by what it waited for. S10 is checked at each step.
        world.give(TARGET, Input::Message { from: node(SOURCE), message });
        world.run(time::Span::millis(if number % 10 == 0 { 5 } else { 0 }));
    }
}

#[test]
fn numbers_that_name_no_message_are_refused_whatever_comes_with_them() {
    let mut world = world();
    for (first, count) in [(0, 0), (0, 3), (1, 0), (u64::MAX, 0)] {
        let request = world.publish(1, first, count, Waited::Accepted);
        let answers = world.answers(request);
        assert!(matches!(answers[..], [Err(Refusal::Invalid(_))]), "{count} from {first}: {answers:?}");
    }
    let last = world.publish(1, 1, 1, Waited::Accepted);
    world.run(time::Span::millis(500));
    assert!(matches!(world.answers(last)[..], [Ok(_)]), "the source goes on");
}

#[test]
fn a_source_that_forgot_its_sessions_is_believed_from_its_start_on() {
    let mut world = World::new(12);
    world.start(TARGET);
    // Bytes of a session whose entry never came here. With its disk, the source forgets it.
    let (batch, bytes) = batch(1);
    let (epoch, first, identity) = (SessionEpoch(9), Sequence(1), batch.identity);
    let data = Data { boot: BootId(9), epoch, first, count: 1, identity, offset: None, bytes: bytes.into() };
    let message = Message { instance: INSTANCE, body: Body::Data(data) };
    world.give(TARGET, Input::Message { from: node(SOURCE), message });
    world.run(time::Span::millis(20));
    world.start(SOURCE);
    world.lead();
    world.run(time::Span::millis(300));
    for first in 1..=40 {
        world.publish(1, first, 1, Waited::Accepted);
        world.run(time::Span::millis(5));
    }
    world.run(time::Span::millis(100));
    assert_eq!(world.status(SOURCE).replicated, Sequence(40), "nothing waits until it is asked for by name");
}

/// Tells the target something in the source's name.
fn tell(world: &mut World, body: Body) {
    let message = Message { instance: INSTANCE, body };
    world.give(TARGET, Input::Message { from: node(SOURCE), message });
}

/// A start of the source sends batch `number` under the number `first` of its session `epoch`.
fn send(world: &mut World, boot: u128, epoch: u64, first: u64, number: u64) {
    let (batch, bytes) = batch(number);
    let (boot, epoch, first, identity) = (BootId(boot), SessionEpoch(epoch), Sequence(first), batch.identity);
    tell(
        world,
        Body::Data(Data { boot, epoch, first, count: 1, identity, offset: None, bytes: bytes.into() }),
    );
}

/// Up to where the target has bytes, what it has room for, and how many bytes it holds.
fn holds(world: &World) -> (Sequence, u64, u64) {
    let streams = world.machines[TARGET].streams.as_ref().expect("it runs");
    let stream = &streams.streams[&INSTANCE];
    (stream.have(), stream.room(&streams.common), stream.held.bytes())
}

#[test]
fn a_start_of_the_source_begins_with_its_first_word_whoever_brings_it() {
    for told_by_pair in [false, true] {
        let mut world = World::new(12);
        world.start(TARGET);
        send(&mut world, 8, 9, 1, 1);
        world.run(time::Span::millis(5));
        assert_eq!(holds(&world).0, Sequence(1));
        // Still being verified when the new start is heard.
        send(&mut world, 8, 9, 2, 2);
        let boot = BootId(9);
        if told_by_pair {
            world.give(TARGET, Input::PeerBoot { node: node(SOURCE), boot });
        } else {
            tell(&mut world, Body::Status(Standing { boot, serial: 1, ..Standing::default() }));
        }
        world.run(time::Span::millis(5));
        assert_eq!(holds(&world).0, Sequence(0), "a former start's numbers say nothing any more");
        send(&mut world, 9, 1, 1, 3);
        world.run(time::Span::millis(5));
        assert_eq!(holds(&world).0, Sequence(1), "and its sessions make nothing stale");
        world.give(TARGET, Input::PeerBoot { node: node(SOURCE), boot });
        assert_eq!(holds(&world).0, Sequence(1), "it began once");
    }
}

#[test]
fn bytes_that_bear_no_number_any_more_take_no_credit_and_give_way() {
    let mut world = World::new(12);
    world.config.receive_bytes = 6_000;
    world.start(TARGET);
    // Far ahead: nothing that is taken soon lets go of them.
    for number in 1..=3 {
        send(&mut world, 8, 9, 100 + number, number);
    }
    world.run(time::Span::millis(5));
    let (_, room, bytes) = holds(&world);
    assert!(room < 1_500 && bytes > 4_500, "three batches fit: {room} bytes are left beside {bytes}");
    world.give(TARGET, Input::PeerBoot { node: node(SOURCE), boot: BootId(9) });
    assert_eq!(holds(&world), (Sequence(0), 6_000, bytes), "all of the credit is the new start's");
    // One of them is still what it was, under another number.
    send(&mut world, 9, 1, 1, 3);
    for number in 2..=3 {
        send(&mut world, 9, 1, number, 10 + number);
        world.run(time::Span::millis(5));
    }
    let (have, left, bytes) = holds(&world);
    assert_eq!((have, left), (Sequence(3), room), "nothing came in vain");
    assert!(bytes <= 6_000, "{bytes} bytes are held");
    send(&mut world, 9, 1, 4, 14);
    world.run(time::Span::millis(5));
    assert_eq!(holds(&world).0, Sequence(3), "what bears a number does not give way to what comes later");
}
