//! Node updates: what each member says of itself (M24).
//!
//! A description is an entry of the control group and part of its state, as addresses are. The other carrier there is, the flooded link
//! states, would have been quicker to spread and worse in all else: a link state is sent anew whenever a cost moves, so a description would travel
//! hundreds of times for each change; it says nothing to members that are away; and a start forgets it. Descriptions change seldom. What changes
//! often, such as load, does not belong here.
//!
//! Each node has one description on its way at most, and begins another only after a pause. What was asked meanwhile is replaced by what was
//! asked last, and all who asked are answered with it.

use alloc::vec::Vec;

use super::entry::Body;
use super::requests::Purpose;
use super::state::{Effect, State};
use super::{Mesh, room};
use crate::description::{DESCRIPTION_BYTES_MAX, DESCRIPTION_ITEMS_MAX, Described, Description};
use crate::id::{BootId, Generation, NodeId, RequestId};
use crate::node::command::{Refusal, Reply};
use crate::time::{Instant, Now};

/// How many may wait for this node's next description.
const WAITING_MAX: usize = 64;

/// What this node wants to say of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Describing {
    generation: Generation,
    counter: u64,
    wanted: Option<Description>,
    /// Who asked for what is wanted, and for what is on its way.
    waiting: Vec<RequestId>,
    under_way: Vec<RequestId>,
    not_before: Instant,
}

impl Describing {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.wanted.as_ref().filter(|_| self.under_way.is_empty()).map(|_| self.not_before)
    }

    /// Nothing is wanted any more; gives whoever waits.
    pub(super) fn take(&mut self) -> Vec<RequestId> {
        self.wanted = None;
        let mut waiting = core::mem::take(&mut self.waiting);
        waiting.append(&mut self.under_way);
        waiting
    }

    /// Gives whoever waits. What is on its way goes on.
    pub(super) fn take_waiting(&mut self) -> Vec<RequestId> {
        self.wanted = None;
        core::mem::take(&mut self.waiting)
    }

    pub(super) fn check(&self) {
        let most = self.waiting.len().max(self.under_way.len());
        assert!(most <= WAITING_MAX, "M5: who waits for a description is bounded");
    }
}

impl Mesh {
    /// Which start of this node this is: what it says of itself is later than all that earlier ones said.
    pub fn begins(&mut self, boot: BootId, generation: Generation) {
        self.doubles.begins(boot);
        self.describing.generation = generation;
    }

    pub(super) fn on_describe(&mut self, now: Now, request: RequestId, description: Description) {
        if self.membership.is_none() {
            return self.reply(request, Err(Refusal::NotMember));
        }
        let (got, limit) = (description.bytes() as u64, DESCRIPTION_BYTES_MAX as u64);
        if got > limit {
            return self.reply(request, Err(Refusal::TooLarge { what: "a description", got, limit }));
        }
        if !description.fits() {
            let what = alloc::format!(
                "a node has at most {DESCRIPTION_ITEMS_MAX} roles, as many capabilities and as many attributes"
            );
            return self.reply(request, Err(Refusal::Invalid(what)));
        }
        if self.describing.waiting.len() >= WAITING_MAX {
            return self.reply(request, Err(Refusal::Busy));
        }
        self.describing.wanted = Some(description);
        self.describing.waiting.push(request);
        self.describe(now);
    }

    /// Sends the next description on its way, if there is one and it is time.
    pub(super) fn describe(&mut self, now: Now) {
        let describing = &mut self.describing;
        if !describing.under_way.is_empty() || now.monotonic < describing.not_before {
            return;
        }
        let Some(description) = describing.wanted.take() else { return };
        describing.counter += 1;
        describing.under_way = core::mem::take(&mut describing.waiting);
        describing.not_before = now.monotonic + self.config.describe_pause;
        let (generation, counter) = (describing.generation, describing.counter);
        let described = Described { generation, counter, description };
        let deadline = Some(now.monotonic + self.config.request_timeout);
        self.submit(now, Purpose::Describe, Body::Describe { node: self.own, described }, deadline);
    }

    pub(super) fn on_described(&mut self, now: Now, result: Result<Effect, Refusal>) {
        let counter = self.describing.counter;
        for request in core::mem::take(&mut self.describing.under_way) {
            let reply = result.clone().map(|_| Reply::Described { counter });
            self.reply(request, reply);
        }
        self.describe(now);
    }

    /// What a member says of itself.
    #[must_use]
    pub fn description(&self, node: NodeId) -> Option<&Described> {
        self.state.descriptions.get(&node)
    }
}

impl State {
    /// Takes what a member says of itself, unless it has said something later.
    pub(super) fn describe(
        &mut self,
        origin: NodeId,
        node: NodeId,
        described: &Described,
    ) -> Result<Effect, Refusal> {
        if origin != node || !self.members.contains_key(&node) || !described.description.fits() {
            return Err(Refusal::Invalid("a member speaks for itself only, and briefly".into()));
        }
        let known = self.descriptions.get(&node);
        if known.is_some_and(|known| known.version() >= described.version()) {
            return Ok(Effect::Described(node));
        }
        let before = known.map_or(0, room::description_bytes);
        let after = room::description_bytes(described);
        self.has_room(before, after).map_err(Refusal::Invalid)?;
        self.bytes = self.bytes - before + after;
        let older = self.descriptions.insert(node, described.clone());
        let newer = older.is_none_or(|older| older.version() < described.version());
        assert!(newer, "M24: the highest version of a node's own word holds");
        Ok(Effect::Described(node))
    }
}
