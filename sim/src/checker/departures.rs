//! Nodes that were taken out of the mesh, or left it, and what the others say of them (X25).

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::id::NodeId;
use wattle_core::node::Status;

use super::{Checked, ensure};

/// Who went.
#[derive(Clone, Debug, Default)]
pub struct Departures {
    /// Of whom somebody was told that it is gone.
    gone: BTreeSet<usize>,
    /// Who may be a member again, because it was asked to join; through whom.
    back: BTreeMap<usize, usize>,
    /// Who knows that it was a member and is none.
    parted: BTreeSet<usize>,
    /// The highest epoch that each node showed.
    shown: BTreeMap<usize, u64>,
    /// Some node said that another went.
    said: bool,
}

impl Departures {
    /// Somebody was told that a node is no member any more.
    pub fn acknowledged(&mut self, node: usize) {
        self.gone.insert(node);
    }

    /// A node says that another went: it knows so before anybody is told, and before it shows its epoch.
    pub fn said(&mut self) {
        self.said = true;
    }

    /// It is asked to join again.
    pub fn comes_back(&mut self, node: usize, through: usize) {
        self.gone.remove(&node);
        self.back.insert(node, through);
    }

    /// It knows that it is no member any more. Through whom it is to join again, if it was asked to already.
    pub fn parted(&mut self, node: usize) -> Option<usize> {
        self.parted.insert(node);
        self.shown.remove(&node);
        self.back.get(&node).copied()
    }

    /// Whether a node ever knew that it is no member any more.
    #[must_use]
    pub fn has_parted(&self, node: usize) -> bool {
        self.parted.contains(&node)
    }

    /// Whether a node is gone for good.
    #[must_use]
    pub fn is_gone(&self, node: usize) -> bool {
        self.gone.contains(&node)
    }

    /// Whether anybody went, or is going.
    #[must_use]
    pub fn any(&self) -> bool {
        let raised = self.shown.values().any(|&epoch| epoch > 0);
        self.said || raised || !(self.gone.is_empty() && self.back.is_empty() && self.parted.is_empty())
    }

    /// How many are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.gone.len()
    }

    /// A node shows its status; `synced` if all that it wrote is on disk. `whose` knows the nodes of the plan.
    ///
    /// # Errors
    /// X25.
    pub fn seen(
        &mut self,
        node: usize,
        status: &Status,
        synced: bool,
        whose: impl Fn(NodeId) -> Option<usize>,
    ) -> Checked {
        let shown = self.shown.entry(node).or_default();
        if status.mesh.is_none() {
            // It begins anew.
            *shown = 0;
            return Ok(());
        }
        ensure!(
            status.epoch.number >= *shown,
            "X25",
            "node {node} was at mesh epoch {shown} and is at {}",
            status.epoch
        );
        if synced {
            *shown = status.epoch.number;
        }
        for former in &status.former {
            let gone = former.node;
            let linked = status.links.iter().any(|link| {
                (link.a, link.b) == (status.node, gone) && link.rtt.is_some()
                    || (link.a, link.b) == (gone, status.node) && link.rtt.is_some()
            });
            let back = whose(gone).is_some_and(|place| self.back.contains_key(&place));
            ensure!(
                back || !linked,
                "X25",
                "node {node} knows that {:?} is no member any more, and holds a link with it",
                former.name
            );
            let decides = status.control.as_ref().is_some_and(|control| control.voters.contains(&gone));
            ensure!(
                back || !decides,
                "X25",
                "node {node} knows that {:?} is no member any more, and lets it vote",
                former.name
            );
            ensure!(
                !status.members.iter().any(|member| member.node == gone),
                "X25",
                "node {node} names {:?} a member and a former one",
                former.name
            );
        }
        Ok(())
    }

    /// What the members that are left still owe, in words: one epoch for all, and each gone node told that `hears` one of them.
    #[must_use]
    pub fn owed(&self, statuses: &[(usize, &Status)], hears: impl Fn(usize) -> bool) -> Option<String> {
        // Who does not follow a recovery says so.
        let told = |status: &Status| status.parted.is_some() || status.recovery.rival.is_some();
        let untold =
            |(node, status): &&(usize, &Status)| self.is_gone(*node) && !told(status) && hears(*node);
        if let Some((node, _)) = statuses.iter().find(untold) {
            return Some(format!("node {node} is gone, and does not know it"));
        }
        let mut epochs = statuses.iter().filter(|(node, _)| !self.is_gone(*node));
        let (first, known) = epochs.next()?;
        let (other, status) = epochs.find(|(_, status)| status.epoch != known.epoch)?;
        Some(format!("node {first} is at mesh epoch {}, node {other} at {}", known.epoch, status.epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use wattle_core::epoch::Epoch;
    use wattle_core::id::MeshId;
    use wattle_core::node::status::{FormerStatus, LinkStatus};
    use wattle_core::time::Span;

    fn status(epoch: u64) -> Status {
        let former = FormerStatus { node: NodeId(9), name: "fir".into(), epoch, left: false };
        Status {
            mesh: Some(MeshId(1)),
            epoch: Epoch { number: epoch, ..Epoch::default() },
            former: vec![former],
            ..fixture::status(1, Vec::new())
        }
    }

    #[test]
    fn somebody_went_as_soon_as_a_node_says_so() {
        let mut departures = Departures::default();
        assert!(!departures.any());
        departures.said();
        assert!(departures.any());
    }

    #[test]
    fn who_is_gone_has_no_links_and_no_vote_where_that_is_known() {
        let mut departures = Departures::default();
        let whose = |_| Some(4);
        departures.seen(0, &status(2), true, whose).unwrap();
        let link = LinkStatus { a: NodeId(1), b: NodeId(9), cost: 1, rtt: Some(Span(1)) };
        let linked = Status { links: vec![link], ..status(2) };
        assert_eq!(departures.seen(0, &linked, true, whose).unwrap_err().checker, "X25");
        departures.comes_back(4, 0);
        departures.seen(0, &linked, true, whose).expect("it may be a member again");
        assert_eq!(departures.seen(0, &status(1), true, whose).unwrap_err().checker, "X25");
    }

    #[test]
    fn it_is_owed_that_everybody_is_told() {
        let mut departures = Departures::default();
        let (one, other) = (status(1), status(0));
        assert!(departures.owed(&[(0, &one), (1, &other)], |_| true).unwrap().contains("epoch"));
        departures.acknowledged(1);
        assert!(departures.owed(&[(0, &one), (1, &other)], |_| true).unwrap().contains("does not know"));
        let told = Status { parted: Some("it was evicted".into()), ..other };
        assert_eq!(departures.owed(&[(0, &one), (1, &told)], |_| true), None);
    }
}
