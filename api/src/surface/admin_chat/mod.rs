//! The admin chat's surface: its socket so far, which the batch surface's news go over too.

mod envelope;

use crate::App;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::{auth, guarded, limits};
use crate::realtime;
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem::{EndpointExt, Request, Response, Route};
use std::sync::Arc;

/// The surface, in its envelope.
pub(crate) fn endpoint(app: Arc<App>) -> Arc<BoxEndpoint<'static>> {
    let clock = app.clock.clone();
    let routes = Route::new().at(
        "/ws",
        poem::endpoint::make(move |request| {
            let app = app.clone();
            async move { socket(app, request).await }
        }),
    );
    crate::shared(routes.around(move |routes, request| {
        let clock = clock.clone();
        async move {
            let token = realtime::token(&request).is_some();
            Ok(guarded(routes.as_ref(), request, |refusal| envelope::refuse(refusal, token, clock.now())).await)
        }
    }))
}

/// `/ws?token=<JWT>`, or with the token in `Authorization`.
async fn socket(app: Arc<App>, request: Request) -> poem::Result<Response> {
    if request.method() != Method::GET {
        let wrong = Refusal::new(Kind::MethodNotAllowed, "the path has no such method");
        return Err(Refusal { allow: Some("GET".into()), ..wrong }.into());
    }
    let caller = auth::identify(&app, realtime::token(&request).as_deref()).await?;
    // A new socket is told of all that is going on: that costs more than most requests.
    let key = format!("general:{}", caller.0.user_id);
    limits::Standing::note(&request, limits::check(&app, &key, app.settings.general_per_minute).await?);
    Ok(realtime::open(app, caller, request).await?)
}
