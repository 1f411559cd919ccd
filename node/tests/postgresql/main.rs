//! The handler `postgresql` against a real PostgreSQL, which is killed, restored, moved behind its back and given what it does not want.
//!
//! ```sh
//! cargo test --release -p wattle-node --test postgresql -- --ignored --nocapture --test-threads 1
//! ```
//!
//! Debian's `postgresql` is installed if it is not there (as root, or with sudo). Each test starts a server of its own on loopback, in a directory that
//! goes with it, as a user that is not root, and stops what it started. `WATTLE_KILLS` (30) says how often something is killed.

#[path = "../common/mod.rs"]
mod common;
mod proxy;
mod server;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Process, until, wattle};
use server::Server;
use wattle_core::rng::{Purpose, Rng};

/// A mesh of a, b and perhaps c, of which b has this handler; and a stream from a to the others.
async fn mesh(root: &Path, handler: &str, third: bool) -> Vec<Process> {
    let a = Process::start(root, "a", true, &[], "");
    a.ready().await;
    let (code, text, error) = wattle(root, &["mesh", "seed", "--node", "a"]);
    assert_eq!(code, 0, "{error}");
    let mut token = text.split_whitespace().last().expect("a token").to_owned();
    let mut nodes = vec![a];
    let mut open = vec!["stream", "open", "words", "--from", "a"];
    for (name, handler) in [("b", handler), ("c", "")].into_iter().take(if third { 2 } else { 1 }) {
        let node = Process::start(root, name, false, &[nodes[0].mesh_address], handler);
        node.ready().await;
        let (code, _, error) = wattle(root, &["mesh", "join", "--node", name, &token]);
        assert_eq!(code, 0, "{error}");
        token = wattle(root, &["mesh", "invite", "--node", "a"]).1.trim().to_owned();
        nodes.push(node);
        open.extend(["--to", name]);
    }
    let (code, _, error) = wattle(root, &open);
    assert_eq!(code, 0, "{error}");
    nodes
}

fn handler(server: &Server, more: &str) -> String {
    handler_at(&server.connect(), more)
}

fn handler_at(connect: &str, more: &str) -> String {
    format!("\n[[handler]]\nstream = \"words\"\nkind = \"postgresql\"\nconnect = \"{connect}\"\n{more}")
}

