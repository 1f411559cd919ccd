//! The program `wattle`.

use std::process::ExitCode;

/// What a message allocates on one thread is freed on another, which the allocator of the C library is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wattle_node::main()
}
