//! What is read again is what was handed over and processed (X37).

use wattle_core::node::output::Delivered;

use super::{Message, StreamLedger};
use crate::checker::{Checked, ensure};
use crate::content;

impl StreamLedger {
    /// Whether sequences may be missing between messages that follow each other: parts that nobody knows any more stood there.
    #[must_use]
    pub fn may_have_gaps(&self) -> bool {
        self.source_rolled_back
    }

    /// A replay at the target in that place was handed a message, whose bytes are these.
    ///
    /// # Errors
    /// X37.
    pub fn reread(&self, place: usize, sequence: u64, message: &Delivered, bytes: &[u8]) -> Checked {
        let index = self.index;
        // Those who were lost together may have decided together what is void now, and read it until they hear of that.
        if self.lost & 2 << place != 0 {
            return Ok(());
        }
        let name = content::read(bytes).filter(|name| name.stream == index);
        let bound = self.sequences.get((sequence as usize).wrapping_sub(1)).copied().flatten();
        let same = name.is_some_and(|name| Some((name.writer, name.number)) == bound);
        ensure!(same, "X37", "stream {index}: {sequence} is read again as {name:?}, and is {bound:?}");
        let Some(name) = name else { return Ok(()) };
        let writer = &self.writers[name.writer];
        let known = writer.messages[name.number as usize - 1];
        let right = name.version == known.version
            && content::says(bytes, name, known.len as usize)
            && (message.writer, message.writer_sequence.0) == (writer.id, name.number);
        ensure!(
            right,
            "X37",
            "stream {index}: {sequence} is read again, and says something else than {name:?}"
        );
        let (handed, reported) = (known.delivered & 1 << place != 0, self.reported[place]);
        // What the handler of one does that was taken out nobody counts.
        ensure!(
            handed && sequence <= reported || self.is_out(place),
            "X37",
            "stream {index}: {sequence} is read again at target {place}, whose handler is done up to {reported}"
        );
        Ok(())
    }

    /// A node says that it let go of everything up to one message, and that everything up to another went for want of room. What of the first the retention
    /// wants must be explained by the second in the end; not at once, for what the log lets go of is told ahead of the log.
    pub fn lets_go(&mut self, released: u64, short: u64) {
        self.short = self.short.max(short);
        if self.wants(released) {
            self.let_go = self.let_go.max(released);
        }
    }

    /// Whether the last messages, or the last bytes, that a stream is to keep reach down to that message, whatever of them is in the log.
    fn wants(&self, sequence: u64) -> bool {
        let Some(keep) = self.plan.as_ref().map(|plan| plan.keep).filter(|_| sequence > 0) else {
            return false;
        };
        let behind = |message: &&Message| message.sequence.is_none_or(|at| at > sequence);
        let bytes = |message: &Message| (message.len as usize).max(content::NAME_LEN) as u64;
        let each = || self.writers.iter().flat_map(|writer| &writer.messages).filter(behind);
        let (messages, bytes) = (each().count() as u64, each().map(bytes).sum::<u64>());
        messages < keep.messages || bytes < keep.bytes
    }

    /// What went though the retention wants it went for want of room, and somebody says so.
    ///
    /// # Errors
    /// X37.
    pub(super) fn keeps_what_it_should(&self) -> Checked {
        // A log that lost its end, or was sealed, may have lost what explains it.
        let explained =
            self.source_rolled_back || self.disk_lost || self.end.is_some() || self.source_sealed.is_some();
        ensure!(
            explained || self.let_go <= self.short,
            "X37",
            "stream {}: everything up to {} went, which its retention wants, and nobody says that there was no room for more than what is behind {}",
            self.index,
            self.let_go,
            self.short
        );
        Ok(())
    }
}
