//! What the tests of the queue's operators stand on.

use crate::setup::{PATIENCE, Runs, Setup, text};
use serde_json::{Value, json};
use support::eventually;

impl Setup {
    /// Runs a statement on the ledger, past the program.
    pub(crate) async fn write(&self, sql: &str) {
        match &self.runs {
            Runs::Embedded(_) => drop(self.program.execute(sql).await),
            Runs::Split(cluster) => cluster.database.execute(sql).await,
        }
    }

    /// Stops the default sender, or lets it go on.
    pub(crate) async fn stop_sender(&self, stopped: bool) {
        let act = if stopped { "pause" } else { "resume" };
        self.admin.post(&format!("/queue/senders/default/{act}"), &json!({})).await.expect(200);
    }

    /// Writes to a customer while the sender is stopped, and waits until the message's job sleeps; returns its number.
    pub(crate) async fn held_message(&self, customer: &str, content: &str) -> String {
        let known = self.jobs("kind=deliver&state=ready").await.len();
        let body = json!({ "customer_id": customer.parse::<i64>().expect("a number"), "content": content });
        self.admin.post("/messages/send", &body).await.expect(200);
        eventually("the message to be held", PATIENCE, async || {
            let found = self.jobs("kind=deliver&state=ready&error=sender_stopped&limit=200").await;
            let newest = found.iter().max_by_key(|job| text(&job["id"]).parse::<i64>().expect("a number")).cloned();
            newest.filter(|_| found.len() > known).map(|job| text(&job["id"])).ok_or(format!("{} wait", found.len()))
        })
        .await
    }

    /// A single message whose job is dead, of this error; returns the job's number.
    pub(crate) async fn dead_message(&self, customer: &str, content: &str, error: &str) -> String {
        let id = self.held_message(customer, content).await;
        let message = self.job(&id).await["payload"]["message"].to_string();
        let error = error.replace('\'', "''");
        self.write(&format!(
            "UPDATE jobs SET state = 'dead', error = '{error}', finished_at = run_at, failures = 4 WHERE id = {id}"
        ))
        .await;
        // As the death of its job leaves it.
        self.write(&format!("UPDATE messages SET status = 'unknown', error_code = 'job_dead' WHERE id = {message}"))
            .await;
        id
    }

    pub(crate) async fn jobs(&self, query: &str) -> Vec<Value> {
        let page = self.admin.get(&format!("/queue/jobs?{query}")).await.expect(200);
        page["data"].as_array().expect("a list").clone()
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        self.admin.get(&format!("/queue/jobs/{id}")).await.expect(200)["data"].clone()
    }

    /// Waits until a job is in a state.
    pub(crate) async fn job_is(&self, id: &str, state: &str) -> Value {
        eventually(&format!("job {id} to be {state}"), PATIENCE, async || {
            let job = self.job(id).await;
            if job["state"] == state { Ok(job) } else { Err(job.to_string()) }
        })
        .await
    }
}
