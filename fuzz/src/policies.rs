//! Any text as manifests: what is read of it stays the same when it is printed and read again, and what its policies mean
//! obeys the rules that hold of every set of policies.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use ringfence::cluster::fill;
use ringfence::manifests::{self, Loaded, Object};
use ringfence::report::{Extent, Judged, Meaning, Placed, Report, Sources, github, json, junit, sarif, text};
use ringfence_core::config::Config;
use ringfence_core::index::Index;
use ringfence_core::policy::coverage::{self, Coverage};
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::holes::{self, Class, Hole, Kind};
use ringfence_core::policy::lint::{self, Finding, catalogue};
use ringfence_core::policy::parse::{Source, network_policy, network_policy_json};
use ringfence_core::policy::verdict::{Verdict, judge};
use ringfence_core::policy::{Direction, NetworkPolicy};
use serde_json::Value;

/// How many policies of one namespace are looked at one by one.
const MANY: usize = 12;

/// Any text as manifests.
pub fn run(data: &[u8]) {
    let Ok(written) = std::str::from_utf8(data) else { return };
    let loaded = manifests::read("manifests.yaml", written);
    places_are_in_the_text(written, &loaded);
    hides_nothing_that_follows(written);
    for object in &loaded.objects {
        is_read_again_as_it_was(object);
        if object.is_network_policy() {
            is_one_policy_from_every_source(&object.to_value());
        }
    }
    let mut index = Index::default();
    let problems = fill(&mut index, &loaded.objects, "default");
    for problem in loaded.problems.iter().chain(&problems) {
        assert!(!problem.message.is_empty() && Path::new(&problem.file) == Path::new("manifests.yaml"), "{problem}");
    }
    let mut report = Report { problems, ..Report::default() };
    let config = Config::default();
    for namespace in index.iter() {
        let policies: Vec<&NetworkPolicy> = namespace.policies().collect();
        obeys_the_rules(&policies, &Criteria::default());
        let profile = namespace.profile(&config).expect("there is always the default");
        report.namespaces.push(Judged {
            name: namespace.name().to_owned(),
            state: namespace.state(&config, profile, Timestamp::UNIX_EPOCH),
            profile: profile.name().to_owned(),
            verdict: namespace.verdict(profile.criteria()).into_owned(),
            extent: Extent::default(),
            host_network: Vec::new(),
            accepted: false,
            missing: Vec::new(),
        });
    }
    for object in &loaded.objects {
        let about =
            lint::Object { kind: object.kind.clone(), namespace: String::new(), name: object.name().to_owned() };
        for path in ["", "metadata.name", "spec.podSelector", "spec.ingress[0].from[0]"] {
            let finding = Finding::new(&catalogue::ALLOW_ALL, about.clone(), object.name()).at(path);
            report.findings.push(Placed {
                finding,
                file: "manifests.yaml".to_owned(),
                at: object.position_of(path),
                meaning: Meaning::default(),
            });
        }
    }
    can_be_printed(written, &report);
}

/// In every form; and what is for people's eyes can not act on what shows it.
fn can_be_printed(written: &str, report: &Report) {
    let sources = Sources::new(|_| Some(Arc::from(written)));
    for printed in [text::render(report, &sources, false), github::render(report)] {
        assert!(!printed.is_empty());
        assert!(!printed.contains(|c: char| c != '\n' && c.is_control()), "{printed:?}");
    }
    let printed: Value = serde_json::from_str(&json::render(report).unwrap()).unwrap();
    assert_eq!(printed["namespaces"].as_array().unwrap().len(), report.namespaces.len());
    let printed: Value = serde_json::from_str(&sarif::render(report).unwrap()).unwrap();
    assert_eq!(printed["runs"][0]["results"].as_array().unwrap().len(), report.findings.len());
    junit::render(report).unwrap();
}

fn places_are_in_the_text(written: &str, loaded: &Loaded) {
    // YAML has more line breaks than Rust's lines().
    let lines = 1 + written.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u64;
    let problems = loaded.problems.iter().filter_map(|problem| problem.at);
    let paths = ["", "metadata.name", "spec.podSelector", "spec.ingress[0].from[0]", "[", "a.[0]b"];
    let objects = loaded.objects.iter().flat_map(|object| paths.map(|path| object.position_of(path)));
    for at in problems.chain(objects) {
        assert!((1..=lines + 1).contains(&at.line), "{at} of {lines} lines");
    }
}

