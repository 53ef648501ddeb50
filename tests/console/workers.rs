//! What operators ask of workers while they run.

use crate::setup::{PATIENCE, Runs, SECRET, Setup, on_both, text};
use crate::visitor::{browser_of, nothing_went_wrong, violations};
use serde_json::{Value, json};
use std::rc::Rc;
use support::{Cluster, Gateway, eventually};

async fn workers(s: &Setup) -> Vec<Value> {
    s.admin.get("/queue/workers").await.expect(200)["data"].as_array().expect("a list").clone()
}

/// Waits until a worker does what is asked of it.
async fn obeys(s: &Setup, name: &str, so: impl Fn(&Value) -> bool) -> Value {
    eventually("the worker to obey", PATIENCE, async || {
        let found = workers(s).await.into_iter().find(|worker| worker["name"] == name).ok_or("it is gone")?;
        if found["obeyedAt"].is_string() && so(&found) { Ok(found) } else { Err(found.to_string()) }
    })
    .await
}

on_both!(a_worker_is_drained_and_let_go_on_and_its_lanes_are_changed () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(4).await;
    let name = text(&workers(&s).await[0]["name"]);
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/workers", s.api().url())).await;
    page.leading(page.click("form[action$='/drain'] button")).await;
    assert!(page.text(".done").await.contains("takes no new jobs"));
    obeys(&s, &name, |worker| worker["draining"] == true).await;
    crate::live::shows(&page, "#now", "No worker takes jobs").await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    let batch = s.send(&ids, json!({})).await;
    // It is the only worker. Its next sign of life comes seconds later, and nobody has taken the batch by then.
    let made = text(&s.get(&batch).await["createdAt"]);
    obeys(&s, &name, |worker| worker["seenAt"].as_str().is_some_and(|seen| seen > made.as_str())).await;
    assert_eq!(s.get(&batch).await["status"], "PENDING", "nobody takes it");
    page.leading(page.key("u")).await;
    assert!(page.text(".done").await.contains("takes jobs again"));
    let done = s.ended(&batch).await;
    assert_eq!(done["successCount"], 4);

    page.click(&format!("#places-{name} summary")).await;
    page.fill(&format!("#bulk-{name}"), "3").await;
    page.leading(page.key("Enter")).await;
    let found = obeys(&s, &name, |worker| worker["places"]["bulk"] == 3).await;
    assert_eq!((&found["places"]["critical"], &found["places"]["default"]), (&json!(16), &json!(4)));
    page.leading(page.key("u")).await;
    obeys(&s, &name, |worker| worker["places"]["bulk"] == 8).await;
    for bad in ["0", "1001", "x"] {
        let answer = s.admin.patch(&format!("/queue/workers/{name}"), &json!({ "bulk": bad })).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text);
    }
    s.admin.post("/queue/workers/nobody/drain", &json!({})).await.expect(404);
    nothing_went_wrong(&page);
}));

/// Over several processes: what one of them is asked for is that one's, and what it has is finished.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_workers_the_drained_one_finishes_what_it_has_and_the_other_does_the_rest() {
    let gateway = Gateway::start().await;
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_paceline")).workers(2).gateway(&gateway);
    for (name, value) in [("LIMIT_BATCH_PER_MIN", "0"), ("LIMIT_GENERAL_PER_MIN", "0"), ("SENDER_RATE_PER_MIN", "0")] {
        cluster = cluster.env(format!("PACELINE_{name}"), value);
    }
    let cluster = cluster.env("PACELINE_GATEWAY_SECRET", SECRET).start().await;
    let admin = cluster.client("admin").await;
    let program = cluster.program.clone();
    let s = Setup { gateway, admin, program, runs: Runs::Split(Box::new(cluster)) };
    let ids = s.contacts(40).await;
    let names: Vec<String> = workers(&s).await.iter().map(|worker| text(&worker["name"])).collect();
    assert_eq!(names.len(), 2);
    s.admin.post(&format!("/queue/workers/{}/drain", names[0]), &json!({})).await.expect(200);
    obeys(&s, &names[0], |worker| worker["draining"] == true).await;
    let batches: Vec<String> = {
        let mut batches = Vec::new();
        for some in ids.chunks(10) {
            batches.push(s.send(some, json!({ "ratePerMinute": 600 })).await);
        }
        batches
    };
    for batch in &batches {
        s.wait(batch, "its start", |batch| batch["status"] != "PENDING").await;
        let held =
            workers(&s).await.into_iter().find(|worker| worker["name"] == names[0].as_str()).expect("it is there");
        assert_eq!(held["jobs"], json!([]), "it takes none");
    }
    // The other is drained while it works: it finishes, and nobody loses anything.
    s.admin.post(&format!("/queue/workers/{}/resume", names[0]), &json!({})).await.expect(200);
    s.admin.post(&format!("/queue/workers/{}/drain", names[1]), &json!({})).await.expect(200);
    for batch in &batches {
        assert_eq!(s.ended(batch).await["successCount"], 10);
    }
    assert_eq!(s.gateway.sent_count(), 40);
    s.audited().await;
    // A process that starts anew is by its configuration.
    let Runs::Split(mut cluster) = s.runs else { unreachable!("it is split") };
    for worker in &mut cluster.workers {
        worker.restart().await;
    }
    eventually("two workers that take jobs", PATIENCE, async || {
        let found = cluster.client("admin").await.get("/queue/workers").await.expect(200);
        let taking = found["data"].as_array().expect("a list").iter();
        let taking = taking.filter(|worker| worker["draining"] == false && !names.contains(&text(&worker["name"])));
        if taking.count() == 2 { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}
