//! What operators and applications are told of the mesh, where it happens.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::eviction::Eviction;
use super::handlers::RESERVED;
use super::state::{Effect, State, Stream};
use super::updates;
use super::{Mesh, Output};
use crate::agreed::ConfigChange;
use crate::event::{Departure, MeshEvent};
use crate::id::{LogIndex, NodeId, StreamInstance};
use crate::node::output::Event;
use crate::recovery::RecoveryStage;
use crate::update::UpdateKind;

/// Who was told to be a member, under which name.
pub(super) type Told = BTreeMap<NodeId, String>;

fn departure(eviction: &Eviction) -> Departure {
    Departure { evicted: !eviction.left, epoch: eviction.number, asked_at: eviction.origin }
}

impl Mesh {
    pub(super) fn tell(&mut self, event: MeshEvent) {
        self.outputs.push_back(Output::Event(Event::Mesh(event)));
    }

    /// Whom the last life knew as members is no news.
    pub(super) fn recall_told(&mut self) {
        let recalled = self.marks.all_recalled();
        let known = self.state.members.values().chain(recalled);
        self.told = known.map(|member| (member.node, member.name.clone())).collect();
    }

    /// Members came, changed or went.
    pub(super) fn tell_members(&mut self, changed: &[(NodeId, LogIndex)]) {
        let members = &self.state.members;
        let mut events = Vec::new();
        for (&node, name) in &self.told {
            // Of itself a node that came back may read how it once went.
            if node != self.own && !members.contains_key(&node) && self.marks.recalled(node).is_none() {
                let how = self.state.evicted.get(&node).map(|gone| departure(&gone.eviction));
                events.push(MeshEvent::NodeLeft { node, name: name.clone(), how });
            }
        }
        for member in members.values() {
            let (node, name) = (member.node, member.name.clone());
            if !self.told.contains_key(&node) {
                events.push(MeshEvent::NodeJoined { node, name });
            } else if changed.iter().any(|(of, _)| *of == node) {
                events.push(MeshEvent::NodeUpdated { node, name });
            }
        }
        self.recall_told();
        events.into_iter().for_each(|event| self.tell(event));
    }

    /// This very node is no member any more.
    pub(super) fn tell_departed(&mut self, eviction: &Eviction) {
        let (node, name, how) = (self.own, self.config.name.clone(), Some(departure(eviction)));
        self.tell(MeshEvent::NodeLeft { node, name, how });
    }

    /// A key of the agreed configuration was written.
    pub(super) fn tell_config(&mut self, change: &ConfigChange) {
        let ConfigChange { key, version, record } = change;
        let setting = record.as_ref().filter(|_| key.starts_with(RESERVED));
        let value = setting.map(|record| String::from_utf8_lossy(&record.value).into_owned());
        let (key, version, deleted) = (key.clone(), *version, record.is_none());
        self.tell(MeshEvent::ConfigChanged { key, value, version, deleted });
    }

    /// Something was decided by that entry. Members are told of elsewhere, for they come in several ways.
    pub(super) fn tell_effect(&mut self, index: LogIndex, effect: &Effect, change: Option<&updates::Change>) {
        let event = match (effect, change) {
            (Effect::Recovered { .. }, _) => return self.tell_recovered(),
            (Effect::Described(node), _) => {
                let name =
                    self.state.members.get(node).map_or_else(String::new, |member| member.name.clone());
                MeshEvent::NodeUpdated { node: *node, name }
            }
            (Effect::Updates(updates::Effect::Sent { kind, number, repeated: false, .. }), _) => {
                MeshEvent::UpdateCommitted { kind: *kind, number: *number }
            }
            (&Effect::KeyChanged { node, retired }, _) => {
                let Some(member) = self.state.members.get(&node) else { return };
                let (name, number) = (member.name.clone(), member.rotations.number);
                let Some(&key) = member.keys.last() else { return };
                MeshEvent::NodeKeyChanged { node, name, key, number, retired }
            }
            (
                Effect::Updates(updates::Effect::PolicySet),
                Some(updates::Change::PassOver { kind, allowed }),
            ) => {
                let key = alloc::format!("updates.{}.pass_over", kind.name());
                let value = Some(allowed.to_string());
                MeshEvent::ConfigChanged { key, value, version: index, deleted: false }
            }
            _ => return,
        };
        self.tell(event);
    }

    /// The mesh goes on without those with whom its quorum was lost.
    fn tell_recovered(&mut self) {
        let Some(recovered) = &self.state.recovered else { return };
        let (attempt, epoch, asked_at) = (recovered.attempt, recovered.number, recovered.asked_at);
        let lost = recovered.lost.iter().map(|(_, name)| name.clone()).collect();
        self.tell(MeshEvent::Recovery { stage: RecoveryStage::Recovered, attempt, epoch, asked_at, lost });
    }

    /// A state came whole, in the place of this one.
    pub(super) fn tell_state(&mut self, before: &State) {
        self.tell_members(&[]);
        if self.state.recovered != before.recovered {
            self.tell_recovered();
        }
        for change in self.state.config.news_since(&before.config, self.state.applied) {
            self.tell_config(&change);
        }
        let instances = |streams: &BTreeMap<String, Stream>| -> BTreeMap<StreamInstance, String> {
            streams.values().map(|stream| (stream.instance, stream.name.clone())).collect()
        };
        let (then, after) = (instances(&before.streams), instances(&self.state.streams));
        for (&instance, name) in then.iter().filter(|(instance, _)| !after.contains_key(instance)) {
            self.tell(MeshEvent::StreamClosed { name: name.clone(), instance });
        }
        for (&instance, name) in after.iter().filter(|(instance, _)| !then.contains_key(instance)) {
            self.tell(MeshEvent::StreamOpened { name: name.clone(), instance });
        }
        for kind in UpdateKind::ALL {
            let number = self.state.updates.history(kind).last();
            if number > before.updates.history(kind).last() {
                self.tell(MeshEvent::UpdateCommitted { kind, number });
            }
        }
    }

    /// The control group's leader is another.
    pub(super) fn tell_leader_changed(&mut self) {
        let (term, here) = (self.control.term, self.control.leading);
        let leader = if here { Some(self.own) } else { self.control.leader };
        self.tell(MeshEvent::LeaderChanged { leader, term, here });
    }
}
