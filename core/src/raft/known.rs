//! Members that the owner of a group knows of from elsewhere than its log (rule C3).
//!
//! Who starts anew asks those whom its log names what it vouched for. A disk that was rolled back may hold a log from before the members changed: of those it names some may be out for good,
//! who say nothing any more, and of those who came since, who hold everything, it names nobody. Where nothing is decided without it, nobody could tell it, and it would ask for ever. So the
//! owner's word is heard beside the log's: who came is asked, too, and who is out is waited for no longer.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::context::Context;
use super::group::Group;
use super::roles::Standing;
use crate::id::NodeId;
use crate::planted::Bug;
use crate::rare;

/// What the owner knows of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Who they are.
    members: Vec<NodeId>,
    /// Who was one, and is out for good.
    out: Vec<NodeId>,
}

impl Group {
    /// The owner knows that these are members, and that those are out for good.
    pub(super) fn known(&mut self, context: &mut Context<'_>, members: Vec<NodeId>, out: Vec<NodeId>) {
        let asks =
            matches!(self.standing, Standing::Verifying(_) | Standing::Copying(_) | Standing::Renamed(_));
        let known = Some(Box::new(Known { members, out }));
        if self.past().known == known || asks && context.planted.strikes(Bug::KnownMembersNotAsked, || true) {
            return;
        }
        let before = self.others(context.own);
        self.past_mut().known = known;
        if !asks || self.others(context.own) == before {
            return;
        }
        rare!(KnownMembersAsked);
        self.ask_anew(context);
        // Some who were asked may not be waited for any more.
        self.maybe_verified(context);
        self.consider_copied(context);
    }

    /// Whether the owner knows that a node is out for good.
    pub(super) fn is_known_out(&self, node: NodeId) -> bool {
        self.past().known.as_ref().is_some_and(|known| known.out.contains(&node))
    }

    /// The other members' nodes, each once: by the log and by what the owner knows.
    pub(super) fn others(&self, own: NodeId) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.log.configuration().members().map(|member| member.node).collect();
        if let Some(known) = &self.past().known {
            nodes.extend(&known.members);
        }
        nodes.retain(|&node| node != own && !self.is_known_out(node));
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}
