//! A process that gets little CPU: by a cgroup where one can be made, otherwise by stopping it most of the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The CPU that it gets of one core: as much as the chart requests at least.
const SHARE: f64 = 0.1;

/// The period of the kernel's CPU quota.
const PERIOD: Duration = Duration::from_millis(100);

/// Throttles a process until it is dropped.
pub(crate) struct Throttle {
    group: Option<PathBuf>,
    process: Pid,
    over: Arc<AtomicBool>,
    stopping: Option<std::thread::JoinHandle<()>>,
}

impl Throttle {
    pub(crate) fn new(process: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        let group = cgroup(process);
        let over = Arc::new(AtomicBool::new(false));
        let stopping = group.is_none().then(|| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut used = cpu(process);
                while !over.load(Ordering::Relaxed) {
                    // As under a quota, what counts is what it has used, and not how long others kept it from that.
                    std::thread::sleep(Duration::from_millis(2));
                    let now = cpu(process);
                    if now >= used + PERIOD.mul_f64(SHARE) {
                        let _ = kill_process(pid, Signal::STOP);
                        std::thread::sleep(PERIOD.mul_f64(1.0 - SHARE));
                        let _ = kill_process(pid, Signal::CONT);
                        used = now;
                    }
                }
            })
        });
        Self { group, process: pid, over, stopping }
    }

    /// By what it is throttled.
    pub(crate) fn means(&self) -> &'static str {
        if self.group.is_some() { "a cgroup" } else { "SIGSTOP and SIGCONT" }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(stopping) = self.stopping.take() {
            let _ = stopping.join();
        }
        let _ = kill_process(self.process, Signal::CONT);
        if let Some(group) = &self.group {
            // Back into the group above it, so that this one can go.
            let above = group.parent().unwrap().join("cgroup.procs");
            let _ = std::fs::write(above, self.process.as_raw_nonzero().to_string());
            let _ = std::fs::remove_dir(group);
        }
    }
}

/// The CPU that a process has used so far; none where it has ended.
pub(crate) fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').skip(11).take(2);
    // In ticks, of which Linux shows a hundred a second whatever the kernel's own.
    fields.filter_map(|field| field.parse().ok()).map(|ticks: u64| Duration::from_millis(ticks * 10)).sum()
}

/// A group with the process in it, of version 2 or 1; `None` where none can be made.
fn cgroup(process: u32) -> Option<PathBuf> {
    let period = PERIOD.as_micros();
    let quota = PERIOD.mul_f64(SHARE).as_micros();
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let of = |line: &str, mount: &str| Some(Path::new(mount).join(line.rsplit(':').next()?.trim_start_matches('/')));
    let second = own.lines().find(|line| line.starts_with("0::")).and_then(|line| of(line, "/sys/fs/cgroup"));
    let first =
        own.lines().find(|line| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "cpu")));
    let first = first.and_then(|line| of(line, "/sys/fs/cgroup/cpu"));
    let settings = [
        (second, vec![("cpu.max", format!("{quota} {period}"))]),
        (first, vec![("cpu.cfs_period_us", period.to_string()), ("cpu.cfs_quota_us", quota.to_string())]),
    ];
    settings.into_iter().find_map(|(above, files)| {
        let group = above?.join(format!("ringfence-test-{process}"));
        std::fs::create_dir(&group).ok()?;
        let set = files.iter().try_for_each(|(file, value)| {
            let path = group.join(file);
            // Where the file is missing the group has no control of the CPU, and writing would make nothing of it.
            if path.exists() { std::fs::write(path, value) } else { Err(std::io::ErrorKind::NotFound.into()) }
        });
        if set.and_then(|()| std::fs::write(group.join("cgroup.procs"), process.to_string())).is_ok() {
            Some(group)
        } else {
            let _ = std::fs::remove_dir(&group);
            None
        }
    })
}
