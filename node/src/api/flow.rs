//! Tenants, ranks, and whether and how fast streams take messages in, between the API and the core.

use bytes::Bytes;
use tonic::{Code, Status};
use wattle_core::flow::{
    Failed, FailedAt, FlowChange, FlowRefusal, FlowTold, FlowWish, Qos, Rank, Rate, Rule, Said, Scope,
    Tenant, Which,
};
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_proto::api;
use wattle_proto::api::flow_scope::Which as Named;
use wattle_proto::api::{ErrorDetail, Reason, StreamQos};

use super::errors;
use super::mesh::{ask, out_of_place};
use crate::world::World;

fn refused(refusal: FlowRefusal) -> Status {
    errors::status(&Refusal::Flow(refusal))
}

/// Whose a stream must be, if that is said.
///
/// # Errors
/// It does not name a tenant.
pub(super) fn tenant(name: &str) -> Result<Option<Tenant>, Status> {
    if name.is_empty() { Ok(None) } else { Tenant::new(name).map(Some).map_err(refused) }
}

/// The same command, to be done only for that tenant, if one is named.
///
/// # Errors
/// It does not name a tenant.
pub(super) fn within(name: &str, command: Command) -> Result<Command, Status> {
    let tenant = tenant(name)?;
    Ok(match tenant {
        Some(tenant) => Command::Within { tenant, command: Box::new(command) },
        None => command,
    })
}

/// Whose a stream that is opened is to be, and what ranks it.
///
/// # Errors
/// It cannot be that.
pub(super) fn rank(name: &str, qos: i32, priority: i32) -> Result<Rank, Status> {
    let qos = match StreamQos::try_from(qos) {
        Ok(StreamQos::Unspecified | StreamQos::Bulk) => Qos::Bulk,
        Ok(StreamQos::Priority) => Qos::Priority,
        Ok(StreamQos::System) => {
            let what = "SYSTEM is the class of what the mesh itself says, and no stream's: open it with PRIORITY or BULK";
            return Err(errors::invalid(what));
        }
        Err(_) => return Err(errors::invalid(format!("there is no class of service {qos}"))),
    };
    Ok(Rank { tenant: tenant(name)?.unwrap_or_default(), qos, priority })
}

/// The class of a stream, on the wire.
pub(super) const fn qos_out(qos: Qos) -> StreamQos {
    match qos {
        Qos::Bulk => StreamQos::Bulk,
        Qos::Priority => StreamQos::Priority,
    }
}

/// What a rule is about. A stream goes by its name there.
pub(super) fn scope_out(scope: &Scope, stream: &str) -> api::FlowScope {
    let which = match scope {
        Scope::Stream(_) => Named::Name(stream.to_owned()),
        Scope::Tenant(tenant) => Named::Tenant(tenant.to_string()),
        Scope::Below(priority) => Named::PriorityBelow(*priority),
    };
    api::FlowScope { which: Some(which) }
}

fn said(said: Said) -> api::FlowSaid {
    api::FlowSaid { at: Bytes::copy_from_slice(&said.at.to_bytes()), time: said.time.0 }
}

/// A rule.
pub(super) fn rule_out(scope: api::FlowScope, rule: &Rule) -> api::FlowRule {
    let Rate { messages, bytes } = rule.rate.map(|(rate, _)| rate).unwrap_or_default();
    api::FlowRule {
        scope: Some(scope),
        paused: rule.paused.map(said),
        throttled: rule.rate.map(|(_, by)| said(by)),
        messages: messages.map_or(0, Into::into),
        bytes: bytes.map_or(0, Into::into),
        failed: rule.failed.as_deref().map(failed_out),
    }
}

fn failed_out(failed: &Failed) -> api::FlowFailed {
    let FailedAt { sequence, attempts, reason, resumed } = failed.at.clone();
    api::FlowFailed {
        target: Bytes::copy_from_slice(&failed.target.to_bytes()),
        sequence: sequence.0,
        attempts,
        reason,
        time: failed.time.0,
        resumed,
    }
}

/// Asks for a change, and tells what came of it.
///
/// # Errors
/// It is refused, or nothing is asked for.
pub(super) async fn change<W: World>(
    world: &W,
    scope: Option<api::FlowScope>,
    tenant: &str,
    change: FlowChange,
) -> Result<api::StreamFlow, Status> {
    let nothing = || errors::invalid("say which streams: a name, a tenant or a priority");
    let named = scope.and_then(|scope| scope.which).ok_or_else(nothing)?;
    let (which, stream) = match &named {
        Named::Name(name) => (Which::Stream(name.clone()), name.clone()),
        Named::Tenant(name) => (Which::Tenant(Tenant::new(name).map_err(refused)?), String::new()),
        Named::PriorityBelow(priority) => (Which::Below(*priority), String::new()),
    };
    let command = within(tenant, Command::ChangeFlow(FlowWish { which, change }))?;
    match ask(world, command).await? {
        Reply::Flow(told) => {
            let FlowTold { rule, streams, paused, still, resumed: _ } = *told;
            let rule = rule_out(api::FlowScope { which: Some(named) }, &rule);
            let still = still.map(|scope| scope_out(&scope, &stream));
            Ok(api::StreamFlow { rule: Some(rule), streams, paused, still })
        }
        other => Err(out_of_place(&other)),
    }
}

