//! A world of one source and several targets: who leads is said by the test, the log is one for all, disks are quick, and only the gate and the cut wires hold back.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use super::world::{INSTANCE, NAME, body, node};
use crate::ends::{Ends, Poison, Policy};
use crate::id::{AttachToken, BootId, LogIndex, NodeId, RequestId, Sequence, Term, WriterId, WriterSequence};
use crate::level::Level;
use crate::node::command::{Refusal, Reply, Waited};
use crate::node::output::Event;
use crate::node::status::StreamStatus;
use crate::planted::Planted;
use crate::record::Record;
use crate::rng::{Purpose, Rng};
use crate::stream::store::space;
use crate::stream::{Applied, Body, Config, Input, Message, Output, Standing, Streams};
use crate::time::{Instant, Now, Span, Wall};
use crate::work::perform;

pub(super) const SOURCE: usize = 0;

pub(super) struct Member {
    pub(super) streams: Streams,
    pub(super) records: BTreeMap<crate::record::Key, Record>,
    /// How much of the log it holds, and has applied.
    pub(super) held: usize,
    pub(super) applied: usize,
    pub(super) token: Option<AttachToken>,
    /// What its handler was given, in order: nothing twice.
    pub(super) seen: Vec<u64>,
    /// Its handler reports no success.
    pub(super) stuck: bool,
    /// The first message that it may be given.
    pub(super) begins: u64,
    /// Where its log is cut.
    pub(super) base: usize,
}

pub(super) struct World {
    pub(super) ends: Ends,
    pub(super) members: Vec<Member>,
    pub(super) log: Vec<(Term, Option<bytes::Bytes>)>,
    pub(super) term: u64,
    pub(super) leader: Option<usize>,
    pub(super) commit: usize,
    pub(super) wires: VecDeque<(usize, usize, Message)>,
    pub(super) planted: Planted,
    /// What is said to the source of what most members hold is lost, unless it asked.
    pub(super) untold: bool,
    /// To whom the log does not come, and who is given nothing of it.
    pub(super) deaf: BTreeSet<usize>,
    /// Who votes alone, past a seal.
    pub(super) founder: Option<usize>,
    /// Nodes that nobody hears.
    pub(super) cut: BTreeSet<usize>,
    pub(super) now: u64,
    pub(super) replies: Vec<(RequestId, Result<Reply, Refusal>)>,
    /// Who is not to lead any more.
    pub(super) resigned: BTreeSet<usize>,
    /// Whom leaders asked to lead.
    pub(super) steered: Vec<NodeId>,
    pub(super) requests: u64,
    /// Payloads that left the source.
    pub(super) payloads: usize,
    /// Whom leaders had taken out of the group, and who is to vote in it since.
    pub(super) conformed: Option<(Vec<NodeId>, Vec<NodeId>)>,
    /// Whether the group takes them out when it is asked to.
    pub(super) conforms: bool,
    /// Changes of which leaders said that they are done.
    pub(super) changed: Vec<LogIndex>,
    /// What the target of the last one owes first.
    pub(super) first: Option<Sequence>,
    /// Who came later and was admitted to the group.
    pub(super) admitted: BTreeSet<usize>,
    /// What founders said was the last message.
    /// Who said of whom that it stands still, and for how long.
    pub(super) idle: Vec<(usize, NodeId, Span)>,
    pub(super) settled: Vec<Sequence>,
    /// States that members took over, or did not, in that order.
    pub(super) installed: Vec<bool>,
    /// Who was given a state that is not of its log.
    pub(super) contradicted: BTreeSet<usize>,
    /// Messages that left anybody.
    pub(super) said: usize,
    /// How many messages members let go that were parked.
    pub(super) parked_dropped: u64,
    /// Who asked to read again, and what came under whose token.
    pub(super) replays: BTreeSet<RequestId>,
    pub(super) reread: BTreeMap<AttachToken, Vec<u64>>,
}

