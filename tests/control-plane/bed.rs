//! The bed itself: what tests on it rely on.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::harness::{ADMIN, ALICE, Bed, Options, PATIENCE, Replica, Shared, World, eventually, eventually_some};

crate::tests![
    the_programs_are_those_of_the_go_module,
    a_held_pod_stays_held_and_a_lifted_one_gets_a_node,
    a_bound_pod_and_its_namespace_end_when_a_kubelet_says_so,
    deployments_become_available_with_a_kubelet,
    two_api_servers_see_each_other_s_writes,
    an_api_server_comes_back_on_its_port_after_each_way_to_lose_it,
    the_audit_log_and_the_counters_say_who_did_what,
    a_user_has_the_rights_that_were_granted_and_no_others,
    a_service_account_s_token_is_accepted_by_both_api_servers,
    a_front_forwards_stalls_and_refuses,
    the_webhooks_of_the_chart_reach_the_front_by_their_service,
    ringfence_runs_on_it_with_the_chart_s_own_service_account,
    replicas_stand_behind_the_service_and_may_reach_an_api_server_through_a_front,
];

/// With two API servers and all else: for the tests here that break nothing.
fn bed() -> &'static Bed {
    static BED: Shared<Bed> = Shared::new(|| {
        let bed = Bed::start(&Options::highly_available());
        bed.add_nodes(2);
        bed
    });
    BED.get()
}

fn held_pod(namespace: &str, name: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "schedulingGates": [{ "name": "example.com/held" }],
            "containers": [{ "name": "app", "image": "example.com/app" }],
        },
    })
    .to_string()
}

fn create_namespace(bed: &Bed, name: &str) {
    bed.kubectl(&["create", "namespace", name]).expect_ok();
}

fn get(bed: &Bed, namespace: &str, what: &str, path: &str) -> String {
    bed.kubectl(&["get", what, "-n", namespace, "-o", &format!("jsonpath={path}")]).expect_ok()
}

fn the_programs_are_those_of_the_go_module() {
    let go_mod = include_str!("go.mod");
    let wanted = go_mod.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v")).unwrap();
    let wanted = format!("v{}", wanted.split(' ').next().unwrap());
    let said: Value = serde_json::from_str(&bed().kubectl(&["version", "-o", "json"]).expect_ok()).unwrap();
    assert_eq!(said["clientVersion"]["gitVersion"], wanted);
    assert_eq!(said["serverVersion"]["gitVersion"], wanted);
    assert!(bed().helm(&["version", "--short"]).expect_ok().starts_with("v4."));
}

fn a_held_pod_stays_held_and_a_lifted_one_gets_a_node() {
    create_namespace(bed(), "held");
    bed().apply(&held_pod("held", "waits"));
    bed().apply(&held_pod("held", "goes"));
    eventually("both are seen by the scheduler", || {
        get(bed(), "held", "pods", "{.items[*].status.conditions[0].reason}") == "SchedulingGated SchedulingGated"
    });
    let lift = r#"[{"op": "remove", "path": "/spec/schedulingGates"}]"#;
    bed().kubectl(&["patch", "pod", "goes", "-n", "held", "--type=json", "-p", lift]).expect_ok();
    eventually("the lifted one has a node", || !get(bed(), "held", "pod/goes", "{.spec.nodeName}").is_empty());
    assert_eq!(get(bed(), "held", "pod/waits", "{.spec.nodeName}"), "");
    assert_eq!(get(bed(), "held", "pod/waits", "{.status.conditions[0].reason}"), "SchedulingGated");
}

fn a_bound_pod_and_its_namespace_end_when_a_kubelet_says_so() {
    create_namespace(bed(), "ending");
    let mut pod: Value = serde_json::from_str(&held_pod("ending", "bound")).unwrap();
    pod["spec"].as_object_mut().unwrap().remove("schedulingGates");
    bed().apply(&pod.to_string());
    pod["metadata"]["name"] = json!("done");
    bed().apply(&pod.to_string());
    eventually("both have a node", || {
        get(bed(), "ending", "pods", "{.items[*].spec.nodeName}").split(' ').count() == 2
    });
    bed().succeed("ending", "done");
    assert_eq!(get(bed(), "ending", "pod/done", "{.status.phase}"), "Succeeded");
    bed().kubectl(&["delete", "namespace", "ending", "--wait=false"]).expect_ok();
    eventually("the namespace is gone", || {
        bed().finish_deletions();
        !bed().kubectl(&["get", "namespace", "ending"]).ok
    });
}

