//! One OpenAPI document of all surfaces.
//!
//! Their paths are disjoint. A component that is the same in every document which has it stays as it is; one whose name
//! stands for different things gets its surface's name before its own, in each of them, and whatever refers to it follows.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A surface's document.
pub(super) struct Part<'a> {
    /// What its components are called by where another surface has others of their names.
    pub(super) prefix: &'a str,
    /// What people call the surface.
    pub(super) title: &'a str,
    /// The document.
    pub(super) document: Value,
}

/// What a component is called by: its kind (`schemas`, `headers`, …) and its name.
type Component = (String, String);

/// All documents in one.
pub(super) fn merged(parts: &[Part<'_>]) -> Value {
    let ambiguous = ambiguous(parts);
    let mut whole = json!({
        "openapi": parts.first().map_or(Value::Null, |part| part.document["openapi"].clone()),
        "info": info(parts),
        "servers": [],
        "tags": [],
        "paths": {},
        "components": {},
    });
    for part in parts {
        let renamed = |(kind, name): &Component| {
            let clash = ambiguous.contains(&(kind.clone(), name.clone()));
            if clash { format!("{}{name}", part.prefix) } else { name.clone() }
        };
        let mut document = part.document.clone();
        follow(&mut document, &renamed);
        for list in ["servers", "tags"] {
            add_to_list(&mut whole[list], document[list].take());
        }
        add_to_map(&mut whole["paths"], document["paths"].take());
        for (kind, components) in document["components"].as_object_mut().into_iter().flatten() {
            let components: Map<String, Value> = std::mem::take(components.as_object_mut().unwrap_or(&mut Map::new()))
                .into_iter()
                .map(|(name, component)| (renamed(&(kind.clone(), name)), component))
                .collect();
            add_to_map(&mut whole["components"][kind.as_str()], components.into());
        }
    }
    whole
}

/// What the whole is, and what each surface says of itself.
fn info(parts: &[Part<'_>]) -> Value {
    let said = parts.iter().map(|part| {
        let description = part.document["info"]["description"].as_str().unwrap_or_default();
        format!("# {}\n\n{description}", part.title)
    });
    json!({
        "title": "Paceline",
        "description": said.collect::<Vec<_>>().join("\n\n"),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// The components whose names stand for different things: they differ, or what they refer to does.
fn ambiguous(parts: &[Part<'_>]) -> BTreeSet<Component> {
    let mut all: BTreeMap<Component, Vec<&Value>> = BTreeMap::new();
    for part in parts {
        for (kind, components) in part.document["components"].as_object().into_iter().flatten() {
            for (name, component) in components.as_object().into_iter().flatten() {
                all.entry((kind.clone(), name.clone())).or_default().push(component);
            }
        }
    }
    let differ = |found: &Vec<&Value>| found.windows(2).any(|pair| pair[0] != pair[1]);
    let mut ambiguous: BTreeSet<Component> =
        all.iter().filter(|(_, found)| differ(found)).map(|(component, _)| component.clone()).collect();
    loop {
        // One that only one document has needs no other name, whatever it refers to.
        let shared = all.iter().filter(|(component, found)| found.len() > 1 && !ambiguous.contains(*component));
        let more: Vec<Component> = shared
            .filter(|(_, found)| found.iter().any(|one| references(one).iter().any(|at| ambiguous.contains(at))))
            .map(|(component, _)| component.clone())
            .collect();
        if more.is_empty() {
            return ambiguous;
        }
        ambiguous.extend(more);
    }
}

/// The component that a reference names.
fn component(reference: &str) -> Option<Component> {
    let (kind, name) = reference.strip_prefix("#/components/")?.split_once('/')?;
    Some((kind.to_owned(), name.to_owned()))
}

/// All components that something refers to.
fn references(value: &Value) -> BTreeSet<Component> {
    let mut value = value.clone();
    let found = std::cell::RefCell::new(BTreeSet::new());
    follow(&mut value, &|at| {
        found.borrow_mut().insert(at.clone());
        at.1.clone()
    });
    found.into_inner()
}

/// Gives every reference the name that its component is renamed to: in `$ref`, in the mapping of a discriminator, and in
/// what an operation asks of security, which names its schemes.
fn follow(value: &mut Value, renamed: &impl Fn(&Component) -> String) {
    let refer = |text: &mut Value| {
        if let Some(at) = text.as_str().and_then(component) {
            *text = format!("#/components/{}/{}", at.0, renamed(&at)).into();
        }
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match (name.as_str(), &mut *value) {
                    ("$ref", text @ Value::String(_)) => refer(text),
                    // A schema may have a property of this name, too.
                    ("mapping", Value::Object(mapping)) => mapping.values_mut().for_each(|to| match to {
                        Value::String(_) => refer(to),
                        _ => follow(to, renamed),
                    }),
                    ("security", Value::Array(ways)) => ways.iter_mut().for_each(|way| name_schemes(way, renamed)),
                    _ => follow(value, renamed),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| follow(value, renamed)),
        _ => {}
    }
}

fn name_schemes(way: &mut Value, renamed: &impl Fn(&Component) -> String) {
    if let Some(schemes) = way.as_object_mut() {
        let named = std::mem::take(schemes).into_iter();
        *schemes = named.map(|(name, scopes)| (renamed(&("securitySchemes".to_owned(), name)), scopes)).collect();
    }
}

/// Adds what is not there yet.
fn add_to_list(list: &mut Value, more: Value) {
    let Some(list) = list.as_array_mut() else { return };
    for one in more.as_array().into_iter().flatten() {
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
}

/// Adds entries under their names. Two of one name are the same here: what differs has a name of its own by now, and paths
/// are disjoint.
fn add_to_map(map: &mut Value, more: Value) {
    if map.is_null() {
        *map = json!({});
    }
    if let (Some(map), Value::Object(more)) = (map.as_object_mut(), more) {
        map.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(prefix: &'static str, components: Value, get: Value) -> Part<'static> {
        let document = json!({
            "openapi": "3.0.0",
            "info": { "title": prefix, "description": format!("Of {prefix}.") },
            "servers": [{ "url": "/" }],
            "tags": [{ "name": "all" }, { "name": prefix }],
            "paths": { format!("/{prefix}"): { "get": get } },
            "components": components,
        });
        Part { prefix, title: prefix, document }
    }

    fn at(name: &str) -> Value {
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    #[test]
    fn what_is_one_thing_stays_and_what_is_two_is_told_apart() {
        let components = |error: &str| {
            json!({
                "schemas": {
                    "Same": { "type": "string" },
                    "Error": { "type": error },
                    // The same words, of something that is not the same.
                    "Answer": { "properties": { "mapping": { "allOf": [at("Error")] }, "same": at("Same") } },
                    "Round": { "properties": { "next": at("Round"), "answer": at("Answer") } },
                },
                "securitySchemes": { "Token": { "type": error }, "Key": { "type": "apiKey" } },
            })
        };
        let mut first = components("string");
        first["schemas"]["Alone"] = json!({
            "oneOf": [at("Error")],
            "discriminator": { "mapping": { "error": "#/components/schemas/Error", "same": "#/components/schemas/Same" } },
        });
        let get = json!({ "security": [{ "Token": [] }, { "Key": ["read"] }], "responses": { "200": at("Round") } });
        let parts = [part("One", first, get.clone()), part("Two", components("object"), get)];
        let whole = merged(&parts);
        let names = |kind: &str| {
            let components = whole["components"][kind].as_object().expect("components");
            components.keys().map(String::as_str).collect::<BTreeSet<_>>()
        };
        let told_apart = ["OneAnswer", "OneError", "OneRound", "TwoAnswer", "TwoError", "TwoRound"];
        assert_eq!(names("schemas"), BTreeSet::from(["Alone", "Same"]).union(&told_apart.into()).copied().collect());
        assert_eq!(names("securitySchemes"), ["Key", "OneToken", "TwoToken"].into());
        let schemas = &whole["components"]["schemas"];
        assert_eq!(schemas["TwoError"]["type"], "object");
        assert_eq!(
            schemas["TwoAnswer"]["properties"],
            json!({ "mapping": { "allOf": [at("TwoError")] }, "same": at("Same") })
        );
        assert_eq!(schemas["OneRound"]["properties"], json!({ "next": at("OneRound"), "answer": at("OneAnswer") }));
        assert_eq!(
            schemas["Alone"]["discriminator"]["mapping"],
            json!({ "error": "#/components/schemas/OneError", "same": "#/components/schemas/Same" })
        );
        assert_eq!(
            whole["paths"]["/Two"]["get"],
            json!({ "security": [{ "TwoToken": [] }, { "Key": ["read"] }], "responses": { "200": at("TwoRound") } })
        );
        assert_eq!(whole["servers"], json!([{ "url": "/" }]));
        assert_eq!(whole["tags"], json!([{ "name": "all" }, { "name": "One" }, { "name": "Two" }]));
        assert_eq!(whole["info"]["description"], "# One\n\nOf One.\n\n# Two\n\nOf Two.");
    }
}
