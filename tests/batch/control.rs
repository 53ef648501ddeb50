//! Steering: cancel, pause, resume, a changed pace, retry; doing a request once; what is killed in mid-work.

use crate::setup::{Runs, Setup, accepted, on_both, text};
use domain::batches::SCHEDULE_SLACK;
use reqwest::header::HeaderValue;
use serde_json::json;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use support::{Method, Reply};
use tokio::io::AsyncWriteExt;

on_both!(a_cancelled_batch_starts_nothing_more () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(50).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 120 })).await;
    s.gateway.wait_for(2).await;
    let said = s.admin.post(&format!("/batch/{batch}/cancel"), &json!({})).await.expect(200);
    assert_eq!(said, json!({ "ok": true, "message": "Batch operation cancelled successfully" }));
    s.admin.post(&format!("/batch/{batch}/cancel"), &json!({})).await.expect(409);
    // What was in flight ends and is counted; then everything is decided.
    let done = s.wait(&batch, "no item in flight", |b| b["status"] == "CANCELLED").await;
    assert!(done["processedCount"].as_i64() < Some(50));
    support::eventually("the items to be decided", crate::setup::PATIENCE, async || {
        let items = s.items(&batch).await;
        let open = items.iter().filter(|i| i["status"] == "sending").count();
        if open == 0 { Ok(()) } else { Err(format!("{open} are sending")) }
    }).await;
    let items = s.items(&batch).await;
    let cancelled = items.iter().filter(|i| i["status"] == "cancelled").count();
    let succeeded = items.iter().filter(|i| i["status"] == "succeeded").count();
    assert_eq!((items.len(), cancelled + succeeded), (50, 50));
    assert_eq!(s.gateway.sent_count(), succeeded);
    s.audited().await;
}));

on_both!(a_paused_batch_goes_on_where_it_was () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(40).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 240 })).await;
    s.gateway.wait_for(2).await;
    let paused = s.admin.post(&format!("/batch/{batch}/pause"), &json!({})).await.expect(200);
    assert_eq!((&paused["data"]["paused"], &paused["data"]["status"]), (&json!(true), &json!("PROCESSING")));
    s.admin.post(&format!("/batch/{batch}/pause"), &json!({})).await.expect(409);
    s.admin.patch(&format!("/batch/{batch}"), &json!({ "ratePerMinute": 60_000 })).await.expect(200);
    s.admin.post(&format!("/batch/{batch}/resume"), &json!({})).await.expect(200);
    s.admin.post(&format!("/batch/{batch}/resume"), &json!({})).await.expect(409);
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["ratePerMinute"]), (&json!(40), &json!(60_000)));
    assert_eq!(s.gateway.sent_count(), 40);
    s.audited().await;
}));

on_both!(an_item_says_what_it_waits_for () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(4).await;
    s.admin.post("/suppressions", &json!({ "phones": ["+60123000003"] })).await.expect(200);
    let waits = async |batch: &str, seq: usize| {
        let item = s.admin.get(&format!("/batch/{batch}/items/{seq}")).await.expect(200);
        let waits = item["data"]["waits"].as_array().unwrap_or_else(|| panic!("{item}")).clone();
        waits.iter().map(|wait| text(&wait["code"])).collect::<Vec<_>>()
    };
    let later = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    assert_eq!(waits(&later, 0).await, ["scheduled", "turn"]);
    assert_eq!(waits(&later, 3).await, ["scheduled", "suppressed", "turn"]);
    let slow = s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    s.gateway.wait_for(1).await;
    s.admin.post(&format!("/batch/{slow}/pause"), &json!({})).await.expect(200);
    let codes = waits(&slow, 2).await;
    assert!(codes.first().is_some_and(|code| code == "batch_paused") && codes.contains(&"pace".to_owned()), "{codes:?}");
    s.admin.post(&format!("/batch/{slow}/cancel"), &json!({})).await.expect(200);
    assert_eq!(waits(&slow, 2).await, Vec::<String>::new());
    for seq in ["4", "x", "-1", "99999999999999999999"] {
        s.admin.get(&format!("/batch/{slow}/items/{seq}")).await.expect(404);
    }
}));

on_both!(a_cancel_that_is_taken_back_cancels_nothing () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    let cancellation = async |method: Method| {
        let request = s.admin.request(method, &format!("/batch/{batch}/cancellation"));
        s.admin.send(request).await
    };
    cancellation(Method::DELETE).await.expect(409);
    let asked = cancellation(Method::PUT).await.expect(200);
    assert!(asked["data"]["cancelAt"].is_string(), "{asked}");
    assert_eq!(cancellation(Method::GET).await.expect(200), asked);
    cancellation(Method::PUT).await.expect(409);
    assert_eq!(cancellation(Method::DELETE).await.expect(200)["data"]["id"], json!(batch));
    s.wait(&batch, "it to go on", |batch| batch["status"] == "PROCESSING").await;
    // Asked for again, it is done at its time. What is to start before that is cancelled at once.
    cancellation(Method::PUT).await.expect(200);
    s.wait(&batch, "its cancel", |batch| batch["status"] == "CANCELLED").await;
    cancellation(Method::PUT).await.expect(409);
    s.audited().await;
}));

