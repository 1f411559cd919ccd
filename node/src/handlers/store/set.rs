//! Where a store stands is set by an operator, while nobody has it open.

use std::path::Path;

use redb::ReadableTable as _;
use wattle_core::id::{AuthorityEpoch, Sequence};
use wattle_core::node::command::Position;

use super::{CACHE_BYTES, MESSAGES, POSITION, VALUES, position_in, read_position, write_position};
use redb::{ReadableDatabase as _, TableHandle as _};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Where it stood.
    pub before: Position,
    /// Where it stands.
    pub now: Position,
    /// Messages behind that, which were taken out.
    pub removed: u64,
    /// It keeps values: what messages behind that put into it stays.
    pub values: bool,
}

/// Sets the position of the store in this file, under the authority it has unless another is given. Messages behind it are taken out.
///
/// # Errors
/// A sentence that says what to do.
pub fn set_position(path: &Path, after: Sequence, authority: Option<AuthorityEpoch>) -> Result<Set, String> {
    let shown = path.display();
    let nothing =
        || format!("{shown} has stored nothing yet: `begin` in its [[handler]] says where it begins");
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => return Err(nothing()),
        Ok(found) if found.is_file() => {}
        _ => return Err(format!("there is no file {shown}")),
    }
    let database =
        redb::Builder::new().set_cache_size(CACHE_BYTES).open(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                format!("{shown} is in use: stop the node that keeps it first")
            }
            error => format!("cannot open {shown}: {error}"),
        })?;
    let set = set(&database, after, authority).map_err(|error| format!("{shown}: {error}"))?;
    set.ok_or_else(nothing)
}

fn set(
    database: &redb::Database,
    after: Sequence,
    authority: Option<AuthorityEpoch>,
) -> Result<Option<Set>, redb::Error> {
    let reading = database.begin_read()?;
    let Some(before) = position_in(&reading)? else { return Ok(None) };
    let has = |name: &str| -> Result<bool, redb::Error> {
        Ok(reading.list_tables()?.any(|table| table.name() == name))
    };
    let (messages, values) = (has(MESSAGES.name())?, has(VALUES.name())?);
    drop(reading);
    let now = Position { authority: authority.unwrap_or(before.authority), sequence: after, ..before };
    let mut writing = database.begin_write()?;
    writing.set_quick_repair(true);
    let mut removed = 0;
    {
        let mut table = writing.open_table(POSITION)?;
        debug_assert_eq!(table.get(0)?.and_then(|stored| read_position(stored.value())), Some(before));
        table.insert(0, write_position(now).as_slice())?;
        if messages {
            let count = |_, _: &[u8]| {
                removed += 1;
                false
            };
            writing.open_table(MESSAGES)?.retain_in(after.0.saturating_add(1).., count)?;
        }
    }
    writing.commit()?;
    Ok(Some(Set { before, now, removed, values }))
}
