//! What nodes hold of each other's starts (X20). The first beat of a later start that arrives counts at once, and a start that was
//! replaced does not come back while its successor is heard: else whoever lives is held for dead, or for what it was before.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wattle_core::id::{BootId, Generation, NodeId};
use wattle_core::link::pairs::Beat;
use wattle_core::time::{Instant, Span};
use wattle_proto::envelope::View;
use wattle_proto::frame::{Decoder, Kind, MAX_FRAME};

use super::{Checked, ensure};

/// How many starts of a peer, at most, one node must remember as replaced.
const REMEMBERED: usize = 8;

/// The start of a peer that counts at a node.
#[derive(Clone, Debug)]
struct Counts {
    /// The peer's life.
    life: u32,
    /// When it began to count, on the node's clock.
    since: Instant,
    /// The lives of the peer that counted before.
    replaced: BTreeSet<u32>,
}

/// A beat of a peer's newest start, for which its node waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Whose.
    pub peer: usize,
    /// Of which start.
    pub boot: BootId,
    /// Its count of starts.
    pub generation: Generation,
}

/// Which start of whom counts where.
#[derive(Debug)]
pub struct Peers {
    nodes: Vec<NodeId>,
    suspect: Span,
    /// Every start there was.
    starts: BTreeMap<BootId, (usize, u32)>,
    newest: Vec<Option<BootId>>,
    /// By node: the lives that began with a disk that had lost something. Their count of starts may be lower than that of earlier ones.
    lost: BTreeSet<(usize, u32)>,
    /// Nodes of which the next life is one of these.
    loses: BTreeSet<usize>,
    /// By node and peer.
    counts: BTreeMap<(usize, usize), Counts>,
    /// Per node: the peers of which an earlier start than the newest counts there.
    behind: Vec<BTreeSet<usize>>,
}

impl Peers {
    /// Nobody has started. Silence of `suspect` makes a peer suspect.
    #[must_use]
    pub fn new(nodes: Vec<NodeId>, suspect: Span) -> Self {
        let count = nodes.len();
        Self {
            nodes,
            suspect,
            starts: BTreeMap::new(),
            newest: vec![None; count],
            lost: BTreeSet::new(),
            loses: BTreeSet::new(),
            counts: BTreeMap::new(),
            behind: vec![BTreeSet::new(); count],
        }
    }

    /// The disk of a node loses something before its next start.
    pub fn a_disk_lost(&mut self, node: usize) {
        self.loses.insert(node);
    }

    /// A node starts: it has heard of nobody, and others have yet to hear of this start.
    pub fn starts(&mut self, node: usize, life: u32, boot: BootId) {
        self.starts.insert(boot, (node, life));
        self.newest[node] = Some(boot);
        if self.loses.remove(&node) {
            self.lost.insert((node, life));
        }
        self.counts.retain(|&(at, _), _| at != node);
        self.behind[node].clear();
        for (other, behind) in self.behind.iter_mut().enumerate() {
            if self.counts.contains_key(&(other, node)) {
                behind.insert(node);
            }
        }
    }

    /// A peer of a node has been one since then: what counted before is forgotten with the peer it was then.
    pub fn met(&mut self, node: usize, peer: NodeId, since: Instant) {
        if let Some(peer) = self.nodes.iter().position(|&id| id == peer)
            && self.counts.get(&(node, peer)).is_some_and(|counts| counts.since < since)
        {
            self.counts.remove(&(node, peer));
        }
    }