fn deployments_become_available_with_a_kubelet() {
    let bed = Bed::start(&Options::whole());
    bed.add_nodes(1);
    let _kubelet = bed.play_kubelet();
    create_namespace(&bed, "apps");
    bed.kubectl(&["create", "deployment", "app", "-n", "apps", "--image=example.com/app", "--replicas=3"]).expect_ok();
    bed.kubectl(&["wait", "deployment/app", "-n", "apps", "--for=condition=Available", "--timeout=60s"]).expect_ok();
    bed.kubectl(&["delete", "namespace", "apps", "--timeout=60s"]).expect_ok();
}

fn two_api_servers_see_each_other_s_writes() {
    let maps = [0, 1].map(|server| Api::<ConfigMap>::namespaced(bed().client(server), "default"));
    for (writer, reader) in [(0, 1), (1, 0)] {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(format!("written-by-{writer}"));
        let written = bed().run(maps[writer].create(&PostParams::default(), &map)).unwrap();
        let read = bed().run(maps[reader].get(&format!("written-by-{writer}"))).unwrap();
        assert_eq!(written, read);
    }
}

fn an_api_server_comes_back_on_its_port_after_each_way_to_lose_it() {
    let bed = Bed::start(&Options { api_servers: 2, ..Options::default() });
    let version = |server| bed.run(bed.client(server).apiserver_version());
    let lost = bed.server(1);
    lost.stop();
    assert!(version(1).is_err());
    version(0).unwrap();
    lost.start();
    version(1).unwrap();
    lost.kill();
    assert!(version(1).is_err());
    lost.start();
    version(1).unwrap();
    lost.pause();
    let paused = bed.client(1);
    bed.run(async {
        tokio::time::timeout(Duration::from_secs(1), paused.apiserver_version()).await.expect_err("it does not answer");
    });
    lost.resume();
    version(1).unwrap();
}

fn the_audit_log_and_the_counters_say_who_did_what() {
    let labels = [("verb", "POST"), ("resource", "configmaps"), ("code", "201")];
    let made = || bed().counters(0).sum("apiserver_request_total", &labels);
    let (before, mark) = (made(), bed().audit_mark());
    bed().kubectl(&["create", "configmap", "counted", "-n", "default"]).expect_ok();
    bed()
        .kubectl(&["create", "configmap", "as-other", "-n", "default", "--as=jane", "--as-group=system:masters"])
        .expect_ok();
    let of = |name: &'static str| {
        eventually_some("the event is logged", || {
            bed().audit_since(&mark).into_iter().find(|event| event.verb == "create" && event.name == name)
        })
    };
    let event = of("counted");
    let said =
        (event.user.as_str(), event.resource.as_str(), event.namespace.as_str(), event.code, event.stage.as_str());
    assert_eq!(said, ("admin", "configmaps", "default", 201, "ResponseComplete"));
    assert_eq!((event.server, event.impersonated), (0, None));
    assert!(event.annotations["authorization.k8s.io/decision"] == "allow");
    assert!(event.user_agent.starts_with("kubectl/"));
    assert_eq!(of("as-other").impersonated.as_deref(), Some("jane"));
    assert!(made() >= before + 2.0);
    let earlier = bed().audit_since(&bed().audit_mark());
    assert!(earlier.iter().all(|event| event.name != "counted"));
}

fn a_user_has_the_rights_that_were_granted_and_no_others() {
    create_namespace(bed(), "granted");
    let create = ["create", "configmap", "hers", "-n", "granted"];
    let refused = bed().kubectl_with(ALICE, &create).expect_error();
    assert!(refused.contains("User \"alice\" cannot create resource \"configmaps\""), "{refused}");
    bed()
        .kubectl(&["create", "rolebinding", "tenants", "-n", "granted", "--clusterrole=edit", "--group=tenants"])
        .expect_ok();
    eventually("the right is known", || bed().kubectl_with(ALICE, &create).ok);
    eventually("so it is by the other API server", || {
        bed().kubectl_at(1, ALICE, &["get", "configmap", "hers", "-n", "granted"], "").ok
    });
    bed().kubectl_with(ALICE, &["get", "nodes"]).expect_error();
    bed().kubectl_with(ADMIN, &["get", "nodes"]).expect_ok();
}

