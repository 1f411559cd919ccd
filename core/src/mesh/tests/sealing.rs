use super::leaving::evict;
use super::*;
use crate::digest::Chain;
use crate::id::{AuthorityEpoch, Sequence};
use crate::mesh::sealing::{Seal, StreamGroup, seal_without};
use crate::mesh::state::Effect;
use crate::recovery::LogPlace;
use crate::sealing::{SealRefusal, Sealed, StreamEnd};

impl World {
    pub(super) fn stream_fenced(&mut self, host: usize, instance: StreamInstance, authority: AuthorityEpoch) {
        self.hosts[host].fences.push((instance, authority.0));
        let end = self.hosts[host].stream_end.clone().ok_or_else(|| "its log is being written".to_string());
        self.inbox.push_back((host, Input::StreamEnd { instance, authority, end }));
    }

    pub(super) fn stream_founded(
        &mut self,
        host: usize,
        instance: StreamInstance,
        authority: AuthorityEpoch,
        holds: LogPlace,
    ) {
        self.hosts[host].foundings.push((instance, authority.0));
        let sequence = Sequence(10 * holds.index.0);
        self.inbox.push_back((host, Input::StreamSettled { instance, authority, sequence }));
    }

    fn seal(&mut self, host: usize, lost: &[&str]) -> Result<Sealed, Refusal> {
        let lost = lost.iter().map(|name| (*name).to_string()).collect();
        let request = self.command(host, |request| Input::SealStream { request, name: "words".into(), lost });
        match self.reply(host, request).expect("it is answered") {
            Ok(Reply::StreamSealed { sealed, .. }) => Ok(sealed),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        }
    }
}

fn place(term: u64, index: u64) -> LogPlace {
    let mut chain = Chain::default();
    chain.0[0] = term as u8;
    LogPlace { index: LogIndex(index), term: Term(term), chain }
}

fn end(last: (u64, u64), certain: (u64, u64), terms: &[(u64, u64)]) -> StreamEnd {
    StreamEnd {
        term: Term(9),
        last: place(last.0, last.1),
        certain: place(certain.0, certain.1),
        terms: terms.iter().map(|&(term, first)| (Term(term), LogIndex(first))).collect(),
        heard: Sequence(last.1),
    }
}

/// `a` leads, is the source of a stream to `c`, and is gone.
fn bereaved() -> (World, StreamInstance) {
    let mut world = World::grown(&["a", "b", "c"]);
    let request = world.command(1, open("words", "a", "c"));
    let Some(Ok(Reply::StreamOpened { instance, .. })) = world.reply(1, request) else { panic!("not open") };
    let a = world.id(0);
    world.lead(Some(1));
    world.hosts[0].up = false;
    for host in 1..3 {
        world.hosts[host].unreached.push(a);
        world.hosts[host].stream_end = Some(end((3, 7), (2, 5), &[(2, 6), (3, 7)]));
    }
    for host in 1..3 {
        world.inbox.push_back((host, Input::RoutesChanged));
    }
    world.pass(Span::secs(3));
    (world, instance)
}

#[test]
fn a_stream_without_its_source_is_sealed_where_its_target_ends() {
    let (mut world, instance) = bereaved();
    let first = world.seal(1, &["a"]).unwrap();
    assert_eq!((first.authority, &first.lost[..]), (AuthorityEpoch(1), &[world.id(0)][..]));
    world.pass(Span::secs(1));
    let done = world.seal(2, &["a"]).unwrap();
    assert_eq!(done.end, Some((world.id(2), place(3, 7))));
    assert_eq!((done.sequence, done.heard), (Some(Sequence(70)), Sequence(7)));
    assert!(done.waits_for.is_empty());
    assert_eq!(world.hosts[2].foundings.first(), Some(&(instance, 1)));
    assert!(world.hosts[1].fences.is_empty() && world.hosts[1].foundings.is_empty(), "it has no part in it");
    assert_eq!(world.hosts[1].sealed[&instance], done, "all members know");
    world.hosts[0].up = true;
    world.pass(Span::secs(2));
    assert_eq!(world.hosts[0].sealed[&instance], done, "and so does the one that was lost");
    assert_eq!(world.hosts[0].fences.last(), Some(&(instance, 1)));
    assert!(world.hosts[0].foundings.is_empty());
    world.assert_equal();
}

