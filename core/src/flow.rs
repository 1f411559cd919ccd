//! Whose a stream is and what ranks it, and what operators say about whether, and how fast, streams take messages in.
//!
//! A rule is about one stream, about all of a tenant, or about all below a priority; those that are opened later included. It pauses them, or bounds their rate, or both. A
//! stream goes by all rules that are about it: it is paused while one of them pauses it, and takes in what every one of them allows.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use core::fmt;
use core::num::NonZeroU64;
use core::ops::Bound;

use crate::id::{NodeId, Sequence, StreamInstance};
use crate::time::{Span, Wall};

/// Longest name of a tenant.
pub const TENANT_MAX: usize = 64;
/// The tenant of streams that name none.
pub const DEFAULT_TENANT: &str = "default";
/// Most rules of a mesh: each is part of its replicated state, and every source knows them all.
pub const RULES_MAX: usize = 1_024;
/// Most bytes of what a handler says that is agreed on when a stream fails.
pub const FAILED_REASON_MAX: usize = 256;
/// How much of what a rate allows in one second may come at once after a rest: all of it.
pub const BURST: Span = Span::secs(1);

/// Whose a stream is. Streams that nobody said that of are the default tenant's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant(Option<Box<str>>);

impl Tenant {
    /// The tenant of that name: 1 to [`TENANT_MAX`] characters out of `A-Z a-z 0-9 . _ -`.
    ///
    /// # Errors
    /// It is not one.
    pub fn new(name: &str) -> Result<Self, FlowRefusal> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(1..=TENANT_MAX).contains(&name.len()) || !name.bytes().all(word) {
            return Err(FlowRefusal::BadTenant(name.chars().take(TENANT_MAX).collect()));
        }
        Ok(Self((name != DEFAULT_TENANT).then(|| name.into())))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.as_deref().unwrap_or(DEFAULT_TENANT)
    }

    /// Whether it is the tenant of streams that name none.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The class of service of a stream. A third one, SYSTEM, is the mesh's own and no stream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// Much, and not urgent.
    #[default]
    Bulk,
    /// Urgent.
    Priority,
}

impl Qos {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "BULK",
            Self::Priority => "PRIORITY",
        }
    }
}

/// Whose a stream is, and what ranks it among others: said when it is opened, for all its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rank {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its class of service.
    pub qos: Qos,
    /// Higher is more important.
    pub priority: i32,
}

impl Rank {
    /// In words, unless it is that of a stream that nobody said anything of: "of tenant acme, PRIORITY, priority 3".
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let tenant = (!self.tenant.is_default()).then(|| alloc::format!("of tenant {}", self.tenant));
        let qos = (self.qos != Qos::Bulk).then(|| self.qos.name().to_string());
        let priority = (self.priority != 0).then(|| alloc::format!("priority {}", self.priority));
        let words: alloc::vec::Vec<String> = tenant.into_iter().chain(qos).chain(priority).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// Which streams a rule is about, as an operator says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The open stream of that name.
    Stream(String),
    /// All of a tenant.
    Tenant(Tenant),
    /// All whose priority is below that.
    Below(i32),
}

/// Which streams a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One life of a stream.
    Stream(StreamInstance),
    /// All of a tenant.
    Tenant(Tenant),
    /// All whose priority is below that. Stands last: the rules about a priority are those from one on.
    Below(i32),
}

impl Scope {
    /// Whether it is about that stream.
    #[must_use]
    pub fn covers(&self, instance: StreamInstance, rank: &Rank) -> bool {
        match self {
            Self::Stream(one) => *one == instance,
            Self::Tenant(tenant) => *tenant == rank.tenant,
            Self::Below(priority) => rank.priority < *priority,
        }
    }

    /// How a command names it, about a stream of that name.
    #[must_use]
    pub fn option(&self, stream: &str) -> String {
        match self {
            Self::Stream(_) => stream.into(),
            Self::Tenant(tenant) => alloc::format!("--tenant {tenant}"),
            Self::Below(priority) => alloc::format!("--priority-below {priority}"),
        }
    }
}

