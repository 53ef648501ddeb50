//! What a deletion leaves of a person: nothing, in no column of no table.

use crate::reports::{Reporter, customer};
use crate::setup::{Runs, Setup, accepted, on_both, text};
use serde_json::{Value, json};
use std::rc::Rc;
use support::{Method, Reply};

/// The one who is deleted, as the tables could know of them.
const PHONE: &str = "60123000777";
const NAME: &str = "Quentin Zephyrine";
const OTHER_NAME: &str = "Quentin of the file";
const TAG: &str = "zephyr-only";
const FILE_TAG: &str = "zephyr-file";
const PLACE: &str = "Rue Mandragore";
const WORDS: [&str; 9] = [
    PHONE,
    // As it was typed.
    "12-300 0777",
    NAME,
    OTHER_NAME,
    TAG,
    FILE_TAG,
    PLACE,
    "A word of mine",
    "An answer to you",
];

async fn texts(s: &Setup, sql: String) -> Vec<String> {
    match &s.runs {
        Runs::Embedded(_) => s.program.texts(sql).await,
        Runs::Split(cluster) => cluster.database.texts(sql).await,
    }
}

/// Every column of every table, as `table.column`.
async fn columns(s: &Setup) -> Vec<String> {
    let sql = match &s.runs {
        Runs::Embedded(_) => {
            "SELECT t.name || '.' || c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'"
        }
        Runs::Split(_) => {
            "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'"
        }
    };
    texts(s, sql.into()).await
}

/// Where one of the words stands: `table.column: value`.
async fn found(s: &Setup, words: &[&str]) -> Vec<String> {
    let columns = columns(s).await;
    assert!(columns.len() > 100, "{columns:?}");
    let mut found = Vec::new();
    for name in columns {
        let (table, column) = name.split_once('.').expect("a table and a column");
        let value = match &s.runs {
            // A blob is read as the text that it may be.
            Runs::Embedded(_) => format!("CAST(\"{column}\" AS TEXT)"),
            Runs::Split(_) => format!("\"{column}\"::text"),
        };
        let like: Vec<String> = words.iter().map(|word| format!("lower({value}) LIKE lower('%{word}%')")).collect();
        let sql = format!("SELECT {value} FROM \"{table}\" WHERE {}", like.join(" OR "));
        found.extend(texts(s, sql).await.into_iter().map(|value| format!("{name}: {value}")));
    }
    found
}

async fn import_rows(s: &Setup) -> String {
    let own = json!({ "phoneE164": "+60 12-300 0777", "name": NAME, "tags": [TAG] });
    let mut bad = own.clone();
    bad["tags"] = json!(["x".repeat(65)]);
    let body = json!({ "contacts": [own, bad, { "phoneE164": "12" }], "source": "a fair" });
    let batch = accepted(s.admin.post("/batch/import", &body).await.expect(202));
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(1), &json!(2)), "{done}");
    text(&s.items(&batch).await[0]["contactId"])
}

async fn import_file(s: &Setup) -> String {
    let long = "y".repeat(300);
    // A row that fails is kept as it came, to be mended; a number may be written as at home.
    let csv = format!(
        "phone,name,tags,street\n+60 12-300 0777,{OTHER_NAME},{FILE_TAG},{PLACE}\n012-300 0777,{NAME} {long},,{PLACE}\n"
    );
    let mapping = "mapping=%7B%22street%22%3A%22attributes.street%22%7D&skipDuplicates=false&defaultCountry=MY";
    let request = s.admin.request(Method::POST, &format!("/batch/import?{mapping}")).header("content-type", "text/csv");
    let batch = accepted(s.admin.send(request.body(csv)).await.expect(202));
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(1), &json!(1)), "{done}");
    batch
}

/// A campaign that the gateway refuses in words that name the number, and one to what somebody typed.
async fn campaigns(s: &Setup, contact: &str) -> Value {
    s.gateway.script(|attempt| match attempt.text.contains("refuse") {
        true => Reply::status(400).saying(&format!("{} is not on this network", attempt.to)),
        false => Reply::accept(),
    });
    let refused = s.send(&[contact.to_owned()], json!({ "content": "Dear customer {{ name }}, refuse" })).await;
    assert_eq!(s.ended(&refused).await["failedCount"], 1);
    let sent = s.send(&[contact.to_owned()], json!({ "content": "Dear customer {{ name }}" })).await;
    assert_eq!(s.ended(&sent).await["successCount"], 1);
    let typed = s.send(&["+60 12-300 0777".to_owned()], json!({})).await;
    assert_eq!(s.ended(&typed).await["failedCount"], 1);
    let tagged = json!({ "contactIds": [PHONE], "tags": ["some"], "operation": "add" });
    s.ended(&accepted(s.admin.post("/batch/tags", &tagged).await.expect(202))).await;
    s.items(&sent).await[0]["messageId"].clone()
}

