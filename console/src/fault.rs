//! What can be wrong with a request, and the page that says so.

use crate::guard;
use crate::ui::Ui;
use askama::Template;
use domain::batches::{ControlError, Refused};
use domain::db::Trouble;
use domain::users::Permission;
use poem::Response;
use poem::http::StatusCode;
use sea_orm::DbErr;

/// Why a page or an act is not given.
#[derive(Debug)]
pub(crate) enum Fault {
    /// There is no such page or thing.
    NotFound,
    /// The reader may not; it takes this permission.
    Forbidden(Permission),
    /// It is for a second person, and the batch is the reader's own.
    Own,
    /// Nobody is signed in.
    SignIn,
    /// The form does not come from a page of ours, or from an old one.
    Forged,
    /// The method is not one of the page's, which are these.
    Method(&'static str),
    /// Signed in with a password that must be changed first.
    ChangePassword,
    /// The console takes no changes.
    ReadOnly,
    /// A value cannot be taken: the key of the text that says which and why, and the value.
    Bad(&'static str, String),
    /// It makes no sense in the present state; the text says why.
    Conflict(String),
    /// A batch cannot be steered so.
    Refused(Refused),
    /// Too often; in so many seconds again.
    Limited(u64),
    /// The database is away.
    Away,
    /// A fault of ours; it is in the log.
    Ours,
}

impl From<DbErr> for Fault {
    fn from(error: DbErr) -> Self {
        match Trouble::of(&error) {
            Trouble::DiskFull | Trouble::Away | Trouble::Conflict | Trouble::TooLong => {
                tracing::warn!(%error, "a page could not be read");
                Self::Away
            }
            Trouble::Fault => {
                tracing::error!(%error, "a page failed");
                Self::Ours
            }
        }
    }
}

impl From<ControlError> for Fault {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound => Self::NotFound,
            ControlError::OwnBatch => Self::Own,
            ControlError::Conflict(refused) => Self::Refused(refused),
            ControlError::Database(error) => error.into(),
        }
    }
}

#[derive(Template)]
#[template(path = "pages/fault.html")]
struct FaultPage<'a> {
    ui: &'a Ui,
    title: String,
    text: String,
    detail: String,
    request_id: &'a str,
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden(_) | Self::Own | Self::Forged | Self::ChangePassword | Self::ReadOnly => {
                StatusCode::FORBIDDEN
            }
            Self::SignIn => StatusCode::UNAUTHORIZED,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Bad(..) => StatusCode::BAD_REQUEST,
            Self::Conflict(_) | Self::Refused(_) => StatusCode::CONFLICT,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Away => StatusCode::SERVICE_UNAVAILABLE,
            Self::Ours => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The page that says what happened and what to do.
    pub(crate) fn answer(&self, ui: &Ui, request_id: &str) -> Response {
        let (key, detail) = match self {
            Self::NotFound => ("error-not-found", String::new()),
            Self::Forbidden(permission) => ("error-forbidden", permission.as_str().to_owned()),
            Self::Own => ("error-own", String::new()),
            Self::SignIn => ("error-sign-in", String::new()),
            Self::Forged => ("error-forged", String::new()),
            Self::Method(_) => ("error-method", String::new()),
            Self::ChangePassword => ("error-change-password", String::new()),
            Self::ReadOnly => ("error-read-only", String::new()),
            Self::Bad(key, value) => ("error-bad", ui.tv(key, value)),
            Self::Refused(refused) => ("error-conflict", ui.refused(refused)),
            Self::Conflict(text) => ("error-conflict", text.clone()),
            Self::Limited(seconds) => ("error-limited", format!("{seconds} s")),
            Self::Away => ("error-away", String::new()),
            Self::Ours => ("error-ours", String::new()),
        };
        let page = FaultPage { ui, title: ui.t(&format!("{key}-title")), text: ui.t(key), detail, request_id };
        let mut response = guard::html(ui, &page);
        response.set_status(self.status());
        let headers = response.headers_mut();
        match self {
            Self::Method(allowed) => {
                headers.insert("allow", poem::http::HeaderValue::from_static(allowed));
            }
            Self::Limited(seconds) => {
                headers.insert("retry-after", poem::http::HeaderValue::from(*seconds));
            }
            Self::Away => {
                headers.insert("retry-after", poem::http::HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}
