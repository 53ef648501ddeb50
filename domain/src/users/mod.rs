//! Users: who they are, what they may do, and how they show it.

mod account;
mod browser;
mod change;
mod key;
pub mod password;
mod prune;
mod role;
mod session;
mod store;
mod token;

pub use account::{
    Listed, UserSearch, change_password, disable, enable, list, listed, page, password_of, set_password, set_role,
    take_one_time,
};
pub use browser::{
    BROWSER_IDLE, BROWSER_TTL, BrowserSession, browser_session, browser_session_used, open_browser_session,
    renew_browser_session,
};
pub use change::{
    ChangeError, Changed, GivenPassword, MAX_NAME, MAX_PICTURE, UserChange, change, is_name, is_picture, may_govern,
};
pub use key::{
    ApiKey, KEY_PREFIX, KeyError, KnownKey, NewKey, add_key, end_sessions, find_key, key_used, list_keys, revoke_key,
};
pub use prune::{ENDED_KEPT, prune};
pub use role::{Permission, Role};
pub use session::{
    REFRESH_TTL, Refreshed, SessionAccess, SignedIn, known_addresses, open_session, open_token_session, refresh,
    revoke, revoked_since, standing,
};
pub use store::{
    Credentials, NewUser, User, UserError, by_email, create, create_one_time, credentials, get, names, none_exists,
};
pub use token::{ACCESS_TTL, Claims, MIN_SECRET, TokenError, TokenKeys};
