//! Time and entropy.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
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
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// A name for this start of the node.
pub(crate) fn boot_id() -> io::Result<BootId> {
    entropy().map(|bytes| BootId(u128::from_be_bytes(bytes)))
}
