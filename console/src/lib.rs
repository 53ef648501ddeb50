//! The console: pages for people over the same domain as the API.
//!
//! A page is a route, a template, a view type and a test. Pages read and act through `domain`; there is no rule and no SQL
//! here. Every route says in one place who may see it (`guard::Access`); reading works without JavaScript, acts are
//! forms that post and redirect. What is live is told by one stream for a browser (`live`): it carries only what has
//! changed, and pages fetch the parts anew, so that rights, masks and language stay in one place.

mod assets;
mod coding;
mod csrf;
mod fault;
mod filter;
mod guard;
mod i18n;
mod live;
mod pages;
mod parts;
mod ui;
mod upload;
mod viewer;

use backplane::{After, Backplane};
use domain::contacts::phone::Country;
use domain::model::OperationTarget::{Batches, Jobs};
use domain::queue::system::Inspect;
use domain::{Clock, Db};
use guard::{Access, route};
use live::Live;
use parts::Parts;
use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, Response, Route};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How the console behaves.
#[derive(Clone)]
pub struct Settings {
    /// Sign-ins a minute, for an address and for an account; 0: no limit.
    pub login_per_minute: u32,
    /// Retries of batches a minute, for a user; 0: no limit. The count is the API's.
    pub batch_per_minute: u32,
    /// Other changes a minute, for a user; 0: no limit. The count is the API's.
    pub general_per_minute: u32,
    /// Whether every change is refused, but those of the reader's own session and password.
    pub read_only: bool,
    /// Live streams at once, in this process.
    pub max_streams: usize,
    /// The limit a minute of a sender whose row has none: for forecasts.
    pub sender_rate_per_minute: Option<i64>,
    /// Above how many recipients a send waits for a second person; `None`: none does.
    pub approval_above: Option<u32>,
    /// Where numbers without a country's code are at home.
    pub default_country: Option<Country>,
    /// Where the process keeps its files: a disk that fills needs a person.
    pub data_dir: Option<std::path::PathBuf>,
    /// Whether messages go to the simulator, which sends nothing to anybody.
    pub simulator: bool,
    /// Looks at the installation.
    pub inspect: Inspect,
    /// Whether browsers reach it by TLS: then cookies are for TLS alone.
    pub secure: bool,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

/// What every page can use.
pub(crate) struct Console {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) backplane: Backplane,
    pub(crate) after: After,
    pub(crate) settings: Settings,
    pub(crate) live: Live,
    /// Parts that many readers are shown.
    pub(crate) parts: Parts,
}

