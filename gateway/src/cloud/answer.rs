//! What an answer of the Graph API says of the message that was posted.
//!
//! The rule: only an id proves that a message was taken, and only a Graph error proves that it was not. What others say,
//! somebody in between or a server that fails, proves nothing about the message and is never its fault.

use super::error::MetaError;
use crate::transport::{Class, Refusal, SubmissionOutcome};
use listener::lenient_json;
use serde_json::Value;
use std::time::Duration;

/// The longest id that Meta gives, with room; what is longer is none.
const MAX_ID: usize = 512;

/// The most that anybody can tell us to wait.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// An answer, as far as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct GraphAnswer<'a> {
    pub(super) status: u16,
    /// How long it asks to be left alone.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: &'a [u8],
}

/// What became of the message. `secret` is kept out of the reason.
pub(super) fn judge(answer: &GraphAnswer<'_>, secret: &str) -> SubmissionOutcome {
    let GraphAnswer { status, retry_after, body } = *answer;
    let body: Value = serde_json::from_str(&lenient_json(body)).unwrap_or_default();
    if (200..300).contains(&status) {
        return match network_id(&body) {
            Some(network_id) => SubmissionOutcome::Taken { network_id: network_id.to_owned(), wa_id: wa_id(&body) },
            None => SubmissionOutcome::Unknown {
                code: "cloud_no_id".into(),
                detail: format!("Meta answered {status} without the message's id"),
            },
        };
    }
    if let Some(error) = body.get("error").and_then(|error| MetaError::read(error, Some(secret))) {
        return SubmissionOutcome::Refused(error.refusal(Some(status), retry_after));
    }
    let code = format!("cloud_{status}");
    let detail = format!("an answer {status} that is none of the Graph API's");
    let class = match status {
        // A proxy's words for a server that broke off or did not answer in time: it may have taken the message first.
        408 | 502 | 504 => return SubmissionOutcome::Unknown { code, detail },
        429 => Class::Later,
        // Nobody lets us in, whoever that is: nothing goes out until somebody has seen to it.
        401 | 403 | 407 => Class::StopSender,
        // A redirect is not followed: where it points to was not asked.
        300..=599 => Class::Trouble,
        _ => return SubmissionOutcome::Unknown { code, detail },
    };
    let retry_after = retry_after.filter(|_| matches!(class, Class::Later | Class::LaterForRecipient | Class::Trouble));
    SubmissionOutcome::Refused(Refusal { class, code, detail, retry_after })
}

/// The id of the message in an answer that took it.
fn network_id(body: &Value) -> Option<&str> {
    let id = body.get("messages")?.get(0)?.get("id")?.as_str()?;
    (1..=MAX_ID).contains(&id.len()).then_some(id).filter(|id| !id.chars().any(char::is_control))
}

/// The account that the number was resolved to, where that is not the number as it was asked for: that of a Brazilian mobile
/// may lack its 9, that of a Mexican one have a 1 more. What is no number says nothing.
fn wa_id(body: &Value) -> Option<String> {
    let contact = body.get("contacts")?.get(0)?;
    let told = contact.get("wa_id")?.as_str()?;
    let asked = contact.get("input").and_then(Value::as_str).unwrap_or_default();
    let digits: String = asked.chars().filter(char::is_ascii_digit).collect();
    (is_number(told) && told != digits).then(|| told.to_owned())
}

/// Whether an account is named by a number, and not by another kind of id.
pub(super) fn is_number(told: &str) -> bool {
    (6..=15).contains(&told.len()) && told.bytes().all(|b| b.is_ascii_digit())
}

