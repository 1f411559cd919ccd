//! Streams whose group lost its quorum for good, in the replicated state (rules D2 to D4).
//!
//! An operator names the lost; that entry raises the stream's authority. From then on each survivor's replica is fenced, and the survivor says where its
//! log ends. The word of the last one that is waited for, or the entry that names that one lost as well, fixes the end: it is the furthest log among those
//! that hold whatever a survivor knows to be committed. The furthest by term and index alone would not do: it may end in entries of a leader that was
//! replaced, where another survivor knows of others that were committed since (decision 12). Whose log that is founds the group anew, and says which
//! message was the last in it; nothing is proposed before.
//!
//! Nothing here knows how large a group is: a stream of one source and one target has two members, of which the source votes, and others have up to
//! five voters and may have many who learn.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use wattle_proto::mesh as proto;

use super::entry::Body;
use super::recovery::{nodes_in, nodes_out, number, place_in, place_out};
use super::state::{Effect, State, Stream};
use super::wire::{self, Malformed, id_bytes};
use crate::id::{AuthorityEpoch, LogIndex, NodeId, Sequence, StreamInstance, Term};
use crate::node::command::Refusal;
use crate::planted::{Bug, Planted};
use crate::recovery::{LogPlace, TRAIL_TERMS_MAX};
use crate::sealing::{SealRefusal, Sealed, StreamEnd};

/// Most members of a stream's group that a seal tells of.
pub(super) const SEAL_MEMBERS_MAX: usize = 64;
/// What a seal takes of the encoded state beside its members, at most.
const SEAL_BYTES: usize = 48;
/// What a member of its group takes of it, at most: it is lost, or its log ends somewhere.
const SEAL_MEMBER_BYTES: usize = 420;

/// Who makes up a stream's group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamGroup {
    pub(super) voters: Vec<NodeId>,
    pub(super) learners: Vec<NodeId>,
    /// Who of the voters came in the place of one that was taken out: it votes once it has caught up, and nobody says here when that is.
    pub(super) promoted: Vec<NodeId>,
}

impl StreamGroup {
    pub(super) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// Whether those who are left of the voters are most of them, whoever of the promoted votes already.
    fn goes_on_without(&self, gone: impl Fn(&NodeId) -> bool) -> bool {
        let sure = || self.voters.iter().filter(|node| !self.promoted.contains(node));
        let gone_later = self.promoted.iter().filter(|node| gone(node)).count();
        2 * sure().filter(|node| !gone(node)).count() > sure().count() + gone_later
    }
}

/// What became of a stream whose group lost its quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// The authority since then (M70).
    pub(super) authority: AuthorityEpoch,
    /// Everybody who was ever named lost, in order.
    pub(super) lost: Vec<NodeId>,
    /// Where the logs of survivors end.
    pub(super) ends: BTreeMap<NodeId, StreamEnd>,
    /// Whose log is gone on from (M71).
    pub(super) founder: Option<NodeId>,
    /// The last message in front of its end.
    pub(super) sequence: Option<Sequence>,
    /// The seals before, oldest first: the authority that each began, and the last message in front of it (rule D4).
    pub(super) former: Vec<(AuthorityEpoch, Sequence)>,
}

impl StreamEnd {
    /// The term of the entry at `index`, behind what is committed for certain.
    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let began = self.terms.iter().rev().find(|(_, first)| *first <= index);
        began.filter(|_| index <= self.last.index).map(|(term, _)| *term)
    }

    /// Whether the log holds what somebody else knows to be committed: two logs are equal up to an entry of the same index and term.
    fn holds(&self, place: LogPlace) -> bool {
        place.index <= self.certain.index || self.term_at(place.index) == Some(place.term)
    }
}

impl Seal {
    /// Who of the group is not lost and has not said where its log ends.
    fn waits_for<'a>(&'a self, group: &'a StreamGroup) -> impl Iterator<Item = NodeId> + 'a {
        let awaited = |node: &NodeId| !self.lost.contains(node) && !self.ends.contains_key(node);
        group.members().filter(awaited)
    }

