//! What was told to those who watch agreed configuration, against what was told to those who wrote: between where an answer begins and where it
//! ends nothing is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checked, ensure};

/// One answer.
#[derive(Clone, Debug)]
pub struct Watched {
    /// It tells what was written by later entries than this one; a listing tells all.
    pub after: u64,
    /// Up to this entry.
    pub upto: u64,
    /// Whether it is a listing.
    pub fresh: bool,
    /// Keys and versions, as told.
    pub changes: Vec<(u64, u64)>,
}

/// All answers.
#[derive(Debug, Default)]
pub(super) struct Watching {
    told: Vec<Watched>,
}

impl Watching {
    /// Where the last answer ended; `None` before the first.
    #[must_use]
    pub(super) fn last(&self) -> Option<u64> {
        self.told.last().map(|told| told.upto)
    }

    /// Somebody is answered.
    ///
    /// # Errors
    /// X23, if the answer is out of order in itself.
    pub(super) fn told(&mut self, told: Watched) -> Checked {
        let ordered = told.fresh || told.changes.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let within = |version: u64| (told.fresh || version > told.after) && version <= told.upto;
        let fits = ordered && told.changes.iter().all(|(_, version)| within(*version));
        ensure!(fits, "X23", "a watcher is told what does not follow: {told:?}");
        self.told.push(told);
        Ok(())
    }

    /// Judges all answers by what is known to have been written: version, key, and whether something is there since.
    ///
    /// # Errors
    /// X23.
    pub(super) fn finish(&self, written: &BTreeMap<u64, (u64, bool)>) -> Checked {
        for told in &self.told {
            let from = if told.fresh { 0 } else { told.after + 1 };
            let known = written.range(from..=told.upto.max(from));
            if told.fresh {
                let mut last: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
                last.extend(known.map(|(&version, &(key, there))| (key, (version, there))));
                let listed: BTreeMap<u64, u64> = told.changes.iter().copied().collect();
                for (key, (version, there)) in last {
                    let told_of = listed.get(&key).copied();
                    // A write that was never answered may stand there instead.
                    let fits = if there {
                        told_of >= Some(version) || told_of.is_none()
                    } else {
                        told_of != Some(version)
                    };
                    let stale = told_of.is_some_and(|listed| listed < version);
                    ensure!(
                        fits && !stale,
                        "X23",
                        "a listing lacks version {version} of key {key}: {told:?}"
                    );
                }
                continue;
            }
            let changes: BTreeSet<(u64, u64)> = told.changes.iter().copied().collect();
            for (&version, &(key, _)) in known.filter(|(version, _)| **version <= told.upto) {
                ensure!(
                    changes.contains(&(key, version)),
                    "X23",
                    "a watcher is not told of version {version} of key {key}: {told:?}"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(told: Watched) -> bool {
        let written = BTreeMap::from([(3, (0, true)), (5, (1, true)), (8, (0, false))]);
        let mut watching = Watching::default();
        watching.told(told).and_then(|()| watching.finish(&written)).is_ok()
    }

    fn told(fresh: bool, after: u64, upto: u64, changes: &[(u64, u64)]) -> Watched {
        Watched { after, upto, fresh, changes: changes.to_vec() }
    }

    #[test]
    fn nothing_is_left_out_between_where_an_answer_begins_and_where_it_ends() {
        assert!(judge(told(false, 2, 6, &[(0, 3), (1, 5)])));
        assert!(judge(told(false, 3, 9, &[(1, 5), (0, 8)])));
        assert!(judge(told(false, 5, 7, &[])), "nothing was written");
        assert!(!judge(told(false, 2, 6, &[(1, 5)])), "3 is left out");
        assert!(!judge(told(false, 2, 9, &[(0, 3), (1, 5)])), "8 is left out");
        assert!(!judge(told(false, 2, 6, &[(1, 5), (0, 3)])), "out of order");
        assert!(!judge(told(false, 3, 6, &[(0, 3), (1, 5)])), "it was told before");
        assert!(!judge(told(false, 2, 4, &[(0, 3), (1, 5)])), "beyond its end");
        assert!(judge(told(false, 2, 6, &[(0, 3), (0, 4), (1, 5)])), "nobody was answered for 4");
    }

    #[test]
    fn a_listing_holds_what_stands_at_its_end() {
        assert!(judge(told(true, 0, 6, &[(0, 3), (1, 5)])));
        assert!(judge(told(true, 0, 9, &[(1, 5)])));
        assert!(!judge(told(true, 0, 9, &[(0, 3), (1, 5)])), "it was taken away");
        assert!(!judge(told(true, 0, 9, &[(0, 8), (1, 5)])), "nothing is there since");
        assert!(judge(told(true, 0, 9, &[(0, 9), (1, 5)])), "somebody was not answered");
    }
}
