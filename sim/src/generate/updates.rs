//! Updates to all members: a few or many, small or so large that the history fills up, and handlers that now and then end within their work.

use crate::event::{MICRO, MILLI, SECOND, Time};
use crate::plan::{Plan, SendPlan, Sequence, UpdatesPlan};
use crate::random::{Draws, Purpose};

/// Runs in a hundred that send updates.
const PERCENT: u64 = 35;

/// What a run sends to all members, if it does.
pub(super) fn updates(seed: u64, count: usize, fault_phase: Time) -> Option<UpdatesPlan> {
    let mut draws = Draws::new(seed, Purpose::Updates, 0, 0);
    if !draws.percent(PERCENT) {
        return None;
    }
    let number = draws.spread(2, 60);
    let largest = draws.pick(&[64, 64, 1_000, 24 << 10]);
    let in_bursts = draws.percent(50);
    let mut sends: Vec<SendPlan> = (0..number)
        .map(|index| {
            let mut draws = Draws::new(seed, Purpose::Updates, 1, index);
            let burst = Draws::new(seed, Purpose::Updates, 2, index / 8).below(fault_phase);
            let at = if in_bursts { burst + draws.below(200 * MILLI) } else { draws.below(fault_phase) };
            SendPlan {
                at,
                node: draws.index(count),
                kind: if draws.percent(60) { Sequence::Mesh } else { Sequence::Database },
                bytes: draws.spread(16, largest),
                waits: draws.percent(75),
                repeats: draws.pick(&[0, 0, 1, 3]),
            }
        })
        .collect();
    sends.sort_by_key(|send| send.at);
    let slowest = draws.spread(10 * MICRO, SECOND);
    Some(UpdatesPlan {
        sends,
        window: draws.pick(&[(1, 1), (1, 4), (16, 64)]),
        service: (slowest / 20, slowest),
        crashes_one_in: draws.pick(&[0, 3, 10]),
    })
}

/// A disk of fewer bytes has no room for what is kept for everybody.
const SCARCE_BELOW: u64 = 16 << 20;
/// The most bytes of updates where some node may never process them: they must fit into what is kept.
const KEPT_BYTES: u64 = 64 << 10;

/// Brings what is sent into line with what the rest of the plan has become: nothing where disks are scarce, less where not everybody will come
/// back, and all of it while there are faults.
pub(super) fn settle(plan: &mut Plan) {
    let Some(updates) = &mut plan.updates else { return };
    if plan.disk.capacity < SCARCE_BELOW {
        plan.updates = None;
        return;
    }
    updates.sends.iter_mut().for_each(|send| send.at = send.at.min(plan.fault_phase));
    if plan.forsaken.is_some() {
        fit(updates);
    }
}

fn fit(updates: &mut UpdatesPlan) {
    let mut left = KEPT_BYTES;
    updates.sends.retain(|send| {
        let fits = left.checked_sub(send.bytes + 200);
        left = fits.unwrap_or(left);
        fits.is_some()
    });
}
