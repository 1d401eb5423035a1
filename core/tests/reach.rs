//! Who can reach whom, in cases that people ask about. What holds of every cluster is in `properties.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ringfence_core::inventory::{Inventory, Written, workload};
use ringfence_core::policy::parse::{Source, noted};
use ringfence_core::policy::ports::Protocol;
use ringfence_core::policy::reach::{Answer, Diff, Endpoint, Matrix, Member, Port, Unresolved, connect};
use serde_json::{Value, json};

fn add_workload(inventory: &mut Inventory, namespace: &str, name: &str, ports: &Value) {
    let pod = json!({ "metadata": { "labels": { "app": name } }, "spec": { "containers": [{ "ports": ports }] } });
    let object = json!({ "metadata": { "name": name }, "spec": { "template": pod } });
    let workload = workload::read("Deployment", &object).unwrap().unwrap();
    inventory.namespace_mut(namespace).workloads.push(workload);
}

fn add_policy(inventory: &mut Inventory, namespace: &str, name: &str, spec: &Value) {
    let (policy, notes) = noted(json!({ "metadata": { "name": name }, "spec": spec }), Source::File).unwrap();
    inventory.namespace_mut(namespace).policies.push(Written { policy, notes });
}

fn label(inventory: &mut Inventory, namespace: &str, env: &str) {
    inventory.namespace_mut(namespace).state(namespace, [("env".to_owned(), env.to_owned())].into());
}

/// A database that lets in app=web of the namespaces with env=production, on its port `sql`.
fn database() -> Inventory {
    let mut inventory = Inventory::default();
    add_workload(&mut inventory, "backend", "db", &json!([{ "name": "sql", "containerPort": 5432 }]));
    add_policy(
        &mut inventory,
        "backend",
        "db",
        &json!({
            "podSelector": { "matchLabels": { "app": "db" } },
            "ingress": [{
                "from": [{
                    "namespaceSelector": { "matchLabels": { "env": "production" } },
                    "podSelector": { "matchLabels": { "app": "web" } },
                }],
                "ports": [{ "port": "sql" }],
            }],
        }),
    );
    inventory
}

fn endpoint<'a>(inventory: &'a Inventory, namespace: &str, name: &str) -> Endpoint<'a> {
    let (namespace, of) = inventory.namespaces.get_key_value(namespace).unwrap();
    let workload = of.workloads.iter().find(|workload| workload.name == name).unwrap();
    Endpoint::Workload(Member { namespace, workload })
}

fn ask(inventory: &Inventory, from: &str, port: &Port) -> Answer {
    connect(inventory, &endpoint(inventory, "frontend", from), &endpoint(inventory, "backend", "db"), port).unwrap()
}

fn misses(answer: &Answer) -> Vec<String> {
    answer.ingress.nearest.iter().flat_map(|nearest| &nearest.misses).map(ToString::to_string).collect()
}

#[test]
fn the_nearest_rule_says_each_label_and_port_that_is_missing() {
    let mut inventory = database();
    add_workload(&mut inventory, "frontend", "proxy", &json!([]));
    add_workload(&mut inventory, "frontend", "web", &json!([]));
    let answer = ask(&inventory, "proxy", &Port::Number(Protocol::Tcp, 80));
    assert!(!answer.allowed);
    assert_eq!(misses(&answer), ["namespace label env=production", "label app=web", "port TCP/sql"]);
    label(&mut inventory, "frontend", "production");
    assert_eq!(misses(&ask(&inventory, "web", &Port::Number(Protocol::Udp, 5432))), ["port TCP/sql"]);
    assert!(ask(&inventory, "web", &Port::Named(None, "sql".to_owned())).allowed);
}

#[test]
fn of_rules_that_miss_as_much_the_first_is_told() {
    let mut inventory = database();
    add_workload(&mut inventory, "frontend", "web", &json!([]));
    label(&mut inventory, "frontend", "production");
    let rule = json!({ "ports": [{ "port": 1 }] });
    add_policy(&mut inventory, "backend", "another", &json!({ "ingress": [rule, rule] }));
    let answer = ask(&inventory, "web", &Port::Number(Protocol::Tcp, 80));
    assert_eq!(answer.ingress.policies, ["another", "db"]);
    let place = answer.ingress.nearest.unwrap().place;
    assert_eq!((place.policy.as_str(), place.path.as_str()), ("another", "spec.ingress[0]"));
}

