//! Handing one message to the gateway: the same for batches and replies.

use crate::Shared;
use domain::delivery::AttemptOutcome;
use faults::{Point, Side};
use gateway::{Outbound, SendOutcome};

/// Asks the gateway to take a message, and says what became of the attempt.
pub(crate) async fn attempt(shared: &Shared, message: &Outbound<'_>) -> AttemptOutcome {
    if let Err(error) = faults::hit(Point::Send(Side::Before)) {
        return AttemptOutcome::Unreachable { detail: error.to_string() };
    }
    let sent = shared.gateway.send(message).await;
    if let Err(error) = faults::hit(Point::Send(Side::After)) {
        return AttemptOutcome::Unknown { code: "gateway_broke_off".into(), detail: error.to_string() };
    }
    match sent {
        SendOutcome::Accepted => AttemptOutcome::Accepted,
        SendOutcome::Rejected { code, detail } => AttemptOutcome::Rejected { code, detail },
        SendOutcome::Throttled { retry_after } => AttemptOutcome::Throttled { retry_after },
        SendOutcome::Failed { code, detail } => AttemptOutcome::Failed { code, detail },
        SendOutcome::Unknown { code, detail } => AttemptOutcome::Unknown { code, detail },
        SendOutcome::Unreachable { detail } => {
            // Who answers there next may be another.
            shared.identity.doubt();
            AttemptOutcome::Unreachable { detail }
        }
    }
}

/// The word under which an outcome is measured.
pub(crate) const fn label(outcome: &AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Accepted => "accepted",
        AttemptOutcome::Rejected { .. } => "rejected",
        AttemptOutcome::Throttled { .. } => "throttled",
        AttemptOutcome::Failed { .. } => "failed",
        AttemptOutcome::Unreachable { .. } => "unreachable",
        AttemptOutcome::Unknown { .. } => "unknown",
        AttemptOutcome::Invalid { .. } => "invalid",
        AttemptOutcome::Returned => "returned",
    }
}
