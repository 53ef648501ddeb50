//! What follows from what: pure decisions, without a clock, a store or a network.

use crate::transport::{Class, Refusal, Settles, Status, SubmissionOutcome};
use crate::{Report, limits};
use std::time::Duration;

/// How often a message is handed over in vain before it has failed.
pub(crate) const MAX_ATTEMPTS: u32 = 5;

/// How often one whose answer was lost is handed over again before it is given up.
const MAX_DOUBTS: u32 = 8;

/// What is told of a message of which nobody knows whether the network has it.
pub(crate) const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// The longest wait of a sender that its network has not asked for, and of a message.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The longest wait of a message whose recipient gets too many: Meta asks for 4^n seconds between tries.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/overview#pair-rate-limits>
const MAX_PAIR_WAIT: Duration = Duration::from_secs(256);

/// The longest wait that a network may ask for.
const MAX_ASKED: Duration = Duration::from_secs(24 * 3600);

/// Code and detail as they are kept and told: the backend takes no longer ones.
const MAX_CODE: usize = 64;
const MAX_DETAIL: usize = 500;

/// How a message stands when an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttemptContext {
    /// Attempts that failed or were lost so far, without this one.
    pub(crate) attempts: u32,
    /// An earlier attempt may have been taken.
    pub(crate) doubt: bool,
    /// How the network is found out about.
    pub(crate) settles: Settles,
    /// How often in a row the sender was told to wait.
    pub(crate) waits: u32,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The network has it.
    Sent { network_id: String, wa_id: Option<String> },
    /// It will not be sent.
    Failed { code: String, detail: String },
    /// It is handed over again, so much later.
    Again { after: Duration, attempts: u32, code: String, detail: String },
    /// Nobody knows. It is handed over again after that time, or given up then.
    Unknown { after: Duration, attempts: u32, code: String, detail: String },
}

/// What becomes of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SenderNext {
    /// All is well.
    Fine,
    /// Nothing goes out for so long.
    Waits(Duration),
    /// Nothing goes out until a person has seen to it.
    Stops { code: String, detail: String },
}

/// Exponential, from `first` up to `most`, and between half of that and all of it: who failed together does not come back
/// together. `luck` is from 0 to 1.
pub(crate) fn backoff(nth: u32, first: Duration, most: Duration, luck: f64) -> Duration {
    let whole = first.saturating_mul(2_u32.saturating_pow(nth.min(20))).min(most);
    whole.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0)
}

pub(crate) fn short_code(code: &str) -> String {
    let code: String = code.chars().filter(|c| !c.is_control()).take(MAX_CODE).collect();
    if code.is_empty() { "unspecified".into() } else { code }
}

pub(crate) fn short_detail(detail: &str) -> String {
    detail.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()
}

/// What follows from an answer.
pub(crate) fn judge(handed: &SubmissionOutcome, standing: AttemptContext, luck: f64) -> (Next, SenderNext) {
    match handed {
        SubmissionOutcome::Taken { network_id, wa_id } => {
            (Next::Sent { network_id: limits::id(network_id), wa_id: wa_id.clone() }, SenderNext::Fine)
        }
        SubmissionOutcome::Refused(refusal) => refused(refusal, standing, luck),
        SubmissionOutcome::Unknown { code, detail } => (lost(code, detail, standing, luck), SenderNext::Fine),
    }
}

fn lost(code: &str, detail: &str, standing: AttemptContext, luck: f64) -> Next {
    let (code, detail) = (short_code(code), short_detail(detail));
    let attempts = standing.attempts.saturating_add(1);
    match standing.settles {
        Settles::ByEvent { within } => Next::Unknown { after: within, attempts, code, detail },
        Settles::BySubmittingAgain if attempts < MAX_DOUBTS => Next::Unknown {
            after: backoff(attempts - 1, Duration::from_secs(1), MAX_WAIT, luck),
            attempts,
            code,
            detail,
        },
        Settles::BySubmittingAgain => Next::Failed { code: OUTCOME_UNKNOWN.into(), detail },
    }
}

