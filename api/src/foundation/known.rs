//! Which names a request may use: those that an operation's own declaration has, and no others.
//!
//! A misspelt name is the most expensive mistake that a client can make: `scheduledAt` for `scheduleAt` sends a campaign
//! at once, `phone` where nobody reads it lists everybody. So a name that nothing reads is refused, with the known one
//! that is nearest to it. What is known is declared once: a parameter by the operation that takes it (its
//! [`Operations`] are read from there), a field by reading it (see [`Fields`](super::fields::Fields)).

use super::guard::Guard;
use super::refusal::{FieldError, Kind, Refusal};
use domain::users::Permission;
use listener::names::{self, shown};
use poem::Request;
use poem::http::Method;
use poem_openapi::OpenApi;
use poem_openapi::registry::{MetaOperation, MetaParamIn, MetaSchemaRef, Registry};

/// The most unknown names that one refusal names.
pub(crate) const MAX_UNKNOWN: usize = 20;

/// What is said of a name that nothing reads.
pub(crate) fn unknown<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> FieldError {
    FieldError { field: shown(name), message: names::unknown(name, known) }
}

/// A parameter of an operation's query.
#[derive(Debug)]
struct Param {
    name: String,
    /// Whether it may come several times.
    many: bool,
}

/// What one method of a path takes.
#[derive(Debug)]
struct Operation {
    method: Method,
    query: Vec<Param>,
    /// The names at the top of its body; `None`: it takes no body.
    body: Option<Vec<String>>,
    guard: Guard,
}

/// A path with its operations.
#[derive(Debug)]
struct PathOperations {
    /// Its parts; `None`: any.
    parts: Vec<Option<String>>,
    operations: Vec<Operation>,
}

/// All operations of a surface.
#[derive(Debug, Default)]
pub(crate) struct Operations(Vec<PathOperations>);

/// What is wrong with the names in a request's query, and what its operation takes.
pub(crate) struct AskedOperation<'o> {
    at: &'o PathOperations,
    operation: Option<&'o Operation>,
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.trim_matches('/').split('/')
}

/// The names at the top of the schemas that a body may have.
fn body_names(operation: &MetaOperation, registry: &Registry) -> Option<Vec<String>> {
    let names = |schema: &MetaSchemaRef| -> Vec<String> {
        let schema = match schema {
            MetaSchemaRef::Inline(schema) => Some(schema.as_ref()),
            MetaSchemaRef::Reference(name) => registry.schemas.get(name),
        };
        schema.into_iter().flat_map(|schema| &schema.properties).map(|(name, _)| (*name).to_owned()).collect()
    };
    operation.request.as_ref().map(|request| request.content.iter().flat_map(|media| names(&media.schema)).collect())
}

impl Operations {
    /// Those that a surface's routes declare.
    pub(crate) fn of<T: OpenApi>() -> Self {
        let mut registry = Registry::new();
        T::register(&mut registry);
        let mut all = Self::default();
        for path in T::meta().into_iter().flat_map(|api| api.paths) {
            for operation in &path.operations {
                let query = operation.params.iter().filter(|param| param.in_type == MetaParamIn::Query);
                let many = |schema: &MetaSchemaRef| matches!(schema, MetaSchemaRef::Inline(s) if s.ty == "array");
                let query = query.map(|param| Param { name: param.name.clone(), many: many(&param.schema) }).collect();
                let body = body_names(operation, &registry);
                let guard = Guard::of(&operation.security);
                all.add(&path.path, Operation { method: operation.method.clone(), query, body, guard });
            }
        }
        all
    }

    /// With a path that no document has, and whose endpoint asks itself who may: what it gives, and what its query may say.
    pub(crate) fn and_get(mut self, path: &str, query: &[&str]) -> Self {
        let query = query.iter().map(|name| Param { name: (*name).to_owned(), many: false }).collect();
        self.add(path, Operation { method: Method::GET, query, body: None, guard: Guard::Everybody });
        self
    }

