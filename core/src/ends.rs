//! The ends of a stream, who of them votes in its group, and when a message counts as completed.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::flow::Rank;
use crate::id::{NodeId, Sequence};
use crate::retention::{KEEP_FOR_MAX, Retention};
use crate::time::Span;

/// Most targets of one stream.
pub const TARGETS_MAX: usize = 63;
/// How many targets vote beside the source, if there are several. More would wait for more disks, and outlive more losses.
pub const VOTING_TARGETS: usize = 4;

/// By whom a message must be processed to be completed. `N` names a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy<N = NodeId> {
    /// By all targets.
    #[default]
    All,
    /// By so many of them, whoever they are.
    Count(u32),
    /// By these.
    Named(Vec<N>),
}

impl<N> Policy<N> {
    /// The policy of so many (0: any number) or of those named, as messages have it. Those named come first.
    #[must_use]
    pub fn of(count: u32, named: Vec<N>) -> Self {
        match count {
            _ if !named.is_empty() => Self::Named(named),
            0 => Self::All,
            _ => Self::Count(count),
        }
    }

    /// How many it asks for, or 0, and whom it names.
    #[must_use]
    pub fn parts(&self) -> (u32, &[N]) {
        match self {
            Self::All => (0, &[]),
            Self::Count(count) => (*count, &[]),
            Self::Named(named) => (0, named),
        }
    }
}

/// The shortest time after which a target that stands still may be detached: it is to be longer than it takes to elect a leader.
pub const DETACH_AFTER_MIN: Span = Span::secs(1);

/// Most attempts that a policy may ask for before a message is parked, or its stream fails.
pub const ATTEMPTS_MAX: u32 = 1_000_000;

/// What becomes of a message that a target's handler fails at again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poison {
    /// It is handed over on and on, and holds up what is behind it.
    #[default]
    Block,
    /// It is laid aside after so many attempts, at least 1 and at most [`ATTEMPTS_MAX`], for an operator to look at; what is behind it goes on.
    Park {
        /// How many.
        attempts: u32,
    },
    /// After so many attempts, as many as may be said of parking, the stream takes nothing more in, and the message is not tried again, until an operator resumes it.
    Fail {
        /// How many.
        attempts: u32,
    },
}

impl Poison {
    /// The policy that parks a message after so many attempts, or fails its stream after so many; 0 for what it does not do.
    ///
    /// # Errors
    /// It does both.
    pub const fn of(park_after: u32, fail_after: u32) -> Result<Self, BadEnds> {
        match (park_after, fail_after) {
            (0, 0) => Ok(Self::Block),
            (attempts, 0) => Ok(Self::Park { attempts }),
            (0, attempts) => Ok(Self::Fail { attempts }),
            (1.., 1..) => Err(BadEnds::Poison),
        }
    }

    /// After how many attempts a message is parked, and after how many its stream fails; 0 if that never is.
    #[must_use]
    pub const fn parts(self) -> (u32, u32) {
        match self {
            Self::Block => (0, 0),
            Self::Park { attempts } => (attempts, 0),
            Self::Fail { attempts } => (0, attempts),
        }
    }
}

/// What is asked of a stream when it is opened, besides between which ends it is. `N` names a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms<N = NodeId> {
    /// By whom a message must be processed to be completed.
    pub policy: Policy<N>,
    /// What becomes of a message that a handler fails at again and again.
    pub poison: Poison,
    /// What is kept of what all have processed.
    pub keep: Retention,
    /// Whose it is, and what ranks it.
    pub rank: Rank,
    /// A target that processes nothing for so long, though there is something to process, is detached; 0: never.
    pub detach_after: Span,
}

/// The ends of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Who accepts.
    pub source: NodeId,
    /// Who processes; at least one, each once, none of them the source.
    pub targets: Vec<NodeId>,
    /// By whom it must be.
    pub policy: Policy,
    /// What becomes of a message that cannot be processed.
    pub poison: Poison,
    /// What is kept of what all have processed.
    pub keep: Retention,
    /// Whose it is, and what ranks it.
    pub rank: Rank,
    /// A target that processes nothing for so long, though there is something to process, is detached; 0: never.
    pub detach_after: Span,
    /// What is asked of the last of the targets, which were added while the stream was open; in that order.
    pub late: Vec<Late>,
}

