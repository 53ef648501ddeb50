//! Where the programs are that the tests need, and whether they are new enough.
//!
//! Each is first looked for in its environment variable, which `cargo xtask test` sets for the tests and anyone may set
//! by hand; a value that does not work is an error and not a hint.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory with `initdb`, `postgres` and `pg_ctl`.
pub const POSTGRES_BIN_VAR: &str = "PACELINE_TEST_PG_BIN";
/// The `redis-server` program.
pub const REDIS_SERVER_VAR: &str = "PACELINE_TEST_REDIS_SERVER";
/// The Chromium or Chrome program.
pub const CHROMIUM_VAR: &str = "PACELINE_TEST_CHROMIUM";
/// A Python 3 that can make virtual environments with pip in them.
pub const PYTHON_VAR: &str = "PACELINE_TEST_PYTHON";
/// npm, beside a Node.js that it runs on.
pub const NPM_VAR: &str = "PACELINE_TEST_NPM";
/// The library of libfaketime that makes a process see another time.
pub const FAKETIME_VAR: &str = "PACELINE_TEST_FAKETIME";
/// The URL of the maintenance database of the run's PostgreSQL server.
pub const POSTGRES_URL_VAR: &str = "PACELINE_TEST_POSTGRES";

/// The oldest PostgreSQL that Paceline supports.
const POSTGRES_MIN: u32 = 15;
/// The oldest Redis that Paceline supports.
const REDIS_MIN: u32 = 7;
/// The oldest Node.js that the type generator runs on.
const NODE_MIN: u32 = 18;

/// The directory of PostgreSQL's server programs, 15 or later; the newest when there are several in the usual places.
///
/// # Errors
/// When there is none; the message says where it was looked for and what was found there.
pub fn postgres_bin() -> Result<PathBuf> {
    if let Some(dir) = env::var_os(POSTGRES_BIN_VAR) {
        let dir = PathBuf::from(dir);
        return postgres_fits(&dir).map(|()| dir).context(POSTGRES_BIN_VAR);
    }
    let mut dirs = path_dirs();
    if let Some(dir) = said_by("pg_config", &["--bindir"]) {
        dirs.push(PathBuf::from(dir));
    }
    dirs.extend(newest_first("/usr/lib/postgresql", "", "bin"));
    dirs.extend(newest_first("/usr", "pgsql-", "bin"));
    dirs.extend(newest_first("/opt/homebrew/opt", "postgresql@", "bin"));
    dirs.extend(newest_first("/usr/local/opt", "postgresql@", "bin"));
    let mut refused = Vec::new();
    for dir in dirs.iter().filter(|dir| dir.join("initdb").is_file() || dir.join("postgres").is_file()) {
        // Links in PATH may lead to some of the programs only; the directory they lead to has them all.
        let linked = fs::canonicalize(dir.join("postgres")).ok().and_then(|path| Some(path.parent()?.to_owned()));
        let dir = linked.unwrap_or_else(|| dir.clone());
        match postgres_fits(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) => refused.push(format!("{error:#}")),
        }
    }
    bail!(
        "no server programs of PostgreSQL {POSTGRES_MIN} or later (initdb, postgres, pg_ctl){}",
        found_instead(&refused)
    )
}

fn postgres_fits(dir: &Path) -> Result<()> {
    for program in ["initdb", "postgres", "pg_ctl"] {
        if !dir.join(program).is_file() {
            bail!("{} has no {program}", dir.display());
        }
    }
    // "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
    version_fits(&dir.join("postgres"), "(PostgreSQL) ", POSTGRES_MIN)
}

/// The `redis-server` program, 7 or later.
///
/// # Errors
/// When there is none; the message says what was found.
pub fn redis_server() -> Result<PathBuf> {
    let candidates = candidates(REDIS_SERVER_VAR, &["redis-server"], &[]);
    // "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"
    first_fitting(&candidates, "no redis-server 7 or later", |path| version_fits(path, "v=", REDIS_MIN))
}

/// A Chromium or Chrome that runs.
///
/// # Errors
/// When there is none that runs; on Ubuntu the packaged `chromium-browser` may be a stub that only asks for snap.
pub fn chromium() -> Result<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let places = [
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ];
    // "Chromium 141.0.7390.54 built on Debian" or "Google Chrome 141.0.7390.54"
    first_fitting(&candidates(CHROMIUM_VAR, &names, &places), "no Chromium or Chrome that runs", |path| {
        match said_by(path, &["--version"]) {
            Some(version) if version.starts_with("Chrom") || version.starts_with("Google Chrome") => Ok(()),
            Some(other) => bail!("{} is no Chromium: {other}", path.display()),
            None => bail!("{} does not run", path.display()),
        }
    })
}

