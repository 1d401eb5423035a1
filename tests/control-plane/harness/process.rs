//! Processes that end with the test, whatever ends the test.
//!
//! A test that is killed runs no destructor, and without unsafe code a child can't ask the kernel to die with its parent.
//! So each program has a guard: a few lines of sh whose standard input is a pipe that the test holds. However the test
//! ends, the kernel closes the pipe, and the guard kills the program. The guard is in a process group of its own, so that
//! neither an interrupt at the terminal nor a signal to the test's group hits it or the program first.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Says the program's process id, then its exit status. Descriptor 3 is the pipe: a background command gets no standard
/// input. At the end it kills its own group, and with that what the program may have left behind; so that it gets there,
/// it must not die of having nobody left to say the status to.
const GUARD: &str = r#"
exec 3<&0
in=$1 out=$2 err=$3
shift 3
"$@" <"$in" >>"$out" 2>>"$err" 3<&- &
program=$!
trap '' PIPE
echo "$program"
{ read -r _ <&3; kill -KILL "$program"; } >/dev/null 2>&1 &
wait "$program"
echo "$?"
kill -KILL 0
"#;

/// What to run, and where what it says goes.
pub(crate) struct Launch {
    program: PathBuf,
    args: Vec<String>,
    env: Option<Vec<(String, String)>>,
    dir: Option<PathBuf>,
    stdin: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
    visible: bool,
}

impl Launch {
    /// A program whose output, both kinds, is appended to a file.
    pub(crate) fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let log = log.into();
        Self {
            program: program.into(),
            args: Vec::new(),
            env: None,
            dir: None,
            stdin: "/dev/null".into(),
            stdout: log.clone(),
            stderr: log,
            visible: false,
        }
    }

    pub(crate) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The whole environment, PATH aside: what a developer has set must not change what a test sees. Without this the
    /// program gets the test's own.
    pub(crate) fn env<K: Into<String>, V: Into<String>>(mut self, env: impl IntoIterator<Item = (K, V)>) -> Self {
        self.env = Some(env.into_iter().map(|(key, value)| (key.into(), value.into())).collect());
        self
    }

    pub(crate) fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// A file to read as standard input.
    pub(crate) fn stdin(mut self, file: impl Into<PathBuf>) -> Self {
        self.stdin = file.into();
        self
    }

    /// Another file for the errors than for the output.
    pub(crate) fn stderr(mut self, file: impl Into<PathBuf>) -> Self {
        self.stderr = file.into();
        self
    }

    /// Shows what it says on the test's own standard error, for what takes so long that a developer should see it.
    pub(crate) fn visible(mut self) -> Self {
        self.visible = true;
        self.stdout = "/dev/stderr".into();
        self.stderr.clone_from(&self.stdout);
        self
    }

    pub(crate) fn start(self) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard"]).args([&self.stdin, &self.stdout, &self.stderr]);
        command.arg(&self.program).args(&self.args);
        if let Some(env) = self.env {
            command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(env);
        }
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        // What the shell itself says, such as that a program was killed, is of no use.
        command.stderr(if self.visible { Stdio::inherit() } else { Stdio::null() });
        let mut guard = command.spawn().unwrap();
        let mut said = BufReader::new(guard.stdout.take().unwrap());
        let mut pid = String::new();
        said.read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap_or_else(|_| panic!("{} did not start", self.program.display()));
        Process { guard, said, pid, status: None, name: name_of(&self.program), log: self.stderr }
    }
}

fn name_of(program: &Path) -> String {
    program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A running program. Dropped, it is killed.
pub(crate) struct Process {
    guard: Child,
    said: BufReader<ChildStdout>,
    pid: u32,
    status: Option<i32>,
    name: String,
    log: PathBuf,
}

impl Process {
    /// The program's own process id, not its guard's.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file with its errors.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a signal to the program: TERM, STOP, CONT, KILL… It may have ended already.
    pub(crate) fn signal(&mut self, signal: &str) {
        if self.is_running() {
            signal_to(self.pid, signal);
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        if self.status.is_none() && self.guard.try_wait().unwrap().is_some() {
            let mut status = String::new();
            let _ = self.said.read_to_string(&mut status);
            // No status: it is the guard that was killed.
            self.status = Some(status.trim().parse().unwrap_or(-1));
        }
        self.status.is_none()
    }

    /// Its exit status once it has ended, 128 and the signal where one ended it; `None` where it does not end in time.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<i32> {
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_millis(1);
        while self.is_running() {
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.status
    }

    /// Kills it, and returns once it is gone.
    pub(crate) fn kill(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to any process. Through sh, which has kill built in where no kill(1) is installed.
pub(crate) fn signal_to(pid: u32, signal: &str) -> bool {
    let sent =
        Command::new("/bin/sh").args(["-c", r#"kill -s "$0" "$1" 2>/dev/null"#, signal, &pid.to_string()]).status();
    sent.unwrap().success()
}

/// Whether a process is there and has not ended. One that nobody waits for stays in the table: where the test runs in a
/// container, the first process may be one that does not do that for orphans.
pub(crate) fn is_there(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ended = stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z'));
    !ended && signal_to(pid, "0")
}
