//! The batch surface: `/batch`, `/templates`, `/suppressions`, `/senders`, `/contacts`, `/queue`, `/views`, `/drafts`, `/test-numbers`
//! and `/calendar`.

mod approvals;
mod batch_acts;
mod calendar;
mod contacts;
mod create;
mod details;
mod dry_run;
mod envelope;
mod export;
mod import;
mod import_plan;
mod kept;
mod making;
mod operations;
mod queue;
mod routes;
mod senders;
mod suppressions;
mod templates;
mod upload;
mod wire;

pub(crate) use wire::summary_json;

use crate::App;
use crate::foundation::known::Operations;
use crate::foundation::{auth, body, by_method, guarded, limits};
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem::{Endpoint, EndpointExt, Request};
use poem_openapi::OpenApiService;
use std::sync::Arc;

type Routes = (
    making::MakingRoutes,
    routes::BatchRoutes,
    details::DetailRoutes,
    approvals::ApprovalRoutes,
    kept::KeptRoutes,
    batch_acts::BatchActRoutes,
    calendar::CalendarRoutes,
    templates::TemplateRoutes,
    suppressions::SuppressionRoutes,
    senders::SenderRoutes,
    contacts::ContactRoutes,
    queue::QueueRoutes,
    queue::operations::OperationRoutes,
);

const DESCRIPTION: &str = "Contacts imported, written to, tagged and deleted in batches, at the pace asked for.

## Decided
- **Numbers**: a number whose length its country has is taken; outside the ranges that are known to be given out its item
  has `warning: \"unassigned_range\"`. Marks that cannot be seen, other dashes, spaces and digits are read. Refused, with
  the reason, is what was a fraction (`62812345678.0`), has lost digits (`6.28E+11`), or is two numbers.
- **`defaultCountry`** (two letters; else `default_country` of the configuration): numbers without `+` or `00` are read as
  at home there; those that no number there matches, as international. Without one, such a number is taken only if it is in
  a known range as an international number and is not also a mobile number as somebody writes it at home in any country;
  else its row fails and says to give `defaultCountry`.
- **Files**: lines are those that an editor shows. A quote that is never closed fails its line alone. A first line `sep=;`
  is obeyed. The encoding is that of a byte order mark, else `encoding`, else found out. Of a workbook the sheet in front is
  read (the first that is not hidden), or `sheet`: a name, or a place from 1. Dates, times, percentages and currencies are
  read as they are shown; a date in the format of the reader's own machine is written as 2025-01-31.
- **Tags** are one whatever their spaces (around and within) and case, everywhere; they are answered in small letters.
- **`skipDuplicates`** skips the merge of name, source and attributes into a contact that exists. The import's tags, and
  the row's own, are added all the same.
- **`GET /batch/{id}/failed-rows.csv`**: the rows of an import that failed, under the columns of its file, with a last
  column `reason`: to be mended and imported again as they are. It needs `contacts:read`.
- Two spellings of one number (Brazil with and without the 9, Mexico with and without the 1, Argentina with and without the
  9) are one contact, in imports, suppressions and searches; the number stays as it was written first. Of two contacts that
  turn out to be one the older stays; the other's number still finds it.
- An item whose id names nobody has that id as `contactId` and in `input`, and no `phone`; a contact that is there and has
  no number fails with `contact_has_no_number`.
- A field, a parameter or a form's field that is not in this document is refused with 400 and the nearest known name, in
  nested objects too; a field in the query, and a parameter in the body, are told where they belong. An operation without a
  body takes an empty one, `{}` and `null`.
- An item whose first attempt is under way is `sending`; its `startedAt` is that of the run of its chunk's job until its
  outcome brings its own.
- `content` beside `templateId` is passed over, as the original's clients send it.
- **`dryRun`** in the query, in the body or in a form is the same; if two of them differ, the request is refused. A dry run
  does not take its `Idempotency-Key`. That of a send tells no `collisions`; of more than 10,000 recipients the first 10,000
  messages are rendered, which a warning says.
- What is said of a file in the query (but `defaultCountry`) is refused beside a JSON body.
- **Senders**: `sender` of a send is a name; one that is not there is a bad field. A sender is made and changed with
  `settings:write` and read with `batches:read`; its name never changes, and `default` is that of whatever names none. While
  one is `paused`, nothing leaves from it, replies neither; what was claimed before leaves within a second. `dailyCap`
  counts the messages, replies among them, of a day of UTC by the database's clock, from the moment on at which the sender
  has a limit of any kind. null for `ratePerMinute` is the configured limit, for `dailyCap` none. A reply leaves from its
  conversation's sender: the one that wrote to the contact last when it began. A batch that its sender holds says so in
  `holds`. A gateway that does not have the sender lets its messages wait, and the log says so.
