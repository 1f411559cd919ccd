//! A member's key gives way to another: what stands in the log of that, and what it proves to whoever was away.
//!
//! A [`Rotation`] names the old key and the new one and is signed by both. From its entry on the member has two keys, either of which is good; a
//! second entry, signed by the new key, ends that. Every member checks the signatures when it applies the entries, so no leader can give a member another key.
//! Rotations of a member are counted, and each must follow the last: none is done twice, and none comes back.
//!
//! The last rotations are kept with the member. They lead from a key that somebody knew to the one that is good now, and show a node that was taken
//! back to before them that its key is good no more.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::state::{Effect, Member, State};
use super::transcript::Transcript;
use super::wire::{self, KEYS_MAX, Malformed, id_bytes, key_bytes};
use crate::id::{LogIndex, NodeId};
use crate::node::command::Refusal;
use crate::planted::Bug;
use crate::time::Wall;
use crate::work::{Job, PublicKey, verify};

/// How many rotations of a member are kept, at some 220 bytes each. Who was away for more of them knows none of the keys they lead from, and learns of the
/// member from others.
pub const ROTATIONS_MAX: usize = 8;

/// One key gives way to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Counts those that were begun of this node, from 1.
    pub number: u64,
    /// Gives way.
    pub old: PublicKey,
    /// Takes its place.
    pub new: PublicKey,
    /// The old key's, under [`Self::statement`].
    pub by_old: Bytes,
    /// The new key's, under the same.
    pub by_new: Bytes,
    /// The new key's, under [`Self::retirement`]: from then on the old one is good no more.
    pub retired: Option<Bytes>,
}

/// The rotations of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotations {
    /// The last ones that were not given up, oldest first.
    pub records: Vec<Rotation>,
    /// The number of the last one that was begun.
    pub number: u64,
    /// The entry that began it.
    pub index: LogIndex,
    /// When.
    pub time: Wall,
}

/// What a member asks for its own key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another key is good, too.
    Next(Rotation),
    /// The old one of that rotation is good no more.
    Retire {
        /// The rotation.
        number: u64,
        /// The new key's, under [`Rotation::retirement`].
        signature: Bytes,
        /// Though there may be members that do not know the new one.
        hurry: bool,
    },
}

impl Rotation {
    /// What both keys sign.
    #[must_use]
    pub fn statement(&self, node: NodeId) -> Bytes {
        self.words("wattle 2026 next key of this node v1", node)
    }

    /// What the new key signs at the end.
    #[must_use]
    pub fn retirement(&self, node: NodeId) -> Bytes {
        self.words("wattle 2026 last key of this node is good no more v1", node)
    }

    fn words(&self, kind: &str, node: NodeId) -> Bytes {
        let transcript = Transcript::plain(kind)
            .field(&node.to_bytes())
            .field(&self.number.to_be_bytes())
            .field(&self.old.0)
            .field(&self.new.0);
        Bytes::copy_from_slice(transcript.finish().as_bytes())
    }

    fn jobs(&self, node: NodeId) -> [Job; 2] {
        let job = |key, signature: &Bytes| Job::Verify {
            keys: Vec::from([key]),
            message: self.statement(node),
            signature: signature.clone(),
        };
        [job(self.old, &self.by_old), job(self.new, &self.by_new)]
    }

    /// Shows that the old key is good no more.
    pub(super) fn retirement_job(&self, node: NodeId) -> Option<Job> {
        let (keys, message) = (Vec::from([self.new]), self.retirement(node));
        self.retired.clone().map(|signature| Job::Verify { keys, message, signature })
    }
}

/// The keys that `rotations` lead to from those of `from`, these included, and the signatures to check before that is believed.
pub(super) fn lead(node: NodeId, rotations: &[Rotation], from: &[PublicKey]) -> (Vec<PublicKey>, Vec<Job>) {
    let (mut keys, mut jobs) = (from.to_vec(), Vec::new());
    for rotation in rotations {
        if keys.contains(&rotation.old) && !keys.contains(&rotation.new) {
            keys.push(rotation.new);
            jobs.extend(rotation.jobs(node));
        }
    }
    (keys, jobs)
}

/// The keys of a node that has `keys` by its rotation `number`, once it has shown more: those of the last that follows. Only the newest key leads on, so that nobody
/// who has one that is giving way takes the place of the next.
pub(super) fn follow(number: u64, keys: Vec<PublicKey>, shown: &[Rotation]) -> Vec<PublicKey> {
    let later = shown.iter().filter(|rotation| rotation.number > number);
    later.fold(keys, |keys, rotation| {
        let leads = keys.last() == Some(&rotation.old) && !keys.contains(&rotation.new);
        if leads { Vec::from([rotation.old, rotation.new]) } else { keys }
    })
}

