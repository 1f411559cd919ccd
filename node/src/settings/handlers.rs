//! `[[handler]]`: what this node itself does with the messages of streams that end at it.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wattle_core::id::Sequence;
use wattle_core::mesh::valid_stream_name;
use wattle_core::node::command::Position;
use wattle_io::handler::Life;

use super::read::{line_of, value_of};
use super::{Value, nearest};

/// A handler that the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerSettings {
    /// `stream`: whose messages.
    pub stream: String,
    /// `window`: messages that may be handed over and whose marks are not durable.
    pub window: u32,
    /// `batch`: most messages of one call, and so of one transaction.
    pub batch: usize,
    /// `message_bytes`: most bytes of one message; at a larger one the handler fails, but for `no-op`.
    pub message_bytes: u64,
    /// `begin`: where one that keeps its place begins if it has stored nothing.
    pub begin: Begin,
    /// `kind`, and what belongs to it.
    pub kind: HandlerKind,
}

/// Where a handler begins that keeps its place and has stored nothing of the stream's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// With the first message, and nowhere if that is gone.
    #[default]
    First,
    /// `kept`: with the first message that its node still keeps.
    Kept,
    /// A number: after that message, as if all up to it had been processed.
    After(u64),
}

impl Begin {
    /// The position that it presents.
    #[must_use]
    pub fn position(self, life: &Life) -> Position {
        life.after(match self {
            Self::First => Sequence(0),
            Self::Kept => life.gone,
            Self::After(after) => Sequence(after),
        })
    }
}

/// What a handler does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// `no-op`: nothing, and says that it is done.
    NoOp,
    /// `store`: keeps them in a file of its own.
    Store(StoreSettings),
    /// `postgresql`: makes rows of a database of them.
    PostgreSql(PostgreSqlSettings),
}

/// Of the kind `postgresql`.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgreSqlSettings {
    /// `connect`: the server, the database and the user, as `key=value` words or as a URL.
    pub connect: String,
    /// `password_file`: holds the password alone.
    pub password_file: Option<PathBuf>,
    /// `table`: where messages become rows.
    pub table: String,
    /// `statement`: what is done for each message instead.
    pub statement: Option<String>,
    /// `positions`: the table of positions.
    pub positions: String,
    /// `allow_plaintext`: whether the server may be on another machine.
    pub allow_plaintext: bool,
}

impl Default for PostgreSqlSettings {
    fn default() -> Self {
        Self {
            connect: String::new(),
            password_file: None,
            table: "wattle_messages".to_owned(),
            statement: None,
            positions: "wattle_positions".to_owned(),
            allow_plaintext: false,
        }
    }
}

impl fmt::Debug for PostgreSqlSettings {
    /// Without what may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgreSqlSettings")
            .field("table", &self.table)
            .field("statement", &self.statement)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

/// Of the kind `store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// `file`: which; one in the data directory, named after the stream, if absent.
    pub file: Option<PathBuf>,
    /// `keep`: what is kept.
    pub keep: Keep,
}

/// What a store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// `messages`: all of them, as they came.
    #[default]
    Messages,
    /// `values`: the last value of each key; messages say which, as JSON.
    Values,
}

/// Messages that may be under way to a handler unless told otherwise.
const WINDOW: u32 = 1024;
/// Messages of one call unless told otherwise.
const BATCH: usize = 256;
/// Most bytes of one message unless told otherwise.
const MESSAGE_BYTES: u64 = 4 << 20;
/// Most bytes of one message in a store: the API answers with whole messages.
const STORED_BYTES_MAX: u64 = (crate::api::MESSAGE_BYTES_MAX - (1 << 20)) as u64;
/// Most of either.
const MOST: u32 = 65_536;

/// What a table of the file says.
#[derive(Default)]
struct Draft {
    stream: Option<String>,
    kind: Option<String>,
    window: Option<u32>,
    batch: Option<u32>,
    message_bytes: Option<u64>,
    begin: Begin,
    file: Option<PathBuf>,
    keep: Option<Keep>,
    database: PostgreSqlSettings,
}

type Set = fn(&mut Draft, Value) -> Result<(), &'static str>;

