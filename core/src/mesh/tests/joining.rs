use super::*;
use crate::mesh::token::{JoinToken, Secret};

fn refused(reply: Option<Result<Reply, Refusal>>) -> String {
    match reply {
        Some(Err(Refusal::JoinRefused(reason) | Refusal::JoinBarred { reason, .. })) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn joined(reply: Option<Result<Reply, Refusal>>) {
    assert!(matches!(reply, Some(Ok(Reply::Joined { .. }))), "{reply:?}");
}

#[test]
fn seeding_makes_a_mesh_of_one_and_only_once() {
    let mut world = World::new(&["a"]);
    world.seed(0);
    let mesh = world.mesh(0).mesh_id().unwrap();
    assert_eq!(world.hosts[0].became, [mesh]);
    assert_eq!(world.mesh(0).mesh_name(), "garden");
    assert_eq!(world.mesh(0).voters(), [world.id(0)]);
    assert_eq!(world.hosts[0].roster.len(), 1);
    let again = world.command(0, |request| Input::Seed { request, name: "other".into() });
    assert_eq!(world.reply(0, again), Some(Err(Refusal::AlreadyMember(mesh))));
    let wall = world.now.wall.0;
    assert_eq!((mesh.0 >> 80) as u64, wall, "the id is a ULID of the moment");
}

#[test]
fn commands_outside_a_mesh_are_refused() {
    let mut world = World::new(&["a"]);
    for input in
        [open("s", "a", "b")(RequestId(1)), close("s")(RequestId(1)), Input::Invite { request: RequestId(1) }]
    {
        world.inbox.push_back((0, input));
        world.pump();
        assert_eq!(world.hosts[0].replies.pop(), Some((RequestId(1), Err(Refusal::NotMember))));
    }
    let bad = world.command(0, |request| Input::Seed { request, name: String::new() });
    assert!(matches!(world.reply(0, bad), Some(Err(Refusal::Invalid(_)))));
}

#[test]
fn a_node_joins_and_everybody_knows_it() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    joined(world.join(1, &token));
    assert_eq!(world.mesh(1).mesh_id(), world.mesh(0).mesh_id());
    assert_eq!(world.mesh(1).mesh_name(), "garden");
    assert_eq!(world.hosts[1].dialling, ["a:7000"], "the joined address is dialled from now on");
    world.assert_equal();
    let b = world.id(1);
    for host in 0..2 {
        assert_eq!(world.mesh(host).resolve("b"), Some(b));
        assert_eq!(world.mesh(host).resolve(&b.to_string()), Some(b));
        assert_eq!(world.mesh(host).accepted_keys(b), [world.hosts[1].config.key]);
        assert_eq!(world.mesh(host).member(b).unwrap().api.as_deref(), Some("b:8000"));
        assert_eq!(world.hosts[host].roster.len(), 2);
    }
    let again = world.join(1, &token);
    assert_eq!(again, Some(Err(Refusal::AlreadyMember(world.mesh(1).mesh_id().unwrap()))));
    assert!(world.lanes.is_empty(), "join lanes are closed");
}

#[test]
fn any_member_invites_and_admissions_reach_the_leader_signed() {
    let mut world = World::grown(&["a", "b"]);
    let request = world.command(1, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(1, request) else { panic!("no token") };
    let c = world.add("c");
    joined(world.join(c, &token));
    world.assert_equal();
    let member = world.mesh(0).member(world.id(c)).unwrap();
    assert_eq!(member.admitter, world.id(1));
    let admission = entry::Admission {
        node: member.node,
        name: member.name.clone(),
        key: member.keys[0],
        addresses: Vec::new(),
        api: None,
        replica: member.replica,
        admitter: member.admitter,
        signature: member.signature.clone(),
    };
    let job = Job::Verify {
        keys: Vec::from([world.hosts[1].config.key]),
        message: admission.statement(world.mesh(0).mesh_id().unwrap()),
        signature: member.signature.clone(),
    };
    assert_eq!(perform(&job, &[]), Done::Verified(true), "the entry bears its admitter's signature");
}

#[test]
fn a_forged_admission_is_not_proposed() {
    let mut world = World::grown(&["a", "b"]);
    let entries = world.log.len();
    let stranger = public_key(&[77; 32]);
    let admission = entry::Admission {
        node: stranger.first_node_id(),
        name: "x".into(),
        key: stranger,
        addresses: Vec::new(),
        api: None,
        replica: ReplicaId(1),
        admitter: world.id(1),
        signature: Bytes::from_static(&[0; 64]),
    };
    let forward = |body| Message::Forward {
        request: Request(5),
        seen: LogIndex(0),
        body: alloc::boxed::Box::new(body),
    };
    let from = world.id(1);
    world.inbox.push_back((0, Input::Message { from, message: forward(Body::Admit(admission.clone())) }));
    world.pump();
    let mut other = admission;
    other.admitter = world.id(0);
    world.inbox.push_back((0, Input::Message { from, message: forward(Body::Admit(other)) }));
    world.pump();
    assert_eq!(world.log.len(), entries);
    assert!(!world.mesh(0).is_member(stranger.first_node_id()));
}

#[test]
fn a_wrong_secret_is_refused() {
    let mut world = World::new(&["a", "b"]);
    let mut token = JoinToken::parse(&world.seed(0)).unwrap();
    token.secret = Secret([1; 32]);
    let reason = refused(world.join(1, &token.to_text()));
    assert!(reason.contains("no such token"), "{reason}");
    assert!(world.mesh(1).mesh_id().is_none());
    world.restart(1);
    assert!(world.mesh(1).joining.is_none(), "nothing of the join is left");
    let garbled = world.join(1, "wattle1.ABC");
    assert!(matches!(garbled, Some(Err(Refusal::BadToken(_)))), "{garbled:?}");
}

#[test]
fn a_proof_serves_only_the_two_keys_it_was_made_for() {
    let mut world = World::new(&["a", "b", "c"]);
    let token = JoinToken::parse(&world.seed(0)).unwrap();
    let b = &world.hosts[1].config;
    let mut request = wire::JoinRequest {
        version: JOIN_VERSION,
        token: token.secret.token_id(),
        node: b.key.first_node_id(),
        name: "b".into(),
        key: b.key,
        addresses: Vec::new(),
        api: None,
        replica: ReplicaId(3),
        nonce: [4; 16],
        mac: [0; 32],
        mesh: None,
        secret: None,
    };
    let (a_key, b_key) = (world.hosts[0].config.key, b.key);
    request.mac = token.secret.verifier().mac(token.mesh, &a_key, &request);
    let verifier = token.secret.verifier();
    assert!(verifier.accepts(token.mesh, &a_key, &request));
    assert!(!verifier.accepts(token.mesh, &b_key, &request));
    assert!(!verifier.accepts(MeshId(1), &a_key, &request));
    let mut renamed = request.clone();
    renamed.name = "c".into();
    assert!(!verifier.accepts(token.mesh, &a_key, &renamed));
    // Somebody else presents it under an own key.
    let message = JoinMessage::Request(alloc::boxed::Box::new(request));
    world.lanes.insert(LaneId(900), (2, 0));
    let peer_key = world.hosts[2].config.key;
    world.inbox.push_back((0, Input::JoinMessage { lane: LaneId(900), peer_key, message }));
    world.pump();
    assert_eq!(world.mesh(0).members().count(), 1);
}

#[test]
fn an_expired_token_is_refused() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.now.wall.0 += 25 * 3600 * 1000;
    let reason = refused(world.join(1, &token));
    assert!(reason.contains("expired"), "{reason}");
}

#[test]
fn a_token_admits_as_many_as_it_allows() {
    let mut world = World::new(&["a"]);
    world.hosts[0].config.token_uses = 2;
    world.hosts[0].mesh.config.token_uses = 2;
    let token = world.seed(0);
    for name in ["b", "c"] {
        let host = world.add(name);
        joined(world.join(host, &token));
    }
    let d = world.add("d");
    world.restart(0);
    let reason = refused(world.join(d, &token));
    assert!(reason.contains("used by 2 nodes"), "{reason}");
}

#[test]
fn an_impostor_hears_nothing() {
    let mut world = World::new(&["a", "b", "evil"]);
    let token = world.seed(0);
    world.impostor = Some((0, 2));
    let reply = world.join(1, &token);
    assert_eq!(reply, Some(Err(Refusal::Impostor("a:7000".into()))));
    assert!(world.lanes.is_empty());
    world.impostor = None;
    joined(world.join(1, &token));
}

#[test]
fn a_taken_name_is_refused_and_costs_no_use() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    joined(world.join(1, &token));
    let twin = world.add("twin");
    world.hosts[twin].mesh.config.name = "b".into();
    let reason = refused(world.join(twin, &token));
    assert!(reason.contains("\"b\" is taken"), "{reason}");
    world.hosts[twin].mesh.config.name = "twin".into();
    joined(world.join(twin, &token));
    let id = JoinToken::parse(&token).unwrap().secret.token_id();
    assert_eq!(world.mesh(0).tokens[&id].redeemed.len(), 2);
}

