//! What a client wants an answer to be: `Accept`, with its qualities (RFC 9110, 12.5.1).

use poem::Request;
use poem::http::header;

/// How much a client wants something: the quality in thousandths, and how closely it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// 0: not at all.
    pub(crate) quality: u16,
    /// 0 `*/*`, 1 `type/*`, 2 the type itself.
    pub(crate) closeness: u8,
}

/// How much a client wants a media type, given without parameters; `None`: it said nothing of it. Who sends no `Accept`
/// takes everything.
pub(crate) fn wanted(request: &Request, media_type: &str) -> Option<Wanted> {
    let mut lines = request.headers().get_all(header::ACCEPT).iter().peekable();
    if lines.peek().is_none() {
        return Some(Wanted { quality: 1_000, closeness: 0 });
    }
    let ranges = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    // The closest range says how much; of several as close, as of several versions of a format, the one that wants most.
    ranges.filter_map(|range| of_range(range, media_type)).max_by_key(|wanted| (wanted.closeness, wanted.quality))
}

fn of_range(range: &str, media_type: &str) -> Option<Wanted> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?;
    let kind = media_type.split('/').next().unwrap_or_default();
    let closeness = match name.split_once('/')? {
        ("*", "*") => 0,
        (main, "*") if main.eq_ignore_ascii_case(kind) => 1,
        _ if name.eq_ignore_ascii_case(media_type) => 2,
        _ => return None,
    };
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    Some(Wanted { quality: weight.map_or(Some(1_000), quality)?, closeness })
}

/// A quality in thousandths: `0` to `1` with at most three digits behind the point. Who writes another wants nothing that
/// can be read.
fn quality(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) || !matches!(whole, "0" | "1") {
        return None;
    }
    let thousandths: u16 = format!("{whole}{part:0<3}").parse().ok()?;
    (thousandths <= 1_000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &[&str], media_type: &str) -> Option<(u16, u8)> {
        let mut request = Request::builder();
        for line in accept {
            request = request.header("accept", *line);
        }
        wanted(&request.finish(), media_type).map(|wanted| (wanted.quality, wanted.closeness))
    }

    #[test]
    fn the_closest_range_says_how_much() {
        let json = "application/json";
        assert_eq!(of(&[], json), Some((1_000, 0)));
        assert_eq!(of(&["*/*"], json), Some((1_000, 0)));
        assert_eq!(of(&["application/json, text/plain, */*"], json), Some((1_000, 2)));
        assert_eq!(of(&["*/*;q=1, application/*;q=0.5, application/json;q=0"], json), Some((0, 2)));
        assert_eq!(of(&["*/*;q=0.1", "application/*; Q=0.25"], json), Some((250, 1)));
        assert_eq!(of(&["APPLICATION/JSON ; charset=utf-8 ; q=0.007"], json), Some((7, 2)));
        assert_eq!(of(&["application/json;v=1;q=0.2, application/json;v=2;q=0.9"], json), Some((900, 2)));
        assert_eq!(of(&["text/plain"], json), None);
        assert_eq!(of(&[""], json), None);
        for bad in ["2", "1.001", "0.0001", "-1", "x", "", ".5", "1.", "0."] {
            let read = of(&[&format!("application/json;q={bad}, */*;q=0.3")], json);
            // A point without digits is in the grammar.
            let expected = match bad {
                "1." => (1_000, 2),
                "0." => (0, 2),
                _ => (300, 0),
            };
            assert_eq!(read, Some(expected), "{bad}");
        }
    }
}
