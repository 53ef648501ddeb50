//! How long this process takes to answer, on average: for the CRM's numbers. Prometheus has the histogram.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static ANSWERS: AtomicU64 = AtomicU64::new(0);
static MICROSECONDS: AtomicU64 = AtomicU64::new(0);

/// Counts an answer.
pub(crate) fn add(took: Duration) {
    MICROSECONDS.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    ANSWERS.fetch_add(1, Ordering::Relaxed);
}

/// The average of all answers since the process began, in milliseconds with three decimals; 0 before the first.
pub(crate) fn average_ms() -> f64 {
    match ANSWERS.load(Ordering::Relaxed) {
        0 => 0.0,
        answers => (MICROSECONDS.load(Ordering::Relaxed) / answers) as f64 / 1_000.0,
    }
}
