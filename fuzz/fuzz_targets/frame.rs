//! Bytes of a connection, cut anywhere: frames or a refusal, never a panic, and no more memory than came in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wattle_sim::fuzz::Target;

fuzz_target!(|input: &[u8]| {
    Target::Frame.run(input);
});
