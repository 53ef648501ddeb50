//! What the emulator does otherwise than take a message, and the numbers that ask for it.

use serde_json::{Value, json};

/// An error of the Cloud API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaError {
    /// Its code.
    pub code: i64,
    /// The HTTP status that it comes with.
    pub status: u16,
    /// Its title.
    pub title: &'static str,
}

/// The errors that the emulator knows, after Meta's own list. The last four digits of a code are its alone.
pub const META_ERRORS: &[MetaError] = &[
    error(0, 401, "AuthException"),
    error(1, 400, "API Unknown"),
    error(2, 503, "API Service"),
    error(3, 500, "API Method"),
    error(4, 429, "API Too Many Calls"),
    error(10, 403, "Permission Denied"),
    error(33, 400, "Parameter value is not valid"),
    error(100, 400, "Invalid parameter"),
    error(190, 401, "Access token has expired"),
    error(200, 403, "API Permission"),
    error(299, 403, "API Permission"),
    error(368, 403, "Temporarily blocked for policies violations"),
    error(80_007, 429, "Rate limit issues"),
    error(130_429, 429, "Rate limit hit"),
    error(130_472, 400, "User's number is part of an experiment"),
    error(130_497, 403, "Business account is restricted from messaging users in this country"),
    error(131_000, 500, "Something went wrong"),
    error(131_005, 403, "Access denied"),
    error(131_008, 400, "Required parameter is missing"),
    error(131_009, 400, "Parameter value is not valid"),
    error(131_016, 500, "Service unavailable"),
    error(131_021, 400, "Recipient cannot be sender"),
    error(131_026, 400, "Message undeliverable"),
    error(131_030, 400, "Recipient phone number not in allowed list"),
    error(131_031, 403, "Account has been locked"),
    error(131_037, 400, "Display name approval needed"),
    error(131_042, 400, "Business eligibility payment issue"),
    error(131_045, 500, "Incorrect certificate"),
    error(131_047, 400, "Re-engagement message"),
    error(131_048, 400, "Spam rate limit hit"),
    error(131_049, 400, "This message was not delivered to maintain healthy ecosystem engagement"),
    error(131_050, 400, "User has stopped receiving marketing messages"),
    error(131_051, 400, "Unsupported message type"),
    error(131_053, 400, "Media upload error"),
    error(131_056, 400, "Pair rate limit hit"),
    error(131_057, 500, "Account in maintenance mode"),
    error(132_000, 400, "Template param count mismatch"),
    error(132_001, 404, "Template does not exist"),
    error(132_012, 400, "Template parameter format mismatch"),
    error(132_015, 400, "Template is paused"),
    error(132_016, 400, "Template is disabled"),
    error(133_004, 503, "Server temporarily unavailable"),
    error(133_010, 400, "Phone number not registered"),
    error(135_000, 400, "Generic user error"),
];

const fn error(code: i64, status: u16, title: &'static str) -> MetaError {
    MetaError { code, status, title }
}

impl MetaError {
    /// The error of a code.
    ///
    /// # Panics
    /// When the emulator does not know it.
    #[must_use]
    #[track_caller]
    pub fn of(code: i64) -> Self {
        *META_ERRORS.iter().find(|error| error.code == code).expect("a code that the emulator knows")
    }

    /// As the body of an answer.
    pub(super) fn answer(self, details: &str, subcode: Option<i64>) -> Value {
        let mut error = json!({
            "message": format!("(#{}) {}", self.code, self.title),
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": details},
            "fbtrace_id": "AEmulated",
        });
        if let Some(subcode) = subcode {
            error["error_subcode"] = subcode.into();
        }
        json!({"error": error})
    }

    /// As an element of a status's `errors`.
    pub(super) fn told(self) -> Value {
        json!({
            "code": self.code,
            "title": self.title,
            "message": self.title,
            "error_data": {"details": format!("emulated {}", self.code)},
            "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
        })
    }

    fn ending(digits: &str) -> Option<Self> {
        let ending = |error: &&Self| format!("{:04}", error.code % 10_000) == digits;
        META_ERRORS.iter().find(ending).copied()
    }
}