    /// Fixes the end, once nobody is waited for (M71, M72).
    pub(super) fn settle(&mut self, group: &StreamGroup, planted: Planted) {
        let waits = self.waits_for(group).next().is_some();
        let hasty = || !self.ends.is_empty();
        if self.founder.is_some() || waits && !planted.strikes(Bug::SealWaitsForOne, hasty) {
            return;
        }
        let certain = self.ends.values().map(|end| end.certain).max_by_key(|place| place.index);
        let Some(certain) = certain else { return };
        let furthest = |end: &StreamEnd| (end.last.term, end.last.index);
        let holds = |end: &StreamEnd| end.holds(certain);
        let passed = |end: &StreamEnd| !holds(end) && planted.strikes(Bug::SealedAtFurthest, || true);
        let fit = self.ends.iter().filter(|(_, end)| holds(end) || passed(end));
        let best = fit.max_by_key(|(node, end)| (furthest(end), core::cmp::Reverse(**node)));
        let Some((&founder, end)) = best else { return };
        // Equal by its numbers, and not equal: a disk was rolled back. People say whose counts, by naming the other one lost.
        let forked = |other: &StreamEnd| furthest(other) == furthest(end) && other.last != end.last;
        if !self.ends.values().any(forked) {
            self.founder = Some(founder);
        }
    }

    /// As it is told.
    pub(super) fn told(&self, group: &StreamGroup) -> Sealed {
        let end = self.founder.and_then(|founder| Some((founder, self.ends.get(&founder)?.last)));
        let open = self.founder.is_none();
        Sealed {
            authority: self.authority,
            lost: self.lost.clone(),
            waits_for: self.waits_for(group).filter(|_| open).collect(),
            end,
            sequence: self.sequence,
            heard: self.ends.values().map(|end| end.heard).max().unwrap_or_default(),
            former: self.former.clone(),
        }
    }
}

impl Stream {
    /// Who makes up its group: as its ends have it, without those who were taken out; past a seal, whoever founded it anew votes.
    pub(super) fn group(&self) -> StreamGroup {
        let ends = self.ends_left();
        match self.seal.as_ref().and_then(|seal| Some((seal, seal.founder?))) {
            Some((seal, founder)) => {
                let learns = |node: &NodeId| *node != founder && !seal.lost.contains(node);
                let learners = ends.members().filter(learns).collect();
                StreamGroup { voters: [founder].into(), learners, promoted: Vec::new() }
            }
            None => {
                // Who came later may vote yet, or not; and so may everybody but the source if that voted alone once.
                let once_alone = self.members.as_ref().is_some_and(|members| members.once_alone);
                let (voters, begun) = (ends.voters(), self.ends.voters());
                let sure = |node: &NodeId| *node == self.ends.source || begun.contains(node) && !once_alone;
                let promoted = voters.iter().copied().filter(|node| !sure(node));
                StreamGroup { promoted: promoted.collect(), voters, learners: ends.learners() }
            }
        }
    }

    /// Its authority (M70).
    #[must_use]
    pub fn authority(&self) -> AuthorityEpoch {
        self.seal.as_ref().map(|seal| seal.authority).unwrap_or_default()
    }

    /// How far it is sealed, if its group lost its quorum.
    #[must_use]
    pub fn sealed(&self) -> Option<Sealed> {
        self.seal.as_ref().map(|seal| seal.told(&self.group()))
    }

    /// The most that its seal takes of the encoded state, from its begin on.
    pub(super) fn seal_bytes(&self) -> usize {
        let late = self.members.iter().flat_map(|members| members.late()).count();
        let members = self.ends.members().count() + late;
        self.seal.as_ref().map_or(0, |_| SEAL_BYTES + members * SEAL_MEMBER_BYTES)
    }

