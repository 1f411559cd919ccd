//! A member's key gives way to another (M60 to M63).

use alloc::boxed::Box;

use super::*;
use crate::event::MeshEvent;
use crate::mesh::entry::{Body, Entry, Request};
use crate::mesh::introduce;
use crate::mesh::rotation::{Rotation, Step};

impl World {
    pub(super) fn rotate_key(&mut self, host: usize, finish: bool) -> RequestId {
        self.command(host, |request| Input::RotateNodeKey { request, finish })
    }

    pub(super) fn own_key(&self, host: usize, place: usize) -> PublicKey {
        public_key(&self.hosts[host].secrets[place])
    }

    pub(super) fn keys_of(&self, at: usize, of: usize) -> Vec<PublicKey> {
        self.mesh(at).accepted_keys(self.id(of))
    }

    /// Puts something into the log that no sound leader would.
    pub(super) fn log(&mut self, origin: NodeId, number: u128, body: Body) {
        let seen = self.mesh(0).applied_index();
        let time = Wall(self.now.wall.0 + number as u64);
        let entry = Entry { origin, request: Request(number), seen, time, body };
        self.log.push(Logged::Command(entry.encode(), Term(self.term)));
        self.pump();
    }
}

/// Of node `node`, from the key of one secret to that of another.
pub(super) fn rotation(node: NodeId, number: u64, old: [u8; 32], new: [u8; 32]) -> Rotation {
    let empty = Bytes::new();
    let (old_key, new_key) = (public_key(&old), public_key(&new));
    let mut made =
        Rotation { number, old: old_key, new: new_key, by_old: empty.clone(), by_new: empty, retired: None };
    let sign = |key, message: Bytes| match perform(&Job::Sign { key, message }, &[old, new]) {
        Done::Signature(signature) => Bytes::from(signature),
        other => panic!("not signed: {other:?}"),
    };
    made.by_old = sign(old_key, made.statement(node));
    made.by_new = sign(new_key, made.statement(node));
    made
}

pub(super) fn next(node: NodeId, rotation: Rotation) -> Body {
    Body::RotateNodeKey { node, step: Step::Next(rotation) }
}

#[test]
fn a_key_gives_way_to_the_next_with_a_time_in_which_both_are_good() {
    let mut world = World::grown(&["a", "b", "c"]);
    let (first, b) = (world.own_key(1, 0), world.id(1));
    let request = world.rotate_key(1, false);
    let next = world.own_key(1, 1);
    let replied = Some(Ok(Reply::NodeKey { key: next, retired: false }));
    assert_eq!(world.reply(1, request), replied, "it is answered when both are good");
    for at in 0..3 {
        assert_eq!(world.keys_of(at, 1), [first, next]);
        let told = world.hosts[at].roster.iter().find(|entry| entry.node == b).unwrap();
        assert_eq!((&told.keys[..], told.rotations.is_empty()), (&[first, next][..], true));
    }
    assert_eq!(world.hosts[1].shown, first, "others may not have heard of it yet");
    world.pass(Span::secs(3));
    assert_eq!(world.hosts[1].shown, next);
    assert_eq!(world.keys_of(0, 1), [first, next], "connections move over first");
    world.pass(Span::secs(12));
    for at in 0..3 {
        assert_eq!(world.keys_of(at, 1), [next]);
        let told = world.hosts[at].roster.iter().find(|entry| entry.node == b).unwrap();
        assert!(!told.rotations.is_empty(), "who comes with the old one is shown why it is good no more");
    }
    assert_eq!(world.hosts[1].secrets.len(), 1, "the old secret is gone");
    assert_eq!((world.hosts[1].config.key, world.hosts[1].config.key_number), (next, 1));
    let told =
        |retired| MeshEvent::NodeKeyChanged { node: b, name: "b".into(), key: next, number: 1, retired };
    let events = world.hosts[2].events.iter();
    let events: Vec<_> = events.filter(|e| matches!(e, MeshEvent::NodeKeyChanged { .. })).cloned().collect();
    assert_eq!(events, [told(false), told(true)]);
    world.assert_equal();
    assert_eq!(world.id(1), b, "its id stays");
    let again = world.rotate_key(1, true);
    assert!(matches!(world.reply(1, again), Some(Ok(Reply::NodeKey { retired: true, .. }))));
    assert_eq!(world.mesh(0).member(b).unwrap().rotations.number, 2);
}

