//! Nodes that exist twice (rule C6, M50, M51).

use super::*;
use crate::event::MeshEvent;
use crate::id::BootId;
use crate::mesh::identity::{Claim, Record};

/// How the last start of any host is called.
fn last_boot(world: &World) -> BootId {
    BootId(world.starts.into())
}

impl World {
    /// A second process on a copy of a host's disk. Gives it, and the names of the starts of the two.
    fn copied(&mut self, host: usize) -> (usize, [BootId; 2]) {
        self.restart(host);
        let one = last_boot(self);
        let name = self.hosts[host].config.name.clone();
        let copy = self.add(&name);
        let node = self.id(host);
        let Host { secrets, config, disk, .. } = &self.hosts[host];
        let (secrets, config, disk) = (secrets.clone(), config.clone(), disk.clone());
        let entry = &mut self.hosts[copy];
        (entry.secrets, entry.config, entry.disk) = (secrets, config, disk);
        entry.node = node;
        self.restart(copy);
        (copy, [one, last_boot(self)])
    }

    fn hint(&mut self, host: usize, boot: BootId, claim: Bytes) {
        self.pass(Span::millis(200));
        self.inbox.push_back((host, Input::Rival { boot, claim }));
        self.pump();
    }

    fn show(&mut self, host: usize, record: &Bytes) {
        self.inbox.push_back((host, Input::Identity(record.clone())));
        self.pump();
    }

    fn record_of(&self, host: usize, node: NodeId) -> Option<Bytes> {
        self.hosts[host].identities.get(&node).map(|told| told.record.clone())
    }
}

/// A mesh of three, a copy of the second node, and the proof that it exists twice, as the copy found it.
fn found() -> (World, usize, Bytes) {
    found_with(Planted::none())
}

fn found_with(planted: Planted) -> (World, usize, Bytes) {
    found_in(World::grown(&["a", "b", "c"]), planted)
}

fn found_in(mut world: World, planted: Planted) -> (World, usize, Bytes) {
    world.planted = planted;
    let (copy, [one, other]) = world.copied(1);
    world.hint(1, other, Bytes::new());
    assert!(!world.mesh(1).is_double(), "a hint is no proof");
    let claim = world.hosts[1].claims.pop().expect("it says whom it met");
    world.hint(copy, one, claim);
    assert_eq!(world.mesh(copy).is_double(), !planted.has(crate::planted::Bug::DoubleGoesOn));
    let node = world.id(copy);
    let record = world.record_of(copy, node).expect("it shows why");
    (world, copy, record)
}

#[test]
fn two_starts_that_name_each_other_stop_and_all_hear_of_it() {
    let (mut world, copy, record) = found();
    let node = world.id(1);
    let waiting = {
        world.quorum = false;
        world.command(1, open("words", "a", "b"))
    };
    for host in [0, 1, 2] {
        world.hosts[host].events.clear();
        world.show(host, &record);
        let told = MeshEvent::NodeDuplicated { node, name: "b".into() };
        assert!(world.hosts[host].events.contains(&told), "host {host}");
    }
    assert!(world.mesh(1).is_double() && world.mesh(copy).is_double());
    let told = world.reply(1, waiting);
    assert_eq!(told, Some(Err(Refusal::StoppedMeanwhile)), "whoever was asked may do it yet");
    assert!(
        !world.mesh(0).is_double() && world.mesh(0).is_twice(node) && !world.mesh(2).is_twice(world.id(0))
    );
    assert_eq!(world.hosts[0].identities[&node].bar, 1);
    world.pass(Span::secs(1));
    for host in [1, copy] {
        assert!(world.hosts[host].offline);
        let words = world.mesh(host).double().expect("it knows");
        assert!(words.contains("--only-copy"), "{words}");
        let refusal = Refusal::DuplicateIdentity(words);
        let start = world.command(host, |request| Input::Start { request });
        assert_eq!(world.reply(host, start), Some(Err(refusal.clone())));
        let stop = world.command(host, |request| Input::Stop { request, lasting: false });
        assert_eq!(world.reply(host, stop), Some(Ok(Reply::MeshStopped)), "a process may end");
        let stop = world.command(host, |request| Input::Stop { request, lasting: true });
        assert_eq!(world.reply(host, stop), Some(Err(refusal)));
    }
    world.hosts[0].identities.clear();
    world.restart(0);
    assert!(world.record_of(0, node).is_some() && world.mesh(0).is_twice(node), "its next start knows");
}

