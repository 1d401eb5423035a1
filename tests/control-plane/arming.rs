//! That the webhooks stand in nobody's way before they work, and that from then on they stay as the chart has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Bed, Installation, Options, Replica, Ringfence, World, eventually};
use crate::steps::{create_before_ringfence, create_namespace, get, isolated_namespace, labels, refuse};

crate::tests![
    case_79_an_image_that_can_not_start_blocks_nothing_after_the_first_install,
    case_79_webhooks_block_nothing_until_the_api_server_has_reached_them,
    case_78_with_all_replicas_down_namespaces_that_are_not_adopted_can_be_changed,
    webhooks_that_are_deleted_or_changed_are_as_the_chart_has_them_again,
    webhooks_go_with_the_release_where_the_uninstaller_can_not_run,
];

pub(crate) const KINDS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];

/// Both configurations; null where there is none.
pub(crate) fn registered(bed: &Bed) -> [Value; 2] {
    KINDS.map(|kind| get(bed, "default", &format!("{kind}/ringfence")))
}

/// The failure policy of each entry, by the kind and the entry's name.
fn policies(bed: &Bed) -> BTreeMap<(usize, String), String> {
    let all = registered(bed);
    let entries = all
        .iter()
        .enumerate()
        .flat_map(|(kind, all)| all["webhooks"].as_array().into_iter().flatten().map(move |entry| (kind, entry)));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    entries.map(|(kind, entry)| ((kind, text(&entry["name"])), text(&entry["failurePolicy"]))).collect()
}

fn metric(ringfence: &Ringfence, name: &str) -> f64 {
    ringfence.counters().map_or(f64::NAN, |counters| counters.sum(name, &[]))
}

fn unarmed(bed: &Bed, installation: &Installation) -> Ringfence {
    let ringfence = bed.start_ringfence(installation, &Replica { wait: false, ..Replica::default() });
    eventually("both are there", || registered(bed).iter().all(|all| !all.is_null()));
    ringfence
}

fn case_79_an_image_that_can_not_start_blocks_nothing_after_the_first_install() {
    let bed = Bed::start(&Options::default());
    // No process ever runs.
    bed.install(&[]);
    for name in ["one", "two"] {
        create_namespace(&bed, name);
    }
    bed.kubectl(&["annotate", "namespace", "default", "x=y"]).expect_ok();
    assert_eq!(registered(&bed), [Value::Null, Value::Null]);
    // Nor is anything changed by a configuration that no process would start with: helm refuses it.
    let chart = format!("{}/charts/ringfence", env!("CARGO_MANIFEST_DIR"));
    for (set, says) in [
        ("config.defaultMdoe=warn", "defaultMdoe"),
        ("config.staleness=soon", "/config/staleness"),
        ("config.limits.connections=0", "/config/limits/connections"),
        ("config.limits.drain=30s", "terminationGracePeriodSeconds is 35"),
        ("config.limits.drain=PT5S", "write it with the units"),
        ("config.excluded={a}", "use the value excluded"),
    ] {
        let upgrade = ["upgrade", "ringfence", &chart, "-n", "ringfence-system", "--set", set];
        for said in [bed.helm(&upgrade), bed.helm3(&upgrade)] {
            let said = said.expect_error();
            assert!(said.contains(says), "{set}: {said}");
        }
    }
    let longer = "config.limits.drain=1m 30s,terminationGracePeriodSeconds=101";
    bed.helm(&["template", "ringfence", &chart, "-n", "ringfence-system", "--set", longer]).expect_ok();
    // And what the chart has for it is the whole of both.
    let said = bed.kubectl(&["get", "configmap", "ringfence-webhooks", "-n", "ringfence-system", "-o", "json"]);
    let map: Value = serde_json::from_str(&said.expect_ok()).unwrap();
    for key in ["mutating.yaml", "validating.yaml"] {
        let text = map["data"][key].as_str().unwrap();
        assert!(text.contains("namespaces.ringfence.dev") && text.contains("failurePolicy: Fail"), "{text}");
        bed.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], text).expect_ok();
    }
}