#[test]
fn an_id_that_does_not_belong_to_the_key_is_refused() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.hosts[1].mesh.own = NodeId(99);
    let reason = refused(world.join(1, &token));
    assert!(reason.contains("does not belong to its key"), "{reason}");
    // The id of a member under another key.
    world.hosts[1].mesh.own = world.id(0);
    let other = world.command(1, |request| Input::Join { request, token: token.clone() });
    assert!(matches!(world.reply(1, other), Some(Err(Refusal::BadToken(_)))));
}

#[test]
fn a_join_repeated_after_a_lost_answer_is_the_same_join() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.lose_answers = 2;
    let request = world.command(1, |request| Input::Join { request, token: token.clone() });
    assert_eq!(world.reply(1, request), None);
    let entries = world.log.len();
    world.pass(Span::secs(5));
    joined(world.reply(1, request));
    assert_eq!(world.mesh(0).members().count(), 2);
    assert!(world.log.len() <= entries + 1, "only the configuration may have followed");
    let id = JoinToken::parse(&token).unwrap().secret.token_id();
    assert_eq!(world.mesh(0).tokens[&id].redeemed.len(), 1);
    world.assert_equal();
}

#[test]
fn a_restart_mid_join_goes_on_with_the_same_replica() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.hosts[0].up = false;
    world.command(1, |request| Input::Join { request, token: token.clone() });
    let replica = world.mesh(1).joining.as_ref().unwrap().replica;
    world.restart(1);
    world.hosts[0].up = true;
    world.pass(Span::secs(3));
    assert_eq!(world.mesh(1).mesh_id(), world.mesh(0).mesh_id());
    assert_eq!(world.mesh(0).member(world.id(1)).unwrap().replica, replica);
    world.restart(1);
    assert_eq!(world.hosts[1].dialling, ["a:7000"]);
    assert_eq!(world.hosts[1].roster.len(), 2);
    world.assert_equal();
}

