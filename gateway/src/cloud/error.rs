//! What Meta's errors mean.

use super::webhook::text;
use crate::transport::{Class, Refusal};
use serde_json::Value;
use std::time::Duration;

/// The most of a reason that is kept, in characters.
const MAX_DETAIL: usize = 300;

/// Digits in a row that may be a phone number: from so many on, all but the last two are left out.
const NUMBER: usize = 7;

/// How long a number waits that Meta moves to more throughput: the documentation says up to a minute.
const UPGRADE_WAIT: Duration = Duration::from_secs(60);

/// An error as the Graph API answers it, or as a webhook tells it of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MetaError {
    /// Meta's number for it: what everything follows from.
    pub(super) code: i64,
    subcode: Option<i64>,
    /// Whether Meta itself says that it passes.
    transient: bool,
    /// The reason for people, without anything secret.
    detail: String,
}

impl MetaError {
    /// Reads an error; `None` for what is none. Only the code is a must. `secret` is kept out of the reason: the Graph API
    /// repeats a token that it does not take.
    pub(super) fn read(error: &Value, secret: Option<&str>) -> Option<Self> {
        let code = integer(error.get("code")?)?;
        let short = text(error, "message").or_else(|| text(error, "title"));
        let long = error.get("error_data").and_then(|data| text(data, "details"));
        let told = match (short, long) {
            (Some(short), Some(long)) if short != long => format!("{short}: {long}"),
            (Some(told), _) | (None, Some(told)) => told.to_owned(),
            (None, None) => format!("Meta's error {code}"),
        };
        Some(Self {
            code,
            subcode: error.get("error_subcode").and_then(integer),
            transient: error.get("is_transient").and_then(Value::as_bool).unwrap_or_default(),
            detail: for_people(&told, secret),
        })
    }

    /// What follows from it. `status` is that of the answer which had it, where there was one.
    pub(super) fn refusal(self, status: Option<u16>, retry_after: Option<Duration>) -> Refusal {
        let class = class_of(self.code, self.subcode).unwrap_or(match status {
            _ if self.transient => Class::Trouble,
            Some(429) => Class::Later,
            Some(401 | 403) => Class::StopSender,
            Some(500..) => Class::Trouble,
            // Meta speaks of this message, and does not say that it passes.
            _ => Class::Message,
        });
        let retry_after = match class {
            Class::Later | Class::LaterForRecipient | Class::Trouble => {
                retry_after.or((self.code == 131_057).then_some(UPGRADE_WAIT))
            }
            Class::Message | Class::Recipient | Class::NotNow | Class::StopSender => None,
        };
        Refusal { class, code: self.code.to_string(), detail: self.detail, retry_after }
    }
}

/// What follows from an error code; `None` for one that is not known here.
///
/// After "Error codes" of the documentation of the WhatsApp Business Platform (developers.facebook.com, as of May 2026) and
/// "Handling errors" of the Graph API's, whose codes are the low ones.
const fn class_of(code: i64, subcode: Option<i64>) -> Option<Class> {
    Some(match (code, subcode) {
        // Too fast: the app (4), a user or page of it (17, 32, 613), the account (80007), the number (130429).
        (4 | 17 | 32 | 613 | 80_007 | 130_429, _) => Class::Later,
        // Too fast for this recipient.
        (131_056, _) => Class::LaterForRecipient,
        // The number is being moved to more throughput, which takes a minute.
        (131_057, _) => Class::Later,

        // Not known, not there, something went wrong, overloaded.
        (1 | 2 | 131_000 | 131_016, _) => Class::Trouble,

        // The object is not there, or the token may not see it: the number's id is wrong, not the message.
        (100, Some(33)) => Class::StopSender,
        // Authorisation: token, capability, a number that is gone, session, permissions, access.
        (0 | 3 | 10 | 33 | 102 | 190 | 200..=299 | 131_005, _) => Class::StopSender,
        // The account: policy, lock, billing, display name, certificate; the number's registration.
        (368 | 131_031 | 131_042 | 131_037 | 131_045 | 133_000..=133_999, _) => Class::StopSender,
        // Too many of this number's messages were blocked or reported.
        (131_048, _) => Class::StopSender,

        // Undeliverable, more than 24 hours since they wrote, wants no marketing.
        (131_026 | 131_047 | 131_050, _) => Class::Recipient,
        // The sender itself, not among a test number's recipients, in a country that the account may not write to.
        (131_021 | 131_030 | 130_497, _) => Class::Recipient,

        // Had enough marketing for now, or is part of an experiment that gets none.
        (131_049 | 130_472, _) => Class::NotNow,

        // Parameters: wrong, missing, of a wrong value, of a wrong kind, media that cannot be had; templates.
        (100 | 131_008 | 131_009 | 131_051..=131_053 | 132_000..=132_999 | 135_000, _) => Class::Message,

        _ => return None,
    })
}

