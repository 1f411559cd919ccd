//! Who decides when a bug is planted that counts the wrong replicas. Without the feature `planted` nobody is counted wrongly.

use alloc::sync::Arc;

use super::context::Context;
use super::group::Group;
use crate::configuration::{Configuration, Member};
use crate::id::LogIndex;
use crate::planted::{Bug, Planted};

impl Group {
    /// The voters by whose acknowledgements a leader commits, if a planted bug takes others for them than those that are.
    pub(super) fn miscounted(
        &self,
        context: &Context<'_>,
        reached: &impl Fn(Member) -> LogIndex,
    ) -> Option<Configuration> {
        let (planted, own) = (context.planted, self.member(context.own));
        let configuration = self.log.configuration();
        if planted.strikes(Bug::LearnersCounted, || !configuration.learners.is_empty()) {
            let mut counted = configuration.clone();
            counted.voters.append(&mut counted.learners);
            return Some(counted);
        }
        let silent = |member: &Member| *member != own && reached(*member) == LogIndex(0);
        if planted.strikes(Bug::SilentVotersLeftOut, || configuration.voters.iter().any(silent)) {
            let mut counted = configuration.clone();
            counted.voters.retain(|member| !silent(member));
            counted.outgoing.retain(|member| !silent(member));
            return Some(counted);
        }
        if planted.strikes(Bug::RemovedLeaderCounts, || !configuration.voters.contains(&own)) {
            let mut counted = configuration.clone();
            let last = counted.voters.iter_mut().min_by_key(|member| reached(**member))?;
            *last = own;
            return Some(counted);
        }
        self.former_configuration(planted).map(|former| Configuration::clone(&former))
    }

    /// The configuration before the one in force, while that is not committed, if a planted bug goes by it.
    pub(super) fn former_configuration(&self, planted: Planted) -> Option<Arc<Configuration>> {
        let late = planted.strikes(Bug::ConfigurationActsAtCommit, || self.log.configured_at() > self.commit);
        late.then(|| self.log.configuration_at(self.commit))
    }
}
