//! The stream: every event once, in order, whatever happens to the connection or the process.

use crate::reports::{Reporter, customer};
use crate::setup::{PATIENCE, Runs, Setup, on_both};
use futures::StreamExt;
use serde_json::json;
use std::rc::Rc;
use support::{Event, Events, Method};

on_both!(what_happens_is_told_in_order () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let mut events = Events::open(&s.admin, None).await;
    let mut other = Events::open(&s.admin, None).await;
    reporter.inbox("60123456789", "Hi", "in1").await;
    let new = events.next().await;
    let id = new.data["customer"]["id"].clone();
    assert_eq!(new.data["type"], "new_customer");
    assert_eq!(
        (&new.data["customer"]["phone"], &new.data["customer"]["last_message"], &new.data["customer"]["unread_count"]),
        (&json!("60123456789"), &json!("Hi"), &json!(1)),
    );
    let message = events.next().await;
    assert_eq!(
        (&message.data["type"], &message.data["customer_id"], &message.data["message"]["content"], &message.data["message"]["direction"]),
        (&json!("inbound_message"), &id, &json!("Hi"), &json!("inbound")),
    );
    s.admin.post("/messages/send", &json!({ "customer_id": id, "content": "Hello" })).await.expect(200);
    s.gateway.wait_for(1).await;
    let uuid = json!(s.gateway.sent()[0].id);
    let found = crate::reports::history(&s, id.as_i64().expect("a number")).await;
    let ours = found[1]["id"].clone();
    reporter.map(&uuid, "wamid.A").await;
    for ack in [2, 3] {
        reporter.ack("wamid.A", ack).await;
        let event = loop {
            let event = events.next().await;
            // The ack of being sent is told too, by whoever of the worker and the gateway came first.
            if event.data["ack"] != 1 {
                break event;
            }
        };
        assert_eq!(event.data, json!({ "type": "message_ack", "customer_id": id, "message_id": ours, "ack": ack }));
    }
    reporter.tell("/webhooks/whatsapp/seen", &json!({ "backend_message_id": uuid, "delay_ms": 1 })).await.expect(200);
    assert_eq!(events.next().await.data, json!({ "type": "message_seen", "customer_id": id }));
    reporter.inbox("60123456789", "Bye", "in2").await;
    assert_eq!(events.next().await.data["message"]["content"], "Bye");
    // Everybody is told the same under the same numbers.
    assert_eq!(other.next().await.id, new.id);
    assert_eq!(other.next().await.id, message.id);
}));

on_both!(a_stream_goes_on_without_a_gap_or_a_repeat () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Rc::new(Reporter::of(&s));
    let id = customer(&s, "60123456789").await;
    let mut events = Events::open(&s.admin, None).await;
    reporter.inbox("60123456789", "0", "in0").await;
    let mut last = events.next().await.id;
    let mut seen = vec!["0".to_owned()];
    // Cut off again and again while messages come in.
    let telling = async {
        for n in 1..=120 {
            reporter.inbox("60123456789", &n.to_string(), &format!("in{n}")).await;
        }
    };
    let watching = async {
        while seen.len() < 121 {
            let mut events = Events::open(&s.admin, Some(last)).await;
            for _ in 0..7 {
                if seen.len() == 121 {
                    break;
                }
                let event = events.next().await;
                assert!(event.id > last, "{event:?} after {last}");
                last = event.id;
                seen.push(event.data["message"]["content"].as_str().expect("a text").to_owned());
            }
        }
    };
    tokio::join!(telling, watching);
    assert_eq!(seen, (0..=120).map(|n: i32| n.to_string()).collect::<Vec<_>>());
    let _ = id;
}));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_at_another_process_and_after_a_kill() {
    let mut s = Setup::split(&[]).await;
    customer(&s, "60123456789").await;
    let mut events = Events::open(&s.admin, None).await;
    Reporter::of(&s).inbox("60123456789", "1", "in1").await;
    let last = events.next().await.id;
    Reporter::of(&s).inbox("60123456789", "2", "in2").await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!("it was started split") };
    cluster.api.kill9().await;
    cluster.api.relaunch().await;
    let token = s.program.token_for("admin").await;
    s.admin = s.api().client().with_token(token);
    Reporter::of(&s).inbox("60123456789", "3", "in3").await;
    let mut events = Events::open(&s.admin, Some(last)).await;
    assert_eq!(events.next().await.data["message"]["content"], "2");
    assert_eq!(events.next().await.data["message"]["content"], "3");
}

