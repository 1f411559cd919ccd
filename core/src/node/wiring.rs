//! Who hears of what: one match per part, one arm per output. Nothing is decided here.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use wattle_proto::frame::{Class, Kind, RelayHeader};

use super::Loading;
use super::Node;
use super::command::Command;
use super::egress::Outgoing;
use super::output::{Event, Output};
use super::parcel::{Held, Parcel};
use super::without_quorum::founding;
use crate::configuration::{Configuration, Member};
use crate::ends::Ends;
use crate::flow::Tenant;
use crate::id::{GroupId, LaneId, NodeId, RequestId, StreamInstance, Term};
use crate::members::{ChangeKind, MembersWish, StreamMembers};
use crate::payload::Payload;
use crate::planted::Bug;
use crate::rare;
use crate::record::Owner;
use crate::when::When;
use crate::work::{Done, Job, WorkId};
use crate::{link, mesh, raft, route, stream};

/// The number under which leadership is handed to a stream's source. That is tried again if it comes to nothing.
const STEERED: u64 = u64::MAX - 3;

/// The class of appends of streams, and of small payloads. In one queue, and in the order in which they leave: an append that overtakes the bytes that it
/// names has to wait for them, and is answered twice (rule B2).
const IN_ORDER: Class = Class::Priority;

/// The largest payload that is small.
const SMALL_PAYLOAD: usize = 4 << 10;

impl Node {
    /// Hands outputs on until every part is quiet.
    pub(super) fn wire(&mut self) {
        loop {
            if let Some(output) = self.links.take(link::Links::poll) {
                self.wire_links(output);
            } else if let Some(output) = self.pairs.take(link::Pairs::poll) {
                self.wire_pairs(output);
            } else if let Some(output) = self.routes.take(route::Routes::poll) {
                self.wire_routes(output);
            } else if let Some(output) = self.mesh.take(mesh::Mesh::poll) {
                self.wire_mesh(output);
            } else if let Some(output) = self.streams.take(stream::Streams::poll) {
                self.wire_streams(output);
            } else if let Some(parcel) = self.loopback.pop_front() {
                let own = self.config.identity.node;
                let delivered =
                    self.deliver(own, parcel.kind, parcel.group, parcel.body, parcel.payload.to_bytes());
                assert!(delivered.is_ok(), "N3: a node does not understand itself: {delivered:?}");
            } else if let Some(output) = self.groups.take(raft::Groups::poll) {
                // Last: what the others had to say in this step is written and sent together.
                self.wire_groups(output);
            } else if let Some(moved) = self.groups.take_moved() {
                self.tell_peers(moved);
            } else {
                return;
            }
        }
    }

    fn wire_links(&mut self, output: link::Output) {
        use link::Output as O;
        let now = self.now;
        match output {
            O::Dial { dial, address } => self.outputs.push_back(Output::Dial { dial, address }),
            O::Close { lane, reason } => self.outputs.push_back(Output::Close { lane, reason }),
            O::Send { lane, message, when } => self.send(when, Held::Lane { lane, message }),
            O::Up { node, lane, label, .. } => {
                self.egress.link(node, lane);
                self.routes.handle(now, route::Input::LinkUp { node, label });
                self.event(Event::LinkUp { node });
            }
            O::Switched { node, lane } => {
                self.egress.link(node, lane);
            }
            O::Down { node } => {
                self.egress.unlink(node);
                self.ways.link_down(node);
                if !self.config.planted.has(Bug::LinkDownNotTold) {
                    self.routes.handle(now, route::Input::LinkDown { node });
                }
                self.event(Event::LinkDown { node });
            }
            O::Rtt { node, rtt } => {
                let micros = u32::try_from(rtt.as_nanos() / 1_000).unwrap_or(u32::MAX);
                self.routes.handle(now, route::Input::Cost { node, micros });
            }
            O::Stranger { node, key, endorsement } => {
                self.mesh.handle(now, mesh::Input::Stranger { node, key, endorsement });
            }
            O::Rival { boot, claim } => self.mesh.handle(now, mesh::Input::Rival { boot, claim }),
            O::Identity(record) => self.mesh.handle(now, mesh::Input::Identity(record)),
            O::KeyRetired(rotations) => self.mesh.handle(now, mesh::Input::KeyRetired(rotations)),
            O::Fenced(link::Fence { proof, endorsement }) => {
                self.mesh.handle(now, mesh::Input::Fenced { proof, endorsement });
            }
            // Whoever dialled to join speaks first; the other end hears of it with the first message.
            O::JoinLaneUp { lane, peer_key, rotations } if self.lanes.dialled(lane) => {
                self.mesh.handle(now, mesh::Input::JoinLaneUp { lane, peer_key, rotations });
            }
            O::JoinLaneUp { .. } => {}
            O::JoinLaneDown { lane } => self.mesh.handle(now, mesh::Input::JoinLaneDown { lane }),
            O::JoinFailed { address, what } => {
                self.mesh.handle(now, mesh::Input::JoinFailed { address, what });
            }
            O::Event(event) => self.event(event),
        }
    }

