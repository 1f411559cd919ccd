//! That the model can find something, and can reach what it should.

use stateright::{Checker, Expectation, HasDiscoveries, Model as _};
use wattle_core::planted::{Bug, Planted};
use wattle_model::model::{Bounds, Cluster};
use wattle_model::runs::SOUGHT;
use wattle_model::state::{Order, Spent};

const ONE_LEADER_AND_A_PROPOSAL: Bounds = Bounds {
    terms: 1,
    most: Spent { elections: 1, repeats: 0, doubts: 0, proposals: 1, crashes: 0, duplicates: 0 },
    slow_disks: false,
    order: Order::AsSent,
    batches: false,
};

/// What is wrong in a space of states, by name.
fn broken(checker: &impl Checker<Cluster>) -> Vec<&'static str> {
    let never = checker.model().properties().into_iter().filter(|p| p.expectation == Expectation::Always);
    never.map(|property| property.name).filter(|name| checker.discovery(name).is_some()).collect()
}

#[test]
fn bugs_that_a_few_steps_show_are_found() {
    // Broken invariants of the engine are what is looked for.
    std::panic::set_hook(Box::new(|_| {}));
    for sought in SOUGHT.iter().filter(|sought| sought.bug != Bug::OldTermCommit) {
        let checker = Cluster::new(sought.bounds, Planted::only(sought.bug)).checker();
        let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        assert!(!broken(&checker).is_empty(), "{} is not found", sought.bug.describe().name);
    }
}

#[test]
fn a_proposal_comes_to_all_and_nothing_is_wrong_in_either_order() {
    for order in [Order::AsSent, Order::Any] {
        let bounds = Bounds { order, ..ONE_LEADER_AND_A_PROPOSAL };
        let checker = Cluster::new(bounds, Planted::none()).checker();
        let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
        assert_eq!(broken(&checker), [""; 0]);
        checker.assert_any_discovery("all apply a proposal");
    }
}

#[test]
fn a_space_is_the_same_each_time() {
    let states = |threads| {
        let checker = Cluster::new(ONE_LEADER_AND_A_PROPOSAL, Planted::none()).checker().threads(threads);
        checker.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join().unique_state_count()
    };
    assert_eq!(states(1), states(2));
}
