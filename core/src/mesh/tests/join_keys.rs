use super::*;
use crate::agreed::{ConfigCommand, ConfigReply, Expected, KeyStatus};
use crate::mesh::entry::Body;
use crate::mesh::handlers::JOIN_POLICY;
use crate::mesh::token::JoinToken;
use crate::node::command::JoinBar;

impl World {
    fn rotate(&mut self, host: usize, lifetime: Option<Span>, uses: Option<u32>) -> String {
        let command = ConfigCommand::RotateKey { lifetime, uses };
        let request = self.command(host, |request| Input::Config { request, command });
        match self.reply(host, request) {
            Some(Ok(Reply::Config(ConfigReply::KeyRotated { text, .. }))) => text,
            other => panic!("no key: {other:?}"),
        }
    }

    fn policy(&mut self, policy: &'static str) {
        let value = Bytes::from_static(policy.as_bytes());
        let command = ConfigCommand::Set { key: JOIN_POLICY.into(), value, expected: Expected::Any };
        let request = self.command(0, |request| Input::Config { request, command });
        assert!(matches!(self.reply(0, request), Some(Ok(_))));
    }

    fn key(&self) -> KeyStatus {
        self.mesh(0).state.join_key.as_ref().expect("a key").status()
    }

    /// Joins with it, and must be let in.
    fn joins(&mut self, host: usize, text: &str) {
        let reply = self.join(host, text);
        assert!(matches!(reply, Some(Ok(Reply::Joined { .. }))), "{reply:?}");
    }

    /// Joins with it, and must be barred.
    fn barred(&mut self, host: usize, text: &str) -> JoinBar {
        match self.join(host, text) {
            Some(Err(Refusal::JoinBarred { bar, reason })) => {
                assert!(reason.contains("ask for") || reason.contains("nobody can join"), "{reason}");
                bar
            }
            other => panic!("not barred: {other:?}"),
        }
    }
}

#[test]
fn one_key_lets_in_through_every_door_and_its_uses_are_counted_together() {
    let mut world = World::grown(&["a", "b"]);
    for name in ["c", "d", "e"] {
        world.add(name);
    }
    let text = world.rotate(1, None, Some(2));
    let doors = JoinToken::parse(&text).unwrap();
    assert_eq!((doors.node, doors.others.len()), (world.id(1), 1), "who rotates it comes first");
    world.joins(2, &text);
    assert_eq!(world.mesh(0).member(world.id(2)).unwrap().admitter, world.id(1));
    // The first door does not answer: the next one does.
    world.hosts[1].up = false;
    let request = world.command(3, |request| Input::Join { request, token: text.clone() });
    world.pass(Span::secs(10));
    assert!(matches!(world.reply(3, request), Some(Ok(Reply::Joined { .. }))));
    assert_eq!(world.mesh(0).member(world.id(3)).unwrap().admitter, world.id(0));
    world.hosts[1].up = true;
    world.pump();
    assert_eq!(world.key().used, 2);
    assert_eq!(world.barred(4, &text), JoinBar::ExhaustedKey);
    let next = world.rotate(0, None, None);
    assert_eq!(world.barred(4, &text), JoinBar::WrongKey, "the old one is good no longer");
    world.joins(4, &next);
    world.assert_equal();
}

#[test]
fn nobody_keeps_the_secret() {
    let mut world = World::grown(&["a", "b"]);
    world.add("c");
    let text = world.rotate(0, None, None);
    let secret = JoinToken::parse(&text).unwrap().secret;
    world.joins(2, &text);
    let verifier = secret.verifier();
    let holds =
        |bytes: &[u8]| [secret.0, verifier.0].iter().any(|known| bytes.windows(32).any(|w| w == known));
    let logged = world.log.iter().any(|entry| matches!(entry, Logged::Command(data, _) if holds(data)));
    assert!(!logged, "M19: not in the log");
    for host in 0..2 {
        assert!(!holds(&world.mesh(host).state.encode()), "M19: not in the state");
        assert!(world.hosts[host].disk.values().all(|(_, bytes)| !holds(bytes)), "M19: not on a disk");
        assert!(world.mesh(host).secrets.is_empty());
    }
}

#[test]
fn a_key_expires_by_the_clock_of_the_door_and_by_the_time_in_the_log() {
    let mut world = World::grown(&["a", "b"]);
    for name in ["c", "d"] {
        world.add(name);
    }
    let text = world.rotate(0, Some(Span::secs(60)), None);
    world.joins(2, &text);
    world.pass(Span::secs(61));
    assert_eq!(world.barred(3, &text), JoinBar::ExpiredKey, "nothing was written since");
    world.command(0, open("s", "a", "b"));
    assert_eq!(world.barred(3, &text), JoinBar::ExpiredKey);
    let key = world.mesh(0).state.join_key.clone().unwrap();
    let late = world.mesh(0).state.may_join(world.id(3), false, Some(key.version));
    assert!(matches!(late, Err(Refusal::JoinBarred { bar: JoinBar::ExpiredKey, .. })));
}