#[test]
fn a_third_start_is_stopped_until_an_operator_says_that_it_is_the_only_copy() {
    let (mut world, copy, record) = found();
    let node = world.id(1);
    world.hosts[1].offline = false;
    world.restart(copy);
    assert!(world.mesh(copy).is_double() && world.hosts[copy].offline && world.hosts[copy].rejoined == 0);
    // The other's disk does not know, and is told.
    world.restart(1);
    assert!(!world.mesh(1).is_double());
    world.show(1, &record);
    assert!(world.mesh(1).is_double());

    world.hosts[1].config.only_copy = true;
    world.restart(1);
    world.pump();
    assert_eq!(
        (world.mesh(1).is_double(), world.hosts[1].offline, world.hosts[1].rejoined),
        (false, false, 1)
    );
    assert_eq!(world.mesh(1).identity_round().0, 1);
    let only = world.record_of(1, node).expect("it shows that");
    world.show(0, &record);
    for shown in [&only, &record] {
        world.show(0, shown);
        assert!(!world.mesh(0).is_twice(node), "what is of an earlier round counts no more");
        world.show(1, shown);
        assert!(!world.mesh(1).is_double());
    }
    world.restart(1);
    assert_eq!((world.hosts[1].rejoined, world.mesh(1).is_double()), (1, false), "once is enough");
    // The other copy is started, too.
    world.hosts[copy].disk.remove(&(61, node.0, 0));
    world.restart(copy);
    assert!(!world.mesh(copy).is_double());
    world.show(copy, &only);
    assert!(world.mesh(copy).is_double(), "another copy is the only one");
    let words = world.mesh(copy).double().expect("it knows");
    assert!(
        words.contains("another copy") && words.contains("taken back") && words.contains("--only-copy"),
        "{words}"
    );
    world.hosts[copy].config.only_copy = true;
    world.restart(copy);
    world.pump();
    assert_eq!(world.mesh(copy).identity_round().0, 2, "the last that an operator named counts");
    let last = world.record_of(copy, node).expect("it shows that");
    world.show(1, &last);
    assert!(world.mesh(1).is_double());
}

/// The record that it is the only copy is signed anew under a next key. Meanwhile it is proven to exist twice, again.
#[test]
fn what_a_node_signs_anew_is_no_answer_to_a_proof_that_it_exists_twice() {
    let (mut world, _, record) = found();
    let node = world.id(1);
    world.show(1, &record);
    world.hosts[1].config.only_copy = true;
    world.restart(1);
    world.pump();
    world.hosts[1].config.only_copy = false;
    let (mut world, _, record) = found_in(world, Planted::none());
    let signing = {
        let now = world.now;
        let mesh = &mut world.hosts[1].mesh;
        assert!(!mesh.is_double());
        mesh.renew_own_claim();
        mesh.handle(now, Input::Deadline);
        core::iter::from_fn(|| mesh.poll()).find(|o| matches!(o, Output::Work { .. })).expect("it signs")
    };
    world.show(1, &record);
    assert!(world.mesh(1).is_double());
    world.perform(1, signing);
    world.pump();
    assert!(world.mesh(1).is_double() && world.mesh(1).is_twice(node), "M51");
    world.pass(Span::secs(2));
    assert!(world.hosts[1].offline);
    world.restart(1);
    assert!(world.mesh(1).is_double(), "the next start knows");
}

/// Both keys are on its disk, and the first is retired: with that it would not be believed.
#[test]
fn the_only_copy_says_so_with_the_key_that_is_good() {
    let mut world = World::grown(&["a", "b", "c"]);
    let (first, key) = (world.hosts[1].secrets[0], world.hosts[1].config.key);
    world.rotate_key(1, true);
    let (mut world, _, record) = found_in(world, Planted::none());
    let node = world.id(1);
    for host in [0, 1] {
        world.show(host, &record);
    }
    let Host { secrets, config, .. } = &mut world.hosts[1];
    secrets.insert(0, first);
    (config.next_key, config.key, config.key_number) = (Some(config.key), key, 0);
    config.only_copy = true;
    world.restart(1);
    world.pump();
    let only = world.record_of(1, node).expect("it shows that");
    world.show(0, &only);
    assert!(!world.mesh(0).is_twice(node) && !world.mesh(1).is_double());
}

#[test]
fn both_copies_started_as_the_only_one_are_found_out_again() {
    let (mut world, copy, record) = found();
    world.show(1, &record);
    let mut boots = [BootId(0); 2];
    for (host, boot) in [1, copy].into_iter().zip(&mut boots) {
        world.hosts[host].config.only_copy = true;
        world.restart(host);
        *boot = last_boot(&world);
        world.pump();
        assert!(!world.mesh(host).is_double());
    }
    let only = world.record_of(1, world.id(1)).expect("a round began");
    world.show(copy, &only);
    assert!(!world.mesh(copy).is_double(), "it is of the same round");
    world.hint(1, boots[1], Bytes::new());
    let claim = world.hosts[1].claims.pop().expect("it says whom it met");
    world.hint(copy, boots[0], claim);
    assert!(world.mesh(copy).is_double());
}

/// A claim under the key of another member.
fn forge(mut claim: Claim) -> Claim {
    let job = crate::work::Job::Sign { key: public_key(&[1; 32]), message: claim.statement() };
    let crate::work::Done::Signature(signature) = perform(&job, &[[1; 32]]) else { panic!("not signed") };
    claim.signature = signature.into();
    claim
}

