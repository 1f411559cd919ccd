//! The face of a running node towards the application.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tracing::Span;
use wattle_core::id::{
    AttachToken, AuthorityEpoch, NodeId, RequestId, Sequence, StreamInstance, UpdateNumber,
};
use wattle_core::node::command::{Command, Position, Range, Refusal, Reply};
use wattle_core::node::output::{Delivery, Event};
use wattle_core::node::status::{Served, Status};
use wattle_core::update::{UpdateCommand, UpdateDelivery, UpdateKind};

use crate::error::{StartError, StopReason};
use crate::event::{Ask, Former, Urgent, Verdict};
use crate::handler::{Handler, Handling, List, Listed, Options};
use crate::identity::NodeKeys;
use crate::lanes::{Counts, Lanes};
use crate::settings::Settings;
use crate::store::{Tally, Written};

/// Commands that may wait for the node.
pub(crate) const COMMANDS_WAITING_MAX: usize = 1024;
/// Bytes of messages in commands that may wait for the node; a larger command waits until it is alone.
const COMMAND_BYTES_MAX: u32 = 32 << 20;

/// A running node. Clones share it; when the last one is dropped the node stops.
#[derive(Clone)]
pub struct Running(Arc<Shared>);

struct Shared {
    node: NodeId,
    name: String,
    span: Span,
    listening: Vec<SocketAddr>,
    wires: Wires,
    lanes: Lanes,
    requests: AtomicU64,
    room: Arc<Semaphore>,
    handlers: Arc<List>,
}

/// An answer, and to which request.
pub type Answered = (RequestId, Result<Reply, Refusal>);

/// What leads to the node's thread, and from it.
pub(crate) struct Wires {
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) urgent: mpsc::UnboundedSender<Urgent>,
    pub(crate) events: broadcast::WeakSender<Event>,
    pub(crate) stopped: watch::Receiver<Option<StopReason>>,
    pub(crate) tally: Arc<Tally>,
}

