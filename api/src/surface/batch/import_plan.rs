//! What an import would do: each row as it was read, and why rows would fail.

use super::import::{Rows, read_rows};
use super::wire::{DryRun, PlannedAction, PlannedRowView};
use crate::App;
use crate::foundation::refusal::Refusal;
use domain::batches::{ImportPlan, NewImport, Plan, PlannedRow};
use domain::contacts::import_file::{CleanRow, Shape};
use std::collections::BTreeMap;

/// Reads an import and tells what would become of its rows, writing nothing.
pub(super) async fn plan(app: &App, new: &NewImport, rows: Rows) -> Result<DryRun, Refusal> {
    let (mut lines, reading) = read_rows(rows, new.default_country);
    let mut plan = ImportPlan::default();
    while let Some(line) = lines.recv().await {
        plan.push(app.db.read(), line, new.skip_duplicates, &mut |_| {}).await?;
    }
    plan.finish(app.db.read(), new.skip_duplicates, &mut |_| {}).await?;
    let mut shown = DryRun {
        dry_run: true,
        total_count: plan.total,
        create_count: plan.create,
        merge_count: plan.merge,
        skip_count: plan.skip,
        fail_count: plan.fail,
        fail_reasons: plan.fail_reasons,
        warning_count: plan.warnings,
        default_country: new.default_country.map(|country| country.to_string()),
        columns: None,
        ignored_columns: None,
        encoding: None,
        sheet: None,
        sheets: None,
        rows: plan.rows.into_iter().map(view).collect(),
        errors: plan.errors.into_iter().map(view).collect(),
        truncated: plan.truncated,
    };
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

fn view(row: PlannedRow) -> PlannedRowView {
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
    match row.plan {
        Plan::Create(clean) => fill(&mut view, PlannedAction::Create, clean),
        Plan::Merge(clean) => fill(&mut view, PlannedAction::Merge, clean),
        Plan::Skip(clean) => fill(&mut view, PlannedAction::Skip, clean),
        Plan::Fail(error) => {
            view.input = error.input;
            view.reason = Some(error.reason.into_owned());
            view.error = Some(error.message);
            view.cells = (!error.cells.is_empty()).then_some(error.cells);
        }
    }
    view
}

fn fill(view: &mut PlannedRowView, action: PlannedAction, clean: CleanRow) {
    view.action = action;
    view.input = Some(clean.input);
    view.phone = Some(clean.phone.as_digits().to_owned());
    view.country = clean.country.map(|country| country.to_string());
    view.warning = clean.warning.map(|warning| warning.as_str().to_owned());
    view.name = clean.name;
    view.tags = (!clean.tags.is_empty()).then_some(clean.tags);
    view.attributes = (!clean.attributes.is_empty()).then_some(clean.attributes);
}
