//! What consensus groups committed (X12), and what becomes of a replica that found its disk rolled back (X13).
//!
//! The ledger of a group holds, for every place of its log, the digest of everything up to it as the first node said that had it
//! committed. Whoever says something else later, in whichever life, breaks X12. And already at the moment a leader commits, no log that lacks the
//! entry may be able to win an election: what could still be lost was not committed.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::configuration::{Configuration, Member};
use wattle_core::digest::Chain;
use wattle_core::id::{GroupId, LogIndex, ReplicaId, Term};
use wattle_core::raft::{GroupPlace, Place, RoleName};

use super::{Checked, Failure, ensure};

/// A set of nodes, a bit each.
#[derive(Clone, Debug, Default)]
struct NodeSet(Vec<u64>);

impl NodeSet {
    fn insert(&mut self, node: usize) {
        if self.0.len() <= node / 64 {
            self.0.resize(node / 64 + 1, 0);
        }
        self.0[node / 64] |= 1 << (node % 64);
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.0.iter().enumerate();
        words.flat_map(|(word, &bits)| {
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit)
        })
    }
}

/// One committed entry.
#[derive(Clone, Debug)]
struct Entry {
    term: Term,
    chain: Chain,
    /// The nodes that had it committed.
    by: NodeSet,
}

/// What is known of a replica that lost something when its node's disk was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// It came back and did nothing yet.
    Doubtful,
    /// It was told what it lost, while it bore this name, in this life.
    Told(ReplicaId, u32),
    /// It counts again, and nobody had told it that it lost anything.
    Unnoticed,
}

/// A place of a group's log was decided again.
#[derive(Debug)]
enum Second {
    /// By which node; the others had it decided otherwise, on disks that were never taken back.
    By(usize, Vec<usize>),
    /// None of those could be heard, or one of them.
    Unheard(bool),
}

/// A replica as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    life: u32,
    place: GroupPlace,
    /// Up to here its log was on disk when nothing of its node waited for a sync. What a node calls durable may be ahead of that for a
    /// moment: the place of a snapshot is, from its arrival on.
    synced: LogIndex,
}

/// A replica's log, as far as it decides who can win an election.
#[derive(Clone, Debug)]
pub struct Ballot<'a> {
    /// Whose.
    pub member: Member,
    /// The end of what is durable of it.
    pub durable: Place,
    /// What it would stand for election with, if it lacks the entry in question and may stand: the end of its log, and whose votes it needs.
    pub rival: Option<(Place, &'a Configuration)>,
}

/// What a node showed of its logs last.
#[derive(Debug, Default)]
struct Shown {
    life: u32,
    synced: bool,
    /// How often anything else had changed by then: see [`Logs::changes`].
    changes: u64,
    /// The version under which its node showed this, if nodes tell it: while it stands, so do the places.
    version: Option<u64>,
    places: Vec<GroupPlace>,
}

/// Everything that any group committed.
#[derive(Debug, Default)]
pub struct Logs {
    groups: BTreeMap<GroupId, Vec<Option<Entry>>>,
    seen: BTreeMap<(usize, GroupId), Seen>,
    rolled_back: BTreeMap<(usize, GroupId), Memory>,
    /// Where replicas stood when their node's disk was taken back, until they are seen again.
    before: BTreeMap<(usize, GroupId), GroupPlace>,
    /// Replicas that lost something and count since they last showed where they stand.
    unjudged: BTreeSet<(usize, GroupId)>,
    /// Replicas whose own disks say that they were told what they lost.
    told_on_disk: BTreeSet<(usize, GroupId)>,
    /// Who votes in groups of streams in which several do.
    several: BTreeMap<GroupId, Vec<usize>>,
    /// Who came to groups of streams that others founded.
    came: BTreeMap<GroupId, Vec<usize>>,
    /// The names that replicas of those bore whose disks were emptied.
    forgotten: BTreeMap<(usize, GroupId), ReplicaId>,
    /// Who led those in which term.
    led: BTreeMap<(GroupId, Term), usize>,
    /// For replicas whose node's disk was taken back: which voters had entries of theirs on disk then, and up to where.
    vouched: BTreeMap<(usize, GroupId), BTreeMap<usize, Place>>,
    /// Groups in which a replica that had lost something counted once: anything may come of that, for ever.
    doubtful: BTreeSet<GroupId>,
    /// Groups that some were told to go on in without the others: they have two histories.
    divided: BTreeSet<GroupId>,
    /// Groups that were seen to decide the same place of their log twice, in a world in which they may: and who knew of the first time, at first;
    /// then whether none of these could be heard.
    twice: BTreeMap<GroupId, Second>,
    /// What was void last at a place, with the disk that alone held it.
    voided: BTreeMap<(GroupId, LogIndex), (Term, Chain)>,
    /// Entries that were void when a node heard in a life of its that they are committed, and that were not on its disk then.
    hearsay: Vec<(usize, u32, GroupId, Place)>,
    /// Per node.
    shown: Vec<Shown>,
    /// Counts what was told here beside where logs stand.
    changes: u64,
}

