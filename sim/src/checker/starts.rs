//! What a node said before its end and is held to after it (X21).

use std::collections::BTreeSet;

use wattle_core::id::{Generation, GroupId, StreamInstance};
use wattle_core::node::Status;

use super::{Checked, Failure, ensure};

/// What is known of one node.
#[derive(Clone, Debug, Default)]
struct Said {
    /// The streams it shows in its present start.
    shown: BTreeSet<StreamInstance>,
    /// The streams that it showed, and then did not any more, with everything on its disk.
    closed: BTreeSet<StreamInstance>,
    /// The start in which it was heard last, and its count.
    heard: Option<(u32, Generation)>,
}

/// What nodes said in their starts so far.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    nodes: Vec<Said>,
}

impl Starts {
    /// Nobody said anything yet.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self { nodes: vec![Said::default(); nodes] }
    }

    /// A node has started and shows what it knows before it hears of anything.
    ///
    /// # Errors
    /// X21.
    pub fn started(&mut self, node: usize, status: &Status) -> Checked {
        self.nodes[node].shown.clear();
        self.shows(node, status, false)
    }

    /// A node shows what it knows; `synced` if all that it wrote is on disk.
    ///
    /// # Errors
    /// X21.
    pub fn shows(&mut self, node: usize, status: &Status, synced: bool) -> Checked {
        let said = &mut self.nodes[node];
        if let Some(risen) = status.streams.iter().find(|stream| said.closed.contains(&stream.instance)) {
            let message = format!(
                "node {node} shows stream {:?} ({}) as open, which it had closed for good",
                risen.name, risen.instance
            );
            return Err(Failure::new("X21", message).decided_by(GroupId::CONTROL));
        }
        let now = status.streams.iter().map(|stream| stream.instance);
        if synced {
            let now: BTreeSet<StreamInstance> = now.collect();
            said.closed.extend(said.shown.difference(&now));
            said.shown = now;
        } else {
            said.shown.extend(now);
        }
        Ok(())
    }

    /// A node belongs to no mesh any more. If it joins again, it reads the log from its beginning.
    pub fn parts(&mut self, node: usize) {
        self.nodes[node].shown.clear();
        self.nodes[node].closed.clear();
    }

    /// Whether a node was heard in that start of it.
    #[must_use]
    pub fn was_heard(&self, node: usize, life: u32) -> bool {
        self.nodes[node].heard.is_some_and(|(heard, _)| heard == life)
    }

    /// A node is heard for the first time since it started: whoever heard an earlier start must take this one for a later one.
    ///
    /// # Errors
    /// X21.
    pub fn heard(&mut self, node: usize, life: u32, generation: Generation) -> Checked {
        let before = self.nodes[node].heard.replace((life, generation));
        if let Some((_, earlier)) = before {
            ensure!(
                generation > earlier,
                "X21",
                "node {node} is heard in its start {generation}, and was heard in start {earlier} before"
            );
        }
        Ok(())
    }

    /// A disk lost what it had reported safe: its node knows of none of its later starts, and what a group decided may be undone.
    pub fn a_disk_lost(&mut self, node: usize) {
        self.nodes[node].heard = None;
        for said in &mut self.nodes {
            said.shown.clear();
            said.closed.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn status(streams: &[u128]) -> Status {
        fixture::status(1, streams.iter().copied().map(fixture::stream).collect())
    }

    #[test]
    fn a_stream_that_was_closed_for_good_is_not_shown_after_a_start() {
        let mut starts = Starts::new(2);
        starts.shows(0, &status(&[7, 8]), true).unwrap();
        starts.shows(0, &status(&[8]), true).unwrap();
        starts.started(0, &status(&[8])).unwrap();
        assert_eq!(starts.started(0, &status(&[7, 8])).unwrap_err().checker, "X21");
        starts.started(1, &status(&[7])).unwrap();
        starts.a_disk_lost(1);
        starts.started(0, &status(&[7])).unwrap();
    }

    #[test]
    fn what_may_not_be_on_disk_or_is_not_known_again_yet_is_no_closing() {
        let mut starts = Starts::new(1);
        starts.shows(0, &status(&[7, 8]), true).unwrap();
        starts.shows(0, &status(&[8]), false).unwrap();
        starts.started(0, &status(&[])).unwrap();
        starts.shows(0, &status(&[]), true).unwrap();
        starts.shows(0, &status(&[7, 8]), true).unwrap();
    }

    #[test]
    fn two_starts_are_never_heard_under_one_count() {
        let mut starts = Starts::new(1);
        assert!(!starts.was_heard(0, 0));
        starts.heard(0, 0, Generation(3)).unwrap();
        assert!(starts.was_heard(0, 0) && !starts.was_heard(0, 2));
        starts.heard(0, 2, Generation(5)).unwrap();
        assert_eq!(starts.clone().heard(0, 3, Generation(5)).unwrap_err().checker, "X21");
        starts.a_disk_lost(0);
        starts.heard(0, 3, Generation(2)).unwrap();
    }
}
