//! A node that takes no part for a while.

use super::*;

#[test]
fn a_node_that_is_offline_has_no_link_until_it_is_back() {
    let mut small = Small::new(3, 7);
    small.dial(0, 1);
    small.dial(2, 0);
    small.run(Span::secs(1));
    assert!(small.is_up(0, 1) && small.is_up(0, 2));
    small.input(0, Input::Offline(true));
    small.run(Span::secs(1));
    let dials = small.dials;
    assert!(small.nodes.iter().flatten().all(|links| links.neighbours().next().is_none()));
    small.run(Span::secs(60));
    assert_eq!(small.lanes_between(0, 2) + small.lanes_between(0, 1), 0);
    assert!(small.dials > dials, "the others go on dialling, and are turned away");
    assert!(small.nodes[0].as_ref().unwrap().is_offline());

    small.input(0, Input::Offline(false));
    small.run(Span::millis(50));
    assert!(small.is_up(0, 1), "whom it knows it dials at once");
    small.run(Span::secs(11));
    assert!(small.is_up(0, 2), "whoever dials it finds it");
}
