//! What is known of one peer, and what it leads.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Beat, Config, LeadsDigest};
use crate::id::{BootId, Generation, GroupId, Term};
use crate::planted::{Bug, Planted};
use crate::time::{Instant, Span};

/// How many replaced starts of a peer are remembered.
pub(super) const REPLACED_MAX: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// When it became a peer.
    pub(super) since: Instant,
    /// When a beat of its current start came, or when it became a peer.
    pub(super) heard: Instant,
    pub(super) suspect: bool,
    pub(super) disk_stuck: bool,
    pub(super) start: Option<(BootId, Generation)>,
    /// The highest number among the beats of its current start.
    pub(super) number: u64,
    /// How many beats went to it.
    pub(super) sent: u64,
    pub(super) replaced: VecDeque<BootId>,
    pub(super) lag: Span,
    /// How often a beat goes to it.
    pub(super) interval: Span,
    /// By when the last beat to it said that the next one comes.
    pub(super) promised: Span,
    /// After how long its next beat leaves, by what it said last.
    pub(super) pause: Span,
    /// The last list of what this node leads for it that it says it has.
    pub(super) acknowledged: Option<LeadsDigest>,
    /// The last whole list it gave.
    pub(super) theirs_digest: Option<LeadsDigest>,
    pub(super) collecting: Option<Collecting>,
    /// When the last beat went to it.
    pub(super) beaten: Option<Instant>,
    pub(super) next_beat: Instant,
}

/// Pages of a list, as they come.
#[derive(Clone, Debug)]
pub(super) struct Collecting {
    pub(super) digest: LeadsDigest,
    pub(super) pages: Vec<Option<Vec<(GroupId, Term)>>>,
}

impl Peer {
    /// A peer nothing was heard of yet; the first beat to it is due.
    pub(super) fn new(now: Instant, interval: Span) -> Self {
        Self {
            since: now,
            heard: now,
            suspect: false,
            disk_stuck: false,
            start: None,
            number: 0,
            sent: 0,
            replaced: VecDeque::new(),
            lag: Span::ZERO,
            interval,
            promised: interval,
            pause: interval,
            acknowledged: None,
            theirs_digest: None,
            collecting: None,
            beaten: None,
            next_beat: now,
        }
    }

    /// Whether its silence is acted upon later than that of those near.
    pub(super) fn is_far(&self, config: &Config) -> bool {
        self.interval >= config.interval_far
    }

    /// How long the pause after the next beat to it is.
    pub(super) fn next_pause(&self, config: &Config) -> Span {
        // Who speaks to many is not to hear more than it says. A little more often than the other end, or the two would hold each other back for ever.
        let answers = Span(self.pause.0 - self.pause.0 / 8);
        if self.is_far(config) { self.interval.max(answers) } else { self.interval }
    }

    /// How long it may be silent.
    pub(super) fn patience(&self, config: &Config) -> Span {
        let beats = config.suspect.0.div_ceil(config.interval.0.max(1));
        config.suspect.max(self.pause.times(beats))
    }

    /// Whether a beat is of the start that counts (P3). A later start replaces an earlier one at once. Anything else, such as a
    /// start on a disk that was rolled back, does once the current one has been silent; a start that was replaced comes back only after a
    /// much longer silence, since it is a straggler on the network rather than a node.
    pub(super) fn admits(&self, now: Instant, beat: &Beat, config: &Config, planted: Planted) -> bool {
        let Some((boot, generation)) = self.start else { return true };
        let silence = now.since(self.heard);
        let lower = || beat.boot != boot && beat.number <= self.number;
        let patience = self.patience(config);
        let replaced = || self.replaced.contains(&beat.boot) && silence < patience.times(10);
        if planted.strikes(Bug::BeatsAcrossStarts, lower) {
            false
        } else if planted.strikes(Bug::OldLifeAdmitted, replaced) {
            true
        } else if beat.boot == boot {
            beat.number > self.number
        } else if self.replaced.contains(&beat.boot) {
            silence >= patience.times(10)
        } else {
            beat.generation > generation || silence >= patience
        }
    }

    pub(super) fn begin(&mut self, boot: BootId, generation: Generation) {
        self.replaced.retain(|replaced| *replaced != boot);
        if let Some((old, _)) = self.start {
            if self.replaced.len() == REPLACED_MAX {
                self.replaced.pop_front();
            }
            self.replaced.push_back(old);
        }
        self.start = Some((boot, generation));
        self.theirs_digest = None;
        self.collecting = None;
    }

    /// Takes a page in; the list, once it is whole and new.
    pub(super) fn collect(&mut self, beat: &Beat) -> Option<Vec<(GroupId, Term)>> {
        if self.theirs_digest == Some(beat.leads_digest) {
            self.collecting = None;
            return None;
        }
        let page = beat.leads.as_ref()?;
        let fits = |c: &Collecting| c.digest == beat.leads_digest && c.pages.len() == page.pages as usize;
        if !self.collecting.as_ref().is_some_and(fits) {
            let pages = alloc::vec![None; page.pages as usize];
            self.collecting = Some(Collecting { digest: beat.leads_digest, pages });
        }
        let collecting = self.collecting.as_mut()?;
        *collecting.pages.get_mut(page.page as usize)? = Some(page.groups.clone());
        if collecting.pages.iter().any(Option::is_none) {
            return None;
        }
        let whole: Vec<(GroupId, Term)> =
            self.collecting.take()?.pages.into_iter().flatten().flatten().collect();
        if LeadsDigest::of(&whole) != beat.leads_digest {
            return None;
        }
        self.theirs_digest = Some(beat.leads_digest);
        Some(whole)
    }
}
