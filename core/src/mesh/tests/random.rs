use super::*;

/// Who asked for what, and in which life of the asking host.
struct Asked {
    host: usize,
    request: RequestId,
    life: u64,
}

/// Streams are opened and closed at random nodes while messages are lost, leaders change, uncommitted entries are truncated
/// and nodes restart. In the end all agree, everybody was answered, and no closed stream came back (asserted by the hosts).
#[test]
fn whatever_happens_members_agree_and_requests_happen_once() {
    for seed in 0..60u8 {
        let mut rng = Rng::stream([seed; 32], Purpose::Link);
        let mut world = World::grown(&["a", "b", "c", "d"]);
        for host in 0..4 {
            let compact_after = rng.between(3, 40);
            world.hosts[host].config.compact_after = compact_after;
            world.hosts[host].mesh.config.compact_after = compact_after;
        }
        let mut lives = [0u64; 4];
        let mut asked = Vec::new();
        for _ in 0..60 {
            step(&mut world, &mut rng, &mut lives, &mut asked);
        }
        world.lose = 0;
        world.quorum = true;
        world.lead(Some(0));
        world.pass(Span::secs(12));
        world.assert_equal();
        for Asked { host, request, life } in asked {
            let reply = world.reply(host, request);
            assert!(
                life != lives[host] || reply.is_some(),
                "seed {seed}: {request:?} at {host} has no answer"
            );
        }
        for host in 0..4 {
            let open: BTreeSet<StreamInstance> = world.mesh(host).streams().map(|s| s.instance).collect();
            let told: BTreeSet<StreamInstance> = world.hosts[host].open.keys().copied().collect();
            assert_eq!(open, told, "seed {seed}: what host {host} was told is what is agreed");
        }
    }
}

fn step(world: &mut World, rng: &mut Rng, lives: &mut [u64; 4], asked: &mut Vec<Asked>) {
    let host = rng.below(4) as usize;
    match rng.below(10) {
        0..=2 => {
            let names = ["a", "b", "c", "d"];
            let name = alloc::format!("s{}", rng.below(3));
            let (source, target) = (names[rng.below(4) as usize], names[rng.below(4) as usize]);
            let request = world.command(host, open(&name, source, target));
            asked.push(Asked { host, request, life: lives[host] });
        }
        3..=4 => {
            let request = world.command(host, close(&alloc::format!("s{}", rng.below(3))));
            asked.push(Asked { host, request, life: lives[host] });
        }
        5 => world.lose += rng.between(1, 4) as usize,
        6 => world.quorum = !world.quorum,
        7 => {
            if rng.below(2) == 0 && !world.quorum {
                while world.log.len() > world.committed
                    && matches!(world.log.last(), Some(Logged::Command(..)))
                {
                    world.log.pop();
                }
            }
            world.lead(Some(host));
        }
        8 => {
            lives[host] += 1;
            world.restart(host);
        }
        _ => world.pass(Span::millis(rng.between(10, 3_000))),
    }
    world.pump();
}
