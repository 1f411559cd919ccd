//! The picture in docs/ARCHITECTURE.md against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Graph = BTreeMap<String, BTreeSet<String>>;

const CRATES: [&str; 6] = ["proto", "core", "io", "sim", "node", "tests"];
const PARTS: [&str; 6] = ["link", "route", "raft", "mesh", "stream", "node"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn drawn() -> Graph {
    let page = read(&root().join("docs/ARCHITECTURE.md"));
    let block =
        page.split("```graph\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a ```graph block");
    let line = |line: &str| {
        let (left, right) = line.split_once("->").expect("a line of the graph has an arrow");
        (left.trim().to_owned(), right.split_whitespace().map(str::to_owned).collect())
    };
    block.lines().map(line).collect()
}

/// Rust files under `dir`, without those that only hold tests.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries.map(|entry| entry.expect("a directory entry").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            found.push(entry);
        }
    }
    found.sort();
}

/// What a crate of ours needs in any build.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = read(&root().join(name).join("Cargo.toml"));
    let table = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    let needed = table.unwrap_or_default().lines().filter(|line| !line.contains("optional = true"));
    let names = needed.filter_map(|line| line.split(['.', ' ', '=', '#']).next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn crates_in_use() -> Graph {
    let mut graph = Graph::new();
    for name in CRATES {
        let used = dependencies(name).into_iter().filter(|word| word.starts_with("wattle-")).collect();
        graph.insert(format!("wattle-{name}"), used);
    }
    graph
}

fn parts_in_use() -> Graph {
    let mut graph = Graph::new();
    for part in PARTS {
        let mut files = Vec::new();
        sources(&root().join("core/src").join(part), &mut files);
        let mut used = BTreeSet::new();
        for text in files.iter().map(|file| read(file)) {
            for other in PARTS.iter().filter(|other| **other != part) {
                let named =
                    [format!("crate::{other}::"), format!("crate::{{{other}"), format!("crate::{other};")];
                if named.iter().any(|name| text.contains(name.as_str())) {
                    used.insert((*other).to_owned());
                }
            }
        }
        graph.insert(format!("core/{part}"), used);
    }
    graph
}

#[test]
fn the_picture_in_the_architecture_page_is_the_code() {
    let mut real = crates_in_use();
    real.extend(parts_in_use());
    let drawn = drawn();
    for (who, uses) in &real {
        let allowed =
            drawn.get(who).unwrap_or_else(|| panic!("docs/ARCHITECTURE.md: the graph has no line for {who}"));
        let extra: Vec<_> = uses.difference(allowed).collect();
        assert!(
            extra.is_empty(),
            "{who} uses {extra:?}, which the picture does not allow: cut the use, or change docs/ARCHITECTURE.md"
        );
        let unused: Vec<_> = allowed.difference(uses).collect();
        assert!(
            unused.is_empty(),
            "{who} no longer uses {unused:?}: take it out of the picture in docs/ARCHITECTURE.md"
        );
    }
    assert_eq!(drawn.len(), real.len(), "docs/ARCHITECTURE.md draws something that does not exist");
}

#[test]
fn parts_use_only_the_plain_data_of_node() {
    for part in ["link", "mesh", "stream"] {
        let mut files = Vec::new();
        sources(&root().join("core/src").join(part), &mut files);
        for file in files {
            for (number, line) in read(&file).lines().enumerate() {
                let plain = ["crate::node::command", "crate::node::output", "crate::node::status"];
                let uses_node = line.contains("crate::node::");
                assert!(
                    !uses_node || plain.iter().any(|module| line.contains(module)),
                    "{}:{}: only node::command, node::output and node::status may be used here",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn the_core_is_no_std_and_nothing_is_unsafe() {
    for (name, line) in [("core", "#![no_std]"), ("proto", "no_std")] {
        let lib = read(&root().join(name).join("src/lib.rs"));
        assert!(lib.contains(line), "{name}/src/lib.rs must say {line}");
    }
    for name in CRATES {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name}/Cargo.toml must take the lints of the workspace"
        );
    }
    assert!(read(&root().join("Cargo.toml")).contains("unsafe_code = \"forbid\""));
}

/// They are built by commands of their own, so nothing else would notice.
#[test]
fn lock_files_of_other_workspaces_name_what_our_crates_need() {
    for place in ["fuzz", "tests/model", "tests/rivals", "tests/turmoil"] {
        let lock = read(&root().join(place).join("Cargo.lock"));
        for name in CRATES {
            let title = format!("name = \"wattle-{name}\"\n");
            let Some(locked) = lock.split(&title).nth(1).and_then(|rest| rest.split("[[package]]").next())
            else {
                continue;
            };
            for needed in dependencies(name) {
                let named = [format!("\"{needed}\""), format!("\"{needed} ")];
                assert!(
                    named.iter().any(|name| locked.contains(name)),
                    "{place}/Cargo.lock does not name {needed}, which wattle-{name} needs: run `cargo update --workspace` there"
                );
            }
        }
    }
}
