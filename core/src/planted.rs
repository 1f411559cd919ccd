//! Deliberate bugs, to measure whether the simulator finds them. Without the feature `planted` every question is
//! answered `false` at compile time and costs nothing.
//!
//! A bug is counted as *reached* whenever the place it sits in is passed, and as *triggered* whenever what the machine does
//! there differs from what it should do: a bug that is reached and never triggered wants another workload, one that is
//! triggered and never detected another checker.

/// What a bug is a bug of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Elections, replication, amnesia, configuration changes of a group.
    Raft,
    /// Seeding, joining, members, the registry.
    Mesh,
    /// Accepting, the gate, handlers, watermarks.
    Stream,
    /// What a node holds back for the disk, and what it makes of a failed write.
    Durability,
    /// Rows, recovery scan, trims.
    Journal,
    /// Link states, paths, relaying.
    Route,
    /// Handshakes, lanes, keepalive, pair heartbeats.
    Link,
    /// How a node connects its parts.
    Node,
}

impl Family {
    /// All of them, with the names used on the command line.
    pub const ALL: [(&'static str, Self); 8] = [
        ("raft", Self::Raft),
        ("mesh", Self::Mesh),
        ("stream", Self::Stream),
        ("durability", Self::Durability),
        ("journal", Self::Journal),
        ("route", Self::Route),
        ("link", Self::Link),
        ("node", Self::Node),
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// What is known of a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which one.
    pub bug: Bug,
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is a bug of.
    pub family: Family,
    /// Its mechanism, in a line.
    pub mechanism: &'static str,
}

macro_rules! bugs {
    ($($family:ident { $($bug:ident = $name:literal: $mechanism:literal;)* })*) => {
        /// A bug that can be switched on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $mechanism] $bug,)*)*
        }

        impl Bug {
            /// All of them, by family.
            pub const ALL: &'static [Description] = &[
                $($(Description {
                    bug: Self::$bug,
                    name: $name,
                    family: Family::$family,
                    mechanism: $mechanism,
                },)*)*
            ];
        }
    };
}

