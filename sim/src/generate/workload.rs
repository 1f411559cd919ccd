//! What applications ask for: streams with their publishers and handlers, and names that several contest.

use crate::event::{MICRO, MILLI, SECOND, Time};
use crate::plan::{
    CompletePlan, ConfigPlan, ConfigWish, HandlerKind, HandlerPlan, Interruption, InterruptionKind, KeepPlan,
    PublisherPlan, RegistryPlan, StreamPlan, TargetPlan, Wish,
};
use crate::random::{Draws, Purpose};

/// The first number of handlers at further targets.
const MORE_HANDLERS: usize = 1 << 20;

pub(super) fn streams(seed: u64, count: usize, fault_phase: Time) -> Vec<StreamPlan> {
    let mut draws = Draws::new(seed, Purpose::Topology, 2, 0);
    let number = 1 + draws.weighted(&[50, 25, 15, 10]);
    (0..number)
        .map(|index| {
            let mut draws = Draws::new(seed, Purpose::Topology, 3 + index as u64, 0);
            let source = draws.index(count);
            let target = (source + 1 + draws.index(count - 1)) % count;
            let writers = 1 + draws.weighted(&[60, 30, 10]);
            let mut own = Draws::new(seed, Purpose::Targets, index as u64, 0);
            let (more, complete) = if count == 2 || own.percent(60) {
                (Vec::new(), CompletePlan::All)
            } else {
                more_targets(&mut own, (seed, index), count, (source, target), fault_phase)
            };
            StreamPlan {
                name: format!("stream-{index}"),
                source,
                target,
                more,
                later: Vec::new(),
                complete,
                keep: KeepPlan::default(),
                detach_after: 0,
                readers: Vec::new(),
                asked_at: draws.index(count),
                opens_at: draws.below(fault_phase / 4),
                publishers: (0..writers)
                    .map(|writer| publisher(seed, index * 8 + writer, fault_phase))
                    .collect(),
                handler: handler(seed, index, fault_phase),
                poison: None,
            }
        })
        .collect()
}

/// The further targets of a stream, of at least three nodes, and by whom its messages must be processed.
pub(super) fn more_targets(
    draws: &mut Draws,
    (seed, index): (u64, usize),
    count: usize,
    (source, target): (usize, usize),
    fault_phase: Time,
) -> (Vec<TargetPlan>, CompletePlan) {
    let most = (count - 2).min(6);
    let number = 1 + draws.weighted(&[50, 25, 15, 4, 3, 3]).min(most - 1);
    let mut left: Vec<usize> = (0..count).filter(|node| ![source, target].contains(node)).collect();
    let more: Vec<TargetPlan> = (0..number)
        .map(|place| {
            let node = left.swap_remove(draws.index(left.len()));
            TargetPlan { node, handler: handler(seed, MORE_HANDLERS + index * 8 + place, fault_phase) }
        })
        .collect();
    let named = std::iter::once(target).chain(more.iter().map(|more| more.node));
    let complete = match draws.index(4) {
        0 => CompletePlan::Count(draws.between(1, number as u64) as u32),
        1 => {
            let named: Vec<usize> = named.filter(|_| draws.percent(50)).collect();
            if named.is_empty() { CompletePlan::Count(1) } else { CompletePlan::Named(named) }
        }
        _ => CompletePlan::All,
    };
    (more, complete)
}

/// Names that several open and close, in bursts, so that what is asked at different nodes overlaps.
pub(super) fn registry(seed: u64, count: usize, fault_phase: Time) -> Vec<RegistryPlan> {
    let mut draws = Draws::new(seed, Purpose::Registry, 0, 0);
    if draws.percent(50) {
        return Vec::new();
    }
    let names = draws.between(1, 2);
    let bursts = draws.spread(1, 8);
    let mut wishes = Vec::new();
    for burst in 0..bursts {
        let mut draws = Draws::new(seed, Purpose::Registry, 1, burst);
        let (at, name) = (draws.below(fault_phase), draws.below(names));
        let within = draws.spread(MILLI, 500 * MILLI);
        for _ in 0..draws.between(2, 5) {
            let source = draws.index(count);
            let target = (source + 1 + draws.index(count - 1)) % count;
            let wish = if draws.percent(60) { Wish::Open { source, target } } else { Wish::Close };
            wishes.push(RegistryPlan {
                at: at + draws.below(within),
                node: draws.index(count),
                leader: false,
                name,
                wish,
            });
        }
    }
    wishes
}

