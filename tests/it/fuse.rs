//! A disk that hangs when it is told to: a FUSE file system of one folder, spoken over `/dev/fuse` without a library
//! (`linux/fuse.h`, version 7.31).
//!
//! A request that was read and is not answered holds its caller so that not even SIGKILL frees it. So whoever hangs here
//! leaves requests unread, as a server does that is stopped.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::{fs, thread};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::namespace::may_mount;

const ROOT: u64 = 1;
const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

/// All files were written then: long ago.
const WRITTEN: u64 = 1_500_000_000;

/// Returns true where the test `name` may mount a [`Fuse`], see [`may_mount`]. Says aloud where nobody may.
pub fn may_be_mounted(name: &str) -> bool {
    if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        eprintln!("SKIPPED {name}: /dev/fuse cannot be opened");
        return false;
    }
    may_mount(name)
}

/// A mounted folder. Dropping it unmounts it, and whoever waits for it gets an error.
pub struct Fuse {
    path: PathBuf,
    state: Arc<State>,
    server: Option<thread::JoinHandle<()>>,
}

struct State {
    device: fs::File,
    files: Vec<(String, Vec<u8>)>,
    mode: Mutex<Mode>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Serving,
    Hung,
    Ended,
}

impl Fuse {
    /// Mounts a folder that has never answered.
    pub fn mute(path: &Path) -> Self {
        Self::mount(path, Vec::new(), Mode::Hung)
    }

    /// Mounts a folder of these files.
    pub fn serving(path: &Path, files: Vec<(String, Vec<u8>)>) -> Self {
        Self::mount(path, files, Mode::Serving)
    }

    #[expect(clippy::disallowed_methods, reason = "the handle is kept, and dropping joins it")]
    fn mount(path: &Path, files: Vec<(String, Vec<u8>)>, mode: Mode) -> Self {
        fs::create_dir_all(path).unwrap();
        let device = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("test", path, "fuse", MountFlags::empty(), options.as_c_str()).unwrap();
        let state = State { device, files, mode: Mutex::new(mode), changed: Condvar::new() };
        let state = Arc::new(state);
        let server = Arc::clone(&state);
        let server = thread::Builder::new().name("fuse".into()).spawn(move || server.serve()).unwrap();
        Self { path: path.to_path_buf(), state, server: Some(server) }
    }

    /// From now on nothing is answered.
    pub fn hang(&self) {
        self.set(Mode::Hung);
    }

    /// Whoever waits is answered, and all who come.
    pub fn resume(&self) {
        self.set(Mode::Serving);
    }

    fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
        self.state.changed.notify_all();
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.set(Mode::Ended);
        unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::FORCE).unwrap();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

impl State {
    fn serve(&self) {
        let mut request = vec![0; 1 << 20];
        loop {
            let mut waiting = [PollFd::new(&self.device, PollFlags::IN)];
            if poll(&mut waiting, None).is_err() || waiting[0].revents().contains(PollFlags::ERR) {
                return;
            }
            let mut mode = self.mode.lock().unwrap();
            while *mode == Mode::Hung {
                mode = self.changed.wait(mode).unwrap();
            }
            if *mode == Mode::Ended {
                return;
            }
            drop(mode);
            // Fails once it is unmounted, and where whoever asked has gone meanwhile.
            let Ok(length) = (&self.device).read(&mut request) else { continue };
            self.answer(&request[..length]);
        }
    }

    fn answer(&self, request: &[u8]) {
        let (code, unique, node) = (u32_at(request, 4), u64_at(request, 8), u64_at(request, 16));
        let body = &request[40..];
        let answer = match code {
            1 => self.lookup(body),
            // Forget, interrupt, forget many: nothing is said.
            2 | 36 | 42 => return,
            3 => self.attributes(node).map(|attributes| [&[0; 16], &*attributes].concat()),
            14 | 27 => Ok(vec![0; 16]),
            15 => self.read(node, body),
            17 => Ok(statistics()),
            18 | 25 | 29 | 34 | 38 => Ok(Vec::new()),
            26 => Ok(initial()),
            28 => Ok(self.list(body)),
            _ => Err(ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut message = u32::try_from(16 + body.len()).unwrap().to_le_bytes().to_vec();
        message.extend(error.to_le_bytes());
        message.extend(unique.to_le_bytes());
        message.extend(body);
        // Whoever asked may have gone.
        let _ = (&self.device).write(&message);
    }

    fn lookup(&self, name: &[u8]) -> Result<Vec<u8>, i32> {
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        let at = self.files.iter().position(|(file, _)| file.as_bytes() == name).ok_or(ENOENT)?;
        let node = ROOT + 1 + at as u64;
        // Nothing is to be remembered, so that each look asks.
        Ok([&node.to_le_bytes()[..], &[0; 32], &self.attributes(node)?].concat())
    }

    fn file(&self, node: u64) -> Result<&[u8], i32> {
        let at = node.checked_sub(ROOT + 1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.files.get(at)).map(|(_, bytes)| &**bytes).ok_or(ENOENT)
    }

    fn attributes(&self, node: u64) -> Result<Vec<u8>, i32> {
        let (mode, size) = match node {
            ROOT => (0o40_755_u32, 0),
            node => (0o100_644, self.file(node)?.len() as u64),
        };
        let mut bytes = Vec::new();
        for long in [node, size, size.div_ceil(512), WRITTEN, WRITTEN, WRITTEN] {
            bytes.extend(long.to_le_bytes());
        }
        for short in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
            bytes.extend(short.to_le_bytes());
        }
        Ok(bytes)
    }

    fn read(&self, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        let file = self.file(node)?;
        let (from, size) = (usize::try_from(u64_at(body, 8)).unwrap(), u32_at(body, 16) as usize);
        let from = from.min(file.len());
        Ok(file[from..file.len().min(from + size)].to_vec())
    }

    fn list(&self, body: &[u8]) -> Vec<u8> {
        let (from, size) = (usize::try_from(u64_at(body, 8)).unwrap(), u32_at(body, 16) as usize);
        let mut bytes = Vec::new();
        for (at, (name, _)) in self.files.iter().enumerate().skip(from) {
            let mut entry = (ROOT + 1 + at as u64).to_le_bytes().to_vec();
            entry.extend((at as u64 + 1).to_le_bytes());
            entry.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            entry.extend(u32::from(libc::DT_REG).to_le_bytes());
            entry.extend(name.as_bytes());
            entry.resize(entry.len().next_multiple_of(8), 0);
            if bytes.len() + entry.len() > size {
                break;
            }
            bytes.extend(entry);
        }
        bytes
    }
}

/// The answer to the kernel's first request.
fn initial() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [7_u32, 31, 1 << 16, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([12, 0, 10, 0]);
    for number in [1_u32 << 16, 1] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([16, 0]);
    bytes.resize(64, 0);
    bytes
}

fn statistics() -> Vec<u8> {
    let mut bytes = vec![0; 40];
    for number in [4096_u32, 255, 4096] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(80, 0);
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
