//! Loops that a process cannot do without.

use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// How long after a panic a loop begins anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a loop until it ends by itself. One that panics has a bug, and begins anew: a process that looks alive and does
/// nothing would be worse. `make` starts it, each time from what the database says.
pub async fn supervise<F: Future<Output = ()>>(what: &'static str, mut make: impl FnMut() -> F) {
    while AssertUnwindSafe(make()).catch_unwind().await.is_err() {
        metrics::counter!("paceline_panics_total", "in" => what).increment(1);
        tracing::error!(what, "panicked, and begins anew; the log has its place");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_and_what_ends_has_ended() {
        let begun = Cell::new(0);
        supervise("test", || async {
            begun.set(begun.get() + 1);
            assert!(begun.get() >= 3, "a panic that the test wants");
        })
        .await;
        assert_eq!(begun.get(), 3);
    }
}
