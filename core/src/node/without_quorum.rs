//! What groups and the mesh tell each other of a lost quorum.

use alloc::string::String;
use alloc::vec::Vec;

use super::Node;
use super::wiring::{mesh_entry, stream_entry};
use crate::id::{AuthorityEpoch, GroupId, NodeId, RequestId, StreamInstance, Term};
use crate::recovery::{LogEnd, LogPlace, LogTrail, RecoverCommand};
use crate::sealing::StreamEnd;
use crate::{mesh, raft, rare};

impl Node {
    pub(super) fn recover_mesh(&mut self, request: RequestId, command: RecoverCommand) {
        let group = self.groups.status(GroupId::CONTROL);
        let (last, term) =
            group.as_ref().map(|group| (group.last.index, group.last.term)).unwrap_or_default();
        let unreached = self.unreached();
        let trouble = group.and_then(|group| group.stopped);
        let view = mesh::RecoverView { unreached, last, term, trouble };
        self.mesh.handle(self.now, mesh::Input::Recover { request, command, view });
    }

    /// The control group is fenced here.
    pub(super) fn log_ends(&mut self, era: u64, end: Result<raft::End, String>) {
        let end =
            end.map(|end| LogEnd { term: end.term, last: place(end.last), certain: place(end.certain) });
        let (held, whole) = self.not_applied();
        self.mesh.handle(self.now, mesh::Input::LogEnd { era, end, held, whole });
    }

    /// The replica of a stream is shut off from its group: what waits before the gate will not be appended.
    pub(super) fn fence_stream(
        &mut self,
        instance: StreamInstance,
        authority: AuthorityEpoch,
        lost: Vec<NodeId>,
    ) {
        let group = instance.into();
        // Whoever answered for an earlier seal may hear of its founder yet. Who votes by a log may be other than who voted when the seal began (M71).
        let fence = raft::Fence { eras: (1..=authority.0).collect(), lost, everybody: true };
        self.groups.handle(self.now, raft::Input::Fence { group, fence });
        self.gate.forget(group);
    }

    /// A stream's group is fenced here.
    pub(super) fn stream_ends(&mut self, group: GroupId, era: u64, end: Result<raft::End, String>) {
        let instance = group.into();
        let end = end.map(|end| {
            let certain = self.certain(group, end.certain);
            StreamEnd {
                term: end.term,
                last: place(end.last),
                certain: place(certain),
                terms: self.groups.trail(group, certain.index).terms,
                heard: self.streams.heard_of(instance),
            }
        });
        let authority = AuthorityEpoch(era);
        self.mesh.handle(self.now, mesh::Input::StreamEnd { instance, authority, end });
    }

    /// The last entry of a stream's log that is known here to be committed: by the log, or by what was processed of it.
    fn certain(&self, group: GroupId, certain: raft::Place) -> raft::Place {
        let (held, _) = self.groups.not_applied(group);
        let proven = self.streams.proven(group.into(), held.iter().map(stream_entry));
        let proven = proven.and_then(|index| self.groups.place(group, index));
        proven.filter(|proven| proven.index > certain.index).unwrap_or(certain)
    }

    /// The control group was founded anew here, or not.
    pub(super) fn founded(&mut self, era: u64, done: Result<Option<raft::Trail>, String>) {
        let trail = |raft::Trail { end, certain, terms }| LogTrail { end: place(end), certain, terms };
        let done = done.map(|begun| begun.map(trail));
        self.mesh.handle(self.now, mesh::Input::Founded { era, done });
    }

    /// Tells the mesh part how the log compares with one that others went on from.
    pub(super) fn compare(&mut self, trail: LogTrail) {
        if self.groups.is_read_back(GroupId::CONTROL) {
            // What it holds has to be looked through. Whoever is out of its mesh is shown that again, whenever it speaks to a member.
            rare!(ComparedLater);
            return;
        }
        let LogPlace { index, term, chain } = trail.end;
        let end = raft::Place { index, term, chain };
        let trail = raft::Trail { end, certain: trail.certain, terms: trail.terms };
        let shared = self.groups.shared(GroupId::CONTROL, &trail).unwrap_or_default();
        let (held, whole) = self.not_applied();
        self.mesh.handle(self.now, mesh::Input::Compared { shared, held, whole });
    }

    fn not_applied(&self) -> (Vec<mesh::Applied>, bool) {
        let (held, whole) = self.groups.not_applied(GroupId::CONTROL);
        (held.iter().map(mesh_entry).collect(), whole)
    }
}

pub(super) fn founding(era: u64, above: Term, holds: LogPlace, survivors: Vec<NodeId>) -> raft::Founding {
    let LogPlace { index, term, chain } = holds;
    raft::Founding { era, above, holds: raft::Place { index, term, chain }, ends: false, survivors }
}

fn place(place: raft::Place) -> LogPlace {
    LogPlace { index: place.index, term: place.term, chain: place.chain }
}
