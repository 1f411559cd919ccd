//! What a stream keeps, for people and for programs.

use serde_json::{Value, json};
use wattle_proto::api::{Scarce, StreamKept, StreamRetention, StreamStatus};

use super::Names;

/// A time in the largest unit that says it whole.
pub(super) fn time(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(each, _)| millis.is_multiple_of(*each));
    unit.map_or_else(|| format!("{millis}ms"), |(each, unit)| format!("{}{unit}", millis / each))
}

/// Its limits in words.
pub(super) fn limits(keep: &StreamRetention) -> String {
    let mut limits = Vec::new();
    if keep.messages > 0 {
        limits.push(format!("the last {} messages", keep.messages));
    }
    if keep.bytes > 0 {
        limits.push(format!("the last {} bytes", keep.bytes));
    }
    if keep.millis > 0 {
        limits.push(format!("what is younger than {}", time(keep.millis)));
    }
    limits.join(", and ")
}

fn short(kept: &StreamKept, names: &Names) -> Option<String> {
    let upto = kept.short_upto?;
    let node = names.name(&kept.short_node);
    let what = match kept.scarce() {
        Scarce::Memory => format!("memory at {node}"),
        _ => format!("room on the disk of {node}"),
    };
    Some(format!("messages up to {upto} went before their time, for want of {what}"))
}

/// What two of its ends keep: each lets go in its own time, and what one of them has no more is not promised.
pub(super) fn add(kept: &mut StreamKept, there: StreamKept) {
    if there.first > kept.first {
        (kept.first, kept.messages, kept.bytes) = (there.first, there.messages, there.bytes);
    }
    if there.short_upto > kept.short_upto {
        (kept.short_upto, kept.short_node, kept.scarce) = (there.short_upto, there.short_node, there.scarce);
    }
}

/// What it keeps, a line each; nothing if it keeps nothing for its own sake and nobody reads it again.
pub(super) fn text(stream: &StreamStatus, names: &Names) -> String {
    let mut text = String::new();
    if let Some(keep) = &stream.keep {
        text.push_str(&format!("  keeps       {}\n", limits(keep)));
    }
    if let Some(kept) = stream.kept.as_ref().filter(|_| stream.keep.is_some()) {
        let (first, messages, bytes) = (kept.first, kept.messages, kept.bytes);
        text.push_str(&format!(
            "  kept        from message {first} on: {messages} that all have processed, {bytes} bytes\n"
        ));
        if let Some(short) = short(kept, names) {
            text.push_str(&format!("  gone early  {short}\n"));
        }
    }
    if stream.replays > 0 {
        text.push_str(&format!("  replays     {}\n", stream.replays));
    }
    text
}

/// The same for programs.
pub(super) fn json(stream: &StreamStatus, names: &Names) -> Value {
    let keep = stream.keep.as_ref();
    let keep =
        keep.map(|keep| json!({ "messages": keep.messages, "bytes": keep.bytes, "millis": keep.millis }));
    let kept = stream.kept.as_ref().map(|kept| {
        let scarce = if kept.scarce() == Scarce::Memory { "memory" } else { "disk" };
        let short = kept
            .short_upto
            .map(|upto| json!({ "upto": upto, "node": names.name(&kept.short_node), "scarce": scarce }));
        json!({ "first": kept.first, "messages": kept.messages, "bytes": kept.bytes, "short": short })
    });
    json!({ "keep": keep, "kept": kept, "replays": stream.replays })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn what_is_kept_is_told_and_what_went_early_with_the_reason() {
        let kept = StreamKept {
            first: 7,
            messages: 3,
            bytes: 40,
            short_upto: Some(6),
            short_node: Bytes::from_static(&[2; 16]),
            scarce: Scarce::Disk.into(),
        };
        let keep = StreamRetention { messages: 100, bytes: 0, millis: 36 * 3_600_000 };
        let mut least = StreamKept { first: 2, messages: 8, bytes: 90, ..StreamKept::default() };
        add(&mut least, kept.clone());
        assert_eq!(least, kept, "what is still kept elsewhere is not promised");
        add(&mut least, StreamKept { first: 1, messages: 9, bytes: 95, ..StreamKept::default() });
        assert_eq!(least, kept);
        let stream =
            StreamStatus { keep: Some(keep), kept: Some(kept), replays: 2, ..StreamStatus::default() };
        let shown = text(&stream, &Names::default());
        for words in [
            "the last 100 messages, and what is younger than 36h",
            "from message 7 on: 3",
            "up to 6",
            "room on the disk",
            "replays     2",
        ] {
            assert!(shown.contains(words), "{words} in {shown}");
        }
        let value = json(&stream, &Names::default());
        assert_eq!((&value["kept"]["first"], &value["kept"]["short"]["scarce"]), (&json!(7), &json!("disk")));
        assert_eq!(text(&StreamStatus::default(), &Names::default()), "");
        assert_eq!([1_500, 2_000, 604_800_000].map(time), ["1500ms", "2s", "7d"]);
    }
}
