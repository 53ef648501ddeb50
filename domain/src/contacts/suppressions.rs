//! Who does not want bulk messages, and the trail of it.
//!
//! A suppression is a number's, not a contact's: it outlives the deletion of the contact, and holds for one that is made
//! with the number later. While one is active, the contact's row says so too (`suppressed_at`), where the claims of
//! batches read it. Rows are ended: when, why, by whom and by which message. Those that ended are deleted with the contact;
//! one that holds stays.

use crate::db;
use crate::time::Timestamp;
use entities::{ContactId, MessageId, SuppressionId, UserId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

/// Why a suppression began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The person wrote a word that says so.
    Word,
    /// A user did it.
    User,
    /// The network reported that the person wants nothing from businesses.
    Network,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Word, Self::User, Self::Network];

    /// The name in columns and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::User => "user",
            Self::Network => "network",
        }
    }
}

impl std::str::FromStr for Reason {
    type Err = crate::ring::UnknownName;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|r| r.as_str() == s).ok_or_else(|| crate::ring::UnknownName(s.to_owned()))
    }
}

/// What began or ended a suppression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause<'a> {
    /// A word, and the message that it came in.
    Word {
        /// The word, as it is configured.
        word: &'a str,
        /// The message.
        message: MessageId,
    },
    /// A user.
    User(UserId),
    /// The network's report about this message.
    Network {
        /// The message.
        message: MessageId,
    },
}

impl Cause<'_> {
    const fn reason(&self) -> Reason {
        match self {
            Self::Word { .. } => Reason::Word,
            Self::User(_) => Reason::User,
            Self::Network { .. } => Reason::Network,
        }
    }

    fn columns(&self) -> [sea_orm::Value; 4] {
        let (word, message, user) = match *self {
            Self::Word { word, message } => (Some(word), Some(message), None),
            Self::User(user) => (None, None, Some(user)),
            Self::Network { message } => (None, Some(message), None),
        };
        [
            self.reason().as_str().into(),
            word.map(str::to_owned).into(),
            message.map(|id| id.0).into(),
            user.map(|id| id.0).into(),
        ]
    }
}

/// How a suppression ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// By which word.
    pub word: Option<String>,
    /// By which message.
    pub message: Option<MessageId>,
    /// By which user.
    pub by: Option<UserId>,
}

/// A number's wish, with its trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Its number.
    pub id: SuppressionId,
    /// The phone number: digits without `+`.
    pub phone: String,
    /// The contact that had the number then.
    pub contact: Option<ContactId>,
    /// Why.
    pub reason: Reason,
    /// By which word.
    pub word: Option<String>,
    /// By which message.
    pub message: Option<MessageId>,
    /// By which user.
    pub created_by: Option<UserId>,
    /// When.
    pub created_at: Timestamp,
    /// How it ended; `None` while it holds.
    pub ended: Option<Ended>,
}

const COLUMNS: &str = "id, phone, contact_id, reason, word, message_id, created_by, created_at, ended_at, ended_reason,
    ended_word, ended_message_id, ended_by";

fn read(row: &QueryResult) -> Result<Suppression, DbErr> {
    let reason = |text: String| {
        text.parse::<Reason>().map_err(|error| DbErr::Type(format!("the reason of a suppression: {error}")))
    };
    let number = |column: &str| row.try_get::<Option<i64>>("", column);
    let ended = match (number("ended_at")?, row.try_get::<Option<String>>("", "ended_reason")?) {
        (Some(at), Some(text)) => Some(Ended {
            at: Timestamp(at),
            reason: reason(text)?,
            word: row.try_get("", "ended_word")?,
            message: number("ended_message_id")?.map(MessageId),
            by: number("ended_by")?.map(UserId),
        }),
        _ => None,
    };
    Ok(Suppression {
        id: SuppressionId(row.try_get("", "id")?),
        phone: row.try_get("", "phone")?,
        contact: number("contact_id")?.map(ContactId),
        reason: reason(row.try_get("", "reason")?)?,
        word: row.try_get("", "word")?,
        message: number("message_id")?.map(MessageId),
        created_by: number("created_by")?.map(UserId),
        created_at: Timestamp(row.try_get("", "created_at")?),
        ended,
    })
}

