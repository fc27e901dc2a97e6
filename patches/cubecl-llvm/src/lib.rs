//! Stands in for the crate `cubecl-llvm`, which downloads an LLVM of its own when it is built.
//!
//! `cubecl-cuda` has two compilers, kernels through LLVM and kernels as C++ for NVRTC, and is always built with
//! both; its feature `cpp`, which `ufo-train` turns on with `cuda`, chooses the second. Here are the names that it
//! uses of the first, and a compiler that refuses.

/// The place of PTX versions in the crate.
pub mod nvptx {
    /// The place of PTX versions in the crate.
    pub mod ptx_version {
        /// No version: only the compiler that is not here needs one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// None for any driver.
            #[must_use]
            pub fn for_driver(_: i32) -> Option<Self> {
                None
            }
        }

        impl std::fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {}
            }
        }
    }
}

/// The place of a device's features in the crate.
pub mod shared {
    /// The place of a device's features in the crate.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// What features are narrowed for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA's cards.
            Nvptx,
        }

        /// Narrows nothing: no kernel is compiled here.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}

use cubecl_core::Compiler;
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::compiler::CompilationError;
use cubecl_runtime::kernel::BufferIOAttr;
use nvptx::ptx_version::PtxVersion;

/// What is compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA's cards.
    #[default]
    Nvptx,
}

/// The compiler that is not here.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// What is compiled for.
    pub target: LlvmTarget,
}

/// Its options.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// Another vendor's architecture.
    pub arch: Option<()>,
    /// The card's architecture.
    pub sm_arch: Option<SmArch>,
    /// The version of PTX.
    pub ptx_version: Option<PtxVersion>,
    /// Whether parameters are constants of a launch.
    pub grid_constants: bool,
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX.
    pub ptx: Vec<std::ffi::c_char>,
    /// The name of the kernel in it.
    pub entrypoint: String,
    /// What it was compiled from.
    pub ir: String,
    /// Bytes of a launch.
    pub shared_memory_size: usize,
    /// How buffers are used.
    pub io: Vec<BufferIOAttr>,
}

/// A compiled kernel of any target.
#[derive(Clone)]
#[non_exhaustive]
pub enum PlironArtifact {
    /// For NVIDIA's cards.
    NvptxCode(NvptxModule),
}

impl std::fmt::Display for PlironArtifact {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::NvptxCode(module) = self;
        to.write_str(&module.ir)
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn buffer_io(kernel: &Self::Representation) -> Option<Vec<BufferIOAttr>> {
        let PlironArtifact::NvptxCode(module) = kernel;
        Some(module.io.clone())
    }

    fn compile(
        &mut self,
        _: KernelDefinition,
        _: &Self::CompilationOptions,
    ) -> Result<Self::Representation, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build has no LLVM: cubecl-cuda must have its feature `cpp`".into(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