    fn lost(&self) -> &[NodeId] {
        self.seal.as_ref().map(|seal| &seal.lost[..]).unwrap_or_default()
    }
}

/// The seal of a group after these were named lost, too; `None` if all of them were known to be. While the group's members change it may decide by the
/// old ones or by those that are `to_be`: that it can go on by itself is certain only where most of both are left.
pub(super) fn seal_without(
    seal: Option<&Seal>,
    group: &StreamGroup,
    to_be: Option<&StreamGroup>,
    lost: &[NodeId],
    names: &str,
    planted: Planted,
) -> Result<Option<Seal>, SealRefusal> {
    let before = seal.map(|seal| &seal.lost[..]).unwrap_or_default();
    let new: Vec<NodeId> = lost.iter().copied().filter(|node| !before.contains(node)).collect();
    if new.is_empty() {
        return Ok(None);
    }
    let gone = |node: &NodeId| before.contains(node) || new.contains(node);
    if group.members().all(|node| gone(&node)) {
        return Err(SealRefusal::NobodyLeft);
    }
    let open = seal.filter(|seal| seal.founder.is_none());
    let goes_on = |group: &StreamGroup| group.goes_on_without(gone);
    if open.is_none() && goes_on(group) && to_be.is_none_or(goes_on) {
        return Err(SealRefusal::Quorum(names.into()));
    }
    let mut next = seal.cloned().unwrap_or_default();
    next.lost.extend(&new);
    next.lost.sort_unstable();
    next.lost.dedup();
    if open.is_some() {
        next.ends.retain(|node, _| !new.contains(node));
    } else {
        let authority = next.authority.0 + u64::from(!planted.has(Bug::SealKeepsAuthority));
        // Whoever founded it may be lost before it said where that was: then nothing given under what it ended is known to be of use.
        let ended = seal.map(|seal| (seal.authority, seal.sequence.unwrap_or_default()));
        let mut former = next.former;
        former.extend(ended.filter(|_| !planted.has(Bug::FormerEndForgotten)));
        next = Seal { authority: AuthorityEpoch(authority), lost: next.lost, former, ..Seal::default() };
    }
    next.settle(group, planted);
    Ok(Some(next))
}

impl State {
    /// A node, by name or id; it may be no member of the mesh any more.
    pub(super) fn resolve_former(&self, name: &str) -> Option<NodeId> {
        let former = || self.evicted.iter().find(|(_, gone)| gone.name() == name).map(|(node, _)| *node);
        self.resolve(name).or_else(|| NodeId::parse(name)).or_else(former)
    }

    /// A member of a stream's group.
    fn resolve_end(&self, stream: &Stream, name: &str) -> Result<NodeId, Refusal> {
        let node = self.resolve_former(name);
        let node = node.ok_or_else(|| Refusal::UnknownNode(name.into()))?;
        let known = stream.group().members().any(|member| member == node) || stream.lost().contains(&node);
        if known { Ok(node) } else { Err(SealRefusal::NotOfStream(name.into()).into()) }
    }

    /// Whom a wish to seal a stream names.
    pub(super) fn named_lost(&self, name: &str, lost: &[String]) -> Result<Vec<NodeId>, Refusal> {
        let stream = self.streams.get(name).ok_or_else(|| Refusal::UnknownStream(name.into()))?;
        if lost.is_empty() {
            return Err(SealRefusal::NobodyLost.into());
        }
        lost.iter().map(|lost| self.resolve_end(stream, lost)).collect()
    }

