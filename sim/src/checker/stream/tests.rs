use super::*;
use crate::plan::{Change, CompletePlan, KeepPlan, StreamPlan, TargetPlan};
use wattle_core::id::{AuthorityEpoch, MessageId, Sequence, SessionEpoch, WriterSequence};

const LEN: usize = 40;

fn ledger(sent: u64) -> StreamLedger {
    let mut ledger = StreamLedger::new(0, &[WriterId(70), WriterId(71)]);
    for number in 1..=sent {
        ledger.sent(0, number, LEN, 0);
    }
    ledger
}

fn asked(first: u64, last: u64) -> Asked {
    Asked { first, last, wait: Waited::Completed, told: Vec::new() }
}

fn receipt(level: Waited, numbers: (u64, u64), sequences: (u64, u64)) -> Receipt {
    Receipt {
        level,
        instance: StreamInstance(5),
        authority: AuthorityEpoch(0),
        session: SessionEpoch(1),
        first_writer: WriterSequence(numbers.0),
        last_writer: WriterSequence(numbers.1),
        first: Sequence(sequences.0),
        last: Sequence(sequences.1),
        provisional: false,
        duplicate: false,
    }
}

fn message(sequence: u64, writer: usize, number: u64, version: u8) -> Delivered {
    Delivered {
        sequence: Sequence(sequence),
        id: MessageId(1),
        writer: WriterId(70 + writer as u128),
        writer_sequence: WriterSequence(number),
        bytes: content::write(Name { stream: 0, writer, number, version }, LEN),
        piece: None,
        parked: false,
    }
}

fn broken<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    result.expect_err("this breaks a promise").checker
}

#[test]
fn an_orderly_stream_passes_and_owes_nothing_once_delivered() {
    let mut ledger = ledger(3);
    let mut call = asked(1, 3);
    ledger.receipt(1, 0, &mut call, &receipt(Waited::Accepted, (1, 3), (1, 3))).unwrap();
    assert!(ledger.owed(&Left::all(1)).is_some());
    for number in 1..=3 {
        assert_eq!(ledger.seen(0, &message(number, 0, number, 0)), Ok(true));
    }
    assert_eq!(ledger.seen(0, &message(2, 0, 2, 0)), Ok(false), "a repeat is not new");
    assert!(ledger.owed(&Left::all(1)).is_some(), "no success yet");
    ledger.reported(0, 3);
    ledger.receipt(2, 0, &mut call, &receipt(Waited::Replicated, (1, 3), (1, 3))).unwrap();
    ledger.receipt(3, 0, &mut call, &receipt(Waited::Completed, (1, 3), (1, 3))).unwrap();
    assert_eq!(ledger.owed(&Left::all(1)), None);
    ledger.finish(&Left::all(1)).unwrap();
}

#[test]
fn losing_doubling_swapping_or_altering_a_message_is_seen() {
    assert_eq!(broken(ledger(3).seen(0, &message(2, 0, 1, 0))), "X1", "starts with a gap");
    let begun = || {
        let mut ledger = ledger(3);
        ledger.seen(0, &message(1, 0, 1, 0)).unwrap();
        ledger
    };
    assert_eq!(broken(begun().seen(0, &message(2, 0, 3, 0))), "X2", "a writer's message is missing");
    assert_eq!(broken(begun().seen(0, &message(2, 0, 1, 0))), "X2", "a message comes at two sequences");
    let mut late = begun();
    late.seen(0, &message(2, 0, 2, 0)).unwrap();
    late.sent(1, 1, LEN, 0);
    assert_eq!(broken(late.seen(0, &message(2, 1, 1, 0))), "X2", "a sequence bears two messages");
    let mut altered = message(3, 0, 3, 0);
    altered.bytes = content::write(Name { stream: 0, writer: 0, number: 3, version: 0 }, LEN + 1);
    assert_eq!(broken(late.seen(0, &altered)), "X2", "bytes differ");
    assert_eq!(broken(late.seen(0, &message(3, 0, 9, 0))), "X2", "never published");
    let mut other = message(3, 0, 3, 0);
    other.writer = WriterId(71);
    assert_eq!(broken(late.seen(0, &other)), "X2", "another writer's name");
}

