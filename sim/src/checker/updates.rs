//! Updates reach every member, in one order, and none is lost or doubled (X24).
//!
//! Known is what was asked, what was acknowledged, what every handler was handed and reported. An update that was acknowledged is handed to the
//! handlers of all members, in the order of the numbers, from the first that was sent after the member was told that it is one. A handler
//! begins where its reports ended, at most a window before.

use std::collections::BTreeMap;

use wattle_core::id::{AttachToken, GroupId, UpdateId, UpdateNumber};
use wattle_core::update::{UpdateDelivery, UpdateItem, UpdateKind};

use super::{Checked, Failure, ensure};
use crate::event::Time;
use crate::plan::Plan;
use crate::sender::content;

/// An update of the plan.
#[derive(Debug)]
struct Sent {
    kind: UpdateKind,
    bytes: bytes::Bytes,
    /// When it was first asked for.
    asked: Option<Time>,
    number: Option<u64>,
    acknowledged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Attachment {
    token: AttachToken,
    handed: u64,
}

/// What one handler was given, over all its attachments.
#[derive(Clone, Copy, Debug, Default)]
struct Handled {
    now: Option<Attachment>,
    /// The highest number handed over, ever.
    handed: u64,
    /// The highest number it reported to its node.
    reported: u64,
    window: u64,
    /// Where its last attachment began.
    begun: u64,
    rolled_back: bool,
}

/// The ledger of all updates.
#[derive(Debug, Default)]
pub struct UpdateLedger {
    sent: Vec<Sent>,
    by_id: BTreeMap<UpdateId, usize>,
    /// Per kind: which update bears a number.
    order: [BTreeMap<u64, usize>; 2],
    /// When each node was told that it is a member.
    joined: Vec<Option<Time>>,
    handled: Vec<[Handled; 2]>,
    /// A disk was taken back that alone held what the mesh had agreed on: numbers may be given anew, and nothing can be judged any more.
    torn: bool,
}

impl UpdateLedger {
    /// What follows from what the mesh agreed on, which counts as long as nothing of that was lost.
    fn agreed(&self, checked: Checked) -> Checked {
        if self.torn { Ok(()) } else { checked.map_err(|failure| failure.decided_by(GroupId::CONTROL)) }
    }

    /// What one node alone held of what the mesh had agreed on is lost.
    pub fn tears(&mut self) {
        self.torn = true;
    }

