//! Our consensus engine and the published crate `raft` (tikv/raft-rs) do the same work in one run: see README.md beside this.

mod engine;
mod idle;
mod load;
mod memory;
mod ours;
mod raft_rs;
mod statistics;

use std::process::ExitCode;

const USAGE: &str =
    "usage: wattle-rivals [load | idle] [--plain] [--batch N] [--rounds N] [--entries N] [--groups N]
  load, idle     one of the two parts; both without
  --plain        without the runs in which messages are encoded
  --batch N      only batches of that many; otherwise of 1, 64 and 1024
  --rounds N     times that each rival has its turn (9)
  --entries N    entries of a turn with batches of 64; a sixteenth of it with batches of one (131072)
  --groups N     idle groups (10000)";

struct Arguments {
    load: bool,
    idle: bool,
    plain: bool,
    batch: Option<usize>,
    rounds: usize,
    entries: usize,
    groups: usize,
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut found = Arguments {
        load: false,
        idle: false,
        plain: false,
        batch: None,
        rounds: 9,
        entries: 131_072,
        groups: 10_000,
    };
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().unwrap_or_default();
            let number = text.parse::<usize>().ok().filter(|&number| number > 0);
            number.ok_or_else(|| format!("{word} wants a number above 0, not '{text}'"))
        };
        match word.as_str() {
            "load" => found.load = true,
            "idle" => found.idle = true,
            "--plain" => found.plain = true,
            "--batch" => found.batch = Some(number()?),
            "--rounds" => found.rounds = number()?,
            "--entries" => found.entries = number()?,
            "--groups" => found.groups = number()?,
            _ => return Err(format!("unknown: '{word}'")),
        }
    }
    if !found.load && !found.idle {
        (found.load, found.idle) = (true, true);
    }
    Ok(found)
}

fn load(batches: &[usize], entries: usize, rounds: usize, encodes: bool) {
    println!("\nOne group of three replicas, entries of 128 bytes.\n");
    println!(
        "| batch | engine | committed entries/s | messages per entry | ours against it (least to most) |"
    );
    println!("| ---: | --- | ---: | ---: | ---: |");
    let mut added = Vec::new();
    for &batch in batches {
        let entries = if batch == 1 { entries / 16 + 1 } else { entries };
        let plain = load::measure(batch, entries, rounds, false);
        for (name, row) in load::NAMES.iter().zip(&plain) {
            let (ratio, least, most) = row.ratio;
            println!(
                "| {batch} | {name} | {:.0} | {:.3} | {ratio:.2} ({least:.2} to {most:.2}) |",
                row.rate, row.messages
            );
        }
        if encodes {
            added.push((batch, plain, load::measure(batch, entries, rounds, true)));
        }
    }
    if !encodes {
        return;
    }
    println!("\nThe same with every message encoded by its sender and decoded by its receiver.\n");
    println!(
        "| batch | engine | committed entries/s | that adds, ns per entry | bytes per entry | ours against it (least to most) |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: |");
    for (batch, plain, encoded) in added {
        for ((name, plain), row) in load::NAMES.iter().zip(&plain).zip(&encoded) {
            let ((ratio, least, most), adds) = (row.ratio, 1e9 / row.rate - 1e9 / plain.rate);
            println!(
                "| {batch} | {name} | {:.0} | {adds:.0} | {:.0} | {ratio:.2} ({least:.2} to {most:.2}) |",
                row.rate, row.bytes
            );
        }
    }
}

fn idle(groups: usize, rounds: usize) {
    println!("\n{groups} idle groups of three replicas.\n");
    println!(
        "| engine | ns per replica and second (least to most) | share of a core | bytes per replica | after 64 entries | messages per group and second |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, row) in idle::NAMES.iter().zip(idle::measure(groups, rounds)) {
        let (least, most) = row.range;
        println!(
            "| {name} | {:.3} ({least:.3} to {most:.3}) | {:.6} % | {:.0} | {:.0} | {:.2} |",
            row.nanoseconds,
            row.nanoseconds * 3.0 * groups as f64 / 1e7,
            row.bytes,
            row.used,
            row.messages
        );
    }
    println!(
        "\nNot in it: the heartbeats of ours, which go between pairs of nodes however many groups there are:"
    );
    println!(
        "6 pairs, either way counted, with 10 beats a second each are 60 messages a second for three nodes."
    );
}

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    if cfg!(debug_assertions) {
        println!("Built without optimisation: these figures say nothing. Use --release.");
    }
    if arguments.load {
        let batches = arguments.batch.map_or(vec![1, 64, 1_024], |batch| vec![batch]);
        load(&batches, arguments.entries, arguments.rounds, !arguments.plain);
    }
    if arguments.idle {
        idle(arguments.groups, arguments.rounds);
    }
    println!("\nAll three replicas of every group and engine applied the same entries.");
    ExitCode::SUCCESS
}
