//! `/console/audit`: who changed what, when, and from where; as a file too. And what was done with one batch.

use super::batches::{creator, day};
use super::kept::{Views, views_of};
use super::{ROWS, batch_of};
use crate::fault::Fault;
use crate::filter::{Chip, Line};
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::UserId;
use domain::audit_log::{self, Record, Search};
use domain::users::{self, Permission};
use futures::stream;
use poem::http::header;
use poem::{Body, Response};
use std::collections::HashMap;
use std::io;

const PATH: &str = "/console/audit";

/// What the filter line knows.
const KEYS: [&str; 5] = ["action", "creator", "resource", "after", "before"];

/// How many records are read at once for a file, and how many it has at most.
const PART: usize = 1_000;
const MOST: usize = 100_000;

/// A record as it is shown.
struct Row {
    record: Record,
    /// Who it was.
    by: String,
    /// Where what was changed can be seen.
    href: Option<String>,
    /// What was done, as a part of its text's key.
    did: String,
}

#[derive(Template)]
#[template(path = "pages/audit.html")]
struct Page {
    ui: Ui,
    line: String,
    chips: Vec<Chip>,
    views: Views,
    known: Vec<String>,
    rows: Vec<Row>,
    older: Option<String>,
    /// The address of the same as a file.
    file: String,
}

#[derive(Template)]
#[template(path = "pages/history.html")]
struct History {
    ui: Ui,
    id: domain::BatchId,
    rows: Vec<Row>,
}

async fn search_of(context: &Context) -> Result<(Line, Search), Fault> {
    let line = Line::parse(context.query("q").unwrap_or_default());
    line.knows(&KEYS)?;
    let word = |key: &str| {
        let fine =
            |text: &&str| text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-.".contains(&b));
        match line.get(key) {
            Some(text) if !fine(&text) => Err(Fault::Bad("bad-choice", format!("{key}:{text}"))),
            text => Ok(text.map(str::to_owned)),
        }
    };
    let search = Search {
        action: word("action")?,
        resource: word("resource")?,
        user: creator(context, &line).await?,
        after: day(&line, "after")?,
        before: day(&line, "before")?,
    };
    Ok((line, search))
}

async fn rows(context: &Context, records: Vec<Record>) -> Result<Vec<Row>, Fault> {
    let mut names = HashMap::new();
    if context.ui.may(Permission::UsersRead) {
        let mut ids: Vec<UserId> = records.iter().filter_map(|record| record.user).collect();
        ids.sort_unstable();
        ids.dedup();
        names = users::names(context.app.db.read(), &ids).await?;
    }
    let row = |record: Record| Row {
        by: match record.user {
            Some(user) => names.get(&user).cloned().unwrap_or_else(|| context.ui.tv("user-number", &user.to_string())),
            None => context.ui.state("actor-", &record.actor),
        },
        href: record.resource_id.as_ref().and_then(|id| match record.action.split(':').next() {
            Some("batch") => Some(format!("/console/batches/{id}")),
            Some("contact" | "conversation") => Some(format!("/console/contacts/{id}")),
            Some("template") => Some(format!("/console/templates/{id}")),
            _ => None,
        }),
        did: record.action.replace(':', "-"),
        record,
    };
    Ok(records.into_iter().map(row).collect())
}

/// Shows the records.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let (line, search) = search_of(&context).await?;
    let below: Option<i64> = match context.query("below") {
        Some(text) => Some(text.parse().map_err(|_| Fault::Bad("bad-choice", format!("below={text}")))?),
        None => None,
    };
    let mut found = audit_log::search(context.app.db.read(), &search, below, ROWS + 1).await?;
    let more = found.len() > ROWS;
    found.truncate(ROWS);
    let older = found.last().filter(|_| more).map(|last| format!("{}below={}", line.address_with(PATH), last.id));
    let known = ["action:batch", "action:user", "action:contact", "action:template", "action:sender", "creator:me"];
    let page = Page {
        rows: rows(&context, found).await?,
        ui: context.ui.clone(),
        chips: line.chips(PATH),
        views: views_of(&context, "audit", &line).await?,
        file: line.address("/console/audit.csv"),
        line: line.to_string(),
        known: known.map(str::to_owned).to_vec(),
        older,
    };
    Ok(guard::html(&page.ui, &page))
}

/// The same as a file, the newest first.
pub(crate) async fn file(context: Context) -> Result<Response, Fault> {
    let (_, search) = search_of(&context).await?;
    let app = context.app.clone();
    let parts = stream::try_unfold(Some((true, None, 0)), move |at| {
        let (app, search) = (app.clone(), search.clone());
        async move {
            let Some((first, below, written)) = at else { return Ok(None) };
            let found = audit_log::search(app.db.read(), &search, below, PART).await.map_err(|error| {
                tracing::error!(%error, "an export broke off");
                io::Error::other("the export broke off")
            })?;
            let written = written + found.len();
            let last = found.last().map(|record| record.id).filter(|_| found.len() == PART && written < MOST);
            let next = last.map(|last| (false, Some(last), written));
            Ok::<_, io::Error>(Some((audit_log::write_csv(first, found)?, next)))
        }
    });
    Ok(Response::builder()
        .content_type("text/csv; charset=utf-8")
        .header(header::CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\"")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::from_bytes_stream(parts)))
}

/// `/console/batches/{id}/history`: who did what with the batch.
pub(crate) async fn history(context: Context) -> Result<Response, Fault> {
    let id = batch_of(&context).await?.summary.id;
    let search = Search { action: Some("batch".into()), resource: Some(id.to_string()), ..Search::default() };
    let found = audit_log::search(context.app.db.read(), &search, None, ROWS).await?;
    let page = History { rows: rows(&context, found).await?, ui: context.ui.clone(), id };
    Ok(guard::html(&page.ui, &page))
}
