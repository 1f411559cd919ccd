//! `wattle config`.

use serde_json::{Value, json};
use wattle_proto::api::{ConfigChange, ConfigRecord, Consistency, ReadPoint};

use super::table;

/// Longest value shown whole in a listing.
const SHOWN_MAX: usize = 60;

/// A value for people: text as it is, anything else as hexadecimal digits.
#[must_use]
pub fn value_text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => hex(value),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same in one line.
fn line(value: &[u8]) -> String {
    value_text(value).escape_debug().to_string()
}

fn shortened(value: &[u8]) -> String {
    let line = line(value);
    if line.chars().count() <= SHOWN_MAX {
        return line;
    }
    let shown: String = line.chars().take(SHOWN_MAX).collect();
    format!("{shown}… ({} bytes)", value.len())
}

/// Keys, versions and the beginnings of values.
#[must_use]
pub fn list_text(records: &[ConfigRecord]) -> String {
    if records.is_empty() {
        return "no keys".to_owned();
    }
    let row = |record: &ConfigRecord| {
        vec![record.key.clone(), record.version.to_string(), shortened(&record.value)]
    };
    table(&["key", "version", "value"], records.iter().map(row))
}

/// A key for programs: its value as `value` if it is text, else as `hex`.
#[must_use]
pub fn json(record: &ConfigRecord) -> Value {
    let mut value = json!({ "key": record.key, "version": record.version, "created": record.created });
    match std::str::from_utf8(&record.value) {
        Ok(text) => value["value"] = text.into(),
        Err(_) => value["hex"] = hex(&record.value).into(),
    }
    value
}

/// A change, in one line.
#[must_use]
pub fn change_text(change: &ConfigChange) -> String {
    match &change.record {
        Some(record) => format!("{} {} = {}", change.version, change.key, line(&record.value)),
        None => format!("{} {} deleted", change.version, change.key),
    }
}

/// A change for programs.
#[must_use]
pub fn change_json(change: &ConfigChange, fresh: bool) -> Value {
    let mut value = match &change.record {
        Some(record) => json(record),
        None => json!({ "key": change.key, "version": change.version, "deleted": true }),
    };
    value["listed"] = fresh.into();
    value
}

/// From when an answer is, if it may be old.
#[must_use]
pub fn age(at: Option<&ReadPoint>) -> Option<String> {
    let at = at.filter(|at| at.consistency() == Consistency::Local)?;
    let age = match at.age_millis {
        Some(millis) => format!("{}.{:03} s ago", millis / 1_000, millis % 1_000),
        None => "before it started".to_owned(),
    };
    Some(format!("as this node knew it: it applied its last entry ({}) {age}", at.applied))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> ConfigRecord {
        ConfigRecord { key: key.into(), value: value.to_vec().into(), version: 7, created: 5 }
    }

    #[test]
    fn values_are_shown_as_text_where_they_are_text_and_in_one_line() {
        assert_eq!(json(&record("k", b"a\nb"))["value"], "a\nb");
        assert_eq!(json(&record("k", b"\xff\x01"))["hex"], "ff01");
        let list = list_text(&[record("app/k", b"a\nb"), record("m", &[b'x'; 100])]);
        assert!(list.contains("app/k  7        a\\nb\n"), "{list}");
        assert!(list.contains("… (100 bytes)"), "{list}");
        let change = ConfigChange { key: "k".into(), version: 9, record: None };
        assert_eq!(change_text(&change), "9 k deleted");
        assert_eq!(change_json(&change, false)["deleted"], true);
    }

    #[test]
    fn only_what_may_be_old_says_how_old_it_is() {
        let at = |consistency: Consistency| ReadPoint {
            applied: 12,
            consistency: consistency.into(),
            age_millis: Some(1_250),
        };
        assert_eq!(age(Some(&at(Consistency::Linearizable))), None);
        assert!(age(Some(&at(Consistency::Local))).unwrap().ends_with("(12) 1.250 s ago"));
    }
}
