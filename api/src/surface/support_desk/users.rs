//! Users, for who may read and manage them.

use super::auth::{RoleName, Token};
use super::caller;
use super::envelope::{Rejection, Success};
use super::paging::{PageMeta, Paging};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::time::Time;
use domain::audit_log::{self, Action, Origin};
use domain::users::{
    self, ChangeError, Claims, GivenPassword, Listed, MAX_NAME, MAX_PICTURE, NewUser, Permission, Role, UserChange,
    UserError, UserSearch,
};
use domain::{Event, UserId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// How long what is searched for may be, in characters.
const MAX_SEARCH: usize = 200;

pub(crate) struct UserRoutes {
    pub(super) app: Arc<App>,
}

/// A user, for who may read users.
#[derive(Debug, Object)]
#[oai(rename = "ListedUser")]
struct ListedView {
    /// The number.
    id: i64,
    /// The address that signs in, in small letters.
    email: String,
    /// The name.
    full_name: String,
    /// What the user is.
    role: RoleName,
    /// What the user may do.
    permissions: Vec<String>,
    /// A picture.
    avatar_url: Option<String>,
    /// Whether the user may sign in.
    active: bool,
    /// Whether the password was good for one sign-in and must be changed.
    must_change_password: bool,
    /// When somebody last signed in as them.
    last_login_at: Option<Time>,
    /// When the user was made.
    created_at: Time,
    /// When the user was last changed.
    updated_at: Time,
}

impl From<Listed> for ListedView {
    fn from(listed: Listed) -> Self {
        let user = listed.user;
        Self {
            id: user.id.0,
            email: user.email,
            full_name: user.full_name,
            role: user.role.into(),
            permissions: user.role.permissions().into_iter().map(Permission::as_str).map(str::to_owned).collect(),
            avatar_url: user.avatar_url,
            active: user.active,
            must_change_password: listed.must_change_password,
            last_login_at: listed.last_login_at.map(Time),
            created_at: listed.created_at.into(),
            updated_at: listed.updated_at.into(),
        }
    }
}

/// A page of users.
#[derive(Debug, Object)]
struct UserPage {
    /// The users, by address.
    users: Vec<ListedView>,
    /// Where the page is.
    meta: PageMeta,
}

/// One user.
#[derive(Debug, Object)]
struct OneUser {
    /// The user.
    user: ListedView,
}

/// A user that was made.
#[derive(ApiResponse)]
enum Created {
    /// The user.
    #[oai(status = 201)]
    Created(Json<Success<OneUser>>),
}

/// A user to be made.
#[derive(Debug, Object)]
#[oai(example)]
struct NewUserRequest {
    /// The address that signs in; no two users have the same, whatever its case. It never changes.
    #[oai(validator(min_length = 3, max_length = 254))]
    email: String,
    /// The name.
    #[oai(validator(min_length = 1, max_length = 100))]
    full_name: String,
    /// What the user is.
    role: RoleName,
    /// The password: 8 to 256 characters.
    #[oai(validator(min_length = 8, max_length = 256))]
    password: String,
    /// Whether the password is good for one sign-in, which asks for another; no if it is not given.
    must_change_password: Option<bool>,
}

impl Example for NewUserRequest {
    fn example() -> Self {
        Self {
            email: "li@example.com".into(),
            full_name: "Li Wei".into(),
            role: RoleName::Agent,
            password: "correct horse battery staple".into(),
            must_change_password: Some(true),
        }
    }
}

/// What is to be another of a user; what is not named stays.
#[derive(Debug, Object)]
#[oai(example)]
struct UserRequest {
    /// The name.
    #[oai(validator(min_length = 1, max_length = 100))]
    full_name: Option<String>,
    /// The address of a picture, on `https` or `http`; null: none.
    #[oai(validator(min_length = 1, max_length = 500))]
    avatar_url: Option<String>,
    /// What the user is. Another role ends all sessions of theirs.
    role: Option<RoleName>,
    /// Whether the user may sign in. `false` ends all sessions and API keys of theirs.
    active: Option<bool>,
    /// Another password: 8 to 256 characters. It ends all sessions of theirs.
    #[oai(validator(min_length = 8, max_length = 256))]
    password: Option<String>,
    /// Whether that password is good for one sign-in, which asks for another; only beside `password`.
    must_change_password: Option<bool>,
}

impl Example for UserRequest {
    fn example() -> Self {
        Self {
            full_name: Some("Li Wei".into()),
            avatar_url: None,
            role: None,
            active: None,
            password: None,
            must_change_password: None,
        }
    }
}

fn refuse(error: ChangeError) -> Refusal {
    match error {
        ChangeError::NotFound => Refusal::not_found("user"),
        ChangeError::Own(field) => {
            let text = format!("nobody changes the {field} of their own account here; somebody else has to");
            Refusal::new(Kind::Conflict, text)
        }
        ChangeError::Beyond { .. } | ChangeError::NotPermitted => {
            Refusal::new(Kind::PermissionDenied, error.to_string())
        }
        ChangeError::Database(error) => error.into(),
    }
}

fn refuse_new(error: UserError) -> Refusal {
    match error {
        UserError::BadEmail(_) => Refusal::field("email", "must be an e-mail address"),
        UserError::EmailTaken => Refusal::new(Kind::Conflict, error.to_string()),
        UserError::Password(error) => Refusal::field("password", error.to_string()),
        UserError::Database(error) => error.into(),
    }
}

fn id(text: &str) -> Result<UserId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("user"))
}