on_both!(a_retry_sends_only_what_failed () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(30).await;
    s.gateway.script(|a| if a.to.ends_with('7') && a.number == 1 { Reply::status(400) } else { Reply::accept() });
    let batch = s.send(&ids, json!({})).await;
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(27), &json!(3)));
    let failed = s.admin.get(&format!("/batch/{batch}/items?status=failed")).await.expect(200);
    assert_eq!(failed["data"].as_array().map(Vec::len), Some(3));
    let retry = async || {
        let request = s.admin.request(support::Method::POST, &format!("/batch/{batch}/retry"));
        s.admin.send(request.header("Idempotency-Key", "again")).await
    };
    let first = retry().await;
    let second = retry().await;
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.expect(200), second.expect(200));
    let done = s.wait(&batch, "all to succeed", |b| b["successCount"] == 30).await;
    assert_eq!(done["failedCount"], json!(0));
    assert_eq!(s.gateway.attempts().len(), 33);
    s.ended(&batch).await;
    s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(409);
    s.audited().await;
}));

on_both!(a_retry_opens_no_more_chunks_than_a_batch () |s: Rc<Setup>| Box::pin(async move {
    const ALL: usize = 4_200;
    const CHUNKS: i64 = 9;
    let ids = s.contacts(ALL).await;
    s.gateway.script(|_| Reply::status(400));
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["failedCount"], json!(ALL));
    s.gateway.script(|_| Reply::accept().after(Duration::from_millis(20)));
    let number = async |sql: String| match &s.runs {
        Runs::Embedded(_) => s.program.number(sql).await,
        Runs::Split(cluster) => cluster.database.number(sql).await,
    };
    s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(200);
    let sent = "SELECT count(*) FROM jobs WHERE batch_id = $ AND kind = 'send_chunk'".replace('$', &batch);
    let jobs = number(format!("{sent} AND state <> 'done'")).await;
    assert!(jobs <= domain::batches::WINDOW, "{jobs} jobs are ahead of everybody");
    support::eventually("all to be sent", crate::setup::PATIENCE, async || {
        // One that has nothing left but retries that wait has opened its successor.
        let open = number(format!(
            "SELECT count(*) FROM batch_chunks WHERE batch_id = {batch} AND state = 'open' AND NOT passed_on"
        )).await;
        assert!(open <= domain::batches::WINDOW, "{open} chunks are open at once");
        let batch = s.get(&batch).await;
        if batch["completedAt"].is_string() { Ok(()) } else { Err(batch) }
    }).await;
    let done = s.get(&batch).await;
    assert_eq!((&done["status"], &done["successCount"], &done["failedCount"]), (&json!("COMPLETED"), &json!(ALL), &json!(0)));
    assert_eq!(number(sent).await, 2 * CHUNKS, "each chunk was opened once, and once more");
    // Some of it: the chunks between are closed, and stay so.
    s.gateway.script(|attempt| {
        let number: usize = attempt.to.trim_start_matches("6012").parse().expect("a number");
        if (number - 3_000_000) % 2_000 == 7 { Reply::status(400) } else { Reply::accept() }
    });
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["failedCount"], json!(3));
    s.gateway.script(|_| Reply::accept());
    s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(200);
    assert_eq!(s.ended(&batch).await["successCount"], json!(ALL));
    let jobs = number(format!("SELECT count(*) FROM jobs WHERE batch_id = {batch} AND kind = 'send_chunk'")).await;
    assert_eq!(jobs, CHUNKS + 3);
    s.audited().await;
}));

