//! Where connections come from: the system, or, under the feature `turmoil`, a simulated network.

#[cfg(not(feature = "turmoil"))]
pub(crate) use tokio::net::{TcpListener, TcpStream, lookup_host};
#[cfg(feature = "turmoil")]
pub(crate) use turmoil::net::{TcpListener, TcpStream, lookup_host};
