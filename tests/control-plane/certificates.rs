//! Certificates that Ringfence issues itself: made, rotated, restored, and accepted by real API servers all along.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use ringfence::certs::pair::Pair;
use ringfence::certs::rotate::state::{State, Stored};
use serde_json::{Value, json};

use crate::direct::{Over, asked};
use crate::harness::{Bed, Event, Options, Output, Replica, Ringfence, eventually, eventually_some, lock};
use crate::steps::{configuration, get};

crate::tests![
    replicas_that_start_together_make_one_certificate_and_the_api_servers_are_told_of_it,
    cases_38_and_39_what_is_deleted_or_blanked_is_restored_within_seconds,
    a_leader_killed_at_every_step_of_a_rotation_leaves_one_that_is_completed_and_no_call_fails,
    with_certificates_of_somebody_else_a_bundle_that_does_not_fit_is_told_of_and_left_alone,
    an_old_secret_that_somebody_puts_back_is_not_served_where_calls_would_fail,
    an_upgrade_that_leaves_entries_out_or_brings_them_back_keeps_the_bundle,
    case_28_api_servers_with_a_client_certificate_are_answered_and_others_are_not,
];

const ENTRIES: [&str; 2] = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

/// What the Secret holds; `None` where there is none.
pub(crate) fn stored(bed: &Bed) -> Option<State> {
    let secret = get(bed, "ringfence-system", "secret/ringfence-certificates");
    let secret: Option<Secret> = serde_json::from_value(secret).unwrap();
    match Stored::of(secret.as_ref()) {
        Stored::Good(state) => Some(*state),
        Stored::Broken(problem) => panic!("{problem}"),
        Stored::Missing => None,
    }
}

/// The bundle that every entry of both configurations trusts; `None` where they differ.
fn trusted(bed: &Bed) -> Option<String> {
    let bundles = ENTRIES.iter().flat_map(|kind| {
        let all = get(bed, "default", &format!("{kind}/ringfence"));
        let bundle = |entry: &Value| {
            let text: k8s_openapi::ByteString =
                serde_json::from_value(entry["clientConfig"]["caBundle"].clone()).unwrap_or_default();
            String::from_utf8(text.0).unwrap()
        };
        // There may be none yet.
        all["webhooks"].as_array().into_iter().flatten().map(bundle).collect::<Vec<_>>()
    });
    let mut bundles: Vec<String> = bundles.collect();
    let all = bundles.len();
    bundles.dedup();
    (all > 5 && bundles.len() == 1).then(|| bundles.remove(0))
}

fn until_trusted(bed: &Bed) {
    eventually("the bundles are those of the Secret", || {
        stored(bed).is_some_and(|state| trusted(bed) == Some(state.bundle()))
    });
}

/// Whether the webhooks answer: this needs both.
fn answers(bed: &Bed, server: usize) -> Result<(), String> {
    let dry = ["create", "namespace", "asks-both-webhooks", "--dry-run=server", "-o", "name"];
    let output = bed.kubectl_at(server, crate::harness::ADMIN, &dry, "");
    if output.ok { Ok(()) } else { Err(output.stderr) }
}

fn metric(ringfence: &Ringfence, name: &str, labels: &[(&str, &str)]) -> f64 {
    ringfence.counters().map_or(f64::NAN, |counters| counters.sum(name, labels))
}

