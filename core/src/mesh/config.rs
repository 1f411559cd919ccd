//! Settings of the part. Limits that decide what an entry does are no settings but constants of [`super::state`]: they must
//! be equal at every member.

use alloc::string::String;
use alloc::vec::Vec;

use crate::time::Span;
use crate::work::PublicKey;

/// Settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name, told to the mesh when it seeds or joins: 1 to 64 characters of `[A-Za-z0-9._-]`.
    pub name: String,
    /// The key that this node's disk held first.
    pub key: PublicKey,
    /// The one that is to take its place, if there is one on its disk.
    pub next_key: Option<PublicKey>,
    /// The rotation that brought the first; 0 if it is the node's first key.
    pub key_number: u64,
    /// How long after a next key is agreed on this node begins to prove it. Longer lets more members hear of it from the log first.
    pub key_settle: Span,
    /// How long it then waits before it asks that the old key be good no more. Must leave neighbours time to dial anew.
    pub key_overlap: Span,
    /// How long the leader waits with that for members that are within reach and do not know of the new key. A key that was stolen is good that long at most,
    /// unless an operator hurries.
    pub key_window: Span,
    /// The pause before a step of a rotation that did not work is tried again.
    pub key_retry: Span,
    /// Where others can dial this node, `host:port`; empty if it only dials out. When they change, a member tells the mesh.
    pub addresses: Vec<String>,
    /// Where in the world it is: 1 to 64 characters of `[A-Za-z0-9._-]`. Voters are spread over regions. When it changes, a member tells the mesh.
    pub region: Option<String>,
    /// Where its API listens, for clients that asked the wrong node.
    pub api: Option<String>,
    /// How long a join token is good. Longer is more convenient, and gives a leaked token more time to be misused.
    pub token_lifetime: Span,
    /// How many nodes may join with one token. More suits scripts; one is the safest.
    pub token_uses: u32,
    /// How many unexpired tokens this node keeps, at some hundred bytes each. Beyond that a new one takes the place of one that is
    /// used up or else of the oldest, so that inviting never ends; more leave more time to use them.
    pub tokens_max: usize,
    /// How long a join is tried before it is refused with what was last in its way.
    pub join_timeout: Span,
    /// The pause before the first redial of a join; it doubles up to eight times this. Shorter joins sooner past a lost
    /// connection and knocks more often at an absent node.
    pub join_retry: Span,
    /// How many nodes may be in the middle of joining through this node. Bounds memory and signatures per second.
    pub joins_max: usize,
    /// How many members that the log has not told of yet may be let in, or be in the middle of it, on the word of others. Bounds memory and
    /// signatures to check.
    pub introductions_max: usize,
    /// How long the control group may take over a join before the joiner is told to try again. Must stay below
    /// `join_timeout`.
    pub admission_timeout: Span,
    /// How long a lane that got its answer may stay open, so that the answer arrives before the end does.
    pub linger: Span,
    /// How long a command waits for the control group before it is refused for want of a quorum.
    pub request_timeout: Span,
    /// How long a node that wants to leave waits for the control group. It stays a member if that is not enough.
    pub leave_timeout: Span,
    /// How long the leader looks for somebody who can vote in the place of a member that is to go. Must stay below `leave_timeout`.
    pub successor_timeout: Span,
    /// How long a recovery of a lost quorum may take before whoever asked is told what it waits for. Longer waits for slower survivors.
    pub recover_timeout: Span,
    /// An operator says that no other copy of this node's disk runs or will. Counts only for a node that was found to exist twice.
    pub only_copy: bool,
    /// How long a node that stops waits for others to lead what it leads.
    pub stop_timeout: Span,
    /// How often it looks whether they do.
    pub stop_look: Span,
    /// How long its last word may take to its neighbours before the links go. Together with `stop_timeout` at most five seconds.
    pub stop_linger: Span,
    /// How soon after a change of paths, members or leader this node looks at how the mesh is. Shorter notices sooner and computes paths more often.
    pub mode_look: Span,
    /// How long the mesh must have been so before another mode is shown and acted upon. Longer hides more of what passes by itself.
    pub mode_hold: Span,
    /// How often an unanswered request is sent again. Shorter hides a lost message sooner; each repeat may add an entry
    /// (without effect) to the log, so keep it above a few round trips.
    pub request_retry: Span,
    /// How many requests of its own a node keeps open. More are refused as busy.
    pub requests_max: usize,
    /// Bytes of values in requests of its own that a node keeps open. What goes beyond is refused as busy.
    pub request_bytes_max: usize,
    /// How many linearizable reads wait at a node. More are refused as busy.
    pub reads_max: usize,
    /// How many watches of agreed configuration wait at a node. More are refused as busy.
    pub watches_max: usize,
    /// How long a watch waits for something to tell before it is told that there is nothing. Longer asks seldom, and remembers longer whoever is gone.
    pub watch_wait: Span,
    /// How many requests a leader serves at once. More are told to come back.
    pub served_max: usize,
    /// After how many entries the state is written anew and the log cut. Fewer make restarts quicker and write more.
    pub compact_after: u64,
    /// After how many bytes of entries that is done in any case. Fewer keep logs with large updates short and write the state more often.
    pub compact_bytes: usize,
    /// How many updates of its own a node keeps open. More are refused as busy.
    pub updates_pending_max: usize,
    /// How many updates a leader has under way at once. More are told to come back.
    pub updates_served_max: usize,
    /// The pause between two descriptions of this node. What is asked meanwhile waits, and the last of it counts.
    pub describe_pause: Span,
    /// How long a member gathers what its handlers have processed before it tells the leader, and the leader what members told before it writes
    /// an entry. Longer makes fewer entries and keeps updates longer.
    pub update_report: Span,
    /// How often a member tells again what no entry says yet.
    pub update_report_again: Span,
    /// The most voters: odd. More survive more losses and make each commit wait for more nodes.
    pub voters_max: usize,
    /// How long a voter may be unheard before a learner takes its place. Longer forgives long restarts, and leaves the mesh longer with one voter less.
    pub voter_away: Span,
    /// How long a member that was away twice must be steady before it is made a voter; doubles with each further time.
    pub voter_hold: Span,
    /// The longest such time.
    pub voter_hold_max: Span,
    /// After how long a steady time it is forgotten that a member was away.
    pub voter_forgive: Span,
    /// The pause after a change of voters before one is exchanged for another only to spread them over regions.
    pub voter_pause: Span,
    /// How many entries a learner may be behind the leader to become a voter. A voter further behind would hold up commits.
    pub caught_up_within: u64,
    /// The pause before a refused or unanswered membership change is tried again.
    pub change_retry: Span,
    /// How often a member looks again for a word that it owes to the seal of a stream and cannot give yet. Shorter seals sooner.
    pub seal_retry: Span,
}

