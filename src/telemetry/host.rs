//! What the host measures: CPU, memory, disks, network, as plain samples named by the semantic conventions.

use sysinfo::{Disks, Networks, System};

/// How a sample's value is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// True now.
    Gauge,
    /// Total since the host started.
    Counter,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSample {
    /// Metric name.
    pub name: &'static str,
    /// UCUM unit.
    pub unit: &'static str,
    /// How to read the value.
    pub kind: SampleKind,
    /// Attributes.
    pub attributes: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// True while process `pid` runs; one that has ended and was not waited for does not.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Reads the host's measurements; keeps what differences need.
pub struct HostSampler {
    system: System,
    disks: Disks,
    networks: Networks,
}

impl HostSampler {
    /// A sampler of this host.
    ///
    /// # Errors
    /// Where the platform does not tell.
    pub fn new() -> Result<Self, sysinfo::Error> {
        Ok(Self { system: System::new()?, disks: Disks::new()?, networks: Networks::new_with_refreshed_list()? })
    }

    /// All measurements now. CPU utilisation is over the time since the last call.
    pub fn sample(&mut self) -> Vec<HostSample> {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.disks.refresh(true);
        self.networks.refresh(true);
        let mut out = Vec::new();
        self.cpu_and_memory(&mut out);
        self.filesystems(&mut out);
        self.network(&mut out);
        out
    }

    fn cpu_and_memory(&self, out: &mut Vec<HostSample>) {
        let mut gauge =
            |name, unit, value| out.push(HostSample { name, unit, kind: SampleKind::Gauge, attributes: vec![], value });
        gauge("system.cpu.utilization", "1", f64::from(self.system.global_cpu_usage()) / 100.0);
        let (used, total) = (self.system.used_memory() as f64, self.system.total_memory() as f64);
        gauge("system.memory.usage", "By", used);
        gauge("system.memory.limit", "By", total);
        if total > 0.0 {
            gauge("system.memory.utilization", "1", used / total);
        }
        if let Ok(load) = System::load_average() {
            gauge("system.cpu.load_average.1m", "{thread}", load.one);
        }
    }

    fn filesystems(&self, out: &mut Vec<HostSample>) {
        let mut seen = Vec::new();
        for disk in self.disks.iter() {
            let total = disk.total_space();
            // One device is mounted at many places; its first mount point stands for it.
            if total == 0 || seen.contains(&disk.name()) {
                continue;
            }
            seen.push(disk.name());
            let attributes = || {
                vec![
                    ("system.device", disk.name().to_string_lossy().into_owned()),
                    ("system.filesystem.mountpoint", disk.mount_point().to_string_lossy().into_owned()),
                ]
            };
            let used = (total - disk.available_space().min(total)) as f64;
            let mut gauge = |name, unit, value| {
                out.push(HostSample { name, unit, kind: SampleKind::Gauge, attributes: attributes(), value });
            };
            gauge("system.filesystem.usage", "By", used);
            gauge("system.filesystem.utilization", "1", used / total as f64);
        }
    }

    fn network(&self, out: &mut Vec<HostSample>) {
        for (name, data) in self.networks.iter().filter(|(name, _)| *name != "lo") {
            for (direction, value) in [("receive", data.total_received()), ("transmit", data.total_transmitted())] {
                let attributes = vec![
                    ("network.interface.name", name.to_string_lossy().into_owned()),
                    ("network.io.direction", direction.to_owned()),
                ];
                out.push(HostSample {
                    name: "system.network.io",
                    unit: "By",
                    kind: SampleKind::Counter,
                    attributes,
                    value: value as f64,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utilisations_are_ratios() {
        let samples = HostSampler::new().expect("a known platform").sample();
        assert!(samples.iter().any(|s| s.name == "system.memory.limit" && s.value > 0.0));
        for sample in samples.iter().filter(|s| s.name.ends_with("utilization")) {
            assert!((0.0..=1.0).contains(&sample.value), "{sample:?}");
        }
    }
}
