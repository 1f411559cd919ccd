//! Connections: a task each, from the first byte to the last.
//!
//! An accepted connection that has not proven its key costs one task and one socket for at most the handshake's timeout; when
//! too many are under way the oldest gives way. A proven one becomes a lane: what it reads goes to the driver through a
//! bounded queue (a full queue stops the reading, and so the sender), what the driver hands out goes to its socket.

mod pace;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{Instrument as _, Span};
use wattle_core::id::LaneId;
use wattle_core::node::output::DialId;
use wattle_core::work::PublicKey;

pub(crate) use self::pace::Pace;
use crate::event::{LaneEnds, LaneEvent, Urgent};
use crate::net::{TcpListener, TcpStream, lookup_host};
use crate::settings::Limits;
use crate::socket::{Socket, UNSENT_AFTER_FLUSH, under_lane};
use crate::tls::{Tls, TlsError};

/// Bytes of a lane that are on this side of the wire and can no longer be overtaken by what is more urgent, unless a single
/// message is larger or the lane is quick (see [`Pace`]).
const UNSENT_BYTES_MAX: usize = 16 << 10;
/// Bytes handed to a lane at a time, to begin with. It is handed the next when its socket was flushed.
pub(crate) const LANE_BYTES: usize = UNSENT_BYTES_MAX - UNSENT_AFTER_FLUSH;
/// Buffers a lane may hold: one that is on its way, and the last before it is closed.
const BUFFERS_PER_LANE: usize = 2;
/// A read buffer starts small, so that idle lanes cost little, and grows while reads fill it.
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 64 << 10;
/// How long to wait when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What connections have come to, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted, whatever became of them.
    pub accepted: u64,
    /// Connections dialled, whatever became of them.
    pub dialled: u64,
    /// Dials that did not connect, and handshakes that failed or took too long, accepted ones and dialled ones.
    pub failed: u64,
    /// Handshakes that gave way because too many were under way, and lanes refused because there were too many.
    pub crowded_out: u64,
    /// Handshakes under way now.
    pub handshakes: u64,
    /// Lanes open now.
    pub lanes: u64,
}

/// All connections of one node.
#[derive(Clone, Debug)]
pub(crate) struct Lanes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What new connections are made with.
    tls: Mutex<Tls>,
    limits: Limits,
    runtime: Handle,
    /// Names the node in what tasks log.
    span: Span,
    events: mpsc::Sender<LaneEvent>,
    urgent: mpsc::UnboundedSender<Urgent>,
    next_lane: AtomicU64,
    tasks: Mutex<Tasks>,
}

/// Every task, so that none outlives the node.
#[derive(Debug, Default)]
struct Tasks {
    closed: bool,
    next: u64,
    running: BTreeMap<u64, (Stage, AbortHandle)>,
    /// Those of `running` that are accepted and unproven, oldest first.
    unproven: BTreeSet<u64>,
    /// Those of `running` that are lanes.
    lanes: usize,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Listener,
    Dial,
    Handshake,
    Lane,
}

impl Lanes {
    pub(crate) fn new(
        tls: Tls,
        limits: Limits,
        runtime: Handle,
        events: mpsc::Sender<LaneEvent>,
        urgent: mpsc::UnboundedSender<Urgent>,
    ) -> Self {
        let (tls, next_lane, tasks) = (Mutex::new(tls), AtomicU64::new(1), Mutex::default());
        let span = Span::current();
        Self(Arc::new(Shared { tls, limits, runtime, span, events, urgent, next_lane, tasks }))
    }

