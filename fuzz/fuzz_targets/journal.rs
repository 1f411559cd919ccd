//! What a disk did to a node's rows: a start or a refusal, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wattle_sim::fuzz::Target;

fuzz_target!(|input: &[u8]| {
    Target::Journal.run(input);
});
