use super::*;
use wattle_core::id::NodeId;

const GROUP: GroupId = GroupId(9);

fn place(index: u64, term: u64, content: u8) -> Place {
    Place { index: LogIndex(index), term: Term(term), chain: Chain([content; 16]) }
}

fn stand(replica: u128, role: RoleName, commit: u64) -> GroupPlace {
    GroupPlace {
        group: GROUP,
        replica: ReplicaId(replica),
        role,
        term: Term(1),
        vote: None,
        era: 0,
        commit: LogIndex(commit),
        durable: Place::default(),
        last: Place::default(),
    }
}

/// A follower whose log ends there.
fn ended(replica: u128, index: u64) -> GroupPlace {
    let end = place(index, 1, index as u8);
    let vote = Some(Member { node: NodeId(1), replica: ReplicaId(1) });
    GroupPlace { vote, durable: end, last: end, ..stand(replica, RoleName::Follower, index) }
}

#[test]
fn who_shows_the_same_again_need_not_be_judged_again_unless_something_else_was_told() {
    let mut logs = Logs::default();
    let places = [stand(1, RoleName::Follower, 3)];
    assert!(!logs.has_shown(0, 1, true, &places), "nothing was shown");
    let shown = |logs: &mut Logs| {
        logs.shows(0, 1, true, Some(8), &places);
        assert!(logs.has_shown(0, 1, true, &places));
    };
    shown(&mut logs);
    assert!(!logs.has_shown(1, 1, true, &places), "another node");
    assert!(!logs.has_shown(0, 2, true, &places), "another life");
    assert!(!logs.has_shown(0, 1, false, &places), "something is not synced");
    assert!(!logs.has_shown(0, 1, true, &[stand(1, RoleName::Follower, 4)]), "another place");
    assert!(!logs.has_shown(0, 1, true, &[]), "no place");
    logs.stands(0, 1, places[0]).unwrap();
    let tell: [fn(&mut Logs); 4] = [
        |logs| logs.told(1, GROUP),
        |logs| logs.rolled_back(0),
        |logs| logs.counts(0, GROUP),
        |logs| logs.emptied(1),
    ];
    for (number, tell) in tell.into_iter().enumerate() {
        shown(&mut logs);
        if number == 2 {
            // What it was taken back from is forgotten with its next standing: then to count changes something.
            logs.before.clear();
        }
        tell(&mut logs);
        assert!(!logs.has_shown(0, 1, true, &places), "after telling {number}");
        assert!(!logs.has_shown_version(0, 1, true, Some(8)), "after telling {number}");
    }
}

#[test]
fn a_node_is_not_asked_again_under_the_version_under_which_it_showed_everything() {
    let mut logs = Logs::default();
    let places = [stand(1, RoleName::Follower, 3)];
    assert!(!logs.has_shown_version(0, 1, true, Some(8)), "nothing was shown");
    logs.shows(0, 1, true, Some(8), &places);
    assert!(logs.has_shown_version(0, 1, true, Some(8)));
    assert!(!logs.has_shown_version(1, 1, true, Some(8)), "another node");
    assert!(!logs.has_shown_version(0, 2, true, Some(8)), "another life");
    assert!(!logs.has_shown_version(0, 1, false, Some(8)), "something is not synced");
    assert!(!logs.has_shown_version(0, 1, true, Some(9)), "something may have moved");
    logs.shows_still(0, Some(9));
    assert!(logs.has_shown_version(0, 1, true, Some(9)), "it moved, and came back");
    logs.shows(0, 1, true, None, &places);
    assert!(!logs.has_shown_version(0, 1, true, None), "a node that tells no version is always asked");
}

#[test]
fn equal_logs_pass_and_another_entry_at_a_committed_place_does_not() {
    let mut logs = Logs::default();
    logs.committed(0, GROUP, place(1, 1, 1)).unwrap();
    logs.committed(1, GROUP, place(1, 1, 1)).unwrap();
    logs.committed(1, GroupId(8), place(1, 1, 2)).unwrap();
    logs.committed(0, GROUP, place(3, 1, 3)).unwrap();
    for wrong in [place(1, 2, 1), place(1, 1, 2), place(3, 1, 1)] {
        assert_eq!(logs.committed(2, GROUP, wrong).unwrap_err().checker, "X12");
    }
}

