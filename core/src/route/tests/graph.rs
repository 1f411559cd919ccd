use super::*;
use crate::route::graph::{Found, Graph};

/// Bellman and Ford, as plain as can be: after round n, the lowest cost with at most n links.
fn naive(graph: &Graph, root: u32, links_max: usize) -> Vec<Option<u64>> {
    let mut cost: Vec<Option<u64>> = vec![None; graph.len()];
    cost[root as usize] = Some(0);
    for _ in 0..links_max {
        let before = cost.clone();
        for (node, way) in before.iter().enumerate() {
            for &(target, price) in graph.edges(node as u32) {
                if let Some(way) = way {
                    let way = way + u64::from(price);
                    let known = &mut cost[target as usize];
                    *known = Some(known.map_or(way, |known| known.min(way)));
                }
            }
        }
    }
    cost[root as usize] = None;
    cost
}

fn price(graph: &Graph, root: u32, found: &Found) -> u64 {
    let mut node = root;
    let mut sum = 0;
    for &next in &found.nodes {
        let edge = graph.edges(node).iter().find(|(target, _)| *target == next);
        sum += u64::from(edge.expect("a path follows links").1);
        node = next;
    }
    sum
}

fn random_graph(rng: &mut Rng) -> Graph {
    let nodes = 1 + rng.below(40) as usize;
    let links = rng.below(4 * nodes as u64);
    // Few different costs: ties abound.
    let costs = [1, 3, 100, u64::from(u32::MAX)][rng.below(4) as usize];
    let mut edges = vec![BTreeMap::new(); nodes];
    // A line through all nodes, so that long paths occur.
    for node in 1..nodes {
        edges[node - 1].insert(node as u32, 1 + rng.below(costs) as u32);
    }
    for _ in 0..links {
        let (from, to) = (rng.below(nodes as u64) as usize, rng.below(nodes as u64) as u32);
        if from != to as usize {
            edges[from].insert(to, 1 + rng.below(costs) as u32);
        }
    }
    graph(edges)
}

fn graph<Edges: IntoIterator<Item = (u32, u32)>>(edges: impl IntoIterator<Item = Edges>) -> Graph {
    let mut graph = Graph::with_room(0);
    edges.into_iter().for_each(|edges| graph.push(edges));
    graph
}

fn found(graph: &Graph, root: u32, links_max: usize) -> Vec<Option<Found>> {
    let tree = graph.paths(root, links_max);
    let found: Vec<Option<Found>> = (0..graph.len() as u32).map(|target| tree.path(target)).collect();
    for (target, found) in found.iter().enumerate() {
        let reach = found.as_ref().map(|found| (found.cost, found.nodes.len() as u32));
        assert_eq!(tree.reach(target as u32), reach);
    }
    found
}

#[test]
fn costs_agree_with_a_naive_search_on_random_graphs() {
    let mut rng = rng(1);
    let mut bounded = 0;
    for round in 0..3_000 {
        let graph = random_graph(&mut rng);
        let root = rng.below(graph.len() as u64) as u32;
        let links_max = [16, 3, 1][round % 3];
        let found = found(&graph, root, links_max);
        let expected = naive(&graph, root, links_max);
        let unbounded = naive(&graph, root, graph.len());
        bounded += usize::from(expected.iter().zip(&unbounded).any(|(e, u)| e.is_some() && e != u));
        for (target, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.as_ref().map(|found| found.cost), *expected, "round {round}, to {target}");
            let Some(found) = found else { continue };
            assert_eq!(price(&graph, root, found), found.cost);
            assert!(found.nodes.len() <= links_max);
            assert_eq!(found.nodes.last(), Some(&(target as u32)));
            let different: BTreeSet<u32> = found.nodes.iter().copied().chain([root]).collect();
            assert_eq!(different.len(), found.nodes.len() + 1, "a path is simple");
        }
    }
    assert!(bounded > 300, "the bound on links mattered in {bounded} rounds");
}

#[test]
fn of_equally_cheap_paths_fewer_links_win_and_then_smaller_numbers() {
    let diamond = [vec![(1, 5), (2, 5), (3, 10)], vec![(3, 5)], vec![(3, 5)], vec![(4, 1)], vec![]];
    let ways = found(&graph(diamond), 0, 16);
    assert_eq!(ways[3], Some(Found { cost: 10, nodes: vec![3] }));
    assert_eq!(ways[4], Some(Found { cost: 11, nodes: vec![3, 4] }));
    let twins = graph([vec![(1, 5), (2, 5)], vec![(3, 5)], vec![(3, 5)], vec![]]);
    assert_eq!(found(&twins, 0, 16)[3], Some(Found { cost: 10, nodes: vec![1, 3] }));
}

#[test]
fn a_dearer_path_is_taken_where_the_cheapest_is_too_long() {
    // A line of 20 cheap links, and one dear short cut over its first ten.
    let mut edges: Vec<Vec<(u32, u32)>> = (0..20).map(|node| vec![(node + 1, 1)]).collect();
    edges.push(vec![]);
    edges[0].push((10, 1000));
    let found = found(&graph(edges), 0, 16);
    assert_eq!(found[16].as_ref().map(|found| (found.cost, found.nodes.len())), Some((16, 16)));
    assert_eq!(found[17].as_ref().map(|found| (found.cost, found.nodes.len())), Some((1007, 8)));
    assert_eq!(found[20].as_ref().map(|found| (found.cost, found.nodes.len())), Some((1010, 11)));
}
