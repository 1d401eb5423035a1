//! Who may deviate: RBAC on the resources `profiles`, `modes` and `exceptions` of `ringfence.dev`.

use std::time::Instant;

use serde_json::{Value, json};

use crate::direct::{Reply, ask_at, asked, creation_of_a_namespace};
use crate::harness::{
    ALICE, BOB, Bed, Event, Installation, Mark, Options, Output, Replica, Ringfence, World, eventually,
};
use crate::steps::{create_namespace, is_isolated, isolated_namespace, opens_ingress, until_isolated};
use crate::watches::{impatient, rule_with, silence};

crate::tests![
    whoever_may_use_a_mode_or_a_profile_may_choose_that_one_and_no_other,
    an_exception_is_for_whoever_may_use_it_and_a_namespace_s_admin_may_not,
    the_api_server_is_asked_about_the_very_user_and_not_twice_within_seconds,
    case_76_reviews_that_no_api_server_sends_cause_a_few_questions_a_second,
    case_61_rights_that_are_taken_away_are_missed_loudly_and_nothing_is_decided_by_guessing,
];

fn role(bed: &Bed, name: &str, resource: &str, names: &[&str], labels: &Value) {
    let rule =
        json!({ "apiGroups": ["ringfence.dev"], "resources": [resource], "resourceNames": names, "verbs": ["use"] });
    let metadata = json!({ "name": name, "labels": labels });
    let api = "rbac.authorization.k8s.io/v1";
    let object = json!({ "apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": [rule] });
    bed.apply(&object.to_string());
}

/// Binds a cluster role to a user or a group, everywhere or in one namespace.
fn bind(bed: &Bed, role: &str, subject: &str, namespace: Option<&str>) {
    let (name, subject) = (format!("{role}-{}", subject.replace(['=', '-'], "")), format!("--{subject}"));
    let role = format!("--clusterrole={role}");
    let bound = match namespace {
        None => bed.kubectl(&["create", "clusterrolebinding", &name, &role, &subject]),
        Some(namespace) => bed.kubectl(&["create", "rolebinding", &name, "-n", namespace, &role, &subject]),
    };
    bound.expect_ok();
}

fn namespace_with(name: &str, labels: &Value) -> String {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } }).to_string()
}

/// As a user, without storing anything.
fn try_to_create(bed: &Bed, user: &str, flags: &[&str], manifest: &str) -> Output {
    bed.kubectl_at(0, user, &[&["create", "--dry-run=server", "-f", "-"], flags].concat(), manifest)
}

#[track_caller]
fn expect_not_permitted(output: Output) {
    let said = output.expect_error();
    assert!(said.contains("Forbidden") && said.contains("NotPermitted"), "{said}");
}

fn whoever_may_use_a_mode_or_a_profile_may_choose_that_one_and_no_other() {
    let bed = &World::shared().bed;
    bed.kubectl(&["create", "clusterrole", "namespaces", "--verb=*", "--resource=namespaces"]).expect_ok();
    bind(bed, "namespaces", "user=alice", None);
    let mode = |mode: &str| namespace_with("hers", &json!({ "ringfence.dev/mode": mode }));
    let profile = |profile: &str| namespace_with("hers", &json!({ "ringfence.dev/profile": profile }));
    let attempt = |manifest: &str| try_to_create(bed, ALICE, &[], manifest);
    eventually("she may create namespaces", || attempt(&mode("enforce")).ok);
    attempt(&profile("standard")).expect_ok();
    for manifest in [mode("warn"), mode("audit"), profile("strict")] {
        expect_not_permitted(attempt(&manifest));
    }

    role(bed, "may-warn", "modes", &["warn"], &json!({}));
    bind(bed, "may-warn", "user=alice", None);
    eventually("a new role counts", || attempt(&mode("warn")).ok);
    expect_not_permitted(attempt(&mode("audit")));
    expect_not_permitted(attempt(&profile("strict")));
    let both = json!({ "ringfence.dev/mode": "warn", "ringfence.dev/profile": "strict" });
    expect_not_permitted(attempt(&namespace_with("hers", &both)));

    // A role that others are added up to.
    let rule = json!({ "clusterRoleSelectors": [{ "matchLabels": { "example.com/tenant": "true" } }] });
    let metadata = json!({ "name": "tenant" });
    let sum = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata,
        "aggregationRule": rule, "rules": [],
    });
    bed.apply(&sum.to_string());
    bind(bed, "tenant", "user=alice", None);
    role(bed, "may-strict", "profiles", &["strict"], &json!({ "example.com/tenant": "true" }));
    eventually("what was added counts", || attempt(&namespace_with("hers", &both)).ok);
    expect_not_permitted(attempt(&profile("deny-all")));

    // What was granted is taken back.
    bed.kubectl(&["delete", "clusterrole", "may-warn"]).expect_ok();
    eventually("what was taken back does not count", || attempt(&mode("warn")).stderr.contains("NotPermitted"));
    expect_not_permitted(attempt(&mode("warn")));

    // Choosing it later is the same as choosing it at first.
    isolated_namespace(bed, "hers-already");
    let label = |label: &str| bed.kubectl_with(ALICE, &["label", "namespace", "hers-already", "--overwrite", label]);
    expect_not_permitted(label("ringfence.dev/mode=audit"));
    label("ringfence.dev/profile=strict").expect_ok();
    // What is stricter is not left for the default just so.
    expect_not_permitted(label("ringfence.dev/profile=standard"));
    role(bed, "may-standard", "profiles", &["standard"], &json!({ "example.com/tenant": "true" }));
    eventually("what was added counts", || label("ringfence.dev/profile=standard").ok);
    assert!(is_isolated(bed, "hers-already"));
}

