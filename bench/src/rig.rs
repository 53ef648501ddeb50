//! Processes of our own on a database of their own: what `bench` measures and `soak` tries.

use anyhow::{Context, Result, anyhow, bail};
use domain::Db;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::str::FromStr;
use std::time::{Duration, Instant};
use store::{Location, Synchronous};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// Messages in flight at once in each process.
pub(crate) const CONCURRENCY: usize = 64;

/// How long a batch may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Which set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One process, SQLite.
    Embedded,
    /// A process for each role, PostgreSQL and Redis.
    Split,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Split => "split",
        }
    }
}

/// Where the servers are that a split set-up stands on. Their addresses may have passwords in them, so it is never printed.
#[derive(Clone)]
pub struct Environment {
    /// A PostgreSQL that takes databases of ours.
    pub database_url: Option<String>,
    /// A Redis that nothing else uses.
    pub redis_url: Option<String>,
    /// What the processes shall log, as `PACELINE_LOG_LEVEL` has it; `None`: no more than what is wrong.
    pub log_level: Option<String>,
}

impl Environment {
    /// Whether there is all that a split set-up stands on.
    pub(crate) const fn has_servers(&self) -> bool {
        self.database_url.is_some() && self.redis_url.is_some()
    }

    /// What the processes shall log, and `otherwise` where nobody asked for anything.
    pub(crate) fn log_level(&self, otherwise: &str) -> String {
        self.log_level.clone().unwrap_or_else(|| otherwise.to_owned())
    }
}

/// An empty database of its own, and where its processes find it.
pub(crate) struct Ledger {
    pub(crate) database_url: Option<String>,
    pub(crate) redis_url: Option<String>,
    /// The server's own database, and the name of ours.
    made: Option<(PgConnectOptions, String)>,
    dir: tempfile::TempDir,
}

impl Ledger {
    /// Makes the database.
    pub(crate) async fn make(environment: &Environment, kind: Kind) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut ledger = Self { database_url: None, redis_url: None, made: None, dir };
        if kind == Kind::Split {
            let (Some(database), Some(redis)) = (&environment.database_url, &environment.redis_url) else {
                bail!("the split set-up needs PACELINE_DATABASE_URL and PACELINE_REDIS_URL");
            };
            let server =
                PgConnectOptions::from_str(database).map_err(|_| anyhow!("database_url: not a postgres:// address"))?;
            let name = format!("paceline_rig_{}", uuid::Uuid::now_v7().simple());
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
                .execute(&mut server.connect().await?)
                .await
                .context("a database of its own cannot be made")?;
            let mut url = reqwest::Url::parse(database)?;
            url.set_path(&name);
            ledger.database_url = Some(url.into());
            ledger.redis_url = Some(redis.clone());
            ledger.made = Some((server, name));
        }
        store::migrate_up(&ledger.settings()).await?;
        Ok(ledger)
    }

    fn settings(&self) -> store::Settings {
        store::Settings {
            place: Location::of(self.database_url.as_deref(), self.dir.path()),
            sqlite_synchronous: Synchronous::Full,
            sqlite_max_mib: 0,
            max_connections: 16,
            // Ten million items are written in few statements.
            statement_timeout: Duration::from_secs(600),
        }
    }

    /// Opens the database in this process, beside those that work on it.
    pub(crate) async fn open(&self) -> Result<Db> {
        let db = store::open(&self.settings()).await?;
        store::current(&db).await?;
        Ok(db)
    }

    /// Drops the database.
    pub(crate) async fn remove(self) -> Result<()> {
        if let Some((server, name)) = self.made {
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
                .execute(&mut server.connect().await?)
                .await?;
        }
        self.dir.close()?;
        Ok(())
    }
}

/// One of the processes.
pub(crate) struct Part {
    /// What it was started as.
    pub(crate) role: &'static str,
    child: Child,
}

