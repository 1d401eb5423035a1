//! A tenant who has all that Kubernetes gives to the admin of a namespace, and tries what can be tried with it.

use serde_json::{Value, json};

use crate::ask::{APPLY, Asker, JSON_PATCH, MERGE, STRATEGIC};
use crate::harness::{ALICE, Bed, World, eventually};
use crate::scene::{
    POLICIES, admin, deny_all, is_isolated, isolated_namespace, namespace, policy, until_policies_are_known,
};
use crate::steps::{CONTROLLER, end_soon, in_seconds, reporting};

crate::tests![
    an_admin_of_a_namespace_takes_nothing_away_from_its_baseline,
    an_admin_of_a_namespace_opens_nothing_that_the_profile_denies,
    an_admin_of_a_namespace_opens_nothing_where_every_class_is_denied,
    beside_an_exception_that_has_ended_an_admin_of_a_namespace_opens_nothing,
    case_75_beside_policies_too_complex_to_judge_a_deletion_passes_and_a_creation_says_so,
    an_admin_of_a_namespace_gives_itself_no_permission_to_deviate,
    no_owner_has_the_garbage_collector_delete_the_baseline,
];

const BASELINE: [&str; 3] = ["allow-dns", "allow-same-namespace", "default-deny-all"];

/// An isolated namespace with alice as its admin, as the built-in role has it.
fn alice_in<'b>(bed: &'b Bed, name: &str) -> Asker<'b> {
    isolated_namespace(bed, name);
    admin_of(bed, name, ALICE);
    Asker::new(bed, ALICE)
}

/// Makes a user the admin of a namespace.
pub(crate) fn admin_of(bed: &Bed, namespace: &str, user: &str) {
    let to = format!("--user={user}");
    bed.kubectl(&["create", "rolebinding", "admins", "-n", namespace, "--clusterrole=admin", &to]).expect_ok();
    eventually("the right is known", || {
        bed.kubectl_with(user, &["auth", "can-i", "delete", "networkpolicies", "-n", namespace]).ok
    });
}

/// The managed policies as they are stored, and whether the namespace is isolated: what nothing here may change.
fn baseline(bed: &Bed, name: &str) -> (Vec<Value>, bool) {
    let admin = admin(bed);
    let policies = BASELINE.map(|policy| admin.get(&format!("{POLICIES}/{name}/networkpolicies/{policy}")));
    (policies.to_vec(), is_isolated(&admin, name))
}

