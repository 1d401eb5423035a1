//! Where the programs of the control plane are.
//!
//! `KUBEBUILDER_ASSETS` names a directory that holds them, as envtest has it. Without it they are built once, from the Go
//! module beside these tests, into `target/control-plane`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What `KUBEBUILDER_ASSETS` must hold, and what it usually does not: that is then taken from the PATH, or built.
const IN_ASSETS: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];
const BESIDE: [&str; 4] = ["kube-controller-manager", "kube-scheduler", "helm", "helm3"];

/// The programs, by name.
#[derive(Clone)]
pub(crate) struct Programs(BTreeMap<&'static str, PathBuf>);

/// Why there are none.
#[derive(Clone, Debug)]
pub(crate) enum Unavailable {
    /// Nothing is wrong but that something is not installed; the line says how to install it.
    Missing(String),
    /// They should be there and are not.
    Broken(String),
}

impl Programs {
    /// Found, or built: the first call may take minutes, and says so on standard error.
    pub(crate) fn get() -> Result<&'static Self, Unavailable> {
        static PROGRAMS: OnceLock<Result<Programs, Unavailable>> = OnceLock::new();
        PROGRAMS.get_or_init(Self::find).as_ref().map_err(Clone::clone)
    }

    pub(crate) fn path(&self, name: &str) -> &Path {
        &self.0[name]
    }

    fn find() -> Result<Self, Unavailable> {
        let mut found = BTreeMap::new();
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
            let assets = PathBuf::from(assets);
            for name in IN_ASSETS {
                let path = assets.join(name);
                if !path.is_file() {
                    let message = format!("KUBEBUILDER_ASSETS is {}, which has no {name}", assets.display());
                    return Err(Unavailable::Broken(message));
                }
                found.insert(name, path);
            }
            for name in BESIDE {
                let path = assets.join(name);
                if let Some(path) = path.is_file().then_some(path).or_else(|| on_path(name)) {
                    found.insert(name, path);
                }
            }
        }
        let all = IN_ASSETS.into_iter().chain(BESIDE);
        let missing: Vec<&'static str> = all.filter(|name| !found.contains_key(name)).collect();
        if !missing.is_empty() {
            let built = built_in();
            if on_path("go").is_some() {
                build(&built, &missing)?;
            } else if !missing.iter().all(|name| built.join(name).is_file()) {
                return Err(Unavailable::Missing(how_to_install(&missing)));
            }
            found.extend(missing.into_iter().map(|name| (name, built.join(name))));
        }
        Ok(Self(found))
    }
}

/// Another directory for what is built, such as one that a CI system keeps between runs.
pub(crate) const BUILT_IN: &str = "RINGFENCE_CONTROL_PLANE";

/// Beside the directory that cargo gives to tests, so that `CARGO_TARGET_DIR` is respected.
fn built_in() -> PathBuf {
    let beside = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("control-plane");
    std::env::var_os(BUILT_IN).map_or_else(beside, PathBuf::from)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// The script prints what it builds; where there is nothing to do it is silent and quick.
fn build(into: &Path, names: &[&str]) -> Result<(), Unavailable> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/build");
    let args = std::iter::once(into.to_string_lossy().into_owned()).chain(names.iter().map(ToString::to_string));
    let status = super::process::Launch::new(&script, "/dev/null").visible().args(args).start().wait(BUILD_TIMEOUT);
    if status == Some(0) {
        return Ok(());
    }
    Err(Unavailable::Broken(format!("{} failed: what it says is above", script.display())))
}

/// Far more than a cold build takes on one slow core.
const BUILD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2 * 3600);

fn how_to_install(missing: &[&str]) -> String {
    let go_mod = include_str!("../go.mod");
    let version = go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap();
    let system = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "no {}: set KUBEBUILDER_ASSETS, or install Go, which builds them: \
         curl -sSfL https://go.dev/dl/go{version}.{system}-{machine}.tar.gz | tar -xz -C /usr/local && \
         export PATH=$PATH:/usr/local/go/bin",
        missing.join(", ")
    )
}
