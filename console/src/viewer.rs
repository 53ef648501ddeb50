//! Who reads a page.

use domain::SessionId;
use domain::users::{Permission, SessionAccess, User};

/// A signed-in reader.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// Who it is.
    pub(crate) user: User,
    /// The session, as its row is named.
    pub(crate) session: SessionId,
    /// What the session is open to.
    pub(crate) standing: SessionAccess,
}

impl Viewer {
    /// Whether the reader may.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.user.role.permits(permission)
    }

    /// Whether phone numbers are shown in full.
    pub(crate) fn sees_phones(&self) -> bool {
        self.user.role.sees_phones()
    }

    /// Whether the session is open to a change of the password alone.
    pub(crate) fn must_change(&self) -> bool {
        self.standing == SessionAccess::MustChangePassword
    }
}
