//! Runs the binary.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {}{}", self.stdout, self.stderr))
    }
}

pub(crate) fn ringfence(arguments: &[&str]) -> Ran {
    ringfence_in(Path::new(env!("CARGO_MANIFEST_DIR")), arguments, "")
}

pub(crate) fn ringfence_in(directory: &Path, arguments: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .env_remove("RINGFENCE_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its standard input closes it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// `check` of manifests given on standard input.
pub(crate) fn check(manifests: &str, arguments: &[&str]) -> Ran {
    let arguments = [&["check", "-"], arguments].concat();
    ringfence_in(Path::new("."), &arguments, manifests)
}
