//! How large the state may grow. Every snapshot holds all of it, and it is written whole when the log is cut, so what would not fit any more is refused.
//!
//! Counted are upper bounds of what members, descriptions, streams and agreed configuration take once encoded. They follow from the state alone, so every member of the mesh
//! refuses the same entries.

use alloc::string::String;

use super::entry::Admission;
use super::eviction::{EVICTED_BYTES, EVICTED_MAX};
use super::rotation::Rotations;
use super::state::{DECIDED_MAX, FORMER_MAX, Member, State, Stream};
use super::wire::KEYS_MAX;
use crate::description::{Described, Description};
use crate::ends::{Ends, Poison};
use crate::flow::{FAILED_REASON_MAX, RULES_MAX, Rank};
use crate::time::Span;

/// Most bytes of the encoded state, updates not counted: they have [`super::updates::UPDATES_BYTES_MAX`] of their own. Room for as many members as
/// there may be, all described at length, and a full configuration, beside tens of thousands of streams.
pub(super) const STATE_BYTES_MAX: usize = 8 << 20;
/// What of that is left to members, descriptions, streams and configuration; decided requests, former members and the rest take less than what is kept back.
pub(super) const TABLES_BYTES_MAX: usize =
    STATE_BYTES_MAX - DECIDED_MAX * 34 - (EVICTED_MAX + 1) * EVICTED_BYTES - RULES_MAX * RULE_BYTES - 2_048;
/// Ids, numbers, tags and lengths of a member or a stream.
const FIXED_BYTES: usize = 96;
const FORMER_BYTES: usize = 18;
const KEY_BYTES: usize = 34;
/// A rotation, with the signatures of both keys and the one that ends it.
const ROTATION_BYTES: usize = 284;
/// The counts beside the rotations.
const ROTATIONS_BYTES: usize = 40;
/// What a stream keeps: three numbers, with tags and lengths.
const KEEP_BYTES: usize = 36;
/// What it takes to say that targets are detached which stand still.
const DETACH_BYTES: usize = 12;
/// What a stream that may fail says of that.
const FAIL_BYTES: usize = 20;
/// What a rule about streams takes, at most, with the words of a handler.
pub(super) const RULE_BYTES: usize = 192 + 72 + FAILED_REASON_MAX;
/// Class of service and priority of a stream, with their tags.
const RANK_BYTES: usize = 12;
/// Tag and length of a text in a list.
const ITEM_BYTES: usize = 4;

impl Member {
    /// The most it takes of the encoded state, with room for a rotation of its key.
    pub(super) fn bytes(&self) -> usize {
        member_bytes(&self.name, &self.addresses, self.api.as_deref(), &self.signature)
            + self.region.as_ref().map_or(0, |region| region.len() + ITEM_BYTES)
            + self.former.len() * FORMER_BYTES
            + (KEYS_MAX + 1) * KEY_BYTES
            + self.rotations.bytes()
    }
}

impl Rotations {
    fn bytes(&self) -> usize {
        ROTATIONS_BYTES + self.records.len().max(1) * ROTATION_BYTES
    }
}

impl Stream {
    /// The most it takes of the encoded state.
    pub(super) fn bytes(&self) -> usize {
        stream_bytes(&self.name, &self.ends) + self.seal_bytes() + self.members_bytes()
    }
}

/// The most a stream of that name between these takes of the encoded state.
pub(super) fn stream_bytes(name: &str, ends: &Ends) -> usize {
    let (_, named) = ends.policy.parts();
    let keep = if ends.keep.keeps() { KEEP_BYTES } else { 0 };
    let detach = if ends.detach_after > Span::ZERO { DETACH_BYTES } else { 0 };
    let fail = if matches!(ends.poison, Poison::Fail { .. }) { FAIL_BYTES } else { 0 };
    let rank = if ends.rank == Rank::default() { 0 } else { RANK_BYTES + ends.rank.tenant.name().len() };
    FIXED_BYTES
        + name.len()
        + (ends.targets.len().saturating_sub(1) + named.len()) * FORMER_BYTES
        + rank
        + keep
        + detach
        + fail
}

/// The most a description takes of the encoded state.
pub(super) fn description_bytes(described: &Described) -> usize {
    let Description { roles, capabilities, attributes, .. } = &described.description;
    let items = roles.len() + capabilities.len() + 3 * attributes.len();
    FIXED_BYTES + described.description.bytes() + items * ITEM_BYTES
}

fn member_bytes(name: &str, addresses: &[String], api: Option<&str>, signature: &[u8]) -> usize {
    FIXED_BYTES
        + name.len()
        + addresses.iter().map(|address| address.len() + 3).sum::<usize>()
        + api.map_or(0, str::len)
        + signature.len()
}

impl State {
    /// Whether the state may have something of `after` bytes in place of one of `before`, in words if not. What makes it smaller is
    /// always done.
    pub(super) fn has_room(&self, before: usize, after: usize) -> Result<(), String> {
        if after <= before || self.bytes - before + after + self.config.bytes() <= TABLES_BYTES_MAX {
            return Ok(());
        }
        Err(alloc::format!(
            "the mesh has {} members and {} open streams, and no room for more: close some streams first",
            self.members.len(),
            self.streams.len()
        ))
    }

    /// Whether the member that `admission` makes has room, in words if not.
    pub(super) fn has_room_for_member(&self, admission: &Admission) -> Result<(), String> {
        let Admission { name, addresses, api, signature, .. } = admission;
        let none = Rotations::default().bytes();
        let (before, former) = match self.members.get(&admission.node) {
            Some(member) => {
                (member.bytes() + none - member.rotations.bytes(), (member.former.len() + 1).min(FORMER_MAX))
            }
            None => (0, 0),
        };
        let after = member_bytes(name, addresses, api.as_deref(), signature);
        self.has_room(before, after + (KEYS_MAX + 1) * KEY_BYTES + none + former * FORMER_BYTES)
    }

    /// Panics if the bytes were miscounted or are too many.
    pub(super) fn check_room(&self) {
        let members: usize = self.members.values().map(Member::bytes).sum();
        let streams: usize = self.streams.values().map(Stream::bytes).sum();
        let descriptions: usize = self.descriptions.values().map(description_bytes).sum();
        assert_eq!(self.bytes, members + streams + descriptions, "M5: the bytes of the tables add up");
        let bytes = self.bytes + self.config.bytes();
        assert!(bytes <= TABLES_BYTES_MAX, "M5: the state is bounded");
    }
}
