use super::*;
use crate::ends::Terms;
use crate::flow::{Failed, FailedAt, FlowChange, FlowTold, FlowWish, Which};
use crate::id::Sequence;

fn at(sequence: u64, resumed: u64) -> FailedAt {
    FailedAt { sequence: Sequence(sequence), attempts: 2, reason: "no".into(), resumed }
}

impl World {
    /// A stream from a to b and c.
    fn open_between(&mut self, name: &str, poison: Poison) -> StreamInstance {
        let (name, targets) = (name.to_string(), Vec::from(["b".to_string(), "c".to_string()]));
        let (source, terms) = ("a".into(), Terms { poison, ..Terms::default() });
        let open = |request| Input::OpenStream { request, name, source, targets, terms };
        let request = self.command(0, open);
        match self.reply(0, request) {
            Some(Ok(Reply::StreamOpened { instance, .. })) => instance,
            other => panic!("{other:?}"),
        }
    }

    fn says(&mut self, host: usize, instance: StreamInstance, failed: FailedAt) {
        self.inbox.push_back((host, Input::StreamFailed { instance, failed }));
        self.pump();
    }

    fn resume(&mut self, which: Which) -> FlowTold {
        let wish = FlowWish { which, change: FlowChange::Resume };
        let request = self.command(0, |request| Input::ChangeFlow { request, wish });
        match self.reply(0, request) {
            Some(Ok(Reply::Flow(told))) => *told,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&self, instance: StreamInstance) -> Option<Failed> {
        let all: Vec<_> = self.hosts.iter().map(|host| host.rules.failed(instance).cloned()).collect();
        assert!(all.windows(2).all(|two| two[0] == two[1]), "all say the same: {all:?}");
        all[0].clone()
    }
}

/// M86.
#[test]
fn a_stream_fails_once_for_each_time_that_it_was_resumed() {
    let mut world = World::grown(&["a", "b", "c"]);
    let instance = world.open_between("words", Poison::Fail { attempts: 2 });
    world.says(0, instance, at(5, 0));
    assert_eq!(world.failure(instance), None, "the source is no target");
    world.says(1, instance, at(5, 0));
    let failed = world.failure(instance).expect("it failed");
    assert_eq!((failed.target, failed.at), (world.id(1), at(5, 0)));
    world.says(2, instance, at(4, 0));
    assert_eq!(world.failure(instance).expect("as before").target, world.id(1), "the first word counts");
    let told = world.resume(Which::Below(i32::MAX));
    assert!(told.rule.is_empty() && world.failure(instance).is_some(), "that is about something else");
    let told = world.resume(Which::Stream("words".into()));
    assert_eq!((told.rule.is_empty(), told.resumed, world.failure(instance)), (true, 1, None));
    for host in [1, 2] {
        assert_eq!(world.hosts[host].resumed.get(&instance), Some(&1));
        world.says(host, instance, at(5, 0));
        assert_eq!(world.failure(instance), None, "it was said before the resume");
    }
    assert_eq!(world.resume(Which::Stream("words".into())).resumed, 1, "it had not failed");
    world.says(2, instance, at(4, 1));
    assert_eq!(world.failure(instance).expect("it failed again").at, at(4, 1));
    for host in 0..3 {
        world.mesh(host).check_invariants(Level::Full);
        let state = &world.mesh(host).state;
        assert_eq!(State::decode(&state.encode()).as_ref(), Ok(state));
    }
    world.restart(2);
    assert_eq!(world.failure(instance).expect("a start knows").at, at(4, 1));
    assert_eq!(world.hosts[2].resumed.get(&instance), Some(&1));
}

#[test]
fn only_a_stream_that_was_opened_so_fails_and_who_knows_of_more_resumes_is_heard() {
    let mut world = World::grown(&["a", "b", "c"]);
    let instance = world.open_between("words", Poison::Park { attempts: 2 });
    world.says(1, instance, at(5, 0));
    assert_eq!(world.failure(instance), None);
    let instance = world.open_between("others", Poison::Fail { attempts: 2 });
    world.says(1, instance, at(5, 7));
    assert!(world.failure(instance).is_some(), "a recovery of the mesh forgets its newest entries");
    assert_eq!(world.resume(Which::Stream("others".into())).resumed, 8, "and a resume is one all the same");
    world.says(1, instance, at(5, 7));
    assert_eq!(world.failure(instance), None);
    let request = world.command(0, close("others"));
    assert_eq!(world.reply(0, request), Some(Ok(Reply::StreamClosed)));
    world.says(1, instance, at(5, 9));
    assert_eq!(world.failure(instance), None, "nothing is said of a stream that is closed");
}
