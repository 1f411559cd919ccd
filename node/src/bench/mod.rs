//! `wattle bench`: measures streams over real processes, as a client sees them.
//!
//! Three `wattle run` processes of this program, or a mesh that runs already, a publisher that is told of each level, and handlers that say
//! yes at once. What nodes do before they acknowledge is what they always do: sync. Beside each figure stands what the machine did meanwhile.

mod lane;
mod machine;
mod mesh;
mod opening;
mod publisher;
mod report;
mod run;
mod subscriber;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::mesh::{Ends, Mesh};
use self::run::Run;
use crate::address::Directory;
use crate::client::{Failure, Finder};
use crate::output::Output;
use crate::stop::Stop;

/// How long anything may take that must come to pass: many times what it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can be measured, in the order in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// One stream, 256 messages under way; what is ready goes in one request, up to 64
    Stream,
    /// The same with each message in a request of its own
    Apart,
    /// One stream, requests of 64 messages, 256 of them under way
    Batches,
    /// One stream, one message under way
    Single,
    /// One stream, 1,000 messages a second, whatever is completed
    Paced,
    /// As `stream`, while the source's process is killed and started again
    Kill,
    /// Streams opened one after another, and then at once
    Open,
    /// As many streams, one message under way in each
    Many,
}

impl Scenario {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How to measure streams.
#[derive(Args, Clone, Debug)]
pub struct StreamArgs {
    /// How long each scenario counts, after a fifth of that (one second at most) to get going
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = crate::cli::seconds)]
    seconds: Duration,
    /// Only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Bytes in a message
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    bytes: u32,
    /// Streams that `open` opens at once, and `many` publishes to
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=4000))]
    streams: u32,
    /// How often `kill` kills
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
    /// Let the nodes form a line a - b - c, and send from a to c, which only dials out: b relays
    #[arg(long)]
    line: bool,
    /// Keep the nodes' data in a new directory in this one while it runs, and measure its disk; without it where temporary files are
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The source of all streams; without it the node that is asked
    #[arg(long, value_name = "NODE")]
    source: Option<String>,
    /// Their target; without it another one
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    targets: Vec<String>,
}

/// Measures streams: of the mesh of the node that was `named`, else of three processes that are started for it.
///
/// # Errors
/// When nodes cannot be started or asked, refuse, stand still, or lose or repeat a message.
pub async fn stream(
    arguments: StreamArgs,
    finder: &Finder,
    directory: &Directory,
    named: bool,
    output: Output,
) -> Result<(), Failure> {
    if named && arguments.only.contains(&Scenario::Kill) {
        return Err(Failure::Usage(
            "`kill` kills processes: only those that are started here, without --node".to_owned(),
        ));
    }
    if named && arguments.line {
        return Err(Failure::Usage(
            "the nodes of a mesh that runs are linked as they are: leave --line away".to_owned(),
        ));
    }
    let mut stop =
        Stop::on_signals().map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    let stopped = || Failure::Failed("stopped before all was measured".to_owned());
    let StreamArgs { source, targets, line, .. } = arguments.clone();
    let ends = Ends { source, targets, line };
    let begin = async {
        if named {
            Mesh::running(finder, directory, &ends).await
        } else {
            Mesh::start(arguments.data.as_deref(), &ends).await
        }
    };
    // Whatever ends this, processes that were started are killed when the mesh is dropped.
    let mut mesh = tokio::select! {
        mesh = begin => mesh?,
        () = stop.asked() => return Err(stopped()),
    };
    let measured = async { Run::new(&mut mesh, &arguments, output)?.all(named).await };
    let outcome = tokio::select! {
        outcome = measured => outcome,
        () = stop.asked() => Err(stopped()),
    };
    mesh.clear().await;
    outcome
}