#[test]
fn what_was_refused_must_not_show_up() {
    let mut ledger = ledger(1);
    assert_eq!(ledger.accepted(0), 0);
    ledger.reworded(0, 1, LEN, 1);
    assert_eq!(broken(ledger.seen(0, &message(1, 0, 1, 0))), "X10");
    assert_eq!(broken(ledger.seen(0, &message(1, 0, 7, content::FORBIDDEN))), "X10");
}

#[test]
fn a_promised_sequence_is_kept_and_a_provisional_one_need_not_be() {
    let mut firm = ledger(2);
    firm.receipt(1, 0, &mut asked(1, 2), &receipt(Waited::Accepted, (1, 2), (1, 2))).unwrap();
    firm.sent(1, 1, LEN, 0);
    assert_eq!(broken(firm.seen(0, &message(1, 1, 1, 0))), "X2", "sequence 1 was promised to another");
    let mut loose = ledger(2);
    let provisional = Receipt { provisional: true, ..receipt(Waited::Accepted, (1, 2), (1, 2)) };
    loose.receipt(1, 0, &mut asked(1, 2), &provisional).unwrap();
    loose.sent(1, 1, LEN, 0);
    assert_eq!(loose.seen(0, &message(1, 1, 1, 0)), Ok(true));
    assert!(loose.owed(&Left::all(1)).is_some(), "but both are owed somewhere");
}

#[test]
fn receipts_that_fall_jump_ahead_or_come_unasked_are_seen() {
    let mut ledger = ledger(2);
    let mut call = Asked { wait: Waited::Replicated, ..asked(1, 2) };
    ledger.receipt(1, 0, &mut call, &receipt(Waited::Replicated, (1, 2), (1, 2))).unwrap();
    let again = ledger.receipt(1, 0, &mut call, &receipt(Waited::Accepted, (1, 2), (1, 2)));
    assert_eq!(broken(again), "X4", "falls");
    let unasked = ledger.receipt(1, 0, &mut call, &receipt(Waited::Completed, (1, 2), (1, 2)));
    assert_eq!(broken(unasked), "X4", "unasked");
    let early = ledger.receipt(1, 0, &mut asked(1, 2), &receipt(Waited::Completed, (1, 2), (1, 2)));
    assert_eq!(broken(early), "X4", "completed before the handler's success");
    let beyond = ledger.receipt(1, 0, &mut asked(1, 1), &receipt(Waited::Accepted, (1, 2), (1, 2)));
    assert_eq!(broken(beyond), "X4", "answers for more than was asked");
}

#[test]
fn a_repeat_that_is_accepted_anew_or_moved_is_seen() {
    let mut ledger = ledger(2);
    ledger.receipt(1, 0, &mut asked(1, 2), &receipt(Waited::Accepted, (1, 2), (1, 2))).unwrap();
    let called_duplicate = Receipt { duplicate: true, ..receipt(Waited::Accepted, (1, 2), (1, 2)) };
    assert_eq!(broken(ledger.receipt(1, 0, &mut asked(1, 2), &called_duplicate)), "X9", "sent only once");
    ledger.sent(0, 1, LEN, 0);
    ledger.sent(0, 2, LEN, 0);
    ledger.receipt(1, 0, &mut asked(1, 2), &called_duplicate).unwrap();
    let anew = ledger.receipt(1, 0, &mut asked(1, 2), &receipt(Waited::Accepted, (1, 2), (1, 2)));
    assert_eq!(broken(anew), "X9");
    assert_eq!(broken(ledger.expects(0, 2)), "X9", "forgets what it accepted");
    ledger.expects(0, 3).unwrap();
    assert_eq!(broken(ledger.expects(0, 4)), "X10", "knows what was never sent");
}