#[test]
fn only_what_is_new_in_a_life_is_looked_at() {
    let mut logs = Logs::default();
    let stand = |commit| stand(1, RoleName::Follower, commit);
    assert_eq!(logs.news(0, 0, &stand(4)), Some(LogIndex(0)));
    logs.stands(0, 0, stand(4)).unwrap();
    assert_eq!(logs.news(0, 0, &stand(4)), None);
    assert_eq!(logs.news(0, 0, &stand(6)), Some(LogIndex(4)));
    assert_eq!(logs.news(0, 1, &stand(2)), Some(LogIndex(0)), "a new life shows everything again");
}

#[test]
fn a_rolled_back_disk_excuses_a_group_only_if_nobody_told_it() {
    let mut logs = Logs::default();
    logs.committed(0, GROUP, place(1, 1, 1)).unwrap();
    logs.committed(0, GROUP, place(2, 1, 2)).unwrap();
    logs.committed(1, GROUP, place(2, 1, 2)).unwrap();
    logs.committed(0, GROUP, place(3, 1, 3)).unwrap();
    logs.committed(1, GROUP, place(3, 1, 3)).unwrap();
    logs.stands(0, 0, ended(5, 2)).unwrap();
    logs.stands(1, 0, GroupPlace { durable: place(2, 1, 2), ..stand(7, RoleName::Learner, 3) }).unwrap();
    assert!(logs.holds_alone(0, GROUP) && logs.holds_alone(1, GROUP), "no disk reaches as far as entry 3");
    assert!(!logs.holds_alone(0, GroupId::CONTROL), "nothing was committed there");
    logs.rolled_back(0);
    assert!(!logs.holds_alone(0, GROUP), "what it alone had is void");
    logs.committed(0, GROUP, place(1, 2, 7)).expect("it alone had that committed");
    logs.committed(0, GROUP, place(3, 2, 7)).expect("the other had it in memory only");
    logs.stands(0, 1, stand(5, RoleName::Verifying, 1)).unwrap();
    assert!(!logs.excused(GROUP));
    let mut told = logs;
    told.told(0, GROUP);
    assert_eq!(told.committed(1, GROUP, place(2, 2, 8)).unwrap_err().checker, "X12");
    told.stands(0, 1, stand(6, RoleName::Leader, 1)).expect("under a fresh name it counts again");
    assert_eq!(told.stands(0, 1, stand(5, RoleName::Leader, 1)).unwrap_err().checker, "X13");
    let mut unnoticed = Logs::default();
    unnoticed.committed(1, GROUP, place(2, 1, 2)).unwrap();
    unnoticed.stands(0, 0, ended(5, 2)).unwrap();
    unnoticed.rolled_back(0);
    unnoticed.stands(0, 1, stand(5, RoleName::Follower, 1)).unwrap();
    assert!(unnoticed.excused(GROUP));
    unnoticed.committed(0, GROUP, place(2, 2, 8)).unwrap();
}

#[test]
fn a_group_that_decides_again_is_excused_for_what_follows_only_if_nobody_who_knew_was_heard() {
    let again = |heard: usize| {
        let mut logs = Logs::default();
        logs.several_vote(GROUP, vec![0, 1, 2]);
        logs.committed(0, GROUP, place(2, 1, 2)).unwrap();
        logs.committed(1, GROUP, place(2, 1, 2)).unwrap();
        logs.stands(0, 0, ended(5, 2)).unwrap();
        logs.stands(1, 0, ended(7, 2)).unwrap();
        logs.rolled_back(0);
        logs.stands(0, 1, stand(5, RoleName::Follower, 1)).unwrap();
        logs.committed(2, GROUP, place(2, 2, 8)).unwrap();
        assert!(logs.is_second(2, GROUP) && !logs.decided_twice(GROUP), "who could tell is not known yet");
        logs.second(2, GROUP, |other| other == heard);
        logs
    };
    assert!(again(0).decided_twice(GROUP), "what it knew was taken from it");
    let mut logs = again(1);
    assert!(!logs.decided_twice(GROUP), "it was heard");
    logs.second(2, GROUP, |_| false);
    assert!(!logs.decided_twice(GROUP), "what counts is whom it heard when it decided");
}

