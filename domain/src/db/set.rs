//! A set of rows as the parameters of one statement.

use super::Dialect;
use sea_orm::Value;
use sea_orm::sea_query::ArrayType;
use serde_json::json;
use std::borrow::Cow;
use uuid::Uuid;

/// Rows, column by column. On PostgreSQL each column is an array of its type, which the server reads as it is; on SQLite all of
/// them are one JSON text.
#[derive(Debug, Default)]
pub(crate) struct Set<'a> {
    columns: Vec<(&'static str, Column<'a>)>,
}

#[derive(Debug)]
enum Column<'a> {
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<Cow<'a, str>>>),
    Uuids(Vec<Uuid>),
}

impl<'a> Set<'a> {
    /// With a column of numbers.
    pub(crate) fn ints(mut self, name: &'static str, values: impl Iterator<Item = Option<i64>>) -> Self {
        self.columns.push((name, Column::Ints(values.collect())));
        self
    }

    /// With a column of texts.
    pub(crate) fn texts<T: Into<Cow<'a, str>>>(
        mut self,
        name: &'static str,
        values: impl Iterator<Item = Option<T>>,
    ) -> Self {
        self.columns.push((name, Column::Texts(values.map(|value| value.map(Into::into)).collect())));
        self
    }

    /// With a column of UUIDs.
    pub(crate) fn uuids(mut self, name: &'static str, values: impl Iterator<Item = Uuid>) -> Self {
        self.columns.push((name, Column::Uuids(values.collect())));
        self
    }

    /// The table expression named `r` over the rows, and its parameters, the first of which is `$first`.
    pub(crate) fn into_source(self, dialect: Dialect, first: usize) -> (String, Vec<Value>) {
        match dialect {
            Dialect::Postgres => self.arrays(first),
            Dialect::Sqlite => self.json(first),
        }
    }

    /// An array knows no absent values: a column that has some is beside one of whether they are there, and one that has nothing
    /// else is no parameter. Which columns these are is seldom different, so that few statements are prepared.
    fn arrays(self, first: usize) -> (String, Vec<Value>) {
        let (mut parameters, mut names, mut selected) = (Vec::new(), Vec::new(), Vec::new());
        let mut values: Vec<Value> = Vec::new();
        let mut array = |name: String, ty: &str, of: ArrayType, all: Vec<Value>| {
            parameters.push(format!("${}::{ty}[]", first + values.len()));
            names.push(name);
            values.push(Value::Array(of, Some(Box::new(all))));
        };
        for (name, column) in self.columns {
            let (ty, of, all) = match column {
                Column::Ints(all) => {
                    ("bigint", ArrayType::BigInt, all.into_iter().map(|n| n.map(Value::from)).collect())
                }
                Column::Texts(all) => {
                    let text = |text: Cow<'_, str>| Value::from(text.into_owned());
                    ("text", ArrayType::String, all.into_iter().map(|one| one.map(text)).collect())
                }
                Column::Uuids(all) => {
                    ("uuid", ArrayType::Uuid, all.into_iter().map(|id| Some(Value::from(id))).collect::<Vec<_>>())
                }
            };
            let there = all.iter().filter(|value| value.is_some()).count();
            if there == 0 && !all.is_empty() {
                selected.push(format!("NULL::{ty} AS {name}"));
                continue;
            }
            if there == all.len() {
                selected.push(name.to_owned());
            } else {
                selected.push(format!("CASE WHEN has_{name} THEN {name} END AS {name}"));
                let has = all.iter().map(|value| Value::from(value.is_some())).collect();
                array(format!("has_{name}"), "boolean", ArrayType::Bool, has);
            }
            let nothing = match of {
                ArrayType::BigInt => Value::from(0_i64),
                _ => Value::from(""),
            };
            array(
                name.to_owned(),
                ty,
                of,
                all.into_iter().map(|value| value.unwrap_or_else(|| nothing.clone())).collect(),
            );
        }
        let (selected, parameters, names) = (selected.join(", "), parameters.join(", "), names.join(", "));
        (format!("(SELECT {selected} FROM unnest({parameters}) AS u({names})) AS r"), values)
    }

    /// Of a row its values in their order. `LIMIT -1` keeps the set a table of its own: see [`Dialect::rows`].
    fn json(self, first: usize) -> (String, Vec<Value>) {
        let places: Vec<String> =
            self.columns.iter().enumerate().map(|(at, (name, _))| format!("value ->> {at} AS {name}")).collect();
        let source = format!("(SELECT {} FROM json_each(${first}) LIMIT -1) AS r", places.join(", "));
        let rows = self.columns.iter().map(|(_, column)| column.len()).max().unwrap_or(0);
        let row = |at: usize| self.columns.iter().map(|(_, column)| column.json(at)).collect::<Vec<_>>();
        let rows = serde_json::Value::from((0..rows).map(row).collect::<Vec<_>>());
        (source, vec![rows.to_string().into()])
    }
}

impl Column<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Ints(all) => all.len(),
            Self::Texts(all) => all.len(),
            Self::Uuids(all) => all.len(),
        }
    }

    fn json(&self, at: usize) -> serde_json::Value {
        match self {
            Self::Ints(all) => json!(all.get(at)),
            Self::Texts(all) => json!(all.get(at)),
            Self::Uuids(all) => json!(all.get(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Set<'static> {
        Set::default()
            .ints("n", [Some(1), Some(2)].into_iter())
            .texts("some", [Some("a"), None].into_iter())
            .texts("none", [None::<&str>, None].into_iter())
            .uuids("id", [Uuid::nil(), Uuid::max()].into_iter())
    }

    #[test]
    fn arrays_say_what_is_absent() {
        let (source, values) = some().into_source(Dialect::Postgres, 3);
        assert_eq!(
            source,
            "(SELECT n, CASE WHEN has_some THEN some END AS some, NULL::text AS none, id \
             FROM unnest($3::bigint[], $4::boolean[], $5::text[], $6::uuid[]) AS u(n, has_some, some, id)) AS r"
        );
        let array = |ty, all: Vec<Value>| Value::Array(ty, Some(Box::new(all)));
        assert_eq!(
            values,
            [
                array(ArrayType::BigInt, vec![1_i64.into(), 2_i64.into()]),
                array(ArrayType::Bool, vec![true.into(), false.into()]),
                array(ArrayType::String, vec!["a".into(), "".into()]),
                array(ArrayType::Uuid, vec![Uuid::nil().into(), Uuid::max().into()]),
            ]
        );
    }

    #[test]
    fn json_has_a_row_for_a_row() {
        let (source, values) = some().into_source(Dialect::Sqlite, 2);
        assert_eq!(
            source,
            "(SELECT value ->> 0 AS n, value ->> 1 AS some, value ->> 2 AS none, value ->> 3 AS id \
             FROM json_each($2) LIMIT -1) AS r"
        );
        let (nil, max) = (Uuid::nil(), Uuid::max());
        assert_eq!(values, [Value::from(format!(r#"[[1,"a",null,"{nil}"],[2,null,null,"{max}"]]"#))]);
    }
}