bugs! {
    Raft {
        ConformedBeforeCommitted = "conformed-before-committed":
            "a stream is told that its group goes on without a member before the configuration without it is committed (R37)";
        FencedStillVotes = "fenced-still-votes":
            "a survivor of a lost quorum says where its log ends, and goes on voting for the lost and acknowledging what they send";
        EraNotCompared = "era-not-compared":
            "a group that was founded anew hears those who were lost";
        FounderNotHighest = "founder-not-highest":
            "a group is founded anew by the survivor whose log ends first";
        BegunFounderWaits = "begun-founder-waits":
            "who founded a group anew and is ordered to again takes its own vote for a quorum, and waits for ever";
        RecallLiftsFence = "recall-lifts-fence":
            "what a survivor asks another under an earlier recovery ends the fence of a later one";
        LearnerTakenForCertain = "learner-taken-for-certain":
            "all that a learner holds is taken for committed, though it may have been about to vote";
        RenamedIdKept = "renamed-id-kept":
            "a start waits for a fresh replica id to be admitted that an earlier life may have spoken under";
        VoteNotPersisted = "vote-not-persisted":
            "a vote is granted without its record: after a crash the replica votes again in the same term";
        OldTermCommit = "old-term-commit":
            "a leader commits an entry of an older term by counting replicas (Raft, figure 8)";
        AmnesicVotes = "amnesic-votes":
            "a replica that was told it is amnesic votes and acknowledges all the same";
        FormerLifeNotFenced = "former-life-not-fenced":
            "what an only voter led before it started anew is heard behind the answer to its new life";
        QuorumOffByOne = "quorum-off-by-one":
            "an entry counts as committed one replica short of a majority";
        OutgoingHalfIgnored = "outgoing-half-ignored":
            "a joint configuration decides by the majority of its new voters alone";
        LearnersCounted = "learners-counted":
            "acknowledgements of learners count towards commitment";
        LeaderCountsUnsynced = "leader-counts-unsynced":
            "a leader counts its own log before its disk holds it";
        OwnVoteTwice = "own-vote-twice":
            "a candidate adds its own vote to a count that holds it already";
        VoteForOlderLog = "vote-for-older-log":
            "a vote is granted to a candidate whose log is behind the voter's";
        VoteByLength = "vote-by-length":
            "a vote is granted to the longer log, whatever the term of its last entry";
        StepDownForgetsVote = "step-down-forgets-vote":
            "whoever hears of a leader of its own term forgets whom it voted for in it";
        StaleVoteCounted = "stale-vote-counted":
            "a vote granted in an earlier term counts in this one";
        PreVoteCounted = "pre-vote-counted":
            "an answer to the preliminary question, coming late, counts as a vote";
        VoteMissesTermsRow = "vote-misses-terms-row":
            "a term that rises with a vote is written without the vote";
        OwnVoteNotWritten = "own-vote-not-written":
            "a candidate writes its new term, and not that it voted for itself";
        ElectionNotRearmed = "election-not-rearmed":
            "an election that nobody answers is not held again";
        HeardTermNotWritten = "heard-term-not-written":
            "a term that others began is not written until something else is";
        SuspicionStays = "suspicion-stays":
            "a node that is heard again stays suspected in its groups";
        DeposedLeaderObeyed = "deposed-leader-obeyed":
            "an append of an earlier term is taken";
        MatchAssumed = "match-assumed":
            "a leader takes for acknowledged where it begins to send";
        MatchedByIndex = "matched-by-index":
            "an append fits behind an entry of the right index and the wrong term";
        CommitNotClamped = "commit-not-clamped":
            "a leader's commit index covers what a follower holds beyond what the leader sent";
        OwnEndAcknowledged = "own-end-acknowledged":
            "a follower acknowledges all it holds, not what the append covered";
        CutsBehindEqual = "cuts-behind-equal":
            "an append that ends early cuts off what follows it, though nothing differs";
        WrittenNotLowered = "written-not-lowered":
            "a write under way counts for what stands now where a cut took away what it wrote";
        ConfigurationSurvivesCut = "configuration-survives-cut":
            "a configuration stays in force when its entry is cut off";
        OldVotersAreAQuorum = "old-voters-are-a-quorum":
            "a survivor of a sealed stream that voted by an earlier configuration says nothing of where its log ends";
        NeededIdGivenUp = "needed-id-given-up":
            "a replica that forgot that it alone votes waits for ever to be admitted under a fresh id (C3)";
        ComesUnderKnownId = "comes-under-known-id":
            "a node that comes to a group which others founded bears the id that follows from its name, though its disk may have forgotten what that vouched for (C5)";
        SecondVotesFirst = "second-votes-first":
            "the voter that is alone in a stream's group is given one other beside it, so that neither may be missed";
        ReturnsAsVoter = "returns-as-voter":
            "a former voter that returned under a fresh id is promoted though its group was changed to do without its vote";
        TwoChangesUnderWay = "two-changes-under-way":
            "a configuration is changed before the change before it is committed";
        WholeLogCommittedAtStart = "whole-log-committed-at-start":
            "a restarted replica takes everything in its log for committed";
        SnapshotOffByOne = "snapshot-off-by-one":
            "a snapshot names the place behind the last entry it holds";
        SnapshotKeepsConfiguration = "snapshot-keeps-configuration":
            "the configuration known before stays in force behind a snapshot";
        ChainNotCompared = "chain-not-compared":
            "entries of equal index and term count as equal, whatever they hold (rule C1)";
        MarksNotTold = "marks-not-told":
            "a restarted replica is answered without what it vouched for (rule C2)";
        MarksNotWritten = "marks-not-written":
            "what others vouched for is kept in memory only (rule C2)";
        LearnersHearUncommitted = "learners-hear-uncommitted":
            "a learner of the control group is sent entries before they are committed";
        UncommittedPassedOn = "uncommitted-passed-on":
            "a voter passes on to learners what it holds and does not know to be committed";
        FedRunNotCompared = "fed-run-not-compared":
            "a learner puts what it is fed behind what it holds, though the chain says that it belongs elsewhere";
        FedTermIgnored = "fed-term-ignored":
            "a learner takes what it is fed and stays in an earlier term, the leader of which need not have it";
        SilentFeederKept = "silent-feeder-kept":
            "a learner that did not get what was committed keeps the feeder that was to send it";
        FedNeverReviewed = "fed-never-reviewed":
            "a leader takes it that who is fed by another gets everything, and never asks";
        FedTakenForMatched = "fed-taken-for-matched":
            "a leader takes it that who is fed by another holds everything that is committed";
        FedInCircles = "fed-in-circles":
            "a learner feeds whoever asks, also one that feeds it through others";
        FeedsAnyNumber = "feeds-any-number":
            "a member feeds all learners that ask";
        CutKeepsOldConfiguration = "cut-keeps-old-configuration":
            "a log that is cut keeps the configuration of its former base beside the new one";
        OnlyVoterAsksNobody = "only-voter-asks-nobody":
            "the only voter leads again at once, without asking its learners (rule C3)";
        KnownMembersNotAsked = "known-members-not-asked":
            "who starts anew asks whom its log names, and not those who are recorded to have come since (rule C3)";
        NewcomerToldAtOnce = "newcomer-told-at-once":
            "an only voter tells a newcomer what nobody else knows yet, and nobody else can name it (rule C3)";
        ListNotCompared = "list-not-compared":
            "who follows a leader anew does not hear again what that node says it leads (rule E3)";
        RestOfCopyNotAsked = "rest-of-copy-not-asked":
            "what was cut off a copied log is not asked for when its bytes come, only when time is up (rule B2)";
        ReadBeforeOwnTerm = "read-before-own-term":
            "a read is served by a leader that has decided nothing in its term (etcd#7331)";
        ReadRoundReused = "read-round-reused":
            "a read is confirmed by late answers to the round of an earlier one (etcd-io/raft#397)";
        LeaderReadsAlone = "leader-reads-alone":
            "a leader serves reads without asking whether it still leads";
        ChunkMisplaced = "chunk-misplaced":
            "a chunk of a snapshot is appended though the one before it was lost, and the whole is not checked";
        ReadsAlikeInEachLife = "reads-alike-in-each-life":
            "an answer to a read of the life before confirms one of this life";
        RestOfCopyGivenUp = "rest-of-copy-given-up":
            "who copies its log back leads without the rest of a log of which it was told how far it goes (rule C3)";
        CommitProvesOthers = "commit-proves-others":
            "who copies its log back takes it that others decide without it where a leader has committed more (rule C3)";
        AppendedFreesOthers = "appended-frees-others":
            "who forgot takes it that others decide without it by a configuration that is only appended (rule C3)";
        PromotionForgotten = "promotion-forgotten":
            "a leader does not have those vote again whom an earlier one had admitted under a fresh replica id";
        UnadmittedPromoted = "unadmitted-promoted":
            "a leader has a fresh replica id vote whose admission it could not begin, and which its node has given up since";
        FormerReplicaHolds = "former-replica-holds":
            "what a replica held counts after its node came back under a fresh id: a message is told replicated that too few hold (rule C5)";
        SourceKeepsItsCount = "source-keeps-its-count":
            "a source that goes on past a seal tells replicated what it counted with those who are lost";
        SealTellsFenced = "seal-tells-fenced":
            "a handler is told at a seal that another took over, and so that it must not attach again";
        OtherHistoryInstalled = "other-history-installed":
            "a state takes the place of what is committed here and is not in it, and all that is gone counts as completed (rule C2)";
        LedFromLessBelieved = "led-from-less-believed":
            "a later term hides that a replica began to lead without what it had vouched for (rule C2)";
        KeptIdLeads = "kept-id-leads":
            "who copied its log back because it was needed, and is not any more, keeps its id and leads under it (rule C2)";
        SetBackUnnoticed = "set-back-unnoticed":
            "a replica whose log a leader rightly set back is taken for one whose disk was rolled back once it has led (rule C2)";
        OlderTailStopsCopy = "older-tail-stops-copy":
            "a lagging member's uncommitted tail counts against what others have committed, and stops the copy (rule C3)";
        OwnVoteBeforeDurable = "own-vote-before-durable":
            "a candidate asks for votes and counts its own before that is on disk";
        AcknowledgedUnsynced = "acknowledged-unsynced":
            "a follower acknowledges entries before they are on disk";
        UnhurriedForgotten = "unhurried-forgotten":
            "who only learns is not told at last what it need not hear of at once";
        SourceSendsUnsynced = "source-sends-unsynced":
            "the only voter sends entries before they are on its disk (rule A3)";
        AppliedBeforeDurable = "applied-before-durable":
            "committed entries are applied before they are on the own disk";
        CutEntriesReadBack = "cut-entries-read-back":
            "a start keeps entries that a later run cut off and did not replace";
        CutEntriesRiseAgain = "cut-entries-rise-again":
            "no empty run takes over from the last one when the base reaches the log's end";
        MatchesUnsorted = "matches-unsorted":
            "the list of what members acknowledged is taken for sorted when it is not (openraft#1802)";
        HalfIsEnough = "half-is-enough":
            "half of an even number of voters decides (hashicorp/raft 163a55f)";
        SilentVotersLeftOut = "silent-voters-left-out":
            "voters that a leader has not heard yet are not counted among the voters (openraft beb0302)";
        CommitGoesBack = "commit-goes-back":
            "a follower's commit index follows its leader's down, too (PySyncObj#166)";
        RemovedLeaderCounts = "removed-leader-counts":
            "a leader that is voted out counts its own log in the place of a voter's (nats-server#7600)";
        SecondAnswerCounted = "second-answer-counted":
            "a vote that comes twice counts as two (xraft#27)";
        CandidateVotesAgain = "candidate-votes-again":
            "a candidate grants another the vote that it gave itself (nebula#3415)";
        PreVoteTermIgnored = "pre-vote-term-ignored":
            "a higher term in a refused preliminary answer is not heard (openraft#1796)";
        TermSetBack = "term-set-back":
            "an append that does not fit takes the term back to that of the entry in its place (nats-server#5684)";
        PreVoteTakesVote = "pre-vote-takes-vote":
            "a preliminary answer is recorded as the vote of the term (ra#608)";
        OriginFitsAlways = "origin-fits-always":
            "an append from the very beginning of the log replaces what is here behind a snapshot (willemt/raft#118)";
        MatchGoesBack = "match-goes-back":
            "an answer that was overtaken lowers what a member is known to hold (raftos#25)";
        OlderAnswerCounted = "older-answer-counted":
            "an answer to an append of an earlier term counts in this one (openraft cecb5de)";
        OutdatedSnapshotTaken = "outdated-snapshot-taken":
            "a snapshot is taken that ends below what is committed here (etcd#1763)";
        SnapshotDropsSuffix = "snapshot-drops-suffix":
            "a snapshot cuts off entries behind it that agree with it (etcd#1763)";
        SnapshotSetsTerm = "snapshot-sets-term":
            "the term becomes that of a snapshot, though it was higher (redisraft#49)";
        ConfigurationActsAtCommit = "configuration-acts-at-commit":
            "a configuration decides once it is committed rather than appended (etcd#11284)";
        BytesStayUnderWay = "bytes-stay-under-way":
            "what was under way to a member goes on counting when it is given up (etcd-io/raft#54)";
        EvictedUnsynced = "evicted-unsynced":
            "a log lets go of entries that are not durable, or not applied";
        EvictedNotCountedBack = "evicted-not-counted-back":
            "what a log lets go of goes on counting as held";
        LoadNotCountedBack = "load-not-counted-back":
            "a load that was answered goes on counting as under way";
        LoadWakesNobody = "load-wakes-nobody":
            "whoever waited for entries from the disk is not told that they were read";
        ReadChainNotCompared = "read-chain-not-compared":
            "entries read back are used though their chain is not the one that the log had there";
        HistoryIgnored = "history-ignored":
            "what was committed in any history of a log counts as committed in the one it is in after a start";
        StoredTakenForUndecided = "stored-taken-for-undecided":
            "a start does not know that what it left on the disk is committed";
        DelusionForgotten = "delusion-forgotten":
            "a replica that decided alone forgets at a start that it learned of the others, and stops them";
        HistoryOutlivesCut = "history-outlives-cut":
            "a log goes on in its history though what an earlier life took for committed was cut off it";
        OtherMeasureReleased = "other-measure-released":
            "what is proposed is added by one measure and taken off by another (cockroach#31618)";
        CutLogNotSent = "cut-log-not-sent":
            "a leader whose whole log is cut off sends a member that lacks it no snapshot (openraft#1828)";
        TakenOutNeverStands = "taken-out-never-stands":
            "a leader that alone holds the change by which it votes no longer does not stand for election after a restart (thesis 4.2.2)";
        NewVoterDoesNotStand = "new-voter-does-not-stand":
            "who hears that it votes while its leader is in doubt does not stand: nobody will tell it again that it should";
        StateStaysCounted = "state-stays-counted":
            "what a state took that came in goes on counting when it is whole or given up";
        CopyNamesWhatIsGone = "copy-names-what-is-gone":
            "a log is copied back from where it was cut, and not from where its owner still has the bytes (rule B1)";
    }
    Mesh {
        RotationNotSigned = "rotation-not-signed":
            "the next key of a member is taken without the old key's signature";
        RotationNumberIgnored = "rotation-number-ignored":
            "rotations of a key are not compared by number, and an old one comes back";
        NewKeyShownEarly = "new-key-shown-early":
            "a node proves its next key before the mesh agreed on it";
        NextKeyNotStored = "next-key-not-stored":
            "a next key is agreed on that is not on the disk of its node";
        UpdateCursorBeforeHandler = "update-cursor-before-handler":
            "the cursor of a handler of updates is stored when they are handed over, not when it has succeeded";
        UpdatesCutAtQuickest = "updates-cut-at-quickest":
            "updates are let go once one member has processed them";
        SnapshotForgetsUpdateIds = "snapshot-forgets-update-ids":
            "the state sent to a member names only the ids of updates that are kept: a repeat is taken for another update there";
        OpenReplaces = "open-replaces":
            "a stream that is opened again under its name gets another life";
        SnapshotForgetsDecisions = "snapshot-forgets-decisions":
            "a snapshot of the control group's state is without the requests decided";
        SnapshotForgetsStreams = "snapshot-forgets-streams":
            "a snapshot of the control group's state is without the streams";
        RosterNotWritten = "roster-not-written":
            "a node that joined forgets with a restart whom it was told of";
        MemberMarkNotWritten = "member-mark-not-written":
            "a start forgets the members that came since the stored state";
        NewMembersNotTold = "new-members-not-told":
            "the links and routes of a node do not hear of members that come after its own admission";
        TakenInAnewFounds = "taken-in-anew-founds":
            "a member that was taken in anew founds the streams that were opened before (rule C5)";
        OpenedMarkNotWritten = "opened-mark-not-written":
            "a start takes a stream opened since the stored state for closed";
        AnsweredBeforeCommit = "answered-before-commit":
            "a stream is said to be open when its entry is proposed";
        RefusedByWhatItKnows = "refused-by-what-it-knows":
            "a node that does not know a stream yet refuses to close it, without asking the log";
        ServedNotForgotten = "served-not-forgotten":
            "requests of an earlier term stay known as served";
        CutBeforeStateStored = "cut-before-state-stored":
            "the control group's log is cut, and the state at the cut is not written";
        ClosedMarkNotWritten = "closed-mark-not-written":
            "a start takes a stream closed since the stored state for open";
        ExpectedVersionIgnored = "expected-version-ignored":
            "a write of agreed configuration is done whatever version it expects";
        ReadNotConfirmed = "read-not-confirmed":
            "a linearizable read is answered from what the asked node has applied";
        WatchSkipsForgotten = "watch-skips-forgotten":
            "a watcher that comes from before what is remembered is told what is remembered, as if that were all";
        SnapshotForgetsConfiguration = "snapshot-forgets-configuration":
            "a snapshot of the control group's state is without the agreed configuration";
        OneSidedClaim = "one-sided-claim":
            "a start that names another takes that for the proof that both are about";
        ClaimNotChecked = "claim-not-checked":
            "what is said of a node's identity is believed under whatever signature";
        DoubleGoesOn = "double-goes-on":
            "a node that is shown that it exists twice goes on";
        KeptUnderOldReplica = "kept-under-old-replica":
            "the only copy of a node goes on under the replica ids that another copy bore, too";
        EpochNotCompared = "epoch-not-compared":
            "a node that was evicted is let in again on its old admission: nobody compares mesh epochs";
        ReturnedStaysVoid = "returned-stays-void":
            "the word of a member that was evicted counts for nothing with who was away since, although it is shown that it was let in again";
        LostJudgedByIndex = "lost-judged-by-index":
            "who is named lost counts what it has applied behind the recovered log's last number, and not what it holds unapplied or beside it";
        StrangersPassedOver = "strangers-passed-over":
            "a member that only some survivors know is not asked, and is taken out with the lost";
        FoundsAfterRefusal = "founds-after-refusal":
            "who refused to found the control group anew does so when it is asked again, beside whoever was asked since";
        WithdrawalWaitsForEnds = "withdrawal-waits-for-ends":
            "a recovery is not taken back while a survivor cannot say where its log ends";
        StoppedAnswersRefused = "stopped-answers-refused":
            "a change that is under way when the mesh stops is answered as not done";
        SealKeepsAuthority = "seal-keeps-authority":
            "the seal of a stream leaves it under the authority it had";
        ChangedWhileSealed = "changed-while-sealed":
            "that a change of a stream's members is done is recorded while a seal asks them, and by whom the seal leaves behind";
        RulesNotWritten = "rules-not-written":
            "a rule that pauses streams is not written beside the stored state: a source that starts anew takes messages in until it has heard how far the log is committed (M82)";
        StaleFailureCounts = "stale-failure-counts":
            "a stream that was resumed fails again by what its target had said before it knew of that (M86)";
        IdleBelowPolicy = "idle-below-policy":
            "a target that stands still is detached though those who are left are fewer than the policy asks for (M87)";
        ResumedTogether = "resumed-together":
            "who resumes one stream resumes its tenant with it";
        SealWaitsForOne = "seal-waits-for-one":
            "where a sealed stream ends is fixed when the first survivor has answered";
        SealedAtFurthest = "sealed-at-furthest":
            "a sealed stream goes on from the furthest log by its numbers, though it lacks what another survivor knows to be committed";
        LostHaveASay = "lost-have-a-say":
            "who is named lost says where a sealed stream ends";
        SealNotWritten = "seal-not-written":
            "a survivor forgets with a restart that it said where its log of a stream ends";
        RecoveryFenceNotWritten = "recovery-fence-not-written":
            "a survivor forgets with a restart that it said where its log ends";
        RecoveryEpochNotRaised = "recovery-epoch-not-raised":
            "a recovery lets the lost go on being members, at the old mesh epoch";
        EvictedStaysVoter = "evicted-stays-voter":
            "a voter that is evicted goes on being counted among the voters";
    }
    Stream {
        JoinedBeforeCaughtUp = "joined-before-caught-up":
            "a node becomes a target of a live stream before it holds anything of it (S28)";
        JoinForgottenByState = "join-forgotten-by-state":
            "the state of a stream says nothing of the targets that joined (S28)";
        AddedCountsForEarlier = "added-counts-for-earlier":
            "a target that joined counts for what is in front of its joining (S28)";
        ReleasePassesNewcomer = "release-passes-the-newcomer":
            "what a target owes that joined is let go when the others are past it (S28)";
        ReplicatedByNewcomer = "replicated-by-the-newcomer":
            "what most hold with a target that is being added is told replicated, though most of those who were there before do not hold it (D1)";
        RatesBeginAnew = "rates-begin-anew":
            "when a rule about streams changes, what all rates have let in is forgotten (S31)";
        PartsNotPaused = "parts-not-paused":
            "a paused stream goes on taking parts of large messages that were begun before (S30)";
        MembersBeforeEntry = "members-before-entry":
            "whoever leads a stream does without a target as soon as that is intended, before the log says so (S21)";
        UnwrittenNotFound = "unwritten-not-found":
            "a payload that is asked for in the step that writes it is taken for lost";
        AskedOneByOne = "asked-one-by-one":
            "what a source that began is asked for shows nobody that it sends nothing else: the bytes that the log names behind are waited for, each in its turn (S19)";
        ReplayBeforeJoining = "replay-before-joining":
            "a replay at a target whose log does not say yet that it is one goes by the mark that others tell it (S37)";
        RecordedNotSaid = "recorded-not-said":
            "whoever goes on with a sealed stream whose log lacks what was recorded of its members does not have it say so (S38)";
        DrainForgetsLast = "drain-forgets-last":
            "a target that is being drained is done without before it has processed all that was in front of that (S21)";
        ToldForgotten = "told-forgotten":
            "who begins to lead a stream takes a target out before those who stay hold what was told replicated under leaders before (D1)";
        ReplicatedByWhoGoes = "replicated-by-who-goes":
            "while a target is on its way out, what is held by most of the old members counts as replicated, whoever of those who stay holds it (D1)";
        CopiedWithoutCompleted = "copied-without-completed":
            "a target is taken out before those who stay hold what it alone processed and so completed (D1)";
        TakenOutCounts = "taken-out-counts":
            "a target that was taken out counts again once it is heard again (S22)";
        TakenOutPassesAll = "taken-out-passes-all":
            "a target that was taken out takes over from a state that it processed what others let go (S22)";
        TakenOutTakesNothing = "taken-out-takes-nothing":
            "a target that was taken out, and is behind the log, takes no state and acknowledges nothing, though its group may need it yet (S22)";
        ChangeProposedOnce = "change-proposed-once":
            "whoever leads next does not go on with a change of members that the one before began";
        SealedOutGoesOn = "sealed-out-goes-on":
            "a source that was named lost and came back goes on accepting";
        PositionAboveSeal = "position-above-seal":
            "a handler that stands above the end at which its authority was sealed is taken";
        OrphansDropped = "orphans-dropped":
            "what a source accepted that was shut out of its stream is dropped";
        DescriptorWithoutPayload = "descriptor-without-payload":
            "a member appends a descriptor without holding its payload";
        HandlerBeforeCommit = "handler-before-commit":
            "a handler is called for messages above the commit index";
        DedupeForgotten = "dedupe-forgotten":
            "the writers' table is forgotten at a restart";
        ProposedUnderOldEpoch = "proposed-under-old-epoch":
            "what an earlier start accepted is proposed under that start's session (rule A2)";
        SentBeforeDurable = "sent-before-durable":
            "a batch's bytes leave the source before its record is durable (rule A3)";
        NotRenumbered = "not-renumbered":
            "provisional sequences stay as they are when the session becomes current (rule A4)";
        DedupeByNumber = "dedupe-by-number":
            "what bears a number that the log has passed counts as taken, whoever wrote it (rule A4)";
        ProvisionalCalledFinal = "provisional-called-final":
            "a receipt calls a provisional sequence final (rule A4)";
        ForeignSession = "foreign-session":
            "the session entry of another start is taken for this start's own (rule A5)";
        SessionNotProposedAgain = "session-not-proposed-again":
            "a session entry that came to nothing is not proposed on the new predecessor (rule A5)";
        SessionCurrentWhenProposed = "session-current-when-proposed":
            "a session counts as current when it is proposed rather than applied (rule A5)";
        WriterGapAccepted = "writer-gap-accepted":
            "a gap in a writer's sequence is accepted (rule A7)";
        ClosedWriterGoesOn = "closed-writer-goes-on":
            "a closed writer may go on";
        ClosingForgotten = "closing-forgotten":
            "a restart forgets which writers are being closed";
        DedupeDiesWithRecords = "dedupe-dies-with-records":
            "a writer's place is written only while a record of its messages is kept";
        AcceptedBeforeDurable = "accepted-before-durable":
            "accepted is answered when the record is handed in for writing";
        RepeatAnsweredBeforeDurable = "repeat-answered-before-durable":
            "a repeat is answered from memory though the record of the first is not durable";
        RepeatToldBatchStart = "repeat-told-batch-start":
            "a repeat that begins within a writer's run is told the sequence at which the run begins";
        FindWriterUndurable = "find-writer-undurable":
            "a writer is told to go on behind messages that are not durable";
        QueueReversed = "queue-reversed":
            "what is queued goes before what was queued earlier";
        ReplicatedByOne = "replicated-by-one":
            "what the source alone holds is called replicated";
        CompletedOneTooMany = "completed-one-too-many":
            "one message more than was marked is completed";
        CompletionOnce = "completion-once":
            "the completion under way is not cleared when it is applied";
        ReleasedOnCommit = "released-on-commit":
            "the source lets go of a batch when it is taken rather than completed";
        TrimmedOneTooFar = "trimmed-one-too-far":
            "the lowest record that is alive is forgotten with the dead ones";
        StateAheadOfFloor = "state-ahead-of-floor":
            "the state is written as of the last entry applied, with records above the floor still needed";
        LogCutAtHead = "log-cut-at-head":
            "the log is cut at the last entry applied rather than at the floor";
        SlotsUsedTwice = "slots-used-twice":
            "a restart gives out slots again that were trimmed (rule B1)";
        BytesWakeNobody = "bytes-wake-nobody":
            "bytes come that an append waits for, and it is not offered again (rule B2)";
        RestNotAskedFor = "rest-not-asked-for":
            "what the gate had to drop is not asked for when bytes come (rule B2)";
        CutNotSaid = "cut-not-said":
            "an acknowledgement does not say that the rest of the append waits (rule B2)";
        RoomWakesNobody = "room-wakes-nobody":
            "room comes back on the disk and no append that waits for it is offered again";
        ReplayHoldsOn = "replay-holds-on":
            "a handler that replays goes, and what was kept for it alone is kept until something else happens (S26)";
        SnapshotWithoutMark = "snapshot-without-mark":
            "a state is taken over without the mark that goes with it";
        PositionUnchecked = "position-unchecked":
            "a handler's position above what is known here is believed (rule D4)";
        PartsDeduped = "parts-deduped":
            "a writer counts as having written a large message when its first part is staged: the second is taken for a repeat";
        PartAcknowledged = "part-acknowledged":
            "each piece of a large message that is handed over counts as processed";
        OverflowAcked = "overflow-acked":
            "of a large message that an application takes slowly the rest is dropped, and counts as processed";
        StagedForgotten = "staged-forgotten":
            "a start begins without what was staged";
        PartsOfTwoMessages = "parts-of-two-messages":
            "a large message that is begun anew is stored over the one before, of which parts are left";
        WholeUnchecked = "whole-unchecked":
            "parts are not held against the digest of the whole";
        ParkedWithoutMark = "parked-without-mark":
            "a message is parked, and the mark does not move past it in the same step (S27)";
        MarkWithoutParked = "mark-without-parked":
            "the mark moves past a message that is to be parked, and no record of it is written (S27)";
        ParkedHandedAgain = "parked-handed-again":
            "who replays is handed what is parked (S27)";
        AttemptsForgotten = "attempts-forgotten":
            "a start counts the attempts of the message that fails anew (S29)";
        IdleClockRunsOn = "idle-clock-runs-on":
            "a target that goes on slowly is detached for standing still: its time is counted from when it first had something to process (S43)";
        FailedTriesOn = "failed-tries-on":
            "a target goes on handing over the message that failed its stream, for a handler that comes anew (S41)";
        FailedTakesIn = "failed-takes-in":
            "a source whose stream failed takes messages in";
        ParkedToldBeforeDurable = "parked-told-before-durable":
            "a handler is told to go on behind a message before that it is parked is durable (S29)";
        RetryMovesPosition = "retry-moves-position":
            "success with a parked message counts for all that its handler was handed (S27)";
        ParkedLostWithRelease = "parked-lost-with-release":
            "what is parked goes with the bytes of the log (S27)";
        VerdictInsideMessage = "verdict-inside-message":
            "success is taken for sequences that lie inside a large message";
        WindowCountsUndurable = "window-counts-undurable":
            "a call whose mark is not durable no longer counts in the window (rule F1)";
        AttachedBehindDeadTail = "attached-behind-dead-tail":
            "after a start a handler is told to go on behind parts at the end of a sealed log, of which nobody was handed anything";
        FormerCallsForgotten = "former-calls-forgotten":
            "calls of a former handler whose marks are not durable do not count in the window of the one that follows it (rule F1)";
        RecalledMarkSettles = "recalled-mark-settles":
            "what others know to be processed counts as done by the handler that has it in its hands, and it is given more than its window";
        MarkNotWritten = "mark-not-written":
            "a mark is not written (rule F1)";
        MarkToldBeforeDurable = "mark-told-before-durable":
            "a mark is told before it is durable (rule F2)";
        MarkRoundsUp = "mark-rounds-up":
            "success within a batch marks everything of the batch that was handed over";
        StaleVerdictCounts = "stale-verdict-counts":
            "what a replaced handler says counts";
        TakeoverSkipsUnfinished = "takeover-skips-unfinished":
            "a handler that takes over goes on behind what the one before was handed";
        CompletedByAny = "completed-by-any":
            "a message is completed when any target has processed it, whatever the policy";
        ReleasedBeforeSlowest = "released-before-slowest":
            "bytes go that are completed, though a target has not processed them";
        ReplicatedCountsVoters = "replicated-counts-voters":
            "replicated is told when most voters hold a message, not most members";
        KeptByOneLimit = "kept-by-one-limit":
            "messages go as soon as one of the limits of a retention lets them, though another wants them (S35)";
        ReplayMovesMark = "replay-moves-mark":
            "what a replay is done with is written down as what is processed, so that a start goes on there (S37)";
        ReplayAheadOfHandler = "replay-ahead-of-handler":
            "a replay is handed what the stream's handler has not processed (S37)";
        ReplaySkipsGap = "replay-skips-gap":
            "a replay whose next message is let go is handed what follows the gap (S37)";
        ReplicatedByPolicy = "replicated-by-policy":
            "what the policy calls completed is called replicated, though fewer than most members may hold it";
        HandlerOutlivesAuthority = "handler-outlives-authority":
            "a handler is handed messages of an authority that began after it was attached (rule D4)";
        OffersNotRepeated = "offers-not-repeated":
            "what a source offered to a leader is not offered again, to that one or the next (rule A1)";
        GapAppended = "gap-appended":
            "a leader appends what is offered behind a gap (rule A6)";
        MarkNotRestated = "mark-not-restated":
            "a mark is not told again to a new leader (rule E3)";
        SourceNotSteeredTo = "source-not-steered-to":
            "whoever leads a stream goes on leading while its source could";
        StoppedStillLeads = "stopped-still-leads":
            "a member at which a stream stopped goes on leading its group, and nothing is done any more";
        StoppedAskedToLead = "stopped-asked-to-lead":
            "a source that has stopped, and not said so, is handed over to again and again";
        ReplicatedByTheLost = "replicated-by-the-lost":
            "what a leader counted before a seal, with those who are lost, counts after it (S18)";
        ReplicatedToldOnce = "replicated-told-once":
            "a source that does not lead, and missed that most members hold something, does not ask";
        MarkProvesNothing = "mark-proves-nothing":
            "what a survivor of a stream processed is not taken for committed when the stream is sealed";
        SupersededByStateGoesOn = "superseded-by-state-goes-on":
            "a source that finds another start's session in a state goes on, and opens the next (rule A5)";
        FounderAsksTheSource = "founder-asks-the-source":
            "a target that founded a stream anew waits for its source to say where the log ends";
        WantedForEver = "wanted-for-ever":
            "bytes are asked for on and on that a leader named whose append nobody goes on with";
        FormerEndForgotten = "former-end-forgotten":
            "the second seal of a stream forgets where the first one ended it (rule D4)";
        UnsettledPositionTaken = "unsettled-position-taken":
            "a position of an authority that was sealed is held against what was taken since, before it is known where that ended (rule D4)";
        AnybodyRecallsMarks = "anybody-recalls-marks":
            "what any member says of a target's mark moves it (rule C4)";
        BytesOfAnybody = "bytes-of-anybody":
            "bytes that were asked of one member are taken of another (S20)";
        EveryWantAnswered = "every-want-answered":
            "a member is given the same bytes as often as it asks (S20)";
        OffersUnweighed = "offers-unweighed":
            "offers are counted and not weighed, and a source makes whoever leads keep a gigabyte";
        CompletionsUncounted = "completions-uncounted":
            "what a slow target leaves standing in the log beside batches is not counted";
        StartKeepsSession = "start-keeps-session":
            "a source that starts anew is still held to the sessions and numbers of its former start";
    }
    Durability {
        SendBeforeSync = "send-before-sync":
            "what must wait for the disk leaves at once";
        ReleasedOneRowEarly = "released-one-row-early":
            "what waits for a row leaves when the row before it is on disk";
        RowlessStepWaitsForNothing = "rowless-step-waits-for-nothing":
            "a step that writes nothing does not wait for what was written before it";
        FailedWriteIgnored = "failed-write-ignored":
            "a node goes on after a failed write, as if it could be tried again";
    }
    Journal {
        PayloadsNotChecked = "payloads-not-checked":
            "payloads are read back without comparing their checksums";
        HeadsNotChecked = "heads-not-checked":
            "the header and the heads of a row are read back without comparing their checksum";
        TornRowSkipped = "torn-row-skipped":
            "rows behind a torn one count";
        OlderGenerationJoins = "older-generation-joins":
            "rows left behind by an earlier start count behind those of a later one";
        RowChainIgnored = "row-chain-ignored":
            "a row counts though the next one was written behind another";
        StoreMarkIgnored = "store-mark-ignored":
            "what the store itself says was durable counts for nothing";
        OlderRecordWins = "older-record-wins":
            "of two records with one key the older one is read back";
        MovedRecordBornAnew = "moved-record-born-anew":
            "a record that is moved loses its place in the order";
        TrimBeforeFloorDurable = "trim-before-floor-durable":
            "rows are trimmed before the row that states the floor is on disk";
        TrimOneTooFar = "trim-one-too-far":
            "the first row that lives is trimmed with those before it";
        TrimmedUnderLoad = "trimmed-under-load":
            "a row is trimmed while something is being read from it";
        ForgetTakesSpanningRun = "forget-takes-spanning-run":
            "a run of which only the beginning is forgotten dies as a whole";
    }
    Route {
        StoppedNotCompared = "stopped-not-compared":
            "tables of link states count as equal whether or not a node says there that it is stopped";
        RouteLoop = "route-loop":
            "a relay whose next link is down sends the message back the way it came, without counting the hop, and no relay minds";
        TtlKept = "ttl-kept":
            "a relay passes the ttl on as it came";
        TtlBeforeArrival = "ttl-before-arrival":
            "a message that has used up its ttl is dropped by the node it is for";
        StaleLabelFollowed = "stale-label-followed":
            "labels of an earlier start are followed, the end does not look whom a message is for, and no relay minds that one comes back";
        GenerationNotCompared = "generation-not-compared":
            "link states are compared by sequence alone: a restarted node begins low and is not believed";
        OwnStateNotOutdone = "own-state-not-outdone":
            "a node that hears a newer state of its own does not jump above it";
        PathsNotRecomputed = "paths-not-recomputed":
            "a link goes down and the paths over it stay";
        TableNeverSent = "table-never-sent":
            "a neighbour that is to be sent the whole table is not";
        FloodNotPassedOn = "flood-not-passed-on":
            "a link state that came is not passed on";
        HeldStateNotTaken = "held-state-not-taken":
            "a link state that came before its origin was a member is not taken when it is";
        OneWayLinkUsed = "one-way-link-used":
            "paths lead over links that one end alone lists";
        AnnouncementLost = "announcement-lost":
            "an announcement too soon after the last one is lost rather than put off";
    }
    Link {
        LinkRenewedOnce = "link-renewed-once":
            "a link whose node has two keys is renewed once and no more, whatever comes of that";
        RetiredKeyAccepted = "retired-key-accepted":
            "keys that a member gave up are good on connections and under what is signed";
        BarNotKept = "bar-not-kept":
            "starts of a node that exists twice are neighbours all the same";
        PauseUnderstated = "pause-understated":
            "a beat to a far peer says that the next one comes as soon as to a near one";
        DeadLaneKept = "dead-lane-kept":
            "a lane that fell silent is noticed and kept";
        KeepsOwnDial = "keeps-own-dial":
            "of two lanes each end keeps the one it dialled";
        SwitchNotTold = "switch-not-told":
            "a link moves to another lane and what it carries stays with the old one";
        NewBootJoinsOldLink = "new-boot-joins-old-link":
            "a lane of a neighbour's new start joins the link of the start before";
        NobodyRedials = "nobody-redials":
            "a target is not armed again when its link goes down";
        RedialGivesUp = "redial-gives-up":
            "an address that failed three times is not dialled again";
        BackoffNeverResets = "backoff-never-resets":
            "a link that held for long does not bring the pause between dials back down";
        GenerationToldEarly = "generation-told-early":
            "a hello leaves before its generation is durable";
        BeatsAcrossStarts = "beats-across-starts":
            "the numbers of heartbeats are compared across starts of their sender";
        OldLifeAdmitted = "old-life-admitted":
            "a late heartbeat of a start that was replaced counts";
        QuickRestartUnnoticed = "quick-restart-unnoticed":
            "a peer that restarts before it is suspect is not reported as another start";
        SilenceUnnoticed = "silence-unnoticed":
            "a peer that falls silent is never suspect";
        RecoveryNotTold = "recovery-not-told":
            "a suspect peer that is heard again is not reported alive";
    }
    Node {
        Canary = "canary":
            "fails at once, whatever happens: it shows that failures are noticed";
        AnsweredTwice = "answered-twice":
            "an answer of the stream part is given twice";
        SpaceIgnored = "space-ignored":
            "news of free space reaches nobody";
        LoadToWrongAsker = "load-to-wrong-asker":
            "of two loads under way the later one is answered with what the earlier one asked for";
        WorkToWrongPart = "work-to-wrong-part":
            "work done for the mesh part is reported to the stream part";
        LinkDownNotTold = "link-down-not-told":
            "the routes do not hear of a link that went down";
    }
}