impl Logs {
    /// Whether a node whose version of where its replicas stand is known has shown all of it under that very version, and nothing else
    /// was told here since: then it need not even be asked.
    #[must_use]
    pub fn has_shown_version(&self, node: usize, life: u32, synced: bool, version: Option<u64>) -> bool {
        version.is_some() && self.last_shown(node, life, synced).is_some_and(|shown| shown.version == version)
    }

    /// A node shows, under another version, just what it showed last.
    pub fn shows_still(&mut self, node: usize, version: Option<u64>) {
        if let Some(shown) = self.shown.get_mut(node) {
            shown.version = version;
        }
    }

    /// Whether a node shows just what it showed last, and nothing else was told here since. To judge it again would change nothing: all that
    /// [`Logs::stands`] and [`Logs::stands_unsynced`] do was done the last time.
    #[must_use]
    pub fn has_shown(&self, node: usize, life: u32, synced: bool, places: &[GroupPlace]) -> bool {
        self.last_shown(node, life, synced).is_some_and(|shown| shown.places == places)
    }

    /// What a node showed last, if that was in this life and just as synced, and nothing else was told here since.
    fn last_shown(&self, node: usize, life: u32, synced: bool) -> Option<&Shown> {
        let now = (life, synced, self.changes);
        self.shown.get(node).filter(|shown| (shown.life, shown.synced, shown.changes) == now)
    }

    /// A node has shown all this, and it was judged.
    pub fn shows(
        &mut self,
        node: usize,
        life: u32,
        synced: bool,
        version: Option<u64>,
        places: &[GroupPlace],
    ) {
        if self.shown.len() <= node {
            self.shown.resize_with(node + 1, Shown::default);
        }
        let shown = &mut self.shown[node];
        (shown.life, shown.synced, shown.changes, shown.version) = (life, synced, self.changes, version);
        shown.places.clear();
        shown.places.extend_from_slice(places);
    }

    /// How far a node's commit index was known in this life before; `None` if nothing is new.
    #[must_use]
    pub fn news(&self, node: usize, life: u32, place: &GroupPlace) -> Option<LogIndex> {
        match self.seen.get(&(node, place.group)) {
            Some(seen) if seen.life == life => {
                (seen.place.commit < place.commit).then_some(seen.place.commit)
            }
            _ => Some(LogIndex(0)),
        }
    }

    /// A node of which everything written is synced shows where its replica stands.
    ///
    /// # Errors
    /// X13.
    pub fn stands(&mut self, node: usize, life: u32, place: GroupPlace) -> Checked {
        let voted = self.has_voted(node, life, &place);
        self.seen.insert((node, place.group), Seen { life, place, synced: place.durable.index });
        let key = (node, place.group);
        if self.rolled_back.get(&key) == Some(&Memory::Told(place.replica, life))
            && self.told_on_disk.insert(key)
        {
            self.changes += 1;
        }
        self.stood(node, life, place, voted)?;
        self.heard_is_held(node, life, &place)
    }

