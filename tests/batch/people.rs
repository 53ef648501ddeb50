//! Who a batch is for: two spellings of a number, what a contact got over all batches, and items that name nobody.

use crate::setup::{Setup, accepted, on_both, text};
use domain::batches::{self, ItemPosition};
use domain::contacts::spelling;
use domain::db::{self, Limits};
use domain::{ContactId, Db};
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;
use support::{Postgres, Program};

async fn got(s: &Setup, contact: &str, query: &str) -> Value {
    s.admin.get(&format!("/contacts/{contact}/batches?{query}")).await.expect(200)
}

fn told(page: &Value) -> Vec<(String, String, String)> {
    let rows = page["data"].as_array().expect("a list").iter();
    rows.map(|row| (text(&row["batchId"]), text(&row["status"]), row["errorCode"].as_str().unwrap_or("").into()))
        .collect()
}

on_both!(an_import_knows_a_number_in_any_spelling () |s: Rc<Setup>| Box::pin(async move {
    let import = async |phones: &[&str], more: Value| {
        let rows: Vec<Value> = phones.iter().map(|phone| json!({ "phoneE164": phone, "name": phone })).collect();
        let mut body = json!({ "contacts": rows });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let id = accepted(s.admin.post("/batch/import", &body).await.expect(202));
        s.ended(&id).await
    };
    let both = ["+5491123456789", "+541123456789"];
    let done = import(&both, json!({})).await;
    assert_eq!((&done["successCount"], &done["skippedCount"]), (&json!(1), &json!(1)), "in one file");
    let done = import(&["+541123456789"], json!({})).await;
    assert_eq!(done["skippedCount"], json!(1), "over two files");
    let done = import(&["+541123456789"], json!({ "skipDuplicates": false })).await;
    assert_eq!(done["successCount"], json!(1));
    let list = s.admin.get("/contacts").await.expect(200);
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["data"][0]["phone"], "5491123456789", "the number stays as it was first");
    assert_eq!(list["data"][0]["name"], "+541123456789", "and what was merged is there");
    let dry = json!({ "contacts": [{ "phoneE164": "+541123456789" }, { "phoneE164": "+5491134567890" }, { "phoneE164": "+541134567890" }] });
    let plan = s.admin.post("/batch/import?dryRun=true", &dry).await.expect(200);
    let actions: Vec<&str> = plan["data"]["rows"].as_array().expect("rows").iter().map(|row| row["action"].as_str().expect("a word")).collect();
    assert_eq!(actions, ["skip", "create", "skip"]);
}));

