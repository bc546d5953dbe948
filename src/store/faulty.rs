//! A disk in memory that refuses, or loses its power, at a step of the test's choice.
//!
//! It forgets what a real one forgets: writes that were not synced may be on it or not after a power cut, and a sync
//! that fails has lost what it should have kept, as Linux has it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use super::disk::Disk;

/// The disk. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<Medium>>);

#[derive(Debug, Default)]
struct Medium {
    /// As reads see it.
    seen: Vec<u8>,
    /// What a power cut leaves.
    kept: Vec<u8>,
    /// Since the last sync.
    unsynced: Vec<Step>,
    steps: usize,
    fault: Option<(usize, Fault)>,
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// What happens from a step on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Writes, lengths and syncs fail.
    Refuses(Errno),
    /// Nothing that is done reaches the medium any more.
    PowerCut,
}

impl Step {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

impl FaultyDisk {
    /// A disk with this on it.
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        let medium = Medium { seen: bytes.clone(), kept: bytes, ..Medium::default() };
        Self(Arc::new(Mutex::new(medium)))
    }

    /// Lets the fault begin after so many more steps.
    pub(super) fn fails_after(&self, steps: usize, fault: Fault) {
        let mut medium = self.medium();
        medium.fault = Some((medium.steps + steps, fault));
    }

    /// Ends the fault.
    pub(super) fn heal(&self) {
        self.medium().fault = None;
    }

    /// Returns how many steps were made.
    pub(super) fn steps(&self) -> usize {
        self.medium().steps
    }

    /// Returns whether the power is off.
    pub(super) fn is_off(&self) -> bool {
        let medium = self.medium();
        matches!(medium.fault, Some((from, Fault::PowerCut)) if medium.steps > from)
    }

    /// Returns what a power cut at this moment may leave, another one for each `seed`: of what was not synced, any part,
    /// and of a write, its first half.
    pub(super) fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        let medium = self.medium();
        let mut bytes = medium.kept.clone();
        let mut random = seed;
        for step in &medium.unsynced {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (random >> 33) % 3 {
                0 => step.apply(&mut bytes),
                1 => {}
                _ => match step {
                    Step::Write(offset, data) => {
                        Step::Write(*offset, data[..data.len() / 2].to_vec()).apply(&mut bytes);
                    }
                    Step::SetLen(_) => step.apply(&mut bytes),
                },
            }
        }
        bytes
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap()
    }
}

impl Medium {
    fn step(&mut self) -> Result<Option<Fault>, Errno> {
        self.steps += 1;
        match self.fault.filter(|(from, _)| self.steps > *from) {
            Some((_, Fault::Refuses(errno))) => Err(errno),
            fault => Ok(fault.map(|(_, fault)| fault)),
        }
    }

    fn apply(&mut self, step: Step) -> io::Result<()> {
        let fault = self.step()?;
        step.apply(&mut self.seen);
        if fault.is_none() {
            self.unsynced.push(step);
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.medium().seen.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let medium = self.medium();
        let there = medium.seen.get(offset as usize..).unwrap_or_default();
        let len = there.len().min(out.len());
        out[..len].copy_from_slice(&there[..len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.medium().apply(Step::Write(offset as usize, data.to_vec()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium().apply(Step::SetLen(len as usize))
    }

    fn sync(&self) -> io::Result<()> {
        let mut medium = self.medium();
        let stepped = medium.step();
        let unsynced = std::mem::take(&mut medium.unsynced);
        match stepped {
            // What should have been kept is lost, and the next sync knows nothing of it.
            Err(errno) => {
                let kept = medium.kept.clone();
                medium.seen = kept;
                return Err(errno.into());
            }
            Ok(Some(Fault::PowerCut)) => medium.unsynced = unsynced,
            Ok(_) => {
                let medium = &mut *medium;
                unsynced.iter().for_each(|step| step.apply(&mut medium.kept));
            }
        }
        Ok(())
    }
}