    /// Members of a stream's group are lost for good: the first entry of a seal, or one more of the lost. Whoever asks says whom of them it misses: that
    /// a member is lost is nothing the log can know, and who was asked may not know the stream yet, or an earlier life of it.
    pub(super) fn seal_stream(
        &mut self,
        name: &str,
        lost: &[String],
        judged: Option<StreamInstance>,
        missed: &[NodeId],
    ) -> Result<Effect, Refusal> {
        let nodes = self.named_lost(name, lost)?;
        let planted = self.planted;
        let Some(stream) = self.streams.get(name) else { return Err(Refusal::UnknownStream(name.into())) };
        let (group, instance, before) = (stream.group(), stream.instance, stream.bytes());
        let (seal, to_be) = (stream.seal.as_deref(), stream.group_to_be());
        let next = seal_without(seal, &group, to_be.as_ref(), &nodes, &lost.join(", "), planted)?;
        let Some(next) = next else { return Ok(Effect::Sealed { instance, changed: false }) };
        let missed = |node: &NodeId| judged == Some(instance) && missed.contains(node);
        let present = |node: &NodeId| {
            !stream.lost().contains(node)
                && self.members.contains_key(node)
                && !missed(node)
                && !stream.awaits(*node)
        };
        if let Some((_, name)) = nodes.iter().zip(lost).find(|(node, _)| present(node)) {
            return Err(SealRefusal::NotMissed(name.clone()).into());
        }
        assert!(next.authority >= stream.authority(), "M70: the authority of a stream grows");
        let sealed = Stream { seal: Some(Box::new(next)), ..stream.clone() };
        let after = sealed.bytes();
        self.has_room(before, after).map_err(Refusal::Invalid)?;
        self.bytes = self.bytes - before + after;
        self.streams.insert(name.into(), sealed);
        Ok(Effect::Sealed { instance, changed: true })
    }

    /// The seal under that authority, and who makes up its group.
    fn seal_of(
        &mut self,
        name: &str,
        instance: StreamInstance,
        authority: AuthorityEpoch,
    ) -> Result<(&mut Seal, StreamGroup), Refusal> {
        let stream = self.streams.get_mut(name).filter(|stream| stream.instance == instance);
        let stream = stream.ok_or_else(|| Refusal::UnknownStream(name.into()))?;
        let group = stream.group();
        let seal = stream.seal.as_deref_mut().filter(|seal| seal.authority == authority);
        // Another seal took the place of this one.
        Ok((seal.ok_or(Refusal::Busy)?, group))
    }

    /// A survivor says where its log of a stream ends.
    pub(super) fn report_end(&mut self, origin: NodeId, report: &ReportEnd) -> Result<Effect, Refusal> {
        let (planted, instance) = (self.planted, report.instance);
        let (seal, group) = self.seal_of(&report.name, instance, report.authority)?;
        let lost = seal.lost.contains(&origin) && !planted.strikes(Bug::LostHaveASay, || true);
        if lost || !group.members().any(|node| node == origin) {
            return Err(Refusal::Busy);
        }
        if seal.founder.is_some() || seal.ends.contains_key(&origin) {
            return Ok(Effect::Sealed { instance, changed: false });
        }
        seal.ends.insert(origin, report.end.clone());
        seal.settle(&group, planted);
        Ok(Effect::Sealed { instance, changed: true })
    }

    /// Whoever founded the group anew says which message was the last in its log.
    pub(super) fn settle_end(&mut self, origin: NodeId, settled: &SettleEnd) -> Result<Effect, Refusal> {
        let instance = settled.instance;
        let (seal, _) = self.seal_of(&settled.name, instance, settled.authority)?;
        if seal.founder != Some(origin) {
            return Err(Refusal::Busy);
        }
        let changed = seal.sequence.is_none();
        seal.sequence.get_or_insert(settled.sequence);
        Ok(Effect::Sealed { instance, changed })
    }

    /// What to say of a wish to seal that was decided before.
    pub(super) fn recall_seal(&self, name: &str, done: bool) -> Result<Effect, Refusal> {
        let stream = self.streams.get(name).filter(|stream| done && stream.seal.is_some());
        stream.map_or(Err(Refusal::Busy), |stream| {
            Ok(Effect::Sealed { instance: stream.instance, changed: false })
        })
    }
}

