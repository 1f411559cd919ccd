use super::*;
use crate::digest::Chain;
use crate::id::{NodeId, ReplicaId};
use crate::raft::wire::encode_delta;
use bytes::Bytes;

fn log(terms: &[u64]) -> Log {
    let mut log = Log::new(Place::default(), Arc::default(), Planted::none());
    for &term in terms {
        push(&mut log, term);
    }
    log
}

fn push(log: &mut Log, term: u64) {
    let index = log.last().index.next();
    log.push(Entry { index, term: Term(term), kind: EntryKind::Command, data: Bytes::new(), weight: 0 });
}

#[test]
fn truncation_lowers_what_is_durable_and_what_is_being_written() {
    let mut log = log(&[1, 1]);
    let first = log.writing();
    push(&mut log, 1);
    let second = log.writing();
    assert!(log.written(first));
    assert_eq!(log.durable(), LogIndex(2));
    log.truncate(LogIndex(2));
    push(&mut log, 2);
    push(&mut log, 2);
    let third = log.writing();
    assert!(!log.written(second), "the second write held entries that are no more");
    assert_eq!(log.durable(), LogIndex(1));
    assert!(log.written(third));
    assert_eq!(log.durable(), LogIndex(3));
}

#[test]
fn equal_places_with_other_content_are_a_fork() {
    let mut a = log(&[1, 1]);
    let mut b = log(&[1, 1]);
    a.push(Entry {
        index: LogIndex(3),
        term: Term(2),
        kind: EntryKind::Command,
        data: Bytes::new(),
        weight: 0,
    });
    let data = Bytes::from_static(b"other");
    b.push(Entry { index: LogIndex(3), term: Term(2), kind: EntryKind::Command, data, weight: 0 });
    assert_eq!(a.agrees(b.last()), Err(Mismatch::Forked(LogIndex(3))));
    assert_eq!(a.agrees(log(&[1, 1]).last()), Ok(()));
    assert_eq!(a.agrees(log(&[1, 1, 3]).last()), Err(Mismatch::Differs));
    assert_eq!(a.agrees(log(&[1, 1, 2, 2]).last()), Err(Mismatch::Differs));
}

fn learners(numbers: &[u128]) -> Configuration {
    let member = |&n: &u128| Member { node: NodeId(n), replica: ReplicaId(n) };
    Configuration::simple(Vec::new(), numbers.iter().map(member).collect())
}

fn run<const N: usize>(entries: [Entry; N]) -> Entries {
    entries.into_iter().collect()
}

fn change(index: u64, before: &[u128], after: &[u128]) -> Entry {
    let data = encode_delta(&Delta::between(&learners(before), &learners(after)));
    Entry { index: LogIndex(index), term: Term(1), kind: EntryKind::Configuration, data, weight: 0 }
}

#[test]
fn the_configuration_follows_from_the_log_whatever_is_cut_at_either_end() {
    let mut log = log(&[1]);
    let steps: [&[u128]; 4] = [&[], &[1, 2], &[2, 3], &[3]];
    for (before, after) in steps.iter().zip(&steps[1..]) {
        log.push(change(log.last().index.next().0, before, after));
    }
    let at = |log: &Log, index| Configuration::clone(&log.configuration_at(LogIndex(index)));
    for (index, step) in (1..).zip(&steps) {
        assert_eq!(at(&log, index), learners(step));
    }
    let named = |log: &Log, n| log.named_at(Member { node: NodeId(n), replica: ReplicaId(n) });
    assert_eq!([1, 2, 3].map(|n| named(&log, n)), [2, 2, 3].map(LogIndex));
    log.truncate(LogIndex(4));
    assert_eq!((log.configuration(), log.configured_at()), (&learners(&[2, 3]), LogIndex(3)));
    log.compact(LogIndex(2));
    assert_eq!((at(&log, 2), at(&log, 3)), (learners(&[1, 2]), learners(&[2, 3])));
    log.compact(LogIndex(3));
    assert_eq!((log.configuration(), log.configured_at()), (&learners(&[2, 3]), LogIndex(3)));
    assert_eq!(named(&log, 3), LogIndex(3), "at the base or before");
    log.check_invariants();
}

#[test]
fn an_entry_that_changes_another_configuration_does_not_fit() {
    let mut log = log(&[1]);
    log.push(change(2, &[], &[1, 2]));
    assert_eq!(log.misfit(&run([change(3, &[1, 2], &[1]), change(4, &[1], &[])])), None);
    assert_eq!(log.misfit(&run([change(3, &[], &[2])])), Some(LogIndex(3)), "it learns already");
    let twice = run([change(3, &[1, 2], &[1]), change(4, &[2], &[])]);
    assert_eq!(log.misfit(&twice), Some(LogIndex(4)));
    assert_eq!(log.misfit(&run([change(2, &[], &[2])])), None, "in the place of what stands there");
    let blank = Entry { kind: EntryKind::Blank, data: Bytes::new(), ..change(2, &[], &[]) };
    assert_eq!(log.misfit(&run([blank, change(3, &[], &[2])])), None, "what stands there is cut off");
}

#[test]
fn compaction_and_reset_keep_what_follows() {
    let mut log = log(&[1, 1, 2, 2]);
    let place = log.place(LogIndex(3)).expect("there");
    log.compact(LogIndex(2));
    assert_eq!((log.first(), log.last().index), (LogIndex(3), LogIndex(4)));
    log.reset(place, Configuration::default());
    assert_eq!((log.first(), log.last().index), (LogIndex(4), LogIndex(4)));
    log.check_invariants();
    log.reset(Place { index: LogIndex(9), term: Term(3), chain: Chain([1; 16]) }, Configuration::default());
    assert_eq!((log.base().index, log.last().index), (LogIndex(9), LogIndex(9)));
}