    fn wire_pairs(&mut self, output: link::pairs::Output) {
        use link::pairs::Output as O;
        let now = self.now;
        match output {
            O::Send { to, beat } => {
                self.parcel(When::Now, to, Kind::Pair, Class::Control, None, beat.encode(), Payload::new())
            }
            O::Suspect { node } => {
                self.groups.handle(now, raft::Input::PairSuspect { node });
                self.mesh.handle(now, mesh::Input::PairSuspect { node });
                self.streams.handle(now, stream::Input::PairSuspect { node });
            }
            O::Alive { node } => {
                self.groups.handle(now, raft::Input::PairAlive { node });
                self.mesh.handle(now, mesh::Input::PairAlive { node });
                self.streams.handle(now, stream::Input::PairAlive { node });
            }
            O::NewBoot { node, boot } => {
                self.groups.handle(now, raft::Input::PeerBoot { node, boot });
                self.streams.handle(now, stream::Input::PeerBoot { node, boot });
                self.event(Event::PeerStarted { node, boot });
            }
            O::TheyLead { node, groups } => self.groups.handle(now, raft::Input::Leads { node, groups }),
            O::Stalled { by } => self.groups.handle(now, raft::Input::Stalled { by }),
        }
    }

    fn wire_routes(&mut self, output: route::Output) {
        let (to, message) = match output {
            route::Output::Send { to, message } => (to, message),
            route::Output::Stopped { node, stopped } => {
                return self.mesh.handle(self.now, mesh::Input::OtherStopped { node, stopped });
            }
            route::Output::Rival { boot, claim } => {
                return self.mesh.handle(self.now, mesh::Input::Rival { boot, claim });
            }
            route::Output::Record(record) => {
                return self.mesh.handle(self.now, mesh::Input::Identity(record));
            }
        };
        let relay = RelayHeader::direct(Kind::Route, Class::Control);
        let outgoing = Outgoing { relay, header: message.encode(), payload: Payload::new() };
        // The whole database follows with the next link.
        let _ = self.egress.queue_for_neighbour(to, outgoing);
    }

