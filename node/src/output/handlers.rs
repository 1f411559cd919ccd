//! Handlers that run in nodes, in `wattle status` and `wattle stream show`; and `wattle stream stored`.

use bytes::Bytes;
use serde_json::{Value, json};
use wattle_core::node::command::Position;
use wattle_proto::api::{HandlerState, HandlerStatus, ReadHandlerStoreResponse};

use super::{Names, id_text, table};
use crate::handlers::store::Set;

/// Those of the answering node, a line each.
#[must_use]
pub fn text(handlers: &[HandlerStatus]) -> String {
    if handlers.is_empty() {
        return String::new();
    }
    let rows = handlers.iter().map(|handler| {
        let (received, done) = (handler.received.to_string(), handler.done.to_string());
        vec![handler.stream.clone(), handler.name.clone(), received, done, state(handler)]
    });
    format!("\n{}", table(&["handler of", "kind", "received", "done", "state"], rows))
}

/// What it is about.
fn state(handler: &HandlerStatus) -> String {
    let state = match handler.state() {
        HandlerState::Attached => match (handler.processing_first, handler.processing_last) {
            (Some(first), Some(last)) if first == last => format!("processing {first}"),
            (Some(first), Some(last)) => format!("processing {first} to {last}"),
            _ => "attached".to_owned(),
        },
        HandlerState::Waiting => format!("waiting: {}", handler.why),
        HandlerState::Over => format!("ended: {}", handler.why),
        HandlerState::Attaching | HandlerState::Unspecified => "attaching".to_owned(),
    };
    let Some(trouble) = &handler.trouble else { return state };
    let what =
        trouble.message.map_or_else(|| "failed".to_owned(), |message| format!("failed on message {message}"));
    let times = if trouble.attempts == 1 { "once".to_owned() } else { format!("{} times", trouble.attempts) };
    // What it waits for is what it failed with.
    match handler.state() {
        HandlerState::Waiting | HandlerState::Over if handler.why == trouble.text => {
            format!("{what} ({times}), {state}")
        }
        _ => format!("{state}; {what} ({times}): {}", trouble.text),
    }
}

/// Those of one stream, at the nodes that were asked.
#[must_use]
pub fn of_stream(handlers: &[(Bytes, HandlerStatus)], names: &Names) -> String {
    let line = |(node, handler): &(Bytes, HandlerStatus)| {
        let name = names.name(node);
        format!(
            "  {} at {name}: received {}, done {}, {}\n",
            handler.name,
            handler.received,
            handler.done,
            state(handler)
        )
    };
    handlers.iter().map(line).collect()
}

/// What an operator should look at.
#[must_use]
pub fn warning(handler: &HandlerStatus) -> Option<String> {
    let ended = handler.state() == HandlerState::Over;
    (ended || handler.trouble.is_some()).then(|| {
        let again = match ended {
            true => format!(" (`wattle stream handle {}` has it begin again)", handler.stream),
            false => String::new(),
        };
        let (name, stream, state) = (&handler.name, &handler.stream, state(handler));
        format!("the handler {name} of stream {stream} is not well: {state}{again}")
    })
}

/// For programs.
#[must_use]
pub fn json(handler: &HandlerStatus) -> Value {
    let state = match handler.state() {
        HandlerState::Attached => "attached",
        HandlerState::Waiting => "waiting",
        HandlerState::Over => "over",
        HandlerState::Attaching | HandlerState::Unspecified => "attaching",
    };
    json!({
        "stream": handler.stream, "name": handler.name, "state": state, "why": handler.why,
        "received": handler.received, "processing": handler.processing_first.zip(handler.processing_last), "done": handler.done,
        "trouble": handler.trouble.as_ref().map(|trouble| json!({
            "message": trouble.message, "attempts": trouble.attempts, "text": trouble.text,
        })),
    })
}

/// What a handler keeps: its key, a tab and the value, a line each.
#[must_use]
pub fn stored_text(read: &ReadHandlerStoreResponse) -> String {
    let line = |entry: &wattle_proto::api::StoredEntry| {
        format!("{}\t{}\n", entry.key, String::from_utf8_lossy(&entry.value))
    };
    read.entries.iter().map(line).collect()
}

/// The same for programs: a value that is no UTF-8 is a list of bytes.
#[must_use]
pub fn stored_json(read: &ReadHandlerStoreResponse) -> Value {
    let value = |bytes: &Bytes| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!(bytes.to_vec()),
    };
    let entries = read.entries.iter().map(|entry| json!({ "key": entry.key, "value": value(&entry.value) }));
    json!({
        "entries": entries.collect::<Vec<_>>(), "more": read.more,
        "position": read.position.as_ref().map(|position| json!({
            "instance": id_text(&position.instance), "authority": position.authority, "sequence": position.sequence,
        })),
    })
}

/// Where a store was set to stand.
#[must_use]
pub fn set_text(set: &Set) -> String {
    let place = |position: Position| format!("{} (authority {})", position.sequence, position.authority);
    let removed = match (set.removed, set.values && set.now.sequence < set.before.sequence) {
        (0, false) => String::new(),
        (0, true) => "; what messages behind that put stays as it is".to_owned(),
        (1, _) => "; 1 message behind that was taken out".to_owned(),
        (removed, _) => format!("; {removed} messages behind that were taken out"),
    };
    format!("it stood at message {}, and stands at {}{removed}\n", place(set.before), place(set.now))
}

/// The same for programs.
#[must_use]
pub fn set_json(set: &Set) -> Value {
    let place =
        |position: Position| json!({ "authority": position.authority.0, "sequence": position.sequence.0 });
    json!({ "before": place(set.before), "now": place(set.now), "removed": set.removed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_proto::api::HandlerTrouble;

    #[test]
    fn a_handler_is_told_in_a_line() {
        let handler = |state: HandlerState, why: &str| HandlerStatus {
            stream: "words".into(),
            name: "store".into(),
            state: state.into(),
            why: why.into(),
            received: 9,
            done: 7,
            ..HandlerStatus::default()
        };
        let well = handler(HandlerState::Attached, "");
        assert_eq!((state(&well), warning(&well)), ("attached".to_owned(), None));
        let busy = HandlerStatus { processing_first: Some(8), processing_last: Some(9), ..well.clone() };
        assert_eq!(state(&busy), "processing 8 to 9");
        let trouble = Some(HandlerTrouble { message: Some(8), attempts: 3, text: "no JSON".into() });
        let ill = HandlerStatus { trouble, ..well };
        assert_eq!(state(&ill), "attached; failed on message 8 (3 times): no JSON");
        assert!(warning(&ill).is_some());
        let trouble = Some(HandlerTrouble { message: None, attempts: 1, text: "no answer".into() });
        let away = HandlerStatus { trouble, ..handler(HandlerState::Waiting, "no answer") };
        assert_eq!(state(&away), "failed (once), waiting: no answer");
        let over = handler(HandlerState::Over, "another handler took over");
        assert_eq!(state(&over), "ended: another handler took over");
        assert!(warning(&over).is_some());
    }
}
