//! Coverage marks: places and states that a good set of simulated runs must come to. A run that never gets there proves
//! nothing about what is there.
//!
//! A mark is declared in a registry, so that one which is never hit is known by name; [`sometimes!`](crate::sometimes) and
//! [`rare!`](crate::rare) mark the place. Without the feature `coverage` a mark is nothing at all. No machine ever reads them.

/// How often a mark must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rarity {
    /// Some of a few thousand runs must come there.
    Sometimes,
    /// So rare that a nightly set of runs may miss it.
    Rare,
}

impl Rarity {
    /// Whether a few thousand runs are enough.
    #[must_use]
    pub const fn is_sometimes(self) -> bool {
        matches!(self, Self::Sometimes)
    }
}

/// A mark of a registry and whether it was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its name.
    pub name: &'static str,
    /// What is seen there.
    pub what: &'static str,
    /// How often it must be seen.
    pub rarity: Rarity,
    /// Whether it was.
    pub hit: bool,
}

/// Declares a registry of marks: an enum `Mark`, and `sightings()`, which tells what was hit in this process.
#[macro_export]
macro_rules! marks {
    ($($rarity:ident { $($mark:ident: $what:literal;)* })*) => {
        /// A mark.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark {
            $($(#[doc = $what] $mark,)*)*
        }

        const MARKS: &[$crate::coverage::Sighting] = &[
            $($($crate::coverage::Sighting {
                name: stringify!($mark),
                what: $what,
                rarity: $crate::coverage::Rarity::$rarity,
                hit: false,
            },)*)*
        ];

        static HIT: [core::sync::atomic::AtomicBool; MARKS.len()] =
            [const { core::sync::atomic::AtomicBool::new(false) }; MARKS.len()];

        impl Mark {
            /// How often it must be seen.
            #[must_use]
            pub const fn rarity(self) -> $crate::coverage::Rarity {
                MARKS[self as usize].rarity
            }

            /// Somebody came there.
            #[inline]
            pub fn hit(self) {
                let hit = &HIT[self as usize];
                // Read first: a line of memory that nobody writes is not fought for.
                if !hit.load(core::sync::atomic::Ordering::Relaxed) {
                    hit.store(true, core::sync::atomic::Ordering::Relaxed);
                }
            }
        }

        /// All marks of the registry, and whether they were hit in this process.
        pub fn sightings() -> impl Iterator<Item = $crate::coverage::Sighting> {
            let hit = |place: usize| HIT[place].load(core::sync::atomic::Ordering::Relaxed);
            MARKS.iter().enumerate().map(move |(place, mark)| $crate::coverage::Sighting { hit: hit(place), ..*mark })
        }
    };
}

/// Marks a place of the core, if a condition holds there: some of a few thousand runs must come to it.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! sometimes {
    ($mark:ident $(, $condition:expr)?) => {
        if true $(&& $condition)? {
            const { assert!($crate::coverage::Mark::$mark.rarity().is_sometimes()) };
            $crate::coverage::Mark::$mark.hit();
        }
    };
}

/// Marks a place of the core, if a condition holds there: a nightly set of runs should come to it.
#[cfg(feature = "coverage")]
#[macro_export]
macro_rules! rare {
    ($mark:ident $(, $condition:expr)?) => {
        if true $(&& $condition)? {
            const { assert!(!$crate::coverage::Mark::$mark.rarity().is_sometimes()) };
            $crate::coverage::Mark::$mark.hit();
        }
    };
}

/// Marks a place of the core: nothing, in this build.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! sometimes {
    ($mark:ident $(, $condition:expr)?) => {{}};
}

/// Marks a rare place of the core: nothing, in this build.
#[cfg(not(feature = "coverage"))]
#[macro_export]
macro_rules! rare {
    ($mark:ident $(, $condition:expr)?) => {{}};
}

