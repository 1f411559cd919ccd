//! The composition: ingress, wiring, egress, durability, journal.

pub mod command;
pub mod input;
pub mod output;
pub mod status;
