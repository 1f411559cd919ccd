//! Typed messages and entries, and their Protobuf forms. What decodes is bounded and makes sense by itself; whether it may be
//! acted upon is decided elsewhere.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::entry::{Admission, Body, Entry, Request};
use super::eviction::{evict_in, evict_out};
use super::failing;
use super::flow;
use super::idle;
use super::members;
use super::opening;
use super::recovery::{self, RecoveryMessage};
use super::rotation;
use super::sealing;
use super::token::Secret;
use super::updates::{self, Cursors};
use crate::agreed::{CHANGES_MAX, Expected, VALUE_BYTES_MAX};
use crate::description::{Described, Description};
use crate::id::{Generation, LogIndex, MeshId, NodeId, ReplicaId};
use crate::node::command::JoinBar;
use crate::time::{Span, Wall};
use crate::work::PublicKey;

/// Most addresses of a node.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address.
pub const ADDRESS_MAX: usize = 256;
/// Longest text of any other kind.
pub const TEXT_MAX: usize = 1024;
/// Most keys of a node: the current and the next.
pub const KEYS_MAX: usize = 2;
/// Most members told to a joiner. It needs those it may meet before it has caught up with the log, which tells all.
pub const ROSTER_MAX: usize = 256;

/// Bytes that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mesh: {0}")]
pub struct Malformed(pub &'static str);

/// What members say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request for the leader.
    Forward {
        /// Its name.
        request: Request,
        /// What the sender had applied when it made it.
        seen: LogIndex,
        /// What to do.
        body: Box<Body>,
    },
    /// The leader (or who was taken for it) does not do it. What it does is seen in the log.
    Answer {
        /// The request.
        request: Request,
        /// Why not.
        verdict: Verdict,
    },
    /// Asks who let a node in, of which the sender does not know that it is a member.
    WhoIs {
        /// Which.
        node: NodeId,
    },
    /// Answers it.
    Introduce {
        /// As in a hello.
        endorsement: Bytes,
    },
    /// What the sender's handlers of updates have processed.
    Processed {
        /// Of each kind.
        cursors: Cursors,
    },
    /// Something about the recovery of a lost quorum.
    Recovery(RecoveryMessage),
}

/// Why a forwarded request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask this one, if known.
    NotLeader(Option<NodeId>),
    /// Come back later.
    Busy,
    /// Never; the reason in words.
    Refused(String),
}

/// What is said on a lane that leads to or from a node that is no member yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinMessage {
    /// The joiner speaks first, once it knows whom it speaks to.
    Request(Box<JoinRequest>),
    /// It is a member now.
    Accepted {
        /// The mesh.
        mesh: MeshId,
        /// Its name.
        mesh_name: String,
        /// Who admitted.
        admitter: NodeId,
        /// Members so far, at most [`ROSTER_MAX`] of them: the admitting node and voters first.
        members: Vec<RosterEntry>,
    },
    /// It is not.
    Rejected {
        /// Why, in words.
        reason: String,
        /// Whether trying again later may help.
        retry: bool,
        /// Whether it is the policy or the key that bars it.
        bar: Option<JoinBar>,
    },
    /// Something that only a later version knows: it says nothing to this one.
    Unknown,
}

/// A wish to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Version of this conversation.
    pub version: u32,
    /// Names the token.
    pub token: u128,
    /// The joiner's id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: PublicKey,
    /// Where others can dial it.
    pub addresses: Vec<String>,
    /// Where its API listens.
    pub api: Option<String>,
    /// Its fresh replica of the control group.
    pub replica: ReplicaId,
    /// Random.
    pub nonce: [u8; 16],
    /// Proof that the joiner knows the token's secret.
    pub mac: [u8; 32],
    /// The mesh it wants to join; `None` from a version that did not say.
    pub mesh: Option<MeshId>,
    /// The secret of the mesh's join key, if it comes with that and not with a token: the asked node knows only its hash.
    pub secret: Option<Secret>,
}