impl Member {
    fn new(which: usize, planted: Planted) -> Self {
        let (boot, rng) = (BootId(100 + which as u128), Rng::stream([which as u8; 32], Purpose::Stream));
        Self {
            streams: Streams::new(Config::default(), node(which), boot, rng, planted),
            records: BTreeMap::new(),
            held: 0,
            applied: 0,
            token: None,
            seen: Vec::new(),
            stuck: false,
            begins: 1,
            base: 0,
        }
    }
}

impl World {
    pub(super) fn new(targets: usize, policy: Policy) -> Self {
        Self::with_bug(targets, policy, Planted::none())
    }

    /// The same, with a bug in every member.
    pub(super) fn with_bug(targets: usize, policy: Policy, planted: Planted) -> Self {
        Self::between(targets, policy, Poison::Block, planted)
    }

    pub(super) fn between(targets: usize, policy: Policy, poison: Poison, planted: Planted) -> Self {
        let ends = Ends::new(node(SOURCE), (1..=targets).map(node).collect(), policy);
        Self::of(ends.and_then(|ends| ends.with_poison(poison)).expect("fits"), planted)
    }

    /// A stream between these, all of whom attach a handler.
    pub(super) fn of(ends: Ends, planted: Planted) -> Self {
        let targets = ends.targets.len();
        let member = |which: usize| Member::new(which, planted);
        let mut world = Self {
            ends: ends.clone(),
            members: (0..=targets).map(member).collect(),
            log: Vec::new(),
            term: 0,
            leader: None,
            commit: 0,
            wires: VecDeque::new(),
            planted,
            untold: false,
            deaf: BTreeSet::new(),
            founder: None,
            cut: BTreeSet::new(),
            now: 1,
            replies: Vec::new(),
            resigned: BTreeSet::new(),
            steered: Vec::new(),
            requests: 0,
            payloads: 0,
            conformed: None,
            conforms: true,
            changed: Vec::new(),
            first: None,
            admitted: BTreeSet::new(),
            settled: Vec::new(),
            idle: Vec::new(),
            installed: Vec::new(),
            contradicted: BTreeSet::new(),
            said: 0,
            parked_dropped: 0,
            replays: BTreeSet::new(),
            reread: BTreeMap::new(),
        };
        for which in 0..=targets {
            let (name, ends) = (String::from(NAME), ends.clone());
            world.give(which, Input::Opened { name, instance: INSTANCE, ends });
        }
        for which in 0..=targets {
            for other in (0..=targets).filter(|other| *other != which) {
                let boot = BootId(100 + other as u128);
                world.give(which, Input::PeerBoot { node: node(other), boot });
            }
        }
        for which in 1..=targets {
            let request = world.request();
            world.give(which, Input::Attach { request, stream: NAME.into(), presented: None, window: 100 });
        }
        world
    }

    /// A node comes that knows of the stream, and is no end of it.
    pub(super) fn comes(&mut self) -> usize {
        let which = self.members.len();
        self.members.push(Member::new(which, self.planted));
        let (name, ends) = (String::from(NAME), self.ends.clone());
        self.give(which, Input::Opened { name, instance: INSTANCE, ends });
        which
    }

    /// It is heard by the others, and hears them.
    pub(super) fn meets(&mut self, which: usize) {
        for other in (0..self.members.len()).filter(|other| *other != which) {
            self.give(other, Input::PeerBoot { node: node(which), boot: BootId(100 + which as u128) });
            self.give(which, Input::PeerBoot { node: node(other), boot: BootId(100 + other as u128) });
        }
        if let Some(leader) = self.leader {
            let (term, leader) = (Term(self.term), Some(node(leader)));
            self.give(which, Input::Role { instance: INSTANCE, leading: false, term, leader });
        }
    }

    pub(super) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    pub(super) fn at(&self) -> Now {
        Now { monotonic: Instant(self.now), wall: Wall(1_700_000_000_000) }
    }