    /// At a node another start of a peer counts from now on.
    ///
    /// # Errors
    /// X20.
    pub fn counts(&mut self, node: usize, now: Instant, peer: NodeId, boot: BootId) -> Checked {
        let Some(&(peer, life)) = self.starts.get(&boot).filter(|(whose, _)| self.nodes[*whose] == peer)
        else {
            return Err(super::Failure::new(
                "X20",
                format!("node {node} heard of a start of {peer} that never was"),
            ));
        };
        if self.newest[peer] == Some(boot) {
            self.behind[node].remove(&peer);
        } else {
            self.behind[node].insert(peer);
        }
        let Some(before) = self.counts.get_mut(&(node, peer)) else {
            self.counts.insert((node, peer), Counts { life, since: now, replaced: BTreeSet::new() });
            return Ok(());
        };
        if before.life == life {
            // It was no peer for a while, and so nothing of it was remembered.
            before.since = now;
            return Ok(());
        }
        let recounted =
            life < before.life && self.lost.range((peer, life + 1)..=(peer, before.life)).next().is_some();
        let remembered = before.replaced.contains(&life) && before.replaced.len() <= REMEMBERED;
        let silence = if remembered { self.suspect.times(10) } else { self.suspect };
        ensure!(
            life > before.life || recounted && !remembered || now.since(before.since) >= silence,
            "X20",
            "at node {node} start {life} of node {peer} counts again, though start {} was heard less than {silence} ago",
            before.life
        );
        before.replaced.insert(before.life);
        before.replaced.remove(&life);
        before.life = life;
        before.since = now;
        Ok(())
    }

    /// Whether bytes that come to a node have to be looked at.
    #[must_use]
    pub fn waits(&self, node: usize) -> bool {
        !self.behind[node].is_empty()
    }

    /// The beats among bytes that begin with a frame which must make their start count at the node they come to.
    #[must_use]
    pub fn news(&self, node: usize, bytes: &Bytes) -> Vec<News> {
        // Not a walk over what can be read: of a frame that is damaged behind a beat its node takes nothing.
        let mut decoder = Decoder::new();
        decoder.set_limit(MAX_FRAME);
        decoder.push(bytes.clone());
        let mut news = Vec::new();
        while let Ok(Some(frame)) = decoder.next() {
            for message in frame {
                let path = message.relay.path();
                if message.relay.kind() == Kind::Pair && path.hop() == path.labels().len() {
                    news.extend(self.beat(node, &message.header));
                }
            }
        }
        news
    }

    fn beat(&self, node: usize, header: &Bytes) -> Option<News> {
        let envelope = View::read(header).ok()?;
        let target = NodeId::from_slice(envelope.target(header))?;
        let beat = Beat::decode(envelope.body(header)).ok().filter(|_| target == self.nodes[node])?;
        let &(peer, life) = self.starts.get(&beat.boot)?;
        // A straggler of an earlier start that came in a silence replaced it: it comes back as whoever was replaced does.
        if self.counts.get(&(node, peer)).is_some_and(|counts| counts.replaced.contains(&life)) {
            return None;
        }
        let newest = self.newest[peer] == Some(beat.boot) && self.behind[node].contains(&peer);
        let said_by_it = NodeId::from_slice(envelope.source(header)) == Some(self.nodes[peer]);
        (newest && said_by_it).then_some(News { peer, boot: beat.boot, generation: beat.generation })
    }