fn an_admin_of_a_namespace_takes_nothing_away_from_its_baseline() {
    let bed = &World::shared().bed;
    let alice = alice_in(bed, "tenant-takes");
    let before = baseline(bed, "tenant-takes");
    let policies = format!("{POLICIES}/tenant-takes/networkpolicies");
    let uid = admin(bed).get("/api/v1/namespaces/tenant-takes")["metadata"]["uid"].clone();
    let owner = |uid: &Value| json!([{ "apiVersion": "v1", "kind": "Namespace", "name": "tenant-takes", "uid": uid }]);
    let metadata = |metadata: Value| json!({ "metadata": metadata });
    let spec = |spec: Value| json!({ "spec": spec });
    for name in BASELINE {
        let path = format!("{policies}/{name}");
        for options in [
            json!({}),
            json!({ "gracePeriodSeconds": 0 }),
            json!({ "propagationPolicy": "Orphan" }),
            json!({ "propagationPolicy": "Foreground" }),
            json!({ "dryRun": ["All"] }),
        ] {
            alice.delete(&path, &options).expect_denied("ManagedPolicy");
        }
        let tampering = [
            metadata(json!({ "labels": { "app.kubernetes.io/managed-by": null } })),
            metadata(json!({ "labels": { "app.kubernetes.io/managed-by": "alice" } })),
            metadata(json!({ "labels": null })),
            metadata(json!({ "finalizers": ["example.com/keep"] })),
            metadata(json!({ "ownerReferences": owner(&json!("6b8cf2c6-0000-4000-8000-000000000000")) })),
            metadata(json!({ "ownerReferences": owner(&uid) })),
            spec(json!({ "podSelector": { "matchLabels": { "app": "web" } } })),
            spec(json!({ "podSelector": { "matchExpressions": [{ "key": "app", "operator": "DoesNotExist" }] } })),
            spec(json!({ "ingress": [{}] })),
            spec(json!({ "egress": [{}] })),
            spec(json!({ "ingress": [null], "policyTypes": ["Ingress", "Egress"] })),
            spec(json!({ "policyTypes": ["Ingress"], "egress": null })),
            spec(json!({ "policyTypes": ["Egress"], "ingress": null })),
            spec(json!({ "ingress": [{ "from": [{ "namespaceSelector": {} }] }] })),
        ];
        let current = alice.get(&path);
        let mut tried = 0;
        for patch in &tampering {
            // What says what is there already is no change.
            if patch["spec"]
                .as_object()
                .is_some_and(|spec| spec.iter().all(|(key, value)| current["spec"][key] == *value))
            {
                continue;
            }
            tried += 1;
            for at in [path.clone(), format!("{path}?dryRun=All"), format!("{path}?fieldManager=ringfence")] {
                alice.patch(&at, MERGE, patch).expect_denied("ManagedPolicy");
            }
            alice.patch(&path, STRATEGIC, patch).expect_denied("ManagedPolicy");
        }
        assert!(tried >= 10);
        let both =
            json!({ "metadata": { "labels": null }, "spec": { "podSelector": { "matchLabels": { "app": "web" } } } });
        alice.patch(&path, MERGE, &both).expect_denied("ManagedPolicy");
        let everything =
            [json!({ "op": "replace", "path": "/spec/podSelector", "value": { "matchLabels": { "app": "web" } } })];
        alice.patch(&path, JSON_PATCH, &json!(everything)).expect_denied("ManagedPolicy");
        let mut applied =
            policy(name, json!({ "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Ingress"] }));
        for manager in ["alice", "ringfence"] {
            alice
                .patch(&format!("{path}?fieldManager={manager}&force=true"), APPLY, &applied)
                .expect_denied("ManagedPolicy");
        }
        applied["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "ringfence" });
        alice.replace(&path, &applied).expect_denied("ManagedPolicy");
        // Nor does she excuse what it would do.
        let excused = metadata(json!({ "annotations": {
            "ringfence.dev/exception-reason": "so", "ringfence.dev/exception-until": "2999-01-01T00:00:00Z",
        } }));
        let denied = alice.patch(&path, MERGE, &excused);
        assert!(denied.status >= 400, "{denied:#?}");
    }
    alice.delete(&policies, &Value::Null).expect_denied("ManagedPolicy");
    // What is hers to take on the namespace itself is nothing.
    for at in ["/api/v1/namespaces/tenant-takes", "/api/v1/namespaces/tenant-takes/status"] {
        let mode = metadata(json!({ "labels": { "ringfence.dev/mode": "audit" } }));
        alice.patch(at, MERGE, &mode).expect_forbidden();
    }
    alice.delete("/api/v1/namespaces/tenant-takes", &Value::Null).expect_forbidden();
    assert_eq!(baseline(bed, "tenant-takes"), before);
}

/// A selector with one requirement.
#[allow(clippy::needless_pass_by_value, reason = "it is written down where it is passed")]
fn expression(key: &str, operator: &str, values: Value) -> Value {
    json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
}

/// A policy for every pod of a namespace that lets these peers in.
#[allow(clippy::needless_pass_by_value, reason = "it is written down where it is passed")]
fn from(peers: Value) -> Value {
    json!({ "podSelector": {}, "ingress": [{ "from": peers }] })
}