    /// What a node had only heard of is on its disk now: it counts as committed again.
    fn heard_is_held(&mut self, node: usize, life: u32, stands: &GroupPlace) -> Checked {
        let held: Vec<Place> = self
            .hearsay
            .extract_if(.., |(who, its, group, place)| {
                (*who, *group) == (node, stands.group)
                    && (*its != life || place.index <= stands.durable.index)
            })
            .filter(|(_, its, ..)| *its == life)
            .map(|(.., place)| place)
            .collect();
        held.into_iter().try_for_each(|place| self.committed(node, stands.group, place))
    }

    /// Whether a node knows of a void entry only what was still under way when the disk that alone held it was lost. A crash may take that again.
    fn is_hearsay(&self, node: usize, group: GroupId, place: Place) -> Option<u32> {
        let seen = self.seen.get(&(node, group))?;
        let void = self.voided.get(&(group, place.index)) == Some(&(place.term, place.chain));
        (void && seen.synced < place.index).then_some(seen.life)
    }

    /// A node with writes that are not synced shows where its replica stands.
    ///
    /// # Errors
    /// X13.
    pub fn stands_unsynced(&mut self, node: usize, life: u32, place: GroupPlace) -> Checked {
        let before = self.seen.get(&(node, place.group)).filter(|seen| seen.life == life);
        // What a start reads is on disk.
        let read = place.durable.index;
        let synced = before.map_or(read, |seen| seen.synced.min(read));
        let voted = self.has_voted(node, life, &place);
        self.seen.insert((node, place.group), Seen { life, place, synced });
        self.stood(node, life, place, voted)
    }

    /// Whether a replica voted since it was seen last. One that does not know yet that it is a voter may.
    fn has_voted(&self, node: usize, life: u32, place: &GroupPlace) -> bool {
        let before = self.seen.get(&(node, place.group)).filter(|seen| seen.life == life);
        let other = |seen: &Seen| (seen.place.term, seen.place.vote) != (place.term, place.vote);
        place.vote.is_some() && before.is_some_and(other)
    }

    fn stood(&mut self, node: usize, life: u32, place: GroupPlace, voted: bool) -> Checked {
        let key = (node, place.group);
        if let Some(before) = self.before.remove(&key) {
            if !lacks(&place, &before) {
                self.rolled_back.remove(&key);
            } else if place.role == RoleName::Amnesic && place.replica != before.replica {
                // Its disk says that it was told in an earlier life: it gave up its id then, and takes yet another one at each start.
                self.rolled_back.insert(key, Memory::Told(before.replica, life));
                self.told_on_disk.insert(key);
            }
        }
        self.forgot_the_word(node, life, &place);
        if place.role == RoleName::Leader && self.several.contains_key(&place.group) {
            self.led.insert((place.group, place.term), node);
        }
        if voted || matches!(place.role, RoleName::Leader | RoleName::Follower | RoleName::Candidate) {
            self.counts(node, place.group);
        }
        if self.unjudged.remove(&(node, place.group)) {
            self.could_not_be_told(node, place.group)?;
        }
        ensure!(
            self.forgotten.get(&(node, place.group)) != Some(&place.replica),
            "X13",
            "node {node} came to group {}, lost its disk, and is there as {} again, of which it remembers nothing",
            place.group,
            place.replica
        );
        let memory = self.rolled_back.get(&(node, place.group));
        ensure!(
            memory != Some(&Memory::Told(place.replica, life)) || place.role != RoleName::Leader,
            "X13",
            "node {node} leads group {} as replica {}, under which it was just told that its disk was rolled back",
            place.group,
            place.replica
        );
        Ok(())
    }

