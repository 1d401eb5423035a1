//! What Ringfence must never hinder: namespaces that end, pods that end, the system's own, its own return, and its leaving.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringfence::certs::pair::Pair;
use ringfence::certs::serving::server_config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::direct::Over;
use crate::harness::process::Launch;
use crate::harness::{Bed, Options, PATIENCE, Replica, World, eventually, eventually_some};
use crate::steps::{
    apply_mutation, as_controller, conflict, create_namespace, denies_all, disturbed, get, is_held, isolated_namespace,
    labels, names, open_while_warned, opens_ingress, policies, policy, run_pod, until_bound, until_isolated, would_run,
    written,
};

crate::tests![
    case_57_a_namespace_ends_whatever_is_in_it,
    case_57_namespaces_end_while_nothing_answers_and_while_everything_fails,
    case_58_finalizers_go_while_nothing_answers,
    jobs_finish_and_pods_with_finalizers_go_on,
    the_system_s_namespaces_and_ringfence_s_own_are_left_alone,
    case_59_with_all_replicas_gone_the_system_and_ringfence_itself_come_back,
    case_60_uninstalling_leaves_nothing_behind,
    case_20_a_dry_run_has_the_same_verdict_and_no_effect,
    case_19_another_mutation_in_between_is_harmless,
    case_62_two_versions_side_by_side_give_the_same_bytes,
];

fn shared() -> &'static Bed {
    &World::shared().bed
}

/// A namespace with what could keep it: a held pod, a pod that runs, workloads, policies.
fn furnished(bed: &Bed, namespace: &str) {
    create_namespace(bed, namespace);
    until_isolated(bed, namespace);
    bed.kubectl(&["create", "deployment", "app", "-n", namespace, "--image=example.com/app", "--replicas=2"])
        .expect_ok();
    run_pod(bed, namespace, "runs");
    until_bound(bed, namespace, "runs");
    open_while_warned(bed, namespace);
    run_pod(bed, namespace, "waits");
    assert!(is_held(bed, namespace, "waits"));
}

fn finalize(bed: &Bed, namespace: &str, what: &str) {
    let finalizers = r#"{"metadata": {"finalizers": ["example.com/last-word"]}}"#;
    bed.kubectl(&["patch", what, "-n", namespace, "--type=merge", "-p", finalizers]).expect_ok();
}

fn take_finalizers_away(bed: &Bed, namespace: &str, what: &str) {
    let none = r#"{"metadata": {"finalizers": null}}"#;
    bed.kubectl(&["patch", what, "-n", namespace, "--type=merge", "-p", none]).expect_ok();
}

fn end(bed: &Bed, namespace: &str) {
    bed.kubectl(&["delete", "namespace", namespace, "--timeout=180s"]).expect_ok();
}

fn case_57_a_namespace_ends_whatever_is_in_it() {
    let bed = shared();
    furnished(bed, "ends");
    for what in ["pod/waits", "pod/runs", "networkpolicy/wide"] {
        finalize(bed, "ends", what);
    }
    // A policy of the controller's with a finalizer, which only it may add.
    let finalizers = r#"{"metadata": {"finalizers": ["example.com/last-word"]}}"#;
    let patch = ["patch", "networkpolicy", "default-deny-all", "-n", "ends", "--type=merge", "-p", finalizers];
    as_controller(bed, &patch).expect_ok();
    let mark = bed.audit_mark();
    bed.kubectl(&["delete", "namespace", "ends", "--wait=false"]).expect_ok();
    // Pods go first, and the rest waits for them: what isolates outlives what it isolates.
    eventually("both pods are being deleted", || {
        let being_deleted = |pod: &str| get(bed, "ends", pod)["metadata"]["deletionTimestamp"].is_string();
        being_deleted("pod/waits") && being_deleted("pod/runs")
    });
    for pod in ["pod/waits", "pod/runs"] {
        take_finalizers_away(bed, "ends", pod);
    }
    let finalized = ["default-deny-all", "wide"];
    eventually("only their finalizers keep two policies", || policies(bed, "ends") == finalized);
    for policy in finalized {
        take_finalizers_away(bed, "ends", &format!("networkpolicy/{policy}"));
    }
    eventually("it is gone", || get(bed, "ends", "namespace/ends").is_null());
    // Nothing was put into it again, and nothing tried.
    let created: Vec<_> = written(bed, &mark, "ends").into_iter().filter(|event| event.resource != "pods").collect();
    assert!(created.is_empty(), "{created:#?}");
}