/// Adds the keys before those of `keys` that rotations lead from, and the signatures to check before that is believed: both keys of each said so. Nothing before a
/// key of which `first` holds is looked for.
pub(super) fn trace(
    node: NodeId,
    rotations: &[Rotation],
    (mut keys, mut jobs): (Vec<PublicKey>, Vec<Job>),
    first: impl Fn(&PublicKey) -> bool,
) -> (Vec<PublicKey>, Vec<Job>) {
    for rotation in rotations.iter().rev() {
        if keys.contains(&rotation.new) && !keys.contains(&rotation.old) && !first(&rotation.new) {
            keys.push(rotation.old);
            jobs.extend(rotation.jobs(node));
        }
    }
    (keys, jobs)
}

/// The encoded rotations of a member; empty if there are none.
pub(super) fn encode(rotations: &[Rotation]) -> Bytes {
    proto::Rotations { records: rotations.iter().map(rotation_out).collect(), ..Default::default() }
        .encode_to_vec()
        .into()
}

/// Reads them.
///
/// # Errors
/// [`Malformed`] names the field.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Rotation>, Malformed> {
    records_in(proto::Rotations::decode(bytes).map_err(|_| Malformed("rotations"))?.records)
}

impl State {
    /// Another key of a member is good from now on, too. A rotation that was begun and did not come to its end gives way.
    pub(super) fn next_key(
        &mut self,
        index: LogIndex,
        node: NodeId,
        rotation: &Rotation,
    ) -> Result<Effect, Refusal> {
        let member = self.may_rotate(node, rotation)?;
        let Some(member) = member else { return Ok(Effect::KeyChanged { node, retired: false }) };
        let statement = rotation.statement(node);
        let old = verify(&rotation.old, &statement, &rotation.by_old)
            || self.planted.strikes(Bug::RotationNotSigned, || true);
        if !old || !verify(&rotation.new, &statement, &rotation.by_new) {
            return Err(refused(alloc::format!("the next key of {node} is not signed by both")));
        }
        let before = member.bytes();
        let mut after = member.clone();
        after.keys.truncate(1);
        after.keys.push(rotation.new);
        after.rotations.records.retain(|earlier| earlier.retired.is_some());
        after.rotations.records.push(Rotation { retired: None, ..rotation.clone() });
        let too_many = |after: &Member| {
            let kept = after.rotations.records.len();
            kept > ROTATIONS_MAX || kept > 1 && self.has_room(before, after.bytes()).is_err()
        };
        // Every member has room for one. A key that was stolen gives way, however full the tables are.
        while too_many(&after) {
            after.rotations.records.remove(0);
        }
        assert!(rotation.number > after.rotations.number, "M60: a rotation of {node} comes back");
        after.rotations.number = rotation.number;
        (after.rotations.index, after.rotations.time) = (index, self.time);
        self.bytes = self.bytes - before + after.bytes();
        self.members.insert(node, after);
        Ok(Effect::KeyChanged { node, retired: false })
    }

    /// What to check before a step goes into the log.
    ///
    /// # Errors
    /// It cannot be done, whatever is signed.
    pub(super) fn check_step(&self, node: NodeId, step: &Step) -> Result<Vec<Job>, Refusal> {
        match step {
            Step::Next(rotation) => {
                let to_do = self.may_rotate(node, rotation)?;
                Ok(to_do.map(|_| rotation.jobs(node).to_vec()).unwrap_or_default())
            }
            Step::Retire { number, signature, .. } => {
                let records = self.members.get(&node).map(|member| &member.rotations.records[..]);
                let last = records.unwrap_or_default().last().filter(|last| last.number == *number);
                let last = last.ok_or_else(|| not_under_way(node, *number))?;
                let retired = Some(signature.clone()).filter(|_| last.retired.is_none());
                Ok(Rotation { retired, ..last.clone() }.retirement_job(node).into_iter().collect())
            }
        }
    }

    /// The member whose key may so give way; `None` if that is done. Signatures are not looked at.
    fn may_rotate(&self, node: NodeId, rotation: &Rotation) -> Result<Option<&Member>, Refusal> {
        let member = self.members.get(&node).ok_or_else(|| Refusal::UnknownNode(alloc::format!("{node}")))?;
        let last = member.rotations.number;
        if last == rotation.number && member.keys.last() == Some(&rotation.new) {
            return Ok(None);
        }
        let follows = rotation.number == last + 1
            || self.planted.strikes(Bug::RotationNumberIgnored, || rotation.number <= last);
        if !follows || member.keys.first() != Some(&rotation.old) {
            return Err(refused(alloc::format!(
                "rotation {} of the key of {node} follows none that the mesh knows: the last one is {last}",
                rotation.number
            )));
        }
        let mut known = self.members.values().flat_map(|member| &member.keys);
        let given_up = member.rotations.records.iter().any(|earlier| earlier.old == rotation.new);
        if given_up || known.any(|key| *key == rotation.new) {
            return Err(refused(alloc::format!("the next key of {node} is or was one of a member")));
        }
        Ok(Some(member))
    }

