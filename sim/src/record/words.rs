//! What a record says: a few words, and the fields that are worth a line of their own.

use bytes::Bytes;
use wattle_core::ends::Terms;
use wattle_core::node::command::{Command, Reply};
use wattle_core::node::output::Delivered;
use wattle_core::node::{Input, Output};

use super::Field;
use crate::describe;
use crate::fault::FaultKind;
use crate::plan::Edge;

/// The most characters of a value.
const VALUE_MOST: usize = 400;

pub(super) fn field(key: &'static str, value: impl std::fmt::Display) -> Field {
    (key, shortened(value.to_string()))
}

fn shortened(mut text: String) -> String {
    if let Some((cut, _)) = text.char_indices().nth(VALUE_MOST) {
        text.truncate(cut);
        text.push_str("...");
    }
    text
}

/// A fault in a few words. `name` is its kind and `names` are the nodes it is about.
pub(super) fn words_of(
    kind: &FaultKind,
    name: &str,
    names: &[String],
    called: &dyn Fn(usize) -> String,
) -> String {
    match *kind {
        FaultKind::Cut { from, to, both, .. } => {
            format!("cut {} {} {}", called(from), if both { "\u{2194}" } else { "\u{2192}" }, called(to))
        }
        FaultKind::Slow { from, to, .. } => format!("slow {} \u{2192} {}", called(from), called(to)),
        FaultKind::Isolate { node, inbound, outbound, .. } => {
            let ways = match (inbound, outbound) {
                (true, true) => "",
                (true, false) => ", inbound",
                _ => ", outbound",
            };
            format!("isolate {}{ways}", called(node))
        }
        FaultKind::Partition { ref side, .. } => {
            let side: Vec<String> = side.iter().map(|&node| called(node)).collect();
            format!("partition {} | others", side.join(", "))
        }
        FaultKind::Crash { node, power, .. } => {
            format!("{} {}", if power { "power loss" } else { "kill" }, called(node))
        }
        _ => {
            let mut words = String::new();
            for letter in name.chars() {
                if letter.is_ascii_uppercase() && !words.is_empty() {
                    words.push(' ');
                }
                words.push(letter.to_ascii_lowercase());
            }
            format!("{words} {}", names.join(", ")).trim_end().into()
        }
    }
}

/// The messages in bytes, or how many bytes there are if they begin in the midst of one.
pub(super) fn said_in(bytes: &Bytes) -> String {
    let said = describe::messages(bytes);
    if said.is_empty() { format!("{} bytes", bytes.len()) } else { shortened(said) }
}

/// The nodes that a fault is about: those it stalls, and those that it names.
pub(super) fn nodes_of(kind: &FaultKind, said: &str, edges: &[Edge]) -> Vec<u16> {
    let mut nodes: Vec<u16> =
        kind.stalls(edges).into_iter().flat_map(|(from, to)| [from as u16, to as u16]).collect();
    for part in said.split(['{', ',', '}']) {
        let named =
            part.split_once(": ").filter(|(key, _)| ["node", "from", "to", "a", "b"].contains(&key.trim()));
        let named = named.and_then(|(_, value)| value.trim().parse::<u16>().ok());
        nodes.extend(named);
    }
    nodes.sort_unstable();
    nodes.dedup();
    if let FaultKind::Isolate { node, .. } = kind {
        nodes = vec![*node as u16];
    }
    nodes
}

/// An input in fewer words than the trace has for it, if there are any.
pub(super) fn input_words(input: &Input) -> Option<String> {
    match input {
        Input::Command { command, .. } => match command {
            Command::Publish { stream, first, messages, .. } => Some(format!(
                "publish {first} to {} of a writer in {stream}",
                first.0 + messages.len() as u64 - 1
            )),
            Command::Attach { stream, .. } => Some(format!("attach a handler to {stream}")),
            Command::OpenStream { name, source, targets, .. } => {
                Some(format!("open {name} from {source} to {}", targets.join(", ")))
            }
            Command::Join { .. } => Some("join the mesh".into()),
            other => Some(first_word(other)),
        },
        Input::Verdict { upto, .. } => Some(format!("handler: success up to {upto}")),
        _ => None,
    }
}