    fn wire_groups(&mut self, output: raft::Output) {
        use raft::Output as O;
        let now = self.now;
        let control = |group: GroupId| group == GroupId::CONTROL;
        match output {
            O::Persist(write) => write.records().for_each(|record| self.journal.append(record)),
            O::Forget(forget) => self.journal.forget(&forget),
            O::Load { token, key } => self.load_entries(token, key),
            O::Notify(receipt) => self.send(When::Durable, Held::Raft(receipt)),
            O::Send { to, group, message, when } => {
                let class =
                    if message.append().is_some() && !control(group) { IN_ORDER } else { Class::Control };
                self.parcel(when, to, Kind::Raft, class, Some(group), Bytes::new(), message.encode());
            }
            O::Apply { group, entries } if control(group) => {
                let entries = entries.iter().map(mesh_entry).collect();
                self.mesh.handle(now, mesh::Input::Apply { entries });
            }
            O::Apply { group, entries } => {
                let entries = entries.iter().map(stream_entry).collect();
                self.streams.handle(now, stream::Input::Apply { instance: group.into(), entries });
            }
            O::Proposed { group, context, index, .. } if control(group) => {
                self.mesh.handle(now, mesh::Input::Proposed { context, index });
            }
            O::Proposed { group, context, index, .. } => {
                self.streams.handle(now, stream::Input::Proposed { instance: group.into(), context, index });
            }
            O::Refused { group, context, reason } if control(group) => {
                let leader = reason.leader();
                self.mesh.handle(now, mesh::Input::Refused { context, leader });
            }
            O::Refused { group, context, .. } => {
                self.streams.handle(now, stream::Input::Refused { instance: group.into(), context });
            }
            O::Role { group, role, term, leader } => self.role(group, role, term, leader),
            O::Match { group, node, index } if control(group) => {
                self.mesh.handle(now, mesh::Input::Match { node, index });
            }
            O::Match { group, node, index } => {
                self.streams.handle(now, stream::Input::Match { instance: group.into(), node, index });
            }
            O::Configured { group, configuration, index, committed } => {
                if control(group) {
                    let configuration = Configuration::clone(&configuration);
                    self.mesh.handle(now, mesh::Input::Configured { configuration, index, committed });
                } else {
                    self.streams.handle(now, stream::Input::Configured { instance: group.into() });
                }
            }
            O::Conforms { group } => {
                self.streams.handle(now, stream::Input::Conforms { instance: group.into() });
            }
            O::SnapshotWanted { group, to } if control(group) => {
                self.mesh.handle(now, mesh::Input::SnapshotWanted { to });
            }
            O::SnapshotWanted { group, to } => {
                self.streams.handle(now, stream::Input::SnapshotWanted { instance: group.into(), to });
            }
            O::Install { group, from, index, data, .. } if control(group) => {
                self.mesh.handle(now, mesh::Input::Install { from, index, data });
            }
            O::Install { group, from, index, data, .. } => {
                self.streams
                    .handle(now, stream::Input::Install { instance: group.into(), from, index, data });
            }
            O::ReadReady { context, .. } => self.mesh.handle(now, mesh::Input::ReadReady { context }),
            O::Follows { node } => self.pairs.handle(now, link::pairs::Input::Compare { node }),
            O::Fenced { group, era, end } if control(group) => self.log_ends(era, end),
            O::Fenced { group, era, end } => self.stream_ends(group, era, end),
            O::Era { group, era } if control(group) => self.mesh.handle(now, mesh::Input::Era(era)),
            // What follows from it is seen when its log is applied; until then the mesh part asks again.
            O::Era { .. } => {}
            O::Founded { group, era, done } if control(group) => self.founded(era, done),
            O::Founded { .. } => {}
            O::Amnesia { group, node, what } => self.event(Event::Amnesia { group, node, what }),
            O::Stopped { group, reason } => {
                if !control(group) {
                    let reason = reason.clone();
                    self.streams.handle(now, stream::Input::Stopped { instance: group.into(), reason });
                }
                self.event(Event::GroupStopped { group, reason });
            }
        }
    }

    fn role(&mut self, group: GroupId, role: raft::RoleName, term: Term, leader: Option<NodeId>) {
        let now = self.now;
        let leading = role == raft::RoleName::Leader;
        if group == GroupId::CONTROL {
            self.mesh.handle(now, mesh::Input::Role { leading, term, leader });
        } else {
            self.gate.forget_before(group, term);
            self.streams.handle(now, stream::Input::Role { instance: group.into(), leading, term, leader });
        }
        self.event(Event::RoleChanged { group, role: role.text(), term });
    }

