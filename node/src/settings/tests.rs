use super::*;

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::from_text(text, "wattle.toml", Path::new("/data"), &environment).map_err(|m| m.to_string())
}

#[test]
fn nothing_said_means_the_defaults() {
    let settings = read("", &[]).unwrap();
    assert_eq!(settings, Settings::new("/data".into()));
    assert_eq!(settings.api_listen.to_string(), "127.0.0.1:50056");
}

#[test]
fn every_key_reaches_its_field() {
    let text = r#"
        [node]
        name = "a"
        data_dir = "/var/lib/wattle"
        region = "eu-west"
        [mesh]
        listen = ["0.0.0.0:7946", "[::]:7946"]
        advertise = ["a.example:7946"]
        dial = ["b.example:7946"]
        [api]
        listen = "0.0.0.0:50051"
        allow_plaintext = true
        [storage]
        reserve_bytes = "1 MiB"
        space_limit = 1_000_000
        log_memory = "2 MiB"
        outbox_bytes = "3 MiB"
        outbox_memory = "4 MiB"
    "#;
    let expected = Settings {
        name: Some("a".into()),
        data_dir: "/var/lib/wattle".into(),
        region: Some("eu-west".into()),
        listen: vec!["0.0.0.0:7946".into(), "[::]:7946".into()],
        advertise: vec!["a.example:7946".into()],
        dial: vec!["b.example:7946".into()],
        api_listen: "0.0.0.0:50051".parse().unwrap(),
        api_allow_plaintext: true,
        reserve_bytes: 1 << 20,
        space_limit: Some(1_000_000),
        log_memory: 2 << 20,
        outbox_bytes: 3 << 20,
        outbox_memory: 4 << 20,
        handlers: Vec::new(),
    };
    assert_eq!(read(text, &[]).unwrap(), expected);
    let environment = [
        ("WATTLE_NODE_NAME", "a"),
        ("WATTLE_NODE_DATA_DIR", "/var/lib/wattle"),
        ("WATTLE_NODE_REGION", "eu-west"),
        ("WATTLE_MESH_LISTEN", "0.0.0.0:7946, [::]:7946"),
        ("WATTLE_MESH_ADVERTISE", "a.example:7946"),
        ("WATTLE_MESH_DIAL", "b.example:7946"),
        ("WATTLE_API_LISTEN", "0.0.0.0:50051"),
        ("WATTLE_API_ALLOW_PLAINTEXT", "true"),
        ("WATTLE_STORAGE_RESERVE_BYTES", "1MiB"),
        ("WATTLE_STORAGE_SPACE_LIMIT", "1000000"),
        ("WATTLE_STORAGE_LOG_MEMORY", "2097152"),
        ("WATTLE_STORAGE_OUTBOX_BYTES", "3MiB"),
        ("WATTLE_STORAGE_OUTBOX_MEMORY", "4MiB"),
    ];
    assert_eq!(environment.len(), KEYS.len(), "every key has its variable");
    assert_eq!(read("", &environment).unwrap(), expected);
}

#[test]
fn the_environment_stands_above_the_file() {
    let settings = read("[mesh]\nlisten = [\"1.2.3.4:1\"]\n", &[("WATTLE_MESH_LISTEN", "")]).unwrap();
    assert_eq!(settings.listen, Vec::<String>::new(), "an empty list: this node only dials out");
}

