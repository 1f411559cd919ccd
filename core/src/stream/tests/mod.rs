//! A source and a target over a make-believe log, disk and network.

mod closing;
mod limits;
mod members;
mod promises;
mod random;
mod sealing;
mod several;
mod stopped;
mod waiting;
mod world;
