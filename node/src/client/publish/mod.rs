//! Publishing lines: exactly once, however often it is run and whatever breaks on the way.
//!
//! Line `i` of a source is message `i` of its writer. So a run asks where the writer stands, skips what was accepted, and repeats what it
//! heard no answer for; the node recognises what it has.

pub mod pipeline;
pub mod record;
pub mod route;
pub mod whole;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use wattle_core::id::WriterId;
use wattle_proto::api::{Level, PublishRequest, PublishResponse};

use super::failure::Failure;
use super::pace::{Pause, settled};
use super::source::{self, Found, Reading, Source};
use crate::api::convert;
use pipeline::{Counts, Meaning, Pipeline, Window};
use record::{Checkpoint, Record};
pub use route::{Grpc, Route};

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What to publish, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The stream.
    pub stream: String,
    /// Whose it must be; empty: anybody's.
    pub tenant: String,
    /// The writer, if the user named one; else it is derived from the source.
    pub writer: Option<WriterId>,
    /// How far to wait.
    pub wait: Level,
    /// Lines in a batch at most.
    pub batch_lines: usize,
    /// How long to go on without any progress.
    pub patience: Duration,
    /// Where records are kept.
    pub records: PathBuf,
    /// What tells this machine from others.
    pub machine: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Under which writer.
    pub writer: WriterId,
    /// Messages accepted in this run.
    pub accepted: u64,
    /// Messages that were there before.
    pub already_there: u64,
    /// The stream's sequence of the last message accepted in this run; 0 if there was none.
    pub last_sequence: u64,
}

/// What a run tells on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It goes on where an earlier run stopped.
    Resumes {
        /// The first line that is not there yet.
        line: u64,
        /// Whether the lines before it were compared with what was sent then.
        checked: bool,
    },
    /// The node cannot take more now.
    Waits(String),
    /// The connection broke; it connects again.
    Reconnects(String),
}

/// Publishes a source.
///
/// # Errors
/// When the node refuses, the source changed or cannot be read, or nothing moves for as long as the plan is patient. Everything that was
/// accepted until then is found by the next run.
pub async fn publish<R: Route>(
    route: &mut R,
    source: Source,
    plan: &Plan,
    mut tell: impl FnMut(Told),
) -> Result<Summary, Failure> {
    let (writer, mut record) = identify(plan, &source)?;
    let next = settled(async || route.find(&plan.stream, writer).await).await?;
    let skip = next.saturating_sub(1);
    let checkpoints = match &mut record {
        Some(record) => record.keep(skip).map_err(failed("cannot write the record"))?,
        None => Vec::new(),
    };
    if skip > 0 {
        tell(Told::Resumes {
            line: next,
            checked: checkpoints.last().is_some_and(|last| last.lines == skip),
        });
    }
    let shown = source.shown().to_owned();
    let lines = read(source, Reading { skip, checkpoints, batch_lines: plan.batch_lines.max(1) })?;
    let mut run = Run {
        route,
        plan,
        writer,
        shown,
        record,
        lines,
        ended: false,
        pipeline: Pipeline::new(plan.wait, Window::default()),
        moved: Instant::now(),
        paced: false,
    };
    run.finish(&mut tell).await?;
    let Counts { accepted, already_there, last_sequence } = run.pipeline.counts();
    Ok(Summary { writer, accepted, already_there: already_there + skip, last_sequence })
}

fn failed(what: impl Display) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Failed(format!("{what}: {error}"))
}

/// Under which writer a source is published, and the record of it if there can be one.
fn identify(plan: &Plan, source: &Source) -> Result<(WriterId, Option<Record>), Failure> {
    if let Some(writer) = plan.writer {
        return Ok((writer, None));
    }
    let Some(path) = &source.path else {
        return Ok((record::fresh_writer().map_err(failed("cannot make a writer id"))?, None));
    };
    let writer = record::writer_of_file(&plan.stream, &plan.machine, path);
    let what = format!("cannot keep a record of {} in {}", path.display(), plan.records.display());
    Ok((writer, Some(Record::open(&plan.records, writer).map_err(failed(what))?)))
}