#[test]
fn a_closed_mesh_lets_nobody_in_and_an_open_one_asks_for_no_secret() {
    let mut world = World::grown(&["a", "b"]);
    for name in ["c", "d"] {
        world.add(name);
    }
    let request = world.command(0, |request| Input::Invite { request });
    let Some(Ok(Reply::Token { token })) = world.reply(0, request) else { panic!("no token") };
    let key = world.rotate(0, None, Some(1));
    world.policy("closed");
    assert_eq!(world.barred(2, &key), JoinBar::Closed);
    assert_eq!(world.barred(2, &token), JoinBar::Closed);
    world.policy("open");
    world.rotate(0, None, None);
    world.joins(2, &key);
    assert_eq!(world.key().used, 0, "none was asked for");
    world.policy("key_required");
    assert_eq!(world.barred(3, &key), JoinBar::WrongKey);
    world.joins(3, &token);
    world.assert_equal();
}

#[test]
fn an_admission_on_its_way_is_refused_by_the_policy_that_stands_when_it_is_applied() {
    let mut world = World::grown(&["a", "b"]);
    world.add("c");
    let text = world.rotate(0, None, None);
    world.quorum = false;
    let value = Bytes::from_static(b"closed");
    let command = ConfigCommand::Set { key: JOIN_POLICY.into(), value, expected: Expected::Any };
    world.command(0, |request| Input::Config { request, command });
    let request = world.command(2, |request| Input::Join { request, token: text.clone() });
    assert_eq!(world.reply(2, request), None, "its admission is in the log behind the policy");
    world.quorum = true;
    world.pump();
    let reply = world.reply(2, request);
    assert!(matches!(reply, Some(Err(Refusal::JoinBarred { bar: JoinBar::Closed, .. }))), "{reply:?}");
    assert!(world.mesh(0).member(world.id(2)).is_none());
    world.assert_equal();
}

#[test]
fn of_two_admissions_at_once_the_log_grants_the_last_use_to_one() {
    let mut world = World::grown(&["a", "b"]);
    for name in ["c", "d"] {
        world.add(name);
    }
    let text = world.rotate(0, None, Some(1));
    let asked: Vec<RequestId> =
        [2, 3].map(|host| world.ask(host, |request| Input::Join { request, token: text.clone() })).into();
    world.pump();
    let replies: Vec<_> =
        [2, 3].into_iter().zip(asked).map(|(host, asked)| world.reply(host, asked)).collect();
    let joined = replies.iter().filter(|reply| matches!(reply, Some(Ok(_)))).count();
    let barred = |reply: &&Option<Result<Reply, Refusal>>| {
        matches!(reply, Some(Err(Refusal::JoinBarred { bar: JoinBar::ExhaustedKey, .. })))
    };
    assert_eq!((joined, replies.iter().filter(barred).count()), (1, 1), "{replies:?}");
    assert_eq!(world.key().used, 1);
    world.assert_equal();
}

#[test]
fn a_joiner_tells_the_secret_to_nobody_but_a_door() {
    let mut world = World::grown(&["a", "b"]);
    world.add("c");
    world.add("thief");
    let text = world.rotate(0, None, None);
    world.impostor = Some((0, 3));
    let reply = world.join(2, &text);
    assert!(matches!(reply, Some(Err(Refusal::Impostor(_)))), "M8: {reply:?}");
    assert_eq!(world.hosts[3].mesh.admissions.len(), 0);
}

#[test]
fn a_key_survives_restarts_and_its_text_a_slip_is_told_from_a_wrong_one() {
    let mut world = World::grown(&["a", "b"]);
    world.add("c");
    let text = world.rotate(1, None, Some(5));
    world.restart(0);
    world.restart(1);
    assert_eq!(world.key().uses, Some(5));
    let mistyped: String = text.chars().take(text.len() - 1).collect();
    assert!(matches!(world.join(2, &mistyped), Some(Err(Refusal::BadToken(_)))));
    world.joins(2, &text);
    for (lifetime, uses) in [(Some(Span::ZERO), None), (None, Some(0)), (Some(Span(u64::MAX)), None)] {
        let command = ConfigCommand::RotateKey { lifetime, uses };
        let request = world.command(0, |request| Input::Config { request, command });
        assert!(matches!(world.reply(0, request), Some(Err(Refusal::Invalid(_)))));
    }
    let entries = world.log.len();
    let body = Body::RotateKey { salt: [0; 16], hash: [0; 32], lifetime: None, uses: Some(0) };
    let (request, seen) = (crate::mesh::entry::Request(9), world.mesh(1).applied_index());
    let message = Message::Forward { request, seen, body: alloc::boxed::Box::new(body) };
    let from = world.id(1);
    world.inbox.push_back((0, Input::Message { from, message }));
    world.pump();
    assert_eq!(world.log.len(), entries, "the leader looks, too");
}

#[test]
fn who_left_comes_back_only_with_a_key_made_since_and_waits_for_nothing_meanwhile() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.pass(Span::secs(2));
    let old = world.rotate(0, None, None);
    let after = Some(world.mesh(3).applied_index());
    let watch = ConfigCommand::Watch { prefix: String::new(), after };
    let watching = world.command(3, |request| Input::Config { request, command: watch });
    let leaving = world.command(3, |request| Input::Leave { request, force: true });
    world.pass(Span::secs(5));
    assert_eq!(world.reply(3, leaving), Some(Ok(Reply::Left)));
    assert_eq!(world.reply(3, watching), Some(Err(Refusal::NotMember)));
    world.policy("open");
    for policy in ["open", "key_required"] {
        world.policy(policy);
        let reply = world.join(3, &old);
        let Some(Err(Refusal::JoinRefused(reason))) = reply else { panic!("M26: {reply:?}") };
        assert!(reason.contains("made before"), "{reason}");
    }
    let new = world.rotate(1, None, None);
    world.joins(3, &new);
    world.assert_equal();
}
