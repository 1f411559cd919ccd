//! Who waits for which answer, and who handles what is delivered.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use wattle_core::id::{AttachToken, RequestId, WriterSequence};
use wattle_core::node::command::{Command, Refusal, Reply, Waited};
use wattle_core::update::{UpdateCommand, UpdateReply};

use crate::event::{Former, Urgent};
use crate::handle::{Answered, Attachment, Ended, Handed};

pub(super) struct Requests {
    open: BTreeMap<RequestId, Open>,
    attached: BTreeMap<AttachToken, Handler>,
    urgent: mpsc::UnboundedSender<Urgent>,
}

/// An attached handler: the request by which it came, of which stream, and where it takes what is handed over.
struct Handler {
    request: RequestId,
    stream: Option<String>,
    handed: mpsc::UnboundedSender<Handed>,
}

enum Open {
    Command { replies: mpsc::UnboundedSender<Answered>, last: Last },
    Attach(Attaching),
}

/// Who waits to be attached, and to which stream.
struct Attaching {
    stream: Option<String>,
    former: Former,
    answer: oneshot::Sender<Result<Attachment, Refusal>>,
}

/// Which answer is the last one. A refusal always is.
#[derive(Clone, Copy)]
enum Last {
    First,
    /// The receipt of that level for that message.
    Receipt(Waited, WriterSequence),
}

impl Last {
    fn of(command: &Command) -> Self {
        match command.inner() {
            Command::Publish { first, messages, wait, .. } => {
                let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
                Self::Receipt(*wait, WriterSequence(first.0.saturating_add(count).saturating_sub(1)))
            }
            Command::Stage { part, .. } if part.digest.is_some() => Self::Receipt(part.wait, part.number),
            _ => Self::First,
        }
    }

    fn is(self, reply: &Result<Reply, Refusal>) -> bool {
        match (self, reply) {
            (Self::Receipt(level, message), Ok(Reply::Published(receipt))) => {
                receipt.level >= level && receipt.last_writer >= message
            }
            _ => true,
        }
    }
}

impl Requests {
    pub(super) fn new(urgent: mpsc::UnboundedSender<Urgent>) -> Self {
        Self { open: BTreeMap::new(), attached: BTreeMap::new(), urgent }
    }

    /// Notes who waits. `false` if the command is refused here and the node must not see it.
    pub(super) fn open(
        &mut self,
        request: RequestId,
        command: &Command,
        replies: mpsc::UnboundedSender<Answered>,
    ) -> bool {
        let update = matches!(command.inner(), Command::Update(UpdateCommand::Attach { .. }));
        if update || matches!(command.inner(), Command::Attach { .. } | Command::Replay { .. }) {
            let way = "handlers attach by `Running::attach`, and replays begin by `Running::replay`";
            let refusal = Refusal::Invalid(way.to_owned());
            let _ = replies.send((request, Err(refusal)));
            return false;
        }
        // Noted even if nobody waits any more, for the moment between the two; the answer takes it away.
        self.open.insert(request, Open::Command { replies, last: Last::of(command) });
        true
    }

    /// Notes who waits to be attached. `false` if it is refused here and the node must not see it: it comes again, and somebody came meanwhile.
    pub(super) fn open_attach(
        &mut self,
        request: RequestId,
        command: &Command,
        former: Former,
        answer: oneshot::Sender<Result<Attachment, Refusal>>,
    ) -> bool {
        let stream = match command {
            Command::Attach { stream, .. } => Some(stream.clone()),
            _ => None,
        };
        if let Former::Itself(token) = former {
            let mut attached = self.attached.iter();
            let taken = attached.any(|(other, handler)| handler.stream == stream && Some(*other) != token);
            let comes = |open: &Open| matches!(open, Open::Attach(attaching) if attaching.stream == stream);
            if taken {
                let _ = answer.send(Err(Refusal::Superseded));
                return false;
            }
            // Who waits to be attached came later, and may be refused yet.
            if self.open.values().any(comes) {
                let _ = answer.send(Err(Refusal::Busy));
                return false;
            }
        }
        self.open.insert(request, Open::Attach(Attaching { stream, former, answer }));
        true
    }

