use super::*;

pub(super) fn evict(member: &str) -> impl FnOnce(RequestId) -> Input + use<> {
    let member = member.to_string();
    move |request| Input::Evict { request, member }
}

pub(super) fn leave(force: bool) -> impl FnOnce(RequestId) -> Input {
    move |request| Input::Leave { request, force }
}

/// A token made now, at that host.
pub(super) fn invite(world: &mut World, host: usize) -> String {
    let request = world.command(host, |request| Input::Invite { request });
    match world.reply(host, request) {
        Some(Ok(Reply::Token { token })) => token,
        other => panic!("no token: {other:?}"),
    }
}

fn voters(world: &World) -> Vec<usize> {
    let mut hosts: Vec<usize> =
        world.configuration.voters.iter().filter_map(|voter| world.host_of(voter.node)).collect();
    hosts.sort_unstable();
    hosts
}

/// What a former member is shown by another that turns it away.
pub(super) fn shown(world: &World, by: usize, to: usize) -> Input {
    let node = world.id(to);
    let (_, former) = &world.hosts[by].bounds;
    let former = former.iter().find(|former| former.node == node).expect("it is turned away");
    Input::Fenced { proof: former.proof.clone(), endorsement: former.endorsement.clone() }
}

#[test]
fn a_member_that_is_evicted_is_one_nowhere_and_is_told_so() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.pass(Span::secs(2));
    let d = world.id(3);
    world.hosts[3].up = false;
    let request = world.command(1, evict("d"));
    world.pass(Span::secs(2));
    assert_eq!(world.reply(1, request), Some(Ok(Reply::Evicted { node: d, epoch: 1 })));
    for host in 0..3 {
        assert!(!world.mesh(host).is_member(d));
        assert_eq!(world.mesh(host).epoch().number, 1);
        assert_eq!(world.mesh(host).epoch(), world.mesh(0).epoch());
        assert!(world.hosts[host].roster.iter().all(|entry| entry.node != d));
    }
    assert!(world.configuration.members().all(|member| member.node != d));
    world.assert_equal();

    world.hosts[3].up = true;
    let input = shown(&world, 2, 3);
    world.inbox.push_back((3, input));
    world.pump();
    assert_eq!((world.hosts[3].parted, world.mesh(3).mesh_id()), (1, None));
    assert!(matches!(world.mesh(3).served_no_more(), Some(Refusal::Evicted(_))));
    world.restart(3);
    assert!(matches!(world.mesh(3).served_no_more(), Some(Refusal::Evicted(_))), "its next start knows");
    let again = world.command(1, evict("d"));
    world.pass(Span::secs(1));
    assert_eq!(world.reply(1, again), Some(Err(Refusal::UnknownNode("d".into()))));
}

#[test]
fn a_voter_is_replaced_before_it_goes_and_the_number_stays_odd() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.pass(Span::secs(2));
    assert_eq!(voters(&world), [0, 1, 2]);
    let changes = world.changes.len();
    let request = world.command(3, evict("b"));
    world.pass(Span::secs(2));
    assert!(matches!(world.reply(3, request), Some(Ok(Reply::Evicted { epoch: 1, .. }))));
    assert_eq!(voters(&world), [0, 2, 3]);
    assert!(world.changes[changes..].iter().all(|(voters, _)| voters % 2 == 1), "{:?}", world.changes);

    let request = world.command(0, evict("c"));
    world.pass(Span::secs(2));
    assert!(matches!(world.reply(0, request), Some(Ok(Reply::Evicted { epoch: 2, .. }))));
    assert_eq!(voters(&world), [0], "two members have one voter");
    world.assert_equal();
}

#[test]
fn the_only_voter_goes_when_another_can_take_its_place_and_not_before() {
    let mut world = World::grown(&["a", "b"]);
    world.pass(Span::secs(2));
    let b = world.id(1);
    world.inbox.push_back((0, Input::PairSuspect { node: b }));
    world.pump();
    let request = world.command(0, leave(false));
    world.pass(Span::secs(4));
    assert!(
        matches!(world.reply(0, request), Some(Err(Refusal::OnlyVoter(_)))),
        "{:?}",
        world.reply(0, request)
    );
    world.inbox.push_back((0, Input::PairAlive { node: b }));
    world.pump();
    let request = world.command(0, leave(false));
    // The group of this test never elects by itself.
    assert_eq!(voters(&world), [1]);
    world.lead(Some(1));
    world.pass(Span::secs(2));
    assert_eq!(world.reply(0, request), Some(Ok(Reply::Left)));
    assert_eq!((world.mesh(0).mesh_id(), world.mesh(1).member_count()), (None, 1));
    assert_eq!(world.mesh(0).served_no_more(), Some(Refusal::NotMember));
    let request = world.command(1, leave(true));
    world.pass(Span::secs(2));
    assert_eq!(world.reply(1, request), Some(Err(Refusal::LastMember)));
}

