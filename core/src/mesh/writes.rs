//! Wishes about agreed configuration: what can be refused whatever the state holds is refused at once, all else is decided by the log (M4).

use alloc::string::String;

use bytes::Bytes;

use super::Mesh;
use super::entry::{Body, Entry};
use super::join_key::check_limits;
use super::state::Effect;
use super::table::{check_changes, check_key, check_value};
use crate::agreed::{ConfigChange, ConfigCommand, Expected};
use crate::id::{LogIndex, RequestId};
use crate::node::command::Refusal;
use crate::planted::Bug;
use crate::sometimes;
use crate::time::Now;

impl Mesh {
    pub(super) fn on_config(&mut self, now: Now, request: RequestId, command: ConfigCommand) {
        match command {
            ConfigCommand::Set { key, value, expected } => {
                self.on_set_config(now, request, key, value, expected);
            }
            ConfigCommand::Delete { key, expected } => match check_key(&key) {
                Ok(()) => self.on_client_request(now, request, Body::DeleteConfig { key, expected }),
                Err(refusal) => self.reply(request, Err(refusal.into())),
            },
            ConfigCommand::Configure { changes, expected } => match check_changes(&changes) {
                Ok(()) => self.on_client_request(now, request, Body::Configure { changes, expected }),
                Err(refusal) => self.reply(request, Err(refusal.into())),
            },
            ConfigCommand::RotateKey { lifetime, uses } => self.on_rotate_key(now, request, lifetime, uses),
            ConfigCommand::Settings { consistency } => self.on_get_settings(now, request, consistency),
            ConfigCommand::Get { key, consistency } => self.on_get_config(now, request, key, consistency),
            ConfigCommand::List { prefix, after, limit, consistency } => {
                self.on_list_config(now, request, prefix, after, limit, consistency);
            }
            ConfigCommand::Watch { prefix, after } => self.on_watch_config(now, request, prefix, after),
        }
    }

    fn on_set_config(&mut self, now: Now, request: RequestId, key: String, value: Bytes, expected: Expected) {
        match check_value(&key, &value) {
            Ok(()) => self.on_client_request(now, request, Body::SetConfig { key, value, expected }),
            Err(refusal) => self.reply(request, Err(refusal.into())),
        }
    }

    /// A write of agreed configuration was done: those who watch will hear of it.
    pub(super) fn note_config(&mut self, entry: &Entry, effect: &Effect) {
        match (effect, &entry.body) {
            (Effect::ConfigSet(version), Body::SetConfig { key, .. }) => {
                let record = self.state.config.record(key);
                self.note_change(key, *version, record);
            }
            (Effect::Configured(version), Body::Configure { changes, .. }) => {
                for (key, value) in changes {
                    let record = value.as_ref().and_then(|_| self.state.config.record(key));
                    self.note_change(key, *version, record);
                }
            }
            (Effect::ConfigDeleted(version), Body::DeleteConfig { key, .. }) => {
                self.note_change(key, *version, None);
            }
            _ => {}
        }
    }

    fn note_change(&mut self, key: &str, version: LogIndex, record: Option<crate::agreed::ConfigRecord>) {
        let change = ConfigChange { key: key.into(), version, record };
        self.tell_config(&change);
        self.watches.note(change);
    }

    /// What is applied in place of the entry by a node with a deliberate bug.
    pub(super) fn misread_write(&self, entry: &mut Entry) {
        let Body::SetConfig { key, expected, .. } = &mut entry.body else { return };
        let conflict = self.state.config.expect(key, *expected).is_err();
        sometimes!(WriteConflict, conflict);
        if self.planted.strikes(Bug::ExpectedVersionIgnored, || conflict) {
            *expected = Expected::Any;
        }
    }
}

impl Body {
    /// What is wrong with a request whatever the state holds, if anything is: a leader need not put it into the log.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::SetConfig { key, value, .. } => Ok(check_value(key, value)?),
            Self::DeleteConfig { key, .. } => Ok(check_key(key)?),
            Self::Configure { changes, .. } => Ok(check_changes(changes)?),
            Self::RotateKey { lifetime, uses, .. } => check_limits(*lifetime, *uses),
            _ => Ok(()),
        }
    }

    /// What it takes of memory beside the request itself, where that can be much.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::SetConfig { value, .. } => value.len(),
            Self::Configure { changes, .. } => {
                changes.iter().map(|(_, value)| value.as_ref().map_or(0, Bytes::len)).sum()
            }
            _ => 0,
        }
    }
}
