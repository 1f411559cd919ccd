//! A file system that is full, or fails.

use super::memory::Memory;
use super::*;

/// A directory for the reserve of a store whose journal is in memory.
struct Bad {
    memory: Memory,
    reserve: Arc<Reserve>,
    place: tempfile::TempDir,
}

impl Bad {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let reserve = Arc::new(Reserve::new(place.path().join("reserve"), 1 << 16));
        assert!(reserve.take().unwrap());
        Self { memory: Memory::default(), reserve, place }
    }

    fn open(&self) -> Store<Memory> {
        Store::open_on(Path::new("/journal"), Arc::clone(&self.reserve), self.memory.clone()).unwrap()
    }

    /// A store with one row.
    fn begun(&self) -> Store<Memory> {
        let mut store = self.open();
        store.commit(&[row(1)], false).unwrap();
        store
    }

    /// The store as a start finds it, and its rows.
    fn recovered(&self) -> (Store<Memory>, Vec<u64>) {
        let (mut store, mut rows) = (self.open(), Vec::new());
        let marked = store.recover(|ticket, bytes| {
            assert_eq!(bytes.len(), row(ticket.0).1.len());
            rows.push(ticket.0);
            Ok::<(), ()>(())
        });
        assert_eq!(marked.unwrap(), Ticket(0));
        (store, rows)
    }

    /// It is full as long as the reserve is there.
    fn fill(&self, copies_on_write: bool) {
        let mut state = self.memory.state();
        state.full_while = Some(self.place.path().join("reserve"));
        state.copies_on_write = copies_on_write;
    }
}

#[test]
fn a_commit_is_one_sync_however_many_rows_it_has() {
    let bad = Bad::new();
    let mut store = bad.begun();
    for (rows, quick, syncs) in [(2..=2, false, 1), (3..=1000, false, 1), (1001..=1002, true, 2)] {
        bad.memory.state().syncs = 0;
        store.commit(&rows.map(row).collect::<Vec<_>>(), quick).unwrap();
        assert_eq!(bad.memory.state().syncs, syncs);
    }
}

#[test]
fn the_name_of_a_journal_that_is_there_already_is_synced_too() {
    let bad = Bad::new();
    for _ in 0..2 {
        bad.memory.state().synced_directories.clear();
        bad.open();
        assert_eq!(bad.memory.state().synced_directories, [Path::new("/")]);
    }
}

#[test]
fn a_commit_on_a_full_disk_gives_up_the_reserve_and_succeeds() {
    let bad = Bad::new();
    let mut store = bad.begun();
    bad.fill(true);
    store.commit(&[row(2)], false).unwrap();
    assert_eq!((bad.memory.state().refused, bad.reserve.missing()), (1, 1 << 16));
    // The reserve comes back when there is room, and then serves a new segment.
    assert!(bad.reserve.take().unwrap());
    store.commit(&(3..=20).map(large).collect::<Vec<_>>(), false).unwrap();
    assert_eq!(bad.reserve.missing(), 1 << 16);
    let tickets: Vec<Part> = (1..=20).map(|ticket| part(ticket, 0, 1)).collect();
    assert!(store.reader().load(&tickets).unwrap().iter().all(Option::is_some));
}

#[test]
fn a_start_on_a_full_disk_needs_no_more_room_than_it_writes() {
    let bad = Bad::new();
    bad.begun().commit(&(2..=9).map(row).collect::<Vec<_>>(), false).unwrap();
    let path = bad.place.path().join("held by somebody else");
    fs::write(&path, b"and not given up").unwrap();
    bad.memory.state().full_while = Some(path);
    let (mut store, rows) = bad.recovered();
    assert_eq!(rows, (1..=9).collect::<Vec<_>>());
    store.settle().expect("what is there takes no more room");
    // Rows 8 and 9 do not count, and what the file had beyond them is gone when there is no room to have it again.
    assert!(store.commit(&[row(8)], false).is_err(), "nor is there room for a file of its own");
    assert!(bad.memory.state().refused > 1);
    bad.memory.state().full_while = None;
    let mut store = bad.open();
    let marked = store.recover(|_, _| Ok::<(), ()>(()));
    assert_eq!(marked.unwrap(), Ticket(7), "all in front of the file that got no room");
    store.commit(&[row(8)], false).unwrap();
}

#[test]
fn a_failed_sync_is_final_whatever_the_reserve() {
    let bad = Bad::new();
    let mut store = bad.begun();
    let next = bad.memory.state().syncs + 1;
    bad.memory.state().failing = Some(next);
    assert!(store.commit(&[row(2)], false).is_err());
    let refusal = store.commit(&[row(3)], false).expect_err("nobody knows what is on the disk");
    assert!(matches!(refusal, StoreError::Failed), "{refusal}");
    assert_eq!(bad.reserve.missing(), 0);
    assert_eq!(store.reader().load(&[part(2, 0, 1)]).unwrap(), [None], "it never was durable");
}

#[test]
fn a_start_whose_sync_failed_writes_nothing() {
    let bad = Bad::new();
    bad.begun();
    for failing in [1, 2] {
        let (mut store, _) = bad.recovered();
        let syncs = bad.memory.state().syncs;
        bad.memory.state().failing = Some(syncs + failing);
        assert!(store.settle().is_err());
        assert!(matches!(store.settle(), Err(StoreError::Failed)));
        assert!(matches!(store.commit(&[row(2)], false), Err(StoreError::Failed)));
    }
}

#[test]
fn a_start_that_refuses_a_row_writes_nothing() {
    let bad = Bad::new();
    bad.begun();
    let mut store = bad.open();
    assert!(matches!(store.recover(|_, _| Err("no")), Err(RecoveryError::Refused("no"))));
    assert!(matches!(store.settle(), Err(StoreError::Failed)));
    assert!(matches!(store.commit(&[row(2)], false), Err(StoreError::Failed)));
}

#[test]
fn a_write_that_ends_in_the_middle_is_final_and_its_rest_does_not_count() {
    let bad = Bad::new();
    let mut store = bad.begun();
    bad.memory.state().writes_end_early = true;
    assert!(store.commit(&(2..=9).map(row).collect::<Vec<_>>(), false).is_err());
    bad.memory.state().writes_end_early = false;
    assert!(store.commit(&[row(2)], false).is_err());
    drop(store);
    let (mut store, rows) = bad.recovered();
    assert!(rows.len() < 9, "{} rows", rows.len());
    store.commit(&[row(2), row(3)], false).unwrap();
    drop(store);
    assert_eq!(bad.recovered().1, [1, 2, 3]);
}