#[test]
fn a_second_rotation_waits_for_the_end_of_the_first_or_ends_it() {
    let mut world = World::grown(&["a", "b"]);
    world.rotate_key(1, false);
    let refused = world.rotate_key(1, false);
    assert_eq!(world.reply(1, refused), Some(Err(Refusal::RotationUnderWay(1))));
    let ended = world.rotate_key(1, true);
    let next = world.mesh(0).accepted_keys(world.id(1));
    assert_eq!(world.reply(1, ended), Some(Ok(Reply::NodeKey { key: next[0], retired: true })));
    assert_eq!(next.len(), 1);
}

#[test]
fn nobody_outside_a_mesh_has_a_key_that_gives_way() {
    let mut world = World::new(&["a"]);
    let request = world.rotate_key(0, false);
    assert_eq!(world.reply(0, request), Some(Err(Refusal::NotMember)));
    assert_eq!(world.hosts[0].secrets.len(), 1);
}

#[test]
fn without_a_quorum_a_rotation_is_put_off_and_goes_on_by_itself() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.quorum = false;
    let request = world.rotate_key(1, false);
    assert_eq!(world.reply(1, request), None);
    world.pass(Span::secs(11));
    let reply = world.reply(1, request);
    assert!(matches!(reply, Some(Err(Refusal::RotationPutOff { .. }))), "{reply:?}");
    assert_eq!(world.hosts[1].shown, world.own_key(1, 0));
    world.restart(1);
    assert_eq!(world.hosts[1].shown, world.own_key(1, 0), "nobody agreed on the next one");
    world.quorum = true;
    world.pass(Span::secs(30));
    assert_eq!(world.hosts[1].secrets.len(), 1);
    assert_eq!(world.keys_of(0, 1), [world.own_key(1, 0)]);
    assert_eq!(world.mesh(0).member(world.id(1)).unwrap().rotations.number, 1);
}

/// At every step a node ends and begins again: what is on disk and in the log is enough to go on.
#[test]
fn a_rotation_goes_on_from_wherever_a_life_ended() {
    for crash in 0..14 {
        let mut world = World::grown(&["a", "b", "c"]);
        let (b, first) = (world.id(1), world.own_key(1, 0));
        let request = world.ask(1, |request| Input::RotateNodeKey { request, finish: false });
        for _ in 0..crash {
            if let Some((host, input)) = world.inbox.pop_front() {
                world.hosts[host].mesh.handle(world.now, input);
            }
            world.drain(1);
        }
        world.restart(1);
        assert_eq!(world.reply(1, request), None, "crash {crash}");
        let shown = world.hosts[1].shown;
        assert!(world.keys_of(0, 1).contains(&shown), "crash {crash}: it is locked out");
        world.pass(Span::secs(60));
        let begun = world.mesh(0).member(b).unwrap().rotations.number > 0;
        assert_eq!(world.keys_of(0, 1), [world.own_key(1, 0)], "crash {crash}");
        assert_eq!(begun, world.own_key(1, 0) != first, "crash {crash}");
        assert_eq!(world.hosts[1].secrets.len(), 1, "crash {crash}");
        world.assert_equal();
    }
}

