//! What a node says of itself. Plain data, shared by the part that carries it, the node and its world.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::id::Generation;

/// Most bytes of a description: all its texts together.
pub const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// Most roles, capabilities and attributes, of each kind.
pub const DESCRIPTION_ITEMS_MAX: usize = 32;

/// What a node says of itself: for people, filters and placement. It is no load report, which would be old before everybody has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// How it is, in its own words.
    pub status: String,
    /// Keeps things that belong together on nodes of one tag.
    pub tag: String,
    /// What it is there for.
    pub roles: Vec<String>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Anything else.
    pub attributes: BTreeMap<String, String>,
}

impl Description {
    /// Bytes of all its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = self.roles.iter().chain(&self.capabilities).map(String::len);
        let attributes = self.attributes.iter().map(|(key, value)| key.len() + value.len());
        self.status.len() + self.tag.len() + lists.sum::<usize>() + attributes.sum::<usize>()
    }

    /// How many items it has, of the kind it has most of.
    #[must_use]
    pub fn items(&self) -> usize {
        self.roles.len().max(self.capabilities.len()).max(self.attributes.len())
    }

    /// Whether it is as small as it must be.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.bytes() <= DESCRIPTION_BYTES_MAX && self.items() <= DESCRIPTION_ITEMS_MAX
    }
}

/// A description and which of a node's descriptions it is: the highest version holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The start of the node that says it.
    pub generation: Generation,
    /// Which one of that start, from 1.
    pub counter: u64,
    /// What it says.
    pub description: Description,
}

impl Described {
    /// What is compared.
    #[must_use]
    pub const fn version(&self) -> (Generation, u64) {
        (self.generation, self.counter)
    }
}
