//! Handlers inside the process: what an application does with the messages of a stream, and what calls it.
//!
//! Implement [`Handler`], give it to [`Running::handle`], and it is called with the messages of a stream that ends at this node: in order, again until
//! it succeeds, and never again once its success is recorded. It attaches as the clients of the API do, and there is one handler per stream and target: the
//! newest is served.
//!
//! # What is exactly once, and what is not
//!
//! The record of success is exactly once. The *call* is at least once: between an effect and its record a process can die, and then the calls that were
//! under way (at most the window, [`Options::window`]; one if it is one) are made again. What makes the effect happen once is one of two contracts:
//!
//! | contract | the handler | where it goes on |
//! | --- | --- | --- |
//! | idempotent | uses [`Message::key`] to see that it did this before: the key is the same however often and in whatever life of node or session a message comes | after the mark of this node |
//! | transactional | stores [`Message::position`] in the transaction of its effect, and gives it back in [`Handler::begin`] | after that position: what the node knows beyond is handed over again as far as it is kept, and what it does not know yet is waited for |
//!
//! An effect that is neither (a mail, a call to somebody else's service without a key) may happen twice for the calls under way at a crash, and no broker can
//! change that. A third contract, *mesh-internal* (consume from one stream and publish into another in one commit), is not there: the record of a mark and
//! that of an accepted message are separate writes, so a crash can come between them. What comes near it today is to publish under a writer id of its own
//! with the sequence of the consumed message as the writer's number: a message that is handed over again is published under the same number and adds
//! nothing, for as long as each message leads to one.
//!
//! # Example
//!
//! A handler that keeps the place itself. Its store here is memory, so it is as lasting as the process; a database does the two assignments of
//! `handle` in one transaction.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use wattle_core::node::command::Position;
//! use wattle_io::handler::{Failure, Handler, Life, Message, Options};
//!
//! #[derive(Default)]
//! struct Store {
//!     words: Vec<String>,
//!     position: Option<Position>,
//! }
//!
//! struct Words(Arc<Mutex<Store>>);
//!
//! impl Handler for Words {
//!     async fn begin(&mut self, life: &Life) -> Result<Option<Position>, Failure> {
//!         // Nothing stored: from the beginning. (A handler that keeps no place leaves this function away.)
//!         Ok(Some(self.0.lock().unwrap().position.unwrap_or(life.beginning())))
//!     }
//!
//!     async fn handle(&mut self, messages: &[Message]) -> Result<(), Failure> {
//!         for (done, message) in messages.iter().enumerate() {
//!             let body = message.body().whole().await?;
//!             let word = String::from_utf8(body.to_vec())
//!                 .map_err(|_| Failure::message("it is no UTF-8").after(done))?;
//!             let mut store = self.0.lock().unwrap();
//!             store.words.push(word);
//!             store.position = Some(message.position);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # use wattle_core::{ends::Terms, id::{WriterId, WriterSequence}, node::command::{Command, Reply, Waited}};
//! # use wattle_io::{Running, Settings};
//! # async fn ask(node: &Running, command: Command) -> Reply {
//! #     node.command(command).next().await.unwrap().unwrap()
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let dir = tempfile::tempdir().unwrap();
//! # let settings = |name: &str| Settings {
//! #     name: Some(name.to_owned()), listen: vec!["127.0.0.1:0".to_owned()], reserve_bytes: 0, ..Settings::new(dir.path().join(name))
//! # };
//! # let here = Running::start(settings("here")).await.unwrap();
//! # ask(&here, Command::Seed { name: "willow".into() }).await;
//! # let Reply::Token { token } = ask(&here, Command::Invite).await else { panic!() };
//! # let there = Running::start(settings("there")).await.unwrap();
//! # ask(&there, Command::Join { token }).await;
//! # ask(&here, Command::OpenStream { name: "words".into(), source: "here".into(), targets: vec!["there".into()], terms: Terms::default() }).await;
//! let store = Arc::new(Mutex::new(Store::default()));
//! let handling = there.handle("words", Words(Arc::clone(&store)), Options::default());
//! # let (stream, writer, first) = ("words".to_owned(), WriterId(1), WriterSequence(1));
//! # let messages = vec!["one".into(), "two".into()];
//! # let mut replies = here.command(Command::Publish { stream, writer, first, messages, wait: Waited::Completed });
//! # while let Some(reply) = replies.next().await {
//! #     if matches!(reply.unwrap(), Reply::Published(receipt) if receipt.level == Waited::Completed) { break }
//! # }
//! // Elsewhere "one" and "two" were published. That they are completed says that this handler processed them.
//! assert_eq!(store.lock().unwrap().words, ["one", "two"]);
//! assert_eq!(handling.progress().done.0, 2);
//! handling.stop().await;
//! # }
//! ```
//!
//! [`Running::handle`]: crate::Running::handle

