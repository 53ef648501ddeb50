//! What a batch tells of itself: whether it is paused, how it was changed, how fast it goes and what holds it, and how to go
//! on where it cannot.

use crate::setup::{PATIENCE, Runs, Setup, accepted, on_both, text};
use serde_json::{Value, json};
use std::rc::Rc;
use support::{Reply, Socket, eventually};

on_both!(the_status_says_that_it_is_paused () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let batch = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    let token = s.program.token_for("agent").await;
    let mut socket = Socket::open(&s.api().client().socket_url(&format!("/ws?token={token}"))).await;
    let told = async |socket: &mut Socket, paused: bool| {
        socket.wait_for("the news", |f| (f["data"]["id"] == batch.as_str() && f["data"]["paused"] == paused).then_some(())).await;
    };
    let status = async || s.admin.get(&format!("/batch/{batch}/status")).await.expect(200)["data"].clone();
    told(&mut socket, false).await;
    assert_eq!((&status().await["paused"], &status().await["status"]), (&json!(false), &json!("PENDING")));
    s.admin.post(&format!("/batch/{batch}/pause"), &json!({})).await.expect(200);
    told(&mut socket, true).await;
    assert_eq!((&status().await["paused"], &status().await["status"]), (&json!(true), &json!("PENDING")));
    assert_eq!(s.get(&batch).await["paused"], json!(true));
    s.admin.post(&format!("/batch/{batch}/resume"), &json!({})).await.expect(200);
    told(&mut socket, false).await;
    assert_eq!(status().await["paused"], json!(false));
}));

on_both!(the_config_says_what_the_batch_says () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(1).await;
    let asked = json!({ "scheduleAt": "2099-01-01T00:00:00Z", "ratePerMinute": 60, "jitterMs": 10 });
    let batch = s.send(&ids, asked).await;
    let agrees = |batch: &Value| {
        for name in ["ratePerMinute", "jitterMs", "scheduleAt"] {
            assert_eq!(batch["config"][name], batch[name], "{name} of {batch}");
        }
    };
    agrees(&s.get(&batch).await);
    let changes = [
        json!({ "ratePerMinute": 600 }),
        json!({ "jitterMs": 0 }),
        json!({ "scheduleAt": "2098-01-01T00:00:00Z" }),
        json!({ "ratePerMinute": 7, "jitterMs": 3, "scheduleAt": "2097-01-01T00:00:00Z" }),
    ];
    for change in changes {
        let changed = s.admin.patch(&format!("/batch/{batch}"), &change).await.expect(200)["data"].clone();
        agrees(&changed);
        let read = s.get(&batch).await;
        agrees(&read);
        for (name, value) in change.as_object().expect("an object").iter().filter(|(name, _)| *name != "scheduleAt") {
            assert_eq!(&read["config"][name], value, "{read}");
        }
        let listed = s.admin.get("/batch?type=SEND").await.expect(200)["data"][0].clone();
        agrees(&listed);
    }
    assert_eq!(s.get(&batch).await["config"]["content"], "Hello {{ name }}", "the rest of the request stays");
}));

/// A batch's pace: the effective one, what it is of, and what is warned of.
fn pace(batch: &Value) -> (Value, Value, Vec<String>) {
    let warnings = batch["warnings"].as_array().cloned().unwrap_or_default();
    let fields = warnings.iter().map(|warning| {
        assert!(
            warning["message"].as_str().is_some_and(|text| text.contains("at most 600 messages a minute")),
            "{warning}"
        );
        text(&warning["field"])
    });
    (batch["effectiveRatePerMinute"].clone(), batch["limitedBy"].clone(), fields.collect())
}

