//! Time comes from outside: rules take a [`Timestamp`], processes own a [`Clock`].

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds since the Unix epoch, UTC. What every time column of the ledger holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time moved by `duration`, saturating at the ends of the range.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time moved back by `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long it is from `earlier` to this time; zero when it lies before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with milliseconds and `Z`, as every contract writes it.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        chrono::DateTime::from_timestamp_millis(self.0)
            .unwrap_or_default()
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    }

    /// Reads an RFC 3339 time with any offset.
    ///
    /// # Errors
    /// The parser's own words, when it is not RFC 3339.
    pub fn parse_rfc3339(text: &str) -> Result<Self, chrono::ParseError> {
        chrono::DateTime::parse_from_rfc3339(text).map(|t| Self(t.timestamp_millis()))
    }
}

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
    fn a_time_reads_back_as_it_was_written() {
        let t = Timestamp(1_763_690_400_123);
        assert_eq!(t.to_rfc3339(), "2025-11-21T02:00:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339("2025-11-21T04:00:00.123+02:00").ok(), Some(t));
    }

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
