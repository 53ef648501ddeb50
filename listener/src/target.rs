//! What a request's head asks for, in the forms that RFC 9112, 3.2, has for it.

use poem::http::header::{ALLOW, CONTENT_TYPE, EXPECT, HOST, UPGRADE};
use poem::http::request::Parts;
use poem::http::uri::{PathAndQuery, Scheme};
use poem::http::{HeaderValue, Method, StatusCode, Uri, Version};
use poem::{IntoResponse, Response};

/// What the server as a whole takes.
const ALL: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Makes the target a path, whatever form it came in, or answers by itself: what is for a proxy or for the whole server,
/// and what nobody here can meet.
pub(crate) fn settle(head: &mut Parts) -> Option<Response> {
    if head.method == Method::CONNECT {
        return Some(refuse(StatusCode::NOT_IMPLEMENTED, "this server is no proxy"));
    }
    if head.version == Version::HTTP_10 {
        // RFC 9110, 7.8: it must be passed over.
        head.headers.remove(UPGRADE);
    }
    let met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if head.version != Version::HTTP_10 && !head.headers.get_all(EXPECT).iter().all(met) {
        return Some(refuse(StatusCode::EXPECTATION_FAILED, "Expect may be 100-continue alone"));
    }
    if head.uri.path() == "*" {
        let asks = head.method == Method::OPTIONS;
        return Some(match asks {
            true => StatusCode::NO_CONTENT.with_header(ALLOW, ALL).into_response(),
            false => refuse(StatusCode::BAD_REQUEST, "only OPTIONS is of the whole server"),
        });
    }
    let authority = head.uri.authority()?;
    // In the absolute form the target says which host is meant, whatever the header says (RFC 9112, 3.2.2).
    let is_ours = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    let (true, false, Ok(host)) = (
        head.uri.scheme().is_some_and(is_ours),
        authority.as_str().contains('@'),
        HeaderValue::from_str(authority.as_str()),
    ) else {
        return Some(refuse(StatusCode::BAD_REQUEST, "the target must be a path, or an address of http or https"));
    };
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.headers.insert(HOST, host);
    head.uri = Uri::from(path);
    None
}

fn refuse(status: StatusCode, detail: &str) -> Response {
    let body = format!("{{\"detail\":\"{detail}\"}}");
    let mut response = Response::builder().status(status).body(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::Request;

    fn settled(method: &str, target: &str, expect: Option<&str>) -> Result<(String, Option<String>), u16> {
        let mut request = Request::builder().method(method).uri(target).header("host", "header.example");
        if let Some(expect) = expect {
            request = request.header("expect", expect);
        }
        let (mut head, ()) = request.body(()).expect("a request").into_parts();
        match settle(&mut head) {
            Some(answer) => Err(answer.status().as_u16()),
            None => {
                let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
                Ok((head.uri.to_string(), host))
            }
        }
    }

    #[test]
    fn a_target_is_a_path_in_the_end() {
        let path = |path: &str, host: &str| Ok((path.to_owned(), Some(host.to_owned())));
        assert_eq!(settled("GET", "/a?b=c", None), path("/a?b=c", "header.example"));
        assert_eq!(settled("GET", "http://target.example:80/a?b=c", None), path("/a?b=c", "target.example:80"));
        assert_eq!(settled("GET", "HTTPS://target.example", None), path("/", "target.example"));
        assert_eq!(settled("OPTIONS", "*", None), Err(204));
        assert_eq!(settled("GET", "*", None), Err(400));
        assert_eq!(settled("GET", "ftp://target.example/a", None), Err(400));
        assert_eq!(settled("GET", "http://user@target.example/a", None), Err(400));
        assert_eq!(settled("GET", "target.example:80", None), Err(400));
        assert_eq!(settled("CONNECT", "target.example:80", None), Err(501));
        assert_eq!(settled("PUT", "/a", Some("100-Continue")), path("/a", "header.example"));
        assert_eq!(settled("PUT", "/a", Some("a-miracle")), Err(417));
    }
}
