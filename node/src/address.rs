//! Address files: how the command line finds the nodes that run on this machine.
//!
//! Each running node keeps one small JSON file, named after its id, in a directory that only its user can enter. The node holds an exclusive
//! lock on the file for as long as it lives, so a file without a lock is stale, however the node ended: the kernel drops the lock with the process.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wattle_core::id::NodeId;

/// Names the directory if set.
pub const DIRECTORY_VARIABLE: &str = "WATTLE_RUNTIME_DIR";

/// What a running node tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Its name.
    pub name: String,
    /// Its id, as text.
    pub id: String,
    /// Where its API listens.
    pub api: String,
    /// Where its API token stands.
    pub token: PathBuf,
    /// Its process.
    pub pid: u32,
}

impl Address {
    /// Its id.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        NodeId::parse(&self.id)
    }
}

/// Where address files are.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// `$WATTLE_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/wattle`, else `/tmp/wattle-UID`.
    ///
    /// # Errors
    /// When it cannot be made, or belongs to somebody else.
    pub fn of_user() -> io::Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = match (set(DIRECTORY_VARIABLE), set("XDG_RUNTIME_DIR")) {
            (Some(path), _) => path,
            (None, Some(runtime)) if runtime.is_dir() => runtime.join("wattle"),
            _ => PathBuf::from(format!("/tmp/wattle-{}", own_user()?)),
        };
        Self::at(path)
    }

    /// A directory of that path.
    ///
    /// # Errors
    /// When it cannot be made, or belongs to somebody else.
    pub fn at(path: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        // Under /tmp anybody could have made it first, to be found in place of our nodes.
        let found = fs::symlink_metadata(&path)?;
        if !found.is_dir() || found.uid() != own_user()? {
            return Err(io::Error::other(format!(
                "{} is not a directory of this user: set {DIRECTORY_VARIABLE} to one that is",
                path.display()
            )));
        }
        Ok(Self { path })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps an address file for a running node until the answer is dropped.
    ///
    /// # Errors
    /// When the file cannot be written, or another process runs this node.
    pub fn publish(&self, address: &Address) -> io::Result<Published> {
        let path = self.path.join(format!("{}.json", address.id));
        let mut file = loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let owner =
                        read(&path).map_or_else(String::new, |other| format!(" (process {})", other.pid));
                    return Err(io::Error::other(format!("node {} runs already{owner}", address.name)));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Whoever held the lock before may have removed the file between the two calls.
            let same = fs::metadata(&path).is_ok_and(|now| {
                file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()))
            });
            if same {
                break file;
            }
        };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(serde_json::to_string_pretty(address)?.as_bytes())?;
        file.write_all(b"\n")?;
        Ok(Published { path, _locked: file })
    }

    /// The nodes that run now, by name.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn alive(&self) -> io::Result<Vec<Address>> {
        let mut alive = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && is_locked(&path)
                && let Some(address) = read(&path)
            {
                alive.push(address);
            }
        }
        alive.sort_by(|a: &Address, b: &Address| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(alive)
    }
}

/// An address file that is there while this is.
#[derive(Debug)]
pub struct Published {
    path: PathBuf,
    _locked: File,
}

impl Drop for Published {
    fn drop(&mut self) {
        // A file that stays is harmless: it has no lock any more.
        let _ = fs::remove_file(&self.path);
    }
}

fn read(path: &Path) -> Option<Address> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// Whether a living process holds the file. A shared lock, tried for a moment, disturbs nobody but a node that starts right now.
fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn own_user() -> io::Result<u32> {
    // Without unsafe code and on every Unix: who owns what this process makes.
    Ok(tempfile::tempfile()?.metadata()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str, id: u128) -> Address {
        Address {
            name: name.to_owned(),
            id: NodeId(id).to_string(),
            api: "127.0.0.1:1".to_owned(),
            token: "/nowhere/api-token".into(),
            pid: std::process::id(),
        }
    }

    #[test]
    fn nodes_are_found_while_they_live_and_stale_files_are_not() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::at(place.path().join("run")).unwrap();
        assert_eq!(directory.alive().unwrap(), []);
        let (b, a) = (address("b", 1), address("a", 2));
        let kept = directory.publish(&b).unwrap();
        let _also_kept = directory.publish(&a).unwrap();
        assert_eq!(directory.alive().unwrap(), [a.clone(), b.clone()]);

        // A node that was killed leaves its file and loses its lock.
        let stale = address("c", 3);
        let path = directory.path().join(format!("{}.json", stale.id));
        fs::write(&path, serde_json::to_string(&stale).unwrap()).unwrap();
        fs::write(directory.path().join("nonsense.json"), "{").unwrap();
        assert_eq!(directory.alive().unwrap(), [a.clone(), b.clone()]);
        let revived = directory.publish(&stale).unwrap();
        assert_eq!(directory.alive().unwrap().len(), 3, "a stale file is taken over");

        drop((kept, revived));
        assert_eq!(directory.alive().unwrap(), [a]);
        assert!(!path.exists());
    }

    #[test]
    fn one_node_cannot_run_twice() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::at(place.path().to_owned()).unwrap();
        let _kept = directory.publish(&address("a", 1)).unwrap();
        let refused = directory.publish(&address("a", 1)).unwrap_err().to_string();
        assert!(refused.contains("runs already (process"), "{refused}");
    }

    #[test]
    fn the_directory_is_closed_to_others() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("made");
        Directory::at(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Directory::at(link).is_err(), "a link could lead anywhere");
    }
}
