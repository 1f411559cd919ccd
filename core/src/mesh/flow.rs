//! Whether, and how fast, streams take messages in: what operators say of that, in the replicated state and at each node.
//!
//! A rule counts at a source once that has applied its entry. So that a start goes by it before it has heard how far the log is committed, the rules are written beside the
//! stored state whenever they change (M82): they are few and small. Until the log is applied up to there again, what was written counts.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use prost::Message as _;
use wattle_proto::mesh as proto;

use super::entry::Body;
use super::failing::{failed_in, failed_out};
use super::state::{Effect, State};
use super::store::Space;
use super::wire::{Malformed, TEXT_MAX, id_bytes, node, text};
use super::{Awaited, Input, Mesh, Output};
use crate::flow::{
    FlowChange, FlowRefusal, FlowTold, FlowWish, Qos, RULES_MAX, Rank, Rate, Rule, Rules, Said, Scope,
    Tenant, Which,
};
use crate::id::{LogIndex, RequestId, StreamInstance};
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::time::{Now, Wall};

/// The rules of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The rules.
    pub rules: Rules,
    /// The entry that last changed one of them.
    pub changed: LogIndex,
}

impl Flow {
    /// A stream is closed: nothing is said of it any more.
    pub(super) fn stream_closed(&mut self, index: LogIndex, instance: StreamInstance) {
        let scope = Scope::Stream(instance);
        if self.rules.get(&scope).is_some() {
            self.rules.put(scope, Rule::default());
            self.changed = index;
        }
    }
}

impl Body {
    /// The same, to be done only if the stream that it is about is that tenant's.
    pub(super) fn within(self, tenant: Option<Tenant>) -> Self {
        match tenant {
            Some(tenant) if self.stream().is_some() => Self::Within { tenant, body: Box::new(self) },
            _ => self,
        }
    }

    /// What is to be done, whoever's it must be.
    #[must_use]
    pub fn inner(&self) -> &Self {
        if let Self::Within { body, .. } = self { body } else { self }
    }

    pub(super) fn inner_mut(&mut self) -> &mut Self {
        if let Self::Within { body, .. } = self { body } else { self }
    }

    /// The open stream that it is about, by name.
    pub(super) fn stream(&self) -> Option<&str> {
        match self {
            Self::Close { name } | Self::SealStream { name, .. } => Some(name),
            Self::ChangeMembers(wish) => Some(&wish.stream),
            Self::Flow(wish) => match &wish.which {
                Which::Stream(name) => Some(name),
                Which::Tenant(_) | Which::Below(_) => None,
            },
            _ => None,
        }
    }
}

impl State {
    /// Whether something about the stream of that name may be done for that tenant. Where there is no such stream, it is not for this to say so.
    pub(super) fn is_within(&self, tenant: &Tenant, stream: &str) -> Result<(), Refusal> {
        let Some(stream) = self.streams.get(stream) else { return Ok(()) };
        let of = &stream.ends.rank.tenant;
        if of == tenant {
            return Ok(());
        }
        rare!(WrongTenantNamed);
        let (stream, tenant, named) = (stream.name.clone(), of.clone(), tenant.clone());
        Err(FlowRefusal::WrongTenant { stream, tenant, named }.into())
    }

    /// What streams a wish is about.
    fn scope(&self, which: &Which) -> Result<Scope, Refusal> {
        match which {
            Which::Stream(name) => match self.streams.get(name) {
                Some(stream) => Ok(Scope::Stream(stream.instance)),
                None => Err(Refusal::UnknownStream(name.clone())),
            },
            Which::Tenant(tenant) => Ok(Scope::Tenant(tenant.clone())),
            Which::Below(priority) => Ok(Scope::Below(*priority)),
        }
    }