/// A webhook that answers everything with 500.
fn failing(bed: &Bed, pair: &Pair) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let tls = Arc::new(server_config(pair, None).unwrap());
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let answering = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tokio_rustls::TlsAcceptor::from(tls.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else { return };
                let mut request = vec![0; 64 * 1024];
                let _ = stream.read(&mut request).await;
                let answer = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    };
    let runtime = bed.run(async { tokio::runtime::Handle::current() });
    (address, runtime.spawn(answering))
}

fn case_57_namespaces_end_while_nothing_answers_and_while_everything_fails() {
    let (world, _turn) = disturbed();
    let (bed, front) = (&world.bed, &world.installation.front);
    let names = ["ends-gone", "ends-refused", "ends-stalled", "ends-failing", "ends-unready"];
    for name in names {
        furnished(bed, name);
    }
    let refuses = |why: &str| {
        let said = bed.kubectl(&["create", "namespace", "refused", "--request-timeout=20s"]).expect_error();
        assert!(said.contains(why), "{said}");
    };

    front.refuse();
    refuses("connection refused");
    end(bed, "ends-refused");
    front.resume();

    front.stall();
    refuses("context deadline exceeded");
    end(bed, "ends-stalled");
    front.resume();
    front.cut();

    let (always_500, task) = failing(bed, &world.installation.pair(bed));
    front.point_at(&[always_500]);
    front.cut();
    refuses("failed calling webhook");
    end(bed, "ends-failing");
    task.abort();

    // A replica that knows nothing, since it reaches no API server, answers that it can't.
    let nowhere = bed.front(&[]);
    let unready = Replica { via: Some(nowhere.url()), wait: false, ..Replica::named("unready") };
    let unready = bed.start_ringfence(&world.installation, &unready);
    front.point_at(&[unready.address]);
    front.cut();
    end(bed, "ends-unready");
    drop(unready);

    *world.ringfence.lock().unwrap() = None;
    front.point_at(&[]);
    front.cut();
    end(bed, "ends-gone");
    *world.ringfence.lock().unwrap() = Some(bed.start_ringfence(&world.installation, &Replica::default()));
    create_namespace(bed, "after-all");
    until_isolated(bed, "after-all");
}

fn case_58_finalizers_go_while_nothing_answers() {
    let (world, _turn) = disturbed();
    let (bed, front) = (&world.bed, &world.installation.front);
    furnished(bed, "final");
    for what in ["pod/waits", "pod/runs", "networkpolicy/wide"] {
        finalize(bed, "final", what);
    }
    front.refuse();
    for what in ["pod/waits", "pod/runs"] {
        bed.kubectl(&["delete", what, "-n", "final", "--wait=false"]).expect_ok();
        // One of another name, which is added and taken away by whoever owns it.
        take_finalizers_away(bed, "final", what);
        eventually("it is gone", || get(bed, "final", what).is_null());
    }
    // To delete a policy is judged, and nobody judges; to let one go that is being deleted is not.
    let delete = ["delete", "networkpolicy", "wide", "-n", "final", "--wait=false"];
    let said = bed.kubectl(&delete).expect_error();
    assert!(said.contains("networkpolicies.ringfence.dev"), "{said}");
    as_controller(bed, &delete).expect_ok();
    take_finalizers_away(bed, "final", "networkpolicy/wide");
    assert!(get(bed, "final", "networkpolicy/wide").is_null());
    // What is in an isolated namespace goes on as if there were no webhook, once the API server has heard of that.
    until_isolated(bed, "final");
    eventually("pods are no longer judged", || {
        bed.kubectl(&["run", "asks", "-n", "final", "--image=example.com/app", "--dry-run=server"]).ok
    });
    run_pod(bed, "final", "new");
    until_bound(bed, "final", "new");
    front.resume();
}

