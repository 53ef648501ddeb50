use super::merged::Part;
use super::*;
use crate::foundation::auth::Sessions;
use crate::realtime::Hub;
use crate::realtime::stream::StreamHub;
use crate::{App, Observed, Settings, documented};
use backplane::{After, Backplane, Intake};
use domain::contacts::stop_words::OptOut;
use domain::users::TokenKeys;
use domain::{Clock, Db};
use sea_orm::DatabaseConnection;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[test]
fn a_page_may_run_its_own_scripts_alone() {
    let html = "<p><script a=\"b\">one('<script>')</script>text<script>two()</script><script>unended";
    assert_eq!(scripts(html), ["one('<script>')", "two()"]);
    assert!(policy("<p>").contains("script-src 'none';"));
    // printf 'two()' | openssl dgst -sha256 -binary | base64
    assert!(
        policy("<script>two()</script>").contains("script-src 'sha256-iMrPAWirDC2X0OhZzLsM2MRIWSmepJGI4r7D8ZlwBOw=';")
    );
}

/// An app that describes itself, and can do nothing else.
fn app() -> Arc<App> {
    let (clock, backplane) = (Clock::machine(), Backplane::embedded());
    let db = Db::sqlite(DatabaseConnection::default(), DatabaseConnection::default());
    let after = After::new(&backplane, clock.clone());
    Arc::new(App {
        intake: Intake::start(db.clone(), clock.clone(), after.clone(), OptOut::default()),
        db,
        after,
        clock,
        backplane,
        keys: TokenKeys::new(&[0; 64]).expect("long enough"),
        settings: Settings {
            login_per_minute: 0,
            batch_per_minute: 0,
            general_per_minute: 0,
            max_sockets: 0,
            sender_rate_per_minute: None,
            approval_above: None,
            shutdown_grace: Duration::ZERO,
            max_streams: 0,
            internal: None,
            crm_open: false,
            cors_origins: Vec::new(),
            opt_out: OptOut::default(),
            default_country: None,
        },
        sessions: Sessions::default(),
        hub: Arc::new(Hub::new(0, |_| Value::Null)),
        streams: Arc::new(StreamHub::new(Arc::new(crate::surface::crm::CrmEvents), 0, CancellationToken::new())),
        observed: Observed {
            ready: Arc::new(|| Box::pin(async { Vec::new() })),
            render_metrics: Arc::new(String::new),
            inspect: Arc::new(|| Box::pin(async { domain::queue::system::System::default() })),
        },
        started: Instant::now(),
    })
}

/// Each surface's own document, and all of them in one.
fn documents() -> (Vec<Part<'static>>, Value) {
    let surfaces = documented(&app());
    (surfaces.iter().map(Documented::part).collect(), whole(&surfaces))
}

fn asyncapi() -> Value {
    serde_json::from_str(ASYNCAPI).expect("JSON")
}

fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn names(value: &Value) -> BTreeSet<&str> {
    let list = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    list.chain(object(value).map(|(name, _)| name)).collect()
}

/// Everything in a value, itself among it.
fn within(value: &Value) -> Vec<&Value> {
    let inner = object(value).map(|(_, value)| value).chain(value.as_array().into_iter().flatten());
    std::iter::once(value).chain(inner.flat_map(within)).collect()
}

/// What is referred to.
fn references(value: &Value) -> BTreeSet<&str> {
    within(value).into_iter().filter_map(|one| one.get("$ref")?.as_str()).collect()
}

/// What is referred to and is not there.
fn dangling(document: &Value) -> Vec<&str> {
    let resolves = |at: &&str| at.strip_prefix('#').is_some_and(|at| document.pointer(at).is_some());
    references(document).into_iter().filter(|at| !resolves(at)).collect()
}

#[tokio::test]
async fn the_whole_has_every_operation_as_its_surface_has_it() {
    let (parts, whole) = documents();
    let mut operations = BTreeSet::new();
    for Part { title, document, .. } in &parts {
        let known = ["openapi", "info", "servers", "tags", "paths", "components"].into();
        assert!(names(document).is_subset(&known), "{title}: {:?}", names(document));
        assert!(names(&document["tags"]).is_subset(&names(&whole["tags"])), "{title}");
        for (path, methods) in object(&document["paths"]) {
            for (method, operation) in object(methods) {
                assert!(operations.insert((path.to_owned(), method.to_owned())), "{method} {path} is of two surfaces");
                let merged = &whole["paths"][path][method];
                for plain in ["summary", "description", "tags", "deprecated"] {
                    assert_eq!(merged[plain], operation[plain], "{method} {path}");
                }
                assert_eq!(names(&merged["responses"]), names(&operation["responses"]), "{method} {path}");
                let ways = |operation: &Value| operation["security"].as_array().map_or(0, Vec::len);
                assert_eq!(ways(merged), ways(operation), "{method} {path}");
            }
        }
    }
    let merged: usize = object(&whole["paths"]).map(|(_, methods)| object(methods).count()).sum();
    assert_eq!((merged, whole["info"]["title"].as_str()), (operations.len(), Some("Paceline")));
}