fn name(f: &mut Fields<'_>) -> Option<String> {
    let name = f.text("full_name", 1..=MAX_NAME)?;
    if !users::is_name(&name) {
        f.bad("full_name", "must have a character that can be read, and no control character");
    }
    Some(name.trim().to_owned())
}

fn password(f: &mut Fields<'_>) -> Option<String> {
    let password = f.text("password", 8..=256)?;
    if password.trim().chars().count() < 8 {
        f.bad("password", "must have at least 8 characters between its spaces");
    }
    Some(password)
}

fn role(f: &mut Fields<'_>) -> Option<Role> {
    f.one_of("role", &Role::ALL, Role::as_str)
}

/// A user to be made, and whether the password is good for one sign-in.
fn read_new(body: &[u8]) -> Result<(NewUser, bool), Refusal> {
    let mut f = Fields::parse(body)?;
    let email = f.text("email", 3..=254);
    let (full_name, role, password) = (name(&mut f), role(&mut f), password(&mut f));
    let one_time = f.boolean("must_change_password").unwrap_or(false);
    for field in ["email", "full_name", "role", "password"] {
        if f.raw(field).is_none() {
            f.bad(field, "is required");
        }
    }
    f.finish()?;
    // All of them are there, or the fields were refused.
    let (Some(email), Some(full_name), Some(role), Some(password)) = (email, full_name, role, password) else {
        return Err(Refusal::internal());
    };
    Ok((NewUser { email, full_name, role, password }, one_time))
}

/// What is to be another; the password is hashed, which takes its time.
async fn read_change(body: &[u8]) -> Result<UserChange, Refusal> {
    let mut f = Fields::parse(body)?;
    let (full_name, role, password) = (name(&mut f), role(&mut f), password(&mut f));
    let avatar_url = f.text_or_null("avatar_url", 1..=MAX_PICTURE);
    if avatar_url.as_ref().and_then(Option::as_deref).is_some_and(|url| !users::is_picture(url)) {
        f.bad("avatar_url", "must be an address on https or http, as https://example.com/ann.png");
    }
    let active = f.boolean("active");
    let one_time = f.boolean("must_change_password");
    if one_time.is_some() && f.raw("password").is_none() {
        f.bad("must_change_password", "is about a new password: give password beside it");
    }
    f.finish()?;
    let password = match password {
        None => None,
        Some(password) => {
            let hash = users::password::hashed(password).await;
            let hash = hash.map_err(|error| Refusal::field("password", error.to_string()))?;
            Some(GivenPassword { hash, one_time: one_time.unwrap_or(false) })
        }
    };
    Ok(UserChange { full_name, avatar_url, role, active, password })
}

impl UserRoutes {
    async fn make(&self, by: &Claims, from: &Origin, body: &[u8]) -> Result<Listed, Refusal> {
        let app = &self.app;
        let (new, one_time) = read_new(body)?;
        users::may_govern(by, new.role).map_err(refuse)?;
        let (now, tx) = (app.clock.now(), app.db.begin().await?);
        let made = match one_time {
            true => users::create_one_time(&tx, now, new).await,
            false => users::create(&tx, now, new).await,
        };
        let made = made.map_err(refuse_new)?;
        audit_log::record(&tx, now, from, Action::UserCreate, Some(made.id)).await?;
        let listed = users::listed(&tx, made.id).await?.ok_or_else(Refusal::internal)?;
        db::commit(tx, Commit::Session).await?;
        Ok(listed)
    }

