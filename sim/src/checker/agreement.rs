//! What nodes agree on (X7): who leads, what names mean, and in the end one configuration; and who may stop (X11).

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::digest::Digest;
use wattle_core::id::{GroupId, LogIndex, NodeId, StreamInstance, Term};
use wattle_core::node::Status;
use wattle_core::node::output::Event;

use super::{Checked, Failure, ensure};

/// Everything that was ever agreed on.
#[derive(Debug, Default)]
pub struct Agreement {
    leaders: BTreeMap<(GroupId, Term), usize>,
    names: BTreeMap<NodeId, String>,
    ids: BTreeMap<String, NodeId>,
    streams: BTreeMap<StreamInstance, (String, NodeId, Vec<NodeId>)>,
    /// The names that nobody ever closes, and what they stand for.
    kept: BTreeMap<String, Option<StreamInstance>>,
    /// The last entry that opened a stream, as nodes knew it when they ended.
    openings: BTreeMap<StreamInstance, LogIndex>,
    /// The control group's state after an entry, and who showed it first.
    states: BTreeMap<LogIndex, (Digest, usize)>,
    stopped: BTreeMap<GroupId, String>,
    may_stop: bool,
    /// Nodes that were no members for a while, and let go of all they had.
    parted: BTreeSet<usize>,
}

