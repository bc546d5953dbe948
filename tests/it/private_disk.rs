//! A small disk that a test can fill, or make read-only, without harm to anybody: a tmpfs in a mount namespace of its own,
//! which a sleeping process holds. Takes root; elsewhere the test is skipped, and says so.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Written to fill the disk.
const BALLAST: &str = "ballast";

/// The disk. Dropping it unmounts it, once nobody uses it any more.
pub struct PrivateDisk {
    holder: Child,
    at: PathBuf,
}

impl PrivateDisk {
    /// Mounts a disk of so many KiB on a folder, which is made. `None` where that is not allowed.
    pub fn mount(at: &Path, kib: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        // It ends when its input does, which is when we end, whatever way that happens.
        let script =
            format!("mount -t tmpfs -o size={kib}k,mode=0700 tmpfs \"$1\" && echo mounted && read x");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut said).unwrap();
        if said.trim() == "mounted" {
            return Some(Self { holder, at: at.to_path_buf() });
        }
        eprintln!("SKIPPED: a tmpfs cannot be mounted here (root and `unshare --mount` are needed)");
        let _ = holder.wait();
        None
    }

    /// Makes a command one that sees the disk.
    pub fn seen_by(&self, command: &Command) -> Command {
        let mut seeing = Command::new("nsenter");
        seeing.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        // Entering leads to the root folder.
        seeing.arg(format!("--wd={}", command.get_current_dir().unwrap().display()));
        seeing.arg("--").arg(command.get_program()).args(command.get_args());
        seeing.env_clear();
        for (name, value) in command.get_envs() {
            seeing.env(name, value.unwrap_or(OsStr::new("")));
        }
        seeing
    }

    /// Where a file of the disk is for those who do not see it.
    pub fn path(&self, below: &str) -> PathBuf {
        let mut path = format!("/proc/{}/root", self.holder.id()).into_bytes();
        path.extend_from_slice(self.at.as_os_str().as_bytes());
        PathBuf::from(OsStr::from_bytes(&path)).join(below)
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut ballast = fs::File::options().create(true).append(true).open(self.path(BALLAST)).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while ballast.write(&vec![1; size]).is_ok_and(|written| written > 0) {}
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.path(BALLAST)).unwrap();
    }

    /// Lets it be written, or only be read.
    pub fn allow_writes(&self, is_allowed: bool) {
        let how = if is_allowed { "remount,rw" } else { "remount,ro" };
        let mut mount = Command::new("nsenter");
        mount
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .args(["mount", "-o", how])
            .arg(&self.at);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for PrivateDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
