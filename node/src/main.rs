//! The program `wattle`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wattle_node::main()
}
