//! The chart's schema of `config` is the code's, and says the same as the process of what it can say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail like this")]

use std::path::{Path, PathBuf};

use ringfence_core::admission::review::{Request, Resource};
use ringfence_core::config::Config;
use serde_json::{Value, json};

/// Where the generated part of the file begins. It is the last.
const MARKER: &str = "    \"generatedConfig\": ";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/ringfence/values.schema.json")
}

fn generated() -> String {
    let schema = serde_json::to_string_pretty(&Config::json_schema().unwrap()).unwrap();
    format!("{MARKER}{}\n  }}\n}}\n", schema.replace('\n', "\n    "))
}

/// With `UPDATE_SCHEMA=1` it writes the file anew.
#[test]
fn the_chart_s_schema_of_the_configuration_is_generated_from_the_code() {
    let text = std::fs::read_to_string(file()).unwrap();
    let (written, _) = text.split_once(MARKER).expect("the file has a part that is generated");
    let current = format!("{written}{}", generated());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(file(), &current).unwrap();
    } else {
        assert!(text == current, "the schema is not current; run UPDATE_SCHEMA=1 cargo test --test chart");
    }
}

fn validator() -> jsonschema::Validator {
    let mut schema = Config::json_schema().unwrap();
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    jsonschema::validator_for(&schema).unwrap()
}