    pub(super) fn change_flow(
        &mut self,
        index: LogIndex,
        origin: crate::id::NodeId,
        wish: &FlowWish,
    ) -> Result<Effect, Refusal> {
        let scope = self.scope(&wish.which)?;
        let said = Said { at: origin, time: self.time };
        let before = self.flow.rules.get(&scope).cloned().unwrap_or_default();
        let mut rule = before.clone();
        match wish.change {
            FlowChange::Pause => rule.paused = rule.paused.or(Some(said)),
            FlowChange::Resume => {
                rule.paused = None;
                let failed = rule.failed.take();
                if let Some(failed) = failed {
                    self.resume_failed(&wish.which, failed.at.resumed);
                }
            }
            FlowChange::Throttle(rate) => {
                rule.rate = rule.rate.filter(|(known, _)| *known == rate).or(Some((rate, said)));
            }
            FlowChange::Unthrottle => rule.rate = None,
        }
        if self.flow.rules.len() >= RULES_MAX && before.is_empty() && !rule.is_empty() {
            return Err(FlowRefusal::TooMany.into());
        }
        let changed = rule != before;
        if changed {
            let with_it = || self.rule_of_tenant(&scope).is_some_and(|(_, rule)| rule.paused.is_some());
            let resumed = wish.change == FlowChange::Resume;
            if resumed
                && self.planted.strikes(Bug::ResumedTogether, with_it)
                && let Some((tenant, rule)) = self.rule_of_tenant(&scope)
            {
                self.flow.rules.put(tenant, Rule { paused: None, ..rule });
            }
            self.flow.rules.put(scope.clone(), rule);
            self.flow.changed = index;
        }
        Ok(Effect::Flow { scope, changed })
    }

    /// The rule about the tenant of the stream that a rule is about.
    fn rule_of_tenant(&self, scope: &Scope) -> Option<(Scope, Rule)> {
        let Scope::Stream(instance) = scope else { return None };
        let tenant = Scope::Tenant(self.stream_of(*instance)?.ends.rank.tenant.clone());
        let rule = self.flow.rules.get(&tenant)?.clone();
        Some((tenant, rule))
    }

    /// What to say of such a wish that was decided before.
    pub(super) fn recall_flow(&self, wish: &FlowWish, done: bool) -> Result<Effect, Refusal> {
        let scope = self.scope(&wish.which).ok().filter(|_| done).ok_or(Refusal::Busy)?;
        Ok(Effect::Flow { scope, changed: false })
    }

    /// Whether the rules of a state that came are about what is in it.
    pub(super) fn flow_fits(&self) -> bool {
        let known = |scope: &Scope| match scope {
            Scope::Stream(instance) => self.stream_of(*instance).is_some(),
            Scope::Tenant(_) | Scope::Below(_) => true,
        };
        self.flow.changed <= self.applied
            && self.flow.rules.iter().all(|(scope, rule)| known(scope) && self.failed_fits(scope, rule))
    }

    pub(super) fn check_flow(&self) {
        let Flow { rules, changed } = &self.flow;
        assert!(rules.len() <= RULES_MAX, "M81: rules are bounded");
        assert!(*changed <= self.applied, "M1: no rule comes from entries not applied");
        for (scope, rule) in rules.iter() {
            assert!(!rule.is_empty(), "M81: the rule about {scope:?} says nothing");
            self.check_failed(scope, rule);
            if let Scope::Stream(instance) = scope {
                assert!(self.stream_of(*instance).is_some(), "M81: a rule about {instance}, which is closed");
            }
        }
    }
}

/// What a node told the rest of itself of rules, and wrote of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Flowing {
    /// Up to this entry, changes of rules were told.
    told: LogIndex,
    /// What the last life knew, while this one has not come so far.
    recalled: Option<Box<Flow>>,
    /// The mark on disk is of this entry; 0 if there is none.
    marked: LogIndex,
}

impl Flowing {
    pub(super) fn restore(&mut self, head: &[u8]) -> Result<(), Malformed> {
        let stored = proto::FlowMark::decode(head).map_err(|_| Malformed("mark of rules"))?;
        let flow = flow_in(stored.index, stored.rules)?;
        self.marked = flow.changed;
        self.recalled = Some(Box::new(flow));
        Ok(())
    }
}

impl Mesh {
    pub(super) fn on_within(&mut self, now: Now, tenant: Tenant, input: Input) {
        let tenant = Some(tenant);
        match input {
            Input::CloseStream { request, name } => {
                self.on_client_request(now, request, Body::Close { name }.within(tenant));
            }
            Input::SealStream { request, name, lost } => {
                self.on_seal_stream(now, request, tenant, name, lost);
            }
            Input::ChangeMembers { request, wish } => self.on_change_members(now, request, tenant, wish),
            Input::ChangeFlow { request, wish } => self.on_change_flow(now, request, tenant, wish),
            // Nothing else that is asked for is about an open stream.
            other => self.handle(now, other),
        }
    }

    pub(super) fn on_change_flow(
        &mut self,
        now: Now,
        request: RequestId,
        tenant: Option<Tenant>,
        wish: FlowWish,
    ) {
        if matches!(&wish.which, Which::Stream(name) if name.len() > TEXT_MAX) {
            return self.reply(request, Err(Refusal::Invalid("a stream's name is too long".into())));
        }
        self.on_client_request(now, request, Body::Flow(Box::new(wish)).within(tenant));
    }

