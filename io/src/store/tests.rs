use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::InMemoryBackend;

use super::*;

const CACHE: usize = 1 << 20;

fn no_reserve() -> Arc<Reserve> {
    Arc::new(Reserve::new("/nonexistent/reserve".into(), 0))
}

fn row(number: u64) -> (Ticket, Payload) {
    let mut payload = Payload::from(Bytes::from(format!("head {number} ")));
    payload.push(Bytes::from(vec![number as u8; 10]));
    payload.push(Bytes::from_static(b" tail"));
    (Ticket(number), payload)
}

fn recovered(store: &mut Store) -> Vec<(Ticket, Bytes)> {
    let mut rows = Vec::new();
    let taken: Result<(), RecoveryError<()>> = store.recover(|ticket, bytes| {
        rows.push((ticket, bytes));
        Ok(())
    });
    taken.expect("readable");
    rows
}

#[test]
fn rows_come_back_in_order_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    {
        let mut store = Store::open(&path, CACHE, no_reserve()).unwrap();
        assert!(recovered(&mut store).is_empty());
        store.commit(&[row(1), row(2)], false).unwrap();
        store.commit(&(3..=300).map(row).collect::<Vec<_>>(), true).unwrap();
    }
    let mut store = Store::open(&path, CACHE, no_reserve()).unwrap();
    let rows = recovered(&mut store);
    assert_eq!(rows.len(), 300);
    for (number, (ticket, bytes)) in (1..).zip(rows) {
        assert_eq!(ticket, Ticket(number));
        assert_eq!(bytes, row(number).1.to_bytes());
    }
}

#[test]
fn a_crash_loses_no_commit_whether_quick_or_not() {
    for quick in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (path, image) = (dir.path().join("journal.redb"), dir.path().join("image.redb"));
        let mut store = Store::open(&path, CACHE, no_reserve()).unwrap();
        for number in 1..=50 {
            store.commit(&[row(number)], quick && number % 10 == 0).unwrap();
        }
        // What a killed process leaves: everything written, nothing closed.
        std::fs::copy(&path, &image).unwrap();
        let mut after = Store::open(&image, CACHE, no_reserve()).unwrap();
        assert_eq!(recovered(&mut after).len(), 50);
        after.commit(&[row(51)], false).unwrap();
    }
}

#[test]
fn a_refused_row_ends_recovery_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&dir.path().join("journal.redb"), CACHE, no_reserve()).unwrap();
    store.commit(&(1..=9).map(row).collect::<Vec<_>>(), false).unwrap();
    let mut seen = 0;
    let result = store.recover(|ticket, _| {
        seen += 1;
        if ticket == Ticket(4) { Err("no") } else { Ok(()) }
    });
    assert!(matches!(result, Err(RecoveryError::Refused("no"))));
    assert_eq!(seen, 4);
}

#[test]
fn trims_go_with_the_next_commits_a_bounded_number_each() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let mut store = Store::open(&path, CACHE, no_reserve()).unwrap();
    assert!(recovered(&mut store).is_empty());
    store.commit(&(1..=5000).map(row).collect::<Vec<_>>(), false).unwrap();
    let used = store.used();
    store.trim(Ticket(4000));
    store.trim(Ticket(3000));
    assert!(store.has_trims());
    store.commit(&[row(5001)], false).unwrap();
    assert!(store.has_trims(), "a commit of one row does not take 4000 away");
    let mut commits = 1;
    while store.has_trims() {
        store.commit(&[], false).unwrap();
        commits += 1;
    }
    assert!((3..=5).contains(&commits), "{commits}");
    assert!(store.used() < used / 3, "{} of {used}", store.used());
    drop(store);
    let mut store = Store::open(&path, CACHE, no_reserve()).unwrap();
    let rows = recovered(&mut store);
    assert_eq!(rows.first().map(|row| row.0), Some(Ticket(4000)));
    assert_eq!(rows.len(), 1002);
}

#[test]
fn loads_give_the_part_asked_for_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&dir.path().join("journal.redb"), CACHE, no_reserve()).unwrap();
    store.commit(&[row(1), row(2)], false).unwrap();
    let part = |row, offset, len| Part { row: Ticket(row), offset, len };
    let loaded = store
        .reader()
        .load(&[
            part(1, 0, 4),
            part(2, 5, 1),
            part(2, 17, 5),
            part(2, 17, 6),
            part(9, 0, 1),
            part(1, u32::MAX, 1),
        ])
        .unwrap();
    let expected: [Option<&[u8]>; 6] = [Some(b"head"), Some(b"2"), Some(b" tail"), None, None, None];
    assert_eq!(loaded.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
}

