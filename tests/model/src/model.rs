//! What may happen, and what must hold.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use stateright::{Model, Property};
use wattle_core::planted::Planted;
use wattle_core::raft::{Body, RoleName};

use crate::replica::{Effects, Parcel, REPLICAS, Replica};
use crate::state::{Committed, Fault, History, Network, Order, Spent, State};

/// Election safety.
pub const ONE_LEADER: &str = "one leader in a term";
/// No replica says that it votes for two.
pub const ONE_VOTE: &str = "one vote in a term";
/// Log matching.
pub const LOGS_MATCH: &str = "logs match";
/// Leader completeness.
pub const LEADERS_ARE_COMPLETE: &str = "a leader holds what was committed in earlier terms";
/// Leader completeness, one election earlier.
pub const ELECTABLE_IS_COMPLETE: &str = "nobody can be elected who lacks what is committed";
/// State machine safety.
pub const SAME_IS_APPLIED: &str = "replicas commit and apply the same";
/// Neither within a life, nor behind what was said before a crash.
pub const NOTHING_GOES_BACK: &str = "terms, commit indexes and what is applied never go back";
/// Acknowledged is durable.
pub const COMMITTED_IS_DURABLE: &str = "what is committed is on the disks of a quorum";
/// R1 to R19, asserted by the engine.
pub const INVARIANTS_HOLD: &str = "the engine's invariants hold";
/// No disk is rolled back here, so nobody may take one for that.
pub const NOBODY_STOPS: &str = "no group stops";

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The last term.
    pub terms: u64,
    /// How often each thing may happen.
    pub most: Spent,
    /// Whether writing takes time, so that a crash may fall between a step and its row. Otherwise every row is durable at once.
    pub slow_disks: bool,
    /// In which order messages arrive.
    pub order: Order,
    /// Whether a replica is told several things in a step, and then asked what it wants. Otherwise each thing is a step.
    pub batches: bool,
}

/// Three replicas of the engine of production.
pub struct Cluster {
    bounds: Bounds,
    planted: Planted,
    /// What came of an action at a replica. The engine answers equal states and inputs alike, and most states of the whole differ in
    /// what the other replicas did meanwhile.
    steps: [Mutex<Steps>; SHARDS],
}

/// By the replica and what it did.
type Steps = HashMap<(u64, u64), Arc<Step>>;

/// Parts of the table of steps, so that threads seldom wait for each other.
const SHARDS: usize = 64;
/// Steps that a part holds before it is begun anew: together about a gigabyte.
const SHARD_STEPS: usize = 2_048;

/// What came of an action at a replica.
struct Step {
    /// The replica behind it, or the invariant that was broken.
    replica: Result<Arc<Replica>, String>,
    effects: Effects,
}

/// Something that may happen.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// A message arrives. Any message under way may, in any order; one that never does is lost.
    Deliver(Parcel),
    /// A message arrives, and will once more.
    Duplicate(Parcel),
    /// A replica's next deadline is reached.
    Deadline(usize),
    /// A follower is told that its leader leads no more.
    Doubt(usize),
    /// The owner proposes at a leader.
    Propose(usize),
    /// A replica ends a step: it is asked what it wants after everything that it was told.
    Step(usize),
    /// The oldest row of a replica becomes durable.
    Write(usize),
    /// A replica loses what is not durable, and starts again.
    Crash(usize),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(parcel) => write!(f, "deliver {parcel:?}"),
            Self::Duplicate(parcel) => write!(f, "deliver, and keep, {parcel:?}"),
            Self::Deadline(number) => write!(f, "{number} reaches its next deadline"),
            Self::Doubt(number) => write!(f, "{number} doubts its leader"),
            Self::Propose(number) => write!(f, "{number} is given a proposal"),
            Self::Step(number) => write!(f, "{number} ends its step"),
            Self::Write(number) => write!(f, "{number} has written its oldest row"),
            Self::Crash(number) => write!(f, "{number} crashes and starts again"),
        }
    }
}

