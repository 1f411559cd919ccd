//! Which node to ask: by its name or address, by the address files of this machine, or by what another node answered.

use std::fmt;
use std::path::PathBuf;

use wattle_core::id::NodeId;
use wattle_proto::api::WrongNode;

use super::connect::Client;
use super::failure::Failure;
use crate::address::{Address, Directory};
use crate::api::{Token, convert};

/// A node that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, if known.
    pub name: Option<String>,
    /// Where its API listens.
    pub api: String,
    secret: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Secret {
    File(PathBuf),
    Text(Token),
    Missing,
}

impl Peer {
    fn local(address: Address, token: Option<&Token>) -> Self {
        let secret = token.map_or(Secret::File(address.token), |token| Secret::Text(token.clone()));
        Self { name: Some(address.name), api: dialable(&address.api), secret }
    }

    /// A node at that address, with that token.
    #[must_use]
    pub fn at(api: &str, token: Option<&Token>) -> Self {
        let secret = token.map_or(Secret::Missing, |token| Secret::Text(token.clone()));
        Self { name: None, api: dialable(api), secret }
    }

    /// The token to show it.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn token(&self) -> Result<Token, Failure> {
        match &self.secret {
            Secret::Text(token) => Ok(token.clone()),
            Secret::File(path) => Token::read(path).map_err(|error| {
                Failure::Failed(format!("cannot read the API token {}: {error}", path.display()))
            }),
            // A node that was killed leaves no address file either, and may be back in a moment.
            Secret::Missing => Err(Failure::Unreachable(format!(
                "{self} does not run on this machine now; if it runs on another, give its API token with --token-file FILE or in WATTLE_TOKEN"
            ))),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "node {name} ({})", self.api),
            None => write!(f, "the node at {}", self.api),
        }
    }
}

/// An API that listens on all addresses is reached on this one.
fn dialable(api: &str) -> String {
    for (all, own) in [("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")] {
        if let Some(port) = api.strip_prefix(all) {
            return format!("{own}{port}");
        }
    }
    api.to_owned()
}

/// Finds nodes.
#[derive(Clone, Debug)]
pub struct Finder {
    directory: Directory,
    node: Option<String>,
    token: Option<Token>,
}

impl Finder {
    /// A finder for what `--node` and the token options say.
    #[must_use]
    pub const fn new(directory: Directory, node: Option<String>, token: Option<Token>) -> Self {
        Self { directory, node, token }
    }

    fn alive(&self) -> Result<Vec<Address>, Failure> {
        self.directory.alive().map_err(|error| {
            Failure::Failed(format!("cannot look for nodes in {}: {error}", self.directory.path().display()))
        })
    }

    /// The nodes worth asking, best first: the one of `--node`, else `wished`, else all that run on this machine.
    ///
    /// # Errors
    /// When there is none.
    pub async fn peers(&self, wished: Option<&str>) -> Result<Vec<Peer>, Failure> {
        if let Some(named) = self.node.as_deref().or(wished) {
            return Ok(vec![self.named(named).await?]);
        }
        let peers: Vec<_> =
            self.alive()?.into_iter().map(|alive| Peer::local(alive, self.token.as_ref())).collect();
        if peers.is_empty() {
            return Err(Failure::Unreachable(
                "no node runs on this machine: start some with `wattle dev` or one with `wattle run`, or name one with --node HOST:PORT"
                    .to_owned(),
            ));
        }
        Ok(peers)
    }

    /// The one node that a command which changes a node must mean.
    ///
    /// # Errors
    /// When there is none, or several and none was named.
    pub async fn only(&self) -> Result<Peer, Failure> {
        let mut peers = self.peers(None).await?;
        if let [_] = peers.as_slice() {
            return Ok(peers.remove(0));
        }
        let names: Vec<_> = peers.iter().filter_map(|peer| peer.name.as_deref()).collect();
        Err(Failure::Usage(format!(
            "several nodes run on this machine ({}): say which one with --node NAME",
            names.join(", ")
        )))
    }

