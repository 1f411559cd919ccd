//! Publishing a whole file as one message: exactly once, however often it is run and whatever breaks on the way.
//!
//! The writer is derived from the stream and from what the file holds, and the file is its first message; so the same file is published to a stream once.
//! A large file goes in parts. The source tells how much of it is staged, and nothing before that is sent again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wattle_core::id::WriterId;
use wattle_proto::api::publish_response::Answer;
use wattle_proto::api::{FindWriterResponse, Level, Part, PublishRequest, Reason, Receipt, Refused, Staged};

use super::{Call, Grpc, PAUSE_MAX, PAUSE_MIN, Route, broke};
use crate::api::convert;
use crate::client::failure::Failure;
use crate::client::pace::{Pause, settled};

/// Parts under way: what the node takes in without waiting, and less than it refuses as too much.
const PARTS_AHEAD: usize = 8;
/// Bytes read at once while a file is hashed.
const READ_BYTES: usize = 1 << 20;

/// What to publish, and how.
#[derive(Clone, Debug)]
pub struct WholePlan {
    /// The stream.
    pub stream: String,
    /// Whose it must be; empty: anybody's.
    pub tenant: String,
    /// The writer, if the user named one: then the file is that writer's next message, each time.
    pub writer: Option<WriterId>,
    /// The file.
    pub path: PathBuf,
    /// How far to wait.
    pub wait: Level,
    /// How long to go on without any progress.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeSummary {
    /// Under which writer.
    pub writer: WriterId,
    /// Bytes of the file.
    pub bytes: u64,
    /// BLAKE3 of it.
    pub digest: [u8; 32],
    /// Bytes that were there before this run.
    pub already_there: u64,
    /// The sequence that the message bears; 0 if that is no longer known.
    pub sequence: u64,
}

/// What a run tells on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeTold {
    /// So many bytes of all are safe at the source.
    Staged(u64, u64),
    /// The node cannot take more now.
    Waits(String),
    /// The connection broke; it connects again.
    Reconnects(String),
}

/// Publishes a file as one message.
///
/// # Errors
/// When the node refuses, the file changed or cannot be read, or nothing moves for as long as the plan is patient. What is staged until then is found by the
/// next run.
pub async fn publish_whole(
    route: &mut Grpc<'_>,
    plan: &WholePlan,
    mut tell: impl FnMut(WholeTold),
) -> Result<WholeSummary, Failure> {
    let path = plan.path.clone();
    let shown = path.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Whole::open(&path)).await;
    let opened = opened.map_err(|error| Failure::Failed(format!("cannot read {shown}: {error}")))?;
    let file = Arc::new(opened.map_err(|error| Failure::Failed(format!("cannot read {shown}: {error}")))?);
    let writer = plan.writer.unwrap_or_else(|| writer_of(&plan.stream, &file.digest));
    let found = settled(async || route.find_all(&plan.stream, writer).await).await?;
    let number = if plan.writer.is_some() { found.next } else { 1 };
    let mut run = Run {
        plan,
        file,
        writer,
        number,
        shown,
        moved: Instant::now(),
        already_there: None,
        sequence: None,
        anew: false,
    };
    let mut found = Some(found);
    let mut pause = Pause::between(PAUSE_MIN, PAUSE_MAX);
    let mut said = None;
    loop {
        let broken = match run.attempt(route, found.take(), &mut tell).await {
            Ok(()) => break,
            Err(failure) if failure.may_pass() || run.begins_anew(&failure) => failure,
            Err(failure) => return Err(failure),
        };
        if run.moved.elapsed() >= plan.patience {
            return Err(broken);
        }
        let reason = broken.reason();
        match &broken {
            // As long as the same is in the way, that is said once.
            Failure::Refused { .. } if said == Some(reason) => {}
            Failure::Refused { message, .. } => tell(WholeTold::Waits(message.clone())),
            other => tell(WholeTold::Reconnects(other.to_string())),
        }
        said = Some(reason);
        let after = broken.retry_after();
        tokio::time::sleep(after.unwrap_or_default().max(pause.take())).await;
        if after.is_some() {
            // A node that names a time lets it go on.
            run.moved = Instant::now();
        }
    }
    let (bytes, digest) = (run.file.len, run.file.digest);
    let (already_there, sequence) = (run.already_there.unwrap_or(0), run.sequence.unwrap_or(0));
    Ok(WholeSummary { writer, bytes, digest, already_there, sequence })
}