fn replicas_that_start_together_make_one_certificate_and_the_api_servers_are_told_of_it() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    assert!(stored(&bed).is_none(), "the chart brings no certificate");
    let replica = |name: &str| Replica { wait: false, ..Replica::named(name) };
    let mut both = ["one", "two"].map(|name| bed.start_ringfence(&installation, &replica(name)));
    both.iter_mut().for_each(Ringfence::wait_until_ready);
    until_trusted(&bed);
    bed.until_armed();
    let state = stored(&bed).unwrap();
    for replica in &both {
        let log = replica.log();
        assert!(!log.contains("what is to be served can't be"), "{log}");
        installation.front.point_at(&[replica.address]);
        installation.front.cut();
        eventually("it is accepted", || answers(&bed, 0).is_ok());
        let until = metric(replica, "ringfence_certificate_expiration_timestamp_seconds", &[("certificate", "leaf")]);
        let leaf = state.serving.validity().unwrap();
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let expected = leaf.not_after.as_second() as f64;
        assert!((until - expected).abs() < 1.0);
        let ca = metric(replica, "ringfence_certificate_expiration_timestamp_seconds", &[("certificate", "ca")]);
        assert!((ca - expected).abs() < 1.0);
        assert!(metric(replica, "ringfence_certificate_last_reload_timestamp_seconds", &[]) > 1.7e9);
        for configuration in ["mutating", "validating"] {
            let labels = [("configuration", configuration)];
            eventually("no mismatch", || metric(replica, "ringfence_ca_bundle_mismatch", &labels) == 0.0);
        }
        let days = leaf.not_after.duration_since(leaf.not_before).as_hours() / 24;
        assert_eq!(days, 60);
    }
    // Neither CA nor next key is anywhere: all keys that there are in the Secret are the leaf's.
    let secret = get(&bed, "ringfence-system", "secret/ringfence-certificates");
    let keys: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"]);
}

fn cases_38_and_39_what_is_deleted_or_blanked_is_restored_within_seconds() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let ringfence = bed.start_ringfence(&installation, &Replica::default());
    until_trusted(&bed);
    eventually("it answers", || answers(&bed, 0).is_ok());
    let before = stored(&bed).unwrap();

    bed.kubectl(&["delete", "secret", "ringfence-certificates", "-n", "ringfence-system"]).expect_ok();
    // What is served does not hang on it.
    installation.front.cut();
    answers(&bed, 0).unwrap();
    eventually("the Secret is there again", || stored(&bed).is_some());
    assert!(stored(&bed).unwrap() == before, "the same: nobody has to learn anything");
    answers(&bed, 0).unwrap();

    let refused = || metric(&ringfence, "ringfence_certificate_source_refused", &[("source", "secret")]);
    let spoil = json!({ "stringData": { "tls.key": "nonsense" } }).to_string();
    let patch = ["patch", "secret", "ringfence-certificates", "-n", "ringfence-system", "--type=merge", "-p"];
    bed.kubectl(&[&patch[..], &[&spoil]].concat()).expect_ok();
    eventually("it is as it was", || {
        installation.front.cut();
        answers(&bed, 0).unwrap();
        let secret = get(&bed, "ringfence-system", "secret/ringfence-certificates");
        let secret: Option<Secret> = serde_json::from_value(secret).unwrap();
        matches!(Stored::of(secret.as_ref()), Stored::Good(state) if *state == before)
    });
    assert!(ringfence.log().contains("what is to be served can't be"), "a line says so");
    eventually("the alarm is over", || refused() == 0.0);

    for kind in ENTRIES {
        blank(&bed, kind);
    }
    // It is told in the metric as long as it is so, which may be too short to be seen.
    until_trusted(&bed);
    installation.front.cut();
    eventually("the API server has learnt of it", || answers(&bed, 0).is_ok());
    assert!(stored(&bed).unwrap() == before);

    // Somebody who insists is not fought as fast as can be.
    let (mark, began) = (bed.audit_mark(), Instant::now());
    for _ in 0..30 {
        blank(&bed, "validatingwebhookconfigurations");
    }
    let is_write = |event: &&Event| event.verb == "update" && event.resource.ends_with("webhookconfigurations");
    let writes = asked(&bed, &mark).iter().filter(is_write).count();
    assert!(writes as u64 <= 2 + began.elapsed().as_secs(), "{writes} in {:?}", began.elapsed());
    until_trusted(&bed);
}

