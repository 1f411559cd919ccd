//! The store and the core's journal over a file system that crashes wherever it can, and lies where disks do.
//!
//! Whatever happens, a start either refuses or comes to a state that the journal was in: one that holds everything promised before,
//! unless the disk lost what it had said was safe where nothing shows it. And from that state it goes on.

use wattle_core::id::Generation;
use wattle_core::node::journal::{Config, Journal};
use wattle_core::planted::Planted;
use wattle_core::record::{Forget, Key, Owner, Record};

use super::memory::{Change, Kept, Memory, World};
use super::*;

const SPACE: u8 = 4;

/// Random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What was ever written, and when it was given up.
#[derive(Clone, Debug, Default)]
struct Model {
    versions: BTreeMap<u64, Vec<(u64, Bytes)>>,
    /// Slots below are dead, from a row on.
    forgotten: Vec<(u64, u64)>,
    next_slot: u64,
}

impl Model {
    /// What a start came to, whose last row is this one.
    fn check(&self, last: u64, found: &BTreeMap<u64, Bytes>) -> Result<(), String> {
        let newest = |slot: &u64| {
            let versions = self.versions.get(slot)?;
            versions.iter().rev().find(|(row, _)| *row <= last).map(|(_, bytes)| bytes)
        };
        for (slot, bytes) in found {
            if newest(slot) != Some(bytes) {
                return Err(format!("slot {slot} is not what row {last} and those before it say"));
            }
        }
        let floor = self.forgotten.iter().filter(|(row, _)| *row <= last).map(|&(_, below)| below).max();
        let missing = self.versions.range(floor.unwrap_or(0)..).map(|(slot, _)| slot);
        let missing = missing.filter(|slot| newest(slot).is_some()).find(|slot| !found.contains_key(slot));
        missing.map_or(Ok(()), |slot| Err(format!("slot {slot} is missing after row {last}")))
    }

    /// Slots below are given up from a row on, which is still being made.
    fn forget(&mut self, row: u64, below: u64) {
        for (_, versions) in self.versions.range_mut(..below) {
            versions.retain(|(written, _)| *written != row);
        }
        self.forgotten.push((row, below));
    }

    /// Rows behind this one never were.
    fn go_back(&mut self, last: u64) {
        self.versions.values_mut().for_each(|versions| versions.retain(|(row, _)| *row <= last));
        self.versions.retain(|_, versions| !versions.is_empty());
        self.forgotten.retain(|(row, _)| *row <= last);
    }
}

/// A node that has nothing but its journal.
struct Node {
    memory: Memory,
    store: Store<Memory>,
    journal: Journal,
    model: Model,
    dice: Dice,
}

impl Node {
    /// A start on what is there; the error is why it is refused.
    fn start(memory: Memory, model: Model, life: u64) -> Result<(Self, u64), String> {
        let mut store =
            Store::open_on(Path::new("/journal"), no_reserve(), memory.clone()).map_err(|e| e.to_string())?;
        store.segment = 8192;
        let mut journal = Journal::new(Config { rows_may_tear: true, slack_bytes: 256 }, Planted::none());
        let marked = store.recover(|ticket, bytes| {
            journal.restore(ticket, &bytes);
            Ok::<(), ()>(())
        });
        let marked = marked.map_err(|error| match error {
            RecoveryError::Store(error) => error.to_string(),
            RecoveryError::Refused(()) => unreachable!(),
        })?;
        journal.vouch(marked);
        let found = journal.recovered()?.into_iter().map(|found| (found.key.slot, found.head)).collect();
        let last = journal.last().0;
        assert!(last >= marked.0, "what is marked was found: {last} of {marked}");
        model.check(last, &found).unwrap_or_else(|what| panic!("{what}"));
        store.settle().map_err(|error| error.to_string())?;
        journal.begin(Generation(life));
        let mut node = Self { memory, store, journal, model, dice: Dice(life * 77 + last) };
        node.model.go_back(last);
        Ok((node, last))
    }

