//! A group that lost its quorum for good goes on without those it lost (requirement X-07).
//!
//! Who orders that is the group's owner; three things happen here. A *fence*: from then on this replica neither stands nor votes, takes nothing from
//! a leader and acknowledges nothing, so that where its log ends is where it ends. The *founding*: the replica whose log is chosen goes on in
//! a configuration in which it alone votes, above every term heard. And the *era*: every message bears the number of the recovery under which its
//! sender goes on, and what bears another one is not heard. A fenced replica goes on under an era for which it was fenced once somebody speaks under
//! it, for only a founder begins one; so whatever is under way from before, and whatever the lost say when they come back, ends here (R20).
//!
//! A replica may be fenced again before it hears of the founder, or before its owner knows what that one decided. Whether the founder goes on or was fenced,
//! too, nobody here can tell: so it is followed, and voted for, which does no harm where it was, and the fence keeps this replica from standing until the
//! later founder is heard, or the owner lifts it. Only whoever leads begins that: what others say under an earlier era, asking each other of their past,
//! may be long over.
//!
//! The fence is kept by the owner, in a record of its own; the era is part of what the group keeps of itself.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::context::Context;
use super::delta::Delta;
use super::group::{Group, leads};
use super::message::{Body, EntryKind, Message, Place};
use super::quorum::carried;
use super::roles::{Leading, Role, Standing, Unfit};
use super::wire::{TERM_MAX, encode_delta};
use super::{Output, RoleName};
use crate::configuration::{Configuration, Member};
use crate::id::{LogIndex, NodeId, Term};
use crate::planted::{Bug, Planted};
use crate::rare;

/// What shuts a replica off from its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// The eras this replica may go on under, oldest first: of every recovery for which it said where its log ends. The last is the present one.
    pub eras: Vec<u64>,
    /// Who is taken for lost: nothing is heard from them, and nobody waits for their word about the past.
    pub lost: Vec<NodeId>,
    /// Nobody founds before every member that is not lost is fenced, whoever votes by this log: so none of them is elected beside the founder.
    pub everybody: bool,
}

/// Where the log of a fenced replica ends, for good unless a founder says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The highest term it entered.
    pub term: Term,
    /// The last entry.
    pub last: Place,
    /// The last entry that is known here to be committed.
    pub certain: Place,
}

/// What a founder is to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The new era.
    pub era: u64,
    /// No survivor entered a higher term.
    pub above: Term,
    /// A survivor knows that this is committed: the founder's log must hold it.
    pub holds: Place,
    /// That was the end of the founder's log, and others were told so: it must be still.
    pub ends: bool,
    /// Who goes on.
    pub survivors: Vec<NodeId>,
}

impl Group {
    /// Shuts this replica off from its group, and says where its log ends. Harmless if it is repeated; nothing is done once the group goes on
    /// under the last of these eras.
    pub(super) fn fence(&mut self, context: &mut Context<'_>, fence: Fence) {
        let Some(&era) = fence.eras.last() else { return };
        if self.era == era {
            // It goes on already; but what it started from may name the lost, and they are not heard any more.
            return self.give_up_lost(context, &fence.lost);
        }
        if matches!(self.role, Role::Leader(_)) || self.fence.is_none() {
            self.set_role(context, Role::Follower { led: false });
        }
        self.election = None;
        let lost = fence.lost.clone();
        if self.fence.as_deref() != Some(&fence) {
            self.let_go_of_state(context);
            self.fence = Some(Box::new(fence));
        }
        self.give_up_lost(context, &lost);
        self.tell_role(context);
        self.rearrange(context);
        let end = self.end(context);
        rare!(FencedNotReady, end.is_err());
        context.out.push_back(Output::Fenced { group: self.id, era, end });
    }

    /// Nobody waits for what the lost remember of this replica.
    fn give_up_lost(&mut self, context: &mut Context<'_>, lost: &[NodeId]) {
        let life = self.life;
        for &node in lost {
            self.handle_answer(context, node, 0, life);
        }
    }

    /// The recovery was withdrawn everywhere: the group goes on as it was.
    pub(super) fn unfence(&mut self, context: &mut Context<'_>) {
        if self.fence.take().is_some() {
            rare!(FenceWithdrawn);
            if self.doubts_its_leader() {
                self.arm_election(context);
            }
            self.ask_anew(context);
        }
    }

