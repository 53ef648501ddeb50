//! Whether everything that was accepted came to its end, once: the ledger with itself, with its users and with the
//! gateway, id by id.

use super::gateway::Gateway;
use super::load::Users;
use crate::rig::Setup;
use anyhow::{Result, bail};
use domain::{Clock, Db, batches, db};
use reqwest::Method;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

/// What the soak found.
#[derive(Debug, Default)]
pub(super) struct AuditReport {
    batches: BTreeMap<String, u64>,
    items: BTreeMap<String, u64>,
    taken: usize,
    repeats: u64,
    most_attempts: u32,
    refused: BTreeMap<String, usize>,
    unanswered: usize,
    dead_jobs: i64,
    /// What must never be.
    pub(super) findings: Vec<String>,
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            counts.iter().map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "batches: {}", list(&self.batches))?;
        writeln!(f, "items: {}", list(&self.items))?;
        writeln!(
            f,
            "gateway: {} messages taken, each once; {} asked for again under their id, {} times at most",
            self.taken, self.repeats, self.most_attempts
        )?;
        for (why, times) in &self.refused {
            writeln!(f, "refused: {times} times {why}")?;
        }
        writeln!(f, "requests that were never answered: {}; dead jobs: {}", self.unanswered, self.dead_jobs)?;
        if self.findings.is_empty() {
            write!(f, "ok: nothing is lost, nothing was sent twice, and all counts agree")?;
        }
        for finding in &self.findings {
            write!(f, "\nFAIL  {finding}")?;
        }
        Ok(())
    }
}

/// Resumes what users paused and forgot.
pub(super) async fn resume_all(setup: &Setup, db: &Db) -> Result<()> {
    for row in db::all(db.read(), "SELECT id FROM batches WHERE paused AND completed_at IS NULL", []).await? {
        let id: i64 = row.try_get("", "id")?;
        setup.request(Method::POST, &format!("/batch/{id}/resume")).send().await?.error_for_status()?;
    }
    Ok(())
}

/// Waits until no batch and no job is under way.
pub(super) async fn all_ended(db: &Db, patience: Duration) -> Result<()> {
    let began = Instant::now();
    let sql = "SELECT (SELECT count(*) FROM batches WHERE completed_at IS NULL) AS batches,
                      (SELECT count(*) FROM jobs WHERE state IN ('ready', 'running', 'paused', 'parked')) AS jobs";
    loop {
        let Some(row) = db::one(db.read(), sql, []).await? else { bail!("a count gave no row") };
        let (batches, jobs): (i64, i64) = (row.try_get("", "batches")?, row.try_get("", "jobs")?);
        if batches == 0 && jobs == 0 {
            return Ok(());
        }
        if began.elapsed() > patience {
            bail!("{batches} batches and {jobs} jobs are still under way after {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Compares everything with everything.
pub(super) async fn audit(db: &Db, gateway: &Gateway, users: &Users) -> Result<AuditReport> {
    let clock = Clock::machine();
    clock.correct(db.now().await?);
    let found = batches::audit(db.read(), clock.now(), 100).await?;
    let mut report =
        AuditReport { findings: found.iter().map(ToString::to_string).collect(), ..AuditReport::default() };
    report.unanswered = users.unanswered;
    for why in &users.refused {
        *report.refused.entry(why.clone()).or_default() += 1;
    }

    let mut known = HashSet::new();
    for row in db::all(db.read(), "SELECT id, type, status FROM batches", []).await? {
        known.insert(row.try_get::<i64>("", "id")?.to_string());
        let (kind, status): (String, String) = (row.try_get("", "type")?, row.try_get("", "status")?);
        *report.batches.entry(format!("{} {}", kind.to_lowercase(), status.to_lowercase())).or_default() += 1;
    }
    let accepted: HashSet<&String> = users.accepted.iter().collect();
    if accepted.len() != users.accepted.len() {
        report.findings.push("two requests with keys of their own were given the same batch".into());
    }
    for id in accepted {
        if !known.contains(id) {
            report.findings.push(format!("batch {id} was accepted and is not there"));
        }
    }
    // The first import and its tags, and what was asked for without an answer.
    let more = known.len().saturating_sub(users.accepted.len() + 2);
    if more > users.unanswered {
        report.findings.push(format!("{more} batches are there that nobody was told of"));
    }

    let sql = "SELECT item_status AS status, CAST(uuid AS TEXT) AS message_id FROM messages WHERE seq IS NOT NULL";
    let mut by_ledger = HashMap::new();
    for row in db::all(db.read(), sql, []).await? {
        let status: String = row.try_get("", "status")?;
        *report.items.entry(status.clone()).or_default() += 1;
        if let Some(id) = row.try_get::<Option<String>>("", "message_id")? {
            by_ledger.insert(id, status);
        }
    }
    let messages = gateway.messages();
    for (id, message) in &messages {
        report.taken += usize::from(message.taken);
        report.repeats += u64::from(message.repeats);
        report.most_attempts = report.most_attempts.max(message.attempts);
        match by_ledger.get(id).map(String::as_str) {
            None => report.findings.push(format!("the gateway was asked for {id}, and the ledger knows nothing of it")),
            Some("succeeded") if !message.taken => {
                report.findings.push(format!("message {id} is succeeded, and the gateway never took it"));
            }
            Some("succeeded" | "unknown") => {}
            Some(status) if message.taken => {
                report.findings.push(format!("message {id} is {status}, and the gateway took it"));
            }
            Some(_) => {}
        }
    }
    for (id, status) in &by_ledger {
        if status == "succeeded" && !messages.contains_key(id) {
            report.findings.push(format!("message {id} is succeeded, and the gateway never heard of it"));
        }
    }
    let dead = db::one(db.read(), "SELECT count(*) AS n FROM jobs WHERE state = 'dead'", []).await?;
    report.dead_jobs = dead.map_or(Ok(0), |row| row.try_get("", "n"))?;
    Ok(report)
}
