use super::*;
use crate::plan::{CompletePlan, TargetPlan};
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
    assert!(ledger.owed().is_some());
    for number in 1..=3 {
        assert_eq!(ledger.seen(0, &message(number, 0, number, 0)), Ok(true));
    }
    assert_eq!(ledger.seen(0, &message(2, 0, 2, 0)), Ok(false), "a repeat is not new");
    assert!(ledger.owed().is_some(), "no success yet");
    ledger.reported(0, 3);
    ledger.receipt(2, 0, &mut call, &receipt(Waited::Replicated, (1, 3), (1, 3))).unwrap();
    ledger.receipt(3, 0, &mut call, &receipt(Waited::Completed, (1, 3), (1, 3))).unwrap();
    assert_eq!(ledger.owed(), None);
    ledger.finish().unwrap();
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
    assert!(loose.owed().is_some(), "but both are owed somewhere");
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
    assert!(ledger.owed().is_some(), "what was replicated is still owed");
    assert_eq!(ledger.seen(0, &message(2, 0, 2, 0)), Ok(true));
    ledger.reported(0, 2);
    assert_eq!(ledger.owed(), None, "what it alone held is not");
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
    assert_eq!(broken(half_done().sealed(1)), "X28", "the second was told replicated");
    assert_eq!(broken(half_done().sealed(0)), "X28", "the first was handed over");
    let mut ledger = half_done();
    ledger.sealed(2).unwrap();
    assert_eq!(ledger.void(), 1);
    assert!(ledger.owed().is_some(), "the second is owed");
    ledger.seen(0, &message(2, 0, 2, 0)).unwrap();
    ledger.reported(0, 2);
    assert_eq!(ledger.owed(), None, "the third is void");
    assert_eq!(broken(ledger.seen(0, &message(3, 0, 3, 0))), "X28");
    let mut call = asked(3, 3);
    let late = Receipt { duplicate: true, ..receipt(Waited::Replicated, (3, 3), (3, 3)) };
    ledger.sent(0, 3, LEN, 0);
    assert_eq!(broken(ledger.receipt(3, 0, &mut call, &late)), "X28", "by a source that came back");
    let mut call = asked(3, 3);
    ledger.receipt(3, 0, &mut call, &Receipt { level: Waited::Accepted, ..late }).unwrap();
    assert_eq!((ledger.void(), ledger.owed()), (1, None), "it does not know better, and that is void, too");
}

#[test]
fn each_target_sees_everything_once_and_completed_is_what_the_policy_says() {
    let mut plan = crate::plan::Plan::generate(1);
    let stream = &mut plan.streams[0];
    let more = |node| TargetPlan { node, handler: stream.handler.clone() };
    (stream.target, stream.more, stream.complete) = (1, vec![more(2), more(3)], CompletePlan::Count(2));
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
    assert!(ledger.owed().unwrap().contains("[2, 0, 2]"), "{:?}", ledger.owed());
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
