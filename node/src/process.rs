//! `wattle run` as a process of its own on loopback: for measurements and tests, which kill it and start it again.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::address::DIRECTORY_VARIABLE;

/// A node that can be killed and started again. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// What it keeps, its settings and its log are in here.
    pub dir: PathBuf,
    /// Where it accepts nodes, if it does.
    pub mesh_address: SocketAddr,
    /// Where its API listens.
    pub api: SocketAddr,
    program: PathBuf,
    /// The network namespace it runs in, if not that of whoever starts it.
    namespace: Option<String>,
    child: Option<Child>,
}

/// Two addresses that stay free while a node is down: on a loopback address of this node's own, where nobody else looks for a port.
fn free_addresses() -> io::Result<[SocketAddr; 2]> {
    static NODES: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, NODES.fetch_add(1, Ordering::Relaxed), high, low.clamp(1, 254));
    // Both at once, or they might be the same.
    let (mesh, api) = (TcpListener::bind((ip, 0))?, TcpListener::bind((ip, 0))?);
    Ok([mesh.local_addr()?, api.local_addr()?])
}

impl Process {
    /// A directory in `root` and addresses for a node that is yet to be configured and started.
    ///
    /// # Errors
    /// What the system said.
    pub fn reserve(program: &Path, root: &Path, name: &str) -> io::Result<Self> {
        Self::at(program, root, name, free_addresses()?)
    }

    /// The same, with these addresses for other nodes and for the API.
    fn at(program: &Path, root: &Path, name: &str, [mesh_address, api]: [SocketAddr; 2]) -> io::Result<Self> {
        let dir = root.join(name);
        fs::create_dir_all(&dir)?;
        let (name, program) = (name.to_owned(), program.to_owned());
        Ok(Self { name, dir, mesh_address, api, program, namespace: None, child: None })
    }

    /// A directory in `root` for a node that runs in a network namespace, which has these addresses. To start it takes `ip` of iproute2 and the right to
    /// enter namespaces.
    ///
    /// # Errors
    /// What the system said.
    pub fn within(
        namespace: &str,
        program: &Path,
        root: &Path,
        name: &str,
        addresses: [SocketAddr; 2],
    ) -> io::Result<Self> {
        let mut process = Self::at(program, root, name, addresses)?;
        process.namespace = Some(namespace.to_owned());
        Ok(process)
    }

    /// Writes the settings; the next start reads them.
    ///
    /// # Errors
    /// What the system said.
    pub fn configure(&self, listens: bool, dial: &[SocketAddr], extra: &str) -> io::Result<()> {
        let listen = if listens { format!("\"{}\"", self.mesh_address) } else { String::new() };
        let dial: Vec<String> = dial.iter().map(|address| format!("\"{address}\"")).collect();
        let settings = format!(
            "[node]\nname = \"{name}\"\ndata_dir = {data:?}\n\n[mesh]\nlisten = [{listen}]\ndial = [{dial}]\n\n[api]\nlisten = \"{api}\"\n{extra}",
            name = self.name,
            data = self.dir.join("data"),
            dial = dial.join(", "),
            api = self.api,
        );
        fs::write(self.dir.join("config.toml"), settings)
    }

    /// Starts it, with more arguments than it needs.
    ///
    /// # Errors
    /// What the system said.
    pub fn spawn(&mut self, arguments: &[&str]) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.join("log"))?;
        let mut command = match &self.namespace {
            None => Command::new(&self.program),
            // It becomes the program, so that what is killed is that.
            Some(namespace) => {
                let mut enter = Command::new("ip");
                enter.args(["netns", "exec", namespace]).arg(&self.program);
                enter
            }
        };
        // What is set for other nodes of this user would go before what the file says.
        let settings = std::env::vars_os().map(|(name, _)| name);
        for name in settings.filter(|name| name.as_encoded_bytes().starts_with(b"WATTLE_")) {
            if name != "WATTLE_LOG" {
                command.env_remove(name);
            }
        }
        let child = command
            .args(["run", "--config"])
            .arg(self.dir.join("config.toml"))
            .args(arguments)
            .env(DIRECTORY_VARIABLE, self.dir.with_file_name("runtime"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    /// The process, while it was started and neither killed nor found to have ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where the token for its API is, once it has started for the first time.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.dir.join("data").join(crate::api::auth::TOKEN_FILE)
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
