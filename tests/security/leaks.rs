//! What must not get out: secrets, numbers, and what browsers would do with an answer that says nothing.

use crate::setup::{JWT_SECRET, Served};
use crate::tokens::{claims, ours, with};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::process::Stdio;
use support::{Cluster, Method, Program, Socket};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_tells_browsers_what_not_to_do() {
    let served = Served::start(&[]).await;
    let admin = served.client("admin").await;
    let user = served.program.user("agent").await;
    let login = json!({ "email": user.email, "password": user.password });
    let mut answers = vec![("a sign-in", admin.post("/api/v1/auth/login", &login).await)];
    for path in [
        "/batch",
        "/batch/9",
        "/batch/stats",
        "/templates",
        "/ws",
        "/api/v1/x",
        "/api/v2/x",
        "/customers",
        "/nope",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi/batch.json",
        "/openapi.json",
        "/asyncapi.json",
        "/docs",
        "/redoc",
        "/docs/batch",
        "/redoc/batch",
        "/docs/support-desk",
    ] {
        let request = admin.request(Method::GET, path).header("origin", "https://evil.example");
        answers.push((path, admin.send(request).await));
    }
    let preflight = admin.request(Method::OPTIONS, "/batch").header("origin", "https://evil.example");
    answers.push(("a preflight", admin.send(preflight.header("access-control-request-method", "POST")).await));
    for (what, answer) in &answers {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{what}");
        let policy = answer.header("content-security-policy").unwrap_or_else(|| panic!("{what} has no policy"));
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{what}: {policy}");
        assert!(
            answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")),
            "{what}: {:?}",
            answer.headers
        );
        assert_eq!(answer.header("server"), None, "{what}");
        assert_eq!(answer.header("set-cookie"), None, "{what}");
    }
    // A page runs the scripts that it came with, and those alone.
    for (path, answer) in answers.iter().filter(|(path, _)| path.starts_with("/docs/") || path.starts_with("/redoc/")) {
        let policy = answer.header("content-security-policy").expect("a policy");
        let scripts = policy.split("; ").find(|rule| rule.starts_with("script-src")).expect("a rule for scripts");
        assert!(
            !scripts.contains("unsafe") && !scripts.contains('*') && !scripts.contains("http"),
            "{path}: {scripts}"
        );
        assert_eq!(scripts.matches("sha256-").count(), 2, "{path}");
        let last =
            answer.text.rsplit_once("<script>").and_then(|(_, rest)| rest.split_once("</script")).expect("a script").0;
        assert!(scripts.contains(&STANDARD.encode(Sha256::digest(last))), "{path}: its last script would not run");
        assert!(!answer.text.contains("googleapis"), "{path}: tells others who reads it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_the_documents_under_their_policy() {
    let served = Served::start(&[]).await;
    let chromium = std::env::var_os("PACELINE_TEST_CHROMIUM").expect("set by `cargo xtask test`");
    for page in ["/docs/batch", "/redoc/batch"] {
        let output = tokio::process::Command::new(&chromium)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--enable-logging=stderr",
            ])
            .args(["--virtual-time-budget=20000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", served.program.dir().join("browser").display()))
            .arg(format!("{}{page}", served.paceline.url()))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("the browser runs");
        let (dom, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // What the scripts made of the document: the last one has the document itself.
        let shown = dom.rsplit_once("<script").map_or("", |(before, _)| before);
        assert!(shown.contains("Sends a message to many contacts"), "{page} shows nothing: {said}");
        let blocked: Vec<_> =
            said.lines().filter(|line| line.contains("script-src") || line.contains("connect-src")).collect();
        assert!(blocked.is_empty(), "{page}: {blocked:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_a_query_opens_sockets_alone_and_is_never_logged() {
    let served = Served::start(&[("PACELINE_LOG_LEVEL", "trace")]).await;
    let user = served.program.user("supervisor").await;
    let anyone = served.anyone();
    let login = json!({ "email": user.email, "password": user.password });
    let data = anyone.post("/api/v1/auth/login", &login).await.expect(200)["data"].clone();
    let (token, refresh) = (data["token"].as_str().expect("token"), data["refresh_token"].as_str().expect("refresh"));
    for path in ["/batch", "/templates", "/batch/stats"] {
        anyone.get(&format!("{path}?token={token}&access_token={token}")).await.expect(401);
    }
    let client = anyone.with_token(token);
    let mut socket = Socket::open(&client.socket_url("/ws")).await;
    socket.send(&json!({ "type": "heartbeat" })).await;
    socket.wait_for("the ack", |frame| (frame["type"] == "heartbeat_ack").then_some(())).await;
    client.get("/batch").await.expect(200);
    let number = "+60123456789";
    let contact = json!({ "contacts": [{ "phoneE164": number, "name": "Ann Secret" }] });
    let imported = served.ended(&client, client.post("/batch/import", &contact).await.expect(202)).await;
    let items = client.get(&format!("/batch/{}/items", imported["id"].as_str().expect("an id"))).await.expect(200);
    let send = json!({ "contactIds": [items["data"][0]["contactId"]], "content": "the text of a message" });
    served.ended(&client, client.post("/batch/send", &send).await.expect(202)).await;
    let next =
        anyone.post("/api/v1/auth/refresh", &json!({ "refresh_token": refresh })).await.expect(200)["data"].clone();
    anyone.post("/api/v1/auth/login", &json!({ "email": user.email, "password": "a wrong secret" })).await.expect(401);
    let log = served.paceline.log();
    assert!(log.contains("heartbeat") || log.contains("answered"), "at this level it logs a lot");
    for (what, secret) in [
        ("the token", token),
        ("the token's signature", token.rsplit('.').next().expect("a signature")),
        ("the refresh token", refresh),
        ("the next token", next["token"].as_str().expect("token")),
        ("the next refresh token", next["refresh_token"].as_str().expect("refresh")),
        ("the password", user.password.as_str()),
        ("a wrong password", "a wrong secret"),
        ("the secret of tokens", JWT_SECRET),
        ("a number", &number[1..]),
        ("a name", "Ann Secret"),
        ("a message", "the text of a message"),
    ] {
        assert!(!log.contains(secret), "{what} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_not_shown_by_commands() {
    let secrets = [
        ("PACELINE_DATABASE_URL", "postgres://paceline:hush-database@127.0.0.1:1/paceline"),
        ("PACELINE_REDIS_URL", "redis://:hush-redis@127.0.0.1:1"),
        ("PACELINE_GATEWAY_URL", "http://paceline:hush-gateway@127.0.0.1:1"),
        ("PACELINE_GATEWAY_SECRET", "hush-secret"),
        ("PACELINE_JWT_SECRET", "hush-hush-hush-hush-hush-hush-hush"),
    ];
    let program = secrets
        .iter()
        .fold(Program::new(env!("CARGO_BIN_EXE_paceline")), |program, (name, value)| program.env(*name, *value));
    let program = program.env("PACELINE_LOG_LEVEL", "trace");
    let commands = [
        &["config"][..],
        &["config", "--json"],
        &["doctor"],
        &["migrate", "status"],
        &["api"],
        &["worker"],
        &["token", "--email", "a@b"],
    ];
    let outputs = futures::future::join_all(commands.map(|args| program.output(args, ""))).await;
    for (args, output) in commands.into_iter().zip(outputs) {
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.len() > 10, "{args:?} says something");
        assert!(!said.contains("hush"), "{args:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_ours_says_nothing_of_our_insides() {
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_paceline")).private_postgres().start().await;
    let admin = cluster.client("admin").await;
    let user = cluster.program.user("agent").await;
    let expect_bare = |what: &str, status: u16, answer: support::Response| {
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        for inside in [
            "SELECT",
            "INSERT",
            "UPDATE",
            "relation",
            "postgres",
            "sqlx",
            "sea_orm",
            ".rs",
            "/src",
            "panicked",
            "127.0.0.1",
        ] {
            assert!(!answer.text.contains(inside), "{what}: {}", answer.text);
        }
        assert!(answer.header("x-request-id").is_some(), "{what}: the log knows more by it");
    };
    // A schema that is not as it should be is a fault of ours; a database that is away, a misfortune.
    cluster.database.execute("ALTER TABLE templates RENAME TO hidden").await;
    cluster.database.execute("ALTER TABLE sessions RENAME COLUMN ip_address TO hidden").await;
    expect_bare("templates", 500, admin.get("/templates").await);
    let login = json!({ "email": user.email, "password": user.password });
    expect_bare("a sign-in", 500, admin.post("/api/v1/auth/login", &login).await);
    cluster.postgres.as_mut().expect("its own").kill9().await;
    expect_bare("a sign-in", 503, admin.post("/api/v1/auth/login", &login).await);
    let answer = admin.post("/batch/send", &json!({ "contactIds": ["1"], "content": "x" })).await;
    expect_bare("a send", 503, answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_masked_for_who_may_not_read_contacts() {
    let served = Served::start(&[]).await;
    let token = served.program.token_for("admin").await;
    let admin = served.anyone().with_token(&token);
    let contact = json!({ "contacts": [{ "phoneE164": "+60123456789", "name": "Ann" }] });
    let imported = served.ended(&admin, admin.post("/batch/import", &contact).await.expect(202)).await;
    let items = format!("/batch/{}/items", imported["id"].as_str().expect("an id"));
    let contact = admin.get(&items).await.expect(200)["data"][0]["contactId"].clone();
    let send = json!({ "contactIds": [contact], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" });
    let sent = admin.post("/batch/send", &send).await.expect(202)["data"]["id"].clone();
    let preview = format!("/batch/{}/preview", sent.as_str().expect("an id"));
    // No role may watch batches and not read contacts: a token that says so.
    let looker = served.anyone().with_token(ours(&with(&claims(&token), "permissions", json!(["batches:read"]))));
    for (path, plain_for_admin) in [(items.clone(), true), (format!("{items}.csv"), true), (preview, false)] {
        let (plain, masked) = (admin.get(&path).await, looker.get(&path).await);
        assert_eq!((plain.status, masked.status), (200, 200), "{path}");
        assert_eq!(plain.text.contains("60123456789"), plain_for_admin, "{path}: {}", plain.text);
        assert!(masked.text.contains("***") && !masked.text.contains("60123456789"), "{path}: {}", masked.text);
    }
}
