//! Where an item goes after an attempt. Pure.

use super::outcome::{ItemOutcome, ItemResult};
use crate::batches::row::Going;
use crate::model::{ItemStatus, OnUnknown};
use crate::retry::{Backoff, MAX_MESSAGE_RETRIES};
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
pub(super) struct Surroundings {
    pub(super) going: Going,
    pub(super) on_unknown: OnUnknown,
    /// Until when the sender's circuit is open, if this attempt did not try it out: the failure is the gateway's, and not
    /// the message's.
    pub(super) open_until: Option<Timestamp>,
}

/// Decides where an item goes after an attempt. Pure: the whole policy of retries is here.
pub(super) fn decide(around: Surroundings, result: &ItemResult, rng: &mut impl Rng) -> Decision {
    let over = around.going == Going::Ended;
    let exhausted = result.attempt > MAX_MESSAGE_RETRIES;
    let retry = u32::try_from(result.attempt - 1).unwrap_or(0);
    let backoff_until = |rng: &mut _| {
        let at = result.at.plus(Backoff::MESSAGES.delay(retry, rng));
        Some(around.open_until.map_or(at, |until| until.max(at)))
    };
    let doubt = || result.doubtful.then(|| ("outcome_unknown".into(), "an earlier attempt may have been taken".into()));
    let waiting = if result.doubtful { ItemStatus::Unknown } else { ItemStatus::Pending };
    let done =
        |status, error| Decision { status, error, finished: true, next_attempt_at: None, attempts: result.attempt };
    let later = |status, error, next_attempt_at| Decision {
        status,
        error,
        finished: false,
        next_attempt_at,
        attempts: result.attempt,
    };
    let not_counted = |error: Option<(String, String)>, at| {
        let attempts = result.attempt - 1;
        match (over, result.doubtful) {
            (true, true) => Decision { attempts, ..done(ItemStatus::Unknown, doubt()) },
            (true, false) => Decision { attempts, ..done(ItemStatus::Cancelled, None) },
            (false, _) => Decision { attempts, ..later(waiting, error.or_else(doubt), at) },
        }
    };
    let reason = |code: &String, detail: &String| Some((code.clone(), detail.clone()));
    match &result.outcome {
        ItemOutcome::Accepted => done(ItemStatus::Succeeded, None),
        // An idempotent gateway knows what it took: a refusal of the same id says that it never did.
        ItemOutcome::Rejected { code, detail } => done(ItemStatus::Failed, reason(code, detail)),
        ItemOutcome::Invalid { code, detail } => {
            done(if result.doubtful { ItemStatus::Unknown } else { ItemStatus::Failed }, reason(code, detail))
        }
        ItemOutcome::Failed { code, detail } if around.open_until.is_some() => {
            not_counted(reason(code, detail), around.open_until)
        }
        ItemOutcome::Failed { code, detail } => {
            if exhausted || over {
                done(if result.doubtful { ItemStatus::Unknown } else { ItemStatus::Failed }, reason(code, detail))
            } else {
                later(waiting, reason(code, detail), backoff_until(rng))
            }
        }
        ItemOutcome::Unreachable { detail } => not_counted(reason(&UNREACHABLE.to_owned(), detail), backoff_until(rng)),
        ItemOutcome::Unknown { code, detail } => {
            if exhausted || over || around.on_unknown == OnUnknown::Hold {
                done(ItemStatus::Unknown, reason(code, detail))
            } else {
                later(ItemStatus::Unknown, reason(code, detail), backoff_until(rng))
            }
        }
        ItemOutcome::Throttled { retry_after } => not_counted(None, Some(result.at.plus(*retry_after))),
        ItemOutcome::Returned => not_counted(None, None),
    }
}

/// The code of an item whose gateway was not there.
const UNREACHABLE: &str = "gateway_unreachable";

#[cfg(test)]
mod tests {
    use super::*;
    use entities::ContactId;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::time::Duration;
    use uuid::Uuid;

    fn result(attempt: i64, doubtful: bool, outcome: ItemOutcome) -> ItemResult {
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

    fn outcomes() -> impl Strategy<Value = ItemOutcome> {
        let (code, detail) = (String::from("c"), String::from("d"));
        prop_oneof![
            Just(ItemOutcome::Accepted),
            Just(ItemOutcome::Rejected { code: code.clone(), detail: detail.clone() }),
            Just(ItemOutcome::Invalid { code: code.clone(), detail: detail.clone() }),
            Just(ItemOutcome::Failed { code: code.clone(), detail: detail.clone() }),
            Just(ItemOutcome::Unreachable { detail: detail.clone() }),
            Just(ItemOutcome::Unknown { code, detail }),
            (0u64..100_000).prop_map(|ms| ItemOutcome::Throttled { retry_after: Duration::from_millis(ms) }),
            Just(ItemOutcome::Returned),
        ]
    }

    fn surroundings() -> impl Strategy<Value = Surroundings> {
        let going = prop_oneof![Just(Going::On), Just(Going::Paused), Just(Going::Ended)];
        let on_unknown = prop_oneof![Just(OnUnknown::Hold), Just(OnUnknown::Resend)];
        let open_until = prop::option::of((1_000_000i64..1_030_000).prop_map(Timestamp));
        (going, on_unknown, open_until).prop_map(|(going, on_unknown, open_until)| Surroundings {
            going,
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
            prop_assert!(decision.finished || around.going != Going::Ended);
            let counted = match result.outcome {
                ItemOutcome::Throttled { .. } | ItemOutcome::Returned | ItemOutcome::Unreachable { .. } => false,
                ItemOutcome::Failed { .. } => around.open_until.is_none(),
                _ => true,
            };
            prop_assert!(decision.finished || !counted || attempt <= MAX_MESSAGE_RETRIES);
            prop_assert_eq!(decision.attempts, if counted { attempt } else { attempt - 1 });
            // What nobody knows is never called failed, cancelled or never tried: only the gateway can tell.
            if matches!(result.outcome, ItemOutcome::Unknown { .. }) {
                prop_assert_eq!(decision.status, ItemStatus::Unknown);
            } else if doubtful && !matches!(result.outcome, ItemOutcome::Accepted | ItemOutcome::Rejected { .. }) {
                prop_assert_eq!(decision.status, ItemStatus::Unknown);
            }
            prop_assert!(decision.next_attempt_at.is_none_or(|at| at >= result.at));
        }
    }
}
