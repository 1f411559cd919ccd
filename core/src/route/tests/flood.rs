use super::*;

/// The cheapest cost by a naive search over the true links.
fn true_costs(world: &World, costs: &BTreeMap<(usize, usize), u32>, from: usize) -> BTreeMap<usize, u64> {
    let mut known = BTreeMap::from([(from, 0u64)]);
    for _ in 0..=RELAYS_MAX {
        let before = known.clone();
        for &(a, b) in &world.links {
            if let Some(way) = before.get(&a) {
                let way = way + u64::from(costs[&(a.min(b), a.max(b))]);
                let best = known.entry(b).or_insert(way);
                *best = way.min(*best);
            }
        }
    }
    known.remove(&from);
    known
}

fn build(seed: u64, count: usize, loss: u64) -> (World, BTreeMap<(usize, usize), u32>) {
    let mut world = World::new(count, seed);
    world.loss = loss;
    let links = random_links(&mut rng(seed + 1000), count, count);
    let mut costs = BTreeMap::new();
    for (a, b) in links {
        let cost = 1000 + world.rng.below(50_000) as u32;
        costs.insert((a, b), cost);
        world.connect(a, b, cost);
        let pause = Span::micros(world.rng.below(30_000));
        world.run(pause);
    }
    (world, costs)
}

fn paths_are_true(world: &World, costs: &BTreeMap<(usize, usize), u32>, what: &str) {
    for &from in world.nodes.keys() {
        let expected = true_costs(world, costs, from);
        let found: BTreeMap<usize, u64> =
            world.routes(from).paths().iter().map(|(to, path)| (to.0 as usize, path.cost)).collect();
        assert_eq!(found, expected, "{what}: paths of {from}");
        for &to in expected.keys() {
            let nodes = world.walk(from, to).expect("there is a path");
            assert_eq!(nodes.len(), world.routes(from).paths()[&id(to)].hops() + 1, "{what}");
        }
    }
}

#[test]
fn tables_become_equal_and_paths_true() {
    for seed in 0..15 {
        let (mut world, costs) = build(seed, 12, 0);
        world.run(Span::secs(3));
        assert!(world.agree(), "seed {seed}");
        paths_are_true(&world, &costs, &alloc::format!("seed {seed}"));
    }
}

#[test]
fn tables_become_equal_although_messages_are_lost() {
    for seed in 0..10 {
        let (mut world, costs) = build(seed, 10, 40);
        world.run(Span::secs(2));
        world.loss = 0;
        world.run(Span::secs(60));
        assert!(world.agree(), "seed {seed}");
        paths_are_true(&world, &costs, &alloc::format!("seed {seed}"));
    }
}

#[test]
fn links_that_come_and_go_leave_true_paths() {
    for seed in 0..10 {
        let (mut world, mut costs) = build(seed, 10, 0);
        for _ in 0..40 {
            let (a, b) = (1 + world.rng.below(10) as usize, 1 + world.rng.below(10) as usize);
            if world.links.contains(&(a, b)) {
                world.disconnect(a, b);
            } else if a != b {
                let cost = 1000 + world.rng.below(50_000) as u32;
                costs.insert((a.min(b), a.max(b)), cost);
                world.connect(a, b, cost);
            }
            let pause = Span::millis(world.rng.below(200));
            world.run(pause);
        }
        world.run(Span::secs(30));
        paths_are_true(&world, &costs, &alloc::format!("seed {seed}"));
    }
}

#[test]
fn a_restarted_node_is_believed_even_on_an_older_disk() {
    for generation in [2, 1] {
        let mut world = World::new(4, 7);
        for (a, b) in [(1, 2), (2, 3), (3, 4)] {
            world.connect(a, b, 1000);
        }
        world.run(Span::secs(5));
        // Node 3 is gone, and comes back: with a higher generation, or with the one it had.
        world.disconnect(2, 3);
        world.disconnect(3, 4);
        world.run(Span::millis(500));
        assert_eq!(world.walk(1, 4), None);
        world.start(3, 4, generation);
        world.connect(3, 4, 1000);
        world.connect(2, 3, 1000);
        world.run(Span::secs(1));
        assert_eq!(world.walk(1, 4), Some(vec![1, 2, 3, 4]), "generation {generation}");
        assert!(world.agree());
    }
}

#[test]
fn a_quiet_mesh_says_little() {
    let (mut world, _) = build(3, 10, 0);
    world.run(Span::secs(60));
    let before = world.sent;
    world.run(Span::secs(60));
    // Two directions per link, one comparison each ten seconds, give or take a quarter.
    let links = world.links.len() as u64;
    let most = links * 60 * 4 / (10 * 3) + 10;
    assert!(
        world.sent - before <= most,
        "{} messages in a minute over {links} directions",
        world.sent - before
    );
}

#[test]
fn a_long_line_is_travelled_for_sixteen_links_and_no_more() {
    let mut world = World::new(20, 5);
    for node in 1..20 {
        world.connect(node, node + 1, 1000);
    }
    world.run(Span::secs(10));
    assert_eq!(world.walk(1, 17).map(|nodes| nodes.len()), Some(17));
    assert_eq!(world.routes(1).paths()[&id(17)].labels.len(), 15);
    assert_eq!(world.routes(1).paths().get(&id(18)), None);
}

#[test]
fn what_was_lost_comes_although_something_always_changes() {
    let mut world = World::new(5, 17);
    for (a, b) in [(1, 2), (2, 3)] {
        world.connect(a, b, 10_000);
    }
    world.run(Span::secs(30));
    world.loss = 100;
    world.connect(1, 4, 10_000);
    world.run(Span::secs(1));
    world.loss = 0;
    for round in 0..60_u32 {
        if round % 2 == 0 {
            world.connect(2, 5, 10_000);
        } else {
            world.disconnect(2, 5);
        }
        world.run(Span::millis(1_500));
        let last = world.routes(1).changed_at.max(world.routes(3).changed_at);
        assert!(round < 4 || world.now.since(last) < Span::secs(2), "round {round}: it came to rest");
    }
    assert!(world.walk(3, 4).is_some() && world.walk(4, 3).is_some());
}
