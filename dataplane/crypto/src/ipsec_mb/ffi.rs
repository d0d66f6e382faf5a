//! The few declarations of `intel-ipsec-mb.h` that are used, written by hand.
//!
//! `shim/ipsec_mb.c` asserts every offset and number below against the installed header while it is compiled.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::offset_of;

/// `IMB_MGR`, whose fields only the shim touches.
#[repr(C)]
pub(super) struct Mgr {
    _opaque: [u8; 0],
}

/// `struct gcm_key_data`: 15 round keys, then up to 48 powers of the hash key.
#[repr(C, align(64))]
pub(super) struct GcmKey(pub(super) [u8; 1024]);

/// `struct gcm_context_data`, rounded up: written by the direct calls, of no use afterwards.
#[repr(C, align(64))]
pub(super) struct GcmContext([u8; 128]);

/// `IMB_JOB`, the fields that GCM reads or writes. The structure is longer and only ever seen by pointer.
#[repr(C)]
pub(super) struct ImbJob {
    pub(super) enc_keys: *const GcmKey,
    pub(super) dec_keys: *const GcmKey,
    pub(super) key_octets: u64,
    pub(super) src: *const u8,
    pub(super) dst: *mut u8,
    pub(super) cipher_start_octets: u64,
    pub(super) cipher_octets: u64,
    pub(super) hash_start_octets: u64,
    pub(super) hash_octets: u64,
    pub(super) iv: *const u8,
    pub(super) iv_octets: u64,
    pub(super) tag: *mut u8,
    pub(super) tag_octets: u64,
    pub(super) aad: *const u8,
    pub(super) aad_octets: u64,
    pub(super) context: *mut c_void,
    pub(super) status: u32,
    pub(super) cipher_mode: u32,
    pub(super) cipher_direction: u32,
    pub(super) hash_alg: u32,
    pub(super) chain_order: u32,
    pub(super) user_data: usize,
}

const _: () = {
    assert!(offset_of!(ImbJob, src) == 24 && offset_of!(ImbJob, dst) == 32);
    assert!(offset_of!(ImbJob, cipher_octets) == 48 && offset_of!(ImbJob, iv) == 72);
    assert!(offset_of!(ImbJob, tag) == 88 && offset_of!(ImbJob, aad) == 104);
    assert!(offset_of!(ImbJob, context) == 120 && offset_of!(ImbJob, status) == 128);
    assert!(offset_of!(ImbJob, chain_order) == 144 && offset_of!(ImbJob, user_data) == 152);
    assert!(size_of::<ImbJob>() == 160);
};

pub(super) const IMB_CIPHER_GCM: u32 = 5;
pub(super) const IMB_AUTH_AES_GMAC: u32 = 9;
pub(super) const IMB_DIR_ENCRYPT: u32 = 1;
pub(super) const IMB_DIR_DECRYPT: u32 = 2;
pub(super) const IMB_ORDER_CIPHER_HASH: u32 = 1;
pub(super) const IMB_ORDER_HASH_CIPHER: u32 = 2;
pub(super) const IMB_STATUS_COMPLETED: u32 = 3;
pub(super) const IMB_FEATURE_AVX512_SKX: u64 = 0x1f << 7;
pub(super) const IMB_FEATURE_VAES: u64 = 1 << 12;
pub(super) const IMB_FEATURE_VPCLMULQDQ: u64 = 1 << 13;

/// `aes_gcm_enc_dec_t`: key, context, destination, source, length, IV, AAD, its length, tag, its length.
pub(super) type GcmCall = unsafe extern "C" fn(
    *const GcmKey,
    *mut GcmContext,
    *mut u8,
    *const u8,
    u64,
    *const u8,
    *const u8,
    u64,
    *mut u8,
    u64,
);
/// `aes_gcm_pre_t`: key, expanded key.
pub(super) type GcmExpand = unsafe extern "C" fn(*const u8, *mut GcmKey);
/// `burst_fn_t`: manager, number of jobs, array of job pointers; returns a number of jobs.
pub(super) type BurstCall = unsafe extern "C" fn(*mut Mgr, u32, *mut *mut ImbJob) -> u32;

/// `struct espalier_mb_calls` of the shim. Arrays by key length: 128, 192, 256 bits.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct CallTable {
    pub(super) seal: [Option<GcmCall>; 3],
    pub(super) open: [Option<GcmCall>; 3],
    pub(super) expand: [Option<GcmExpand>; 3],
    pub(super) next_burst: Option<BurstCall>,
    pub(super) submit_burst: Option<BurstCall>,
    pub(super) flush_burst: Option<BurstCall>,
    pub(super) features: u64,
}

unsafe extern "C" {
    pub(super) fn espalier_mb_calls(mgr: *const Mgr, out: *mut CallTable);
    pub(super) safe fn imb_get_version() -> c_uint;
    pub(super) safe fn imb_get_version_str() -> *const c_char;
    pub(super) safe fn alloc_mb_mgr(flags: u64) -> *mut Mgr;
    pub(super) fn free_mb_mgr(mgr: *mut Mgr);
    pub(super) fn init_mb_mgr_auto(mgr: *mut Mgr, arch: *mut c_int);
    pub(super) fn imb_get_errno(mgr: *mut Mgr) -> c_int;
}
