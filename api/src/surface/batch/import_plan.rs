//! What an import would do: each row as it was read, and why rows would fail.

use super::import::{Rows, Shape, read_rows};
use super::wire::{DryRun, PlannedAction, PlannedRowView};
use crate::App;
use crate::foundation::refusal::Refusal;
use domain::batches::{NewImport, Plan, PlannedRow, preview_import};
use std::collections::{BTreeMap, HashSet};

/// How many planned rows and errors a dry run shows.
const SHOWN: usize = 100;

/// How many rows are looked up at once.
const GROUP: usize = 2_000;

/// Reads an import and tells what would become of its rows, writing nothing.
pub(super) async fn plan(app: &App, new: &NewImport, rows: Rows) -> Result<DryRun, Refusal> {
    let mut shown = DryRun {
        dry_run: true,
        total_count: 0,
        create_count: 0,
        merge_count: 0,
        skip_count: 0,
        fail_count: 0,
        fail_reasons: BTreeMap::new(),
        warning_count: 0,
        default_country: new.default_country.map(|country| country.to_string()),
        columns: None,
        ignored_columns: None,
        encoding: None,
        sheet: None,
        sheets: None,
        rows: Vec::new(),
        errors: Vec::new(),
        truncated: false,
    };
    let (mut lines, reading) = read_rows(rows, new.default_country);
    let mut seen = HashSet::new();
    let mut group = Vec::new();
    loop {
        let line = lines.recv().await;
        let last = line.is_none();
        group.extend(line);
        if group.len() >= GROUP || (last && !group.is_empty()) {
            let planned =
                preview_import(app.db.read(), std::mem::take(&mut group), new.skip_duplicates, &mut seen).await?;
            planned.into_iter().for_each(|row| show(&mut shown, row));
        }
        if last {
            break;
        }
    }
    if let Some(shape) = reading.await.unwrap_or_else(|_| Err(Refusal::internal()))? {
        tell(&mut shown, shape);
    }
    Ok(shown)
}

fn tell(shown: &mut DryRun, Shape { plan, encoding, sheets }: Shape) {
    let (mut columns, mut ignored) = (BTreeMap::new(), Vec::new());
    for (place, field) in plan.fields.iter().enumerate() {
        let column = plan.header.as_ref().and_then(|h| h.get(place).cloned()).unwrap_or_else(|| place.to_string());
        match field {
            Some(field) => {
                columns.insert(column, field.name());
            }
            None => ignored.push(column),
        }
    }
    shown.columns = Some(columns);
    shown.ignored_columns = Some(ignored);
    shown.encoding = encoding.map(str::to_owned);
    if let Some(sheets) = sheets {
        (shown.sheet, shown.sheets) = (Some(sheets.taken), Some(sheets.all));
    }
}

fn show(shown: &mut DryRun, row: PlannedRow) {
    shown.total_count += 1;
    let mut view = PlannedRowView {
        line: i64::from(row.line),
        action: PlannedAction::Fail,
        input: None,
        phone: None,
        country: None,
        warning: None,
        name: None,
        tags: None,
        attributes: None,
        reason: None,
        error: None,
        cells: None,
    };
    let (action, clean) = match row.plan {
        Plan::Create(clean) => {
            shown.create_count += 1;
            (PlannedAction::Create, clean)
        }
        Plan::Merge(clean) => {
            shown.merge_count += 1;
            (PlannedAction::Merge, clean)
        }
        Plan::Skip(clean) => {
            shown.skip_count += 1;
            (PlannedAction::Skip, clean)
        }
        Plan::Fail(error) => {
            shown.fail_count += 1;
            *shown.fail_reasons.entry(error.reason.to_string()).or_default() += 1;
            view.input = error.input;
            view.reason = Some(error.reason.into_owned());
            view.error = Some(error.message);
            view.cells = (!error.cells.is_empty()).then_some(error.cells);
            return keep(&mut shown.errors, view, &mut shown.truncated);
        }
    };
    shown.warning_count += i64::from(clean.warning.is_some());
    view.action = action;
    view.input = Some(clean.input);
    view.phone = Some(clean.phone.as_digits().to_owned());
    view.country = clean.country.map(|country| country.to_string());
    view.warning = clean.warning.map(|warning| warning.as_str().to_owned());
    view.name = clean.name;
    view.tags = (!clean.tags.is_empty()).then_some(clean.tags);
    view.attributes = (!clean.attributes.is_empty()).then_some(clean.attributes);
    keep(&mut shown.rows, view, &mut shown.truncated);
}

fn keep(shown: &mut Vec<PlannedRowView>, view: PlannedRowView, truncated: &mut bool) {
    if shown.len() < SHOWN { shown.push(view) } else { *truncated = true }
}
