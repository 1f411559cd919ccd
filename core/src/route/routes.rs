//! The face of the part: inputs to reactions, deadlines, and what others may ask.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

use super::burst::Burst;
use super::cost::{News, OwnLink};
use super::flood::Owed;
use super::held::{HELD_BYTES_MAX, Held};
use super::paths::{Path, Paths};
use super::records::Records;
use super::table::Table;
use super::{Config, Input, LinkState, Malformed, Message, Output, RELAYS_MAX};
use crate::id::{BootId, Generation, NodeId};
use crate::level::Level;
use crate::planted::{Bug, Planted};
use crate::rng::Rng;
use crate::sometimes;
use crate::sorted_map::SortedMap;
use crate::time::{Instant, Now, Span};

/// A link between two nodes that both list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownLink {
    /// The end with the smaller id.
    pub a: NodeId,
    /// The other.
    pub b: NodeId,
    /// What `a` announced, in microseconds.
    pub cost: u32,
}

/// Something done at once when it was not done for a while, and at growing distances while it is wanted again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    due: Option<Instant>,
    not_before: Instant,
    gap: Span,
}

impl Pace {
    pub(super) fn want(&mut self, now: Instant) {
        sometimes!(PacedDown, now < self.not_before);
        if self.due.is_none() {
            self.due = Some(now.max(self.not_before));
        }
    }

    /// Whether it was done just before.
    pub(super) fn too_soon(&self, now: Instant) -> bool {
        now < self.not_before
    }

    pub(super) fn done(&mut self, now: Instant, min: Span, max: Span) {
        let quiet = now.since(self.not_before) >= max.times(2);
        self.gap = if quiet { min } else { self.gap.times(2).max(min).at_most(max) };
        self.not_before = now + self.gap;
        self.due = None;
    }

    /// Somebody else did it.
    pub(super) fn is_done(&mut self) {
        self.due = None;
    }

