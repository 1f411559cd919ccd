use super::leaving::evict;
use super::*;
use crate::ends::Policy;
use crate::id::{AuthorityEpoch, Sequence};
use crate::members::{Added, ChangeKind, MembersRefusal, MembersWish, REASON_MAX, Start, StreamMembers};
use crate::mesh::members::MembersChanged;
use crate::mesh::sealing::seal_without;
use crate::mesh::state::Effect;
use crate::planted::Planted;
use crate::sealing::SealRefusal;

fn wish(target: &str) -> MembersWish {
    let (stream, target) = ("words".to_string(), target.to_string());
    MembersWish { stream, target, kind: ChangeKind::Detach, reason: "its disk burnt".into() }
}

impl World {
    fn change_members(&mut self, host: usize, wish: MembersWish) -> Result<StreamMembers, Refusal> {
        let request = self.command(host, |request| Input::ChangeMembers { request, wish });
        match self.reply(host, request).expect("it is answered") {
            Ok(Reply::StreamMembers { members, .. }) => Ok(members),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        }
    }

    /// Whoever leads the stream says that a node joined, and begins with that message.
    fn joined(&mut self, host: usize, instance: StreamInstance, number: LogIndex, first: u64) {
        let (authority, first) = (AuthorityEpoch(0), Some(Sequence(first)));
        self.inbox.push_back((host, Input::MembersChanged { instance, authority, number, first }));
        self.pump();
    }

    fn done(&mut self, host: usize, instance: StreamInstance, number: LogIndex) {
        let authority = self.hosts[host].mesh.state.stream_of(instance).expect("open").authority();
        self.inbox.push_back((host, Input::MembersChanged { instance, authority, number, first: None }));
        self.pump();
    }
}

/// A stream from `a` to `b`, `c` and `d`.
fn stream() -> (World, StreamInstance) {
    let mut world = World::grown(&["a", "b", "c", "d", "e"]);
    let request = world.command(1, open_to("words", "a", &["b", "c", "d"], Policy::All));
    let Some(Ok(Reply::StreamOpened { instance, .. })) = world.reply(1, request) else { panic!("not open") };
    (world, instance)
}

