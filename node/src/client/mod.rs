//! The command line's side of the API: finding a node, asking it, following it to the right one.

pub mod config;
pub mod connect;
pub mod failure;
pub mod find;
pub mod follow;
pub mod pace;
pub mod publish;
pub mod source;
pub mod subscribe;

pub use connect::Client;
pub use failure::Failure;
pub use find::{Finder, Peer};
pub use follow::follow;
