use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;
use crate::tls::testing::{key, tls};

/// One end with its lanes and what they tell.
struct End {
    lanes: Lanes,
    events: mpsc::Receiver<LaneEvent>,
    urgent: mpsc::UnboundedReceiver<Urgent>,
}

impl End {
    fn new(byte: u8, limits: Limits) -> Self {
        let (to_driver, events) = mpsc::channel(16);
        let (answers, urgent) = mpsc::unbounded_channel();
        Self { lanes: Lanes::new(tls(byte), limits, Handle::current(), to_driver, answers), events, urgent }
    }

    async fn listening(byte: u8, limits: Limits) -> (Self, SocketAddr) {
        let end = Self::new(byte, limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        end.lanes.listen(listener);
        (end, address)
    }

    async fn event(&mut self) -> LaneEvent {
        timeout(Duration::from_secs(10), self.events.recv()).await.expect("in time").expect("not closed")
    }

    async fn answer(&mut self) -> Urgent {
        timeout(Duration::from_secs(10), self.urgent.recv()).await.expect("in time").expect("not closed")
    }

    async fn up(&mut self) -> (LaneId, Option<DialId>, PublicKey, LaneEnds) {
        match self.event().await {
            LaneEvent::Up { lane, dial, peer_key, ends } => (lane, dial, peer_key, ends),
            other => panic!("not a lane that came up: {other:?}"),
        }
    }

    /// Reads until so many bytes came, or the lane ended.
    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < count {
            match self.event().await {
                LaneEvent::Received { bytes, .. } => got.extend_from_slice(&bytes),
                _ => break,
            }
        }
        got
    }
}

