//! Scenarios: texts that say what is done to a group of replicas, and what comes of it. Whoever reads one sees every message.
//!
//! A line is a command; behind `----` stands what it led to, up to an empty line. With `WATTLE_REWRITE_SCENARIOS=1` in the environment the
//! files are written anew, to be read and reviewed like code.
//!
//! | command | what it does |
//! | --- | --- |
//! | `group 3 [learners 1] [spare 1]` | replicas 0, 1 ... of which some vote, some learn and some take no part yet |
//! | `campaign 0`, `due 0` | time goes on to what is due there next: an election, or what nobody answered |
//! | `elect 0` | the same, and everything that follows, of which only the end is shown |
//! | `propose 0 word ...` | its owner proposes |
//! | `change 0 voters 0 1 2 learners 3` | its owner asks for these members |
//! | `read 0 7`, `transfer 0 to 1`, `compact 0 5` | its owner reads, hands over, cuts its log |
//! | `sync 0` | its disk catches up |
//! | `deliver [0>1]`, `drop [0>1]` | what is under way arrives, or is lost; not what comes of it |
//! | `deliver last 0>1` | the last of these messages alone: it overtakes the others |
//! | `stabilize` | disks catch up and messages arrive until nothing is left to do; no time passes |
//! | `pass 500ms` | time passes: nodes suspect each other, elections are held, messages arrive; only what nodes tell their owners is shown |
//! | `suspect 0 of 1`, `cut 0 1`, `heal` | a node is not heard, as far as another knows; a way is cut; all ways are whole |
//! | `crash 0`, `restart 0` | memory and what was not synced is lost; it starts again |
//! | `image 0`, `roll back 0` | its disk is copied; it starts again from that copy |
//! | `status`, `logs` | where each stands; what each holds |

extern crate std;

mod words;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

use self::words::{described, message, places};
use super::harness::{Cluster, Disk, GROUP, member};
use crate::id::{LogIndex, NodeId};
use crate::raft::{Input, Message, RoleName};
use crate::time::Span;

/// More rounds of messages than any scenario needs before nothing is left to do.
const ROUNDS: usize = 200;

struct Script {
    cluster: Cluster,
    images: Vec<Option<Disk>>,
    said: Vec<String>,
}

impl Script {
    fn new() -> Self {
        Self { cluster: Cluster::new(1, GROUP, 0, 0, 0), images: Vec::new(), said: Vec::new() }
    }

    /// Carries out a command. What it led to, line by line.
    fn carry_out(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let node = |place: usize| -> usize {
            let word = words.get(place).unwrap_or_else(|| panic!("`{line}` names no node"));
            word.parse().unwrap_or_else(|_| panic!("{word} in `{line}` is no node"))
        };
        match words[0] {
            "group" => self.group(&words),
            "campaign" | "due" => self.due(node(1)),
            "elect" => self.elect(node(1)),
            "propose" => words[2..].iter().for_each(|word| self.cluster.propose(node(1), word)),
            "change" => self.change(node(1), &words[2..]),
            "read" => self.cluster.read(node(1), node(2) as u64),
            "transfer" => {
                let to = member(node(3)).node;
                self.cluster.tell(node(1), Input::Transfer { group: GROUP, to, context: 0 });
            }
            "compact" => {
                let upto = LogIndex(node(2) as u64);
                self.cluster.tell(node(1), Input::Compact { group: GROUP, upto });
            }
            "sync" => self.cluster.sync_all(node(1)),
            "deliver" if words.get(1) == Some(&"last") => self.deliver_last(words[2]),
            "deliver" => self.arrive(words.get(1).copied(), true),
            "drop" => self.arrive(words.get(1).copied(), false),
            "stabilize" => self.stabilize(),
            "pass" => {
                let millis = words[1].strip_suffix("ms").and_then(|millis| millis.parse().ok());
                self.cluster
                    .settle(Span::millis(millis.unwrap_or_else(|| panic!("{line}: write it as 500ms"))));
            }
            "suspect" => self.cluster.tell(node(1), Input::PairSuspect { node: member(node(3)).node }),
            "cut" => self.cluster.cut.extend([(node(1), node(2)), (node(2), node(1))]),
            "heal" => self.cluster.cut.clear(),
            "crash" => self.cluster.crash(node(1)),
            "restart" => self.cluster.restart(node(1)),
            "image" => self.images[node(1)] = Some(self.cluster.replicas[node(1)].disk.clone()),
            "roll" => {
                let image = self.images[node(2)].clone().expect("an image was made before");
                self.cluster.take_back(node(2), image);
            }
            "status" => self.said.extend(places(&self.cluster)),
            "logs" => self.said.extend(words::logs(&self.cluster)),
            other => panic!("nobody knows the command {other}"),
        }
        self.listen();
        core::mem::take(&mut self.said)
    }

    /// What nodes told their owners since the last time.
    fn listen(&mut self) {
        let outputs = self.cluster.outputs.replace(Vec::new()).unwrap_or_default();
        self.said.extend(outputs.iter().filter_map(|(node, output)| described(*node, output)));
    }

