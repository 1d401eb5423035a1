//! The rights of the chart's service account are the least: each verb on each resource is taken away in turn, and
//! something that Ringfence does is forbidden.
//!
//! Nothing here lists the rights: they are what the roles say. What Ringfence does is in steps; the audit log says which
//! right each step uses, and the right is then missed in that same step. One that no step uses fails the test: it is one
//! too many, or a step is missing here.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ask::{Asker, JSON_PATCH, MERGE};
use crate::direct::{ask, creation_of_a_namespace, deletion_of_the_baseline};
use crate::harness::process::Launch;
use crate::harness::{ADMIN, Bed, Event, Installation, Options, PATIENCE, Replica, Ringfence, eventually, within};
use crate::scene::{held_pod, is_isolated, namespace};
use crate::steps::{CONTROLLER, open_while_warned, told};
use crate::watches::silence;

crate::tests![each_right_of_the_service_account_is_used_and_missed_where_it_is_taken_away];

/// One verb on one resource, as RBAC grants and the API server forbids it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    /// With its subresource, if any.
    resource: String,
    verb: String,
    /// The one object that it is limited to.
    name: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.verb, self.resource, self.group)?;
        self.name.iter().try_for_each(|name| write!(f, " named {name}"))
    }
}

impl Right {
    /// Whether a request needs it, by what the log knows of the request.
    fn covers(&self, event: &Event) -> bool {
        let group = event.whole["objectRef"]["apiGroup"].as_str().unwrap_or_default();
        let resource = [event.resource.as_str(), event.subresource.as_str()].join("/");
        let named = self.name.as_ref().is_none_or(|name| *name == event.name);
        group == self.group && resource.trim_end_matches('/') == self.resource && event.verb == self.verb && named
    }

    /// Whether a request that was let through has used it. A server-side apply that makes an object needs both verbs,
    /// and the log knows it as a patch.
    fn is_used_in(&self, event: &Event) -> bool {
        let patch = Self { verb: "patch".to_owned(), ..self.clone() };
        event.code < 400 && (self.covers(event) || self.verb == "create" && event.code == 201 && patch.covers(event))
    }

    /// Whether a request was forbidden for the lack of it.
    fn is_missed_in(&self, event: &Event) -> bool {
        let Self { group, resource, verb, .. } = self;
        let words = format!("cannot {verb} resource \"{resource}\" in API group \"{group}\"");
        is_forbidden(event) && (self.covers(event) || message(event).contains(&words))
    }
}

fn message(event: &Event) -> &str {
    event.whole["responseStatus"]["message"].as_str().unwrap_or_default()
}

/// By RBAC, and not by admission: at once, or, with a message, where it turns out later that more is needed.
fn is_forbidden(event: &Event) -> bool {
    let at_once = event.annotations.get("authorization.k8s.io/decision").is_some_and(|decision| decision == "forbid");
    event.user == CONTROLLER && event.code == 403 && (at_once || message(event).contains(" cannot "))
}

/// A role that the service account is bound to.
struct Role<'b> {
    admin: Asker<'b>,
    path: &'static str,
    whole: Value,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

impl<'b> Role<'b> {
    fn read(bed: &'b Bed, path: &'static str) -> Self {
        let admin = Asker::new(bed, ADMIN);
        let mut whole = admin.get(path);
        whole["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        Self { admin, path, whole }
    }

    fn rules(&self) -> &[Value] {
        self.whole["rules"].as_array().unwrap()
    }

    fn rights(&self) -> Vec<Right> {
        self.rules().iter().flat_map(rights).collect()
    }

    /// Writes the role without a right, or as it was.
    fn without(&self, taken: Option<&Right>) {
        let mut role = self.whole.clone();
        let left = self.rules().iter().flat_map(rights).filter(|right| Some(right) != taken);
        role["rules"] = left
            .map(|Right { group, resource, verb, name }| {
                let names: Vec<String> = name.into_iter().collect();
                json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb], "resourceNames": names })
            })
            .collect();
        self.admin.replace(self.path, &role).expect_ok();
    }

    /// Whether the API server knows by now that the account has the right, or has not.
    fn is_granted(&self, right: &Right) -> bool {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let attributes = json!({
            "group": right.group, "resource": resource, "subresource": subresource, "verb": right.verb,
            "name": right.name, "namespace": self.whole["metadata"]["namespace"],
        });
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": CONTROLLER, "resourceAttributes": attributes },
        });
        let answer = self.admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).expect_ok();
        answer["status"]["allowed"] == true
    }
}

