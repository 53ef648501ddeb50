//! The batch surface: `/batch`, `/templates`, `/suppressions` and `/contacts`.

mod contacts;
mod create;
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

type Routes = (
    making::MakingRoutes,
    routes::BatchRoutes,
    templates::TemplateRoutes,
    suppressions::SuppressionRoutes,
    contacts::ContactRoutes,
);

/// The surface's document and routes.
pub(crate) fn service(app: Arc<App>) -> OpenApiService<Routes, ()> {
    OpenApiService::new(
        (
            making::MakingRoutes { app: app.clone() },
            routes::BatchRoutes::new(app.clone()),
            templates::TemplateRoutes { app: app.clone() },
            suppressions::SuppressionRoutes { app: app.clone() },
            contacts::ContactRoutes { app },
        ),
        "Paceline: batch operations",
        env!("CARGO_PKG_VERSION"),
    )
    .description(concat!(
        "Contacts imported, written to, tagged and deleted in batches, at the pace asked for.\n\n",
        "Decided: two spellings of one number (Brazil with and without the 9, Mexico with and without the 1, Argentina ",
        "with and without the 9) are one contact, in imports, suppressions and searches; the number stays as it was ",
        "written first. Of two contacts that turn out to be one the older stays; the other's number still finds it. An ",
        "item whose id names nobody has that id as `contactId` and in `input`, and no `phone`; a contact that is there ",
        "and has no number fails with `contact_has_no_number`.",
    ))
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