on_both!(an_item_says_what_is_so_of_an_unknown_id_and_of_a_contact_without_a_number () |s: Rc<Setup>| Box::pin(async move {
    let reporter = crate::people::inbox(&s, json!({ "content": "hi", "whatsapp_id": "1",
        "identities": [{ "kind": "bsuid", "value": "MY.1" }] })).await;
    let numberless = text(&reporter["id"]);
    let known = s.contacts(1).await.remove(0);
    let uuid = "a2f3e5c0-0000-4000-8000-000000000001";
    let ids = ["999999".to_owned(), "nobody".into(), uuid.into(), numberless.clone(), known.clone()];
    let batch = s.send(&ids, json!({})).await;
    let done = s.ended(&batch).await;
    assert_eq!((&done["failedCount"], &done["successCount"]), (&json!(4), &json!(1)));
    let items = s.items(&batch).await;
    for (item, id) in items.iter().zip(["999999", "nobody", uuid]) {
        assert_eq!((&item["contactId"], &item["input"], &item["phone"]), (&json!(id), &json!(id), &Value::Null));
        assert_eq!((&item["errorCode"], &item["errorMessage"]), (&json!("contact_not_found"), &json!("contact not found")));
    }
    assert_eq!((&items[3]["contactId"], &items[3]["phone"]), (&json!(numberless), &Value::Null));
    assert_eq!(items[3]["errorCode"], "contact_has_no_number");
    assert_eq!(items[3]["errorMessage"], "the contact has no phone number");
    assert_eq!((&items[4]["contactId"], &items[4]["phone"]), (&json!(known), &json!("60123000000")));
    let preview = s.admin.get(&format!("/batch/{batch}/preview")).await.expect(200);
    assert_eq!(preview["data"][0]["error"], "contact not found");
    assert_eq!(preview["data"][3]["error"], "the contact has no phone number");
    let csv = s.admin.send(s.admin.request(support::Method::GET, &format!("/batch/{batch}/items.csv"))).await;
    assert!(csv.text.lines().nth(1).is_some_and(|line| line.starts_with("0,999999,,failed")), "{}", csv.text);
    // The same of what waits, and of tags and deletions.
    let scheduled = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    let waits = s.items(&scheduled).await;
    assert_eq!((&waits[1]["contactId"], &waits[1]["phone"]), (&json!("nobody"), &Value::Null));
    let body = json!({ "contactIds": ["999999"], "tags": ["x"], "operation": "add" });
    let tags = accepted(s.admin.post("/batch/tags", &body).await.expect(202));
    s.ended(&tags).await;
    let item = s.items(&tags).await.remove(0);
    assert_eq!((&item["contactId"], &item["phone"]), (&json!("999999"), &Value::Null));
    // A number in a file is a number.
    let import = json!({ "contacts": [{ "phoneE164": "12" }] });
    let import = accepted(s.admin.post("/batch/import", &import).await.expect(202));
    s.ended(&import).await;
    let item = s.items(&import).await.remove(0);
    assert_eq!((&item["contactId"], &item["phone"], &item["input"]), (&Value::Null, &json!("12"), &json!("12")));
}));

on_both!(what_a_contact_got_is_told_over_all_batches () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let me = &ids[1];
    let sent = s.send(&ids, json!({})).await;
    s.ended(&sent).await;
    let waits = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    let given_up = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    s.admin.post(&format!("/batch/{given_up}/cancel"), &json!({})).await.expect(200);
    s.admin.post("/suppressions", &json!({ "phones": ["60123000001"] })).await.expect(200);
    let skipped = s.send(&ids, json!({})).await;
    s.ended(&skipped).await;
    let contact = s.admin.get(&format!("/contacts/{me}")).await.expect(200)["data"].clone();
    let by_identifier = json!({ "contactIds": [contact["identifier"]], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" });
    let named = accepted(s.admin.post("/batch/send", &by_identifier).await.expect(202));

    let all = got(&s, me, "").await;
    let row = |batch: &str, status: &str, code: &str| (batch.to_owned(), status.to_owned(), code.to_owned());
    let import = told(&all).last().expect("the import").0.clone();
    let wanted = [
        row(&named, "pending", ""),
        row(&skipped, "skipped", "suppressed"),
        row(&given_up, "cancelled", ""),
        row(&waits, "pending", ""),
        row(&sent, "succeeded", ""),
        row(&import, "succeeded", ""),
    ];
    assert_eq!(told(&all), wanted);
    assert_eq!(all["meta"]["nextCursor"], Value::Null);
    let of = |n: usize| &all["data"][n];
    assert_eq!((&of(3)["type"], &of(3)["batchStatus"], &of(3)["seq"]), (&json!("SEND"), &json!("PENDING"), &json!(1)));
    assert_eq!((&of(3)["contactId"], &of(3)["phone"]), (&json!(me), &json!("60123000001")));
    assert_eq!(of(3)["scheduleAt"], "2099-01-01T00:00:00.000Z");
    assert_eq!(of(1)["errorMessage"], "the recipient has opted out");
    assert!(of(4)["messageId"].is_string() && of(5)["type"] == "IMPORT");
    // A page at a time, whatever the page.
    for limit in [1, 2, 4] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = got(&s, me, &format!("limit={limit}{cursor}")).await;
            seen.extend(told(&page));
            match page["meta"]["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, wanted, "{limit} at a time");
    }
    assert_eq!(told(&got(&s, me, "status=pending").await), [wanted[0].clone(), wanted[3].clone()]);
    assert_eq!(told(&got(&s, me, "status=skipped").await), [wanted[1].clone()]);
    assert_eq!(told(&got(&s, contact["identifier"].as_str().expect("a text"), "limit=1").await), [wanted[0].clone()]);
    for missing in ["999999", "nobody", "a2f3e5c0-0000-4000-8000-000000000001"] {
        s.admin.get(&format!("/contacts/{missing}/batches")).await.expect(404);
        s.admin.get(&format!("/contacts/{missing}")).await.expect(404);
    }
    for bad in ["cursor=x", "cursor=1", "cursor=1-x", "limit=0", "limit=201", "status=nope"] {
        s.admin.get(&format!("/contacts/{me}/batches?{bad}")).await.expect(400);
    }
    // Who may see people but not batches sees people, masked.
    let guest = s.api().client().with_token(s.program.token_for("guest").await);
    guest.get(&format!("/contacts/{me}/batches")).await.expect(403);
    assert_eq!(guest.get("/contacts?phone=60123000001").await.expect(200)["data"][0]["phone"], "+60 123****0001");
    let found = s.admin.get("/contacts?tag=imported&search=contact%201").await.expect(200);
    assert_eq!((&found["data"][0]["id"], &found["data"][0]["tags"]), (&json!(me), &json!(["imported"])));
    s.admin.get("/contacts?phone=x").await.expect(400);
    let body = json!({ "contactIds": [me] });
    let deleted = accepted(s.admin.post("/batch/delete", &body).await.expect(202));
    s.ended(&deleted).await;
    s.admin.get(&format!("/contacts/{me}/batches")).await.expect(404);
}));

