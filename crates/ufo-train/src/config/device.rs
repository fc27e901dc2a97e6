//! What a run computes on.

use anyhow::Result;
use burn_tensor::Device;
use serde::{Deserialize, Serialize};
use std::fmt;
#[cfg(feature = "cuda")]
use std::path::Path;

/// `cpu`, `cuda` or `cuda:N`: a build with the feature `cuda` has the latter two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Compute {
    /// The processor, with this project's kernels.
    #[default]
    Cpu,
    /// A CUDA card by its number, with burn's operations.
    Cuda(usize),
}

impl Compute {
    /// The device.
    ///
    /// # Errors
    /// When this build cannot compute on it.
    #[allow(clippy::unnecessary_wraps, reason = "without `cuda` it fails for a card")]
    pub fn device(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => {
                // The crate below panics where it finds no driver.
                let driver = ["/dev/nvidiactl", "/dev/dxg"];
                if cfg!(target_os = "linux") && !driver.iter().any(|path| Path::new(path).exists())
                {
                    anyhow::bail!(
                        "train.device = \"{self}\": no driver of NVIDIA's cards on this machine (no {})",
                        driver.join(", no ")
                    );
                }
                Ok(Device::cuda(index))
            }
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => anyhow::bail!(
                "train.device = \"{self}\": this program was built without it; build with `cargo build --release --features cuda`"
            ),
        }
    }
}

impl TryFrom<String> for Compute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let index = |index: &str| index.parse().ok();
        let found = match text.split_once(':') {
            None if text == "cpu" => Some(Self::Cpu),
            None if text == "cuda" => Some(Self::Cuda(0)),
            Some(("cuda", number)) => index(number).map(Self::Cuda),
            _ => None,
        };
        found.ok_or_else(|| format!("`{text}` is no device: one of cpu, cuda, cuda:1, cuda:2, ..."))
    }
}

impl From<Compute> for String {
    fn from(compute: Compute) -> Self {
        compute.to_string()
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written_and_others_refused() {
        for text in ["cpu", "cuda", "cuda:3"] {
            assert_eq!(Compute::try_from(text.to_string()).unwrap().to_string(), text);
        }
        for text in ["gpu", "cuda:", "cuda:x", "cpu:1", ""] {
            let message = Compute::try_from(text.to_string()).unwrap_err();
            assert!(message.contains(text) && message.contains("cpu, cuda"), "{message}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        let message = Compute::Cuda(1).device().unwrap_err().to_string();
        assert!(message.contains("cuda:1") && message.contains("--features cuda"), "{message}");
    }
}
