//! A child process that cannot outlive its owner, and its log.
//!
//! The child leads its own process group, so that Ctrl-C in a terminal reaches the owner alone, which then ends the
//! child in the way that suits it.

use crate::{PATIENCE, POLL};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, kill_process, kill_process_group};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Waits for its owner to go away, then ends the process and removes its directory. A line on stdin dismisses it; the
/// end of stdin, which the system brings about however the owner died, sets it to work.
const REAPER: &str = r#"
trap '' INT TERM HUP QUIT
if read -r dismissed; then exit 0; fi
kill -s "$1" "$2" 2>/dev/null
turns=0
while kill -0 "$2" 2>/dev/null && [ "$turns" -lt 50 ]; do sleep 0.1; turns=$((turns + 1)); done
kill -s KILL "$2" 2>/dev/null
if [ -n "$3" ]; then rm -rf -- "$3"; fi
"#;

/// The log keeps this many of the latest lines.
const LOG_LINES: usize = 20_000;

/// What a test does to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: please end.
    Terminate,
    /// SIGINT: Ctrl-C; PostgreSQL's "fast" shutdown.
    Interrupt,
    /// SIGQUIT: PostgreSQL's "immediate" shutdown, without a checkpoint.
    Quit,
    /// SIGKILL: no last words.
    Kill,
    /// SIGSTOP: frozen, as a process is that the machine does not schedule.
    Freeze,
    /// SIGCONT: thawed.
    Thaw,
}

impl Signal {
    const fn raw(self) -> rustix::process::Signal {
        match self {
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Quit => rustix::process::Signal::QUIT,
            Self::Kill => rustix::process::Signal::KILL,
            Self::Freeze => rustix::process::Signal::STOP,
            Self::Thaw => rustix::process::Signal::CONT,
        }
    }

    /// The name that `kill -s` takes.
    const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Freeze => "STOP",
            Self::Thaw => "CONT",
        }
    }
}

/// A running child process. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Log,
    end: Signal,
    reaper: Option<Child>,
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its output captured in a [`Log`] and its input closed.
    ///
    /// `end` is the signal by which Drop ends it. `dir`, if given, is removed by the reaper when the owner died without
    /// dropping anything; otherwise it is the caller's to remove.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(name: impl Into<String>, mut command: Command, end: Signal, dir: Option<&Path>) -> Result<Self> {
        let name = name.into();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        let log = Log::default();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
            child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ];
        for stream in streams.into_iter().flatten() {
            log.follow(stream);
        }
        // From here on Drop ends the child, also when the reaper cannot be had.
        let mut process = Self { name, child, log, end, reaper: None, exit: None };
        let reaper = Command::new("sh")
            .args(["-c", REAPER, "paceline-test-reaper", end.name(), &process.child.id().to_string()])
            .arg(dir.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        process.reaper = Some(reaper.context("cannot start sh, which reaps what a killed test leaves behind")?);
        Ok(process)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process has printed.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// The system's.
    pub fn exit(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))?;
            if self.exit.is_some() {
                self.dismiss_reaper();
            }
        }
        Ok(self.exit)
    }

    /// Sends a signal to the process itself; does nothing when it has ended.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exit()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal.raw())
            .with_context(|| format!("cannot send SIG{} to {}", signal.name(), self.name))
    }

    /// SIGKILL to the process and to those it started in its group, and waits until it is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn kill9(&mut self) -> Result<()> {
        if self.exit()?.is_none() {
            kill_process_group(Pid::from_child(&self.child), Signal::Kill.raw())
                .with_context(|| format!("cannot kill {}", self.name))?;
            self.wait(PATIENCE)?;
        }
        Ok(())
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// When it still runs after `patience`; the message has the end of its log.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(exit) = self.exit()? {
                return Ok(exit);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {patience:?}; its log ends:\n{}", self.name, self.log.tail(40));
            }
            thread::sleep(POLL);
        }
    }

    fn dismiss_reaper(&mut self) {
        if let Some(mut reaper) = self.reaper.take() {
            // A reaper that is gone already needs no dismissal, so a broken pipe is as good as a line.
            if let Some(mut stdin) = reaper.stdin.take() {
                stdin.write_all(b"dismissed\n").ok();
            }
            reaper.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell of an error; the reaper is the second line.
        let gentle = self.end != Signal::Kill && self.signal(self.end).is_ok() && self.wait(PATIENCE).is_ok();
        if !gentle {
            self.kill9().ok();
        }
    }
}