fn refused(refusal: &Refusal, standing: AttemptContext, luck: f64) -> (Next, SenderNext) {
    let (code, detail) = (short_code(&refusal.code), short_detail(&refusal.detail));
    let asked = refusal.retry_after.map(|asked| asked.min(MAX_ASKED));
    // In doubt it stays until the network ends the doubt: an attempt that never got there says nothing of an earlier one.
    let again = |after, attempts, code, detail| match standing.doubt {
        true => Next::Unknown { after, attempts, code, detail },
        false => Next::Again { after, attempts, code, detail },
    };
    match refusal.class {
        Class::Later => {
            let wait = asked.unwrap_or_else(|| backoff(standing.waits, Duration::from_secs(1), MAX_WAIT, luck));
            (again(Duration::ZERO, standing.attempts, code, detail), SenderNext::Waits(wait))
        }
        Class::LaterForRecipient => {
            let attempts = standing.attempts.saturating_add(1);
            let wait = asked
                .unwrap_or_else(|| Duration::from_secs(4_u64.saturating_pow(standing.attempts)).min(MAX_PAIR_WAIT));
            let next = match (attempts < MAX_ATTEMPTS, standing.doubt) {
                (true, _) => again(wait, attempts, code, detail),
                (false, true) => Next::Failed { code: OUTCOME_UNKNOWN.into(), detail },
                (false, false) => Next::Failed { code, detail },
            };
            (next, SenderNext::Fine)
        }
        Class::StopSender => {
            let next = again(Duration::ZERO, standing.attempts, code.clone(), detail.clone());
            (next, SenderNext::Stops { code, detail })
        }
        Class::Trouble => {
            let attempts = standing.attempts.saturating_add(1);
            let next = match (attempts < MAX_ATTEMPTS, standing.doubt) {
                (true, _) => {
                    let after =
                        backoff(attempts - 1, Duration::from_secs(1), MAX_WAIT, luck).max(asked.unwrap_or_default());
                    again(after, attempts, code, detail)
                }
                (false, true) => Next::Failed { code: OUTCOME_UNKNOWN.into(), detail },
                (false, false) => Next::Failed { code, detail },
            };
            (next, SenderNext::Fine)
        }
        // What a network that takes an id once refuses now, it has not taken before.
        Class::Message | Class::Recipient | Class::NotNow => (Next::Failed { code, detail }, SenderNext::Fine),
    }
}

/// A message as far as it matters for what a network tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrackedMessage {
    pub(crate) seq: i64,
    pub(crate) message_id: String,
    pub(crate) numeric: bool,
    pub(crate) recipient: String,
    pub(crate) state: MessageState,
    pub(crate) network_id: Option<String>,
    pub(crate) level: u8,
    pub(crate) sent_at_ms: Option<i64>,
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
}

/// How a message stands. Who moves it on:
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageState {
    /// Taken by `/send`; a claim takes it, when it is due.
    Accepted = 0,
    /// Claimed: it may be on its way to the network. Its outcome, or the next start, takes it.
    Claimed = 1,
    /// Nobody knows whether the network has it. A claim, an event or the end of patience takes it.
    Unknown = 2,
    /// The network has it. An event may still say that it was not delivered.
    Sent = 3,
    /// It will not be sent, or was not delivered. An event that says otherwise is believed.
    Failed = 4,
}

impl MessageState {
    pub(crate) const fn of(number: i64) -> Self {
        match number {
            1 => Self::Claimed,
            2 => Self::Unknown,
            3 => Self::Sent,
            4 => Self::Failed,
            _ => Self::Accepted,
        }
    }
}

const fn level_of(status: &Status) -> u8 {
    match status {
        Status::Sent => 1,
        Status::Delivered => 2,
        Status::Read => 3,
        Status::Played => 4,
        Status::Failed(_) => 0,
    }
}

