//! The file with a node's identity keys: what `identity.toml` is to a real node. It is written whole or not at all, and before anybody is told.

use wattle_core::node::Identity;
use wattle_core::planted::Bug;
use wattle_core::work::{Done, Job, PublicKey, perform, public_key};

use crate::coverage::sometimes;
use crate::random::{Draws, Purpose};

/// Draws of the keys after the first have ordinals from here on.
const LATER_KEYS: u64 = 1 << 48;

/// The file, and what is about to be written to it.
#[derive(Debug)]
pub struct Keyring {
    /// The present secret, and the next if there is one.
    secrets: Vec<[u8; 32]>,
    number: u64,
    /// Keys made so far.
    made: u64,
    /// What the file holds once the write under way is over.
    writing: Option<(Vec<[u8; 32]>, u64)>,
}

impl Keyring {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secrets: vec![secret], number: 0, made: 0, writing: None }
    }

    /// Whether it holds that key.
    pub(crate) fn holds(&self, key: &PublicKey) -> bool {
        self.secrets.iter().any(|secret| public_key(secret) == *key)
    }

    /// Whether one key is giving way to another.
    pub(crate) fn turns(&self) -> bool {
        self.secrets.len() > 1
    }

    /// What a start reads in the file.
    pub(crate) fn tell(&self, identity: &mut Identity) {
        identity.key = public_key(&self.secrets[0]);
        identity.next_key = self.secrets.get(1).map(public_key);
        identity.key_number = self.number;
    }

    /// Does a job. What it writes is on disk by the time it is told, or earlier.
    pub(crate) fn perform(&mut self, job: &Job, seed: u64, node: usize, planted: Option<Bug>) -> Done {
        let key = |draws: &mut Draws| draws.bytes32();
        let mut draws = Draws::new(seed, Purpose::Node, node as u64, LATER_KEYS + self.made);
        match job {
            Job::NextKey => {
                let next = self.secrets.get(1).copied().unwrap_or_else(|| key(&mut draws));
                self.made += 1;
                let stored = planted != Some(Bug::NextKeyNotStored) || cfg!(not(feature = "planted"));
                if stored {
                    self.write(vec![self.secrets[0], next], self.number, &mut draws);
                }
                Done::NextKey(Ok(public_key(&next)))
            }
            Job::KeepKey { key, number } => {
                let kept: Vec<_> = self.secrets.iter().copied().filter(|s| public_key(s) == *key).collect();
                let held = !kept.is_empty();
                if held {
                    sometimes!(KeyTurned);
                    self.made += 1;
                    self.write(kept, *number, &mut draws);
                }
                Done::Kept(held)
            }
            Job::Sign { .. } | Job::Digest(_) | Job::Part { .. } | Job::Verify { .. } => {
                perform(job, &self.secrets)
            }
        }
    }

    /// A crash before the answer finds the file as it was, or as it is to be.
    fn write(&mut self, secrets: Vec<[u8; 32]>, number: u64, draws: &mut Draws) {
        if draws.percent(50) {
            (self.secrets, self.number) = (secrets, number);
        } else {
            self.writing = Some((secrets, number));
        }
    }

    /// What was written is there.
    pub(crate) fn settle(&mut self) {
        if let Some((secrets, number)) = self.writing.take() {
            (self.secrets, self.number) = (secrets, number);
        }
    }

    /// The process ended.
    pub(crate) fn end(&mut self) {
        self.writing = None;
    }
}
