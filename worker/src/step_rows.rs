//! How many rows a step of an import, a change of tags or a deletion writes on SQLite, where it holds the only writer.
//!
//! A thousand rows take some 15 ms on an idle machine, and ten times as long on one that is busy or has a slow disk. So the
//! time of the last steps says how large the next ones are. On PostgreSQL nobody waits for the writer, and steps stay as
//! large as they may be.

use domain::Dialect;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A step that took longer is followed by a smaller one. Half of the 100 ms that no step may take, since the next one may
/// well be slower than the last.
const LONG: Duration = Duration::from_millis(50);

/// A step that took less is followed by a larger one.
const SHORT: Duration = Duration::from_millis(25);

/// With fewer rows a step is mostly the cost of its commit.
const FEWEST: usize = 50;

/// The rows of the next step, over all jobs of a process.
#[derive(Debug)]
pub(crate) struct StepRows {
    most: usize,
    now: AtomicUsize,
    by_time: bool,
}

impl StepRows {
    pub(crate) fn new(dialect: Dialect) -> Self {
        let most = dialect.step_rows();
        Self { most, now: AtomicUsize::new(most), by_time: dialect == Dialect::Sqlite }
    }

    /// How many the next step writes.
    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// A step held the writer for so long: how many rows the next one writes. `None`: as many as before.
    pub(crate) fn after(&self, time: Duration) -> Option<usize> {
        if !self.by_time {
            return None;
        }
        let now = self.now();
        let next = if time > LONG {
            (now / 2).max(FEWEST.min(self.most))
        } else if time < SHORT {
            (now + now / 4 + 1).min(self.most)
        } else {
            now
        };
        // Of two steps that end at once one is forgotten: the next one says it again.
        self.now.store(next, Ordering::Relaxed);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_with_the_time_they_take_and_grow_again() {
        let rows = StepRows::new(Dialect::Sqlite);
        let most = rows.now();
        let after = |ms: u64, times: usize| (0..times).filter_map(|_| rows.after(Duration::from_millis(ms))).last();
        assert_eq!(after(200, 20), Some(FEWEST));
        assert_eq!(after(30, 1), Some(FEWEST), "neither long nor short");
        assert_eq!(after(5, 40), Some(most));
        assert_eq!(StepRows::new(Dialect::Postgres).after(Duration::from_secs(9)), None);
    }
}
