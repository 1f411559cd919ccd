use std::thread;

use super::*;

struct Setup {
    dir: tempfile::TempDir,
    disk: Disk,
    answers: tokio::sync::mpsc::UnboundedReceiver<Urgent>,
}

fn setup(limit: Option<u64>) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let (urgent, answers) = tokio::sync::mpsc::unbounded_channel();
    let path = dir.path().join("journal");
    let reserve = Arc::new(Reserve::new(dir.path().join("reserve"), 1 << 16));
    let store = Store::open(&path, Arc::clone(&reserve)).unwrap();
    let meter = Meter::new(dir.path().to_owned(), limit);
    let disk = Disk::start(store, meter, reserve, &urgent).unwrap();
    Setup { dir, disk, answers }
}

impl Setup {
    fn until<T>(&mut self, mut wanted: impl FnMut(Urgent) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            match self.answers.try_recv() {
                Ok(answer) => {
                    if let Some(found) = wanted(answer) {
                        return found;
                    }
                }
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
        panic!("not answered in time");
    }

    fn persisted(&mut self, ticket: u64) {
        let mut last = Ticket(0);
        self.until(|answer| match answer {
            Urgent::Persisted { upto } => {
                assert!(upto > last, "grows from call to call");
                last = upto;
                (upto >= Ticket(ticket)).then_some(())
            }
            Urgent::WriteFailed { reason } => panic!("{reason}"),
            _ => None,
        });
    }
}

fn row(number: u64, len: usize) -> (Ticket, Payload) {
    (Ticket(number), Payload::from(Bytes::from(vec![number as u8; len])))
}

fn part(number: u64, len: u32) -> Part {
    Part { row: Ticket(number), offset: 0, len }
}

#[test]
fn everything_submitted_is_answered_and_is_there_after_the_end() {
    let mut setup = setup(None);
    for number in 1..=500 {
        setup.disk.write(vec![row(2 * number - 1, 100), row(2 * number, 100)]);
    }
    setup.persisted(1000);
    assert_eq!(setup.disk.pending_bytes(), 0);
    setup.disk.write(vec![row(1001, 100)]);
    drop(setup.disk);
    let path = setup.dir.path().join("journal");
    let mut store = Store::open(&path, Arc::new(Reserve::new("none".into(), 0))).unwrap();
    let mut count = 0;
    let recovered: Result<Ticket, crate::store::RecoveryError<()>> = store.recover(|ticket, _| {
        count += 1;
        assert_eq!(ticket, Ticket(count));
        Ok(())
    });
    assert_eq!(recovered.unwrap(), Ticket(1001), "what is durable is marked at the end");
    assert_eq!(count, 1001, "the row submitted last was written before the disk was let go");
}

#[test]
fn a_load_sees_every_write_submitted_before_it_committed_or_not() {
    let mut setup = setup(None);
    for number in 1..=2000 {
        setup.disk.write(vec![row(number, 300)]);
        setup.disk.load(LoadId(number), part(number, 300));
        setup.disk.load(LoadId(10_000 + number), part(number.div_ceil(2), 300));
    }
    let mut answered = 0;
    setup.until(|answer| {
        if let Urgent::Loaded { load, bytes } = answer {
            let number = if load.0 > 10_000 { (load.0 - 10_000).div_ceil(2) } else { load.0 };
            assert_eq!(bytes.as_deref(), Some(&[number as u8; 300][..]), "{load:?}");
            answered += 1;
        }
        (answered == 4000).then_some(())
    });
    setup.disk.load(LoadId(1), part(3000, 1));
    let nothing = setup.until(|answer| match answer {
        Urgent::Loaded { bytes, .. } => Some(bytes),
        _ => None,
    });
    assert_eq!(nothing, None);
}

#[test]
fn trims_happen_even_when_nothing_more_is_written() {
    let mut setup = setup(Some(64 << 20));
    setup.disk.write((1..=3000).map(|number| row(number, 4000)).collect());
    let low = setup.until(|answer| match answer {
        Urgent::Space { free } if free < 56 << 20 => Some(free),
        _ => None,
    });
    setup.disk.trim(Ticket(3000));
    let high = setup.until(|answer| match answer {
        Urgent::Space { free } if free > 62 << 20 => Some(free),
        _ => None,
    });
    assert!(high > low);
    setup.disk.load(LoadId(1), part(2999, 1));
    setup.disk.load(LoadId(2), part(3000, 1));
    let mut loaded = Vec::new();
    setup.until(|answer| {
        if let Urgent::Loaded { load, bytes } = answer {
            loaded.push((load.0, bytes.is_some()));
        }
        (loaded.len() == 2).then_some(())
    });
    loaded.sort_unstable();
    assert_eq!(loaded, [(1, false), (2, true)]);
}

#[test]
fn free_space_is_told_at_once_and_falls_as_rows_come() {
    let mut setup = setup(Some(1 << 20));
    let at_start = setup.until(|answer| match answer {
        Urgent::Space { free } => Some(free),
        _ => None,
    });
    assert_eq!(at_start, 1 << 20);
    for number in 1..=300 {
        setup.disk.write(vec![row(number, 4000)]);
    }
    setup.until(|answer| match answer {
        Urgent::Space { free: 0 } => Some(()),
        _ => None,
    });
}
