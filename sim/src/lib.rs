//! The simulated world of the mesh: `seed -> Plan -> Outcome`.
//!
//! A [`plan::Plan`] is plain data: who is there, what they want, what goes wrong when. [`world::run`] sets it going around the very
//! [`wattle_core::node::Node`] that runs in production, in virtual time and on one thread, and gives an [`outcome::Outcome`]: a
//! verdict and a hash over everything that happened. Equal plans give equal outcomes, on every platform.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`plan`], [`fault`], [`trouble`] | a run as data, and as TOML; `generate` makes one from a seed |
//! | [`random`], [`event`], [`clock`], [`trace`] | keyed random streams, the queue of events, clocks, the hash |
//! | [`network`], [`disk`], [`process`] | what surrounds a node, and what goes wrong there |
//! | [`world`] | the loop; `boot` starts a node, `drive` steps one, `transmit` sends for it, `lanes` tells it of its connections, `triggers` and `inject` begin and end faults, `hinder` slows and crashes processes, `custody` holds nodes to the state of their disks, `settle` judges the end |
//! | [`desk`], [`workload`] | those outside: tasks, publishers, handlers |
//! | [`checker`] | the promises, numbered |
//! | [`record`], [`explain`] | a run as events with causes; as a page, for ShiViz, for Perfetto |
//! | [`fuzz`] | nodes and codecs under bytes that somebody else makes up |
//! | [`seed`], [`swarm`], [`bench`], [`cli`] | what a seed says; many seeds; how fast; the commands |
//! | [`shrink`], [`regression`] | a failing plan made smaller; plans that are kept |
//!
//! First comes a phase with faults, in which nothing wrong may happen. Then everything heals, and within a bound everything that
//! was promised must have been done.
#![deny(missing_docs)]

#[cfg(feature = "planted")]
pub mod ablate;
pub mod bench;
mod boot;
mod changer;
pub mod checker;
mod clerk;
pub mod cli;
pub mod clock;
mod content;
pub mod coverage;
mod custody;
mod describe;
pub mod desk;
pub mod diff;
pub mod disk;
mod drive;
pub mod event;
pub mod explain;
pub mod fault;
pub mod forming;
mod forsaken;
mod frames;
pub mod fuzz;
mod generate;
mod handler;
mod hinder;
mod inject;
mod keeping;
mod keyring;
mod lanes;
mod leaver;
pub mod machine;
mod neighbours;
pub mod network;
mod newcomers;
mod next_version;
pub mod operator;
mod outcome;
mod panics;
mod pauser;
pub mod plan;
pub mod process;
mod processor;
mod publisher;
pub mod random;
mod reader;
pub mod record;
mod registrar;
pub mod regression;
mod rotator;
mod scarce;
#[cfg(feature = "planted")]
pub mod score;
pub mod sealer;
pub mod seed;
mod sender;
mod settle;
pub mod shrink;
pub mod stop;
mod stopper;
pub mod swarm;
mod task;
#[cfg(test)]
mod tests;
mod text;
#[cfg(test)]
mod toy;
pub mod trace;
mod transmit;
mod triggers;
pub mod trouble;
mod unsteady;
mod warden;
pub mod workload;
pub mod world;
