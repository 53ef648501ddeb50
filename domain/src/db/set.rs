//! A set of rows as the parameters of one statement.

use super::Dialect;
use sea_orm::Value;
use sea_orm::sea_query::ArrayType;
use std::borrow::Cow;
use uuid::Uuid;

/// Rows, column by column. On PostgreSQL each column is an array of its type, which the server reads as it is; on SQLite each
/// value is a parameter of its own. A set has one row at least, and no more than a chunk of a send; its first column is never
/// absent.
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

    /// The table expression named `r` over the rows, and its parameters: the first ones of the statement. What else it asks
    /// for comes behind them.
    pub(crate) fn into_source(self, dialect: Dialect) -> (String, Vec<Value>) {
        match dialect {
            Dialect::Postgres => self.arrays(),
            Dialect::Sqlite => self.values(),
        }
    }

    /// An array knows no absent values: a column that has some is beside one of whether they are there, and one that has nothing
    /// else is no parameter. Which columns these are is seldom different, so that few statements are prepared.
    fn arrays(self) -> (String, Vec<Value>) {
        let (mut parameters, mut names, mut selected) = (Vec::new(), Vec::new(), Vec::new());
        let mut values: Vec<Value> = Vec::new();
        let mut array = |name: String, ty: &str, of: ArrayType, all: Vec<Value>| {
            parameters.push(format!("${}::{ty}[]", values.len() + 1));
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

    /// Row for row. Parameters without a name, since the database looks named ones up one after the other; and rows of nothing
    /// up to the next power of two, so that few statements are prepared.
    fn values(self) -> (String, Vec<Value>) {
        let rows = self.columns.iter().map(|(_, column)| column.len()).max().unwrap_or(0);
        let padded = rows.next_power_of_two();
        debug_assert!(padded * self.columns.len() <= MOST_PARAMETERS, "{rows} rows are too many for one statement");
        let named: Vec<String> =
            self.columns.iter().enumerate().map(|(at, (name, _))| format!("column{} AS {name}", at + 1)).collect();
        let row = format!("({})", vec!["?"; self.columns.len()].join(","));
        let source = format!(
            "(SELECT {} FROM (VALUES {}) WHERE column1 IS NOT NULL) AS r",
            named.join(", "),
            vec![row.as_str(); padded].join(",")
        );
        let values = (0..padded).flat_map(|at| self.columns.iter().map(move |(_, column)| column.value(at))).collect();
        (source, values)
    }
}

/// How many parameters a statement has at most on SQLite.
const MOST_PARAMETERS: usize = 32_766;

impl Column<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Ints(all) => all.len(),
            Self::Texts(all) => all.len(),
            Self::Uuids(all) => all.len(),
        }
    }

    /// A value as SQLite has it: a UUID is its text there.
    fn value(&self, at: usize) -> Value {
        match self {
            Self::Ints(all) => Value::BigInt(all.get(at).copied().flatten()),
            Self::Texts(all) => Value::String(all.get(at).and_then(Option::as_ref).map(|text| text.to_string())),
            Self::Uuids(all) => Value::String(all.get(at).map(Uuid::to_string)),
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
        let (source, values) = some().into_source(Dialect::Postgres);
        assert_eq!(
            source,
            "(SELECT n, CASE WHEN has_some THEN some END AS some, NULL::text AS none, id \
             FROM unnest($1::bigint[], $2::boolean[], $3::text[], $4::uuid[]) AS u(n, has_some, some, id)) AS r"
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
    fn each_value_is_a_parameter_and_rows_are_a_power_of_two() {
        let three = Set::default()
            .ints("n", [Some(1), Some(2), Some(3)].into_iter())
            .texts("some", [Some("a"), None, Some("")].into_iter());
        let (source, values) = three.into_source(Dialect::Sqlite);
        assert_eq!(
            source,
            "(SELECT column1 AS n, column2 AS some FROM (VALUES (?,?),(?,?),(?,?),(?,?)) WHERE column1 IS NOT NULL) AS r"
        );
        let (nothing, none) = (Value::BigInt(None), Value::String(None));
        let text = |text: &str| Value::from(text);
        let rows = [1_i64.into(), text("a"), 2_i64.into(), none.clone(), 3_i64.into(), text(""), nothing, none];
        assert_eq!(values, rows);
        let (_, values) = some().into_source(Dialect::Sqlite);
        assert_eq!(values[3], Value::from(Uuid::nil().to_string()));
    }
}
