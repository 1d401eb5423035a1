//! The README's "Run it on your cluster", run as it is written: every command, in order, by a shell.
//!
//! What a machine of the test cannot do is done for it: there is no registry and no kubelet, so the image's commands are
//! left out, and Ringfence runs as a process with the chart's service account.

use std::sync::Arc;

use crate::harness::{Bed, Options, Replica, eventually};

crate::tests![the_commands_of_the_readme_do_what_it_says];

/// The commands of a section: its indented lines.
fn commands(section: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(&format!("## {section}\n")).expect("the README has the section");
    let text = rest.split("\n## ").next().unwrap();
    text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

fn the_commands_of_the_readme_do_what_it_says() {
    let bed = Bed::start(&Options::whole());
    bed.add_nodes(1);
    let _kubelet = bed.play_kubelet();
    let front = Arc::new(bed.front(&[]));
    let commands = commands("Run it on your cluster");
    let at = |begins: &str| {
        commands.iter().position(|command| command.starts_with(begins)).unwrap_or_else(|| panic!("{begins}"))
    };
    let port = front.address().port();
    let shell = |commands: &[String]| {
        // What differs from a cluster of one's own: which port the API server reaches, and that the program is built.
        let prelude = format!("helm() {{ command helm \"$@\" --set service.port={port}; }}\n");
        bed.shell(&format!("set -euo pipefail\n{prelude}{}", commands.join("\n"))).expect_ok()
    };

    let (install, rollout) = (at("helm install"), at("kubectl -n ringfence-system rollout status"));
    shell(&commands[install..rollout]);
    let installation = bed.installed(front, None);
    let _ringfence = bed.start_ringfence(&installation, &Replica::default());

    let (create, adopt) = (at("kubectl create namespace team-a"), at("ringfence adopt --all --dry-run"));
    shell(&commands[create..adopt]);
    eventually("the namespace is isolated and its pod runs", || {
        let shown = shell(&commands[create + 2..adopt]);
        shown.contains("ringfence.dev/isolated=true")
            && ["default-deny-all", "allow-dns", "allow-same-namespace", "Running", "Isolated"]
                .iter()
                .all(|word| shown.contains(word))
    });

    let serve_by_hand = commands[adopt..].iter().position(|command| command.starts_with("helm uninstall")).unwrap();
    let told = shell(&commands[adopt..adopt + serve_by_hand]);
    assert!(told.contains("default: would be adopted (profile standard, mode enforce)"), "{told}");
    assert!(told.contains("default: adopted (profile standard, mode warn)"), "{told}");
    assert!(told.contains("default: given up; "), "{told}");
}
