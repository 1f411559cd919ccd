//! NATS JetStream does what `wattle bench stream` does: see README.md beside this.

mod load;
// The same code measures the machine beside both.
#[path = "../../../../node/src/bench/machine.rs"]
mod machine;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::Context;
use clap::{Parser, ValueEnum};
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use load::{Load, PATIENCE, Running, Seen, histogram, stream_named};
use servers::Servers;
use tokio::signal::unix::{SignalKind, signal};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const AGAIN: Duration = Duration::from_millis(20);
/// How long streams may take that are opened at once.
const OPEN_WITHIN: Duration = Duration::from_secs(120);

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// One stream, 256 messages under way, each confirmed by itself
    Stream,
    /// The same, but the writer waits only until messages are stored
    Loose,
    /// As `stream`, but the handler confirms all that is there by one word
    Ranges,
    /// As `ranges`, 16,384 messages under way
    Batches,
    /// One stream, one message under way
    Single,
    /// One stream, 1,000 messages a second
    Paced,
    /// As `stream`, while the server that leads the stream is killed and started again
    Kill,
    /// Streams opened one after another, and then at once
    Open,
    /// As many streams, one message under way in each
    Many,
}

/// Measures three servers of NATS JetStream, R3 file streams: publish, process, acknowledge twice.
#[derive(Parser)]
struct Arguments {
    /// How long each scenario counts
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Bytes in a message, 16 at least
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Streams that `open` opens at once and `many` publishes to
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// How often `kill` kills
    #[arg(long, default_value_t = 3)]
    kills: usize,
    /// Let servers sync when they like to, although they could sync always
    #[arg(long)]
    lax: bool,
    /// The server's program
    #[arg(long, default_value = "nats-server")]
    server: PathBuf,
    /// Keep the servers' data in a new directory in this one
    #[arg(long)]
    data: Option<PathBuf>,
}

/// What had been spent at a moment, by each server.
struct Moment {
    at: Instant,
    completed: u64,
    pids: Vec<Option<u32>>,
    written: Vec<Option<u64>>,
    time: Vec<Option<Duration>>,
    own_time: Option<Duration>,
}

struct Run {
    arguments: Arguments,
    servers: Servers,
    admin: Context,
    /// Streams opened at once.
    many: Vec<String>,
    opened: usize,
}

async fn connect(servers: &Servers, kills: bool) -> Result<Client, Failure> {
    let timeout = if kills { Duration::from_millis(500) } else { PATIENCE };
    let options = async_nats::ConnectOptions::new()
        .request_timeout(Some(timeout))
        .subscription_capacity(1 << 20)
        .client_capacity(1 << 16)
        .reconnect_delay_callback(|_| AGAIN);
    Ok(options.connect(servers.addresses()).await?)
}