on_both!(a_stream_ends_with_its_session () |s: Rc<Setup>| Box::pin(async move {
    let user = s.program.user("agent").await;
    let login = json!({ "email": user.email, "password": user.password });
    let session = s.api().client().post("/api/v1/auth/login", &login).await.expect(200);
    let token = session["data"]["token"].as_str().expect("a token");
    // As `EventSource` does: it cannot send headers.
    let anyone = s.api().client();
    let path = format!("/messages/events/stream?token={token}");
    let events = Events::begin(&anyone, anyone.request(Method::GET, &path)).await;
    anyone.with_token(token).post("/api/v1/auth/logout", &json!({})).await.expect(200);
    events.end().await;
    anyone.get(&path).await.expect(401);
}));

/// Writes past the program.
async fn execute(s: &Setup, sql: String) {
    match &s.runs {
        Runs::Embedded(_) => drop(s.program.execute(sql).await),
        Runs::Split(cluster) => cluster.database.execute(sql).await,
    }
}

async fn number(s: &Setup, sql: &str) -> i64 {
    match &s.runs {
        Runs::Embedded(_) => s.program.number(sql).await,
        Runs::Split(cluster) => cluster.database.number(sql).await,
    }
}

/// A stream that begins with a `reset`, and what it says.
async fn reset(s: &Setup, last: &str) -> (Events, Event) {
    let request = s.admin.request(Method::GET, "/messages/events/stream").header("last-event-id", last);
    let mut events = Events::begin(&s.admin, request).await;
    let first = events.next().await;
    assert_eq!(first.data["type"], "reset", "{first:?}");
    (events, first)
}

on_both!(a_campaign_does_not_push_out_what_people_wrote () |s: Rc<Setup>| Box::pin(async move {
    // Two events for each of them: more than were ever kept of all.
    const READERS: usize = 1_100;
    let reporter = Reporter::of(&s);
    let customer = customer(&s, "60123456789").await;
    let mut events = Events::open(&s.admin, None).await;
    reporter.inbox("60123456789", "before", "in0").await;
    let seen = events.next().await.id;
    reporter.inbox("60123456789", "meanwhile", "in1").await;
    let ids = s.contacts(READERS).await;
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    let messages: Vec<String> = s.gateway.sent().iter().map(|sent| sent.id.clone()).collect();
    futures::stream::iter(messages)
        .for_each_concurrent(32, async |id| {
            let seen = json!({ "backend_message_id": id, "delay_ms": 1 });
            reporter.tell("/webhooks/whatsapp/seen", &seen).await.expect(200);
        })
        .await;
    reporter.inbox("60123456789", "after", "in2").await;
    let mut events = Events::open(&s.admin, Some(seen)).await;
    let meanwhile = events.next().await;
    assert_eq!(meanwhile.data["message"]["content"], "meanwhile", "{meanwhile:?}");
    // And of the receipts none is missing.
    let (mut last, mut receipts) = (meanwhile.id, 0);
    let after = loop {
        let event = events.next().await;
        assert!(event.id > last && event.data["type"] != "reset", "{event:?} after {last}");
        last = event.id;
        match event.data["type"].as_str() {
            Some("message_ack" | "message_seen") => receipts += 1,
            _ => break event,
        }
    };
    assert_eq!((&after.data["message"]["content"], receipts), (&json!("after"), 2 * READERS));
    assert_eq!(after.data["customer_id"], json!(customer));
}));

on_both!(who_comes_from_an_id_that_was_never_given_is_told_so () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    customer(&s, "60123456789").await;
    reporter.inbox("60123456789", "before", "in0").await;
    let newest = number(&s, "SELECT max(id) FROM domain_events").await;
    for (nth, unknown) in ["9000000000", "9223372036854775807", "99999999999999999999", "-1", "evt_1"].iter().enumerate() {
        let (mut events, first) = reset(&s, unknown).await;
        assert_eq!(first.data, json!({ "type": "reset", "missed": "all", "reason": "unknown_id" }), "{unknown}");
        assert_eq!(first.id, newest + i64::try_from(nth).expect("small"), "it comes again from here");
        reporter.inbox("60123456789", &format!("after {unknown}"), &format!("in-{unknown}")).await;
        let next = events.next().await;
        assert_eq!(next.data["message"]["content"], format!("after {unknown}"));
        // Whoever comes again from there has missed nothing.
        let mut again = Events::open(&s.admin, Some(first.id)).await;
        assert_eq!(again.next().await.id, next.id);
    }
}));