#[test]
fn what_a_survivor_said_of_its_end_outlasts_a_crash() {
    let (mut world, instance) = bereaved();
    world.hosts[2].stream_end = None;
    let waits = world.seal(1, &["a"]).unwrap();
    assert_eq!(waits.waits_for, [world.id(2)]);
    world.pass(Span::secs(2));
    assert_eq!(world.seal(1, &["a"]).unwrap().waits_for, [world.id(2)], "its log is being written");
    world.hosts[2].fences.clear();
    world.restart(2);
    assert_eq!(world.hosts[2].fences.first(), Some(&(instance, 1)), "fenced before it hears anything");
    world.hosts[2].stream_end = Some(end((3, 7), (2, 5), &[(2, 6), (3, 7)]));
    world.pump();
    world.pass(Span::secs(2));
    assert_eq!(world.seal(1, &["a"]).unwrap().sequence, Some(Sequence(70)));
}

#[test]
fn what_cannot_be_sealed_is_refused_with_the_reason() {
    let (mut world, _) = bereaved();
    let refusal = |refusal: SealRefusal| Err(Refusal::Seal(refusal));
    assert_eq!(world.seal(1, &[]), refusal(SealRefusal::NobodyLost));
    assert_eq!(world.seal(1, &["nobody"]), Err(Refusal::UnknownNode("nobody".into())));
    assert_eq!(world.seal(2, &["c"]), refusal(SealRefusal::LostReachable("c".into())));
    assert_eq!(world.seal(2, &["b"]), refusal(SealRefusal::NotOfStream("b".into())));
    let c = world.id(2);
    world.hosts[1].unreached.push(c);
    world.inbox.push_back((1, Input::RoutesChanged));
    world.pump();
    world.pass(Span::secs(3));
    assert_eq!(world.seal(1, &["c"]), refusal(SealRefusal::Quorum("c".into())), "the source votes alone");
    assert_eq!(world.seal(1, &["a", "c"]), refusal(SealRefusal::NobodyLeft));
    assert_eq!(world.mesh(1).sealed("words"), None, "nothing is half done");
}

#[test]
fn who_was_not_missed_for_a_while_is_not_lost() {
    let refusal = Err(Refusal::Seal(SealRefusal::NotMissed("a".into())));
    let (mut world, _) = bereaved();
    world.restart(2);
    assert_eq!(world.seal(2, &["a"]), refusal, "nothing was seen yet");
    world.pass(Span::secs(1));
    assert_eq!(world.seal(2, &["a"]), refusal, "a path may still come");
    let a = world.id(0);
    for away in [false, true] {
        world.hosts[2].unreached.retain(|&node| node != a);
        world.hosts[2].unreached.extend(away.then_some(a));
        world.inbox.push_back((2, Input::RoutesChanged));
        world.pump();
        world.pass(Span::millis(2_000));
    }
    assert_eq!(world.seal(2, &["a"]), refusal, "a path was there not long ago");
    world.pass(Span::millis(800));
    assert!(world.seal(2, &["a"]).is_ok());
}

#[test]
fn whom_the_leader_reaches_is_not_lost_whoever_missed_it() {
    let (mut world, _) = bereaved();
    let a = world.id(0);
    world.hosts[1].unreached.retain(|&node| node != a);
    world.inbox.push_back((1, Input::RoutesChanged));
    world.pump();
    world.pass(Span::secs(1));
    assert_eq!(world.seal(2, &["a"]), Err(Refusal::Seal(SealRefusal::NotMissed("a".into()))));
}

#[test]
fn who_judged_without_the_stream_or_an_earlier_life_of_it_misses_nobody() {
    let (world, instance) = bereaved();
    let mut state = world.mesh(1).state.clone();
    let (lost, missed) = (["a".to_string()], [world.id(0)]);
    for (judged, missed) in [(None, &[][..]), (Some(StreamInstance(7)), &missed), (Some(instance), &[])] {
        let refused = state.seal_stream("words", &lost, judged, missed).unwrap_err();
        assert_eq!(refused, Refusal::Seal(SealRefusal::NotMissed("a".into())));
        assert_eq!(state.streams["words"].sealed(), None);
    }
    let done = state.seal_stream("words", &lost, Some(instance), &missed).unwrap();
    assert!(matches!(done, Effect::Sealed { changed: true, .. }));
}

#[test]
fn a_stream_is_sealed_without_a_node_that_was_evicted() {
    let (mut world, _) = bereaved();
    let gone = world.command(1, evict("a"));
    world.pass(Span::secs(5));
    assert!(matches!(world.reply(1, gone), Some(Ok(Reply::Evicted { .. }))));
    assert_eq!(world.seal(1, &["a"]).unwrap().authority, AuthorityEpoch(1));
    world.pass(Span::secs(1));
    assert_eq!(world.seal(1, &["a"]).unwrap().sequence, Some(Sequence(70)));
}

