//! `check -o github`.

use ringfence::report::{Report, github};
use ringfence_core::policy::lint::catalogue;

use crate::sample;

#[test]
fn annotations_come_with_file_line_and_title_the_gravest_first() {
    insta::assert_snapshot!(github::render(&sample::report()));
}

#[test]
fn what_manifests_say_can_not_begin_a_command() {
    let printed = github::render(&sample::hostile());
    let commands: Vec<&str> = printed.lines().filter(|line| line.trim_start().starts_with("::")).collect();
    assert_eq!(commands.len(), 2, "{printed}");
    assert!(
        commands.iter().all(
            |line| line.starts_with("::error file=") && line.contains("%0A  error  forged") || line.contains("%0A")
        )
    );
    // An older form of commands is found anywhere in a line.
    assert!(!printed.contains("##["), "{printed}");
    assert!(!printed.contains(|c: char| c != '\n' && c.is_control()), "{printed:?}");
    for line in commands {
        let properties = line.split("::").nth(1).unwrap();
        assert_eq!(
            properties.matches(',').count(),
            properties.matches(",line=").count() + properties.matches(",col=").count() + 1,
            "{line}"
        );
    }
}

#[test]
fn no_more_annotations_are_given_than_github_shows_and_the_rest_is_in_the_log() {
    let of = |lint, count: u64| (0..count).map(move |line| sample::finding(lint, "spec", line + 1, 1));
    let findings = of(&catalogue::AND_OR, 12).chain(of(&catalogue::ALLOW_ALL, 15)).collect();
    let printed = github::render(&Report { findings, ..Report::default() });
    assert_eq!(printed.matches("::error ").count(), 10);
    assert_eq!(printed.matches("::warning ").count(), 10);
    assert_eq!(printed.lines().filter(|line| line.contains(": error[allow-all]: ")).count(), 5);
    assert!(printed.contains("7 findings are in this log alone: GitHub shows 10 of each level\n"), "{printed}");
    assert!(printed.contains("findings: 15 error, 12 warning\n"), "{printed}");
}

#[test]
fn what_to_write_is_in_the_annotation_unless_github_would_cut_it() {
    let of = |snippet: String| {
        let mut placed = sample::finding(&catalogue::AND_OR, "spec", 1, 1);
        placed.finding.snippet = Some(snippet);
        github::render(&Report { findings: vec![placed], ..Report::default() })
    };
    let printed = of("ports:\n- port: 53\n".to_owned());
    assert!(printed.lines().next().unwrap().ends_with("%0Aports:%0A- port: 53"), "{printed}");
    let printed = of(format!("except:\n{}", "- 10.0.0.0/8\n".repeat(400)));
    let annotation = printed.lines().next().unwrap();
    assert!(annotation.contains("%0Ahelp: ") && !annotation.contains("except:"), "{printed}");
}
