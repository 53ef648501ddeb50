//! Names that nothing reads: refused by every operation of every document, in its envelope, with the known name.

use crate::setup::{SECRET, Setup, on_both};
use gateway::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Method, Response};

/// A name that no operation has.
const ODD: &str = "zzUnknown";

/// What is said of a name that is not known.
const UNKNOWN: &str = "is not known here";

/// One operation of a document.
struct Operation<'d> {
    document: &'d Value,
    method: Method,
    path: String,
    described: &'d Value,
}

impl Operation<'_> {
    /// Asks it, by whoever it may be asked by: a user, or the gateway.
    async fn ask(&self, s: &Setup, query: &str, body: Option<&Value>) -> Response {
        let text = body.map(Value::to_string).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let now = i64::try_from(now).expect("not for a while");
        let signer = Signer::new(SECRET.as_bytes()).expect("a secret");
        let mut request = s.admin.request(self.method.clone(), &format!("{}{query}", self.path));
        request = request.header(TIMESTAMP_HEADER, now).header(SIGNATURE_HEADER, signer.sign(now, text.as_bytes()));
        if body.is_some() {
            request = request.header("content-type", "application/json").body(text);
        }
        s.admin.send(request).await
    }

    /// The schema of its JSON body.
    fn schema(&self) -> Option<&Value> {
        self.described["requestBody"]["content"]["application/json"].get("schema").map(|schema| self.resolved(schema))
    }

    fn resolved<'v>(&'v self, schema: &'v Value) -> &'v Value {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        match reference.and_then(|at| self.document.pointer(at.trim_start_matches('#'))) {
            Some(schema) => schema,
            None if schema["allOf"][0].is_object() => self.resolved(&schema["allOf"][0]),
            None => schema,
        }
    }

    /// The objects in the body, each with one odd field, and where that is.
    fn nested(&self, name: &str, schema: &Value) -> Option<(Value, String)> {
        let schema = self.resolved(schema);
        let is_object = |schema: &Value| schema["properties"].is_object();
        let items = self.resolved(&schema["items"]);
        if is_object(schema) {
            Some((json!({ ODD: 1 }), format!("{name}.{ODD}")))
        } else if is_object(items) {
            Some((json!([{ ODD: 1 }]), format!("{name}[0].{ODD}")))
        } else {
            None
        }
    }
}

/// The bad names of a refusal and what is said of them, in whichever envelope; it must be one.
fn named(answer: &Response, what: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{what}: {}", answer.text)).to_owned();
    match answer.body["detail"].as_array() {
        Some(issues) => {
            assert_eq!(answer.status, 422, "{what}: {}", answer.text);
            issues.iter().map(|issue| (text(&issue["loc"][1]), text(&issue["msg"]))).collect()
        }
        None => {
            assert_eq!(answer.status, 400, "{what}: {}", answer.text);
            let details = answer.body["error"]["details"].as_array();
            let details = details.unwrap_or_else(|| panic!("{what}: {}", answer.text));
            details.iter().map(|bad| (text(&bad["field"]), text(&bad["message"]))).collect()
        }
    }
}

fn is_unknown(named: &[(String, String)], name: &str) -> bool {
    named.iter().any(|(field, said)| field == name && said.starts_with(UNKNOWN))
}

async fn try_parameter(s: &Setup, operation: &Operation<'_>, what: &str) {
    let body = operation.schema().map(|_| json!({}));
    let answer = operation.ask(s, &format!("?{ODD}=1"), body.as_ref()).await;
    assert!(is_unknown(&named(&answer, what), ODD), "{what}: {}", answer.text);
}

async fn try_body(s: &Setup, operation: &Operation<'_>, what: &str) {
    let Some(schema) = operation.schema() else {
        let answer = operation.ask(s, "", Some(&json!({ ODD: 1 }))).await;
        assert!(is_unknown(&named(&answer, what), ODD), "{what}: {}", answer.text);
        return;
    };
    assert_eq!(schema["additionalProperties"], json!(false), "{what}: the document says it");
    let properties = schema["properties"].as_object().expect("properties");
    // A value that no field takes: that the document's names are known all the same.
    let mut body: serde_json::Map<String, Value> = properties.keys().map(|name| (name.clone(), json!([[]]))).collect();
    body.insert(ODD.into(), json!(1));
    let answer = operation.ask(s, "", Some(&Value::Object(body))).await;
    let bad = named(&answer, what);
    assert!(is_unknown(&bad, ODD), "{what}: {}", answer.text);
    for name in properties.keys() {
        assert!(!is_unknown(&bad, name), "{what}: {name} is in the document: {}", answer.text);
    }
    for (name, schema) in properties {
        let Some((value, place)) = operation.nested(name, schema) else { continue };
        let answer = operation.ask(s, "", Some(&json!({ name: value, ODD: 1 }))).await;
        let bad = named(&answer, what);
        assert!(is_unknown(&bad, &place) && is_unknown(&bad, ODD), "{what}: {place}: {}", answer.text);
    }
}

