//! What a command that reads manifests has besides their paths: its standard input, and the words for how it is run.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::{self, Loaded, Reading};
use super::node::Position;
use super::object::Object;
use super::text;

/// How a command is given what something else has to render first.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// Through a pipe: the command as it reads standard input.
    Piped(String),
    /// In files, since it reads several sets: the command afterwards.
    Files(String),
}

impl Form {
    /// Of the command that reads one set.
    pub(super) fn check() -> Self {
        Self::Piped("ringfence check -".to_owned())
    }

    /// What to run, where `renders` prints manifests.
    pub(super) fn after(&self, renders: &str) -> String {
        match self {
            Self::Piped(command) => format!("{renders} | {command}"),
            Self::Files(command) => format!("render each into a file, as with {renders} > FILE, then {command}"),
        }
    }

    /// What to run, where a device or pipe gives manifests.
    pub(super) fn of_stream(&self) -> String {
        match self {
            Self::Piped(command) => format!("{command} < PATH"),
            Self::Files(command) => format!("cat PATH > FILE, then {command}"),
        }
    }
}

/// The text of a source and what a NUL in it stands for; or what is wrong with all of it, and where.
pub(super) type Read = Result<(Arc<String>, Option<&'static str>), (Option<Position>, String)>;

/// What a command reads with: several sets of paths may have standard input in common, which ends but once.
#[derive(Debug)]
pub struct Input {
    pub(super) form: Form,
    /// What standard input held.
    stdin: Option<Read>,
}

impl Input {
    /// Of a command that reads one set of manifests. `command` is how it is run with `-` for standard input, such as
    /// `ringfence check -`.
    #[must_use]
    pub fn piped(command: String) -> Self {
        Self { form: Form::Piped(command), stdin: None }
    }

    /// Of a command that reads several. `command` is how it is run with a file for each.
    #[must_use]
    pub fn files(command: String) -> Self {
        Self { form: Form::Files(command), stdin: None }
    }

    /// Reads files as [`super::each`] does, and keeps all objects.
    pub fn load(&mut self, paths: &[PathBuf]) -> Loaded {
        let mut objects = Vec::new();
        let Reading { problems, .. } = self.each(paths, &mut |object| objects.push(object));
        Loaded { objects, problems }
    }

    pub(super) fn each(&mut self, paths: &[PathBuf], on: &mut dyn FnMut(Object)) -> Reading {
        files::walk(paths, self, on)
    }

    pub(super) fn stdin(&mut self) -> Read {
        let read = || files::stdin().map_err(|message| (None, message)).and_then(decoded);
        self.stdin.get_or_insert_with(read).clone()
    }
}

impl Default for Input {
    fn default() -> Self {
        Self { form: Form::check(), stdin: None }
    }
}

pub(super) fn decoded(bytes: Vec<u8>) -> Read {
    text::decode(bytes).map(|decoded| (Arc::new(decoded.text), decoded.wrong))
}
