//! The command line: what can be said. Who does it is in [`commands`].

mod commands;
mod config;
mod events;
mod flow;
mod keeping;
mod membership;
mod mesh_config;
mod mesh_key;
mod node;
mod parked;
mod recover;
mod stored;
mod stream_members;
mod updates;
mod whole;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use wattle_proto::api::{Level, OpenClientDataStreamRequest, StreamPolicy};

use crate::address::Directory;
use crate::api::Token;
use crate::client::{Failure, Finder};
use crate::output::Output;

/// A mesh of nodes that carries ordered, exactly-once streams between any two of them.
#[derive(Debug, Parser)]
#[command(name = "wattle", version, propagate_version = true, after_help = EXIT_CODES)]
struct Line {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused or failed, and the message says what to do; 2 the command or a setting is wrong; \
3 no node answers; 4 the node's data directory was copied and more than one copy ran.\n\nThe log goes to standard error; WATTLE_LOG sets its level (error, warn, info, debug, trace).";

/// Over the options that every command takes.
const COMMON: &str = "Common options";

#[derive(Args, Debug)]
struct Common {
    /// The node to ask: its name, its id, or the HOST:PORT of its API. Without it: the one that runs on this machine, or the right one of them
    #[arg(long, global = true, value_name = "NAME|ADDR", help_heading = COMMON)]
    node: Option<String>,
    /// The file with the API token of a node on another machine (or WATTLE_TOKEN holds the token itself)
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON)]
    token_file: Option<PathBuf>,
    /// How to print answers
    #[arg(short = 'o', long = "format", global = true, value_enum, default_value_t = Output::Text, help_heading = COMMON)]
    output: Output,
}

impl Common {
    /// Refuses what would be ignored in silence.
    fn fits(&self, command: &Command) -> Result<(), Failure> {
        let name = match command {
            Command::Run { .. } => "run",
            Command::Dev { .. } => "dev",
            Command::Sim(_) => "sim",
            _ => return Ok(()),
        };
        let given = [("--node", self.node.is_some()), ("--token-file", self.token_file.is_some())];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::Usage(format!(
                "`wattle {name}` asks no running node: leave {option} away{}",
                if name == "run" { "; a node's own name is node.name in its settings" } else { "" }
            ))),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node in the foreground
    ///
    /// The node runs until Ctrl-C or SIGTERM. A new one belongs to no mesh: make one with `wattle mesh seed`, or let it join one with
    /// `wattle mesh join TOKEN`. What it is told it keeps in its data directory.
    #[command(after_long_help = crate::settings::HELP)]
    Run {
        /// Settings in TOML; without it the defaults and the environment count
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Go on although this node's data directory was copied: no other copy runs, or will
        ///
        /// Counts only for a node that stopped because more than one copy ran. It comes back into its groups under fresh replica ids, and all other
        /// copies are turned away from then on.
        #[arg(long)]
        only_copy: bool,
    },
    /// Run a mesh of several nodes in this process, to try things
    ///
    /// The nodes form a line a - b - c over loopback sockets: each dials the one before it, and the last one accepts no connections, like
    /// a laptop behind NAT. It prints what to try next, and runs until Ctrl-C.
    Dev {
        /// How many, in a line: 2 to 26
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=crate::dev::NODES_MAX as i64))]
        nodes: u8,
        /// Keep the data here; without it the data goes when this ends
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Make, join or leave a mesh, or take a member out of it
    #[command(subcommand)]
    Mesh(MeshCommand),
    /// Show one node and its identity key, or have that key give way to a new one
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Show the mesh: nodes, links, control group, streams
    ///
    /// As the node that is asked sees it, with a warning wherever the loss of a node would hurt or something stands still.
    Status,
    /// Read, write and watch the configuration that all nodes agree on
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Open, close and look at streams
    #[command(subcommand)]
    Stream(StreamCommand),
    /// Publish lines: one line is one message. Running it again adds nothing
    ///
    /// A file, or standard input redirected from one, has a writer id of its own, made from stream, machine and path: publishing it again
    /// adds only what is new at its end, and goes on where an earlier run was stopped. A pipe is a new writer each time, unless --writer
    /// names one.
    Publish(PublishArgs),
    /// Print the messages of a stream, and acknowledge what was printed
    ///
    /// Each message is printed with a newline behind it and acknowledged once that is flushed. The node keeps the place: a subscriber
    /// that is started again goes on after the last message it acknowledged. One that is killed may print again what it had not
    /// acknowledged yet; --position-file with --output does not. Of several subscribers of one stream the newest is served.
    /// Where the target has a [[handler]] for the stream, that one is, unless --take-over says otherwise.
    Subscribe(SubscribeArgs),
    /// Send updates to all members, and process them
    #[command(subcommand)]
    Update(updates::UpdateCommand),
    /// Measure what real processes do on this machine
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Simulate meshes from seeds: the very core that runs here, with faults and checkers around it
    #[command(subcommand)]
    Sim(wattle_sim::cli::Command),
}

