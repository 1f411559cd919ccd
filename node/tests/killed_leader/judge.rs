//! Whether what was told fits together: each key is linearizable, the log has one order, and nothing acknowledged is lost.
//!
//! A version is the place of a write in the mesh's log, so versions already are the only order in which the writes of a key can have happened.
//! What is left to judge is whether that order explains every answer, and whether nothing stands in it before what was answered before it was asked.
//! That takes a sort and no search: a hundred thousand operations are judged in a moment. A write that nobody was answered and nobody saw
//! may have happened anywhere, or never. If somebody must have made a version (a conflict names it), one of those that fit has.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Asked, Operation, Part, Time, Told};

/// A place in the order: of a version (0), or of those who saw it and not yet the next (1).
type Place = (u64, u8);

/// What is known to have been done, and at what place.
#[derive(Clone, Copy)]
struct Done {
    place: Place,
    number: usize,
    from: Time,
    until: Time,
}

/// What was judged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Writes that are known to have been done.
    pub(crate) written: usize,
    /// Those of them that nobody was answered.
    pub(crate) found: usize,
    /// Reads and conflicts that were answered.
    pub(crate) looked: usize,
    /// Acknowledged writes, and how many of them watchers were told of one by one.
    pub(crate) acknowledged: usize,
    /// See above.
    pub(crate) watched: usize,
}

/// Judges everything.
///
/// # Errors
/// What does not fit.
pub(crate) fn judge(operations: &[Operation], parts: &[Part]) -> Result<Judged, String> {
    let writes = versions(operations, parts)?;
    let whose: BTreeMap<usize, u64> = writes.iter().map(|(&version, &number)| (number, version)).collect();
    let keys: BTreeSet<u64> = operations.iter().map(|operation| operation.key).collect();
    for &key in &keys {
        judge_key(operations, &whose, key).map_err(|why| format!("key {key}: {why}"))?;
    }
    judge_log(operations, &whose, &keys)?;
    let covered = judge_watchers(operations, parts, &writes, &keys)?;
    let answered = |number: &usize| matches!(operations[*number].told, Some((_, Told::Written(_))));
    let acknowledged: Vec<u64> =
        writes.iter().filter(|(_, number)| answered(number)).map(|(&version, _)| version).collect();
    let looked = operations.iter().filter(|operation| {
        matches!(operation.told, Some((_, Told::Conflict(_) | Told::Found { .. } | Told::Absent { .. })))
    });
    Ok(Judged {
        written: writes.len(),
        found: writes.len() - acknowledged.len(),
        looked: looked.count(),
        acknowledged: acknowledged.len(),
        watched: acknowledged.iter().filter(|version| covered.contains(version)).count(),
    })
}

/// Who wrote which version, by all that was told. One version is one write, and a write has one.
fn versions(operations: &[Operation], parts: &[Part]) -> Result<BTreeMap<u64, usize>, String> {
    let mut writes = BTreeMap::new();
    let mut versions = BTreeMap::new();
    let mut note = |version: u64, number: usize, key: u64| {
        let write = operations.get(number).filter(|write| write.key == key && write.asked != Asked::Read);
        let denied = write.is_none_or(|write| matches!(write.told, Some((_, Told::Conflict(_)))));
        let other = *writes.entry(version).or_insert(number);
        let another = *versions.entry(number).or_insert(version);
        if denied || version == 0 {
            return Err(format!(
                "version {version} of key {key} is said to be operation {number}, which did not write it"
            ));
        }
        if (other, another) != (number, version) {
            return Err(format!(
                "operation {number} is said to be version {version}, but version {version} is operation {other}, and operation {number} is version {another}"
            ));
        }
        Ok(())
    };
    for (number, operation) in operations.iter().enumerate() {
        match operation.told {
            Some((_, Told::Written(version))) => note(version, number, operation.key)?,
            Some((_, Told::Found { whose, version, .. })) => note(version, whose, operation.key)?,
            Some((_, Told::Conflict(_) | Told::Absent { .. })) | None => {}
        }
    }
    for change in parts.iter().flat_map(|part| &part.changes) {
        note(change.version, change.whose, change.key)?;
    }
    Ok(writes)
}

/// Sorts by place, and fails if something was asked only after the answer to what stands behind it. Gives for each the earliest answer from
/// there on.
fn in_order(done: &mut [Done]) -> Result<Vec<Time>, String> {
    done.sort_by_key(|done| done.place);
    let mut ends = Vec::with_capacity(done.len());
    let mut behind: Option<Done> = None;
    for group in done.chunk_by(|a, b| a.place == b.place).rev() {
        for here in group.iter().rev() {
            if let Some(behind) = behind.filter(|behind| behind.until < here.from) {
                return Err(format!(
                    "operation {} ({:?}) was asked after operation {} ({:?}) had been answered, and stands before it",
                    here.number, here.place, behind.number, behind.place
                ));
            }
        }
        for here in group.iter().rev() {
            let before = ends.last().copied().unwrap_or(Time::MAX);
            ends.push(before.min(here.until));
        }
        behind = group.iter().chain(&behind).min_by_key(|done| done.until).copied();
    }
    ends.reverse();
    Ok(ends)
}

