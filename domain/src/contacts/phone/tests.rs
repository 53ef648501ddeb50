use super::*;
use proptest::prelude::*;

fn digits(text: &str) -> Result<String, PhoneError> {
    normalise(text).map(|phone| phone.as_digits().to_owned())
}

fn at_home(text: &str, country: &str) -> Result<Reading, PhoneError> {
    read(text, Unmarked::ByPeople(Some(country.parse().expect("a country"))))
}

#[test]
fn numbers_are_normalised() {
    for (text, expected) in [
        ("+60123456789", "60123456789"),
        ("60123456789", "60123456789"),
        ("+60 12-345 6789", "60123456789"),
        ("0060123456789", "60123456789"),
        (" +86 138 0000 0000 ", "8613800000000"),
        ("+1 (415) 555-2671", "14155552671"),
        ("+1.4155552671", "14155552671"),
        ("+44 (0)20 7946 0958", "442079460958"),
        ("+49 (0)6221/123456", "496221123456"),
        ("+390236618300", "390236618300"),
        // The library alone takes the first 8 for a trunk prefix.
        ("+78001234567", "78001234567"),
    ] {
        assert_eq!(digits(text), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn what_is_copied_with_a_number_is_read_over() {
    for text in [
        "\u{202a}+60 12-345 6789\u{202c}",
        "\u{2066}+60\u{a0}12\u{2011}345\u{a0}6789\u{2069}",
        "\u{feff}+60\u{200b}12\u{200d}3456789\u{200e}",
        "+60\u{2007}12\u{2013}345\u{202f}6789",
        "+60\u{2212}12\u{2014}345\u{3000}6789",
        "+60\u{ad}123\u{2060}456789",
        "\u{ff0b}\u{ff16}\u{ff10}\u{ff11}\u{ff12}\u{ff13}\u{ff14}\u{ff15}\u{ff16}\u{ff17}\u{ff18}\u{ff19}",
        "+٦٠١٢٣٤٥٦٧٨٩",
        "+۶۰۱۲۳۴۵۶۷۸۹",
        "+६०१२३४५६७८९",
        "'+60123456789",
        "\u{2019}60123456789",
        "=\"+60123456789\"",
        "\"60123456789\"",
        "tel:+60-12-345-6789",
        "60,123,456,789",
        "60.123.456.789",
        "6.0123456789E+10",
        "6,0123456789e10",
    ] {
        assert_eq!(digits(text), Ok("60123456789".into()), "{text:?}");
    }
}

#[test]
fn no_number_is_made_up() {
    for (text, error) in [
        ("62812345678.0", PhoneError::Fraction),
        ("+62812345678.0", PhoneError::Fraction),
        ("62812345678,0", PhoneError::Fraction),
        ("62812345678.50", PhoneError::Fraction),
        ("62,812,345,678.00", PhoneError::Fraction),
        ("62.812.345.678,00", PhoneError::Fraction),
        ("62 812 345 678.0", PhoneError::Fraction),
        ("62 812 345 678,0", PhoneError::Fraction),
        ("٦٢٨١٢٣٤٥٦٧٨٫٠", PhoneError::Fraction),
        ("6.28123E-05", PhoneError::Fraction),
        ("6.28123E+11", PhoneError::LostDigits),
        ("6,28123e+11", PhoneError::LostDigits),
        ("6E11", PhoneError::LostDigits),
        ("+60123456789 / +60198765432", PhoneError::TwoNumbers),
        ("60123456789/60198765432", PhoneError::TwoNumbers),
        ("60123456789, 60198765432", PhoneError::TwoNumbers),
        ("60123456789;60198765432", PhoneError::TwoNumbers),
        ("60123456789\n60198765432", PhoneError::TwoNumbers),
        ("60123456789 60198765432", PhoneError::TwoNumbers),
        ("012-345 6789 / 019-876 5432", PhoneError::TwoNumbers),
        ("030 1234567/68", PhoneError::TwoNumbers),
        ("+60 12 345 6789 +60 19 876 5432", PhoneError::TwoNumbers),
        ("1234567 7654321", PhoneError::TwoNumbers),
    ] {
        assert_eq!(normalise(text), Err(error), "{text:?}");
        let country = "ID".parse().ok();
        assert_eq!(read(text, Unmarked::ByPeople(country)).map(|r| r.phone), Err(error), "{text:?} at home");
        assert_eq!(read(text, Unmarked::International).map(|r| r.phone), Err(error), "{text:?} of a network");
    }
}

#[test]
fn what_is_no_number_is_refused_with_its_reason() {
    for (text, error) in [
        ("", PhoneError::Empty),
        ("   ", PhoneError::Empty),
        ("\u{200b}", PhoneError::Empty),
        ("hello", PhoneError::NotANumber),
        ("+", PhoneError::NotANumber),
        ("+60 12 345 6789 ext 5", PhoneError::NotANumber),
        ("*100#", PhoneError::NotANumber),
        ("+60123", PhoneError::Impossible),
        ("+861380000000012345", PhoneError::Impossible),
        ("+999123456789", PhoneError::NoCountry),
        ("12", PhoneError::Impossible),
    ] {
        assert_eq!(normalise(text), Err(error), "{text:?}");
    }
}

#[test]
fn a_possible_number_outside_the_known_ranges_is_taken_with_a_warning() {
    for (text, country) in [("+553187654321", "BR"), ("+60199", ""), ("+12001234567", "US")] {
        match read(text, Unmarked::ByPeople(None)) {
            Ok(reading) => {
                assert_eq!(reading.phone.e164(), text);
                assert_eq!(reading.country.map(|c| c.to_string()).as_deref(), Some(country));
                assert_eq!(reading.warning, Some(Warning::UnassignedRange));
            }
            Err(error) => assert_eq!((error, country), (PhoneError::Impossible, ""), "{text}"),
        }
    }
    let known = read("+60123456789", Unmarked::ByPeople(None)).expect("known");
    assert_eq!((known.warning, known.country), (None, "MY".parse().ok()));
}

/// Lengths, ranges and countries of 2,600 numbers of every plan, as libphonenumber itself tells them (its Python port,
/// 9.0.33). The data changes with each release of the crate, so a few may differ.
#[test]
fn possible_and_assigned_agree_with_libphonenumber() {
    let (mut all, mut possible, mut assigned, mut country) = (0, Vec::new(), Vec::new(), Vec::new());
    for line in include_str!("reference.csv").lines() {
        let [number, reason, valid, region] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        all += 1;
        let got = read(&format!("+{number}"), Unmarked::ByPeople(None));
        if got.is_ok() != (reason == "0") {
            possible.push(line);
        }
        let Ok(got) = got else { continue };
        if got.warning.is_none() != (valid == "1") || got.phone.as_digits() != number {
            assigned.push(line);
        } else if valid == "1" && got.country.map(|c| c.to_string()).unwrap_or("001".into()) != region {
            country.push(line);
        }
    }
    assert!(all > 2_600);
    assert!(possible.len() < all / 200, "possible: {} {possible:?}", possible.len());
    assert!(assigned.len() < all / 200, "assigned: {} {assigned:?}", assigned.len());
    assert!(country.len() < all / 200, "country: {} {country:?}", country.len());
}

#[test]
fn national_forms_are_read_in_their_country() {
    for (country, text, expected) in [
        ("CN", "13802345678", "8613802345678"),
        ("CN", "138 0234 5678", "8613802345678"),
        ("CN", "8613802345678", "8613802345678"),
        ("CN", "+14155552671", "14155552671"),
        ("CN", "0014155552671", "14155552671"),
        ("cn", "60123456789", "60123456789"),
        ("MY", "012-345 6789", "60123456789"),
        ("MY", "60123456789", "60123456789"),
        ("MY", "123456789", "60123456789"),
        ("US", "(415) 555-2671", "14155552671"),
        ("US", "1 415 555 2671", "14155552671"),
        ("US", "011 44 20 7946 0958", "442079460958"),
        ("GB", "020 7946 0958", "442079460958"),
        ("GB", "07911 123456", "447911123456"),
        ("DE", "0171/1234567", "491711234567"),
        ("RU", "8 916 123-45-67", "79161234567"),
        ("RU", "8001234567", "78001234567"),
        ("KZ", "87011234567", "77011234567"),
        ("IT", "02 3661 8300", "390236618300"),
        ("BR", "(031) 98765-4321", "5531987654321"),
        ("BR", "3187654321", "553187654321"),
        ("ID", "0812 3456 7890", "6281234567890"),
        ("SG", "9123 4567", "6591234567"),
        ("IN", "9876543210", "919876543210"),
        ("HU", "06 20 123 4567", "36201234567"),
    ] {
        assert_eq!(
            at_home(text, country).map(|r| r.phone.as_digits().to_owned()),
            Ok(expected.into()),
            "{country} {text}"
        );
    }
    assert_eq!(at_home("12345", "US").map(|r| r.phone), Err(PhoneError::Impossible));
    for name in ["", "USA", "ZZ", "1", "001", "+60", "é"] {
        assert_eq!(name.parse::<Country>(), Err(UnknownCountry), "{name:?}");
    }
}

#[test]
fn without_a_country_only_what_is_certain_is_taken() {
    for certain in [
        "60123456789",
        "8613800000000",
        "6281234567890",
        "5531987654321",
        "447911123456",
        "919876543210",
        "14155552671",
    ] {
        assert_eq!(digits(certain), Ok(certain.into()));
    }
    for doubtful in [
        "13802345678",
        "13055551234",
        "4155552671",
        "9876543210",
        "0123456789",
        "012-345 6789",
        "84951234567",
        "6591234567",
        "81234567890",
    ] {
        assert_eq!(normalise(doubtful), Err(PhoneError::NeedsCountry), "{doubtful}");
        assert!(PhoneError::NeedsCountry.to_string().contains("defaultCountry"));
    }
    // A network leaves the + out and means what it says.
    let told = read("13802345678", Unmarked::International).expect("told");
    assert_eq!((told.phone.as_digits(), told.country.map(|c| c.to_string()).as_deref()), ("13802345678", Some("US")));
}

#[test]
fn a_masked_number_hides_its_middle() {
    assert_eq!(mask_digits("8613812348888"), "+86 138****8888");
    assert_eq!(mask_digits("60123456789"), "+60 123****6789");
    assert!(!mask_digits("12345").contains("234"));
}

#[test]
fn a_header_is_told_from_data() {
    for data in ["13802345678", "+60 12 345 6789", "62812345678.0", "6.28E+11", "0123456789"] {
        assert!(looks_like_number(data), "{data}");
    }
    for header in ["phone", "手机号", "2024", "", "Line 1", "12345"] {
        assert!(!looks_like_number(header), "{header}");
    }
}

const COUNTRIES: [&str; 12] = ["MY", "CN", "US", "BR", "DE", "IT", "RU", "ID", "MX", "AR", "GB", "IN"];

proptest! {
    #[test]
    fn any_text_is_a_number_or_an_error(text in ".{0,60}") {
        if let Ok(phone) = normalise(&text) {
            prop_assert_eq!(normalise(&phone.e164()), Ok(phone.clone()));
            prop_assert!(!mask_digits(phone.as_digits()).contains(phone.as_digits()));
        }
    }

    /// What was read is read again as the same number, however it was first written and wherever.
    #[test]
    fn a_number_that_was_read_stays_the_same(text in "\\+?[0-9 ()./-]{0,24}", country in 0..COUNTRIES.len()) {
        let home = COUNTRIES[country].parse().ok();
        for unmarked in [Unmarked::International, Unmarked::ByPeople(None), Unmarked::ByPeople(home)] {
            if let Ok(reading) = read(&text, unmarked) {
                let again = read(&reading.phone.e164(), Unmarked::ByPeople(home));
                prop_assert_eq!(again, Ok(reading));
            }
        }
    }

    /// No digit is ever made up, and none but trunk prefixes and marks of an international number are left out: what is
    /// taken without a country is the digits as they were written.
    #[test]
    fn nothing_is_added_to_what_was_written(text in "[0-9]{5,17}") {
        if let Ok(phone) = normalise(&text) {
            prop_assert!(text == phone.as_digits() || text.starts_with("00"), "{} became {}", text, phone.as_digits());
        }
    }

    /// A number with decimals is refused, whatever its digits, separators and script.
    #[test]
    fn a_fraction_is_never_a_number(whole in "[1-9][0-9]{6,14}", fraction in "[0-9]{1,6}", mark in "[.,\u{66b}]", plus in "\\+?") {
        let text = format!("{plus}{whole}{mark}{fraction}");
        for unmarked in [Unmarked::International, Unmarked::ByPeople(None), Unmarked::ByPeople("ID".parse().ok())] {
            prop_assert_eq!(read(&text, unmarked), Err(PhoneError::Fraction));
        }
    }

    /// An exponent is a number only if it says every digit.
    #[test]
    fn an_exponent_says_every_digit_or_is_refused(digits in "[1-9][0-9]{0,14}", more in 0usize..12) {
        let (first, rest) = digits.split_at(1);
        let text = format!("{first}.{rest}0E+{}", rest.len() + 1 + more);
        let expected = read(&format!("+{digits}0"), Unmarked::International);
        match more {
            0 => prop_assert_eq!(read(&text, Unmarked::International), expected),
            _ => prop_assert_eq!(read(&text, Unmarked::International), Err(PhoneError::LostDigits)),
        }
    }

    /// Two whole numbers in one place are refused, whatever stands between them.
    #[test]
    fn two_numbers_are_never_one(a in "[1-9][0-9]{6,11}", b in "[1-9][0-9]{6,11}", between in "( |/| / |, |;|\n| - |\\+| \\+|\\||&)") {
        prop_assert_eq!(read(&format!("{a}{between}{b}"), Unmarked::International), Err(PhoneError::TwoNumbers));
    }

    /// Marks, spaces and dashes within a number, and its script, change nothing.
    #[test]
    fn marks_change_nothing(
        digits in "[1-9][0-9]{7,13}",
        at in 1usize..7,
        mark in prop::sample::select(vec!['\u{202a}', '\u{202c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{2066}', '\u{2069}', '\u{feff}',
            '\u{ad}', '\u{a0}', '\u{202f}', '\u{2009}', '\u{3000}', '-', '\u{2010}', '\u{2011}', '\u{2013}', '\u{2014}', '\u{2212}', '\u{ff0d}']),
        zero in prop::sample::select(vec!['0', '\u{660}', '\u{6f0}', '\u{966}', '\u{e50}', '\u{ff10}', '\u{1d7ce}']),
    ) {
        let script = |text: &str| text.chars().filter_map(|c| char::from_u32(u32::from(zero) + c.to_digit(10)?)).collect::<String>();
        let (head, tail) = digits.split_at(at);
        let text = format!("{mark}+{}{mark}{}{mark}", script(head), script(tail));
        prop_assert_eq!(read(&text, Unmarked::ByPeople(None)), read(&format!("+{digits}"), Unmarked::ByPeople(None)));
    }
}
