//! What RFC 9110 and RFC 9112 say that a server must do, byte by byte over TCP.

use crate::setup::Served;
use async_compression::tokio::bufread::GzipEncoder;
use tokio::io::AsyncReadExt;

/// The statuses of all answers, of either version.
fn statuses(said: &str) -> Vec<u16> {
    let lines = said.match_indices("HTTP/1.").filter_map(|(at, start)| said.get(at + start.len() + 2..)?.get(..3));
    lines.filter_map(|status| status.parse().ok()).collect()
}

/// The value of a header of the first answer.
fn header<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let head = said.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// What stands behind the head of the first answer.
fn content(said: &str) -> &str {
    said.split_once("\r\n\r\n").map_or("", |(_, content)| content)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_as_its_head_says() {
    let served = Served::start(&[]).await;
    let closing = "Host: x\r\nConnection: close\r\n";
    let get = |line: &str| format!("{line}\r\n{closing}\r\n");
    for (request, status) in [
        // RFC 9112, 3.2: the host.
        ("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: u@x\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n".to_owned(), 200),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        // RFC 9112, 3.2.1 to 3.2.4: the forms of a target.
        (get("GET http://other.example/healthz HTTP/1.1"), 200),
        (get("GET HTTP://other.example:80/healthz HTTP/1.1"), 200),
        (get("GET ftp://other.example/healthz HTTP/1.1"), 400),
        (get("GET healthz:80 HTTP/1.1"), 400),
        (get("GET * HTTP/1.1"), 400),
        (get("OPTIONS * HTTP/1.1"), 204),
        (get("CONNECT x:80 HTTP/1.1"), 501),
        (get("GET /healthz#part HTTP/1.1"), 400),
        // RFC 9112, 2.2: one empty line before is passed over.
        (format!("\r\n{}", get("GET /healthz HTTP/1.1")), 200),
        // RFC 9112, 2.3, and RFC 9110, 15.6.6: versions.
        (get("GET /healthz HTTP/2.0"), 505),
        (get("GET /healthz HTTP/3.7"), 505),
        (get("GET /healthz HTTP/1.2"), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        ("GET /healthz\r\n\r\n".to_owned(), 400),
        // RFC 9110, 9.1, 15.5.6 and 15.6.2: methods.
        (get("BREW /healthz HTTP/1.1"), 501),
        (get("get /healthz HTTP/1.1"), 501),
        (get("PROPFIND /batch HTTP/1.1"), 501),
        (get("TRACE /healthz HTTP/1.1"), 405),
        (get("DELETE /readyz HTTP/1.1"), 405),
        (get("PUT /metrics HTTP/1.1"), 405),
        (get("OPTIONS /batch/send HTTP/1.1"), 204),
        // RFC 9112, 6.1 and 6.3: transfer codings.
        (format!("POST /healthz HTTP/1.1\r\n{closing}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501),
        (format!("POST /healthz HTTP/1.1\r\n{closing}Transfer-Encoding: gzip\r\n\r\n"), 400),
        (format!("POST /healthz HTTP/1.1\r\n{closing}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 400),
        ("POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        // RFC 9110, 10.1.1: expectations.
        (get("GET /healthz HTTP/1.1\r\nExpect: a-miracle"), 417),
    ] {
        let said = served.exchange(&request).await;
        assert_eq!(statuses(&said), [status], "{request:?}: {said}");
        // RFC 9110, 6.6.1: a clock is there, so all answers have a date.
        assert!(header(&said, "date").is_some(), "{request:?}: {said}");
        if status == 405 || status == 204 {
            assert!(header(&said, "allow").is_some(), "{request:?}: {said}");
        }
        if status == 204 {
            // RFC 9110, 8.6, and RFC 9112, 6.1.
            let framed = header(&said, "content-length").or(header(&said, "transfer-encoding"));
            assert_eq!((framed, content(&said)), (None, ""), "{request:?}: {said}");
        }
    }
    let said = served.exchange(get("DELETE /readyz HTTP/1.1")).await;
    assert_eq!(header(&said, "allow"), Some("GET, HEAD"));
    let said = served.exchange(get("DELETE /batch/send HTTP/1.1")).await;
    assert_eq!((statuses(&said), header(&said, "allow")), (vec![405], Some("POST")), "known before who asks is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_as_their_version_says() {
    let served = Served::start(&[]).await;
    let two = |version: &str, how: &str| {
        let one = format!("GET /healthz HTTP/{version}\r\nHost: x\r\n{how}\r\n");
        let last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        format!("{one}{last}")
    };
    // RFC 9112, 9.3.
    for (version, how, answers) in [
        ("1.1", "", 2),
        ("1.1", "Connection: close\r\n", 1),
        ("1.1", "Connection: CLOSE, x\r\n", 1),
        ("1.0", "", 1),
        ("1.0", "Connection: keep-alive\r\n", 2),
    ] {
        let said = served.exchange(two(version, how)).await;
        assert_eq!(statuses(&said), vec![200; answers], "{version} {how}: {said}");
    }
    // RFC 9112, 6.1: no chunks for who does not know them.
    let admin = served.client("admin").await;
    let batch = serde_json::json!({ "contactIds": ["999999"], "content": "x" });
    let id = admin.post("/batch/send", &batch).await.expect(202)["data"]["id"].as_str().expect("an id").to_owned();
    let token = served.program.token_for("admin").await;
    let csv = |version: &str| {
        format!(
            "GET /batch/{id}/items.csv HTTP/{version}\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
    };
    let (new, old) = (served.exchange(csv("1.1")).await, served.exchange(csv("1.0")).await);
    assert_eq!(header(&new, "transfer-encoding"), Some("chunked"), "{new}");
    assert_eq!((statuses(&old), header(&old, "transfer-encoding")), (vec![200], None), "{old}");
    assert!(content(&old).starts_with("seq,contactId"), "{old}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_is_get_without_its_content() {
    let served = Served::start(&[]).await;
    let token = served.program.token_for("admin").await;
    let documents = ["/openapi/batch.json", "/openapi.json", "/asyncapi.json", "/docs"];
    for path in ["/healthz", "/readyz", "/metrics", "/batch", "/customers/summary"].into_iter().chain(documents) {
        let ask = |method: &str| {
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n")
        };
        let (head, get) = (served.exchange(ask("HEAD")).await, served.exchange(ask("GET")).await);
        assert_eq!((statuses(&head), content(&head)), (vec![200], ""), "{path}: {head}");
        assert_eq!(header(&head, "content-type"), header(&get, "content-type"), "{path}");
    }
    // The stream has a head as well, and that one ends.
    let stream = format!(
        "HEAD /messages/events/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let said = served.exchange(stream).await;
    assert_eq!((statuses(&said), header(&said, "content-type")), (vec![200], Some("text/event-stream")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_read_as_it_is_framed_and_coded() {
    let served = Served::start(&[]).await;
    let login = |headers: &str| {
        format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}"
        )
    };
    // RFC 9110, 10.1.1: who waits is told to go on; who speaks HTTP/1.0 is not.
    let mut raw = served.connect().await;
    raw.send(login("Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")).await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 100 "), "it waits");
    raw.send("{}").await;
    assert_eq!(statuses(&raw.rest().await), [400]);
    let old = login("Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}").replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(statuses(&served.exchange(old).await), [400], "and no 100 before it");
    // RFC 9112, 7.1: extensions, with spaces around them, and trailers are passed over.
    let chunks = "2 ;a=b;c=\"d;e\"\r\n{}\r\n0\r\nX-Checksum: 1\r\n\r\n";
    let said = served.exchange(login(&format!("Transfer-Encoding: Chunked\r\n\r\n{chunks}"))).await;
    assert!(statuses(&said) == [400] && said.contains("\"email\"") && said.contains("is required"), "{said}");
    // RFC 9110, 8.4 and 12.5.3: codings.
    let packed = async |text: &[u8]| {
        let mut packed = Vec::new();
        GzipEncoder::new(text).read_to_end(&mut packed).await.expect("packed");
        packed
    };
    let coded = async |coding: &str, body: &[u8]| {
        let head = login(&format!("Content-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len()));
        served.exchange([head.as_bytes(), body].concat()).await
    };
    let body = packed(br#"{"email": "a@example.org", "password": "x"}"#).await;
    for coding in ["gzip", "x-gzip", "GZIP"] {
        let said = coded(coding, &body).await;
        assert_eq!(statuses(&said), [401], "{coding}: it was read: {said}");
    }
    for coding in ["br", "deflate", "gzip, gzip", "zstd"] {
        let said = coded(coding, &body).await;
        assert_eq!(
            (statuses(&said), header(&said, "accept-encoding")),
            (vec![415], Some("gzip, identity")),
            "{coding}"
        );
        assert!(said.contains("\"success\":false"), "{said}");
    }
    assert_eq!(statuses(&coded("gzip", b"no gzip").await), [400]);
    let bomb = packed(&vec![b' '; 50_000_000]).await;
    assert_eq!(statuses(&coded("gzip", &bomb).await), [413], "{} bytes", bomb.len());
    assert!(served.peak_mib() < 200, "{} MiB", served.peak_mib());
    let other = login("Content-Length: 2\r\n\r\n{}").replace("application/json", "text/plain");
    let said = served.exchange(other).await;
    assert_eq!((statuses(&said), header(&said, "accept-encoding")), (vec![415], None), "{said}");
    // RFC 9110, 14.5: a part is not the whole.
    let token = served.program.token_for("admin").await;
    let part = format!(
        "PUT /templates/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let said = served.exchange(part).await;
    assert!(statuses(&said) == [400] && said.contains("Content-Range"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_one_that_was_asked_for() {
    let served = Served::start(&[]).await;
    let token = served.program.token_for("agent").await;
    let ask = |version: &str, headers: &str| {
        format!("GET /ws HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n")
    };
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut raw = served.connect().await;
    raw.send(ask("1.1", &format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}"))).await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 101 "));
    // RFC 9110, 7.8: another protocol is passed over; so is any from who speaks HTTP/1.0.
    let said =
        served.exchange("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n").await;
    assert_eq!(statuses(&said), [200], "{said}");
    let said = served.exchange(ask("1.0", &format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}"))).await;
    assert!(statuses(&said).iter().all(|status| (400..500).contains(status)), "{said}");
    assert!(!said.contains("HTTP/1.0 101") && !said.contains("HTTP/1.1 101"), "{said}");
}
