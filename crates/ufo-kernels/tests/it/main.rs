//! The kernels as a stranger uses them.

mod pytorch;