    /// A replica shows itself in a later life than the one in which it was told what it lost. If that word never was on its disk, it is as if
    /// nobody had told it.
    fn forgot_the_word(&mut self, node: usize, life: u32, place: &GroupPlace) {
        let key = (node, place.group);
        let Some(&Memory::Told(replica, told)) = self.rolled_back.get(&key) else { return };
        if replica == place.replica && told < life && !self.told_on_disk.contains(&key) {
            self.changes += 1;
            self.rolled_back.insert(key, Memory::Doubtful);
        }
    }

    /// A replica votes, stands for election or leads. Where it stands by then is judged when it shows it.
    pub fn counts(&mut self, node: usize, group: GroupId) {
        // Until it shows where it stands, nobody can say whether it lost anything.
        if self.before.contains_key(&(node, group)) {
            return;
        }
        if self.rolled_back.get(&(node, group)) == Some(&Memory::Doubtful) {
            self.changes += 1;
            self.rolled_back.insert((node, group), Memory::Unnoticed);
            self.doubtful.insert(group);
            self.unjudged.insert((node, group));
        }
    }

    /// Several vote in the group of a stream: whoever starts anew asks as many as could elect it, as in the control group, not all.
    pub fn several_vote(&mut self, group: GroupId, voters: Vec<usize>) {
        self.several.insert(group, voters);
    }

    /// These come to the group of a stream that others founded: each time that they begin with nothing they bear another name (rule C5).
    pub fn come_later(&mut self, group: GroupId, nodes: Vec<usize>) {
        self.came.insert(group, nodes);
    }

    fn comes(&self, node: usize, group: GroupId) -> bool {
        self.came.get(&group).is_some_and(|nodes| nodes.contains(&node))
    }

    /// A replica that lost something counts, and nobody told it so. In the group of a stream with one target one member votes, and asks the other
    /// first: so the other, whose disk was never taken back, does not hold more. Where several vote it asks as many as could elect it: so not
    /// too few of them are left that do not know what it had.
    fn could_not_be_told(&self, node: usize, group: GroupId) -> Checked {
        let Some(seen) = self.seen.get(&(node, group)).filter(|_| group != GroupId::CONTROL) else {
            return Ok(());
        };
        let (end, replica) = (seen.place.last, seen.place.replica);
        if let Some(voters) = self.several.get(&group) {
            return self.not_all_could_forget(node, voters, &seen.place);
        }
        let others = self.seen.iter().filter(|((other, its), _)| *its == group && *other != node);
        for ((other, _), theirs) in others.filter(|(who, _)| !self.rolled_back.contains_key(who)) {
            let holds = theirs.place.durable.index;
            ensure!(
                holds <= end.index,
                "X13",
                "node {node} counts in group {group} as replica {replica} with a log that its disk lost from {} on; nobody told it, and node {other} holds entry {holds}",
                end.index
            );
        }
        Ok(())
    }

    /// Whoever has an entry on its disk that a replica appended as a leader, which sends nothing in the group of a stream before it is on its own disk,
    /// knows what that replica had. Of any majority with that replica in it somebody must, or it may rightly not have been told.
    fn not_all_could_forget(&self, node: usize, voters: &[usize], stands: &GroupPlace) -> Checked {
        let group = stands.group;
        let none = BTreeMap::new();
        let vouched = self.vouched.get(&(node, group)).unwrap_or(&none);
        let knows = |other: &usize| {
            let sound = !self.rolled_back.contains_key(&(*other, group));
            sound && vouched.get(other).is_some_and(|place| place.rank() > stands.last.rank())
        };
        let know: Vec<usize> = voters.iter().copied().filter(knows).collect();
        let others = voters.iter().filter(|other| **other != node).count();
        let may_forget = self.divided.contains(&group) || !voters.contains(&node);
        ensure!(
            may_forget || others - know.len() >= voters.len() / 2,
            "X13",
            "node {node} counts in group {group} as replica {} with a log that its disk lost from {} on; nobody told it, and whomever it asked, one of nodes {know:?} was among them, which hold more that it appended",
            stands.replica,
            stands.last.index
        );
        Ok(())
    }