/// A number, also one in a text.
pub(super) fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A reason without secrets, phone numbers and control characters: it may be stored and logged.
fn for_people(text: &str, secret: Option<&str>) -> String {
    let text = match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "…"),
        _ => text.to_owned(),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    without_numbers(&text).chars().take(MAX_DETAIL).collect()
}

/// Leaves the last two digits of each number that is as long as a phone number.
fn without_numbers(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut digits = String::new();
    let close = |digits: &mut String, shown: &mut String| {
        match digits.len() {
            0..NUMBER => shown.push_str(digits),
            length => {
                shown.push('…');
                shown.push_str(&digits[length - 2..]);
            }
        }
        digits.clear();
    };
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            close(&mut digits, &mut shown);
            shown.push(c);
        }
    }
    close(&mut digits, &mut shown);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn class(error: &Value, status: Option<u16>) -> Class {
        MetaError::read(error, None).expect("an error").refusal(status, None).class
    }

    #[test]
    fn every_code_of_the_reference_has_its_class() {
        let table: &[(Class, &[i64])] = &[
            (Class::Later, &[4, 80_007, 130_429, 131_057]),
            (Class::LaterForRecipient, &[131_056]),
            (Class::Trouble, &[1, 2, 131_000, 131_016]),
            (Class::Recipient, &[131_026, 131_047, 131_050]),
            (Class::NotNow, &[131_049]),
            (Class::Message, &[100, 131_008, 131_009, 131_051, 131_053, 132_000, 132_001, 132_012, 132_015, 132_016]),
            (
                Class::StopSender,
                &[0, 10, 190, 200, 217, 299, 368, 131_031, 131_042, 131_048, 133_000, 133_004, 133_010, 133_999],
            ),
        ];
        for (expected, codes) in table {
            for code in *codes {
                // Whatever the status says: the code knows better.
                for status in [None, Some(400), Some(401), Some(429), Some(500)] {
                    assert_eq!(class(&json!({"code": code}), status), *expected, "{code} with {status:?}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_code_is_judged_by_what_else_is_said() {
        let unknown = json!({"code": 139_999});
        for (status, expected) in [
            (None, Class::Message),
            (Some(400), Class::Message),
            (Some(401), Class::StopSender),
            (Some(403), Class::StopSender),
            (Some(429), Class::Later),
            (Some(500), Class::Trouble),
            (Some(503), Class::Trouble),
        ] {
            assert_eq!(class(&unknown, status), expected, "{status:?}");
        }
        assert_eq!(class(&json!({"code": 139_999, "is_transient": true}), Some(400)), Class::Trouble);
    }

    #[test]
    fn a_number_that_is_not_there_is_no_fault_of_the_message() {
        assert_eq!(class(&json!({"code": 100, "error_subcode": 33}), Some(400)), Class::StopSender);
        assert_eq!(class(&json!({"code": 100, "error_subcode": 2_494_010}), Some(400)), Class::Message);
    }

    #[test]
    fn the_network_says_how_long_to_wait_only_where_one_waits() {
        let wait = Some(Duration::from_secs(9));
        let refusal = |code: i64, wait| MetaError::read(&json!({"code": code}), None).expect("one").refusal(None, wait);
        assert_eq!(refusal(130_429, wait).retry_after, wait);
        assert_eq!(refusal(130_429, None).retry_after, None);
        assert_eq!(refusal(131_026, wait).retry_after, None);
        assert_eq!(refusal(131_057, None).retry_after, Some(UPGRADE_WAIT));
        assert_eq!(refusal(131_057, wait).retry_after, wait);
    }

    #[test]
    fn a_reason_has_nothing_secret() {
        let error = json!({
            "code": "190",
            "message": "Malformed access token EAAB\u{7}c123",
            "error_data": {"details": "to +60123456789\n or 123456"},
        });
        let error = MetaError::read(&error, Some("EAAB\u{7}c123")).expect("an error");
        assert_eq!(error.code, 190);
        assert_eq!(error.detail, "Malformed access token …: to +…89 or 123456");
        let long = json!({"code": 1, "title": "ä".repeat(1_000)});
        assert_eq!(MetaError::read(&long, None).expect("an error").detail, "ä".repeat(MAX_DETAIL));
    }

    #[test]
    fn only_a_code_makes_an_error() {
        for value in
            [json!(null), json!(1), json!({}), json!({"code": null}), json!({"code": 1.5}), json!({"code": "x"})]
        {
            assert_eq!(MetaError::read(&value, None), None, "{value}");
        }
        let bare = MetaError::read(&json!({"code": 2, "error_data": "text"}), None).expect("an error");
        assert_eq!(bare.detail, "Meta's error 2");
    }

    proptest! {
        #[test]
        fn no_long_number_stays(text in "[0-9a ]{0,60}") {
            let shown = without_numbers(&text);
            prop_assert!(shown.split(|c: char| !c.is_ascii_digit()).all(|run| run.len() < NUMBER), "{}", shown);
        }

        #[test]
        fn any_text_is_a_reason(text: String, secret: Option<String>) {
            let shown = for_people(&text, secret.as_deref());
            prop_assert!(shown.chars().count() <= MAX_DETAIL);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
