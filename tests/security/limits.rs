//! Bodies and frames that are larger, deeper or more than anybody needs.

use crate::setup::{Raw, Served, statuses};
use serde_json::{Value, json};
use support::{Client, Method, Pushed, Response};
use tokio::io::AsyncReadExt;

async fn post(admin: &Client, path: &str, content_type: &str, body: String) -> Response {
    admin.send(admin.request(Method::POST, path).header("content-type", content_type).body(body)).await
}

fn form(parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().map(|(name, text)| {
        let file = if *name == "file" { "; filename=\"a.csv\"" } else { "" };
        format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n")
    });
    parts.collect::<String>() + "--edge--\r\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_have_their_limits_in_every_envelope() {
    let served = Served::start(&[]).await;
    let admin = served.client("admin").await;
    let long = "x".repeat(70 * 1024);
    let before = served.peak_mib();
    // Whoever has not signed in yet makes us hold next to nothing, whether or not the length is told beforehand.
    let large = json!({ "email": "x".repeat(8 * 1024 * 1024), "password": "x" }).to_string();
    for path in ["/api/v1/auth/login", "/api/v1/auth/refresh"] {
        let refused = post(&admin, path, "application/json", large.clone()).await.expect(413);
        assert_eq!((&refused["success"], &refused["error"]["code"]), (&json!(false), &json!("PAYLOAD_TOO_LARGE")));
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n");
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        assert_eq!(statuses(&served.exchange(chunked).await), [413], "{path}, chunked");
    }
    let grown = served.peak_mib().saturating_sub(before);
    assert!(grown < 32, "refusing them took {grown} MiB");
    let json_type = "application/json";
    let template = json!({ "name": "x", "content": long }).to_string();
    let refused = post(&admin, "/templates", json_type, template).await.expect(413);
    assert_eq!((&refused["ok"], &refused["error"]["code"]), (&json!(false), &json!("PAYLOAD_TOO_LARGE")));
    let fields = |n: usize| {
        format!("{{{}\"contactIds\": [\"1\"]}}", (0..n).map(|i| format!("\"f{i}\": 0, ")).collect::<String>())
    };
    let deep = |n: usize| format!("{{\"contactIds\": {}1{}}}", "[".repeat(n), "]".repeat(n));
    let tags = format!(
        "{{\"contactIds\": [\"1\"], \"operation\": \"add\", \"tags\": [{}\"x\"]}}",
        "\"x\", ".repeat(1_000_000)
    );
    let contact = format!(
        "{{\"contacts\": [{{\"phoneE164\": \"+60123456789\", \"tags\": [{}\"x\"]}}]}}",
        "\"x\", ".repeat(1_000_000)
    );
    for (path, content_type, body, status) in [
        ("/batch/delete", json_type, fields(2_000), 400),
        ("/batch/delete", json_type, deep(100_000), 400),
        ("/batch/send", json_type, deep(100_000), 400),
        ("/batch/import", json_type, deep(100_000), 400),
        ("/templates", json_type, deep(10_000), 400),
        ("/api/v1/auth/login", json_type, deep(10_000), 400),
        ("/batch/tags", json_type, tags, 400),
        ("/batch/import", json_type, contact, 400),
        ("/batch/delete", json_type, "{\"contactIds\": [\"1\"], \"contactIds\": [\"2\"]}".into(), 400),
        ("/batch/delete", "text/plain", "{}".into(), 415),
        ("/batch/delete", "application/x-www-form-urlencoded", "contactIds=1".into(), 415),
        ("/batch/import", "text/xml", "<x/>".into(), 415),
    ] {
        let answer = post(&admin, path, content_type, body).await;
        let shown: String = answer.text.chars().take(300).collect();
        assert_eq!(answer.status, status, "{path}: {shown}");
        assert_eq!(answer.body["error"]["code"], "VALIDATION_ERROR", "{path}: {shown}");
        assert!(answer.text.len() < 10_000, "{path}: nor is the answer large");
    }
    // A preview's values are read whole, so their depth has a limit too.
    let made = post(&admin, "/templates", json_type, json!({ "name": "x", "content": "{{ name }}" }).to_string()).await;
    let path = format!("/templates/{}/preview", made.expect(201)["data"]["id"].as_str().expect("an id"));
    let nested = |n: usize| format!("{{\"attributes\": {{\"x\": {}1{}}}}}", "[".repeat(n), "]".repeat(n));
    post(&admin, &path, json_type, nested(20_000)).await.expect(400);
    let grown = served.peak_mib().saturating_sub(before);
    assert!(grown < 128, "all that took {grown} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_have_their_limits() {
    let served = Served::start(&[]).await;
    let admin = served.client("admin").await;
    let csv = "phone\n+60123456789\n";
    let long = "x".repeat(70 * 1024);
    let many: Vec<(String, &str)> = (0..20).map(|i| (format!("f{i}"), "x")).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, text)| (name.as_str(), *text)).chain([("file", csv)]).collect();
    let multipart = "multipart/form-data; boundary=edge";
    let refused_for = async |body: String| {
        let answer = post(&admin, "/batch/import?dryRun=true", multipart, body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        answer.body["error"]["message"].as_str().unwrap_or_default().to_owned()
    };
    assert!(refused_for(form(&many)).await.contains("more than 16 parts"));
    assert!(refused_for(form(&[("file", csv), ("file", csv)])).await.contains("file: is there twice"));
    assert!(refused_for(form(&[("tags", "a"), ("tags", "b"), ("file", csv)])).await.contains("tags: is there twice"));
    assert!(refused_for(form(&[("tags", &long), ("file", csv)])).await.contains("longer than 64 KiB"));
    assert!(refused_for(form(&[("tags", "x")])).await.contains("file: is required"));
    assert!(refused_for("no form".into()).await.contains("form"));
    let fine = post(&admin, "/batch/import?dryRun=true", multipart, form(&[("tags", "a"), ("file", csv)])).await;
    assert_eq!(fine.expect(200)["data"]["createCount"], 1);
}

