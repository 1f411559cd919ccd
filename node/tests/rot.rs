//! A disk that changed one bit of a node's journal.

mod common;

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use common::{Handler, Process};
use wattle_proto::api::{FindWriterRequest, GetMeshStatusRequest, Level, PublishRequest, publish_response};

const MESSAGES: u64 = 50;
const WRITER: [u8; 16] = [7; 16];

/// A consensus group as the owner of a record, and its record of term and vote (see the row codec of the core).
const RAFT: u8 = 3;
const TERM_AND_VOTE: u8 = 1;

/// How rows are framed in the files of the journal (see the store).
const SEGMENT_HEADER: usize = 4096;
const FRAME_HEADER: usize = 24;
const FRAME_MAGIC: &[u8] = b"WTLR";
const FRAMES_AT: usize = 8;

/// A row, and where it stands.
#[derive(Clone, PartialEq)]
struct Row {
    file: PathBuf,
    at: usize,
    bytes: Vec<u8>,
}

type Rows = BTreeMap<u64, Row>;

/// Where things stand in a row.
struct Layout {
    /// Owner, space and place of the head of each record.
    heads: Vec<(u8, u8, Range<usize>)>,
    payload: Range<usize>,
}

fn number(row: &[u8], at: usize) -> usize {
    u32::from_le_bytes(row[at..at + 4].try_into().expect("four bytes")) as usize
}

/// The floor that a row states.
fn floor(row: &[u8]) -> u64 {
    u64::from_le_bytes(row[34..42].try_into().expect("eight bytes"))
}

fn layout(row: &[u8]) -> Layout {
    let records = number(row, 6);
    let mut at = 58;
    let mut heads = Vec::new();
    for _ in 0..records {
        let (owner, space, moved) = (row[at], row[at + 1], row[at + 2] == 1);
        let head = at + 48 + if moved { 12 } else { 0 };
        let end = head + number(row, at + 36);
        heads.push((owner, space, head..end));
        at = end;
    }
    Layout { heads, payload: at..row.len() }
}

fn read(journal: &Path) -> Rows {
    let mut rows = Rows::new();
    for entry in std::fs::read_dir(journal).expect("a directory") {
        let file = entry.expect("an entry").path();
        let bytes = std::fs::read(&file).expect("readable");
        let mut at = SEGMENT_HEADER;
        while at + FRAME_HEADER < bytes.len() {
            let frame = &bytes[at..];
            at += FRAMES_AT;
            if frame.starts_with(FRAME_MAGIC) {
                let ticket = u64::from_le_bytes(frame[8..16].try_into().expect("eight bytes"));
                let row = frame[FRAME_HEADER..FRAME_HEADER + number(frame, 4)].to_vec();
                let place = at - FRAMES_AT + FRAME_HEADER;
                at = (place + row.len()).next_multiple_of(FRAMES_AT);
                rows.insert(ticket, Row { file: file.clone(), at: place, bytes: row });
            }
        }
    }
    rows
}

fn write(row: &Row) {
    let file = std::fs::OpenOptions::new().write(true).open(&row.file).expect("a segment");
    file.write_all_at(&row.bytes, row.at as u64).expect("written");
}

async fn publish(source: &Process) -> u64 {
    let mut data = source.data().await.expect("the source answers");
    let request = PublishRequest {
        stream: "words".into(),
        writer: WRITER.to_vec().into(),
        first: 1,
        messages: (1..=MESSAGES).map(|n| Bytes::from(format!("message {n}"))).collect(),
        wait: Level::Replicated.into(),
        ..PublishRequest::default()
    };
    let mut answers =
        data.publish_client_data(tokio_stream::iter([request])).await.expect("a call").into_inner();
    let mut new = 0;
    while let Some(answer) = answers.message().await.expect("the call goes on") {
        let Some(publish_response::Answer::Receipt(receipt)) = answer.answer else {
            panic!("refused: {answer:?}")
        };
        if receipt.level() == Level::Replicated && !receipt.duplicate {
            new += receipt.last_writer - receipt.first_writer + 1;
        }
    }
    new
}

/// Everything that a handler at the target is handed, up to the last message published.
async fn handled(target: &Process) -> Vec<String> {
    let mut handler = Handler::attach(target.data().await.expect("the target answers"), 1000).await;
    let mut texts = Vec::new();
    while texts.len() < MESSAGES as usize {
        let messages = handler.next().await.expect("more");
        let text = |data: &Bytes| String::from_utf8(data.to_vec()).expect("text");
        texts.extend(messages.iter().map(|message| text(&message.data)));
    }
    texts
}

/// Publishes, stops the source, flips the bit of its journal that `choose` names, and sees that the source does not start
/// until the bit is back; then everything is there.
async fn a_flipped_bit_is_met(choose: impl Fn(&Layout) -> Option<usize>) {
    let root = tempfile::tempdir().expect("a directory");
    let [mut a, _b, c] = common::line(root.path(), "").await;
    assert_eq!(publish(&a).await, MESSAGES);
    // At rest, the store notes what is durable. From then on damage is never taken for the end that a crash may leave.
    tokio::time::sleep(Duration::from_secs(1)).await;
    a.kill();

    let journal = a.dir.join("data/journal");
    let rows = read(&journal);
    // Rows below the floor are dead, and may be what they like.
    let floor = rows.values().map(|row| floor(&row.bytes)).max().expect("rows");
    let (ticket, at) = rows
        .range(floor..)
        .filter_map(|(ticket, row)| Some((*ticket, choose(&layout(&row.bytes))?)))
        .next_back()
        .expect("such a row");
    let mut damaged = rows[&ticket].clone();
    damaged.bytes[at] ^= 0x10;
    write(&damaged);
    let found = read(&journal);

    for _ in 0..2 {
        let said = a.log().len();
        a.spawn();
        assert_eq!(a.ended(), Some(1), "{}", a.log());
        let log = a.log();
        let error = &log[said..];
        assert!(error.contains(&format!("row {ticket} cannot be trusted")), "{error}");
        assert!(error.contains("data/journal"), "{error}");
        assert!(
            error.contains("Restore the data directory") && error.contains("join the mesh again"),
            "{error}"
        );
        assert_eq!(error.matches("nothing was modified").count(), 1, "{error}");
        assert!(read(&journal) == found, "the journal was changed");
    }

    write(&rows[&ticket]);
    a.spawn();
    let mut mesh = a.ready().await;
    let status = mesh.get_mesh_status(GetMeshStatusRequest {}).await.expect("it answers").into_inner();
    assert_eq!(status.streams[0].accepted, MESSAGES, "{status:?}");
    let find =
        FindWriterRequest { stream: "words".into(), writer: WRITER.to_vec().into(), tenant: String::new() };
    let next = a.data().await.expect("a answers").find_writer(find).await.expect("found").into_inner().next;
    assert_eq!(next, MESSAGES + 1);
    assert_eq!(publish(&a).await, 0, "all of it is there");
    let all: Vec<_> = (1..=MESSAGES).map(|n| format!("message {n}")).collect();
    assert_eq!(handled(&c).await, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_a_vote_keeps_the_node_from_starting() {
    let of_vote = |row: &Layout| {
        let heads = row.heads.iter();
        let votes = heads.filter(|(owner, space, _)| (*owner, *space) == (RAFT, TERM_AND_VOTE));
        votes.map(|(.., head)| head.start).next()
    };
    a_flipped_bit_is_met(of_vote).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_a_payload_keeps_the_node_from_starting() {
    let of_payload = |row: &Layout| (!row.payload.is_empty()).then(|| row.payload.end - 1);
    a_flipped_bit_is_met(of_payload).await;
}
