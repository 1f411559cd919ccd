//! One scenario after another.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use wattle_proto::api::{MeshStatus, StreamHandle};

use super::lane::Lane;
use super::mesh::Mesh;
use super::opening::{self, Opened};
use super::publisher::{Load, Progress, Publisher, Schedule};
use super::subscriber::Subscribers;
use super::{PATIENCE, Scenario, StreamArgs, machine, report};
use crate::api::convert;
use crate::client::publish::record::fresh_writer;
use crate::client::{Failure, Peer};
use crate::output::Output;

/// Messages in a request of `batches`, and of `stream` at most.
const ARRAY: usize = 64;
/// Messages under way in `stream`, requests in `batches`.
const WINDOW: usize = 256;
/// Messages a second of `paced`.
const RATE: u32 = 1000;
/// How long all is well between two kills.
const BETWEEN_KILLS: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What came of a scenario.
pub(super) struct Figures {
    pub(super) scenario: Scenario,
    /// Messages that were completed while it counted, and how long that was.
    pub(super) messages: u64,
    pub(super) took: Duration,
    /// Microseconds from when a message was due.
    pub(super) accepted: Histogram<u64>,
    pub(super) completed: Histogram<u64>,
    /// What each node spent meanwhile.
    pub(super) nodes: Vec<Spent>,
    /// Time of the processors that this process took.
    pub(super) own_time: Option<Duration>,
    /// The load average, and the middle sync of the disk in front of it.
    pub(super) load: Option<f64>,
    pub(super) sync: Duration,
    /// The longest time without a completed message after each kill.
    pub(super) gaps: Vec<Duration>,
    /// How often the publisher began again on a new call.
    pub(super) resumed: u64,
    /// Messages that a handler was not handed, or twice, or late.
    pub(super) lost: u64,
    pub(super) repeated: u64,
}

/// What a node spent on a scenario, as far as it can be known: nothing is known of a process that was killed meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spent {
    pub(super) name: String,
    /// Bytes written to the disk, whole pages counted.
    pub(super) written: Option<u64>,
    /// Bytes that the journal handed to the system, and its syncs.
    pub(super) journal: Option<u64>,
    pub(super) syncs: Option<u64>,
    /// Time of the processors.
    pub(super) time: Option<Duration>,
}

/// What had been spent at a moment.
struct Moment {
    at: Instant,
    completed: u64,
    nodes: Vec<Account>,
    own_time: Option<Duration>,
}

/// What one node had spent.
struct Account {
    pid: Option<u32>,
    written: Option<u64>,
    time: Option<Duration>,
    status: MeshStatus,
}

