//! Faults that wait for something to happen. The world tells of moments only if some fault of the plan waits for their kind: without
//! such faults this costs a test of a bit.

use bytes::Bytes;
use prost::Message as _;
use wattle_core::node::Output;
use wattle_core::node::command::{Reply, Waited};
use wattle_core::raft;
use wattle_proto::frame::{Decoder, Kind, MAX_FRAME, Message};
use wattle_proto::mesh as wire;

use crate::event::Time;
use crate::fault::{Condition, Fault, Moment, Trigger};

#[derive(Debug)]
struct Armed {
    /// The fault's place in the plan.
    index: usize,
    condition: Condition,
    /// Whether it counts before every node knows every other.
    light: bool,
    seen: u32,
}

/// The conditions that wait.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    /// A bit for each kind of moment that some fault waits for.
    wanted: u32,
    armed: Vec<Armed>,
    /// The fault whose crash ends the step under way.
    pub(crate) struck: Option<usize>,
}

const fn bit(moment: Moment) -> u32 {
    1 << moment as u32
}

impl Triggers {
    /// The conditions of a plan's faults.
    pub(crate) fn new(faults: &[Fault]) -> Self {
        let armed = faults.iter().enumerate().filter_map(|(index, fault)| match fault.when {
            Trigger::At(_) => None,
            Trigger::On(condition) => Some(Armed { index, condition, light: fault.kind.is_light(), seen: 0 }),
        });
        let mut triggers = Self { armed: armed.collect(), ..Self::default() };
        triggers.count_wanted();
        triggers
    }

    fn count_wanted(&mut self) {
        self.wanted = self.armed.iter().fold(0, |wanted, armed| wanted | bit(armed.condition.moment));
    }

    /// Whether any fault waits for such a moment.
    pub(crate) fn want(&self, moment: Moment) -> bool {
        self.wanted & bit(moment) != 0
    }

    /// Whether any fault waits for something that is said.
    pub(crate) fn want_messages(&self) -> bool {
        self.wanted >= bit(Moment::SendVoteRequest)
    }

    /// Something happened at a node. Gives the faults that begin by it, each by its place in the plan, and how long after it.
    pub(crate) fn happened(&mut self, moment: Moment, node: usize, complete: bool) -> Vec<(usize, Time)> {
        let mut due = Vec::new();
        self.armed.retain_mut(|armed| {
            let condition = armed.condition;
            let here = condition.node.is_none_or(|wanted| wanted == node);
            if condition.moment != moment || !here || !(complete || armed.light) {
                return true;
            }
            armed.seen += 1;
            if armed.seen == condition.nth {
                due.push((armed.index, condition.after));
            }
            armed.seen < condition.nth
        });
        if !due.is_empty() {
            self.count_wanted();
        }
        due
    }

    /// No fault begins any more.
    pub(crate) fn disarm(&mut self) {
        *self = Self::default();
    }
}

/// What an output is, as far as it is a moment.
pub(crate) fn moment_of_output(output: &Output) -> Option<Moment> {
    match output {
        Output::Write { .. } => Some(Moment::Write),
        Output::Deliver(_) => Some(Moment::Deliver),
        Output::Reply { reply: Ok(Reply::Published(receipt)), .. } if receipt.level == Waited::Accepted => {
            Some(Moment::Accept)
        }
        Output::Reply { reply: Ok(Reply::StreamOpened { .. }), .. } => Some(Moment::StreamOpen),
        _ => None,
    }
}

/// What bytes that begin with a frame say, as far as it is a moment.
pub(crate) fn said(bytes: &Bytes) -> Vec<Moment> {
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    decoder.push(bytes.clone());
    let mut moments = Vec::new();
    while let Ok(Some(frame)) = decoder.next() {
        // What is relayed was said elsewhere.
        moments.extend(
            frame
                .into_iter()
                .filter(|message| message.relay.path().hop() == 0)
                .flat_map(|message| [moment_of(&message), stage_of(&message)].into_iter().flatten()),
        );
    }
    moments
}

