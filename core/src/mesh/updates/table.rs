//! What the control group knows of updates: both kinds' sequences, and what each member has processed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use super::history::Sent;
use super::history::{HISTORY_BYTES_MAX, History, IDS_MAX};
use crate::id::{NodeId, UpdateId, UpdateNumber};
use crate::mesh::state::{MEMBERS_MAX, Member};
use crate::node::command::Refusal;
use crate::time::Wall;
use crate::update::{Lagging, Update, UpdateKind};
use crate::{rare, sometimes};

/// What a member has processed of each kind.
pub type Cursors = [UpdateNumber; 2];

/// The most that updates take of the encoded state.
pub const UPDATES_BYTES_MAX: usize = 2 * (HISTORY_BYTES_MAX + IDS_MAX * 16 + 64) + MEMBERS_MAX * 48;
/// How many members behind are named.
const NAMED_MAX: usize = 8;

/// What an entry changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An update is sent.
    Send {
        /// Of which kind.
        kind: UpdateKind,
        /// What.
        sent: Sent,
    },
    /// Members have processed updates.
    Processed {
        /// Who, and how far of each kind.
        cursors: Vec<(NodeId, Cursors)>,
    },
    /// Whether members may be passed over.
    PassOver {
        /// Of which kind.
        kind: UpdateKind,
        /// Whether they may.
        allowed: bool,
    },
}

/// What an entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An update is agreed on.
    Sent {
        /// Of which kind.
        kind: UpdateKind,
        /// Its id.
        id: UpdateId,
        /// Its number.
        number: UpdateNumber,
        /// Whether it had been before.
        repeated: bool,
    },
    /// Cursors are noted.
    Noted,
    /// The policy is as asked.
    PolicySet,
}

/// Both kinds, and the cursors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updates {
    pub(super) histories: [History; 2],
    pub(super) cursors: BTreeMap<NodeId, Cursors>,
}

impl Updates {
    /// One kind's sequence.
    #[must_use]
    pub const fn history(&self, kind: UpdateKind) -> &History {
        &self.histories[kind.index()]
    }

    /// What a member has processed, as far as the mesh was told.
    #[must_use]
    pub fn cursor(&self, node: NodeId, kind: UpdateKind) -> UpdateNumber {
        self.cursors.get(&node).map_or(UpdateNumber(0), |cursors| cursors[kind.index()])
    }

    /// A node is a member now: it begins with what is kept, or where it was when it is one again.
    pub(in crate::mesh) fn admit(&mut self, node: NodeId) {
        let floors = [self.histories[0].floor(), self.histories[1].floor()];
        rare!(
            UpdatesBeginAtFloor,
            floors.iter().any(|floor| floor.0 > 0) && !self.cursors.contains_key(&node)
        );
        self.cursors.entry(node).or_insert(floors);
    }

    /// Does what an entry says.
    pub(in crate::mesh) fn apply(
        &mut self,
        origin: NodeId,
        time: Wall,
        change: &Change,
        members: &BTreeMap<NodeId, Member>,
    ) -> Result<Effect, Refusal> {
        match change {
            Change::Send { kind, sent } => self.send(origin, time, *kind, sent, members),
            Change::Processed { cursors } => {
                for (node, processed) in cursors {
                    self.note(*node, processed);
                }
                self.settle(members);
                Ok(Effect::Noted)
            }
            Change::PassOver { kind, allowed } => {
                self.histories[kind.index()].pass_over = *allowed;
                Ok(Effect::PolicySet)
            }
        }
    }

    /// What to say of a request that was decided before.
    pub(in crate::mesh) fn recall(&self, change: &Change, done: bool) -> Result<Effect, Refusal> {
        match change {
            Change::Send { kind, sent } => match self.history(*kind).number(sent.id) {
                Some(number) if done => Ok(Effect::Sent { kind: *kind, id: sent.id, number, repeated: true }),
                _ => Err(Refusal::Busy),
            },
            Change::Processed { .. } => Ok(Effect::Noted),
            Change::PassOver { .. } => Ok(Effect::PolicySet),
        }
    }

    fn send(
        &mut self,
        origin: NodeId,
        time: Wall,
        kind: UpdateKind,
        sent: &Sent,
        members: &BTreeMap<NodeId, Member>,
    ) -> Result<Effect, Refusal> {
        sent.fits()?;
        let id = sent.id;
        if let Some(known) = self.history(kind).repeat(sent) {
            sometimes!(UpdateRepeated, known.is_ok());
            return known.map(|number| Effect::Sent { kind, id, number, repeated: true });
        }
        // Who held it up may be no member any more.
        self.settle(members);
        let history = &mut self.histories[kind.index()];
        if !history.has_room(sent) {
            if !history.pass_over {
                rare!(UpdatesFull);
                let last = history.last;
                let (behind, lagging) = self.lagging(kind, members);
                return Err(Refusal::UpdatesFull { kind, last, behind, lagging });
            }
            rare!(MembersPassedOver);
            history.pass_over_for(sent);
        }
        let number = history.push(origin, time, sent);
        Ok(Effect::Sent { kind, id, number, repeated: false })
    }

