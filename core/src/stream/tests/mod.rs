//! A source and a target over a make-believe log, disk and network.

mod closing;
mod promises;
mod random;
mod world;
