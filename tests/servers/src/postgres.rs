//! A private PostgreSQL cluster.

use crate::process::{Process, Signal};
use crate::{Disk, PATIENCE, POLL, free_port, tools};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

/// What PostgreSQL says when another process took the port first.
const PORT_TAKEN: &[&str] = &["Address already in use", "could not create any TCP/IP sockets"];

/// What it says while the orphans of a killed server are still going away.
const ORPHANS_LEFT: &[&str] = &["pre-existing shared memory block", "is another postmaster"];

/// A PostgreSQL server of one owner: a fresh cluster in a temporary directory, listening on 127.0.0.1 alone, where
/// everyone is trusted. Durable (`fsync` and `synchronous_commit` are on), so that a kill proves something.
///
/// PostgreSQL refuses to run as root; there, the account `postgres` or else `nobody` runs it and owns the directory.
#[derive(Debug)]
pub struct Postgres {
    // Before `dir`: the server ends before its files go.
    process: Option<Process>,
    bin: PathBuf,
    account: Option<Account>,
    port: u16,
    options: PostgresOptions,
    dir: TempDir,
}

/// What a server is to be like.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Settings beyond the usual, by their names in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// The disk on which its tables live. Its log of writes stays elsewhere: without that a server cannot even say that the
    /// disk is full.
    pub disk: Option<Disk>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Makes a cluster with the server found by [`tools::postgres_bin`], and starts it.
    ///
    /// # Errors
    /// When there is no PostgreSQL 15 or later, or it does not start; the message has the end of its log.
    pub fn start() -> Result<Self> {
        Self::start_from(&tools::postgres_bin()?)
    }

    /// The same as the options say.
    ///
    /// # Errors
    /// When there is no PostgreSQL 15 or later, or it does not start; the message has the end of its log.
    pub fn start_with(options: PostgresOptions) -> Result<Self> {
        Self::make(&tools::postgres_bin()?, options)
    }

    /// The same with the programs in the directory `bin`.
    ///
    /// # Errors
    /// When it does not start; the message has the end of its log.
    pub fn start_from(bin: &Path) -> Result<Self> {
        Self::make(bin, PostgresOptions::default())
    }

    fn make(bin: &Path, options: PostgresOptions) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("paceline-pg-").tempdir().context("no temporary directory")?;
        // Who owns what we just made is who we are.
        let account = match fs::metadata(dir.path())?.uid() {
            0 => Some(unprivileged_account()?),
            _ => None,
        };
        fs::create_dir(dir.path().join("socket"))?;
        if let Some(Account { uid, gid }) = account {
            for path in [dir.path(), &dir.path().join("socket")] {
                chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give away {}", path.display()))?;
            }
        }
        let mut server = Self { process: None, bin: bin.to_owned(), account, port: 0, options, dir };
        server.init()?;
        for _ in 0..10 {
            server.port = free_port()?;
            if server.launch()? == Launch::Ready {
                return Ok(server);
            }
        }
        bail!("ten ports in a row were taken while PostgreSQL started");
    }

    /// The URL of a database on this server. `postgres` is the one that is always there.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1; the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the server runs (it may have crashed by itself).
    ///
    /// # Errors
    /// The system's.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.process {
            Some(process) => Ok(process.exit()?.is_none()),
            None => Ok(false),
        }
    }

    /// SIGKILL: the server loses everything that was not on disk. Its sessions end with it.
    ///
    /// # Errors
    /// The system's.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill9())
    }

    /// Stops it in good order, without waiting for its clients ("fast" shutdown).
    ///
    /// # Errors
    /// When it does not end within [`PATIENCE`].
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::Interrupt)?;
            process.wait(PATIENCE)?;
        }
        Ok(())
    }

    /// Starts it again on the same data and port, stopping it first if it runs.
    ///
    /// # Errors
    /// When it does not come up within [`PATIENCE`]; the message has the end of its log.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let deadline = Instant::now() + PATIENCE;
        // The port may be held for a moment by connections of a killed server, and the memory by its orphans.
        while self.launch()? != Launch::Ready {
            if Instant::now() >= deadline {
                bail!("PostgreSQL did not come up again on port {} within {PATIENCE:?}", self.port);
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Where its tables are, for itself.
    fn data(&self) -> PathBuf {
        self.options.disk.as_ref().map_or_else(|| self.dir.path(), Disk::path).join("data")
    }

    /// The same for us.
    fn data_outside(&self) -> PathBuf {
        self.options.disk.as_ref().map_or_else(|| self.dir.path().to_owned(), Disk::outside).join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = match (&self.options.disk, self.account) {
            (None, None) => Command::new(program),
            (None, Some(Account { uid, gid })) => {
                let mut command = Command::new(program);
                command.uid(uid).gid(gid);
                command
            }
            // Only root may enter, so the account changes after.
            (Some(disk), Some(Account { uid, gid })) => {
                let mut command = disk.inside("setpriv");
                command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()]);
                command.arg("--").arg(program);
                command
            }
            (Some(disk), None) => disk.inside(program),
        };
        command.env("LC_ALL", "C").current_dir(self.dir.path());
        command
    }

    fn init(&self) -> Result<()> {
        let out = self
            .command("initdb")
            .args(["--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "--auth-host=trust"])
            .args(["--auth-local=reject", "--pgdata"])
            .arg(self.data())
            .args(
                self.options.disk.iter().flat_map(|_| [OsString::from("--waldir"), self.dir.path().join("wal").into()]),
            )
            .output()
            .with_context(|| format!("cannot run initdb in {}", self.bin.display()))?;
        if !out.status.success() {
            bail!("initdb failed ({}):\n{}", out.status, String::from_utf8_lossy(&out.stderr).trim_end());
        }
        Ok(())
    }

    fn launch(&mut self) -> Result<Launch> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.dir.path().join("socket"));
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "max_connections=200", "-c", "fsync=on", "-c", "synchronous_commit=on"]);
        for (name, value) in &self.options.settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        let mut process = Process::spawn("PostgreSQL", command, Signal::Quit, Some(self.dir.path()))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(exit) = process.exit()? {
                let log = process.log();
                // The last words come through a pipe, after the exit.
                let complaint = |texts: &[&str]| {
                    log.wait_for(PATIENCE, |line| texts.iter().any(|text| line.contains(text)).then_some(())).is_some()
                };
                return if complaint(PORT_TAKEN) || complaint(ORPHANS_LEFT) {
                    Ok(Launch::NotYet)
                } else {
                    Err(anyhow::anyhow!("PostgreSQL ended ({exit}); its log ends:\n{}", log.tail(40)))
                };
            }
            if self.is_ready(process.pid()) {
                self.process = Some(process);
                return Ok(Launch::Ready);
            }
            if Instant::now() >= deadline {
                bail!("PostgreSQL is not ready after {PATIENCE:?}; its log ends:\n{}", process.log().tail(40));
            }
            thread::sleep(POLL);
        }
    }

    /// As `pg_ctl --wait` does it: the first line of `postmaster.pid` is the server's process id and the eighth its
    /// state. The file may be absent, half written, or left over from a killed server.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(text) = fs::read_to_string(self.data_outside().join("postmaster.pid")) else { return false };
        let mut lines = text.lines();
        lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid)
            && lines.nth(6).is_some_and(|state| state.trim() == "ready")
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Launch {
    Ready,
    NotYet,
}

/// The account that runs the server for root.
fn unprivileged_account() -> Result<Account> {
    let ask = |flag: &str, name: &str| -> Option<u32> {
        let out = Command::new("id").args([flag, name]).output().ok()?;
        String::from_utf8_lossy(&out.stdout).trim().parse().ok()
    };
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| Some(Account { uid: ask("-u", name)?, gid: ask("-g", name)? }))
        .context("PostgreSQL refuses to run as root, and there is neither an account `postgres` nor `nobody`")
}
