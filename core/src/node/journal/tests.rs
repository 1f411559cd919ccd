use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::planted::Planted;
use crate::record::{Owner, Settled};
use crate::rng::{Purpose, Rng};

const CONFIG: Config = Config { rows_may_tear: true, slack_bytes: 2_000 };

fn key(id: u128, slot: u64) -> Key {
    Key { owner: Owner::Stream, space: 1, id, slot }
}

fn record(id: u128, slot: u64, payload: &[u8]) -> Record {
    let head = Bytes::copy_from_slice(&slot.to_le_bytes());
    Record {
        key: key(id, slot),
        last_slot: slot,
        head,
        payload: Payload::from(Bytes::copy_from_slice(payload)),
    }
}

/// A disk that keeps every row until it is trimmed.
#[derive(Default, Clone)]
struct Disk(BTreeMap<Ticket, Bytes>);

impl Disk {
    fn write(&mut self, journal: &mut Journal) -> Option<Ticket> {
        let (ticket, row) = journal.seal()?;
        self.0.insert(ticket, row.to_bytes());
        Some(ticket)
    }

    fn recover(&self, config: Config) -> Result<(Journal, Vec<Found>), String> {
        let mut journal = Journal::new(config, Planted::none());
        for (&ticket, bytes) in &self.0 {
            journal.restore(ticket, bytes);
        }
        let found = journal.recovered()?;
        Ok((journal, found))
    }

    fn flip(&mut self, ticket: Ticket) {
        let mut row = self.0[&ticket].to_vec();
        let last = row.len() - 1;
        row[last] ^= 1;
        self.0.insert(ticket, Bytes::from(row));
    }
}

fn three_rows(synced_between: bool) -> Disk {
    let mut disk = Disk::default();
    let mut journal = Disk::default().recover(CONFIG).expect("an empty disk").0;
    journal.begin(Generation(1));
    for slot in 1..=3 {
        journal.append(record(9, slot, b"payload"));
        let ticket = disk.write(&mut journal).expect("a row");
        if synced_between {
            journal.persisted(ticket);
        }
    }
    disk
}

#[test]
fn what_was_written_comes_back_in_order_and_the_newest_of_equal_keys_wins() {
    let mut disk = three_rows(true);
    let (mut journal, found) = disk.recover(CONFIG).expect("sound");
    assert_eq!(found.iter().map(|f| f.key.slot).collect::<Vec<_>>(), [1, 2, 3]);
    journal.begin(Generation(2));
    journal.append(record(9, 2, b"newer"));
    disk.write(&mut journal);
    let found = disk.recover(CONFIG).expect("sound").1;
    assert_eq!(
        found.iter().map(|f| (f.key.slot, f.payload_len)).collect::<Vec<_>>(),
        [(1, 7), (3, 7), (2, 5)]
    );
}

#[test]
fn an_unsynced_end_may_be_torn_only_where_rows_may_tear() {
    let mut disk = three_rows(false);
    disk.flip(Ticket(2));
    let found = disk.recover(CONFIG).expect("nothing vouches for row 2").1;
    assert_eq!(found.len(), 1, "rows 2 and 3 are cut off");
    let strict = Config { rows_may_tear: false, ..CONFIG };
    let refusal = disk.recover(strict).expect_err("a transactional store tears nothing");
    assert!(refusal.contains("row 2 cannot be trusted"), "{refusal}");
}

#[test]
fn a_vouched_row_that_is_damaged_or_missing_refuses_to_start() {
    for rows_may_tear in [true, false] {
        let config = Config { rows_may_tear, ..CONFIG };
        let mut damaged = three_rows(true);
        damaged.flip(Ticket(2));
        assert!(damaged.recover(config).expect_err("row 3 vouches for row 2").contains("row 2"));
        let mut missing = three_rows(true);
        missing.0.remove(&Ticket(1));
        assert!(missing.recover(config).expect_err("row 3 vouches for row 1").contains("row 1 is missing"));
    }
}