#[test]
fn who_leaves_is_told_of_streams_it_is_an_end_of() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    world.command(0, open("words", "b", "c"));
    world.command(0, open("others", "a", "b"));
    let request = world.command(2, leave(false));
    assert_eq!(
        world.reply(2, request),
        Some(Err(Refusal::StreamsOpen { names: Vec::from(["words".into()]), more: 0 }))
    );
    let request = world.command(2, leave(true));
    world.pass(Span::secs(2));
    assert_eq!(world.reply(2, request), Some(Ok(Reply::Left)));
    let kept: Vec<&String> = world.hosts[2].open.values().collect();
    assert_eq!(kept, ["words"], "its data stays, that of others does not");
    let instance = *world.hosts[2].open.keys().next().unwrap();
    world.restart(2);
    assert!(world.mesh(2).open_streams().contains(&instance));
    let stream = world.mesh(0).stream("words").unwrap();
    assert_eq!(world.mesh(0).ends_gone(stream.ends.members()), [world.id(2)]);
}

#[test]
fn who_was_taken_out_joins_anew_with_a_new_token_and_under_another_replica_id() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    world.command(0, open("words", "b", "c"));
    world.command(0, open("closed meanwhile".replace(' ', "-").as_str(), "c", "a"));
    let old = invite(&mut world, 0);
    let c = world.id(2);
    let before = world.mesh(0).member(c).unwrap().replica;
    world.command(1, evict("c"));
    world.pass(Span::secs(2));
    assert_eq!((world.mesh(2).mesh_id(), world.hosts[2].parted), (None, 1), "its own log told it");
    world.command(0, close("closed-meanwhile"));
    assert!(matches!(world.join(2, &old), Some(Err(Refusal::JoinRefused(why))) if why.contains("evicted")));
    let token = invite(&mut world, 0);
    assert!(matches!(world.join(2, &token), Some(Ok(Reply::Joined { .. }))));
    world.pass(Span::secs(2));
    let member = world.mesh(0).member(c).unwrap();
    assert_ne!(member.replica, before);
    assert!(member.former.contains(&before), "M26");
    assert_eq!(
        world.hosts[2].parted, 1,
        "its own eviction stands in the log it reads, and is of another life"
    );
    let open: Vec<&String> = world.hosts[2].open.values().collect();
    assert_eq!(open, ["words"], "one goes on, the other was closed");
    assert!(world.hosts[0].bounds.1.is_empty(), "nobody turns it away");
    world.assert_equal();
    world.restart(2);
    assert_eq!((world.mesh(2).mesh_id(), world.mesh(2).members().count()), (world.mesh(0).mesh_id(), 3));
    world.assert_equal();
}

#[test]
fn what_is_shown_counts_only_with_the_signature_of_a_member() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    world.hosts[2].up = false;
    world.command(0, evict("c"));
    world.pass(Span::secs(2));
    world.hosts[2].up = true;
    let Input::Fenced { proof, endorsement } = shown(&world, 1, 2) else { unreachable!() };
    let real = Eviction::decode(&proof).unwrap();
    let show = |world: &mut World, eviction: &Eviction| {
        let (proof, endorsement) = (eviction.encode(), endorsement.clone());
        world.inbox.push_back((2, Input::Fenced { proof, endorsement }));
        world.pump();
        world.hosts[2].parted
    };
    assert_eq!(show(&mut world, &Eviction { number: 7, ..real.clone() }), 0, "not what was signed");
    assert_eq!(show(&mut world, &Eviction { leader: NodeId(9), ..real.clone() }), 0, "by nobody known");
    assert_eq!(show(&mut world, &Eviction { replica: ReplicaId(9), ..real.clone() }), 0, "of another life");
    assert_eq!(show(&mut world, &real), 1);
}

#[test]
fn a_former_member_is_not_introduced_on_its_old_admission_and_introduces_nobody() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    let (c, key) = (world.id(2), world.hosts[2].config.key);
    let endorsement = world.mesh(2).endorsement(c);
    let newcomer = world.add("d");
    let token = invite(&mut world, 2);
    world.join(newcomer, &token);
    let of_newcomer = world.mesh(2).endorsement(world.id(newcomer));
    world.command(0, evict("c"));
    world.command(0, evict("d"));
    world.pass(Span::secs(3));
    assert_eq!(world.mesh(0).member_count(), 2);
    world.inbox.push_back((0, Input::Stranger { node: c, key, endorsement }));
    let (node, key) = (world.id(newcomer), world.hosts[newcomer].config.key);
    world.inbox.push_back((0, Input::Stranger { node, key, endorsement: of_newcomer }));
    world.pump();
    assert!(!world.mesh(0).is_member(c) && !world.mesh(0).is_member(node), "M27");
}

