//! What an answer means.

use crate::raw::{Raw, Then, answer};
use crate::{client, detail, send, word};
use gateway::{Gateway, SendOutcome};
use std::time::{Duration, SystemTime};
use support::Reply;

#[tokio::test]
async fn any_2xx_is_taken() {
    for head in ["200 OK", "201 Created", "202 Accepted", "203 X", "206 Partial Content", "299 "] {
        let server = Raw::always(Then::Answer(answer(head, r#"{"status":"failed"}"#))).await;
        assert_eq!(send(&client(&server.url), "m").await, SendOutcome::Accepted, "{head}");
    }
    let server = Raw::always(Then::Answer(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())).await;
    assert_eq!(send(&client(&server.url), "m").await, SendOutcome::Accepted);
}

#[tokio::test]
async fn a_status_says_whether_to_try_again() {
    let server = support::Gateway::start().await;
    let client = client(server.url());
    let expected = [
        ("rejected", &[400, 402, 404, 405, 409, 410, 413, 415, 422, 451][..]),
        ("failed", &[500, 501, 503, 505, 507, 599]),
        // Of these nobody knows whether the gateway had taken the message.
        ("unknown", &[408, 502, 504]),
        // From somebody in between, and not followed.
        ("failed", &[300, 304, 307]),
        ("unknown", &[600, 999]),
        ("throttled", &[401, 403, 429]),
    ];
    for (kind, statuses) in expected {
        for status in statuses {
            server.next([Reply::status(*status)]);
            let outcome = send(&client, "m").await;
            let word = word(&outcome);
            if kind == "throttled" {
                assert_eq!(word, kind);
            } else {
                assert_eq!(word, format!("{kind} gateway_{status}"));
                assert!(detail(&outcome).contains(&status.to_string()), "{outcome:?}");
            }
        }
    }
    assert_eq!(server.sent_count(), 0);
}

#[tokio::test]
async fn a_sender_that_the_gateway_does_not_have_is_no_fault_of_the_message() {
    let issue =
        |field: &str| format!(r#"{{"loc":["body","{field}"],"msg":"no such sender here","type":"value_error"}}"#);
    let said = async |issues: &[String]| {
        let body = format!(r#"{{"detail":[{}]}}"#, issues.join(","));
        let server = Raw::always(Then::Answer(answer("422 Unprocessable Entity", &body))).await;
        word(&send(&client(&server.url), "m").await)
    };
    assert_eq!(said(&[issue("sender")]).await, "throttled");
    assert_eq!(said(&[issue("sender"), issue("to")]).await, "rejected gateway_422");
    assert_eq!(said(&[]).await, "rejected gateway_422");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = support::Gateway::start().await;
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 X", "308 X"] {
        let head = format!("{status}\r\nLocation: {}/send", elsewhere.url());
        let server = Raw::always(Then::Answer(answer(&head, ""))).await;
        let client = client(&server.url);
        assert_eq!(word(&send(&client, "m").await), format!("failed gateway_{}", &status[..3]));
        assert!(client.check().await.is_err());
    }
    assert!(elsewhere.attempts().is_empty());
}

/// What the client makes of a `Retry-After`, if it says to wait at all.
async fn wait_for(status: &str, retry_after: &str) -> Option<Duration> {
    let head = format!("{status}\r\nRetry-After: {retry_after}");
    let server = Raw::always(Then::Answer(answer(&head, r#"{"detail":"slowly"}"#))).await;
    match send(&client(&server.url), "m").await {
        SendOutcome::Throttled { retry_after } => Some(retry_after),
        outcome => {
            assert_eq!(word(&outcome), "failed gateway_503");
            None
        }
    }
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date() {
    for (said, seconds) in [("0", 0), ("1", 1), ("90", 90), (" 7 ", 7), ("007", 7), ("3600", 3600)] {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            assert_eq!(wait_for(status, said).await, Some(Duration::from_secs(seconds)), "{status}: {said:?}");
        }
    }
    let start = SystemTime::now();
    let said = httpdate::fmt_http_date(start + Duration::from_secs(600));
    let wait = wait_for("429 Too Many Requests", &said).await.expect("a wait");
    // The date has whole seconds, and some time has passed.
    let least = Duration::from_secs(599).saturating_sub(start.elapsed().expect("a clock that goes on"));
    assert!(least <= wait && wait <= Duration::from_secs(600), "{wait:?}");
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(wait_for("429 Too Many Requests", past).await, Some(Duration::ZERO));
}

#[tokio::test]
async fn an_absurd_retry_after_holds_nobody_for_ever() {
    let most = Some(Duration::from_secs(3600));
    for said in
        ["3601", "18446744073709551615", "18446744073709551616", &"9".repeat(300), "Fri, 31 Dec 9999 23:59:59 GMT"]
    {
        assert_eq!(wait_for("429 Too Many Requests", said).await, most, "{said:?}");
        assert_eq!(wait_for("503 Service Unavailable", said).await, most, "{said:?}");
    }
    for said in ["", "-5", "+5", "1.5", "1e3", "soon", "5 s", "0x10", "Sun, 99 Nov 1994 08:49:37 GMT", "\u{e9}"] {
        // A 429 says to wait by itself; a 503 only together with a time.
        assert_eq!(wait_for("429 Too Many Requests", said).await, Some(Duration::from_secs(1)), "{said:?}");
        assert_eq!(wait_for("503 Service Unavailable", said).await, None, "{said:?}");
    }
}

#[tokio::test]
async fn the_reason_is_the_gateways_if_it_gives_one() {
    let cases = [
        (r#"{"detail":"no such number"}"#, "no such number"),
        (r#"{"detail":"two\nlines \u0000 and\u001b[31m more"}"#, "twolines  and[31m more"),
        (r#"{"detail":""}"#, ""),
        (r#"{"detail":{"a":1}}"#, "the gateway answered 400 Bad Request"),
        (r#"{"error":"x"}"#, "the gateway answered 400 Bad Request"),
        ("<html>no</html>", "the gateway answered 400 Bad Request"),
        ("", "the gateway answered 400 Bad Request"),
    ];
    for (body, expected) in cases {
        let server = Raw::always(Then::Answer(answer("400 Bad Request", body))).await;
        assert_eq!(detail(&send(&client(&server.url), "m").await), expected, "{body}");
    }
    let long = format!(r#"{{"detail":"{}"}}"#, "ä".repeat(5_000));
    let server = Raw::always(Then::Answer(answer("400 Bad Request", &long))).await;
    assert_eq!(detail(&send(&client(&server.url), "m").await), "ä".repeat(300));
}

#[tokio::test]
async fn a_gateway_says_whether_it_is_ready() {
    let server = support::Gateway::start().await;
    assert_eq!(client(server.url()).check().await, Ok(()));
    let cases = [
        ("200 OK", r#"{"ready":true}"#, Ok(())),
        ("200 OK", r#"{"ready":false,"need_qr":true}"#, Err("it waits for its QR code to be scanned")),
        ("200 OK", r#"{"ready":false,"need_qr":false}"#, Err("it says that it is not ready")),
        ("200 OK", "<html></html>", Err("its answer is not that of a gateway")),
        ("503 Service Unavailable", r#"{"ready":true}"#, Err("it answers 503 Service Unavailable")),
    ];
    for (head, body, expected) in cases {
        let server = Raw::always(Then::Answer(answer(head, body))).await;
        assert_eq!(client(&server.url).check().await, expected.map_err(str::to_owned), "{body}");
    }
}
