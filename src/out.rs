//! Standard output. Whoever reads it may leave before the end, as in `paceline doctor | head`: for a command that is its
//! end, and for a process that serves it is nothing.

use anyhow::Context as _;
use std::fmt::{self, Arguments};
use std::io::{self, BufRead as _, ErrorKind, Write};

/// Nobody reads standard output any more.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// Writes a line of a command's answer.
///
/// # Errors
/// [`Closed`], with which the command ends in silence; or why it cannot be written, such as a disk that is full.
pub(crate) fn line(text: Arguments<'_>) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("standard output")),
    }
}

/// Writes a line of a process that goes on whether or not anybody reads it.
pub(crate) fn tell(text: Arguments<'_>) {
    if let Err(error) = line(text) {
        tracing::debug!(%error, "a line was not written");
    }
}

/// Writes a line to standard error, if anybody reads that.
pub(crate) fn complain(text: Arguments<'_>) {
    // There is nowhere left to say that it could not be said.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Asks on standard error whether to go on, and reads the answer from standard input; only "y" and "yes" are one.
///
/// # Errors
/// Why the answer cannot be read.
pub(crate) fn agreed() -> anyhow::Result<bool> {
    complain(format_args!("go on? [y/N]"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("the answer cannot be read")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// A line of a command's answer; the function returns when nobody reads it any more.
macro_rules! say {
    ($($text:tt)*) => { $crate::out::line(format_args!($($text)*))? };
}

/// A line of a process that goes on whether or not anybody reads it.
macro_rules! tell {
    ($($text:tt)*) => { $crate::out::tell(format_args!($($text)*)) };
}
