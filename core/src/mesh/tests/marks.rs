use super::*;
use crate::mesh::marks::Marks;
use crate::mesh::store::{Space, member_record, read_member};

/// A mesh whose first member has admitted all others since its state was stored, and its records.
fn grown() -> World {
    World::grown(&["a", "b", "c", "d"])
}

fn marked(world: &World, host: usize) -> Vec<u128> {
    let marks = world.hosts[host].disk.keys().filter(|(space, ..)| *space == Space::Member as u8);
    marks.map(|(_, id, _)| *id).collect()
}

fn known(mesh: &Mesh) -> Vec<NodeId> {
    mesh.roster().iter().map(|entry| entry.node).collect()
}

#[test]
fn a_start_knows_who_came_since_the_stored_state_and_the_log_tells_the_rest() {
    let mut world = grown();
    let ids: Vec<u128> = (1..4).map(|host| world.id(host).0).collect();
    let mut expected = ids.clone();
    expected.sort_unstable();
    assert_eq!(marked(&world, 0), expected, "each came after the founder's state was stored, and is marked");
    let before = known(world.mesh(0));
    let stored = world.mesh(0).stored;
    // Nobody tells anything: what is known is from the disk.
    world.lead(None);
    world.restart(0);
    let mesh = world.mesh(0);
    assert_eq!((mesh.applied_index(), mesh.state.members.len()), (stored, 1));
    assert_eq!(known(mesh), before);
    for host in 0..4 {
        let node = world.id(host);
        assert!(mesh.is_member(node) && !mesh.accepted_keys(node).is_empty() && mesh.member(node).is_some());
    }
    assert_eq!(mesh.members().count(), 4);
    mesh.check_invariants(Level::Full);
    world.lead(Some(0));
    world.pass(Span::secs(5));
    assert_eq!(known(world.mesh(0)), before);
    world.assert_equal();
    assert_eq!(marked(&world, 0), expected, "told again, and not written again");
    world.mesh(0).check_invariants(Level::Full);
}

#[test]
fn a_stored_state_makes_an_end_of_the_marks_it_covers() {
    let mut world = grown();
    let member = world.mesh(0).state.members.values().next_back().cloned().expect("there");
    let mut mesh = world.hosts.remove(0).mesh;
    let _: Vec<Output> = core::iter::from_fn(|| mesh.poll()).collect();
    mesh.stored = mesh.state.applied;
    mesh.drop_marks();
    let over = core::iter::from_fn(|| mesh.poll());
    assert_eq!(over.filter(|output| matches!(output, Output::Forget(_))).count(), 3);
    mesh.check_invariants(Level::Full);
    // A mark that comes back after it was forgotten is older than the state: a start takes no notice of it.
    let mut marks = Marks::default();
    marks.recall(mesh.stored, Member { name: "old".into(), ..member.clone() });
    mesh.marks = marks;
    mesh.drop_marks();
    assert_eq!(mesh.member(member.node), Some(&member));
    mesh.check_invariants(Level::Full);
}

#[test]
fn a_mark_of_a_later_change_stays_while_the_log_tells_of_an_earlier_one() {
    let mut world = grown();
    let mut mesh = world.hosts.remove(0).mesh;
    let member = mesh.state.members.values().next_back().cloned().expect("there");
    let _: Vec<Output> = core::iter::from_fn(|| mesh.poll()).collect();
    // The last life knew of a change that this one has not come to yet.
    let changed = Member { name: "changed".into(), ..member.clone() };
    mesh.marks.recall(mesh.state.applied.next(), changed.clone());
    mesh.mark_members(&[(member.node, member.index)]);
    assert!(mesh.poll().is_none(), "what is older is not written over it");
    mesh.drop_recalled(&[]);
    assert_eq!(mesh.member(member.node), Some(&changed));
    mesh.check_invariants(Level::Full);
}

#[test]
fn a_mark_that_makes_no_sense_is_refused() {
    let world = grown();
    let member = world.mesh(0).member(world.id(1)).expect("there");
    let (id, head) = (member.node.0, member_record(member.index, member).head);
    assert_eq!(read_member(id, &head).expect("good"), (member.index, member.clone()));
    assert!(read_member(id + 1, &head).is_err(), "another node's");
    assert!(read_member(id, &head[..head.len() - 1]).is_err(), "cut off");
    assert!(read_member(id, &[]).is_err(), "nobody's");
    let early = member_record(LogIndex(member.index.0 - 1), member).head;
    assert!(read_member(id, &early).is_err(), "older than what it marks");
}
