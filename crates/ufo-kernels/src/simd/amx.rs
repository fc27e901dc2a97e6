//! The tiles of AMX (Intel's matrix extension): eight registers of 16 rows of 64 bytes, and their products.
//!
//! The instructions are assembler, since their intrinsics are not stable yet (rust-lang/rust 126622). The compiler knows
//! nothing of the registers, so that they keep what they hold from one instruction here to the next. Intel 64
//! and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
#![allow(unsafe_code, reason = "instructions without intrinsics, on pointers")]

use std::{
    arch::{asm, x86_64::__cpuid_count},
    sync::OnceLock,
};

use crate::gemm::{Destination, Factors};

/// Rows of a tile, and its columns of 32 bits.
pub(crate) const SIDE: usize = 16;
/// Bytes of a 32-bit word.
const WORD: usize = 4;

/// Whether the machine has AMX with bf16 and bytes, the AVX-512 extensions that all such machines have, and an
/// operating system that lets this process use them. Asks it the first time.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        /// Bits of leaf 7 for bf16, tiles and bytes; their detection is not stable either.
        const BITS: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512vnni")
            && __cpuid_count(7, 0).edx & BITS == BITS
            && permitted()
    })
}

/// Asks Linux for the state of tiles, for all threads of the process.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` and the number of the tiles' state.
    const REQUEST: [libc::c_long; 2] = [0x1023, 18];
    // SAFETY: asks for a permission; nothing else changes.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST[0], REQUEST[1]) == 0 }
}

/// Other systems are not known to give the state of tiles.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// What `ldtilecfg` reads: palette 1, and for eight tiles bytes a row and rows.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Gives all tiles their full size, in this thread.
///
/// # Safety
/// [`is_available`].
#[inline(always)]
pub(crate) unsafe fn configure() {
    static CONFIG: Config = {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut tile = 0;
        while tile < 8 {
            row_bytes[tile] = (SIDE * WORD) as u16;
            rows[tile] = SIDE as u8;
            tile += 1;
        }
        Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    };
    // SAFETY: the caller's promise; the instruction reads the 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) }
}

/// Ends the use of tiles, so that switching threads does not save them.
///
/// # Safety
/// [`is_available`].
#[inline(always)]
pub(crate) unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// An instruction on tiles and on rows `stride` bytes apart.
macro_rules! rows {
    ($instruction:literal, $start:expr, $stride:expr) => {
        asm!($instruction, start = in(reg) $start, stride = in(reg) $stride, options(nostack))
    };
}

/// An instruction on tiles alone.
macro_rules! registers {
    ($instruction:literal) => {
        asm!($instruction, options(nostack, nomem))
    };
}

/// The product of `ROWS` times [`SIDE`] rows of A, in tiles one after the other, and `COLS` times [`SIDE`] columns of a
/// panel, for a multiple of [`SIDE`] words: of pairs of bf16, or of bytes, unsigned on the left. `to.add` is not looked at.
///
/// # Safety
/// The factors and the destination lie in memory to read and to write, and this thread [`configure`]d its tiles.
#[inline(always)]
pub(crate) unsafe fn product<const PAIRS: bool, const ROWS: usize, const COLS: usize>(
    factors: Factors,
    to: Destination,
) {
    let Factors { a, b, b_stride, k } = factors;
    let [a_bytes, b_bytes, to_bytes] = [SIDE, b_stride, to.row_stride].map(|n| n * WORD);
    let below = a.start.wrapping_add(SIDE * k);
    let beside = to.start.wrapping_add(SIDE);
    let [under, across] = [to.start, beside].map(|p| p.wrapping_add(SIDE * to.row_stride));
    // SAFETY: the caller's promise.
    unsafe {
        // Sums are tiles 0 and 1 (columns), and 2 and 3 below them; A is 4 and 5, B 6 and 7.
        registers!("tilezero tmm0");
        registers!("tilezero tmm1");
        registers!("tilezero tmm2");
        registers!("tilezero tmm3");
        for word in (0..k).step_by(SIDE) {
            let (a, below) = (a.start.add(SIDE * word), below.wrapping_add(SIDE * word));
            let b = b.add(word * b_stride);
            rows!("tileloadd tmm6, [{start} + {stride}]", b, b_bytes);
            rows!("tileloadd tmm4, [{start} + {stride}]", a, a_bytes);
            if PAIRS {
                registers!("tdpbf16ps tmm0, tmm4, tmm6");
            } else {
                registers!("tdpbusd tmm0, tmm4, tmm6");
            }
            if COLS > 1 {
                rows!("tileloadd tmm7, [{start} + {stride}]", b.add(SIDE), b_bytes);
                if PAIRS {
                    registers!("tdpbf16ps tmm1, tmm4, tmm7");
                } else {
                    registers!("tdpbusd tmm1, tmm4, tmm7");
                }
            }
            if ROWS > 1 {
                rows!("tileloadd tmm5, [{start} + {stride}]", below, a_bytes);
                if PAIRS {
                    registers!("tdpbf16ps tmm2, tmm5, tmm6");
                } else {
                    registers!("tdpbusd tmm2, tmm5, tmm6");
                }
            }
            if ROWS > 1 && COLS > 1 {
                if PAIRS {
                    registers!("tdpbf16ps tmm3, tmm5, tmm7");
                } else {
                    registers!("tdpbusd tmm3, tmm5, tmm7");
                }
            }
        }
        rows!("tilestored [{start} + {stride}], tmm0", to.start, to_bytes);
        if COLS > 1 {
            rows!("tilestored [{start} + {stride}], tmm1", beside, to_bytes);
        }
        if ROWS > 1 {
            rows!("tilestored [{start} + {stride}], tmm2", under, to_bytes);
        }
        if ROWS > 1 && COLS > 1 {
            rows!("tilestored [{start} + {stride}], tmm3", across, to_bytes);
        }
    }
}
