//! The lost that come back, members of whom not all survivors know, and orders in a row.

use super::leaving::shown;
use super::recovery::{names, recover, rival, without_quorum};
use super::*;
use crate::mesh::recovery::{Order, RecoveryMessage};
use crate::recovery::{LogPlace, RecoverCommand, RecoverRefusal, RecoverReply};

impl World {
    /// Something that stands in the log of a host, and that it was not given.
    fn holds(&mut self, host: usize, body: Body) {
        let origin = self.id(0);
        let time = Wall(self.now.wall.0);
        let request = Request(self.rng_number());
        let entry = entry::Entry { origin, request, seen: LogIndex(0), time, body };
        let index = LogIndex((self.hosts[host].applied + self.hosts[host].held.len()) as u64 + 1);
        let held = Applied { index, term: Term(self.term), command: true, data: entry.encode() };
        self.hosts[host].held.push(held);
    }

    fn rng_number(&mut self) -> u128 {
        self.next_request += 1;
        u128::from(self.next_request) << 64
    }

    /// An order that comes from a survivor.
    fn order(&self, from: usize, attempt: u64, lost: &[usize]) -> Order {
        let lost: Vec<NodeId> = lost.iter().map(|&host| self.id(host)).collect();
        let members = self.mesh(from).state.members.keys().copied();
        Order {
            attempt,
            era: 1_000 + attempt,
            coordinator: self.id(from),
            request: Request(u128::from(attempt)),
            epoch: self.mesh(from).epoch(),
            survivors: members.filter(|node| !lost.contains(node)).collect(),
            lost,
            time: self.now.wall,
            withdraw: false,
        }
    }

    fn hears(&mut self, host: usize, from: usize, message: RecoveryMessage) {
        let (from, message) = (self.id(from), Message::Recovery(message));
        self.inbox.push_back((host, Input::Message { from, message }));
        self.pump();
    }
}

/// The others went on without the first three.
fn recovered() -> World {
    let mut world = without_quorum();
    let request = world.recovery(3, recover(&["a", "b", "c"]));
    world.pass(Span::secs(2));
    world.recovered(3, request);
    world
}

fn comes_back(world: &mut World, host: usize) {
    world.hosts[host].up = true;
    let proof = shown(world, 4, host);
    world.inbox.push_back((host, proof));
    world.pump();
}

#[test]
fn what_the_lost_hold_and_have_not_applied_may_be_decided_and_is_not_given_up() {
    let mut world = recovered();
    world.holds(0, opening("elsewhere"));
    comes_back(&mut world, 0);
    assert!(rival(&world, 0).contains("1 stand in the log"), "{}", rival(&world, 0));
    assert_eq!(world.hosts[0].parted, 0);
    // It came to nothing.
    world.hosts[0].held.clear();
    comes_back(&mut world, 0);
    assert_eq!(world.hosts[0].parted, 1);
    // What nobody waits for is no loss, nor what the others hold, too.
    let (node, addresses) = (world.id(1), Vec::new());
    world.holds(1, Body::Update { node, addresses, api: None, region: None });
    comes_back(&mut world, 1);
    assert_eq!(world.hosts[1].parted, 1);
    world.holds(2, opening("everywhere"));
    world.hosts[2].parts_at = world.hosts[2].held.first().map(|held| held.index);
    comes_back(&mut world, 2);
    assert_eq!(world.hosts[2].parted, 1);
}

#[test]
fn what_the_lost_decided_in_the_place_of_other_entries_is_not_given_up() {
    let mut world = recovered();
    let last = world.mesh(0).state.decided.back().expect("a stream was opened").index;
    world.hosts[0].parts_at = Some(last.before());
    comes_back(&mut world, 0);
    assert_eq!(world.hosts[0].parted, 0);
    assert!(rival(&world, 0).contains("1 changes were decided here"), "{}", rival(&world, 0));
}

