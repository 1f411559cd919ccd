//! How a node comes back: the journal's live records to their owners, a new generation, and the parts start.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::node::NodeRecord;

use super::Node;
use crate::id::{Generation, GroupId, StreamInstance};
use crate::record::{Key, Owner, Record};
use crate::{link, stream};

const RECORD: Key = Key { owner: Owner::Node, space: 1, id: 0, slot: 0 };

impl Node {
    /// Ends recovery and starts the parts.
    ///
    /// # Errors
    /// The rows do not add up; says why.
    pub(super) fn start(&mut self) -> Result<(), String> {
        let now = self.now;
        let found = self.journal.recovered()?;
        let mut generation = self.journal.generation();
        for record in found {
            let restored = match record.key.owner {
                Owner::Node => {
                    let stored = NodeRecord::decode(record.head)
                        .map_err(|error| alloc::format!("the node's own record cannot be read: {error}"))?;
                    generation = generation.max(Generation(stored.generation));
                    Ok(())
                }
                Owner::Mesh => {
                    self.mesh.restore(&record.key, record.last_slot, &record.head, record.payload_len)
                }
                Owner::Raft => {
                    let payload = (record.payload_len, record.payload);
                    self.groups.restore(&record.key, record.last_slot, &record.head, payload)
                }
                Owner::Stream => {
                    self.streams.restore(&record.key, record.last_slot, &record.head, record.payload_len)
                }
            };
            restored.map_err(|damage| damage.to_string())?;
        }
        self.durability.begin(self.journal.last());
        let generation = generation.next();
        self.journal.begin(generation);
        let head = Bytes::from(NodeRecord { generation: generation.0 }.encode_to_vec());
        self.journal.append(Record::state(RECORD, head));
        self.mesh.begins(self.boot, generation);
        self.mesh.restored(now);
        self.forget_closed_streams();
        self.groups.set_applied(GroupId::CONTROL, self.mesh.applied_index());
        for instance in self.streams.instances() {
            self.groups.set_applied(instance.into(), self.streams.applied_index(instance));
        }
        self.links.restored(now, generation);
        self.pairs.restored(now, generation);
        self.routes.restored(now, generation);
        self.groups.restored(now).map_err(|damage| damage.to_string())?;
        self.streams.restored(now);
        for address in self.config.dial.clone() {
            self.links.handle(now, link::Input::Target { address });
        }
        Ok(())
    }

    /// Nothing of a stream that is over may go on, nor of one that this node was taken out of. Its records were forgotten then; but what is forgotten dies only
    /// when its rows are trimmed, and some of it may come back before: what is left of a log has holes, since rows were moved while it was alive. Every stream
    /// that is open here is known to be: the mark that says so went to disk in one row with its first record.
    fn forget_closed_streams(&mut self) {
        let open = self.mesh.open_streams();
        let over: Vec<StreamInstance> =
            self.streams.instances().filter(|instance| !open.contains(instance)).collect();
        for instance in over {
            self.streams.handle(self.now, stream::Input::Closed { instance });
        }
        let member = self.mesh.mesh_id().is_some();
        let goes_on =
            |group: GroupId| if group == GroupId::CONTROL { member } else { open.contains(&group.into()) };
        self.groups.forget_unless(goes_on);
    }
}