/// What a network tells of a message: changes it, and says what is to be reported. What was told before changes nothing.
pub(crate) fn hear(message: &mut TrackedMessage, network_id: &str, status: &Status, at_ms: i64) -> Vec<Report> {
    let mut reports = Vec::new();
    let level = level_of(status);
    if message.state == MessageState::Failed
        && match status {
            // Told late, after the network had said that it failed.
            Status::Sent => message.code.as_deref() != Some(OUTCOME_UNKNOWN),
            Status::Failed(_) => true,
            Status::Delivered | Status::Read | Status::Played => false,
        }
    {
        return reports;
    }
    if message.network_id.is_none() && !network_id.is_empty() {
        message.network_id = Some(network_id.to_owned());
        reports.push(Report::Mapped {
            message_id: message.message_id.clone(),
            whatsapp_id: network_id.to_owned(),
            wa_id: None,
        });
    }
    let whatsapp_id = message.network_id.clone().unwrap_or_default();
    if let Status::Failed(refusal) = status {
        if message.level < 2 {
            message.state = MessageState::Failed;
            let (code, detail) = (short_code(&refusal.code), short_detail(&refusal.detail));
            (message.code, message.detail) = (Some(code.clone()), Some(detail.clone()));
            reports.push(Report::Failed { message_id: message.message_id.clone(), code, detail });
        }
        return reports;
    }
    if message.state != MessageState::Sent {
        (message.state, message.code, message.detail) = (MessageState::Sent, None, None);
    }
    message.sent_at_ms.get_or_insert(at_ms);
    if level > message.level {
        let seen_before = message.level >= 3;
        message.level = level;
        reports.push(Report::Ack { message_id: message.message_id.clone(), whatsapp_id: whatsapp_id.clone(), level });
        if level >= 3 && !seen_before {
            let delay_ms = at_ms.saturating_sub(message.sent_at_ms.unwrap_or(at_ms));
            reports.push(Report::Seen {
                message_id: message.message_id.clone(),
                whatsapp_id,
                delay_ms: u64::try_from(delay_ms).unwrap_or_default(),
                to: message.recipient.clone(),
            });
        }
    }
    reports
}

/// How many messages may leave now, and when. GCRA with a burst of one: slots are `interval` apart, whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    /// The first slot, in microseconds.
    pub(crate) first: i64,
    /// Between two.
    pub(crate) interval: i64,
    /// How many begin before the horizon.
    pub(crate) count: i64,
}

