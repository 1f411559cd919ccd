//! A node whose disk was copied, and which an operator keeps, comes back as one that forgot what it vouched for: the copy may have voted and
//! acknowledged under the same replica ids (rule C6).

use super::context::Context;
use super::group::Group;
use super::groups::Groups;
use super::message::{Mark, Place};
use super::roles::Standing;
use crate::time::Now;

impl Groups {
    /// Takes a fresh replica id in every group that has other members; where nothing can be decided without this node, what these hold is copied
    /// back first. Right after [`Groups::restored`], before anything else.
    pub fn rejoin(&mut self, now: Now) {
        for slot in self.slots() {
            self.act(now.monotonic, slot, Group::rejoin);
        }
    }
}

impl Group {
    fn rejoin(&mut self, context: &mut Context<'_>) {
        let goes_on = matches!(self.standing, Standing::Sound | Standing::Verifying { .. });
        if !goes_on || self.others(context.own).is_empty() {
            return;
        }
        let found = "a copy of its disk may have spoken under its name";
        let remedy = if self.is_needed(context) {
            let mark = Mark { replica: self.replica, term: self.term, vote: None, last: Place::default() };
            self.standing = Standing::copying(mark);
            self.be_patient(context);
            "it copies the log back"
        } else {
            self.take_fresh_id(context);
            "it waits to be admitted under a fresh replica id"
        };
        self.wait_amnesic(context, alloc::format!("{found}: {remedy}"));
    }
}