impl Config {
    /// The defaults for a node of that name, key and those addresses.
    #[must_use]
    pub fn new(name: String, key: PublicKey, addresses: Vec<String>, api: Option<String>) -> Self {
        Self {
            name,
            key,
            next_key: None,
            key_number: 0,
            key_settle: Span::secs(2),
            key_overlap: Span::secs(10),
            key_window: Span::secs(300),
            key_retry: Span::secs(5),
            addresses,
            api,
            region: None,
            token_lifetime: Span::secs(24 * 3600),
            token_uses: 16,
            tokens_max: 1024,
            join_timeout: Span::secs(30),
            join_retry: Span::secs(1),
            joins_max: 16,
            introductions_max: 64,
            admission_timeout: Span::secs(10),
            linger: Span::secs(2),
            request_timeout: Span::secs(10),
            leave_timeout: Span::secs(5),
            successor_timeout: Span::secs(3),
            recover_timeout: Span::secs(20),
            only_copy: false,
            stop_timeout: Span::millis(4_500),
            stop_look: Span::millis(50),
            stop_linger: Span::millis(200),
            mode_look: Span::millis(500),
            mode_hold: Span::secs(2),
            request_retry: Span::secs(1),
            requests_max: 1024,
            request_bytes_max: 8 << 20,
            reads_max: 4096,
            watches_max: 1024,
            watch_wait: Span::secs(20),
            served_max: 4096,
            compact_after: 1024,
            compact_bytes: 4 << 20,
            updates_pending_max: 64,
            updates_served_max: 128,
            describe_pause: Span::secs(1),
            update_report: Span::millis(500),
            update_report_again: Span::secs(3),
            voters_max: 5,
            voter_away: Span::secs(30),
            voter_hold: Span::secs(5),
            voter_hold_max: Span::secs(40),
            voter_forgive: Span::secs(600),
            voter_pause: Span::secs(5),
            caught_up_within: 64,
            change_retry: Span::secs(1),
            seal_retry: Span::millis(500),
        }
    }
}
