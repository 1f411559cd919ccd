//! What is asked of a toy from outside: commands, and handlers' verdicts.

use bytes::Bytes;
use wattle_core::agreed::{ConfigCommand, ConfigRecord, ConfigRefusal, ConfigReply, ReadPoint};
use wattle_core::ends::Ends;
use wattle_core::id::{
    AttachToken, AuthorityEpoch, LogIndex, MeshId, RequestId, Sequence, StreamInstance, WriterId,
    WriterSequence,
};
use wattle_core::node::Output;
use wattle_core::node::command::{Command, Position, Refusal, Reply, Waited};

use super::{Message, SHARED, Then, Toy, Waiting, Wrong, halves, put};

impl Toy {
    pub(super) fn command(&mut self, request: RequestId, command: Command) -> Option<Result<Reply, Refusal>> {
        let me = self.me();
        let member = SHARED.with_borrow(|shared| shared.members.iter().any(|(node, _)| *node == me));
        match command {
            Command::Seed { .. } | Command::Join { .. } if member => {
                Some(Err(Refusal::AlreadyMember(MeshId(1))))
            }
            Command::Seed { .. } | Command::Join { .. } => {
                let name = self.config.identity.name.clone();
                SHARED.with_borrow_mut(|shared| shared.members.push((me, name)));
                Some(Ok(Reply::Joined { mesh: MeshId(1) }))
            }
            _ if !member => Some(Err(Refusal::NotMember)),
            Command::Describe(_) | Command::Update(_) => {
                Some(Err(Refusal::Invalid("the toy has no updates".into())))
            }
            Command::Replay { .. } => Some(Err(Refusal::Invalid("the toy keeps nothing".into()))),
            Command::Within { command, .. } => self.command(request, *command),
            Command::ChangeFlow(_) => Some(Err(Refusal::Invalid("the toy takes in what comes".into()))),
            Command::SealStream { .. } | Command::ChangeMembers(_) | Command::Recover(_) => {
                Some(Err(Refusal::Invalid("the toy is never lost".into())))
            }
            Command::Invite => Some(Ok(Reply::Token { token: "please".into() })),
            Command::OpenStream { name, source, mut targets, .. } => Some(SHARED.with_borrow_mut(|shared| {
                let id =
                    |name: &str| shared.members.iter().find(|(_, other)| other == name).map(|(id, _)| *id);
                let target = targets.pop().unwrap_or_default();
                let (Some(from), Some(to)) = (id(&source), id(&target)) else {
                    return Err(Refusal::UnknownNode(target));
                };
                match shared.streams.iter().find(|stream| stream.0 == name) {
                    Some(&(_, instance, source, target)) if (source, target) == (from, to) => {
                        return Ok(Reply::StreamOpened { instance, created: false });
                    }
                    Some(&(_, _, source, target)) => {
                        let ends = Box::new(Ends::between(source, target));
                        return Err(Refusal::OpenElsewhere { name, ends });
                    }
                    None => {}
                }
                let instance = StreamInstance(100 + shared.streams.len() as u128);
                shared.streams.push((name, instance, from, to));
                Ok(Reply::StreamOpened { instance, created: true })
            })),
            Command::Evict { member } => Some(Err(Refusal::UnknownNode(member))),
            Command::StopMesh { .. } => Some(Ok(Reply::MeshStopped)),
            Command::StartMesh => Some(Ok(Reply::MeshStarted)),
            Command::RotateNodeKey { .. } => {
                Some(Ok(Reply::NodeKey { key: self.config.identity.key, retired: true }))
            }
            Command::Leave { .. } => Some(Err(Refusal::LastMember)),
            Command::CloseStream { name } => Some(SHARED.with_borrow_mut(|shared| {
                let open = shared.streams.iter_mut().find(|stream| stream.0 == name);
                // Its place stays, so that no life comes twice.
                open.ok_or(Refusal::UnknownStream(name))?.0.clear();
                Ok(Reply::StreamClosed)
            })),
            Command::Config(command) => {
                SHARED.with_borrow_mut(|shared| shared.agreed.answer(command, self.wrong))
            }
            Command::Publish { stream, writer, first, messages, wait } => {
                self.publish(request, &stream, writer, first.0, messages, wait)
            }
            Command::Stage { .. } | Command::GiveUpStaged { .. } => Some(Err(Refusal::Busy)),
            Command::Parked { .. } => Some(Err(Refusal::Invalid("the toy parks nothing".into()))),
            Command::FindWriter { stream, writer } => {
                let Some(instance) = self.named(&stream) else {
                    return Some(Err(Refusal::UnknownStream(stream)));
                };
                let durable = self.sources.get(&instance).map_or(0, |source| source.durable);
                let known = self.writers.get(&(instance, writer.0));
                let count = known.map_or(0, |known| known.iter().filter(|&&at| at <= durable).count());
                let next = WriterSequence(count as u64 + 1);
                Some(Ok(Reply::Writer { next, staged: None, part_bytes: 0 }))
            }
            Command::Attach { stream, presented, window } => {
                let Some(instance) = self.named(&stream) else {
                    return Some(Err(Refusal::UnknownStream(stream)));
                };
                self.tokens += 1;
                let token = AttachToken(self.tokens);
                let target = self.targets.entry(instance).or_default();
                let at = presented.map_or(target.mark, |position| position.sequence.0);
                if at > target.durable {
                    return Some(Err(Refusal::Busy));
                }
                let settled = presented.map_or(target.durable_mark, |_| at);
                let old = target.handler.replace((token, u64::from(window), at + 1, settled));
                let old_request = target.request.replace(request);
                let position = Position {
                    instance: StreamInstance(instance),
                    authority: AuthorityEpoch(0),
                    sequence: Sequence(at),
                };
                if let (Some((old, ..)), Some(request)) = (old, old_request) {
                    self.outputs
                        .push_back(Output::Reply { request, reply: Ok(Reply::Fenced { token: old }) });
                }
                let reply = Ok(Reply::Attached { token, instance: StreamInstance(instance), position });
                self.outputs.push_back(Output::Reply { request, reply });
                self.hand_over(instance);
                None
            }
            Command::CloseWriter { stream, writer } => {
                let Some(instance) = self.named(&stream) else {
                    return Some(Err(Refusal::UnknownStream(stream)));
                };
                let boot = self.boot;
                SHARED.with_borrow_mut(|shared| shared.closed.insert((instance, writer.0), boot));
                Some(Ok(Reply::WriterClosed))
            }
        }
    }

