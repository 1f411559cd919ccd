//! The same shell in turmoil's simulated network: for tests, never for a program.
//!
//! The feature `turmoil` puts other hands under the driver, the lanes, TLS and the store, which stay as they are:
//!
//! | in production | here |
//! | --- | --- |
//! | sockets of the system | turmoil's (`net`, `socket`) |
//! | the clocks of the system | the simulated ones, by way of tokio |
//! | random numbers of the system | a stream that [`seed`] begins, also for key exchange |
//! | a thread for the node, two for the disk, some for heavy work | tasks of the simulated host; work is done on the spot |
//!
//! So one seed gives one run. What is not covered: threads racing each other, the system's sockets (`socket`), and what a
//! power failure leaves of the store, which writes to a real file here too.

mod crypto;

use std::cell::RefCell;

use wattle_core::rng::{Purpose, Rng};

pub(crate) use self::crypto::provider;

thread_local! {
    static RANDOM: RefCell<Rng> = RefCell::new(random(0));
}

fn random(seed: u64) -> Rng {
    let mut root = [0; 32];
    root[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::stream(root, Purpose::Link)
}

/// Begins the random numbers of every node on this thread. To be called before the simulation.
pub fn seed(seed: u64) {
    RANDOM.set(random(seed));
}

/// The next random bytes.
pub(crate) fn fill(bytes: &mut [u8]) {
    RANDOM.with_borrow_mut(|random| {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random.u64().to_le_bytes()[..chunk.len()]);
        }
    });
}
