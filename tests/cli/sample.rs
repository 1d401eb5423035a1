//! A report with something of everything, for the tests of its forms.

use std::sync::Arc;

use ringfence::manifests::{Position, Problem};
use ringfence::report::{Accepted, By, Extent, Judged, Meaning, Placed, Report, Sources};
use ringfence_core::index::State;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::lint::{Finding, Lint, Object, Severity, catalogue};
use ringfence_core::policy::verdict;

pub(crate) const FILE: &str = "k8s/team a/web.yaml";

pub(crate) const TEXT: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: team-a}
spec:
  podSelector: {}
  ingress:
  - from:
    - namespaceSelector: {}  # every namespace
    - ipBlock: {cidr: 0.0.0.0/0}
";

pub(crate) fn sources() -> Sources<'static> {
    Sources::new(|file| (file == FILE).then(|| Arc::from(TEXT)))
}

pub(crate) fn finding(of: &'static Lint, path: &str, line: u64, column: u64) -> Placed {
    let message = format!("what {} means for traffic", of.id);
    let finding = Finding::new(of, Object::policy("team-a", "web"), message).at(path);
    Placed { finding, file: FILE.to_owned(), at: Position { line, column }, meaning: Meaning::default() }
}

fn namespace(name: &str, state: State, accepted: bool) -> Judged {
    Judged {
        name: name.to_owned(),
        state,
        profile: "standard".to_owned(),
        verdict: verdict::judge(&[], &Criteria::default()),
        extent: Extent::default(),
        host_network: Vec::new(),
        missing: Vec::new(),
        accepted,
    }
}

/// One finding of each severity, one accepted by a file and one by an annotation, and a problem.
pub(crate) fn report() -> Report {
    let mut with_snippet = finding(&catalogue::OPEN_CLUSTER, "spec.ingress[0].from[0]", 8, 7);
    with_snippet.finding.snippet = Some("namespaceSelector:\n  matchLabels: {a: b}\n".to_owned());
    let mut nowhere = finding(&catalogue::NO_ENFORCING_CNI, "", 0, 0);
    nowhere.finding.object = Object { kind: "Cluster".to_owned(), namespace: String::new(), name: "prod".to_owned() };
    "-".clone_into(&mut nowhere.file);
    Report {
        namespaces: vec![
            namespace("team-a", State::Exposed, false),
            namespace("team-b", State::Isolated, false),
            namespace("team-c", State::Weakened, true),
        ],
        findings: vec![
            nowhere,
            finding(&catalogue::TYPES_MISSING, "spec", 4, 1),
            with_snippet,
            finding(&catalogue::SPOOFABLE_POD, "spec.ingress[0].from[1].ipBlock.cidr", 9, 17),
            finding(&catalogue::PROTOCOL_IMPLICIT, "", 1, 1),
        ],
        accepted: vec![
            Accepted { placed: finding(&catalogue::OPEN_WORLD, "spec.ingress[0].from[1]", 9, 7), by: By::Baseline },
            Accepted {
                placed: finding(&catalogue::ALLOW_ALL, "spec.ingress[0]", 7, 5),
                by: By::Annotation("a public site".to_owned()),
            },
        ],
        problems: vec![Problem {
            file: "k8s/bad.yaml".to_owned(),
            at: Some(Position { line: 3, column: 2 }),
            message: "unclosed bracket".to_owned(),
        }],
        fail_on: Some(Severity::Error),
    }
}

/// What an attacker writes into a manifest.
pub(crate) fn hostile() -> Report {
    let mut placed = finding(&catalogue::OPEN_WORLD, "spec", 1, 1);
    let text = "a\u{1b}[31m\u{202e}\u{200b}\r\n::error::forged\n##[error]forged\u{0}<b>&\"]]>,:%";
    text.clone_into(&mut placed.finding.message);
    text.clone_into(&mut placed.finding.help);
    text.clone_into(&mut placed.finding.object.name);
    text.clone_into(&mut placed.file);
    placed.finding.snippet = Some(text.to_owned());
    let problem = Problem { file: text.to_owned(), at: None, message: text.to_owned() };
    let namespaces = vec![namespace(text, State::Exposed, false)];
    Report { namespaces, findings: vec![placed], problems: vec![problem], ..report() }
}
