//! The CRM's surface: `/metrics` so far. Answers are bare JSON, errors are `{detail}`.

use crate::RenderMetrics;
use crate::foundation::guarded;
use crate::foundation::refusal::bare;
use poem::endpoint::BoxEndpoint;
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route, get};
use std::sync::Arc;

/// The surface, in its envelope.
pub(crate) fn endpoint(render: RenderMetrics) -> Arc<BoxEndpoint<'static>> {
    let routes = Route::new().at("/metrics", get(metrics(render)));
    crate::shared(routes.around(|routes, request| async move { Ok(guarded(routes.as_ref(), request, bare).await) }))
}

/// The process's numbers as Prometheus reads them.
pub(crate) fn metrics(render: RenderMetrics) -> impl Endpoint<Output = Response> {
    poem::endpoint::make_sync(move |_| {
        render().with_content_type("text/plain; version=0.0.4; charset=utf-8").into_response()
    })
}