/// Key, the kinds that it belongs to (all, if none), how it is set.
const KEYS: [(&str, &[&str], Set); 14] = [
    ("stream", &[], |draft, value| {
        const WANTED: &str = "the name of a stream: 1 to 128 characters out of A-Z a-z 0-9 . _ -";
        draft.stream = Some(value.text().ok().filter(|name| valid_stream_name(name)).ok_or(WANTED)?);
        Ok(())
    }),
    ("kind", &[], |draft, value| {
        draft.kind = Some(value.text()?);
        Ok(())
    }),
    ("window", &[], |draft, value| {
        draft.window = Some(count(value)?);
        Ok(())
    }),
    ("batch", &[], |draft, value| {
        draft.batch = Some(count(value)?);
        Ok(())
    }),
    ("message_bytes", &[], |draft, value| {
        draft.message_bytes = Some(value.bytes()?);
        Ok(())
    }),
    ("begin", &["store", "postgresql"], |draft, value| {
        draft.begin = match value {
            Value::Number(number) => Begin::After(u64::try_from(number).map_err(|_| BEGIN)?),
            Value::Text(text) if text == "first" => Begin::First,
            Value::Text(text) if text == "kept" => Begin::Kept,
            _ => return Err(BEGIN),
        };
        Ok(())
    }),
    ("file", &["store"], |draft, value| {
        draft.file = Some(value.text()?.into());
        Ok(())
    }),
    ("keep", &["store"], |draft, value| {
        draft.keep = Some(match value.text().as_deref() {
            Ok("messages") => Keep::Messages,
            Ok("values") => Keep::Values,
            _ => return Err("\"messages\" or \"values\""),
        });
        Ok(())
    }),
    ("connect", &["postgresql"], |draft, value| {
        draft.database.connect = value.text()?;
        Ok(())
    }),
    ("password_file", &["postgresql"], |draft, value| {
        draft.database.password_file = Some(value.text()?.into());
        Ok(())
    }),
    ("table", &["postgresql"], |draft, value| {
        draft.database.table = table(value)?;
        Ok(())
    }),
    ("statement", &["postgresql"], |draft, value| {
        draft.database.statement = Some(value.text()?);
        Ok(())
    }),
    ("positions", &["postgresql"], |draft, value| {
        draft.database.positions = table(value)?;
        Ok(())
    }),
    ("allow_plaintext", &["postgresql"], |draft, value| {
        draft.database.allow_plaintext = value.flag()?;
        Ok(())
    }),
];

const BEGIN: &str = "\"first\", \"kept\", or the number of the message after which it is to begin";
const KINDS: [&str; 3] = ["no-op", "store", "postgresql"];

fn count(value: Value) -> Result<u32, &'static str> {
    let Value::Number(number) = value else { return Err("a number from 1 to 65536") };
    u32::try_from(number).ok().filter(|number| (1..=MOST).contains(number)).ok_or("a number from 1 to 65536")
}

fn table(value: Value) -> Result<String, &'static str> {
    const WANTED: &str = "the name of a table, such as \"words\" or \"shop.words\", out of A-Z a-z 0-9 _";
    let name = value.text().map_err(|_| WANTED)?;
    let word = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let right = name.split('.').count() <= 2 && name.split('.').all(word);
    if right { Ok(name) } else { Err(WANTED) }
}

/// Reads all `[[handler]]`s of a file.
pub(super) fn read(
    handlers: &mut Vec<HandlerSettings>,
    content: &Spanned<DeValue<'_>>,
    text: &str,
    shown: &str,
    mistakes: &mut Vec<String>,
) {
    let list = content.get_ref().as_array();
    let tables =
        list.and_then(|list| list.iter().map(|one| Some((one.get_ref().as_table()?, one))).collect());
    let Some(tables): Option<Vec<(&DeTable<'_>, &Spanned<DeValue<'_>>)>> = tables else {
        let line = line_of(text, content.span().start);
        mistakes.push(format!("{shown}:{line}: write [[handler]], with two brackets, before each handler"));
        return;
    };
    for (table, place) in tables {
        let place = format!("{shown}:{}", line_of(text, place.span().start));
        let before = mistakes.len();
        let draft = draft(table, text, shown, mistakes);
        match finish(draft, table) {
            Ok(handler) if handlers.iter().any(|other| other.stream == handler.stream) => {
                // Each would take over from the other, or end.
                mistakes.push(format!(
                    "{place}: stream {:?} has a handler already, and one is served",
                    handler.stream
                ));
            }
            Ok(handler) => handlers.push(handler),
            // What is missing may be missing because of what is wrong.
            Err(mistake) if mistakes.len() == before => mistakes.push(format!("{place}: {mistake}")),
            Err(_) => {}
        }
    }
}

