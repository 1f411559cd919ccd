//! Changes of a stream's members, as a node meets them (see `members`).
//!
//! The rest of the node is told of each as it is recorded. Whoever leads the stream's group says when one is done, again and again, until that is recorded, too.
//! Who was taken out writes the state that says so before its data goes: a start finds one or the other (M76).

use alloc::string::String;

use super::entry::Body;
use super::members::MembersChanged;
use super::requests::Purpose;
use super::wire::TEXT_MAX;
use super::{Mesh, Output, Stream};
use crate::flow::Tenant;
use crate::id::{AuthorityEpoch, LogIndex, RequestId, Sequence, StreamInstance};
use crate::members::{ChangeKind, MembersRefusal, MembersWish, REASON_MAX, StreamMembers};
use crate::node::command::{Refusal, Reply};
use crate::rare;
use crate::time::Now;

/// For how many streams it is being told at one time that a change is done.
pub(super) const CHANGES_AT_ONCE: usize = 16;

impl Mesh {
    pub(super) fn on_change_members(
        &mut self,
        now: Now,
        request: RequestId,
        tenant: Option<Tenant>,
        wish: MembersWish,
    ) {
        if [&wish.stream, &wish.target].iter().any(|text| text.len() > TEXT_MAX) {
            let what = "a stream's name, or a node's name or id, is too long";
            return self.reply(request, Err(Refusal::Invalid(what.into())));
        }
        let comes = matches!(wish.kind, ChangeKind::Add(_));
        if wish.reason.is_empty() && !comes || wish.reason.len() > REASON_MAX {
            return self.reply(request, Err(MembersRefusal::NoReason.into()));
        }
        let body = Body::ChangeMembers(alloc::boxed::Box::new(wish));
        self.on_client_request(now, request, body.within(tenant));
    }

    /// What a client that asked for a change is told.
    pub(super) fn members_reply(&self, instance: StreamInstance) -> Result<Reply, Refusal> {
        let stream = self.state.stream_of(instance);
        let members = stream.map(Stream::members).ok_or(Refusal::StreamClosed)?;
        Ok(Reply::StreamMembers { instance, members })
    }

    /// A change was recorded, or its outcome was.
    pub(super) fn members_moved(&mut self, name: &str) {
        rare!(StreamMembersMoved);
        let Some(stream) = self.state.streams.get(name).cloned() else { return };
        if stream.is_out(self.own) {
            self.store_state();
        }
        self.announce_changes(&stream);
    }

    /// Tells the rest of the node how a stream's members changed, or are to.
    pub(super) fn announce_changes(&mut self, stream: &Stream) {
        if let Some(members) = stream.members.as_deref() {
            let (instance, members) = (stream.instance, members.clone());
            self.outputs.push_back(Output::StreamMembers { instance, members });
        }
    }

    /// This node leads the group of a stream, and a change of its members is done there.
    pub(super) fn on_members_done(
        &mut self,
        now: Now,
        instance: StreamInstance,
        authority: AuthorityEpoch,
        (number, first): (LogIndex, Option<Sequence>),
    ) {
        let under_way = self.requests.count(|purpose| matches!(purpose, Purpose::Members(_)));
        let purpose = Purpose::Members(instance);
        if self.membership.is_none() || under_way >= CHANGES_AT_ONCE || self.requests.has(&purpose) {
            return;
        }
        let Some(stream) = self.state.stream_of(instance) else { return };
        if stream.members().change.is_some_and(|change| change.number == number) {
            let done =
                MembersChanged { name: String::from(&*stream.name), instance, authority, number, first };
            let deadline = Some(now.monotonic + self.config.request_timeout);
            self.submit(now, purpose, Body::MembersChanged(done), deadline);
        }
    }

    /// Whether a node, by name or id, is an end of the stream of that name, was, or is about to be.
    #[must_use]
    pub fn is_end(&self, stream: &str, node: &str) -> bool {
        let node = self.state.resolve_former(node);
        self.stream(stream).zip(node).is_some_and(|(stream, node)| stream.concerns(node))
    }

    /// How the members of the stream of that name differ from those it was opened with.
    #[must_use]
    pub fn stream_members(&self, name: &str) -> StreamMembers {
        self.stream(name).map(Stream::members).unwrap_or_default()
    }
}
