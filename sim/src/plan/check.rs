//! What makes a plan impossible to run.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::ends::TARGETS_MAX;
use wattle_core::mesh::valid_region;

use super::{CompletePlan, ConfigWish, FORMAT, Latency, MAX_NODES, Plan, Wish};
use crate::checker::{CALLS_MOST, WISHES_MOST};
use crate::event::{MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind, Trigger};

/// No time in a plan is longer: sums of times must stay numbers.
const LONGEST: Time = 1_000_000 * SECOND;

impl Plan {
    /// What makes the plan impossible to run, if anything does.
    ///
    /// # Errors
    /// Says what is wrong, and what to do about it.
    pub fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "format {} is not known here: this program reads format {FORMAT}",
                self.format
            ));
        }
        self.check_nodes()?;
        self.check_edges()?;
        self.check_streams()?;
        self.check_registry()?;
        self.check_updates()?;
        self.check_config()?;
        self.check_departures()?;
        self.check_recovery()?;
        self.check_stops()?;
        self.check_rotations()?;
        self.check_seal()?;
        self.check_changes()?;
        self.check_flow()?;
        for &node in self.forsaken.iter().flat_map(|forsaken| &forsaken.nodes) {
            self.known(node, "who is forsaken")?;
        }
        self.check_network()?;
        for (index, fault) in self.faults.iter().enumerate() {
            self.check_fault(fault).map_err(|what| format!("fault {index} (id {}): {what}", fault.id))?;
        }
        let ids: BTreeSet<u64> = self.faults.iter().map(|fault| fault.id).collect();
        if ids.len() < self.faults.len() {
            return Err(
                "two faults have one id: give each its own, it is the key of its random stream".into()
            );
        }
        if self.fault_phase > LONGEST || self.progress_bound > LONGEST {
            return Err("fault_phase and progress_bound must stay below 1000000s".into());
        }
        if self.replication.fan_out == 0 {
            return Err("replication.fan_out is 0: a leader feeds one learner at least".to_string());
        }
        if self.replication.voters.is_multiple_of(2) {
            let voters = self.replication.voters;
            return Err(format!("replication.voters is {voters}: the most voters are an odd number"));
        }
        if self.disk.sync.0 > self.disk.sync.1 {
            return Err("disk.sync goes from the shorter time to the longer".into());
        }
        Ok(())
    }

    pub(super) fn known(&self, node: usize, what: &str) -> Result<(), String> {
        let count = self.nodes.len();
        if node < count {
            return Ok(());
        }
        Err(format!("{what} is node {node}, and the {count} nodes have the numbers 0 to {}", count - 1))
    }

    fn check_registry(&self) -> Result<(), String> {
        for (index, wanted) in self.registry.iter().enumerate() {
            self.known(wanted.node, &format!("whom registry call {index} asks"))?;
            if let Wish::Open { source, target } = wanted.wish {
                self.known(source, &format!("the source of registry call {index}"))?;
                self.known(target, &format!("the target of registry call {index}"))?;
            }
        }
        let mut asked: BTreeMap<u64, usize> = BTreeMap::new();
        for wanted in &self.registry {
            *asked.entry(wanted.name).or_default() += 1;
        }
        if let Some((name, calls)) = asked.into_iter().find(|&(_, calls)| calls > CALLS_MOST) {
            return Err(format!(
                "the registry is asked {calls} times for name {name}: {CALLS_MOST} is the most for one name"
            ));
        }
        Ok(())
    }

    fn check_config(&self) -> Result<(), String> {
        let mut asked: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, wanted) in self.config.iter().enumerate() {
            self.known(wanted.node, &format!("whom configuration wish {index} asks"))?;
            match wanted.wish {
                ConfigWish::Voters(3 | 5) | ConfigWish::Watch | ConfigWish::WatchAll => {}
                ConfigWish::Voters(voters) => {
                    return Err(format!(
                        "configuration wish {index} is for {voters} voters: 3 or 5 can be wished for, so that no one voter decides alone"
                    ));
                }
                _ => *asked.entry(wanted.key).or_default() += 1,
            }
        }
        match asked.into_iter().find(|&(_, wishes)| wishes > WISHES_MOST) {
            Some((key, wishes)) => Err(format!(
                "there are {wishes} wishes for key {key} of the configuration: {WISHES_MOST} is the most for one key"
            )),
            None => Ok(()),
        }
    }

    fn check_departures(&self) -> Result<(), String> {
        let mut gone = BTreeSet::new();
        for (index, departure) in self.departures.iter().enumerate() {
            self.known(departure.node, &format!("who goes by departure {index}"))?;
            self.known(departure.asked_at, &format!("whom departure {index} asks"))?;
            if let Some((_, through)) = departure.returns {
                self.known(through, &format!("through whom departure {index} ends"))?;
            }
            if !gone.insert(departure.node) {
                return Err(format!("node {} goes twice: once is enough", departure.node));
            }
        }
        let asked = |node| self.departures.iter().any(|departure| departure.asked_at == node);
        if let Some(node) = gone.iter().find(|&&node| asked(node)) {
            return Err(format!("node {node} goes, and is asked to let another go: ask one that stays"));
        }
        if gone.len() >= self.nodes.len() && !gone.is_empty() {
            return Err("every node goes: a mesh keeps a member".into());
        }
        Ok(())
    }

    fn check_recovery(&self) -> Result<(), String> {
        let Some(recovery) = &self.recovery else { return Ok(()) };
        self.known(recovery.asked_at, "whom the operator asks")?;
        for &node in &recovery.lost {
            self.known(node, "who is lost")?;
        }
        if recovery.lost.is_empty() || recovery.lost.contains(&recovery.asked_at) {
            return Err("a recovery names somebody lost, and asks somebody else".into());
        }
        if !self.departures.is_empty() {
            return Err("members go, or are lost with the quorum: not both in one plan".into());
        }
        Ok(())
    }

    fn check_seal(&self) -> Result<(), String> {
        let Some(seal) = &self.seal else { return Ok(()) };
        self.known(seal.asked_at, "whom the operator asks for a seal")?;
        let lost = seal.lost();
        for (place, &node) in lost.iter().enumerate() {
            self.known(node, "without whom streams are sealed")?;
            if seal.asked_at == node || lost[..place].contains(&node) {
                return Err("a seal names those who are lost, each once, and asks somebody else".into());
            }
        }
        if !self.departures.is_empty() || self.recovery.is_some() {
            return Err("members go, or streams are sealed without them: not both in one plan".into());
        }
        Ok(())
    }

    fn check_rotations(&self) -> Result<(), String> {
        for (index, rotation) in self.rotations.iter().enumerate() {
            self.known(rotation.node, &format!("whose key gives way by rotation {index}"))?;
            if rotation.at > LONGEST {
                return Err(format!("rotation {index} begins after 1000000s"));
            }
        }
        Ok(())
    }

    fn check_stops(&self) -> Result<(), String> {
        let mut stopped = BTreeSet::new();
        for (index, stop) in self.stops.iter().enumerate() {
            self.known(stop.node, &format!("who stops by stop {index}"))?;
            if !stopped.insert(stop.node) {
                return Err(format!("node {} stops twice: once is enough", stop.node));
            }
            if stop.at > LONGEST || stop.away > LONGEST {
                return Err(format!("stop {index} begins or ends after 1000000s"));
            }
        }
        if !self.stops.is_empty() && self.recovery.is_some() {
            return Err("members stop, or a quorum is lost: not both in one plan".into());
        }
        match self.nodes.iter().filter_map(|node| node.region.as_ref()).find(|name| !valid_region(name)) {
            Some(region) => {
                Err(format!("{region:?} is no region: 1 to 64 characters out of A-Z a-z 0-9 . _ -"))
            }
            None => Ok(()),
        }
    }

    fn check_nodes(&self) -> Result<(), String> {
        if self.nodes.is_empty() || self.nodes.len() > MAX_NODES {
            return Err(format!("a plan has 1 to {MAX_NODES} nodes, not {}", self.nodes.len()));
        }
        let mut names = BTreeSet::new();
        let linked: BTreeSet<(usize, usize)> =
            self.edges.iter().flat_map(|edge| [(edge.a, edge.b), (edge.b, edge.a)]).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            let name = &node.name;
            if !names.insert(name) {
                return Err(format!("two nodes are called {name}: give each its own name"));
            }
            match node.joins_through {
                None if index == 0 => {}
                None => {
                    return Err(format!("node {name} must say whom it joins_through: only the first seeds"));
                }
                Some(_) if index == 0 => {
                    return Err(format!("node {name} seeds the mesh: it cannot join through anybody"));
                }
                Some(parent) => {
                    self.known(parent, &format!("whom {name} joins_through"))?;
                    if parent >= index || !self.nodes[parent].listens || !linked.contains(&(index, parent)) {
                        return Err(format!(
                            "node {name} cannot join through node {parent}: it takes an earlier node that listens, \
                             and an edge between them"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn check_edges(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for edge in &self.edges {
            self.known(edge.a, "an end of an edge")?;
            self.known(edge.b, "an end of an edge")?;
            let (a, b) = (edge.a, edge.b);
            if a == b || !seen.insert((a.min(b), a.max(b))) {
                return Err(format!("the edge between nodes {a} and {b} is there twice, or leads nowhere"));
            }
            let dialled = [(edge.a_dials, b), (edge.b_dials, a)];
            if let Some((_, end)) = dialled.iter().find(|&&(dials, end)| dials && !self.nodes[end].listens) {
                return Err(format!(
                    "in the edge between nodes {a} and {b} somebody dials {end}, which does not listen"
                ));
            }
            if !edge.a_dials && !edge.b_dials {
                return Err(format!("the edge between nodes {a} and {b} is dialled by nobody"));
            }
        }
        Ok(())
    }

    fn check_streams(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for stream in &self.streams {
            let name = &stream.name;
            if !names.insert(name) {
                return Err(format!("two streams are called {name}: give each its own name"));
            }
            self.known(stream.source, &format!("the source of {name}"))?;
            for target in stream.targets() {
                self.known(target, &format!("the target of {name}"))?;
            }
            self.known(stream.asked_at, &format!("where {name} is asked for"))?;
            if stream.targets().any(|target| target == stream.source) {
                return Err(format!("stream {name} begins and ends at one node"));
            }
            let targets: BTreeSet<usize> = stream.targets().collect();
            if targets.len() != stream.targets().count() || targets.len() > TARGETS_MAX {
                return Err(format!("stream {name} goes to a node twice, or to more than {TARGETS_MAX}"));
            }
            let fits = match &stream.complete {
                CompletePlan::All => true,
                CompletePlan::Count(count) => (1..=stream.opened().count()).contains(&(*count as usize)),
                CompletePlan::Named(named) => {
                    !named.is_empty()
                        && named.iter().all(|node| stream.opened().any(|target| target == *node))
                }
            };
            if !fits {
                return Err(format!("stream {name} is completed by other targets than it has, or by none"));
            }
            if stream.poison.as_ref().is_some_and(|poison| poison.attempts == 0 || poison.bad_one_in == 0) {
                return Err(format!(
                    "in stream {name} messages are parked after no attempt, or none is to be"
                ));
            }
            if stream.poison.as_ref().is_some_and(|poison| poison.cured_at == 0)
                && self.parked_most().is_some()
            {
                return Err(format!(
                    "messages of {name} are never processed, and not all of them can be parked"
                ));
            }
            if stream
                .poison
                .as_ref()
                .is_some_and(|poison| poison.fails && (poison.cured_at == 0 || poison.most > 0))
            {
                return Err(format!(
                    "messages fail {name}: sooner or later they are to be processed, and none is parked"
                ));
            }
            if stream.poison.as_ref().is_some_and(|poison| poison.fails) && self.flow.is_some() {
                return Err(format!("{name} fails, and streams are paused: not both in one plan"));
            }
            if stream.poison.is_some() && self.faults.iter().any(|fault| fault.kind.damages()) {
                return Err(format!(
                    "messages of {name} are parked, and a disk forgets what it kept: nobody knows what is parked then"
                ));
            }
            if stream.readers.iter().any(|reader| reader.place >= targets.len() || reader.window == 0) {
                return Err(format!("a reader of {name} is at no target of it, or takes nothing"));
            }
            if !stream.keep.retention().is_valid() {
                return Err(format!("stream {name} keeps more than can be counted"));
            }
            if stream.detach_after != 0
                && (stream.detach_after < SECOND || !stream.detach_after.is_multiple_of(MILLI))
            {
                return Err(format!(
                    "stream {name} detaches targets after less than a second, or parts of one"
                ));
            }
            for publisher in &stream.publishers {
                if publisher.waits.iter().sum::<u64>() == 0 {
                    return Err(format!(
                        "a publisher of {name} waits for nothing: one of waits must be above 0"
                    ));
                }
                if publisher.bytes.0 < 17 {
                    return Err(format!(
                        "a publisher of {name} has messages below 17 bytes, which cannot name themselves"
                    ));
                }
                if publisher.batch.0 == 0 || publisher.pipeline == 0 {
                    return Err(format!("a publisher of {name} never calls: batch and pipeline begin at 1"));
                }
            }
        }
        Ok(())
    }

    fn check_network(&self) -> Result<(), String> {
        let network = &self.network;
        let bad = |latency: &Latency| match *latency {
            Latency::Fixed(time) => time > LONGEST,
            Latency::Uniform(low, high) => low > high || high > LONGEST,
            Latency::Tail { base, slow, .. } => base > slow || slow > LONGEST,
            Latency::Exponential { mean, most } => mean > most || most > LONGEST,
            Latency::LogNormal { median, most, spread } => median > most || most > LONGEST || spread > 400,
            Latency::Bimodal { quick, slow, .. } => {
                quick.0 > quick.1 || slow.0 > slow.1 || quick.1.max(slow.1) > LONGEST
            }
        };
        if bad(&network.latency) || network.links.iter().any(|link| bad(&link.latency)) {
            return Err("a latency goes from the shorter time to the longer, stays below 1000000s, and spreads by 400 at most".into());
        }
        let linked: BTreeSet<(usize, usize)> =
            self.edges.iter().flat_map(|edge| [(edge.a, edge.b), (edge.b, edge.a)]).collect();
        let mut seen = BTreeSet::new();
        for link in &network.links {
            let (from, to) = (link.from, link.to);
            if !linked.contains(&(from, to)) || !seen.insert((from, to)) {
                return Err(format!(
                    "network.links from {from} to {to} is there twice, or there is no such edge"
                ));
            }
        }
        if network.window == 0 {
            return Err("network.window is 0: no byte could ever leave a node".into());
        }
        Ok(())
    }

    fn check_fault(&self, fault: &Fault) -> Result<(), String> {
        for node in fault.kind.nodes() {
            self.known(node, "whom it hits")?;
        }
        match fault.when {
            Trigger::At(at) if at > LONGEST => Err("it begins after 1000000s".into()),
            Trigger::On(condition) if condition.nth == 0 => Err("nth counts from 1".into()),
            Trigger::On(condition) if condition.after > LONGEST => Err("after is above 1000000s".into()),
            Trigger::On(condition) => {
                condition.node.map_or(Ok(()), |node| self.known(node, "where its moment is"))
            }
            Trigger::At(_) => Ok(()),
        }?;
        match &fault.kind {
            FaultKind::Partition { side, .. } if !side.is_sorted_by(|a, b| a < b) => {
                Err("the side of a partition names each node once, in rising order".into())
            }
            FaultKind::Disturb { what, .. } if what.mistake().is_some() => {
                Err(what.mistake().unwrap_or_default().into())
            }
            FaultKind::Flap { shortest, longest, .. } if *shortest == 0 || shortest > longest => {
                Err("it flaps from shortest to longest, and shortest is above 0".into())
            }
            FaultKind::Depose { times: 0, .. } => Err("it deposes nobody: times begins at 1".into()),
            kind if kind.length().is_some_and(|length| length > LONGEST) => {
                Err("it lasts longer than 1000000s".into())
            }
            FaultKind::Trouble { what, .. } => what.check(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
    use crate::plan::Plan;

    #[test]
    fn every_mistake_is_refused_with_its_reason() {
        let refused = |what: &str, spoil: fn(&mut Plan)| {
            let mut plan = Plan::generate(7);
            spoil(&mut plan);
            let said = plan.check().expect_err(what);
            assert!(said.contains(what), "{said:?} does not say {what:?}");
        };
        assert_eq!(Plan::generate(7).check(), Ok(()));
        refused("format 2", |plan| plan.format = 2);
        refused("1 to 2000 nodes", |plan| plan.nodes.clear());
        refused("two nodes are called", |plan| plan.nodes[1].name = plan.nodes[0].name.clone());
        refused("joins_through", |plan| plan.nodes[1].joins_through = None);
        refused("numbers 0 to", |plan| plan.streams[0].target = 99);
        refused("two streams are called stream-0", |plan| plan.streams.push(plan.streams[0].clone()));
        refused("begins and ends", |plan| plan.streams[0].target = plan.streams[0].source);
        refused("is there twice", |plan| plan.edges.push(plan.edges[0]));
        refused("no such edge", |plan| plan.network.links[0].from = plan.network.links[0].to);
        refused("dialled by nobody", |plan| {
            plan.edges[0].a_dials = false;
            plan.edges[0].b_dials = false;
        });
        refused("no byte", |plan| plan.network.window = 0);
        refused("below 17 bytes", |plan| plan.streams[0].publishers[0].bytes.0 = 3);
        refused("waits for nothing", |plan| plan.streams[0].publishers[0].waits = [0; 3]);
        refused("from the shorter time", |plan| plan.disk.sync = (2, 1));
    }

    #[test]
    fn faults_must_name_nodes_that_are_there() {
        let refused = |what: &str, when: Trigger, kind: FaultKind| {
            let mut plan = Plan::generate(7);
            plan.faults = vec![Fault { id: 4, when, kind }];
            let said = plan.check().expect_err(what);
            assert!(said.contains(what) && said.contains("id 4"), "{said:?} does not say {what:?}");
        };
        let on = |node, nth| Trigger::On(Condition { moment: Moment::Lead, node, nth, after: 0 });
        refused("whom it hits is node 90", Trigger::At(1), FaultKind::FailedWrite { node: 90 });
        refused("where its moment is is node 91", on(Some(91), 1), FaultKind::FailedWrite { node: 0 });
        refused("nth counts from 1", on(None, 0), FaultKind::FailedWrite { node: 0 });
        let partition = |side| FaultKind::Partition { side, length: 1 };
        refused("rising order", Trigger::At(1), partition(vec![1, 0]));
        let mut plan = Plan::generate(7);
        let fault = Fault { id: 4, when: Trigger::At(1), kind: FaultKind::FailedWrite { node: 0 } };
        plan.faults = vec![fault.clone(), fault];
        assert!(plan.check().expect_err("two with one id").contains("one id"));
    }
}