#[test]
fn sequences_may_be_unknown_only_in_repeats_of_what_was_delivered() {
    let mut ledger = ledger(1);
    ledger.receipt(1, 0, &mut asked(1, 1), &receipt(Waited::Accepted, (1, 1), (1, 1))).unwrap();
    ledger.sent(0, 1, LEN, 0);
    let unknown = Receipt { duplicate: true, ..receipt(Waited::Accepted, (1, 1), (0, 0)) };
    assert_eq!(broken(ledger.receipt(2, 0, &mut asked(1, 1), &unknown)), "X4", "not delivered yet");
    assert_eq!(ledger.seen(0, &message(1, 0, 1, 0)), Ok(true));
    ledger.receipt(3, 0, &mut asked(1, 1), &unknown).unwrap();
    let new = Receipt { duplicate: false, ..unknown };
    assert_eq!(broken(ledger.receipt(4, 0, &mut asked(1, 1), &new)), "X4", "no repeat");
}

#[test]
fn a_rolled_back_source_may_lose_what_it_alone_held_and_nothing_else() {
    let mut ledger = ledger(3);
    ledger.receipt(10, 0, &mut asked(1, 1), &receipt(Waited::Accepted, (1, 1), (1, 1))).unwrap();
    ledger.receipt(20, 0, &mut asked(2, 2), &receipt(Waited::Replicated, (2, 2), (2, 2))).unwrap();
    ledger.receipt(20, 0, &mut asked(3, 3), &receipt(Waited::Accepted, (3, 3), (3, 3))).unwrap();
    ledger.source_rolled_back(15);
    ledger.expects(0, 3).unwrap();
    assert_eq!(ledger.seen(0, &message(1, 0, 1, 0)), Ok(true));
    assert!(ledger.owed(&Left::all(1)).is_some(), "what was replicated is still owed");
    assert_eq!(ledger.seen(0, &message(2, 0, 2, 0)), Ok(true));
    ledger.reported(0, 2);
    assert_eq!(ledger.owed(&Left::all(1)), None, "what it alone held is not");
}

/// Three messages are accepted, two of them replicated and one handed over.
fn half_done() -> StreamLedger {
    let mut ledger = ledger(3);
    let mut call = asked(1, 3);
    ledger.receipt(1, 0, &mut call, &receipt(Waited::Accepted, (1, 3), (1, 3))).unwrap();
    let mut call = asked(1, 2);
    let again = Receipt { duplicate: true, ..receipt(Waited::Replicated, (1, 2), (1, 2)) };
    ledger.sent(0, 1, LEN, 0);
    ledger.sent(0, 2, LEN, 0);
    ledger.receipt(2, 0, &mut call, &again).unwrap();
    ledger.seen(0, &message(1, 0, 1, 0)).unwrap();
    ledger
}

#[test]
fn what_lies_behind_the_end_of_a_sealed_stream_is_void_and_nothing_else() {
    assert_eq!(broken(half_done().sealed([0].into_iter(), Some(1))), "X28", "the second was told replicated");
    assert_eq!(broken(half_done().sealed([0].into_iter(), Some(0))), "X28", "the first was handed over");
    let mut ledger = half_done();
    ledger.sealed([0].into_iter(), Some(2)).unwrap();
    assert_eq!(ledger.void(), 1);
    assert!(ledger.owed(&Left::all(1)).is_some(), "the second is owed");
    ledger.seen(0, &message(2, 0, 2, 0)).unwrap();
    ledger.reported(0, 2);
    assert_eq!(ledger.owed(&Left::all(1)), None, "the third is void");
    assert_eq!(broken(ledger.seen(0, &message(3, 0, 3, 0))), "X28");
    let mut call = asked(3, 3);
    let late = Receipt { duplicate: true, ..receipt(Waited::Replicated, (3, 3), (3, 3)) };
    ledger.sent(0, 3, LEN, 0);
    assert_eq!(broken(ledger.receipt(3, 0, &mut call, &late)), "X28", "by a source that came back");
    let mut call = asked(3, 3);
    ledger.receipt(3, 0, &mut call, &Receipt { level: Waited::Accepted, ..late }).unwrap();
    assert_eq!(
        (ledger.void(), ledger.owed(&Left::all(1))),
        (1, None),
        "it does not know better, and that is void, too"
    );
}

