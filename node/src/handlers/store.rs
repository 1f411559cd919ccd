//! The handler `store`: messages, or the values that they put, in a redb file, and in the same transaction the position.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `position` | 0 | stream instance (16 bytes), authority, sequence (8 bytes each, big endian) |
//! | `messages` | sequence | message id, writer (16 bytes each), writer sequence (8 bytes), body |
//! | `values` | the key, as text | JSON, as it came |
//!
//! A file belongs to one life of one stream: its position is presented at each attaching, and the node refuses that of another.
//!
//! It is opened when the handler begins, for that takes long if it is large and its node fell.

mod set;

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use wattle_core::id::{AuthorityEpoch, Sequence, StreamInstance};
use wattle_core::node::command::{Position, Refusal};
use wattle_io::handler::{Failure, Handler, Life, Message};

use crate::settings::{Begin, Keep};
pub use set::{Set, set_position};

const POSITION: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("position");
const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// Bytes in front of the body of a kept message.
const ORIGIN: usize = 16 + 16 + 8;
/// Bytes of a key.
const KEY_MAX: usize = 4096;
/// Bytes of the file that are kept in memory.
const CACHE_BYTES: usize = 16 << 20;
/// How often a commit writes down which pages are free. After a crash the whole file is walked through, unless the last commit was such a one.
const QUICK_REPAIR: Duration = Duration::from_secs(5);
/// Most entries of one answer.
pub const READ_MOST: u32 = 1000;
/// Most bytes of one answer, unless one entry alone has more.
const READ_BYTES: usize = 1 << 20;

/// The file of one handler.
pub struct StoreFile {
    path: PathBuf,
    keep: Keep,
    /// `None` while it must be opened again: redb takes no more after an error of the disk.
    open: RwLock<Option<Arc<Open>>>,
    /// Held by whoever opens it: that takes long after a crash, and readers do not wait for it.
    opening: Mutex<()>,
}

struct Open {
    database: Database,
    repaired: Mutex<Instant>,
}

/// What one message does to values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change<'a> {
    put: Option<String>,
    /// Any JSON, `null` too.
    #[serde(borrow, default, deserialize_with = "raw")]
    value: Option<&'a RawValue>,
    delete: Option<String>,
}

fn raw<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, or the sequence of a message.
    pub key: String,
    /// JSON, or the body of a message.
    pub value: Bytes,
}

/// Some entries, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// They.
    pub entries: Vec<Entry>,
    /// Whether there are more behind them.
    pub more: bool,
    /// The last message that counts in them; `None` if there was none yet.
    pub position: Option<Position>,
}