/// Whatever a document is, the one after it is read, and has the right line.
fn hides_nothing_that_follows(written: &str) {
    // That is no text at all.
    if written.contains('\0') {
        return;
    }
    let more = format!("{written}\n...\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: last\n");
    let last = manifests::read("more.yaml", &more).objects.pop().expect("the last document is an object");
    assert_eq!(last.name(), "last", "{more}");
    let breaks = written.replace("\r\n", "\n").matches(['\n', '\r']).count() as u64;
    // What ends with a carriage return has a line break of its own.
    let begun = if written.ends_with('\r') { breaks } else { breaks + 1 };
    assert_eq!(last.position_of("metadata.name").line, begun + 6, "{more}");
}

/// Printed as JSON and as YAML, it is read as the same object.
fn is_read_again_as_it_was(object: &Object) {
    let value = object.to_value();
    let as_json = serde_json::to_string(&value).unwrap();
    let as_yaml = serde_saphyr::to_string(&value).unwrap();
    for printed in [as_json, as_yaml] {
        let again = manifests::read("again", &printed);
        assert!(again.problems.is_empty(), "{:?}: {printed}", again.problems);
        let [again] = again.objects.as_slice() else { panic!("{} objects: {printed}", again.objects.len()) };
        assert_eq!(again.to_value(), value, "{printed}");
    }
}

/// A policy means the same as a tree and as text; and what a file may say, a cluster may hold.
fn is_one_policy_from_every_source(value: &Value) {
    let in_a_file = network_policy(value, Source::File);
    let in_a_cluster = network_policy(value, Source::Cluster);
    let printed = value.to_string();
    for (source, read) in [(Source::File, &in_a_file), (Source::Cluster, &in_a_cluster)] {
        match (network_policy_json(&printed, source), read) {
            (Ok(again), Ok(read)) => assert_eq!(&again, read, "{printed}"),
            // A deserializer of text adds the place to what is wrong.
            (Err(again), Err(read)) => assert_eq!(again.path(), read.path(), "{printed}"),
            (again, read) => panic!("{again:?} {read:?}: {printed}"),
        }
    }
    if let Ok(policy) = in_a_file {
        assert_eq!(in_a_cluster.as_ref(), Ok(&policy), "{printed}");
    }
}

fn rank(coverage: &Coverage) -> u8 {
    match coverage {
        Coverage::Absent => 0,
        Coverage::Partial(_) => 1,
        Coverage::Complete => 2,
    }
}

fn classes(verdict: &Verdict, direction: Direction) -> Vec<Class> {
    let mut classes: Vec<Class> = verdict.side(direction).holes.iter().map(Hole::class).collect();
    classes.sort();
    classes
}

/// Policies are a union: their order does not matter, and one more takes nothing away.
fn obeys_the_rules(policies: &[&NetworkPolicy], criteria: &Criteria) {
    let whole = judge(policies, criteria);
    let mut turned = policies.to_vec();
    turned.reverse();
    let turned = judge(&turned, criteria);
    for direction in Direction::BOTH {
        let side = whole.side(direction);
        if !whole.capped && !turned.capped {
            assert_eq!(rank(&side.coverage), rank(&turned.side(direction).coverage));
            assert_eq!(classes(&whole, direction), classes(&turned, direction));
        }
        if let Coverage::Partial(Some(witness)) = &side.coverage {
            let isolates = |policy: &&&NetworkPolicy| !policy.deleting && policy.spec.rules(direction).is_some();
            assert!(!policies.iter().filter(isolates).any(|policy| policy.spec.pods.matches(witness)), "{witness:?}");
        }
        for hole in &side.holes {
            assert!(!hole.policies.is_empty(), "{hole:?}");
            assert!(hole.policies.iter().all(|name| policies.iter().any(|policy| policy.name == *name)), "{hole:?}");
            assert_eq!(hole.ports.is_some(), hole.kind == Kind::Ports, "{hole:?}");
        }
        assert_eq!(coverage::lost(policies, policies, direction), None);
        assert_eq!(holes::opened(policies, policies, direction, criteria).0, []);
    }
    for without in 0..policies.len().min(MANY) {
        let mut fewer = policies.to_vec();
        fewer.remove(without);
        let before = judge(&fewer, criteria);
        if whole.capped || before.capped {
            continue;
        }
        for direction in Direction::BOTH {
            assert!(rank(&before.side(direction).coverage) <= rank(&whole.side(direction).coverage));
            assert_eq!(coverage::lost(&fewer, policies, direction), None);
            assert_eq!(holes::opened(policies, &fewer, direction, criteria).0, []);
            let now = classes(&whole, direction);
            for class in classes(&before, direction).into_iter().filter(|class| class.kind != Kind::Ports) {
                let kept = |kind: Kind| now.iter().any(|other| other.kind == kind && other.some <= class.some);
                assert!(kept(class.kind) || kept(Kind::All), "{class} vanished: {now:?}");
            }
        }
    }
}
