//! What a statement is given for a message. It names what it wants in braces: `{body}`, `{sequence}`, `{id}`, `{writer}`, `{writer_sequence}`,
//! `{instance}`.
//!
//! All are sent as text, and a body for a `bytea` as it is: the server reads them as whatever type they are wanted as, and says in its own words what
//! does not fit.

use std::error::Error;
use std::pin::Pin;
use std::task::Poll;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use wattle_core::node::command::Position;
use wattle_io::handler::{Failure, Message};

/// What there is.
const NAMES: [&str; 6] = ["body", "sequence", "id", "writer", "writer_sequence", "instance"];

/// A statement with numbers in the place of names, and which of [`NAMES`] each number stands for.
pub(super) fn numbered(statement: &str) -> (String, Vec<usize>) {
    let (mut text, mut wanted) = (String::new(), Vec::new());
    let mut rest = statement;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let name = after.split_once('}').map(|(name, _)| name);
        match name.and_then(|name| NAMES.iter().position(|known| *known == name)) {
            Some(known) => {
                let place = wanted.iter().position(|one| *one == known).unwrap_or_else(|| {
                    wanted.push(known);
                    wanted.len() - 1
                });
                text.push_str(&format!("${}", place + 1));
                rest = after.split_once('}').map_or("", |(_, rest)| rest);
            }
            // A brace of its own: of JSON, or of an array.
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    (text, wanted)
}

/// What is wrong with the names in a statement, if something is.
///
/// # Errors
/// A sentence that says what to do.
pub(super) fn check(statement: &str) -> Result<(), String> {
    let known = || NAMES.map(|name| format!("{{{name}}}")).join(", ");
    for after in statement.split('{').skip(1) {
        let Some((name, _)) = after.split_once('}') else { continue };
        let like = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if like && !NAMES.contains(&name) {
            return Err(format!("`statement` has {{{name}}}, and there is {}", known()));
        }
    }
    let numbered = |after: &str| after.starts_with(|first: char| first.is_ascii_digit());
    if statement.split('$').skip(1).any(numbered) {
        return Err(format!(
            "`statement` has a parameter with a number: write its name instead, of {}",
            known()
        ));
    }
    Ok(())
}

/// One parameter.
#[derive(Clone, Debug)]
pub(super) struct Param {
    bytes: Bytes,
    body: bool,
}

impl Param {
    pub(super) fn text(text: String) -> Self {
        Self { bytes: text.into(), body: false }
    }

    pub(super) fn number(number: u64) -> Self {
        Self::text(number.to_string())
    }

    fn is_raw(&self, ty: &Type) -> bool {
        self.body && *ty == Type::BYTEA
    }
}

impl ToSql for Param {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if self.is_raw(ty) { Format::Binary } else { Format::Text }
    }

    to_sql_checked!();
}

/// A message as parameters.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) position: Position,
    params: [Param; NAMES.len()],
}

impl Row {
    pub(super) async fn of(message: &Message) -> Result<Self, Failure> {
        let body = Param { bytes: message.body().whole().await?, body: true };
        let (position, key) = (message.position, message.key);
        let params = [
            body,
            Param::number(position.sequence.0),
            Param::text(message.id.to_string()),
            Param::text(key.writer.to_string()),
            Param::number(key.writer_sequence.0),
            Param::text(position.instance.to_string()),
        ];
        Ok(Self { position, params })
    }

    /// Those of its parameters that a statement wants.
    pub(super) fn params(&self, wanted: &[usize]) -> Vec<&(dyn ToSql + Sync)> {
        let found = wanted.iter().filter_map(|name| self.params.get(*name));
        found.map(|param| param as &(dyn ToSql + Sync)).collect()
    }
}

type Answer = Result<u64, tokio_postgres::Error>;
pub(super) type Step<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

pub(super) fn boxed<'a>(step: impl Future<Output = Answer> + Send + 'a) -> Step<'a> {
    Box::pin(step)
}

/// Has all steps under way before the first is answered, in this order, and gives their answers.
pub(super) async fn together(mut steps: Vec<Step<'_>>) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = steps.iter().map(|_| None).collect();
    // The client puts a request into its queue when it is polled for the first time.
    std::future::poll_fn(|cx| {
        for (step, answer) in steps.iter_mut().zip(&mut answers) {
            if let Poll::Ready(ready) = step.as_mut().poll(cx) {
                *answer = Some(ready);
            }
        }
        Poll::Ready(())
    })
    .await;
    let mut all = Vec::with_capacity(steps.len());
    for (step, answer) in steps.into_iter().zip(answers) {
        all.push(match answer {
            Some(answer) => answer,
            None => step.await,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_become_numbers_and_other_braces_stay() {
        let statement = "insert into o values ({id}, {body}, {id}, '{\"a\": 1}', '{1,2}', {what}, {";
        let (text, wanted) = numbered(statement);
        assert_eq!(text, "insert into o values ($1, $2, $1, '{\"a\": 1}', '{1,2}', {what}, {");
        assert_eq!(wanted.iter().map(|name| NAMES[*name]).collect::<Vec<_>>(), ["id", "body"]);
    }

    #[test]
    fn what_a_statement_cannot_be_given_is_found_before_it_runs() {
        assert_eq!(check("insert into o values ({id}, {body}, '{1,2}', '{\"a\": 1}', '{}', '$')"), Ok(()));
        let wrong = check("insert into o values ({id}, {boddy})").unwrap_err();
        assert!(wrong.contains("{boddy}") && wrong.contains("{body}"), "{wrong}");
        assert!(check("select $1").unwrap_err().contains("write its name"));
    }
}