    /// Rules may have changed: the rest of the node is told, and the next start is.
    pub(super) fn flow_changed(&mut self) {
        let applied = self.state.applied;
        self.flowing.recalled.take_if(|recalled| recalled.changed <= applied);
        let changed = self.flow().changed;
        if self.flowing.told == changed {
            return;
        }
        self.flowing.told = changed;
        let rules = self.flow().rules.clone();
        self.outputs.push_back(Output::Rules(rules));
        if changed > self.stored && changed > self.flowing.marked {
            self.flowing.marked = changed;
            if !self.planted.has(Bug::RulesNotWritten) {
                self.outputs.push_back(Output::Persist(mark_record(&self.state.flow)));
            }
        }
    }

    /// The rules that count here.
    fn flow(&self) -> &Flow {
        self.flowing.recalled.as_deref().unwrap_or(&self.state.flow)
    }

    /// What counts here of whether, and how fast, streams take messages in.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.flow().rules
    }

    /// Tells a client what the rule about these streams says, once that is on disk.
    pub(super) fn flow_reply(&mut self, request: RequestId, scope: &Scope) {
        let rules = self.rules();
        let rule = rules.get(scope).cloned().unwrap_or_default();
        let mut told = FlowTold { rule, streams: 0, paused: 0, resumed: 0, still: None };
        for stream in self.state.streams.values() {
            let (instance, rank) = (stream.instance, &stream.ends.rank);
            if scope.covers(instance, rank) {
                told.streams += 1;
                told.paused += u64::from(rules.pausing(instance, rank).is_some());
                let others = rules.of(instance, rank).filter(|(other, _)| *other != scope);
                let still = others.into_iter().find(|(_, rule)| rule.paused.is_some());
                if *scope == Scope::Stream(instance) {
                    told.still = still.map(|(scope, _)| scope.clone());
                    told.resumed = stream.resumed;
                }
            }
        }
        self.when_durable(Awaited::Reply(request, Ok(Reply::Flow(Box::new(told)))));
    }

    /// The stored state says what the mark does.
    pub(super) fn drop_flow_mark(&mut self) {
        if self.flowing.marked <= self.stored {
            self.flowing.recalled = None;
            self.forget_flow_mark();
        }
    }

    pub(super) fn forget_flow_mark(&mut self) {
        if core::mem::take(&mut self.flowing.marked) > LogIndex(0) {
            self.outputs.push_back(Output::Forget(Space::Flow.forget(0)));
        }
    }

    /// Nothing of the mesh counts any more.
    pub(super) fn forget_flow(&mut self) {
        if core::mem::take(&mut self.flowing).told > LogIndex(0) {
            self.outputs.push_back(Output::Rules(Rules::default()));
        }
    }

    pub(super) fn check_flowing(&self) {
        let (flow, stored, marked) = (self.flow(), self.stored, self.flowing.marked);
        if self.membership.is_none() {
            return;
        }
        assert_eq!(self.flowing.told, flow.changed, "M82: rules are told as they count");
        let written = flow.changed <= stored || flow.changed == marked;
        assert!(written, "M82: the next start would not know the rules of entry {}", flow.changed);
    }
}

fn mark_record(flow: &Flow) -> Record {
    let stored = proto::FlowMark { index: flow.changed.0, rules: rules_out(&flow.rules) };
    Record::state(Space::Flow.key(0), stored.encode_to_vec().into())
}

pub(super) fn tenant(name: &str) -> Result<Tenant, Malformed> {
    Tenant::new(name).map_err(|_| Malformed("a tenant"))
}

pub(super) fn rank_out(rank: &Rank) -> Option<proto::Rank> {
    let tenant = if rank.tenant.is_default() { "" } else { rank.tenant.name() };
    let told = || proto::Rank { tenant: tenant.into(), qos: rank.qos as u32, priority: rank.priority };
    (*rank != Rank::default()).then(told)
}

pub(super) fn rank_in(rank: Option<&proto::Rank>) -> Result<Rank, Malformed> {
    let Some(rank) = rank else { return Ok(Rank::default()) };
    let qos = match rank.qos {
        0 => Qos::Bulk,
        1 => Qos::Priority,
        _ => return Err(Malformed("the class of a stream")),
    };
    let tenant = if rank.tenant.is_empty() { Tenant::default() } else { tenant(&rank.tenant)? };
    Ok(Rank { tenant, qos, priority: rank.priority })
}

