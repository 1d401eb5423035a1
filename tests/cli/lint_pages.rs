//! `ringfence explain`.

use ringfence_core::policy::lint::catalogue;

use crate::run::ringfence;

#[test]
fn explain_says_what_a_lint_is_about_and_lists_them_all() {
    let ran = ringfence(&["explain", "and-or"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.starts_with("# and-or\n\n**warning**: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("ringfence.dev/ignore-and-or: "), "{}", ran.stdout);
    let all = ringfence(&["explain"]).stdout;
    assert_eq!(all.lines().count(), catalogue::ALL.len(), "{all}");
    let unknown = ringfence(&["explain", "and-and"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("\"and-and\": there is no such lint"), "{}", unknown.stderr);
}
