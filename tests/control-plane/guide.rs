//! The guide that the specification is about, as its reader types it: with kubectl, in its order, on a cluster with Ringfence.
//!
//! What kubectl prints is pinned, warnings and refusals included, because that is all of Ringfence that its reader sees. The
//! snapshots of the steps are the same for a cluster admin and for a tenant.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::harness::{ADMIN, ALICE, Options, Output, Shared, World, eventually};

crate::tests![
    every_step_of_the_guide_works_as_it_is_written_and_leaves_the_namespace_isolated,
    a_tenant_follows_the_guide_with_the_same_words_and_can_not_undo_the_baseline,
    the_four_common_mistakes_are_caught_or_do_no_harm,
    the_guides_pattern_is_a_baseline_too_where_ringfence_did_not_apply_it,
];

const MANAGED: [&str; 3] = ["allow-dns", "allow-same-namespace", "default-deny-all"];

const STEP_1: &str = include_str!("../fixtures/guide/step-1.yaml");
const STEP_2: &str = include_str!("../fixtures/guide/step-2.yaml");
const STEP_3: &str = include_str!("../fixtures/guide/step-3.yaml");
const STEP_4: &str = include_str!("../fixtures/guide/step-4.yaml");
const STEP_5: &str = include_str!("../fixtures/guide/step-5.yaml");

fn world() -> &'static World {
    static WORLD: Shared<World> = Shared::new(|| World::start(&Options::whole(), &[]));
    WORLD.get()
}

/// The guide names its namespaces, so only one reader at a time.
fn reader() -> MutexGuard<'static, ()> {
    static READER: Mutex<()> = Mutex::new(());
    let reader = READER.lock().unwrap_or_else(PoisonError::into_inner);
    // Where the one before failed, its namespaces are still there.
    leave();
    reader
}

/// Somebody at a terminal, and what they saw.
struct Session {
    user: &'static str,
    seen: String,
}

impl Session {
    fn of(user: &'static str) -> Self {
        Self { user, seen: String::new() }
    }

    fn kubectl(&mut self, line: &str) -> Output {
        self.with_input(line, "")
    }

    /// `kubectl apply -f -` and its like, with the manifests.
    fn with_input(&mut self, line: &str, manifests: &str) -> Output {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = world().bed.kubectl_at(0, self.user, &arguments, manifests);
        writeln!(self.seen, "$ kubectl {line}").unwrap();
        self.seen.push_str(&lasting(&output.stdout));
        for complaint in lasting(&output.stderr).lines() {
            writeln!(self.seen, "2> {complaint}").unwrap();
        }
        if !output.ok {
            self.seen.push_str("(it failed)\n");
        }
        output
    }

    fn apply(&mut self, manifests: &str) {
        self.with_input("apply -f -", manifests).expect_ok();
    }

    /// Something that Ringfence refuses, for this reason.
    #[track_caller]
    fn refused(&mut self, line: &str, manifests: &str, reason: &str) {
        let said = self.with_input(line, manifests).expect_error();
        let told = format!("admission webhook \"networkpolicies.ringfence.dev\" denied the request: {reason}: ");
        assert!(said.contains(&told), "{said}");
    }

    /// Pins what was seen since the last time.
    #[track_caller]
    fn pin(&mut self, name: &str) {
        insta::assert_snapshot!(name, std::mem::take(&mut self.seen));
    }
}

/// A text without what differs from one run to the next: how old things are, when they were made, and kubectl's own files.
fn lasting(text: &str) -> String {
    /// Between the directory for temporary files, which is the machine's to choose, and a number.
    const REPLACE: &str = "/kubectl_replace_";
    let mut aged = false;
    let mut lines = String::new();
    for line in text.lines() {
        if let Some(heads) = line.strip_suffix("AGE") {
            aged = true;
            writeln!(lines, "{heads}AGE").unwrap();
        } else if let Some((rest, _)) = line.rsplit_once(' ').filter(|_| aged) {
            writeln!(lines, "{rest} [age]").unwrap();
        } else if let Some((field, _)) = line.split_once("Created on:") {
            writeln!(lines, "{field}Created on: [time]").unwrap();
        } else if let Some((before, after)) = line.split_once(REPLACE) {
            let before = before.rsplit_once('"').map_or(before, |(before, _)| before);
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            writeln!(lines, "{before}\"[a file]{after}").unwrap();
        } else {
            writeln!(lines, "{line}").unwrap();
        }
    }
    lines
}

