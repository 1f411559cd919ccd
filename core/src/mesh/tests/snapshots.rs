use super::*;

fn outputs(mesh: &mut Mesh) -> Vec<Output> {
    core::iter::from_fn(|| mesh.poll()).collect()
}

impl World {
    /// The state of the first host, and as of which entry it is.
    pub(super) fn state_of_first(&self) -> (LogIndex, Bytes) {
        (self.mesh(0).applied_index(), self.mesh(0).snapshot())
    }

    /// A host gets a state of the first in place of the entries.
    pub(super) fn install(&mut self, host: usize, index: LogIndex, data: Bytes) {
        self.hosts[host].applied = index.0 as usize;
        let from = self.id(0);
        self.inbox.push_back((host, Input::Install { from, index, data }));
        self.pump();
    }
}

#[test]
fn a_snapshot_carries_everything() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.command(0, open("s1", "a", "b"));
    world.command(0, open("s2", "b", "c"));
    let now = world.now;
    let mut fresh = World::grown(&["a", "b", "c"]).hosts.remove(2).mesh;
    fresh.state = State::default();
    fresh.stored = LogIndex(0);
    fresh.membership.as_mut().unwrap().mesh = world.mesh(0).mesh_id().unwrap();
    let to = world.id(2);
    world.hosts[0].mesh.handle(now, Input::SnapshotWanted { to });
    let Some(Output::Snapshot { to: for_whom, index, data }) = world.hosts[0].mesh.poll() else {
        panic!("no snapshot")
    };
    assert_eq!((for_whom, index), (to, world.mesh(0).applied_index()));

    for bad in [data.slice(..data.len() - 1), Bytes::from_static(b"\xff\xff")] {
        fresh.handle(now, Input::Install { from: to, index, data: bad });
        assert!(matches!(outputs(&mut fresh)[..], [Output::Installed { taken: false }]));
    }
    // The state of another mesh is not taken either.
    let foreign = State { mesh: Some(MeshId(1)), ..world.mesh(0).state.clone() }.encode();
    fresh.handle(now, Input::Install { from: to, index, data: foreign });
    assert!(matches!(outputs(&mut fresh)[..], [Output::Installed { taken: false }]));
    fresh.handle(now, Input::Install { from: to, index, data: data.clone() });
    let seen = outputs(&mut fresh);
    assert!(
        matches!(&seen[0], Output::Persist(record) if record.head == data),
        "the state is in this step's row"
    );
    assert!(seen.iter().any(|o| matches!(o, Output::Installed { taken: true })));
    assert!(seen.iter().any(|o| matches!(o, Output::Roster(list) if list.len() == 3)));
    assert_eq!(seen.iter().filter(|o| matches!(o, Output::StreamOpened { .. })).count(), 2);
    assert_eq!(fresh.digest(), world.mesh(0).digest());
    fresh.check_invariants(Level::Full);
    fresh.handle(now, Input::Install { from: to, index, data });
    assert!(matches!(outputs(&mut fresh)[..], [Output::Installed { taken: false }]), "nothing goes back");
}

#[test]
fn a_snapshot_closes_what_it_does_not_have() {
    let mut world = World::grown(&["a", "b"]);
    world.command(0, open("s", "a", "b"));
    world.hosts[1].up = false;
    world.command(0, close("s"));
    world.command(0, open("t", "a", "b"));
    let (index, data) = world.state_of_first();
    world.hosts[1].up = true;
    world.install(1, index, data);
    let names: Vec<&str> = world.hosts[1].open.values().map(String::as_str).collect();
    assert_eq!(names, ["t"]);
    world.assert_equal();
}

#[test]
fn a_snapshot_closes_what_a_start_announced_and_no_entry_told_of() {
    let mut world = World::grown(&["a", "b"]);
    world.command(0, open("s", "a", "b"));
    world.hosts[1].up = false;
    world.command(0, close("s"));
    let (index, data) = world.state_of_first();
    world.hosts[1].up = true;
    world.quorum = false;
    world.restart(1);
    assert_eq!((world.hosts[1].open.len(), world.mesh(1).streams().count()), (1, 0));
    world.install(1, index, data);
    assert!(world.hosts[1].open.is_empty(), "{:?}", world.hosts[1].open);
    world.quorum = true;
    world.pump();
    world.assert_equal();
}