on_both!(what_limits_it_is_told (("PACELINE_SENDER_RATE_PER_MIN", "600")) |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(1).await;
    let above = vec!["ratePerMinute".to_owned()];
    for (asked, expected) in [
        (json!({}), (json!(600), json!("sender"), vec![])),
        (json!({ "ratePerMinute": 60 }), (json!(60), json!("batch"), vec![])),
        (json!({ "ratePerMinute": 600 }), (json!(600), json!("batch"), vec![])),
        (json!({ "ratePerMinute": 601 }), (json!(600), json!("sender"), above.clone())),
        (json!({ "ratePerMinute": 600_000 }), (json!(600), json!("sender"), above.clone())),
    ] {
        let mut body = json!({ "contactIds": ids, "content": "Hello", "scheduleAt": "2099-01-01T00:00:00Z" });
        body.as_object_mut().expect("an object").extend(asked.as_object().expect("an object").clone());
        let answer = s.admin.post("/batch/send", &body).await.expect(202);
        assert_eq!(pace(&answer["data"]), expected, "{answer}");
        let batch = accepted(answer);
        assert_eq!(pace(&s.get(&batch).await), expected, "{asked}");
        // A change is answered in the same way.
        let patch = async |rate: u32| {
            let change = json!({ "ratePerMinute": rate });
            pace(&s.admin.patch(&format!("/batch/{batch}"), &change).await.expect(200)["data"])
        };
        assert_eq!(patch(700).await, (json!(600), json!("sender"), above.clone()));
        assert_eq!(patch(59).await, (json!(59), json!("batch"), vec![]));
    }
}));

on_both!(a_gateway_that_holds_a_batch_is_told () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    s.gateway.script(|attempt| {
        if attempt.to.ends_with('0') { Reply::accept() } else { Reply::status(429).retry_after(3_000) }
    });
    let free = s.send(&ids[..1], json!({})).await;
    let done = s.ended(&free).await;
    assert_eq!((&done["limitedBy"], &done["effectiveRatePerMinute"]), (&Value::Null, &Value::Null), "nothing did: {done}");
    let batch = s.send(&ids, json!({ "ratePerMinute": 60_000 })).await;
    let held = s.wait(&batch, "the gateway to hold it", |batch| batch["limitedBy"] == "gateway").await;
    assert!(held["effectiveRatePerMinute"].as_i64().is_none_or(|rate| rate < 60_000), "{held}");
    s.admin.post(&format!("/batch/{batch}/pause"), &json!({})).await.expect(200);
    assert_eq!(s.get(&batch).await["limitedBy"], json!("batch"), "a paused one is held by nobody else");
}));

on_both!(an_import_of_nothing_but_invalid_rows_is_not_retried () |s: Rc<Setup>| Box::pin(async move {
    let refused = async |body: Value| {
        let batch = accepted(s.admin.post("/batch/import", &body).await.expect(202));
        let done = s.ended(&batch).await;
        let error = s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(409)["error"].clone();
        assert_eq!(error["code"], "CONFLICT");
        let again = s.get(&batch).await;
        assert_eq!((&again["status"], &again["completedAt"]), (&done["status"], &done["completedAt"]), "it stays as it was");
        (done, text(&error["message"]))
    };
    let (done, why) = refused(json!({ "contacts": [{ "phoneE164": "nobody" }, { "phoneE164": "" }] })).await;
    assert_eq!((&done["status"], &done["failedCount"]), (&json!("FAILED"), &json!(2)));
    assert!(why.contains("all 2 rows that failed are invalid") && why.contains("items?status=failed"), "{why}");
    // Some that are fine change nothing: what failed would fail again.
    let (done, why) = refused(json!({ "contacts": [{ "phoneE164": "+60123456789" }, { "phoneE164": "nobody" }] })).await;
    assert_eq!((&done["status"], &done["failedCount"]), (&json!("COMPLETED"), &json!(1)));
    assert!(why.contains("all 1 rows that failed are invalid"), "{why}");
    // The same of every other kind: who is not there is not there later.
    for (path, more) in [
        ("/batch/send", json!({ "content": "Hello" })),
        ("/batch/tags", json!({ "tags": ["vip"], "operation": "add" })),
        ("/batch/delete", json!({})),
    ] {
        let mut body = json!({ "contactIds": ["987654321"] });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let batch = accepted(s.admin.post(path, &body).await.expect(202));
        s.ended(&batch).await;
        let why = s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(409);
        assert!(text(&why["error"]["message"]).contains("do not exist"), "{path}: {why}");
    }
    s.audited().await;
}));

