//! Who does not want bulk messages, and the trail of it.
//!
//! A suppression is a number's, not a contact's: it outlives the deletion of the contact, and holds for one that is made
//! with the number later. While one is active, the contact's row says so too (`suppressed_at`), where the claims of
//! batches read it. Rows are ended: when, why, by whom and by which message. Those that ended are deleted with the contact;
//! one that holds stays.
//!
//! Spellings of one number are one number here too ([`super::spelling`]), and a wish of any number that a contact is known
//! by holds for it.

use super::spelling;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::{ContactId, MessageId, SuppressionId, UserId, suppressions};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Select,
};
use serde_json::json;

/// Why a suppression began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The person wrote a word that says so.
    Word,
    /// A user did it.
    User,
    /// The network reported that the person wants nothing from businesses.
    Network,
    /// Two spellings of one number had one each; the earlier one holds.
    Merged,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Word, Self::User, Self::Network, Self::Merged];

    /// The name in columns and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::User => "user",
            Self::Network => "network",
            Self::Merged => "merged",
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

impl TryFrom<suppressions::Model> for Suppression {
    type Error = DbErr;

    fn try_from(row: suppressions::Model) -> Result<Self, DbErr> {
        let reason = |text: &str| {
            text.parse::<Reason>().map_err(|error| DbErr::Type(format!("the reason of a suppression: {error}")))
        };
        let ended = match (row.ended_at, row.ended_reason) {
            (Some(at), Some(text)) => Some(Ended {
                at,
                reason: reason(&text)?,
                word: row.ended_word,
                message: row.ended_message_id,
                by: row.ended_by,
            }),
            _ => None,
        };
        Ok(Self {
            id: row.id,
            phone: row.phone,
            contact: row.contact_id,
            reason: reason(&row.reason)?,
            word: row.word,
            message: row.message_id,
            created_by: row.created_by,
            created_at: row.created_at,
            ended,
        })
    }
}

/// What came of a wish not to be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The number is suppressed by it.
    New(Suppression),
    /// It was already: by this one.
    Already(Suppression),
}

impl Begun {
    /// The suppression that is new.
    #[must_use]
    pub fn into_new(self) -> Option<Suppression> {
        match self {
            Self::New(suppression) => Some(suppression),
            Self::Already(_) => None,
        }
    }

    /// The suppression that holds.
    #[must_use]
    pub fn into_suppression(self) -> Suppression {
        match self {
            Self::New(suppression) | Self::Already(suppression) => suppression,
        }
    }
}

/// Suppresses a number. One that is suppressed stays as it is: the first wish is the one that counts.
///
/// # Errors
/// The database's.
pub async fn begin(conn: &impl ConnectionTrait, now: Timestamp, phone: &str, cause: Cause<'_>) -> Result<Begun, DbErr> {
    let [reason, word, message, user] = cause.columns();
    let sql = "INSERT INTO suppressions (phone, contact_id, reason, word, message_id, created_by, created_at)
               SELECT $1, $7, $2, $3, $4, $5, $6 WHERE TRUE
               ON CONFLICT (phone_key) WHERE ended_at IS NULL DO NOTHING RETURNING *";
    let key = spelling::key(phone);
    let contacts = contacts_of(conn, &key).await?;
    let contact = contacts.first().map(|id| id.0);
    let values = [phone.into(), reason, word, message, user, now.0.into(), contact.into()];
    if let Some(row) = db::one_as::<suppressions::Model>(conn, sql, values).await? {
        repeat(conn, &contacts).await?;
        return row.try_into().map(Begun::New);
    }
    let holds = suppressions::Entity::find()
        .filter(suppressions::Column::PhoneKey.eq(key.into_owned()))
        .filter(suppressions::Column::EndedAt.is_null());
    let row = holds.one(conn).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the suppression ended meanwhile".into()))?;
    row.try_into().map(Begun::Already)
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
    let sql = "UPDATE suppressions SET ended_at = $2, ended_reason = $3, ended_word = $4, ended_message_id = $5, ended_by = $6
               WHERE phone_key = $1 AND ended_at IS NULL RETURNING *";
    let key = spelling::key(phone).into_owned();
    let values = [key.as_str().into(), now.0.into(), reason, word, message, user];
    let Some(row) = db::one_as::<suppressions::Model>(conn, sql, values).await? else { return Ok(None) };
    let contacts = contacts_of(conn, &key).await?;
    repeat(conn, &contacts).await?;
    row.try_into().map(Some)
}