    /// Where the log ends, or why this replica cannot say so yet.
    fn end(&self, context: &Context<'_>) -> Result<End, String> {
        match self.role_name(context.own) {
            RoleName::Stopped => return Err("its replica of the control group stopped".to_string()),
            RoleName::Verifying => {
                return Err(
                    "it started anew, and waits for the other survivors to say what it once vouched for"
                        .to_string(),
                );
            }
            RoleName::Amnesic => {
                return Err("its disk was rolled back, and it waits to be admitted anew".to_string());
            }
            RoleName::Leader | RoleName::Follower | RoleName::Candidate | RoleName::Learner => {}
        }
        if self.unfit == Unfit::Stopped {
            // It could found the group, and nobody could be served by it.
            return Err("its part stopped, as `wattle stream list` says there: restart it".to_string());
        }
        let last = self.log.last();
        if self.log.durable() < last.index {
            return Err("its log is being written".to_string());
        }
        if self.receiving.is_some() {
            return Err("it takes in a state".to_string());
        }
        if self.awaits_stored() {
            // What its owner was not given has to be looked through.
            return Err("its log is being read".to_string());
        }
        let (own, configuration) = (self.member(context.own), self.log.configuration());
        let survives =
            |member: Member| self.fence.as_ref().is_none_or(|fence| !fence.lost.contains(&member.node));
        // Where a founder has begun and its recovery is repeated, its own vote is a quorum: nobody else's word is passed over by that.
        let begun = self.fence.as_ref().is_some_and(|fence| fence.eras.contains(&self.era));
        let begun = begun && !context.planted.has(Bug::BegunFounderWaits);
        // R21: were they one, they could elect somebody beside the founder, if one of them is not fenced.
        let everybody = || self.fence.as_ref().is_some_and(|fence| fence.everybody);
        if !begun
            && (!everybody() || context.planted.has(Bug::OldVotersAreAQuorum))
            && configuration.votes(own)
            && carried(configuration, survives, context.planted)
        {
            return Err(
                "by its log the voters that are not named lost are a quorum without the lost".to_string()
            );
        }
        // What came to a learner is not all committed (R10): it may have been about to vote.
        let certain = self.commit.max(self.once_committed).min(last.index);
        let learns = !configuration.is_empty() && !configuration.votes(own);
        let whole = context.planted.strikes(Bug::LearnerTakenForCertain, || learns && certain < last.index);
        let certain = if whole { last.index } else { certain };
        let certain = self.log.place_upto(certain);
        Ok(End { term: self.term, last, certain })
    }

    /// Whether a message may be heard: it is of this era, and no fence is in its way (R20).
    pub(super) fn hears_era(&mut self, context: &mut Context<'_>, from: NodeId, message: &Message) -> bool {
        let planted = context.planted;
        if self.is_of_a_founder(from, message, planted) {
            if message.era != self.era {
                self.go_on_under(context, message.era);
                // It is owed a leader (R18), though nobody but the founder can win.
                self.arm_election(context);
            }
            return true;
        }
        if message.era != self.era {
            rare!(OtherEraShutOut);
            return planted.strikes(Bug::EraNotCompared, || true);
        }
        let Some(fence) = &self.fence else { return true };
        // What survivors ask each other of their past is answered; nothing else is said before there is a founder.
        let allowed = !fence.lost.contains(&from) && matches!(message.body, Body::Recall { .. });
        allowed || planted.strikes(Bug::FencedStillVotes, || true)
    }

    /// Whether a message tells a fenced replica that somebody founded the group under an era for which it was fenced, not before the one it is in.
    fn is_of_a_founder(&self, from: NodeId, message: &Message, planted: Planted) -> bool {
        let Some(fence) = self.fence.as_ref().filter(|fence| !fence.lost.contains(&from)) else {
            return false;
        };
        let place = |era: u64| fence.eras.iter().position(|known| *known == era);
        let Some(begun) = place(message.era) else { return false };
        if place(self.era).is_some_and(|present| begun < present) {
            return false;
        }
        // Under the last nobody speaks but who goes on under it.
        let last = begun + 1 == fence.eras.len();
        rare!(EarlierFounderHeard, !last && leads(&message.body));
        let goes_on = message.era == self.era;
        last || goes_on || leads(&message.body) || planted.strikes(Bug::RecallLiftsFence, || true)
    }