fn get(what: &str, namespace: &str, path: &str) -> String {
    world().bed.kubectl(&["get", what, "-n", namespace, "-o", &format!("jsonpath={path}")]).expect_ok()
}

fn isolated(namespace: &str) -> bool {
    get(&format!("namespace/{namespace}"), namespace, r"{.metadata.labels.ringfence\.dev/isolated}") == "true"
}

/// Waits until the namespace is isolated, with the labels that were injected.
fn is_isolated(namespace: &str) {
    eventually("the namespace is isolated", || isolated(namespace));
    let labels = r"{.metadata.labels.ringfence\.dev/profile} {.metadata.labels.ringfence\.dev/mode}";
    assert_eq!(get(&format!("namespace/{namespace}"), namespace, labels), "standard enforce");
}

/// Which write of an object this is: the same twice, and nobody has written in between.
fn version(what: &str, namespace: &str) -> String {
    let version = get(what, namespace, "{.metadata.resourceVersion}");
    assert!(!version.is_empty());
    version
}

/// A namespace that stays isolated: what users see of it stays the same. The controller may note what it judged.
struct Steady {
    namespace: &'static str,
    seen: String,
}

fn seen(namespace: &str) -> String {
    let path = r"{.metadata.uid} {.metadata.labels} {.metadata.annotations.ringfence\.dev/conflict}";
    get(&format!("namespace/{namespace}"), namespace, path)
}

impl Steady {
    fn of(namespace: &'static str) -> Self {
        is_isolated(namespace);
        Self { namespace, seen: seen(namespace) }
    }

    /// It is still, with these policies besides the baseline's.
    #[track_caller]
    fn has(&self, others: &[&str]) {
        let mut expected = [&MANAGED, others].concat();
        expected.sort_unstable();
        assert_eq!(get("networkpolicies", self.namespace, "{.items[*].metadata.name}"), expected.join(" "));
        assert!(isolated(self.namespace));
        assert_eq!(seen(self.namespace), self.seen);
    }
}

/// The policies that carry Ringfence's label.
fn managed(namespace: &str) -> String {
    let selector = "app.kubernetes.io/managed-by=ringfence";
    let path = "jsonpath={.items[*].metadata.name}";
    world().bed.kubectl(&["get", "networkpolicies", "-n", namespace, "-l", selector, "-o", path]).expect_ok()
}

/// "The Default", steps 1 to 4 and 6, in `frontend` and `backend`, which exist.
fn steps_in_backend(session: &mut Session) {
    let (frontend, backend) = (Steady::of("frontend"), Steady::of("backend"));
    session.kubectl("run web --image=nginx -n frontend").expect_ok();
    session.kubectl("run db --image=nginx -n backend").expect_ok();
    session.kubectl("wait pod/web -n frontend --for=condition=Ready --timeout=60s").expect_ok();
    session.kubectl("wait pod/db -n backend --for=condition=Ready --timeout=60s").expect_ok();
    session.pin("the_default");

    session.apply(STEP_1);
    backend.has(&["default-deny-ingress"]);
    // Typed a second time, as happens.
    session.apply(STEP_1);
    session.pin("step_1");

    session.apply(STEP_2);
    session.kubectl("label pod web -n frontend app=web").expect_ok();
    session.kubectl("label pod db -n backend app=db").expect_ok();
    backend.has(&["allow-frontend-to-db", "default-deny-ingress"]);
    session.pin("step_2");

    or_slip(session);
    backend.has(&["allow-frontend-to-db", "default-deny-ingress"]);

    session.apply(STEP_3);
    backend.has(&["allow-dns-egress", "allow-frontend-to-db", "default-deny-egress", "default-deny-ingress"]);
    session.pin("step_3");

    session.apply(STEP_4);
    let all = [
        "allow-dns-egress",
        "allow-external-db-egress",
        "allow-frontend-to-db",
        "default-deny-egress",
        "default-deny-ingress",
    ];
    backend.has(&all);
    session.pin("step_4");

    session.kubectl("get networkpolicy -n backend").expect_ok();
    session.kubectl("describe networkpolicy allow-frontend-to-db -n backend").expect_ok();
    session.kubectl("describe networkpolicy allow-external-db-egress -n backend").expect_ok();
    session.kubectl("describe networkpolicy default-deny-all -n backend").expect_ok();
    session.pin("step_6");

    // One's own deny is one's own, as long as the baseline is there.
    session.kubectl("delete networkpolicy default-deny-ingress default-deny-egress -n backend").expect_ok();
    backend.has(&all[..3]);
    session.refused("delete networkpolicy default-deny-all -n backend", "", "ManagedPolicy");
    backend.has(&all[..3]);
    session.pin("undoing_steps_1_and_3");
    frontend.has(&[]);
}

