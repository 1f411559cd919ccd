//! The real world of a Wattle node: it drives [`wattle_core::node::Node`] with sockets, a disk, a clock and entropy.
//!
//! It moves things and decides nothing. One thread owns the node and runs one loop (`driver`): take what happened, tell
//! the node, carry out what it wants. Everything slow lives elsewhere and answers with an event: sockets and TLS as tokio
//! tasks (`lanes`), the store on a thread that makes one sync per batch ([`store`]), loads on another, hashing and
//! signatures on a few more.
//!
//! | module | owns |
//! | --- | --- |
//! | [`settings`], [`error`] | what a node is started with, and why it cannot start or stopped |
//! | [`handle`] | [`Running`], the face towards the application |
//! | [`handler`] | [`Handler`]s inside the process, and what calls them |
//! | [`identity`], `keyring` | the data directory, its lock, the key file; whatever takes the secrets in it |
//! | `driver`, `event` | the loop, and what can happen to it |
//! | [`store`], `disk` | rows in files; the threads that write and load them |
//! | [`space`] | free space and the reserve that keeps draining possible |
//! | [`tls`], `lanes`, `socket` | connections: who is at the other end, their bytes, and how few of them wait unsent |
//! | `work`, `helper`, `clock` | heavy work, threads, time, entropy |
//!
//! With the feature `turmoil`, which only the tests in `tests/turmoil` turn on, the same shell runs in a simulated network: the module
//! `simulated` says what is other then.
#![deny(missing_docs)]

mod clock;
mod disk;
mod driver;
pub mod error;
mod event;
pub mod handle;
pub mod handler;
#[cfg(not(feature = "turmoil"))]
mod helper;
pub mod identity;
mod keyring;
mod lanes;
mod net;
pub mod settings;
#[cfg(feature = "turmoil")]
pub mod simulated;
#[cfg_attr(feature = "turmoil", path = "simulated/socket.rs")]
mod socket;
pub mod space;
mod start;
pub mod store;
pub mod tls;
#[cfg_attr(feature = "turmoil", path = "simulated/work.rs")]
mod work;

pub use error::{StartError, StopReason};
pub use handle::{Answered, Attachment, Ended, Handed, Queue, Replies, Running};
pub use handler::{Handler, Handling};
pub use lanes::Counts;
pub use settings::{Limits, Settings};
pub use start::start;
