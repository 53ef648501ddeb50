//! What this process has seen of each sender's gateway a moment ago: messages that were claimed before the circuit in the
//! sender's row opened stay here, instead of failing one by one.

use domain::circuit::{CircuitSignal, FIRST, THRESHOLD};
use domain::{SenderId, Timestamp};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// One sender's circuit, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    failures: AtomicI64,
    open_until_ms: AtomicI64,
}

impl Circuit {
    /// Whether a message should stay.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        now.0 < self.open_until_ms.load(Ordering::Relaxed)
    }

    /// Takes in what an outcome says of the gateway. Once it failed often enough in a row, the circuit is open here until
    /// its row is written.
    pub(crate) fn sees(&self, signal: CircuitSignal, now: Timestamp) {
        match signal {
            CircuitSignal::Alive => {
                self.failures.store(0, Ordering::Relaxed);
                self.open_until_ms.store(0, Ordering::Relaxed);
            }
            CircuitSignal::Failing => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= THRESHOLD {
                    self.opens(now.plus(FIRST));
                }
            }
            CircuitSignal::FailingAgain | CircuitSignal::Nothing => {}
        }
    }

    /// The row says that it is open.
    pub(crate) fn opens(&self, until: Timestamp) {
        self.open_until_ms.fetch_max(until.0, Ordering::Relaxed);
    }

    /// The row lets a message try the gateway out.
    pub(crate) fn lets_through(&self) {
        self.open_until_ms.store(0, Ordering::Relaxed);
    }
}

/// The circuits of all senders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circuits(Arc<Mutex<HashMap<SenderId, Arc<Circuit>>>>);

impl Circuits {
    /// The circuit of a sender; a batch without one has its own.
    pub(crate) fn of(&self, sender: Option<SenderId>) -> Arc<Circuit> {
        sender.map_or_else(Arc::default, |id| self.0.lock().entry(id).or_default().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_when_told() {
        let circuits = Circuits::default();
        let (circuit, now) = (circuits.of(Some(SenderId(1))), Timestamp(1_000));
        for _ in 1..THRESHOLD {
            circuit.sees(CircuitSignal::Failing, now);
        }
        assert!(!circuit.is_open(now));
        circuits.of(Some(SenderId(1))).sees(CircuitSignal::Failing, now);
        assert!(circuit.is_open(now) && !circuits.of(Some(SenderId(2))).is_open(now));
        circuit.lets_through();
        assert!(!circuit.is_open(now));
        circuit.sees(CircuitSignal::Failing, now);
        assert!(circuit.is_open(now), "one more failure in the same row");
        circuit.sees(CircuitSignal::Alive, now);
        circuit.sees(CircuitSignal::Failing, now);
        assert!(!circuit.is_open(now));
    }
}