fn short() -> Limits {
    Limits {
        handshake_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(500),
        close_grace: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_lane_carries_bytes_both_ways_and_ends_once_at_both_ends() {
    let (mut server, address) = End::listening(1, Limits::default()).await;
    let mut client = End::new(2, Limits::default());
    client.lanes.dial(DialId(7), address.to_string());
    let (near, no_dial, client_key, server_ends) = server.up().await;
    let (_, dial, server_key, client_ends) = client.up().await;
    assert_eq!((no_dial, dial), (None, Some(DialId(7))));
    assert_eq!((client_key, server_key), (key(2), key(1)));

    let text: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    client_ends.writer.send(text.clone()).await.unwrap();
    assert_eq!(server.bytes(text.len()).await, text);
    let Urgent::Flushed { buffer, .. } = client.answer().await else {
        panic!("the buffer does not come back")
    };
    assert_eq!(buffer, text);

    server_ends.writer.send(b"farewell".to_vec()).await.unwrap();
    drop(server_ends);
    assert_eq!(client.bytes(8).await, b"farewell", "what was handed out before closing arrives");
    assert!(matches!(client.event().await, LaneEvent::Down { .. }));
    let LaneEvent::Down { lane } = server.event().await else { panic!("the closing end is not told") };
    assert_eq!(lane, near);
    assert!(server.events.try_recv().is_err() && client.events.try_recv().is_err(), "told once");
    assert_eq!(server.lanes.counts().lanes, 0);
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_writer_and_holds_little() {
    let (mut server, address) = End::listening(1, Limits::default()).await;
    let mut client = End::new(2, Limits::default());
    client.lanes.dial(DialId(1), address.to_string());
    let (.., _server_ends) = server.up().await;
    let (.., ends) = client.up().await;
    // The server's queue holds 16 reads; then the sockets fill, then the lane takes no more.
    let mut sent = 0;
    while let Ok(Ok(())) = timeout(Duration::from_millis(500), ends.writer.send(vec![0; 64 << 10])).await {
        sent += 64 << 10;
        assert!(sent < 256 << 20, "no backpressure");
    }
    // Every byte arrives once the reader goes on.
    assert_eq!(server.bytes(sent).await.len(), sent);
}

/// What TLS 1.3 adds to a record: a header of 5 bytes, a type, a tag of 16.
const TLS_RECORD_BYTES: usize = 22;
/// What the dialling end of a handshake sends, at least.
const CLIENT_HANDSHAKE_BYTES: usize = 512;

/// Passes on what comes for `far`, up to so many bytes, and back whatever comes from there. Then it reads no more, and tells how
/// many bytes have come in all.
async fn pass_on(near: TcpStream, far: SocketAddr, most: usize) -> impl Fn() -> usize {
    let far = TcpStream::connect(far).await.unwrap();
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_near).await });
    let mut passed = 0;
    let mut buffer = vec![0; 64 << 10];
    while passed < most {
        let got = from_near.read(&mut buffer).await.unwrap();
        to_far.write_all(&buffer[..got]).await.unwrap();
        passed += got;
    }
    move || {
        let _open = &to_far;
        passed + usize::try_from(rustix::io::ioctl_fionread(from_near.as_ref()).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn little_of_what_a_lane_was_handed_waits_unsent_behind_a_slow_path() {
    let (mut server, address) = End::listening(1, Limits::default()).await;
    let middle = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = End::new(2, Limits::default());
    client.lanes.dial(DialId(1), middle.local_addr().unwrap().to_string());
    let (near, _) = middle.accept().await.unwrap();
    let arrived = tokio::spawn(pass_on(near, address, 1 << 20));
    let (.., _server_ends) = server.up().await;
    let (.., ends) = client.up().await;
    tokio::spawn(async move { while server.events.recv().await.is_some() {} });
    // As the driver does: the next when the one before is flushed. It ends when nothing moves any more.
    let mut handed = 0;
    loop {
        ends.writer.send(vec![0; LANE_BYTES]).await.unwrap();
        handed += LANE_BYTES;
        match timeout(Duration::from_millis(500), client.urgent.recv()).await {
            Ok(answer) => assert!(matches!(answer, Some(Urgent::Flushed { .. }))),
            Err(_) => break,
        }
        assert!(handed < 256 << 20, "no backpressure");
    }
    // The handshake arrived, too.
    let records = handed / LANE_BYTES;
    let sent = CLIENT_HANDSHAKE_BYTES + handed + records * TLS_RECORD_BYTES;
    let unsent = sent.saturating_sub(arrived.await.unwrap()());
    let most = UNSENT_BYTES_MAX + TLS_RECORD_BYTES;
    assert!(handed > 1 << 20 && unsent <= most, "{unsent} of {handed} bytes wait");
}

#[tokio::test]
async fn a_lane_that_cannot_flush_is_cut_after_the_grace() {
    let (mut server, address) = End::listening(1, short()).await;
    let mut client = End::new(2, short());
    client.lanes.dial(DialId(1), address.to_string());
    let (.., _server_ends) = server.up().await;
    let (.., ends) = client.up().await;
    while let Ok(Ok(())) = timeout(Duration::from_millis(200), ends.writer.send(vec![0; 1 << 20])).await {}
    drop(ends);
    assert!(matches!(client.event().await, LaneEvent::Down { .. }));
}

#[tokio::test]
async fn dials_that_come_to_nothing_are_told() {
    let mut client = End::new(2, short());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    client.lanes.dial(DialId(1), free.to_string());
    client.lanes.dial(DialId(2), silent.local_addr().unwrap().to_string());
    client.lanes.dial(DialId(3), "no address at all".to_owned());
    let mut failed = BTreeSet::new();
    for _ in 0..3 {
        match client.answer().await {
            Urgent::DialFailed { dial } => failed.insert(dial.0),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(failed, BTreeSet::from([1, 2, 3]));
    assert_eq!(client.lanes.counts().failed, 3);
}

#[tokio::test]
async fn strangers_that_talk_nonsense_or_nothing_leave_no_trace() {
    let (mut server, address) = End::listening(1, short()).await;
    let mut strangers = Vec::new();
    for number in 0..200_u32 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        match number % 4 {
            0 => {}
            // The beginning of a TLS record whose rest never comes.
            1 => stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap(),
            2 => stream.write_all(&[number as u8; 4096]).await.unwrap(),
            _ => stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(),
        }
        strangers.push(stream);
    }
    // A friend is served among them.
    let client = End::new(2, Limits::default());
    client.lanes.dial(DialId(1), address.to_string());
    let (.., client_key, _ends) = server.up().await;
    assert_eq!(client_key, key(2));
    // In time, nothing is left but the friend's lane, although the strangers hold on to their ends.
    timeout(Duration::from_secs(10), async {
        while server.lanes.counts().handshakes > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("handshakes end");
    let counts = server.lanes.counts();
    assert_eq!((counts.accepted, counts.failed, counts.lanes), (201, 200, 1), "{counts:?}");
    assert!(server.events.try_recv().is_err(), "the driver heard of none of them");
    drop(strangers);
}

#[tokio::test]
async fn a_crowd_of_silent_strangers_does_not_keep_a_friend_out() {
    let limits =
        Limits { handshakes_max: 8, handshake_timeout: Duration::from_secs(60), ..Limits::default() };
    let (mut server, address) = End::listening(1, limits).await;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(TcpStream::connect(address).await.unwrap());
    }
    let client = End::new(2, Limits::default());
    client.lanes.dial(DialId(1), address.to_string());
    assert_eq!(server.up().await.2, key(2));
    let counts = server.lanes.counts();
    assert!(counts.handshakes <= 8 && counts.crowded_out >= 92, "{counts:?}");
}

#[tokio::test]
async fn lanes_over_the_limit_are_refused() {
    let limits = Limits { lanes_max: 1, ..Limits::default() };
    let (mut server, address) = End::listening(1, limits).await;
    let first = End::new(2, Limits::default());
    first.lanes.dial(DialId(1), address.to_string());
    let (.., _ends) = server.up().await;
    let mut second = End::new(3, Limits::default());
    second.lanes.dial(DialId(1), address.to_string());
    assert!(matches!(second.answer().await, Urgent::DialFailed { .. }));
    assert_eq!(server.lanes.counts().crowded_out, 1);
}

#[tokio::test]
async fn aborting_ends_every_task_and_says_so_for_lanes() {
    let (mut server, address) = End::listening(1, Limits::default()).await;
    let mut client = End::new(2, Limits::default());
    client.lanes.dial(DialId(1), address.to_string());
    let (lane, .., ends) = server.up().await;
    client.up().await;
    server.lanes.abort();
    let Urgent::LaneLost { lane: lost } = server.answer().await else { panic!("not told") };
    assert_eq!(lost, lane);
    assert!(ends.writer.send(Bytes::new().into()).await.is_err());
    server.lanes.dial(DialId(2), address.to_string());
    timeout(Duration::from_secs(5), async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the listener is gone");
    assert_eq!(server.lanes.counts().handshakes, 0, "nothing starts any more");
}