    fn add(&mut self, path: &str, operation: Operation) {
        let part = |part: &str| (!part.starts_with(['{', ':'])).then(|| part.to_owned());
        let parts: Vec<Option<String>> = parts(path).map(part).collect();
        match self.0.iter_mut().find(|at| at.parts == parts) {
            Some(at) => at.operations.push(operation),
            None => self.0.push(PathOperations { parts, operations: vec![operation] }),
        }
    }

    /// What a request asks for; `None`: there is no such path. A named part goes before one that may be any.
    pub(crate) fn find(&self, request: &Request) -> Option<AskedOperation<'_>> {
        let asked: Vec<&str> = parts(request.uri().path()).collect();
        let fits = |at: &&PathOperations| {
            at.parts.len() == asked.len()
                && at.parts.iter().zip(&asked).all(|(part, asked)| part.as_deref().is_none_or(|part| part == *asked))
        };
        let at = self.0.iter().filter(fits).max_by_key(|at| at.parts.iter().filter(|part| part.is_some()).count())?;
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        Some(AskedOperation { at, operation: at.operations.iter().find(|operation| operation.method == *method) })
    }

    /// Refuses who may not use what they ask for; `may` asks whether they have a permission. What is not there is not
    /// refused here: the route says that.
    pub(crate) fn permit(
        &self,
        request: &Request,
        may: impl Fn(Permission) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.find(request).and_then(|asked| asked.guard().map(|guard| guard.permit(may))).unwrap_or(Ok(()))
    }

    /// Whether all paths that begin as this one does want a scheme.
    pub(crate) fn all_below_want(&self, request: &Request, scheme: &str) -> bool {
        let first = parts(request.uri().path()).next();
        let mut below = self.0.iter().filter(|at| at.parts.first().and_then(Option::as_deref) == first).peekable();
        below.peek().is_some() && below.flat_map(|at| &at.operations).all(|operation| operation.guard.wants(scheme))
    }

    /// Refuses a method that the server does not know, or that the path does not have. `Ok(Some)`: what the path has,
    /// for who asks with `OPTIONS`.
    pub(crate) fn allow(&self, request: &Request) -> Result<Option<String>, Refusal> {
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
        ];
        // QUERY is a registered method that no path here has.
        if !known.contains(request.method()) && request.method().as_str() != "QUERY" {
            return Err(Refusal::new(Kind::NotImplemented, "this server does not know the method"));
        }
        match self.find(request) {
            Some(asked) if *request.method() == Method::OPTIONS => Ok(Some(asked.allow())),
            Some(asked) if asked.operation.is_none() => {
                let wrong = Refusal::new(Kind::MethodNotAllowed, "the path has no such method");
                Err(Refusal { allow: Some(asked.allow()), ..wrong })
            }
            _ => Ok(None),
        }
    }
}