/// Step 2 with its two selectors in separate items, which the guide says would be ORed.
fn or_slip(session: &mut Session) {
    let slip = STEP_2.replace("          podSelector:\n", "        - podSelector:\n");
    assert_ne!(slip, STEP_2);
    session.apply(&slip);
    session.apply(STEP_2);
    let namespaces = "{.spec.ingress[0].from[*].namespaceSelector.matchLabels}";
    let web = r#"{"matchLabels":{"app":"web"}}"#;
    let frontend = r#"{"kubernetes.io/metadata.name":"frontend"}"#;
    assert_eq!(get("networkpolicy/allow-frontend-to-db", "backend", namespaces), frontend);
    assert_eq!(get("networkpolicy/allow-frontend-to-db", "backend", "{.spec.ingress[0].from[*].podSelector}"), web);
    session.pin("step_2_with_the_or_slip");
}

/// Step 5 in `production`, which exists: all three policies are there already, and of the same names.
fn step_5(session: &mut Session) {
    let production = Steady::of("production");
    session.kubectl("get networkpolicy -n production").expect_ok();
    session.apply(STEP_5);
    session.apply(STEP_5);
    production.has(&[]);
    assert_eq!(managed("production"), MANAGED.join(" "), "applying them took none of them over");
    session.pin("step_5");

    // Other ways to write the same that tools have.
    session.with_input("apply --server-side -f -", STEP_5).expect_ok();
    session.with_input("replace -f -", STEP_5);
    session.with_input("create -f -", STEP_5).expect_error();
    production.has(&[]);
    assert_eq!(managed("production"), MANAGED.join(" "));
    session.pin("step_5_by_other_verbs");
}

/// What a reader who wants to be rid of step 5, or of a part of it, gets.
fn undoing_step_5(session: &mut Session) {
    let production = Steady::of("production");
    let deny = || version("networkpolicy/default-deny-all", "production");
    let before = deny();
    session.refused("delete -f -", STEP_5, "ManagedPolicy");
    session.refused("delete networkpolicy default-deny-all -n production --dry-run=server", "", "ManagedPolicy");
    let only_ingress = STEP_5.replacen("    - Egress\n", "", 1);
    assert_ne!(only_ingress, STEP_5);
    session.refused("apply -f -", &only_ingress, "ManagedPolicy");
    session.refused("apply --server-side --force-conflicts -f -", &only_ingress, "ManagedPolicy");
    session.refused("replace --force -f -", STEP_5, "ManagedPolicy");
    let unmark = "label networkpolicy default-deny-all -n production app.kubernetes.io/managed-by-";
    session.refused(unmark, "", "ManagedPolicy");
    session.refused("delete networkpolicy --all -n production", "", "ManagedPolicy");
    let collection = "delete --raw /apis/networking.k8s.io/v1/namespaces/production/networkpolicies";
    session.with_input(collection, "").expect_error();
    production.has(&[]);
    assert_eq!(deny(), before);
    assert_eq!(managed("production"), MANAGED.join(" "));
    session.pin("undoing_step_5");
}

