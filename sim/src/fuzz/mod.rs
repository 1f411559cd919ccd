//! What reads bytes from outside, under bytes that somebody else makes up.
//!
//! A [`Target`] takes any bytes and panics if something is wrong. `cargo fuzz` gives it bytes in search of new paths (the folder
//! `fuzz` has one short program per target); [`sweep`] gives it bytes from a seed, and is what the tests run. Both begin with a
//! corpus: what real nodes said, wrote and were told in a small run of the simulator ([`tape`]).
//!
//! | target | what the bytes are |
//! | --- | --- |
//! | `frame` | a connection's bytes, and where they are cut |
//! | `messages` | a message of any family |
//! | `handshake` | operations on a node, most of them connections and the first messages on them |
//! | `journal` | what a disk did to the rows of a node |
//! | `node_inputs` | operations on a node in the midst of its life, see [`operation`] |
//!
//! Only lawful worlds are made up: jobs are answered rightly, time does not go back, rows become durable in order. What a peer, a client
//! or a disk says is free.

pub mod bench;
mod codec;
pub mod operation;
pub mod source;
pub mod tape;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use self::bench::Bench;
pub use self::bench::Tally;
use self::operation::Operation;
use self::source::{Source, mutate};
use self::tape::Tape;
use crate::panics::watch;
use crate::random::{Draws, Purpose};

/// The most operations of one input.
const OPERATIONS_MOST: usize = 200;
/// Where in its recorded life a node is taken, in eighths.
const STARTS: [usize; 5] = [0, 1, 2, 4, 7];
/// The length of inputs drawn at random.
const DRAWN_BYTES: (u64, u64) = (16, 600);

/// Something to be fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A connection's bytes.
    Frame,
    /// A message of any family.
    Messages,
    /// Connections and the first messages on them.
    Handshake,
    /// Rows as a disk gives them back.
    Journal,
    /// Whatever can be done to a node.
    NodeInputs,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Frame, Self::Messages, Self::Handshake, Self::Journal, Self::NodeInputs];

    /// Its name, which is that of its program in the folder `fuzz`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Messages => "messages",
            Self::Handshake => "handshake",
            Self::Journal => "journal",
            Self::NodeInputs => "node_inputs",
        }
    }

    /// Runs it on an input.
    ///
    /// # Panics
    /// If something is wrong.
    pub fn run(self, input: &[u8]) -> Tally {
        match self {
            Self::Frame => codec::frame(input),
            Self::Messages => codec::messages(input),
            Self::Handshake => handshake(input),
            Self::Journal => codec::journal(input),
            Self::NodeInputs => node_inputs(input),
        }
    }

    /// Inputs to begin with.
    #[must_use]
    pub fn corpus(self) -> Vec<Vec<u8>> {
        let tape = Tape::get();
        match self {
            Self::Frame => {
                let sent = tape.lives.iter().flat_map(|life| &life.sent);
                sent.map(|(_, bytes)| [&[7], &bytes[..]].concat()).collect()
            }
            Self::Messages => codec::said(&tape),
            // Their inputs are choices, not formats: any bytes are as good as others.
            Self::Handshake | Self::Journal | Self::NodeInputs => drawn(self, 32),
        }
    }
}

fn drawn(target: Target, count: u64) -> Vec<Vec<u8>> {
    let draw = |case| {
        let mut draws = Draws::new(0, Purpose::Fuzz, target as u64, case);
        bytes(&mut draws)
    };
    (0..count).map(draw).collect()
}

fn bytes(draws: &mut Draws) -> Vec<u8> {
    (0..draws.spread(DRAWN_BYTES.0, DRAWN_BYTES.1)).map(|_| draws.u64() as u8).collect()
}

thread_local! {
    static BENCHES: Rc<Vec<Bench>> = Rc::new(benches());
}

/// Every recorded node at several moments of its life.
fn benches() -> Vec<Bench> {
    let tape = Tape::get();
    let moments = |life: usize| {
        let inputs = tape.lives[life].inputs.len();
        STARTS.into_iter().map(move |eighths| (life, inputs * eighths / 8))
    };
    (0..tape.lives.len()).flat_map(moments).map(|(life, count)| Bench::played(&tape, life, count)).collect()
}

/// A node at the moment that the first choice names.
fn bench(source: &mut Source<'_>) -> Bench {
    BENCHES.with(|benches| source.pick(benches).clone())
}

fn node_inputs(input: &[u8]) -> Tally {
    let tape = Tape::get();
    let mut source = Source::new(input);
    let mut bench = bench(&mut source);
    for _ in 0..OPERATIONS_MOST {
        if source.is_empty() {
            break;
        }
        bench.apply(Operation::decode(&mut source, &tape));
    }
    bench.finish();
    bench.tally
}

/// Lanes to and from known nodes and strangers, and on them what begins a connection, changed.
fn handshake(input: &[u8]) -> Tally {
    use wattle_proto::frame::Kind;

    use self::operation::Change;
    let tape = Tape::get();
    let opens = |kind| matches!(kind, Kind::Link | Kind::Join);
    let openings: Vec<usize> =
        (0..tape.said.len()).filter(|&place| opens(tape.said[place].message.relay.kind())).collect();
    let mut source = Source::new(input);
    let mut bench = bench(&mut source);
    for _ in 0..OPERATIONS_MOST {
        if source.is_empty() {
            break;
        }
        bench.apply(match source.below(8) {
            0 => Operation::LaneUp { dialled: source.one_in(2), peer: source.below(4) },
            1 => Operation::Transmit { lane: source.below(8), max: source.below(1 << 14) },
            2 => Operation::Pass(wattle_core::time::Span::micros(source.number() % 3_000_000)),
            3 => Operation::LaneDown(source.below(8)),
            4 => Operation::WorkDone(source.below(4)),
            _ => Operation::Hear {
                lane: source.below(8),
                message: *source.pick(&openings),
                change: *source.pick(&[Change::Header, Change::Frame]),
                mutation: source.take(7).to_vec(),
            },
        });
    }
    bench.finish();
    bench.tally
}

/// An input on which a target panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What the panic said, and where.
    pub message: String,
}

/// Gives a target its corpus unchanged, and then `cases` inputs from a seed: changed ones of the corpus, and drawn ones.
///
/// # Errors
/// The first finding.
pub fn sweep(target: Target, seed: u64, cases: u64) -> Result<Tally, Finding> {
    sweep_with(|input| target.run(input), &target.corpus(), target as u64, seed, cases)
}

fn sweep_with(
    run: impl Fn(&[u8]) -> Tally,
    corpus: &[Vec<u8>],
    stream: u64,
    seed: u64,
    cases: u64,
) -> Result<Tally, Finding> {
    let mut tally = Tally::default();
    let mut give = |input: Vec<u8>| match watch(|| run(&input)) {
        Ok(come_to) => {
            tally.add(&come_to);
            Ok(())
        }
        Err(panic) => Err(Finding { input, message: format!("{} ({})", panic.message, panic.place) }),
    };
    corpus.iter().cloned().try_for_each(&mut give)?;
    for case in 0..cases {
        let mut draws = Draws::new(seed, Purpose::Fuzz, stream, case);
        let mut input = bytes(&mut draws);
        if !corpus.is_empty() && draws.percent(60) {
            let mut base = corpus[draws.index(corpus.len())].clone();
            mutate(&mut Source::new(&input), &mut base);
            input = base;
        }
        give(input)?;
    }
    Ok(tally)
}