    fn named(&self, name: &str) -> Option<u128> {
        SHARED.with_borrow(|shared| {
            shared.streams.iter().find(|stream| stream.0 == name).map(|stream| stream.1.0)
        })
    }

    fn publish(
        &mut self,
        request: RequestId,
        stream: &str,
        writer: WriterId,
        first: u64,
        messages: Vec<Bytes>,
        wait: Waited,
    ) -> Option<Result<Reply, Refusal>> {
        let Some(instance) = self.named(stream) else {
            return Some(Err(Refusal::UnknownStream(stream.into())));
        };
        let closed = SHARED.with_borrow(|shared| shared.closed.get(&(instance, writer.0)).copied());
        if closed.is_some_and(|boot| self.wrong != Wrong::ForgetsClosed || boot == self.boot) {
            return Some(Err(Refusal::WriterClosed));
        }
        let known = self.writers.entry((instance, writer.0)).or_default().len() as u64;
        if first > known + 1 {
            let refusal =
                Refusal::WriterGap { expected: WriterSequence(known + 1), got: WriterSequence(first) };
            if self.wrong != Wrong::KeepsRefused {
                return Some(Err(refusal));
            }
            self.outputs.push_back(Output::Reply { request, reply: Err(refusal) });
        } else if self.is_full() {
            return Some(Err(Refusal::NoSpace { free: 0 }));
        }
        let count = messages.len() as u64;
        for (number, bytes) in (first..).zip(messages) {
            if number <= known {
                continue;
            }
            let (high, low) = halves(instance);
            let (writer_high, writer_low) = halves(writer.0);
            let row = put(&[1, high, low, writer_high, writer_low, number], &bytes);
            let source = self.sources.entry(instance).or_default();
            source.log.push(Message { writer: writer.0, number, bytes });
            let sequence = source.log.len() as u64;
            self.writers.entry((instance, writer.0)).or_default().push(sequence);
            self.persist(&row, Then::Accepted(instance, sequence));
        }
        let places = &self.writers[&(instance, writer.0)];
        if first > places.len() as u64 {
            return None;
        }
        let runs = places[first as usize - 1..(first + count - 1) as usize].chunk_by(|a, b| a + 1 == *b);
        let mut number = first;
        for run in runs {
            let waiting = Waiting {
                request,
                wait,
                told: None,
                first: run[0],
                last: run[run.len() - 1],
                first_number: number,
                duplicate: number + run.len() as u64 <= known + 1,
            };
            number += run.len() as u64;
            self.sources.entry(instance).or_default().waiting.push(waiting);
        }
        self.receipts(instance);
        None
    }

