//! What the tests need on the machine: found, or installed by apt, or asked for in plain words.

use crate::cargo::target_dir;
use anyhow::{Context, Result, bail};
use servers::tools;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The release of schemathesis that the contracts are tested with.
const SCHEMATHESIS: &str = "4.32.5";

/// What makes types of the contracts, what compiles them, and AsyncAPI's own schemas.
const TYPE_TOOLS: [(&str, &str); 3] =
    [("openapi-typescript", "7.13.0"), ("typescript", "5.9.3"), ("@asyncapi/specs", "6.11.1")];

/// Tells the tests where the directory with `openapi-typescript` and `tsc` is.
pub(crate) const TYPE_TOOLS_VAR: &str = "PACELINE_TEST_TYPE_TOOLS";

/// Tells the tests where schemathesis is.
pub(crate) const SCHEMATHESIS_VAR: &str = "PACELINE_TEST_SCHEMATHESIS";

/// Something that must be on the machine.
struct Tool {
    name: &'static str,
    find: fn() -> Result<PathBuf>,
    /// Where somebody may have said by hand which one to take; then apt cannot mend it.
    variable: &'static str,
    /// Debian's packages; Ubuntu has no Chromium but a stub that asks for snap.
    apt: &'static [&'static str],
    on_ubuntu: bool,
    elsewhere: &'static str,
}

const POSTGRES: Tool = Tool {
    name: "PostgreSQL",
    find: tools::postgres_bin,
    variable: tools::POSTGRES_BIN_VAR,
    apt: &["postgresql"],
    on_ubuntu: true,
    elsewhere: "`apt-get install postgresql` (older releases: see https://apt.postgresql.org), `brew install \
                postgresql@17`, or PACELINE_TEST_PG_BIN=<the directory of initdb and postgres>",
};

const REDIS: Tool = Tool {
    name: "Redis",
    find: tools::redis_server,
    variable: tools::REDIS_SERVER_VAR,
    apt: &["redis-server"],
    on_ubuntu: true,
    elsewhere: "`apt-get install redis-server` (older releases: see https://packages.redis.io), `brew install redis`, \
                or PACELINE_TEST_REDIS_SERVER=<the program>",
};

const CHROMIUM: Tool = Tool {
    name: "Chromium",
    find: tools::chromium,
    variable: tools::CHROMIUM_VAR,
    apt: &["chromium"],
    on_ubuntu: false,
    elsewhere: "Debian: `apt-get install chromium`; Ubuntu: Chrome's own package from https://www.google.com/chrome; \
                macOS: `brew install --cask chromium`; or PACELINE_TEST_CHROMIUM=<the program>",
};

const PYTHON: Tool = Tool {
    name: "Python",
    find: tools::python,
    variable: tools::PYTHON_VAR,
    apt: &["python3", "python3-venv", "python3-pip"],
    on_ubuntu: true,
    elsewhere: "`apt-get install python3 python3-venv python3-pip`, `brew install python`, or PACELINE_TEST_PYTHON=<the \
                program>",
};

const NPM: Tool = Tool {
    name: "Node.js with npm",
    find: tools::npm,
    variable: tools::NPM_VAR,
    apt: &["nodejs", "npm"],
    on_ubuntu: true,
    elsewhere: "`apt-get install nodejs npm` (older releases: see https://nodejs.org), `brew install node`, or \
                PACELINE_TEST_NPM=<the program>, with its node in PATH",
};

const FAKETIME: Tool = Tool {
    name: "libfaketime",
    find: tools::faketime,
    variable: tools::FAKETIME_VAR,
    apt: &["faketime"],
    on_ubuntu: true,
    elsewhere: "`apt-get install faketime`, your system's package of libfaketime, or PACELINE_TEST_FAKETIME=<the path of \
                libfaketimeMT.so.1>",
};

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) postgres_bin: PathBuf,
    pub(crate) redis_server: PathBuf,
    chromium: PathBuf,
    faketime: PathBuf,
    schemathesis: Option<PathBuf>,
    type_tools: Option<PathBuf>,
}

impl Tools {
    /// Everything the tests need; schemathesis and the type tools only for the slow suites.
    ///
    /// # Errors
    /// When something is missing and cannot be installed; the message says what and how to get it.
    pub(crate) fn for_tests(slow: bool) -> Result<Self> {
        let mut needed = vec![POSTGRES, REDIS, CHROMIUM, FAKETIME];
        if slow {
            needed.extend([PYTHON, NPM]);
        }
        provide(&needed)?;
        let schemathesis = if slow { Some(schemathesis(&tools::python()?)?) } else { None };
        let type_tools = if slow { Some(type_tools(&tools::npm()?)?) } else { None };
        Ok(Self {
            postgres_bin: tools::postgres_bin()?,
            redis_server: tools::redis_server()?,
            chromium: tools::chromium()?,
            faketime: tools::faketime()?,
            schemathesis,
            type_tools,
        })
    }

    /// Tells the tests where the programs are.
    pub(crate) fn export(&self, command: &mut Command) {
        command.env(tools::POSTGRES_BIN_VAR, &self.postgres_bin);
        command.env(tools::REDIS_SERVER_VAR, &self.redis_server);
        command.env(tools::CHROMIUM_VAR, &self.chromium);
        command.env(tools::FAKETIME_VAR, &self.faketime);
        if let Some(path) = &self.schemathesis {
            command.env(SCHEMATHESIS_VAR, path);
        }
        if let Some(path) = &self.type_tools {
            command.env(TYPE_TOOLS_VAR, path);
        }
    }
}