/// How fast, as it is asked for.
///
/// # Errors
/// It bounds nothing.
pub(super) fn throttle(messages: u64, bytes: u64, off: bool) -> Result<FlowChange, Status> {
    match (messages, bytes, off) {
        (0, 0, true) => Ok(FlowChange::Unthrottle),
        (_, _, true) => Err(errors::invalid("a bound is set or taken away, not both")),
        _ => Rate::new(messages, bytes).map(FlowChange::Throttle).map_err(refused),
    }
}

/// Refuses what names another tenant than a stream's, as the asked node knows it.
///
/// # Errors
/// It does, or names none.
pub(super) async fn is_of<W: World>(world: &W, stream: &str, named: &str) -> Result<(), Status> {
    let Some(named) = tenant(named)? else { return Ok(()) };
    let streams = world.status().await.map(|status| status.streams).unwrap_or_default();
    match streams.into_iter().find(|known| known.name == stream) {
        Some(known) if known.rank.tenant != named => {
            let (stream, tenant) = (known.name, known.rank.tenant);
            Err(refused(FlowRefusal::WrongTenant { stream, tenant, named }))
        }
        _ => Ok(()),
    }
}

/// What a refusal is called on the wire.
pub(super) const fn classify(refusal: &FlowRefusal) -> (Code, Reason, &'static str) {
    match refusal {
        FlowRefusal::WrongTenant { .. } => {
            (Code::FailedPrecondition, Reason::WrongTenant, "`wattle stream list` shows whose streams are")
        }
        FlowRefusal::Paused { .. } => {
            (Code::ResourceExhausted, Reason::Paused, "`wattle stream show` tells what pauses it")
        }
        FlowRefusal::Failed { .. } => (
            Code::FailedPrecondition,
            Reason::StreamFailed,
            "`wattle stream show` tells by what; see to the handler, and then `wattle stream resume`: publishing again after that doubles nothing",
        ),
        FlowRefusal::Throttled { .. } => (Code::ResourceExhausted, Reason::Throttled, ""),
        FlowRefusal::BadTenant(_) | FlowRefusal::NoRate => (Code::InvalidArgument, Reason::Invalid, ""),
        FlowRefusal::TooMany => (
            Code::ResourceExhausted,
            Reason::TooManyRules,
            "`wattle stream show` tells which rules a stream goes by; closing a stream takes its rules away",
        ),
    }
}

/// What a program needs to go on.
pub(super) fn fill(detail: &mut ErrorDetail, refusal: &FlowRefusal) {
    match refusal {
        FlowRefusal::Throttled { again, .. } => {
            detail.retry_after_millis = Some(again.as_nanos().div_ceil(1_000_000));
        }
        FlowRefusal::Paused { stream, scope, .. } => detail.paused_by = Some(scope_out(scope, stream)),
        FlowRefusal::Failed { failed, .. } => detail.failed = Some(failed_out(failed)),
        FlowRefusal::WrongTenant { .. }
        | FlowRefusal::BadTenant(_)
        | FlowRefusal::NoRate
        | FlowRefusal::TooMany => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_the_mesh_itself_is_no_streams() {
        let opened = rank("acme", StreamQos::Priority.into(), -3).unwrap();
        assert_eq!((opened.tenant.name(), opened.qos, opened.priority), ("acme", Qos::Priority, -3));
        assert_eq!(rank("", 0, 0).unwrap(), Rank::default());
        let refused = rank("", StreamQos::System.into(), 0).unwrap_err();
        assert!(refused.message().contains("open it with PRIORITY or BULK"), "{refused}");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(rank("", 9, 0).is_err() && rank("not one", 0, 0).is_err());
    }

    #[test]
    fn a_bound_is_set_or_taken_away() {
        let rate = Rate::new(5, 0).unwrap();
        assert_eq!(throttle(5, 0, false).unwrap(), FlowChange::Throttle(rate));
        assert_eq!(throttle(0, 0, true).unwrap(), FlowChange::Unthrottle);
        assert!(throttle(0, 0, false).is_err() && throttle(5, 0, true).is_err());
    }
}
