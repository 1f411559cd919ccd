//! Who is handed updates at this node (M22), and how far they have come (M23).

use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::table::Cursors;
use super::wire::{cursors_in, cursors_out};
use crate::id::{AttachToken, MeshId, RequestId, UpdateNumber};
use crate::mesh::wire::Malformed;
use crate::mesh::{Awaited, Mesh, Output, store};
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::time::Now;
use crate::update::{UpdateDelivery, UpdateItem, UpdateKind, UpdateReply};
use crate::{rare, sometimes};

/// A handler.
#[derive(Clone, Debug)]
struct Attached {
    request: RequestId,
    token: AttachToken,
    window: u64,
    /// Handed over up to here.
    handed: UpdateNumber,
    /// The end of the last gap: however long it is, it is told at once.
    gap: UpdateNumber,
}

/// One kind's handler at this node, and its cursor.
#[derive(Clone, Debug, Default)]
struct Handler {
    attached: Option<Attached>,
    /// One that came before this node knew where it begins, and its window.
    waiting: Option<(RequestId, u64)>,
    /// Processed, and written.
    written: UpdateNumber,
    /// The same, and on disk.
    durable: UpdateNumber,
}

/// Both kinds' handlers at this node.
#[derive(Clone, Debug, Default)]
pub(in crate::mesh) struct Handlers {
    /// The mesh whose updates the cursors count. They outlast a membership, for the node may be a member of the same mesh again.
    mesh: Option<MeshId>,
    kinds: [Handler; 2],
}

impl Handlers {
    /// Takes back the cursors that an earlier life stored, of a mesh.
    pub(in crate::mesh) fn restore(&mut self, mesh: MeshId, head: &[u8]) -> Result<(), Malformed> {
        *self = Self { mesh: Some(mesh), ..Self::default() };
        let stored = proto::OwnCursors::decode(head).map_err(|_| Malformed("update cursors"))?;
        for (handler, cursor) in self.kinds.iter_mut().zip(cursors_in(&stored)) {
            (handler.written, handler.durable) = (cursor, cursor);
        }
        Ok(())
    }

    /// This node is no member any more: nobody is handed anything. Gives whoever was, or waited to be.
    pub(in crate::mesh) fn end(&mut self) -> Vec<RequestId> {
        let ended = self.kinds.iter_mut().flat_map(|handler| {
            let waiting = handler.waiting.take().map(|(request, _)| request);
            waiting.into_iter().chain(handler.attached.take().map(|attached| attached.request))
        });
        ended.collect()
    }

    /// What is on disk: others may be told.
    pub(super) fn durable(&self) -> Cursors {
        [self.kinds[0].durable, self.kinds[1].durable]
    }

    fn written(&self) -> Cursors {
        [self.kinds[0].written, self.kinds[1].written]
    }

    /// Whose token it is.
    pub(in crate::mesh) fn of_token(&self, token: AttachToken) -> Option<UpdateKind> {
        let bears = |kind: &UpdateKind| {
            self.kinds[kind.index()].attached.as_ref().is_some_and(|attached| attached.token == token)
        };
        UpdateKind::ALL.into_iter().find(bears)
    }
}

impl Mesh {
    /// This node belongs to that mesh: cursors of another are void.
    pub(in crate::mesh) fn begin_cursors(&mut self, mesh: MeshId) {
        if self.handlers.mesh == Some(mesh) {
            return;
        }
        if let Some(other) = self.handlers.mesh {
            self.outputs.push_back(Output::Forget(store::Space::Cursors.forget(other.0)));
        }
        self.handlers = Handlers { mesh: Some(mesh), ..Handlers::default() };
    }

    pub(super) fn on_attach_updates(&mut self, request: RequestId, kind: UpdateKind, window: u32) {
        if self.membership.is_none() {
            return self.reply(request, Err(Refusal::NotMember));
        }
        let window = u64::from(window.max(1));
        if self.caught_up() {
            return self.attach_updates(request, kind, window);
        }
        // The log has not told of this node's own admission yet, and with it where its handlers begin. It may still tell of one that is over.
        sometimes!(UpdateHandlerWaits);
        let before = self.handlers.kinds[kind.index()].waiting.replace((request, window));
        if let Some((older, _)) = before {
            self.reply(older, Err(Refusal::Superseded));
        }
    }

    fn attach_updates(&mut self, request: RequestId, kind: UpdateKind, window: u64) {
        self.detach_updates(kind, |token| Reply::Fenced { token });
        let token = AttachToken(self.rng.u64());
        let after = self.update_cursor(kind);
        let attached = Attached { request, token, window, handed: after, gap: after };
        self.handlers.kinds[kind.index()].attached = Some(attached);
        self.reply(request, Ok(Reply::Update(UpdateReply::Attached { token, after })));
        self.feed(kind);
    }

    /// Ends an attachment and tells why.
    fn detach_updates(&mut self, kind: UpdateKind, why: impl FnOnce(AttachToken) -> Reply) {
        if let Some(old) = self.handlers.kinds[kind.index()].attached.take() {
            sometimes!(UpdateHandlerReplaced);
            self.reply(old.request, Ok(why(old.token)));
        }
    }