/// A stream of node 0 to the next three.
fn to_three(complete: CompletePlan) -> StreamPlan {
    let stream = crate::plan::Plan::generate(1).streams.swap_remove(0);
    let more = |node| TargetPlan { node, handler: stream.handler.clone() };
    StreamPlan { source: 0, target: 1, more: vec![more(2), more(3)], later: vec![], complete, ..stream }
}

/// To two targets, of which all are to process everything.
fn to_two() -> StreamPlan {
    let mut stream = to_three(CompletePlan::All);
    stream.more.truncate(1);
    stream
}

/// Messages, one behind the other, as they lie on a disk.
fn stored(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let write = |number| content::write(Name { stream: 0, writer: 0, number, version: 0 }, LEN);
    numbers.into_iter().flat_map(write).collect()
}

#[test]
fn what_is_told_replicated_was_once_on_the_disks_of_most_members() {
    let told = |ledger: &mut StreamLedger, number: u64| {
        let wanted = receipt(Waited::Replicated, (number, number), (number, number));
        ledger.receipt(1, 0, &mut asked(number, number), &wanted).map_err(|failure| failure.checker)
    };
    let mut ledger = ledger(3).to(&to_three(CompletePlan::All));
    for node in [0, 1] {
        ledger.on_disk(node, &stored(1..=3));
    }
    assert_eq!(told(&mut ledger, 1), Err("X29".into()), "two of four");
    ledger.on_disk(7, &stored(1..=3));
    assert_eq!(told(&mut ledger, 1), Err("X29".into()), "node 7 is none of them");
    ledger.on_disk(3, &stored(1..=2));
    assert_eq!([1, 2].map(|number| told(&mut ledger, number)), [Ok(()), Ok(())]);
    assert_eq!(told(&mut ledger, 3), Err("X29".into()), "the last came to two disks");
    ledger.disk_in_doubt(1);
    ledger.sent(0, 2, LEN, 0);
    assert_eq!(told(&mut ledger, 2), Ok(()), "it was, once");
    ledger.on_disk(3, &stored(3..=3));
    assert_eq!(told(&mut ledger, 3), Ok(()), "nobody can know that one of them lost it");
    ledger.found_on_disk(1, &stored(1..=2));
    assert_eq!(told(&mut ledger, 3), Ok(()), "what a start finds on its disk nobody else hears of");
    ledger.on_disk(1, &stored(1..=1));
    assert_eq!(told(&mut ledger, 3), Err("X29".into()), "one of them came back without");
}

#[test]
fn once_all_ends_know_who_leaves_what_is_told_replicated_lies_with_those_who_stay() {
    let told = |known: bool, on: &[usize]| {
        let mut ledger = ledger(1).to(&to_three(CompletePlan::All));
        ledger.may_leave(3, Change::Detach);
        ledger.all_know_who_leaves(known);
        on.iter().for_each(|&node| ledger.on_disk(node, &stored(1..=1)));
        let wanted = receipt(Waited::Replicated, (1, 1), (1, 1));
        ledger.receipt(1, 0, &mut asked(1, 1), &wanted).map_err(|failure| failure.checker)
    };
    assert_eq!(told(false, &[0, 1, 3]), Ok(()), "most of the old members");
    assert_eq!(told(true, &[0, 1, 3]), Ok(()), "and most of those who stay");
    assert_eq!(told(true, &[0, 1]), Ok(()), "the entry that takes it out may be applied");
    assert_eq!(told(true, &[0, 3]), Err("X29".into()));
    let mut ledger = ledger(1).to(&to_two());
    ledger.may_leave(2, Change::Detach);
    [0, 2].iter().for_each(|&node| ledger.on_disk(node, &stored(1..=1)));
    ledger.all_know_who_leaves(true);
    let mut call = asked(1, 1);
    let wanted = receipt(Waited::Replicated, (1, 1), (1, 1));
    ledger.receipt(1, 0, &mut call, &wanted).expect("most of the members held it before all knew");
    assert_eq!(broken(ledger.taken_out(2)), "X30", "of those who stay one of two holds it");
}

