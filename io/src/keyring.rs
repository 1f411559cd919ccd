//! The node's identity keys: nobody else holds their secrets, and whatever is done with these is done here.
//!
//! They are kept in the key file ([`crate::identity`]). The core names keys by their public halves; a next key is told only once it is on disk.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wattle_core::id::NodeId;
use wattle_core::work::{Done, Job, PublicKey, perform, public_key};

use crate::clock::entropy;
use crate::identity::{DataDir, IdentityError, NodeKeys};
use crate::tls::{Tls, TlsError};

/// All keys of a node.
#[derive(Clone, Debug)]
pub(crate) struct Keyring {
    node: NodeId,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug)]
struct Held {
    dir: PathBuf,
    keys: NodeKeys,
}

impl Keyring {
    pub(crate) fn new(dir: &DataDir, keys: NodeKeys) -> Self {
        let (node, dir) = (keys.node, dir.path().to_owned());
        Self { node, held: Arc::new(Mutex::new(Held { dir, keys })) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn secrets(&self) -> Vec<[u8; 32]> {
        self.held().keys.secrets().collect()
    }

    /// Does a job, with the keys if it takes them.
    pub(crate) fn perform(&self, job: &Job) -> Done {
        match job {
            Job::Sign { .. } => perform(job, &self.secrets()),
            Job::NextKey => Done::NextKey(self.held().next_key().map_err(|error| error.to_string())),
            Job::KeepKey { key, number } => {
                let kept = self.held().keep(key, *number);
                if let Err(error) = &kept {
                    tracing::error!(%error, "the key that gave way could not be taken off the disk");
                }
                Done::Kept(kept.is_ok())
            }
            Job::Digest(_) | Job::Part { .. } | Job::Verify { .. } => perform(job, &[]),
        }
    }

    /// What proves one of the keys to others.
    pub(crate) fn tls(&self, key: &PublicKey) -> Result<Tls, TlsError> {
        let secret = self.secrets().into_iter().find(|secret| public_key(secret) == *key);
        // The certificate states the id that the key itself gives. Whose key it is the roster says.
        match secret {
            Some(secret) => Tls::new(&secret, key.first_node_id()),
            None => {
                let what = format!("node {} does not hold that key", self.node);
                Err(TlsError::Io(io::Error::new(io::ErrorKind::NotFound, what)))
            }
        }
    }
}

impl Held {
    /// The next key, on disk.
    fn next_key(&mut self) -> Result<PublicKey, IdentityError> {
        if let Some(next) = &self.keys.next {
            return Ok(public_key(next));
        }
        let next = entropy().map_err(|source| IdentityError::File { path: self.dir.clone(), source })?;
        let keys = NodeKeys { next: Some(next), ..self.keys.clone() };
        keys.store(&self.dir)?;
        self.keys = keys;
        Ok(public_key(&next))
    }

    /// That key alone stays.
    fn keep(&mut self, key: &PublicKey, number: u64) -> Result<(), IdentityError> {
        let secret = self.keys.secrets().find(|secret| public_key(secret) == *key);
        let missing = || IdentityError::File {
            path: self.dir.clone(),
            source: io::Error::new(io::ErrorKind::NotFound, "the key is not held"),
        };
        let secret = secret.ok_or_else(missing)?;
        let keys = NodeKeys { secret, next: None, rotation: number, ..self.keys.clone() };
        keys.store(&self.dir)?;
        self.keys = keys;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A node's keys in a directory of their own.
    pub(crate) fn keyring() -> (tempfile::TempDir, Keyring) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(temporary.path()).unwrap();
        let keys = NodeKeys::open_or_create(&dir, Some("a")).unwrap();
        (temporary, Keyring::new(&dir, keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_disk(temporary: &tempfile::TempDir) -> NodeKeys {
        let dir = DataDir::lock(temporary.path()).unwrap();
        NodeKeys::open_or_create(&dir, None).unwrap()
    }

    fn next(keyring: &Keyring) -> PublicKey {
        match keyring.perform(&Job::NextKey) {
            Done::NextKey(Ok(key)) => key,
            other => panic!("no key: {other:?}"),
        }
    }

    #[test]
    fn a_next_key_is_on_disk_before_it_is_told_and_the_old_one_stays_until_it_is_retired() {
        let (temporary, keyring) = testing::keyring();
        let first = on_disk(&temporary);
        let key = next(&keyring);
        let stored = on_disk(&temporary);
        assert_eq!((stored.secret, stored.next.map(|next| public_key(&next))), (first.secret, Some(key)));
        assert_eq!((stored.node, stored.rotation), (first.node, 0));
        assert_eq!(next(&keyring), key, "there is one next key, however often it is asked for");
        for own in [public_key(&first.secret), key] {
            let message = bytes::Bytes::from_static(b"words");
            let Done::Signature(signature) =
                keyring.perform(&Job::Sign { key: own, message: message.clone() })
            else {
                panic!("not signed")
            };
            let verify = Job::Verify { keys: vec![own], message, signature: signature.into() };
            assert_eq!(keyring.perform(&verify), Done::Verified(true));
            assert!(keyring.tls(&own).is_ok());
        }
        assert_eq!(keyring.perform(&Job::KeepKey { key, number: 3 }), Done::Kept(true));
        let stored = on_disk(&temporary);
        assert_eq!((public_key(&stored.secret), stored.next, stored.rotation), (key, None, 3));
        assert_eq!(stored.node, first.node, "the id stays that of the first key");
        assert!(keyring.tls(&public_key(&first.secret)).is_err());
        assert_eq!(
            keyring.perform(&Job::KeepKey { key, number: 3 }),
            Done::Kept(true),
            "once more is no harm"
        );
        let gone = public_key(&first.secret);
        assert_eq!(keyring.perform(&Job::KeepKey { key: gone, number: 4 }), Done::Kept(false));
    }

    #[test]
    fn a_next_key_that_cannot_be_stored_is_not_told() {
        let (temporary, keyring) = testing::keyring();
        let first = on_disk(&temporary);
        std::fs::create_dir(temporary.path().join("identity.toml.new")).unwrap();
        let Done::NextKey(Err(why)) = keyring.perform(&Job::NextKey) else { panic!("it was told") };
        assert!(why.contains("identity.toml"), "{why}");
        assert_eq!(keyring.secrets(), [first.secret]);
        std::fs::remove_dir(temporary.path().join("identity.toml.new")).unwrap();
        next(&keyring);
    }
}
