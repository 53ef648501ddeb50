//! Content codings of request bodies: gzip is unpacked, anything else is refused with what is taken (RFC 9110, 8.4).
//!
//! Whoever reads the body bounds it as ever, so by what it is unpacked: a small body that unpacks to a large one is
//! refused like a large one, and no more of it is unpacked than of a large one would be read.

use super::body::DRAIN;
use super::refusal::{Kind, Refusal};
use async_compression::tokio::bufread::GzipDecoder;
use poem::http::header;
use poem::{Body, Request};
use tokio::io::{AsyncReadExt, BufReader};

/// The codings that are taken, as `Accept-Encoding` has them.
pub(crate) const TAKEN: &str = "gzip, identity";

/// Puts the body as it was before it was coded in the place of what came.
pub(crate) fn unpack(request: &mut Request) -> Result<(), Refusal> {
    let mut gzip = false;
    for value in request.headers().get_all(header::CONTENT_ENCODING) {
        for coding in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|coding| !coding.is_empty()) {
            // RFC 9110, 8.4.1.3, wants both names to be equal.
            let is_gzip = coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip");
            if !coding.eq_ignore_ascii_case("identity") && (!is_gzip || std::mem::replace(&mut gzip, true)) {
                return Err(Refusal::new(
                    Kind::UnsupportedCoding,
                    "the body's Content-Encoding must be gzip, once, or none",
                ));
            }
        }
    }
    if gzip {
        let mut decoder = GzipDecoder::new(BufReader::new(request.take_body().into_async_read()));
        decoder.multiple_members(true);
        request.set_body(Body::from_async_read(decoder.take(u64::try_from(DRAIN).unwrap_or(u64::MAX))));
        // It is of what came.
        request.headers_mut().remove(header::CONTENT_LENGTH);
    }
    request.headers_mut().remove(header::CONTENT_ENCODING);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_compression::tokio::bufread::GzipEncoder;

    async fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        GzipEncoder::new(text).read_to_end(&mut packed).await.expect("packed");
        packed
    }

    async fn unpacked(codings: &[&str], body: Vec<u8>) -> Result<Option<Vec<u8>>, Kind> {
        let mut request = Request::builder().header("content-length", body.len());
        for coding in codings {
            request = request.header("content-encoding", *coding);
        }
        let mut request = request.body(body);
        unpack(&mut request).map_err(|refusal| refusal.kind)?;
        assert!(!request.headers().contains_key("content-encoding"));
        Ok(request.take_body().into_bytes().await.ok().map(|bytes| bytes.to_vec()))
    }

    #[tokio::test]
    async fn gzip_is_unpacked_and_all_else_refused() {
        let text = b"{\"a\": 1}".to_vec();
        let mut packed = gzip(&text).await;
        for coding in ["gzip", "GZIP", "x-gzip", "identity, gzip"] {
            assert_eq!(unpacked(&[coding], packed.clone()).await, Ok(Some(text.clone())), "{coding}");
        }
        assert_eq!(unpacked(&[], text.clone()).await, Ok(Some(text.clone())));
        assert_eq!(unpacked(&["identity"], text.clone()).await, Ok(Some(text.clone())));
        for codings in [&["br"][..], &["deflate"], &["gzip, gzip"], &["gzip", "gzip"], &["gzip, br"], &["compress"]] {
            assert_eq!(unpacked(codings, packed.clone()).await, Err(Kind::UnsupportedCoding), "{codings:?}");
        }
        assert_eq!(unpacked(&["gzip"], text.clone()).await, Ok(None), "it is not gzip");
        packed.pop();
        assert_eq!(unpacked(&["gzip"], packed).await, Ok(None), "its end is lost");
    }

    #[tokio::test]
    async fn a_bomb_is_unpacked_no_further_than_a_body_is_read() {
        let bomb = gzip(&vec![0; DRAIN + 1_000_000]).await;
        assert!(bomb.len() < 1_000_000);
        let read = unpacked(&["gzip"], bomb).await.expect("taken").expect("read");
        assert_eq!(read.len(), DRAIN);
    }
}