#[derive(Debug, Subcommand)]
enum MeshCommand {
    /// Make a new mesh with this node as its first member, and print a join token
    Seed {
        /// Name of the mesh, for people
        #[arg(long, default_value = "mesh")]
        name: String,
    },
    /// Print a token with which another node may join
    ///
    /// A token admits up to 16 nodes within a day. It names the node that made it, which others must be able to dial: a node that only
    /// dials out cannot invite.
    Invite,
    /// Show the settings of the mesh itself, or change them
    Config(mesh_config::MeshConfigArgs),
    /// The join key of the mesh itself, which any member takes
    #[command(subcommand)]
    Key(mesh_key::MeshKeyCommand),
    /// Join the mesh of a token
    ///
    /// Run it where the new node runs; the node that made the token, or one that the join key names, must be reachable from there.
    Join {
        /// What `mesh seed`, `mesh invite` or `mesh key rotate` printed; `-` reads it from standard input
        token: String,
    },
    /// Print what happens to the mesh, as the asked node learns of it, until Ctrl-C
    ///
    /// Members that join, change, fail and come back, who leads, streams that open and close, settings, updates. A reader that is too slow misses
    /// some and is told how many.
    Events(events::EventsArgs),
    /// Let this node leave its mesh
    ///
    /// The other members agree on it; without a quorum it stays a member. It serves nothing afterwards and keeps the data of the streams it was
    /// an end of, which go on if it joins the same mesh again before they are closed.
    Leave {
        /// Leave although this node is an end of open streams: they wait
        #[arg(long)]
        force: bool,
    },
    /// Let this node take no part in its mesh until `wattle mesh start`
    ///
    /// Others lead what it leads, all nodes are told, its links go; within five seconds. The node runs on and answers that it is stopped, also
    /// if it is started anew meanwhile. It stays a member and keeps all its data; the others count it among those that cannot be reached.
    Stop,
    /// Let this node take part in its mesh again
    ///
    /// It dials whom it knows, or waits for others to dial it. Harmless if nothing was stopped.
    Start,
    /// Take a member out of the mesh
    ///
    /// It need not be reachable. Nobody talks to it any more; it comes back only by `wattle mesh join` with a token made afterwards.
    /// Streams of which it is an end stay open and wait.
    Evict {
        /// Its name or id
        member: String,
    },
    /// Go on without members that are lost for good, when the others have no quorum without them
    ///
    /// Ask a member that survives. Without --yes it says what would be done. The lost are evicted; what only they held is void, acknowledged or
    /// not, and they come back only by `wattle mesh join`. All members that are not named lost must be within reach. With a quorum use `wattle
    /// mesh evict`, which loses nothing.
    Recover(recover::RecoverArgs),
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Measure streams: messages a second, latencies, bytes and syncs per message, the gap after a kill
    ///
    /// Without --node it starts three nodes on loopback, of this very program, each a process of its own, with data that goes when it ends. With --node
    /// it opens streams in the mesh of that node and closes them in the end.
    Stream(crate::bench::StreamArgs),
}

