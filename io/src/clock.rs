//! Time and entropy.

use std::io;
use std::time::Duration;
#[cfg(not(feature = "turmoil"))]
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use wattle_core::id::BootId;
use wattle_core::time::{Instant as Moment, Now, Wall};

/// Both clocks of one node. The monotonic one starts when this is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let monotonic = self.origin.elapsed().as_nanos();
        let wall = wall().as_millis();
        Now {
            monotonic: Moment(u64::try_from(monotonic).unwrap_or(u64::MAX)),
            wall: Wall(u64::try_from(wall).unwrap_or(u64::MAX)),
        }
    }

    /// The same moment on the system's clock, for sleeping; far moments are cut to a day ahead.
    pub(crate) fn system(&self, moment: Moment) -> Instant {
        let ahead = Duration::from_nanos(moment.since(self.now().monotonic).as_nanos());
        Instant::now() + ahead.min(Duration::from_secs(86_400))
    }
}

/// Random bytes of the operating system.
pub(crate) fn entropy<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// A name for this start of the node.
pub(crate) fn boot_id() -> io::Result<BootId> {
    entropy().map(|bytes| BootId(u128::from_be_bytes(bytes)))
}

/// Time since 1970.
#[cfg(not(feature = "turmoil"))]
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(feature = "turmoil")]
fn wall() -> Duration {
    turmoil::since_epoch().unwrap_or_default()
}

#[cfg(not(feature = "turmoil"))]
fn fill(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(feature = "turmoil")]
#[expect(clippy::unnecessary_wraps, reason = "the system may refuse")]
fn fill(bytes: &mut [u8]) -> io::Result<()> {
    crate::simulated::fill(bytes);
    Ok(())
}
