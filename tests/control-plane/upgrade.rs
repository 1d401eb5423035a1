//! From the chart whose release had the webhook configurations (0.1.0) to the one whose leader makes them, without a
//! moment in which a namespace is created that is not labelled.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use ringfence::certs::dev;
use ringfence::certs::pair::Pair;
use ringfence::certs::rotate::state::State;
use serde_json::{Value, json};

use crate::arming::{KINDS, registered};
use crate::direct::Over;
use crate::harness::{Bed, Installation, Options, Output, Replica, Ringfence, eventually};

crate::tests![
    case_79_an_upgrade_with_helm_4_leaves_no_gap,
    case_79_an_upgrade_with_helm_3_leaves_no_gap,
    case_79_an_upgrade_by_a_gitops_tool_leaves_no_gap,
];

fn chart(old: bool) -> String {
    let path = if old { "tests/fixtures/charts/ringfence-0.1.0" } else { "charts/ringfence" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).to_string_lossy().into_owned()
}

/// What stands for a replica of before: it serves, and writes no configuration. What its leader would have written is
/// written here: the Secret, and the bundles.
fn start_old(bed: &Bed, installation: &mut Installation) -> Ringfence {
    let names = ["ringfence.ringfence-system.svc".to_owned()];
    let pair = Pair::issue(&names, SignedDuration::from_hours(24 * 60), Timestamp::now()).unwrap();
    let directory = bed.path("old");
    dev::write(&pair, &directory).unwrap();
    let data = json!({ "data": State::fresh(pair.clone(), Vec::new()).to_data() }).to_string();
    let patch = ["patch", "secret", "ringfence-certificates", "-n", "ringfence-system", "--type=merge", "-p", &data];
    bed.kubectl(&patch).expect_ok();
    for (kind, object) in KINDS.iter().zip(registered(bed)) {
        let entry = |entry: &Value| json!({ "name": entry["name"], "clientConfig": { "caBundle": ByteString(pair.ca.clone().into_bytes()) } });
        let entries: Vec<Value> = object["webhooks"].as_array().unwrap().iter().map(entry).collect();
        let patch = json!({ "webhooks": entries }).to_string();
        let args = ["patch", kind, "ringfence", "--field-manager=ringfence", "--type=strategic", "-p", &patch];
        bed.kubectl(&args).expect_ok();
    }
    assert!(installation.webhooks.is_none(), "the old chart has nothing to mount");
    installation.certificates = Some(directory);
    bed.start_ringfence(installation, &Replica::named("old"))
}

/// Creates namespaces all along; each is labelled or refused. Returns how many there are.
fn beside(bed: &Bed, act: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let creates = scope.spawn(|| {
            let _end = Over(&over);
            let mut created = 0;
            for index in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("meanwhile-{index}");
                let said = bed.kubectl(&["create", "namespace", &name, "-o", "json"]);
                if said.ok {
                    let made: Value = serde_json::from_str(&said.stdout).unwrap();
                    assert_eq!(made["metadata"]["labels"]["ringfence.dev/mode"], "enforce", "{name} is not labelled");
                    created += 1;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            created
        });
        {
            let _over = Over(&over);
            act();
        }
        creates.join().unwrap()
    })
}

fn uids(bed: &Bed) -> [Value; 2] {
    registered(bed).map(|object| object["metadata"]["uid"].clone())
}

/// Replaces the replica of before by one of the new chart, and waits until it has taken over.
fn roll(bed: &Bed, installation: &Installation, old: Ringfence) -> (Installation, Ringfence) {
    let installation = bed.installed(installation.front.clone(), None);
    let new = bed.start_ringfence(&installation, &Replica::named("new"));
    assert_eq!(old.stop(), Some(0));
    let role = crate::steps::get(bed, "default", "clusterrole/ringfence")["metadata"]["uid"].clone();
    eventually("the leader has taken both over", || {
        registered(bed).iter().all(|object| {
            object["metadata"]["ownerReferences"][0]["uid"] == role
                && object["metadata"]["annotations"]["meta.helm.sh/release-name"].is_null()
        })
    });
    (installation, new)
}

fn helm(bed: &Bed, program: &str, args: &[&str]) -> Output {
    if program == "helm3" { bed.helm3(args) } else { bed.helm(args) }
}

