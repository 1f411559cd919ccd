//! What is seen only when several nodes are looked at at the same moment (X15), and how long logs grow (X8).

use wattle_core::ends::Policy;
use wattle_core::id::{GroupId, LogIndex, NodeId, Sequence, StreamInstance};
use wattle_core::node::Status;
use wattle_core::node::command::Refusal;
use wattle_core::raft::{GroupPlace, Place, RoleName};

use super::stretches::completed_at_most;
use super::{Checked, ensure};

/// Entries a log may have beside those that messages cost: sessions, elections and changes of membership.
const ENTRIES_BESIDE: u64 = 5_000;
/// Entries a message may cost: a descriptor and a completion, a few times over.
const ENTRIES_PER_MESSAGE: u64 = 10;

/// What a source calls completed, as many of its targets have marked on disk as its policy asks for, and what it lets go, all of them (rules F1
/// and F2). A target that is not seen now, or whose disk may have been taken back since (`forgetful`), may have marked anything; who was lost counts no more. One that was
/// taken out, or is to be, may have marked as much as its handler reported (`leaves`, with whether it is out), and may count no more. Of those who come `late` it is known
/// what they owe first, and more than stands in front of their joining, once anybody said that they came.
///
/// # Errors
/// X15.
pub fn completed_is_marked(
    statuses: &[Status],
    forgetful: impl Fn(NodeId) -> bool,
    leaves: impl Fn(StreamInstance, NodeId) -> Option<(Sequence, bool)>,
    late: impl Fn(StreamInstance) -> Vec<(NodeId, Option<(u64, u64)>)>,
) -> Checked {
    let entries = |node: NodeId| {
        let own = statuses.iter().filter(move |status| status.node == node);
        own.flat_map(|status| &status.streams).filter(|entry| entry.local)
    };
    for status in statuses {
        for source in entries(status.node).filter(|entry| entry.source == status.node) {
            let lost = |node: &NodeId| source.seal.as_ref().is_some_and(|seal| seal.lost.contains(node));
            if lost(&source.source) {
                continue;
            }
            let leaves = |node: NodeId| leaves(source.instance, node);
            let later = late(source.instance);
            let late = |node: NodeId| later.iter().find(|(late, _)| *late == node).map(|(_, late)| *late);
            let mark = |node: NodeId| {
                let seen = entries(node).find(|entry| entry.instance == source.instance);
                let seen = seen.filter(|_| !forgetful(node)).map_or(ANY, |entry| entry.processed);
                let seen = leaves(node).map_or(seen, |(upto, _)| if forgetful(node) { ANY } else { upto });
                // What is in front of its start it does not owe.
                late(node).flatten().map_or(seen, |(first, _)| seen.max(Sequence(first - 1)))
            };
            let awaited = |node: &NodeId| late(*node) == Some(None);
            // A source that started lately need not have heard from the mesh who came.
            let left = source.targets.iter().map(|target| target.node);
            let unheard =
                later.iter().map(|&(node, _)| node).filter(|&node| !left.clone().any(|known| known == node));
            let left = left.clone().chain(unheard);
            let left = left.filter(|node| !lost(node) && !awaited(node));
            let marks: Vec<(NodeId, Sequence)> = left.map(|node| (node, mark(node))).collect();
            let without = |gone: &dyn Fn(NodeId) -> bool| -> Vec<(NodeId, Sequence)> {
                marks.iter().copied().filter(|&(node, _)| !gone(node)).collect()
            };
            let stay = without(&|node| leaves(node).is_some());
            let out = |node: NodeId| leaves(node).is_some_and(|(_, out)| out);
            // Of several any one may be the first to go.
            let going =
                marks.iter().map(|&(node, _)| node).filter(|&node| leaves(node).is_some() && !out(node));
            let one = going.map(|first| without(&|node| node == first || out(node)));
            let sets = [marks.clone(), without(&out), stay.clone()].into_iter().chain(one);
            // Changes of the members are made one after the other.
            let came = |marks: &[(NodeId, Sequence)]| {
                let mut came: Vec<(NodeId, (u64, u64))> =
                    marks.iter().filter_map(|&(node, _)| Some((node, late(node)??))).collect();
                came.sort_by_key(|&(_, (_, joined_by))| joined_by);
                came
            };
            let judged = |marks: &[(NodeId, Sequence)]| {
                let came = came(marks);
                let bounds: Vec<(u64, u64)> = came.iter().map(|&(_, bounds)| bounds).collect();
                let by = |asked: usize| {
                    let yet = |node: NodeId| came[asked..].iter().any(|&(later, _)| later == node);
                    let there: Vec<_> = marks.iter().copied().filter(|&(node, _)| !yet(node)).collect();
                    (!there.is_empty()).then(|| by_policy(&source.policy, &there).0)
                };
                Sequence(completed_at_most(&bounds, by))
            };
            let completed = sets.map(|marks| judged(&marks)).max().unwrap_or_default();
            // In front of a seal those who are lost may have marked it.
            let sealed = source.seal.as_ref().map_or(Sequence(0), |seal| seal.sequence.unwrap_or(ANY));
            ensure!(
                source.completed <= completed.max(sealed),
                "X15",
                "stream {:?}: completed up to {} at its source, while its targets have marked up to {marks:?} on disk",
                source.name,
                source.completed
            );
            // Released is nothing that those who stay have not.
            ensure!(
                source.released <= least(&stay).or(least(&marks)).unwrap_or(sealed),
                "X15",
                "stream {:?}: the bytes up to {} may go, while its targets have marked up to {marks:?} on disk",
                source.name,
                source.released
            );
        }
    }
    Ok(())
}

