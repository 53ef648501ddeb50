//! A workbook's values as a person sees them: a date as a date, a percentage with its sign.

use calamine::DataRef;
use ssfmt::{FormatOptions, NumberFormat};

/// The short date of whoever looks, by the numbers of the formats that have no text of their own. What a reader's machine
/// would make of it is not known here: it is written so that nobody can take the month for the day.
const LOCAL_DATES: [(u32, &str); 2] = [(14, "yyyy-mm-dd"), (22, "yyyy-mm-dd hh:mm")];

/// East Asian dates and times without a text of their own.
fn east_asian(id: u32) -> Option<&'static str> {
    match id {
        27..=31 | 36 | 50..=54 | 57 | 58 => Some("yyyy-mm-dd"),
        32..=35 | 55 | 56 => Some("hh:mm:ss"),
        _ => None,
    }
}

/// From here on a spreadsheet's number does not hold all its digits.
const EXACT: f64 = 1e15;

/// The formats of a workbook's cells.
pub(super) struct Formats {
    formats: Vec<Option<NumberFormat>>,
    options: FormatOptions,
}

impl Formats {
    /// From each style's format: its number and its text.
    pub(super) fn new(styles: impl Iterator<Item = Option<(Option<u32>, String)>>) -> Self {
        let format = |style: Option<(Option<u32>, String)>| {
            let (id, code) = style?;
            let local = id.and_then(|id| {
                LOCAL_DATES.iter().find(|(local, _)| *local == id).map(|(_, code)| *code).or_else(|| east_asian(id))
            });
            // A system's long date or time, with its language: the language is not ours to guess, the rest is.
            let code = local.unwrap_or(code.as_str());
            if code.is_empty() || code.eq_ignore_ascii_case("general") || code == "@" {
                return None;
            }
            NumberFormat::parse(code).ok()
        };
        Self { formats: styles.map(format).collect(), options: FormatOptions::default() }
    }

    /// A cell's text; `style` is the number of its style, and `number` says that the cell holds a phone number, whose
    /// digits count more than their looks.
    pub(super) fn text(&self, value: &DataRef<'_>, style: usize, number: bool) -> String {
        let format = self.formats.get(style).and_then(Option::as_ref);
        match value {
            DataRef::String(s) => s.trim().to_owned(),
            DataRef::SharedString(s) => s.trim().to_owned(),
            DataRef::Int(i) => self.number(*i as f64, format, number),
            DataRef::Float(f) => self.number(*f, format, number),
            DataRef::Bool(true) => "TRUE".into(),
            DataRef::Bool(false) => "FALSE".into(),
            DataRef::DateTimeIso(s) | DataRef::DurationIso(s) => s.replacen('T', " ", 1),
            DataRef::DateTime(time) => {
                let mut options = self.options.clone();
                if starts_1904(time) {
                    options.date_system = ssfmt::DateSystem::Date1904;
                }
                format
                    .map_or_else(|| plain(time.as_f64()), |format| format.format(time.as_f64(), &options).trim().into())
            }
            DataRef::Error(_) | DataRef::Empty => String::new(),
        }
    }

    fn number(&self, value: f64, format: Option<&NumberFormat>, phone: bool) -> String {
        let shown = format.map(|format| format.format(value, &self.options).trim().to_owned());
        if !phone {
            return shown.unwrap_or_else(|| plain(value));
        }
        if value.fract() != 0.0 {
            return format!("{value}");
        }
        if value.abs() >= EXACT {
            return format!("{value:.5e}").replace('e', "E+");
        }
        // `+0`, `000-000-0000`: what is shown is the number, and says more than its digits alone.
        let exact = format!("{value:.0}");
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let alike =
            |text: &String| !text.contains(['.', ',', 'E', '%']) && digits(text).trim_start_matches('0') == exact;
        shown.filter(alike).unwrap_or(exact)
    }
}