    pub(super) fn verdict(&mut self, token: AttachToken, upto: u64) {
        for instance in self.targets.keys().copied().collect::<Vec<_>>() {
            let fencing = self.wrong != Wrong::NoFencing;
            let target = self.targets.entry(instance).or_default();
            let Some((current, _, next, _)) = &mut target.handler else { continue };
            if fencing && *current != token || !fencing && token.0 + 1 < current.0 {
                continue;
            }
            *next = (*next).max(upto + 1);
            if upto > target.mark {
                target.mark = upto;
                let (high, low) = halves(instance);
                let row = put(&[if self.wrong == Wrong::ForgetsMarks { 2 } else { 3 }, high, low, upto], &[]);
                if self.wrong == Wrong::ForgetsMarks {
                    self.settle(instance, upto);
                } else {
                    self.persist(&row, Then::Marked(instance, upto));
                }
            }
        }
    }
}

/// The agreed configuration of all toys: one table, which every toy asks at once.
#[derive(Default)]
pub(super) struct Agreed {
    records: std::collections::BTreeMap<String, ConfigRecord>,
    entries: u64,
}

impl Agreed {
    pub(super) fn answer(&mut self, command: ConfigCommand, wrong: Wrong) -> Option<Result<Reply, Refusal>> {
        let at = |consistency| ReadPoint { applied: LogIndex(self.entries), consistency, age: None };
        let reply = match command {
            ConfigCommand::Set { key, value, expected } => {
                let present = self.records.get(&key).map(|record| record.version);
                if !expected.fits(present) && wrong != Wrong::IgnoresVersions {
                    return Some(Err(ConfigRefusal::Conflict { key, present }.into()));
                }
                self.entries += 1;
                let version = LogIndex(self.entries);
                let record = ConfigRecord { key: key.clone(), value, version, created: version };
                self.records.insert(key, record);
                ConfigReply::Written { version }
            }
            ConfigCommand::Delete { key, .. } => {
                if self.records.remove(&key).is_none() {
                    return Some(Err(ConfigRefusal::UnknownKey(key).into()));
                }
                self.entries += 1;
                ConfigReply::Deleted { version: LogIndex(self.entries) }
            }
            ConfigCommand::Get { key, consistency } => {
                ConfigReply::Record { record: self.records.get(&key).cloned(), at: at(consistency) }
            }
            ConfigCommand::List { .. }
            | ConfigCommand::Watch { .. }
            | ConfigCommand::Configure { .. }
            | ConfigCommand::RotateKey { .. }
            | ConfigCommand::Settings { .. } => return None,
        };
        Some(Ok(Reply::Config(reply)))
    }
}
