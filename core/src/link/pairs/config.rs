//! How often pairs beat, and when silence counts.

use crate::time::Span;

/// Settings of [`super::Pairs`].
#[derive(Clone, Debug)]
pub struct Config {
    /// How often a beat goes to each near peer. More often finds failures sooner and costs a small message each.
    pub interval: Span,
    /// How often one goes to each far peer: a large mesh has thousands of these.
    pub interval_far: Span,
    /// With many far peers one goes to each after so long for every one of them, up to [`Self::interval_far_max`]: a voter sends to a thousand no
    /// more than to two hundred. A far peer answers no more often than it is spoken to.
    pub interval_far_each: Span,
    /// The longest such time, and the longest by which another node is believed to let one wait.
    pub interval_far_max: Span,
    /// The shortest time between two beats to one peer when there is news.
    pub interval_min: Span,
    /// A near peer unheard for so long is suspect; a far one after so many times longer as its beats are rarer. At least three intervals: a
    /// lost beat or two must not matter.
    pub suspect: Span,
    /// A peer with a write that has waited so long for its disk is suspect: it is there, and of no use.
    pub write_limit: Span,
    /// A deadline handled later than this means that this node itself stood still.
    pub stall: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Span::millis(100),
            interval_far: Span::secs(2),
            interval_far_each: Span::millis(10),
            interval_far_max: Span::secs(10),
            interval_min: Span::millis(20),
            suspect: Span::millis(400),
            write_limit: Span::secs(2),
            stall: Span::millis(100),
        }
    }
}
