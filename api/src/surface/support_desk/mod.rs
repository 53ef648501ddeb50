//! The support desk's surface: sign-in, the audit log, users and labels so far.

mod audit;
mod auth;
mod envelope;
mod labels;
mod paging;
mod users;

use crate::App;
use crate::foundation::auth::{Caller, bearer, identify, identify_any};
use crate::foundation::guard::Guard;
use crate::foundation::known::Operations;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::{RequestId, body, guarded, limits};
use poem::endpoint::BoxEndpoint;
use poem::{Endpoint, EndpointExt, Request, Response};
use poem_openapi::OpenApiService;
use std::sync::Arc;

type Routes = (auth::AuthRoutes, audit::AuditRoutes, users::UserRoutes, labels::LabelRoutes);

/// What the document says beside its operations.
const DESCRIPTION: &str = "Signing in and out, the audit log, users and labels.\n\n\
Decided:\n\
- A field or a parameter that is not in this document is refused with 400 and the nearest known name.\n\
- **Users** are read with `users:read` and made and changed with `users:manage`. A `PUT` changes what it names; the rest stays, \
and an address never changes. Another role or password ends all sessions of the user, `active: false` their API keys too. Nobody \
changes the role, the password or the sign-in of their own account this way (409), and nobody makes or changes a user whose role \
permits what they may not do themselves (403): an API key with `users:manage` alone makes no administrator.\n\
- **Labels** are read with `conversations:read` and made with `conversations:write`. A title is kept with single spaces, and is one \
whatever its case (409).\n\
- Requests with a token count towards the general limit of their user.";

/// The surface's document and routes.
pub(crate) fn service(app: Arc<App>) -> OpenApiService<Routes, ()> {
    let routes = (
        auth::AuthRoutes { app: app.clone() },
        audit::AuditRoutes { app: app.clone() },
        users::UserRoutes { app: app.clone() },
        labels::LabelRoutes { app },
    );
    OpenApiService::new(routes, "Paceline: support desk", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .server("/")
}

/// The caller that was identified on the way.
fn caller(request: &Request) -> Result<&Caller, Refusal> {
    request.extensions().get::<Caller>().ok_or_else(|| Refusal::new(Kind::AuthRequired, "a token is required"))
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

/// A route that needs no permission is for any session, also one that may only change its password. Such routes are about
/// the session itself, and count by themselves; the others count here, also what is then refused.
async fn admit(app: &App, guard: &Guard, request: &Request) -> Result<Caller, Refusal> {
    let any = matches!(guard, Guard::Shown { needs, .. } if needs.is_empty());
    let caller = match any {
        true => identify_any(app, bearer(request)).await?,
        false => identify(app, bearer(request)).await?,
    };
    if !any {
        let key = format!("general:{}", caller.0.user_id);
        limits::TightestLimit::note(request, limits::check(app, &key, app.settings.general_per_minute).await?);
    }
    guard.permit(|permission| caller.needs(permission))?;
    Ok(caller)
}
