//! Labels.

use crate::setup::{Setup, on_both};
use crate::{execute, fields};
use serde_json::{Value, json};
use std::rc::Rc;

const LABELS: &str = "/api/v1/labels";

async fn titles(s: &Setup) -> Vec<String> {
    let labels = s.admin.get(LABELS).await.expect(200)["data"]["labels"].clone();
    let title = |label: &Value| label["title"].as_str().expect("a title").to_owned();
    labels.as_array().expect("a list").iter().map(title).collect()
}

on_both!(a_label_is_made_once_whatever_its_case () |s: Rc<Setup>| Box::pin(async move {
    assert!(titles(&s).await.is_empty());
    let agent = s.api().client().with_token(s.program.token_for("agent").await);
    let made = agent.post(LABELS, &json!({ "title": "  Big   order ", "color": "#D73A4A" })).await.expect(201);
    let label = &made["data"]["label"];
    assert_eq!((&label["title"], &label["color"]), (&json!("Big order"), &json!("#d73a4a")), "{made}");
    assert!(label["id"].is_i64() && label["created_at"].is_string(), "{made}");
    let again = agent.post(LABELS, &json!({ "title": "big ORDER" })).await.expect(409);
    assert_eq!(again["error"]["code"], "CONFLICT", "{again}");
    let plain = s.admin.post(LABELS, &json!({ "title": "退款", "color": null })).await.expect(201);
    assert_eq!(plain["data"]["label"]["color"], "#1f6feb", "{plain}");
    s.admin.post(LABELS, &json!({ "title": "apology" })).await.expect(201);
    assert_eq!(titles(&s).await, ["apology", "Big order", "退款"], "by title");
    // A guest looks on.
    let guest = s.api().client().with_token(s.program.token_for("guest").await);
    assert_eq!(guest.get(LABELS).await.expect(200)["data"]["labels"].as_array().map(Vec::len), Some(3));
    guest.post(LABELS, &json!({ "title": "mine" })).await.expect(403);
}));

on_both!(a_bad_label_is_refused_whole () |s: Rc<Setup>| Box::pin(async move {
    for (body, expected) in [
        (json!({}), vec!["title"]),
        (json!({ "title": " ", "color": "red" }), vec!["title", "color"]),
        (json!({ "title": "x".repeat(51) }), vec!["title"]),
        (json!({ "title": 5, "color": "#fff" }), vec!["title", "color"]),
        (json!({ "title": "fine", "colour": "#ffffff" }), vec!["colour"]),
    ] {
        let refused = s.admin.post(LABELS, &body).await.expect(400);
        assert_eq!(fields(&refused), expected, "{body} {refused}");
        assert!(refused["request_id"].is_string(), "{refused}");
    }
    assert!(titles(&s).await.is_empty(), "nothing was written");
    // There may be so many, and no more.
    let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                  INSERT INTO labels (title, key, color, created_by, created_at)
                  SELECT 'l' || i, 'l' || i, '#1f6feb', 1, 1 FROM n";
    execute(&s, insert).await;
    assert_eq!(titles(&s).await.len(), 500);
    s.admin.post(LABELS, &json!({ "title": "one more" })).await.expect(409);
}));
