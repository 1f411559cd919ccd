//! What calls a handler.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;
use wattle_core::id::Sequence;
use wattle_core::node::command::{Position, Refusal};
use wattle_core::node::output::Delivery;

use super::progress::{Over, Progress, State, Trouble};
use super::{Failure, Handler, Life, Message, Options, Remedy};
use crate::handle::{Attachment, Ended, Handed, Running};

/// The node as a runner sees it, so that its tests need no real one.
pub(super) trait Node: Send + Sync + 'static {
    /// The life of a stream whose target this node is.
    fn life(&self, stream: &str) -> impl Future<Output = Result<Life, NoLife>> + Send;

    fn attach(
        &self,
        stream: &str,
        presented: Option<Position>,
        window: u32,
    ) -> impl Future<Output = Result<Attachment, Refusal>> + Send;
}

/// Why there is nothing to attach to.
#[derive(Debug)]
pub(super) enum NoLife {
    Stopped,
    NotYet(String),
}

impl Node for Running {
    async fn life(&self, stream: &str) -> Result<Life, NoLife> {
        let status = self.status().await.ok_or(NoLife::Stopped)?;
        let found = status.streams.into_iter().find(|open| open.name == stream);
        let open = found.ok_or_else(|| {
            let why = if status.mesh.is_some() {
                Refusal::UnknownStream(stream.to_owned())
            } else {
                Refusal::NotMember
            };
            NoLife::NotYet(why.to_string())
        })?;
        if !open.targets.iter().any(|target| target.node == status.node) {
            let why = "this node is no target of the stream: a handler runs where its messages go to";
            return Err(NoLife::NotYet(why.to_owned()));
        }
        let stream = open.name;
        Ok(Life { stream, instance: open.instance, authority: open.authority, node: status.node })
    }

    async fn attach(
        &self,
        stream: &str,
        presented: Option<Position>,
        window: u32,
    ) -> Result<Attachment, Refusal> {
        Self::attach(self, stream.to_owned(), presented, window).await
    }
}

/// Why a handler is not attached any more.
enum Left {
    Over(Over),
    /// It is to attach again at once.
    Again,
    /// It is to attach again after a pause, of this at most.
    Later(Duration),
}

/// A stream that is not there yet is looked for at least so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Runner<N, H> {
    node: N,
    stream: String,
    handler: H,
    options: Options,
    shown: watch::Sender<Progress>,
    stop: watch::Receiver<bool>,
    /// Pauses since something went well.
    pauses: u32,
}

impl<N: Node, H: Handler> Runner<N, H> {
    pub(super) fn new(
        node: N,
        stream: String,
        handler: H,
        options: Options,
        shown: watch::Sender<Progress>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { node, stream, handler, options, shown, stop, pauses: 0 }
    }

    pub(super) async fn run(mut self) {
        // Says so too when this is dropped: at a panic of the handler, or the end of the runtime.
        let mut said = Said { shown: self.shown.clone(), over: Over::Broken };
        said.over = loop {
            match self.once().await {
                Left::Over(over) => break over,
                Left::Again => {}
                Left::Later(most) => {
                    if self.pause(most).await {
                        break Over::Stopped;
                    }
                }
            }
        };
        match &said.over {
            Over::Stopped | Over::NodeStopped => {
                tracing::debug!(stream = self.stream, handler = self.options.name, "a handler ended");
            }
            over => {
                tracing::warn!(stream = self.stream, handler = self.options.name, %over, "a handler ended")
            }
        }
    }

