//! Join tokens: what lets a stranger in, and what lets the stranger know whom it talks to.
//!
//! The text is `wattle1.` and then, in Crockford's base 32, a Protobuf and four bytes of its BLAKE3, so that a slip of the
//! pen is told apart from a token that is no longer good.
//!
//! The node that made a token keeps only a *verifier*, a key derived from the secret by BLAKE3. A slow salted hash defends
//! words that people choose; these secrets are 256 random bits, which nobody guesses at any speed, so one keyed derivation is
//! as good. The joiner derives the same key and sends a MAC over a transcript that names both keys of the connection, the
//! mesh and a nonce: what was overheard or relayed serves nobody else.

use alloc::string::String;
use alloc::vec::Vec;

use prost::Message as _;
use wattle_proto::mesh as proto;

use super::join_key::DOORS_MAX;
use super::transcript::Transcript;
use super::wire;
use crate::digest::Digest;
use crate::id::{MeshId, NodeId};
use crate::time::Wall;
use crate::work::PublicKey;

/// What every token of this version begins with.
const PREFIX: &str = "wattle1.";
/// Longest token read: far above what eight addresses of each door need.
const TEXT_MAX: usize = 16 * 1024;
const CHECKSUM: usize = 4;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The mesh it leads into.
    pub mesh: MeshId,
    /// The node that made it and will admit.
    pub node: NodeId,
    /// BLAKE3 of that node's public key.
    pub key_hash: Digest,
    /// Where that node can be dialled.
    pub addresses: Vec<String>,
    /// What the joiner must know.
    pub secret: Secret,
    /// When it stops being good, by the admitting node's clock.
    pub expiry: Wall,
    /// Whether the secret is that of the mesh's join key, which any member takes, rather than of a token of `node`.
    pub mesh_key: bool,
    /// Who else lets others in with it.
    pub others: Vec<Door>,
}

/// A member that lets others in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The member.
    pub node: NodeId,
    /// BLAKE3 of its public key.
    pub key_hash: Digest,
    /// Where it can be dialled.
    pub addresses: Vec<String>,
}

/// A token's secret. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The key that proves knowledge of the secret; all that the admitting node stores.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier(blake3::derive_key("wattle 2026 join token verifier v1", &self.0))
    }

    /// Names the token without telling the secret.
    #[must_use]
    pub fn token_id(&self) -> u128 {
        let hash = blake3::derive_key("wattle 2026 join token id v1", &self.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        u128::from_be_bytes(id)
    }
}

/// Checks that a joiner knows a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier(pub [u8; 32]);

impl core::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl Verifier {
    /// The proof for a request between these two keys.
    #[must_use]
    pub fn mac(&self, mesh: MeshId, admitter: &PublicKey, request: &wire::JoinRequest) -> [u8; 32] {
        *self.transcript(mesh, admitter, request).as_bytes()
    }

    /// Whether the request's proof is right, in constant time.
    #[must_use]
    pub fn accepts(&self, mesh: MeshId, admitter: &PublicKey, request: &wire::JoinRequest) -> bool {
        self.transcript(mesh, admitter, request) == blake3::Hash::from_bytes(request.mac)
    }

    fn transcript(&self, mesh: MeshId, admitter: &PublicKey, request: &wire::JoinRequest) -> blake3::Hash {
        let mut transcript = Transcript::keyed(&self.0, "wattle join request")
            .field(&request.version.to_le_bytes())
            .field(&mesh.to_bytes())
            .field(&admitter.0)
            .field(&request.key.0)
            .field(&request.nonce)
            .field(&request.node.to_bytes())
            .field(&request.replica.to_bytes())
            .field(request.name.as_bytes())
            .field(&[u8::from(request.api.is_some())])
            .field(request.api.as_deref().unwrap_or_default().as_bytes());
        for address in &request.addresses {
            transcript = transcript.field(address.as_bytes());
        }
        transcript.finish()
    }
}

/// Why a token cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else was pasted.
    #[error("it must begin with `{PREFIX}`")]
    NotAToken,
    /// A token of another version of the program.
    #[error("it is of another version ({0}): this program reads `{PREFIX}`")]
    OtherVersion(String),
    /// A character no token has.
    #[error("character {at} is {what:?}, which no token has")]
    Character {
        /// Its place in the text, from 1.
        at: usize,
        /// The character.
        what: char,
    },
    /// Damaged on the way.
    #[error("it is mistyped or not complete (its checksum does not fit)")]
    Checksum,
    /// The checksum fits and the content makes no sense.
    #[error("its content makes no sense: {0}")]
    Content(&'static str),
}

