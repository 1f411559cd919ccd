//! What becomes of the ledger of a stream that was sealed (X28).

use wattle_core::node::command::{Receipt, Waited};

use super::super::{Checked, ensure};
use super::StreamLedger;
use super::kept::most;

impl StreamLedger {
    /// The stream is sealed without these nodes, and ends at that message if its source is among them and that is known. A source that is left keeps
    /// what it accepted, and goes on with the same numbers: nothing is void then.
    ///
    /// # Errors
    /// X28.
    pub fn sealed(&mut self, lost: impl Iterator<Item = usize>, end: Option<u64>) -> Checked {
        self.without(lost);
        let Some(end) = end else { return Ok(()) };
        if !self.is_sourceless() {
            self.goes_on_from(end);
            return Ok(());
        }
        if self.end.replace(end).is_some() {
            return Ok(());
        }
        let index = self.index;
        let left = self.targets_left();
        let handed = self.delivered_to_left();
        ensure!(handed <= end, "X28", "stream {index}: sealed at {end}, and {handed} was handed over");
        let apart = self.lost_rule();
        for (place, writer) in self.writers.iter_mut().enumerate() {
            for (message, number) in writer.messages.iter_mut().zip(1..) {
                let behind = message.sequence.is_none_or(|sequence| sequence > end);
                if message.delivered & left != 0 || !behind {
                    continue;
                }
                // Most members may all be lost: then nobody who is left need have the entry of what they had together, though its bytes may lie there.
                ensure!(
                    message.level <= Some(Waited::Accepted) || apart,
                    "X28",
                    "stream {index}: sealed at {end}, and message {number} of writer {place} was told {:?} at {:?}",
                    message.level,
                    message.sequence
                );
                if message.level.take().is_some() {
                    self.void.insert((place, number));
                }
                if let Some(sequence) = message.sequence.take() {
                    self.sequences[sequence as usize - 1] = None;
                }
            }
        }
        Ok(())
    }

    /// The source is left: what was replicated behind the end, with the help of those who are lost, is so when most of the others hold it.
    fn goes_on_from(&mut self, end: u64) {
        if self.source_sealed.replace(end).is_some() {
            return;
        }
        let (lost, ends) = (self.lost, self.delivered.len() as u32 + 1);
        for message in self.writers.iter_mut().flat_map(|writer| &mut writer.messages) {
            if message.sequence.is_none_or(|sequence| sequence > end) {
                message.safe = most(message.held, lost, ends);
            }
        }
    }

    /// Whether the source was named lost.
    #[must_use]
    pub fn is_sourceless(&self) -> bool {
        self.lost & 1 != 0
    }

    /// The targets that were not, nor taken out before, a bit for each.
    fn targets_left(&self) -> u64 {
        let all = (1 << self.delivered.len()) - 1;
        all & !((self.lost | self.out) >> 1)
    }

    /// The last message delivered at any target that was not lost.
    pub(super) fn delivered_to_left(&self) -> u64 {
        let left = self.targets_left();
        let handed = self.delivered.iter().enumerate().filter(|(place, _)| left & 1 << place != 0);
        handed.map(|(_, &upto)| upto).max().unwrap_or_default()
    }

    /// Whether those who were named lost are most of the members, or of those who stay: they may have decided without the others.
    fn lost_rule(&self) -> bool {
        let most = |gone: u64| {
            let members = self.delivered.len() + 1 - gone.count_ones() as usize;
            2 * (self.lost & !gone).count_ones() as usize > members
        };
        most(0) || most(self.out | self.leaving)
    }

    /// Whatever a source that was lost says of messages behind the end is void.
    pub(super) fn void_behind_end(&mut self, receipt: &Receipt, writer: usize, forgotten: bool) -> Checked {
        let (Some(end), high) = (self.end, receipt.last.0) else { return Ok(()) };
        if forgotten || high <= end && !receipt.provisional {
            return Ok(());
        }
        let index = self.index;
        // Who was lost together may decide together until they hear of it.
        ensure!(
            receipt.level == Waited::Accepted || self.lost_rule(),
            "X28",
            "stream {index}: sealed at {end}, and {:?} was told up to {high}",
            receipt.level
        );
        let left = self.targets_left();
        for number in receipt.first_writer.0..=receipt.last_writer.0 {
            let Some(message) = self.message(writer, number).filter(|message| message.delivered & left == 0)
            else {
                continue;
            };
            if message.sequence.is_none_or(|sequence| sequence > end) {
                message.level = None;
                self.void.insert((writer, number));
            }
        }
        Ok(())
    }

    /// How many messages were told accepted and are void, for the stream was sealed in front of them.
    #[must_use]
    pub fn void(&self) -> u64 {
        self.void.len() as u64
    }

    /// A handler is given a message for the first time.
    pub(super) fn in_front_of_end(
        &mut self,
        target: usize,
        writer: usize,
        number: u64,
        sequence: u64,
    ) -> Checked {
        let index = self.index;
        // Who was lost together may go on together, and who is out may hear of that later than of what was decided with it.
        if self.lost_rule() && self.lost & 2 << target != 0 || self.is_out(target) {
            return Ok(());
        }
        ensure!(
            self.end.is_none_or(|end| sequence <= end),
            "X28",
            "stream {index}: sealed at {:?}, and {sequence} is handed over",
            self.end
        );
        self.void.remove(&(writer, number));
        Ok(())
    }
}
