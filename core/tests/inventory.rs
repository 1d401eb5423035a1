//! What is read of objects besides policies: workloads, and what they and others say of the cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail like this, also in its helpers"
)]

use std::net::IpAddr;

use ringfence_core::inventory::{Called, Cni, ContainerPort, Inventory, Plugin, Port, Resolver, Workload, workload};
use ringfence_core::object::Suppression;
use ringfence_core::policy::ports::Protocol;
use rstest::rstest;
use serde_json::{Value, json};

fn read(kind: &str, object: &Value) -> Workload {
    workload::read(kind, object).unwrap().unwrap()
}

fn error(kind: &str, object: &Value) -> String {
    workload::read(kind, object).unwrap_err().to_string()
}

fn pod() -> Value {
    json!({
        "metadata": { "labels": { "app": "web", "empty": null }, "annotations": { "prometheus.io/scrape": "true" } },
        "spec": {
            "serviceAccountName": "web",
            "automountServiceAccountToken": false,
            "hostNetwork": true,
            "containers": [{ "name": "web", "ports": [{ "name": "http", "containerPort": 80 }] }],
        },
    })
}

#[rstest]
#[case::pod("Pod", pod())]
#[case::replication_controller("ReplicationController", json!({ "spec": { "template": pod() } }))]
#[case::deployment("Deployment", json!({ "spec": { "template": pod() } }))]
#[case::stateful_set("StatefulSet", json!({ "spec": { "template": pod() } }))]
#[case::daemon_set("DaemonSet", json!({ "spec": { "template": pod() } }))]
#[case::replica_set("ReplicaSet", json!({ "spec": { "template": pod() } }))]
#[case::job("Job", json!({ "spec": { "template": pod() } }))]
#[case::cron_job("CronJob", json!({ "spec": { "jobTemplate": { "spec": { "template": pod() } } } }))]
fn every_kind_of_workload_is_seen_through_its_pod_template(#[case] kind: &str, #[case] mut object: Value) {
    object["metadata"]["name"] = json!("web");
    object["metadata"]["namespace"] = json!("shop");
    let mut workload = read(kind, &object);
    workload.labels.retain(|key, _| !key.ends_with("job-name"));
    assert_eq!(
        workload,
        Workload {
            kind: kind.to_owned(),
            name: "web".to_owned(),
            owner: None,
            labels: [("app".to_owned(), "web".to_owned()), ("empty".to_owned(), String::new())].into(),
            ports: vec![ContainerPort { name: "http".to_owned(), protocol: Protocol::Tcp, number: 80 }],
            host_network: true,
            addresses: Vec::new(),
            service_account: "web".to_owned(),
            mounts_token: Some(false),
            states_namespace: true,
            is_idle: false,
            scrape: [("scrape".to_owned(), "true".to_owned())].into(),
            suppressions: Vec::new(),
        }
    );
}

#[test]
fn labels_of_the_workload_itself_are_not_those_of_its_pods() {
    let object = json!({ "metadata": { "labels": { "app": "outer" } }, "spec": { "template": pod() } });
    assert_eq!(read("Deployment", &object).labels["app"], "web");
}

#[test]
fn sidecars_keep_running_and_other_init_containers_do_not() {
    let container = |name: &str, policy: Value| json!({ "name": name, "restartPolicy": policy, "ports": [{ "name": name, "containerPort": 9090, "protocol": "UDP" }] });
    let object = json!({ "spec": {
        "containers": [{ "name": "web" }],
        "initContainers": [container("sidecar", json!("Always")), container("setup", Value::Null)],
    } });
    let names: Vec<String> = read("Pod", &object).ports.into_iter().map(|port| port.name).collect();
    assert_eq!(names, ["sidecar"]);
}

#[test]
fn ports_that_no_policy_can_name_are_left_out() {
    let ports = json!([{ "containerPort": 0 }, { "containerPort": 53, "protocol": "QUIC" }, { "containerPort": 53, "protocol": "SCTP" }]);
    let object = json!({ "spec": { "containers": [{ "ports": ports }] } });
    let expected = ContainerPort { name: String::new(), protocol: Protocol::Sctp, number: 53 };
    assert_eq!(read("Pod", &object).ports, [expected]);
}

