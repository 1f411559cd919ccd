//! Every interleaving of three replicas within bounds, with the engine of production: see README.md beside this.

pub mod model;
pub mod replica;
pub mod runs;
pub mod state;
