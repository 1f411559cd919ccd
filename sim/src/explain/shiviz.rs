//! A log for ShiViz: the regular expression with which to read it, an empty line (there is one execution), then two lines per event.

use std::io::{self, Write};

use super::Story;
use crate::event::SECOND;
use crate::record::{Kind, NOBODY};

/// How ShiViz is to read the log.
pub(super) const EXPRESSION: &str = r"(?<host>\S*) (?<clock>{.*})\n(?<event>.*)";

/// What happens outside all nodes has a line of its own.
const WORLD: &str = "world";

/// Writes the log of a run: what nodes say to each other and what comes of it, without timers, disks and work.
///
/// # Errors
/// If `out` cannot be written.
pub fn shiviz(story: &Story<'_>, out: &mut dyn Write) -> io::Result<()> {
    let history = story.history;
    let count = history.nodes.len();
    writeln!(out, "{EXPRESSION}\n")?;
    let mut clocks = vec![vec![0u64; count + 1]; count + 1];
    // What every transmit's clock was; other records need none.
    let mut sent: Vec<Option<Box<[u64]>>> = vec![None; history.records.len()];
    for (ordinal, record) in history.numbered() {
        if matches!(record.kind, Kind::Timer | Kind::Disk | Kind::Work | Kind::Input | Kind::Output) {
            continue;
        }
        let host = if record.node == NOBODY { count } else { usize::from(record.node) };
        clocks[host][host] += 1;
        let sender = record.causes[0].filter(|_| record.kind == Kind::Arrival);
        if let Some(clock) = sender.and_then(|sender| sent[sender.get() as usize - 1].as_ref()) {
            clocks[host].iter_mut().zip(clock).for_each(|(own, &other)| *own = (*own).max(other));
        }
        if record.kind == Kind::Transmit {
            sent[ordinal.get() as usize - 1] = Some(clocks[host].clone().into());
        }
        let name = |place: usize| history.nodes.get(place).map_or(WORLD, String::as_str);
        let clock: Vec<String> = clocks[host]
            .iter()
            .enumerate()
            .filter(|&(_, &value)| value > 0)
            .map(|(place, value)| format!("\"{}\":{value}", name(place)))
            .collect();
        writeln!(out, "{} {{{}}}", name(host), clock.join(","))?;
        let (seconds, rest) = (record.at / SECOND, record.at % SECOND / 1_000);
        writeln!(out, "{seconds}.{rest:06} {}: {}", record.kind.name(), record.text.replace('\n', " "))?;
    }
    Ok(())
}
