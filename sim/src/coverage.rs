//! Coverage marks of the simulated world: what a good set of runs must have done to the nodes. See [`wattle_core::coverage`].

use wattle_core::coverage::Sighting;

/// Marks a place of the world, if a condition holds there: some of a few thousand runs must come to it.
macro_rules! sometimes {
    ($mark:ident $(, $condition:expr)?) => {
        if true $(&& $condition)? {
            const { assert!($crate::coverage::Mark::$mark.rarity().is_sometimes()) };
            $crate::coverage::Mark::$mark.hit();
        }
    };
}
pub(crate) use sometimes;

/// Marks a place of the world, if a condition holds there: a nightly set of runs should come to it.
macro_rules! rare {
    ($mark:ident $(, $condition:expr)?) => {
        if true $(&& $condition)? {
            const { assert!(!$crate::coverage::Mark::$mark.rarity().is_sometimes()) };
            $crate::coverage::Mark::$mark.hit();
        }
    };
}
pub(crate) use rare;

pub(crate) mod fired;

wattle_core::marks! {
    Sometimes {
        KeyTurned: "a node's key gave way to another";
        CrashedBetweenOutputs: "a node crashed between two outputs of one step";
        CrashTore: "a crash left a torn row";
        CrashLost: "a crash lost rows that no sync had covered";
        ReserveUsedUp: "a row found room neither on the disk nor in its reserve";
        ResumedWithBacklog: "a node that stood still found much that had come meanwhile";
        NodeParted: "a node was evicted or left, and knows it";
        RolledBack: "a disk was put back to an older image";
        LeaderStruck: "a leader was hit because it led";
        SleptUncounted: "a machine slept and its clock stood still";
        CrashedAtAMoment: "a node crashed in the middle of the step that its crash waited for";
        RollBackSpared: "a disk was not rolled back because another node had lost something";
        Forsaken: "a minority stays broken in the healed world";
        ForsakenSpared: "a minority that was to stay broken heals, for the others could not do without it";
        StartCannotRead: "a start could not read a row";
        LossUnnoticed: "a disk had lost what nothing on it shows";
        StartRefused: "a node rightly refused its damaged disk at its start";
        FoundDamageRunning: "a running node found that its disk is damaged";
        GoneForGood: "a node refuses for good, for nobody puts its disk right";
        Misread: "a node was given something else than it had written";
        CuredByRows: "an operator brought damaged rows back";
        CuredByImage: "an operator put an older image in the place of a damaged disk";
        CuredByEmptyDisk: "an operator put an empty disk in the place of a damaged one";
        StartedOnceMore: "a node whose disk was taken back was started again by who had stopped it";
        DiskEmptied: "a disk was emptied and its node joined again";
        NotEmptied: "a disk was not emptied because that could cost the mesh what it owes";
        SomethingLost: "a node lost what it had been told is safe";
        SyncLostPages: "a sync failed and what it covered was lost for good";
        SyncFailed: "a sync failed";
        SpaceEnded: "a write found that not even the reserve is left";
        RowMisdirected: "a row was written in the place of another";
        RowNeverWritten: "a row was reported safe and never written";
        RowRotted: "a row that was safe went bad";
        OnlyMarkSpoke: "a row was damaged of which nothing but a mark of the disk said that it had been safe";
        RowUnreadable: "a row that was safe could not be read any more";
        SlowMachineBehind: "events queued up at a slow machine";
        Flapped: "a flapping link came back";
        StalledTooLong: "a connection broke because nothing went across it for long";
        TranslationForgot: "an address translation forgot a connection";
        LostTooOften: "packets were lost so often that a connection broke";
        QueueTailDropped: "a full queue on the way dropped what came last";
        PacketsLost: "packets were lost and came again";
        FrameVanished: "a frame vanished between two ends";
        FrameReplayed: "an old frame came again";
        BitFlipped: "a bit flipped and reached the decoder";
        SpoiltCaught: "encryption found bytes spoilt";
        ClogSwallowed: "a clogged link swallowed bytes";
        CameInCrumbs: "bytes came in crumbs";
        CrashFired: "a fault began: a crash";
        PauseFired: "a fault began: a pause";
        OneWayCutFired: "a fault began: a one-way cut";
        CutFired: "a fault began: a cut both ways";
        IsolationFired: "a fault began: a node isolated one way or both";
        PartitionFired: "a fault began: a partition";
        ResetFired: "a fault began: a reset";
        SlowLinkFired: "a fault began: a slow link";
        FlapFired: "a fault began: a flapping link";
        SilenceFired: "a fault began: a silent connection";
        HalfOpenFired: "a fault began: a half-open connection";
        OvertakingFired: "a fault began: an overtaken connection";
        RebindingFired: "a fault began: a rebound address";
        SlowDiskFired: "a fault began: a slow disk";
        FullDiskFired: "a fault began: a full disk";
        FailedWriteFired: "a fault began: a failed write";
        RollBackFired: "a fault began: a disk rolled back";
        DeposingFired: "a fault began: a leader deposed";
        WallStepFired: "a fault began: a step of the wall clock";
        LossFired: "a fault began: a lossy link";
        ThinningFired: "a fault began: a link that drops frames";
        CorruptionFired: "a fault began: a corrupting link";
        ReplayFired: "a fault began: a replaying link";
        CongestionFired: "a fault began: a congested link";
        GreyFired: "a fault began: a link that passes small packets only";
        ClogFired: "a fault began: a clogged link";
        DribbleFired: "a fault began: a dribbling link";
        UndialableFired: "a fault began: an address that cannot be dialled";
        TranslationFired: "a fault began: an address translation that forgets";
        SlowNodeFired: "a fault began: a slow node";
        BlockedSenderFired: "a fault began: a node whose sockets are full";
        CrashLoopFired: "a fault began: a loop of crashes";
        EmptyDiskFired: "a fault began: an emptied disk";
        LostPagesFired: "a fault began: a sync that loses pages";
        OutOfSpaceFired: "a fault began: a disk that ends in the middle of a batch";
        StalledDiskFired: "a fault began: a stalled disk";
        BitRotFired: "a fault began: rot";
        ReadErrorsFired: "a fault began: rows that cannot be read";
        PhantomWriteFired: "a fault began: a phantom write";
        MisdirectedWriteFired: "a fault began: a misdirected write";
        DriftFired: "a fault began: a drifting clock";
        SuspendFired: "a fault began: a suspended machine";
        TimerSlackFired: "a fault began: timers that fire late";
    }
    Rare {
        StreamForgotten: "a stream that a node had opened alone was forgotten with its disk";
        LedWithoutTheSilent: "a founder whose disk was taken back led without what only members out of its reach hold";
    }
}