/// Tells a customer's message, and finds the customer.
pub(crate) async fn inbox(s: &Setup, body: Value) -> Value {
    use crate::setup::SECRET;
    use gateway::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
    let body = body.to_string();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let now = i64::try_from(now).expect("not for a while");
    let signature = Signer::new(SECRET.as_bytes()).expect("a secret").sign(now, body.as_bytes());
    let request = s
        .admin
        .request(support::Method::POST, "/messages/inbox")
        .header("content-type", "application/json")
        .header(TIMESTAMP_HEADER, now)
        .header(SIGNATURE_HEADER, signature)
        .body(body);
    s.admin.send(request).await.expect(200);
    let all = s.admin.get("/contacts").await.expect(200);
    all["data"].as_array().expect("a list").last().expect("one").clone()
}

const LIMITS: Limits = Limits { connections: 2, acquire: Duration::from_secs(10), answer: Duration::from_secs(60) };

async fn rows_read(conn: &impl ConnectionTrait, tables: &str) -> i64 {
    let sql = format!(
        "SELECT CAST(sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) AS BIGINT) AS n
         FROM pg_stat_xact_user_tables WHERE relname IN ({tables})"
    );
    db::one(conn, sql, []).await.expect("read").expect("a row").try_get("", "n").expect("a number")
}

