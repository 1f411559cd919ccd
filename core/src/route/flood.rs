//! Spreading link states: announcing one's own, passing on those of others, comparing tables.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Ordering;

use bytes::Bytes;

use super::burst::Burst;
use super::message::{Adjacency, Announcement, LinkState, Message, TableDigest};
use super::routes::Routes;
use super::table::{Offered, Standing};
use super::wire::{Malformed, NUMBER_MAX, STATES_MAX};
use super::{ADJACENCIES_MAX, Output};
use crate::id::{BootId, Generation, NodeId};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Span};

/// The most bytes of link states in one message, counted from above: it must fit into a message's header.
const FLOOD_BYTES_MAX: usize = 48 << 10;
/// How long a neighbour waits for the whole table if it had it just before.
pub(super) const FULL_PAUSE: Span = Span::millis(200);

/// So many comparisons of tables are put off at most because something has just changed.
const COMPARISONS_PUT_OFF: u64 = 2;

/// What is owed to a neighbour.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    /// Origins whose states it is to be sent.
    news: BTreeSet<NodeId>,
    /// The messages of news that it was sent.
    burst: Burst,
    /// Whether it is to be sent the whole table.
    full: bool,
    last_full: Option<Instant>,
}

impl Owed {
    /// When the whole table is to be sent.
    pub(super) fn full_at(&self) -> Option<Instant> {
        self.full.then(|| self.last_full.map_or(Instant::ZERO, |at| at + FULL_PAUSE))
    }

    /// When anything is to be sent.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let news = (!self.news.is_empty()).then(|| self.burst.ready_at());
        news.into_iter().chain(self.full_at()).min()
    }

    /// The origins whose states are to be sent now.
    fn take_news(&mut self, now: Instant) -> BTreeSet<NodeId> {
        let due = self.due_at().is_some_and(|at| at <= now);
        sometimes!(NewsPutOff, !due && !self.news.is_empty());
        if !due || self.news.is_empty() {
            return BTreeSet::new();
        }
        self.burst.spend(now);
        core::mem::take(&mut self.news)
    }
}

/// How many bytes a link state takes up, from above.
pub(super) fn weight(announcement: &Announcement) -> usize {
    96 + announcement.links.len() + announcement.claim.len()
}

impl Routes {
    /// Says anew what this node's links are, above whatever was said before.
    pub(super) fn announce(&mut self, now: Instant) {
        self.up_untold = false;
        let Some(version) = self.version else { return };
        if self.table.planted.strikes(Bug::AnnouncementLost, || self.pace_announce.too_soon(now)) {
            return;
        }
        let version = match version.max(self.outdo) {
            (generation, sequence) if sequence + 1 < NUMBER_MAX => (generation, sequence + 1),
            (generation, _) => (generation.next(), 0),
        };
        let links = self.links.iter().take(ADJACENCIES_MAX);
        let adjacency = |(node, link): (&NodeId, &super::cost::OwnLink)| Adjacency {
            neighbour: *node,
            cost: link.cost,
            label: link.label,
        };
        self.version = Some(version);
        let state =
            LinkState::new(version, self.own, links.map(adjacency).collect()).with_stopped(self.stopped);
        let state = state.by(self.boot, self.claim.clone());
        let offered = self.table.offer(now, state, Span::ZERO);
        assert!(
            matches!(offered, Offered::Taken { .. }),
            "T5: a state of this node's own is newer than its newest"
        );
        self.pace_announce.done(now, self.config.announce_min, self.config.announce_max);
        self.pace_costs.is_done();
        self.refresh_at = Some(now + self.around(self.config.refresh));
        self.changed_at = now;
        self.spread(self.own, None);
    }

    /// A span, give or take a quarter.
    pub(super) fn around(&mut self, span: Span) -> Span {
        let quarter = span.over(4).0;
        Span(span.0 - quarter + self.rng.below(2 * quarter))
    }

