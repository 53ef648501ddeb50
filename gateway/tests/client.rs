//! The client against a gateway that behaves in every way a gateway can: what each answer means for the message.

use gateway::{ClientSettings, Gateway as _, HttpGateway, Outbound, SendOutcome, Signer};
use std::time::{Duration, SystemTime};
use support::{Gateway, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &str = "shared";

const MESSAGE: Outbound<'_> =
    Outbound { to: "60123456789", text: "Grüße „an\nalle“", message_id: "0190c7d0-0000-7000-8000-000000000001" };

fn client(url: &str) -> HttpGateway {
    let mut settings = ClientSettings::new(url, SECRET, 8);
    settings.timeout = Duration::from_secs(2);
    HttpGateway::new(&settings).expect("a client")
}

/// A word for the outcome, and its code.
fn word(outcome: &SendOutcome) -> (&'static str, String) {
    match outcome {
        SendOutcome::Accepted => ("accepted", String::new()),
        SendOutcome::Rejected { code, .. } => ("rejected", code.clone()),
        SendOutcome::Throttled { retry_after } => ("throttled", retry_after.as_secs().to_string()),
        SendOutcome::Failed { code, .. } => ("failed", code.clone()),
        SendOutcome::Unknown { code, .. } => ("unknown", code.clone()),
    }
}

#[tokio::test]
async fn a_request_is_what_the_contract_says() {
    let gateway = Gateway::start().await;
    assert_eq!(client(&gateway.url()).send(&MESSAGE).await, SendOutcome::Accepted);
    let attempt = gateway.attempts().remove(0);
    let body: serde_json::Value = serde_json::from_slice(&attempt.raw).expect("JSON");
    let expected =
        serde_json::json!({ "to": MESSAGE.to, "message": MESSAGE.text, "backend_message_id": MESSAGE.message_id });
    assert_eq!(body, expected);
    let header = |name: &str| attempt.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(header("content-type"), "application/json");
    let timestamp: i64 = header("x-paceline-timestamp").parse().expect("seconds");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after it").as_secs();
    assert!(now.abs_diff(timestamp.unsigned_abs()) < 60);
    let signer = Signer::new(SECRET.as_bytes()).expect("a secret");
    assert_eq!(header("x-paceline-signature"), signer.sign(timestamp, &attempt.raw));
}

#[test]
fn a_signature_is_the_hmac_of_timestamp_and_body() {
    // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac shared
    let expected = "sha256=e8a57bb8048d18391d3eb8464b2c3398b36bce5c7b179e65e3ef49430731b313";
    assert_eq!(Signer::new(SECRET.as_bytes()).expect("a secret").sign(1_700_000_000, br#"{"a":1}"#), expected);
}

#[tokio::test]
async fn every_answer_has_one_meaning() {
    let gateway = Gateway::start().await;
    let client = client(&gateway.url());
    for (reply, outcome, code) in [
        (Reply::status(200), "accepted", ""),
        (Reply::status(204), "accepted", ""),
        (Reply::rubbish(), "accepted", ""),
        (Reply::status(400), "rejected", "gateway_400"),
        (Reply::status(404), "rejected", "gateway_404"),
        (Reply::status(422), "rejected", "gateway_422"),
        (Reply::status(302), "rejected", "gateway_302"),
        (Reply::status(401), "throttled", "30"),
        (Reply::status(403), "throttled", "30"),
        (Reply::status(429), "throttled", "1"),
        (Reply::status(429).retry_after(7), "throttled", "7"),
        (Reply::status(429).retry_after(u64::MAX), "throttled", "3600"),
        (Reply::status(503).retry_after(5), "throttled", "5"),
        (Reply::status(503), "failed", "gateway_503"),
        (Reply::status(500), "failed", "gateway_500"),
        (Reply::status(502), "failed", "gateway_502"),
        (Reply::status(408), "unknown", "gateway_408"),
        (Reply::close(), "unknown", "gateway_broke_off"),
        (Reply::hang(), "unknown", "gateway_timeout"),
    ] {
        gateway.next([reply.clone()]);
        assert_eq!(word(&client.send(&MESSAGE).await), (outcome, code.to_owned()), "{reply:?}");
    }
    gateway.release();
}

#[tokio::test]
async fn nothing_was_sent_where_nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address");
    let outcome = client(&format!("http://{address}")).send(&MESSAGE).await;
    assert_eq!(word(&outcome), ("failed", "gateway_unreachable".into()));
    assert!(client(&format!("http://{address}")).check().await.is_err());
}

/// Answers every request on one connection at a time with these bytes; tells how many connections there were.
async fn raw(answer: Vec<u8>, requests: usize) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move {
        let (mut connections, mut answered) = (0, 0);
        while answered < requests {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            connections += 1;
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while answered < requests {
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                if read == 0 {
                    break;
                }
                seen.extend_from_slice(&buffer[..read]);
                // The body ends the request: it is small, and ends with a brace.
                if seen.ends_with(b"}") {
                    seen.clear();
                    answered += 1;
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            }
        }
        connections
    });
    (url, serving)
}

#[tokio::test]
async fn rubbish_is_no_panic() {
    for (answer, outcome) in [
        (b"\x00\x01\x02 what is this\r\n\r\n".to_vec(), "unknown"),
        // Taken, whatever became of the rest of the answer.
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 99\r\n\r\n{".to_vec(), "accepted"),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n".to_vec(), "rejected"),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n".to_vec(), "throttled"),
        (
            b"HTTP/1.1 429 Slow\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "throttled",
        ),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(), "unknown"),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\n\xff\xfe{".to_vec(), "rejected"),
    ] {
        let (url, serving) = raw(answer.clone(), 1).await;
        let outcome_is = client(&url).send(&MESSAGE).await;
        assert_eq!(word(&outcome_is).0, outcome, "{}", String::from_utf8_lossy(&answer));
        serving.abort();
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    let (url, serving) = raw(answer, 20).await;
    let client = client(&url);
    for _ in 0..20 {
        assert_eq!(client.send(&MESSAGE).await, SendOutcome::Accepted);
    }
    assert_eq!(serving.await.expect("serves"), 1);
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let mut answer = b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..64 {
        answer.extend_from_slice(b"4000\r\n");
        answer.extend(std::iter::repeat_n(b'x', 0x4000));
        answer.extend_from_slice(b"\r\n");
    }
    // No last chunk: it never ends.
    let (url, serving) = raw(answer, 1).await;
    let outcome = client(&url).send(&MESSAGE).await;
    assert!(matches!(&outcome, SendOutcome::Failed { detail, .. } if detail.len() < 400), "{outcome:?}");
    serving.abort();
}

#[test]
fn what_is_no_gateway_is_refused() {
    for url in ["", "127.0.0.1:3002", "ftp://gateway", "http://"] {
        assert!(HttpGateway::new(&ClientSettings::new(url, SECRET, 1)).is_err(), "{url}");
    }
    assert!(HttpGateway::new(&ClientSettings::new("http://gateway:3002/base", "", 1)).is_err());
}
