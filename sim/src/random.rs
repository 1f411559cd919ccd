//! Random numbers of the simulated world: one stream per (seed, purpose, who, ordinal), so that a draw for one purpose never
//! shifts another, and a plan from which a fault was removed runs on with all its other draws as they were.

/// What a draw is for. The number is part of the stream's key: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Nodes, edges, who joins through whom.
    Topology = 1,
    /// Which kinds of faults a run has at all, and with which weights.
    Swarm = 2,
    /// The order of events at one moment.
    Schedule = 3,
    /// How long a chunk travels.
    Latency = 4,
    /// Where a byte stream is cut into chunks.
    Split = 5,
    /// Which frames arrive twice.
    Duplicate = 6,
    /// Times and victims of faults.
    Fault = 7,
    /// Publishers: sizes, pauses, patience.
    Publisher = 8,
    /// Handlers: service times, interruptions.
    Handler = 9,
    /// How long a disk takes.
    Disk = 10,
    /// How long heavy work takes.
    Work = 11,
    /// Boot ids, seeds and keys of nodes.
    Node = 12,
    /// Clocks.
    Clock = 13,
    /// How long a call of an application travels.
    Call = 14,
    /// What a crash leaves of the unsynced rows.
    Crash = 15,
    /// How connections come and go.
    Connection = 16,
    /// Administration: seeding, joining, opening.
    Task = 17,
    /// The latency and bandwidth of links, drawn once per run.
    Link = 18,
    /// Faults that begin when something happens.
    Moment = 19,
    /// What a disk does to rows that it reported safe, and what an operator does about it.
    Damage = 30,
    /// What disturbed links do to bytes.
    Disturbance = 40,
    /// When a link that flaps goes down and comes back.
    Flap = 41,
    /// What the next version of the protocol adds to frames.
    NextVersion = 42,
    /// Contested names.
    Registry = 43,
    /// Who does not heal.
    Forsaken = 44,
    /// Who leads, and falls.
    Contest = 45,
    /// Starts that end soon.
    Storm = 46,
    /// A log that forks within a term.
    Fork = 47,
    /// Positions that no handler was given.
    Forged = 48,
    /// Wishes about agreed configuration.
    Configuration = 60,
    /// Further targets of streams.
    Targets = 161,
    /// Inputs of fuzz targets.
    Fuzz = 50,
    /// Votes that come again late.
    Late = 51,
    /// What a node sent before its disk was taken back.
    Former = 52,
    /// Updates to all members: who sends what, and how they are handled.
    Updates = 61,
    /// Members that go.
    Departure = 90,
    /// Members that stop for a while.
    Stop = 92,
    /// Streams that are sealed without their source.
    Seal = 100,
    /// Streams whose members change.
    Members = 101,
    /// Targets that come to streams.
    Additions = 103,
    /// Messages that handlers fail at.
    Poison = 102,
    /// Targets that stand still.
    Idle = 104,
    /// Streams that are paused, and throttled.
    Flow = 130,
    /// Members whose keys give way.
    Rotation = 94,
    /// Where in the world nodes are.
    Region = 93,
    /// Runs about consensus alone.
    Raft = 91,
    /// What streams keep, and who reads them again.
    Reading = 170,
    /// Runs about streams.
    Streams = 96,
    /// Learners that others feed.
    Relay = 95,
    /// Meshes that lose their quorum, and who sees to that.
    Recovery = 160,
}

/// A deterministic random stream (SplitMix64, keyed).
#[derive(Clone, Debug)]
pub struct Draws(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn scramble(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Draws {
    /// The stream of `seed` for `purpose`, of one `who` (a node, a link, an actor) and one `ordinal` among its kind.
    #[must_use]
    pub const fn new(seed: u64, purpose: Purpose, who: u64, ordinal: u64) -> Self {
        let root = scramble(seed.wrapping_add(GOLDEN)) ^ (purpose as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
        let owner = scramble(root.wrapping_add(GOLDEN)) ^ who.wrapping_mul(0xaef1_7502_108e_f2d9);
        Self(scramble(owner.wrapping_add(GOLDEN)) ^ ordinal.wrapping_mul(0x8cb9_2ba7_2f3d_8dd7))
    }

    /// Who one direction of a link is in a key. Small meshes have the keys with which all seeds began.
    #[must_use]
    pub const fn link(from: usize, to: usize) -> u64 {
        if from < 6 && to < 6 { (from * 6 + to) as u64 } else { 1 << 63 | (from as u64) << 32 | to as u64 }
    }

    /// 64 random bits.
    pub const fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        scramble(self.0)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// A number in `low..=high` whose order of magnitude is drawn first: small and large ones are equally likely.
    pub fn spread(&mut self, low: u64, high: u64) -> u64 {
        if low >= high {
            return low;
        }
        let base = low.max(1);
        let octaves = u64::from(high.ilog2() - base.ilog2());
        let octave = self.between(0, octaves);
        let floor = base << octave;
        self.between(floor, (floor << 1) - 1).clamp(low, high)
    }

    /// True once in `n` draws; never if `n` is 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.below(n) == 0
    }

    /// True `percent` times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// An index into `weights`, as likely as its weight. The weights must not all be zero.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        weights.len() - 1
    }

    /// 32 random bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&self.u64().to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_other_purposes_nodes_and_ordinals_differ_and_repeat_themselves() {
        let first = |p, who, ordinal| Draws::new(7, p, who, ordinal).u64();
        let all = [
            first(Purpose::Latency, 0, 0),
            first(Purpose::Latency, 0, 1),
            first(Purpose::Latency, 1, 0),
            first(Purpose::Split, 0, 0),
            Draws::new(8, Purpose::Latency, 0, 0).u64(),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "two streams begin alike: {all:?}");
        }
        assert_eq!(first(Purpose::Latency, 0, 0), all[0]);
    }

    #[test]
    fn no_two_links_share_a_key() {
        let pairs = (0..40usize).flat_map(|from| (0..40).map(move |to| Draws::link(from, to)));
        assert_eq!(pairs.collect::<std::collections::BTreeSet<_>>().len(), 1600);
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut draws = Draws::new(1, Purpose::Swarm, 0, 0);
        let (mut small, mut large) = (0, 0);
        for _ in 0..2000 {
            let n = draws.spread(10, 1_000_000);
            assert!((10..=1_000_000).contains(&n));
            small += u32::from(n < 1_000);
            large += u32::from(n > 100_000);
            assert!((5..=9).contains(&draws.between(5, 9)));
            assert_eq!(draws.weighted(&[0, 3, 0]), 1);
        }
        assert!(small > 300 && large > 150, "small {small}, large {large}");
        assert_eq!(draws.below(0), 0);
        assert_eq!(draws.spread(4, 4), 4);
        assert!(!draws.one_in(0));
    }
}