impl Running {
    /// Starts a node; see [`crate::start`].
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        crate::start(settings).await
    }

    pub(crate) fn new(keys: &NodeKeys, listening: Vec<SocketAddr>, wires: Wires, lanes: Lanes) -> Self {
        Self(Arc::new(Shared {
            node: keys.node,
            name: keys.name.clone(),
            span: Span::current(),
            listening,
            wires,
            lanes,
            requests: AtomicU64::new(1),
            room: Arc::new(Semaphore::new(COMMAND_BYTES_MAX as usize)),
            handlers: Arc::default(),
        }))
    }

    /// The node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.0.node
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The span within which everything of this node is logged; it bears the node's name.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.0.span
    }

    /// The addresses it accepts connections on.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.0.listening.clone()
    }

    /// Asks the node for something. Never waits: when too much is waiting already, the answer is [`Refusal::Busy`].
    /// Handlers attach by [`Running::attach`] instead.
    pub fn command(&self, command: Command) -> Replies {
        let (sender, replies) = self.replies();
        let refused = match (
            self.0.wires.asks.try_reserve(),
            Arc::clone(&self.0.room).try_acquire_many_owned(weight(&command)),
        ) {
            (Err(mpsc::error::TrySendError::Closed(())), _) => None,
            (Err(_), _) | (_, Err(_)) => Some(Refusal::Busy),
            (Ok(place), Ok(room)) => {
                place.send(Ask::Command { request: replies.request, command, replies: sender.clone(), room });
                None
            }
        };
        if let Some(refusal) = refused {
            let _ = sender.send((replies.request, Err(refusal)));
        }
        replies
    }

    /// Like [`Running::command`], but waits until there is room: for callers that pass the waiting on to a publisher.
    pub async fn submit(&self, command: Command) -> Replies {
        let (sender, replies) = self.replies();
        self.submit_for(replies.request, command, sender).await;
        replies
    }

    async fn submit_for(
        &self,
        request: RequestId,
        command: Command,
        replies: mpsc::UnboundedSender<Answered>,
    ) {
        let room = Arc::clone(&self.0.room).acquire_many_owned(weight(&command)).await;
        if let Ok(room) = room {
            // Fails only when the node has stopped, and then no answer comes.
            let _ = self.0.wires.asks.send(Ask::Command { request, command, replies, room }).await;
        }
    }

    fn replies(&self) -> (mpsc::UnboundedSender<Answered>, Replies) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let request = self.request();
        (sender, Replies { request, receiver, urgent: self.0.wires.urgent.clone() })
    }

    /// A queue for the answers to many commands.
    #[must_use]
    pub fn queue(&self) -> Queue {
        let (sender, receiver) = mpsc::unbounded_channel();
        let stopped = self.0.wires.stopped.clone();
        Queue { running: self.clone(), sender, receiver, stopped, open: BTreeSet::new() }
    }

    fn request(&self) -> RequestId {
        RequestId(self.0.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// Attaches a handler, which takes over from the one before. Dropping the attachment detaches it.
    ///
    /// # Errors
    /// The node's [`Refusal`]; [`Refusal::Invalid`] too when the node has stopped.
    pub async fn attach(
        &self,
        stream: String,
        presented: Option<Position>,
        window: u32,
    ) -> Result<Attachment, Refusal> {
        self.attach_by(Command::Attach { stream, presented, window }, Former::Anybody).await
    }

    /// Like [`Running::attach`], but takes over from those alone that `former` names: [`Refusal::Superseded`] if another is attached, and
    /// [`Refusal::Busy`] if one waits to be.
    pub(crate) async fn attach_from(
        &self,
        stream: String,
        presented: Option<Position>,
        window: u32,
        former: Former,
    ) -> Result<Attachment, Refusal> {
        self.attach_by(Command::Attach { stream, presented, window }, former).await
    }

    /// Reads again what this target of the stream has processed and still keeps, beside its handler and without moving anything. Deliveries come as to a handler,
    /// verdicts make room for more, and dropping the attachment ends it. The last that comes is [`Handed::Ended`]: with [`Ended::Replayed`] behind the range, with
    /// [`Refusal::Released`], which names where it may go on, if what it was to be handed next was let go.
    ///
    /// # Errors
    /// The node's [`Refusal`]; [`Refusal::Invalid`] too when the node has stopped.
    pub async fn replay(&self, stream: String, range: Range, window: u32) -> Result<Attachment, Refusal> {
        self.attach_by(Command::Replay { stream, range, window }, Former::Anybody).await
    }

    /// Attaches this node's handler of a kind of updates, which takes over from the one before. Dropping the attachment detaches it.
    ///
    /// # Errors
    /// The node's [`Refusal`]; [`Refusal::Invalid`] too when the node has stopped.
    pub async fn attach_updates(&self, kind: UpdateKind, window: u32) -> Result<Attachment, Refusal> {
        self.attach_by(Command::Update(UpdateCommand::Attach { kind, window }), Former::Anybody).await
    }

    async fn attach_by(&self, command: Command, former: Former) -> Result<Attachment, Refusal> {
        let request = self.request();
        // Before the channel, so that it is dropped after it: nobody waits any more when the node hears of it.
        let mut given_up = GivenUp { request, urgent: Some(self.0.wires.urgent.clone()) };
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Attach { request, command, former, answer };
        let stopped = || Refusal::Invalid("the node has stopped".to_owned());
        self.0.wires.asks.send(ask).await.map_err(|_| stopped())?;
        let result = answered.await.map_err(|_| stopped())?;
        given_up.urgent = None;
        result
    }

    /// Has a handler called with the messages of a stream that ends at this node: now and whenever there is a stream of that name. It holds the node
    /// while it runs, on the tokio runtime of the caller.
    #[must_use = "dropping it stops the handler"]
    pub fn handle<H: Handler>(&self, stream: &str, handler: H, options: Options) -> Handling {
        Handling::begin(self.clone(), stream, handler, options)
    }

    /// The handlers that were given to [`Running::handle`] and are held.
    #[must_use]
    pub fn handlers(&self) -> Vec<Listed> {
        self.0.handlers.all()
    }

    pub(crate) fn list(&self) -> Arc<List> {
        Arc::clone(&self.0.handlers)
    }

    /// What the node knows of itself and the mesh; `None` when it has stopped.
    pub async fn status(&self) -> Option<Status> {
        let (answer, answered) = oneshot::channel();
        self.0.wires.asks.send(Ask::Status { answer }).await.ok()?;
        answered.await.ok()?
    }

    /// What a handler that is to attach to a stream here must know of it, or why it cannot be told; `None` when the node has stopped.
    pub(crate) async fn served(&self, stream: &str) -> Option<Result<Option<Served>, Refusal>> {
        let (answer, answered) = oneshot::channel();
        self.0.wires.asks.send(Ask::Served { stream: stream.to_owned(), answer }).await.ok()?;
        answered.await.ok()
    }

    /// Events from now on. A receiver that is slow loses the oldest and is told so; it ends when the node stops.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        match self.0.wires.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// What connections have come to.
    #[must_use]
    pub fn connections(&self) -> Counts {
        self.0.lanes.counts()
    }

    /// What its journal has written since it started.
    #[must_use]
    pub fn written(&self) -> Written {
        self.0.wires.tally.written()
    }

    /// Waits until the node has stopped, and tells why.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.0.wires.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(StopReason::Asked),
            Err(_) => StopReason::Asked,
        }
    }

    /// Stops the node: what it has handed out is written and sent, connections are closed, the store is closed and the data
    /// directory free when this returns.
    pub async fn stop(&self) -> StopReason {
        let _ = self.0.wires.urgent.send(Urgent::Stop);
        self.stopped().await
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("node", &self.0.node)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

/// Room that a command takes while it waits.
fn weight(command: &Command) -> u32 {
    let bytes = match command.inner() {
        Command::Publish { messages, .. } => messages.iter().map(|message| message.len() + 64).sum(),
        Command::Stage { part, .. } => part.bytes.len() + 256,
        Command::Update(UpdateCommand::Send { key, payload, .. }) => key.len() + payload.len() + 256,
        Command::Config(command) => 256 + command.bytes(),
        _ => 256,
    };
    u32::try_from(bytes).unwrap_or(u32::MAX).min(COMMAND_BYTES_MAX)
}

/// The answers to one command. Dropping it forgets the request, which is carried out all the same.
#[derive(Debug)]
pub struct Replies {
    request: RequestId,
    receiver: mpsc::UnboundedReceiver<Answered>,
    urgent: mpsc::UnboundedSender<Urgent>,
}

impl Replies {
    /// The next answer; `None` when there are no more, or the node has stopped. For a publish that means: what was not
    /// answered is unknown, and is asked again with the same writer and numbers.
    pub async fn next(&mut self) -> Option<Result<Reply, Refusal>> {
        self.receiver.recv().await.map(|(_, answer)| answer)
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        if !self.receiver.is_closed() {
            // Before the node hears of it: it may not have taken the command yet, and then looks whether anybody waits.
            self.receiver.close();
            let _ = self.urgent.send(Urgent::Forget { request: self.request });
        }
    }
}

/// Answers to many commands, in the order in which the node gives them: whoever has many commands under way waits once for all of them. Dropping
/// it forgets the requests that are open, which are carried out all the same.
#[derive(Debug)]
pub struct Queue {
    running: Running,
    sender: mpsc::UnboundedSender<Answered>,
    receiver: mpsc::UnboundedReceiver<Answered>,
    stopped: watch::Receiver<Option<StopReason>>,
    open: BTreeSet<RequestId>,
}

impl Queue {
    /// Asks the node for something; waits until there is room. Its answers bear the number that this gives.
    pub async fn submit(&mut self, command: Command) -> RequestId {
        let request = self.running.request();
        self.open.insert(request);
        self.running.submit_for(request, command, self.sender.clone()).await;
        request
    }

    /// No more answers are expected to a request.
    pub fn close(&mut self, request: RequestId) {
        self.open.remove(&request);
    }

    /// Waits for answers and takes up to so many of those that are there. Returns how many; 0 when the node has stopped, and what was not
    /// answered is unknown. May be dropped while it waits without losing an answer.
    pub async fn take(&mut self, answers: &mut Vec<Answered>, most: usize) -> usize {
        tokio::select! {
            biased;
            count = self.receiver.recv_many(answers, most) => count,
            _ = self.stopped.wait_for(Option::is_some) => {
                // The node said all this before it stopped.
                let before = answers.len();
                while answers.len() - before < most && let Ok(answer) = self.receiver.try_recv() {
                    answers.push(answer);
                }
                answers.len() - before
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Before the node hears of it: it may not have taken a command yet, and then looks whether anybody waits.
        self.receiver.close();
        for request in std::mem::take(&mut self.open) {
            let _ = self.running.0.wires.urgent.send(Urgent::Forget { request });
        }
    }
}

/// Tells the node when nobody waits to be attached any more.
struct GivenUp {
    request: RequestId,
    urgent: Option<mpsc::UnboundedSender<Urgent>>,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(urgent) = &self.urgent {
            let _ = urgent.send(Urgent::Forget { request: self.request });
        }
    }
}

/// What a handler is handed.
#[derive(Clone, Debug)]
pub enum Handed {
    /// Messages, in order.
    Delivery(Delivery),
    /// Updates, in order.
    Updates(UpdateDelivery),
    /// An answer to [`Attachment::failed`], unless it was about a parked message.
    Failed {
        /// The message.
        sequence: Sequence,
        /// Whether to go on behind it: it is parked, or known to be processed. Otherwise it is to be tried again.
        passed: bool,
    },
    /// Nothing more comes.
    Ended(Ended),
}

/// Why nothing more comes to a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Another handler took over: the newest one is served.
    TakenOver,
    /// The node has learnt of a higher mark, or let go of what a replay still needed. Attaching again tells where the handler goes on.
    Outrun,
    /// A replay handed over the last message of its range.
    Replayed,
    /// The stream was closed, or has stopped on this node; or what a replay was to be handed next is gone.
    Refused(Refusal),
}

/// An attached handler. Dropping it detaches the handler.
#[derive(Debug)]
pub struct Attachment {
    /// Its token.
    pub token: AttachToken,
    /// Deliveries start after this position. Of a handler of updates, it names no stream and the number of an update.
    pub position: Position,
    handed: mpsc::UnboundedReceiver<Handed>,
    verdict: Arc<Verdict>,
    /// Bytes of pieces of large messages that came out here.
    took: u64,
    urgent: mpsc::UnboundedSender<Urgent>,
}

impl Attachment {
    pub(crate) fn new(
        token: AttachToken,
        position: Position,
        handed: mpsc::UnboundedReceiver<Handed>,
        urgent: mpsc::UnboundedSender<Urgent>,
    ) -> Self {
        Self { token, position, handed, verdict: Arc::new(Verdict::new(token)), took: 0, urgent }
    }

    /// The position of a handler of updates that has processed all up to `after`.
    pub(crate) const fn of_updates(after: UpdateNumber) -> Position {
        let sequence = Sequence(after.0);
        Position { instance: StreamInstance(0), authority: AuthorityEpoch(0), sequence }
    }

    /// What is handed over next; `None` after [`Handed::Ended`], or when the node has stopped. The window given when
    /// attaching bounds what can wait here, and of large messages, which come in pieces, so do the bytes that the node's settings say: more comes
    /// only when these are taken out.
    pub async fn next(&mut self) -> Option<Handed> {
        let handed = self.receive().await;
        if let Some(Handed::Delivery(delivery)) = &handed {
            let pieces = delivery.messages.iter().filter(|message| message.piece.is_some());
            self.took(pieces.map(|message| message.bytes.len() as u64).sum());
        }
        handed
    }

    /// The same, for whoever says by itself that it took pieces.
    pub(crate) async fn receive(&mut self) -> Option<Handed> {
        self.handed.recv().await
    }

    /// What [`Attachment::receive`] would give at once.
    pub(crate) fn try_receive(&mut self) -> Option<Handed> {
        self.handed.try_recv().ok()
    }

    /// So many more bytes of pieces were taken: as many others may come.
    pub(crate) fn took(&mut self, bytes: u64) {
        if bytes > 0 {
            self.took += bytes;
            let _ = self.urgent.send(Urgent::Took { token: self.token, bytes: self.took });
        }
    }

    /// The message behind the last one that was processed could not be, or a parked one that was handed over again. It is answered by [`Handed::Failed`], unless it was
    /// parked, and must not be tried again before: it may be about to be parked.
    pub fn failed(&self, sequence: Sequence, reason: String) {
        let _ = self.urgent.send(Urgent::Failed { token: self.token, sequence, reason });
    }

    /// A message that was parked, and handed over again, was processed successfully.
    pub fn retried(&self, sequence: Sequence) {
        let _ = self.urgent.send(Urgent::Retried { token: self.token, sequence });
    }

    /// Everything up to `upto` was processed successfully.
    pub fn verdict(&self, upto: Sequence) {
        if self.verdict.note(upto) {
            let _ = self.urgent.send(Urgent::Verdict(Arc::clone(&self.verdict)));
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // In the same queue as the verdicts: one given before is told before.
        let _ = self.urgent.send(Urgent::Detach { token: self.token });
    }
}
