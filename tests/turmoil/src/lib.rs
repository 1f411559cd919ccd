//! The real shell of three nodes in turmoil's simulated network: `wattle-io` with its driver, lanes, TLS and store, in a line
//! a - b - c, where a publishes and c handles. See README.md beside this for what that covers.

mod people;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;
use turmoil::{Builder, Sim};
use wattle_core::node::command::Position;
use wattle_io::{Counts, Running, Settings, simulated, start};

/// The node that seeds the mesh and publishes.
pub const A: &str = "a";
/// The node in the middle.
pub const B: &str = "b";
/// The node that handles.
pub const C: &str = "c";
/// Carries bytes between c and b, slowly and in small pieces.
pub const PROXY: &str = "proxy";
/// The port of everybody.
pub const PORT: u16 = 7000;
/// The stream.
pub const STREAM: &str = "words";

/// What a simulation is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Everything that is drawn comes from it.
    pub seed: u64,
    /// How many messages a publishes.
    pub messages: u64,
    /// Bytes of each.
    pub bytes: usize,
    /// Time between two batches.
    pub pause: Duration,
    /// Whom c dials: b, or the proxy.
    pub c_dials: &'static str,
    /// Segments that a connection holds in one direction.
    pub segments: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let pause = Duration::from_millis(200);
        Self { seed: 1, messages: 100, bytes: 100, pause, c_dials: B, segments: 64 }
    }
}

/// What was seen from outside the nodes. It outlives them.
#[derive(Debug, Default)]
pub struct Seen {
    /// What happened, and when in simulated time.
    pub events: Vec<(Duration, String)>,
    /// What c handled, in order: kept together with the position, as in one transaction.
    pub handled: Vec<Bytes>,
    /// How far c came.
    pub position: Option<Position>,
    /// Whether a was told that everything is completed.
    pub completed: bool,
    /// The connections of each node, as of late.
    pub connections: BTreeMap<&'static str, Counts>,
    /// Join tokens by the node that made them.
    tokens: BTreeMap<&'static str, String>,
}

impl Seen {
    fn event(&mut self, what: String) {
        self.events.push((turmoil::sim_elapsed().unwrap_or_default(), what));
    }
}

/// A simulation under way.
pub struct Mesh {
    /// The network, to be disturbed.
    pub sim: Sim<'static>,
    /// What is seen.
    pub seen: Rc<RefCell<Seen>>,
    plan: Plan,
    _dir: TempDir,
}

impl Mesh {
    /// Three nodes that start on empty disks. a and c never reach each other.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        simulated::seed(plan.seed);
        let dir = tempfile::tempdir().expect("a directory");
        let mut sim = Builder::new()
            .rng_seed(plan.seed)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(10))
            .tcp_capacity(plan.segments)
            .enable_random_order()
            .build();
        let seen = Rc::new(RefCell::new(Seen::default()));
        for (name, dials) in [(A, None), (B, Some(A)), (C, Some(plan.c_dials))] {
            let (path, seen) = (dir.path().join(name), Rc::clone(&seen));
            // Those who join through b dial it as c does.
            let known_as = if name == B { plan.c_dials } else { name };
            sim.host(name, move || {
                let (path, seen) = (path.clone(), Rc::clone(&seen));
                async move {
                    let node = up(name, &path, known_as, dials).await?;
                    people::live(name, &node, &seen, plan).await;
                    Ok(())
                }
            });
        }
        if plan.c_dials == PROXY {
            sim.host(PROXY, || people::carry(B));
        }
        sim.partition(A, C);
        Self { sim, seen, plan, _dir: dir }
    }

    /// Lets simulated time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.step();
        }
    }

    /// Lets time pass until c handled so many more messages.
    pub fn until_handled(&mut self, more: usize) {
        let wanted = self.seen.borrow().handled.len() + more;
        self.until(|seen| seen.handled.len() >= wanted);
    }

    /// Lets time pass until everything is completed, and judges what c handled: every message once, in order.
    pub fn finish(&mut self) {
        self.until(|seen| seen.completed);
        let expected: Vec<Bytes> =
            (1..=self.plan.messages).map(|number| people::message(self.plan, number)).collect();
        assert!(self.seen.borrow().handled == expected, "c handled something else");
    }

    /// Lets time pass until something is seen.
    pub fn until(&mut self, wanted: impl Fn(&Seen) -> bool) {
        let until = self.sim.elapsed() + Duration::from_secs(120);
        while !wanted(&self.seen.borrow()) {
            let seen = self.seen.borrow();
            assert!(self.sim.elapsed() < until, "not within two minutes: {:#?}", seen.events);
            drop(seen);
            self.step();
        }
    }

    fn step(&mut self) {
        self.sim.step().unwrap_or_else(|error| panic!("a host failed: {error}"));
    }

    /// The connections of a node, as of late.
    #[must_use]
    pub fn connections(&self, name: &str) -> Counts {
        self.seen.borrow().connections.get(name).copied().unwrap_or_default()
    }
}

async fn up(
    name: &str,
    path: &Path,
    known_as: &str,
    dials: Option<&str>,
) -> Result<Running, wattle_io::StartError> {
    let mut settings = Settings::new(path);
    settings.name = Some(name.to_owned());
    settings.listen = vec![format!("0.0.0.0:{PORT}")];
    settings.advertise = vec![format!("{known_as}:{PORT}")];
    settings.dial = dials.map(|whom| format!("{whom}:{PORT}")).into_iter().collect();
    // Free space must not depend on the disk that the test runs on.
    settings.space_limit = Some(256 << 20);
    settings.reserve_bytes = 0;
    start(settings).await
}
