//! A small disk, to be filled.

use crate::process::{Process, Signal};
use crate::{PATIENCE, tools};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// Mounts a disk of `$2` where `$1` is, and holds it for as long as it runs.
const HOLDER: &str =
    r#"mount -t tmpfs -o "size=$2,mode=777" paceline-test "$1" && echo mounted && exec sleep infinity"#;

/// A file system in memory of a fixed size, mounted in a mount namespace of its own: nobody else sees it, and it is gone
/// with the process that holds it. What is to live on it runs [inside](Disk::inside).
#[derive(Clone, Debug)]
pub struct Disk(Arc<Held>);

#[derive(Debug)]
struct Held {
    holder: Process,
    as_root: bool,
    dir: TempDir,
}

impl Disk {
    /// An empty disk of so many MiB.
    ///
    /// # Errors
    /// When this system lets us mount nothing; the message says what was tried and what is missing.
    pub fn start(mib: u32) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("paceline-disk-").tempdir().context("no temporary directory")?;
        let as_root = tools::is_root();
        let mut command = Command::new("unshare");
        command.args(if as_root { &["--mount"][..] } else { &["--mount", "--map-root-user"][..] });
        command.args(["--propagation", "private", "sh", "-c", HOLDER, "paceline-test-disk"]);
        command.arg(dir.path()).arg(format!("{mib}m"));
        let tried = format!("{command:?}");
        let needs = "a small disk needs util-linux (unshare, mount, nsenter), and root or user namespaces that may mount \
                     (kernel.unprivileged_userns_clone=1, no seccomp profile that forbids it: in a container run with \
                     CAP_SYS_ADMIN)";
        let holder = Process::spawn("the holder of a disk", command, Signal::Kill, Some(dir.path()))
            .with_context(|| needs.to_owned())?;
        if holder.log().wait_for(PATIENCE, |line| (line == "mounted").then_some(())).is_none() {
            bail!("{needs}; tried {tried}, which said:\n{}", holder.log().tail(10));
        }
        Ok(Self(Arc::new(Held { holder, as_root, dir })))
    }

    /// Where it is mounted, for those inside.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.dir.path()
    }

    /// The same place as those outside reach it.
    #[must_use]
    pub fn outside(&self) -> PathBuf {
        let path = self.path().strip_prefix("/").unwrap_or(self.path());
        Path::new("/proc").join(self.0.holder.pid().to_string()).join("root").join(path)
    }

    /// A command that runs `program` where the disk is.
    #[must_use]
    pub fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.holder.pid().to_string(), "--mount"]);
        if !self.0.as_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        // Back to where the command is to run: entering a namespace leads to its root.
        command.args(["--wd=.", "--"]).arg(program);
        command
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// When it cannot be written for another reason than that it is full.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.filler())?;
        for size in [1 << 20, 4096, 1] {
            let block = vec![0; size];
            loop {
                match file.write(&block) {
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("the disk cannot be filled"),
                }
            }
        }
        Ok(())
    }

    /// Gives the space back that [`fill`](Self::fill) took.
    ///
    /// # Errors
    /// The system's.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("the disk was not filled")
    }

    fn filler(&self) -> PathBuf {
        self.outside().join("filler")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_it_has_space_again() {
        let disk = Disk::start(1).unwrap();
        let write = |bytes: &str| {
            let script = format!("head -c {bytes} /dev/zero > {}/file", disk.path().display());
            disk.inside("sh").args(["-c", &script]).output().unwrap().status.success()
        };
        assert!(write("1000"));
        assert_eq!(fs::metadata(disk.outside().join("file")).unwrap().len(), 1000);
        assert!(!disk.path().join("file").exists(), "nobody outside sees it where it is mounted");
        disk.fill().unwrap();
        assert!(!write("100000"));
        disk.free().unwrap();
        assert!(write("100000"));
        assert!(!write("2000000"));
    }
}
