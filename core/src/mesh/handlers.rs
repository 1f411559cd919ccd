//! Reserved keys are settings of the mesh itself. Each has a handler that knows which values make sense: it is asked where a value is proposed and
//! again where it is applied, knows nothing but the value, and so says the same at every member.

use alloc::string::{String, ToString};

use super::table::Table;
use crate::agreed::{ConfigRefusal, JoinPolicy, MeshSettings};

/// Keys that begin so are settings of the mesh itself.
pub const RESERVED: &str = "wattle/";

/// The name of the mesh, for people.
pub const NAME: &str = "wattle/mesh/name";
/// How many members shall vote in the control group.
pub const VOTERS: &str = "wattle/mesh/voters";
/// Who may join.
pub const JOIN_POLICY: &str = "wattle/mesh/join_policy";
/// How many may be asked for: an even number survives no more losses than the odd one below, and more than seven make every write wait.
const VOTERS_CHOICE: [usize; 4] = [1, 3, 5, 7];

/// The description of the mesh, for people.
pub const DESCRIPTION: &str = "wattle/mesh/description";
/// Longest name of a mesh.
const MESH_NAME_MAX: usize = 64;
/// Longest description.
const DESCRIPTION_BYTES_MAX: usize = 1_024;

/// A reserved key and its handler.
struct Setting {
    key: &'static str,
    /// Whether a value makes sense; in words what would, if not.
    check: fn(&str) -> Result<(), String>,
}

const SETTINGS: &[Setting] = &[
    Setting { key: NAME, check: name },
    Setting { key: DESCRIPTION, check: description },
    Setting { key: VOTERS, check: voters },
    Setting { key: JOIN_POLICY, check: join_policy },
];

/// Whether there is such a setting.
pub(super) fn is_known(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key == key)
}

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

fn name(text: &str) -> Result<(), String> {
    if valid_mesh_name(text) {
        return Ok(());
    }
    Err(bad_mesh_name(text))
}

/// Whether a mesh can be called so.
pub(super) fn valid_mesh_name(name: &str) -> bool {
    (1..=MESH_NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// What is wrong with a mesh's name, in words.
pub(super) fn bad_mesh_name(name: &str) -> String {
    alloc::format!("a mesh's name has 1 to {MESH_NAME_MAX} printable bytes; {name:?} does not fit")
}

fn voters(text: &str) -> Result<(), String> {
    if parse_voters(text).is_some() {
        return Ok(());
    }
    Err("it takes 1, 3, 5 or 7: with as many voters the mesh survives the loss of 0, 1, 2 or 3 of them"
        .to_string())
}

fn parse_voters(text: &str) -> Option<usize> {
    text.parse().ok().filter(|voters| VOTERS_CHOICE.contains(voters) && text.len() == 1)
}

fn join_policy(text: &str) -> Result<(), String> {
    match JoinPolicy::named(text) {
        Some(_) => Ok(()),
        None => Err("it takes open, key_required or closed".to_string()),
    }
}

/// The settings that a table holds.
pub(super) fn settings(table: &Table) -> MeshSettings {
    let text = |key| table.get(key).and_then(|held| core::str::from_utf8(&held.value).ok());
    MeshSettings {
        version: table.settings_version(),
        name: text(NAME).map(ToString::to_string),
        description: text(DESCRIPTION).map(ToString::to_string),
        voters: text(VOTERS).and_then(parse_voters),
        join_policy: text(JOIN_POLICY).and_then(JoinPolicy::named).unwrap_or_default(),
    }
}

fn description(text: &str) -> Result<(), String> {
    let printable = !text.chars().any(|c| c.is_control() && c != '\n');
    if text.len() <= DESCRIPTION_BYTES_MAX && printable {
        return Ok(());
    }
    Err(alloc::format!("it takes up to {DESCRIPTION_BYTES_MAX} bytes of printable text"))
}