/// Ends the guide's namespaces, for the next reader: they must be able to.
fn leave() {
    let namespaces =
        ["delete", "namespace", "frontend", "backend", "production", "--ignore-not-found", "--timeout=120s"];
    world().bed.kubectl(&namespaces).expect_ok();
}

fn every_step_of_the_guide_works_as_it_is_written_and_leaves_the_namespace_isolated() {
    let _reader = reader();
    let mut session = Session::of(ADMIN);
    // There is no pod network here, nor a kubelet: what the guide greps this for is not to be seen.
    session.kubectl("get pods -n kube-system").expect_ok();
    for namespace in ["frontend", "backend", "production"] {
        session.kubectl(&format!("create namespace {namespace}")).expect_ok();
    }
    session.pin("creating_the_namespaces");
    steps_in_backend(&mut session);
    step_5(&mut session);
    undoing_step_5(&mut session);
    leave();
}

fn a_tenant_follows_the_guide_with_the_same_words_and_can_not_undo_the_baseline() {
    let _reader = reader();
    let mut session = Session::of(ALICE);
    session.kubectl("create namespace frontend").expect_error();
    session.pin("a_tenant_can_not_create_namespaces");
    for namespace in ["frontend", "backend", "production"] {
        world().bed.kubectl(&["create", "namespace", namespace]).expect_ok();
        let binding = ["create", "rolebinding", "alice", "--clusterrole=admin", "--user=alice", "-n", namespace];
        world().bed.kubectl(&binding).expect_ok();
        eventually("her rights are known", || {
            world().bed.kubectl_with(ALICE, &["get", "networkpolicies", "-n", namespace]).ok
        });
    }
    steps_in_backend(&mut session);
    step_5(&mut session);
    undoing_step_5(&mut session);
    beyond_the_guide(&mut session);
    leave();
}

/// What a tenant may try who finds the baseline in the way.
fn beyond_the_guide(session: &mut Session) {
    let production = Steady::of("production");
    let everything = r#"{"spec": {"ingress": [{}], "egress": [{}]}}"#.replace(' ', "");
    session.refused(
        &format!("patch networkpolicy allow-same-namespace -n production --type=merge -p {everything}"),
        "",
        "ManagedPolicy",
    );
    session.refused("apply -f -", &policy("allow-all", "production", "{}", "ingress: [{}]"), "BaselineWeakened");
    let frontend = "ingress: [{ from: [{ namespaceSelector: {} }] }]";
    session.refused("apply -f -", &policy("allow-cluster", "production", "{}", frontend), "BaselineWeakened");
    let mut excused = policy("allow-all", "production", "{}", "ingress: [{}]");
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let reason = "ringfence.dev/exception-reason: legacy";
    let until = format!("ringfence.dev/exception-until: \"{tomorrow}\"");
    excused = excused.replacen("metadata:\n", &format!("metadata:\n  annotations: {{ {reason}, {until} }}\n"), 1);
    session.refused("apply -f -", &excused, "NotPermitted");
    session.kubectl("label namespace production ringfence.dev/mode=audit --overwrite").expect_error();
    session.kubectl("label namespace production ringfence.dev/isolated-").expect_error();
    production.has(&[]);
    session.pin("what_else_a_tenant_tries");
}

fn policy(name: &str, namespace: &str, pods: &str, rules: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         spec:\n  podSelector: {pods}\n  {rules}\n"
    )
}

