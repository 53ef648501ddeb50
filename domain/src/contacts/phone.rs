//! Phone numbers, by libphonenumber's data.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most characters that are looked at: more than any way to write a number of 15 digits.
const MAX_CHARS: usize = 40;

/// A possible international number, normalised: digits without `+`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phone(String);

impl Phone {
    /// Digits without `+`, as the ledger and the gateway write it.
    #[must_use]
    pub fn as_digits(&self) -> &str {
        &self.0
    }

    /// A number as a network tells it: 6 to 15 digits.
    pub(crate) fn of_network(digits: &str) -> Option<Self> {
        let fine = (6..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        fine.then(|| Self(digits.to_owned()))
    }

    /// With `+`.
    #[must_use]
    pub fn e164(&self) -> String {
        format!("+{}", self.0)
    }
}

/// Hides the middle of a number: `+86 138****8888` where the country code is known, else the same without the space.
#[must_use]
pub fn mask_digits(digits: &str) -> String {
    let (code, national) = match parse_digits(digits) {
        Some(number) => {
            let code = number.country().code().to_string();
            let rest = digits.strip_prefix(code.as_str()).unwrap_or(digits).to_owned();
            (format!("+{code} "), rest)
        }
        None => (String::from("+"), digits.to_owned()),
    };
    let shown = if national.chars().count() > 8 { 3 } else { 1 };
    let head: String = national.chars().take(shown).collect();
    let tail: String = national.chars().skip(national.chars().count().saturating_sub(shown + 1).max(shown)).collect();
    format!("{code}{head}****{tail}")
}

/// Why a text is no phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Nothing there.
    #[error("the phone number is empty")]
    Empty,
    /// Letters, or too many characters.
    #[error("not a phone number")]
    NotANumber,
    /// It does not begin with `+` and a country's code.
    #[error("the country code is missing or unknown; write it as +60123456789")]
    NoCountry,
    /// No number of its country looks like this.
    #[error("not a possible number of its country (too short, too long or wrong)")]
    Impossible,
}

/// Normalises an international number. A number without `+` is read as if it had one: gateways and exports leave it out.
///
/// # Errors
/// See [`PhoneError`].
pub fn normalise(text: &str) -> Result<Phone, PhoneError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(PhoneError::Empty);
    }
    if text.chars().count() > MAX_CHARS || !text.chars().all(|c| c.is_ascii_digit() || " +-().\u{a0}/".contains(c)) {
        return Err(PhoneError::NotANumber);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.strip_prefix("00").unwrap_or(&digits);
    if digits.is_empty() {
        return Err(PhoneError::NotANumber);
    }
    let number = parse_digits(digits).ok_or(PhoneError::NoCountry)?;
    if !phonenumber::is_viable(format!("+{digits}")) || !possible(&number, digits) {
        return Err(PhoneError::Impossible);
    }
    // The library drops a national trunk zero that people write after the country's code.
    Ok(Phone(format!("{}{}", number.country().code(), national(&number))))
}

fn national(number: &phonenumber::PhoneNumber) -> String {
    number.national().to_string()
}

fn possible(number: &phonenumber::PhoneNumber, digits: &str) -> bool {
    (7..=15).contains(&digits.len()) && phonenumber::is_valid(number)
}

/// The library has panicked on input that nobody foresaw; such a text is no number.
fn parse_digits(digits: &str) -> Option<phonenumber::PhoneNumber> {
    let international = format!("+{digits}");
    catch_unwind(AssertUnwindSafe(|| phonenumber::parse(None, international))).ok()?.ok()
}

impl fmt::Display for Phone {
    /// Masked: a whole number has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_digits(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_normalised() {
        for (text, digits) in [
            ("+60123456789", "60123456789"),
            ("60123456789", "60123456789"),
            ("+60 12-345 6789", "60123456789"),
            ("0060123456789", "60123456789"),
            (" +86 138 0000 0000 ", "8613800000000"),
            ("+1 (415) 555-2671", "14155552671"),
            ("+44 (0)20 7946 0958", "442079460958"),
            ("+390236618300", "390236618300"),
        ] {
            assert_eq!(normalise(text).map(|p| p.as_digits().to_owned()), Ok(digits.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_with_its_reason() {
        for (text, error) in [
            ("", PhoneError::Empty),
            ("   ", PhoneError::Empty),
            ("hello", PhoneError::NotANumber),
            ("+", PhoneError::NotANumber),
            ("+60123", PhoneError::Impossible),
            ("+861380000000012345", PhoneError::Impossible),
            ("+999123456789", PhoneError::NoCountry),
        ] {
            assert_eq!(normalise(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_masked_number_hides_its_middle() {
        assert_eq!(mask_digits("8613812348888"), "+86 138****8888");
        assert_eq!(mask_digits("60123456789"), "+60 123****6789");
        assert!(!mask_digits("12345").contains("234"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_or_an_error(text in ".{0,60}") {
            if let Ok(phone) = normalise(&text) {
                prop_assert_eq!(normalise(phone.as_digits()), Ok(phone.clone()));
                prop_assert!(!mask_digits(phone.as_digits()).contains(phone.as_digits()));
            }
        }

        #[test]
        fn any_digits_are_a_number_or_an_error(text in "\\+?[0-9 ()-]{0,24}") {
            if let Ok(phone) = normalise(&text) {
                prop_assert!(phone.as_digits().len() <= 17);
                prop_assert_eq!(normalise(&phone.e164()), Ok(phone));
            }
        }
    }
}
