//! A gateway that does not work: its circuit opens, nothing is used up, and all goes on when it is back.

use crate::setup::{PATIENCE, Setup, on_both};
use serde_json::json;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Reply, eventually};

/// Messages in flight at once, by default.
const IN_FLIGHT: usize = 64;

/// Waits until the sender's circuit is open and its gateway was tried out a few times in vain.
async fn opened(s: &Setup) {
    let doctor = async || String::from_utf8_lossy(&s.program.output(&["doctor"], "").await.stdout).into_owned();
    eventually("the circuit to open", PATIENCE, async || {
        let said = doctor().await;
        if said.contains("FAIL  sender       default: messages wait:") { Ok(()) } else { Err(said) }
    })
    .await;
    s.gateway.wait_for_attempts(s.gateway.attempts().len() + 2).await;
}

/// How often each message was asked for.
fn attempts(s: &Setup) -> HashMap<String, usize> {
    s.gateway.attempts().into_iter().fold(HashMap::new(), |mut seen, attempt| {
        *seen.entry(attempt.id).or_default() += 1;
        seen
    })
}

on_both!(a_gateway_that_answers_500_is_left_alone () |s: Rc<Setup>| Box::pin(async move {
    let works = Arc::new(AtomicBool::new(false));
    let works_now = works.clone();
    s.gateway.script(move |_| if works_now.load(Ordering::SeqCst) { Reply::accept() } else { Reply::status(500) });
    let ids = s.contacts(700).await;
    let batch = s.send(&ids, json!({})).await;
    opened(&s).await;
    // Those in flight when it broke, and one now and then since: not each of the 700, four times.
    let seen = s.gateway.attempts().len();
    assert!(seen <= IN_FLIGHT * 2, "{seen} attempts at a gateway that does not work");
    assert_eq!(s.get(&batch).await["failedCount"], json!(0));
    works.store(true, Ordering::SeqCst);
    let done = s.ended(&batch).await;
    assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(700)), "{done}");
    assert!(attempts(&s).values().all(|n| *n <= 4), "no message was asked for more often than it may fail");
    assert_eq!(s.gateway.sent().len(), 700);
    s.audited().await;
}));

on_both!(a_message_that_nobody_takes_does_not_stop_the_others () |s: Rc<Setup>| Box::pin(async move {
    // Eight of them, one after the other: more failures in a row than a circuit takes, but with successes in between.
    s.gateway.script(|attempt| if attempt.to.ends_with('7') { Reply::status(500) } else { Reply::accept() });
    let ids = s.contacts(80).await;
    let batch = s.send(&ids, json!({})).await;
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(72), &json!(8)), "{done}");
    assert!(s.items(&batch).await.iter().filter(|i| i["status"] == "failed").all(|i| i["errorCode"] == "gateway_500"));
    s.audited().await;
}));

on_both!(an_answer_that_never_comes_is_settled_by_the_same_id () |s: Rc<Setup>| Box::pin(async move {
    // Taken, and no word of it: for every message that was under way when it began.
    let works = Arc::new(AtomicBool::new(false));
    let works_now = works.clone();
    s.gateway.script(move |_| match works_now.load(Ordering::SeqCst) {
        true => Reply::accept(),
        false => Reply::close().taking_effect(),
    });
    let ids = s.contacts(200).await;
    let batch = s.send(&ids, json!({})).await;
    opened(&s).await;
    works.store(true, Ordering::SeqCst);
    let done = s.ended(&batch).await;
    assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(200)), "{done}");
    assert_eq!(s.gateway.sent().len(), 200, "a repeat under the same id sends nothing");
    s.audited().await;
}));
