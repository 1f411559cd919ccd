//! What calls a handler.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;
use wattle_core::id::{Sequence, StreamInstance};
use wattle_core::node::command::{Position, Refusal};
use wattle_core::node::output::Delivery;

use super::progress::{Over, Progress, State, Trouble};
use super::waiting::Waiting;
use super::{Failure, Handler, Life, Message, Options, Piece, Remedy};
use crate::event::Former;
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
        former: Former,
    ) -> impl Future<Output = Result<Attachment, Refusal>> + Send;
}

/// Why there is nothing to attach to.
#[derive(Debug)]
pub(super) enum NoLife {
    Stopped,
    /// There is no stream of that name.
    NoStream(String),
    NotYet(String),
}

impl Node for Running {
    async fn life(&self, stream: &str) -> Result<Life, NoLife> {
        let served = self.served(stream).await.ok_or(NoLife::Stopped)?;
        let served = served.map_err(|refusal| match refusal {
            Refusal::UnknownStream(_) => NoLife::NoStream(refusal.to_string()),
            _ => NoLife::NotYet(refusal.to_string()),
        })?;
        let served = served.ok_or_else(|| {
            let why = "this node is no target of the stream: a handler runs where its messages go to";
            NoLife::NotYet(why.to_owned())
        })?;
        Ok(Life {
            stream: stream.to_owned(),
            instance: served.instance,
            authority: served.authority,
            node: self.node_id(),
            gone: served.gone,
            taken: served.taken,
        })
    }

