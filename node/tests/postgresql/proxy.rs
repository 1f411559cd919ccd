//! What stands between a handler and its server, and can withhold a commit: the connection is lost, and the server gets it all the same, later.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A simple query.
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";
/// How long it is on its way.
const LATE: Duration = Duration::from_secs(2);

const PASS: u8 = 0;
const WITHHOLD: u8 = 1;
const WITHHELD: u8 = 2;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<AtomicU8>,
}

impl Proxy {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(AtomicU8::new(PASS));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    /// The next commit is withheld.
    pub(crate) fn withhold(&self) {
        self.state.store(WITHHOLD, Ordering::SeqCst);
    }

    pub(crate) fn withheld(&self) -> bool {
        self.state.load(Ordering::SeqCst) == WITHHELD
    }
}

async fn pass(client: TcpStream, server: u16, state: Arc<AtomicU8>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let (mut asks, mut hears) = client.into_split();
    let (mut answers, mut told) = server.into_split();
    let back = tokio::spawn(async move {
        // Ends with either of them.
        let _ = tokio::io::copy(&mut answers, &mut hears).await;
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = asks.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default();
        let commit = bytes.ends_with(COMMIT)
            && state.compare_exchange(WITHHOLD, WITHHELD, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if commit {
            back.abort();
            drop(asks);
            tokio::time::sleep(LATE).await;
            told.write_all(bytes).await.expect("the server is there");
            // It need not be told that the answer is read by nobody.
            tokio::time::sleep(LATE).await;
            return;
        }
        if count == 0 || told.write_all(bytes).await.is_err() {
            return;
        }
    }
}