const NODES: [NodeId; 5] = [NodeId(1), NodeId(2), NodeId(3), NodeId(4), NodeId(5)];

/// Three voters and two learners.
fn group() -> StreamGroup {
    StreamGroup { voters: NODES[..3].into(), learners: NODES[3..].into(), ..StreamGroup::default() }
}

fn lost(seal: Option<&Seal>, nodes: &[NodeId]) -> Result<Option<Seal>, SealRefusal> {
    seal_without(seal, &group(), None, nodes, "them", Planted::none())
}

fn reported(seal: &mut Seal, node: NodeId, end: StreamEnd) {
    seal.ends.insert(node, end);
    seal.settle(&group(), Planted::none());
}

#[test]
fn all_survivors_of_a_group_are_asked_or_named_lost_too() {
    assert_eq!(lost(None, &NODES[..1]), Err(SealRefusal::Quorum("them".into())));
    assert_eq!(lost(None, &NODES), Err(SealRefusal::NobodyLeft));
    let mut seal = lost(None, &NODES[..2]).unwrap().unwrap();
    reported(&mut seal, NODES[2], end((2, 4), (2, 4), &[]));
    reported(&mut seal, NODES[3], end((2, 6), (2, 4), &[(2, 5)]));
    assert_eq!((seal.founder, seal.authority), (None, AuthorityEpoch(1)), "a learner may hold more");
    assert_eq!(seal.told(&group()).waits_for, [NODES[4]]);
    assert_eq!(lost(Some(&seal), &NODES[..1]), Ok(None), "known");
    let seal = lost(Some(&seal), &NODES[4..]).unwrap().unwrap();
    assert_eq!((seal.founder, seal.authority), (Some(NODES[3]), AuthorityEpoch(1)), "the same seal");
    assert_eq!(seal.lost, [NODES[0], NODES[1], NODES[4]]);
}

#[test]
fn the_word_of_who_is_named_lost_later_counts_no_more() {
    let mut seal = lost(None, &NODES[..2]).unwrap().unwrap();
    reported(&mut seal, NODES[4], end((2, 9), (2, 4), &[(2, 5)]));
    let mut seal = lost(Some(&seal), &NODES[4..]).unwrap().unwrap();
    assert!(seal.ends.is_empty());
    reported(&mut seal, NODES[2], end((2, 4), (2, 4), &[]));
    reported(&mut seal, NODES[3], end((2, 6), (2, 4), &[(2, 5)]));
    assert_eq!(seal.founder, Some(NODES[3]));
}

/// An entry of term 2 was replicated again and committed by the leader of term 4; a third survivor ends in an entry of term 3, whose leader was replaced.
#[test]
fn the_furthest_log_that_lacks_what_is_committed_is_passed_over() {
    let mut seal = lost(None, &NODES[..2]).unwrap().unwrap();
    reported(&mut seal, NODES[2], end((2, 2), (2, 2), &[]));
    reported(&mut seal, NODES[3], end((3, 2), (1, 1), &[(3, 2)]));
    reported(&mut seal, NODES[4], end((2, 2), (1, 1), &[(2, 2)]));
    assert_eq!(seal.founder, Some(NODES[2]), "of two that are equal the first");
    let mut seal = lost(None, &NODES[..2]).unwrap().unwrap();
    reported(&mut seal, NODES[2], end((2, 2), (2, 2), &[]));
    reported(&mut seal, NODES[3], end((3, 3), (1, 1), &[(2, 2), (3, 3)]));
    reported(&mut seal, NODES[4], end((2, 2), (1, 1), &[(2, 2)]));
    assert_eq!(seal.founder, Some(NODES[3]), "it holds that, and more");
}

#[test]
fn of_two_logs_that_are_equal_by_numbers_only_people_choose() {
    let mut seal = lost(None, &NODES[..2]).unwrap().unwrap();
    let mut other = end((2, 6), (2, 4), &[(2, 5)]);
    other.last.chain.0[1] = 1;
    reported(&mut seal, NODES[2], end((2, 6), (2, 4), &[(2, 5)]));
    reported(&mut seal, NODES[3], other);
    reported(&mut seal, NODES[4], end((2, 4), (2, 4), &[]));
    assert_eq!(seal.founder, None, "a disk was rolled back");
    let seal = lost(Some(&seal), &NODES[3..4]).unwrap().unwrap();
    assert_eq!(seal.founder, Some(NODES[2]));
}

