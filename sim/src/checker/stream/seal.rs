//! What becomes of the ledger of a stream that was sealed without its source (X28).

use wattle_core::node::command::{Receipt, Waited};

use super::super::{Checked, ensure};
use super::StreamLedger;

impl StreamLedger {
    /// The stream was sealed without its source at that message.
    ///
    /// # Errors
    /// X28.
    pub fn sealed(&mut self, end: u64) -> Checked {
        if self.end.replace(end).is_some() {
            return Ok(());
        }
        let index = self.index;
        ensure!(
            self.delivered() <= end,
            "X28",
            "stream {index}: sealed at {end}, and {} was handed over",
            self.delivered()
        );
        for (place, writer) in self.writers.iter_mut().enumerate() {
            for (message, number) in writer.messages.iter_mut().zip(1..) {
                let behind = message.sequence.is_none_or(|sequence| sequence > end);
                if message.delivered != 0 || !behind {
                    continue;
                }
                ensure!(
                    message.level <= Some(Waited::Accepted),
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

    /// Whatever a source that was lost says of messages behind the end is void.
    pub(super) fn void_behind_end(&mut self, receipt: &Receipt, writer: usize, forgotten: bool) -> Checked {
        let (Some(end), high) = (self.end, receipt.last.0) else { return Ok(()) };
        if forgotten || high <= end && !receipt.provisional {
            return Ok(());
        }
        let index = self.index;
        ensure!(
            receipt.level == Waited::Accepted,
            "X28",
            "stream {index}: sealed at {end}, and {:?} was told up to {high}",
            receipt.level
        );
        for number in receipt.first_writer.0..=receipt.last_writer.0 {
            let Some(message) = self.message(writer, number).filter(|message| message.delivered == 0) else {
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
    pub(super) fn in_front_of_end(&mut self, writer: usize, number: u64, sequence: u64) -> Checked {
        let index = self.index;
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
