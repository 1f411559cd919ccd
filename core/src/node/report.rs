//! Gathers what the parts know into one picture for people.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::Node;
use super::command::Refusal;
use super::status::{FormerStatus, GroupStatus, LinkStatus, MemberStatus, Served, Status, StreamStatus};
use crate::configuration::{Configuration, Member};
use crate::digest::Digest;
use crate::id::{BootId, Generation, GroupId, LogIndex, NodeId, StreamInstance};
use crate::mesh::Activity;
use crate::raft::{GroupPlace, Place};
use crate::route::KnownLink;
use crate::time::{Instant, Now};

impl Node {
    /// What the node knows of itself and the mesh. `None` until it has recovered.
    #[must_use]
    pub fn status(&self, now: Now) -> Option<Status> {
        if self.phase == super::Phase::Recovering {
            return None;
        }
        let (journal_bytes, journal_live_bytes) = self.journal.size();
        let control = self.control_status();
        Some(Status {
            node: self.config.identity.node,
            name: self.config.identity.name.clone(),
            boot: self.boot,
            generation: self.journal.generation(),
            mesh: self.mesh.mesh_id(),
            mesh_name: self.mesh.mesh_name().to_string(),
            settings: self.mesh.settings().clone(),
            epoch: self.mesh.epoch(),
            standing: self.mesh.standing(),
            activity: self.mesh.activity(),
            duplicate: self.mesh.double(),
            key_retired: self.mesh.key_lost().map(Into::into),
            parted: self.mesh.parted().map(crate::mesh::Parted::words),
            recovery: self.mesh.recovery_status(),
            former: self.mesh.evicted().map(former_status).collect(),
            members: self.member_status(now, control.as_ref()),
            links: self.link_status(),
            control,
            updates: self.mesh.update_status(),
            streams: self.stream_status(now),
            refusing: self.refusing(now),
            journal_bytes,
            journal_live_bytes,
            logs: self.groups.memory(),
        })
    }

    /// What a handler that is to attach to a stream here must know of it; `None` if this node is no target of it.
    ///
    /// # Errors
    /// There is no stream of that name, or this node belongs to no mesh.
    pub fn served(&self, stream: &str) -> Result<Option<Served>, Refusal> {
        if self.mesh.mesh_id().is_none() {
            return Err(Refusal::NotMember);
        }
        self.streams.served(stream)
    }

