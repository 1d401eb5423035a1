//! `render`, `config`, `certs`, `serve` and `demo`.

use std::time::Instant;

use ringfence::certs::serving::server_config;
use serde_json::Value;

use crate::run::{check, ringfence, ringfence_in};

#[test]
fn demo_tells_the_whole_story_and_exits_with_0() {
    let began = Instant::now();
    let ran = ringfence(&["demo"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(!ran.stdout.contains("BAD"), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'), "no colour where it is not a terminal");
    for said in [
        "the network is flat",
        "kubectl create namespace team-a",
        "labels injected: ringfence.dev/profile=standard, ringfence.dev/mode=enforce",
        "admitted and held",
        "apply NetworkPolicy default-deny-all",
        "lift Pod web",
        "0 calls",
        "refused: ManagedPolicy",
        "ingress ALL",
        "two items are ORed",
        "refused: ExemptionInvalid",
        "exempt until",
        "refused: BaselineMissing",
    ] {
        assert!(ran.stdout.contains(said), "{said}\n{}", ran.stdout);
    }
    eprintln!("the demo took {:?}", began.elapsed());
}

#[test]
fn render_prints_what_check_finds_isolated_for_every_profile() {
    for (profile, count) in [("standard", 3), ("strict", 2), ("deny-all", 1)] {
        let ran = ringfence(&["render", "--profile", profile, "--namespace", "production"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.stdout.matches("kind: NetworkPolicy").count(), count);
        assert!(!ran.stdout.contains("managed-by"), "only the controller may set that label");
        // What a deny-all by itself denies is said, and is no matter of this.
        let states = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/states.yaml");
        let checked = check(&ran.stdout, &["--profile", profile, "-o", "json", "--config", states]);
        assert_eq!((checked.json()["namespaces"][0]["state"].as_str(), checked.code), (Some("isolated"), 0));
    }
    let ran = ringfence(&["render", "--profile", "none-such", "--namespace", "x"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("there are deny-all, standard, strict"), "{}", ran.stderr);
}

#[test]
fn render_of_standard_is_exactly_the_guides_three_policies() {
    let rendered = ringfence(&["render", "--profile", "standard", "--namespace", "production"]).stdout;
    insta::assert_snapshot!(rendered);
}

#[test]
fn config_prints_the_whole_in_force_and_takes_it_back() {
    let directory = tempfile::tempdir().unwrap();
    let printed = ringfence(&["config"]).stdout;
    insta::assert_snapshot!(printed);
    std::fs::write(directory.path().join("all.yaml"), &printed).unwrap();
    let again = ringfence_in(directory.path(), &["config", "--config", "all.yaml"], "");
    assert_eq!((again.stdout, again.code), (printed, 0));
}

#[test]
fn errors_in_the_configuration_name_line_field_and_fix_all_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let text = "defaultProfile: standard
exsting: warn
profiles:
  web:
    policies:
      - name: only-ingress
        spec:
          podSelector: {}
          policyTypess: [Ingress]
  sel:
    policies:
      - name: deny
        spec:
          podSelector:
            matchExpressions:
              - {key: a, operator: Foo}
    holes:
      ingress: {BIG: deny}
limits: {bytesInFlight: 10}
";
    std::fs::write(directory.path().join("bad.yaml"), text).unwrap();
    let ran = ringfence_in(directory.path(), &["config", "--config", "bad.yaml"], "");
    assert_eq!(ran.code, 2);
    insta::assert_snapshot!(ran.stderr);
}

#[test]
fn the_example_configuration_is_valid() {
    let ran = ringfence(&["config", "--config", "examples/config.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("169.254.20.10/32"), "{}", ran.stdout);
}

#[test]
fn certs_writes_a_pair_that_is_served_with_a_key_for_the_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let ran = ringfence_in(directory.path(), &["certs", "--cert-dir", "a/b"], "");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let pair = ringfence::certs::files::read(&directory.path().join("a/b")).unwrap();
    server_config(&pair, None).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(directory.path().join("a/b/tls.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // A key of another certificate is refused.
    let other = ringfence::certs::dev::issue().unwrap();
    let mixed = ringfence::certs::pair::Pair { key: other.key, ..pair };
    assert!(server_config(&mixed, None).is_err());
}

#[test]
fn serve_without_manifests_exits_with_2_and_names_the_flag() {
    let ran = ringfence(&["serve"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--manifests"), "{}", ran.stderr);
}

#[test]
fn serve_with_bad_manifests_or_a_bad_certificate_exits_with_2_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {}\n").unwrap();
    let ran = ringfence_in(directory.path(), &["serve", "--manifests", "bad.yaml"], "");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("bad.yaml:3:1"), "{}", ran.stderr);

    std::fs::write(directory.path().join("good.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
        .unwrap();
    std::fs::create_dir(directory.path().join("certs")).unwrap();
    std::fs::write(directory.path().join("certs/tls.crt"), "not a certificate").unwrap();
    let ran = ringfence_in(directory.path(), &["serve", "--manifests", "good.yaml"], "");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("certs/tls.key"), "{}", ran.stderr);
}

/// The reviews of the README are sent by hand there; here they are at least reviews.
#[test]
fn the_example_reviews_are_reviews() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/reviews")).unwrap() {
        let path = entry.unwrap().path();
        let review: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(review["kind"], "AdmissionReview", "{}", path.display());
    }
}

#[test]
fn the_nearest_configuration_of_the_repository_is_used_and_named() {
    let root = tempfile::tempdir().unwrap();
    let inner = root.path().join("repository/team/app");
    std::fs::create_dir_all(&inner).unwrap();
    let write = |at: &str, profile: &str| {
        std::fs::write(root.path().join(at), format!("defaultProfile: {profile}\n")).unwrap();
    };
    let default_profile = |arguments: &[&str]| {
        let ran = ringfence_in(&inner, &[&["config"], arguments].concat(), "");
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let line = ran.stdout.lines().find_map(|line| line.strip_prefix("defaultProfile: ")).unwrap().to_owned();
        (line, ran.stderr)
    };
    write(".ringfence.yaml", "deny-all");
    assert_eq!(default_profile(&[]).0, "standard", "what lies above is nobody's business outside of a repository");
    std::fs::create_dir(root.path().join("repository/.git")).unwrap();
    assert_eq!(default_profile(&[]).0, "standard", "what lies above a repository is not its own");
    write("repository/.ringfence.yaml", "strict");
    let (profile, said) = default_profile(&[]);
    assert_eq!(profile, "strict");
    assert!(said.contains("the configuration is ") && said.contains("repository/.ringfence.yaml"), "{said}");
    write("repository/team/app/.ringfence.yaml", "deny-all");
    assert_eq!(default_profile(&[]).0, "deny-all");
    write("given.yaml", "standard");
    assert_eq!(default_profile(&["--config", "../../../given.yaml"]).0, "standard");
    write("repository/team/app/.ringfence.yaml", "wrong");
    let ran = ringfence_in(&inner, &["config"], "");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains(".ringfence.yaml:1:1: defaultProfile: \"wrong\""), "{}", ran.stderr);
}