/// The pages, to be served as they are at `/console` and below. `/` belongs to whoever mounts them.
pub fn endpoint(
    db: Db,
    clock: Clock,
    backplane: Backplane,
    settings: Settings,
    stop: CancellationToken,
) -> BoxEndpoint<'static, Response> {
    use domain::users::Permission::{BatchesApprove, BatchesRead, BatchesWrite, ContactsRead};
    let after = After::new(&backplane, clock.clone());
    let live = Live::start(&backplane, db.clone(), settings.max_streams, stop);
    let app = Arc::new(Console { db, clock, backplane, after, settings, live, parts: Parts::default() });
    let open = |method, run| route(&app, Access::Open, method, run);
    let signed_in = |method, run| route(&app, Access::SignedIn, method, run);
    let session = |method, run| route(&app, Access::Session, method, run);
    let steering = |method, run| route(&app, Access::Needs(BatchesWrite), method, run);
    let approving = |method, run| route(&app, Access::Needs(BatchesApprove), method, run);
    let contacts = |method, run| route(&app, Access::Needs(ContactsRead), method, run);
    let batches = |method, run| route(&app, Access::Needs(BatchesRead), method, run);
    operator(data(Route::new(), &app), &app)
        .at("/console", signed_in("GET", |c| Box::pin(pages::overview::show(c))))
        .at("/console/sign-in", open("GET, POST", |c| Box::pin(pages::sign_in::either(c))))
        .at("/console/sign-out", session("POST", |c| Box::pin(pages::sign_in::sign_out(c))))
        .at("/console/password", session("GET, POST", |c| Box::pin(pages::password::either(c))))
        .at("/console/account", signed_in("GET", |c| Box::pin(pages::account::show(c))))
        .at("/console/account/sign-out-everywhere", session("POST", |c| Box::pin(pages::account::everywhere(c))))
        .at("/console/language", open("POST", |c| Box::pin(pages::account::language(c))))
        .at("/console/go", signed_in("GET", |c| Box::pin(pages::go::go(c))))
        .at("/console/live", signed_in("GET", |c| Box::pin(live::stream(c))))
        .at("/console/contacts", contacts("GET", |c| Box::pin(pages::contacts::show(c))))
        .at("/console/contacts/:id", contacts("GET", |c| Box::pin(pages::contact::show(c))))
        .at("/console/new/send", steering("GET, POST", |c| Box::pin(pages::new_send::either(c))))
        .at("/console/batches", batches("GET", |c| Box::pin(pages::batches::show(c))))
        .at("/console/batches/selected", steering("GET, POST", |c| Box::pin(pages::selected::either(c))))
        .at("/console/batches/all", steering("GET, POST", |c| Box::pin(pages::new_operation::on_batches(c))))
        .at("/console/batches/acts/:id", batches("GET", |c| Box::pin(pages::operation::show(c, Batches))))
        .at("/console/batches/acts/:id/:act", steering("POST", |c| Box::pin(pages::operation::act(c, Batches))))
        .at("/console/batches/:id", batches("GET", |c| Box::pin(pages::batch::show(c))))
        .at("/console/batches/:id/failures", batches("GET", |c| Box::pin(pages::failures::show(c))))
        .at("/console/batches/:id/recipients", batches("GET", |c| Box::pin(pages::recipients::show(c))))
        .at("/console/batches/:id/recipients/:seq", batches("GET", |c| Box::pin(pages::recipient::show(c))))
        .at("/console/batches/:id/approve", approving("POST", |c| Box::pin(pages::approval::approve(c))))
        .at("/console/batches/:id/refuse", approving("POST", |c| Box::pin(pages::approval::refuse(c))))
        .at("/console/batches/:id/:act", steering("POST", |c| Box::pin(pages::batch::act(c))))
        .at(
            "/console/assets/:name",
            poem::endpoint::make_sync(|request| {
                let name = request.raw_path_param("name").unwrap_or_default().to_owned();
                assets::serve(&request, &name)
            }),
        )
        .at("/console/*rest", open("GET", |_| Box::pin(async { Err(fault::Fault::NotFound) })))
        .map_to_response()
        .boxed()
}