/// A Paceline of one kind: its processes, and somebody who is signed in.
pub(crate) struct Setup {
    pub(crate) ledger: Ledger,
    parts: Vec<Part>,
    env: Vec<(&'static str, String)>,
    url: String,
    token: String,
    client: reqwest::Client,
}

impl Setup {
    /// Starts the processes: one, or one for each role and so many workers. `more` are variables of theirs without the
    /// prefix.
    pub(crate) async fn start(
        environment: &Environment,
        kind: Kind,
        gateway: &str,
        workers: usize,
        more: &[(&'static str, String)],
    ) -> Result<Self> {
        let ledger = Ledger::make(environment, kind).await?;
        let mut env = vec![
            ("LISTEN", "127.0.0.1:0".to_owned()),
            ("DATA_DIR", ledger.dir.path().display().to_string()),
            ("JWT_SECRET", "a secret for the processes of one rig".into()),
            ("GATEWAY_URL", gateway.to_owned()),
            ("GATEWAY_SECRET", SECRET.to_owned()),
            ("LIMIT_BATCH_PER_MIN", "0".into()),
            ("LIMIT_GENERAL_PER_MIN", "0".into()),
            ("SENDER_RATE_PER_MIN", "0".into()),
            ("SEND_CONCURRENCY", CONCURRENCY.to_string()),
            ("WS_MAX_CONNECTIONS", "100000".into()),
            ("LOG_LEVEL", "warn".into()),
        ];
        env.extend(ledger.database_url.clone().map(|url| ("DATABASE_URL", url)));
        env.extend(ledger.redis_url.clone().map(|url| ("REDIS_URL", url)));
        env.extend(more.iter().cloned());
        let add = ["user", "add", "--email", USER, "--role", "admin", "--password-stdin"];
        output(command(ledger.dir.path(), &env, &add)?, &format!("{PASSWORD}\n")).await?;
        let token = output(command(ledger.dir.path(), &env, &["token", "--email", USER])?, "").await?;
        let roles = match kind {
            Kind::Embedded => vec!["serve"],
            Kind::Split => [vec!["worker"; workers], vec!["scheduler", "api"]].concat(),
        };
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?;
        let mut setup = Self { ledger, parts: Vec::new(), env, url: String::new(), token, client };
        for role in roles {
            let child = setup.spawn(role).await?;
            setup.parts.push(Part { role, child });
        }
        if setup.url.is_empty() {
            bail!("the API did not start");
        }
        Ok(setup)
    }

    /// Starts a process and waits for its first word.
    async fn spawn(&mut self, role: &'static str) -> Result<Child> {
        let mut command = command(self.ledger.dir.path(), &self.env, &[role])?;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, address)) = line.split_once("listening on ") {
                address.clone_into(&mut self.url);
                break;
            }
            if line == "started" {
                break;
            }
        }
        // Whatever else it prints must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(child)
    }