#[test]
fn the_store_can_vouch_for_an_end_that_no_row_vouches_for() {
    let mut disk = three_rows(false);
    disk.flip(Ticket(3));
    let recovered = |upto| {
        let mut journal = Journal::new(CONFIG, Planted::none());
        disk.0.iter().for_each(|(&ticket, bytes)| journal.restore(ticket, bytes));
        journal.vouch(Ticket(upto));
        journal.recovered().map(|found| found.len())
    };
    assert_eq!(recovered(2), Ok(2), "nobody says that row 3 was ever there");
    assert!(recovered(3).expect_err("it was").contains("row 3 cannot be trusted"));
    assert!(recovered(4).expect_err("so was row 4").contains("row 3 cannot be trusted"));
}

#[test]
fn rows_left_behind_by_an_earlier_boot_do_not_join_a_later_timeline() {
    let mut disk = three_rows(false);
    let stale = disk.0[&Ticket(3)].clone();
    disk.0.remove(&Ticket(2));
    let (mut journal, found) = disk.recover(CONFIG).expect("a torn end");
    assert_eq!(found.len(), 1);
    journal.begin(Generation(2));
    journal.append(record(9, 20, b"the other row two"));
    assert_eq!(disk.write(&mut journal), Some(Ticket(2)));
    assert_eq!(disk.0[&Ticket(3)], stale);
    let found = disk.recover(CONFIG).expect("row 3 is of generation 1").1;
    assert_eq!(found.iter().map(|f| f.key.slot).collect::<Vec<_>>(), [1, 20]);
}

#[test]
fn a_row_that_an_earlier_start_left_in_the_place_of_one_never_written_is_damage() {
    let mut disk = three_rows(false);
    let stale = disk.0[&Ticket(3)].clone();
    disk.flip(Ticket(2));
    let mut journal = disk.recover(CONFIG).expect("a torn end").0;
    journal.begin(Generation(2));
    for slot in 2..=5 {
        // Row 2 holds nothing that lives once row 4 is there.
        journal.append(record(9, if slot == 4 { 2 } else { slot }, b"of the second start"));
        let ticket = disk.write(&mut journal).expect("a row");
        journal.persisted(ticket);
    }
    journal.forget(&Forget { owner: Owner::Stream, space: 1, id: 9, below: 2 });
    for slot in 6..=7 {
        journal.append(record(9, slot, b"of the second start"));
        let ticket = disk.write(&mut journal).expect("a row");
        journal.persisted(ticket);
    }
    assert_eq!(journal.trim(), Some(Ticket(3)), "rows 1 and 2 are dead");
    disk.0.retain(|&ticket, _| ticket >= Ticket(3));
    let found = disk.recover(CONFIG).expect("all is as it was written").1;
    assert_eq!(found.iter().map(|f| f.key.slot).collect::<Vec<_>>(), [3, 2, 5, 6, 7]);
    disk.0.insert(Ticket(3), stale);
    for rows_may_tear in [true, false] {
        let refusal = disk.recover(Config { rows_may_tear, ..CONFIG }).expect_err("row 3 was never written");
        assert!(refusal.contains("row 3 is not the one"), "{refusal}");
    }
}

#[test]
fn a_start_goes_on_behind_a_row_of_the_start_before() {
    let mut disk = three_rows(true);
    for generation in 2..=4 {
        let mut journal = disk.recover(CONFIG).expect("sound").0;
        journal.begin(Generation(generation));
        journal.append(record(9, 3 + generation, b"payload"));
        disk.write(&mut journal);
    }
    assert_eq!(disk.recover(CONFIG).expect("sound").1.len(), 6);
    // Row 4 is as it was written, and of its own start; but row 5 was written behind another.
    let mut other = three_rows(true);
    let mut journal = other.recover(CONFIG).expect("sound").0;
    journal.begin(Generation(2));
    journal.append(record(9, 5, b"another payload"));
    other.write(&mut journal);
    disk.0.insert(Ticket(4), other.0[&Ticket(4)].clone());
    assert!(disk.recover(CONFIG).expect_err("row 4 was replaced").contains("row 4 is not the one"));
}