/// What one contact got is read by its index, whatever the database believes of the tables, and of chunks that wait only those
/// that may have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_contact_got_among_many_is_found_at_once() {
    let database = Postgres::database().await;
    let program = Program::new(env!("CARGO_BIN_EXE_paceline")).env("PACELINE_DATABASE_URL", database.url());
    program.run(&["migrate", "up"], "").await;
    database.execute("ANALYZE").await;
    database
        .execute(
            "INSERT INTO contacts (identifier, phone, created_at, updated_at)
             SELECT gen_random_uuid(), '6012' || (3000000 + n), 1, 1 FROM generate_series(1, 1000) n",
        )
        .await;
    let batches = |from: i64, to: i64, status: &str| {
        format!(
            "INSERT INTO batches (type, status, created_by, config, total, created_at)
             SELECT 'SEND', '{status}', 1, '{{}}', 1000, 1 FROM generate_series({from}, {to})"
        )
    };
    database.execute(batches(1, 60, "COMPLETED")).await;
    database
        .execute(
            "INSERT INTO messages (batch_id, seq, contact_id, item_status, direction, status, created_at)
             SELECT b, c - 1, c, 'succeeded', 'outbound', 'sent', 1 FROM generate_series(1, 60) b, generate_series(1, 1000) c",
        )
        .await;
    database.execute(batches(61, 70, "PENDING")).await;
    database
        .execute(
            "INSERT INTO batch_chunks (batch_id, no, first_seq, item_count, next_seq, state, data, lowest_contact, highest_contact)
             SELECT b, n, n * 10, 10, n * 10, 'waiting',
                    '[' || (SELECT string_agg(CAST(c AS TEXT), ',') FROM generate_series(n * 10 + 1, n * 10 + 10) c) || ']',
                    n * 10 + 1, n * 10 + 10
             FROM generate_series(61, 70) b, generate_series(0, 99) n",
        )
        .await;
    let options = PgConnectOptions::from_str(database.url()).expect("its URL");
    let db = Db::postgres(options, LIMITS).await.expect("it is there");
    for analysed in [false, true] {
        if analysed {
            database.execute("ANALYZE").await;
        }
        let tx = db.begin().await.expect("a transaction");
        let tables = "'messages', 'batch_items', 'batch_chunks'";
        let before = rows_read(&tx, tables).await;
        let page = batches::items_of_contact(&tx, ContactId(555), None, None, 20).await.expect("read").expect("there");
        assert_eq!((page.0.len(), page.1), (20, Some(ItemPosition { batch: 51, seq: 554 })));
        assert_eq!(page.0[9].item.seq, 554);
        let read = rows_read(&tx, tables).await - before;
        // 21 rows, and the ten chunks; without statistics at most all rows of this one contact, and the chunks.
        let most = if analysed { 40 } else { 70 };
        assert!(read <= most, "{read} rows were read for 20, analysed: {analysed}");
    }
}