#[test]
fn a_member_that_only_another_survivor_knows_is_not_passed_over() {
    let mut world = without_quorum();
    let stranger = world.add("f");
    let (node, key) = (world.id(stranger), world.hosts[stranger].config.key);
    let admission = entry::Admission {
        node,
        name: "f".into(),
        key,
        addresses: Vec::new(),
        api: None,
        replica: ReplicaId(77),
        admitter: world.id(0),
        signature: Bytes::from_static(&[0; 64]),
    };
    world.holds(4, Body::Admit(admission));
    let request = world.recovery(3, recover(&["a", "b", "c"]));
    world.pass(Span::secs(2));
    let Some(Err(Refusal::Recovery(RecoverRefusal::Strangers { by, members }))) = world.reply(3, request)
    else {
        panic!("{:?}", world.reply(3, request))
    };
    assert_eq!((by, members), ("e".into(), alloc::format!("f ({node})")));
    let request = world.recovery(3, RecoverCommand::Plan { lost: names(&["a", "b", "c", "f"]) });
    let Some(Ok(Reply::Recovery(RecoverReply::Plan(plan)))) = world.reply(3, request) else {
        panic!("{:?}", world.reply(3, request))
    };
    assert!(plan.lost.iter().any(|lost| (lost.node, &lost.name[..]) == (node, "f")));
    let id = alloc::format!("{node}");
    let request = world.recovery(3, recover(&["a", "b", "c", &id]));
    world.pass(Span::secs(2));
    assert_eq!(world.recovered(3, request).attempt, 2);
}

#[test]
fn who_refused_to_go_on_does_not_do_so_later_in_its_next_life_either() {
    let mut world = without_quorum();
    let order = world.order(4, 1, &[0, 1, 2]);
    let era = order.era;
    world.hears(3, 4, RecoveryMessage::Order(order));
    world.hosts[3].cannot_found = Some("not now".into());
    let found = RecoveryMessage::Found { era, above: Term(9), holds: LogPlace::default() };
    world.hears(3, 4, found.clone());
    world.hosts[3].cannot_found = None;
    world.hears(3, 4, found.clone());
    world.restart(3);
    world.hears(3, 4, found);
    assert_eq!((world.hosts[3].era, world.leader), (0, None), "somebody else was asked since");
}

#[test]
fn who_answered_for_many_in_a_row_refuses_another_and_takes_them_back() {
    let mut world = without_quorum();
    for attempt in 1..=64 {
        let order = world.order(4, attempt, &[0, 1, 2]);
        world.hears(3, 4, RecoveryMessage::Order(order));
    }
    assert_eq!(world.hosts[3].eras.len(), 64);
    let order = world.order(4, 65, &[0, 1, 2]);
    world.hears(3, 4, RecoveryMessage::Order(order));
    assert_eq!(world.mesh(3).recovery_status().fenced.map(|fenced| fenced.attempt), Some(64));
    let request = world.recovery(3, recover(&["a", "b", "c"]));
    let Some(Err(Refusal::Recovery(RecoverRefusal::NotReady(why)))) = world.reply(3, request) else {
        panic!("{:?}", world.reply(3, request))
    };
    assert!(why.contains("--withdraw"), "{why}");
    for _ in 0..3 {
        let request = world.recovery(3, RecoverCommand::Withdraw);
        world.pass(Span::secs(2));
        let done = world.reply(3, request);
        assert!(
            matches!(done, Some(Ok(_)) | Some(Err(Refusal::Recovery(RecoverRefusal::NothingToWithdraw)))),
            "{done:?}"
        );
    }
    let request = world.recovery(3, recover(&["a", "b", "c"]));
    world.pass(Span::secs(2));
    world.recovered(3, request);
}

#[test]
fn who_follows_an_earlier_founder_is_let_go_from_a_later_fence_by_what_that_one_decides() {
    let mut world = without_quorum();
    let request = world.ask(3, |request| Input::Seed { request, name: String::new() });
    world.inbox.clear();
    let (view, command) = (world.view(3), recover(&["a", "b", "c"]));
    world.inbox.push_back((3, Input::Recover { request, command, view }));
    let founder = world.until_led();
    let follower = if founder == 3 { 4 } else { 3 };
    world.pump_inputs_of(follower);
    let order = world.order(follower, 2, &[0, 1, 2]);
    let (from, message) = (world.id(follower), Message::Recovery(RecoveryMessage::Order(order)));
    let now = world.now;
    world.hosts[follower].mesh.handle(now, Input::Message { from, message });
    world.drain(follower);
    let fenced = world.mesh(follower).recovery_status().fenced.map(|fenced| fenced.attempt);
    assert_eq!((fenced, world.hosts[follower].unfenced), (Some(2), 0));
    world.pass(Span::secs(3));
    assert_eq!(world.mesh(follower).recovery_status().fenced, None);
    assert_eq!(world.hosts[follower].unfenced, 1, "its replica takes part again, too");
    world.assert_equal();
}
