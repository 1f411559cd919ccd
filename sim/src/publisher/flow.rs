//! What a publisher learns of pauses and rates: what its source took in, and why it takes nothing in.

use wattle_core::flow::{FlowRefusal, Scope};
use wattle_core::node::command::{Receipt, Refusal};

use super::Publisher;
use crate::checker::Checked;
use crate::content;
use crate::desk::Desk;
use crate::plan::ScopePlan;

impl Publisher {
    /// The source has taken messages in.
    ///
    /// # Errors
    /// X34, X35.
    pub(super) fn taken_in(&self, desk: &mut Desk<'_>, receipt: &Receipt) -> Checked {
        let (stream, writer) = (self.stream, self.writer);
        let (first, last) = (receipt.first_writer.0, receipt.last_writer.0);
        desk.books.flows.accepted(stream, writer, last)?;
        if !desk.books.flows.is_bounded(stream) {
            return Ok(());
        }
        let bytes = |number| match self.is_large(desk, number) {
            true => self.large_len(desk, number),
            false => self.len_of(desk, number).max(content::NAME_LEN),
        };
        let messages: Vec<(u64, u64)> = (first..=last).map(|number| (number, bytes(number) as u64)).collect();
        desk.books.flows.let_in(desk.now, stream, writer, &messages)
    }

    /// A refusal may tell that the source holds its stream to be paused, or to have failed.
    ///
    /// # Errors
    /// X42.
    pub(super) fn told_paused(&self, desk: &mut Desk<'_>, refusal: &Refusal) -> Checked {
        if let Refusal::Flow(FlowRefusal::Failed { failed, .. }) = refusal {
            desk.books.stream_failed(self.stream, failed, true)?;
        }
        if let Refusal::Flow(FlowRefusal::Paused { scope, said, .. }) = refusal {
            let scope = match scope {
                Scope::Stream(_) => ScopePlan::Stream(self.stream_name.clone()),
                Scope::Tenant(tenant) => ScopePlan::Tenant(tenant.to_string()),
                Scope::Below(priority) => ScopePlan::Below(*priority),
            };
            desk.books.flows.refuses(self.stream, &scope, *said);
        }
        Ok(())
    }
}

/// Whether who is refused so knows that nothing came in.
pub(super) fn is_for_sure(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::NotMember
            | Refusal::UnknownStream(_)
            | Refusal::WrongNode { .. }
            | Refusal::Backpressure { .. }
            | Refusal::NoSpace { .. }
            | Refusal::WriterGap { .. }
            | Refusal::TooLarge { .. }
            | Refusal::Busy
            | Refusal::Flow(_)
            | Refusal::Invalid(_)
    )
}