#[test]
fn who_was_taken_out_before_a_seal_is_not_held_against_its_end() {
    let mut ledger = ledger(2).to(&to_two());
    ledger.may_leave(2, Change::Detach);
    [0, 1, 2].iter().for_each(|&node| ledger.on_disk(node, &stored(1..=2)));
    (1..=2).for_each(|at| assert_eq!(ledger.seen(1, &message(at, 0, at, 0)), Ok(true)));
    ledger.taken_out(2).unwrap();
    ledger.sealed([0].into_iter(), Some(1)).expect("what was handed to it behind that counts no more");
    assert_eq!(ledger.seen(0, &message(1, 0, 1, 0)), Ok(true));
    assert_eq!(ledger.seen(0, &message(2, 0, 2, 0)).unwrap_err().checker, "X28");
}

#[test]
fn a_source_that_goes_on_without_others_counts_who_is_left() {
    let mut ledger = ledger(3).to(&to_three(CompletePlan::All));
    let mut call = asked(1, 3);
    ledger.receipt(1, 0, &mut call, &receipt(Waited::Accepted, (1, 3), (1, 3))).unwrap();
    for node in [0, 2, 3] {
        ledger.on_disk(node, &stored(1..=3));
    }
    ledger.sealed([2, 3].into_iter(), Some(1)).unwrap();
    assert_eq!(ledger.void(), 0, "what the source accepted it still holds");
    assert!(!ledger.is_sourceless());
    let told = |upto: u64, authority: u64| {
        let receipt = receipt(Waited::Replicated, (upto, upto), (upto, upto));
        Receipt { authority: AuthorityEpoch(authority), ..receipt }
    };
    let mut tell = |upto, authority| ledger.receipt(2, 0, &mut asked(upto, upto), &told(upto, authority));
    tell(1, 1).expect("in front of the end");
    tell(2, 0).expect("void, for it was said before");
    assert_eq!(broken(tell(3, 1)), "X29", "one of two");
    ledger.on_disk(1, &stored(2..=3));
    ledger.receipt(2, 0, &mut asked(3, 3), &told(3, 1)).unwrap();
    let left = Left::sealed(&to_three(CompletePlan::All), |node| node >= 2);
    assert!(ledger.owed(&left).is_some());
    for number in 1..=3 {
        ledger.seen(0, &message(number, 0, number, 0)).unwrap();
    }
    ledger.reported(0, 3);
    assert_eq!(ledger.owed(&left), None, "the lost owe nothing");
    let completed = Receipt { level: Waited::Completed, ..told(3, 1) };
    ledger.receipt(3, 0, &mut asked(3, 3), &completed).expect("by all who are left");
}

#[test]
fn what_most_members_held_that_were_lost_together_is_void() {
    let sealed = |holders: &[usize], lost: &[usize], end: u64| {
        let mut ledger = ledger(2).to(&to_three(CompletePlan::Count(1)));
        holders.iter().for_each(|&node| ledger.on_disk(node, &stored(1..=2)));
        let mut call = asked(1, 2);
        ledger.receipt(1, 0, &mut call, &receipt(Waited::Accepted, (1, 2), (1, 2))).unwrap();
        ledger.receipt(1, 0, &mut call, &receipt(Waited::Replicated, (1, 2), (1, 2))).unwrap();
        ledger.seen(0, &message(1, 0, 1, 0)).unwrap();
        ledger.sealed(lost.iter().copied(), Some(end)).map(|()| ledger).map_err(|failure| failure.checker)
    };
    assert_eq!(sealed(&[0, 1, 2], &[0, 2], 1).err(), Some("X28".into()), "two of four decided nothing alone");
    let ledger = sealed(&[0, 1, 2, 3], &[0, 1, 2], 1).unwrap();
    assert_eq!(
        ledger.void(),
        1,
        "the only one left has the bytes of the second, and its log need not name them"
    );
    let mut ledger = sealed(&[0, 1, 2], &[0, 1, 2], 0).unwrap();
    assert_eq!(ledger.void(), 2, "the handler of one that was lost had the first");
    ledger.seen(0, &message(2, 0, 2, 0)).expect("they go on until they hear of it");
    assert_eq!(ledger.seen(2, &message(1, 0, 1, 0)).unwrap_err().checker, "X28");
}