    /// A disk is taken back: remembers who holds what that node's replica appended while it led.
    fn remember_whom_it_led(&mut self, node: usize, group: GroupId) {
        let Some(voters) = self.several.get(&group) else { return };
        for &other in voters.iter().filter(|other| **other != node) {
            let Some(seen) = self.seen.get(&(other, group)) else { continue };
            let held = seen.place.durable;
            if held.index <= seen.synced && self.led.get(&(group, held.term)) == Some(&node) {
                let known = self.vouched.entry((node, group)).or_default().entry(other).or_default();
                *known = if held.rank() > known.rank() { held } else { *known };
            }
        }
    }

    /// A node says that its own disk was rolled back, as somebody told it.
    pub fn told(&mut self, node: usize, group: GroupId) {
        self.changes += 1;
        if let (Some(memory @ (Memory::Doubtful | Memory::Told(..))), Some(seen)) =
            (self.rolled_back.get_mut(&(node, group)), self.seen.get(&(node, group)))
        {
            *memory = Memory::Told(seen.place.replica, seen.life);
        }
    }

    /// Whether all of a node's log, as it was seen last, is on its disk.
    #[must_use]
    pub fn is_synced(&self, node: usize, group: GroupId) -> bool {
        self.seen.get(&(node, group)).is_some_and(|seen| seen.synced >= seen.place.last.index)
    }

    /// Whether the disk of no other node reaches as far as what a group committed, known there to be committed or not.
    #[must_use]
    pub fn holds_alone(&self, node: usize, group: GroupId) -> bool {
        let reach = self.reach_of_others(node, group);
        let mut entries = self.groups.get(&group).into_iter().flatten().enumerate();
        entries.any(|(slot, entry)| entry.is_some() && LogIndex(slot as u64) > reach)
    }

    /// How far a group's log goes on the disk of any other node, whether that runs or not.
    #[must_use]
    pub fn reach_of_others(&self, node: usize, group: GroupId) -> LogIndex {
        let others = self.seen.iter().filter(|((who, its), _)| *who != node && *its == group);
        others.map(|(_, seen)| seen.synced).max().unwrap_or_default()
    }

    /// What of a node's entries nobody else had committed and on disk is void.
    fn void(&mut self, node: usize) {
        for (&group, entries) in &mut self.groups {
            for (slot, entry) in entries.iter_mut().enumerate() {
                let on_disk = |other: usize| {
                    let seen = self.seen.get(&(other, group));
                    seen.is_some_and(|seen| seen.synced >= LogIndex(slot as u64))
                };
                if !entry.as_ref().is_some_and(|entry| entry.by.iter().any(|by| by != node && on_disk(by)))
                    && let Some(void) = entry.take()
                {
                    self.voided.insert((group, LogIndex(slot as u64)), (void.term, void.chain));
                }
            }
        }
    }

    /// A node left a group for good: if it comes back, then under another name and with nothing.
    pub fn left(&mut self, node: usize, group: GroupId) {
        self.changes += 1;
        self.seen.remove(&(node, group));
        self.before.remove(&(node, group));
    }

    /// A node comes back with an empty disk: it is nobody in its groups until it is taken in under a fresh name. What nobody else had
    /// committed and on disk is void.
    pub fn emptied(&mut self, node: usize) {
        self.changes += 1;
        self.void(node);
        let places = self.seen.iter().filter(|((who, _), _)| *who == node);
        let given_up: Vec<(GroupId, Memory)> =
            places.map(|((_, group), seen)| (*group, Memory::Told(seen.place.replica, seen.life))).collect();
        for (group, memory) in given_up {
            if let Memory::Told(replica, _) = memory
                && self.comes(node, group)
            {
                self.forgotten.insert((node, group), replica);
            }
            self.remember_whom_it_led(node, group);
            self.before.remove(&(node, group));
            if self.rolled_back.get(&(node, group)) != Some(&Memory::Unnoticed) {
                self.rolled_back.insert((node, group), memory);
                // It is nobody any more, and needs no word of that; but where several founded a stream's group it is a founder again under the name that follows
                // from its node once the mesh took it in, and asks as many as could elect it.
                match self.several.contains_key(&group) && !self.comes(node, group) {
                    true => self.told_on_disk.remove(&(node, group)),
                    false => self.told_on_disk.insert((node, group)),
                };
            }
        }
    }