fn least(marks: &[(NodeId, Sequence)]) -> Option<Sequence> {
    marks.iter().map(|&(_, mark)| mark).min()
}

/// What is completed by these marks, if nobody else counts.
fn by_policy(policy: &Policy, marks: &[(NodeId, Sequence)]) -> Sequence {
    let all = least(marks).unwrap_or_default();
    match policy {
        Policy::All => all,
        Policy::Count(count) => {
            let mut seen: Vec<Sequence> = marks.iter().map(|&(_, mark)| mark).collect();
            seen.sort_unstable_by(|a, b| b.cmp(a));
            seen.get(*count as usize - 1).copied().unwrap_or(all)
        }
        Policy::Named(named) => {
            let named = marks.iter().filter(|(node, _)| named.contains(node));
            named.map(|&(_, mark)| mark).min().unwrap_or(all)
        }
    }
}

/// As much as a target may have marked of which nothing is known.
const ANY: Sequence = Sequence(u64::MAX);

/// Whoever was told how little room its disk has says so and refuses, and not longer than that (rule B3). Between the two lies what may have
/// been accepted and is not written yet.
///
/// # Errors
/// X18.
pub fn refuses_for_want_of_room(node: usize, told: Option<u64>, refusing: Option<&str>) -> Checked {
    let Some(free) = told else { return Ok(()) };
    let config = wattle_core::stream::Config::default();
    let kept = config.space_floor + config.intake_room;
    let says = refusing.is_some_and(|why| why == Refusal::NoSpace { free }.to_string());
    // A node that stopped refuses for that.
    ensure!(
        if free < kept { refusing.is_some() } else { !says || free < kept + config.intake_room },
        "X18",
        "node {node} was told of {free} free bytes and {}",
        refusing.map_or("refuses nothing".into(), |why| format!("refuses because {why}"))
    );
    Ok(())
}

/// A log grows by what was asked for: whoever proposes the same for ever fills it.
///
/// # Errors
/// X8.
pub fn log_is_bounded(node: usize, place: &GroupPlace, messages: u64) -> Checked {
    let most = ENTRIES_BESIDE + ENTRIES_PER_MESSAGE * messages;
    ensure!(
        place.last.index.0 <= most,
        "X8",
        "node {node}: the log of group {} has {} entries; {messages} messages ask for {most} at most",
        place.group,
        place.last.index
    );
    Ok(())
}

