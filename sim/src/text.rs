//! How the values of a plan are written: times with their units, large numbers, planted bugs by name.

use serde::de::{Error, Visitor};
use wattle_core::planted::Bug;

use crate::event::{MICRO, MILLI, SECOND, Time};

/// Units from the longest to the shortest.
const UNITS: [(&str, Time); 4] = [("s", SECOND), ("ms", MILLI), ("us", MICRO), ("ns", 1)];

/// A time as text: in its longest unit that leaves something before the point, and exact.
pub(crate) fn show_time(time: Time) -> String {
    let (unit, size) = UNITS.into_iter().find(|&(_, size)| time >= size).unwrap_or(UNITS[0]);
    let (whole, rest) = (time / size, time % size);
    if rest == 0 {
        return format!("{whole}{unit}");
    }
    let digits = size.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    format!("{whole}.{}{unit}", fraction.trim_end_matches('0'))
}

/// The time that a text says.
pub(crate) fn read_time(text: &str) -> Result<Time, String> {
    let wrong =
        |why: &str| format!("{text:?} is no time: {why}; write for example \"250ms\", \"3.2s\" or \"17us\"");
    let bare = text.trim();
    let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(|| wrong("it has no unit"))?;
    let (number, unit) = (&bare[..end], bare[end..].trim_start());
    let (_, size) = UNITS
        .into_iter()
        .find(|&(name, _)| name == unit)
        .ok_or_else(|| wrong("the units are s, ms, us and ns"))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let too_long = || wrong("it is too long");
    let whole: Time = whole.parse().map_err(|_| wrong("a number stands before the unit"))?;
    let fraction = fraction.trim_end_matches('0');
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("a number stands before the unit"));
    }
    let mut parts = 0;
    let mut place = size;
    for digit in fraction.bytes() {
        place /= 10;
        if place == 0 {
            return Err(wrong("it is finer than a nanosecond"));
        }
        parts += place * Time::from(digit - b'0');
    }
    whole.checked_mul(size).and_then(|whole| whole.checked_add(parts)).ok_or_else(too_long)
}

/// The one of `known` that somebody may have meant by `wrong`.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|name| (distance(wrong, name), name)).min()?;
    (near.0 <= 1 + near.1.len() / 3).then_some(near.1)
}

/// How many letters must be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, letter) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], place + 1);
        for (column, &against) in other.iter().enumerate() {
            let changed = corner + usize::from(letter != against);
            corner = row[column + 1];
            row[column + 1] = changed.min(corner + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// The bug of that name.
pub(crate) fn find_bug(name: &str) -> Result<Bug, String> {
    Bug::named(name).ok_or_else(|| {
        let known = Bug::ALL.iter().map(|entry| entry.name);
        let meant = nearest(name, known.clone());
        let meant = meant.map(|meant| format!(", did you mean {meant:?}")).unwrap_or_default();
        format!("no bug is called {name:?}{meant}; there are: {}", known.collect::<Vec<_>>().join(", "))
    })
}

/// A time.
pub(crate) mod time {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use crate::event::Time;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(crate) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::show_time(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        super::read_time(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Two times, from and to.
pub(crate) mod times {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{Serialize, Serializer};

    use crate::event::Time;

    pub(crate) fn serialize<S: Serializer>(times: &(Time, Time), serializer: S) -> Result<S::Ok, S::Error> {
        (super::show_time(times.0), super::show_time(times.1)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Time, Time), D::Error> {
        let (from, to) = <(String, String)>::deserialize(deserializer)?;
        let read = |text: &str| super::read_time(text).map_err(D::Error::custom);
        Ok((read(&from)?, read(&to)?))
    }
}

/// A number that may be too large for TOML: then it is written as text.
pub(crate) mod number {
    use serde::de::Deserializer;
    use serde::ser::Serializer;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*number) {
            Ok(small) => serializer.serialize_i64(small),
            Err(_) => serializer.serialize_str(&number.to_string()),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(super::NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = u64;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number from 0, as text if it is above 9223372036854775807")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// A planted bug by its name.
pub(crate) mod bug {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use wattle_core::planted::Bug;

    #[expect(clippy::ref_option, reason = "serde passes references")]
    pub(crate) fn serialize<S: Serializer>(bug: &Option<Bug>, serializer: S) -> Result<S::Ok, S::Error> {
        match bug {
            Some(bug) => serializer.serialize_some(bug.describe().name),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bug>, D::Error> {
        let name = Option::<String>::deserialize(deserializer)?;
        name.as_deref().map(super::find_bug).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Draws, Purpose};

    #[test]
    fn times_are_written_in_their_longest_unit_and_read_back_to_the_nanosecond() {
        let written = [
            (0, "0s"),
            (1, "1ns"),
            (17_000, "17us"),
            (17_001, "17.001us"),
            (250 * MILLI, "250ms"),
            (3_200 * MILLI, "3.2s"),
            (3_000_000_001, "3.000000001s"),
            (u64::MAX, "18446744073.709551615s"),
        ];
        for (time, text) in written {
            assert_eq!(show_time(time), text);
            assert_eq!(read_time(text), Ok(time));
        }
        let mut draws = Draws::new(1, Purpose::Fault, 0, 0);
        for _ in 0..10_000 {
            let time = draws.spread(0, u64::MAX >> 1);
            assert_eq!(read_time(&show_time(time)), Ok(time));
        }
        assert_eq!(read_time(" 2.50 s "), Ok(2_500 * MILLI));
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_reason() {
        for (text, why) in [
            ("5", "no unit"),
            ("5m", "units are"),
            ("s", "a number"),
            ("1.2.3s", "a number"),
            ("-1s", "units are"),
            ("1.5ns", "finer"),
            ("99999999999s", "too long"),
            ("", "no unit"),
        ] {
            let said = read_time(text).expect_err(text);
            assert!(said.contains(why) && said.contains("250ms"), "{text:?}: {said}");
        }
    }

    #[test]
    fn a_slip_is_met_with_what_was_meant_and_nonsense_with_nothing() {
        let known = ["node", "power", "after_outputs", "down"];
        assert_eq!(nearest("nod", known), Some("node"));
        assert_eq!(nearest("after_output", known), Some("after_outputs"));
        assert_eq!(nearest("zzzzzzzz", known), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("ab", "ab")), (3, 2, 0));
    }

    #[test]
    fn an_unknown_bug_is_answered_with_the_known_ones() {
        let what = find_bug("vote-not-persistet").expect_err("there is no such bug");
        assert!(
            what.contains("did you mean \"vote-not-persisted\"") && what.contains("route-loop"),
            "{what}"
        );
    }
}