fn a_service_account_s_token_is_accepted_by_both_api_servers() {
    let token = bed().kubectl(&["create", "token", "default", "-n", "default"]).expect_ok();
    for server in [0, 1] {
        let config = bed().kubeconfig_for(&format!("account-{server}"), &bed().server(server).url(), token.trim());
        let who = bed().kubectl(&["--kubeconfig", &config.to_string_lossy(), "auth", "whoami"]).expect_ok();
        assert!(who.contains("system:serviceaccount:default:default"), "{who}");
    }
}

fn a_front_forwards_stalls_and_refuses() {
    let front = bed().front(&[bed().server(0).address(), bed().server(1).address()]);
    let ask = |patience| {
        let client = bed().client_at(&front.url(), &crate::harness::token_of(ADMIN));
        bed().run(async { tokio::time::timeout(patience, client.apiserver_version()).await })
    };
    ask(PATIENCE).unwrap().unwrap();
    assert_eq!(front.accepted(), 1);
    front.stall();
    ask(Duration::from_secs(2)).expect_err("nothing is forwarded");
    front.resume();
    ask(PATIENCE).unwrap().unwrap();
    front.refuse();
    ask(PATIENCE).unwrap().expect_err("the connection is refused");
    front.resume();
    ask(PATIENCE).unwrap().unwrap();
    front.point_at(&[]);
    ask(PATIENCE).unwrap().expect_err("the connection is closed");
}

fn the_webhooks_of_the_chart_reach_the_front_by_their_service() {
    let bed = Bed::start(&Options { api_servers: 2, ..Options::default() });
    let installation = bed.install(&[]);
    assert!(!std::fs::read_to_string(&installation.config).unwrap().is_empty());
    let who = bed.run(bed.client_for(1, &installation.token).apiserver_version());
    who.expect("the account's token is one");
    // The leader makes the webhooks; it is not behind the Service.
    let _leader = bed.start_ringfence(&installation, &Replica { wait: false, ..Replica::default() });
    for server in [0, 1] {
        let before = installation.front.accepted();
        // Nothing answers there yet; what counts is that the question came.
        eventually("the API server asks", || {
            bed.kubectl_at(server, ADMIN, &["create", "namespace", &format!("asked-{server}")], "");
            installation.front.accepted() > before
        });
    }
}

fn ringfence_runs_on_it_with_the_chart_s_own_service_account() {
    let World { bed, installation, .. } = World::shared();
    let mark = bed.audit_mark();
    create_namespace(bed, "served");
    assert!(installation.front.accepted() > 0, "the API server asked nobody");
    eventually("the namespace is isolated", || {
        !get(bed, "served", "namespace/served", r"{.metadata.labels.ringfence\.dev/isolated}").is_empty()
    });
    let account = "system:serviceaccount:ringfence-system:ringfence";
    eventually("its writes are logged", || {
        bed.audit_since(&mark).iter().any(|event| event.user == account && event.namespace == "served")
    });
    // By RBAC, that is: admission refuses it a thing now and then, such as an Event in a namespace that ends.
    let mut forbidden = bed.audit();
    forbidden.retain(|event| {
        let decision = event.annotations.get("authorization.k8s.io/decision");
        event.user == account && decision.is_some_and(|decision| decision == "forbid")
    });
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

fn replicas_stand_behind_the_service_and_may_reach_an_api_server_through_a_front() {
    let bed = Bed::start(&Options { api_servers: 2, ..Options::default() });
    let installation = bed.install(&[("replicas", "2")]);
    assert_eq!(get(&bed, "ringfence-system", "deployment/ringfence", "{.spec.replicas}"), "2");
    let one = bed.start_ringfence(&installation, &Replica::named("one"));
    let front = bed.front(&[bed.server(1).address()]);
    let via = Some(front.url());
    let two = bed.start_ringfence(&installation, &Replica { via, ..Replica::named("two") });
    assert!(front.accepted() > 0);
    bed.kubectl_at(1, ADMIN, &["create", "namespace", "by-either"], "").expect_ok();
    let decided = two.counters().unwrap();
    drop(one);
    eventually("the other one answers alone", || {
        bed.kubectl_at(1, ADMIN, &["create", "namespace", "by-the-other"], "").ok
    });
    let decided_now = two.counters().unwrap();
    let reviews = "ringfence_admission_reviews_total";
    assert!(decided_now.sum(reviews, &[]) > decided.sum(reviews, &[]));
    assert_eq!(two.stop(), Some(0));
}
