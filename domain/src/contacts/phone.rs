//! Phone numbers, by libphonenumber's data.
//!
//! Every number of the program is read here, by [`read`]: from people, files, requests and networks. It goes in two
//! stages: `written` finds the digits that somebody wrote, and refuses what is not one number; then the library and its
//! numbering plans (`plan`) tell which number they are.

mod plan;
mod written;

use phonenumber::country;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

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
    let (code, national) = match plan::split(digits) {
        Some((code, national)) => (format!("+{code} "), national),
        None => (String::from("+"), digits),
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
    /// A spreadsheet's number with decimals.
    #[error("a decimal number, not a phone number; format the column as text and write the number as +60123456789")]
    Fraction,
    /// A spreadsheet's number whose last digits were rounded away.
    #[error(
        "the spreadsheet has rounded this number and its last digits are lost; format the column as text and enter it again"
    )]
    LostDigits,
    /// Two numbers.
    #[error("more than one phone number in one place; keep one")]
    TwoNumbers,
    /// No country has its code.
    #[error("the country code is missing or unknown; write it as +60123456789")]
    NoCountry,
    /// Its country is in doubt.
    #[error("the country is not certain without a leading + or 00; write it as +60123456789, or give defaultCountry")]
    NeedsCountry,
    /// No number of its country has this length.
    #[error("not a possible number of its country (too short or too long)")]
    Impossible,
}

impl PhoneError {
    /// A stable word for the reason.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "phone_empty",
            Self::NotANumber => "phone_not_a_number",
            Self::Fraction => "phone_fraction",
            Self::LostDigits => "phone_lost_digits",
            Self::TwoNumbers => "phone_two_numbers",
            Self::NoCountry => "phone_unknown_country",
            Self::NeedsCountry => "phone_needs_country",
            Self::Impossible => "phone_impossible",
        }
    }
}

/// A country with a numbering plan, by its two letters of ISO 3166-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country(country::Id);

impl FromStr for Country {
    type Err = UnknownCountry;

    fn from_str(text: &str) -> Result<Self, UnknownCountry> {
        let text = text.trim().to_ascii_uppercase();
        // The library's data has pseudo-countries of three digits.
        let letters = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        let id = letters.then(|| text.parse().ok()).flatten().ok_or(UnknownCountry)?;
        phonenumber::metadata::DATABASE.by_id(&text).map(|_| Self(id)).ok_or(UnknownCountry)
    }
}

/// No numbering plan has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no country that is known; write its two letters of ISO 3166-1, as MY or DE")]
pub struct UnknownCountry;

impl Country {
    /// Its two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// All of them, in the order of their letters.
    pub fn all() -> impl Iterator<Item = Self> {
        let mut all: Vec<&str> = phonenumber::metadata::DATABASE.iter().map(phonenumber::Metadata::id).collect();
        all.sort_unstable();
        all.into_iter().filter_map(|id| id.parse().ok())
    }