mod list;
mod message;
mod progress;
mod run;
mod waiting;

use std::time::Duration;

use wattle_core::id::{AuthorityEpoch, NodeId, Sequence, StreamInstance};
use wattle_core::node::command::{Position, Refusal};

pub(crate) use list::List;
pub use list::{Handling, Listed};
pub use message::{Body, Key, Message, Piece};
pub use progress::{Over, Progress, State, Trouble};

/// What an application does with the messages of a stream. See the [module](self) for the contracts.
pub trait Handler: Send + 'static {
    /// Called before each attaching: at the start, and whenever the handler must attach again. The place to connect, and to look whether the handler can
    /// work at all.
    ///
    /// A transactional handler gives the position stored with its last effect, [`Life::beginning`] if there is none: that is refused if the node let
    /// anything go, and [`Life::after`] [`Life::gone`] goes on without that. An idempotent one gives `None`, and
    /// goes on after what this node has recorded as processed.
    ///
    /// It is cut short if the handler is stopped.
    ///
    /// # Errors
    /// Of any kind but [`Failure::stop`], it is called again after a pause.
    fn begin(&mut self, life: &Life) -> impl Future<Output = Result<Option<Position>, Failure>> + Send {
        let _ = life;
        async { Ok(None) }
    }

    /// What an operator can do about a refusal of the position that it presented, in terms of its store: said behind the refusal.
    fn advice(&self, life: &Life, refusal: &Refusal) -> Option<String> {
        let _ = (life, refusal);
        None
    }

    /// Processes messages: one at least, in order, following the last that was processed. Success is that of all of them, and is recorded once.
    ///
    /// A call is brought to its end even if meanwhile the handler was stopped or another one took over, and then counts for nothing: only the
    /// end of the process, or of its runtime, cuts it short.
    ///
    /// # Errors
    /// [`Failure`] says how many were processed all the same, and what is to be done about the next one.
    fn handle(&mut self, messages: &[Message]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Processes a message that was parked, as an operator asked for: outside of the order and of the position, which stays where it is, however far it is by now. Unless a
    /// handler says what it does with one, that is a failure, and the message stays parked. It may come again although it was processed, if the node falls before
    /// that is recorded, under the same key.
    ///
    /// # Errors
    /// The message stays parked. After [`Failure::away`] the handler begins anew.
    fn handle_parked(&mut self, message: &Message) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = message;
        async { Err(Failure::message("this handler does not take up again what was parked")) }
    }

    /// Processes the next piece of a message that is larger than [`Options::message_bytes`]: one message at a time, its pieces in order. The message is
    /// processed when the last piece is ([`Piece::is_last`]). Unless a handler says what it does with pieces, such a message is a failure.
    ///
    /// # Errors
    /// After each but [`Failure::stop`] the handler attaches again, after a pause that grows: it begins anew, and is handed the message from its first piece. So it is
    /// whenever it attaches again in the middle of a message.
    fn handle_piece(&mut self, piece: &Piece) -> impl Future<Output = Result<(), Failure>> + Send {
        let text = format!(
            "message {} has {} bytes, more than this handler takes: allow it more (`message_bytes`), or publish what is smaller",
            piece.position.sequence, piece.total
        );
        async { Err(Failure::message(text)) }
    }
}

