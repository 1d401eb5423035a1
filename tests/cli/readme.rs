//! The README's section "Who can reach whom": each command prints what stands beneath it.

use std::path::Path;
use std::process::Command;

#[test]
fn the_commands_of_the_readme_print_what_it_shows() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("\n## Who can reach whom\n").expect("the README has the section");
    let section = rest.split("\n## ").next().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_ringfence")).parent().unwrap();
    let mut shown: Vec<(&str, String)> = Vec::new();
    for line in section.lines() {
        match (line.strip_prefix("    $ "), line.strip_prefix("    "), shown.last_mut()) {
            (Some(command), ..) => shown.push((command, String::new())),
            (None, Some(printed), Some((_, output))) => output.extend([printed, "\n"]),
            _ => {}
        }
    }
    assert_eq!(shown.len(), 3);
    for (command, printed) in shown {
        let path = std::env::join_paths(
            std::iter::once(binary.to_path_buf()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let ran = Command::new("bash")
            .args(["-c", command])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("PATH", path.unwrap())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!((text(ran.stdout), text(ran.stderr)), (printed, String::new()), "{command}");
    }
}