/// The same while both keys are good, at the end of that, and while the old one goes from the disk.
#[test]
fn a_rotation_goes_on_from_any_moment_of_its_window() {
    let mut cut = BTreeSet::new();
    for (wait, crash) in [0, 1, 5, 11].into_iter().flat_map(|wait| (0..16).map(move |crash| (wait, crash))) {
        let mut world = World::grown(&["a", "b", "c"]);
        let (b, first) = (world.id(1), world.own_key(1, 0));
        world.rotate_key(1, false);
        world.pass(Span::secs(wait));
        // What is due at that moment is done step by step.
        world.now.monotonic += Span::secs(1);
        world.inbox.push_back((1, Input::Deadline));
        for _ in 0..crash {
            if let Some((host, input)) = world.inbox.pop_front() {
                world.hosts[host].mesh.handle(world.now, input);
            }
            for host in 0..3 {
                world.drain(host);
            }
            world.replicate();
        }
        cut.insert(world.mesh(1).rotation_stage());
        world.restart(1);
        let shown = world.hosts[1].shown;
        assert!(world.keys_of(0, 1).contains(&shown), "{wait} s, {crash}: it is locked out");
        world.pass(Span::secs(60));
        let key = world.own_key(1, 0);
        assert_eq!((world.keys_of(0, 1), key == first), (Vec::from([key]), false), "{wait} s, {crash}");
        assert_eq!(world.mesh(0).member(b).unwrap().rotations.number, 1);
        assert_eq!(world.hosts[1].secrets.len(), 1, "{wait} s, {crash}");
        world.assert_equal();
    }
    for stage in ["Open", "Ending", "EndAsked", "Keeping"] {
        assert!(cut.contains(stage), "{stage} is cut nowhere: {cut:?}");
    }
}

#[test]
fn a_disk_that_lost_the_next_key_goes_on_with_the_present_one_and_makes_another() {
    let mut world = World::grown(&["a", "b"]);
    world.rotate_key(1, false);
    let lost = world.own_key(1, 1);
    world.hosts[1].secrets.truncate(1);
    world.hosts[1].config.next_key = None;
    world.restart(1);
    world.pass(Span::secs(60));
    assert_eq!(world.keys_of(0, 1), [world.own_key(1, 0), lost], "nobody can end that rotation");
    let request = world.rotate_key(1, true);
    let reply = world.reply(1, request);
    assert!(matches!(reply, Some(Ok(Reply::NodeKey { retired: true, .. }))), "{reply:?}");
    assert_eq!(world.keys_of(0, 1), [world.own_key(1, 0)]);
    assert_ne!(world.own_key(1, 0), lost);
}

/// Whoever waits for a rotation hears of it, whatever it comes to.
#[test]
fn no_request_for_a_rotation_goes_without_an_answer() {
    // The old key does not go from the disk.
    let mut world = World::grown(&["a", "b", "c"]);
    world.hosts[1].disk_full = true;
    world.rotate_key(1, false);
    world.pass(Span::secs(30));
    let request = world.rotate_key(1, true);
    assert!(matches!(world.reply(1, request), Some(Err(Refusal::KeyNotStored(_)))));
    world.hosts[1].disk_full = false;
    let request = world.rotate_key(1, true);
    let key = world.own_key(1, 0);
    assert_eq!(world.reply(1, request), Some(Ok(Reply::NodeKey { key, retired: true })));
    assert_eq!(world.hosts[1].secrets.len(), 1);

    // It is asked for while the old key goes.
    let mut world = World::grown(&["a", "b"]);
    let first = world.ask(1, |request| Input::RotateNodeKey { request, finish: true });
    let mut late = None;
    for _ in 0..1000 {
        let Some((host, input)) = world.inbox.pop_front() else { break };
        if matches!(&input, Input::WorkDone { done: Done::Kept(_), .. }) && late.is_none() {
            let request = RequestId(7000);
            world.hosts[1].mesh.handle(world.now, Input::RotateNodeKey { request, finish: true });
            late = Some(request);
        }
        world.hosts[host].mesh.handle(world.now, input);
        for host in 0..2 {
            world.drain(host);
        }
        world.replicate();
    }
    assert!(matches!(world.reply(1, first), Some(Ok(Reply::NodeKey { retired: true, .. }))));
    let replied = world.reply(1, late.expect("it goes"));
    assert!(matches!(replied, Some(Ok(Reply::NodeKey { retired: true, .. }))), "{replied:?}");

    // The mesh is stopped meanwhile.
    let mut world = World::grown(&["a", "b", "c"]);
    world.quorum = false;
    let request = world.rotate_key(1, true);
    world.command(1, |request| Input::Stop { request, lasting: true });
    world.pass(Span::secs(8));
    assert_eq!(world.reply(1, request), Some(Err(Refusal::StoppedMeanwhile)));
}