    /// A state is news to all neighbours but the one it came from.
    fn spread(&mut self, origin: NodeId, from: Option<NodeId>) {
        for (_, owed) in self.owed.iter_mut().filter(|(node, _)| Some(**node) != from) {
            owed.news.insert(origin);
            self.owed_at = Some(Instant::ZERO);
        }
    }

    pub(super) fn on_message(
        &mut self,
        now: Instant,
        from: NodeId,
        message: &Message,
    ) -> Result<(), Malformed> {
        if !self.links.contains_key(&from) {
            return Ok(());
        }
        match message {
            Message::Flood(states) => {
                states.iter().try_for_each(|announcement| self.on_state(now, from, announcement))?;
            }
            Message::Ask => self.owe_full(from),
            Message::Records(records) => {
                self.outputs.extend(records.iter().cloned().map(Output::Record));
            }
            Message::Summary(digest) => self.on_summary(now, from, *digest),
            Message::Unknown => sometimes!(UnknownKindSkipped),
        }
        Ok(())
    }

    fn on_state(&mut self, now: Instant, from: NodeId, announcement: &Announcement) -> Result<(), Malformed> {
        let origin = announcement.origin;
        if origin == self.own {
            return self.on_own_state(now, from, announcement);
        }
        if announcement.age >= self.config.lifetime && !announcement.stopped {
            return Ok(());
        }
        // Whose state is in the table is a member (T1): most are.
        let member = self.table.get(origin).is_some() || self.members.contains(&origin);
        sometimes!(StateOfNoMember, !member);
        if !member {
            return self.held.hold(now, from, announcement);
        }
        match self.table.standing(origin, announcement.rank()) {
            Standing::News => {
                let state = announcement.read_after(self.table.get(origin))?;
                self.note_stopped(origin, state.is_stopped());
                let links = self.table.put(now, state, announcement.age);
                self.on_taken(now, from, origin, links);
            }
            Standing::Known => {}
            Standing::Stale => {
                sometimes!(StateStale);
                self.owe(from, origin);
            }
        }
        Ok(())
    }

    /// A link state of another member was taken in; `links` tells whether it says anything else than the one before.
    fn on_taken(&mut self, now: Instant, from: NodeId, origin: NodeId, links: bool) {
        self.changed_at = now;
        if !self.table.planted.has(Bug::FloodNotPassedOn) {
            self.spread(origin, Some(from));
        }
        if links {
            self.pace_compute.want(now);
        }
    }

    /// Somebody holds a state of this node: one that it wrote in an earlier life, or that a copy of it writes. The newest must be the one
    /// this node wrote last, or nobody would believe it.
    fn on_own_state(&mut self, now: Instant, from: NodeId, said: &Announcement) -> Result<(), Malformed> {
        let Some(own) = self.table.get(self.own) else { return Ok(()) };
        match said.rank().cmp(&own.rank()) {
            Ordering::Less => self.owe(from, self.own),
            Ordering::Equal => {}
            Ordering::Greater => {
                said.read_after(Some(own))?;
                if said.boot != self.boot && said.boot != BootId::default() {
                    // It may have ended before this one began, and what it said been on its way.
                    let (boot, claim) = (said.boot, Bytes::copy_from_slice(&said.claim));
                    self.outputs.push_back(Output::Rival { boot, claim });
                }
                self.outdo_state(now, (said.generation, said.sequence));
            }
        }
        Ok(())
    }

    fn outdo_state(&mut self, now: Instant, version: (Generation, u64)) {
        // The last generation of all is said by nobody honest, and cannot be outdone.
        if version.0.0 >= NUMBER_MAX - 1 || self.table.planted.has(Bug::OwnStateNotOutdone) {
            return;
        }
        sometimes!(OwnStateOutdone);
        self.outdo = self.outdo.max(version);
        // At once, unless it happens again and again: of a node that exists twice, each outdoes the other for ever.
        self.pace_announce.want(now);
    }

    fn owe(&mut self, neighbour: NodeId, origin: NodeId) {
        if let Some(owed) = self.owed.get_mut(&neighbour) {
            owed.news.insert(origin);
            self.owed_at = Some(Instant::ZERO);
        }
    }

