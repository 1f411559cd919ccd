//! Two runs: `diff`, and the records of `run --steps`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use super::{Trouble, UNSTEADY, find_bug, single};
use crate::diff::{self, Comparison, Run};
use crate::plan::Plan;
use crate::seed::Seed;

pub(super) fn run(one: &str, other: &str, planted: Option<&str>, out: &mut dyn Write) -> Result<u8, Trouble> {
    let compared = diff::diff(open(one, None)?, open(other, planted)?);
    match compared.map_err(|error| Trouble::Usage(error.to_string()))? {
        Comparison::Same { events, trace } => {
            writeln!(out, "the same: {events} events · trace {trace:032x}")?;
            Ok(0)
        }
        Comparison::Parted { event, before, steps } => {
            for line in before {
                writeln!(out, "  {line}")?;
            }
            writeln!(out, "they part at event {event}:")?;
            for (name, step) in [one, other].into_iter().zip(steps) {
                match step {
                    None => writeln!(out, "{name}: is over")?,
                    Some(step) => {
                        writeln!(out, "{name}: trace {:032x}", step.trace)?;
                        step.lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
                    }
                }
            }
            Ok(UNSTEADY)
        }
    }
}

pub(super) fn record(seed: Seed, planted: Option<&str>, file: &Path) -> Result<u8, Trouble> {
    let plan = Plan::generate(seed).with_bug(find_bug(planted)?);
    let wrong = |error| Trouble::Usage(format!("cannot write {}: {error}", file.display()));
    let mut out = BufWriter::new(File::create(file).map_err(wrong)?);
    diff::record(&plan, &mut out).and_then(|()| out.flush()).map_err(wrong)?;
    Ok(0)
}

/// A run by its seed, its plan file or its record.
fn open(what: &str, planted: Option<&str>) -> Result<Run, Trouble> {
    if let Ok(seed) = what.parse::<Seed>() {
        return Ok(Run::of(&Plan::generate(seed).with_bug(find_bug(planted)?)));
    }
    let path = Path::new(what);
    if path.extension().is_some_and(|extension| extension == "toml") {
        return Ok(Run::of(&single::read(path, planted)?));
    }
    let wrong = |error| Trouble::Usage(format!("{what} is no seed, no plan file and no record: {error}"));
    Run::recorded(Box::new(BufReader::new(File::open(path).map_err(wrong)?))).map_err(wrong)
}
