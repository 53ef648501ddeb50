//! One person, two spellings of one number.
//!
//! Some countries changed how their mobile numbers are written, and WhatsApp kept the old form as the id of the account, or
//! the other way round: what a customer's messages come from is then not what people write into a file. Two spellings are
//! the same number when their keys are equal.
//!
//! | country | written | the account's id | key |
//! | --- | --- | --- | --- |
//! | Brazil: mobiles got a 9 before their eight digits | 55 31 9 8765 4321 | 55 31 8765 4321 | with the 9 |
//! | Mexico: mobiles lost the 1 behind the country's code | 52 55 1234 5678 | 52 1 55 1234 5678 | without the 1 |
//! | Argentina: mobiles have a 9 when they are called from abroad | 54 11 2345 6789 | 54 9 11 2345 6789 | with the 9 |
//!
//! The ten digits behind 54 belong to one subscriber, mobile or not, so the 9 tells nobody apart. A Brazilian number of
//! eight digits that does not begin with 6 to 9 is a landline, and its own key.
//!
//! The key is only for comparing: a number is stored and written to as it came. The databases compute the same key, in the
//! generated columns `phone_key` (migration m0010), where it is what makes a number unique; a test holds the two together.
//! Who adds a country adds it in both.

use std::borrow::Cow;

/// What two spellings of one number have in common. `digits` is a normalised number: digits without `+`.
#[must_use]
pub fn key(digits: &str) -> Cow<'_, str> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Cow::Borrowed(digits);
    }
    match (digits.len(), digits.as_bytes()) {
        (12, [b'5', b'5', _, _, b'6'..=b'9', ..]) => {
            let (area, number) = digits.split_at(4);
            Cow::Owned(format!("{area}9{number}"))
        }
        (13, [b'5', b'2', b'1', ..]) => Cow::Owned(format!("52{}", digits.get(3..).unwrap_or_default())),
        (12, [b'5', b'4', b'1'..=b'8', ..]) => Cow::Owned(format!("549{}", digits.get(2..).unwrap_or_default())),
        _ => Cow::Borrowed(digits),
    }
}

/// Whether two numbers are one.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    key(one) == key(other)
}

/// A number as a network may tell it: 6 to 15 digits, and nothing else.
pub(crate) fn is_number(text: &str) -> bool {
    (6..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Spellings of one number each.
    const ONE: [[&str; 2]; 9] = [
        ["553187654321", "5531987654321"],
        ["558598765432", "5585998765432"],
        ["551161234567", "5511961234567"],
        ["554777654321", "5547977654321"],
        ["5215512345678", "525512345678"],
        ["5213312345678", "523312345678"],
        ["541123456789", "5491123456789"],
        ["543512345678", "5493512345678"],
        ["542901234567", "5492901234567"],
    ];

    #[test]
    fn the_spellings_of_a_number_have_one_key() {
        for [one, other] in ONE {
            assert!(same(one, other), "{one} {other}");
            assert_eq!(key(&key(one)), key(one), "the key of a key is itself");
        }
    }

    #[test]
    fn what_only_looks_alike_is_not_one() {
        for (one, other) in [
            // Landlines of Brazil have eight digits and get no 9.
            ("553132654321", "5531932654321"),
            ("551150654321", "5511950654321"),
            // No other country has a 1 or a 9 to spare.
            ("5115512345678", "515512345678"),
            ("56912345678", "5612345678"),
            ("5491123456789", "5491123456788"),
            ("52155123456", "5255123456"),
            ("5531987654321", "5532987654321"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
        assert_eq!(key("60123456789"), "60123456789");
        assert_eq!(key("not digits"), "not digits");
    }

    proptest! {
        #[test]
        fn a_key_is_stable_and_digits_stay_digits(digits in "[0-9]{0,20}") {
            let once = key(&digits).into_owned();
            prop_assert_eq!(key(&once).into_owned(), once.clone());
            prop_assert!(once.bytes().all(|b| b.is_ascii_digit()));
        }
    }
}