#[test]
fn who_is_a_founder_again_with_an_empty_disk_need_not_hear_of_what_few_know() {
    let again = |know: usize| {
        let mut logs = Logs::default();
        logs.several_vote(GROUP, vec![0, 1, 2]);
        logs.stands(0, 0, GroupPlace { role: RoleName::Leader, ..ended(5, 2) }).unwrap();
        for other in 1..=know {
            logs.stands(other, 0, ended(5 + other as u128, 2)).unwrap();
        }
        logs.committed(1, GROUP, place(2, 1, 2)).unwrap();
        logs.emptied(0);
        logs.stands(0, 1, stand(5, RoleName::Verifying, 0))?;
        logs.stands(0, 1, stand(5, RoleName::Follower, 0))?;
        assert!(logs.excused(GROUP));
        logs.committed(0, GROUP, place(2, 2, 8))
    };
    again(1).expect("it asked the other one");
    assert_eq!(again(2).unwrap_err().checker, "X13", "whomever it asked knew");
    let mut logs = Logs::default();
    logs.stands(0, 0, ended(5, 2)).unwrap();
    logs.emptied(0);
    logs.stands(0, 1, stand(5, RoleName::Follower, 0)).unwrap();
    assert!(!logs.excused(GROUP), "who alone votes asks all");
}

#[test]
fn who_came_and_forgot_it_with_its_disk_bears_another_name() {
    let begins_anew = |comes: bool, replica: u128| {
        let mut logs = Logs::default();
        if comes {
            logs.come_later(GROUP, vec![0]);
        }
        logs.stands(0, 0, ended(5, 2)).unwrap();
        logs.emptied(0);
        logs.stands(0, 1, stand(replica, RoleName::Amnesic, 0))
    };
    begins_anew(true, 6).expect("a fresh one");
    begins_anew(false, 5).expect("it is one of the founders");
    assert_eq!(begins_anew(true, 5).unwrap_err().checker, "X13");
    let mut logs = Logs::default();
    logs.come_later(GROUP, vec![0]);
    logs.stands(0, 0, ended(5, 2)).unwrap();
    logs.emptied(0);
    logs.rolled_back(0);
    logs.stands(0, 1, ended(5, 2)).expect("its disk is one of before");
}

#[test]
fn what_another_node_never_had_on_disk_is_void_with_the_disk_that_had_it() {
    let held = |synced: bool| {
        let mut logs = Logs::default();
        logs.stands(0, 0, ended(5, 2)).unwrap();
        logs.stands(1, 0, ended(7, 1)).unwrap();
        for node in [0, 1] {
            logs.committed(node, GROUP, place(2, 1, 2)).unwrap();
        }
        let snapshot = GroupPlace { role: RoleName::Learner, ..ended(7, 2) };
        if synced { logs.stands(1, 0, snapshot) } else { logs.stands_unsynced(1, 0, snapshot) }.unwrap();
        logs.emptied(0);
        logs.committed(0, GROUP, place(2, 2, 8))
    };
    assert_eq!(held(true).unwrap_err().checker, "X12");
    held(false).expect("a snapshot that was never synced keeps nothing");
}

#[test]
fn who_was_told_and_forgets_that_again_has_not_regained_what_it_lost() {
    let mut logs = Logs::default();
    logs.committed(0, GROUP, place(2, 1, 2)).unwrap();
    logs.committed(1, GROUP, place(2, 1, 2)).unwrap();
    logs.stands(1, 0, GroupPlace { durable: place(1, 1, 1), ..stand(7, RoleName::Learner, 2) }).unwrap();
    logs.stands(0, 0, ended(5, 2)).unwrap();
    logs.rolled_back(0);
    let back = GroupPlace { role: RoleName::Amnesic, ..ended(5, 1) };
    logs.stands(0, 1, back).unwrap();
    logs.told(0, GROUP);
    logs.rolled_back(0);
    logs.stands(0, 2, GroupPlace { role: RoleName::Verifying, ..back })
        .expect("as it was before it was told");
    assert!(!logs.excused(GROUP), "it does not count yet");
    let mut renamed = GroupPlace { role: RoleName::Leader, ..ended(5, 1) };
    logs.stands(0, 2, renamed).expect("nobody told it in this life");
    assert!(logs.excused(GROUP));
    logs.committed(0, GROUP, place(2, 2, 8)).unwrap();
    let mut logs = Logs::default();
    logs.stands(0, 0, ended(5, 2)).unwrap();
    logs.rolled_back(0);
    logs.stands(0, 1, back).unwrap();
    logs.told(0, GROUP);
    renamed.replica = ReplicaId(6);
    logs.stands(0, 1, renamed).unwrap();
    logs.rolled_back(0);
    logs.stands(0, 2, renamed).expect("under its fresh name it lost nothing");
    assert!(!logs.excused(GROUP));
    logs.rolled_back(0);
    renamed = GroupPlace { role: RoleName::Amnesic, replica: ReplicaId(8), ..ended(5, 1) };
    logs.stands(0, 3, renamed).unwrap();
    renamed.role = RoleName::Leader;
    logs.stands(0, 3, renamed).expect("its disk knew that it had given up its id, and it took yet another");
    assert!(!logs.excused(GROUP));
}

