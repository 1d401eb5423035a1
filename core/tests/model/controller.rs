//! The controller: the real plan, written action by action with the preconditions that `src/controller/writer.rs` gives
//! each, to an API server that may refuse any.

use super::code::{Code, Do};
use super::facts::{has_denied_hole, recorded};
use super::hearing::News;
use super::state::{
    Cause, GivenUp, Look, Pod, Policies, Policy, Profile, Run, SLOTS, Says, State, Stored, View, Wrong, rules_of,
};

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
    /// The policies that are left alone because their quarantine was refused, a bit each.
    pub(crate) fn given_up(&self, view: &View) -> u8 {
        let aim = view.stored.map(|stored| (stored.uid, stored.profile));
        self.given_up
            .filter(|given_up| Some((given_up.uid, given_up.profile)) == aim)
            .map_or(0, |given_up| given_up.slots)
    }

    /// Carries out the next action: with the preconditions that `src/controller/writer.rs` gives it.
    pub(crate) fn act(&mut self, code: &Code, goes: Goes) {
        let view = self.replicas[usize::from(self.leader)].view;
        let given_up = self.given_up(&view);
        let begun = self.run.unwrap_or(Run { view, clock: self.clock, given_up, next: 0, failed: false });
        let planned = code.plan(&begun.view, begun.clock, begun.given_up);
        self.judge_plan(&begun, &planned.actions);
        let next = usize::from(begun.next);
        let action = planned.actions[next];
        code.saw(action.kind());
        self.faults -= u8::from(goes != Goes::Well);
        let same = |other: Option<&Do>| {
            other.is_some_and(|other| std::mem::discriminant(other) == std::mem::discriminant(&action))
        };
        let labels = planned.actions.iter().any(|action| matches!(action, Do::Isolate(_)));
        let is_confirmed = labels || next > 0 && same(planned.actions.get(next - 1)) || self.confirms(&begun.view);
        let done = match action {
            Do::Lift(slot) => is_confirmed && goes != Goes::Refused && self.lift(code, &begun.view, slot, goes),
            Do::Quarantine(slot) if goes == Goes::Refused => self.give_up(&begun.view, slot),
            _ => goes != Goes::Refused && self.write(code, &begun.view, action, goes == Goes::Well),
        };
        let failed = begun.failed || !done || goes == Goes::Silent;
        let goes_on = next + 1 < planned.actions.len() && (!failed || same(planned.actions.get(next + 1)));
        self.run = goes_on.then(|| Run { next: begun.next + 1, failed, ..begun });
    }

    /// The API server refuses a quarantine, so it is planned without from now on.
    fn give_up(&mut self, view: &View, slot: u8) -> bool {
        if let Some(Stored { uid, profile, .. }) = view.stored {
            self.given_up = Some(GivenUp { slots: self.given_up(view) | 1 << slot, uid, profile });
        }
        false
    }

    /// Whether the namespace that was planned for is there still: asked before pods are lifted.
    fn confirms(&self, view: &View) -> bool {
        self.stored.zip(view.stored).is_some_and(|(stored, known)| stored.uid == known.uid)
    }

    /// The controller asks for the namespace's policies.
    pub(crate) fn look(&mut self) {
        let (at, view) = (self.next_version() - 1, &self.replicas[usize::from(self.leader)].view);
        let Some(stored) = view.stored else { return };
        self.look = Some(Look { uid: stored.uid, at, before: view.policies, found: self.policies, relisted: false });
    }

    /// The answer arrives.
    pub(crate) fn take_look(&mut self, code: &Code) {
        let (leader, Some(look)) = (usize::from(self.leader), self.look.take()) else { return };
        if look.relisted {
            // What was found may be older than what the watch has listed: the plan still waits, and asks again.
            return;
        }
        let news = News::Looked(look.uid, look.at, look.before, look.found);
        self.replicas[leader] = code.hear(&self.replicas[leader], news);
    }

    fn judge_plan(&mut self, run: &Run, actions: &[Do]) {
        let (enforced, isolating) = (run.view.is_enforced(run.clock), run.view.is_isolating(run.clock));
        for action in actions {
            match action {
                Do::Lift(_) if enforced && !isolating => self.breaks(Wrong::PlannedOnIneffectiveView),
                Do::Isolate(_) if !enforced || !isolating => self.breaks(Wrong::PlannedOnIneffectiveView),
                Do::Isolate(known) | Do::Record(Some(known)) => {
                    let profile = run.view.stored.map_or(Profile::Team, |stored| stored.profile);
                    let meant = recorded(&run.view.policies, profile, run.clock, run.view.config);
                    if run.view.recorded(*known) != meant {
                        self.breaks(Wrong::RecordedWrongly);
                    }
                }
                _ => {}
            }
        }
        let quarantined: Vec<u8> = actions
            .iter()
            .filter_map(|action| if let Do::Quarantine(slot) = action { Some(*slot) } else { None })
            .collect();
        if !quarantined.is_empty() && !is_quarantine_right(run, &quarantined) {
            self.breaks(Wrong::QuarantinedWithoutNeed);
        }
        if run.view.stored.is_some_and(|stored| stored.terminating) {
            self.breaks(Wrong::ActedWhileTerminating);
        }
    }

    /// Returns whether the API server has taken the write.
    fn write(&mut self, code: &Code, view: &View, action: Do, heard: bool) -> bool {
        let leader = usize::from(self.leader);
        let cause = if self.knows(view) { Cause::Controller } else { Cause::Pruned };
        let news = match action {
            Do::Isolate(_) | Do::DropIsolated | Do::Record(_) | Do::EndExemption | Do::Report(_) => {
                let (Some(stored), Some(known)) = (self.stored, view.stored) else { return false };
                let isolates = matches!(action, Do::Isolate(_));
                if stored.uid != known.uid || isolates && stored.version != known.version {
                    return false;
                }
                let written = match action {
                    Do::Isolate(known) => Stored { isolated: true, effective: Some(view.recorded(known)), ..stored },
                    Do::DropIsolated => Stored { isolated: false, ..stored },
                    Do::Record(known) => Stored { effective: known.map(|known| view.recorded(known)), ..stored },
                    Do::EndExemption => Stored { exempt: false, ..stored },
                    Do::Report(conflict) => Stored { conflict, ..stored },
                    _ => stored,
                };
                if written != stored {
                    self.write_namespace(Some(written), Cause::Exempt);
                }
                if isolates && self.is_bad() {
                    // What has arrived since the plan was made counts as on its way: the next plan is made of it.
                    let news = (!self.knows(view)).then(|| self.cause.unwrap_or(Cause::Controller));
                    if let Some(rule) = self.broken_by_running(code, view, news, "isolated is set") {
                        self.breaks(rule);
                    }
                }
                self.stored.map(News::WrittenNamespace)
            }
            Do::Quarantine(slot) | Do::EndQuarantine(slot) => {
                let is_begun = matches!(action, Do::Quarantine(_));
                let seen = view.policies[usize::from(slot)];
                let Some(there) =
                    self.policies[usize::from(slot)].filter(|there| seen.is_some_and(|seen| seen.uid == there.uid))
                else {
                    // Gone, or another one of the same name: nothing is left to remove rules from.
                    return is_begun;
                };
                let version = self.next_version();
                let says = if is_begun { there.says.emptied() } else { there.says };
                let written = Policy { quarantined: is_begun, ..self.rewritten(slot, says, version) };
                if (Policy { version: there.version, ..written }) != there {
                    self.put_policy(slot, Some(written), version, cause);
                }
                self.policies[usize::from(slot)].map(|policy| News::WrittenPolicy(slot, policy))
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
                    _ => self.write_policy(slot, Some(Says::Managed), None, cause),
                }
                self.policies[usize::from(slot)].map(|policy| News::WrittenPolicy(slot, policy))
            }
            Do::Prune(slot) => {
                let there = self.policies[usize::from(slot)];
                let seen = view.policies[usize::from(slot)];
                if there.is_none() || there.map(|policy| policy.version) != seen.map(|policy| policy.version) {
                    return false;
                }
                self.write_policy(slot, None, None, cause);
                None
            }
            Do::Lift(_) => None,
        };
        if let Some(news) = news.filter(|_| heard) {
            self.replicas[leader] = code.hear(&self.replicas[leader], news);
        }
        true
    }

    fn lift(&mut self, code: &Code, view: &View, slot: u8, goes: Goes) -> bool {
        let leader = usize::from(self.leader);
        let (known, there) = (view.pods[usize::from(slot)], self.pods[usize::from(slot)]);
        let is_meant = known.zip(there).is_some_and(|(known, there)| known.uid == there.uid);
        if !code.is_lifted_still(&self.replicas[leader].view, self.clock) || !is_meant {
            return true;
        }
        let (now_known, news) = (self.replicas[leader].view, self.missed_by(self.leader));
        if let Some(rule) = self.broken_by_running(code, &now_known, news, "a pod is lifted") {
            self.breaks(rule);
        }
        self.write_pod(slot, false);
        if let Some(pod) = there.filter(|_| goes == Goes::Well) {
            let version = self.pod_log.last().map_or(pod.version, |event| event.version);
            let written = News::WrittenPod(slot, Pod { version, held: false, ..pod });
            self.replicas[leader] = code.hear(&self.replicas[leader], written);
        }
        true
    }
}