/// All that is measured in one go.
pub(super) struct Run<'a> {
    mesh: &'a mut Mesh,
    arguments: &'a StreamArgs,
    output: Output,
    /// Whose disk is measured.
    disk: PathBuf,
    /// Tells streams of this run from those of others.
    prefix: String,
    /// Streams opened at once.
    many: Vec<StreamHandle>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        mesh: &'a mut Mesh,
        arguments: &'a StreamArgs,
        output: Output,
    ) -> Result<Self, Failure> {
        let prefix = fresh_writer().map_err(|error| Failure::Failed(error.to_string()))?.to_string();
        let prefix = format!("bench-{}", &prefix[prefix.len() - 8..]);
        let disk = mesh.data().map(ToOwned::to_owned).or_else(|| arguments.data.clone());
        let disk = disk.unwrap_or_else(std::env::temp_dir);
        Ok(Self { mesh, arguments, output, disk, prefix, many: Vec::new() })
    }

    /// Measures what was asked for and prints it.
    pub(super) async fn all(mut self, named: bool) -> Result<(), Failure> {
        use clap::ValueEnum as _;
        let kind = machine::file_system(&self.disk);
        if kind.as_deref().is_some_and(machine::is_memory) {
            let disk = self.disk.display();
            self.output
                .remark(&format!("{disk} is in memory, where a sync takes no time: give a disk with --data"));
        }
        let only = &self.arguments.only;
        let wanted = |scenario: &Scenario| {
            (only.is_empty() || only.contains(scenario)) && !(named && *scenario == Scenario::Kill)
        };
        let mut found = report::Found { kind, figures: Vec::new(), opened: None };
        for scenario in Scenario::value_variants().iter().copied().filter(wanted) {
            self.output.remark(&format!("{} ...", scenario.name()));
            if scenario == Scenario::Open {
                found.opened = Some(self.open().await?);
            } else {
                found.figures.push(self.measure(scenario).await?);
            }
        }
        self.output.print(
            || report::text(&found, self.mesh, self.arguments),
            || report::json(&found, self.mesh, self.arguments),
        );
        match found.figures.iter().find(|figures| figures.lost + figures.repeated > 0) {
            Some(Figures { scenario, lost, repeated, .. }) => Err(Failure::Failed(format!(
                "{}: {lost} messages did not come, {repeated} came again or late",
                scenario.name()
            ))),
            None => Ok(()),
        }
    }

    fn sync_p50(&self) -> Result<Duration, Failure> {
        machine::sync_p50(&self.disk).map_err(|error| {
            Failure::Failed(format!("cannot measure the disk of {}: {error}", self.disk.display()))
        })
    }

    async fn open(&mut self) -> Result<Opened, Failure> {
        let StreamArgs { streams, seconds, .. } = *self.arguments;
        let sync = self.sync_p50()?;
        let each = opening::in_turn(self.mesh, &format!("{}-turn", self.prefix), streams, seconds).await?;
        let (handles, took) = opening::at_once(self.mesh, &format!("{}-many", self.prefix), streams).await?;
        let at_once = handles.len();
        self.many = handles;
        Ok(Opened { each, at_once, took, load: machine::load_average(), sync })
    }

    async fn measure(&mut self, scenario: Scenario) -> Result<Figures, Failure> {
        let bytes = self.arguments.bytes as usize;
        let one = Load { window: WINDOW, array: ARRAY, whole: false, rate: None, bytes };
        let load = match scenario {
            Scenario::Apart => Load { array: 1, ..one },
            Scenario::Batches => Load { window: WINDOW * ARRAY, whole: true, ..one },
            Scenario::Single | Scenario::Many => Load { window: 1, array: 1, ..one },
            Scenario::Paced => Load { rate: Some(RATE), ..one },
            Scenario::Stream | Scenario::Kill | Scenario::Open => one,
        };
        let handles = if scenario == Scenario::Many {
            if self.many.is_empty() {
                let prefix = format!("{}-many", self.prefix);
                self.many = opening::at_once(self.mesh, &prefix, self.arguments.streams).await?.0;
            }
            self.many.clone()
        } else {
            vec![self.mesh.open(format!("{}-{}", self.prefix, scenario.name())).await?]
        };
        self.publish(scenario, handles, load).await
    }

    async fn publish(
        &mut self,
        scenario: Scenario,
        handles: Vec<StreamHandle>,
        load: Load,
    ) -> Result<Figures, Failure> {
        let sync = self.sync_p50()?;
        let targets: Vec<Peer> = self.mesh.targets().iter().map(|node| node.peer.clone()).collect();
        let names: Vec<String> = handles.iter().map(|handle| handle.name.clone()).collect();
        let window = u32::try_from(load.window * 4).unwrap_or(u32::MAX).max(64);
        let subscribers = Subscribers::attach(&targets, &names, window).await?;

        let writer = fresh_writer().map_err(|error| Failure::Failed(error.to_string()))?;
        let lanes = handles.iter().map(|handle| Lane::new(handle, convert::writer(writer))).collect();
        let (stop, stopped) = watch::channel(false);
        let warm = (self.arguments.seconds / 5).min(Duration::from_secs(1));
        let schedule = Schedule { from: Instant::now() + warm, stop: stopped };
        let from = schedule.from;
        let progress = Arc::<Progress>::default();
        let source = self.mesh.source().peer.clone();
        let publisher = Publisher::new(source, lanes, load, schedule, Arc::clone(&progress));
        let mut publishing = JoinSet::new();
        publishing.spawn(publisher.run());

        let timeline = async {
            sleep_until(from).await;
            let before = self.moment(&progress).await?;
            let gaps = if scenario == Scenario::Kill {
                self.kill(&progress).await?
            } else {
                sleep_until(before.at + self.arguments.seconds).await;
                Vec::new()
            };
            let after = self.moment(&progress).await?;
            let _ = stop.send(true);
            Ok((before, gaps, after))
        };
        let published = async {
            let published = publishing.join_next().await.expect("one was spawned");
            published.map_err(|error| Failure::Failed(error.to_string()))?
        };
        let ((before, gaps, after), seen) = tokio::try_join!(timeline, published)?;
        let (skipped, repeated) = subscribers.handed.faults();
        let short = (seen.messages * targets.len() as u64).saturating_sub(subscribers.handed.messages());
        Ok(Figures {
            scenario,
            messages: after.completed - before.completed,
            took: after.at - before.at,
            accepted: seen.accepted,
            completed: seen.completed,
            nodes: self.spent(&before, &after),
            own_time: after.own_time.zip(before.own_time).map(|(after, before)| after - before),
            load: machine::load_average(),
            sync,
            gaps,
            resumed: seen.resumed,
            lost: skipped.max(short),
            repeated,
        })
    }

    /// Kills the source and waits until messages are completed again, some times over.
    async fn kill(&mut self, progress: &Progress) -> Result<Vec<Duration>, Failure> {
        let mut gaps = Vec::new();
        for _ in 0..self.arguments.kills {
            sleep(BETWEEN_KILLS).await;
            let returns = progress.returns();
            progress.forget_longest();
            self.mesh.fell_source()?;
            let killed = Instant::now();
            while progress.returns() == returns {
                if killed.elapsed() > PATIENCE {
                    let seconds = PATIENCE.as_secs();
                    return Err(Failure::Failed(format!(
                        "nothing was completed for {seconds} s after a kill"
                    )));
                }
                sleep(LOOK_AGAIN).await;
            }
            gaps.push(progress.longest());
            self.mesh.meet_source().await?;
        }
        Ok(gaps)
    }

    async fn moment(&self, progress: &Progress) -> Result<Moment, Failure> {
        let statuses = self.mesh.statuses().await?;
        let nodes = self.mesh.nodes.iter().zip(statuses).map(|(node, status)| {
            let written = node.pid.and_then(machine::bytes_written);
            Account { pid: node.pid, written, time: node.pid.and_then(machine::processor_time), status }
        });
        Ok(Moment {
            nodes: nodes.collect(),
            own_time: machine::processor_time(std::process::id()),
            at: Instant::now(),
            completed: progress.completed(),
        })
    }

    fn spent(&self, before: &Moment, after: &Moment) -> Vec<Spent> {
        let accounts = before.nodes.iter().zip(&after.nodes);
        self.mesh
            .nodes
            .iter()
            .zip(accounts)
            .map(|(node, (before, after))| after.since(before, &node.name))
            .collect()
    }
}

impl Account {
    fn since(&self, before: &Self, name: &str) -> Spent {
        let same_start = self.status.boot == before.status.boot;
        let same_process = same_start && self.pid == before.pid;
        let difference = |now: Option<u64>, then: Option<u64>| {
            now.zip(then).filter(|_| same_process).map(|(now, then)| now.saturating_sub(then))
        };
        let (now, then) = (&self.status, &before.status);
        Spent {
            name: name.to_owned(),
            written: difference(self.written, before.written),
            time: self
                .time
                .zip(before.time)
                .filter(|_| same_process)
                .map(|(now, then)| now.saturating_sub(then)),
            journal: same_start.then(|| now.journal_written_bytes - then.journal_written_bytes),
            syncs: same_start.then(|| now.journal_syncs - then.journal_syncs),
        }
    }
}
