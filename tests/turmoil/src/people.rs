//! Those around the nodes: who seeds and joins, the publisher, the handler, and a slow carrier of bytes.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};
use wattle_core::ends::Terms;
use wattle_core::id::{WriterId, WriterSequence};
use wattle_core::node::command::{Command, Position, Refusal, Reply, Waited};
use wattle_io::{Handed, Running};

use crate::{A, B, C, PORT, Plan, STREAM, Seen};

const WRITER: WriterId = WriterId(7);
const BATCH: u64 = 5;
const WINDOW: u32 = 16;
const AGAIN: Duration = Duration::from_millis(100);

/// The bytes of a message.
pub(crate) fn message(plan: Plan, number: u64) -> Bytes {
    let mut bytes = format!("message {number} ").into_bytes();
    bytes.resize(plan.bytes.max(bytes.len()), b'.');
    bytes.into()
}

/// What is done at a node from its start on.
pub(crate) async fn live(name: &'static str, node: &Running, seen: &Rc<RefCell<Seen>>, plan: Plan) {
    seen.borrow_mut().event(format!("{name} starts"));
    let watch = async {
        loop {
            seen.borrow_mut().connections.insert(name, node.connections());
            sleep(AGAIN).await;
        }
    };
    let act = async {
        belong(name, node, seen).await;
        match name {
            A => publish(node, seen, plan).await,
            C => handle(node, seen).await,
            _ => pending().await,
        }
        pending::<()>().await;
    };
    tokio::select! { biased; () = act => {} () = watch => {} () = stopped(name, node, seen) => {} }
}

async fn stopped(name: &str, node: &Running, seen: &Rc<RefCell<Seen>>) {
    let reason = node.stopped().await;
    seen.borrow_mut().event(format!("{name} stops: {reason}"));
}

/// Seeds the mesh or joins it, unless that was done before; then invites.
async fn belong(name: &'static str, node: &Running, seen: &Rc<RefCell<Seen>>) {
    let through = match name {
        B => Some(A),
        C => Some(B),
        _ => None,
    };
    insist(node, || {
        let command = match through {
            None => Command::Seed { name: "mesh".to_owned() },
            Some(other) => Command::Join { token: seen.borrow().tokens.get(other)?.clone() },
        };
        Some(command)
    })
    .await;
    let invited = insist(node, || Some(Command::Invite)).await;
    if let Some(Reply::Token { token }) = invited {
        seen.borrow_mut().tokens.insert(name, token);
    }
    seen.borrow_mut().event(format!("{name} belongs"));
}

/// Asks until the answer is yes; `None` if the node belongs to the mesh already.
async fn insist(node: &Running, mut command: impl FnMut() -> Option<Command>) -> Option<Reply> {
    loop {
        if let Some(command) = command() {
            match node.submit(command).await.next().await {
                Some(Ok(reply)) => return Some(reply),
                Some(Err(Refusal::AlreadyMember(_))) => return None,
                Some(Err(_)) | None => {}
            }
        }
        sleep(AGAIN).await;
    }
}

/// Opens the stream and publishes what is left to publish, each batch until it is accepted, the last until it is completed.
async fn publish(node: &Running, seen: &Rc<RefCell<Seen>>, plan: Plan) {
    let (name, source, targets) = (STREAM.to_owned(), A.to_owned(), vec![C.to_owned()]);
    let open = Command::OpenStream { name, source, targets, terms: Terms::default() };
    insist(node, || Some(open.clone())).await;
    let find = Command::FindWriter { stream: STREAM.to_owned(), writer: WRITER };
    let Some(Reply::Writer { next, .. }) = insist(node, || Some(find.clone())).await else { return };
    let mut next = next.0;
    loop {
        // The last batch is said again after a restart: its outcome is known then, and nothing doubles.
        let first = next.min(plan.messages - BATCH + 1);
        let last = (first + BATCH - 1).min(plan.messages);
        let wait = if last == plan.messages { Waited::Completed } else { Waited::Accepted };
        let messages = (first..=last).map(|number| message(plan, number)).collect();
        let (stream, writer, first) = (STREAM.to_owned(), WRITER, WriterSequence(first));
        if published(node, Command::Publish { stream, writer, first, messages, wait }, wait, last).await {
            next = last + 1;
            seen.borrow_mut().event(format!("accepted up to {last}"));
            if wait == Waited::Completed {
                seen.borrow_mut().event("completed".to_owned());
                seen.borrow_mut().completed = true;
                return;
            }
        }
        sleep(plan.pause).await;
    }
}

/// Whether a batch came as far as was asked for.
async fn published(node: &Running, command: Command, wait: Waited, last: u64) -> bool {
    let mut replies = node.submit(command).await;
    while let Some(Ok(reply)) = replies.next().await {
        if let Reply::Published(receipt) = reply
            && receipt.level >= wait
            && receipt.last_writer.0 >= last
        {
            return true;
        }
    }
    false
}

/// A handler that keeps its position together with what it did, and presents it whenever it attaches.
async fn handle(node: &Running, seen: &Rc<RefCell<Seen>>) {
    loop {
        let presented = seen.borrow().position;
        let Ok(mut attachment) = node.attach(STREAM.to_owned(), presented, WINDOW).await else {
            sleep(AGAIN).await;
            continue;
        };
        let start = attachment.position;
        while let Some(Handed::Delivery(delivery)) = attachment.next().await {
            for delivered in delivery.messages {
                sleep(Duration::from_millis(1)).await;
                let mut seen = seen.borrow_mut();
                seen.handled.push(delivered.bytes);
                seen.position = Some(Position { sequence: delivered.sequence, ..start });
                seen.event(format!("handled {}", delivered.sequence));
                drop(seen);
                attachment.verdict(delivered.sequence);
            }
        }
    }
}

/// Bytes that the carrier takes at once, and how long it rests after that: 200 kB a second.
const PIECE: usize = 1000;
const REST: Duration = Duration::from_millis(5);

/// Accepts connections and carries their bytes on, in small pieces.
pub(crate) async fn carry(to: &'static str) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (near, _) = listener.accept().await?;
        tokio::task::spawn_local(async move {
            let Ok(far) = TcpStream::connect((to, PORT)).await else { return };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let _ = tokio::join!(pieces(near_in, far_out), pieces(far_in, near_out));
        });
    }
}

async fn pieces(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut piece = [0; PIECE];
    loop {
        let got = from.read(&mut piece).await?;
        if got == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..got]).await?;
        sleep(REST).await;
    }
}