fn judge_key(operations: &[Operation], whose: &BTreeMap<usize, u64>, key: u64) -> Result<(), String> {
    let of_key = || operations.iter().enumerate().filter(|(_, operation)| operation.key == key);
    let told = of_key().filter_map(|(_, operation)| operation.told.map(|(_, told)| told.version()));
    let known = of_key().filter_map(|(number, _)| whose.get(&number).copied());
    // What a swap that was done expected was there.
    let expected = of_key().filter_map(|(number, operation)| match operation.asked {
        Asked::Swap(expected) if whose.contains_key(&number) => Some(expected),
        _ => None,
    });
    let versions = told.chain(known.clone()).chain(expected).filter(|&version| version != 0);
    let versions: BTreeSet<u64> = versions.collect();
    let before = |version: u64| versions.range(..version).next_back().copied().unwrap_or(0);
    let mut done = Vec::new();
    let (mut puts, mut swaps) = (Vec::new(), BTreeMap::<u64, Vec<(Time, usize)>>::new());
    for (number, operation) in of_key() {
        let from = operation.from;
        let until = operation.told.map_or(Time::MAX, |(until, _)| until);
        let place = match (operation.asked, operation.told.map(|(_, told)| told), whose.get(&number)) {
            (Asked::Swap(expected), _, Some(&version)) if before(version) != expected => {
                return Err(format!(
                    "operation {number} expected version {expected} and wrote version {version}, but version {} was there",
                    before(version)
                ));
            }
            (Asked::Swap(expected), Some(Told::Conflict(present)), _) if present == expected => {
                return Err(format!(
                    "operation {number} was refused though {expected} was there, as expected"
                ));
            }
            (Asked::Read | Asked::Put, Some(Told::Conflict(_)), _)
            | (Asked::Read, Some(Told::Written(_)), _)
            | (Asked::Put | Asked::Swap(_), Some(Told::Found { .. } | Told::Absent { .. }), _) => {
                return Err(format!("operation {number} was answered something else than was asked"));
            }
            (Asked::Put | Asked::Swap(_), _, Some(&version)) => (version, 0),
            (_, Some(told), _) => (told.version(), 1),
            (Asked::Put, None, None) => {
                puts.push((from, number));
                continue;
            }
            (Asked::Swap(expected), None, None) => {
                swaps.entry(expected).or_default().push((from, number));
                continue;
            }
            (Asked::Read, None, _) => continue,
        };
        done.push(Done { place, number, from, until });
    }
    let ends = in_order(&mut done)?;
    puts.sort_by_key(|&put| std::cmp::Reverse(put));
    let known: BTreeSet<u64> = known.collect();
    for &version in versions.difference(&known) {
        let place = done.partition_point(|done| done.place < (version, 1));
        let latest = ends.get(place).copied().unwrap_or(Time::MAX);
        // A swap fits only right behind what it expected, so it is of no use to a later version.
        let swap = swaps.get(&before(version)).and_then(|swaps| swaps.iter().min());
        if swap.is_none_or(|&(from, _)| from > latest) && puts.pop().is_none_or(|(from, _)| from > latest) {
            return Err(format!("version {version} was seen, and nobody can have written it"));
        }
    }
    Ok(())
}

/// All keys share one log: what was asked later stands later in it, and what a node had applied explains what it said.
fn judge_log(
    operations: &[Operation],
    whose: &BTreeMap<usize, u64>,
    keys: &BTreeSet<u64>,
) -> Result<(), String> {
    let mut done = Vec::new();
    let mut of_key: BTreeMap<u64, BTreeSet<u64>> = keys.iter().map(|&key| (key, BTreeSet::new())).collect();
    for (&number, &version) in whose {
        of_key.entry(operations[number].key).or_default().insert(version);
    }
    for (number, &Operation { key, from, told, .. }) in operations.iter().enumerate() {
        let until = told.map_or(Time::MAX, |(until, _)| until);
        if let Some(&version) = whose.get(&number) {
            done.push(Done { place: (version, 0), number, from, until });
        }
        let Some((_, told)) = told else { continue };
        if let Told::Found { applied, .. } | Told::Absent { applied } = told {
            let newest = of_key[&key].range(..=applied).next_back().copied().unwrap_or(0);
            if newest != told.version() {
                return Err(format!(
                    "operation {number} found version {} of key {key} with {applied} entries applied, but version {newest} was there",
                    told.version()
                ));
            }
            done.push(Done { place: (applied, 1), number, from, until });
        }
    }
    in_order(&mut done).map(drop)
}

