//! The processes that are measured.

use crate::config::Config;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// How long one measurement may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// A Paceline of one kind: its processes, and somebody who is signed in.
pub(super) struct Setup {
    processes: Vec<(&'static str, Child)>,
    url: String,
    token: String,
    client: reqwest::Client,
    dir: tempfile::TempDir,
}

impl Setup {
    /// Starts the processes: one, or one for each role.
    pub(super) async fn start(config: &Config, name: &str, gateway: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut env = vec![
            ("PACELINE_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("PACELINE_DATA_DIR".into(), dir.path().display().to_string()),
            ("PACELINE_GATEWAY_URL".into(), gateway.to_owned()),
            ("PACELINE_GATEWAY_SECRET".into(), "bench".into()),
            ("PACELINE_JWT_SECRET".into(), "a secret for the processes of one measurement".into()),
            ("PACELINE_LIMIT_BATCH_PER_MIN".into(), "0".into()),
            ("PACELINE_LIMIT_GENERAL_PER_MIN".into(), "0".into()),
            ("PACELINE_SENDER_RATE_PER_MIN".into(), "0".into()),
            ("PACELINE_SEND_CONCURRENCY".into(), super::CONCURRENCY.to_string()),
            ("PACELINE_LOG_LEVEL".into(), "warn".into()),
        ];
        if name == "split" {
            let (Some(database), Some(redis)) = (&config.database_url, &config.redis_url) else {
                bail!("the split set-up needs PACELINE_DATABASE_URL and PACELINE_REDIS_URL");
            };
            env.push(("PACELINE_DATABASE_URL".into(), database.expose().to_owned()));
            env.push(("PACELINE_REDIS_URL".into(), redis.expose().to_owned()));
        }
        let command = |args: &[&str]| -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            // Only what is set here: the surroundings' configuration is not what is measured.
            for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("PACELINE_")) {
                command.env_remove(key);
            }
            command.args(args).envs(env.clone()).current_dir(dir.path()).kill_on_drop(true);
            Ok(command)
        };
        output(command(&["migrate", "up"])?, "").await?;
        let email = format!("bench-{}@localhost", std::process::id());
        let made = output(
            command(&["user", "add", "--email", &email, "--role", "admin", "--password-stdin"])?,
            "a password for the bench\n",
        );
        // A database that was measured before has the user.
        drop(made.await);
        let token = output(command(&["token", "--email", &email])?, "").await?;
        let roles: &[&'static str] = if name == "split" { &["worker", "scheduler", "api"] } else { &["serve"] };
        let mut processes = Vec::new();
        let mut url = String::new();
        for role in roles {
            let mut child = command(&[role])?.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
            let stdout = child.stdout.take().context("no standard output")?;
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once("listening on ") {
                    url = address.to_owned();
                    break;
                }
                if line == "started" {
                    break;
                }
            }
            // Whatever else it prints must not fill the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            processes.push((*role, child));
        }
        if url.is_empty() {
            bail!("the API did not start");
        }
        Ok(Self { processes, url, token, client: reqwest::Client::builder().no_proxy().build()?, dir })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Posts a batch; its id.
    pub(super) async fn post(&self, path: &str, body: String) -> Result<String> {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer: Value = request.header("content-type", "application/json").body(body).send().await?.json().await?;
        let id = answer["data"]["id"].as_str().with_context(|| format!("{path} was refused: {answer}"))?;
        Ok(id.to_owned())
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Waits for a batch's end.
    pub(super) async fn ended(&self, id: &str) -> Result<Value> {
        let began = Instant::now();
        loop {
            let status = self.get(&format!("/batch/{id}/status")).await?;
            if status["data"]["completedAt"].is_string() {
                return Ok(status["data"].clone());
            }
            if began.elapsed() > PATIENCE {
                bail!("batch {id} did not end: {status}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The first contact of the newest import that succeeded, and how many that import made.
    pub(super) async fn contacts(&self) -> Result<(usize, usize)> {
        let imports = self.get("/batch?type=IMPORT&limit=1").await?;
        let newest = &imports["data"][0];
        let id = newest["id"].as_str().context("nothing was imported")?;
        let items = self.get(&format!("/batch/{id}/items?limit=1000")).await?;
        let ids =
            items["data"].as_array().into_iter().flatten().filter_map(|item| item["contactId"].as_str()?.parse().ok());
        let first = ids.min().context("the import made no contact")?;
        Ok((first, usize::try_from(newest["successCount"].as_u64().unwrap_or(0))?))
    }

    /// The most memory that a role's process ever had.
    pub(super) fn peak_mib(&self, role: &str) -> Result<f64> {
        let process = self.processes.iter().find(|(name, _)| *name == role || *name == "serve");
        let pid = process.and_then(|(_, child)| child.id()).context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("memory is read from /proc")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Ends the processes.
    pub(super) async fn stop(mut self) -> Result<()> {
        for (_, child) in &mut self.processes {
            child.start_kill()?;
            child.wait().await?;
        }
        self.dir.close()?;
        Ok(())
    }
}

async fn output(mut command: Command, stdin: &str) -> Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(stdin.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