    async fn named(&self, named: &str) -> Result<Peer, Failure> {
        let alive = self.alive()?;
        let matches: Vec<_> = alive
            .iter()
            .filter(|node| node.name == named || node.id.eq_ignore_ascii_case(named) || node.api == named)
            .collect();
        match matches.as_slice() {
            [node] => return Ok(Peer::local((*node).clone(), self.token.as_ref())),
            [] => {}
            several => {
                let ids: Vec<_> = several.iter().map(|node| node.id.as_str()).collect();
                return Err(Failure::Usage(format!(
                    "several nodes are called {named}: say which by its id, {}",
                    ids.join(" or ")
                )));
            }
        }
        if let Some((host, port)) = named.rsplit_once(':') {
            if host.is_empty() || port.parse::<u16>().is_err() {
                return Err(Failure::Usage(format!(
                    "{named:?} is no node: give a name, an id, or an address as HOST:PORT with a port number"
                )));
            }
            return Ok(Peer::at(named, self.token.as_ref()));
        }
        // Not here: perhaps a node that runs here knows where.
        for node in &alive {
            let Ok(mut client) = Client::connect(Peer::local(node.clone(), None)).await else { continue };
            let Ok(status) = client.status().await else { continue };
            let member = status.members.into_iter().find(|member| {
                member.name == named || convert::id_text(&member.node).eq_ignore_ascii_case(named)
            });
            if let Some(api) = member.and_then(|member| member.api) {
                return Ok(Peer { name: Some(named.to_owned()), ..Peer::at(&api, self.token.as_ref()) });
            }
        }
        let names: Vec<_> = alive.iter().map(|node| node.name.as_str()).collect();
        let here = if names.is_empty() {
            "none runs here".to_owned()
        } else {
            format!("here run {}", names.join(", "))
        };
        Err(Failure::Unreachable(format!(
            "no node called {named} was found ({here}): start it, or give the address of its API with --node HOST:PORT"
        )))
    }

    /// The node of that id, or at that address: told by another node, which may know an address that is only good on its own machine.
    ///
    /// # Errors
    /// When it runs elsewhere and its address is not known.
    pub fn told(&self, wrong: &WrongNode) -> Result<Peer, Failure> {
        let id = NodeId::from_slice(&wrong.node);
        if let Some(node) = self.alive()?.into_iter().find(|node| id.is_some() && node.node() == id) {
            return Ok(Peer::local(node, None));
        }
        match &wrong.address {
            Some(api) => Ok(Peer { name: Some(wrong.name.clone()), ..Peer::at(api, self.token.as_ref()) }),
            None => Err(Failure::Unreachable(format!(
                "this is done at node {}, which does not run on this machine and told no API address: run the command there, or give its address with --node HOST:PORT",
                wrong.name
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(node: Option<&str>) -> (tempfile::TempDir, Finder) {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::at(place.path().to_owned()).unwrap();
        (place, Finder::new(directory, node.map(str::to_owned), None))
    }

    fn address(name: &str, id: u128) -> Address {
        let api = format!("127.0.0.1:{id}");
        Address { name: name.into(), id: NodeId(id).to_string(), api, token: "/t".into(), pid: 1 }
    }

    #[tokio::test]
    async fn the_right_node_is_found_by_name_id_or_address() {
        let (_place, finder) = finder(None);
        let none = finder.peers(None).await.unwrap_err();
        assert!(matches!(none, Failure::Unreachable(_)), "{none:?}");

        let _b = finder.directory.publish(&address("b", 2)).unwrap();
        assert_eq!(finder.only().await.unwrap().api, "127.0.0.1:2");
        let _a = finder.directory.publish(&address("a", 1)).unwrap();
        let all: Vec<_> = finder.peers(None).await.unwrap().into_iter().map(|peer| peer.api).collect();
        assert_eq!(all, ["127.0.0.1:1", "127.0.0.1:2"]);
        assert!(matches!(finder.only().await, Err(Failure::Usage(_))), "which one?");

        for wished in ["b", "127.0.0.1:2", &NodeId(2).to_string().to_lowercase()] {
            assert_eq!(finder.peers(Some(wished)).await.unwrap()[0].name.as_deref(), Some("b"), "{wished}");
        }
        let named = Finder { node: Some("a".into()), ..finder.clone() };
        assert_eq!(named.peers(Some("b")).await.unwrap()[0].name.as_deref(), Some("a"), "--node decides");
    }

    #[test]
    fn what_another_node_told_is_checked_against_this_machine_first() {
        let (_place, finder) = finder(None);
        let _a = finder.directory.publish(&address("a", 1)).unwrap();
        let wrong = |id, address: Option<&str>| WrongNode {
            node: convert::node(NodeId(id)),
            name: "x".into(),
            address: address.map(str::to_owned),
        };
        assert_eq!(finder.told(&wrong(1, Some("10.0.0.9:1"))).unwrap().api, "127.0.0.1:1");
        let elsewhere = finder.told(&wrong(7, Some("10.0.0.9:1"))).unwrap();
        assert_eq!(elsewhere.api, "10.0.0.9:1");
        assert!(elsewhere.token().unwrap_err().to_string().contains("--token-file"));
        assert!(matches!(finder.told(&wrong(7, None)), Err(Failure::Unreachable(_))));
    }

    #[test]
    fn an_api_on_all_addresses_is_dialled_on_loopback() {
        assert_eq!(dialable("0.0.0.0:50051"), "127.0.0.1:50051");
        assert_eq!(dialable("[::]:50051"), "[::1]:50051");
        assert_eq!(dialable("10.0.0.1:50051"), "10.0.0.1:50051");
    }
}