impl Action {
    /// Who acts.
    fn actor(&self) -> usize {
        match self {
            Self::Deliver(parcel) | Self::Duplicate(parcel) => parcel.to,
            Self::Deadline(number)
            | Self::Doubt(number)
            | Self::Propose(number)
            | Self::Step(number)
            | Self::Write(number)
            | Self::Crash(number) => *number,
        }
    }
}

impl Cluster {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(bounds: Bounds, planted: Planted) -> Self {
        Self { bounds, planted, steps: std::array::from_fn(|_| Mutex::default()) }
    }

    /// What comes of an action, looked up or tried out.
    fn step(&self, replica: &Arc<Replica>, action: &Action, proposals: u8) -> Arc<Step> {
        let mut hasher = DefaultHasher::new();
        (action, proposals).hash(&mut hasher);
        let key = (replica.fingerprint(), hasher.finish());
        let shard = || self.steps[key.0 as usize % SHARDS].lock().expect("no holder panics");
        if let Some(step) = shard().get(&key).map(Arc::clone) {
            return step;
        }
        let step = Arc::new(self.try_out(replica, action, proposals));
        let mut shard = shard();
        if shard.len() >= SHARD_STEPS {
            shard.clear();
        }
        shard.insert(key, Arc::clone(&step));
        step
    }