/// In the end, whoever takes part in one term of a group holds the same as the others up to where both have committed, or says that it stops.
/// This is so even where a disk was taken back and nobody could tell: the group may have lost entries then, and must not go on parted.
///
/// # Errors
/// X12.
pub fn nobody_parted(
    places: &[(usize, GroupPlace)],
    held: impl Fn(usize, GroupId, LogIndex) -> Option<Place>,
) -> Checked {
    let takes_part =
        |place: &GroupPlace| matches!(place.role, RoleName::Leader | RoleName::Follower | RoleName::Learner);
    let leaders = places.iter().filter(|(_, place)| place.role == RoleName::Leader);
    for (leader, leads) in leaders {
        // Whoever is shut out of a group stays in the terms of an era that is over.
        let same =
            |place: &GroupPlace| (place.group, place.era, place.term) == (leads.group, leads.era, leads.term);
        for (node, place) in places.iter().filter(|(_, place)| takes_part(place) && same(place)) {
            let index = place.commit.min(leads.commit);
            let (Some(theirs), Some(own)) =
                (held(*leader, leads.group, index), held(*node, place.group, index))
            else {
                continue;
            };
            ensure!(
                theirs == own,
                "X12",
                "node {node} follows node {leader} in group {} and term {}, holds {own:?} as committed, and its leader {theirs:?}",
                place.group,
                place.term
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use wattle_core::ends::Ends;
    use wattle_core::id::{GroupId, LogIndex, ReplicaId, SessionEpoch, StreamInstance, Term};
    use wattle_core::node::status::StreamStatus;
    use wattle_core::raft::{Place, RoleName};

    fn status(node: u128, processed: u64, completed: u64) -> Status {
        let [processed, completed] = [processed, completed].map(Sequence);
        let stream = StreamStatus {
            local: true,
            session: SessionEpoch(1),
            accepted: Sequence(9),
            replicated: Sequence(9),
            processed,
            completed,
            released: completed,
            ..fixture::stream(1)
        };
        fixture::status(node, vec![stream])
    }

    fn stays(_: StreamInstance, _: NodeId) -> Option<(Sequence, bool)> {
        None
    }

    fn nobody(_: StreamInstance) -> Vec<(NodeId, Option<(u64, u64)>)> {
        Vec::new()
    }

    #[test]
    fn who_comes_later_is_asked_for_what_follows_its_joining_and_holds_what_it_owes() {
        let ends = |targets: &[u128]| {
            let targets = targets.iter().copied().map(NodeId).collect();
            Ends::new(NodeId(1), targets, Policy::All).unwrap()
        };
        let told =
            |targets: &[u128], late: Option<(u64, u64)>, marked: u64, (completed, released): (u64, u64)| {
                let ends = ends(targets);
                let shown = |node: u128, processed: u64| {
                    let mut entry = StreamStatus::between(&ends, "words".into(), StreamInstance(1));
                    (entry.local, entry.processed) = (true, Sequence(processed));
                    (entry.completed, entry.released) = (Sequence(completed), Sequence(released));
                    fixture::status(node, vec![entry])
                };
                let later = move |_: StreamInstance| Vec::from([(NodeId(3), late)]);
                let statuses = [shown(1, 9), shown(2, 9), shown(3, marked)];
                completed_is_marked(&statuses, |_| false, stays, later).map_err(|failure| failure.checker)
            };
        let judged = |late, marked, upto| {
            let judged = told(&[2, 3], late, marked, upto);
            assert_eq!(told(&[2], late, marked, upto), judged, "a source that did not hear who came");
            judged
        };
        assert_eq!(judged(None, 0, (9, 9)), Ok(()), "it is yet to come");
        assert_eq!(
            judged(Some((5, 7)), 0, (7, 4)),
            Ok(()),
            "in front of its joining the other alone decides"
        );
        assert_eq!(judged(Some((5, 7)), 0, (8, 4)), Err("X15".into()));
        assert_eq!(judged(Some((5, 7)), 0, (7, 5)), Err("X15".into()), "what it owes is kept");
        assert_eq!(judged(Some((5, 7)), 8, (8, 8)), Ok(()));
    }

    #[test]
    fn what_is_completed_is_marked_by_a_target_that_forgot_nothing() {
        let seen = |marked| [status(1, 5, 5), status(2, marked, 4)];
        completed_is_marked(&seen(5), |_| false, stays, nobody).unwrap();
        assert_eq!(completed_is_marked(&seen(4), |_| false, stays, nobody).unwrap_err().checker, "X15");
        completed_is_marked(&seen(4), |node| node == NodeId(2), stays, nobody).unwrap();
        completed_is_marked(&seen(4)[..1], |_| false, stays, nobody).unwrap();
        let leaves =
            |upto: u64| move |_: StreamInstance, node| (node == NodeId(2)).then_some((Sequence(upto), false));
        completed_is_marked(&seen(4), |_| false, leaves(5), nobody).unwrap();
        assert!(
            completed_is_marked(&seen(4), |_| false, leaves(4), nobody).is_err(),
            "nobody processed the fifth"
        );
    }

    #[test]
    fn one_forgetful_target_does_not_excuse_the_others() {
        let several = |policy, completed: u64, released: u64| {
            let ends = Ends::new(NodeId(1), [2, 3, 4].map(NodeId).to_vec(), policy).unwrap();
            let shown = |node: u128, processed: u64| {
                let mut entry = StreamStatus::between(&ends, "words".into(), StreamInstance(1));
                (entry.local, entry.processed) = (true, Sequence(processed));
                (entry.completed, entry.released) = (Sequence(completed), Sequence(released));
                fixture::status(node, vec![entry])
            };
            let statuses = [shown(1, 9), shown(2, 6), shown(3, 0), shown(4, 4)];
            completed_is_marked(&statuses, |node| node == NodeId(3), stays, nobody)
                .map_err(|failure| failure.checker)
        };
        let count = |count| Policy::Count(count);
        assert_eq!(several(count(1), 9, 4), Ok(()), "the forgetful one may have marked it");
        assert_eq!(several(count(2), 6, 4), Ok(()));
        assert_eq!(several(count(2), 7, 4), Err("X15".into()));
        assert_eq!(several(count(1), 6, 5), Err("X15".into()), "node 4 is behind that");
        assert_eq!(several(Policy::All, 5, 4), Err("X15".into()));
        assert_eq!(several(Policy::Named([3, 4].map(NodeId).to_vec()), 5, 4), Err("X15".into()));
        assert_eq!(several(Policy::Named([3].map(NodeId).to_vec()), 9, 4), Ok(()));
    }

    #[test]
    fn a_log_that_grows_for_ever_is_seen() {
        let place = |last| GroupPlace {
            group: GroupId(3),
            replica: ReplicaId(1),
            vote: None,
            era: 0,
            role: RoleName::Leader,
            last: Place { index: LogIndex(last), term: Term(1), ..Place::default() },
            durable: Place::default(),
            commit: LogIndex(0),
            term: Term(1),
        };
        log_is_bounded(0, &place(5_100), 10).unwrap();
        assert_eq!(log_is_bounded(0, &place(5_101), 10).unwrap_err().checker, "X8");
    }

    #[test]
    fn a_node_refuses_for_want_of_room_exactly_while_it_knows_of_that() {
        let full = Refusal::NoSpace { free: 9 }.to_string();
        refuses_for_want_of_room(0, None, None).unwrap();
        refuses_for_want_of_room(0, Some(9), Some(&full)).unwrap();
        refuses_for_want_of_room(0, Some(8 << 20), None).unwrap();
        refuses_for_want_of_room(0, Some(8 << 20), Some("a stream is full")).unwrap();
        refuses_for_want_of_room(0, Some(9), Some("the journal is damaged")).unwrap();
        let roomy = Refusal::NoSpace { free: 8 << 20 }.to_string();
        for (told, refusing) in [(9, None), (8 << 20, Some(roomy.as_str()))] {
            let failed = refuses_for_want_of_room(0, Some(told), refusing);
            assert_eq!(failed.unwrap_err().checker, "X18", "{told} {refusing:?}");
        }
    }

    #[test]
    fn who_follows_in_a_term_holds_what_its_leader_committed() {
        let place = |role, term, commit| GroupPlace {
            group: GroupId(3),
            replica: ReplicaId(1),
            vote: None,
            era: 0,
            role,
            last: Place::default(),
            durable: Place::default(),
            commit: LogIndex(commit),
            term: Term(term),
        };
        let judge = |follower: GroupPlace, parted_at: u64| {
            let places = [(0, place(RoleName::Leader, 4, 9)), (1, follower)];
            nobody_parted(&places, |node, _, index| {
                let parted = node == 1 && index.0 >= parted_at;
                Some(Place { index, term: Term(if parted { 2 } else { 3 }), ..Place::default() })
            })
        };
        judge(place(RoleName::Follower, 4, 7), 8).unwrap();
        assert_eq!(judge(place(RoleName::Follower, 4, 8), 8).unwrap_err().checker, "X12");
        assert_eq!(judge(place(RoleName::Learner, 4, 20), 9).unwrap_err().checker, "X12");
        judge(place(RoleName::Follower, 3, 8), 8).unwrap();
        judge(place(RoleName::Stopped, 4, 8), 8).unwrap();
    }
}