    /// A step that writes one row, or several that share a commit.
    fn step(&mut self) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for _ in 0..=self.dice.below(3) / 2 {
            for _ in 0..=self.dice.below(2) {
                self.write();
            }
            let slot = self.model.next_slot;
            if self.dice.below(4) == 0 && slot > 12 {
                let below = slot - self.dice.below(12);
                self.journal.forget(&Forget { owner: Owner::Stream, space: SPACE, id: 1, below });
                self.model.forget(self.journal.last().next().0, below);
            }
            rows.extend(self.journal.seal());
        }
        let quick = self.dice.below(5) == 0;
        self.store.commit(&rows, quick)?;
        let last = self.journal.last();
        self.journal.persisted(last);
        let mut state = self.memory.state();
        state.world.promised = last.0;
        state.remember();
        drop(state);
        if let Some(below) = self.journal.trim() {
            self.store.trim(below);
        }
        Ok(())
    }

    fn write(&mut self) {
        let slot = if self.dice.below(3) == 0 {
            self.model.next_slot.saturating_sub(self.dice.below(4))
        } else {
            self.model.next_slot += 1;
            self.model.next_slot
        };
        let dead = self.model.forgotten.last().is_some_and(|&(_, below)| slot < below);
        let slot = if dead { self.model.next_slot } else { slot };
        let len = [3, 40, 200, 900][self.dice.below(4) as usize];
        let (value, row) = (self.dice.below(255) as u8, self.journal.last().next().0);
        let head = Bytes::from([&row.to_le_bytes()[..], &vec![value; len]].concat());
        self.model.versions.entry(slot).or_default().push((row, head.clone()));
        let key = Key { owner: Owner::Stream, space: SPACE, id: 1, slot };
        self.journal.append(Record { payload: Payload::from(head.clone()), ..Record::state(key, head) });
    }

    fn work(&mut self, steps: u64) -> Result<(), StoreError> {
        (0..steps).try_for_each(|_| self.step())
    }
}

/// A node's life from its first start on, and every state that its file system was in.
fn lived(steps: u64) -> (Vec<World>, Model) {
    let memory = Memory::default();
    memory.state().history = Some(Vec::new());
    let (mut node, _) = Node::start(memory.clone(), Model::default(), 1).unwrap();
    node.work(steps).unwrap();
    let history = memory.state().history.take().unwrap();
    (history, node.model)
}

/// Starts on what a crash left: all that was promised is there. Then goes on, and crashes again with nothing kept.
fn survives(world: World, model: &Model, life: u64) {
    let promised = world.promised;
    let memory = Memory::of(world);
    let (mut node, last) = Node::start(memory.clone(), model.clone(), life).expect("a crash is no damage");
    assert!(last >= promised, "{promised} rows were promised, and {last} are there");
    // Whoever came to a state answers by it.
    memory.state().world.promised = last;
    node.work(life % 3).unwrap();
    let world = memory.state().world.crashed(|_, _| Kept::Nothing);
    let promised = world.promised;
    let (_, last) = Node::start(Memory::of(world), node.model, life + 1).expect("a crash is no damage");
    assert!(last >= promised, "{promised} rows were promised after the second start, and {last} are there");
}

/// The bytes of a write at which it is cut: all where frames and headers begin and end, some of what lies between.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    (0..=len).filter(move |cut| *cut < 60 || cut + 12 > len || cut % 61 == 0)
}

#[test]
fn every_crash_leaves_what_was_promised_and_nothing_that_never_was() {
    let (history, model) = lived(36);
    let mut dice = Dice(99);
    let mut crashes = 0;
    for world in history {
        survives(world.crashed(|_, _| Kept::All), &model, 2);
        survives(world.crashed(|_, _| Kept::Nothing), &model, 3);
        // What is pending comes to the disk in its order, up to some byte.
        for last in 0..world.pending.len() {
            let len = if let Change::Write { bytes, .. } = &world.pending[last] { bytes.len() } else { 0 };
            for cut in cuts(len) {
                let fate = |place, _: &Change| match place {
                    place if place < last => Kept::All,
                    place if place == last => Kept::Bytes(cut),
                    _ => Kept::Nothing,
                };
                survives(world.crashed(fate), &model, 2 + cut as u64);
                crashes += 1;
            }
        }
        // And in any other.
        for life in 2..8 {
            let fate = |_, _: &Change| match dice.below(4) {
                0 => Kept::Nothing,
                1 => Kept::All,
                _ => Kept::Sectors(dice.below(u64::MAX)),
            };
            survives(world.crashed(fate), &model, life);
        }
    }
    assert!(crashes > 2_000, "{crashes}");
}

#[test]
fn a_start_that_crashes_is_no_damage_either() {
    let (history, model) = lived(30);
    let mut dice = Dice(7);
    for world in history.into_iter().step_by(5) {
        let fate =
            |_, _: &Change| if dice.below(2) == 0 { Kept::All } else { Kept::Sectors(dice.below(u64::MAX)) };
        let memory = Memory::of(world.crashed(fate));
        memory.state().history = Some(Vec::new());
        let (mut node, _) = Node::start(memory.clone(), model.clone(), 2).expect("a crash is no damage");
        node.work(2).unwrap();
        let history = memory.state().history.take().unwrap();
        for world in history {
            for life in 3..6 {
                let fate = |_, _: &Change| match dice.below(4) {
                    0 => Kept::Nothing,
                    1 => Kept::All,
                    _ => Kept::Sectors(dice.below(u64::MAX)),
                };
                survives(world.crashed(fate), &node.model, life);
            }
        }
    }
}

