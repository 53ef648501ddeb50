//! A private Redis server.

use crate::process::{Process, Signal};
use crate::{PATIENCE, POLL, free_port, tools};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long Redis may take over a single command on loopback.
const ANSWER: Duration = Duration::from_secs(10);

/// What a Redis server keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisOptions {
    /// Whether it logs every write before it answers (`appendonly yes`, `appendfsync always`). Off by default: nothing
    /// in Redis is the only copy of anything, and a test that kills Redis should see it come back empty.
    pub append_only: bool,
}

/// A Redis server of one owner on 127.0.0.1, without a password, its files in a temporary directory.
#[derive(Debug)]
pub struct Redis {
    // Before `dir`: the server ends before its files go.
    process: Option<Process>,
    program: PathBuf,
    options: RedisOptions,
    port: u16,
    dir: TempDir,
}

impl Redis {
    /// Starts the server found by [`tools::redis_server`].
    ///
    /// # Errors
    /// When there is no Redis 7 or later, or it does not start; the message has the end of its log.
    pub fn start(options: RedisOptions) -> Result<Self> {
        Self::start_from(&tools::redis_server()?, options)
    }

    /// The same with a given `redis-server`.
    ///
    /// # Errors
    /// When it does not start; the message has the end of its log.
    pub fn start_from(program: &Path, options: RedisOptions) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("paceline-redis-").tempdir().context("no temporary directory")?;
        let mut server = Self { process: None, program: program.to_owned(), options, port: 0, dir };
        for _ in 0..10 {
            server.port = free_port()?;
            if server.launch()? == Launch::Ready {
                return Ok(server);
            }
        }
        bail!("ten ports in a row were taken while Redis started");
    }

    /// The server's URL, for database 0.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The port on 127.0.0.1; the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL. Without `append_only`, everything in it is lost.
    ///
    /// # Errors
    /// The system's.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill9())
    }

    /// Freezes it: connections stay open and nothing answers, as when a network swallows packets.
    ///
    /// # Errors
    /// The system's, or when it does not run.
    pub fn freeze(&mut self) -> Result<()> {
        self.process.as_mut().context("Redis does not run")?.signal(Signal::Freeze)
    }

    /// Ends the freeze.
    ///
    /// # Errors
    /// The system's, or when it does not run.
    pub fn thaw(&mut self) -> Result<()> {
        self.process.as_mut().context("Redis does not run")?.signal(Signal::Thaw)
    }

    /// Starts it again on the same port and files, killing it first if it runs.
    ///
    /// # Errors
    /// When it does not come up within [`PATIENCE`]; the message has the end of its log.
    pub fn restart(&mut self) -> Result<()> {
        self.kill9()?;
        let deadline = Instant::now() + PATIENCE;
        while self.launch()? != Launch::Ready {
            if Instant::now() >= deadline {
                bail!("Redis did not come up again on port {} within {PATIENCE:?}", self.port);
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Removes every key of every database.
    ///
    /// # Errors
    /// When Redis does not answer `OK`.
    pub fn flushall(&self) -> Result<()> {
        let answer = self.command("FLUSHALL")?;
        ensure!(answer == "+OK", "FLUSHALL: {answer}");
        Ok(())
    }

    /// Sends one command in Redis' inline form and returns the first line of the answer.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer within 10 s.
    pub fn command(&self, line: &str) -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }

    fn launch(&mut self) -> Result<Launch> {
        let mut command = Command::new(&self.program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--save", ""]);
        command.args(["--appendonly", if self.options.append_only { "yes" } else { "no" }]);
        command.args(["--appendfsync", "always", "--dir"]).arg(self.dir.path());
        let mut process = Process::spawn("Redis", command, Signal::Kill, Some(self.dir.path()))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(exit) = process.exit()? {
                let log = process.log();
                // The last words come through a pipe, after the exit.
                let taken =
                    log.wait_for(PATIENCE, |line| line.contains("Address already in use").then_some(())).is_some();
                return if taken {
                    Ok(Launch::NotYet)
                } else {
                    Err(anyhow::anyhow!("Redis ended ({exit}); its log ends:\n{}", log.tail(40)))
                };
            }
            // Only a server whose process id is ours: another one may have taken the port.
            let ours = format!("process_id:{}", process.pid());
            if self.info_has(&ours) {
                self.process = Some(process);
                return Ok(Launch::Ready);
            }
            if Instant::now() >= deadline {
                bail!("Redis is not ready after {PATIENCE:?}; its log ends:\n{}", process.log().tail(40));
            }
            thread::sleep(POLL);
        }
    }

    /// Whether the server answers, is not loading its files any more, and its `INFO` has the line `wanted`.
    fn info_has(&self, wanted: &str) -> bool {
        if !self.command("PING").is_ok_and(|answer| answer == "+PONG") {
            return false;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let read = || -> Result<bool> {
            let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(b"INFO server\r\nQUIT\r\n")?;
            for line in BufReader::new(stream).lines() {
                if line?.trim_end() == wanted {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        read().unwrap_or(false)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Launch {
    Ready,
    NotYet,
}