/// The life of a stream that a handler is about to attach to, as its node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The stream's name.
    pub stream: String,
    /// Fresh at each opening: a stream opened again under an old name shares nothing with it.
    pub instance: StreamInstance,
    /// The authority of now.
    pub authority: AuthorityEpoch,
    /// The target: the node on which the handler runs.
    pub node: NodeId,
    /// The last message that the node keeps no more; 0 if it keeps all.
    pub gone: Sequence,
    /// The last message of which the node knows.
    pub taken: Sequence,
}

impl Life {
    /// The position of a handler that has processed nothing of it. At a target that was added while the stream was open, that is where this begins.
    #[must_use]
    pub const fn beginning(&self) -> Position {
        self.after(Sequence(0))
    }

    /// The position of a handler that is to go on after this message, as if it had processed all up to it.
    #[must_use]
    pub const fn after(&self, sequence: Sequence) -> Position {
        Position { instance: self.instance, authority: self.authority, sequence }
    }
}

/// Why a call failed, and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub(crate) remedy: Remedy,
    pub(crate) done: usize,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    Again,
    Anew,
    Never,
}

impl Failure {
    /// The next message cannot be processed: it is handed over again, alone, after a pause that grows; nothing behind it is touched before. Where the policy of the
    /// stream says so it is parked after so many attempts, and the handler goes on behind it. `text` is shown in `status`, up to 1 KiB of it.
    pub fn message(text: impl Into<String>) -> Self {
        Self { remedy: Remedy::Again, done: 0, text: cut(text.into()) }
    }

    /// What the handler works on is away, or it is not known whether an effect took place (a commit without an answer): after a pause that grows, the
    /// handler begins anew, and a transactional one says where it stands.
    pub fn away(text: impl Into<String>) -> Self {
        Self { remedy: Remedy::Anew, done: 0, text: cut(text.into()) }
    }

    /// No repetition helps and going on might do harm: somebody else moved the position. The handler ends, and a person must look.
    pub fn stop(text: impl Into<String>) -> Self {
        Self { remedy: Remedy::Never, done: 0, text: cut(text.into()) }
    }

    /// So many messages of the array, from its beginning, were processed all the same: that is recorded, and the failure is of the one after.
    #[must_use]
    pub fn after(mut self, done: usize) -> Self {
        self.done = done;
        self
    }
}

/// Most bytes of a text that a handler gives: it comes into the log and into `status`, and may repeat what is in a message.
const TEXT_BYTES: usize = 1024;

fn cut(text: String) -> String {
    let bytes = text.len();
    let mut kept = wattle_core::text::cut(text, TEXT_BYTES);
    if bytes > TEXT_BYTES {
        kept.push_str(&format!(" ... ({bytes} bytes in all)"));
    }
    kept
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// How a handler is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What it is called in `status`.
    pub name: String,
    /// Messages that may be handed over and whose marks are not durable, at least 1: more lets work and records overlap, and that many calls may be made
    /// again after a crash. With 1, message 2 is not handed over before the mark of message 1 is on the disk.
    pub window: u32,
    /// Most messages of one call, at least 1. More makes a transaction cheaper per message and its repetition dearer.
    pub array: usize,
    /// Most bytes of one call, unless one message alone has more.
    pub array_bytes: u64,
    /// Most bytes of one message that is handed over whole ([`Handler::handle`]). One such is in memory while it comes, and what waits besides. Of a larger one the handler
    /// is given pieces ([`Handler::handle_piece`]).
    pub message_bytes: u64,
    /// The pause before the first repetition; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub pause_most: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "application".to_owned(),
            window: 1024,
            array: 256,
            array_bytes: 4 << 20,
            message_bytes: 4 << 20,
            pause: Duration::from_millis(100),
            pause_most: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests;
