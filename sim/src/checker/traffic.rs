//! How much each node sends (X8). A message that circles, or an answer that is answered for ever, sooner or later fills every
//! second with bytes that nothing asked for.

use super::{Checked, ensure};
use crate::event::{SECOND, Time};

/// Up to so many nodes, what members cost is small beside the rest.
const SMALL: usize = 6;
/// A member in a list of members, as it travels: name, address, key and replica.
const MEMBER_BYTES: u64 = 200;
/// How often one node may pass the list on to everybody within a second.
const LISTS_MOST: u64 = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    second: u64,
    bytes: u64,
    frames: u64,
}

/// What each node sent in the present second.
#[derive(Debug)]
pub struct Traffic {
    windows: Vec<Window>,
    bytes_most: u64,
    frames_most: u64,
    peak: (u64, u64),
}

impl Traffic {
    /// Bounds for so many nodes and a workload of so many bytes in so many messages, all of which may be sent again a few times
    /// within one second, over every hop.
    #[must_use]
    pub fn new(nodes: usize, workload_bytes: u64, messages: u64) -> Self {
        // The list of all members goes to every member, again and again while a mesh forms.
        let beyond_small = nodes.saturating_sub(SMALL) as u64;
        let lists = LISTS_MOST * MEMBER_BYTES * beyond_small * beyond_small;
        Self {
            windows: vec![Window::default(); nodes],
            // The highest peaks of 3,000 sound runs, times three.
            bytes_most: (768 << 10) + 24 * workload_bytes + 6_000 * messages + lists,
            frames_most: 500 * nodes as u64 + 12 * messages,
            peak: (0, 0),
        }
    }

    /// A node sends bytes in so many frames.
    ///
    /// # Errors
    /// X8.
    pub fn sent(&mut self, now: Time, node: usize, bytes: usize, frames: usize) -> Checked {
        let window = &mut self.windows[node];
        if window.second != now / SECOND {
            *window = Window { second: now / SECOND, ..Window::default() };
        }
        window.bytes += bytes as u64;
        window.frames += frames as u64;
        self.peak = (self.peak.0.max(window.bytes), self.peak.1.max(window.frames));
        ensure!(
            window.bytes <= self.bytes_most && window.frames <= self.frames_most,
            "X8",
            "node {node} sent {} bytes in {} frames within a second; {} in {} is far more than anything asks for",
            window.bytes,
            window.frames,
            self.bytes_most,
            self.frames_most
        );
        Ok(())
    }

    /// The most bytes and the most frames that one node sent within one second.
    #[must_use]
    pub fn peak(&self) -> (u64, u64) {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_seen_and_the_same_bytes_over_a_longer_time_are_not() {
        let storm = |pause: Time| {
            let mut traffic = Traffic::new(3, 1_000, 10);
            (0..20_000u64).try_for_each(|n| traffic.sent(n * pause, 1, 300, 1))
        };
        assert_eq!(storm(10_000).unwrap_err().checker, "X8");
        storm(1_000_000).unwrap();
    }
}