#[test]
fn nobody_but_the_node_itself_can_say_so() {
    let mut world = World::grown(&["a", "b", "c"]);
    let node = world.id(1);
    world.restart(1);
    let (here, other) = (last_boot(&world), BootId(77));
    let sign = |boot, other, round| forge(Claim { node, round, boot, other, signature: Bytes::new() });
    let forged = [sign(here, Some(other), 0), sign(other, Some(here), 0)];
    world.hint(1, other, forged[1].encode());
    for record in [Record::Twice(forged), Record::Only(sign(other, None, 9))] {
        for host in 0..3 {
            world.show(host, &record.encode());
            assert!(world.hosts[host].identities.is_empty(), "host {host}");
        }
    }
    assert!(!world.mesh(1).is_double());
    // One of the two is good: it says it of itself for a hint.
    world.hint(1, other, Bytes::new());
    let good = Claim::decode(&world.hosts[1].claims.pop().expect("it says whom it met")).expect("readable");
    let half = Record::Twice([good.clone(), sign(other, Some(here), 0)]);
    let doubled = [good.encode(), good.encode()].concat();
    for bytes in [half.encode(), doubled.into(), Record::Only(good).encode()] {
        for host in 0..3 {
            world.show(host, &bytes);
            assert!(world.hosts[host].identities.is_empty() && !world.mesh(host).is_double());
        }
    }
}

#[test]
fn records_of_who_is_no_member_are_let_go() {
    let (mut world, _, record) = found();
    let node = world.id(1);
    world.show(0, &record);
    assert!(world.hosts[0].disk.contains_key(&(61, node.0, 0)));
    let evicted = world.command(0, |request| Input::Evict { request, member: "b".into() });
    world.pass(Span::secs(5));
    assert!(matches!(world.reply(0, evicted), Some(Ok(Reply::Evicted { .. }))));
    assert!(world.hosts[0].identities.is_empty() && !world.hosts[0].disk.contains_key(&(61, node.0, 0)));
    world.show(0, &record);
    assert!(world.hosts[0].identities.is_empty());
}

/// Starts that follow one another, on disks that may be rolled back, with a network that repeats whatever was ever said, to whom and when it likes.
#[test]
fn starts_that_follow_one_another_never_prove_anything() {
    for seed in 0..40 {
        let mut rng = Rng::stream([seed; 32], Purpose::Mesh);
        let mut world = World::grown(&["a", "b"]);
        let (mut boots, mut said, mut records) = (Vec::new(), Vec::new(), Vec::new());
        let mut disks = Vec::from([world.hosts[1].disk.clone()]);
        for _ in 0..60 {
            match rng.below(6) {
                0 => {
                    if rng.below(3) == 0 {
                        world.hosts[1].disk = disks[rng.below(disks.len() as u64) as usize].clone();
                    } else {
                        disks.push(world.hosts[1].disk.clone());
                    }
                    world.restart(1);
                    boots.push(last_boot(&world));
                }
                1..4 if !boots.is_empty() => {
                    let of = boots[rng.below(boots.len() as u64) as usize];
                    let bytes = match rng.below(said.len() as u64 + 1) {
                        0 => Bytes::new(),
                        place => Bytes::clone(&said[place as usize - 1]),
                    };
                    world.hint(1, of, bytes);
                }
                _ if said.len() > 1 => {
                    let mut any = || Claim::decode(&said[rng.below(said.len() as u64) as usize]);
                    let claims = [any().expect("readable"), any().expect("readable")];
                    records.push(Record::Twice(claims).encode());
                    records.iter().for_each(|record| (0..2).for_each(|host| world.show(host, record)));
                }
                _ => {}
            }
            said.append(&mut world.hosts[1].claims);
            assert!(!world.mesh(1).is_double(), "seed {seed}");
            assert!(world.hosts[0].identities.is_empty(), "seed {seed}");
        }
        assert!(said.len() > 3, "seed {seed}: it met nobody");
    }
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_copies_show() {
    use crate::planted::Bug;
    // A hint alone stops a sound node.
    let mut world = World::grown(&["a", "b"]);
    world.planted = Planted::only(Bug::OneSidedClaim);
    world.restart(1);
    world.hint(1, BootId(77), Bytes::new());
    assert!(world.mesh(1).is_double());
    // Any member stops any other.
    let mut world = World::grown(&["a", "b"]);
    world.planted = Planted::only(Bug::ClaimNotChecked);
    (0..2).for_each(|host| world.restart(host));
    let node = world.id(1);
    let claim = |boot, other| {
        let (boot, other, signature) = (BootId(boot), Some(BootId(other)), Bytes::new());
        forge(Claim { node, round: 0, boot, other, signature })
    };
    world.show(0, &Record::Twice([claim(3, 4), claim(4, 3)]).encode());
    assert!(world.mesh(0).is_twice(node));
    // Copies go on.
    let (mut world, _, record) = found_with(Planted::only(Bug::DoubleGoesOn));
    world.show(1, &record);
    assert!(!world.mesh(1).is_double());
    // The only copy goes on under the names of the other.
    let (mut world, copy, _) = found_with(Planted::only(Bug::KeptUnderOldReplica));
    world.hosts[copy].config.only_copy = true;
    world.restart(copy);
    world.pump();
    assert_eq!((world.mesh(copy).is_double(), world.hosts[copy].rejoined), (false, 0));
}
