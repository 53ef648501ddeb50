//! Roles and what they permit.

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! permissions {
    ($($variant:ident = $text:literal: $doc:literal),+ $(,)?) => {
        /// Something that a user may do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Permission {
            $(#[doc = $doc] #[serde(rename = $text)] $variant,)+
        }

        impl Permission {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in tokens and contracts.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

permissions! {
    ConversationsRead = "conversations:read": "Read conversations.",
    ConversationsWrite = "conversations:write": "Answer in conversations.",
    ConversationsAssign = "conversations:assign": "Give conversations to others.",
    ContactsRead = "contacts:read": "Read contacts.",
    ContactsWrite = "contacts:write": "Make, change, import and tag contacts.",
    ContactsDelete = "contacts:delete": "Delete contacts.",
    ReportsRead = "reports:read": "Read reports.",
    ReportsExport = "reports:export": "Export reports.",
    SettingsRead = "settings:read": "Read settings.",
    SettingsWrite = "settings:write": "Change settings.",
    UsersRead = "users:read": "Read users.",
    UsersWrite = "users:write": "Change users.",
    UsersManage = "users:manage": "Make users and change their roles.",
    InboxesRead = "inboxes:read": "Read inboxes.",
    InboxesWrite = "inboxes:write": "Change inboxes.",
    BatchesRead = "batches:read": "Watch batches.",
    BatchesWrite = "batches:write": "Send and steer batches.",
    BatchesApprove = "batches:approve": "Approve or refuse the large sends of others.",
    QueuesRead = "queues:read": "Watch the queue.",
    QueuesManage = "queues:manage": "Steer the queue.",
}

impl FromStr for Permission {
    type Err = crate::ring::UnknownName;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|permission| permission.as_str() == s);
        found.ok_or_else(|| crate::ring::UnknownName(s.to_owned()))
    }
}

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, DeriveValueType)]
#[serde(rename_all = "snake_case")]
#[sea_orm(value_type = "String")]
pub enum Role {
    /// May do everything.
    Admin,
    /// Leads agents: everything but settings, users, and the deletion of contacts.
    Supervisor,
    /// Talks to contacts.
    Agent,
    /// Looks on, with personal data masked.
    Guest,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Supervisor, Self::Agent, Self::Guest];

    /// The name in columns, tokens and contracts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Supervisor => "supervisor",
            Self::Agent => "agent",
            Self::Guest => "guest",
        }
    }

    /// Whether the role permits it.
    #[must_use]
    pub const fn permits(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Admin => true,
            Self::Supervisor => {
                !matches!(permission, P::SettingsWrite | P::UsersWrite | P::UsersManage | P::ContactsDelete)
            }
            Self::Agent => matches!(
                permission,
                P::ConversationsRead
                    | P::ConversationsWrite
                    | P::ContactsRead
                    | P::ContactsWrite
                    | P::InboxesRead
                    | P::BatchesRead
            ),
            Self::Guest => matches!(permission, P::ConversationsRead | P::ContactsRead),
        }
    }

    /// Whether phone numbers are shown to the role in full: guests see them masked.
    #[must_use]
    pub const fn sees_phones(self) -> bool {
        match self {
            Self::Admin | Self::Supervisor | Self::Agent => true,
            Self::Guest => false,
        }
    }

    /// All that the role permits.
    #[must_use]
    pub fn permissions(self) -> Vec<Permission> {
        Permission::ALL.iter().copied().filter(|permission| self.permits(*permission)).collect()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = crate::ring::UnknownName;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == s).ok_or_else(|| crate::ring::UnknownName(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roles_permit_what_the_contract_says() {
        assert_eq!(Role::Admin.permissions().len(), Permission::ALL.len());
        assert_eq!(Role::Supervisor.permissions().len(), Permission::ALL.len() - 4);
        let names = |role: Role| role.permissions().into_iter().map(Permission::as_str).collect::<Vec<_>>();
        assert_eq!(
            names(Role::Agent),
            [
                "conversations:read",
                "conversations:write",
                "contacts:read",
                "contacts:write",
                "inboxes:read",
                "batches:read"
            ]
        );
        assert_eq!(names(Role::Guest), ["conversations:read", "contacts:read"]);
    }
}
