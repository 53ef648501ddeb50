//! Who may ask: users with a token, or anybody where the configuration says so; and the gateway, with its signature.

use crate::App;
use crate::foundation::auth::{self, Caller};
use crate::foundation::refusal::{Kind, Refusal};
use domain::UserId;
use domain::users::Permission;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

/// Who asks a path of the frontend.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    /// Somebody who signed in.
    User(Box<Caller>),
    /// Anybody: the configuration opens these paths.
    Anybody,
}

impl Asker {
    /// Finds out who asks.
    pub(super) async fn of(app: &App, token: Option<&str>) -> Result<Self, Refusal> {
        match token {
            None if app.settings.crm_open => Ok(Self::Anybody),
            token => Ok(Self::User(Box::new(auth::identify(app, token).await?))),
        }
    }

    /// Who was found out on the way.
    pub(super) fn found(request: &Request) -> Result<&Self, Refusal> {
        request.extensions().get::<Self>().ok_or_else(|| Refusal::new(Kind::AuthRequired, "a token is required"))
    }

    /// Refuses one who may not.
    pub(super) fn needs(&self, permission: Permission) -> Result<(), Refusal> {
        match self {
            Self::User(caller) => caller.needs(permission),
            Self::Anybody => Ok(()),
        }
    }

    /// The user, for what is kept of them; nobody's number is 0.
    pub(super) fn user(&self) -> UserId {
        self.signed_in().unwrap_or(UserId(0))
    }

    /// The user, if one signed in.
    pub(super) fn signed_in(&self) -> Option<UserId> {
        match self {
            Self::User(caller) => Some(caller.0.user_id),
            Self::Anybody => None,
        }
    }

    /// Whether phone numbers are shown in full.
    pub(super) fn sees_phones(&self) -> bool {
        match self {
            Self::User(caller) => caller.sees_phones(),
            Self::Anybody => true,
        }
    }
}

/// Checks the signature of an internal request.
pub(super) fn signed(app: &App, request: &Request, body: &[u8]) -> Result<(), Refusal> {
    let refuse = |message: String| Refusal::new(Kind::AuthRequired, message);
    let Some(signer) = &app.settings.internal else {
        return Err(refuse("internal paths are closed: no gateway_secret is configured".into()));
    };
    let target = request.original_uri().path_and_query().map_or("/", |target| target.as_str());
    let signed = gateway::Request { method: request.method().as_str(), target, body };
    signer
        .verify_request(app.clock.now().0 / 1_000, &signed, |name| request.header(name))
        .map_err(|error| refuse(error.to_string()))
}

/// A scheme that the document names and the surface checks by itself, before the route or with the body.
macro_rules! scheme {
    ($(#[$doc:meta])* $type:ident, $name:expr, $scheme:expr) => {
        $(#[$doc])*
        pub(super) struct $type;

        impl<'a> ApiExtractor<'a> for $type {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                registry.create_security_scheme($name, $scheme);
            }

            fn security_schemes() -> Vec<&'static str> {
                vec![$name]
            }

            async fn from_request(
                _: &'a Request,
                _: &mut RequestBody,
                _: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                Ok(Self)
            }
        }
    };
}

const BARE: MetaSecurityScheme = MetaSecurityScheme {
    ty: "",
    description: None,
    name: None,
    key_in: None,
    scheme: None,
    bearer_format: None,
    flows: None,
    openid_connect_url: None,
};

scheme!(
    /// `Authorization: Bearer <JWT>`.
    Token,
    "Token",
    MetaSecurityScheme {
        ty: "http",
        description: Some("`Authorization: Bearer <JWT>`; not asked for where `crm_open` is configured."),
        scheme: Some("bearer"),
        bearer_format: Some("JWT"),
        ..BARE
    }
);

/// The scheme of what the gateway signs, as the document calls it.
pub(super) const SIGNATURE: &str = "Signature";

scheme!(
    /// The shared secret's signature.
    Signature,
    SIGNATURE,
    MetaSecurityScheme {
        ty: "apiKey",
        description: Some(
            "`sha256=` and the hex HMAC-SHA256, in lower case, under the shared secret, of five parts: `v2`, the timestamp, the method in capitals, the path with its query as they stand in the request's first line, each with a line feed behind it, and the body. The timestamp, in seconds since the epoch and at most 300 s from the backend's clock, is `X-Paceline-Timestamp`. A proxy between the two must not change the path. Decided: for one release the form before, `X-Paceline-Signature` with the HMAC of `<timestamp>.<body>`, is sent beside it and taken in its place; `gateway_old_signature = false` ends both."
        ),
        name: Some("X-Paceline-Signature-V2"),
        key_in: Some("header"),
        ..BARE
    }
);