    fn wire_mesh(&mut self, output: mesh::Output) {
        use mesh::Output as O;
        let now = self.now;
        let group = GroupId::CONTROL;
        match output {
            O::Persist(record) => self.journal.append(record),
            O::Forget(forget) => self.journal.forget(&forget),
            O::Notify(receipt) => self.send(When::Durable, Held::Mesh(receipt)),
            O::Work { token, job } => self.work(Owner::Mesh, token, job),
            O::DialJoin { address } => self.links.handle(now, link::Input::JoinTarget { address }),
            O::SendLane { lane, message, when } => {
                self.send(when, Held::Join { lane, body: message.encode() })
            }
            O::CloseLane { lane, reason } => self.links.handle(now, link::Input::Close { lane, reason }),
            O::Send { to, message, when } => {
                self.parcel(
                    when,
                    to,
                    Kind::Mesh,
                    Class::Priority,
                    None,
                    Bytes::new(),
                    message.encode().into(),
                );
            }
            O::Propose { data, context } => {
                self.groups
                    .handle(now, raft::Input::Propose { group, data, weight: 0, unhurried: false, context });
            }
            O::Read { context } => self.groups.handle(now, raft::Input::Read { group, context }),
            O::Unanswered => self.groups.handle(now, raft::Input::Unanswered { group }),
            O::CreateGroup { replica, founding } => {
                self.groups.handle(now, raft::Input::Create { group, replica, founding, anew: false });
            }
            O::Change { voters, learners, context } => {
                self.groups.handle(now, raft::Input::Change { group, voters, learners, context });
            }
            O::Compact { upto } => self.groups.handle(now, raft::Input::Compact { group, upto }),
            O::Snapshot { to, index, data } => {
                self.groups.handle(now, raft::Input::Snapshot { group, to, index, data });
            }
            O::Installed { taken } => self.groups.handle(now, raft::Input::Installed { group, taken }),
            O::Became { mesh, remember } => {
                self.links.handle(now, link::Input::Mesh(mesh));
                self.keep_dialling(remember);
            }
            O::Remembered { addresses } => self.keep_dialling(addresses),
            O::Roster(roster) => self.roster(roster),
            O::Members(members) => self.members(members),
            O::Bounds { epoch, proofs, former } => {
                let bounds = link::Bounds { epoch, proofs, banned: former.into_iter().map(banned).collect() };
                self.links.handle(now, link::Input::Bounds(bounds));
            }
            O::Parted => self.part(),
            O::Look => self.look(),
            O::Compare(trail) => self.compare(trail),
            O::Fence { eras, lost } => {
                let fence = raft::Fence { eras, lost, everybody: false };
                self.groups.handle(now, raft::Input::Fence { group, fence });
            }
            O::Unfence => self.groups.handle(now, raft::Input::Unfence { group }),
            O::Found { era, above, holds, survivors } => {
                let founding = founding(era, above, holds, survivors);
                self.groups.handle(now, raft::Input::Found { group, founding });
            }
            O::HandOver => self.hand_over(),
            O::Rejoin => self.groups.rejoin(now),
            O::Claim { other, claim } => {
                self.links.handle(now, link::Input::Claim { other, claim: claim.clone() });
                self.routes.handle(now, route::Input::Claim(claim));
            }
            O::Identity { node, told } => self.identity(node, told),
            O::Farewell(stopped) => self.routes.handle(now, route::Input::Stopped(stopped)),
            O::Offline(offline) => self.links.handle(now, link::Input::Offline(offline)),
            O::Gone(node) => self.groups.handle(now, raft::Input::Gone { group, node }),
            O::Endorsement { endorsement, rotations } => {
                self.links.handle(now, link::Input::Endorsement(endorsement));
                self.links.handle(now, link::Input::OwnRotations(rotations));
            }
            O::ShowKey { key, number } => {
                self.links.handle(now, link::Input::KeyShown { number });
                self.outputs.push_back(Output::ShowKey(key));
            }
            O::StreamOpened { name, instance, ends, anew } => {
                self.stream_opened(name, instance, ends, anew);
            }
            O::StreamSealed { instance, sealed } => {
                self.streams.handle(now, stream::Input::Sealed { instance, sealed });
            }
            O::StreamMembers { instance, members } => self.stream_members(instance, members),
            O::StreamResumed { instance, resumed } => {
                self.streams.handle(now, stream::Input::Resumed { instance, resumed });
            }
            O::Rules(rules) => self.streams.handle(now, stream::Input::Rules(rules)),
            O::FenceStream { instance, authority, lost } => self.fence_stream(instance, authority, lost),
            O::FoundStream { instance, authority, above, holds, survivors } => {
                let founding = founding(authority.0, above, holds, survivors);
                let founding = raft::Founding { ends: true, ..founding };
                self.groups.handle(now, raft::Input::Found { group: instance.into(), founding });
            }
            O::StreamClosed { instance, .. } => {
                self.streams.handle(now, stream::Input::Closed { instance });
                self.groups.handle(now, raft::Input::Remove { group: instance.into() });
                self.gate.forget(instance.into());
            }
            O::DeliverUpdates(delivery) => self.outputs.push_back(Output::DeliverUpdates(delivery)),
            O::Reply { request, reply } => self.outputs.push_back(Output::Reply { request, reply }),
            O::Event(event) => self.event(event),
        }
    }

