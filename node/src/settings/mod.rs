//! The settings of `wattle run`: a TOML file, then the environment (`WATTLE_SECTION_KEY`) above it.
//!
//! One table, [`KEYS`], says what there is; everything else follows from it. Whatever is not in it is an error that names the line
//! and the nearest key, because a misspelt setting that is ignored is found out too late.

mod handlers;
mod read;
mod suggest;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use handlers::{Begin, HandlerKind, HandlerSettings, Keep, PostgreSqlSettings, StoreSettings};
pub(crate) use suggest::nearest;
use wattle_core::mesh::valid_region;

/// A settings file with every setting and its default, for people who ask `wattle run --help`.
pub const HELP: &str = r#"A settings file; these are the defaults (each may also be given as WATTLE_SECTION_KEY, which stands above it):

[node]
# name = "a"                  # unique in the mesh; made from the node's id unless given
# data_dir = "data"           # beside this file; $XDG_DATA_HOME/wattle or ~/.local/share/wattle unless given
# region = "eu-west"          # where in the world it is: voters of the control group are spread over regions
[mesh]
listen = ["0.0.0.0:7946"]     # where other nodes are accepted; [] for a node that only dials out
advertise = []                # where others are told to dial, if that differs from listen
dial = []                     # neighbours to dial and keep dialling, as "host:port"
[api]
listen = "127.0.0.1:50056"    # where applications and this program ask
allow_plaintext = false       # whether that may be another address than loopback
[storage]
reserve_bytes = "64 MiB"      # kept free, so that what was accepted can drain when the disk is full
# space_limit = "10 GiB"      # how much the node may store; all the disk gives unless given
log_memory = "64 MiB"         # of what is decided, and perhaps owed to members that are away, so much is kept in memory; the rest is read
outbox_bytes = "1 GiB"        # of messages of one stream that a target has yet to process; when a source has so many on its disk, or more than is free, publishers are refused
outbox_memory = "64 MiB"      # and so much memory for the index of them: over a kilobyte per request, and 32 bytes per message
# [[handler]]                 # what this node itself does with the messages of a stream that ends here; one for each such stream, in the file only
# stream = "words"            # which stream
# kind = "store"              # keeps them in a file of its own, which `wattle stream stored words` reads
# keep = "messages"           # or "values": the last value of each key, from messages such as {"put": "k", "value": 1} and {"delete": "k"}
# file = "words.redb"         # beside this file; in the data directory unless given
# window = 1024               # messages with the handler before their marks are on the disk: so many may be handed over again after a crash
# batch = 256                 # most messages of one call, and of one transaction
# message_bytes = "4 MiB"     # most bytes of one message: at a larger one the handler fails, and it is in memory while it is processed
# begin = "first"             # where it begins if it has nothing of the stream yet; or "kept", if the first are gone, or the number of the last one to pass over
# [[handler]]
# stream = "orders"
# kind = "postgresql"         # makes rows of them, with the position in the same transaction; docs/HANDLERS.md has the tables
# connect = "host=/run/postgresql dbname=shop user=wattle"
# password_file = "password"  # beside this file; none unless given
# table = "wattle_messages"   # made if it is not there; in its place, what is to be done with each message may be given:
## statement = "insert into orders (id, content) values ({id}, {body})"   # also {sequence}, {writer}, {writer_sequence}, {instance}
# positions = "wattle_positions"
# allow_plaintext = false     # whether the server may be on another machine
# [[handler]]
# stream = "noise"
# kind = "no-op"              # does nothing, and says that it is done"#;

/// Where the API listens unless told otherwise.
pub const API_LISTEN: &str = "127.0.0.1:50056";
/// Where other nodes are accepted unless told otherwise.
pub const MESH_LISTEN: &str = "0.0.0.0:7946";
/// Bytes kept free for draining unless told otherwise.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes of logs in memory unless told otherwise.
pub const LOG_MEMORY: u64 = 64 << 20;

/// The least that an outbox may have, of the disk or of memory.
const OUTBOX_LEAST: u64 = 2 << 20;

