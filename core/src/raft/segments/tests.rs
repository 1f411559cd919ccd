use bytes::Bytes;

use super::*;
use crate::raft::message::EntryKind;
use crate::rng::{Purpose, Rng};

const LIMITS: RunLimits = RunLimits { entries: 5, bytes: 40 };

fn entry(index: u64, term: u64, len: u64) -> Entry {
    let data = Bytes::from(alloc::vec![index as u8; len as usize]);
    Entry { index: LogIndex(index), term: Term(term), kind: EntryKind::Command, data, weight: 0 }
}

/// The twin is a plain list with a place for every entry.
struct List(Vec<(Entry, Place)>, Place);

impl List {
    fn end(&self) -> Place {
        self.0.last().map_or(self.1, |(_, place)| *place)
    }

    fn push(&mut self, entry: Entry) {
        let place = self.end().then(&entry);
        self.0.push((entry, place));
    }

    fn place(&self, index: LogIndex) -> Option<Place> {
        if index == self.1.index {
            return Some(self.1);
        }
        self.0.iter().map(|(_, place)| *place).find(|place| place.index == index)
    }
}

fn slice_of(list: &List, from: LogIndex, upto: LogIndex) -> Vec<Entry> {
    let mut bytes = 0;
    let wanted = list.0.iter().map(|(entry, _)| entry).filter(|e| e.index >= from && e.index <= upto);
    let (mut run, mut whole) = (Vec::new(), true);
    wanted.for_each(|entry| {
        whole &= LIMITS.fits(run.len(), bytes, entry);
        if whole {
            bytes += entry.data.len();
            run.push(entry.clone());
        }
    });
    run
}

#[test]
fn it_holds_what_a_plain_list_holds_whatever_is_done_to_it() {
    let mut rng = Rng::stream([3; 32], Purpose::Raft);
    let base = Place::default();
    let (mut log, mut list, mut term) = (Segments::new(base), List(Vec::new(), base), 1);
    let (mut unwritten, mut let_go) = (LogIndex(1), 0);
    for _ in 0..6_000 {
        let end = list.end().index.0;
        let stored = log.stored_upto().unwrap_or_default().max(list.1.index);
        let any = LogIndex(rng.between(stored.0, end));
        term += rng.below(2);
        match rng.below(11) {
            0..=2 => {
                let entry = entry(end + 1, term, rng.below(20));
                list.push(entry.clone());
                log.push(entry);
            }
            3 | 4 => {
                let count = rng.below(7);
                let run: Vec<Entry> = (1..=count).map(|n| entry(end + n, term, 4)).collect();
                run.iter().for_each(|entry| list.push(entry.clone()));
                log.append(run.into());
            }
            5 => log.close(LIMITS),
            6 => {
                list.0.retain(|(entry, _)| entry.index <= any);
                log.truncate(any);
                unwritten = unwritten.min(any.next());
            }
            7 => {
                let any = LogIndex(list.1.index.0 + rng.below(12));
                let any = any.min(unwritten.before());
                let place = list.place(any).expect("in the list");
                list.0.retain(|(entry, _)| entry.index > any);
                list.1 = place;
                log.advance(place);
            }
            8 => {
                log.close(LIMITS);
                while let Some((before, run, end)) = log.take_run(unwritten, LIMITS) {
                    assert_eq!(
                        (Some(before), Some(end)),
                        (list.place(unwritten.before()), list.place(end.index))
                    );
                    assert_eq!(run[..], slice_of(&list, unwritten, end.index)[..]);
                    unwritten = end.index.next();
                }
            }
            9 => {
                let held = log.held();
                let freed = log.evict(unwritten.before());
                assert_eq!(log.held(), held - freed.unwrap_or(0));
                let_go += usize::from(freed.is_some());
            }
            _ => {
                let from = any.next();
                let upto = LogIndex(rng.between(any.0, end));
                assert_eq!(log.slice(from, upto, LIMITS)[..], slice_of(&list, from, upto)[..]);
                let older = Term(rng.below(term + 1));
                let last = list.0.iter().rev().find(|(entry, _)| entry.term < older);
                let last = last.map_or(list.1.index, |(entry, _)| entry.index);
                let older = Term(older.0.saturating_sub(1));
                assert_eq!(log.last_upto(LogIndex(u64::MAX), older), last);
                assert_eq!(log.last_upto(any, older), last.min(any));
            }
        }
        log.check();
        assert_eq!(log.end(), list.end());
        let index = LogIndex(rng.below(list.end().index.0 + 3));
        assert_eq!(log.term(index), list.place(index).map(|place| place.term));
        let stored = log.stored_upto().unwrap_or(list.1.index);
        let in_list = list.0.iter().map(|(entry, _)| entry).find(|entry| entry.index == index);
        assert_eq!(log.get(index), in_list.filter(|entry| entry.index > stored));
        let in_memory = list.0.iter().map(|(entry, _)| entry).filter(|entry| entry.index > stored);
        assert!(log.all().eq(in_memory));
        assert_eq!(log.base(), list.1);
        match log.stored_run(index) {
            Some((before, run)) => {
                let ends = (list.place(run.first.before()), list.place(run.end.index));
                assert_eq!(ends, (Some(before), Some(run.end)));
                assert!((run.first..=run.end.index).contains(&index) && run.slot <= run.first);
                assert_eq!(log.place(index), Some(run.end).filter(|end| end.index == index));
            }
            None => assert_eq!(log.place(index), list.place(index)),
        }
    }
    assert!(let_go > 100, "{let_go} runs were let go");
}

#[test]
fn a_batch_is_shared_by_all_who_read_it() {
    let mut log = Segments::new(Place::default());
    (1..=4).for_each(|index| log.push(entry(index, 1, 4)));
    log.close(LIMITS);
    let [a, b] = [1, 1].map(|from| log.slice(LogIndex(from), LogIndex(4), LIMITS));
    assert!(core::ptr::eq(&a[0], &b[0]));
    log.append([entry(5, 1, 4)].into_iter().collect());
    let gathered = log.slice(LogIndex(1), LogIndex(5), LIMITS);
    assert_eq!(gathered.len(), 5, "short runs travel together");
}
