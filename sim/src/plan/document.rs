//! A plan as a text that people read and edit: TOML, one line per fault, times with their units.

use serde::Deserialize;
use toml::{Table, Value};

use super::{FORMAT, Plan};
use crate::text;

/// The keys below which everything stands on one line.
const ON_ONE_LINE: [&str; 6] = ["edges", "when", "kind", "latency", "links", "interruptions"];

/// As much of a text as tells whether the rest can be read.
#[derive(Deserialize)]
struct Head {
    format: Option<u32>,
}

impl Plan {
    /// The plan as a text.
    ///
    /// # Panics
    /// If a count or size is above what TOML can hold, 2^63 - 1. Seeds, ids and times are not limited in this way.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let table = Table::try_from(self).expect("the counts of a plan are no larger than TOML can hold");
        let mut text = String::new();
        write_table(&mut text, "", &table);
        text
    }

    /// The plan that a text says, checked.
    ///
    /// # Errors
    /// Says where the text is wrong and what to do about it.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let head: Head = toml::from_str(text).map_err(|error| explain(&error))?;
        match head.format {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(format!("format {other} is not known here: this program reads format {FORMAT}"));
            }
            None => return Err(format!("the format is missing: a plan begins with `format = {FORMAT}`")),
        }
        let plan: Self = toml::from_str(text).map_err(|error| explain(&error))?;
        plan.check()?;
        Ok(plan)
    }
}

fn write_table(out: &mut String, path: &str, table: &Table) {
    let within = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let tables = |value: &Value| match value {
        Value::Array(values) => !values.is_empty() && values.iter().all(Value::is_table),
        value => value.is_table(),
    };
    let apart = |key: &str, value: &Value| tables(value) && !ON_ONE_LINE.contains(&key);
    for (key, value) in table.iter().filter(|(key, value)| !apart(key, value)) {
        match value {
            Value::Array(values) if tables(value) => {
                let lines: String = values.iter().map(|value| format!("    {value},\n")).collect();
                *out += &format!("{key} = [\n{lines}]\n");
            }
            value => *out += &format!("{key} = {value}\n"),
        }
    }
    for (key, value) in table.iter().filter(|(key, value)| apart(key, value)) {
        let path = within(key);
        match value {
            Value::Table(inner) => {
                *out += &format!("\n[{path}]\n");
                write_table(out, &path, inner);
            }
            Value::Array(values) => {
                for inner in values.iter().filter_map(Value::as_table) {
                    *out += &format!("\n[[{path}]]\n");
                    write_table(out, &path, inner);
                }
            }
            _ => {}
        }
    }
}

/// An error in words that help: where it is, and what may have been meant.
fn explain(error: &toml::de::Error) -> String {
    let mut words = error.to_string();
    if let Some(meant) = meant(error.message()) {
        words = format!("{}\nhelp: did you mean `{meant}`?", words.trim_end());
    }
    words.trim_end().to_owned()
}

/// What was meant by an unknown name, given "unknown field `x`, expected one of `a`, `b`".
fn meant(message: &str) -> Option<&str> {
    let (unknown, expected) = message.split_once(", expected ")?;
    let wrong = unknown.strip_prefix("unknown ")?.split('`').nth(1)?;
    text::nearest(wrong, expected.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Recording;
    use crate::world::run;

    #[test]
    fn a_thousand_plans_come_back_from_their_text_as_they_were() {
        for seed in 0..1000 {
            let plan = Plan::generate(seed);
            let text = plan.to_toml();
            let back = Plan::from_toml(&text).unwrap_or_else(|what| panic!("seed {seed}: {what}\n{text}"));
            assert_eq!(back, plan, "seed {seed}:\n{text}");
        }
    }

    #[test]
    fn a_plan_read_from_its_text_runs_in_the_same_way() {
        for seed in 0..5 {
            let plan = Plan::generate(seed);
            let back = Plan::from_toml(&plan.to_toml()).expect("it was just written");
            assert_eq!(run(&back, Recording::Off), run(&plan, Recording::Off));
        }
    }

    #[test]
    fn what_only_people_or_large_seeds_need_comes_back_too() {
        let mut plan = Plan::generate(u64::MAX);
        plan.note = Some("two lines\nand a \"quote\"".into());
        plan.planted = wattle_core::planted::Bug::named("route-loop");
        plan.network.links.clear();
        plan.faults.clear();
        let text = plan.to_toml();
        assert!(
            text.contains("seed = \"18446744073709551615\"") && text.contains("planted = \"route-loop\"")
        );
        assert_eq!(Plan::from_toml(&text), Ok(plan));
    }

    #[test]
    fn the_text_is_what_a_person_would_write() {
        let mut plan = Plan::generate(3);
        plan.fault_phase = 3_200_000_000;
        let text = plan.to_toml();
        assert!(text.starts_with("format = 1\nseed = 3\n"), "{text}");
        assert!(text.contains("\nfault_phase = \"3.2s\"\n"), "{text}");
        assert!(text.contains("\n[[nodes]]\nname = \"ash\"\n"), "{text}");
        assert!(text.contains("\nwhen = { at = \""), "{text}");
        let longest = text.lines().map(str::len).max();
        assert!(longest.is_some_and(|longest| longest < 160), "{longest:?}: {text}");
    }

    #[test]
    fn a_mistake_in_a_text_is_answered_with_its_place_and_what_to_do() {
        let text = Plan::generate(3).to_toml();
        let refused = |from: &str, to: &str, said: &[&str]| {
            assert!(text.contains(from), "nothing to spoil: {from}\n{text}");
            let what = Plan::from_toml(&text.replacen(from, to, 1)).expect_err(to);
            assert!(said.iter().all(|said| what.contains(said)), "{what:?} does not say {said:?}");
        };
        refused("format = 1", "format = 9", &["format 9", "reads format 1"]);
        refused("format = 1\n", "", &["the format is missing", "`format = 1`"]);
        refused("listens =", "listen =", &["line", "unknown field `listen`", "did you mean `listens`?"]);
        refused("fault_phase = \"", "fault_phase = \"x", &["fault_phase", "is no time", "250ms"]);
        refused("source = ", "source = 7", &["the source of stream-0 is node 7", "numbers 0 to"]);
        refused("seed = 3", "seed = -3", &["a number from 0"]);
        refused("seed = 3", "seed = 3\nplanted = \"rout-loop\"", &["did you mean \"route-loop\""]);
        refused("joins_at", "joins_at = \"1s\"\njoins_at", &["duplicate key"]);
    }
}
