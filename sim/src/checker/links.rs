//! How links between neighbours end and come back (X17, X19), as each node tells of its own.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::time::{Instant, Span};

use super::{Checked, ensure};

/// A connection of a node to a neighbour, as it goes on under the link.
#[derive(Clone, Copy, Debug)]
struct Carrier {
    connection: usize,
    /// Since when the node has it.
    since: Instant,
    /// The node dialled it.
    dialled: bool,
    /// One end closed it because it keeps another.
    surplus: bool,
    /// It ended, or was ended, for any other reason.
    broke: bool,
    /// The node was told that it is over.
    over: bool,
    /// When it came up here, in the order of what nodes were told.
    order: u64,
    /// When it broke at the other end, likewise, if the node was not told before this step. It may keep it in favour of one that is whole,
    /// if that had come up by then: what is kept has answered since.
    halved: Option<u64>,
    /// An end closed it that was misled by one that was halved.
    misled: bool,
}

/// What a node says and does about one neighbour, in one of its lives.
#[derive(Clone, Debug, Default)]
struct Neighbour {
    carriers: Vec<Carrier>,
    /// Since when its link is up.
    up: Option<Instant>,
    /// A dial is not answered.
    dialling: bool,
    /// A dial of the node's brought a link up, so that the node knows whose address it is.
    answered: bool,
    /// The neighbour must have been dialled by then.
    due: Option<Instant>,
}

impl Neighbour {
    /// Whether the node may have given a connection up for one of which it could not know that it broke at the other end.
    fn is_misled_about(&self, connection: usize) -> bool {
        let given_up = self.carriers.iter().find(|carrier| carrier.connection == connection);
        let order = given_up.map_or(0, |carrier| carrier.order);
        self.carriers.iter().any(|carrier| carrier.halved.is_some_and(|halved| halved > order))
    }
}

/// Times that nodes keep to.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// A link that lasted so long is dialled again soon.
    pub healthy: Span,
    /// How soon, at the latest.
    pub redial: Span,
    /// How long a handshake may take.
    pub handshake: Span,
}

/// The links of all nodes.
#[derive(Debug)]
pub struct Neighbours {
    pauses: Pauses,
    /// By node and neighbour.
    all: BTreeMap<(usize, usize), Neighbour>,
    /// Links that went down in the step under way.
    down: Vec<(usize, usize)>,
    /// Links of which a connection ended in the step under way.
    told: Vec<(usize, usize)>,
    /// How many pairs have a time by which they must be dialled.
    due: usize,
    /// Counts the connections that nodes were told of, and their ends.
    order: u64,
    /// Nodes that belong to no mesh any more.
    parted: BTreeSet<usize>,
    /// Nodes that take no part for a while.
    stopped: BTreeSet<usize>,
}

impl Neighbours {
    /// No links.
    #[must_use]
    pub fn new(pauses: Pauses) -> Self {
        Self {
            pauses,
            all: BTreeMap::new(),
            down: Vec::new(),
            told: Vec::new(),
            due: 0,
            order: 0,
            parted: BTreeSet::new(),
            stopped: BTreeSet::new(),
        }
    }

    fn at(&mut self, node: usize, peer: usize) -> &mut Neighbour {
        self.all.entry((node, peer)).or_default()
    }

    fn owe(&mut self, node: usize, peer: usize, due: Option<Instant>) {
        let before = std::mem::replace(&mut self.at(node, peer).due, due);
        self.due = self.due + usize::from(due.is_some()) - usize::from(before.is_some());
    }

    /// A node ended: it forgets, and its connections break for all others.
    pub fn node_down(&mut self, node: usize) {
        self.due -= self.all.iter().filter(|(pair, own)| pair.0 == node && own.due.is_some()).count();
        self.all.retain(|&(from, _), _| from != node);
        self.stopped.remove(&node);
        for neighbour in self.all.iter_mut().filter(|(pair, _)| pair.1 == node).map(|(_, other)| other) {
            neighbour.carriers.iter_mut().for_each(|carrier| carrier.broke = true);
        }
    }

    /// A node takes no part for a while: it dials nobody.
    pub fn stops(&mut self, node: usize) {
        self.stopped.insert(node);
        self.owes_nobody(node);
    }

    /// It takes part again.
    pub fn goes_on(&mut self, node: usize) {
        self.stopped.remove(&node);
    }

    /// A node belongs to no mesh: it dials nobody.
    pub fn parts(&mut self, node: usize) {
        self.parted.insert(node);
        self.owes_nobody(node);
    }

    fn owes_nobody(&mut self, node: usize) {
        let own: Vec<usize> =
            self.all.range((node, 0)..=(node, usize::MAX)).map(|(pair, _)| pair.1).collect();
        own.into_iter().for_each(|peer| self.owe(node, peer, None));
    }

    /// A node dials a neighbour.
    pub fn dials(&mut self, node: usize, peer: usize) {
        self.at(node, peer).dialling = true;
        self.owe(node, peer, None);
    }

