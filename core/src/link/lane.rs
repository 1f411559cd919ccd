//! One connection: where it stands, and when it needs attention.

use core::cmp::Reverse;

use super::Config;
use super::dial::TargetId;
use crate::id::{BootId, Generation, NodeId};
use crate::time::{Instant, Span};
use crate::work::PublicKey;

/// Which of two lanes both ends prefer: the smaller. Newest generation first, then that under newer keys of both ends, then smaller dialling node, then
/// smaller nonce of the dialling end. (The accepting end's part of the generations is the same for all lanes it compares.)
pub(super) type Preference = (Reverse<Generation>, Reverse<u32>, NodeId, u64);

/// What a peer's hello said, checked.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) boot: BootId,
    pub(super) generation: Generation,
    /// The round of its disk.
    pub(super) round: u64,
    pub(super) preference: Preference,
}

/// A ping that one of several lanes must answer to stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) sent: Instant,
    pub(super) until: Instant,
}

/// A lane that carries a link or could.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    pub(super) peer: Peer,
    /// Until when the other end's confirmation must come; `None`: it has come.
    pub(super) unconfirmed: Option<Instant>,
    pub(super) probe: Option<Probe>,
    /// The last message was sent; until when the other end may take to close.
    pub(super) leaving: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// The peer's hello is awaited.
    Greeting { until: Instant },
    /// Accepted here, and the hello answered: the dialling end's confirmation is awaited.
    Confirming { peer: Peer, until: Instant },
    /// Carries a link, or could.
    Linked(Linked),
    /// Open for joining.
    Joining { until: Instant },
    /// The last word was said; it may take that long to arrive.
    Fenced { until: Instant },
    /// Asked to be closed; only its end is awaited.
    Closed,
}

#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) key: PublicKey,
    pub(super) dialled: bool,
    pub(super) target: Option<TargetId>,
    /// Counts among the strangers.
    pub(super) stranger: bool,
    /// This end's nonce.
    pub(super) nonce: u64,
    pub(super) phase: Phase,
    /// What this end said here of the key that the other one proved.
    pub(super) rank_said: u32,
    /// This end proved the key that this rotation brought, or a later one.
    pub(super) own_number: u32,
    /// The mesh epoch that the other end was shown here.
    pub(super) shown: u64,
    /// Whether the other end said that another start of this node is about, and if so, whether that one has its place.
    pub(super) rival_heard: Option<bool>,
    /// The start that was told that here.
    pub(super) rival_told: Option<(NodeId, BootId)>,
    pub(super) max_frame: usize,
    pub(super) heard: Instant,
    pub(super) ping_at: Instant,
    /// Smoothed.
    pub(super) rtt: Option<Span>,
    /// Its entry among the timers.
    pub(super) wake: Option<Instant>,
}

impl Lane {
    pub(super) fn linked(&self) -> Option<&Linked> {
        match &self.phase {
            Phase::Linked(linked) => Some(linked),
            _ => None,
        }
    }

    pub(super) fn linked_mut(&mut self) -> Option<&mut Linked> {
        match &mut self.phase {
            Phase::Linked(linked) => Some(linked),
            _ => None,
        }
    }

    /// Who is at the other end, once its hello was accepted for a link.
    pub(super) fn peer(&self) -> Option<&Peer> {
        match &self.phase {
            Phase::Confirming { peer, .. } => Some(peer),
            Phase::Linked(linked) => Some(&linked.peer),
            Phase::Greeting { .. } | Phase::Joining { .. } | Phase::Fenced { .. } | Phase::Closed => None,
        }
    }

    /// When it needs attention next.
    pub(super) fn due(&self, config: &Config) -> Option<Instant> {
        let alive = self.ping_at.min(self.heard + config.silent);
        match &self.phase {
            Phase::Greeting { until } | Phase::Confirming { until, .. } | Phase::Fenced { until } => {
                Some(*until)
            }
            Phase::Joining { until } => Some(alive.min(*until)),
            Phase::Linked(linked) => {
                let limits = [linked.unconfirmed, linked.probe.map(|probe| probe.until), linked.leaving];
                Some(limits.into_iter().flatten().fold(alive, Instant::min))
            }
            Phase::Closed => None,
        }
    }

    /// This node stood still for `by`: no limit counts that time.
    pub(super) fn forgive(&mut self, by: Span) {
        self.heard += by;
        match &mut self.phase {
            Phase::Greeting { until }
            | Phase::Confirming { until, .. }
            | Phase::Joining { until }
            | Phase::Fenced { until } => *until += by,
            Phase::Linked(linked) => {
                let limits = [
                    linked.unconfirmed.as_mut(),
                    linked.probe.as_mut().map(|probe| &mut probe.until),
                    linked.leaving.as_mut(),
                ];
                limits.into_iter().flatten().for_each(|limit| *limit += by);
            }
            Phase::Closed => {}
        }
    }

    /// Takes a round trip into the smoothed time: an eighth of each new one, as in TCP (RFC 6298).
    pub(super) fn measured(&mut self, sample: Span) -> Span {
        let smoothed = match self.rtt {
            None => sample,
            Some(Span(old)) => Span(old - old / 8 + sample.0 / 8),
        };
        self.rtt = Some(smoothed);
        smoothed
    }
}
