//! Coverage marks of the simulated world: what a good set of runs must have done to the nodes. See [`wattle_core::coverage`].

use wattle_core::coverage::Sighting;

/// Marks a place of the world, if a condition holds there: some of a few thousand runs must come to it.
macro_rules! sometimes {
    ($mark:ident $(, $condition:expr)?) => {
        if true $(&& $condition)? {
            const { assert!($crate::coverage::Mark::$mark.rarity().is_sometimes()) };
            $crate::coverage::Mark::$mark.hit();
        }
    };
}
pub(crate) use sometimes;

wattle_core::marks! {
    Sometimes {
        CrashedBetweenOutputs: "a node crashed between two outputs of one step";
        CrashTore: "a crash left a torn row";
        CrashLost: "a crash lost rows that no sync had covered";
        ReserveUsedUp: "a row found room neither on the disk nor in its reserve";
        ResumedWithBacklog: "a node that stood still found much that had come meanwhile";
        RolledBack: "a disk was put back to an older image";
        LeaderStruck: "a leader was hit because it led";
    }
}

/// All marks of the core and of the world, and whether they were hit in this process.
pub fn all() -> impl Iterator<Item = Sighting> {
    wattle_core::coverage::sightings().chain(sightings())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sources(dir: &Path, text: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if !path.ends_with("coverage.rs") {
                text.extend(std::fs::read_to_string(path).unwrap().split_whitespace());
            }
        }
    }

    #[test]
    fn every_mark_that_is_declared_marks_a_place() {
        let mut text = String::new();
        for crate_of in ["../core/src", "src"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(crate_of), &mut text);
        }
        for mark in all() {
            let word = if mark.rarity.is_sometimes() { "sometimes" } else { "rare" };
            let placed = [")", ","].iter().any(|end| text.contains(&format!("{word}!({}{end}", mark.name)));
            assert!(placed, "{} is declared and marks no place", mark.name);
        }
    }

    #[test]
    fn a_mark_is_dark_until_somebody_comes_there() {
        wattle_core::marks! {
            Sometimes { Seen: "a place"; }
            Rare { Unseen: "another"; }
        }
        Mark::Seen.hit();
        let hits: Vec<_> =
            sightings().map(|mark| (mark.name, mark.rarity.is_sometimes(), mark.hit)).collect();
        assert_eq!(hits, [("Seen", true, true), ("Unseen", false, false)]);
        assert!(!Mark::Unseen.rarity().is_sometimes());
    }
}