impl Run {
    async fn begin(arguments: Arguments) -> Result<Self, Failure> {
        let servers = Servers::start(&arguments.server, arguments.data.as_deref(), !arguments.lax)?;
        let begun = Instant::now();
        let client = loop {
            match connect(&servers, false).await {
                Ok(client) => break client,
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        };
        let admin = async_nats::jetstream::new(client);
        let run = Self { arguments, servers, admin, many: Vec::new(), opened: 0 };
        // The servers have to find each other first, and what is asked before that is never answered.
        let once = Duration::from_secs(1);
        while !matches!(
            tokio::time::timeout(once, run.admin.create_stream(stream_named("first"))).await,
            Ok(Ok(_))
        ) {
            if begun.elapsed() > PATIENCE {
                return Err("the servers do not make a cluster".into());
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(run)
    }

    async fn all(&mut self) -> Result<(), Failure> {
        let Arguments { bytes, seconds, .. } = self.arguments;
        let kind = machine::file_system(self.servers.place()).unwrap_or_default();
        let syncs = if self.servers.syncs {
            "sync_interval: always, so every acknowledgement waited for its sync"
        } else if self.arguments.lax {
            "no sync before an acknowledgement, as --lax says (the default: one each two minutes)"
        } else {
            "this version has no sync_interval, so nothing is synced before it is acknowledged (but each two minutes)"
        };
        println!(
            "{}, three servers, R3 file streams, messages of {bytes} bytes, {seconds} s each, data on {kind}, {} processors.",
            self.servers.version,
            std::thread::available_parallelism().map_or(1, usize::from)
        );
        println!("Sync: {syncs}.");
        println!(
            "Stored: the publisher's acknowledgement. Confirmed: the handler's acknowledgement was acknowledged; the writer does not learn it.\n"
        );
        if machine::is_memory(&kind) {
            println!("That is no disk: give one with --data.\n");
        }
        println!(
            "| scenario | messages/s | stored p50/p99/max ms | confirmed p50/p99/max ms | in syncs | bytes n1/n2/n3 | µs n1/n2/n3/here | load | sync ms |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        let only = self.arguments.only.clone();
        let mut remarks = Vec::new();
        for scenario in Scenario::value_variants().iter().filter(|one| only.is_empty() || only.contains(one))
        {
            if *scenario == Scenario::Open {
                remarks.push(self.open().await?);
            } else {
                remarks.extend(self.measure(*scenario).await?);
            }
        }
        println!("\nBytes to the disk and time of the processors are per message.");
        remarks.iter().for_each(|remark| println!("{remark}"));
        Ok(())
    }

    /// Opens so many streams, as long as there is time; tells which.
    async fn open_at_once(&self, count: usize) -> (Vec<String>, Duration) {
        let begun = Instant::now();
        let names = (0..count).map(|number| format!("many-{number}"));
        let mut opening = futures_util::stream::iter(names.map(|name| async {
            self.admin.create_stream(stream_named(&name)).await.is_ok().then_some(name)
        }))
        .buffer_unordered(count);
        let mut open = Vec::new();
        let until = tokio::time::Instant::now() + OPEN_WITHIN;
        while let Ok(Some(opened)) = tokio::time::timeout_at(until, opening.next()).await {
            open.extend(opened);
        }
        (open, begun.elapsed())
    }

    async fn open(&mut self) -> Result<String, Failure> {
        let sync = machine::sync_p50(self.servers.place())?;
        let (begun, mut each) = (Instant::now(), histogram());
        for number in 0..self.arguments.streams {
            let asked = Instant::now();
            self.admin.create_stream(stream_named(&format!("turn-{number}"))).await?;
            each.saturating_record(asked.elapsed().as_micros() as u64);
            if begun.elapsed().as_secs_f64() > self.arguments.seconds {
                break;
            }
        }
        let (open, took) = self.open_at_once(self.arguments.streams).await;
        let remark = format!(
            "Opening: {} streams one after another in {} ms each (p50/p99/max); {} of {} at once in {:.2} s. Load {:.1}, sync {:.2} ms.",
            each.len(),
            percentiles(&each),
            open.len(),
            self.arguments.streams,
            took.as_secs_f64(),
            machine::load_average().unwrap_or_default(),
            sync.as_secs_f64() * 1e3,
        );
        self.many = open;
        Ok(remark)
    }

    async fn measure(&mut self, scenario: Scenario) -> Result<Option<String>, Failure> {
        let bytes = self.arguments.bytes;
        let one = Load { window: 256, rate: None, bytes, loose: false, ranges: false, kills: false };
        let load = match scenario {
            Scenario::Loose => Load { loose: true, ..one },
            Scenario::Ranges => Load { ranges: true, ..one },
            Scenario::Batches => Load { ranges: true, window: 16_384, ..one },
            Scenario::Single | Scenario::Many => Load { window: 1, ..one },
            Scenario::Paced => Load { rate: Some(1000), ..one },
            Scenario::Kill => Load { kills: true, ..one },
            Scenario::Stream | Scenario::Open => one,
        };
        let names = if scenario == Scenario::Many {
            if self.many.is_empty() {
                self.many = self.open_at_once(self.arguments.streams).await.0;
            }
            self.many.clone()
        } else {
            self.opened += 1;
            let name = format!("stream-{}", self.opened);
            self.admin.create_stream(stream_named(&name)).await?;
            vec![name]
        };
        self.load(scenario, &names, load).await
    }

    async fn load(
        &mut self,
        scenario: Scenario,
        names: &[String],
        load: Load,
    ) -> Result<Option<String>, Failure> {
        let sync = machine::sync_p50(self.servers.place())?;
        let seconds = Duration::from_secs_f64(self.arguments.seconds);
        let (publisher, handler) =
            (connect(&self.servers, load.kills).await?, connect(&self.servers, load.kills).await?);
        let warm = (seconds / 5).min(Duration::from_secs(1));
        // Consumers are made first.
        let seen = Seen::new();
        let running = Running::begin(&publisher, &handler, names, load, &seen).await?;
        tokio::time::sleep(warm).await;
        seen.count_from_now();
        let before = self.moment(&seen);
        let mut gaps = Vec::new();
        if load.kills {
            for _ in 0..self.arguments.kills {
                gaps.push(self.kill_leader(&names[0], &seen).await?);
            }
        } else {
            tokio::time::sleep(seconds).await;
        }
        let after = self.moment(&seen);
        seen.stop();
        running.end(&seen).await?;
        self.print(scenario, &before, &after, &seen, sync);
        let (repeated, again) = seen.repetitions();
        if load.kills {
            let gaps: Vec<_> =
                gaps.iter().map(|gap: &Duration| format!("{:.0}", gap.as_secs_f64() * 1e3)).collect();
            return Ok(Some(format!(
                "Longest time without a confirmed message after each kill: {} ms; {repeated} messages were handed over again, {again} requests made again.",
                gaps.join(", ")
            )));
        }
        let remark =
            format!("{scenario:?}: {} streams; {repeated} messages were handed over again.", names.len());
        Ok((repeated > 0 || names.len() > 1).then_some(remark))
    }

    /// Kills the server that leads a stream, and starts it again at once.
    async fn kill_leader(&mut self, stream: &str, seen: &Seen) -> Result<Duration, Failure> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        let at = loop {
            // What is asked of a server that is gone is never answered.
            let asked = tokio::time::timeout(Duration::from_secs(1), self.admin.get_stream(stream)).await;
            let info = match asked {
                Ok(Ok(stream)) => stream.cached_info().cluster.clone(),
                Ok(Err(_)) | Err(_) => None,
            };
            let leader = info.and_then(|cluster| cluster.leader);
            let place = self.servers.all.iter().position(|server| Some(&server.name) == leader.as_ref());
            match place {
                Some(at) => break at,
                None if begun.elapsed() > PATIENCE => return Err("nobody leads the stream".into()),
                None => tokio::time::sleep(AGAIN).await,
            }
        };
        seen.forget_longest();
        self.servers.kill(at);
        self.servers.spawn(at)?;
        // A quarter of a second is longer than anything takes while all is well.
        let killed = Instant::now();
        while seen.longest() < Duration::from_millis(250) && killed.elapsed() < PATIENCE {
            tokio::time::sleep(AGAIN).await;
        }
        Ok(seen.longest())
    }

    fn moment(&self, seen: &Seen) -> Moment {
        let pids = self.servers.pids();
        Moment {
            written: pids.iter().map(|pid| pid.and_then(machine::bytes_written)).collect(),
            time: pids.iter().map(|pid| pid.and_then(machine::processor_time)).collect(),
            own_time: machine::processor_time(std::process::id()),
            pids,
            at: Instant::now(),
            completed: seen.completed(),
        }
    }

    fn print(&self, scenario: Scenario, before: &Moment, after: &Moment, seen: &Arc<Seen>, sync: Duration) {
        let messages = (after.completed - before.completed).max(1) as f64;
        let each = |spent: &dyn Fn(usize) -> Option<f64>, digits: usize| {
            let all = (0..self.servers.all.len()).map(|at| {
                let same = before.pids[at] == after.pids[at];
                let spent = spent(at).filter(|_| same);
                spent.map_or_else(|| "?".to_owned(), |spent| format!("{:.digits$}", spent / messages))
            });
            all.collect::<Vec<_>>().join("/")
        };
        let bytes = |at: usize| Some(after.written[at]?.saturating_sub(before.written[at]?) as f64);
        let time = |at: usize| Some(after.time[at]?.saturating_sub(before.time[at]?).as_secs_f64() * 1e6);
        let own =
            after.own_time.zip(before.own_time).map(|(after, before)| (after - before).as_secs_f64() * 1e6);
        let (stored, confirmed) = (seen.stored(), seen.confirmed());
        println!(
            "| {} | {:.0} | {} | {} | {:.1} | {} | {}/{:.1} | {:.1} | {:.2} |",
            format!("{scenario:?}").to_lowercase(),
            messages / (after.at - before.at).as_secs_f64(),
            percentiles(&stored),
            percentiles(&confirmed),
            confirmed.value_at_quantile(0.5) as f64 / 1e6 / sync.as_secs_f64(),
            each(&bytes, 0),
            each(&time, 1),
            own.unwrap_or_default() / messages,
            machine::load_average().unwrap_or_default(),
            sync.as_secs_f64() * 1e3,
        );
    }
}

fn percentiles(micros: &Histogram<u64>) -> String {
    let at = |value: u64| format!("{:.2}", value as f64 / 1e3);
    let (p50, p99) = (micros.value_at_quantile(0.5), micros.value_at_quantile(0.99));
    format!("{}/{}/{}", at(p50), at(p99), at(micros.max()))
}

/// Returns when this process is asked to end, if that can be known.
async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut asked) => drop(asked.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measured = async { Run::begin(arguments).await?.all().await };
    // Whatever ends this, the servers are killed when they are dropped.
    let outcome = tokio::select! {
        outcome = measured => outcome,
        _ = tokio::signal::ctrl_c() => Err("stopped before all was measured".into()),
        _ = terminated() => Err("stopped before all was measured".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
