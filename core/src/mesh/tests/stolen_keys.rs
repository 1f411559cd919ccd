//! A key that somebody else has, too, or that is retired (M60 to M63).

use super::rotations::{next, rotation, shows};
use super::*;
use crate::mesh::entry::Admission;
use crate::mesh::introduce::{self, Endorsed};
use crate::mesh::rotation::Rotation;

/// What b shows of itself, were these the rotations of its key.
fn forged(world: &World, rotations: Vec<Rotation>) -> Bytes {
    let mut chain = introduce::read(&world.mesh(1).endorsement(world.id(1))).unwrap();
    chain[0].rotations = rotations;
    let chain = chain.iter().map(Endorsed::to_wire).collect();
    prost::Message::encode_to_vec(&wattle_proto::mesh::Endorsement { chain }).into()
}

/// Whoever stole a key may lead from it wherever he likes, under any number, until the log says that it is good no more.
#[test]
fn a_key_planted_with_a_stolen_one_ends_with_it() {
    let (own, thief) = ([2; 32], [77; 32]);
    for number in [1, 2, u64::MAX] {
        let mut world = World::grown(&["a", "b", "c"]);
        let shown = forged(&world, Vec::from([rotation(world.id(1), number, own, thief)]));
        shows(&mut world, 1, public_key(&thief), shown.clone());
        assert_eq!(
            world.keys_of(0, 1),
            [public_key(&own), public_key(&thief)],
            "nothing tells them apart yet"
        );
        world.rotate_key(1, false);
        assert!(world.keys_of(0, 1).len() <= 2, "a joiner reads no more: {number}");
        world.pass(Span::secs(30));
        let key = world.own_key(1, 0);
        assert_eq!(world.keys_of(0, 1), [key], "number {number}");
        shows(&mut world, 1, public_key(&thief), shown);
        assert_eq!(world.keys_of(0, 1), [key], "nor does it come back");
        assert_eq!(world.mesh(0).introductions.len(), 0);
    }
}

/// The node of a secret, let in by b's stolen key if that is all there is, else by the last of `chain`.
fn let_in(world: &World, secret: [u8; 32], by: [u8; 32], mut chain: Vec<Endorsed>) -> (Input, Vec<Endorsed>) {
    let key = public_key(&secret);
    let admission = Admission {
        node: key.first_node_id(),
        name: "z".into(),
        key,
        addresses: Vec::new(),
        api: None,
        replica: crate::id::ReplicaId(u128::from(secret[0])),
        admitter: chain[0].admission.node,
        signature: Bytes::new(),
    };
    let message = admission.statement(world.mesh(0).mesh_id().unwrap());
    let Done::Signature(signature) = perform(&Job::Sign { key: public_key(&by), message }, &[by]) else {
        unreachable!()
    };
    let admission = Admission { signature: signature.into(), ..admission };
    chain.insert(0, Endorsed { admission, rotations: Vec::new() });
    let wire = chain.iter().map(Endorsed::to_wire).collect();
    let endorsement = prost::Message::encode_to_vec(&wattle_proto::mesh::Endorsement { chain: wire }).into();
    (Input::Stranger { node: key.first_node_id(), key, endorsement }, chain)
}

/// The same for whom the stolen key lets in.
#[test]
fn who_was_let_in_with_a_stolen_key_goes_with_it() {
    for late in [false, true] {
        let mut world = World::grown(&["a", "b", "c"]);
        let stranger = public_key(&[88; 32]).first_node_id();
        let chain = introduce::read(&world.mesh(1).endorsement(world.id(1))).unwrap();
        let (shown, _) = let_in(&world, [88; 32], [2; 32], chain);
        if late {
            // The signatures are being checked when the log tells.
            let now = world.now;
            world.hosts[0].mesh.handle(now, shown.clone());
            world.rotate_key(1, true);
        } else {
            world.inbox.push_back((0, shown.clone()));
            world.pump();
            assert!(world.mesh(0).is_member(stranger), "nothing tells them apart yet");
            world.rotate_key(1, true);
        }
        assert_eq!(world.keys_of(0, 1), [world.own_key(1, 0)]);
        assert!(!world.mesh(0).is_member(stranger), "late: {late}");
        assert!(!world.hosts[0].roster.iter().any(|entry| entry.node == stranger));
        world.inbox.push_back((0, shown));
        world.pump();
        assert!(!world.mesh(0).is_member(stranger), "what was done under that key is in the log: {late}");
        assert_eq!(world.mesh(0).introductions.len(), 0);
    }
}