/// The writer of what a file holds.
fn writer_of(stream: &str, digest: &[u8; 32]) -> WriterId {
    let mut hasher = blake3::Hasher::new_derive_key("wattle 2026 writer of a whole file");
    hasher.update(digest);
    hasher.update(stream.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    WriterId(u128::from_be_bytes(id))
}

/// A file, as it was when it was hashed.
#[derive(Debug)]
struct Whole {
    input: File,
    len: u64,
    digest: [u8; 32],
}

impl Whole {
    fn open(path: &Path) -> io::Result<Self> {
        let mut input = File::open(path)?;
        if !input.metadata()?.is_file() {
            return Err(io::Error::other("only a regular file can be published whole"));
        }
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut len = 0;
        loop {
            let read = input.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            len += read as u64;
        }
        Ok(Self { input, len, digest: *hasher.finalize().as_bytes() })
    }

    fn read(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        let mut buffer = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.input.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }
}

struct Run<'a> {
    plan: &'a WholePlan,
    file: Arc<Whole>,
    writer: WriterId,
    number: u64,
    shown: String,
    moved: Instant,
    /// Bytes that the source had when this run began.
    already_there: Option<u64>,
    sequence: Option<u64>,
    /// What is staged is of another text: the next attempt begins at its first byte.
    anew: bool,
}