    fn group(&mut self, words: &[&str]) {
        let number = |name: &str| {
            let place = words.iter().position(|word| *word == name)?;
            words[place + 1].parse::<usize>().ok()
        };
        let voters = number("group").expect("how many vote");
        let (learners, spare) = (number("learners").unwrap_or(0), number("spare").unwrap_or(0));
        let size = voters + learners + spare;
        self.cluster = Cluster::new(1, GROUP, size, voters, learners);
        self.images = vec![None; size];
        for node in 0..size {
            self.cluster.sync_all(node);
        }
    }

    /// Time goes on to what is due at a node, until something comes of it.
    fn due(&mut self, node: usize) {
        for _ in 0..8 {
            let due = self.cluster.replicas[node]
                .groups
                .next_deadline()
                .expect("something is due there at some time");
            self.cluster.now = self.cluster.now.max(due);
            self.cluster.deadline(node);
            let told = self.cluster.outputs.as_ref().is_some_and(|outputs| {
                outputs.iter().any(|(node, output)| described(*node, output).is_some())
            });
            if told || !self.cluster.network.is_empty() || self.cluster.writes(node) {
                return;
            }
        }
        panic!("nothing comes of what is due at {node}");
    }

    fn elect(&mut self, node: usize) {
        self.due(node);
        self.stabilize();
        self.said.clear();
        assert_eq!(self.cluster.role(node), Some(RoleName::Leader), "{node} does not lead");
        let place = self.cluster.place(node);
        self.said.push(format!(
            "{node} leads term {}, and everything up to {} is committed",
            place.term.0, place.commit.0
        ));
    }

    fn change(&mut self, node: usize, words: &[&str]) {
        let (mut voters, mut learners, mut votes) = (Vec::new(), Vec::new(), true);
        for word in words {
            match *word {
                "voters" => votes = true,
                "learners" => votes = false,
                other => {
                    let one = member(other.parse().expect("a node"));
                    if votes { voters.push(one) } else { learners.push(one) }
                }
            }
        }
        self.cluster.tell(node, Input::Change { group: GROUP, voters, learners, context: 0 });
    }

    /// All that is under way now between these two, or everybody, arrives or is lost.
    fn arrive(&mut self, between: Option<&str>, arrives: bool) {
        let ends = between.map(ends);
        let fits = |(from, to, _): &mut (NodeId, NodeId, Message)| {
            ends.is_none_or(|(a, b)| (*from, *to) == (member(a).node, member(b).node))
        };
        let messages: Vec<_> = self.cluster.network.extract_if(.., fits).collect();
        for (from, to, what) in messages {
            self.one(from, to, what, arrives);
        }
    }

    fn deliver_last(&mut self, between: &str) {
        let (a, b) = ends(between);
        let last = self
            .cluster
            .network
            .iter()
            .rposition(|(from, to, _)| (*from, *to) == (member(a).node, member(b).node));
        let (from, to, what) = self.cluster.network.remove(last.expect("something is under way"));
        self.one(from, to, what, true);
    }

    fn one(&mut self, from: NodeId, to: NodeId, what: Message, arrives: bool) {
        let text = message(from, to, &what);
        let arrived = arrives && self.cluster.carry(from, to, what);
        self.said.push(if arrived { text } else { format!("{text} (lost)") });
        self.listen();
    }

    fn stabilize(&mut self) {
        for _ in 0..ROUNDS {
            for node in 0..self.cluster.replicas.len() {
                if self.cluster.replicas[node].up {
                    self.cluster.sync_all(node);
                }
            }
            self.listen();
            if self.cluster.network.is_empty() {
                return;
            }
            self.arrive(None, true);
        }
        panic!("there is always more to do");
    }
}

fn ends(between: &str) -> (usize, usize) {
    let pair = between.split_once('>').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    pair.unwrap_or_else(|| panic!("{between}: write a pair as 0>1"))
}

/// The text with what comes of its commands now.
fn played(text: &str) -> String {
    let mut script = Script::new();
    let mut out = String::new();
    let mut expected = false;
    for line in text.lines() {
        match line {
            "----" => expected = true,
            "" if expected => expected = false,
            _ if expected => {}
            "" => out.push('\n'),
            _ if line.starts_with('#') => {
                out.push_str(line);
                out.push('\n');
            }
            _ => {
                let said = script.carry_out(line);
                out.push_str(line);
                out.push('\n');
                if !said.is_empty() {
                    out.push_str("----\n");
                    said.iter().for_each(|line| out.extend([line, "\n"]));
                    out.push('\n');
                }
            }
        }
    }
    out.trim_end().to_string() + "\n"
}

fn check(name: &str, text: &str) {
    let now = played(text);
    if std::env::var_os("WATTLE_REWRITE_SCENARIOS").is_some() {
        let file = format!("{}/src/raft/tests/scenarios/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(&file, &now).unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
        return;
    }
    let lines = text.lines().zip(now.lines()).enumerate();
    if let Some((number, (written, now))) = lines.into_iter().find(|(_, (written, now))| written != now) {
        panic!("{name}.txt, line {}:\nwritten: {written}\nnow:     {now}", number + 1);
    }
    assert_eq!(text, now, "{name}.txt is longer or shorter than what happens");
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), include_str!(concat!("scenarios/", stringify!($name), ".txt")));
        })*
    };
}

scenarios! {
    amnesia
    check_quorum
    election
    joint_change
    joint_change_cut_back
    lagging_follower
    leader_removed
    leader_taken_out
    learner_promotion
    log_conflict
    pre_vote
    read_index
    snapshot_and_suffix
    transfer
}
