//! The real binary.

use crate::{Blocking, Client, DEADLINE, eventually};
use anyhow::{Result, ensure};
use servers::{Disk, Log, Process, Signal};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// What the process prints, as part of a line, once it listens.
const LISTENING: &str = "listening on ";

/// The binary with its settings and its directory: starts processes and runs commands.
///
/// The environment is hermetic: no `PACELINE_…` variable of the test's own environment reaches the binary, and the
/// current directory is a fresh temporary one, in which the default data directory and any configuration file lie.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    env: BTreeMap<String, String>,
    dir: Arc<TempDir>,
    disk: Option<Disk>,
}

/// Somebody who may log in.
#[derive(Clone, Debug)]
pub struct User {
    /// The address to log in with.
    pub email: String,
    /// The password to log in with.
    pub password: String,
    /// A bearer token good for a day.
    pub token: String,
}

impl Program {
    /// The binary at `path`: `env!("CARGO_BIN_EXE_paceline")` in an integration test of the root package.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let env = BTreeMap::from([("PACELINE_LISTEN".to_owned(), "127.0.0.1:0".to_owned())]);
        Self { path: path.into(), env, dir: Arc::new(temp_dir()), disk: None }
    }

    /// The same with one more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The same settings in another fresh directory, as on another machine.
    #[must_use]
    pub fn elsewhere(&self) -> Self {
        Self { dir: Arc::new(temp_dir()), ..self.clone() }
    }

    /// The same where a disk is mounted: processes and commands see it.
    #[must_use]
    pub fn inside(mut self, disk: &Disk) -> Self {
        self.disk = Some(disk.clone());
        self
    }

    /// Its directory. Clones share it; it is removed with the last of them.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a statement on the embedded database, past the program; how many rows it changed.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn execute(&self, sql: impl Into<String>) -> u64 {
        let sql = sql.into();
        let mut connection = self.embedded_database().await;
        let done = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut connection).await;
        connection.close().await.expect("closed");
        done.unwrap_or_else(|error| panic!("{sql}: {error}")).rows_affected()
    }

    /// Runs a statement that the embedded database is to refuse; the error is its word.
    ///
    /// # Errors
    /// Why it was refused.
    ///
    /// # Panics
    /// When the database cannot be opened.
    pub async fn try_execute(&self, sql: impl Into<String>) -> Result<u64, String> {
        let mut connection = self.embedded_database().await;
        let done = sqlx::query(AssertSqlSafe(sql.into())).execute(&mut connection).await;
        connection.close().await.expect("closed");
        done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
    }

    /// The one whole number that a query of the embedded database gives, such as a count.
    ///
    /// # Panics
    /// When it gives none.
    pub async fn number(&self, sql: impl Into<String>) -> i64 {
        let sql = sql.into();
        let mut connection = self.embedded_database().await;
        let number = sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(&mut connection).await;
        connection.close().await.expect("closed");
        number.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The texts of the one column that a query of the embedded database gives.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn texts(&self, sql: impl Into<String>) -> Vec<String> {
        let sql = sql.into();
        let mut connection = self.embedded_database().await;
        let texts = sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_all(&mut connection).await;
        connection.close().await.expect("closed");
        texts.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn embedded_database(&self) -> SqliteConnection {
        let file = self.dir().join("paceline-data/paceline.db");
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(DEADLINE);
        options.connect().await.expect("opened")
    }

    /// Starts a process and waits until it listens and its `/readyz` says 200.
    ///
    /// # Panics
    /// When it ends before, or [`DEADLINE`] passes; the message has the end of its log.
    pub async fn start(&self, args: &[&str]) -> Paceline {
        let process = self.launch(args).await;
        process.ready().await;
        process
    }

    /// Starts a process and waits only until it listens: for tests of what is not ready.
    ///
    /// # Panics
    /// When it ends before, or [`DEADLINE`] passes; the message has the end of its log.
    pub async fn launch(&self, args: &[&str]) -> Paceline {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let program = self.clone();
        let process = Blocking::make({
            let (program, args) = (program.clone(), args.clone());
            move || program.spawn(&args)
        })
        .await;
        let (url, log) = (process.get().1.clone(), process.get().0.log().clone());
        Paceline { process, url, log, program, args }
    }

    /// Runs a command to its end and returns its trimmed standard output.
    ///
    /// # Panics
    /// When it fails; the message has its output.
    pub async fn run(&self, args: &[&str], stdin: &str) -> String {
        let out = self.output(args, stdin).await;
        let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "paceline {args:?}: {}\n{stdout}{stderr}", out.status);
        stdout.trim().to_owned()
    }

    /// Runs a command to its end, whatever comes of it.
    ///
    /// # Panics
    /// When the binary cannot be started, or has not ended when [`DEADLINE`] passes.
    pub async fn output(&self, args: &[&str], stdin: &str) -> Output {
        self.output_within(args, stdin, DEADLINE).await
    }

    /// As [`Program::output`], for a command that takes its time.
    ///
    /// # Panics
    /// When the binary cannot be started, or has not ended when `patience` is over.
    pub async fn output_within(&self, args: &[&str], stdin: &str, patience: Duration) -> Output {
        let mut command = tokio::process::Command::from(self.command());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.path.display()));
        let run = async {
            if let Some(mut pipe) = child.stdin.take() {
                // A command that does not read its input may close it.
                pipe.write_all(stdin.as_bytes()).await.ok();
            }
            child.wait_with_output().await
        };
        match timeout(patience, run).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => panic!("paceline {args:?}: {error}"),
            Err(_) => panic!("paceline {args:?} has not ended within {patience:?}"),
        }
    }

    /// Adds a user with a role through the command line and gets a token.
    ///
    /// # Panics
    /// When a command fails.
    pub async fn user(&self, role: &str) -> User {
        let email = format!("{role}-{}@example.com", uuid::Uuid::new_v4().simple());
        let password = uuid::Uuid::new_v4().to_string();
        self.run(&["user", "add", "--email", &email, "--role", role, "--password-stdin"], &password).await;
        let token = self.run(&["token", "--email", &email, "--ttl", "24h"], "").await;
        User { email, password, token }
    }

    /// The token of a new user with a role.
    ///
    /// # Panics
    /// When a command fails.
    pub async fn token_for(&self, role: &str) -> String {
        self.user(role).await.token
    }

    fn command(&self) -> Command {
        let mut command = self.disk.as_ref().map_or_else(|| Command::new(&self.path), |disk| disk.inside(&self.path));
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("PACELINE_") {
                command.env_remove(name);
            }
        }
        command.envs(&self.env).current_dir(self.dir.path());
        command
    }

    /// Starts a process; the second is its URL, from its first words.
    fn spawn(&self, args: &[String]) -> Result<(Process, String)> {
        let mut command = self.command();
        command.args(args);
        let name = format!("paceline {}", args.join(" "));
        let process = Process::spawn(&name, command, Signal::Kill, Some(self.dir.path()))?;
        let url = process.log().wait_for(DEADLINE, listening_url);
        ensure!(url.is_some(), "{name} does not say where it listens; its log ends:\n{}", process.log().tail(60));
        Ok((process, url.unwrap_or_default()))
    }
}