    async fn attach(
        &self,
        stream: &str,
        presented: Option<Position>,
        window: u32,
        former: Former,
    ) -> Result<Attachment, Refusal> {
        self.attach_from(stream.to_owned(), presented, window, former).await
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
    /// It asked to be attached before: whoever else is attached now came later.
    came: bool,
    /// The life of the stream that it was attached to.
    instance: Option<StreamInstance>,
    /// What it was attached by when it failed. While this is held, nothing that it may present again is let go, and it learns of whoever takes over.
    held: Option<Attachment>,
    /// The message that failed, and how often in a row, whatever else failed meanwhile.
    failed: Option<(Sequence, u64)>,
    /// The trouble that is shown came of a call that began with this message.
    trouble_at: Option<Sequence>,
    /// What was logged of why it waits.
    logged: String,
    /// The node's answer to the last failure: whether to go on behind that message.
    answer: Option<(Sequence, bool)>,
    /// Messages that were parked, and are to be tried again.
    parked: VecDeque<Message>,
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
        Self {
            node,
            stream,
            handler,
            options,
            shown,
            stop,
            pauses: 0,
            came: false,
            instance: None,
            held: None,
            failed: None,
            trouble_at: None,
            logged: String::new(),
            answer: None,
            parked: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self) {
        // Says so too when this is dropped: at a panic of the handler, or the end of the runtime.
        let mut said = Said { shown: self.shown.clone(), over: Over::Broken };
        said.over = loop {
            match self.once().await {
                Left::Over(over) => break over,
                Left::Again => {}
                Left::Later(most) => {
                    if let Some(over) = self.pause(most).await {
                        break over;
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
            Ok(life) if self.instance.is_some_and(|before| before != life.instance) => {
                return Left::Over(Over::Closed);
            }
            Ok(life) => life,
            Err(NoLife::Stopped) => return Left::Over(Over::NodeStopped),
            Err(NoLife::NoStream(_)) if self.instance.is_some() => return Left::Over(Over::Closed),
            Err(NoLife::NoStream(why) | NoLife::NotYet(why)) => {
                self.waits(why);
                return Left::Later(self.options.pause_most.min(LOOK_AGAIN));
            }
        };
        let mut stop = self.stop.clone();
        let begun = tokio::select! {
            begun = self.handler.begin(&life) => begun,
            over = ended(&mut self.held) => return Left::Over(over),
            () = stopped(&mut stop) => return Left::Over(Over::Stopped),
        };
        let presented = match begun {
            Ok(presented) => presented,
            Err(failure) => return self.fell(None, failure),
        };
        self.attaches(&life, presented);
        let former = match std::mem::replace(&mut self.came, true) {
            true => Former::Itself(self.held.as_ref().map(|held| held.token)),
            false => Former::Anybody,
        };
        let attach = self.node.attach(&self.stream, presented, self.options.window.max(1), former);
        // What was read of a store is true for a moment: somebody may take it back while the node waits to hear of that position.
        let within = self.options.pause_most.max(LOOK_AGAIN);
        let attached = tokio::select! {
            attached = tokio::time::timeout(within, attach) => attached,
            () = stopped(&mut stop) => return Left::Over(Over::Stopped),
        };
        match attached {
            Ok(Ok(attachment)) => {
                self.held = None;
                self.attached(&life, attachment).await
            }
            Ok(Err(Refusal::Superseded)) => Left::Over(Over::TakenOver),
            // Of a good position, too, by a leader that does not know yet that it is replaced: it is presented again.
            Ok(Err(refusal)) => self.refused(&life, &refusal),
            Err(_) => Left::Again,
        }
    }

    /// It asks to be attached.
    fn attaches(&mut self, life: &Life, presented: Option<Position>) {
        match presented.filter(|position| position.sequence > life.taken) {
            Some(position) => {
                let (taken, stored) = (life.taken, position.sequence);
                self.waits(format!(
                    "this node knows the stream up to message {taken}, and the handler's store stands at {stored}: the others are asked"
                ));
            }
            None => self.shown.send_modify(|progress| progress.state = State::Attaching),
        }
    }

    async fn attached(&mut self, life: &Life, mut attachment: Attachment) -> Left {
        let from = attachment.position;
        if from.instance != life.instance {
            // Closed and opened again since it began.
            return Left::Again;
        }
        self.instance = Some(from.instance);
        tracing::info!(stream = self.stream, handler = self.options.name, after = %from.sequence, "a handler is attached");
        self.shown.send_modify(|progress| {
            progress.state = State::Attached;
            progress.received = from.sequence;
            progress.done = from.sequence;
            // What did not let it attach is made up for; what failed of a call is not.
            if self.trouble_at.is_none_or(|at| at <= from.sequence) {
                progress.trouble = None;
                self.pauses = 0;
            }
        });
        let mut waiting = Waiting::default();
        self.parked.clear();
        loop {
            while let Some(handed) = attachment.try_receive() {
                if let Some(left) = self.handed(&mut waiting, from, handed) {
                    return left;
                }
            }
            attachment.took(waiting.taken());
            if *self.stop.borrow() {
                return Left::Over(Over::Stopped);
            }
            if let Some(message) = self.parked.pop_front() {
                if let Some(failure) = self.try_parked(&message, &attachment).await {
                    self.held = Some(attachment);
                    return self.fell(None, failure);
                }
                continue;
            }
            if waiting.is_empty() {
                let mut stop = self.stop.clone();
                let handed = tokio::select! {
                    handed = attachment.receive() => handed,
                    () = stopped(&mut stop) => return Left::Over(Over::Stopped),
                };
                let Some(handed) = handed else { return Left::Over(Over::NodeStopped) };
                if let Some(left) = self.handed(&mut waiting, from, handed) {
                    return left;
                }
                continue;
            }
            let Err(failure) = self.call(&mut waiting, &attachment).await else { continue };
            let next = waiting.first().map(|message| message.position.sequence);
            // The pieces before one that failed are gone: they come again with the next attachment.
            let in_pieces = waiting.first().is_some_and(|message| message.piece.is_some());
            let remedy = failure.remedy;
            if let Some(sequence) = next.filter(|_| remedy == Remedy::Again) {
                self.answer = None;
                attachment.failed(sequence, failure.text.clone());
            }
            let left = self.fell(next, failure);
            match remedy {
                Remedy::Again if in_pieces => {
                    self.held = Some(attachment);
                    return Left::Later(self.options.pause_most);
                }
                Remedy::Again => {}
                Remedy::Anew => {
                    self.held = Some(attachment);
                    return left;
                }
                Remedy::Never => return left,
            }
            // Who took over, or that the node stopped, is not to be learnt at the end of a long pause only.
            if let Some(left) = self.pause_attached(&mut attachment, &mut waiting, from).await {
                return left;
            }
            if let Some((sequence, true)) = self.answer.take() {
                self.goes_on_behind(sequence, &mut waiting);
            }
        }
    }

    /// Has the handler try a parked message again. `Some`: it is to begin anew.
    async fn try_parked(&mut self, message: &Message, attachment: &Attachment) -> Option<Failure> {
        let sequence = message.position.sequence;
        self.shown.send_modify(|progress| progress.processing = Some((sequence, sequence)));
        let result = self.handler.handle_parked(message).await;
        self.shown.send_modify(|progress| progress.processing = None);
        match result {
            Ok(()) => attachment.retried(sequence),
            Err(failure) => {
                attachment.failed(sequence, failure.text.clone());
                return Some(failure).filter(|failure| failure.remedy != Remedy::Again);
            }
        }
        None
    }

    /// The message that failed is parked.
    fn goes_on_behind(&mut self, sequence: Sequence, waiting: &mut Waiting) {
        if waiting.first().is_some_and(|message| message.position.sequence == sequence) {
            waiting.done(1);
        }
        (self.failed, self.trouble_at, self.pauses) = (None, None, 0);
        self.shown.send_modify(|progress| {
            progress.done = progress.done.max(sequence);
            progress.trouble = None;
        });
        tracing::warn!(stream = self.stream, handler = self.options.name, message = %sequence, "a handler goes on behind a message that it failed at");
    }

    /// Calls the handler once, and says what came of it.
    async fn call(&mut self, waiting: &mut Waiting, attachment: &Attachment) -> Result<(), Failure> {
        let piece = waiting.first().and_then(Message::as_piece);
        let count = if piece.is_some() { 1 } else { self.count(waiting) };
        let array = waiting.array(count);
        let place = |message: Option<&Message>| message.map(|message| message.position.sequence);
        let ends = place(array.first()).zip(place(array.last()));
        self.shown.send_modify(|progress| progress.processing = ends);
        let result = match &piece {
            Some(piece) => self.handler.handle_piece(piece).await,
            None => self.handler.handle(array).await,
        };
        let done = match &result {
            Ok(()) => count,
            // Of all but the last at most, or nothing would have failed.
            Err(failure) => failure.done.min(count.saturating_sub(1)),
        };
        let upto = place(array.get(..done).and_then(<[Message]>::last));
        let upto = upto.filter(|_| piece.as_ref().is_none_or(Piece::is_last));
        waiting.done(done);
        self.shown.send_modify(|progress| {
            progress.processing = None;
            progress.done = upto.unwrap_or(progress.done);
            if upto.is_some() {
                progress.trouble = None;
            }
        });
        if let Some(upto) = upto {
            self.pauses = 0;
            (self.failed, self.trouble_at) = (None, None);
            attachment.verdict(upto);
        }
        result
    }

    /// How many messages the next call is to be given: those that failed come alone.
    fn count(&self, waiting: &Waiting) -> usize {
        if self.pauses > 0 {
            return 1;
        }
        let mut bytes = 0;
        let fits = |message: &&Message| {
            bytes += message.length();
            bytes <= self.options.array_bytes && message.piece.is_none()
        };
        waiting.iter().take(self.options.array.max(1)).take_while(fits).count().max(1)
    }

    /// Something was handed over.
    fn handed(&mut self, waiting: &mut Waiting, from: Position, handed: Handed) -> Option<Left> {
        match handed {
            Handed::Delivery(Delivery { instance, messages, .. }) => {
                let received = messages.last().map_or(Sequence(0), |last| last.sequence);
                self.shown.send_modify(|progress| progress.received = progress.received.max(received));
                for message in messages {
                    let parked = message.parked;
                    let message = Message::delivered(instance, from.authority, message);
                    match parked {
                        true => self.parked.push_back(message),
                        false => waiting.hand(message, self.options.message_bytes),
                    }
                }
                None
            }
            Handed::Failed { sequence, passed } => {
                self.answer = Some((sequence, passed));
                None
            }
            Handed::Updates(_) => unreachable!("an attachment to a stream is handed no updates"),
            Handed::Ended(Ended::TakenOver) => Some(Left::Over(Over::TakenOver)),
            Handed::Ended(Ended::Outrun) => Some(Left::Again),
            Handed::Ended(Ended::Replayed) => unreachable!("a handler does not replay"),
            Handed::Ended(Ended::Refused(Refusal::StreamClosed)) => Some(Left::Over(Over::Closed)),
            Handed::Ended(Ended::Refused(refusal)) => Some(self.stands_still(refusal.to_string())),
        }
    }

    /// It waits for what comes by itself.
    fn waits(&mut self, why: String) {
        if self.logged != why {
            tracing::info!(stream = self.stream, handler = self.options.name, why, "a handler waits");
            self.logged.clone_from(&why);
        }
        self.shown.send_modify(|progress| progress.state = State::Waiting(why));
    }

    /// The node does not attach it.
    fn refused(&mut self, life: &Life, refusal: &Refusal) -> Left {
        let passes = matches!(
            refusal,
            Refusal::Busy
                | Refusal::NotMember
                | Refusal::MeshStopped
                | Refusal::StreamClosed
                | Refusal::UnknownStream(_)
                | Refusal::WrongNode { .. }
        );
        if passes {
            self.waits(refusal.to_string());
            return Left::Later(self.options.pause_most);
        }
        let advice =
            self.handler.advice(life, refusal).map_or_else(String::new, |advice| format!(": {advice}"));
        self.stands_still(format!("{refusal}{advice}"))
    }

    /// It waits for a person.
    fn stands_still(&mut self, why: String) -> Left {
        if self.logged != why {
            tracing::warn!(
                stream = self.stream,
                handler = self.options.name,
                why,
                "a handler is not attached"
            );
            self.logged.clone_from(&why);
        }
        self.trouble_at = None;
        self.shown.send_modify(|progress| {
            let same =
                progress.trouble.take().filter(|before| before.message.is_none() && before.text == why);
            let attempts = 1 + same.map_or(0, |before| before.attempts);
            progress.trouble = Some(Trouble { message: None, attempts, text: why.clone() });
            progress.state = State::Waiting(why);
        });
        Left::Later(self.options.pause_most)
    }

    /// The handler failed: in a call that was left with this message, or at its beginning.
    fn fell(&mut self, at: Option<Sequence>, failure: Failure) -> Left {
        let Failure { remedy, text, .. } = failure;
        // That a store is away is no fault of a message.
        let message = at.filter(|_| remedy == Remedy::Again);
        let before = match message {
            Some(_) => {
                self.failed.filter(|(failed, _)| Some(*failed) == message).map(|(_, attempts)| attempts)
            }
            None => {
                let shown = self.shown.borrow();
                shown
                    .trouble
                    .as_ref()
                    .filter(|trouble| trouble.message.is_none())
                    .map(|trouble| trouble.attempts)
            }
        };
        let attempts = 1 + before.unwrap_or(0);
        self.failed = message.map(|message| (message, attempts)).or(self.failed);
        self.trouble_at = at.or(self.trouble_at);
        let trouble = Trouble { message, attempts, text: text.clone() };
        self.shown.send_modify(|progress| progress.trouble = Some(trouble));
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

    /// Pauses on the way to attach again; tells why, if it is to end.
    async fn pause(&mut self, most: Duration) -> Option<Over> {
        let pause = self.next_pause().min(most);
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => None,
            over = ended(&mut self.held) => Some(over),
            () = stopped(&mut stop) => Some(Over::Stopped),
        }
    }

    async fn pause_attached(
        &mut self,
        attachment: &mut Attachment,
        waiting: &mut Waiting,
        from: Position,
    ) -> Option<Left> {
        let pause = tokio::time::sleep(self.next_pause());
        let mut pause = std::pin::pin!(pause);
        let mut over = false;
        let mut stop = self.stop.clone();
        loop {
            // The node says whether the message is to be tried again, and must be heard: it may be about to park it.
            match self.answer {
                Some((_, true)) => return None,
                Some((_, false)) if over || !self.parked.is_empty() => return None,
                _ => {}
            }
            let handed = tokio::select! {
                () = &mut pause, if !over => {
                    over = true;
                    continue;
                }
                () = stopped(&mut stop) => return Some(Left::Over(Over::Stopped)),
                handed = attachment.receive() => handed,
            };
            let Some(handed) = handed else { return Some(Left::Over(Over::NodeStopped)) };
            if let Some(left) = self.handed(waiting, from, handed) {
                return Some(left);
            }
        }
    }
}

/// Waits until what a handler holds says that it is to end. What is handed over meanwhile comes again.
async fn ended(held: &mut Option<Attachment>) -> Over {
    loop {
        let Some(attachment) = held else { return std::future::pending().await };
        match attachment.next().await {
            None => return Over::NodeStopped,
            Some(Handed::Ended(Ended::TakenOver)) => return Over::TakenOver,
            Some(Handed::Ended(Ended::Refused(Refusal::StreamClosed))) => return Over::Closed,
            Some(Handed::Ended(_)) => *held = None,
            Some(_) => {}
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
