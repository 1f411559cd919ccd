//! How a node starts: with what configuration, and what its disk still holds.

use wattle_core::id::{BootId, Ticket};
use wattle_core::node::{Config, Input};
use wattle_core::planted::{Bug, Planted};
use wattle_core::time::Span;

use crate::checker::Failure;
use crate::content;
use crate::describe;
use crate::fault::Moment;
use crate::machine::Machine;
use crate::panics::watch;
use crate::process::State;
use crate::random::{Draws, Purpose};
use crate::world::World;

impl<M: Machine> World<M> {
    /// A node starts: reads its rows, then goes to work.
    pub(crate) fn boot(&mut self, node: usize, life: u32) {
        if self.processes[node].is_up() || self.processes[node].life != life || self.is_down_for_good(node) {
            return;
        }
        let Some(expected) = self.opens(node) else { return };
        self.look_at_disk(node);
        let process = &mut self.processes[node];
        process.keyring.tell(&mut process.identity);
        process.shown = process.identity.key;
        self.books.keys.starts(node);
        // It may not know yet who is on its way out of them.
        self.books.streams.iter_mut().for_each(|ledger| ledger.all_know_who_leaves(false));
        let config = self.config(node);
        let mut draws = Draws::new(self.plan.seed, Purpose::Node, node as u64, 1 + u64::from(life));
        let seed = draws.bytes32();
        let boot = BootId(u128::from(draws.u64()) << 64 | u128::from(draws.u64()));
        self.note(node, describe::BOOT, u64::from(life), || format!("== starts, life {life}"));
        self.explain_boot(node);
        self.peers.starts(node, life, boot);
        let now = self.processes[node].clock.read(self.now);
        let disk = &self.processes[node].disk;
        let recovered = watch(|| {
            let mut machine = Box::new(M::recover(config, seed, boot));
            for (ticket, bytes) in disk.rows() {
                machine.handle(now, Input::Row { ticket: Ticket(ticket), bytes: bytes.clone() })?;
            }
            machine.handle(now, Input::Synced { upto: Ticket(disk.marked()) })?;
            Ok::<_, wattle_core::node::Rejected>(machine)
        });
        match recovered {
            Ok(Ok(machine)) => {
                let process = &mut self.processes[node];
                process.machine = Some(machine);
                process.state = State::Up;
                process.expected = Some(expected);
                self.step(node, Input::Recovered);
                self.has_started(node);
                self.moment(Moment::Boot, node);
            }
            Ok(Err(rejected)) => {
                self.fail(Failure::new(
                    "X11",
                    format!("node {node} refuses a row of its journal: {rejected}"),
                ));
            }
            Err(panic) => self.fail(Failure::from_panic(&format!("{} ({})", panic.message, panic.place))),
        }
    }

    fn config(&self, node: usize) -> Config {
        let mut config = Config::new(self.processes[node].identity.clone());
        for edge in self.neighbours[node].iter().map(|&edge| &self.plan.edges[edge]) {
            for (dials, from, to) in [(edge.a_dials, edge.a, edge.b), (edge.b_dials, edge.b, edge.a)] {
                if dials && from == node {
                    config.dial.push(self.plan.address(to));
                }
            }
        }
        config.journal.rows_may_tear = self.plan.disk.rows_may_tear;
        config.journal.slack_bytes = self.plan.disk.slack;
        // Where little may be wasted the control group's log is cut often, so that who was away needs its state.
        config.mesh.compact_after = (self.plan.disk.slack / 250).clamp(8, config.mesh.compact_after);
        let replication = self.plan.replication;
        config.raft.message_entries = replication.entries;
        config.raft.message_bytes = replication.bytes;
        config.raft.window = replication.window;
        config.raft.fan_out = replication.fan_out;
        config.raft.chunk_bytes = replication.bytes.clamp(512, config.raft.chunk_bytes);
        config.raft.log_bytes = replication.log;
        config.stream.part_bytes = content::PART_BYTES as u64;
        // Disks are small, and so is what they hold of a stream.
        config.stream.history_room = 64 << 10;
        (config.stream.replays, config.stream.replay_bytes) = (4, 8 << 10);
        if self.plan.has_large() {
            config.stream.window_bytes = 8 * config.stream.part_bytes;
        }
        if let Some(most) = self.plan.parked_most() {
            config.stream.parked_messages = most;
        }
        config.gate.all_bytes = replication.held;
        config.mesh.voters_max = replication.voters;
        config.mesh.region.clone_from(&self.plan.nodes[node].region);
        // A rotation is to come to its end within the runs there are.
        config.mesh.key_settle = Span::millis(300);
        config.mesh.key_overlap = Span::millis(1_500);
        config.mesh.key_window = Span::secs(20);
        config.mesh.key_retry = Span::secs(1);
        config.link.renew_after = Span::millis(700);
        config.planted = planted(self.plan.planted);
        config
    }
}

#[cfg(feature = "planted")]
fn planted(bug: Option<Bug>) -> Planted {
    bug.map_or(Planted::none(), Planted::only)
}

#[cfg(not(feature = "planted"))]
fn planted(_: Option<Bug>) -> Planted {
    Planted::none()
}
