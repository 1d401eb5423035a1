//! The story, line by line.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use ringfence_core::index::State;
use ringfence_core::plan::Action;
use ringfence_core::policy::coverage::Coverage;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::{Direction, explain};
use ringfence_core::vocabulary::{EXEMPT_REASON, EXEMPT_UNTIL, GATE, HELD, ISOLATED, MODE, PROFILE};
use serde_json::{Value, json};

use super::api_server::{ApiServer, Reply, User};
use super::terminal::Terminal;
use crate::controller;

/// What is in the cluster before Ringfence comes: two namespaces, as the tutorial begins, without any policy.
pub(super) const BEFORE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: frontend}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: frontend, labels: {app: web}}
---
apiVersion: v1
kind: Namespace
metadata: {name: backend}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: backend, labels: {app: db}}
";

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { "run": name } },
        "spec": { "containers": [{ "name": name, "image": "nginx" }] },
    })
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": "team-a" }, "spec": spec,
    })
}

fn ingress_from(from: &Value) -> Value {
    json!({ "podSelector": { "matchLabels": { "run": "web" } }, "policyTypes": ["Ingress"], "ingress": [{ "from": from }] })
}

/// Plays the whole story.
pub(super) async fn play(api: &mut ApiServer, t: &mut Terminal, address: SocketAddr) -> Result<()> {
    println!("Ringfence listens on https://{address}; this process acts as the API server and asks it for real.");
    before(api, t)?;
    create(api, t).await?;
    isolate(api, t).await?;
    defend(api, t).await?;
    mistakes(api, t).await?;
    exemptions(api, t).await
}

fn before(api: &ApiServer, t: &mut Terminal) -> Result<()> {
    t.scene("Before: the network is flat");
    t.command("kubectl get pods -A                            # frontend/web and backend/db, and no policy");
    for (name, direction) in [("frontend", Direction::Egress), ("backend", Direction::Ingress)] {
        let namespace = api.namespace(name)?;
        let verdict = namespace.verdict(&Criteria::default());
        let coverage = &verdict.side(direction).coverage;
        let gap = explain::gap(direction, coverage).unwrap_or_else(|| "isolated".to_owned());
        t.line(*coverage == Coverage::Absent, &format!("{name}: {gap}"));
    }
    Ok(())
}

async fn create(api: &mut ApiServer, t: &mut Terminal) -> Result<()> {
    t.scene("A namespace is created");
    t.command("kubectl create namespace team-a");
    let reply = api.create(User::Tenant, namespace("team-a")).await?;
    let labels = &reply.object["metadata"]["labels"];
    let injected = labels[PROFILE] == "standard" && labels[MODE] == "enforce";
    let text = |key: &str| labels[key].as_str().unwrap_or("nothing").to_owned();
    t.line(reply.allowed && injected, &format!("labels injected: {PROFILE}={}, {MODE}={}", text(PROFILE), text(MODE)));

    t.scene("A pod comes before the baseline does");
    t.command("kubectl run web --image=nginx -n team-a");
    let reply = api.create(User::Tenant, pod("team-a", "web")).await?;
    let gated = reply.object["spec"]["schedulingGates"][0]["name"] == GATE;
    let held = api.namespace("team-a")?.pods.get("web").is_some_and(|pod| pod.held);
    t.line(
        reply.allowed && gated && held,
        &format!("admitted and held: scheduling gate {GATE}, label {HELD}=true; nobody has to try again"),
    );

    t.command("kubectl run sneaky --image=nginx -n team-a     # and another webhook strips the gate");
    let reply = api.create_past_mutation(User::Tenant, pod("team-a", "sneaky")).await?;
    refused(t, &reply, "NotHeld");
    Ok(())
}

async fn isolate(api: &mut ApiServer, t: &mut Terminal) -> Result<()> {
    t.scene("The controller applies the baseline, judges all policies together, and only then lifts the pod");
    let actions = api.let_the_controller_work("team-a")?;
    let applied = actions.iter().filter(|action| matches!(action, Action::Apply(_))).count();
    let isolated_at = actions.iter().position(|action| matches!(action, Action::Isolate(_)));
    let lifted_at = actions.iter().position(|action| matches!(action, Action::Lift(pod) if pod == "web"));
    for (index, action) in actions.iter().enumerate() {
        let right = match action {
            Action::Apply(_) => applied == 3 && isolated_at.is_some_and(|at| index < at),
            Action::Isolate(_) => true,
            Action::Lift(_) => isolated_at.is_some_and(|at| at < index),
            _ => false,
        };
        t.line(right, &controller::describe(action));
    }
    let free = api
        .stored("pods", "team-a", "web")
        .is_some_and(|pod| pod["spec"]["schedulingGates"].as_array().is_some_and(Vec::is_empty));
    let after = api.namespace("team-a")?;
    let complete = after.verdict(&Criteria::default()).is_complete();
    let labelled =
        api.stored("namespaces", "", "team-a").is_some_and(|stored| stored["metadata"]["labels"][ISOLATED] == "true");
    t.line(
        lifted_at.is_some() && free && complete && labelled,
        "judged: every pod is isolated for ingress and egress; DNS and the namespace's own traffic are allowed; pod web \
         is free to be scheduled",
    );

    t.scene("From now on pods cost nothing");
    t.command("kubectl run worker --image=nginx -n team-a");
    let before = api.reviews_decided();
    let reply = api.create(User::Tenant, pod("team-a", "worker")).await?;
    let called = api.reviews_decided() - before;
    t.line(
        reply.allowed && reply.calls == 0 && called == 0,
        &format!(
            "admitted; the server's own counter says {called} calls: the namespace is isolated, so it is not asked"
        ),
    );
    Ok(())
}

