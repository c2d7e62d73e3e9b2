use serde_json::{Map, Value, json};

/// Makes an operation that adds a value, or replaces the one that is there.
pub(super) fn add(path: &[&str], value: Value) -> Value {
    let mut operation = json!({"op": "add", "path": pointer(path)});
    if let Some(operation) = operation.as_object_mut() {
        operation.insert("value".to_owned(), value); // moved: the macro would copy all of it
    }
    operation
}

/// Makes an operation that removes a value.
fn remove(path: &[&str]) -> Value {
    json!({"op": "remove", "path": pointer(path)})
}

/// Writes a JSON pointer (RFC 6901 §3).
fn pointer(path: &[&str]) -> String {
    path.iter().flat_map(|part| ["/".to_owned(), part.replace('~', "~0").replace('/', "~1")]).collect()
}

/// Returns the least operations that turn one `.machine.registries` into another, by mirror and by host.
///
/// What goes is removed first; what has no parent yet is added with it.
pub(super) fn minimal(current: Option<&Value>, wanted: &Value) -> Vec<Value> {
    const ROOT: [&str; 2] = ["machine", "registries"];
    let Some(current) = current.filter(|current| current.is_object()) else {
        return if is_bare(wanted) { Vec::new() } else { vec![add(&ROOT, wanted.clone())] };
    };
    let (mut removals, mut additions) = (Vec::new(), Vec::new());
    for section in ["mirrors", "config"] {
        let (old, new) =
            (current.get(section).and_then(Value::as_object), wanted.get(section).and_then(Value::as_object));
        let empty = Map::new();
        let new = new.unwrap_or(&empty);
        let Some(old) = old else {
            if !new.is_empty() {
                additions.push(add(&[ROOT[0], ROOT[1], section], Value::Object(new.clone())));
            }
            continue;
        };
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            removals.push(remove(&[ROOT[0], ROOT[1], section, name]));
        }
        for (name, value) in new {
            if old.get(name).map(normal) != Some(normal(value)) {
                additions.push(add(&[ROOT[0], ROOT[1], section, name], value.clone()));
            }
        }
    }
    removals.append(&mut additions);
    removals
}

fn is_bare(value: &Value) -> bool {
    value.as_object().is_none_or(Map::is_empty)
}

/// Drops what means the same as its absence: nulls, false, empty maps and lists.
pub(super) fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept =
                map.iter().map(|(key, value)| (key.clone(), normal(value))).filter(
                    |(_, value)| match value {
                        Value::Null | Value::Bool(false) => false,
                        Value::Object(map) => !map.is_empty(),
                        Value::Array(items) => !items.is_empty(),
                        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
                    },
                );
            // The order of keys means nothing.
            let mut kept: Vec<_> = kept.collect();
            kept.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(kept.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registries() -> impl Strategy<Value = Value> {
        let names = || prop::collection::btree_map("[a-c]/?~?[a-c]{0,2}", "[x-z]{1,3}", 0..5);
        (names(), names(), any::<bool>(), any::<bool>()).prop_map(
            |(mirrors, config, has_mirrors, has_config)| {
                let mut out = Map::new();
                if has_mirrors {
                    let mirrors = mirrors.into_iter().map(|(name, url)| (name, json!({"endpoints": [url]})));
                    out.insert("mirrors".into(), Value::Object(mirrors.collect()));
                }
                if has_config {
                    let config =
                        config.into_iter().map(|(name, user)| (name, json!({"auth": {"username": user}})));
                    out.insert("config".into(), Value::Object(config.collect()));
                }
                Value::Object(out)
            },
        )
    }

    proptest! {
        #[test]
        fn operations_lead_from_one_to_the_other(
            current in prop::option::of(registries()), wanted in registries(),
        ) {
            let operations = minimal(current.as_ref(), &wanted);
            let mut config = json!({"machine": {"type": "worker"}});
            if let Some(current) = current {
                config["machine"]["registries"] = current;
            }
            let patch: json_patch::Patch = serde_json::from_value(Value::Array(operations)).unwrap();
            json_patch::patch(&mut config, &patch).unwrap();
            let got = config["machine"].get("registries").cloned().unwrap_or_else(|| json!({}));
            prop_assert_eq!(normal(&got), normal(&wanted));
            prop_assert!(minimal(Some(&got), &wanted).is_empty());
        }
    }
}
