//! What is noted of streams to which targets come while they are open.

use wattle_core::id::{NodeId, StreamInstance};
use wattle_core::node::command::Reply;
use wattle_core::node::output::Output;

use crate::checker::Checked;
use crate::machine::Machine;
use crate::plan::VOTERS_MOST;
use crate::world::World;

impl<M: Machine> World<M> {
    /// Several vote in the group of a stream that was opened with several targets, and in one to which they came.
    pub(crate) fn note_who_votes(&mut self, index: usize, instance: StreamInstance) {
        let plan = &self.plan.streams[index];
        let opened = std::iter::once(plan.source).chain(plan.opened());
        let mut voters: Vec<usize> =
            opened.take(if plan.more.is_empty() { 0 } else { VOTERS_MOST }).collect();
        if !plan.later.is_empty() {
            let later = plan.later.iter().map(|later| later.node).collect();
            self.books.logs.come_later(instance.into(), later);
            let machines = self.processes.iter().filter_map(|process| process.machine.as_deref());
            let configurations = machines.filter_map(|machine| machine.group_configuration(instance.into()));
            let members = configurations.flat_map(|known| known.voters.iter().chain(&known.outgoing));
            let place = |id: NodeId| self.processes.iter().position(|process| process.id() == id);
            for node in members.filter_map(|member| place(member.node)) {
                if !voters.contains(&node) {
                    voters.push(node);
                }
            }
        }
        if voters.len() > 1 {
            self.books.logs.several_vote(instance.into(), voters);
        }
    }

    /// A publisher is answered while somebody is to come to its stream. That may be done since anybody was asked for a status, and from then on others are most of those
    /// who hold a message (X29).
    pub(crate) fn answers_for_more(&mut self, node: usize, machine: &M, output: &Output) -> Checked {
        let Output::Reply { reply: Ok(Reply::Published(receipt)), .. } = output else { return Ok(()) };
        let known = Some(receipt.instance);
        let of = self.books.streams.iter().position(|ledger| ledger.instance() == known);
        let Some(index) = of.filter(|&index| self.books.streams[index].may_be_joined()) else {
            return Ok(());
        };
        let others =
            self.processes.iter().enumerate().filter(|(other, process)| *other != node && process.is_up());
        let others = others.filter_map(|(other, process)| Some((other, process.machine.as_deref()?)));
        let shown = others.chain([(node, machine)]).filter_map(|(node, machine)| {
            let status = machine.status(self.processes[node].clock.read(self.now))?;
            status.streams.into_iter().find(|stream| Some(stream.instance) == known)
        });
        let shown: Vec<_> = shown.map(|stream| stream.members).collect();
        shown.iter().try_for_each(|members| self.books.changed(index, members))
    }
}