/// Publishes these lines behind what was published before.
fn publish(root: &Path, lines: &[String], wait: &str) {
    let ended = publishing(root, lines, wait).wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn publishing(root: &Path, lines: &[String], wait: &str) -> Child {
    let path = root.join("lines");
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(["publish", "words", "--node", "a", "--writer", "lines", "--wait", wait, "--patience", "120"])
        .arg(path)
        .env("WATTLE_RUNTIME_DIR", root.join("runtime"))
        .env("XDG_STATE_HOME", root.join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn lines(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("message {number}")).collect()
}

async fn shown(root: &Path, what: &str) -> String {
    until(root, &["stream", "show", "words", "--node", "b"], |text| text.contains(what)).await
}

/// The bodies in the table, in the order in which they came there.
async fn bodies(server: &Server) -> Vec<String> {
    let client = server.client().await;
    let rows =
        client.query("select convert_from(body, 'UTF8') from wattle_messages order by arrival", &[]).await;
    rows.expect("read").iter().map(|row| row.get(0)).collect()
}

async fn rows(server: &Server) -> i64 {
    let count = "select count(*) from wattle_messages";
    server.client().await.query_one(count, &[]).await.expect("read").get(0)
}

/// The documented table, and a column that says in which order rows came.
const TABLE: &str = "create table wattle_messages (instance text not null, sequence bigint not null, id text not null, writer text not null, \
     writer_sequence bigint not null, body bytea not null, arrival bigint generated always as identity, primary key (instance, sequence))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "installs and runs PostgreSQL; run it by itself, in release"]
async fn every_message_is_in_the_table_once_and_in_order_whatever_is_killed() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let mut server = Server::new().await;
    server.client().await.batch_execute(TABLE).await.expect("made");
    let mut nodes = mesh(root, &handler(&server, "batch = 64\n"), false).await;
    let kills: usize = std::env::var("WATTLE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let lines = lines(kills * 5000);
    let begun = Instant::now();
    let mut publisher = publishing(root, &lines, "completed");
    let mut rng = Rng::stream([7; 32], Purpose::Link);
    let mut there = Vec::new();
    for kill in 0..kills {
        // While it works: rows came since the last time.
        let mut count = 0;
        while count <= there.last().copied().unwrap_or(0) {
            assert!(begun.elapsed() < Duration::from_secs(600), "{}", shown(root, "").await);
            tokio::time::sleep(Duration::from_millis(5)).await;
            count = rows(&server).await;
        }
        there.push(count);
        tokio::time::sleep(Duration::from_millis(rng.below(60))).await;
        // The node of the handler, the database, both at once, the node of the source.
        let what = kill % 4;
        if what == 0 || what == 2 {
            nodes[1].kill();
        }
        if what == 1 || what == 2 {
            server.kill();
        }
        if what == 3 {
            nodes[0].kill();
        }
        tokio::time::sleep(Duration::from_millis(rng.below(100))).await;
        if what == 0 || what == 2 {
            nodes[1].spawn();
        }
        if what == 1 || what == 2 {
            server.start().await;
        }
        if what == 3 {
            nodes[0].spawn();
        }
    }
    let ended = loop {
        if let Some(ended) = publisher.try_wait().expect("a child") {
            break ended;
        }
        assert!(begun.elapsed() < Duration::from_secs(600), "{}", shown(root, "").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let output = publisher.wait_with_output().expect("read");
    assert!(ended.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = bodies(&server).await;
    assert_eq!(found.len(), lines.len());
    assert_eq!(found, lines, "each once, and in this order");
    println!(
        "{kills} kills, {} messages, each once and in order, in {:.1?}; rows before each kill: {there:?}",
        lines.len(),
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "installs and runs PostgreSQL; run it by itself, in release"]
async fn what_the_database_does_not_want_is_a_failure_of_that_message_in_its_own_words() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let server = Server::new().await;
    let client = server.client().await;
    client
        .batch_execute(
            "create table orders (id text primary key, content jsonb not null, \
             durable text not null default current_setting('synchronous_commit'), unique (content) deferrable initially deferred, \
             constraint small check ((content->>'n')::int < 100))",
        )
        .await
        .expect("made");
    let statement = "statement = \"insert into orders (id, content) values ({id}, {body})\"\n";
    let _nodes = mesh(root, &handler(&server, statement), false).await;
    let count =
        async || -> i64 { client.query_one("select count(*) from orders", &[]).await.expect("read").get(0) };
    let sessions = async || -> Vec<i32> {
        let query = "select pid from pg_stat_activity where application_name = 'wattle'";
        client.query(query, &[]).await.expect("read").iter().map(|row| row.get(0)).collect()
    };
    let order = |n: u64| format!("{{\"n\": {n}}}");
    let mut all =
        vec![order(1), order(2), order(100), order(3), order(2), order(4), "no order".to_owned(), order(5)];
    publish(root, &all, "replicated");
    let said = shown(root, "failed on message 3").await;
    assert!(said.contains("violates check constraint \"small\"") && said.contains("(23514)"), "{said}");
    let session = sessions().await;
    assert_eq!((count().await, session.len()), (2, 1), "those before it count");
    let durable = "select count(*) from orders where durable = 'on'";
    let durable: i64 = client.query_one(durable, &[]).await.expect("read").get(0);
    assert_eq!(
        durable, 2,
        "what the node lets go is on the disk, though this server would not see to that by itself"
    );

    client.batch_execute("alter table orders drop constraint small").await.expect("altered");
    // Of that the database knows at the commit only.
    let said = shown(root, "failed on message 5").await;
    assert!(said.contains("duplicate key value violates unique constraint"), "{said}");
    assert_eq!(count().await, 4);
    client.batch_execute("alter table orders drop constraint orders_content_key").await.expect("altered");

    let said = shown(root, "failed on message 7").await;
    assert!(said.contains("invalid input syntax for type json") && said.contains("22P02"), "{said}");
    assert_eq!((count().await, sessions().await), (6, session), "over one connection");
    // What people do about a message that never fits: they let the column take it.
    client
        .batch_execute("drop table orders; create table orders (id text primary key, content text)")
        .await
        .expect("made");
    all.push(order(6));
    publish(root, &all, "completed");
    assert_eq!(count().await, 3, "7 to 9, for the others went with the table");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "installs and runs PostgreSQL; run it by itself, in release"]
async fn a_restored_database_is_brought_up_again_as_long_as_that_can_be_and_refused_after() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let mut server = Server::new().await;
    server.client().await.batch_execute(TABLE).await.expect("made");
    let _nodes = mesh(root, &handler(&server, ""), true).await;
    let mut all = lines(100);
    publish(root, &all, "replicated");
    shown(root, "done 100, attached").await;
    server.stop();
    let backup = server.backup();
    server.start().await;
    all = lines(300);
    publish(root, &all, "replicated");
    shown(root, "done 300, attached").await;

    // c has processed nothing, so everything is kept.
    server.stop();
    server.restore(&backup);
    server.start().await;
    assert_eq!(bodies(&server).await.len(), 100);
    all = lines(301);
    publish(root, &all, "replicated");
    shown(root, "done 301, attached").await;
    assert_eq!(bodies(&server).await, all);

    // Once c has everything, it goes.
    let mut refused = String::new();
    for more in 302.. {
        assert!(more < 400, "nothing goes: {refused}");
        all = lines(more);
        publish(root, &all, "replicated");
        let (code, _, error) =
            wattle(root, &["subscribe", "words", "--at", "c", "--until", &more.to_string()]);
        assert_eq!(code, 0, "{error}");
        shown(root, &format!("done {more}, attached")).await;
        server.stop();
        server.restore(&backup);
        server.start().await;
        publish(root, &lines(more + 1), "replicated");
        refused = until(root, &["stream", "show", "words"], |text| {
            text.contains("older than what this stream keeps") || text.contains(&format!("done {}", more + 1))
        })
        .await;
        if refused.contains("older than what this stream keeps") {
            break;
        }
    }
    // The way out that the page names: to go on at a place that is kept, without what is gone.
    let client = server.client().await;
    let floor = refused
        .split("the messages up to ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("the floor");
    let correction = refused.split("for that, ").nth(1).and_then(|rest| rest.lines().next()).expect("SQL");
    assert_eq!(client.execute(correction, &[]).await.expect("moved"), 1, "{correction}");
    let floor: usize = floor.parse().expect("a number");
    let all = lines(all.len() + 1);
    shown(root, &format!("done {}, attached", all.len())).await;
    let kept = [&all[..100], &all[floor..]].concat();
    assert_eq!(bodies(&server).await, kept, "what is gone is missing, and nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "installs and runs PostgreSQL; run it by itself, in release"]
async fn a_position_that_moves_behind_its_back_is_noticed() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let server = Server::new().await;
    let client = server.client().await;
    client.batch_execute(TABLE).await.expect("made");
    let mut nodes = mesh(root, &handler(&server, "table = \"public.wattle_messages\"\n"), true).await;
    publish(root, &lines(10), "replicated");
    shown(root, "done 10, attached").await;
    // Back, with the effects: as by a restore of these tables while the server runs. It is brought up again.
    client
        .batch_execute("begin; delete from wattle_messages where sequence > 4; update wattle_positions set sequence = 4; commit")
        .await
        .expect("moved");
    publish(root, &lines(12), "replicated");
    shown(root, "done 12, attached").await;
    assert_eq!(bodies(&server).await, lines(12));

    // To another authority: the same number is not the same message. Nothing is written before that is put right.
    let authority = |to: u64| format!("update wattle_positions set authority = {to}");
    client.batch_execute(&authority(7)).await.expect("moved");
    publish(root, &lines(13), "replicated");
    shown(root, "it was given under a later authority than 0").await;
    assert_eq!(bodies(&server).await, lines(12));
    client.batch_execute(&authority(0)).await.expect("moved");
    shown(root, "done 13, attached").await;
    assert_eq!(bodies(&server).await, lines(13));

    // On, with the row of the next message: somebody else is at work. Nothing is written, and a person must look.
    client
        .batch_execute(
            "begin; insert into wattle_messages (instance, sequence, id, writer, writer_sequence, body) \
             select instance, 14, id, writer, 14, 'message 14' from wattle_messages where sequence = 13; \
             update wattle_positions set sequence = 15; commit",
        )
        .await
        .expect("moved");
    publish(root, &lines(14), "replicated");
    let said = shown(root, "ended: somebody else moved the position in the database from 13 to 15").await;
    assert!(said.contains("received 14, done 13"), "{said}");
    assert_eq!(bodies(&server).await, lines(14));

    // Started again it presents a position that the stream never had.
    nodes[1].kill();
    nodes[1].spawn();
    shown(root, "it is 15, and the stream ends at 14").await;
    client.batch_execute("update wattle_positions set sequence = 14").await.expect("moved");
    shown(root, "done 14, attached").await;
    assert_eq!(bodies(&server).await, lines(14));
    // A server that is away is waited for, and that is shown.
    drop((client, server));
    publish(root, &lines(15), "replicated");
    let said = shown(root, "waiting: ").await;
    assert!(said.contains("failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "installs and runs PostgreSQL; run it by itself, in release"]
async fn a_commit_that_arrives_after_its_connection_was_lost_is_waited_for() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let server = Server::new().await;
    server.client().await.batch_execute(TABLE).await.expect("made");
    let proxy = proxy::Proxy::to(server.port()).await;
    let _nodes = mesh(root, &handler_at(&server.connect_by(proxy.port), ""), false).await;
    publish(root, &lines(10), "completed");
    proxy.withhold();
    publish(root, &lines(20), "completed");
    let said = shown(root, "done 20, attached").await;
    assert!(!said.contains("ended"), "{said}");
    assert!(proxy.withheld(), "no commit was withheld");
    assert_eq!(bodies(&server).await, lines(20));
    publish(root, &lines(30), "completed");
    assert_eq!(bodies(&server).await, lines(30));
}
