//! The agreed keys and values (M16).
//!
//! A write is an entry; what it wrote has the entry's index as its version. Whether it is done depends on nothing but the state: on the version
//! expected, on the limits, and for reserved keys on their handler.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;
use wattle_proto::mesh as proto;

use super::handlers;
use super::room::TABLES_BYTES_MAX;
use super::state::{Effect, State};
use super::wire::{self, Malformed};
use crate::agreed::{
    CHANGES_MAX, CONFIG_BYTES_MAX, ConfigChange, ConfigRecord, ConfigRefusal, Expected, KEY_BYTES_MAX,
    KEYS_MAX, MeshSettings, VALUE_BYTES_MAX,
};
use crate::id::LogIndex;
use crate::node::command::Refusal;

/// Versions, tags and lengths of a record.
const FIXED_BYTES: usize = 40;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The value.
    pub value: Bytes,
    /// The entry that wrote it.
    pub version: LogIndex,
    /// The entry that wrote the key when it was not there.
    pub created: LogIndex,
}

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    records: BTreeMap<String, Held>,
    /// What they take of the encoded state, at most.
    bytes: usize,
    /// The entry that last changed a reserved key.
    settled: LogIndex,
    /// What the reserved keys say.
    settings: MeshSettings,
}

/// Whether `key` can be a key.
pub(super) fn check_key(key: &str) -> Result<(), ConfigRefusal> {
    let fits =
        (1..=KEY_BYTES_MAX).contains(&key.len()) && plain(key) && key.split('/').all(|part| !part.is_empty());
    if fits {
        return Ok(());
    }
    Err(ConfigRefusal::BadKey(alloc::format!(
        "a key has 1 to {KEY_BYTES_MAX} characters out of A-Z a-z 0-9 . _ - and, between others, single /; {:?} does not fit",
        shortened(key)
    )))
}

/// Whether keys can begin with `prefix`.
pub(super) fn check_prefix(prefix: &str) -> Result<(), ConfigRefusal> {
    if prefix.len() <= KEY_BYTES_MAX && plain(prefix) {
        return Ok(());
    }
    Err(ConfigRefusal::BadKey(alloc::format!(
        "keys have up to {KEY_BYTES_MAX} characters out of A-Z a-z 0-9 . _ - /: none begins with {:?}",
        shortened(prefix)
    )))
}

/// Whether `value` can be the value of `key`, whatever else is there: so whoever is asked may say no, without asking the log.
pub(super) fn check_value(key: &str, value: &[u8]) -> Result<(), ConfigRefusal> {
    check_key(key)?;
    if value.len() > VALUE_BYTES_MAX {
        let (got, limit) = (value.len() as u64, VALUE_BYTES_MAX as u64);
        return Err(ConfigRefusal::ValueTooLarge { got, limit });
    }
    handlers::check(key, value)
}

/// Whether settings can be changed so, whatever they are.
pub(super) fn check_changes(changes: &[(String, Option<Bytes>)]) -> Result<(), ConfigRefusal> {
    let mut keys = BTreeSet::new();
    for (key, value) in changes {
        check_key(key)?;
        if !key.starts_with(handlers::RESERVED) || !keys.insert(key) {
            return Err(ConfigRefusal::BadKey(alloc::format!(
                "each setting of the mesh is named once, and begins with {}; {key:?} does not fit",
                handlers::RESERVED
            )));
        }
        check_value(key, value.as_deref().unwrap_or_default()).or_else(|refusal| {
            // Whatever the value, a setting that there is may be taken away.
            if value.is_none() && handlers::is_known(key) { Ok(()) } else { Err(refusal) }
        })?;
    }
    if (1..=CHANGES_MAX).contains(&changes.len()) {
        return Ok(());
    }
    let what = alloc::format!("1 to {CHANGES_MAX} settings are changed together, not {}", changes.len());
    Err(ConfigRefusal::BadKey(what))
}

fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte))
}

/// Enough of a text to recognise it.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn record_bytes(key: &str, value: &[u8]) -> usize {
    FIXED_BYTES + key.len() + value.len()
}