fn refused(asked: Result<StreamMembers, Refusal>) -> MembersRefusal {
    match asked {
        Err(Refusal::Members(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_is_recorded_told_to_everybody_and_done_when_whoever_leads_the_stream_says_so() {
    let (mut world, instance) = stream();
    let members = world.change_members(2, wish("c")).unwrap();
    let change = members.change.clone().expect("under way");
    assert_eq!((change.node, members.out.len()), (world.id(2), 0));
    for host in 0..5 {
        assert_eq!(world.hosts[host].members[&instance], members, "at {host}");
    }
    assert_eq!(world.change_members(1, wish("c")).unwrap(), members, "asking again tells how far it is");
    world.done(0, instance, LogIndex(change.number.0 + 1));
    assert!(world.hosts[3].members[&instance].change.is_some(), "that was another one");
    world.done(0, instance, change.number);
    let after = world.hosts[3].members[&instance].clone();
    assert!(after.change.is_none());
    assert_eq!(after.taken_out(world.id(2)).expect("it is out").reason, "its disk burnt");
    assert_eq!(world.change_members(1, wish("c")).unwrap(), after, "it is out for good");
    world.hosts[2].members.clear();
    assert!(world.mesh(1).open_streams().contains(&instance));
    world.restart(2);
    assert!(!world.mesh(2).open_streams().contains(&instance), "what it finds of that on its disk is over");
    world.pump();
    assert_eq!(world.hosts[2].members[&instance], after, "a start of the one who is out knows it");
}

#[test]
fn what_cannot_be_is_refused_each_with_its_own_reason() {
    let (mut world, instance) = stream();
    let mut ask = |wish| refused(world.change_members(1, wish));
    assert_eq!(ask(wish("a")), MembersRefusal::Source("a".into()));
    assert_eq!(ask(wish("e")), MembersRefusal::NotTarget("e".into()));
    for reason in [String::new(), "x".repeat(REASON_MAX + 1)] {
        assert_eq!(ask(MembersWish { reason, ..wish("b") }), MembersRefusal::NoReason);
    }
    assert!(matches!(world.change_members(1, wish("z")), Err(Refusal::UnknownNode(_))));
    let other = MembersWish { stream: "none".into(), ..wish("b") };
    assert!(matches!(world.change_members(1, other), Err(Refusal::UnknownStream(_))));
    let change = world.change_members(1, wish("b")).unwrap().change.expect("under way");
    assert_eq!(
        refused(world.change_members(1, wish("c"))),
        MembersRefusal::UnderWay("b is being detached".into())
    );
    world.done(0, instance, change.number);
    let change = world.change_members(1, wish("c")).unwrap().change.expect("under way");
    world.done(0, instance, change.number);
    assert_eq!(refused(world.change_members(1, wish("d"))), MembersRefusal::LastTarget("d".into()));
}

#[test]
fn whoever_is_no_member_of_the_mesh_any_more_can_be_detached() {
    let (mut world, _) = stream();
    world.command(1, evict("d"));
    world.pump();
    let members = world.change_members(1, wish("d")).unwrap();
    assert_eq!(members.change.expect("under way").node, world.id(3));
}

#[test]
fn a_seal_asks_everybody_by_whom_the_group_may_decide() {
    let (world, instance) = stream();
    let mut state = world.hosts[0].mesh.state.clone();
    let (b, c, d) = (world.id(1), world.id(2), world.id(3));
    let effect = state.change_members(state.applied, &wish("c")).unwrap();
    assert_eq!(effect, Effect::Members { instance, changed: true });
    let stream = state.streams["words"].clone();
    let (group, to_be) = (stream.group(), stream.group_to_be().expect("under way"));
    assert_eq!((group.voters.len(), to_be.voters.len()), (4, 3));
    assert!(!to_be.members().any(|node| node == c));
    let seal = |lost: &[_]| seal_without(None, &group, Some(&to_be), lost, "them", Planted::none());
    assert_eq!(seal(&[b]), Err(SealRefusal::Quorum("them".into())));
    let began = seal(&[b, d]).unwrap().expect("neither two of four nor one of three");
    assert!(began.told(&group).waits_for.contains(&c), "the group may decide with it yet");
    let (authority, number) = (AuthorityEpoch(0), state.applied);
    let done = MembersChanged { name: "words".into(), instance, authority, number, first: None };
    state.members_changed(world.id(0), &done).unwrap();
    assert_eq!(state.streams["words"].group(), to_be);
    state.check();
    let again = State::decode(&state.encode()).unwrap();
    assert_eq!(again.streams, state.streams);
}

#[test]
fn who_is_drained_leaves_a_policy_that_means_what_it_did() {
    let drain = |target: &str| MembersWish { kind: ChangeKind::Drain, ..wish(target) };
    let with = |policy: Policy<String>| {
        let mut world = World::grown(&["a", "b", "c", "d"]);
        let request = world.command(1, open_to("words", "a", &["b", "c", "d"], policy));
        assert!(matches!(world.reply(1, request), Some(Ok(Reply::StreamOpened { .. }))));
        world
    };
    let mut two = with(Policy::Count(2));
    let change = two.change_members(1, drain("b")).unwrap().change.expect("two are left");
    assert_eq!(change.kind, ChangeKind::Drain);
    assert_eq!(two.change_members(1, drain("b")).unwrap().change, Some(change.clone()), "asked again");
    assert!(matches!(two.change_members(1, drain("c")), Err(Refusal::Members(MembersRefusal::UnderWay(_)))));
    let instead = two.change_members(1, wish("b")).unwrap().change.expect("it was lost meanwhile");
    assert!(instead.kind == ChangeKind::Detach && instead.number > change.number);
    let (host, (&instance, _)) = (0, two.hosts[0].open.first_key_value().expect("open"));
    two.done(host, instance, instead.number);
    let refusal = MembersRefusal::BelowCount { target: "c".into(), left: 1, needed: 2 };
    assert_eq!(refused(two.change_members(1, drain("c"))), refusal);
    assert!(two.change_members(1, wish("c")).is_ok(), "who is gone is gone");

    let mut named = with(Policy::Named(["c".into(), "d".into()].into()));
    let change = named.change_members(1, drain("c")).unwrap().change.expect("the other is left");
    let (&instance, _) = named.hosts[0].open.first_key_value().expect("open");
    named.done(0, instance, change.number);
    assert_eq!(refused(named.change_members(1, drain("d"))), MembersRefusal::LastNamed("d".into()));
}

/// The voters are five and two who learn; of them `c` was taken out, and it is not known whether the first of those who learn votes already.
#[test]
fn a_seal_does_not_count_on_who_is_yet_to_be_promoted() {
    let mut world = World::grown(&["a", "b", "c", "d", "e", "f", "g"]);
    let request = world.command(1, open_to("words", "a", &["b", "c", "d", "e", "f", "g"], Policy::All));
    assert!(matches!(world.reply(1, request), Some(Ok(Reply::StreamOpened { .. }))));
    let mut state = world.hosts[0].mesh.state.clone();
    let (b, d, f) = (world.id(1), world.id(3), world.id(5));
    let Effect::Members { instance, .. } = state.change_members(state.applied, &wish("c")).unwrap() else {
        panic!("it is under way");
    };
    let (authority, number) = (AuthorityEpoch(0), state.applied);
    let done = MembersChanged { name: "words".into(), instance, authority, number, first: None };
    state.members_changed(world.id(0), &done).unwrap();
    let group = state.streams["words"].group();
    assert_eq!((group.voters.len(), &group.promoted[..]), (5, &[f][..]));
    let seal = |lost: &[_]| seal_without(None, &group, None, lost, "them", Planted::none());
    assert_eq!(seal(&[b]), Err(SealRefusal::Quorum("them".into())), "three of four, or four of five");
    assert!(seal(&[b, d]).is_ok(), "two of four, or three of five");
    assert_eq!(seal(&[f]), Err(SealRefusal::Quorum("them".into())), "four of four, or four of five");
    assert!(seal(&[b, f]).is_err(), "three of four, or three of five");
}

#[test]
fn that_a_change_is_done_is_not_recorded_while_a_seal_asks_the_members() {
    let (world, instance) = stream();
    let (a, b, d) = (world.id(0), world.id(1), world.id(3));
    let mut state = world.hosts[0].mesh.state.clone();
    state.change_members(state.applied, &wish("c")).unwrap();
    let (number, authority) = (state.applied, AuthorityEpoch(0));
    let done = MembersChanged { name: "words".into(), instance, authority, number, first: None };
    let lost = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
    state.seal_stream("words", &lost(&["b", "d"]), Some(instance), &[b, d]).unwrap();
    assert_eq!(state.members_changed(a, &done), Err(Refusal::Busy), "it is not known who founds the group");
    assert_eq!(state.members_changed(b, &done), Err(Refusal::Busy), "it is lost");
    state.streams.get_mut("words").expect("open").seal.as_mut().expect("sealed").sequence = Some(Sequence(3));
    assert_eq!(state.members_changed(a, &done), Err(Refusal::Busy), "that was under another authority");
    let anew = MembersChanged { authority: AuthorityEpoch(1), ..done };
    assert_eq!(state.members_changed(b, &anew), Err(Refusal::Busy));
    assert!(state.members_changed(a, &anew).is_ok());
}

fn add(target: &str) -> MembersWish {
    MembersWish { kind: ChangeKind::Add(Start::FirstKept), reason: String::new(), ..wish(target) }
}

#[test]
fn a_node_is_added_once_as_a_target_of_which_all_are_told() {
    let (mut world, instance) = stream();
    let mut ask = |wish| refused(world.change_members(1, wish));
    assert_eq!(ask(add("a")), MembersRefusal::Source("a".into()));
    assert_eq!(ask(add("b")), MembersRefusal::IsTarget("b".into()));
    let from_nothing = MembersWish { kind: ChangeKind::Add(Start::At(Sequence(0))), ..add("e") };
    assert_eq!(ask(from_nothing), MembersRefusal::NoMessage);
    assert!(matches!(world.change_members(1, add("z")), Err(Refusal::UnknownNode(_))));
    let e = world.id(4);
    let members = world.change_members(2, add("e")).unwrap();
    let change = members.change.clone().expect("under way");
    assert_eq!((change.node, change.kind), (e, ChangeKind::Add(Start::FirstKept)));
    for host in 0..5 {
        assert_eq!(world.hosts[host].members[&instance], members, "at {host}");
    }
    assert_eq!(world.change_members(1, add("e")).unwrap(), members, "asking again tells how far it is");
    let under_way = MembersRefusal::UnderWay("e is being added".into());
    assert_eq!(refused(world.change_members(1, wish("c"))), under_way);
    let drain = MembersWish { kind: ChangeKind::Drain, ..wish("e") };
    assert_eq!(refused(world.change_members(1, drain)), under_way);
    world.joined(0, instance, change.number, 7);
    let after = world.hosts[3].members[&instance].clone();
    assert_eq!(after.added, [Added { node: e, first: Some(Sequence(7)) }]);
    assert!(after.change.is_none() && after.out.is_empty());
    assert_eq!(world.change_members(1, add("e")).unwrap(), after, "it is one already");
    // It may go as others do, and does not come back.
    let change = world.change_members(1, wish("e")).unwrap().change.expect("under way");
    world.done(0, instance, change.number);
    assert_eq!(refused(world.change_members(1, add("e"))), MembersRefusal::WasTarget("e".into()));
    world.restart(4);
    world.pump();
    assert!(!world.mesh(4).open_streams().contains(&instance));
}

#[test]
fn an_addition_can_be_taken_back_and_counts_in_the_union_until_that_is_recorded() {
    let (world, instance) = stream();
    let (a, e) = (world.id(0), world.id(4));
    let mut state = world.hosts[0].mesh.state.clone();
    state.change_members(state.applied, &add("e")).unwrap();
    let stream = state.streams["words"].clone();
    let (group, without) = (stream.group(), stream.group_to_be().expect("under way"));
    assert_eq!((group.voters.len(), without.voters.len()), (5, 4));
    assert!(group.promoted == [e] && !without.members().any(|node| node == e));
    let back = MembersWish { kind: ChangeKind::Detach, ..wish("e") };
    let began = state.applied.next();
    state.applied = began;
    state.change_members(began, &back).unwrap();
    assert!(state.streams["words"].group().members().any(|node| node == e), "it may have joined meanwhile");
    state.check();
    let done = |number, first| MembersChanged {
        name: "words".into(),
        instance,
        authority: AuthorityEpoch(0),
        number,
        first,
    };
    let before = done(LogIndex(began.0 - 1), Some(Sequence(3)));
    assert_eq!(state.members_changed(a, &before), Ok(Effect::Members { instance, changed: false }));
    assert_eq!(state.members_changed(a, &done(began, None)), Ok(Effect::Members { instance, changed: true }));
    assert!(
        state.streams["words"].is_out(e) && !state.streams["words"].group().members().any(|node| node == e)
    );
    state.check();
    let again = State::decode(&state.encode()).unwrap();
    assert_eq!(again.streams, state.streams);
}

#[test]
fn nobody_is_added_to_a_sealed_stream_and_who_was_to_be_can_be_named_lost() {
    let (world, instance) = stream();
    let [b, c, d, e] = [1, 2, 3, 4].map(|host| world.id(host));
    let mut state = world.hosts[0].mesh.state.clone();
    state.change_members(state.applied, &add("e")).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
    let lost = names(&["b", "c", "d", "e"]);
    // It is there, and cannot say where its log ends: nobody is left who would admit it.
    state.seal_stream("words", &lost, Some(instance), &[b, c, d]).unwrap();
    let told = state.streams["words"].sealed().expect("sealed");
    assert!(told.lost.contains(&e) && told.waits_for == [world.id(0)]);
    let mut other = world.hosts[0].mesh.state.clone();
    other.seal_stream("words", &lost[..3], Some(instance), &[b, c, d]).unwrap();
    other.streams.get_mut("words").expect("open").seal.as_mut().expect("sealed").sequence = Some(Sequence(3));
    let refusal = other.change_members(other.applied, &add("e"));
    assert_eq!(refusal, Err(MembersRefusal::Sealed.into()));
}

#[test]
fn a_source_that_voted_alone_once_is_the_only_one_who_surely_votes() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    let request = world.command(1, open_to("words", "a", &["b", "c"], Policy::All));
    let Some(Ok(Reply::StreamOpened { instance, .. })) = world.reply(1, request) else { panic!("not open") };
    let change = world.change_members(1, wish("c")).unwrap().change.expect("under way");
    world.done(0, instance, change.number);
    let change = world.change_members(1, add("d")).unwrap().change.expect("under way");
    world.joined(0, instance, change.number, 1);
    let group = world.hosts[0].mesh.state.streams["words"].group();
    assert_eq!(
        (group.voters.len(), group.promoted.len()),
        (3, 2),
        "b voted, and learned, and may vote again"
    );
}
