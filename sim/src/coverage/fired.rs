//! Which kinds of faults began. Their effects are marked where they are had.

use crate::fault::FaultKind;
use crate::network::Disturbance;
use crate::trouble::Trouble;

/// A fault of this kind begins.
pub(crate) fn fault(kind: &FaultKind) {
    match kind {
        FaultKind::Crash { .. } => sometimes!(CrashFired),
        FaultKind::Pause { .. } => sometimes!(PauseFired),
        FaultKind::Cut { both: false, .. } => sometimes!(OneWayCutFired),
        FaultKind::Cut { .. } => sometimes!(CutFired),
        FaultKind::Isolate { .. } => sometimes!(IsolationFired),
        FaultKind::Partition { .. } => sometimes!(PartitionFired),
        FaultKind::Reset { .. } => sometimes!(ResetFired),
        FaultKind::Slow { .. } => sometimes!(SlowLinkFired),
        FaultKind::Flap { .. } => sometimes!(FlapFired),
        FaultKind::Silence { .. } => sometimes!(SilenceFired),
        FaultKind::HalfOpen { .. } => sometimes!(HalfOpenFired),
        FaultKind::Overtake { .. } => sometimes!(OvertakingFired),
        FaultKind::Rebind { .. } => sometimes!(RebindingFired),
        FaultKind::SlowDisk { .. } => sometimes!(SlowDiskFired),
        FaultKind::FullDisk { .. } => sometimes!(FullDiskFired),
        FaultKind::FailedWrite { .. } => sometimes!(FailedWriteFired),
        FaultKind::RolledBack { .. } => sometimes!(RollBackFired),
        FaultKind::Depose { .. } => sometimes!(DeposingFired),
        FaultKind::WallStep { .. } => sometimes!(WallStepFired),
        FaultKind::Disturb { what, .. } => disturbance(*what),
        FaultKind::Trouble { what, .. } => trouble(what),
    }
}

fn disturbance(what: Disturbance) {
    match what {
        Disturbance::Lossy { .. } => sometimes!(LossFired),
        Disturbance::Thinned { .. } => sometimes!(ThinningFired),
        Disturbance::Corrupt { .. } => sometimes!(CorruptionFired),
        Disturbance::Replayed { .. } => sometimes!(ReplayFired),
        Disturbance::Congested { .. } => sometimes!(CongestionFired),
        Disturbance::Grey { .. } => sometimes!(GreyFired),
        Disturbance::Clogged { .. } => sometimes!(ClogFired),
        Disturbance::Dribbling { .. } => sometimes!(DribbleFired),
        Disturbance::Undialable { .. } => sometimes!(UndialableFired),
        Disturbance::Translated { .. } => sometimes!(TranslationFired),
    }
}

fn trouble(what: &Trouble) {
    match what {
        Trouble::SlowNode { .. } => sometimes!(SlowNodeFired),
        Trouble::BlockedSender { .. } => sometimes!(BlockedSenderFired),
        Trouble::CrashLoop { .. } => sometimes!(CrashLoopFired),
        Trouble::EmptyDisk { .. } => sometimes!(EmptyDiskFired),
        Trouble::LostPages => sometimes!(LostPagesFired),
        Trouble::OutOfSpace { .. } => sometimes!(OutOfSpaceFired),
        Trouble::StalledDisk { .. } => sometimes!(StalledDiskFired),
        Trouble::BitRot { .. } => sometimes!(BitRotFired),
        Trouble::ReadErrors { .. } => sometimes!(ReadErrorsFired),
        Trouble::PhantomWrite => sometimes!(PhantomWriteFired),
        Trouble::MisdirectedWrite => sometimes!(MisdirectedWriteFired),
        Trouble::Drift { .. } => sometimes!(DriftFired),
        Trouble::Suspend { .. } => sometimes!(SuspendFired),
        Trouble::TimerSlack { .. } => sometimes!(TimerSlackFired),
    }
}
