//! Snapshots: the owner's state in one bounded message, for a log that does not reach back far enough.

use alloc::boxed::Box;

use bytes::Bytes;

use super::Output;
use super::context::Context;
use super::entries::Entries;
use super::group::{Group, Role};
use super::message::{Body, Snapshot};
use super::replication::Reply;
use crate::configuration::{Configuration, Member};
use crate::id::{LogIndex, NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::when::When;

impl Group {
    /// The owner gives its state, for a member that needs it.
    pub(super) fn send_snapshot(
        &mut self,
        context: &mut Context<'_>,
        to: NodeId,
        index: LogIndex,
        data: Bytes,
    ) {
        let asker = self.copying_to.filter(|asker| asker.node == to);
        let Some(place) = self.log.place(index) else { return };
        let place = if context.planted.has(Bug::SnapshotOffByOne) {
            self.log.place(index.next()).unwrap_or(place)
        } else {
            place
        };
        let configuration = Configuration::clone(&self.log.configuration_at(index));
        let mut number = 0;
        if asker.is_some() {
            self.copying_to = None;
        } else {
            let Role::Leader(leading) = &mut self.role else { return };
            let Some(progress) = leading.progress.get_mut(&to).filter(|progress| progress.awaits_snapshot())
            else {
                return;
            };
            leading.next_number += 1;
            number = leading.next_number;
            progress.snapshot_sent(number);
        }
        let snapshot = Snapshot { place, configuration, data, number, copy: asker.is_some() };
        let body = Body::Snapshot(snapshot);
        match asker {
            Some(asker) => self.answer(context, asker, self.term, body, When::Durable),
            None => self.send(context, to, self.term, body, When::Durable),
        }
    }

    pub(super) fn handle_snapshot(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        snapshot: Snapshot,
    ) {
        if snapshot.copy {
            if !self.copies_from(from.node) {
                return;
            }
            self.be_patient_anew(context);
        } else if self.finds_others(
            context,
            from.node,
            term,
            (snapshot.place, &Entries::new()),
            snapshot.place.index,
        ) || !self.accepts_leader(context, from, term)
        {
            return;
        }
        let outdated = snapshot.place.index <= self.commit;
        if outdated && !context.planted.strikes(Bug::OutdatedSnapshotTaken, || !snapshot.copy) {
            sometimes!(SnapshotOutdated);
            // Out of date (etcd#1763): what is committed here goes further.
            if snapshot.copy {
                return self.copied_state(context, from.node, self.commit);
            }
            return self.snapshot_matched(context, from, snapshot.number);
        }
        let Snapshot { place, ref data, .. } = snapshot;
        let data = data.clone();
        self.installing = Some(Box::new(snapshot));
        self.last_append = Some((from, 0));
        context.out.push_back(Output::Install {
            group: self.id,
            from: from.node,
            index: place.index,
            term: place.term,
            data,
        });
    }

    /// The owner took the state, in this step, or did not.
    pub(super) fn installed(&mut self, context: &mut Context<'_>, taken: bool) {
        let Some(installing) = self.installing.take() else { return };
        let Snapshot { place, configuration, number, copy, .. } = *installing;
        let outdated = place.index <= self.commit;
        if !taken || outdated && !context.planted.strikes(Bug::OutdatedSnapshotTaken, || !copy) {
            rare!(StateNotTaken);
            return;
        }
        let known = self.log.configuration();
        let outdated = context.planted.strikes(Bug::SnapshotKeepsConfiguration, || *known != configuration);
        let configuration = if outdated { known.clone() } else { configuration };
        self.log.reset(place, configuration);
        let lower = context.planted.strikes(Bug::SnapshotSetsTerm, || place.term < self.term);
        if place.term > self.term || lower {
            (self.term, self.vote) = (place.term, None);
        }
        self.commit = self.commit.max(place.index);
        self.applied = self.applied.max(place.index);
        let from = self.last_append.map(|(from, _)| from);
        if let Some(leader) = from.filter(|_| !copy) {
            // Who sends a state vouches for it (rule C2). An append may never follow.
            self.vouched(context, leader, self.term, place, None);
        }
        self.write_reset(context);
        self.tell_configuration(context);
        let Some(from) = from else { return };
        sometimes!(StateTaken);
        if copy {
            self.copied_state(context, from.node, self.log.base().index);
        } else {
            self.snapshot_matched(context, from, number);
        }
    }

    fn snapshot_matched(&mut self, context: &mut Context<'_>, to: Member, number: u64) {
        let place = self.log.place(self.commit.min(self.log.durable())).unwrap_or(self.log.base());
        self.acknowledge(context, to, Reply::matched(number, place, 0));
    }
}
