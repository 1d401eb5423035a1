//! That nothing outlives the tests, and what they do where there is nothing to run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::harness::process::{Launch, Process, is_there, signal_to};
use crate::harness::programs::{BUILT_IN, Programs};
use crate::harness::{eventually, eventually_some, fresh_directory, start_etcd};

crate::tests![
    nothing_outlives_a_test_that_is_killed,
    nothing_outlives_a_test_that_is_killed_while_its_programs_are_paused,
    what_a_program_started_ends_with_it,
    a_program_s_exit_status_and_output_are_its_own,
    without_programs_and_go_the_tests_are_ignored_and_say_what_to_install,
    without_programs_and_go_the_tests_fail_in_ci,
    assets_that_lack_a_program_fail_the_tests,
];

/// Set where this binary is not to test but to be killed; a directory to work in.
const VICTIM: &str = "RINGFENCE_TEST_VICTIM";

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn is_the_victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

/// Starts etcd, and a program that starts another, says their process ids, and waits for its end.
pub(crate) fn be_the_victim() -> ! {
    let directory = PathBuf::from(std::env::var_os(VICTIM).unwrap());
    let programs = Programs::get().unwrap_or_else(|_| panic!("the programs were there a moment ago"));
    let (etcd, _) = start_etcd(programs, &directory);
    let child = directory.join("child");
    let _parent = run(&directory, &format!("sleep 1000 & echo $! >{}; wait", child.display()));
    let child = eventually_some("the child is there", || pid_in(&child));
    println!("{} {child}", etcd.pid());
    loop {
        std::thread::park();
    }
}

/// Is not left behind where the test fails.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pid_in(file: &Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn victim(directory: &Path) -> (Victim, Vec<u32>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut victim = Victim(command.env(VICTIM, directory).stdout(Stdio::piped()).spawn().unwrap());
    let mut pids = String::new();
    BufReader::new(victim.0.stdout.take().unwrap()).read_line(&mut pids).unwrap();
    let pids: Vec<u32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    (victim, pids)
}

fn nothing_outlives_a_test_that_is_killed() {
    let directory = fresh_directory();
    let (victim, pids) = victim(directory.path());
    assert!(pids.iter().all(|pid| is_there(*pid)));
    // SIGKILL: no destructor of it runs.
    drop(victim);
    eventually("all is gone", || !pids.iter().any(|pid| is_there(*pid)));
}

fn nothing_outlives_a_test_that_is_killed_while_its_programs_are_paused() {
    let directory = fresh_directory();
    let (victim, pids) = victim(directory.path());
    assert!(pids.iter().all(|pid| signal_to(*pid, "STOP")));
    drop(victim);
    eventually("all is gone", || !pids.iter().any(|pid| is_there(*pid)));
}

fn run(directory: &Path, script: &str) -> Process {
    Launch::new("/bin/sh", directory.join("log")).args(["-c", script]).start()
}

fn what_a_program_started_ends_with_it() {
    let directory = fresh_directory();
    let child = directory.path().join("child");
    let mut process = run(directory.path(), &format!("sleep 1000 & echo $! >{}", child.display()));
    assert_eq!(process.wait(SOON), Some(0));
    let child = pid_in(&child).unwrap();
    eventually("the child is gone", || !is_there(child));
}

fn a_program_s_exit_status_and_output_are_its_own() {
    let directory = fresh_directory();
    let wait = |mut process: Process| process.wait(SOON);
    assert_eq!(wait(run(directory.path(), "echo said; exit 7")), Some(7));
    assert_eq!(std::fs::read_to_string(directory.path().join("log")).unwrap(), "said\n");
    assert_eq!(wait(Launch::new("/nowhere/to/be/found", directory.path().join("log")).start()), Some(127));
    let mut asleep = run(directory.path(), "exec sleep 1000");
    assert_eq!(asleep.wait(Duration::from_millis(50)), None);
    asleep.signal("TERM");
    assert_eq!(wait(asleep), Some(128 + 15));
}

/// This binary, with one test that would need a cluster.
fn tests_without(environment: &[(&str, &str)]) -> Output {
    let nowhere = fresh_directory();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env("PATH", "").env(BUILT_IN, nowhere.path()).envs(environment.iter().copied());
    command.args(["--exact", "bed::the_programs_are_those_of_the_go_module"]).output().unwrap()
}

const LINE: &str = "install Go, which builds them: curl -sSfL https://go.dev/dl/go1.";

fn without_programs_and_go_the_tests_are_ignored_and_say_what_to_install() {
    let output = tests_without(&[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 ignored"), "{said}");
    assert!(said.contains(LINE), "{said}");
}

fn without_programs_and_go_the_tests_fail_in_ci() {
    let output = tests_without(&[("CI", "true")]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("1 failed"), "{said}");
    assert!(said.contains(LINE), "{said}");
}

fn assets_that_lack_a_program_fail_the_tests() {
    let output = tests_without(&[("KUBEBUILDER_ASSETS", "/nowhere")]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("KUBEBUILDER_ASSETS is /nowhere, which has no etcd"), "{said}");
}