/// What is asked of a target that was added to an open stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// It owes what is behind this message, and nothing of what is in front of that.
    pub behind: Sequence,
    /// The last message in front of its joining: for these nobody waits for it, for all that follow it is asked like the others.
    pub joined: Sequence,
}

/// Why nodes cannot be the ends of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadEnds {
    /// There is no target.
    NoTarget,
    /// There are more than [`TARGETS_MAX`].
    TooMany,
    /// A node is two ends of it.
    Twice,
    /// The policy asks for none of the targets, for more than there are, or for another node.
    Policy,
    /// The retention asks for more than can be counted.
    Retention,
    /// A message is to be parked, or to fail its stream, after no attempt, or after more than [`ATTEMPTS_MAX`].
    Attempts,
    /// A message is to be parked, and to fail its stream.
    Poison,
    /// A target that stands still is to be detached sooner than after [`DETACH_AFTER_MIN`], or later than can be counted.
    DetachAfter,
}

impl fmt::Display for BadEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTarget => f.write_str("a stream needs a target"),
            Self::TooMany => write!(f, "a stream has at most {TARGETS_MAX} targets"),
            Self::Twice => f.write_str("a stream needs different nodes: one is named twice"),
            Self::Retention => f.write_str(
                "a stream keeps up to 2^60 messages, 2^60 bytes and 100 years, in whole milliseconds",
            ),
            Self::DetachAfter => f.write_str(
                "a target that processes nothing is detached after 1 s to 100 years, in whole milliseconds",
            ),
            Self::Attempts => {
                write!(
                    f,
                    "a message that cannot be processed is parked, or fails the stream, after 1 to {ATTEMPTS_MAX} attempts"
                )
            }
            Self::Poison => {
                f.write_str("a message that cannot be processed is parked, or fails the stream: say one of them")
            }
            Self::Policy => f.write_str(
                "a message is completed when all targets have processed it, or so many of them as there are at most, or targets that are named",
            ),
        }
    }
}

impl Ends {
    /// A stream from `source` to these targets. What a policy says in several ways is said in one.
    ///
    /// # Errors
    /// What does not fit.
    pub fn new(source: NodeId, targets: Vec<NodeId>, policy: Policy) -> Result<Self, BadEnds> {
        if targets.is_empty() {
            return Err(BadEnds::NoTarget);
        }
        if targets.len() > TARGETS_MAX {
            return Err(BadEnds::TooMany);
        }
        let twice = |(at, node): (usize, &NodeId)| *node == source || targets[..at].contains(node);
        if targets.iter().enumerate().any(twice) {
            return Err(BadEnds::Twice);
        }
        let policy = match policy {
            Policy::All => Policy::All,
            Policy::Count(count) if count == 0 || count as usize > targets.len() => {
                return Err(BadEnds::Policy);
            }
            Policy::Count(count) if count as usize == targets.len() => Policy::All,
            Policy::Count(count) => Policy::Count(count),
            Policy::Named(named) => {
                if named.is_empty() || named.iter().any(|node| !targets.contains(node)) {
                    return Err(BadEnds::Policy);
                }
                let named: Vec<NodeId> =
                    targets.iter().copied().filter(|node| named.contains(node)).collect();
                if named.len() == targets.len() { Policy::All } else { Policy::Named(named) }
            }
        };
        Ok(Self { source, targets, policy, ..Self::default() })
    }

    /// A stream from `source` to these targets, of which that is asked.
    ///
    /// # Errors
    /// What does not fit.
    pub fn on(source: NodeId, targets: Vec<NodeId>, terms: Terms) -> Result<Self, BadEnds> {
        let Terms { policy, poison, keep, rank, detach_after } = terms;
        let ends = Self::new(source, targets, policy)?.ranked(rank).with_poison(poison)?.keeping(keep)?;
        ends.detaching(detach_after)
    }