#[test]
fn misspelt_words_are_errors_that_name_the_line_and_the_nearest_word() {
    let text = "[node]\nname = \"a\"\n\n[mesh]\nlisten = []\nadvertize = []\n\n[storag]\nx = 1\n";
    let mistakes = read(text, &[("WATTLE_NODE_NAEM", "x"), ("WATTLE_LOG", "debug")]).unwrap_err();
    let lines: Vec<&str> = mistakes.lines().collect();
    assert_eq!(
        lines,
        [
            "wattle.toml:6: unknown key of [mesh]: `advertize`; did you mean `advertise`?",
            "wattle.toml:8: unknown section: `storag`; did you mean `storage`?",
            "environment: WATTLE_NODE_NAEM: unknown key of [node]: `naem`; did you mean `name`?",
        ]
    );
    assert_eq!(
        read("[node]\ndial = []\n", &[]).unwrap_err(),
        "wattle.toml:2: unknown key `dial` in [node]; it belongs into [mesh]"
    );
    let far = read("[node]\ncolour = 1\n", &[]).unwrap_err();
    assert_eq!(far, "wattle.toml:2: unknown key of [node]: `colour`; there is name, data_dir, region");
}

#[test]
fn wrong_values_say_what_was_expected() {
    for (text, expected) in [
        ("[mesh]\nlisten = [\"nowhere\"]", "wattle.toml:2: mesh.listen must be a list of \"host:port\""),
        ("[mesh]\nlisten = 7946", "wattle.toml:2: mesh.listen must be a list of \"host:port\""),
        ("[node]\nname = \"\"", "wattle.toml:2: node.name must be a text that is not empty"),
        (
            "[node]\nregion = \"New York\"",
            "wattle.toml:2: node.region must be a word of 1 to 64 characters out of A-Z a-z 0-9 . _ -",
        ),
        (
            "[storage]\nreserve_bytes = -1",
            "wattle.toml:2: storage.reserve_bytes must be a number of bytes, such as 67108864 or \"64 MiB\"",
        ),
        (
            "[storage]\noutbox_memory = 1000",
            "wattle.toml:2: storage.outbox_memory must be at least 2 MiB, for one message may have 1 MiB",
        ),
        ("node = 1", "wattle.toml:1: `node` is a section: write [node] on a line of its own"),
    ] {
        assert_eq!(read(text, &[]).unwrap_err(), expected);
    }
    let broken = read("[node]\nname = \"a\n", &[]).unwrap_err();
    assert!(broken.starts_with("wattle.toml:2: "), "{broken}");
}

#[test]
fn plaintext_beyond_loopback_must_be_asked_for() {
    let refused = read("[api]\nlisten = \"0.0.0.0:50051\"\n", &[]).unwrap_err();
    assert!(refused.contains("api.allow_plaintext = true"), "{refused}");
    assert!(read("[api]\nlisten = \"localhost:50051\"\n", &[]).is_ok());
}

#[test]
fn a_relative_data_directory_is_beside_the_file() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.toml");
    std::fs::write(&file, "[node]\ndata_dir = \"data\"\n").unwrap();
    assert_eq!(Settings::load(Some(&file)).unwrap().data_dir, place.path().join("data"));
    let missing = Settings::load(Some(&place.path().join("none.toml"))).unwrap_err().to_string();
    assert!(missing.contains("none.toml"), "{missing}");
}

#[test]
fn the_help_is_a_settings_file_with_every_setting_and_its_default() {
    let (_, file) = HELP.split_once('\n').unwrap();
    assert_eq!(read(file, &[]), Ok(Settings::new("/data".into())));
    let all: String = file.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
    let kinds: Vec<_> = read(&all, &[]).unwrap().handlers.into_iter().map(|handler| handler.kind).collect();
    let store = StoreSettings { file: Some("words.redb".into()), keep: Keep::Messages };
    let database = PostgreSqlSettings {
        connect: "host=/run/postgresql dbname=shop user=wattle".into(),
        password_file: Some("password".into()),
        ..PostgreSqlSettings::default()
    };
    assert_eq!(kinds, [HandlerKind::Store(store), HandlerKind::PostgreSql(database), HandlerKind::NoOp]);
    for (section, key, _) in &KEYS {
        let (_, rest) = all.split_once(&format!("[{section}]\n")).expect("the section");
        let lines = rest.lines().take_while(|line| !line.starts_with('['));
        let told = lines.filter(|line| line.starts_with(&format!("{key} = "))).count();
        assert_eq!(told, 1, "{section}.{key}");
    }
}

