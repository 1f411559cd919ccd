//! Members that came or changed after the stored state, noted beside it (M14).
//!
//! A node must know its peers from the first moment of its next life: it could not hear of them from peers it turns away. Writing the whole
//! state whenever a member comes would cost every node as much as there are members, each time. So the member alone is written, and the state
//! when the log is cut. The next start knows the marked members; what else it missed since the stored state, the log tells again.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::state::Member;
use super::store::{Space, member_record};
use super::{Mesh, Output};
use crate::id::{LogIndex, NodeId};
use crate::planted::Bug;

/// What is on disk beside the stored state.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// By which entry each marked member came or changed.
    written: BTreeMap<NodeId, LogIndex>,
    /// The marked members of the last life, until their entries are applied in this one.
    recalled: BTreeMap<NodeId, Member>,
}

impl Marks {
    /// A mark found at recovery.
    pub(super) fn recall(&mut self, index: LogIndex, member: Member) {
        self.written.insert(member.node, index);
        self.recalled.insert(member.node, member);
    }

    /// Whom marks on disk are about.
    pub(super) fn written(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.written.keys().copied()
    }

    /// What the last life knew of `node`, while this one has not come so far.
    pub(super) fn recalled(&self, node: NodeId) -> Option<&Member> {
        self.recalled.get(&node)
    }

    /// The same, of all nodes.
    pub(super) fn all_recalled(&self) -> impl Iterator<Item = &Member> + '_ {
        self.recalled.values()
    }
}

impl Mesh {
    /// Notes members that entries just changed.
    pub(super) fn mark_members(&mut self, changed: &[(NodeId, LogIndex)]) {
        for &(node, index) in changed.iter().filter(|(_, index)| *index > self.stored) {
            let Some(member) = self.state.members.get(&node) else { continue };
            // After a start the log tells again what the mark says already, and before that, of who changed twice, what it said once.
            if self.marks.written.get(&node).is_some_and(|marked| *marked >= index) {
                continue;
            }
            self.marks.written.insert(node, index);
            if !self.planted.has(Bug::MemberMarkNotWritten) {
                self.outputs.push_back(Output::Persist(member_record(index, member)));
            }
        }
    }

    /// What was recalled and is applied now, or was part of a state that came whole, is known from the state. Whether any of it is news to
    /// those who were told of it: it is not among `changed`.
    pub(super) fn drop_recalled(&mut self, changed: &[(NodeId, LogIndex)]) -> bool {
        let (applied, written) = (self.state.applied, &self.marks.written);
        let mut news = false;
        self.marks.recalled.retain(|node, _| {
            let stays = written.get(node).is_some_and(|index| *index > applied);
            news |= !stays && !changed.iter().any(|(known, _)| known == node);
            stays
        });
        news
    }

    /// Forgets the marks that the stored state covers.
    pub(super) fn drop_member_marks(&mut self) {
        let stored = self.stored;
        let covered = self.marks.written.iter().filter(|(_, index)| **index <= stored);
        let over: Vec<NodeId> = covered.map(|(node, _)| *node).collect();
        for node in over {
            self.marks.written.remove(&node);
            self.marks.recalled.remove(&node);
            self.outputs.push_back(Output::Forget(Space::Member.forget(node.0)));
        }
    }

    /// Panics if a member would not be known at the next start.
    pub(super) fn check_marks(&self) {
        for member in self.state.members.values().filter(|member| member.index > self.stored) {
            let mark = self.marks.written.get(&member.node);
            assert!(mark >= Some(&member.index), "M14: {} is neither stored nor marked", member.node);
        }
        let (stored, applied) = (self.stored, self.state.applied);
        assert!(
            self.marks.written.values().all(|index| *index > stored),
            "M14: a mark is older than the state"
        );
        let fresh = |node| self.marks.written.get(node).is_some_and(|index| *index > applied);
        assert!(self.marks.recalled.keys().all(fresh), "M14: a member is recalled that the state tells of");
    }
}
