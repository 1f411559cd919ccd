//! Heavy work: hashing and signatures of any size leave the core as jobs, are done elsewhere and come back as inputs.
//! Both worlds do them with [`perform`], so a job's result never depends on where it ran.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::digest::Digest;
use crate::payload::Payload;
use crate::record::Owner;
use crate::whole::part_digest;

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads the 32-byte form; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The node id derived from this key, if it is a node's first: the leading 128 bits of its BLAKE3.
    #[must_use]
    pub fn first_node_id(&self) -> crate::id::NodeId {
        let hash = blake3::hash(&self.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        crate::id::NodeId(u128::from_be_bytes(id))
    }
}

/// Names a job: the part that asked, and that part's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkId {
    /// Who asked.
    pub owner: Owner,
    /// The asking part's number for it.
    pub token: u64,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// BLAKE3 over a payload.
    Digest(Payload),
    /// The chaining value of a part of a whole, which fits there ([`crate::whole::fits`]).
    Part {
        /// Its first byte within the whole.
        offset: u64,
        /// The part.
        bytes: Payload,
    },
    /// Sign with one of the node's own identity keys.
    Sign {
        /// Which.
        key: PublicKey,
        /// What is signed.
        message: Bytes,
    },
    /// Check a signature.
    Verify {
        /// Who may have signed: any of these keys.
        keys: Vec<PublicKey>,
        /// What was signed.
        message: Bytes,
        /// The signature, 64 bytes (anything else is invalid).
        signature: Bytes,
    },
    /// Make the node's next identity key and keep it on disk beside the present one. If there is one already, that one. The world alone can do it.
    NextKey,
    /// From now on that key, one of the node's own, is its only one: the others go from the disk. The world alone can do it.
    KeepKey {
        /// Which.
        key: PublicKey,
        /// The rotation that brought it.
        number: u64,
    },
}

/// A job's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Of [`Job::Digest`] and [`Job::Part`].
    Digest(Digest),
    /// Of [`Job::Sign`]: 64 bytes.
    Signature(Vec<u8>),
    /// Of [`Job::Verify`].
    Verified(bool),
    /// Of [`Job::NextKey`], once it is durable; or why it is not.
    NextKey(Result<PublicKey, String>),
    /// Of [`Job::KeepKey`]: whether the disk holds it so.
    Kept(bool),
}

/// Does a job. `secrets` are the node's Ed25519 secret keys. What the world alone can do is not done.
#[must_use]
pub fn perform(job: &Job, secrets: &[[u8; 32]]) -> Done {
    match job {
        Job::Digest(payload) => Done::Digest(Digest::of(payload)),
        Job::Part { offset, bytes } => Done::Digest(part_digest(*offset, bytes)),
        Job::Sign { key, message } => Done::Signature(sign(key, message, secrets)),
        Job::Verify { keys, message, signature } => {
            Done::Verified(keys.iter().any(|key| verify(key, message, signature)))
        }
        Job::NextKey => Done::NextKey(Err("this world keeps no keys".into())),
        Job::KeepKey { .. } => Done::Kept(false),
    }
}

/// Empty without the secret.
fn sign(key: &PublicKey, message: &[u8], secrets: &[[u8; 32]]) -> Vec<u8> {
    let mut own = secrets.iter().map(SigningKey::from_bytes);
    let own = own.find(|own| own.verifying_key().to_bytes() == key.0);
    own.map(|own| own.sign(message).to_bytes().to_vec()).unwrap_or_default()
}

/// Whether `signature` is that of `key` under `message`.
#[must_use]
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(&key.0), Signature::from_slice(signature))
    else {
        return false;
    };
    key.verify_strict(message, &signature).is_ok()
}

/// The public key that belongs to a secret one.
#[must_use]
pub fn public_key(secret: &[u8; 32]) -> PublicKey {
    PublicKey(SigningKey::from_bytes(secret).verifying_key().to_bytes())
}
