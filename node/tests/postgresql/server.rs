//! A PostgreSQL server of the test's own, on loopback, in a directory that goes with it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// How long a server may take to be there, after a crash too.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    dir: tempfile::TempDir,
    programs: PathBuf,
    /// Whom it runs as: PostgreSQL refuses root.
    user: Option<(u32, u32)>,
    port: u16,
    child: Option<Child>,
}

/// Where Debian keeps the newest one's programs.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|programs| programs.join("initdb").exists() && programs.join("postgres").exists())
        .collect();
    found.sort();
    found.pop()
}

/// Installs Debian's package. RUNLEVEL keeps it from starting a server of its own.
fn install() {
    let sudo = if is_root() { "" } else { "sudo -n " };
    let line = format!(
        "{sudo}apt-get update -q && {sudo}env RUNLEVEL=1 apt-get install -y -q --no-install-recommends postgresql"
    );
    // What comes of it is looked at afterwards.
    let _ = Command::new("sh").args(["-c", &line]).stdout(Stdio::null()).status();
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn is_root() -> bool {
    id(&["-u"]) == Some(0)
}

impl Server {
    /// Makes and starts one.
    pub(crate) async fn new() -> Self {
        if programs().is_none() {
            install();
        }
        let programs =
            programs().expect("PostgreSQL is missing and cannot be installed here: nothing was tested");
        let named = |name: &str| Some((id(&["-u", name])?, id(&["-g", name])?));
        let user = is_root()
            .then(|| named("postgres").or_else(|| named("nobody")).expect("a user that is not root"));
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = port.expect("a free port").port();
        let mut server = Self { dir, programs, user, port, child: None };
        let home = server.home();
        fs::create_dir(&home).expect("made");
        if let Some((user, group)) = server.user {
            chown(&home, Some(user), Some(group)).expect("given away");
        }
        let made = server
            .program("initdb")
            .args([
                "--no-sync",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--username=wattle",
                "--pgdata",
            ])
            .arg(server.data())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.start().await;
        server
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(self.home()).stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts it, and waits until it answers.
    pub(crate) async fn start(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log");
        let child = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .args([
                "-p",
                &self.port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            // What a commit of a careless server would lose at a crash, a handler must ask for itself.
            .args(["-c", "synchronous_commit=off"])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        self.child = Some(child);
        drop(self.client().await);
    }

    /// SIGKILL to all of its processes at once, as if the machine had stopped; what the system holds of files stays.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let own = children(child.id());
        // Fails only if it is gone already.
        let _ = child.kill();
        for pid in &own {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = child.wait();
        // They share memory, which the next start wants for itself.
        let start = Instant::now();
        while own.iter().any(|pid| is_postgres(*pid)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it in good order.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        child.wait().expect("it ends");
    }

    /// A copy of all it holds; it must be stopped.
    pub(crate) fn backup(&self) -> PathBuf {
        let to = self.home().join("backup");
        copy(&self.data(), &to);
        to
    }

    /// Puts a copy in the place of what it holds; it must be stopped.
    pub(crate) fn restore(&self, from: &Path) {
        fs::remove_dir_all(self.data()).expect("removed");
        copy(from, &self.data());
    }

    /// What a handler is told.
    pub(crate) fn connect(&self) -> String {
        self.connect_by(self.port)
    }

    /// The same, through another port.
    pub(crate) fn connect_by(&self, port: u16) -> String {
        format!("host=127.0.0.1 port={port} user=wattle dbname=postgres")
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// A connection, once it answers.
    pub(crate) async fn client(&self) -> Client {
        let start = Instant::now();
        loop {
            match tokio_postgres::connect(&self.connect(), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}: {}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

fn children(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_postgres(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postgres")
        && fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