/// All marks of the core and of the world, and whether they were hit in this process.
pub fn all() -> impl Iterator<Item = Sighting> {
    wattle_core::coverage::sightings().chain(sightings())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sources(dir: &Path, text: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if !path.ends_with("coverage.rs") {
                text.extend(std::fs::read_to_string(path).unwrap().split_whitespace());
            }
        }
    }

    #[test]
    fn every_mark_that_is_declared_marks_a_place() {
        let mut text = String::new();
        for crate_of in ["../core/src", "src"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(crate_of), &mut text);
        }
        for mark in all() {
            let word = if mark.rarity.is_sometimes() { "sometimes" } else { "rare" };
            let placed = [")", ","].iter().any(|end| text.contains(&format!("{word}!({}{end}", mark.name)));
            assert!(placed, "{} is declared and marks no place", mark.name);
        }
    }

    #[test]
    fn a_mark_is_dark_until_somebody_comes_there() {
        wattle_core::marks! {
            Sometimes { Seen: "a place"; }
            Rare { Unseen: "another"; }
        }
        Mark::Seen.hit();
        let hits: Vec<_> =
            sightings().map(|mark| (mark.name, mark.rarity.is_sometimes(), mark.hit)).collect();
        assert_eq!(hits, [("Seen", true, true), ("Unseen", false, false)]);
        assert!(!Mark::Unseen.rarity().is_sometimes());
    }
}
