use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn no_reserve() -> Arc<Reserve> {
    Arc::new(Reserve::new("/nonexistent/reserve".into(), 0))
}

fn row(number: u64) -> (Ticket, Payload) {
    let mut payload = Payload::from(Bytes::from(format!("head {number} ")));
    payload.push(Bytes::from(vec![number as u8; 10]));
    payload.push(Bytes::from_static(b" tail"));
    (Ticket(number), payload)
}

/// A row of a mebibyte: sixteen of them do not fit into a segment.
fn large(number: u64) -> (Ticket, Payload) {
    (Ticket(number), Payload::from(Bytes::from(vec![number as u8; 1 << 20])))
}

fn part(row: u64, offset: u32, len: u32) -> Part {
    Part { row: Ticket(row), offset, len }
}

/// A journal's directory.
struct Shelf(tempfile::TempDir);

impl Shelf {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn open(&self) -> Store {
        Store::open(&self.path(), no_reserve()).unwrap()
    }

    /// A store with so many small rows in it, closed again.
    fn filled(rows: u64) -> Self {
        let shelf = Self::new();
        shelf.open().commit(&(1..=rows).map(row).collect::<Vec<_>>(), false).unwrap();
        shelf
    }

    /// The store as a start finds it, its rows, and up to where they were durable for certain.
    fn recovered(&self) -> (Store, Vec<(Ticket, Bytes)>, u64) {
        let mut store = self.open();
        let mut rows = Vec::new();
        let marked = store.recover(|ticket, bytes| {
            rows.push((ticket, bytes));
            Ok::<(), ()>(())
        });
        (store, rows, marked.expect("readable").0)
    }

    fn tickets(&self) -> Vec<u64> {
        self.recovered().1.iter().map(|(ticket, _)| ticket.0).collect()
    }

    fn segments(&self) -> Vec<PathBuf> {
        Segment::list(&self.path()).unwrap()
    }