impl Agreement {
    /// Nothing is agreed on yet. `kept`: names of streams that nobody ever closes.
    pub fn new<'a>(kept: impl IntoIterator<Item = &'a str>) -> Self {
        let kept = kept.into_iter().map(|name| (name.into(), None)).collect();
        Self { kept, ..Self::default() }
    }

    /// A disk lost something that it had reported safe: from now on a group may stop.
    pub fn a_disk_lost(&mut self) {
        self.may_stop = true;
    }

    /// A node is no member any more. If it becomes one again, it founds nothing of what it was an end of before (rule C5).
    pub fn parts(&mut self, node: usize) {
        self.parted.insert(node);
    }

    /// A node says that something happened.
    ///
    /// # Errors
    /// X7, X11.
    pub fn event(&mut self, node: usize, event: &Event) -> Checked {
        match event {
            Event::RoleChanged { group, role: "leader", term } => {
                let leader = *self.leaders.entry((*group, *term)).or_insert(node);
                ensure!(
                    leader == node,
                    "X7",
                    "nodes {leader} and {node} both lead group {group} in term {term}"
                );
            }
            Event::GroupStopped { group, reason } => {
                ensure!(self.may_stop, "X11", "group {group} stopped on node {node}: {reason}");
                self.stopped.insert(*group, reason.clone());
            }
            Event::Amnesia { group, node: whose, what } => {
                ensure!(
                    self.may_stop || self.parted.contains(&node),
                    "X11",
                    "node {node} calls {whose} amnesic in group {group}, and no disk was rolled back: {what}"
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a group stopped anywhere, which is allowed after a disk was rolled back only.
    #[must_use]
    pub fn has_stopped(&self, group: GroupId) -> bool {
        self.stopped.contains_key(&group)
    }

    /// A node shows its status: what it knows of members and streams must be what everybody ever knew.
    ///
    /// # Errors
    /// X7.
    pub fn seen(&mut self, node: usize, status: &Status) -> Checked {
        for member in &status.members {
            if self.names.get(&member.node).is_some_and(|known| *known == member.name) {
                continue;
            }
            let name = self.names.entry(member.node).or_insert_with(|| member.name.clone());
            ensure!(
                *name == member.name,
                "X7",
                "node {node} calls {} {:?}, others {name:?}",
                member.node,
                member.name
            );
            let id = *self.ids.entry(member.name.clone()).or_insert(member.node);
            ensure!(
                id == member.node,
                "X7",
                "members {id} and {} are both called {:?}",
                member.node,
                member.name
            );
        }
        for stream in &status.streams {
            let targets = || stream.targets.iter().map(|target| target.node);
            let Some((name, source, known)) = self.streams.get_mut(&stream.instance) else {
                self.opened(&stream.name, stream.instance)?;
                let meaning = (stream.name.clone(), stream.source, targets().collect());
                self.streams.insert(stream.instance, meaning);
                continue;
            };
            // Who came later stands behind the others, and is not known to all at one time; who that may be is held against what was asked for (X32).
            let same = targets().zip(known.iter()).all(|(target, known)| target == *known);
            if same {
                known.extend(targets().skip(known.len()));
            }
            ensure!(
                *name == stream.name && *source == stream.source && same,
                "X7",
                "node {node} says that {} is {:?} from {} to {:?}, others {name:?} from {source} to {known:?}",
                stream.instance,
                stream.name,
                stream.source,
                targets().collect::<Vec<_>>()
            );
        }
        Ok(())
    }

    /// A node shows the control group's state after an entry: all that ever applied it have the same.
    ///
    /// # Errors
    /// X7.
    pub fn state(&mut self, node: usize, index: LogIndex, digest: Digest) -> Checked {
        let (known, first) = *self.states.entry(index).or_insert((digest, node));
        ensure!(
            known == digest,
            "X7",
            "after entry {index} of the control group node {node} has another state than node {first} had"
        );
        Ok(())
    }

    /// A node that ends knew these streams, each opened by that entry.
    pub fn knows(&mut self, openings: Vec<(StreamInstance, LogIndex)>) {
        for (instance, index) in openings {
            let last = self.openings.entry(instance).or_default();
            *last = index.max(*last);
        }
    }

    /// The streams that are known to have been opened by entries up to this one.
    pub fn opened_upto(&self, last: LogIndex) -> impl Iterator<Item = StreamInstance> + '_ {
        self.openings.iter().filter(move |(_, index)| **index <= last).map(|(&instance, _)| instance)
    }

    /// Who alone held some streams forgot them, whoever it had told of them: their names may come to mean others. `known`: what the others
    /// know or have on disk. Whether that was the case of any.
    pub fn forgotten(&mut self, known: &[StreamInstance]) -> bool {
        let mut any = false;
        for kept in self.kept.values_mut() {
            if let Some(instance) = kept.take_if(|instance| !known.contains(instance)) {
                self.streams.remove(&instance);
                any = true;
            }
        }
        any
    }

    /// Which healed node another one cannot reach, in words.
    #[must_use]
    pub fn out_of_reach(&self, statuses: &[Status]) -> Option<String> {
        let here = |node: NodeId| statuses.iter().any(|status| status.node == node);
        let away = |status: &Status| {
            status.members.iter().find(|member| !member.reachable && here(member.node)).cloned()
        };
        let (from, to) =
            statuses.iter().find_map(|status| away(status).map(|away| (&status.name, away.name)))?;
        Some(format!("{from} cannot reach {to}"))
    }

    /// What the healed nodes of a mesh of so many members still disagree on, in words. `opened`: the streams that a node reported open.
    #[must_use]
    pub fn open_questions(
        &self,
        statuses: &[Status],
        members: usize,
        opened: &[StreamInstance],
    ) -> Option<String> {
        let view = |status: &Status| {
            let mut members: Vec<_> =
                status.members.iter().map(|member| (member.node, member.voter)).collect();
            members.sort_unstable();
            let mut streams: Vec<_> = status.streams.iter().map(|stream| stream.instance).collect();
            streams.sort_unstable();
            (status.mesh, members, streams)
        };
        let first = view(statuses.first()?);
        for status in statuses {
            let this = view(status);
            if this.0 != first.0 {
                return Some(format!(
                    "{} is in mesh {:?}, {} in {:?}",
                    status.name, this.0, statuses[0].name, first.0
                ));
            }
            if this.1 != first.1 {
                return Some(format!(
                    "{} and {} name other members or voters",
                    status.name, statuses[0].name
                ));
            }
            if this.1.len() != members {
                return Some(format!("{} knows {} members of {members}", status.name, this.1.len()));
            }
            if this.2 != first.2 {
                let only = |one: &[StreamInstance], other: &[StreamInstance]| -> Vec<String> {
                    one.iter().filter(|stream| !other.contains(stream)).map(ToString::to_string).collect()
                };
                return Some(format!(
                    "{} and {} know other streams: one alone {:?}, the other alone {:?}",
                    status.name,
                    statuses[0].name,
                    only(&this.2, &first.2),
                    only(&first.2, &this.2)
                ));
            }
            if let Some(missing) = opened.iter().find(|instance| !this.2.contains(instance)) {
                return Some(format!("{} does not know stream {missing}, which was opened", status.name));
            }
        }
        let leaders = statuses.iter().filter(|status| {
            status.control.as_ref().is_some_and(|control| control.leader == Some(status.node))
        });
        (leaders.count() != 1).then(|| "the control group has not one leader".into())
    }

    /// A stream that was reported open must never be missing from what is known of it.
    ///
    /// # Errors
    /// X7.
    pub fn opened(&mut self, name: &str, instance: StreamInstance) -> Checked {
        let known = self.kept.get_mut(name).map(|known| *known.get_or_insert(instance));
        let known = known.unwrap_or(instance);
        if known == instance {
            return Ok(());
        }
        let message = format!("stream {name:?} was opened as {instance} and is {known}");
        Err(Failure::new("X7", message).decided_by(GroupId::CONTROL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(term: u64) -> Event {
        Event::RoleChanged { group: GroupId(3), role: "leader", term: Term(term) }
    }

    #[test]
    fn two_leaders_of_one_term_are_seen_and_two_of_two_terms_are_not() {
        let mut agreement = Agreement::default();
        agreement.event(0, &leads(1)).unwrap();
        agreement.event(0, &leads(1)).unwrap();
        agreement.event(1, &leads(2)).unwrap();
        assert_eq!(agreement.event(1, &leads(1)).unwrap_err().checker, "X7");
    }

    #[test]
    fn a_group_may_stop_only_where_a_disk_was_rolled_back() {
        let stopped = Event::GroupStopped { group: GroupId(3), reason: "amnesia".into() };
        assert_eq!(Agreement::default().event(0, &stopped).unwrap_err().checker, "X11");
        let mut agreement = Agreement::default();
        agreement.a_disk_lost();
        agreement.event(0, &stopped).unwrap();
        assert!(agreement.has_stopped(GroupId(3)) && !agreement.has_stopped(GroupId(4)));
    }

    #[test]
    fn a_state_that_differs_after_the_same_entry_is_seen() {
        let mut agreement = Agreement::default();
        let of = |content: &[u8]| Digest::of_bytes(content);
        agreement.state(0, LogIndex(4), of(b"a")).unwrap();
        agreement.state(1, LogIndex(4), of(b"a")).unwrap();
        agreement.state(1, LogIndex(5), of(b"b")).unwrap();
        assert_eq!(agreement.state(0, LogIndex(5), of(b"c")).unwrap_err().checker, "X7");
    }

    #[test]
    fn a_stream_was_opened_by_the_last_entry_that_anybody_knew_to_have_opened_it() {
        let mut agreement = Agreement::default();
        agreement.knows(vec![(StreamInstance(1), LogIndex(7)), (StreamInstance(2), LogIndex(9))]);
        agreement.knows(vec![(StreamInstance(1), LogIndex(5))]);
        let opened = |last| agreement.opened_upto(LogIndex(last)).collect::<Vec<_>>();
        assert_eq!(opened(6), []);
        assert_eq!(opened(8), [StreamInstance(1)]);
        assert_eq!(opened(9), [StreamInstance(1), StreamInstance(2)]);
    }

    #[test]
    fn a_name_that_nobody_closes_has_one_meaning() {
        let mut agreement = Agreement::new(["words"]);
        agreement.opened("words", StreamInstance(1)).unwrap();
        agreement.opened("words", StreamInstance(1)).unwrap();
        let again = agreement.opened("words", StreamInstance(2)).unwrap_err();
        assert_eq!((again.checker.as_str(), again.decided_by), ("X7", Some(GroupId::CONTROL)));
        assert!(!agreement.forgotten(&[StreamInstance(1)]), "others know it");
        agreement.opened("words", StreamInstance(2)).unwrap_err();
        assert!(agreement.forgotten(&[StreamInstance(3)]));
        agreement.opened("words", StreamInstance(2)).expect("who alone knew the other forgot it");
        agreement.opened("contested", StreamInstance(3)).unwrap();
        agreement.opened("contested", StreamInstance(4)).unwrap();
    }
}
