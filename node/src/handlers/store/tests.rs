use wattle_core::id::{MessageId, NodeId, WriterId, WriterSequence};
use wattle_io::handler::Key;

use super::*;

const INSTANCE: StreamInstance = StreamInstance(7);

fn at(sequence: u64) -> Position {
    Position { instance: INSTANCE, authority: AuthorityEpoch(1), sequence: Sequence(sequence) }
}

fn message(sequence: u64, body: &str) -> Message {
    let key = Key { instance: INSTANCE, writer: WriterId(5), writer_sequence: WriterSequence(sequence) };
    Message::new(at(sequence), key, MessageId(sequence.into()), Bytes::from(body.to_owned()))
}

fn store(dir: &tempfile::TempDir, keep: Keep) -> Store {
    store_from(dir, keep, Begin::First)
}

fn store_from(dir: &tempfile::TempDir, keep: Keep, begin: Begin) -> Store {
    Store::new(Arc::new(StoreFile::at(dir.path().join("kept.redb"), keep).expect("made")), begin)
}

/// One that has begun.
async fn begun(dir: &tempfile::TempDir, keep: Keep) -> Store {
    let mut store = store(dir, keep);
    store.begin(&life()).await.expect("begins");
    store
}

fn life() -> Life {
    let (authority, node) = (AuthorityEpoch(1), NodeId(1));
    Life {
        stream: "words".into(),
        instance: INSTANCE,
        authority,
        node,
        gone: Sequence(0),
        taken: Sequence(9),
    }
}

fn pairs(read: &Entries) -> Vec<(&str, &str)> {
    let text = |entry: &'_ Entry| std::str::from_utf8(&entry.value).is_ok();
    assert!(read.entries.iter().all(text));
    read.entries
        .iter()
        .map(|entry| (entry.key.as_str(), std::str::from_utf8(&entry.value).unwrap()))
        .collect()
}

#[tokio::test]
async fn messages_and_the_position_are_there_after_it_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = store(&dir, Keep::Messages);
    assert_eq!(kept.begin(&life()).await, Ok(Some(at(0))), "from the beginning");
    kept.handle(&[message(1, "one"), message(2, "two")]).await.unwrap();
    kept.handle(&[message(3, "three")]).await.unwrap();
    drop(kept);

    let mut again = store(&dir, Keep::Messages);
    assert_eq!(again.begin(&life()).await, Ok(Some(at(3))));
    let read = again.file.read("", "", 2).unwrap();
    assert_eq!((pairs(&read), read.more), (vec![("1", "one"), ("2", "two")], true));
    let read = again.file.read("", "2", 2).unwrap();
    assert_eq!((pairs(&read), read.more, read.position), (vec![("3", "three")], false, Some(at(3))));
    assert!(again.file.read("", "two", 2).is_err());
}

#[tokio::test]
async fn what_does_not_follow_the_position_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = begun(&dir, Keep::Messages).await;
    kept.handle(&[message(1, "one")]).await.unwrap();
    let elsewhere = Position { instance: StreamInstance(8), ..at(2) };
    let other =
        Message::new(elsewhere, message(2, "").key, MessageId(2), Bytes::from_static(b"of another life"));
    for wrong in [message(1, "again"), other] {
        let failure = kept.handle(&[wrong]).await.unwrap_err();
        assert!(failure.to_string().contains("does not follow it"), "{failure}");
    }
    assert_eq!(pairs(&kept.file.read("", "", 9).unwrap()), [("1", "one")]);
    assert_eq!(kept.begin(&life()).await, Ok(Some(at(1))));
}

#[tokio::test]
async fn the_last_value_of_each_key_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = begun(&dir, Keep::Values).await;
    let bodies = [
        r#"{"put": "colour/sky", "value": "blue"}"#,
        r#" [{"put": "colour/grass", "value": {"r": 0.10, "g": 1}}, {"put": "size", "value": null}]"#,
        r#"{"put": "colour/sky", "value": "grey"}"#,
        r#"{"delete": "size"}"#,
        "[]",
    ];
    let messages: Vec<_> = bodies.iter().zip(1..).map(|(body, at)| message(at, body)).collect();
    kept.handle(&messages).await.unwrap();
    let read = kept.file.read("", "", 9).unwrap();
    let grass = ("colour/grass", r#"{"r": 0.10, "g": 1}"#);
    assert_eq!(pairs(&read), [grass, ("colour/sky", "\"grey\"")], "to the letter");
    assert_eq!(pairs(&kept.file.read("colour/g", "", 9).unwrap()), [grass]);
    assert_eq!(pairs(&kept.file.read("colour/", "colour/grass", 9).unwrap()), [("colour/sky", "\"grey\"")]);
    assert_eq!(read.position, Some(at(5)), "a message that changes nothing counts");
}