#[derive(Debug, Subcommand)]
enum StreamCommand {
    /// Open a stream
    ///
    /// A target that is away is no hindrance: what is published is kept until it is back. With several targets, each message goes to all of them,
    /// and its bytes are kept until all have processed it. Opening a stream that is open with the same ends changes nothing.
    Open {
        /// Its name, unique in the mesh: 1 to 128 characters out of A-Z a-z 0-9 . _ -
        name: String,
        /// Its source, the node that accepts messages: name or id
        #[arg(long, visible_alias = "source", value_name = "NODE")]
        from: String,
        /// A target, a node whose handler processes them: name or id; may be given up to 63 times
        #[arg(long, visible_alias = "target", value_name = "NODE", required = true)]
        to: Vec<String>,
        /// By whom a message must be processed to be completed: all targets, so many of them, or those named (as in b,c)
        #[arg(long, value_name = "all|N|NODES", default_value = "all", value_parser = policy)]
        complete: StreamPolicy,
        /// What becomes of a message that a target's handler fails at again and again
        #[arg(long, value_enum, default_value_t = Poison::Block)]
        poison: Poison,
        /// After how many attempts it is parked, or fails the stream
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        attempts: u32,
        /// Detach a target that processes nothing for so long though there is something to process: a number with ms, s, m, h or d, at least 1s, and longer than its handler takes for a
        /// message with all attempts. The last target stays, and so does who is needed for --complete N or for NODES; where all are asked, all who are left are
        #[arg(long, value_name = "DURATION", value_parser = keeping::millis)]
        detach_after: Option<u64>,
        #[command(flatten)]
        keep: keeping::KeepArgs,
        #[command(flatten)]
        rank: flow::RankArgs,
    },
    /// Look at the messages that a target laid aside, try them again, or let them go
    ///
    /// Of a stream that was opened with `--poison park`, a target parks what its handler fails at as often as that says, and goes on behind it.
    #[command(subcommand)]
    Parked(parked::ParkedCommand),
    /// Close a stream for good: what was not delivered goes with it
    Close {
        /// Its name
        name: String,
        #[command(flatten)]
        of: flow::TenantArgs,
    },
    /// Have streams take nothing more in: one, all of a tenant, or all below a priority, those that are opened later included
    ///
    /// Publishers wait, and are told so. What was accepted before goes on its way and completes. It counts at a source once that has heard of it, and from then on at all its
    /// starts, until `wattle stream resume` with the same words.
    Pause(flow::FlowArgs),
    /// Take back what was asked for by `wattle stream pause` with the same name, tenant or priority
    ///
    /// A stream that something else pauses, too, stays paused.
    Resume(flow::FlowArgs),
    /// Bound how fast streams take messages in: one, all of a tenant together, or all below a priority
    ///
    /// Each source keeps the bound for itself, and streams that share it there have no share each. After a rest, as much as the bound makes of a second may come at once. What is
    /// sent together is taken together, and what it is beyond that is made up for before anything else is taken: under a low bound, publish with a small --batch.
    Throttle(flow::ThrottleArgs),
    /// Seal a stream whose source is lost for good: its target goes on without it, up to the end of what it holds
    ///
    /// Only for a source that does not come back: what it accepted and the target does not hold is void, whatever publishers were told. Should it come back,
    /// it serves this stream no more, and keeps what is void until the stream is closed. The target's handler is still given everything up to the sealed end.
    /// Asking again tells how far that is.
    Seal {
        /// Its name
        name: String,
        /// Who is lost: name or id; may be given several times
        #[arg(long, value_name = "NODE", required = true)]
        lost: Vec<String>,
        #[command(flatten)]
        of: flow::TenantArgs,
    },
    /// Tell who the members of a stream are, or change that while it is open
    Members(stream_members::MembersArgs),
    /// List the open streams
    List {
        /// Only those of that tenant
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// Read what a handler of kind "store" keeps of a stream: a key, a tab and its value, a line each
    ///
    /// Such a handler is a [[handler]] in the settings of a target; `wattle run --help` shows one.
    Stored(stored::StoredArgs),
    /// Have a handler of a target's settings begin again after it ended
    ///
    /// One ends when another handler took over, when somebody else moved its position, or at a fault of its own. It takes over from whoever is attached.
    Handle {
        /// The stream
        stream: String,
        /// The target, if it is not the node that is asked
        #[arg(long, value_name = "NODE")]
        at: Option<String>,
    },
    /// Set where a handler of kind "store" stands: in its file, with its node stopped
    ///
    /// For a store that the node refuses because it is older than what the stream keeps, or because a seal took away messages that it has: the refusal
    /// names the numbers. Messages behind the new place are taken out of the file; values that they put stay.
    SetStored(stored::SetStoredArgs),
    /// Tell how far a stream has come, who holds it and what it waits for
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        of: flow::TenantArgs,
    },
}

