//! Entries and snapshots coming in, and what the rest of the node hears of them.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::entry::{Body, Entry};
use super::sealing::SettleEnd;
use super::state::{Effect, Member, Outcome, State};
use super::store::{Space, closed_record, opened_record, state_record};
use super::{Applied, Mesh, Output, Stream};
use crate::event::MeshEvent;
use crate::id::{LogIndex, NodeId, StreamInstance};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Now;
use crate::update::UpdateKind;

impl Mesh {
    pub(super) fn on_apply(&mut self, now: Now, entries: &[Applied]) {
        let (mut changed, whole_before) = (Vec::new(), self.caught_up());
        let epoch = self.state.epoch;
        for applied in entries {
            if applied.index <= self.state.applied {
                continue;
            }
            // An entry this version cannot read changes nothing, at any member of this version.
            let mut entry = if applied.command { Entry::decode(&applied.data).ok() } else { None };
            if let Some(entry) = &mut entry {
                self.misread_write(entry);
            }
            if let Some(Entry { body: Body::Open { name, .. }, request, .. }) = &entry
                && self.planted.strikes(Bug::OpenReplaces, || !self.state.decisions.contains_key(request))
                && let Some(stream) = self.state.streams.remove(name)
            {
                self.state.bytes -= stream.bytes();
            }
            self.grown_bytes += applied.data.len();
            let outcome = self.state.apply(applied.index, entry.as_ref());
            for kind in UpdateKind::ALL {
                if self
                    .planted
                    .strikes(Bug::UpdatesCutAtQuickest, || self.state.updates.kept_for_others(kind))
                {
                    self.state.updates.cut_at_quickest(kind);
                }
            }
            let (Some(entry), Some(outcome)) = (entry, outcome) else { continue };
            let member = self.on_outcome(now, applied.index, &entry, &outcome);
            changed.extend(member.map(|member| (member, applied.index)));
            self.on_decided(now, entry.origin, entry.request, outcome.result);
        }
        self.flow_changed();
        let news = self.drop_recalled(&changed);
        self.settle_recovery();
        if self.state.epoch != epoch {
            self.on_evicted(now);
            if self.membership.is_none() {
                return;
            }
        }
        if !changed.is_empty() || self.state.members.len() != self.told.len() {
            self.tell_members(&changed);
        }
        if !changed.is_empty() {
            self.members_changed(now, &changed, whole_before && !news);
        } else if news {
            self.announce_roster();
        }
        self.reads.note_applied(now);
        self.serve_watches();
        self.say_welcome();
        self.announce_own_change(now);
        self.write_recovery(now);
        self.consider_change(now);
        self.updates_changed(now);
        self.go_on_evicting(now);
        self.go_on_rotating(now);
        self.compact();
    }

    /// Members came or changed, each by the entry beside it: the rest of the node is told, and the next life is.
    fn members_changed(&mut self, now: Now, changed: &[(NodeId, LogIndex)], only_these: bool) {
        self.look_soon(now);
        let fell = self.on_members_changed();
        let nodes: Vec<NodeId> = changed.iter().map(|(node, _)| *node).collect();
        if only_these && !fell && self.caught_up() {
            self.announce_members(&nodes);
        } else {
            // What was told at the join may count no more: whom the log does not know goes.
            self.announce_roster();
        }
        if nodes.contains(&self.own) {
            // From now on this node acts as a member, and in its next life at once.
            self.store_state();
        } else {
            self.mark_members(changed);
        }
    }

