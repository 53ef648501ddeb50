//! Columns whose text is JSON.

use sea_orm::{ColIdx, DbErr, QueryResult, TryGetError, TryGetable};
use serde::de::DeserializeOwned;

/// What a text column says in JSON. A text that says no `T` is an error, as a column of another type is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> TryGetable for Json<T> {
    fn try_get_by<I: ColIdx>(row: &QueryResult, column: I) -> Result<Self, TryGetError> {
        let text = String::try_get_by(row, column)?;
        let said = serde_json::from_str(&text).map_err(|error| DbErr::Json(format!("{column:?}: {error}")))?;
        Ok(Self(said))
    }
}