impl Run<'_> {
    /// Whether a refusal is met by beginning the message anew: what another run had staged is not what the file holds.
    fn begins_anew(&mut self, failure: &Failure) -> bool {
        let other = matches!(failure.reason(), Some(Reason::WrongDigest | Reason::WholeChanged));
        let again = matches!(failure.reason(), Some(Reason::BegunAnew));
        other && !std::mem::replace(&mut self.anew, true) || again
    }

    /// Sends what is missing by one connection, and waits for the level.
    async fn attempt(
        &mut self,
        route: &mut Grpc<'_>,
        found: Option<FindWriterResponse>,
        tell: &mut impl FnMut(WholeTold),
    ) -> Result<(), Failure> {
        let found = match found {
            Some(found) => found,
            None => route.find_all(&self.plan.stream, self.writer).await?,
        };
        let (total, part_bytes) = (self.file.len, found.part_bytes.max(1));
        let there = found.next > self.number;
        let staged = found.staged.filter(|staged| staged.total == total && !self.anew);
        let (offset, part_bytes) =
            staged.map_or((0, part_bytes), |staged| (staged.upto, staged.part_bytes.max(1)));
        self.already_there.get_or_insert(if there { total } else { offset });
        let mut call = route.open().await?;
        if total <= part_bytes {
            let messages = vec![self.part(0, total).await?];
            self.send(&mut call, PublishRequest { messages, ..self.request() }).await?;
            return self.finish(&mut call).await;
        }
        tell(WholeTold::Staged(if there { total } else { offset }, total));
        // Of a message that is there already any part is answered by how far it has come.
        let until = if there { part_bytes } else { total };
        let (mut next, mut unanswered) = (offset, 0);
        while next < until || unanswered > 0 {
            while next < until && unanswered < PARTS_AHEAD {
                let len = part_bytes.min(total - next);
                let data = self.part(next, len).await?;
                let last = next + len == total;
                let digest = if last { Bytes::copy_from_slice(&self.file.digest) } else { Bytes::new() };
                let part = Some(Part { total, offset: next, data, digest });
                self.send(&mut call, PublishRequest { part, ..self.request() }).await?;
                next += len;
                if last || there {
                    return self.finish_staged(&mut call, tell).await;
                }
                unanswered += 1;
            }
            match self.answer(&mut call).await? {
                Heard::Staged(staged) => {
                    unanswered -= 1;
                    tell(WholeTold::Staged(staged.upto, total));
                }
                Heard::Done => return Ok(()),
                Heard::Level => {}
            }
        }
        Ok(())
    }

    fn request(&self) -> PublishRequest {
        PublishRequest {
            stream: self.plan.stream.clone(),
            tenant: self.plan.tenant.clone(),
            writer: convert::writer(self.writer),
            first: self.number,
            wait: self.plan.wait.into(),
            ..PublishRequest::default()
        }
    }

    async fn part(&self, offset: u64, len: u64) -> Result<Bytes, Failure> {
        let file = Arc::clone(&self.file);
        let read = tokio::task::spawn_blocking(move || file.read(offset, len)).await;
        let read = read.map_err(io::Error::other).and_then(|read| read);
        read.map_err(|error| {
            Failure::Failed(format!("cannot read {}: {error}; it may have changed", self.shown))
        })
    }

    async fn send(&self, call: &mut Call, request: PublishRequest) -> Result<(), Failure> {
        if call.requests.send(request).await.is_ok() {
            return Ok(());
        }
        Err(super::drain(call).await)
    }

    /// Everything is sent: waits for the level.
    async fn finish_staged(
        &mut self,
        call: &mut Call,
        tell: &mut impl FnMut(WholeTold),
    ) -> Result<(), Failure> {
        loop {
            match self.answer(call).await? {
                Heard::Done => {
                    tell(WholeTold::Staged(self.file.len, self.file.len));
                    return Ok(());
                }
                Heard::Staged(staged) => tell(WholeTold::Staged(staged.upto, self.file.len)),
                Heard::Level => {}
            }
        }
    }

    async fn finish(&mut self, call: &mut Call) -> Result<(), Failure> {
        while !matches!(self.answer(call).await?, Heard::Done) {}
        Ok(())
    }

    /// The next answer.
    async fn answer(&mut self, call: &mut Call) -> Result<Heard, Failure> {
        let answer = tokio::time::timeout(self.plan.patience, call.answers.recv()).await;
        let answer = answer.map_err(|_| {
            let seconds = self.plan.patience.as_secs_f64();
            Failure::Failed(format!(
                "nothing moved for {seconds} s: the level waited for was not reached. What is staged is safe; run this again to go on"
            ))
        })?;
        match answer.ok_or_else(broke)??.answer {
            Some(Answer::Staged(staged)) => {
                self.moved = Instant::now();
                Ok(Heard::Staged(staged))
            }
            Some(Answer::Receipt(Receipt { level, last, .. })) => {
                self.moved = Instant::now();
                self.sequence = Some(last);
                Ok(if level >= i32::from(self.plan.wait) { Heard::Done } else { Heard::Level })
            }
            Some(Answer::Refused(refused)) => Err(self.refused(refused)),
            None => Err(Failure::Failed("the node answered nothing that is known here".to_owned())),
        }
    }

    fn refused(&self, refused: Refused) -> Failure {
        let reason = refused.detail.as_ref().map(|detail| detail.reason());
        if reason == Some(Reason::WrongDigest) && self.anew {
            return Failure::Failed(format!("{} changed while it was read: {}", self.shown, refused.message));
        }
        Failure::of_refused(refused)
    }
}

/// What an answer says.
enum Heard {
    Staged(Staged),
    /// A level below the one waited for.
    Level,
    Done,
}

impl Grpc<'_> {
    /// Finds the source, and asks all that it knows of the writer.
    async fn find_all(&mut self, stream: &str, writer: WriterId) -> Result<FindWriterResponse, Failure> {
        self.find(stream, writer).await?;
        let request = self.question(stream, writer);
        let client = self.client_mut().ok_or_else(broke)?;
        client.writer(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_writer_in_each_stream_and_its_bytes_are_what_was_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let text: Vec<u8> = (0..3 * READ_BYTES + 17).map(|at| at as u8).collect();
        std::fs::write(&path, &text).unwrap();
        let whole = Whole::open(&path).unwrap();
        assert_eq!((whole.len, whole.digest), (text.len() as u64, *blake3::hash(&text).as_bytes()));
        assert_eq!(whole.read(5, 9).unwrap(), text[5..14]);
        assert!(whole.read(text.len() as u64 - 3, 4).is_err(), "the file ended");
        assert!(Whole::open(folder.path()).is_err());
        let writer = writer_of("a", &whole.digest);
        assert!(writer != writer_of("b", &whole.digest) && writer != writer_of("a", &[0; 32]));
    }
}
