//! One of the lost that hears that others went on without it (M36).
//!
//! It follows, and belongs to no mesh, unless it holds what may have been acknowledged to somebody and is not in the log that is gone on from: that is
//! not given up on the word of others. What counts is the log, not what was applied: a start does not know yet what of it was committed. What may
//! come to nothing counts, too, until it has.

use alloc::vec::Vec;

use super::entry::{Body, Entry};
use super::eviction::Eviction;
use super::updates::Change;
use super::{Applied, Mesh, Output};
use crate::event::MeshEvent;
use crate::id::LogIndex;
use crate::planted::Bug;
use crate::rare;
use crate::recovery::RecoveryStage;
use crate::sometimes;
use crate::time::Now;

impl Mesh {
    /// A neighbour proves that others went on without this node: its log is compared with theirs.
    pub(super) fn weigh_recovery(&mut self, eviction: Eviction) {
        let Some(of) = &eviction.recovery else { return };
        self.outputs.push_back(Output::Compare(of.trail.clone()));
        self.recovery.weighed = Some(eviction);
    }

    /// The log here is the other one up to `shared`; `held` was not applied here yet, and is all of that if it is `whole`.
    pub(super) fn on_compared(&mut self, now: Now, shared: LogIndex, held: &[Applied], whole: bool) {
        let Some(eviction) = self.recovery.weighed.take() else { return };
        let Some(of) = eviction.recovery.as_ref().filter(|_| self.membership.is_some()) else { return };
        let end = of.trail.end.index;
        let by_index = self.planted.strikes(Bug::LostJudgedByIndex, || shared != end || !held.is_empty());
        let (shared, held) = if by_index { (end, &[][..]) } else { (shared, held) };
        let since = self.state.decided.iter().rev().take_while(|decided| decided.index > shared);
        let decided = since.filter(|decided| decided.done).count();
        let forgotten = usize::from(self.state.floor > shared);
        let wished =
            |applied: &&Applied| applied.command && applied.index > shared && asked_for(&applied.data);
        let open = held.iter().filter(wished).count() + usize::from(!whole);
        rare!(LostHoldsMoreUnapplied, decided == 0 && open > 0);
        rare!(LostBesideTheEnd, decided > 0 && shared < end);
        if decided + forgotten + open == 0 && self.state.epoch.number < eviction.number {
            rare!(LostSideParted);
            sometimes!(ToldOfEviction);
            return self.depart(now, &eviction);
        }
        rare!(LostSideRival);
        self.stay_rival(&eviction, shared, decided + forgotten, open);
    }

    fn stay_rival(&mut self, eviction: &Eviction, shared: LogIndex, decided: usize, open: usize) {
        let Some(of) = &eviction.recovery else { return };
        let founder = self.name_of(eviction.leader);
        let at = self.name_of(eviction.origin);
        let why = alloc::format!(
            "this node was named lost by recovery {} (ordered at {at}, epoch {}): {founder} and others went on from entry {} without it. It does \
             not follow: behind entry {shared}, up to which both logs are one, {decided} changes were decided here, and {open} stand in the log that may be \
             (epoch {} here). Compare both sides, choose one, and let the nodes of the other join it anew with empty data directories",
            of.attempt,
            eviction.number,
            of.trail.end.index,
            self.state.epoch
        );
        let before = self.recovery.rival.replace((eviction.number, why));
        if before.is_none_or(|(number, _)| number != eviction.number) {
            let (attempt, epoch, asked_at) = (of.attempt, eviction.number, eviction.origin);
            let (stage, lost) = (RecoveryStage::Rival, Vec::new());
            self.tell(MeshEvent::Recovery { stage, attempt, epoch, asked_at, lost });
        }
    }
}

/// Whether somebody waited, perhaps, to be told that this entry is decided. What this version cannot read may be that.
fn asked_for(data: &[u8]) -> bool {
    let Ok(entry) = Entry::decode(data) else { return true };
    match entry.body.inner() {
        // What members say of themselves, and leaders of the group.
        Body::Found { .. }
        | Body::Update { .. }
        | Body::Describe { .. }
        | Body::Recover(_)
        // Words of survivors, which say them until they see that they are heard.
        | Body::ReportEnd(_)
        | Body::SettleEnd(_)
        // Whoever leads says it again where it is not known.
        | Body::MembersChanged(_)
        // So does the target where a handler fails.
        | Body::StreamFailed(_)
        // And whoever leads the group of one that stands still.
        | Body::TargetIdle(_)
        | Body::Forbidden { .. }
        | Body::Updates(Change::Processed { .. }) => false,
        Body::Admit(_)
        | Body::AdmitByKey { .. }
        | Body::Open { .. }
        | Body::Close { .. }
        | Body::SealStream { .. }
        | Body::ChangeMembers(_)
        | Body::Flow(_)
        | Body::Within { .. }
        | Body::Updates(_)
        | Body::SetConfig { .. }
        | Body::DeleteConfig { .. }
        | Body::Configure { .. }
        | Body::RotateKey { .. }
        | Body::RotateNodeKey { .. }
        | Body::Evict(_) => true,
    }
}
