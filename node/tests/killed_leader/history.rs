//! What clients asked of agreed configuration and what they were told, with the moments of both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use wattle_node::api::errors::detail_of;
use wattle_proto::api::{GetConfigRequest, Reason, SetConfigRequest, WatchConfigResponse};

use crate::common::Mesh;

/// All keys of the load begin so.
pub(crate) const PREFIX: &str = "load/";

/// A client waits this long; then what it asked is unknown.
const PATIENCE: Duration = Duration::from_secs(5);

/// Microseconds since the history began.
pub(crate) type Time = u64;

/// What was asked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To write a value that nobody else writes.
    Put,
    /// The same, if the key holds that version (0: if there is no such key).
    Swap(u64),
    /// What it holds, with all that was answered before.
    Read,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is written, as this version.
    Written(u64),
    /// The key holds this version (0: none), so it is not written.
    Conflict(u64),
    /// Whose value the key holds, and as which version; what the asked node had applied.
    Found { whose: usize, version: u64, applied: u64 },
    /// There is no such key.
    Absent { applied: u64 },
}

impl Told {
    /// The version that the key is known to have held.
    pub(crate) fn version(self) -> u64 {
        match self {
            Self::Written(version) | Self::Conflict(version) | Self::Found { version, .. } => version,
            Self::Absent { .. } => 0,
        }
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// At which node.
    pub(crate) node: &'static str,
    pub(crate) key: u64,
    pub(crate) asked: Asked,
    pub(crate) from: Time,
    /// When it was answered, and what; `None` if that is unknown: it may have been done, may be done yet, or never.
    pub(crate) told: Option<(Time, Told)>,
}

/// A write that a watcher was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: u64,
    /// Who wrote the value.
    pub(crate) whose: usize,
}

/// One answer to a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) node: &'static str,
    /// All that was written since; `None` if it lists what is there instead.
    pub(crate) after: Option<u64>,
    pub(crate) upto: u64,
    pub(crate) changes: Vec<Change>,
}

#[derive(Default)]
struct Recorded {
    operations: Vec<Operation>,
    parts: Vec<Part>,
    open: usize,
    lost: BTreeMap<String, u64>,
}

/// Everything, as it was seen from outside.
pub(crate) struct History {
    start: Instant,
    recorded: Mutex<Recorded>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), recorded: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Time {
        self.start.elapsed().as_micros().try_into().expect("no such long test")
    }

    fn recorded<T>(&self, what: impl FnOnce(&mut Recorded) -> T) -> T {
        what(&mut self.recorded.lock().expect("nobody panics here"))
    }

    /// Asks a node and records it. `None` if nobody knows what became of it.
    pub(crate) async fn ask(
        &self,
        mesh: &mut Mesh,
        node: &'static str,
        key: u64,
        asked: Asked,
    ) -> Option<Told> {
        let number = self.recorded(|recorded| {
            recorded.open += 1;
            recorded.operations.push(Operation { node, key, asked, from: self.now(), told: None });
            recorded.operations.len() - 1
        });
        let answer = tokio::time::timeout(PATIENCE, call(mesh, number, key, asked)).await;
        let now = self.now();
        let (told, lost) = match answer {
            Ok(Ok(told)) => (Some(told), None),
            Ok(Err(status)) => {
                let detail = detail_of(&status).unwrap_or_default();
                match (detail.reason(), detail.present_version) {
                    (Reason::VersionConflict, Some(present)) => (Some(Told::Conflict(present)), None),
                    (Reason::Unspecified, _) => (None, Some(format!("{:?}", status.code()))),
                    (reason, _) => (None, Some(reason.as_str_name().to_owned())),
                }
            }
            Err(_) => (None, Some(format!("no answer within {PATIENCE:?}"))),
        };
        self.recorded(|recorded| {
            recorded.open -= 1;
            recorded.operations[number].told = told.map(|told| (now, told));
            if let Some(lost) = lost {
                *recorded.lost.entry(lost).or_default() += 1;
            }
        });
        told
    }

    /// Records what a watcher was told that had been told everything up to `after`.
    pub(crate) fn watched(&self, node: &'static str, after: Option<u64>, part: &WatchConfigResponse) {
        let changes = part.changes.iter().map(|change| {
            let record = change.record.as_ref().expect("nothing is taken away");
            Change { version: change.version, key: read_key(&change.key), whose: read_value(&record.value) }
        });
        let after = after.filter(|_| !part.fresh);
        let part = Part { node, after, upto: part.upto, changes: changes.collect() };
        self.recorded(|recorded| recorded.parts.push(part));
    }

    /// How many questions are still open.
    pub(crate) fn open(&self) -> usize {
        self.recorded(|recorded| recorded.open)
    }

    /// Why answers are unknown, and how many.
    pub(crate) fn lost(&self) -> BTreeMap<String, u64> {
        self.recorded(|recorded| recorded.lost.clone())
    }

    /// All of it.
    pub(crate) fn take(&self) -> (Vec<Operation>, Vec<Part>) {
        self.recorded(|recorded| (recorded.operations.clone(), recorded.parts.clone()))
    }
}

async fn call(mesh: &mut Mesh, number: usize, key: u64, asked: Asked) -> Result<Told, tonic::Status> {
    let key = format!("{PREFIX}{key}");
    let expected_version = match asked {
        Asked::Put => None,
        Asked::Swap(expected) => Some(expected),
        Asked::Read => {
            let found = mesh.get_config(GetConfigRequest { key, consistency: 0 }).await?.into_inner();
            let applied = found.at.expect("always told").applied;
            return Ok(match found.record {
                Some(record) => {
                    Told::Found { whose: read_value(&record.value), version: record.version, applied }
                }
                None => Told::Absent { applied },
            });
        }
    };
    let value = format!("value {number}").into();
    let written = mesh.set_config(SetConfigRequest { key, value, expected_version }).await?;
    Ok(Told::Written(written.into_inner().version))
}

fn read_key(key: &str) -> u64 {
    key.strip_prefix(PREFIX).and_then(|key| key.parse().ok()).expect("a key of the load")
}

fn read_value(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).ok().and_then(|text| text.strip_prefix("value "));
    text.and_then(|number| number.parse().ok()).expect("a value of the load")
}

/// For people who look for what went wrong.
pub(crate) fn text(operations: &[Operation], parts: &[Part]) -> String {
    let mut text =
        String::from("operation, node, key, what was asked, from and until in microseconds, what was told\n");
    for (number, operation) in operations.iter().enumerate() {
        let Operation { node, key, asked, from, told } = operation;
        let told = told.map_or_else(|| "unknown".to_owned(), |(until, told)| format!("{until} {told:?}"));
        writeln!(text, "{number} {node} {key} {asked:?} {from} {told}").expect("a text takes all");
    }
    for Part { node, after, upto, changes } in parts {
        let since = after.map_or_else(|| "a listing".to_owned(), |after| format!("since {after}"));
        writeln!(text, "watched at {node}: {since}, up to {upto}").expect("a text takes all");
        for Change { version, key, whose } in changes {
            writeln!(text, "  version {version}: key {key} by operation {whose}").expect("a text takes all");
        }
    }
    text
}