    /// What counts of a node's identity is another thing from now on.
    fn identity(&mut self, node: NodeId, told: Option<mesh::Told>) {
        let now = self.now;
        if node == self.config.identity.node {
            let (round, record) = self.mesh.identity_round();
            self.links.note_round(round, record);
        }
        let record =
            told.as_ref().map(|told| route::Record { lateness: told.lateness, bytes: told.record.clone() });
        let bar = told.map(|mesh::Told { bar, words, record, .. }| link::Bar { below: bar, words, record });
        self.links.handle(now, link::Input::Bar { node, bar });
        self.routes.handle(now, route::Input::Record { node, record });
    }

    /// This node belongs to no mesh any more. The groups of its streams stay as they are: nobody hears them.
    fn part(&mut self) {
        let (now, group) = (self.now, GroupId::CONTROL);
        self.groups.handle(now, raft::Input::Remove { group });
        self.links.handle(now, link::Input::Parted);
        self.routes.handle(now, route::Input::Members(Default::default()));
    }

    /// Tells the mesh part which members no path leads to.
    fn look(&mut self) {
        let unreached = self.unreached();
        self.mesh.handle(self.now, mesh::Input::Unreached(unreached));
    }

    pub(super) fn unreached(&mut self) -> BTreeSet<NodeId> {
        let own = self.config.identity.node;
        let members: Vec<NodeId> = self.mesh.members().map(|member| member.node).collect();
        members.into_iter().filter(|&node| node != own && !self.routes.is_reached(node)).collect()
    }

    /// Has others lead what this node leads.
    fn hand_over(&mut self) {
        let members = self.mesh.members().map(|member| member.node);
        let away = members.filter(|&node| self.routes.is_stopped(node)).collect();
        let left = self.groups.hand_over(self.now, &away);
        let neighbours = self.links.neighbours().next().is_some();
        self.mesh.handle(self.now, mesh::Input::HandedOver { left, neighbours });
    }

    fn keep_dialling(&mut self, addresses: Vec<String>) {
        for address in addresses {
            self.links.handle(self.now, link::Input::Target { address });
        }
    }

    fn roster(&mut self, roster: Vec<mesh::RosterEntry>) {
        let members = roster.iter().map(|entry| entry.node).collect();
        self.gave_up(&roster);
        let keys = roster.into_iter().map(|entry| (entry.node, entry.keys)).collect();
        self.links.handle(self.now, link::Input::Roster(keys));
        self.routes.handle(self.now, route::Input::Members(members));
    }

    fn members(&mut self, members: Vec<mesh::RosterEntry>) {
        let nodes = members.iter().map(|entry| entry.node).collect();
        self.gave_up(&members);
        let keys = members.into_iter().map(|entry| (entry.node, entry.keys)).collect();
        self.links.handle(self.now, link::Input::Members(keys));
        self.routes.handle(self.now, route::Input::Joined(nodes));
    }

    /// Members that gave up keys: who comes with one of these is shown that.
    fn gave_up(&mut self, members: &[mesh::RosterEntry]) {
        for mesh::RosterEntry { node, rotations, .. } in members.iter().filter(|m| !m.rotations.is_empty()) {
            let (node, rotations) = (*node, rotations.clone());
            self.links.handle(self.now, link::Input::GaveUpKey { node, rotations });
        }
    }

    /// The group of a stream lives at its ends. Of two, the source votes and the target learns (rule C3).
    fn stream_opened(&mut self, name: String, instance: StreamInstance, ends: Ends, anew: bool) {
        let now = self.now;
        let own = self.config.identity.node;
        let group = GroupId::from(instance);
        let (replica, founding) = (raft::founding_replica(own), founding_of(&ends));
        let takes_part = ends.has(own) && !self.streams.is_out(instance);
        self.streams.handle(now, stream::Input::Opened { name, instance, ends });
        if takes_part {
            self.groups.handle(now, raft::Input::Create { group, replica, founding, anew });
        }
        self.come_late(instance);
    }

    /// Who is to be a target of a stream that is open has a replica of its group from then on, and waits to be admitted (rule C5).
    fn come_late(&mut self, instance: StreamInstance) {
        if let Some(ends) = self.streams.came_late(instance) {
            let (replica, founding) = (raft::founding_replica(self.config.identity.node), founding_of(ends));
            let group = GroupId::from(instance);
            self.groups.handle(self.now, raft::Input::Await { group, replica, founding });
        }
    }

    /// Who is taken out of a stream has no replica of its group any more.
    fn stream_members(&mut self, instance: StreamInstance, members: StreamMembers) {
        self.streams.handle(self.now, stream::Input::Members { instance, members });
        if self.streams.is_out(instance) {
            self.groups.handle(self.now, raft::Input::Remove { group: instance.into() });
            self.gate.forget(instance.into());
        }
        self.come_late(instance);
    }