    /// Attaches, and calls the handler for as long as that holds.
    async fn once(&mut self) -> Left {
        if *self.stop.borrow() {
            return Left::Over(Over::Stopped);
        }
        let life = match self.node.life(&self.stream).await {
            Ok(life) => life,
            Err(NoLife::Stopped) => return Left::Over(Over::NodeStopped),
            Err(NoLife::NotYet(why)) => {
                self.waits(why);
                return Left::Later(self.options.pause_most.min(LOOK_AGAIN));
            }
        };
        let mut stop = self.stop.clone();
        let begun = tokio::select! {
            begun = self.handler.begin(&life) => begun,
            () = stopped(&mut stop) => return Left::Over(Over::Stopped),
        };
        let presented = match begun {
            Ok(presented) => presented,
            Err(failure) => return self.fell(None, failure),
        };
        let attached = tokio::select! {
            attached = self.node.attach(&self.stream, presented, self.options.window.max(1)) => attached,
            () = stopped(&mut stop) => return Left::Over(Over::Stopped),
        };
        match attached {
            Ok(attachment) => self.attached(attachment).await,
            Err(Refusal::Superseded) => Left::Over(Over::TakenOver),
            // Of a good position, too, by a leader that does not know yet that it is replaced: it is presented again.
            Err(refusal) => self.waits(refusal.to_string()),
        }
    }

    async fn attached(&mut self, mut attachment: Attachment) -> Left {
        let from = attachment.position;
        tracing::info!(stream = self.stream, handler = self.options.name, after = %from.sequence, "a handler is attached");
        self.shown.send_modify(|progress| {
            progress.state = State::Attached;
            progress.received = from.sequence;
            progress.done = from.sequence;
            // What did not let it attach is made up for; what failed of a message is not.
            progress.trouble.take_if(|trouble| trouble.message.is_none_or(|at| at <= from.sequence));
        });
        if self.shown.borrow().trouble.is_none() {
            self.pauses = 0;
        }
        let mut waiting = VecDeque::new();
        loop {
            while let Some(handed) = attachment.try_next() {
                if let Some(left) = self.handed(&mut waiting, from, handed) {
                    return left;
                }
            }
            if *self.stop.borrow() {
                return Left::Over(Over::Stopped);
            }
            if waiting.is_empty() {
                let mut stop = self.stop.clone();
                let handed = tokio::select! {
                    handed = attachment.next() => handed,
                    () = stopped(&mut stop) => return Left::Over(Over::Stopped),
                };
                let Some(handed) = handed else { return Left::Over(Over::NodeStopped) };
                if let Some(left) = self.handed(&mut waiting, from, handed) {
                    return left;
                }
                continue;
            }
            let Err(failure) = self.call(&mut waiting, &attachment).await else { continue };
            let next = waiting.front().map(|message: &Message| message.position.sequence);
            let again = failure.remedy == Remedy::Again;
            let left = self.fell(next, failure);
            if !again {
                return left;
            }
            // Who took over, or that the node stopped, is not to be learnt at the end of a long pause only.
            if let Some(left) = self.pause_attached(&mut attachment, &mut waiting, from).await {
                return left;
            }
        }
    }

    /// Calls the handler once, and says what came of it.
    async fn call(
        &mut self,
        waiting: &mut VecDeque<Message>,
        attachment: &Attachment,
    ) -> Result<(), Failure> {
        let count = self.count(waiting);
        let array = waiting.make_contiguous().get(..count).unwrap_or_default();
        let place = |message: Option<&Message>| message.map(|message| message.position.sequence);
        let ends = place(array.first()).zip(place(array.last()));
        self.shown.send_modify(|progress| progress.processing = ends);
        let result = self.handler.handle(array).await;
        let done = match &result {
            Ok(()) => count,
            // Of all but the last at most, or nothing would have failed.
            Err(failure) => failure.done.min(count.saturating_sub(1)),
        };
        let upto = place(array.get(..done).and_then(<[Message]>::last));
        waiting.drain(..done);
        self.shown.send_modify(|progress| {
            progress.processing = None;
            progress.done = upto.unwrap_or(progress.done);
            if upto.is_some() {
                progress.trouble = None;
            }
        });
        if let Some(upto) = upto {
            self.pauses = 0;
            attachment.verdict(upto);
        }
        result
    }

    /// How many messages the next call is to be given: those that failed come alone.
    fn count(&self, waiting: &VecDeque<Message>) -> usize {
        if self.pauses > 0 {
            return 1;
        }
        let mut bytes = 0;
        let fits = |message: &&Message| {
            bytes += message.length();
            bytes <= self.options.array_bytes
        };
        waiting.iter().take(self.options.array.max(1)).take_while(fits).count().max(1)
    }

