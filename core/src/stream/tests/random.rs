//! Random runs: whatever is lost, doubled, reordered, forgotten or restarted, each message is processed once and in order.

use alloc::collections::BTreeMap;

use super::world::{SOURCE, TARGET, World, body, large};
use crate::id::{RequestId, WriterId};
use crate::node::command::{Refusal, Reply, Waited};
use crate::planted::Planted;
use crate::rng::Rng;
use crate::stream::Config;
use crate::time::Span;

const WRITERS: u64 = 2;
/// The writer of messages that have several parts.
const LARGE: u64 = WRITERS + 1;
const LARGE_GOAL: u64 = 12;

/// How long its messages are.
fn length(number: u64) -> usize {
    1_025 + number as usize * 1_777 % 9_000
}

/// A publisher that repeats what it got no answer for.
#[derive(Default)]
struct Publisher {
    /// How many messages it means to write.
    goal: u64,
    /// Told accepted, and told completed, up to here; completion is told by parts in any order.
    accepted: u64,
    completed: BTreeMap<u64, u64>,
    sent: u64,
}

impl Publisher {
    fn completed(&self) -> u64 {
        let mut upto = 0;
        for (&first, &last) in &self.completed {
            if first <= upto + 1 {
                upto = upto.max(last);
            }
        }
        upto
    }
}

struct Run {
    world: World,
    publishers: BTreeMap<u64, Publisher>,
    read: usize,
    owners: BTreeMap<RequestId, u64>,
}

impl Run {
    fn new(seed: u64, goal: u64) -> Self {
        let mut world = World::new(seed);
        world.config = Config {
            batch_messages: 16,
            batch_bytes: 4 << 10,
            flight_bytes: 8 << 10,
            receive_bytes: 16 << 10,
            cache_bytes: [1 << 10, 64 << 10][(seed % 2) as usize],
            part_bytes: 1 << 10,
            window_bytes: [3 << 10, 8 << 20][(seed % 3 / 2) as usize],
            checkpoint_entries: 8,
            ..Config::default()
        };
        let mut publishers: BTreeMap<u64, Publisher> =
            (1..=WRITERS).map(|id| (id, Publisher { goal, ..Publisher::default() })).collect();
        publishers.insert(LARGE, Publisher { goal: LARGE_GOAL, ..Publisher::default() });
        Self { world, publishers, read: 0, owners: BTreeMap::new() }
    }

    /// The writer of large messages goes on where the source says, or begins anew.
    fn stage(&mut self) {
        let id = u128::from(LARGE);
        let goal = self.publishers[&LARGE].goal;
        let World { rng, .. } = &mut self.world;
        let (anew, count) = (rng.below(8) == 0, rng.between(1, 6));
        let (next, held) = self.world.find(id);
        if next > goal {
            // Publishing it again tells how far it is.
            let first = self.publishers[&LARGE].completed() + 1;
            if first <= goal {
                let whole = large(id, first, length(first));
                let request = self.world.stage(id, first, &whole, 0, Waited::Completed);
                self.owners.insert(request, LARGE);
            }
            return;
        }
        let whole = large(id, next, length(next));
        let mut offset = held.filter(|_| !anew).map_or(0, |held| held.upto);
        for _ in 0..count {
            if offset < whole.len() as u64 {
                let request = self.world.stage(id, next, &whole, offset, Waited::Completed);
                self.owners.insert(request, LARGE);
                offset += self.world.config.part_bytes;
            }
        }
    }

    fn publish(&mut self, id: u64) {
        if id == LARGE {
            return self.stage();
        }
        let World { rng, .. } = &mut self.world;
        let publisher = self.publishers.get_mut(&id).expect("a writer");
        let from_start = rng.below(3) == 0;
        let base = if from_start { publisher.completed() } else { publisher.sent };
        if base >= publisher.goal {
            publisher.sent = publisher.completed();
            return;
        }
        let count = rng.between(1, 12).min(publisher.goal - base);
        publisher.sent = publisher.sent.max(base + count);
        let request = self.world.publish(u128::from(id), base + 1, count, Waited::Completed);
        self.owners.insert(request, id);
    }

    fn read_replies(&mut self) {
        while self.read < self.world.replies.len() {
            let (request, reply) = self.world.replies[self.read].clone();
            self.read += 1;
            let Some(publisher) = self.owners.get(&request).and_then(|id| self.publishers.get_mut(id)) else {
                continue;
            };
            match reply {
                Ok(Reply::Published(receipt)) => {
                    let (first, last) = (receipt.first_writer.0, receipt.last_writer.0);
                    match receipt.level {
                        Waited::Accepted => publisher.accepted = publisher.accepted.max(last),
                        Waited::Completed => {
                            let end = publisher.completed.entry(first).or_default();
                            *end = last.max(*end);
                        }
                        Waited::Replicated => {}
                    }
                }
                Ok(Reply::Staged(_)) => {}
                // Parts that were on their way when the message was begun anew, or when this start forgot that it was whole.
                Err(Refusal::BegunAnew | Refusal::WrongOffset { .. } | Refusal::Busy) => {}
                Err(Refusal::WriterGap { expected, .. }) => publisher.sent = expected.0 - 1,
                Err(Refusal::Backpressure { .. }) => publisher.sent = publisher.completed(),
                other => panic!("a publisher is told {other:?}"),
            }
        }
    }

