//! What all of this crate's HTTP clients have in common.

use crate::ClientError;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, Url};
use std::time::{Duration, SystemTime};

/// The most of an answer that is read.
pub(crate) const MAX_ANSWER: usize = 64 * 1024;

/// The longest wait that an answer may ask for.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// An address that paths are joined to.
pub(crate) fn base(url: &str) -> Result<Url, ClientError> {
    let mut base: Url = url.parse().map_err(|_| ClientError::Url)?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err(ClientError::Url);
    }
    if !base.path().ends_with('/') {
        let path = format!("{}/", base.path());
        base.set_path(&path);
    }
    Ok(base)
}

/// A client with its own pool, which goes where it is told and nowhere else: no redirects, no proxies.
pub(crate) fn client(connect: Duration, whole: Duration, pool: usize) -> reqwest::Result<Client> {
    Client::builder()
        .connect_timeout(connect)
        .timeout(whole)
        .pool_max_idle_per_host(pool)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}

/// A request with more headers.
pub(crate) fn with(request: RequestBuilder, headers: Vec<(&'static str, String)>) -> RequestBuilder {
    headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// The beginning of an answer's body, or all of it when it is as short as those that are expected.
pub(crate) async fn bounded(response: Response) -> Vec<u8> {
    bounded_to(response, MAX_ANSWER).await
}

/// The same, of so many bytes at most.
pub(crate) async fn bounded_to(mut response: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len() + chunk.len() > most {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    body
}

/// How long an answer asks to be left alone.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    read_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

/// Seconds, or a date; `None` for what is neither.
pub(crate) fn read_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a very long time, not none.
        value.parse().map_or(MAX_WAIT, Duration::from_secs)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_wait_is_read() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let date = httpdate::fmt_http_date(now + Duration::from_secs(90));
        for (said, seconds) in [
            ("7", 7),
            (" 0 ", 0),
            (date.as_str(), 90),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("99999999999999999999", 3_600),
        ] {
            assert_eq!(read_retry_after(said, now), Some(Duration::from_secs(seconds)), "{said}");
        }
        for said in ["", "-1", "1.5", "soon"] {
            assert_eq!(read_retry_after(said, now), None, "{said}");
        }
    }
}
