//! Targets: addresses to dial, and to dial again for ever.
//!
//! A target belongs to the link, not to a connection: whichever lane carries the link, and whoever dialled it, the target rests while
//! its node is up and is armed again when it goes down.

use alloc::string::String;

use super::Config;
use crate::id::{LaneId, NodeId};
use crate::node::output::DialId;
use crate::planted::{Bug, Planted};
use crate::rng::Rng;
use crate::sometimes;
use crate::sorted_map::SortedMap;
use crate::time::{Instant, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TargetId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be dialled at that time.
    Waiting(Instant),
    /// The world is at it.
    Dialling(DialId),
    /// A lane is up and the handshake under way.
    Greeting(LaneId),
    /// Its node is up, and is dialled at that time for a lane under another key.
    Renewing(Instant),
    /// Its node is up, or (a target for joining) its lane is.
    Resting,
}

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: String,
    /// For joining: dialled once, gone after that.
    pub(super) joining: bool,
    /// Who answered last.
    pub(super) node: Option<NodeId>,
    pub(super) state: State,
    failures: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    all: SortedMap<TargetId, Target>,
    next_target: u32,
    next_dial: u64,
    planted: Planted,
}

impl Targets {
    pub(super) fn new(planted: Planted) -> Self {
        Self { planted, ..Self::default() }
    }

    /// Adds an address to keep dialling; once is enough.
    pub(super) fn keep(&mut self, now: Instant, address: String) {
        if !self.all.values().any(|target| !target.joining && target.address == address) {
            self.add(now, address, false);
        }
    }

    /// Adds an address to dial once, for joining.
    pub(super) fn join(&mut self, now: Instant, address: String) {
        self.add(now, address, true);
    }

    fn add(&mut self, now: Instant, address: String, joining: bool) {
        let target = Target { address, joining, node: None, state: State::Waiting(now), failures: 0 };
        self.all.insert(TargetId(self.next_target), target);
        self.next_target += 1;
    }

    pub(super) fn get(&self, id: TargetId) -> Option<&Target> {
        self.all.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.all.values()
    }

    /// Dials and greetings under way.
    pub(super) fn under_way(&self) -> usize {
        let busy = |target: &&Target| matches!(target.state, State::Dialling(_) | State::Greeting(_));
        self.all.values().filter(busy).count()
    }

    /// When the next dial is due, given what may be dialled now.
    pub(super) fn next_due(&self, config: &Config, in_mesh: bool) -> Option<Instant> {
        self.next(config, in_mesh).map(|(at, _)| at)
    }

    /// The target whose time comes first, if another may be dialled at all. Asked for at every step of the node, so in one pass.
    fn next(&self, config: &Config, in_mesh: bool) -> Option<(Instant, TargetId)> {
        let (mut under_way, mut first) = (0, None);
        for (&id, target) in self.all.iter() {
            match target.state {
                State::Waiting(at) | State::Renewing(at) if in_mesh || target.joining => {
                    if first.is_none_or(|first| (at, id) < first) {
                        first = Some((at, id));
                    }
                }
                State::Dialling(_) | State::Greeting(_) => under_way += 1,
                State::Waiting(_) | State::Renewing(_) | State::Resting => {}
            }
        }
        first.filter(|_| under_way < config.dials_max)
    }

