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
    Store::new(Arc::new(StoreFile::open(dir.path().join("kept.redb"), keep).expect("opened")))
}

fn life() -> Life {
    Life { stream: "words".into(), instance: INSTANCE, authority: AuthorityEpoch(1), node: NodeId(1) }
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
    let mut kept = store(&dir, Keep::Messages);
    kept.handle(&[message(1, "one")]).await.unwrap();
    for wrong in [message(1, "again"), message(3, "a gap")] {
        let failure = kept.handle(&[wrong]).await.unwrap_err();
        assert!(failure.to_string().contains("does not follow it"), "{failure}");
    }
    assert_eq!(pairs(&kept.file.read("", "", 9).unwrap()), [("1", "one")]);
    assert_eq!(kept.begin(&life()).await, Ok(Some(at(1))));
}

#[tokio::test]
async fn the_last_value_of_each_key_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = store(&dir, Keep::Values);
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
        ("no JSON", "expected"),
        ("", "EOF"),
        (r#"{"put": "k"}"#, "is wanted"),
        (r#"{"put": "k", "value": 1, "delete": "k"}"#, "is wanted"),
        (r#"{"set": "k"}"#, "unknown field"),
        (r#"{"put": "", "value": 1}"#, "a key of 0 bytes"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = store(&dir, Keep::Values);
        let good = message(1, r#"{"put": "k", "value": 1}"#);
        let failure = kept.handle(&[good, message(2, body)]).await.unwrap_err();
        assert!(failure.to_string().contains(why), "{body}: {failure}");
        assert_eq!(failure, Failure::message(failure.to_string()).after(1));
        assert_eq!(kept.begin(&life()).await, Ok(Some(at(1))));
        assert_eq!(pairs(&kept.file.read("", "", 9).unwrap()), [("k", "1")]);
    }
}

#[tokio::test]
async fn a_file_is_held_by_one_and_keeps_one_thing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept.redb");
    let mut kept = store(&dir, Keep::Messages);
    kept.handle(&[message(1, "one")]).await.unwrap();
    let twice = StoreFile::open(path.clone(), Keep::Messages).unwrap_err();
    assert!(twice.contains("is in use"), "{twice}");
    drop(kept);
    let other = StoreFile::open(path.clone(), Keep::Values).unwrap_err();
    assert!(other.contains("keeps messages: say keep = \"messages\""), "{other}");
    std::fs::write(&path, "something else").unwrap();
    let spoilt = StoreFile::open(path, Keep::Messages).unwrap_err();
    assert!(spoilt.contains("name another `file`"), "{spoilt}");
}