#[test]
fn a_start_never_takes_the_generation_of_a_start_whose_first_row_was_lost() {
    let mut disk = Disk::default();
    let mut boot = |lost: &[u64], slots: core::ops::RangeInclusive<u64>| {
        let (mut journal, found) = disk.recover(CONFIG).expect("nothing that was synced is gone");
        journal.begin(journal.generation().next());
        for slot in slots {
            journal.append(record(9, slot, b"payload"));
            disk.write(&mut journal);
        }
        disk.0.retain(|ticket, _| !lost.contains(&ticket.0));
        found.into_iter().map(|found| found.key.slot).collect::<Vec<_>>()
    };
    assert_eq!(boot(&[], 1..=1), []);
    assert_eq!(boot(&[2], 10..=12), [1], "the crash leaves holes");
    assert_eq!(boot(&[], 20..=20), [1], "row 2 is missing");
    assert_eq!(boot(&[], 30..=30), [1, 20], "rows 3 and 4 are of another start");
}

#[test]
fn a_floor_stated_by_a_row_behind_a_gap_does_not_count() {
    let mut disk = Disk::default();
    let mut journal = disk.recover(CONFIG).expect("an empty disk").0;
    journal.begin(Generation(1));
    for slot in [1, 1, 2] {
        journal.append(record(9, slot, b"payload"));
        disk.write(&mut journal);
    }
    assert_eq!(journal.floor, Ticket(2), "row 2 supersedes row 1, and row 3 says so");
    disk.0.remove(&Ticket(2));
    let found = disk.recover(CONFIG).expect("nothing was synced").1;
    assert_eq!(found.iter().map(|f| f.key.slot).collect::<Vec<_>>(), [1], "row 1 is alive again");
}

#[test]
fn a_trim_that_outran_the_next_row_is_understood() {
    let mut disk = Disk::default();
    let mut journal = disk.recover(CONFIG).expect("an empty disk").0;
    journal.begin(Generation(1));
    for _ in 0..3 {
        journal.append(record(9, 1, b"payload"));
        let ticket = disk.write(&mut journal).expect("a row");
        journal.persisted(ticket);
    }
    let below = journal.trim().expect("rows 1 and 2 are dead");
    disk.0.retain(|&ticket, _| ticket >= below);
    assert_eq!(disk.0.len(), 1);
    let found = disk.recover(CONFIG).expect("row 3 states the floor itself").1;
    assert_eq!(found.len(), 1);
}

#[test]
fn nothing_is_trimmed_before_the_floor_is_durable_nor_under_a_load() {
    let mut disk = Disk::default();
    let mut journal = disk.recover(CONFIG).expect("an empty disk").0;
    journal.begin(Generation(1));
    journal.append(record(1, 1, b"old"));
    disk.write(&mut journal);
    journal.persisted(Ticket(1));
    let located = journal.load(key(1, 1)).expect("alive");
    assert!(located.is(b"old") && !located.is(b"odl"));
    journal.append(record(1, 1, b"new"));
    disk.write(&mut journal);
    assert_eq!(journal.trim(), None, "row 2 is not durable");
    journal.persisted(Ticket(2));
    assert_eq!(journal.trim(), None, "row 1 is being read");
    journal.loaded(located.row);
    assert_eq!(journal.trim(), Some(Ticket(2)));
    assert_eq!(journal.trim(), None);
}

#[test]
fn what_a_start_gave_up_and_did_not_trim_the_next_start_trims() {
    let mut disk = three_rows(true);
    let (mut journal, _) = disk.recover(CONFIG).expect("sound");
    journal.begin(Generation(2));
    journal.forget(&Forget { owner: Owner::Stream, space: 1, id: 9, below: 3 });
    journal.append(record(9, 4, b"its row states that rows 1 and 2 are dead"));
    disk.write(&mut journal);
    // The row is on disk, and the node ends before it hears of that.
    let (mut journal, _) = disk.recover(CONFIG).expect("sound");
    journal.begin(Generation(3));
    assert_eq!(journal.trim(), None, "no row of this start is on disk");
    journal.append(record(9, 5, b"whatever comes first"));
    let ticket = disk.write(&mut journal).expect("a row");
    journal.persisted(ticket);
    assert_eq!(journal.trim(), Some(Ticket(3)));
    journal.check_invariants(Level::Full);
}

