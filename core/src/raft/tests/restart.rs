//! What a replica finds on its disk when it starts again.

use alloc::vec::Vec;

use bytes::Bytes;

use super::harness::{Cluster, GROUP, member};
use crate::id::LogIndex;
use crate::planted::Planted;
use crate::raft::{Config, Groups, Input};
use crate::record::{Damaged, Record};
use crate::rng::{Purpose, Rng};
use crate::time::{Now, Span, Wall};

/// Starts a replica from these records, whose owner kept its state up to `applied`.
fn start(records: &[Record], applied: LogIndex) -> Result<Groups, Damaged> {
    let rng = Rng::stream([1; 32], Purpose::Raft);
    let mut groups = Groups::new(Config::default(), member(0).node, rng, Planted::none());
    for record in records {
        let payload = (record.payload.len(), Some(record.payload.to_bytes()));
        groups.restore(&record.key, record.last_slot, &record.head, payload)?;
    }
    groups.set_applied(GROUP, applied);
    groups.restored(Now { monotonic: crate::time::Instant(1), wall: Wall(0) })?;
    Ok(groups)
}

fn records(cluster: &Cluster, node: usize) -> Vec<Record> {
    cluster.replicas[node].disk.iter().map(|(_, record)| record.clone()).collect()
}

/// A cluster whose first leader has three entries on its disk that nobody else has, each written on its own; and that leader.
fn deposed() -> (Cluster, usize) {
    let mut cluster = Cluster::new(31, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let old = cluster.leader().expect("a leader");
    for other in (0..3).filter(|&other| other != old) {
        cluster.cut.extend([(old, other), (other, old)]);
    }
    for text in ["one", "two", "three"] {
        cluster.propose(old, text);
        cluster.sync_all(old);
    }
    cluster.settle(Span::secs(2));
    (cluster, old)
}

#[test]
fn replaced_entries_stay_dead_when_the_log_is_compacted_to_its_end() {
    let (mut cluster, old) = deposed();
    cluster.cut.clear();
    cluster.settle(Span::secs(2));
    let last = cluster.replicas[old].applied.last().expect("applied").index;
    assert_eq!(cluster.commands(old), Vec::<Bytes>::new(), "a later leader replaced them");
    let end = cluster.replicas[old].groups.status(GROUP).expect("there").last.index;
    assert_eq!(end, last, "nothing stands behind what is applied");
    cluster.tell(old, Input::Compact { group: GROUP, upto: last });
    cluster.sync_all(old);
    let groups = start(&records(&cluster, old), last).expect("the records fit together");
    assert_eq!(groups.status(GROUP).expect("there").last.index, last);
}

#[test]
fn records_that_do_not_fit_together_are_damage() {
    let (cluster, old) = deposed();
    let whole = records(&cluster, old);
    let applied = LogIndex(0);
    start(&whole, applied).expect("as it was written");
    let run = |record: &&Record| record.key.space == 2;
    let count = whole.iter().filter(run).count();
    assert!(count >= 3, "each entry was written on its own");
    let lost = whole.iter().filter(run).nth(count - 2).expect("there").key;
    let gap: Vec<Record> = whole.iter().filter(|record| record.key != lost).cloned().collect();
    assert!(start(&gap, applied).expect_err("an entry is missing").what.contains("does not follow"));
}

#[test]
fn a_log_that_begins_behind_its_owners_state_is_damage() {
    let mut cluster = Cluster::new(32, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let last = cluster.replicas[0].applied.last().expect("applied").index;
    cluster.tell(0, Input::Compact { group: GROUP, upto: last });
    cluster.sync_all(0);
    let damage = start(&records(&cluster, 0), last.before()).expect_err("the state ends too early");
    assert!(damage.what.contains("the log begins behind"), "{damage:?}");
}
