//! What the kernel says of this process.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// Under the names that Prometheus' own clients give them. What cannot be read is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Memory that is in RAM, in bytes.
    pub resident_bytes: u64,
    /// Memory that is mapped, in bytes.
    pub virtual_bytes: u64,
    /// Seconds of a core.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Process {
    /// Asks the kernel. `None` where `/proc` is not there.
    pub fn look() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let descriptors = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        Self::parse(&status, cpu_seconds, descriptors)
    }

    /// Reads `/proc/self/status` (proc_pid_status(5)).
    fn parse(status: &str, cpu_seconds: f64, descriptors: u64) -> Option<Self> {
        let number = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        };
        Some(Self {
            resident_bytes: number("VmRSS")? << 10,
            virtual_bytes: number("VmSize")? << 10,
            cpu_seconds,
            threads: number("Threads")?,
            descriptors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_kibibytes() {
        let status = "Name:\tVmRSS: 7\nVmSize:\t    4000 kB\nVmRSS:\t     100 kB\nThreads:\t19\n";
        let expected = Process {
            resident_bytes: 102_400,
            virtual_bytes: 4_096_000,
            cpu_seconds: 2.0,
            threads: 19,
            descriptors: 3,
        };
        assert_eq!(Process::parse(status, 2.0, 3), Some(expected));
        let here = Process::look().unwrap();
        assert!(here.resident_bytes > 1 << 20 && here.descriptors >= 3 && here.threads >= 1, "{here:?}");
    }
}
