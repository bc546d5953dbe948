//! The configuration file, key by key. Every key has a default; a key that is not known is an error with its line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use crate::decode::Limits;
use crate::encode::RuntimeChoice;

/// `config.toml`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Folders to watch.
    pub roots: Vec<PathBuf>,
    /// Name or path of the network.
    pub model: Option<String>,
    /// More folders to search for model files.
    pub model_dirs: Vec<PathBuf>,
    /// Unix socket.
    pub socket: Option<PathBuf>,
    /// TCP address.
    pub listen: Option<SocketAddr>,
    /// Log filter.
    pub log: Option<String>,
    /// `[encoder]`
    pub encoder: EncoderSection,
    /// `[decode]`
    pub decode: DecodeSection,
    /// `[watch]`
    pub watch: WatchSection,
    /// `[ingest]`
    pub ingest: IngestSection,
    /// `[thumbnails]`
    pub thumbnails: ThumbnailSection,
    /// `[metrics]`
    pub metrics: MetricsSection,
}

/// `[encoder]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderSection {
    /// Which runtime.
    pub runtime: RuntimeChoice,
    /// Library of ONNX Runtime, before all other places.
    pub onnxruntime_library: Option<PathBuf>,
    /// Threads that encode. 0: one a core, 4 at the most.
    pub threads: usize,
}

/// `[decode]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodeSection {
    /// Pixels of a photo at the most, in millions.
    pub max_megapixels: u64,
    /// Size of a file at the most, in MiB.
    pub max_file_mib: u64,
    /// Memory that decoding a photo may take, in MiB.
    pub max_memory_mib: u64,
    /// Time that computing a photo may take, in seconds.
    pub max_seconds: u64,
}

impl Default for DecodeSection {
    fn default() -> Self {
        let Limits { max_bytes, max_pixels, max_memory_bytes, max_time } = Limits::default();
        Self {
            max_megapixels: max_pixels / 1_000_000,
            max_file_mib: max_bytes >> 20,
            max_memory_mib: max_memory_bytes >> 20,
            max_seconds: max_time.as_secs(),
        }
    }
}

impl DecodeSection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("decode.max_megapixels", self.max_megapixels)?;
        positive("decode.max_file_mib", self.max_file_mib)?;
        positive("decode.max_memory_mib", self.max_memory_mib)?;
        positive("decode.max_seconds", self.max_seconds)
    }

    /// Returns the same in the words of the decode room.
    pub fn limits(&self) -> Limits {
        Limits {
            max_bytes: self.max_file_mib.saturating_mul(1 << 20),
            max_pixels: self.max_megapixels.saturating_mul(1_000_000),
            max_memory_bytes: self.max_memory_mib.saturating_mul(1 << 20),
            max_time: Duration::from_secs(self.max_seconds),
        }
    }
}

/// `[watch]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchSection {
    /// Patterns in gitignore syntax that hold in every folder.
    pub ignore: Vec<String>,
    /// Looks into hidden folders too.
    pub hidden: bool,
    /// Minutes between two quiet comparisons of a watched folder with the index. 0: never.
    pub compare_minutes: u64,
}

impl Default for WatchSection {
    fn default() -> Self {
        Self { ignore: Vec::new(), hidden: false, compare_minutes: 60 }
    }
}

/// `[ingest]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestSection {
    /// Threads that read and decode. 0: one a core.
    pub threads: usize,
    /// Days that the embeddings of a deleted photo are kept, for the case that it comes back.
    pub keep_deleted_days: u32,
    /// Lets changes wait while the machine runs on its battery.
    pub pause_on_battery: bool,
    /// Lets changes wait while some work stands still for more than this share of the time, in percent. 0: whatever it is.
    pub max_pressure: f32,
}

impl Default for IngestSection {
    fn default() -> Self {
        Self { threads: 0, keep_deleted_days: 30, pause_on_battery: false, max_pressure: 0.0 }
    }
}

impl IngestSection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.threads > 256 {
            let value = self.threads.to_string();
            return Err(ConfigError::Value {
                key: "ingest.threads",
                value,
                problem: "at most 256; 0 takes one a core",
            });
        }
        if !(0.0..=100.0).contains(&self.max_pressure) {
            let value = self.max_pressure.to_string();
            return Err(ConfigError::Value {
                key: "ingest.max_pressure",
                value,
                problem: "is a share in percent, 0 to 100; 0 does not look",
            });
        }
        Ok(())
    }
}

/// `[thumbnails]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThumbnailSection {
    /// What kept thumbnails and features may take on the disk, in MiB. 0: none are kept.
    pub max_mib: u64,
}

impl Default for ThumbnailSection {
    fn default() -> Self {
        Self { max_mib: 512 }
    }
}

impl ThumbnailSection {
    /// Returns the same in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_mib.saturating_mul(1 << 20)
    }
}

/// `[metrics]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSection {
    /// Address of this machine on which Prometheus finds the daemon's numbers.
    pub listen: Option<SocketAddr>,
    /// Unix socket on which the same is to be had.
    pub socket: Option<PathBuf>,
}

impl MetricsSection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.listen {
            Some(address) if !address.ip().is_loopback() => Err(ConfigError::Value {
                key: "metrics.listen",
                value: address.to_string(),
                problem: "must be an address of this machine alone, as 127.0.0.1:9420: there is no password",
            }),
            _ => Ok(()),
        }
    }
}

fn positive(key: &'static str, value: u64) -> Result<(), ConfigError> {
    if value == 0 {
        return Err(ConfigError::Value { key, value: value.to_string(), problem: "must be at least 1" });
    }
    Ok(())
}

impl File {
    /// Parses the text. The error names line and column.
    ///
    /// # Errors
    /// It is not TOML, or holds a key or a value that is none.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}
