//! The support desk's surface: sign-in so far.

mod auth;
mod envelope;

use crate::App;
use crate::foundation::known::Operations;
use crate::foundation::{RequestId, guarded};
use poem::EndpointExt;
use poem::endpoint::BoxEndpoint;
use poem_openapi::OpenApiService;
use std::sync::Arc;

/// The surface's document and routes.
pub(crate) fn service(app: Arc<App>) -> OpenApiService<auth::AuthRoutes, ()> {
    OpenApiService::new(auth::AuthRoutes { app }, "Paceline: support desk", env!("CARGO_PKG_VERSION"))
        .description(
            "Signing in and out.\n\n\
             Decided: a field or a parameter that is not in this document is refused with 400 and the nearest known name.",
        )
        .server("/")
}

/// The surface, in its envelope.
pub(crate) fn endpoint(app: Arc<App>) -> Arc<BoxEndpoint<'static>> {
    let routes = service(app);
    let operations = Arc::new(Operations::of::<auth::AuthRoutes>());
    crate::shared(routes.around(move |routes, request| {
        let operations = operations.clone();
        async move {
            let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
            Ok(guarded(&operations, routes.as_ref(), request, |refusal| envelope::refuse(refusal, &id)).await)
        }
    }))
}