/// The slots of a sender up to `horizon`; no rate means as many as one likes, now.
pub(crate) fn slots(now: i64, horizon: i64, next: i64, rate_per_minute: i64) -> Slots {
    if rate_per_minute <= 0 {
        return Slots { first: now, interval: 0, count: i64::MAX };
    }
    // Rounded up: never over.
    let interval = (60_000_000 + rate_per_minute - 1) / rate_per_minute;
    let first = next.max(now);
    let count = if first > horizon { 0 } else { (horizon - first) / interval + 1 };
    Slots { first, interval, count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASKED: Duration = Duration::from_secs(7);

    fn refusal(class: Class) -> SubmissionOutcome {
        SubmissionOutcome::Refused(Refusal { class, code: "c".into(), detail: "d".into(), retry_after: Some(ASKED) })
    }

    fn standing(attempts: u32, doubt: bool) -> AttemptContext {
        AttemptContext { attempts, doubt, settles: Settles::BySubmittingAgain, waits: 0 }
    }

    fn after(next: &Next) -> Option<Duration> {
        match next {
            Next::Again { after, .. } | Next::Unknown { after, .. } => Some(*after),
            Next::Sent { .. } | Next::Failed { .. } => None,
        }
    }

    #[test]
    fn each_class_has_its_consequence() {
        let (next, sender) = judge(&refusal(Class::Later), standing(0, false), 0.5);
        assert!(matches!(next, Next::Again { attempts: 0, .. }), "no attempt is used up: {next:?}");
        assert_eq!((after(&next), sender), (Some(Duration::ZERO), SenderNext::Waits(ASKED)));
        let (next, sender) = judge(&refusal(Class::Trouble), standing(0, false), 0.5);
        assert!(matches!(next, Next::Again { attempts: 1, .. }), "{next:?}");
        assert_eq!((after(&next), sender), (Some(ASKED), SenderNext::Fine));
        let last = judge(&refusal(Class::Trouble), standing(MAX_ATTEMPTS - 1, false), 0.5);
        assert_eq!(last, (Next::Failed { code: "c".into(), detail: "d".into() }, SenderNext::Fine));
        // A pair that is too fast holds up nobody else, and waits longer each time.
        let pair = SubmissionOutcome::Refused(Refusal {
            class: Class::LaterForRecipient,
            code: "c".into(),
            detail: "d".into(),
            retry_after: None,
        });
        let waits: Vec<_> = (0..MAX_ATTEMPTS - 1).map(|n| judge(&pair, standing(n, false), 0.5)).collect();
        assert!(waits.iter().all(|(_, sender)| *sender == SenderNext::Fine));
        let waits: Vec<_> = waits.iter().filter_map(|(next, _)| after(next)).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [1, 4, 16, 64]);
        for class in [Class::Message, Class::Recipient, Class::NotNow] {
            let judged = judge(&refusal(class), standing(0, false), 0.5);
            assert_eq!(judged, (Next::Failed { code: "c".into(), detail: "d".into() }, SenderNext::Fine), "{class:?}");
        }
        let (next, sender) = judge(&refusal(Class::StopSender), standing(2, false), 0.5);
        assert!(matches!(next, Next::Again { attempts: 2, .. }), "what is accepted waits: {next:?}");
        assert_eq!(sender, SenderNext::Stops { code: "c".into(), detail: "d".into() });
    }

    #[test]
    fn a_lost_answer_is_settled_as_the_network_can() {
        let lost = SubmissionOutcome::Unknown { code: "timeout".into(), detail: String::new() };
        let (next, _) = judge(&lost, standing(0, false), 1.0);
        assert_eq!(after(&next), Some(Duration::from_secs(1)));
        let (next, _) = judge(&lost, standing(MAX_DOUBTS - 1, true), 1.0);
        assert!(matches!(&next, Next::Failed { code, .. } if code == OUTCOME_UNKNOWN), "{next:?}");
        let within = Duration::from_secs(90);
        let by_event = AttemptContext { settles: Settles::ByEvent { within }, ..standing(50, false) };
        let (next, _) = judge(&lost, by_event, 1.0);
        assert!(matches!(next, Next::Unknown { .. }) && after(&next) == Some(within), "{next:?}");
    }

    #[test]
    fn doubt_stays_until_the_network_ends_it() {
        for class in [Class::Later, Class::LaterForRecipient, Class::Trouble, Class::StopSender] {
            let (next, _) = judge(&refusal(class), standing(1, true), 0.5);
            assert!(matches!(next, Next::Unknown { .. }), "{class:?}: {next:?}");
        }
        let (next, _) = judge(&refusal(Class::Trouble), standing(MAX_ATTEMPTS - 1, true), 0.5);
        assert!(matches!(&next, Next::Failed { code, .. } if code == OUTCOME_UNKNOWN), "{next:?}");
        let (next, _) = judge(&refusal(Class::Recipient), standing(1, true), 0.5);
        assert!(matches!(&next, Next::Failed { code, .. } if code == "c"), "{next:?}");
    }

    fn known(state: MessageState) -> TrackedMessage {
        TrackedMessage {
            seq: 1,
            message_id: "m".into(),
            numeric: false,
            recipient: "60123456789".into(),
            state,
            network_id: None,
            level: 0,
            sent_at_ms: None,
            code: None,
            detail: None,
        }
    }

    fn kinds(reports: &[Report]) -> Vec<String> {
        let kind = |report: &Report| match report {
            Report::Mapped { .. } => "map".to_owned(),
            Report::Ack { level, .. } => format!("ack {level}"),
            Report::Seen { delay_ms, .. } => format!("seen {delay_ms}"),
            Report::Failed { code, .. } => format!("failed {code}"),
            Report::Inbound(_) => "inbox".to_owned(),
        };
        reports.iter().map(kind).collect()
    }

    #[test]
    fn what_the_network_tells_becomes_reports_in_order_once() {
        let mut message = known(MessageState::Claimed);
        assert_eq!(kinds(&hear(&mut message, "w", &Status::Sent, 1_000)), ["map", "ack 1"]);
        assert_eq!(kinds(&hear(&mut message, "w", &Status::Read, 3_500)), ["ack 3", "seen 2500"]);
        for again in [Status::Sent, Status::Delivered, Status::Read] {
            assert!(hear(&mut message, "w", &again, 9_000).is_empty(), "{again:?}");
        }
        assert_eq!(kinds(&hear(&mut message, "w", &Status::Played, 9_000)), ["ack 4"]);
        assert_eq!((message.state, message.level), (MessageState::Sent, 4));
    }

    #[test]
    fn an_event_corrects_what_was_given_up_and_not_what_the_network_said() {
        let failed = Status::Failed(Refusal {
            class: Class::Recipient,
            code: "gone".into(),
            detail: String::new(),
            retry_after: None,
        });
        let mut message = TrackedMessage { code: Some(OUTCOME_UNKNOWN.into()), ..known(MessageState::Failed) };
        assert_eq!(kinds(&hear(&mut message, "w", &Status::Sent, 1)), ["map", "ack 1"]);
        assert_eq!(kinds(&hear(&mut message, "w", &failed, 2)), ["failed gone"]);
        assert!(hear(&mut message, "w", &failed, 3).is_empty() && hear(&mut message, "w", &Status::Sent, 3).is_empty());
        assert_eq!(message.state, MessageState::Failed);
        assert_eq!(kinds(&hear(&mut message, "w", &Status::Delivered, 4)), ["ack 2"], "there it is after all");
        assert!(hear(&mut message, "w", &failed, 5).is_empty(), "what is delivered has not failed");
    }

    proptest! {
        #[test]
        fn an_ack_never_goes_back(levels in proptest::collection::vec(0_usize..4, 0..20)) {
            let statuses = [Status::Sent, Status::Delivered, Status::Read, Status::Played];
            let mut message = known(MessageState::Claimed);
            let mut told = Vec::new();
            for level in levels {
                for report in hear(&mut message, "w", &statuses[level], 1) {
                    if let Report::Ack { level, .. } = report {
                        told.push(level);
                    }
                }
            }
            prop_assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
        }

        #[test]
        fn a_rate_is_never_exceeded(rate in 1_i64..600_000, asks in proptest::collection::vec((0_i64..200_000, 1_i64..64), 1..50)) {
            let (mut now, mut next, mut left) = (0, 0, Vec::new());
            for (pause, most) in asks {
                now += pause;
                let found = slots(now, now + 20_000, next, rate);
                let taken = found.count.min(most);
                left.extend((0..taken).map(|nth| found.first + nth * found.interval));
                if taken > 0 {
                    next = found.first + taken * found.interval;
                }
            }
            // Burst 1: never two closer than the rate says.
            prop_assert!(left.windows(2).all(|pair| (pair[1] - pair[0]) * rate >= 60_000_000), "{left:?}");
        }

        #[test]
        fn a_wait_grows_and_has_an_end(nth in 0_u32..1000, luck in 0.0_f64..1.0) {
            let most = Duration::from_secs(30);
            let wait = backoff(nth, Duration::from_millis(500), most, luck);
            prop_assert!(wait <= most && wait >= Duration::from_millis(250));
        }
    }
}