/// What becomes of a message that cannot be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Poison {
    /// It is tried again for ever, and what is behind it waits
    Block,
    /// After so many attempts it is laid aside at that target, and what is behind it goes on
    Park,
    /// After so many attempts the stream takes nothing more in, and the message is not tried again, until `wattle stream resume`
    Fail,
}

/// By whom a message must be processed.
fn policy(text: &str) -> Result<StreamPolicy, String> {
    if text == "all" {
        return Ok(StreamPolicy::default());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let count = text.parse().ok().filter(|count| *count > 0);
        let count = count.ok_or("it is completed by at least one target")?;
        return Ok(StreamPolicy { count, named: Vec::new() });
    }
    let named: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if named.iter().any(String::is_empty) {
        return Err("name the targets, with commas between them".to_owned());
    }
    Ok(StreamPolicy { count: 0, named })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wait {
    /// Durable at the stream's source
    Accepted,
    /// Durable at a majority of its members
    Replicated,
    /// Processed by its target, or by those of several that it was opened with
    Completed,
}

impl From<Wait> for Level {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Accepted => Self::Accepted,
            Wait::Replicated => Self::Replicated,
            Wait::Completed => Self::Completed,
        }
    }
}

#[derive(Args, Debug)]
struct PublishArgs {
    /// The stream
    stream: String,
    #[command(flatten)]
    of: flow::TenantArgs,
    /// Where the lines are; standard input if absent or `-`
    file: Option<PathBuf>,
    /// Publish this file as one message, however large. It goes on where it was interrupted, and is published to a stream once unless --writer says otherwise
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "batch"])]
    whole: Option<PathBuf>,
    /// Write under this id (26 characters) or any name: line i is its message i, and those it wrote before are skipped
    #[arg(long, value_name = "ID|NAME")]
    writer: Option<String>,
    /// How far each message must have come before this ends
    #[arg(long, value_enum, default_value_t = Wait::Accepted)]
    wait: Wait,
    /// Messages sent together, at most
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Give up when nothing moved for that many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds, allow_negative_numbers = true)]
    patience: Duration,
}

#[derive(Args, Debug)]
struct SubscribeArgs {
    /// The stream
    stream: String,
    #[command(flatten)]
    of: flow::TenantArgs,
    /// The stream's target, if it cannot be found by itself
    #[arg(long, value_name = "NODE")]
    at: Option<String>,
    /// End after that many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End with the message of that sequence
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    until: Option<u64>,
    /// Keep the place in this file, moved together with --output: exactly once, whatever is killed
    #[arg(long, value_name = "FILE", requires = "output_file")]
    position_file: Option<PathBuf>,
    /// Append messages to this file instead of printing them
    #[arg(long = "output", value_name = "FILE", requires = "position_file")]
    output_file: Option<PathBuf>,
    /// Write each message to a file of its own in this folder, large ones piece by piece
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["output_file", "position_file"])]
    whole_dir: Option<PathBuf>,
    /// How many messages may be under way to here
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// Also from a handler of the target's settings: it ends, and never gets what is acknowledged here
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    replay: keeping::ReplayArgs,
    /// Give up when the node stays away for that many seconds; without it, wait for ever
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    patience: Option<Duration>,
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|span| *span <= Duration::from_secs(1 << 30))
        .ok_or_else(|| format!("{text:?} is not a number of seconds"))
}

/// Reads the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let line = Line::parse();
    if let Err(failure) = line.common.fits(&line.command) {
        line.common.output.fail(&failure);
        return failure.exit_code();
    }
    if let Command::Sim(command) = &line.command {
        return crate::sim::run(command, line.common.output);
    }
    let default_level = match line.command {
        Command::Run { .. } => "info",
        _ => "warn",
    };
    let filter = EnvFilter::try_from_env("WATTLE_LOG").unwrap_or_else(|_| EnvFilter::new(default_level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let output = line.common.output;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.fail(&Failure::Failed(format!("cannot start: {error}")));
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(execute(line));
    // A thread that still waits for standard input or output must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            failure.exit_code()
        }
    }
}