    fn code(self) -> Option<u16> {
        phonenumber::metadata::DATABASE.by_id(self.as_str()).map(phonenumber::Metadata::country_code)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How a number is read that begins with neither `+` nor `00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmarked {
    /// As an international one: networks and gateways leave the `+` out.
    International,
    /// As people write it: at home in this country; without one, only what is international without doubt.
    ByPeople(Option<Country>),
}

/// What is odd about a number that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// Its country has numbers of this length, but is not known to have given out this range.
    UnassignedRange,
}

impl Warning {
    /// Its stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnassignedRange => "unassigned_range",
        }
    }
}

/// A number that was read, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The number.
    pub phone: Phone,
    /// The country that it was read as; `None` for what belongs to none, as satellite phones.
    pub country: Option<Country>,
    /// What is odd about it.
    pub warning: Option<Warning>,
}

/// An international number, taken apart.
struct Number {
    code: u16,
    national: String,
    assigned: bool,
    /// Whether it is the digits as they were written.
    untouched: bool,
}

impl Number {
    fn reading(self) -> Reading {
        let country = plan::of(self.code).and_then(|plan| plan.country(&self.national)).and_then(|id| id.parse().ok());
        Reading {
            phone: Phone(format!("{}{}", self.code, self.national)),
            country,
            warning: (!self.assigned).then_some(Warning::UnassignedRange),
        }
    }
}

/// Reads a number.
///
/// # Errors
/// See [`PhoneError`].
pub fn read(text: &str, unmarked: Unmarked) -> Result<Reading, PhoneError> {
    let written = written::written(text)?;
    let digits = written.digits.as_str();
    let number = match unmarked {
        _ if written.international => international(digits.strip_prefix("00").unwrap_or(digits))?,
        Unmarked::International => international(digits)?,
        Unmarked::ByPeople(Some(country)) => at_home(digits, country)?,
        Unmarked::ByPeople(None) => certain(digits).ok_or(match digits.len() {
            0..=4 => PhoneError::Impossible,
            _ => PhoneError::NeedsCountry,
        })?,
    };
    Ok(number.reading())
}

/// Reads a number as people write it, where no country is known that they are at home in.
///
/// # Errors
/// See [`PhoneError`].
pub fn normalise(text: &str) -> Result<Phone, PhoneError> {
    read(text, Unmarked::ByPeople(None)).map(|reading| reading.phone)
}

/// Whether a text is a number, or was meant to be one: how a row of data is told from a header.
#[must_use]
pub fn looks_like_number(text: &str) -> bool {
    match written::written(text) {
        Ok(written) => written.digits.len() >= 7,
        Err(PhoneError::Fraction | PhoneError::LostDigits | PhoneError::TwoNumbers) => true,
        Err(_) => false,
    }
}

/// How often a trunk prefix is taken off before it is plain that none is meant.
const MAX_TRUNKS: usize = 20;

/// The number behind a `+`.
fn international(digits: &str) -> Result<Number, PhoneError> {
    let (code, written) = plan::split(digits).ok_or(PhoneError::NoCountry)?;
    let plan = plan::of(code).ok_or(PhoneError::NoCountry)?;
    let mut national = written.to_owned();
    // The library takes off a trunk prefix that people write after the country's code: `+44 (0)20 …`. It does so too where
    // the number itself begins like one (`+7 800 …`), so it is asked only about what is no known number as it stands, and
    // believed only where a known number comes of it or a trunk prefix is all that went.
    for _ in 0..MAX_TRUNKS {
        if plan.assigned(&national) {
            break;
        }
        let found = library(None, &format!("+{code}{national}")).filter(|(c, _)| *c == code).map(|(_, found)| found);
        let better = |found: &String| {
            let trunk = plan.trunk().is_some_and(|trunk| national.starts_with(trunk)) && national.ends_with(found);
            *found != national && plan.possible(found) && (trunk || plan.assigned(found))
        };
        match found.filter(better) {
            Some(found) => national = found,
            None => break,
        }
    }
    if !plan.possible(&national) {
        return Err(PhoneError::Impossible);
    }
    Ok(Number { code, assigned: plan.assigned(&national), untouched: national == written, national })
}

/// An international number whose `+` was left out, if it can be nothing else: it is in a known range, and nobody writes a
/// number so at home.
fn certain(digits: &str) -> Option<Number> {
    let number = international(digits).ok().filter(|number| number.assigned && number.untouched)?;
    (!plan::national_somewhere(digits)).then_some(number)
}

/// A number as people write it in their country.
fn at_home(digits: &str, country: Country) -> Result<Number, PhoneError> {
    let home = national(digits, country);
    match home {
        Some(number) if number.assigned => Ok(number),
        // Not known there: a number from abroad, or else one of a new range.
        home => certain(digits)
            .or(home)
            .or_else(|| international(digits).ok().filter(|number| number.assigned))
            .ok_or(PhoneError::Impossible),
    }
}

fn national(digits: &str, country: Country) -> Option<Number> {
    let code = country.code()?;
    let plan = plan::of(code)?;
    let number = |national: &str| international(&format!("{code}{national}")).ok();
    if plan.assigned(digits) {
        return number(digits);
    }
    let trunk =
        phonenumber::metadata::DATABASE.by_id(country.as_str()).and_then(phonenumber::Metadata::national_prefix);
    let prefixed = trunk.is_some_and(|trunk| !trunk.is_empty() && digits.starts_with(trunk));
    let found = match library(Some(country.0), digits) {
        Some((abroad, national)) if abroad != code => return international(&format!("{abroad}{national}")).ok(),
        found => found.map(|(_, national)| national).filter(|national| plan.possible(national)),
    };
    match found {
        Some(national) if prefixed || plan.assigned(&national) || !plan.possible(digits) => number(&national),
        _ => plan.possible(digits).then(|| number(digits)).flatten(),
    }
}

/// Asks the library: the country's code, and the national number. It has panicked on input that nobody foresaw; such a
/// text is no number.
fn library(country: Option<country::Id>, text: &str) -> Option<(u16, String)> {
    let number = catch_unwind(AssertUnwindSafe(|| phonenumber::parse(country, text))).ok()?.ok()?;
    Some((number.country().code(), number.national().to_string()))
}

impl fmt::Display for Phone {
    /// Masked: a whole number has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_digits(&self.0))
    }
}

#[cfg(test)]
mod tests;
