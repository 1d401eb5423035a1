//! The directory of a bed: gone with it, unless a test failed, whose logs someone will want to read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::process::is_there;

/// etcd's data is most of a directory's size and tells nobody anything.
pub(super) const ETCD_DATA: &str = "etcd";

/// What failed or killed runs left is of use for that long.
const KEPT: Duration = Duration::from_secs(24 * 3600);

fn base() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("control-plane")
}

/// A new one, under cargo's target directory.
pub(crate) fn fresh() -> TempDir {
    let base = base();
    std::fs::create_dir_all(&base).unwrap();
    for old in std::fs::read_dir(&base).unwrap().flatten() {
        let modified = old.metadata().and_then(|about| about.modified()).ok();
        let aged = modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > KEPT);
        // Another run may be doing the same, hence no look at the result.
        let _ = if aged {
            std::fs::remove_dir_all(old.path())
        } else if run_of(&old.file_name().to_string_lossy()).is_some_and(|run| !is_there(run)) {
            std::fs::remove_dir_all(old.path().join(ETCD_DATA))
        } else {
            Ok(())
        };
    }
    let prefix = format!("bed-{}-", std::process::id());
    let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(base).unwrap();
    std::fs::create_dir(directory.path().join("home")).unwrap();
    directory
}

/// The process that made a directory.
fn run_of(name: &str) -> Option<u32> {
    name.split('-').nth(1)?.parse().ok()
}

/// Removes it, or keeps it and says where it is.
pub(super) fn finish(directory: TempDir, keep: bool) {
    if keep {
        let path = directory.keep();
        let _ = std::fs::remove_dir_all(path.join(ETCD_DATA));
        eprintln!("the logs of the control plane are in {}", path.display());
    }
}