impl StoreFile {
    /// Makes the file if it is not there. It is opened by whoever begins.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn at(path: PathBuf, keep: Keep) -> Result<Self, String> {
        make(&path)?;
        Ok(Self { path, keep, open: RwLock::new(None), opening: Mutex::new(()) })
    }

    fn opened(&self) -> Result<Arc<Open>, String> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let open = Arc::new(Open::at(&self.path, self.keep)?);
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&open));
        Ok(open)
    }

    fn current(&self) -> Option<Arc<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Unless it is being opened.
    fn ready(&self) -> Result<Arc<Open>, String> {
        self.current().ok_or_else(|| {
            format!("{} is being opened, or cannot be: `wattle status` tells", self.path.display())
        })
    }

    fn fell(&self, error: &redb::Error) -> String {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
        format!("{}: {error}", self.path.display())
    }

    fn position(&self) -> Result<Option<Position>, String> {
        self.opened()?.position().map_err(|error| self.fell(&error))
    }

    /// Applies messages and the position of the last, in one transaction that is on the disk afterwards. They must follow the stored position, or the one
    /// at which it began if nothing is stored.
    fn apply(&self, began: Position, messages: &[(Message, Bytes)]) -> Result<(), Failure> {
        let open = self.opened().map_err(Failure::away)?;
        let mut right = messages.len();
        let mut wrong = None;
        let mut changes = Vec::new();
        let values = self.keep == Keep::Values;
        if values {
            for (at, (_, body)) in messages.iter().enumerate() {
                match read_changes(body) {
                    Ok(more) => changes.extend(more),
                    Err(why) => {
                        (right, wrong) = (at, Some(why));
                        break;
                    }
                }
            }
        }
        let messages = messages.get(..right).unwrap_or_default();
        open.commit(began, messages, values.then_some(&changes))
            .map_err(|error| Failure::away(self.fell(&error)))?
            .map_err(|why| Failure::stop(format!("{}: {why}", self.path.display())))?;
        wrong.map_or(Ok(()), |why| Err(Failure::message(why).after(right)))
    }

    /// Applies a message that was parked, in a transaction of its own; the position stays.
    fn apply_parked(&self, message: &(Message, Bytes)) -> Result<(), Failure> {
        let open = self.opened().map_err(Failure::away)?;
        let changes = (self.keep == Keep::Values).then(|| read_changes(&message.1));
        let changes = changes.transpose().map_err(Failure::message)?;
        let kept = open.commit_parked(message, changes.as_deref());
        kept.map_err(|error| Failure::away(self.fell(&error)))
    }

    /// Entries whose keys begin with `prefix`, after the key `after`; of messages, those after that sequence.
    ///
    /// # Errors
    /// `after` names no message, messages have no `prefix`, it is not open, or what the disk said.
    pub fn read(&self, prefix: &str, after: &str, most: u32) -> Result<Entries, String> {
        let after_message = match self.keep {
            Keep::Messages if !prefix.is_empty() => {
                return Err("messages have no keys that could begin with anything".to_owned());
            }
            Keep::Messages if after.is_empty() => 0,
            Keep::Messages => {
                after.parse().map_err(|_| format!("{after:?} is not the sequence of a message"))?
            }
            Keep::Values => 0,
        };
        let most = most.clamp(1, READ_MOST) as usize;
        let open = self.ready()?;
        let read = match self.keep {
            Keep::Messages => open.messages(after_message, most),
            Keep::Values => open.values(prefix, after, most),
        };
        read.map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

impl fmt::Debug for StoreFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreFile")
            .field("path", &self.path)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

impl Open {
    fn at(path: &Path, keep: Keep) -> Result<Self, String> {
        let shown = path.display();
        let file = options().open(path).map_err(|error| format!("cannot open {shown}: {error}"))?;
        let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create_file(file).map_err(
            |error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => {
                    format!("{shown} is in use: another handler, or another process, has it open")
                }
                error => format!(
                    "cannot open {shown}: {error}; name another `file`, or move this one away, and say where to begin anew: begin = \"kept\""
                ),
            },
        )?;
        let open = Self { database, repaired: Mutex::new(Instant::now()) };
        let other = open.holds_other(keep).map_err(|error| format!("cannot read {shown}: {error}"))?;
        if other {
            let keep = if keep == Keep::Values { "messages" } else { "values" };
            return Err(format!("{shown} keeps {keep}: say keep = \"{keep}\", or name another `file`"));
        }
        Ok(open)
    }

    fn holds_other(&self, keep: Keep) -> Result<bool, redb::Error> {
        let other = if keep == Keep::Values { MESSAGES.name().to_owned() } else { VALUES.name().to_owned() };
        Ok(self.database.begin_read()?.list_tables()?.any(|table| table.name() == other))
    }

    fn position(&self) -> Result<Option<Position>, redb::Error> {
        position_in(&self.database.begin_read()?)
    }

    /// The inner error says that the messages do not follow what is stored.
    fn commit(
        &self,
        began: Position,
        messages: &[(Message, Bytes)],
        changes: Option<&[Change<'_>]>,
    ) -> Result<Result<(), String>, redb::Error> {
        let (Some((first, _)), Some((last, _))) = (messages.first(), messages.last()) else {
            return Ok(Ok(()));
        };
        let mut writing = self.database.begin_write()?;
        writing.set_quick_repair(self.repair_due());
        {
            let mut table = writing.open_table(POSITION)?;
            let stored = table.get(0)?.and_then(|stored| read_position(stored.value()));
            let stands = stored.unwrap_or(began);
            // There may be a gap: a large message takes several sequences, and bears the last.
            let follows =
                stands.instance == first.position.instance && stands.sequence < first.position.sequence;
            if !follows {
                return Ok(Err(format!(
                    "its position is {}, and message {} does not follow it",
                    stands.sequence, first.position.sequence
                )));
            }
            table.insert(0, write_position(last.position).as_slice())?;
        }
        let Some(changes) = changes else {
            put(messages, &mut writing.open_table(MESSAGES)?)?;
            writing.commit()?;
            return Ok(Ok(()));
        };
        change(changes, &mut writing.open_table(VALUES)?)?;
        writing.commit()?;
        Ok(Ok(()))
    }

    fn commit_parked(
        &self,
        message: &(Message, Bytes),
        changes: Option<&[Change<'_>]>,
    ) -> Result<(), redb::Error> {
        let writing = self.database.begin_write()?;
        match changes {
            Some(changes) => change(changes, &mut writing.open_table(VALUES)?)?,
            None => put(std::slice::from_ref(message), &mut writing.open_table(MESSAGES)?)?,
        }
        writing.commit()?;
        Ok(())
    }

    fn repair_due(&self) -> bool {
        let mut repaired = self.repaired.lock().unwrap_or_else(PoisonError::into_inner);
        let due = repaired.elapsed() >= QUICK_REPAIR;
        if due {
            *repaired = Instant::now();
        }
        due
    }

    fn messages(&self, after: u64, most: usize) -> Result<Entries, redb::Error> {
        // Of one transaction with what is read: whoever goes on from it gets nothing twice.
        let reading = self.database.begin_read()?;
        let position = position_in(&reading)?;
        let table = match reading.open_table(MESSAGES) {
            Err(redb::TableError::TableDoesNotExist(_)) => {
                return Ok(Entries { position, ..Entries::default() });
            }
            table => table?,
        };
        let entries = table.range(after.saturating_add(1)..)?.map(|entry| {
            let (key, value) = entry?;
            let body = value.value().get(ORIGIN..).unwrap_or_default();
            Ok(Entry { key: key.value().to_string(), value: Bytes::copy_from_slice(body) })
        });
        some(entries, most, position)
    }

    fn values(&self, prefix: &str, after: &str, most: usize) -> Result<Entries, redb::Error> {
        // Of one transaction with what is read: whoever goes on from it gets nothing twice.
        let reading = self.database.begin_read()?;
        let position = position_in(&reading)?;
        let table = match reading.open_table(VALUES) {
            Err(redb::TableError::TableDoesNotExist(_)) => {
                return Ok(Entries { position, ..Entries::default() });
            }
            table => table?,
        };
        let begin = prefix.max(after);
        let entries = table.range(begin..)?.map(|entry| {
            let (key, value) = entry?;
            Ok(Entry { key: key.value().to_owned(), value: Bytes::copy_from_slice(value.value()) })
        });
        let past = |entry: &Entry| entry.key.as_str() > after || after.is_empty();
        let entries = entries.filter(|entry: &Result<Entry, redb::Error>| entry.as_ref().map_or(true, past));
        let within = |entry: &Result<Entry, redb::Error>| {
            entry.as_ref().map_or(true, |entry| entry.key.starts_with(prefix))
        };
        some(entries.take_while(within), most, position)
    }
}

fn position_in(reading: &redb::ReadTransaction) -> Result<Option<Position>, redb::Error> {
    let table = match reading.open_table(POSITION) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let stored = table.get(0)?;
    let bytes = stored.as_ref().map(|stored| stored.value());
    bytes
        .map(|bytes| read_position(bytes).ok_or_else(|| redb::Error::Corrupted("a position".into())))
        .transpose()
}

/// What is in the file is for its owner, as all the node keeps.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Makes the file if it is not there, and what it is in, so that a crash takes away nothing of the way to it.
fn make(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.is_dir()).collect();
    let made = || {
        for folder in missing.iter().rev() {
            DirBuilder::new().mode(0o700).create(folder)?;
            let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
            File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    };
    made().map_err(|error: std::io::Error| format!("cannot make {}: {error}", folder.display()))?;
    let entered = || {
        options().open(path)?;
        File::open(folder)?.sync_all()
    };
    entered().map_err(|error| format!("cannot open {}: {error}", path.display()))
}

fn put(messages: &[(Message, Bytes)], table: &mut redb::Table<'_, u64, &[u8]>) -> Result<(), redb::Error> {
    let mut value = Vec::new();
    for (message, body) in messages {
        value.clear();
        value.extend_from_slice(&message.id.to_bytes());
        value.extend_from_slice(&message.key.writer.to_bytes());
        value.extend_from_slice(&message.key.writer_sequence.0.to_be_bytes());
        value.extend_from_slice(body);
        table.insert(message.position.sequence.0, value.as_slice())?;
    }
    Ok(())
}

fn change(changes: &[Change<'_>], table: &mut redb::Table<'_, &str, &[u8]>) -> Result<(), redb::Error> {
    for change in changes {
        match (&change.put, change.value, &change.delete) {
            (Some(key), Some(value), None) => drop(table.insert(key.as_str(), value.get().as_bytes())?),
            (None, None, Some(key)) => drop(table.remove(key.as_str())?),
            _ => unreachable!("looked at when it was read"),
        }
    }
    Ok(())
}

/// As many of them as one answer has.
fn some(
    mut all: impl Iterator<Item = Result<Entry, redb::Error>>,
    most: usize,
    position: Option<Position>,
) -> Result<Entries, redb::Error> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    for entry in all.by_ref() {
        let entry = entry?;
        bytes += entry.key.len() + entry.value.len();
        if entries.len() == most || (bytes > READ_BYTES && !entries.is_empty()) {
            return Ok(Entries { entries, more: true, position });
        }
        entries.push(entry);
    }
    Ok(Entries { entries, more: false, position })
}

/// What a message does: one change, or a list of them.
fn read_changes(body: &[u8]) -> Result<Vec<Change<'_>>, String> {
    const WANTED: &str =
        r#"{"put": "key", "value": any JSON} or {"delete": "key"}, or a list of such, is wanted"#;
    let list = body.trim_ascii_start().first() == Some(&b'[');
    let read = if list {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|one: Change<'_>| vec![one])
    };
    // Where it is, and not what is there: that belongs to whoever sent it.
    let wrong = |error: serde_json::Error| {
        let what = if error.is_data() { "it says something else" } else { "it is no JSON" };
        format!("{what} (line {}, column {}): {WANTED}", error.line(), error.column())
    };
    let changes: Vec<Change<'_>> = read.map_err(wrong)?;
    for change in &changes {
        let key = match (&change.put, &change.value, &change.delete) {
            (Some(key), Some(_), None) | (None, None, Some(key)) => key,
            _ => return Err(WANTED.to_owned()),
        };
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(format!("a key of {} bytes: it has 1 to {KEY_MAX}", key.len()));
        }
    }
    Ok(changes)
}