    fn try_out(&self, replica: &Arc<Replica>, action: &Action, proposals: u8) -> Step {
        let (mut next, mut effects) = (Replica::clone(replica), Effects::default());
        let ran = catch_unwind(AssertUnwindSafe(|| {
            act(&mut next, &mut effects, action, proposals);
            while !self.bounds.slow_disks && next.writes() {
                next.write(&mut effects);
            }
            next.look();
        }));
        let replica = ran.map(|()| Arc::new(next)).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|&text| text.to_owned());
            panic.downcast_ref::<String>().cloned().or(text).unwrap_or_default()
        });
        Step { replica, effects }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let replicas =
            [0, 1, 2].map(|number| Arc::new(Replica::new(number, self.planted, self.bounds.batches)));
        let history = Arc::new(History::default());
        vec![State { replicas, network: Network::default(), spent: Spent::default(), history }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.history.fault.is_some() {
            return;
        }
        let (spent, most) = (state.spent, self.bounds.most);
        // Replicas are alike until they do something, so the first that has not done anything may as well be the next to begin.
        let acted = state.replicas.iter().take_while(|replica| !replica.is_new()).count();
        for parcel in state.network.parcels().filter(|parcel| parcel.to <= acted) {
            actions.push(Action::Deliver(parcel.clone()));
            if spent.duplicates < most.duplicates {
                actions.push(Action::Duplicate(parcel.clone()));
            }
        }
        for (number, replica) in state.replicas.iter().enumerate().take(acted + 1) {
            let left = match replica.view.role {
                RoleName::Follower | RoleName::Candidate => spent.elections < most.elections,
                _ => spent.repeats < most.repeats,
            };
            if left && replica.has_deadline() {
                actions.push(Action::Deadline(number));
            }
            let follows = replica.view.role == RoleName::Follower && replica.view.leader.is_some();
            if follows && spent.doubts < most.doubts {
                actions.push(Action::Doubt(number));
            }
            if replica.view.role == RoleName::Leader && spent.proposals < most.proposals {
                actions.push(Action::Propose(number));
            }
            if replica.is_unasked() {
                actions.push(Action::Step(number));
            }
            if replica.writes() {
                actions.push(Action::Write(number));
            }
            if spent.crashes < most.crashes {
                actions.push(Action::Crash(number));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        spend(&mut next, &action, last, self.bounds.order);
        let number = action.actor();
        let before = &last.replicas[number];
        let step = self.step(before, &action, last.spent.proposals);
        let after = match &step.replica {
            Ok(after) => after,
            Err(what) => {
                Arc::make_mut(&mut next.history).fault = Some(Fault::Invariant(what.clone()));
                return Some(next);
            }
        };
        // What changes nothing leads nowhere: whatever may follow may follow without it, with the message still under way.
        if after.fingerprint() == before.fingerprint() && step.effects.sent.is_empty() {
            return None;
        }
        remember(&mut next.history, before, after, number, &step.effects);
        for parcel in &step.effects.sent {
            next.network.send(parcel.clone(), self.bounds.order);
        }
        next.replicas[number] = Arc::clone(after);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_LEADER, |_, state: &State| {
                !matches!(state.history.fault, Some(Fault::TwoLeaders(_)))
            }),
            Property::always(ONE_VOTE, |_, state: &State| {
                !matches!(state.history.fault, Some(Fault::TwoVotes(..)))
            }),
            Property::always(LOGS_MATCH, |_, state: &State| logs_match(state)),
            Property::always(LEADERS_ARE_COMPLETE, |_, state: &State| leaders_are_complete(state)),
            Property::always(ELECTABLE_IS_COMPLETE, |_, state: &State| only_complete_are_electable(state)),
            Property::always(SAME_IS_APPLIED, |_, state: &State| {
                !matches!(state.history.fault, Some(Fault::CommittedDiffers(_))) && applied_alike(state)
            }),
            Property::always(NOTHING_GOES_BACK, |_, state: &State| {
                !matches!(state.history.fault, Some(Fault::WentBack(_)))
            }),
            Property::always(COMMITTED_IS_DURABLE, |_, state: &State| committed_is_durable(state)),
            Property::always(INVARIANTS_HOLD, |_, state: &State| {
                !matches!(state.history.fault, Some(Fault::Invariant(_)))
            }),
            Property::always(NOBODY_STOPS, |_, state: &State| {
                !matches!(state.history.fault, Some(Fault::Stopped(_)))
            }),
            Property::sometimes("all apply a proposal", |_, state: &State| {
                let applied = |replica: &Arc<Replica>| replica.applied.iter().any(|e| !e.data.is_empty());
                state.replicas.iter().all(applied)
            }),
            Property::sometimes("a second leader commits", |_, state: &State| {
                let leaders = &state.history.leaders;
                state.history.committed.iter().any(|committed| {
                    let term = committed.place.term.0;
                    leaders.keys().next().is_some_and(|&first| first < term) && leaders.contains_key(&term)
                })
            }),
            Property::sometimes("a replica that started again applies something", |_, state: &State| {
                state.replicas.iter().any(|replica| replica.lives > 0 && !replica.applied.is_empty())
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.replicas.iter().all(|replica| replica.view.term <= self.bounds.terms)
    }
}

fn spend(next: &mut State, action: &Action, last: &State, order: Order) {
    match action {
        Action::Deliver(parcel) => next.network.arrive(parcel, order, false),
        Action::Duplicate(parcel) => {
            next.network.arrive(parcel, order, true);
            next.spent.duplicates += 1;
        }
        Action::Deadline(number) => match last.replicas[*number].view.role {
            RoleName::Follower | RoleName::Candidate => next.spent.elections += 1,
            _ => next.spent.repeats += 1,
        },
        Action::Doubt(_) => next.spent.doubts += 1,
        Action::Propose(_) => next.spent.proposals += 1,
        Action::Crash(_) => next.spent.crashes += 1,
        Action::Step(_) | Action::Write(_) => {}
    }
}

fn act(replica: &mut Replica, effects: &mut Effects, action: &Action, proposals: u8) {
    match action {
        Action::Deliver(parcel) | Action::Duplicate(parcel) => replica.hear(effects, parcel),
        Action::Deadline(_) => replica.meet_deadline(effects),
        Action::Doubt(_) => {
            if let Some(leader) = replica.view.leader {
                replica.doubt(effects, leader);
            }
        }
        Action::Propose(_) => replica.propose(effects, Bytes::copy_from_slice(&[b'a' + proposals])),
        Action::Step(_) => replica.ask(effects),
        Action::Write(_) => replica.write(effects),
        Action::Crash(_) => replica.crash(effects),
    }
}

/// Notes what became true with a step of one replica, and what of it must not have.
fn remember(history: &mut Arc<History>, before: &Replica, after: &Replica, number: usize, effects: &Effects) {
    let mut noted = History::clone(history);
    let mut faults = Vec::new();
    for &term in &effects.led {
        let leader = (number, after.lives);
        if *noted.leaders.entry(term).or_insert(leader) != leader {
            faults.push(Fault::TwoLeaders(term));
        }
    }
    for parcel in &effects.sent {
        let message = parcel.message();
        let term = message.term.0;
        let choice = match message.body {
            Body::Vote { pre: false, .. } => Some(number),
            Body::VoteReply { pre: false, granted: true, .. } => Some(parcel.to),
            _ => None,
        };
        if choice.is_some_and(|choice| *noted.votes.entry((number, term)).or_insert(choice) != choice) {
            faults.push(Fault::TwoVotes(number, term));
        }
        // What is said of elections that are not held, or of what others vouched for, binds nobody: it may leave before its term is on disk.
        let binds = matches!(
            message.body,
            Body::Vote { pre: false, .. }
                | Body::VoteReply { pre: false, .. }
                | Body::Append(_)
                | Body::AppendReply { .. }
        );
        if binds {
            noted.spoken[number] = noted.spoken[number].max(term);
        }
    }
    let view = &after.view;
    for place in view.log.iter().take(view.commit as usize) {
        match noted.committed.get(place.index.0 as usize - 1) {
            None => noted.committed.push(Committed { place: *place, in_term: view.term }),
            Some(known) if known.place != *place => {
                faults.push(Fault::CommittedDiffers(format!("at {}", place.index)));
            }
            Some(_) => {}
        }
    }
    faults.extend(effects.misapplied.clone().map(Fault::CommittedDiffers));
    if after.lives == before.lives {
        let was = (before.view.term, before.view.commit, before.applied.len());
        let is = (view.term, view.commit, after.applied.len());
        if is.0 < was.0 || is.1 < was.1 || is.2 < was.2 {
            faults.push(Fault::WentBack(format!("{number}: {was:?}, then {is:?}")));
        }
    }
    if view.term < noted.spoken[number] {
        let spoken = noted.spoken[number];
        faults.push(Fault::WentBack(format!("{number} spoke in term {spoken}, and is in {}", view.term)));
    }
    faults.extend(effects.stopped.clone().map(Fault::Stopped));
    noted.fault = noted.fault.or(faults.into_iter().next());
    if noted != **history {
        *history = Arc::new(noted);
    }
}

/// Where two logs hold an entry of one index and term, they are equal up to it (the paper's log matching).
fn logs_match(state: &State) -> bool {
    let logs = [0, 1, 2].map(|number| &state.replicas[number].view.log);
    [(0, 1), (0, 2), (1, 2)].into_iter().all(|(a, b)| {
        logs[a].iter().zip(logs[b]).all(|(one, other)| one.term != other.term || one.chain == other.chain)
    })
}

fn leaders_are_complete(state: &State) -> bool {
    let leads = |replica: &&Arc<Replica>| replica.view.role == RoleName::Leader;
    state.replicas.iter().filter(leads).all(|leader| {
        let earlier = state.history.committed.iter().filter(|entry| entry.in_term < leader.view.term);
        earlier.into_iter().all(|entry| leader.view.holds(&entry.place))
    })
}

/// The same before the election is held: whoever lacks something committed is behind a quorum. This follows from the paper's leader completeness,
/// and shows a breach one term earlier.
fn only_complete_are_electable(state: &State) -> bool {
    state.replicas.iter().enumerate().all(|(number, candidate)| {
        let complete = state.history.committed.iter().all(|entry| candidate.view.holds(&entry.place));
        let votes = |&(other, voter): &(usize, &Arc<Replica>)| {
            other == number || voter.durable.rank() <= candidate.view.rank()
        };
        complete || 2 * state.replicas.iter().enumerate().filter(votes).count() <= REPLICAS
    })
}

fn applied_alike(state: &State) -> bool {
    let applied = [0, 1, 2].map(|number| &state.replicas[number].applied);
    [(0, 1), (0, 2), (1, 2)].into_iter().all(|(a, b)| applied[a].iter().zip(applied[b]).all(|(a, b)| a == b))
}

/// A leader acknowledges what is committed, so it must survive the crash of all.
fn committed_is_durable(state: &State) -> bool {
    state.history.committed.iter().all(|entry| {
        2 * state.replicas.iter().filter(|replica| replica.durable.holds(&entry.place)).count() > REPLICAS
    })
}
