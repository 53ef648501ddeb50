//! Reading JSON of others as leniently as they write it.

use std::borrow::Cow;

/// A JSON text of somebody who cannot be told of its faults, as a strict parser takes it. What no text can have becomes
/// U+FFFD: bytes that are no UTF-8, and one half of a pair of surrogates (`"\ud83d"`), as programs write it that cut texts
/// in the middle of a character. A mark of the byte order at the beginning is left out, and a bare control character in a
/// string is written as the escape that it should have been. Everything else stays as it came, also what is no JSON.
#[must_use]
pub fn lenient_json(body: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)) {
        Cow::Borrowed(text) => mend(text).map_or(Cow::Borrowed(text), Cow::Owned),
        Cow::Owned(text) => Cow::Owned(mend(&text).unwrap_or(text)),
    }
}

/// The escape of what cannot be told.
const REPLACEMENT: &str = "\\ufffd";

/// How long an escape `\uXXXX` is.
const ESCAPE: usize = 6;

/// The text with its strings mended; `None`: there is nothing to mend.
fn mend(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut mended, mut kept, mut at, mut quoted) = (String::new(), 0, 0, false);
    while let Some(byte) = bytes.get(at) {
        // What is replaced begins and ends with ASCII, so that no character is cut.
        let (length, instead) = match byte {
            b'"' => {
                quoted = !quoted;
                (1, None)
            }
            b'\\' if quoted => match (escaped(bytes, at), escaped(bytes, at + ESCAPE)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (2 * ESCAPE, None),
                (Some(0xd800..=0xdfff), _) => (ESCAPE, Some(Cow::Borrowed(REPLACEMENT))),
                _ => (2, None),
            },
            0..0x20 if quoted => (1, Some(Cow::Owned(format!("\\u{byte:04x}")))),
            _ => (1, None),
        };
        if let Some(instead) = instead {
            mended.push_str(text.get(kept..at).unwrap_or_default());
            mended.push_str(&instead);
            kept = at + length;
        }
        at += length;
    }
    if kept == 0 {
        return None;
    }
    mended.push_str(text.get(kept..).unwrap_or_default());
    Some(mended)
}

/// The number of an escape `\uXXXX` that begins here.
fn escaped(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at.checked_add(ESCAPE)?)?.strip_prefix(b"\\u")?;
    let all = digits.iter().all(u8::is_ascii_hexdigit);
    all.then(|| std::str::from_utf8(digits).ok()).flatten().and_then(|digits| u16::from_str_radix(digits, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_text_can_have_is_replaced_and_nothing_else() {
        for (body, expected) in [
            (&br#"{"a":"\ud83d"}"#[..], r#"{"a":"\ufffd"}"#),
            (br#"{"a":"\ude00"}"#, r#"{"a":"\ufffd"}"#),
            (br#"{"a":"x\uD83D\ud83d\ude00y"}"#, r#"{"a":"x\ufffd\ud83d\ude00y"}"#),
            (br#"{"a":"\ud83dA\ude00"}"#, r#"{"a":"\ufffdA\ufffd"}"#),
            (br#"{"a":"\ud83d\\ude00"}"#, r#"{"a":"\ufffd\\ude00"}"#),
            (br#"{"\udfff":1}"#, r#"{"\ufffd":1}"#),
            (b"\xef\xbb\xbf{}", "{}"),
            (b"{\"a\":\"x\xffy\"}", "{\"a\":\"x\u{fffd}y\"}"),
            (b"{\"a\":\"x\ty\n\"}", "{\"a\":\"x\\u0009y\\u000a\"}"),
        ] {
            assert_eq!(lenient_json(body), expected);
        }
        for same in [
            r#"{"a":"\ud83d\ude00 \\ud83d \" \u00e9"}"#,
            "{\n\t\"a\": 1\r\n}",
            r#"\ud83d"#,
            r#"{"a":"\ud83"#,
            r#"{"a":"\u+123"}"#,
            "\"\\",
            "",
        ] {
            assert!(matches!(lenient_json(same.as_bytes()), Cow::Borrowed(text) if text == same), "{same}");
        }
    }
}