/// The URL in a line like `2026-01-01T00:00:00Z INFO listening on http://127.0.0.1:4000 role=api`.
fn listening_url(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(LISTENING)?;
    let port = rest.strip_prefix("http://127.0.0.1:")?;
    let digits = port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len());
    let port: u16 = port.get(..digits)?.parse().ok()?;
    Some(format!("http://127.0.0.1:{port}"))
}

fn temp_dir() -> TempDir {
    tempfile::Builder::new().prefix("paceline-").tempdir().expect("a temporary directory")
}

/// A running process. Dropping it kills it; when the test is failing, the end of its log is printed.
#[derive(Debug)]
pub struct Paceline {
    process: Blocking<(Process, String)>,
    url: String,
    log: Log,
    program: Program,
    args: Vec<String>,
}

impl Paceline {
    /// Where it listens, like `http://127.0.0.1:4000`. Another port after each restart.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of it without a token. After a restart, ask again.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// What it has printed since its last start.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The settings it was started with; commands run with the same.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.get().0.pid()
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Panics
    /// When it does not within [`DEADLINE`]; the message has the end of the log.
    pub async fn ready(&self) {
        let client = self.client();
        eventually(&format!("paceline {} to be ready", self.args.join(" ")), DEADLINE, async || {
            match client.try_send(client.request(reqwest::Method::GET, "/readyz")).await {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(format!("{} {}\n{}", response.status, response.text, self.log.tail(60))),
                Err(error) => Err(format!("{error:?}\n{}", self.log.tail(60))),
            }
        })
        .await;
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill9(&mut self) {
        self.process.with(|(process, _)| process.kill9()).await;
    }

    /// SIGTERM: asks it to end. Then [`Paceline::wait`].
    pub async fn terminate(&mut self) {
        self.process.with(|(process, _)| process.signal(Signal::Terminate)).await;
    }

    /// SIGSTOP: the process does nothing, and does not know it, until [`Paceline::thaw`]. How a lease is lost by somebody
    /// who still believes in it.
    pub async fn freeze(&mut self) {
        self.process.with(|(process, _)| process.signal(Signal::Freeze)).await;
    }

    /// SIGCONT: it goes on where it was.
    pub async fn thaw(&mut self) {
        self.process.with(|(process, _)| process.signal(Signal::Thaw)).await;
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it still runs after `patience`; the message has the end of its log.
    pub async fn wait(&mut self, patience: Duration) -> ExitStatus {
        self.process.with(move |(process, _)| process.wait(patience)).await
    }

    /// Whether it runs.
    pub async fn is_running(&mut self) -> bool {
        self.process.with(|(process, _)| Ok(process.exit()?.is_none())).await
    }

    /// From its next start on, with this environment variable, or without it.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.program.env.insert(name.to_owned(), value.to_owned()),
            None => self.program.env.remove(name),
        };
    }