    /// A node's disk is taken back: what nobody else had committed and on disk is void, and what it does next is looked at closely.
    pub fn rolled_back(&mut self, node: usize) {
        self.changes += 1;
        self.forgotten.retain(|(who, _), _| *who != node);
        self.void(node);
        let seen: Vec<(GroupId, GroupPlace)> = self
            .seen
            .iter()
            .filter(|((who, _), _)| *who == node)
            .map(|((_, group), seen)| (*group, seen.place))
            .collect();
        for (group, place) in seen {
            self.remember_whom_it_led(node, group);
            self.seen.remove(&(node, group));
            self.told_on_disk.remove(&(node, group));
            // Who did not notice the last time has not regained what it lost then, nor has who was told and bears the old name still: that
            // it lost nothing more this time does not make it whole.
            let owes = match self.rolled_back.insert((node, group), Memory::Doubtful) {
                Some(Memory::Doubtful) => true,
                Some(Memory::Told(replica, _)) => replica == place.replica,
                Some(Memory::Unnoticed) | None => false,
            };
            if !owes {
                self.before.insert((node, group), place);
            }
        }
    }

    /// Whether a group may stop or differ.
    #[must_use]
    pub fn excused(&self, group: GroupId) -> bool {
        self.divided.contains(&group) || self.may_stand_still(group)
    }

    /// Whether a group rightly has two histories: some were told to go on without the others, or a place of its log was seen to be decided twice, and whoever
    /// decided again could hear nobody who knew of the first time. What its decisions were said to be may contradict each other then.
    #[must_use]
    pub fn decided_twice(&self, group: GroupId) -> bool {
        self.divided.contains(&group) || matches!(self.twice.get(&group), Some(Second::Unheard(true)))
    }

    /// A group decided a place of its log again, by that node; `reaches` says whom that can hear.
    pub fn second(&mut self, node: usize, group: GroupId, reaches: impl Fn(usize) -> bool) {
        if let Some(second) = self.twice.get_mut(&group)
            && let Second::By(by, knew) = second
            && *by == node
        {
            *second = Second::Unheard(!knew.iter().any(|&knew| reaches(knew)));
        }
    }

    /// Whether it is to be said whom a node can hear that decided something again.
    #[must_use]
    pub fn is_second(&self, node: usize, group: GroupId) -> bool {
        matches!(self.twice.get(&group), Some(Second::By(by, _)) if *by == node)
    }

    fn decided_again(&mut self, node: usize, group: GroupId, knew: NodeSet) {
        let sound = |other: &usize| *other != node && !self.rolled_back.contains_key(&(*other, group));
        let knew: Vec<usize> = knew.iter().filter(sound).collect();
        self.twice.entry(group).or_insert(Second::By(node, knew));
    }

    /// Whether a group need not go on: a replica that lost something by a roll-back voted, stood or led before anybody told it so (nobody it
    /// could ask remembered); or replicas on more than one node lost something.
    #[must_use]
    pub fn may_stand_still(&self, group: GroupId) -> bool {
        let rolled_back = self.rolled_back.keys().filter(|(_, its)| *its == group).count();
        self.doubtful.contains(&group) || rolled_back > 1
    }

    /// Whose disks hold a log that a node's, told that its disk was rolled back, is behind.
    #[must_use]
    pub fn holders_of_what_it_lost(&self, node: usize, group: GroupId) -> Vec<usize> {
        let key = (node, group);
        let told = matches!(self.rolled_back.get(&key), Some(Memory::Told(..)));
        let Some(own) = self.seen.get(&key).filter(|_| told).map(|seen| seen.place.last.rank()) else {
            return Vec::new();
        };
        let others = self.seen.iter().filter(|((other, its), _)| *its == group && *other != node);
        others.filter(|(_, seen)| seen.place.durable.rank() > own).map(|((other, _), _)| *other).collect()
    }