marks! {
    Sometimes {
        NextKeyMade: "a node made its next key and kept it on its disk";
        NextKeyShown: "a node began to prove its next key";
        OldKeyGone: "a key that gave way went from its node's disk";
        RetirementWaits: "a leader put off the end of a rotation, for members within reach did not know the next key";
        LinkRenewed: "a neighbour was dialled anew under another key";
        ElectionTimedOut: "a replica gave up on its leader and asked for pre-votes";
        VoteRefused: "a vote was refused because the candidate's log is behind";
        EntriesTruncated: "a follower removed entries that a newer leader does not have";
        AmnesiaProven: "a replica learned from a peer that its disk is older than it thinks";
        OfferProposed: "a leader proposed what a stream's source offered";
        OfferedAnew: "a source offered again what its leader had not answered";
        OfferTakenUnseen: "what a source had offered was taken and released before it saw that";
        OfferWaitsForBytes: "what was offered waited for its bytes";
        BytesOfAnother: "bytes came from another holder than the source";
        MarkUnanswered: "a leader did not answer to a mark";
        SourceAskedToLead: "a leader had the stream's source lead in its place";
        AppendCut: "an append was cut at a batch whose bytes were missing";
        LinkSuperseded: "two connections of a pair were up, and one was closed for the other";
        PreVoteRefusedForALeader: "a replica that hears its leader refused a pre-vote";
        PreVoteBehind: "a pre-vote was refused because the asker's log is behind";
        VoteSpent: "a vote was refused because it had gone to another in that term";
        ElectionHeldAgain: "an election came to nothing and was held again";
        OnlyVoterElectedItself: "the only voter of a group elected itself";
        ForgetfulAskedForVote: "a replica that waits for its memory was asked for its vote";
        LeaderReassured: "a leader answered a request for votes by leading on";
        CandidateHeardHigherTerm: "a refused candidate heard of a higher term";
        VoteTooLate: "a vote was granted too late to count";
        QuorumMissed: "a leader heard no quorum any more";
        LeaderDoubted: "a follower doubted its leader";
        LedUnderFreshId: "a leader began its term under a fresh replica id";
        ElectionPutOff: "an election was put off because the node itself had stood still";
        LogTooShortForMember: "a leader's log did not reach back to what a member lacked";
        DeposedLeaderAnswered: "a deposed leader was told of the newer term";
        FedByRelay: "a learner took entries from a member that does not lead";
        FedReviewed: "a leader asked a learner that others feed whether it has what is committed";
        FeederLate: "a learner did not get in time what its feeder was to send, for the first time";
        FeederDeclined: "a member would not feed a learner";
        FeederGaveUp: "a member told a learner that it feeds it no longer";
        FeederNotToBe: "a feeder leads, or its learner votes, or one of the two is no member";
        ChildSentAway: "a member may not feed a learner any more";
        ChildForgotten: "a learner that was fed did not answer several times";
        AppendBehindBase: "an append fits at the base of a log that was cut";
        AppendRepeated: "an append brought only what was there already";
        AppendRefused: "an append did not fit behind the log it came to";
        AnswerToAFormerLife: "a replica that forgot was answered what it had sent before";
        LeaderGaveUp: "a leader stopped leading because it heard no quorum for long";
        WriteOfCutUnderWay: "a log was cut while what was cut was still being written";
        RunLetGo: "a log let go of the entries of a run, which are on the disk";
        UnhurriedToldAtLast: "a learner that had waited for what is unhurried was told because nothing else followed";
        StoredSent: "a member was sent entries that were read from the disk";
        StoredApplied: "an owner was given entries that were read from the disk";
        StoredCopied: "a copy of a log was given from the disk";
        EntriesReadAhead: "entries were read from the disk before they were asked for";
        LoadShared: "entries that somebody asked for were on their way from the disk already";
        LoadWaitedInLine: "there was no room for another load of entries";
        LoadOutlived: "a log had given up the entries that were read for it";
        CutWithinStored: "a log was to be cut in the middle of a run that is only stored";
        PlaceWithinStored: "a place was compared that lies in the middle of a run that is only stored";
        StartLeftEntriesStored: "a start left entries of a log on the disk";
        AppendBelowBase: "an append ended below the base of the log";
        SnapshotKeptSuffix: "a state was taken over and the log behind it kept";
        RefusalOutdated: "a refusal of an append was outdated";
        MatchOutdated: "an acknowledgement of an append was outdated";
        MemberPaused: "a leader waited for a member that waits for bytes";
        MemberResumed: "a member asked for what it could not hold before";
        AppendUnanswered: "an append was not answered in time";
        ChangeRefused: "a change of members was not taken";
        JointCommitted: "a joint configuration was committed";
        FreshIdAdmitted: "a leader put a fresh replica id in the place of the one before";
        FreshIdKnown: "a replica said again under which fresh id it goes on";
        FormerVoterPromoted: "a voter that had forgotten votes again";
        RolledBackBehindItsId: "a disk was rolled back to before its replica took its present id";
        CopyBegun: "a replica without which nothing is decided forgot and asked for its log";
        FreshIdTaken: "a replica that forgot took a fresh id";
        OthersFound: "a replica that took itself for the only voter heard of others";
        FormerIdAddressed: "somebody spoke to a replica id that was given up";
        MemberReminded: "a leader reminded a member of what it had vouched for";
        GroupStopped: "a group stopped on a node";
        StopHeard: "a member heard that its group stopped";
        RestartVerified: "a restarted replica was told all that it may have vouched for";
        AdmittedUnderFreshId: "a replica was admitted under its fresh id";
        CopyAsked: "a member was asked for the log of another";
        RestOfCopyAskedFor: "bytes came that a copied log waited for, and its rest was asked for";
        CopyBeganWithState: "a log was given back as a state, because it reached back too far";
        CopyDone: "a replica took its log back from the others";
        CopyAskedOfStarting: "a replica that copies its log back was asked something by a member that starts, and waits for that one, too";
        PatienceOver: "the only voter went on without the word of all others";
        NewcomerWaits: "a newcomer was told nothing until another member could name it";
        SnapshotInChunks: "a state was sent in several chunks";
        ChunkUnanswered: "chunks of a state were sent again";
        ReadAskedByMember: "a member asked its leader for an index to read at";
        ReadsShareARound: "several reads were confirmed together";
        NewcomerUnwitnessed: "a newcomer was told though no other member could name it in time";
        SnapshotOutdated: "a state came to a replica that holds more";
        StateTaken: "a state was taken over in the place of a log";
        HeldAppendReplaced: "an append that waited for bytes gave way to another";
        AppendJoined: "an append joined one that waits for bytes";
        HeldAppendPassed: "an append that waited passed when its bytes came";
        PassedAheadOfWhatJoined: "an append passed in front of others that had joined it and still waited for a digest";
        RelayLinkDown: "a relay had no link any more to pass a message on";
        RelayLabelStale: "a relay met a label of an earlier start";
        NoticeCame: "a source heard that a relay dropped its message";
        SourceUnknown: "a message came from a node that is no member as far as was known";
        NoPath: "a message had no way to whom it was for";
        AnsweredTheWayItCame: "a message went back the way that the last one came, for want of a path";
        WayBackNotNeeded: "a way back was forgotten, for a path leads there";
        WayBackLost: "a way back was forgotten with the link that it begins with";
        RestAskedFor: "bytes came, nothing was held that waits for them, and the leader was asked";
        LaneMisbehaved: "a lane brought what makes no sense, and was closed";
        QueueFollowedLink: "what waited for a neighbour went over another lane";
        RowTorn: "a start found a row that cannot be trusted";
        OlderRowsBehind: "rows that an earlier start left stood behind the end of the journal";
        DamageFound: "a start refused because rows that were safe are damaged";
        RowsBehindAHole: "rows behind a hole were given up";
        RowMoved: "what lives in an old row was moved";
        RowMovedForRoom: "what lives in an old row was moved because room is scarce";
        TrimWaitedForLoad: "rows stayed because something was being read from them";
        RecordDiedWhileMoved: "a record died while it was to be moved";
        StepWaitedForEarlierRow: "a step that wrote nothing waited for an earlier row";
        AppendStarved: "an append waited for room on the disk";
        SourceTookBack: "a source took back bytes that its disk had forgotten";
        BytesLookedAt: "an append came while the digest of its bytes was being made";
        AppendHeldForDigest: "an append was held in silence until the digest of its bytes was known";
        AskedAhead: "bytes were asked for ahead of the entry that waits";
        BytesAskedForAgain: "bytes were asked for again";
        ClosedWriterRefused: "a closed writer was refused";
        PausedRefused: "a paused stream took nothing in";
        ThrottledRefused: "a stream took nothing in for a while, for as much as its rate allows was in";
        WriterGapRefused: "a gap in what a writer writes was refused";
        NoRoomRefused: "a publisher was refused because the disk is nearly full";
        DuplicateAnswered: "messages came again under the same writer sequences";
        StagedTakenUp: "a start found parts of a large message that was not whole";
        NoRoomForWhole: "the disk had no room for all of a large message";
        WholeNotAsCalled: "the parts of a large message were not what its publisher called the whole";
        WholeEntered: "all parts of a large message were staged, and entered the outbox";
        PiecesNotTaken: "a handler took the pieces of a large message slower than they came";
        HandedInPieces: "a large message was handed over in pieces";
        PartlyDuplicate: "a request repeated messages and went on with new ones";
        OutboxTakenBefore: "the log held a whole batch that waited to be proposed";
        OutboxTakenInPart: "the log held part of a batch that waited to be proposed";
        Renumbered: "provisional numbers gave way when the session became current";
        AnotherSession: "the log told of the session of another start";
        LogReplacedByState: "a source's log was replaced by a state";
        CreditUsedUp: "a target had no room for the next batch";
        SentFromDisk: "bytes to send were read from the disk";
        SentAgain: "what made no progress was sent again";
        HandlerTakenOver: "a handler took over from another";
        PositionAwaited: "a handler stood above what its node knows";
        WindowFull: "a handler had as much as its window allows";
        MarkRecalled: "a target was told of a mark that its disk forgot";
        AttachSuperseded: "a handler came while another waited to be attached";
        BytesKnown: "bytes came that were there already";
        BytesTooLate: "bytes came that nothing waits for any more";
        ReleasedElsewhere: "a target let go of bytes before it applied the entry that completes them";
        NoWordFromSource: "a target went on without word of its source on what was processed";
        StreamStateTaken: "a stream's state was taken over";
        StreamStopped: "a stream stopped on a node";
        PeerStartedAnew: "the other end of a stream started anew";
        ClosingTakenUp: "a start went on closing a writer";
        RoomCameBack: "a disk had room again for publishers";
        IntakeStopped: "a disk had no room any more even for what sources send";
        DialFailed: "a dial was not answered";
        LaneSilent: "a lane fell silent and was closed";
        HandshakeTimedOut: "a handshake did not end in time";
        OwnStallForgiven: "a node that had stood still accused nobody for it";
        ProbeAnswered: "a lane that was asked to prove itself did";
        LinkSwitched: "a link lost its lane and went on over another";
        FarewellHeard: "the other end said that it leaves a lane";
        HelloRefused: "a hello was refused";
        NeighbourStartedAnew: "a neighbour's new start took the place of the one before";
        RivalTold: "a start was told that another start of its node has its place";
        StrangerEndorsed: "a node that is no member as far as was known showed an endorsement";
        LaneProbed: "a lane was asked to prove itself";
        RedialsBackedOff: "an address that failed often was dialled more rarely";
        PeerFellSilent: "a peer was not heard for so long that it is suspect";
        SuspectIsBack: "a suspect peer was heard again";
        PeerDiskStuck: "a peer was suspect because its disk stands still";
        PeerRestartedQuickly: "a peer started anew before anybody missed it";
        PeerCameNearer: "a peer was told ahead of time that it will hear far more often";
        BeatOutdated: "a heartbeat was overtaken, or of a start that was replaced";
        NodeStoodStill: "a node noticed that it had stood still itself";
        OwnStateOutdone: "a node heard a newer state of its own and went above it";
        StateStale: "a neighbour sent a link state that is older than the one known";
        StateOfNoMember: "a link state came of a node that is no member as far as was known";
        HeldStateTaken: "a link state that came before its origin was a member was taken when it was";
        NewsPutOff: "link states waited because many had just been sent to a neighbour";
        TablesDiffered: "neighbours compared their tables and found a difference";
        PacedDown: "an announcement or a computation was put off because the last one was just before";
        JoinTakenOver: "a join was asked for again with the same token";
        JoinWentOn: "a start went on with a join that an earlier one began";
        JoinAnswerLost: "a joiner lost its connection before an answer came";
        JoinPutOff: "a joiner was told to try again later";
        JoinDialledAgain: "a joiner that heard nothing dialled again";
        MemberToldAgain: "a node that had joined asked again and was told so";
        JoinerCameAnew: "a joiner came again over another connection before it was answered";
        AdmissionWithoutQuorum: "nobody could be admitted for want of a quorum";
        RequestSentOn: "a request was sent on to whom the node asked takes for the leader";
        RequestServedTwice: "a leader was asked for what it was doing already";
        RequestTimedOut: "a request found no quorum in time";
        DecidedTwice: "a request stood in the log twice and was done once";
        VotersDemoted: "voters of the control group became learners, because fewer are wanted";
        WriteConflict: "a write of agreed configuration did not find the version it expected";
        QuestionUnanswered: "the leader of the control group did not answer in time, and was doubted";
        ReadAskedAgain: "a linearizable read was asked for again";
        ReadConfirmedTwice: "a read was confirmed that had been asked for again, or was over";
        WatchBeginsAgain: "a watcher came from before what is remembered, and was told all there is";
        MeshStateTaken: "a member took over the state of the mesh";
        StreamClosedByState: "a state that came closed a stream";
        MembersChangeRefused: "a change of members was refused and is asked for again";
        OtherReplicaOnNode: "another replica took the place of one on the same node";
        WhoIsAsked: "a neighbour was asked who a stranger is";
        UpdateRepeated: "an update was sent again and counted once";
        UpdatesLetGo: "updates were let go, for every member had processed them";
        UpdateHandlerReplaced: "a handler of updates took over from another";
        UpdateHandlerWaits: "a handler of updates came before its node knew where it begins";
        CursorsGathered: "what several members had processed went into one entry";
        MemberIntroduced: "a member was let in on the word of others before the log told of it";
        MemberEvicted: "a member was taken out of the mesh, or left it";
        FormerMemberFenced: "a former member was turned away and told why";
        FenceHeard: "a node was told that it is no member any more";
        ToldOfEviction: "a node believed that it is no member any more, and serves nothing since";
        FormerReplicaMeant: "a message came for a replica that its node gave up when it was taken out";
        MeshCritical: "a node saw the mesh become critical";
        MeshHealthyAgain: "a node saw the mesh become healthy again";
        ToldOfOthersEviction: "a node believed a neighbour that another is no member any more";
        HigherEpochShown: "a neighbour showed a higher mesh epoch";
        RaisedEpochShown: "a neighbour was shown an epoch that had risen since the hello";
        MeshStopped: "a node stopped its mesh";
        StartedStopped: "a node started whose mesh an operator had stopped";
        NodeSaidItStops: "a node heard of another that it stops";
        CameOnline: "a node that had stopped its mesh took part again";
        RefusedAtOnce: "a change was refused at once, for nobody led";
        UnknownKindSkipped: "a message of a kind was skipped that only a later version knows";
    }
    Rare {
        WrongTenantNamed: "what named another tenant than a stream's was refused";
        SessionCameToNothing: "a session entry came to nothing and is proposed again";
        FailedAgain: "a handler failed again at the message it had failed at";
        FailedRefused: "a stream that failed took nothing in";
        FailedResumed: "a stream that had failed was resumed";
        LookedTooLate: "a leader was held up when it was to look whether targets stand still";
        TargetStoodStill: "a target stood still for as long as its stream bears";
        IdleTargetDetached: "a target that stood still was to be detached";
        HeldByRuleAlone: "a target whose records do not say so held still, for its stream failed there";
        StaleFailure: "a target said that a stream failed before it knew that it was resumed";
        StreamToFail: "a handler failed as often as its stream bears";
        FailingHeldUp: "a message was to be parked, and could not be";
        MessageParked: "a message was parked";
        ParkedRetried: "a parked message was handed over again";
        RetriedWell: "a handler processed a message that was parked";
        ParkedDiscarded: "a parked message was discarded";
        PartOfAccepted: "a part came of a message that had been accepted";
        PartOfPausedRefused: "a paused stream took no further part of a message that was begun before";
        PartsWait: "parts came faster than they could be written";
        WholesFull: "a stream kept as many bytes of large messages as it may";
        BegunAnew: "a large message was begun anew while parts of it were staged";
        WholeTakenBefore: "a large message was whole when the log had it already";
        StagedForNothing: "parts were staged of a message that the log, or the outbox, had";
        DeadTailPassed: "a log that goes on without its source ended with parts of a message";
        PartsToCome: "a handler was to be handed a message of which the last part was not taken";
        PartsLeftBehind: "a handler passed parts of a message that never came to be whole";
        RotationUnderWay: "a rotation was asked for while one was under way";
        NextKeyNotMade: "a next key could not be stored";
        RotationPutOff: "a step of a rotation was refused or not answered";
        StartedWithinRotation: "a node started with two keys on its disk";
        KeyLost: "a node saw that its disk holds only keys it gave up";
        RetirementShown: "a node learned from a neighbour that its next key took the place of the present one";
        NextKeyIntroduced: "a member was let in under a key that the log had not told of";
        RetirementByStranger: "somebody who proved no member's key said that the key of this node is retired";
        RetirementContradicted: "a node was shown that its key is retired by a rotation of which the log tells otherwise";
        RenewedInVain: "a node was proven to exist twice while it signed that it is the only copy";
        RotationDisplaced: "another rotation of a node's key took the place of the one it was at";
        JoinsUnderOtherKey: "a joiner that was refused under one of its two keys came with the other";
        StepNotSigned: "a step of a rotation was not signed as it should be, and kept out of the log";
        LinkRenewedAgain: "a neighbour that was dialled anew under another key was so once more";
        RotationAwaitsLog: "the end of a rotation was asked for before the log told how far it is";
        OldKeyNotGone: "an old key could not be taken from the disk";
        IntroducedInVain: "who was let in on the word of a key is none after all: the log says that the key is good no more";
        JoinedUnderLaterKey: "a joiner came with a token older than the key of its door";
        RetiredKeyShown: "who came with a key it gave up was shown that";
        FedRunRefused: "a learner was fed what did not follow what it holds";
        NobodyFeeds: "a learner asked several members to feed it, in vain";
        FedUnasked: "a learner was fed by somebody it had not asked";
        TermHeardFromFeeder: "a learner heard of a later term from whoever feeds it";
        FeederFellBehind: "a learner did not get what was committed from whoever fed it, twice in a row";
        AnswerToAnotherPart: "an answer to what was not sent in this part came from a member";
        FeederDistrusted: "what a feeder sent did not fit what is committed at the learner";
        FeederUnanswered: "a member that was asked to feed a learner did not answer";
        AskerHoldsOther: "a learner that asked to be fed held something else at a committed place";
        ChildHoldsOther: "a learner that is fed held something else than its feeder";
        ChildTooFarBehind: "a learner needed more than its feeder's log held";
        FeederFull: "a member fed as many as it may";
        RivalNamed: "a start named another start of its node that is said to be about";
        ClaimHandedOn: "what a start claims of another was handed on to that one";
        DoubleStopped: "a node stopped because it exists twice";
        DoubleHeardOf: "a node heard that another exists twice";
        BarredShown: "a start of a node that exists twice was turned away";
        OnlyCopyStarted: "a copy of a node was started as the only one";
        RecordsFull: "so many nodes existed twice that a further one was not kept";
        EarlierFounderHeard: "a survivor that was fenced again heard the founder of an earlier recovery";
        FreshIdTakenAnew: "a start took another fresh replica id than its former life";
        NobodyToHandOverTo: "a leader without a quorum of voters that are there handed nothing over";
        LostHoldsMoreUnapplied: "a lost node held entries that it had not applied, and did not follow";
        LostBesideTheEnd: "a lost node had decided something in the place of what others went on from";
        StrangersFound: "a survivor knew members that an order did not name";
        AskedToFoundAgain: "a survivor that could not go on was asked again";
        EarlierRecoveryWritten: "what an earlier founder decided ended a later recovery";
        VoterReplaced: "a learner took the place of a voter that was away for long";
        VotersSpread: "a voter was exchanged for another of a region with fewer";
        StoppedLeading: "a node stopped its mesh while it led what another could";
        StartedWhileStopping: "a node was asked to start its mesh while it was stopping it";
        TransferBegun: "a leader began to hand over";
        TransferGivenUp: "a leader goes on that could not hand over";
        StoodWhenTold: "a voter stood for election because its leader wanted it to";
        GroupWaitedInLine: "a group found the way to a node full of others' entries, and waited for its turn";
        SnapshotResumed: "a state went on where an earlier sending had ended";
        UpdatesFull: "an update found no room, because a member had not processed the oldest";
        SnapshotGivenUp: "a state was sent of which less was there than before";
        SnapshotTooLarge: "a state was larger than is taken";
        SnapshotDamaged: "a state had come whole and was another than was meant";
        OtherSnapshotBegan: "a state began to come before another was whole";
        BegunStateKept: "a state that began to come was kept though another began";
        NoRoomForState: "a state was not taken: those of other groups took the room of the node";
        OfferTakenBack: "a state that waited for its owner was of no use any more";
        StateOvertaken: "the log came as far as a state that was coming in";
        StateOfAnEarlierTerm: "a state was taken in a later term than that in which it was sent";
        HalfStateLetGo: "nothing more came of a state, and what was there was let go";
        CopyGoneOnWith: "a member asked again for a state that was being given to it";
        ReceiptOfARemovedReplica: "a write was durable that a replica made which was removed meanwhile";
        WayBackExpired: "a way back was forgotten, for nothing came by it for long";
        RelayLabelLedBack: "a relay met a label that leads back to where the message came from";
        WelcomeLate: "a node joined and did not catch up in time";
        JoinTimedOut: "a join came to nothing in time";
        PublisherGaveUp: "a publisher waited no more";
        FailureOutOfPlace: "a failure was of no message that a handler is at";
        ParkedInAReplay: "a message was parked that others count as processed";
        ParkedPassedOver: "a handler that replays was led past what is parked";
        ParkedDropped: "what was parked went with its stream";
        RetryFailed: "a handler failed again at a message that was parked";
        RetryLeft: "a handler was gone before it said what came of a parked message";
        VerdictOutOfPlace: "a verdict was about nothing that a handler has to do";
        HandlerReplays: "a handler began below what was processed";
        StreamProposalRefused: "a proposal of a stream was refused and is made again";
        CopyOutdated: "a copied log was behind what was there";
        ProposalRefused: "a proposal was not taken by its group";
        FormedForNothing: "the log had all of a batch before it was formed";
        KnownMembersAsked: "who started anew asked members that its log does not name, or waited for some no longer that it does";
        OnlyVoterHeardOut: "an only voter let somebody else ask for votes before it led again";
        LeaderHeardOut: "an only voter did not follow a leader that contradicts it, and let it show what it has decided";
        FormerLifeShutOut: "what an only voter led in a former life came in behind the answer to its present one";
        TakenForAFormerLife: "a replica was taken for one of its former lives, and asked again";
        LedBesideAnother: "two replicas led one term, and one heard of the other";
        TwoLedOneTerm: "a follower heard of two leaders of one term";
        ForkFound: "two logs held different entries at one place and term";
        CommittedContradicted: "a leader held something else at a place that is committed";
        MemberResumedUnheard: "a member asked for more though its leader had not heard that it waited";
        HistoryBegunByACut: "what an earlier life took for committed was cut off a log, which is in another history since";
        DelusionOver: "more was committed than a replica had decided alone";
        ComparedLater: "a log was not compared with one that others went on from, for it was being read";
        LoadOfARemovedReplica: "entries were read for a replica that is no more";
        MemberHoldsMore: "a member held durably what its leader lacks";
        PromotionTakenOver: "a leader has somebody vote again whom an earlier one had admitted";
        ConfigurationCut: "a configuration was cut off with its entry";
        LeaderVotedOut: "a leader that votes no more stopped leading";
        ForgotTwice: "a disk forgot a replica id that its group knows";
        StoppedAlone: "a replica stopped and the others went on";
        LeaderAskedForItsLog: "who copied its log back asked a leader that had committed more for its own";
        CopyContradictedByALeader: "what was committed where a log was copied back stood otherwise at one who led";
        CopyGaveWay: "a copied log gave way to the later entries of another member";
        CopiedUnderOlderName: "a replica that copied its log back was known under another id";
        OthersVoteSince: "a replica that copied its log back was needed no more before it led";
        NotAnsweredByAll: "a member that was taken in anew was led before all who vote had said that they know of nothing";
        TakenInAnew: "a member came to a stream of its own that was opened before it was taken in anew";
        OthersVoteByNow: "others voted by the time a log was copied back";
        StateNotTaken: "a state came in and was not taken over";
        WrongTarget: "a message arrived at a node that it was not for";
        CongestionMarked: "a message was marked because the queue before it was long";
        WantedGaveWay: "so many bytes were wanted that all but the last gave way";
        ReleasedUnseen: "a batch was released by a state that came, with publishers waiting for it";
        DescriptorOutOfOrder: "a descriptor stood in the log before the one it follows";
        FlightFull: "as much was under way to a target as may be";
        PositionForeign: "a handler stood above the end of its stream";
        OutboxOnDiskFull: "a source had as many bytes on disk for those who are behind as it may";
        WindowBytesFull: "a handler, or a replay, had as many bytes as it may";
        HeldGaveWay: "bytes held for later gave way to bytes needed first";
        SessionForgotten: "a source started anew below a session of which bytes had come";
        BytesNotWhatTheyAreCalled: "bytes came that are not what they are called";
        LedFromLess: "a member remembered more of a replica than that had begun to lead with";
        LogSetBack: "a leader replaced entries by ones of a lower term";
        StateOfAnotherHistory: "a state came that is without what is committed here";
        StreamStateRefused: "a stream's state came and was not taken over";
        StrangersCrowd: "so many strangers were at the door that one was sent away";
        DialledWhileStarting: "a connection came before the start was over";
        EchoAbsurd: "an echo was of the future or the distant past";
        OvertakenWhileConfirming: "a later start of a neighbour was there before its earlier one was confirmed";
        LabelsUsedUp: "a node had as many neighbours as labels";
        LabelGivenAway: "the label of a neighbour that is down was given to another";
        StateExpired: "a link state was forgotten because nobody says it any more";
        HeldStateGivenUp: "link states were given up that waited for their origins to become members, and whole tables asked for";
        FloodInPieces: "link states did not fit into one message";
        JoinedAnImpostor: "a joiner was answered by another key than its token names";
        EarlierJoinUnderWay: "a node asked to join under another replica id before it was answered";
        TokenUseGivenBack: "an admission came to nothing and its use of the token was given back";
        AskedByAStranger: "a leader was asked by a member that it did not know yet";
        OpenedBehindState: "a state came that ends before a stream known to be open was opened";
        MembersPassedOver: "updates were let go before every member had processed them, as the policy allows";
        UpdateGapTold: "a handler was told of updates that are kept no longer";
        UpdatesBeginAtFloor: "a node became a member when updates had been let go";
        UpdateVerdictOutOfPlace: "a verdict was about no update that a handler has to do";
        SecondVoterWaits: "where one votes another has caught up, and waits for a third";
        VotersPromotedTogether: "where one voted several came to vote beside it, by one change";
        GroupConforms: "a group's configuration changed at its owner's word";
        StreamMembersMoved: "a change of a stream's members was recorded, or its outcome";
        TargetDetached: "a target was taken out of its stream";
        LoadedUnwritten: "a payload was asked for in the step that writes it";
        RecordedSaidAgain: "a log that a seal goes on from was to say again what was recorded of the members";
        TargetJoined: "a node became a target of a live stream";
        TargetDeclined: "a node that was to become a target of a live stream did not";
        TargetDraining: "a target was being drained";
        TargetDrained: "a target that was being drained had processed all that it had to";
        TakenOutHeard: "a target that was taken out spoke";
        TakenOutTold: "a target was told that it was taken out";
        ChangeWaitsForCopies: "a change of members waited for those who stay to hold what was told replicated";
        HandlerOfFormerAuthority: "a stream with its source was sealed while a handler was attached to a target that is left";
        RecalledInHand: "others knew of a mark above what a handler was done with, and it had that in its hands";
        DeadTailAwaited: "a handler came to a sealed stream before its log was there up to the mark";
        AttachedBehindUndurable: "a handler was attached behind messages whose processing was not on disk yet";
        HandlerOutrun: "a handler stood below what others know to be processed";
        UpdateHandlerOutrun: "the mesh knew of a higher cursor than a handler stood at";
        UpdateFailedUnwaited: "an update that nobody waited for came to nothing";
        KeptStreamOver: "a stream whose data a former member kept was closed when it was a member again";
        ChangeForbidden: "a change of the configuration was refused, for the mesh is critical";
        NobodyVotesInItsPlace: "a member could not be taken out, for nothing could be decided without it";
        FencedNotReady: "a replica was fenced and could not say yet where its log ends";
        FenceWithdrawn: "a recovery was withdrawn, and its group went on as before";
        StreamSealMoved: "a stream whose group lost its quorum came closer to its seal";
        FounderBeyondEnd: "the log that a sealed stream was to go on from had become longer than it was said to be";
        StreamEndNotKnown: "a survivor could not say yet where its log of a stream ends";
        StreamSettled: "whoever founded a stream's group anew knew its last message";
        SealedOut: "a member found that others go on with its stream without it";
        SealedOutToldSo: "who was shut out of a stream spoke, and was told so";
        BytesAskedOfAnother: "bytes that did not come were asked of the next holder";
        OfferOutOfPlace: "somebody who does not lead was offered something";
        OfferGaveWay: "a leader had too many offers, and dropped the last";
        OfferBehindGap: "what was offered began behind a gap";
        ForeseenEnough: "as much was asked for ahead of the log as may be at one time";
        ReplayBelowFloor: "somebody wanted to read again what was gone";
        ReplayOutrun: "what a replay was to be handed next was let go";
        ReplayedInPieces: "a replay was handed a piece of a large message";
        TimeStamped: "a leader wrote the time into the log of a stream with a retention";
        ReplayBegun: "somebody read again what was processed and is kept";
        HistoryGaveWay: "what was kept for its own sake went before its time, for want of room";
        StampsThinned: "too many stamps of time were remembered";
        ReplayLeft: "a handler that replayed was gone before it had caught up";
        TargetPassed: "a target that is out, or was drained of less, took a state from behind messages that it did not process";
        SealedFromWhoIsOut: "a sealed stream goes on from the log of a target that this log takes out";
        NeededAfterAll: "a replica that gave up its id was told that nothing is decided without it, and copied its log back";
        ReturnsAsLearner: "a former voter that returns under a fresh id is to learn from now on";
        LeaderResigned: "a leader whose owner stopped left its group to others";
        ReplicatedAskedFor: "a source that does not lead asked what most members hold";
        MarkProvesCommitted: "a mark told that more of a log is committed than was known after a start";
        SealAwaited: "a handler's position waited for it to be known where its authority ended";
        WantedLetGo: "bytes were wanted no more, for what named them counts no more";
        WantPutOff: "a member asked again for bytes it had just been given, or for many at once";
        HeldOfAnEarlierTerm: "an append of an earlier term was let go of that waited for bytes";
        OfferedBehindGap: "a source heard that what it had offered began behind a gap";
        OfferedAgain: "what was offered was in the log already, or of a session that was over";
        OfferDoesNotContinue: "what was offered did not continue its writers";
        AuthorityAwaited: "a handler's position was given under an authority its node did not know yet";
        PositionAboveSealMet: "a handler stood above the end at which its authority was sealed";
        PositionOfOldAuthority: "a handler went on with a position of before a seal";
        EraEntered: "a replica went on under a recovery";
        OtherEraShutOut: "a message of another recovery came to a replica";
        FounderLacksCommitted: "the furthest log lacked what another survivor knows to be committed";
        GroupFounded: "a group that lost its quorum was founded anew";
        RecoveryWritten: "the lost were taken out by a recovery";
        RecoveryRepeated: "a survivor was fenced for another recovery before the first one came to an end";
        RecoveryDeclined: "a survivor declined a recovery";
        LostSideParted: "a lost member learned of the recovery, and belongs to no mesh";
        LostSideRival: "a lost member that decided something since the recovery refused to give that up";
        RowOfAnEarlierStart: "a row that an earlier start left stood in the place of one that was never written";
    }
}