#[rstest]
#[case("Succeeded", false)]
#[case("Failed", false)]
#[case("Running", true)]
#[case("Pending", true)]
fn pods_that_have_ended_do_not_count(#[case] phase: &str, #[case] counts: bool) {
    let object = json!({ "metadata": { "name": "p", "resourceVersion": "7" }, "status": { "phase": phase } });
    assert_eq!(workload::read("Pod", &object).unwrap().is_some(), counts);
}

#[test]
fn a_terminating_pod_counts() {
    let object = json!({ "metadata": { "name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    assert_eq!(read("Pod", &object).name, "p");
}

#[test]
fn null_is_absent_wherever_it_stands() {
    let bare = read("Pod", &json!({}));
    assert_eq!(bare, Workload { kind: "Pod".to_owned(), ..Workload::default() });
    for object in [
        json!({ "metadata": null, "spec": null, "status": null }),
        json!({ "metadata": { "name": null, "labels": null, "annotations": null, "ownerReferences": null } }),
        json!({ "spec": { "template": null, "jobTemplate": null, "hostNetwork": null, "containers": null, "initContainers": null } }),
        json!({ "spec": { "containers": [{ "ports": null, "restartPolicy": null }], "serviceAccountName": null } }),
        json!({ "status": { "phase": null, "podIPs": null } }),
    ] {
        assert_eq!(read("Pod", &object), bare, "{object}");
    }
}

#[rstest]
#[case(json!({ "spec": { "template": { "spec": { "hostNetwork": "yes" } } } }), "spec.template.spec.hostNetwork")]
#[case(json!({ "spec": { "template": { "metadata": { "labels": ["a"] } } } }), "spec.template.metadata.labels")]
#[case(json!({ "spec": { "template": { "spec": { "containers": [{ "ports": [{ "containerPort": 70000 }] }] } } } }), "spec.template.spec.containers[0].ports[0].containerPort")]
#[case(json!({ "spec": { "template": [] } }), "spec.template")]
#[case(json!({ "metadata": { "ownerReferences": {} } }), "metadata.ownerReferences")]
fn what_is_malformed_names_its_field(#[case] object: Value, #[case] path: &str) {
    let error = error("Deployment", &object);
    assert!(error.starts_with(&format!("{path}: ")), "{error}");
}

#[test]
fn addresses_of_a_pod_are_known_where_its_status_has_them() {
    let object = json!({ "status": { "podIPs": [{ "ip": "10.1.0.7" }, { "ip": "fd00::7" }, { "ip": "none" }] } });
    let expected: [IpAddr; 2] = ["10.1.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    assert_eq!(read("Pod", &object).addresses, expected);
}

#[test]
fn annotations_of_a_workload_switch_lints_off() {
    let object = json!({ "metadata": { "annotations": {
        "ringfence.dev/ignore-hostnetwork-bypass": " it watches the node ",
        "ringfence.dev/ignore-apiserver-egress": null,
        "other": "x",
    } } });
    let expected = [("apiserver-egress", ""), ("hostnetwork-bypass", "it watches the node")]
        .map(|(lint, reason)| Suppression { lint: lint.to_owned(), reason: reason.to_owned() });
    assert_eq!(read("Deployment", &object).suppressions, expected);
}

#[rstest]
#[case::a_pod_that_succeeded("Pod", json!({ "phase": "Succeeded" }), false)]
#[case::a_pod_that_failed("Pod", json!({ "phase": "Failed" }), false)]
#[case::a_job_that_is_complete("Job", json!({ "conditions": [{ "type": "Complete", "status": "True" }] }), false)]
#[case::a_job_that_failed("Job", json!({ "conditions": [{ "type": "Failed", "status": "True" }] }), false)]
#[case::a_job_that_runs("Job", json!({ "conditions": [{ "type": "Failed", "status": "False" }] }), true)]
#[case::a_kind_without_a_phase("Deployment", json!({ "phase": "Failed" }), true)]
#[case::a_kind_without_that_end("Deployment", json!({ "conditions": [{ "type": "Complete", "status": "True" }] }), true)]
fn what_has_ended_does_not_count(#[case] kind: &str, #[case] status: Value, #[case] counts: bool) {
    let metadata = json!({ "name": "it", "resourceVersion": "7" });
    let read = workload::read(kind, json!({ "metadata": metadata, "status": status.clone() })).unwrap();
    assert_eq!(read.is_some(), counts);
    // Nobody but the API server knows, and it creates nothing that has a resourceVersion.
    let written_by_hand = workload::read(kind, json!({ "metadata": { "name": "it" }, "status": status })).unwrap();
    assert!(written_by_hand.is_some());
}

#[test]
fn the_pods_of_a_job_have_its_name_as_a_label_unless_it_selects_them_itself() {
    let named = |key: &str| (key.to_owned(), "migrate".to_owned());
    let job = |more: Value| read("Job", &json!({ "metadata": { "name": "migrate" }, "spec": more }));
    let labels = job(json!({ "template": {} })).labels;
    assert_eq!(labels, [named("batch.kubernetes.io/job-name"), named("job-name")].into());
    assert!(job(json!({ "manualSelector": true, "template": {} })).labels.is_empty());
    let cron_job = read("CronJob", &json!({ "metadata": { "name": "migrate" }, "spec": {} }));
    assert!(cron_job.labels.is_empty(), "the names of its Jobs are made up");
}

#[rstest]
#[case("Pod", "pod")]
#[case("Deployment", "template")]
#[case("Job", "template")]
#[case("CronJob", "job-template")]
fn labels_are_those_at_the_place_that_the_kind_has(#[case] kind: &str, #[case] expected: &str) {
    let labels = |of: &str| json!({ "labels": { "of": of } });
    let object = json!({ "metadata": labels("pod"), "spec": {
        "template": { "metadata": labels("template"), "spec": { "template": { "metadata": labels("deeper") } } },
        "jobTemplate": { "metadata": labels("job"), "spec": { "template": { "metadata": labels("job-template") } } },
    } });
    assert_eq!(read(kind, &object).labels["of"], expected);
}

#[test]
fn a_pods_only_address_counts_and_is_there_once() {
    let expected: [IpAddr; 1] = ["10.1.0.7".parse().unwrap()];
    assert_eq!(read("Pod", &json!({ "status": { "podIP": "10.1.0.7" } })).addresses, expected);
    let both = json!({ "status": { "podIP": "10.1.0.7", "podIPs": [{ "ip": "10.1.0.7" }] } });
    assert_eq!(read("Pod", &both).addresses, expected);
    assert!(read("Deployment", &both).addresses.is_empty());
}

fn add(inventory: &mut Inventory, namespace: &str, object: &Value) {
    let text = |key: &str| object[key].as_str().unwrap();
    inventory.add(text("apiVersion"), text("kind"), namespace, object).unwrap();
}

fn daemon_set(name: &str, containers: &Value) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": name }, "spec": {
        "selector": {}, "template": { "spec": { "containers": containers } } } })
}