#[tokio::test]
async fn a_message_that_says_nothing_of_values_fails_and_those_before_it_count() {
    for (body, why) in [
        ("no JSON", "it is no JSON (line 1, column 2)"),
        ("", "it is no JSON (line 1, column 0)"),
        (r#"{"put": "k"}"#, "is wanted"),
        (r#"{"put": "k", "value": 1, "delete": "k"}"#, "is wanted"),
        (r#"{"set": "k"}"#, "it says something else"),
        (r#"{"put": "", "value": 1}"#, "a key of 0 bytes"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = begun(&dir, Keep::Values).await;
        let good = message(1, r#"{"put": "k", "value": 1}"#);
        let failure = kept.handle(&[good, message(2, body)]).await.unwrap_err();
        assert!(failure.to_string().contains(why), "{body}: {failure}");
        assert_eq!(failure, Failure::message(failure.to_string()).after(1));
        assert_eq!(kept.begin(&life()).await, Ok(Some(at(1))));
        assert_eq!(pairs(&kept.file.read("", "", 9).unwrap()), [("k", "1")]);
    }
}

#[tokio::test]
async fn a_message_that_was_parked_is_kept_where_it_belongs_and_the_position_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = begun(&dir, Keep::Messages).await;
    kept.handle(&[message(1, "one"), message(3, "three")]).await.unwrap();
    for _ in 0..2 {
        kept.handle_parked(&message(2, "two")).await.unwrap();
    }
    assert_eq!(kept.begin(&life()).await, Ok(Some(at(3))));
    assert_eq!(kept.file.read("", "", 9).unwrap().entries.len(), 3);
    let dir = tempfile::tempdir().unwrap();
    let mut values = begun(&dir, Keep::Values).await;
    values.handle(&[message(2, r#"{"put": "k", "value": 1}"#)]).await.unwrap();
    let failure = values.handle_parked(&message(1, "no JSON")).await.unwrap_err();
    assert_eq!(failure, Failure::message(failure.to_string()));
    values.handle_parked(&message(1, r#"{"put": "l", "value": 2}"#)).await.unwrap();
    assert_eq!(pairs(&values.file.read("", "", 9).unwrap()), [("k", "1"), ("l", "2")]);
    assert_eq!(values.begin(&life()).await, Ok(Some(at(2))));
}

#[tokio::test]
async fn what_a_message_says_is_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = begun(&dir, Keep::Values).await;
    for body in [r#""hunter2""#, r#"{"hunter2": 1}"#, r#"{"put": ["hunter2"]}"#] {
        let failure = kept.handle(&[message(1, body)]).await.unwrap_err();
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }
}

#[tokio::test]
async fn a_file_is_held_by_one_and_keeps_one_thing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept.redb");
    let refused = async |keep: Keep| store(&dir, keep).begin(&life()).await.unwrap_err().to_string();
    let mut kept = begun(&dir, Keep::Messages).await;
    kept.handle(&[message(1, "one")]).await.unwrap();
    let twice = refused(Keep::Messages).await;
    assert!(twice.contains("is in use"), "{twice}");
    assert!(set_position(&path, Sequence(0), None).unwrap_err().contains("stop the node"));
    drop(kept);
    let other = refused(Keep::Values).await;
    assert!(other.contains("keeps messages: say keep = \"messages\""), "{other}");
    std::fs::write(&path, "something else").unwrap();
    let spoilt = refused(Keep::Messages).await;
    assert!(spoilt.contains("name another `file`") && spoilt.contains("begin = \"kept\""), "{spoilt}");
    let unread = store(&dir, Keep::Messages).file.read("", "", 9).unwrap_err();
    assert!(unread.contains("is being opened, or cannot be"), "{unread}");
}

#[tokio::test]
async fn one_that_has_stored_nothing_begins_where_it_is_told_and_one_that_has_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life { gone: Sequence(4), ..life() };
    let gone = Refusal::NotKept { position: Sequence(0), kept: Sequence(4), authority: AuthorityEpoch(1) };
    let mut first = store(&dir, Keep::Messages);
    assert_eq!(first.begin(&life).await, Ok(Some(at(0))));
    assert!(first.advice(&life, &gone).unwrap().contains("begin = \"kept\""));
    drop(first);
    for (begin, expected) in [(Begin::Kept, 4), (Begin::After(7), 7)] {
        let mut kept = store_from(&dir, Keep::Messages, begin);
        assert_eq!(kept.begin(&life).await, Ok(Some(at(expected))));
    }
    let mut kept = store_from(&dir, Keep::Messages, Begin::Kept);
    kept.begin(&life).await.unwrap();
    let failure = kept.handle(&[message(4, "gone")]).await.unwrap_err();
    assert!(failure.to_string().contains("its position is 4"), "{failure}");
    kept.handle(&[message(5, "five"), message(6, "six")]).await.unwrap();
    let later = Life { gone: Sequence(9), ..life };
    assert_eq!(kept.begin(&later).await, Ok(Some(at(6))), "what it stored stands above what it was told");
    let gone = Refusal::NotKept { position: Sequence(6), kept: Sequence(9), authority: AuthorityEpoch(1) };
    let advice = kept.advice(&later, &gone).unwrap();
    assert!(advice.contains("kept.redb --after 9 --authority 1`"), "{advice}");
    let other = Life { instance: StreamInstance(8), ..later };
    let advice = kept.advice(&other, &Refusal::ForeignPosition(String::new())).unwrap();
    assert!(advice.contains("belongs to another life of the stream"), "{advice}");
}

#[tokio::test]
async fn an_operator_sets_where_it_stands_while_nobody_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept.redb");
    let none = set_position(&path, Sequence(0), None).unwrap_err();
    assert!(none.contains("there is no file"), "{none}");
    drop(store(&dir, Keep::Messages));
    let empty = set_position(&path, Sequence(3), None).unwrap_err();
    assert!(empty.contains("has stored nothing yet"), "{empty}");
    drop(begun(&dir, Keep::Messages).await);
    let nothing = set_position(&path, Sequence(3), None).unwrap_err();
    assert!(nothing.contains("has stored nothing yet"), "{nothing}");
    let mut kept = begun(&dir, Keep::Messages).await;
    kept.handle(&[message(1, "one"), message(2, "two"), message(3, "three")]).await.unwrap();
    drop(kept);
    // What a seal took away goes with it.
    let set = set_position(&path, Sequence(1), Some(AuthorityEpoch(2))).unwrap();
    let now = Position { authority: AuthorityEpoch(2), ..at(1) };
    assert_eq!(set, Set { before: at(3), now, removed: 2, values: false });
    let mut kept = begun(&dir, Keep::Messages).await;
    assert_eq!(kept.begin(&life()).await, Ok(Some(now)));
    assert_eq!(pairs(&kept.file.read("", "", 9).unwrap()), [("1", "one")]);
    drop(kept);
    let set = set_position(&path, Sequence(7), None).unwrap();
    assert_eq!((set.now.sequence, set.now.authority, set.removed), (Sequence(7), AuthorityEpoch(2), 0));
    let mut kept = begun(&dir, Keep::Messages).await;
    kept.handle(&[message(8, "eight")]).await.unwrap();
    assert_eq!(pairs(&kept.file.read("", "", 9).unwrap()), [("1", "one"), ("8", "eight")]);
}

#[tokio::test]
async fn what_is_read_and_where_it_stands_are_of_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = begun(&dir, Keep::Messages).await;
    let file = Arc::clone(&kept.file);
    let reader = std::thread::spawn(move || {
        for _ in 0..2000 {
            let read = file.read("", "", 1000).unwrap();
            let last = read.entries.last().map_or(0, |entry| entry.key.parse().unwrap());
            assert_eq!(last, read.position.map_or(0, |position| position.sequence.0));
        }
    });
    for sequence in 1.. {
        kept.handle(&[message(sequence, "word")]).await.unwrap();
        if reader.is_finished() || sequence == 999 {
            break;
        }
    }
    reader.join().unwrap();
    assert!(kept.file.read("wo", "", 9).unwrap_err().contains("messages have no keys"));
}

#[tokio::test]
async fn a_message_may_stand_behind_a_gap_as_large_ones_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = begun(&dir, Keep::Messages).await;
    kept.handle(&[message(1, "one"), message(5, "a large one")]).await.unwrap();
    kept.handle(&[message(9, "another")]).await.unwrap();
    assert_eq!(kept.begin(&life()).await, Ok(Some(at(9))));
    let read = kept.file.read("", "1", 5).unwrap();
    assert_eq!(pairs(&read), [("5", "a large one"), ("9", "another")]);
}
