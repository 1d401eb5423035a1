//! The controller: the real plan, written action by action with the preconditions that `src/controller/writer.rs` gives
//! each, to an API server that may refuse any.

use super::code::{Code, Do, News};
use super::state::{Cause, Pod, Run, Says, State, Stored, View, Wrong};

/// How a write of the controller goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Goes {
    Well,
    /// It is not carried out.
    Refused,
    /// It is carried out, and the answer is lost.
    Silent,
}

impl State {
    /// Carries out the next action: with the preconditions that `src/controller/writer.rs` gives it.
    pub(crate) fn act(&mut self, code: &Code, goes: Goes) {
        let leader = usize::from(self.leader);
        let begun =
            self.run.unwrap_or(Run { view: self.replicas[leader].view, clock: self.clock, next: 0, failed: false });
        let planned = code.plan(&begun.view, begun.clock);
        self.judge_plan(&begun, &planned.actions);
        let action = planned.actions[usize::from(begun.next)];
        code.saw(action.kind());
        self.faults -= u8::from(goes != Goes::Well);
        let done = goes != Goes::Refused && self.write(code, &begun.view, action, goes == Goes::Well);
        let failed = begun.failed || !done || goes == Goes::Silent;
        let next = usize::from(begun.next) + 1;
        let same = planned
            .actions
            .get(next)
            .is_some_and(|other| std::mem::discriminant(other) == std::mem::discriminant(&action));
        let goes_on = next < planned.actions.len() && (!failed || same);
        self.run = goes_on.then(|| Run { next: u8::try_from(next).unwrap(), failed, ..begun });
    }

    fn judge_plan(&mut self, run: &Run, actions: &[Do]) {
        let (enforced, effective) = (run.view.is_enforced(run.clock), run.view.is_effective(run.clock));
        for action in actions {
            match action {
                Do::Lift(_) if enforced && !effective => self.breaks(Wrong::PlannedOnIneffectiveView),
                Do::SetIsolated(true) if !enforced || !effective => self.breaks(Wrong::PlannedOnIneffectiveView),
                _ => {}
            }
        }
        if run.view.stored.is_some_and(|stored| stored.terminating) {
            self.breaks(Wrong::ActedWhileTerminating);
        }
    }

    /// Returns whether the API server has taken the write.
    fn write(&mut self, code: &Code, view: &View, action: Do, heard: bool) -> bool {
        let leader = usize::from(self.leader);
        let cause = if self.knows(view) { Cause::Controller } else { Cause::Raced };
        let news = match action {
            Do::SetIsolated(_) | Do::EndExemption | Do::Report(_) => {
                let (Some(stored), Some(known)) = (self.stored, view.stored) else { return false };
                let unchanged = action == Do::SetIsolated(true);
                if stored.uid != known.uid || unchanged && stored.version != known.version {
                    return false;
                }
                let written = match action {
                    Do::SetIsolated(isolated) => Stored { isolated, ..stored },
                    Do::EndExemption => Stored { exempt: false, ..stored },
                    Do::Report(conflict) => Stored { conflict, ..stored },
                    _ => stored,
                };
                if written != stored {
                    self.write_namespace(Some(written), Cause::Exempt);
                }
                if unchanged && self.is_bad() {
                    if let Some(rule) = self.broken_by_running(code, leader, "isolated is set") {
                        self.breaks(rule);
                    }
                    self.cause = Some(Cause::Raced);
                }
                self.stored.map(News::WrittenNamespace)
            }
            Do::Apply(slot) => {
                let forced = view.policies[usize::from(slot)]
                    .is_some_and(|policy| matches!(policy.says, Says::Managed | Says::Narrowed));
                match (self.stored, self.says(slot)) {
                    (None, _) => return false,
                    (Some(stored), None) if stored.terminating => return false,
                    // Somebody else's, whose label says so.
                    (_, Some(Says::Foreign | Says::Narrow)) if !forced => return false,
                    (_, Some(Says::Managed)) => {}
                    _ => self.write_policy(slot, Some(Says::Managed), cause),
                }
                self.policies[usize::from(slot)].map(|policy| News::WrittenPolicy(slot, policy))
            }
            Do::Prune(slot) => {
                let there = self.policies[usize::from(slot)];
                let seen = view.policies[usize::from(slot)];
                if there.is_none() || there.map(|policy| policy.version) != seen.map(|policy| policy.version) {
                    return false;
                }
                self.write_policy(slot, None, cause);
                None
            }
            Do::Lift(slot) => return self.lift(code, view, slot, heard),
        };
        if let Some(news) = news.filter(|_| heard) {
            self.replicas[leader] = code.hear(&self.replicas[leader], news);
        }
        true
    }

    fn lift(&mut self, code: &Code, view: &View, slot: u8, heard: bool) -> bool {
        let leader = usize::from(self.leader);
        let (known, there) = (view.pods[usize::from(slot)], self.pods[usize::from(slot)]);
        let same = self.stored.zip(view.stored).is_some_and(|(stored, known)| stored.uid == known.uid);
        if !same {
            return false;
        }
        let is_meant = known.zip(there).is_some_and(|(known, there)| known.uid == there.uid);
        if !code.is_lifted_still(&self.replicas[leader].view, self.clock) || !is_meant {
            return true;
        }
        if let Some(rule) = self.broken_by_running(code, leader, "a pod is lifted") {
            self.breaks(rule);
        }
        self.write_pod(slot, false);
        if let Some(pod) = there.filter(|_| heard) {
            let version = self.pod_log.last().map_or(pod.version, |event| event.version);
            let written = News::WrittenPod(slot, Pod { version, held: false, ..pod });
            self.replicas[leader] = code.hear(&self.replicas[leader], written);
        }
        true
    }
}
