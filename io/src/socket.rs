//! A TCP socket whose flush says that the bytes are on their way, not merely that the system holds them.
//!
//! What lies unsent in a socket can no longer be overtaken: a heartbeat behind a megabyte of bulk looks like a dead node. So
//! little is put into the socket, and the next only when the system has passed on nearly all of it; what waits longer waits in
//! the core, where control goes first. What was sent and is not acknowledged yet is not limited by this, so a long way is
//! filled all the same.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Unsent bytes from which the system takes no more of a connection. It calls it writable again below half of that.
const UNSENT_LOW_WATER: u32 = 8 << 10;
/// Unsent bytes that may be left when a flush ends.
pub(crate) const UNSENT_AFTER_FLUSH: usize = UNSENT_LOW_WATER as usize / 2;

/// The socket under a lane.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

/// Makes the socket under a lane of a connection.
///
/// # Errors
/// When the connection has ended already.
pub(crate) fn under_lane(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    // A wish: where there is no such thing, a flush says less, and only latency under load is worse.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_LOW_WATER);
    Ok(Socket(stream))
}

impl Socket {
    /// Asks the system whether it would take more now. Asking in this way also makes it tell when it does.
    fn has_room(&self) -> io::Result<()> {
        let mut asked = [PollFd::new(&self.0, PollFlags::OUT)];
        match retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    /// Ends when at most [`UNSENT_AFTER_FLUSH`] bytes are unsent.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_io(Interest::WRITABLE, || self.has_room()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
