use super::*;

#[test]
fn voters_grow_from_one_to_three_to_five() {
    let mut world = World::new(&["a", "b", "c", "d", "e", "f", "g"]);
    let token = world.seed(0);
    for (host, voters) in [(1, 1), (2, 3), (3, 3), (4, 5), (5, 5), (6, 5)] {
        assert!(matches!(world.join(host, &token), Some(Ok(_))));
        world.pass(Span::secs(2));
        assert_eq!(world.configuration.voters.len(), voters, "with {} members", host + 1);
        assert_eq!(world.configuration.members().count(), host + 1);
    }
    let odd = world.changes.iter().all(|(voters, _)| voters % 2 == 1);
    assert!(odd, "M7: {:?}", world.changes);
    world.assert_equal();
}

#[test]
fn suspects_and_laggards_do_not_become_voters() {
    let mut world = World::new(&["a", "b", "c"]);
    let token = world.seed(0);
    world.join(1, &token);
    let b = world.id(1);
    world.inbox.push_back((0, Input::PairSuspect { node: b }));
    world.pump();
    world.join(2, &token);
    assert_eq!(world.configuration.voters.len(), 1, "two voters are no better than one");
    world.inbox.push_back((0, Input::PairAlive { node: b }));
    world.pump();
    assert_eq!(world.configuration.voters.len(), 3);

    let mut world = World::new(&["a", "b", "c"]);
    let token = world.seed(0);
    world.join(1, &token);
    world.hosts[1].up = false;
    world.hosts[0].mesh.config.caught_up_within = 0;
    world.join(2, &token);
    world.pass(Span::secs(2));
    assert_eq!(world.configuration.voters.len(), 1, "b is behind");
    world.hosts[1].up = true;
    world.pump();
    world.pass(Span::secs(2));
    assert_eq!(world.configuration.voters.len(), 3);
}

#[test]
fn a_refused_change_is_tried_again() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.refuse_changes = 2;
    world.join(1, &token);
    assert_eq!(world.configuration.learners.len(), 0);
    world.pass(Span::secs(3));
    assert_eq!(world.configuration.learners.len(), 1);
}

#[test]
fn a_new_leader_goes_on_where_the_old_one_stopped() {
    let mut world = World::grown(&["a", "b", "c"]);
    let request = world.command(0, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
    world.refuse_changes = 100;
    let d = world.add("d");
    world.join(d, &token);
    assert_eq!(world.configuration.members().count(), 3);
    world.refuse_changes = 0;
    world.lead(Some(2));
    assert_eq!(world.configuration.members().count(), 4);
    world.pass(Span::secs(2));
    world.assert_equal();
}

#[test]
fn a_fresh_replica_does_not_inherit_what_the_one_before_held() {
    let mut world = World::grown(&["a", "b", "c"]);
    assert_eq!(world.configuration.voters.len(), 3);
    world.hosts[1].up = false;
    let b = world.id(1);
    let (old, others): (Vec<Replica>, Vec<Replica>) =
        world.configuration.voters.iter().partition(|replica| replica.node == b);
    let fresh = Replica { node: b, replica: ReplicaId(old[0].replica.0 + 1) };
    world.configured(Configuration::simple(others, Vec::from([fresh])));
    world.pump();
    world.pass(Span::secs(2));
    assert!(!world.configuration.voters.contains(&fresh), "nothing is known of what it holds");
    let before = LogIndex(world.log.len() as u64 - 1);
    world.inbox.push_back((0, Input::Match { node: b, index: before }));
    world.pump();
    assert!(!world.configuration.voters.contains(&fresh), "it does not hold what names it");
    world.hosts[1].up = true;
    world.pump();
    world.pass(Span::secs(2));
    assert!(world.configuration.voters.contains(&fresh));
}

#[test]
fn a_learner_votes_once_it_holds_what_names_it_whoever_was_named_since() {
    let mut world = World::new(&["a", "b", "c"]);
    let token = world.seed(0);
    world.join(1, &token);
    world.pass(Span::secs(2));
    // It answers no more, and nobody suspects it yet.
    world.hosts[1].up = false;
    world.join(2, &token);
    world.pass(Span::secs(2));
    assert_eq!(world.configuration.voters.len(), 3);
}
