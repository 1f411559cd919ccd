use super::leaving::{evict, invite, shown};
use super::*;
use crate::epoch::Epoch;
use crate::mesh::recover::View;
use crate::recovery::{
    LogEnd, LogPlace, LogTrail, RecoverCommand, RecoverRefusal, RecoverReply, RecoveryStage,
};

impl World {
    pub(super) fn configured_at(&self) -> LogIndex {
        let place = self.log.iter().rposition(|logged| matches!(logged, Logged::Configuration(_)));
        LogIndex(place.map_or(0, |place| place as u64 + 1))
    }

    /// A replica is told to say nothing but where its log ends.
    pub(super) fn fenced(&mut self, host: usize, eras: &[u64]) {
        let Some(&era) = eras.last().filter(|&&era| era != self.hosts[host].era) else { return };
        self.hosts[host].eras = eras.to_vec();
        let (leader, term) = (None, Term(self.term));
        if self.leader == Some(host) {
            self.leader = None;
        }
        self.inbox.push_back((host, Input::Role { leading: false, term, leader }));
        let index = LogIndex(self.hosts[host].applied as u64);
        let last = LogPlace { index, term, ..LogPlace::default() };
        let end = LogEnd { term, last, certain: last };
        let end = self.hosts[host].no_end.clone().map_or(Ok(end), Err);
        let held = self.hosts[host].held.clone();
        self.inbox.push_back((host, Input::LogEnd { era, end, held, whole: true }));
    }

    /// What a founder whose log ends there tells of it.
    fn trail(&self, end: usize) -> LogTrail {
        let end = LogPlace { index: LogIndex(end as u64), term: Term(self.term), ..LogPlace::default() };
        LogTrail { end, certain: end.index, terms: Vec::new() }
    }

    /// How far the log there is the one that others go on from.
    pub(super) fn compared(&mut self, host: usize, trail: &LogTrail) {
        let shared = trail.end.index.min(LogIndex(self.hosts[host].applied as u64));
        let shared = self.hosts[host].parts_at.unwrap_or(shared);
        let held = self.hosts[host].held.clone();
        self.inbox.push_back((host, Input::Compared { shared, held, whole: true }));
    }

    /// A replica is to go on alone.
    pub(super) fn found_anew(&mut self, host: usize, era: u64, holds: LogPlace) {
        if self.hosts[host].era == era {
            return self.inbox.push_back((host, Input::Founded { era, done: Ok(None) }));
        }
        if let Some(why) = self.hosts[host].cannot_found.clone() {
            return self.inbox.push_back((host, Input::Founded { era, done: Err(why) }));
        }
        let end = self.hosts[host].applied;
        let trail = self.trail(end);
        // In the same step.
        let founded = Input::Founded { era, done: Ok(Some(trail)) };
        self.hosts[host].mesh.handle(self.now, founded);
        assert!(holds.index.0 <= end as u64, "the founder holds what is committed");
        self.log.truncate(end);
        let replica = |world: &Self, host: usize| {
            let node = world.id(host);
            world.configuration.on(node).last().expect("it takes part")
        };
        let survivors: Vec<usize> =
            (0..self.hosts.len()).filter(|&other| self.hosts[other].eras.contains(&era)).collect();
        for &other in &survivors {
            self.hosts[other].era = era;
            self.hosts[other].eras.clear();
            self.inbox.push_back((other, Input::Era(era)));
        }
        let learners = survivors.iter().filter(|&&other| other != host).map(|&other| replica(self, other));
        let alone = Configuration::simple(Vec::from([replica(self, host)]), learners.collect());
        self.configured(alone);
        self.leader = Some(host);
        self.term += 1;
        self.quorum = true;
        for &other in &survivors {
            self.tell_role(other, other == host);
        }
    }

    /// These are gone, and nobody leads any more.
    fn lose_hosts(&mut self, lost: &[usize]) {
        self.leader = None;
        self.quorum = false;
        let nodes: Vec<NodeId> = lost.iter().map(|&host| self.id(host)).collect();
        for host in 0..self.hosts.len() {
            self.hosts[host].up = !lost.contains(&host);
            self.hosts[host].unreached.clone_from(&nodes);
            if self.hosts[host].up {
                self.tell_role(host, false);
                self.inbox.push_back((host, Input::RoutesChanged));
            }
        }
        self.pump();
        self.pass(Span::secs(4));
    }

    /// One input at a time, until somebody leads: who.
    pub(super) fn until_led(&mut self) -> usize {
        for _ in 0..10_000 {
            let Some((host, input)) = self.inbox.pop_front() else { break };
            if self.hosts[host].up {
                self.hosts[host].mesh.handle(self.now, input);
            }
            for host in 0..self.hosts.len() {
                self.drain(host);
            }
            if self.leader.is_some() {
                break;
            }
        }
        self.leader.expect("somebody goes on")
    }