    /// The old key of a member is good no more.
    pub(super) fn retire_key(
        &mut self,
        node: NodeId,
        number: u64,
        signature: &Bytes,
    ) -> Result<Effect, Refusal> {
        let member =
            self.members.get_mut(&node).ok_or_else(|| Refusal::UnknownNode(alloc::format!("{node}")))?;
        let before = member.bytes();
        let done = Ok(Effect::KeyChanged { node, retired: true });
        let Some(last) = member.rotations.records.last_mut().filter(|last| last.number == number) else {
            return Err(not_under_way(node, number));
        };
        if last.retired.is_some() {
            return done;
        }
        if !verify(&last.new, &last.retirement(node), signature) {
            return Err(refused(alloc::format!(
                "the end of a rotation is not signed by the next key of {node}"
            )));
        }
        last.retired = Some(signature.clone());
        member.keys.remove(0);
        self.bytes = self.bytes - before + member.bytes();
        done
    }
}

fn not_under_way(node: NodeId, number: u64) -> Refusal {
    refused(alloc::format!("no rotation {number} of the key of {node} is under way"))
}

fn refused(why: String) -> Refusal {
    Refusal::Invalid(why)
}

impl Member {
    /// Panics if its keys and rotations do not fit together.
    pub(super) fn check_keys(&self) {
        let Rotations { records, number, .. } = &self.rotations;
        assert!((1..=KEYS_MAX).contains(&self.keys.len()), "M3: {} has {} keys", self.node, self.keys.len());
        assert!(records.len() <= ROTATIONS_MAX, "M5: rotations are bounded");
        let counted = records.windows(2).all(|pair| pair[0].number < pair[1].number);
        let last = records.last().is_none_or(|last| last.number <= *number);
        assert!(counted && last, "M60: rotations of {} are out of order", self.node);
        let ended = records.iter().rev().skip(1).all(|earlier| earlier.retired.is_some());
        assert!(ended, "M60: two rotations of {} are under way", self.node);
        match records.last() {
            Some(last) if last.retired.is_none() => {
                assert_eq!(
                    self.keys,
                    [last.old, last.new],
                    "M60: {} has other keys than it showed",
                    self.node
                );
            }
            Some(last) if last.number == *number => {
                assert_eq!(self.keys, [last.new], "M60: {} has other keys than it showed", self.node);
            }
            _ => {}
        }
        let gone = |key: &PublicKey| records.iter().any(|r| r.retired.is_some() && r.old == *key);
        assert!(!self.keys.iter().any(gone), "M60: a key that {} gave up is good again", self.node);
    }
}

pub(super) fn rotation_out(rotation: &Rotation) -> proto::Rotation {
    proto::Rotation {
        number: rotation.number,
        old: key_bytes(&rotation.old),
        new: key_bytes(&rotation.new),
        by_old: rotation.by_old.clone(),
        by_new: rotation.by_new.clone(),
        retired: rotation.retired.clone().unwrap_or_default(),
    }
}

fn rotation_in(stored: proto::Rotation) -> Result<Rotation, Malformed> {
    if stored.number == 0 {
        return Err(Malformed("a rotation without a number"));
    }
    Ok(Rotation {
        number: stored.number,
        old: wire::key(&stored.old)?,
        new: wire::key(&stored.new)?,
        by_old: wire::signature(stored.by_old)?,
        by_new: wire::signature(stored.by_new)?,
        retired: if stored.retired.is_empty() { None } else { Some(wire::signature(stored.retired)?) },
    })
}

pub(super) fn records_in(stored: Vec<proto::Rotation>) -> Result<Vec<Rotation>, Malformed> {
    if stored.len() > ROTATIONS_MAX {
        return Err(Malformed("too many rotations"));
    }
    stored.into_iter().map(rotation_in).collect()
}

pub(super) fn rotations_out(rotations: &Rotations) -> Option<proto::Rotations> {
    let Rotations { records, number, index, time } = rotations;
    (*number > 0).then(|| proto::Rotations {
        records: records.iter().map(rotation_out).collect(),
        number: *number,
        index: index.0,
        time: time.0,
    })
}

pub(super) fn rotations_in(stored: Option<proto::Rotations>) -> Result<Rotations, Malformed> {
    let proto::Rotations { records, number, index, time } = stored.unwrap_or_default();
    Ok(Rotations { records: records_in(records)?, number, index: LogIndex(index), time: Wall(time) })
}

pub(super) fn step_out(node: NodeId, step: &Step) -> proto::RotateNodeKey {
    use proto::rotate_node_key::Step as P;
    let step = match step {
        Step::Next(rotation) => P::Next(rotation_out(rotation)),
        Step::Retire { number, signature, hurry } => {
            P::Retire(proto::RetireKey { number: *number, signature: signature.clone(), hurry: *hurry })
        }
    };
    proto::RotateNodeKey { node: id_bytes(node.to_bytes()), step: Some(step) }
}

pub(super) fn step_in(stored: proto::RotateNodeKey) -> Result<(NodeId, Step), Malformed> {
    use proto::rotate_node_key::Step as P;
    let step = match stored.step.ok_or(Malformed("a step of a rotation"))? {
        P::Next(rotation) => Step::Next(rotation_in(rotation)?),
        P::Retire(retire) => Step::Retire {
            number: retire.number,
            signature: wire::signature(retire.signature)?,
            hurry: retire.hurry,
        },
    };
    Ok((wire::node(&stored.node)?, step))
}
