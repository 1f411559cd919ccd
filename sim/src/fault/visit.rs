//! What a fault names, to be changed: whoever makes plans smaller need not know the kinds one by one.

use super::FaultKind;
use crate::event::Time;
use crate::trouble::Trouble;

impl FaultKind {
    /// The nodes it names.
    #[must_use]
    pub fn nodes(&self) -> Vec<usize> {
        self.clone().nodes_mut().into_iter().map(|node| *node).collect()
    }

    /// The nodes it names, to be changed.
    pub fn nodes_mut(&mut self) -> Vec<&mut usize> {
        match self {
            Self::Crash { node, .. }
            | Self::Pause { node, .. }
            | Self::Isolate { node, .. }
            | Self::SlowDisk { node, .. }
            | Self::FullDisk { node, .. }
            | Self::FailedWrite { node }
            | Self::RolledBack { node, .. }
            | Self::Rebind { node }
            | Self::WallStep { node, .. } => vec![node],
            Self::Cut { from, to, .. }
            | Self::Slow { from, to, .. }
            | Self::Disturb { from, to, .. }
            | Self::Silence { from, to }
            | Self::Overtake { from, to, .. } => vec![from, to],
            Self::HalfOpen { forgets, believes } => vec![forgets, believes],
            Self::Reset { a, b, .. } | Self::Flap { a, b, .. } => vec![a, b],
            Self::Partition { side, .. } => side.iter_mut().collect(),
            Self::Trouble { node, what } => std::iter::once(node).chain(peer_mut(what)).collect(),
            Self::Depose { .. } => Vec::new(),
        }
    }

    /// The times it names that may be as short as one likes, to be changed.
    pub fn times_mut(&mut self) -> Vec<&mut Time> {
        match self {
            Self::Crash { down, .. } => vec![down],
            Self::Pause { length, .. }
            | Self::Cut { length, .. }
            | Self::Isolate { length, .. }
            | Self::Partition { length, .. }
            | Self::Disturb { length, .. }
            | Self::Flap { length, .. }
            | Self::SlowDisk { length, .. }
            | Self::FullDisk { length, .. } => vec![length],
            Self::Overtake { by, .. } => vec![by],
            Self::Slow { extra, length, .. } => vec![extra, length],
            Self::RolledBack { image_at, down, .. } => vec![image_at, down],
            Self::Depose { delay, length, .. } => vec![delay, length],
            Self::Trouble { what, .. } => times_of_trouble(what),
            Self::Reset { .. }
            | Self::Silence { .. }
            | Self::HalfOpen { .. }
            | Self::Rebind { .. }
            | Self::FailedWrite { .. }
            | Self::WallStep { .. } => Vec::new(),
        }
    }
}

fn peer_mut(trouble: &mut Trouble) -> Option<&mut usize> {
    match trouble {
        Trouble::BlockedSender { peer, .. } => peer.as_mut(),
        _ => None,
    }
}

fn times_of_trouble(trouble: &mut Trouble) -> Vec<&mut Time> {
    match trouble {
        Trouble::CrashLoop { runs, down, .. } => vec![runs, down],
        Trouble::EmptyDisk { down } => vec![down],
        Trouble::SlowNode { length, .. }
        | Trouble::BlockedSender { length, .. }
        | Trouble::StalledDisk { length }
        | Trouble::Drift { length, .. }
        | Trouble::Suspend { length, .. }
        | Trouble::TimerSlack { length, .. } => vec![length],
        Trouble::LostPages
        | Trouble::OutOfSpace { .. }
        | Trouble::BitRot { .. }
        | Trouble::ReadErrors { .. }
        | Trouble::PhantomWrite
        | Trouble::MisdirectedWrite => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;

    #[test]
    fn the_nodes_that_can_be_changed_are_those_that_are_named() {
        for seed in 0..300 {
            for mut fault in Plan::generate(seed).faults {
                let named = fault.kind.nodes();
                assert_eq!(fault.kind.nodes_mut().iter().map(|node| **node).collect::<Vec<_>>(), named);
                fault.kind.nodes_mut().into_iter().for_each(|node| *node += 7);
                assert!(fault.kind.nodes().into_iter().eq(named.into_iter().map(|node| node + 7)));
            }
        }
    }

    #[test]
    fn a_fault_that_lasts_can_be_made_shorter() {
        for seed in 0..300 {
            for mut fault in Plan::generate(seed).faults {
                fault.kind.times_mut().into_iter().for_each(|time| *time = 3);
                assert!(fault.kind.length().is_none_or(|length| length == 3), "{fault:?}");
            }
        }
    }
}