#[test]
fn a_restart_between_admission_and_answer_still_ends_as_a_member() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.lose_answers = 1;
    world.command(1, |request| Input::Join { request, token: token.clone() });
    assert!(world.mesh(0).is_member(world.id(1)) && world.mesh(1).mesh_id().is_none());
    world.restart(1);
    world.pass(Span::secs(3));
    assert!(world.mesh(1).mesh_id().is_some());
    assert_eq!(world.mesh(0).member(world.id(1)).unwrap().former, []);
}

#[test]
fn a_join_that_nobody_answers_ends_with_the_reason() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.hosts[0].up = false;
    let request = world.command(1, |request| Input::Join { request, token: token.clone() });
    world.pass(Span::secs(29));
    assert_eq!(world.reply(1, request), None);
    assert!(world.hosts[1].dials > 3);
    world.pass(Span::secs(2));
    let reason = refused(world.reply(1, request));
    assert!(reason.contains("a:7000: the address did not answer"), "{reason}");
    world.restart(1);
    world.pass(Span::secs(40));
    assert!(world.mesh(1).joining.is_none() && world.mesh(1).mesh_id().is_none(), "given up is given up");
}

#[test]
fn without_a_quorum_a_join_waits_and_says_so() {
    let mut world = World::grown(&["a", "b"]);
    let request = world.command(0, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
    let (c, d) = (world.add("c"), world.add("d"));
    world.lead(None);
    let request = world.command(c, |request| Input::Join { request, token: token.clone() });
    world.pass(Span::secs(31));
    let reason = refused(world.reply(c, request));
    assert!(reason.contains("no quorum"), "{reason}");
    let request = world.command(d, |request| Input::Join { request, token: token.clone() });
    world.pass(Span::secs(12));
    world.lead(Some(0));
    world.pass(Span::secs(3));
    joined(world.reply(d, request));
    world.assert_equal();
}

#[test]
fn a_restart_mid_seed_goes_on_or_starts_clean() {
    let mut world = World::new(&["a"]);
    // Before the signature is there, nothing is stored.
    world.hosts[0].mesh.handle(world.now, Input::Seed { request: RequestId(50), name: "garden".into() });
    while world.hosts[0].mesh.poll().is_some() {}
    world.restart(0);
    assert!(world.hosts[0].disk.is_empty() && world.mesh(0).mesh_id().is_none());
    // After it, the mesh is begun by the next life.
    world.quorum = false;
    let request = world.command(0, |request| Input::Seed { request, name: "garden".into() });
    let mesh = world.mesh(0).mesh_id().unwrap();
    assert_eq!(world.reply(0, request), None);
    world.log.truncate(1);
    world.restart(0);
    world.quorum = true;
    world.pass(Span::secs(2));
    assert_eq!(world.mesh(0).mesh_id(), Some(mesh));
    assert_eq!(world.mesh(0).members().count(), 1);
    let again = world.command(0, |request| Input::Seed { request, name: "garden".into() });
    assert_eq!(world.reply(0, again), Some(Err(Refusal::AlreadyMember(mesh))));
    let invited = world.command(0, |request| Input::Invite { request });
    assert!(matches!(world.reply(0, invited), Some(Ok(Reply::Token { .. }))));
}

#[test]
fn a_member_with_an_empty_disk_comes_back_under_a_fresh_replica() {
    let mut world = World::grown(&["a", "b", "c"]);
    let before = world.mesh(0).member(world.id(1)).unwrap().replica;
    let request = world.command(0, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
    world.hosts[1].disk.clear();
    world.hosts[1].in_group = false;
    world.restart(1);
    assert_eq!(world.mesh(1).mesh_id(), None);
    joined(world.join(1, &token));
    let member = world.mesh(0).member(world.id(1)).unwrap();
    assert_ne!(member.replica, before);
    assert_eq!(member.former, [before]);
    let known: Vec<Replica> = world.configuration.on(world.id(1)).collect();
    assert_eq!(known, [Replica { node: world.id(1), replica: member.replica }]);
    world.assert_equal();
}

/// What a lost disk vouched for its successor does not know: it founds nothing of what was opened before it was taken in (M79).
#[test]
fn a_member_with_an_empty_disk_is_told_which_streams_are_older_than_its_disk() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.command(0, open("before", "a", "b"));
    assert!(world.hosts.iter().all(|host| host.anew.is_empty()), "they are members with their first disks");
    let request = world.command(0, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
    world.hosts[1].disk.clear();
    world.hosts[1].open.clear();
    world.hosts[1].in_group = false;
    world.hosts[1].applied = 0;
    world.restart(1);
    joined(world.join(1, &token));
    world.command(0, open("after", "a", "b"));
    assert_eq!(world.hosts[1].anew, ["before"]);
    // By its state, too, of which the entries are gone.
    let (index, data) = world.state_of_first();
    let now = world.now;
    let mesh = &mut world.hosts[1].mesh;
    mesh.state = crate::mesh::state::State::default();
    mesh.handle(now, Input::Install { from: NodeId(0), index, data });
    let mut older = Vec::new();
    while let Some(output) = mesh.poll() {
        if let Output::StreamOpened { name, anew, .. } = output {
            older.push((name, anew));
        }
    }
    assert_eq!(older, [("after".into(), false), ("before".into(), true)]);
}

#[test]
fn changed_addresses_are_told_to_the_mesh() {
    let mut world = World::grown(&["a", "b"]);
    world.hosts[1].config.addresses = Vec::from(["b:9000".into()]);
    world.restart(1);
    assert_eq!(world.mesh(0).member(world.id(1)).unwrap().addresses, ["b:9000"]);
    world.assert_equal();
}

#[test]
fn tokens_are_bounded_and_inviting_never_ends() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.hosts[0].config.tokens_max = 3;
    world.hosts[0].config.token_uses = 1;
    world.hosts[0].mesh.config = world.hosts[0].config.clone();
    let invite = |world: &mut World| {
        world.now.wall.0 += 1;
        let request = world.command(0, |request| Input::Invite { request });
        match world.reply(0, request) {
            Some(Ok(Reply::Token { token })) => token,
            other => panic!("no token: {other:?}"),
        }
    };
    let first = world.seed(0);
    let second = invite(&mut world);
    joined(world.join(1, &second));
    let _third = invite(&mut world);
    // The second is used up and goes before the first, which is older.
    let fourth = invite(&mut world);
    assert_eq!(world.mesh(0).tokens.len(), 3, "M5");
    joined(world.join(2, &first));
    for _ in 0..200 {
        invite(&mut world);
    }
    let reason = refused(world.join(3, &fourth));
    assert!(reason.contains("no longer good"), "{reason}");
    // What was forgotten may come back with a start until it is trimmed.
    let spare = world.hosts[0].disk.iter().find(|(key, _)| key.0 == Space::Token as u8);
    let spare = spare.map(|(_, record)| record.clone()).unwrap();
    world.hosts[0].disk.insert((Space::Token as u8, 7, 0), spare);
    let last = invite(&mut world);
    world.restart(0);
    assert_eq!(world.mesh(0).tokens.len(), 3);
    joined(world.join(3, &last));
    world.now.wall.0 += 25 * 3600 * 1000;
    invite(&mut world);
    assert_eq!(world.mesh(0).tokens.len(), 1, "expired ones are dropped");
}

#[test]
fn a_token_in_use_keeps_its_place() {
    let mut world = World::new(&["a", "b"]);
    world.hosts[0].mesh.config.tokens_max = 1;
    let token = world.seed(0);
    world.quorum = false;
    let request = world.command(1, |request| Input::Join { request, token });
    let invited = world.command(0, |request| Input::Invite { request });
    assert_eq!(world.reply(0, invited), Some(Err(Refusal::Busy)));
    world.quorum = true;
    world.pump();
    joined(world.reply(1, request));
    let invited = world.command(0, |request| Input::Invite { request });
    assert!(matches!(world.reply(0, invited), Some(Ok(Reply::Token { .. }))));
}

#[test]
fn a_join_is_answered_when_the_node_knows_its_mesh() {
    let mut world = World::grown(&["a", "b"]);
    let request = world.command(0, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
    let (c, d) = (world.add("c"), world.add("d"));
    // Admitted, but the group does not take it in yet.
    world.refuse_changes = 2;
    let request = world.command(c, |request| Input::Join { request, token: token.clone() });
    assert_eq!(world.reply(c, request), None);
    assert!(world.mesh(c).mesh_id().is_some());
    world.pass(Span::secs(3));
    joined(world.reply(c, request));
    let invited = world.command(c, |request| Input::Invite { request });
    assert!(matches!(world.reply(c, invited), Some(Ok(Reply::Token { .. }))), "what joined can invite");
    // A member it is in any case, and told so in the end.
    world.refuse_changes = 1_000;
    let request = world.command(d, |request| Input::Join { request, token });
    world.pass(Span::secs(29));
    assert_eq!(world.reply(d, request), None);
    world.pass(Span::secs(2));
    joined(world.reply(d, request));
}

#[test]
fn a_newer_join_takes_the_place_of_an_older_one() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    let mut elsewhere = JoinToken::parse(&token).unwrap();
    elsewhere.addresses = Vec::from(["nowhere:1".into()]);
    let lost = elsewhere.to_text();
    let first = world.command(1, |request| Input::Join { request, token: lost.clone() });
    world.restart(1);
    // Nobody waits for what goes on after the start.
    let replica = world.mesh(1).joining.as_ref().unwrap().replica;
    let second = world.command(1, |request| Input::Join { request, token: lost.clone() });
    let third = world.command(1, |request| Input::Join { request, token: lost });
    let reason = refused(world.reply(1, second));
    assert!(reason.contains("newer command"), "{reason}");
    let fourth = world.command(1, |request| Input::Join { request, token: token.clone() });
    assert!(refused(world.reply(1, third)).contains("newer command"));
    joined(world.reply(1, fourth));
    assert_eq!(world.reply(1, first), None);
    let member = world.mesh(0).member(world.id(1)).unwrap();
    assert_eq!(member.replica, replica, "one replica id whatever the number of attempts");
    assert!(member.former.is_empty());
    world.assert_equal();
}

#[test]
fn a_join_that_failed_leaves_its_replica_id_to_the_next() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.hosts[0].up = false;
    let request = world.command(1, |request| Input::Join { request, token: token.clone() });
    let replica = world.mesh(1).joining.as_ref().unwrap().replica;
    world.pass(Span::secs(31));
    let reason = refused(world.reply(1, request));
    assert_eq!(reason, "a:7000: the address did not answer");
    world.hosts[0].up = true;
    world.restart(1);
    assert!(world.mesh(1).joining.is_none());
    joined(world.join(1, &token));
    assert_eq!(world.mesh(0).member(world.id(1)).unwrap().replica, replica);
}

