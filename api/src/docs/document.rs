//! What the surfaces' OpenAPI documents leave unsaid: what every operation has in common.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Completes a document: fields that need not be there may be null as well; every answer has its headers; a request may
/// name itself; and no operation claims refusals that it cannot make. Text that is no document comes back as it is.
pub(super) fn complete(document: &str) -> String {
    let Ok(mut whole) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
    if let Some(schemas) = whole.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.values_mut().for_each(optional_is_nullable);
    }
    requests_have_no_other_fields(&mut whole);
    whole["components"]["headers"] = headers();
    whole["components"]["parameters"] = json!({ REQUEST_ID: {
        "name": REQUEST_ID,
        "in": "header",
        "description": "Names the request, if it is 1 to 64 of `[A-Za-z0-9._-]`; else it is given a name.",
        "schema": { "type": "string" },
    } });
    for (path, methods) in whole["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            let never = never_refused_with(path, method, operation);
            if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
                responses.retain(|status, _| !never.contains(&status.as_str()));
                responses.iter_mut().for_each(|(status, response)| add_headers(status, response));
            }
            if let Some(operation) = operation.as_object_mut() {
                name_permissions(operation);
                let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
                if let Some(parameters) = parameters.as_array_mut() {
                    parameters.push(json!({ "$ref": format!("#/components/parameters/{REQUEST_ID}") }));
                }
            }
        }
    }
    whole.to_string()
}

/// Says which permissions an operation needs. They are declared as scopes, which only schemes of OAuth have in OpenAPI 3.0.
fn name_permissions(operation: &mut Map<String, Value>) {
    let ways = operation.get_mut("security").and_then(Value::as_array_mut).into_iter().flatten();
    let scopes = ways.filter_map(Value::as_object_mut).flat_map(|way| way.values_mut()).filter_map(Value::as_array_mut);
    let needs: Vec<Value> = scopes.flat_map(std::mem::take).collect();
    if !needs.is_empty() {
        operation.insert("x-permissions".into(), Value::Array(needs));
    }
}

/// The header that names a request.
const REQUEST_ID: &str = "X-Request-Id";

/// Operations that look for something which their address does not name.
const FINDS: [(&str, &str); 7] = [
    ("delete", "/suppressions"),
    ("post", "/customers/photo"),
    ("post", "/messages/send"),
    ("post", "/messages/ack"),
    ("post", "/messages/map"),
    ("post", "/messages/failed"),
    ("post", "/webhooks/whatsapp/seen"),
];

/// Reads that make no sense of some of what they are asked for.
const MAKES_NO_SENSE: [&str; 1] = ["/batch/{batch_id}/forecast"];

/// The statuses of refusals that this operation cannot make. The surfaces describe all of theirs at once.
fn never_refused_with(path: &str, method: &str, operation: &Value) -> Vec<&'static str> {
    let takes_key = operation["parameters"].as_array().into_iter().flatten().any(|p| p["name"] == "Idempotency-Key");
    let mut never = Vec::new();
    if operation.get("requestBody").is_none() {
        never.extend(["413", "415"]);
    }
    // One surface says 422 where the others say 400 of a bad field.
    let says_it_of_fields = operation["responses"].get("400").is_none();
    if !takes_key && !says_it_of_fields {
        never.push("422");
    }
    if method == "get" && !MAKES_NO_SENSE.contains(&path) {
        never.push("409");
    }
    if !path.contains('{') && !FINDS.contains(&(method, path)) {
        never.push("404");
    }
    // For everybody: one of the ways to use it is to show nothing.
    let nothing = |way: &Value| way.as_object().is_none_or(Map::is_empty);
    if operation["security"].as_array().is_none_or(|ways| ways.iter().any(nothing)) {
        never.push("403");
    }
    never
}

/// Says of every object that a request may have in its body that it has no field but those.
fn requests_have_no_other_fields(whole: &mut Value) {
    let mut found = BTreeSet::new();
    for operation in whole["paths"].as_object().into_iter().flat_map(|paths| paths.values()).flat_map(operations) {
        references(&operation["requestBody"], &mut found);
    }
    let mut open: Vec<String> = found.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let mut further = BTreeSet::new();
        references(&whole["components"]["schemas"][&name], &mut further);
        open.extend(further.into_iter().filter(|name| found.insert(name.clone())));
    }
    for name in found {
        if let Some(schema) = whole["components"]["schemas"][&name].as_object_mut()
            && schema.contains_key("properties")
        {
            schema.entry("additionalProperties").or_insert(json!(false));
        }
    }
}

fn operations(path: &Value) -> impl Iterator<Item = &Value> {
    path.as_object().into_iter().flat_map(|methods| methods.values())
}