/// Everything `wattle run` can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `node.name`: unique in the mesh, for people. The stored one, or else made from the id, if absent.
    pub name: Option<String>,
    /// `node.data_dir`: everything the node keeps.
    pub data_dir: PathBuf,
    /// `node.region`: where in the world it is; the voters of the control group are spread over regions.
    pub region: Option<String>,
    /// `mesh.listen`: where other nodes are accepted; empty for a node that only dials out.
    pub listen: Vec<String>,
    /// `mesh.advertise`: where others are told to dial, if that differs from `listen`.
    pub advertise: Vec<String>,
    /// `mesh.dial`: neighbours to dial and keep dialling.
    pub dial: Vec<String>,
    /// `api.listen`: where applications are served.
    pub api_listen: SocketAddr,
    /// `api.allow_plaintext`: whether the API may listen beyond loopback, where its token can be read on the way.
    pub api_allow_plaintext: bool,
    /// `storage.reserve_bytes`: kept free so that what was accepted can drain when the disk is full.
    pub reserve_bytes: u64,
    /// `storage.space_limit`: how much the node may store; all the disk gives if absent.
    pub space_limit: Option<u64>,
    /// `storage.log_memory`: how much of the logs of consensus groups is kept in memory; what lags behind that is read from the disk.
    pub log_memory: u64,
    /// `storage.outbox_bytes`: how many bytes of one stream's messages are kept on disk for targets that have yet to process them.
    pub outbox_bytes: u64,
    /// `storage.outbox_memory`: how much memory the index of them may take.
    pub outbox_memory: u64,
    /// Each `[[handler]]`: what the node itself does with the messages of streams that end at it.
    pub handlers: Vec<HandlerSettings>,
}

impl Settings {
    /// The defaults, with that data directory.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        let stream = wattle_core::stream::Config::default();
        Self {
            name: None,
            data_dir,
            region: None,
            listen: vec![MESH_LISTEN.to_owned()],
            advertise: Vec::new(),
            dial: Vec::new(),
            api_listen: API_LISTEN.parse().expect("a literal address"),
            api_allow_plaintext: false,
            reserve_bytes: RESERVE_BYTES,
            space_limit: None,
            log_memory: LOG_MEMORY,
            outbox_bytes: stream.outbox_bytes,
            outbox_memory: stream.outbox_memory,
            handlers: Vec::new(),
        }
    }

    /// Reads a file, then the environment.
    ///
    /// # Errors
    /// [`Mistakes`] lists all that is wrong, not only the first.
    pub fn load(file: Option<&Path>) -> Result<Self, Mistakes> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let Some(path) = file else {
            return Self::from_text("", "the settings", &default_data_dir(), &environment);
        };
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Mistakes::one(format!("cannot read the settings in {shown}: {error}")))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut settings = Self::from_text(&text, &shown, &default_data_dir(), &environment)?;
        // So that a file means the same wherever the node is started from.
        settings.data_dir = folder.join(settings.data_dir);
        settings.handlers.iter_mut().for_each(|handler| handler.beside(folder));
        Ok(settings)
    }

    /// Reads the text of a file, then the given environment.
    ///
    /// # Errors
    /// [`Mistakes`] lists all that is wrong, not only the first.
    pub fn from_text(
        text: &str,
        shown: &str,
        data_dir: &Path,
        environment: &[(String, String)],
    ) -> Result<Self, Mistakes> {
        let mut settings = Self::new(data_dir.to_owned());
        let mut mistakes = Vec::new();
        read::file(&mut settings, text, shown, &mut mistakes);
        read::environment(&mut settings, environment, &mut mistakes);
        if !settings.api_listen.ip().is_loopback() && !settings.api_allow_plaintext {
            mistakes.push(format!(
                "api.listen = \"{}\" is not a loopback address, and the API speaks without TLS: anyone on the way could read its token; \
                 set api.allow_plaintext = true if something else protects it",
                settings.api_listen
            ));
        }
        if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
    }
}

/// `$XDG_DATA_HOME/wattle`, else `~/.local/share/wattle`, else `wattle-data` here.
fn default_data_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from("wattle-data"), |data| data.join("wattle"))
}

/// All that is wrong with the settings, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    fn one(mistake: String) -> Self {
        Self(vec![mistake])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// How a value reaches its field; the error says what was expected.
pub(crate) type Set = fn(&mut Settings, Value) -> Result<(), &'static str>;