/// What a process prints, line by line: the latest 20,000 lines of its output and its error output together.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    dropped: usize,
    open: usize,
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, stream: Box<dyn Read + Send>) {
        self.lines().open += 1;
        let log = self.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            // An error of the pipe ends the log just as its end does.
            while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                let mut lines = log.lines();
                if lines.kept.len() == LOG_LINES {
                    lines.kept.pop_front();
                    lines.dropped += 1;
                }
                lines.kept.push_back(text);
                log.0.1.notify_all();
            }
            log.lines().open -= 1;
            log.0.1.notify_all();
        });
    }

    /// Waits for the first line, from the beginning of the log, of which `pick` makes something. `None` when the
    /// process closed its outputs without such a line, or `patience` is over.
    pub fn wait_for<T>(&self, patience: Duration, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut seen = 0;
        let mut lines = self.lines();
        loop {
            let fresh = lines.kept.iter().skip(seen - lines.dropped.min(seen));
            if let Some(found) = fresh.map(String::as_str).find_map(&pick) {
                return Some(found);
            }
            seen = lines.dropped + lines.kept.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.open == 0 || left.is_zero() {
                return None;
            }
            lines = self.0.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether any kept line contains `text`.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.lines().kept.iter().any(|line| line.contains(text))
    }

    /// The last `count` lines, for a failure message.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        let skip = lines.kept.len().saturating_sub(count);
        lines.kept.iter().skip(skip).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn alive(pid: u32) -> bool {
        // A zombie that nobody has reaped yet is dead to us.
        let out = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
        let state = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    }

    #[test]
    fn the_log_has_both_streams_and_the_exit_code_is_kept() {
        let command = shell("echo out; echo err >&2; exit 3");
        let mut process = Process::spawn("shell", command, Signal::Kill, None).unwrap();
        assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(3));
        let log = process.log().clone();
        assert_eq!(log.wait_for(PATIENCE, |line| (line == "err").then_some(())), Some(()));
        assert_eq!(log.wait_for(PATIENCE, |line| (line == "out").then_some(())), Some(()));
        assert_eq!(log.wait_for(PATIENCE, |line| (line == "never").then_some(())), None, "closed streams end the wait");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::spawn("cat", shell("exec sleep 600"), Signal::Kill, None).unwrap();
        let pid = process.pid();
        assert!(alive(pid));
        drop(process);
        assert!(!alive(pid));
    }

    #[test]
    fn a_process_that_ignores_its_signal_can_still_be_killed() {
        let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
        let mut process = Process::spawn("stubborn", shell(script), Signal::Kill, None).unwrap();
        assert!(process.log().wait_for(PATIENCE, |line| (line == "ready").then_some(())).is_some());
        process.signal(Signal::Terminate).unwrap();
        assert!(process.wait(Duration::from_millis(50)).is_err());
        process.kill9().unwrap();
        assert!(!process.exit().unwrap().unwrap().success());
    }

    #[test]
    fn the_reaper_ends_what_its_owner_left_and_removes_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let mut process =
            Process::spawn("orphan", shell("exec sleep 600"), Signal::Terminate, Some(dir.path())).unwrap();
        let pid = process.pid();
        // What the system does when the owner dies: its end of the pipe is closed.
        let mut reaper = process.reaper.take().unwrap();
        drop(reaper.stdin.take());
        assert!(process.wait(PATIENCE).is_ok());
        reaper.wait().unwrap();
        assert!(!alive(pid));
        assert!(!dir.path().exists());
    }
}
