//! The circuit breaker of a sender (Nygard, *Release It!*, 2nd ed., chapter 5): while its gateway does not work, no
//! messages are tried, so that they use up no attempts and the waiting costs nothing.
//!
//! The state is in the sender's row, for all processes together:
//!
//! - **closed**: messages leave. [`THRESHOLD`] messages in a row that the gateway fails, of all that the sender has, open it.
//! - **open** until a time: no message is claimed. The time doubles with each opening, from [`FIRST`] to [`LONGEST`].
//! - **half-open** after that time: one message is claimed, to see. Its success closes the circuit, its failure opens it
//!   for longer. Should nothing be heard of it, the next one is tried after [`PROBE`].

use crate::Timestamp;
use sea_orm::{DbErr, FromQueryResult, QueryResult};
use std::time::Duration;

/// How many failures in a row, with no success of any message between them, open the circuit.
pub const THRESHOLD: i64 = 5;

/// How long it is open the first time.
pub const FIRST: Duration = Duration::from_secs(1);

/// The longest that it is open.
pub const LONGEST: Duration = Duration::from_secs(30);

/// How long one message that tries the gateway out may take: longer than a request to the gateway may.
pub const PROBE: Duration = Duration::from_secs(15);

/// How soon others come again while a message tries the gateway out.
pub const RECHECK: Duration = Duration::from_secs(1);

/// What one outcome says of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitSignal {
    /// It answered as gateways do, be it with a refusal.
    Alive,
    /// It was not there, broke, or said nothing in time.
    Failing,
    /// The same of a message that had failed before. That may be the message's fault, so it only counts of one that tries
    /// the gateway out: a few messages that nobody takes do not stop the others.
    FailingAgain,
    /// Nothing: the message did not come as far.
    Nothing,
}

/// A sender's circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct Circuit {
    /// Failures in a row.
    #[sea_orm(alias = "circuit_failures")]
    pub failures: i64,
    /// How often it opened since it was last closed; 0: it is closed.
    #[sea_orm(alias = "circuit_opened")]
    pub opened: i64,
    /// Until when nothing is to be claimed.
    #[sea_orm(alias = "circuit_until")]
    pub until: Option<Timestamp>,
    /// Whether a message is under way to try the gateway out.
    #[sea_orm(alias = "circuit_probing")]
    pub probing: bool,
}

/// What a claim may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitPermit {
    /// As many as it likes.
    All,
    /// One, to try the gateway out. The circuit must be written with [`Circuit::probe`].
    One,
    /// None; come again then.
    NoneUntil(Timestamp),
}

impl Circuit {
    /// Reads it from the columns `circuit_failures`, `circuit_opened`, `circuit_until` and `circuit_probing`.
    pub(crate) fn read(row: &QueryResult) -> Result<Self, DbErr> {
        Self::from_query_result(row, "")
    }

    /// Whether it is as it is when all goes well: nothing needs to be written when all goes on well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// What may leave now.
    #[must_use]
    pub fn permit(&self, now: Timestamp) -> CircuitPermit {
        match self.until {
            Some(_) if self.opened == 0 => CircuitPermit::All,
            Some(until) if until > now => {
                CircuitPermit::NoneUntil(if self.probing { until.min(now.plus(RECHECK)) } else { until })
            }
            Some(_) => CircuitPermit::One,
            None => CircuitPermit::All,
        }
    }

    /// As it is once a message was claimed to try the gateway out.
    #[must_use]
    pub fn probe(self, now: Timestamp) -> Self {
        Self { until: Some(now.plus(PROBE)), probing: true, ..self }
    }

    /// As it is after these signals, in the order in which they came.
    #[must_use]
    pub fn after(self, now: Timestamp, signals: impl IntoIterator<Item = CircuitSignal>) -> Self {
        signals.into_iter().fold(self, |circuit, signal| match signal {
            CircuitSignal::Nothing => circuit,
            CircuitSignal::Alive => Self::default(),
            CircuitSignal::FailingAgain if !circuit.probing => circuit,
            CircuitSignal::Failing | CircuitSignal::FailingAgain => circuit.failed(now),
        })
    }

    fn failed(self, now: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let opens = if self.opened == 0 { failures >= THRESHOLD } else { self.probing };
        if !opens {
            // One that left before the circuit opened says nothing new.
            return Self { failures, ..self };
        }
        let doublings = u32::try_from(self.opened).unwrap_or(u32::MAX);
        let open_for = FIRST.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LONGEST);
        Self { failures, opened: self.opened + 1, until: Some(now.plus(open_for)), probing: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn open() -> Circuit {
        Circuit::default().after(NOW, [CircuitSignal::Failing; 5])
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let four = Circuit::default().after(NOW, [CircuitSignal::Failing; 4]);
        assert_eq!(four.permit(NOW), CircuitPermit::All);
        assert_eq!(four.after(NOW, [CircuitSignal::Nothing, CircuitSignal::Alive]), Circuit::default());
        assert_eq!(open().permit(NOW), CircuitPermit::NoneUntil(NOW.plus(FIRST)));
        assert!(Circuit::default().after(NOW, [CircuitSignal::FailingAgain; 50]).is_clean());
    }

    #[test]
    fn one_message_tries_it_out() {
        let later = NOW.plus(FIRST);
        assert_eq!(open().permit(later), CircuitPermit::One);
        let probing = open().probe(later);
        assert_eq!(probing.permit(later), CircuitPermit::NoneUntil(later.plus(RECHECK)));
        assert_eq!(probing.permit(later.plus(PROBE)), CircuitPermit::One, "nothing was heard of it");
        assert!(probing.after(later, [CircuitSignal::Alive]).is_clean());
        for failing in [CircuitSignal::Failing, CircuitSignal::FailingAgain] {
            let again = probing.after(later, [failing]);
            assert_eq!(again.permit(later), CircuitPermit::NoneUntil(later.plus(FIRST * 2)));
        }
    }

    proptest! {
        /// However long the gateway is away, it is tried out at least every [`LONGEST`] and not much more often.
        #[test]
        fn it_is_never_open_for_too_long(probes in 1usize..100, stragglers in 0usize..50) {
            let mut circuit = open();
            let mut now = NOW;
            for nth in 0..probes {
                circuit = circuit.after(now, std::iter::repeat_n(CircuitSignal::Failing, stragglers));
                let CircuitPermit::NoneUntil(until) = circuit.permit(now) else { panic!("{circuit:?}") };
                let expected = FIRST.saturating_mul(1 << nth.min(10)).min(LONGEST);
                prop_assert_eq!(until.since(now), expected);
                now = until;
                prop_assert_eq!(circuit.permit(now), CircuitPermit::One);
                circuit = circuit.probe(now).after(now, [CircuitSignal::Failing]);
            }
            prop_assert!(circuit.after(now, [CircuitSignal::Alive]).is_clean());
        }
    }
}