fn upgrade_with(program: &str) {
    let bed = Bed::start(&Options::default());
    let front = Arc::new(bed.front(&[]));
    let values = bed.path("values.yaml");
    std::fs::write(&values, json!({ "service": { "port": front.address().port() } }).to_string()).unwrap();
    let values = values.to_string_lossy();
    let release = |verb: &str, old: bool, more: &[&str]| {
        let chart = chart(old);
        let args = [verb, "ringfence", &chart, "-n", "ringfence-system", "-f", &values];
        helm(&bed, program, &[&args[..], more].concat())
    };
    release("install", true, &["--create-namespace"]).expect_ok();
    let mut installation = bed.installed(front, None);
    let old = start_old(&bed, &mut installation);
    let before = uids(&bed);
    let manifest = || helm(&bed, program, &["get", "manifest", "ringfence", "-n", "ringfence-system"]).expect_ok();
    let mut kept = None;
    let created = beside(&bed, || {
        release("upgrade", false, &[]).expect_ok();
        assert_eq!(uids(&bed), before);
        // Nobody has taken them over: they are the release's, and stay in it.
        assert!(manifest().contains("kind: ValidatingWebhookConfiguration"));
        release("upgrade", false, &["--set", "replicas=3"]).expect_ok();
        let (installation, new) = roll(&bed, &installation, old);
        // From now on they are not, and helm deletes nothing.
        for replicas in ["replicas=2", "replicas=1"] {
            release("upgrade", false, &["--set", replicas]).expect_ok();
            assert!(manifest().lines().all(|line| line != "kind: ValidatingWebhookConfiguration"));
            assert_eq!(uids(&bed), before);
        }
        // Back to the release before, of the same chart, and on.
        helm(&bed, program, &["rollback", "ringfence", "4", "-n", "ringfence-system"]).expect_ok();
        assert_eq!(uids(&bed), before);
        kept = Some((installation, new));
    });
    assert!(created > 10, "{created}");
    // Back to the chart of before. Helm 3 can't take over what its last release does not have, unless it is told to.
    let back = helm(&bed, program, &["rollback", "ringfence", "1", "-n", "ringfence-system"]);
    assert_eq!(back.ok, program == "helm", "{back:?}");
    assert_eq!(uids(&bed), before);
    let _kept = kept;
    let adopt = ["--take-ownership"];
    let force = ["--take-ownership", "--force-conflicts"];
    release("upgrade", true, if program == "helm" { &force } else { &adopt }).expect_ok();
    assert_eq!(uids(&bed), before);
    assert!(manifest().contains("kind: ValidatingWebhookConfiguration"));
}

fn case_79_an_upgrade_with_helm_4_leaves_no_gap() {
    upgrade_with("helm");
}

fn case_79_an_upgrade_with_helm_3_leaves_no_gap() {
    upgrade_with("helm3");
}

/// As Argo CD does it: what was rendered is applied by the server, and what is not rendered any more is deleted, unless
/// the object itself says that it is not to be.
fn case_79_an_upgrade_by_a_gitops_tool_leaves_no_gap() {
    const KEEP: &str = "argocd.argoproj.io/sync-options";
    let bed = Bed::start(&Options::default());
    let front = Arc::new(bed.front(&[]));
    let values = bed.path("values.yaml");
    std::fs::write(&values, json!({ "service": { "port": front.address().port() } }).to_string()).unwrap();
    let values = values.to_string_lossy();
    let rendered = |old: bool, more: &[&str]| {
        let chart = chart(old);
        let args = ["template", "ringfence", &chart, "-n", "ringfence-system", "--no-hooks", "-f", &values];
        helm(&bed, "helm", &[&args[..], more].concat()).expect_ok()
    };
    let applied = |manifests: &str| -> BTreeSet<String> {
        let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"];
        let said = bed.kubectl_stdin(&[&args[..], &["-o", "name"]].concat(), manifests).expect_ok();
        said.lines().map(str::to_owned).collect()
    };
    let synced = |before: &BTreeSet<String>, manifests: &str| {
        let now = applied(manifests);
        for name in before.difference(&now) {
            let live = bed.kubectl(&["get", name, "-n", "ringfence-system", "-o", "json"]).expect_ok();
            let live: Value = serde_json::from_str(&live).unwrap();
            if live["metadata"]["annotations"][KEEP] != "Prune=false" {
                bed.kubectl(&["delete", name, "-n", "ringfence-system"]).expect_ok();
            }
        }
        now
    };
    bed.kubectl(&["create", "namespace", "ringfence-system"]).expect_ok();
    let all = applied(&rendered(true, &[]));
    let mut installation = bed.installed(front, None);
    let old = start_old(&bed, &mut installation);
    let before = uids(&bed);
    let mut kept = None;
    let created = beside(&bed, || {
        // The step that the chart's README asks for, with the old chart.
        let keep = format!("webhook.annotations.{}=Prune=false", KEEP.replace('.', r"\."));
        let all = synced(&all, &rendered(true, &["--set", &keep]));
        let all = synced(&all, &rendered(false, &[]));
        assert_eq!(uids(&bed), before);
        let (installation, new) = roll(&bed, &installation, old);
        synced(&all, &rendered(false, &["--set", "replicas=3"]));
        assert_eq!(uids(&bed), before);
        kept = Some((installation, new));
    });
    assert!(created > 10, "{created}");
}