    /// A node took in a beat of a peer's newest start; `held` is the start that counts there now, if any does.
    ///
    /// # Errors
    /// X20.
    pub fn heard(&self, node: usize, news: &News, held: Option<(BootId, Generation)>) -> Checked {
        let Some((boot, generation)) = held else { return Ok(()) };
        ensure!(
            boot == news.boot || generation >= news.generation,
            "X20",
            "node {node} heard start {:?} of node {}, and {generation:?} counts there still",
            news.generation,
            news.peer
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wattle_core::link::pairs::LeadsDigest;
    use wattle_proto::envelope;
    use wattle_proto::frame::{Class, FrameKind, FrameWriter, Path, RelayHeader};

    use super::*;

    fn peers() -> Peers {
        let mut peers = Peers::new(vec![NodeId(7), NodeId(8)], Span::millis(400));
        peers.starts(0, 0, BootId(70));
        peers.starts(1, 0, BootId(80));
        peers
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn a_replaced_start_counts_again_only_after_long_silence() {
        let mut peers = peers();
        peers.counts(0, at(0), NodeId(8), BootId(80)).unwrap();
        assert!(!peers.waits(0));
        peers.starts(1, 2, BootId(81));
        assert!(peers.waits(0) && !peers.waits(1));
        peers.counts(0, at(100), NodeId(8), BootId(81)).unwrap();
        assert!(!peers.waits(0));
        let mut early = Peers { behind: peers.behind.clone(), counts: peers.counts.clone(), ..self::peers() };
        early.starts(1, 2, BootId(81));
        assert_eq!(early.counts(0, at(4_099), NodeId(8), BootId(80)).unwrap_err().checker, "X20");
        peers.counts(0, at(4_100), NodeId(8), BootId(80)).unwrap();
        assert!(peers.waits(0), "an older start than the newest counts");
        assert!(peers.counts(0, at(9_000), NodeId(8), BootId(99)).is_err(), "nobody ever started so");
    }

    #[test]
    fn who_forgot_how_often_it_started_may_be_taken_for_the_earlier_start() {
        for lost in [false, true] {
            let mut peers = peers();
            if lost {
                peers.a_disk_lost(1);
            }
            peers.starts(1, 2, BootId(81));
            peers.counts(0, at(100), NodeId(8), BootId(81)).unwrap();
            assert_eq!(peers.counts(0, at(150), NodeId(8), BootId(80)).is_ok(), lost);
        }
    }

    #[test]
    fn nothing_is_remembered_of_who_was_no_peer_for_a_while() {
        for (since, broken) in [(100, true), (101, false)] {
            let mut peers = peers();
            peers.counts(0, at(0), NodeId(8), BootId(80)).unwrap();
            peers.starts(1, 2, BootId(81));
            peers.counts(0, at(100), NodeId(8), BootId(81)).unwrap();
            peers.met(0, NodeId(8), at(since));
            assert_eq!(peers.counts(0, at(150), NodeId(8), BootId(80)).is_err(), broken);
            assert!(peers.waits(0), "the newest start is still waited for");
        }
    }

    #[test]
    fn a_beat_of_a_later_start_must_count_at_once() {
        let mut peers = peers();
        peers.counts(0, at(0), NodeId(8), BootId(80)).unwrap();
        peers.starts(1, 2, BootId(81));
        let beat = |boot, generation| Beat {
            boot: BootId(boot),
            generation: Generation(generation),
            number: 1,
            pause: Span::millis(100),
            lag: Span::ZERO,
            oldest_write: None,
            leads_digest: LeadsDigest::default(),
            seen_digest: None,
            leads: None,
        };
        let frame = |target: u128, beat: Beat| -> Bytes {
            let (source, target) = (NodeId(8).to_bytes(), NodeId(target).to_bytes());
            let header = envelope::encode(&source, &target, &[], &beat.encode());
            let relay = RelayHeader::along(Kind::Pair, Class::Control, Path::new(&[]).unwrap());
            let mut out = Vec::new();
            let mut frame = FrameWriter::begin(&mut out, FrameKind::Batch, MAX_FRAME);
            frame.append(&relay, &header, &[b""]).unwrap();
            frame.finish();
            out.into()
        };
        assert_eq!(peers.news(0, &frame(7, beat(80, 1))), [], "of the start before");
        assert_eq!(peers.news(0, &frame(9, beat(81, 2))), [], "for somebody else");
        let news = peers.news(0, &frame(7, beat(81, 2)));
        assert_eq!(news, [News { peer: 1, boot: BootId(81), generation: Generation(2) }]);
        peers.counts(0, at(100), NodeId(8), BootId(81)).unwrap();
        peers.counts(0, at(5_000), NodeId(8), BootId(80)).unwrap();
        assert!(
            peers.waits(0) && peers.news(0, &frame(7, beat(81, 2))).is_empty(),
            "a straggler replaced it"
        );
        peers.heard(0, &news[0], None).unwrap();
        peers.heard(0, &news[0], Some((BootId(81), Generation(2)))).unwrap();
        assert_eq!(peers.heard(0, &news[0], Some((BootId(80), Generation(1)))).unwrap_err().checker, "X20");
    }
}