fn recognised(name: &str, containers: &Value) -> Vec<(Cni, Option<bool>)> {
    let mut inventory = Inventory::default();
    add(&mut inventory, "kube-system", &daemon_set(name, containers));
    inventory.cluster.cni.iter().map(|plugin| (plugin.cni, plugin.enforces)).collect()
}

#[rstest]
#[case("calico-node", Cni::Calico, Some(true))]
#[case("cilium", Cni::Cilium, Some(true))]
#[case("weave-net", Cni::Weave, Some(true))]
#[case("antrea-agent", Cni::Antrea, Some(true))]
#[case("kube-router", Cni::KubeRouter, Some(true))]
#[case("ovnkube-node", Cni::OvnKubernetes, Some(true))]
#[case("kube-flannel-ds", Cni::Flannel, Some(false))]
#[case("azure-npm", Cni::AzureNpm, Some(true))]
#[case("anetd", Cni::Gke, Some(true))]
#[case::without_the_agent("aws-node", Cni::AwsVpc, Some(false))]
#[case::of_a_day_that_is_not_known("kindnet", Cni::Kindnet, None)]
fn network_plugins_are_recognised_by_their_daemon_set(
    #[case] name: &str,
    #[case] cni: Cni,
    #[case] enforces: Option<bool>,
) {
    assert_eq!(recognised(name, &json!([{ "name": "c" }])), [(cni, enforces)]);
}

