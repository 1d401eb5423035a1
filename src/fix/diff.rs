//! The patch's text: which files it can name, and how.

use std::path::{Component, Path};

use similar::TextDiff;

const OUTSIDE: &str = "its file is outside of the current directory";

/// The name of a file in a patch: relative to the current directory, without detours.
///
/// # Errors
/// Why a patch can't change it.
pub(super) fn name(file: &str) -> Result<String, &'static str> {
    // It is written into the patch as it is: a line break in it would begin another file's part.
    if file.contains(|c: char| c.is_control() || matches!(c, '"' | '\'' | '\\')) {
        return Err("its file's name has characters that a patch can't hold as they are");
    }
    let path = Path::new(file);
    let here = std::env::current_dir().ok();
    let path = match &here {
        Some(here) if path.is_absolute() => path.strip_prefix(here).map_err(|_| OUTSIDE)?,
        _ => path,
    };
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or("its file's name is no text")?);
                let is_link = Path::new(&parts.join("/")).symlink_metadata().is_ok_and(|file| file.is_symlink());
                if is_link {
                    return Err("its file is a symbolic link, or is reached through one");
                }
            }
            Component::ParentDir => {
                parts.pop().ok_or(OUTSIDE)?;
            }
            Component::RootDir | Component::Prefix(_) => return Err(OUTSIDE),
        }
    }
    Ok(parts.join("/"))
}

/// Whether lines end as those who apply patches take them to end.
///
/// # Errors
/// Why not.
pub(super) fn lines(text: &str) -> Result<(), &'static str> {
    let lone = text.split('\r').skip(1).any(|rest| !rest.starts_with('\n'));
    if lone { Err("its file has line ends that are a carriage return alone") } else { Ok(()) }
}

/// A unified diff of one file, under the names that `git apply` and `patch -p1` strip.
pub(super) fn diff(name: &str, old: Option<&str>, new: &str) -> String {
    if old == Some(new) {
        return String::new();
    }
    // As git writes it: what comes after a tab is no part of the name, and without one a space could end it.
    let end = if name.contains(char::is_whitespace) { "\t" } else { "" };
    let from = old.map_or_else(|| "/dev/null".to_owned(), |_| format!("a/{name}{end}"));
    let to = format!("b/{name}{end}");
    TextDiff::from_lines(old.unwrap_or_default(), new).unified_diff().header(&from, &to).to_string()
}
