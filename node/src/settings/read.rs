//! From a file and the environment to values.

use toml::de::{DeTable, DeValue};

use super::{KEYS, Settings, Value, handlers, nearest};

/// The section of which there may be several.
const HANDLER: &str = "handler";

/// Reads the text of a file into `settings`.
pub(super) fn file(settings: &mut Settings, text: &str, shown: &str, mistakes: &mut Vec<String>) {
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            mistakes.push(format!("{shown}:{line}: {}", error.message()));
            return;
        }
    };
    for (section, content) in document.get_ref() {
        let line = line_of(text, section.span().start);
        let name: &str = section.get_ref();
        if name == HANDLER {
            handlers::read(&mut settings.handlers, content, text, shown, mistakes);
            continue;
        }
        if !KEYS.iter().any(|key| key.0 == name) {
            mistakes.push(format!(
                "{shown}:{line}: {}",
                unknown("section", name, KEYS.iter().map(|key| key.0).chain([HANDLER]))
            ));
            continue;
        }
        let Some(table) = content.get_ref().as_table() else {
            mistakes
                .push(format!("{shown}:{line}: `{name}` is a section: write [{name}] on a line of its own"));
            continue;
        };
        for (key, value) in table {
            let line = line_of(text, key.span().start);
            let key: &str = key.get_ref();
            match KEYS.iter().find(|known| known.0 == name && known.1 == key) {
                None => mistakes.push(format!("{shown}:{line}: {}", unknown_key(name, key))),
                Some((_, _, set)) => {
                    if let Err(wanted) = set(settings, value_of(value.get_ref())) {
                        mistakes.push(format!("{shown}:{line}: {name}.{key} must be {wanted}"));
                    }
                }
            }
        }
    }
}

/// Reads `WATTLE_SECTION_KEY` variables into `settings`. Those that begin with no section are not settings.
pub(super) fn environment(
    settings: &mut Settings,
    variables: &[(String, String)],
    mistakes: &mut Vec<String>,
) {
    for (variable, value) in variables {
        let Some((section, key)) = variable.strip_prefix("WATTLE_").and_then(|rest| rest.split_once('_'))
        else {
            continue;
        };
        let (section, key) = (section.to_lowercase(), key.to_lowercase());
        if !KEYS.iter().any(|known| known.0 == section) {
            continue;
        }
        match KEYS.iter().find(|known| known.0 == section && known.1 == key) {
            None => mistakes.push(format!("environment: {variable}: {}", unknown_key(&section, &key))),
            Some((_, _, set)) => {
                if let Err(wanted) = set(settings, Value::Loose(value.clone())) {
                    mistakes.push(format!("environment: {variable} must be {wanted}"));
                }
            }
        }
    }
}

fn unknown_key(section: &str, key: &str) -> String {
    if let Some((other, _, _)) = KEYS.iter().find(|known| known.1 == key && known.0 != section) {
        return format!("unknown key `{key}` in [{section}]; it belongs into [{other}]");
    }
    let known = KEYS.iter().filter(|known| known.0 == section).map(|known| known.1);
    unknown(&format!("key of [{section}]"), key, known)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.dedup();
    nearest(name, known.iter().copied()).map_or_else(
        || format!("unknown {what}: `{name}`; there is {}", known.join(", ")),
        |near| format!("unknown {what}: `{name}`; did you mean `{near}`?"),
    )
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count()
}

pub(super) fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            let digits = digits.trim_start_matches('+').trim_start_matches("0x").trim_start_matches("0o");
            let digits = digits.trim_start_matches("0b");
            i128::from_str_radix(digits, number.radix()).map_or(Value::Other, Value::Number)
        }
        DeValue::Array(list) => list
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map_or(Value::Other, Value::Texts),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Value::Other,
    }
}

/// Reads `67108864`, `64MiB`, `64 MB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let number: u64 = text.get(..end)?.replace('_', "").parse().ok()?;
    let unit: u64 = match text.get(end..)?.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}
