use alloc::boxed::Box;

use super::*;
use crate::agreed::{
    CONFIG_BYTES_MAX, ConfigChange, ConfigCommand, ConfigRefusal, ConfigReply, Consistency, Expected,
    KEYS_MAX, VALUE_BYTES_MAX,
};
use crate::mesh::entry::{Body, Entry, Request};
use crate::mesh::handlers::DESCRIPTION;
use crate::mesh::state::Effect;
use crate::mesh::table::Table;

/// Whether it is a listing, keys with what they hold now, and up to where that is told.
type Seen = (bool, Vec<(String, Option<String>)>, LogIndex);
type Told = Result<ConfigReply, ConfigRefusal>;

impl World {
    fn config(&mut self, host: usize, command: ConfigCommand) -> RequestId {
        self.command(host, |request| Input::Config { request, command })
    }

    fn told(&self, host: usize, request: RequestId) -> Option<Told> {
        self.reply(host, request).map(|reply| match reply {
            Ok(Reply::Config(reply)) => Ok(reply),
            Err(Refusal::Config(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        })
    }

    /// Asks, and expects an answer at once.
    fn tell(&mut self, host: usize, command: ConfigCommand) -> Told {
        let request = self.config(host, command);
        self.told(host, request).expect("answered at once")
    }

    fn written(&mut self, host: usize, key: &str, value: &str) -> LogIndex {
        version(self.tell(host, set(key, value, Expected::Any)))
    }

    fn read(&mut self, host: usize, key: &str) -> Option<String> {
        text(self.tell(host, get(key, Consistency::Linearizable)))
    }

    fn listed(&mut self, host: usize, prefix: &str, after: &str, limit: u32) -> (Vec<String>, bool) {
        let consistency = Consistency::Linearizable;
        let (prefix, after) = (prefix.into(), after.into());
        match self.tell(host, ConfigCommand::List { prefix, after, limit, consistency }) {
            Ok(ConfigReply::Listed { records, more, .. }) => {
                (records.into_iter().map(|record| record.key).collect(), more)
            }
            other => panic!("{other:?}"),
        }
    }

    fn watch(&mut self, host: usize, prefix: &str, after: Option<LogIndex>) -> RequestId {
        self.config(host, ConfigCommand::Watch { prefix: prefix.into(), after })
    }

    fn seen(&self, host: usize, watch: RequestId) -> Option<Seen> {
        self.told(host, watch).map(|told| match told {
            Ok(ConfigReply::Changes { fresh, changes, upto }) => {
                (fresh, changes.into_iter().map(shown).collect(), upto)
            }
            other => panic!("{other:?}"),
        })
    }

    fn entries(&self, wanted: impl Fn(&Body) -> bool) -> usize {
        let body = |logged: &Logged| match logged {
            Logged::Command(data, _) => Some(Entry::decode(data).unwrap().body),
            Logged::Configuration(_) => None,
        };
        self.log.iter().filter_map(body).filter(wanted).count()
    }
}

fn set(key: &str, value: &str, expected: Expected) -> ConfigCommand {
    ConfigCommand::Set { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), expected }
}

fn delete(key: &str, expected: Expected) -> ConfigCommand {
    ConfigCommand::Delete { key: key.into(), expected }
}

fn get(key: &str, consistency: Consistency) -> ConfigCommand {
    ConfigCommand::Get { key: key.into(), consistency }
}

fn version(told: Told) -> LogIndex {
    match told {
        Ok(ConfigReply::Written { version } | ConfigReply::Deleted { version }) => version,
        other => panic!("not written: {other:?}"),
    }
}

fn text(told: Told) -> Option<String> {
    match told {
        Ok(ConfigReply::Record { record, .. }) => {
            record.map(|record| String::from_utf8(record.value.to_vec()).unwrap())
        }
        other => panic!("not read: {other:?}"),
    }
}

fn shown(change: ConfigChange) -> (String, Option<String>) {
    let value = change.record.map(|record| String::from_utf8(record.value.to_vec()).unwrap());
    (change.key, value)
}

fn change(key: &str, value: &str) -> (String, Option<String>) {
    (key.into(), Some(value.into()))
}

fn conflict(key: &str, present: Option<LogIndex>) -> Told {
    Err(ConfigRefusal::Conflict { key: key.into(), present })
}

#[test]
fn what_is_written_at_one_node_is_read_at_every_other() {
    let mut world = World::grown(&["a", "b", "c"]);
    let first = world.written(2, "app/color", "red");
    assert_eq!(first, world.mesh(0).applied_index(), "a version is the index of its entry");
    for host in 0..3 {
        assert_eq!(world.read(host, "app/color").as_deref(), Some("red"));
    }
    let second = world.written(1, "app/color", "blue");
    assert!(second > first);
    match world.tell(0, get("app/color", Consistency::Linearizable)) {
        Ok(ConfigReply::Record { record: Some(record), at }) => {
            assert_eq!((record.created, record.version), (first, second));
            assert!(at.applied >= second, "what it tells is applied");
        }
        other => panic!("{other:?}"),
    }
    let gone = version(world.tell(0, delete("app/color", Expected::Any)));
    assert!(gone > second);
    assert_eq!(world.read(2, "app/color"), None);
    assert_eq!(
        world.tell(2, delete("app/color", Expected::Any)),
        Err(ConfigRefusal::UnknownKey("app/color".into()))
    );
    let again = world.written(1, "app/color", "red");
    let record = world.mesh(1).state.config.record("app/color").unwrap();
    assert_eq!(record.created, again, "it was not there");
    world.assert_equal();
}

#[test]
fn a_write_is_done_only_where_it_finds_the_version_it_expects() {
    let mut world = World::grown(&["a", "b"]);
    let expected = |version| Expected::Version(version);
    assert_eq!(world.tell(1, set("k", "1", expected(LogIndex(3)))), conflict("k", None));
    let first = version(world.tell(1, set("k", "1", Expected::Absent)));
    assert_eq!(world.tell(0, set("k", "2", Expected::Absent)), conflict("k", Some(first)));
    let second = version(world.tell(0, set("k", "2", expected(first))));
    assert_eq!(world.tell(1, set("k", "3", expected(first))), conflict("k", Some(second)));
    assert_eq!(world.tell(1, delete("k", expected(first))), conflict("k", Some(second)));
    assert_eq!(world.read(1, "k").as_deref(), Some("2"), "what was refused changed nothing");
    version(world.tell(1, delete("k", expected(second))));
    assert_eq!(world.tell(0, delete("k", expected(second))), conflict("k", None));
    version(world.tell(0, set("k", "4", Expected::Absent)));
    world.assert_equal();
}

#[test]
fn two_who_write_at_once_on_one_version_are_not_both_done() {
    let mut world = World::grown(&["a", "b", "c"]);
    let first = world.written(0, "k", "0");
    let ask = |value: &str| {
        let command = set("k", value, Expected::Version(first));
        move |request| Input::Config { request, command }
    };
    let asked: Vec<RequestId> = (0..3).map(|host| world.ask(host, ask(&host.to_string()))).collect();
    world.pump();
    let told: Vec<Told> = (0..3).map(|host| world.told(host, asked[host]).unwrap()).collect();
    let (done, refused): (Vec<Told>, Vec<Told>) = told.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 2));
    let winner = version(done[0].clone());
    assert!(refused.iter().all(|told| *told == conflict("k", Some(winner))));
}

