//! `wattle stream parked`.

use serde_json::{Value, json};
use wattle_core::id::{MessageId, WriterId};
use wattle_proto::api::{FailingMessage, ParkedMessage, ShowParkedResponse};

use super::table;

fn writer(message: &ParkedMessage) -> String {
    WriterId::from_slice(&message.writer).map_or_else(|| "?".to_owned(), |writer| writer.to_string())
}

fn id(message: &ParkedMessage) -> String {
    MessageId::from_slice(&message.id).map_or_else(|| "?".to_owned(), |id| id.to_string())
}

/// A line for each.
#[must_use]
pub fn list_text(messages: &[ParkedMessage]) -> String {
    if messages.is_empty() {
        return "Nothing is parked.".to_owned();
    }
    let rows = messages.iter().map(|message| {
        vec![
            message.sequence.to_string(),
            format!("{}/{}", writer(message), message.writer_sequence),
            message.bytes.to_string(),
            message.attempts.to_string(),
            message.reason.replace(char::is_control, " "),
        ]
    });
    table(&["sequence", "writer", "bytes", "attempts", "why"], rows)
}

/// For programs.
#[must_use]
pub fn json(message: &ParkedMessage) -> Value {
    json!({
        "sequence": message.sequence, "authority": message.authority, "id": id(message), "writer": writer(message),
        "writer_sequence": message.writer_sequence, "bytes": message.bytes, "attempts": message.attempts,
        "reason": message.reason, "since": message.since, "parked": message.parked,
    })
}

/// For programs.
#[must_use]
pub fn list_json(messages: &[ParkedMessage]) -> Value {
    messages.iter().map(json).collect()
}

/// What is known of one, and what was published as far as it is text.
#[must_use]
pub fn shown_text(shown: &ShowParkedResponse) -> String {
    let Some(message) = &shown.message else { return String::new() };
    format!(
        "Message {} ({}), the one of number {} of writer {}\nfailed {} times: {}\n\n{}",
        message.sequence,
        id(message),
        message.writer_sequence,
        writer(message),
        message.attempts,
        message.reason,
        String::from_utf8_lossy(&shown.data)
    )
}

/// For programs: the bytes as text if they are, and otherwise as hexadecimal digits.
#[must_use]
pub fn shown_json(shown: &ShowParkedResponse) -> Value {
    let mut value = shown.message.as_ref().map_or(Value::Null, json);
    match std::str::from_utf8(&shown.data) {
        Ok(text) => value["text"] = json!(text),
        Err(_) => {
            let digits: String = shown.data.iter().map(|byte| format!("{byte:02x}")).collect();
            value["hex"] = json!(digits);
        }
    }
    value
}

/// How many were processed.
#[must_use]
pub fn retried_text(handled: usize) -> String {
    match handled {
        0 => "Nothing is parked.".to_owned(),
        1 => "One message was processed, and is parked no more.".to_owned(),
        _ => format!("{handled} messages were processed, and are parked no more."),
    }
}

/// For programs.
#[must_use]
pub fn retried_json(handled: usize) -> Value {
    json!({ "handled": handled })
}

/// Which are gone.
#[must_use]
pub fn discarded_text(sequences: &[u64]) -> String {
    match sequences {
        [] => "Nothing is parked.".to_owned(),
        [one] => format!("Message {one} is gone."),
        several => format!("{} messages are gone.", several.len()),
    }
}

/// For programs.
#[must_use]
pub fn discarded_json(sequences: &[u64]) -> Value {
    json!({ "discarded": sequences })
}

/// What a handler fails at, in `wattle stream show`.
#[must_use]
pub fn failing_text(failing: &FailingMessage) -> String {
    let FailingMessage { sequence, attempts, reason, held_up, .. } = failing;
    let parked = held_up.as_ref().map(|why| format!(" (not parked: {why})")).unwrap_or_default();
    format!("  failing     message {sequence}, {attempts} times{parked}: {reason}\n")
}

/// For programs.
#[must_use]
pub fn failing_json(failing: &FailingMessage) -> Value {
    let FailingMessage { sequence, attempts, reason, since, held_up } = failing;
    json!({ "sequence": sequence, "attempts": attempts, "reason": reason, "since": since, "held_up": held_up })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message() -> ParkedMessage {
        ParkedMessage {
            sequence: 7,
            id: Bytes::from_static(&[0; 16]),
            writer: Bytes::from_static(&[0; 16]),
            writer_sequence: 3,
            bytes: 2,
            attempts: 5,
            reason: "not\nwanted".to_owned(),
            ..ParkedMessage::default()
        }
    }

    #[test]
    fn what_is_parked_is_listed_a_line_each_and_shown_with_its_bytes() {
        assert_eq!(list_text(&[]), "Nothing is parked.");
        let text = list_text(&[message()]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("not wanted") && text.contains('7'), "{text}");
        let mut shown = ShowParkedResponse { message: Some(message()), data: Bytes::from_static(b"no") };
        assert!(shown_text(&shown).ends_with("\n\nno"));
        assert_eq!((&shown_json(&shown)["text"], &shown_json(&shown)["attempts"]), (&json!("no"), &json!(5)));
        shown.data = Bytes::from_static(&[0xff]);
        assert_eq!(shown_json(&shown)["hex"], "ff");
    }
}
