//! When to ask again.

use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;

/// How long a first attempt waits for what [`Failure::may_settle`]: long enough for a node that catches up after a restart, short enough
/// for a misspelt name.
const SETTLE: Duration = Duration::from_secs(2);

/// A pause that doubles each time, between two bounds.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Pause {
    /// Begins with the shortest.
    #[must_use]
    pub const fn between(min: Duration, max: Duration) -> Self {
        Self { next: min, min, max }
    }

    /// How long to wait now.
    pub fn take(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.max);
        now
    }

    /// Something went well: the next pause is the shortest again.
    pub const fn reset(&mut self) {
        self.next = self.min;
    }
}

/// Asks until there is an answer, or a failure that time will not settle.
///
/// # Errors
/// That failure, or the last one.
pub async fn settled<T>(mut ask: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(failure) if failure.may_settle() && begun.elapsed() < SETTLE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew() {
        let milli = Duration::from_millis;
        let mut pause = Pause::between(milli(50), milli(150));
        let taken: Vec<_> = (0..4).map(|_| pause.take()).collect();
        assert_eq!(taken, [milli(50), milli(100), milli(150), milli(150)]);
        pause.reset();
        assert_eq!(pause.take(), milli(50));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_settle_is_told_and_the_rest_is_asked_again() {
        let not_member = || crate::api::errors::status(&wattle_core::node::command::Refusal::NotMember);
        let mut left = 3;
        let answer = settled(async || {
            left -= 1;
            if left == 0 { Ok("yes") } else { Err(Failure::from(not_member())) }
        });
        assert_eq!(answer.await, Ok("yes"));
        let begun = Instant::now();
        let failure = settled::<()>(async || Err(Failure::from(not_member()))).await.unwrap_err();
        assert!(failure.may_settle() && begun.elapsed() >= SETTLE);
        let begun = Instant::now();
        assert!(settled::<()>(async || Err(Failure::Usage(String::new()))).await.is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