/// A value of the file or of the environment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Of the file.
    Text(String),
    /// Of the file.
    Number(i128),
    /// Of the file.
    Flag(bool),
    /// Of the file.
    Texts(Vec<String>),
    /// Of the environment: its meaning depends on the key.
    Loose(String),
    /// Of the file, and never right.
    Other,
}

/// Section, key, how it is set.
pub(crate) const KEYS: [(&str, &str, Set); 13] = [
    ("node", "name", |settings, value| {
        settings.name = Some(value.text()?);
        Ok(())
    }),
    ("node", "data_dir", |settings, value| {
        settings.data_dir = value.text()?.into();
        Ok(())
    }),
    ("node", "region", |settings, value| {
        const WANTED: &str = "a word of 1 to 64 characters out of A-Z a-z 0-9 . _ -";
        let region = value.text().map_err(|_| WANTED)?;
        settings.region = Some(region).filter(|region| valid_region(region));
        settings.region.as_ref().map(|_| ()).ok_or(WANTED)
    }),
    ("mesh", "listen", |settings, value| {
        settings.listen = value.addresses()?;
        Ok(())
    }),
    ("mesh", "advertise", |settings, value| {
        settings.advertise = value.addresses()?;
        Ok(())
    }),
    ("mesh", "dial", |settings, value| {
        settings.dial = value.addresses()?;
        Ok(())
    }),
    ("api", "listen", |settings, value| {
        const WANTED: &str = "an address and port, such as \"127.0.0.1:50056\"";
        let text = value.text().map_err(|_| WANTED)?;
        let text = text.replace("localhost:", "127.0.0.1:");
        settings.api_listen = text.parse().map_err(|_| WANTED)?;
        Ok(())
    }),
    ("api", "allow_plaintext", |settings, value| {
        settings.api_allow_plaintext = value.flag()?;
        Ok(())
    }),
    ("storage", "reserve_bytes", |settings, value| {
        settings.reserve_bytes = value.bytes()?;
        Ok(())
    }),
    ("storage", "space_limit", |settings, value| {
        settings.space_limit = Some(value.bytes()?);
        Ok(())
    }),
    ("storage", "log_memory", |settings, value| {
        settings.log_memory = value.bytes()?;
        Ok(())
    }),
    ("storage", "outbox_bytes", |settings, value| {
        settings.outbox_bytes = value.outbox()?;
        Ok(())
    }),
    ("storage", "outbox_memory", |settings, value| {
        settings.outbox_memory = value.outbox()?;
        Ok(())
    }),
];

impl Value {
    fn text(self) -> Result<String, &'static str> {
        match self {
            Self::Text(text) | Self::Loose(text) if !text.trim().is_empty() => Ok(text),
            _ => Err("a text that is not empty"),
        }
    }

    fn flag(self) -> Result<bool, &'static str> {
        match self {
            Self::Flag(flag) => Ok(flag),
            Self::Loose(text) => text.parse().map_err(|_| "true or false"),
            _ => Err("true or false"),
        }
    }

    fn addresses(self) -> Result<Vec<String>, &'static str> {
        const WANTED: &str = "a list of \"host:port\"";
        let list = match self {
            Self::Texts(list) => list,
            Self::Text(one) => vec![one],
            Self::Loose(text) => {
                text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
            }
            _ => return Err(WANTED),
        };
        let right = |address: &String| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if list.iter().all(right) { Ok(list) } else { Err(WANTED) }
    }

    fn bytes(self) -> Result<u64, &'static str> {
        const WANTED: &str = "a number of bytes, such as 67108864 or \"64 MiB\"";
        match self {
            Self::Number(number) => number.try_into().map_err(|_| WANTED),
            Self::Text(text) | Self::Loose(text) => read::bytes(&text).ok_or(WANTED),
            _ => Err(WANTED),
        }
    }

    /// What an outbox may take: the largest message, with what goes with it, must fit.
    fn outbox(self) -> Result<u64, &'static str> {
        let bytes = self.bytes()?;
        if bytes < OUTBOX_LEAST { Err("at least 2 MiB, for one message may have 1 MiB") } else { Ok(bytes) }
    }
}

#[cfg(test)]
mod tests;