impl Stream {
    /// Panics if its seal breaks a rule.
    pub(super) fn check_seal(&self) {
        let Some(seal) = &self.seal else { return };
        let name = &self.name;
        assert!(seal.authority > AuthorityEpoch(0), "M70: {name} is sealed under the authority it had");
        let says = |node: &NodeId| !seal.lost.contains(node);
        assert!(seal.ends.keys().all(says), "M71: the lost have a say in where {name} ends");
        let Some(founder) = seal.founder else {
            return assert!(seal.sequence.is_none(), "M71: {name} ends before that is fixed");
        };
        let end = seal.ends.get(&founder);
        let end =
            end.unwrap_or_else(|| panic!("M71: {name} is gone on from by a survivor that did not answer"));
        let answered = |node: &NodeId| !says(node) || seal.ends.contains_key(node) || self.is_out(*node);
        assert!(
            self.ends_left().members().all(|member| answered(&member)),
            "M71: the end of {name} is fixed before all survivors have answered"
        );
        let held = seal.ends.values().all(|other| end.holds(other.certain));
        assert!(held, "M72: the end of {name} lacks what a survivor knows to be committed");
    }
}

/// What a survivor says of where its log of a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportEnd {
    /// The stream's name.
    pub name: String,
    /// Its life.
    pub instance: StreamInstance,
    /// The seal's authority.
    pub authority: AuthorityEpoch,
    /// Where it ends.
    pub end: StreamEnd,
}

/// What a founder says of the log it goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleEnd {
    /// The stream's name.
    pub name: String,
    /// Its life.
    pub instance: StreamInstance,
    /// The seal's authority.
    pub authority: AuthorityEpoch,
    /// The last message.
    pub sequence: Sequence,
}

fn end_out(node: NodeId, end: &StreamEnd) -> proto::StreamEnd {
    proto::StreamEnd {
        node: id_bytes(node.to_bytes()),
        term: end.term.0,
        last: Some(place_out(&end.last)),
        certain: Some(place_out(&end.certain)),
        terms: end.terms.iter().map(|(term, _)| term.0).collect(),
        firsts: end.terms.iter().map(|(_, first)| first.0).collect(),
        heard: end.heard.0,
    }
}

fn end_in(end: proto::StreamEnd) -> Result<(NodeId, StreamEnd), Malformed> {
    if end.terms.len() != end.firsts.len() || end.terms.len() > TRAIL_TERMS_MAX {
        return Err(Malformed("the terms of a stream's log"));
    }
    let terms = end.terms.into_iter().zip(end.firsts);
    let terms = terms.map(|(term, first)| Ok((Term(number(term)?), LogIndex(number(first)?))));
    let (last, certain) = (place_in(end.last)?, place_in(end.certain)?);
    if certain.index > last.index {
        return Err(Malformed("more of a stream's log is committed than there is"));
    }
    let terms = terms.collect::<Result<Vec<_>, Malformed>>()?;
    let (term, heard) = (Term(number(end.term)?), Sequence(number(end.heard)?));
    Ok((wire::node(&end.node)?, StreamEnd { term, last, certain, terms, heard }))
}

pub(super) fn seal_out(seal: &Seal) -> proto::StreamSeal {
    proto::StreamSeal {
        authority: seal.authority.0,
        lost: nodes_out(&seal.lost),
        ends: seal.ends.iter().map(|(node, end)| end_out(*node, end)).collect(),
        founder: seal.founder.map(|founder| id_bytes(founder.to_bytes())).unwrap_or_default(),
        sequence: seal.sequence.map(|sequence| sequence.0),
        former_authorities: seal.former.iter().map(|(authority, _)| authority.0).collect(),
        former_ends: seal.former.iter().map(|(_, end)| end.0).collect(),
    }
}