    /// Each effect once, in each writer's order, with the bytes that were published.
    fn check(&self, seed: u64) {
        let mut places: BTreeMap<WriterId, u64> = BTreeMap::new();
        for (writer, at, bytes) in &self.world.effects {
            let place = places.entry(*writer).or_default();
            assert_eq!(*at, *place + 1, "seed {seed}: writer {writer} is processed out of order, or twice");
            let expected = match writer.0 == u128::from(LARGE) {
                true => large(writer.0, *at, length(*at)).into(),
                false => body(*writer, *at),
            };
            assert_eq!(*bytes, expected, "seed {seed}: other bytes arrived");
            *place += 1;
        }
        for (&id, publisher) in &self.publishers {
            let processed = places.get(&WriterId(u128::from(id))).copied().unwrap_or(0);
            let completed = publisher.completed();
            assert!(
                completed <= processed,
                "seed {seed}: {completed} told completed, {processed} are processed"
            );
        }
    }
}

/// `back`: the machine whose disk is sometimes rolled back.
fn disturb(run: &mut Run, rng: &mut Rng, back: Option<usize>) {
    let world = &mut run.world;
    match rng.below(100) {
        at @ 0..=5 => {
            let which = [SOURCE, TARGET][usize::from(at > 2)];
            let rolls = back == Some(which) && rng.below(2) == 0;
            let rows = if rolls { rng.between(1, 30) as usize } else { 0 };
            world.crash(which, rows);
        }
        6..=8 => world.cut = !world.cut,
        9..=30 => {
            for which in [SOURCE, TARGET] {
                if world.machines[which].streams.is_none() {
                    world.start(which);
                }
            }
        }
        31..=45 => world.lead(),
        46..=60 if world.machines[TARGET].streams.is_some() => {
            let window = rng.between(1, 20) as u32;
            let position = world.position;
            world.attach(Some(position), window);
        }
        _ if world.machines[SOURCE].streams.is_some() => {
            let id = rng.between(1, LARGE);
            run.publish(id);
        }
        _ => {}
    }
}

/// A run with faults, then a healed one in which everything must come to its end.
fn run(seed: u64, back: Option<usize>, planted: Planted) {
    let mut run = Run::new(seed, 150);
    run.world.planted = planted;
    let mut rng = run.world.rng.clone();
    run.world.loss = rng.between(0, 25);
    run.world.start(SOURCE);
    run.world.start(TARGET);
    for _ in 0..250 {
        disturb(&mut run, &mut rng, back);
        let pause = Span::millis(rng.between(0, 60));
        run.world.run(pause);
        run.read_replies();
        run.check(seed);
    }
    run.world.loss = 0;
    run.world.cut = false;
    for which in [SOURCE, TARGET] {
        if run.world.machines[which].streams.is_none() {
            run.world.start(which);
        }
    }
    let position = run.world.position;
    run.world.attach(Some(position), 8);
    for _ in 0..200 {
        run.world.lead();
        for id in 1..=LARGE {
            run.publish(id);
        }
        run.world.run(Span::millis(100));
        run.read_replies();
        run.check(seed);
        if run.publishers.values().all(|publisher| publisher.completed() == publisher.goal) {
            let kept: usize = run.world.effects.len();
            assert_eq!(kept as u64, WRITERS * 150 + LARGE_GOAL, "seed {seed}: processed in the end");
            return;
        }
    }
    let status: alloc::vec::Vec<_> = run
        .world
        .machines
        .iter()
        .map(|machine| machine.streams.as_ref().map(|streams| streams.status(run.world.at())))
        .collect();
    let far: alloc::vec::Vec<_> = run.publishers.values().map(|publisher| publisher.completed()).collect();
    panic!("seed {seed}: no progress; completed {far:?}, position {}, {status:#?}", run.world.position);
}

#[test]
fn crashes_loss_and_reordering_change_nothing() {
    (0..150).for_each(|seed| run(seed, None, Planted::none()));
}

#[test]
fn a_target_that_comes_back_on_an_older_disk_goes_on() {
    (1_000..1_150).for_each(|seed| run(seed, Some(TARGET), Planted::none()));
}

#[test]
fn a_source_that_comes_back_on_an_older_disk_goes_on() {
    (2_000..2_150).for_each(|seed| run(seed, Some(SOURCE), Planted::none()));
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_are_found() {
    extern crate std;
    use crate::planted::Bug;
    let large = [Bug::PartsDeduped, Bug::PartAcknowledged, Bug::OverflowAcked, Bug::PartsOfTwoMessages];
    for bug in [Bug::DescriptorWithoutPayload, Bug::HandlerBeforeCommit, Bug::DedupeForgotten]
        .into_iter()
        .chain(large)
    {
        let found =
            (0..800).any(|seed| std::panic::catch_unwind(|| run(seed, None, Planted::only(bug))).is_err());
        assert!(found, "{bug:?} was not found");
    }
}
