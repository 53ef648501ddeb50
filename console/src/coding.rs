//! In which coding an answer leaves: pages are text that repeats itself, and leave a tenth of it (0044).

use poem::http::{HeaderMap, HeaderValue, header};
use poem::web::{Compress, CompressionAlgo, CompressionLevel};
use poem::{IntoResponse, Response};

/// How hard a page is compressed that somebody waits for.
const PAGE: CompressionLevel = CompressionLevel::Precise(5);

/// How hard a part is compressed that a page fetches by itself: hundreds are asked for at once, and they are small.
const PART: CompressionLevel = CompressionLevel::Precise(1);

/// The better of the codings that we have and a browser takes; `None`: it takes neither (RFC 9110, 12.5.3).
pub(crate) fn best(headers: &HeaderMap) -> Option<CompressionAlgo> {
    let (mut brotli, mut gzip, mut others) = (None, None, None);
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = weight.map_or(Some(1.0), |text| text.parse::<f32>().ok()).unwrap_or(0.0);
            match name.to_ascii_lowercase().as_str() {
                "br" => brotli = Some(weight),
                "gzip" | "x-gzip" => gzip = Some(weight),
                "*" => others = Some(weight),
                _ => {}
            }
        }
    }
    let weight = |named: Option<f32>| named.or(others).unwrap_or(0.0);
    match (weight(brotli), weight(gzip)) {
        (brotli, gzip) if brotli > 0.0 && brotli >= gzip => Some(CompressionAlgo::BR),
        (_, gzip) if gzip > 0.0 => Some(CompressionAlgo::GZIP),
        _ => None,
    }
}

/// Compresses a page or a part of one. The stream of news, files and what is empty are left as they are: a stream would wait
/// for more before anything of it left.
pub(crate) fn pack(mut response: Response, best: Option<CompressionAlgo>, part: bool) -> Response {
    let html = response.content_type().is_some_and(|kind| kind.starts_with("text/html"));
    if !html || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    match best {
        Some(coding) => Compress::new(response, coding).with_quality(if part { PART } else { PAGE }).into_response(),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_the_better_coding_that_it_takes() {
        use CompressionAlgo::{BR, GZIP};
        for (accepts, coding) in [
            (&["gzip, deflate, br, zstd"][..], Some(BR)),
            (&["gzip", "br"], Some(BR)),
            (&["gzip;q=1.0, br; q=0.5"], Some(GZIP)),
            (&["br;q=0, gzip"], Some(GZIP)),
            (&["BR"], Some(BR)),
            (&["*"], Some(BR)),
            (&["br;q=0, *"], Some(GZIP)),
            (&["identity"], None),
            (&["br;q=x"], None),
            (&["*;q=0"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in accepts {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(best(&headers), coding, "{accepts:?}");
        }
    }

    #[tokio::test]
    async fn only_pages_are_packed() {
        let answer = |kind: &str| Response::builder().content_type(kind).body("a ".repeat(2_000));
        for (kind, coding) in [
            ("text/html; charset=utf-8", Some("br")),
            ("text/event-stream", None),
            ("text/csv; charset=utf-8", None),
            ("text/calendar; charset=utf-8", None),
        ] {
            let packed = pack(answer(kind), Some(CompressionAlgo::BR), false);
            assert_eq!(packed.header(header::CONTENT_ENCODING), coding, "{kind}");
            let length = packed.into_body().into_bytes().await.map_or(0, |body| body.len());
            assert_eq!(length < 200, coding.is_some(), "{kind}: {length}");
        }
        let plain = pack(answer("text/html"), None, false);
        assert_eq!(plain.header(header::VARY), Some("Accept-Encoding"));
        assert_eq!(plain.into_body().into_bytes().await.map_or(0, |body| body.len()), 4_000);
    }
}
