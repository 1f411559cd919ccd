//! Which of two plans is the smaller one.

use super::{kinds, numbers, plain};
use crate::plan::Plan;

/// How large a plan is: what comes first decides, so that one fault less is worth any number of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// Faults.
    pub faults: usize,
    /// Nodes.
    pub nodes: usize,
    /// Streams.
    pub streams: usize,
    /// Publishers.
    pub publishers: usize,
    /// Calls to the registry, wishes about configuration, departures, changes of members, stops, regions, updates and interruptions of handlers.
    pub extras: usize,
    /// Messages.
    pub messages: u64,
    /// Edges between nodes.
    pub edges: usize,
    /// What is not as plain as it could be.
    features: usize,
    /// How involved its faults are.
    weight: u64,
    /// All its times and counts.
    magnitude: u128,
}

impl Size {
    /// The size of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let interruptions = plan.streams.iter().map(|stream| stream.handler.interruptions.len());
        let mut scratch = plan.clone();
        let times = numbers::times(&mut scratch).into_iter().map(|time| u128::from(*time)).sum::<u128>();
        let counts = numbers::counts(&mut scratch).into_iter().map(|(count, _)| u128::from(*count));
        Self {
            faults: plan.faults.len(),
            nodes: plan.nodes.len(),
            streams: plan.streams.len(),
            publishers: plan.streams.iter().map(|stream| stream.publishers.len()).sum(),
            extras: plan.departures.len()
                + plan.changes.len()
                + plan.flow.as_ref().map_or(0, |flow| flow.pauses.len() + flow.throttles.len())
                + plan.stops.len()
                + plan.rotations.len()
                + plan.nodes.iter().filter(|node| node.region.is_some()).count()
                + plan.registry.len()
                + plan.config.len()
                + plan.sends().len()
                + interruptions.sum::<usize>(),
            messages: plan.messages(),
            edges: plan.edges.len(),
            features: plain::features(plan),
            weight: plan.faults.iter().map(kinds::weight).sum(),
            magnitude: times + counts.sum::<u128>(),
        }
    }
}