/// The servers alone, for a benchmark: the directory of PostgreSQL's programs, and redis-server.
pub(crate) fn servers() -> Result<(PathBuf, PathBuf)> {
    provide(&[POSTGRES, REDIS])?;
    Ok((tools::postgres_bin()?, tools::redis_server()?))
}

fn missing(needed: &[Tool]) -> Vec<(&Tool, anyhow::Error)> {
    needed.iter().filter_map(|tool| Some((tool, (tool.find)().err()?))).collect()
}

/// Sees to it that all of them are there.
fn provide(needed: &[Tool]) -> Result<()> {
    let absent = missing(needed);
    if absent.is_empty() {
        return Ok(());
    }
    let ubuntu = fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu"));
    let packages: Vec<&str> = absent
        .iter()
        .filter(|(tool, _)| (tool.on_ubuntu || !ubuntu) && env::var_os(tool.variable).is_none())
        .flat_map(|(tool, _)| tool.apt.iter().copied())
        .collect();
    if let (Some(apt), false) = (Apt::find(), packages.is_empty()) {
        apt.install(&packages)?;
    }
    let absent = missing(needed);
    if absent.is_empty() {
        return Ok(());
    }
    let list: Vec<String> =
        absent.iter().map(|(tool, why)| format!("  {}: {why:#}\n    get it: {}", tool.name, tool.elsewhere)).collect();
    bail!("the tests need what this machine does not have:\n{}", list.join("\n"))
}

/// apt, as root or by a sudo that asks no password.
struct Apt {
    sudo: bool,
}

impl Apt {
    fn find() -> Option<Self> {
        if !quiet("apt-get", &["--version"]) {
            return None;
        }
        let id = Command::new("id").arg("-u").output().ok()?;
        if String::from_utf8_lossy(&id.stdout).trim() == "0" {
            Some(Self { sudo: false })
        } else if quiet("sudo", &["-n", "true"]) {
            Some(Self { sudo: true })
        } else {
            None
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = if self.sudo {
            let mut command = Command::new("sudo");
            // sudo would drop a variable of ours.
            command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            command
        } else {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command
        };
        command.args(args).stdin(Stdio::null());
        command
    }

    fn install(&self, packages: &[&str]) -> Result<()> {
        eprintln!("xtask: installing {} by apt", packages.join(", "));
        run(self.command(&["update", "--quiet=2"]))?;
        let mut command = self.command(&["install", "--yes", "--quiet=2", "--no-install-recommends"]);
        command.args(packages);
        run(command)
    }
}

fn quiet(program: &str, args: &[&str]) -> bool {
    let status =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}

/// The schemathesis of a virtual environment beside the build, which is made at the first need.
fn schemathesis(python: &Path) -> Result<PathBuf> {
    let dir = target_dir()?.join("tools").join(format!("schemathesis-{SCHEMATHESIS}"));
    let program = dir.join("bin").join("schemathesis");
    let works = |program: &Path| program.to_str().is_some_and(|program| quiet(program, &["--version"]));
    if works(&program) {
        return Ok(program);
    }
    eprintln!("xtask: installing schemathesis {SCHEMATHESIS} by pip into {}", dir.display());
    let mut venv = Command::new(python);
    venv.args(["-m", "venv", "--clear"]).arg(&dir).env_remove("PYTHONHOME");
    run(venv)?;
    let mut pip = Command::new(dir.join("bin").join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.arg(format!("schemathesis=={SCHEMATHESIS}"));
    run(pip).context("schemathesis cannot be installed; `--fast` leaves out the suites that need it")?;
    if !works(&program) {
        bail!("{} was installed and does not run", program.display());
    }
    Ok(program)
}

/// The directory of the type tools' programs, which are installed at the first need.
fn type_tools(npm: &Path) -> Result<PathBuf> {
    let versions = TYPE_TOOLS.map(|(name, version)| format!("{name}@{version}"));
    let dir = target_dir()?.join("tools").join(format!("types-{}", TYPE_TOOLS.map(|(_, version)| version).join("-")));
    let bin = dir.join("node_modules").join(".bin");
    let works = || {
        dir.join("node_modules").join("@asyncapi").join("specs").join("schemas").is_dir()
            && ["openapi-typescript", "tsc"]
                .iter()
                .all(|name| bin.join(name).to_str().is_some_and(|program| quiet(program, &["--version"])))
    };
    if works() {
        return Ok(bin);
    }
    eprintln!("xtask: installing {} by npm into {}", versions.join(", "), dir.display());
    fs::create_dir_all(&dir)?;
    let mut install = Command::new(npm);
    install.args(["install", "--no-audit", "--no-fund", "--no-update-notifier", "--save-exact", "--prefix"]);
    install.arg(&dir).args(&versions);
    run(install).context("the type tools cannot be installed; `--fast` leaves out the suites that need them")?;
    if !works() {
        bail!("{} were installed and do not run", versions.join(", "));
    }
    Ok(bin)
}
