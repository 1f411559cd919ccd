//! Tenants and priorities of streams in a plan, and who pauses and throttles them.

use serde::{Deserialize, Serialize};
use wattle_core::flow::{Qos, Rank, Rate, Tenant, Which};

use super::Plan;
use crate::event::Time;
use crate::text;

/// Whose streams are, and what is said of whether, and how fast, they take messages in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowPlan {
    /// Streams that are not the default tenant's, or not of priority 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankPlan>,
    /// Which are paused, in the order of their beginning.
    pub pauses: Vec<PausePlan>,
    /// Which are throttled, from that time on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttles: Vec<ThrottlePlan>,
}

/// The rank of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankPlan {
    /// The stream of that name.
    pub stream: String,
    /// Whose it is.
    pub tenant: String,
    /// Its priority.
    pub priority: i32,
}

/// Which streams are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopePlan {
    /// The stream of that name.
    Stream(String),
    /// All of a tenant.
    Tenant(String),
    /// All of a priority below that.
    Below(i32),
}

/// Streams are paused, and resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PausePlan {
    /// Which.
    pub scope: ScopePlan,
    /// When, at the earliest: not before all nodes were members, and what was asked for before is done.
    #[serde(with = "text::time")]
    pub at: Time,
    /// For how long, at least.
    #[serde(with = "text::time")]
    pub length: Time,
    /// The node that is asked to pause them.
    pub asked_at: usize,
    /// The node that is asked to resume them.
    pub resumed_at: usize,
}

/// Streams are throttled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThrottlePlan {
    /// Which.
    pub scope: ScopePlan,
    /// When, at the earliest.
    #[serde(with = "text::time")]
    pub at: Time,
    /// The node that is asked.
    pub asked_at: usize,
    /// Messages a second; 0: any number.
    pub messages: u64,
    /// Bytes a second; 0: any number.
    pub bytes: u64,
}

fn tenant(name: &str) -> Result<Tenant, String> {
    Tenant::new(name).map_err(|refusal| refusal.to_string())
}

impl ScopePlan {
    /// As it is asked for.
    ///
    /// # Panics
    /// The plan was not checked.
    #[must_use]
    pub fn which(&self) -> Which {
        match self {
            Self::Stream(name) => Which::Stream(name.clone()),
            Self::Tenant(name) => Which::Tenant(tenant(name).expect("plans are checked")),
            Self::Below(priority) => Which::Below(*priority),
        }
    }

    /// Whether it is about the stream of that name and rank.
    #[must_use]
    pub fn covers(&self, name: &str, rank: &Rank) -> bool {
        match self {
            Self::Stream(one) => one == name,
            Self::Tenant(tenant) => tenant == rank.tenant.name(),
            Self::Below(priority) => rank.priority < *priority,
        }
    }
}

impl ThrottlePlan {
    /// How fast.
    ///
    /// # Panics
    /// The plan was not checked.
    #[must_use]
    pub fn rate(&self) -> Rate {
        Rate::new(self.messages, self.bytes).expect("plans are checked")
    }
}

impl Plan {
    /// The rank with which a stream is opened.
    ///
    /// # Panics
    /// The plan was not checked.
    #[must_use]
    pub fn rank(&self, stream: &str) -> Rank {
        let ranks = self.flow.iter().flat_map(|flow| &flow.ranks);
        let told = |rank: &RankPlan| Rank {
            tenant: tenant(&rank.tenant).expect("plans are checked"),
            qos: if rank.priority > 0 { Qos::Priority } else { Qos::Bulk },
            priority: rank.priority,
        };
        ranks.into_iter().find(|rank| rank.stream == stream).map(told).unwrap_or_default()
    }

    /// Drops what is said of streams that there are not.
    pub(crate) fn drop_idle_flow(&mut self) {
        let known: Vec<String> = self.streams.iter().map(|stream| stream.name.clone()).collect();
        let there = |scope: &ScopePlan| match scope {
            ScopePlan::Stream(name) => known.contains(name),
            ScopePlan::Tenant(_) | ScopePlan::Below(_) => true,
        };
        if let Some(flow) = &mut self.flow {
            flow.ranks.retain(|rank| known.contains(&rank.stream));
            flow.pauses.retain(|pause| there(&pause.scope));
            flow.throttles.retain(|throttle| there(&throttle.scope));
        }
        let idle = |flow: &mut FlowPlan| flow.pauses.is_empty() && flow.throttles.is_empty();
        self.flow.take_if(idle);
    }

    pub(super) fn check_flow(&self) -> Result<(), String> {
        let Some(flow) = &self.flow else { return Ok(()) };
        let stream = |name: &String| match self.stream_named(name) {
            Some(_) => Ok(()),
            None => Err(format!("flow is about stream {name}, and there is none of that name")),
        };
        let scope = |scope: &ScopePlan| match scope {
            ScopePlan::Stream(name) => stream(name),
            ScopePlan::Tenant(name) => tenant(name).map(|_| ()),
            ScopePlan::Below(_) => Ok(()),
        };
        for rank in &flow.ranks {
            stream(&rank.stream)?;
            tenant(&rank.tenant)?;
        }
        for pause in &flow.pauses {
            scope(&pause.scope)?;
            self.known(pause.asked_at, "whom the operator asks to pause streams")?;
            self.known(pause.resumed_at, "whom the operator asks to resume streams")?;
        }
        for throttle in &flow.throttles {
            scope(&throttle.scope)?;
            self.known(throttle.asked_at, "whom the operator asks to throttle streams")?;
            Rate::new(throttle.messages, throttle.bytes).map_err(|refusal| refusal.to_string())?;
        }
        if !self.departures.is_empty() || self.recovery.is_some() || self.seal.is_some() {
            let what = "streams are paused, or members and quorums are lost: not both in one plan";
            return Err(what.into());
        }
        Ok(())
    }
}
