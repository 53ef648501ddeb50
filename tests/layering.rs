//! Who may import whom. The dependencies in the manifests are the architecture; this test is what keeps them so.
//!
//! `domain` holds the rules and must be testable without a server, so no transport reaches it. `api`, `worker` and
//! `scheduler` are processes that share nothing but the domain and the backplane, so none knows another. The surfaces of
//! the API are contracts with different clients, so none borrows from another.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may import of ours. A crate that is not here has no place yet: give it one.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("paceline-entities", &[]),
    ("paceline-migration", &[]),
    // Marks of where a test may let a process fail: everywhere, and nothing at all in a release.
    ("paceline-faults", &[]),
    // The gate before every HTTP server of ours.
    ("paceline-listener", &[]),
    ("paceline-gateway", &["paceline-faults", "paceline-listener"]),
    ("paceline-domain", &["paceline-entities", "paceline-faults"]),
    ("paceline-backplane", &["paceline-domain", "paceline-faults"]),
    ("paceline-worker", &["paceline-domain", "paceline-backplane", "paceline-gateway", "paceline-faults"]),
    ("paceline-scheduler", &["paceline-domain", "paceline-backplane", "paceline-faults"]),
    (
        "paceline-api",
        &["paceline-domain", "paceline-backplane", "paceline-gateway", "paceline-listener", "paceline-faults"],
    ),
    ("paceline-console", &["paceline-domain", "paceline-backplane", "paceline-faults"]),
    (
        "paceline",
        &[
            "paceline-api",
            "paceline-backplane",
            "paceline-console",
            "paceline-domain",
            "paceline-entities",
            "paceline-faults",
            "paceline-gateway",
            "paceline-migration",
            "paceline-scheduler",
            "paceline-worker",
        ],
    ),
    ("paceline-test-servers", &[]),
    ("paceline-test-support", &["paceline-test-servers"]),
    ("xtask", &["paceline-test-servers"]),
];

/// What a crate never imports, not even in its tests.
const NEVER: &[(&str, &[&str])] = &[
    ("paceline-entities", &["poem", "poem-openapi", "apalis", "apalis-core", "redis", "reqwest"]),
    ("paceline-domain", &["poem", "poem-openapi", "apalis", "apalis-core", "redis", "reqwest"]),
    ("paceline-backplane", &["poem", "poem-openapi", "apalis", "apalis-core", "reqwest"]),
    ("paceline-migration", &["paceline-entities"]),
    ("paceline-api", &["paceline-worker", "paceline-scheduler", "paceline-console", "apalis", "apalis-core", "redis"]),
    (
        "paceline-console",
        &["paceline-api", "paceline-worker", "paceline-scheduler", "apalis", "apalis-core", "redis", "reqwest"],
    ),
    ("paceline-worker", &["paceline-api", "paceline-scheduler", "poem", "poem-openapi"]),
    ("paceline-scheduler", &["paceline-api", "paceline-worker", "poem", "poem-openapi", "apalis", "apalis-core"]),
];

/// The surfaces of the API, as its modules are called.
const SURFACES: [&str; 4] = ["admin_chat", "batch", "crm", "support_desk"];

#[derive(Debug)]
struct Dependency {
    name: String,
    /// For the tests of the crate alone: there, all of ours may be imported but what is never.
    dev: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The crates of the workspace and what their manifests say, in every section.
fn workspace() -> BTreeMap<String, Vec<Dependency>> {
    let out = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let list = |value: &Value| value.as_array().expect("an array").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"])
                .iter()
                .map(|it| Dependency { name: text(&it["name"]), dev: it["kind"] == "dev" })
                .collect();
            (text(&package["name"]), dependencies)
        })
        .collect()
}