    /// The processes.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What the processes have used of processors, together.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let of = |part: &Part| processor_time(part.child.id().context("the process has ended")?);
        self.parts.iter().map(of).sum()
    }

    /// Sends a process a signal.
    pub(crate) fn signal(&self, which: usize, signal: Signal) -> Result<()> {
        let id = self.parts[which].child.id().context("the process has ended")?;
        let pid = Pid::from_raw(i32::try_from(id)?).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until a process has ended; `None`: it has not within `patience`.
    pub(crate) async fn wait(&mut self, which: usize, patience: Duration) -> Result<Option<std::process::ExitStatus>> {
        match tokio::time::timeout(patience, self.parts[which].child.wait()).await {
            Ok(status) => Ok(Some(status?)),
            Err(_) => Ok(None),
        }
    }

    /// Starts a process that has ended again.
    pub(crate) async fn revive(&mut self, which: usize) -> Result<()> {
        let child = self.spawn(self.parts[which].role).await?;
        self.parts[which].child = child;
        Ok(())
    }

    /// A request to the API, as the one who is signed in.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Posts a batch; its id.
    pub(crate) async fn post(&self, path: &str, body: String) -> Result<String> {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer: Value = request.header("content-type", "application/json").body(body).send().await?.json().await?;
        let id = answer["data"]["id"].as_str().with_context(|| format!("{path} was refused: {answer}"))?;
        Ok(id.to_owned())
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Waits for a batch's end.
    pub(crate) async fn ended(&self, id: &str) -> Result<Value> {
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

    /// Imports contacts; their ids.
    pub(crate) async fn import(&self, count: usize) -> Result<Vec<String>> {
        let id = self.post("/batch/import", contacts(count)?).await?;
        let done = self.ended(&id).await?;
        if done["successCount"] != serde_json::json!(count) {
            bail!("not all contacts were imported: {done}");
        }
        // A fresh database: these are all of its contacts.
        Ok((1..=count).map(|id| id.to_string()).collect())
    }

    /// The most memory that a role's process ever had.
    pub(crate) fn peak_mib(&self, role: &str) -> Result<f64> {
        self.status_mib(role, "VmHWM:")
    }

    /// The memory that a role's process has.
    pub(crate) fn memory_mib(&self, role: &str) -> Result<f64> {
        self.status_mib(role, "VmRSS:")
    }

    fn status_mib(&self, role: &str, what: &str) -> Result<f64> {
        let part = self.parts.iter().find(|part| part.role == role || part.role == "serve");
        let pid = part.and_then(|part| part.child.id()).context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("memory is read from /proc")?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)).with_context(|| format!("no {what}"))?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Ends the processes and drops the database.
    pub(crate) async fn stop(mut self) -> Result<()> {
        for part in &mut self.parts {
            part.child.start_kill()?;
            part.child.wait().await?;
        }
        self.ledger.remove().await
    }
}

/// A process of one role on a folder of its own, without a database.
pub(crate) struct Alone {
    role: &'static str,
    env: Vec<(&'static str, String)>,
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Alone {
    /// Starts it; `more` are variables of its own without the prefix.
    pub(crate) async fn start(
        environment: &Environment,
        role: &'static str,
        more: &[(&'static str, String)],
    ) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut env = vec![
            ("DATA_DIR", dir.path().display().to_string()),
            ("GATEWAY_SECRET", SECRET.to_owned()),
            ("LOG_LEVEL", environment.log_level("warn")),
        ];
        env.extend(more.iter().cloned());
        let (child, url) = Self::spawn(dir.path(), role, &env).await?;
        Ok(Self { role, env, child, url, dir })
    }

    async fn spawn(dir: &Path, role: &str, env: &[(&'static str, String)]) -> Result<(Child, String)> {
        let mut command = command(dir, env, &[role])?;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut url = None;
        while let Some(line) = lines.next_line().await? {
            if let Some((_, address)) = line.split_once("listening on ") {
                url = Some(address.to_owned());
                break;
            }
        }
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok((child, url.context("it did not start")?))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it has used of processors.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        processor_time(self.child.id().context("the process has ended")?)
    }

    /// Kills it, and starts it again.
    pub(crate) async fn again(&mut self) -> Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        (self.child, self.url) = Self::spawn(self.dir.path(), self.role, &self.env).await?;
        Ok(())
    }

    /// Ends it and removes its folder.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(self.dir.close()?)
    }
}

/// What a process has used of processors, by `proc(5)`: the fields 14 and 15 of its `stat`, in ticks.
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("processor time is read from /proc")?;
    // The second field is the name, in parentheses, and may have any sign in it.
    let (_, fields) = stat.rsplit_once(") ").context("no name in its stat")?;
    let ticks = |field: usize| -> Result<u64> {
        Ok(fields.split(' ').nth(field - 3).context("a field of its stat is missing")?.parse()?)
    };
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis((ticks(14)? + ticks(15)?) * 1_000 / per_second))
}

/// Who is signed in, an admin.
pub(crate) const USER: &str = "rig@localhost";

/// The password of the one who is signed in.
pub(crate) const PASSWORD: &str = "a password for the rig";

/// The secret that the processes share with their gateway.
pub(crate) const SECRET: &str = "the rig's";

/// How long an answer may take: a list of a million ids is read in it.
const ANSWER: Duration = Duration::from_secs(120);

/// The binary itself, with only what is set here: the environment' configuration is not what is tried.
fn command(dir: &Path, env: &[(&'static str, String)], args: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("PACELINE_")) {
        command.env_remove(key);
    }
    command.args(args).envs(env.iter().map(|(name, value)| (format!("PACELINE_{name}"), value)));
    command.current_dir(dir).kill_on_drop(true);
    Ok(command)
}

/// An import of so many contacts with numbers of their own.
pub(crate) fn contacts(count: usize) -> Result<String> {
    let mut body = String::with_capacity(count * 64);
    body.push_str("{\"tags\":[\"imported\"],\"contacts\":[");
    for i in 0..count {
        let comma = if i == 0 { "" } else { "," };
        // Malaysian mobile numbers: +60 11, eight digits.
        write!(body, "{comma}{{\"phoneE164\":\"+6011{:08}\",\"name\":\"Contact {i}\"}}", 10_000_000 + i)
            .context("a string takes what is written")?;
    }
    body.push_str("]}");
    Ok(body)
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
