use super::*;
use crate::agreed::{
    CHANGES_MAX, ConfigCommand, ConfigRefusal, ConfigReply, Consistency, Expected, MeshSettings,
};
use crate::mesh::handlers::{DESCRIPTION, NAME, VOTERS};

type Told = Result<ConfigReply, ConfigRefusal>;

impl World {
    fn agree(&mut self, host: usize, command: ConfigCommand) -> Told {
        let request = self.command(host, |request| Input::Config { request, command });
        match self.reply(host, request).expect("answered at once") {
            Ok(Reply::Config(reply)) => Ok(reply),
            Err(Refusal::Config(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn configure(&mut self, host: usize, changes: &[(&str, Option<&str>)], expected: Option<u64>) -> Told {
        let bytes = |value: &str| Bytes::copy_from_slice(value.as_bytes());
        let change = |&(key, value): &(&str, Option<&str>)| (key.to_string(), value.map(bytes));
        let changes = changes.iter().map(change).collect();
        self.agree(host, ConfigCommand::Configure { changes, expected: expected.map(LogIndex) })
    }

    fn settings(&mut self, host: usize) -> MeshSettings {
        match self.agree(host, ConfigCommand::Settings { consistency: Consistency::Linearizable }) {
            Ok(ConfigReply::Settings { settings, .. }) => settings,
            other => panic!("{other:?}"),
        }
    }

    fn voting(&self) -> usize {
        self.configuration.voters.len()
    }
}

fn version(told: Told) -> u64 {
    match told {
        Ok(ConfigReply::Written { version }) => version.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_change_together_and_only_from_the_version_they_are_expected_at() {
    let mut world = World::grown(&["a", "b", "c"]);
    assert_eq!(world.settings(2), MeshSettings::default());
    assert_eq!(world.mesh(2).mesh_name(), "garden");
    let first =
        version(world.configure(1, &[(NAME, Some("orchard")), (DESCRIPTION, Some("trees"))], Some(0)));
    for host in 0..3 {
        let settings = world.settings(host);
        assert_eq!((settings.version.0, settings.name.as_deref()), (first, Some("orchard")));
        assert_eq!(world.mesh(host).mesh_name(), "orchard");
    }
    let present = LogIndex(first);
    let late = world.configure(2, &[(NAME, Some("late"))], Some(0));
    assert_eq!(late, Err(ConfigRefusal::SettingsConflict { present }));
    // A single key is a setting, too, and moves the version on.
    let value = Bytes::from_static(b"shrubs");
    let single = ConfigCommand::Set { key: DESCRIPTION.into(), value, expected: Expected::Version(present) };
    let second = version(world.agree(0, single));
    let late = world.configure(2, &[(NAME, Some("late"))], Some(first));
    assert_eq!(late, Err(ConfigRefusal::SettingsConflict { present: LogIndex(second) }));
    let third = version(world.configure(2, &[(NAME, None), (VOTERS, Some("1"))], Some(second)));
    let settings = world.settings(0);
    assert_eq!((settings.version.0, settings.name, settings.voters), (third, None, Some(1)));
    assert_eq!(settings.description.as_deref(), Some("shrubs"));
    assert_eq!(world.mesh(0).mesh_name(), "garden", "the name it was made under counts again");
    world.restart(1);
    assert_eq!(world.settings(1).voters, Some(1));
    world.assert_equal();
}

#[test]
fn settings_of_which_one_makes_no_sense_are_refused_whole() {
    let mut world = World::grown(&["a", "b"]);
    let digest = world.mesh(0).digest();
    let (entries, many) = (world.log.len(), [(NAME, None); CHANGES_MAX + 1]);
    let refused = |told: &Told| matches!(told, Err(ConfigRefusal::Refused { .. }));
    let bad = |told: &Told| matches!(told, Err(ConfigRefusal::BadKey(_)));
    for voters in ["", "0", "2", "4", "9", "03", "+3", "three"] {
        let told = world.configure(1, &[(NAME, Some("x")), (VOTERS, Some(voters))], None);
        assert!(refused(&told) && told.unwrap_err().to_string().contains("1, 3, 5 or 7"), "{voters:?}");
    }
    assert!(refused(&world.configure(1, &[(NAME, Some(""))], None)));
    assert!(refused(&world.configure(1, &[("wattle/none", None)], None)), "there is no such setting");
    assert!(bad(&world.configure(1, &[("app/k", Some("v"))], None)), "no setting of the mesh");
    assert!(bad(&world.configure(1, &[(NAME, Some("x")), (NAME, Some("y"))], None)), "twice");
    assert!(bad(&world.configure(1, &[], None)) && bad(&world.configure(1, &many, None)));
    assert_eq!((world.log.len(), world.mesh(0).digest()), (entries, digest));
}

#[test]
fn as_many_vote_as_the_mesh_agreed_on() {
    let mut world = World::grown(&["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(world.voting(), 5);
    for (voters, voting) in [("3", 3), ("7", 7), ("1", 1), ("5", 5)] {
        version(world.configure(6, &[(VOTERS, Some(voters))], None));
        world.pass(Span::secs(30));
        assert_eq!(world.voting(), voting);
        assert_eq!(world.configuration.members().count(), 7, "everybody else learns");
        let leader = world.id(world.leader.unwrap());
        assert!(world.configuration.voters.iter().any(|r| r.node == leader), "who leads goes on voting");
    }
    version(world.configure(6, &[(VOTERS, None)], None));
    world.pass(Span::secs(30));
    assert_eq!(world.voting(), 5, "what each leader has in its own settings");
    // A new leader does as was agreed.
    version(world.configure(6, &[(VOTERS, Some("3"))], None));
    world.lead(Some(1));
    world.pass(Span::secs(30));
    assert_eq!(world.voting(), 3);
    world.assert_equal();
}

#[test]
fn those_who_are_not_heard_vote_no_longer_first() {
    let mut world = World::grown(&["a", "b", "c", "d", "e"]);
    let (b, d) = (world.id(1), world.id(3));
    for node in [b, d] {
        world.inbox.push_back((0, Input::PairSuspect { node }));
    }
    version(world.configure(0, &[(VOTERS, Some("3"))], None));
    world.pass(Span::secs(30));
    let voters: BTreeSet<NodeId> = world.configuration.voters.iter().map(|r| r.node).collect();
    assert_eq!(voters, BTreeSet::from([world.id(0), world.id(2), world.id(4)]));
}