#[test]
fn a_join_nobody_waits_for_gives_way_to_a_seeding() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    world.hosts[0].up = false;
    let request = world.command(1, |request| Input::Join { request, token });
    let seed = |request| Input::Seed { request, name: "meadow".into() };
    let early = world.command(1, seed);
    assert_eq!(world.reply(1, early), Some(Err(Refusal::Busy)));
    assert_eq!(world.reply(1, request), None);
    world.restart(1);
    world.command(1, seed);
    assert!(world.mesh(1).joining.is_none());
    assert_eq!(world.mesh(1).mesh_name(), "meadow");
}

#[test]
fn a_member_knows_its_peers_from_the_start() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.command(0, open("s", "a", "b"));
    world.command(0, open("t", "b", "c"));
    world.command(0, close("t"));
    // Nothing is applied again before peers are heard.
    world.quorum = false;
    for host in 0..3 {
        assert_eq!(world.hosts[host].compacted, None, "the log is not cut for it");
        world.restart(host);
        assert_eq!(world.hosts[host].roster.len(), 3);
        assert_eq!(world.mesh(host).members().count(), 3);
        let names: Vec<&str> = world.hosts[host].open.values().map(String::as_str).collect();
        assert_eq!(names, ["s"], "M4: what is open is known, what was closed stays closed");
    }
    world.quorum = true;
    world.pump();
    world.assert_equal();
    let joins = world.mesh(0).applied_index();
    assert!(world.mesh(0).stored <= joins);
}

