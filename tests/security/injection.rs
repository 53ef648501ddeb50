//! Data that would like to be code: SQL, templates, formulas, workbooks that unpack to more than there is.

use crate::setup::{PATIENCE, Served};
use serde_json::{Value, json};
use std::io::Write;
use support::{Client, Cluster, Method, eventually};

/// Texts that mean something to somebody.
const ODD: &[&str] = &[
    "'; DROP TABLE users; --",
    "\" OR 1=1 --",
    "' UNION SELECT password_hash FROM users --",
    "\\'; SELECT 1; --",
    "%",
    "_",
    "$1",
    "?1",
    ":name",
    "a'b\"c\\d`e",
    "{}",
    "[\"x\"]",
    "\u{2019} OR 1=1",
];

/// Waits for a batch's end; what became of it.
async fn ended(client: &Client, answer: Value) -> Value {
    let id = answer["data"]["id"].as_str().unwrap_or_else(|| panic!("no batch: {answer}")).to_owned();
    eventually("the batch to end", PATIENCE, async || {
        let batch = client.get(&format!("/batch/{id}")).await.expect(200)["data"].clone();
        if batch["completedAt"].is_string() { Ok(batch) } else { Err(batch.to_string()) }
    })
    .await
}

/// Puts odd texts wherever a text may go: they stay texts.
async fn sql_stays_text(admin: &Client) {
    let contacts: Vec<Value> = ODD
        .iter()
        .enumerate()
        .map(|(i, odd)| json!({ "phoneE164": format!("+6012{:07}", 4_000_000 + i), "name": odd, "tags": [odd] }))
        .collect();
    let body = json!({ "contacts": contacts, "source": ODD[0], "tags": [ODD[1]] });
    let done = ended(admin, admin.post("/batch/import", &body).await.expect(202)).await;
    assert_eq!(done["successCount"], json!(ODD.len()), "{done}");
    for (i, odd) in ODD.iter().enumerate() {
        // Each tag finds the contact that has it, and no other.
        let send =
            json!({ "audience": { "tagsAll": [odd] }, "content": "{{ name }}", "scheduleAt": "2099-01-01T00:00:00Z" });
        let id = admin.post("/batch/send", &send).await.expect(202)["data"]["id"].as_str().expect("an id").to_owned();
        let expected = if i == 1 { ODD.len() } else { 1 };
        eventually("the audience to be found", PATIENCE, async || {
            let batch = admin.get(&format!("/batch/{id}")).await.expect(200)["data"].clone();
            if batch["totalCount"] == json!(expected) { Ok(()) } else { Err(batch.to_string()) }
        })
        .await;
        let preview = admin.get(&format!("/batch/{id}/preview")).await.expect(200);
        if i != 1 {
            assert_eq!(preview["data"][0]["message"], json!(odd), "{preview}");
        }
        let template = json!({ "name": odd, "content": format!("{odd}x").replace("{}", "") });
        let made = admin.post("/templates", &template).await.expect(201);
        assert_eq!(made["data"]["name"], json!(odd));
        // Where only numbers and words belong, they are refused.
        let escaped: String = odd.bytes().map(|b| format!("%{b:02x}")).collect();
        for path in [
            format!("/batch?type={escaped}"),
            format!("/batch?status={escaped}"),
            format!("/batch?limit={escaped}"),
            format!("/batch/stats?createdAfter={escaped}"),
            format!("/batch/1/items?cursor={escaped}"),
            format!("/batch/1/items?status={escaped}"),
        ] {
            assert_eq!(admin.get(&path).await.status, 400, "{path}");
        }
        for path in
            [format!("/batch/{escaped}"), format!("/templates/{escaped}"), format!("/batch/{escaped}/items.csv")]
        {
            assert_eq!(admin.get(&path).await.status, 404, "{path}");
        }
        let login = json!({ "email": odd, "password": odd });
        admin.post("/api/v1/auth/login", &login).await.expect(401);
        admin.post("/api/v1/auth/refresh", &json!({ "refresh_token": odd })).await.expect(401);
        let request =
            admin.request(Method::POST, "/batch/tags").header("idempotency-key", odd.replace([' ', '\u{2019}'], ""));
        let tags = json!({ "contactIds": [odd], "tags": [odd], "operation": "add" });
        let done = ended(admin, admin.send(request.json(&tags)).await.expect(202)).await;
        assert_eq!((&done["totalCount"], &done["failedCount"]), (&json!(1), &json!(1)), "{done}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_in_a_text_stays_text_on_sqlite() {
    let served = Served::start(&[]).await;
    sql_stays_text(&served.client("admin").await).await;
    assert!(!served.paceline.log().contains("did not take a request"), "no text reached the database as anything else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_in_a_text_stays_text_on_postgresql() {
    let unlimited = |which| format!("PACELINE_LIMIT_{which}_PER_MIN");
    let cluster = Cluster::of(env!("CARGO_BIN_EXE_paceline"))
        .env(unlimited("LOGIN"), "0")
        .env(unlimited("BATCH"), "0")
        .env(unlimited("GENERAL"), "0")
        .start()
        .await;
    sql_stays_text(&cluster.client("admin").await).await;
    assert!(!cluster.api.log().contains("did not take a request"), "no text reached the database as anything else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_is_no_formula() {
    let served = Served::start(&[]).await;
    let admin = served.client("admin").await;
    // Every export there is: a new one belongs here.
    let document = admin.get("/openapi/batch.json").await.expect(200);
    let desk = admin.get("/openapi/support-desk.json").await.expect(200);
    let paths = [&document, &desk].into_iter().flat_map(|d| d["paths"].as_object().expect("paths"));
    let exports: Vec<_> =
        paths.filter(|(_, operations)| operations.to_string().contains("text/csv; ")).map(|(path, _)| path).collect();
    assert_eq!(exports, ["/batch/{batch_id}/failed-rows.csv", "/batch/{batch_id}/items.csv"]);
    let formulas = ["=1+1", "+1+cmd|' /C calc'!A0", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "=\"x\",\"y\""];
    let contacts: Vec<Value> = formulas.iter().map(|f| json!({ "phoneE164": f, "name": f, "tags": [f] })).collect();
    let send = json!({ "contactIds": formulas, "content": "x" });
    for (path, body) in [("/batch/import", json!({ "contacts": contacts })), ("/batch/send", send)] {
        let done = served.ended(&admin, admin.post(path, &body).await.expect(202)).await;
        let exported = admin.get(&format!("/batch/{}/items.csv", done["id"].as_str().expect("an id"))).await;
        let told = exported.header("content-disposition").is_some_and(|how| how.starts_with("attachment"));
        assert!(told && exported.header("x-content-type-options") == Some("nosniff"));
        let mut rows = csv::Reader::from_reader(exported.text.as_bytes());
        let cells: Vec<String> =
            rows.records().flat_map(|row| row.expect("a row").iter().map(str::to_owned).collect::<Vec<_>>()).collect();
        assert!(cells.len() >= 11 * formulas.len(), "{path}: {}", exported.text);
        for cell in &cells {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{path}: {cell:?}");
        }
        if path == "/batch/import" {
            let failed = admin.get(&format!("/batch/{}/failed-rows.csv", done["id"].as_str().expect("an id"))).await;
            let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(failed.text.as_bytes());
            let cells: Vec<_> = rows.records().map(|row| row.expect("a row")).collect();
            assert_eq!(cells.len(), formulas.len(), "{}", failed.text);
            let starts = |cell: &str| cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
            assert!(!cells.iter().any(|row| row.iter().any(starts)), "{}", failed.text);
        }
        let quoted = formulas.iter().filter(|formula| cells.iter().any(|cell| *cell == format!("'{formula}"))).count();
        assert!(
            path == "/batch/import" || quoted == formulas.len(),
            "{path}: they are there, as texts: {}",
            exported.text
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_reaches_its_values_alone_and_ends() {
    let served = Served::start(&[]).await;
    let admin = served.client("admin").await;
    let before = served.peak_mib();
    for content in [
        "{{ self }}",
        "{{ debug() }}",
        "{{ range(1000000000) }}",
        "{{ namespace() }}",
        "{{ dict() }}",
        "{{ lipsum() }}",
        "{{ env }}",
        "{{ config }}",
        "{{ request }}",
        "{{ PACELINE_JWT_SECRET }}",
        "{{ name.__class__() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ name | attr('x') }}",
        "{{ name | map('upper') }}",
        "{{ name | pprint }}",
        "{{ name | tojson }}",
        "{{ loop(name) }}",
        "{{ include('paceline.toml') }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 'x' * 10**9 }}",
        "{{ [name] * 1000000000 }}",
        "{{ ('x' * 99999) | join(name) }}",
        &format!("{{{{ {}1 }}}}", "-".repeat(4_000)),
        &format!("{{{{ {}name }}}}", "not ".repeat(1_000)),
        &format!("{{{{ {}1{} }}}}", "(".repeat(2_000), ")".repeat(2_000)),
        &format!("{{{{ {}1{} }}}}", "[".repeat(2_000), "]".repeat(2_000)),
        &format!("{{{{ name{} }}}}", ".x".repeat(2_000)),
        &format!("{{{{ name{} }}}}", "|upper".repeat(600)),
        &format!("{{{{ name{} }}}}", "~name".repeat(800)),
    ] {
        for (path, body) in [
            ("/templates", json!({ "name": content.chars().take(100).collect::<String>(), "content": content })),
            ("/batch/send", json!({ "contactIds": ["1"], "content": content })),
        ] {
            let refused = admin.post(path, &body).await.expect(400);
            assert_eq!(refused["error"]["details"][0]["field"], "content", "{content}: {refused}");
        }
    }
    // What parses, and would go on for long or grow, ends in an error when it is rendered.
    for (nth, content) in ["{{ attributes.long | join(attributes.long) }}".to_owned(), "{{ attributes }}".to_owned()]
        .into_iter()
        .enumerate()
    {
        let body = json!({ "name": format!("hungry {nth}"), "content": content });
        let made = admin.post("/templates", &body).await.expect(201);
        let id = made["data"]["id"].as_str().expect("an id").to_owned();
        let values = json!({ "name": "Ann", "attributes": { "long": "x".repeat(60_000) } });
        let refused = admin.post(&format!("/templates/{id}/preview"), &values).await.expect(400);
        assert_eq!(refused["error"]["details"][0]["field"], "content", "{content}: {refused}");
    }
    let grown = served.peak_mib().saturating_sub(before);
    assert!(grown < 64, "all that took {grown} MiB");
}

/// A workbook of these parts.
fn zipped(parts: &[(&str, &[u8], usize)]) -> Vec<u8> {
    let mut book = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, part, times) in parts {
        let how = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        book.start_file(*name, how).expect("a part");
        for _ in 0..*times {
            book.write_all(part).expect("written");
        }
    }
    book.finish().expect("finished").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workbook_does_not_unpack_into_the_memory() {
    let served = Served::start(&[]).await;
    let admin = served.client("admin").await;
    let before = served.peak_mib();
    let spaces = vec![b' '; 1024 * 1024];
    let many: Vec<String> = (0..2_000).map(|i| format!("xl/part{i}.xml")).collect();
    let many: Vec<(&str, &[u8], usize)> = many.iter().map(|name| (name.as_str(), &b"<x/>"[..], 1)).collect();
    for bomb in [
        zipped(&[("xl/sharedStrings.xml", &spaces, 80)]),
        zipped(&[("xl/worksheets/sheet1.xml", &spaces, 80)]),
        zipped(&[("xl/styles.xml", b"<", 1), ("xl/workbook.xml", &spaces, 20)]),
        zipped(&many),
    ] {
        assert!(bomb.len() < 1024 * 1024, "it is small as it comes");
        let request = admin.request(Method::POST, "/batch/import");
        let request =
            request.header("content-type", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet");
        let refused = admin.send(request.body(bomb)).await.expect(400);
        assert_eq!(refused["error"]["details"][0]["field"], "file", "{refused}");
        assert!(refused.to_string().contains("too large"), "{refused}");
    }
    let grown = served.peak_mib().saturating_sub(before);
    assert!(grown < 64, "all that took {grown} MiB");
}
