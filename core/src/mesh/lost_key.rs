//! A node whose keys were all given up: it takes part in nothing and says what to do (M63).

use super::rotation;
use super::{Mesh, Output};
use crate::node::command::Refusal;
use crate::node::output::Event;
use crate::rare;
use crate::time::Now;

impl Mesh {
    /// The state may tell that all keys of this disk were given up.
    pub(super) fn look_for_lost_key(&mut self, now: Now) {
        let Some(member) = self.own_member() else { return };
        let good = self.keys.held.iter().any(|key| member.keys.contains(key));
        if !good && member.rotations.number > self.keys.number {
            let number = member.rotations.number;
            self.lose_key(now, number);
        }
    }

    fn lose_key(&mut self, now: Now, number: u64) {
        if self.keys.lost.is_some() {
            return;
        }
        rare!(KeyLost);
        let why = alloc::format!(
            "the key of node {} in this data directory was retired by rotation {number}, and no member accepts it: this is an older copy of identity.toml, or \
             somebody who had a copy of that key rotated it. In the first case put back the identity.toml of after that rotation and start again. If that is gone \
             for good, or nobody here rotated the key, so that it may be stolen, evict the node (`wattle mesh evict`) and join with an empty data directory",
            self.own
        );
        self.keys.lost = Some(why.clone());
        self.tell_offline();
        self.outputs.push_back(Output::Event(Event::KeyRetired { why: why.clone() }));
        let refusal = Refusal::KeyRetired(why);
        self.answer_rotation(&Err(refusal.clone()), true);
        self.end_waiting(now, &refusal);
    }

    /// A neighbour that turns this node away shows that the key it proved is retired.
    pub(super) fn on_key_retired(&mut self, bytes: &[u8]) {
        let (Ok(rotations), Some(&held)) = (rotation::decode(bytes), self.keys.held.first()) else { return };
        let busy = self.keys.shown_retired.is_some() || self.keys.lost.is_some();
        let Some(last) = rotations.into_iter().find(|r| r.old == held && r.retired.is_some()) else { return };
        // The log, as far as it is applied here, has the last word on the rotations that it tells of.
        let told = self
            .own_member()
            .is_some_and(|own| own.rotations.number >= last.number && own.keys.contains(&held));
        rare!(RetirementContradicted, told);
        if busy || told || self.membership.is_none() {
            return;
        }
        let (_, mut left) = rotation::lead(self.own, core::slice::from_ref(&last), &[held]);
        left.extend(last.retirement_job(self.own));
        let Some(job) = left.pop() else { return };
        let token = self.next_number();
        self.keys.shown_retired = Some((token, left, last));
        self.outputs.push_back(Output::Work { token, job });
    }

    /// A signature was checked; `false` if it belongs to no rotation of this node.
    pub(super) fn on_key_verified(&mut self, now: Now, token: u64, valid: bool) -> bool {
        let Some((_, mut left, last)) = self.keys.shown_retired.take_if(|(asked, ..)| *asked == token) else {
            return false;
        };
        if !valid {
            return true;
        }
        if let Some(job) = left.pop() {
            let token = self.next_number();
            self.keys.shown_retired = Some((token, left, last));
            self.outputs.push_back(Output::Work { token, job });
        } else if self.keys.held.get(1) == Some(&last.new) {
            // Its state forgot what it had asked for, or was taken back to before it.
            rare!(RetirementShown);
            self.keep_key(last.new, last.number);
        } else if self.keys.held.first() == Some(&last.old) {
            self.lose_key(now, last.number);
        }
        true
    }
}