#[test]
fn each_target_sees_everything_once_and_completed_is_what_the_policy_says() {
    let stream = &mut to_three(CompletePlan::Count(2));
    let mut ledger = ledger(2).to(stream);
    let mut call = asked(1, 2);
    ledger.receipt(1, 0, &mut call, &receipt(Waited::Accepted, (1, 2), (1, 2))).unwrap();
    for target in [0, 2] {
        for number in 1..=2 {
            assert_eq!(ledger.seen(target, &message(number, 0, number, 0)), Ok(true));
        }
        ledger.reported(target, 2);
    }
    assert_eq!(ledger.seen(0, &message(2, 0, 2, 0)), Ok(false));
    assert!(ledger.owed(&Left::all(3)).is_some_and(|owed| owed.contains("[2, 0, 2]")));
    let without = |away: usize| Left::without(stream, |_| false, |node| node == away).unwrap();
    assert_eq!(ledger.owed(&without(2)), None, "the others have done all they can");
    assert!(ledger.owed(&without(3)).is_some());
    assert_eq!((ledger.completed_by(&without(2)), ledger.completed_by(&without(3))), (2, 0));
    let completed = receipt(Waited::Completed, (1, 2), (1, 2));
    ledger.receipt(1, 0, &mut call, &completed).unwrap();
    assert_eq!(broken(ledger.seen(1, &message(2, 0, 2, 0))), "X1", "the third target begins with a gap");
    stream.complete = CompletePlan::Named(vec![1, 2]);
    let mut ledger = super::StreamLedger::new(0, &[WriterId(70)]).to(stream);
    (1..=2).for_each(|number| ledger.sent(0, number, LEN, 0));
    for target in [0, 2] {
        (1..=2).for_each(|at| assert_eq!(ledger.seen(target, &message(at, 0, at, 0)), Ok(true)));
        ledger.reported(target, 2);
    }
    assert_eq!(
        broken(ledger.receipt(1, 0, &mut asked(1, 2), &completed)),
        "X4",
        "node 2 has processed nothing"
    );
}

#[test]
fn what_only_a_target_was_owed_that_was_taken_out_is_promised_to_nobody() {
    let later = || StreamPlan { later: to_two().more, more: Vec::new(), ..to_two() };
    let came = |first: u64| {
        let mut ledger = ledger(3).to(&later());
        ledger.on_disk(0, &stored(1..=3));
        ledger.may_come(2);
        ledger.joins(1, first).unwrap();
        ledger
    };
    let begun = |first: u64| {
        let mut ledger = came(first);
        ledger.may_leave(1, Change::Detach);
        ledger
    };
    let told = |ledger: &mut StreamLedger| {
        let wanted = receipt(Waited::Replicated, (1, 3), (1, 3));
        ledger.receipt(1, 0, &mut asked(1, 3), &wanted).map_err(|failure| failure.checker)
    };
    let mut ledger = begun(4);
    ledger.receipt(1, 0, &mut asked(1, 3), &receipt(Waited::Accepted, (1, 3), (1, 3))).unwrap();
    told(&mut ledger).expect("they are let go");
    let mut ledger = begun(3);
    ledger.receipt(1, 0, &mut asked(1, 3), &receipt(Waited::Accepted, (1, 3), (1, 3))).unwrap();
    assert_eq!(told(&mut ledger), Err("X29".into()), "the third is owed");
    let mut ledger = came(3);
    assert_eq!(ledger.seen(1, &message(3, 0, 3, 0)), Ok(true));
    ledger.reported(1, 3);
    let left = Left::without(&later(), |node| node == 1, |_| false).unwrap();
    assert_eq!(broken(ledger.finish(&left)), "X2", "nobody takes out who is owed the first two");
    ledger.may_leave(1, Change::Detach);
    ledger.finish(&left).expect("nobody was told where they stand, nor need be");
}