on_both!(people_are_bounded_by_count () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let customer = customer(&s, "60123456789").await;
    reporter.inbox("60123456789", "0", "in0").await;
    let newest = number(&s, "SELECT max(id) FROM domain_events").await;
    // All of them but the last, as if they had come one by one; every thousandth throws the oldest away.
    execute(&s, format!(
        "WITH RECURSIVE n(i) AS (SELECT {} UNION ALL SELECT i + 1 FROM n WHERE i < 11999)
         INSERT INTO domain_events (contact_id, event, created_at)
         SELECT {customer}, (SELECT event FROM domain_events WHERE id = {newest}), (SELECT max(created_at) FROM domain_events) FROM n",
        newest + 1
    )).await;
    assert_eq!(number(&s, "SELECT max(id) FROM domain_events").await, 11_999);
    reporter.inbox("60123456789", "last", "in1").await;
    assert_eq!(number(&s, "SELECT count(*) FROM domain_events").await, 10_000);
    let (mut events, first) = reset(&s, &newest.to_string()).await;
    assert_eq!((&first.data["missed"], &first.data["reason"]), (&json!("all"), &json!("too_old")));
    assert_eq!(first.id, 12_000);
    // The oldest that is kept follows what was thrown away: from there on nothing is missing.
    let mut kept = Events::open(&s.admin, Some(2_000)).await;
    assert_eq!(kept.next().await.id, 2_001);
    reporter.inbox("60123456789", "now", "in2").await;
    assert_eq!(events.next().await.data["message"]["content"], "now");
}));

on_both!(who_missed_receipts_alone_keeps_what_people_wrote () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    customer(&s, "60123456789").await;
    let mut events = Events::open(&s.admin, None).await;
    reporter.inbox("60123456789", "0", "in0").await;
    let seen = events.next().await.id;
    reporter.inbox("60123456789", "1", "in1").await;
    reporter.inbox("60123456789", "2", "in2").await;
    execute(&s, format!("UPDATE domain_events_pruned SET pruned_to = {} WHERE bulk", seen + 1)).await;
    let (mut events, first) = reset(&s, &seen.to_string()).await;
    assert_eq!(first.data, json!({ "type": "reset", "missed": "receipts", "reason": "too_old" }));
    assert_eq!(first.id, seen, "whoever is cut off here still gets what people wrote");
    for content in ["1", "2"] {
        assert_eq!(events.next().await.data["message"]["content"], content);
    }
    let mut events = Events::open(&s.admin, Some(seen + 1)).await;
    assert_eq!(events.next().await.data["message"]["content"], "2", "nothing was missed from here");
}));

async fn old_events_go(mut s: Setup) {
    customer(&s, "60123456789").await;
    let reporter = Reporter::of(&s);
    let mut events = Events::open(&s.admin, None).await;
    reporter.inbox("60123456789", "0", "in0").await;
    let seen = events.next().await.id;
    reporter.inbox("60123456789", "1", "in1").await;
    let newest = events.next().await.id;
    execute(&s, "UPDATE domain_events SET created_at = 0".into()).await;
    // It is done at the start, and every minute.
    match &mut s.runs {
        Runs::Embedded(serve) => {
            serve.kill9().await;
            serve.restart().await;
        }
        Runs::Split(cluster) => cluster.scheduler.restart().await,
    }
    s.admin = s.api().client().with_token(s.program.token_for("admin").await);
    support::eventually("the old events to be gone", PATIENCE, async || {
        match number(&s, "SELECT count(*) FROM domain_events").await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    let (mut events, first) = reset(&s, &seen.to_string()).await;
    assert_eq!((&first.data["reason"], first.id), (&json!("too_old"), newest));
    // Nothing is there any more, and who had seen all of it has missed nothing.
    let mut all_seen = Events::open(&s.admin, Some(newest)).await;
    Reporter::of(&s).inbox("60123456789", "2", "in2").await;
    for events in [&mut events, &mut all_seen] {
        let next = events.next().await;
        assert_eq!((&next.data["message"]["content"], next.id > newest), (&json!("2"), true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_go_embedded() {
    old_events_go(Setup::embedded(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_go_split() {
    old_events_go(Setup::split(&[]).await).await;
}

on_both!(a_contact_that_is_deleted_makes_nobody_begin_anew () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let gone = customer(&s, "60123456789").await;
    customer(&s, "60123456780").await;
    let mut live = Events::open(&s.admin, None).await;
    reporter.inbox("60123456789", "the last word", "in0").await;
    let seen = live.next().await.id;
    let delete = json!({ "contactIds": [gone.to_string()] });
    let batch = s.admin.post("/batch/delete", &delete).await.expect(202)["data"]["id"].clone();
    s.ended(batch.as_str().expect("an id")).await;
    assert_eq!(number(&s, &format!("SELECT count(*) FROM domain_events WHERE id = {seen}")).await, 0);
    let mut again = Events::open(&s.admin, Some(seen)).await;
    reporter.inbox("60123456780", "another", "in1").await;
    for events in [&mut live, &mut again] {
        assert_eq!(events.next().await.data["message"]["content"], "another");
    }
}));