    /// A host hears what has come for it, and nothing that follows from that.
    pub(super) fn pump_inputs_of(&mut self, host: usize) {
        let (own, others) = core::mem::take(&mut self.inbox).into_iter().partition(|(to, _)| *to == host);
        self.inbox = others;
        let own: VecDeque<(usize, Input)> = own;
        for (_, input) in own {
            self.hosts[host].mesh.handle(self.now, input);
        }
        self.drain(host);
    }

    pub(super) fn view(&self, host: usize) -> View {
        let unreached = self.hosts[host].unreached.iter().copied().collect();
        View {
            unreached,
            last: LogIndex(self.hosts[host].applied as u64),
            term: Term(self.term),
            trouble: None,
        }
    }

    pub(super) fn recovery(&mut self, host: usize, command: RecoverCommand) -> RequestId {
        let view = self.view(host);
        self.command(host, |request| Input::Recover { request, command, view })
    }

    pub(super) fn recovered(&self, host: usize, request: RequestId) -> crate::recovery::Recovered {
        match self.reply(host, request) {
            Some(Ok(Reply::Recovery(RecoverReply::Recovered(recovered)))) => recovered,
            other => panic!("not recovered: {other:?}"),
        }
    }

    fn stages(&self, host: usize) -> Vec<RecoveryStage> {
        let stage = |event: &crate::event::MeshEvent| match event {
            crate::event::MeshEvent::Recovery { stage, .. } => Some(*stage),
            _ => None,
        };
        self.hosts[host].events.iter().filter_map(stage).collect()
    }
}

pub(super) fn rival(world: &World, host: usize) -> String {
    world.mesh(host).recovery_status().rival.expect("it is shown")
}

pub(super) fn names(lost: &[&str]) -> Vec<String> {
    lost.iter().map(ToString::to_string).collect()
}

pub(super) fn recover(lost: &[&str]) -> RecoverCommand {
    RecoverCommand::Recover { lost: names(lost) }
}

/// Five members, of which the first three are lost: a majority of the voters.
pub(super) fn without_quorum() -> World {
    let mut world = World::grown(&["a", "b", "c", "d", "e"]);
    world.pass(Span::secs(2));
    world.command(0, open("words", "d", "e"));
    world.lose_hosts(&[0, 1, 2]);
    world
}

#[test]
fn survivors_go_on_and_the_lost_belong_to_no_mesh_once_they_hear_of_it() {
    let mut world = without_quorum();
    let before = world.mesh(3).epoch();
    let request = world.recovery(3, recover(&["a", "b", "c"]));
    world.pass(Span::secs(2));
    let recovered = world.recovered(3, request);
    assert_eq!((recovered.before, recovered.number, recovered.asked_at), (before, 3, world.id(3)));
    assert_eq!(recovered.lost.len(), 3);
    for host in [3, 4] {
        let mesh = world.mesh(host);
        assert_eq!((mesh.epoch().number, mesh.member_count()), (3, 2));
        let status = mesh.recovery_status();
        assert_eq!((status.fenced, status.last.as_ref()), (None, Some(&recovered)));
        assert_eq!(world.stages(host), [RecoveryStage::Fenced, RecoveryStage::Recovered]);
    }
    world.assert_equal();
    for host in [3, 4] {
        world.hosts[host].unreached.clear();
    }
    world.pass(Span::secs(4));
    let written = world.command(4, open("more", "d", "e"));
    world.pass(Span::secs(1));
    assert!(matches!(world.reply(4, written), Some(Ok(Reply::StreamOpened { created: true, .. }))));
    // The lost come back, and hear of it from whoever turns them away.
    for host in [0, 1, 2] {
        world.hosts[host].up = true;
        let proof = shown(&world, 4, host);
        world.inbox.push_back((host, proof));
        world.pump();
        assert_eq!((world.hosts[host].parted, world.mesh(host).mesh_id()), (1, None), "host {host}");
        let why = world.mesh(host).served_no_more().unwrap().to_string();
        assert!(why.contains("named lost"), "{why}");
    }
    let token = invite(&mut world, 3);
    let newcomer = world.add("f");
    assert!(matches!(world.join(newcomer, &token), Some(Ok(Reply::Joined { .. }))));
    world.pass(Span::secs(2));
    world.restart(4);
    world.assert_equal();
    assert_eq!(world.mesh(4).recovery_status().fenced, None, "its next start knows that it is over");
}

