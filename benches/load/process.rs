//! Servers as child processes on a core of their own, and what they cost in CPU and memory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks of `/proc/PID/stat` in a second; the same on every Linux that matters.
const TICKS: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(60);

/// A server under test.
pub(crate) struct Server {
    child: Child,
    /// `host:port` of OTLP/gRPC, or of HTTP for those that have no other.
    pub(crate) address: String,
    /// Dashboard and JSON API, where there are any.
    pub(crate) http: String,
    /// OTLP/HTTP, where it has an address of its own.
    pub(crate) otlp_http: String,
}

impl Server {
    /// Starts `program` on core 0; the generator has core 1.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        address: &str,
    ) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program).args(arguments).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(if std::env::var_os("BENCH_STDERR").is_some() { Stdio::inherit() } else { Stdio::null() });
        let child = command.spawn().expect("taskset and the server are there");
        let server = Self { child, address: address.to_owned(), http: String::new(), otlp_http: String::new() };
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < PATIENCE, "{name} does not listen on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// CPU seconds of the process itself, and of all its descendants.
    pub(crate) fn cpu(&self) -> Cpu {
        let own = cpu_of(self.child.id()).map_or(0.0, |(_, cpu)| cpu);
        Cpu { own, children: descendants(self.child.id()).into_iter().filter_map(cpu_of).map(|(_, cpu)| cpu).sum() }
    }

    /// Resident bytes of the process itself.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(mut self) {
        let _sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// CPU seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) own: f64,
    pub(crate) children: f64,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { own: self.own - before.own, children: self.children - before.children }
    }
}

/// Parent and CPU seconds, those of ended children included.
fn cpu_of(pid: u32) -> Option<(u32, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let parent = fields.get(1)?.parse().ok()?;
    Some((parent, (ticks(11)? + ticks(12)?) / TICKS))
}

fn descendants(root: u32) -> Vec<u32> {
    let processes: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .expect("Linux")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, cpu_of(pid)?.0)))
        .collect();
    let mut out = vec![root];
    let mut next = 0;
    while let Some(parent) = out.get(next).copied() {
        out.extend(processes.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    out.split_off(1)
}

/// Puts this process on core 1.
pub(crate) fn take_core_one() {
    let done =
        Command::new("taskset").args(["-acp", "1", &std::process::id().to_string()]).stdout(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()), "taskset (util-linux) pins processes");
}

/// A port that is free now.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").to_string()
}