/// What opens everything or nearly everything to strangers, for pods that nobody names: denied by every built-in profile.
fn openings(namespace: &str) -> Vec<Value> {
    let name = "kubernetes.io/metadata.name";
    vec![
        json!({ "podSelector": {}, "ingress": [{}] }),
        json!({ "podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress", "Egress"] }),
        json!({ "podSelector": {}, "ingress": [null] }),
        json!({ "podSelector": {}, "ingress": [{ "from": [] }] }),
        from(json!([{ "namespaceSelector": {} }])),
        from(json!([{ "namespaceSelector": {}, "podSelector": {} }])),
        from(json!([{ "namespaceSelector": expression(name, "Exists", Value::Null) }])),
        from(json!([{ "namespaceSelector": expression(name, "NotIn", json!([namespace])) }, { "podSelector": {} }])),
        from(
            json!([{ "namespaceSelector": expression("team", "Exists", Value::Null) }, { "namespaceSelector": expression("team", "DoesNotExist", Value::Null) }]),
        ),
        from(json!([{ "ipBlock": { "cidr": "0.0.0.0/0" } }])),
        from(json!([{ "ipBlock": { "cidr": "::/0" } }])),
        from(json!([{ "ipBlock": { "cidr": "64:e000::/19", "except": ["64:e000::/20"] } }])),
        from(json!([{ "ipBlock": { "cidr": "0.0.0.0/1" } }, { "ipBlock": { "cidr": "128.0.0.0/1" } }])),
        from(
            json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] } }, { "ipBlock": { "cidr": "10.0.0.0/8" } }]),
        ),
        json!({ "podSelector": {}, "ingress": [{ "ports": [
            { "protocol": "TCP", "port": 1, "endPort": 65535 },
            { "protocol": "UDP", "port": 1, "endPort": 65535 },
            { "protocol": "SCTP", "port": 1, "endPort": 65535 },
        ] }] }),
        json!({ "podSelector": {}, "ingress": [{ "ports": [{ "protocol": "TCP" }, { "protocol": "UDP" }, { "protocol": "SCTP" }] }] }),
        json!({ "podSelector": expression("app", "NotIn", json!(["x", "x"])), "ingress": [{ "from": [{ "namespaceSelector": {} }] }, {}] }),
        // Nearly all: all addresses but one, all namespaces but one, all that Ringfence knows, pods without a label that
        // nobody has, all of TCP.
        from(json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["192.0.2.1/32"] } }])),
        from(json!([{ "namespaceSelector": expression(name, "NotIn", json!(["nope"])) }])),
        from(json!([{ "namespaceSelector": expression("ringfence.dev/mode", "Exists", Value::Null) }])),
        json!({ "podSelector": expression("nope", "DoesNotExist", Value::Null), "ingress": [{}] }),
        json!({ "podSelector": {}, "ingress": [{ "ports": [{ "protocol": "TCP" }] }] }),
    ]
}