impl JoinToken {
    /// The text to hand over.
    #[must_use]
    pub fn to_text(&self) -> String {
        let body = proto::Token {
            mesh: wire::id_bytes(self.mesh.to_bytes()),
            node: wire::id_bytes(self.node.to_bytes()),
            key_hash: self.key_hash.0.to_vec().into(),
            addresses: self.addresses.clone(),
            secret: self.secret.0.to_vec().into(),
            expiry: self.expiry.0,
            mesh_key: self.mesh_key,
            others: self.others.iter().map(door_out).collect(),
        };
        let mut bytes = body.encode_to_vec();
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(&checksum.as_bytes()[..CHECKSUM]);
        let mut text = String::from(PREFIX);
        write_base32(&bytes, &mut text);
        text
    }

    /// Reads a token, forgiving white space, case, and the letters people mistake for digits.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let lower = text.get(..PREFIX.len()).unwrap_or_default().to_ascii_lowercase();
        if lower != PREFIX {
            let version = text.split('.').next().unwrap_or_default();
            let digits = version.strip_prefix("wattle").unwrap_or_default();
            let other = !digits.is_empty() && digits.len() < 8 && digits.bytes().all(|b| b.is_ascii_digit());
            let other = other && text.contains('.');
            return Err(if other { TokenError::OtherVersion(version.into()) } else { TokenError::NotAToken });
        }
        if text.len() > TEXT_MAX {
            return Err(TokenError::Content("it is too long"));
        }
        let bytes = read_base32(&text[PREFIX.len()..], PREFIX.len())?;
        let split = bytes.len().checked_sub(CHECKSUM).ok_or(TokenError::Checksum)?;
        let (body, checksum) = bytes.split_at(split);
        if blake3::hash(body).as_bytes()[..CHECKSUM] != *checksum {
            return Err(TokenError::Checksum);
        }
        let body = proto::Token::decode(body).map_err(|_| TokenError::Content("it is no token"))?;
        let token = Self {
            mesh: MeshId::from_slice(&body.mesh).ok_or(TokenError::Content("the mesh id"))?,
            node: NodeId::from_slice(&body.node).ok_or(TokenError::Content("the node id"))?,
            key_hash: Digest::from_slice(&body.key_hash).ok_or(TokenError::Content("the key's hash"))?,
            addresses: wire::addresses(body.addresses).map_err(|_| TokenError::Content("the addresses"))?,
            secret: Secret(body.secret.as_ref().try_into().map_err(|_| TokenError::Content("the secret"))?),
            expiry: Wall(body.expiry),
            mesh_key: body.mesh_key,
            others: doors_in(body.others)?,
        };
        Ok(token)
    }
}

impl JoinToken {
    /// Whom to dial: each address, and who must answer there.
    pub(super) fn ways(&self) -> Vec<(String, Door)> {
        let Self { node, key_hash, addresses, .. } = self.clone();
        let doors = [Door { node, key_hash, addresses }].into_iter().chain(self.others.iter().cloned());
        let ways = |door: Door| {
            let addresses = door.addresses.clone();
            addresses.into_iter().map(move |address| (address, door.clone()))
        };
        doors.flat_map(ways).collect()
    }
}

fn door_out(door: &Door) -> proto::Door {
    proto::Door {
        node: wire::id_bytes(door.node.to_bytes()),
        key_hash: door.key_hash.0.to_vec().into(),
        addresses: door.addresses.clone(),
    }
}

fn doors_in(doors: Vec<proto::Door>) -> Result<Vec<Door>, TokenError> {
    if doors.len() >= DOORS_MAX {
        return Err(TokenError::Content("it names too many members"));
    }
    let read = |door: proto::Door| {
        Ok(Door {
            node: NodeId::from_slice(&door.node).ok_or(TokenError::Content("a node id"))?,
            key_hash: Digest::from_slice(&door.key_hash).ok_or(TokenError::Content("a key's hash"))?,
            addresses: wire::addresses(door.addresses).map_err(|_| TokenError::Content("the addresses"))?,
        })
    };
    doors.into_iter().map(read).collect()
}

fn write_base32(bytes: &[u8], text: &mut String) {
    let (mut held, mut bits) = (0u32, 0u32);
    for &byte in bytes {
        held = held << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits) as usize & 31]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits)) as usize & 31]));
    }
}

fn read_base32(text: &str, offset: usize) -> Result<Vec<u8>, TokenError> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0u32, 0u32);
    for (place, what) in text.chars().enumerate() {
        if what.is_ascii_whitespace() {
            continue;
        }
        let digit = match what.to_ascii_uppercase() {
            'O' => Some(0),
            'I' | 'L' => Some(1),
            c => ALPHABET.iter().position(|&a| char::from(a) == c),
        };
        let digit = digit.ok_or(TokenError::Character { at: offset + place + 1, what })?;
        held = held << 5 | digit as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
        held &= (1 << bits) - 1;
    }
    if bits >= 5 || held != 0 {
        return Err(TokenError::Checksum);
    }
    Ok(bytes)
}