    /// A dial came to nothing.
    pub fn dial_failed(&mut self, node: usize, peer: usize) {
        self.at(node, peer).dialling = false;
    }

    /// A node has a connection.
    pub fn lane_up(&mut self, node: usize, peer: usize, connection: usize, dialled: bool, now: Instant) {
        self.order += 1;
        let order = self.order;
        let own = self.at(node, peer);
        own.dialling &= !dialled;
        own.carriers.push(Carrier {
            connection,
            since: now,
            dialled,
            surplus: false,
            broke: false,
            over: false,
            order,
            halved: None,
            misled: false,
        });
    }

    /// An end closes a connection between two nodes.
    pub fn closes(&mut self, one: usize, other: usize, connection: usize, surplus: bool) {
        let misled =
            surplus && self.all.get(&(one, other)).is_some_and(|own| own.is_misled_about(connection));
        for pair in [(one, other), (other, one)] {
            let Some(own) = self.all.get_mut(&pair) else { continue };
            for carrier in own.carriers.iter_mut().filter(|carrier| carrier.connection == connection) {
                carrier.surplus |= surplus;
                carrier.broke |= !surplus;
                carrier.misled |= misled;
            }
        }
    }

    /// A node wants nothing to do with another: each connection between them has a reason to end, one that is kept from before among them.
    pub fn refuses(&mut self, one: usize, other: usize) {
        for pair in [(one, other), (other, one)] {
            let carriers = self.all.get_mut(&pair).into_iter().flat_map(|own| &mut own.carriers);
            carriers.for_each(|carrier| carrier.broke = true);
        }
    }

    /// A node is told that a connection is over.
    pub fn lane_down(&mut self, node: usize, peer: usize, connection: usize) {
        let mut broke = false;
        self.order += 1;
        let order = self.order;
        self.told.push((node, peer));
        let own = self.at(node, peer);
        for carrier in own.carriers.iter_mut().filter(|carrier| carrier.connection == connection) {
            carrier.over = true;
            carrier.broke |= !carrier.surplus;
            broke |= carrier.broke;
        }
        if own.up.is_none() {
            own.carriers.retain(|carrier| !carrier.over);
        }
        let theirs = self.all.get_mut(&(peer, node)).filter(|_| broke);
        let carriers = theirs.into_iter().flat_map(|theirs| &mut theirs.carriers);
        for carrier in carriers.filter(|carrier| carrier.connection == connection) {
            carrier.halved.get_or_insert(order);
        }
    }

    /// How long a node has held its link with a neighbour for up, by its clock; `None` if it does not.
    #[must_use]
    pub fn is_up_for(&self, node: usize, peer: usize, now: Instant) -> Option<Span> {
        self.all.get(&(node, peer))?.up.map(|since| now.since(since))
    }

    /// A node says that a link is up.
    pub fn link_up(&mut self, node: usize, peer: usize, now: Instant) {
        self.parted.remove(&node);
        let own = self.at(node, peer);
        own.carriers.retain(|carrier| !carrier.over);
        own.up = Some(now);
        own.answered |= own.carriers.iter().all(|carrier| carrier.dialled);
        self.owe(node, peer, None);
    }

    /// A node says that a link is down. `dials`: it knows an address of the neighbour.
    pub fn link_down(&mut self, node: usize, peer: usize, now: Instant, dials: bool) {
        let Pauses { healthy, redial, handshake } = self.pauses;
        let own = self.at(node, peer);
        let lasted = own.up.take().map_or(Span::ZERO, |since| now.since(since));
        let greets = own
            .carriers
            .iter()
            .any(|carrier| carrier.dialled && !carrier.over && now.since(carrier.since) < handshake);
        let dials = dials && !self.parted.contains(&node) && !self.stopped.contains(&node);
        let own = self.at(node, peer);
        let rests = dials && own.answered && !own.dialling && !greets;
        if rests && lasted >= healthy {
            self.owe(node, peer, Some(now + redial));
        }
        self.down.push((node, peer));
    }

    /// A step of a node is over.
    ///
    /// # Errors
    /// X19.
    pub fn step_over(&mut self) -> Checked {
        while let Some((node, peer)) = self.down.pop() {
            let (own, theirs) = (self.all.get(&(node, peer)), self.all.get(&(peer, node)));
            let mut given_up = own.into_iter().flat_map(|own| &own.carriers);
            let misled = given_up
                .any(|carrier| theirs.is_some_and(|theirs| theirs.is_misled_about(carrier.connection)));
            let own = self.at(node, peer);
            let forsaken = !misled
                && !own.carriers.is_empty()
                && own.carriers.iter().all(|carrier| carrier.surplus && !carrier.broke && !carrier.misled);
            ensure!(
                !forsaken,
                "X19",
                "the link of node {node} to node {peer} went down although nothing broke: each of its {} connections was closed in favour of another",
                own.carriers.len()
            );
            own.carriers.retain(|carrier| !carrier.over);
        }
        while let Some((node, peer)) = self.told.pop() {
            for carrier in self.at(node, peer).carriers.iter_mut().filter(|carrier| carrier.over) {
                carrier.halved = None;
            }
        }
        Ok(())
    }