#[test]
fn a_snapshot_leaves_open_what_was_opened_behind_it() {
    let mut world = World::grown(&["a", "b"]);
    world.command(0, open("s", "a", "b"));
    let (index, data) = world.state_of_first();
    world.command(0, open("t", "a", "b"));
    world.quorum = false;
    world.restart(1);
    let announced = world.hosts[1].open.clone();
    assert_eq!((announced.len(), world.mesh(1).streams().count()), (2, 0));
    let (now, mut apart) = (world.now, world.hosts[1].mesh.clone());
    apart.handle(now, Input::Install { from: world.id(0), index, data: data.clone() });
    let closes = outputs(&mut apart).iter().any(|o| matches!(o, Output::StreamClosed { .. }));
    assert!(!closes, "its bytes and its log would go, and the entry would open it anew, empty");
    world.install(1, index, data);
    assert_eq!(world.hosts[1].open, announced);
    world.quorum = true;
    world.pump();
    world.assert_equal();
}

#[test]
fn the_log_is_cut_where_the_state_is_stored_and_a_restart_begins_there() {
    let mut world = World::grown(&["a", "b"]);
    for host in 0..2 {
        world.hosts[host].config.compact_after = 4;
        world.hosts[host].mesh.config.compact_after = 4;
    }
    for number in 0..10 {
        world.command(1, open(&alloc::format!("s{number}"), "a", "b"));
    }
    let cut = world.hosts[1].compacted.unwrap();
    assert!(cut.0 >= 8);
    let before = world.mesh(1).digest();
    world.quorum = false;
    world.restart(1);
    assert_eq!(world.mesh(1).applied_index(), cut, "M11");
    world.quorum = true;
    world.pump();
    assert_eq!(world.mesh(1).digest(), before);
    world.assert_equal();
}

#[test]
fn damaged_records_are_refused_by_name() {
    let mut world = World::grown(&["a", "b"]);
    let config = world.hosts[0].config.clone();
    let disk = world.hosts[0].disk.clone();
    for ((space, id, slot), _) in disk {
        let mut mesh = world.start(&config, config.key.first_node_id());
        let key = Key { owner: Owner::Mesh, space, id, slot };
        let damaged = mesh.restore(&key, slot, b"\xff\xff\xff", 0).unwrap_err();
        assert_eq!(damaged.key, key);
    }
    let key = Key { owner: Owner::Mesh, space: 99, id: 0, slot: 0 };
    assert!(world.start(&config, config.key.first_node_id()).restore(&key, 0, b"", 0).is_err());
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng::stream([5; 32], Purpose::Link);
    let mut world = World::grown(&["a", "b"]);
    world.command(0, open("s", "a", "b"));
    let samples = [
        world.mesh(0).state.encode(),
        JoinMessage::Rejected { reason: "no".into(), retry: true, bar: None }.encode(),
        Message::Answer { request: Request(1), verdict: wire::Verdict::Busy }.encode(),
    ];
    for round in 0..3_000 {
        let mut bytes = samples[round % samples.len()].to_vec();
        for _ in 0..rng.between(1, 4) {
            let place = rng.below(bytes.len() as u64) as usize;
            bytes[place] = rng.u64() as u8;
        }
        bytes.truncate(rng.between(0, bytes.len() as u64) as usize);
        let _ = Message::decode(&bytes);
        let _ = JoinMessage::decode(&bytes);
        let _ = entry::Entry::decode(&bytes);
        if let Ok(state) = State::decode(&bytes) {
            assert_eq!(State::decode(&state.encode()), Ok(state));
        }
    }
}

#[test]
fn answers_survive_the_wire() {
    let verdicts = [
        wire::Verdict::Busy,
        wire::Verdict::NotLeader(None),
        wire::Verdict::NotLeader(Some(NodeId(3))),
        wire::Verdict::Refused("no".into()),
    ];
    for verdict in verdicts {
        let message = Message::Answer { request: Request(9), verdict };
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
    let long = JoinMessage::Rejected { reason: "x".repeat(2_000), retry: false, bar: None };
    assert_eq!(JoinMessage::decode(&long.encode()), Err(Malformed("a text is too long")));
}