impl Table {
    /// What `key` holds.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Held> {
        self.records.get(key)
    }

    /// All keys that begin with `prefix` and come behind `after`, in order.
    pub fn range<'a>(&'a self, prefix: &'a str, after: &'a str) -> impl Iterator<Item = ConfigRecord> + 'a {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let found = self.records.range::<str, _>((from, Bound::Unbounded));
        found.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, held)| record(key, held))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What they take of the encoded state, at most.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn version(&self, key: &str) -> Option<LogIndex> {
        self.records.get(key).map(|held| held.version)
    }

    /// Whether the key is as expected.
    pub(super) fn expect(&self, key: &str, expected: Expected) -> Result<(), ConfigRefusal> {
        let present = self.version(key);
        if expected.fits(present) {
            Ok(())
        } else {
            Err(ConfigRefusal::Conflict { key: key.into(), present })
        }
    }

    /// Whether there is room for the value, beside `others` bytes of the state.
    pub(super) fn has_room(&self, key: &str, value: &[u8], others: usize) -> Result<(), ConfigRefusal> {
        let before = self.records.get(key).map_or(0, |held| record_bytes(key, &held.value));
        let after = record_bytes(key, value);
        if before == 0 && self.records.len() >= KEYS_MAX {
            let limit = "which is the limit: delete some first";
            return Err(ConfigRefusal::Full(alloc::format!("there are {KEYS_MAX} keys, {limit}")));
        }
        let bytes = self.bytes - before + after;
        if after <= before || bytes <= CONFIG_BYTES_MAX && others + bytes <= TABLES_BYTES_MAX {
            return Ok(());
        }
        Err(ConfigRefusal::Full(if bytes > CONFIG_BYTES_MAX {
            alloc::format!(
                "all keys and values may take {CONFIG_BYTES_MAX} bytes, and {} are taken: delete some first, or keep large values elsewhere",
                self.bytes
            )
        } else {
            alloc::format!(
                "the mesh's members and streams leave no room for {} bytes of configuration: close some streams first",
                bytes
            )
        }))
    }

    /// Writes a value that was found to be in order.
    pub(super) fn put(&mut self, index: LogIndex, key: &str, value: Bytes) {
        let before = self.records.get(key);
        assert!(before.is_none_or(|held| held.version < index), "M16: a version never comes twice");
        let created = before.map_or(index, |held| held.created);
        self.bytes -= before.map_or(0, |held| record_bytes(key, &held.value));
        self.bytes += record_bytes(key, &value);
        self.records.insert(key.into(), Held { value, version: index, created });
        self.note_setting(index, key);
    }

    /// Takes a key away. Whether it was there.
    pub(super) fn remove(&mut self, index: LogIndex, key: &str) -> bool {
        let Some(held) = self.records.remove(key) else { return false };
        self.bytes -= record_bytes(key, &held.value);
        self.note_setting(index, key);
        true
    }

    fn note_setting(&mut self, index: LogIndex, key: &str) {
        if key.starts_with(handlers::RESERVED) {
            assert!(self.settled <= index, "M16: the version of the settings grows");
            self.settled = index;
            self.settings = handlers::settings(self);
        }
    }

    /// The entry that last changed a reserved key.
    #[must_use]
    pub fn settings_version(&self) -> LogIndex {
        self.settled
    }

    /// What the reserved keys say.
    #[must_use]
    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// What a key holds, with the key.
    pub(super) fn record(&self, key: &str) -> Option<ConfigRecord> {
        self.records.get(key).map(|held| record(key, held))
    }

    /// What is otherwise than in an earlier table. When a key was taken away is not known any more: `applied` stands for it.
    pub(super) fn news_since(&self, earlier: &Self, applied: LogIndex) -> Vec<ConfigChange> {
        let gone = earlier.records.keys().filter(|key| !self.records.contains_key(*key));
        let gone = gone.map(|key| ConfigChange { key: key.clone(), version: applied, record: None });
        let written = self.records.iter().filter(|(key, held)| earlier.version(key) != Some(held.version));
        let written = written.map(|(key, held)| ConfigChange {
            key: key.clone(),
            version: held.version,
            record: Some(record(key, held)),
        });
        gone.chain(written).collect()
    }

    /// Panics if an invariant does not hold.
    pub(super) fn check(&self, applied: LogIndex) {
        let bytes: usize = self.records.iter().map(|(key, held)| record_bytes(key, &held.value)).sum();
        assert_eq!(self.bytes, bytes, "M5: the bytes of the keys add up");
        assert!(
            self.bytes <= CONFIG_BYTES_MAX && self.records.len() <= KEYS_MAX,
            "M5: agreed configuration is bounded"
        );
        assert_eq!(self.settings, handlers::settings(self), "M16: the settings are what stands in the table");
        assert!(self.settled <= applied, "M16: versions are of the log");
        for (key, held) in &self.records {
            assert!(held.created <= held.version && held.version <= applied, "M16: versions are of the log");
            assert_eq!(check_value(key, &held.value), Ok(()), "M16: nothing is there that would be refused");
        }
    }

    pub(super) fn encode(&self) -> Vec<proto::ConfigRecord> {
        let one = |(key, held): (&String, &Held)| proto::ConfigRecord {
            key: key.clone(),
            value: held.value.clone(),
            version: held.version.0,
            created: held.created.0,
        };
        self.records.iter().map(one).collect()
    }

    pub(super) fn decode(stored: Vec<proto::ConfigRecord>, settled: u64) -> Result<Self, Malformed> {
        if stored.len() > KEYS_MAX {
            return Err(Malformed("too many keys"));
        }
        let mut table = Self { settled: LogIndex(settled), ..Self::default() };
        for record in stored {
            let key = wire::text(record.key, KEY_BYTES_MAX)?;
            check_value(&key, &record.value).map_err(|_| Malformed("a key or a value"))?;
            if record.created == 0 || record.created > record.version {
                return Err(Malformed("the version of a key"));
            }
            table.bytes += record_bytes(&key, &record.value);
            let (version, created) = (LogIndex(record.version), LogIndex(record.created));
            if table.records.insert(key, Held { value: record.value, version, created }).is_some() {
                return Err(Malformed("a key stands twice"));
            }
        }
        if table.bytes > CONFIG_BYTES_MAX {
            return Err(Malformed("the keys are over their limit"));
        }
        table.settings = handlers::settings(&table);
        Ok(table)
    }
}

