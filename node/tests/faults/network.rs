//! Three network namespaces of our own with a link between each two of them, and one from each to here, by which its API is reached. What runs in them has
//! no other way. Needs `ip` of iproute2 and the right to make namespaces.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use wattle_core::rng::Purpose;

use super::Load;
use super::common::Process;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Between whom there is a link, by place.
const LINKS: [(usize, usize); 3] = [(0, 1), (1, 2), (0, 2)];
const MESH_PORT: u16 = 7100;
const API_PORT: u16 = 7200;

/// The namespaces, and with them the links, go when this is dropped.
pub(crate) struct Network {
    namespaces: [String; 3],
}

/// Runs `ip`.
///
/// # Panics
///
/// Panics with what it says if it does not do it.
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().expect("ip of iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {said} (this takes the right to make network namespaces)");
}

/// The address at the first or second end of a link. All are of a block that is set aside for measurements (RFC 2544).
fn address(link: usize, end: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, link as u8, 1 + end as u8)
}

/// The link from here to that node.
fn to_here(node: usize) -> usize {
    LINKS.len() + node
}

impl Network {
    pub(crate) fn new() -> Self {
        let network = Self { namespaces: NAMES.map(|name| format!("wattle-{}-{name}", std::process::id())) };
        let namespaces = &network.namespaces;
        for namespace in namespaces {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        for (link, (one, other)) in LINKS.into_iter().enumerate() {
            let (one, other) = (&namespaces[one], &namespaces[other]);
            ip(&format!("-n {one} link add link{link} type veth peer name link{link} netns {other}"));
            for (end, namespace) in [one, other].into_iter().enumerate() {
                ip(&format!("-n {namespace} address add {}/30 dev link{link}", address(link, end)));
                ip(&format!("-n {namespace} link set link{link} up"));
            }
        }
        for (node, namespace) in namespaces.iter().enumerate() {
            let (here, link) = (namespace.replace("wattle-", "w"), to_here(node));
            ip(&format!("link add {here} type veth peer name api netns {namespace}"));
            ip(&format!("address add {}/30 dev {here}", address(link, 0)));
            ip(&format!("link set {here} up"));
            ip(&format!("-n {namespace} address add {}/30 dev api", address(link, 1)));
            ip(&format!("-n {namespace} link set api up"));
        }
        network
    }

    /// A node in each: a listens, b listens and dials a, c dials both.
    pub(crate) fn start(&self, root: &Path) -> [Process; 3] {
        let list = |ends: &[(usize, usize)]| {
            let quoted = |&(link, end): &(usize, usize)| format!("\"{}:{MESH_PORT}\"", address(link, end));
            ends.iter().map(quoted).collect::<Vec<_>>().join(", ")
        };
        // The ends of links at which each is dialled, and those that it dials.
        let ends: [[&[(usize, usize)]; 2]; 3] =
            [[&[(0, 0), (2, 0)], &[]], [&[(0, 1), (1, 0)], &[(0, 0)]], [&[], &[(1, 0), (2, 0)]]];
        [0, 1, 2].map(|node| {
            let api = SocketAddr::from((address(to_here(node), 1), API_PORT));
            let mesh = SocketAddr::from((Ipv4Addr::UNSPECIFIED, MESH_PORT));
            let mut process = Process::within(&self.namespaces[node], root, NAMES[node], [mesh, api]);
            let [advertised, dialled] = ends[node].map(list);
            let listen = if advertised.is_empty() { String::new() } else { format!("\"{mesh}\"") };
            let settings = format!(
                "[node]\nname = \"{}\"\ndata_dir = {:?}\n[mesh]\nlisten = [{listen}]\nadvertise = [{advertised}]\ndial = [{dialled}]\n\
                 [api]\nlisten = \"{api}\"\nallow_plaintext = true\n",
                NAMES[node],
                process.dir.join("data"),
            );
            std::fs::write(process.dir.join("config.toml"), settings).expect("written");
            process.spawn();
            process
        })
    }

    fn set(&self, link: usize, end: usize, state: &str) {
        let (one, other) = LINKS[link];
        let namespace = &self.namespaces[if end == 0 { one } else { other }];
        ip(&format!("-n {namespace} link set link{link} {state}"));
    }

    /// Cuts links at seeded random moments within the time of publishing, for up to three seconds each: now and then all that a node has.
    pub(crate) async fn cut_links(&self, load: Load, publishing: Instant) {
        let mut rng = load.rng(Purpose::Mesh);
        for turn in 0..load.cuts {
            load.moment(&mut rng, (turn, load.cuts), publishing).await;
            let (chosen, end) = (rng.below(LINKS.len() as u64) as usize, rng.below(2) as usize);
            let all = rng.below(4) == 0;
            let alone = |&(one, other): &(usize, usize)| one == chosen || other == chosen;
            let cut: Vec<usize> = (0..LINKS.len())
                .filter(|&link| if all { alone(&LINKS[link]) } else { link == chosen })
                .collect();
            cut.iter().for_each(|&link| self.set(link, end, "down"));
            tokio::time::sleep(Duration::from_millis(rng.between(50, 3_000))).await;
            cut.iter().for_each(|&link| self.set(link, end, "up"));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // It fails only if it was never made.
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
    }
}
