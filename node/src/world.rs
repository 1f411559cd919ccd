//! The node as this program sees it: a few calls, so that the API and its tests need no real node.

use tokio::sync::broadcast;
use tonic::async_trait;
use wattle_core::id::{AttachToken, NodeId, RequestId, Sequence};
use wattle_core::node::command::{Command, Position, Range, Refusal, Reply};
use wattle_core::node::output::Event;
use wattle_core::node::status::Status;
use wattle_core::update::UpdateKind;
pub use wattle_io::handler::Listed;
pub use wattle_io::store::Written;
pub use wattle_io::{Ended, Handed};

/// One answer to a command.
pub type Answer = Result<Reply, Refusal>;

/// A running node.
#[async_trait]
pub trait World: Clone + Send + Sync + 'static {
    /// The answers to one command.
    type Replies: Replies;
    /// The answers to many commands.
    type Queue: Queue;
    /// An attached handler.
    type Handler: Handler;

    /// Its id.
    fn node(&self) -> NodeId;

    /// Its name.
    fn name(&self) -> String;

    /// Gives it a command; waits while too many wait already. Commands are taken in the order in which these calls return.
    async fn command(&self, command: Command) -> Self::Replies;

    /// A queue for the answers to many commands.
    fn queue(&self) -> Self::Queue;

    /// Attaches a handler to a stream that ends here.
    async fn attach(
        &self,
        stream: String,
        presented: Option<Position>,
        window: u32,
    ) -> Result<Self::Handler, Refusal>;

    /// Reads again what this target has processed and still keeps.
    async fn replay(&self, stream: String, range: Range, window: u32) -> Result<Self::Handler, Refusal>;

    /// Attaches this node's handler of a kind of updates.
    async fn attach_updates(&self, kind: UpdateKind, window: u32) -> Result<Self::Handler, Refusal>;

    /// Events from now on; ends when the node stops.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// What it knows; `None` once it has stopped.
    async fn status(&self) -> Option<Status>;

    /// What its journal has written since it started.
    fn written(&self) -> Written;

    /// The handlers that run in its process.
    fn handlers(&self) -> Vec<Listed>;
}

/// The answers to one command, in order.
#[async_trait]
pub trait Replies: Send + 'static {
    /// The next one; `None` when there will be no more. May be dropped while it waits without losing an answer.
    async fn next(&mut self) -> Option<Answer>;
}

/// Answers to many commands, in the order in which the node gives them. Dropping it forgets those that are open.
#[async_trait]
pub trait Queue: Send + 'static {
    /// Gives the node a command; waits while too many wait already. Its answers bear the number that this gives.
    async fn submit(&mut self, command: Command) -> RequestId;

    /// No more answers are expected to a command.
    fn close(&mut self, request: RequestId);

    /// Waits for answers and takes up to so many of those that are there. Returns how many; 0 when the node stops. May be dropped while it
    /// waits without losing an answer.
    async fn take(&mut self, answers: &mut Vec<(RequestId, Answer)>, most: usize) -> usize;
}

/// An attached handler. Dropping it detaches.
#[async_trait]
pub trait Handler: Send + 'static {
    /// Its token.
    fn token(&self) -> AttachToken;

    /// Deliveries start after it.
    fn position(&self) -> Position;

    /// What comes next; `None` when the node stops. May be dropped while it waits without losing anything.
    async fn next(&mut self) -> Option<Handed>;

    /// The handler is done with everything up to `upto`.
    fn verdict(&mut self, upto: Sequence);

    /// The handler failed at a message; see [`wattle_io::Attachment::failed`].
    fn failed(&mut self, sequence: Sequence, reason: String);

    /// The handler is done with a message that was parked.
    fn retried(&mut self, sequence: Sequence);
}

#[async_trait]
impl World for wattle_io::Running {
    type Replies = wattle_io::Replies;
    type Queue = wattle_io::Queue;
    type Handler = wattle_io::Attachment;

    fn node(&self) -> NodeId {
        self.node_id()
    }

    fn name(&self) -> String {
        Self::name(self).to_owned()
    }

    async fn command(&self, command: Command) -> Self::Replies {
        self.submit(command).await
    }

    fn queue(&self) -> Self::Queue {
        Self::queue(self)
    }

    async fn attach(
        &self,
        stream: String,
        presented: Option<Position>,
        window: u32,
    ) -> Result<Self::Handler, Refusal> {
        Self::attach(self, stream, presented, window).await
    }

    async fn replay(&self, stream: String, range: Range, window: u32) -> Result<Self::Handler, Refusal> {
        Self::replay(self, stream, range, window).await
    }

    async fn attach_updates(&self, kind: UpdateKind, window: u32) -> Result<Self::Handler, Refusal> {
        Self::attach_updates(self, kind, window).await
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        Self::events(self)
    }

    async fn status(&self) -> Option<Status> {
        Self::status(self).await
    }

    fn written(&self) -> Written {
        Self::written(self)
    }

    fn handlers(&self) -> Vec<Listed> {
        Self::handlers(self)
    }
}

#[async_trait]
impl Replies for wattle_io::Replies {
    async fn next(&mut self) -> Option<Answer> {
        Self::next(self).await
    }
}

#[async_trait]
impl Queue for wattle_io::Queue {
    async fn submit(&mut self, command: Command) -> RequestId {
        Self::submit(self, command).await
    }

    fn close(&mut self, request: RequestId) {
        Self::close(self, request);
    }

    async fn take(&mut self, answers: &mut Vec<(RequestId, Answer)>, most: usize) -> usize {
        Self::take(self, answers, most).await
    }
}

#[async_trait]
impl Handler for wattle_io::Attachment {
    fn token(&self) -> AttachToken {
        self.token
    }

    fn position(&self) -> Position {
        self.position
    }

    async fn next(&mut self) -> Option<Handed> {
        Self::next(self).await
    }

    fn verdict(&mut self, upto: Sequence) {
        Self::verdict(self, upto);
    }

    fn failed(&mut self, sequence: Sequence, reason: String) {
        Self::failed(self, sequence, reason);
    }

    fn retried(&mut self, sequence: Sequence) {
        Self::retried(self, sequence);
    }
}
