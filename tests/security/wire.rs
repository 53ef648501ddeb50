//! Raw bytes over TCP: requests that may be read in two ways, that are too large, or that never end.

use crate::setup::{Raw, Served, statuses};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What is smuggled: nobody may ever see an answer to it.
const HIDDEN: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: smuggled\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smuggling_tries_are_refused() {
    let served = Served::start(&[]).await;
    // That two requests in a row are answered shows that it is not the form of this test that is refused.
    let last = HIDDEN.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let fine = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for body in ["Content-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n"] {
        let said = served.exchange(format!("{fine}{body}{last}")).await;
        assert_eq!(statuses(&said), [400, 200], "{said}");
        assert!(said.contains("VALIDATION_ERROR") && said.contains("x-request-id: smuggled"), "{said}");
    }
    let post = |headers: &str| format!("POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\n{headers}");
    let long = "x".repeat(1_000);
    for tried in [
        post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n"),
        post("Content-Length: 0\r\nContent-Length: 2\r\n\r\n"),
        post("Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
        post("Content-Length: 0, 0\r\n\r\n"),
        post("Content-Length: +0\r\n\r\n"),
        post("Content-Length: -1\r\n\r\n"),
        post("Content-Length: 0x0\r\n\r\n"),
        post("Content-Length: 18446744073709551616\r\n\r\n"),
        post("Content-Length : 0\r\n\r\n"),
        post("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
        post("X: y\r\n Content-Length: 5\r\n\r\n"),
        post("X: y\r\n\tfolded\r\n\r\n"),
        post("X: y\nContent-Length: 5\r\n\r\n"),
        post("X: y\r\n\nContent-Length: 5\r\n\r\n"),
        post("X: y\rContent-Length: 5\r\n\r\n"),
        post("X: a\0b\r\n\r\n"),
        post("no colon\r\n\r\n"),
        post("Host: y\r\n\r\n"),
        post(": no name\r\n\r\n"),
        "GET /healthz HTTP/1.1\nHost: x\n\n".to_owned(),
        "GET /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(),
        post("Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\n0 \r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n"),
        post(&format!("Transfer-Encoding: chunked\r\n\r\n2;{long}\r\n{{}}\r\n0\r\n\r\n")),
        post(&format!("Transfer-Encoding: chunked\r\n\r\n0\r\nX: {}\r\n\r\n", long.repeat(9))),
        post("Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n"),
    ] {
        let said = served.exchange(format!("{tried}{HIDDEN}")).await;
        assert!(matches!(statuses(&said).as_slice(), [400 | 415 | 501 | 505]), "{tried:?} was answered {said:?}");
        assert!(!said.contains("smuggled"), "{tried:?} was answered {said:?}");
    }
    // What comes along with a handshake is not another request, nor a frame.
    let token = served.program.token_for("agent").await;
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{HIDDEN}"
    );
    let said = served.exchange(handshake).await;
    assert!(!said.contains("smuggled") && !said.contains("HTTP/1.1 200"), "{said}");
    // After a refused handshake the connection is as it was.
    let refused = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut raw = served.connect().await;
    raw.send(refused).await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 401 "));
    raw.send(last).await;
    assert_eq!(statuses(&raw.rest().await), [200]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_have_their_limits() {
    let served = Served::start(&[]).await;
    let get =
        |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    let header = |n: usize| format!("X: {}\r\n", "x".repeat(n));
    assert_eq!(statuses(&served.exchange(get("/healthz", &header(30_000))).await), [200]);
    for large in
        [header(40_000), header(100_000), header(1_000_000), (0..101).map(|i| format!("X{i}: y\r\n")).collect()]
    {
        let said = served.exchange(get("/healthz", &large)).await;
        // The last of them are not read to their end, so that their answer may be lost with the connection.
        let lost = large.len() > 65_536 && said.is_empty();
        assert!(statuses(&said) == [431] || lost, "{} bytes: {said}", large.len());
    }
    let token = served.program.token_for("admin").await;
    let authorised = format!("Authorization: Bearer {token}\r\n");
    let query = |n: usize| format!("?x={}", "x".repeat(n));
    for (path, envelope) in [
        ("/batch", "\"ok\":false"),
        ("/api/v1/auth/login", "\"success\":false"),
        ("/ws", "\"code\":4000"),
        ("/customers", "\"detail\":"),
        ("/healthz", "\"detail\":"),
    ] {
        let said = served.exchange(get(&format!("{path}{}", query(9_000)), &authorised)).await;
        assert_eq!(statuses(&said), [414], "{path}: {said}");
        assert!(said.contains(envelope), "{path}: {said}");
        let said = served.exchange(get(&format!("{path}{}", query(8_000)), &authorised)).await;
        assert_ne!(statuses(&said), [414], "{path}: {said}");
    }
}

/// Whether the connection was closed, and what it said before, while one byte is sent each time it has said nothing for a
/// second.
async fn dripped(mut raw: Raw, head: String) -> String {
    raw.send(head).await;
    let mut said = Vec::new();
    let mut part = [0; 1024];
    loop {
        match tokio::time::timeout(Duration::from_secs(1), raw.0.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => return String::from_utf8_lossy(&said).into_owned(),
            Ok(Ok(n)) => said.extend_from_slice(&part[..n]),
            Err(_) => raw.send("x").await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut() {
    let served = Served::start(&[]).await;
    let post = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let silent = async |bytes: String| {
        let mut raw = served.connect().await;
        raw.send(bytes).await;
        raw.rest().await
    };
    let drip = async |head: String| dripped(served.connect().await, head).await;
    // A client among them that behaves is served all the time.
    let other = async {
        let mut raw = served.connect().await;
        for _ in 0..3 {
            raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(raw.answer().await.starts_with("HTTP/1.1 200 "));
        }
        raw.rest().await
    };
    let cut = tokio::time::timeout(Duration::from_secs(50), async {
        tokio::join!(
            silent(String::new()),
            silent("GET /healthz HTTP/1.1\r\nHost: ".into()),
            silent(format!("{post}Content-Length: 100\r\n\r\n{{")),
            silent(format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\n{{")),
            drip("GET /healthz HTTP/1.1\r\nX: ".into()),
            drip(format!("{post}Content-Length: 60000\r\n\r\n")),
            other,
        )
    });
    let (nothing, head, body, chunk, head_drip, body_drip, other) = cut.await.expect("all are cut");
    for said in [nothing, other] {
        assert_eq!(said, "", "an idle connection is closed without a word");
    }
    for said in [head, head_drip] {
        assert!(!said.contains("200"), "{said}");
    }
    for said in [body, chunk, body_drip] {
        assert!(said.is_empty() || statuses(&said) == [400], "{said}");
    }
    assert_eq!(served.anyone().get("/healthz").await.status, 200);
}
