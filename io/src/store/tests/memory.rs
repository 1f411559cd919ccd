//! A file system that forgets what was not synced, in any way that a crash may leave it, and remembers every state it was in.
//!
//! What is done to a file counts for whoever reads it at once, and is pending until the file is synced; so are names until their directory
//! is. A crash keeps any part of what is pending. A sync that fails leaves what it covered to be read, and never writes it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::Files;

/// Everything that a crash can take or leave.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A name in a directory: of a file, or of none any more.
    Name(PathBuf, Option<usize>),
    Write {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Len {
        file: usize,
        bytes: usize,
    },
    Hole {
        file: usize,
        from: usize,
        bytes: usize,
    },
}

impl Change {
    fn is_of(&self, other: usize) -> bool {
        match self {
            Self::Name(..) => false,
            Self::Write { file, .. } | Self::Len { file, .. } | Self::Hole { file, .. } => *file == other,
        }
    }
}

/// What a crash leaves of one change.
pub(super) enum Kept {
    All,
    Nothing,
    /// Of a write: so many bytes.
    Bytes(usize),
    /// Of a write: the sectors whose bit is set.
    Sectors(u64),
}

const SECTOR: usize = 512;

/// Names and the contents of files.
#[derive(Clone, Debug, Default)]
struct Layer {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<Vec<u8>>,
}

impl Layer {
    fn content(&mut self, file: usize) -> &mut Vec<u8> {
        if self.files.len() <= file {
            self.files.resize(file + 1, Vec::new());
        }
        &mut self.files[file]
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Name(path, Some(file)) => drop(self.names.insert(path.clone(), *file)),
            Change::Name(path, None) => drop(self.names.remove(path)),
            Change::Len { file, bytes } => self.content(*file).resize(*bytes, 0),
            Change::Hole { file, from, bytes } => {
                let content = self.content(*file);
                let end = (from + bytes).min(content.len());
                content[(*from).min(end)..end].fill(0);
            }
            Change::Write { file, at, bytes } => {
                let content = self.content(*file);
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    fn apply_part(&mut self, change: &Change, kept: &Kept) {
        let Change::Write { file, at, bytes } = change else {
            if !matches!(kept, Kept::Nothing) {
                self.apply(change);
            }
            return;
        };
        let mut part = |from: usize, upto: usize| {
            let bytes = bytes[from..upto.min(bytes.len())].to_vec();
            self.apply(&Change::Write { file: *file, at: at + from, bytes });
        };
        match kept {
            Kept::Nothing => {}
            Kept::All => part(0, bytes.len()),
            Kept::Bytes(count) => part(0, *count),
            Kept::Sectors(mask) => {
                let sectors = (0..bytes.len()).step_by(SECTOR).enumerate();
                sectors
                    .filter(|(n, _)| mask >> (n % 64) & 1 == 1)
                    .for_each(|(_, from)| part(from, from + SECTOR));
            }
        }
    }
}

/// A state of the file system.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    now: Layer,
    disk: Layer,
    pub(super) pending: Vec<Change>,
    /// What the test says that whoever uses it has promised by now.
    pub(super) promised: u64,
}

impl World {
    fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.pending.push(change);
    }

    fn done(&mut self, which: impl Fn(&Change) -> bool, written: bool) {
        for change in std::mem::take(&mut self.pending) {
            if !which(&change) {
                self.pending.push(change);
            } else if written {
                self.disk.apply(&change);
            }
        }
    }

    /// What a crash leaves, when of each pending change that is kept which `fate` says.
    pub(super) fn crashed(&self, mut fate: impl FnMut(usize, &Change) -> Kept) -> Self {
        let mut disk = self.disk.clone();
        for (place, change) in self.pending.iter().enumerate() {
            disk.apply_part(change, &fate(place, change));
        }
        Self { now: disk.clone(), disk, pending: Vec::new(), promised: self.promised }
    }

    /// The files, for whoever damages them.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.now.names.keys().cloned().collect()
    }

    pub(super) fn bytes(&mut self, path: &Path) -> &mut Vec<u8> {
        let file = self.now.names[path];
        self.now.content(file)
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.now.names.remove(path);
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) world: World,
    /// Every state since the test asked for it.
    pub(super) history: Option<Vec<World>>,
    pub(super) syncs: usize,
    /// Which of them fails.
    pub(super) failing: Option<usize>,
    /// Writes end in the middle.
    pub(super) writes_end_early: bool,
    /// Nothing grows as long as this file is there.
    pub(super) full_while: Option<PathBuf>,
    /// Nor can anything be written then in the place of what is there.
    pub(super) copies_on_write: bool,
    pub(super) synced_directories: Vec<PathBuf>,
    /// How often it was too full.
    pub(super) refused: usize,
}

impl State {
    fn change(&mut self, change: Change) {
        self.world.change(change);
        self.remember();
    }

    pub(super) fn remember(&mut self) {
        if let Some(history) = &mut self.history {
            history.push(self.world.clone());
        }
    }

    fn sync(&mut self, which: impl Fn(&Change) -> bool) -> io::Result<()> {
        self.syncs += 1;
        let fails = self.failing == Some(self.syncs);
        self.world.done(which, !fails);
        self.remember();
        if fails { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    fn room(&mut self, grows: bool) -> io::Result<()> {
        if grows && self.full_while.as_ref().is_some_and(|path| path.exists()) {
            self.refused += 1;
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// A file system.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

impl Memory {
    pub(super) fn of(world: World) -> Self {
        Self(Arc::new(Mutex::new(State { world, ..State::default() })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        self.state().world.now.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Files for Memory {
    type File = usize;

    fn make_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.state().world.paths())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.synced_directories.push(path.to_owned());
        if path == Path::new("/") {
            return Ok(());
        }
        state.sync(|change| matches!(change, Change::Name(..)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.file(path)?;
        Ok(self.state().world.now.content(file).clone())
    }

    fn create(&self, path: &Path) -> io::Result<usize> {
        if self.file(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let mut state = self.state();
        let file = state.world.now.files.len().max(state.world.disk.files.len());
        state.world.now.content(file);
        state.change(Change::Name(path.to_owned(), Some(file)));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<usize> {
        self.file(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<usize> {
        self.file(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.state().change(Change::Name(path.to_owned(), None));
        Ok(())
    }

    fn read_at(&self, file: &usize, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.state();
        let content = state.world.now.content(*file);
        let read = content.get(at as usize..at as usize + bytes.len()).ok_or(ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, file: &usize, bytes: u64) -> io::Result<()> {
        self.state().change(Change::Len { file: *file, bytes: bytes as usize });
        Ok(())
    }

    fn allocate(&self, file: &usize, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        let bytes = bytes as usize;
        let grows = state.world.now.content(*file).len() < bytes;
        state.room(grows)?;
        if grows {
            state.change(Change::Len { file: *file, bytes });
        }
        Ok(())
    }

    fn punch(&self, file: &usize, from: u64, bytes: u64) -> bool {
        self.state().change(Change::Hole { file: *file, from: from as usize, bytes: bytes as usize });
        true
    }

    fn write(&self, file: &usize, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.state();
        let grows = state.world.now.content(*file).len() < at as usize + bytes.len();
        let grows = grows || state.copies_on_write;
        state.room(grows)?;
        let early = state.writes_end_early;
        let bytes = if early { &bytes[..bytes.len() / 2] } else { bytes };
        state.change(Change::Write { file: *file, at: at as usize, bytes: bytes.to_vec() });
        if early { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        let file = *file;
        self.state().sync(|change| change.is_of(file))
    }
}