#[test]
fn a_rotation_that_either_key_did_not_sign_changes_nothing() {
    let (own, fresh, other) = ([2; 32], [77; 32], [78; 32]);
    let world = || World::grown(&["a", "b"]);
    let (b, a) = (world().id(1), world().id(0));
    let good = rotation(b, 1, own, fresh);
    let by_other = rotation(b, 1, other, fresh);
    let elsewhere = rotation(a, 1, own, fresh);
    let wrong = [
        (b, Rotation { by_old: by_other.by_old.clone(), ..good.clone() }),
        (b, Rotation { by_new: by_other.by_old, ..good.clone() }),
        (b, elsewhere),
        (b, rotation(b, 1, other, fresh)),
        (b, rotation(b, 2, own, fresh)),
        (b, rotation(b, 1, own, [1; 32])),
        (a, good.clone()),
    ];
    for (place, (origin, rotation)) in wrong.into_iter().enumerate() {
        let mut world = world();
        world.log(origin, 1 << 100, next(b, rotation));
        assert_eq!(world.keys_of(0, 1), [public_key(&own)], "{place}");
    }
    let mut world = world();
    world.log(b, 1 << 100, next(b, good));
    assert_eq!(world.keys_of(0, 1), [public_key(&own), public_key(&fresh)]);
    world.assert_equal();
}

/// Whoever leads looks at what a member signed before anybody else does.
#[test]
fn a_step_that_cannot_be_done_or_is_not_signed_does_not_come_into_the_log() {
    let (own, fresh, other) = ([2; 32], [77; 32], [78; 32]);
    let mut world = World::grown(&["a", "b", "c"]);
    let b = world.id(1);
    let asked = |world: &mut World, number: u128, step: Step| {
        let before = world.log.len();
        let (request, seen) = (Request(number), world.mesh(1).applied_index());
        let message =
            Message::Forward { request, seen, body: Box::new(Body::RotateNodeKey { node: b, step }) };
        world.inbox.push_back((0, Input::Message { from: b, message }));
        world.pump();
        world.log.len() - before
    };
    let good = rotation(b, 1, own, fresh);
    let by_other = rotation(b, 1, own, other);
    let wrong = [
        Rotation { by_old: by_other.by_old.clone(), ..good.clone() },
        Rotation { by_new: by_other.by_new.clone(), ..good.clone() },
        rotation(b, 2, own, fresh),
        rotation(b, 1, other, fresh),
        rotation(b, 1, own, [1; 32]),
    ];
    for (place, wrong) in wrong.into_iter().enumerate() {
        assert_eq!(asked(&mut world, 100 + place as u128, Step::Next(wrong)), 0, "{place}");
    }
    let retire =
        |number, signature: &Bytes| Step::Retire { number, signature: signature.clone(), hurry: true };
    assert_eq!(asked(&mut world, 200, retire(1, &good.by_new)), 0, "nothing is under way");
    assert_eq!(asked(&mut world, 201, Step::Next(good.clone())), 1);
    assert_eq!(asked(&mut world, 202, retire(1, &good.by_new)), 0, "it says something else");
    let Done::Signature(end) = perform(&Job::Sign { key: good.new, message: good.retirement(b) }, &[fresh])
    else {
        unreachable!()
    };
    assert_eq!(asked(&mut world, 203, retire(1, &end.into())), 1);
    assert_eq!(world.keys_of(0, 1), [good.new]);
}

#[test]
fn a_step_that_is_refused_for_what_it_is_is_tried_ever_less_often() {
    let mut world = World::grown(&["a", "b"]);
    // The next key that the world makes is another member's.
    let (mut next, b) = ([2; 32], world.id(1));
    next[31] += 1;
    world.log(world.id(0), 1 << 100, self::next(world.id(0), rotation(world.id(0), 1, [1; 32], next)));
    let request = world.rotate_key(1, false);
    let reply = world.reply(1, request);
    assert!(matches!(reply, Some(Err(Refusal::RotationPutOff { .. }))), "{reply:?}");
    let mut tries = 0;
    for _ in 0..3600 {
        let before = world.mesh(1).next_deadline();
        world.pass(Span::secs(1));
        tries += u32::from(world.mesh(1).next_deadline() != before);
    }
    assert_eq!(world.keys_of(0, 1).len(), 1);
    assert!((6..30).contains(&tries), "{tries} tries of {b}");
}