pub(super) fn wish_out(wish: &FlowWish) -> proto::FlowWish {
    use proto::flow_wish::Which as W;
    let which = match &wish.which {
        Which::Stream(name) => W::Stream(name.clone()),
        Which::Tenant(tenant) => W::Tenant(tenant.to_string()),
        Which::Below(priority) => W::Below(*priority),
    };
    let (change, rate) = match wish.change {
        FlowChange::Pause => (1, None),
        FlowChange::Resume => (2, None),
        FlowChange::Throttle(rate) => (3, Some(rate)),
        FlowChange::Unthrottle => (4, None),
    };
    let (messages, bytes) = rate_out(rate);
    proto::FlowWish { which: Some(which), change, messages, bytes }
}

pub(super) fn wish_in(wish: proto::FlowWish) -> Result<FlowWish, Malformed> {
    use proto::flow_wish::Which as W;
    let which = match wish.which.ok_or(Malformed("which streams a rule is about"))? {
        W::Stream(name) => Which::Stream(text(name, TEXT_MAX)?),
        W::Tenant(name) => Which::Tenant(tenant(&name)?),
        W::Below(priority) => Which::Below(priority),
    };
    let change = match wish.change {
        1 => FlowChange::Pause,
        2 => FlowChange::Resume,
        3 => FlowChange::Throttle(rate_in(wish.messages, wish.bytes)?),
        4 => FlowChange::Unthrottle,
        _ => return Err(Malformed("what becomes of a rule")),
    };
    Ok(FlowWish { which, change })
}

fn rate_out(rate: Option<Rate>) -> (u64, u64) {
    let Rate { messages, bytes } = rate.unwrap_or_default();
    (messages.map_or(0, Into::into), bytes.map_or(0, Into::into))
}

fn rate_in(messages: u64, bytes: u64) -> Result<Rate, Malformed> {
    Rate::new(messages, bytes).map_err(|_| Malformed("a rate"))
}

fn said_out(said: Said) -> proto::FlowSaid {
    proto::FlowSaid { at: id_bytes(said.at.to_bytes()), time: said.time.0 }
}

fn said_in(said: &proto::FlowSaid) -> Result<Said, Malformed> {
    Ok(Said { at: node(&said.at)?, time: Wall(said.time) })
}

pub(super) fn rules_out(rules: &Rules) -> Vec<proto::FlowRule> {
    use proto::flow_rule::Scope as S;
    let rule = |(scope, rule): (&Scope, &Rule)| {
        let scope = match scope {
            Scope::Stream(instance) => S::Stream(id_bytes(instance.to_bytes())),
            Scope::Tenant(tenant) => S::Tenant(tenant.to_string()),
            Scope::Below(priority) => S::Below(*priority),
        };
        let (messages, bytes) = rate_out(rule.rate.map(|(rate, _)| rate));
        let (paused, throttled) = (rule.paused.map(said_out), rule.rate.map(|(_, said)| said_out(said)));
        let failed = rule.failed.as_deref().map(failed_out);
        proto::FlowRule { scope: Some(scope), paused, throttled, messages, bytes, failed }
    };
    rules.iter().map(rule).collect()
}

pub(super) fn flow_in(changed: u64, stored: Vec<proto::FlowRule>) -> Result<Flow, Malformed> {
    use proto::flow_rule::Scope as S;
    if stored.len() > RULES_MAX {
        return Err(Malformed("too many rules about streams"));
    }
    let mut rules = Rules::default();
    for rule in stored {
        let scope = match rule.scope.ok_or(Malformed("what streams a rule is about"))? {
            S::Stream(instance) => {
                Scope::Stream(StreamInstance::from_slice(&instance).ok_or(Malformed("stream instance"))?)
            }
            S::Tenant(name) => Scope::Tenant(tenant(&name)?),
            S::Below(priority) => Scope::Below(priority),
        };
        let paused = rule.paused.as_ref().map(said_in).transpose()?;
        let throttled = rule.throttled.as_ref().map(said_in).transpose()?;
        let rate = throttled.map(|said| Ok((rate_in(rule.messages, rule.bytes)?, said))).transpose()?;
        let failed = rule.failed.map(|failed| failed_in(failed).map(Box::new)).transpose()?;
        let about_one = matches!(scope, Scope::Stream(_)) || failed.is_none();
        let read = Rule { paused, rate, failed };
        if !about_one || read.is_empty() || rules.get(&scope).is_some() {
            return Err(Malformed("a rule says nothing, or stands twice"));
        }
        rules.put(scope, read);
    }
    Ok(Flow { rules, changed: LogIndex(changed) })
}