/// The name of a variant.
pub(super) fn first_word(value: &impl std::fmt::Debug) -> String {
    let mut said = format!("{value:?}");
    said.truncate(said.find([' ', '(', '{']).unwrap_or(said.len()));
    said.to_lowercase()
}

/// An output in fewer words than the trace has for it, if there are any.
pub(super) fn output_words(output: &Output) -> Option<String> {
    match output {
        Output::Deliver(delivery) => {
            let (first, last) = delivery.messages.first().zip(delivery.messages.last())?;
            Some(format!("deliver {} to {} of {}", first.sequence, last.sequence, delivery.instance))
        }
        Output::Reply { reply: Ok(Reply::Published(receipt)), .. } => {
            let level = format!("{:?}", receipt.level).to_lowercase();
            Some(format!("{level}: {} to {} of {}", receipt.first, receipt.last, receipt.instance))
        }
        Output::Reply { reply: Ok(Reply::StreamOpened { instance, .. }), .. } => {
            Some(format!("{instance} is open"))
        }
        Output::Reply { reply: Ok(Reply::Attached { position, .. }), .. } => {
            Some(format!("attached, goes on after {}", position.sequence))
        }
        Output::Reply { reply: Ok(other), .. } => Some(format!("answer: {}", first_word(other))),
        Output::Reply { reply: Err(refusal), .. } => Some(format!("refused: {refusal}")),
        _ => None,
    }
}

pub(super) fn input_fields(input: &Input) -> Vec<Field> {
    match input {
        Input::LaneUp { lane, .. } | Input::LaneDown { lane } => vec![field("lane", lane)],
        Input::Received { lane, bytes } => vec![field("lane", lane), field("bytes", bytes.len())],
        Input::Persisted { upto } => vec![field("up to ticket", upto)],
        Input::Loaded { load, bytes } => vec![
            field("load", load.0),
            field(
                "bytes",
                bytes.as_ref().map_or_else(|| "unreadable".into(), |bytes| bytes.len().to_string()),
            ),
        ],
        Input::Command { request, command } => command_fields(request.0, command),
        Input::Verdict { token, upto } => vec![field("token", token), field("up to", upto)],
        Input::Space { free } => vec![field("free bytes", free)],
        _ => Vec::new(),
    }
}

pub(super) fn command_fields(request: u64, command: &Command) -> Vec<Field> {
    let mut fields = vec![field("request", format!("{request:x}"))];
    match command {
        Command::Publish { stream, writer, first, messages, wait } => fields.extend([
            field("stream", stream),
            field("writer", writer),
            field("first", first),
            field("messages", messages.len()),
            field("waits for", format!("{wait:?}").to_lowercase()),
        ]),
        Command::Attach { stream, window, .. } => {
            fields.extend([field("stream", stream), field("window", window)]);
        }
        Command::OpenStream { name, source, targets, terms: Terms { policy, poison, keep, .. } } => {
            fields.extend([field("stream", name), field("source", source)]);
            fields.extend(targets.iter().map(|target| field("target", target)));
            fields.push(field("completed by", format!("{policy:?}").to_lowercase()));
            let (parks, fails) = poison.parts();
            fields.push(field("parked after", parks));
            fields.extend((fails > 0).then(|| field("fails after", fails)));
            fields.extend(keep.words().map(|keeps| field("retention", keeps)));
        }
        other => fields.push(field("command", format!("{other:?}"))),
    }
    fields
}

