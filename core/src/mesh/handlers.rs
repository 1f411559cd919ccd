//! Reserved keys are settings of the mesh itself. Each has a handler that knows which values make sense: it is asked where a value is proposed and
//! again where it is applied, knows nothing but the value, and so says the same at every member.

use alloc::string::{String, ToString};

use crate::agreed::ConfigRefusal;

/// Keys that begin so are settings of the mesh itself.
pub const RESERVED: &str = "wattle/";

/// The description of the mesh, for people.
pub const DESCRIPTION: &str = "wattle/mesh/description";
/// Longest description.
const DESCRIPTION_BYTES_MAX: usize = 1_024;

/// A reserved key and its handler.
struct Setting {
    key: &'static str,
    /// Whether a value makes sense; in words what would, if not.
    check: fn(&str) -> Result<(), String>,
}

const SETTINGS: &[Setting] = &[Setting { key: DESCRIPTION, check: description }];

/// Whether the handler of `key`, if it has one, takes `value`.
pub(super) fn check(key: &str, value: &[u8]) -> Result<(), ConfigRefusal> {
    if !key.starts_with(RESERVED) {
        return Ok(());
    }
    let refused = |why: String| ConfigRefusal::Refused { key: key.into(), why };
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
        let known: alloc::vec::Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
        let known = known.join(", ");
        return Err(refused(alloc::format!(
            "keys that begin with {RESERVED} are settings of the mesh, and these are: {known}"
        )));
    };
    let text = core::str::from_utf8(value).map_err(|_| refused("it takes text in UTF-8".to_string()))?;
    (setting.check)(text).map_err(refused)
}

fn description(text: &str) -> Result<(), String> {
    let printable = !text.chars().any(|c| c.is_control() && c != '\n');
    if text.len() <= DESCRIPTION_BYTES_MAX && printable {
        return Ok(());
    }
    Err(alloc::format!("it takes up to {DESCRIPTION_BYTES_MAX} bytes of printable text"))
}
