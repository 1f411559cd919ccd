use alloc::vec;

use super::*;
use crate::mesh::wire::{admission_in, admission_out};
use prost::Message as _;
use wattle_proto::mesh as proto;

/// c was let in by b, and b by a; then a's disk is taken back to before `forgotten` joined, and nothing of the log comes to it.
fn forgetful(forgotten: usize) -> World {
    forgetful_of_keys(forgotten, 0)
}

/// So, and the key of b gave way that often since c was let in.
fn forgetful_of_keys(forgotten: usize, rotations: usize) -> World {
    let mut world = World::new(&["a", "b", "c"]);
    let token = world.seed(0);
    let mut images = vec![world.hosts[0].disk.clone()];
    world.join(1, &token);
    images.push(world.hosts[0].disk.clone());
    let request = world.command(1, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(1, request) else { panic!("no token") };
    assert!(matches!(world.join(2, &token), Some(Ok(_))));
    assert_eq!(world.mesh(0).member(world.id(2)).unwrap().admitter, world.id(1));
    for _ in 0..rotations {
        world.rotate_key(1, true);
    }
    world.lead(Some(1));
    world.quorum = false;
    world.hosts[0].disk = images[forgotten - 1].clone();
    world.restart(0);
    assert!(!world.mesh(0).is_member(world.id(2)));
    world
}

fn shows(world: &mut World, endorsement: Bytes, key: PublicKey) {
    let node = world.id(2);
    world.inbox.push_back((0, Input::Stranger { node, key, endorsement }));
    world.pump();
}

fn knows(world: &World, host: usize) -> bool {
    let named = world.hosts[0].roster.iter().any(|entry| entry.node == world.id(host));
    assert_eq!(named, world.mesh(0).is_member(world.id(host)));
    named
}

#[test]
fn a_chain_of_admissions_introduces_a_member_until_the_log_does() {
    for forgotten in [1, 2] {
        let mut world = forgetful(forgotten);
        let (endorsement, key) = (world.mesh(2).endorsement(world.id(2)), world.hosts[2].config.key);
        shows(&mut world, endorsement, key);
        assert!(knows(&world, 2));
        assert_eq!(world.mesh(0).accepted_keys(world.id(2)), [key]);
        assert_eq!(world.hosts[0].roster.iter().find(|e| e.name == "c").unwrap().addresses, ["c:7000"]);
        assert_eq!(knows(&world, 1), forgotten == 2, "b itself showed nothing");
        world.quorum = true;
        world.pump();
        assert!(knows(&world, 1) && knows(&world, 2));
        assert_eq!(world.mesh(0).introductions.len(), 0);
        world.assert_equal();
    }
}

/// c was let in under a key that its admitter gave up since: whoever knows the admitter only under a later one is led back to that.
#[test]
fn who_knows_a_member_under_its_later_key_only_believes_what_it_signed_before() {
    for (forgotten, rotations) in [(1, 1), (1, 3), (2, 3)] {
        let mut world = forgetful_of_keys(forgotten, rotations);
        let (b, key) = (world.id(1), world.own_key(1, 0));
        let endorsement = world.mesh(1).endorsement(b);
        world.inbox.push_back((0, Input::Stranger { node: b, key, endorsement }));
        world.pump();
        assert_eq!(world.keys_of(0, 1).last(), Some(&key));
        let good = world.mesh(2).endorsement(world.id(2));
        let key = world.hosts[2].config.key;
        let mut chain = proto::Endorsement::decode(good.clone()).unwrap().chain;
        for rotation in &mut chain[1].rotations {
            rotation.by_new = rotation.by_old.clone();
        }
        shows(&mut world, proto::Endorsement { chain }.encode_to_vec().into(), key);
        assert!(!knows(&world, 2), "the later key did not say that the earlier one was b's");
        shows(&mut world, good, key);
        assert!(knows(&world, 2), "{forgotten}, {rotations}");
        world.quorum = true;
        world.pump();
        assert!(knows(&world, 1) && knows(&world, 2));
        assert_eq!((world.mesh(0).introductions.len(), world.keys_of(0, 1).len()), (0, 1));
        world.assert_equal();
    }
}

#[test]
fn who_was_taken_out_under_a_key_that_gave_way_since_is_told_so() {
    let mut world = World::new(&["a", "b", "c"]);
    let token = world.seed(0);
    let image = world.hosts[0].disk.clone();
    assert!(matches!(world.join(1, &token), Some(Ok(_))));
    assert!(matches!(world.join(2, &token), Some(Ok(_))));
    world.pass(Span::secs(2));
    world.hosts[0].up = false;
    world.lead(Some(1));
    world.command(1, leaving::evict("a"));
    world.pass(Span::secs(2));
    world.rotate_key(1, true);
    (world.hosts[0].up, world.hosts[0].disk) = (true, image);
    world.restart(0);
    let (b, key) = (world.id(1), world.own_key(1, 0));
    let endorsement = world.mesh(1).endorsement(b);
    world.inbox.push_back((0, Input::Stranger { node: b, key, endorsement }));
    world.pump();
    assert_eq!((world.keys_of(0, 1), world.hosts[0].parted), (Vec::from([key]), 0));
    let input = leaving::shown(&world, 2, 0);
    world.inbox.push_back((0, input));
    world.pump();
    assert_eq!(world.hosts[0].parted, 1);
}

#[test]
fn a_chain_with_any_flaw_introduces_nobody() {
    let world = forgetful(1);
    let key = world.hosts[2].config.key;
    let good = proto::Endorsement::decode(world.mesh(2).endorsement(world.id(2))).unwrap().chain;
    assert_eq!(good.len(), 3, "its own, b's, and the founder's");
    let flaws: [fn(&mut Vec<proto::Admission>); 7] = [
        |chain| chain.truncate(1),
        |chain| drop(chain.remove(1)),
        |chain| chain[0].name = "other".into(),
        |chain| chain[1].name = "other".into(),
        |chain| chain[1].key = chain[0].key.clone(),
        |chain| chain[0].signature = chain[1].signature.clone(),
        |chain| *chain = vec![chain[1].clone(), chain[2].clone()],
    ];
    for (place, flaw) in flaws.into_iter().enumerate() {
        let mut chain = good.clone();
        flaw(&mut chain);
        let mut world = forgetful(1);
        shows(&mut world, proto::Endorsement { chain }.encode_to_vec().into(), key);
        assert!(!knows(&world, 2), "flaw {place}");
        assert_eq!(world.mesh(0).introductions.len(), 0);
    }
    let mut world = forgetful(1);
    let chain = good.clone();
    shows(&mut world, proto::Endorsement { chain }.encode_to_vec().into(), public_key(&[9; 32]));
    assert!(!knows(&world, 2), "the key was proven by somebody else");
    shows(&mut world, Bytes::from_static(b"\xff\xff"), key);
    let admission = admission_out(&admission_in(good[0].clone()).unwrap());
    let endless = proto::Endorsement { chain: vec![admission; 100] };
    shows(&mut world, endless.encode_to_vec().into(), key);
    assert!(!knows(&world, 2));
}

#[test]
fn a_neighbour_is_asked_once_in_a_while_who_somebody_is() {
    let mut world = forgetful(2);
    let (b, c) = (world.id(1), world.id(2));
    let now = world.now;
    let mut asked = 0;
    for _ in 0..3 {
        world.hosts[0].mesh.handle(now, Input::Unknown { node: c, through: b });
        while let Some(output) = world.hosts[0].mesh.poll() {
            asked += usize::from(
                matches!(&output, Output::Send { to, message: Message::WhoIs { node }, .. } if (*to, *node) == (b, c)),
            );
            world.perform(0, output);
        }
    }
    assert_eq!(asked, 1);
    world.pump();
    assert!(knows(&world, 2));
    let mut world = forgetful(2);
    let endorsement = world.mesh(2).endorsement(c);
    world.inbox.push_back((0, Input::Message { from: b, message: Message::Introduce { endorsement } }));
    world.pump();
    assert!(!knows(&world, 2), "nobody asked");
    world.lose = 1;
    world.inbox.push_back((0, Input::Unknown { node: c, through: b }));
    world.pump();
    assert!(!knows(&world, 2));
    world.now.monotonic += Span::secs(2);
    world.inbox.push_back((0, Input::Unknown { node: c, through: b }));
    world.pump();
    assert!(knows(&world, 2), "a lost question is asked again");
}