#[tokio::test]
async fn the_whole_has_every_component_and_no_reference_leads_nowhere() {
    let (parts, whole) = documents();
    assert_eq!(dangling(&whole), Vec::<&str>::new());
    let mut found = BTreeSet::new();
    for Part { prefix, title, document } in &parts {
        assert_eq!(dangling(document), Vec::<&str>::new(), "{title}");
        for (kind, components) in object(&document["components"]) {
            for (name, component) in object(components) {
                let prefixed = format!("{prefix}{name}");
                let merged = &whole["components"][kind];
                let merged_name = if merged.get(name).is_some() { name } else { &prefixed };
                // But for the names of what it refers to.
                let plain = |value: &Value| value.to_string().replace(&format!("/{prefix}"), "/");
                assert_eq!(plain(&merged[merged_name]), plain(component), "{title}: {kind} {name}");
                found.insert((kind.to_owned(), merged_name.to_owned()));
            }
        }
    }
    let merged: usize = object(&whole["components"]).map(|(_, components)| object(components).count()).sum();
    assert_eq!(merged, found.len());
    // What an operation asks of security is there as well.
    let schemes = names(&whole["components"]["securitySchemes"]);
    for ways in within(&whole["paths"]).into_iter().filter_map(|one| one.get("security")?.as_array()) {
        assert!(ways.iter().all(|way| names(way).is_subset(&schemes)), "{ways:?}");
    }
}

/// One of the document's schemas, ready to be asked.
fn schema(document: &Value, schema: &Value) -> jsonschema::Validator {
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    jsonschema::draft7::options().should_validate_formats(true).build(&whole).expect("a schema")
}

#[test]
fn the_messages_are_what_their_examples_show() {
    let document = asyncapi();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(dangling(&document), Vec::<&str>::new());
    for (name, message) in object(&document["components"]["messages"]) {
        assert_eq!(
            (&message["name"], &message["payload"]["properties"]["type"]["const"]),
            (&json!(name), &json!(name))
        );
        let payload = schema(&document, &message["payload"]);
        let examples = message["examples"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let errors: Vec<_> = payload.iter_errors(&example["payload"]).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
            assert_eq!(message.get("headers").is_some(), example.get("headers").is_some(), "{name}");
            if let Some(headers) = message.get("headers") {
                assert!(schema(&document, headers).is_valid(&example["headers"]), "{name}");
            }
            // What is not described is none of it, and what is required cannot be missing.
            let mut more = example["payload"].clone();
            more["more"] = json!(1);
            assert!(!payload.is_valid(&more), "{name}");
            let mut less = example["payload"].clone();
            less.as_object_mut().expect("an object").remove("type");
            assert!(!payload.is_valid(&less), "{name}");
        }
    }
}

#[test]
fn every_message_is_sent_or_received_and_every_component_is_used() {
    let document = asyncapi();
    let used = references(&document);
    for (kind, components) in object(&document["components"]) {
        for (name, _) in object(components) {
            assert!(used.contains(format!("#/components/{kind}/{name}").as_str()), "{kind}: {name} is not used");
        }
    }
    for (channel, described) in object(&document["channels"]) {
        for (name, _) in object(&described["messages"]) {
            let at = format!("#/channels/{channel}/messages/{name}");
            assert!(references(&document["operations"]).contains(at.as_str()), "{at} is in no operation");
        }
    }
    let components = within(&document["components"]).into_iter();
    for one in components.filter(|one| one["type"] == "object" && one["properties"].is_object()) {
        assert_eq!(one["additionalProperties"], false, "{one}");
    }
}

#[tokio::test]
async fn what_is_pushed_is_what_is_answered() {
    let (asyncapi, (_, whole)) = (asyncapi(), documents());
    for (pushed, answered) in [("BatchStatus", "BatchStatusView"), ("CustomerSummary", "CustomerSummary")] {
        let (pushed, answered) =
            (&asyncapi["components"]["schemas"][pushed], &whole["components"]["schemas"][answered]);
        assert_eq!(names(&pushed["properties"]), names(&answered["properties"]));
        assert!(names(&pushed["required"]).is_superset(&names(&answered["required"])), "{answered}");
    }
    for (property, named) in [("type", "BatchType"), ("status", "BatchStatus")] {
        let pushed = &asyncapi["components"]["schemas"]["BatchStatus"]["properties"][property]["enum"];
        assert_eq!(pushed, &whole["components"]["schemas"][named]["enum"], "{property}");
    }
}
