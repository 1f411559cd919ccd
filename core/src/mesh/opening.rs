//! Opening a stream: between which nodes, and by whom of them a message must be processed.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use wattle_proto::mesh as proto;

use super::entry::Body;
use super::flow::{rank_in, rank_out};
use super::recovery::{nodes_in, nodes_out};
use super::room::stream_bytes;
use super::state::{Effect, STREAMS_MAX, State, Stream, bad_stream_name, valid_stream_name};
use super::wire::{self, Malformed, TEXT_MAX};
use crate::ends::{Ends, Poison, Policy, TARGETS_MAX, Terms};
use crate::flow::FlowRefusal;
use crate::id::{LogIndex, StreamInstance};
use crate::node::command::Refusal;
use crate::retention::Retention;
use crate::time::Span;

impl State {
    pub(super) fn open(
        &mut self,
        index: LogIndex,
        instance: StreamInstance,
        name: &str,
        ends: Ends,
    ) -> Effect {
        if let Some(stream) = self.streams.get(name) {
            return Effect::Opened { instance: stream.instance, created: false };
        }
        let stream = Stream {
            name: name.into(),
            instance,
            ends,
            opened: self.time,
            index,
            seal: None,
            members: None,
            resumed: 0,
        };
        self.bytes += stream.bytes();
        self.streams.insert(name.into(), stream);
        Effect::Opened { instance, created: true }
    }

    /// The ends that names stand for.
    fn ends(&self, source: &str, targets: &[String], terms: &Terms<String>) -> Result<Ends, Refusal> {
        let node = |name: &str| self.resolve(name).ok_or_else(|| Refusal::UnknownNode(name.into()));
        let nodes = |names: &[String]| names.iter().map(|name| node(name)).collect::<Result<Vec<_>, _>>();
        let (source, targets) = (node(source)?, nodes(targets)?);
        let policy = match &terms.policy {
            Policy::Named(names) => Policy::Named(nodes(names)?),
            Policy::Count(count) => Policy::Count(*count),
            Policy::All => Policy::All,
        };
        let Terms { poison, keep, rank, detach_after, .. } = terms.clone();
        let terms = Terms { policy, poison, keep, rank, detach_after };
        Ends::on(source, targets, terms).map_err(Refusal::BadEnds)
    }

    /// The ends of the stream, if it can be opened or is open between them.
    pub(super) fn may_open(
        &self,
        name: &str,
        source: &str,
        targets: &[String],
        terms: &Terms<String>,
    ) -> Result<Ends, Refusal> {
        if !valid_stream_name(name) {
            return Err(bad_stream_name(name));
        }
        let ends = self.ends(source, targets, terms)?;
        if let Some(stream) = self.streams.get(name) {
            if stream.ends.same(&ends) {
                return Ok(ends);
            }
            if stream.ends.rank.tenant != terms.rank.tenant {
                let (tenant, named) = (stream.ends.rank.tenant.clone(), terms.rank.tenant.clone());
                return Err(FlowRefusal::WrongTenant { stream: name.into(), tenant, named }.into());
            }
            let open = Box::new(stream.ends.clone());
            return Err(Refusal::OpenElsewhere { name: name.into(), ends: open });
        }
        if self.streams.len() >= STREAMS_MAX {
            return Err(Refusal::Invalid(alloc::format!(
                "the mesh has {STREAMS_MAX} open streams, which is its limit: close some first"
            )));
        }
        self.has_room(0, stream_bytes(name, &ends)).map_err(Refusal::Invalid)?;
        Ok(ends)
    }

    /// Whether these names stand for the ends of an open stream.
    pub(super) fn joins(
        &self,
        stream: &Stream,
        source: &str,
        targets: &[String],
        terms: &Terms<String>,
    ) -> bool {
        self.ends(source, targets, terms).is_ok_and(|ends| stream.ends.same(&ends))
    }
}

pub(super) fn open_out(name: &str, source: &str, targets: &[String], terms: &Terms<String>) -> proto::Open {
    let Terms { policy, poison, keep, rank, detach_after } = terms;
    let ((count, named), (park_after, fail_after)) = (policy.parts(), poison.parts());
    proto::Open {
        name: name.into(),
        source: source.into(),
        targets: targets.to_vec(),
        count,
        named: named.to_vec(),
        park_after,
        fail_after,
        keep: keep_out(*keep),
        rank: rank_out(rank),
        detach_after_nanos: detach_after.as_nanos(),
    }
}

pub(super) fn open_in(open: proto::Open) -> Result<Body, Malformed> {
    if open.targets.len() > TARGETS_MAX || open.named.len() > TARGETS_MAX {
        return Err(Malformed("too many targets of a stream"));
    }
    let texts = |texts: Vec<String>| -> Result<Vec<String>, Malformed> {
        texts.into_iter().map(|name| wire::text(name, TEXT_MAX)).collect()
    };
    Ok(Body::Open {
        name: wire::text(open.name, TEXT_MAX)?,
        source: wire::text(open.source, TEXT_MAX)?,
        targets: texts(open.targets)?,
        terms: Terms {
            policy: Policy::of(open.count, texts(open.named)?),
            poison: poison_in(open.park_after, open.fail_after)?,
            keep: keep_in(open.keep),
            rank: rank_in(open.rank.as_ref())?,
            detach_after: Span(open.detach_after_nanos),
        },
    })
}

fn poison_in(park_after: u32, fail_after: u32) -> Result<Poison, Malformed> {
    Poison::of(park_after, fail_after).map_err(|_| Malformed("what becomes of what cannot be processed"))
}

/// What is kept, as it is stored.
pub(super) fn keep_out(keep: Retention) -> Option<proto::Retention> {
    let Retention { messages, bytes, span } = keep;
    keep.keeps().then(|| proto::Retention { messages, bytes, span_nanos: span.as_nanos() })
}

fn keep_in(keep: Option<proto::Retention>) -> Retention {
    let found = keep.unwrap_or_default();
    Retention { messages: found.messages, bytes: found.bytes, span: Span(found.span_nanos) }
}

/// By whom a message must be processed, as it is stored.
pub(super) fn policy_out(policy: &Policy) -> Option<proto::StreamPolicy> {
    let (count, named) = policy.parts();
    (*policy != Policy::All).then(|| proto::StreamPolicy { count, named: nodes_out(named) })
}

/// The ends of a stream as it is stored.
pub(super) fn ends_in(stream: &proto::Stream) -> Result<Ends, Malformed> {
    let policy = stream.policy.as_ref().map(|policy| Ok(Policy::of(policy.count, nodes_in(&policy.named)?)));
    let terms = Terms {
        policy: policy.transpose()?.unwrap_or_default(),
        poison: poison_in(stream.park_after, stream.fail_after)?,
        keep: keep_in(stream.keep),
        rank: rank_in(stream.rank.as_ref())?,
        detach_after: Span(stream.detach_after_nanos),
    };
    Ends::on(wire::node(&stream.source)?, nodes_in(&stream.targets)?, terms)
        .map_err(|_| Malformed("the ends of a stream"))
}
