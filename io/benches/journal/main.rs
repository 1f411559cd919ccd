//! The figures of the journal in docs/PERFORMANCE.md: what a batch of many groups costs, how long a restart takes, and what a stream costs
//! while nothing happens to it.
//!
//! ```sh
//! cargo bench -p wattle-io --bench journal -- commit
//! cargo bench -p wattle-io --bench journal -- restart
//! cargo bench -p wattle-io --bench journal -- idle
//! ```

mod commit;
mod fill;
mod idle;
mod restart;
mod rival;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "journal")]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Given by cargo.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// One entry of each of many groups in one batch: syncs, time of the processor, bytes.
    Commit(commit::Arguments),
    /// A node with many streams and a large journal, ended in several ways: the time until it serves again.
    Restart(restart::Arguments),
    /// Two nodes with many streams in which nothing happens: memory for each replica.
    Idle(idle::Arguments),
    /// Part of `restart`: a process that fills a data directory.
    #[command(hide = true)]
    Fill(fill::Arguments),
    /// Part of `restart`: the same rows, read from our segments and from redb.
    #[command(hide = true)]
    Read {
        /// The data directory.
        directory: PathBuf,
    },
    /// Part of `restart`: rows go to redb until the process ends.
    #[command(hide = true)]
    Copy {
        /// The data directory.
        directory: PathBuf,
        /// How it ends.
        end: fill::End,
    },
    /// Part of `restart`: a process that starts on it.
    #[command(hide = true)]
    Serve {
        /// The data directory.
        directory: PathBuf,
        /// How it ends.
        end: fill::End,
    },
}

fn main() {
    let Arguments { what, bench: _ } = Arguments::parse();
    match what {
        What::Commit(arguments) => commit::run(&arguments),
        What::Restart(arguments) => restart::run(&arguments),
        What::Idle(arguments) => idle::run(&arguments),
        What::Fill(arguments) => fill::run(&arguments),
        What::Read { directory } => restart::read(&directory),
        What::Copy { directory, end } => restart::copy(&directory, end),
        What::Serve { directory, end } => restart::serve(directory, end),
    }
}
