use super::*;
use crate::agreed::{ConfigCommand, Consistency, Expected};
use crate::node::output::MeshMode;

/// The hosts that one of them cannot reach from now on.
pub(super) fn cut(world: &mut World, host: usize, away: &[usize]) {
    world.hosts[host].unreached = away.iter().map(|&other| world.id(other)).collect();
    world.inbox.push_back((host, Input::RoutesChanged));
    world.pump();
}

fn mode(world: &World, host: usize) -> Option<MeshMode> {
    world.mesh(host).standing().map(|standing| standing.mode)
}

#[test]
fn fewer_than_half_away_is_degraded_and_half_is_critical() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.pass(Span::secs(10));
    assert_eq!(mode(&world, 0), Some(MeshMode::Healthy));
    for (away, expected) in [
        (&[3][..], MeshMode::Degraded),
        (&[2, 3], MeshMode::Critical),
        (&[1, 2, 3], MeshMode::Critical),
        (&[], MeshMode::Healthy),
    ] {
        cut(&mut world, 0, away);
        world.pass(Span::secs(5));
        assert_eq!(mode(&world, 0), Some(expected), "{} of 4 are away", away.len());
    }
    let standing = world.mesh(0).standing().unwrap();
    assert_eq!((standing.unreachable, standing.members, standing.quorum), (0, 4, true));
}

#[test]
fn what_passes_by_itself_changes_no_mode() {
    let mut world = World::grown(&["a", "b"]);
    world.pass(Span::secs(10));
    for _ in 0..10 {
        cut(&mut world, 0, &[1]);
        world.pass(Span::millis(1_200));
        assert_eq!(mode(&world, 0), Some(MeshMode::Healthy), "M31");
        cut(&mut world, 0, &[]);
        world.pass(Span::millis(1_200));
    }
}

#[test]
fn without_a_leader_the_mesh_is_critical_and_read_only() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(10));
    world.lead(None);
    world.pass(Span::secs(5));
    let standing = world.mesh(1).standing().unwrap();
    assert_eq!((standing.mode, standing.quorum, standing.unreachable), (MeshMode::Critical, false, 0));
    // A leader that no path leads to is none.
    world.lead(Some(0));
    world.pass(Span::secs(5));
    assert_eq!(mode(&world, 2), Some(MeshMode::Healthy));
    cut(&mut world, 2, &[0]);
    world.pass(Span::secs(5));
    let standing = world.mesh(2).standing().unwrap();
    assert_eq!((standing.mode, standing.quorum), (MeshMode::Critical, false));
}

#[test]
fn leaders_that_follow_each_other_leave_the_mesh_as_it_is() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(10));
    for turn in 0..10 {
        // Each look falls into a moment without a leader, and still there was one in between.
        world.lead(None);
        world.pass(Span::millis(600));
        world.lead(Some(turn % 3));
        world.pass(Span::millis(400));
        for host in 0..3 {
            assert_eq!(mode(&world, host), Some(MeshMode::Healthy), "M31");
        }
    }
}

#[test]
fn whoever_leads_does_not_forbid_for_want_of_a_leader() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(10));
    world.lead(None);
    world.pass(Span::secs(5));
    assert_eq!(mode(&world, 0), Some(MeshMode::Critical));
    world.lead(Some(0));
    let command = ConfigCommand::Set { key: "k".into(), value: Bytes::new(), expected: Expected::Any };
    let request = world.command(1, |request| Input::Config { request, command });
    assert!(matches!(world.reply(1, request), Some(Ok(Reply::Config(_)))), "{:?}", world.reply(1, request));
}

#[test]
fn a_critical_mesh_changes_nothing_but_lets_go_of_members() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.command(0, open("before", "a", "b"));
    world.pass(Span::secs(10));
    let request = world.command(0, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
    cut(&mut world, 0, &[2, 3]);
    world.pass(Span::secs(5));
    let refusal = Err(Refusal::Critical { unreachable: 2, members: 4 });
    let request = world.command(1, open("words", "a", "b"));
    // A copy of what was refused is not done later either.
    let copy = world.forwarded.clone();
    assert_eq!(world.reply(1, request), Some(refusal.clone()));
    let request = world.command(0, close("before"));
    assert_eq!(world.reply(0, request), Some(refusal));
    let command = ConfigCommand::Set { key: "k".into(), value: Bytes::new(), expected: Expected::Any };
    let request = world.command(1, |request| Input::Config { request, command });
    assert_eq!(world.reply(1, request), Some(Err(Refusal::Critical { unreachable: 2, members: 4 })));
    let consistency = Consistency::Linearizable;
    let command = ConfigCommand::Get { key: "k".into(), consistency };
    let request = world.command(1, |request| Input::Config { request, command });
    assert!(matches!(world.reply(1, request), Some(Ok(Reply::Config(_)))), "it may be read");
    let stranger = world.add("e");
    let joining = world.ask(stranger, |request| Input::Join { request, token: token.clone() });
    world.pump();
    world.pass(Span::secs(5));
    assert_eq!((world.reply(stranger, joining), world.mesh(0).member_count()), (None, 4));
    let request = world.command(1, |request| Input::Evict { request, member: "d".into() });
    world.pass(Span::secs(1));
    assert!(
        matches!(world.reply(1, request), Some(Ok(Reply::Evicted { .. }))),
        "{:?}",
        world.reply(1, request)
    );
    cut(&mut world, 0, &[2]);
    world.pass(Span::secs(5));
    assert_eq!(mode(&world, 0), Some(MeshMode::Degraded));
    let Some(message @ Message::Forward { .. }) = copy else { panic!("nothing was forwarded") };
    let from = world.id(1);
    world.inbox.push_back((0, Input::Message { from, message }));
    world.pump();
    assert!(world.mesh(0).stream("words").is_none(), "M4");
    world.pass(Span::secs(30));
    assert!(
        matches!(world.reply(stranger, joining), Some(Ok(Reply::Joined { .. }))),
        "it came through at last"
    );
    let request = world.command(1, open("words", "a", "b"));
    assert!(matches!(world.reply(1, request), Some(Ok(Reply::StreamOpened { created: true, .. }))));
    world.assert_equal();
}

#[test]
fn without_a_leader_what_nobody_was_asked_for_is_refused_at_once_and_what_was_sent_waits() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(10));
    world.quorum = false;
    let sent = world.command(1, open("sent", "a", "b"));
    world.lead(None);
    let early = world.command(1, open("early", "a", "b"));
    world.pass(Span::secs(1));
    assert_eq!(world.reply(1, early), None, "one may be elected");
    world.pass(Span::secs(3));
    let late = world.command(1, open("late", "a", "b"));
    for refused in [early, late] {
        assert_eq!(world.reply(1, refused), Some(Err(Refusal::NoQuorum)));
    }
    assert_eq!(world.reply(1, sent), None, "it may be done");
    world.quorum = true;
    world.lead(Some(0));
    let led = world.command(1, open("led", "a", "b"));
    world.pass(Span::secs(1));
    for done in [sent, led] {
        assert!(matches!(world.reply(1, done), Some(Ok(_))), "{:?}", world.reply(1, done));
    }
}
