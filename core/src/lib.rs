//! The pure machine of a Wattle node.
//!
//! Everything a node *decides* lives here, as state machines without hands: bytes, time and completed writes go in; bytes,
//! writes to make and events come out. `wattle-io` drives them with sockets and a disk, `wattle-sim` with a seed.
//!
//! Start with [`node`], the composition, and read any one part to know how the others look:
//!
//! | part | owns |
//! | --- | --- |
//! | [`link`] | neighbours: handshake, keepalive, reconnect, both heartbeats |
//! | [`route`] | link states, flooding, cheapest paths |
//! | [`raft`] | the consensus groups of a node |
//! | [`mesh`] | the replicated state the control group agrees on |
//! | [`stream`] | exactly-once ordered delivery |
//! | [`node`] | composition, durability, journal, ingress and egress |
//!
//! Parts never import each other. `no_std` is the guard that keeps clocks, threads, entropy and randomly ordered maps out.
#![no_std]
#![deny(clippy::float_arithmetic)]
#![deny(missing_docs)]

extern crate alloc;

pub mod agreed;
pub mod configuration;
pub mod coverage;
pub mod crc32c;
pub mod description;
pub mod digest;
pub mod ends;
pub mod epoch;
pub mod event;
mod fields;
pub mod flow;
pub mod id;
pub mod level;
pub mod link;
pub mod members;
pub mod mesh;
pub mod node;
pub mod parked;
pub mod payload;
pub mod planted;
pub mod raft;
pub mod record;
pub mod recovery;
pub mod retention;
pub mod rng;
pub mod route;
pub mod sealing;
mod sorted_map;
pub mod stream;
pub mod text;
pub mod time;
pub mod update;
pub mod when;
pub mod whole;
pub mod work;