    #[cfg(test)]
    pub(super) fn is_wanted(&self) -> bool {
        self.due.is_some()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// Link states, and the paths made of them.
#[derive(Clone, Debug)]
pub struct Routes {
    pub(super) config: Config,
    pub(super) own: NodeId,
    /// Of this node's own last announcement; `None` before recovery is over.
    pub(super) version: Option<(Generation, u64)>,
    /// The highest version that anybody holds of it: the next one goes above.
    pub(super) outdo: (Generation, u64),
    pub(super) members: BTreeSet<NodeId>,
    pub(super) links: SortedMap<NodeId, OwnLink>,
    pub(super) owed: SortedMap<NodeId, Owed>,
    /// Nothing is owed to a neighbour before this, so that an input of which nothing follows need not look at them all.
    pub(super) owed_at: Option<Instant>,
    /// No cost of a link is ripe before this; kept for the same reason.
    ripe_at: Option<Instant>,
    pub(super) table: Table,
    /// Names this start.
    pub(super) boot: BootId,
    /// What it claims of another one.
    pub(super) claim: Bytes,
    pub(super) records: Records,
    pub(super) held: Held,
    pub(super) pace_announce: Pace,
    /// Of announcements of other costs alone. Any other announcement tells them, too.
    pub(super) pace_costs: Pace,
    pub(super) pace_compute: Pace,
    pub(super) refresh_at: Option<Instant>,
    pub(super) compare_at: Instant,
    /// When the table changed last.
    pub(super) changed_at: Instant,
    /// When the table was compared with those of neighbours last.
    pub(super) compared_at: Instant,
    pub(super) rng: Rng,
    pub(super) outputs: VecDeque<Output>,
    paths: Paths,
    /// Whether they are to be computed anew before one is told.
    paths_old: bool,
    /// How often paths became other ones.
    computed_count: u64,
    /// Whether a link came up that this node's own state does not tell of yet.
    pub(super) up_untold: bool,
    /// The announcements of such links.
    up_burst: Burst,
    /// Whether this node's own state says that it is stopped.
    pub(super) stopped: bool,
}

impl Routes {
    /// A node that knows nobody.
    #[must_use]
    pub fn new(config: Config, own: NodeId, rng: Rng, planted: Planted) -> Self {
        Self {
            config,
            own,
            version: None,
            outdo: (Generation(0), 0),
            members: BTreeSet::new(),
            links: SortedMap::new(),
            owed: SortedMap::new(),
            owed_at: None,
            ripe_at: None,
            table: Table::new(planted),
            boot: BootId::default(),
            claim: Bytes::new(),
            records: Records::default(),
            held: Held::default(),
            pace_announce: Pace::default(),
            pace_costs: Pace::default(),
            pace_compute: Pace::default(),
            refresh_at: None,
            compare_at: Instant::ZERO,
            changed_at: Instant::ZERO,
            compared_at: Instant::ZERO,
            rng,
            outputs: VecDeque::new(),
            paths: Paths::default(),
            paths_old: false,
            computed_count: 0,
            up_untold: false,
            up_burst: Burst::default(),
            stopped: false,
        }
    }

    /// The same, as the start of that name.
    #[must_use]
    pub fn with_boot(mut self, boot: BootId) -> Self {
        self.boot = boot;
        self
    }

    /// Recovery is over: this start's generation is known, and on disk before a link can be up.
    pub fn restored(&mut self, now: Now, generation: Generation) {
        let now = now.monotonic;
        self.version = Some((generation, 0));
        self.compare_at = now + self.around(self.config.compare);
        self.compared_at = now;
        self.announce(now);
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        let now = now.monotonic;
        match input {
            Input::LinkUp { node, label } => self.on_link_up(now, node, label),
            Input::LinkDown { node } => self.on_link_down(now, node),
            Input::Cost { node, micros } => self.on_cost(now, node, micros),
            Input::Members(members) => self.on_members(now, members),
            Input::Joined(members) => self.on_joined(now, members),
            Input::Claim(claim) => {
                self.claim = claim;
                // Not at once each time: others have a say in whom this start is told of.
                self.pace_announce.want(now);
            }
            Input::Record { node, record } => self.on_record(node, record),
            Input::Stopped(stopped) => self.on_stopped(now, stopped),
            Input::Deadline => {}
        }
        self.run_due(now);
    }

    /// A neighbour said something.
    ///
    /// # Errors
    /// [`Malformed`] if it is news and cannot be read. What stood before it counts, for it was read and is well.
    pub fn hear(&mut self, now: Now, from: NodeId, message: &Message) -> Result<(), Malformed> {
        let heard = self.on_message(now.monotonic, from, message);
        self.run_due(now.monotonic);
        heard
    }

    /// The next output; call until `None` after each [`Routes::handle`] and [`Routes::hear`].
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.version?;
        let paces = [self.pace_announce.due, self.pace_costs.due, self.pace_compute.due];
        let rounds = [self.refresh_at, Some(self.compare_at)];
        paces.into_iter().chain(rounds).chain([self.ripe_at, self.owed_at, self.up_at()]).flatten().min()
    }

    /// The neighbours whose link is up, as far as this part was told.
    pub fn neighbours(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.links.keys().copied()
    }

    /// The path to a node; `None` if there is none, and for the node itself. Paths are computed when one is asked for after a change.
    pub fn path(&mut self, to: NodeId) -> Option<Path> {
        self.renew_paths();
        self.paths.to(to)
    }

    /// Whether a path leads to a node.
    pub fn is_reached(&mut self, to: NodeId) -> bool {
        self.renew_paths();
        self.paths.lead_to(to)
    }

    /// How often paths became other ones, or may have.
    #[must_use]
    pub const fn computed_count(&self) -> u64 {
        self.computed_count
    }

    fn renew_paths(&mut self) {
        if core::mem::take(&mut self.paths_old) {
            self.paths = self.computed(&self.paths);
        }
    }

    fn computed(&self, before: &Paths) -> Paths {
        Paths::compute(before, self.own, &self.links, &self.table)
    }

    /// Everybody that can be reached, and how.
    #[must_use]
    pub fn paths(&self) -> BTreeMap<NodeId, Path> {
        match self.paths_old {
            true => self.computed(&self.paths).all(),
            false => self.paths.all(),
        }
    }

    /// The label that `from` announced for its link to `to`.
    #[must_use]
    pub fn label_of(&self, from: NodeId, to: NodeId) -> Option<u16> {
        Some(self.table.get(from)?.link(to)?.label)
    }

    /// Every link both ends of which list it, each once.
    #[must_use]
    pub fn topology(&self) -> Vec<KnownLink> {
        let mut known = Vec::new();
        let stopped = |node| self.table.get(node).is_some_and(LinkState::is_stopped);
        for state in self.table.states().filter(|state| !state.is_stopped()) {
            let origin = state.origin();
            for adjacency in state.adjacencies().iter().filter(|adjacency| origin < adjacency.neighbour) {
                let back = self.table.get(adjacency.neighbour).and_then(|other| other.link(origin));
                if back.is_some() && !stopped(adjacency.neighbour) {
                    known.push(KnownLink { a: origin, b: adjacency.neighbour, cost: adjacency.cost });
                }
            }
        }
        known
    }

    fn on_link_up(&mut self, now: Instant, node: NodeId, label: u16) {
        assert!(node != self.own, "a node has no link to itself");
        let again = self.links.insert(node, OwnLink::new(label, self.config.cost_unknown)).is_some();
        self.ripe_at = self.first_ripe();
        self.owed.insert(node, Owed::default());
        if again {
            // What was said of it is wrong now.
            self.announce(now);
        }
        self.up_untold = !again;
        self.announce_up(now);
        self.owe_full(node);
        self.compute(now);
    }

    fn on_link_down(&mut self, now: Instant, node: NodeId) {
        let kept = self.table.planted.has(Bug::PathsNotRecomputed);
        if kept {
            self.renew_paths();
        }
        self.owed.remove(&node);
        if self.links.remove(&node).is_some() {
            self.ripe_at = self.first_ripe();
            self.announce(now);
            if !kept {
                self.compute(now);
            }
        }
    }

    /// When links are to be told that came up.
    fn up_at(&self) -> Option<Instant> {
        self.up_untold.then(|| self.up_burst.ready_at())
    }

    /// Tells links that came up, unless many did so just before. While a mesh forms each of its nodes gains one link after the other.
    fn announce_up(&mut self, now: Instant) {
        if self.up_at().is_some_and(|at| at <= now) {
            self.up_burst.spend(now);
            self.announce(now);
        }
    }

    fn on_cost(&mut self, now: Instant, node: NodeId, micros: u32) {
        let Some(link) = self.links.get_mut(&node) else { return };
        let before = link.ripe_at();
        let news = link.measure(now, micros, &self.config);
        if link.ripe_at() != before {
            self.ripe_at = self.first_ripe();
        }
        match news {
            News::None => return,
            News::First => self.pace_announce.want(now),
            News::Changed => self.pace_costs.want(now),
        }
        self.pace_compute.want(now);
    }

    fn first_ripe(&self) -> Option<Instant> {
        self.links.values().filter_map(|link| link.ripe_at()).min()
    }

    fn on_members(&mut self, now: Instant, mut members: BTreeSet<NodeId>) {
        members.insert(self.own);
        let newcomers: Vec<NodeId> = members.difference(&self.members).copied().collect();
        self.members = members;
        if !newcomers.is_empty() {
            self.welcome(now, &newcomers);
        }
        if self.table.keep(&self.members) {
            // Should one of them be a member again, nobody may say its state anew for long.
            self.held.give_up();
            self.pace_compute.want(now);
        }
    }

    fn on_joined(&mut self, now: Instant, members: BTreeSet<NodeId>) {
        let newcomers: Vec<NodeId> =
            members.into_iter().filter(|member| self.members.insert(*member)).collect();
        if !newcomers.is_empty() {
            self.welcome(now, &newcomers);
        }
    }

    fn run_due(&mut self, now: Instant) {
        if self.ripe_at.is_some_and(|at| at <= now) {
            for link in self.links.values_mut() {
                link.ripen(now);
            }
            self.ripe_at = self.first_ripe();
            self.pace_costs.want(now);
            self.pace_compute.want(now);
        }
        if self.pace_costs.is_due(now) {
            self.pace_costs.done(now, self.config.announce_costs_min, self.config.announce_costs_max);
            self.pace_announce.want(now);
        }
        if self.pace_announce.is_due(now) || self.refresh_at.is_some_and(|at| at <= now) {
            self.announce(now);
        }
        self.announce_up(now);
        if self.version.is_some() && self.compare_at <= now {
            self.compare(now);
        }
        if self.pace_compute.is_due(now) {
            self.compute(now);
        }
        self.send_owed(now);
    }

    /// Paths are other ones from now on.
    fn compute(&mut self, now: Instant) {
        self.pace_compute.done(now, self.config.compute_min, self.config.compute_max);
        self.paths_old = true;
        self.computed_count += 1;
    }

    /// Panics if an invariant does not hold.
    pub fn check_invariants(&self, level: Level) {
        assert!(self.table.len() <= self.members.len() + 1, "T6: {} link states", self.table.len());
        assert!(self.held.bytes() <= HELD_BYTES_MAX, "T6: {} bytes of link states held", self.held.bytes());
        assert!(self.owed.keys().eq(self.links.keys()), "T6: something is owed to who is no neighbour");
        if let Some(version) = self.version {
            let own = self.table.get(self.own).expect("T5: this node's own state is in its table");
            assert_eq!(own.version(), version, "T5: this node's own state is not the last it announced");
            for said in own.adjacencies() {
                let is = self.links.get(&said.neighbour).map(|link| link.label);
                assert_eq!(is, Some(said.label), "T5: this node's own state tells of a link that is none");
            }
            let all = own.adjacencies().len() == self.links.keys().count().min(super::ADJACENCIES_MAX);
            assert!(all || self.up_untold, "T5: this node's own state does not say what its links are");
        }
        if level < Level::Full {
            return;
        }
        for origin in self.table.origins() {
            assert!(
                origin == self.own || self.members.contains(&origin),
                "T1: a state of {origin}, no member"
            );
        }
        assert_eq!(self.ripe_at, self.first_ripe(), "what is ripe first is not what it would be");
        let owed = self.owed.values().filter_map(Owed::due_at).min();
        assert!(
            owed.is_none_or(|at| self.owed_at.is_some_and(|known| known <= at)),
            "what is owed is forgotten"
        );
        for origin in self.held.origins() {
            assert!(!self.members.contains(&origin), "T7: a state of {origin}, a member, was not taken");
        }
        if self.pace_compute.due.is_none() {
            let paths = self.paths();
            if !self.paths_old {
                assert_eq!(
                    paths,
                    self.computed(&Paths::default()).all(),
                    "T4: paths are not what they would be"
                );
            }
            paths.iter().for_each(|(to, path)| self.check_path(*to, path));
        }
    }

    /// T3: follows the labels, as relays will.
    fn check_path(&self, to: NodeId, path: &Path) {
        assert!(path.labels.len() <= RELAYS_MAX, "T3: the path to {to} is too long");
        assert!(self.links.contains_key(&path.first), "T3: the path to {to} begins at who is no neighbour");
        let mut seen = BTreeSet::from([self.own, path.first]);
        let mut relay = path.first;
        for label in &path.labels {
            let state = self.table.get(relay).expect("T3: a relay without a link state");
            let link = state.adjacencies().iter().find(|adjacency| adjacency.label == *label);
            let link = link.unwrap_or_else(|| panic!("T3: {relay} has no link {label:#06x}"));
            let next = self.table.get(link.neighbour).and_then(|next| next.link(relay));
            assert!(next.is_some(), "T2: {} does not list its link to {relay}", link.neighbour);
            assert!(seen.insert(link.neighbour), "T3: the path to {to} comes to {} twice", link.neighbour);
            relay = link.neighbour;
        }
        assert_eq!(relay, to, "T3: the path to {to} ends elsewhere");
    }
}
