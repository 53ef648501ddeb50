//! One attempt at a message, a batch's or a reply: what became of it, and what follows for the message.
//!
//! This is the whole policy of retries. What an answer or a silence of a gateway means is told by whoever asked it (the
//! gateway's client: a 4xx is `Rejected`, a 429 `Throttled`, a 5xx `Failed`, no answer `Unknown`); batches and replies add
//! what they alone know: a batch that was stopped, a person who decides about doubt, a circuit that is open.

use crate::circuit::CircuitSignal;
use crate::retry::MAX_MESSAGE_RETRIES;
use std::time::Duration;

/// The code of an outcome that nobody knows.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// The code of an attempt whose gateway was not there.
const UNREACHABLE: &str = "gateway_unreachable";

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The gateway took it.
    Accepted,
    /// It will never be taken: the gateway refused it.
    Rejected {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// It could not be made: the gateway was not asked.
    Invalid {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// It was not taken, and may be another time.
    Failed {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// The gateway is not there: it was never asked. Uses up no attempt.
    Unreachable {
        /// The reason for people.
        detail: String,
    },
    /// Nobody knows whether it was taken.
    Unknown {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// Not now: the gateway asks the sender to wait. Uses up no attempt.
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// It never left: the batch was paused or cancelled first, the worker is stopping, or its slot had passed. Uses up no
    /// attempt.
    Returned,
}

impl AttemptOutcome {
    /// What it says of the gateway; `attempt` is which attempt it was, from 1.
    #[must_use]
    pub fn signal(&self, attempt: i64) -> CircuitSignal {
        match self {
            Self::Accepted | Self::Rejected { .. } | Self::Throttled { .. } => CircuitSignal::Alive,
            Self::Failed { .. } | Self::Unknown { .. } if attempt > 1 => CircuitSignal::FailingAgain,
            Self::Failed { .. } | Self::Unreachable { .. } | Self::Unknown { .. } => CircuitSignal::Failing,
            Self::Invalid { .. } | Self::Returned => CircuitSignal::Nothing,
        }
    }

    /// Why the gateway seems not to work, for people.
    pub(super) fn trouble(&self) -> Option<&str> {
        match self {
            Self::Failed { detail, .. } | Self::Unreachable { detail } | Self::Unknown { detail, .. } => Some(detail),
            Self::Accepted | Self::Rejected { .. } | Self::Invalid { .. } | Self::Throttled { .. } | Self::Returned => {
                None
            }
        }
    }
}

/// A stable word and the same for people.
pub(super) type Reason = (String, String);

/// What follows from an attempt for its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The gateway has it.
    Sent,
    /// It is not tried any more, and surely nobody has it.
    Failed(Reason),
    /// It is not tried any more, and nobody knows whether it was taken.
    Unknown(Reason),
    /// It is tried again.
    Again {
        /// Whether the attempt counts.
        counted: bool,
        /// Whether the gateway may have it.
        in_doubt: bool,
        /// Why; `None`: nothing went wrong.
        reason: Option<Reason>,
        /// When.
        wait: Wait,
    },
}

/// How long a message waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// As its retries grow.
    Backoff,
    /// Until a gateway that is away may be back.
    Away,
    /// As long as the gateway asked for.
    Asked(Duration),
    /// Not at all.
    Not,
}

/// What follows from an outcome. `attempt` is which attempt it was, from 1; `doubtful`: an earlier one may have been taken,
/// so no failure of this one says that nothing was sent.
pub(super) fn judge(outcome: &AttemptOutcome, attempt: i64, doubtful: bool) -> Verdict {
    let exhausted = attempt > MAX_MESSAGE_RETRIES;
    let reason = |code: &String, detail: &String| (code.clone(), detail.clone());
    let given_up = |reason| if doubtful { Verdict::Unknown(reason) } else { Verdict::Failed(reason) };
    let not_counted = |reason, wait| Verdict::Again { counted: false, in_doubt: doubtful, reason, wait };
    match outcome {
        AttemptOutcome::Accepted => Verdict::Sent,
        // An idempotent gateway knows what it took: a refusal of the same id says that it never did.
        AttemptOutcome::Rejected { code, detail } => Verdict::Failed(reason(code, detail)),
        AttemptOutcome::Invalid { code, detail } => given_up(reason(code, detail)),
        AttemptOutcome::Failed { code, detail } if exhausted => given_up(reason(code, detail)),
        AttemptOutcome::Failed { code, detail } => Verdict::Again {
            counted: true,
            in_doubt: doubtful,
            reason: Some(reason(code, detail)),
            wait: Wait::Backoff,
        },
        AttemptOutcome::Unknown { code, detail } if exhausted => Verdict::Unknown(reason(code, detail)),
        AttemptOutcome::Unknown { code, detail } => {
            Verdict::Again { counted: true, in_doubt: true, reason: Some(reason(code, detail)), wait: Wait::Backoff }
        }
        AttemptOutcome::Unreachable { detail } => {
            not_counted(Some((UNREACHABLE.to_owned(), detail.clone())), Wait::Away)
        }
        AttemptOutcome::Throttled { retry_after } => {
            let reason = ("throttled".to_owned(), "the gateway asked the sender to wait".to_owned());
            not_counted(Some(reason), Wait::Asked(*retry_after))
        }
        AttemptOutcome::Returned => not_counted(None, Wait::Not),
    }
}