fn moment_of(message: &Message) -> Option<Moment> {
    match message.relay.kind() {
        Kind::Raft => match raft::Message::decode(message.payload.clone()).ok()?.body {
            raft::Body::Vote { .. } => Some(Moment::SendVoteRequest),
            raft::Body::VoteReply { .. } => Some(Moment::SendVote),
            raft::Body::Append(_) => Some(Moment::SendAppend),
            raft::Body::AppendReply { .. } => Some(Moment::SendAppendReply),
            raft::Body::Snapshot(_) => Some(Moment::SendSnapshot),
            raft::Body::Recall { .. } => Some(Moment::SendRecall),
            raft::Body::Renamed { .. } => Some(Moment::SendRenamed),
            raft::Body::Feed { .. }
            | raft::Body::Fed(_)
            | raft::Body::Unfed
            | raft::Body::Copy { .. }
            | raft::Body::Stop { .. }
            | raft::Body::SnapshotReply { .. }
            | raft::Body::Read { .. }
            | raft::Body::ReadReply { .. }
            | raft::Body::Stand => None,
        },
        Kind::Mesh => Some(Moment::SendMesh),
        Kind::Stream => Some(Moment::SendStream),
        Kind::Join => Some(Moment::SendJoin),
        Kind::Route => Some(Moment::SendRoute),
        Kind::Link | Kind::Pair | Kind::Notice => None,
    }
}

/// Which stage of a recovery a message belongs to.
fn stage_of(message: &Message) -> Option<Moment> {
    use wire::recovery_message::Kind as Stage;
    if message.relay.kind() != Kind::Mesh {
        return None;
    }
    let message = wire::Message::decode(&message.payload[..]).ok()?;
    let wire::message::Kind::Recovery(message) = message.kind? else { return None };
    match message.kind? {
        Stage::Order(_) => Some(Moment::SendOrder),
        Stage::Report(_) => Some(Moment::SendLogEnd),
        Stage::Founding(_) => Some(Moment::SendFound),
        Stage::Founded(_) => Some(Moment::SendFounded),
        Stage::Release(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    fn fault(moment: Moment, node: Option<usize>, nth: u32, kind: FaultKind) -> Fault {
        Fault { id: 1, when: Trigger::On(Condition { moment, node, nth, after: 5 }), kind }
    }

    fn pause() -> FaultKind {
        FaultKind::Pause { node: 0, length: 1 }
    }

    #[test]
    fn a_condition_counts_its_moment_at_its_node_and_begins_once() {
        let at = Fault { id: 2, when: Trigger::At(3), kind: pause() };
        let faults = [at, fault(Moment::Write, Some(1), 2, pause()), fault(Moment::Write, None, 2, pause())];
        let mut triggers = Triggers::new(&faults);
        assert!(triggers.want(Moment::Write) && !triggers.want(Moment::Boot) && !triggers.want_messages());
        assert_eq!(triggers.happened(Moment::Write, 0, true), []);
        assert_eq!(triggers.happened(Moment::Boot, 1, true), []);
        assert_eq!(triggers.happened(Moment::Write, 1, true), [(2, 5)]);
        assert_eq!(triggers.happened(Moment::Write, 1, true), [(1, 5)]);
        assert!(!triggers.want(Moment::Write), "nobody waits any more");
        assert_eq!(triggers.happened(Moment::Write, 1, true), []);
    }

    #[test]
    fn what_may_not_hit_an_incomplete_mesh_counts_once_it_is_complete() {
        let light = FaultKind::WallStep { node: 0, millis: 1 };
        let faults = [fault(Moment::SendVote, None, 1, pause()), fault(Moment::SendVote, None, 2, light)];
        let mut triggers = Triggers::new(&faults);
        assert!(triggers.want_messages());
        assert_eq!(triggers.happened(Moment::SendVote, 0, false), []);
        assert_eq!(triggers.happened(Moment::SendVote, 0, false), [(1, 5)]);
        assert_eq!(triggers.happened(Moment::SendVote, 0, true), [(0, 5)]);
    }

    #[test]
    fn every_moment_has_a_bit_and_those_of_messages_lie_above_the_rest() {
        for &moment in Moment::ALL {
            let mut triggers = Triggers::new(&[fault(moment, None, 1, pause())]);
            assert!(Moment::ALL.iter().all(|&other| triggers.want(other) == (other == moment)));
            assert_eq!(triggers.want_messages(), moment.is_message());
            triggers.disarm();
            assert!(!triggers.want(moment));
        }
    }
}