impl Bug {
    /// The bug of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|entry| entry.name == name).map(|entry| entry.bug)
    }

    /// What is known of it.
    #[must_use]
    pub const fn describe(self) -> &'static Description {
        &Self::ALL[self as usize]
    }
}

/// Which bug, if any, this machine carries. A value, not a global: two simulations in one process do not disturb each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Planted {
    /// No bug.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            #[cfg(feature = "planted")]
            bug: None,
        }
    }

    /// Plants `bug`.
    #[cfg(feature = "planted")]
    #[must_use]
    pub const fn only(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether `bug` is planted, at a place where that always makes a difference.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn has(self, bug: Bug) -> bool {
        self.strikes(bug, || true)
    }

    /// Whether `bug` is planted, at a place where it makes a difference only if `differs`.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn strikes(self, bug: Bug, differs: impl FnOnce() -> bool) -> bool {
        if self.bug != Some(bug) {
            return false;
        }
        counts::reached(bug);
        let strikes = differs();
        if strikes {
            counts::triggered(bug);
        }
        strikes
    }

    /// Whether `bug` is planted: never, in this build.
    #[cfg(not(feature = "planted"))]
    #[must_use]
    #[inline(always)]
    pub const fn has(self, _bug: Bug) -> bool {
        false
    }

    /// Whether `bug` is planted and makes a difference: never, in this build, and nothing is asked.
    #[cfg(not(feature = "planted"))]
    #[must_use]
    #[inline(always)]
    pub fn strikes(self, _bug: Bug, _differs: impl FnOnce() -> bool) -> bool {
        false
    }
}