/// Reads a source on a thread, for files and pipes may block.
fn read(source: Source, reading: Reading) -> Result<mpsc::Receiver<Found>, Failure> {
    let (found, lines) = mpsc::channel(8);
    std::thread::Builder::new()
        .name("lines".to_owned())
        .spawn(move || source::read(source.input, &reading, &found))
        .map_err(failed("cannot start a thread"))?;
    Ok(lines)
}

struct Run<'a, R> {
    route: &'a mut R,
    plan: &'a Plan,
    writer: WriterId,
    shown: String,
    record: Option<Record>,
    lines: mpsc::Receiver<Found>,
    ended: bool,
    pipeline: Pipeline,
    moved: Instant,
    /// It was said that the stream takes no more in than its rate.
    paced: bool,
}

/// One connection's two directions.
pub struct Call {
    /// Arrays of messages.
    pub requests: mpsc::Sender<PublishRequest>,
    /// Answers; an error or the end means that the connection is gone.
    pub answers: mpsc::Receiver<Result<PublishResponse, Failure>>,
}

impl<R: Route> Run<'_, R> {
    async fn finish(&mut self, tell: &mut impl FnMut(Told)) -> Result<(), Failure> {
        let mut pause = Pause::between(PAUSE_MIN, PAUSE_MAX);
        loop {
            let broken = match self.route.open().await {
                Ok(call) => match self.serve(call, &mut pause, tell).await? {
                    None => return Ok(()),
                    Some(broken) => broken,
                },
                Err(failure) if failure.may_pass() => failure,
                Err(failure) => return Err(failure),
            };
            self.pipeline.disconnected();
            tell(Told::Reconnects(broken.to_string()));
            self.reconnect(broken).await?;
        }
    }

    /// Finds the way to the stream's source again.
    async fn reconnect(&mut self, mut last: Failure) -> Result<(), Failure> {
        // An idle pipe waits for nothing, so for it only the time without a node counts.
        let since = if self.pipeline.is_empty() { Instant::now() } else { self.moved };
        let mut pause = Pause::between(PAUSE_MIN, PAUSE_MAX);
        loop {
            if since.elapsed() >= self.plan.patience {
                return Err(last);
            }
            tokio::time::sleep(pause.take()).await;
            match self.route.find(&self.plan.stream, self.writer).await {
                Ok(next) => {
                    return match self.pipeline.first() {
                        Some(first) if next < first => Err(Failure::Failed(format!(
                            "the node has forgotten messages {next} to {} of this writer, which it had accepted: its disk was rolled back; run this again",
                            first - 1
                        ))),
                        _ => Ok(()),
                    };
                }
                Err(failure) if failure.may_pass() => last = failure,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Uses one connection until everything is done (`None`) or it breaks.
    async fn serve(
        &mut self,
        mut call: Call,
        pause: &mut Pause,
        tell: &mut impl FnMut(Told),
    ) -> Result<Option<Failure>, Failure> {
        let mut resume_at = None;
        let mut waits_for: Option<String> = None;
        let mut allowed_at = None;
        while !(self.ended && self.pipeline.is_empty()) {
            while let Some(request) = self.next_request() {
                if call.requests.send(request).await.is_err() {
                    return Ok(Some(drain(&mut call).await));
                }
            }
            if self.pipeline.wants_resume() && resume_at.is_none() {
                let rested = Instant::now() + pause.take();
                resume_at = Some(allowed_at.take().map_or(rested, |at: Instant| at.max(rested)));
            }
            let gives_up = self.moved + self.plan.patience;
            let answer = tokio::select! {
                found = self.lines.recv(), if !self.ended && self.pipeline.has_room() => {
                    self.take_in(found)?;
                    continue;
                }
                answer = call.answers.recv() => answer,
                () = sleep_until(resume_at) => {
                    resume_at = None;
                    self.pipeline.resume();
                    continue;
                }
                () = tokio::time::sleep_until(gives_up), if !self.pipeline.is_empty() => {
                    return Err(self.out_of_patience(waits_for));
                }
            };
            match self.meaning(answer) {
                Meaning::Progress => {
                    self.moved = Instant::now();
                    pause.reset();
                    waits_for = None;
                }
                Meaning::Nothing => {}
                Meaning::Wait(why, after) => {
                    // A stream with a rate has it wait again and again.
                    let again = after.is_some() && std::mem::replace(&mut self.paced, true);
                    if waits_for.is_none() && !again {
                        tell(Told::Waits(why.clone()));
                    }
                    waits_for = Some(why);
                    if let Some(after) = after {
                        // A node that names a time lets it go on then: until that, nothing is late.
                        self.moved = Instant::now() + after;
                        allowed_at = Some(self.moved);
                    }
                }
                Meaning::Reconnect(broken) => return Ok(Some(broken)),
                Meaning::Fatal(failure) => return Err(failure),
            }
        }
        Ok(None)
    }

    fn next_request(&mut self) -> Option<PublishRequest> {
        let (first, messages) = self.pipeline.next_to_send()?;
        Some(PublishRequest {
            stream: self.plan.stream.clone(),
            tenant: self.plan.tenant.clone(),
            writer: convert::writer(self.writer),
            first,
            messages,
            wait: self.plan.wait.into(),
            part: None,
        })
    }

    fn meaning(&mut self, answer: Option<Result<PublishResponse, Failure>>) -> Meaning {
        match answer {
            Some(Ok(answer)) => self.pipeline.take(answer),
            Some(Err(failure)) if failure.may_pass() => Meaning::Reconnect(failure),
            Some(Err(failure)) => Meaning::Fatal(failure),
            None => Meaning::Reconnect(broke()),
        }
    }

    fn take_in(&mut self, found: Option<Found>) -> Result<(), Failure> {
        match found {
            Some(Found::Batch(batch)) => {
                if let Some(record) = &mut self.record {
                    let checkpoint = Checkpoint { lines: batch.last(), digest: batch.digest };
                    record.add(checkpoint).map_err(failed("cannot write the record"))?;
                }
                if self.pipeline.is_empty() {
                    self.moved = Instant::now();
                }
                self.pipeline.push(batch);
                Ok(())
            }
            Some(Found::End { .. }) => {
                self.ended = true;
                Ok(())
            }
            Some(Found::Changed(how)) => Err(Failure::Failed(format!(
                "{} has changed since it was published to {}: {how}; nothing was published. To publish it as a new source, \
                 give it a writer of its own with --writer NAME",
                self.shown, self.plan.stream
            ))),
            Some(Found::Failed(why)) => Err(Failure::Failed(format!("cannot read {}: {why}", self.shown))),
            None => Err(Failure::Failed(format!("cannot read {}: the reader stopped", self.shown))),
        }
    }

    fn out_of_patience(&self, waits_for: Option<String>) -> Failure {
        let seconds = self.plan.patience.as_secs_f64();
        let why = waits_for.unwrap_or_else(|| {
            format!("the level waited for, {}, was not reached", level_name(self.plan.wait))
        });
        let counts = self.pipeline.counts();
        Failure::Failed(format!(
            "nothing moved for {seconds} s: {why}. {} messages of this run were accepted and are safe; the rest follows when this is run again",
            counts.accepted
        ))
    }
}

/// What broke the connection, if it says so.
async fn drain(call: &mut Call) -> Failure {
    while let Some(answer) = call.answers.recv().await {
        if let Err(failure) = answer {
            return failure;
        }
    }
    broke()
}

fn broke() -> Failure {
    Failure::Unreachable("the connection to the node broke".to_owned())
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A level as people write it.
#[must_use]
pub const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Unspecified | Level::Accepted => "accepted",
        Level::Replicated => "replicated",
        Level::Completed => "completed",
    }
}

#[cfg(test)]
mod tests;