/// Takes the CA bundle of one entry away.
fn blank(bed: &Bed, kind: &str) {
    let blank = json!([{ "op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "" }]).to_string();
    bed.kubectl(&["patch", kind, "ringfence", "--type=json", "-p", &blank]).expect_ok();
}

fn with_certificates_of_somebody_else_a_bundle_that_does_not_fit_is_told_of_and_left_alone() {
    let bed = Bed::start(&Options::default());
    let annotations = json!({ "annotations": { "cert-manager.io/inject-ca-from": "ringfence-system/ringfence" } });
    let installation = bed.install(&[("tls.mode", "files"), ("webhook", &annotations.to_string())]);
    let mut ringfence = bed.start_ringfence(&installation, &Replica { wait: false, ..Replica::default() });
    ringfence.wait_until_ready();
    let bundle = k8s_openapi::ByteString(installation.pair(&bed).ca.into_bytes());
    // As cert-manager does it, which goes by the annotation. Until then nothing is trusted, and nothing blocked.
    for kind in ENTRIES {
        let all = eventually_some("the leader made it", || {
            let all = get(&bed, "default", &format!("{kind}/ringfence"));
            all["webhooks"].as_array().map(|entries| (entries.len(), all["metadata"]["annotations"].clone()))
        });
        assert_eq!(all.1["cert-manager.io/inject-ca-from"], "ringfence-system/ringfence");
        bed.kubectl(&["create", "namespace", kind]).expect_ok();
        let inject = |entry: usize| json!({ "op": "add", "path": format!("/webhooks/{entry}/clientConfig/caBundle"), "value": bundle });
        let inject: Vec<Value> = (0..all.0).map(inject).collect();
        bed.kubectl(&["patch", kind, "ringfence", "--type=json", "-p", &json!(inject).to_string()]).expect_ok();
    }
    bed.until_armed();
    let mismatches = || {
        ["mutating", "validating"].map(|configuration| {
            let value = metric(&ringfence, "ringfence_ca_bundle_mismatch", &[("configuration", configuration)]);
            assert!(!value.is_nan(), "it has no metrics");
            value > 0.0
        })
    };
    eventually("both fit", || mismatches() == [false, false]);
    blank(&bed, ENTRIES[0]);
    eventually("one does not", || mismatches() == [true, false]);
    installation.front.cut();
    eventually("the API server sees it as well", || answers(&bed, 0).is_err());
    let back = json!([{ "op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle }]).to_string();
    bed.kubectl(&["patch", ENTRIES[0], "ringfence", "--type=json", "-p", &back]).expect_ok();
    eventually("both fit again", || mismatches() == [false, false] && answers(&bed, 0).is_ok());
    assert!(trusted(&bed).is_some(), "no entry was written to by anybody else");
}

/// Somebody who asks the webhooks all along, by way of each API server; returns how often, and fails with the first
/// answer that is none. What is done while the lock is held falls between two questions.
fn beside(bed: &Bed, servers: usize, act: impl FnOnce(&Mutex<()>)) -> usize {
    let (over, asking) = (AtomicBool::new(false), Mutex::new(()));
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| {
            let _end = Over(&over);
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                for server in 0..servers {
                    let asking = lock(&asking);
                    answers(bed, server).unwrap_or_else(|error| panic!("by API server {server}: {error}"));
                    asked += 1;
                    // Somebody else may be waiting for it, and it is not given out in turn.
                    drop(asking);
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            asked
        });
        {
            let _over = Over(&over);
            act(&asking);
        }
        asks.join().unwrap()
    })
}

fn a_leader_killed_at_every_step_of_a_rotation_leaves_one_that_is_completed_and_no_call_fails() {
    let bed = Bed::start(&Options { api_servers: 2, ..Options::default() });
    let installation = bed.install(&[]);
    let config = |overlap: &str| {
        let config = format!("leaseDuration: 3s\ncertificates: {{ validity: 15m, overlap: {overlap} }}");
        Some(configuration(&bed, &installation, &config))
    };
    // One that is due soon, and good for long enough after that, however slow the machine is.
    let (validity, age) = (SignedDuration::from_secs(900), SignedDuration::from_secs(550));
    let issued = Timestamp::now().checked_sub(age).unwrap();
    let first = Pair::issue(&["ringfence.ringfence-system.svc".to_owned()], validity, issued).unwrap();
    let data = json!({ "data": State::fresh(first.clone(), Vec::new()).to_data() }).to_string();
    let patch = ["patch", "secret", "ringfence-certificates", "-n", "ringfence-system", "--type=merge", "-p"];
    bed.kubectl(&[&patch[..], &[&data]].concat()).expect_ok();
    let start = |name: &str, overlap: &str| {
        bed.start_ringfence(&installation, &Replica { config: config(overlap), ..Replica::named(name) })
    };
    // The first two wait for long, so that the rotation is not over before anybody looks.
    let mut replicas = ["replica-0", "replica-1"].map(|name| start(name, "75s"));
    until_trusted(&bed);
    for server in 0..2 {
        eventually("it answers", || answers(&bed, server).is_ok());
    }
    let mut kills = 0;
    let asked = beside(&bed, 2, |asking| {
        // Whoever leads is killed after each write of the Secret, and of the bundles.
        let mut kill = || {
            let leader = eventually_some("somebody leads", || {
                replicas.iter().position(|replica| metric(replica, "ringfence_leader", &[]) > 0.0)
            });
            kills += 1;
            {
                let _between = lock(asking);
                installation.front.point_at(&[replicas[1 - leader].address]);
                installation.front.cut();
                replicas[leader].process.signal("KILL");
            }
            replicas[leader] = start(&format!("replica-{}", kills + 1), "4s");
        };
        let next = eventually_some("the next certificate is announced", || Some(stored(&bed)?.next?.ca));
        kill();
        eventually("both CAs are trusted", || trusted(&bed).is_some_and(|all| all.contains(&next)));
        kill();
        eventually("it is served", || stored(&bed).is_some_and(|now| now.serving.ca == next));
        kill();
        eventually("the CA of before is dropped", || stored(&bed).is_some_and(|now| now.retired.is_empty()));
        kill();
        eventually("nobody trusts it any more", || trusted(&bed).is_some_and(|all| !all.contains(&first.ca)));
    });
    assert!(asked >= 2 * kills, "{asked}");
    assert_eq!(kills, 4);
}

fn an_old_secret_that_somebody_puts_back_is_not_served_where_calls_would_fail() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let ringfence = bed.start_ringfence(&installation, &Replica::default());
    let before = stored(&bed).unwrap();
    let old = Pair::issue(
        &["ringfence.ringfence-system.svc".to_owned()],
        SignedDuration::from_hours(24 * 60),
        Timestamp::now(),
    )
    .unwrap();
    let data = json!({ "data": State::fresh(old, Vec::new()).to_data() }).to_string();
    let patch = ["patch", "secret", "ringfence-certificates", "-n", "ringfence-system", "--type=merge", "-p"];
    beside(&bed, 1, |asking| {
        bed.kubectl(&[&patch[..], &[&data]].concat()).expect_ok();
        eventually("it is as it was", || stored(&bed).is_some_and(|now| now == before));
        let between = lock(asking);
        installation.front.cut();
        drop(between);
        answers(&bed, 0).unwrap();
    });
    assert!(ringfence.log().contains("the API servers would refuse its certificate"), "a line says so");
}

/// Upgrades the chart with further flags, and leads its Service to this machine again.
fn upgrade(bed: &Bed, flags: &[&str]) -> Output {
    let chart = format!("{}/charts/ringfence", env!("CARGO_MANIFEST_DIR"));
    let file = bed.path("values.yaml").to_string_lossy().into_owned();
    let upgrade = ["upgrade", "ringfence", &chart, "-n", "ringfence-system", "-f", &file];
    let output = bed.helm(&[&upgrade[..], flags].concat());
    let external = r#"{"spec": {"type": "ExternalName", "externalName": "localhost"}}"#;
    bed.kubectl(&["patch", "service", "ringfence", "-n", "ringfence-system", "--type=merge", "-p", external])
        .expect_ok();
    output
}

fn an_upgrade_that_leaves_entries_out_or_brings_them_back_keeps_the_bundle() {
    let bed = Bed::start(&Options::default());
    let mut installation = bed.install(&[]);
    let mut ringfence = bed.start_ringfence(&installation, &Replica::default());
    until_trusted(&bed);
    let entries =
        || ENTRIES.map(|kind| get(&bed, "default", &format!("{kind}/ringfence"))["webhooks"].as_array().unwrap().len());
    let whole = entries();
    for (value, expected) in [("allow", whole[1] - 1), ("warn", whole[1])] {
        upgrade(&bed, &["--set", &format!("config.hostNetwork={value}")]).expect_ok();
        // What is mounted is read at start.
        drop(ringfence);
        installation.webhooks = bed.webhooks_of_the_chart();
        ringfence = bed.start_ringfence(&installation, &Replica::default());
        eventually("the entries are the chart's", || entries() == [whole[0], expected]);
        until_trusted(&bed);
        eventually("it answers", || answers(&bed, 0).is_ok());
    }

    // From certificates of Ringfence's own to somebody else's, as the chart's README says, and back.
    drop(ringfence);
    let pair = ringfence::certs::dev::issue().unwrap();
    let directory = bed.path("theirs");
    ringfence::certs::dev::write(&pair, &directory).unwrap();
    let bundle = serde_json::to_value(k8s_openapi::ByteString(pair.ca.clone().into_bytes())).unwrap();
    let set = format!("tls.mode=files,webhook.caBundle={}", bundle.as_str().unwrap());
    upgrade(&bed, &["--set", &set]).expect_ok();
    installation.webhooks = bed.webhooks_of_the_chart();
    installation.certificates = Some(directory);
    let ringfence = bed.start_ringfence(&installation, &Replica::named("theirs"));
    eventually("their bundle is trusted", || trusted(&bed).as_ref() == Some(&pair.ca));
    eventually("it answers", || answers(&bed, 0).is_ok());
    drop(ringfence);
    upgrade(&bed, &[]).expect_ok();
    installation.webhooks = bed.webhooks_of_the_chart();
    installation.certificates = None;
    let _ringfence = bed.start_ringfence(&installation, &Replica::named("own"));
    until_trusted(&bed);
    eventually("it answers", || answers(&bed, 0).is_ok());
}

fn case_28_api_servers_with_a_client_certificate_are_answered_and_others_are_not() {
    // As docs/operations.md describes it.
    let directory = crate::harness::fresh_directory();
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    std::fs::write(file("client-ca.crt"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let mut client = CertificateParams::new(vec!["kube-apiserver".to_owned()]).unwrap();
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = client.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(file("client.crt"), certificate.pem()).unwrap();
    std::fs::write(file("client.key"), key.serialize_pem()).unwrap();
    // The port is left out where it is 443.
    let identify = |port: u16| {
        let name = format!("ringfence.ringfence-system.svc:{port}");
        let user = json!({ "client-certificate": file("client.crt"), "client-key": file("client.key") });
        let kubeconfig =
            json!({ "apiVersion": "v1", "kind": "Config", "users": [{ "name": name, "user": user }] }).to_string();
        std::fs::write(file("webhooks.kubeconfig"), kubeconfig).unwrap();
    };
    identify(443);
    let plugin = |name: &str| {
        json!({
            "name": name,
            "configuration": {
                "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration",
                "kubeConfigFile": file("webhooks.kubeconfig"),
            },
        })
    };
    let admission = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [plugin("MutatingAdmissionWebhook"), plugin("ValidatingAdmissionWebhook")],
    });
    std::fs::write(file("admission.yaml"), admission.to_string()).unwrap();
    let flags = vec![format!("--admission-control-config-file={}", file("admission.yaml"))];

    let bed = Bed::start(&Options { api_server_flags: flags, ..Options::default() });
    let installation = bed.install(&[]);
    let flags = vec![format!("--client-ca={}", file("client-ca.crt"))];
    let mut ringfence = bed.start_ringfence(&installation, &Replica { flags, wait: false, ..Replica::default() });
    ringfence.wait_until_ready();
    until_trusted(&bed);
    let log = bed.server(0).log();
    eventually("the API server is refused", || {
        // So the webhooks are not armed, and nobody is kept from anything.
        answers(&bed, 0).unwrap();
        std::fs::read_to_string(&log).unwrap().contains("certificate required")
    });
    assert!(metric(&ringfence, "ringfence_webhooks_armed", &[]) < 1.0);

    // API servers read it at start.
    identify(installation.front.address().port());
    bed.server(0).stop();
    bed.server(0).start();
    bed.until_armed();
    eventually("it is answered", || answers(&bed, 0).is_ok());
}
