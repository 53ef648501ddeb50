//! The batch surface: `/batch`, `/templates` and `/suppressions`.

mod create;
mod dry_run;
mod envelope;
mod export;
mod import;
mod making;
mod routes;
mod suppressions;
mod templates;
mod upload;
mod wire;

pub(crate) use wire::summary_json;

use crate::App;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::{auth, body, guarded, limits};
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem::{Endpoint, EndpointExt, Request};
use poem_openapi::OpenApiService;
use std::sync::Arc;

type Routes = (making::MakingRoutes, routes::BatchRoutes, templates::TemplateRoutes, suppressions::SuppressionRoutes);

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
  column `reason`: to be mended and imported again as they are. It needs `contacts:read`.";

/// The surface's document and routes.
pub(crate) fn service(app: Arc<App>) -> OpenApiService<Routes, ()> {
    OpenApiService::new(
        (
            making::MakingRoutes { app: app.clone() },
            routes::BatchRoutes::new(app.clone()),
            templates::TemplateRoutes { app: app.clone() },
            suppressions::SuppressionRoutes { app },
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
    crate::shared(routes.around(move |routes, request| {
        let app = app.clone();
        async move { Ok(answer(&app, routes.as_ref(), request).await) }
    }))
}

/// Whether a request is one of those that make work: they have a limit of their own. Steering has the general one, so
/// that who has sent too much can still stop it.
fn makes_work(request: &Request) -> bool {
    let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let makes = matches!(path.as_slice(), ["batch", "import" | "send" | "tags" | "delete"] | ["batch", _, "retry"]);
    makes && request.method() == Method::POST
}

async fn answer(app: &App, routes: &impl Endpoint, mut request: Request) -> poem::Response {
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
    limits::Standing::note(&request, decision);
    request.extensions_mut().insert(caller);
    let path = request.uri().path().to_owned();
    guarded(routes, request, |refusal| {
        let mut refusal: Refusal = refusal.clone();
        if refusal.kind == Kind::MethodNotAllowed {
            refusal.allow = Some(routes::allowed(&path));
        }
        envelope::refuse(&refusal)
    })
    .await
}