/// `X-Business-Use-Case-Usage`: the minutes until the account may go on, where it must wait at all.
pub(super) fn regain_access(value: &str) -> Option<Duration> {
    let usage: Value = serde_json::from_str(value).ok()?;
    let uses = usage.as_object()?.values().filter_map(Value::as_array).flatten();
    let minutes = uses.filter_map(|usage| usage.get("estimated_time_to_regain_access")?.as_u64()).max()?;
    (minutes > 0).then(|| Duration::from_secs(minutes.saturating_mul(60)).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::read_retry_after;
    use proptest::prelude::*;
    use serde_json::json;
    use std::time::UNIX_EPOCH;

    fn judged(status: u16, body: &str) -> SubmissionOutcome {
        judge(&GraphAnswer { status, retry_after: None, body: body.as_bytes() }, "token")
    }

    fn word(handed: &SubmissionOutcome) -> String {
        match handed {
            SubmissionOutcome::Taken { network_id, wa_id: None } => format!("taken {network_id}"),
            SubmissionOutcome::Taken { network_id, wa_id: Some(wa_id) } => format!("taken {network_id} as {wa_id}"),
            SubmissionOutcome::Refused(refusal) => format!("{:?} {}", refusal.class, refusal.code),
            SubmissionOutcome::Unknown { code, .. } => format!("unknown {code}"),
        }
    }

    #[test]
    fn only_an_id_says_that_it_was_taken() {
        let taken = r#"{"messaging_product":"whatsapp","contacts":[{"input":"1","wa_id":"1"}],
            "messages":[{"id":"wamid.A","message_status":"held_for_quality_assessment","new":1}],"new":{}}"#;
        assert_eq!(word(&judged(200, taken)), "taken wamid.A");
        assert_eq!(word(&judged(202, taken)), "taken wamid.A");
        let long = json!({"messages": [{"id": "x".repeat(MAX_ID + 1)}]}).to_string();
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            "null",
            r#"{"messages":[]}"#,
            r#"{"messages":{}}"#,
            r#"{"messages":[{}]}"#,
            r#"{"messages":[{"id":""}]}"#,
            r#"{"messages":[{"id":7}]}"#,
            r#"{"messages":[{"id":"wamid.\u0000"}]}"#,
            r#"{"messages":[{"id":"wamid.A"}]"#,
            r#"{"error":{"code":131026}}"#,
            &long,
        ] {
            assert_eq!(word(&judged(200, body)), "unknown cloud_no_id", "{body}");
        }
        // The word of a status alone is not enough, whatever the body looks like.
        assert_eq!(word(&judged(500, taken)), "Trouble cloud_500");
    }

    #[test]
    fn the_account_is_told_where_it_is_not_the_number_that_was_written_to() {
        let taken = |contact: &str| {
            word(&judged(200, &format!(r#"{{"contacts":[{contact}],"messages":[{{"id":"wamid.A"}}]}}"#)))
        };
        let other = r#"{"input":"+55 31 98765-4321","wa_id":"553187654321"}"#;
        assert_eq!(taken(other), "taken wamid.A as 553187654321");
        assert_eq!(taken(r#"{"wa_id":"5215512345678"}"#), "taken wamid.A as 5215512345678");
        for same_or_none in [
            r#"{"input":"+553187654321","wa_id":"553187654321"}"#,
            r#"{"input":"1","wa_id":""}"#,
            r#"{"input":"1","wa_id":"MY.123"}"#,
            r#"{"input":"1","wa_id":"12345678901234567"}"#,
            r#"{"input":"1","wa_id":7}"#,
            r#"{"input":"1"}"#,
            "null",
        ] {
            assert_eq!(taken(same_or_none), "taken wamid.A", "{same_or_none}");
        }
    }

    #[test]
    fn what_is_not_the_graph_apis_is_not_the_messages_fault() {
        for body in ["", "<html>no</html>", r#"{"error":"no"}"#, r#"{"error":{"message":"no"}}"#] {
            for (statuses, class) in [
                (&[400, 402, 404, 405, 413, 418, 500, 501, 503, 599, 301, 302, 304, 307][..], "Trouble"),
                (&[401, 403, 407], "StopSender"),
                (&[429], "Later"),
                (&[408, 502, 504, 600, 999], "unknown"),
            ] {
                for status in statuses {
                    assert_eq!(word(&judged(*status, body)), format!("{class} cloud_{status}"), "{body}");
                }
            }
        }
    }

    #[test]
    fn a_wait_is_read() {
        let usage = r#"{"1":[{"type":"messages","estimated_time_to_regain_access":0},
            {"estimated_time_to_regain_access":4}],"2":[{"estimated_time_to_regain_access":3}],"3":{}}"#;
        assert_eq!(regain_access(usage), Some(Duration::from_secs(240)));
        for said in ["", "{}", "[]", r#"{"1":[{"estimated_time_to_regain_access":0}]}"#, r#"{"1":[3]}"#] {
            assert_eq!(regain_access(said), None, "{said}");
        }
        let endless = r#"{"1":[{"estimated_time_to_regain_access":18446744073709551615}]}"#;
        assert_eq!(regain_access(endless), Some(WAIT_MAX));
    }

    proptest! {
        #[test]
        fn any_answer_is_judged(status in 100u16..1000, body: Vec<u8>, header in ".{0,40}") {
            let handed = judge(&GraphAnswer { status, retry_after: read_retry_after(&header, UNIX_EPOCH), body: &body }, "token");
            // No accident is a message that was taken, or one that will never be.
            let settled = match handed {
                SubmissionOutcome::Taken { .. } => true,
                SubmissionOutcome::Refused(refusal) => matches!(refusal.class, Class::Message | Class::Recipient | Class::NotNow),
                SubmissionOutcome::Unknown { .. } => false,
            };
            prop_assert!(!settled);
            let _: Option<Duration> = regain_access(&header);
        }

        #[test]
        fn a_broken_off_answer_took_nothing_for_sure(cut in 0usize..80) {
            let body = br#"{"messaging_product":"whatsapp","messages":[{"id":"wamid.HBgLMTY1MDM4Nzk0MzkVAgA"}]}"#;
            let answer = GraphAnswer { status: 200, retry_after: None, body: &body[..cut.min(body.len() - 1)] };
            prop_assert_eq!(word(&judge(&answer, "token")), "unknown cloud_no_id");
        }
    }
}