/// A stream sealed without two of its members, who founds it anew, and its group since.
fn founded_anew() -> (Seal, NodeId, StreamGroup) {
    let mut seal = lost(None, &NODES[..2]).unwrap().unwrap();
    for node in &NODES[2..] {
        reported(&mut seal, *node, end((2, 4), (2, 4), &[]));
    }
    let founder = seal.founder.unwrap();
    (
        seal,
        founder,
        StreamGroup { voters: [founder].into(), learners: NODES[3..].into(), ..StreamGroup::default() },
    )
}

#[test]
fn who_goes_on_may_lose_its_quorum_again() {
    let (mut seal, founder, now) = founded_anew();
    let planted = Planted::none();
    let learner = seal_without(Some(&seal), &now, None, &NODES[3..4], "it", planted);
    assert_eq!(learner, Err(SealRefusal::Quorum("it".into())));
    seal.sequence = Some(Sequence(7));
    let again = seal_without(Some(&seal), &now, None, &[founder], "it", planted).unwrap().unwrap();
    assert_eq!((again.authority, again.founder), (AuthorityEpoch(2), None));
    assert!(again.ends.is_empty() && again.lost == NODES[..3]);
    assert_eq!(again.former, [(AuthorityEpoch(1), Sequence(7))], "a position of before is held against that");
    assert_eq!(super::super::sealing::seal_in(super::super::sealing::seal_out(&again)), Ok(again));
}

#[cfg(feature = "planted")]
mod planted {
    use super::*;

    fn caught(bug: Bug, breach: impl FnOnce(&mut World)) {
        extern crate std;
        let (mut world, _) = bereaved();
        for host in &mut world.hosts {
            host.mesh.planted = Planted::only(bug);
            host.mesh.state.planted = Planted::only(bug);
        }
        let run = std::panic::AssertUnwindSafe(|| {
            breach(&mut world);
            world.hosts.iter().for_each(|host| host.mesh.check_invariants(Level::Full));
        });
        assert!(std::panic::catch_unwind(run).is_err(), "{bug:?} is not noticed");
    }

    #[test]
    fn bugs_of_seals_are_noticed() {
        caught(Bug::SealKeepsAuthority, |world| drop(world.seal(1, &["a"])));
        caught(Bug::LostHaveASay, |world| {
            world.hosts[2].stream_end = None;
            world.seal(1, &["a"]).unwrap();
            let stream = world.mesh(1).stream("words").cloned().unwrap();
            let (end, origin) = (end((9, 9), (9, 9), &[]), stream.ends.source);
            let report = crate::mesh::ReportEnd {
                name: "words".into(),
                instance: stream.instance,
                authority: AuthorityEpoch(1),
                end,
            };
            let _ = world.hosts[1].mesh.state.report_end(origin, &report);
        });
    }

    #[test]
    fn an_end_fixed_too_early_or_without_what_is_committed_is_noticed() {
        for (bug, ends) in [(Bug::SealWaitsForOne, 1), (Bug::SealedAtFurthest, 2)] {
            let planted = Planted::only(bug);
            let mut seal = seal_without(None, &group(), None, &[NODES[0], NODES[1], NODES[4]], "", planted)
                .unwrap()
                .unwrap();
            let all = [(NODES[2], end((2, 2), (2, 2), &[])), (NODES[3], end((3, 2), (1, 1), &[(3, 2)]))];
            for (node, end) in all.into_iter().take(ends) {
                seal.ends.insert(node, end);
                seal.settle(&group(), planted);
            }
            let sound = match bug {
                Bug::SealWaitsForOne => seal.founder.is_none(),
                _ => seal.founder == Some(NODES[2]),
            };
            assert!(!sound, "{bug:?} makes no difference");
        }
    }

    /// What a start of the survivor would know before it hears anything.
    fn stored_seal(bug: Option<Bug>) -> Option<AuthorityEpoch> {
        let (mut world, _) = bereaved();
        world.hosts[2].mesh.planted = bug.map_or(Planted::none(), Planted::only);
        world.seal(1, &["a"]).unwrap();
        let (_, state) = world.hosts[2].disk.get(&(2, 0, 0))?;
        State::decode(state).unwrap().streams.get("words")?.sealed().map(|sealed| sealed.authority)
    }

    #[test]
    fn a_second_seal_that_forgets_the_first_makes_a_difference() {
        let (seal, founder, now) = founded_anew();
        let planted = Planted::only(Bug::FormerEndForgotten);
        let again = seal_without(Some(&seal), &now, None, &[founder], "it", planted).unwrap().unwrap();
        assert!(again.former.is_empty());
    }

    #[test]
    fn a_survivor_that_forgets_its_fence_is_noticed() {
        assert_eq!(stored_seal(None), Some(AuthorityEpoch(1)));
        assert_eq!(stored_seal(Some(Bug::SealNotWritten)), None);
    }
}