    /// Why it cannot be read.
    fn refusal(&self) -> String {
        match self.open().recover(|_, _| Ok::<(), ()>(())) {
            Err(RecoveryError::Store(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Changes the bytes of a segment.
    fn change(&self, segment: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let path = &self.segments()[segment];
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

/// Where a text stands.
fn find(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|window| window == text).expect("it is there")
}

#[test]
fn rows_come_back_in_order_and_whole() {
    let shelf = Shelf::new();
    {
        let mut store = shelf.open();
        store.commit(&[row(1), row(2)], false).unwrap();
        store.commit(&(3..=300).map(row).collect::<Vec<_>>(), true).unwrap();
    }
    let (_, rows, marked) = shelf.recovered();
    assert_eq!((rows.len(), marked), (300, 300));
    for (number, (ticket, bytes)) in (1..).zip(rows) {
        assert_eq!((ticket, bytes), (Ticket(number), row(number).1.to_bytes()));
    }
}

#[test]
fn a_journal_goes_on_where_it_ended_over_many_segments_and_starts() {
    let shelf = Shelf::new();
    for start in 0..5_u64 {
        let (mut store, rows, _) = shelf.recovered();
        assert_eq!(rows.len() as u64, start * 9);
        for number in start * 9 + 1..=start * 9 + 9 {
            store.commit(&[large(number)], number % 4 == 0).unwrap();
        }
    }
    assert_eq!(shelf.tickets(), (1..=45).collect::<Vec<_>>());
    assert_eq!(shelf.segments().len(), 3, "a start continues the segment that it finds");
}

#[test]
fn a_row_larger_than_a_segment_has_one_of_its_own() {
    let shelf = Shelf::new();
    let huge = Bytes::from(vec![3; SEGMENT as usize + 5]);
    let mut store = shelf.open();
    store.commit(&[row(1), (Ticket(2), Payload::from(huge.clone())), row(3)], false).unwrap();
    let loaded = store.reader().load(&[part(2, SEGMENT as u32, 5), part(3, 0, 4)]).unwrap();
    assert_eq!(loaded, [Some(Bytes::from_static(&[3; 5])), Some(Bytes::from_static(b"head"))]);
    drop(store);
    let rows = shelf.recovered().1;
    assert_eq!((rows.len(), &rows[1].1), (3, &huge));
}

#[test]
fn a_refused_row_ends_recovery_with_the_reason() {
    let shelf = Shelf::filled(9);
    let mut seen = 0;
    let result = shelf.open().recover(|ticket, _| {
        seen += 1;
        if ticket == Ticket(4) { Err("no") } else { Ok(()) }
    });
    assert!(matches!(result, Err(RecoveryError::Refused("no"))));
    assert_eq!(seen, 4);
}

#[test]
fn loads_give_the_part_asked_for_or_nothing() {
    let shelf = Shelf::new();
    let mut store = shelf.open();
    let reader = store.reader();
    store.commit(&[row(1), row(2)], false).unwrap();
    let parts = [
        part(1, 0, 4),
        part(2, 5, 1),
        part(2, 17, 5),
        part(2, 17, 6),
        part(9, 0, 1),
        part(0, 0, 1),
        part(1, u32::MAX, 1),
    ];
    let expected: [Option<&[u8]>; 7] = [Some(b"head"), Some(b"2"), Some(b" tail"), None, None, None, None];
    let loaded = reader.load(&parts).unwrap();
    assert_eq!(loaded.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    drop(store);
    let loaded = shelf.recovered().0.reader().load(&parts).unwrap();
    assert_eq!(loaded.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "after a start too");
}

#[test]
fn a_torn_end_is_handed_over_as_it_is_and_makes_way_for_what_is_written_next() {
    for cut in [1, 5, 20] {
        let shelf = Shelf::filled(9);
        // The last write came to the disk in part: the end of row 8 is missing, row 9 is whole.
        shelf.change(0, |bytes| {
            let end = find(bytes, b"head 9") - 24;
            bytes[end - 8 - cut..end - 8].fill(0);
        });
        let (mut store, rows, marked) = shelf.recovered();
        assert_eq!((rows.len(), marked), (9, 0), "nothing says that these rows were durable");
        assert_ne!(rows[7].1, row(8).1.to_bytes());
        // The core cuts it off, and so row 8 is written anew.
        let anew = (Ticket(8), Payload::from(Bytes::from_static(b"another eight")));
        store.commit(std::slice::from_ref(&anew), false).unwrap();
        drop(store);
        let rows = shelf.recovered().1;
        assert_eq!(rows.len(), 8, "row 9 of the life before does not come back");
        assert_eq!(rows[7].1, anew.1.to_bytes());
        assert_eq!(rows[6].1, row(7).1.to_bytes());
    }
}

#[test]
fn segments_that_do_not_count_are_gone_before_anything_takes_their_place() {
    let shelf = Shelf::new();
    let mut store = shelf.open();
    store.commit(&(1..=40).map(large).collect::<Vec<_>>(), false).unwrap();
    drop(store);
    let before = shelf.segments();
    assert_eq!(before.len(), 3);
    let (mut store, rows, _) = shelf.recovered();
    assert_eq!(rows.len(), 40);
    store.commit(&[row(10)], false).unwrap();
    let loaded = store.reader().load(&[part(10, 0, 4), part(11, 0, 1), part(40, 0, 1)]).unwrap();
    assert_eq!(loaded, [Some(Bytes::from_static(b"head")), None, None]);
    drop(store);
    assert_eq!(shelf.tickets(), (1..=10).collect::<Vec<_>>());
    assert_eq!(shelf.segments(), before[..1]);
}

#[test]
fn a_segment_that_a_crash_left_before_its_first_sync_is_nothing() {
    for len in [0, 31, 5000] {
        let shelf = Shelf::filled(3);
        fs::write(Segment::path(&shelf.path(), 4), vec![0; len]).unwrap();
        let (mut store, rows, _) = shelf.recovered();
        assert_eq!(rows.len(), 3);
        store.commit(&[row(4)], false).unwrap();
        drop(store);
        assert_eq!(shelf.tickets(), [1, 2, 3, 4]);
    }
}

#[test]
fn a_missing_segment_is_a_gap_that_the_core_sees() {
    let shelf = Shelf::new();
    shelf.open().commit(&(1..=40).map(large).collect::<Vec<_>>(), false).unwrap();
    let segments = shelf.segments();
    fs::remove_file(&segments[1]).unwrap();
    let tickets = shelf.tickets();
    let gap: Vec<_> = (1..=40).filter(|ticket| !tickets.contains(ticket)).collect();
    assert!(gap.len() > 10 && tickets.last() == Some(&40), "{tickets:?}");
}

#[test]
fn a_flipped_bit_in_a_row_is_handed_over_as_it_is() {
    let shelf = Shelf::filled(3);
    shelf.change(0, |bytes| {
        let at = find(bytes, b"head 2");
        bytes[at] ^= 1;
    });
    let rows = shelf.recovered().1;
    assert_eq!(&rows[1].1[..], [b"i", &row(2).1.to_bytes()[1..]].concat());
    assert_eq!(rows[2].1, row(3).1.to_bytes());
}

#[test]
fn a_flipped_bit_around_a_row_takes_that_row_alone() {
    for at in 1..=20 {
        let shelf = Shelf::filled(3);
        shelf.change(0, |bytes| {
            let header = find(bytes, b"head 2") - 24;
            bytes[header + at - 1] ^= 0x10;
        });
        assert_eq!(shelf.tickets(), [1, 3], "byte {at}");
    }
}

#[test]
fn what_is_no_segment_is_refused_and_left_alone() {
    let letter = b"this is a letter to my aunt\n".repeat(400);
    let shelf = Shelf::filled(3);
    let path = Segment::path(&shelf.path(), 9);
    fs::write(&path, &letter).unwrap();
    let refusal = shelf.refusal();
    assert!(refusal.contains("00000000000000000009.rows is damaged"), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), letter);
    fs::remove_file(&path).unwrap();
    fs::rename(&shelf.segments()[0], &path).unwrap();
    let refusal = shelf.refusal();
    assert!(refusal.contains("it says that it begins with row 1"), "{refusal}");
}

#[test]
fn a_journal_of_an_earlier_version_is_not_taken_for_an_empty_one() {
    let shelf = Shelf::new();
    fs::write(shelf.0.path().join("journal.redb"), b"what an earlier version wrote").unwrap();
    let refusal = Store::open(&shelf.path(), no_reserve()).expect_err("refused").to_string();
    assert!(refusal.contains("journal.redb") && refusal.contains("earlier version"), "{refusal}");
    assert!(!shelf.path().exists());
}

#[test]
fn marks_say_what_was_durable_and_are_left_when_asked() {
    let shelf = Shelf::new();
    let mut store = shelf.open();
    store.commit(&[row(1), row(2)], true).unwrap();
    store.commit(&[row(3)], false).unwrap();
    let (mut again, _, marked) = shelf.recovered();
    assert_eq!(marked, 2);
    again.commit(&[row(4)], false).unwrap();
    again.commit(&[], true).unwrap();
    again.commit(&[], true).unwrap();
    let end = again.used();
    again.commit(&[], true).unwrap();
    assert_eq!(again.used(), end, "what is marked is not marked again");
    assert_eq!(shelf.recovered().2, 4);
}

#[test]
fn trimmed_segments_go_a_bounded_number_each_time() {
    let shelf = Shelf::new();
    let mut store = shelf.open();
    for start in (1..=600).step_by(30) {
        store.commit(&(start..start + 30).map(large).collect::<Vec<_>>(), false).unwrap();
    }
    let (used, segments) = (store.used(), shelf.segments().len());
    store.trim(Ticket(590));
    store.trim(Ticket(300));
    assert!(store.has_trims());
    let mut commits = 0;
    while store.has_trims() {
        store.commit(&[], false).unwrap();
        commits += 1;
    }
    assert_eq!(commits, (segments - 1).div_ceil(TRIM_SEGMENTS), "{segments} segments");
    assert!(store.used() < used / 20, "{} of {used}", store.used());
    let loaded = store.reader().load(&[part(589, 0, 1), part(590, 0, 1), part(600, 0, 1)]).unwrap();
    assert_eq!(loaded.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
    drop(store);
    let tickets = shelf.tickets();
    assert!(tickets.first().is_some_and(|&first| (570..=590).contains(&first)), "{tickets:?}");
    assert_eq!(tickets.last(), Some(&600));
    assert_eq!(shelf.recovered().2, 600, "before anything is taken away, the row that says so is marked");
}

#[test]
fn what_is_dead_in_front_of_a_segment_is_given_back_and_the_rest_found_again() {
    let shelf = Shelf::new();
    let mut store = shelf.open();
    store.commit(&(1..=10).map(large).collect::<Vec<_>>(), false).unwrap();
    store.commit(&[], true).unwrap();
    let (used, held) = (store.used(), store.held());
    store.trim(Ticket(9));
    store.commit(&[], false).unwrap();
    assert!(store.used() < used / 4, "{} of {used}", store.used());
    assert_eq!(held - store.held(), used - store.used(), "what is given back is held no more");
    drop(store);
    let (mut store, rows, _) = shelf.recovered();
    assert_eq!(rows.iter().map(|(ticket, _)| ticket.0).collect::<Vec<_>>(), [9, 10]);
    assert_eq!(rows[0].1, large(9).1.to_bytes());
    store.commit(&[row(11)], false).unwrap();
    drop(store);
    assert_eq!(shelf.tickets(), [9, 10, 11]);
}

/// A disk that can be full as long as the reserve's file is there, whose syncs can fail, and whose writes can end in the middle.
#[derive(Clone, Debug, Default)]
struct BadDisk(Arc<Faults>);

#[derive(Debug, Default)]
struct Faults {
    full: AtomicBool,
    writes_end_early: AtomicBool,
    syncs_fail: AtomicBool,
    reserve: Mutex<PathBuf>,
    refused: Mutex<u32>,
    syncs: Mutex<u32>,
}

impl Faults {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) && self.reserve.lock().unwrap().exists() {
            *self.refused.lock().unwrap() += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Files for BadDisk {
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.0.room()?;
        System.allocate(file, bytes)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.0.writes_end_early.load(Ordering::SeqCst) {
            System.write(file, &bytes[..bytes.len() / 2], at)?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.room()?;
        System.write(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        *self.0.syncs.lock().unwrap() += 1;
        if self.0.syncs_fail.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        System.sync(file)
    }
}

impl Shelf {
    /// A store with one row on a disk that is not bad yet, and with a reserve.
    fn on_bad_disk(&self) -> (Store<BadDisk>, Arc<Faults>, Arc<Reserve>) {
        let path = self.0.path().join("reserve");
        let reserve = Arc::new(Reserve::new(path.clone(), 1 << 16));
        assert!(reserve.take().unwrap());
        let disk = BadDisk::default();
        *disk.0.reserve.lock().unwrap() = path;
        let faults = Arc::clone(&disk.0);
        let mut store = Store::open_on(&self.path(), Arc::clone(&reserve), disk).unwrap();
        store.commit(&[row(1)], false).unwrap();
        (store, faults, reserve)
    }
}

#[test]
fn a_commit_is_one_sync_however_many_rows_it_has() {
    let shelf = Shelf::new();
    let (mut store, faults, _) = shelf.on_bad_disk();
    for (rows, quick, syncs) in [(2..=2, false, 1), (3..=1000, false, 1), (1001..=1002, true, 2)] {
        *faults.syncs.lock().unwrap() = 0;
        store.commit(&rows.map(row).collect::<Vec<_>>(), quick).unwrap();
        assert_eq!(*faults.syncs.lock().unwrap(), syncs);
    }
}

#[test]
fn a_commit_on_a_full_disk_gives_up_the_reserve_and_succeeds() {
    let shelf = Shelf::new();
    let (mut store, faults, reserve) = shelf.on_bad_disk();
    faults.full.store(true, Ordering::SeqCst);
    store.commit(&[row(2)], false).unwrap();
    assert_eq!((*faults.refused.lock().unwrap(), reserve.missing()), (1, 1 << 16));
    // The reserve comes back when there is room, and then serves a new segment.
    assert!(reserve.take().unwrap());
    store.commit(&(3..=20).map(large).collect::<Vec<_>>(), false).unwrap();
    assert_eq!(reserve.missing(), 1 << 16);
    assert_eq!(shelf.tickets(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_start_on_a_full_disk_needs_no_more_room_than_it_writes() {
    let shelf = Shelf::filled(9);
    let path = shelf.0.path().join("reserve");
    fs::write(&path, b"held by somebody else").unwrap();
    let disk = BadDisk::default();
    *disk.0.reserve.lock().unwrap() = path;
    disk.0.full.store(true, Ordering::SeqCst);
    let faults = Arc::clone(&disk.0);
    let mut store = Store::open_on(&shelf.path(), no_reserve(), disk).unwrap();
    assert_eq!(store.recover(|_, _| Ok::<(), ()>(())).unwrap(), Ticket(0));
    // Rows 8 and 9 do not count, and what the file had beyond them is gone when there is no room to have it again.
    assert!(store.commit(&[row(8)], false).is_err(), "nor is there room for a file of its own");
    assert!(*faults.refused.lock().unwrap() > 1);
    drop(store);
    shelf.recovered().0.commit(&[row(8)], false).unwrap();
    assert_eq!(shelf.tickets(), (1..=8).collect::<Vec<_>>());
}

#[test]
fn a_failed_sync_is_final_whatever_the_reserve() {
    let shelf = Shelf::new();
    let (mut store, faults, reserve) = shelf.on_bad_disk();
    faults.syncs_fail.store(true, Ordering::SeqCst);
    assert!(store.commit(&[row(2)], false).is_err());
    faults.syncs_fail.store(false, Ordering::SeqCst);
    let refusal = store.commit(&[row(3)], false).expect_err("nobody knows what is on the disk");
    assert!(matches!(refusal, StoreError::Failed), "{refusal}");
    assert_eq!(reserve.missing(), 0);
    assert_eq!(store.reader().load(&[part(2, 0, 1)]).unwrap(), [None], "it never was durable");
}

#[test]
fn a_write_that_ends_in_the_middle_is_final_and_its_rest_does_not_count() {
    let shelf = Shelf::new();
    let (mut store, faults, _) = shelf.on_bad_disk();
    faults.writes_end_early.store(true, Ordering::SeqCst);
    assert!(store.commit(&(2..=9).map(row).collect::<Vec<_>>(), false).is_err());
    faults.writes_end_early.store(false, Ordering::SeqCst);
    assert!(store.commit(&[row(2)], false).is_err());
    drop(store);
    let (mut store, rows, marked) = shelf.recovered();
    assert!(rows.len() < 9 && marked == 0, "{} rows", rows.len());
    store.commit(&[row(2), row(3)], false).unwrap();
    drop(store);
    assert_eq!(shelf.tickets(), [1, 2, 3]);
}

/// Whatever part of the unsynced rows a crash leaves: what was synced comes back whole, and so does what is written next.
#[test]
fn any_cut_of_the_last_write_leaves_all_before_it() {
    let shelf = Shelf::filled(5);
    let end = shelf.recovered().0.used() as usize;
    {
        let (mut store, _, _) = shelf.recovered();
        store.commit(&(6..=8).map(row).collect::<Vec<_>>(), false).unwrap();
    }
    let whole = fs::read(&shelf.segments()[0]).unwrap();
    let written = shelf.recovered().0.used() as usize;
    for cut in (end..=written).step_by(5) {
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        fs::write(&shelf.segments()[0], &bytes).unwrap();
        let (mut store, rows, _) = shelf.recovered();
        let sound = rows.iter().zip(1..).take_while(|((_, bytes), n)| *bytes == row(*n).1.to_bytes()).count();
        assert!(sound >= 5 && rows.len() <= 8, "cut at {cut}: {sound} of {}", rows.len());
        store.commit(&[row(sound as u64 + 1), row(sound as u64 + 2)], false).unwrap();
        drop(store);
        let rows = shelf.recovered().1;
        assert_eq!(rows.len(), sound + 2, "cut at {cut}");
        assert!(rows.iter().zip(1..).all(|((_, bytes), number)| *bytes == row(number).1.to_bytes()));
    }
}