fn rights(rule: &Value) -> Vec<Right> {
    let names = texts(&rule["resourceNames"]);
    let names: Vec<Option<String>> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let mut rights = Vec::new();
    for group in texts(&rule["apiGroups"]) {
        for resource in texts(&rule["resources"]) {
            for verb in texts(&rule["verbs"]) {
                for name in names.clone() {
                    let (group, resource, verb) = (group.clone(), resource.clone(), verb.clone());
                    rights.push(Right { group, resource, verb, name });
                }
            }
        }
    }
    rights
}

const SECRETS: &str = "/api/v1/namespaces/ringfence-system/secrets";
const REGISTERED: [&str; 2] = [
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/ringfence",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/ringfence",
];

/// Where the steps are played.
struct Stage<'b> {
    bed: &'b Bed,
    admin: Asker<'b>,
    installation: Installation,
    replica: Option<Ringfence>,
    /// How many names were given: each run of a step has its own.
    count: usize,
    /// What runs beside a step.
    asking: Vec<std::thread::JoinHandle<()>>,
}

/// Something that Ringfence does. The first part makes it do so; the second, where nothing is forbidden, waits until it is
/// done.
struct Step {
    what: &'static str,
    begin: fn(&mut Stage<'_>, &str),
    until: fn(&mut Stage<'_>, &str),
}

const STEPS: [Step; 13] = [
    Step {
        what: "a replica starts and leads",
        begin: |stage, _| {
            stage.replica = None;
            let replica = Replica { wait: false, ..Replica::default() };
            stage.replica = Some(stage.bed.start_ringfence(&stage.installation, &replica));
        },
        until: |stage, _| stage.settle(),
    },
    Step {
        what: "a namespace is isolated, and it is told",
        begin: |stage, name| stage.create(name),
        until: |stage, name| {
            stage.until_isolated(name);
            eventually("it is told", || !told(stage.bed, name, "Isolated").is_empty());
        },
    },
    Step {
        what: "what happens again is told as a series",
        begin: |stage, name| {
            stage.create(name);
            stage.until_isolated(name);
            for _ in 0..2 {
                let none = json!({ "metadata": { "labels": { "ringfence.dev/isolated": null } } });
                stage.past_the_webhooks(&["patch", "namespace", name, "--type=merge", "-p", &none.to_string()]);
                stage.until_isolated(name);
            }
        },
        until: |stage, name| {
            eventually("it is a series", || {
                told(stage.bed, name, "Isolated").iter().any(|event| event["series"].is_object())
            });
        },
    },
    Step {
        what: "somebody wants to deviate",
        begin: |stage, name| {
            let mut review = creation_of_a_namespace("warn");
            // Somebody else each time: the answer is remembered.
            review["userInfo"] = json!({ "username": name, "groups": ["system:authenticated"] });
            let answer = ask(&stage.installation, stage.replica.as_ref().unwrap(), &review);
            assert!(answer.denies() || answer.puts_off(), "{answer:?}");
        },
        until: |_, _| {},
    },
    Step {
        what: "another profile has fewer policies",
        begin: |stage, name| {
            stage.create(name);
            stage.until_isolated(name);
            let strict = json!({ "metadata": { "labels": { "ringfence.dev/profile": "strict" } } });
            stage.admin.patch(&format!("/api/v1/namespaces/{name}"), MERGE, &strict).expect_ok();
        },
        until: |stage, name| {
            let policies = format!("{}/{name}/networkpolicies", crate::scene::POLICIES);
            eventually("they are pruned", || stage.admin.get(&policies)["items"].as_array().unwrap().len() == 2);
        },
    },
    Step {
        what: "a pod that was held is lifted",
        begin: |stage, name| {
            stage.create(name);
            stage.until_isolated(name);
            open_while_warned(stage.bed, name);
            held_pod(&stage.admin, name, "held");
            stage.past_the_webhooks(&["delete", "networkpolicy", "wide", "-n", name]);
        },
        until: |stage, name| {
            let held = format!("/api/v1/namespaces/{name}/pods/held");
            eventually("it is lifted", || stage.admin.get(&held)["spec"]["schedulingGates"].is_null());
        },
    },
    Step {
        what: "the Lease is deleted",
        begin: |stage, _| {
            let lease = "/apis/coordination.k8s.io/v1/namespaces/ringfence-system/leases/ringfence";
            stage.admin.delete(lease, &Value::Null).expect_ok();
        },
        until: |stage, _| {
            let lease = "/apis/coordination.k8s.io/v1/namespaces/ringfence-system/leases";
            eventually("it is there again", || !stage.admin.get(lease)["items"].as_array().unwrap().is_empty());
        },
    },
    Step {
        what: "the Secret of certificates is emptied",
        begin: |stage, _| {
            let secret = format!("{SECRETS}/ringfence-certificates");
            stage.admin.patch(&secret, MERGE, &json!({ "data": null })).expect_ok();
        },
        until: |stage, _| stage.until_certificates(),
    },
    Step {
        what: "the Secret of certificates is deleted",
        begin: |stage, _| {
            let secret = format!("{SECRETS}/ringfence-certificates");
            stage.admin.delete(&secret, &Value::Null).expect_ok();
        },
        until: |stage, _| stage.until_certificates(),
    },
    Step {
        what: "what the API servers trust is blanked",
        begin: |stage, _| {
            let blank = json!([{ "op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "" }]);
            for path in REGISTERED {
                stage.admin.patch(path, JSON_PATCH, &blank).expect_ok();
            }
        },
        until: |stage, _| stage.until_trusted(),
    },
    Step {
        what: "the webhook configurations are deleted",
        begin: |stage, _| {
            for path in REGISTERED {
                stage.admin.delete(path, &Value::Null).expect_ok();
            }
        },
        until: |stage, _| stage.until_registered(),
    },
    Step {
        what: "a policy of a namespace that terminates is deleted",
        begin: |stage, name| {
            let mut object = namespace(name);
            object["metadata"]["finalizers"] = json!(["example.com/keep"]);
            stage.admin.create("/api/v1/namespaces", &object).expect_ok();
            stage.until_isolated(name);
            stage.admin.delete(&format!("/api/v1/namespaces/{name}"), &Value::Null).expect_ok();
            let ended = |stage: &Stage<'_>| {
                let answer = ask(&stage.installation, stage.replica.as_ref().unwrap(), &deletion_of_the_baseline(name));
                !answer.denies()
            };
            eventually("it looks for pods that run", || ended(stage));
        },
        until: |_, _| {},
    },
    Step {
        what: "the API server was not heard for long",
        begin: |stage, name| {
            stage.create(name);
            stage.until_isolated(name);
            let server = stage.bed.server(0);
            server.pause();
            // What is asked now is read, as soon as there is somebody who answers.
            eventually("silence is noticed", || silence(stage.replica.as_ref().unwrap()) >= 3.2);
            let asking = (stage.installation.ca.get().unwrap().clone(), stage.replica.as_ref().unwrap().address);
            let review = deletion_of_the_baseline(name);
            stage.asking.push(std::thread::spawn(move || _ = crate::direct::ask_at(&asking.0, asking.1, &review)));
            let waits = |stage: &Stage<'_>| {
                let counters = stage.replica.as_ref().unwrap().counters();
                counters.is_some_and(|counters| counters.sum("ringfence_in_flight_bytes", &[]) > 0.0)
            };
            eventually("somebody waits for the answer", || waits(stage));
            std::thread::sleep(Duration::from_millis(500));
            server.resume();
        },
        until: |stage, _| stage.settle(),
    },
];

/// The last one: nothing else can be looked at afterwards.
const LEAVING: Step = Step {
    what: "it is uninstalled",
    begin: |stage, _| {
        stage.replica = None;
        let config =
            stage.bed.kubeconfig_for("ringfence-uninstall", &stage.bed.server(0).url(), &stage.installation.token);
        let mut process = Launch::new(env!("CARGO_BIN_EXE_ringfence"), stage.bed.path("ringfence-uninstall.log"))
            .args(["uninstall", "--lease-namespace", "ringfence-system", "--lease-name", "ringfence"])
            .args(["--kubeconfig", &config.to_string_lossy()])
            .env([("HOME", stage.bed.path("home").to_string_lossy())])
            .start();
        assert!(process.wait(PATIENCE).is_some(), "it does not end");
    },
    until: |_, _| {},
};

impl Stage<'_> {
    /// Waits until the replica is as it should be, whatever was missing.
    fn settle(&mut self) {
        self.asking.drain(..).for_each(|asking| asking.join().unwrap());
        let Some(replica) = &mut self.replica else { return };
        replica.wait_until_ready();
        self.installation.ca.get_or_init(|| self.installation.pair(self.bed).ca);
        eventually("it hears and leads", || {
            let leads = replica.counters().is_some_and(|counters| counters.sum("ringfence_leader", &[]) >= 1.0);
            leads && silence(replica) < 3.0
        });
        // A pod that is still held would be lifted in another step, and a right be used there.
        eventually("nothing is held", || {
            replica.counters().is_some_and(|counters| counters.sum("ringfence_held_pods", &[]) == 0.0)
        });
        self.until_trusted();
    }

    fn until_certificates(&self) {
        eventually("the certificates are there", || {
            let secrets = self.admin.get(SECRETS);
            let has = |secret: &Value| secret["data"]["tls.crt"].is_string();
            secrets["items"].as_array().unwrap().iter().any(has)
        });
    }

    fn until_trusted(&self) {
        let trusts = |path: &str| {
            self.admin.find(path).is_some_and(|all| !all["webhooks"][0]["clientConfig"]["caBundle"].is_null())
        };
        eventually("the API server is told what to trust", || REGISTERED.into_iter().all(trusts));
        self.until_registered();
    }

    /// Waits until the webhooks are there and armed.
    fn until_registered(&self) {
        let armed = |path: &str| self.admin.find(path).is_some_and(|all| all.to_string().contains("\"Fail\""));
        eventually("the webhooks are armed", || REGISTERED.into_iter().all(armed));
    }

    fn create(&self, name: &str) {
        self.admin.create("/api/v1/namespaces", &namespace(name)).expect_ok();
    }

    fn until_isolated(&self, name: &str) {
        eventually("it is isolated", || is_isolated(&self.admin, name));
    }

    /// As admin under the controller's name: its own requests stand in the log under its own user.
    fn past_the_webhooks(&self, args: &[&str]) {
        crate::steps::as_controller(self.bed, args).expect_ok();
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("rights-{}", self.count)
    }

    fn whole(&mut self, step: &Step) -> Vec<Event> {
        let (mark, name) = (self.bed.audit_mark(), self.name());
        (step.begin)(self, &name);
        (step.until)(self, &name);
        // What is done may be logged a moment later.
        std::thread::sleep(Duration::from_millis(300));
        let mut events = self.bed.audit_since(&mark);
        events.retain(|event| event.user == CONTROLLER);
        events
    }

    /// Whether something is forbidden in a step when this right is taken away for its time.
    fn is_missed(&mut self, step: &Step, role: &Role<'_>, right: &Right) -> bool {
        role.without(Some(right));
        eventually("the right is gone", || !role.is_granted(right));
        let (mark, name) = (self.bed.audit_mark(), self.name());
        (step.begin)(self, &name);
        let look = || self.bed.audit_since(&mark).iter().any(|event| right.is_missed_in(event)).then_some(());
        let missed = within(Duration::from_secs(60), look).is_some();
        role.without(None);
        eventually("the right is there again", || role.is_granted(right));
        self.settle();
        missed
    }
}

fn each_right_of_the_service_account_is_used_and_missed_where_it_is_taken_away() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[("config.leaseDuration", "3s"), ("config.staleness", "3s")]);
    let (admin, replica, asking) = (Asker::new(&bed, ADMIN), None, Vec::new());
    let mut stage = Stage { bed: &bed, admin, installation, replica, count: 0, asking };
    let roles = [
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/ringfence",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/ringfence-system/roles/ringfence",
    ]
    .map(|path| Role::read(&bed, path));
    let mut left: BTreeSet<(usize, Right)> =
        (0..roles.len()).flat_map(|at| roles[at].rights().into_iter().map(move |right| (at, right))).collect();
    let all: Vec<Right> = left.iter().map(|(_, right)| right.clone()).collect();
    assert!(left.len() > 10 && left.iter().all(|(_, right)| !right.to_string().contains('*')), "{left:?}");

