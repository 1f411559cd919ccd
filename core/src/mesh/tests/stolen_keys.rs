//! A key that somebody else has, too, or that is retired (M60 to M63).

use super::rotations::{next, rotation, shows};
use super::*;
use crate::mesh::introduce;
use crate::mesh::rotation::Rotation;

/// What b shows of itself, were these the rotations of its key.
fn forged(world: &World, rotations: Vec<Rotation>) -> Bytes {
    let mut chain = introduce::read(&world.mesh(1).endorsement(world.id(1))).unwrap();
    chain[0].rotations = rotations;
    let chain = chain.iter().map(introduce::Endorsed::to_wire).collect();
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

/// The same for whom the stolen key lets in.
#[test]
fn who_was_let_in_with_a_stolen_key_goes_with_it() {
    let (own, fresh) = ([2; 32], [88; 32]);
    for late in [false, true] {
        let mut world = World::grown(&["a", "b", "c"]);
        let key = public_key(&fresh);
        let stranger = key.first_node_id();
        let mut chain = introduce::read(&world.mesh(1).endorsement(world.id(1))).unwrap();
        let mut own_link = chain[0].clone();
        own_link.admission = crate::mesh::entry::Admission {
            node: stranger,
            name: "z".into(),
            key,
            replica: crate::id::ReplicaId(99),
            admitter: world.id(1),
            ..own_link.admission
        };
        let message = own_link.admission.statement(world.mesh(0).mesh_id().unwrap());
        let Done::Signature(signature) = perform(&Job::Sign { key: public_key(&own), message }, &[own])
        else {
            unreachable!()
        };
        own_link.admission.signature = signature.into();
        chain.insert(0, own_link);
        let chain = chain.iter().map(introduce::Endorsed::to_wire).collect();
        let endorsement: Bytes =
            prost::Message::encode_to_vec(&wattle_proto::mesh::Endorsement { chain }).into();
        let shown = Input::Stranger { node: stranger, key, endorsement };
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
