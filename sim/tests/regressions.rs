//! Every plan in `plans/` once showed something wrong, of the nodes or of a deliberate bug. Without a bug all of them pass; those of
//! a bug fail with it, where it can be planted, and break the promise they name.

use std::fs;
use std::path::Path;

#[test]
fn every_kept_plan_passes_and_shows_the_bug_it_plants() {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut kept: Vec<_> = fs::read_dir(&plans)
        .expect("the plans are beside this file")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    kept.sort();
    assert!(!kept.is_empty(), "no plan is kept in {}", plans.display());
    let wrong = |path: &Path| {
        let text = fs::read_to_string(path).expect("a plan can be read");
        wattle_sim::regression::check(&text).err().map(|what| format!("{}: {what}", path.display()))
    };
    let wrong: Vec<String> = kept.iter().filter_map(|path| wrong(path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
