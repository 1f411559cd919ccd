//! Being asked to stop before everything is done.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code of a process that a second signal ends at once.
const AT_ONCE: i32 = 130;

/// Whether a search was asked to stop: it begins nothing more then, ends what is under way, and tells how far it came.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The one that Ctrl-C and SIGTERM ask, from now on; the second of them ends the process at once.
    ///
    /// # Errors
    /// If the system does not let us listen for signals.
    pub fn on_signals() -> io::Result<Self> {
        // Listening twice would take one signal for two.
        static LISTENING: OnceLock<Stop> = OnceLock::new();
        if let Some(stop) = LISTENING.get() {
            return Ok(stop.clone());
        }
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the signal that sets the flag must not find it set.
            flag::register_conditional_shutdown(signal, AT_ONCE, stop.0.clone())?;
            flag::register(signal, stop.0.clone())?;
        }
        Ok(LISTENING.get_or_init(|| stop).clone())
    }

    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
