//! From what people write to digits, without making up a number that nobody wrote.

use super::PhoneError;

/// The most characters that are looked at, marks included: far more than any way to write a number.
const MAX_CHARS: usize = 200;

/// So many digits in a row can be a number by themselves: where there are two such runs, there are two numbers.
const WHOLE: usize = 7;

/// More digits than any country's code with an area's code: what comes behind a slash after so many is another number.
const BEFORE_SLASH: usize = 8;

/// A number as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Whether it began with `+` or `00`.
    pub(super) international: bool,
    /// Its digits, without those.
    pub(super) digits: String,
}

/// The zero of every script's decimal digits in Unicode 16; nine more follow each.
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620,
    0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0,
    0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60,
    0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

fn digit(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    let code = u32::from(c);
    let zero = ZEROS.get(ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?)?;
    char::from_digit(code - zero, 10)
}

/// What is copied with a number and cannot be seen: directions, joiners, variants, soft hyphens, byte order marks.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{20e3}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e01ef}')
}

/// One character for all that mean the same.
fn plain(c: char) -> char {
    match c {
        '\u{ff0b}' | '\u{fe62}' | '\u{207a}' => '+',
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
        '\u{2800}' | '\u{3164}' => ' ',
        '\u{2010}'..='\u{2015}'
        | '\u{2043}'
        | '\u{2212}'
        | '\u{fe31}'
        | '\u{fe32}'
        | '\u{fe58}'
        | '\u{fe63}'
        | '\u{ff0d}'
        | '\u{30fc}'
        | '\u{58a}'
        | '\u{5be}'
        | '\u{1806}'
        | '\u{2e3a}'
        | '\u{2e3b}'
        | '\u{301c}'
        | '\u{3030}'
        | '\u{ff5e}'
        | '~'
        | '_' => '-',
        '\u{ff08}' | '\u{ff3b}' | '[' => '(',
        '\u{ff09}' | '\u{ff3d}' | ']' => ')',
        '\u{ff0f}' | '\u{2044}' | '\u{2215}' => '/',
        '\u{ff0e}' | '\u{3002}' | '\u{b7}' | '\u{2027}' | '\u{2219}' | '\u{2022}' | '\u{30fb}' | '\u{2024}' => '.',
        '\u{ff0c}' | '\u{3001}' | '\u{60c}' | '\u{66b}' | '\u{66c}' => ',',
        '\u{ff1b}' | '\u{61b}' => ';',
        '\u{ff5c}' => '|',
        '\u{2018}'..='\u{201b}' | '\u{2b9}' | '\u{2bb}'..='\u{2bd}' | '\u{2032}' | '\u{ff07}' | '\u{b4}' | '`' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{ff02}' => '"',
        c if c.is_whitespace() => ' ',
        c => c,
    }
}

/// Without what spreadsheets and links put around a number: `'+60…`, `="+60…"`, `"+60…"`, `tel:+60…`.
fn unwrapped(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let quoted = |q: char| text.strip_prefix(q).and_then(|rest| rest.strip_suffix(q)).filter(|_| text.len() > 1);
        let scheme = |name: &str| {
            text.split_at_checked(name.len()).filter(|(head, _)| head.eq_ignore_ascii_case(name)).map(|(_, rest)| rest)
        };
        let inner = quoted('"')
            .or_else(|| quoted('\''))
            .or_else(|| text.strip_prefix('\''))
            .or_else(|| text.strip_prefix('='))
            .or_else(|| scheme("tel:"))
            .or_else(|| scheme("whatsapp:"));
        match inner {
            Some(inner) => text = inner.trim(),
            None => return text,
        }
    }
}