    /// Whether the one that is attached under this token waits to be attached again.
    fn comes_again(&self, token: AttachToken) -> bool {
        let again = Former::Itself(Some(token));
        self.open.values().any(|open| matches!(open, Open::Attach(attaching) if attaching.former == again))
    }

    pub(super) fn forget(&mut self, request: RequestId) {
        self.open.remove(&request);
    }

    pub(super) fn reply(&mut self, request: RequestId, reply: Result<Reply, Refusal>) {
        let reply = match reply {
            // It is told what became of it by the answer to that.
            Ok(Reply::Fenced { token }) if self.comes_again(token) => return self.end(token, Ended::Outrun),
            Ok(Reply::Fenced { token }) => return self.end(token, Ended::TakenOver),
            Ok(Reply::Outrun { token }) => return self.end(token, Ended::Outrun),
            Ok(Reply::Replayed { token }) => return self.end(token, Ended::Replayed),
            Ok(Reply::Failed { token, sequence, passed }) => {
                return self.deliver(token, Handed::Failed { sequence, passed });
            }
            reply => reply,
        };
        match self.open.remove(&request) {
            Some(Open::Command { replies, last }) => {
                let is_last = last.is(&reply);
                if replies.send((request, reply)).is_ok() && !is_last {
                    self.open.insert(request, Open::Command { replies, last });
                }
            }
            Some(Open::Attach(attaching)) => self.attached(request, attaching, reply),
            None => match reply {
                // Nobody waits. An attachment that nobody took must not hold the stream's deliveries.
                Ok(Reply::Attached { token, .. } | Reply::Update(UpdateReply::Attached { token, .. })) => {
                    let _ = self.urgent.send(Urgent::Detach { token });
                }
                Ok(_) => {}
                // A handler that was attached by this request is refused after all: its stream was closed, or has stopped.
                Err(refusal) => {
                    let mut handlers = self.attached.iter();
                    let of_request = handlers.find(|(_, handler)| handler.request == request);
                    if let Some(token) = of_request.map(|(token, _)| *token) {
                        self.end(token, Ended::Refused(refusal));
                    }
                }
            },
        }
    }

    fn attached(
        &mut self,
        request: RequestId,
        Attaching { stream, answer, .. }: Attaching,
        reply: Result<Reply, Refusal>,
    ) {
        let place = match reply {
            Ok(Reply::Attached { token, position, .. }) => Ok((token, position)),
            Ok(Reply::Update(UpdateReply::Attached { token, after })) => {
                Ok((token, Attachment::of_updates(after)))
            }
            Ok(other) => Err(Refusal::Invalid(format!("attaching was answered by {other:?}"))),
            Err(refusal) => Err(refusal),
        };
        let result = place.map(|(token, position)| {
            let (handed, receiver) = mpsc::unbounded_channel();
            self.attached.insert(token, Handler { request, stream, handed });
            Attachment::new(token, position, receiver, self.urgent.clone())
        });
        // If nobody waits, the attachment is dropped here, and that detaches it.
        let _ = answer.send(result);
    }

    /// An attachment is over, and its handler is told why.
    fn end(&mut self, token: AttachToken, why: Ended) {
        if let Some(handler) = self.attached.remove(&token) {
            // Fails only when the attachment was dropped and its detaching is on the way.
            let _ = handler.handed.send(Handed::Ended(why));
        }
    }

    pub(super) fn deliver(&mut self, token: AttachToken, handed: Handed) {
        if let Some(handler) = self.attached.get(&token) {
            // Fails only when the attachment was dropped and its detaching is on the way.
            let _ = handler.handed.send(handed);
        }
    }

    pub(super) fn detach(&mut self, token: AttachToken) {
        self.attached.remove(&token);
    }
}
