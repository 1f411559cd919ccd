//! The socket under a lane in a simulated network: turmoil's own, which takes what it can pass on and holds nothing back.

use std::io;

use crate::net::TcpStream;

/// Unsent bytes that may be left when a flush ends; the same as in production, so that lanes are handed as much.
pub(crate) const UNSENT_AFTER_FLUSH: usize = 4 << 10;

/// The socket under a lane.
pub(crate) type Socket = TcpStream;

/// Makes the socket under a lane of a connection.
pub(crate) fn under_lane(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    Ok(stream)
}
