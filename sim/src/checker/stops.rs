//! Members that an operator stopped (X27). From when somebody was told so until somebody asks to start it, a node takes no part: it says so of itself, at its next
//! starts too if that was ordered, nothing that travels passes it, and it leads no group that another could lead.

use std::collections::BTreeMap;

use wattle_core::mesh::Activity;
use wattle_core::node::Status;
use wattle_core::raft::{GroupPlace, RoleName};

use super::{Checked, ensure};
use crate::event::{SECOND, Time};

/// Who leads without a quorum resigns within an election's time, by a clock that may be slow, at a node that may be.
const RESIGNS_WITHIN: Time = 5 * SECOND;

#[derive(Clone, Copy, Debug)]
struct Stopped {
    since: Time,
    lasting: bool,
}

/// Who is stopped.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    stopped: BTreeMap<usize, Stopped>,
    /// Whose process is to end, and for how long.
    ending: Vec<(usize, Time)>,
}

impl Stops {
    /// Somebody was told that a node is stopped.
    pub fn stopped(&mut self, node: usize, now: Time, lasting: bool) {
        self.stopped.insert(node, Stopped { since: now, lasting });
    }

    /// Its process ends now, and starts again after so long.
    pub fn ends(&mut self, node: usize, away: Time) {
        self.ending.push((node, away));
    }

    /// Whose processes end now.
    pub fn take_ending(&mut self) -> Vec<(usize, Time)> {
        std::mem::take(&mut self.ending)
    }

    /// It is asked to start.
    pub fn starts(&mut self, node: usize) {
        self.stopped.remove(&node);
    }

    /// Its process ended.
    pub fn node_down(&mut self, node: usize) {
        if self.stopped.get(&node).is_some_and(|stopped| !stopped.lasting) {
            self.stopped.remove(&node);
        }
    }

    /// Its disk was taken back, or lost something: it may not know any more.
    pub fn may_forget(&mut self, node: usize) {
        self.stopped.remove(&node);
    }

    /// A node shows its status.
    ///
    /// # Errors
    /// X27.
    pub fn seen(&self, node: usize, status: &Status) -> Checked {
        let Some(stopped) = self.stopped.get(&node).filter(|_| status.mesh.is_some()) else { return Ok(()) };
        ensure!(
            status.activity == Activity::Stopped,
            "X27",
            "node {node} was stopped (lasting: {}), and is {:?}",
            stopped.lasting,
            status.activity
        );
        ensure!(
            status.links.iter().all(|link| link.a != status.node || link.rtt.is_none()),
            "X27",
            "node {node} is stopped, and has a link"
        );
        Ok(())
    }

    /// Where a replica of a node stands; `alone` if nobody else votes in its group.
    ///
    /// # Errors
    /// X27.
    pub fn stands(&self, node: usize, now: Time, place: &GroupPlace, alone: bool) -> Checked {
        let Some(stopped) = self.stopped.get(&node) else { return Ok(()) };
        let leads = place.role == RoleName::Leader && !alone;
        ensure!(
            !leads || now < stopped.since + RESIGNS_WITHIN,
            "X27",
            "node {node} is stopped, and leads group {}",
            place.group
        );
        Ok(())
    }

    /// A node puts something on a link that travels.
    ///
    /// # Errors
    /// X27.
    pub fn sends(&self, node: usize) -> Checked {
        ensure!(!self.stopped.contains_key(&node), "X27", "node {node} is stopped, and sends or relays");
        Ok(())
    }

    /// Whether anybody is stopped.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.stopped.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use wattle_core::id::MeshId;

    fn shows(activity: Activity) -> Status {
        Status { mesh: Some(MeshId(1)), activity, ..fixture::status(7, Vec::new()) }
    }

    #[test]
    fn who_was_stopped_says_so_until_it_is_started_and_at_its_next_starts_if_that_was_ordered() {
        let mut book = Stops::default();
        book.seen(0, &shows(Activity::Running)).unwrap();
        for lasting in [true, false] {
            book.stopped(0, 5, lasting);
            book.seen(0, &shows(Activity::Stopped)).unwrap();
            assert_eq!(book.seen(0, &shows(Activity::Running)).unwrap_err().checker, "X27");
            assert_eq!(book.sends(0).unwrap_err().checker, "X27");
            book.sends(1).unwrap();
            book.node_down(0);
            assert_eq!(book.seen(0, &shows(Activity::Running)).is_err(), lasting);
            book.starts(0);
            book.seen(0, &shows(Activity::Running)).unwrap();
        }
    }
}
