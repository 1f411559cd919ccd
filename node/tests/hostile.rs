//! What strangers and full disks do to a real node.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Data, Handler, Process};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wattle_core::rng::{Purpose, Rng};
use wattle_proto::api::{
    FindWriterRequest, GetMeshStatusRequest, JoinMeshRequest, Level, PublishRequest, PublishResponse, Reason,
    SeedMeshRequest, publish_response,
};

/// The first bytes of a TLS 1.3 client hello, cut before its end.
const HALF_HELLO: [u8; 16] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4, 5];

fn strangers(address: std::net::SocketAddr, count: u64, rng: &mut Rng) {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).expect("the port accepts");
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let noise: Vec<u8> = (0..rng.between(1, 2000)).map(|_| rng.u64() as u8).collect();
        // A stranger may be cut off while it talks.
        let _ = match rng.below(3) {
            0 => stream.write_all(&noise),
            1 => stream.write_all(&HALF_HELLO),
            _ => stream.write_all(&[&HALF_HELLO[..], &noise].concat()),
        };
        let _ = stream.read(&mut [0; 64]);
        if rng.below(4) == 0 {
            open.push(stream);
        }
        if open.len() > 100 {
            open.clear();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_strangers_change_nothing_and_cost_no_memory() {
    let root = tempfile::tempdir().expect("a directory");
    let mut node = Process::start(root.path(), "a", true, &[], "");
    let mut mesh = node.ready().await;
    mesh.seed_mesh(SeedMeshRequest { name: "test".into() }).await.expect("seeded");
    let mut rng = Rng::stream([3; 32], Purpose::Link);
    strangers(node.mesh_address, 300, &mut rng);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let warm = node.resident_kib();
    strangers(node.mesh_address, 1000, &mut rng);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let after = node.resident_kib();
    assert!(node.alive(), "{}", node.log());
    let status = mesh.get_mesh_status(GetMeshStatusRequest {}).await.expect("it answers").into_inner();
    assert_eq!(status.control.expect("a member").role, "leader");
    println!("resident: {warm} KiB after 300 strangers, {after} KiB after 1,300");
    assert!(after < warm + 8 * 1024, "{warm} KiB grew to {after} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_refused_in_words() {
    let root = tempfile::tempdir().expect("a directory");
    let a = Process::start(root.path(), "a", true, &[], "");
    let b = Process::start(root.path(), "b", true, &[], "");
    let token = a.ready().await.seed_mesh(SeedMeshRequest { name: "test".into() }).await.expect("seeded");
    let token = token.into_inner().token;
    let mut at_b = b.ready().await;
    let mut typo = token.clone().into_bytes();
    let place = typo.len() / 2;
    typo[place] = if typo[place] == b'A' { b'B' } else { b'A' };
    let typo = String::from_utf8(typo).expect("still text");
    for (wrong, says) in [(typo, "token"), ("nonsense".to_owned(), "token")] {
        let refused = at_b.join_mesh(JoinMeshRequest { token: wrong }).await.expect_err("refused");
        assert!(refused.message().contains(says), "{refused:?}");
    }
    at_b.join_mesh(JoinMeshRequest { token }).await.expect("the right one works");
}

/// Publishes one array at a time and waits for its answer.
struct Publisher {
    requests: mpsc::Sender<PublishRequest>,
    answers: tonic::Streaming<PublishResponse>,
}

const WRITER: Bytes = Bytes::from_static(&[9; 16]);

impl Publisher {
    async fn to(mut source: Data) -> Self {
        let (requests, stream) = mpsc::channel(1);
        let answers = source.publish_client_data(ReceiverStream::new(stream)).await.expect("a call");
        Self { requests, answers: answers.into_inner() }
    }

    async fn publish(&mut self, first: u64, messages: Vec<Bytes>) -> publish_response::Answer {
        let (stream, wait) = ("words".into(), Level::Accepted.into());
        let request =
            PublishRequest { stream, writer: WRITER, first, messages, wait, ..PublishRequest::default() };
        self.requests.send(request).await.expect("the call is open");
        let answer = self.answers.message().await.expect("the call goes on").expect("an answer");
        answer.answer.expect("set")
    }
}

/// Handles everything up to `last`, and sees that nothing is missing.
async fn drain(target: Data, last: u64) {
    let mut handler = Handler::attach(target, 64).await;
    let mut done = 0;
    while done < last {
        let messages = tokio::time::timeout(Duration::from_secs(60), handler.next()).await;
        for message in messages.expect("in time").expect("open") {
            assert_eq!((message.sequence, message.data.len()), (done + 1, 8 << 10));
            done = message.sequence;
        }
        assert!(handler.acknowledge(done).await, "the call is open");
    }
    assert_eq!(done, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_with_a_reason_and_loses_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let limit = "\n[storage]\nspace_limit = 24000000\nreserve_bytes = 4000000\n";
    let [a, _b, c] = common::line(root.path(), limit).await;
    let mut data = a.data().await.expect("a answers");
    let mut publisher = Publisher::to(data.clone()).await;
    let mut accepted = 0;
    let start = Instant::now();
    let refused = loop {
        assert!(start.elapsed() < Duration::from_secs(60), "never refused; {accepted} accepted");
        let messages = (0..8).map(|n| Bytes::from(vec![n; 8 << 10])).collect();
        match publisher.publish(accepted + 1, messages).await {
            publish_response::Answer::Receipt(receipt) => accepted = accepted.max(receipt.last_writer),
            publish_response::Answer::Refused(refusal) => break refusal,
            publish_response::Answer::Staged(staged) => panic!("{staged:?} of an ordinary message"),
        }
    };
    let reason = refused.detail.as_ref().expect("a detail").reason();
    assert!(matches!(reason, Reason::NoSpace | Reason::Backpressure), "{refused:?}");
    println!("{accepted} messages of 8 KiB accepted, then: {}", refused.message);

    // A handler drains; everything accepted is there, and publishing goes on.
    drain(c.data().await.expect("c answers"), accepted).await;
    let start = Instant::now();
    loop {
        let find = FindWriterRequest { stream: "words".into(), writer: WRITER, tenant: String::new() };
        let next = data.find_writer(find).await.expect("known").into_inner().next;
        assert_eq!(next, accepted + 1, "what was refused was not taken");
        match publisher.publish(next, vec![Bytes::from_static(b"after")]).await {
            publish_response::Answer::Receipt(receipt) if receipt.last_writer > accepted => break,
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        assert!(start.elapsed() < Duration::from_secs(60), "space never returned");
    }
}