fn case_79_webhooks_block_nothing_until_the_api_server_has_reached_them() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    // It runs, but the Service leads nowhere.
    let mut ringfence = unarmed(&bed, &installation);
    assert!(policies(&bed).values().all(|policy| policy == "Ignore"), "{:?}", policies(&bed));
    create_namespace(&bed, "before");
    eventually("it has tried", || ringfence.log().contains("the API server does not reach the webhooks yet"));
    create_namespace(&bed, "meanwhile");
    assert!(labels(&bed, "meanwhile")["ringfence.dev/mode"].is_null());
    assert!(metric(&ringfence, "ringfence_webhooks_armed") < 1.0);

    ringfence.wait_until_ready();
    bed.until_armed();
    eventually("its metrics say so", || metric(&ringfence, "ringfence_webhooks_armed") > 1.0);
    create_namespace(&bed, "after");
    assert_eq!(labels(&bed, "after")["ringfence.dev/mode"], "enforce");
    // What only warns blocks nothing now either.
    let ignored: Vec<_> = policies(&bed).into_iter().filter(|(_, policy)| policy == "Ignore").collect();
    let names: Vec<&str> = ignored.iter().map(|((_, name), _)| name.as_str()).collect();
    let warns = ["namespaces-not-adopted", "pods-hostnetwork", "vendor-policies", "workloads"];
    assert_eq!(names, warns.map(|name| format!("{name}.ringfence.dev")));
    // No namespace is left of the attempts.
    let said = bed.kubectl(&["get", "namespaces", "-o", "name"]).expect_ok();
    assert!(!said.contains("probe"), "{said}");

    // Another webhook that refuses what is tried does not keep it from being armed.
    drop(ringfence);
    for kind in KINDS {
        bed.kubectl(&["delete", kind, "ringfence"]).expect_ok();
    }
    require_a_label(&bed);
    let mut again = bed.start_ringfence(&installation, &Replica { wait: false, ..Replica::named("again") });
    again.wait_until_ready();
    eventually("they are armed", || policies(&bed).values().any(|policy| policy == "Fail"));
}

/// As many a cluster has it: a namespace without a label of somebody's is refused, after Ringfence has changed it.
fn require_a_label(bed: &Bed) {
    let rule =
        json!({ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["namespaces"], "operations": ["CREATE"] });
    let has = "has(object.metadata.labels) && 'example.com/owner' in object.metadata.labels";
    refuse(bed, "require-owner", json!({ "resourceRules": [rule] }), json!({ "expression": has }));
    eventually("it is in force", || !bed.kubectl(&["create", "namespace", "asks", "--dry-run=server"]).ok);
}

fn case_78_with_all_replicas_down_namespaces_that_are_not_adopted_can_be_changed() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let ringfence = bed.start_ringfence(&installation, &Replica::default());
    create_before_ringfence(&bed, "older");
    isolated_namespace(&bed, "adopted");
    // The warning is there while somebody answers.
    let said = bed.kubectl(&["annotate", "namespace", "older", "a=b"]);
    assert!(said.stderr.contains("Warning: ") && said.stderr.contains("adopt"), "{}", said.stderr);
    drop(ringfence);

    for namespace in ["default", "older", "adopted"] {
        bed.kubectl(&["annotate", "namespace", namespace, "x=y"]).expect_ok();
        bed.kubectl(&["label", "namespace", namespace, "x=y"]).expect_ok();
    }
    for (namespace, change) in [
        ("adopted", "ringfence.dev/mode-"),
        ("adopted", "ringfence.dev/isolated-"),
        ("adopted", "ringfence.dev/profile=strict"),
        ("older", "ringfence.dev/isolated=true"),
        ("older", "ringfence.dev/mode=exempt"),
    ] {
        let said = bed.kubectl(&["label", "namespace", namespace, change, "--overwrite"]).expect_error();
        assert!(said.contains("failed calling webhook \"namespaces.ringfence.dev\""), "{said}");
    }
    let said = bed.kubectl(&["create", "namespace", "new"]).expect_error();
    assert!(said.contains("failed calling webhook"), "{said}");
}

