//! Time comes from outside: rules take a [`Timestamp`], processes own a [`Clock`].

pub use entities::Timestamp;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Where a process reads the time.
///
/// The production clock is the database's (see [`Clock::correct`]), carried on by the machine's timer, so that leases, slots
/// and schedules mean the same on machines whose clocks disagree, and also when somebody sets one of them meanwhile.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    Machine {
        /// When the timer began.
        began: Instant,
        /// What time it was then.
        began_ms: AtomicI64,
    },
    Manual(AtomicI64),
}

impl Clock {
    /// The machine's time, until [`Clock::correct`] is called.
    #[must_use]
    pub fn machine() -> Self {
        Self(Arc::new(Source::Machine { began: Instant::now(), began_ms: AtomicI64::new(machine_ms()) }))
    }

    /// A clock that moves only when told to: for tests and simulations.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source::Manual(AtomicI64::new(start.0))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::Machine { began, began_ms } => Timestamp(began_ms.load(Ordering::Relaxed)).plus(began.elapsed()),
            Source::Manual(ms) => Timestamp(ms.load(Ordering::SeqCst)),
        }
    }

    /// Tells the clock what the database's clock reads just now; returns by how many milliseconds that is ahead of the
    /// machine's own. A manual clock ignores it.
    pub fn correct(&self, database_now: Timestamp) -> i64 {
        match &*self.0 {
            Source::Machine { began, began_ms } => {
                began_ms.store(database_now.minus(began.elapsed()).0, Ordering::Relaxed);
                database_now.0 - machine_ms()
            }
            Source::Manual(_) => 0,
        }
    }

    /// Moves a manual clock forward. The machine's clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(ms) = &*self.0 {
            ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

fn machine_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_goes_on_from_where_the_databases_was() {
        let clock = Clock::machine();
        assert!((clock.now().0 - machine_ms()).abs() < 1_000);
        let offset_ms = clock.correct(Timestamp(machine_ms() - 300_000));
        assert!((-300_001..-290_000).contains(&offset_ms), "{offset_ms}");
        assert!((machine_ms() - clock.now().0 - 300_000).abs() < 1_000);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp(5));
        clock.correct(Timestamp(1_000));
        assert_eq!(clock.now(), Timestamp(5));
        clock.advance(Duration::from_millis(7));
        assert_eq!(clock.now(), Timestamp(12));
    }
}