/// How often bugs were reached and triggered in this process: totals for a table, which no machine reads.
#[cfg(feature = "planted")]
pub mod counts {
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::Bug;

    static REACHED: [AtomicU64; Bug::ALL.len()] = [const { AtomicU64::new(0) }; Bug::ALL.len()];
    static TRIGGERED: [AtomicU64; Bug::ALL.len()] = [const { AtomicU64::new(0) }; Bug::ALL.len()];

    pub(super) fn reached(bug: Bug) {
        REACHED[bug as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn triggered(bug: Bug) {
        TRIGGERED[bug as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was reached and how often triggered so far.
    #[must_use]
    pub fn of(bug: Bug) -> (u64, u64) {
        let read = |counts: &[AtomicU64]| counts[bug as usize].load(Ordering::Relaxed);
        (read(&REACHED), read(&TRIGGERED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_described_under_its_own_number_and_a_name_of_its_own() {
        for (place, entry) in Bug::ALL.iter().enumerate() {
            assert_eq!((entry.bug as usize, entry.bug.describe()), (place, entry));
            assert_eq!(Bug::named(entry.name), Some(entry.bug));
            let words = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(entry.name.chars().all(words), "{}", entry.name);
        }
        for (place, (name, family)) in Family::ALL.into_iter().enumerate() {
            assert_eq!((family as usize, family.name()), (place, name));
        }
    }
}
