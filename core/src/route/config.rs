use crate::time::Span;

/// Settings of [`super::Routes`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The cost of a link until it is measured, in microseconds. High keeps traffic off links nobody knows yet.
    pub cost_unknown: u32,
    /// A cost is announced anew when it has differed by more than this many percent ...
    pub cost_step_percent: u32,
    /// ... and by more than so many microseconds ...
    pub cost_step_min: u32,
    /// ... for so long. Longer spares the mesh from noise; paths follow later.
    pub cost_stable: Span,
    /// The shortest time between two announcements that can wait; doubles while they keep coming ...
    pub announce_min: Span,
    /// ... up to this.
    pub announce_max: Span,
    /// The shortest time between two announcements that tell nothing but other costs of links; doubles while they keep coming ...
    pub announce_costs_min: Span,
    /// ... up to this. An announcement goes to every node of the mesh, and paths that are a little dearer than need be still lead there.
    pub announce_costs_max: Span,
    /// The shortest time between two computations of all paths for changes elsewhere; doubles while changes keep coming ...
    pub compute_min: Span,
    /// ... up to this. Changes of this node's own links are computed at once.
    pub compute_max: Span,
    /// How long a link state counts after it was heard. Above three times `refresh`, so that losses do not matter.
    pub lifetime: Span,
    /// How often this node's own link state is announced anew, give or take a quarter.
    pub refresh: Span,
    /// How often tables are compared with those of neighbours, give or take a quarter. More often mends losses sooner and costs
    /// one small message per link.
    pub compare: Span,
    /// Tables that changed less than so long ago are not compared: what differs is still on its way. Where something always changes, only
    /// two comparisons in a row are put off for that.
    pub settle: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cost_unknown: 50_000,
            cost_step_percent: 20,
            cost_step_min: 200,
            cost_stable: Span::secs(2),
            announce_min: Span::millis(50),
            announce_max: Span::secs(1),
            announce_costs_min: Span::secs(5),
            announce_costs_max: Span::secs(60),
            compute_min: Span::millis(20),
            compute_max: Span::millis(500),
            lifetime: Span::secs(600),
            refresh: Span::secs(200),
            compare: Span::secs(10),
            settle: Span::secs(2),
        }
    }
}
