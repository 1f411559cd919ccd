//! Targets that stand still are detached, if their stream says so (M87).

use super::*;
use crate::ends::Terms;
use crate::flow::{FailedAt, FlowChange, FlowWish, Which};
use crate::id::{AuthorityEpoch, Sequence};
use crate::members::{ChangeKind, MembersWish, StreamMembers};

const BEARS: Span = Span::secs(60);

impl World {
    /// A stream from a to b, c and d.
    fn open_detaching(&mut self, name: &str, policy: Policy<String>, detach_after: Span) -> StreamInstance {
        self.open_with(name, Terms { policy, detach_after, ..Terms::default() })
    }

    fn open_with(&mut self, name: &str, terms: Terms<String>) -> StreamInstance {
        let (name, source) = (name.to_string(), "a".into());
        let targets = ["b", "c", "d"].map(String::from).into();
        let open = |request| Input::OpenStream { request, name, source, targets, terms };
        let request = self.command(0, open);
        match self.reply(0, request) {
            Some(Ok(Reply::StreamOpened { instance, .. })) => instance,
            other => panic!("{other:?}"),
        }
    }

    /// A host, under that authority, says of another that it stood still for so long.
    fn says_idle(
        &mut self,
        host: usize,
        instance: StreamInstance,
        authority: u64,
        target: usize,
        idle: Span,
    ) {
        let (authority, target) = (AuthorityEpoch(authority), self.id(target));
        self.inbox.push_back((host, Input::TargetIdle { instance, authority, target, idle }));
        self.pump();
    }

    fn change_of(&self, instance: StreamInstance) -> StreamMembers {
        self.hosts[0].members.get(&instance).cloned().unwrap_or_default()
    }
}

#[test]
fn a_target_that_stands_still_is_detached_by_the_word_of_a_member_of_a_stream_that_says_so() {
    let mut world = World::grown(&["a", "b", "c", "d", "e"]);
    let quiet = world.open_detaching("quiet", Policy::All, Span::ZERO);
    world.says_idle(0, quiet, 0, 3, Span::secs(1 << 30));
    assert_eq!(world.change_of(quiet), StreamMembers::default(), "nobody asked for that");
    let instance = world.open_detaching("words", Policy::All, BEARS);
    world.says_idle(0, instance, 0, 3, Span::secs(59));
    world.says_idle(4, instance, 0, 3, BEARS);
    world.says_idle(0, instance, 1, 3, BEARS);
    world.says_idle(0, instance, 0, 4, BEARS);
    world.says_idle(0, instance, 0, 0, BEARS);
    assert_eq!(
        world.change_of(instance),
        StreamMembers::default(),
        "too early, a stranger's word, another authority"
    );
    world.says_idle(1, instance, 0, 3, Span::secs(61));
    let change = world.change_of(instance).change.expect("it is on its way out");
    assert_eq!((change.node, change.kind), (world.id(3), ChangeKind::Detach));
    assert_eq!(change.reason, "it processed nothing for 60 s");
    world.says_idle(1, instance, 0, 2, BEARS);
    assert_eq!(world.change_of(instance).change, Some(change), "one after the other");
}

#[test]
fn nobody_is_detached_from_a_stream_that_fails_or_where_it_is_the_last() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    let terms = Terms { poison: Poison::Fail { attempts: 2 }, detach_after: BEARS, ..Terms::default() };
    let instance = world.open_with("words", terms);
    let failed = FailedAt { sequence: Sequence(5), attempts: 2, reason: "no".into(), resumed: 0 };
    world.inbox.push_back((1, Input::StreamFailed { instance, failed }));
    world.pump();
    world.says_idle(0, instance, 0, 1, BEARS);
    assert_eq!(world.change_of(instance).change, None, "it waits for an operator");
    let wish = FlowWish { which: Which::Stream("words".into()), change: FlowChange::Resume };
    world.command(0, |request| Input::ChangeFlow { request, wish });
    for target in [1, 2] {
        world.says_idle(0, instance, 0, target, BEARS);
        let number = world.change_of(instance).change.expect("others are left").number;
        let done = Input::MembersChanged { instance, authority: AuthorityEpoch(0), number, first: None };
        world.inbox.push_back((0, done));
        world.pump();
    }
    world.says_idle(0, instance, 0, 3, BEARS);
    assert_eq!((world.change_of(instance).change, world.change_of(instance).out.len()), (None, 2));
}

#[test]
fn nobody_is_detached_for_that_without_whom_the_policy_cannot_be_met() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    let named = Policy::Named(["c".to_string()].into());
    for (name, policy, target, goes) in [
        ("three", Policy::Count(3), 3, true),
        ("two", Policy::Count(2), 3, true),
        ("named", named.clone(), 2, false),
        ("others", named, 3, true),
    ] {
        let instance = world.open_detaching(name, policy, BEARS);
        world.says_idle(0, instance, 0, target, BEARS);
        assert_eq!(world.change_of(instance).change.is_some(), goes, "{name}");
    }
    // Of the two that are left of a stream that asks for two, an operator takes one out, and nobody else does.
    let instance = world.open_detaching("few", Policy::Count(2), BEARS);
    world.says_idle(0, instance, 0, 3, BEARS);
    let number = world.change_of(instance).change.expect("two are left").number;
    let done = Input::MembersChanged { instance, authority: AuthorityEpoch(0), number, first: None };
    world.inbox.push_back((0, done));
    world.pump();
    assert!(world.change_of(instance).change.is_none() && world.change_of(instance).out.len() == 1);
    world.says_idle(0, instance, 0, 2, BEARS);
    assert_eq!(world.change_of(instance).change, None);
    let (stream, target) = ("few".into(), "c".into());
    let wish = MembersWish { stream, target, kind: ChangeKind::Detach, reason: "gone".into() };
    world.command(0, |request| Input::ChangeMembers { request, wish });
    assert_eq!(world.change_of(instance).change.map(|change| change.node), Some(world.id(2)));
}