    pub(super) fn owe_full(&mut self, neighbour: NodeId) {
        if let Some(owed) = self.owed.get_mut(&neighbour) {
            owed.full = !self.table.planted.has(Bug::TableNeverSent);
            self.owed_at = self.owed_at.into_iter().chain(owed.due_at()).min();
        }
    }

    fn on_summary(&mut self, now: Instant, from: NodeId, digest: TableDigest) {
        let last = self.owed.get(&from).and_then(|owed| owed.last_full).unwrap_or_default();
        if digest != self.digest() && self.is_comparable(now, last) {
            sometimes!(TablesDiffered);
            self.owe_full(from);
        }
    }

    /// Whether a difference of tables would tell anything: what changed just now is still on its way. Where something always changes, what was
    /// lost must come all the same, so that is put off for a while only, from when it was `last` done.
    fn is_comparable(&self, now: Instant, last: Instant) -> bool {
        now.since(self.changed_at) >= self.config.settle
            || now.since(last) >= self.config.compare.times(COMPARISONS_PUT_OFF)
    }

    /// Compares tables with all neighbours, and forgets what nobody says any more.
    pub(super) fn compare(&mut self, now: Instant) {
        self.compare_at = now + self.around(self.config.compare);
        if self.table.expire(now, self.config.lifetime, self.own) {
            rare!(StateExpired);
            self.pace_compute.want(now);
        }
        self.held.expire(now, self.config.lifetime);
        if self.is_comparable(now, self.compared_at) {
            self.compared_at = now;
            let digest = self.digest();
            for &to in self.links.keys() {
                self.outputs.push_back(Output::Send { to, message: Message::Summary(digest) });
            }
        }
    }

    /// There are new members: their states are taken that wait for them (T7). Neighbours are asked for their tables only if some did not
    /// wait.
    pub(super) fn welcome(&mut self, now: Instant, newcomers: &[NodeId]) {
        for &origin in newcomers {
            if self
                .table
                .planted
                .strikes(Bug::HeldStateNotTaken, || self.held.origins().any(|held| held == origin))
            {
                continue;
            }
            let Some((from, state, age)) = self.held.take(now, origin) else { continue };
            if age < self.config.lifetime {
                sometimes!(HeldStateTaken);
                self.note_stopped(origin, state.is_stopped());
                if let Offered::Taken { links } = self.table.offer(now, state, age) {
                    self.on_taken(now, from, origin, links);
                }
            }
        }
        if self.held.gave_up() {
            rare!(HeldStateGivenUp);
            self.ask_all();
        }
    }

    fn ask_all(&mut self) {
        for &to in self.links.keys() {
            self.outputs.push_back(Output::Send { to, message: Message::Ask });
        }
    }

    /// Sends what is owed and due.
    pub(super) fn send_owed(&mut self, now: Instant) {
        if self.owed_at.is_none_or(|at| at > now) {
            return;
        }
        let mut records = Vec::new();
        for (&to, owed) in self.owed.iter_mut() {
            if owed.full_at().is_some_and(|at| at <= now) {
                owed.full = false;
                owed.last_full = Some(now);
                owed.news.extend(self.table.origins());
                records.extend(self.records.messages(to));
            }
            let news = owed.take_news(now);
            let mut batch: Vec<Announcement> = Vec::new();
            let mut bytes = 0;
            for announcement in news.into_iter().filter_map(|origin| self.table.announcement(now, origin)) {
                let weight = weight(&announcement);
                if !batch.is_empty() && (bytes + weight > FLOOD_BYTES_MAX || batch.len() == STATES_MAX) {
                    rare!(FloodInPieces);
                    let message = Message::Flood(core::mem::take(&mut batch));
                    self.outputs.push_back(Output::Send { to, message });
                    bytes = 0;
                }
                bytes += weight;
                batch.push(announcement);
            }
            if !batch.is_empty() {
                self.outputs.push_back(Output::Send { to, message: Message::Flood(batch) });
            }
        }
        self.outputs.extend(records);
        self.owed_at = self.owed.values().filter_map(Owed::due_at).min();
    }
}