async fn defend(api: &mut ApiServer, t: &mut Terminal) -> Result<()> {
    t.scene("The baseline stays");
    t.command("kubectl delete networkpolicy default-deny-all -n team-a");
    let reply = api.delete_policy(User::Tenant, "team-a", "default-deny-all").await?;
    refused(t, &reply, "ManagedPolicy");

    t.command("kubectl apply -f allow-all.yaml                # podSelector: {}, ingress: [{}]");
    let open = policy("allow-all", &json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}] }));
    let reply = api.create(User::Tenant, open).await?;
    refused(t, &reply, "BaselineWeakened");
    let state = api.state("team-a")?;
    t.line(state == Some(State::Isolated), "team-a is as isolated as before");
    Ok(())
}

async fn mistakes(api: &mut ApiServer, t: &mut Terminal) -> Result<()> {
    let frontend = json!({ "matchLabels": { "kubernetes.io/metadata.name": "frontend" } });
    let web = json!({ "matchLabels": { "app": "web" } });

    t.scene("An easy mistake: OR taken for AND");
    t.command("kubectl apply -f from-frontend.yaml            # - namespaceSelector: …   - podSelector: …");
    let or = ingress_from(&json!([{ "namespaceSelector": frontend }, { "podSelector": web }]));
    let reply = api.create(User::Tenant, policy("from-frontend", &or)).await?;
    let explained = reply.warnings.contains("ORed") && reply.warnings.contains("put both selectors in one item");
    t.line(reply.allowed && explained, &format!("admitted, with a warning: {}", reply.warnings));

    t.command("kubectl apply -f from-anywhere.yaml            # the same slip, with namespaceSelector: {}");
    let wide = ingress_from(&json!([{ "namespaceSelector": {} }, { "podSelector": web }]));
    let mut everyone = policy("from-anywhere", &wide);
    everyone["spec"]["podSelector"] = json!({});
    let reply = api.create(User::Tenant, everyone).await?;
    refused(t, &reply, "BaselineWeakened");
    t.line(reply.message.contains("ORed"), "and the refusal names the slip");

    t.command("kubectl apply -f from-frontend-web.yaml        # both selectors in one item");
    let and = ingress_from(&json!([{ "namespaceSelector": frontend, "podSelector": web }]));
    let reply = api.create(User::Tenant, policy("from-frontend-web", &and)).await?;
    t.line(
        reply.allowed && reply.warnings.is_empty(),
        "admitted without a word: only pods with app=web of namespace frontend",
    );
    Ok(())
}

async fn exemptions(api: &mut ApiServer, t: &mut Terminal) -> Result<()> {
    let exempt = |name: &str, annotations: Value| {
        let mut object = namespace(name);
        object["metadata"]["labels"] = json!({ MODE: "exempt" });
        object["metadata"]["annotations"] = annotations;
        object
    };
    let until = (Timestamp::now() + SignedDuration::from_hours(30 * 24)).strftime("%Y-%m-%dT00:00:00Z").to_string();
    let granted = json!({ EXEMPT_REASON: "migration, TICKET-17", EXEMPT_UNTIL: until });

    t.scene("Exemptions have a reason, an end, and somebody who may grant them");
    t.command("kubectl apply -f legacy.yaml                   # mode: exempt, as an administrator");
    let reply = api.create(User::Admin, exempt("legacy", json!({}))).await?;
    refused(t, &reply, "ExemptionInvalid");

    t.command("kubectl apply -f legacy.yaml                   # with reason and expiry, as a tenant");
    let reply = api.create(User::Tenant, exempt("legacy", granted.clone())).await?;
    refused(t, &reply, "NotPermitted");

    t.command("kubectl apply -f legacy.yaml                   # with reason and expiry, as an administrator");
    let reply = api.create(User::Admin, exempt("legacy", granted)).await?;
    t.line(reply.allowed, &format!("admitted: exempt until {until}, then enforced"));

    t.scene("A namespace gets past the mutating webhook");
    t.command("kubectl create namespace shadow                # and /mutate is never called");
    let reply = api.create_past_mutation(User::Tenant, namespace("shadow")).await?;
    refused(t, &reply, "BaselineMissing");
    Ok(())
}

fn refused(t: &mut Terminal, reply: &Reply, reason: &str) {
    let right = !reply.allowed && reply.message.starts_with(reason);
    let outcome = if reply.allowed { "admitted".to_owned() } else { format!("refused: {}", reply.message) };
    t.line(right, &outcome);
}

/// Lines to try the server with by hand.
pub(super) fn print_curl_lines(address: SocketAddr, ca: &Path) {
    let review = |name: &str, object: &Value| {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "by-hand", "operation": "CREATE", "name": name, "namespace": name,
                "resource": { "group": "", "version": "v1", "resource": "namespaces" },
                "userInfo": { "username": "tina" }, "object": object,
            },
        })
    };
    let curl = |path: &str, review: &Value| {
        println!(
            "\n  curl -s --cacert {} https://{address}{path} -H 'Content-Type: application/json' \\\n    -d '{review}'",
            ca.display()
        );
    };
    println!("\nThe server stays up (Ctrl-C ends it). A new namespace gets its labels, as a patch:");
    curl("/mutate", &review("team-b", &namespace("team-b")));
    println!("\nOne that got past /mutate is rejected:");
    curl("/validate", &review("team-b", &namespace("team-b")));
}