#[test]
fn of_rules_that_miss_the_port_one_of_its_protocol_is_nearer() {
    let mut inventory = database();
    add_workload(&mut inventory, "frontend", "web", &json!([]));
    let tcp = json!({ "ports": [{ "protocol": "TCP" }] });
    let udp = json!({ "ports": [{ "protocol": "UDP", "port": 79, "endPort": 80 }] });
    add_policy(&mut inventory, "backend", "another", &json!({ "ingress": [tcp, udp] }));
    let nearest = |port| ask(&inventory, "web", &port).ingress.nearest.unwrap();
    let to_udp = nearest(Port::Number(Protocol::Udp, 81));
    assert_eq!(
        (to_udp.place.path.as_str(), to_udp.misses[0].to_string()),
        ("spec.ingress[1]", "port UDP/79-80".to_owned())
    );
    // Neither is of SCTP, and the first is told.
    assert_eq!(nearest(Port::Number(Protocol::Sctp, 81)).place.path, "spec.ingress[0]");
}

#[test]
fn a_label_that_must_not_be_there_is_said_to_be_what_the_pod_is_without() {
    for (operator, values, said) in [
        ("DoesNotExist", vec![], "a pod without the label app"),
        ("NotIn", vec!["web", "api"], "a pod whose label app is not in (api, web)"),
        ("In", vec!["db", "api"], "label app in (api, db)"),
    ] {
        let mut inventory = database();
        add_workload(&mut inventory, "frontend", "web", &json!([]));
        inventory.namespace_mut("backend").policies.clear();
        let mut requirement = json!({ "key": "app", "operator": operator });
        if !values.is_empty() {
            requirement["values"] = json!(values);
        }
        let peer = json!({ "namespaceSelector": {}, "podSelector": { "matchExpressions": [requirement] } });
        add_policy(&mut inventory, "backend", "p", &json!({ "ingress": [{ "from": [peer] }] }));
        assert_eq!(misses(&ask(&inventory, "web", &Port::Number(Protocol::Tcp, 80))), [said]);
    }
    let mut inventory = database();
    add_workload(&mut inventory, "frontend", "web", &json!([]));
    inventory.namespace_mut("backend").policies.clear();
    let peer = json!({ "namespaceSelector": { "matchExpressions": [{ "key": "team", "operator": "Exists" }] } });
    add_policy(&mut inventory, "backend", "p", &json!({ "ingress": [{ "from": [peer] }] }));
    assert_eq!(
        misses(&ask(&inventory, "web", &Port::Number(Protocol::Tcp, 80))),
        ["namespace label team, with any value"]
    );
}

#[test]
fn a_name_that_stands_for_no_port_or_for_several_is_an_error_that_says_what_there_is() {
    let mut inventory = database();
    let ports =
        json!([{ "name": "dns", "containerPort": 53 }, { "name": "dns", "protocol": "UDP", "containerPort": 53 }]);
    add_workload(&mut inventory, "backend", "dns", &ports);
    let from = Endpoint::Address("192.0.2.1".parse().unwrap());
    let to = endpoint(&inventory, "backend", "dns");
    let named = |protocol, name: &str| Port::Named(protocol, name.to_owned());
    let several = connect(&inventory, &from, &to, &named(None, "dns")).unwrap_err();
    assert!(several.to_string().ends_with("TCP/53, UDP/53; give the number of one"), "{several}");
    assert_eq!(connect(&inventory, &from, &to, &named(Some(Protocol::Udp), "dns")).unwrap().number, 53);
    let unknown = connect(&inventory, &from, &to, &named(None, "http")).unwrap_err();
    assert!(unknown.to_string().ends_with("; it has dns"), "{unknown}");
    let address = connect(&inventory, &to, &from, &named(None, "dns")).unwrap_err();
    assert_eq!(address, Unresolved::Address("dns".to_owned()));
}