/// After a sync that failed the system gives to readers what is not on the disk, and has nothing more to write.
#[test]
fn nothing_is_answered_by_what_a_failed_sync_left_in_memory() {
    for failing in 1.. {
        let memory = Memory::default();
        memory.state().failing = Some(failing);
        let (mut lives, mut model, mut promised) = (1, Model::default(), 0);
        let survivor = loop {
            let started = Node::start(memory.clone(), model.clone(), lives);
            lives += 1;
            let Ok((mut node, last)) = started else { continue };
            assert!(last >= promised);
            memory.state().world.promised = last;
            if lives > 2 {
                break node;
            }
            let worked = node.work(25);
            (model, promised) = (node.model, memory.state().world.promised);
            if worked.is_ok() {
                assert!(failing > 40, "{failing} syncs");
                return;
            }
            assert!(matches!(node.store.commit(&[], true), Err(StoreError::Failed)), "it goes no further");
        };
        let world = memory.state().world.crashed(|_, _| Kept::Nothing);
        survives(world, &survivor.model, 9);
    }
}

#[test]
fn a_sync_that_fails_at_a_start_is_a_start_that_failed() {
    let (history, model) = lived(30);
    let mut failures = 0;
    for mut world in history.into_iter().rev().step_by(5).take(12) {
        // In the cache only, and a process that could not have it written.
        world.pending.clear();
        for failing in 1..4 {
            let again = Memory::of(world.clone());
            again.state().failing = Some(failing);
            let failed = Node::start(again.clone(), model.clone(), 2).is_err();
            again.state().failing = None;
            let (node, last) = Node::start(again.clone(), model.clone(), 3).expect("the next sync works");
            again.state().world.promised = last;
            failures += usize::from(failed);
            assert!(failed || failing > 1, "the names are synced at each start");
            survives(again.state().world.crashed(|_, _| Kept::Nothing), &node.model, 4);
        }
    }
    assert!(failures > 20, "{failures}");
}

/// What is wrong with a file.
fn damage(world: &mut World, path: &Path, at: usize, kind: u64, dice: &mut Dice) {
    let other = world.paths()[dice.below(world.paths().len() as u64) as usize].clone();
    let foreign = world.bytes(&other).clone();
    let bytes = world.bytes(path);
    let sector = at / 512 * 512..(at / 512 * 512 + 512).min(bytes.len());
    match kind {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[sector].fill(0),
        2 => bytes[sector].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
        // What belongs elsewhere.
        3 => {
            let from = dice.below(foreign.len() as u64 / 512 + 1) as usize * 512;
            let sector = sector.start..sector.end.min(sector.start + foreign.len().saturating_sub(from));
            let len = sector.len();
            bytes[sector].copy_from_slice(&foreign[from..from + len]);
        }
        4 => bytes.truncate(at),
        5 => bytes.fill(0),
        _ => world.remove(path),
    }
}

/// Where the last mark of a world stands, if it has one: the file and the byte.
fn last_mark(world: &World) -> Option<(PathBuf, usize)> {
    let memory = Memory::of(world.clone());
    let mut store = Store::open_on(Path::new("/journal"), no_reserve(), memory).unwrap();
    store.recover(|_, _| Ok::<(), ()>(())).unwrap();
    let index = store.shared.read();
    let mark = index.segments.iter().rev().find_map(|segment| Some((segment.path.clone(), segment.marked?)));
    mark.map(|(path, (_, end))| (path, end as usize - MARK as usize))
}

#[test]
fn damage_in_front_of_a_mark_is_refused_and_no_other_makes_a_state_that_never_was() {
    let (history, model) = lived(60);
    let mut dice = Dice(5);
    let (mut refused, mut harmless) = (0, 0);
    for world in history.into_iter().rev().step_by(17).take(12) {
        let world = world.crashed(|_, _| Kept::All);
        let Some((marked_in, mark)) = last_mark(&world) else { continue };
        let (_, before) = Node::start(Memory::of(world.clone()), model.clone(), 2).unwrap();
        for path in world.paths() {
            let len = world.clone().bytes(&path).len();
            for at in (0..len).step_by(61) {
                let kind = dice.below(7);
                let mut hurt = world.clone();
                damage(&mut hurt, &path, at, kind, &mut dice);
                // What takes the mark away takes its word away, and so may a sector that it shares.
                let speaks = path < marked_in
                    || (path == marked_in && kind == 0 && at < mark)
                    || (path == marked_in && kind < 4 && at / 512 < mark / 512);
                match Node::start(Memory::of(hurt), model.clone(), 2) {
                    Err(what) => {
                        assert!(what.contains("damaged") || what.contains("safely on disk"), "{what}");
                        refused += 1;
                    }
                    Ok((_, last)) => {
                        assert!(
                            last == before || !speaks,
                            "{kind} at {at} of {path:?}: {last} rows of {before}"
                        );
                        harmless += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 100 && harmless > 100, "{refused} refused, {harmless} harmless");
}
