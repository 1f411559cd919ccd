//! What commands print: text for people, JSON for programs. Answers go to standard output, remarks to standard error.

pub mod config;
pub mod flow;
pub mod handlers;
mod idle;
mod keeping;
pub mod members;
pub mod mesh_config;
pub mod parked;
pub mod recovery;
pub mod status;
pub mod stream;
pub mod updates;

use std::collections::BTreeMap;
use std::io::Write;

use clap::ValueEnum;
use serde_json::{Value, json};
use wattle_core::work::PublicKey;
use wattle_proto::api::MeshStatus;

use crate::api::convert::id_text;
use crate::client::Failure;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// Prints an answer in the form asked for. A reader that went away is no failure.
    pub fn print(self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        let answer = match self {
            Self::Text => text(),
            Self::Json => json().to_string(),
        };
        let mut stdout = std::io::stdout().lock();
        // Nobody is left to tell if this fails.
        let _ = writeln!(stdout, "{}", answer.trim_end_matches('\n')).and_then(|()| stdout.flush());
    }

    /// Tells people something that is not the answer.
    pub fn remark(self, remark: &str) {
        if self == Self::Text {
            let _ = writeln!(std::io::stderr().lock(), "{remark}");
        }
    }

    /// Prints why a command failed, on standard error.
    pub fn fail(self, failure: &Failure) {
        let text = match self {
            Self::Text => {
                let hint = failure.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
                format!("error: {failure}{hint}")
            }
            Self::Json => {
                let reason = failure.reason().map(|reason| reason.as_str_name());
                json!({ "error": failure.to_string(), "reason": reason, "hint": failure.hint() }).to_string()
            }
        };
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// What people compare of a public key: an id made from it. That of a node's first key is the node's own.
#[must_use]
pub fn fingerprint(key: &[u8]) -> String {
    PublicKey::from_slice(key).map_or_else(String::new, |key| key.first_node_id().to_string())
}

/// Rows under headings, in columns as wide as they must be.
#[must_use]
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let headings: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    let mut lines = vec![headings];
    lines.extend(rows);
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Names of nodes by their ids on the wire; an id that has no name is shown itself.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<Vec<u8>, String>);

impl Names {
    /// The names a node knows.
    #[must_use]
    pub fn of(status: &MeshStatus) -> Self {
        let members = status.members.iter().map(|member| (member.node.to_vec(), member.name.clone()));
        let former = status.former.iter().map(|former| (former.node.to_vec(), former.name.clone()));
        let own = (status.node.to_vec(), status.name.clone());
        Self(former.chain(members).chain([own]).collect())
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, node: &[u8]) -> String {
        self.0.get(node).cloned().unwrap_or_else(|| id_text(node))
    }

    /// Several names, as people say them.
    #[must_use]
    pub fn list<'a, T: AsRef<[u8]> + 'a>(&self, nodes: impl IntoIterator<Item = &'a T>) -> String {
        let names: Vec<_> = nodes.into_iter().map(|node| self.name(node.as_ref())).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let rows = [vec!["a".to_owned(), "12".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["node", "n"], rows), "NODE    N\na       12\nlonger\n");
    }
}
