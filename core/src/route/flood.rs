//! Spreading link states: announcing one's own, passing on those of others, comparing tables.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::message::{Adjacency, Aged, LinkState, Message, TableDigest};
use super::routes::Routes;
use super::table::Offered;
use super::wire::{NUMBER_MAX, STATES_MAX};
use super::{ADJACENCIES_MAX, Output};
use crate::id::NodeId;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Span};

/// The most bytes of link states in one message, by a rough count from above: it must fit into a message's header.
const FLOOD_BYTES_MAX: usize = 48 << 10;
/// How long a neighbour waits for the whole table if it had it just before.
pub(super) const FULL_PAUSE: Span = Span::millis(200);

/// How much news a neighbour is sent at once before it has to wait ...
const BURST: u64 = 8;
/// ... for so long for each further message, so that while a large mesh forms or heals one message bears what many would. Longer makes
/// fewer messages then, and news arrives later by up to so much at each node on its way.
const NEWS_PAUSE: Span = Span::millis(100);

/// So many comparisons of tables are put off at most because something has just changed.
const COMPARISONS_PUT_OFF: u64 = 2;

/// What is owed to a neighbour.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    /// Origins whose states it is to be sent.
    news: BTreeSet<NodeId>,
    /// When all that was sent would have been sent, had each message waited for its pause.
    paid_at: Instant,
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
        let ahead = NEWS_PAUSE.times(BURST - 1);
        let news = (!self.news.is_empty()).then(|| Instant(self.paid_at.0.saturating_sub(ahead.0)));
        news.into_iter().chain(self.full_at()).min()
    }

    /// The origins whose states are to be sent now.
    fn take_news(&mut self, now: Instant) -> BTreeSet<NodeId> {
        let due = self.due_at().is_some_and(|at| at <= now);
        sometimes!(NewsPutOff, !due && !self.news.is_empty());
        if !due || self.news.is_empty() {
            return BTreeSet::new();
        }
        self.paid_at = self.paid_at.max(now) + NEWS_PAUSE;
        core::mem::take(&mut self.news)
    }
}

pub(super) fn weight(aged: &Aged) -> usize {
    64 + 36 * aged.state.adjacencies.len()
}

impl Routes {
    /// Says anew what this node's links are, above whatever was said before.
    pub(super) fn announce(&mut self, now: Instant) {
        let Some(version) = self.version else { return };
        if self.table.planted.strikes(Bug::AnnouncementLost, || self.pace_announce.too_soon(now)) {
            return;
        }
        let (generation, sequence) = match version.max(self.outdo) {
            (generation, sequence) if sequence + 1 < NUMBER_MAX => (generation, sequence + 1),
            (generation, _) => (generation.next(), 0),
        };
        let links = self.links.iter().take(ADJACENCIES_MAX);
        let adjacency = |(node, link): (&NodeId, &super::cost::OwnLink)| Adjacency {
            neighbour: *node,
            cost: link.cost,
            label: link.label,
        };
        let adjacencies = links.map(adjacency).collect();
        let state = Arc::new(LinkState { generation, sequence, origin: self.own, adjacencies });
        self.version = Some((generation, sequence));
        let offered = self.table.offer(now, &Aged { state, age: Span::ZERO });
        assert!(
            matches!(offered, Offered::Taken { .. }),
            "T5: a state of this node's own is newer than its newest"
        );
        self.pace_announce.done(now, self.config.announce_min, self.config.announce_max);
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

    pub(super) fn on_message(&mut self, now: Instant, from: NodeId, message: Message) {
        if !self.links.contains_key(&from) {
            return;
        }
        match message {
            Message::Flood(states) => states.iter().for_each(|aged| self.on_state(now, from, aged)),
            Message::Ask => self.owe_full(from),
            Message::Summary(digest) => self.on_summary(now, from, digest),
        }
    }

    fn on_state(&mut self, now: Instant, from: NodeId, aged: &Aged) {
        let origin = aged.state.origin;
        if origin == self.own {
            return self.on_own_state(now, from, &aged.state);
        }
        if aged.age >= self.config.lifetime {
            return;
        }
        let member = self.members.contains(&origin);
        sometimes!(StateOfNoMember, !member);
        match member {
            true => self.take(now, from, aged),
            false => self.held.hold(now, from, aged),
        }
    }

    /// A link state of another member.
    fn take(&mut self, now: Instant, from: NodeId, aged: &Aged) {
        let origin = aged.state.origin;
        match self.table.offer(now, aged) {
            Offered::Taken { links } => {
                self.changed_at = now;
                if !self.table.planted.has(Bug::FloodNotPassedOn) {
                    self.spread(origin, Some(from));
                }
                if links {
                    self.pace_compute.want(now);
                }
            }
            Offered::Known => {}
            Offered::Stale => {
                sometimes!(StateStale);
                self.owe(from, origin);
            }
        }
    }

    /// Somebody holds a state of this node: one that it wrote in an earlier life, or that a copy of it writes. The newest must be the one
    /// this node wrote last, or nobody would believe it.
    fn on_own_state(&mut self, now: Instant, from: NodeId, state: &Arc<LinkState>) {
        let Some(own) = self.table.get(self.own) else { return };
        match state.cmp(own) {
            Ordering::Less => self.owe(from, self.own),
            Ordering::Equal => {}
            // The last generation of all is said by nobody honest, and cannot be outdone.
            Ordering::Greater if state.generation.0 >= NUMBER_MAX - 1 => {}
            Ordering::Greater if self.table.planted.has(Bug::OwnStateNotOutdone) => {}
            Ordering::Greater => {
                sometimes!(OwnStateOutdone);
                self.outdo = self.outdo.max(state.version());
                // At once, unless it happens again and again: of a node that exists twice, each outdoes the other for ever.
                self.pace_announce.want(now);
            }
        }
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
        if digest != self.table.digest() && self.is_comparable(now, last) {
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
            let digest = self.table.digest();
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
            let Some((from, aged)) = self.held.take(now, origin) else { continue };
            if aged.age < self.config.lifetime {
                sometimes!(HeldStateTaken);
                self.take(now, from, &aged);
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
        for (&to, owed) in self.owed.iter_mut() {
            if owed.full_at().is_some_and(|at| at <= now) {
                owed.full = false;
                owed.last_full = Some(now);
                owed.news.extend(self.table.origins());
            }
            let news = owed.take_news(now);
            let mut batch: Vec<Aged> = Vec::new();
            let mut bytes = 0;
            for aged in news.into_iter().filter_map(|origin| self.table.aged(now, origin)) {
                let weight = weight(&aged);
                if !batch.is_empty() && (bytes + weight > FLOOD_BYTES_MAX || batch.len() == STATES_MAX) {
                    rare!(FloodInPieces);
                    let message = Message::Flood(core::mem::take(&mut batch));
                    self.outputs.push_back(Output::Send { to, message });
                    bytes = 0;
                }
                bytes += weight;
                batch.push(aged);
            }
            if !batch.is_empty() {
                self.outputs.push_back(Output::Send { to, message: Message::Flood(batch) });
            }
        }
        self.owed_at = self.owed.values().filter_map(Owed::due_at).min();
    }
}
