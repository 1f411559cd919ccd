//! A recorded run in forms that people can look at: one self-contained page, a ShiViz log, a Perfetto trace.

mod html;
mod perfetto;
mod shiviz;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::record::History;
use crate::world;

pub use self::html::page;
pub use self::perfetto::perfetto;
pub use self::shiviz::shiviz;

/// A run, and what there is to say about it at the top of a page.
#[derive(Clone, Copy, Debug)]
pub struct Story<'a> {
    /// What was run.
    pub plan: &'a Plan,
    /// What it came to.
    pub outcome: &'a Outcome,
    /// What happened.
    pub history: &'a History,
    /// The command that repeats it.
    pub reproduce: &'a str,
}

/// Why a run was not explained.
#[derive(Debug)]
pub enum Trouble {
    /// This file cannot be written.
    File(PathBuf, io::Error),
    /// Nor can the output.
    Output(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Files in which a run is explained.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Explain {
    /// Write a page that shows the run: a lane per node, messages, faults, causes
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write a log with vector clocks for ShiViz
    #[arg(long, value_name = "FILE")]
    pub shiviz: Option<PathBuf>,
    /// Write a trace for Perfetto, or for chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
}

impl Explain {
    /// Whether any file is wanted.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.html.is_some() || self.shiviz.is_some() || self.perfetto.is_some()
    }

    /// Runs the plan once more with a recorder and writes the files that are wanted. `outcome` is what the plan came to before, and
    /// `reproduce` the command that repeats it.
    ///
    /// # Errors
    /// If a file, or `out`, cannot be written.
    pub fn write(
        &self,
        plan: &Plan,
        outcome: &Outcome,
        reproduce: &str,
        out: &mut dyn Write,
    ) -> Result<(), Trouble> {
        if !self.wanted() {
            return Ok(());
        }
        let (again, history) = world::record(plan);
        if again.trace != outcome.trace {
            writeln!(out, "NOT DETERMINISTIC: the recorded run has trace {:032x}", again.trace)?;
        }
        let story = Story { plan, outcome: &again, history: &history, reproduce };
        let forms: [(&Option<PathBuf>, Form); 3] =
            [(&self.html, page), (&self.shiviz, shiviz), (&self.perfetto, perfetto)];
        for (path, form) in forms {
            let Some(path) = path else { continue };
            let bytes = to_file(path, &story, form).map_err(|error| Trouble::File(path.clone(), error))?;
            writeln!(
                out,
                "wrote {}: {} events, {:.1} MB",
                path.display(),
                history.records.len(),
                bytes as f64 / 1e6
            )?;
        }
        if history.dropped > 0 {
            writeln!(out, "{} more events were not kept", history.dropped)?;
        }
        Ok(())
    }
}

type Form = fn(&Story<'_>, &mut dyn Write) -> io::Result<()>;

fn to_file(path: &Path, story: &Story<'_>, form: Form) -> io::Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    form(story, &mut file)?;
    file.flush()?;
    Ok(file.get_ref().metadata()?.len())
}

/// A text as a JSON string that may stand inside a script element, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028")
}