#[test]
fn dead_rows_behind_one_that_lives_are_trimmed_as_soon_as_room_is_scarce() {
    let (mut journal, mut disk) = (Journal::new(CONFIG, Planted::none()), Disk::default());
    journal.recovered().expect("nothing is there");
    journal.begin(Generation(1));
    for slot in 1..=20 {
        journal.append(record(u128::from(slot), slot, &[slot as u8; 1_000]));
        let ticket = disk.write(&mut journal).expect("it wrote");
        journal.persisted(ticket);
    }
    // One in two lives, the first of all among them: nothing can be trimmed.
    for id in (2..=20).step_by(2) {
        journal.forget(&Forget { owner: Owner::Stream, space: 1, id, below: u64::MAX });
    }
    let full = journal.size().0;
    assert_eq!(journal.straggler(false), None, "half of it lives");
    let mut moved = 0;
    while let Some((row, _)) = journal.straggler(true) {
        journal.move_row(Some(disk.0[&row].clone())).expect("readable");
        let ticket = disk.write(&mut journal).expect("it wrote");
        journal.persisted(ticket);
        moved += 1;
    }
    assert!(moved <= 10, "{moved} rows were moved");
    let (bytes, live) = journal.size();
    assert!(
        live * 10 > bytes * 9 && bytes < full * 2 / 3,
        "{bytes} of {full} bytes are left, {live} of them alive"
    );
}

/// A naive twin: a map of what is alive, compared after every recovery, under random writes, overwrites, forgets, moves, trims and restarts.
#[test]
fn the_index_agrees_with_a_naive_twin_over_random_histories() {
    for seed in 0..40u8 {
        let mut rng = Rng::stream([seed; 32], Purpose::Stream);
        let mut disk = Disk::default();
        let mut twin: BTreeMap<Key, Bytes> = BTreeMap::new();
        let (mut journal, _) = disk.recover(CONFIG).expect("an empty disk");
        journal.begin(Generation(1));
        let mut generation = 1;
        for _ in 0..400 {
            for _ in 0..rng.between(1, 3) {
                let (id, slot) = (u128::from(rng.below(3)), rng.below(12));
                let payload = Bytes::from(alloc::vec![rng.u64() as u8; rng.below(60) as usize]);
                journal.append(Record { payload: payload.clone().into(), ..record(id, slot, b"") });
                twin.insert(key(id, slot), payload);
            }
            if rng.below(6) == 0 {
                let (id, below) = (u128::from(rng.below(3)), rng.below(12));
                journal.forget(&Forget { owner: Owner::Stream, space: 1, id, below });
                twin.retain(|k, _| k.id != id || k.slot >= below);
            }
            if let Some((row, len)) = journal.straggler(rng.below(2) == 0) {
                let bytes = disk.0[&row].clone();
                assert_eq!(bytes.len(), len as usize);
                journal.move_row(Some(bytes)).expect("readable");
            }
            if let Some(ticket) = disk.write(&mut journal) {
                journal.persisted(ticket);
            }
            if let Some(below) = journal.trim() {
                disk.0.retain(|&ticket, _| ticket >= below);
            }
            journal.check_invariants(Level::Full);
            if rng.below(40) == 0 {
                let (again, found) = disk.recover(CONFIG).expect("sound");
                for (k, payload) in &twin {
                    let found = found.iter().find(|f| f.key == *k).expect("everything alive is found");
                    assert_eq!(found.payload_len, payload.len());
                    let located = again.clone().load(*k).expect("alive");
                    let row = &disk.0[&located.row];
                    assert!(
                        located.is(&row[located.offset as usize..(located.offset + located.len) as usize])
                    );
                    assert_eq!(
                        &row[located.offset as usize..(located.offset + located.len) as usize],
                        payload
                    );
                }
                journal = again;
                generation += 1;
                journal.begin(Generation(generation));
                // What was forgotten may reappear until it is trimmed: its owner forgets it again.
                for k in found.iter().map(|f| f.key).filter(|k| !twin.contains_key(k)) {
                    let Key { owner, space, id, slot } = k;
                    let keep: Vec<Record> = twin
                        .iter()
                        .filter(|(t, _)| t.id == id && t.slot <= slot)
                        .map(|(t, payload)| Record {
                            payload: payload.clone().into(),
                            ..record(t.id, t.slot, b"")
                        })
                        .collect();
                    journal.forget(&Forget { owner, space, id, below: slot + 1 });
                    keep.into_iter().for_each(|kept| journal.append(kept));
                }
            }
        }
        assert!(
            journal.size().0 < 20_000,
            "seed {seed}: {:?} bytes are kept for few live ones",
            journal.size()
        );
    }
}

