//! The invariants of the module, as assertions.

use super::dial::State;
use super::lane::Lane;
use super::links::Links;
use crate::level::Level;

impl Links {
    /// Panics if an invariant does not hold.
    pub fn check_invariants(&self, level: Level) {
        assert!(self.strangers <= self.config.strangers_max, "L6: {} strangers", self.strangers);
        assert!(self.targets.under_way() <= self.config.dials_max, "L6: too many dials under way");
        for (node, link) in self.links.iter() {
            let current = self.lanes.get(&link.current).and_then(Lane::linked);
            assert!(
                current.is_some_and(|linked| linked.leaving.is_none()),
                "L2: the link to {node} has no lane"
            );
            assert!(
                link.lanes.contains(&link.current),
                "L2: the link to {node} is carried by a lane of another"
            );
        }
        if level < Level::Full {
            return;
        }
        self.check_offline();
        self.check_bars();
        self.check_renewals();
        let strangers = self.lanes.values().filter(|lane| lane.stranger).count();
        assert_eq!(strangers, self.strangers, "L6: strangers are counted wrongly");
        for (id, lane) in self.lanes.iter() {
            if let Some(peer) = lane.peer() {
                assert!(
                    self.is_member(peer.node, &lane.key),
                    "L1: lane {id} belongs to {}, no member",
                    peer.node
                );
            }
            if let Some(linked) = lane.linked() {
                let link = self.links.get(&linked.peer.node);
                let link = link.unwrap_or_else(|| panic!("L2: lane {id} is usable and its link is down"));
                assert!(link.lanes.contains(id), "L2: lane {id} is unknown to its link");
                assert_eq!(link.boot, linked.peer.boot, "L3: lane {id} is of another boot");
            }
            assert_eq!(
                lane.due(&self.config).is_some(),
                lane.wake.is_some(),
                "L8: lane {id} has no deadline"
            );
            assert!(
                lane.wake.is_none_or(|at| self.timers.contains(&(at, *id))),
                "L8: lane {id} is not among the timers"
            );
        }
        for target in self.targets.iter() {
            let cared_for = match target.state {
                State::Waiting(_) | State::Dialling(_) => true,
                State::Greeting(lane) => self.lanes.contains_key(&lane),
                State::Resting if target.joining => true,
                State::Resting | State::Renewing(_) => {
                    target.node.is_some_and(|node| self.links.contains_key(&node))
                }
            };
            assert!(cared_for, "L5: nobody will dial {} again", target.address);
        }
        for node in self.links.keys() {
            assert!(self.banned(*node).is_none(), "L10: {node} is a neighbour, and no member any more");
        }
        self.labels.check_invariants();
        for node in self.links.keys() {
            let label = self.labels.of(*node);
            let resolved = label.map(|label| self.labels.resolve(label));
            assert_eq!(resolved, Some(Ok(*node)), "L7: the label of {node} leads elsewhere");
        }
    }
}