- **`/queue`** is for operators, with `queues:read` and `queues:manage`. The job of a batch's chunk is steered with its
  batch: `acts` of a job says why. Cancelling a dead job says that somebody has seen to it. A list of jobs costs the same
  whatever it is asked for: what no index finds is looked for among 5,000 jobs at a time, and `partial` says that a page
  has fewer than it may and goes on. An operator stops a sender and lets it go on; its pace and cap are settings. Of what
  `/senders` says, `portfolio`, `quality` and `warmUp` are null until a network tells them.
- **Approval**: above the configured number of recipients (`approval_above`, 0: never) a send is accepted, `PENDING` and
  `paused`, with `approval: \"pending\"`, and nothing of it leaves before a second person with `batches:approve` has called
  `POST /batch/{id}/approve`; `POST /batch/{id}/refuse` cancels it, with a reason. Its own creator may do neither (403), and
  a resume is a conflict. An audience becomes its recipients meanwhile: what is approved is what is sent.
- **Tests**: `POST /batch/test` sends a text or a template at once to the numbers that the caller keeps (`/test-numbers`), as a
  batch of its own. Each reads it with what is known of them; a number that nobody has becomes a contact, of the source
  `test`. The other rules of a send hold: who opted out is skipped.
- A body may come with `Content-Encoding: gzip`; its limits are those of what it unpacks to.";

/// The surface's document and routes.
pub(crate) fn service(app: Arc<App>) -> OpenApiService<Routes, ()> {
    OpenApiService::new(
        (
            making::MakingRoutes { app: app.clone() },
            routes::BatchRoutes::new(app.clone()),
            details::DetailRoutes { app: app.clone() },
            approvals::ApprovalRoutes { app: app.clone() },
            kept::KeptRoutes { app: app.clone() },
            batch_acts::BatchActRoutes { app: app.clone() },
            calendar::CalendarRoutes { app: app.clone() },
            templates::TemplateRoutes { app: app.clone() },
            suppressions::SuppressionRoutes { app: app.clone() },
            senders::SenderRoutes { app: app.clone() },
            contacts::ContactRoutes { app: app.clone() },
            queue::QueueRoutes { app: app.clone() },
            queue::operations::OperationRoutes { app },
        ),
        "Paceline: batch operations",
        env!("CARGO_PKG_VERSION"),
    )
    .description(DESCRIPTION)
    .server("/")
}

/// The surface: who asks, how often, then the route, then its envelope.
pub(crate) fn endpoint(app: Arc<App>) -> Arc<BoxEndpoint<'static>> {
    let routes = service(app.clone());
    let operations = Arc::new(Operations::of::<Routes>());
    crate::shared(routes.around(move |routes, request| {
        let (app, operations) = (app.clone(), operations.clone());
        async move { Ok(answer(&app, &operations, routes.as_ref(), request).await) }
    }))
}

/// Whether a request is one of those that make work: they have a limit of their own. Steering has the general one, so
/// that who has sent too much can still stop it.
fn makes_work(request: &Request) -> bool {
    let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let makes = matches!(
        path.as_slice(),
        ["batch", "import" | "send" | "test" | "tags" | "delete"]
            | ["batch", _, "retry"]
            | ["queue", "operations"]
            | ["batch", "acts"]
    );
    makes && request.method() == Method::POST
}

async fn answer(app: &App, operations: &Operations, routes: &impl Endpoint, mut request: Request) -> poem::Response {
    if let Some(response) = by_method(operations, &request, envelope::refuse) {
        return response;
    }
    let caller = match auth::identify(app, auth::bearer(&request)).await {
        Ok(caller) => caller,
        Err(refusal) => {
            body::drain(request.into_body(), body::DRAIN_REFUSED).await;
            return envelope::refuse(&refusal);
        }
    };
    let (key, per_minute) = match makes_work(&request) {
        true => (format!("batch:{}", caller.0.user_id), app.settings.batch_per_minute),
        false => (format!("general:{}", caller.0.user_id), app.settings.general_per_minute),
    };
    let decision = match limits::check(app, &key, per_minute).await {
        Ok(decision) => decision,
        Err(refusal) => {
            body::drain(request.into_body(), body::DRAIN_REFUSED).await;
            return envelope::refuse(&refusal);
        }
    };
    limits::TightestLimit::note(&request, decision);
    if let Err(refusal) = operations.permit(&request, |permission| caller.needs(permission)) {
        body::drain(request.into_body(), body::DRAIN_REFUSED).await;
        return envelope::refuse(&refusal);
    }
    request.extensions_mut().insert(caller);
    guarded(operations, routes, request, envelope::refuse).await
}