fn the_four_common_mistakes_are_caught_or_do_no_harm() {
    let mut session = Session::of(ADMIN);
    session.kubectl("create namespace mistakes").expect_ok();
    let mistakes = Steady::of("mistakes");
    session.seen.clear();

    // 1: denying egress without allowing DNS. The baseline allows it, and can't be made not to.
    session.apply(&STEP_3.split("---\n").next().unwrap().replace("backend", "mistakes"));
    mistakes.has(&["default-deny-egress"]);
    session.refused("delete networkpolicy allow-dns -n mistakes", "", "ManagedPolicy");
    session.kubectl("describe networkpolicy allow-dns -n mistakes").expect_ok();
    mistakes.has(&["default-deny-egress"]);
    session.pin("mistake_1_no_dns_egress");

    // 2: items that are ORed, taken for ANDed. A warning where what that lets in is narrow, the refusal where it is not.
    let from = "ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: a } } }, \
                { podSelector: { matchLabels: { app: web } } }] }]";
    session.apply(&policy("allow-web", "mistakes", "{}", from));
    let from = "ingress: [{ from: [{ namespaceSelector: {} }, { podSelector: { matchLabels: { app: web } } }] }]";
    session.refused("apply -f -", &policy("allow-every-web", "mistakes", "{}", from), "BaselineWeakened");
    let to = "policyTypes: [Egress]\n  egress: [{ to: [{ podSelector: { matchLabels: { app: db } } }, \
              { namespaceSelector: { matchLabels: { team: b } } }] }]";
    session.apply(&policy("allow-out", "mistakes", "{}", to));
    mistakes.has(&["allow-out", "allow-web", "default-deny-egress"]);
    session.pin("mistake_2_or_taken_for_and");

    // 3: pods on their node's network, which no policy holds back.
    let host = "apiVersion: v1\nkind: Pod\nmetadata: { name: proxy, namespace: mistakes }\nspec:\n  hostNetwork: true\n  \
                containers: [{ name: proxy, image: nginx }]\n";
    // The webhook for these may be missing for a moment without anything being refused; then nobody is told.
    eventually("it is told", || {
        world().bed.kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], host).stderr.contains("hostNetwork")
    });
    session.apply(host);
    session.kubectl("wait pod/proxy -n mistakes --for=condition=Ready --timeout=60s").expect_ok();
    session.pin("mistake_3_host_network");

    // 4: no policyTypes, so only ingress is meant, whatever the name says. The baseline still has egress.
    session.apply(&policy("deny-everything", "mistakes", "{}", "egress: []"));
    session.kubectl("describe networkpolicy deny-everything -n mistakes").expect_ok();
    let forgot = STEP_5.split("---\n").next().unwrap().replace("production", "mistakes");
    let forgot = forgot.split("  policyTypes:").next().unwrap();
    // kubectl merges what was forgotten with what is there, so nothing is.
    session.apply(forgot);
    assert_eq!(get("networkpolicy/default-deny-all", "mistakes", "{.spec.policyTypes}"), r#"["Ingress","Egress"]"#);
    assert_eq!(managed("mistakes"), MANAGED.join(" "));
    session.refused("apply --server-side --force-conflicts -f -", &with_types(forgot, "[Ingress]"), "ManagedPolicy");
    mistakes.has(&["allow-out", "allow-web", "default-deny-egress", "deny-everything"]);
    session.pin("mistake_4_missing_policy_types");
}

fn with_types(manifest: &str, types: &str) -> String {
    format!("{manifest}  policyTypes: {types}\n")
}

/// A GitOps tool, or a reader of the guide on a cluster that did not have Ringfence yet.
fn the_guides_pattern_is_a_baseline_too_where_ringfence_did_not_apply_it() {
    let mut session = Session::of(ADMIN);
    let namespace =
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: by-hand\n  labels: { ringfence.dev/mode: warn }\n";
    let own = STEP_5.replace("production", "by-hand");
    let (deny, others) = own.split_once("---\n").unwrap();
    session.apply(namespace);
    session.apply(&own);
    eventually("Ringfence knows them", || {
        let delete = ["delete", "networkpolicy", "default-deny-all", "-n", "by-hand", "--dry-run=server"];
        let said = world().bed.kubectl(&delete);
        said.ok && !said.stderr.contains("Warning")
    });
    session.kubectl("label namespace by-hand ringfence.dev/mode=enforce --overwrite").expect_ok();
    let by_hand = Steady::of("by-hand");
    assert_eq!(managed("by-hand"), "", "what is right already is not taken over");
    // The third policy isolates every pod too, so without the first one nothing is lost.
    session.with_input("delete -f -", deny).expect_ok();
    eventually("the profile's own takes its place", || managed("by-hand") == "default-deny-all");
    session.with_input("delete -f -", others).expect_ok();
    eventually("so do the others", || managed("by-hand") == MANAGED.join(" "));
    by_hand.has(&[]);
    session.pin("step_5_before_ringfence");
}