/// The names of the schemas that something refers to.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let name =
                fields.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix("#/components/schemas/"));
            found.extend(name.map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn optional_is_nullable(schema: &mut Value) {
    let required: Vec<String> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (_, property) in properties.iter_mut().filter(|(name, _)| !required.contains(name)) {
        let refers = property.get("$ref").is_some() || property.get("allOf").is_some();
        if refers {
            let description = property.pointer("/allOf/1/description").cloned();
            let mut nullable = json!({ "nullable": true, "allOf": [property.take()] });
            if let Some(description) = description {
                nullable["description"] = description;
            }
            *property = nullable;
        } else if let Some(property) = property.as_object_mut() {
            property.insert("nullable".into(), true.into());
        }
    }
}

/// The headers of [`add_headers`]. Those that must be there wherever an answer has them are required.
fn headers() -> Value {
    let number = |least: u8| json!({ "type": "integer", "minimum": least });
    let header = |required: bool, description: &str, schema: Value| json!({ "required": required, "description": description, "schema": schema });
    json!({
        REQUEST_ID: header(
            true,
            "The request's name: the client's own, or one that was made.",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" }),
        ),
        "RateLimit-Limit": header(false, "Requests a minute; absent where there is no limit.", number(1)),
        "RateLimit-Remaining": header(false, "How many more may pass now.", number(0)),
        "RateLimit-Reset": header(false, "Seconds until none counts any more.", number(0)),
        "Retry-After": header(true, "Seconds to wait.", number(1)),
        "WWW-Authenticate": header(true, "How to sign in.", json!({ "type": "string", "enum": ["Bearer"] })),
        "Allow": header(true, "The path's methods.", json!({ "type": "string" })),
    })
}

fn add_headers(status: &str, response: &mut Value) {
    let mut names = vec![REQUEST_ID];
    match status {
        "401" => names.push("WWW-Authenticate"),
        "405" => names.push("Allow"),
        "429" => names.extend(["Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]),
        "503" => names.push("Retry-After"),
        _ => names.extend(["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]),
    }
    let Some(response) = response.as_object_mut() else { return };
    let known = response.entry("headers").or_insert_with(|| Map::new().into());
    if let Some(known) = known.as_object_mut() {
        for name in names {
            known.insert(name.into(), json!({ "$ref": format!("#/components/headers/{name}") }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_common_is_added_to_every_operation() {
        let document = json!({
            "paths": {
                "/a": { "get": { "responses": { "200": {}, "400": {}, "404": {}, "409": {}, "413": {}, "422": {}, "429": {} } } },
                // Of a surface that says 422 of a bad field.
                "/c": { "get": { "responses": { "200": {}, "422": {} } } },
                "/a/{id}": { "put": {
                    "responses": { "200": {}, "403": {}, "404": {}, "409": {}, "413": {}, "422": {} },
                    "requestBody": {}, "security": [{ "Token": ["a:write"] }], "parameters": [{ "name": "Idempotency-Key" }],
                } },
                // For everybody.
                "/d": { "post": { "responses": { "200": {}, "403": {} }, "requestBody": {}, "security": [{}] } },
            },
            "components": { "schemas": { "A": { "required": ["x"], "properties": {
                "x": { "type": "string" }, "y": { "type": "string" }, "z": { "$ref": "#/z" },
            } } } },
        });
        let whole: Value = serde_json::from_str(&complete(&document.to_string())).expect("JSON");
        let a = &whole["components"]["schemas"]["A"]["properties"];
        assert_eq!(a["x"], json!({ "type": "string" }));
        assert_eq!(a["y"], json!({ "type": "string", "nullable": true }));
        assert_eq!(a["z"], json!({ "nullable": true, "allOf": [{ "$ref": "#/z" }] }));
        assert!(whole.pointer("/paths/~1a/get/responses/429/headers/Retry-After").is_some());
        assert!(whole.pointer("/paths/~1a/get/responses/200/headers/X-Request-Id").is_some());
        let statuses = |operation: &Value| {
            operation["responses"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(status, _)| status.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(statuses(&whole["paths"]["/a"]["get"]), ["200", "400", "429"]);
        assert_eq!(statuses(&whole["paths"]["/c"]["get"]), ["200", "422"]);
        let put = &whole["paths"]["/a/{id}"]["put"];
        assert_eq!(statuses(put), ["200", "403", "404", "409", "413", "422"]);
        assert_eq!((&put["security"], &put["x-permissions"]), (&json!([{ "Token": [] }]), &json!(["a:write"])));
        let everybodys = &whole["paths"]["/d"]["post"];
        assert_eq!(statuses(everybodys), ["200"]);
        assert_eq!((&everybodys["security"], &everybodys["x-permissions"]), (&json!([{}]), &Value::Null));
        assert_eq!(put["parameters"][1]["$ref"], "#/components/parameters/X-Request-Id");
        assert_eq!(complete("no document"), "no document");
    }
}