    /// Takes the target that has waited longest past its time, and names a dial for it.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        config: &Config,
        in_mesh: bool,
    ) -> Option<(DialId, String)> {
        let (_, id) = self.next(config, in_mesh).filter(|(at, _)| *at <= now)?;
        let target = self.all.get_mut(&id)?;
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        target.state = State::Dialling(dial);
        Some((dial, target.address.clone()))
    }

    /// A dial was answered with a lane: whose it is.
    pub(super) fn connected(&mut self, dial: DialId, lane: LaneId) -> Option<TargetId> {
        let (&id, target) = self.all.iter_mut().find(|(_, target)| target.state == State::Dialling(dial))?;
        target.state = State::Greeting(lane);
        Some(id)
    }

    /// Whose dial it is.
    pub(super) fn dialled(&self, dial: DialId) -> Option<TargetId> {
        self.all.iter().find(|(_, target)| target.state == State::Dialling(dial)).map(|(&id, _)| id)
    }

    /// A dial, or the handshake after it, came to nothing. Gives back a target for joining, which is gone now.
    pub(super) fn retry(
        &mut self,
        now: Instant,
        id: TargetId,
        config: &Config,
        rng: &mut Rng,
    ) -> Option<Target> {
        if self.all.get(&id)?.joining {
            return self.all.remove(&id);
        }
        let target = self.all.get_mut(&id)?;
        if self.planted.strikes(Bug::RedialGivesUp, || target.failures >= 3) {
            target.state = State::Resting;
            return None;
        }
        target.wait(now, config, rng);
        None
    }

    /// The handshake is done: `node` answers there.
    pub(super) fn answered(&mut self, id: TargetId, node: Option<NodeId>) {
        if let Some(target) = self.all.get_mut(&id) {
            target.node = node;
            target.state = State::Resting;
        }
    }

    /// A lane for joining is gone, and its target with it.
    pub(super) fn joined(&mut self, id: TargetId) {
        if self.all.get(&id).is_some_and(|target| target.joining) {
            self.all.remove(&id);
        }
    }

    /// Whoever waits to be dialled is dialled now, as if for the first time.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        for target in self.all.values_mut().filter(|target| matches!(target.state, State::Waiting(_))) {
            target.state = State::Waiting(now);
            target.failures = 0;
        }
    }

    /// The link to `node` is up: nobody needs to dial it.
    pub(super) fn rest(&mut self, node: NodeId) {
        for target in self.all.values_mut().filter(|target| target.node == Some(node)) {
            if matches!(target.state, State::Waiting(_) | State::Renewing(_)) {
                target.state = State::Resting;
            }
        }
    }

    /// The link to `node` is to be carried by another lane: one of those who rest with it dials at that time, unless one is at it already. Whether one is
    /// to do so that was not before.
    pub(super) fn renew(&mut self, at: Instant, node: NodeId) -> bool {
        if self.with(node).any(|target| matches!(target.state, State::Dialling(_) | State::Greeting(_))) {
            return false;
        }
        let all = self.all.values_mut().filter(|target| target.node == Some(node));
        let mut resting = None;
        for target in all {
            match target.state {
                State::Renewing(before) => {
                    target.state = State::Renewing(before.min(at));
                    return false;
                }
                State::Resting if resting.is_none() => resting = Some(target),
                _ => {}
            }
        }
        let Some(target) = resting else { return false };
        target.state = State::Renewing(at);
        true
    }

    /// Those at which `node` answered last.
    pub(super) fn with(&self, node: NodeId) -> impl Iterator<Item = &Target> {
        self.all.values().filter(move |target| target.node == Some(node))
    }

    /// The next dial's name.
    pub(super) fn next_dial(&self) -> DialId {
        DialId(self.next_dial)
    }

    /// The link to `node`, up for `lasted`, is down.
    pub(super) fn arm(&mut self, now: Instant, node: NodeId, lasted: Span, config: &Config, rng: &mut Rng) {
        let at_rest = |state| matches!(state, State::Resting | State::Renewing(_));
        let resting = |target: &&mut Target| target.node == Some(node) && at_rest(target.state);
        for target in self.all.values_mut().filter(resting) {
            if lasted >= config.healthy
                && !self.planted.strikes(Bug::BackoffNeverResets, || target.failures > 0)
            {
                target.failures = 0;
            }
            target.wait(now, config, rng);
        }
    }
}

impl Target {
    /// Full jitter, from the first redial on: nodes that lost one neighbour together do not come back together.
    fn wait(&mut self, now: Instant, config: &Config, rng: &mut Rng) {
        let bound = config.redial_base.times(1 << self.failures.min(30)).at_most(config.redial_cap);
        self.failures = self.failures.saturating_add(1);
        sometimes!(RedialsBackedOff, self.failures > 4);
        self.state = State::Waiting(now + Span(rng.between(0, bound.0)));
    }
}