/// A member as others need to know it to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterEntry {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its accepted keys.
    pub keys: Vec<PublicKey>,
    /// Where it can be dialled.
    pub addresses: Vec<String>,
    /// What shows who comes with a key that it gave up that this is so; empty if it gave up none. A joiner is not told.
    pub rotations: Bytes,
}

impl Message {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use proto::answer::Verdict as P;
        let kind = match self {
            Self::Forward { request, seen, body } => proto::message::Kind::Forward(proto::Forward {
                request: id_bytes(request.0.to_be_bytes()),
                seen: seen.0,
                body: Some(body_out(body)),
            }),
            Self::Answer { request, verdict } => proto::message::Kind::Answer(proto::Answer {
                request: id_bytes(request.0.to_be_bytes()),
                verdict: Some(match verdict {
                    Verdict::NotLeader(leader) => P::NotLeader(proto::NotLeader {
                        leader: leader.map(|l| id_bytes(l.to_bytes())).unwrap_or_default(),
                    }),
                    Verdict::Busy => P::Busy(proto::Busy {}),
                    Verdict::Refused(reason) => P::Refused(reason.clone()),
                }),
            }),
            Self::WhoIs { node } => {
                proto::message::Kind::WhoIs(proto::WhoIs { node: id_bytes(node.to_bytes()) })
            }
            Self::Introduce { endorsement } => {
                proto::message::Kind::Introduce(proto::Introduce { endorsement: endorsement.clone() })
            }
            Self::Processed { cursors } => proto::message::Kind::Processed(updates::cursors_out(cursors)),
            Self::Recovery(message) => recovery::message_out(message),
        };
        proto::Message { kind: Some(kind) }.encode_to_vec().into()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        use proto::answer::Verdict as P;
        let message = proto::Message::decode(bytes).map_err(|_| Malformed("message"))?;
        Ok(match message.kind.ok_or(Malformed("message kind"))? {
            proto::message::Kind::Forward(f) => Self::Forward {
                request: request(&f.request)?,
                seen: LogIndex(f.seen),
                body: Box::new(body_in(f.body)?),
            },
            proto::message::Kind::Answer(a) => Self::Answer {
                request: request(&a.request)?,
                verdict: match a.verdict.ok_or(Malformed("verdict"))? {
                    P::NotLeader(n) if n.leader.is_empty() => Verdict::NotLeader(None),
                    P::NotLeader(n) => Verdict::NotLeader(Some(node(&n.leader)?)),
                    P::Busy(_) => Verdict::Busy,
                    P::Refused(reason) => Verdict::Refused(text(reason, TEXT_MAX)?),
                },
            },
            proto::message::Kind::WhoIs(w) => Self::WhoIs { node: node(&w.node)? },
            proto::message::Kind::Introduce(i) => Self::Introduce { endorsement: i.endorsement },
            proto::message::Kind::Processed(cursors) => {
                Self::Processed { cursors: updates::cursors_in(&cursors) }
            }
            proto::message::Kind::Recovery(message) => Self::Recovery(recovery::message_in(message)?),
        })
    }
}