/// Everything that is against the rules, as sentences.
fn offences(workspace: &BTreeMap<String, Vec<Dependency>>) -> Vec<String> {
    let may_import: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let never: BTreeMap<_, _> = NEVER.iter().copied().collect();
    let mut offences = Vec::new();
    for (krate, dependencies) in workspace {
        let Some(allowed) = may_import.get(krate.as_str()) else {
            offences.push(format!("{krate} has no place in the layers"));
            continue;
        };
        let forbidden = never.get(krate.as_str()).copied().unwrap_or_default();
        for dependency in dependencies {
            let name = dependency.name.as_str();
            let ours = workspace.contains_key(name);
            if forbidden.contains(&name) || (ours && !dependency.dev && !allowed.contains(&name)) {
                offences.push(format!("{krate} must not import {name}"));
            }
        }
    }
    offences
}

#[test]
fn crates_import_only_what_their_layer_may() {
    let workspace = workspace();
    for (krate, _) in MAY_IMPORT {
        assert!(workspace.contains_key(*krate), "{krate} is gone: take it out of the rules");
    }
    let offences = offences(&workspace);
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn an_import_against_the_rules_is_found() {
    let dependency = |name: &str, dev| vec![Dependency { name: name.to_owned(), dev }];
    let with = |krate: &str, dependencies| {
        let mut workspace: BTreeMap<String, Vec<Dependency>> =
            MAY_IMPORT.iter().map(|(krate, _)| ((*krate).to_owned(), Vec::new())).collect();
        workspace.insert(krate.to_owned(), dependencies);
        offences(&workspace)
    };
    assert_eq!(with("paceline-domain", dependency("redis", false)), ["paceline-domain must not import redis"]);
    assert_eq!(with("paceline-domain", dependency("reqwest", true)), ["paceline-domain must not import reqwest"]);
    assert_eq!(
        with("paceline-api", dependency("paceline-worker", true)),
        ["paceline-api must not import paceline-worker"]
    );
    assert_eq!(
        with("paceline-entities", dependency("paceline-domain", false)),
        ["paceline-entities must not import paceline-domain"]
    );
    assert_eq!(with("paceline-new", Vec::new()), ["paceline-new has no place in the layers"]);
    assert!(with("paceline-domain", dependency("paceline-migration", true)).is_empty(), "its tests need a schema");
}

/// Every Rust file below a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The surface to which a file below `api/src/surface` belongs, if any: `crm.rs` or anything in `crm/`.
fn surface_of(file: &Path, dir: &Path) -> Option<&'static str> {
    let first = file.strip_prefix(dir).ok()?.components().next()?;
    let name = Path::new(first.as_os_str()).file_stem()?.to_str()?;
    SURFACES.iter().copied().find(|surface| *surface == name)
}

/// Whether the source reaches into a module of this name beside its own.
fn mentions(source: &str, other: &str) -> bool {
    ["surface::", "super::"].iter().any(|parent| {
        source.match_indices(&format!("{parent}{other}")).any(|(at, found)| {
            // `surface::crm_extra` is another module.
            let next = source.get(at + found.len()..).and_then(|rest| rest.chars().next());
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn no_surface_borrows_from_another() {
    let dir = root().join("api/src/surface");
    let files = sources(&dir);
    let present: BTreeSet<&str> = files.iter().filter_map(|file| surface_of(file, &dir)).collect();
    assert_eq!(present, BTreeSet::from(SURFACES), "the surfaces below {}", dir.display());
    for file in &files {
        let Some(own) = surface_of(file, &dir) else { continue };
        let source = fs::read_to_string(file).expect("a source is readable");
        for other in SURFACES.into_iter().filter(|other| *other != own) {
            assert!(!mentions(&source, other), "{} borrows from the surface {other}", file.display());
        }
    }
}

#[test]
fn a_borrowed_module_is_found() {
    assert!(mentions("use crate::surface::crm::wire;", "crm"));
    assert!(mentions("use super::super::crm;", "crm"));
    assert!(!mentions("use crate::surface::crm_extra::wire;", "crm"));
    assert!(!mentions("use domain::crm::rule;", "crm"));
}
