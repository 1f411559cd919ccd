//! How messages travel over relays (X8, exactly). A travel begins when the source hands a message with a path to its link. From then on
//! the ttl falls with every hop, and no node is crossed twice. A message that is sent again begins another travel; whether that
//! is done too often is what [`super::traffic`] looks at.
//!
//! Frames that the network itself repeats are told to the checker: each is one more copy that may cross every node once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use wattle_core::id::NodeId;
use wattle_proto::envelope::View;
use wattle_proto::frame::{Glance, Kind, Walk};

use super::{Checked, ensure};
use crate::trace::digest;

#[derive(Clone, Debug)]
struct Travel {
    /// How often the source sent it.
    begun: u32,
    /// How often the network doubled a frame that held it.
    copies: u32,
    /// How often each node on its way put it on a link.
    crossed: Vec<(usize, u32)>,
    /// The ttl it began with.
    ttl: usize,
}

impl Travel {
    /// A node puts it on a link. Gives how often it did so by now.
    fn cross(&mut self, node: usize) -> u32 {
        match self.crossed.iter_mut().find(|(other, _)| *other == node) {
            Some((_, times)) => {
                *times += 1;
                *times
            }
            None => {
                self.crossed.push((node, 1));
                1
            }
        }
    }
}

/// The hash of what is a digest already.
#[derive(Clone, Copy, Debug, Default)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= digest(bytes);
    }

    fn write_u64(&mut self, number: u64) {
        // Folded, as tables look at the highest bits and at the lowest ones.
        self.0 = number ^ number.rotate_left(32);
    }
}

/// Every message that was ever sent over relays.
#[derive(Debug)]
pub struct Relays {
    nodes: Vec<NodeId>,
    travels: HashMap<u64, Travel, BuildHasherDefault<Already>>,
}

impl Relays {
    /// Nothing travels yet between these nodes.
    #[must_use]
    pub fn new(nodes: Vec<NodeId>) -> Self {
        Self { nodes, travels: HashMap::default() }
    }

    /// Whether frames hold anything that travels further than to a neighbour.
    #[must_use]
    pub fn travel(frames: &[u8]) -> bool {
        travelling(frames).next().is_some()
    }

    /// A node puts frames on a link.
    ///
    /// # Errors
    /// X8.
    pub fn sent(&mut self, node: usize, frames: &[u8]) -> Checked {
        travelling(frames).try_for_each(|message| self.message(node, &message))
    }

    /// The network repeats a frame.
    pub fn doubled(&mut self, frame: &[u8]) {
        for message in travelling(frame) {
            if let Some(travel) = self.travels.get_mut(&identity(&message)) {
                travel.copies += 1;
            }
        }
    }

    fn message(&mut self, node: usize, message: &Glance<'_>) -> Checked {
        let identity = identity(message);
        let (hop, ttl) = (message.relay.path().hop(), usize::from(message.relay.ttl()));
        let kind = message.relay.kind();
        if hop == 0 && source(message) == Some(self.nodes[node]) {
            let travel = self.travels.entry(identity).or_insert(Travel {
                begun: 0,
                copies: 0,
                crossed: Vec::new(),
                ttl,
            });
            travel.begun += 1;
            travel.ttl = travel.ttl.max(ttl);
        }
        let Some(travel) = self.travels.get_mut(&identity) else {
            ensure!(false, "X8", "node {node} relays a message of kind {kind:?} that nobody sent");
            return Ok(());
        };
        let crossed = travel.cross(node);
        ensure!(
            ttl + hop <= travel.ttl,
            "X8",
            "node {node} relays a message of kind {kind:?} with ttl {ttl} after {hop} hops: it began with {}",
            travel.ttl
        );
        ensure!(
            crossed <= travel.begun + travel.copies,
            "X8",
            "a message of kind {kind:?} crosses node {node} for the {}th time, and was sent {} times",
            crossed,
            travel.begun
        );
        Ok(())
    }
}

/// What relays leave as it is.
fn identity(message: &Glance<'_>) -> u64 {
    let kind = message.relay.kind() as u64;
    digest(message.header).rotate_left(17) ^ digest(message.payload) ^ kind << 56
}

fn source(message: &Glance<'_>) -> Option<NodeId> {
    let envelope = View::read(message.header).ok()?;
    NodeId::from_slice(envelope.source(message.header))
}

/// Every message that goes over relays, notices aside: those come from relays and end where their path ends.
fn travelling(frames: &[u8]) -> impl Iterator<Item = Glance<'_>> {
    Walk::new(frames)
        .filter(|message| !message.relay.path().labels().is_empty() && message.relay.kind() != Kind::Notice)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wattle_proto::envelope;
    use wattle_proto::frame::{Class, FrameKind, FrameWriter, MAX_FRAME, Path, RelayHeader};

    use super::*;

    const NODES: [NodeId; 3] = [NodeId(7), NodeId(8), NodeId(9)];

    fn relays() -> Relays {
        Relays::new(NODES.to_vec())
    }

    fn from_first(content: &[u8]) -> Bytes {
        envelope::encode(&NODES[0].to_bytes(), &[], &[], content)
    }

    fn frame(relay: &RelayHeader, content: &[u8]) -> Bytes {
        let mut out = Vec::new();
        let mut frame = FrameWriter::begin(&mut out, FrameKind::Batch, MAX_FRAME);
        frame.append(relay, &from_first(content), &[b"payload"]).unwrap();
        frame.finish();
        out.into()
    }

    fn begins() -> RelayHeader {
        RelayHeader::along(Kind::Raft, Class::Control, Path::new(&[5, 6]).unwrap())
    }

    fn relayed(times: u16) -> RelayHeader {
        let mut relay = begins();
        (0..times).for_each(|label| _ = relay.step(label));
        relay
    }

    #[test]
    fn a_message_may_travel_and_be_sent_again() {
        let mut relays = relays();
        for _ in 0..3 {
            relays.sent(0, &frame(&begins(), b"a")).unwrap();
            relays.sent(1, &frame(&relayed(1), b"a")).unwrap();
            relays.sent(2, &frame(&relayed(2), b"a")).unwrap();
        }
    }

    #[test]
    fn what_the_network_repeats_is_nobodys_fault() {
        let mut relays = relays();
        relays.sent(0, &frame(&begins(), b"a")).unwrap();
        relays.doubled(&frame(&begins(), b"a"));
        relays.sent(1, &frame(&relayed(1), b"a")).unwrap();
        relays.sent(1, &frame(&relayed(1), b"a")).unwrap();
        assert_eq!(relays.sent(1, &frame(&relayed(1), b"a")).unwrap_err().checker, "X8");
    }

    #[test]
    fn circles_growing_ttls_and_messages_from_nowhere_are_seen() {
        let begun = || {
            let mut relays = relays();
            relays.sent(0, &frame(&begins(), b"a")).unwrap();
            relays.sent(1, &frame(&relayed(1), b"a")).unwrap();
            relays
        };
        let again = begun().sent(1, &frame(&relayed(1), b"a"));
        assert!(again.unwrap_err().message.contains("crosses node 1"));
        let back = begun().sent(0, &frame(&relayed(2), b"a"));
        assert!(back.unwrap_err().message.contains("crosses node 0"));
        let grown = begun().sent(2, &frame(&begins().with_ttl(3), b"a"));
        assert!(grown.unwrap_err().message.contains("ttl 3"));
        let unsent = begun().sent(2, &frame(&relayed(2), b"z"));
        assert!(unsent.unwrap_err().message.contains("nobody sent"));
    }
}
