//! Bytes that nobody meant: the seeds in `tests/fuzz/corpus`, each as it is, and then changed at random for as long as
//! [`LONG`]. Nothing panics, hangs or grows; what is refused says so in the envelope; what is accepted is within its
//! limits and reads back as the same. A file that once did harm belongs into the corpus.

use crate::limits::{closed_with, frame, handshake};
use crate::setup::Served;
use domain::contacts::import_file::{CsvRows, FileOptions, validate_row};
use domain::messages::template::{MAX_CHARS, Recipient, Template};
use gateway::{Signer, TOLERANCE};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Client, Method, Pushed};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

/// How long seeds of one kind are changed and tried.
const LONG: Duration = Duration::from_secs(3);

/// No input of these sizes takes longer, on the busiest of machines.
const HANGS: Duration = Duration::from_secs(20);

/// The most bytes of an input.
const MOST: usize = 300_000;

/// The seeds of a kind.
fn corpus(kind: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(kind);
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "the corpus {kind} is too small");
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize, usize),
    Splice(Index, Index),
}

/// Bytes that mean something to one parser or another.
const ODD: &[&[u8]] = &[
    b"\r\n",
    b"\"",
    b",",
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"~",
    b"|join",
    b"\\u0000",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"[",
    b"]",
    b"{",
    b"null",
    b"1e999",
    b"-1",
    b"99999999999999999999",
    b"'; --",
    b"\x81\xfe\xff\xff",
    b"\xe2\x80\xae",
];

