//! Heartbeats between nodes that share groups, end to end over the overlay: whether the other node lives, which start of it
//! that is, and which groups it leads for us. For liveness only; no vote, read or commit relies on them.
//!
//! A beat goes to each near peer ten times a second, and to a far one, whose silence nobody acts upon at once, every two seconds, or more rarely if there are many; each
//! says when the next one comes. It carries a digest of the (group, term) list that the sender leads for the receiver, and
//! what the sender last saw of the receiver's own list; the list itself travels, in pages, until the other end is known to have
//! it. So a lost beat costs nothing and an idle pair says little.
//!
//! # Invariants
//! - P1: `Suspect` and `Alive` alternate for each peer; a new peer counts as alive until it has been silent for the time
//!   after which any peer is suspect. Nobody suspects who is no peer any more.
//! - P2: a list is told only whole, as its digest proves.
//! - P3: a beat of a start that was replaced is ignored while the later start is heard, and so is one that was overtaken by a
//!   later beat: the list in it is old.
//! - P4: time in which this node stood still counts against nobody.
//! - P5: memory is bounded: peers by what the caller names, pages of a list by [`LEADS_PAGES_MAX`].
//! - P6: the next beat leaves as soon as the last one said. Whoever heard it suspects nobody sooner than that makes sense, whatever the
//!   two ends think of how near they are.

mod beat;
mod config;
mod ours;
mod peer;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

pub use beat::{Beat, LeadsDigest, LeadsPage};
pub use config::Config;
use ours::Ours;
use peer::{Peer, REPLACED_MAX};

use crate::id::{BootId, Generation, GroupId, NodeId, Term};
use crate::level::Level;
use crate::planted::{Bug, Planted};
use crate::rng::Rng;
use crate::sometimes;
use crate::time::{Instant, Now, Span};

/// The most groups on one page: about 48 KiB, so that a beat fits into any frame.
pub const LEADS_PAGE_MAX: usize = 1500;
/// The most pages of one list.
pub const LEADS_PAGES_MAX: u32 = 64;

/// What [`Pairs`] is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The nodes that share groups with this one: all of them.
    Peers {
        /// Whose silence is acted upon.
        near: BTreeSet<NodeId>,
        /// The others.
        far: BTreeSet<NodeId>,
    },
    /// A beat came.
    Beat {
        /// From whom.
        from: NodeId,
        /// The beat.
        beat: Beat,
    },
    /// This node leads a group in which another takes part, or no more.
    Leads {
        /// The other node; it is told while it is a peer.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// Under which term.
        term: Option<Term>,
    },
    /// What a peer leads is acted upon again: its list is wanted anew, though it may be the one that was told.
    Compare {
        /// The peer.
        node: NodeId,
    },
    /// When the oldest write that is not on disk yet was asked for; `None` if all are.
    OldestWrite(Option<Instant>),
    /// The deadline was reached, or the caller looks in.
    Deadline,
}

/// What [`Pairs`] wants or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a beat, over any path.
    Send {
        /// To whom.
        to: NodeId,
        /// The beat.
        beat: Beat,
    },
    /// A peer is not heard, or its disk does not move.
    Suspect {
        /// Who.
        node: NodeId,
    },
    /// A suspect peer is well again, or no peer any more.
    Alive {
        /// Who.
        node: NodeId,
    },
    /// A start of a peer is heard for the first time, its first included.
    NewBoot {
        /// Who.
        node: NodeId,
        /// The start.
        boot: BootId,
    },
    /// What a peer leads for this node, whole, when it is known first, whenever it changed, and when it is wanted anew.
    TheyLead {
        /// Who.
        node: NodeId,
        /// The groups and their terms.
        groups: Vec<(GroupId, Term)>,
    },
    /// This node itself stood still.
    Stalled {
        /// For how long.
        by: Span,
    },
}