    /// Some are told to go on without the others, who may go on as well.
    pub fn divides(&mut self, group: GroupId) {
        self.changes += 1;
        self.divided.insert(group);
    }

    /// A group goes on without what a disk lost, and may do so: anything may come of that, for ever.
    pub fn forks(&mut self, group: GroupId) {
        self.changes += 1;
        self.doubtful.insert(group);
    }

    /// A node has an entry committed.
    ///
    /// # Errors
    /// X12.
    pub fn committed(&mut self, node: usize, group: GroupId, place: Place) -> Checked {
        if let Some(life) = self.is_hearsay(node, group, place) {
            self.hearsay.push((node, life, group, place));
            return Ok(());
        }
        let excused = self.excused(group);
        let entries = self.groups.entry(group).or_default();
        let slot = place.index.0 as usize;
        if entries.len() <= slot {
            entries.resize(slot + 1, None);
        }
        let entry = entries[slot].get_or_insert(Entry {
            term: place.term,
            chain: place.chain,
            by: NodeSet::default(),
        });
        if (entry.term, entry.chain) == (place.term, place.chain) {
            entry.by.insert(node);
            return Ok(());
        }
        if excused {
            let knew = entry.by.clone();
            self.decided_again(node, group, knew);
            return Ok(());
        }
        let others: Vec<usize> = entry.by.iter().collect();
        Err(Failure::new(
            "X12",
            format!(
                "group {group}: node {node} has entry {} of term {} ({:?}) committed, nodes {others:?} had term {} ({:?})",
                place.index, place.term, place.chain, entry.term, entry.chain
            ),
        ))
    }

    /// Where a node's replica of a group stood when it was last seen, whatever became of the node since; `None` if it lost something
    /// by a roll-back and bears the same name still: it must not vote.
    #[must_use]
    pub fn last_seen(&self, node: usize, group: GroupId) -> Option<GroupPlace> {
        let place = self.seen.get(&(node, group))?.place;
        match self.rolled_back.get(&(node, group)) {
            Some(Memory::Doubtful) => None,
            Some(Memory::Told(replica, _)) if *replica == place.replica => None,
            _ => Some(place),
        }
    }

    /// A leader has an entry committed: no replica without it may be able to win an election any more.
    ///
    /// # Errors
    /// X12.
    pub fn cannot_be_lost(&self, group: GroupId, entry: Place, ballots: &[Ballot<'_>]) -> Checked {
        if self.excused(group) {
            return Ok(());
        }
        for rival in ballots {
            let Some((last, configuration)) = &rival.rival else { continue };
            let grants = |voter: &Member| {
                let ballot = ballots.iter().find(|ballot| ballot.member == *voter);
                ballot.is_some_and(|ballot| {
                    ballot.member == rival.member || ballot.durable.rank() <= last.rank()
                })
            };
            let wins =
                |voters: &[Member]| 2 * voters.iter().filter(|voter| grants(voter)).count() > voters.len();
            let outgoing = &configuration.outgoing;
            let elected = configuration.votes(rival.member)
                && wins(&configuration.voters)
                && (outgoing.is_empty() || wins(outgoing));
            ensure!(
                !elected,
                "X12",
                "group {group}: entry {} of term {} is committed, and {} that lacks it can still be elected",
                entry.index,
                entry.term,
                rival.member.node
            );
        }
        Ok(())
    }
}

/// Whether a replica came back without something it had: a term, a vote, or part of its log.
fn lacks(now: &GroupPlace, before: &GroupPlace) -> bool {
    let vote_lost = now.term == before.term && before.vote.is_some() && now.vote != before.vote;
    let (end, had) = (now.last, before.durable);
    let log_lost = end.rank() < had.rank() || end.index < had.index || end.index == had.index && end != had;
    now.replica != before.replica || now.term < before.term || vote_lost || log_lost
}

#[cfg(test)]
mod tests;