#[test]
fn a_rotation_that_was_given_up_or_is_over_does_not_come_back() {
    let own = [2; 32];
    let mut world = World::grown(&["a", "b"]);
    let b = world.id(1);
    let (one, two) = (rotation(b, 1, own, [77; 32]), rotation(b, 2, own, [78; 32]));
    world.log(b, 1 << 100, next(b, one.clone()));
    world.log(b, 1 << 101, next(b, two.clone()));
    let keys = [public_key(&own), public_key(&[78; 32])];
    assert_eq!(world.keys_of(0, 1), keys, "a next key that was lost gives way");
    world.log(b, 1 << 102, next(b, one));
    assert_eq!(world.keys_of(0, 1), keys);
    let Done::Signature(signature) =
        perform(&Job::Sign { key: keys[1], message: two.retirement(b) }, &[[78; 32]])
    else {
        unreachable!()
    };
    let retire = |number, signature: Vec<u8>| Body::RotateNodeKey {
        node: b,
        step: Step::Retire { number, signature: signature.into(), hurry: false },
    };
    world.log(b, 1 << 103, retire(1, signature.clone()));
    world.log(b, 1 << 104, retire(2, two.by_new.to_vec()));
    assert_eq!(world.keys_of(0, 1), keys, "the new key did not say that");
    world.log(b, 1 << 105, retire(2, signature));
    assert_eq!(world.keys_of(0, 1), [keys[1]]);
    world.log(b, 1 << 106, next(b, two));
    world.log(b, 1 << 107, next(b, rotation(b, 3, own, [79; 32])));
    world.log(b, 1 << 108, next(b, rotation(b, 3, [78; 32], own)));
    assert_eq!(world.keys_of(0, 1), [keys[1]]);
    world.assert_equal();
}

/// b's key gave way while a was away: a knows nothing of it.
fn behind() -> World {
    let mut world = World::grown(&["a", "b", "c"]);
    let image = world.hosts[0].disk.clone();
    world.lead(Some(1));
    world.rotate_key(1, true);
    world.quorum = false;
    world.hosts[0].disk = image;
    world.restart(0);
    world
}

pub(super) fn shows(world: &mut World, of: usize, key: PublicKey, endorsement: Bytes) {
    let node = world.id(of);
    world.inbox.push_back((0, Input::Stranger { node, key, endorsement }));
    world.pump();
}

#[test]
fn who_was_away_is_led_from_a_key_it_knows_to_the_present_one() {
    let mut world = behind();
    let (key, node) = (world.own_key(1, 0), world.id(1));
    let old = world.keys_of(0, 1);
    assert!(!old.contains(&key));
    let endorsement = world.mesh(1).endorsement(node);
    shows(&mut world, 1, public_key(&[99; 32]), endorsement.clone());
    assert_eq!(world.keys_of(0, 1), old, "another key was proven");
    let mut chain = introduce::read(&endorsement).unwrap();
    chain[0].rotations[0].by_old = chain[0].rotations[0].by_new.clone();
    let chain = chain.iter().map(introduce::Endorsed::to_wire).collect();
    let forged = wattle_proto::mesh::Endorsement { chain };
    let forged = prost::Message::encode_to_vec(&forged).into();
    shows(&mut world, 1, key, forged);
    assert_eq!(world.keys_of(0, 1), old, "the old key did not sign");
    shows(&mut world, 1, key, endorsement);
    assert_eq!(world.keys_of(0, 1), [old[0], key]);
    let told = world.hosts[0].roster.iter().find(|entry| entry.node == node).unwrap();
    assert_eq!(told.keys, [old[0], key]);
    world.quorum = true;
    world.pump();
    assert_eq!(world.keys_of(0, 1), [key], "the log has the last word");
    assert_eq!(world.mesh(0).introductions.len(), 0);
}