impl JoinMessage {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use proto::join_message::Kind;
        let kind = match self {
            Self::Request(r) => Kind::Request(proto::JoinRequest {
                version: r.version,
                token: id_bytes(r.token.to_be_bytes()),
                node: id_bytes(r.node.to_bytes()),
                name: r.name.clone(),
                key: key_bytes(&r.key),
                addresses: r.addresses.clone(),
                api: r.api.clone(),
                replica: id_bytes(r.replica.to_bytes()),
                nonce: id_bytes(r.nonce),
                mac: r.mac.to_vec().into(),
                mesh: r.mesh.map(|m| id_bytes(m.to_bytes())).unwrap_or_default(),
                secret: r.secret.as_ref().map(|secret| secret.0.to_vec().into()).unwrap_or_default(),
            }),
            Self::Accepted { mesh, mesh_name, admitter, members } => Kind::Accepted(proto::JoinAccepted {
                mesh: id_bytes(mesh.to_bytes()),
                mesh_name: mesh_name.clone(),
                admitter: id_bytes(admitter.to_bytes()),
                members: members.iter().map(roster_out).collect(),
            }),
            Self::Rejected { reason, retry, bar } => Kind::Rejected(proto::JoinRejected {
                reason: reason.clone(),
                retry: *retry,
                bar: bar.map_or(0, JoinBar::to_number),
            }),
            Self::Unknown => return Bytes::new(),
        };
        proto::JoinMessage { kind: Some(kind) }.encode_to_vec().into()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        use proto::join_message::Kind;
        let message = proto::JoinMessage::decode(bytes).map_err(|_| Malformed("join message"))?;
        let Some(kind) = message.kind else { return Ok(Self::Unknown) };
        Ok(match kind {
            Kind::Request(r) => Self::Request(Box::new(JoinRequest {
                version: r.version,
                token: request(&r.token)?.0,
                node: node(&r.node)?,
                name: text(r.name, TEXT_MAX)?,
                key: key(&r.key)?,
                addresses: addresses(r.addresses)?,
                api: optional(r.api)?,
                replica: replica(&r.replica)?,
                nonce: r.nonce.as_ref().try_into().map_err(|_| Malformed("nonce"))?,
                mac: r.mac.as_ref().try_into().map_err(|_| Malformed("mac"))?,
                mesh: if r.mesh.is_empty() { None } else { Some(mesh(&r.mesh)?) },
                secret: if r.secret.is_empty() { None } else { Some(Secret(fixed(&r.secret, "secret")?)) },
            })),
            Kind::Accepted(a) => Self::Accepted {
                mesh: mesh(&a.mesh)?,
                mesh_name: text(a.mesh_name, TEXT_MAX)?,
                admitter: node(&a.admitter)?,
                members: roster(a.members)?,
            },
            Kind::Rejected(r) => Self::Rejected {
                reason: text(r.reason, TEXT_MAX)?,
                retry: r.retry,
                bar: JoinBar::from_number(r.bar),
            },
        })
    }
}

impl Entry {
    /// The bytes that stand in the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let entry = proto::Entry {
            origin: id_bytes(self.origin.to_bytes()),
            request: id_bytes(self.request.0.to_be_bytes()),
            seen: self.seen.0,
            time: self.time.0,
            body: Some(body_out(&self.body)),
        };
        entry.encode_to_vec().into()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let entry = proto::Entry::decode(bytes).map_err(|_| Malformed("entry"))?;
        Ok(Self {
            origin: node(&entry.origin)?,
            request: request(&entry.request)?,
            seen: LogIndex(entry.seen),
            time: Wall(entry.time),
            body: body_in(entry.body)?,
        })
    }
}