impl AskedOperation<'_> {
    /// Who may; `None`: the path has no such method.
    pub(crate) fn guard(&self) -> Option<&Guard> {
        self.operation.map(|operation| &operation.guard)
    }

    /// Whether a parameter of this name may be in the query.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.operation.is_some_and(|operation| operation.query.iter().any(|param| param.name == name))
    }

    /// The path's methods, as `Allow` has them.
    fn allow(&self) -> String {
        let mut methods: Vec<&str> = Vec::new();
        for operation in &self.at.operations {
            methods.push(operation.method.as_str());
            if operation.method == Method::GET {
                methods.push(Method::HEAD.as_str());
            }
        }
        methods.join(", ")
    }

    /// The parameters that the operation does not have, and those that are there twice: parsers differ in which of the
    /// two they take.
    pub(crate) fn bad_params(&self, query: &str) -> Vec<FieldError> {
        let Some(operation) = self.operation else { return Vec::new() };
        let known = || operation.query.iter().map(|param| param.name.as_str());
        let (mut seen, mut bad) = (Vec::new(), Vec::<FieldError>::new());
        for (name, _) in form_urlencoded::parse(query.as_bytes()) {
            let message = match operation.query.iter().find(|param| param.name == name) {
                Some(param) if param.many => continue,
                Some(_) if !seen.contains(&name) => {
                    seen.push(name);
                    continue;
                }
                Some(_) => "is there twice".to_owned(),
                None if operation.body.as_ref().is_some_and(|body| body.iter().any(|field| *field == name)) => {
                    "is a field of the body, not a parameter of the query".to_owned()
                }
                None => unknown(&name, known()).message,
            };
            let error = FieldError { field: shown(&name), message };
            if !bad.contains(&error) && bad.len() < MAX_UNKNOWN {
                bad.push(error);
            }
        }
        bad
    }

    /// Whether the operation reads no body.
    pub(crate) fn takes_no_body(&self) -> bool {
        self.operation.is_some_and(|operation| operation.body.is_none())
    }

    /// What is said of a body's fields where none is read.
    pub(crate) fn stray_field(&self, name: &str) -> FieldError {
        let is_param = self.operation.is_some_and(|asked| asked.query.iter().any(|param| param.name == name));
        let message = match is_param {
            true => "is a parameter of the query; a body is not read here",
            false => "is not known here: a body is not read",
        };
        FieldError { field: shown(name), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem_openapi::Object;
    use poem_openapi::param::{Path, Query};
    use poem_openapi::payload::Json;

    #[derive(Object)]
    struct Body {
        rate: i64,
    }

    struct Api;

    #[OpenApi]
    impl Api {
        #[oai(path = "/a/:id", method = "get")]
        async fn get(&self, id: Path<String>, limit: Query<Option<i64>>, tags: Query<Vec<String>>) -> Json<i64> {
            let _ = (id, tags);
            Json(limit.0.unwrap_or(0))
        }

        #[oai(path = "/a/stats", method = "post")]
        async fn make(&self, dry: Query<Option<bool>>, body: Json<Body>) -> Json<i64> {
            let _ = dry;
            Json(body.0.rate)
        }
    }

    fn asked(method: Method, uri: &str) -> Request {
        Request::builder().method(method).uri(uri.parse().expect("an address")).finish()
    }

    fn bad(method: Method, uri: &str) -> Vec<(String, String)> {
        let (operations, request) = (Operations::of::<Api>(), asked(method, uri));
        let bad = operations.find(&request).expect("a path").bad_params(request.uri().query().unwrap_or_default());
        bad.into_iter().map(|bad| (bad.field, bad.message)).collect()
    }

    #[test]
    fn a_parameter_is_known_by_its_declaration() {
        assert!(bad(Method::GET, "/a/7?limit=1&tags=x&tags=y").is_empty());
        assert!(bad(Method::HEAD, "/a/7/?limit=1").is_empty());
        let named: Vec<_> = bad(Method::GET, "/a/7?Limit=1&limit=1&limit=2&l%69mits=3&zzz").into_iter().collect();
        let said = |name: &str, what: &str| (name.to_owned(), what.to_owned());
        assert_eq!(
            named,
            [
                said("Limit", "is not known here; did you mean limit?"),
                said("limit", "is there twice"),
                said("limits", "is not known here; did you mean limit?"),
                said("zzz", "is not known here; known are limit, tags"),
            ]
        );
        let of_the_body = bad(Method::POST, "/a/stats?rate=5&dry=true");
        assert_eq!(of_the_body, [said("rate", "is a field of the body, not a parameter of the query")]);
    }

    #[test]
    fn a_method_is_refused_as_what_it_is() {
        let operations = Operations::of::<Api>().and_get("/ws", &["token"]);
        let allow = |method: &[u8], uri: &str| {
            let method = Method::from_bytes(method).expect("a method");
            operations.allow(&asked(method, uri)).map_err(|refusal| (refusal.kind, refusal.allow))
        };
        assert_eq!(allow(b"GET", "/a/7"), Ok(None));
        assert_eq!(allow(b"GET", "/nowhere"), Ok(None), "the route says that");
        assert_eq!(allow(b"OPTIONS", "/ws"), Ok(Some("GET, HEAD".into())));
        let wrong = |allow: &str| Err((Kind::MethodNotAllowed, Some(allow.to_owned())));
        assert_eq!(allow(b"GET", "/a/stats"), wrong("POST"));
        assert_eq!(allow(b"TRACE", "/a/7"), wrong("GET, HEAD"));
        assert_eq!(allow(b"get", "/a/7"), Err((Kind::NotImplemented, None)), "methods have their case");
    }
}