    /// Accepts connections until [`Lanes::abort`].
    pub(crate) fn listen(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.0);
        self.0.spawn(Stage::Listener, |_| async move {
            loop {
                match listener.accept().await {
                    Ok((stream, from)) => shared.accepted(stream, from),
                    Err(error) => {
                        tracing::debug!(%error, "accepting failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    /// Dials; a lane or [`Urgent::DialFailed`] comes of it.
    pub(crate) fn dial(&self, dial: DialId, address: String) {
        self.0.tasks().counts.dialled += 1;
        let shared = Arc::clone(&self.0);
        self.0.spawn(Stage::Dial, |task| async move {
            match shared.connect(&address).await {
                Ok((stream, key)) => {
                    shared.prove(task);
                    run_lane(&shared, stream, Some(dial), key).await;
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "dial failed");
                    shared.tasks().counts.failed += 1;
                    let _ = shared.urgent.send(Urgent::DialFailed { dial });
                }
            }
        });
    }

    /// Proves another key on connections made from now on. Those that are up stay.
    pub(crate) fn show(&self, tls: Tls) {
        *self.0.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// Ends every task at once; no new ones start.
    pub(crate) fn abort(&self) {
        self.end(|_| true);
    }

    /// Ends listening and dialling; lanes stay.
    pub(crate) fn close_doors(&self) {
        self.end(|stage| stage != Stage::Lane);
    }

    fn end(&self, which: impl Fn(Stage) -> bool) {
        let ending: Vec<_> = {
            let mut tasks = self.0.tasks();
            tasks.closed = true;
            tasks.running.values().filter(|(stage, _)| which(*stage)).map(|(_, task)| task.clone()).collect()
        };
        for task in ending {
            task.abort();
        }
    }

    pub(crate) fn close_grace(&self) -> Duration {
        self.0.limits.close_grace
    }

    pub(crate) fn counts(&self) -> Counts {
        let tasks = self.0.tasks();
        let under_way = |stage| matches!(stage, Stage::Handshake | Stage::Dial);
        let handshakes = tasks.running.values().filter(|(stage, _)| under_way(*stage)).count();
        Counts { handshakes: handshakes as u64, lanes: tasks.lanes as u64, ..tasks.counts }
    }
}

impl Shared {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn<F>(self: &Arc<Self>, stage: Stage, make: impl FnOnce(u64) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = self.tasks();
        if tasks.closed {
            return;
        }
        tasks.next += 1;
        let number = tasks.next;
        let entry = Entry { shared: Arc::clone(self), number };
        let work = make(number);
        let running = async move {
            let _entry = entry;
            work.await;
        };
        let running = self.runtime.spawn(running.instrument(self.span.clone()));
        tasks.running.insert(number, (stage, running.abort_handle()));
        if stage == Stage::Handshake {
            tasks.unproven.insert(number);
        }
    }

    fn accepted(self: &Arc<Self>, stream: TcpStream, from: SocketAddr) {
        let shared = Arc::clone(self);
        let mut evicted = None;
        {
            let mut tasks = self.tasks();
            tasks.counts.accepted += 1;
            if tasks.lanes >= self.limits.lanes_max {
                tasks.counts.crowded_out += 1;
                return;
            }
            if tasks.unproven.len() >= self.limits.handshakes_max
                && let Some(oldest) = tasks.unproven.pop_first()
            {
                tasks.counts.crowded_out += 1;
                evicted = tasks.running.get(&oldest).map(|(_, task)| task.clone());
            }
        }
        if let Some(task) = evicted {
            task.abort();
        }
        self.spawn(Stage::Handshake, |task| async move {
            match shared.handshake(stream, false).await {
                Ok((stream, key)) => {
                    shared.prove(task);
                    run_lane(&shared, stream, None, key).await;
                }
                Err(error) => {
                    tracing::debug!(%from, %error, "handshake failed");
                    shared.tasks().counts.failed += 1;
                }
            }
        });
    }

    /// The task has become a lane.
    fn prove(&self, task: u64) {
        let mut tasks = self.tasks();
        tasks.unproven.remove(&task);
        if let Some((stage, _)) = tasks.running.get_mut(&task) {
            *stage = Stage::Lane;
            tasks.lanes += 1;
        }
    }

    async fn connect(&self, address: &str) -> Result<(Secure, PublicKey), TlsError> {
        let stream = timeout(self.limits.connect_timeout, connect_any(address))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.handshake(stream, true).await
    }

    async fn handshake(&self, stream: TcpStream, dialled: bool) -> Result<(Secure, PublicKey), TlsError> {
        let stream = under_lane(stream)?;
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shake = async { if dialled { tls.connect(stream).await } else { tls.accept(stream).await } };
        timeout(self.limits.handshake_timeout, shake)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

type Secure = tokio_rustls::TlsStream<Socket>;

/// Tries every address that the name has, one after the other.
async fn connect_any(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in lookup_host(address).await? {
        match TcpStream::connect(candidate).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Takes a task off the list when it ends, however it ends.
#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut tasks = self.shared.tasks();
        tasks.unproven.remove(&self.number);
        if let Some((Stage::Lane, _)) = tasks.running.remove(&self.number) {
            tasks.lanes -= 1;
        }
    }
}

/// Tells the driver that a lane is gone if its task ends without doing so.
#[derive(Debug)]
struct Farewell<'a> {
    urgent: &'a mpsc::UnboundedSender<Urgent>,
    lane: LaneId,
    said: bool,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if !self.said {
            let _ = self.urgent.send(Urgent::LaneLost { lane: self.lane });
        }
    }
}

async fn run_lane<S>(shared: &Shared, stream: S, dial: Option<DialId>, peer_key: PublicKey)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let lane = LaneId(shared.next_lane.fetch_add(1, Ordering::Relaxed));
    let (writer, buffers) = mpsc::channel(BUFFERS_PER_LANE);
    let (closing, closed) = oneshot::channel::<()>();
    let ends = LaneEnds { writer, _closing: closing };
    if shared.events.send(LaneEvent::Up { lane, dial, peer_key, ends }).await.is_err() {
        return;
    }
    let mut farewell = Farewell { urgent: &shared.urgent, lane, said: false };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let handed_out = tokio::select! {
        biased;
        result = write_all(&mut writer, lane, buffers, &shared.urgent) => result.is_ok(),
        result = read_all(&mut reader, lane, &shared.events) => {
            tracing::trace!(?lane, ?result, "the far end is gone");
            false
        }
        // The driver let go, and the far end does not take what is left for it.
        () = async { let _ = closed.await; sleep(shared.limits.close_grace).await } => false,
    };
    if handed_out {
        // Leave only after the far end has, or the system may throw away what it has not read yet.
        let leave = async {
            writer.shutdown().await?;
            let mut scratch = [0; 1024];
            while reader.read(&mut scratch).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = timeout(shared.limits.close_grace, leave).await;
    }
    drop((reader, writer));
    farewell.said = shared.events.send(LaneEvent::Down { lane }).await.is_ok();
}

/// Writes what is handed out, until the driver lets go.
async fn write_all<S: AsyncWrite>(
    socket: &mut WriteHalf<S>,
    lane: LaneId,
    mut buffers: mpsc::Receiver<Vec<u8>>,
    urgent: &mpsc::UnboundedSender<Urgent>,
) -> io::Result<()> {
    while let Some(buffer) = buffers.recv().await {
        socket.write_all(&buffer).await?;
        socket.flush().await?;
        let _ = urgent.send(Urgent::Flushed { lane, buffer });
    }
    Ok(())
}

/// Reads until the far end is done, or the node is gone.
async fn read_all<S: AsyncRead>(
    socket: &mut ReadHalf<S>,
    lane: LaneId,
    events: &mpsc::Sender<LaneEvent>,
) -> io::Result<()> {
    let mut wanted = READ_BYTES_MIN;
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < READ_BYTES_MIN / 2 {
            buffer.reserve(wanted);
        }
        let room = buffer.capacity();
        let got = socket.read_buf(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        // Reads that fill the buffer ask for a larger one, and small ones for a smaller.
        if got >= room {
            wanted = (wanted * 4).min(READ_BYTES_MAX);
        } else if got < wanted / 8 {
            wanted = (wanted / 2).max(READ_BYTES_MIN);
        }
        let bytes = buffer.split().freeze();
        if events.send(LaneEvent::Received { lane, bytes }).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