#[rustfmt::skip]
fn good() -> Vec<Value> {
    vec![
        json!({}),
        json!({ "defaultMode": "warn", "existing": "reject", "pods": "reject", "hostNetwork": "deny", "vendorPolicies": "allow" }),
        json!({ "defaultMode": null, "profiles": null, "limits": null, "staleness": null }),
        json!({ "excluded": ["calico-system"], "longestExemption": "90d" }),
        json!({ "defaultProfile": "edge", "profiles": { "edge": { "policies": [{ "name": "default-deny-all", "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } }] } } }),
        json!({ "violations": "report", "clusterCidrs": ["10.244.0.0/16", "0.0.0.0/0", "255.255.255.255/32", "fd00:10:244::/56", "::/0", "::ffff:10.0.0.0/104", "2001:db8::1/128"] }),
        json!({ "profiles": { "strict": { "wide": { "ipv4": 1, "ipv6": 128, "ports": 0 } }, "standard": { "wide": { "ipv4": 32, "ipv6": 1, "ports": 65534 } } } }),
        json!({ "limits": { "bodyBytes": 1_048_576, "reviewBytes": 27_962_027 } }),
        json!({ "longestExemption": "2w", "staleness": "1m 30s", "leaseDuration": "PT15S" }),
        json!({ "staleness": "1 minute, 30 seconds", "leaseDuration": "00:00:15" }),
        json!({ "certificates": { "validity": "60 days", "overlap": "300000ms" } }),
        json!({ "limits": { "bodyBytes": 1_048_576, "connections": 10, "concurrentReviews": 1, "drain": "5s", "drainDeadline": "2.5s" } }),
        json!({ "lints": { "protocol-implicit": "off", "open-world": false, "allow-all": "high" } }),
        json!({ "profiles": { "edge": { "policies": [{ "name": "default-deny-all", "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } }],
            "holes": { "ingress": { "W4*": "allow" }, "egress": { "W4": "deny" } } } } }),
        json!({ "profiles": { "standard": { "dns": { "to": [{ "ipBlock": { "cidr": "169.254.20.10/32" } }], "ports": [{ "port": 53 }, { "port": "dns", "protocol": "TCP" }] } } } }),
    ]
}

#[rustfmt::skip]
fn bad() -> Vec<Value> {
    vec![
        json!({ "defaultMdoe": "warn" }),
        json!({ "defaultMode": "exempt" }),
        json!({ "defaultMode": "Warn" }),
        json!({ "existing": "deny" }),
        json!({ "hostNetwork": true }),
        json!({ "excluded": ["Calico_System"] }),
        json!({ "excluded": "calico-system" }),
        json!({ "defaultProfile": "No_Such" }),
        json!({ "violations": "ignore" }),
        json!({ "clusterCidrs": "10.244.0.0/16" }),
        json!({ "clusterCidrs": ["x"] }),
        json!({ "clusterCidrs": ["10.244.0.0"] }),
        json!({ "clusterCidrs": ["10.244.0/16"] }),
        json!({ "clusterCidrs": ["10.256.0.0/16"] }),
        json!({ "clusterCidrs": ["10.244.0.0/33"] }),
        json!({ "clusterCidrs": ["fd00::/129"] }),
        json!({ "clusterCidrs": ["fd00/8"] }),
        json!({ "profiles": { "standard": { "wide": { "ipv4": 0 } } } }),
        json!({ "profiles": { "standard": { "wide": { "ipv4": 200 } } } }),
        json!({ "profiles": { "standard": { "wide": { "ipv6": 129 } } } }),
        json!({ "profiles": { "standard": { "wide": { "ports": 65535 } } } }),
        json!({ "profiles": { "standard": { "wide": { "ports": -1 } } } }),
        json!({ "limits": { "reviewBytes": 1 } }),
        json!({ "limits": { "bytesInFlight": 0 } }),
        json!({ "longestExemption": 90 }),
        json!({ "longestExemption": "90" }),
        json!({ "longestExemption": "0d" }),
        json!({ "longestExemption": "-1d" }),
        json!({ "longestExemption": "3 months" }),
        json!({ "staleness": "soon" }),
        json!({ "limits": { "connections": 0 } }),
        json!({ "limits": { "connections": 1_000_001 } }),
        json!({ "limits": { "connections": "10" } }),
        json!({ "limits": { "concurrentReviews": -1 } }),
        json!({ "limits": { "policiesPerNamespace": 0 } }),
        json!({ "limits": { "policiesPerNamespace": 1_000_001 } }),
        json!({ "limits": { "policyBytesPerNamespace": 0 } }),
        json!({ "limits": { "bodyBytes": 0 } }),
        json!({ "limits": { "drian": "5s" } }),
        json!({ "limits": [] }),
        json!({ "certificates": { "validity": "long" } }),
        json!({ "lints": { "no-such-lint": "off" } }),
        json!({ "lints": { "open-world": "loud" } }),
        json!({ "lints": { "open-world": true } }),
        json!({ "profiles": { "Edge": { "dns": {} } } }),
        json!({ "profiles": { "edge": { "policies": [{ "name": "x" }] } } }),
        json!({ "profiles": { "edge": { "policies": [{ "name": "X_", "spec": {} }] } } }),
        json!({ "profiles": { "standard": { "holes": { "ingress": { "W5": "allow" } } } } }),
        json!({ "profiles": { "standard": { "holes": { "ingress": { "W4": "permit" } } } } }),
        json!({ "profiles": { "standard": { "holes": { "inside": {} } } } }),
        json!({ "profiles": { "standard": { "dns": { "ports": [{ "port": [53] }] } } } }),
        json!({ "profiles": { "standard": { "dns": { "to": [{ "ipBlok": {} }] } } } }),
        json!("nonsense"),
    ]
}

#[test]
fn schema_and_process_agree_on_what_a_configuration_is() {
    let validator = validator();
    for config in good() {
        let errors: Vec<String> = validator.iter_errors(&config).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "the schema refuses {config}: {errors:?}");
        Config::parse(&config).unwrap_or_else(|errors| panic!("the process refuses {config}: {errors:?}"));
    }
    for config in bad() {
        assert!(!validator.is_valid(&config), "the schema takes {config}");
        assert!(Config::parse(&config).is_err(), "the process takes {config}");
    }
}

#[test]
fn the_schema_takes_what_is_in_force_and_every_field_of_it() {
    let (schema, whole) = (Config::json_schema().unwrap(), Config::default().to_value());
    assert!(
        validator().is_valid(&whole),
        "{:?}",
        validator().iter_errors(&whole).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    let fields = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(fields(&schema["properties"]), fields(&whole));
    for part in ["limits", "certificates"] {
        assert_eq!(fields(&schema["properties"][part]["properties"]), fields(&whole[part]), "{part}");
    }
}

/// What the chart registers as a vendor's policy the process takes for one.
#[test]
fn chart_and_process_know_the_same_policies_of_vendors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/ringfence/templates/_helpers.tpl");
    let helpers = std::fs::read_to_string(path).unwrap();
    let (_, list) = helpers.split_once("{{- define \"ringfence.vendorPolicies\" -}}\n").unwrap();
    let (list, _) = list.split_once("{{- end }}").unwrap();
    let names = |line: &str, field: &str| -> Vec<String> {
        let (_, rest) = line.split_once(&format!("{field}: [")).unwrap();
        rest.split(']').next().unwrap().split(", ").map(str::to_owned).collect()
    };
    let mut known = 0;
    for line in list.lines() {
        for group in names(line, "groups") {
            for resource in names(line, "resources") {
                let review = json!({
                    "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                    "request": { "uid": "x", "operation": "CREATE", "resource": { "group": group, "version": "v1", "resource": resource } },
                })
                .to_string();
                let request = Request::parse(review.as_bytes()).unwrap();
                assert_eq!(request.resource(), Resource::Vendor, "{resource}.{group}");
                known += 1;
            }
        }
    }
    assert_eq!(known, 11);
}

/// The chart adds them up where they are left out.
#[test]
fn the_chart_knows_how_long_a_drain_takes_by_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/ringfence/templates/_helpers.tpl");
    let (helpers, limits) = (std::fs::read_to_string(path).unwrap(), Config::default().limits);
    for (field, value) in [("drain", limits.drain), ("drainDeadline", limits.drain_deadline)] {
        let default = format!("($limits.{field} | default \"{value}\")");
        assert!(helpers.contains(&default), "{default}");
    }
}

/// Whatever length of time the process reads, the schema takes.
#[test]
fn lengths_of_time_are_read_alike() {
    let validator = validator();
    for (text, good) in [
        ("90s", true),
        ("90 s", true),
        ("1m30s", true),
        ("1m, 30s", true),
        ("1h 2m 3s", true),
        ("2 hrs", true),
        ("3days", true),
        ("PT1H", true),
        ("P1DT2H", true),
        ("p1w", true),
        ("+5s", true),
        ("1.5h", true),
        ("1,5s", true),
        ("01:02:03", true),
        ("1d 01:00:00", true),
        ("500ms", true),
        ("1y", false),
        ("2mo", false),
        ("P1Y", false),
        ("5s ago", false),
        ("", false),
        ("s", false),
        ("5", false),
        ("5x", false),
        ("1h and 2m", false),
        ("-5s", false),
        ("0s", false),
        ("PT0S", false),
    ] {
        // A field that has no range.
        let config = json!({ "longestExemption": text });
        assert_eq!(Config::parse(&config).is_ok(), good, "the process and {text:?}");
        assert_eq!(validator.is_valid(&config), good, "the schema and {text:?}");
    }
}
