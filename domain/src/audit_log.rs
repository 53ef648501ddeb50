//! The audit log: who changed what, when, and from where.
//!
//! A record is written in the transaction of the change that it tells of: there is no change without one, and none of a
//! change that was rolled back. It has ids and words alone: no text of a message, no secret, no phone number. Records are
//! never changed, which a trigger holds, and go when they are older than the configuration keeps them ([`prune`]).
//!
//! What the gateway reports of messages, and what jobs do of a batch, has no record of its own: the message's and the
//! item's rows are that, and the batch's record says who asked.

mod search;

pub use search::{Search, count, page, search, write_csv};

use crate::db;
use crate::time::Timestamp;
use entities::{UserId, audit_logs};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use std::fmt::{self, Display};

/// Who changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user, by a session or a key.
    User(UserId),
    /// Somebody who showed nothing: who signs in, or asks where the configuration opens the paths.
    Anonymous,
    /// A customer, through the gateway.
    Gateway,
    /// Whoever runs commands on the machine, or the process itself.
    System,
}

impl Actor {
    /// The name in columns and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Anonymous => "anonymous",
            Self::Gateway => "gateway",
            Self::System => "system",
        }
    }

    /// The user, where it is one.
    #[must_use]
    pub const fn user(self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Anonymous | Self::Gateway | Self::System => None,
        }
    }
}

/// The most characters of an address and of a program's name that are kept.
const MAX_ADDRESS: usize = 64;
const MAX_AGENT: usize = 200;

/// Who changes something, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    actor: Actor,
    ip_address: Option<String>,
    user_agent: Option<String>,
}

impl Origin {
    /// Somebody at an address, with a program that calls itself so. What is too long is cut, and signs that nobody can read
    /// are left out.
    #[must_use]
    pub fn new(actor: Actor, ip_address: Option<&str>, user_agent: Option<&str>) -> Self {
        let cut = |text: &str, most| text.chars().filter(|c| !c.is_control()).take(most).collect::<String>();
        Self {
            actor,
            ip_address: ip_address.map(|address| cut(address, MAX_ADDRESS)),
            user_agent: user_agent.map(|agent| cut(agent, MAX_AGENT)),
        }
    }

    /// The process itself, or a command on its machine: `what` is its name.
    #[must_use]
    pub fn system(what: &str) -> Self {
        Self::new(Actor::System, None, Some(what))
    }

    /// A customer, through the gateway.
    #[must_use]
    pub fn gateway() -> Self {
        Self::new(Actor::Gateway, None, None)
    }

    /// The same place, with another who acts: somebody who has shown by now who they are.
    #[must_use]
    pub fn with(&self, actor: Actor) -> Self {
        Self { actor, ..self.clone() }
    }

    /// The user who acts, where it is one.
    #[must_use]
    pub const fn user(&self) -> Option<UserId> {
        self.actor.user()
    }

    /// The address, as it is kept.
    #[must_use]
    pub fn ip_address(&self) -> Option<&str> {
        self.ip_address.as_deref()
    }