    fn wire_streams(&mut self, output: stream::Output) {
        use stream::Output as O;
        let now = self.now;
        match output {
            O::Persist(record) => self.journal.append(record),
            O::Forget(forget) => self.journal.forget(&forget),
            O::Notify(receipt) => self.send(When::Durable, Held::Stream(receipt)),
            O::Work { token, job } => self.work(Owner::Stream, token, job),
            O::Load { token, key } => self.load(token, key),
            O::Send { to, message, when } => {
                let (body, payload) = message.encode();
                let class = if payload.len() <= SMALL_PAYLOAD { IN_ORDER } else { Class::Bulk };
                self.parcel(when, to, Kind::Stream, class, None, body, payload);
            }
            O::Propose { instance, data, weight, unhurried, context } => {
                let group = instance.into();
                self.groups.handle(now, raft::Input::Propose { group, data, weight, unhurried, context });
            }
            O::OfferAgain { instance } => self.offer_again(instance.into()),
            O::Lead { instance, to } => {
                self.groups
                    .handle(now, raft::Input::Transfer { group: instance.into(), to, context: STEERED });
            }
            O::Unanswered { instance } => {
                self.groups.handle(now, raft::Input::Unanswered { group: instance.into() });
            }
            O::Voting { instance, nodes } => {
                self.groups.handle(now, raft::Input::Voting { group: instance.into(), nodes });
            }
            O::Known { instance, members, out } => {
                self.groups.handle(now, raft::Input::Known { group: instance.into(), members, out });
            }
            O::Conform { instance, voters, out, learners } => {
                let group = instance.into();
                self.groups.handle(now, raft::Input::Conform { group, voters, out, learners });
            }
            O::MembersChanged { instance, authority, number, first } => {
                self.mesh.handle(now, mesh::Input::MembersChanged { instance, authority, number, first });
            }
            O::Idle { instance, authority, target, idle } => {
                self.mesh.handle(now, mesh::Input::TargetIdle { instance, authority, target, idle });
            }
            O::Failed { instance, failed } => {
                self.mesh.handle(now, mesh::Input::StreamFailed { instance, failed });
            }
            O::Resign { instance, leaves } => {
                self.groups.handle(now, raft::Input::Resign { group: instance.into(), leaves });
            }
            O::Compact { instance, upto } => {
                self.groups.handle(now, raft::Input::Compact { group: instance.into(), upto });
            }
            O::Snapshot { instance, to, index, data } => {
                self.groups.handle(now, raft::Input::Snapshot { group: instance.into(), to, index, data });
            }
            O::Installed { instance, taken } => {
                self.groups.handle(now, raft::Input::Installed { group: instance.into(), taken });
            }
            O::Contradicted { instance, reason } => {
                self.groups.handle(now, raft::Input::Contradicted { group: instance.into(), reason });
            }
            O::Settled { instance, authority, sequence } => {
                self.mesh.handle(now, mesh::Input::StreamSettled { instance, authority, sequence });
            }
            O::Deliver(delivery) => self.outputs.push_back(Output::Deliver(delivery)),
            O::Reply { request, reply } => {
                let reply = reply.map_err(|refusal| self.complete(refusal));
                if self.config.planted.has(Bug::AnsweredTwice) {
                    self.outputs.push_back(Output::Reply { request, reply: reply.clone() });
                }
                self.outputs.push_back(Output::Reply { request, reply });
            }
            O::Event(event) => self.event(event),
        }
    }

    /// What was held is durable now.
    pub(super) fn let_go(&mut self, held: Held) {
        let now = self.now;
        match held {
            Held::Lane { lane, message } => {
                if matches!(message, link::Message::Hello(_)) {
                    self.egress.hello(lane, message.encode());
                } else {
                    self.send_on_lane(lane, Kind::Link, message.encode());
                }
            }
            Held::Join { lane, body } => self.send_on_lane(lane, Kind::Join, body),
            Held::Parcel(parcel) => self.post(parcel),
            Held::Raft(receipt) => self.groups.handle(now, raft::Input::Durable(receipt)),
            Held::Mesh(receipt) => self.mesh.handle(now, mesh::Input::Durable(receipt)),
            Held::Stream(receipt) => self.streams.handle(now, stream::Input::Durable(receipt)),
        }
    }

