//! What lies on the disks of a stream's ends (X29): a message that is told replicated was on the disks of most of them.

use wattle_core::node::command::{Receipt, Waited};

use super::super::{Checked, Failure};
use super::{Message, StreamLedger};
use crate::content::{self, Name};

/// Whether these are most of so many ends, of which some are lost.
pub(super) fn most(held: u64, lost: u64, ends: u32) -> bool {
    2 * (held & !lost).count_ones() > ends - lost.count_ones()
}

/// Whose disks count.
pub(super) struct Counts {
    /// Whose do not, as a stream may see it: without those who are lost, without those who were taken out, and without those who are being. Once all ends know of
    /// these, whatever is told lies on most disks of those who stay (rule D1).
    gone: [u64; 3],
    /// Those who are being, of whom any one may be the first to go.
    leaving: u64,
    ends: u32,
}

impl Counts {
    /// Whether these are most.
    pub(super) fn enough(&self, held: u64) -> bool {
        let [_, out, _] = self.gone;
        let one = (0..u64::BITS).map(|end| 1 << end).filter(|end| self.leaving & end != 0);
        self.gone.into_iter().chain(one.map(|end| out | end)).any(|gone| most(held, gone, self.ends))
    }
}

impl StreamLedger {
    /// Whose disks count now.
    pub(super) fn counts(&self) -> Counts {
        self.counts_without(self.counts_no_more())
    }

    fn counts_without(&self, lost: u64) -> Counts {
        let ends = self.delivered.len() as u32 + 1;
        let (lost, out) = (lost | self.awaited, self.out);
        let without = lost | out | self.leaving;
        let gone = if self.leaving_known { [without; 3] } else { [lost, lost | out, without] };
        let leaving = if self.leaving_known { 0 } else { self.leaving & !out };
        Counts { gone, leaving, ends }
    }

    /// Whether all ends know of a target that is on its way out.
    pub fn all_know_who_leaves(&mut self, known: bool) {
        self.leaving_known = known;
    }

    /// Other disks count from now on: what lies on most of these was safe at this moment.
    pub(super) fn count_anew(&mut self) {
        let counts = self.counts();
        let messages = self.writers.iter_mut().flat_map(|writer| &mut writer.messages);
        messages.for_each(|message| message.safe |= counts.enough(message.held));
    }

    /// The place of the target on a node.
    #[must_use]
    pub fn place_of(&self, node: usize) -> Option<usize> {
        self.plan.as_ref()?.targets().position(|target| target == node)
    }

    /// The bit of an end in [`super::Message::held`].
    pub(super) fn end(&self, node: usize) -> Option<u64> {
        let place = self.plan.as_ref().map_or(Some(node), |plan| plan.ends().position(|end| end == node))?;
        Some(1 << place)
    }

    /// Messages come to lie durably, one behind the other, on a node's disk. If that lost some before, its end takes part again, and what it holds is known.
    pub fn on_disk(&mut self, node: usize, bytes: &[u8]) {
        if let Some(end) = self.end(node).filter(|end| self.forgetful & end != 0) {
            self.forgetful &= !end;
            for message in self.writers.iter_mut().flat_map(|writer| &mut writer.messages) {
                message.lost &= !end;
            }
        }
        self.found_on_disk(node, bytes);
    }

    /// Messages lie there, as a look at the whole disk shows.
    pub fn found_on_disk(&mut self, node: usize, bytes: &[u8]) {
        let Some(end) = self.end(node) else { return };
        let counts = self.counts();
        let mut left = bytes;
        while let Some(Name { writer, number, version, .. }) = content::read(left) {
            let messages = self.writers.get_mut(writer).map(|writer| &mut writer.messages);
            let place = (number as usize).wrapping_sub(1);
            let Some(message) = messages.and_then(|messages| messages.get_mut(place)) else { return };
            let Some((_, behind)) = left.split_at_checked(message.len as usize) else { return };
            if message.version == version {
                message.held |= end;
                message.safe |= counts.enough(message.held);
            }
            left = behind;
        }
    }

    /// What a node's disk holds must be looked up anew. What it acknowledged and lost counts until its end takes part again: nobody can know earlier, and
    /// members go by what they said that they hold (rule C2).
    pub fn disk_in_doubt(&mut self, node: usize) {
        let Some(end) = self.end(node) else { return };
        self.forgetful |= end;
        for message in self.writers.iter_mut().flat_map(|writer| &mut writer.messages) {
            message.lost |= message.held & end;
            message.held &= !end;
        }
    }

    /// An operator names these lost.
    pub fn may_be_lost(&mut self, nodes: impl Iterator<Item = usize>) {
        self.named |= nodes.filter_map(|node| self.end(node)).fold(0, |all, end| all | end);
    }

    /// The stream goes on without these, whose disks do not count any more. What was told of messages behind its end is void.
    pub(super) fn without(&mut self, lost: impl Iterator<Item = usize>) {
        self.lost = lost.filter_map(|node| self.end(node)).fold(self.lost, |all, end| all | end);
    }

    /// Whose disks do not count any more. A source that was lost goes by what it knows until it hears of that: what it says then is void.
    fn counts_no_more(&self) -> u64 {
        if self.is_sourceless() { 0 } else { self.lost }
    }

    /// Publishers are told that these are replicated. What was told under an authority that ended is void.
    pub(super) fn check_kept(&self, writer: usize, receipt: &Receipt) -> Checked {
        let Some(plan) = &self.plan else { return Ok(()) };
        let ended = self.source_sealed.is_some() && receipt.authority.0 == 0;
        if self.blind || receipt.level != Waited::Replicated || ended {
            return Ok(());
        }
        // Whoever speaks under a later authority knows of a seal; nobody may have said so yet.
        let named = if receipt.authority.0 > 0 { self.named } else { 0 };
        let (first, last) = (receipt.first_writer.0, receipt.last_writer.0);
        for number in first..=last {
            let message = self.writers[writer].messages.get(number as usize - 1);
            // Fewer may be needed since it came to the last disk: some were lost.
            // Of what has several parts only the first says whose it is.
            let counts = self.counts_without(self.counts_no_more() | named);
            // What only a target was owed that an operator had taken out is let go, on whatever disks it lies.
            let owed =
                |message: &Message| !message.sequence.is_some_and(|sequence| self.owed_to_nobody(sequence));
            let unsafe_now = |message: &&Message| {
                message.parts == 1
                    && !message.safe
                    && !counts.enough(message.held | message.lost)
                    && owed(message)
            };
            let Some(message) = message.filter(unsafe_now) else { continue };
            let held = message.held & !(self.counts_no_more() | named);
            let on = |place: &usize| held & 1 << place != 0;
            let ends: Vec<usize> = plan.ends().collect();
            let disks: Vec<usize> = (0..ends.len()).filter(on).map(|place| ends[place]).collect();
            return Err(Failure::new(
                "X29",
                format!(
                    "stream {}: message {number} of writer {writer} is told replicated, and of its ends {ends:?} the disks of {disks:?} hold it",
                    self.index
                ),
            ));
        }
        Ok(())
    }
}
