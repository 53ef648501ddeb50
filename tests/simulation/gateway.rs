//! The gateway, as far as a ledger can see it.

use domain::delivery::AttemptOutcome;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// How it is with the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It works, and now and then something goes wrong.
    Works,
    /// Nothing goes wrong.
    Flawless,
    /// Nobody is there.
    Away,
    /// It answers 500 to everything.
    Broken,
    /// It takes messages, or not, and does not say.
    Silent,
}

/// What it knows of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    pub(crate) attempts: u32,
    pub(crate) taken: bool,
    refused: bool,
}

/// Keeps the contract: an id takes effect once, and one that was taken is taken again.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) mood: Mood,
    pub(crate) known: HashMap<Uuid, Known>,
    pub(crate) asked: u64,
}

impl Gateway {
    pub(crate) fn new() -> Self {
        Self { mood: Mood::Works, known: HashMap::new(), asked: 0 }
    }

    pub(crate) fn send(&mut self, id: Uuid, rng: &mut StdRng) -> AttemptOutcome {
        let (code, detail) = (String::from("code"), String::from("detail"));
        if self.mood == Mood::Away {
            return AttemptOutcome::Unreachable { detail };
        }
        self.asked += 1;
        let known = self.known.entry(id).or_default();
        known.attempts += 1;
        let unknown = AttemptOutcome::Unknown { code: code.clone(), detail: detail.clone() };
        match self.mood {
            Mood::Broken => return AttemptOutcome::Failed { code, detail },
            Mood::Silent => {
                known.taken |= !known.refused && rng.random_bool(0.5);
                return unknown;
            }
            Mood::Works | Mood::Flawless | Mood::Away => {}
        }
        if known.taken {
            return AttemptOutcome::Accepted;
        }
        let chance = if self.mood == Mood::Flawless { 99 } else { rng.random_range(0..100) };
        match chance {
            _ if known.refused => AttemptOutcome::Rejected { code, detail },
            0..4 => {
                known.refused = true;
                AttemptOutcome::Rejected { code, detail }
            }
            4..8 => AttemptOutcome::Failed { code, detail },
            8..11 => AttemptOutcome::Throttled { retry_after: Duration::from_millis(rng.random_range(0..3_000)) },
            11..14 => {
                known.taken = true;
                unknown
            }
            14..16 => unknown,
            _ => {
                known.taken = true;
                AttemptOutcome::Accepted
            }
        }
    }
}