    pub(super) fn give(&mut self, which: usize, input: Input) {
        let now = self.at();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.members[which].streams.handle(now, input);
            while let Some(output) = self.members[which].streams.poll() {
                self.output(which, output, &mut inputs);
            }
            self.members[which].streams.check_invariants(Level::Full);
        }
    }

    pub(super) fn output(&mut self, which: usize, output: Output, inputs: &mut VecDeque<Input>) {
        let member = &mut self.members[which];
        match output {
            Output::Persist(record) => drop(member.records.insert(record.key, record)),
            Output::Notify(receipt) => inputs.push_back(Input::Durable(receipt)),
            Output::Work { token, job } => {
                inputs.push_back(Input::WorkDone { token, done: perform(&job, &[]) });
            }
            Output::Load { token, key } => {
                let bytes = member.records.get(&key).map(|record| record.payload.to_bytes());
                inputs.push_back(Input::Loaded { token, bytes });
            }
            Output::Send { to, message, .. } => {
                let to = (to.0 - 1) as usize;
                self.said += 1;
                self.payloads += usize::from(which == SOURCE && !message.encode().1.is_empty());
                let told = |status: &Standing| status.replicated > Sequence(0) && status.answer == 0;
                let lost = self.untold && matches!(&message.body, Body::Status(status) if told(status));
                if !lost && !self.cut.contains(&which) && !self.cut.contains(&to) {
                    self.wires.push_back((which, to, message));
                }
            }
            Output::Propose { instance, data, context, .. } => {
                if self.leader != Some(which) {
                    return inputs.push_back(Input::Refused { instance, context });
                }
                self.log.push((Term(self.term), Some(data)));
                member.held = self.log.len();
            }
            Output::Deliver(delivery) => {
                let sequences: Vec<u64> =
                    delivery.messages.iter().map(|message| message.sequence.0).collect();
                if let Some(reread) = self.reread.get_mut(&delivery.token) {
                    return reread.extend(sequences);
                }
                assert_eq!(
                    sequences[0],
                    member.seen.last().map_or(member.begins, |last| last + 1),
                    "in order, each once"
                );
                member.seen.extend(&sequences);
                if let Some((&upto, token)) = sequences.last().zip(member.token).filter(|_| !member.stuck) {
                    inputs.push_back(Input::Verdict { token, upto: Sequence(upto) });
                }
            }
            Output::Reply { request, reply } => {
                match &reply {
                    Ok(Reply::Attached { token, .. }) if self.replays.contains(&request) => {
                        self.reread.insert(*token, Vec::new());
                    }
                    Ok(Reply::Attached { token, .. }) => member.token = Some(*token),
                    _ => {}
                }
                self.replies.push((request, reply));
            }
            Output::Lead { to, .. } => self.steered.push(to),
            Output::Conform { .. } if !self.conforms => {}
            Output::Conform { instance, voters, out, learners } => {
                self.admitted.extend(learners.iter().map(|learner| (learner.0 - 1) as usize));
                self.conformed = Some((voters, out));
                inputs.push_back(Input::Conforms { instance });
            }
            Output::MembersChanged { number, first, .. } => {
                self.changed.push(number);
                self.first = first;
            }
            Output::Idle { target, idle, .. } => self.idle.push((which, target, idle)),
            Output::Settled { sequence, .. } => self.settled.push(sequence),
            Output::Contradicted { .. } => drop(self.contradicted.insert(which)),
            Output::Resign { .. } => drop(self.resigned.insert(which)),
            Output::Forget(_) | Output::OfferAgain { .. } | Output::Voting { .. } | Output::Known { .. } => {}
            Output::Compact { upto, .. } => member.base = upto.0 as usize,
            Output::Event(Event::ParkedDropped { count, .. }) => self.parked_dropped += count,
            Output::Installed { taken, .. } => self.installed.push(taken),
            Output::Unanswered { .. } | Output::Event(_) => {}
            other => panic!("nobody asked for {other:?}"),
        }
    }

    /// That member leads from now on. What of the log no other holds is gone, if it did not lead before.
    pub(super) fn lead(&mut self, which: usize) {
        self.term += 1;
        let held = self.members[which].held;
        self.log.truncate(held.max(self.commit));
        let last = self.log.len();
        self.members.iter_mut().for_each(|member| member.held = member.held.min(last));
        self.leader = Some(which);
        self.log.push((Term(self.term), None));
        self.members[which].held = self.log.len();
        let (instance, leader) = (INSTANCE, Some(node(which)));
        let heard: Vec<usize> = (0..self.members.len()).filter(|other| !self.cut.contains(other)).collect();
        for other in heard {
            let (leading, term) = (other == which, Term(self.term));
            self.give(other, Input::Role { instance, leading, term, leader });
        }
    }

    /// That member goes on from its own log, as the only voter.
    pub(super) fn found(&mut self, which: usize) {
        self.founder = Some(which);
        self.commit = self.members[which].held;
        self.lead(which);
    }

    /// What the log holds behind an index.
    pub(super) fn behind(&self, index: usize) -> Vec<Applied> {
        let entry = |at: usize| {
            let (term, data) = self.log[at].clone();
            let (command, data) = (data.is_some(), data.unwrap_or_default());
            Applied { index: LogIndex(at as u64 + 1), term, command, data }
        };
        (index..self.log.len()).map(entry).collect()
    }

    /// The streams of a member, from its records.
    pub(super) fn restored(&self, which: usize) -> Streams {
        let member = &self.members[which];
        let (boot, rng) = (BootId(200 + which as u128), Rng::stream([99; 32], Purpose::Stream));
        let mut streams = Streams::new(Config::default(), node(which), boot, rng, self.planted);
        for (key, record) in &member.records {
            streams.restore(key, record.last_slot, &record.head, record.payload.len()).expect("as written");
        }
        streams.restored(self.at());
        streams
    }

    /// A member starts anew from its records, and nobody leads.
    pub(super) fn start_again(&mut self, which: usize) {
        let streams = self.restored(which);
        let member = &mut self.members[which];
        (member.streams, member.applied, member.token) = (streams, 0, None);
        self.leader = None;
        let (name, ends) = (String::from(NAME), self.ends.clone());
        self.give(which, Input::Opened { name, instance: INSTANCE, ends });
        for other in (0..self.members.len()).filter(|other| *other != which) {
            self.give(other, Input::PeerBoot { node: node(which), boot: BootId(200 + which as u128) });
            let boot = self.members[other].streams.common.boot;
            self.give(which, Input::PeerBoot { node: node(other), boot });
        }
    }

    /// Lets the log travel as far as gates and wires allow. Tells whether anything moved.
    pub(super) fn replicate(&mut self) -> bool {
        let Some(leader) = self.leader.filter(|leader| !self.cut.contains(leader)) else { return false };
        let mut moved = false;
        let now = self.at();
        for which in (0..self.members.len()).filter(|&which| which != leader) {
            let out = self.conformed.as_ref().is_some_and(|(_, out)| out.contains(&node(which)));
            let late = which > self.ends.targets.len() && !self.admitted.contains(&which);
            if self.cut.contains(&which) || self.deaf.contains(&which) || out || late {
                continue;
            }
            let (base, before) = (self.members[leader].base, self.members[which].held);
            if which > self.ends.targets.len() && self.members[which].held < base {
                let mut records = self.members[leader].records.values();
                let state =
                    records.find(|record| record.key.space == space::STATE).expect("it is cut behind one");
                let (index, data) = (LogIndex(base as u64), state.head.clone());
                (self.members[which].held, self.members[which].applied) = (base, base);
                self.give(which, Input::Install { instance: INSTANCE, from: node(leader), index, data });
            }
            while let Some((_, data)) = self.log.get(self.members[which].held).cloned() {
                let admitted =
                    data.is_none_or(|data| self.members[which].streams.admit(now, INSTANCE, &data).passes());
                let mut inputs = VecDeque::new();
                while let Some(output) = self.members[which].streams.poll() {
                    self.output(which, output, &mut inputs);
                }
                inputs.into_iter().for_each(|input| self.give(which, input));
                if !admitted {
                    let behind = self.members[which].held + 1..self.log.len();
                    let behind: Vec<bytes::Bytes> =
                        self.log[behind].iter().filter_map(|(_, data)| data.clone()).collect();
                    let streams = &mut self.members[which].streams;
                    streams.foresee(now, INSTANCE, behind.iter().map(|data| &data[..]));
                    let mut inputs = VecDeque::new();
                    while let Some(output) = self.members[which].streams.poll() {
                        self.output(which, output, &mut inputs);
                    }
                    break;
                }
                self.members[which].held += 1;
            }
            if self.members[which].held > before {
                moved = true;
                let index = LogIndex(self.members[which].held as u64);
                self.give(leader, Input::Match { instance: INSTANCE, node: node(which), index });
            }
        }
        let places = |voters: &[NodeId]| voters.iter().map(|voter| (voter.0 - 1) as usize).collect();
        let voters: Vec<usize> = match (self.founder, &self.conformed) {
            (Some(founder), _) => [founder].into(),
            (None, Some((voters, _))) => places(voters),
            (None, None) => places(&self.ends.voters()),
        };
        let mut held: Vec<usize> = voters.iter().map(|&voter| self.members[voter].held).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        self.commit = self.commit.max(held[voters.len() / 2]);
        for which in (0..self.members.len()).filter(|which| !self.cut.contains(which)).collect::<Vec<_>>() {
            let member = &mut self.members[which];
            let upto = self.commit.min(member.held);
            let applied = member.applied;
            let mut entries = self.behind(applied);
            entries.truncate(upto.saturating_sub(applied));
            if !entries.is_empty() {
                self.members[which].applied = upto;
                moved = true;
                self.give(which, Input::Apply { instance: INSTANCE, entries });
            }
        }
        moved
    }

    /// Everything that can happen at once happens.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some((from, to, message)) = self.wires.pop_front() {
                if !self.cut.contains(&from) && !self.cut.contains(&to) {
                    self.give(to, Input::Message { from: node(from), message });
                }
            } else if !self.replicate() {
                return;
            }
        }
    }

    /// Time passes.
    pub(super) fn run(&mut self, span: Span) {
        let until = self.now + span.as_nanos();
        self.settle();
        loop {
            let due = (0..self.members.len()).filter_map(|which| {
                let at = self.members[which].streams.next_deadline()?;
                Some((at.0, which)).filter(|_| !self.cut.contains(&which))
            });
            let Some((at, which)) = due.min().filter(|(at, _)| *at <= until) else { break };
            self.now = self.now.max(at);
            self.give(which, Input::Deadline);
            self.settle();
        }
        self.now = until;
    }

    pub(super) fn publish(&mut self, first: u64, count: u64, wait: Waited) -> RequestId {
        let request = self.request();
        let messages = (first..first + count).map(|at| body(WriterId(1), at)).collect();
        let (stream, writer, first) = (String::from(NAME), WriterId(1), WriterSequence(first));
        self.give(SOURCE, Input::Publish { request, stream, writer, first, messages, wait });
        request
    }

    pub(super) fn told(&self, request: RequestId) -> Option<Waited> {
        let receipts = self.replies.iter().filter(|(other, _)| *other == request);
        let level = |reply: &Result<Reply, Refusal>| match reply {
            Ok(Reply::Published(receipt)) => receipt.level,
            other => panic!("not published: {other:?}"),
        };
        receipts.map(|(_, reply)| level(reply)).max()
    }

    pub(super) fn status(&self, which: usize) -> StreamStatus {
        self.members[which].streams.status(self.at()).pop().expect("it is open")
    }

    pub(super) fn silence(&mut self, which: usize) {
        self.cut.insert(which);
        for other in (0..self.members.len()).filter(|other| *other != which) {
            self.give(other, Input::PairSuspect { node: node(which) });
        }
    }

    pub(super) fn back(&mut self, which: usize) {
        self.cut.remove(&which);
        for other in (0..self.members.len()).filter(|other| *other != which) {
            self.give(other, Input::PairAlive { node: node(which) });
            self.give(which, Input::PairAlive { node: node(other) });
        }
        if let Some(leader) = self.leader {
            let (leading, term, leader) = (leader == which, Term(self.term), Some(node(leader)));
            self.give(which, Input::Role { instance: INSTANCE, leading, term, leader });
        }
    }
}

pub(super) const SECOND: Span = Span::secs(1);
