use alloc::string::String;

use crate::time::Span;

/// Settings of [`super::Links`].
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name, told to neighbours for their logs.
    pub name: String,
    /// The largest frame this node takes, in bytes of messages, at least 64 KiB. Larger frames cost less per byte; a peer can
    /// make us hold one of them per lane.
    pub max_frame: u32,
    /// How long a handshake may take. Longer forgives slow networks; a stranger may occupy a place that long.
    pub handshake_timeout: Span,
    /// How many accepted lanes of keys that no member has may be open at once. More let more nodes join at the same time; each
    /// costs one lane's memory.
    pub strangers_max: usize,
    /// How long a lane for joining may live. Must leave the control group time to agree.
    pub join_timeout: Span,
    /// How often a ping goes out on each lane. More often finds dead lanes sooner and measures better; costs two small messages each.
    pub keepalive: Span,
    /// A lane on which nothing was heard for so long is closed. At least twice `keepalive`.
    pub silent: Span,
    /// How long, at least, an older lane may take to prove itself when a newer one to the same neighbour appears (three round
    /// trips if that is longer). Above the 200 ms for which TCP waits before it repeats a lost segment.
    pub probe: Span,
    /// How long the last messages on a surplus lane may take to come through before it is closed anyway.
    pub drain: Span,
    /// How many lanes one neighbour may have open at once, those under way to be closed included.
    pub lanes_per_neighbour_max: usize,
    /// The upper end of the random wait before the first redial; doubles with each failure.
    pub redial_base: Span,
    /// Its highest value. Higher spares the network while a neighbour is away for long; the neighbour waits up to that long when it is back.
    pub redial_cap: Span,
    /// A link that lasted so long makes its target start again from `redial_base`.
    pub healthy: Span,
    /// How long after a neighbour may prove another key it is dialled anew. Must leave it time to begin with that.
    pub renew_after: Span,
    /// How many dials and greetings of dialled lanes may be under way at once.
    pub dials_max: usize,
    /// A deadline handled later than this means that this node itself stood still: nobody is accused for that time.
    pub stall: Span,
}

impl Config {
    /// The defaults for a node of that name.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self {
            name,
            max_frame: wattle_proto::frame::MAX_FRAME as u32,
            handshake_timeout: Span::secs(5),
            strangers_max: 256,
            join_timeout: Span::secs(60),
            keepalive: Span::secs(1),
            silent: Span::secs(3),
            probe: Span::millis(400),
            drain: Span::secs(1),
            lanes_per_neighbour_max: 8,
            redial_base: Span::millis(250),
            redial_cap: Span::secs(10),
            healthy: Span::secs(10),
            renew_after: Span::secs(4),
            dials_max: 16,
            stall: Span::millis(100),
        }
    }
}
