//! What an error of the database means for whoever met it.

use sea_orm::sqlx::{self, error::DatabaseError};
use sea_orm::{DbErr, RuntimeErr};

/// What an error of the database means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its disk is full, or its file may not grow. Passes when somebody makes room.
    DiskFull,
    /// It is away, starting, stopping, full of others, or did not answer in time. Passes.
    Away,
    /// A statement was ended for the time it took: it does too much at once, waits for somebody's lock, or the database is
    /// busy. With less to do it may pass; at its smallest it counts, so that nothing is tried without end.
    TooLong,
    /// Others were in the way: a deadlock, a lock, an order that cannot be. Passes when it is tried again.
    Conflict,
    /// The statement or its data are at fault. Does not pass.
    Fault,
}

impl Trouble {
    /// What it means.
    #[must_use]
    pub fn of(error: &DbErr) -> Self {
        match error {
            DbErr::ConnectionAcquire(_) => Self::Away,
            DbErr::Conn(RuntimeErr::Internal(_)) => Self::Away,
            DbErr::Conn(RuntimeErr::SqlxError(error)) => match Self::of_sqlx(error) {
                // Whatever kept us from connecting, it was not the statement.
                Self::Fault | Self::Conflict => Self::Away,
                trouble @ (Self::DiskFull | Self::Away | Self::TooLong) => trouble,
            },
            DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
                Self::of_sqlx(error)
            }
            _ => Self::Fault,
        }
    }

    fn of_sqlx(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Away,
            sqlx::Error::Database(error) => Self::of_code(error.as_ref()),
            _ => Self::Fault,
        }
    }

    /// By SQLSTATE on PostgreSQL (five characters), by result code on SQLite (a number).
    fn of_code(error: &dyn DatabaseError) -> Self {
        let code = error.code().unwrap_or_default();
        if let (Ok(number), true) =
            (code.parse::<u32>(), error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some())
        {
            return match number & 0xff {
                // BUSY, LOCKED.
                5 | 6 => Self::Conflict,
                // IOERR, CANTOPEN: a disk that is full says so in many ways. NOMEM, INTERRUPT.
                7 | 9 | 10 | 14 => Self::Away,
                // FULL.
                13 => Self::DiskFull,
                _ => Self::Fault,
            };
        }
        match code.as_ref() {
            "53100" => Self::DiskFull,
            // PostgreSQL has no code for every file that it cannot extend; it puts the system's words in its own.
            _ if error.message().contains("No space left on device") => Self::DiskFull,
            // serialization_failure, deadlock_detected, lock_not_available.
            "40001" | "40P01" | "55P03" => Self::Conflict,
            // query_canceled: `statement_timeout`, or somebody's hand.
            "57014" => Self::TooLong,
            // idle_in_transaction_session_timeout.
            "25P03" => Self::Away,
            // connection_exception, insufficient_resources, operator_intervention, system_error.
            code if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Self::Away,
            _ => Self::Fault,
        }
    }

    /// Whether it passes by itself, or when somebody mends the database; the one who met it is not at fault.
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::DiskFull | Self::Away | Self::TooLong | Self::Conflict => true,
            Self::Fault => false,
        }
    }

    /// Whether an error of a commit leaves open if it is committed: the answer to the commit itself was lost.
    #[must_use]
    pub fn is_unsettled(error: &DbErr) -> bool {
        matches!(error, DbErr::Exec(RuntimeErr::SqlxError(error)) if matches!(**error, sqlx::Error::Io(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sea_orm::ConnAcquireErr;
    use std::io;

    #[test]
    fn what_breaks_on_the_way_passes_and_a_bad_statement_does_not() {
        let broken = || sqlx::Error::Io(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(Trouble::of(&DbErr::Query(RuntimeErr::SqlxError(broken().into()))), Trouble::Away);
        assert_eq!(Trouble::of(&DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)), Trouble::Away);
        let other = DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::RowNotFound.into()));
        assert!(!Trouble::of(&other).passes());
        assert!(Trouble::is_unsettled(&DbErr::Exec(RuntimeErr::SqlxError(broken().into()))));
        assert!(!Trouble::is_unsettled(&DbErr::Query(RuntimeErr::SqlxError(broken().into()))));
    }
}
