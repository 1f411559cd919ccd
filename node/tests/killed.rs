//! Three real processes, killed again and again: every message arrives once, in order.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Handler, Process};
use tokio::sync::Mutex;
use tokio_stream::wrappers::ReceiverStream;
use wattle_core::crc32c::crc32c;
use wattle_core::rng::{Purpose, Rng};
use wattle_proto::api::{Level, Position, PublishRequest, publish_response};

const MESSAGES: u64 = 100_000;
const BATCH: u64 = 200;
const KILLS_EACH: u32 = 5;
/// Publishing takes at least this long, so that all kills fall inside.
const PUBLISHING: Duration = Duration::from_secs(45);

fn message(number: u64) -> String {
    format!("message {number} of {MESSAGES}")
}

/// The handler's own file. One record is one write: instance, sequence, message, checksum. A record cut short by a crash does not count.
struct Effects {
    file: File,
    position: Option<Position>,
    messages: Vec<(u64, String)>,
}

impl Effects {
    fn open(path: &Path) -> Self {
        let mut file =
            OpenOptions::new().create(true).read(true).append(true).open(path).expect("the handler's file");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("readable");
        let (mut position, mut messages, mut at) = (None, Vec::new(), 0);
        while let Some(header) = bytes.get(at..at + 32) {
            let len = u32::from_le_bytes(header[24..28].try_into().expect("4 bytes")) as usize;
            let crc = u32::from_le_bytes(header[28..32].try_into().expect("4 bytes"));
            let Some(text) = bytes.get(at + 32..at + 32 + len) else { break };
            if crc32c(&[&header[..28], text].concat()) != crc {
                break;
            }
            let sequence = u64::from_le_bytes(header[16..24].try_into().expect("8 bytes"));
            position =
                Some(Position { instance: Bytes::copy_from_slice(&header[..16]), authority: 0, sequence });
            messages.push((sequence, String::from_utf8(text.to_vec()).expect("text")));
            at += 32 + len;
        }
        file.set_len(at as u64).expect("the cut record goes");
        Self { file, position, messages }
    }

    fn apply(&mut self, instance: &Bytes, authority: u64, sequence: u64, data: &[u8]) {
        let mut record = instance.to_vec();
        record.extend_from_slice(&sequence.to_le_bytes());
        record.extend_from_slice(&(data.len() as u32).to_le_bytes());
        let crc = crc32c(&[&record[..], data].concat());
        record.extend_from_slice(&crc.to_le_bytes());
        record.extend_from_slice(data);
        self.file.write_all(&record).expect("written");
        self.position = Some(Position { instance: instance.clone(), authority, sequence });
        self.messages.push((sequence, String::from_utf8(data.to_vec()).expect("text")));
    }
}