/// Whether a workbook counts its days from 1904, which its dates alone tell.
fn starts_1904(time: &calamine::ExcelDateTime) -> bool {
    let other = calamine::ExcelDateTime::new(time.as_f64(), calamine::ExcelDateTimeType::DateTime, false);
    time.to_ymd_hms_milli() != other.to_ymd_hms_milli()
}

/// A number without a format: no exponent, and no digit that is only a trace of binary fractions.
fn plain(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < EXACT {
        return format!("{value:.0}");
    }
    // Excel keeps 15 digits.
    let rounded: f64 = format!("{value:.14e}").parse().unwrap_or(value);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: &str, value: f64, phone: bool) -> String {
        let formats = Formats::new([Some((None, code.to_owned()))].into_iter());
        formats.text(&DataRef::Float(value), 0, phone)
    }

    #[test]
    fn numbers_are_as_a_person_sees_them() {
        for (code, value, expected) in [
            ("0%", 0.15, "15%"),
            ("0.00%", 0.1555, "15.55%"),
            ("\"$\"#,##0.00", 1234.5, "$1,234.50"),
            ("[$€-407] #,##0.00", 1234.5, "€ 1,234.50"),
            ("_($* #,##0.00_);_($* (#,##0.00);_($* \"-\"??_);_(@_)", 12.5, "$12.50"),
            ("[$RM-43E]#,##0.00", 99.9, "RM99.90"),
            ("0.00", 2.5, "2.50"),
            ("00000", 42.0, "00042"),
            ("General", 0.1 + 0.2, "0.3"),
            ("General", 45659.0, "45659"),
        ] {
            assert_eq!(shown(code, value, false), expected, "{code}");
        }
    }

    #[test]
    fn dates_and_times_are_as_a_person_sees_them() {
        let text = |id, code: &str, value, is_1904| {
            let formats = Formats::new([Some((id, code.to_owned()))].into_iter());
            let kind = calamine::ExcelDateTimeType::DateTime;
            formats.text(&DataRef::DateTime(calamine::ExcelDateTime::new(value, kind, is_1904)), 0, false)
        };
        assert_eq!(text(None, "dd/mm/yyyy", 45659.0, false), "02/01/2025");
        assert_eq!(text(None, "d mmmm yyyy", 45659.0, false), "2 January 2025");
        assert_eq!(text(None, "yyyy\"年\"m\"月\"d\"日\"", 45659.0, false), "2025年1月2日");
        assert_eq!(text(None, "yyyy-mm-dd hh:mm", 45659.75, false), "2025-01-02 18:00");
        assert_eq!(text(None, "h:mm AM/PM", 0.75, false), "6:00 PM");
        assert_eq!(text(None, "[h]:mm:ss", 1.5, false), "36:00:00");
        assert_eq!(text(Some(14), "mm-dd-yy", 45659.0, false), "2025-01-02");
        assert_eq!(text(Some(31), "", 45659.0, false), "2025-01-02");
        assert_eq!(text(None, "yyyy-mm-dd", 44197.0, true), "2025-01-02", "days from 1904");
    }

    #[test]
    fn a_phone_number_keeps_its_digits_and_what_its_format_adds() {
        assert_eq!(shown("General", 60_123_456_789.0, true), "60123456789");
        assert_eq!(shown("0.00E+00", 60_123_456_789.0, true), "60123456789");
        assert_eq!(shown("#,##0.00", 60_123_456_789.0, true), "60123456789");
        assert_eq!(shown("\"+\"0", 60_123_456_789.0, true), "+60123456789");
        assert_eq!(shown("0000000000", 123_456_789.0, true), "0123456789");
        assert_eq!(shown("000-000-0000", 4_155_552_671.0, true), "415-555-2671");
        assert_eq!(shown("General", 60_123_456_789.5, true), "60123456789.5");
        assert_eq!(shown("0", 1_234_567_890_123_456.0, true), "1.23457E+15");
    }
}