/// And for whom these let in.
#[test]
fn who_was_let_in_by_one_that_a_stolen_key_let_in_goes_with_it_and_changes_nothing_before() {
    let mut world = World::grown(&["a", "b", "c"]);
    let chain = introduce::read(&world.mesh(1).endorsement(world.id(1))).unwrap();
    let (first, chain) = let_in(&world, [88; 32], [2; 32], chain);
    let (second, _) = let_in(&world, [99; 32], [88; 32], chain);
    for shown in [first, second.clone()] {
        world.inbox.push_back((0, shown));
        world.pump();
    }
    let strangers = [[88; 32], [99; 32]].map(|secret| public_key(&secret).first_node_id());
    assert!(strangers.iter().all(|&node| world.mesh(0).is_member(node)), "nothing tells them apart yet");
    let body = Body::Evict(crate::mesh::eviction::Evict {
        member: "c".into(),
        left: false,
        force: true,
        blocked: false,
        raise: None,
    });
    let request = crate::mesh::entry::Request(9);
    let message = Message::Forward { request, seen: LogIndex(0), body: body.into() };
    world.inbox.push_back((0, Input::Message { from: strangers[1], message }));
    world.pass(Span::secs(3));
    assert_eq!(world.mesh(0).epoch().number, 0, "a leader does nothing for who is no member by its log");
    world.rotate_key(1, true);
    assert!(!strangers.iter().any(|&node| world.mesh(0).is_member(node)));
    world.inbox.push_back((0, second));
    world.pump();
    assert!(!world.mesh(0).is_member(strangers[1]));
}

#[test]
fn within_the_window_nobody_takes_the_next_key_off_a_member() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.rotate_key(1, false);
    let told = world.keys_of(0, 1);
    assert_eq!(told.len(), 2);
    for number in [2, u64::MAX] {
        let shown = forged(&world, Vec::from([rotation(world.id(1), number, [2; 32], [77; 32])]));
        shows(&mut world, 1, public_key(&[77; 32]), shown);
        assert_eq!(world.keys_of(0, 1), told);
    }
}

/// Of who was taken out it is known which keys it had given up, also when it is back and that is all that is not known.
#[test]
fn a_key_given_up_before_an_eviction_does_not_count_again_after_it() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.rotate_key(1, true);
    world.pass(Span::secs(2));
    let retired = [2; 32];
    assert_ne!(world.keys_of(3, 1), [public_key(&retired)]);
    let records = world.mesh(0).member(world.id(1)).unwrap().rotations.records.clone();
    world.command(0, leaving::evict("b"));
    world.pass(Span::secs(2));
    world.hosts[3].up = false;
    let token = leaving::invite(&mut world, 0);
    assert!(matches!(world.join(1, &token), Some(Ok(Reply::Joined { .. }))));
    world.pass(Span::secs(2));
    let d = world.mesh(0).member(world.id(3)).unwrap().clone();
    let mesh = world.mesh(0).mesh_id().unwrap();
    let eviction = crate::mesh::eviction::Eviction {
        number: 2,
        previous: crate::digest::Digest::default(),
        request: crate::mesh::entry::Request(9),
        origin: world.id(1),
        node: d.node,
        replica: d.replica,
        left: false,
        leader: world.id(1),
        signature: Bytes::new(),
        recovery: None,
    };
    let message = eviction.statement(mesh);
    let Done::Signature(signature) = perform(&Job::Sign { key: public_key(&retired), message }, &[retired])
    else {
        unreachable!()
    };
    let eviction = crate::mesh::eviction::Eviction { signature: signature.into(), ..eviction };
    let mut chain = introduce::read(&world.mesh(0).endorsement(world.id(1))).unwrap();
    chain[0].rotations = records;
    let chain = chain.iter().map(Endorsed::to_wire).collect();
    let endorsement = prost::Message::encode_to_vec(&wattle_proto::mesh::Endorsement { chain }).into();
    world.hosts[3].up = true;
    let now = world.now;
    world.hosts[3].mesh.handle(now, Input::Fenced { proof: eviction.encode(), endorsement });
    while let Some(job) = (world.drain(3), world.inbox.pop_back()).1 {
        world.hosts[3].mesh.handle(now, job.1);
    }
    assert_eq!(world.hosts[3].parted, 0);
}