#[test]
fn who_was_away_knows_a_member_that_one_with_another_key_let_in() {
    let mut world = World::grown(&["a", "b"]);
    let image = world.hosts[0].disk.clone();
    world.rotate_key(1, true);
    let request = world.command(1, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(1, request) else { panic!("no token") };
    let c = world.add("c");
    let reply = world.join(c, &token);
    assert!(matches!(reply, Some(Ok(_))), "{reply:?}");
    world.rotate_key(c, true);
    world.lead(Some(1));
    world.quorum = false;
    world.hosts[0].disk = image;
    world.restart(0);
    let (key, node) = (world.own_key(c, 0), world.id(c));
    let endorsement = world.mesh(c).endorsement(node);
    shows(&mut world, c, key, endorsement);
    assert_eq!(world.keys_of(0, c), [key]);
}

/// What a joiner was told of the members is all it knows of them before the log comes: a key that gave way since is led to from there, too.
#[test]
fn a_node_that_just_joined_is_led_to_a_key_that_came_since() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    assert!(matches!(world.join(1, &token), Some(Ok(_))));
    let c = world.add("c");
    world.hosts[c].up = true;
    let token = {
        let request = world.command(0, |request| Input::Invite { request });
        let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
        token
    };
    world.join(c, &token);
    // Its disk is taken back to where it had just been told.
    let told = world.mesh(0).roster();
    let membership = crate::mesh::store::Membership {
        roster: told,
        ..world.mesh(c).membership.clone().expect("a member")
    };
    world.rotate_key(1, true);
    world.quorum = false;
    world.hosts[c].disk.clear();
    let record = membership.record();
    let key = (record.key.space, record.key.id, record.key.slot);
    world.hosts[c].disk.insert(key, (1, record.head));
    world.restart(c);
    let (key, node) = (world.own_key(1, 0), world.id(1));
    assert!(world.mesh(c).member(node).is_none() && !world.keys_of(c, 1).contains(&key));
    let endorsement = world.mesh(1).endorsement(node);
    world.inbox.push_back((c, Input::Stranger { node, key, endorsement }));
    world.pump();
    assert_eq!(world.keys_of(c, 1).last(), Some(&key));
    let told = world.hosts[c].roster.iter().find(|entry| entry.node == node).expect("it is told");
    assert_eq!(told.keys, world.keys_of(c, 1), "those who talk to it are told");
}