/// A batch of what a cancelled one never sent, as soon as nothing of that is in flight.
async fn remainder(s: &Setup, of: &str, more: Value) -> Value {
    let mut body = json!({ "remainderOf": of });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    eventually("the messages in flight to end", PATIENCE, async || {
        let answer = s.admin.post("/batch/send", &body).await;
        match answer.status {
            202 => Ok(answer.body["data"].clone()),
            409 if answer.text.contains("in flight") => Err(answer.text),
            _ => panic!("{} {}", answer.status, answer.text),
        }
    })
    .await
}

on_both!(what_a_cancelled_batch_never_sent_is_sent_by_another () |s: Rc<Setup>| Box::pin(async move {
    const ALL: usize = 1_200;
    let ids = s.contacts(ALL).await;
    let batch = s.send(&ids, json!({ "content": "Sale", "ratePerMinute": 3_000, "jitterMs": 1, "onUnknown": "hold" })).await;
    s.gateway.wait_for(20).await;
    s.admin.post(&format!("/batch/{batch}/cancel"), &json!({})).await.expect(200);
    let said = s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(409);
    let how = format!("POST /batch/send with {{\"remainderOf\": \"{batch}\"}}");
    assert!(text(&said["error"]["message"]).contains(&how), "{said}");
    let cancelled = s.get(&batch).await;
    let hint = text(&cancelled["hint"]);
    assert!(hint.contains(&how) && hint.contains(&format!("/batch/{batch}/items?status=cancelled")), "{hint}");

    let rest = remainder(&s, &batch, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    let first = s.get(&batch).await;
    let left = first["totalCount"].as_i64().expect("n") - first["processedCount"].as_i64().expect("n");
    assert_eq!((&rest["totalCount"], &rest["config"]["remainderOf"]), (&json!(left), &json!(batch)));
    // As fast and as carefully as the first, unless it is told otherwise.
    assert_eq!((&rest["ratePerMinute"], &rest["jitterMs"]), (&json!(3_000), &json!(1)));
    assert_eq!((&rest["config"]["content"], &rest["config"]["onUnknown"]), (&json!("Sale"), &json!("hold")));
    let twice = s.admin.post("/batch/send", &json!({ "remainderOf": batch })).await.expect(409);
    assert!(text(&twice["error"]["message"]).contains(&text(&rest["id"])), "{twice}");

    // What of the rest is cancelled too goes on in the same way, with another text and pace.
    let rest = text(&rest["id"]);
    s.admin.post(&format!("/batch/{rest}/cancel"), &json!({})).await.expect(200);
    let last = remainder(&s, &rest, json!({ "content": "Last chance", "ratePerMinute": 600_000, "jitterMs": 0 })).await;
    assert_eq!((&last["totalCount"], &last["ratePerMinute"]), (&json!(left), &json!(600_000)));
    let done = s.ended(&text(&last["id"])).await;
    assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(left)), "{done}");
    let by_recipient = s.gateway.sent_by_recipient();
    assert_eq!(by_recipient.len(), ALL, "everybody is written to");
    assert!(by_recipient.values().all(|times| *times == 1), "and nobody twice");
    let texts = s.gateway.sent().iter().filter(|sent| sent.text == "Last chance").count();
    assert_eq!(i64::try_from(texts), Ok(left));
    s.audited().await;
}));

