use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;

use super::*;

mod crash;
mod faults;
mod memory;

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
        Segment::list(&System, &self.path()).unwrap()
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
fn rows_that_do_not_count_are_gone_before_anything_takes_their_place() {
    let shelf = Shelf::new();
    let mut store = shelf.open();
    store.commit(&(1..=40).map(large).collect::<Vec<_>>(), false).unwrap();
    drop(store);
    let before = shelf.segments();
    assert_eq!(before.len(), 3);
    let last = Segment::named(&before[2]).unwrap();
    // The first row of the last segment is the first that does not count.
    let (mut store, rows, marked) = shelf.recovered();
    assert_eq!((rows.len(), marked), (40, last - 1), "what the last segment was begun behind was durable");
    store.commit(&[row(last)], false).unwrap();
    let loaded = store.reader().load(&[part(last, 0, 4), part(last + 1, 0, 1), part(40, 0, 1)]).unwrap();
    assert_eq!(loaded, [Some(Bytes::from_static(b"head")), None, None]);
    drop(store);
    assert_eq!(shelf.tickets(), (1..=last).collect::<Vec<_>>());
    assert_eq!(shelf.segments(), before);
}

#[test]
fn what_was_durable_is_never_written_over() {
    let shelf = Shelf::filled(9);
    let (mut store, _, _) = shelf.recovered();
    store.commit(&[row(10)], true).unwrap();
    for first in [1, 9, 10] {
        let (mut store, _, marked) = shelf.recovered();
        assert_eq!(marked, 10);
        let refusal = store.commit(&[row(first)], false).expect_err("it was durable").to_string();
        assert!(refusal.contains("row 10 and all before it were once safely on disk"), "{refusal}");
        assert!(matches!(store.commit(&[row(11)], false), Err(StoreError::Failed)));
    }
    assert_eq!(shelf.tickets().len(), 10);
}

#[test]
fn a_mark_stays_when_what_stands_behind_it_is_cut_off() {
    let shelf = Shelf::filled(5);
    let (mut store, _, _) = shelf.recovered();
    store.commit(&[row(6)], true).unwrap();
    store.commit(&[row(7), row(8)], false).unwrap();
    drop(store);
    let (mut store, _, marked) = shelf.recovered();
    assert_eq!(marked, 6);
    store.commit(&[row(7)], false).unwrap();
    drop(store);
    let (_, rows, marked) = shelf.recovered();
    assert_eq!((rows.len(), marked), (7, 6));
}

#[test]
fn a_segment_that_a_crash_left_before_its_first_sync_is_nothing() {
    for len in [0, 31, 5000] {
        let shelf = Shelf::filled(3);
        fs::write(Segment::path(&shelf.path(), 4), vec![0; len]).unwrap();
        let (mut store, rows, marked) = shelf.recovered();
        assert_eq!((rows.len(), marked), (3, 3), "it was begun when they were durable");
        store.commit(&[row(4)], false).unwrap();
        drop(store);
        assert_eq!(shelf.tickets(), [1, 2, 3, 4]);
    }
}

#[test]
fn zeros_in_place_of_a_segment_are_damage_if_another_was_begun_behind_it() {
    for (zeroed, behind) in [(0, 16), (1, 31)] {
        let shelf = Shelf::new();
        shelf.open().commit(&(1..=40).map(large).collect::<Vec<_>>(), false).unwrap();
        shelf.change(zeroed, |bytes| bytes.fill(0));
        let refusal = shelf.refusal();
        let name = shelf.segments()[zeroed].display().to_string();
        assert!(refusal.contains(&name) && refusal.contains("nothing is in it"), "{behind}: {refusal}");
        assert_eq!(shelf.segments().len(), 3, "and it is left alone");
    }
}

#[test]
fn a_segment_that_reaches_into_the_next_is_damage() {
    let shelf = Shelf::filled(9);
    fs::write(Segment::path(&shelf.path(), 9), [0; 5000]).unwrap();
    let refusal = shelf.refusal();
    assert!(refusal.contains("it has row 9, though another segment begins with row 9"), "{refusal}");
}

#[test]
fn a_missing_segment_is_a_gap_that_the_core_sees_in_front_of_what_was_durable() {
    let shelf = Shelf::new();
    let mut store = shelf.open();
    store.commit(&(1..=40).map(large).collect::<Vec<_>>(), false).unwrap();
    let segments = shelf.segments();
    // Even if nothing that can be read stands behind the gap.
    shelf.change(2, |bytes| bytes.fill(0));
    fs::remove_file(&segments[1]).unwrap();
    let (_, rows, marked) = shelf.recovered();
    let behind = Segment::named(&segments[2]).unwrap();
    assert!(rows.len() < 20 && marked == behind - 1, "{} rows, {marked}", rows.len());
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
fn bytes_and_syncs_are_counted() {
    let shelf = Shelf::new();
    let tally = Arc::<Tally>::default();
    let mut store = shelf.open().counting(Arc::clone(&tally));
    let since = |before: Written| {
        let Written { bytes, syncs } = tally.written();
        (bytes - before.bytes, syncs - before.syncs)
    };
    store.commit(&[row(1)], false).unwrap();
    let framed_row = framed(row(1).1.len()) as u64;
    let heading = Heading { first: 1, salt: 0 }.encode().len() as u64;
    let first = (heading + framed_row, 3);
    assert_eq!(since(Written::default()), first, "the segment and its name besides");
    let before = tally.written();
    store.commit(&(2..=9).map(row).collect::<Vec<_>>(), false).unwrap();
    assert_eq!(since(before), (8 * framed_row, 1), "rows of one commit share a sync");
    let before = tally.written();
    store.commit(&[row(10)], true).unwrap();
    assert_eq!(since(before).1, 2, "a mark has a sync of its own");
    let before = tally.written();
    store.commit(&[], false).unwrap();
    assert_eq!(since(before), (0, 0));
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