    /// What the program calls itself, as it is kept.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What was done, and with what kind of thing: `batch:pause`. The record's resource is one of that kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $name,)+
        }

        impl Action {
            /// The name in columns and on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

actions! {
    /// A batch was accepted.
    BatchCreate = "batch:create",
    /// A batch was cancelled.
    BatchCancel = "batch:cancel",
    /// A batch is to be cancelled, unless that is taken back.
    BatchCancelAsk = "batch:cancel_ask",
    /// That a batch is to be cancelled was taken back.
    BatchKeep = "batch:keep",
    /// A batch was paused.
    BatchPause = "batch:pause",
    /// A batch was let go on.
    BatchResume = "batch:resume",
    /// A batch was given another pace, jitter or time.
    BatchUpdate = "batch:update",
    /// What failed of a batch is tried again.
    BatchRetry = "batch:retry",
    /// A send that waited for a second person was let go by one.
    BatchApprove = "batch:approve",
    /// A send that waited for a second person was refused by one; the record says for what reason.
    BatchRefuse = "batch:refuse",
    /// A template was made.
    TemplateCreate = "template:create",
    /// A template was changed.
    TemplateUpdate = "template:update",
    /// A template was deleted.
    TemplateDelete = "template:delete",
    /// A number gets no bulk messages any more.
    SuppressionCreate = "suppression:create",
    /// A number gets bulk messages again.
    SuppressionEnd = "suppression:end",
    /// A view of a list was kept.
    ViewCreate = "view:create",
    /// A view of a list was deleted.
    ViewDelete = "view:delete",
    /// A user changed the numbers that their tests go to.
    TestNumbers = "user:test_numbers",
    /// A sender was made.
    SenderCreate = "sender:create",
    /// A sender's pace, cap or stop was changed.
    SenderUpdate = "sender:update",
    /// A dead job is tried again.
    JobRetry = "job:retry",
    /// A job was taken away, or a dead one seen to.
    JobCancel = "job:cancel",
    /// A job was let run at once.
    JobRun = "job:run",
    /// A job was given another time.
    JobMove = "job:move",
    /// Something is to be done to all the jobs or batches that match.
    OperationCreate = "operation:create",
    /// An operation was taken back or stopped.
    OperationStop = "operation:stop",
    /// The installation is to be examined.
    ExaminationCreate = "examination:create",
    /// A worker takes no new jobs any more.
    WorkerDrain = "worker:drain",
    /// A worker takes jobs again.
    WorkerResume = "worker:resume",
    /// A worker's lanes do another number of jobs at once.
    WorkerUpdate = "worker:update",
    /// A contact was made by hand.
    ContactCreate = "contact:create",
    /// A contact was changed by hand.
    ContactUpdate = "contact:update",
    /// The whole number of a contact was shown to somebody who sees numbers masked; the record says for what reason.
    ContactUnmask = "contact:unmask",
    /// What a contact wrote was marked as read.
    ConversationRead = "conversation:read",
    /// A person wrote a message.
    MessageSend = "message:send",
    /// A user signed in.
    SignIn = "user:sign_in",
    /// Somebody tried to sign in as a user, or as nobody who is known, and could not.
    SignInFailed = "user:sign_in_failed",
    /// A user signed out.
    SignOut = "user:sign_out",
    /// A refresh token was used twice, and its session was ended for that.
    SessionReused = "user:session_reused",
    /// A user's password was changed.
    Password = "user:password",
    /// A user was made.
    UserCreate = "user:create",
    /// A user may not sign in any more.
    UserDisable = "user:disable",
    /// A user may sign in again.
    UserEnable = "user:enable",
    /// A user was given another name or picture.
    UserUpdate = "user:update",
    /// A user was given another role.
    UserRole = "user:role",
    /// All sessions of a user were ended.
    UserSignOut = "user:sign_out_everywhere",
    /// A label was made.
    LabelCreate = "label:create",
    /// A token was given out by a command.
    Token = "user:token",
    /// An API key was made.
    KeyCreate = "key:create",
    /// An API key was revoked.
    KeyRevoke = "key:revoke",
}

/// Records a change, in its transaction. `resource`: what was changed, by its id.
///
/// # Errors
/// The database's.
pub async fn record(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: &Origin,
    action: Action,
    resource: Option<impl Display>,
) -> Result<(), DbErr> {
    record_for(conn, now, by, action, resource, None).await
}

/// The longest reason, in characters.
pub const MAX_REASON: usize = 200;

/// The same, with the reason that somebody gave, cut to [`MAX_REASON`] and without signs that nobody can read.
///
/// # Errors
/// The database's.
pub async fn record_for(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: &Origin,
    action: Action,
    resource: Option<impl Display>,
    reason: Option<&str>,
) -> Result<(), DbErr> {
    let reason = reason.map(|text| text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect::<String>());
    let row = audit_logs::ActiveModel {
        actor: Set(by.actor.as_str().to_owned()),
        user_id: Set(by.actor.user()),
        action: Set(action.as_str().to_owned()),
        resource_id: Set(resource.map(|resource| resource.to_string())),
        ip_address: Set(by.ip_address.clone()),
        user_agent: Set(by.user_agent.clone()),
        created_at: Set(now),
        reason: Set(reason),
        ..Default::default()
    };
    audit_logs::Entity::insert(row).exec_without_returning(conn).await.map(drop)
}

/// A record as it was written.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "audit_logs::Entity")]
pub struct Record {
    /// Its number; later ones are higher.
    pub id: i64,
    /// The kind of actor, see [`Actor::as_str`].
    pub actor: String,
    /// The user, where it was one.
    #[sea_orm(from_col = "user_id")]
    pub user: Option<UserId>,
    /// What was done, see [`Action::as_str`].
    pub action: String,
    /// With what.
    pub resource_id: Option<String>,
    /// From which address.
    pub ip_address: Option<String>,
    /// By which program.
    pub user_agent: Option<String>,
    /// When.
    #[sea_orm(from_col = "created_at")]
    pub at: Timestamp,
    /// For what reason, where one was asked for.
    pub reason: Option<String>,
}

impl Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = self.resource_id.as_deref().unwrap_or("-");
        match self.user {
            Some(user) => write!(f, "{} {} {user} {} {resource}", self.at.to_rfc3339(), self.actor, self.action),
            None => write!(f, "{} {} {} {resource}", self.at.to_rfc3339(), self.actor, self.action),
        }
    }
}

/// The latest records, the newest first: those before the record `before`, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait, before: Option<i64>, limit: u32) -> Result<Vec<Record>, DbErr> {
    latest(before).limit(u64::from(limit)).into_partial_model().all(conn).await
}

/// The records before this one, the newest first.
fn latest(before: Option<i64>) -> Select<audit_logs::Entity> {
    audit_logs::Entity::find()
        .filter(audit_logs::Column::Id.lt(before.unwrap_or(i64::MAX)))
        .order_by_desc(audit_logs::Column::Id)
}

/// Throws away what is older, at most `limit` records; returns how many. The oldest have the lowest numbers: no index on
/// the time is needed, and so none is written.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, before: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let sql = format!(
        "DELETE FROM audit_logs WHERE id IN (
            SELECT id FROM (SELECT id, created_at FROM audit_logs ORDER BY id LIMIT {limit}) AS oldest
            WHERE created_at < $1)"
    );
    db::execute(conn, sql, [before.0.into()]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_place_is_bounded_and_can_be_read() {
        let long = format!("curl\r\n{}", "x".repeat(10_000));
        let origin = Origin::new(Actor::Anonymous, Some(&long), Some(&long));
        assert_eq!(origin.ip_address().map(str::len), Some(MAX_ADDRESS));
        assert_eq!(origin.user_agent().map(str::len), Some(MAX_AGENT));
        assert!(origin.user_agent().is_some_and(|agent| agent.starts_with("curlx")), "{origin:?}");
        let user = origin.with(Actor::User(UserId(7)));
        assert_eq!((user.actor.user(), user.user_agent()), (Some(UserId(7)), origin.user_agent()));
    }
}