    fn send_on_lane(&mut self, lane: LaneId, kind: Kind, header: Bytes) {
        let relay = RelayHeader::direct(kind, Class::Control);
        // A lane whose own queue is full is about to be closed by its keepalive.
        let _ = self.egress.queue_for_lane(lane, Outgoing { relay, header, payload: Payload::new() });
    }

    fn send(&mut self, when: When, held: Held) {
        if let Some(held) = self.durability.hold(when, held) {
            self.let_go(held);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a parcel, and when it may leave")]
    fn parcel(
        &mut self,
        when: When,
        to: NodeId,
        kind: Kind,
        class: Class,
        group: Option<GroupId>,
        body: Bytes,
        payload: Payload,
    ) {
        self.send(when, Held::Parcel(Parcel { to, kind, class, group, body, payload }));
    }

    fn work(&mut self, owner: Owner, token: u64, job: Job) {
        self.outputs.push_back(Output::Work { work: WorkId { owner, token }, job });
    }

    pub(super) fn work_done(&mut self, work: WorkId, done: Done) {
        let (now, token) = (self.now, work.token);
        match work.owner {
            Owner::Mesh if !self.config.planted.has(Bug::WorkToWrongPart) => {
                self.mesh.handle(now, mesh::Input::WorkDone { token, done })
            }
            Owner::Mesh | Owner::Stream => self.streams.handle(now, stream::Input::WorkDone { token, done }),
            Owner::Node | Owner::Raft => {}
        }
    }

    fn load(&mut self, token: u64, key: crate::record::Key) {
        let Some(located) = self.journal.load(key) else {
            // A row that is yet to be written cannot be read; what will be in it is at hand.
            let unwritten = self.journal.unwritten(key);
            rare!(LoadedUnwritten, unwritten.is_some());
            let misses = self.config.planted.strikes(Bug::UnwrittenNotFound, || unwritten.is_some());
            let bytes = unwritten.filter(|_| !misses).map(Payload::to_bytes);
            return self.streams.handle(self.now, stream::Input::Loaded { token, bytes });
        };
        let load = self.next_load();
        self.loads.insert(load, Loading::Payload { token, located });
        let journal_place = Output::Load { load, row: located.row, offset: located.offset, len: located.len };
        self.outputs.push_back(journal_place);
    }

    fn load_entries(&mut self, token: u64, key: crate::record::Key) {
        let located = self.journal.load(key).expect("R23: what a log takes for stored is in the journal");
        let load = self.next_load();
        self.loads.insert(load, Loading::Entries { token, located });
        self.outputs.push_back(Output::Load {
            load,
            row: located.row,
            offset: located.offset,
            len: located.len,
        });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Who shares a group with this node, and which of those it leads.
    fn tell_peers(&mut self, moved: raft::Moved) {
        if let Some(raft::Peers { near, far }) = moved.peers {
            self.pairs.handle(self.now, link::pairs::Input::Peers { near, far });
        }
        for raft::Led { node, group, term } in moved.led {
            self.pairs.handle(self.now, link::pairs::Input::Leads { node, group, term });
        }
    }

    /// Whoever holds some of the stream knows of a start that cannot be before anything is recorded. Who asks again is told how far it is.
    pub(super) fn change_members(&mut self, request: RequestId, tenant: Option<Tenant>, wish: MembersWish) {
        let (of, named) = (self.streams.tenant_of(&wish.stream), tenant.as_ref());
        if let ChangeKind::Add(start) = wish.kind
            && (named.is_none() || of.is_none() || of == named)
            && !self.mesh.is_end(&wish.stream, &wish.target)
            && let Err(refusal) = self.streams.may_begin(&wish.stream, start)
        {
            return self.outputs.push_back(Output::Reply { request, reply: Err(refusal.into()) });
        }
        let input = mesh::Input::ChangeMembers { request, wish };
        let input = match tenant {
            Some(tenant) => mesh::Input::Within { tenant, input: input.into() },
            None => input,
        };
        self.mesh.handle(self.now, input);
    }

    pub(super) fn command(&mut self, request: RequestId, command: Command) {
        use Command as C;
        let now = self.now;
        let served_by_any = match command {
            C::StopMesh { .. } => true,
            C::Seed { .. } | C::Join { .. } | C::StartMesh => {
                !self.mesh.is_double() && self.mesh.key_lost().is_none()
            }
            _ => false,
        };
        if let Some(refusal) = self.mesh.served_no_more().filter(|_| !served_by_any) {
            return self.outputs.push_back(Output::Reply { request, reply: Err(refusal) });
        }
        match command {
            C::Seed { name } => self.mesh.handle(now, mesh::Input::Seed { request, name }),
            C::Invite => self.mesh.handle(now, mesh::Input::Invite { request }),
            C::Join { token } => self.mesh.handle(now, mesh::Input::Join { request, token }),
            C::OpenStream { name, source, targets, terms } => {
                self.mesh.handle(now, mesh::Input::OpenStream { request, name, source, targets, terms });
            }
            C::CloseStream { name } => self.mesh.handle(now, mesh::Input::CloseStream { request, name }),
            C::SealStream { name, lost } => {
                self.mesh.handle(now, mesh::Input::SealStream { request, name, lost });
            }
            C::ChangeFlow(wish) => self.mesh.handle(now, mesh::Input::ChangeFlow { request, wish }),
            C::Within { tenant, command } => self.within(request, tenant, *command),
            C::ChangeMembers(wish) => self.change_members(request, None, wish),
            C::Describe(description) => {
                self.mesh.handle(now, mesh::Input::Describe { request, description });
            }
            C::Update(command) => {
                let input = mesh::updates::Input::Command { request, command };
                self.mesh.handle(now, mesh::Input::Updates(input));
            }
            C::Config(command) => self.mesh.handle(now, mesh::Input::Config { request, command }),
            C::Evict { member } => self.mesh.handle(now, mesh::Input::Evict { request, member }),
            C::Recover(command) => self.recover_mesh(request, command),
            C::StopMesh { lasting } => self.mesh.handle(now, mesh::Input::Stop { request, lasting }),
            C::StartMesh => self.mesh.handle(now, mesh::Input::Start { request }),
            C::RotateNodeKey { finish } => {
                self.mesh.handle(now, mesh::Input::RotateNodeKey { request, finish });
            }
            C::Leave { force } => self.mesh.handle(now, mesh::Input::Leave { request, force }),
            C::Publish { stream, writer, first, messages, wait } => {
                let input = stream::Input::Publish { request, stream, writer, first, messages, wait };
                self.streams.handle(now, input);
            }
            C::Stage { stream, part } => {
                self.streams.handle(now, stream::Input::Stage { request, stream, part });
            }
            C::GiveUpStaged { stream, writer } => {
                self.streams.handle(now, stream::Input::GiveUp { request, stream, writer });
            }
            C::FindWriter { stream, writer } => {
                self.streams.handle(now, stream::Input::FindWriter { request, stream, writer });
            }
            C::CloseWriter { stream, writer } => {
                self.streams.handle(now, stream::Input::CloseWriter { request, stream, writer });
            }
            C::Parked { stream, command } => {
                self.streams.handle(now, stream::Input::Parked { request, stream, command });
            }
            C::Attach { stream, presented, window } => {
                self.streams.handle(now, stream::Input::Attach { request, stream, presented, window });
            }
            C::Replay { stream, range, window } => {
                self.streams.handle(now, stream::Input::Replay { request, stream, range, window });
            }
        }
    }
}

/// What the founders of a stream's group begin with: each under the id that follows from its node.
fn founding_of(ends: &Ends) -> Configuration {
    let member = |node| Member { node, replica: raft::founding_replica(node) };
    let members = |nodes: Vec<NodeId>| nodes.into_iter().map(member).collect();
    Configuration::simple(members(ends.voters()), members(ends.learners()))
}

fn banned(former: mesh::Former) -> (NodeId, link::Banned) {
    let mesh::Former { node, words, proof, endorsement } = former;
    (node, link::Banned { words, fence: link::Fence { proof, endorsement } })
}

pub(super) fn mesh_entry(entry: &raft::Entry) -> mesh::Applied {
    let command = entry.kind == raft::EntryKind::Command;
    mesh::Applied { index: entry.index, term: entry.term, command, data: entry.data.clone() }
}

pub(super) fn stream_entry(entry: &raft::Entry) -> stream::Applied {
    stream::Applied {
        index: entry.index,
        term: entry.term,
        command: entry.kind == raft::EntryKind::Command,
        data: entry.data.clone(),
    }
}
