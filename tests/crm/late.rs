//! Messages that come late stand where they belong.

use crate::reports::{Reporter, customer, history};
use crate::setup::{Setup, on_both};
use serde_json::{Value, json};
use std::rc::Rc;

fn contents(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|message| message["content"].as_str()).collect()
}

async fn wrote(reporter: &Reporter, content: &str, at: &str) {
    let body =
        json!({ "phone": "60123456789", "content": content, "timestamp": at, "whatsapp_id": format!("w {content}") });
    reporter.tell("/messages/inbox", &body).await.expect(200);
}

async fn summary(s: &Setup) -> Value {
    s.admin.get("/customers/summary").await.expect(200)[0].clone()
}

on_both!(a_late_message_stands_at_its_own_time () |s: Rc<Setup>| Box::pin(async move {
    let id = customer(&s, "60123456789").await;
    let reporter = Reporter::of(&s);
    wrote(&reporter, "third", "2026-03-01T10:03:00Z").await;
    wrote(&reporter, "first", "2026-03-01T10:01:00Z").await;
    wrote(&reporter, "fourth", "2026-03-01T10:04:00Z").await;
    wrote(&reporter, "second", "2026-03-01T10:02:00Z").await;
    // Two of one moment keep the order in which they came.
    wrote(&reporter, "fourth again", "2026-03-01T10:04:00Z").await;
    let order = ["first", "second", "third", "fourth", "fourth again"];
    let all = history(&s, id).await;
    assert_eq!(contents(&all), order);
    let last = summary(&s).await;
    assert_eq!(last["last_message"], "fourth again", "not the one that came last");
    assert_eq!(last["last_timestamp"], all[4]["timestamp"]);
    assert_eq!(last["unread_count"], 5);

    // Page by page, both ways, each message once.
    let page = async |query: String| {
        let list = s.admin.get(&format!("/messages/{id}?{query}")).await.expect(200);
        list.as_array().expect("a list").clone()
    };
    for limit in 1..=4 {
        let (mut forwards, mut after) = (Vec::new(), 0);
        loop {
            let list = page(format!("limit={limit}&after={after}")).await;
            let Some(last) = list.last() else { break };
            after = last["id"].as_i64().expect("an id");
            forwards.extend(list);
        }
        assert_eq!(contents(&forwards), order, "forwards by {limit}");
        let (mut backwards, mut before) = (Vec::new(), i64::from(u32::MAX));
        loop {
            let list = page(format!("limit={limit}&before={before}")).await;
            let Some(first) = list.first() else { break };
            before = first["id"].as_i64().expect("an id");
            backwards.splice(0..0, list);
        }
        assert_eq!(contents(&backwards), order, "backwards by {limit}");
    }
}));

on_both!(a_late_message_is_unread_and_opens_a_resolved_conversation () |s: Rc<Setup>| Box::pin(async move {
    let id = customer(&s, "60123456789").await;
    let reporter = Reporter::of(&s);
    wrote(&reporter, "early", "2026-03-01T10:00:00Z").await;
    wrote(&reporter, "newest", "2026-03-01T12:00:00Z").await;
    let read = format!("/customers/{id}/read");
    s.admin.post(&read, &json!({})).await.expect(200);
    assert_eq!(summary(&s).await["unread_count"], 0);
    resolve(&s).await;
    wrote(&reporter, "late", "2026-03-01T11:00:00Z").await;
    let found = summary(&s).await;
    assert_eq!((&found["last_message"], &found["unread_count"]), (&json!("newest"), &json!(1)));
    assert_eq!(number(&s, "SELECT count(*) FROM conversations WHERE status = 'open' AND resolved_at IS NULL").await, 1);
    // The one that came late is the one that was not read.
    let unread = "SELECT count(*) FROM messages WHERE content = 'late' AND read_at IS NULL";
    assert_eq!(number(&s, unread).await, 1);
    s.admin.post(&read, &json!({})).await.expect(200);
    assert_eq!(number(&s, unread).await, 0);
    assert_eq!(summary(&s).await["unread_count"], 0);
}));

async fn number(s: &Setup, sql: &str) -> i64 {
    match &s.runs {
        crate::setup::Runs::Embedded(_) => s.program.number(sql).await,
        crate::setup::Runs::Split(cluster) => cluster.database.number(sql).await,
    }
}

async fn resolve(s: &Setup) {
    let sql = "UPDATE conversations SET status = 'resolved', resolved_at = 1";
    match &s.runs {
        crate::setup::Runs::Embedded(_) => drop(s.program.execute(sql).await),
        crate::setup::Runs::Split(cluster) => cluster.database.execute(sql).await,
    }
}