/// The pages of what batches work on, and of what was done.
fn data(routes: Route, app: &Arc<Console>) -> Route {
    use domain::users::Permission::{
        BatchesRead, BatchesWrite, ContactsDelete, ContactsRead, ContactsWrite, UsersManage, UsersRead,
    };
    let signed_in = |method, run| route(app, Access::SignedIn, method, run);
    let with = |permission, method, run| route(app, Access::Needs(permission), method, run);
    routes
        .at("/console/new", signed_in("GET", |c| Box::pin(pages::new::show(c))))
        .at("/console/sample", with(ContactsWrite, "POST", |c| Box::pin(pages::sample::make(c))))
        .at("/console/new/import", with(ContactsWrite, "GET, POST", |c| Box::pin(pages::new_import::either(c))))
        .at("/console/new/tags", with(ContactsWrite, "GET, POST", |c| Box::pin(pages::new_set::tags(c))))
        .at("/console/new/delete", with(ContactsDelete, "GET, POST", |c| Box::pin(pages::new_set::delete(c))))
        .at("/console/batches/:id/history", with(BatchesRead, "GET", |c| Box::pin(pages::audit::history(c))))
        .at("/console/batches/:id/recipients.csv", with(BatchesRead, "GET", |c| Box::pin(pages::export::recipients(c))))
        .at(
            "/console/batches/:id/failed-rows.csv",
            with(BatchesRead, "GET", |c| Box::pin(pages::export::failed_rows(c))),
        )
        .at("/console/contacts/:id/unmask", with(ContactsRead, "POST", |c| Box::pin(pages::contact::unmask(c))))
        .at("/console/templates", with(BatchesRead, "GET", |c| Box::pin(pages::templates::list(c))))
        .at("/console/templates/new", with(BatchesWrite, "GET, POST", |c| Box::pin(pages::templates::new(c))))
        .at("/console/templates/:id", with(BatchesRead, "GET, POST", |c| Box::pin(pages::templates::one(c))))
        .at("/console/templates/:id/delete", with(BatchesWrite, "POST", |c| Box::pin(pages::templates::delete(c))))
        .at("/console/suppressions", with(ContactsRead, "GET, POST", |c| Box::pin(pages::suppressions::either(c))))
        .at("/console/suppressions/end", with(ContactsWrite, "POST", |c| Box::pin(pages::suppressions::end(c))))
        .at("/console/calendar", with(BatchesRead, "GET", |c| Box::pin(pages::calendar::show(c))))
        .at("/console/calendar.ics", with(BatchesRead, "GET", |c| Box::pin(pages::calendar::file(c))))
        .at("/console/views", signed_in("POST", |c| Box::pin(pages::kept::keep_view(c))))
        .at("/console/views/:id/delete", signed_in("POST", |c| Box::pin(pages::kept::delete_view(c))))
        .at("/console/drafts", with(BatchesWrite, "GET", |c| Box::pin(pages::kept::drafts(c))))
        .at("/console/drafts/:id/delete", with(BatchesWrite, "POST", |c| Box::pin(pages::kept::delete_draft(c))))
        .at("/console/account/test-numbers", with(BatchesWrite, "POST", |c| Box::pin(pages::kept::test_numbers(c))))
        .at("/console/statistics", with(BatchesRead, "GET", |c| Box::pin(pages::statistics::show(c))))
        .at("/console/statistics.csv", with(BatchesRead, "GET", |c| Box::pin(pages::statistics::file(c))))
        .at("/console/audit", with(UsersRead, "GET", |c| Box::pin(pages::audit::show(c))))
        .at("/console/audit.csv", with(UsersRead, "GET", |c| Box::pin(pages::audit::file(c))))
        .at("/console/users", with(UsersManage, "GET, POST", |c| Box::pin(pages::users::either(c))))
        .at("/console/users/:id/:act", with(UsersManage, "POST", |c| Box::pin(pages::users::act(c))))
}

/// The pages of the queue and of the installation.
fn operator(routes: Route, app: &Arc<Console>) -> Route {
    use domain::users::Permission::{QueuesManage, QueuesRead, SettingsRead};
    let queue = |method, run| route(app, Access::Needs(QueuesRead), method, run);
    let operating = |method, run| route(app, Access::Needs(QueuesManage), method, run);
    let settings = |method, run| route(app, Access::Needs(SettingsRead), method, run);
    routes
        .at("/console/jobs", queue("GET", |c| Box::pin(pages::queue::jobs::show(c))))
        .at("/console/jobs/:id", queue("GET", |c| Box::pin(pages::queue::job::show(c))))
        .at("/console/jobs/:id/:act", operating("POST", |c| Box::pin(pages::queue::job::act(c))))
        .at("/console/operations", queue("GET", |c| Box::pin(pages::operation::list(c))))
        .at("/console/operations/new", operating("GET, POST", |c| Box::pin(pages::new_operation::on_jobs(c))))
        .at("/console/operations/:id", queue("GET", |c| Box::pin(pages::operation::show(c, Jobs))))
        .at("/console/operations/:id/:act", operating("POST", |c| Box::pin(pages::operation::act(c, Jobs))))
        .at("/console/workers", queue("GET", |c| Box::pin(pages::queue::workers::show(c))))
        .at("/console/workers/:name/:act", operating("POST", |c| Box::pin(pages::queue::workers::act(c))))
        .at("/console/system", settings("GET", |c| Box::pin(pages::queue::system::show(c))))
        .at("/console/system/examine", operating("POST", |c| Box::pin(pages::queue::system::examine(c))))
        .at("/console/senders", queue("GET", |c| Box::pin(pages::queue::senders::show(c))))
        .at("/console/senders/:name", queue("GET", |c| Box::pin(pages::queue::sender::show(c))))
        .at("/console/senders/:name/:act", operating("POST", |c| Box::pin(pages::queue::sender::act(c))))
}
