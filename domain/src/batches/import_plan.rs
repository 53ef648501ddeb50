//! What an import would do, counted: for a dry run.

use super::import::{ImportLine, Plan, PlannedRow, preview_import};
use sea_orm::{ConnectionTrait, DbErr};
use std::collections::{BTreeMap, HashSet};

/// How many planned rows and errors are kept to be shown.
pub const SHOWN_ROWS: usize = 100;

/// How many rows are looked up at once.
const GROUP: usize = 2_000;

/// What an import would do.
#[derive(Debug, Default)]
pub struct ImportPlan {
    /// How many rows there are.
    pub total: i64,
    /// How many would become new contacts.
    pub create: i64,
    /// How many would be merged into contacts that exist.
    pub merge: i64,
    /// How many would be skipped.
    pub skip: i64,
    /// How many would fail,
    pub fail: i64,
    /// and how many for each reason.
    pub fail_reasons: BTreeMap<String, i64>,
    /// How many numbers are outside the known ranges of their country.
    pub warnings: i64,
    /// The first rows that would not fail.
    pub rows: Vec<PlannedRow>,
    /// The first rows that would.
    pub errors: Vec<PlannedRow>,
    /// Whether there are more of either than are kept.
    pub truncated: bool,
    group: Vec<ImportLine>,
    seen: HashSet<String>,
}

impl ImportPlan {
    /// Takes a row in. Those that fail are handed to `failed` too, in their order.
    ///
    /// # Errors
    /// The database's.
    pub async fn push(
        &mut self,
        conn: &impl ConnectionTrait,
        line: ImportLine,
        skip_duplicates: bool,
        failed: &mut impl FnMut(&PlannedRow),
    ) -> Result<(), DbErr> {
        self.group.push(line);
        if self.group.len() >= GROUP { self.finish(conn, skip_duplicates, failed).await } else { Ok(()) }
    }

    /// Plans what is in hand. To be called after the last row.
    ///
    /// # Errors
    /// The database's.
    pub async fn finish(
        &mut self,
        conn: &impl ConnectionTrait,
        skip_duplicates: bool,
        failed: &mut impl FnMut(&PlannedRow),
    ) -> Result<(), DbErr> {
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return Ok(());
        }
        for row in preview_import(conn, group, skip_duplicates, &mut self.seen).await? {
            self.count(row, failed);
        }
        Ok(())
    }

    fn count(&mut self, row: PlannedRow, failed: &mut impl FnMut(&PlannedRow)) {
        self.total += 1;
        let (count, clean) = match &row.plan {
            Plan::Create(clean) => (&mut self.create, clean),
            Plan::Merge(clean) => (&mut self.merge, clean),
            Plan::Skip(clean) => (&mut self.skip, clean),
            Plan::Fail(error) => {
                self.fail += 1;
                *self.fail_reasons.entry(error.reason.to_string()).or_default() += 1;
                failed(&row);
                return keep(&mut self.errors, row, &mut self.truncated);
            }
        };
        *count += 1;
        self.warnings += i64::from(clean.warning.is_some());
        keep(&mut self.rows, row, &mut self.truncated);
    }
}

fn keep(kept: &mut Vec<PlannedRow>, row: PlannedRow, truncated: &mut bool) {
    if kept.len() < SHOWN_ROWS { kept.push(row) } else { *truncated = true }
}
