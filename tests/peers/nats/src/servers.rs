//! Three servers on loopback in one cluster, each a process of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::Failure;

pub struct Server {
    pub name: String,
    pub address: SocketAddr,
    settings: PathBuf,
    child: Option<Child>,
}

/// All of them. They are killed when this is dropped.
pub struct Servers {
    pub all: Vec<Server>,
    pub version: String,
    /// Whether they sync before they acknowledge.
    pub syncs: bool,
    program: PathBuf,
    // Behind the servers: they end before it goes.
    place: TempDir,
}

/// The major and minor number in what `nats-server -v` says.
fn number(said: &str) -> Option<(u32, u32)> {
    let mut parts = said.rsplit('v').next()?.trim().split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Servers {
    pub fn start(program: &Path, data: Option<&Path>, wants_syncs: bool) -> Result<Self, Failure> {
        let said = Command::new(program).arg("-v").output()?;
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let syncs = wants_syncs && number(&version).is_some_and(|number| number >= (2, 10));
        let making = tempfile::Builder::new().prefix("wattle-peer-nats-").to_owned();
        let place = match data {
            Some(data) => making.tempdir_in(data)?,
            None => making.tempdir()?,
        };
        // All at once, or some might be the same.
        let free: Vec<TcpListener> =
            (0..6).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
        let free: Vec<SocketAddr> = free.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let mut all = Vec::new();
        for (at, (address, route)) in free[..3].iter().zip(&free[3..]).enumerate() {
            let name = format!("n{}", at + 1);
            let store = place.path().join(&name);
            let others = free[3..].iter().filter(|other| *other != route);
            let routes: Vec<String> = others.map(|other| format!("\"nats://{other}\"")).collect();
            let always = if syncs { ", sync_interval: always" } else { "" };
            let settings = format!(
                "server_name: {name}\nlisten: \"{address}\"\njetstream {{ store_dir: {store:?}{always} }}\n\
                 cluster {{ name: bench, listen: \"{route}\", routes: [{}] }}\n",
                routes.join(", ")
            );
            let path = place.path().join(format!("{name}.conf"));
            fs::write(&path, settings)?;
            all.push(Server { name, address: *address, settings: path, child: None });
        }
        let mut servers = Self { all, version, syncs, program: program.to_owned(), place };
        for at in 0..servers.all.len() {
            servers.spawn(at)?;
        }
        Ok(servers)
    }

    /// Where their data is.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    pub fn spawn(&mut self, at: usize) -> Result<(), Failure> {
        let server = &mut self.all[at];
        let log =
            fs::OpenOptions::new().create(true).append(true).open(server.settings.with_extension("log"))?;
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(&server.settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        server.child = Some(child);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.all[at].child.take() {
            // Both fail only if it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn pids(&self) -> Vec<Option<u32>> {
        self.all.iter().map(|server| server.child.as_ref().map(Child::id)).collect()
    }

    pub fn addresses(&self) -> Vec<String> {
        self.all.iter().map(|server| format!("nats://{}", server.address)).collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        (0..self.all.len()).for_each(|at| self.kill(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(number("nats-server: v2.9.10"), Some((2, 9)));
        assert_eq!(number("nats-server: v2.14.0-RC.1"), Some((2, 14)));
        assert!(number("nats-server: v2.10.27") >= Some((2, 10)));
        assert_eq!(number("none"), None);
    }
}