    /// Tells the node what an entry did; the member that came or changed, if one did.
    fn on_outcome(&mut self, now: Now, index: LogIndex, entry: &Entry, outcome: &Outcome) -> Option<NodeId> {
        let Ok(effect) = &outcome.result else { return None };
        if !outcome.fresh {
            sometimes!(DecidedTwice);
            return None;
        }
        let change = if let Body::Updates(change) = &entry.body { Some(change) } else { None };
        self.tell_effect(index, effect, change);
        match (effect, entry.body.inner()) {
            (Effect::Founded, Body::Found { first, .. }) => {
                self.on_founded(now);
                Some(first.node)
            }
            (Effect::Admitted(node) | Effect::Updated(node), _) => Some(*node),
            (Effect::KeyChanged { node, .. }, _) => {
                // Former members may know it under either key, if it took them out.
                self.told_bounds = None;
                Some(*node)
            }
            (Effect::ConfigSet(_) | Effect::ConfigDeleted(_) | Effect::Configured(_), _) => {
                self.note_config(entry, effect);
                None
            }
            (Effect::Opened { created: true, .. }, Body::Open { name, .. }) => {
                self.note_opened(name);
                self.announce_stream(name);
                let instance = StreamInstance(entry.request.0);
                self.tell(MeshEvent::StreamOpened { name: name.clone(), instance });
                None
            }
            (
                Effect::Sealed { changed: true, .. },
                Body::SealStream { name, .. } | Body::SettleEnd(SettleEnd { name, .. }),
            ) => {
                self.seal_changed(now, name);
                None
            }
            (Effect::Sealed { changed: true, .. }, Body::ReportEnd(report)) => {
                self.seal_changed(now, &report.name);
                None
            }
            (Effect::Members { changed: true, .. }, Body::ChangeMembers(wish)) => {
                self.members_moved(&wish.stream);
                None
            }
            (Effect::Members { changed: true, .. }, Body::MembersChanged(done)) => {
                self.members_moved(&done.name);
                None
            }
            (Effect::Members { changed: true, .. }, Body::TargetIdle(report)) => {
                self.members_moved(&report.name);
                None
            }
            (Effect::Flow { scope, changed: true }, _) => {
                self.resumed_changed(scope);
                self.flow_changed();
                None
            }
            (Effect::Closed(Some(instance)), Body::Close { name }) => {
                // Until the stored state says so too, a start would take the stream for open.
                self.closed.insert(*instance, index);
                if !self.planted.has(Bug::ClosedMarkNotWritten) {
                    self.outputs.push_back(Output::Persist(closed_record(*instance, index)));
                }
                self.seal_over(*instance);
                self.flow_changed();
                self.outputs.push_back(Output::StreamClosed { instance: *instance, name: name.to_string() });
                self.tell(MeshEvent::StreamClosed { name: name.clone(), instance: *instance });
                None
            }
            _ => None,
        }
    }

    pub(super) fn on_install(&mut self, now: Now, index: LogIndex, data: &[u8]) {
        let state = State::decode(data).ok().filter(|s| {
            s.applied == index && s.mesh.is_some() && s.mesh == self.mesh_id() && index > self.state.applied
        });
        let Some(state) = state else {
            self.outputs.push_back(Output::Installed { taken: false });
            return;
        };
        sometimes!(MeshStateTaken);
        let state = State { planted: self.planted, ..state };
        let before = core::mem::replace(&mut self.state, state);
        // A start announces what was opened after the stored state, too, before it knows the entries in between. Of what was opened behind
        // the state that came, that state knows nothing: it stays open.
        rare!(OpenedBehindState, self.opened.values().any(|stream| stream.index > index));
        let marked = self.opened.values().filter(|stream| stream.index <= index);
        let mut announced: BTreeMap<StreamInstance, String> =
            marked.map(|stream| (stream.instance, stream.name.clone())).collect();
        announced.extend(before.streams.values().map(|stream| (stream.instance, stream.name.clone())));
        self.store_state();
        self.cut = self.stored;
        self.grown_bytes = 0;
        self.outputs.push_back(Output::Installed { taken: true });
        self.drop_founding();
        self.drop_recalled(&[]);
        self.told_bounds = None;
        self.settle_recovery();
        if self.state.epoch == before.epoch {
            self.on_members_changed();
            self.announce_roster();
        } else {
            self.on_evicted(now);
            if self.membership.is_none() {
                return;
            }
        }
        self.tell_state(&before);
        for (instance, name) in announced {
            let open = self.state.streams.get(&name).is_some_and(|stream| stream.instance == instance);
            if !open {
                sometimes!(StreamClosedByState);
                self.outputs.push_back(Output::StreamClosed { instance, name });
            }
        }
        self.flow_changed();
        self.announce_streams();
        self.seals_announced(now);
        self.reads.note_applied(now);
        self.watches.begin(index);
        self.serve_watches();
        self.say_welcome();
        self.announce_own_change(now);
        self.consider_change(now);
        self.updates_changed(now);
        self.go_on_rotating(now);
    }