/// How fast streams may take messages in, in each second. At least one of the two is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Messages.
    pub messages: Option<NonZeroU64>,
    /// Bytes of messages.
    pub bytes: Option<NonZeroU64>,
}

impl Rate {
    /// So many of each; 0: any number.
    ///
    /// # Errors
    /// It bounds nothing.
    pub fn new(messages: u64, bytes: u64) -> Result<Self, FlowRefusal> {
        let rate = Self { messages: NonZeroU64::new(messages), bytes: NonZeroU64::new(bytes) };
        if rate == Self::default() { Err(FlowRefusal::NoRate) } else { Ok(rate) }
    }

    /// In words: "100 messages and 4096 bytes a second".
    #[must_use]
    pub fn words(&self) -> String {
        let said =
            |count: Option<NonZeroU64>, what: &str| count.map(|count| alloc::format!("{count} {what}"));
        let both = [said(self.messages, "messages"), said(self.bytes, "bytes")];
        let both: alloc::vec::Vec<String> = both.into_iter().flatten().collect();
        alloc::format!("{} a second", both.join(" and "))
    }
}

/// By whom something was said, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The node that was asked.
    pub at: NodeId,
    /// When, by the clock of the control group.
    pub time: Wall,
}

/// At which message a target's handler failed, as often as the policy of its stream bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAt {
    /// The message.
    pub sequence: Sequence,
    /// How often, since the stream was resumed last.
    pub attempts: u32,
    /// What the handler said last, in no more than [`FAILED_REASON_MAX`] bytes.
    pub reason: String,
    /// How often the stream had been resumed by then, as the target knew: whoever knows of a later resume heeds this no more.
    pub resumed: u64,
}

/// Why a stream failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Whose handler.
    pub target: NodeId,
    /// At what.
    pub at: FailedAt,
    /// When, by the clock of the control group.
    pub time: Wall,
}

/// What is said of the streams of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// They take nothing in.
    pub paused: Option<Said>,
    /// They take no more in than that, all of them together at each source.
    pub rate: Option<(Rate, Said)>,
    /// Of one stream: it failed, and takes nothing in.
    pub failed: Option<Box<Failed>>,
}

impl Rule {
    /// Whether it says nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.paused.is_none() && self.rate.is_none() && self.failed.is_none()
    }
}

/// A change of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowChange {
    /// Nothing more is taken in.
    Pause,
    /// It is again, as far as this rule goes.
    Resume,
    /// No more than that is.
    Throttle(Rate),
    /// As much as may be is.
    Unthrottle,
}

/// A change of a rule that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowWish {
    /// About which streams.
    pub which: Which,
    /// What.
    pub change: FlowChange,
}

/// What became of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTold {
    /// What the rule says now.
    pub rule: Rule,
    /// How many open streams it is about.
    pub streams: u64,
    /// How many of these are paused, by it or by others.
    pub paused: u64,
    /// Of one stream: how often it was resumed after it had failed.
    pub resumed: u64,
    /// Of one stream: the first other rule that pauses it.
    pub still: Option<Scope>,
}

/// All rules, each under what it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(BTreeMap<Scope, Rule>);

impl Rules {
    /// Those about one stream, those that are about it alone first.
    pub fn of(&self, instance: StreamInstance, rank: &Rank) -> impl Iterator<Item = (&Scope, &Rule)> {
        let any = !self.0.is_empty();
        let one = any.then(|| self.0.get_key_value(&Scope::Stream(instance))).flatten();
        let tenant = any.then(|| self.0.get_key_value(&Scope::Tenant(rank.tenant.clone()))).flatten();
        let above = (Bound::Excluded(Scope::Below(rank.priority)), Bound::Unbounded);
        one.into_iter().chain(tenant).chain(self.0.range(above))
    }