/// Suppresses a number. One that is suppressed stays as it is: the first wish is the one that counts. `Err` with the
/// row that holds already.
///
/// # Errors
/// The database's.
pub async fn begin(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    phone: &str,
    cause: Cause<'_>,
) -> Result<Result<Suppression, Suppression>, DbErr> {
    let [reason, word, message, user] = cause.columns();
    let sql = format!(
        "INSERT INTO suppressions (phone, contact_id, reason, word, message_id, created_by, created_at)
         SELECT $1, (SELECT id FROM contacts WHERE phone = $1), $2, $3, $4, $5, $6 WHERE TRUE
         ON CONFLICT (phone) WHERE ended_at IS NULL DO NOTHING RETURNING {COLUMNS}"
    );
    let values = [phone.into(), reason, word, message, user, now.0.into()];
    if let Some(row) = db::one(conn, sql, values).await? {
        let sql = "UPDATE contacts SET suppressed_at = $2 WHERE phone = $1";
        db::execute(conn, sql, [phone.into(), now.0.into()]).await?;
        return Ok(Ok(read(&row)?));
    }
    let sql = format!("SELECT {COLUMNS} FROM suppressions WHERE phone = $1 AND ended_at IS NULL");
    let row = db::one(conn, sql, [phone.into()]).await?;
    row.as_ref()
        .map_or_else(|| Err(DbErr::RecordNotFound("the suppression ended meanwhile".into())), |row| Ok(Err(read(row)?)))
}

/// Ends the suppression of a number; `None`: it had none.
///
/// # Errors
/// The database's.
pub async fn end(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    phone: &str,
    cause: Cause<'_>,
) -> Result<Option<Suppression>, DbErr> {
    let [reason, word, message, user] = cause.columns();
    let sql = format!(
        "UPDATE suppressions SET ended_at = $2, ended_reason = $3, ended_word = $4, ended_message_id = $5, ended_by = $6
         WHERE phone = $1 AND ended_at IS NULL RETURNING {COLUMNS}"
    );
    let row = db::one(conn, sql, [phone.into(), now.0.into(), reason, word, message, user]).await?;
    if row.is_some() {
        db::execute(conn, "UPDATE contacts SET suppressed_at = NULL WHERE phone = $1", [phone.into()]).await?;
    }
    row.as_ref().map(read).transpose()
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this number.
    pub phone: Option<String>,
    /// Those that ended too: the whole trail.
    pub with_ended: bool,
}

/// Lists suppressions, the newest first, and tells how many match.
///
/// # Errors
/// The database's.
pub async fn list(
    conn: &impl ConnectionTrait,
    filter: &Filter,
    limit: u64,
    offset: u64,
) -> Result<(Vec<Suppression>, i64), DbErr> {
    let active = if filter.with_ended { "" } else { "AND ended_at IS NULL" };
    let phone = || -> [sea_orm::Value; 1] { [filter.phone.clone().into()] };
    let same = "(CAST($1 AS TEXT) IS NULL OR phone = $1)";
    let count = db::one(conn, format!("SELECT count(*) AS n FROM suppressions WHERE {same} {active}"), phone()).await?;
    let count = count.map_or(Ok(0), |row| row.try_get("", "n"))?;
    let sql = format!(
        "SELECT {COLUMNS} FROM suppressions WHERE {same} {active} ORDER BY id DESC LIMIT {limit} OFFSET {offset}"
    );
    let found = db::all(conn, sql, phone()).await?.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok((found, count))
}

/// Forgets what is known of numbers whose contacts are deleted. A wish that holds stays, with its number, reason and time:
/// without the number nobody could keep to it. It names no contact and no message any more. What ended goes: it protects
/// nobody.
pub(crate) async fn forget(conn: &impl ConnectionTrait, phones: &[String]) -> Result<(), DbErr> {
    let these = crate::db::Dialect::of(conn).one_of(1, "text");
    let list = serde_json::json!(phones).to_string();
    let sql = format!("DELETE FROM suppressions WHERE phone {these} AND ended_at IS NOT NULL");
    db::execute(conn, sql, [list.clone().into()]).await?;
    let sql = format!("UPDATE suppressions SET contact_id = NULL, message_id = NULL WHERE phone {these}");
    db::execute(conn, sql, [list.into()]).await.map(|_| ())
}