    /// Something was handed over.
    fn handed(&mut self, waiting: &mut VecDeque<Message>, from: Position, handed: Handed) -> Option<Left> {
        match handed {
            Handed::Delivery(Delivery { instance, messages, .. }) => {
                let received = messages.last().map_or(Sequence(0), |last| last.sequence);
                self.shown.send_modify(|progress| progress.received = progress.received.max(received));
                let given = |message| Message::delivered(instance, from.authority, message);
                waiting.extend(messages.into_iter().map(given));
                None
            }
            Handed::Updates(_) => unreachable!("an attachment to a stream is handed no updates"),
            Handed::Ended(Ended::TakenOver) => Some(Left::Over(Over::TakenOver)),
            Handed::Ended(Ended::Outrun) => Some(Left::Again),
            Handed::Ended(Ended::Refused(Refusal::StreamClosed)) => Some(Left::Over(Over::Closed)),
            Handed::Ended(Ended::Refused(refusal)) => Some(self.waits(refusal.to_string())),
        }
    }

    fn waits(&mut self, why: String) -> Left {
        let known = matches!(&self.shown.borrow().state, State::Waiting(known) if *known == why);
        if !known {
            tracing::info!(stream = self.stream, handler = self.options.name, why, "a handler waits");
        }
        self.shown.send_modify(|progress| progress.state = State::Waiting(why));
        Left::Later(self.options.pause_most)
    }

    /// The handler failed, at a message or at its beginning.
    fn fell(&mut self, message: Option<Sequence>, failure: Failure) -> Left {
        let Failure { remedy, text, .. } = failure;
        let mut attempts = 1;
        self.shown.send_modify(|progress| {
            attempts += progress.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
            // Away between two attempts at a message: they are counted on.
            let message = message.or(progress.trouble.as_ref().and_then(|trouble| trouble.message));
            progress.trouble = Some(Trouble { message, attempts, text: text.clone() });
        });
        let (stream, handler) = (&self.stream, &self.options.name);
        tracing::warn!(stream, handler, ?message, attempts, why = text, "a handler failed");
        match remedy {
            Remedy::Again => Left::Again,
            Remedy::Anew => {
                self.shown.send_modify(|progress| progress.state = State::Waiting(text));
                Left::Later(self.options.pause_most)
            }
            Remedy::Never => Left::Over(Over::Failed(text)),
        }
    }

    /// The next pause: each is twice as long as the one before.
    fn next_pause(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.pauses).unwrap_or(u32::MAX);
        self.pauses = self.pauses.saturating_add(1);
        self.options.pause.saturating_mul(factor).min(self.options.pause_most)
    }

    /// Pauses while nothing is attached; `true` if it is to end.
    async fn pause(&mut self, most: Duration) -> bool {
        let pause = self.next_pause().min(most);
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => false,
            () = stopped(&mut stop) => true,
        }
    }

    async fn pause_attached(
        &mut self,
        attachment: &mut Attachment,
        waiting: &mut VecDeque<Message>,
        from: Position,
    ) -> Option<Left> {
        let pause = tokio::time::sleep(self.next_pause());
        let mut pause = std::pin::pin!(pause);
        let mut stop = self.stop.clone();
        loop {
            let handed = tokio::select! {
                () = &mut pause => return None,
                () = stopped(&mut stop) => return Some(Left::Over(Over::Stopped)),
                handed = attachment.next() => handed,
            };
            let Some(handed) = handed else { return Some(Left::Over(Over::NodeStopped)) };
            if let Some(left) = self.handed(waiting, from, handed) {
                return Some(left);
            }
        }
    }
}

/// Waits until the handler is asked to stop, or nobody holds it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Shows why a handler ended, however it did.
struct Said {
    shown: watch::Sender<Progress>,
    over: Over,
}

impl Drop for Said {
    fn drop(&mut self) {
        self.shown.send_modify(|progress| {
            progress.processing = None;
            progress.state = State::Over(self.over.clone());
        });
    }
}