    /// Writes the state and lets the log go up to it, once the log has grown enough.
    fn compact(&mut self) {
        let grown = self.state.applied.0 - self.cut.0;
        let large = self.grown_bytes >= self.config.compact_bytes;
        if (grown >= self.config.compact_after || large) && self.membership.is_some() {
            self.grown_bytes = 0;
            if self.planted.has(Bug::CutBeforeStateStored) {
                self.cut = self.state.applied;
                return self.outputs.push_back(Output::Compact { upto: self.cut });
            }
            self.store_state();
            self.cut = self.stored;
            self.outputs.push_back(Output::Compact { upto: self.cut });
        }
    }

    /// Writes the state. What was applied before a start need not be applied again after it.
    pub(super) fn store_state(&mut self) {
        if self.membership.is_none() || self.stored == self.state.applied {
            return;
        }
        self.outputs.push_back(Output::Persist(state_record(self.state.encode())));
        self.stored = self.state.applied;
        self.drop_marks();
        if self.caught_up()
            && let Some(membership) = self.membership.as_mut().filter(|m| !m.roster.is_empty())
        {
            // What was told at the join is part of the state now.
            membership.roster.clear();
            self.outputs.push_back(Output::Persist(membership.record()));
        }
    }

    /// Notes beside the stored state that a stream is open: a start announces it before the log is applied again.
    fn note_opened(&mut self, name: &str) {
        let Some(stream) = self.state.streams.get(name) else { return };
        if self.planted.has(Bug::OpenedMarkNotWritten) {
            return;
        }
        self.outputs.push_back(Output::Persist(opened_record(stream)));
        self.opened.insert(stream.instance, stream.clone());
    }

    /// Forgets marks of members and streams whose change is part of the stored state.
    pub(super) fn drop_marks(&mut self) {
        self.drop_member_marks();
        self.drop_flow_mark();
        let stored = self.stored;
        let known: Vec<StreamInstance> =
            self.opened.values().filter(|s| s.index <= stored).map(|s| s.instance).collect();
        for instance in known {
            self.opened.remove(&instance);
            self.outputs.push_back(Output::Forget(Space::Opened.forget(instance.0)));
        }
        let over: Vec<StreamInstance> =
            self.closed.iter().filter(|&(_, at)| *at <= stored).map(|(i, _)| *i).collect();
        for instance in over {
            self.closed.remove(&instance);
            self.outputs.push_back(Output::Forget(Space::Closed.forget(instance.0)));
        }
    }

    pub(super) fn announce_streams(&mut self) {
        let names: Vec<_> = self.state.streams.keys().cloned().collect();
        for name in names {
            self.announce_stream(&name);
        }
    }

    /// Announces the streams opened after the stored state.
    pub(super) fn announce_opened(&mut self) {
        let marked: Vec<_> =
            self.opened.values().filter(|s| !self.closed.contains_key(&s.instance)).cloned().collect();
        for stream in marked {
            self.stream_opened(&stream);
        }
    }

    /// Announces a stream, and what became of it. Whoever is out of it takes no part in it from the first.
    pub(super) fn announce_open(&mut self, stream: &Stream) {
        let out = stream.is_out(self.own);
        if out {
            self.announce_changes(stream);
        }
        self.stream_opened(stream);
        if !out {
            self.announce_changes(stream);
        }
        self.announce_seal(stream);
        self.announce_resumed(stream.instance, stream.resumed);
    }

    /// Announces an open stream, unless it is known to be closed by a later entry.
    fn announce_stream(&mut self, name: &str) {
        let Some(stream) = self.state.streams.get(name).cloned() else { return };
        if self.closed.contains_key(&stream.instance) {
            return;
        }
        self.announce_open(&stream);
    }

    fn stream_opened(&mut self, stream: &Stream) {
        let Stream { name, instance, ends, .. } = stream.clone();
        let anew = self.came_anew_since(stream);
        self.outputs.push_back(Output::StreamOpened { name, instance, ends, anew });
    }

    /// Whether this node was there with another replica when a stream was opened (M79): its present one was not admitted yet.
    fn came_anew_since(&self, stream: &Stream) -> bool {
        let Some(membership) = &self.membership else { return false };
        let admitted =
            |member: &Member| member.replica == membership.replica && member.taken_in < stream.index;
        let later = !self.state.members.get(&self.own).is_some_and(admitted);
        rare!(TakenInAnew, later);
        later && !self.planted.strikes(Bug::TakenInAnewFounds, || true)
    }
}