    /// Where each replica of this node stands in its group.
    pub fn group_places(&self) -> impl Iterator<Item = GroupPlace> + '_ {
        self.groups.places()
    }

    /// Moves whenever anything that [`Node::group_places`] tells may have moved.
    #[must_use]
    pub fn groups_version(&self) -> u64 {
        self.groups.changes()
    }

    /// How many members this node knows.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.mesh.member_count()
    }

    /// How far the control group's state goes here, and its digest: equal at all members that applied the same entries.
    #[must_use]
    pub fn control_state(&self) -> (LogIndex, Digest) {
        (self.mesh.applied_index(), self.mesh.digest())
    }

    /// The streams that the control group's state has here, each with the entry that opened it.
    pub fn openings(&self) -> impl Iterator<Item = (StreamInstance, LogIndex)> + '_ {
        self.mesh.streams().map(|stream| (stream.instance, stream.index))
    }

    /// What the log of a group holds at `index`, if it still holds it.
    #[must_use]
    pub fn group_place_at(&self, group: GroupId, index: LogIndex) -> Option<Place> {
        self.groups.place(group, index)
    }

    /// The configuration of a group that is in force here.
    #[must_use]
    pub fn group_configuration(&self, group: GroupId) -> Option<&Configuration> {
        self.groups.configuration(group)
    }

    /// The start of a node that shares groups with this one, as far as it is heard, and its count of starts.
    #[must_use]
    pub fn peer_start(&self, node: NodeId) -> Option<(BootId, Generation)> {
        self.pairs.start_of(node)
    }

    /// Since when the liveness of a node has mattered to this one without a pause.
    #[must_use]
    pub fn peer_met(&self, node: NodeId) -> Option<Instant> {
        self.pairs.met(node)
    }

    fn refusing(&self, now: Now) -> Option<String> {
        if let super::Phase::Stopped(why) = &self.phase {
            return Some(why.to_string());
        }
        if let Some(parted) = self.mesh.parted() {
            return Some(parted.words());
        }
        if let Some(refusal) = self.mesh.served_no_more() {
            return Some(refusal.to_string());
        }
        self.streams.refusing(now).map(|refusal| refusal.to_string())
    }

    fn stream_status(&self, now: Now) -> Vec<StreamStatus> {
        let mut streams = self.streams.status(now);
        for stream in &mut streams {
            stream.seal = self.mesh.sealed(&stream.name);
            stream.authority = stream.seal.as_ref().map_or(stream.authority, |seal| seal.authority);
            stream.members = self.mesh.stream_members(&stream.name);
            stream.gone = self.mesh.ends_gone(stream.ends());
            let rules = self.mesh.rules();
            if let Some((scope, _)) = rules.pausing(stream.instance, &stream.rank) {
                let option = scope.option(&stream.name);
                let what =
                    alloc::format!("`wattle stream resume {option}`: it is paused, and takes nothing in");
                stream.waiting_for.insert(0, what);
            }
            if let Some(failed) = rules.failed(stream.instance) {
                let at = &failed.at;
                let node = self.mesh.member(failed.target);
                let node = node.map_or_else(|| failed.target.to_string(), |node| node.name.clone());
                let what = alloc::format!(
                    "`wattle stream resume {}`: it failed, and takes nothing in, for the handler at {node} failed {} times at message {}: {}",
                    stream.name,
                    at.attempts,
                    at.sequence,
                    at.reason
                );
                stream.waiting_for.insert(0, what);
            }
            let about = rules.of(stream.instance, &stream.rank);
            stream.rules = about.map(|(scope, rule)| (scope.clone(), rule.clone())).collect();
        }
        streams
    }

    fn member_status(&self, now: Now, control: Option<&GroupStatus>) -> Vec<MemberStatus> {
        let own = self.config.identity.node;
        let voters: BTreeSet<NodeId> =
            control.iter().flat_map(|group| group.voters.iter().copied()).collect();
        let paths = self.routes.paths();
        let status = |member: &crate::mesh::Member| {
            let path = paths.get(&member.node);
            let hops = path.map(|path| 1 + path.labels.len() as u32);
            let here = member.node == own;
            MemberStatus {
                node: member.node,
                name: member.name.clone(),
                addresses: member.addresses.clone(),
                api: member.api.clone(),
                reachable: here || hops.is_some(),
                hops: if here { Some(0) } else { hops },
                region: member.region.clone(),
                voting: self.mesh.voting(now, member.node),
                keys: self.mesh.accepted_keys(member.node),
                rotation: member.rotations.number,
                duplicated: if here { self.mesh.is_double() } else { self.mesh.is_twice(member.node) },
                stopped: match here {
                    true => self.mesh.activity() == Activity::Stopped,
                    false => self.routes.is_stopped(member.node),
                },
                voter: voters.contains(&member.node),
                described: self.mesh.description(member.node).cloned(),
            }
        };
        self.mesh.members().map(status).collect()
    }

    fn link_status(&self) -> Vec<LinkStatus> {
        let own = self.config.identity.node;
        let status = |KnownLink { a, b, cost }: KnownLink| {
            let neighbour = if a == own { Some(b) } else { (b == own).then_some(a) };
            LinkStatus { a, b, cost, rtt: neighbour.and_then(|neighbour| self.links.rtt(neighbour)) }
        };
        self.routes.topology().into_iter().map(status).collect()
    }

    fn control_status(&self) -> Option<GroupStatus> {
        let group = self.groups.status(GroupId::CONTROL)?;
        let nodes = |members: &[Member]| members.iter().map(|member| member.node).collect();
        Some(GroupStatus {
            role: group.role.text(),
            term: group.term,
            leader: group.leader,
            voters: nodes(&group.configuration.voters),
            learners: nodes(&group.configuration.learners),
            commit: group.commit,
            applied: group.applied,
            chain: self.groups.place(GroupId::CONTROL, group.commit).unwrap_or_default().chain,
            last: group.last.index,
            stopped: group.stopped,
        })
    }

    /// A refusal that names another node learns that node's name and API address.
    pub(super) fn complete(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::WrongNode { node, .. } => {
                let member = self.mesh.member(node);
                let name = member.map_or_else(|| node.to_string(), |member| member.name.clone());
                Refusal::WrongNode { node, name, address: member.and_then(|member| member.api.clone()) }
            }
            other => self.named(other),
        }
    }
}

fn former_status(gone: &crate::mesh::Evicted) -> FormerStatus {
    let crate::mesh::Eviction { node, number, left, .. } = gone.eviction;
    FormerStatus { node, name: gone.name.clone(), epoch: number, left }
}
