//! The program `wattle` as a library, so that tests can use its parts.
//!
//! | module | owns |
//! | --- | --- |
//! | [`cli`] | the command line: what can be said, and who does it |
//! | [`settings`], [`run`], [`dev`], [`serve`], [`stop`] | running nodes in this process |
//! | [`handlers`] | what a node itself does with messages, by its settings |
//! | [`world`] | the node as the API sees it |
//! | [`api`] | the API for applications and operators |
//! | [`address`] | how commands find the nodes of this machine |
//! | [`client`] | the other side of the API: asking, publishing, subscribing |
//! | [`sim`] | the simulator |
//! | [`bench`], [`process`] | measuring real processes |
//! | [`output`] | tables and JSON |
#![deny(missing_docs)]

pub mod address;
pub mod api;
pub mod bench;
pub mod cli;
pub mod client;
pub mod dev;
#[cfg(test)]
mod fake;
pub mod handlers;
pub mod output;
pub mod process;
pub mod run;
pub mod serve;
pub mod settings;
pub mod sim;
pub mod stop;
pub mod world;

pub use cli::main;