#[test]
fn a_plan_says_what_would_be_done_and_does_nothing() {
    let mut world = without_quorum();
    let request = world.recovery(3, RecoverCommand::Plan { lost: names(&["c", "a", "b", "a"]) });
    let Some(Ok(Reply::Recovery(RecoverReply::Plan(plan)))) = world.reply(3, request) else {
        panic!("no plan")
    };
    let called = |named: &[crate::recovery::Named]| {
        named.iter().map(|named| named.name.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(called(&plan.lost), ["a", "b", "c"].map(String::from).into());
    assert_eq!(called(&plan.survivors), ["d", "e"].map(String::from).into());
    assert_eq!((plan.attempt, plan.epoch, plan.next, plan.voters), (1, Epoch::default(), 3, 1));
    assert_eq!(plan.last, plan.applied);
    assert!(world.stages(3).is_empty() && world.mesh(4).recovery_status().fenced.is_none());
}

#[test]
fn what_would_lose_more_than_is_lost_is_refused() {
    let mut world = without_quorum();
    let refusal = |world: &mut World, lost: &[&str]| {
        let request = world.recovery(3, recover(lost));
        match world.reply(3, request) {
            Some(Err(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    };
    let refused = |refusal: RecoverRefusal| Refusal::Recovery(refusal);
    assert_eq!(refusal(&mut world, &[]), refused(RecoverRefusal::NobodyLost));
    assert_eq!(refusal(&mut world, &["nobody"]), Refusal::UnknownNode("nobody".into()));
    assert_eq!(refusal(&mut world, &["d", "a"]), refused(RecoverRefusal::SelfLost("d".into())));
    assert_eq!(
        refusal(&mut world, &["a", "b", "c", "e"]),
        refused(RecoverRefusal::LostReachable("e".into()))
    );
    let missing = RecoverRefusal::Missing { names: "c".into(), several: false };
    assert_eq!(refusal(&mut world, &["a", "b"]), refused(missing));
    for host in [3, 4] {
        let b = world.id(1);
        world.hosts[host].unreached.retain(|&node| node != b);
    }
    let voters = refusal(&mut world, &["a", "c"]);
    assert!(matches!(voters, Refusal::Recovery(RecoverRefusal::Quorum { .. })), "{voters}");
    let request = world.recovery(4, RecoverCommand::Withdraw);
    assert_eq!(world.reply(4, request), Some(Err(refused(RecoverRefusal::NothingToWithdraw))));
    let stranger = world.add("f");
    let request = world.recovery(stranger, recover(&["a"]));
    assert_eq!(world.reply(stranger, request), Some(Err(Refusal::NotMember)));
}

#[test]
fn a_recovery_that_stands_still_is_remembered_and_done_by_a_higher_attempt() {
    let mut world = without_quorum();
    world.hosts[4].up = false;
    let request = world.recovery(3, recover(&["a", "b", "c"]));
    world.pass(Span::secs(30));
    let Some(Err(Refusal::Recovery(RecoverRefusal::Unfinished { waits }))) = world.reply(3, request) else {
        panic!("{:?}", world.reply(3, request))
    };
    assert!(waits.contains("e: has not answered"), "{waits}");
    world.restart(3);
    let fenced = world.mesh(3).recovery_status().fenced.expect("its next start knows");
    assert_eq!((fenced.attempt, fenced.lost.len()), (1, 3));
    assert!(!world.hosts[3].eras.is_empty(), "its replica is fenced again");
    world.hosts[4].up = true;
    world.pass(Span::secs(4));
    let request = world.recovery(4, recover(&["a", "b", "c"]));
    world.pass(Span::secs(2));
    // It had not heard of the first attempt, and hears of it now.
    assert!(
        matches!(world.reply(4, request), Some(Err(Refusal::Recovery(RecoverRefusal::Declined { .. }))))
            || matches!(world.reply(4, request), Some(Ok(_)))
    );
    let request = world.recovery(4, recover(&["a", "b", "c"]));
    world.pass(Span::secs(2));
    let done = world.reply(4, request);
    let over = matches!(done, Some(Err(Refusal::UnknownNode(_))));
    if !over {
        assert_eq!(world.recovered(4, request).attempt, 2);
    }
    world.assert_equal();
    assert_eq!(world.mesh(3).member_count(), 2);
    assert_eq!(world.mesh(3).recovery_status().fenced, None);
}

#[test]
fn a_recovery_is_taken_back_everywhere_or_not_at_all() {
    let mut world = without_quorum();
    world.hosts[4].up = false;
    let first = world.recovery(3, recover(&["a", "b", "c"]));
    world.pass(Span::secs(30));
    assert!(matches!(world.reply(3, first), Some(Err(_))));
    // The others live: nothing of it may stay.
    let request = world.recovery(3, RecoverCommand::Withdraw);
    world.pass(Span::secs(3));
    assert_eq!(world.reply(3, request), None, "not without those that may have been fenced, too");
    world.hosts[4].up = true;
    world.hosts[4].no_end = Some("by its log those that are left are a quorum".into());
    world.pass(Span::secs(3));
    let withdrawn = Reply::Recovery(RecoverReply::Withdrawn { attempt: 2 });
    assert_eq!(world.reply(3, request), Some(Ok(withdrawn)));
    for host in [3, 4] {
        assert_eq!(world.mesh(host).recovery_status().fenced, None);
        assert!(world.hosts[host].eras.is_empty());
        assert_eq!(world.stages(host).last(), Some(&RecoveryStage::Withdrawn));
        world.restart(host);
        assert_eq!(world.mesh(host).recovery_status().fenced, None, "its next start knows");
    }
    for host in 0..5 {
        world.hosts[host].up = true;
        world.hosts[host].unreached.clear();
    }
    world.quorum = true;
    world.lead(Some(0));
    let request = world.command(4, open("more", "a", "e"));
    world.pass(Span::secs(2));
    assert!(matches!(world.reply(4, request), Some(Ok(_))));
}

#[test]
fn the_lost_that_decided_more_do_not_give_it_up_and_take_nobody_out_elsewhere() {
    let mut world = World::grown(&["a", "b", "c", "d", "e"]);
    world.pass(Span::secs(2));
    // The survivors are cut off, while the others decide something.
    for host in [3, 4] {
        world.hosts[host].up = false;
    }
    let acknowledged = world.command(0, open("elsewhere", "a", "b"));
    assert!(matches!(world.reply(0, acknowledged), Some(Ok(_))));
    world.lose_hosts(&[0, 1, 2]);
    let request = world.recovery(3, recover(&["a", "b", "c"]));
    world.pass(Span::secs(2));
    world.recovered(3, request);
    assert!(world.mesh(3).stream("elsewhere").is_none());
    let proof = shown(&world, 3, 0);
    world.hosts[0].up = true;
    world.inbox.push_back((0, proof.clone()));
    world.inbox.push_back((0, proof));
    world.pump();
    assert_eq!((world.hosts[0].parted, world.mesh(0).epoch().number), (0, 0));
    let why = rival(&world, 0);
    assert!(why.contains("recovery 1") && why.contains("does not follow"), "{why}");
    assert_eq!(world.stages(0), [RecoveryStage::Rival], "told once");
    // What they say of survivors counts for nothing there.
    let eviction = Eviction {
        number: 9,
        previous: Digest::default(),
        request: Request(1),
        origin: world.id(0),
        node: world.id(3),
        replica: world.mesh(3).member(world.id(3)).unwrap().replica,
        left: false,
        leader: world.id(0),
        signature: Bytes::from_static(&[0; 64]),
        recovery: None,
    };
    world.inbox.push_back((3, Input::Fenced { proof: eviction.encode(), endorsement: Bytes::new() }));
    world.pump();
    assert!(world.mesh(3).mesh_id().is_some());
    let request = world.command(3, evict("nobody"));
    world.pass(Span::secs(1));
    assert_eq!(world.reply(3, request), Some(Err(Refusal::UnknownNode("nobody".into()))), "it goes on");
}

#[test]
fn the_founder_that_falls_before_the_lost_are_taken_out_does_it_when_it_leads_again() {
    let mut world = without_quorum();
    let request = world.ask(3, |request| Input::Recover {
        request,
        command: recover(&["a", "b", "c"]),
        view: View { unreached: BTreeSet::new(), last: LogIndex(0), term: Term(0), trouble: None },
    });
    world.inbox.retain(|(_, input)| !matches!(input, Input::Recover { .. }));
    let view = world.view(3);
    let command = recover(&["a", "b", "c"]);
    world.inbox.push_back((3, Input::Recover { request, command, view }));
    let founder = world.until_led();
    world.leader = None;
    world.restart(founder);
    assert_eq!(world.mesh(founder).epoch().number, 0);
    assert!(world.mesh(founder).recovery_status().fenced.is_some());
    world.lead(Some(founder));
    world.pass(Span::secs(3));
    for host in [3, 4] {
        assert_eq!((world.mesh(host).epoch().number, world.mesh(host).member_count()), (3, 2), "host {host}");
        assert_eq!(world.mesh(host).recovery_status().fenced, None);
    }
    world.assert_equal();
}