    /// There is a founder: this replica goes on under its era.
    fn go_on_under(&mut self, context: &mut Context<'_>, era: u64) {
        rare!(EraEntered);
        self.era = era;
        // A later one may have been founded, too: until that is known it is only the earlier founder that is heard.
        let later = |fence: &Fence| fence.eras.last() != Some(&era);
        let fence = self.fence.take().filter(|fence| later(fence));
        self.fence = fence.filter(|_| !context.planted.has(Bug::RecallLiftsFence));
        self.persist_state();
        context.out.push_back(Output::Era { group: self.id, era });
    }

    /// Goes on as the only voter, above every term heard.
    pub(super) fn found(&mut self, context: &mut Context<'_>, founding: &Founding) {
        let era = founding.era;
        if founding.ends
            && self.era != era
            && self.end(context).is_ok()
            && self.log.last().index > founding.holds.index
        {
            rare!(FounderBeyondEnd);
            let at = founding.holds.index;
            let reason = format!(
                "its log was to end at entry {at} and goes on behind it: its disk was taken back to before it was shut off, and it heard more since"
            );
            self.halt(context, reason, false);
        }
        let refused = self.bars_founding(context, founding);
        let done = match refused {
            _ if self.era == era => Ok(None),
            Some(why) => Err(why),
            None => {
                let trail = self.trail(founding.holds.index.max(self.commit));
                self.go_on_alone(context, founding);
                Ok(Some(trail))
            }
        };
        context.out.push_back(Output::Founded { group: self.id, era, done });
    }

    /// Why this replica cannot be the founder.
    fn bars_founding(&self, context: &Context<'_>, founding: &Founding) -> Option<String> {
        if self.fence.as_ref().and_then(|fence| fence.eras.last()) != Some(&founding.era) {
            return Some("it is not fenced for this recovery, or no longer".to_string());
        }
        if let Err(why) = self.end(context) {
            return Some(why);
        }
        if founding.above.0 + 1 >= TERM_MAX {
            return Some("there are no terms left".to_string());
        }
        if self.log.agrees(founding.holds).is_err() && !context.planted.has(Bug::FounderNotHighest) {
            rare!(FounderLacksCommitted);
            let at = founding.holds.index;
            return Some(format!(
                "its log does not hold entry {at}, which another survivor knows to be committed"
            ));
        }
        None
    }

    fn go_on_alone(&mut self, context: &mut Context<'_>, founding: &Founding) {
        assert_eq!(self.standing, Standing::Sound, "R8: a replica founds that must not");
        assert!(!matches!(self.role, Role::Leader(_)), "R20: a fenced replica leads");
        rare!(GroupFounded);
        let own = self.member(context.own);
        let last = self.log.last();
        self.go_on_under(context, founding.era);
        self.term = self.term.max(founding.above).max(last.term).next();
        self.set_vote(Some(own));
        if let Some(past) = &mut self.past {
            past.fresh = None;
        }
        (self.election, self.ask_at, self.patience, self.attempts) = (None, None, None, 0);
        let others = founding.survivors.iter().filter(|&&node| node != context.own);
        let known = |&node: &NodeId| self.replica_on(node).map(|replica| Member { node, replica });
        let alone = Configuration::simple(Vec::from([own]), others.filter_map(known).collect());
        let delta = Delta::between(self.log.configuration(), &alone);
        let uncommitted = self.burden_upto(last.index);
        context.flows.uncommitted += uncommitted;
        let begins: LogIndex = last.index.next();
        self.set_role(context, Role::Leader(Box::new(Leading { begins, uncommitted, ..Leading::default() })));
        self.append_own(context, EntryKind::Configuration, encode_delta(&delta));
        assert!(self.is_only_voter(context.own), "R21: a founder decides with nobody");
        self.track_members(context);
        self.introduce_all(context);
        self.check_quorum(context);
        self.tell_role(context);
        self.news_for_all();
    }
}