pub(super) fn output_fields(output: &Output) -> Vec<Field> {
    match output {
        Output::Write { ticket, row } => vec![field("ticket", ticket), field("bytes", row.len())],
        Output::Load { load, row, offset, len } => {
            vec![field("load", load.0), field("row", row), field("offset", offset), field("bytes", len)]
        }
        Output::Deliver(delivery) => {
            let sequence = |message: Option<&Delivered>| message.map_or(0, |message| message.sequence.0);
            vec![
                field("stream", delivery.instance),
                field("first sequence", sequence(delivery.messages.first())),
                field("last sequence", sequence(delivery.messages.last())),
                field("token", delivery.token),
            ]
        }
        Output::DeliverUpdates(delivery) => {
            let upto = delivery.items.last().map_or(0, |item| item.last().0);
            vec![
                field("kind", delivery.kind.name()),
                field("items", delivery.items.len()),
                field("up to", upto),
                field("token", delivery.token),
            ]
        }
        Output::Reply { request, reply } => {
            let mut fields = vec![field("request", format!("{:x}", request.0))];
            match reply {
                Ok(Reply::Published(receipt)) => fields.extend([
                    field("level", format!("{:?}", receipt.level).to_lowercase()),
                    field("stream", receipt.instance),
                    field("sequences", format!("{} to {}", receipt.first, receipt.last)),
                    field("writer numbers", format!("{} to {}", receipt.first_writer, receipt.last_writer)),
                    field("provisional", receipt.provisional),
                    field("duplicate", receipt.duplicate),
                ]),
                Ok(reply) => fields.push(field("answer", format!("{reply:?}"))),
                Err(refusal) => fields.push(field("refused", refusal)),
            }
            fields
        }
        Output::Close { lane, reason } => vec![field("lane", lane), field("reason", format!("{reason:?}"))],
        Output::ShowKey(key) => vec![field("key of", key.first_node_id())],
        Output::Event(event) => vec![field("event", format!("{event:?}"))],
        Output::Trim { .. } | Output::Work { .. } | Output::Dial { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_called_what_it_does_to_whom() {
        let called = |node: usize| ["ash", "birch", "cedar"][node].to_owned();
        let words = |kind: FaultKind, name: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            words_of(&kind, name, &names, &called)
        };
        let cut = |both| FaultKind::Cut { from: 0, to: 2, both, length: 1 };
        assert_eq!(words(cut(false), "Cut", &["ash", "cedar"]), "cut ash \u{2192} cedar");
        assert_eq!(words(cut(true), "Cut", &["ash", "cedar"]), "cut ash \u{2194} cedar");
        let partition = FaultKind::Partition { side: vec![0, 1], length: 1 };
        assert_eq!(words(partition, "Partition", &[]), "partition ash, birch | others");
        assert_eq!(
            words(FaultKind::FailedWrite { node: 1 }, "FailedWrite", &["birch"]),
            "failed write birch"
        );
        let depose = FaultKind::Depose { times: 1, delay: 1, length: 1, crash: true };
        assert_eq!(words(depose, "Depose", &[]), "depose");
    }

    #[test]
    fn a_fault_is_about_the_nodes_it_names_and_those_it_stalls() {
        let edge = |a, b| Edge { a, b, a_dials: true, b_dials: false };
        let edges = [edge(0, 1), edge(1, 2), edge(2, 3)];
        let nodes = |kind: FaultKind| nodes_of(&kind, &format!("{kind:?}"), &edges);
        assert_eq!(nodes(FaultKind::Reset { a: 3, b: 1, late: true }), [1, 3]);
        assert_eq!(nodes(FaultKind::FailedWrite { node: 2 }), [2]);
        assert_eq!(nodes(FaultKind::Partition { side: vec![0, 1], length: 1 }), [1, 2]);
        assert_eq!(nodes(FaultKind::Isolate { node: 3, inbound: true, outbound: false, length: 1 }), [3]);
        assert!(nodes(FaultKind::Depose { times: 1, delay: 1, length: 1, crash: true }).is_empty());
    }
}