#[rstest]
#[case("kube-router", json!([{ "name": "kube-router", "args": ["--run-firewall=false"] }]), Some(false))]
#[case("kube-router", json!([{ "name": "kube-router", "args": ["--run-router", "--run-firewall"] }]), Some(true))]
#[case("aws-node", json!([{ "name": "aws-node" }, { "name": "aws-eks-nodeagent", "args": ["--enable-network-policy=true"] }]), Some(true))]
#[case::argument_of_another_container("aws-node", json!([{ "name": "aws-node", "args": ["--enable-network-policy=true"] }]), Some(false))]
#[case("kindnet", json!([{ "name": "c", "image": "docker.io/kindest/kindnetd:v20240202-8f1494ea" }]), Some(false))]
#[case("kindnet", json!([{ "name": "c", "image": "docker.io/kindest/kindnetd:v20240813-c6f155d6" }]), Some(true))]
fn arguments_and_images_say_whether_a_plugin_enforces(
    #[case] name: &str,
    #[case] containers: Value,
    #[case] enforces: Option<bool>,
) {
    assert_eq!(recognised(name, &containers)[0].1, enforces);
}

#[test]
fn quantities_may_be_numbers() {
    let containers = json!([{ "name": "calico-node", "resources": { "requests": { "cpu": 1, "memory": 1.5 } } }]);
    assert_eq!(recognised("calico-node", &containers), [(Cni::Calico, Some(true))]);
}

#[test]
fn other_daemon_sets_are_no_network_plugins() {
    assert_eq!(recognised("node-exporter", &json!([{ "name": "c" }])), []);
}

#[test]
fn one_plugin_that_enforces_is_enough_and_one_of_which_it_is_not_known_leaves_it_open() {
    let enforces = |names: &[Cni]| {
        let mut inventory = Inventory::default();
        for &cni in names {
            inventory.cluster.add_plugin(Plugin::named(cni));
        }
        inventory.cluster.enforces()
    };
    assert_eq!(enforces(&[]), None);
    assert_eq!(enforces(&[Cni::Flannel]), Some(false));
    assert_eq!(enforces(&[Cni::Flannel, Cni::Calico]), Some(true));
    assert_eq!(enforces(&[Cni::Flannel, Cni::AwsVpc]), None);
}

#[rstest]
#[case("coredns", Resolver::usual())]
#[case("kube-system/k8s-app=kube-dns", Resolver::usual())]
#[case("kube-system/k8s-app=kube-dns:53", Resolver::usual())]
#[case("nodelocal", Resolver::node_local())]
#[case("169.254.20.10", Resolver::node_local())]
#[case("169.254.20.10:53", Resolver::node_local())]
#[case("gke", Resolver::gke())]
#[case("openshift", Resolver::openshift())]
#[case("openshift-dns/dns.operator.openshift.io/daemonset-dns=default:5353", Resolver::openshift())]
#[case("[fd00::a]:5353", Resolver::Address { address: "fd00::a".parse().unwrap(), port: 5353 })]
#[case("fd00::a", Resolver::Address { address: "fd00::a".parse().unwrap(), port: 53 })]
fn resolvers_are_read_and_written_alike(#[case] text: &str, #[case] resolver: Resolver) {
    assert_eq!(text.parse(), Ok(resolver.clone()));
    assert_eq!(resolver.to_string().parse(), Ok(resolver));
}

#[rstest]
#[case("")]
#[case("kube-dns")]
#[case("kube-system/")]
#[case("kube-system/k8s-app")]
#[case("/k8s-app=kube-dns")]
#[case("kube-system/k8s-app=kube-dns:0")]
#[case("kube-system/k8s-app=kube-dns:65536")]
#[case("10.0.0.0/8")]
#[case("169.254.20.10:0")]
fn what_is_no_resolver_is_refused_with_what_is_possible(#[case] text: &str) {
    let error = text.parse::<Resolver>().unwrap_err();
    assert!(error.contains("nodelocal") && error.contains("kube-system/k8s-app=kube-dns:53"), "{error}");
}

fn service(name: &str, port: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": {
        "clusterIP": "10.96.0.10", "selector": { "k8s-app": "kube-dns" }, "ports": [port] } })
}

fn resolvers(namespace: &str, port: &Value) -> Vec<String> {
    let mut inventory = Inventory::default();
    add(&mut inventory, namespace, &service("kube-dns", port));
    inventory.conclude();
    inventory.cluster.dns.iter().map(ToString::to_string).collect()
}

