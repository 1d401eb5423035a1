//! What a finding advises, tried: what its fix gives does not have the finding any more, and its snippet is YAML.

use std::path::Path;

use ringfence::inventory;
use ringfence::manifests::{self, Object};
use ringfence_core::inventory::Plugin;
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::lint::{self, Finding, Fix};
use ringfence_core::policy::verdict::judge;
use serde_json::{Value, json};

struct Fixture {
    name: String,
    objects: Vec<Value>,
    /// The arguments that `check` is run with.
    arguments: Vec<String>,
}

fn fixtures() -> Vec<Fixture> {
    let lints = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint");
    let directories = std::fs::read_dir(lints).unwrap().map(|entry| entry.unwrap().path());
    let files =
        directories.flat_map(|directory| std::fs::read_dir(directory).unwrap()).map(|entry| entry.unwrap().path());
    let fixture = |file: std::path::PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let arguments = text.lines().filter_map(|line| line.strip_prefix("# check: "));
        Fixture {
            name: file.to_str().unwrap().to_owned(),
            objects: read(&text).iter().map(Object::to_value).collect(),
            arguments: arguments.flat_map(str::split_whitespace).map(str::to_owned).collect(),
        }
    };
    files.map(fixture).collect()
}

fn read(text: &str) -> Vec<Object> {
    let loaded = manifests::read("-", text);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.objects
}

fn findings(objects: &[Value], arguments: &[String]) -> Vec<Finding> {
    let objects = read(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string());
    let (mut inventory, problems) = inventory::of(&objects, "default");
    assert!(problems.is_empty(), "{problems:?}");
    for pair in arguments.windows(2) {
        match pair[0].as_str() {
            "--cluster-dns" => inventory.cluster.dns = vec![pair[1].parse().unwrap()],
            "--cni" => inventory.cluster.cni = vec![Plugin::named(pair[1].parse().unwrap())],
            _ => {}
        }
    }
    let mut found = lint::inventory(&inventory);
    for (name, namespace) in &inventory.namespaces {
        let policies: Vec<&NetworkPolicy> = namespace.policies.iter().map(|written| &written.policy).collect();
        let verdict = judge(&policies, &Criteria::default());
        found.extend(lint::namespace(&lint::View {
            namespace: name,
            policies: &policies,
            verdict: &verdict,
            profile: None,
            inventory: Some(&inventory),
            cluster: &inventory.cluster,
        }));
        for written in &namespace.policies {
            found.extend(lint::policy(&written.policy, &written.notes, name, &inventory.cluster));
        }
    }
    found
}

fn mended(objects: &[Value], finding: &Finding) -> Option<Vec<Value>> {
    let mut objects = objects.to_vec();
    match finding.fix.as_ref()? {
        Fix::Add(more) => objects.extend(more.iter().cloned()),
        Fix::Patch(patch) => {
            let object = objects.iter_mut().find(|object| {
                object["kind"] == finding.object.kind
                    && object["metadata"]["name"] == finding.object.name
                    && object["metadata"]["namespace"] == finding.object.namespace
            });
            json_patch::patch(object.unwrap(), patch).unwrap();
        }
    }
    Some(objects)
}

#[test]
fn what_a_fix_gives_does_not_have_the_finding_any_more() {
    let mut fixed = std::collections::BTreeSet::new();
    for Fixture { name, objects, arguments } in fixtures() {
        for finding in findings(&objects, &arguments) {
            let Some(mended) = mended(&objects, &finding) else { continue };
            let same = |other: &Finding| {
                other.lint == finding.lint
                    && (&other.object, &other.path, &other.message)
                        == (&finding.object, &finding.path, &finding.message)
            };
            let left = findings(&mended, &arguments);
            assert!(!left.iter().any(same), "{name}: {finding:?} is there after its fix: {left:?}");
            fixed.insert(finding.lint.id);
        }
    }
    for id in ["dns-missing", "dns-udp-only", "dns-wrong-target", "dns-any-destination", "protocol-implicit"] {
        assert!(fixed.contains(id), "no fixture of {id} has a fix: {fixed:?}");
    }
}

#[test]
fn every_snippet_is_yaml_of_one_document() {
    for Fixture { name, objects, arguments } in fixtures() {
        for finding in findings(&objects, &arguments) {
            let Some(snippet) = &finding.snippet else { continue };
            let parsed = manifests::parse_one(snippet);
            assert!(matches!(parsed, Ok(Some(_))), "{name}: {}: {parsed:?}\n{snippet}", finding.lint.id);
        }
    }
}