/// Whether these policies are to be quarantined: each was changed since the namespace was last effective under the same
/// rules, nobody has accepted it, and it is the latest change of those that open a hole while the earlier ones stand.
fn is_quarantine_right(run: &Run, quarantined: &[u8]) -> bool {
    let Some(stored) = run.view.stored.filter(|stored| stored.is_enforced(run.clock)) else { return false };
    let Some(record) = stored.effective.filter(|_| run.view.behind == 0) else { return false };
    let mut policies = run.view.policies;
    let has_hole = |policies: &Policies| has_denied_hole(policies, stored.profile, run.clock, run.view.config);
    let changed = |slot: u8, policies: &Policies| {
        policies[usize::from(slot)].is_some_and(|policy| {
            let is_left = run.given_up & 1 << slot != 0;
            let known = record.knows[usize::from(slot)] == Some((policy.uid, policy.spec));
            policy.says.opens(run.clock) && !policy.says.is_managed() && !known && !is_left
        })
    };
    for slot in quarantined {
        // Where half of a hole is none by itself, it takes part in none that is wider.
        let is_wide = |slot: u8| policies[usize::from(slot)].is_some_and(|policy| policy.says != Says::Half);
        let candidates: Vec<u8> = (0..SLOTS).filter(|slot| changed(*slot, &policies)).collect();
        let wide = run.view.config == 0 && candidates.iter().any(|slot| is_wide(*slot));
        let part: Vec<u8> = candidates.into_iter().filter(|slot| !wide || is_wide(*slot)).collect();
        let latest = part.iter().max_by_key(|slot| policies[usize::from(**slot)].map(|policy| policy.version));
        if latest != Some(slot) || !has_hole(&policies) {
            return false;
        }
        if let Some(policy) = &mut policies[usize::from(*slot)] {
            policy.says = policy.says.emptied();
        }
    }
    record.rules == rules_of(stored.profile, run.view.config)
}