#[test]
fn handlers_are_read_with_what_belongs_to_their_kind() {
    let text = r#"
        [[handler]]
        stream = "noise"
        kind = "no-op"
        [[handler]]
        stream = "words"
        kind = "store"
        keep = "values"
        file = "words.redb"
        window = 1
        batch = 7
        message_bytes = "1 MiB"
        begin = "kept"
        [[handler]]
        stream = "late"
        kind = "store"
        begin = 500
    "#;
    let of = |stream: &str, begin: Begin, kind: HandlerKind| HandlerSettings {
        stream: stream.into(),
        window: 1024,
        batch: 256,
        message_bytes: 4 << 20,
        begin,
        kind,
    };
    let noise = of("noise", Begin::First, HandlerKind::NoOp);
    let late = StoreSettings { file: None, keep: Keep::Messages };
    let late = of("late", Begin::After(500), HandlerKind::Store(late));
    let store = StoreSettings { file: Some("words.redb".into()), keep: Keep::Values };
    let words = of("words", Begin::Kept, HandlerKind::Store(store));
    let words = HandlerSettings { window: 1, batch: 7, message_bytes: 1 << 20, ..words };
    assert_eq!(read(text, &[]).unwrap().handlers, [noise, words, late]);
}

#[test]
fn what_is_wrong_with_a_handler_is_said_with_its_line() {
    let mistake = |text: &str| read(text, &[]).unwrap_err();
    let of = |rest: &str| mistake(&format!("[[handler]]\nstream = \"words\"\n{rest}\n"));
    assert_eq!(
        mistake("[handler]\nstream = \"a\"\n"),
        "wattle.toml:1: write [[handler]], with two brackets, before each handler"
    );
    assert!(
        mistake("[[handler]]\nkind = \"no-op\"\n").starts_with("wattle.toml:1: a handler needs a `stream`")
    );
    assert!(
        of("").starts_with("wattle.toml:1: a handler needs a `kind`: \"no-op\", \"store\", \"postgresql\"")
    );
    let named = mistake("[[handler]]\nstream = \"all words\"\nkind = \"no-op\"\n");
    assert!(named.contains("handler.stream must be the name of a stream"), "{named}");
    assert!(of("kind = \"postgresql\"").contains("needs `connect`"));
    let table = of("kind = \"postgresql\"\nconnect = \"host=/run\"\ntable = \"a; drop\"");
    assert!(table.starts_with("wattle.toml:5: handler.table must be the name of a table"), "{table}");
    let both =
        of("kind = \"postgresql\"\nconnect = \"host=/run\"\ntable = \"a\"\nstatement = \"select {id}\"");
    assert!(both.contains("leave one of them away"), "{both}");
    assert!(of("kind = \"noop\"").contains("no kind of handler is called \"noop\""));
    assert_eq!(
        of("kind = \"store\"\nkep = \"values\""),
        "wattle.toml:4: unknown key of [[handler]]: `kep`; did you mean `keep`?"
    );
    assert_eq!(
        of("kind = \"store\"\nkeep = \"all\""),
        "wattle.toml:4: handler.keep must be \"messages\" or \"values\""
    );
    assert_eq!(
        of("kind = \"no-op\"\nwindow = 0"),
        "wattle.toml:4: handler.window must be a number from 1 to 65536"
    );
    assert!(of("kind = \"no-op\"\nfile = \"x\"").contains("`file` belongs to handlers of kind \"store\""));
    assert!(of("kind = \"no-op\"\nbegin = 1").contains("handlers of kind \"store\" or \"postgresql\""));
    assert!(
        of("kind = \"store\"\nbegin = \"now\"").contains("handler.begin must be \"first\", \"kept\", or")
    );
    let twice = of("kind = \"no-op\"\n[[handler]]\nstream = \"words\"\nkind = \"store\"");
    assert_eq!(twice, "wattle.toml:4: stream \"words\" has a handler already, and one is served");
}