fn record(key: &str, held: &Held) -> ConfigRecord {
    ConfigRecord { key: key.into(), value: held.value.clone(), version: held.version, created: held.created }
}

impl State {
    pub(super) fn set_config(
        &mut self,
        index: LogIndex,
        key: &str,
        value: &Bytes,
        expected: Expected,
    ) -> Result<Effect, Refusal> {
        check_value(key, value)?;
        self.config.expect(key, expected)?;
        self.config.has_room(key, value, self.bytes)?;
        self.config.put(index, key, value.clone());
        Ok(Effect::ConfigSet(index))
    }

    pub(super) fn delete_config(
        &mut self,
        index: LogIndex,
        key: &str,
        expected: Expected,
    ) -> Result<Effect, Refusal> {
        check_key(key)?;
        self.config.expect(key, expected)?;
        if !self.config.remove(index, key) {
            return Err(ConfigRefusal::UnknownKey(key.to_string()).into());
        }
        Ok(Effect::ConfigDeleted(index))
    }

    /// Changes settings of the mesh, all or none.
    pub(super) fn configure(
        &mut self,
        index: LogIndex,
        changes: &[(String, Option<Bytes>)],
        expected: Option<LogIndex>,
    ) -> Result<Effect, Refusal> {
        check_changes(changes)?;
        let present = self.config.settled;
        if expected.is_some_and(|expected| expected != present) {
            return Err(ConfigRefusal::SettingsConflict { present }.into());
        }
        // Values share their bytes with the table they come from.
        let mut next = self.config.clone();
        for (key, value) in changes {
            match value {
                Some(value) => {
                    next.has_room(key, value, self.bytes)?;
                    next.put(index, key, value.clone());
                }
                None => drop(next.remove(index, key)),
            }
        }
        self.config = next;
        Ok(Effect::Configured(index))
    }

    /// The same of settings.
    pub(super) fn recall_refused_settings(&self, expected: Option<LogIndex>) -> Refusal {
        let present = self.config.settled;
        match expected.filter(|expected| *expected != present) {
            Some(_) => ConfigRefusal::SettingsConflict { present }.into(),
            None => Refusal::Busy,
        }
    }

    /// What to say of a write that was refused before, when nobody remembers why: what would be said now, or that it is to be asked anew.
    pub(super) fn recall_refused_write(&self, key: &str, expected: Expected, deletes: bool) -> Refusal {
        match self.config.expect(key, expected) {
            Err(refusal) => refusal.into(),
            Ok(()) if deletes && self.config.get(key).is_none() => {
                ConfigRefusal::UnknownKey(key.into()).into()
            }
            Ok(()) => Refusal::Busy,
        }
    }
}