fn an_admin_of_a_namespace_opens_nothing_that_the_profile_denies() {
    let bed = &World::shared().bed;
    let alice = alice_in(bed, "tenant-opens");
    let before = baseline(bed, "tenant-opens");
    let policies = format!("{POLICIES}/tenant-opens/networkpolicies");
    let open = |spec: Value| alice.create(&policies, &policy("opens", spec));
    for spec in openings("tenant-opens") {
        let answer = open(spec.clone());
        assert!(answer.status != 201, "{spec:#} is let through: {:?}", answer.warnings);
        answer.expect_denied("BaselineWeakened");
        // Under a name of the baseline, and with its label, it is no better.
        let mut marked = policy("opens", spec.clone());
        marked["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "ringfence" });
        alice.create(&policies, &marked).expect_denied("ManagedPolicy");
    }
    // What was let through is judged with as soon as the watch has brought it; the controller repairs what passes before.
    let denied_once_known = |object: &Value| {
        eventually("what is stored is known", || alice.create(&format!("{policies}?dryRun=All"), object).status == 403);
        alice.create(&policies, object).expect_denied("BaselineWeakened");
    };
    // What its pods may reach is warned of.
    for spec in [
        json!({ "podSelector": {}, "egress": [{}], "policyTypes": ["Egress"] }),
        json!({ "podSelector": {}, "egress": [{ "to": [{ "namespaceSelector": {} }] }], "policyTypes": ["Egress"] }),
    ] {
        let answer = alice.create(&format!("{policies}?dryRun=All"), &policy("opens", spec.clone()));
        assert!(
            answer.status == 201 && answer.warnings.iter().any(|one| one.contains("egress")),
            "{spec:#}: {answer:#?}"
        );
    }
    // For some pods everything is warned of; pods that nobody names make it all, whichever change adds them.
    let some = json!({ "podSelector": expression("app", "In", json!(["x"])), "ingress": [{}] });
    alice.create(&policies, &policy("some", some)).expect_ok();
    let path = format!("{policies}/some");
    alice
        .patch(&path, MERGE, &json!({ "spec": { "podSelector": { "matchExpressions": null } } }))
        .expect_denied("BaselineWeakened");
    alice.delete(&path, &Value::Null).expect_ok();
    // Halves of what is too wide, one at a time, and then by changing a narrow one.
    alice.create(&policies, &policy("half", from(json!([{ "ipBlock": { "cidr": "20.0.0.0/7" } }])))).expect_ok();
    denied_once_known(&policy("opens", from(json!([{ "ipBlock": { "cidr": "40.0.0.0/7" } }]))));
    let narrow = from(json!([{ "ipBlock": { "cidr": "20.0.0.0/24" } }]));
    alice.create(&policies, &policy("narrow", narrow)).expect_ok();
    let other_half = json!({ "spec": from(json!([{ "ipBlock": { "cidr": "40.0.0.0/7" } }])) });
    alice.patch(&format!("{policies}/narrow"), MERGE, &other_half).expect_denied("BaselineWeakened");
    assert_eq!(baseline(bed, "tenant-opens"), before);
}

/// The same for what pods reach.
fn outwards(mut spec: Value) -> Value {
    let mut rules = spec["ingress"].take();
    for rule in rules.as_array_mut().unwrap().iter_mut().filter_map(Value::as_object_mut) {
        if let Some(peers) = rule.remove("from") {
            rule.insert("to".to_owned(), peers);
        }
    }
    json!({ "podSelector": spec["podSelector"], "policyTypes": ["Egress"], "egress": rules })
}

fn an_admin_of_a_namespace_opens_nothing_where_every_class_is_denied() {
    let bed = &reporting().bed;
    let alice = alice_in(bed, "tenant-closed");
    let policies = format!("{POLICIES}/tenant-closed/networkpolicies");
    // The last two are warned of or allowed by default: pods that are named, and one port.
    let named = json!({ "podSelector": { "matchLabels": { "app": "x" } }, "ingress": [{}] });
    let port = json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": 443 }] }] });
    for spec in openings("tenant-closed").into_iter().chain([named, port]) {
        for spec in [spec.clone(), outwards(spec)] {
            let answer = alice.create(&policies, &policy("opens", spec.clone()));
            assert!(answer.status != 201, "{spec:#} is let through: {:?}", answer.warnings);
            answer.expect_denied("BaselineWeakened");
        }
    }
    // A policy that names its peers is allowed.
    let narrow = from(json!([{ "podSelector": { "matchLabels": { "app": "web" } } }]));
    alice.create(&policies, &policy("narrow", narrow)).expect_ok();
    assert!(is_isolated(&admin(bed), "tenant-closed"));
}

fn beside_an_exception_that_has_ended_an_admin_of_a_namespace_opens_nothing() {
    let everything = json!({ "podSelector": {}, "ingress": [{}] });
    // In one world the policy is quarantined at the end of its exception. In the other it stays, and so does its hole.
    for (bed, is_closed) in [(&World::shared().bed, true), (&reporting().bed, false)] {
        let alice = alice_in(bed, "tenant-beside");
        let policies = format!("{POLICIES}/tenant-beside/networkpolicies");
        let opens = || alice.create(&policies, &policy("opens", everything.clone()));
        let mut excused = policy("excused", everything.clone());
        excused["metadata"]["annotations"] =
            json!({ "ringfence.dev/exception-reason": "so", "ringfence.dev/exception-until": in_seconds(3600) });
        admin(bed).create(&policies, &excused).expect_ok();
        opens().expect_denied("BaselineWeakened");
        let exception = ["networkpolicy", "excused", "-n", "tenant-beside"];
        let until = end_soon(bed, &exception, "ringfence.dev/exception-until");
        let until: jiff::Timestamp = until.parse().unwrap();
        // Tried all the time, also between the end and the quarantine.
        let excused = format!("{policies}/excused");
        eventually("the exception has ended, and its policy is quarantined or reported", || {
            opens().expect_denied("BaselineWeakened");
            let rules = &admin(bed).get(&excused)["spec"]["ingress"];
            let is_over = if is_closed { rules.is_null() } else { !is_isolated(&admin(bed), "tenant-beside") };
            assert!(!is_over || jiff::Timestamp::now() >= until, "it ended before its time");
            is_over
        });
        opens().expect_denied("BaselineWeakened");
        // She can't renew the exception either.
        let renewed = json!({ "metadata": { "annotations": { "ringfence.dev/exception-until": in_seconds(3600) } } });
        alice.patch(&excused, MERGE, &renewed).expect_denied("NotPermitted");
        let rules = json!({ "spec": { "ingress": [{}, {}] } });
        if is_closed {
            alice.patch(&excused, MERGE, &rules).expect_denied("BaselineWeakened");
            assert!(is_isolated(&admin(bed), "tenant-beside"));
        } else {
            assert_eq!(admin(bed).get(&excused)["spec"]["ingress"], json!([{}]));
        }
    }
}

/// Nine pigeons for eight holes. A policy puts one pigeon into one hole: it selects pods with a label for both, and lets in the
/// pigeon's block. Only the blocks of all nine pigeons are a hole of the profile, and no pod can have all nine; but that takes a
/// search through most of the ways to place them.
fn pigeons_in_holes() -> Vec<Value> {
    const PIGEONS: usize = 9;
    let places = (0..PIGEONS).flat_map(|pigeon| (1..PIGEONS).map(move |hole| (pigeon, hole)));
    let in_place = |(pigeon, hole): (usize, usize)| {
        // Eight of these are as much as the profile lets a policy have.
        let block = format!("{}.{}.0.0/10", 20 + pigeon / 4, pigeon % 4 * 64);
        let mut spec = from(json!([{ "ipBlock": { "cidr": block } }]));
        spec["podSelector"] = json!({ "matchLabels": {
            (format!("hole-of-{pigeon}")): hole.to_string(), (format!("pigeon-in-{hole}")): pigeon.to_string(),
        } });
        policy(&format!("pigeon-{pigeon}-in-{hole}"), spec)
    };
    places.map(in_place).collect()
}

fn case_75_beside_policies_too_complex_to_judge_a_deletion_passes_and_a_creation_says_so() {
    let bed = &reporting().bed;
    let alice = alice_in(bed, "tenant-complex");
    let policies = format!("{POLICIES}/tenant-complex/networkpolicies");
    let mut stored = pigeons_in_holes();
    let last = stored.pop().unwrap();
    let controller = Asker::impersonating(bed, CONTROLLER);
    for policy in &stored {
        controller.create(&policies, policy).expect_ok();
    }
    eventually("a creation can't be judged any more", || {
        let refused = alice.create(&format!("{policies}?dryRun=All"), &last);
        refused.status != 201 && refused.expect_denied("BaselineWeakened").contains("too complex to judge")
    });
    // The message does not claim that the policy opens something.
    let refused = alice.create(&policies, &last);
    let message = refused.expect_denied("BaselineWeakened");
    assert!(message.contains("it is too complex to judge for ingress") && !message.contains("opens"), "{message}");
    // The deny-all isolates every pod, so that no deletion beside it takes coverage away.
    for policy in &stored[..3] {
        let path = format!("{policies}/{}", policy["metadata"]["name"].as_str().unwrap());
        alice.delete(&path, &Value::Null).expect_ok();
    }
    alice.delete(&format!("{policies}/default-deny-all"), &Value::Null).expect_denied("ManagedPolicy");
}

fn an_admin_of_a_namespace_gives_itself_no_permission_to_deviate() {
    let bed = &World::shared().bed;
    let alice = alice_in(bed, "tenant-permits");
    let policies = format!("{POLICIES}/tenant-permits/networkpolicies");
    let mut excused = policy("opens", json!({ "podSelector": {}, "ingress": [{}] }));
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    excused["metadata"]["annotations"] = json!({
        "ringfence.dev/exception-reason": "so", "ringfence.dev/exception-until": until.to_string(),
    });
    alice.create(&policies, &excused).expect_denied("NotPermitted");
    // RBAC lets nobody grant what they do not have, and the admin role must not come to have it by aggregation.
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/tenant-permits";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "deviates" },
        "rules": [{ "apiGroups": ["ringfence.dev"], "resources": ["exceptions", "modes", "profiles"], "verbs": ["use"] }],
    });
    alice.create(&format!("{roles}/roles"), &role).expect_forbidden();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "deviates" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ringfence-deviate" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice" }],
    });
    alice.create(&format!("{roles}/rolebindings"), &binding).expect_forbidden();
    // An account of hers that is called like Ringfence's is not Ringfence's.
    bed.kubectl_with(ALICE, &["create", "serviceaccount", "ringfence", "-n", "tenant-permits"]).expect_ok();
    bed.kubectl_with(
        ALICE,
        &[
            "create",
            "rolebinding",
            "ringfence",
            "-n",
            "tenant-permits",
            "--clusterrole=admin",
            "--serviceaccount=tenant-permits:ringfence",
        ],
    )
    .expect_ok();
    let as_it = "--as=system:serviceaccount:tenant-permits:ringfence";
    let delete = ["delete", "networkpolicy", "default-deny-all", "-n", "tenant-permits"];
    eventually("the account is refused by Ringfence, not by RBAC", || {
        bed.kubectl_with(ALICE, &[&delete[..], &[as_it]].concat()).expect_error().contains("ManagedPolicy")
    });
    for other in ["ringfence-system:ringfence", "kube-system:namespace-controller"] {
        let other = format!("--as=system:serviceaccount:{other}");
        let refused = bed.kubectl_with(ALICE, &[&delete[..], &[&other]].concat()).expect_error();
        assert!(refused.contains("cannot impersonate"), "{refused}");
    }
    // Granted one exception by name, she has that one.
    let mut granted = role.clone();
    granted["rules"][0]["resources"] = json!(["exceptions"]);
    granted["rules"][0]["resourceNames"] = json!(["opens"]);
    admin(bed).create(&format!("{roles}/roles"), &granted).expect_ok();
    let binding = ["create", "rolebinding", "deviates", "-n", "tenant-permits", "--role=deviates", "--user=alice"];
    bed.kubectl(&binding).expect_ok();
    eventually("the right is known", || alice.create(&policies, &excused).status == 201);
    excused["metadata"]["name"] = json!("opens-more");
    alice.create(&policies, &excused).expect_denied("NotPermitted");
    assert!(is_isolated(&admin(bed), "tenant-permits"));
}

