//! The data directory: who the node is, and that only one process is this node.
//!
//! `identity.toml` (mode 0600) holds the node's id, name and Ed25519 secret. It is made once, by writing a file beside it,
//! syncing it and renaming it, so that a crash leaves either none or a whole one. While its key gives way to another, the file holds both; it is
//! changed in the same way. `lock` is held for as long as the node runs.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fmt, str};

use serde::{Deserialize, Serialize};
use wattle_core::id::NodeId;
use wattle_core::work::{PublicKey, public_key};

use crate::clock::entropy;
use crate::error::StartError;

const IDENTITY_FILE: &str = "identity.toml";
const LOCK_FILE: &str = "lock";
const FORMAT: u32 = 1;
const NAME_BYTES_MAX: usize = 64;

/// A data directory that this process alone holds.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be (mode 0700) and locks it until this is dropped.
    ///
    /// # Errors
    /// [`StartError::DataDir`] if it cannot be used, [`StartError::Locked`] if another process holds it.
    pub fn lock(path: &Path) -> Result<Self, StartError> {
        let unusable = |source| StartError::DataDir { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's directory.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The file that keeps space aside.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }
}

/// Who a node is, with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeKeys {
    /// Derived from the first key, then kept.
    pub node: NodeId,
    /// For people; unique in the mesh.
    pub name: String,
    /// The Ed25519 secret it proves on every connection.
    pub secret: [u8; 32],
    /// The one that is to take its place, while there is one.
    pub next: Option<[u8; 32]>,
    /// The rotation that brought `secret`; 0 for the node's first.
    pub rotation: u64,
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKeys").field("node", &self.node).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Reading or writing failed.
    #[error("cannot read or write the key file {path}: {source}", path = path.display())]
    File {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the secret.
    #[error(
        "the key file {path} can be read by others (mode {mode:03o}): make sure nobody copied it, then `chmod 600 {path}`",
        path = path.display()
    )]
    Open {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content makes no sense.
    #[error(
        "the key file {path} is damaged: {what}; restore it from a backup. A node without its key is a new node: it needs \
         an empty data directory",
        path = path.display()
    )]
    Damaged {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The settings name another node than the directory holds.
    #[error(
        "the data directory belongs to node {stored:?}, but the settings call this node {given:?}: use that node's own \
         directory, or take the name out of the settings"
    )]
    OtherName {
        /// As stored.
        stored: String,
        /// As set.
        given: String,
    },
    /// The name cannot be used.
    #[error("{0:?} cannot name a node: use 1 to 64 letters, digits, `-`, `_` or `.`")]
    BadName(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: u32,
    node: String,
    name: String,
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(default, skip_serializing_if = "is_first")]
    rotation: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as it is called")]
const fn is_first(rotation: &u64) -> bool {
    *rotation == 0
}

impl NodeKeys {
    /// Reads the identity of a directory, or makes it if there is none. `name` is needed only then; later it must agree.
    ///
    /// # Errors
    /// [`IdentityError`] says what is wrong and what to do.
    pub fn open_or_create(dir: &DataDir, name: Option<&str>) -> Result<Self, IdentityError> {
        if let Some(name) = name.filter(|name| !is_name(name)) {
            return Err(IdentityError::BadName(name.to_owned()));
        }
        let path = dir.path.join(IDENTITY_FILE);
        let keys = match fs::metadata(&path) {
            Ok(metadata) => {
                let mode = metadata.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(IdentityError::Open { path, mode });
                }
                Self::read(&path)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(&dir.path, &path, name)?,
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        match name {
            Some(given) if given != keys.name => {
                Err(IdentityError::OtherName { stored: keys.name, given: given.to_owned() })
            }
            _ => Ok(keys),
        }
    }

    /// The public half of the key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        public_key(&self.secret)
    }