/// Attaches, applies, acknowledges; begins again from its own file whenever the call ends.
async fn handle(target: Arc<Mutex<Process>>, path: std::path::PathBuf, done: Arc<AtomicU64>) -> Effects {
    loop {
        let mut effects = Effects::open(&path);
        done.store(effects.messages.len() as u64, Ordering::Relaxed);
        if effects.messages.len() as u64 >= MESSAGES {
            return effects;
        }
        let client = target.lock().await.data().await;
        if let Some(client) = client
            && let Some(mut handler) = Handler::attach_at(client, effects.position.clone(), 1000).await
        {
            let Position { instance, authority, .. } = handler.position.clone();
            while (effects.messages.len() as u64) < MESSAGES
                && let Some(messages) = handler.next().await
            {
                for message in &messages {
                    effects.apply(&instance, authority, message.sequence, &message.data);
                }
                done.store(effects.messages.len() as u64, Ordering::Relaxed);
                if !handler.acknowledge(messages.last().map_or(0, |message| message.sequence)).await {
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Publishes in batches at an even pace and repeats under the same numbers whatever was not answered.
async fn publish(source: Arc<Mutex<Process>>, reconnects: Arc<AtomicU64>) {
    let start = Instant::now();
    let mut accepted = 0;
    while accepted < MESSAGES {
        let client = source.lock().await.data().await;
        if let Some(mut client) = client {
            reconnects.fetch_add(1, Ordering::Relaxed);
            let (requests, stream) = tokio::sync::mpsc::channel(4);
            let sender = tokio::spawn(async move {
                let mut next = accepted + 1;
                while next <= MESSAGES {
                    let due = PUBLISHING.mul_f64(next as f64 / MESSAGES as f64);
                    tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
                    let last = (next + BATCH - 1).min(MESSAGES);
                    let request = PublishRequest {
                        stream: "words".into(),
                        writer: Bytes::from_static(&[7; 16]),
                        first: next,
                        messages: (next..=last).map(|number| Bytes::from(message(number))).collect(),
                        wait: Level::Accepted.into(),
                    };
                    if requests.send(request).await.is_err() {
                        return;
                    }
                    next = last + 1;
                }
            });
            if let Ok(answer) = client.publish_client_data(ReceiverStream::new(stream)).await {
                let mut answers = answer.into_inner();
                while accepted < MESSAGES {
                    match answers.message().await.map(|answer| answer.and_then(|answer| answer.answer)) {
                        Ok(Some(publish_response::Answer::Receipt(receipt))) => {
                            accepted = accepted.max(receipt.last_writer);
                        }
                        // Refused, or the node is gone: begin again behind what is accepted for certain.
                        Ok(Some(publish_response::Answer::Refused(_)) | None) | Err(_) => break,
                    }
                }
            }
            sender.abort();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kills each node so many times, at seeded random moments within the time of publishing, and starts it again.
async fn kill_in_turn(nodes: &[Arc<Mutex<Process>>], publishing: Instant) -> usize {
    let seed = 20_261_121;
    let mut rng = Rng::stream([seed as u8; 32], Purpose::Link);
    let mut victims: Vec<usize> = (0..3).flat_map(|node| vec![node; KILLS_EACH as usize]).collect();
    for last in (1..victims.len()).rev() {
        victims.swap(last, rng.below(last as u64 + 1) as usize);
    }
    let slot = PUBLISHING.mul_f64(0.9) / victims.len() as u32;
    for (turn, &victim) in victims.iter().enumerate() {
        let at = slot * turn as u32 + slot.mul_f64(rng.below(600) as f64 / 1000.0);
        tokio::time::sleep(at.saturating_sub(publishing.elapsed())).await;
        let mut node = nodes[victim].lock().await;
        node.kill();
        tokio::time::sleep(Duration::from_millis(rng.between(10, 600))).await;
        node.spawn();
    }
    victims.len()
}

/// What every node says of itself.
async fn report(nodes: &[Arc<Mutex<Process>>]) -> String {
    let mut report = String::new();
    for node in nodes {
        let node = node.lock().await;
        let log = node.log();
        let tail: Vec<&str> = log.lines().rev().take(30).collect();
        let status = match node.mesh().await {
            Some(mut mesh) => {
                format!("{:#?}", mesh.get_mesh_status(wattle_proto::api::GetMeshStatusRequest {}).await)
            }
            None => "no answer".into(),
        };
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        report += &format!("== {} {status}\n{tail}\n", node.name);
    }
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_arrives_once_and_in_order_whatever_is_killed() {
    let start = Instant::now();
    let root = tempfile::tempdir().expect("a directory");
    let nodes = common::line(root.path(), "").await.map(|process| Arc::new(Mutex::new(process)));
    let set_up = start.elapsed();
    let (handled, reconnects) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let effects = root.path().join("effects");
    let handler = tokio::spawn(handle(nodes[2].clone(), effects, handled.clone()));
    let publishing = Instant::now();
    let publisher = tokio::spawn(publish(nodes[0].clone(), reconnects.clone()));

    let kills = kill_in_turn(&nodes, publishing).await;
    assert!(!publisher.is_finished(), "all kills fall into the time of publishing");

    let limit = Duration::from_secs(110);
    let in_time = tokio::time::timeout(limit.saturating_sub(start.elapsed()), async {
        publisher.await.expect("the publisher does not fail");
        handler.await.expect("the handler does not fail")
    });
    let Ok(effects) = in_time.await else {
        panic!("{} handled in time\n{}", handled.load(Ordering::Relaxed), report(&nodes).await);
    };
    for (place, (sequence, text)) in effects.messages.iter().enumerate() {
        let number = place as u64 + 1;
        assert_eq!((*sequence, text.as_str()), (number, message(number).as_str()));
    }
    assert_eq!(effects.messages.len() as u64, MESSAGES, "nothing else");
    println!(
        "{MESSAGES} messages, {} kills ({KILLS_EACH} each), {} publishing calls, set up in {set_up:?}, all in {:?}",
        kills,
        reconnects.load(Ordering::Relaxed),
        start.elapsed()
    );
}
