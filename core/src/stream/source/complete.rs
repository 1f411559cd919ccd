//! From marks to completion (rules C4, F2), and what the target says otherwise.

use super::super::common::Common;
use super::super::member::Stream;
use super::super::message::Standing;
use crate::id::Sequence;
use crate::time::Now;

impl Stream {
    /// The target has processed up to `upto`, durably. A mark above what the log holds here is kept: this member's disk
    /// may have been rolled back.
    pub(in crate::stream) fn marked(&mut self, common: &mut Common, now: Now, upto: Sequence) {
        self.source.heard = self.source.heard.max(upto);
        self.pump_source(common, now);
    }

    /// The target told where it stands.
    pub(in crate::stream) fn target_stands(&mut self, common: &mut Common, now: Now, standing: &Standing) {
        if self.peer.knows_us {
            self.credit(standing);
        }
        self.marked(common, now, standing.mark);
        if standing.ask != 0 {
            self.tell_standing(common, false, standing.ask);
        }
    }
}