    async fn alter(&self, by: &Claims, from: &Origin, id: UserId, change: UserChange) -> Result<Listed, Refusal> {
        let app = &self.app;
        let (now, tx) = (app.clock.now(), app.db.begin().await?);
        let step = users::change(&tx, now, by, id, change).await.map_err(refuse)?;
        let changed = &step.value;
        let done = [
            changed.profile.then_some(Action::UserUpdate),
            changed.role.then_some(Action::UserRole),
            changed.active.map(|active| if active { Action::UserEnable } else { Action::UserDisable }),
            changed.password.then_some(Action::Password),
        ];
        for action in done.into_iter().flatten() {
            audit_log::record(&tx, now, from, action, Some(id)).await?;
        }
        db::commit(tx, Commit::Session).await?;
        for event in &step.events {
            if let Event::SessionRevoked(session) = event {
                app.sessions.forget(*session);
            }
        }
        Ok(app.after(step).user)
    }
}

/// Users.
#[OpenApi]
impl UserRoutes {
    /// Users, by address.
    #[oai(path = "/api/v1/users", method = "get")]
    async fn list(
        &self,
        #[oai(scope = "guard::USERS_READ")] _token: Token,
        /// Only those with this in their name or address, whatever its case.
        #[oai(validator(max_length = 200))]
        search: Query<Option<Lenient<String>>>,
        /// Only those who are this.
        role: Query<Option<Lenient<RoleName>>>,
        /// Only those who may sign in, or those who may not.
        active: Query<Option<Lenient<bool>>>,
        /// Which page, from 1.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        page: Query<Option<Lenient<i64>>>,
        /// How many a page has; 20 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        per_page: Query<Option<Lenient<i64>>>,
    ) -> Result<Json<Success<UserPage>>, Rejection> {
        let mut params = Params::default();
        let text: Option<String> = params.read("search", search.0, "a text");
        if text.as_deref().is_some_and(|text| text.chars().count() > MAX_SEARCH || text.contains('\0')) {
            params.bad("search", format!("must be at most {MAX_SEARCH} characters, without NUL"));
        }
        let roles = "one of admin, supervisor, agent, guest";
        let search = UserSearch {
            text: text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
            role: params.read("role", role.0, roles).map(Role::from),
            active: params.read("active", active.0, "true or false"),
        };
        let paging = Paging::read(&mut params, page.0, per_page.0);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let (limit, offset) = (paging.limit().unsigned_abs(), paging.offset().unsigned_abs());
        let (found, count) = users::page(self.app.db.read(), &search, limit, offset).await.map_err(Refusal::from)?;
        let meta = paging.meta(i64::try_from(count).unwrap_or(i64::MAX));
        Ok(Success::new(UserPage { users: found.into_iter().map(ListedView::from).collect(), meta }))
    }

    /// Makes a user.
    #[oai(path = "/api/v1/users", method = "post")]
    async fn create(
        &self,
        request: &Request,
        #[oai(scope = "guard::USERS_MANAGE")] _token: Token,
        body: SmallBody<NewUserRequest>,
    ) -> Result<Created, Rejection> {
        let by = &caller(request)?.0;
        let made = self.make(by, &origin::of_user(request, by.user_id), &body.bytes).await?;
        Ok(Created::Created(Success::new(OneUser { user: made.into() })))
    }

    /// Reads a user.
    #[oai(path = "/api/v1/users/:id", method = "get")]
    async fn get(
        &self,
        #[oai(scope = "guard::USERS_READ")] _token: Token,
        /// The user.
        #[oai(name = "id")]
        user: Path<PathId>,
    ) -> Result<Json<Success<OneUser>>, Rejection> {
        let found = users::listed(self.app.db.read(), id(&user)?).await.map_err(Refusal::from)?;
        let user = found.ok_or_else(|| Refusal::not_found("user"))?.into();
        Ok(Success::new(OneUser { user }))
    }

    /// Changes a user: what is named is another then, the rest stays.
    #[oai(path = "/api/v1/users/:id", method = "put")]
    async fn update(
        &self,
        request: &Request,
        #[oai(scope = "guard::USERS_MANAGE")] _token: Token,
        /// The user.
        #[oai(name = "id")]
        user: Path<PathId>,
        body: SmallBody<UserRequest>,
    ) -> Result<Json<Success<OneUser>>, Rejection> {
        let by = &caller(request)?.0;
        let (id, change) = (id(&user)?, read_change(&body.bytes).await?);
        let changed = self.alter(by, &origin::of_user(request, by.user_id), id, change).await?;
        Ok(Success::new(OneUser { user: changed.into() }))
    }
}