fn an_exception_is_for_whoever_may_use_it_and_a_namespace_s_admin_may_not() {
    let bed = &World::shared().bed;
    isolated_namespace(bed, "excepted-by-role");
    bind(bed, "admin", "user=bob", Some("excepted-by-role"));
    create_namespace(bed, "excepted-elsewhere");
    bind(bed, "admin", "user=bob", Some("excepted-elsewhere"));
    let with_exception = |namespace: &str, name: &str| {
        let until = crate::steps::in_seconds(3600);
        let annotations =
            json!({ "ringfence.dev/exception-reason": "a migration", "ringfence.dev/exception-until": until });
        let metadata = json!({ "name": name, "namespace": namespace, "annotations": annotations });
        let kind = "NetworkPolicy";
        let spec = opens_ingress();
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec }).to_string()
    };
    let attempt_in = |namespace: &str, name: &str| try_to_create(bed, BOB, &[], &with_exception(namespace, name));
    let attempt = |name: &str| attempt_in("excepted-by-role", name);
    eventually("he is its admin", || bed.kubectl_with(BOB, &["get", "pods", "-n", "excepted-by-role"]).ok);
    expect_not_permitted(attempt("migration"));
    // In another namespace it would be another one.
    role(bed, "may-migrate", "exceptions", &["migration"], &json!({}));
    bind(bed, "may-migrate", "user=bob", Some("excepted-elsewhere"));
    eventually("he may elsewhere", || attempt_in("excepted-elsewhere", "migration").ok);
    expect_not_permitted(attempt("migration"));
    bind(bed, "may-migrate", "user=bob", Some("excepted-by-role"));
    eventually("he may", || attempt("migration").ok);
    expect_not_permitted(attempt("another"));
}

/// The questions that Ringfence has put since, with the answers.
fn questions(bed: &Bed, mark: &Mark, mode: &str) -> Vec<Event> {
    let mut events = asked(bed, mark);
    events.retain(|event| {
        event.resource == "subjectaccessreviews"
            && event.whole["requestObject"]["spec"]["resourceAttributes"]["name"] == mode
    });
    events
}