    /// Whether its next start has this environment variable.
    #[must_use]
    pub fn has_env(&self, name: &str) -> bool {
        self.program.env.contains_key(name)
    }

    /// Starts it again with the same arguments on the same directory, killing it first if it runs, and waits until it is
    /// ready.
    ///
    /// # Panics
    /// As [`Program::start`].
    pub async fn restart(&mut self) {
        self.relaunch().await;
        self.ready().await;
    }

    /// As [`Paceline::restart`], but waits only until it listens.
    ///
    /// # Panics
    /// As [`Program::launch`].
    pub async fn relaunch(&mut self) {
        self.kill9().await;
        let (program, args) = (self.program.clone(), self.args.clone());
        self.process = Blocking::make(move || program.spawn(&args)).await;
        (self.url, self.log) = (self.process.get().1.clone(), self.process.get().0.log().clone());
    }
}

impl Drop for Paceline {
    fn drop(&mut self) {
        if thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the log belongs to the failure that is being reported")]
            {
                eprintln!("--- the log of paceline {} ends:\n{}\n---", self.args.join(" "), self.log.tail(60));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_any_log_format() {
        let url = Some("http://127.0.0.1:4000".to_owned());
        assert_eq!(listening_url("listening on http://127.0.0.1:4000"), url);
        assert_eq!(listening_url("INFO paceline: listening on http://127.0.0.1:4000 role=api"), url);
        assert_eq!(listening_url(r#"{"message":"listening on http://127.0.0.1:4000","level":"info"}"#), url);
        assert_eq!(listening_url("listening on http://127.0.0.1:"), None);
        assert_eq!(listening_url("listening on http://127.0.0.1:99999"), None);
        assert_eq!(listening_url("was listening"), None);
    }
}