/// A Python 3 with the modules `venv` and `ensurepip`, which Debian packages apart.
///
/// # Errors
/// When there is none.
pub fn python() -> Result<PathBuf> {
    first_fitting(&candidates(PYTHON_VAR, &["python3"], &[]), "no python3 with venv and pip", |path| {
        match said_by(path, &["-c", "import venv, ensurepip, sys; print(sys.version_info >= (3, 10))"]).as_deref() {
            Some("True") => Ok(()),
            Some(_) => bail!("{} is older than 3.10", path.display()),
            None => bail!("{} cannot import venv and ensurepip", path.display()),
        }
    })
}

/// npm, whose Node.js is 18 or later.
///
/// # Errors
/// When there is none.
pub fn npm() -> Result<PathBuf> {
    first_fitting(&candidates(NPM_VAR, &["npm"], &[]), "no npm on Node.js 18 or later", |path| {
        // "v20.20.2", and npm itself must run
        version_fits(Path::new("node"), "v", NODE_MIN)?;
        said_by(path, &["--version"]).map(|_| ()).with_context(|| format!("{} does not run", path.display()))
    })
}

/// libfaketime: preloaded into a process, it sets its clock.
///
/// # Errors
/// When there is none that works.
pub fn faketime() -> Result<PathBuf> {
    let candidates = match env::var_os(FAKETIME_VAR) {
        Some(path) => vec![PathBuf::from(path)],
        None => {
            let mut dirs = newest_first("/usr/lib", "", "faketime");
            let by_machine = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|name| format!("/usr/lib/{name}/faketime"));
            dirs.extend(by_machine.map(PathBuf::from));
            dirs.extend(["/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime"].map(PathBuf::from));
            dirs.iter().map(|dir| dir.join("libfaketimeMT.so.1")).filter(|path| path.is_file()).collect()
        }
    };
    first_fitting(&candidates, "no libfaketimeMT.so.1 that works", |path| {
        let out =
            Command::new("date").arg("+%Y").env("LD_PRELOAD", path).env("FAKETIME", "@2000-06-01 12:00:00").output();
        match out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()) {
            Ok(year) if year == "2000" => Ok(()),
            Ok(year) => bail!("{}: under it the year is {year} and not 2000", path.display()),
            Err(error) => bail!("{}: {error}", path.display()),
        }
    })
}

/// Whether this process is root's.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn path_dirs() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// The one program that the variable names, or else all there are by these names in PATH and at these places.
fn candidates(variable: &str, names: &[&str], places: &[&str]) -> Vec<PathBuf> {
    match env::var_os(variable) {
        Some(path) => vec![PathBuf::from(path)],
        None => {
            let dirs = path_dirs();
            let in_path = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
            in_path.chain(places.iter().map(PathBuf::from)).filter(|path| path.is_file()).collect()
        }
    }
}

fn first_fitting(candidates: &[PathBuf], missing: &str, fits: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut refused = Vec::new();
    for path in candidates {
        match fits(path) {
            Ok(()) => return Ok(path.clone()),
            Err(error) => refused.push(format!("{error:#}")),
        }
    }
    bail!("{missing}{}", found_instead(&refused))
}

fn found_instead(refused: &[String]) -> String {
    if refused.is_empty() { String::new() } else { format!("; found instead: {}", refused.join("; ")) }
}

/// `parent/<prefix><number>/child` for all numbers there are, the greatest first.
fn newest_first(parent: &str, prefix: &str, child: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(child)))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// The trimmed output of a program, if it ran and succeeded.
fn said_by(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn version_fits(program: &Path, before: &str, min: u32) -> Result<()> {
    let said = said_by(program, &["--version"]).with_context(|| format!("{} does not run", program.display()))?;
    match major_version(&said, before) {
        Some(major) if major >= min => Ok(()),
        Some(major) => bail!("{} is version {major}, older than {min}", program.display()),
        None => bail!("{} has no version that can be read: {said}", program.display()),
    }
}

/// The number that follows `before` in what a program says of its version.
fn major_version(said: &str, before: &str) -> Option<u32> {
    let (_, version) = said.split_once(before)?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_say() {
        let postgres = |said| major_version(said, "(PostgreSQL) ");
        assert_eq!(postgres("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some(15));
        assert_eq!(postgres("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(postgres("postgres"), None);
        let redis = |said| major_version(said, "v=");
        assert_eq!(redis("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"), Some(7));
        assert_eq!(redis("Redis server v=x"), None);
    }

    #[test]
    fn the_newest_version_comes_first_by_number_and_not_by_letter() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["v9", "v15", "v16", "other", "v"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let found = newest_first(dir.path().to_str().unwrap(), "v", "bin");
        let expected: Vec<_> = ["v16", "v15", "v9"].iter().map(|name| dir.path().join(name).join("bin")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_program_that_does_not_fit_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = postgres_fits(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("has no initdb"), "{error}");
        let candidates = [dir.path().join("nothing")];
        let error = first_fitting(&candidates, "none", |path| version_fits(path, "v=", 7)).unwrap_err();
        assert!(error.to_string().contains("nothing does not run"), "{error}");
    }
}