/// An open socket for raw frames.
pub(crate) async fn handshake(served: &Served, token: &str) -> Raw {
    let mut raw = served.connect().await;
    raw.send(format!(
        "GET /ws?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ))
    .await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 101 "));
    raw
}

/// A client's frame: `first` is its first byte, and `told` the length that it claims.
pub(crate) fn frame(first: u8, told: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match told {
        ..126 => frame.push(0x80 | u8::try_from(told).expect("small")),
        126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(told).expect("small").to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((told as u64).to_be_bytes());
        }
    }
    // Under a mask of zeros, which is one like any other.
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Reads frames until the server's close; all texts before it, which the document describes, and its code, if it gives one.
pub(crate) async fn closed_with(raw: &mut Raw, pushed: &Pushed) -> (Vec<Value>, Option<u16>) {
    let mut texts = Vec::new();
    let read = async {
        loop {
            let mut head = [0; 2];
            if raw.0.read_exact(&mut head).await.is_err() {
                return None;
            }
            let length = match head[1] & 0x7f {
                126 => usize::from(raw.0.read_u16().await.ok()?),
                127 => usize::try_from(raw.0.read_u64().await.ok()?).expect("small"),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            raw.0.read_exact(&mut payload).await.ok()?;
            match head[0] & 0x0f {
                8 => return payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]])),
                1 => {
                    let text = serde_json::from_slice(&payload).expect("JSON");
                    pushed.frame(&text);
                    texts.push(text);
                }
                _ => {}
            }
        }
    };
    let code = tokio::time::timeout(support::DEADLINE, read).await.expect("closed in time");
    (texts, code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_closes_with_the_code_for_what_was_wrong() {
    let served = Served::start(&[]).await;
    let pushed = Pushed::of(served.paceline.url()).await;
    let token = served.program.token_for("agent").await;
    let text = |n: usize| frame(0x81, n, &vec![b'x'; n]);
    let part = |first: u8| frame(first, 16_000, &vec![b'x'; 16_000]);
    let parts: Vec<u8> = (0..20).flat_map(|nth| part(if nth == 0 { 0x01 } else { 0x00 })).collect();
    let mut unmasked = frame(0x81, 2, b"{}");
    unmasked[1] &= 0x7f;
    for (what, bytes, code) in [
        ("a text of 16 KiB and one byte", text(16 * 1024 + 1), 1009),
        ("a text of 200 KiB", text(200 * 1024), 1009),
        ("a frame that claims a MiB", frame(0x81, 1024 * 1024, b"x"), 1009),
        ("a frame that claims 2^62 bytes", frame(0x82, 1 << 62, b"x"), 1009),
        ("many parts of one text", parts, 1009),
        ("no UTF-8", frame(0x81, 2, b"\xff\xfe"), 1007),
        ("no mask", unmasked, 1002),
        ("a reserved bit", frame(0xc1, 2, b"{}"), 1002),
        ("a reserved kind", frame(0x83, 2, b"{}"), 1002),
        ("a control frame in parts", frame(0x09, 1, b"x"), 1002),
        ("a control frame that is too large", frame(0x89, 126, &[b'x'; 126]), 1002),
        ("a part of nothing", frame(0x80, 2, b"{}"), 1002),
    ] {
        let mut raw = handshake(&served, &token).await;
        raw.send(bytes).await;
        let (texts, closed) = closed_with(&mut raw, &pushed).await;
        assert_eq!(closed, Some(code), "{what}");
        pushed.close(code);
        assert_eq!(texts.len(), 1, "{what}: {texts:?}");
    }
    // Up to its limit a frame is answered, whatever is in it.
    let mut raw = handshake(&served, &token).await;
    raw.send(
        [text(16 * 1024), frame(0x82, 3, b"\0\x01\x02"), frame(0x81, 0, b""), frame(0x88, 2, b"\x03\xe8")].concat(),
    )
    .await;
    let (texts, closed) = closed_with(&mut raw, &pushed).await;
    let kinds: Vec<_> = texts.iter().map(|text| text["type"].as_str().unwrap_or_default()).collect();
    assert_eq!((kinds, closed), (vec!["connection_established", "error", "error", "error"], Some(1000)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_only_so_many_sockets() {
    let served = Served::start(&[("PACELINE_WS_MAX_CONNECTIONS", "2")]).await;
    let client = served.client("agent").await;
    let url = client.socket_url("/ws");
    let (one, two) = (support::Socket::open(&url).await, support::Socket::open(&url).await);
    assert_eq!(support::Socket::try_open(&url).await.err(), Some(503));
    two.close().await;
    support::eventually("a place to be free", crate::setup::PATIENCE, async || {
        support::Socket::try_open(&url).await.map(drop)
    })
    .await;
    one.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_counts_as_a_request() {
    let served = Served::start(&[("PACELINE_LIMIT_GENERAL_PER_MIN", "3")]).await;
    let client = served.client("agent").await;
    client.get("/batch").await.expect(200);
    let url = client.socket_url("/ws");
    for _ in 0..2 {
        support::Socket::open(&url).await.close().await;
    }
    assert_eq!(support::Socket::try_open(&url).await.err(), Some(429));
    client.get("/batch").await.expect(429);
}