fn webhooks_that_are_deleted_or_changed_are_as_the_chart_has_them_again() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[("config.leaseDuration", "3s")]);
    let lease = ["lease/ringfence", "-n", "ringfence-system", "--type=merge", "-p"];
    // One that does not lead changes nothing.
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string();
    let held = json!({ "spec": { "holderIdentity": "somebody", "leaseDurationSeconds": 3600, "renewTime": now } });
    bed.kubectl(&[&["patch"][..], &lease, &[&held.to_string()]].concat()).expect_ok();
    let mut ringfence = bed.start_ringfence(&installation, &Replica { wait: false, ..Replica::default() });
    ringfence.wait_until_ready();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(registered(&bed), [Value::Null, Value::Null]);
    let free = json!({ "spec": { "holderIdentity": null } });
    bed.kubectl(&[&["patch"][..], &lease, &[&free.to_string()]].concat()).expect_ok();
    bed.until_armed();

    let entries = || registered(&bed).map(|all| all["webhooks"].clone());
    let before = entries();
    let (mutating, validating) = (KINDS[0], KINDS[1]);
    let none = "";
    for (what, kind, patch) in [
        (
            "an entry blocks nothing",
            validating,
            r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#,
        ),
        (
            "an entry blocks where it should not",
            validating,
            r#"[{"op": "replace", "path": "/webhooks/1/failurePolicy", "value": "Fail"}]"#,
        ),
        (
            "a selector leaves out more",
            mutating,
            r#"[{"op": "add", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"a": "b"}}}]"#,
        ),
        (
            "a condition is never true",
            validating,
            r#"[{"op": "replace", "path": "/webhooks/0/matchConditions/0/expression", "value": "false"}]"#,
        ),
        (
            "another resource",
            validating,
            r#"[{"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["nodes"]}]"#,
        ),
        ("an entry is missing", mutating, r#"[{"op": "remove", "path": "/webhooks/1"}]"#),
        ("no bundle", mutating, r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#),
        (
            "another Service",
            mutating,
            r#"[{"op": "replace", "path": "/webhooks/0/clientConfig/service/name", "value": "other"}]"#,
        ),
        ("there is none", mutating, none),
        ("there is none", validating, none),
    ] {
        match patch {
            "" => bed.kubectl(&["delete", kind, "ringfence"]),
            patch => bed.kubectl(&["patch", kind, "ringfence", "--type=json", "-p", patch]),
        }
        .expect_ok();
        eventually(&format!("{what}: it is as it was"), || entries() == before);
    }
    let uid = get(&bed, "default", "clusterrole/ringfence")["metadata"]["uid"].clone();
    for object in registered(&bed) {
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], uid, "{object:#}");
    }
    // With nobody to answer they stay as they are: the leader does not disarm what it can't reach.
    installation.front.refuse();
    bed.kubectl(&["patch", mutating, "ringfence", "--type=merge", "-p", r#"{"metadata": {"labels": {"a": "b"}}}"#])
        .expect_ok();
    eventually("the label is gone", || {
        get(&bed, "default", &format!("{mutating}/ringfence"))["metadata"]["labels"]["a"].is_null()
    });
    assert_eq!(entries(), before);
}

fn webhooks_go_with_the_release_where_the_uninstaller_can_not_run() {
    let world = World::start(&Options::whole(), &[]);
    let bed = &world.bed;
    assert!(registered(bed).iter().all(|object| !object.is_null()));
    bed.helm(&["uninstall", "ringfence", "-n", "ringfence-system", "--no-hooks"]).expect_ok();
    *world.ringfence.lock().unwrap() = None;
    eventually("the garbage collector has removed them", || registered(bed) == [Value::Null, Value::Null]);
    create_namespace(bed, "free");
}