    /// The present secret, and the next if there is one.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = [u8; 32]> + use<> {
        core::iter::once(self.secret).chain(self.next)
    }

    fn read(path: &Path) -> Result<Self, IdentityError> {
        let text = fs::read_to_string(path)
            .map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
        let damaged = |what: &str| IdentityError::Damaged { path: path.to_owned(), what: what.to_owned() };
        // The parser's own message would quote the line, which may be the secret.
        let file: KeyFile =
            toml::from_str(&text).map_err(|_| damaged("it does not have the expected fields"))?;
        if file.format != FORMAT {
            return Err(damaged("it was written by a newer version"));
        }
        let node = NodeId::parse(&file.node).ok_or_else(|| damaged("`node` is not a node id"))?;
        let secret =
            from_hex(&file.secret).ok_or_else(|| damaged("`secret` is not 64 hexadecimal digits"))?;
        let next = file
            .next
            .as_deref()
            .map(|next| from_hex(next).ok_or_else(|| damaged("`next` is not 64 hexadecimal digits")));
        let next = next.transpose()?;
        if file.rotation == 0 && public_key(&secret).first_node_id() != node {
            return Err(damaged("`node` and `secret` do not belong together"));
        }
        if !is_name(&file.name) {
            return Err(damaged("`name` is not a name"));
        }
        Ok(Self { node, name: file.name, secret, next, rotation: file.rotation })
    }

    fn create(dir: &Path, path: &Path, name: Option<&str>) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::File { path: path.to_owned(), source };
        let secret = entropy().map_err(failed)?;
        let node = public_key(&secret).first_node_id();
        let name = name.map_or_else(|| host_name(node), ToOwned::to_owned);
        let keys = Self { node, name, secret, next: None, rotation: 0 };
        keys.write(dir, path).map_err(failed)?;
        Ok(keys)
    }

    /// Takes the place of what the directory holds.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), IdentityError> {
        let path = dir.join(IDENTITY_FILE);
        self.write(dir, &path).map_err(|source| IdentityError::File { path, source })
    }

    fn write(&self, dir: &Path, path: &Path) -> io::Result<()> {
        let file = KeyFile {
            format: FORMAT,
            node: self.node.to_string(),
            name: self.name.clone(),
            secret: to_hex(&self.secret),
            next: self.next.as_ref().map(|next| to_hex(next)),
            rotation: self.rotation,
        };
        let text = toml::to_string(&file).map_err(io::Error::other)?;
        let beside = path.with_extension("toml.new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        out.write_all(b"# The identity of a Wattle node. Whoever has this file is this node: never copy it to a second one.\n")?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A name from the host's, made unique by the id's first characters.
fn host_name(node: NodeId) -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_str().unwrap_or_default();
    let label = host.split('.').next().unwrap_or_default();
    let label = if is_name(label) { label } else { "node" };
    let id = node.to_string().to_ascii_lowercase();
    let label = &label[..label.len().min(NAME_BYTES_MAX - 5)];
    format!("{label}-{}", &id[id.len() - 4..])
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_then_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let made = {
            let dir = DataDir::lock(&temporary.path().join("deep/er")).unwrap();
            NodeKeys::open_or_create(&dir, Some("a")).unwrap()
        };
        let dir = DataDir::lock(&temporary.path().join("deep/er")).unwrap();
        assert_eq!(NodeKeys::open_or_create(&dir, None).unwrap(), made);
        assert_eq!(made.node, made.public_key().first_node_id());
        let mode = fs::metadata(dir.path().join(IDENTITY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let Err(IdentityError::OtherName { stored, given }) = NodeKeys::open_or_create(&dir, Some("b"))
        else {
            panic!("another name was taken");
        };
        assert_eq!((stored.as_str(), given.as_str()), ("a", "b"));
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(temporary.path()).unwrap();
        NodeKeys::open_or_create(&dir, None).unwrap();
        let path = temporary.path().join(IDENTITY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let message = NodeKeys::open_or_create(&dir, None).unwrap_err().to_string();
        assert!(message.contains("chmod 600"), "{message}");
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_its_secret_is_not_shown() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(temporary.path()).unwrap();
        let keys = NodeKeys::open_or_create(&dir, None).unwrap();
        let path = temporary.path().join(IDENTITY_FILE);
        let good = fs::read_to_string(&path).unwrap();
        let other = NodeKeys { node: NodeId(keys.node.0 ^ 1), ..keys.clone() };
        for bad in [
            String::new(),
            good.replace("secret = \"", "secret = \"zz"),
            good.replace("secret = \"", "secret = "),
            good.replace("format = 1", "format = 2"),
            good.replace(&keys.node.to_string(), &other.node.to_string()),
        ] {
            fs::write(&path, bad).unwrap();
            let error = NodeKeys::open_or_create(&dir, None).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert!(!error.to_string().contains(&to_hex(&keys.secret)[..16]), "{error}");
        }
    }

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(temporary.path()).unwrap();
        for name in ["", "two words", "a/b", &"x".repeat(65)] {
            let error = NodeKeys::open_or_create(&dir, Some(name)).unwrap_err();
            assert!(matches!(error, IdentityError::BadName(_)), "{name:?}: {error}");
        }
    }

    /// The test starts itself again as a second process, which must find the directory locked.
    #[test]
    fn two_processes_cannot_share_a_data_directory() {
        const DIRECTORY: &str = "WATTLE_TEST_LOCKED_DIRECTORY";
        if let Some(path) = std::env::var_os(DIRECTORY) {
            let refused = matches!(DataDir::lock(Path::new(&path)), Err(StartError::Locked { .. }));
            std::process::exit(if refused { 42 } else { 43 });
        }
        let second_process = |path: &Path| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "identity::tests::two_processes_cannot_share_a_data_directory"])
                .env(DIRECTORY, path)
                .output()
                .unwrap()
                .status
                .code()
        };
        let temporary = tempfile::tempdir().unwrap();
        let held = DataDir::lock(temporary.path()).unwrap();
        assert_eq!(second_process(temporary.path()), Some(42));
        drop(held);
        assert_eq!(second_process(temporary.path()), Some(43), "free again once the first is gone");
    }
}
