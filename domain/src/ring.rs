//! Rings: what goes through the queue. A ring says "look at this job"; the job itself is a row.
//!
//! A ring may be lost, doubled, late or out of order. A lost one is rung again by the sweep; a double one meets a job
//! that is not ready and does nothing.

use entities::JobId;
use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

pub use entities::UnknownName;

/// Which of the three queues a job waits in. Each has its own workers, so a critical job never waits for a bulk one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, DeriveValueType)]
#[serde(rename_all = "snake_case")]
#[sea_orm(value_type = "String")]
pub enum Lane {
    /// An agent's reply, a verification code: somebody is waiting for it.
    Critical,
    /// Work in between: expanding an audience, maintenance that a user asked for.
    Default,
    /// The chunks of batches.
    Bulk,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Default, Self::Bulk];

    /// The name in columns, keys, metrics and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $kind:ident = $text:literal in $lane:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, DeriveValueType)]
        #[serde(rename_all = "snake_case")]
        #[sea_orm(value_type = "String")]
        pub enum $name {
            $($(#[$vdoc])* $kind,)+
        }

        impl $name {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The name in columns, rings and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text,)+ }
            }

            /// The lane that its jobs wait in.
            #[must_use]
            pub const fn lane(self) -> Lane {
                match self { $(Self::$kind => Lane::$lane,)+ }
            }
        }
    };
}

impl JobKind {
    /// The version in which this build writes and leaves a job of this kind, and the latest that it reads. A job of a later
    /// one waits, parked, for a later build.
    #[must_use]
    pub const fn version(self) -> i64 {
        match self {
            // 2: items in flight for the first time have no rows (0028), and who does not know that would lose them.
            // 3: an item and its message are one row (0037).
            Self::SendChunk => 3,
            Self::Expand
            | Self::Start
            | Self::Cancel
            | Self::ImportChunk
            | Self::TagChunk
            | Self::DeleteChunk
            | Self::Deliver
            | Self::Operation
            | Self::Examination
            | Self::Probe => 1,
        }
    }
}

kinds! {
    /// What a job does. The name is in the row and in the ring; a name that a process does not know is left alone.
    JobKind {
        /// Turns a batch's audience into chunks.
        Expand = "expand" in Default,
        /// Opens a scheduled batch at its time.
        Start = "start" in Default,
        /// Cancels a batch, unless somebody took that back by its time.
        Cancel = "cancel" in Default,
        /// Sends one chunk of a `SEND` batch.
        SendChunk = "send_chunk" in Bulk,
        /// Imports one chunk of an `IMPORT` batch.
        ImportChunk = "import_chunk" in Bulk,
        /// Changes the tags of one chunk of a `TAG` batch.
        TagChunk = "tag_chunk" in Bulk,
        /// Deletes one chunk of a `DELETE` batch.
        DeleteChunk = "delete_chunk" in Bulk,
        /// Delivers a single message.
        Deliver = "deliver" in Critical,
        /// Does something to all the jobs or batches that match a filter.
        Operation = "operation" in Default,
        /// Examines the installation, as `doctor` does.
        Examination = "examination" in Default,
        /// Does nothing: measures how long a lane takes from commit to handler (`doctor`, `bench`). Whoever measures says
        /// which lane.
        Probe = "probe" in Critical,
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = UnknownName;
    fn from_str(s: &str) -> Result<Self, UnknownName> {
        Self::ALL.iter().copied().find(|k| k.as_str() == s).ok_or_else(|| UnknownName(s.to_owned()))
    }
}

impl FromStr for Lane {
    type Err = UnknownName;
    fn from_str(s: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|l| l.as_str() == s).ok_or_else(|| UnknownName(s.to_owned()))
    }
}

/// A ring's whole content. Written `kind:id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobRef {
    /// What the job does, so that a metric or a log can tell without reading the row.
    pub kind: JobKind,
    /// The row.
    pub id: JobId,
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

impl FromStr for JobRef {
    type Err = UnknownName;
    fn from_str(s: &str) -> Result<Self, UnknownName> {
        let bad = || UnknownName(s.to_owned());
        let (kind, id) = s.split_once(':').ok_or_else(bad)?;
        Ok(Self { kind: kind.parse()?, id: id.parse().map_err(|_| bad())? })
    }
}

/// A ring with the lane it goes to: what a domain step asks its caller to do after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ring {
    /// Where to ring.
    pub lane: Lane,
    /// What to ring for.
    pub job: JobRef,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_reads_back_as_it_was_written() {
        for kind in JobKind::ALL.iter().copied() {
            let job = JobRef { kind, id: JobId(7) };
            assert_eq!(job.to_string().parse(), Ok(job));
        }
        for kind in JobKind::ALL.iter().copied() {
            // The name in a row is the one that a ring is read by, however it is written.
            assert_eq!(serde_json::to_value(kind).expect("a word"), kind.as_str());
        }
        for bad in ["", "probe", "probe:", "probe:x", "nope:1", "probe:-1"] {
            assert!(bad.parse::<JobRef>().is_err(), "{bad:?}");
        }
    }
}
