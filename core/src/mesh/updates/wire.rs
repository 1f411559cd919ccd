//! The Protobuf forms of updates: in entries, in the state, between members and on disk.

use alloc::vec::Vec;

use bytes::{BufMut as _, Bytes, BytesMut};
use wattle_proto::mesh as proto;

use super::history::{History, Sent, UPDATE_BYTES_MAX, UPDATE_KEY_MAX};
use super::table::{Change, Cursors, Updates};
use crate::id::{NodeId, UpdateId, UpdateNumber};
use crate::mesh::state::MEMBERS_MAX;
use crate::mesh::wire::{self, Malformed, id_bytes};
use crate::time::Wall;
use crate::update::{Update, UpdateKind};

const fn kind_out(kind: UpdateKind) -> u32 {
    match kind {
        UpdateKind::Mesh => 1,
        UpdateKind::Database => 2,
    }
}

const fn kind_in(kind: u32) -> Result<UpdateKind, Malformed> {
    match kind {
        1 => Ok(UpdateKind::Mesh),
        2 => Ok(UpdateKind::Database),
        _ => Err(Malformed("kind of updates")),
    }
}

fn id_in(bytes: &[u8]) -> Result<UpdateId, Malformed> {
    UpdateId::from_slice(bytes).ok_or(Malformed("update id"))
}

fn payload_in(payload: Bytes) -> Result<Bytes, Malformed> {
    if payload.len() <= UPDATE_BYTES_MAX { Ok(payload) } else { Err(Malformed("an update is too long")) }
}

/// A change as an entry holds it.
pub(in crate::mesh) fn change_out(change: &Change) -> proto::body::Kind {
    use proto::body::Kind;
    match change {
        Change::Send { kind, sent } => Kind::SendUpdate(proto::SendUpdate {
            kind: kind_out(*kind),
            id: id_bytes(sent.id.to_bytes()),
            after: sent.after.0,
            key: sent.key.clone(),
            payload: sent.payload.clone(),
        }),
        Change::Processed { cursors } => Kind::Processed(proto::UpdateCursors {
            cursors: cursors.iter().map(|(node, cursors)| cursor_out(*node, cursors)).collect(),
        }),
        Change::PassOver { kind, allowed } => {
            Kind::PassOver(proto::PassOver { kind: kind_out(*kind), allowed: *allowed })
        }
    }
}

/// The change that an entry holds.
pub(in crate::mesh) fn change_in(kind: proto::body::Kind) -> Result<Change, Malformed> {
    use proto::body::Kind;
    match kind {
        Kind::SendUpdate(update) => send_in(update),
        Kind::Processed(processed) => processed_in(processed),
        Kind::PassOver(policy) => {
            kind_in(policy.kind).map(|kind| Change::PassOver { kind, allowed: policy.allowed })
        }
        _ => Err(Malformed("this is no change of updates")),
    }
}

fn send_in(update: proto::SendUpdate) -> Result<Change, Malformed> {
    let sent = Sent {
        id: id_in(&update.id)?,
        after: UpdateNumber(update.after),
        key: wire::text(update.key, UPDATE_KEY_MAX)?,
        payload: payload_in(update.payload)?,
    };
    Ok(Change::Send { kind: kind_in(update.kind)?, sent })
}

fn processed_in(processed: proto::UpdateCursors) -> Result<Change, Malformed> {
    if processed.cursors.len() > MEMBERS_MAX {
        return Err(Malformed("too many cursors"));
    }
    let cursors = processed.cursors.iter().map(cursor_in).collect::<Result<_, _>>()?;
    Ok(Change::Processed { cursors })
}

fn cursor_out(node: NodeId, cursors: &Cursors) -> proto::UpdateCursor {
    let [mesh, database] = *cursors;
    proto::UpdateCursor { node: id_bytes(node.to_bytes()), mesh: mesh.0, database: database.0 }
}

fn cursor_in(cursor: &proto::UpdateCursor) -> Result<(NodeId, Cursors), Malformed> {
    Ok((wire::node(&cursor.node)?, [UpdateNumber(cursor.mesh), UpdateNumber(cursor.database)]))
}

/// What a node says or stores of itself.
pub(in crate::mesh) const fn cursors_out(cursors: &Cursors) -> proto::OwnCursors {
    let [mesh, database] = *cursors;
    proto::OwnCursors { mesh: mesh.0, database: database.0 }
}

/// Reads it.
pub(in crate::mesh) const fn cursors_in(cursors: &proto::OwnCursors) -> Cursors {
    [UpdateNumber(cursors.mesh), UpdateNumber(cursors.database)]
}

/// Updates as part of the state; nothing while there were none, and no members.
pub(in crate::mesh) fn table_out(updates: &Updates) -> Option<proto::Updates> {
    if *updates == Updates::default() {
        return None;
    }
    let [mesh, database] = &updates.histories;
    Some(proto::Updates {
        mesh: Some(history_out(mesh)),
        database: Some(history_out(database)),
        cursors: updates.cursors.iter().map(|(node, cursors)| cursor_out(*node, cursors)).collect(),
    })
}

/// Reads them.
pub(in crate::mesh) fn table_in(updates: Option<proto::Updates>) -> Result<Updates, Malformed> {
    let Some(updates) = updates else { return Ok(Updates::default()) };
    if updates.cursors.len() > MEMBERS_MAX {
        return Err(Malformed("too many cursors"));
    }
    Ok(Updates {
        histories: [
            history_in(updates.mesh.unwrap_or_default())?,
            history_in(updates.database.unwrap_or_default())?,
        ],
        cursors: updates.cursors.iter().map(cursor_in).collect::<Result<_, _>>()?,
    })
}

fn history_out(history: &History) -> proto::UpdateHistory {
    let mut ids = BytesMut::with_capacity(history.ids.len() * 16);
    history.ids.iter().for_each(|id| ids.put_u128(id.0));
    proto::UpdateHistory {
        last: history.last.0,
        ids: ids.freeze(),
        kept: history.kept.iter().map(kept_out).collect(),
        pass_over: history.pass_over,
        passed: history.passed.0,
    }
}

fn history_in(stored: proto::UpdateHistory) -> Result<History, Malformed> {
    if !stored.ids.len().is_multiple_of(16) {
        return Err(Malformed("ids of updates"));
    }
    let history = History {
        last: UpdateNumber(stored.last),
        ids: stored.ids.chunks_exact(16).map(id_in).collect::<Result<_, _>>()?,
        kept: stored.kept.into_iter().map(kept_in).collect::<Result<Vec<_>, _>>()?.into(),
        pass_over: stored.pass_over,
        passed: UpdateNumber(stored.passed),
        ..History::default()
    };
    history.restored().ok_or(Malformed("a history of updates does not fit together"))
}

fn kept_out(update: &Update) -> proto::KeptUpdate {
    proto::KeptUpdate {
        id: id_bytes(update.id.to_bytes()),
        origin: id_bytes(update.origin.to_bytes()),
        key: update.key.clone(),
        payload: update.payload.clone(),
        time: update.time.0,
    }
}

/// The number follows from the place.
fn kept_in(kept: proto::KeptUpdate) -> Result<Update, Malformed> {
    Ok(Update {
        number: UpdateNumber(0),
        id: id_in(&kept.id)?,
        origin: wire::node(&kept.origin)?,
        key: wire::text(kept.key, UPDATE_KEY_MAX)?,
        payload: payload_in(kept.payload)?,
        time: Wall(kept.time),
    })
}