/// What an operator stopped is started again by him, but not under a key that nobody accepts.
#[test]
fn a_stopped_node_whose_key_is_retired_does_not_start() {
    let mut world = World::grown(&["a", "b"]);
    let old = (world.hosts[1].secrets.clone(), world.hosts[1].config.clone());
    world.rotate_key(1, true);
    world.command(1, |request| Input::Stop { request, lasting: true });
    world.pass(Span::secs(10));
    (world.hosts[1].secrets, world.hosts[1].config) = old;
    world.restart(1);
    assert!(world.hosts[1].retired.is_some() && world.hosts[1].offline);
    let request = world.command(1, |request| Input::Start { request });
    assert!(matches!(world.reply(1, request), Some(Err(Refusal::KeyRetired(_)))));
    assert!(world.hosts[1].offline, "M63");
    let request = world.command(1, |request| Input::Leave { request, force: true });
    world.pass(Span::secs(60));
    assert!(world.hosts[1].offline, "M63: {:?}", world.reply(1, request));
}

#[test]
fn what_the_log_says_of_a_key_counts_more_than_what_a_holder_of_the_one_before_made() {
    let mut world = World::grown(&["a", "b"]);
    let b = world.id(1);
    let mut made = rotation(b, 1, [2; 32], [77; 32]);
    world.rotate_key(1, false);
    let first = public_key(&[2; 32]);
    assert_eq!(world.keys_of(1, 1)[0], first, "the first key is good as yet");
    let Done::Signature(signature) =
        perform(&Job::Sign { key: made.new, message: made.retirement(b) }, &[[77; 32]])
    else {
        unreachable!()
    };
    made.retired = Some(signature.into());
    let proof = crate::mesh::rotation::encode(&[made]);
    world.inbox.push_back((1, Input::KeyRetired(proof)));
    world.pump();
    assert_eq!(world.hosts[1].retired, None);
    world.pass(Span::secs(30));
    assert_eq!(world.keys_of(0, 1), [world.own_key(1, 0)], "its rotation comes to its end");
}

/// Until the end of the window whoever has the old key may rotate it, too: the node goes back to that, which is good yet, and begins again.
#[test]
fn a_node_whose_rotation_is_displaced_goes_back_to_the_key_that_is_good() {
    for wait in [1, 3, 14] {
        let mut world = World::grown(&["a", "b", "c"]);
        let (b, old, thief) = (world.id(1), [2; 32], [77; 32]);
        world.hosts[2].up = wait < 14;
        world.rotate_key(1, false);
        let own = world.own_key(1, 1);
        world.pass(Span::secs(wait));
        assert_eq!(world.hosts[1].shown == own, wait > 1);
        world.log(b, 1 << 100, next(b, rotation(b, 2, old, thief)));
        world.mesh(1).check_invariants(Level::Full);
        assert!(world.keys_of(0, 1).contains(&world.hosts[1].shown), "{wait}: it is locked out");
        world.hosts[2].up = true;
        world.pass(Span::secs(400));
        let due = world.mesh(1).next_deadline();
        assert!(due.is_none_or(|due| due > world.now.monotonic), "{wait}: a deadline of the past");
        assert_eq!(world.keys_of(0, 1), [own], "{wait}: it comes to its end all the same");
        assert_eq!((world.hosts[1].shown, world.hosts[1].secrets.len()), (own, 1));
    }
}