#[test]
fn nodes_of_any_number_are_remembered() {
    let mut nodes = NodeSet::default();
    for node in [1_999, 0, 63, 64, 63] {
        nodes.insert(node);
    }
    assert!(nodes.iter().eq([0, 63, 64, 1_999]));
}

#[test]
fn a_streams_voter_that_counts_with_less_than_its_learner_holds_was_not_told() {
    let back = |learner_holds: u64, learner_rolled_back: bool| {
        let mut logs = Logs::default();
        logs.stands(0, 0, ended(5, 3)).unwrap();
        logs.stands(1, 0, ended(7, learner_holds)).unwrap();
        logs.rolled_back(0);
        if learner_rolled_back {
            logs.rolled_back(1);
            logs.stands(1, 1, GroupPlace { role: RoleName::Verifying, ..ended(7, learner_holds - 1) })
                .unwrap();
        }
        logs.stands(0, 1, ended(5, 1))
    };
    assert_eq!(back(2, false).unwrap_err().checker, "X13");
    back(1, false).expect("the learner never heard of what was lost");
    back(3, true).expect("what the learner's disk forgot it cannot tell");
}

#[test]
fn a_roll_back_that_took_nothing_from_a_group_excuses_nothing_in_it() {
    let mut logs = Logs::default();
    logs.stands(0, 0, ended(5, 2)).unwrap();
    logs.rolled_back(0);
    logs.counts(0, GROUP);
    logs.stands(0, 1, GroupPlace { role: RoleName::Leader, ..ended(5, 2) }).unwrap();
    logs.stands(0, 1, GroupPlace { group: GroupId(8), ..ended(5, 2) }).expect("opened since");
    assert!(!logs.excused(GROUP) && !logs.excused(GroupId(8)));
    let losses: [fn(&mut GroupPlace); 4] = [
        |place| place.term = Term(0),
        |place| place.vote = None,
        |place| place.last = super::tests::place(1, 1, 1),
        |place| place.replica = ReplicaId(4),
    ];
    for lose in losses {
        let mut logs = Logs::default();
        logs.stands(0, 0, ended(5, 2)).unwrap();
        logs.rolled_back(0);
        let mut back = ended(5, 2);
        lose(&mut back);
        logs.stands(0, 1, back).unwrap();
        assert!(logs.excused(GROUP), "{back:?}");
    }
}

#[test]
fn what_a_replica_did_not_notice_is_not_regained_by_another_roll_back() {
    let mut logs = Logs::default();
    logs.stands(0, 0, ended(5, 2)).unwrap();
    logs.rolled_back(0);
    logs.stands(0, 1, GroupPlace { role: RoleName::Verifying, ..ended(5, 1) }).unwrap();
    logs.rolled_back(0);
    logs.stands(0, 2, ended(5, 1)).unwrap();
    assert!(logs.excused(GROUP));
}

