//! The support desk's surface: sign-in so far.

mod auth;
mod envelope;

use crate::App;
use crate::foundation::refusal::Kind;
use crate::foundation::{RequestId, guarded};
use poem::EndpointExt;
use poem::endpoint::BoxEndpoint;
use poem_openapi::OpenApiService;
use std::sync::Arc;

/// The surface's document and routes.
pub(crate) fn service(app: Arc<App>) -> OpenApiService<auth::AuthRoutes, ()> {
    OpenApiService::new(auth::AuthRoutes { app }, "Paceline: support desk", env!("CARGO_PKG_VERSION"))
        .description("Signing in and out.")
        .server("/")
}

/// The surface, in its envelope.
pub(crate) fn endpoint(app: Arc<App>) -> Arc<BoxEndpoint<'static>> {
    let routes = service(app);
    crate::shared(routes.around(|routes, request| async move {
        let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        Ok(guarded(routes.as_ref(), request, |refusal| {
            let mut refusal = refusal.clone();
            if refusal.kind == Kind::MethodNotAllowed {
                // All of its paths so far.
                refusal.allow = Some("POST".into());
            }
            envelope::refuse(&refusal, &id)
        })
        .await)
    }))
}
