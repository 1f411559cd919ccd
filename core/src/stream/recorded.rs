//! A log that a seal goes on from may lack what the control group recorded of the members (rule D2; decision 21).
//!
//! The outcome of a change is recorded once those who are members by then decide without the others. Who decided may be lost afterwards, all of them, and a target that held the entry, too,
//! for it was the one that is out. Then the furthest log of those who are left ends in front of it. What is recorded stays: who is out has let go of everything, and who came is owed what it was
//! told. So whoever goes on has its log say so again, before it completes or lets go of anything (S38).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Output;
use super::changing::CHANGE;
use super::common::Common;
use super::entry::Entry;
use super::member::Stream;
use super::wire::encode_entry;
use crate::id::{NodeId, Sequence};
use crate::members::StreamMembers;
use crate::planted::Bug;
use crate::rare;

/// The changes of a stream's members that are done, as the control group recorded them.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded {
    /// Who was added and is in, and the first message that it owes.
    added: Vec<(NodeId, Sequence)>,
    /// Who was taken out.
    out: Vec<NodeId>,
    /// An entry that says more of that is proposed, under the present leader.
    proposed: bool,
}

impl Stream {
    /// The control group told what it recorded.
    pub(super) fn recorded(&mut self, members: &StreamMembers) {
        let out: Vec<NodeId> = members.out.iter().map(|out| out.node).collect();
        let added = members.added.iter().filter(|added| !out.contains(&added.node));
        let added: Vec<(NodeId, Sequence)> =
            added.filter_map(|added| Some((added.node, added.first?))).collect();
        let proposed = self.recorded.as_ref().is_some_and(|recorded| recorded.proposed);
        let any = !out.is_empty() || !added.is_empty();
        self.recorded = any.then(|| Box::new(Recorded { added, out, proposed }));
    }

    /// Tells the group who its members are by what is recorded. Whoever is on its way out may be gone from the group before that is recorded, and who was named lost says
    /// nothing any more: where the log does not name them nobody waits for them.
    pub(super) fn tell_known(&self, common: &mut Common) {
        let Some(Recorded { added, out, .. }) = self.recorded.as_deref() else { return };
        let gone = |node: NodeId| {
            out.contains(&node) || self.is_lost(node) || self.leaving().is_some_and(|leaving| leaving == node)
        };
        let members = self.opened.members().chain(added.iter().map(|(node, _)| *node));
        let members = members.filter(|node| !gone(*node)).collect();
        common.emit(Output::Known { instance: self.instance, members, out: out.clone() });
    }

    /// The next entry that is missing in a log that a seal goes on from; asked where it is known how that ends.
    pub(super) fn unsaid(&self) -> Option<Entry> {
        // Without a seal nothing is recorded that the log does not say.
        self.seal.as_ref()?;
        let recorded = self.recorded.as_ref()?;
        let mut added = recorded.added.iter();
        if let Some(&(node, first)) = added.find(|(node, _)| !self.is_member(*node) && !self.is_lost(*node)) {
            let (place, behind) = (self.ends.targets.len(), Some(first.before()));
            return Some(Entry::Join { place, node, behind, declined: false });
        }
        let mut out = recorded.out.iter().filter_map(|&node| self.ends.place(node));
        let place = out.find(|&place| !self.head.is_out(place))?;
        Some(Entry::Detach { place })
    }

    /// Whether the log lacks something that is recorded. Has it say the first of that.
    pub(super) fn says_recorded(&mut self, common: &mut Common) -> bool {
        let Some(entry) = self.unsaid() else { return false };
        if common.planted.strikes(Bug::RecordedNotSaid, || true) {
            return false;
        }
        if let Some(recorded) = &mut self.recorded
            && !core::mem::replace(&mut recorded.proposed, true)
        {
            rare!(RecordedSaidAgain);
            let (instance, data) = (self.instance, encode_entry(&entry));
            common.emit(Output::Propose { instance, data, weight: 0, unhurried: false, context: CHANGE });
        }
        true
    }

    /// What was proposed of it is applied, or may have come to nothing.
    pub(super) fn recorded_again(&mut self) {
        if let Some(recorded) = &mut self.recorded {
            recorded.proposed = false;
        }
    }

    /// Whether the log is still to say something of it.
    pub(super) fn owes_recorded(&self) -> bool {
        self.decides_members() && self.unsaid().is_some()
    }

    pub(super) fn check_recorded(&self) {
        let says = self.owes_recorded() && self.knows_end();
        let proposed = || self.recorded.as_ref().is_some_and(|recorded| recorded.proposed);
        assert!(
            !says || proposed() || self.restate_at.is_some(),
            "S38: the log of {} lacks what is recorded of its members, and nobody is to say so",
            self.instance
        );
    }
}
