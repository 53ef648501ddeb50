//! Rows that nobody can read stop nothing but themselves.

use crate::setup::{Runs, Setup, on_both, text};
use serde_json::json;
use std::rc::Rc;

/// Writes past the program.
async fn damage(s: &Setup, sql: &'static str) {
    match &s.runs {
        Runs::Embedded(_) => drop(s.program.execute(sql).await),
        Runs::Split(cluster) => cluster.database.execute(sql).await,
    }
}

on_both!(a_row_that_cannot_be_read_fails_its_chunk_alone () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(8).await;
    let mut damaged = Vec::new();
    for sql in [
        "UPDATE batch_chunks SET data = 'rubbish' WHERE batch_id = (SELECT max(id) FROM batches)",
        "UPDATE jobs SET payload = 'rubbish' WHERE batch_id = (SELECT max(id) FROM batches)",
    ] {
        // Scheduled, so that nobody is at work on it when it is damaged.
        let batch = s.send(&ids[..4], json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
        damage(&s, sql).await;
        let created = text(&s.get(&batch).await["createdAt"]);
        s.admin.patch(&format!("/batch/{batch}"), &json!({ "scheduleAt": created })).await.expect(200);
        damaged.push(batch);
    }
    let healthy = s.send(&ids[4..], json!({})).await;
    assert_eq!(s.ended(&healthy).await["successCount"], json!(4));
    for batch in damaged {
        let done = s.ended(&batch).await;
        assert_eq!((&done["status"], &done["successCount"]), (&json!("FAILED"), &json!(0)), "{done}");
    }
    s.audited().await;
}));
