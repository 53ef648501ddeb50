//! Waiting for what nobody announces.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Between two looks, unless told otherwise.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `probe` says `Ok`, and returns what it found.
///
/// `what` completes the sentence "waited for …", and the probe's error says what is the case instead:
///
/// ```
/// # use support::{eventually, DEADLINE};
/// # async fn doc(client: support::Client) {
/// let batch = eventually("the batch to end", DEADLINE, async || {
///     let batch = client.get("/batch/1").await.expect(200);
///     if batch["data"]["status"] == "COMPLETED" { Ok(batch) } else { Err(batch) }
/// }).await;
/// # }
/// ```
///
/// # Panics
/// When `deadline` is over; the message has `what`, the time waited and the last error.
pub async fn eventually<T, E: Display>(what: &str, deadline: Duration, probe: impl AsyncFnMut() -> Result<T, E>) -> T {
    eventually_every(PAUSE, what, deadline, probe).await
}

/// As [`eventually`], with so long between two looks: for what takes seconds, where many look at once and a look is a
/// request that somebody has to answer.
///
/// # Panics
/// As [`eventually`].
pub async fn eventually_every<T, E: Display>(
    pause: Duration,
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    // The probe itself is under the deadline too: a request that hangs must not hang the test.
    let mut last = "the first look has not ended".to_owned();
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => {}
        }
        // A probe that answers at once beats any timeout, so the clock has the last word.
        assert!(start.elapsed() < deadline, "waited {deadline:?} for {what}; at last: {last}");
        tokio::time::sleep(pause).await;
    }
}