/// All pairs of a node.
#[derive(Clone, Debug)]
pub struct Pairs {
    config: Config,
    own: NodeId,
    boot: BootId,
    generation: Option<Generation>,
    peers: BTreeMap<NodeId, Peer>,
    /// What this node leads, by the nodes for which it does.
    ours: BTreeMap<NodeId, Ours>,
    /// Order of beats.
    beats: BTreeSet<(Instant, NodeId)>,
    /// When somebody may become suspect, at the earliest.
    watch: Option<Instant>,
    oldest_write: Option<Instant>,
    lag: Span,
    rng: Rng,
    planted: Planted,
    outputs: VecDeque<Output>,
}

impl Pairs {
    /// A node without peers. `boot` names this start.
    #[must_use]
    pub fn new(config: Config, own: NodeId, boot: BootId, rng: Rng, planted: Planted) -> Self {
        Self {
            config,
            own,
            boot,
            generation: None,
            peers: BTreeMap::new(),
            ours: BTreeMap::new(),
            beats: BTreeSet::new(),
            watch: None,
            oldest_write: None,
            lag: Span::ZERO,
            rng,
            planted,
            outputs: VecDeque::new(),
        }
    }

    /// Recovery is over and this start's generation is on disk: beats may go out.
    pub fn restored(&mut self, now: Now, generation: Generation) {
        self.generation = Some(generation);
        self.run_due(now.monotonic);
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        let now = now.monotonic;
        self.forgive_own_stall(now);
        match input {
            Input::Peers { near, far } => self.on_peers(now, &near, &far),
            Input::Beat { from, beat } => self.on_beat(now, from, beat),
            Input::Leads { node, group, term } => self.on_leads(now, node, group, term),
            Input::Compare { node } => self.on_compare(now, node),
            Input::OldestWrite(since) => self.oldest_write = since,
            Input::Deadline => {}
        }
        self.run_due(now);
    }