fn no_owner_has_the_garbage_collector_delete_the_baseline() {
    let bed = &World::shared().bed;
    let admin = admin(bed);
    // A deny-all that is somebody else's, and that belongs to something that is not there: the collector wants it gone.
    let mut object = namespace("collected");
    object["metadata"]["labels"] = json!({ "ringfence.dev/profile": "deny-all", "ringfence.dev/mode": "warn" });
    admin.create("/api/v1/namespaces", &object).expect_ok();
    let policies = format!("{POLICIES}/collected/networkpolicies");
    admin.create(&policies, &deny_all("default-deny-all")).expect_ok();
    until_policies_are_known(&admin, &policies);
    let enforce = json!({ "metadata": { "labels": { "ringfence.dev/mode": "enforce" } } });
    admin.patch("/api/v1/namespaces/collected", MERGE, &enforce).expect_ok();
    eventually("the namespace is isolated", || is_isolated(&admin, "collected"));
    let path = format!("{policies}/default-deny-all");
    let mark = bed.audit_mark();
    let gone = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "6b8cf2c6-0000-4000-8000-000000000000" }]);
    let planted = admin.patch(&path, MERGE, &json!({ "metadata": { "ownerReferences": gone } })).expect_ok();
    eventually("the garbage collector has tried, and was refused", || {
        let tried = bed.audit_since(&mark).into_iter().filter(|event| {
            event.verb == "delete"
                && event.namespace == "collected"
                && event.user.ends_with(":generic-garbage-collector")
        });
        let codes: Vec<u64> = tried.map(|event| event.code).collect();
        assert!(codes.iter().all(|code| *code >= 400), "{codes:?}");
        codes.contains(&403)
    });
    assert_eq!(admin.get(&path)["metadata"]["uid"], planted["metadata"]["uid"]);
    assert!(is_isolated(&admin, "collected"));
    // It gives up once the owner is taken away again, which is no change for the worse.
    admin.patch(&path, MERGE, &json!({ "metadata": { "ownerReferences": null } })).expect_ok();
}