fn draft(table: &DeTable<'_>, text: &str, shown: &str, mistakes: &mut Vec<String>) -> Draft {
    let mut draft = Draft::default();
    for (key, value) in table {
        let line = line_of(text, key.span().start);
        let key: &str = key.get_ref();
        let known = KEYS.iter().find(|known| known.0 == key);
        let set = known.map(|(_, _, set)| set(&mut draft, value_of(value.get_ref())));
        mistakes.extend(match set {
            Some(Ok(())) => None,
            Some(Err(wanted)) => Some(format!("{shown}:{line}: handler.{key} must be {wanted}")),
            None => {
                let near = nearest(key, KEYS.iter().map(|known| known.0));
                let hint = near.map_or_else(
                    || format!("there is {}", KEYS.map(|known| known.0).join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                Some(format!("{shown}:{line}: unknown key of [[handler]]: `{key}`; {hint}"))
            }
        });
    }
    draft
}

fn finish(draft: Draft, table: &DeTable<'_>) -> Result<HandlerSettings, String> {
    let stream =
        draft.stream.ok_or("a handler needs a `stream`: the name of the one whose messages it is for")?;
    let kinds = KINDS.map(|kind| format!("{kind:?}")).join(", ");
    let kind = draft.kind.ok_or_else(|| format!("a handler needs a `kind`: {kinds}"))?;
    if !KINDS.contains(&kind.as_str()) {
        return Err(format!("no kind of handler is called {kind:?}; there is {kinds}"));
    }
    let set = |key: &str| table.keys().any(|set| set.get_ref() == key);
    let misplaced = |of: &[&str]| !of.is_empty() && !of.contains(&kind.as_str());
    if let Some((key, of, _)) = KEYS.iter().find(|(key, of, _)| misplaced(of) && set(key)) {
        let of: Vec<String> = of.iter().map(|kind| format!("{kind:?}")).collect();
        let of = of.join(" or ");
        return Err(format!("`{key}` belongs to handlers of kind {of}, and this is one of kind {kind:?}"));
    }
    let kind = match kind.as_str() {
        "store" => {
            HandlerKind::Store(StoreSettings { file: draft.file, keep: draft.keep.unwrap_or_default() })
        }
        "postgresql" if draft.database.connect.is_empty() => {
            return Err("a handler of kind \"postgresql\" needs `connect`: \"host=/run/postgresql dbname=shop user=wattle\"".to_owned());
        }
        "postgresql" if draft.database.statement.is_some() && set("table") => {
            return Err("a `statement` takes the place of the `table`: leave one of them away".to_owned());
        }
        "postgresql" => HandlerKind::PostgreSql(draft.database),
        _ => HandlerKind::NoOp,
    };
    let window = draft.window.unwrap_or(WINDOW);
    let batch = draft.batch.map_or(BATCH, |batch| batch as usize);
    let message_bytes = draft.message_bytes.unwrap_or(MESSAGE_BYTES);
    if message_bytes > STORED_BYTES_MAX && matches!(kind, HandlerKind::Store(_)) {
        return Err(format!(
            "what is in a store is read message by message: `message_bytes` is at most {STORED_BYTES_MAX} there"
        ));
    }
    Ok(HandlerSettings { stream, window, batch, message_bytes, begin: draft.begin, kind })
}

impl HandlerSettings {
    /// So that a file means the same wherever the node is started from.
    pub(super) fn beside(&mut self, folder: &Path) {
        match &mut self.kind {
            HandlerKind::Store(StoreSettings { file: Some(file), .. }) => *file = folder.join(&file),
            HandlerKind::PostgreSql(PostgreSqlSettings { password_file: Some(file), .. }) => {
                *file = folder.join(&file)
            }
            HandlerKind::Store(_) | HandlerKind::PostgreSql(_) | HandlerKind::NoOp => {}
        }
    }
}