on_both!(a_key_does_a_request_once () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let body = json!({ "contactIds": ids, "content": "once" });
    let post = async |key: &str, body: &serde_json::Value| {
        let request = s.admin.request(support::Method::POST, "/batch/send").header("Idempotency-Key", key).json(body);
        s.admin.send(request).await
    };
    let first = post("k1", &body).await;
    let id = accepted(first.body.clone());
    let second = post("k1", &body).await;
    assert_eq!((second.header("idempotency-replayed"), accepted(second.body.clone())), (Some("true"), id.clone()));
    post("k1", &json!({ "contactIds": ["1"], "content": "other" })).await.expect(422);
    // A schedule that lies too far in the past by now: what was accepted stays accepted.
    let nearly = SystemTime::now() - SCHEDULE_SLACK + Duration::from_millis(1_200);
    let ms = nearly.duration_since(SystemTime::UNIX_EPOCH).expect("after it").as_millis();
    let at = domain::Timestamp(i64::try_from(ms).expect("small")).to_rfc3339();
    let late = json!({ "contactIds": ids, "content": "once", "scheduleAt": at });
    let scheduled = accepted(post("late", &late).await.expect(202));
    s.ended(&scheduled).await;
    support::eventually("the time to be too far in the past", crate::setup::PATIENCE, async || {
        let over = SystemTime::now() > nearly + SCHEDULE_SLACK;
        if over { Ok(()) } else { Err("not yet") }
    }).await;
    let replayed = post("late", &late).await;
    assert_eq!((replayed.header("idempotency-replayed"), accepted(replayed.body.clone())), (Some("true"), scheduled));
    post("later", &late).await.expect(400);
    post("bad key", &body).await.expect(400);
    // A key that cannot be read is no key that was not given, and of two nobody knows which.
    let keyed = |key: &'static [u8]| {
        let value = HeaderValue::from_bytes(key).expect("a header");
        s.admin.request(support::Method::POST, "/batch/send").header("Idempotency-Key", value)
    };
    s.admin.send(keyed(b"caf\xc3\xa9").json(&body)).await.expect(400);
    s.admin.send(keyed(b"one").header("Idempotency-Key", "two").json(&body)).await.expect(400);
    post("k2", &json!({ "contactIds": [], "content": "x" })).await.expect(400);
    let third = accepted(post("k2", &body).await.expect(202));
    assert_ne!(third, id);
    s.ended(&id).await;
    s.ended(&third).await;
    assert_eq!(s.gateway.sent_count(), 6);
}));

on_both!(work_is_done_for_who_has_hung_up () |s: Rc<Setup>| Box::pin(async move {
    let contacts: Vec<_> = (0..5_000).map(|i| json!({ "phoneE164": format!("+6012{:07}", 3_000_000 + i) })).collect();
    let body = json!({ "contacts": contacts });
    let token = s.program.token_for("admin").await;
    let client = s.api().client().with_token(token.clone());
    let text = body.to_string();
    let address = client.base().trim_start_matches("http://").to_owned();
    let head = format!(
        "POST /batch/import HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nidempotency-key: gone\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    let mut socket = tokio::net::TcpStream::connect(&address).await.expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("written");
    socket.write_all(text.as_bytes()).await.expect("written");
    drop(socket);
    let id = support::eventually("the import to be accepted", crate::setup::PATIENCE, async || {
        let list = client.get("/batch?type=IMPORT").await.expect(200);
        list["data"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| list.to_string())
    }).await;
    let again = client.request(support::Method::POST, "/batch/import").header("Idempotency-Key", "gone");
    let again = client.send(again.header("content-type", "application/json").body(text)).await;
    assert_eq!((again.header("idempotency-replayed"), accepted(again.body.clone())), (Some("true"), id.clone()));
    assert_eq!(s.ended(&id).await["totalCount"], json!(5_000));
}));

/// The lease of a worker that was killed ends after 30 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: waits for a lease to end"]
async fn a_killed_worker_loses_and_doubles_nothing() {
    let mut s = Setup::split(&[]).await;
    let ids = s.contacts(2_000).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 30_000 })).await;
    s.gateway.wait_for(300).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    cluster.workers[0].kill9().await;
    cluster.redis.flushall().await;
    cluster.workers[0].restart().await;
    let done = s.ended(&batch).await;
    assert_eq!((text(&done["status"]), &done["successCount"]), ("COMPLETED".into(), &json!(2_000)));
    let by_recipient = s.gateway.sent_by_recipient();
    assert_eq!(by_recipient.len(), 2_000);
    assert!(by_recipient.values().all(|n| *n == 1));
    s.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_while_redis_is_away() {
    let mut s = Setup::split(&[]).await;
    let ids = s.contacts(10).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    cluster.redis.kill9().await;
    let batch = s.send(&ids, json!({})).await;
    let done = s.ended(&batch).await;
    assert_eq!(done["successCount"], json!(10));
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    cluster.redis.restart().await;
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["successCount"], json!(10));
    s.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_process_that_is_killed_goes_on_at_its_start() {
    let mut s = Setup::embedded(&[]).await;
    let ids = s.contacts(300).await;
    let batch = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    let created = text(&s.get(&batch).await["createdAt"]);
    let Runs::Embedded(serve) = &mut s.runs else { unreachable!() };
    serve.kill9().await;
    serve.restart().await;
    s.admin = serve.client().with_token(s.program.token_for("admin").await);
    s.admin.patch(&format!("/batch/{batch}"), &json!({ "scheduleAt": created })).await.expect(200);
    assert_eq!(s.ended(&batch).await["successCount"], json!(300));
    assert_eq!(s.gateway.sent_count(), 300);
    s.audited().await;
}