/// The contacts that have a number, in any spelling: the one that it is the number of first.
async fn contacts_of(conn: &impl ConnectionTrait, key: &str) -> Result<Vec<ContactId>, DbErr> {
    let key = || -> [sea_orm::Value; 1] { [key.into()] };
    let mut found = Vec::new();
    for sql in [
        "SELECT id FROM contacts WHERE phone_key = $1 AND deleted_at IS NULL",
        "SELECT DISTINCT contact_id AS id FROM contact_identities WHERE phone_key = $1",
    ] {
        for id in db::values(conn, sql, key()).await? {
            if !found.contains(&id) {
                found.push(id);
            }
        }
    }
    Ok(found)
}

/// Repeats in the rows of contacts since when one of their numbers is suppressed, where claims read it.
pub(crate) async fn repeat(conn: &impl ConnectionTrait, contacts: &[ContactId]) -> Result<(), DbErr> {
    if contacts.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE contacts SET suppressed_at = (SELECT min(holds.since) FROM (
            SELECT s.created_at AS since FROM suppressions s WHERE s.phone_key = contacts.phone_key AND s.ended_at IS NULL
            UNION ALL
            SELECT s.created_at AS since FROM contact_identities i
            JOIN suppressions s ON s.phone_key = i.phone_key AND s.ended_at IS NULL WHERE i.contact_id = contacts.id
         ) AS holds) WHERE deleted_at IS NULL AND id {}",
        Dialect::of(conn).one_of(1, "bigint")
    );
    db::execute(conn, sql, [json!(contacts).to_string().into()]).await.map(|_| ())
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this number, in any spelling.
    pub phone: Option<String>,
    /// Those that ended too: the whole trail.
    pub with_ended: bool,
}

impl Filter {
    fn rows(&self) -> Select<suppressions::Entity> {
        let key = self.phone.as_deref().map(|phone| spelling::key(phone).into_owned());
        let holds = (!self.with_ended).then(|| suppressions::Column::EndedAt.is_null());
        let of_phone = key.map(|key| suppressions::Column::PhoneKey.eq(key));
        suppressions::Entity::find().filter(Condition::all().add_option(of_phone).add_option(holds))
    }
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
    let count = filter.rows().select_only().column(suppressions::Column::Id).count(conn).await?;
    let page = filter.rows().order_by_desc(suppressions::Column::Id).limit(limit).offset(offset).all(conn).await?;
    let found = page.into_iter().map(Suppression::try_from).collect::<Result<_, _>>()?;
    Ok((found, i64::try_from(count).unwrap_or(i64::MAX)))
}

/// A page of suppressions, the newest first, from the one before `before` on; at most `limit`. Costs the same for every page.
///
/// # Errors
/// The database's.
pub async fn page(
    conn: &impl ConnectionTrait,
    filter: &Filter,
    before: Option<SuppressionId>,
    limit: usize,
) -> Result<Vec<Suppression>, DbErr> {
    let before = before.unwrap_or(SuppressionId(i64::MAX));
    let rows = filter
        .rows()
        .filter(suppressions::Column::Id.lt(before))
        .order_by_desc(suppressions::Column::Id)
        .limit(limit as u64)
        .all(conn)
        .await?;
    rows.into_iter().map(Suppression::try_from).collect()
}

/// Forgets what is known of numbers whose contacts are deleted, by their keys. A wish that holds stays, with its number, reason
/// and time: without the number nobody could keep to it. It names no contact and no message any more. What ended goes: it
/// protects nobody. A call takes what it writes off `left`; `false`: there is more.
pub(crate) async fn forget(conn: &impl ConnectionTrait, keys: &[String], left: &mut u64) -> Result<bool, DbErr> {
    let dialect = Dialect::of(conn);
    let of_these = format!("phone_key {}", dialect.one_of(1, "text"));
    let list = json!(keys).to_string();
    for (change, which) in [
        ("DELETE FROM suppressions", "ended_at IS NOT NULL"),
        (
            "UPDATE suppressions SET contact_id = NULL, message_id = NULL",
            "(contact_id IS NOT NULL OR message_id IS NOT NULL)",
        ),
    ] {
        if *left == 0 {
            return Ok(false);
        }
        let some = dialect.some_of("suppressions", "id", &format!("{of_these} AND {which}"), *left);
        let written = db::execute(conn, format!("{change} WHERE {some}"), [list.as_str().into()]).await?;
        let all = written < *left;
        *left = left.saturating_sub(written);
        if !all {
            return Ok(false);
        }
    }
    Ok(true)
}
