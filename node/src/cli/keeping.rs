//! What a stream is to keep, and reading it again.

use clap::Args;
use wattle_proto::api::{Replay, StreamRetention};

/// How much of a stream is kept though all have processed it: a message stays while any one of these wants it.
#[derive(Args, Debug)]
pub(super) struct KeepArgs {
    /// Keep the last so many messages though all targets have processed them, to be read again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keep_messages: Option<u64>,
    /// Keep the last so many bytes of messages: a number, or one with KiB, MiB, GiB or TiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    keep_bytes: Option<u64>,
    /// Keep messages for so long: a number with ms, s, m, h or d, as in 36h. A message stays while any one of these limits wants it; where a disk becomes
    /// scarce, the oldest of what all have processed goes first, and `wattle stream show` says so
    #[arg(long, value_name = "DURATION", value_parser = millis)]
    keep_for: Option<u64>,
}

impl KeepArgs {
    /// What is to be kept, if anything is.
    pub(super) fn wish(&self) -> Option<StreamRetention> {
        let limits = [self.keep_messages, self.keep_bytes, self.keep_for];
        let [messages, bytes, millis] = limits.map(Option::unwrap_or_default);
        limits.iter().any(Option::is_some).then_some(StreamRetention { messages, bytes, millis })
    }
}

/// Reading again what is kept.
#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// Read again what the target has processed and still keeps, beside its handler and without moving anything
    #[arg(long, conflicts_with_all = ["position_file", "take_over"])]
    replay: bool,
    /// With --replay, begin with the message of that sequence, or with the first that is kept
    #[arg(long, value_name = "SEQUENCE|first-kept", requires = "replay", default_value = "first-kept", value_parser = from)]
    from: From,
    /// With --replay, end with the message of that sequence; without it, go on with whatever is processed
    #[arg(long, value_name = "SEQUENCE", requires = "replay", conflicts_with = "until", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) to: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct From(Option<u64>);

impl ReplayArgs {
    /// What is to be read again, if anything is.
    pub(super) fn wish(&self) -> Option<Replay> {
        self.replay.then_some(Replay { from: self.from.0, to: self.to })
    }
}

fn from(text: &str) -> Result<From, String> {
    if text == "first-kept" {
        return Ok(From(None));
    }
    let number = text.parse().ok().filter(|number| *number > 0);
    number
        .map(|number| From(Some(number)))
        .ok_or_else(|| format!("{text:?} is neither a sequence, which is a number from 1, nor first-kept"))
}

/// The number in front of a unit.
fn number(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number.parse().ok().filter(|number| *number > 0), unit)
}

fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = number(text);
    let shift = match unit {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        "TiB" => Some(40),
        _ => None,
    };
    let bytes = number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("{text:?} is not a size: give a number, or one with KiB, MiB, GiB or TiB"))
}

pub(super) fn millis(text: &str) -> Result<u64, String> {
    let (number, unit) = number(text);
    let each = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis = number.zip(each).and_then(|(number, each): (u64, u64)| number.checked_mul(each));
    millis.ok_or_else(|| format!("{text:?} is not a time: give a number with ms, s, m, h or d"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        keep: KeepArgs,
    }

    #[test]
    fn limits_are_read_with_their_units() {
        assert_eq!((bytes("700"), bytes("64KiB"), bytes("2GiB")), (Ok(700), Ok(64 << 10), Ok(2 << 30)));
        assert_eq!(
            (millis("250ms"), millis("36h"), millis("7d")),
            (Ok(250), Ok(129_600_000), Ok(604_800_000))
        );
        for wrong in ["", "0", "5 GiB", "KiB", "1.5GiB", "20000000TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0s", "7", "d", "-1s", "99999999999999999d"] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
        assert_eq!((from("first-kept"), from("9")), (Ok(From(None)), Ok(From(Some(9)))));
        assert!(from("0").is_err() && from("last").is_err());
        let wish =
            |arguments: &[&str]| Line::try_parse_from([&["w"], arguments].concat()).unwrap().keep.wish();
        assert_eq!(wish(&[]), None);
        let asked = StreamRetention { messages: 0, bytes: 0, millis: 1_000 };
        assert_eq!(wish(&["--keep-for", "1s"]), Some(asked));
    }
}