fn write_position(position: Position) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&position.instance.to_bytes());
    bytes[16..24].copy_from_slice(&position.authority.0.to_be_bytes());
    bytes[24..].copy_from_slice(&position.sequence.0.to_be_bytes());
    bytes
}

fn read_position(bytes: &[u8]) -> Option<Position> {
    let number = |at: std::ops::Range<usize>| Some(u64::from_be_bytes(bytes.get(at)?.try_into().ok()?));
    Some(Position {
        instance: StreamInstance::from_slice(bytes.get(..16)?)?,
        authority: AuthorityEpoch(number(16..24)?),
        sequence: Sequence(number(24..32)?),
    })
}

/// The handler.
#[derive(Clone, Debug)]
pub struct Store {
    file: Arc<StoreFile>,
    begin: Begin,
    /// What it presented, and whether that was stored.
    began: Option<(Position, bool)>,
}

impl Store {
    /// A handler that keeps what it is given in that file.
    #[must_use]
    pub const fn new(file: Arc<StoreFile>, begin: Begin) -> Self {
        Self { file, begin, began: None }
    }

    /// Does something with the file where waiting for the disk holds up nobody.
    async fn with<T: Send + 'static>(
        &self,
        what: impl FnOnce(&StoreFile) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let file = Arc::clone(&self.file);
        let done = tokio::task::spawn_blocking(move || what(&file)).await;
        done.map_err(|error| Failure::away(error.to_string()))
    }
}