/// Ten messages of forty bytes, all told accepted, of a stream that keeps something.
fn keeping(keep: KeepPlan) -> StreamLedger {
    let plan = StreamPlan { keep, ..to_two() };
    let mut ledger = ledger(10).to(&plan);
    let call = receipt(Waited::Accepted, (1, 10), (1, 10));
    ledger.receipt(1, 0, &mut asked(1, 10), &call).unwrap();
    ledger
}

#[test]
fn what_a_retention_wants_stays_unless_somebody_says_that_there_was_no_room() {
    let messages = KeepPlan { messages: 4, ..KeepPlan::default() };
    let bytes = KeepPlan { bytes: 4 * LEN as u64, ..KeepPlan::default() };
    let both = KeepPlan { messages: 2, ..bytes };
    for keep in [messages, bytes, both] {
        let judged = |released: u64, short: u64| {
            let mut ledger = keeping(keep);
            ledger.lets_go(released, 0);
            ledger.lets_go(0, short);
            ledger.keeps_what_it_should()
        };
        judged(6, 0).unwrap();
        assert_eq!(broken(judged(7, 0)), "X37");
        assert_eq!(broken(judged(9, 8)), "X37");
        judged(9, 9).unwrap();
        let mut lost = keeping(keep);
        lost.lets_go(9, 0);
        lost.source_rolled_back(0);
        lost.keeps_what_it_should().unwrap();
    }
    let mut none = keeping(KeepPlan { span: 1, ..KeepPlan::default() });
    none.lets_go(10, 0);
    none.keeps_what_it_should().unwrap();
}

#[test]
fn messages_whose_sequences_nobody_was_told_may_be_behind_what_goes() {
    let plan = StreamPlan { keep: KeepPlan { messages: 4, ..KeepPlan::default() }, ..to_two() };
    let mut ledger = ledger(4).to(&plan);
    ledger.lets_go(9, 0);
    ledger.keeps_what_it_should().unwrap();
    let mut few = StreamLedger::new(0, &[WriterId(70)]).to(&plan);
    few.lets_go(1, 0);
    assert_eq!(broken(few.keeps_what_it_should()), "X37");
}

/// From node 0 to node 1, and to node 2 from some moment on.
fn to_one_and_another(complete: CompletePlan) -> StreamPlan {
    let mut stream = to_three(complete);
    stream.later = vec![stream.more[0].clone()];
    stream.more.clear();
    stream
}

#[test]
fn who_comes_later_is_handed_everything_from_its_start_and_nothing_before() {
    let mut ledger = ledger(5).to(&to_one_and_another(CompletePlan::All));
    let mut call = asked(1, 5);
    ledger.receipt(1, 0, &mut call, &receipt(Waited::Accepted, (1, 5), (1, 5))).unwrap();
    (1..=4).for_each(|at| assert_eq!(ledger.seen(0, &message(at, 0, at, 0)), Ok(true)));
    ledger.reported(0, 4);
    assert_eq!(broken(ledger.seen(1, &message(1, 0, 1, 0))), "X32", "it is none yet");
    ledger.joins(1, 3).unwrap();
    assert_eq!(broken(ledger.joins(1, 4)), "X32", "two say it otherwise");
    assert_eq!(broken(ledger.seen(1, &message(2, 0, 2, 0))), "X32", "that is in front of its start");
    assert_eq!(broken(ledger.seen(1, &message(4, 0, 4, 0))), "X1", "and that not the first");
    (3..=4).for_each(|at| assert_eq!(ledger.seen(1, &message(at, 0, at, 0)), Ok(true)));
    assert_eq!(ledger.seen(0, &message(5, 0, 5, 0)), Ok(true));
    ledger.reported(0, 5);
    let left = Left::all(2);
    assert!(ledger.owed(&left).is_some(), "the fifth it owes");
    assert_eq!(ledger.seen(1, &message(5, 0, 5, 0)), Ok(true));
    ledger.reported(1, 5);
    assert_eq!(ledger.owed(&left), None);
}