fn body_out(body: &Body) -> proto::Body {
    use proto::body::Kind;
    let kind = match body {
        Body::Found { mesh, name, first } => Kind::Found(proto::Found {
            mesh: id_bytes(mesh.to_bytes()),
            name: name.clone(),
            first: Some(admission_out(first)),
        }),
        Body::Admit(admission) => Kind::Admit(admission_out(admission)),
        Body::Update { node, addresses, api, region } => Kind::Update(proto::Update {
            region: region.clone(),
            node: id_bytes(node.to_bytes()),
            addresses: addresses.clone(),
            api: api.clone(),
        }),
        Body::Open { name, source, targets, terms } => {
            Kind::Open(opening::open_out(name, source, targets, terms))
        }
        Body::Close { name } => Kind::Close(proto::Close { name: name.clone() }),
        Body::SealStream { name, lost, instance, missed } => {
            Kind::SealStream(sealing::begin_out(name, lost, *instance, missed))
        }
        Body::ReportEnd(report) => Kind::ReportEnd(sealing::report_out(report)),
        Body::SettleEnd(settled) => Kind::SettleEnd(sealing::settle_out(settled)),
        Body::ChangeMembers(wish) => Kind::ChangeMembers(members::wish_out(wish)),
        Body::MembersChanged(done) => Kind::MembersChanged(members::changed_out(done)),
        Body::Flow(wish) => Kind::Flow(flow::wish_out(wish)),
        Body::StreamFailed(report) => Kind::StreamFailed(failing::report_out(report)),
        Body::TargetIdle(report) => Kind::TargetIdle(idle::report_out(report)),
        Body::Within { tenant, body } => Kind::Within(Box::new(proto::Within {
            tenant: tenant.name().into(),
            body: Some(Box::new(body_out(body))),
        })),
        Body::Describe { node, described } => Kind::Describe(describe_out(*node, described)),
        Body::Updates(change) => updates::change_out(change),
        Body::SetConfig { key, value, expected } => Kind::SetConfig(proto::SetConfig {
            key: key.clone(),
            value: value.clone(),
            expected: expected.to_number(),
        }),
        Body::DeleteConfig { key, expected } => {
            Kind::DeleteConfig(proto::DeleteConfig { key: key.clone(), expected: expected.to_number() })
        }
        Body::AdmitByKey { admission, key } => {
            Kind::AdmitByKey(proto::AdmitByKey { admission: Some(admission_out(admission)), key: key.0 })
        }
        Body::RotateKey { salt, hash, lifetime, uses } => Kind::RotateKey(proto::RotateKey {
            salt: id_bytes(*salt),
            hash: hash.to_vec().into(),
            lifetime: lifetime.map(Span::as_millis),
            uses: *uses,
        }),
        Body::Configure { changes, expected } => Kind::Configure(proto::Configure {
            changes: changes.iter().map(|(key, value)| setting_out(key, value)).collect(),
            expected: expected.map(|version| version.0),
        }),
        Body::RotateNodeKey { node, step } => Kind::RotateNodeKey(rotation::step_out(*node, step)),
        Body::Evict(wish) => Kind::Evict(evict_out(wish)),
        Body::Recover(recover) => Kind::Recover(recovery::recover_out(recover)),
        &Body::Forbidden { unreachable, members } => {
            Kind::Forbidden(proto::Forbidden { unreachable, members })
        }
    };
    proto::Body { kind: Some(kind) }
}

fn body_in(body: Option<proto::Body>) -> Result<Body, Malformed> {
    use proto::body::Kind;
    Ok(match body.and_then(|b| b.kind).ok_or(Malformed("body"))? {
        Kind::Found(f) => Body::Found {
            mesh: mesh(&f.mesh)?,
            name: text(f.name, TEXT_MAX)?,
            first: admission_in(f.first.ok_or(Malformed("founder"))?)?,
        },
        Kind::Admit(admission) => Body::Admit(admission_in(admission)?),
        Kind::Update(u) => Body::Update {
            node: node(&u.node)?,
            addresses: addresses(u.addresses)?,
            api: optional(u.api)?,
            region: region(u.region)?,
        },
        Kind::Open(open) => opening::open_in(open)?,
        Kind::Close(c) => Body::Close { name: text(c.name, TEXT_MAX)? },
        Kind::SealStream(begin) => sealing::begin_in(begin)?,
        Kind::ReportEnd(report) => Body::ReportEnd(Box::new(sealing::report_in(report)?)),
        Kind::SettleEnd(settled) => Body::SettleEnd(sealing::settle_in(settled)?),
        Kind::ChangeMembers(wish) => Body::ChangeMembers(Box::new(members::wish_in(wish)?)),
        Kind::MembersChanged(done) => Body::MembersChanged(members::changed_in(done)?),
        Kind::Flow(wish) => Body::Flow(Box::new(flow::wish_in(wish)?)),
        Kind::StreamFailed(report) => Body::StreamFailed(Box::new(failing::report_in(report)?)),
        Kind::TargetIdle(report) => Body::TargetIdle(Box::new(idle::report_in(report)?)),
        Kind::Within(within) => {
            let proto::Within { tenant, body } = *within;
            // What is about no stream is nobody's, and so is another one of these: they are not nested.
            let body = body_in(body.map(|body| *body))?;
            body.stream().ok_or(Malformed("what is done for a tenant"))?;
            Body::Within { tenant: flow::tenant(&tenant)?, body: Box::new(body) }
        }
        Kind::Describe(describe) => {
            let (node, described) = describe_in(describe)?;
            Body::Describe { node, described }
        }
        Kind::SetConfig(s) => Body::SetConfig {
            key: text(s.key, TEXT_MAX)?,
            value: value(s.value)?,
            expected: Expected::from_number(s.expected),
        },
        Kind::DeleteConfig(d) => {
            Body::DeleteConfig { key: text(d.key, TEXT_MAX)?, expected: Expected::from_number(d.expected) }
        }
        Kind::AdmitByKey(a) => Body::AdmitByKey {
            admission: admission_in(a.admission.ok_or(Malformed("admission"))?)?,
            key: LogIndex(a.key),
        },
        Kind::RotateKey(r) => Body::RotateKey {
            salt: fixed(&r.salt, "salt")?,
            hash: fixed(&r.hash, "hash")?,
            lifetime: r.lifetime.map(|millis| Span(millis.saturating_mul(1_000_000))),
            uses: r.uses,
        },
        Kind::Configure(c) => {
            Body::Configure { changes: settings_in(c.changes)?, expected: c.expected.map(LogIndex) }
        }
        Kind::RotateNodeKey(asked) => {
            let (node, step) = rotation::step_in(asked)?;
            Body::RotateNodeKey { node, step }
        }
        Kind::Evict(wish) => Body::Evict(evict_in(wish)?),
        Kind::Recover(recover) => Body::Recover(Box::new(recovery::recover_in(recover)?)),
        Kind::Forbidden(proto::Forbidden { unreachable, members }) => {
            Body::Forbidden { unreachable, members }
        }
        kind => Body::Updates(updates::change_in(kind)?),
    })
}

