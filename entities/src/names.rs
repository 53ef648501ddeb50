//! The words in columns, each set of them an enum. The ledger speaks them, and so do the contracts.

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A word that names nothing of the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no known name")]
pub struct UnknownName(pub String);

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, DeriveValueType,
        )]
        #[sea_orm(value_type = "String", column_type = "Text")]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in columns and contracts.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                match s { $($text => Ok(Self::$variant),)+ _ => Err(UnknownName(s.to_owned())) }
            }
        }
    };
}

names! {
    /// What a batch does.
    BatchType {
        /// Sends a message to many contacts.
        Send = "SEND",
        /// Imports contacts.
        Import = "IMPORT",
        /// Adds, removes or sets tags on many contacts.
        Tag = "TAG",
        /// Deletes contacts.
        Delete = "DELETE",
    }
}

names! {
    /// Where the approval of a send stands that is above the number of recipients beyond which a second person decides.
    Approval {
        /// Nobody has decided: nothing of it leaves.
        Pending = "pending",
        /// A second person let it go.
        Approved = "approved",
        /// A second person refused it; it is cancelled.
        Refused = "refused",
    }
}

names! {
    /// Where a job stands; `jobs` says who moves it on.
    JobState {
        /// May be claimed from its time on.
        Ready = "ready",
        /// A worker has it.
        Running = "running",
        /// Its batch is paused.
        Paused = "paused",
        /// Only another release knows it.
        Parked = "parked",
        /// Over.
        Done = "done",
        /// Will not be tried again, and waits for a person.
        Dead = "dead",
        /// Was taken away before it was done.
        Cancelled = "cancelled",
    }
}

names! {
    /// What an operation is done to.
    OperationTarget {
        /// To jobs.
        Jobs = "jobs",
        /// To batches.
        Batches = "batches",
    }
}

names! {
    /// What is done to all the jobs that match.
    JobAct {
        /// Dead ones are tried again.
        Retry = "retry",
        /// They are taken away, or seen to.
        Cancel = "cancel",
        /// They run at once.
        Run = "run",
    }
}

names! {
    /// What is done to all the batches that match.
    BatchAct {
        /// They are paused.
        Pause = "pause",
        /// Paused ones go on.
        Resume = "resume",
        /// They are cancelled.
        Cancel = "cancel",
    }
}

names! {
    /// Where an operation stands.
    OperationStatus {
        /// It begins soon, and can be taken back.
        Waiting = "waiting",
        /// Under way.
        Running = "running",
        /// Somebody stopped it.
        Stopped = "stopped",
        /// It was taken back before it began.
        Undone = "undone",
        /// Over.
        Done = "done",
    }
}

names! {
    /// What happened to a job.
    JobEventKind {
        /// It met an error.
        Failed = "failed",
        /// The database ended a statement for the time it took.
        TimedOut = "timed_out",
        /// Something that it needs was away, or asked it to wait.
        Postponed = "postponed",
        /// Its worker died while it ran.
        Crashed = "crashed",
        /// Its worker could not write a result in time.
        LeaseEnded = "lease_ended",
        /// Its row could not be read.
        Unreadable = "unreadable",
        /// Somebody let it be tried again.
        Retried = "retried",
        /// Somebody took it away.
        Cancelled = "cancelled",
        /// Somebody let it run at once.
        RunNow = "run_now",
        /// Somebody gave it another time.
        Moved = "moved",
    }
}

names! {
    /// Where a batch stands.
    BatchStatus {
        /// Accepted and not started, or waiting for its time.
        Pending = "PENDING",
        /// At least one chunk was claimed.
        Processing = "PROCESSING",
        /// Every item was processed, whatever the number of failed ones.
        Completed = "COMPLETED",
        /// The operation itself could not go on, or every item failed.
        Failed = "FAILED",
        /// Stopped by a user; what had not started never will.
        Cancelled = "CANCELLED",
    }
}

names! {
    /// Where an item of a batch stands.
    ItemStatus {
        /// Not started, or waiting for its slot or its next attempt. Who moves it on: the chunk's claim.
        Pending = "pending",
        /// Claimed for an attempt. Who moves it on: the outcome, or the next claim of its chunk (as `unknown`).
        Sending = "sending",
        /// Done.
        Succeeded = "succeeded",
        /// Could not be done; the code and the message say why.
        Failed = "failed",
        /// Nothing needed doing, or nothing was allowed.
        Skipped = "skipped",
        /// Its batch was cancelled first.
        Cancelled = "cancelled",
        /// An attempt was made and its outcome is not known. Settled by the same message id, or held, as the batch says.
        Unknown = "unknown",
    }
}

names! {
    /// What becomes of a send whose outcome is not known.
    OnUnknown {
        /// Send again under the same message id: right with an idempotent gateway.
        Resend = "resend",
        /// Leave it `unknown` and count it as failed, for a person to decide.
        Hold = "hold",
    }
}

names! {
    /// What a `TAG` batch does with its tags.
    TagOperation {
        /// Adds them.
        Add = "add",
        /// Removes them.
        Remove = "remove",
        /// Makes them the only ones.
        Set = "set",
    }
}

names! {
    /// Where a message stands.
    MessageStatus {
        /// Written, and not sent yet. Who moves it on: the outcome of an attempt.
        Queued = "queued",
        /// The gateway took it.
        Sent = "sent",
        /// It is on the recipient's device.
        Delivered = "delivered",
        /// It was read.
        Read = "read",
        /// It was not taken and will not be tried again, or was taken and could not be delivered.
        Failed = "failed",
        /// Nobody knows whether it was taken.
        Unknown = "unknown",
        /// The contact wrote it.
        Received = "received",
    }
}

impl MessageStatus {
    /// Whether nobody can say that it was sent: it failed, or is in doubt.
    #[must_use]
    pub const fn is_troubled(self) -> bool {
        match self {
            Self::Failed | Self::Unknown => true,
            Self::Queued | Self::Sent | Self::Delivered | Self::Read | Self::Received => false,
        }
    }
}

impl BatchStatus {
    /// Whether nothing moves a batch out of this status but a user's retry.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Processing => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

names! {
    /// Who wrote a message.
    Direction {
        /// The contact.
        Inbound = "inbound",
        /// We.
        Outbound = "outbound",
    }
}

names! {
    /// How a user's password stands.
    PasswordState {
        /// The user's own.
        Chosen = "chosen",
        /// Good for one sign-in, which may change it and nothing else.
        OneTime = "one_time",
        /// It had that one sign-in.
        Used = "used",
    }
}
