//! What the surfaces' OpenAPI documents leave unsaid: what every operation has in common.

use serde_json::{Map, Value, json};

/// Adds to a document that fields which need not be there may be null as well, and the headers that every answer has. Text that is no document comes back as it is.
pub(super) fn complete(document: &str) -> String {
    let Ok(mut whole) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
    if let Some(schemas) = whole.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.values_mut().for_each(optional_is_nullable);
    }
    whole["components"]["headers"] = headers();
    if let Some(paths) = whole["paths"].as_object_mut() {
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
                responses.iter_mut().for_each(|(status, response)| add_headers(status, response));
            }
        }
    }
    whole.to_string()
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

fn headers() -> Value {
    let header = |description: &str, kind: &str| json!({ "description": description, "schema": { "type": kind } });
    json!({
        "X-Request-Id": header("The request's name: the client's own, or one that was made.", "string"),
        "RateLimit-Limit": header("Requests a minute.", "integer"),
        "RateLimit-Remaining": header("How many more may pass now.", "integer"),
        "RateLimit-Reset": header("Seconds until none counts any more.", "integer"),
        "Retry-After": header("Seconds to wait.", "integer"),
        "WWW-Authenticate": header("How to sign in: `Bearer`.", "string"),
        "Allow": header("The path's methods.", "string"),
    })
}

fn add_headers(status: &str, response: &mut Value) {
    let mut names = vec!["X-Request-Id"];
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
                "/a": { "get": { "responses": { "200": {}, "429": {} } } },
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
        assert_eq!(complete("no document"), "no document");
    }
}