#[test]
fn nothing_behind_a_joining_is_completed_by_all_without_who_came() {
    let told = |mark: u64, numbers: (u64, u64)| {
        let mut ledger = ledger(4).to(&to_one_and_another(CompletePlan::All));
        ledger.reported(0, 6);
        ledger.joins(1, 2).unwrap();
        (5..=6).for_each(|number| ledger.sent(0, number, LEN, 0));
        ledger.reported(1, mark);
        let wanted = receipt(Waited::Completed, numbers, numbers);
        ledger.receipt(1, 0, &mut asked(1, 6), &wanted).map_err(|failure| failure.checker)
    };
    assert_eq!(told(0, (1, 4)), Ok(()), "in front of it the other alone decides");
    assert_eq!(told(0, (5, 5)), Err("X4".into()));
    assert_eq!(told(5, (5, 5)), Ok(()));
}

#[test]
fn what_is_in_front_of_a_joining_those_decide_who_were_there_before_though_they_came_later_too() {
    let mut plan = to_one_and_another(CompletePlan::All);
    plan.later.push(TargetPlan { node: 3, handler: plan.handler.clone() });
    let told = |marks: [u64; 2], upto: u64| {
        let mut ledger = ledger(4).to(&plan);
        ledger.reported(0, 2);
        ledger.joins(1, 2).unwrap();
        ledger.may_leave(1, Change::Detach);
        ledger.taken_out(1).unwrap();
        ledger.joins(2, 1).unwrap();
        (5..=6).for_each(|number| ledger.sent(0, number, LEN, 0));
        marks.into_iter().zip(1..).for_each(|(mark, place)| ledger.reported(place, mark));
        let wanted = receipt(Waited::Completed, (upto, upto), (upto, upto));
        ledger.receipt(1, 0, &mut asked(1, 6), &wanted).map_err(|failure| failure.checker)
    };
    assert_eq!(told([4, 0], 4), Ok(()), "of those who were there before the last one the second is left");
    assert_eq!(told([3, 0], 4), Err("X4".into()));
    assert_eq!(told([6, 0], 5), Err("X4".into()), "behind its joining the last one is asked, too");
    assert_eq!(told([6, 5], 5), Ok(()));
}

#[test]
fn who_came_counts_for_nothing_in_front_of_its_start_and_holds_what_counted() {
    let mut plan = to_three(CompletePlan::Count(2));
    plan.later = vec![TargetPlan { node: 4, handler: plan.handler.clone() }];
    let mut ledger = ledger(4).to(&plan);
    ledger.on_disk(0, &stored(1..=4));
    [1, 2].iter().for_each(|&node| ledger.on_disk(node, &stored(1..=4)));
    ledger.receipt(1, 0, &mut asked(1, 4), &receipt(Waited::Replicated, (1, 4), (1, 4))).unwrap();
    ledger.may_come(4);
    ledger.on_disk(4, &stored(3..=3));
    assert_eq!(broken(ledger.joins(3, 3)), "X32", "it lacks the fourth");
    ledger.on_disk(4, &stored(4..=4));
    ledger.joins(3, 4).unwrap();
    ledger.reported(0, 4);
    ledger.reported(3, 4);
    let wanted = receipt(Waited::Completed, (1, 3), (1, 3));
    assert_eq!(broken(ledger.receipt(1, 0, &mut asked(1, 4), &wanted)), "X4");
    ledger.reported(1, 3);
    ledger.receipt(1, 0, &mut asked(1, 4), &wanted).unwrap();
}
