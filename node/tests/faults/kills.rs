//! Processes are killed one after another, and how soon each goes on is measured.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wattle_core::rng::{Purpose, Rng};

use super::{Load, Node};

/// How long each process took from its start until it got something done again.
pub(crate) struct Kills {
    resumed: Vec<Duration>,
}

/// The order in which they are killed, each so often.
fn victims(rng: &mut Rng, load: Load) -> Vec<usize> {
    let mut victims: Vec<usize> = (0..3).flat_map(|node| vec![node; load.kills_each as usize]).collect();
    for last in (1..victims.len()).rev() {
        victims.swap(last, rng.below(last as u64 + 1) as usize);
    }
    victims
}

/// From now until the process that was just started gets something done.
async fn resumes(node: Node, before: u64) -> Duration {
    let start = Instant::now();
    while node.done.load(Ordering::Relaxed) <= before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}

impl Kills {
    /// Kills each node at seeded random moments within the time of publishing, and starts it again.
    pub(crate) async fn in_turn(nodes: &[Node; 3], load: Load, publishing: Instant) -> Self {
        let mut rng = load.rng(Purpose::Link);
        let victims = victims(&mut rng, load);
        let mut resuming = JoinSet::new();
        for (turn, &victim) in victims.iter().enumerate() {
            load.moment(&mut rng, (turn as u64, victims.len() as u64), publishing).await;
            let node = &nodes[victim];
            let mut process = node.process.lock().await;
            process.kill();
            tokio::time::sleep(Duration::from_millis(rng.between(10, 600))).await;
            let before = node.done.load(Ordering::Relaxed);
            process.spawn();
            let works = victim == 0 || load.targets.contains(&process.name);
            if works {
                resuming.spawn(resumes(node.clone(), before));
            }
        }
        let mut resumed = resuming.join_all().await;
        resumed.sort_unstable();
        Self { resumed }
    }

    pub(crate) fn words(&self) -> String {
        let Some(longest) = self.resumed.last() else { return "nothing was killed that works".into() };
        let median = self.resumed[self.resumed.len() / 2];
        let over = self.resumed.iter().filter(|&&took| took > Duration::from_secs(5)).count();
        format!(
            "of {} that were started again the median works after {median:.0?}, the last after {longest:.0?}, {over} after more than 5 s",
            self.resumed.len()
        )
    }
}