    fn note(&mut self, node: NodeId, processed: &Cursors) {
        let Some(cursors) = self.cursors.get_mut(&node) else { return };
        for ((cursor, processed), history) in cursors.iter_mut().zip(processed).zip(&self.histories) {
            *cursor = (*processed).min(history.last).max(*cursor);
        }
    }

    /// Lets go what every member has processed. Who is no member any more holds up nothing.
    pub(in crate::mesh) fn settle(&mut self, members: &BTreeMap<NodeId, Member>) {
        self.cursors.retain(|node, _| members.contains_key(node));
        for kind in UpdateKind::ALL {
            let slowest = self.of_kind(kind).min().unwrap_or_default();
            sometimes!(UpdatesLetGo, slowest > self.history(kind).floor());
            self.histories[kind.index()].cut(slowest);
        }
    }

    /// Whether it remembers ids of updates that it keeps no longer.
    pub(in crate::mesh) fn remembers_more(&self) -> bool {
        self.histories.iter().any(|history| history.ids.len() > history.kept.len())
    }

    /// A deliberate bug: only the ids of what is kept are remembered.
    pub(in crate::mesh) fn forget_ids(&mut self) {
        for history in &mut self.histories {
            let surplus = history.ids.len() - history.kept.len();
            for id in history.ids.drain(..surplus) {
                history.known.remove(&id);
            }
        }
    }

    fn of_kind(&self, kind: UpdateKind) -> impl Iterator<Item = UpdateNumber> + '_ {
        self.cursors.values().map(move |cursors| cursors[kind.index()])
    }

    /// Whether some member has processed what is still kept for others.
    pub(in crate::mesh) fn kept_for_others(&self, kind: UpdateKind) -> bool {
        self.of_kind(kind).max().unwrap_or_default() > self.history(kind).floor()
    }

    /// A deliberate bug: what one member has processed is kept for nobody.
    pub(in crate::mesh) fn cut_at_quickest(&mut self, kind: UpdateKind) {
        let quickest = self.of_kind(kind).max().unwrap_or_default();
        self.histories[kind.index()].cut(quickest);
    }

    /// How many members have not processed everything, and who of them is furthest behind.
    pub(in crate::mesh) fn lagging(
        &self,
        kind: UpdateKind,
        members: &BTreeMap<NodeId, Member>,
    ) -> (u64, Vec<Lagging>) {
        let last = self.history(kind).last;
        let behind = members.values().filter(|member| self.cursor(member.node, kind) < last);
        let mut lagging: Vec<(UpdateNumber, &Member)> =
            behind.map(|member| (self.cursor(member.node, kind), member)).collect();
        lagging.sort_by_key(|(processed, member)| (*processed, &member.name));
        let all = lagging.len() as u64;
        let named = lagging.into_iter().take(NAMED_MAX).map(|(processed, member)| Lagging {
            node: member.node,
            name: member.name.clone(),
            processed,
        });
        (all, named.collect())
    }

    /// The next of a kind after `number`, if it is kept.
    #[must_use]
    pub fn after(&self, kind: UpdateKind, number: UpdateNumber) -> Option<&Update> {
        self.history(kind).get(number.next())
    }

    /// Whether these members, and nobody else, have cursors.
    pub(in crate::mesh) fn are_of(&self, members: &BTreeMap<NodeId, Member>) -> bool {
        self.cursors.keys().eq(members.keys())
    }

    /// Panics if an invariant does not hold.
    pub(in crate::mesh) fn check(&self, members: &BTreeMap<NodeId, Member>) {
        for kind in UpdateKind::ALL {
            let history = self.history(kind);
            history.check();
            let floor = history.floor();
            for cursors in self.cursors.values() {
                let cursor = cursors[kind.index()];
                assert!(cursor <= history.last, "M23: nobody has processed what was never sent");
                assert!(
                    cursor >= floor || history.passed >= floor,
                    "M21: {} updates up to {floor} are let go and a member stands at {cursor}",
                    kind.name()
                );
            }
        }
        assert!(self.are_of(members), "M21: members have their cursors, and nobody else has");
    }
}