/// Every watcher was told all that was written, and listings were complete. Gives the versions of which somebody was told one by one.
fn judge_watchers(
    operations: &[Operation],
    parts: &[Part],
    writes: &BTreeMap<u64, usize>,
    keys: &BTreeSet<u64>,
) -> Result<BTreeSet<u64>, String> {
    let mut covered = BTreeSet::new();
    for Part { node, after, upto, changes } in parts {
        let told: Vec<u64> = changes.iter().map(|change| change.version).collect();
        let (there, since) = match after {
            Some(after) => {
                let there = writes.range(after + 1..=(*upto).max(*after)).map(|(&version, _)| version);
                (there.collect::<Vec<_>>(), format!("since {after}"))
            }
            None => {
                let newest = |&key: &u64| {
                    let mut until_then = writes.range(..=upto).rev();
                    until_then
                        .find(|(_, number)| operations[**number].key == key)
                        .map(|(&version, _)| version)
                };
                (keys.iter().filter_map(newest).collect(), "in a listing".to_owned())
            }
        };
        let same = match after {
            Some(_) => told == there,
            None => BTreeSet::from_iter(&told) == BTreeSet::from_iter(&there),
        };
        if !same {
            return Err(format!(
                "a watcher at {node} was told the versions {told:?} {since}, up to {upto}, but there were {there:?}"
            ));
        }
        if after.is_some() {
            covered.extend(told);
        }
    }
    Ok(covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Change;
    use wattle_core::rng::{Purpose, Rng};
    use wattle_sim::checker::{ConfigAsked, ConfigTold, Configuration};

    fn operation(from: Time, asked: Asked, told: Option<(Time, Told)>) -> Operation {
        Operation { node: "a", key: 0, asked, from, told }
    }

    fn found(whose: usize, version: u64) -> Told {
        Told::Found { whose, version, applied: version }
    }

    #[test]
    fn a_write_that_was_acknowledged_and_lost_is_noticed() {
        let put = |from, version| operation(from, Asked::Put, Some((from + 5, Told::Written(version))));
        let history = [put(0, 3), put(10, 7)];
        let change = |version, whose| Change { version, key: 0, whose };
        let part = |after, upto, changes| Part { node: "a", after, upto, changes };
        let whole = part(Some(0), 8, vec![change(3, 0), change(7, 1)]);
        let judged = judge(&history, &[whole.clone(), part(None, 8, vec![change(7, 1)])]).expect("it fits");
        assert_eq!((judged.acknowledged, judged.watched, judged.written), (2, 2, 2));
        let lost = part(Some(0), 8, vec![change(7, 1)]);
        assert!(judge(&history, &[lost]).unwrap_err().contains("there were [3, 7]"));
        assert!(judge(&history, &[part(None, 6, vec![change(7, 1)])]).is_err(), "not yet");
        assert!(judge(&history, &[part(Some(0), 8, vec![change(3, 0), change(7, 0)])]).is_err(), "one write");
        let stale = operation(20, Asked::Read, Some((25, found(0, 3))));
        assert!(judge(&[put(0, 3), put(10, 7), stale], &[]).is_err(), "a stale read");
        let back = operation(20, Asked::Put, Some((25, Told::Written(5))));
        assert!(judge(&[put(0, 3), put(10, 7), back], &[]).is_err(), "the log went back");
    }

    #[test]
    fn keys_share_one_log() {
        let put = |key, from, version| Operation {
            key,
            ..operation(from, Asked::Put, Some((from + 5, Told::Written(version))))
        };
        assert!(judge(&[put(0, 0, 3), put(1, 10, 4)], &[]).is_ok());
        assert!(judge(&[put(0, 0, 3), put(1, 10, 2)], &[]).is_err());
        assert!(judge(&[put(0, 0, 3), put(1, 4, 2)], &[]).is_ok(), "they overlap");
        let read =
            |applied| operation(10, Asked::Read, Some((12, Told::Found { whose: 0, version: 3, applied })));
        assert!(judge(&[put(0, 0, 3), read(4)], &[]).is_ok());
        let two = [put(0, 0, 3), put(1, 4, 5), read(4)];
        assert!(judge(&two, &[]).is_err(), "what was answered before is applied");
    }

    /// What a key is known to hold: whose value, and the version if that is known, or else what it is above.
    #[derive(Clone, Copy)]
    struct Held {
        whose: Option<usize>,
        version: Result<u64, u64>,
    }

    impl Held {
        /// The same if it is taken to be of that version.
        fn taken_for(self, version: u64) -> Option<Self> {
            let fits = self.version.map_or_else(|above| version > above, |known| known == version);
            fits.then_some(Self { version: Ok(version), ..self })
        }

        fn write(self, whose: usize, version: Option<u64>) -> Option<Self> {
            let above = self.version.unwrap_or_else(|above| above + 1);
            let fits = version.is_none_or(|version| version > above);
            fits.then_some(Self { whose: Some(whose), version: version.ok_or(above) })
        }

        fn step(self, number: usize, operation: &Operation) -> Option<Self> {
            match (operation.asked, operation.told.map(|(_, told)| told)) {
                (Asked::Put, None) => self.write(number, None),
                (Asked::Swap(expected), None) => self.taken_for(expected)?.write(number, None),
                (Asked::Put, Some(Told::Written(version))) => self.write(number, Some(version)),
                (Asked::Swap(expected), Some(Told::Written(version))) => {
                    self.taken_for(expected)?.write(number, Some(version))
                }
                (Asked::Swap(expected), Some(Told::Conflict(present))) if present != expected => {
                    self.taken_for(present)
                }
                (Asked::Read, Some(Told::Found { whose, version, .. })) => {
                    self.taken_for(version).filter(|held| held.whose == Some(whose))
                }
                (Asked::Read, Some(Told::Absent { .. })) => self.taken_for(0),
                _ => None,
            }
        }
    }

    /// All orders, one after the other.
    fn judge_slowly(done: u32, held: Held, operations: &[Operation]) -> bool {
        let left = || operations.iter().enumerate().filter(|(number, _)| done >> number & 1 == 0);
        let answered = left().filter_map(|(_, operation)| operation.told.map(|(until, _)| until));
        let Some(earliest) = answered.min() else { return true };
        left().filter(|(_, operation)| operation.from <= earliest).any(|(number, operation)| {
            let next = held.step(number, operation);
            next.is_some_and(|next| judge_slowly(done | 1 << number, next, operations))
        })
    }

    fn simulated(operations: &[Operation]) -> bool {
        let mut configuration = Configuration::default();
        for (number, operation) in operations.iter().enumerate() {
            let asked = match operation.asked {
                Asked::Put => ConfigAsked::Set(None),
                Asked::Swap(expected) => ConfigAsked::Set(Some(expected)),
                Asked::Read => ConfigAsked::Get,
            };
            configuration.asks(number, 0, operation.from, asked);
            let Some((until, told)) = operation.told else { continue };
            let told = match told {
                Told::Written(version) => ConfigTold::Written(version),
                Told::Conflict(present) => ConfigTold::Conflict(present),
                Told::Found { whose, version, .. } => ConfigTold::Found { who: whose, version },
                Told::Absent { .. } => ConfigTold::Absent,
            };
            if configuration.told(number, until, told).is_err() {
                return false;
            }
        }
        configuration.finish().is_ok()
    }

    fn random(rng: &mut Rng) -> Vec<Operation> {
        let count = rng.between(3, 6) as usize;
        let one = |_| {
            let from = rng.below(10);
            let asked = [Asked::Put, Asked::Read, Asked::Swap(rng.below(4))][rng.below(3) as usize];
            let version = rng.between(1, 4);
            let told = match asked {
                Asked::Put => Told::Written(version),
                Asked::Swap(_) if rng.below(2) == 0 => Told::Conflict(rng.below(4)),
                Asked::Swap(_) => Told::Written(version),
                Asked::Read if rng.below(5) == 0 => Told::Absent { applied: 0 },
                Asked::Read => found(rng.below(3) as usize, version),
            };
            let told = (rng.below(10) < 7).then(|| (from + rng.below(8), told));
            operation(from, asked, told)
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn it_judges_as_a_search_through_all_orders_does_and_as_the_simulator() {
        let mut rng = Rng::stream([7; 32], Purpose::Link);
        let mut judged = [0; 2];
        for _ in 0..60_000 {
            let history = random(&mut rng);
            let whose = versions(&history, &[]).map(|writes| {
                writes.into_iter().map(|(version, number)| (number, version)).collect::<BTreeMap<_, _>>()
            });
            let fits = whose.is_ok_and(|whose| judge_key(&history, &whose, 0).is_ok());
            let slowly = judge_slowly(0, Held { whose: None, version: Ok(0) }, &history);
            assert_eq!(fits, slowly, "{history:#?}");
            assert!(!fits || simulated(&history), "{history:#?}");
            judged[usize::from(fits)] += 1;
        }
        assert!(judged.iter().all(|&times| times > 1_000), "{judged:?}");
    }
}