/// A record whose payload is read at a start, of a history in which everything up to a slot is settled.
fn recalled(slot: u64, history: u8, upto: u8) -> Record {
    Record { head: Bytes::copy_from_slice(&[history, upto]), ..record(9, slot, b"payload") }
}

/// Which of these payloads are read where there is room for none.
fn read_of(records: &[Record]) -> Vec<(u64, bool)> {
    let mut disk = Disk::default();
    let mut journal = disk.recover(CONFIG).expect("an empty disk").0;
    journal.begin(Generation(1));
    for record in records {
        journal.append(record.clone());
        let ticket = disk.write(&mut journal).expect("a row");
        journal.persisted(ticket);
    }
    let recall = |_: &Key, head: &Bytes| {
        let [history, upto] = head[..] else { return None };
        Some(Settled { history: u64::from(history), upto: u64::from(upto) })
    };
    let mut journal = Journal::new(CONFIG, Planted::none()).recalling(recall, 0);
    disk.0.iter().for_each(|(&ticket, bytes)| journal.restore(ticket, bytes));
    let found = journal.recovered().expect("sound");
    found.into_iter().map(|found| (found.key.slot, found.payload.is_some())).collect()
}

#[test]
fn what_is_settled_is_not_read_where_there_is_no_room() {
    let records =
        [recalled(1, 1, 0), recalled(2, 1, 1), recalled(3, 1, 2), recalled(4, 1, 2), recalled(5, 1, 2)];
    assert_eq!(read_of(&records), [(1, false), (2, false), (3, true), (4, true), (5, true)]);
}

#[test]
fn what_was_settled_in_one_history_is_not_in_the_next() {
    let before = (1..=20).map(|slot| recalled(slot, 1, slot as u8 - 1));
    let records: Vec<_> =
        before.chain((1..=5).map(|slot| recalled(slot, 2, slot.min(3) as u8 - 1))).collect();
    let read = read_of(&records);
    assert!(read[..15].iter().all(|&(slot, read)| slot > 5 && read == (slot == 20)), "{read:?}");
    assert_eq!(read[15..], [(1, false), (2, false), (3, true), (4, true), (5, true)]);
}

#[test]
fn the_last_of_a_thing_is_read_whatever_is_said() {
    let records: Vec<_> = (1..=3).map(|slot| recalled(slot, 1, 9)).collect();
    // No row vouches for the last one, so it may be that the one before is.
    assert_eq!(read_of(&records), [(1, false), (2, true), (3, true)]);
}

#[test]
fn what_is_in_no_row_yet_is_read_from_memory_and_from_its_row_afterwards() {
    let mut journal = Journal::new(CONFIG, Planted::none());
    journal.append(record(1, 1, b"one"));
    assert_eq!(journal.unwritten(key(1, 1)).map(Payload::to_bytes), Some(Bytes::from_static(b"one")));
    assert!(journal.unwritten(key(1, 2)).is_none());
    assert!(journal.load(key(1, 1)).is_none());
    journal.seal().unwrap();
    assert_eq!(journal.unwritten(key(1, 1)), None);
    assert!(journal.load(key(1, 1)).is_some());
}
