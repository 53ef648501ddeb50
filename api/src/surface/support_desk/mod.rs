//! The support desk's surface: sign-in and the audit log so far.

mod audit;
mod auth;
mod envelope;

use crate::App;
use crate::foundation::auth::{Caller, bearer, identify, identify_any};
use crate::foundation::guard::Guard;
use crate::foundation::known::Operations;
use crate::foundation::refusal::Refusal;
use crate::foundation::{RequestId, body, guarded};
use poem::endpoint::BoxEndpoint;
use poem::{Endpoint, EndpointExt, Request, Response};
use poem_openapi::OpenApiService;
use std::sync::Arc;

type Routes = (auth::AuthRoutes, audit::AuditRoutes);

/// The surface's document and routes.
pub(crate) fn service(app: Arc<App>) -> OpenApiService<Routes, ()> {
    let routes = (auth::AuthRoutes { app: app.clone() }, audit::AuditRoutes { app });
    OpenApiService::new(routes, "Paceline: support desk", env!("CARGO_PKG_VERSION"))
        .description(
            "Signing in and out, and the audit log.\n\n\
             Decided: a field or a parameter that is not in this document is refused with 400 and the nearest known name.",
        )
        .server("/")
}

/// The surface, in its envelope.
pub(crate) fn endpoint(app: Arc<App>) -> Arc<BoxEndpoint<'static>> {
    let routes = service(app.clone());
    let operations = Arc::new(Operations::of::<Routes>());
    crate::shared(routes.around(move |routes, request| {
        let (app, operations) = (app.clone(), operations.clone());
        async move {
            let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
            let refuse = |refusal: &Refusal| envelope::refuse(refusal, &id);
            Ok(answer(&app, &operations, routes.as_ref(), request, refuse).await)
        }
    }))
}

/// Who asks, where the route's declaration wants a token; then the route.
async fn answer(
    app: &App,
    operations: &Operations,
    routes: &impl Endpoint,
    mut request: Request,
    refuse: impl Fn(&Refusal) -> Response,
) -> Response {
    let guard = operations.find(&request).and_then(|asked| asked.guard().cloned());
    if let Some(guard) = guard.filter(|guard| *guard != Guard::Everybody) {
        match admit(app, &guard, &request).await {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(refusal) => {
                body::drain(request.into_body(), body::DRAIN_REFUSED).await;
                return refuse(&refusal);
            }
        }
    }
    guarded(operations, routes, request, refuse).await
}

/// A route that needs no permission is for any session, also one that may only change its password.
async fn admit(app: &App, guard: &Guard, request: &Request) -> Result<Caller, Refusal> {
    let any = matches!(guard, Guard::Shown { needs, .. } if needs.is_empty());
    let caller = match any {
        true => identify_any(app, bearer(request)).await?,
        false => identify(app, bearer(request)).await?,
    };
    guard.permit(|permission| caller.needs(permission))?;
    Ok(caller)
}
