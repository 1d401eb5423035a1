//! The GitHub Action and the pre-commit hook, run as those that read them run them.

use std::path::Path;
use std::process::Command;

use ringfence::manifests::parse_one;
use serde_json::Value;

use crate::run::{Ran, ringfence_in};

fn file(name: &str) -> Value {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    parse_one(&text).unwrap().unwrap().to_value()
}

const EXPOSED: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a\n";

/// Runs the action's last step in a repository with one manifest, with these inputs in place of the defaults.
fn action(directory: &Path, inputs: &[(&str, &str)]) -> Ran {
    let action = file("action.yml");
    let step = action["runs"]["steps"].as_array().unwrap().last().unwrap();
    let bin = directory.join("temp/ringfence/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let program = bin.join("ringfence");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ringfence"), program).unwrap();
    }
    let mut command = Command::new("bash");
    // As the runner starts it: https://docs.github.com/actions/reference/workflow-syntax-for-github-actions, `shell: bash`.
    command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"].as_str().unwrap()]);
    command.current_dir(directory).env("RUNNER_TEMP", directory.join("temp")).env_remove("RINGFENCE_CONFIG");
    for (variable, expression) in step["env"].as_object().unwrap() {
        let input = expression.as_str().unwrap().strip_prefix("${{ inputs.").unwrap().strip_suffix(" }}").unwrap();
        let default = action["inputs"][input]["default"].as_str().unwrap();
        let given = inputs.iter().find(|(name, _)| *name == input).map_or(default, |(_, value)| value);
        command.env(variable, given);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn the_action_annotates_the_pull_request_and_fails_it() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = directory.path().join("my manifests");
    std::fs::create_dir(&manifests).unwrap();
    std::fs::write(manifests.join("a.yaml"), EXPOSED).unwrap();
    let ran = action(directory.path(), &[("paths", "my manifests\n\n"), ("sarif", "out.sarif")]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("::error file=my manifests/a.yaml,line=1,"), "{}", ran.stdout);
    let sarif: Value =
        serde_json::from_str(&std::fs::read_to_string(directory.path().join("out.sarif")).unwrap()).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "baseline-incomplete");
}

#[test]
fn the_action_takes_no_path_for_a_flag_or_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let ran = action(directory.path(), &[("paths", "--version\n$(touch made)\n; touch made")]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    assert!(!directory.path().join("made").exists());
}

#[test]
fn the_action_s_last_step_passes_where_all_is_isolated() {
    let directory = tempfile::tempdir().unwrap();
    let rendered = ringfence_in(directory.path(), &["render", "--namespace", "team-a"], "");
    std::fs::write(directory.path().join("policies.yaml"), rendered.stdout).unwrap();
    let ran = action(directory.path(), &[("paths", "policies.yaml")]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn the_pre_commit_hook_judges_the_whole_repository() {
    let hooks = file(".pre-commit-hooks.yaml");
    let hook = &hooks[0];
    let arguments: Vec<&str> = hook["entry"]
        .as_str()
        .unwrap()
        .split(' ')
        .chain(hook["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()))
        .collect();
    assert_eq!(arguments[0], "ringfence");
    assert_eq!(hook["pass_filenames"], false);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), EXPOSED).unwrap();
    assert_eq!(ringfence_in(directory.path(), &arguments[1..], "").code, 1);
    let rendered = ringfence_in(directory.path(), &["render", "--namespace", "team-a"], "");
    std::fs::write(directory.path().join("b.yaml"), rendered.stdout).unwrap();
    assert_eq!(ringfence_in(directory.path(), &arguments[1..], "").code, 0);
}