    pub(super) fn on_update_detach(&mut self, token: AttachToken) {
        if let Some(kind) = self.handlers.of_token(token) {
            self.handlers.kinds[kind.index()].attached = None;
        }
    }

    pub(super) fn on_update_verdict(&mut self, token: AttachToken, upto: UpdateNumber) {
        let Some(kind) = self.handlers.of_token(token) else { return };
        let handler = &self.handlers.kinds[kind.index()];
        let handed = handler.attached.as_ref().map_or(UpdateNumber(0), |attached| attached.handed);
        if upto > handed || upto <= handler.written {
            rare!(UpdateVerdictOutOfPlace);
            return;
        }
        self.move_cursor(kind, upto);
    }

    /// A handler is done up to `upto`: that goes to disk.
    fn move_cursor(&mut self, kind: UpdateKind, upto: UpdateNumber) {
        let handler = &mut self.handlers.kinds[kind.index()];
        assert!(upto >= handler.written, "M23: a cursor never goes back");
        handler.written = upto;
        let written = self.handlers.written();
        let Some(mesh) = self.handlers.mesh else { return };
        let head: Bytes = cursors_out(&written).encode_to_vec().into();
        self.outputs.push_back(Output::Persist(store::cursors_record(mesh, head)));
        self.when_durable(Awaited::Cursors(written));
    }

    pub(in crate::mesh) fn on_cursors_stored(&mut self, now: Now, stored: &Cursors) {
        for (handler, stored) in self.handlers.kinds.iter_mut().zip(stored) {
            // What was on its way to disk may be of a mesh that this node has left.
            handler.durable = handler.durable.max((*stored).min(handler.written));
        }
        self.owe_report(now);
        UpdateKind::ALL.into_iter().for_each(|kind| self.feed(kind));
    }

    /// Where this node's handler goes on: behind what it has processed, as far as this node or the mesh knows. A disk that was taken back
    /// knows less than the mesh was told.
    pub(in crate::mesh) fn update_cursor(&self, kind: UpdateKind) -> UpdateNumber {
        self.handlers.kinds[kind.index()].written.max(self.state.updates.cursor(self.own, kind))
    }

    /// Updates came, or word of what was processed.
    pub(in crate::mesh) fn updates_changed(&mut self, now: Now) {
        for kind in UpdateKind::ALL {
            let told = self.state.updates.cursor(self.own, kind);
            let attached = self.handlers.kinds[kind.index()].attached.as_ref();
            if attached.is_some_and(|attached| attached.handed < told) {
                // A former life of this node had come further, and this one's handler has not heard of it.
                rare!(UpdateHandlerOutrun);
                self.detach_updates(kind, |token| Reply::Outrun { token });
            }
            if self.caught_up()
                && let Some((request, window)) = self.handlers.kinds[kind.index()].waiting.take()
            {
                self.attach_updates(request, kind, window);
            }
            self.feed(kind);
        }
        self.owe_report(now);
    }

    /// Hands over what there is, as far as the window goes.
    fn feed(&mut self, kind: UpdateKind) {
        let told = self.state.updates.cursor(self.own, kind);
        let handler = &mut self.handlers.kinds[kind.index()];
        let settled = handler.durable.max(told);
        let Some(attached) = &mut handler.attached else { return };
        let history = self.state.updates.history(kind);
        let mut items = Vec::new();
        let start = attached.handed;
        while attached.handed < history.last() && attached.handed.0 < settled.0 + attached.window {
            let item = match history.get(attached.handed.next()) {
                Some(update) => UpdateItem::Update(update.clone()),
                None => {
                    rare!(UpdateGapTold);
                    attached.gap = history.floor();
                    UpdateItem::Gap { first: attached.handed.next(), last: history.floor() }
                }
            };
            attached.handed = item.last();
            items.push(item);
        }
        if items.is_empty() {
            return;
        }
        let (token, handed) = (attached.token, attached.handed);
        assert!(handed > start && handed <= history.last(), "M22: updates are handed over in order");
        self.outputs.push_back(Output::DeliverUpdates(UpdateDelivery { token, kind, items }));
        if self.planted.has(Bug::UpdateCursorBeforeHandler)
            && handed > self.handlers.kinds[kind.index()].written
        {
            self.move_cursor(kind, handed);
        }
    }

    /// What people are told of a kind's handler here.
    pub(in crate::mesh) fn update_handler(&self, kind: UpdateKind) -> Option<AttachToken> {
        self.handlers.kinds[kind.index()].attached.as_ref().map(|attached| attached.token)
    }

    /// Panics if an invariant does not hold.
    pub(in crate::mesh) fn check_handlers(&self) {
        for kind in UpdateKind::ALL {
            let handler = &self.handlers.kinds[kind.index()];
            assert!(handler.durable <= handler.written, "M23: what is on disk was written");
            let told = self.state.updates.cursor(self.own, kind);
            let member = self.caught_up();
            assert!(
                member || handler.attached.is_none(),
                "M22: a handler begins where its node's admission says"
            );
            if let Some(attached) = &handler.attached {
                assert!(attached.handed >= told, "M22: a handler does not stand below its cursor");
                let most = (handler.durable.max(told).0 + attached.window).max(attached.gap.0);
                assert!(attached.handed.0 <= most, "M22: a handler has no more than its window");
            }
        }
    }
}
