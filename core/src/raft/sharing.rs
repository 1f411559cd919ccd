//! Groups that begin with the same members begin with the same memory: a configuration is never changed in place, so one is enough for all
//! of them, however many groups a few nodes have together.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use crate::configuration::Configuration;

/// So many are remembered: where there are more, groups hardly have the same.
const KEPT: usize = 64;

/// The configurations that groups of this node began with last. They tell nothing of any group, so two nodes that differ only in them are alike.
#[derive(Clone, Default)]
pub(super) struct Configurations {
    known: BTreeSet<Arc<Configuration>>,
}

impl Configurations {
    /// One that is equal to this one, and mostly the same for all that ask.
    pub(super) fn shared(&mut self, configuration: Configuration) -> Arc<Configuration> {
        if let Some(known) = self.known.get(&configuration) {
            return Arc::clone(known);
        }
        if self.known.len() == KEPT {
            self.known.clear();
        }
        let configuration = Arc::new(configuration);
        self.known.insert(Arc::clone(&configuration));
        configuration
    }
}

impl core::fmt::Debug for Configurations {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Configurations")
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::configuration::Member;
    use crate::id::{NodeId, ReplicaId};

    fn of(number: u128) -> Configuration {
        Configuration::simple(vec![Member { node: NodeId(number), replica: ReplicaId(1) }], Vec::new())
    }

    #[test]
    fn equal_ones_are_one_and_many_that_differ_do_not_gather() {
        let mut shared = Configurations::default();
        let held: Vec<_> = (0..KEPT as u128).map(|number| shared.shared(of(number))).collect();
        for (number, held) in (0..).zip(&held) {
            assert!(Arc::ptr_eq(&shared.shared(of(number)), held));
        }
        for number in 0..10_000 {
            assert_eq!(*shared.shared(of(number)), of(number));
        }
        assert!(shared.known.len() <= KEPT, "{}", shared.known.len());
    }
}
