//! Who may use a route, as its declaration says it: `#[oai(scope = "guard::BATCHES_READ")]` on its token, or [`Everybody`].
//!
//! The scope stands in the route's own declaration, is read from there with the parameters ([`known`](super::known)), and is
//! asked before the route is: a handler that forgets to ask opens nothing, and one that declares nobody is closed.

use super::refusal::{Kind, Refusal};
use domain::users::Permission;
use poem::{Request, RequestBody};
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, OAuthScopes};
use std::collections::HashMap;

/// A permission, as a route's declaration names it.
pub(crate) struct Needs(Permission);

impl OAuthScopes for Needs {
    fn meta() -> Vec<poem_openapi::registry::MetaOAuthScope> {
        Vec::new()
    }

    fn name(&self) -> &'static str {
        self.0.as_str()
    }
}

macro_rules! needs {
    ($($name:ident = $permission:ident),+ $(,)?) => {
        $(pub(crate) const $name: Needs = Needs(Permission::$permission);)+
    };
}

needs! {
    BATCHES_READ = BatchesRead,
    BATCHES_APPROVE = BatchesApprove,
    BATCHES_WRITE = BatchesWrite,
    CONTACTS_READ = ContactsRead,
    CONTACTS_WRITE = ContactsWrite,
    CONTACTS_DELETE = ContactsDelete,
    CONVERSATIONS_READ = ConversationsRead,
    CONVERSATIONS_WRITE = ConversationsWrite,
    QUEUES_READ = QueuesRead,
    QUEUES_MANAGE = QueuesManage,
    SETTINGS_READ = SettingsRead,
    SETTINGS_WRITE = SettingsWrite,
    USERS_MANAGE = UsersManage,
    USERS_READ = UsersRead,
}

/// Declares a route that is for everybody, signed in or not.
pub(crate) struct Everybody;

impl<'a> ApiExtractor<'a> for Everybody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(_: &mut Registry) {}

    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(_: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self)
    }
}

/// Who may use a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// It does not say: nobody may.
    Undeclared,
    /// Everybody.
    Everybody,
    /// Who shows what this scheme of the document wants, and has all these permissions.
    Shown {
        /// The scheme's name.
        scheme: &'static str,
        /// The permissions.
        needs: Vec<Permission>,
    },
}

impl Guard {
    /// Reads what a route declares.
    pub(crate) fn of(security: &[HashMap<&'static str, Vec<&'static str>>]) -> Self {
        match security.first().map(|way| way.iter().next()) {
            None => Self::Undeclared,
            Some(None) => Self::Everybody,
            Some(Some((scheme, scopes))) => {
                let needs = scopes.iter().map(|scope| scope.parse().ok()).collect::<Option<Vec<_>>>();
                needs.map_or(Self::Undeclared, |needs| Self::Shown { scheme, needs })
            }
        }
    }

    /// Whether the route wants this scheme.
    pub(crate) fn wants(&self, name: &str) -> bool {
        matches!(self, Self::Shown { scheme, .. } if *scheme == name)
    }

    /// Refuses who may not; `may` asks whether they have a permission.
    pub(crate) fn permit(&self, may: impl Fn(Permission) -> Result<(), Refusal>) -> Result<(), Refusal> {
        match self {
            Self::Undeclared => {
                tracing::error!("a route declares nobody who may use it, and is closed");
                Err(Refusal::new(Kind::PermissionDenied, "nobody may use this path"))
            }
            Self::Everybody => Ok(()),
            Self::Shown { needs, .. } => needs.iter().try_for_each(|permission| may(*permission)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_is_closed() {
        let yes = |_| Ok(());
        let no = |_| Err(Refusal::new(Kind::PermissionDenied, "no"));
        let way = |scopes: &[&'static str]| vec![HashMap::from([("Token", scopes.to_vec())])];
        assert_eq!(Guard::of(&[]), Guard::Undeclared);
        assert!(Guard::of(&[]).permit(yes).is_err());
        assert!(Guard::of(&way(&["batches:reed"])).permit(yes).is_err(), "no permission is called so");
        assert!(Guard::of(&[HashMap::new()]).permit(no).is_ok());
        let guard = Guard::of(&way(&["batches:read", "contacts:read"]));
        assert!(guard.wants("Token") && !guard.wants("Signature"));
        assert!(guard.permit(yes).is_ok() && guard.permit(no).is_err());
        let only = |asked| if asked == Permission::BatchesRead { Ok(()) } else { no(asked) };
        assert!(guard.permit(only).is_err(), "it needs both");
        assert!(Guard::of(&way(&[])).permit(no).is_ok(), "whoever is signed in");
    }
}