async fn execute(line: Line) -> Result<(), Failure> {
    let Line { common, command } = line;
    let output = common.output;
    let directory = Directory::of_user()
        .map_err(|error| Failure::Failed(format!("cannot use the directory of address files: {error}")))?;
    match command {
        Command::Run { config, only_copy } => {
            crate::run::run(config.as_deref(), only_copy, &directory, output).await
        }
        Command::Dev { nodes, data } => crate::dev::dev(nodes.into(), data, &directory, output).await,
        asking => {
            let state = directory.path().to_owned();
            let named = common.node.is_some();
            let finder = Finder::new(directory.clone(), common.node, token(common.token_file)?);
            let desk = commands::Desk { finder, output, state };
            match asking {
                Command::Bench(BenchCommand::Stream(arguments)) => {
                    crate::bench::stream(arguments, &desk.finder, &directory, named, output).await
                }
                Command::Run { .. } | Command::Dev { .. } | Command::Sim(_) => unreachable!("done by now"),
                Command::Mesh(MeshCommand::Seed { name }) => desk.seed(name).await,
                Command::Mesh(MeshCommand::Invite) => desk.invite().await,
                Command::Mesh(MeshCommand::Join { token }) => desk.join(token).await,
                Command::Mesh(MeshCommand::Events(arguments)) => desk.events(arguments).await,
                Command::Mesh(MeshCommand::Key(command)) => desk.mesh_key(command).await,
                Command::Mesh(MeshCommand::Config(arguments)) => desk.mesh_config(arguments).await,
                Command::Mesh(MeshCommand::Leave { force }) => desk.leave(force).await,
                Command::Mesh(MeshCommand::Stop) => desk.stop_mesh().await,
                Command::Mesh(MeshCommand::Start) => desk.start_mesh().await,
                Command::Mesh(MeshCommand::Evict { member }) => desk.evict(member).await,
                Command::Mesh(MeshCommand::Recover(arguments)) => desk.recover(arguments).await,
                Command::Node(command) => desk.node_command(command).await,
                Command::Status => desk.status().await,
                Command::Config(command) => desk.config(command).await,
                Command::Stream(StreamCommand::Open {
                    name,
                    from,
                    to,
                    complete,
                    poison,
                    attempts,
                    detach_after,
                    keep,
                    rank,
                }) => {
                    let (park_after, fail_after) = match poison {
                        Poison::Block => (0, 0),
                        Poison::Park => (attempts, 0),
                        Poison::Fail => (0, attempts),
                    };
                    let open = OpenClientDataStreamRequest {
                        name,
                        source: from,
                        targets: to,
                        complete: Some(complete),
                        park_after,
                        fail_after,
                        detach_after_millis: detach_after.unwrap_or_default(),
                        keep: keep.wish(),
                        tenant: rank.tenant.unwrap_or_default(),
                        qos: rank.qos.into(),
                        priority: rank.priority,
                    };
                    desk.open(open).await
                }
                Command::Stream(StreamCommand::Parked(command)) => desk.parked(command).await,
                Command::Stream(StreamCommand::Close { name, of }) => desk.close(name, of.tenant()).await,
                Command::Stream(StreamCommand::Pause(arguments)) => desk.pause(arguments).await,
                Command::Stream(StreamCommand::Resume(arguments)) => desk.resume(arguments).await,
                Command::Stream(StreamCommand::Throttle(arguments)) => desk.throttle(arguments).await,
                Command::Stream(StreamCommand::Seal { name, lost, of }) => {
                    desk.seal(name, lost, of.tenant()).await
                }
                Command::Stream(StreamCommand::Members(arguments)) => desk.members(arguments).await,
                Command::Stream(StreamCommand::List { tenant }) => desk.list(tenant).await,
                Command::Stream(StreamCommand::Show { name, of }) => desk.show(name, of.tenant()).await,
                Command::Stream(StreamCommand::Stored(arguments)) => desk.stored(arguments).await,
                Command::Stream(StreamCommand::Handle { stream, at }) => {
                    desk.handle_again(stream, at.as_deref()).await
                }
                Command::Stream(StreamCommand::SetStored(arguments)) => desk.set_stored(arguments),
                Command::Publish(arguments) => desk.publish(arguments).await,
                Command::Subscribe(arguments) => desk.subscribe(arguments).await,
                Command::Update(command) => desk.update(command).await,
            }
        }
    }
}