#[test]
fn the_service_for_dns_says_where_names_are_resolved() {
    let at = |target: Value| json!({ "port": 53, "protocol": "UDP", "targetPort": target });
    assert_eq!(resolvers("kube-system", &at(Value::Null)), ["kube-system/k8s-app=kube-dns:53"]);
    assert_eq!(resolvers("kube-system", &at(json!(1053))), ["kube-system/k8s-app=kube-dns:1053"]);
    assert_eq!(resolvers("kube-system", &at(json!("dns"))), ["kube-system/k8s-app=kube-dns:53"]);
    assert_eq!(resolvers("openshift-dns", &at(json!("dns"))), ["openshift-dns/k8s-app=kube-dns:5353"]);
    assert!(resolvers("shop", &at(json!(53))).is_empty(), "not the cluster's");
    assert!(resolvers("kube-system", &json!({ "port": 9153 })).is_empty(), "no DNS");
}

#[test]
fn what_is_known_of_the_resolvers_stays() {
    let mut inventory = Inventory::default();
    inventory.cluster.dns = vec![Resolver::gke()];
    add(&mut inventory, "kube-system", &service("kube-dns", &json!({ "port": 53, "protocol": "UDP" })));
    inventory.conclude();
    assert_eq!(inventory.cluster.dns, [Resolver::gke()]);
}

#[test]
fn networks_are_those_of_nodes_services_and_pools_each_once() {
    let mut inventory = Inventory::default();
    add(
        &mut inventory,
        "",
        &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" },
        "spec": { "podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"] },
        "status": { "addresses": [{ "type": "InternalIP", "address": "192.168.0.5" }, { "type": "Hostname", "address": "n" }, { "type": "ExternalIP", "address": "203.0.113.5" }] } }),
    );
    add(
        &mut inventory,
        "",
        &json!({ "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": ["10.96.0.0/12"] } }),
    );
    add(
        &mut inventory,
        "",
        &json!({ "apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool", "metadata": { "name": "p" },
        "spec": { "cidr": "10.1.0.0/16" } }),
    );
    // Inside of the ServiceCIDR.
    add(&mut inventory, "kube-system", &service("kube-dns", &json!({ "port": 53, "protocol": "UDP" })));
    add(
        &mut inventory,
        "shop",
        &json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "headless" }, "spec": { "clusterIP": "None" } }),
    );
    inventory.conclude();
    let networks: Vec<String> = inventory.cluster.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.1.0.0/16", "10.96.0.0/12", "192.168.0.5/32", "fd00:1::/64"]);
}

#[test]
fn a_subject_without_a_namespace_is_in_that_of_its_role_binding() {
    let mut inventory = Inventory::default();
    add(
        &mut inventory,
        "ops",
        &json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "b" }, "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r" },
        "subjects": [{ "kind": "ServiceAccount", "name": "one" }, { "kind": "ServiceAccount", "name": "two", "namespace": "other" }, { "kind": "User", "name": "jane" }] }),
    );
    let bound: Vec<(&str, &str)> =
        inventory.bound.keys().map(|(namespace, name)| (namespace.as_str(), name.as_str())).collect();
    assert_eq!(bound, [("ops", "one"), ("other", "two")]);
}

#[test]
fn a_route_to_something_else_than_a_service_calls_nobody() {
    let mut inventory = Inventory::default();
    add(
        &mut inventory,
        "shop",
        &json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "r" },
        "spec": { "rules": [{ "backendRefs": [{ "kind": "Bucket", "name": "b" }, { "name": "web", "namespace": "other", "port": 80 }] }] } }),
    );
    let [caller] = inventory.callers.as_slice() else { panic!("{:?}", inventory.callers) };
    assert_eq!(caller.called, Called::Service { namespace: "other".to_owned(), name: "web".to_owned() });
    assert_eq!(caller.ports, [Port::Number(80)]);
}

#[test]
fn what_an_add_on_serves_and_can_not_be_read_is_passed_over_and_what_the_api_serves_is_not() {
    let mut inventory = Inventory::default();
    add(
        &mut inventory,
        "shop",
        &json!({ "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": { "name": "m" }, "spec": 5 }),
    );
    assert!(inventory.callers.is_empty());
    let error = inventory.add(
        "v1",
        "Service",
        "shop",
        &json!({ "apiVersion": "v1", "kind": "Service", "spec": { "selector": 5 } }),
    );
    assert_eq!(error.unwrap_err().path(), "spec.selector");
}
