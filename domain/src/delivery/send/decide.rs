//! Where an item goes after an attempt. Pure.

use super::outcome::ItemResult;
use crate::batches::row::RunState;
use crate::delivery::attempt::{AttemptOutcome, Verdict, Wait, judge};
use crate::model::{ItemStatus, OnUnknown};
use crate::retry::Backoff;
use crate::time::Timestamp;
use rand::Rng;

/// Where an item goes.
pub(super) struct Decision {
    pub(super) status: ItemStatus,
    pub(super) error: Option<(String, String)>,
    pub(super) finished: bool,
    pub(super) next_attempt_at: Option<Timestamp>,
    pub(super) attempts: i64,
}

/// What is known of an item's surroundings when its attempt is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptContext {
    pub(super) run_state: RunState,
    pub(super) on_unknown: OnUnknown,
    /// Until when the sender's circuit is open, if this attempt did not try it out: the failure is the gateway's, and not
    /// the message's.
    pub(super) open_until: Option<Timestamp>,
}

/// Decides where an item goes after an attempt: what follows from it for any message ([`judge`]), and what its batch and its
/// sender make of that. Pure.
pub(super) fn decide(around: AttemptContext, result: &ItemResult, rng: &mut impl Rng) -> Decision {
    let over = around.run_state == RunState::Ended;
    let retry = u32::try_from(result.attempt - 1).unwrap_or(0);
    let done =
        |status, error| Decision { status, error, finished: true, next_attempt_at: None, attempts: result.attempt };
    let later = |status, error, next_attempt_at| Decision {
        status,
        error,
        finished: false,
        next_attempt_at,
        attempts: result.attempt,
    };
    let doubt = || result.doubtful.then(|| ("outcome_unknown".into(), "an earlier attempt may have been taken".into()));
    let given_up = if result.doubtful { ItemStatus::Unknown } else { ItemStatus::Failed };
    let waiting = |in_doubt| if in_doubt { ItemStatus::Unknown } else { ItemStatus::Pending };
    let not_counted = |error: Option<(String, String)>, at| {
        let attempts = result.attempt - 1;
        match (over, result.doubtful) {
            (true, true) => Decision { attempts, ..done(ItemStatus::Unknown, doubt()) },
            (true, false) => Decision { attempts, ..done(ItemStatus::Cancelled, None) },
            (false, in_doubt) => Decision { attempts, ..later(waiting(in_doubt), error.or_else(doubt), at) },
        }
    };
    // The failure is the gateway's, and not the message's.
    if let (AttemptOutcome::Failed { code, detail }, Some(_)) = (&result.outcome, around.open_until) {
        return not_counted(Some((code.clone(), detail.clone())), around.open_until);
    }
    let (in_doubt, reason, wait) = match judge(&result.outcome, result.attempt, result.doubtful) {
        Verdict::Sent => return done(ItemStatus::Succeeded, None),
        Verdict::Failed(reason) => return done(ItemStatus::Failed, Some(reason)),
        Verdict::Unknown(reason) => return done(ItemStatus::Unknown, Some(reason)),
        Verdict::Again { counted: _, in_doubt, reason, wait } => (in_doubt, reason, wait),
    };
    let mut backoff_until = || {
        let at = result.at.plus(Backoff::MESSAGES.delay(retry, rng));
        Some(around.open_until.map_or(at, |until| until.max(at)))
    };
    let is_unknown = matches!(result.outcome, AttemptOutcome::Unknown { .. });
    match wait {
        Wait::Backoff if is_unknown && (over || around.on_unknown == OnUnknown::Hold) => {
            done(ItemStatus::Unknown, reason)
        }
        Wait::Backoff if over => done(given_up, reason),
        Wait::Backoff => later(waiting(in_doubt), reason, backoff_until()),
        Wait::Away => not_counted(reason, backoff_until()),
        // That a sender keeps to its pace is no error of its messages.
        Wait::Asked(wait) => not_counted(None, Some(result.at.plus(wait))),
        Wait::Not => not_counted(None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::MAX_MESSAGE_RETRIES;
    use entities::ContactId;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::time::Duration;
    use uuid::Uuid;

    fn result(attempt: i64, doubtful: bool, outcome: AttemptOutcome) -> ItemResult {
        ItemResult {
            seq: 0,
            message_id: Uuid::nil(),
            contact: ContactId(1),
            attempt,
            doubtful,
            has_row: true,
            claimed_at: Timestamp(1_000_000),
            slot_us: 1_000_000_000,
            gateway: None,
            text: None,
            at: Timestamp(1_000_000),
            outcome,
        }
    }

    fn outcomes() -> impl Strategy<Value = AttemptOutcome> {
        let (code, detail) = (String::from("c"), String::from("d"));
        prop_oneof![
            Just(AttemptOutcome::Accepted),
            Just(AttemptOutcome::Rejected { code: code.clone(), detail: detail.clone() }),
            Just(AttemptOutcome::Invalid { code: code.clone(), detail: detail.clone() }),
            Just(AttemptOutcome::Failed { code: code.clone(), detail: detail.clone() }),
            Just(AttemptOutcome::Unreachable { detail: detail.clone() }),
            Just(AttemptOutcome::Unknown { code, detail }),
            (0u64..100_000).prop_map(|ms| AttemptOutcome::Throttled { retry_after: Duration::from_millis(ms) }),
            Just(AttemptOutcome::Returned),
        ]
    }

    fn surroundings() -> impl Strategy<Value = AttemptContext> {
        let run_state = prop_oneof![Just(RunState::Running), Just(RunState::Paused), Just(RunState::Ended)];
        let on_unknown = prop_oneof![Just(OnUnknown::Hold), Just(OnUnknown::Resend)];
        let open_until = prop::option::of((1_000_000i64..1_030_000).prop_map(Timestamp));
        (run_state, on_unknown, open_until).prop_map(|(run_state, on_unknown, open_until)| AttemptContext {
            run_state,
            on_unknown,
            open_until,
        })
    }

    proptest! {
        #[test]
        fn an_item_is_finished_or_has_its_next_step(
            outcome in outcomes(), attempt in 1i64..6, doubtful: bool, around in surroundings(), seed: u64,
        ) {
            let result = result(attempt, doubtful, outcome);
            let decision = decide(around, &result, &mut StdRng::seed_from_u64(seed));
            if decision.finished {
                prop_assert!(!matches!(decision.status, ItemStatus::Pending | ItemStatus::Sending));
                prop_assert_eq!(decision.next_attempt_at, None);
            } else {
                prop_assert!(matches!(decision.status, ItemStatus::Pending | ItemStatus::Unknown));
            }
            // Nothing waits in a batch that has ended, and no item is tried for ever.
            prop_assert!(decision.finished || around.run_state != RunState::Ended);
            let counted = match result.outcome {
                AttemptOutcome::Throttled { .. } | AttemptOutcome::Returned | AttemptOutcome::Unreachable { .. } => false,
                AttemptOutcome::Failed { .. } => around.open_until.is_none(),
                _ => true,
            };
            prop_assert!(decision.finished || !counted || attempt <= MAX_MESSAGE_RETRIES);
            prop_assert_eq!(decision.attempts, if counted { attempt } else { attempt - 1 });
            // What nobody knows is never called failed, cancelled or never tried: only the gateway can tell.
            if matches!(result.outcome, AttemptOutcome::Unknown { .. }) {
                prop_assert_eq!(decision.status, ItemStatus::Unknown);
            } else if doubtful && !matches!(result.outcome, AttemptOutcome::Accepted | AttemptOutcome::Rejected { .. }) {
                prop_assert_eq!(decision.status, ItemStatus::Unknown);
            }
            prop_assert!(decision.next_attempt_at.is_none_or(|at| at >= result.at));
        }
    }
}