#[test]
fn keys_and_values_that_cannot_be_are_refused_at_once_and_nothing_is_done() {
    let mut world = World::grown(&["a", "b"]);
    let entries = world.log.len();
    let digest = world.mesh(0).digest();
    let long = "k".repeat(257);
    for key in ["", "a b", "/a", "a/", "a//b", "ä", "a\n", &long] {
        let bad = |told: Told| matches!(told, Err(ConfigRefusal::BadKey(_)));
        assert!(bad(world.tell(1, set(key, "v", Expected::Any))), "{key:?}");
        assert!(bad(world.tell(1, delete(key, Expected::Any))), "{key:?}");
        assert!(bad(world.tell(1, get(key, Consistency::Local))), "{key:?}");
    }
    let large = "v".repeat(VALUE_BYTES_MAX + 1);
    assert!(matches!(
        world.tell(1, set("k", &large, Expected::Any)),
        Err(ConfigRefusal::ValueTooLarge { limit: 65_536, got: 65_537 })
    ));
    let refused = |told: Told| match told {
        Err(ConfigRefusal::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(world.tell(1, set("wattle/nonsense", "v", Expected::Any)));
    assert!(why.contains(DESCRIPTION), "it says what there is: {why}");
    let why = refused(world.tell(1, set(DESCRIPTION, &"x".repeat(1_025), Expected::Any)));
    assert!(why.contains("1024 bytes"), "{why}");
    let bell = set(DESCRIPTION, "\u{7}", Expected::Any);
    assert!(refused(world.tell(0, bell)).contains("printable"));
    assert_eq!((world.log.len(), world.mesh(0).digest()), (entries, digest));
    world.written(1, DESCRIPTION, "Greenhouse 4,\nsouth side");
    world.written(1, "k", &large[1..]);
    world.assert_equal();
}

#[test]
fn a_leader_and_every_member_refuse_what_a_node_asks_that_did_not_look() {
    let mut world = World::grown(&["a", "b"]);
    let (entries, from) = (world.log.len(), world.id(1));
    let value = Bytes::from_static(b"v");
    let body = Body::SetConfig { key: "wattle/none".into(), value, expected: Expected::Any };
    let (request, seen) = (Request(9), world.mesh(1).applied_index());
    let message = Message::Forward { request, seen, body: Box::new(body.clone()) };
    world.inbox.push_back((0, Input::Message { from, message }));
    world.pump();
    assert_eq!(world.log.len(), entries, "the leader does not propose it");
    let entry = Entry { origin: from, request, seen, time: Wall(1), body };
    world.log.push(Logged::Command(entry.encode(), Term(world.term)));
    world.pump();
    for host in 0..2 {
        assert!(world.mesh(host).state.config.is_empty(), "M16: its handler refuses it when it is applied");
    }
    world.assert_equal();
}

#[test]
fn the_table_is_bounded_and_says_so() {
    let mut world = World::grown(&["a", "b"]);
    let value = "v".repeat(VALUE_BYTES_MAX);
    let mut written = 0;
    let refusal = loop {
        match world.tell(1, set(&written.to_string(), &value, Expected::Any)) {
            Ok(_) => written += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(written, CONFIG_BYTES_MAX / VALUE_BYTES_MAX - 1);
    assert!(matches!(&refusal, ConfigRefusal::Full(why) if why.contains("delete some first")), "{refusal}");
    world.written(1, "0", "small");
    world.written(1, "more", "fits now");
    let mut state = world.mesh(0).state.clone();
    state.config = Table::default();
    for number in 0..KEYS_MAX {
        let index = state.applied.next();
        state.applied = index;
        state.set_config(index, &alloc::format!("n/{number}"), &Bytes::new(), Expected::Any).unwrap();
    }
    let index = state.applied;
    let full = state.set_config(index, "n/more", &Bytes::new(), Expected::Any).unwrap_err();
    assert!(matches!(full, Refusal::Config(ConfigRefusal::Full(_))), "{full}");
    state.check();
    assert!(state.encode().len() <= crate::mesh::room::STATE_BYTES_MAX);
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
}

#[test]
fn a_listing_comes_in_pages_and_in_order() {
    let mut world = World::grown(&["a", "b"]);
    for key in ["b/2", "a", "b", "b/1", "b-0", "b/3", "c"] {
        world.written(0, key, "v");
    }
    let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(world.listed(1, "", "", 0), (keys(&["a", "b", "b-0", "b/1", "b/2", "b/3", "c"]), false));
    assert_eq!(world.listed(1, "b/", "", 2), (keys(&["b/1", "b/2"]), true));
    assert_eq!(world.listed(1, "b/", "b/2", 2), (keys(&["b/3"]), false));
    assert_eq!(world.listed(1, "b", "b", 1), (keys(&["b-0"]), true));
    assert_eq!(world.listed(1, "d", "", 0), (keys(&[]), false));
}

#[test]
fn a_read_waits_for_the_groups_word_and_is_asked_for_again_when_that_does_not_come() {
    let mut world = World::grown(&["a", "b"]);
    world.written(0, "k", "old");
    let before = world.entries(|_| true);
    world.quorum = false;
    let ask = || |request| Input::Config { request, command: get("k", Consistency::Linearizable) };
    let (first, second) = (world.ask(1, ask()), world.ask(1, ask()));
    world.pump();
    assert!(world.told(1, first).is_none());
    // The group's answers are lost.
    world.lose_reads();
    world.quorum = true;
    world.pump();
    assert!(world.told(1, first).is_none());
    world.pass(Span::secs(2));
    for request in [first, second] {
        assert_eq!(text(world.told(1, request).unwrap()).as_deref(), Some("old"));
    }
    assert_eq!(world.entries(|_| true), before, "reads put nothing into the log");
    assert_eq!(world.doubted, 1, "whoever does not answer may not lead any more");
}

#[test]
fn a_read_does_not_miss_a_write_that_was_answered_elsewhere_before() {
    let mut world = World::grown(&["a", "b"]);
    world.written(0, "k", "old");
    // b does not hear what is committed for a while.
    world.hosts[1].up = false;
    world.written(0, "k", "new");
    world.hosts[1].up = true;
    let (applied, now) = (world.mesh(1).applied_index(), world.now);
    let request = RequestId(700);
    let command = get("k", Consistency::Local);
    world.hosts[1].mesh.handle(now, Input::Config { request, command });
    let local = world.hosts[1].mesh.poll();
    let Some(Output::Reply { reply: Ok(Reply::Config(told)), .. }) = local else { panic!("{local:?}") };
    assert_eq!(text(Ok(told.clone())).as_deref(), Some("old"), "a local read may be old");
    assert!(matches!(told, ConfigReply::Record { at, .. } if at.applied == applied && at.age.is_some()));
    assert_eq!(world.read(1, "k").as_deref(), Some("new"), "M17");
}

#[test]
fn without_a_quorum_only_local_reads_are_answered() {
    let mut world = World::grown(&["a", "b"]);
    world.written(0, "k", "v");
    world.lead(None);
    let read = world.config(1, get("k", Consistency::Linearizable));
    let write = world.config(1, set("k", "w", Expected::Any));
    assert_eq!(text(world.tell(1, get("k", Consistency::Local))).as_deref(), Some("v"));
    world.pass(Span::secs(11));
    assert_eq!(world.reply(1, read), Some(Err(Refusal::NoQuorum)));
    assert_eq!(world.reply(1, write), Some(Err(Refusal::NoQuorum)));
    world.lead(Some(0));
    assert_eq!(world.read(1, "k").as_deref(), Some("v"));
}

#[test]
fn what_waits_is_bounded() {
    let mut world = World::grown(&["a", "b"]);
    world.hosts[1].mesh.config.reads_max = 1;
    world.hosts[1].mesh.config.watches_max = 1;
    world.hosts[1].mesh.config.request_bytes_max = 10;
    world.lead(None);
    let applied = world.mesh(1).applied_index();
    let ask = |world: &mut World, command: &ConfigCommand| {
        let request = world.config(1, command.clone());
        world.reply(1, request)
    };
    let watch = ConfigCommand::Watch { prefix: String::new(), after: Some(applied) };
    for command in [get("k", Consistency::Linearizable), watch, set("k", "123456", Expected::Any)] {
        assert_eq!(ask(&mut world, &command), None);
        assert_eq!(ask(&mut world, &command), Some(Err(Refusal::Busy)), "{command:?}");
    }
}

#[test]
fn a_watcher_hears_everything_in_order_and_goes_on_where_it_was() {
    let mut world = World::grown(&["a", "b"]);
    world.written(0, "app/x", "1");
    world.written(0, "other", "1");
    let begin = world.watch(1, "app/", None);
    let (fresh, changes, upto) = world.seen(1, begin).expect("told at once what there is");
    assert_eq!((fresh, changes), (true, Vec::from([change("app/x", "1")])));
    let next = world.watch(1, "app/", Some(upto));
    world.written(0, "other", "2");
    assert_eq!(world.seen(1, next), None, "nothing for it");
    world.written(0, "app/y", "1");
    let (fresh, changes, after) = world.seen(1, next).unwrap();
    assert_eq!((fresh, changes), (false, Vec::from([change("app/y", "1")])));
    world.written(0, "app/x", "2");
    version(world.tell(0, delete("app/y", Expected::Any)));
    world.written(0, "app/y", "2");
    let all = Vec::from([change("app/x", "2"), ("app/y".into(), None), change("app/y", "2")]);
    // At another member, too.
    for host in 0..2 {
        let watch = world.watch(host, "app/", Some(after));
        let (fresh, changes, upto) = world.seen(host, watch).unwrap();
        assert_eq!((fresh, changes, upto), (false, all.clone(), world.mesh(host).applied_index()));
    }
    let idle = world.watch(1, "app/", Some(world.mesh(1).applied_index()));
    world.pass(Span::secs(21));
    let upto = world.mesh(1).applied_index();
    assert_eq!(world.seen(1, idle), Some((false, Vec::new(), upto)), "it may ask again from there");
}

#[test]
fn a_watcher_whose_past_is_forgotten_is_told_all_there_is() {
    let mut world = World::grown(&["a", "b"]);
    world.written(0, "k", "1");
    world.written(0, "gone", "1");
    let from = world.mesh(1).applied_index();
    world.hosts[1].mesh.config.compact_after = 1;
    version(world.tell(0, delete("gone", Expected::Any)));
    world.written(0, "k", "2");
    world.hosts[1].mesh.config.compact_after = 1_000;
    world.restart(1);
    let watch = world.watch(1, "", Some(from));
    let (fresh, changes, upto) = world.seen(1, watch).unwrap();
    assert_eq!(
        (fresh, changes),
        (true, Vec::from([change("k", "2")])),
        "M18: it is told that it is a listing"
    );
    let watch = world.watch(1, "", Some(upto));
    world.written(0, "k", "3");
    assert_eq!(world.seen(1, watch).map(|(fresh, ..)| fresh), Some(false));
}

#[test]
fn a_watcher_that_waits_in_vain_while_much_is_written_elsewhere_begins_not_again() {
    let mut world = World::grown(&["a", "b"]);
    let watch = world.watch(1, "quiet/", Some(world.mesh(1).applied_index()));
    let value = "v".repeat(VALUE_BYTES_MAX);
    for _ in 0..40 {
        world.written(0, "loud", &value);
    }
    world.written(0, "quiet/k", "1");
    let (fresh, changes, _) = world.seen(1, watch).unwrap();
    assert_eq!((fresh, changes), (false, Vec::from([change("quiet/k", "1")])));
    // Whoever comes from before what is remembered.
    let late = world.watch(1, "quiet/", Some(LogIndex(1)));
    assert!(world.seen(1, late).unwrap().0);
}

#[test]
fn a_long_tale_is_told_in_parts() {
    let mut world = World::grown(&["a", "b"]);
    let value = "v".repeat(VALUE_BYTES_MAX);
    let mut after = world.mesh(1).applied_index();
    for number in 0..12 {
        world.written(0, &alloc::format!("k/{number:02}"), &value);
    }
    let (mut told, mut answers) = (Vec::new(), 0);
    while told.len() < 12 {
        let watch = world.watch(1, "k/", Some(after));
        let (fresh, changes, upto) = world.seen(1, watch).unwrap();
        assert!(!fresh && upto > after);
        told.extend(changes.into_iter().map(|(key, _)| key));
        (after, answers) = (upto, answers + 1);
    }
    let expected: Vec<String> = (0..12).map(|number| alloc::format!("k/{number:02}")).collect();
    assert_eq!((told, answers), (expected, 3));
}

#[test]
fn a_snapshot_and_a_restart_keep_the_table_and_what_was_decided() {
    let mut world = World::grown(&["a", "b"]);
    world.quorum = false;
    let request = world.config(1, set("k", "v", Expected::Absent));
    world.quorum = true;
    world.hosts[1].up = false;
    world.pump();
    assert!(world.mesh(0).state.config.get("k").is_some());
    // b gets the state in place of the entry, asks again, and is told what was decided then.
    let (index, data) = world.state_of_first();
    world.hosts[1].up = true;
    world.install(1, index, data);
    assert_eq!(world.told(1, request), None);
    world.pass(Span::secs(2));
    let done = version(world.told(1, request).unwrap());
    assert_eq!(Some(done), world.mesh(1).state.config.version("k"), "M4: it happened once");
    world.restart(1);
    assert_eq!(world.read(1, "k").as_deref(), Some("v"));
    world.assert_equal();
}

#[test]
fn what_was_refused_and_forgotten_is_not_done_when_it_is_asked_again() {
    let mut world = World::grown(&["a", "b"]);
    let first = world.written(0, "k", "1");
    let state = &mut world.hosts[0].mesh.state.clone();
    let give = |state: &mut State, body: Body, number: u128| {
        let entry =
            Entry { origin: NodeId(1), request: Request(number), seen: state.applied, time: Wall(1), body };
        state.apply(state.applied.next(), Some(&entry)).unwrap().result
    };
    let create = Body::SetConfig { key: "k".into(), value: Bytes::new(), expected: Expected::Absent };
    let conflict = Err(ConfigRefusal::Conflict { key: "k".into(), present: Some(first) }.into());
    assert_eq!(give(state, create.clone(), 1), conflict);
    assert_eq!(give(state, create.clone(), 1), conflict, "it would still be refused");
    let gone = Body::DeleteConfig { key: "k".into(), expected: Expected::Any };
    let Ok(Effect::ConfigDeleted(deleted)) = give(state, gone.clone(), 2) else { panic!("it was there") };
    assert_eq!(give(state, create, 1), Err(Refusal::Busy), "it might be done now, under another number");
    assert_eq!(give(state, gone, 2), Ok(Effect::ConfigDeleted(deleted)), "the first answer again");
    state.check();
}