on_both!(a_remainder_is_of_a_cancelled_send () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let done = s.send(&ids, json!({})).await;
    s.ended(&done).await;
    let asked = async |body: Value, status: u16| s.admin.post("/batch/send", &body).await.expect(status)["error"].clone();
    let error = asked(json!({ "remainderOf": "987654" }), 400).await;
    assert_eq!(error["details"], json!([{ "field": "remainderOf", "message": "no such batch" }]));
    assert_eq!(asked(json!({ "remainderOf": "x" }), 400).await["details"][0]["field"], "remainderOf");
    let both = asked(json!({ "remainderOf": done, "contactIds": ids, "content": "x" }), 400).await;
    assert_eq!(both["details"][0]["field"], "remainderOf");
    assert!(text(&asked(json!({ "remainderOf": done }), 409).await["message"]).contains("was not cancelled"));
    let import = text(&s.admin.get("/batch?type=IMPORT").await.expect(200)["data"][0]["id"]);
    assert!(text(&asked(json!({ "remainderOf": import }), 409).await["message"]).contains("sends nothing"));
    // An audience is known by name: all of it is left.
    let body = json!({ "audience": { "tagsAny": ["imported"] }, "content": "Hi", "scheduleAt": "2099-01-01T00:00:00Z" });
    let waiting = accepted(s.admin.post("/batch/send", &body).await.expect(202));
    s.admin.post(&format!("/batch/{waiting}/cancel"), &json!({})).await.expect(200);
    let rest = remainder(&s, &waiting, json!({})).await;
    assert_eq!(rest["totalCount"], json!(3));
    assert_eq!(s.ended(&text(&rest["id"])).await["successCount"], json!(3));
    // Of the other kinds the items say what was left.
    let tags = accepted(s.admin.post("/batch/tags", &json!({ "contactIds": ids, "tags": ["a"], "operation": "add" })).await.expect(202));
    let ended = s.ended(&tags).await;
    assert_eq!(ended["hint"], Value::Null, "what was not cancelled needs none");
    s.audited().await;
}));

/// Writes past the program, as a process does that is killed between its commit and what it would have published.
async fn execute(s: &Setup, sql: String) {
    match &s.runs {
        Runs::Embedded(_) => drop(s.program.execute(sql).await),
        Runs::Split(cluster) => cluster.database.execute(sql).await,
    }
}

on_both!(an_end_that_nobody_published_is_told () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(1).await;
    let token = s.program.token_for("agent").await;
    let wait = json!({ "scheduleAt": "2099-01-01T00:00:00Z" });
    let told_at_its_start = s.send(&ids, wait.clone()).await;
    let mut sockets = vec![Socket::open(&s.api().client().socket_url(&format!("/ws?token={token}"))).await];
    let another = match &s.runs {
        Runs::Embedded(_) => None,
        Runs::Split(cluster) => Some(cluster.program.elsewhere().start(&["api"]).await),
    };
    if let Some(another) = &another {
        sockets.push(Socket::open(&another.client().socket_url(&format!("/ws?token={token}"))).await);
    }
    let told_by_news = s.send(&ids, wait).await;
    for socket in &mut sockets {
        for batch in [&told_at_its_start, &told_by_news] {
            socket.wait_for("it", |f| (f["data"]["id"] == batch.as_str() && f["data"]["status"] == "PENDING").then_some(())).await;
        }
    }
    let end = "SET status = 'COMPLETED', completed_at = 1800000000000, succeeded = 1, version = version + 1";
    execute(&s, format!("UPDATE batches {end} WHERE id IN ({told_at_its_start}, {told_by_news})")).await;
    for socket in &mut sockets {
        let mut left = vec![told_at_its_start.clone(), told_by_news.clone()];
        socket.wait_for("both ends", |frame| {
            if frame["data"]["status"] == "COMPLETED" {
                left.retain(|id| frame["data"]["id"] != id.as_str());
            }
            left.is_empty().then_some(())
        }).await;
    }
}));