    /// A node was woken and did what was due.
    ///
    /// # Errors
    /// X17.
    pub fn woken(&mut self, node: usize, now: Instant) -> Checked {
        if self.due == 0 {
            return Ok(());
        }
        for (&(_, peer), own) in self.all.range((node, 0)..=(node, usize::MAX)) {
            ensure!(
                own.due.is_none_or(|due| due > now),
                "X17",
                "node {node} does not dial node {peer} again within the shortest pause, though their link had held for long"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours() -> Neighbours {
        let pauses = Pauses { healthy: Span::secs(10), redial: Span::millis(250), handshake: Span::secs(5) };
        Neighbours::new(pauses)
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    fn linked() -> Neighbours {
        let mut all = neighbours();
        all.dials(0, 1);
        all.lane_up(0, 1, 5, true, at(1));
        all.link_up(0, 1, at(2));
        all
    }

    #[test]
    fn a_link_that_held_is_dialled_again_soon() {
        let mut all = linked();
        all.lane_down(0, 1, 5);
        all.link_down(0, 1, at(10_002), true);
        all.step_over().unwrap();
        all.woken(0, at(10_251)).unwrap();
        all.woken(1, at(20_000)).unwrap();
        assert_eq!(all.woken(0, at(10_252)).unwrap_err().checker, "X17");
        all.dials(0, 1);
        all.woken(0, at(20_000)).unwrap();
        assert_eq!(all.due, 0);
    }

    #[test]
    fn whoever_does_not_dial_or_whose_link_was_short_owes_nothing() {
        for (down, dials, crashes) in [(10_001, true, false), (10_002, false, false), (10_002, true, true)] {
            let mut all = linked();
            all.lane_down(0, 1, 5);
            all.link_down(0, 1, at(down), dials);
            if crashes {
                all.node_down(0);
            }
            all.woken(0, at(30_000)).unwrap();
            assert_eq!(all.due, 0);
        }
    }

    #[test]
    fn an_end_may_keep_a_connection_of_which_it_cannot_know_that_it_broke() {
        for (broke_before, told) in [(false, false), (false, true), (true, false)] {
            let mut all = linked();
            all.lane_up(1, 0, 5, false, at(1));
            all.lane_up(0, 1, 6, true, at(3));
            if !broke_before {
                // Node 1 may have an answer of connection 5 under way to it.
                all.lane_up(1, 0, 6, false, at(3));
            }
            all.lane_down(0, 1, 5);
            all.link_up(0, 1, at(4));
            all.step_over().unwrap();
            if broke_before {
                all.lane_up(1, 0, 6, false, at(4));
            }
            if told {
                all.lane_down(1, 0, 5);
                all.step_over().unwrap();
            }
            all.closes(0, 1, 6, true);
            all.link_down(0, 1, at(6), true);
            assert_eq!(all.step_over().is_err(), broke_before || told, "{broke_before} {told}");
        }
    }

    #[test]
    fn who_hears_late_that_the_kept_connection_broke_is_misled_until_that_step_is_over() {
        for at_once in [true, false] {
            let mut all = neighbours();
            all.lane_up(0, 1, 6, true, at(1));
            all.lane_up(1, 0, 6, false, at(1));
            all.link_up(0, 1, at(1));
            all.link_up(1, 0, at(1));
            // Node 0 loses that connection while it has another one.
            all.lane_up(0, 1, 5, true, at(2));
            all.lane_up(1, 0, 5, false, at(2));
            all.lane_down(0, 1, 6);
            all.link_up(0, 1, at(3));
            all.step_over().unwrap();
            // Node 1 kept the old one, and is told only now.
            all.lane_down(1, 0, 6);
            if !at_once {
                all.step_over().unwrap();
            }
            all.closes(1, 0, 5, true);
            all.link_down(1, 0, at(4), false);
            all.step_over().unwrap();
            all.lane_down(0, 1, 5);
            all.link_down(0, 1, at(5), true);
            assert_eq!(all.step_over().is_ok(), at_once);
        }
    }

    #[test]
    fn a_link_must_not_end_because_each_end_kept_another_connection() {
        let mut all = linked();
        all.lane_up(0, 1, 6, false, at(3));
        all.closes(1, 0, 6, true);
        all.lane_down(0, 1, 6);
        let mut both = Neighbours { all: all.all.clone(), ..neighbours() };
        let mut refused = Neighbours { all: all.all.clone(), ..neighbours() };
        refused.refuses(1, 0);
        for ends in [&mut both, &mut refused] {
            ends.closes(0, 1, 5, true);
            ends.link_down(0, 1, at(9), true);
        }
        refused.step_over().unwrap();
        assert_eq!(both.step_over().unwrap_err().checker, "X19");
        all.lane_down(0, 1, 5);
        all.link_down(0, 1, at(9), true);
        all.step_over().unwrap();
    }
}
