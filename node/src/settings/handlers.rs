//! `[[handler]]`: what this node itself does with the messages of streams that end at it.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

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
    /// `kind`, and what belongs to it.
    pub kind: HandlerKind,
}

/// What a handler does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// `no-op`: nothing, and says that it is done.
    NoOp,
    /// `store`: keeps them in a file of its own.
    Store(StoreSettings),
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
/// Most of either.
const MOST: u32 = 65_536;

/// What a table of the file says.
#[derive(Default)]
struct Draft {
    stream: Option<String>,
    kind: Option<String>,
    window: Option<u32>,
    batch: Option<u32>,
    file: Option<PathBuf>,
    keep: Option<Keep>,
}

type Set = fn(&mut Draft, Value) -> Result<(), &'static str>;

/// Key, the kind that it belongs to (all, if empty), how it is set.
const KEYS: [(&str, &str, Set); 6] = [
    ("stream", "", |draft, value| {
        draft.stream = Some(value.text()?);
        Ok(())
    }),
    ("kind", "", |draft, value| {
        draft.kind = Some(value.text()?);
        Ok(())
    }),
    ("window", "", |draft, value| {
        draft.window = Some(count(value)?);
        Ok(())
    }),
    ("batch", "", |draft, value| {
        draft.batch = Some(count(value)?);
        Ok(())
    }),
    ("file", "store", |draft, value| {
        draft.file = Some(value.text()?.into());
        Ok(())
    }),
    ("keep", "store", |draft, value| {
        draft.keep = Some(match value.text().as_deref() {
            Ok("messages") => Keep::Messages,
            Ok("values") => Keep::Values,
            _ => return Err("\"messages\" or \"values\""),
        });
        Ok(())
    }),
];

const KINDS: [&str; 2] = ["no-op", "store"];

fn count(value: Value) -> Result<u32, &'static str> {
    let Value::Number(number) = value else { return Err("a number from 1 to 65536") };
    u32::try_from(number).ok().filter(|number| (1..=MOST).contains(number)).ok_or("a number from 1 to 65536")
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
    if let Some((key, of, _)) = KEYS.iter().find(|(key, of, _)| !of.is_empty() && *of != kind && set(key)) {
        return Err(format!("`{key}` belongs to handlers of kind {of:?}, and this is one of kind {kind:?}"));
    }
    let kind = match kind.as_str() {
        "store" => {
            HandlerKind::Store(StoreSettings { file: draft.file, keep: draft.keep.unwrap_or_default() })
        }
        _ => HandlerKind::NoOp,
    };
    let window = draft.window.unwrap_or(WINDOW);
    let batch = draft.batch.map_or(BATCH, |batch| batch as usize);
    Ok(HandlerSettings { stream, window, batch, kind })
}

impl HandlerSettings {
    /// So that a file means the same wherever the node is started from.
    pub(super) fn beside(&mut self, folder: &Path) {
        match &mut self.kind {
            HandlerKind::Store(StoreSettings { file: Some(file), .. }) => *file = folder.join(&file),
            HandlerKind::Store(_) | HandlerKind::NoOp => {}
        }
    }
}