/// What the emulator does with a message otherwise than take it, answer, and tell its statuses.
///
/// A recipient's number can ask for it with its last six digits:
///
/// | digits | |
/// | --- | --- |
/// | `77cccc` | the error whose code ends so, at once: `771026` for 131026, `770004` for 4 |
/// | `88cccc` | taken, and then a `failed` status with that error |
/// | `990sss` | an HTTP status from 300 on without a word of the Graph API's: `990429`, `990503`; nothing is taken |
/// | `990001` | [`CloudFault::Hang`] |
/// | `990002` | [`CloudFault::Close`] |
/// | `990003` | [`CloudFault::Cut`] |
/// | `990004` | [`CloudFault::Rubbish`] |
/// | `990005` | [`CloudFault::NoId`] |
/// | `990006` | [`CloudFault::Drop`] |
/// | `990007` | [`CloudFault::Silent`] |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudFault {
    /// Not taken: this error, at once, with a `Retry-After` in seconds if there is one.
    Error {
        /// Its code.
        code: i64,
        /// How long to wait.
        retry_after_s: Option<u64>,
    },
    /// Taken, and then a `failed` status with this error's code.
    Failed(i64),
    /// Not taken: an HTTP status without a body, as somebody in between might say it.
    Status(u16),
    /// Taken; no answer until the emulator is told to release, which closes the connection.
    Hang,
    /// Taken; the connection is closed without an answer.
    Close,
    /// Taken; the connection is closed in the middle of the answer.
    Cut,
    /// Taken; the answer is a page of HTML with a 200.
    Rubbish,
    /// Taken; the answer is a 200 that has no id.
    NoId,
    /// Not taken; the connection is closed without an answer.
    Drop,
    /// Taken and answered; no status ever comes.
    Silent,
}

impl CloudFault {
    /// What a number asks for.
    #[must_use]
    pub fn of_number(to: &str) -> Option<Self> {
        let ending = to.get(to.len().checked_sub(6)?..)?;
        let (kind, rest) = ending.split_at_checked(2)?;
        match (kind, rest) {
            ("77", code) => Some(Self::Error { code: MetaError::ending(code)?.code, retry_after_s: None }),
            ("88", code) => Some(Self::Failed(MetaError::ending(code)?.code)),
            ("99", "0001") => Some(Self::Hang),
            ("99", "0002") => Some(Self::Close),
            ("99", "0003") => Some(Self::Cut),
            ("99", "0004") => Some(Self::Rubbish),
            ("99", "0005") => Some(Self::NoId),
            ("99", "0006") => Some(Self::Drop),
            ("99", "0007") => Some(Self::Silent),
            ("99", status) => status.parse().ok().filter(|status| (300..=999).contains(status)).map(Self::Status),
            _ => None,
        }
    }

    /// Whether the message is taken all the same.
    pub(super) const fn takes(self) -> bool {
        !matches!(self, Self::Error { .. } | Self::Status(_) | Self::Drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_numbers_of_its_own() {
        for error in META_ERRORS {
            let ending = format!("{:04}", error.code % 10_000);
            let asked = CloudFault::of_number(&format!("6012377{ending}"));
            assert_eq!(asked, Some(CloudFault::Error { code: error.code, retry_after_s: None }));
            let asked = CloudFault::of_number(&format!("6012388{ending}"));
            assert_eq!(asked, Some(CloudFault::Failed(error.code)));
            assert_eq!(MetaError::of(error.code), *error);
        }
    }

    #[test]
    fn other_numbers_ask_for_nothing() {
        for to in ["60123456789", "60123779999", "60123990008", "60123990200", "77", "", "ä771026", "60123991"] {
            let expected = (to == "ä771026").then_some(CloudFault::Error { code: 131_026, retry_after_s: None });
            assert_eq!(CloudFault::of_number(to), expected, "{to}");
        }
        assert_eq!(CloudFault::of_number("60123990503"), Some(CloudFault::Status(503)));
        assert_eq!(CloudFault::of_number("60123990001"), Some(CloudFault::Hang));
    }
}