#[test]
fn a_name_stands_for_nothing_at_a_pod_with_its_nodes_network_since_it_is_an_address() {
    let mut inventory = Inventory::default();
    add_workload(&mut inventory, "frontend", "web", &json!([]));
    let rule = json!({ "ports": [{ "port": "metrics" }] });
    add_policy(&mut inventory, "frontend", "web", &json!({ "policyTypes": ["Egress"], "egress": [rule] }));
    add_workload(&mut inventory, "backend", "db", &json!([{ "name": "metrics", "containerPort": 9100 }]));
    let port = Port::Named(None, "metrics".to_owned());
    assert!(ask(&inventory, "web", &port).allowed);
    let to_db = |inventory: &Inventory| {
        Matrix::new(inventory).connections().filter(|c| c.to.to_string() == "backend/Deployment/db").count()
    };
    // From the web, and from itself, IPv4 and IPv6.
    assert_eq!(to_db(&inventory), 4);
    inventory.namespace_mut("backend").workloads[0].host_network = true;
    let answer = ask(&inventory, "web", &port);
    assert!(!answer.allowed && answer.ingress.host_network && !answer.ingress.isolated);
    assert_eq!(to_db(&inventory), 3);
}

fn exposures(before: &Inventory, after: &Inventory) -> Vec<String> {
    let (before, after) = (Matrix::new(before), Matrix::new(after));
    let diff = Diff::new(&before, &after);
    let exposures = diff.changes().filter(|change| change.exposure);
    exposures.map(|change| format!("{} -> {}: {}", change.from, change.to, change.ports)).collect()
}

#[test]
fn a_new_workload_that_was_let_in_before_it_came_exposes_nobody() {
    let mut before = database();
    label(&mut before, "frontend", "production");
    add_policy(&mut before, "frontend", "deny", &json!({}));
    let mut after = before.clone();
    add_workload(&mut after, "frontend", "web", &json!([]));
    assert_eq!(exposures(&before, &after), Vec::<String>::new());
}

#[test]
fn a_new_workload_that_is_let_in_by_a_label_which_its_namespace_gets_with_it_exposes_whoever_goes_by_the_label() {
    let mut before = database();
    label(&mut before, "frontend", "test");
    add_policy(&mut before, "frontend", "deny", &json!({}));
    let mut after = before.clone();
    label(&mut after, "frontend", "production");
    add_workload(&mut after, "frontend", "web", &json!([]));
    assert_eq!(exposures(&before, &after), ["frontend/Deployment/web -> backend/Deployment/db: TCP/5432"]);
}

#[test]
fn a_new_namespace_with_the_label_that_was_always_let_in_exposes_nobody() {
    let before = database();
    let mut after = before.clone();
    label(&mut after, "frontend", "production");
    add_policy(&mut after, "frontend", "deny", &json!({}));
    add_workload(&mut after, "frontend", "web", &json!([]));
    assert_eq!(exposures(&before, &after), Vec::<String>::new());
}

#[test]
fn a_new_workload_for_which_a_database_is_opened_exposes_it() {
    let mut before = database();
    add_policy(&mut before, "frontend", "deny", &json!({}));
    let mut after = before.clone();
    add_workload(&mut after, "frontend", "batch", &json!([]));
    let peer = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "frontend" } } });
    add_policy(&mut after, "backend", "more", &json!({ "ingress": [{ "from": [peer], "ports": [{ "port": 5432 }] }] }));
    assert_eq!(exposures(&before, &after), ["frontend/Deployment/batch -> backend/Deployment/db: TCP/5432"]);
}

#[test]
fn a_new_workload_that_nothing_isolates_is_exposed_to_other_namespaces_and_the_world() {
    let before = database();
    let mut after = before.clone();
    add_workload(&mut after, "frontend", "web", &json!([]));
    let found = exposures(&before, &after);
    assert_eq!(
        found,
        [
            "backend/Deployment/db -> frontend/Deployment/web: *",
            "0.0.0.0/0 -> frontend/Deployment/web: *",
            "::/0 -> frontend/Deployment/web: *",
        ]
    );
}