fn the_api_server_is_asked_about_the_very_user_and_not_twice_within_seconds() {
    let bed = Bed::start(&Options { audit_bodies: true, ..Options::default() });
    let installation = bed.install(&[]);
    let ringfence = bed.start_ringfence(&installation, &Replica::default());
    bed.kubectl(&["create", "clusterrole", "namespaces", "--verb=*", "--resource=namespaces"]).expect_ok();
    role(&bed, "may-warn", "modes", &["warn"], &json!({}));
    for role in ["namespaces", "may-warn"] {
        bind(&bed, role, "group=devs", None);
    }
    let manifest = namespace_with("theirs", &json!({ "ringfence.dev/mode": "warn" }));
    let jane = ["--as=jane", "--as-group=devs", "--as-uid=u-42", "--as-user-extra=example.com/scopes=a"];
    let start = bed.audit_mark();
    eventually("her group may", || try_to_create(&bed, crate::harness::ADMIN, &jane, &manifest).ok);
    let found = questions(&bed, &start, "warn");
    let spec = &found.last().expect("it has asked").whole["requestObject"]["spec"];
    assert_eq!((&spec["user"], &spec["uid"]), (&json!("jane"), &json!("u-42")), "{spec:#}");
    let groups = spec["groups"].as_array().unwrap();
    assert!(groups.contains(&json!("devs")) && !groups.contains(&json!("system:masters")), "{spec:#}");
    assert_eq!(spec["extra"], json!({ "example.com/scopes": ["a"] }), "{spec:#}");
    let attributes = json!({ "group": "ringfence.dev", "resource": "modes", "name": "warn", "verb": "use" });
    assert_eq!(spec["resourceAttributes"], attributes);
    // The same name without the group is somebody else.
    let bare = ["--as=jane", "--as-group=others"];
    bind(&bed, "namespaces", "group=others", None);
    let enforce = namespace_with("theirs", &json!({}));
    eventually("others may create", || try_to_create(&bed, crate::harness::ADMIN, &bare, &enforce).ok);
    expect_not_permitted(try_to_create(&bed, crate::harness::ADMIN, &bare, &manifest));

    // Asked directly, to be faster than what is remembered is forgotten.
    let mark = bed.audit_mark();
    for _ in 0..60 {
        // Nobody granted alice anything.
        assert!(crate::direct::decide(&installation, &ringfence, &creation_of_a_namespace("audit")).denies());
    }
    let count = || questions(&bed, &mark, "audit").len();
    eventually("the question is logged", || count() > 0);
    assert!(count() <= 20, "asked {} times", count());
    let before = count();
    eventually("it is asked again after a while", || {
        crate::direct::ask(&installation, &ringfence, &creation_of_a_namespace("audit"));
        count() > before
    });
}

/// The outcome of one round of reviews.
struct Round {
    /// How many seconds by which questions are counted the round was in, at most.
    seconds: usize,
    decided: usize,
    /// How many reviews got 503 with `Retry-After` because too many permissions were asked for.
    put_off: usize,
    questions: Vec<Event>,
}

/// Sends two hundred reviews that each depend on another permission question. One half has one user name and different uids,
/// the other half different user names.
fn round(bed: &Bed, installation: &Installation, ringfence: &Ringfence, number: usize) -> Round {
    const PEERS: usize = 4;
    const EACH: usize = 50;
    let review = |index: usize| {
        let name = if index.is_multiple_of(2) { "system:anonymous" } else { &format!("stranger-{number}-{index}") };
        let mut review = creation_of_a_namespace("warn");
        review["userInfo"] =
            json!({ "username": name, "uid": format!("{number}-{index}"), "groups": ["system:unauthenticated"] });
        review
    };
    let (ca, address) = (installation.ca.get().unwrap(), ringfence.address);
    let (mark, began) = (bed.audit_mark(), Instant::now());
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let peer = |peer: usize| -> Vec<Reply> {
            (0..EACH).map(|one| ask_at(ca, address, &review(peer * EACH + one))).collect()
        };
        let peers: Vec<_> = (0..PEERS).map(|number| scope.spawn(move || peer(number))).collect();
        peers.into_iter().flat_map(|peer| peer.join().unwrap()).collect()
    });
    // The second that was counted when the round began, and each that began since.
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    assert!(replies.iter().all(|reply| reply.denies() || reply.puts_off()), "{replies:#?}");
    let decided = replies.iter().filter(|reply| reply.denies()).count();
    let is_too_many = |reply: &&Reply| reply.puts_off() && reply.body.to_string().contains("too many permissions");
    let put_off = replies.iter().filter(is_too_many).count();
    let logged = || questions(bed, &mark, "warn");
    eventually("the questions are logged", || logged().len() >= decided);
    Round { seconds, decided, put_off, questions: logged() }
}