#[test]
fn a_flipped_bit_is_handed_over_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let mark = b"a text that stands nowhere else";
    {
        let mut store = Store::open(&path, CACHE, no_reserve()).unwrap();
        store.commit(&[(Ticket(1), Payload::from(Bytes::from_static(mark))), row(2)], false).unwrap();
    }
    let mut file = std::fs::read(&path).unwrap();
    let mut found = 0;
    for place in 0..file.len() - mark.len() {
        if &file[place..place + mark.len()] == mark {
            file[place] ^= 1;
            found += 1;
        }
    }
    assert!(found > 0);
    std::fs::write(&path, file).unwrap();
    let mut store = Store::open(&path, CACHE, no_reserve()).unwrap();
    let rows = recovered(&mut store);
    assert_eq!(&rows[0].1[1..], &mark[1..]);
    assert_eq!(rows[0].1[0], mark[0] ^ 1);
    assert_eq!(rows[1].1, row(2).1.to_bytes());
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let content = b"this is a letter to my aunt\n".repeat(400);
    std::fs::write(&path, &content).unwrap();
    assert!(Store::open(&path, CACHE, no_reserve()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

/// A disk that takes so many bytes of new pages, and more only once the reserve's file is gone. A sync can be made to fail.
#[derive(Debug)]
struct SmallDisk {
    inner: InMemoryBackend,
    full: Arc<AtomicBool>,
    sync_fails: Arc<AtomicBool>,
    reserve: std::path::PathBuf,
    refused: Arc<Mutex<u32>>,
}

impl StorageBackend for SmallDisk {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) && self.reserve.exists() {
            *self.refused.lock().unwrap() += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.write(offset, data)
    }
}

#[test]
fn a_commit_on_a_full_disk_gives_up_the_reserve_and_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reserve");
    let reserve = Arc::new(Reserve::new(path.clone(), 1 << 16));
    assert!(reserve.take().unwrap());
    let (full, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
    let disk = SmallDisk {
        inner: InMemoryBackend::new(),
        full: Arc::clone(&full),
        sync_fails: Arc::default(),
        reserve: path.clone(),
        refused: Arc::clone(&refused),
    };
    let mut store = Store::open_backend(disk, CACHE, Arc::clone(&reserve)).unwrap();
    store.commit(&[row(1)], false).unwrap();
    full.store(true, Ordering::SeqCst);
    store.commit(&[row(2)], false).unwrap();
    assert_eq!(*refused.lock().unwrap(), 1);
    assert_eq!(reserve.missing(), 1 << 16);
    // The reserve comes back when there is room, and then serves again.
    assert!(reserve.take().unwrap());
    store.commit(&[row(3)], false).unwrap();
    assert_eq!(*refused.lock().unwrap(), 2);
    assert_eq!(recovered(&mut store).len(), 3);
}

#[test]
fn a_failed_sync_is_final_whatever_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reserve");
    let reserve = Arc::new(Reserve::new(path.clone(), 1 << 16));
    assert!(reserve.take().unwrap());
    let sync_fails = Arc::new(AtomicBool::new(false));
    let disk = SmallDisk {
        inner: InMemoryBackend::new(),
        full: Arc::default(),
        sync_fails: Arc::clone(&sync_fails),
        reserve: path.clone(),
        refused: Arc::default(),
    };
    let mut store = Store::open_backend(disk, CACHE, Arc::clone(&reserve)).unwrap();
    store.commit(&[row(1)], false).unwrap();
    sync_fails.store(true, Ordering::SeqCst);
    assert!(store.commit(&[row(2)], false).is_err());
    sync_fails.store(false, Ordering::SeqCst);
    assert!(store.commit(&[row(3)], false).is_err(), "redb takes nothing after an error, and so do we");
    assert_eq!(reserve.missing(), 0);
}

#[test]
fn the_footprint_of_rows_is_near_what_the_store_allocates() {
    for len in [20, 300, 1500, 3000, 6000, 9000, 40_000, 65_000, 130_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("journal.redb"), 64 << 20, no_reserve()).unwrap();
        let rows = (4 << 20) / len as u64;
        for start in (0..rows).step_by(64) {
            let batch: Vec<_> = (start..(start + 64).min(rows))
                .map(|number| (Ticket(number + 1), Payload::from(Bytes::from(vec![7; len]))))
                .collect();
            store.commit(&batch, false).unwrap();
        }
        let transaction = store.database.get().begin_write().unwrap();
        let stats = transaction.stats().unwrap();
        let allocated = stats.allocated_pages() * stats.page_size() as u64;
        let used = store.used();
        assert!(
            used * 10 >= allocated * 9 && used * 10 <= allocated * 11,
            "{len}: used {used}, allocated {allocated}"
        );
        transaction.abort().unwrap();
    }
}

#[test]
fn compacting_gives_the_disk_back_and_keeps_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let mut store = Store::open(&path, CACHE, no_reserve()).unwrap();
    let reader = store.reader();
    for number in 1..=300 {
        store
            .commit(&[(Ticket(number), Payload::from(Bytes::from(vec![number as u8; 50_000])))], false)
            .unwrap();
    }
    store.trim(Ticket(290));
    store.commit(&[], false).unwrap();
    let before = std::fs::metadata(&path).unwrap().len();
    store.compact().unwrap();
    let after = std::fs::metadata(&path).unwrap().len();
    assert!(after < before / 4, "{after} of {before}");
    let part = |row| Part { row: Ticket(row), offset: 49_999, len: 1 };
    let loaded = reader.load(&[part(289), part(290), part(300)]).unwrap();
    let expected = [None, Some(&[290_u64 as u8][..]), Some(&[300_u64 as u8][..])];
    assert_eq!(loaded.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    store.commit(&[row(301)], false).unwrap();
}
