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
use crate::foundation::known::Operations;
use crate::foundation::{auth, body, by_method, guarded, limits};
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem::{Endpoint, EndpointExt, Request};
use poem_openapi::OpenApiService;
use std::sync::Arc;

type Routes = (making::MakingRoutes, routes::BatchRoutes, templates::TemplateRoutes, suppressions::SuppressionRoutes);

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
    .description(
        "Contacts imported, written to, tagged and deleted in batches, at the pace asked for.\n\n\
         Decided:\n\
         - A field, a parameter or a form's field that is not in this document is refused with 400 and the nearest known \
         name, in nested objects too; a field in the query, and a parameter in the body, are told where they belong. An \
         operation without a body takes an empty one, `{}` and `null`.\n\
         - `content` beside `templateId` is passed over, as the original's clients send it.\n\
         - `dryRun` in the query, in the body or in a form is the same; if two of them differ, the request is refused. A \
         dry run does not take its `Idempotency-Key`.\n\
         - A dry run of a send tells no `collisions`. Of more than 10,000 recipients the first 10,000 messages are \
         rendered, which a warning says.\n\
         - What is said of a file in the query is refused beside a JSON body.\n\
         - A body may come with `Content-Encoding: gzip`; its limits are those of what it unpacks to.",
    )
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
    let makes = matches!(path.as_slice(), ["batch", "import" | "send" | "tags" | "delete"] | ["batch", _, "retry"]);
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
    limits::Standing::note(&request, decision);
    request.extensions_mut().insert(caller);
    guarded(operations, routes, request, envelope::refuse).await
}