fn token(file: Option<PathBuf>) -> Result<Option<Token>, Failure> {
    if let Some(path) = file {
        let token = Token::read(&path).map_err(|error| {
            Failure::Failed(format!("cannot read the API token {}: {error}", path.display()))
        })?;
        return Ok(Some(token));
    }
    Ok(std::env::var("WATTLE_TOKEN")
        .ok()
        .filter(|text| !text.trim().is_empty())
        .map(|text| Token::from_text(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Line::command().debug_assert();
    }

    #[test]
    fn a_rule_is_about_one_kind_of_streams_and_a_tenant_may_stand_beside_a_name() {
        let parse = |arguments: &[&str]| {
            let parsed = Line::try_parse_from([&["wattle", "stream"], arguments].concat());
            parsed.map(|_| ()).map_err(|error| error.to_string())
        };
        for good in [
            &["pause", "words"][..],
            &["pause", "words", "--tenant", "acme"],
            &["resume", "--tenant", "acme"],
            &["pause", "--priority-below", "-3"],
            &["throttle", "words", "--messages", "5"],
            &["throttle", "--tenant", "acme", "--off"],
            &[
                "open",
                "words",
                "--from",
                "a",
                "--to",
                "b",
                "--tenant",
                "acme",
                "--qos",
                "PRIORITY",
                "--priority",
                "-2",
            ],
        ] {
            assert_eq!(parse(good), Ok(()), "{good:?}");
        }
        for bad in [
            &["pause"][..],
            &["pause", "words", "--priority-below", "3"],
            &["pause", "--tenant", "a", "--priority-below", "3"],
            &["throttle", "words"],
            &["throttle", "words", "--messages", "0"],
            &["throttle", "words", "--off", "--bytes", "7"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let system = ["open", "words", "--from", "a", "--to", "b", "--qos", "SYSTEM"];
        assert!(parse(&system).unwrap_err().contains("the mesh itself"));
    }

    #[test]
    fn common_options_may_stand_anywhere() {
        let line =
            Line::try_parse_from(["wattle", "stream", "show", "words", "-o", "json", "--node", "a"]).unwrap();
        assert_eq!((line.common.output, line.common.node.as_deref()), (Output::Json, Some("a")));
    }

    #[test]
    fn an_option_that_would_be_ignored_is_refused() {
        let refusal = |arguments: &[&str]| {
            let line = Line::try_parse_from([&["wattle"], arguments].concat()).unwrap();
            line.common.fits(&line.command).err().map(|failure| failure.to_string())
        };
        assert!(refusal(&["run", "--node", "a"]).unwrap().contains("node.name"));
        assert!(refusal(&["dev", "--token-file", "t"]).unwrap().contains("leave --token-file away"));
        assert!(refusal(&["sim", "run", "7", "--node", "a"]).is_some());
        assert_eq!(refusal(&["sim", "run", "7", "-o", "json"]), None);
        assert_eq!(refusal(&["status", "--node", "a"]), None);
    }

    #[test]
    fn numbers_out_of_range_are_refused_here() {
        let parse = |arguments: &[&str]| {
            let parsed = Line::try_parse_from([&["wattle"], arguments].concat());
            parsed.map_err(|error| error.to_string()).err().unwrap_or_default()
        };
        assert!(parse(&["dev", "--nodes", "1"]).contains("2..=26"));
        assert!(parse(&["subscribe", "w", "--until", "0"]).contains("1.."));
        assert!(parse(&["publish", "w", "--patience", "-3"]).contains("is not a number of seconds"));
    }

    #[test]
    fn a_position_file_needs_its_output() {
        let parse = |arguments: &[&str]| {
            Line::try_parse_from([&["wattle", "subscribe", "words"], arguments].concat())
        };
        assert!(parse(&["--position-file", "p"]).is_err());
        assert!(parse(&["--output", "out"]).is_err());
        assert!(parse(&["--position-file", "p", "--output", "out"]).is_ok());
        assert!(parse(&["--count", "0"]).is_err());
    }
}
