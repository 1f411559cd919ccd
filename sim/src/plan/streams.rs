//! Streams in a plan: their ends, and who uses them.

use serde::{Deserialize, Serialize};
use wattle_core::ends::Poison;

use super::{HandlerPlan, KeepPlan, Plan, PublisherPlan, ReaderPlan, is_zero};
use crate::event::Time;
use crate::text;

/// So many ends of a stream vote at most.
pub(crate) const VOTERS_MOST: usize = 5;

/// A stream and who uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamPlan {
    /// Its name.
    pub name: String,
    /// The node that accepts.
    pub source: usize,
    /// The node that processes.
    pub target: usize,
    /// More that do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<TargetPlan>,
    /// Targets that come while it is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<TargetPlan>,
    /// By whom of them a message must be processed to be completed.
    #[serde(default, skip_serializing_if = "CompletePlan::is_all")]
    pub complete: CompletePlan,
    /// What it keeps of what all have processed.
    #[serde(default, skip_serializing_if = "KeepPlan::is_none")]
    pub keep: KeepPlan,
    /// A target that processes nothing for so long, though there is something to process, is detached; 0: never.
    #[serde(default, with = "text::time", skip_serializing_if = "is_zero")]
    pub detach_after: Time,
    /// Who reads it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<ReaderPlan>,
    /// The node that is asked to open it.
    pub asked_at: usize,
    /// When.
    #[serde(with = "text::time")]
    pub opens_at: Time,
    /// Who writes.
    pub publishers: Vec<PublisherPlan>,
    /// Who handles.
    pub handler: HandlerPlan,
    /// What its handlers fail at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poison: Option<PoisonPlan>,
}

/// Messages at which the handlers of a stream fail, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoisonPlan {
    /// A message is parked after so many attempts.
    pub attempts: u32,
    /// One message in so many is one of those.
    #[serde(with = "text::number")]
    pub bad_one_in: u64,
    /// From then on handlers process them; 0: never.
    #[serde(with = "text::time")]
    pub cured_at: Time,
    /// It is not parked: the stream fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fails: bool,
    /// So many may be parked at a target, and others hold up what is behind them until they are processed; 0: as many as come.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub most: u64,
}

/// A further target of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetPlan {
    /// The node that processes.
    pub node: usize,
    /// Who handles there.
    pub handler: HandlerPlan,
}

/// By whom of a stream's targets a message must be processed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CompletePlan {
    /// By all.
    #[default]
    All,
    /// By so many.
    Count(u32),
    /// By those on these nodes.
    Named(Vec<usize>),
}

impl CompletePlan {
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

impl StreamPlan {
    /// The nodes that process from the beginning, in order.
    pub fn opened(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        std::iter::once(self.target).chain(self.more.iter().map(|more| more.node))
    }

    /// The nodes that process, in order: those that come later stand behind the others.
    pub fn targets(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        self.opened().chain(self.later.iter().map(|later| later.node))
    }

    /// The places of the targets that come later.
    #[must_use]
    pub fn late(&self) -> std::ops::Range<usize> {
        let begun = 1 + self.more.len();
        begun..begun + self.later.len()
    }

    /// More sequences than it will ever have, however often a disk forgets parts of large messages.
    pub fn sequences_most(&self) -> u64 {
        let times = |publisher: &PublisherPlan| if publisher.large_one_in > 0 { 1 << 10 } else { 1 };
        self.publishers.iter().map(|publisher| publisher.messages * times(publisher)).sum()
    }

    /// Source and targets.
    pub fn ends(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        std::iter::once(self.source).chain(self.targets())
    }

    /// Who handles at the target in that place.
    #[must_use]
    pub fn handler_at(&self, place: usize) -> &HandlerPlan {
        let further = |place: usize| self.more.iter().chain(&self.later).nth(place);
        place.checked_sub(1).and_then(further).map_or(&self.handler, |target| &target.handler)
    }

    /// All handlers.
    pub fn handlers_mut(&mut self) -> impl Iterator<Item = &mut HandlerPlan> {
        std::iter::once(&mut self.handler)
            .chain(self.more.iter_mut().chain(&mut self.later).map(|more| &mut more.handler))
    }

    /// What must have processed a message that is completed, by these marks of targets, in order. Who is `lost`, by its place, counts no more: all are
    /// all who are left, and of a set of which nobody is left they all are.
    #[must_use]
    pub fn completed(&self, marks: &[u64], lost: impl Fn(usize) -> bool) -> u64 {
        let places = self.targets().zip(marks.iter().copied()).enumerate();
        let left = places.filter(|(place, _)| !lost(*place)).map(|(_, target)| target);
        let mut marks: Vec<(usize, u64)> = left.collect();
        marks.sort_by_key(|&(_, mark)| std::cmp::Reverse(mark));
        let needed = match &self.complete {
            CompletePlan::All => marks.last(),
            CompletePlan::Count(count) => marks.get(*count as usize - 1).or(marks.last()),
            CompletePlan::Named(named) => {
                marks.iter().rfind(|(node, _)| named.contains(node)).or(marks.last())
            }
        };
        needed.map_or(0, |&(_, mark)| mark)
    }

    /// Whether these are gone with the quorum of its group, and somebody is left.
    #[must_use]
    pub fn needs_seal(&self, lost: &[usize]) -> bool {
        let gone = |node: &usize| lost.contains(node);
        let voters = match self.more.len() {
            0 => 1,
            more => (more + 2).min(VOTERS_MOST),
        };
        let left = self.ends().take(voters).filter(|node| !gone(node)).count();
        2 * left <= voters && !self.ends().all(|node| gone(&node))
    }
}

impl PoisonPlan {
    /// As the stream is opened with it.
    #[must_use]
    pub const fn policy(&self) -> Poison {
        match (self.fails, self.attempts) {
            (_, 0) => Poison::Block,
            (true, attempts) => Poison::Fail { attempts },
            (false, attempts) => Poison::Park { attempts },
        }
    }
}

impl Plan {
    /// How many messages may be parked at a target, if that is few.
    pub(crate) fn parked_most(&self) -> Option<u64> {
        let most = self.streams.iter().flat_map(|stream| &stream.poison).map(|poison| poison.most);
        most.filter(|&most| most > 0).min()
    }

    /// The handlers of all streams: of which stream, and of which of its targets. Those of first targets come first.
    #[must_use]
    pub fn handlers(&self) -> Vec<(usize, usize)> {
        let most = self.streams.iter().map(|stream| stream.targets().count()).max().unwrap_or_default();
        let has = |&(stream, place): &(usize, usize)| self.streams[stream].targets().count() > place;
        let each = (0..most).flat_map(|place| (0..self.streams.len()).map(move |stream| (stream, place)));
        each.filter(has).collect()
    }
}