#[test]
fn a_tokens_use_is_on_disk_before_the_admission_leaves() {
    let mut world = World::grown(&["a", "b"]);
    let request = world.command(1, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(1, request) else { panic!("no token") };
    let c = world.add("c");
    let token = JoinToken::parse(&token).unwrap();
    let key = world.hosts[c].config.key;
    let mut ask = wire::JoinRequest {
        version: JOIN_VERSION,
        token: token.secret.token_id(),
        node: key.first_node_id(),
        name: "c".into(),
        key,
        addresses: Vec::new(),
        api: None,
        replica: ReplicaId(3),
        nonce: [4; 16],
        mac: [0; 32],
        mesh: None,
        secret: None,
    };
    ask.mac = token.secret.verifier().mac(token.mesh, &world.hosts[1].config.key, &ask);
    let message = JoinMessage::Request(alloc::boxed::Box::new(ask));
    let secrets = world.hosts[1].secrets.clone();
    let now = world.now;
    let mesh = &mut world.hosts[1].mesh;
    mesh.handle(now, Input::JoinMessage { lane: LaneId(9), peer_key: key, message });
    let Some(Output::Work { token, job }) = mesh.poll() else { panic!("nothing to sign") };
    mesh.handle(now, Input::WorkDone { token, done: perform(&job, &secrets) });
    let Some(Output::Persist(record)) = mesh.poll() else { panic!("M9: the use is not recorded first") };
    assert_eq!(record.key.space, Space::Token as u8);
    let sent = mesh.poll();
    assert!(
        matches!(sent, Some(Output::Send { message: Message::Forward { .. }, when: When::Durable, .. })),
        "M9: {sent:?}"
    );
}

#[test]
fn a_joiner_dials_only_once_its_replica_is_on_disk() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    let now = world.now;
    let mesh = &mut world.hosts[1].mesh;
    mesh.handle(now, Input::Join { request: RequestId(70), token });
    assert!(matches!(mesh.poll(), Some(Output::Persist(_))));
    let Some(Output::Notify(receipt)) = mesh.poll() else { panic!("M8: it does not wait for the disk") };
    assert!(mesh.poll().is_none(), "M8");
    mesh.handle(now, Input::Durable(receipt));
    assert!(matches!(mesh.poll(), Some(Output::DialJoin { address }) if address == "a:7000"));
}

