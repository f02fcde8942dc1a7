//! The documents of `/api/v1` beside their schema: no key is missing, none is more, each value has its type.

use pinetboot_core::tftp::Options;
use serde_json::Value;

use super::http::{get, page_of};
use crate::common::{Folder, Serving, fetch};

/// What is wrong with a value by a schema (JSON Schema 2020-12, the part that ours uses); a key that the schema lacks is wrong, too.
fn faults(schema: &Value, whole: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return faults(whole.pointer(name.strip_prefix('#').unwrap()).unwrap(), whole, value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().filter(|schema| faults(schema, whole, value, at).is_empty()).count();
        return if fits == 1 { Vec::new() } else { vec![format!("{at}: fits {fits} of {choices:?}")] };
    }
    let mut faults_here = Vec::new();
    if let Some(expected) = schema.get("const").filter(|expected| *expected != value) {
        faults_here.push(format!("{at}: {value} is not {expected}"));
    }
    if let Some(known) = schema["enum"].as_array().filter(|known| !known.contains(value)) {
        faults_here.push(format!("{at}: {value} is none of {known:?}"));
    }
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the schema has the type {other}"),
    };
    let has_type = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(is),
        Value::Null => true,
        kind => is(kind),
    };
    if !has_type {
        faults_here.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        faults_here.extend(faults(&schema["items"], whole, item, &format!("{at}/{index}")));
    }
    let keys = value.as_object();
    for key in schema["required"].as_array().into_iter().flatten().filter(|_| keys.is_some()) {
        if value.get(key.as_str().unwrap()).is_none() {
            faults_here.push(format!("{at}: {key} is missing"));
        }
    }
    for (key, inner) in keys.into_iter().flatten() {
        match schema["properties"].get(key) {
            Some(schema) => faults_here.extend(faults(schema, whole, inner, &format!("{at}/{key}"))),
            None => faults_here.push(format!("{at}: the schema lacks {key}")),
        }
    }
    faults_here
}

#[test]
fn the_documents_have_their_schema() {
    let tree = Folder::new(&[("config.txt", b"arm_64bit=1\n"), ("kernel8.img", &[7; 3000])]);
    let control = tree.join("control").display().to_string();
    let serving = Serving::start(tree.path(), &["--control", &control, "--web", "127.0.0.1:0"]);
    for _ in 0..2 {
        fetch(serving.address(), "bd989ae1/config.txt", Options::RASPBERRY_PI).unwrap();
        fetch(serving.address(), "bd989ae1/kernel8.img", Options::RASPBERRY_PI).unwrap();
    }
    serving.settle();
    let page = page_of(&serving);
    let json = |path: &str| {
        let (head, body) = get(page, path);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/"), "{path}: {head}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let whole = json("/api/v1/schema");
    for (path, name) in [
        ("/api/v1/status", "status"),
        ("/api/v1/pis/bd989ae1", "pi"),
        ("/api/v1/log", "log"),
        ("/api/v1/images", "images"),
    ] {
        let (document, schema) = (json(path), &whole["$defs"][name]);
        assert_eq!(faults(schema, &whole, &document, path), [""; 0]);
        // The check can fail: without a key, with another one, with another type.
        for key in document.as_object().unwrap().keys() {
            let mut damaged = document.clone();
            let value = damaged.as_object_mut().unwrap().remove(key).unwrap();
            assert!(!faults(schema, &whole, &damaged, path).is_empty(), "{path} without {key}");
            damaged[format!("{key}-too")] = value;
            damaged[key] = Value::from(1.5);
            assert!(faults(schema, &whole, &damaged, path).len() >= 2, "{path}: {key}");
        }
    }
    let pi = json("/api/v1/pis/bd989ae1");
    // Boots before the latest and the last good one have no files.
    let mut boots = pi["boots"].as_array().unwrap().iter();
    assert!(boots.any(|boot| boot["phases"][0].is_object() && boot["files"][0].is_object()), "{pi:#}");
    let log = json("/api/v1/log");
    assert!(log["lines"].as_array().unwrap().iter().any(|line| line["level"] == "info"), "{log:#}");
    serving.stop();
}
