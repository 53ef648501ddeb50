//! Who asks for a change, and from where: for its record in the audit log.

use domain::UserId;
use domain::audit_log::{Actor, Origin};
use poem::Request;

/// The address that a request comes from. Headers that name somebody else are not believed; absent where there is none, as
/// on a socket of the machine itself.
pub(crate) fn address(request: &Request) -> Option<String> {
    request.remote_addr().as_socket_addr().map(|address| address.ip().to_canonical().to_string())
}

/// The place of a request, and who acts there.
pub(crate) fn of(request: &Request, actor: Actor) -> Origin {
    Origin::new(actor, address(request).as_deref(), request.header("user-agent"))
}

/// The same for a user; the number 0 is nobody's.
pub(crate) fn of_user(request: &Request, user: UserId) -> Origin {
    of(request, if user.0 > 0 { Actor::User(user) } else { Actor::Anonymous })
}