#[test]
fn a_token_from_before_leads_to_the_door_under_its_later_key() {
    let mut world = World::grown(&["a", "b"]);
    let request = world.command(1, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(1, request) else { panic!("no token") };
    world.rotate_key(1, true);
    world.rotate_key(1, true);
    let c = world.add("c");
    assert!(matches!(world.join(c, &token), Some(Ok(Reply::Joined { .. }))));
    let d = world.add("d");
    world.hosts[1].rotations = Bytes::new();
    let reply = world.join(d, &token);
    assert!(matches!(reply, Some(Err(Refusal::Impostor(_)))), "{reply:?}");
}

#[test]
fn a_disk_with_nothing_but_a_retired_key_takes_no_part_and_says_why() {
    let mut world = World::grown(&["a", "b", "c"]);
    let (secrets, config, disk) =
        (world.hosts[1].secrets.clone(), world.hosts[1].config.clone(), world.hosts[1].disk.clone());
    world.rotate_key(1, true);
    let proof = world.hosts[0].roster.iter().find(|e| e.node == world.id(1)).unwrap().rotations.clone();
    // Only the file with the keys is an old one: the state tells.
    let now = world.hosts[1].disk.clone();
    (world.hosts[1].secrets, world.hosts[1].config) = (secrets.clone(), config.clone());
    world.restart(1);
    let why = world.hosts[1].retired.take().expect("it says so");
    assert!(why.contains("identity.toml") && why.contains("rotation 1"), "{why}");
    assert_eq!(world.mesh(1).served_no_more(), Some(Refusal::KeyRetired(why)));
    assert!(world.hosts[1].offline);
    // The whole disk is an old one: whoever turns it away tells.
    let mut world = World::grown(&["a", "b", "c"]);
    world.lead(Some(0));
    world.hosts[1].disk = disk;
    assert_ne!(now.len(), 0);
    world.quorum = false;
    world.restart(1);
    assert_eq!(world.hosts[1].retired, None);
    let mut forged = crate::mesh::rotation::decode(&proof).unwrap();
    forged[0].retired = Some(forged[0].by_new.clone());
    world.inbox.push_back((1, Input::KeyRetired(crate::mesh::rotation::encode(&forged))));
    world.pump();
    assert_eq!(world.hosts[1].retired, None, "anybody can say that");
    world.inbox.push_back((1, Input::KeyRetired(proof)));
    world.pump();
    assert!(world.hosts[1].retired.is_some());
}

#[test]
fn who_leaves_comes_back_under_the_key_it_had_last_and_not_under_one_before() {
    let mut world = World::grown(&["a", "b"]);
    let first = (world.hosts[1].secrets.clone(), world.hosts[1].config.clone());
    world.rotate_key(1, true);
    let request = world.command(1, |request| Input::Leave { request, force: false });
    assert_eq!(world.reply(1, request), Some(Ok(Reply::Left)));
    let request = world.command(0, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
    let last = (world.hosts[1].secrets.clone(), world.hosts[1].config.clone());
    (world.hosts[1].secrets, world.hosts[1].config) = first;
    world.restart(1);
    let reply = world.join(1, &token);
    assert!(matches!(&reply, Some(Err(Refusal::JoinRefused(why))) if why.contains("gave way")), "{reply:?}");
    (world.hosts[1].secrets, world.hosts[1].config) = last;
    world.restart(1);
    assert!(matches!(world.join(1, &token), Some(Ok(Reply::Joined { .. }))));
    assert_eq!(world.mesh(0).member(world.id(1)).unwrap().rotations.number, 1, "numbers go on");
    let request = world.rotate_key(1, true);
    assert!(matches!(world.reply(1, request), Some(Ok(Reply::NodeKey { retired: true, .. }))));
    assert_eq!(world.mesh(0).member(world.id(1)).unwrap().rotations.number, 2);
}

/// Its disk holds two keys, and it does not know any more which of them the mesh knows.
#[test]
fn who_left_before_its_old_key_was_gone_joins_under_whichever_is_good() {
    for crash in [false, true] {
        let mut world = World::grown(&["a", "b"]);
        world.hosts[1].disk_full = true;
        world.rotate_key(1, true);
        let next = world.own_key(1, 1);
        let request = world.command(1, |request| Input::Leave { request, force: false });
        assert_eq!(world.reply(1, request), Some(Ok(Reply::Left)));
        world.restart(1);
        assert_eq!(world.hosts[1].shown, world.own_key(1, 0));
        let token = leaving::invite(&mut world, 0);
        let request = world.command(1, |request| Input::Join { request, token });
        world.pass(Span::secs(10));
        assert!(matches!(world.reply(1, request), Some(Ok(Reply::Joined { .. }))));
        assert_eq!((world.hosts[1].shown, world.keys_of(0, 1)), (next, Vec::from([next])));
        if crash {
            // All that it knows is what it was told when it joined.
            let roster = world.mesh(0).roster();
            let membership = world.mesh(1).membership.clone().expect("a member");
            let stored = crate::mesh::store::Membership { roster, ..membership }.record();
            let key = (stored.key.space, stored.key.id, stored.key.slot);
            world.hosts[1].disk.clear();
            world.hosts[1].disk.insert(key, (1, stored.head));
            world.quorum = false;
            world.hosts[1].in_group = false;
            world.restart(1);
            assert_eq!(world.hosts[1].shown, next);
            continue;
        }
        world.hosts[1].disk_full = false;
        world.pass(Span::secs(10));
        assert_eq!((world.hosts[1].secrets.len(), world.own_key(1, 0)), (1, next));
    }
    // If none is, it hears of both.
    let mut world = World::grown(&["a", "b"]);
    let others = [[55; 32], [56; 32]];
    let token = leaving::invite(&mut world, 0);
    let c = world.add("c");
    world.hosts[c].secrets = others.to_vec();
    (world.hosts[c].config.key, world.hosts[c].config.next_key) =
        (public_key(&others[0]), Some(public_key(&others[1])));
    world.restart(c);
    let request = world.command(c, |request| Input::Join { request, token });
    world.pass(Span::secs(10));
    assert!(matches!(world.reply(c, request), Some(Err(Refusal::JoinRefused(_)))));
    assert_eq!(world.hosts[c].shown, public_key(&others[0]));
}

#[test]
fn the_end_waits_for_members_within_reach_and_not_for_ever() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.hosts[2].up = false;
    world.rotate_key(1, false);
    world.pass(Span::secs(60));
    assert_eq!(
        world.keys_of(0, 1).len(),
        2,
        "c does not know the next key, and nobody knows that it is away"
    );
    world.hosts[0].unreached = Vec::from([world.id(2)]);
    world.inbox.push_back((0, Input::RoutesChanged));
    world.pass(Span::secs(5));
    assert_eq!(world.keys_of(0, 1).len(), 1);
    world.hosts[0].unreached.clear();
    world.inbox.push_back((0, Input::RoutesChanged));
    world.pass(Span::secs(5));
    world.rotate_key(1, false);
    world.pass(Span::secs(200));
    assert_eq!(world.keys_of(0, 1).len(), 2);
    world.pass(Span::secs(150));
    assert_eq!(world.keys_of(0, 1).len(), 1, "the window is over");
}

#[test]
fn only_the_last_rotations_are_kept_and_the_state_is_the_same_read_back() {
    let mut world = World::grown(&["a", "b"]);
    for number in 1..=12 {
        world.rotate_key(1, true);
        let member = world.mesh(0).member(world.id(1)).unwrap();
        assert_eq!(member.rotations.number, number);
        assert_eq!(member.rotations.records.len() as u64, number.min(8));
    }
    let state = &world.mesh(0).state;
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(state));
    let endorsement = world.mesh(1).endorsement(world.id(1));
    assert!(endorsement.len() < 16 << 10);
    world.restart(0);
    world.restart(1);
    world.assert_equal();
}