pub(super) fn describe_out(node: NodeId, described: &Described) -> proto::Describe {
    let Description { status, tag, roles, capabilities, attributes } = described.description.clone();
    let attribute = |(key, value)| proto::Attribute { key, value };
    proto::Describe {
        node: id_bytes(node.to_bytes()),
        generation: described.generation.0,
        counter: described.counter,
        status,
        tag,
        roles,
        capabilities,
        attributes: attributes.into_iter().map(attribute).collect(),
    }
}

pub(super) fn describe_in(describe: proto::Describe) -> Result<(NodeId, Described), Malformed> {
    let proto::Describe { node: named, generation, counter, status, tag, roles, capabilities, attributes } =
        describe;
    let attributes = attributes.into_iter().map(|attribute| (attribute.key, attribute.value)).collect();
    let description = Description { status, tag, roles, capabilities, attributes };
    if !description.fits() {
        return Err(Malformed("a description is too long"));
    }
    Ok((node(&named)?, Described { generation: Generation(generation), counter, description }))
}

pub(super) fn admission_out(admission: &Admission) -> proto::Admission {
    proto::Admission {
        node: id_bytes(admission.node.to_bytes()),
        name: admission.name.clone(),
        key: key_bytes(&admission.key),
        addresses: admission.addresses.clone(),
        api: admission.api.clone(),
        replica: id_bytes(admission.replica.to_bytes()),
        admitter: id_bytes(admission.admitter.to_bytes()),
        signature: admission.signature.clone(),
        rotations: Vec::new(),
    }
}

pub(super) fn admission_in(admission: proto::Admission) -> Result<Admission, Malformed> {
    Ok(Admission {
        node: node(&admission.node)?,
        name: text(admission.name, TEXT_MAX)?,
        key: key(&admission.key)?,
        addresses: addresses(admission.addresses)?,
        api: optional(admission.api)?,
        replica: replica(&admission.replica)?,
        admitter: node(&admission.admitter)?,
        signature: signature(admission.signature)?,
    })
}

pub(super) fn roster_out(entry: &RosterEntry) -> proto::RosterEntry {
    proto::RosterEntry {
        node: id_bytes(entry.node.to_bytes()),
        name: entry.name.clone(),
        keys: entry.keys.iter().map(key_bytes).collect(),
        addresses: entry.addresses.clone(),
    }
}