impl Handler for Store {
    async fn begin(&mut self, life: &Life) -> Result<Option<Position>, Failure> {
        let stored = self.with(StoreFile::position).await?.map_err(Failure::away)?;
        let began = stored.unwrap_or_else(|| self.begin.position(life));
        self.began = Some((began, stored.is_some()));
        Ok(Some(began))
    }

    fn advice(&self, life: &Life, refusal: &Refusal) -> Option<String> {
        let (began, stored) = self.began?;
        let path = self.file.path.display();
        let moved = |after: Sequence| {
            let authority = life.authority;
            format!(
                "with the node stopped, `wattle stream set-stored {path} --after {after} --authority {authority}` has it go on there"
            )
        };
        match refusal {
            _ if began.instance != life.instance => Some(format!(
                "{path} belongs to another life of the stream: name another `file`, or move this one away"
            )),
            Refusal::NotKept { .. } if !stored => {
                Some("it has stored nothing: say begin = \"kept\" in its [[handler]]".to_owned())
            }
            Refusal::NotKept { kept, .. } => Some(moved(*kept)),
            Refusal::AboveSeal { end, .. } => Some(moved(*end)),
            _ => None,
        }
    }

    async fn handle(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let (began, _) = self.began.ok_or_else(|| Failure::away("it has not begun"))?;
        let mut whole = Vec::with_capacity(messages.len());
        for message in messages {
            whole.push((message.clone(), message.body().whole().await?));
        }
        self.with(move |file| file.apply(began, &whole)).await?
    }

    async fn handle_parked(&mut self, message: &Message) -> Result<(), Failure> {
        let whole = (message.clone(), message.body().whole().await?);
        self.with(move |file| file.apply_parked(&whole)).await?
    }
}

#[cfg(test)]
mod tests;