#[test]
fn lanes_that_linger_and_joins_that_crowd_are_bounded() {
    let mut world = World::new(&["a", "b"]);
    world.seed(0);
    world.hosts[0].mesh.config.joins_max = 2;
    let now = world.now;
    let message = || {
        let mut request = wire::JoinRequest {
            version: JOIN_VERSION,
            token: 1,
            node: NodeId(1),
            name: "x".into(),
            key: PublicKey([1; 32]),
            addresses: Vec::new(),
            api: None,
            replica: ReplicaId(1),
            nonce: [0; 16],
            mac: [0; 32],
            mesh: None,
            secret: None,
        };
        request.node = request.key.first_node_id();
        JoinMessage::Request(alloc::boxed::Box::new(request))
    };
    let mesh = &mut world.hosts[0].mesh;
    let mut closed = 0;
    for lane in 0..100 {
        let lane = LaneId(1000 + lane);
        mesh.handle(now, Input::JoinMessage { lane, peer_key: PublicKey([1; 32]), message: message() });
        while let Some(output) = mesh.poll() {
            closed += usize::from(matches!(output, Output::CloseLane { .. }));
        }
    }
    assert_eq!(closed, 92, "M5: eight lanes may linger");
    let later = Now { monotonic: now.monotonic + Span::secs(3), wall: now.wall };
    mesh.handle(later, Input::Deadline);
    while let Some(output) = mesh.poll() {
        closed += usize::from(matches!(output, Output::CloseLane { .. }));
    }
    assert_eq!(closed, 100);
}

