//! `docs/break-glass.md`, run as it is written while the webhook is down, and the way back.

use serde_json::{Value, json};

use crate::harness::{Options, Replica, World, eventually};
use crate::scene::{admin, held_pod, pending_namespace};
use crate::steps::{
    STANDARD, create_namespace, denies_all, get, is_isolated, isolated_namespace, labels, opens_ingress, policies,
    policy, run_pod, until_bound, until_isolated,
};

crate::tests![the_break_glass_procedure_gives_the_cluster_back_and_the_way_back_protects_it_again];

/// The commands of a section, one a line. Two lines that hang together are one.
fn commands(section: &str) -> Vec<String> {
    let page = include_str!("../../docs/break-glass.md");
    let (_, rest) = page.split_once(&format!("## {section}\n")).expect("the page has the section");
    let text = rest.split("\n## ").next().unwrap();
    let mut commands: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect();
    while let Some(at) = commands.iter().position(|line| line.starts_with("lift=") && !line.contains('\n')) {
        let next = commands.remove(at + 1);
        commands[at] = format!("{}\n{next}", commands[at]);
    }
    commands
}

fn the_break_glass_procedure_gives_the_cluster_back_and_the_way_back_protects_it_again() {
    let world = World::start(&Options::whole(), &[("config.leaseDuration", "3s")]);
    let bed = &world.bed;
    let admin = admin(bed);
    let shell = |command: &str| bed.shell(&format!("set -euo pipefail\n{command}")).expect_ok();
    for name in ["team-a", "team-b"] {
        isolated_namespace(bed, name);
    }
    pending_namespace(bed, "waiting");
    for pod in ["one", "two"] {
        held_pod(&admin, "waiting", pod);
    }
    // One of them waits for somebody else, too.
    let gated = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "three", "namespace": "waiting" },
        "spec": {
            "schedulingGates": [{ "name": "example.com/own" }],
            "containers": [{ "name": "app", "image": "example.com/app" }],
        },
    });
    bed.apply(&gated.to_string());

    let look = commands("Is it needed?");
    let [pods, logs, exempt] = look.as_slice() else { panic!("{look:?}") };
    assert!(shell(pods).contains("lease.coordination.k8s.io/ringfence"));
    shell(logs);
    shell(exempt);
    assert_eq!(labels(bed, "team-a")["ringfence.dev/mode"], "exempt");
    bed.apply(&policy("team-a", "wide", &opens_ingress()));

    *world.ringfence.lock().unwrap() = None;
    let create = |name: &str| bed.kubectl(&["create", "namespace", name]);
    let open =
        |namespace: &str| bed.kubectl_stdin(&["create", "-f", "-"], &policy(namespace, "wide", &opens_ingress()));
    let said = create("meanwhile").expect_error();
    assert!(said.contains("failed calling webhook"), "{said}");
    open("team-b").expect_error();
    let by_hand = commands("Lift what is held");
    let [look_at_them, lift] = by_hand.as_slice() else { panic!("{by_hand:?}") };
    let too_soon = bed.shell(&format!("set -euo pipefail\n{lift}")).expect_error();
    assert!(too_soon.contains("pods-lift.ringfence.dev"), "{too_soon}");

    for command in commands("Give the cluster back") {
        shell(&command);
    }
    eventually("namespaces can be created", || create("meanwhile").ok);
    eventually("policies can be written", || open("team-b").ok);
    bed.kubectl(&["delete", "networkpolicy", "default-deny-all", "-n", "team-b"]).expect_ok();
    run_pod(bed, "meanwhile", "runs");
    until_bound(bed, "meanwhile", "runs");
    assert!(is_isolated(bed, "team-b"), "nobody is there to see it");

    let held = shell(look_at_them);
    assert!(["one", "two", "three"].iter().all(|pod| held.contains(pod)), "{held}");
    shell(lift);
    assert_eq!(shell(look_at_them), "");
    for pod in ["one", "two"] {
        until_bound(bed, "waiting", pod);
    }
    let three = get(bed, "waiting", "pod/three");
    assert_eq!(crate::steps::gates(&three), ["example.com/own"], "{three:#}");

    // The pods of the Deployment are objects only; the process is what they would be.
    let back = commands("Come back");
    let at = |begins: &str| back.iter().position(|command| command.starts_with(begins)).unwrap();
    let (status, adopt) = (at("kubectl get namespaces"), at("ringfence adopt --all --dry-run"));
    for command in &back[..status] {
        shell(command);
    }
    *world.ringfence.lock().unwrap() = Some(bed.start_ringfence(&world.installation, &Replica::default()));
    eventually("policies are judged again", || {
        let delete = ["delete", "networkpolicy", "default-deny-all", "-n", "team-b", "--dry-run=server"];
        bed.kubectl(&delete).stderr.contains("denied the request: ManagedPolicy")
    });
    // What was deleted is back, and what somebody opened is closed.
    assert_eq!(get(bed, "team-b", "networkpolicy/default-deny-all")["spec"], denies_all());
    eventually("what somebody opened is closed", || {
        let wide = get(bed, "team-b", "networkpolicy/wide");
        wide["spec"]["ingress"] == Value::Null
            && wide["metadata"]["annotations"]["ringfence.dev/quarantined"].is_string()
    });
    let told: String = back[status..adopt].iter().map(|command| shell(command)).collect();
    assert!(told.contains("team-b") && told.contains("exempt"), "{told}");
    until_isolated(bed, "team-b");

    assert_eq!(labels(bed, "meanwhile")["ringfence.dev/mode"], Value::Null);
    for command in &back[adopt..] {
        shell(command);
    }
    until_isolated(bed, "meanwhile");
    assert_eq!(policies(bed, "meanwhile"), STANDARD);
    create_namespace(bed, "after-all");
    until_isolated(bed, "after-all");
}
