//! Users: who they are, what they may do, and how they show it.

mod browser;
pub mod password;
mod role;
mod session;
mod store;
mod token;

pub use browser::{BROWSER_IDLE, BROWSER_TTL, browser_session, open_browser_session, revoke_all, sees_phones};
pub use role::{Permission, Role};
pub use session::{
    REFRESH_TTL, Refreshed, SignedIn, is_live, known_addresses, open_session, open_token_session, refresh, revoke,
};
pub use store::{NewUser, User, UserError, by_email, create, credentials, get, none_exists};
pub use token::{ACCESS_TTL, Claims, MIN_SECRET, TokenError, TokenKeys};