#[test]
fn a_right_token_id_with_a_wrong_proof_is_refused() {
    let mut world = World::new(&["a", "b"]);
    let token = JoinToken::parse(&world.seed(0)).unwrap();
    let key = world.hosts[1].config.key;
    let mut request = wire::JoinRequest {
        version: JOIN_VERSION,
        token: token.secret.token_id(),
        node: key.first_node_id(),
        name: "b".into(),
        key,
        addresses: Vec::new(),
        api: None,
        replica: ReplicaId(3),
        nonce: [4; 16],
        mac: [0; 32],
        mesh: None,
        secret: None,
    };
    request.mac = token.secret.verifier().mac(token.mesh, &world.hosts[0].config.key, &request);
    request.mac[31] ^= 1;
    let now = world.now;
    let mesh = &mut world.hosts[0].mesh;
    let message = JoinMessage::Request(alloc::boxed::Box::new(request));
    mesh.handle(now, Input::JoinMessage { lane: LaneId(9), peer_key: key, message });
    let outputs: Vec<Output> = core::iter::from_fn(|| mesh.poll()).collect();
    assert!(
        outputs.iter().any(|o| matches!(
            o,
            Output::SendLane { message: JoinMessage::Rejected { retry: false, .. }, .. }
        )),
        "{outputs:?}"
    );
    assert!(!outputs.iter().any(|o| matches!(o, Output::Work { .. })), "nothing is signed for strangers");
}

#[test]
fn a_joiner_goes_by_what_it_was_told_until_the_log_says_more() {
    let mut world = World::grown(&["a", "b"]);
    let request = world.command(1, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(1, request) else { panic!("no token") };
    let c = world.add("c");
    // c is admitted but not in the group yet.
    world.refuse_changes = 1_000;
    assert_eq!(world.join(c, &token), None, "it is admitted and has not applied that");
    for life in 0..2 {
        assert_eq!(world.mesh(c).applied_index(), LogIndex(0));
        assert_eq!(world.hosts[c].roster.len(), 3, "life {life}");
        assert_eq!(world.mesh(c).accepted_keys(world.id(0)), [world.hosts[0].config.key]);
        assert!(world.mesh(c).is_member(world.id(1)));
        world.restart(c);
    }
    // Half of the log: the founder alone. What was told still counts.
    let half = Applied {
        index: LogIndex(1),
        term: Term(2),
        command: true,
        data: world
            .log
            .iter()
            .find_map(|l| if let Logged::Command(d, _) = l { Some(d.clone()) } else { None })
            .unwrap(),
    };
    let now = world.now;
    world.hosts[c].mesh.handle(now, Input::Apply { entries: Vec::from([half]) });
    assert!(world.mesh(c).is_member(world.id(1)));
    assert_eq!(world.mesh(c).roster().len(), 3);
}