/// b was evicted and is back, and leads. d, which last read the log when b was gone or back, is evicted, and e joins, both by b.
fn led_by_one_that_is_back(read_of_return: bool, planted: Planted) -> (World, usize) {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.pass(Span::secs(2));
    world.planted = planted;
    world.restart(3);
    world.pass(Span::secs(1));
    world.command(0, evict("b"));
    world.pass(Span::secs(2));
    world.hosts[3].up = read_of_return;
    let token = invite(&mut world, 0);
    assert!(matches!(world.join(1, &token), Some(Ok(Reply::Joined { .. }))));
    world.pass(Span::secs(2));
    world.hosts[3].up = false;
    let newcomer = world.add("e");
    let token = invite(&mut world, 1);
    let joined = world.join(newcomer, &token);
    assert!(matches!(joined, Some(Ok(Reply::Joined { .. }))), "{joined:?}");
    world.pass(Span::secs(2));
    let admitter = world.mesh(0).member(world.id(newcomer)).map(|member| member.admitter);
    assert_eq!(admitter, Some(world.id(1)));
    world.lead(Some(1));
    world.command(0, evict("d"));
    world.pass(Span::secs(2));
    world.hosts[3].up = true;
    (world, newcomer)
}

#[test]
fn the_word_of_who_is_back_counts_again() {
    let worlds = [
        (false, Planted::none()),
        (true, Planted::none()),
        #[cfg(feature = "planted")]
        (false, Planted::only(crate::planted::Bug::ReturnedStaysVoid)),
    ];
    for (read_of_return, planted) in worlds {
        let (mut world, newcomer) = led_by_one_that_is_back(read_of_return, planted);
        let (node, key) = (world.id(newcomer), world.hosts[newcomer].config.key);
        let endorsement = world.mesh(0).endorsement(node);
        world.hosts[3].mesh.handle(world.now, Input::Stranger { node, key, endorsement });
        while let Some(job) = (world.drain(3), world.inbox.pop_back()).1 {
            world.hosts[3].mesh.handle(world.now, job.1);
        }
        let good = planted == Planted::none();
        assert_eq!(world.mesh(3).is_member(node), good, "it is introduced");
        let eviction = shown(&world, 0, 3);
        world.hosts[3].mesh.handle(world.now, eviction);
        while let Some(job) = (world.drain(3), world.inbox.pop_back()).1 {
            world.hosts[3].mesh.handle(world.now, job.1);
        }
        assert_eq!(world.hosts[3].parted == 1, good, "it is told that it was evicted");
    }
}

#[test]
fn a_mesh_remembers_its_epoch_over_snapshots_and_starts() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    world.command(0, evict("c"));
    world.pass(Span::secs(2));
    let state = world.mesh(0).state.clone();
    assert_eq!(State::decode(&state.encode()).unwrap(), state);
    assert_eq!(state.raised.as_ref().map(|raised| raised.epoch(state.mesh.unwrap())), Some(state.epoch));
    world.restart(1);
    assert_eq!(world.mesh(1).epoch(), state.epoch);
    assert_eq!(world.hosts[1].bounds.1.len(), 1, "its first word is whom to turn away");
}

#[test]
fn data_of_one_mesh_is_not_carried_into_another() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    world.command(0, open("words", "b", "c"));
    world.command(2, leave(true));
    world.pass(Span::secs(2));
    let request = world.command(2, |request| Input::Seed { request, name: "other".into() });
    assert!(matches!(world.reply(2, request), Some(Err(Refusal::KeepsStreams { streams: 1, .. }))));
}

#[test]
fn a_member_that_was_away_waits_for_nobody_who_is_gone() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.pass(Span::secs(2));
    world.hosts[3].up = false;
    world.command(0, evict("b"));
    world.pass(Span::secs(2));
    let Input::Fenced { proof, .. } = shown(&world, 0, 1) else { unreachable!() };
    world.hosts[3].up = true;
    world.hosts[3].mesh.handle(world.now, Input::Fenced { proof: proof.clone(), endorsement: Bytes::new() });
    world.drain(3);
    let job = world.inbox.pop_back().expect("the signature is checked");
    world.hosts[3].mesh.handle(world.now, job.1);
    world.drain(3);
    assert_eq!(world.hosts[3].gone, [world.id(1)], "before its log tells it");
    world.pump();
    assert_eq!(world.mesh(3).epoch().number, 1);
    world.inbox.push_back((3, Input::Fenced { proof, endorsement: Bytes::new() }));
    world.pump();
    assert_eq!(world.hosts[3].gone.len(), 1, "it knows by now");
}