on_both!(every_operation_of_every_document_refuses_what_it_does_not_know () |s: Rc<Setup>| Box::pin(async move {
    let mut tried = 0;
    for name in ["batch", "crm", "support-desk"] {
        let document = s.admin.get(&format!("/openapi/{name}.json")).await.expect(200);
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, described) in methods.as_object().expect("methods") {
                let what = format!("{name}: {method} {path}");
                let path = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
                let path = path.collect::<Vec<_>>().join("/");
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
                let operation = Operation { document: &document, method, path, described };
                try_parameter(&s, &operation, &what).await;
                try_body(&s, &operation, &what).await;
                tried += 1;
            }
        }
    }
    assert!(tried >= 35, "{tried}");
    assert_eq!(s.admin.get("/batch").await.expect(200)["meta"]["count"], 0, "nothing came of it");
    s.admin.get("/customers/").await.expect(200);
}));

on_both!(what_no_document_has_is_as_strict () |s: Rc<Setup>| Box::pin(async move {
    for (path, status, near) in [
        ("/ws?tokens=x", 400, "token"),
        ("/metrics?format=prometheus", 422, ""),
        ("/healthz?verbose", 400, ""),
        ("/readyz?verbose", 400, ""),
        ("/openapi/batch.json?v=2", 400, ""),
        ("/openapi.json?v=2", 400, ""),
        ("/asyncapi.json?v=2", 400, ""),
        ("/docs?x", 400, ""),
        ("/redoc/crm?x", 400, ""),
    ] {
        let answer = s.admin.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.text.contains(UNKNOWN) && answer.text.contains(near), "{path}: {}", answer.text);
    }
    assert_eq!(s.admin.get("/ws?tokens=x").await.expect(400)["code"], 4000);
}));

on_both!(the_mistakes_that_cost_most_are_refused () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let said = |answer: Response| named(&answer, "said").into_iter().map(|(name, said)| format!("{name} {said}")).collect::<Vec<_>>();
    let send = json!({ "contactIds": ids, "content": "x", "scheduledAt": "2099-01-01T00:00:00Z", "rate": 5, "jitterMs": -1 });
    assert_eq!(said(s.admin.post("/batch/send", &send).await), [
        "jitterMs must be a whole number from 0 to 600000",
        "rate is not known here; did you mean ratePerMinute?",
        "scheduledAt is not known here; did you mean scheduleAt?",
    ]);
    let all = json!({ "audience": { "all": true, "tagAny": ["vip"] }, "content": "x" });
    assert_eq!(said(s.admin.post("/batch/send", &all).await), ["audience.tagAny is not known here; did you mean tagsAny?"]);
    let import = json!({ "contacts": [{ "phoneE164": "+60123456789" }, { "phone": "+60123456788", "nmae": "Ann" }] });
    assert_eq!(said(s.admin.post("/batch/import", &import).await), [
        "contacts[1].nmae is not known here; did you mean name?",
        "contacts[1].phone is not known here; did you mean phoneE164?",
    ]);
    // Beside a JSON body, what is said of a file would be passed over.
    let import = json!({ "contacts": [{ "phoneE164": "+60123456789" }] });
    let beside = s.admin.post("/batch/import?skipDuplicates=false&source=x", &import).await;
    assert_eq!(named(&beside, "beside").into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["skipDuplicates", "source"]);
    let in_query = s.admin.post("/batch/send?ratePerMinute=5", &json!({ "contactIds": ids, "content": "x" })).await;
    assert_eq!(said(in_query), ["ratePerMinute is a field of the body, not a parameter of the query"]);
    let listed = s.admin.get("/batch?Status=COMPLETED&limit=0&limits=5&offset=1&offset=2").await;
    let names: Vec<String> = named(&listed, "listed").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Status", "limits", "offset", "limit"]);
    let deleted = s.admin.send(s.admin.request(Method::DELETE, "/suppressions?phone=60123456789").json(&json!({ "phone": "1" }))).await;
    assert_eq!(said(deleted), ["phone is a parameter of the query; a body is not read here"]);
    // A guest is told that it may not, before what it may name.
    let guest = s.api().client().with_token(s.program.token_for("guest").await);
    guest.get("/batch?limits=5").await.expect(403);
    // What the originals' clients send is taken: an empty body where none is read, a content beside a template, `to`.
    let template = s.admin.post("/templates", &json!({ "name": "t", "content": "x" })).await.expect(201);
    let id = template["data"]["id"].clone();
    let batch = s.admin.post("/batch/send", &json!({ "contactIds": ids, "content": "old", "templateId": id })).await.expect(202);
    s.ended(batch["data"]["id"].as_str().expect("an id")).await;
    let seen = json!({ "backend_message_id": 999_999, "whatsapp_id": "w", "delay_ms": 5, "to": "60123456789" });
    let seen = crate::reports::Reporter::of(&s).tell("/webhooks/whatsapp/seen", &seen).await;
    assert!(!seen.text.contains(UNKNOWN), "{}", seen.text);
}));
