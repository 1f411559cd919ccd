//! How cursors come back: each member tells the leader now and then what its handlers have processed, and the leader writes what it heard of
//! many into one entry. Nothing is said while nothing moves.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::table::{Change, Cursors};
use crate::id::NodeId;
use crate::mesh::entry::Body;
use crate::mesh::requests::Purpose;
use crate::mesh::wire::Message;
use crate::mesh::{Mesh, Output};
use crate::sometimes;
use crate::time::{Instant, Now};
use crate::update::UpdateKind;
use crate::when::When;

/// What is to be told, and what was heard.
#[derive(Clone, Debug, Default)]
pub(in crate::mesh) struct Reports {
    /// When this node tells the leader again.
    tell: Option<Instant>,
    /// What members told this node, as leader, and no entry says yet.
    heard: BTreeMap<NodeId, Cursors>,
    /// When that goes into an entry.
    gather: Option<Instant>,
}

impl Reports {
    pub(in crate::mesh) fn next_deadline(&self) -> Option<Instant> {
        [self.tell, self.gather].into_iter().flatten().min()
    }

    /// The leader changed: members tell the new one.
    pub(in crate::mesh) fn forget_heard(&mut self) {
        self.heard.clear();
        self.gather = None;
    }

    /// Members went: what they told counts for nobody.
    pub(in crate::mesh) fn retain(&mut self, is_member: impl Fn(&NodeId) -> bool) {
        self.heard.retain(|node, _| is_member(node));
    }

    pub(in crate::mesh) fn heard(&self) -> usize {
        self.heard.len()
    }
}

impl Mesh {
    /// Whether the mesh does not know yet what this node's handlers have processed.
    fn is_ahead(&self, node: NodeId, cursors: &Cursors) -> bool {
        let known = &self.state.updates;
        UpdateKind::ALL.into_iter().any(|kind| {
            let told = known.cursor(node, kind);
            cursors[kind.index()] > told && known.history(kind).last() > told
        })
    }

    /// Sees to it that the leader hears of it before long.
    pub(super) fn owe_report(&mut self, now: Now) {
        if self.reports.tell.is_none() && self.is_ahead(self.own, &self.handlers.durable()) {
            self.reports.tell = Some(now.monotonic + self.config.update_report);
        }
    }

    pub(in crate::mesh) fn on_report_deadline(&mut self, now: Now) {
        if self.reports.tell.is_some_and(|at| at <= now.monotonic) {
            self.reports.tell = None;
            self.tell_leader(now);
        }
        if self.reports.gather.is_some_and(|at| at <= now.monotonic) {
            self.reports.gather = None;
            self.gather(now);
        }
    }

    fn tell_leader(&mut self, now: Now) {
        let cursors = self.handlers.durable();
        if !self.is_ahead(self.own, &cursors) {
            return;
        }
        // Until an entry says so.
        self.reports.tell = Some(now.monotonic + self.config.update_report_again);
        if self.control.leading {
            self.on_processed(now, self.own, cursors);
        } else if let Some(to) = self.control.to_ask(self.own) {
            let message = Message::Processed { cursors };
            self.outputs.push_back(Output::Send { to, message, when: When::Now });
        }
    }

    /// A member tells what its handlers have processed.
    pub(in crate::mesh) fn on_processed(&mut self, now: Now, from: NodeId, cursors: Cursors) {
        let member = self.state.members.contains_key(&from);
        if !self.control.leading || !member || !self.is_ahead(from, &cursors) {
            return;
        }
        let heard = self.reports.heard.entry(from).or_insert(cursors);
        for (known, told) in heard.iter_mut().zip(cursors) {
            *known = told.max(*known);
        }
        let gather = now.monotonic + self.config.update_report;
        self.reports.gather.get_or_insert(gather);
    }

    /// Writes what was heard into one entry.
    fn gather(&mut self, now: Now) {
        if !self.control.leading {
            return self.reports.forget_heard();
        }
        if self.requests.has(&Purpose::Cursors) {
            self.reports.gather = Some(now.monotonic + self.config.update_report);
            return;
        }
        let heard = core::mem::take(&mut self.reports.heard);
        let cursors: Vec<_> =
            heard.into_iter().filter(|(node, cursors)| self.is_ahead(*node, cursors)).collect();
        if cursors.is_empty() {
            return;
        }
        sometimes!(CursorsGathered, cursors.len() > 1);
        // Whoever is not heard of in time tells again.
        let deadline = Some(now.monotonic + self.config.request_timeout);
        self.submit(now, Purpose::Cursors, Body::Updates(Change::Processed { cursors }), deadline);
    }
}
