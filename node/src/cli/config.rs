//! `wattle config`: what can be said, and what it does.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use wattle_proto::api::{
    Consistency, DeleteConfigRequest, GetConfigRequest, ListConfigRequest, SetConfigRequest,
    WatchConfigRequest,
};

use super::commands::Desk;
use crate::client::config::{Told, once, watch};
use crate::client::{Failure, connect, follow};
use crate::output::{Output, config};
use crate::stop::Stop;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print what a key holds
    ///
    /// As it is, with a newline behind it if it ends in none. Fails if there is no such key.
    Get {
        /// The key
        key: String,
        #[command(flatten)]
        fresh: Fresh,
    },
    /// Give a key a value, and print the version it has now
    ///
    /// Keys that begin with wattle/ are settings of the mesh itself and take only what makes sense for them.
    Set {
        /// The key: up to 256 characters out of A-Z a-z 0-9 . _ - and, between others, /
        key: String,
        /// The value, up to 64 KiB; `-` reads it from standard input
        #[arg(required_unless_present = "file", allow_hyphen_values = true)]
        value: Option<String>,
        /// Read the value from a file
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        file: Option<PathBuf>,
        #[command(flatten)]
        expect: Expect,
        /// Write only if there is no such key
        #[arg(long, conflicts_with = "expect")]
        create: bool,
    },
    /// Take a key away
    Delete {
        /// The key
        key: String,
        #[command(flatten)]
        expect: Expect,
    },
    /// List keys, their versions and the beginnings of their values
    List {
        /// Only keys that begin so
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        fresh: Fresh,
    },
    /// Print what keys hold, and from then on each change, one per line
    ///
    /// It goes on at another node if the one it asks goes away, and misses nothing: if changes are no longer known one by one, it lists what
    /// there is again and says so.
    Watch {
        /// Only keys that begin so
        #[arg(default_value = "")]
        prefix: String,
        /// Begin with what was written after this version, rather than with a listing
        #[arg(long, value_name = "VERSION")]
        after: Option<u64>,
        /// End after so many lines
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Expect {
    /// Only if the key holds this version
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    expect: Option<u64>,
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Fresh {
    /// Ask only what the node knows: works without a quorum, and may be old
    #[arg(long)]
    local: bool,
}

impl Fresh {
    pub(super) fn consistency(self) -> i32 {
        if self.local { Consistency::Local } else { Consistency::Linearizable }.into()
    }
}

impl Desk {
    pub(super) async fn config(&self, command: ConfigCommand) -> Result<(), Failure> {
        match command {
            ConfigCommand::Get { key, fresh } => self.get_config(key, fresh).await,
            ConfigCommand::Set { key, value, file, expect, create } => {
                let value = read_value(value, file.as_deref())?;
                let expected_version = if create { Some(0) } else { expect.expect };
                self.set_config(SetConfigRequest { key, value: value.into(), expected_version }).await
            }
            ConfigCommand::Delete { key, expect } => {
                self.delete_config(DeleteConfigRequest { key, expected_version: expect.expect }).await
            }
            ConfigCommand::List { prefix, fresh } => self.list_config(prefix, fresh).await,
            ConfigCommand::Watch { prefix, after, count } => {
                self.watch_config(WatchConfigRequest { prefix, after }, count).await
            }
        }
    }

    async fn get_config(&self, key: String, fresh: Fresh) -> Result<(), Failure> {
        let request = GetConfigRequest { key: key.clone(), consistency: fresh.consistency() };
        let (found, _) = follow(&self.finder, self.finder.peers(None).await?, async |client| {
            let peer = client.peer.clone();
            connect::answer(&peer, client.mesh.get_config(request.clone())).await
        })
        .await?;
        if let Some(age) = config::age(found.at.as_ref()) {
            self.output.remark(&age);
        }
        let Some(record) = found.record else {
            return Err(Failure::Failed(format!(
                "there is no key {key:?}: `wattle config list` lists the keys"
            )));
        };
        match self.output {
            Output::Json => self.output.print(String::new, || config::json(&record)),
            Output::Text => {
                let mut stdout = std::io::stdout().lock();
                let end: &[u8] = if record.value.ends_with(b"\n") { b"" } else { b"\n" };
                // A reader that went away is no failure.
                let _ = stdout
                    .write_all(&record.value)
                    .and_then(|()| stdout.write_all(end))
                    .and_then(|()| stdout.flush());
            }
        }
        Ok(())
    }

    async fn set_config(&self, request: SetConfigRequest) -> Result<(), Failure> {
        let key = request.key.clone();
        let written = once(&self.finder, async |client| {
            let peer = client.peer.clone();
            connect::answer(&peer, client.mesh.set_config(request.clone())).await
        })
        .await?;
        self.output.print(
            || format!("{key} is written: version {}", written.version),
            || json!({ "key": key, "version": written.version }),
        );
        Ok(())
    }

    async fn delete_config(&self, request: DeleteConfigRequest) -> Result<(), Failure> {
        let key = request.key.clone();
        let deleted = once(&self.finder, async |client| {
            let peer = client.peer.clone();
            connect::answer(&peer, client.mesh.delete_config(request.clone())).await
        })
        .await?;
        self.output.print(
            || format!("{key} is deleted: version {}", deleted.version),
            || json!({ "key": key, "version": deleted.version, "deleted": true }),
        );
        Ok(())
    }

    async fn list_config(&self, prefix: String, fresh: Fresh) -> Result<(), Failure> {
        let peers = self.finder.peers(None).await?;
        let (records, _) = follow(&self.finder, peers, async |client| {
            let peer = client.peer.clone();
            let mut records = Vec::new();
            let mut after = String::new();
            loop {
                let request = ListConfigRequest {
                    prefix: prefix.clone(),
                    after: after.clone(),
                    limit: 0,
                    consistency: fresh.consistency(),
                };
                let page = connect::answer(&peer, client.mesh.list_config(request)).await?;
                records.extend(page.records);
                match records.last() {
                    Some(last) if page.more => after.clone_from(&last.key),
                    _ => break,
                }
            }
            Ok(records)
        })
        .await?;
        self.output.print(|| config::list_text(&records), || records.iter().map(config::json).collect());
        Ok(())
    }

    async fn watch_config(&self, request: WatchConfigRequest, count: Option<u64>) -> Result<(), Failure> {
        let stop = Stop::on_signals()
            .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
        let mut left = count.unwrap_or(u64::MAX);
        watch(&self.finder, request, stop, |told| {
            let part = match told {
                Told::Part(part) => part,
                Told::Reconnects(why) => {
                    self.output.remark(&format!("{why}; connecting again"));
                    return true;
                }
            };
            if part.fresh {
                self.output.remark(&format!("what there is, as of version {}:", part.upto));
            }
            for change in &part.changes {
                self.output.print(|| config::change_text(change), || config::change_json(change, part.fresh));
                left -= 1;
                if left == 0 {
                    return false;
                }
            }
            true
        })
        .await
    }
}

fn read_value(value: Option<String>, file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let cannot = |what: &str, error| Failure::Failed(format!("cannot read {what}: {error}"));
    match (value.as_deref(), file) {
        (Some("-"), _) => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| cannot("standard input", error))?;
            Ok(bytes)
        }
        (Some(value), _) => Ok(value.as_bytes().to_vec()),
        (None, Some(file)) => std::fs::read(file).map_err(|error| cannot(&file.display().to_string(), error)),
        (None, None) => Err(Failure::Usage("say which value the key shall have".to_owned())),
    }
}
