//! Child processes that do not outlive us: the few system calls that the standard library lacks.

#![expect(unsafe_code, reason = "prctl, setpgid, kill and geteuid have no safe form in the standard library")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// What a child is asked to leave by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    /// SIGINT: Postgres' "fast shutdown".
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGKILL, for what keeps nothing.
    Kill,
}

impl Signal {
    const fn number(self) -> libc::c_int {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
        }
    }
}

/// Puts what `command` starts in its own process group, so that Ctrl-C reaches only us, and has `at_death` sent to it when
/// the thread that starts it ends.
pub(super) fn end_with_us(command: &mut Command, at_death: Signal) {
    let number = at_death.number();
    // SAFETY: between fork and exec only async-signal-safe calls are made.
    unsafe {
        command.pre_exec(move || {
            if libc::setpgid(0, 0) != 0 || libc::prctl(libc::PR_SET_PDEATHSIG, number) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Starts `command` so that it ends with us.
pub(super) fn spawn(mut command: Command, at_death: Signal) -> io::Result<Child> {
    end_with_us(&mut command, at_death);
    command.spawn()
}

/// Asks `child` to leave, and kills it when it has not after `patience`.
pub(super) fn stop(child: &mut Child, signal: Signal, patience: Duration) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    // SAFETY: the child has not been waited for, so the pid is still its own.
    unsafe {
        libc::kill(child.id() as libc::pid_t, signal.number());
    }
    let began = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if began.elapsed() > patience {
            let _gone = child.kill();
            let _gone = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// True when process `pid` runs `program`: pids are used again.
pub(super) fn is_running(pid: i32, program: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == program)
}

/// The user that we are.
pub(super) fn own_uid() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// True when we are root.
pub(super) fn is_root() -> bool {
    own_uid() == 0
}

/// User and group of `postgres`, or else of `nobody`.
pub(super) fn unprivileged_user() -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].iter().find_map(|name| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}
