//! Connections to a node, and what begins them: a link or its end, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wattle_sim::fuzz::Target;

fuzz_target!(|input: &[u8]| {
    Target::Handshake.run(input);
});
