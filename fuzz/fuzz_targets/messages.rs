//! Every message family: a typed message that says the same again, or a refusal, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wattle_sim::fuzz::Target;

fuzz_target!(|input: &[u8]| {
    Target::Messages.run(input);
});