pub(super) fn seal_in(seal: proto::StreamSeal) -> Result<Seal, Malformed> {
    if seal.lost.len() > SEAL_MEMBERS_MAX || seal.ends.len() > SEAL_MEMBERS_MAX || seal.authority == 0 {
        return Err(Malformed("a seal"));
    }
    if seal.former_ends.len() != seal.former_authorities.len() || seal.former_ends.len() > SEAL_MEMBERS_MAX {
        return Err(Malformed("the seals before a seal"));
    }
    let former = seal.former_authorities.into_iter().zip(seal.former_ends);
    let former =
        former.map(|(authority, end)| Ok((AuthorityEpoch(number(authority)?), Sequence(number(end)?))));
    let former = former.collect::<Result<Vec<_>, Malformed>>()?;
    let founder = if seal.founder.is_empty() { None } else { Some(wire::node(&seal.founder)?) };
    let ends = seal.ends.into_iter().map(end_in).collect::<Result<BTreeMap<_, _>, _>>()?;
    if founder.is_some_and(|founder| !ends.contains_key(&founder)) {
        return Err(Malformed("a stream is gone on from by nobody"));
    }
    Ok(Seal {
        authority: AuthorityEpoch(number(seal.authority)?),
        lost: nodes_in(&seal.lost)?,
        ends,
        founder,
        sequence: seal.sequence.map(|sequence| number(sequence).map(Sequence)).transpose()?,
        former,
    })
}

pub(super) fn report_out(report: &ReportEnd) -> proto::ReportEnd {
    proto::ReportEnd {
        name: report.name.clone(),
        instance: id_bytes(report.instance.to_bytes()),
        authority: report.authority.0,
        end: Some(end_out(NodeId::default(), &report.end)),
    }
}

pub(super) fn report_in(report: proto::ReportEnd) -> Result<ReportEnd, Malformed> {
    let (_, end) = end_in(report.end.ok_or(Malformed("no end of a stream's log"))?)?;
    Ok(ReportEnd {
        name: wire::text(report.name, wire::TEXT_MAX)?,
        instance: StreamInstance::from_slice(&report.instance).ok_or(Malformed("stream instance"))?,
        authority: AuthorityEpoch(number(report.authority)?),
        end,
    })
}

pub(super) fn settle_out(settled: &SettleEnd) -> proto::SettleEnd {
    proto::SettleEnd {
        name: settled.name.clone(),
        instance: id_bytes(settled.instance.to_bytes()),
        authority: settled.authority.0,
        sequence: settled.sequence.0,
    }
}

pub(super) fn settle_in(settled: proto::SettleEnd) -> Result<SettleEnd, Malformed> {
    Ok(SettleEnd {
        name: wire::text(settled.name, wire::TEXT_MAX)?,
        instance: StreamInstance::from_slice(&settled.instance).ok_or(Malformed("stream instance"))?,
        authority: AuthorityEpoch(number(settled.authority)?),
        sequence: Sequence(number(settled.sequence)?),
    })
}

pub(super) fn begin_out(
    name: &str,
    lost: &[String],
    instance: Option<StreamInstance>,
    missed: &[NodeId],
) -> proto::SealStream {
    proto::SealStream {
        name: name.into(),
        lost: lost.to_vec(),
        missed: nodes_out(missed),
        instance: instance.map(|instance| id_bytes(instance.to_bytes())).unwrap_or_default(),
    }
}

pub(super) fn begin_in(begin: proto::SealStream) -> Result<Body, Malformed> {
    if begin.lost.len() > SEAL_MEMBERS_MAX || begin.missed.len() > begin.lost.len() {
        return Err(Malformed("too many are lost"));
    }
    let instance = StreamInstance::from_slice(&begin.instance);
    if instance.is_none() && !begin.instance.is_empty() {
        return Err(Malformed("stream instance"));
    }
    Ok(Body::SealStream {
        instance,
        name: wire::text(begin.name, wire::TEXT_MAX)?,
        lost: begin
            .lost
            .into_iter()
            .map(|name| wire::text(name, wire::TEXT_MAX))
            .collect::<Result<_, _>>()?,
        missed: nodes_in(&begin.missed)?,
    })
}