on_both!(after_a_deletion_no_table_has_the_person () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let contact = import_rows(&s).await;
    let file = import_file(&s).await;
    let message = campaigns(&s, &contact).await;
    // What was taken fails later, in the network's words.
    let detail = format!("+{PHONE} has no such account");
    let failed = json!({ "backend_message_id": message, "code": "131026", "detail": detail });
    reporter.tell("/messages/failed", &failed).await.expect(200);
    reporter.inbox(PHONE, "A word of mine", "in1").await;
    let id: i64 = contact.parse().expect("a number");
    let ask = || {
        let body = json!({ "customer_id": id, "content": "An answer to you" });
        s.admin.request(Method::POST, "/messages/send").header("idempotency-key", "k1").json(&body)
    };
    s.admin.send(ask()).await.expect(200);
    s.gateway.wait_until("the answer", |gateway| gateway.sent().iter().any(|a| a.text == "An answer to you")).await;
    reporter.inbox(PHONE, "STOP", "in2").await;
    reporter.inbox(PHONE, "START", "in3").await;
    // The network tells which account the number is before it is known of what message.
    let unknown = "0b0e7a52-1c1f-4a8e-9a59-6c1f3a0d7777";
    let mapped = json!({ "backend_id": unknown, "whatsapp_id": "w1", "wa_id": PHONE });
    reporter.tell("/messages/map", &mapped).await.expect(200);
    // Another stops, and is deleted too: the wish stays, and names nobody but the number.
    let other = customer(&s, "60123000888").await;
    reporter.inbox("60123000888", "stop", "in4").await;
    s.gateway.wait_until("all answers", |gateway| gateway.sent().iter().any(|a| a.to == "60123000888")).await;
    let before = found(&s, &WORDS).await;
    for word in WORDS {
        assert!(before.iter().any(|place| place.to_lowercase().contains(&word.to_lowercase())), "{word}: {before:#?}");
    }

    let delete = json!({ "contactIds": [contact, other.to_string()] });
    let done = s.ended(&accepted(s.admin.post("/batch/delete", &delete).await.expect(202))).await;
    assert_eq!(done["successCount"], 2, "{done}");
    assert_eq!(found(&s, &WORDS).await, Vec::<String>::new());
    let mut left = found(&s, &["60123000888"]).await;
    // PostgreSQL lists the column that it computes of the number too.
    left.retain(|place| !place.starts_with("suppressions.phone_key"));
    assert_eq!(left, ["suppressions.phone: 60123000888"]);
    let list = s.admin.get("/suppressions").await.expect(200);
    assert_eq!((&list["data"][0]["contactId"], &list["data"][0]["messageId"]), (&Value::Null, &Value::Null), "{list}");

    // The rows that failed are still counted, and say why they are empty.
    let rows = s.admin.get(&format!("/batch/{file}/failed-rows.csv")).await;
    assert_eq!(rows.status, 200);
    assert!(rows.text.contains("erased with its contact"), "{}", rows.text);
    // What was done stays done, and its answer is gone.
    let again = s.admin.send(ask()).await.expect(404);
    assert!(again.to_string().contains("deleted"), "{again}");
    // What is told of the messages afterwards brings nothing back.
    reporter.tell("/messages/failed", &failed).await.expect(200);
    assert_eq!(found(&s, &WORDS).await, Vec::<String>::new());
    s.audited().await;
}));

on_both!(a_cancelled_import_lets_go_of_its_rows () |s: Rc<Setup>| Box::pin(async move {
    // More chunks than are open at a time, so that some wait when it is cancelled.
    let contacts: Vec<Value> =
        (0..30_000).map(|i| json!({ "phoneE164": format!("+6011{:08}", 10_000_000 + i), "name": format!("Zephyr {i}") })).collect();
    let batch = accepted(s.admin.post("/batch/import", &json!({ "contacts": contacts })).await.expect(202));
    let cancelled = s.admin.post(&format!("/batch/{batch}/cancel"), &json!({})).await;
    // On a quick machine it may have ended before.
    if cancelled.status == 200 {
        let kept = "SELECT CAST(count(*) AS TEXT) FROM batch_chunks WHERE data <> '[]'";
        support::eventually("the rows to be gone", std::time::Duration::from_secs(90), async || {
            let left = texts(&s, kept.to_owned()).await;
            if left == ["0"] { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        assert_eq!(s.items(&batch).await.len(), 30_000, "they are still counted and listed");
    }
}));