fn digits_in(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// `6.28123E+11`: the whole number that it stands for, if its digits are all there.
fn exponent(text: &str) -> Option<Result<String, PhoneError>> {
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let mantissa = mantissa.trim().trim_start_matches('+');
    let (whole, fraction) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.trim();
    let power = exponent.trim_start_matches(['+', '-']);
    if whole.is_empty() || power.is_empty() || !all_digits(whole) || !all_digits(fraction) || !all_digits(power) {
        return None;
    }
    Some(match power.parse::<usize>() {
        Ok(power) if !exponent.starts_with('-') && power == fraction.len() => Ok(format!("{whole}{fraction}")),
        Ok(power) if exponent.starts_with('-') || power < fraction.len() => Err(PhoneError::Fraction),
        _ => Err(PhoneError::LostDigits),
    })
}

/// Refuses what is a decimal fraction, and takes the commas out of `60,123,456,789`.
fn whole_number(text: &str) -> Result<String, PhoneError> {
    let grouped = |part: &str, mark: char| {
        let mut groups = part.split(mark);
        let fine = |group: &str, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&group.len()) && group.bytes().all(|b| b.is_ascii_digit())
        };
        groups.next().is_some_and(|first| fine(first.trim_start_matches('+'), 1..=3)) && groups.all(|g| fine(g, 3..=3))
    };
    let pure = |text: &str| text.trim_start_matches('+').bytes().all(|b| b.is_ascii_digit());
    if let Some((before, after)) = text.rsplit_once(',') {
        let spaced: String = before.chars().map(|c| if matches!(c, ' ' | '\'') { '.' } else { c }).collect();
        if text.matches(',').count() > 1 && grouped(text, ',') {
            return Ok(text.replace(',', ""));
        }
        if digits_in(after) == 0 {
            return Ok(text.replace(',', " "));
        }
        if text.split(',').filter(|part| digits_in(part) >= WHOLE).count() > 1 {
            return Err(PhoneError::TwoNumbers);
        }
        if let Some((integer, fraction)) = text.rsplit_once('.')
            && pure(fraction)
            && grouped(integer, ',')
        {
            return Err(PhoneError::Fraction);
        }
        let one = text.matches(',').count() == 1;
        return Err(match one && pure(after) && (pure(before) || grouped(&spaced, '.')) {
            true => PhoneError::Fraction,
            false => PhoneError::NotANumber,
        });
    }
    if text.matches('.').count() == 1
        && let Some((before, after)) = text.split_once('.')
    {
        let (integer, fraction) = (digits_in(before), digits_in(after));
        if integer >= WHOLE && fraction > 0 && (fraction <= 2 || (pure(before) && pure(after))) {
            return Err(PhoneError::Fraction);
        }
    }
    Ok(text.to_owned())
}

/// Reads what was written.
///
/// # Errors
/// What it is instead of one number.
pub(super) fn written(text: &str) -> Result<Written, PhoneError> {
    if text.len() > MAX_CHARS && text.chars().count() > MAX_CHARS {
        return Err(PhoneError::NotANumber);
    }
    let text: String = text.chars().filter(|c| !is_mark(*c)).map(|c| digit(c).unwrap_or_else(|| plain(c))).collect();
    let text = unwrapped(&text);
    if text.is_empty() {
        return Err(PhoneError::Empty);
    }
    if let Some(whole) = exponent(text) {
        return whole.map(of_digits);
    }
    if !text.chars().all(|c| c.is_ascii_digit() || " +-().,/;|&\\\n'".contains(c)) || digits_in(text) == 0 {
        return Err(PhoneError::NotANumber);
    }
    let sign = text.find('+');
    if sign.is_some() && text.rfind('+') > text.find(|c: char| c.is_ascii_digit()) {
        return Err(PhoneError::TwoNumbers);
    }
    if text.split([';', '|', '&', '\\', '\n']).filter(|part| digits_in(part) > 0).count() > 1 {
        return Err(PhoneError::TwoNumbers);
    }
    let text = whole_number(text)?;
    let runs = text.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() >= WHOLE).count();
    let slashed = text.split_once('/').is_some_and(|(a, b)| digits_in(a) >= BEFORE_SLASH && digits_in(b) > 0);
    if runs > 1 || slashed {
        return Err(PhoneError::TwoNumbers);
    }
    let mut number = of_digits(text.chars().filter(char::is_ascii_digit).collect());
    number.international |= sign.is_some();
    Ok(number)
}

fn of_digits(digits: String) -> Written {
    match digits.strip_prefix("00") {
        Some(rest) => Written { international: true, digits: rest.to_owned() },
        None => Written { international: false, digits },
    }
}
