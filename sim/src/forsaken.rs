//! Nodes that stay broken when the others heal. What the others can do without them, they owe.

use std::collections::BTreeSet;

use wattle_core::configuration::Member;
use wattle_core::id::{GroupId, NodeId};

use crate::checker::Left;
use crate::coverage::sometimes;
use crate::describe;
use crate::machine::Machine;
use crate::plan::Forsaken;
use crate::process::State;
use crate::world::World;

impl<M: Machine> World<M> {
    /// Whether a node stays broken in the healed world.
    pub(crate) fn is_forsaken(&self, node: usize) -> bool {
        self.forsaken.contains(&node)
    }

    /// Whether a node does not start any more.
    pub(crate) fn is_down_for_good(&self, node: usize) -> bool {
        self.is_forsaken(node)
            && self.plan.forsaken.as_ref().is_some_and(|forsaken| forsaken.how == Forsaken::Down)
    }

    /// Whether a node stays broken, or is no member any more.
    pub(crate) fn is_away(&self, node: usize) -> bool {
        self.is_forsaken(node) || self.books.departures.is_gone(node)
    }

    /// Whether an end of a stream is away, or who was to have it opened and never had.
    pub(crate) fn is_severed(&self, stream: usize) -> bool {
        let plan = &self.plan.streams[stream];
        let unopened = self.books.streams[stream].instance().is_none();
        plan.ends().any(|node| self.is_away(node)) || unopened && self.is_away(plan.asked_at)
    }

    /// Who of a stream's ends is left to do what is owed; `None` if they can decide nothing: then nothing is.
    pub(crate) fn left(&self, stream: usize) -> Option<Left> {
        let plan = &self.plan.streams[stream];
        if self.is_severed(stream) && self.books.streams[stream].instance().is_none() {
            return None;
        }
        let sealed = self.books.seals.lost(stream);
        let out = self.books.members.out(stream);
        let out = |node: usize| {
            out.contains(&self.processes[node].id()) || self.books.streams[stream].is_awaited(node)
        };
        if sealed.is_empty() {
            let left = Left::without(plan, out, |node| self.is_away(node));
            // Whoever came back has forgotten all of it, and counts again when most of the others admitted it: they may be too few by then.
            let forgot = |node: usize| self.is_away(node) || self.books.departures.has_parted(node);
            let others_decide = || Left::without(plan, out, forgot).is_some() || self.is_led(stream);
            return left.filter(|_| others_decide());
        }
        // Whoever goes on does so without the lost, and they count nowhere.
        let lost = |node: usize| sealed.contains(&self.processes[node].id()) || out(node);
        Some(Left::sealed(plan, lost))
    }

    /// Whether anybody knows who leads the group of a stream.
    fn is_led(&self, stream: usize) -> bool {
        let Some(instance) = self.books.streams[stream].instance() else { return false };
        let statuses = self.processes.iter().filter_map(|process| {
            process.machine.as_deref().and_then(|machine| machine.status(process.clock.read(self.now)))
        });
        let mut streams = statuses.flat_map(|status| status.streams);
        streams.any(|entry| entry.instance == instance && entry.leader.is_some())
    }

    /// Who will stay broken: whom the plan says, if the others can do without them.
    pub(crate) fn forsaken_now(&self) -> Vec<usize> {
        let named = self.plan.forsaken.iter().flat_map(|forsaken| forsaken.nodes.iter().copied());
        let forsaken: BTreeSet<usize> = named.collect();
        let core: Vec<usize> = (0..self.processes.len()).filter(|node| !forsaken.contains(node)).collect();
        let sound = self.complete
            && !self.books.may_stop
            && self.custody.beyond_repair().is_none()
            && self.processes.iter().all(|process| !process.disk.is_wounded())
            && core.iter().all(|&node| self.processes[node].state == State::Up);
        if sound && self.is_connected(&core) && self.is_majority(&core) {
            return forsaken.into_iter().collect();
        }
        sometimes!(ForsakenSpared, !forsaken.is_empty());
        Vec::new()
    }

    fn is_connected(&self, core: &[usize]) -> bool {
        core.first().is_some_and(|&first| {
            let reached = self.reached(first, |_, other| core.contains(&other));
            core.iter().all(|&node| reached[node])
        })
    }

    /// Whether nodes are a majority of the control group by every configuration that anybody goes by.
    fn is_majority(&self, core: &[usize]) -> bool {
        let ids: Vec<NodeId> = core.iter().map(|&node| self.processes[node].id()).collect();
        let rules = |voters: &[Member]| {
            let ours = voters.iter().filter(|voter| ids.contains(&voter.node)).count();
            voters.is_empty() || 2 * ours > voters.len()
        };
        let machines = self.processes.iter().filter_map(|process| process.machine.as_deref());
        machines
            .filter_map(|machine| machine.group_configuration(GroupId::CONTROL))
            .all(|configuration| rules(&configuration.voters) && rules(&configuration.outgoing))
    }

    /// These stay broken.
    pub(crate) fn forsake(&mut self, nodes: Vec<usize>) {
        let Some(how) = self.plan.forsaken.as_ref().map(|forsaken| forsaken.how) else { return };
        for &node in &nodes {
            self.note(node, describe::FAULT, how as u64, || format!("== stays broken: {how:?}"));
            match how {
                Forsaken::Down if self.processes[node].is_up() => self.halt(node, true, 1 << 60),
                Forsaken::Down => {}
                Forsaken::CutOff => self.cut_off(node, true),
                Forsaken::Shouting => {
                    let others: Vec<usize> = self.neighbours_of(node).collect();
                    for other in others {
                        self.network.cut(&mut self.queue, self.now, other, node, true);
                    }
                }
            }
        }
        self.forsaken = nodes;
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Forsaken, Plan};
    use crate::trace::Recording;
    use crate::world;

    #[test]
    fn who_is_forsaken_stays_broken_and_the_others_go_on() {
        let mut seen = [0; 3];
        for seed in 0.. {
            let plan = Plan::generate(seed);
            let Some(forsaken) = plan.forsaken.clone().filter(|forsaken| seen[forsaken.how as usize] < 2)
            else {
                continue;
            };
            let outcome = world::run(&plan, Recording::All);
            assert!(outcome.verdict.is_pass(), "seed {seed}: {}", outcome.verdict);
            let broken = outcome.lines.iter().position(|line| line.contains("== stays broken"));
            let Some(place) = broken else { continue };
            seen[forsaken.how as usize] += 1;
            let name = &plan.nodes[forsaken.nodes[0]].name;
            let starts = |line: &String| line.contains(&format!("{name:8} == starts"));
            let sends = |line: &String| line.contains(&format!("{name:8} -> "));
            match forsaken.how {
                Forsaken::Down => {
                    assert!(!outcome.lines[place..].iter().any(|line| starts(line) || sends(line)));
                }
                Forsaken::CutOff | Forsaken::Shouting => {
                    let lives = |line: &String| line.contains(&format!("{name:8} <- deadline"));
                    assert!(outcome.lines[place..].iter().any(lives), "seed {seed}: it is not down");
                }
            }
            if seen.iter().all(|&times| times == 2) {
                return;
            }
        }
    }
}