    /// What is asked of it.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let Self { policy, poison, keep, rank, detach_after, .. } = self.clone();
        Terms { policy, poison, keep, rank, detach_after }
    }

    /// The same of another rank.
    #[must_use]
    pub fn ranked(self, rank: Rank) -> Self {
        Self { rank, ..self }
    }

    /// The same with another policy for what cannot be processed.
    ///
    /// # Errors
    /// It asks for too few attempts, or for too many.
    pub fn with_poison(self, poison: Poison) -> Result<Self, BadEnds> {
        match poison {
            Poison::Park { attempts } | Poison::Fail { attempts }
                if !(1..=ATTEMPTS_MAX).contains(&attempts) =>
            {
                Err(BadEnds::Attempts)
            }
            poison => Ok(Self { poison, ..self }),
        }
    }

    /// The same with a retention.
    ///
    /// # Errors
    /// It asks for more than can be counted.
    pub fn keeping(self, keep: Retention) -> Result<Self, BadEnds> {
        if keep.is_valid() { Ok(Self { keep, ..self }) } else { Err(BadEnds::Retention) }
    }

    /// The same, and a target that processes nothing for that long is detached; 0: none is.
    ///
    /// # Errors
    /// That is too short, or more than can be counted.
    pub fn detaching(self, after: Span) -> Result<Self, BadEnds> {
        let whole = after == Span::millis(after.as_millis());
        let counts = (DETACH_AFTER_MIN..=KEEP_FOR_MAX).contains(&after) && whole;
        if counts || after == Span::ZERO {
            Ok(Self { detach_after: after, ..self })
        } else {
            Err(BadEnds::DetachAfter)
        }
    }

    /// A stream from one node to another.
    #[must_use]
    pub fn between(source: NodeId, target: NodeId) -> Self {
        Self { source, targets: [target].into(), ..Self::default() }
    }

    /// The same without some of the targets. A policy that asks for these is met as if they were lost, see [`Self::completed`].
    #[must_use]
    pub fn without(&self, gone: impl Fn(NodeId) -> bool) -> Self {
        let from = self.targets.len() - self.late.len();
        let late = self.targets[from..].iter().zip(&self.late).filter(|(node, _)| !gone(**node));
        let late = late.map(|(_, late)| *late).collect();
        let targets = self.targets.iter().copied().filter(|&node| !gone(node)).collect();
        Self { targets, late, ..self.clone() }
    }

    /// The same with another target, which comes late.
    #[must_use]
    pub fn with(&self, target: NodeId, late: Late) -> Self {
        let mut ends = self.clone();
        ends.targets.push(target);
        ends.late.push(late);
        ends
    }

    /// Source and targets.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        core::iter::once(self.source).chain(self.targets.iter().copied())
    }

    /// Whether the node is one of them.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.members().any(|member| member == node)
    }

    /// The place of a target among them.
    #[must_use]
    pub fn place(&self, target: NodeId) -> Option<usize> {
        self.targets.iter().position(|&node| node == target)
    }

    /// How many targets vote: none beside a source that has but one, for it could decide nothing without that.
    fn voting(&self) -> usize {
        if self.targets.len() == 1 { 0 } else { self.targets.len().min(VOTING_TARGETS) }
    }

    /// Who votes in its group from its beginning.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.members().take(1 + self.voting()).collect()
    }

    /// Who learns.
    #[must_use]
    pub fn learners(&self) -> Vec<NodeId> {
        self.targets[self.voting()..].to_vec()
    }

    /// In words, with `name` for each node: "a to b, c (1 of 2)".
    #[must_use]
    pub fn words(&self, name: impl Fn(NodeId) -> String) -> String {
        let list = |nodes: &[NodeId]| nodes.iter().map(|&node| name(node)).collect::<Vec<_>>().join(", ");
        let (source, targets) = (name(self.source), list(&self.targets));
        let ends = match &self.policy {
            Policy::All => alloc::format!("{source} to {targets}"),
            Policy::Count(count) => {
                alloc::format!("{source} to {targets} ({count} of {})", self.targets.len())
            }
            Policy::Named(named) => alloc::format!("{source} to {targets} (completed by {})", list(named)),
        };
        let poison = match self.poison {
            Poison::Block => None,
            Poison::Park { attempts } => Some(alloc::format!("parks after {attempts} attempts")),
            Poison::Fail { attempts } => Some(alloc::format!("fails after {attempts} attempts")),
        };
        let detaches = (self.detach_after > Span::ZERO)
            .then(|| alloc::format!("detaches who processes nothing for {}", self.detach_after.words()));
        [Some(ends), poison, self.keep.words(), detaches, self.rank.words()]
            .into_iter()
            .flatten()
            .collect::<Vec<String>>()
            .join(", ")
    }

    /// Whether they are the same, whatever the order of the targets: it says only who of them votes.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let covers = |a: &[NodeId], b: &[NodeId]| a.len() == b.len() && a.iter().all(|node| b.contains(node));
        let policy = match (&self.policy, &other.policy) {
            (Policy::Named(these), Policy::Named(those)) => covers(these, those),
            (this, that) => this == that,
        };
        self.source == other.source
            && covers(&self.targets, &other.targets)
            && policy
            && self.poison == other.poison
            && self.keep == other.keep
            && self.detach_after == other.detach_after
            && self.rank == other.rank
    }

    /// Whether the targets can meet the policy as it was meant: there are as many as it asks for, or somebody of those whom it names.
    #[must_use]
    pub fn can_meet_policy(&self) -> bool {
        let (count, named) = self.policy.parts();
        count as usize <= self.targets.len()
            && (named.is_empty() || named.iter().any(|node| self.targets.contains(node)))
    }

    /// The last message in front of what the target in that place owes.
    #[must_use]
    pub fn owes_behind(&self, place: usize) -> Sequence {
        let late = place.checked_sub(self.targets.len() - self.late.len());
        late.and_then(|late| self.late.get(late)).map_or(Sequence(0), |late| late.behind)
    }

    /// Up to where the policy is met by these marks, told by the place of the target; those of whom `gone` holds are out of it, and
    /// nothing is asked of them. Were nobody left of those who are named, all who are left would have to.
    ///
    /// Of those who came late, each is asked for what follows its joining: what is in front of that is for those who were there before to process, if any
    /// of them is left.
    #[must_use]
    pub fn completed(&self, mark: impl Fn(usize) -> Sequence, gone: impl Fn(NodeId) -> bool) -> Sequence {
        let begun = self.targets.len() - self.late.len();
        let mut upto = Sequence(0);
        for asked in begun..=self.targets.len() {
            let Some(met) = self.met_by(asked, &mark, &gone) else { continue };
            upto = upto.max(met);
            let Some(next) = self.late.get(asked - begun) else { break };
            if upto < next.joined {
                break;
            }
            upto = next.joined;
        }
        upto
    }

    /// The same among the first of the targets; `None` if nobody of these is left.
    fn met_by(
        &self,
        asked: usize,
        mark: &impl Fn(usize) -> Sequence,
        gone: &impl Fn(NodeId) -> bool,
    ) -> Option<Sequence> {
        let left =
            || self.left(mark, gone).filter(|(place, ..)| *place < asked).map(|(_, node, mark)| (node, mark));
        let all = left().map(|(_, mark)| mark).min()?;
        Some(match &self.policy {
            Policy::All => all,
            Policy::Named(named) => {
                let named = left().filter(|(node, _)| named.contains(node)).map(|(_, mark)| mark);
                named.min().unwrap_or(all)
            }
            Policy::Count(count) => {
                let enough = (*count as usize).min(left().count());
                let met = |upto: &Sequence| left().filter(|(_, mark)| mark >= upto).count() >= enough;
                left().map(|(_, mark)| mark).filter(met).max().unwrap_or_default()
            }
        })
    }

    /// Up to where every target has processed what there is for it, those left out of whom `gone` holds.
    #[must_use]
    pub fn released(&self, mark: impl Fn(usize) -> Sequence, gone: impl Fn(NodeId) -> bool) -> Sequence {
        self.left(&mark, &gone).map(|(.., mark)| mark).min().unwrap_or_default()
    }

    /// The targets that are not gone, with their places and marks. Who came late has nothing to do with what is in front of its start.
    fn left<'a>(
        &'a self,
        mark: &'a impl Fn(usize) -> Sequence,
        gone: &'a impl Fn(NodeId) -> bool,
    ) -> impl Iterator<Item = (usize, NodeId, Sequence)> + 'a {
        let each = self.targets.iter().enumerate().filter(|(_, node)| !gone(**node));
        each.map(move |(place, &node)| (place, node, mark(place).max(self.owes_behind(place))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: impl IntoIterator<Item = u128>) -> Vec<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    fn marks<const N: usize>(upto: [u64; N]) -> impl Fn(usize) -> Sequence + Copy {
        move |place| Sequence(upto[place])
    }

    fn ends(targets: u128, policy: Policy) -> Ends {
        Ends::new(NodeId(1), nodes(2..2 + targets), policy).expect("fits")
    }

    #[test]
    fn two_have_one_voter_and_more_have_at_most_five() {
        assert_eq!(
            (ends(1, Policy::All).voters(), ends(1, Policy::All).learners()),
            (nodes([1]), nodes([2]))
        );
        assert_eq!(
            (ends(2, Policy::All).voters(), ends(2, Policy::All).learners()),
            (nodes(1..=3), nodes([]))
        );
        let six = ends(6, Policy::All);
        assert_eq!((six.voters(), six.learners()), (nodes(1..=5), nodes([6, 7])));
    }

    #[test]
    fn a_policy_is_met_by_whom_it_names_and_bytes_go_when_all_are_past_them() {
        let here = |_: NodeId| false;
        let told = marks([9, 4, 7]);
        let completed = |policy: Policy| ends(3, policy).completed(told, here).0;
        assert_eq!(completed(Policy::All), 4);
        assert_eq!([1, 2].map(|count| completed(Policy::Count(count))), [9, 7]);
        assert_eq!(completed(Policy::Named(nodes([2, 4]))), 7);
        let two = ends(3, Policy::Count(2));
        assert_eq!(two.released(told, here), Sequence(4));
        let gone = |node: NodeId| node == NodeId(3);
        assert_eq!((two.completed(told, gone), two.released(told, gone)), (Sequence(7), Sequence(7)));
        let named = ends(3, Policy::Named(nodes([3])));
        assert_eq!(named.completed(told, gone), Sequence(7), "nobody is left of whom it names");
        assert_eq!(ends(1, Policy::All).completed(marks([3]), |_| true), Sequence(0));
    }

    #[test]
    fn who_comes_late_is_asked_for_what_follows_its_joining_and_holds_what_it_owes() {
        let here = |_: NodeId| false;
        let late = |behind, joined| Late { behind: Sequence(behind), joined: Sequence(joined) };
        let of = |policy: Policy| ends(2, policy).with(NodeId(9), late(4, 10));
        let completed = |policy: Policy, upto: [u64; 3]| of(policy).completed(marks(upto), here).0;
        let released = |upto: [u64; 3]| of(Policy::All).released(marks(upto), here).0;
        assert_eq!(completed(Policy::All, [9, 8, 0]), 8, "it has no say in these");
        assert_eq!(completed(Policy::All, [12, 13, 0]), 10, "and one in what follows its joining");
        assert_eq!(completed(Policy::All, [12, 13, 11]), 11);
        assert_eq!((released([12, 13, 0]), released([12, 13, 7]), released([3, 13, 7])), (4, 7, 3));
        // It processed nothing of what is in front of its start, and does not count for what is in front of its joining.
        assert_eq!(completed(Policy::Count(1), [3, 2, 12]), 3);
        assert_eq!(completed(Policy::Count(1), [10, 2, 12]), 12);
        assert_eq!(completed(Policy::Count(2), [12, 5, 12]), 5);
        assert_eq!(completed(Policy::Named(nodes([2])), [12, 5, 0]), 12);
        // Nobody is left of those who were there before: it owes what is behind its start.
        let left = |node: NodeId| node != NodeId(9);
        assert_eq!(of(Policy::All).completed(marks([3, 2, 0]), left), Sequence(4));
        assert_eq!(of(Policy::All).completed(marks([3, 2, 6]), left), Sequence(6));
        // One after the other.
        let two = of(Policy::All).with(NodeId(10), late(15, 20));
        let upto = |told: [u64; 4]| two.completed(marks(told), here).0;
        assert_eq!((upto([30, 30, 15, 0]), upto([30, 30, 25, 0]), upto([30, 30, 25, 22])), (15, 20, 22));
        let without = two.without(|node| node == NodeId(9));
        assert_eq!((without.targets.len(), without.late), (3, [late(15, 20)].into()));
    }

    #[test]
    fn what_cannot_be_is_refused_and_what_means_the_same_is_the_same() {
        let new = |targets: Vec<NodeId>, policy| Ends::new(NodeId(1), targets, policy);
        assert_eq!(new(nodes([]), Policy::All), Err(BadEnds::NoTarget));
        assert_eq!(new(nodes(2..70), Policy::All), Err(BadEnds::TooMany));
        for twice in [nodes([2, 2]), nodes([2, 1])] {
            assert_eq!(new(twice, Policy::All), Err(BadEnds::Twice));
        }
        for policy in
            [Policy::Count(0), Policy::Count(3), Policy::Named(nodes([])), Policy::Named(nodes([4]))]
        {
            assert_eq!(new(nodes([2, 3]), policy), Err(BadEnds::Policy));
        }
        for policy in [Policy::Count(2), Policy::Named(nodes([3, 2]))] {
            assert_eq!(new(nodes([2, 3]), policy), new(nodes([2, 3]), Policy::All));
        }
        let (one, other) =
            (new(nodes([2, 3]), Policy::All).unwrap(), new(nodes([3, 2]), Policy::All).unwrap());
        assert!(one.same(&other) && one != other);
        assert!(!one.same(&new(nodes([2, 3]), Policy::Count(1)).unwrap()));
        assert!(!one.same(&new(nodes([2, 3, 4]), Policy::All).unwrap()));
        let parks = |attempts| one.clone().with_poison(Poison::Park { attempts });
        assert!(parks(3).unwrap().same(&parks(3).unwrap()) && !parks(3).unwrap().same(&one));
        for attempts in [0, ATTEMPTS_MAX + 1] {
            assert_eq!(parks(attempts), Err(BadEnds::Attempts));
        }
        for poison in [Poison::Block, Poison::Park { attempts: 3 }, Poison::Fail { attempts: 3 }] {
            let (park_after, fail_after) = poison.parts();
            assert_eq!(Poison::of(park_after, fail_after), Ok(poison));
        }
        assert_eq!(Poison::of(1, 1), Err(BadEnds::Poison));
        let fails = |attempts| one.clone().with_poison(Poison::Fail { attempts });
        assert!(fails(3).unwrap().same(&fails(3).unwrap()) && !fails(3).unwrap().same(&parks(3).unwrap()));
        assert_eq!(fails(ATTEMPTS_MAX + 1), Err(BadEnds::Attempts));
        let keeps = |messages| one.clone().keeping(Retention { messages, ..Retention::default() });
        assert!(keeps(3).unwrap().same(&keeps(3).unwrap()) && !keeps(3).unwrap().same(&one));
        assert_eq!(keeps(u64::MAX), Err(BadEnds::Retention));
        let ranked = |priority| Rank { priority, ..Rank::default() };
        assert!(one.clone().ranked(ranked(3)).same(&one.clone().ranked(ranked(3))));
        assert!(!one.clone().ranked(ranked(3)).same(&one));
        let words = |ends: &Ends| ends.words(|node| alloc::format!("n{}", node.0));
        assert_eq!(words(&one), "n1 to n2, n3");
        assert_eq!(words(&parks(3).unwrap()), "n1 to n2, n3, parks after 3 attempts");
        assert_eq!(words(&keeps(3).unwrap()), "n1 to n2, n3, keeps 3 messages");
        assert_eq!(words(&one.clone().ranked(ranked(3))), "n1 to n2, n3, priority 3");
        let both = parks(3).unwrap().ranked(ranked(3));
        assert_eq!(words(&both), "n1 to n2, n3, parks after 3 attempts, priority 3");
        assert_eq!(words(&ends(3, Policy::Count(2))), "n1 to n2, n3, n4 (2 of 3)");
        assert_eq!(words(&ends(2, Policy::Named(nodes([3])))), "n1 to n2, n3 (completed by n3)");
    }
}
