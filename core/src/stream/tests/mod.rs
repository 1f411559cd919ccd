//! A source and a target over a make-believe log, disk and network.

mod closing;
mod limits;
mod promises;
mod random;
mod sealing;
mod several;
mod waiting;
mod world;