#[cfg(feature = "planted")]
mod planted {
    use super::*;
    use crate::planted::Bug;

    fn world_with(bug: Bug) -> World {
        let mut world = World::new(&["a", "b"]);
        world.planted = Planted::only(bug);
        for host in 0..2 {
            world.restart(host);
        }
        let token = world.seed(0);
        world.join(1, &token);
        world
    }

    #[test]
    fn a_rotation_that_the_old_key_did_not_sign_is_noticed() {
        let mut world = world_with(Bug::RotationNotSigned);
        let b = world.id(1);
        let good = rotation(b, 1, [2; 32], [77; 32]);
        world.log(b, 1 << 100, next(b, Rotation { by_old: good.by_new.clone(), ..good }));
        assert_eq!(world.keys_of(0, 1).len(), 2, "this bug lets a stranger's key in");
    }

    #[test]
    #[should_panic(expected = "M60: a rotation of")]
    fn a_rotation_that_comes_back_is_noticed() {
        let mut world = world_with(Bug::RotationNumberIgnored);
        let b = world.id(1);
        let (one, two) = (rotation(b, 1, [2; 32], [77; 32]), rotation(b, 2, [2; 32], [78; 32]));
        world.log(b, 1 << 100, next(b, one.clone()));
        world.log(b, 1 << 101, next(b, two));
        world.log(b, 1 << 102, next(b, one));
    }

    #[test]
    #[should_panic(expected = "M61: this node proves a key before")]
    fn a_next_key_that_is_proven_too_early_is_noticed() {
        let mut world = world_with(Bug::NewKeyShownEarly);
        world.quorum = false;
        world.rotate_key(1, false);
    }

    #[test]
    fn a_retired_key_that_stays_good_is_seen() {
        let mut world = world_with(Bug::RetiredKeyAccepted);
        let first = world.own_key(1, 0);
        world.rotate_key(1, true);
        assert!(world.keys_of(0, 1).contains(&first));
    }
}