    /// The next output; call until `None` after each [`Pairs::handle`].
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let beat = self.beats.first().filter(|_| self.generation.is_some()).map(|&(at, _)| at);
        beat.into_iter().chain(self.watch).min()
    }

    /// Whether a peer is heard and its disk moves. A node that is no peer is not.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| !peer.suspect)
    }

    /// How late a peer's loop ran, by its last beat.
    #[must_use]
    pub fn lag(&self, node: NodeId) -> Option<Span> {
        self.peers.get(&node).map(|peer| peer.lag)
    }

    /// The start of a peer that counts now, and its count of starts.
    #[must_use]
    pub fn start_of(&self, node: NodeId) -> Option<(BootId, Generation)> {
        self.peers.get(&node)?.start
    }

    /// Since when a peer has been one. Nothing is remembered of it from before.
    #[must_use]
    pub fn met(&self, node: NodeId) -> Option<Instant> {
        self.peers.get(&node).map(|peer| peer.since)
    }

    fn on_peers(&mut self, now: Instant, near: &BTreeSet<NodeId>, far: &BTreeSet<NodeId>) {
        let (beats, outputs) = (&mut self.beats, &mut self.outputs);
        self.peers.retain(|node, peer| {
            let stays = near.contains(node) || far.contains(node);
            if !stays {
                beats.remove(&(peer.next_beat, *node));
            }
            if !stays && peer.suspect {
                // If it comes back it counts as alive; whoever was told to suspect it must not do so for ever.
                outputs.push_back(Output::Alive { node: *node });
            }
            stays
        });
        let interval_far = self.config.interval_far_each.times(far.len() as u64);
        let interval_far = interval_far.at_most(self.config.interval_far_max).max(self.config.interval_far);
        let far = far.difference(near).map(|&node| (node, interval_far));
        let nodes = near.iter().map(|&node| (node, self.config.interval)).chain(far);
        let mut nearer = Vec::new();
        for (node, interval) in nodes.filter(|(node, _)| *node != self.own) {
            let Some(peer) = self.peers.get_mut(&node) else {
                let peer = Peer::new(now, interval);
                self.beats.insert((peer.next_beat, node));
                self.peers.insert(node, peer);
                continue;
            };
            let was_far = peer.is_far(&self.config);
            peer.interval = interval;
            let comes_near = was_far && !peer.is_far(&self.config);
            // A little more often it will hear soon enough: else each far peer that leaves would call for a beat to each other one at once.
            if comes_near || peer.next_pause(&self.config).times(2) <= peer.promised {
                sometimes!(PeerCameNearer);
                nearer.push(node);
            }
        }
        for node in nearer {
            // It is to hear at once that it will hear much more often.
            self.hurry(now, node);
        }
        self.watch_again();
    }

    fn on_leads(&mut self, now: Instant, node: NodeId, group: GroupId, term: Option<Term>) {
        let ours = self.ours.entry(node).or_default();
        let news = ours.set(group, term);
        if ours.is_empty() {
            self.ours.remove(&node);
        }
        if news {
            self.hurry(now, node);
        }
    }

    fn on_compare(&mut self, now: Instant, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        // A list that is awaited already is told when it has come, which is later than now: pages of it that are here stay.
        if peer.theirs_digest.take().is_some() {
            self.hurry(now, node);
        }
    }

    fn on_beat(&mut self, now: Instant, from: NodeId, beat: Beat) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !peer.admits(now, &beat, &self.config, self.planted) {
            sometimes!(BeatOutdated);
            return;
        }
        if peer.start.is_none_or(|(boot, _)| boot != beat.boot) {
            let quick = peer.start.is_some() && !peer.suspect;
            sometimes!(PeerRestartedQuickly, quick);
            peer.begin(beat.boot, beat.generation);
            if !self.planted.strikes(Bug::QuickRestartUnnoticed, || quick) {
                self.outputs.push_back(Output::NewBoot { node: from, boot: beat.boot });
            }
        }
        peer.heard = now;
        peer.number = beat.number;
        peer.lag = beat.lag;
        let most =
            if peer.is_far(&self.config) { self.config.interval_far_max } else { self.config.interval_far };
        peer.pause = beat.pause.at_most(most);
        peer.disk_stuck = beat.oldest_write.is_some_and(|age| age > self.config.write_limit);
        peer.acknowledged = beat.seen_digest;
        sometimes!(SuspectIsBack, !peer.disk_stuck && peer.suspect);
        if peer.disk_stuck && !peer.suspect {
            sometimes!(PeerDiskStuck);
            peer.suspect = true;
            self.outputs.push_back(Output::Suspect { node: from });
        } else if !peer.disk_stuck && peer.suspect {
            peer.suspect = false;
            if !self.planted.has(Bug::RecoveryNotTold) {
                self.outputs.push_back(Output::Alive { node: from });
            }
        }
        if let Some(groups) = peer.collect(&beat) {
            self.outputs.push_back(Output::TheyLead { node: from, groups });
            // The other end sends the list until it hears that it has come.
            self.hurry(now, from);
        }
        self.watch_over(from);
    }

    /// Brings the next beat to a peer forward: there is news.
    fn hurry(&mut self, now: Instant, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let soon = peer.beaten.map_or(now, |at| now.max(at + self.config.interval_min));
        if soon < peer.next_beat {
            self.beats.remove(&(peer.next_beat, node));
            peer.next_beat = soon;
            self.beats.insert((soon, node));
        }
    }

    /// Somebody may become suspect once so long has passed since the beat of the one who is alive and unheard the longest.
    fn watch_again(&mut self) {
        let alive = self.peers.values().filter(|peer| !peer.suspect);
        self.watch = alive.map(|peer| peer.heard + peer.patience(&self.config)).min();
    }

    /// This peer was heard. What it moved back is seen when the watch is over: to look for the next among all peers with every beat would cost a
    /// voter of a large mesh more than all else.
    fn watch_over(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get(&node).filter(|peer| !peer.suspect) {
            let silent = peer.heard + peer.patience(&self.config);
            self.watch = Some(self.watch.map_or(silent, |watch| watch.min(silent)));
        }
    }

    fn run_due(&mut self, now: Instant) {
        if self.watch.is_some_and(|at| at <= now) {
            for (&node, peer) in &mut self.peers {
                if !peer.suspect && peer.heard + peer.patience(&self.config) <= now {
                    if self.planted.has(Bug::SilenceUnnoticed) {
                        peer.heard = now;
                        continue;
                    }
                    sometimes!(PeerFellSilent);
                    peer.suspect = true;
                    self.outputs.push_back(Output::Suspect { node });
                }
            }
            self.watch_again();
        }
        while self.generation.is_some()
            && let Some(&(at, node)) = self.beats.first()
            && at <= now
        {
            self.beats.pop_first();
            self.beat(now, node);
        }
    }

    fn beat(&mut self, now: Instant, node: NodeId) {
        let (Some(generation), Some(peer)) = (self.generation, self.peers.get_mut(&node)) else { return };
        peer.sent += 1;
        let interval = peer.next_pause(&self.config);
        peer.promised = interval;
        // Spread, so that beats to many peers do not leave in one burst for ever.
        let pause = match peer.beaten {
            None => Span(self.rng.below(peer.interval.0)).max(self.config.interval_min),
            Some(_) => interval,
        };
        if self.planted.strikes(Bug::PauseUnderstated, || pause > self.config.interval) {
            peer.promised = self.config.interval;
        }
        let mut nothing = Ours::default();
        let ours = self.ours.get_mut(&node).unwrap_or(&mut nothing);
        let beat = Beat {
            boot: self.boot,
            generation,
            number: peer.sent,
            pause: peer.promised,
            lag: self.lag,
            oldest_write: self.oldest_write.map(|since| now.since(since)),
            leads_digest: ours.digest(),
            seen_digest: peer.theirs_digest,
            leads: ours.page(peer.acknowledged),
        };
        let more = beat.leads.as_ref().is_some_and(|page| page.page + 1 < page.pages);
        let pause = if more { self.config.interval_min } else { pause };
        peer.beaten = Some(now);
        peer.next_beat = now + pause;
        self.beats.insert((peer.next_beat, node));
        self.outputs.push_back(Output::Send { to: node, beat });
    }

    fn forgive_own_stall(&mut self, now: Instant) {
        let Some(due) = self.next_deadline() else { return };
        let late = now.since(due);
        if due <= now {
            self.lag = late;
        }
        if late > self.config.stall {
            sometimes!(NodeStoodStill);
            for peer in self.peers.values_mut() {
                peer.heard += late;
            }
            self.outputs.push_back(Output::Stalled { by: late });
            self.watch_again();
        }
    }

    /// Panics if an invariant does not hold.
    pub fn check_invariants(&self, level: Level) {
        assert_eq!(self.beats.len(), self.peers.len(), "P1: a peer without a next beat");
        if level < Level::Full {
            return;
        }
        let alive = self.peers.values().filter(|peer| !peer.suspect);
        let silent = alive.map(|peer| peer.heard + peer.patience(&self.config)).min();
        let watched = silent.is_none_or(|at| self.watch.is_some_and(|watch| watch <= at));
        assert!(watched, "P1: nobody watches over the peers");
        for (node, peer) in &self.peers {
            assert!(self.beats.contains(&(peer.next_beat, *node)), "P1: {node} gets no beats");
            assert!(
                !peer.disk_stuck || peer.suspect,
                "P1: the disk of {node} is stuck and it counts as alive"
            );
            let kept = peer.beaten.is_none_or(|at| peer.next_beat <= at + peer.promised);
            assert!(kept, "P6: the next beat to {node} comes later than the last one said");
            let current = peer.start.map(|(boot, _)| boot);
            assert!(!peer.replaced.iter().any(|boot| Some(*boot) == current), "P3: {node} replaced itself");
            assert!(peer.replaced.len() <= REPLACED_MAX, "P5: too many starts of {node} are remembered");
            let pages = peer.collecting.as_ref().map_or(0, |collecting| collecting.pages.len());
            assert!(pages <= LEADS_PAGES_MAX as usize, "P5: {pages} pages of {node}");
        }
    }
}
