//! Meshes in which few vote and nobody feeds more than one learner, so that the others are fed by each other.

use crate::plan::Plan;
use crate::random::{Draws, Purpose};

/// One plan in so many of those that have learners enough.
const ONE_IN: u64 = 3;
/// Three voters, a learner that the leader feeds, and one that somebody else does.
const NODES_LEAST: usize = 5;

/// Turns some plans into such ones.
pub(super) fn relays(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Relay, 0, 0);
    if plan.nodes.len() >= NODES_LEAST && plan.recovery.is_none() && draws.one_in(ONE_IN) {
        (plan.replication.voters, plan.replication.fan_out) = (3, 1);
    }
}
