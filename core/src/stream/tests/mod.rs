//! A source and a target over a make-believe log, disk and network.

mod changing;
mod closing;
mod dead_tail;
mod evidence;
mod failed;
mod flow;
mod handing;
mod hostile;
mod idle;
mod joining;
mod keeping;
mod large;
mod limits;
mod members;
mod parked;
mod promises;
mod random;
mod recorded;
mod replays;
mod replicated;
mod rereading;
mod sealing;
mod several;
mod stopped;
mod waiting;
mod world;