#[test]
fn an_entry_that_a_rival_could_undo_was_not_committed() {
    let member = |n: u64| Member { node: NodeId(n.into()), replica: ReplicaId(n.into()) };
    let configuration = Configuration::simple((1..=3).map(member).collect(), Vec::new());
    let ballot = |n, durable: Place, holds: bool| Ballot {
        member: member(n),
        durable,
        rival: (!holds).then_some((durable, &configuration)),
    };
    let check = |ballots: &[Ballot<'_>]| Logs::default().cannot_be_lost(GROUP, place(2, 2, 1), ballots);
    let (first, second) = (ballot(1, place(2, 2, 1), true), ballot(2, place(2, 2, 1), true));
    let behind = ballot(3, place(1, 1, 0), false);
    check(&[first.clone(), second.clone(), behind.clone()]).unwrap();
    // Figure 8 of the paper: the third holds a newer term, the first two hold the entry of an older one.
    let newer = ballot(3, place(2, 3, 9), false);
    let lost = check(&[first.clone(), second, newer]).unwrap_err();
    assert_eq!(lost.checker, "X12");
    let lost = check(&[first.clone(), ballot(2, place(1, 1, 0), false), behind.clone()]).unwrap_err();
    assert_eq!(lost.checker, "X12", "held by one of three");
    let halves = Configuration { outgoing: vec![member(1)], ..configuration.clone() };
    let joint = Ballot { rival: behind.rival.map(|(last, _)| (last, &halves)), ..behind };
    check(&[first, ballot(2, place(2, 2, 1), true), joint]).expect("both halves must elect");
}

#[test]
fn a_word_that_never_was_on_disk_is_forgotten_with_the_life_that_heard_it() {
    for kept in [false, true] {
        let mut logs = Logs::default();
        logs.committed(1, GROUP, place(2, 1, 2)).unwrap();
        logs.stands(0, 0, ended(5, 2)).unwrap();
        logs.rolled_back(0);
        logs.stands(0, 1, stand(5, RoleName::Verifying, 1)).unwrap();
        logs.told(0, GROUP);
        let amnesic = stand(5, RoleName::Amnesic, 1);
        if kept { logs.stands(0, 1, amnesic) } else { logs.stands_unsynced(0, 1, amnesic) }.unwrap();
        logs.stands(0, 2, stand(5, RoleName::Verifying, 1)).unwrap();
        logs.stands(0, 2, stand(5, RoleName::Leader, 1)).unwrap();
        assert_eq!(logs.excused(GROUP), !kept, "on disk: {kept}");
    }
}

#[test]
fn what_was_void_counts_again_only_once_it_is_on_the_disk_of_a_node_that_heard_of_it_late() {
    for synced in [false, true] {
        let mut logs = Logs::default();
        logs.stands(0, 0, ended(1, 1)).unwrap();
        logs.stands(1, 0, ended(2, 2)).unwrap();
        logs.committed(1, GROUP, place(2, 1, 2)).unwrap();
        logs.emptied(1);
        // What was under way to node 0 reaches it now.
        logs.stands_unsynced(0, 0, ended(1, 2)).unwrap();
        logs.committed(0, GROUP, place(2, 1, 2)).unwrap();
        if synced {
            logs.stands(0, 0, ended(1, 2)).unwrap();
        }
        // It starts anew, and node 1 goes on from what its disk has then.
        logs.stands(0, 1, ended(1, if synced { 2 } else { 1 })).unwrap();
        let other = logs.committed(1, GROUP, place(2, 3, 7));
        assert_eq!(other.is_err(), synced, "{other:?}");
        assert!(logs.hearsay.is_empty());
    }
}

#[test]
fn a_vote_counts_whatever_the_voter_takes_itself_for() {
    let learner = |vote| GroupPlace { vote, ..stand(5, RoleName::Learner, 1) };
    let mut logs = Logs::default();
    logs.stands(0, 0, ended(5, 2)).unwrap();
    logs.rolled_back(0);
    logs.stands(0, 1, learner(None)).unwrap();
    assert!(!logs.excused(GROUP), "it does nothing that counts");
    logs.stands(0, 1, learner(Some(Member { node: NodeId(2), replica: ReplicaId(2) }))).unwrap();
    assert!(logs.excused(GROUP), "nobody had told it");
}

#[test]
fn where_several_vote_whoever_led_is_told_by_one_of_any_majority_what_it_had() {
    // Node 0 led term 1; the others hold so much of what it appended, and some of their disks were taken back, too.
    let back = |held: &[u64], led: bool, taken_back: Option<usize>| {
        let mut logs = Logs::default();
        logs.several_vote(GROUP, (0..=held.len()).collect());
        let role = if led { RoleName::Leader } else { RoleName::Follower };
        logs.stands(0, 0, GroupPlace { role, ..ended(1, 4) }).unwrap();
        for (node, &held) in (1..).zip(held) {
            logs.stands(node, 0, ended(1 + node as u128, held)).unwrap();
        }
        logs.rolled_back(0);
        taken_back.into_iter().for_each(|node| logs.rolled_back(node));
        logs.stands(0, 1, ended(1, 2)).map(|()| logs.excused(GROUP)).map_err(|failure| failure.checker)
    };
    assert_eq!(back(&[3, 4], true, None), Err("X13".into()), "either of them knows");
    assert_eq!(back(&[3, 2], true, None), Ok(true), "one knows, and the other may have been asked");
    assert_eq!(back(&[3, 3], false, None), Ok(true), "another led, and it alone knows");
    assert_eq!(back(&[3, 4], true, Some(2)), Ok(true), "one of them forgot it, too");
    assert_eq!(back(&[3, 3, 3, 2], true, None), Err("X13".into()), "three of four know");
    assert_eq!(back(&[3, 3, 2, 2], true, None), Ok(true));
}
