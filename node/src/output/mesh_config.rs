//! `wattle mesh config`.

use serde_json::{Value, json};
use wattle_proto::api::{JoinKeyStatus, JoinPolicy, MeshConfig};

/// For people.
#[must_use]
pub fn text(config: &MeshConfig, key: Option<&JoinKeyStatus>) -> String {
    let voters = match config.control_voters {
        Some(voters) => format!("{voters}, as far as there are members"),
        None => "as each leader has it in its own settings (5 unless changed)".to_owned(),
    };
    let description = if config.description.is_empty() { "none" } else { &config.description };
    format!(
        "name         {}\ndescription  {description}\nvoters       {voters}\njoining      {}\njoin key     {}\nversion      {}",
        config.name,
        policy(config),
        key_text(key),
        config.version
    )
}

/// What a policy is called on the command line.
#[must_use]
pub fn policy(config: &MeshConfig) -> &'static str {
    match config.join_policy() {
        JoinPolicy::Open => "open",
        JoinPolicy::Closed => "closed",
        JoinPolicy::KeyRequired | JoinPolicy::Unspecified => "key-required",
    }
}

fn key_text(key: Option<&JoinKeyStatus>) -> String {
    let Some(key) = key else { return "none; tokens of `wattle mesh invite` let others in".to_owned() };
    let uses = key.uses.map_or_else(String::new, |uses| format!(" of {uses}"));
    let expires = match key.expires_millis {
        Some(millis) => format!("good until {} s after 1970 (UTC)", millis / 1_000),
        None => "good until the next one".to_owned(),
    };
    format!("version {}, used {}{uses} times, {expires}", key.version, key.used)
}

/// For programs.
#[must_use]
pub fn json(config: &MeshConfig) -> Value {
    json!({
        "name": config.name, "description": config.description, "control_voters": config.control_voters,
        "join_policy": policy(config),
        "version": config.version,
    })
}
