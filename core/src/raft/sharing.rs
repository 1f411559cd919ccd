//! Groups that begin with the same members begin with the same memory: a configuration is never changed in place, so one is enough for all
//! of them, however many groups a few nodes have together.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use crate::configuration::Configuration;

/// So many are kept before it is looked for those that nobody has any more.
const KEPT: usize = 64;

/// The configurations that groups of this node began with. They tell nothing of any group, so two nodes that differ only in them are alike.
#[derive(Clone, Default)]
pub(super) struct Configurations {
    known: BTreeSet<Arc<Configuration>>,
    /// How many there may be before those that nobody has any more go.
    most: usize,
}

impl Configurations {
    /// One that is equal to this one, the same for all that ask.
    pub(super) fn shared(&mut self, configuration: Configuration) -> Arc<Configuration> {
        if let Some(known) = self.known.get(&configuration) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.most {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.most = (2 * self.known.len()).max(KEPT);
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
    fn equal_ones_are_one_and_those_that_nobody_has_do_not_gather() {
        let mut shared = Configurations::default();
        let held: Vec<_> = (0..200).map(|number| shared.shared(of(number))).collect();
        for number in 200..10_000 {
            shared.shared(of(number));
        }
        assert!(shared.known.len() <= 2 * held.len() + KEPT, "{}", shared.known.len());
        for (number, held) in (0..).zip(&held) {
            assert!(Arc::ptr_eq(&shared.shared(of(number)), held));
        }
    }
}