    /// The ledger of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut ledger = Self {
            joined: vec![None; plan.nodes.len()],
            handled: vec![[Handled::default(); 2]; plan.nodes.len()],
            ..Self::default()
        };
        for (index, send) in plan.sends().iter().enumerate() {
            let (id, bytes) = content(plan.seed, index, send);
            ledger.by_id.insert(id, index);
            let kind = send.kind.into();
            ledger.sent.push(Sent { kind, bytes, asked: None, number: None, acknowledged: false });
        }
        ledger
    }

    /// An update is asked for.
    pub fn asks(&mut self, index: usize, now: Time) {
        self.sent[index].asked.get_or_insert(now);
    }

    /// A node was told that it is a member.
    pub fn joined(&mut self, node: usize, now: Time) {
        self.joined[node].get_or_insert(now);
    }

    /// A node is no member any more: what is sent until it is told that it is one again it need not be handed.
    pub fn departed(&mut self, node: usize) {
        self.joined[node] = None;
    }

    /// A node's disk was taken back: cursors that it alone held are void.
    pub fn rolled_back(&mut self, node: usize) {
        self.handled[node].iter_mut().for_each(|handled| handled.rolled_back = true);
    }

    /// An update was acknowledged.
    ///
    /// # Errors
    /// X24.
    pub fn acknowledged(&mut self, index: usize, number: UpdateNumber) -> Checked {
        self.sent[index].acknowledged = true;
        let borne = self.bears(index, number.0);
        self.agreed(borne)
    }

    /// An update bears one number, and a number is borne by one update, for everybody.
    fn bears(&mut self, index: usize, number: u64) -> Checked {
        let sent = &mut self.sent[index];
        let known = *sent.number.get_or_insert(number);
        ensure!(known == number, "X24", "update {index} is number {known}, and now number {number}");
        let kind = sent.kind;
        let first = *self.order[kind.index()].entry(number).or_insert(index);
        ensure!(
            first == index,
            "X24",
            "number {number} of {} updates is borne by {first} and by {index}",
            kind.name()
        );
        Ok(())
    }

    /// A handler is attached.
    ///
    /// # Errors
    /// X24.
    pub fn attached(
        &mut self,
        node: usize,
        kind: UpdateKind,
        token: AttachToken,
        after: u64,
        window: u32,
    ) -> Checked {
        let handled = self.handled[node][kind.index()];
        for number in handled.reported + 1..=after {
            self.agreed(self.may_skip(node, kind, number))?;
        }
        let again = handled.handed.saturating_sub(after);
        self.agreed(self.repeats_little(node, kind, after, again))?;
        let handled = &mut self.handled[node][kind.index()];
        handled.window = handled.window.max(u64::from(window));
        handled.now = Some(Attachment { token, handed: after });
        handled.begun = after;
        Ok(())
    }

    fn repeats_little(&self, node: usize, kind: UpdateKind, after: u64, again: u64) -> Checked {
        let handled = &self.handled[node][kind.index()];
        ensure!(
            handled.rolled_back || again <= handled.window,
            "X24",
            "node {node}: {} updates begin after {after} again, though {} were handed over in a window of {}",
            kind.name(),
            handled.handed,
            handled.window
        );
        Ok(())
    }

    /// Whether a handler need not be handed a number that it never reported: the update was sent before its node was told that it is a member.
    fn may_skip(&self, node: usize, kind: UpdateKind, number: u64) -> Checked {
        let sent = self.order[kind.index()].get(&number).map(|&index| &self.sent[index]);
        let asked = sent.and_then(|sent| sent.asked);
        ensure!(
            asked.is_some() && self.joined[node].is_none_or(|joined| asked < Some(joined)),
            "X24",
            "node {node}: {} update {number} was never processed and is not handed over",
            kind.name()
        );
        Ok(())
    }

    /// Updates are handed over.
    ///
    /// # Errors
    /// X24.
    pub fn handed(&mut self, node: usize, delivery: &UpdateDelivery) -> Checked {
        let kind = delivery.kind;
        for item in &delivery.items {
            let follows = self.follows(node, delivery.token, kind, item);
            self.agreed(follows)?;
            let UpdateItem::Update(update) = item else { continue };
            let index = self.by_id.get(&update.id).copied();
            let sent = index.map(|index| &self.sent[index]);
            let same = sent.is_some_and(|sent| {
                sent.asked.is_some() && sent.kind == kind && sent.bytes == update.payload
            });
            ensure!(
                same,
                "X24",
                "node {node} hands over {} update {} that nobody sent so",
                kind.name(),
                update.number
            );
            let borne = self.bears(index.unwrap_or_default(), update.number.0);
            self.agreed(borne)?;
        }
        Ok(())
    }

    fn follows(&mut self, node: usize, token: AttachToken, kind: UpdateKind, item: &UpdateItem) -> Checked {
        let handled = &mut self.handled[node][kind.index()];
        let Some(now) = handled.now.as_mut().filter(|now| now.token == token) else {
            return Err(Failure::new(
                "X24",
                format!("node {node}: {} updates under token {token}, which is not attached", kind.name()),
            ));
        };
        let UpdateItem::Update(update) = item else {
            return Err(Failure::new(
                "X24",
                format!("node {node}: a gap where nobody is passed over: {item:?}"),
            ));
        };
        ensure!(
            update.number.0 == now.handed + 1,
            "X24",
            "node {node}: {} update {} was handed over after {}",
            kind.name(),
            update.number,
            now.handed
        );
        now.handed += 1;
        handled.handed = handled.handed.max(now.handed);
        Ok(())
    }

    /// A handler's report reaches its node. What a replaced handler says does not count.
    pub fn reported(&mut self, node: usize, kind: UpdateKind, token: AttachToken, upto: u64) {
        let handled = &mut self.handled[node][kind.index()];
        if handled.now.is_some_and(|now| now.token == token) {
            handled.reported = handled.reported.max(upto);
        }
    }

    /// A handler leaves, under a token.
    pub fn left(&mut self, node: usize, kind: UpdateKind, token: AttachToken) {
        let handled = &mut self.handled[node][kind.index()];
        handled.now = handled.now.filter(|now| now.token != token);
    }

    /// An attachment is over.
    pub fn gone(&mut self, node: usize, kind: UpdateKind) {
        self.handled[node][kind.index()].now = None;
    }

    /// What the handlers of a node have not processed yet, in words.
    #[must_use]
    pub fn owed(&self, node: usize) -> Option<String> {
        UpdateKind::ALL.into_iter().filter(|_| !self.torn).find_map(|kind| {
            let of_kind = self.sent.iter().filter(|sent| sent.kind == kind && sent.acknowledged);
            let last = of_kind.filter_map(|sent| sent.number).max()?;
            let handled = &self.handled[node][kind.index()];
            // What it was rightly not handed is behind it.
            let stands = handled.reported.max(handled.begun);
            (stands < last).then(|| {
                format!("node {node} has processed {} updates up to {stands}, of {last}", kind.name())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_core::id::NodeId;
    use wattle_core::time::Wall;
    use wattle_core::update::Update;

    const KIND: UpdateKind = UpdateKind::Mesh;

    /// A ledger of two nodes, told that they are members, and of updates that were asked for after that.
    fn ledger(updates: u128) -> UpdateLedger {
        let mut ledger = UpdateLedger {
            joined: vec![Some(1); 2],
            handled: vec![[Handled::default(); 2]; 2],
            ..UpdateLedger::default()
        };
        for id in 0..updates {
            ledger.by_id.insert(UpdateId(id), id as usize);
            let bytes = bytes::Bytes::from(vec![id as u8]);
            let (asked, number) = (Some(5), None);
            ledger.sent.push(Sent { kind: KIND, bytes, asked, number, acknowledged: false });
        }
        ledger
    }

    fn delivery(token: u64, numbers: std::ops::RangeInclusive<u64>) -> UpdateDelivery {
        let item = |number: u64| {
            UpdateItem::Update(Update {
                number: UpdateNumber(number),
                id: UpdateId(u128::from(number) - 1),
                origin: NodeId(1),
                key: String::new(),
                payload: vec![number as u8 - 1].into(),
                time: Wall(1),
            })
        };
        UpdateDelivery { token: AttachToken(token), kind: KIND, items: numbers.map(item).collect() }
    }

    fn broken(checked: Checked) {
        assert_eq!(checked.expect_err("this breaks a promise").checker, "X24");
    }

    #[test]
    fn one_order_holds_for_everybody_and_nothing_is_skipped() {
        let mut books = ledger(3);
        books.attached(0, KIND, AttachToken(1), 0, 8).unwrap();
        books.handed(0, &delivery(1, 1..=2)).unwrap();
        books.acknowledged(1, UpdateNumber(2)).unwrap();
        broken(books.acknowledged(2, UpdateNumber(2)));
        broken(books.handed(0, &delivery(1, 4..=4)));
        broken(books.handed(0, &delivery(9, 3..=3)));
        broken(books.attached(1, KIND, AttachToken(2), 2, 8));
        books.attached(1, KIND, AttachToken(2), 0, 8).unwrap();
        assert!(books.owed(1).is_some_and(|what| what.contains("up to 0, of 2")));
        let gap = UpdateItem::Gap { first: UpdateNumber(1), last: UpdateNumber(1) };
        let token = AttachToken(2);
        broken(books.handed(1, &UpdateDelivery { token, kind: KIND, items: vec![gap] }));
    }

    #[test]
    fn a_crash_repeats_at_most_the_window_and_a_newcomer_need_not_see_what_came_before() {
        let mut books = ledger(3);
        books.attached(0, KIND, AttachToken(1), 0, 2).unwrap();
        books.handed(0, &delivery(1, 1..=2)).unwrap();
        books.reported(0, KIND, AttachToken(1), 2);
        books.handed(0, &delivery(1, 3..=3)).unwrap();
        books.gone(0, KIND);
        broken(books.attached(0, KIND, AttachToken(2), 0, 2));
        broken(books.attached(0, KIND, AttachToken(2), 3, 2));
        books.attached(0, KIND, AttachToken(2), 1, 2).unwrap();
        books.joined[1] = Some(9);
        books.attached(1, KIND, AttachToken(3), 3, 2).unwrap();
        books.departed(1);
        books.sent[2].asked = Some(12);
        books.joined(1, 15);
        books.gone(1, KIND);
        books.handled[1][KIND.index()].reported = 2;
        books.attached(1, KIND, AttachToken(4), 3, 2).unwrap();
        books.acknowledged(2, UpdateNumber(3)).unwrap();
        assert_eq!(books.owed(1), None, "all of it was sent before it was a member");
    }

    #[test]
    fn where_what_was_agreed_on_is_lost_nothing_is_judged() {
        let mut books = ledger(2);
        books.acknowledged(0, UpdateNumber(1)).unwrap();
        books.tears();
        books.acknowledged(1, UpdateNumber(1)).unwrap();
        assert_eq!(books.owed(0), None);
    }
}
