//! The admin chat's surface: its socket so far, which the batch surface's news go over too.

mod envelope;

use crate::App;
use crate::foundation::known::Operations;
use crate::foundation::{auth, guarded, limits};
use crate::realtime;
use poem::endpoint::BoxEndpoint;
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
    let operations = Arc::new(Operations::default().and_get("/ws", &["token"]));
    crate::shared(routes.around(move |routes, request| {
        let (clock, operations) = (clock.clone(), operations.clone());
        async move {
            let token = realtime::token(&request).is_some();
            let refuse = |refusal: &_| envelope::refuse(refusal, token, clock.now());
            Ok(guarded(&operations, routes.as_ref(), request, refuse).await)
        }
    }))
}

/// `/ws?token=<JWT>`, or with the token in `Authorization`.
async fn socket(app: Arc<App>, request: Request) -> poem::Result<Response> {
    let caller = auth::identify(&app, realtime::token(&request).as_deref()).await?;
    // A new socket is told of all that is going on: that costs more than most requests.
    let key = format!("general:{}", caller.0.user_id);
    limits::TightestLimit::note(&request, limits::check(&app, &key, app.settings.general_per_minute).await?);
    Ok(realtime::open(app, caller, request).await?)
}