/// Wishes about a few keys, in bursts, so that what is asked at different nodes overlaps or follows closely.
pub(super) fn config(seed: u64, count: usize, fault_phase: Time) -> Vec<ConfigPlan> {
    let mut draws = Draws::new(seed, Purpose::Configuration, 0, 0);
    if draws.percent(40) {
        return Vec::new();
    }
    let keys = draws.between(1, 2);
    let bursts = draws.spread(1, 6);
    let mut wishes = voters(seed, count, fault_phase);
    wishes.extend(watches(seed, count, fault_phase));
    for burst in 0..bursts {
        let mut draws = Draws::new(seed, Purpose::Configuration, 1, burst);
        let (at, key) = (draws.below(fault_phase), draws.below(keys));
        let within = draws.spread(MILLI, 500 * MILLI);
        for _ in 0..draws.between(2, 9) {
            let wish = match draws.weighted(&[20, 30, 8, 37, 5]) {
                0 => ConfigWish::Set,
                1 => ConfigWish::Swap,
                2 => ConfigWish::Delete,
                3 => ConfigWish::Get,
                _ => ConfigWish::Peek,
            };
            wishes.push(ConfigPlan {
                at: at + draws.below(within),
                node: draws.index(count),
                leader: draws.percent(15),
                key,
                wish,
            });
        }
    }
    wishes
}

/// Some watch, each at another node from where the one before was.
fn watches(seed: u64, count: usize, fault_phase: Time) -> Vec<ConfigPlan> {
    let mut draws = Draws::new(seed, Purpose::Configuration, 3, 0);
    let number = draws.below(12);
    let wish = |_| ConfigPlan {
        at: draws.below(fault_phase),
        node: draws.index(count),
        leader: false,
        key: 0,
        wish: if draws.percent(40) { ConfigWish::WatchAll } else { ConfigWish::Watch },
    };
    (0..number).map(wish).collect()
}

/// How many shall vote changes in some runs.
fn voters(seed: u64, count: usize, fault_phase: Time) -> Vec<ConfigPlan> {
    let mut draws = Draws::new(seed, Purpose::Configuration, 2, 0);
    if count < 4 || draws.percent(60) {
        return Vec::new();
    }
    let wish = |_| ConfigPlan {
        at: draws.below(fault_phase),
        node: draws.index(count),
        leader: false,
        key: 0,
        wish: ConfigWish::Voters(draws.pick(&[3, 3, 5])),
    };
    (0..3).map(wish).collect()
}

fn publisher(seed: u64, who: usize, fault_phase: Time) -> PublisherPlan {
    let mut draws = Draws::new(seed, Purpose::Publisher, who as u64, u64::MAX);
    let messages = draws.spread(3, 300);
    let batch_most = draws.spread(1, 32);
    let hasty = draws.percent(40);
    let pause_most = if hasty { 5 * MILLI } else { fault_phase / (messages / batch_most + 1) };
    PublisherPlan {
        starts_at: draws.below(fault_phase / 2),
        messages,
        batch: (1, batch_most),
        bytes: (17, draws.spread(20, 600)),
        long_one_in: draws.pick(&[0, 0, 60]),
        large_one_in: Draws::new(seed, Purpose::Publisher, who as u64, u64::MAX - 1).pick(&[0, 0, 0, 3, 20]),
        waits: draws.pick(&[[1, 0, 0], [0, 0, 1], [1, 1, 1], [8, 1, 1], [0, 1, 0]]),
        pipeline: draws.pick(&[1, 1, 2, 4]),
        pause: (0, pause_most.max(1)),
        repeats: draws.pick(&[0, 0, 1, 2]),
        patience: draws.spread(400 * MILLI, 6 * SECOND),
        answers_lost_one_in: draws.pick(&[0, 0, 4, 20]),
        asks_one_in: draws.pick(&[0, 1, 3]),
        gaps_one_in: draws.pick(&[0, 0, 10]),
        closes: draws.percent(30),
    }
}

pub(super) fn handler(seed: u64, who: usize, fault_phase: Time) -> HandlerPlan {
    let mut draws = Draws::new(seed, Purpose::Handler, who as u64, u64::MAX);
    let slowest = draws.spread(10 * MICRO, 300 * MILLI);
    let interrupted = draws.pick(&[0, 0, 1, 4]);
    let mut interruptions: Vec<Interruption> = (0..interrupted)
        .map(|_| Interruption {
            at: draws.below(fault_phase),
            kind: draws.pick(&[InterruptionKind::Detach, InterruptionKind::Takeover]),
            away: draws.spread(10 * MILLI, 3 * SECOND),
        })
        .collect();
    interruptions.sort_by_key(|interruption| interruption.at);
    HandlerPlan {
        attaches_at: draws.below(fault_phase / 2),
        kind: draws.pick(&[HandlerKind::Transactional, HandlerKind::Transactional, HandlerKind::Idempotent]),
        window: draws.pick(&[(1, 1), (1, 8), (16, 64), (256, 256)]),
        service: (slowest / 20, slowest),
        interruptions,
        stands_still_at: 0,
        forges_one_in: Draws::new(seed, Purpose::Forged, who as u64, u64::MAX).pick(&[0, 2, 4]),
    }
}