fn jobs_finish_and_pods_with_finalizers_go_on() {
    let bed = shared();
    isolated_namespace(bed, "jobs");
    open_while_warned(bed, "jobs");
    bed.kubectl(&["create", "job", "once", "-n", "jobs", "--image=example.com/app"]).expect_ok();
    let pod = eventually_some("its pod is there", || {
        names(&get(bed, "jobs", "pods")).into_iter().find(|pod| pod.starts_with("once-"))
    });
    let pod = pod.as_str();
    assert!(is_held(bed, "jobs", pod));
    let finalizers = get(bed, "jobs", &format!("pod/{pod}"))["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["batch.kubernetes.io/job-tracking"]));
    // One that is deleted while it is held is counted and let go by the job controller, and made anew.
    bed.kubectl(&["delete", "pod", pod, "-n", "jobs", "--timeout=180s"]).expect_ok();
    bed.kubectl(&["delete", "networkpolicy", "wide", "-n", "jobs"]).expect_ok();
    let mut next = String::new();
    eventually("another one runs", || {
        // Not before the kubelet has said that it runs, which it would say after that it has ended.
        let path = "jsonpath={.items[?(@.status.phase==\"Running\")].metadata.name}";
        next = bed.kubectl(&["get", "pods", "-n", "jobs", "-l", "job-name=once", "-o", path]).expect_ok();
        !next.is_empty()
    });
    bed.succeed("jobs", &next);
    bed.kubectl(&["wait", "job/once", "-n", "jobs", "--for=condition=Complete", "--timeout=180s"]).expect_ok();
}

fn the_system_s_namespaces_and_ringfence_s_own_are_left_alone() {
    let bed = shared();
    for namespace in ["kube-system", "ringfence-system"] {
        assert!(!labels(bed, namespace).to_string().contains("ringfence.dev/"), "{namespace}");
        assert_eq!(policies(bed, namespace), Vec::<String>::new());
        run_pod(bed, namespace, "bare");
        bed.apply(&policy(namespace, "wide", &opens_ingress()));
        until_bound(bed, namespace, "bare");
        bed.kubectl(&["delete", "networkpolicy", "wide", "-n", namespace]).expect_ok();
        bed.kubectl(&["delete", "pod", "bare", "-n", namespace]).expect_ok();
        // Labels of Ringfence's on them mean nothing.
        bed.kubectl(&["label", "namespace", namespace, "ringfence.dev/mode=enforce", "ringfence.dev/profile=strict"])
            .expect_ok();
        run_pod(bed, namespace, "bare");
        assert!(!is_held(bed, namespace, "bare"));
        assert_eq!(policies(bed, namespace), Vec::<String>::new());
        bed.kubectl(&["label", "namespace", namespace, "ringfence.dev/mode-", "ringfence.dev/profile-"]).expect_ok();
        bed.kubectl(&["delete", "pod", "bare", "-n", namespace]).expect_ok();
    }
}

fn case_59_with_all_replicas_gone_the_system_and_ringfence_itself_come_back() {
    let (world, _turn) = disturbed();
    let bed = &world.bed;
    *world.ringfence.lock().unwrap() = None;
    bed.kubectl(&["create", "namespace", "nobody"]).expect_error();
    let ready = |namespace: &str, deployment: &str, count: u64| {
        eventually(&format!("{deployment} is there"), || {
            get(bed, namespace, &format!("deployment/{deployment}"))["status"]["readyReplicas"] == count
        });
    };
    ready("ringfence-system", "ringfence", 2);
    let before = names(&get(bed, "ringfence-system", "pods"));
    bed.kubectl(&["delete", "pods", "--all", "-n", "ringfence-system"]).expect_ok();
    ready("ringfence-system", "ringfence", 2);
    let after = names(&get(bed, "ringfence-system", "pods"));
    assert!(after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");
    bed.kubectl(&["create", "deployment", "dns", "-n", "kube-system", "--image=example.com/dns"]).expect_ok();
    ready("kube-system", "dns", 1);
    bed.kubectl(&["delete", "deployment", "dns", "-n", "kube-system"]).expect_ok();
    // An upgrade of the chart writes all that it made, and none of it is judged.
    *world.ringfence.lock().unwrap() = Some(bed.start_ringfence(&world.installation, &Replica::default()));
    isolated_namespace(bed, "somebody");
}

fn case_60_uninstalling_leaves_nothing_behind() {
    let world = World::start(&Options::whole(), &[("config.leaseDuration", "3s")]);
    let bed = &world.bed;
    isolated_namespace(bed, "stays");
    isolated_namespace(bed, "waiting");
    open_while_warned(bed, "waiting");
    run_pod(bed, "waiting", "first");
    assert!(is_held(bed, "waiting", "first") && !conflict(bed, "waiting").is_empty());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        // Somebody who creates pods all the time.
        scope.spawn(|| {
            for index in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("pod-{index}");
                let _ = bed.kubectl(&["run", &name, "-n", "waiting", "--image=example.com/app"]);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let uninstalling =
            scope.spawn(|| bed.helm(&["uninstall", "ringfence", "-n", "ringfence-system", "--timeout=300s"]));
        let mut pod = String::new();
        eventually("the hook's pod has a node", || {
            let path = "jsonpath={.items[?(@.spec.nodeName)].metadata.name}";
            let args = ["get", "pods", "-n", "ringfence-system", "-l", "job-name=ringfence-uninstall", "-o", path];
            pod = bed.kubectl(&args).expect_ok();
            !pod.is_empty()
        });
        let ended = run_as_the_pod(&world, &pod);
        assert!(ended, "the uninstaller failed");
        bed.succeed("ringfence-system", &pod);
        uninstalling.join().unwrap().expect_ok();
    });
    // The kubelet ends the containers of the pods that helm has deleted.
    let replica = world.ringfence.lock().unwrap().take().unwrap();
    assert_eq!(replica.stop(), Some(0));

    for what in [
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "clusterroles",
        "clusterrolebindings",
        "leases,roles,rolebindings,serviceaccounts,configmaps,services,deployments,jobs,poddisruptionbudgets",
    ] {
        let said = bed.kubectl(&["get", what, "-A", "-o", "name"]).expect_ok();
        let left: Vec<&str> = said.lines().filter(|line| line.contains("ringfence")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let namespaces = get(bed, "default", "namespaces");
    assert!(!namespaces.to_string().contains("ringfence.dev/isolated"), "{namespaces:#}");
    assert!(!namespaces.to_string().contains("ringfence.dev/conflict"), "{namespaces:#}");
    assert!(!namespaces.to_string().contains("ringfence.dev/effective"), "{namespaces:#}");
    let said = bed.kubectl(&["get", "pods,namespaces,networkpolicies", "-A", "-o", "json"]).expect_ok();
    let all: Value = serde_json::from_str(&said).unwrap();
    for item in all["items"].as_array().unwrap() {
        assert!(!item["metadata"]["finalizers"].to_string().contains("ringfence"), "{item:#}");
        assert!(!item["spec"]["schedulingGates"].to_string().contains("ringfence"), "{item:#}");
        assert!(item["metadata"]["labels"]["ringfence.dev/held"].is_null(), "{item:#}");
    }
    until_bound(bed, "waiting", "first");
    // What isolates stays where it is, and what was Ringfence's is everybody's.
    assert_eq!(policies(bed, "stays"), crate::steps::STANDARD);
    bed.kubectl(&["delete", "networkpolicies", "--all", "-n", "stays"]).expect_ok();
    create_namespace(bed, "free");
    assert!(!labels(bed, "free").to_string().contains("ringfence.dev/"));
    for namespace in ["stays", "waiting", "ringfence-system"] {
        end(bed, namespace);
    }
}

/// Runs what a pod of the chart would, as its service account.
fn run_as_the_pod(world: &World, pod: &str) -> bool {
    let bed = &world.bed;
    let pod = get(bed, "ringfence-system", &format!("pod/{pod}"));
    assert_eq!(pod["spec"]["serviceAccountName"], "ringfence");
    let config = bed.kubeconfig_for("ringfence-uninstall", &bed.server(0).url(), &world.installation.token);
    let args = pod["spec"]["containers"][0]["args"].as_array().unwrap();
    let mut process = Launch::new(env!("CARGO_BIN_EXE_ringfence"), bed.path("ringfence-uninstall.log"))
        .args(args.iter().map(|arg| arg.as_str().unwrap()))
        .args(["--kubeconfig", &config.to_string_lossy()])
        .env([("HOME", bed.path("home").to_string_lossy())])
        .start();
    process.wait(PATIENCE) == Some(0)
}

fn case_20_a_dry_run_has_the_same_verdict_and_no_effect() {
    let bed = shared();
    isolated_namespace(bed, "dry");
    let mark = bed.audit_mark();
    let said = bed.kubectl(&["create", "namespace", "dry-new", "--dry-run=server", "-o", "json"]).expect_ok();
    let made: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(made["metadata"]["labels"]["ringfence.dev/mode"], "enforce");
    assert!(get(bed, "dry-new", "namespace/dry-new").is_null());
    let delete = ["delete", "networkpolicy", "default-deny-all", "-n", "dry"];
    let dry = ["--dry-run=server"];
    let refused = bed.kubectl(&delete).expect_error();
    assert_eq!(bed.kubectl(&[&delete[..], &dry].concat()).expect_error(), refused);
    let wide = policy("dry", "wide", &opens_ingress());
    let refused = bed.kubectl_stdin(&["create", "-f", "-"], &wide).expect_error();
    assert_eq!(bed.kubectl_stdin(&["create", "-f", "-", "--dry-run=server"], &wide).expect_error(), refused);
    // What is allowed, and not stored, is not believed either: with this the two deletes below could both pass.
    bed.apply(&policy("dry", "as-well", &denies_all()));
    bed.kubectl(&["label", "namespace", "dry", "ringfence.dev/mode=warn", "--overwrite", "--dry-run=server"])
        .expect_ok();
    bed.kubectl(&["delete", "networkpolicy", "as-well", "-n", "dry", "--dry-run=server"]).expect_ok();
    assert_eq!(policies(bed, "dry").len(), 4);

    open_while_warned(bed, "dry");
    let made = would_run(bed, "dry", "web");
    assert_eq!(made["spec"]["schedulingGates"], json!([{ "name": "ringfence.dev/baseline" }]));
    assert!(get(bed, "dry", "pod/web").is_null());
    assert!(written(bed, &mark, "dry-new").is_empty());
    // The controller saw one thing only: what was opened.
    let ours = written(bed, &mark, "dry");
    assert!(ours.iter().all(|event| event.resource == "namespaces"), "{ours:#?}");
}

fn case_19_another_mutation_in_between_is_harmless() {
    let bed = shared();
    // It comes once more after Ringfence's webhook has changed the pod, and then Ringfence's comes once more.
    let expression = "has(object.metadata.labels) && 'ringfence.dev/held' in object.metadata.labels ? \
                      [JSONPatch{op: 'add', path: '/metadata/labels/seen-held', value: 'true'}, \
                       JSONPatch{op: 'add', path: '/spec/schedulingGates/-', value: Object.spec.schedulingGates{name: 'example.com/own'}}] : []";
    let expression =
        &expression.replace("Object.spec.schedulingGates{name: 'example.com/own'}", "{'name': 'example.com/own'}");
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": "mutated" } });
    let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"] });
    isolated_namespace(bed, "mutated");
    open_while_warned(bed, "mutated");
    apply_mutation(bed, "sees-held-pods", &selector, &rule, expression, || {
        would_run(bed, "mutated", "asks")["metadata"]["labels"]["seen-held"] == "true"
    });
    let mark = bed.audit_mark();
    run_pod(bed, "mutated", "web");
    let pod = get(bed, "mutated", "pod/web");
    let mut gates = crate::steps::gates(&pod);
    gates.sort();
    assert_eq!(gates, ["example.com/own", "ringfence.dev/baseline"], "{pod:#}");
    assert_eq!(pod["metadata"]["labels"]["seen-held"], "true");
    let rounds = |event: &crate::harness::Event| {
        let by_us = |value: &&String| value.contains("pods.ringfence.dev");
        let mutations =
            event.annotations.iter().filter(|(key, _)| key.starts_with("mutation.webhook.admission.k8s.io/"));
        mutations.map(|(_, value)| value).filter(by_us).cloned().collect::<Vec<_>>()
    };
    eventually("it was asked twice, and changed something once", || {
        bed.audit_since(&mark).iter().filter(|event| event.verb == "create" && event.name == "web").any(|event| {
            let rounds = rounds(event);
            let changed = rounds.iter().filter(|round| round.contains(r#""mutated":true"#)).count();
            (rounds.len(), changed) == (2, 1)
        })
    });
    // Ringfence takes its own gate away, and leaves the other one.
    bed.kubectl(&["delete", "networkpolicy", "wide", "-n", "mutated"]).expect_ok();
    eventually("only the other gate is left", || {
        crate::steps::gates(&get(bed, "mutated", "pod/web")) == ["example.com/own"]
    });
    bed.kubectl(&["delete", "mutatingadmissionpolicies,mutatingadmissionpolicybindings", "sees-held-pods"]).expect_ok();
}

fn case_62_two_versions_side_by_side_give_the_same_bytes() {
    let (world, _turn) = disturbed();
    let bed = &world.bed;
    isolated_namespace(bed, "sides");
    isolated_namespace(bed, "sides-open");
    open_while_warned(bed, "sides-open");
    // One that a rollout brings: its limits are others, what it decides by is the same.
    let text = std::fs::read_to_string(&world.installation.config).unwrap();
    let config = bed.path("other-config.yaml");
    std::fs::write(&config, format!("{text}\nlimits: {{ concurrentReviews: 7, drain: 3s }}\nstaleness: 30s\n"))
        .unwrap();
    let other = Replica { config: Some(config), ..Replica::named("other") };
    let other = bed.start_ringfence(&world.installation, &other);
    let address = world.ringfence.lock().unwrap().as_ref().unwrap().address;
    let ca = world.installation.pair(bed);
    let mut denied = 0;
    for (path, review) in crate::reviews::all() {
        let [one, two] = [address, other.address].map(|address| ask(bed, address, &ca, path, &review));
        assert_eq!(one, two, "{path} {review:#}");
        let answer: Value = serde_json::from_str(&one).unwrap();
        denied += usize::from(answer["response"]["allowed"] == false);
    }
    assert!(denied >= 4, "the questions were too easy");
    // And as API servers ask: either one, in turn.
    for index in 0..6 {
        world.installation.front.cut();
        isolated_namespace(bed, &format!("sides-{index}"));
    }
}

fn ask(bed: &Bed, address: SocketAddr, pair: &Pair, path: &str, review: &Value) -> String {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut config = kube::Config::new(format!("https://{address}").parse().unwrap());
    config.root_cert = Some(vec![CertificateDer::from_pem_slice(pair.ca.as_bytes()).unwrap().to_vec()]);
    config.tls_server_name = Some("ringfence.ringfence-system.svc".to_owned());
    bed.run(async {
        let client = kube::Client::try_from(config).unwrap();
        let request = axum::http::Request::post(path).header("content-type", "application/json");
        client.request_text(request.body(review.to_string().into_bytes()).unwrap()).await.unwrap()
    })
}