fn case_76_reviews_that_no_api_server_sends_cause_a_few_questions_a_second() {
    const PER_USER: usize = 10;
    const PER_PEER: usize = 50;
    let bed = Bed::start(&Options { audit_bodies: true, ..Options::default() });
    let installation = bed.install(&[]);
    let ringfence = bed.start_ringfence(&installation, &Replica::default());
    let mut number = 0;
    // A slow machine spreads a round over so many seconds that no review is put off: then there is another round.
    eventually("some are put off", || {
        number += 1;
        let round = round(&bed, &installation, &ringfence, number);
        let of_one = |event: &&Event| event.whole["requestObject"]["spec"]["user"] == "system:anonymous";
        let of_one = round.questions.iter().filter(of_one).count();
        assert!(round.questions.len() <= PER_PEER * round.seconds, "{} questions", round.questions.len());
        assert!(of_one <= PER_USER * round.seconds, "{of_one} questions for one user in {} s", round.seconds);
        println!(
            "case 76: {} reviews decided and {} put off by {} questions, {of_one} of one user, in less than {} s",
            round.decided,
            round.put_off,
            round.questions.len(),
            round.seconds
        );
        round.put_off > 0
    });
    // A request by way of the API server is answered: the API server repeats a review that was put off.
    let warns = namespace_with("asked", &json!({ "ringfence.dev/mode": "warn" }));
    bed.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], &warns).expect_ok();
}

fn case_61_rights_that_are_taken_away_are_missed_loudly_and_nothing_is_decided_by_guessing() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let config = Some(impatient(&bed, &installation));
    let mut ringfence = bed.start_ringfence(&installation, &Replica { config, ..Replica::default() });
    for name in ["stays", "relaxed"] {
        isolated_namespace(&bed, name);
    }
    let set = |resource: &str, verbs: &[&str]| {
        let place = format!("/rules/{}/verbs", rule_with(&bed, resource));
        let patch = json!([{ "op": "replace", "path": place, "value": verbs }]).to_string();
        bed.kubectl(&["patch", "clusterrole", "ringfence", "--type=json", "-p", &patch]).expect_ok();
    };

    // Whether somebody may: an error of the call, and not a denial.
    set("subjectaccessreviews", &["get"]);
    let warn = namespace_with("asked", &json!({ "ringfence.dev/mode": "warn" }));
    let attempt = || try_to_create(&bed, crate::harness::ADMIN, &["--as=jane", "--as-group=system:masters"], &warn);
    eventually("it is an error", || attempt().stderr.contains("InternalError"));
    let said = attempt().expect_error();
    assert!(!said.contains("Forbidden") && !said.contains("denied the request"), "{said}");
    // The API server tries until its time is over, and then knows only that.
    eventually("the log says why", || {
        ringfence.log().contains("subjectaccessreviews.authorization.k8s.io is forbidden")
    });
    create_namespace(&bed, "ordinary");
    set("subjectaccessreviews", &["create"]);
    eventually("it may ask again", || attempt().ok);

    // The watches: what it can't hear it reads, and what it reads is what is there.
    set("namespaces", &["get", "patch"]);
    set("networkpolicies", &["get", "list", "create", "patch", "delete"]);
    eventually("silence is noticed", || silence(&ringfence) >= 3.0);
    bed.kubectl(&["label", "namespace", "relaxed", "--overwrite", "ringfence.dev/mode=warn"]).expect_ok();
    let delete = |namespace: &str| {
        bed.kubectl(&["delete", "networkpolicy", "default-deny-all", "-n", namespace, "--dry-run=server"])
    };
    let allowed = eventually_output("it sees that it only warns there now", || delete("relaxed"));
    assert!(allowed.stderr.contains("Warning"), "{allowed:?}");
    let denied = delete("stays").expect_error();
    assert!(denied.contains("denied the request"), "{denied}");
    assert!(ringfence.log().contains("a watch failed; trying again") && ringfence.log().contains("forbidden"));
    assert!(ringfence.process.is_running() && ringfence.is_ready());
    // Neither heard nor read.
    set("namespaces", &["patch"]);
    eventually("it does not decide", || delete("stays").stderr.contains("InternalError"));
    set("namespaces", &["get", "list", "watch"]);
    set("networkpolicies", &["get", "list", "watch", "create", "patch", "delete"]);
    eventually("it hears again", || silence(&ringfence) < 3.0);

    // Writing: tried again ever less often, and said.
    create_namespace(&bed, "late");
    let failed = || {
        let counters = ringfence.counters().unwrap();
        counters.sum("ringfence_reconciles_total", &[("result", "failed")])
    };
    eventually("it says that it fails", || failed() >= 2.0);
    assert!(ringfence.log().contains("a reconcile failed; trying again"));
    assert!(failed() < 50.0);
    set("namespaces", &["get", "list", "watch", "patch"]);
    until_isolated(&bed, "late");
    assert!(is_isolated(&bed, "stays") && ringfence.process.is_running());
}

fn eventually_output(what: &str, run: impl Fn() -> Output) -> Output {
    crate::harness::eventually_some(what, || Some(run()).filter(|output| output.ok))
}
