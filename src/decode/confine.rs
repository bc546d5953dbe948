//! Giving away what decoding does not need, as far as the kernel lets it.
//!
//! Three independent walls, since no kernel has all of them for sure: limits of the process, Landlock against files
//! and connections, and a filter that lets only those system calls through that computing and answering take.

use std::collections::BTreeMap;
use std::{fmt, fs, io};

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use serde::{Deserialize, Serialize};

use super::Limits;

/// Memory for the program itself and for what decoders need beyond what headers tell.
const BASE_MEMORY_BYTES: u64 = 512 << 20;

/// What a worker may write to its standard error, which is memory: its last words.
const LAST_WORDS_BYTES: u64 = 1 << 20;

/// How readily the kernel kills a worker for lack of memory, of 1000: its photo is tried again, the daemon is needed.
const OOM_SCORE: &str = "500";

/// What a worker process gave away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// seccomp: only those system calls are let through that computing and answering take: no files, no network.
    pub system_calls: bool,
    /// Landlock: no access to files, and as far as the kernel knows how, none to the network.
    pub files: bool,
    /// The kernel refuses memory beyond a limit.
    pub memory: bool,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.system_calls, "seccomp"), (self.files, "Landlock"), (self.memory, "memory limit")];
        let held: Vec<&str> = all.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect();
        if held.is_empty() { f.write_str("none") } else { f.write_str(&held.join(", ")) }
    }
}

/// Gives away the rights of this process, for good. It must have one thread only.
pub(super) fn confine(limits: &Limits) -> Protection {
    let most = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    // Where one of these is refused, the filter below still holds.
    let _ = setrlimit(Resource::Core, most(0));
    let _ = setrlimit(Resource::Fsize, most(LAST_WORDS_BYTES));
    let memory = limits.max_memory_bytes.saturating_add(limits.max_bytes).saturating_add(BASE_MEMORY_BYTES);
    let memory = setrlimit(Resource::As, most(memory)).is_ok();
    let files = refuse_files().unwrap_or(RulesetStatus::NotEnforced) != RulesetStatus::NotEnforced;
    let system_calls = system_call_filter().is_some_and(|filter| seccompiler::apply_filter(&filter).is_ok());
    Protection { system_calls, files, memory }
}

/// Has the kernel kill this process as soon as the daemon ends, even if it is stopped then. Where memory is short, it goes
/// first.
///
/// # Errors
/// Where the daemon has ended already, or the kernel refuses.
pub(super) fn tie_to_parent(daemon: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended just before that.
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs());
    if parent != Some(daemon) {
        return Err(io::Error::other("the daemon has ended"));
    }
    // Where this is refused, the kernel chooses by size.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    Ok(())
}

/// Has the kernel end this process once it has computed for longer than a photo may take.
pub(super) fn limit_time(limits: &Limits) {
    let used = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0);
    // In whole seconds, of which the first has begun.
    let until = used.saturating_add(limits.max_time.as_secs()).saturating_add(1);
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(until), maximum: None });
}

fn refuse_files() -> Result<RulesetStatus, landlock::RulesetError> {
    // What an older kernel does not know is left out.
    let abi = ABI::V6;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Builds the filter; `None` on processors it does not know.
fn system_call_filter() -> Option<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut rules: BTreeMap<_, _> = allowed.into_iter().map(|number| (number, Vec::new())).collect();
    // Signals to itself, which is how it aborts, and limits of its own; not those of others.
    let only_first = |value: u64| {
        let first = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).ok()?;
        Some(vec![SeccompRule::new(vec![first]).ok()?])
    };
    rules.insert(libc::SYS_tgkill, only_first(u64::from(std::process::id()))?);
    rules.insert(libc::SYS_prlimit64, only_first(0)?);
    // What is not allowed fails like a missing permission, so that a library that only tries goes on.
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture).ok()?.try_into().ok()
}
