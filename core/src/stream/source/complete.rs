//! What targets say of themselves.

use super::super::common::Common;
use super::super::member::Stream;
use super::super::message::Standing;
use crate::id::NodeId;
use crate::time::Now;

impl Stream {
    /// A target told where it stands.
    pub(in crate::stream) fn target_stands(
        &mut self,
        common: &mut Common,
        now: Now,
        from: NodeId,
        standing: &Standing,
    ) {
        self.credit(from, standing);
        self.replicated_elsewhere(common, standing);
        self.marked(common, now, from, standing.mark);
        if standing.ask != 0 {
            self.tell_standing(common, from, false, standing.ask);
        }
    }
}