/// A database as it was before people were merged, with two contacts of one number.
async fn upgraded(db: &DatabaseConnection) {
    let steps = Migrator::migrations();
    let before = steps.iter().position(|step| step.name() == "m0010_people").expect("the step");
    Migrator::up(db, u32::try_from(before).ok()).await.expect("up");
    let uuid = |n: u8| format!("'a2f3e5c0-0000-4000-8000-00000000000{n}'");
    for sql in [
        format!(
            "INSERT INTO contacts (identifier, phone, name, attributes, remark, created_at, updated_at) VALUES
             ({}, '5531987654321', NULL, '{{\"city\":\"BH\"}}', 'old', 1, 1), ({}, '60123456789', 'Other', NULL, NULL, 1, 1),
             ({}, '553187654321', 'Ana', '{{\"city\":\"SP\",\"plan\":\"x\"}}', 'new', 2, 2)",
            uuid(1), uuid(2), uuid(3)
        ),
        "INSERT INTO tags (name, created_at) VALUES ('a', 1), ('b', 1)".into(),
        "INSERT INTO contact_tags (contact_id, tag_id) VALUES (1, 1), (3, 1), (3, 2)".into(),
        "INSERT INTO contact_identities (kind, value, contact_id, created_at) VALUES ('bsuid', 'BR.1', 3, 1)".into(),
        "INSERT INTO contact_activity (contact_id, last_message_at) VALUES (1, 5), (3, 9)".into(),
        format!(
            "INSERT INTO conversations (uuid, contact_id, channel, status, unread, created_at, updated_at) VALUES
             ({}, 1, 'whatsapp', 'resolved', 0, 1, 1), ({}, 3, 'whatsapp', 'open', 2, 1, 1)",
            uuid(4), uuid(5)
        ),
        format!(
            "INSERT INTO messages (uuid, contact_id, conversation_id, direction, status, created_at) VALUES
             ({}, 1, 1, 'outbound', 'sent', 5), ({}, 3, 2, 'inbound', 'received', 9)",
            uuid(6), uuid(7)
        ),
        "INSERT INTO batch_items (batch_id, seq, contact_id, status) VALUES (1, 0, 3, 'succeeded')".into(),
        "INSERT INTO suppressions (phone, contact_id, reason, created_at) VALUES
         ('553187654321', 3, 'user', 7), ('5531987654321', 1, 'user', 8)"
            .into(),
    ] {
        db.execute_unprepared(&sql).await.expect("written");
    }
    Migrator::up(db, None).await.expect("up again");
    let number = async |sql: &str| -> i64 {
        let row = db::one(db, format!("SELECT CAST(({sql}) AS BIGINT) AS n"), []).await.expect("read").expect("a row");
        row.try_get("", "n").expect("a number")
    };
    assert_eq!(number("SELECT count(*) FROM contacts WHERE deleted_at IS NULL").await, 2);
    assert_eq!(number("SELECT into_id FROM contact_merges WHERE from_id = 3").await, 1);
    assert_eq!(number("SELECT count(*) FROM contact_tags WHERE contact_id = 1").await, 2);
    assert_eq!(number("SELECT last_message_at FROM contact_activity WHERE contact_id = 1").await, 9);
    for table in [
        "messages",
        "batch_items",
        "conversations",
        "suppressions",
        "contact_identities",
        "contact_tags",
        "contact_activity",
    ] {
        assert_eq!(number(&format!("SELECT count(*) FROM {table} WHERE contact_id = 3")).await, 0, "{table}");
    }
    assert_eq!(number("SELECT count(*) FROM messages WHERE contact_id = 1 AND conversation_id = 1").await, 2);
    let open = "SELECT count(*) FROM conversations WHERE contact_id = 1 AND status = 'open' AND unread = 2 AND id = 1";
    assert_eq!(number(open).await, 1);
    assert_eq!(number("SELECT count(*) FROM suppressions WHERE ended_at IS NULL").await, 1);
    assert_eq!(number("SELECT suppressed_at FROM contacts WHERE id = 1").await, 7);
    let row = db::one(db, "SELECT name, attributes, remark FROM contacts WHERE id = 1", [])
        .await
        .expect("read")
        .expect("a row");
    assert_eq!(row.try_get::<String>("", "name").expect("a name"), "Ana");
    assert_eq!(row.try_get::<String>("", "remark").expect("a remark"), "old\nnew");
    let attributes: Value =
        serde_json::from_str(&row.try_get::<String>("", "attributes").expect("a text")).expect("JSON");
    assert_eq!(attributes, json!({ "city": "BH", "plan": "x" }));
    one_key(db).await;
    Migrator::down(db, u32::try_from(steps.len() - before).ok()).await.expect("down again");
}

/// What the database takes for one number is what the rule does.
async fn one_key(db: &DatabaseConnection) {
    for digits in [
        "553187654321",
        "5531987654321",
        "553132654321",
        "5215512345678",
        "525512345678",
        "521551234567",
        "541123456789",
        "5491123456789",
        "549112345678",
        "60123456789",
        "12345678",
        "5511961234567",
        "541",
        "55",
        "4915112345678",
    ] {
        let sql = "INSERT INTO contact_identities (kind, value, contact_id, created_at) VALUES ('wa_id', $1, 2, 1)
                   ON CONFLICT (kind, value) DO UPDATE SET contact_id = 2 RETURNING phone_key";
        let row = db::one(db, sql, [digits.into()]).await.expect("written").expect("a row");
        assert_eq!(row.try_get::<String>("", "phone_key").expect("a key"), spelling::key(digits), "{digits}");
    }
}

#[tokio::test]
async fn contacts_of_one_number_are_one_after_an_upgrade_on_sqlite() {
    let mut options = ConnectOptions::new("sqlite::memory:");
    // One connection: another would be another memory.
    options.max_connections(1).sqlx_logging(false);
    upgraded(&Database::connect(options).await.expect("opened")).await;
}

#[tokio::test]
async fn contacts_of_one_number_are_one_after_an_upgrade_on_postgresql() {
    let database = Postgres::database().await;
    let mut options = ConnectOptions::new(database.url());
    options.max_connections(2).sqlx_logging(false);
    upgraded(&Database::connect(options).await.expect("opened")).await;
}