    // The first start makes the certificates, as no later one does.
    stage.whole(&STEPS[0]);
    stage.until_trusted();
    for step in STEPS.iter().chain([&LEAVING]) {
        // On a slow machine a step may use a right that it does not need, and does not miss. It is seen again where it is
        // needed.
        for tries in (0..3).rev() {
            let events = stage.whole(step);
            let forbidden: Vec<_> = events.iter().filter(|event| is_forbidden(event)).collect();
            assert!(forbidden.is_empty(), "{}: {forbidden:#?}", step.what);
            // Who it is, and what time, everybody may ask. Nothing else comes from a role that is not the chart's.
            let granted = |event: &&Event| {
                event.resource == "selfsubjectreviews"
                    || event.resource.is_empty()
                    || all.iter().any(|right| right.covers(event))
            };
            let elsewhere: Vec<_> = events.iter().filter(|event| !granted(event)).collect();
            assert!(elsewhere.is_empty(), "{}: {elsewhere:#?}", step.what);
            let used: Vec<_> =
                left.iter().filter(|(_, right)| events.iter().any(|event| right.is_used_in(event))).cloned().collect();
            let not_missed: Vec<_> =
                used.iter().filter(|(at, right)| !stage.is_missed(step, &roles[*at], right)).collect();
            left.retain(|right| !used.contains(right) || not_missed.contains(&right));
            if not_missed.is_empty() {
                break;
            }
            assert!(tries > 0, "{}: without these nothing is forbidden: {not_missed:#?}", step.what);
        }
    }
    let left: Vec<String> = left.iter().map(|(_, right)| right.to_string()).collect();
    assert!(left.is_empty(), "no step uses these rights of the service account: {left:#?}");
}
