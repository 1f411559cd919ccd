//! What makes a plan less plain than it could be, one thing at a time.

use crate::event::{MILLI, SECOND};
use crate::plan::{
    FAN_OUT, HandlerKind, HandlerPlan, LOG_BYTES, Latency, Plan, PublisherPlan, ReplicationPlan,
};

/// Above so many nodes, what nodes have of their own is made plain for all of them at once.
const ONE_BY_ONE: usize = 12;

/// Makes one thing plain.
pub(super) type Setter = Box<dyn Fn(&mut Plan)>;

/// Everything that can be made plain in a plan of this shape.
pub(super) fn setters(plan: &Plan) -> Vec<Setter> {
    let mut setters = world();
    if plan.nodes.len() <= ONE_BY_ONE {
        (0..plan.nodes.len()).for_each(|node| setters.extend(one_node(node)));
    } else {
        setters.push(Box::new(|plan| plan.nodes.iter_mut().for_each(|node| node.clock_ppm = 0)));
        setters.push(Box::new(|plan| plan.nodes.iter_mut().for_each(|node| node.wall_offset = 0)));
        setters.push(Box::new(|plan| plan.nodes.iter_mut().for_each(|node| node.disk_factor = 1)));
        setters.push(Box::new(|plan| plan.nodes.iter_mut().for_each(|node| node.listens = true)));
        setters.push(Box::new(|plan| plan.nodes.iter_mut().for_each(|node| node.next_version = false)));
    }
    for (stream, entry) in plan.streams.iter().enumerate() {
        setters.extend(one_handler(stream));
        (0..entry.publishers.len()).for_each(|writer| setters.extend(one_publisher(stream, writer)));
    }
    setters
}

/// How many of them would change the plan.
pub(super) fn features(plan: &Plan) -> usize {
    let changes = |setter: &Setter| {
        let mut plainer = plan.clone();
        setter(&mut plainer);
        plainer != *plan
    };
    setters(plan).iter().filter(|setter| changes(setter)).count()
}

fn world() -> Vec<Setter> {
    vec![
        Box::new(|plan| plan.forsaken = None),
        Box::new(|plan| plan.beyond_repair = false),
        Box::new(|plan| plan.network.duplicate_one_in = 0),
        Box::new(|plan| plan.network.split_one_in = 0),
        Box::new(|plan| plan.network.bandwidth = 0),
        Box::new(|plan| plan.network.window = 256 << 10),
        Box::new(|plan| plan.network.links.clear()),
        Box::new(|plan| plan.network.latency = Latency::Fixed(MILLI)),
        Box::new(|plan| plan.network.latency = Latency::Fixed(base(plan.network.latency))),
        Box::new(|plan| {
            plan.network.links.iter_mut().for_each(|link| link.latency = Latency::Fixed(base(link.latency)));
        }),
        Box::new(|plan| plan.disk.sync = (MILLI, MILLI)),
        Box::new(|plan| plan.disk.sync.1 = plan.disk.sync.0),
        Box::new(|plan| plan.disk.rows_may_tear = false),
        Box::new(|plan| plan.disk.slack = 16 << 20),
        Box::new(|plan| plan.disk.capacity = 64 << 20),
        Box::new(|plan| {
            plan.replication = ReplicationPlan::default();
        }),
        Box::new(|plan| plan.replication.entries = 256),
        Box::new(|plan| plan.replication.bytes = 256 << 10),
        Box::new(|plan| plan.replication.window = 32),
        Box::new(|plan| plan.replication.log = LOG_BYTES),
        Box::new(|plan| plan.replication.fan_out = FAN_OUT),
    ]
}

fn base(latency: Latency) -> u64 {
    match latency {
        Latency::Fixed(time) | Latency::Uniform(time, _) => time,
        Latency::Tail { base, .. } => base,
        Latency::Exponential { mean, .. } => mean,
        Latency::LogNormal { median, .. } => median,
        Latency::Bimodal { quick, .. } => quick.0,
    }
}

fn one_node(node: usize) -> [Setter; 5] {
    [
        Box::new(move |plan| plan.nodes[node].clock_ppm = 0),
        Box::new(move |plan| plan.nodes[node].wall_offset = 0),
        Box::new(move |plan| plan.nodes[node].disk_factor = 1),
        Box::new(move |plan| plan.nodes[node].listens = true),
        Box::new(move |plan| plan.nodes[node].next_version = false),
    ]
}

fn one_handler(stream: usize) -> Vec<Setter> {
    let handler = move |set: fn(&mut HandlerPlan)| -> Setter {
        Box::new(move |plan| set(&mut plan.streams[stream].handler))
    };
    vec![
        handler(|handler| handler.kind = HandlerKind::Transactional),
        handler(|handler| handler.window = (256, 256)),
        handler(|handler| handler.service.0 = handler.service.1),
    ]
}

fn one_publisher(stream: usize, writer: usize) -> Vec<Setter> {
    let publisher = move |set: fn(&mut PublisherPlan)| -> Setter {
        Box::new(move |plan| set(&mut plan.streams[stream].publishers[writer]))
    };
    vec![
        publisher(|own| (own.repeats, own.pipeline, own.long_one_in) = (0, 1, 0)),
        publisher(|own| own.repeats = 0),
        publisher(|own| own.pipeline = 1),
        publisher(|own| own.long_one_in = 0),
        publisher(|own| own.large_one_in = 0),
        publisher(|own| own.answers_lost_one_in = 0),
        publisher(|own| own.asks_one_in = 0),
        publisher(|own| own.gaps_one_in = 0),
        publisher(|own| own.closes = false),
        publisher(|own| own.batch = (1, 1)),
        publisher(|own| own.bytes = (17, 17)),
        publisher(|own| own.waits = [0, 0, 1]),
        publisher(|own| {
            let most = (0..3).max_by_key(|&level| own.waits[level]).unwrap_or(0);
            own.waits = [0; 3];
            own.waits[most] = 1;
        }),
        publisher(|own| own.patience = SECOND),
        publisher(|own| own.pause.0 = own.pause.1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_which_everything_is_made_plain_has_no_features_and_can_be_run() {
        for seed in 0..100 {
            let mut plan = Plan::generate(seed);
            assert!(features(&plan) > 3, "seed {seed}");
            for setter in setters(&plan.clone()) {
                let before = features(&plan);
                setter(&mut plan);
                assert_eq!(plan.check(), Ok(()));
                assert!(features(&plan) <= before, "seed {seed}: what is plain stays plain");
            }
            assert_eq!(features(&plan), 0, "seed {seed}");
        }
    }
}
