//! UUIDs of rows.

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr, postgres_array::NotU8};
use sea_orm::{ColIdx, DbErr, IntoActiveValue, QueryResult, TryFromU64, TryGetError, TryGetable, Value};
use std::fmt;

/// A UUID in a column of its own: 16 bytes on PostgreSQL, its text on SQLite.
///
/// It is for reading. Rows that have one are written by statements that give its text, of which PostgreSQL makes a UUID
/// (`domain::Dialect::uuid`): as a parameter it is 16 bytes, which no column on SQLite has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowUuid(pub Uuid);

impl fmt::Display for RowUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<RowUuid> for Value {
    fn from(id: RowUuid) -> Self {
        id.0.into()
    }
}

impl TryGetable for RowUuid {
    fn try_get_by<I: ColIdx>(row: &QueryResult, column: I) -> Result<Self, TryGetError> {
        if row.try_as_pg_row().is_some() {
            return Uuid::try_get_by(row, column).map(Self);
        }
        let text = String::try_get_by(row, column)?;
        Uuid::try_parse(&text).map(Self).map_err(|error| TryGetError::DbErr(DbErr::Type(format!("a UUID: {error}"))))
    }
}

impl ValueType for RowUuid {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        <Uuid as ValueType>::try_from(value).map(Self)
    }

    fn type_name() -> String {
        "RowUuid".to_owned()
    }

    fn array_type() -> ArrayType {
        ArrayType::Uuid
    }

    fn column_type() -> ColumnType {
        ColumnType::Uuid
    }
}

impl Nullable for RowUuid {
    fn null() -> Value {
        <Uuid as Nullable>::null()
    }
}

impl IntoActiveValue<Self> for RowUuid {
    fn into_active_value(self) -> sea_orm::ActiveValue<Self> {
        sea_orm::ActiveValue::Set(self)
    }
}

/// What sea-orm asks of every key; no database gives one of these.
impl TryFromU64 for RowUuid {
    fn try_from_u64(_: u64) -> Result<Self, DbErr> {
        Err(DbErr::ConvertFromU64("RowUuid"))
    }
}

impl NotU8 for RowUuid {}
