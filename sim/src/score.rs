//! How strong the simulator is: every planted bug, and how many seeds it takes to see it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wattle_core::planted::{Bug, Description, counts};

use crate::outcome::Outcome;
use crate::seed::Profile;
use crate::swarm::{self, Request};

/// How a bug was detected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// The first seed whose plan fails with the bug and passes without it.
    pub seed: u64,
    /// How many seeds were run for that, this one included.
    pub seeds: u64,
    /// The promise that was seen broken.
    pub checker: String,
}

impl Detection {
    /// The failure with which a search that began at a seed ended.
    #[must_use]
    pub fn of(failure: &Outcome, from: u64) -> Self {
        Self {
            seed: failure.seed,
            seeds: failure.seed + 1 - from,
            checker: failure.verdict.broken().unwrap_or("nothing").into(),
        }
    }
}

/// Bugs of reads, for which no node asks yet: the core looks for them among replicas without nodes.
pub const UNASKED: [Bug; 4] =
    [Bug::ReadBeforeOwnTerm, Bug::ReadRoundReused, Bug::LeaderReadsAlone, Bug::ReadsAlikeInEachLife];

/// Bugs of how a group goes on without its quorum: only runs in which an operator asks for that come there.
const OF_RECOVERIES: [Bug; 7] = [
    Bug::FencedStillVotes,
    Bug::EraNotCompared,
    Bug::FounderNotHighest,
    Bug::BegunFounderWaits,
    Bug::RecallLiftsFence,
    Bug::LearnerTakenForCertain,
    Bug::RenamedIdKept,
];

/// What the runs are about in which a bug is looked for, where those about consensus are asked for.
#[must_use]
pub fn home(bug: Bug, asked: Profile) -> Profile {
    match asked {
        Profile::Raft if OF_RECOVERIES.contains(&bug) => Profile::Recovery,
        asked => asked,
    }
}

/// What a bug came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Its name.
    pub bug: String,
    /// What the runs were about.
    #[serde(default)]
    pub profile: Profile,
    /// How many seeds were run at most.
    pub tried: u64,
    /// How often the place it sits in was passed.
    pub reached: u64,
    /// How often that made a difference.
    pub triggered: u64,
    /// The processor time of all seeds up to the detection, or of all tried, in milliseconds.
    pub cpu_millis: u64,
    /// How it was detected, if it was.
    pub detected: Option<Detection>,
}

/// Looks for a bug in the plans of some seeds, in rising order, until it is seen. `None` if it was asked to stop before that.
#[must_use]
pub fn score(bug: &Description, request: Request) -> Option<Score> {
    let before = counts::of(bug.bug);
    let request = Request { bug: Some(bug.bug), ..request };
    let (profile, seeds) = (request.profile, request.seeds.clone());
    let summary = swarm::run(&request, &|_| ());
    if summary.stopped && summary.failure.is_none() {
        return None;
    }
    let after = counts::of(bug.bug);
    let last = summary.failure.as_ref().map_or(seeds.end, |failure| failure.seed + 1);
    let counted = summary.times.iter().filter(|(_, seed)| *seed < last);
    let cpu: Duration = counted.map(|(time, _)| *time).sum();
    Some(Score {
        bug: bug.name.into(),
        profile,
        tried: last - seeds.start,
        reached: after.0 - before.0,
        triggered: after.1 - before.1,
        cpu_millis: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
        detected: summary.failure.map(|failure| Detection::of(&failure, seeds.start)),
    })
}

/// What a table of scores comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many bugs.
    pub bugs: usize,
    /// How many of them were detected.
    pub detected: usize,
    /// The seeds it took in the middle, those that were not detected counted as never.
    pub median: Option<u64>,
    /// The seeds it took for all but one in twenty.
    pub most: Option<u64>,
}

/// Sums a table up.
#[must_use]
pub fn summary(scores: &[Score]) -> Summary {
    let mut seeds: Vec<Option<u64>> =
        scores.iter().map(|score| score.detected.as_ref().map(|detected| detected.seeds)).collect();
    seeds.sort_by_key(|seeds| seeds.unwrap_or(u64::MAX));
    let at = |percent: usize| {
        seeds.get((seeds.len() * percent).div_ceil(100).saturating_sub(1)).copied().flatten()
    };
    Summary { bugs: scores.len(), detected: seeds.iter().flatten().count(), median: at(50), most: at(95) }
}

