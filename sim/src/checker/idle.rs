//! Targets that stand still, of streams that detach those (X43). From outside it is known since when a handler processes nothing of what it has: some time before that is as long as the stream
//! bears its target may be detached, and nobody else; and if that lasted, one of those who stand still has to be out in the end.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::id::NodeId;

use super::{Checked, StreamLedger, ensure};

/// The book of targets that stand still.
#[derive(Debug, Default)]
pub struct Idle {
    still: BTreeSet<(usize, NodeId)>,
    /// Those of each stream of whom one has to go.
    due: BTreeMap<usize, Vec<NodeId>>,
}

impl Idle {
    /// A target of a stream stands still for about as long as that bears.
    pub fn stands_still(&mut self, stream: usize, node: NodeId) {
        self.still.insert((stream, node));
    }

    /// It did for far longer, and nothing was in the way.
    pub fn is_due(&mut self, stream: usize, node: NodeId) {
        self.due.entry(stream).or_default().push(node);
    }

    /// Somebody says that a target is out. Nobody asked for that if it stood still.
    ///
    /// # Errors
    /// X43 if those who are left cannot meet the policy.
    pub fn taken_out(&self, stream: usize, node: NodeId, ledger: &StreamLedger) -> Checked {
        ensure!(
            !self.still.contains(&(stream, node)) || ledger.policy_can_be_met(),
            "X43",
            "stream {stream}: {node} is out because it stood still, and those who are left are too few for the policy"
        );
        Ok(())
    }

    /// Who of a stream has to be out, and is not; these are.
    #[must_use]
    pub fn owed(&self, stream: usize, out: &[NodeId]) -> Option<String> {
        let due = self.due.get(&stream).filter(|due| !due.iter().any(|node| out.contains(node)))?;
        Some(format!("stream {stream}: X43: {due:?} stood still for long, and none of them was detached"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CompletePlan, Plan, StreamPlan, TargetPlan};

    fn ledger(complete: CompletePlan) -> StreamLedger {
        let mut stream: StreamPlan = Plan::generate(1).streams.swap_remove(0);
        let more = |node| TargetPlan { node, handler: stream.handler.clone() };
        (stream.source, stream.target, stream.more) = (0, 1, vec![more(2), more(3)]);
        StreamLedger::new(0, &[]).to(&StreamPlan { complete, ..stream })
    }

    #[test]
    fn who_stood_still_goes_if_the_others_can_meet_the_policy() {
        let mut idle = Idle::default();
        idle.stands_still(0, NodeId(3));
        idle.stands_still(0, NodeId(2));
        let mut ledger = ledger(CompletePlan::Count(2));
        ledger.taken_out(3).unwrap();
        assert_eq!(idle.taken_out(0, NodeId(3), &ledger), Ok(()));
        ledger.taken_out(2).unwrap();
        assert!(idle.taken_out(0, NodeId(2), &ledger).is_err(), "one of two is left");
        assert_eq!(idle.taken_out(0, NodeId(9), &ledger), Ok(()), "somebody asked for that");
    }

    #[test]
    fn of_those_who_stood_still_for_long_one_is_out_in_the_end() {
        let mut idle = Idle::default();
        assert_eq!(idle.owed(0, &[]), None);
        idle.is_due(0, NodeId(3));
        idle.is_due(0, NodeId(2));
        assert!(idle.owed(0, &[NodeId(4)]).is_some());
        assert_eq!((idle.owed(0, &[NodeId(2)]), idle.owed(1, &[])), (None, None));
    }
}
