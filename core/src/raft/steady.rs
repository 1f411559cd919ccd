//! What happens all the time: the next append of the leader that is followed. Nothing of it is new but its entries and its commit index, and
//! what must be looked into before a leader is believed was looked into when it was believed. So this way is short; whatever is not exactly so
//! goes the long one, which comes to the same.

use alloc::boxed::Box;
use core::num::NonZeroU64;

use super::context::Context;
use super::group::Group;
use super::message::{Append, Body, Message};
use super::replication::Reply;
use super::roles::Standing;
use crate::configuration::Member;
use crate::id::NodeId;
use crate::sometimes;

impl Group {
    /// Whether that is an append behind the end of the log here, meant for this very replica, by whoever leads it without any doubt.
    pub(super) fn is_next(&self, context: &Context<'_>, from: NodeId, message: &Message) -> bool {
        let Body::Append(append) = &message.body else { return false };
        let leader = Member { node: from, replica: message.sender };
        message.term == self.term
            && append.previous == self.log.last()
            && self.is_led_by(message.term, leader)
            && message.addressee == Some(self.replica)
            && message.era == self.era
            && !append.copy
            && matches!(self.standing, Standing::Sound)
            && self.fence.is_none()
            && self.fenced.is_none()
            && self.hears(context.own, from)
            && !self.is_only_voter(context.own)
    }

    /// Takes such an append. The answer is the message turned round.
    pub(super) fn take_next(&mut self, context: &mut Context<'_>, from: NodeId, mut message: Box<Message>) {
        let Body::Append(append) = core::mem::replace(&mut message.body, Body::Stand) else { return };
        let Append { commit, durable, entries, number, round, cut, .. } = append;
        let leader = Member { node: from, replica: message.sender };
        if self.copying_to.is_some() {
            self.needs_no_state(from);
        }
        self.vouched(context, leader, message.term, durable, None);
        self.last_append = NonZeroU64::new(number);
        sometimes!(AppendBehindBase, self.log.last() == self.log.base() && self.log.base().index.0 > 0);
        if !entries.is_empty() && !self.replace_suffix(context, entries) {
            return;
        }
        let place = self.log.last();
        self.commit_upto(context, commit.min(place.index));
        let reply = Reply { waiting: cut, fed: self.is_fed(), ..Reply::matched(number, place, round) };
        (message.sender, message.addressee) = (self.replica, Some(leader.replica));
        (message.term, message.life, message.era) = (self.term, self.life, self.era);
        message.body = reply.body();
        self.give_acknowledgement(context, from, message);
        self.look_for_feeder(context);
    }
}
