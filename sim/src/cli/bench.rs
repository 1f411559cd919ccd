//! How fast the simulator is: `bench`.

use std::io::Write;
use std::time::Duration;

use super::{Trouble, swarm::parse_budget};
use crate::bench::{self, Bounds, Case, Figures};
use crate::event::SECOND;
use crate::plan::MAX_NODES;

/// What is measured unless told otherwise: the case, and how many simulated seconds of it.
const USUAL: [(Case, u64); 3] = [(Case::Five, 2_000), (Case::Scale(100), 60), (Case::Scale(1_000), 4)];

fn parse_nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(nodes @ 2..=MAX_NODES) => Ok(nodes),
        _ => Err(format!("{text:?} is no number of nodes from 2 to {MAX_NODES}")),
    }
}

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Bench {
    /// Measure a mesh of so many nodes alone, at a constant load with some faults
    #[arg(long, value_name = "N", value_parser = parse_nodes)]
    nodes: Option<usize>,
    /// How many simulated seconds to measure
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seconds: Option<u64>,
    /// The most processor time for each case; a mesh is given as much again to form
    #[arg(long, value_name = "TIME", value_parser = parse_budget, default_value = "10s")]
    budget: Duration,
}

pub(super) fn run(asked: &Bench, program: &str, out: &mut dyn Write) -> Result<u8, Trouble> {
    let cases: Vec<(Case, u64)> = match asked.nodes {
        Some(nodes) => vec![(Case::Scale(nodes), 10)],
        None => USUAL.to_vec(),
    };
    writeln!(
        out,
        "{:22} {:>10} {:>12} {:>13} {:>10} {:>12} {:>11} {:>11} {:>10}",
        "case", "simulated", "events", "checks", "CPU", "events/s", "x by CPU", "x by wall", "events/sim s"
    )?;
    let mut code = 0;
    for (case, seconds) in cases {
        let simulated = asked.seconds.unwrap_or(seconds) * SECOND;
        let figures = bench::measure(case, Bounds { simulated, budget: asked.budget });
        code = code.max(tell(case, &figures, program, out)?);
        out.flush()?;
    }
    writeln!(out, "one thread, every check on; x: simulated seconds per second")?;
    Ok(code)
}

fn tell(case: Case, figures: &Figures, program: &str, out: &mut dyn Write) -> Result<u8, Trouble> {
    let name = match case {
        Case::Five => format!("5 nodes, {} runs", figures.runs),
        Case::Scale(nodes) => format!("{nodes} nodes"),
    };
    if let Some(forming) = &figures.forming {
        row(&format!("{name}, forming"), forming, out)?;
    }
    match &figures.unformed {
        None => row(&name, &figures.measured, out)?,
        Some(unformed) => writeln!(out, "{name}: {unformed}")?,
    }
    let Some((seed, verdict)) = &figures.failure else { return Ok(0) };
    writeln!(out, "seed {seed}: {verdict}")?;
    if case == Case::Five {
        writeln!(out, "{}", super::reproduce(&format!("run {seed}"), None, program))?;
    }
    Ok(verdict.exit_code())
}

fn row(name: &str, stretch: &bench::Stretch, out: &mut dyn Write) -> Result<(), Trouble> {
    writeln!(
        out,
        "{name:22} {:>9.1}s {:>12} {:>13} {:>9.2}s {:>12.0} {:>11.1} {:>11.1} {:>10.0}",
        stretch.seconds(),
        stretch.events,
        stretch.checks,
        stretch.processor.as_secs_f64(),
        stretch.events_per_second(),
        stretch.speed(),
        stretch.speed_by_wall(),
        stretch.density()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_mesh_is_checked() {
        assert_eq!(parse_nodes("2"), Ok(2));
        assert_eq!(parse_nodes("2000"), Ok(2_000));
        for wrong in ["1", "2001", "many", "-4"] {
            assert!(parse_nodes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mesh_is_measured_and_one_that_is_given_no_time_is_told_from_it() {
        let said = |budget| {
            let mut text = Vec::new();
            let asked = Bench { nodes: Some(3), seconds: Some(1), budget };
            assert!(matches!(run(&asked, "sim", &mut text), Ok(0)));
            String::from_utf8(text).unwrap()
        };
        let text = said(Duration::from_secs(300));
        assert!(text.contains("3 nodes, forming") && text.contains("\n3 nodes  "), "{text}");
        assert!(said(Duration::ZERO).contains("\n3 nodes: the budget was used up after "));
    }
}
