//! Operations on a node in the midst of its life: its invariants hold after each, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wattle_sim::fuzz::Target;

fuzz_target!(|input: &[u8]| {
    Target::NodeInputs.run(input);
});
