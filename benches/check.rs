//! What judging costs beside reading: 10,000 manifests in 1,000 namespaces, read into an inventory alone, and read and
//! judged (states and every lint); by turns, in one run.
//!
//! `cargo bench --bench check` prints both and their ratio, and what finding the places of the findings adds.

// A bench is a test program: what is wrong shall stop it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fmt::Write;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use ringfence::inventory::{Origins, Reading};
use ringfence::manifests::{self, Sources};
use ringfence_core::config::Config;
use ringfence_core::index::Index;
use ringfence_core::inventory::Inventory;
use ringfence_core::policy::lint::{self, Finding};

const NAMESPACES: usize = 1_000;
const ROUNDS: usize = 9;

/// Ten objects: the namespace, a deny, DNS, three policies of applications, three Deployments and a Service.
fn namespace(text: &mut String, number: usize) -> std::fmt::Result {
    let (ns, next) = (format!("team-{number}"), format!("team-{}", (number + 1) % NAMESPACES));
    write!(
        text,
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {ns}\n  labels:\n    ringfence.dev/mode: enforce\n    \
         ringfence.dev/profile: standard\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: \
         deny\n  namespace: {ns}\nspec:\n  podSelector: {{}}\n  policyTypes:\n  - Ingress\n  - Egress\n---\napiVersion: \
         networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: allow-dns\n  namespace: {ns}\nspec:\n  \
         podSelector: {{}}\n  policyTypes:\n  - Egress\n  egress:\n  - to:\n    - namespaceSelector:\n        \
         matchLabels:\n          kubernetes.io/metadata.name: kube-system\n      podSelector:\n        matchLabels:\n      \
         \u{20}   k8s-app: kube-dns\n    ports:\n    - protocol: UDP\n      port: 53\n    - protocol: TCP\n      port: 53\n---\n"
    )?;
    for app in 0..3 {
        let (from, port) = ((app + 1) % 3, 8080 + app);
        write!(
            text,
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: allow-{app}\n  namespace: \
             {ns}\nspec:\n  podSelector:\n    matchLabels:\n      app: app-{app}\n  policyTypes:\n  - Ingress\n  \
             ingress:\n  - from:\n    - podSelector:\n        matchLabels:\n          app: app-{from}\n    - \
             namespaceSelector:\n        matchLabels:\n          kubernetes.io/metadata.name: {next}\n      \
             podSelector:\n        matchLabels:\n          app: app-{app}\n    ports:\n    - protocol: TCP\n      port: \
             {port}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-{app}\n  namespace: {ns}\nspec:\n  \
             replicas: 2\n  selector:\n    matchLabels:\n      app: app-{app}\n  template:\n    metadata:\n      \
             labels:\n        app: app-{app}\n    spec:\n      containers:\n      - name: main\n        image: \
             registry.example.com/app-{app}:1.2.3\n        ports:\n        - name: http\n          containerPort: \
             {port}\n        resources:\n          requests:\n            cpu: 100m\n            memory: 64Mi\n---\n"
        )?;
    }
    write!(
        text,
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: app-0\n  namespace: {ns}\nspec:\n  selector:\n    app: \
         app-0\n  ports:\n  - port: 80\n    targetPort: http\n---\n"
    )
}

fn read(paths: &[PathBuf]) -> (Inventory, Origins, Sources) {
    let (mut reading, mut origins) = (Reading::new("default"), Origins::default());
    let read = manifests::each(paths, |object| {
        reading.add(&object);
        origins.add(&object, "default");
    });
    let (inventory, problems) = reading.finish();
    assert_eq!((read.problems, problems), (Vec::new(), Vec::new()));
    (inventory, origins, read.sources)
}

fn judge(inventory: &Inventory) -> Vec<Finding> {
    let (config, now) = (Config::default(), Timestamp::UNIX_EPOCH);
    let mut index = Index::default();
    inventory.fill(&mut index);
    let mut judged = lint::Judged::new();
    for name in inventory.namespaces.keys() {
        let namespace = index.get(name).unwrap();
        let profile = namespace.profile(&config).unwrap();
        black_box(namespace.state(&config, profile, now));
        judged.insert(name, (namespace, profile));
    }
    lint::everything(inventory, &judged, &config.lints).0
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for number in 0..NAMESPACES {
        namespace(&mut text, number).unwrap();
    }
    let file = directory.path().join("all.yaml");
    std::fs::write(&file, &text).unwrap();
    let paths = [file];
    let (mut parse, mut whole, mut place) = (Vec::new(), Vec::new(), Vec::new());
    let mut found = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(read(&paths));
        parse.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let (inventory, origins, sources) = read(&paths);
        let findings = judge(&inventory);
        whole.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        black_box(origins.locate(&sources, &findings));
        place.push(start.elapsed().as_secs_f64());
        found = findings.len();
    }
    let (parse, whole, place) = (median(parse), median(whole), median(place));
    println!("10 manifests in each of {NAMESPACES} namespaces, {} KB: medians of {ROUNDS}", text.len() / 1000);
    println!("read into an inventory        {parse:.3} s");
    println!("read and judged               {whole:.3} s  {:.2}", whole / parse);
    println!("places of {found} findings    {place:.3} s  {:.2}", place / parse);
}