/// The processor time in the middle and at most, in milliseconds; what was not detected counts as never.
#[must_use]
pub fn seconds(scores: &[Score]) -> (Option<u64>, Option<u64>) {
    let time = |score: &Score| score.detected.is_some().then_some(score.cpu_millis);
    let mut times: Vec<Option<u64>> = scores.iter().map(time).collect();
    times.sort_by_key(|time| time.unwrap_or(u64::MAX));
    let middle = times.len().div_ceil(2).saturating_sub(1);
    (times.get(middle).copied().flatten(), times.last().copied().flatten())
}

/// A table in Markdown: a row per bug, by family, with its mechanism.
#[must_use]
pub fn table(scores: &[Score]) -> String {
    let mut text = String::from(
        "| bug | mechanism | reached | triggered | detected by | seeds | CPU s |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let known = |score: &Score| Some((score.clone(), Bug::named(&score.bug)?.describe()));
    for (score, bug) in scores.iter().filter_map(known) {
        let of = if score.profile == Profile::Recovery { " of recoveries" } else { "" };
        let (checker, seeds) = match &score.detected {
            Some(detected) => (detected.checker.clone(), detected.seeds.to_string()),
            None => ("**not detected**".into(), format!("> {}", score.tried)),
        };
        text.push_str(&format!(
            "| {} `{}` | {} | {} | {} | {checker} | {seeds}{of} | {}.{:02} |\n",
            bug.family.name(),
            bug.name,
            bug.mechanism,
            score.reached,
            score.triggered,
            score.cpu_millis / 1000,
            score.cpu_millis % 1000 / 10,
        ));
    }
    text
}

/// Puts a table in place of the one a document has between the two marks of that name.
///
/// # Errors
/// If the document lacks the marks.
pub fn replace(document: &str, name: &str, table: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- {name} begins -->\n"), format!("<!-- {name} ends -->"));
    let lacks = || format!("the document has no lines `{}` and `{end}` to write between", begin.trim_end());
    let (head, rest) = document.split_once(&begin).ok_or_else(lacks)?;
    let (_, tail) = rest.split_once(&end).ok_or_else(lacks)?;
    Ok(format!("{head}{begin}{table}{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(bug: Bug, seeds: Option<u64>) -> Score {
        let detection = |seeds| Detection { seed: seeds - 1, seeds, checker: "R1".into() };
        let (bug, tried) = (bug.describe().name.into(), seeds.unwrap_or(500));
        let profile = Profile::General;
        Score {
            bug,
            profile,
            tried,
            reached: 3,
            triggered: 2,
            cpu_millis: 1234,
            detected: seeds.map(detection),
        }
    }

    #[test]
    fn what_is_never_detected_counts_as_later_than_everything_else() {
        let scores = [Some(1), Some(90), None].map(|seeds| scored(Bug::RouteLoop, seeds));
        assert_eq!(summary(&scores), Summary { bugs: 3, detected: 2, median: Some(90), most: None });
        assert_eq!(summary(&scores[..1]).median, Some(1));
        assert_eq!(seconds(&scores), (Some(1234), None));
        assert_eq!(seconds(&scores[..2]), (Some(1234), Some(1234)));
        assert_eq!(summary(&[]), Summary { bugs: 0, detected: 0, median: None, most: None });
    }

    #[test]
    fn a_bug_of_recoveries_is_looked_for_where_there_are_any() {
        assert_eq!(home(Bug::FencedStillVotes, Profile::Raft), Profile::Recovery);
        assert_eq!(home(Bug::FencedStillVotes, Profile::General), Profile::General);
        assert_eq!(home(Bug::VoteNotPersisted, Profile::Raft), Profile::Raft);
        let found = Score { profile: Profile::Recovery, ..scored(Bug::FencedStillVotes, Some(3)) };
        assert!(table(&[found]).contains("| R1 | 3 of recoveries | 1.23 |"));
    }

    #[test]
    fn a_table_replaces_the_one_between_its_marks_and_nothing_else() {
        let table = table(&[scored(Bug::RouteLoop, Some(7)), scored(Bug::RouteLoop, None)]);
        assert!(
            table.contains("| R1 | 7 | 1.23 |") && table.contains("**not detected** | > 500 |"),
            "{table}"
        );
        let document = "before\n<!-- score begins -->\nold\n<!-- score ends -->\nafter\n";
        let written = replace(document, "score", &table).unwrap();
        assert_eq!(written, format!("before\n<!-- score begins -->\n{table}<!-- score ends -->\nafter\n"));
        assert_eq!(replace(&written, "score", &table).unwrap(), written);
        assert!(replace(document, "ablation", "").unwrap_err().contains("ablation begins"));
    }
}