    /// Which rule pauses a stream, if one does.
    #[must_use]
    pub fn pausing(&self, instance: StreamInstance, rank: &Rank) -> Option<(&Scope, Said)> {
        self.of(instance, rank).find_map(|(scope, rule)| Some((scope, rule.paused?)))
    }

    /// Why a stream failed, if it did and was not resumed.
    #[must_use]
    pub fn failed(&self, instance: StreamInstance) -> Option<&Failed> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&Scope::Stream(instance))?.failed.as_deref()
    }

    /// Which rules bound the rate of a stream.
    pub fn throttling(&self, instance: StreamInstance, rank: &Rank) -> impl Iterator<Item = (&Scope, Rate)> {
        self.of(instance, rank).filter_map(|(scope, rule)| Some((scope, rule.rate?.0)))
    }

    /// The rule about just that.
    #[must_use]
    pub fn get(&self, scope: &Scope) -> Option<&Rule> {
        self.0.get(scope)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Scope, &Rule)> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a rule in the place of the one about that; one that says nothing goes.
    pub(crate) fn put(&mut self, scope: Scope, rule: Rule) {
        if rule.is_empty() {
            self.0.remove(&scope);
        } else {
            self.0.insert(scope, rule);
        }
    }
}

/// Why a stream takes nothing in now, or an operator's wish about that is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowRefusal {
    /// The stream is another tenant's than was named.
    #[error(
        "stream {stream:?} is tenant {tenant}'s, not {named}'s, and nothing was done: name the stream that you mean, or its own tenant (--tenant {tenant}), or none"
    )]
    WrongTenant {
        /// The stream's name.
        stream: String,
        /// Whose it is.
        tenant: Tenant,
        /// Who was named.
        named: Tenant,
    },
    /// A rule pauses the stream.
    #[error(
        "stream {stream:?} is paused, as was asked for at node {}: it takes nothing more in until `wattle stream resume {}`; what it accepted goes on its way, and publishing again after that doubles nothing",
        name.as_deref().map_or_else(|| said.at.to_string(), Into::into),
        scope.option(stream)
    )]
    Paused {
        /// Its name.
        stream: String,
        /// Which rule.
        scope: Scope,
        /// By whom and when.
        said: Said,
        /// The name of the node that was asked, where it is known.
        name: Option<String>,
    },
    /// The stream failed, as its policy says.
    #[error(
        "stream {stream:?} failed: the handler at node {} failed {} times at message {}, and said last: {:?}. It takes nothing more in, and the message is not tried again, until \
         `wattle stream resume {stream}`, which tries it again: see to the handler before that",
        name.as_deref().map_or_else(|| failed.target.to_string(), Into::into),
        failed.at.attempts,
        failed.at.sequence,
        failed.at.reason
    )]
    Failed {
        /// Its name.
        stream: String,
        /// At what.
        failed: Box<Failed>,
        /// The name of the target's node, where it is known.
        name: Option<String>,
    },
    /// Rules bound the rate of the stream.
    #[error(
        "stream {stream:?} takes no more than {} in (`wattle stream throttle {}` changes that): publish again in {} ms",
        rate.words(),
        scope.option(stream),
        again.as_nanos().div_ceil(1_000_000)
    )]
    Throttled {
        /// Its name.
        stream: String,
        /// Which of them is the last to let more in.
        scope: Scope,
        /// What it says.
        rate: Rate,
        /// How long that takes.
        again: Span,
    },
    /// What does not name a tenant.
    #[error("a tenant's name has 1 to {TENANT_MAX} characters out of A-Z a-z 0-9 . _ -; {0:?} does not fit")]
    BadTenant(String),
    /// A rate that bounds nothing.
    #[error("say how many messages or bytes a second: at least 1 of one of them; --off takes the bound away")]
    NoRate,
    /// As many rules as may be.
    #[error(
        "the mesh has {RULES_MAX} rules about streams that are paused or throttled, the most it may have: take some away, or make one about a tenant or a priority"
    )]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn said() -> Said {
        Said { at: NodeId(1), time: Wall(1) }
    }

    fn pauses() -> Rule {
        Rule { paused: Some(said()), ..Rule::default() }
    }

    fn rank(tenant: &str, priority: i32) -> Rank {
        Rank { tenant: Tenant::new(tenant).unwrap(), qos: Qos::Bulk, priority }
    }

    #[test]
    fn a_stream_goes_by_the_rules_about_it_its_tenant_and_its_priority() {
        let mut rules = Rules::default();
        let acme = Tenant::new("acme").unwrap();
        let scopes = [
            Scope::Stream(StreamInstance(7)),
            Scope::Tenant(acme.clone()),
            Scope::Below(-3),
            Scope::Below(0),
            Scope::Below(5),
        ];
        for scope in &scopes {
            rules.put(scope.clone(), pauses());
        }
        for instance in [7, 8] {
            for tenant in ["acme", "other", "default"] {
                for priority in [i32::MIN, -4, -3, -1, 0, 4, 5, i32::MAX] {
                    let (instance, rank) = (StreamInstance(instance), rank(tenant, priority));
                    let found: Vec<&Scope> = rules.of(instance, &rank).map(|(scope, _)| scope).collect();
                    let expected: Vec<&Scope> =
                        scopes.iter().filter(|scope| scope.covers(instance, &rank)).collect();
                    assert_eq!(found, expected, "{instance:?} {rank:?}");
                    assert_eq!(
                        rules.pausing(instance, &rank).map(|(scope, _)| scope),
                        expected.first().copied()
                    );
                }
            }
        }
        for scope in &scopes {
            rules.put(scope.clone(), Rule::default());
        }
        assert!(rules.is_empty(), "what says nothing is no rule");
        assert_eq!(rules.of(StreamInstance(7), &rank("acme", -9)).count(), 0);
    }

    #[test]
    fn tenants_and_rates_are_what_they_are_called() {
        assert_eq!(Tenant::new(DEFAULT_TENANT), Ok(Tenant::default()));
        assert_eq!(Tenant::new("acme").unwrap().name(), "acme");
        assert_eq!(Tenant::default().name(), DEFAULT_TENANT);
        for bad in ["", "a b", "ü", &"x".repeat(TENANT_MAX + 1)] {
            assert!(matches!(Tenant::new(bad), Err(FlowRefusal::BadTenant(_))), "{bad:?}");
        }
        assert_eq!(Rate::new(0, 0), Err(FlowRefusal::NoRate));
        assert_eq!(Rate::new(5, 100).unwrap().words(), "5 messages and 100 bytes a second");
        assert_eq!(Rate::new(0, 100).unwrap().words(), "100 bytes a second");
        assert_eq!(Rank::default().words(), None);
        let urgent = Rank { qos: Qos::Priority, ..rank("acme", 3) };
        assert_eq!(urgent.words().unwrap(), "of tenant acme, PRIORITY, priority 3");
    }

    #[test]
    fn a_refusal_says_how_to_go_on() {
        let stream = "orders".to_string();
        let scope = Scope::Tenant(Tenant::new("acme").unwrap());
        let name = Some("b".to_string());
        let paused = FlowRefusal::Paused { stream: stream.clone(), scope: scope.clone(), said: said(), name };
        let text = paused.to_string();
        assert!(
            text.contains("at node b:") && text.contains("`wattle stream resume --tenant acme`"),
            "{text}"
        );
        let (rate, again) = (Rate::new(2, 0).unwrap(), Span::micros(1_500));
        let text = FlowRefusal::Throttled { stream, scope, rate, again }.to_string();
        assert!(text.contains("2 messages a second") && text.contains("in 2 ms"), "{text}");
        assert_eq!(Scope::Stream(StreamInstance(1)).option("orders"), "orders");
        assert_eq!(Scope::Below(-2).option("orders"), "--priority-below -2");
    }
}