pub(super) fn roster(entries: Vec<proto::RosterEntry>) -> Result<Vec<RosterEntry>, Malformed> {
    if entries.len() > ROSTER_MAX {
        return Err(Malformed("too many members"));
    }
    let read = |e: proto::RosterEntry| {
        Ok(RosterEntry {
            node: node(&e.node)?,
            name: text(e.name, TEXT_MAX)?,
            keys: keys(&e.keys)?,
            addresses: addresses(e.addresses)?,
            rotations: Bytes::new(),
        })
    };
    entries.into_iter().map(read).collect()
}

pub(super) fn id_bytes(id: [u8; 16]) -> Bytes {
    Bytes::copy_from_slice(&id)
}

pub(super) fn key_bytes(key: &PublicKey) -> Bytes {
    Bytes::copy_from_slice(&key.0)
}

pub(super) fn node(bytes: &[u8]) -> Result<NodeId, Malformed> {
    NodeId::from_slice(bytes).ok_or(Malformed("node id"))
}

pub(super) fn mesh(bytes: &[u8]) -> Result<MeshId, Malformed> {
    MeshId::from_slice(bytes).ok_or(Malformed("mesh id"))
}

pub(super) fn replica(bytes: &[u8]) -> Result<ReplicaId, Malformed> {
    ReplicaId::from_slice(bytes).ok_or(Malformed("replica id"))
}

pub(super) fn request(bytes: &[u8]) -> Result<Request, Malformed> {
    Ok(Request(u128::from_be_bytes(bytes.try_into().map_err(|_| Malformed("request id"))?)))
}

pub(super) fn key(bytes: &[u8]) -> Result<PublicKey, Malformed> {
    PublicKey::from_slice(bytes).ok_or(Malformed("key"))
}

pub(super) fn keys(list: &[Bytes]) -> Result<Vec<PublicKey>, Malformed> {
    if !(1..=KEYS_MAX).contains(&list.len()) {
        return Err(Malformed("number of keys"));
    }
    list.iter().map(|k| key(k)).collect()
}

pub(super) fn signature(bytes: Bytes) -> Result<Bytes, Malformed> {
    if bytes.len() == 64 { Ok(bytes) } else { Err(Malformed("signature")) }
}

pub(super) fn text(text: String, longest: usize) -> Result<String, Malformed> {
    if text.len() <= longest { Ok(text) } else { Err(Malformed("a text is too long")) }
}

/// Bytes of a length that is known.
pub(super) fn fixed<const LEN: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; LEN], Malformed> {
    bytes.try_into().map_err(|_| Malformed(what))
}

fn setting_out(key: &str, value: &Option<Bytes>) -> proto::Setting {
    proto::Setting { key: key.into(), value: value.clone() }
}

fn settings_in(settings: Vec<proto::Setting>) -> Result<Vec<(String, Option<Bytes>)>, Malformed> {
    if settings.len() > CHANGES_MAX {
        return Err(Malformed("too many settings"));
    }
    let read =
        |setting: proto::Setting| Ok((text(setting.key, TEXT_MAX)?, setting.value.map(value).transpose()?));
    settings.into_iter().map(read).collect()
}

/// A value over the limit is told so, unless it is beyond all measure.
fn value(bytes: Bytes) -> Result<Bytes, Malformed> {
    if bytes.len() <= 4 * VALUE_BYTES_MAX { Ok(bytes) } else { Err(Malformed("a value is too long")) }
}

pub(super) fn optional(value: Option<String>) -> Result<Option<String>, Malformed> {
    value.map(|v| text(v, ADDRESS_MAX)).transpose()
}

/// A region: a short word.
pub(super) fn region(value: Option<String>) -> Result<Option<String>, Malformed> {
    let fits = value.as_deref().is_none_or(valid_region);
    if fits { Ok(value) } else { Err(Malformed("region")) }
}

/// Whether that names a region: 1 to 64 characters of `[A-Za-z0-9._-]`.
#[must_use]
pub fn valid_region(region: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&region.len()) && region.chars().all(word)
}

pub(super) fn addresses(list: Vec<String>) -> Result<Vec<String>, Malformed> {
    if list.len() > ADDRESSES_MAX {
        return Err(Malformed("too many addresses"));
    }
    list.into_iter().map(|a| text(a, ADDRESS_MAX)).collect()
}