fn change() -> impl Strategy<Value = Change> {
    let odd = proptest::sample::select(ODD);
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (any::<Index>(), 1..40usize).prop_map(|(at, n)| Change::Remove(at, n)),
        2 => (any::<Index>(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        4 => (any::<Index>(), odd).prop_map(|(at, bytes)| Change::Insert(at, bytes.to_vec())),
        1 => (any::<Index>(), 1..60usize, 1..2_000usize).prop_map(|(at, n, times)| Change::Repeat(at, n, times)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(seed, at)| Change::Splice(seed, at)),
    ]
}

fn changed(seeds: &[Vec<u8>], seed: Index, changes: &[Change]) -> Vec<u8> {
    let mut input = seed.get(seeds).clone();
    for change in changes {
        let place = |at: &Index| at.index(input.len() + 1);
        match change {
            Change::Set(at, byte) => {
                let at = place(at);
                if let Some(there) = input.get_mut(at) {
                    *there = *byte;
                }
            }
            Change::Remove(at, n) => {
                let at = place(at);
                input.drain(at..(at + n).min(input.len()));
            }
            Change::Insert(at, bytes) => {
                let at = place(at);
                input.splice(at..at, bytes.iter().copied());
            }
            Change::Repeat(at, n, times) => {
                let at = place(at);
                let part = input[at..(at + n).min(input.len())].repeat(*times);
                input.splice(at..at, part);
            }
            Change::Splice(seed, at) => {
                let at = place(at);
                input.truncate(at);
                input.extend_from_slice(seed.get::<Vec<u8>>(seeds));
            }
        }
        input.truncate(MOST);
    }
    input
}

/// Tries each seed, and then what becomes of them.
fn fuzz(kind: &str, check: impl Fn(&[u8])) {
    let seeds = corpus(kind);
    let timed = |input: &[u8]| {
        let began = Instant::now();
        check(input);
        assert!(began.elapsed() < HANGS, "{} bytes took {:?}", input.len(), began.elapsed());
    };
    seeds.iter().for_each(|seed| timed(seed));
    let inputs = (any::<Index>(), vec(change(), 1..10)).prop_map(|(seed, changes)| changed(&seeds, seed, &changes));
    let config = Config { cases: 16, failure_persistence: None, max_shrink_time: 20_000, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let (began, mut rounds) = (Instant::now(), 0);
    while began.elapsed() < LONG || rounds == 0 {
        let tried = runner.run(&inputs, |input| {
            timed(&input);
            Ok(())
        });
        tried.unwrap_or_else(|error| panic!("{kind}: {error}"));
        rounds += 1;
    }
}

#[test]
fn csv_files() {
    let rows = |bytes: Vec<u8>| {
        CsvRows::open(Cursor::new(bytes), &FileOptions::default()).map(|rows| rows.take(5_000).collect::<Vec<_>>())
    };
    fuzz("csv", |input| {
        let rows_read = match rows(input.to_vec()) {
            Ok(rows) => rows,
            Err(error) => {
                assert!((1..1_000).contains(&error.to_string().len()), "{error}");
                return;
            }
        };
        for row in rows_read {
            let row = match row {
                Ok((row, _)) => row,
                Err(error) => {
                    assert!(error.line >= 1 && (1..1_000).contains(&error.message.len()), "{error}");
                    continue;
                }
            };
            let cells =
                [Some(&row.phone), row.name.as_ref(), row.source.as_ref()].into_iter().flatten().chain(&row.tags);
            assert!(cells.map(String::len).sum::<usize>() <= 200_000, "a row has its size");
            let Ok(clean) = validate_row(row, None) else { continue };
            assert!(clean.phone.as_digits().len() <= 20 && clean.phone.as_digits().bytes().all(|b| b.is_ascii_digit()));
            assert!(clean.name.as_ref().is_none_or(|name| (1..=200).contains(&name.chars().count())));
            assert!(clean.tags.len() <= 50 && clean.tags.iter().all(|tag| (1..=64).contains(&tag.chars().count())));
            // Written down and read again it is the same contact.
            let mut file = csv::Writer::from_writer(Vec::new());
            file.write_record(["phone", "name", "tags"]).expect("written");
            let name = clean.name.clone().unwrap_or_default();
            file.write_record([clean.phone.e164(), name, clean.tags.join(";")]).expect("written");
            let again = rows(file.into_inner().expect("written")).expect("opens").remove(0).expect("a row");
            let again = validate_row(again.0, None).expect("clean");
            assert_eq!((again.phone, again.name, again.tags), (clean.phone, clean.name, clean.tags));
        }
    });
}

#[test]
fn templates() {
    let attributes = json!({ "city": "Ipoh", "n": 3, "list": [1, "two", [3]], "long": "x".repeat(1_000) });
    let recipient = Recipient { name: Some("Ann"), phone: "60123456789", attributes: &attributes };
    fuzz("templates", |input| {
        let content: String = String::from_utf8_lossy(input).chars().take(MAX_CHARS).collect();
        match Template::parse(&content) {
            Ok(template) => {
                let rendered = template.render(&recipient);
                assert_eq!(rendered, template.render(&recipient), "it knows nothing but its values");
                if let Ok(message) = rendered {
                    assert!((1..=MAX_CHARS).contains(&message.chars().count()) && !message.trim().is_empty());
                }
            }
            Err(error) => {
                let lines = u32::try_from(content.matches('\n').count() + 1).expect("few");
                assert!((1..=lines).contains(&error.line) && error.column >= 1, "{error} of {lines} lines");
            }
        }
    });
}

#[test]
fn signatures() {
    let signer = Signer::new(b"secret").expect("not empty");
    let now = 1_700_000_100;
    let mut accepted = 0;
    for seed in corpus("signatures") {
        accepted += usize::from(verified(&signer, now, &seed));
    }
    assert_eq!(accepted, 1, "one of the seeds is signed as it must be");
    fuzz("signatures", |input| {
        verified(&signer, now, input);
    });
}

/// Whether a timestamp, a signature and a body, a line each, are accepted. Then they are what the secret makes of them.
fn verified(signer: &Signer, now: i64, input: &[u8]) -> bool {
    let mut lines = input.splitn(3, |b| *b == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (timestamp, signature) = (text(), text());
    let body = lines.next().unwrap_or_default();
    if signer.verify(now, &timestamp, body, &signature).is_err() {
        return false;
    }
    let at: i64 = timestamp.parse().expect("a number");
    assert_eq!(timestamp, at.to_string(), "there is one way to write it");
    assert!(now.abs_diff(at) <= TOLERANCE.as_secs());
    assert_eq!(signature, signer.sign(at, body));
    true
}

/// A request on the real binary for each input, from a thread that may block.
fn on_binary(kind: &str, prepare: impl AsyncFnOnce() -> Served, check: impl AsyncFn(&Served, &[u8])) {
    let runtime = Runtime::new().expect("a runtime");
    let served = runtime.block_on(prepare());
    fuzz(kind, |input| runtime.block_on(check(&served, input)));
    assert_eq!(runtime.block_on(served.anyone().get("/healthz")).status, 200);
    assert!(!served.paceline.log().contains("panic"), "something panicked");
    assert!(served.peak_mib() < 512, "it grew to {} MiB", served.peak_mib());
    runtime.block_on(async { drop(served) });
}

/// What an answer must be, whatever was asked.
fn in_envelope(path: &str, status: u16, body: &Value, text: &str) {
    let told = format!("{path}: {status} {}", text.chars().take(500).collect::<String>());
    let (flag, error) = if path.starts_with("/api/v1") { ("success", "error") } else { ("ok", "error") };
    match status {
        200..=202 => assert_eq!(body[flag], json!(true), "{told}"),
        400 | 401 | 404 | 409 | 413 | 415 | 422 => {
            assert_eq!(body[flag], json!(false), "{told}");
            assert!(body[error]["code"].is_string() && body[error]["message"].is_string(), "{told}");
        }
        _ => panic!("{told}"),
    }
    assert!(text.len() < 100_000, "{told}");
    if status == 202 {
        let batch = &body["data"];
        assert!(batch["totalCount"].as_i64().is_some_and(|total| total >= 0), "{told}");
        assert!(batch["ratePerMinute"].as_i64().is_none_or(|rate| (1..=600_000).contains(&rate)), "{told}");
        assert!(batch["jitterMs"].as_i64().is_none_or(|jitter| (0..=600_000).contains(&jitter)), "{told}");
        assert!(batch["config"]["content"].as_str().is_none_or(|text| text.chars().count() <= MAX_CHARS), "{told}");
    }
}

#[test]
fn json_bodies() {
    const PATHS: [(&str, Method); 9] = [
        ("/batch/send", Method::POST),
        ("/batch/tags", Method::POST),
        ("/batch/delete", Method::POST),
        ("/batch/import", Method::POST),
        ("/batch/1", Method::PATCH),
        ("/templates", Method::POST),
        ("/templates/1/preview", Method::POST),
        ("/api/v1/auth/login", Method::POST),
        ("/api/v1/auth/refresh", Method::POST),
    ];
    let client = std::cell::OnceCell::<Client>::new();
    let (nth, seeds) = (std::cell::Cell::new(0), corpus("json").len());
    let prepare = async || {
        let served = Served::start(&[]).await;
        let admin = served.client("admin").await;
        let later = json!({ "contactIds": ["1"], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" });
        admin.post("/batch/send", &later).await.expect(202);
        admin
            .post("/templates", &json!({ "name": "first", "content": "Hi {{ name }} {{ attributes.x }}" }))
            .await
            .expect(201);
        client.set(admin).expect("once");
        served
    };
    on_binary("json", prepare, async |_, input| {
        let admin = client.get().expect("prepared");
        nth.set(nth.get() + 1);
        // A seed goes everywhere, what becomes of it to two paths.
        let to = if nth.get() <= seeds { PATHS.len() } else { 2 };
        let paths = (0..to).map(|i| &PATHS[(nth.get() * 7 + i * 4) % PATHS.len()]);
        for (path, method) in paths {
            // A sign-in costs a password hash, which is not what this is about.
            if path.ends_with("login") && are_credentials(input) {
                continue;
            }
            let request = admin.request(method.clone(), path).header("content-type", "application/json");
            let answer = admin.send(request.body(input.to_vec())).await;
            in_envelope(path, answer.status, &answer.body, &answer.text);
        }
    });
}

/// Whether a body would be taken for credentials.
fn are_credentials(input: &[u8]) -> bool {
    serde_json::from_slice::<Value>(input).is_ok_and(|body| body["email"].is_string() && body["password"].is_string())
}

#[test]
fn websocket_frames() {
    let prepared = std::cell::OnceCell::<(String, Pushed)>::new();
    let prepare = async || {
        let served = Served::start(&[]).await;
        let token = served.program.token_for("agent").await;
        prepared.set((token, Pushed::of(served.paceline.url()).await)).expect("once");
        served
    };
    on_binary("frames", prepare, async |served, input| {
        let (token, pushed) = prepared.get().expect("prepared");
        let mut raw = handshake(served, token).await;
        raw.send(input).await;
        raw.send(frame(0x88, 2, b"\x03\xe8")).await;
        raw.0.shutdown().await.ok();
        let (texts, code) = closed_with(&mut raw, pushed).await;
        let all_told = texts.iter().all(|text| text["type"].is_string() && text["timestamp"].is_string());
        assert!(all_told && texts.first().is_none_or(|text| text["type"] == "connection_established"), "{texts:?}");
        assert!(code.is_none_or(|code| matches!(code, 1000..=4999)), "{code:?}");
    });
}
